//! Operations in FAILED_TEMP without a decision: the remedy in the client's profile is applied once, by any process,
//! across restarts. First on the store of both engines, then through the real binary with ONAP's profile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, System};
use gybe::conductor::{Conductor, ConductorConfig};
use gybe::domain::fair_share::Crowded;
use gybe::domain::op_occ::{LcmOperation, OpState, Remedy, Unattended, VnfLcmOpOcc};
use gybe::domain::plan::Plan;
use gybe::domain::problem::{Problem, ProblemType};
use gybe::domain::transition::OpEvent;
use gybe::domain::transition::OpRecord;
use gybe::infra::ReadinessTimeouts;
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::store::{Claim, OperationOutcome, Store, StoreError};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ConfiguredGybe;
use crate::support::cluster::Cluster;
use crate::support::gybe::{SHORT_GRACE, instantiate_request};
use crate::support::op_occ_fixture::OpOccFixture;
use crate::support::postgres::Database;
use crate::support::store::{outcome, postponement, record, store_plan, work};
use crate::support::subscriber::{Received, Subscriber};

on_both_engines! {
    OpOccFixture::on_sqlite(), OpOccFixture::on_postgres();
    an_abandoned_operation_is_claimed_only_after_its_deadline
    a_decision_by_a_person_takes_precedence
    an_abandoned_operation_is_rolled_back_if_possible_and_failed_otherwise
    an_abandoned_rollback_that_stops_is_failed
    a_conductor_killed_before_deciding_leaves_no_decision
}

const LONG: Duration = Duration::from_secs(600);
const AT_ONCE: Option<Unattended> = Some(Unattended { after: Duration::ZERO, remedy: Remedy::Rollback });

/// Creates an operation in FAILED_TEMP with that plan.
async fn stopped(
    ops: &OpOccFixture,
    operation: LcmOperation,
    plan: &Plan,
    unattended: Option<Unattended>,
) -> VnfLcmOpOcc {
    let op = ops.begin_unattended(operation, OpState::Starting, unattended).await;
    let claimed = work(ops.store.claim("test", LONG, 1, &Crowded::default()).await.unwrap());
    assert_eq!(claimed.op.id, op.id);
    store_plan(&*ops.store, &claimed.lease, LONG, plan, &[], System.now()).await.unwrap();
    ops.store
        .end_operation(claimed.lease, &ending(OpState::Processing, OpState::FailedTemp, unattended))
        .await
        .unwrap();
    op
}

fn ending(from: OpState, to: OpState, unattended: Option<Unattended>) -> OperationOutcome {
    let record = OpRecord { unattended, ..record(from) };
    outcome(&record, to, Some(Problem::new(ProblemType::VnfNotReady, "Pod a is not ready")), System.now())
}

fn plan(backward: bool) -> Plan {
    Plan { backward: backward.then(Vec::new), ..Plan::default() }
}

/// A conductor on that store; it stops when dropped.
fn conductor(store: &Arc<dyn Store>) -> impl Drop {
    let settings = ConductorConfig {
        owner: "decider".to_owned(),
        max_operations: 1,
        max_waiting: 0,
        lease_ttl: LONG,
        patience: ReadinessTimeouts {
            grace: Duration::ZERO,
            timeout: Duration::ZERO,
            settle: Duration::ZERO,
            waited: Duration::ZERO,
        },
        removal_timeout: Duration::ZERO,
    };
    let driver = Arc::new(KubernetesDriver::new());
    let conductor = Conductor::new(Arc::clone(store), driver, Arc::new(System), settings);
    let stop = CancellationToken::new();
    tokio::spawn(conductor.run(stop.clone()));
    stop.drop_guard()
}

/// Waits until the operation has ended.
async fn over(ops: &OpOccFixture, op: &VnfLcmOpOcc) -> VnfLcmOpOcc {
    let begun = Instant::now();
    loop {
        let now = ops.show(op).await;
        if now.state.is_final() {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the operation has not ended: {now:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn an_abandoned_operation_is_claimed_only_after_its_deadline(ops: OpOccFixture) {
    let later = Unattended { after: LONG, remedy: Remedy::Rollback };
    stopped(&ops, LcmOperation::Instantiate, &plan(true), None).await;
    assert!(
        matches!(ops.store.claim("test", LONG, 9, &Crowded::default()).await.unwrap(), Claim::Idle(None)),
        "it waits for a person for good"
    );
    let op = stopped(&ops, LcmOperation::Instantiate, &plan(true), Some(later)).await;
    match ops.store.claim("test", LONG, 9, &Crowded::default()).await.unwrap() {
        Claim::Idle(Some(due)) => assert!(due <= LONG && due > LONG / 2, "{due:?}"),
        other => panic!("it is not due yet: {other:?}"),
    }
    assert_eq!(ops.show(&op).await.unattended, Some(later));
    let now = stopped(&ops, LcmOperation::Instantiate, &plan(true), AT_ONCE).await;
    let claimed = work(ops.store.claim("test", LONG, 9, &Crowded::default()).await.unwrap());
    assert_eq!((claimed.op.id, claimed.op.state, claimed.op.unattended), (now.id, OpState::FailedTemp, AT_ONCE));
    assert!(claimed.plan.is_some());
    let queue = ops.store.queue().await.unwrap();
    assert_eq!(queue.waiting, 0, "nothing waits for a conductor: {queue:?}");
}

async fn a_decision_by_a_person_takes_precedence(ops: OpOccFixture) {
    let op = stopped(&ops, LcmOperation::Instantiate, &plan(true), AT_ONCE).await;
    let claimed = work(ops.store.claim("slow", LONG, 1, &Crowded::default()).await.unwrap());
    ops.store.resume_operation(&op.project_id, op.id, OpEvent::Retry, System.now()).await.unwrap();
    let late =
        ops.store.end_operation(claimed.lease, &ending(OpState::FailedTemp, OpState::RollingBack, AT_ONCE)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let retried = work(ops.store.claim("other", LONG, 1, &Crowded::default()).await.unwrap());
    assert_eq!((retried.op.id, retried.op.state), (op.id, OpState::Processing), "at once, before any decision");
}

async fn an_abandoned_operation_is_rolled_back_if_possible_and_failed_otherwise(ops: OpOccFixture) {
    for (operation, way_back, remedy, wanted) in [
        (LcmOperation::Instantiate, true, Remedy::Rollback, OpState::RolledBack),
        (LcmOperation::Instantiate, true, Remedy::Fail, OpState::Failed),
        (LcmOperation::Heal, false, Remedy::Rollback, OpState::Failed),
    ] {
        let op = stopped(&ops, operation, &plan(way_back), Some(Unattended { after: Duration::ZERO, remedy })).await;
        let _conductor = conductor(&ops.store);
        let over = over(&ops, &op).await;
        let error = over.error.unwrap();
        assert_eq!(
            (over.state, over.is_automatic_invocation),
            (wanted, false),
            "{operation:?} {remedy:?}: {}",
            error.detail
        );
        let done = if wanted == OpState::Failed { "it was failed" } else { "it was rolled back" };
        assert!(error.detail.starts_with("Pod a is not ready; ") && error.detail.contains(done), "{}", error.detail);
        assert_eq!(error.status, 500);
    }
}

async fn an_abandoned_rollback_that_stops_is_failed(ops: OpOccFixture) {
    let op = stopped(&ops, LcmOperation::Instantiate, &plan(true), AT_ONCE).await;
    let claimed = work(ops.store.claim("test", LONG, 1, &Crowded::default()).await.unwrap());
    ops.store.end_operation(claimed.lease, &ending(OpState::FailedTemp, OpState::RollingBack, AT_ONCE)).await.unwrap();
    let back = work(ops.store.claim("test", LONG, 1, &Crowded::default()).await.unwrap());
    assert_eq!((back.op.id, back.op.state, back.steps_done), (op.id, OpState::RollingBack, 0));
    ops.store.end_operation(back.lease, &ending(OpState::RollingBack, OpState::FailedTemp, AT_ONCE)).await.unwrap();
    let again = work(ops.store.claim("test", LONG, 1, &Crowded::default()).await.unwrap());
    assert_eq!(again.op.unattended.map(|unattended| unattended.remedy), Some(Remedy::Fail));
    ops.store.postpone(again.lease, &postponement(OpState::FailedTemp, Duration::ZERO, 0), None).await.unwrap();
    let _conductor = conductor(&ops.store);
    assert_eq!(over(&ops, &op).await.state, OpState::Failed);
}

async fn a_conductor_killed_before_deciding_leaves_no_decision(ops: OpOccFixture) {
    let op = stopped(&ops, LcmOperation::Heal, &plan(false), AT_ONCE).await;
    let killed = work(ops.store.claim("killed", Duration::from_millis(1), 1, &Crowded::default()).await.unwrap());
    assert_eq!(ops.show(&op).await.state, OpState::FailedTemp);
    let _conductor = conductor(&ops.store);
    assert_eq!(over(&ops, &op).await.state, OpState::Failed);
    let late = ops.store.end_operation(killed.lease, &ending(OpState::FailedTemp, OpState::RollingBack, AT_ONCE)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
}

const CONFIGURATION: &str = r#"
[[client]]
name = "ONAP SO"
profile = "onap"
header = { name = "X-Client", value = "onap-so" }
unattended_after = 3
"#;

/// The notifications of the operation. One that the killed process had sent, but not recorded, is repeated under its
/// id.
fn summaries(received: &[Received], op: &str) -> Vec<String> {
    let mut ids = BTreeSet::new();
    let of_op = received.iter().filter(|one| one.body["vnfLcmOpOccId"] == op);
    of_op.filter(|one| ids.insert(one.id())).map(Received::summary).collect()
}

/// Instantiates a VNF that never becomes ready and kills the process while the operation is in FAILED_TEMP. ONAP does
/// not know that state.
async fn check_abandoned(mut server: ConfiguredGybe) {
    let cluster = Cluster::running().await;
    let (namespace, other) = (cluster.namespace().await, cluster.namespace().await);
    server.gybe.register_vim(&cluster.admin, "CloudOwner_RegionOne", true).await;
    let vnfd = server.gybe.onboard("broken/image-pull").await;
    let subscriber = Subscriber::start().await;
    let subscription = json!({ "callbackUri": subscriber.url });
    server.gybe.post("/vnflcm/v1/subscriptions", &subscription).await.expect(StatusCode::CREATED);
    let request = |namespace: &str| instantiate_request(namespace);

    let persons = server.gybe.create("v1", &vnfd).await;
    let persons = server.gybe.begin(&persons, "instantiate", &request(other.name.as_str())).await;
    server.gybe.wait_until(&persons, |op| op["operationState"] == "FAILED_TEMP").await;
    let vnf = server.gybe.create("v1", &vnfd).await;
    let so = server.caller(&[("X-Client", "onap-so")]);
    let op = so.begin(&vnf, "instantiate", &request(namespace.name.as_str())).await;
    server.gybe.wait_until(&op, |op| op["operationState"] == "FAILED_TEMP").await;
    server.gybe.kill();
    server.gybe.restart();

    let ended = server.gybe.wait_until(&op, |op| op["operationState"] == "ROLLED_BACK").await;
    assert_eq!(ended["isAutomaticInvocation"], false);
    let detail = ended["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("within 3 s") && detail.contains("rolled back"), "{detail}");
    assert!(ended["error"]["evidence"].is_object(), "the evidence of the failure stays");
    assert!(cluster.marked(&namespace.name).await.is_empty(), "nothing is left");
    let id = super::last_segment(&op).to_owned();
    let received = subscriber.wait_until(|received| summaries(received, &id).len() == 5).await;
    assert_eq!(summaries(&received, &id), ["STARTING", "PROCESSING", "FAILED_TEMP", "ROLLING_BACK", "ROLLED_BACK"]);
    server.gybe.delete(&vnf).await.expect(StatusCode::NO_CONTENT);
    let waiting: Value = server.gybe.get(&persons).await.expect(StatusCode::OK);
    assert_eq!(waiting["operationState"], "FAILED_TEMP", "the operation of another caller is not rolled back");
}

#[tokio::test]
async fn an_abandoned_onap_operation_ends_despite_a_kill_on_sqlite() {
    check_abandoned(ConfiguredGybe::start_with(CONFIGURATION, &SHORT_GRACE)).await;
}

#[tokio::test]
async fn an_abandoned_onap_operation_ends_despite_a_kill_on_postgresql() {
    let database = Database::create().await;
    let arguments = [&["--lease", "5"], &SHORT_GRACE[..]].concat();
    check_abandoned(ConfiguredGybe::start_on(&database.url, CONFIGURATION, &arguments)).await;
}
