//! Cancel (SOL003 clause 5.4.17) of operations that a conductor works on, with a cluster that the test controls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gybe::clock::{Clock as _, System};
use gybe::conductor::cancel::Cancel;
use gybe::conductor::execution::{Conclusion, Execution};
use gybe::conductor::{Conductor, ConductorConfig};
use gybe::domain::evidence::{EVIDENCE, Evidence};
use gybe::domain::fair_share::{Crowded, Sharer};
use gybe::domain::instance::{InstantiatedVnfInfo, VnfState};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::CancelMode::{self, Forceful, Graceful};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::plan::{Plan, PodRef, Step};
use gybe::domain::progress::StepLog;
use gybe::domain::resource::{KindInfo, Resource, ResourceState};
use gybe::domain::transition::OpEvent;
use gybe::domain::vim::VimAccess;
use gybe::infra::{
    AppliedObject, Driver, InfraError, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Removal, Scope,
};
use gybe::places::{Places, WorkPlace};
use gybe::store::Claimed;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::op_occ_fixture::{OpOccFixture, resource};
use crate::support::store::work;
use crate::support::store_fixture::key;

/// Longer than any wait in this file.
const LONG: Duration = Duration::from_secs(60);
/// Longer than the tests: a conductor that noticed a request only at its next renewal would be too late.
const LEASE: Duration = Duration::from_secs(600);

/// A fake cluster: each call announces itself and waits until the test lets it pass.
pub struct GatedDriver {
    /// The calls made, such as `ensure a`.
    calls: watch::Sender<Vec<String>>,
    /// The calls that may pass, by prefix.
    open: watch::Sender<Vec<&'static str>>,
    /// The errors of calls, by prefix.
    fails: Mutex<Option<(&'static str, InfraError)>>,
}

impl GatedDriver {
    pub fn open(gates: &[&'static str]) -> Arc<Self> {
        Arc::new(Self {
            calls: watch::Sender::default(),
            open: watch::Sender::new(gates.to_vec()),
            fails: Mutex::default(),
        })
    }

    pub fn fail(&self, call: &'static str, error: InfraError) {
        *self.fails.lock().unwrap() = Some((call, error));
    }

    async fn pass(&self, call: String) -> Result<(), InfraError> {
        self.calls.send_modify(|calls| calls.push(call.clone()));
        let passes = |open: &Vec<&str>| open.iter().any(|gate| call.starts_with(gate));
        self.open.subscribe().wait_for(passes).await.unwrap();
        let fails = self.fails.lock().unwrap().clone();
        fails.filter(|(gate, _)| call.starts_with(gate)).map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Waits until the call is made.
    pub async fn called(&self, call: &str) {
        self.calls.subscribe().wait_for(|calls| calls.iter().any(|it| it == call)).await.unwrap();
    }

    /// The number of calls that begin so.
    pub fn calls(&self, call: &str) -> usize {
        self.calls.borrow().iter().filter(|it| it.starts_with(call)).count()
    }

    pub fn let_pass(&self, call: &'static str) {
        self.open.send_modify(|open| open.push(call));
    }
}

#[async_trait]
impl Driver for GatedDriver {
    async fn who_am_i(&self, _: &VimAccess) -> Result<String, InfraError> {
        Ok("somebody".to_owned())
    }

    async fn discover(
        &self,
        _: &VimAccess,
        _: &BTreeSet<ObjectKind>,
    ) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError> {
        self.pass("discover".to_owned()).await.map(|()| BTreeMap::new())
    }

    async fn scale(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        self.ensure(scope, resource).await
    }

    async fn ensure(&self, _: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        self.pass(format!("ensure {}", resource.key.name)).await?;
        Ok(AppliedObject { uid: "uid".to_owned(), owned: true })
    }

    async fn await_ready(&self, _: &Scope, rows: &[Resource], _: ReadinessTimeouts) -> Result<PodSnapshot, InfraError> {
        self.pass(format!("await {}", rows.first().map_or("", |row| &row.key.name)))
            .await
            .map(|()| PodSnapshot::default())
    }

    async fn remove(
        &self,
        _: &Scope,
        resource: &Resource,
        _: Option<Duration>,
        _: Duration,
    ) -> Result<Removal, InfraError> {
        self.pass(format!("remove {}", resource.key.name)).await.map(|()| Removal::Removed)
    }

    async fn end_pods(&self, _: &Scope, _: &[Resource], _: Option<Duration>, _: Duration) -> Result<(), InfraError> {
        self.pass("end".to_owned()).await
    }

    async fn delete_pods(&self, _: &Scope, _: &[PodRef], _: Duration) -> Result<(), InfraError> {
        self.pass("delete".to_owned()).await
    }

    async fn evidence(&self, _: &Scope, _: &[Resource]) -> Evidence {
        Evidence { notes: vec!["seen before it is removed".to_owned()], ..Evidence::default() }
    }

    async fn observe(&self, _: &Scope, _: &[Resource], _: PodSnapshot) -> Result<ObservedResources, InfraError> {
        self.pass("observe".to_owned()).await.map(|()| ObservedResources::default())
    }
}

/// A running conductor.
pub struct ConductorFixture {
    pub ops: OpOccFixture,
    gates: Arc<GatedDriver>,
    stop: CancellationToken,
}

impl ConductorFixture {
    pub fn begin(ops: OpOccFixture, gates: Arc<GatedDriver>) -> Self {
        let stop = CancellationToken::new();
        tokio::spawn(conductor(&ops, &gates).run(stop.clone()));
        Self { ops, gates, stop }
    }

    async fn cancel(&self, op: &VnfLcmOpOcc, mode: CancelMode) {
        self.ops.store.cancel_operation(&op.project_id, op.id, mode).await.unwrap();
    }

    /// Cancels the operation and waits until it stops in `state` with the error of a cancellation.
    async fn cancelled(&self, op: &VnfLcmOpOcc, state: OpState, mode: CancelMode) -> String {
        let op = self.ops.wait_ended(op).await;
        let error = op.error.unwrap();
        assert_eq!((op.state, op.cancel), (state, None), "{error:?}");
        assert_eq!(
            (error.urn.as_str(), &error.extra["cancelMode"]),
            ("urn:gybe:problem:cancelled", &mode.as_str().into())
        );
        error.detail
    }

    async fn resume(&self, op: &VnfLcmOpOcc, event: OpEvent) {
        self.ops.store.resume_operation(&op.project_id, op.id, event, System.now()).await.unwrap();
    }
}

async fn states(ops: &OpOccFixture, op: &VnfLcmOpOcc) -> Vec<ResourceState> {
    let rows = ops.store.resources(op.vnf_instance_id).await.unwrap();
    rows.into_iter().map(|row| row.state).collect()
}

impl Drop for ConductorFixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A conductor that does not work yet.
fn conductor(ops: &OpOccFixture, gates: &Arc<GatedDriver>) -> Arc<Conductor> {
    let settings = ConductorConfig {
        owner: "test".to_owned(),
        max_operations: 4,
        max_waiting: 100,
        lease_ttl: LEASE,
        patience: ReadinessTimeouts { grace: LONG, timeout: LONG, settle: Duration::ZERO, waited: Duration::ZERO },
        removal_timeout: LONG,
    };
    let driver = Arc::clone(gates) as Arc<dyn Driver>;
    Conductor::new(Arc::clone(&ops.store), driver, Arc::new(System), settings)
}

/// Runs an INSTANTIATE to the point before its outcome is written; `meanwhile` gets the token that cancels it.
async fn conclusion<F: Future<Output = ()>>(
    ops: &OpOccFixture,
    gates: &Arc<GatedDriver>,
    meanwhile: impl FnOnce(Arc<Cancel>) -> F,
) -> Conclusion {
    let conductor = conductor(ops, gates);
    let claimed = work(ops.store.claim("test", LEASE, 1, &Crowded::default()).await.unwrap());
    let Claimed { lease, op, instance, plan, steps_done, attempt, pending_grant, .. } = claimed;
    let cancel = Arc::new(Cancel::default());
    let (conductor, inventory_was_empty, stored_intents) = (&*conductor, true, Vec::new());
    let sharer = Sharer { project: op.project_id.clone(), vim: None };
    let place = WorkPlace::new(Places::new(1).reserve(1).await.assign(&sharer).unwrap());
    let execution = Execution {
        conductor,
        lease: &lease,
        cancel: &cancel,
        place: &place,
        op,
        instance,
        plan,
        steps_done,
        attempt,
        step_since: tokio::time::Instant::now(),
        inventory_was_empty,
        stored_intents,
        pending_grant,
        log: StepLog::default(),
        has_log: false,
    };
    let never = CancellationToken::new();
    let (conclusion, ()) = tokio::join!(execution.run(&never), meanwhile(Arc::clone(&cancel)));
    conclusion
}

/// Forward: creates `a`, then `b` and 20 others, and waits for them. Backward: removes all.
pub fn instantiated() -> InstantiatedVnfInfo {
    InstantiatedVnfInfo {
        flavour_id: "simple".to_owned(),
        vnf_state: VnfState::Started,
        scale_levels: BTreeMap::new(),
        max_scale_levels: BTreeMap::new(),
        definition_files: Vec::new(),
        vdu_mapping: BTreeMap::new(),
        vnfcs: Vec::new(),
        storages: Vec::new(),
    }
}

fn plan() -> (Plan, Vec<Resource>) {
    let names: Vec<String> =
        ["a".to_owned(), "b".to_owned()].into_iter().chain((1..=20).map(|n| format!("c{n}"))).collect();
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    let forward = vec![
        Step::Apply { objects: vec![key("a")] },
        Step::Apply { objects: keys[1..].to_vec() },
        Step::AwaitReady { objects: keys.clone() },
    ];
    let backward = Some(vec![
        Step::Remove { objects: keys[1..].to_vec(), grace_seconds: Some(0), keep_rows: false },
        Step::Remove { objects: vec![key("a")], grace_seconds: Some(0), keep_rows: false },
    ]);
    (
        Plan { forward, backward, instantiated: Some(instantiated()), ..Plan::default() },
        names.iter().map(|name| resource(name)).collect(),
    )
}

/// A running INSTANTIATE that has passed these calls.
async fn start_operation_passing(gates: &[&'static str]) -> (ConductorFixture, VnfLcmOpOcc) {
    let ops = OpOccFixture::on_sqlite().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    (ConductorFixture::begin(ops, GatedDriver::open(gates)), op)
}

fn present(states: &[ResourceState]) -> usize {
    states.iter().filter(|state| matches!(state, ResourceState::Present { .. })).count()
}

#[tokio::test]
async fn cancel_ends_the_wait_for_readiness_at_once() {
    for mode in [Graceful, Forceful] {
        let (work, op) = start_operation_passing(&["ensure"]).await;
        work.gates.called("await a").await;
        let begun = Instant::now();
        work.cancel(&op, mode).await;
        let detail = work.cancelled(&op, OpState::FailedTemp, mode).await;
        assert!(begun.elapsed() < LONG / 4, "the cancel takes effect before the next renewal");
        assert_eq!(detail, format!("cancelled by request ({}) after step 2 of its plan", mode.as_str()));
    }
}

#[tokio::test]
async fn cancel_reaches_another_process_at_once() {
    let ops = OpOccFixture::on_postgres().await;
    let elsewhere = ops.another_process().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    let work = ConductorFixture::begin(ops, GatedDriver::open(&["ensure"]));
    work.gates.called("await a").await;
    let begun = Instant::now();
    elsewhere.cancel_operation(&op.project_id, op.id, Graceful).await.unwrap();
    work.cancelled(&op, OpState::FailedTemp, Graceful).await;
    assert!(begun.elapsed() < LONG / 4, "the cancel takes effect before the next renewal");
}

#[tokio::test]
async fn graceful_cancel_completes_requests_in_flight_and_starts_no_others() {
    let ops = OpOccFixture::on_sqlite().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    let gates = GatedDriver::open(&["ensure a"]);
    let conclusion = conclusion(&ops, &gates, async |cancel: Arc<Cancel>| {
        gates.called("ensure b").await;
        cancel.record(Graceful);
        gates.let_pass("ensure");
    });
    let Conclusion::End { outcome, .. } = conclusion.await else { panic!("it continues") };
    assert_eq!(outcome.update.to, OpState::FailedTemp);
    assert_eq!(outcome.error.unwrap().detail, "cancelled by request (GRACEFUL) after step 1 of its plan");
    let states = states(&ops, &op).await;
    let calls = gates.calls.borrow().len();
    assert!(calls < 22, "some requests were not sent yet");
    assert_eq!(present(&states), calls, "objects of requests in progress are recorded as present");
    assert!(!states.contains(&ResourceState::Intent), "no intent remains for requests that were not sent");
}

#[tokio::test]
async fn forceful_cancel_abandons_unanswered_requests() {
    let (work, op) = start_operation_passing(&["ensure a", "ensure c1"]).await;
    work.gates.called("ensure b").await;
    work.cancel(&op, Forceful).await;
    let detail = work.cancelled(&op, OpState::FailedTemp, Forceful).await;
    assert_eq!(detail, "cancelled by request (FORCEFUL) after step 1 of its plan");
    let states = states(&work.ops, &op).await;
    assert_eq!(states[1], ResourceState::Intent, "the state of b is uncertain");
    assert!(matches!(states[2], ResourceState::Present { .. }), "the request for c1 completed");
}

#[tokio::test]
async fn graceful_cancel_waits_for_deletion_and_forceful_does_not() {
    for (mode, detail) in [
        (Graceful, "cancelled by request (GRACEFUL) after step 1 of its plan"),
        (Forceful, "cancelled by request (FORCEFUL) before its first step was done"),
    ] {
        let ops = OpOccFixture::on_sqlite().await;
        let forward = vec![Step::DeletePods { pods: Vec::new() }, Step::AwaitReady { objects: Vec::new() }];
        ops.planned(&Plan { forward, ..Plan::default() }, &[]).await;
        let gates = GatedDriver::open(&[]);
        let conclusion = conclusion(&ops, &gates, async |cancel: Arc<Cancel>| {
            gates.called("delete").await;
            cancel.record(mode);
            if mode == Graceful {
                gates.let_pass("delete");
            }
        });
        let Conclusion::End { outcome, .. } = conclusion.await else { panic!("it continues") };
        assert_eq!((outcome.update.to, outcome.error.unwrap().detail.as_str()), (OpState::FailedTemp, detail));
    }
}

#[tokio::test]
async fn a_cancelled_instantiation_is_retried_or_rolled_back() {
    for (event, end) in [(OpEvent::Retry, OpState::Completed), (OpEvent::Rollback, OpState::RolledBack)] {
        let (work, op) = start_operation_passing(&["ensure"]).await;
        work.gates.called("await a").await;
        work.cancel(&op, Graceful).await;
        work.cancelled(&op, OpState::FailedTemp, Graceful).await;
        ["await", "remove", "observe"].into_iter().for_each(|gate| work.gates.let_pass(gate));
        work.resume(&op, event).await;
        let done = work.ops.wait_ended(&op).await;
        assert_eq!((done.state, done.cancel), (end, None), "{:?}", done.error);
        assert_eq!(states(&work.ops, &op).await.len(), if end == OpState::Completed { 22 } else { 0 });
    }
}

#[tokio::test]
async fn a_cancelled_rollback_can_be_rolled_back_again() {
    let (work, op) = start_operation_passing(&["ensure"]).await;
    work.gates.called("await a").await;
    work.cancel(&op, Graceful).await;
    work.cancelled(&op, OpState::FailedTemp, Graceful).await;
    work.resume(&op, OpEvent::Rollback).await;
    work.gates.called("remove b").await;
    work.cancel(&op, Forceful).await;
    let detail = work.cancelled(&op, OpState::FailedTemp, Forceful).await;
    assert_eq!(detail, "cancelled by request (FORCEFUL) before its first rollback step was done");
    work.gates.let_pass("remove");
    work.resume(&op, OpEvent::Rollback).await;
    assert_eq!(work.ops.wait_ended(&op).await.state, OpState::RolledBack);
    assert!(states(&work.ops, &op).await.is_empty());
}

#[tokio::test]
async fn cancel_ends_the_delay_before_the_next_attempt() {
    let (work, op) = start_operation_passing(&["ensure"]).await;
    work.gates.fail("ensure", InfraError::transient("the API server is away"));
    while work.ops.show(&op).await.error.is_none() {
        tokio::task::yield_now().await;
    }
    work.cancel(&op, Graceful).await;
    let detail = work.cancelled(&op, OpState::FailedTemp, Graceful).await;
    assert!(
        detail.starts_with("cancelled by request (GRACEFUL) before its first step was done; before that: "),
        "{detail}"
    );
    assert!(detail.ends_with("the API server is away"), "{detail}");
}

#[tokio::test]
async fn cancel_in_starting_rolls_back_with_nothing_created() {
    let ops = OpOccFixture::on_sqlite().await;
    let op = ops.begin(LcmOperation::Instantiate, OpState::Starting).await;
    ops.store.cancel_operation(&op.project_id, op.id, Graceful).await.unwrap();
    let work = ConductorFixture::begin(ops, GatedDriver::open(&[]));
    let detail = work.cancelled(&op, OpState::RolledBack, Graceful).await;
    assert_eq!(detail, "cancelled by request (GRACEFUL) before anything was created");
    assert_eq!(*work.gates.calls.borrow(), Vec::<String>::new());
    let instance = work.ops.store.instance(&op.project_id, op.vnf_instance_id).await.unwrap();
    assert_eq!(instance.metadata.namespace, None::<Namespace>, "the state before the operation");
}

#[tokio::test]
async fn cancel_after_the_last_step_has_no_effect() {
    let ops = OpOccFixture::on_sqlite().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    let gates = GatedDriver::open(&["ensure", "await"]);
    let conclusion = conclusion(&ops, &gates, async |cancel: Arc<Cancel>| {
        gates.called("observe").await;
        ops.store.cancel_operation(&op.project_id, op.id, Forceful).await.unwrap();
        cancel.record(Forceful);
        gates.let_pass("observe");
    });
    let conclusion = conclusion.await;
    assert!(matches!(&conclusion, Conclusion::End { outcome, .. } if outcome.update.to == OpState::Completed));
}

#[tokio::test]
async fn evidence_is_kept_until_the_operation_ends() {
    let (work, op) = start_operation_passing(&["ensure", "await"]).await;
    work.gates.fail("await", InfraError::not_ready("Deployment a: password=hunter2"));
    let stopped = work.ops.wait_ended(&op).await.error.unwrap();
    assert_eq!(stopped.detail, "Deployment a: password=***");
    assert_eq!(stopped.extra[EVIDENCE]["notes"][0], "seen before it is removed");
    work.resume(&op, OpEvent::Rollback).await;
    work.gates.called("remove b").await;
    assert_eq!(work.ops.show(&op).await.error, Some(stopped.clone()));
    work.cancel(&op, Forceful).await;
    work.cancelled(&op, OpState::FailedTemp, Forceful).await;
    let again = work.ops.show(&op).await.error.unwrap();
    assert_eq!(again.extra[EVIDENCE], stopped.extra[EVIDENCE], "the evidence stays even though the error is another");
    work.gates.let_pass("remove");
    work.resume(&op, OpEvent::Rollback).await;
    assert_eq!(work.ops.wait_ended(&op).await.error, Some(again));
}
