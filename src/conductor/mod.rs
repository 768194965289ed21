//! Claims operations from the store and carries them out.
//!
//! [`Conductor::run`] sleeps until the store wakes it or something is due, claims a few operations and runs each in a task of
//! its own under a lease ([`lease`]). An operation does what its stored plan says: [`run`] replays the plan from the first
//! step that is not done, [`steps`] does one step, [`outcome`] determines the new instance, [`persist`] writes the
//! conclusion. [`cancel`] holds a cancel request, [`grant`] requests a grant from an NFVO before anything is created,
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
pub mod run;
pub mod steps;
pub mod unattended;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::clock::Clock;
use crate::conductor::cancel::Cancel;
use crate::conductor::grant::Granting;
use crate::domain::op_occ::OpState;
use crate::infra::{Driver, ReadinessTimeouts};
use crate::metrics::OperationMetrics;
use crate::store::{Claim, Claimed, Store};
use crate::traces::{self, TRACES};

/// How a conductor works.
#[derive(Clone, Debug)]
pub struct ConductorConfig {
    /// The owner of its leases: unique among the running processes.
    pub owner: String,
    /// The most operations that it runs concurrently.
    pub max_operations: usize,
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
    slots: Arc<Semaphore>,
    metrics: OperationMetrics,
}

/// Operations claimed at once. Few, so that conductors share a burst.
const AT_ONCE: u32 = 8;
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
        let slots = Arc::new(Semaphore::new(settings.max_operations));
        Arc::new(Self { store, driver, clock, settings, granting, slots, metrics: OperationMetrics::default() })
    }

    /// The figures it counts.
    pub fn metrics(&self) -> OperationMetrics {
        self.metrics.clone()
    }

    /// Works until `stop`. Then it claims no more, lets each operation stop where another conductor can go on, hands them over
    /// and returns.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let wake = self.store.wake();
        while !stop.is_cancelled() {
            let slots = tokio::select! {
                () = stop.cancelled() => break,
                slot = Arc::clone(&self.slots).acquire_owned() => slot,
            };
            // The semaphore is never closed.
            let Ok(mut slots) = slots else { break };
            // One statement for several operations, or for one: two prepared statements in all.
            if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(AT_ONCE - 1) {
                slots.merge(more);
            }
            // Registered before the claim, so that a signal between claim and sleep is not lost.
            let woken = wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let cancels = self.store.cancels();
            let pause =
                match self.store.claim(&self.settings.owner, self.settings.lease_ttl, slots.num_permits() as u32).await
                {
                    Ok(Claim::Work(claimed)) => {
                        for claimed in claimed {
                            let slot = slots.split(1);
                            let (conductor, cancels, stop) = (Arc::clone(&self), cancels.clone(), stop.clone());
                            let [span, trace] = spans(&claimed);
                            let work = async move {
                                conductor.operate(claimed, cancels, &stop).await;
                                drop(slot);
                            };
                            tasks.spawn(work.instrument(trace).instrument(span));
                        }
                        continue;
                    }
                    Ok(Claim::Idle(due)) => due.map_or(RESCAN, |due| due.min(RESCAN)),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "operations can't be claimed");
                        STORE_PAUSE
                    }
                };
            drop(slots);
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Runs one claimed operation under its lease, until it ends, is postponed, or the lease is lost.
    async fn operate(&self, claimed: Claimed, cancels: watch::Receiver<()>, stop: &CancellationToken) {
        let Claimed { lease, op, instance, plan, steps_done, attempt, step_age, pending_grant } = claimed;
        let _held = self.metrics.lease();
        let (operation, accepted, was_running) = (op.operation, op.start_time, op.state.is_running());
        let interrupted = stop.child_token();
        let done = CancellationToken::new();
        let cancel = Cancel::default();
        op.cancel.into_iter().for_each(|mode| cancel.record(mode));
        let execution = execution::Execution {
            conductor: self,
            lease: &lease,
            cancel: &cancel,
            op,
            instance,
            plan,
            steps_done,
            attempt,
            step_since: Instant::now().checked_sub(step_age).unwrap_or_else(Instant::now),
            inventory_was_empty: false,
            stored_intents: Vec::new(),
            pending_grant,
        };
        let work = async {
            let conclusion = execution.run(&interrupted).await;
            done.cancel();
            conclusion
        };
        let ttl = self.settings.lease_ttl;
        let kept = lease::renew_until_done(self.store.clone(), &lease, ttl, cancels, &cancel, &interrupted, &done);
        let (conclusion, kept) = tokio::join!(work, kept);
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
