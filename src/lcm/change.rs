//! The change of a VNF's package (SOL003 clause 5.4.11a): the checks before the 202, and the plan.
//!
//! `crate::api` calls the checks through [`Acceptor`], and the planner creates the plan. `crate::domain::change` decides how each object
//! changes.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::blocking::blocking;
use crate::domain::change::{
    backward, forward, instance_numbers, keep_present_numbers, levels_under, matching_level, retained_rows,
};
use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::{InstantiatedVnfInfo, PackageAttributes, VnfInstance, VnfState};
use crate::domain::namespace;
use crate::domain::op_occ::{LcmOperation, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::render;
use crate::domain::scale::ScaleLevels;
use crate::domain::vdu_mapping::{self, carried_over, mapped};
use crate::domain::vim_policy::ObjectUse;
use crate::domain::vnfd::Flavour;
use crate::domain::warning::Warnings;
use crate::error::{ApiError, internal};
use crate::lcm::accept::{Acceptor, instantiated, usable};
use crate::lcm::modify::{self, refuse_excess};
use crate::lcm::params::{ChangeParams, manifests};
use crate::lcm::plan::{PlanError, Planner, warnings};
use crate::lcm::sent::Sent;
use crate::sol003::v2::ChangeCurrentVnfPkgRequest;
use crate::store::StoreError;

/// The part of a ChangeCurrentVnfPkgRequest that a plan needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeRecord {
    #[serde(default)]
    additional_params: Map<String, Value>,
}

impl Acceptor<'_> {
    /// Accepts CHANGE_VNFPKG, also to the present package of the VNF: after an operation that failed half-way, the
    /// change brings the VNF to the state of its package.
    ///
    /// # Errors
    /// 404, 409 (NOT_INSTANTIATED, STOPPED, other operation), 400 and 422 for errors in the request: unknown VNFD, flavour or
    /// level, another namespace, invalid manifests; 403 as the policy of the VIM says.
    pub async fn change_vnfpkg(
        &self,
        id: VnfInstanceId,
        sent: Sent<ChangeCurrentVnfPkgRequest>,
    ) -> Result<VnfLcmOpOccId, ApiError> {
        let instance = self.instance(id).await?;
        let info = started(&instance)?;
        let record = sent.record()?;
        let request = sent.request;
        let additional = request.additional_params.unwrap_or_default();
        let params = ChangeParams::read(&additional)?;
        stays(&instance, params.namespace.as_ref())?;
        refuse_excess("extensions", request.extensions.as_ref())?;
        refuse_excess("vnfConfigurableProperties", request.vnf_configurable_properties.as_ref())?;
        let onboarded = match self.store.vnfd(self.project, &request.vnfd_id).await {
            Err(StoreError::NotFound) => {
                return Err(unknown_vnfd(&request.vnfd_id).into());
            }
            found => found?,
        };
        usable(&onboarded)?;
        let flavour = onboarded.vnfd.flavour(&info.flavour_id)?.clone();
        let levels = levels_under(&flavour, &info.scale_levels)?;
        refuse_unknown_vdus(&flavour, &params.vdus)?;
        let files = self.store.definition_files(onboarded.package_id).await?;
        let (home, stored) = (instance.metadata.namespace.clone(), info.vdu_mapping.clone());
        let objects = blocking(move || {
            let (_, manifests) = manifests(&files, params.definition_files.as_deref())?;
            render::check(&manifests)?;
            vdu_mapping::check(&flavour, &params.vdu_mapping, &manifests)?;
            let mapping = carried_over(&stored, params.vdu_mapping, &flavour, &manifests);
            let flavour = mapped(&flavour, &mapping);
            home.map_or(Ok(()), |home| namespace::refuse_system_namespaces(&manifests, &home))?;
            instance_numbers(&flavour, &levels, None, &manifests)?;
            Ok(ObjectUse::of_manifests(&manifests))
        })
        .await?;
        self.check_policy(&instance, &objects).await?;

        let requested = serde_json::to_value(request.vim_connection_info).map_err(|error| internal(&error))?;
        let prepare = async |former: VnfInstance| {
            started(&former)?;
            let mut instance = former.clone();
            if !requested.is_null() {
                let patch = Map::from_iter([(CONNECTIONS.to_owned(), requested.clone())]);
                modify::apply(&mut instance, patch)?;
                self.connections().check(&former, &mut instance).await?;
            }
            let op = self.op_occ(self.op_id(), LcmOperation::ChangeVnfpkg, record.clone(), &instance);
            Ok((VnfLcmOpOcc { target_package: Some(onboarded.package_id), ..op }, instance))
        };
        self.begin_on(instance, prepare).await
    }
}

const CONNECTIONS: &str = "vimConnectionInfo";

pub(super) fn started(instance: &VnfInstance) -> Result<&InstantiatedVnfInfo, Problem> {
    let info = instantiated(instance)?;
    if info.vnf_state == VnfState::Started {
        return Ok(info);
    }
    Err(problem!(
        ProblemType::Conflict,
        "VNF instance {id} is {state}: start it (operate, changeStateTo STARTED), then change it",
        id = instance.id.to_string(),
        state = "STOPPED",
    ))
}

pub(super) fn unknown_vnfd(id: &str) -> Problem {
    problem!(ProblemType::Unprocessable, "no onboarded VNF package has the vnfdId '{vnfdId}'", vnfdId = id)
}

/// Refuses a namespace other than that of the VNF: a VNF never moves to another namespace.
fn stays(instance: &VnfInstance, requested: Option<&Value>) -> Result<(), Problem> {
    let Some(requested) = requested else { return Ok(()) };
    let (requested, home) = (namespace::decide(Some(requested), &[], false)?, instance.metadata.namespace.as_ref());
    if home == Some(&requested) {
        return Ok(());
    }
    let home = home.map_or("no namespace", namespace::Namespace::as_str);
    Err(problem!(
        ProblemType::Unprocessable,
        "additionalParams.namespace is '{value}', but VNF instance {id} is in '{namespace}' and stays there: leave it out",
        value = requested.as_str(),
        id = instance.id.to_string(),
        namespace = home,
    ))
}

fn refuse_unknown_vdus(flavour: &Flavour, vdus: &[String]) -> Result<(), Problem> {
    let unknown: Vec<&String> = vdus.iter().filter(|vdu| !flavour.vdus.contains_key(*vdu)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "additionalParams.vdu_params names {vduId}, which the new VNFD does not have; it has: {allowed}",
        vduId = unknown.into_iter().collect::<QuotedValues>(),
        allowed = flavour.vdus.keys().collect::<QuotedValues>(),
    ))
}

impl Planner<'_> {
    /// The plan of CHANGE_VNFPKG. Each step writes its rows: a row describes its object before or after the step.
    ///
    /// # Errors
    /// [`PlanError`]; nothing has changed.
    pub(super) async fn change_vnfpkg(&self) -> Result<Plan, PlanError> {
        let request: ChangeRecord = self.request()?;
        let params = ChangeParams::read(&request.additional_params)?;
        let info = self.info()?;
        let onboarded = self.target().await?;
        let stated = onboarded.vnfd.flavour(&info.flavour_id)?;
        let (definition_files, manifests) = self.manifests(onboarded.package_id, params.definition_files).await?;
        let vdu_mapping = carried_over(&info.vdu_mapping, params.vdu_mapping, stated, &manifests);
        let flavour = &mapped(stated, &vdu_mapping);
        let scale_levels = levels_under(flavour, &info.scale_levels)?;
        let replicas = self.present_replicas();
        let flavour_before = self.flavour().await?;
        let level = matching_level(&flavour_before, &info.scale_levels, &replicas);
        let mut numbers = instance_numbers(flavour, &scale_levels, level, &manifests)?;
        let levels_before = (&flavour_before, &info.scale_levels);
        keep_present_numbers(&mut numbers, levels_before, (flavour, &scale_levels), &replicas);
        let mut after = self.rendered(&manifests, flavour, &numbers, false).await?;
        let kept: Vec<_> = retained_rows(self.inventory, &after, self.namespace()?).into_iter().cloned().collect();
        after.extend(kept);
        let mut warnings = warnings(&manifests, flavour, &numbers, &after);
        warn_of_lost_aspects(&mut warnings, &info.scale_levels, &scale_levels);
        let instantiated = InstantiatedVnfInfo {
            max_scale_levels: flavour.max_levels(),
            scale_levels,
            flavour_id: info.flavour_id.clone(),
            vnf_state: VnfState::Started,
            definition_files,
            vdu_mapping,
            vnfcs: Vec::new(),
            storages: Vec::new(),
        };
        Ok(Plan {
            forward: forward(self.inventory, &after),
            backward: Some(backward(self.inventory, &after)),
            instantiated: Some(instantiated),
            package: Some(PackageAttributes::new(onboarded.package_id, &onboarded.vnfd)),
            warnings,
            ..Plan::default()
        })
    }
}

/// A warning for each scaling aspect that the new package does not have.
fn warn_of_lost_aspects(warnings: &mut Warnings, before: &ScaleLevels, after: &ScaleLevels) {
    for (aspect, level) in before.iter().filter(|(aspect, _)| !after.contains_key(*aspect)) {
        warnings.add(format!(
            "the new package has no scaling aspect '{aspect}', which is at level {level}: its workloads get the number of instances that the package says"
        ));
    }
}
