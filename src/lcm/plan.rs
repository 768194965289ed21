//! Makes the plan of an op occurrence. It runs in STARTING, before anything changes; the plan is stored and never made again. A preview
//! makes a plan the same way, and the operation may run that one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::blocking::blocking;
use crate::domain::ids::{PlanId, VnfPkgId};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfState, Vnfc};
use crate::domain::kept_plan::{self, FrozenPlan};
use crate::domain::manifest::Manifest;
use crate::domain::namespace::Namespace;
use crate::domain::op_occ::{LcmOperation, VnfLcmOpOcc};
use crate::domain::operate::{StopMethod, stop_method};
use crate::domain::plan::{Plan, PodRef, ReplicaChange, Step, apply_all, operate, remove_all};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::render::{self, RenderInput};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::scale::{
    ScaleLevels, check_numbers, initial_levels, instances, numbers_after, profile_warnings, scaled, scaled_to,
};
use crate::domain::vdu_mapping::mapped;
use crate::domain::vim_policy::{self, ObjectUse};
use crate::domain::vnfd::Flavour;
use crate::domain::warning::Warnings;
use crate::domain::{heal, rollout};
use crate::infra::{Driver, InfraError, PodSnapshot, Scope};
use crate::lcm::accept::{direction, target};
use crate::lcm::access::{AccessError, registered};
use crate::lcm::params::{InstantiateParams, manifests};
use crate::sol003::common::{
    HealVnfRequest, OperateVnfRequest, ScaleVnfRequest, ScaleVnfToLevelRequest, StopType, TerminateVnfRequest,
    TerminationType, optional_id,
};
use crate::store::{OnboardedVnfd, Store, StoreError};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The operation is impossible as requested.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The cluster failed.
    #[error(transparent)]
    Infra(#[from] InfraError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Problem> for PlanError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// The inputs of a plan.
pub struct Planner<'a> {
    /// Packages and inventory.
    pub store: &'a dyn Store,
    /// For the discovery of kinds.
    pub driver: &'a dyn Driver,
    /// Where the VNF lives; `None`: a grant decides, and the plan until then only serves to request it.
    pub scope: Option<&'a Scope>,
    /// The operation.
    pub op: &'a VnfLcmOpOcc,
    /// Its VNF instance.
    pub instance: &'a VnfInstance,
    /// Its inventory so far.
    pub inventory: &'a [Resource],
}

/// The part of an InstantiateVnfRequest that a plan needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstantiateRecord {
    flavour_id: String,
    #[serde(default, deserialize_with = "optional_id")]
    instantiation_level_id: Option<String>,
    #[serde(default)]
    additional_params: Map<String, Value>,
}

impl Planner<'_> {
    /// The plan, and the inventory rows to add or replace.
    ///
    /// # Errors
    /// [`PlanError`]; nothing has changed.
    pub async fn plan(&self) -> Result<(Plan, Vec<Resource>), PlanError> {
        let (plan, resources) = match self.op.kept_plan() {
            Some(id) => self.kept(id).await?,
            None => self.made().await?,
        };
        self.check_policy(&plan, &resources).await?;
        Ok((plan, resources))
    }

    /// The plan that a preview made. Nothing that it was made from has changed when the operation began.
    async fn kept(&self, id: PlanId) -> Result<(Plan, Vec<Resource>), PlanError> {
        match self.store.taken_plan(self.op.id).await {
            Err(StoreError::NotFound) => Err(kept_plan::unknown(&id.to_string()).into()),
            taken => {
                let FrozenPlan { plan, resources, .. } = taken?;
                Ok((plan, resources))
            }
        }
    }

    async fn made(&self) -> Result<(Plan, Vec<Resource>), PlanError> {
        Ok(match self.op.operation {
            LcmOperation::Instantiate => self.instantiate().await?,
            LcmOperation::Scale => (self.scale().await?, Vec::new()),
            LcmOperation::ScaleToLevel => (self.scale_to_level().await?, Vec::new()),
            LcmOperation::Heal => (self.heal().await?, Vec::new()),
            LcmOperation::Operate => (self.operate()?, Vec::new()),
            LcmOperation::ChangeVnfpkg => (self.change_vnfpkg().await?, Vec::new()),
            LcmOperation::Terminate => (self.terminate()?, Vec::new()),
            LcmOperation::ModifyInfo => (self.modify_info().await?, Vec::new()),
        })
    }

    /// Refuses what the policy of the VIM does not allow: since the 202 it may have changed, a grant may have chosen another VIM, and
    /// discovery has told the scope of each kind. A VNF can always be terminated.
    async fn check_policy(&self, plan: &Plan, resources: &[Resource]) -> Result<(), PlanError> {
        let is_exempt = match self.op.operation {
            LcmOperation::Terminate => true,
            LcmOperation::ModifyInfo => !self.op.brings_package(),
            _ => false,
        };
        let (Some(scope), Some((_, home)), false) = (self.scope, self.instance.home(), is_exempt) else {
            return Ok(());
        };
        let vim = registered(self.store, &self.instance.project_id, home).await.map_err(|error| match error {
            AccessError::Unusable(_) => PlanError::Refused(Problem::unprocessable(error.to_string())),
            AccessError::Refused(problem) => problem.into(),
            AccessError::Store(error) => error.into(),
        })?;
        let Some(vim) = vim else { return Ok(()) };
        let rows: BTreeMap<&ObjectKey, &Resource> =
            self.inventory.iter().chain(resources).map(|row| (&row.key, row)).collect();
        let objects = plan.forward.iter().flat_map(|step| match step {
            Step::Apply { objects } => objects.iter().filter_map(|key| rows.get(key).copied()).collect(),
            Step::Change { rows, .. } | Step::Restore { rows } => rows.iter().collect(),
            _ => Vec::new(),
        });
        Ok(vim_policy::check(&vim, &scope.namespace, &objects.map(ObjectUse::from).collect::<Vec<_>>())?)
    }

    async fn instantiate(&self) -> Result<(Plan, Vec<Resource>), PlanError> {
        let request: InstantiateRecord = self.request()?;
        let params = InstantiateParams::read(&request.additional_params)?;
        let onboarded = self.store.vnfd_of_package(self.instance.vnf_pkg_id).await?;
        let flavour = &mapped(onboarded.vnfd.flavour(&request.flavour_id)?, &params.vdu_mapping);
        let level = request.instantiation_level_id.as_deref();
        let levels = initial_levels(flavour, level)?;
        let (definition_files, manifests) = self.manifests(onboarded.package_id, params.definition_files).await?;
        let numbers = instances(flavour, &levels, level);
        check_numbers(&numbers)?;
        let resources = self.rendered(&manifests, flavour, &numbers, params.create_namespace).await?;
        let wanted: Vec<ObjectKey> = resources.iter().map(|resource| resource.key.clone()).collect();
        // Leftovers of an earlier, failed instantiation that this one does not use.
        let leftover: Vec<ObjectKey> =
            self.inventory.iter().map(|resource| &resource.key).filter(|key| !wanted.contains(key)).cloned().collect();
        let mut forward = remove_all(&leftover, Some(0));
        forward.extend(apply_all(&resources));
        let all: Vec<ObjectKey> = wanted.into_iter().chain(leftover).collect();
        let instantiated = InstantiatedVnfInfo {
            max_scale_levels: flavour.max_levels(),
            scale_levels: levels,
            flavour_id: request.flavour_id,
            vnf_state: VnfState::Started,
            definition_files,
            vdu_mapping: params.vdu_mapping,
            vnfcs: Vec::new(),
            storages: Vec::new(),
        };
        let backward = Some(remove_all(&all, Some(0)));
        let warnings = warnings(&manifests, flavour, &numbers, &resources);
        Ok((Plan { forward, backward, instantiated: Some(instantiated), warnings, ..Plan::default() }, resources))
    }

    /// The package that the operation brings: that of the 202, whatever has the VNFD by now.
    pub(super) async fn target(&self) -> Result<OnboardedVnfd, PlanError> {
        let package = self.op.target_package.ok_or_else(|| Problem::conflict("the operation has no target package"))?;
        Ok(self.store.vnfd_of_package(package).await?)
    }

    /// The objects of the chosen definition files of a package (all if `chosen` is `None`), with the files' paths.
    pub(super) async fn manifests(
        &self,
        package: VnfPkgId,
        chosen: Option<Vec<String>>,
    ) -> Result<(Vec<String>, Vec<Manifest>), PlanError> {
        let files = self.store.definition_files(package).await?;
        Ok(blocking(move || manifests(&files, chosen.as_deref())).await?)
    }

    /// The inventory rows for the manifests, with these numbers of instances of VDUs.
    pub(super) async fn rendered(
        &self,
        manifests: &[Manifest],
        flavour: &Flavour,
        numbers: &BTreeMap<String, u32>,
        create_namespace: bool,
    ) -> Result<Vec<Resource>, PlanError> {
        let mut kinds = render::announced_kinds(manifests);
        kinds.extend(render::defined_kinds(manifests));
        kinds.extend(match self.scope {
            Some(scope) => self.driver.discover(&scope.access, &render::kinds(manifests)).await?,
            None => render::assumed(render::kinds(manifests)),
        });
        Ok(render::resources(&RenderInput {
            manifests,
            flavour,
            instances: numbers,
            namespace: self.namespace()?,
            create_namespace,
            instance: self.instance.id,
            kinds: &kinds,
        })?)
    }

    async fn scale(&self) -> Result<Plan, PlanError> {
        let request: ScaleVnfRequest = self.request()?;
        let before = &self.info()?.scale_levels;
        let flavour = self.flavour().await?;
        let steps = request.number_of_steps.unwrap_or(1);
        let after = scaled(&flavour, before, direction(request.scale_type), &request.aspect_id, steps)?;
        let vdus = flavour.aspects.get(&request.aspect_id).into_iter().flat_map(|aspect| aspect.deltas.keys());
        let numbers = numbers_after(&flavour, (before, &after), None, vdus, &self.present_replicas());
        self.rescaled(&flavour, after, &numbers)
    }

    async fn scale_to_level(&self) -> Result<Plan, PlanError> {
        let request: ScaleVnfToLevelRequest = self.request()?;
        let before = &self.info()?.scale_levels;
        let flavour = self.flavour().await?;
        let target = target(&request)?;
        let after = scaled_to(&flavour, before, &target)?;
        let vdus = target.vdus(&flavour);
        let numbers = numbers_after(&flavour, (before, &after), target.level(), vdus, &self.present_replicas());
        self.rescaled(&flavour, after, &numbers)
    }

    /// The replicas of the workloads of the VDUs, by VDU, as intended.
    pub(super) fn present_replicas(&self) -> BTreeMap<String, u32> {
        self.inventory.iter().filter_map(|row| Some((row.vdu_id.clone()?, row.replicas()?))).collect()
    }

    /// The plan that gives the VDUs these numbers of instances and the VNF these levels.
    fn rescaled(
        &self,
        flavour: &Flavour,
        after: ScaleLevels,
        numbers: &BTreeMap<String, u32>,
    ) -> Result<Plan, PlanError> {
        check_numbers(numbers)?;
        let changes: Vec<(ReplicaChange, ReplicaChange)> = self
            .inventory
            .iter()
            .filter_map(|resource| {
                let replicas = *numbers.get(resource.vdu_id.as_ref()?)?;
                let change = |replicas| ReplicaChange { object: resource.key.clone(), replicas };
                Some((change(replicas), change(resource.replicas()?)))
            })
            .collect();
        if changes.is_empty() {
            let text = "Gybe does not control the replicas of any workload that this request scales (a HorizontalPodAutoscaler may)";
            return Err(Problem::unprocessable(text).into());
        }
        let objects: Vec<ObjectKey> = changes.iter().map(|(change, _)| change.object.clone()).collect();
        let (forward, backward) = changes.into_iter().unzip();
        let set = |changes| vec![Step::SetReplicas { changes }, Step::AwaitReady { objects: objects.clone() }];
        let warnings = profile_warnings(flavour, numbers).into_iter().collect();
        let (forward, backward) = (set(forward), Some(set(backward)));
        Ok(Plan { forward, backward, scale_levels: Some(after), warnings, ..Plan::default() })
    }

    /// The flavour of the VNF, with the workloads that its `vdu_mapping` names.
    pub(super) async fn flavour(&self) -> Result<Flavour, PlanError> {
        let onboarded = self.store.vnfd_of_package(self.instance.vnf_pkg_id).await?;
        let info = self.info()?;
        Ok(mapped(onboarded.vnfd.flavour(&info.flavour_id)?, &info.vdu_mapping))
    }

    async fn heal(&self) -> Result<Plan, PlanError> {
        let request: HealVnfRequest = self.request()?;
        let ids = request.vnfc_instance_id.unwrap_or_default();
        // Without ids, all present pods. With ids, the pods that the caller saw; some may be gone by now.
        let observed = if ids.is_empty() {
            self.driver.observe(self.scope()?, self.inventory, PodSnapshot::default()).await?.vnfcs
        } else {
            Vec::new()
        };
        let vnfcs: Vec<&Vnfc> =
            if ids.is_empty() { observed.iter().collect() } else { heal::select(&self.info()?.vnfcs, &ids)? };
        let is_home = |resource: &Resource, vnfc: &Vnfc| {
            vnfc.workload_kind == resource.key.kind && vnfc.workload_name == resource.key.name
        };
        let is_stopped = self.info()?.vnf_state == VnfState::Stopped;
        // A Job that has run does not run again. Objects that a stopped VNF does not have come back when it starts.
        let concerned = |resource: &&Resource| {
            resource.key.kind != "Job"
                && !(is_stopped && stop_method(&resource.key) == StopMethod::Delete)
                && (ids.is_empty() || vnfcs.iter().any(|vnfc| is_home(resource, vnfc)))
        };
        let objects = self.inventory.iter().filter(concerned);
        let pods = vnfcs.iter().map(|vnfc| PodRef { name: vnfc.pod_name.clone(), uid: vnfc.pod_uid.clone() });
        // Apply restores objects that others removed or changed, and bare pods.
        let mut forward = vec![Step::DeletePods { pods: pods.collect() }];
        forward.extend(apply_all(objects));
        Ok(Plan { forward, ..Plan::default() })
    }

    fn operate(&self) -> Result<Plan, PlanError> {
        let request: OperateVnfRequest = self.request()?;
        let grace_seconds = match request.stop_type {
            Some(StopType::Graceful) => request.graceful_stop_timeout,
            Some(StopType::Forceful) | None => Some(0),
        };
        let those = |how| {
            let rows = self.inventory.iter().filter(move |row| stop_method(&row.key) == how);
            rows.map(|row| row.key.clone()).collect::<Vec<ObjectKey>>()
        };
        let (emptied, removed) = (those(StopMethod::ScaleToZero), those(StopMethod::Delete));
        if emptied.is_empty() && removed.is_empty() {
            return Err(Problem::unprocessable("the VNF has no workload that could be stopped or started").into());
        }
        let steps = |vnf_state, grace_seconds| operate(&emptied, &removed, vnf_state, grace_seconds);
        Ok(Plan {
            forward: steps(request.change_state_to, grace_seconds),
            backward: Some(steps(self.info()?.vnf_state, None)),
            vnf_state: Some(request.change_state_to),
            ..Plan::default()
        })
    }

    fn terminate(&self) -> Result<Plan, PlanError> {
        if self.op.abandons() {
            let namespace = self.instance.metadata.namespace.as_ref().map(Namespace::as_str).unwrap_or_default();
            let warnings = abandoned(self.inventory, self.instance.vim_connection_id(), namespace);
            return Ok(Plan { warnings, ..Plan::default() });
        }
        let request: TerminateVnfRequest = self.request()?;
        let grace_seconds = match request.termination_type {
            TerminationType::Forceful => Some(0),
            TerminationType::Graceful => request.graceful_termination_timeout,
        };
        let objects: Vec<ObjectKey> = self.inventory.iter().map(|row| row.key.clone()).collect();
        Ok(Plan { forward: remove_all(&objects, grace_seconds), ..Plan::default() })
    }

    fn scope(&self) -> Result<&Scope, Problem> {
        self.scope.ok_or_else(|| Problem::conflict("the VNF instance lives in no VIM"))
    }

    pub(super) fn namespace(&self) -> Result<&Namespace, Problem> {
        let namespace = self.instance.metadata.namespace.as_ref();
        namespace.ok_or_else(|| Problem::conflict("the VNF instance has no namespace"))
    }

    pub(super) fn info(&self) -> Result<&InstantiatedVnfInfo, Problem> {
        self.instance.instantiated.as_ref().ok_or_else(|| Problem::conflict("the VNF instance is NOT_INSTANTIATED"))
    }

    pub(super) fn request<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_value(self.op.params.clone()).map_err(|error| {
            let reason = error.to_string();
            problem!(ProblemType::Unprocessable, "the stored request cannot be read: {reason}", reason = reason)
        })
    }
}

/// The warnings of the objects of `manifests` with these numbers of instances of VDUs.
pub(super) fn warnings(
    manifests: &[Manifest],
    flavour: &Flavour,
    numbers: &BTreeMap<String, u32>,
    resources: &[Resource],
) -> Warnings {
    let of_vdus = render::warnings(manifests, flavour).into_iter().chain(profile_warnings(flavour, numbers));
    of_vdus.chain(rollout::warnings(resources)).collect()
}

/// The most bytes of names in a warning about abandoned objects.
const MAX_ABANDONED: usize = 400;

/// Warnings that name the objects that may exist and that nobody deletes any more.
fn abandoned(inventory: &[Resource], vim: &str, namespace: &str) -> Warnings {
    let mut names: Vec<String> = Vec::new();
    for row in inventory.iter().filter(|row| row.state != ResourceState::Planned) {
        let name = row.key.to_string();
        match names.last_mut() {
            Some(names) if names.len() + name.len() < MAX_ABANDONED => *names = format!("{names}, {name}"),
            _ => names.push(name),
        }
    }
    let warning = |names: &String| format!("abandoned in namespace '{namespace}' of VIM connection '{vim}': {names}");
    names.iter().map(warning).collect()
}
