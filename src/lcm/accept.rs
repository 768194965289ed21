//! Turns LCM requests into op occurrences. All checks that need no cluster are here, before the 202.
//!
//! `crate::api` calls [`Acceptor`]. `begin_operation` of the store writes an accepted operation in one transaction; after that the
//! operation cannot be lost. A preview does the same checks and begins nothing ([`Acceptor::rehearsal`]).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::blocking::blocking;
use crate::clock::{Clock, Ids};
use crate::domain::caller::Caller;
use crate::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfState};
use crate::domain::kept_plan::{PLAN_ID, PlanBasis};
use crate::domain::op_occ::{ABANDON, LcmOperation, OpState, Unattended, VnfLcmOpOcc};
use crate::domain::package::OperationalState;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::scale::{
    ScaleDirection, ScaleLevels, ScaleTarget, check_numbers, initial_levels, instances, scaled, scaled_to,
};
use crate::domain::tenancy::NamespaceProject;
use crate::domain::vim::Vim;
use crate::domain::vim_policy::{self, ObjectUse};
use crate::domain::vnfd::Flavour;
use crate::domain::{heal, kept_plan, namespace, render, scale, vdu_mapping};
use crate::error::ApiError;
use crate::lcm::access::{access, registered};
use crate::lcm::change::started;
use crate::lcm::container_update::VNFD_ID;
use crate::lcm::grant::may_place;
use crate::lcm::modify;
use crate::lcm::params::{InstantiateParams, manifests, unknown_members};
use crate::lcm::preview::Rehearsal;
use crate::lcm::sent::{Sent, patch_record};
use crate::lcm::tenancy::Tenancy;
use crate::lcm::vim_connections::VimConnections;
use crate::sol003::common::{
    HealVnfRequest, OperateVnfRequest, ScaleType, ScaleVnfRequest, ScaleVnfToLevelRequest, StopType,
    TerminateVnfRequest, TerminationType,
};
use crate::sol003::v2::InstantiateVnfRequest;
use crate::store::{OnboardedVnfd, Store, StoreError};
use crate::traces;

/// Turns requests into op occurrences.
pub struct Acceptor<'a> {
    pub store: &'a dyn Store,
    /// The source of `startTime`.
    pub clock: &'a dyn Clock,
    /// The source of the ids of op occurrences.
    pub ids: &'a dyn Ids,
    /// The caller's tenant.
    pub project: &'a ProjectId,
    /// Whether an NFVO grants operations: it may name the VIM of a VNF.
    pub granting: bool,
    /// [`VnfLcmOpOcc::unattended`] of the operations.
    pub unattended: Option<Unattended>,
    /// Whether a `vimId` may also be the name of a registered VIM.
    pub vims_by_name: bool,
    /// Whether an instantiation without any namespace is refused instead of going to `default`.
    pub require_namespace: bool,
    /// Which namespaces the caller may put VNFs into; `None`: all.
    pub tenancy: Option<(&'a Tenancy, &'a Caller)>,
    /// Takes the accepted operation instead of the store: a preview. `None`: operations begin.
    pub rehearsal: Option<&'a Rehearsal>,
}

impl Acceptor<'_> {
    /// Accepts INSTANTIATE: decides the namespace and stores it in the instance with the operation.
    ///
    /// # Errors
    /// 404, 409 (wrong state, other operation, leftovers elsewhere), 400 and 422 as the parts of the request are wrong, 403 as the policy of
    /// the VIM says; with
    /// [`Self::tenancy`] also those of [`Tenancy::decide`], and 409 if VNFs of another project are in the namespace.
    pub async fn instantiate(
        &self,
        id: VnfInstanceId,
        sent: Sent<InstantiateVnfRequest>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let mut instance = self.instance(id).await?;
        if instance.instantiated.is_some() {
            return Err(problem!(
                ProblemType::Conflict,
                "VNF instance {id} is {state} already",
                id = id.to_string(),
                state = "INSTANTIATED",
            )
            .into());
        }
        let onboarded = self.vnfd(&instance).await?;
        usable(&onboarded)?;
        self.refuse_unshared(&onboarded).await?;
        let record = sent.record()?;
        let request = sent.request;
        let flavour = onboarded.vnfd.flavour(&request.flavour_id)?;
        let level = request.instantiation_level_id.as_deref();
        check_numbers(&instances(flavour, &initial_levels(flavour, level)?, level))?;

        modify::refuse_excess("extensions", request.extensions.as_ref())?;
        modify::refuse_excess("vnfConfigurableProperties", request.vnf_configurable_properties.as_ref())?;
        let additional = request.additional_params.unwrap_or_default();
        let params = InstantiateParams::read(&additional)?;
        let files = self.store.definition_files(onboarded.package_id).await?;
        let (namespace, mut objects) = blocking({
            let (params, flavour, required) = (params.clone(), flavour.clone(), self.require_namespace);
            move || {
                let (_, manifests) = manifests(&files, params.definition_files.as_deref())?;
                render::check(&manifests)?;
                vdu_mapping::check(&flavour, &params.vdu_mapping, &manifests)?;
                let namespace = namespace::decide(params.namespace.as_ref(), &manifests, required)?;
                Ok((namespace, ObjectUse::of_manifests(&manifests)))
            }
        })
        .await?;

        let op = VnfLcmOpOccId(self.ids.uuid());
        let requested = request.vim_connection_info.unwrap_or_default();
        let former = instance.clone();
        let connections = self.connections();
        let mut warnings = connections.add(&mut instance, &requested, request.first_connection, op).await?;
        if params.create_namespace {
            objects.push(ObjectUse::of_namespace(&namespace));
        }
        instance.metadata.namespace = Some(namespace);
        connections.refuse_to_leave(&former, &instance).await?;
        self.check_policy(&instance, &objects).await?;
        let op = self.op_occ(op, LcmOperation::Instantiate, record, &instance);
        let owner = self.namespace_project(&op, &instance).await?;
        warnings.merge(&op.warnings);
        let op = VnfLcmOpOcc { warnings, ..op };
        refuse_large_record(&op.params)?;
        self.conclude(&op, &instance, owner.as_ref()).await?;
        Ok(op.id)
    }

    /// Refuses what the policy of the VIM does not allow for the VNF.
    ///
    /// # Errors
    /// 403, and 422 if the VIM cannot be used.
    pub(super) async fn check_policy(&self, instance: &VnfInstance, objects: &[ObjectUse]) -> Result<(), ApiError> {
        if let Some((vim, namespace)) = self.registered_home(instance).await? {
            vim_policy::check(&vim, namespace, objects)?;
        }
        Ok(())
    }

    /// The registered VIM and the namespace of the VNF; `None` if there is no policy for it.
    async fn registered_home<'i>(
        &self,
        instance: &'i VnfInstance,
    ) -> Result<Option<(Vim, &'i namespace::Namespace)>, ApiError> {
        let (Some((_, home)), Some(namespace)) = (instance.home(), &instance.metadata.namespace) else {
            return Ok(None);
        };
        Ok(registered(self.store, self.project, home).await?.map(|vim| (vim, namespace)))
    }

    /// The project of the namespace that the VNF goes to; `None` if namespaces belong to nobody, or until the grant names the VIM.
    async fn namespace_project(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
    ) -> Result<Option<NamespaceProject>, ApiError> {
        let (Some((tenancy, caller)), Some(namespace)) = (self.tenancy, &instance.metadata.namespace) else {
            return Ok(None);
        };
        if self.granting && may_place(op, instance) {
            return Ok(None);
        }
        let access = access(self.store, self.project, instance.home().map(|(_, connection)| connection)).await?;
        Ok(Some(tenancy.decide(&access, namespace, caller.into()).await?))
    }

    /// Accepts SCALE.
    ///
    /// # Errors
    /// 404 (also if the VNF has no scaling aspects), 409, 422 (unknown aspect, level out of range, no workload to scale).
    pub async fn scale(&self, id: VnfInstanceId, sent: &Sent<ScaleVnfRequest>) -> Result<VnfLcmOpOccId, ApiError> {
        let request = &sent.request;
        let instance = self.instance(id).await?;
        let info = instantiated(&instance)?;
        let flavour = self.scalable(&instance, info).await?;
        let steps = request.number_of_steps.unwrap_or(1);
        if steps == 0 {
            return Err(Problem::bad_request("numberOfSteps must be at least 1").into());
        }
        let after = scaled(&flavour, &info.scale_levels, direction(request.scale_type), &request.aspect_id, steps)?;
        self.check_workloads(&instance, &flavour, &after).await?;
        self.begin(self.op_occ(self.op_id(), LcmOperation::Scale, sent.record()?, &instance), instance).await
    }

    /// Accepts SCALE_TO_LEVEL.
    ///
    /// # Errors
    /// 404 (also if the VNF has no scaling aspects), 400 (not exactly one target), 409, 422 (unknown instantiation level or
    /// aspect, level out of range).
    pub async fn scale_to_level(
        &self,
        id: VnfInstanceId,
        sent: &Sent<ScaleVnfToLevelRequest>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let request = &sent.request;
        let instance = self.instance(id).await?;
        let info = instantiated(&instance)?;
        let flavour = self.scalable(&instance, info).await?;
        let after = scaled_to(&flavour, &info.scale_levels, &target(request)?)?;
        self.check_workloads(&instance, &flavour, &after).await?;
        self.begin(self.op_occ(self.op_id(), LcmOperation::ScaleToLevel, sent.record()?, &instance), instance).await
    }

    /// Accepts HEAL.
    ///
    /// # Errors
    /// 404, 409, 422 (unknown VNFC).
    pub async fn heal(&self, id: VnfInstanceId, sent: &Sent<HealVnfRequest>) -> Result<VnfLcmOpOccId, ApiError> {
        let request = &sent.request;
        let instance = self.instance(id).await?;
        heal::select(&instantiated(&instance)?.vnfcs, request.vnfc_instance_id.as_deref().unwrap_or_default())?;
        self.begin(self.op_occ(self.op_id(), LcmOperation::Heal, sent.record()?, &instance), instance).await
    }

    /// Accepts OPERATE, also if the VNF is in the requested state already: some of its objects may be in another state.
    ///
    /// # Errors
    /// 404, 409, 422 (single VNFCs, a stop type or time-out that contradicts other parameters).
    pub async fn operate(&self, id: VnfInstanceId, sent: &Sent<OperateVnfRequest>) -> Result<VnfLcmOpOccId, ApiError> {
        let request = &sent.request;
        let instance = self.instance(id).await?;
        instantiated(&instance)?;
        if request.vnfc_instance_id.as_ref().is_some_and(|ids| !ids.is_empty()) {
            let text = "single VNFCs can't be stopped or started: Kubernetes replaces a pod that ends; leave vnfcInstanceId out, or scale";
            return Err(Problem::unprocessable(text).into());
        }
        if request.change_state_to == VnfState::Started && request.stop_type.is_some() {
            return Err(Problem::unprocessable("stopType goes with changeStateTo STOPPED only").into());
        }
        if request.graceful_stop_timeout.is_some() && request.stop_type != Some(StopType::Graceful) {
            return Err(Problem::unprocessable("gracefulStopTimeout goes with stopType GRACEFUL only").into());
        }
        self.begin(self.op_occ(self.op_id(), LcmOperation::Operate, sent.record()?, &instance), instance).await
    }

    /// Accepts TERMINATE.
    ///
    /// # Errors
    /// 404, 409, 400 (`gybe:abandon` of a wrong type), 422 (a time-out with FORCEFUL).
    pub async fn terminate(
        &self,
        id: VnfInstanceId,
        sent: &Sent<TerminateVnfRequest>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let request = &sent.request;
        let instance = self.instance(id).await?;
        match request.additional_params.as_ref().and_then(|params| params.get(ABANDON)) {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(_) => return Err(Problem::bad_request("additionalParams.gybe:abandon must be true or false").into()),
        }
        // An INSTANTIATE that failed may have left objects. Then the VNF can be terminated, too.
        let has_objects = !self.store.resources(id).await?.is_empty();
        if !has_objects {
            instantiated(&instance)?;
        }
        let timed = request.graceful_termination_timeout.is_some();
        if timed && request.termination_type == TerminationType::Forceful {
            return Err(
                Problem::unprocessable("gracefulTerminationTimeout goes with terminationType GRACEFUL only").into()
            );
        }
        let op = self.op_occ(self.op_id(), LcmOperation::Terminate, sent.record()?, &instance);
        let prepare = async |instance: VnfInstance| {
            if !has_objects {
                instantiated(&instance)?;
            }
            Ok((op.clone(), instance))
        };
        self.begin_on(instance, prepare).await
    }

    /// Accepts MODIFY_INFO: the instance has the new values at once, and the operation reports them.
    ///
    /// `patch` is a merge patch (RFC 7396) with `vimConnectionInfo` as a map; `if_match` has the versions of `If-Match`. With the `vnfdId`
    /// of another package, the operation updates the containers of the VNF, and the other attributes have their new values at its end,
    /// `vimConnectionInfo` apart.
    ///
    /// # Errors
    /// 404, 409 (another operation; moving a living VNF to another cluster; a new `vnfdId` while STOPPED), 412, 422
    /// (`metadata.namespace`, `vnfdId`).
    pub async fn modify(
        &self,
        id: VnfInstanceId,
        patch: Map<String, Value>,
        if_match: Option<&[i64]>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        let target = self.target_package(&instance, &patch).await?;
        let record = patch_record(&patch);
        let mut attributes = patch;
        if target.is_some() {
            attributes.remove(VNFD_ID);
        }
        let prepare = async |former: VnfInstance| {
            check_version(&former, if_match)?;
            let mut instance = former.clone();
            let changed = modify::apply(&mut instance, attributes.clone())?;
            self.connections().check(&former, &mut instance).await?;
            let op = self.op_occ(self.op_id(), LcmOperation::ModifyInfo, record.clone(), &instance);
            let warnings = modify::unknown_attributes(&attributes).into_iter().collect();
            let op = VnfLcmOpOcc { warnings, ..op };
            if target.is_none() {
                return Ok((VnfLcmOpOcc { changed_info: Some(changed), ..op }, instance));
            }
            started(&former)?;
            let instance = VnfInstance { vim_connections: instance.vim_connections, ..former };
            Ok((VnfLcmOpOcc { target_package: target, state: OpState::Starting, ..op }, instance))
        };
        self.begin_on(instance, prepare).await
    }

    pub(super) async fn instance(&self, id: VnfInstanceId) -> Result<VnfInstance, ApiError> {
        match self.store.instance(self.project, id).await {
            Err(StoreError::NotFound) => Err(Problem::not_found("VNF instance", &id.to_string()).into()),
            other => Ok(other?),
        }
    }

    async fn vnfd(&self, instance: &VnfInstance) -> Result<OnboardedVnfd, ApiError> {
        Ok(self.store.vnfd_of_package(instance.vnf_pkg_id).await?)
    }

    /// # Errors
    /// 422 if the package is another project's, which shares it no longer.
    async fn refuse_unshared(&self, onboarded: &OnboardedVnfd) -> Result<(), ApiError> {
        if onboarded.project_id == *self.project {
            return Ok(());
        }
        match self.store.visible_package(self.project, onboarded.package_id).await {
            Err(StoreError::NotFound) => Err(problem!(
                ProblemType::Unprocessable,
                "VNF package {id} is no longer shared with project '{project}': create the VNF instance from another package",
                id = onboarded.package_id.to_string(),
                project = self.project.0.as_str(),
            )
            .into()),
            other => Ok(other.map(drop)?),
        }
    }

    /// The flavour of a VNF that can scale.
    ///
    /// # Errors
    /// 404 if the VNFD has no scaling aspects; 409 if the VNF is stopped: without replicas it is at no scale level.
    async fn scalable(&self, instance: &VnfInstance, info: &InstantiatedVnfInfo) -> Result<Flavour, ApiError> {
        let onboarded = self.vnfd(instance).await?;
        let flavour = vdu_mapping::mapped(onboarded.vnfd.flavour(&info.flavour_id)?, &info.vdu_mapping);
        if flavour.aspects.is_empty() {
            return Err(Problem::new(
                ProblemType::NotSupported,
                "the VNFD has no scaling aspects: this VNF can't scale",
            )
            .into());
        }
        if info.vnf_state == VnfState::Stopped {
            return Err(problem!(
                ProblemType::Conflict,
                "VNF instance {id} is {state}: start it (operate, changeStateTo STARTED), then scale",
                id = instance.id.to_string(),
                state = "STOPPED",
            )
            .into());
        }
        Ok(flavour)
    }

    /// Refuses to scale to the levels `after` if the VNF lacks a workload for it.
    ///
    /// # Errors
    /// 422 as [`scale::check_workloads`].
    async fn check_workloads(
        &self,
        instance: &VnfInstance,
        flavour: &Flavour,
        after: &ScaleLevels,
    ) -> Result<(), ApiError> {
        let rows = self.store.resources(instance.id).await?;
        let before = &instantiated(instance)?.scale_levels;
        Ok(scale::check_workloads(flavour, before, after, |vdu| render::has_scalable_workload(&rows, vdu))?)
    }

    pub(super) fn connections(&self) -> VimConnections<'_> {
        let Self { store, project, granting, vims_by_name, .. } = *self;
        VimConnections { store, project, granting, vims_by_name }
    }

    pub(super) fn op_id(&self) -> VnfLcmOpOccId {
        VnfLcmOpOccId(self.ids.uuid())
    }

    /// The op occurrence of an operation that starts now.
    pub(super) fn op_occ(
        &self,
        id: VnfLcmOpOccId,
        operation: LcmOperation,
        params: Value,
        instance: &VnfInstance,
    ) -> VnfLcmOpOcc {
        let additional = params.get("additionalParams").and_then(Value::as_object);
        let warnings = additional.and_then(|params| unknown_members(operation, params)).into_iter().collect();
        VnfLcmOpOcc {
            traceparent: traces::traceparent(),
            unattended: self.unattended,
            warnings,
            ..VnfLcmOpOcc::starting(id, operation, instance, params, self.clock.now())
        }
    }

    /// Begins an operation that does not change the instance when it starts.
    pub(super) async fn begin(&self, op: VnfLcmOpOcc, instance: VnfInstance) -> Result<VnfLcmOpOccId, ApiError> {
        if let Some((vim, namespace)) = self.registered_home(&instance).await? {
            // Scaling makes no objects.
            let objects = match op.operation {
                LcmOperation::Heal | LcmOperation::Operate => self.store.resources(instance.id).await?,
                _ => Vec::new(),
            };
            vim_policy::check(&vim, namespace, &objects.iter().map(ObjectUse::from).collect::<Vec<_>>())?;
        }
        let prepare = async |instance: VnfInstance| {
            instantiated(&instance)?;
            Ok((op.clone(), instance))
        };
        self.begin_on(instance, prepare).await
    }

    /// Begins the operation that `prepare` creates, with the instance that it returns. If the instance changed since it was
    /// read, reads it and calls `prepare` again: the view may have refreshed it, which is no conflict for the caller.
    pub(super) async fn begin_on(
        &self,
        mut instance: VnfInstance,
        prepare: impl AsyncFn(VnfInstance) -> Result<(VnfLcmOpOcc, VnfInstance), ApiError>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let id = instance.id;
        let mut attempt = 1;
        loop {
            let (op, prepared) = prepare(instance).await?;
            refuse_large_record(&op.params)?;
            match self.conclude(&op, &prepared, None).await {
                Err(BeginError::Store(StoreError::Stale)) if attempt < ATTEMPTS => instance = self.instance(id).await?,
                begun => {
                    begun?;
                    return Ok(op.id);
                }
            }
            attempt += 1;
        }
    }

    /// Begins an operation that has passed its checks, in a namespace of that project if there is one. Of a preview, checks only whether it
    /// could begin.
    async fn conclude(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        namespace: Option<&NamespaceProject>,
    ) -> Result<(), BeginError> {
        if let Some(rehearsal) = self.rehearsal {
            if op.params.get(PLAN_ID).is_some() {
                return Err(Problem::bad_request(
                    "gybe:planId names a plan for the task to run: a preview makes a new one, so leave it out",
                )
                .into());
            }
            self.store.check_operation(op, instance, namespace).await?;
            rehearsal.accept(op.clone(), instance.clone());
            return Ok(());
        }
        // A patch may have any members: they have no effect.
        if let Some(plan) = op.params.get(PLAN_ID).filter(|_| op.operation != LcmOperation::ModifyInfo) {
            self.check_plan(op, instance, plan).await?;
        }
        match namespace {
            Some(namespace) => self.store.begin_in_namespace(op, instance, namespace).await?,
            None => self.store.begin_operation(op, instance).await?,
        }
        tracing::info!(op.id = %op.id, vnf_instance.id = %op.vnf_instance_id, operation = op.operation.as_str(), "operation {} accepted", op.id);
        Ok(())
    }

    /// Refuses a plan that cannot be run as it is. If the instance changes after this check, the operation does not begin.
    async fn check_plan(&self, op: &VnfLcmOpOcc, instance: &VnfInstance, plan: &Value) -> Result<(), BeginError> {
        let Some(id) = op.kept_plan() else {
            let shown: String = plan.as_str().unwrap_or_default().chars().take(64).collect();
            return Err(kept_plan::unknown(&shown).into());
        };
        let kept = match self.store.kept_plan(self.project, instance.id, id).await {
            Err(StoreError::NotFound) => return Err(kept_plan::unknown(&id.to_string()).into()),
            found => found?,
        };
        let inventory = self.store.resources(instance.id).await?;
        Ok(kept_plan::check(&kept, &PlanBasis::of(op, instance, &inventory), self.clock.now())?)
    }
}

/// Why an operation that passed its checks does not begin.
enum BeginError {
    /// Also if the instance changed meanwhile.
    Store(StoreError),
    /// The plan that it is to run.
    Refused(Problem),
}

impl From<StoreError> for BeginError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Problem> for BeginError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<BeginError> for ApiError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Store(error) => error.into(),
            BeginError::Refused(problem) => problem.into(),
        }
    }
}

/// The most attempts to begin an operation while the instance changes.
const ATTEMPTS: u32 = 4;

/// The direction of a scale request.
pub const fn direction(scale_type: ScaleType) -> ScaleDirection {
    match scale_type {
        ScaleType::ScaleOut => ScaleDirection::Out,
        ScaleType::ScaleIn => ScaleDirection::In,
    }
}

/// The target of a request to scale to a level.
///
/// # Errors
/// 400 unless the request has exactly one kind of target and names each aspect once.
pub fn target(request: &ScaleVnfToLevelRequest) -> Result<ScaleTarget, Problem> {
    match (&request.instantiation_level_id, request.scale_info.as_deref()) {
        (Some(level), None) => Ok(ScaleTarget::Level(level.clone())),
        (None, Some(infos)) if !infos.is_empty() => {
            let mut levels = BTreeMap::new();
            for info in infos {
                if levels.insert(info.aspect_id.clone(), info.scale_level).is_some() {
                    return Err(problem!(
                        ProblemType::BadRequest,
                        "scaleInfo names aspect '{aspectId}' twice",
                        aspectId = info.aspect_id,
                    ));
                }
            }
            Ok(ScaleTarget::Aspects(levels))
        }
        _ => Err(Problem::bad_request("give either instantiationLevelId, or scaleInfo with an entry at least")),
    }
}

pub(super) fn instantiated(instance: &VnfInstance) -> Result<&InstantiatedVnfInfo, Problem> {
    instance.instantiated.as_ref().ok_or_else(|| {
        problem!(
            ProblemType::Conflict,
            "VNF instance {id} is {state}",
            id = instance.id.to_string(),
            state = "NOT_INSTANTIATED",
        )
    })
}

/// Checks the condition of `If-Match`, if there is one: the instance must have one of `versions`.
///
/// # Errors
/// 412.
fn check_version(instance: &VnfInstance, versions: Option<&[i64]>) -> Result<(), Problem> {
    match versions {
        Some(versions) if !versions.contains(&instance.version) => Err(changed()),
        _ => Ok(()),
    }
}

/// 412: the instance has none of the versions of `If-Match`.
pub fn changed() -> Problem {
    Problem::new(ProblemType::PreconditionFailed, "the VNF instance changed: GET it again")
}

/// # Errors
/// 422 if the package is DISABLED.
pub(super) fn usable(onboarded: &OnboardedVnfd) -> Result<(), Problem> {
    if onboarded.operational_state == OperationalState::Enabled {
        return Ok(());
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "VNF package {id} is {state}: set its operationalState to ENABLED",
        id = onboarded.package_id.to_string(),
        state = "DISABLED",
    ))
}

/// The largest recorded request of an operation, in bytes of JSON text.
const MAX_RECORD: usize = 256 * 1024;

fn refuse_large_record(record: &Value) -> Result<(), Problem> {
    modify::refuse_large("what is kept of the request", record, MAX_RECORD)
}
