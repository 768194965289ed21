//! Claims operations from the store and carries them out.
//!
//! [`Conductor::run`] sleeps until the store wakes it or something is due, claims a few operations and runs each in a task of
//! its own under a lease ([`lease`]). An operation has a place while it works, not while it waits ([`crate::places`]). It does what its stored
//! plan says: [`run`] replays the plan from the first step that is not done, [`steps`] does one step ([`waves`] sends its requests),
//! [`progress`] writes their history,
//! [`outcome`] determines the new instance, [`persist`] writes the conclusion. [`cancel`] holds a cancel request, [`grant`] requests a grant from an NFVO before anything is created,
//! [`unattended`] ends operations that nobody decides about. [`crate::domain::transition`] decides how each event changes an op
//! occurrence.
//!
//! A conductor may be killed anywhere: its lease expires (on SQLite it is void when the process starts again) and the next
//! claim continues with the same step. So a step may run twice, and it is safe to run a step twice. A panic counts as a failed attempt.

pub mod cancel;
pub mod execution;
pub mod grant;
pub mod lease;
pub mod outcome;
pub mod persist;
mod progress;
pub mod run;
pub mod steps;
pub mod unattended;
mod waves;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::clock::Clock;
use crate::conductor::cancel::Cancel;
use crate::conductor::grant::Granting;
use crate::conductor::lease::LeaseKeeper;
use crate::domain::fair_share::Sharer;
use crate::domain::op_occ::OpState;
use crate::domain::progress::StepLog;
use crate::infra::{Driver, ReadinessTimeouts};
use crate::metrics::OperationMetrics;
use crate::places::{Place, Places, Reservation, WorkPlace};
use crate::store::{Claim, Claimed, Store};
use crate::traces::{self, TRACES};

/// How a conductor works.
#[derive(Clone, Debug)]
pub struct ConductorConfig {
    /// The owner of its leases: unique among the running processes.
    pub owner: String,
    /// The most operations that it works on concurrently; those that wait do not count.
    pub max_operations: usize,
    /// The most operations beyond these that it holds while they wait. Each keeps its plan and its inventory in memory.
    pub max_waiting: usize,
    /// A lease expires if it is not renewed for this long.
    pub lease_ttl: Duration,
    /// How long to wait until objects are ready.
    pub patience: ReadinessTimeouts,
    /// How long to wait until objects are gone.
    pub removal_timeout: Duration,
}

/// Carries operations out. See the module's documentation.
pub struct Conductor {
    store: Arc<dyn Store>,
    driver: Arc<dyn Driver>,
    clock: Arc<dyn Clock>,
    settings: ConductorConfig,
    /// `None`: no grant is required.
    granting: Option<Granting>,
    /// The places of operations that work.
    places: Arc<Places>,
    /// The places of all operations that it holds.
    held: Arc<Places>,
    leases: LeaseKeeper,
    metrics: OperationMetrics,
}

/// Operations claimed at once. Few, so that conductors share a burst.
const AT_ONCE: usize = 8;
/// Without a signal, the store is asked again after this long: the signal of another process may be lost while its
/// connection is down.
const RESCAN: Duration = Duration::from_secs(30);
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Conductor {
    /// A conductor that is not running yet.
    pub fn new(
        store: Arc<dyn Store>,
        driver: Arc<dyn Driver>,
        clock: Arc<dyn Clock>,
        settings: ConductorConfig,
    ) -> Arc<Self> {
        Self::granted(store, driver, clock, settings, None)
    }

    /// A conductor whose operations need a grant if `granting` is given.
    pub fn granted(
        store: Arc<dyn Store>,
        driver: Arc<dyn Driver>,
        clock: Arc<dyn Clock>,
        settings: ConductorConfig,
        granting: Option<Granting>,
    ) -> Arc<Self> {
        let places = Places::new(settings.max_operations);
        let held = Places::new(settings.max_operations + settings.max_waiting);
        let (leases, metrics) = (LeaseKeeper::default(), OperationMetrics::default());
        Arc::new(Self { store, driver, clock, settings, granting, places, held, leases, metrics })
    }

    /// The figures it counts.
    pub fn metrics(&self) -> OperationMetrics {
        self.metrics.clone()
    }

    /// Works until `stop`. Then it claims no more, lets each operation stop where another conductor can go on, hands them over
    /// and returns.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let all_done = CancellationToken::new();
        let kept = tokio::spawn({
            let (conductor, all_done) = (Arc::clone(&self), all_done.clone());
            async move {
                let ttl = conductor.settings.lease_ttl;
                conductor.leases.keep(conductor.store.clone(), ttl, all_done).await;
            }
        });
        let wake = self.store.wake();
        while !stop.is_cancelled() {
            let (held, places) = tokio::select! {
                () = stop.cancelled() => break,
                reserved = self.reserve() => reserved,
            };
            // Registered before the claim, so that a signal between claim and sleep is not lost.
            let (woken, freed) = (wake.notified(), self.freed());
            let cancels = self.store.cancels();
            let mut except = places.crowded();
            except.extend(held.crowded());
            let ConductorConfig { owner, lease_ttl, .. } = &self.settings;
            let count = held.count().min(places.count());
            let pause = match self.store.claim(owner, *lease_ttl, count as u32, &except).await {
                Ok(Claim::Work(claimed)) => {
                    self.begin(claimed, held, places, &cancels, &tasks, &stop);
                    continue;
                }
                Ok(Claim::Idle(due)) => due.map_or(RESCAN, |due| due.min(RESCAN)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "operations can't be claimed");
                    STORE_PAUSE
                }
            };
            drop((held, places));
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
                () = freed, if !except.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
        all_done.cancel();
        // It has no result, and does not panic.
        let _ = kept.await;
    }

    /// Waits for places for the operations of a claim.
    async fn reserve(&self) -> (Reservation, Reservation) {
        let held = self.held.reserve(AT_ONCE).await;
        let places = self.places.reserve(held.count()).await;
        (held, places)
    }

    /// Completes when somebody who had its share may have more.
    fn freed(&self) -> impl Future<Output = ()> {
        let (place, held) = (self.places.freed(), self.held.freed());
        async {
            tokio::select! {
                () = place => {}
                () = held => {}
            }
        }
    }

    /// Begins to work on claimed operations.
    fn begin(
        self: &Arc<Self>,
        claimed: Vec<Claimed>,
        mut held: Reservation,
        mut places: Reservation,
        cancels: &watch::Receiver<()>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        for claimed in claimed {
            let vim = claimed.op.vim(&claimed.instance).map(str::to_owned);
            let sharer = Sharer { project: claimed.op.project_id.clone(), vim };
            // The claim returns no more than it was asked for.
            let (Some(held), Some(place)) = (held.assign(&sharer), places.assign(&sharer)) else { return };
            let (conductor, cancels, stop) = (Arc::clone(self), cancels.clone(), stop.clone());
            let [span, trace] = spans(&claimed);
            let work = async move {
                conductor.operate(claimed, place, cancels, &stop).await;
                drop(held);
            };
            tasks.spawn(work.instrument(trace).instrument(span));
        }
    }

    /// Runs one claimed operation under its lease, until it ends, is postponed, or the lease is lost.
    async fn operate(&self, claimed: Claimed, place: Place, cancels: watch::Receiver<()>, stop: &CancellationToken) {
        let Claimed { lease, op, instance, plan, steps_done, attempt, step_age, pending_grant } = claimed;
        let _held = self.metrics.lease();
        let (operation, accepted, was_running) = (op.operation, op.start_time, op.state.is_running());
        let interrupted = stop.child_token();
        let done = CancellationToken::new();
        let cancel = Cancel::default();
        op.cancel.into_iter().for_each(|mode| cancel.record(mode));
        let place = WorkPlace::new(place);
        let held = self.leases.hold(&lease, self.settings.lease_ttl, &cancel, &cancels);
        let execution = execution::Execution {
            conductor: self,
            lease: &lease,
            cancel: &cancel,
            place: &place,
            op,
            instance,
            plan,
            steps_done,
            attempt,
            step_since: Instant::now().checked_sub(step_age).unwrap_or_else(Instant::now),
            inventory_was_empty: false,
            stored_intents: Vec::new(),
            pending_grant,
            log: StepLog::default(),
            has_log: false,
        };
        let work = async {
            let conclusion = execution.run(&interrupted).await;
            done.cancel();
            conclusion
        };
        let (conclusion, kept) = tokio::join!(work, held.until_done(&interrupted, &done));
        if !kept {
            return;
        }
        let ended = persist::persist(self, lease, conclusion, stop).await;
        if let Some(outcome) = ended.filter(|_| was_running) {
            let trace = tracing::Span::current();
            trace.record("state.after", outcome.as_str());
            if outcome != OpState::Completed {
                trace.record("otel.status_code", "ERROR");
            }
            self.metrics.ended(operation, outcome, self.clock.now() - accepted);
        }
    }
}

/// The span that adds the operation to each line of the log, and the operation's span in the trace of its request.
fn spans(claimed: &Claimed) -> [tracing::Span; 2] {
    let Claimed { lease, op, attempt, .. } = claimed;
    let span = tracing::info_span!("operation", op.id = %op.id, vnf_instance.id = %op.vnf_instance_id);
    let trace = tracing::info_span!(target: TRACES, "operation",
        otel.name = op.operation.as_str(), otel.kind = "consumer", otel.status_code = Empty,
        op.id = %op.id, vnf_instance.id = %op.vnf_instance_id, state.before = op.state.as_str(), state.after = Empty,
        attempt, lease.epoch = lease.epoch);
    traces::continue_from(&trace, |name| match name {
        "traceparent" => op.traceparent.as_deref(),
        _ => None,
    });
    [span, trace]
}
