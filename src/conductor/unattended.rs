//! An operation in FAILED_TEMP about which nobody decided in time: what its caller's profile says is done with it.
//!
//! Such an operation is claimed when that time is over, and [`super::run`] asks here in place of going on with its plan. What
//! is decided is one write, under the lease: a conductor that is killed before it has decided nothing, and another one does.

use crate::conductor::run::Task;
use crate::domain::op_occ::{OpEvent, OpState, Unattended};
use crate::domain::problem::Problem;
use crate::store::OperationOutcome;

/// How `task` leaves FAILED_TEMP; `None` if it is not there.
pub fn ending(task: &Task<'_>) -> Option<OperationOutcome> {
    let unattended = task.op.unattended.filter(|_| task.op.state == OpState::FailedTemp)?;
    let way_back = task.plan.as_ref().is_some_and(|plan| plan.backward.is_some());
    let event = unattended.remedy.event(way_back);
    let to = task.op.state.on(event).ok()?;
    let error = explained(task.op.error.clone(), unattended, event);
    tracing::warn!(op.id = %task.op.id, state = to.as_str(), "nobody decided about operation {}: {}", task.op.id, error.detail);
    Some(OperationOutcome::bare(task.op.state, to, Some(error), task.conductor.clock.now()))
}

/// The error that led to FAILED_TEMP, with what is done now.
fn explained(error: Option<Problem>, unattended: Unattended, event: OpEvent) -> Problem {
    let error = error.unwrap_or_else(|| Problem::conflict("the operation stopped"));
    let seconds = unattended.after.as_secs();
    let done = if event == OpEvent::Rollback { "rolled back" } else { "failed" };
    let detail = format!(
        "{}; nobody retried, rolled back or failed it within {seconds} s, so that it was {done}, as the profile of the client that asked for it says",
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
    fn what_has_no_way_back_is_failed() {
        assert_eq!(Remedy::Rollback.event(true), OpEvent::Rollback);
        assert_eq!(Remedy::Rollback.event(false), OpEvent::Fail);
        assert_eq!(Remedy::Fail.event(true), OpEvent::Fail);
    }

    #[test]
    fn the_error_keeps_what_it_says_and_tells_what_was_done() {
        let error = Problem::new(ProblemType::VnfNotReady, "Pod a is not ready").with("evidence", "kept");
        let unattended = Unattended { after: Duration::from_secs(60), remedy: Remedy::Rollback };
        let told = explained(Some(error), unattended, OpEvent::Rollback);
        assert!(told.detail.starts_with("Pod a is not ready; ") && told.detail.contains("60 s"), "{}", told.detail);
        assert!(told.detail.contains("rolled back,"), "{}", told.detail);
        assert_eq!((told.status, told.extra["evidence"].as_str()), (500, Some("kept")));
    }
}
