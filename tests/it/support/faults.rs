//! Fault injection at exact points: every call of a conductor to its store and to its cluster is a numbered point, and
//! a [`FaultPlan`] lists the faults by point.
//!
//! A [`FaultyProcess`] stands for a process that runs a conductor. After it is killed, none of its calls is sent or
//! answered; the tasks of its conductor block for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gybe::domain::audit::AuditRecord;
use gybe::domain::event::Event;
use gybe::domain::fair_share::Crowded;
use gybe::domain::grant::PendingGrant;
use gybe::domain::ids::{
    NamespaceId, PlanId, ProjectId, SubscriptionId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId,
};
use gybe::domain::instance::VnfInstance;
use gybe::domain::interface::Interface;
use gybe::domain::kept_plan::{FrozenPlan, KeptPlan};
use gybe::domain::metering::{MeteringRecord, TimeRange};
use gybe::domain::notification::{Notification, Undelivered};
use gybe::domain::op_occ::{CancelMode, OpState, VnfLcmOpOcc};
use gybe::domain::package::{Content, DefinitionFile, OperationalState, PackageSource, VnfPackage};
use gybe::domain::plan::{Plan, PodRef};
use gybe::domain::problem::{Problem, ProblemType};
use gybe::domain::progress::{StepAttempt, StepWrites};
use gybe::domain::project_namespace::ProjectNamespace;
use gybe::domain::quota::{OwnQuotas, Quotas};
use gybe::domain::resource::{KindInfo, ObjectKey, Resource};
use gybe::domain::share::{Grantee, VimShare};
use gybe::domain::subscription::Subscription;
use gybe::domain::tenancy::NamespaceProject;
use gybe::domain::transition::{OpEvent, Update};
use gybe::domain::vim::{Vim, VimAccess, VimStatus};
use gybe::domain::warning::Warnings;
use gybe::infra::{
    AppliedObject, Driver, InfraError, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Removal, Scope,
};
use gybe::metrics::StoreMetrics;
use gybe::nfvo::{GrantDecision, Nfvo, NfvoError};
use gybe::sol003::grant::GrantRequest;
use gybe::store::{
    AuditStore, BrowserSession, Checkpoint, Claim, EventStore, HealthStore, InstanceLocation, InstanceStore,
    JournalBounds, KeptAnswer, KeyedRequest, Lease, LeaseStore, Listed, MeteringStore, NamespaceStore, OnboardedVnfd,
    OnboardingClaim, OnboardingLease, OnboardingStore, OperationEnded, OperationOutcome, OperationStore, OutboxClaim,
    OutboxLease, OutboxStats, OutboxStore, PackageStore, Page, PageCursor, PlanStore, PlannedOperation, ProjectUsage,
    QueueStats, QuotaStore, RenewedLease, RequestClaim, RequestStore, RetentionStore, Sent, SessionStore, ShareStore,
    SharedBy, SiteStats, Store, StoreError, Subscribed, SubscriptionStore, VimStore,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A fault at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call is sent.
    KilledBefore,
    /// The process is killed after the call has taken effect and before its result is known.
    KilledAfter,
    /// The call takes effect twice. Only for the cluster; a write to the store is sent once.
    Twice,
    /// The call fails without effect. The next one succeeds.
    FailsOnce,
    /// This call and every equal one fail until [`FaultPlan::clear_lasting`].
    FailsAlways,
    /// The cluster refuses with a permanent error. The next call succeeds.
    Refused,
    /// The call takes effect, but its result is lost.
    ReplyLost,
    /// The lease expires, and another conductor takes over and completes the operation. Only then does this conductor
    /// get the response of the cluster, or send its call to the store.
    TakenOver,
    /// As [`Fault::TakenOver`], but the call to the cluster is never sent: its result is a timeout.
    TakenOverUnsent,
    /// As [`Fault::TakenOver`], but the call to the cluster is sent only then, as by a machine whose clock stood still.
    SentLate,
    /// The process receives a shutdown request.
    Stopped,
    /// A cancel request is recorded before the call is sent, and signalled during the call.
    Cancelled(CancelMode),
    /// A cancel request is recorded before the call is sent, but not signalled; the process is killed after the call
    /// has taken effect.
    CancelledAndKilled(CancelMode),
    /// The conductor panics instead of sending this call and every equal one, until [`FaultPlan::clear_lasting`].
    PanicsAlways,
    /// The conductor panics after the response. The next call succeeds.
    PanicsAfter,
}

impl Fault {
    /// Whether it is a cancel request.
    pub const fn is_cancel(self) -> bool {
        matches!(self, Self::Cancelled(_) | Self::CancelledAndKilled(_))
    }
}

/// The receiver of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallTarget {
    /// The store.
    Store,
    /// The cluster.
    Cluster,
    /// The NFVO that grants operations.
    Nfvo,
}

/// A call of a conductor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPoint {
    pub side: CallTarget,
    /// Its name, such as `ensure Service udr`.
    pub call: String,
}

/// An event that the test reacts to.
#[derive(Debug)]
pub enum ProcessEvent {
    /// A process was killed.
    Killed,
    /// A process has shut down.
    Stopped,
    /// A conductor is paused: its lease must go to another.
    Paused,
    /// A conductor found no work.
    Idle,
}

/// The calls that claim and release an operation. Lasting faults do not apply to them: a store that cannot write the
/// outcome cannot write FAILED_TEMP either, and a conductor that cannot claim or postpone does not count attempts.
/// During these calls nobody listens for cancel requests.
pub const CLAIM_CALLS: [&str; 4] = ["claim", "postpone", "await_grant", "end_operation"];

/// The faults by point, and the points passed so far by all processes.
pub struct FaultPlan {
    op: VnfLcmOpOccId,
    inner: Mutex<Inner>,
    events: UnboundedSender<ProcessEvent>,
}

#[derive(Default)]
struct Inner {
    plan: BTreeMap<usize, Fault>,
    /// The calls with a lasting fault.
    failing: BTreeMap<String, Fault>,
    cancels: Vec<OpState>,
    refused: Option<&'static str>,
    passed: Vec<CallPoint>,
}

impl FaultPlan {
    /// `plan` has the faults by the number of the point, from 0.
    pub fn new(op: VnfLcmOpOccId, plan: BTreeMap<usize, Fault>, events: UnboundedSender<ProcessEvent>) -> Arc<Self> {
        Arc::new(Self { op, inner: Mutex::new(Inner { plan, ..Inner::default() }), events })
    }

    /// Ends every [`Fault::FailsAlways`] and [`Fault::PanicsAlways`].
    pub fn clear_lasting(&self) {
        self.inner.lock().unwrap().failing.clear();
    }

    /// Makes the cluster refuse the next call of that name.
    pub fn refuse(&self, call: &'static str) {
        self.inner.lock().unwrap().refused = Some(call);
    }

    /// Ends all faults.
    pub fn end(&self) {
        self.clear_lasting();
        self.inner.lock().unwrap().plan.clear();
    }

    /// The states in which cancel requests were accepted.
    pub fn cancels(&self) -> Vec<OpState> {
        self.inner.lock().unwrap().cancels.clone()
    }

    /// The points passed so far.
    pub fn passed(&self) -> Vec<CallPoint> {
        self.inner.lock().unwrap().passed.clone()
    }

    /// Sends `event`. The receiver may be gone.
    pub fn notify(&self, event: ProcessEvent) {
        let _ = self.events.send(event);
    }

    fn pass(&self, side: CallTarget, call: &str) -> Option<Fault> {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.passed.len();
        inner.passed.push(CallPoint { side, call: call.to_owned() });
        let mut fault = inner.plan.remove(&number);
        if inner.refused.take_if(|refused| *refused == call).is_some() {
            fault = Some(Fault::Refused);
        }
        match fault {
            Some(Fault::FailsAlways) if CLAIM_CALLS.contains(&call) => fault = Some(Fault::FailsOnce),
            // Only work on an operation is protected against panics.
            Some(Fault::PanicsAlways | Fault::PanicsAfter) if CLAIM_CALLS.contains(&call) => fault = None,
            Some(lasting @ (Fault::FailsAlways | Fault::PanicsAlways)) => {
                inner.failing.insert(call.to_owned(), lasting);
            }
            _ => {}
        }
        inner.failing.get(call).copied().or(fault)
    }
}

/// The errors that faults return.
trait InjectedError {
    fn retryable() -> Self;
    fn permanent() -> Self;
}

impl InjectedError for StoreError {
    fn retryable() -> Self {
        Self::Database(sqlx::Error::PoolTimedOut)
    }

    fn permanent() -> Self {
        Self::retryable()
    }
}

impl InjectedError for InfraError {
    fn retryable() -> Self {
        Self::transient("the API server does not answer")
    }

    fn permanent() -> Self {
        Self::invalid("admission webhook denied the request")
    }
}

impl InjectedError for NfvoError {
    fn retryable() -> Self {
        Self::Retryable(Problem::new(ProblemType::NfvoUnreachable, "the NFVO does not answer"))
    }

    fn permanent() -> Self {
        Self::Permanent(Problem::new(ProblemType::GrantRefused, "the NFVO refused the grant"))
    }
}

/// A process with a conductor; see the module's documentation.
pub struct FaultyProcess {
    faults: Arc<FaultPlan>,
    /// `None` after a kill.
    store: Mutex<Option<Arc<dyn Store>>>,
    wake: Arc<Notify>,
    dead: AtomicBool,
    paused: AtomicBool,
    resumed: CancellationToken,
    /// Whether its conductor works on an operation.
    busy: AtomicBool,
    /// Signals cancel requests to the conductor.
    cancels: watch::Sender<()>,
    /// Changes after each attempt to renew a lease.
    renewals: watch::Sender<()>,
    /// Tells the conductor to shut down.
    pub stop: CancellationToken,
}

impl FaultyProcess {
    /// A process with this store.
    pub fn new(faults: &Arc<FaultPlan>, store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            faults: Arc::clone(faults),
            wake: store.wake(),
            store: Mutex::new(Some(store)),
            dead: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            resumed: CancellationToken::new(),
            busy: AtomicBool::new(false),
            cancels: watch::Sender::default(),
            renewals: watch::Sender::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Kills the process.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.store.lock().unwrap().take();
    }

    /// Whether it is paused at a point, see [`Fault::TakenOver`].
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Whether its conductor works on an operation.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Continues after a pause.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
        self.resumed.cancel();
    }

    async fn alive(&self) {
        if self.dead.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    async fn die(&self) {
        self.kill();
        self.faults.notify(ProcessEvent::Killed);
        pending::<()>().await;
    }

    async fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
        self.faults.notify(ProcessEvent::Paused);
        self.resumed.cancelled().await;
        self.alive().await;
    }

    /// Records a cancel request as the API does, if the operation is running.
    async fn record_cancel(&self, mode: CancelMode) {
        let (store, project, op) = (self.store().await, ProjectId::default(), self.faults.op);
        let state = store.op_occ(&project, op).await.unwrap().state;
        match store.cancel_operation(&project, op, mode).await {
            Ok(()) => self.faults.inner.lock().unwrap().cancels.push(state),
            Err(StoreError::Stale) => {}
            Err(error) => panic!("a cancel request is not recorded: {error}"),
        }
    }

    /// Signals a cancel request and waits until the task that renews the lease has looked, if there is one.
    async fn hear_of_cancel(&self) {
        let mut renewals = self.renewals.subscribe();
        self.cancels.send_replace(());
        tokio::select! {
            _ = renewals.changed() => {}
            () = self.cancels.closed() => {}
        }
        // The renewal has its result; the conductor, on the same task as this call, sees it next.
        tokio::task::yield_now().await;
    }

    /// Runs before a call. On an error the call is not sent.
    async fn enter<E: InjectedError>(&self, side: CallTarget, call: &str) -> Result<Option<Fault>, E> {
        self.alive().await;
        let fault = self.faults.pass(side, call);
        match fault {
            Some(Fault::KilledBefore) => self.die().await,
            Some(Fault::FailsOnce | Fault::FailsAlways) => return Err(E::retryable()),
            Some(Fault::Refused) => return Err(E::permanent()),
            Some(Fault::TakenOver) if side == CallTarget::Store => self.pause().await,
            Some(Fault::SentLate) => self.pause().await,
            Some(Fault::TakenOverUnsent) => {
                self.pause().await;
                return Err(E::retryable());
            }
            Some(Fault::Stopped) => self.stop.cancel(),
            Some(Fault::Cancelled(mode)) => {
                self.record_cancel(mode).await;
                // A renewal returns the request itself.
                if call != "renew" && !CLAIM_CALLS.contains(&call) {
                    self.hear_of_cancel().await;
                }
            }
            Some(Fault::CancelledAndKilled(mode)) => self.record_cancel(mode).await,
            // Without the message of the panic macro.
            Some(Fault::PanicsAlways) => std::panic::resume_unwind(Box::new(format!("{call} went wrong"))),
            _ => {}
        }
        Ok(fault)
    }

    /// Runs after a call.
    async fn leave<T, E: InjectedError>(
        &self,
        side: CallTarget,
        fault: Option<Fault>,
        answer: Result<T, E>,
    ) -> Result<T, E> {
        // Concurrent calls take effect before the response arrives.
        if side != CallTarget::Store {
            tokio::task::yield_now().await;
        }
        self.alive().await;
        match fault {
            Some(Fault::KilledAfter | Fault::CancelledAndKilled(_)) => self.die().await,
            Some(Fault::PanicsAfter) => std::panic::resume_unwind(Box::new("an answer was not understood")),
            Some(Fault::ReplyLost) => return Err(E::retryable()),
            Some(Fault::TakenOver) if side != CallTarget::Store => self.pause().await,
            _ => {}
        }
        answer
    }

    /// The store. Blocks for ever after a kill.
    async fn store(&self) -> Arc<dyn Store> {
        let store = self.store.lock().unwrap().clone();
        match store {
            Some(store) => store,
            None => pending().await,
        }
    }
}

/// Sends a change when dropped, even if the call is abandoned.
struct NotifyOnDrop<'a>(&'a watch::Sender<()>);

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_replace(());
    }
}

/// The store of a [`FaultyProcess`].
pub struct FaultyStore(pub Arc<FaultyProcess>);

/// Implements a trait of the store for [`FaultyStore`]: each method of the list is a point; then come the methods that do more.
macro_rules! points {
    ($trait:ident { $(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* } $($more:tt)*) => {
        #[async_trait]
        impl $trait for FaultyStore {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                let fault = self.0.enter::<StoreError>(CallTarget::Store, stringify!($name)).await?;
                let answer = self.0.store().await.$name($($argument),*).await;
                self.0.leave(CallTarget::Store, fault, answer).await
            })*

            $($more)*
        }
    };
}

points! {
    PackageStore {
    fn create_package(package: &VnfPackage) -> ();
        fn package(project: &ProjectId, id: VnfPkgId) -> VnfPackage;
        fn visible_package(project: &ProjectId, id: VnfPkgId) -> VnfPackage;
        fn package_of_any_project(id: VnfPkgId) -> VnfPackage;
        fn package_of_vnfd(project: &ProjectId, vnfd_id: &str) -> VnfPackage;
        fn packages(project: Option<&ProjectId>, page: &Page<'_>) -> Vec<VnfPackage>;
        fn update_package(project: &ProjectId, id: VnfPkgId, state: Option<OperationalState>, data: Option<[&Map<String, Value>; 2]>) -> ();
        fn delete_package(project: &ProjectId, id: VnfPkgId) -> ();
        fn vnfd(project: &ProjectId, vnfd_id: &str) -> OnboardedVnfd;
        fn vnfd_of_package(id: VnfPkgId) -> OnboardedVnfd;
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
        fn visible_vim(project: &ProjectId, id: VimId) -> Vim;
        fn vim_named(project: &ProjectId, name: &str) -> Vim;
        fn default_vim(project: &ProjectId) -> Vim;
        fn vims(project: Option<&ProjectId>, after: Option<PageCursor>, limit: usize) -> Vec<Vim>;
        fn vims_at(endpoint: &str, after: Option<PageCursor>, limit: usize) -> Vec<Vim>;
        fn record_vim_status(vim: &Vim, status: VimStatus) -> ();
        fn update_vim(vim: &Vim, seen: Option<OffsetDateTime>) -> ();
        fn delete_vim(project: &ProjectId, id: VimId) -> ();
    }
}

points! {
    ShareStore {
        fn vim_shares(id: VimId) -> SharedBy<VimShare>;
        fn set_vim_shares(id: VimId, shares: &[VimShare]) -> ();
        fn package_shares(id: VnfPkgId) -> SharedBy<Grantee>;
        fn set_package_shares(id: VnfPkgId, shares: &[Grantee]) -> ();
    }
}

points! {
    InstanceStore {
        fn create_instance(instance: &VnfInstance) -> ();
        fn instance(project: &ProjectId, id: VnfInstanceId) -> VnfInstance;
        fn project_of_instance(id: VnfInstanceId) -> ProjectId;
        fn instance_version(project: &ProjectId, id: VnfInstanceId) -> i64;
        fn list_instances(project: Option<&ProjectId>, page: &Page<'_>) -> Vec<Listed>;
        fn instances(project: Option<&ProjectId>, ids: &[VnfInstanceId]) -> Vec<VnfInstance>;
        fn delete_instance(project: &ProjectId, id: VnfInstanceId, versions: Option<&[i64]>) -> ();
        fn instantiated(ids: Option<&[VnfInstanceId]>) -> Vec<InstanceLocation>;
        fn refresh_instance(instance: &VnfInstance) -> ();
        fn resources(id: VnfInstanceId) -> Vec<Resource>;
        fn namespace_project(id: VnfInstanceId) -> Option<NamespaceProject>;
    }

    fn endings(&self) -> broadcast::Receiver<OperationEnded> {
        self.0.store.lock().unwrap().as_ref().unwrap().endings()
    }
}

points! {
    OperationStore {
        fn begin_operation(op: &VnfLcmOpOcc, instance: &VnfInstance) -> ();
        fn begin_in_namespace(op: &VnfLcmOpOcc, instance: &VnfInstance, namespace: &NamespaceProject) -> ();
        fn check_operation(op: &VnfLcmOpOcc, instance: &VnfInstance, namespace: Option<&NamespaceProject>) -> ();
        fn op_occ(project: &ProjectId, id: VnfLcmOpOccId) -> VnfLcmOpOcc;
        fn op_occs(project: Option<&ProjectId>, page: &Page<'_>) -> Vec<VnfLcmOpOcc>;
        fn resume_operation(project: &ProjectId, id: VnfLcmOpOccId, event: OpEvent, now: OffsetDateTime) -> ();
        fn cancel_operation(project: &ProjectId, id: VnfLcmOpOccId, mode: CancelMode) -> ();
        fn plan(id: VnfLcmOpOccId) -> Option<Plan>;
        fn steps(id: VnfLcmOpOccId) -> Vec<StepAttempt>;
        fn latest_steps(ids: &[VnfLcmOpOccId]) -> HashMap<VnfLcmOpOccId, StepAttempt>;
    }
}

points! {
    LeaseStore {
        fn store_plan(lease: &Lease, ttl: Duration, update: &Update, planned: &PlannedOperation<'_>, now: OffsetDateTime) -> ();
        fn await_grant(lease: Lease, update: &Update, pending: &PendingGrant) -> ();
        fn record_intent(lease: &Lease, ttl: Duration, objects: &[ObjectKey], new: &[Resource]) -> Option<CancelMode>;
        fn record_warnings(lease: &Lease, warnings: &Warnings) -> ();
        fn announce_step(lease: &Lease, attempt: &StepAttempt) -> ();
        fn record_steps(lease: &Lease, steps: &StepWrites) -> ();
        fn checkpoint(lease: &Lease, checkpoint: &Checkpoint) -> ();
        fn postpone(lease: Lease, update: &Update, error: Option<&Problem>) -> ();
        fn end_operation(lease: Lease, outcome: &OperationOutcome) -> ();
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<CancelMode>, StoreError> {
        let _tells = NotifyOnDrop(&self.0.renewals);
        let fault = self.0.enter::<StoreError>(CallTarget::Store, "renew").await?;
        let answer = self.0.store().await.renew(lease, ttl).await;
        self.0.leave(CallTarget::Store, fault, answer).await
    }

    async fn renew_all(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<RenewedLease>, StoreError> {
        let _tells = NotifyOnDrop(&self.0.renewals);
        let renewed = self.0.store().await.renew_all(leases, ttl).await;
        self.0.alive().await;
        renewed
    }

    async fn claim(&self, owner: &str, ttl: Duration, most: u32, except: &Crowded) -> Result<Claim, StoreError> {
        // A conductor that was interrupted during a pause has continued.
        self.0.paused.store(false, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
        let claim = async {
            let fault = self.0.enter::<StoreError>(CallTarget::Store, "claim").await?;
            let answer = self.0.store().await.claim(owner, ttl, most, except).await;
            self.0.leave(CallTarget::Store, fault, answer).await
        };
        let claim = claim.await;
        match claim {
            Ok(Claim::Work(_)) => self.0.busy.store(true, Ordering::Relaxed),
            _ => self.0.faults.notify(ProcessEvent::Idle),
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
        fn subscriptions(project: Option<&ProjectId>, interface: Interface, page: &Page<'_>) -> Vec<Subscription>;
        fn delete_subscription(project: &ProjectId, id: SubscriptionId) -> ();
    }
}

points! {
    OutboxStore {
        fn undelivered(project: &ProjectId, id: SubscriptionId, limit: usize) -> Vec<Undelivered>;
        fn resend(project: &ProjectId, id: SubscriptionId) -> u64;
        fn claim_subscription(owner: &str, ttl: Duration, except: &[ProjectId]) -> OutboxClaim;
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
    PlanStore {
        fn keep_plan(plan: &KeptPlan, most: usize) -> ();
        fn kept_plan(project: &ProjectId, instance: VnfInstanceId, id: PlanId) -> KeptPlan;
        fn taken_plan(op: VnfLcmOpOccId) -> FrozenPlan;
        fn delete_plans(now: OffsetDateTime, limit: usize) -> usize;
    }
}

points! {
    RequestStore {
        fn claim_request(request: &KeyedRequest, resource: Uuid, patience: Duration) -> RequestClaim;
        fn keep_answer(request: &KeyedRequest, answer: &KeptAnswer) -> ();
        fn forget_request(request: &KeyedRequest) -> ();
        fn delete_requests(before: OffsetDateTime, limit: usize) -> usize;
        fn trim_requests(keep: usize, limit: usize) -> usize;
    }
}

points! {
    AuditStore {
        fn add_audit_record(record: &AuditRecord) -> ();
        fn audit_records(project: Option<&ProjectId>, page: &Page<'_>) -> Vec<AuditRecord>;
        fn delete_audit_records(before: OffsetDateTime, limit: usize) -> usize;
    }
}

points! {
    SessionStore {
        fn begin_session(session: &BrowserSession, others: usize) -> ();
        fn session_credential(id: &str, now: OffsetDateTime) -> Option<Vec<u8>>;
        fn end_session(id: &str) -> ();
        fn delete_sessions(before: OffsetDateTime, limit: usize) -> usize;
    }
}

points! {
    MeteringStore {
        fn metering_records(project: &ProjectId, range: TimeRange, after: Option<PageCursor>, limit: usize) -> Vec<MeteringRecord>;
        fn delete_metering_records(before: OffsetDateTime, limit: usize) -> usize;
    }
}

points! {
    NamespaceStore {
        fn claim_namespace(wanted: &ProjectNamespace) -> ProjectNamespace;
        fn check_unused(namespace: &ProjectNamespace, uid: &str, project: Option<&ProjectId>) -> ();
        fn finish_namespace(namespace: &ProjectNamespace) -> ();
        fn move_namespace(namespace: &ProjectNamespace) -> ();
        fn begin_namespace_deletion(namespace: &ProjectNamespace) -> ();
        fn forget_namespace(id: NamespaceId) -> ();
        fn project_namespace(project: Option<&ProjectId>, id: NamespaceId) -> ProjectNamespace;
        fn project_namespaces(project: Option<&ProjectId>, after: Option<PageCursor>, limit: usize) -> Vec<ProjectNamespace>;
    }
}

points! {
    QuotaStore {
        fn quotas(project: &ProjectId) -> Quotas;
        fn set_quotas(project: &ProjectId, own: &OwnQuotas) -> ();
        fn project_usage(project: &ProjectId) -> ProjectUsage;
    }

    fn configure_quotas(&self, configured: Quotas) {
        self.0.store.lock().unwrap().as_ref().unwrap().configure_quotas(configured);
    }
}

points! {
    RetentionStore {
        fn begin_retention(interval: Duration) -> bool;
        fn seal_clear_manifests(limit: usize) -> usize;
        fn clear_ended_plans(limit: usize) -> usize;
        fn delete_ended_operations(before: OffsetDateTime, limit: usize) -> usize;
        fn instances_after(after: Option<VnfInstanceId>, limit: usize) -> Vec<VnfInstanceId>;
        fn ended_after(after: PageCursor, limit: usize) -> Vec<(VnfInstanceId, PageCursor)>;
        fn trim_operations(id: VnfInstanceId, keep: usize, limit: usize) -> usize;
        fn delete_parked_notifications(before: OffsetDateTime, limit: usize) -> usize;
        fn delete_notifications_of_deleted_subscriptions(limit: usize) -> usize;
    }
}

points! {
    EventStore {
        fn want_events(ttl: Duration) -> JournalBounds;
        fn events_after(sequence: i64, limit: usize) -> Vec<Event>;
        fn journal_bounds() -> JournalBounds;
        fn delete_events(before: OffsetDateTime, keep: usize, limit: usize) -> usize;
    }

    fn events_signal(&self) -> Arc<Notify> {
        self.0.store.lock().unwrap().as_ref().unwrap().events_signal()
    }
}

points! {
    HealthStore {
        fn queue() -> QueueStats;
        fn outbox_depth() -> OutboxStats;
        fn site() -> SiteStats;
        fn ping() -> ();
    }

    fn metrics(&self) -> StoreMetrics {
        // Nobody reads the metrics of a killed process.
        self.0.store.lock().unwrap().as_ref().map_or_else(StoreMetrics::default, |store| store.metrics())
    }
}

/// The cluster of a [`FaultyProcess`].
pub struct FaultyDriver {
    /// The process.
    pub process: Arc<FaultyProcess>,
    /// The cluster.
    pub cluster: Arc<dyn Driver>,
}

/// A call to the cluster, as a point.
macro_rules! call {
    ($self:ident, $call:expr, $verb:ident($($argument:expr),*)) => {{
        let fault = $self.process.enter::<InfraError>(CallTarget::Cluster, $call).await?;
        let mut answer = $self.cluster.$verb($($argument),*).await;
        if fault == Some(Fault::Twice) {
            answer = $self.cluster.$verb($($argument),*).await;
        }
        $self.process.leave(CallTarget::Cluster, fault, answer).await
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

    async fn scale(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        call!(self, &format!("ensure {}", resource.key), scale(scope, resource))
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
    ) -> Result<Removal, InfraError> {
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

/// The NFVO of a [`FaultyProcess`].
pub struct FaultyNfvo {
    /// The process.
    pub process: Arc<FaultyProcess>,
    /// The NFVO.
    pub nfvo: Arc<dyn Nfvo>,
}

#[async_trait]
impl Nfvo for FaultyNfvo {
    async fn request_grant(&self, request: &GrantRequest) -> Result<GrantDecision, NfvoError> {
        let fault = self.process.enter::<NfvoError>(CallTarget::Nfvo, "ask for grant").await?;
        let mut answer = self.nfvo.request_grant(request).await;
        if fault == Some(Fault::Twice) {
            answer = self.nfvo.request_grant(request).await;
        }
        self.process.leave(CallTarget::Nfvo, fault, answer).await
    }

    async fn poll_grant(&self, uri: &str) -> Result<GrantDecision, NfvoError> {
        let fault = self.process.enter::<NfvoError>(CallTarget::Nfvo, "look for grant").await?;
        let mut answer = self.nfvo.poll_grant(uri).await;
        if fault == Some(Fault::Twice) {
            answer = self.nfvo.poll_grant(uri).await;
        }
        self.process.leave(CallTarget::Nfvo, fault, answer).await
    }
}
