//! Cancel requests in the store.

use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::op_occ::{CancelMode, OpState, VnfLcmOpOcc};
use gybe::store::{Claim, StoreError};

use super::cancel;
use crate::support::store::{postponement, store_plan};
use crate::support::store_fixture::{LONG, StoreFixture, at, elsewhere, ending, plan, problem, resource};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    renewal_returns_a_cancel_request
    only_running_operations_can_be_cancelled
    cancel_makes_a_postponed_operation_due
    postponing_a_cancelled_operation_leaves_it_due
    a_cancelled_operation_does_not_leave_starting
    a_cancel_request_is_signalled
}

async fn renewal_returns_a_cancel_request(fixture: StoreFixture) {
    let op = fixture.operation().await;
    let claimed = fixture.claim(LONG).await;
    fixture.execute("UPDATE vnf_lcm_op_occs SET cancel_mode = 'FORCEFUL'").await;
    assert_eq!(fixture.store.renew(&claimed.lease, LONG).await.unwrap(), Some(CancelMode::Forceful));
    assert_eq!(fixture.op_occ(op.id).await.cancel, Some(CancelMode::Forceful));
    fixture.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    assert_eq!(fixture.op_occ(op.id).await.cancel, None, "the cancel request has taken effect");
}

async fn only_running_operations_can_be_cancelled(fixture: StoreFixture) {
    use CancelMode::{Forceful, Graceful};
    assert_fails!(cancel(&fixture, VnfLcmOpOccId(fixture.uuid()), Graceful).await, StoreError::NotFound);
    for state in OpState::ALL {
        let instance = fixture.instance().await;
        let op = VnfLcmOpOcc { state, ..fixture.op(&instance) };
        fixture.store.begin_operation(&op, &instance).await.unwrap();
        assert_fails!(fixture.store.cancel_operation(&elsewhere(), op.id, Graceful).await, StoreError::NotFound);
        if !state.is_running() {
            assert_fails!(cancel(&fixture, op.id, Forceful).await, StoreError::Stale);
            assert_eq!(fixture.op_occ(op.id).await, op, "the operation stays unchanged");
            continue;
        }
        for (mode, pending) in [(Graceful, Graceful), (Forceful, Forceful), (Graceful, Forceful)] {
            cancel(&fixture, op.id, mode).await.unwrap();
            assert_eq!(fixture.op_occ(op.id).await, VnfLcmOpOcc { cancel: Some(pending), ..op.clone() });
        }
    }
}

async fn cancel_makes_a_postponed_operation_due(fixture: StoreFixture) {
    let claimed = fixture.processing().await;
    fixture
        .store
        .postpone(claimed.lease, &postponement(OpState::Processing, LONG, 3), Some(&problem("down")))
        .await
        .unwrap();
    assert!(matches!(fixture.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(Some(_))));
    cancel(&fixture, claimed.op.id, CancelMode::Graceful).await.unwrap();
    let claimed = fixture.claim(LONG).await;
    assert_eq!((claimed.op.cancel, claimed.attempt), (Some(CancelMode::Graceful), 3));
}

async fn postponing_a_cancelled_operation_leaves_it_due(fixture: StoreFixture) {
    let claimed = fixture.processing().await;
    cancel(&fixture, claimed.op.id, CancelMode::Graceful).await.unwrap();
    fixture.store.postpone(claimed.lease, &postponement(OpState::Processing, LONG, 1), None).await.unwrap();
    assert_eq!(fixture.claim(LONG).await.op.cancel, Some(CancelMode::Graceful));
}

async fn a_cancelled_operation_does_not_leave_starting(fixture: StoreFixture) {
    fixture.operation().await;
    let claimed = fixture.claim(LONG).await;
    cancel(&fixture, claimed.op.id, CancelMode::Graceful).await.unwrap();
    let stored = store_plan(&*fixture.store, &claimed.lease, LONG, &plan(), &[resource("a")], at(11)).await;
    assert_fails!(stored, StoreError::Stale);
    assert_eq!(fixture.op_occ(claimed.op.id).await.state, OpState::Starting);
    assert!(fixture.store.resources(claimed.instance.id).await.unwrap().is_empty());
}

async fn a_cancel_request_is_signalled(fixture: StoreFixture) {
    let claimed = fixture.processing().await;
    let mut cancels = fixture.store.cancels();
    assert!(!cancels.has_changed().unwrap());
    cancel(&fixture, claimed.op.id, CancelMode::Graceful).await.unwrap();
    cancels.changed().await.unwrap();
    fixture.store.renew(&claimed.lease, LONG).await.unwrap();
    let ending = ending(OpState::Processing, OpState::FailedTemp);
    fixture.store.end_operation(claimed.lease, &ending).await.unwrap();
    assert_fails!(cancel(&fixture, claimed.op.id, CancelMode::Graceful).await, StoreError::Stale);
    assert_eq!(fixture.op_occ(claimed.op.id).await.cancel, None);
}
