//! How operations begin, end and are resumed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::instance::{VirtualStorage, VnfInstance};
use gybe::domain::op_occ::{OpState, VnfLcmOpOcc};
use gybe::domain::resource_changes::{AffectedStorage, AffectedVnfc, ChangeType, Replaced, ResourceChanges};
use gybe::domain::transition::OpEvent;
use gybe::store::seal::KeyRing;
use gybe::store::{Claim, Lease, OperationEnded, OperationOutcome, StoreError, connect};

use crate::support::store::{outcome, progress, record, store_plan, whole};
use crate::support::store_fixture::{
    KEY, LONG, StoreFixture, assert_same, at, elsewhere, ending, instantiated, plan, problem, vim, vnfc,
};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    an_operation_begins_together_with_its_instance
    an_operation_does_not_begin_on_an_instance_that_changed
    one_operation_of_an_instance_is_live
    operations_are_listed_oldest_first
    an_outcome_updates_operation_and_instance_together
    an_outcome_clears_the_inventory_only_on_request
    an_outcome_requires_the_expected_state
    retry_continues_at_the_failed_step
    rollback_starts_at_the_first_step
    retry_after_a_failed_rollback_starts_over
    only_failed_operations_can_be_resumed
    ended_operations_are_published
}

async fn an_operation_begins_together_with_its_instance(f: StoreFixture) {
    let instance = f.instance().await;
    let op = VnfLcmOpOcc { is_automatic_invocation: true, ..f.op(&instance) };
    let changed = VnfInstance { name: Some("changed".to_owned()), ..instance.clone() };
    f.store.begin_operation(&op, &changed).await.unwrap();
    assert_eq!(f.op_occ(op.id).await, op);
    assert_eq!(f.store.plan(op.id).await.unwrap(), None);
    assert_fails!(f.store.plan(VnfLcmOpOccId(f.uuid())).await, StoreError::NotFound);
    let after = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_same(&after, &VnfInstance { version: 2, ..changed });
}

async fn an_operation_does_not_begin_on_an_instance_that_changed(f: StoreFixture) {
    let instance = f.instance().await;
    let old = VnfInstance { version: 0, ..instance.clone() };
    let op = f.op(&instance);
    assert_fails!(f.store.begin_operation(&op, &old).await, StoreError::Stale);
    let gone = f.instance_of(instance.vnf_pkg_id);
    assert_fails!(f.store.begin_operation(&f.op(&gone), &gone).await, StoreError::NotFound);
    let foreign = VnfInstance { project_id: elsewhere(), ..instance.clone() };
    assert_fails!(f.store.begin_operation(&f.op(&instance), &foreign).await, StoreError::NotFound);
    assert!(f.store.op_occs(Some(&instance.project_id), &whole()).await.unwrap().is_empty());
    assert_same(&f.store.instance(&instance.project_id, instance.id).await.unwrap(), &instance);
    f.store.begin_operation(&op, &instance).await.unwrap();
}

async fn one_operation_of_an_instance_is_live(f: StoreFixture) {
    let instance = f.instance().await;
    let ops: Vec<_> = (0..16).map(|_| f.op(&instance)).collect();
    let began = join_all(ops.iter().map(|op| {
        let (store, op, instance) = (Arc::clone(&f.store), op.clone(), instance.clone());
        tokio::spawn(async move { (op.id, store.begin_operation(&op, &instance).await) })
    }))
    .await;
    let (winners, losers): (Vec<_>, Vec<_>) =
        began.into_iter().map(Result::unwrap).partition(|(_, began)| began.is_ok());
    let [(winner, _)] = winners.as_slice() else { panic!("{winners:?}") };
    for (_, lost) in losers {
        assert_fails!(lost, StoreError::Busy(live) if live == *winner);
    }
    assert_eq!(f.store.op_occs(Some(&instance.project_id), &whole()).await.unwrap().len(), 1);
    assert_eq!(f.store.instance(&instance.project_id, instance.id).await.unwrap().version, 2);

    // FAILED_TEMP is not final. After it, the next operation may start.
    let claimed = f.claim(LONG).await;
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::FailedTemp)).await.unwrap();
    let instance = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    let next = f.op(&instance);
    assert_fails!(f.store.begin_operation(&next, &instance).await, StoreError::Busy(live) if live == *winner);
    f.store.resume_operation(&instance.project_id, *winner, OpEvent::Fail, at(30)).await.unwrap();
    f.store.begin_operation(&next, &instance).await.unwrap();
}

async fn operations_are_listed_oldest_first(f: StoreFixture) {
    let mut begun = Vec::new();
    for start in [3, 1, 2] {
        let instance = f.instance().await;
        let op = VnfLcmOpOcc { start_time: at(start), ..f.op(&instance) };
        f.store.begin_operation(&op, &instance).await.unwrap();
        begun.push(op);
    }
    begun.sort_by_key(|op| op.start_time);
    assert_eq!(f.store.op_occs(Some(&ProjectId::default()), &whole()).await.unwrap(), begun);
}

async fn an_outcome_updates_operation_and_instance_together(f: StoreFixture) {
    let claimed = f.processing().await;
    let instance = VnfInstance { instantiated: Some(instantiated()), ..claimed.instance };
    let changes = ResourceChanges {
        vim_connection_id: "vim1".to_owned(),
        affected_vnfcs: vec![AffectedVnfc { change: ChangeType::Added, vnfc: vnfc() }],
        affected_storages: vec![AffectedStorage {
            change: ChangeType::Removed,
            storage: VirtualStorage { claim_name: "data-0".to_owned(), claim_uid: "uid".to_owned() },
        }],
        package: None,
        levels: Some(Replaced {
            before: BTreeMap::from([("web".to_owned(), 0)]),
            after: BTreeMap::from([("web".to_owned(), 2)]),
        }),
    };
    let ending = OperationOutcome {
        instance: Some(instance.clone()),
        resource_changes: Some(changes.clone()),
        ..ending(OpState::Processing, OpState::Completed)
    };
    f.store.end_operation(claimed.lease, &ending).await.unwrap();
    let expected = VnfLcmOpOcc {
        state: OpState::Completed,
        state_entered_time: at(20),
        resource_changes: Some(changes),
        ..claimed.op
    };
    assert_eq!(f.op_occ(expected.id).await, expected);
    let after = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_same(&after, &VnfInstance { version: 3, ..instance });
    assert!(matches!(f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(None)));
}

async fn an_outcome_clears_the_inventory_only_on_request(f: StoreFixture) {
    for discard_inventory in [false, true] {
        let claimed = f.processing().await;
        let id = claimed.instance.id;
        assert!(!f.store.resources(id).await.unwrap().is_empty());
        let ending = OperationOutcome { discard_inventory, ..ending(OpState::Processing, OpState::Completed) };
        f.store.end_operation(claimed.lease, &ending).await.unwrap();
        assert_eq!(f.store.resources(id).await.unwrap().is_empty(), discard_inventory);
    }
}

async fn an_outcome_requires_the_expected_state(f: StoreFixture) {
    let claimed = f.processing().await;
    let (op, epoch) = (claimed.lease.op, claimed.lease.epoch);
    let from_elsewhere = ending(OpState::Starting, OpState::RolledBack);
    assert_fails!(f.store.end_operation(Lease { op, epoch }, &from_elsewhere).await, StoreError::Stale);
    // Nor with another instance than the claimed one.
    let old = VnfInstance { version: 0, ..claimed.instance };
    let with_old = OperationOutcome { instance: Some(old), ..ending(OpState::Processing, OpState::Completed) };
    assert_fails!(f.store.end_operation(Lease { op, epoch }, &with_old).await, StoreError::Stale);
    assert_eq!(f.op_occ(op).await.state, OpState::Processing);
    f.store.renew(&claimed.lease, LONG).await.unwrap();
}

async fn retry_continues_at_the_failed_step(f: StoreFixture) {
    let op = f.failed().await;
    let failed = f.op_occ(op.id).await;
    assert_eq!((failed.state, failed.error), (OpState::FailedTemp, Some(problem("first"))));
    assert!(matches!(f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(None)));
    f.store.resume_operation(&op.project_id, op.id, OpEvent::Retry, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.state, claimed.op.state_entered_time), (OpState::Processing, at(30)));
    assert_eq!((claimed.op.error, claimed.steps_done, claimed.attempt), (Some(problem("first")), 1, 0));
}

async fn rollback_starts_at_the_first_step(f: StoreFixture) {
    let op = f.failed().await;
    f.store.resume_operation(&op.project_id, op.id, OpEvent::Rollback, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.state, claimed.steps_done, claimed.attempt), (OpState::RollingBack, 0, 0));
    assert_eq!((claimed.plan, claimed.op.error), (Some(plan()), Some(problem("first"))));
}

async fn retry_after_a_failed_rollback_starts_over(f: StoreFixture) {
    let op = f.failed().await;
    f.store.resume_operation(&op.project_id, op.id, OpEvent::Rollback, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    f.store.checkpoint(&claimed.lease, &progress(OpState::RollingBack, 1)).await.unwrap();
    let error = Some(problem("second"));
    let failed = outcome(&record(OpState::RollingBack), OpState::FailedTemp, error, at(20));
    f.store.end_operation(claimed.lease, &failed).await.unwrap();
    assert_eq!(f.op_occ(op.id).await.error, Some(problem("second")));
    f.store.resume_operation(&op.project_id, op.id, OpEvent::Retry, at(40)).await.unwrap();
    assert_eq!(f.claim(LONG).await.steps_done, 0);
}

async fn only_failed_operations_can_be_resumed(f: StoreFixture) {
    let op = f.operation().await;
    let resume = async |id, event| f.store.resume_operation(&ProjectId::default(), id, event, at(30)).await;
    assert_fails!(resume(op.id, OpEvent::Retry).await, StoreError::Stale);
    assert_fails!(resume(VnfLcmOpOccId(f.uuid()), OpEvent::Retry).await, StoreError::NotFound);
    let claimed = f.claim(LONG).await;
    f.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    assert_fails!(resume(op.id, OpEvent::Fail).await, StoreError::Stale);
    let failed = f.failed().await.id;
    resume(failed, OpEvent::Fail).await.unwrap();
    let op = f.op_occ(failed).await;
    assert_eq!((op.state, op.state_entered_time, op.error), (OpState::Failed, at(30), Some(problem("first"))));
    assert_fails!(resume(failed, OpEvent::Rollback).await, StoreError::Stale);
}

async fn ended_operations_are_published(f: StoreFixture) {
    let mut here = f.store.endings();
    // PostgreSQL also notifies other processes.
    let there = match f.url.starts_with("postgres") {
        true => Some(connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap()),
        false => None,
    };
    let mut elsewhere = there.as_ref().map(|store| store.endings());
    let failed = f.failed().await;
    f.store.resume_operation(&failed.project_id, failed.id, OpEvent::Fail, at(30)).await.unwrap();
    let claimed = f.processing().await;
    let id = f.instantiate(claimed).await;
    let mut vim = vim(f.uuid(), "a");
    f.store.create_vim(&vim).await.unwrap();
    vim.description = "changed".to_owned();
    f.store.update_vim(&vim, None).await.unwrap();
    for expected in [OperationEnded::One(failed.vnf_instance_id), OperationEnded::One(id), OperationEnded::Any] {
        while here.recv().await.unwrap() != expected {}
        if let Some(elsewhere) = &mut elsewhere {
            while elsewhere.recv().await.unwrap() != expected {}
        }
    }
}
