//! Writes the conclusion of a run, and handles a database that rejects the write.
//!
//! While the database can't be reached, the write is repeated for as long as the lease may hold. What the database rejects, it
//! would reject again: that counts as a failed attempt, and the next run works the outcome out anew. After the last attempt
//! the operation stops with an outcome that says no more than that. If the database rejects that one too, the operation is
//! postponed again and again. Each failure is counted and logged.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::conductor::Conductor;
use crate::conductor::execution::Conclusion;
use crate::domain::op_occ::OpState;
use crate::domain::problem::{Panic, Problem};
use crate::domain::progress::StepWrites;
use crate::domain::retry;
use crate::domain::transition::{OpEvent, OpRecord, Update, transition};
use crate::error::internal;
use crate::store::{Lease, OperationOutcome, StoreError};

/// The database rejects an outcome.
#[derive(Debug, thiserror::Error)]
#[error("the outcome {0} can't be written")]
struct OutcomeNotWritten(&'static str, #[source] StoreError);

/// Writes the conclusion. Returns the state that the operation entered, if it did. If the operation can't even be postponed,
/// its lease expires and it is claimed again.
pub async fn persist(
    conductor: &Conductor,
    lease: Lease,
    conclusion: Conclusion,
    stop: &CancellationToken,
) -> Option<OpState> {
    let persistence = Persistence { conductor, lease, stop };
    match conclusion {
        Conclusion::LeaseLost => None,
        Conclusion::Postpone { update, error, steps } => {
            persistence.record_steps(&steps).await;
            persistence.postpone(&update, error.as_ref()).await;
            None
        }
        Conclusion::AwaitGrant { update, pending } => {
            if let Err(error) = conductor.store.await_grant(persistence.same_lease(), &update, &pending).await {
                let op = persistence.lease.op;
                tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "the URI of the grant of operation {op} is not written; the grant is requested again when the lease has expired");
            }
            None
        }
        Conclusion::End { outcome, record } => persistence.end(&outcome, &record).await,
    }
}

struct Persistence<'a> {
    conductor: &'a Conductor,
    lease: Lease,
    stop: &'a CancellationToken,
}

impl Persistence<'_> {
    async fn end(&self, outcome: &OperationOutcome, record: &OpRecord) -> Option<OpState> {
        let error = match self.write(outcome).await {
            Ok(()) => return Some(outcome.update.to),
            Err(error) => error,
        };
        if error.is_transient() || matches!(error, StoreError::LeaseLost) {
            return None;
        }
        let problem = internal(&OutcomeNotWritten(outcome.update.to.as_str(), error));
        let update = transition(record, OpEvent::AttemptFailed).ok()?;
        let steps = outcome.steps.failed(&problem.detail);
        if !update.changes_state() {
            self.record_steps(&steps).await;
            self.postpone(&update, Some(&problem)).await;
            return None;
        }
        let plain =
            OperationOutcome { steps, ..OperationOutcome::of(update, Some(problem), self.conductor.clock.now()) };
        if self.write(&plain).await.is_ok() {
            return Some(update.to);
        }
        let update = transition(record, OpEvent::OutcomeRejected).ok()?;
        self.postpone(&update, plain.error.as_ref()).await;
        None
    }

    /// Writes an outcome. While the database can't be reached, repeats that until the lease must have expired or the process
    /// stops.
    async fn write(&self, outcome: &OperationOutcome) -> Result<(), StoreError> {
        let Conductor { store, settings, metrics, .. } = self.conductor;
        let (op, to, start) = (self.lease.op, outcome.update.to.as_str(), Instant::now());
        let mut attempt = 0;
        loop {
            let Err(error) = store.end_operation(self.same_lease(), outcome).await else {
                tracing::info!(op.id = %op, state = to, "operation {op} is {to}");
                return Ok(());
            };
            if !matches!(error, StoreError::LeaseLost) {
                metrics.unwritten();
            }
            let delay = retry::delay(attempt);
            tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "the outcome {to} of operation {op} was not written");
            if !error.is_transient() || self.stop.is_cancelled() || start.elapsed() + delay > settings.lease_ttl {
                return Err(error);
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
            attempt += 1;
        }
    }

    /// Writes how the attempt ended. If that fails or panics, the next conductor finds the attempt unfinished and says so.
    async fn record_steps(&self, steps: &StepWrites) {
        if steps.is_empty() {
            return;
        }
        let op = self.lease.op;
        let what = format!("the end of an attempt of operation {op} is not written");
        match AssertUnwindSafe(self.conductor.store.record_steps(&self.lease, steps)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(op.id = %op, error = &error as &dyn std::error::Error, "{what}"),
            Err(panic) => {
                let panic = Panic::of(&*panic);
                tracing::error!(op.id = %op, error = &panic as &dyn std::error::Error, "{what}");
            }
        }
    }

    async fn postpone(&self, update: &Update, problem: Option<&Problem>) {
        let op = self.lease.op;
        let postpone = |problem| self.conductor.store.postpone(self.same_lease(), update, problem);
        let Err(mut error) = postpone(problem).await else { return };
        if problem.is_some() && !error.is_transient() && !matches!(error, StoreError::LeaseLost) {
            // The database rejects the error. It must record the attempt all the same, or there would be no last one.
            let substitute = internal(&OutcomeNotWritten("of an attempt", error));
            match postpone(Some(&substitute)).await {
                Ok(()) => return,
                Err(again) => error = again,
            }
        }
        tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "operation {op} is not postponed; it is claimed again when its lease has expired");
    }

    /// The lease again. A write consumes it, but it is still ours after a write that failed.
    fn same_lease(&self) -> Lease {
        Lease { op: self.lease.op, epoch: self.lease.epoch }
    }
}
