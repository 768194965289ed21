//! What must hold when an operation has ended.

use std::collections::{BTreeMap, BTreeSet};

use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::instance::VnfState;
use gybe::domain::op_occ::{LcmOperation, OpState};
use gybe::domain::operate::{StopMethod, stop_method};
use gybe::domain::resource::{Resource, ResourceState};
use gybe::store::Claim;

use super::operations::{CHANGE, HEAL_ALL, INSTANTIATE, KILL, LOSE, START};
use super::row::Row;
use super::run::{Run, carry_out};
use super::troubles::Answer;
use super::world::{LEASE, World};
use crate::support::faults::Fault;

/// What is to hold when an operation of `row` has ended in `state`; `straight`: without a change of direction.
pub async fn check(row: &Row, world: &World, op: VnfLcmOpOccId, state: OpState, straight: bool) {
    let op = world.op_occ(op).await;
    assert_eq!(op.error.is_some(), state != OpState::Completed, "the error in {state:?}: {:?}", op.error);
    assert_eq!(op.cancel, None, "a cancel request has taken effect or comes too late");
    assert_eq!(op.operation.can_roll_back(), row.operation.can_roll_back());
    let idle = world.store().claim("nobody", LEASE, 1).await.unwrap();
    assert!(matches!(idle, Claim::Idle(None)), "nothing is left to do: {idle:?}");

    let effects = world.cluster.take_effects();
    match state {
        OpState::Completed => world.view().await.is(&row.completed, "what is intended"),
        OpState::RolledBack if op.operation == LcmOperation::Instantiate && world.is_planned(op.id).await => {
            nothing_is_left(world).await;
        }
        // What was lost is made again on the way back.
        OpState::RolledBack if row.operation.before.contains(&LOSE) && world.is_planned(op.id).await => {}
        OpState::RolledBack => {
            let mut view = world.view().await;
            // A database that can't be read does not tell whether the namespace is still needed: it is kept.
            if op.error.is_some_and(|error| error.status == 500) {
                view.instance.clone_from(&row.before.instance);
            }
            view.is(&row.before, "what there was before");
            if row.operation.before.contains(&LOSE) {
                return;
            }
        }
        _ => {}
    }
    if straight && state == row.outcome {
        assert_eq!(effects, row.effects, "nothing is done twice");
    }
    for (what, effects) in effects.iter().filter(|(what, _)| !what.starts_with("pods of")) {
        assert!(effects.created <= 1 + effects.deleted, "{what} was made {} times", effects.created);
    }
    the_database_agrees_with_the_cluster(world, state == OpState::Failed).await;
    let (instance, cluster) = (world.instance().await, world.cluster.state());
    if let Some(info) = instance.instantiated.as_ref().filter(|_| state != OpState::Failed) {
        let shown: BTreeSet<&str> = info.vnfcs.iter().map(|vnfc| vnfc.pod_uid.as_str()).collect();
        let there: BTreeSet<&str> = cluster.pods.iter().map(|pod| pod.uid.as_str()).collect();
        assert!(shown.is_subset(&there), "a VNFC is no pod of the cluster: {shown:?}, {there:?}");
    }
}

/// Each object has its row, each row its object. After an operation that was failed, rows may be left over.
pub async fn the_database_agrees_with_the_cluster(world: &World, failed: bool) {
    let (inventory, state) = (world.inventory().await, world.cluster.state());
    let objects = state.objects_of(world.instance);
    for (key, object) in &objects {
        let row = inventory.iter().find(|row| row.key == **key);
        let row = row.unwrap_or_else(|| panic!("{key} is there and has no row"));
        match &row.state {
            ResourceState::Present { uid, owned: true } if *uid == object.uid => {}
            // It was made, or made anew, and nobody has heard of it.
            other => assert!(failed && *other == ResourceState::Intent, "{key} is there, its row says {other:?}"),
        }
        assert!(failed || row.manifest == object.manifest, "{key}: the row says {:?}", row.manifest);
    }
    let info = world.instance().await.instantiated;
    let is_stopped = info.is_some_and(|info| info.vnf_state == VnfState::Stopped);
    let waits = |row: &Resource| {
        is_stopped && row.state == ResourceState::Planned && stop_method(&row.key) == StopMethod::Delete
    };
    for row in inventory.iter().filter(|row| !failed && !waits(row)) {
        assert!(objects.contains_key(&row.key), "{} has a row and is not there", row.key);
    }
}

/// An instance whose operation was failed can be put right by further operations, which leave nothing behind.
pub async fn can_be_put_right(world: &mut World) {
    if world.instance().await.instantiated.is_none() {
        carry_out(world, &[INSTANTIATE]).await;
        the_database_agrees_with_the_cluster(world, false).await;
    }
    carry_out(world, &[KILL]).await;
    nothing_is_left(world).await;
}

pub async fn nothing_is_left(world: &World) {
    let (state, instance) = (world.cluster.state(), world.instance().await);
    assert!(state.objects_of(world.instance).is_empty() && state.claims.is_empty(), "left over: {:?}", state.objects);
    assert!(world.inventory().await.is_empty());
    assert!(instance.instantiated.is_none() && instance.metadata.namespace.is_none(), "{instance:?}");
}

pub async fn case(row: &Row, trouble: (usize, Fault, Answer)) {
    let (point, fault, answer) = trouble;
    let mut world = World::copy_of(&row.prepared).await;
    let op = row.operation.begin(&mut world, row.prepared.op).await;
    let outcome = Run::new(&mut world, op, BTreeMap::from([(point, fault)]), &[answer]).settle().await;
    row.is_as_expected(trouble, &outcome, world.op_occ(op).await.error.as_ref());
    check(row, &world, op, outcome.state, true).await;
    if outcome.state == OpState::Failed {
        if let Some(started) = row.started() {
            carry_out(&mut world, &[START]).await;
            world.view().await.is(started, "what ran before");
        }
        if row.operation.request.0 == CHANGE.0 {
            // Healing leaves it half-way, as it is; the same again brings it where it was to go.
            carry_out(&mut world, &[HEAL_ALL, row.operation.request]).await;
            world.view().await.is(&row.completed, "what it was to become");
            the_database_agrees_with_the_cluster(&world, false).await;
        }
        can_be_put_right(&mut world).await;
    }
}
