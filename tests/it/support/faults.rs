//! Faults at exact points: every call that a conductor makes of its store and of its cluster is a numbered point, and a
//! plan says what goes wrong at which.
//!
//! A [`Process`] stands for a process that runs a conductor. Once it is killed, none of its calls is sent or answered any
//! more. Its conductor's tasks stay where they were, as frozen as if they were gone.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gybe::domain::grant::PendingGrant;
use gybe::domain::ids::{ProjectId, SubscriptionId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::interface::Interface;
use gybe::domain::op_occ::{CancelMode, OpState, VnfLcmOpOcc};
use gybe::domain::package::{Content, DefinitionFile, OperationalState, PackageSource, VnfPackage};
use gybe::domain::plan::{Plan, PodRef};
use gybe::domain::problem::{Problem, ProblemType};
use gybe::domain::resource::{KindInfo, ObjectKey, Resource};
use gybe::domain::subscription::{Notification, Subscription, Undelivered};
use gybe::domain::transition::{OpEvent, Update};
use gybe::domain::vim::{Vim, VimAccess};
use gybe::infra::{
    AppliedObject, Driver, InfraError, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Scope,
};
use gybe::metrics::StoreMetrics;
use gybe::nfvo::{GrantDecision, Nfvo, NfvoError};
use gybe::sol003::grant::GrantRequest;
use gybe::store::{
    Checkpoint, Claim, CreateOutcome, HealthStore, IdempotencyKey, InstanceLocation, InstanceStore, Lease, LeaseStore,
    Listed, OnboardedVnfd, OnboardingClaim, OnboardingLease, OnboardingStore, OperationEnded, OperationOutcome,
    OperationStore, OutboxClaim, OutboxLease, OutboxStats, OutboxStore, PackageStore, Page, PlannedOperation,
    QueueStats, Sent, Store, StoreError, Subscribed, SubscriptionStore, VimStore,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// What goes wrong at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call is sent.
    KilledBefore,
    /// The process is killed when the call has taken effect and nobody knows yet.
    KilledAfter,
    /// The call takes effect twice. Of the cluster only: a write of the store is sent once.
    Twice,
    /// The call fails and nothing has happened. It works the next time.
    FailsOnce,
    /// The call fails, and so does each like it, until [`Faults::lift`].
    FailsOn,
    /// The cluster refuses for a reason that time does not heal. It works the next time.
    Refused,
    /// The call takes effect, and its answer is lost.
    ReplyLost,
    /// The lease runs out, and another conductor takes over and goes on to the end. Only then does this conductor hear
    /// from the cluster, or sends its call to the store.
    TakenOver,
    /// As [`Fault::TakenOver`], but the call of the cluster was never sent: what is heard in the end is that it timed out.
    TakenOverUnsent,
    /// The process is told to stop.
    Stopped,
    /// A cancel request is recorded before the call is sent, and heard of while it is under way.
    Cancelled(CancelMode),
    /// A cancel request is recorded before the call is sent; the process is killed when the call has taken effect, and
    /// has not heard of the request.
    CancelledAndKilled(CancelMode),
    /// The conductor panics instead of sending the call, and does so again at each like it, until [`Faults::lift`].
    PanicsOn,
    /// The conductor panics with the answer in its hands. It does not the next time.
    PanicsAfter,
}

impl Fault {
    /// Whether it is a cancel request.
    pub const fn is_cancel(self) -> bool {
        matches!(self, Self::Cancelled(_) | Self::CancelledAndKilled(_))
    }
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The store.
    Store,
    /// The cluster.
    Cluster,
    /// The NFVO that grants operations.
    Nfvo,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Whom it was for.
    pub side: Side,
    /// What it was, such as `ensure Service udr`.
    pub call: String,
}

/// What whoever looks after the processes has to know.
#[derive(Debug)]
pub enum Event {
    /// A process was killed.
    Killed,
    /// A process was told to stop and has stopped.
    Stopped,
    /// A conductor is held: its lease is to be given to another.
    Held,
    /// A conductor asked for work and got none.
    Waits,
}

/// The calls with which a conductor takes an operation up and lays it down. They do not fail on and on: a store that can't
/// even write the end can't write that the operation failed, and a conductor that can't claim, or put off, does not count its
/// attempts. While they are under way, nobody listens for cancel requests.
pub const NEEDED: [&str; 4] = ["claim", "postpone", "await_grant", "end_operation"];

/// A plan of faults, and the points that were passed, over all processes.
pub struct Faults {
    op: VnfLcmOpOccId,
    inner: Mutex<Inner>,
    events: UnboundedSender<Event>,
}

#[derive(Default)]
struct Inner {
    plan: BTreeMap<usize, Fault>,
    /// The calls that do not work, and how.
    failing: BTreeMap<String, Fault>,
    cancels: Vec<OpState>,
    refused: Option<&'static str>,
    passed: Vec<Point>,
}

impl Faults {
    /// `plan` says what goes wrong at which point of the operation, counted from 0.
    pub fn new(op: VnfLcmOpOccId, plan: BTreeMap<usize, Fault>, events: UnboundedSender<Event>) -> Arc<Self> {
        Arc::new(Self { op, inner: Mutex::new(Inner { plan, ..Inner::default() }), events })
    }

    /// Ends all [`Fault::FailsOn`] and [`Fault::PanicsOn`].
    pub fn lift(&self) {
        self.inner.lock().unwrap().failing.clear();
    }

    /// The cluster refuses the next call of that name.
    pub fn refuse(&self, call: &'static str) {
        self.inner.lock().unwrap().refused = Some(call);
    }

    /// Nothing goes wrong from now on.
    pub fn end(&self) {
        self.lift();
        self.inner.lock().unwrap().plan.clear();
    }

    /// The states in which cancel requests were accepted.
    pub fn cancels(&self) -> Vec<OpState> {
        self.inner.lock().unwrap().cancels.clone()
    }

    /// The points that were passed.
    pub fn passed(&self) -> Vec<Point> {
        self.inner.lock().unwrap().passed.clone()
    }

    /// Tells of `event`. Nobody may be listening any more.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn pass(&self, side: Side, call: &str) -> Option<Fault> {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.passed.len();
        inner.passed.push(Point { side, call: call.to_owned() });
        let mut fault = inner.plan.remove(&number);
        if inner.refused.take_if(|refused| *refused == call).is_some() {
            fault = Some(Fault::Refused);
        }
        match fault {
            Some(Fault::FailsOn) if NEEDED.contains(&call) => fault = Some(Fault::FailsOnce),
            // Only the work on an operation is guarded against panics.
            Some(Fault::PanicsOn | Fault::PanicsAfter) if NEEDED.contains(&call) => fault = None,
            Some(lasting @ (Fault::FailsOn | Fault::PanicsOn)) => {
                inner.failing.insert(call.to_owned(), lasting);
            }
            _ => {}
        }
        inner.failing.get(call).copied().or(fault)
    }
}

/// The errors of both sides.
trait Failure {
    fn passing() -> Self;
    fn lasting() -> Self;
}

impl Failure for StoreError {
    fn passing() -> Self {
        Self::Database(sqlx::Error::PoolTimedOut)
    }

    fn lasting() -> Self {
        Self::passing()
    }
}

impl Failure for InfraError {
    fn passing() -> Self {
        Self::transient("the API server does not answer")
    }

    fn lasting() -> Self {
        Self::invalid("admission webhook denied the request")
    }
}

impl Failure for NfvoError {
    fn passing() -> Self {
        Self::Passing(Problem::new(ProblemType::NfvoUnreachable, "the NFVO does not answer"))
    }

    fn lasting() -> Self {
        Self::Lasting(Problem::new(ProblemType::GrantRefused, "the NFVO refused the grant"))
    }
}

/// A process. See the module's documentation.
pub struct Process {
    faults: Arc<Faults>,
    /// Until it is killed.
    store: Mutex<Option<Arc<dyn Store>>>,
    wake: Arc<Notify>,
    dead: AtomicBool,
    held: AtomicBool,
    released: CancellationToken,
    /// Whether its conductor works on an operation.
    busy: AtomicBool,
    /// Tells it of cancel requests.
    cancels: watch::Sender<()>,
    /// Tells of each attempt to renew a lease that is over.
    renewals: watch::Sender<()>,
    /// Tells it to stop.
    pub stop: CancellationToken,
}

impl Process {
    /// One over `store`.
    pub fn new(faults: &Arc<Faults>, store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            faults: Arc::clone(faults),
            wake: store.wake(),
            store: Mutex::new(Some(store)),
            dead: AtomicBool::new(false),
            held: AtomicBool::new(false),
            released: CancellationToken::new(),
            busy: AtomicBool::new(false),
            cancels: watch::Sender::default(),
            renewals: watch::Sender::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Kills it.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.store.lock().unwrap().take();
    }

    /// Whether it is held at a point, see [`Fault::TakenOver`].
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether its conductor works on an operation.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Lets it go on from where it is held.
    pub fn release(&self) {
        self.held.store(false, Ordering::Relaxed);
        self.released.cancel();
    }

    async fn alive(&self) {
        if self.dead.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    async fn die(&self) {
        self.kill();
        self.faults.tell(Event::Killed);
        pending::<()>().await;
    }

    async fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
        self.faults.tell(Event::Held);
        self.released.cancelled().await;
        self.alive().await;
    }

    /// The API records a cancel request, if the operation is at work.
    async fn record_cancel(&self, mode: CancelMode) {
        let (store, project, op) = (self.store().await, ProjectId::default(), self.faults.op);
        let state = store.op_occ(&project, op).await.unwrap().state;
        match store.cancel_operation(&project, op, mode).await {
            Ok(()) => self.faults.inner.lock().unwrap().cancels.push(state),
            Err(StoreError::Stale) => {}
            Err(error) => panic!("a cancel request is not recorded: {error}"),
        }
    }

    /// The signal that there are cancel requests arrives: whoever keeps the lease looks, if anybody does.
    async fn hear_of_cancel(&self) {
        let mut renewals = self.renewals.subscribe();
        self.cancels.send_replace(());
        tokio::select! {
            _ = renewals.changed() => {}
            () = self.cancels.closed() => {}
        }
        // Who renewed has the answer; the conductor, on the same task as this call, is next to see it.
        tokio::task::yield_now().await;
    }

    /// Before a call. An error: it is not sent.
    async fn enter<E: Failure>(&self, side: Side, call: &str) -> Result<Option<Fault>, E> {
        self.alive().await;
        let fault = self.faults.pass(side, call);
        match fault {
            Some(Fault::KilledBefore) => self.die().await,
            Some(Fault::FailsOnce | Fault::FailsOn) => return Err(E::passing()),
            Some(Fault::Refused) => return Err(E::lasting()),
            Some(Fault::TakenOver) if side == Side::Store => self.hold().await,
            Some(Fault::TakenOverUnsent) => {
                self.hold().await;
                return Err(E::passing());
            }
            Some(Fault::Stopped) => self.stop.cancel(),
            Some(Fault::Cancelled(mode)) => {
                self.record_cancel(mode).await;
                // A renewal tells of the request itself.
                if call != "renew" && !NEEDED.contains(&call) {
                    self.hear_of_cancel().await;
                }
            }
            Some(Fault::CancelledAndKilled(mode)) => self.record_cancel(mode).await,
            // Without the noise that the panic macro makes.
            Some(Fault::PanicsOn) => std::panic::resume_unwind(Box::new(format!("{call} went wrong"))),
            _ => {}
        }
        Ok(fault)
    }

    /// After a call.
    async fn leave<T, E: Failure>(&self, side: Side, fault: Option<Fault>, answer: Result<T, E>) -> Result<T, E> {
        // The answer takes its time: what else was sent meanwhile takes effect before it is heard.
        if side != Side::Store {
            tokio::task::yield_now().await;
        }
        self.alive().await;
        match fault {
            Some(Fault::KilledAfter | Fault::CancelledAndKilled(_)) => self.die().await,
            Some(Fault::PanicsAfter) => std::panic::resume_unwind(Box::new("an answer was not understood")),
            Some(Fault::ReplyLost) => return Err(E::passing()),
            Some(Fault::TakenOver) if side != Side::Store => self.hold().await,
            _ => {}
        }
        answer
    }

    /// Never, once it is killed.
    async fn store(&self) -> Arc<dyn Store> {
        let store = self.store.lock().unwrap().clone();
        match store {
            Some(store) => store,
            None => pending().await,
        }
    }
}

/// However the call ends that it stands for.
struct TellsWhenOver<'a>(&'a watch::Sender<()>);

impl Drop for TellsWhenOver<'_> {
    fn drop(&mut self) {
        self.0.send_replace(());
    }
}

/// The store as a process sees it.
pub struct FaultyStore(pub Arc<Process>);

/// Implements a trait of the store for [`FaultyStore`]: each method of the list is a point; then come the methods that do more.
macro_rules! points {
    ($trait:ident { $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* } $($more:tt)*) => {
        #[async_trait]
        impl $trait for FaultyStore {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                let fault = self.0.enter::<StoreError>(Side::Store, stringify!($name)).await?;
                let answer = self.0.store().await.$name($($argument),*).await;
                self.0.leave(Side::Store, fault, answer).await
            })*

            $($more)*
        }
    };
}

points! {
    PackageStore {
    fn create_package(package: &VnfPackage) -> ();
        fn package(project: &ProjectId, id: VnfPkgId) -> VnfPackage;
        fn package_of_vnfd(project: &ProjectId, vnfd_id: &str) -> VnfPackage;
        fn packages(project: &ProjectId, page: &Page<'_>) -> Vec<VnfPackage>;
        fn update_package(project: &ProjectId, id: VnfPkgId, state: Option<OperationalState>, data: Option<[&Map<String, Value>; 2]>) -> ();
        fn delete_package(project: &ProjectId, id: VnfPkgId) -> ();
        fn vnfd(project: &ProjectId, vnfd_id: &str) -> OnboardedVnfd;
        fn definition_files(id: VnfPkgId) -> Arc<[DefinitionFile]>;
    }
}

points! {
    OnboardingStore {
        fn begin_upload(project: &ProjectId, id: VnfPkgId, source: Option<&PackageSource>, owner: &str, ttl: Duration) -> OnboardingLease;
        fn finish_upload(lease: &OnboardingLease, ttl: Duration) -> ();
        fn finish_onboarding(lease: &OnboardingLease, content: &Content, files: &[DefinitionFile]) -> ();
        fn fail_onboarding(lease: &OnboardingLease, problem: &Problem) -> ();
        fn renew_onboarding(lease: &OnboardingLease, ttl: Duration) -> ();
        fn release_onboarding(lease: OnboardingLease) -> ();
        fn claim_onboarding(owner: &str, ttl: Duration) -> OnboardingClaim;
    }
    fn onboardings(&self) -> Arc<Notify> {
        self.0.store.lock().unwrap().as_ref().unwrap().onboardings()
    }
}

points! {
    VimStore {
        fn create_vim(vim: &Vim) -> ();
        fn vim(project: &ProjectId, id: VimId) -> Vim;
        fn vim_named(project: &ProjectId, name: &str) -> Vim;
        fn default_vim(project: &ProjectId) -> Vim;
        fn vims(project: &ProjectId) -> Vec<Vim>;
        fn update_vim(vim: &Vim, seen: Option<OffsetDateTime>) -> ();
        fn delete_vim(project: &ProjectId, id: VimId) -> ();
    }
}

points! {
    InstanceStore {
        fn create_instance(instance: &VnfInstance) -> ();
        fn create_instance_once(instance: &VnfInstance, key: &IdempotencyKey) -> CreateOutcome;
        fn instance(project: &ProjectId, id: VnfInstanceId) -> VnfInstance;
        fn instance_version(project: &ProjectId, id: VnfInstanceId) -> i64;
        fn list_instances(project: &ProjectId, page: &Page<'_>) -> Vec<Listed>;
        fn instances(project: &ProjectId, ids: &[VnfInstanceId]) -> Vec<VnfInstance>;
        fn delete_instance(project: &ProjectId, id: VnfInstanceId, versions: Option<&[i64]>) -> ();
        fn instantiated(ids: Option<&[VnfInstanceId]>) -> Vec<InstanceLocation>;
        fn refresh_instance(instance: &VnfInstance) -> ();
        fn resources(id: VnfInstanceId) -> Vec<Resource>;
    }

    fn endings(&self) -> broadcast::Receiver<OperationEnded> {
        self.0.store.lock().unwrap().as_ref().unwrap().endings()
    }
}

points! {
    OperationStore {
        fn begin_operation(op: &VnfLcmOpOcc, instance: &VnfInstance) -> ();
        fn op_occ(project: &ProjectId, id: VnfLcmOpOccId) -> VnfLcmOpOcc;
        fn op_occs(project: &ProjectId, page: &Page<'_>) -> Vec<VnfLcmOpOcc>;
        fn resume_operation(project: &ProjectId, id: VnfLcmOpOccId, event: OpEvent, now: OffsetDateTime) -> ();
        fn cancel_operation(project: &ProjectId, id: VnfLcmOpOccId, mode: CancelMode) -> ();
        fn plan(id: VnfLcmOpOccId) -> Option<Plan>;
    }
}

points! {
    LeaseStore {
        fn store_plan(lease: &Lease, ttl: Duration, update: &Update, planned: &PlannedOperation<'_>, now: OffsetDateTime) -> ();
        fn await_grant(lease: Lease, update: &Update, pending: &PendingGrant) -> ();
        fn record_intent(lease: &Lease, ttl: Duration, objects: &[ObjectKey], new: &[Resource]) -> Option<CancelMode>;
        fn checkpoint(lease: &Lease, checkpoint: &Checkpoint) -> ();
        fn postpone(lease: Lease, update: &Update, error: Option<&Problem>) -> ();
        fn end_operation(lease: Lease, outcome: &OperationOutcome) -> ();
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<CancelMode>, StoreError> {
        let _tells = TellsWhenOver(&self.0.renewals);
        let fault = self.0.enter::<StoreError>(Side::Store, "renew").await?;
        let answer = self.0.store().await.renew(lease, ttl).await;
        self.0.leave(Side::Store, fault, answer).await
    }

    async fn claim(&self, owner: &str, ttl: Duration, most: u32) -> Result<Claim, StoreError> {
        // One that was interrupted while it was held has gone on.
        self.0.held.store(false, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
        let claim = async {
            let fault = self.0.enter::<StoreError>(Side::Store, "claim").await?;
            let answer = self.0.store().await.claim(owner, ttl, most).await;
            self.0.leave(Side::Store, fault, answer).await
        };
        let claim = claim.await;
        match claim {
            Ok(Claim::Work(_)) => self.0.busy.store(true, Ordering::Relaxed),
            _ => self.0.faults.tell(Event::Waits),
        }
        claim
    }

    fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.0.wake)
    }

    fn cancels(&self) -> watch::Receiver<()> {
        self.0.cancels.subscribe()
    }
}

points! {
    SubscriptionStore {
        fn create_subscription(subscription: &Subscription) -> Subscribed;
        fn subscription(project: &ProjectId, id: SubscriptionId) -> Subscription;
        fn subscriptions(project: &ProjectId, interface: Interface, page: &Page<'_>) -> Vec<Subscription>;
        fn delete_subscription(project: &ProjectId, id: SubscriptionId) -> ();
    }
}

points! {
    OutboxStore {
        fn undelivered(project: &ProjectId, id: SubscriptionId, limit: usize) -> Vec<Undelivered>;
        fn resend(project: &ProjectId, id: SubscriptionId) -> u64;
        fn claim_subscription(owner: &str, ttl: Duration) -> OutboxClaim;
        fn next_notifications(lease: &OutboxLease, limit: usize) -> Vec<Notification>;
        fn renew_subscription(lease: &OutboxLease, ttl: Duration) -> ();
        fn record_sent(lease: &OutboxLease, ttl: Duration, sent: &Sent) -> ();
        fn release_subscription(lease: OutboxLease) -> ();
        fn put_off_subscription(lease: OutboxLease, delay: Duration, attempt: u32, reason: &str, patience: Duration) -> ();
    }

    fn outbox(&self) -> Arc<Notify> {
        self.0.store.lock().unwrap().as_ref().unwrap().outbox()
    }
}

points! {
    HealthStore {
        fn queue() -> QueueStats;
        fn outbox_depth() -> OutboxStats;
        fn ping() -> ();
    }

    fn metrics(&self) -> StoreMetrics {
        // A process that is dead has none that anybody reads.
        self.0.store.lock().unwrap().as_ref().map_or_else(StoreMetrics::default, |store| store.metrics())
    }
}

/// The cluster as a process sees it.
pub struct FaultyDriver {
    /// The process.
    pub process: Arc<Process>,
    /// The cluster.
    pub cluster: Arc<dyn Driver>,
}

/// A call of the cluster: a point.
macro_rules! call {
    ($self:ident, $call:expr, $verb:ident($($argument:expr),*)) => {{
        let fault = $self.process.enter::<InfraError>(Side::Cluster, $call).await?;
        let mut answer = $self.cluster.$verb($($argument),*).await;
        if fault == Some(Fault::Twice) {
            answer = $self.cluster.$verb($($argument),*).await;
        }
        $self.process.leave(Side::Cluster, fault, answer).await
    }};
}

#[async_trait]
impl Driver for FaultyDriver {
    async fn who_am_i(&self, access: &VimAccess) -> Result<String, InfraError> {
        call!(self, "who_am_i", who_am_i(access))
    }

    async fn discover(
        &self,
        access: &VimAccess,
        kinds: &BTreeSet<ObjectKind>,
    ) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError> {
        call!(self, "discover", discover(access, kinds))
    }

    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        call!(self, &format!("ensure {}", resource.key), ensure(scope, resource))
    }

    async fn await_ready(
        &self,
        scope: &Scope,
        resources: &[Resource],
        patience: ReadinessTimeouts,
    ) -> Result<PodSnapshot, InfraError> {
        call!(self, "await_ready", await_ready(scope, resources, patience))
    }

    async fn remove(
        &self,
        scope: &Scope,
        resource: &Resource,
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError> {
        call!(self, &format!("remove {}", resource.key), remove(scope, resource, grace, timeout))
    }

    async fn end_pods(
        &self,
        scope: &Scope,
        resources: &[Resource],
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError> {
        call!(self, "end_pods", end_pods(scope, resources, grace, timeout))
    }

    async fn delete_pods(&self, scope: &Scope, pods: &[PodRef], timeout: Duration) -> Result<(), InfraError> {
        call!(self, "delete_pods", delete_pods(scope, pods, timeout))
    }

    async fn observe(
        &self,
        scope: &Scope,
        resources: &[Resource],
        pods: PodSnapshot,
    ) -> Result<ObservedResources, InfraError> {
        call!(self, "observe", observe(scope, resources, pods.clone()))
    }
}

/// The NFVO as a process sees it.
pub struct FaultyNfvo {
    /// The process.
    pub process: Arc<Process>,
    /// The NFVO.
    pub nfvo: Arc<dyn Nfvo>,
}

#[async_trait]
impl Nfvo for FaultyNfvo {
    async fn request_grant(&self, request: &GrantRequest) -> Result<GrantDecision, NfvoError> {
        let fault = self.process.enter::<NfvoError>(Side::Nfvo, "ask for grant").await?;
        let mut answer = self.nfvo.request_grant(request).await;
        if fault == Some(Fault::Twice) {
            answer = self.nfvo.request_grant(request).await;
        }
        self.process.leave(Side::Nfvo, fault, answer).await
    }

    async fn poll_grant(&self, uri: &str) -> Result<GrantDecision, NfvoError> {
        let fault = self.process.enter::<NfvoError>(Side::Nfvo, "look for grant").await?;
        let mut answer = self.nfvo.poll_grant(uri).await;
        if fault == Some(Fault::Twice) {
            answer = self.nfvo.poll_grant(uri).await;
        }
        self.process.leave(Side::Nfvo, fault, answer).await
    }
}
