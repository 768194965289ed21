//! Cancelling operations (SOL003 clause 5.4.17) while a conductor works on them, over a cluster that does what the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gybe::clock::{Clock as _, System};
use gybe::conductor::cancel::Cancel;
use gybe::conductor::run::{Conclusion, Execution};
use gybe::conductor::{Conductor, ConductorConfig};
use gybe::domain::evidence::{EVIDENCE, Evidence};
use gybe::domain::instance::{InstantiatedVnfInfo, VnfState};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::CancelMode::{self, Forceful, Graceful};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::plan::{Plan, PodRef, Step};
use gybe::domain::resource::{KindInfo, Resource, ResourceState};
use gybe::domain::transition::OpEvent;
use gybe::domain::vim::VimAccess;
use gybe::infra::{
    AppliedObject, Driver, InfraError, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Scope,
};
use gybe::store::Claimed;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::ops::{Ops, key, resource};
use crate::support::store::work;

/// Nothing in here takes as long.
const LONG: Duration = Duration::from_secs(60);
/// Longer than the tests: a conductor that learnt of a request at its next renewal only would be too late.
const LEASE: Duration = Duration::from_secs(600);

/// A cluster: each call says that it was made and then waits until the test lets it go on.
pub struct Gates {
    /// Calls that were made, such as `ensure a`.
    calls: watch::Sender<Vec<String>>,
    /// Calls that may go on, by their beginning.
    open: watch::Sender<Vec<&'static str>>,
    /// What becomes of those that begin like this.
    fails: Mutex<Option<(&'static str, InfraError)>>,
}

impl Gates {
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

    /// Waits until the call was made.
    async fn called(&self, call: &str) {
        self.calls.subscribe().wait_for(|calls| calls.iter().any(|it| it == call)).await.unwrap();
    }

    fn let_pass(&self, call: &'static str) {
        self.open.send_modify(|open| open.push(call));
    }
}

#[async_trait]
impl Driver for Gates {
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

    async fn ensure(&self, _: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        self.pass(format!("ensure {}", resource.key.name)).await?;
        Ok(AppliedObject { uid: "uid".to_owned(), owned: true })
    }

    async fn await_ready(&self, _: &Scope, _: &[Resource], _: ReadinessTimeouts) -> Result<PodSnapshot, InfraError> {
        self.pass("await".to_owned()).await.map(|()| PodSnapshot::default())
    }

    async fn remove(&self, _: &Scope, resource: &Resource, _: Option<Duration>, _: Duration) -> Result<(), InfraError> {
        self.pass(format!("remove {}", resource.key.name)).await
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

/// A conductor at work.
pub struct Work {
    pub ops: Ops,
    gates: Arc<Gates>,
    stop: CancellationToken,
}

impl Work {
    pub fn begin(ops: Ops, gates: Arc<Gates>) -> Self {
        let stop = CancellationToken::new();
        tokio::spawn(conductor(&ops, &gates).run(stop.clone()));
        Self { ops, gates, stop }
    }

    async fn cancel(&self, op: &VnfLcmOpOcc, mode: CancelMode) {
        self.ops.store.cancel_operation(&op.project_id, op.id, mode).await.unwrap();
    }

    /// The operation, cancelled: it stopped in `state`, and says that it did on request.
    async fn cancelled(&self, op: &VnfLcmOpOcc, state: OpState, mode: CancelMode) -> String {
        let op = self.ops.settled(op).await;
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

async fn states(ops: &Ops, op: &VnfLcmOpOcc) -> Vec<ResourceState> {
    let rows = ops.store.resources(op.vnf_instance_id).await.unwrap();
    rows.into_iter().map(|row| row.state).collect()
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A conductor that does not work yet.
fn conductor(ops: &Ops, gates: &Arc<Gates>) -> Arc<Conductor> {
    let settings = ConductorConfig {
        owner: "test".to_owned(),
        max_operations: 4,
        lease_ttl: LEASE,
        patience: ReadinessTimeouts { grace: LONG, timeout: LONG },
        removal_timeout: LONG,
    };
    let driver = Arc::clone(gates) as Arc<dyn Driver>;
    Conductor::new(Arc::clone(&ops.store), driver, Arc::new(System), settings)
}

/// Runs an INSTANTIATE until it is to be concluded; `meanwhile` is told how to have it stop.
async fn conclusion<F: Future<Output = ()>>(
    ops: &Ops,
    gates: &Arc<Gates>,
    meanwhile: impl FnOnce(Arc<Cancel>) -> F,
) -> Conclusion {
    let conductor = conductor(ops, gates);
    let claimed = work(ops.store.claim("test", LEASE, 1).await.unwrap());
    let Claimed { lease, op, instance, plan, steps_done, attempt, pending_grant } = claimed;
    let cancel = Arc::new(Cancel::default());
    let (conductor, inventory_was_empty, stored_intents) = (&*conductor, true, Vec::new());
    let execution = Execution {
        conductor,
        lease: &lease,
        cancel: &cancel,
        op,
        instance,
        plan,
        steps_done,
        attempt,
        inventory_was_empty,
        stored_intents,
        pending_grant,
    };
    let never = CancellationToken::new();
    let (conclusion, ()) = tokio::join!(execution.run(&never), meanwhile(Arc::clone(&cancel)));
    conclusion
}

/// Makes `a`, then `b` and 20 others, and waits for them; back: removes all.
fn instantiated() -> InstantiatedVnfInfo {
    InstantiatedVnfInfo {
        flavour_id: "simple".to_owned(),
        vnf_state: VnfState::Started,
        scale_levels: BTreeMap::new(),
        max_scale_levels: BTreeMap::new(),
        definition_files: Vec::new(),
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

/// An INSTANTIATE at work, as far as these calls go.
async fn at_work(gates: &[&'static str]) -> (Work, VnfLcmOpOcc) {
    let ops = Ops::on_sqlite().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    (Work::begin(ops, Gates::open(gates)), op)
}

fn present(states: &[ResourceState]) -> usize {
    states.iter().filter(|state| matches!(state, ResourceState::Present { .. })).count()
}

#[tokio::test]
async fn waiting_for_readiness_ends_at_once_in_either_mode() {
    for mode in [Graceful, Forceful] {
        let (work, op) = at_work(&["ensure"]).await;
        work.gates.called("await").await;
        let begun = Instant::now();
        work.cancel(&op, mode).await;
        let detail = work.cancelled(&op, OpState::FailedTemp, mode).await;
        assert!(begun.elapsed() < LONG / 4, "not at the next renewal");
        assert_eq!(detail, format!("cancelled by request ({}) after step 2 of its plan", mode.as_str()));
    }
}

#[tokio::test]
async fn a_request_to_another_process_is_heard_at_once() {
    let ops = Ops::on_postgres().await;
    let elsewhere = ops.another_process().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    let work = Work::begin(ops, Gates::open(&["ensure"]));
    work.gates.called("await").await;
    let begun = Instant::now();
    elsewhere.cancel_operation(&op.project_id, op.id, Graceful).await.unwrap();
    work.cancelled(&op, OpState::FailedTemp, Graceful).await;
    assert!(begun.elapsed() < LONG / 4, "not at the next renewal");
}

#[tokio::test]
async fn a_graceful_request_lets_requests_under_way_end_and_begins_no_others() {
    let ops = Ops::on_sqlite().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    let gates = Gates::open(&["ensure a"]);
    let conclusion = conclusion(&ops, &gates, async |cancel: Arc<Cancel>| {
        gates.called("ensure b").await;
        cancel.ask(Graceful);
        gates.let_pass("ensure");
    });
    let Conclusion::End { outcome, .. } = conclusion.await else { panic!("it goes on") };
    assert_eq!(outcome.update.to, OpState::FailedTemp);
    assert_eq!(outcome.error.unwrap().detail, "cancelled by request (GRACEFUL) after step 1 of its plan");
    let states = states(&ops, &op).await;
    let calls = gates.calls.borrow().len();
    assert!(calls < 22, "some waited for their turn");
    assert_eq!(present(&states), calls, "what was under way is known to be there");
    assert!(!states.contains(&ResourceState::Intent), "what was not sent is not an intent");
}

#[tokio::test]
async fn a_forceful_request_gives_up_requests_that_are_not_answered() {
    let (work, op) = at_work(&["ensure a", "ensure c1"]).await;
    work.gates.called("ensure b").await;
    work.cancel(&op, Forceful).await;
    let detail = work.cancelled(&op, OpState::FailedTemp, Forceful).await;
    assert_eq!(detail, "cancelled by request (FORCEFUL) after step 1 of its plan");
    let states = states(&work.ops, &op).await;
    assert_eq!(states[1], ResourceState::Intent, "whether b is there is not known");
    assert!(matches!(states[2], ResourceState::Present { .. }), "c1 was answered");
}

#[tokio::test]
async fn a_graceful_request_waits_until_what_is_being_removed_is_gone_and_a_forceful_one_does_not() {
    for (mode, detail) in [
        (Graceful, "cancelled by request (GRACEFUL) after step 1 of its plan"),
        (Forceful, "cancelled by request (FORCEFUL) before its first step was done"),
    ] {
        let ops = Ops::on_sqlite().await;
        let forward = vec![Step::DeletePods { pods: Vec::new() }, Step::AwaitReady { objects: Vec::new() }];
        ops.planned(&Plan { forward, ..Plan::default() }, &[]).await;
        let gates = Gates::open(&[]);
        let conclusion = conclusion(&ops, &gates, async |cancel: Arc<Cancel>| {
            gates.called("delete").await;
            cancel.ask(mode);
            if mode == Graceful {
                gates.let_pass("delete");
            }
        });
        let Conclusion::End { outcome, .. } = conclusion.await else { panic!("it goes on") };
        assert_eq!((outcome.update.to, outcome.error.unwrap().detail.as_str()), (OpState::FailedTemp, detail));
    }
}

#[tokio::test]
async fn a_cancelled_instantiation_is_retried_or_rolled_back() {
    for (event, end) in [(OpEvent::Retry, OpState::Completed), (OpEvent::Rollback, OpState::RolledBack)] {
        let (work, op) = at_work(&["ensure"]).await;
        work.gates.called("await").await;
        work.cancel(&op, Graceful).await;
        work.cancelled(&op, OpState::FailedTemp, Graceful).await;
        ["await", "remove", "observe"].into_iter().for_each(|gate| work.gates.let_pass(gate));
        work.resume(&op, event).await;
        let done = work.ops.settled(&op).await;
        assert_eq!((done.state, done.cancel), (end, None), "{:?}", done.error);
        assert_eq!(states(&work.ops, &op).await.len(), if end == OpState::Completed { 22 } else { 0 });
    }
}

#[tokio::test]
async fn an_operation_on_its_way_back_is_stopped_and_goes_back_again() {
    let (work, op) = at_work(&["ensure"]).await;
    work.gates.called("await").await;
    work.cancel(&op, Graceful).await;
    work.cancelled(&op, OpState::FailedTemp, Graceful).await;
    work.resume(&op, OpEvent::Rollback).await;
    work.gates.called("remove b").await;
    work.cancel(&op, Forceful).await;
    let detail = work.cancelled(&op, OpState::FailedTemp, Forceful).await;
    assert_eq!(detail, "cancelled by request (FORCEFUL) before its first step on the way back was done");
    work.gates.let_pass("remove");
    work.resume(&op, OpEvent::Rollback).await;
    assert_eq!(work.ops.settled(&op).await.state, OpState::RolledBack);
    assert!(states(&work.ops, &op).await.is_empty());
}

#[tokio::test]
async fn an_operation_that_waits_for_its_next_attempt_is_cancelled_at_once() {
    let (work, op) = at_work(&["ensure"]).await;
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
async fn a_request_in_starting_ends_the_operation_with_nothing_made() {
    let ops = Ops::on_sqlite().await;
    let op = ops.begin(LcmOperation::Instantiate, OpState::Starting).await;
    ops.store.cancel_operation(&op.project_id, op.id, Graceful).await.unwrap();
    let work = Work::begin(ops, Gates::open(&[]));
    let detail = work.cancelled(&op, OpState::RolledBack, Graceful).await;
    assert_eq!(detail, "cancelled by request (GRACEFUL) before anything was made");
    assert_eq!(*work.gates.calls.borrow(), Vec::<String>::new());
    let instance = work.ops.store.instance(&op.project_id, op.vnf_instance_id).await.unwrap();
    assert_eq!(instance.metadata.namespace, None::<Namespace>, "as before the operation");
}

#[tokio::test]
async fn a_request_that_comes_after_the_last_step_has_no_effect() {
    let ops = Ops::on_sqlite().await;
    let (plan, inventory) = plan();
    let op = ops.planned(&plan, &inventory).await;
    let gates = Gates::open(&["ensure", "await"]);
    let conclusion = conclusion(&ops, &gates, async |cancel: Arc<Cancel>| {
        gates.called("observe").await;
        ops.store.cancel_operation(&op.project_id, op.id, Forceful).await.unwrap();
        cancel.ask(Forceful);
        gates.let_pass("observe");
    });
    let conclusion = conclusion.await;
    assert!(matches!(&conclusion, Conclusion::End { outcome, .. } if outcome.update.to == OpState::Completed));
}

#[tokio::test]
async fn evidence_stays_in_sight_until_the_end() {
    let (work, op) = at_work(&["ensure", "await"]).await;
    work.gates.fail("await", InfraError::not_ready("Deployment a: password=hunter2"));
    let stopped = work.ops.settled(&op).await.error.unwrap();
    assert_eq!(stopped.detail, "Deployment a: password=***");
    assert_eq!(stopped.extra[EVIDENCE]["notes"][0], "seen before it is removed");
    work.resume(&op, OpEvent::Rollback).await;
    work.gates.called("remove b").await;
    assert_eq!(work.ops.show(&op).await.error, Some(stopped.clone()));
    work.cancel(&op, Forceful).await;
    work.cancelled(&op, OpState::FailedTemp, Forceful).await;
    let again = work.ops.show(&op).await.error.unwrap();
    assert_eq!(again.extra[EVIDENCE], stopped.extra[EVIDENCE], "though the error is another");
    work.gates.let_pass("remove");
    work.resume(&op, OpEvent::Rollback).await;
    assert_eq!(work.ops.settled(&op).await.error, Some(again));
}
