//! Rolls back or fails an operation in FAILED_TEMP that nobody retried, rolled back or failed in time. The profile of the client
//! decides which.
//!
//! Such an operation becomes due when its time is over. [`super::run`] calls [`outcome`] before it executes the plan.
//! The whole remedy is one write under the lease, so a conductor that is killed before it has changed nothing.

use crate::conductor::execution::Execution;
use crate::domain::op_occ::{OpState, Unattended};
use crate::domain::problem::Problem;
use crate::domain::transition::{OpEvent, transition};
use crate::store::OperationOutcome;

/// How `execution` leaves FAILED_TEMP; `None` if it is in another state.
pub fn outcome(execution: &Execution<'_>) -> Option<OperationOutcome> {
    let update = transition(&execution.record(), OpEvent::LeftUnattended).ok()?;
    let op = &execution.op;
    let error = explained(op.error.clone(), op.unattended?, update.to);
    tracing::warn!(op.id = %op.id, state = update.to.as_str(), "nobody decided about operation {}: {}", op.id, error.detail);
    Some(OperationOutcome::of(update, Some(error), execution.conductor.clock.now()))
}

/// The error that led to FAILED_TEMP, and what happens to the operation now.
fn explained(error: Option<Problem>, unattended: Unattended, to: OpState) -> Problem {
    let error = error.unwrap_or_else(|| Problem::conflict("the operation stopped"));
    let seconds = unattended.after.as_secs();
    let remedy = if to == OpState::RollingBack { "rolled back" } else { "failed" };
    let detail = format!(
        "{}; nobody retried, rolled back or failed it within {seconds} s, so it was {remedy}, as the profile of the client that requested it says",
        error.detail
    );
    Problem { detail, ..error }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::op_occ::Remedy;
    use crate::domain::problem::ProblemType;

    #[test]
    fn error_keeps_its_text_and_says_what_was_done() {
        let error = Problem::new(ProblemType::VnfNotReady, "Pod a is not ready").with("evidence", "kept");
        let unattended = Unattended { after: Duration::from_secs(60), remedy: Remedy::Rollback };
        let error = explained(Some(error), unattended, OpState::RollingBack);
        assert!(error.detail.starts_with("Pod a is not ready; ") && error.detail.contains("60 s"), "{}", error.detail);
        assert!(error.detail.contains("rolled back,"), "{}", error.detail);
        assert_eq!((error.status, error.extra["evidence"].as_str()), (500, Some("kept")));
    }
}
