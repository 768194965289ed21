//! From a request to an op occurrence: everything that can be checked without the cluster is checked here, before the 202.
//!
//! Called by `crate::api`. What is accepted is written with `begin_operation` of the store in one transaction; after that the
//! operation can't be lost.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::blocking::blocking;
use crate::clock::{Clock, Ids};
use crate::domain::ids::{ProjectId, VimId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfMetadata, VnfState};
use crate::domain::op_occ::{LcmOperation, OpState, Unattended, VnfLcmOpOcc};
use crate::domain::package::OperationalState;
use crate::domain::problem::{Problem, ProblemType};
use crate::domain::scale::{ScaleDirection, ScaleTarget, initial_levels, scaled, scaled_to};
use crate::domain::secret::masked;
use crate::domain::vim::{Vim, VimConnection};
use crate::domain::vnfd::Flavour;
use crate::domain::{heal, namespace, render};
use crate::error::ApiError;
use crate::lcm::modify;
use crate::lcm::params::{InstantiateParams, manifests};
use crate::sol003::common::{
    CreateVnfRequest, HealVnfRequest, OperateVnfRequest, ScaleType, ScaleVnfRequest, ScaleVnfToLevelRequest, StopType,
    TerminateVnfRequest, TerminationType,
};
use crate::sol003::v2::{InstantiateVnfRequest, VimConnectionInfo};
use crate::store::{CreateOutcome, IdempotencyKey, OnboardedVnfd, Store, StoreError};
use crate::traces;

/// Turns requests into op occurrences.
pub struct Acceptor<'a> {
    /// Where they are written.
    pub store: &'a dyn Store,
    /// Tells `startTime`.
    pub clock: &'a dyn Clock,
    /// Draws their ids.
    pub ids: &'a dyn Ids,
    /// The caller's tenant.
    pub project: &'a ProjectId,
    /// Whether an NFVO grants operations: it may say which VIM a VNF is to live in.
    pub granting: bool,
    /// [`VnfLcmOpOcc::unattended`] of the operations.
    pub unattended: Option<Unattended>,
    /// Whether a `vimId` may also be the name of a registered VIM.
    pub vims_by_name: bool,
}

impl Acceptor<'_> {
    /// Accepts INSTANTIATE: decides the namespace and stores it in the instance with the operation.
    ///
    /// # Errors
    /// 404, 409 (wrong state, other operation, leftovers elsewhere), 400 and 422 as the parts of the request are wrong.
    pub async fn instantiate(
        &self,
        id: VnfInstanceId,
        request: InstantiateVnfRequest,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let mut instance = self.instance(id).await?;
        if instance.instantiated.is_some() {
            return Err(Problem::conflict(format!("VNF instance {id} is INSTANTIATED already")).into());
        }
        let onboarded = self.vnfd(&instance).await?;
        usable(&onboarded)?;
        let flavour = onboarded.vnfd.flavour(&request.flavour_id)?;
        initial_levels(flavour, request.instantiation_level_id.as_deref())?;

        modify::refuse_excess("extensions", request.extensions.as_ref())?;
        modify::refuse_excess("vnfConfigurableProperties", request.vnf_configurable_properties.as_ref())?;
        let additional = request.additional_params.unwrap_or_default();
        let params = InstantiateParams::read(&additional)?;
        let files = self.store.definition_files(onboarded.package_id).await?;
        let namespace = blocking({
            let (flavour, params) = (flavour.clone(), params.clone());
            move || {
                let (_, manifests) = manifests(&files, params.definition_files.as_deref())?;
                render::check(&manifests, &flavour)?;
                namespace::decide(params.namespace.as_ref(), &manifests)
            }
        })
        .await?;

        let op = VnfLcmOpOccId(self.ids.uuid());
        let requested = request.vim_connection_info.unwrap_or_default();
        let former = instance.clone();
        self.settle(&mut instance, &requested, request.first_connection, op).await?;
        instance.metadata.namespace = Some(namespace);
        self.refuse_to_leave(&former, &instance).await?;
        let connections: BTreeMap<&String, VimConnectionInfo> =
            requested.keys().filter_map(|key| Some((key, instance.vim_connections.get(key)?.into()))).collect();
        let record = json!({
            "flavourId": request.flavour_id,
            "instantiationLevelId": request.instantiation_level_id,
            "extVirtualLinks": masked(json!(request.ext_virtual_links)),
            "extManagedVirtualLinks": masked(json!(request.ext_managed_virtual_links)),
            "vimConnectionInfo": connections,
            "localizationLanguage": request.localization_language,
            "additionalParams": masked(additional.into()),
            "extensions": request.extensions,
            "vnfConfigurableProperties": request.vnf_configurable_properties,
        });
        let op = self.op_occ(op, LcmOperation::Instantiate, without_nulls(record), &instance);
        refuse_large_record(&op.params)?;
        self.store.begin_operation(&op, &instance).await?;
        Ok(accepted(&op))
    }

    /// Accepts SCALE.
    ///
    /// # Errors
    /// 404 (also if the VNF has no scaling aspects), 409, 422 (unknown aspect, level out of range).
    pub async fn scale(&self, id: VnfInstanceId, request: &ScaleVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        let info = instantiated(&instance)?;
        let flavour = self.scalable(&instance, info).await?;
        let steps = request.number_of_steps.unwrap_or(1);
        if steps == 0 {
            return Err(Problem::bad_request("numberOfSteps must be at least 1").into());
        }
        scaled(&flavour, &info.scale_levels, direction(request.scale_type), &request.aspect_id, steps)?;
        self.begin(self.op_occ(self.op_id(), LcmOperation::Scale, record(request)?, &instance), instance).await
    }

    /// Accepts SCALE_TO_LEVEL.
    ///
    /// # Errors
    /// 404 (also if the VNF has no scaling aspects), 400 (not exactly one target), 409, 422 (unknown instantiation level or
    /// aspect, level out of range).
    pub async fn scale_to_level(
        &self,
        id: VnfInstanceId,
        request: &ScaleVnfToLevelRequest,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        let info = instantiated(&instance)?;
        let flavour = self.scalable(&instance, info).await?;
        scaled_to(&flavour, &info.scale_levels, &target(request)?)?;
        self.begin(self.op_occ(self.op_id(), LcmOperation::ScaleToLevel, record(request)?, &instance), instance).await
    }

    /// Accepts HEAL.
    ///
    /// # Errors
    /// 404, 409, 422 (unknown VNFC).
    pub async fn heal(&self, id: VnfInstanceId, request: &HealVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        heal::select(&instantiated(&instance)?.vnfcs, request.vnfc_instance_id.as_deref().unwrap_or_default())?;
        self.begin(self.op_occ(self.op_id(), LcmOperation::Heal, record(request)?, &instance), instance).await
    }

    /// Accepts OPERATE. A VNF that is in that state already is brought to it again: some of it may not be.
    ///
    /// # Errors
    /// 404, 409, 422 (single VNFCs, a stop type or time-out that does not go with the rest).
    pub async fn operate(&self, id: VnfInstanceId, request: &OperateVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
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
        self.begin(self.op_occ(self.op_id(), LcmOperation::Operate, record(request)?, &instance), instance).await
    }

    /// Accepts TERMINATE.
    ///
    /// # Errors
    /// 404, 409, 422 (a time-out with FORCEFUL).
    pub async fn terminate(&self, id: VnfInstanceId, request: &TerminateVnfRequest) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        instantiated(&instance)?;
        let timed = request.graceful_termination_timeout.is_some();
        if timed && request.termination_type == TerminationType::Forceful {
            return Err(
                Problem::unprocessable("gracefulTerminationTimeout goes with terminationType GRACEFUL only").into()
            );
        }
        self.begin(self.op_occ(self.op_id(), LcmOperation::Terminate, record(request)?, &instance), instance).await
    }

    /// Accepts MODIFY_INFO: the new values are in the instance from now on; the operation reports them.
    ///
    /// `patch` is a merge patch (RFC 7396) with `vimConnectionInfo` as a map; `if_match` the versions that the caller takes.
    ///
    /// # Errors
    /// 404, 409 (another operation; moving a living VNF to another cluster), 412, 422 (`metadata.namespace`, `vnfdId`).
    pub async fn modify(
        &self,
        id: VnfInstanceId,
        patch: Map<String, Value>,
        if_match: Option<&[i64]>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let prepare = async |former: VnfInstance| {
            check_version(&former, if_match)?;
            let mut instance = former.clone();
            let changed = modify::apply(&mut instance, patch.clone())?;
            self.check_connections(&former, &mut instance).await?;
            let op = self.op_occ(self.op_id(), LcmOperation::ModifyInfo, changed.clone(), &instance);
            Ok((VnfLcmOpOcc { changed_info: Some(changed), ..op }, instance))
        };
        self.begin_on(self.instance(id).await?, prepare).await
    }

    /// Makes a VNF instance identifier.
    ///
    /// `key`, if there is one, tells a request that is repeated from another one: it makes no second instance as long as the
    /// first is there, which is given back.
    ///
    /// # Errors
    /// 422 if no enabled package has the VNFD, the metadata uses the reserved key, or `key` was that of another request.
    pub async fn create(&self, request: CreateVnfRequest, key: Option<String>) -> Result<VnfInstance, ApiError> {
        modify::refuse_namespace(request.metadata.as_ref())?;
        modify::refuse_excess("metadata", request.metadata.as_ref())?;
        modify::refuse_long_texts(request.vnf_instance_name.as_deref(), request.vnf_instance_description.as_deref())?;
        let key = key.map(|key| idempotency_key(key, &request)).transpose()?;
        let unusable = || {
            Problem::unprocessable(format!("no onboarded and ENABLED VNF package has the vnfdId '{}'", request.vnfd_id))
        };
        let onboarded = match self.store.vnfd(self.project, &request.vnfd_id).await {
            Err(StoreError::NotFound) => return Err(unusable().into()),
            other => other?,
        };
        let instance = VnfInstance {
            id: VnfInstanceId(self.ids.uuid()),
            project_id: self.project.clone(),
            name: request.vnf_instance_name,
            description: request.vnf_instance_description,
            vnfd_id: request.vnfd_id.clone(),
            vnf_pkg_id: onboarded.package_id,
            provider: onboarded.vnfd.provider,
            product_name: onboarded.vnfd.product_name,
            software_version: onboarded.vnfd.software_version,
            vnfd_version: onboarded.vnfd.version,
            metadata: VnfMetadata { namespace: None, user: request.metadata.unwrap_or_default() },
            extensions: Map::new(),
            configurable_properties: Map::new(),
            vim_connections: BTreeMap::new(),
            instantiated: None,
            version: 0,
            created_at: self.clock.now(),
        };
        let made = match key {
            None => self.store.create_instance(&instance).await.map(|()| CreateOutcome::Created),
            Some(key) => self.store.create_instance_once(&instance, &key).await,
        };
        match made {
            Err(StoreError::Stale) => Err(unusable().into()),
            Err(error) => Err(error.into()),
            Ok(CreateOutcome::Created) => Ok(instance),
            Ok(CreateOutcome::Existing(id)) => self.instance(id).await,
            Ok(CreateOutcome::KeyConflict) => Err(Problem::unprocessable(
                "another request had this Idempotency-Key: a new request needs a new key, a repeated one the same body",
            )
            .into()),
        }
    }

    pub(super) async fn instance(&self, id: VnfInstanceId) -> Result<VnfInstance, ApiError> {
        match self.store.instance(self.project, id).await {
            Err(StoreError::NotFound) => Err(Problem::not_found("VNF instance", &id.to_string()).into()),
            other => Ok(other?),
        }
    }

    async fn vnfd(&self, instance: &VnfInstance) -> Result<OnboardedVnfd, ApiError> {
        Ok(self.store.vnfd(self.project, &instance.vnfd_id).await?)
    }

    /// The flavour of a VNF that can scale.
    ///
    /// # Errors
    /// 404 if the VNFD has no scaling aspects, 409 if it is stopped: with no replicas at all it is at no level.
    async fn scalable(&self, instance: &VnfInstance, info: &InstantiatedVnfInfo) -> Result<Flavour, ApiError> {
        let flavour = self.vnfd(instance).await?.vnfd.flavour(&info.flavour_id)?.clone();
        if flavour.aspects.is_empty() {
            return Err(Problem::new(
                ProblemType::NotSupported,
                "the VNFD has no scaling aspects: this VNF can't scale",
            )
            .into());
        }
        if info.vnf_state == VnfState::Stopped {
            let text = format!(
                "VNF instance {} is STOPPED: start it (operate, changeStateTo STARTED), then scale",
                instance.id
            );
            return Err(Problem::conflict(text).into());
        }
        Ok(flavour)
    }

    /// Puts the requested connections into the instance, or the default VIM if there is none at all, and chooses the one
    /// that the VNF is to live in: the request's first, else the one it had, else the first there is.
    async fn settle(
        &self,
        instance: &mut VnfInstance,
        requested: &BTreeMap<String, VimConnectionInfo>,
        first: Option<String>,
        op: VnfLcmOpOccId,
    ) -> Result<(), ApiError> {
        let had = instance.home().map(|(key, _)| key.clone());
        for (key, wire) in requested {
            let mut connection = VimConnection::from(wire.clone());
            self.look_up_name(&mut connection).await?;
            self.check_connection(key, &connection).await?;
            let known = instance.vim_connections.get(key);
            connection.added_by = known.map_or(Some(op), |known| known.added_by);
            instance.vim_connections.insert(key.clone(), connection);
        }
        modify::refuse_excess_connections(&instance.vim_connections)?;
        if instance.vim_connections.is_empty() {
            let Some(vim) = self.default_vim().await? else { return Ok(()) };
            let wire = VimConnectionInfo { vim_id: Some(vim.id.to_string()), ..VimConnectionInfo::default() };
            let connection = VimConnection { added_by: Some(op), ..wire.into() };
            instance.vim_connections.insert(DEFAULT_CONNECTION.to_owned(), connection);
        }
        let chosen = first.or_else(|| requested.keys().next().cloned()).or(had);
        let chosen = chosen.or_else(|| instance.vim_connections.keys().next().cloned());
        for (key, connection) in &mut instance.vim_connections {
            connection.home = Some(key) == chosen.as_ref();
        }
        Ok(())
    }

    /// `None` if there is none, and the grant is to name one.
    async fn default_vim(&self) -> Result<Option<Vim>, ApiError> {
        match self.store.default_vim(self.project).await {
            Err(StoreError::NotFound) if self.granting => Ok(None),
            Err(StoreError::NotFound) => Err(Problem::unprocessable(
                "the request has no vimConnectionInfo and no default VIM is registered: give one, or register a VIM with is_default",
            )
            .into()),
            other => Ok(Some(other?)),
        }
    }

    /// A VNF that has objects somewhere stays there: nothing could remove them from elsewhere.
    async fn refuse_to_leave(&self, former: &VnfInstance, instance: &VnfInstance) -> Result<(), ApiError> {
        let (Some((key, home)), Some(namespace)) = (former.home(), &former.metadata.namespace) else { return Ok(()) };
        let stays = instance.home().is_some_and(|(_, now)| now.same_cluster(home));
        if (stays && instance.metadata.namespace.as_ref() == Some(namespace))
            || self.store.resources(former.id).await?.is_empty()
        {
            return Ok(());
        }
        Err(Problem::conflict(format!(
            "the VNF has, or may have, objects in namespace '{namespace}' of the VIM of vimConnectionInfo '{key}': it stays \
             there until it is terminated or its instantiation is rolled back; credentials may change"
        ))
        .into())
    }

    /// Those of the instance's connections that it did not have like this can be used, and it stays where it is. VIMs that
    /// are called by their names are looked up.
    pub(super) async fn check_connections(
        &self,
        former: &VnfInstance,
        instance: &mut VnfInstance,
    ) -> Result<(), ApiError> {
        for (key, connection) in &mut instance.vim_connections {
            if former.vim_connections.get(key) != Some(&*connection) {
                self.look_up_name(connection).await?;
                self.check_connection(key, connection).await?;
            }
        }
        self.refuse_to_leave(former, instance).await
    }

    /// Finds the VIM that a connection calls by its name, whose type and access are then those that it is registered with.
    async fn look_up_name(&self, connection: &mut VimConnection) -> Result<(), ApiError> {
        let Some(name) = connection.vim_id.clone().filter(|id| self.vims_by_name && id.parse::<VimId>().is_err())
        else {
            return Ok(());
        };
        match self.store.vim_named(self.project, &name).await {
            // Told as any other VIM that there is not.
            Err(StoreError::NotFound) => {}
            found => {
                let vim = found?;
                connection.vim_id = Some(vim.id.to_string());
                connection.vim_name = Some(name);
                connection.vim_type = vim.vim_type;
            }
        }
        Ok(())
    }

    async fn check_connection(&self, key: &str, connection: &VimConnection) -> Result<(), ApiError> {
        let wrong = |text: String| Problem::unprocessable(format!("vimConnectionInfo '{key}': {text}"));
        if !connection.is_kubernetes() {
            return Err(wrong(format!(
                "vimType '{}' is not supported; use ETSINFV.KUBERNETES.V_1",
                connection.vim_type
            ))
            .into());
        }
        if connection.inline_access().map_err(wrong)?.is_some() {
            return Ok(());
        }
        let id = connection.vim_id.as_deref();
        let id = id.ok_or_else(|| wrong("give a vimId, or interfaceInfo.endpoint with accessInfo".to_owned()))?;
        let unknown = || wrong(format!("there is no VIM '{id}'; GET /v1.0/vims lists them"));
        // One spelling: deleting a VIM looks for it in the instances.
        let vim_id: VimId = id.parse().ok().filter(|parsed: &VimId| parsed.to_string() == id).ok_or_else(unknown)?;
        match self.store.vim(self.project, vim_id).await {
            Err(StoreError::NotFound) => Err(unknown().into()),
            other => Ok(other.map(drop)?),
        }
    }

    pub(super) fn op_id(&self) -> VnfLcmOpOccId {
        VnfLcmOpOccId(self.ids.uuid())
    }

    /// The op occurrence of an operation that begins now.
    pub(super) fn op_occ(
        &self,
        id: VnfLcmOpOccId,
        operation: LcmOperation,
        params: Value,
        instance: &VnfInstance,
    ) -> VnfLcmOpOcc {
        let now = self.clock.now();
        // A change of attributes needs no grant, and so has no STARTING (clause 5.4.4.3.4).
        let state = if operation == LcmOperation::ModifyInfo { OpState::Processing } else { OpState::Starting };
        VnfLcmOpOcc {
            id,
            project_id: self.project.clone(),
            vnf_instance_id: instance.id,
            operation,
            state,
            state_entered_time: now,
            start_time: now,
            is_automatic_invocation: false,
            params,
            cancel: None,
            error: None,
            resource_changes: None,
            changed_info: None,
            target_package: None,
            traceparent: traces::traceparent(),
            grant: None,
            unattended: self.unattended,
        }
    }

    /// Begins an operation that leaves an instantiated VNF instance as it is.
    async fn begin(&self, op: VnfLcmOpOcc, instance: VnfInstance) -> Result<VnfLcmOpOccId, ApiError> {
        let prepare = async |instance: VnfInstance| {
            instantiated(&instance)?;
            Ok((op.clone(), instance))
        };
        self.begin_on(instance, prepare).await
    }

    /// Begins the operation that `prepare` makes, with the instance as it leaves it. Should the instance have been changed
    /// since it was read, once more: the view may have brought it up to date, which is nothing to the caller.
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
            match self.store.begin_operation(&op, &prepared).await {
                Err(StoreError::Stale) if attempt < ATTEMPTS => instance = self.instance(id).await?,
                begun => {
                    begun?;
                    return Ok(accepted(&op));
                }
            }
            attempt += 1;
        }
    }
}

fn accepted(op: &VnfLcmOpOcc) -> VnfLcmOpOccId {
    tracing::info!(op.id = %op.id, vnf_instance.id = %op.vnf_instance_id, operation = op.operation.as_str(), "operation {} accepted", op.id);
    op.id
}

/// How often it is tried to begin an operation of an instance that others change.
const ATTEMPTS: u32 = 4;

/// Key of the `vimConnectionInfo` entry that stands for the default VIM.
pub const DEFAULT_CONNECTION: &str = "default";

/// The direction of a scale request.
pub const fn direction(scale_type: ScaleType) -> ScaleDirection {
    match scale_type {
        ScaleType::ScaleOut => ScaleDirection::Out,
        ScaleType::ScaleIn => ScaleDirection::In,
    }
}

/// Where a request to scale to a level leads.
///
/// # Errors
/// 400 unless it says so in exactly one way, each aspect once.
pub fn target(request: &ScaleVnfToLevelRequest) -> Result<ScaleTarget, Problem> {
    match (&request.instantiation_level_id, request.scale_info.as_deref()) {
        (Some(level), None) => Ok(ScaleTarget::Level(level.clone())),
        (None, Some(infos)) if !infos.is_empty() => {
            let mut levels = BTreeMap::new();
            for info in infos {
                if levels.insert(info.aspect_id.clone(), info.scale_level).is_some() {
                    return Err(Problem::bad_request(format!("scaleInfo names aspect '{}' twice", info.aspect_id)));
                }
            }
            Ok(ScaleTarget::Aspects(levels))
        }
        _ => Err(Problem::bad_request("give either instantiationLevelId, or scaleInfo with an entry at least")),
    }
}

pub(super) fn instantiated(instance: &VnfInstance) -> Result<&InstantiatedVnfInfo, Problem> {
    instance
        .instantiated
        .as_ref()
        .ok_or_else(|| Problem::conflict(format!("VNF instance {} is NOT_INSTANTIATED", instance.id)))
}

/// 412 unless one of `versions` (of `If-Match`) is the instance's, or there is no such condition.
///
/// # Errors
/// 412.
fn check_version(instance: &VnfInstance, versions: Option<&[i64]>) -> Result<(), Problem> {
    match versions {
        Some(versions) if !versions.contains(&instance.version) => Err(changed()),
        _ => Ok(()),
    }
}

/// The instance is of no version that the caller takes.
pub fn changed() -> Problem {
    Problem::new(ProblemType::PreconditionFailed, "the VNF instance changed: GET it again")
}

/// # Errors
/// 422 for a package that is not to be used for anything new.
pub(super) fn usable(onboarded: &OnboardedVnfd) -> Result<(), Problem> {
    if onboarded.operational_state == OperationalState::Enabled {
        return Ok(());
    }
    let text = format!("VNF package {} is DISABLED: set its operationalState to ENABLED", onboarded.package_id);
    Err(Problem::unprocessable(text))
}

/// What tells `request` from others that are sent with the same key.
fn idempotency_key(key: String, request: &CreateVnfRequest) -> Result<IdempotencyKey, Problem> {
    let text = serde_json::to_string(request).map_err(|error| crate::error::internal(&error))?;
    Ok(IdempotencyKey { key, fingerprint: hex::encode(digest(&SHA256, text.as_bytes()).as_ref()) })
}

/// A request as it is recorded in the op occurrence: without secrets.
fn record(request: &impl serde::Serialize) -> Result<Value, Problem> {
    let mut record = serde_json::to_value(request).map_err(|error| crate::error::internal(&error))?;
    if let Some(additional) = record.get_mut("additionalParams") {
        *additional = masked(additional.take());
    }
    Ok(record)
}

/// What an operation records of its request may be this large, as JSON text.
const MAX_RECORD: usize = 256 * 1024;

fn refuse_large_record(record: &Value) -> Result<(), Problem> {
    modify::refuse_large("what is kept of the request", record, MAX_RECORD)
}

pub(super) fn without_nulls(record: Value) -> Value {
    match record {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
