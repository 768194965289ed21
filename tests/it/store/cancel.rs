//! Cancel requests in the store.

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
    a_cancelled_operation_is_not_postponed
    a_cancelled_operation_does_not_leave_starting
    a_cancel_request_is_signalled
}

async fn renewal_returns_a_cancel_request(f: StoreFixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    f.execute("UPDATE vnf_lcm_op_occs SET cancel_mode = 'FORCEFUL'").await;
    assert_eq!(f.store.renew(&claimed.lease, LONG).await.unwrap(), Some(CancelMode::Forceful));
    assert_eq!(f.op_occ(op.id).await.cancel, Some(CancelMode::Forceful));
    f.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    assert_eq!(f.op_occ(op.id).await.cancel, None, "it has taken effect");
}

async fn only_running_operations_can_be_cancelled(f: StoreFixture) {
    use CancelMode::{Forceful, Graceful};
    assert_fails!(cancel(&f, VnfLcmOpOccId(f.uuid()), Graceful).await, StoreError::NotFound);
    for state in OpState::ALL {
        let instance = f.instance().await;
        let op = VnfLcmOpOcc { state, ..f.op(&instance) };
        f.store.begin_operation(&op, &instance).await.unwrap();
        assert_fails!(f.store.cancel_operation(&elsewhere(), op.id, Graceful).await, StoreError::NotFound);
        if !state.is_running() {
            assert_fails!(cancel(&f, op.id, Forceful).await, StoreError::Stale);
            assert_eq!(f.op_occ(op.id).await, op, "it stays as it is");
            continue;
        }
        for (mode, pending) in [(Graceful, Graceful), (Forceful, Forceful), (Graceful, Forceful)] {
            cancel(&f, op.id, mode).await.unwrap();
            assert_eq!(f.op_occ(op.id).await, VnfLcmOpOcc { cancel: Some(pending), ..op.clone() });
        }
    }
}

async fn cancel_makes_a_postponed_operation_due(f: StoreFixture) {
    let claimed = f.processing().await;
    f.store.postpone(claimed.lease, &postponement(OpState::Processing, LONG, 3), Some(&problem("down"))).await.unwrap();
    assert!(matches!(f.store.claim("worker", LONG, 1).await.unwrap(), Claim::Idle(Some(_))));
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.cancel, claimed.attempt), (Some(CancelMode::Graceful), 3));
}

async fn a_cancelled_operation_is_not_postponed(f: StoreFixture) {
    let claimed = f.processing().await;
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    f.store.postpone(claimed.lease, &postponement(OpState::Processing, LONG, 1), None).await.unwrap();
    assert_eq!(f.claim(LONG).await.op.cancel, Some(CancelMode::Graceful));
}

async fn a_cancelled_operation_does_not_leave_starting(f: StoreFixture) {
    f.operation().await;
    let claimed = f.claim(LONG).await;
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    let stored = store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[resource("a")], at(11)).await;
    assert_fails!(stored, StoreError::Stale);
    assert_eq!(f.op_occ(claimed.op.id).await.state, OpState::Starting);
    assert!(f.store.resources(claimed.instance.id).await.unwrap().is_empty());
}

async fn a_cancel_request_is_signalled(f: StoreFixture) {
    let claimed = f.processing().await;
    let mut cancels = f.store.cancels();
    assert!(!cancels.has_changed().unwrap());
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    cancels.changed().await.unwrap();
    f.store.renew(&claimed.lease, LONG).await.unwrap();
    let ending = ending(OpState::Processing, OpState::FailedTemp);
    f.store.end_operation(claimed.lease, &ending).await.unwrap();
    assert_fails!(cancel(&f, claimed.op.id, CancelMode::Graceful).await, StoreError::Stale);
    assert_eq!(f.op_occ(claimed.op.id).await.cancel, None);
}
