//! What a conductor records of an operation it works on: the plan, the inventory and the checkpoints.

use std::time::Duration;

use gybe::domain::fair_share::Crowded;
use gybe::domain::grant::{PendingGrant, ResourceIds};
use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::op_occ::{GrantReference, OpState, VnfLcmOpOcc};
use gybe::domain::plan::Plan;
use gybe::domain::progress::{Direction, StepLog, StepState, StepWrites};
use gybe::domain::resource::{ObjectKey, Resource, ResourceState};
use gybe::domain::transition::{OpEvent, transition};
use gybe::domain::warning::Warnings;
use gybe::store::{Checkpoint, Claim, GrantedChange, Lease, OperationOutcome, PlannedOperation, StoreError};
use serde_json::json;

use crate::support::store::{postponement, progress, record, store_plan};
use crate::support::store_fixture::{LONG, StoreFixture, at, ending, key, object, plan, present, problem, resource};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    a_plan_is_stored_with_its_inventory
    warnings_are_recorded_under_the_lease
    a_pending_grant_is_stored_and_then_the_grant
    a_second_plan_keeps_the_state_of_objects
    intent_is_recorded_of_planned_objects_only
    rows_are_written_before_their_objects_are_created_and_updated_after
    a_checkpoint_is_all_or_nothing
    large_inventories_are_written
    progress_resets_the_attempt_count
    the_history_of_an_operation_is_written_under_its_lease_and_deleted_with_it
}

async fn a_plan_is_stored_with_its_inventory(f: StoreFixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    let planned = [resource("b"), resource("a"), Resource { vdu_id: None, state: present("u"), ..resource("c") }];
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &planned, at(11)).await.unwrap();
    assert_eq!(f.store.plan(op.id).await.unwrap(), Some(plan()));
    assert_eq!(f.store.resources(op.vnf_instance_id).await.unwrap(), planned);
    let processing = VnfLcmOpOcc { state: OpState::Processing, state_entered_time: at(11), ..op };
    assert_eq!(f.op_occ(processing.id).await, processing);
    // An operation gets only one plan.
    let again = store_plan(&*f.store, &claimed.lease, LONG, &Plan::default(), &[resource("z")], at(12)).await;
    assert_fails!(again, StoreError::Stale);
    assert_eq!(f.store.plan(processing.id).await.unwrap(), Some(plan()));
}

async fn warnings_are_recorded_under_the_lease(f: StoreFixture) {
    let claimed = f.processing().await;
    let mut warnings = claimed.op.warnings.clone();
    assert!(warnings.add("of a step"));
    f.store.record_warnings(&claimed.lease, &warnings).await.unwrap();
    assert_eq!(f.op_occ(claimed.op.id).await.warnings, warnings);
    let lost = Lease { op: claimed.op.id, epoch: claimed.lease.epoch - 1 };
    assert_fails!(f.store.record_warnings(&lost, &Warnings::default()).await, StoreError::LeaseLost);
    assert_eq!(f.op_occ(claimed.op.id).await.warnings, warnings);
}

async fn a_pending_grant_is_stored_and_then_the_grant(f: StoreFixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    assert_eq!(claimed.pending_grant, None);
    let asked = ResourceIds { add: vec!["a-1".to_owned()], remove: Vec::new() };
    let pending = PendingGrant { uri: "http://nfvo/grants/g".to_owned(), asked };
    let waiting = transition(&record(OpState::Starting), OpEvent::GrantPending(LONG)).unwrap();
    f.store.await_grant(claimed.lease, &waiting, &pending).await.unwrap();
    assert!(
        matches!(f.store.claim("x", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(Some(_))),
        "the operation is postponed"
    );
    assert_eq!(f.op_occ(op.id).await, op, "the operation has no grant yet");
    f.execute("UPDATE vnf_lcm_op_occs SET not_before = 0").await;
    let claimed = f.claim(LONG).await;
    assert_eq!(claimed.pending_grant.as_ref(), Some(&pending));
    let mut instance = claimed.instance.clone();
    instance.name = Some("as granted".to_owned());
    let grant = GrantReference { id: "g".to_owned(), uri: pending.uri.clone() };
    let granted = GrantedChange { grant: grant.clone(), instance: Some(instance.clone()), namespace: None };
    let update = transition(&record(OpState::Starting), OpEvent::Granted).unwrap();
    let (plan, resources) = (plan(), [resource("a")]);
    let planned =
        PlannedOperation { plan: &plan, warnings: &op.warnings, resources: &resources, granted: Some(&granted) };
    let store = async |lease| f.store.store_plan(lease, LONG, &update, &planned, at(11)).await;
    store(&claimed.lease).await.unwrap();
    let after = f.op_occ(op.id).await;
    assert_eq!((after.state, after.grant), (OpState::Processing, Some(grant)));
    let written = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_eq!((written.name, written.version), (instance.name.clone(), instance.version + 1));
    assert_fails!(store(&claimed.lease).await, StoreError::Stale);
    let lost = Lease { op: op.id, epoch: claimed.lease.epoch - 1 };
    assert_fails!(store(&lost).await, StoreError::LeaseLost);
    assert_fails!(f.store.await_grant(lost, &waiting, &pending).await, StoreError::LeaseLost);
    assert_fails!(f.store.await_grant(claimed.lease, &waiting, &pending).await, StoreError::Stale);
    let instance_now = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_eq!(instance_now.version, instance.version + 1, "refused writes change nothing");
}

async fn a_second_plan_keeps_the_state_of_objects(f: StoreFixture) {
    let claimed = f.processing().await;
    let checkpoint = Checkpoint { states: vec![(key("b"), present("u"))], ..progress(OpState::Processing, 2) };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    let instance = f.store.instance(&claimed.op.project_id, claimed.instance.id).await.unwrap();
    f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    let claimed = f.claim(LONG).await;
    let changed = Resource { manifest: object(json!({"spec": {"replicas": 5}})), ..resource("b") };
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[resource("new"), changed.clone()], at(12)).await.unwrap();
    let expected = [resource("a"), Resource { state: present("u"), ..changed }, resource("new")];
    assert_eq!(f.store.resources(instance.id).await.unwrap(), expected);
}

async fn intent_is_recorded_of_planned_objects_only(f: StoreFixture) {
    let claimed = f.processing().await;
    let checkpoint = Checkpoint { states: vec![(key("b"), present("u"))], ..progress(OpState::Processing, 0) };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store.record_intent(&claimed.lease, LONG, &[key("a"), key("b"), key("none")], &[]).await.unwrap();
    let states = async || -> Vec<_> {
        f.store.resources(claimed.instance.id).await.unwrap().into_iter().map(|resource| resource.state).collect()
    };
    assert_eq!(states().await, [ResourceState::Intent, present("u")]);
    f.store.record_intent(&claimed.lease, LONG, &[key("a")], &[]).await.unwrap();
    f.store.record_intent(&claimed.lease, LONG, &[], &[]).await.unwrap();
    assert_eq!(states().await, [ResourceState::Intent, present("u")]);
}

async fn rows_are_written_before_their_objects_are_created_and_updated_after(f: StoreFixture) {
    let claimed = f.processing().await;
    let rows = async || f.store.resources(claimed.instance.id).await.unwrap();
    let new = Resource { state: ResourceState::Intent, ..resource("new") };
    f.store.record_intent(&claimed.lease, LONG, &[key("a")], std::slice::from_ref(&new)).await.unwrap();
    let begun = Resource { state: ResourceState::Intent, ..resource("a") };
    assert_eq!(rows().await, [begun.clone(), resource("b"), new.clone()]);

    // A row for another version of the same object replaces its row.
    let key_of_beta = ObjectKey { api_version: "apps/v1beta1".to_owned(), ..key("a") };
    let beta = Resource { key: key_of_beta.clone(), vdu_id: Some("VDU9".to_owned()), state: present("u"), ..begun };
    let anew = Resource { manifest: object(json!({"spec": {}})), vdu_id: None, ..new };
    let checkpoint = Checkpoint {
        rows: vec![beta.clone(), anew.clone()],
        states: vec![(key_of_beta, present("u"))],
        removed: vec![key("a")],
        ..progress(OpState::Processing, 1)
    };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    assert_eq!(rows().await, [resource("b"), anew, beta], "existing rows keep their position and state");
}

async fn a_checkpoint_is_all_or_nothing(f: StoreFixture) {
    let claimed = f.processing().await;
    let manifest = object(json!({"spec": {"replicas": 2}}));
    let unowned = ResourceState::Present { uid: "u".to_owned(), owned: false };
    let of_unknown = Checkpoint {
        states: vec![(key("a"), ResourceState::Intent), (key("none"), ResourceState::Intent)],
        ..progress(OpState::Processing, 1)
    };
    assert_fails!(f.store.checkpoint(&claimed.lease, &of_unknown).await, StoreError::NotFound);
    let of_unknown = Checkpoint {
        rows: vec![Resource { manifest: manifest.clone(), ..resource("new") }],
        states: vec![(key("none"), ResourceState::Intent)],
        ..progress(OpState::Processing, 1)
    };
    assert_fails!(f.store.checkpoint(&claimed.lease, &of_unknown).await, StoreError::NotFound);
    assert_eq!(f.store.resources(claimed.instance.id).await.unwrap(), [resource("a"), resource("b")]);

    let checkpoint = Checkpoint {
        rows: vec![Resource { manifest: manifest.clone(), ..resource("a") }],
        states: vec![(key("a"), unowned.clone()), (key("b"), ResourceState::Intent)],
        removed: vec![key("b"), key("none")],
        ..progress(OpState::Processing, 1)
    };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    let kept = f.store.resources(claimed.instance.id).await.unwrap();
    assert_eq!(kept, [Resource { manifest, state: unowned, ..resource("a") }]);
    // Back to a state without objects.
    let states = vec![(key("a"), ResourceState::Planned)];
    f.store.checkpoint(&claimed.lease, &Checkpoint { states, ..progress(OpState::Processing, 1) }).await.unwrap();
    assert_eq!(f.store.resources(claimed.instance.id).await.unwrap()[0].state, ResourceState::Planned);
}

async fn large_inventories_are_written(f: StoreFixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    let objects: Vec<_> = (0..2500).map(|n| resource(&format!("object-{n}"))).collect();
    let keys: Vec<_> = objects.iter().map(|object| object.key.clone()).collect();
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &objects, at(11)).await.unwrap();
    assert_eq!(f.store.resources(op.vnf_instance_id).await.unwrap(), objects);
    f.store.record_intent(&claimed.lease, LONG, &keys, &[]).await.unwrap();
    let states = keys.iter().map(|key| (key.clone(), present(&key.name))).collect();
    let of = |row: &Resource| Resource { manifest: object(json!({"of": row.key.name})), ..row.clone() };
    let rows = objects.iter().map(of).collect();
    let checkpoint = Checkpoint { rows, states, ..progress(OpState::Processing, 1) };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    for (at, object) in f.store.resources(op.vnf_instance_id).await.unwrap().iter().enumerate() {
        assert_eq!(object.key, keys[at]);
        assert_eq!(object.state, present(&object.key.name));
        assert_eq!(object.manifest["of"], object.key.name);
    }
    let removed = Checkpoint { removed: keys, ..progress(OpState::Processing, 2) };
    f.store.checkpoint(&claimed.lease, &removed).await.unwrap();
    assert!(f.store.resources(op.vnf_instance_id).await.unwrap().is_empty());
}

async fn progress_resets_the_attempt_count(f: StoreFixture) {
    let claimed = f.processing().await;
    f.store
        .postpone(claimed.lease, &postponement(OpState::Processing, Duration::ZERO, 3), Some(&problem("later")))
        .await
        .unwrap();
    let claimed = f.claim(LONG).await;
    // Writes within a step do not reset the attempts.
    f.store.checkpoint(&claimed.lease, &progress(OpState::Processing, 0)).await.unwrap();
    assert_eq!(f.op_occ(claimed.op.id).await.error, Some(problem("later")));
    f.store.checkpoint(&claimed.lease, &progress(OpState::Processing, 1)).await.unwrap();
    f.store.renew(&claimed.lease, Duration::ZERO).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!(
        (claimed.steps_done, claimed.attempt, claimed.op.error),
        (1, 1, None),
        "that the lease ran out is the first"
    );
}

async fn the_history_of_an_operation_is_written_under_its_lease_and_deleted_with_it(f: StoreFixture) {
    let claimed = f.processing().await;
    let (id, steps) = (claimed.op.id, plan().forward);
    let history = async || -> Vec<(u32, StepState, Option<String>)> {
        let rows = f.store.steps(id).await.unwrap().into_iter();
        rows.map(|row| (row.position, row.state, row.error)).collect()
    };
    let mut log = StepLog::default();
    log.begin(Direction::Forward, 0, &steps, "one", at(20));
    let begun = log.current().unwrap().clone();
    f.store.announce_step(&claimed.lease, &begun).await.unwrap();
    assert_eq!(history().await, [(0, StepState::Running, None)]);
    log.end(None, at(21));
    let states = vec![(key("a"), present("u"))];
    let checkpoint = Checkpoint { states, steps: log.take_unwritten(), ..progress(OpState::Processing, 0) };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store.announce_step(&claimed.lease, &begun).await.unwrap();
    assert_eq!(history().await, [(0, StepState::Completed, None)], "a late announcement changes nothing");
    log.begin(Direction::Forward, 0, &steps, "one", at(22));
    log.wait("later");
    let checkpoint = Checkpoint { steps: log.take_unwritten(), ..progress(OpState::Processing, 1) };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    assert_eq!(history().await, [(0, StepState::Completed, None), (1, StepState::Waiting, Some("later".to_owned()))]);
    let latest = f.store.latest_steps(&[id, VnfLcmOpOccId(f.uuid())]).await.unwrap();
    assert_eq!(latest.into_iter().map(|(id, row)| (id, row.attempt)).collect::<Vec<_>>(), [(id, 2)]);

    log.end(Some("it is \0 broken"), at(23));
    let steps = StepWrites { removed: vec![0], ..log.take_unwritten() };
    let ending = OperationOutcome { steps, ..ending(OpState::Processing, OpState::Completed) };
    f.store.end_operation(claimed.lease, &ending).await.unwrap();
    assert_eq!(history().await, [(1, StepState::Failed, Some("it is   broken".to_owned()))]);
    assert_eq!(f.store.trim_operations(claimed.instance.id, 0, 10).await.unwrap(), 1);
    assert_eq!(history().await, []);
}
