//! Operations that wait, or whose VIM is slow, beside others: with a cluster that the test controls.

use gybe::domain::op_occ::{OpState, VnfLcmOpOcc};
use gybe::domain::plan::{Plan, Step};
use gybe::store::Lease;

use super::cancel::{ConductorFixture, GatedDriver, instantiated};
use crate::support::op_occ_fixture::{OpOccFixture, resource};
use crate::support::store_fixture::key;

/// More than the conductor has places.
const MANY: usize = 12;

/// For each object, an operation in the VIM at `endpoint` that creates it, and waits until it is ready.
async fn operations(ops: &OpOccFixture, endpoint: &str, objects: &[String]) -> (Vec<VnfLcmOpOcc>, Vec<Lease>) {
    let (mut begun, mut leases) = (Vec::new(), Vec::new());
    for object in objects {
        let objects = vec![key(object)];
        let forward = vec![Step::Apply { objects: objects.clone() }, Step::AwaitReady { objects }];
        let plan = Plan { forward, instantiated: Some(instantiated()), ..Plan::default() };
        let (op, lease) = ops.planned_in(endpoint, &plan, &[resource(object)]).await;
        begun.push(op);
        leases.push(lease);
    }
    (begun, leases)
}

/// Many operations in one VIM, with the objects `a…`, and then one in another VIM, with the object `b`; all due.
async fn many_and_one(ops: &OpOccFixture) -> (Vec<VnfLcmOpOcc>, VnfLcmOpOcc) {
    let objects: Vec<String> = (0..MANY).map(|number| format!("a{number}")).collect();
    let (many, mut leases) = operations(ops, "https://many.invalid", &objects).await;
    let (mut one, lease) = operations(ops, "https://one.invalid", &["b".to_owned()]).await;
    leases.extend(lease);
    for lease in leases {
        ops.release(lease).await;
    }
    (many, one.remove(0))
}

async fn assert_all(fixture: &ConductorFixture, operations: &[VnfLcmOpOcc], state: OpState) {
    for op in operations {
        assert_eq!(fixture.ops.show(op).await.state, state);
    }
}

#[tokio::test]
async fn operations_that_wait_have_no_place() {
    let ops = OpOccFixture::on_sqlite().await;
    let (stuck, other) = many_and_one(&ops).await;
    let gates = GatedDriver::open(&["ensure", "observe", "await b"]);
    let fixture = ConductorFixture::begin(ops, gates.clone());
    assert_eq!(fixture.ops.wait_ended(&other).await.state, OpState::Completed);
    for number in 0..MANY {
        gates.called(&format!("await a{number}")).await;
    }
    assert_all(&fixture, &stuck, OpState::Processing).await;
    gates.let_pass("await a");
    for op in &stuck {
        assert_eq!(fixture.ops.wait_ended(op).await.state, OpState::Completed);
    }
    assert_eq!(gates.calls("await a"), MANY, "no operation was claimed again while it waited");
}

#[tokio::test]
async fn a_vim_with_many_slow_operations_leaves_places_to_others() {
    let ops = OpOccFixture::on_postgres().await;
    let (slow, other) = many_and_one(&ops).await;
    let gates = GatedDriver::open(&["ensure b", "observe", "await"]);
    let fixture = ConductorFixture::begin(ops, gates.clone());
    assert_eq!(fixture.ops.wait_ended(&other).await.state, OpState::Completed);
    assert_all(&fixture, &slow, OpState::Processing).await;
    let working = gates.calls("ensure a");
    assert!((1..4).contains(&working), "{working} of the four places");
    gates.let_pass("ensure a");
    for op in &slow {
        assert_eq!(fixture.ops.wait_ended(op).await.state, OpState::Completed);
    }
}
