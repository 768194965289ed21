//! The end of an operation whose steps are all done: the state it enters and the instance as it is from then on.

use serde_json::{Map, Value};

use crate::conductor::run::Task;
use crate::conductor::steps::StepError;
use crate::domain::change;
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance};
use crate::domain::op_occ::{LcmOperation, OpEvent, OpState, ResourceChanges, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::Resource;
use crate::infra::{ObservedResources, PodSnapshot, Scope};
use crate::store::OperationOutcome;

/// The ending of `task`, all steps of which are done; `pods` are those that the last one has shown.
///
/// # Errors
/// The cluster or the store could not be asked for what the instance is now.
pub async fn ending(
    task: &Task<'_>,
    scope: Option<&Scope>,
    plan: &Plan,
    inventory: &[Resource],
    pods: PodSnapshot,
) -> Result<OperationOutcome, StepError> {
    let to = task
        .op
        .state
        .on(OpEvent::Succeeded)
        .map_err(|error| StepError::Permanent(Problem::conflict(error.to_string())))?;
    let error = task.op.error.clone().filter(|_| to == OpState::RolledBack);
    let mut ending = OperationOutcome::bare(task.op.state, to, error, task.conductor.clock.now());
    if task.op.operation == LcmOperation::Instantiate && to == OpState::RolledBack {
        ending.instance = undone(&task.op, &task.instance);
        ending.discard_inventory = true;
    } else if let Some(scope) = scope {
        let (instance, changes) = changed(task, scope, plan, inventory, pods).await?;
        if task.op.operation == LcmOperation::ChangeVnfpkg && to == OpState::Completed {
            ending.changed_info = Some(change::modifications(&task.instance, &instance, &task.op.params));
        }
        ending.instance = Some(instance);
        ending.resource_changes = Some(changes);
    }
    Ok(ending)
}

/// The instance as it was before an INSTANTIATE that came to nothing; `None` for other operations, which leave it as it is.
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

/// The instance after the steps, and the VNFCs that came and went.
async fn changed(
    task: &Task<'_>,
    scope: &Scope,
    plan: &Plan,
    inventory: &[Resource],
    pods: PodSnapshot,
) -> Result<(VnfInstance, ResourceChanges), StepError> {
    let mut instance = task.instance.clone();
    let before = instance.instantiated.take();
    let vim = instance.vim_connection_id().to_owned();
    let (vnfcs_before, storages_before) =
        before.as_ref().map(|info| (info.vnfcs.clone(), info.storages.clone())).unwrap_or_default();
    let there_before = (&*vnfcs_before, &*storages_before);
    if task.op.operation == LcmOperation::Terminate {
        instance.metadata.namespace = None;
        instance.vim_connections.clear();
        return Ok((instance, ResourceChanges::between(&vim, there_before, (&[], &[]))));
    }
    let ObservedResources { vnfcs, storages } = task.conductor.driver.observe(scope, inventory, pods).await?;
    let changes = ResourceChanges::between(&vim, there_before, (&vnfcs, &storages));
    let mut info = info(task, plan, before)?;
    info.vnfcs = vnfcs;
    info.storages = storages;
    // Rolling back leaves the instance what it was.
    if task.op.state == OpState::Processing {
        if matches!(task.op.operation, LcmOperation::Instantiate | LcmOperation::ChangeVnfpkg) {
            merge_attributes(&mut instance, &task.op.params);
        }
        if let Some(package) = &plan.package {
            package.apply_to(&mut instance);
        }
    }
    instance.instantiated = Some(info);
    Ok((instance, changes))
}

/// Merges the request's extensions and configurable properties into the instance's (clause 5.5.2.4).
fn merge_attributes(instance: &mut VnfInstance, request: &Value) {
    let merged = |members: &Map<String, Value>, name: &str| {
        let mut document = Value::Object(members.clone());
        json_patch::merge(&mut document, request.get(name).unwrap_or(&Value::Object(Map::new())));
        if let Value::Object(members) = document { members } else { Map::new() }
    };
    instance.extensions = merged(&instance.extensions, "extensions");
    instance.configurable_properties = merged(&instance.configurable_properties, "vnfConfigurableProperties");
}

fn info(task: &Task<'_>, plan: &Plan, before: Option<InstantiatedVnfInfo>) -> Result<InstantiatedVnfInfo, StepError> {
    let missing = || StepError::Permanent(Problem::conflict("the VNF instance is NOT_INSTANTIATED"));
    // Rolling back leaves all of it as it was.
    if task.op.state != OpState::Processing {
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
