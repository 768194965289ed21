//! The conditions after the end of an operation.

use std::collections::{BTreeMap, BTreeSet};

use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::instance::VnfState;
use gybe::domain::op_occ::{LcmOperation, OpState, can_roll_back};
use gybe::domain::operate::{StopMethod, stop_method};
use gybe::domain::resource::{Resource, ResourceState};
use gybe::store::Claim;

use super::environment::{Environment, LEASE};
use super::faults::Task;
use super::operations::{CHANGE, DELETE_OBJECTS, HEAL_ALL, INSTANTIATE, START, TERMINATE_FORCEFUL, UPDATE};
use super::row::MatrixRow;
use super::run::{OperationRun, run_to_end};
use crate::support::faults::Fault;

/// Checks everything after an operation of `row` has ended in `state`. `never_reversed`: no request changed the operation
/// from forward to rollback or fail.
pub async fn check(
    row: &MatrixRow,
    environment: &Environment,
    op: VnfLcmOpOccId,
    state: OpState,
    never_reversed: bool,
) {
    let op = environment.op_occ(op).await;
    assert_eq!(op.error.is_some(), state != OpState::Completed, "the error in {state:?}: {:?}", op.error);
    assert_eq!(op.cancel, None, "no cancel request is pending at the end");
    assert_eq!(can_roll_back(op.operation, row.operation.request == UPDATE), row.operation.can_roll_back());
    let idle = environment.store().claim("nobody", LEASE, 1, &Crowded::default()).await.unwrap();
    assert!(matches!(idle, Claim::Idle(None)), "the queue is empty: {idle:?}");

    let steps = environment.store().steps(op.id).await.unwrap();
    let unfinished: Vec<_> = steps.iter().filter(|step| step.ended_at.is_none()).collect();
    assert!(unfinished.is_empty(), "all steps have ended in {state:?}: {unfinished:#?}");

    let effects = environment.cluster.take_effects();
    match state {
        OpState::Completed => environment.view().await.is(&row.completed, "the intended state"),
        OpState::RolledBack if op.operation == LcmOperation::Instantiate && environment.was_planned(op.id).await => {
            check_nothing_left(environment).await;
        }
        // The rollback recreates deleted objects.
        OpState::RolledBack
            if row.operation.before.contains(&DELETE_OBJECTS) && environment.was_planned(op.id).await => {}
        OpState::RolledBack => {
            let mut view = environment.view().await;
            // If the database fails, Gybe cannot know whether the namespace is still needed, so the instance keeps it.
            if op.error.is_some_and(|error| error.status == 500) {
                view.instance.clone_from(&row.before.instance);
            }
            view.is(&row.before, "the state before the operation");
            if row.operation.before.contains(&DELETE_OBJECTS) {
                return;
            }
        }
        _ => {}
    }
    if never_reversed && state == row.outcome {
        assert_eq!(effects, row.effects, "same effects as in the run without faults");
    }
    for (what, effects) in effects.iter().filter(|(what, _)| !what.starts_with("pods of")) {
        assert!(effects.created <= 1 + effects.deleted, "{what} was created {} times", effects.created);
    }
    check_database_matches_cluster(environment, state == OpState::Failed).await;
    let (instance, cluster) = (environment.instance().await, environment.cluster.state());
    if let Some(info) = instance.instantiated.as_ref().filter(|_| state != OpState::Failed) {
        let shown: BTreeSet<&str> = info.vnfcs.iter().map(|vnfc| vnfc.pod_uid.as_str()).collect();
        let there: BTreeSet<&str> = cluster.pods.iter().map(|pod| pod.uid.as_str()).collect();
        assert!(shown.is_subset(&there), "a VNFC has no pod in the cluster: {shown:?}, {there:?}");
    }
}

/// Checks that objects and rows correspond. After a failed operation, rows may be left over.
pub async fn check_database_matches_cluster(environment: &Environment, failed: bool) {
    let (inventory, state) = (environment.inventory().await, environment.cluster.state());
    let objects = state.objects_of(environment.instance);
    for (key, object) in &objects {
        let row = inventory.iter().find(|row| row.key == **key);
        let row = row.unwrap_or_else(|| panic!("object without inventory row: {key}"));
        match &row.state {
            ResourceState::Present { uid, owned: true } if *uid == object.uid => {}
            // The object was created, and the response was lost.
            other => assert!(failed && *other == ResourceState::Intent, "{key} exists, its row says {other:?}"),
        }
        assert!(failed || row.manifest == object.manifest, "{key}: the row says {:?}", row.manifest);
    }
    let info = environment.instance().await.instantiated;
    let is_stopped = info.is_some_and(|info| info.vnf_state == VnfState::Stopped);
    let waits = |row: &Resource| {
        is_stopped && row.state == ResourceState::Planned && stop_method(&row.key) == StopMethod::Delete
    };
    for row in inventory.iter().filter(|row| !failed && !waits(row)) {
        assert!(objects.contains_key(&row.key), "inventory row without object: {}", row.key);
    }
}

/// Checks that further operations repair an instance after a failed operation, and that its
/// termination leaves nothing.
pub async fn check_repairable(environment: &mut Environment) {
    if environment.instance().await.instantiated.is_none() {
        run_to_end(environment, &[INSTANTIATE]).await;
        check_database_matches_cluster(environment, false).await;
    }
    run_to_end(environment, &[TERMINATE_FORCEFUL]).await;
    check_nothing_left(environment).await;
}

pub async fn check_nothing_left(environment: &Environment) {
    let (state, instance) = (environment.cluster.state(), environment.instance().await);
    assert!(
        state.objects_of(environment.instance).is_empty() && state.claims.is_empty(),
        "left over: {:?}",
        state.objects
    );
    assert!(environment.inventory().await.is_empty());
    assert!(instance.instantiated.is_none() && instance.metadata.namespace.is_none(), "{instance:?}");
}

pub async fn run_case(row: &MatrixRow, case: (usize, Fault, Task)) {
    let (point, fault, task) = case;
    let mut environment = Environment::copy_of(&row.prepared).await;
    let op = row.operation.begin(&mut environment, row.prepared.op).await;
    let outcome = OperationRun::new(&mut environment, op, BTreeMap::from([(point, fault)]), &[task]).wait_ended().await;
    row.check_result(case, &outcome, environment.op_occ(op).await.error.as_ref());
    check(row, &environment, op, outcome.state, true).await;
    if outcome.state == OpState::Failed {
        if let Some(started) = row.started() {
            run_to_end(&mut environment, &[START]).await;
            environment.view().await.is(started, "the state while the VNF is started");
        }
        if row.operation.request.0 == CHANGE.0 {
            // A heal keeps the intermediate state; the same change again completes it.
            run_to_end(&mut environment, &[HEAL_ALL, row.operation.request]).await;
            let view = environment.view_without_kept_ids().await;
            view.is(&row.completed, "the state that the change requested");
            check_database_matches_cluster(&environment, false).await;
        }
        check_repairable(&mut environment).await;
    }
}
