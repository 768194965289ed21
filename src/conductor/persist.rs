//! The last write of a run: what became of the operation. It must come to something, too, where the database does not take it.
//!
//! While the database can't be reached the write is tried again, as long as the lease may hold. What it refuses would be
//! refused again: the operation is put off, which counts as an attempt, so that whoever runs it next works the outcome out
//! anew. After the last attempt it is stopped, with an outcome that says no more than that; and should not even that be taken,
//! it is put off again and again, with the longest delay. Each failure is counted and logged.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::conductor::Conductor;
use crate::conductor::run::{LONGEST_DELAY, Verdict, attempts, back_off};
use crate::domain::op_occ::{OpEvent, OpState};
use crate::domain::problem::Problem;
use crate::error::internal;
use crate::store::{Lease, OperationOutcome, StoreError};

/// The outcome is known and not written.
#[derive(Debug, thiserror::Error)]
#[error("the outcome {0} can't be written")]
struct Unwritten(&'static str, #[source] StoreError);

/// Writes the verdict. Gives back the state that the operation entered, if it did. If even putting it off fails, the lease
/// runs out and the operation is claimed again.
pub async fn persist(
    conductor: &Conductor,
    lease: Lease,
    verdict: Verdict,
    stop: &CancellationToken,
) -> Option<OpState> {
    let conclusion = Persistence { conductor, lease, stop };
    match verdict {
        Verdict::Lost => None,
        Verdict::Postpone(delay, attempt, problem) => {
            conclusion.postpone(delay, attempt, problem.as_ref()).await;
            None
        }
        Verdict::AwaitGrant(delay, pending) => {
            if let Err(error) = conductor.store.await_grant(conclusion.same_lease(), delay, &pending).await {
                let op = conclusion.lease.op;
                tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "where the grant of operation {op} will be is not written; it is asked for again when its lease has run out");
            }
            None
        }
        Verdict::End(ending, attempt) => conclusion.end(&ending, attempt).await,
    }
}

struct Persistence<'a> {
    conductor: &'a Conductor,
    lease: Lease,
    stop: &'a CancellationToken,
}

impl Persistence<'_> {
    async fn end(&self, ending: &OperationOutcome, attempt: u32) -> Option<OpState> {
        let error = match self.write(ending).await {
            Ok(()) => return Some(ending.to),
            Err(error) => error,
        };
        if error.is_transient() || matches!(error, StoreError::LeaseLost) {
            return None;
        }
        let problem = internal(&Unwritten(ending.to.as_str(), error));
        if attempt + 1 < attempts(ending.from) {
            self.postpone(back_off(attempt), attempt + 1, Some(&problem)).await;
            return None;
        }
        let event = if ending.from == OpState::Starting { OpEvent::Refused } else { OpEvent::Stopped };
        // Out of FAILED_TEMP there is no lesser way.
        let Ok(to) = ending.from.on(event) else {
            self.postpone(LONGEST_DELAY, attempt.saturating_add(1), Some(&problem)).await;
            return None;
        };
        let bare = OperationOutcome::bare(ending.from, to, Some(problem), self.conductor.clock.now());
        if self.write(&bare).await.is_ok() {
            return Some(bare.to);
        }
        self.postpone(LONGEST_DELAY, attempt.saturating_add(1), bare.error.as_ref()).await;
        None
    }

    /// Writes an ending, again if the database can't be reached: until it can, the lease must have run out, or the process
    /// stops.
    async fn write(&self, ending: &OperationOutcome) -> Result<(), StoreError> {
        let Conductor { store, settings, metrics, .. } = self.conductor;
        let (op, to, begun) = (self.lease.op, ending.to.as_str(), Instant::now());
        let mut tried = 0;
        loop {
            let Err(error) = store.end_operation(self.same_lease(), ending).await else {
                tracing::info!(op.id = %op, state = to, "operation {op} is {to}");
                return Ok(());
            };
            if !matches!(error, StoreError::LeaseLost) {
                metrics.unwritten();
            }
            let delay = back_off(tried);
            tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "the outcome {to} of operation {op} was not written");
            if !error.is_transient() || self.stop.is_cancelled() || begun.elapsed() + delay > settings.lease_ttl {
                return Err(error);
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
            tried += 1;
        }
    }

    async fn postpone(&self, delay: Duration, attempt: u32, problem: Option<&Problem>) {
        let op = self.lease.op;
        let put_off = |problem| self.conductor.store.postpone(self.same_lease(), delay, attempt, problem);
        let Err(mut error) = put_off(problem).await else { return };
        if problem.is_some() && !error.is_transient() && !matches!(error, StoreError::LeaseLost) {
            // What is said of the attempt is not taken. That there was one must be, or it would be made for ever.
            let unsaid = internal(&Unwritten("of an attempt", error));
            match put_off(Some(&unsaid)).await {
                Ok(()) => return,
                Err(again) => error = again,
            }
        }
        tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "operation {op} is not put off; it will be claimed again when its lease has run out");
    }

    /// A write takes the lease, and gives it back in no case; it is still ours after one that failed.
    fn same_lease(&self) -> Lease {
        Lease { op: self.lease.op, epoch: self.lease.epoch }
    }
}
