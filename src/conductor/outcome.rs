//! The outcome of an operation whose steps are all done: the state that the operation enters, and the new instance.

use serde_json::{Map, Value};

use crate::conductor::execution::Execution;
use crate::conductor::steps::StepError;
use crate::domain::change;
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance};
use crate::domain::metering::quantities;
use crate::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::Resource;
use crate::domain::resource_changes::ResourceChanges;
use crate::domain::transition::OpEvent;
use crate::domain::vnfc_ids::identified;
use crate::domain::warning::Warnings;
use crate::infra::{ObservedResources, PodSnapshot, Scope};
use crate::lcm::container_update;
use crate::store::OperationOutcome;

/// The outcome of `execution`, all steps of which are done. `pods` are those that the last step waited for.
///
/// # Errors
/// The cluster or the store cannot be read.
pub async fn succeeded(
    execution: &Execution<'_>,
    scope: Option<&Scope>,
    plan: &Plan,
    inventory: &[Resource],
    pods: PodSnapshot,
) -> Result<OperationOutcome, StepError> {
    let update = execution.transition(OpEvent::Succeeded)?;
    let mut outcome = OperationOutcome::of(update, None, execution.conductor.clock.now());
    let op = &execution.op;
    if op.operation == LcmOperation::Instantiate && update.to == OpState::RolledBack {
        outcome.instance = undone(op, &execution.instance);
        outcome.discard_inventory = true;
    } else if op.abandons() && update.to == OpState::Completed {
        let mut instance = execution.instance.clone();
        let before = instance.instantiated.take();
        let vim = instance.vim_connection_id().to_owned();
        let (vnfcs, storages) = before.map(|info| (info.vnfcs, info.storages)).unwrap_or_default();
        outcome.resource_changes = Some(ResourceChanges::between(&vim, (&vnfcs, &storages), (&[], &[])));
        outcome.instance = Some(terminated(instance));
        outcome.discard_inventory = true;
    } else if let Some(scope) = scope {
        let (instance, changes) = changed(execution, scope, plan, inventory, pods).await?;
        if update.to == OpState::Completed {
            outcome.changed_info = match op.operation {
                LcmOperation::ChangeVnfpkg => Some(change::modifications(&execution.instance, &instance, &op.params)),
                LcmOperation::ModifyInfo => {
                    Some(container_update::changed_info(&execution.instance, &instance, &op.params))
                }
                _ => None,
            };
        }
        outcome.instance = Some(instance);
        outcome.resource_changes = Some(changes);
    }
    outcome.metered = outcome.instance.as_ref().map(|instance| quantities(instance, inventory));
    Ok(outcome)
}

/// The instance as it was before an INSTANTIATE that is undone; `None` for other operations, which leave it unchanged.
pub fn undone(op: &VnfLcmOpOcc, instance: &VnfInstance) -> Option<VnfInstance> {
    if op.operation != LcmOperation::Instantiate {
        return None;
    }
    let mut instance = instance.clone();
    instance.metadata.namespace = None;
    instance.vim_connections.retain(|_, connection| connection.added_by != Some(op.id));
    instance.vim_connections.values_mut().for_each(|connection| connection.home = false);
    Some(instance)
}

/// The instance after the steps, and what changed in the VIM.
async fn changed(
    execution: &Execution<'_>,
    scope: &Scope,
    plan: &Plan,
    inventory: &[Resource],
    pods: PodSnapshot,
) -> Result<(VnfInstance, ResourceChanges), StepError> {
    let mut instance = execution.instance.clone();
    let before = instance.instantiated.take();
    let vim = instance.vim_connection_id().to_owned();
    let (vnfcs_before, storages_before) =
        before.as_ref().map(|info| (info.vnfcs.clone(), info.storages.clone())).unwrap_or_default();
    let present_before = (&*vnfcs_before, &*storages_before);
    if execution.op.operation == LcmOperation::Terminate {
        return Ok((terminated(instance), ResourceChanges::between(&vim, present_before, (&[], &[]))));
    }
    let ObservedResources { vnfcs, storages } = execution.conductor.driver.observe(scope, inventory, pods).await?;
    let vnfcs = identified(&vnfcs_before, vnfcs, &plan.replaced_pods());
    let changes = ResourceChanges::between(&vim, present_before, (&vnfcs, &storages));
    let mut info = info(execution, plan, before)?;
    info.vnfcs = vnfcs;
    info.storages = storages;
    // A rollback leaves the instance unchanged.
    if execution.op.state == OpState::Processing {
        if matches!(execution.op.operation, LcmOperation::Instantiate | LcmOperation::ChangeVnfpkg) {
            merge_attributes(&mut instance, &execution.op.params);
            instance.warnings.clone_from(&execution.op.warnings);
        }
        if let Some(package) = &plan.package {
            package.apply_to(&mut instance);
        }
        if execution.op.operation == LcmOperation::ModifyInfo {
            container_update::apply_attributes(&mut instance, &execution.op.params).map_err(StepError::Permanent)?;
        }
    }
    instance.instantiated = Some(info);
    let changes = changes.with_vnf(&execution.instance, &instance);
    Ok((instance, changes))
}

/// The instance without what refers to its former objects and their cluster.
fn terminated(mut instance: VnfInstance) -> VnfInstance {
    instance.metadata.namespace = None;
    instance.vim_connections.clear();
    instance.warnings = Warnings::default();
    instance
}

/// Merges the extensions and configurable properties of the request into those of the instance (clause 5.5.2.4).
fn merge_attributes(instance: &mut VnfInstance, request: &Value) {
    let merged = |members: &Map<String, Value>, name: &str| {
        let mut document = Value::Object(members.clone());
        json_patch::merge(&mut document, request.get(name).unwrap_or(&Value::Object(Map::new())));
        if let Value::Object(members) = document { members } else { Map::new() }
    };
    instance.extensions = merged(&instance.extensions, "extensions");
    instance.configurable_properties = merged(&instance.configurable_properties, "vnfConfigurableProperties");
}

fn info(
    execution: &Execution<'_>,
    plan: &Plan,
    before: Option<InstantiatedVnfInfo>,
) -> Result<InstantiatedVnfInfo, StepError> {
    let missing = || StepError::Permanent(Problem::conflict("the VNF instance is NOT_INSTANTIATED"));
    // A rollback leaves these attributes unchanged.
    if execution.op.state != OpState::Processing {
        return before.ok_or_else(missing);
    }
    let mut info = plan.instantiated.clone().or(before).ok_or_else(missing)?;
    if let Some(levels) = plan.scale_levels.clone() {
        info.scale_levels = levels;
    }
    if let Some(state) = plan.vnf_state {
        info.vnf_state = state;
    }
    Ok(info)
}
