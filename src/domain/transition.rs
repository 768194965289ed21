//! State changes of op occurrences (SOL003 clause 5.6.2.2, figure 5.6.2.2-1).
//!
//! [`transition`] is the one place that decides what an event does to an op occurrence. API requests and conductors ask it
//! before they write. The store writes the [`Update`] and adds only what races with other writers: the clock of the
//! database, the lease, and a cancel request that arrives meanwhile.

use std::time::Duration;

use crate::domain::op_occ::{CancelMode, OpState, Remedy, Unattended, VnfLcmOpOcc};
use crate::domain::retry;

/// The part of an op occurrence that decides what an event does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpRecord {
    /// Whether the operation has a way back.
    pub can_roll_back: bool,
    /// The present state.
    pub state: OpState,
    /// Steps of the current direction (backward in ROLLING_BACK, else forward) that are done.
    pub steps_done: usize,
    /// Attempts at the current step that failed.
    pub attempt: u32,
    /// The pending cancel request.
    pub cancel: Option<CancelMode>,
    /// What happens if nobody decides in FAILED_TEMP.
    pub unattended: Option<Unattended>,
}

/// What can happen to an op occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpEvent {
    /// The operation is planned, checked and granted.
    Granted,
    /// The NFVO has not decided on the grant yet; the conductor asks again after the delay.
    GrantPending(Duration),
    /// A conductor records finished work: this many steps of the current direction are done.
    Progressed(usize),
    /// All steps are done.
    Succeeded,
    /// An attempt failed with an error that may pass.
    AttemptFailed,
    /// The step needs something that is not ready yet; a conductor tries it again after the delay. Counts as no attempt: the time
    /// since the step began is limited.
    Waiting(Duration),
    /// An attempt failed because the store failed. The error of the attempt before it stays visible while it is retried.
    StoreFailed,
    /// The process stops, a cancel request arrived before the plan was stored, or the credential of the VIM was replaced: a conductor
    /// goes on at once.
    Interrupted,
    /// An error that time does not heal.
    Stopped,
    /// The cancel request takes effect.
    Cancelled,
    /// The database rejects every outcome of the operation, the plainest one too.
    OutcomeRejected,
    /// Nobody retried, rolled back or failed the operation in time.
    LeftUnattended,
    /// `POST …/retry`.
    Retry,
    /// `POST …/rollback`.
    Rollback,
    /// `POST …/fail`.
    Fail,
    /// `POST …/cancel`.
    CancelRequested(CancelMode),
}

/// What an event changes in an op occurrence. `None` leaves a value as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Update {
    /// The state in which the event happened. The store writes nothing if the op occurrence is in another one.
    pub from: OpState,
    /// The state from now on; may be the same.
    pub to: OpState,
    /// Steps of the current direction that are done.
    pub steps_done: Option<usize>,
    /// Failed attempts at the current step.
    pub attempt: Option<u32>,
    /// The error that callers see.
    pub error: ErrorUpdate,
    /// The cancel request.
    pub cancel: CancelUpdate,
    /// Whether the op occurrence no longer uses the package that an operation brings.
    pub releases_target_package: bool,
    /// What happens the next time nobody decides in FAILED_TEMP.
    pub remedy: Option<Remedy>,
    /// When a conductor may claim the operation.
    pub due: Option<Due>,
}

impl Update {
    /// Whether the op occurrence enters another state.
    pub fn changes_state(&self) -> bool {
        self.from != self.to
    }
}

/// What happens to the error of an op occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorUpdate {
    /// It stays.
    Keep,
    /// It is removed.
    Clear,
    /// The error of the event replaces it.
    Replace,
}

/// What happens to the cancel request of an op occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelUpdate {
    /// It stays, and makes the operation due now if the update postpones it.
    Keep,
    /// It has taken effect, or comes too late.
    Clear,
    /// It is pending in this mode.
    Set(CancelMode),
}

/// When a conductor may claim an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// After this delay.
    After(Duration),
    /// Now, unless it is due already.
    NoLaterThanNow,
}

/// An event that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible in state {}", from.as_str())]
pub struct IllegalTransition {
    /// The state in which it happened.
    pub from: OpState,
    /// What happened.
    pub event: OpEvent,
}

/// What `event` does to an op occurrence.
///
/// # Errors
/// [`IllegalTransition`] where figure 5.6.2.2-1 has no such arrow, where the operation can't be rolled back, and where
/// nothing is to happen to an operation that nobody decides about.
pub fn transition(record: &OpRecord, event: OpEvent) -> Result<Update, IllegalTransition> {
    use OpEvent::{
        AttemptFailed, CancelRequested, Cancelled, Fail, GrantPending, Granted, Interrupted, LeftUnattended,
        OutcomeRejected, Progressed, Retry, Rollback, Stopped, StoreFailed, Succeeded, Waiting,
    };
    use OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack, Starting};
    let illegal = Err(IllegalTransition { from: record.state, event });
    let update = match (record.state, event) {
        (Completed | Failed | RolledBack, _) => return illegal,

        (Starting, Granted) => Update {
            steps_done: Some(0),
            attempt: Some(0),
            error: ErrorUpdate::Clear,
            ..Update { to: Processing, ..record.unchanged() }
        },
        (Starting, GrantPending(delay)) => {
            Update { attempt: Some(0), error: ErrorUpdate::Clear, due: Some(Due::After(delay)), ..record.unchanged() }
        }
        (Processing | RollingBack, Progressed(steps_done)) => record.progress(steps_done),
        (Processing, Succeeded) => Update { error: ErrorUpdate::Clear, ..record.enter(Completed) },
        (RollingBack, Succeeded) => record.enter(RolledBack),

        (Starting | Processing | RollingBack, AttemptFailed | StoreFailed) => {
            if retry::is_last(record.state, record.attempt) {
                record.stop()
            } else {
                record.retry_later(event, retry::delay(record.attempt))
            }
        }
        (Processing | RollingBack, Waiting(delay)) => {
            Update { attempt: Some(record.attempt), ..record.retry_later(event, delay) }
        }
        // No lesser outcome remains for an operation that nobody decided about.
        (FailedTemp, AttemptFailed) => record.retry_later(event, retry::delay(record.attempt)),
        (_, OutcomeRejected) => record.retry_later(event, retry::LONGEST_STEP_DELAY),
        (Starting | Processing | RollingBack, Interrupted) => {
            Update { attempt: Some(record.attempt), due: Some(Due::After(Duration::ZERO)), ..record.unchanged() }
        }
        (Starting | Processing | RollingBack, Stopped | Cancelled) => record.stop(),

        (FailedTemp, LeftUnattended) => match record.unattended {
            Some(unattended) => record.apply_remedy(unattended.remedy),
            None => return illegal,
        },
        (FailedTemp, Retry) => Update { due: Some(Due::After(Duration::ZERO)), ..record.enter(Processing) },
        (FailedTemp, Rollback) if record.can_roll_back => {
            Update { due: Some(Due::After(Duration::ZERO)), ..record.enter(RollingBack) }
        }
        (FailedTemp, Fail) => Update { due: Some(Due::After(Duration::ZERO)), ..record.enter(Failed) },
        (Starting | Processing | RollingBack, CancelRequested(mode)) => {
            let mode = if record.cancel == Some(CancelMode::Forceful) { CancelMode::Forceful } else { mode };
            Update { cancel: CancelUpdate::Set(mode), due: Some(Due::NoLaterThanNow), ..record.unchanged() }
        }

        (Starting, Progressed(_) | Succeeded | Waiting(_) | LeftUnattended | Retry | Rollback | Fail)
        | (Processing | RollingBack, Granted | GrantPending(_) | LeftUnattended | Retry | Rollback | Fail)
        | (
            FailedTemp,
            Granted | GrantPending(_) | Progressed(_) | Succeeded | Waiting(_) | StoreFailed | Interrupted | Stopped
            | Cancelled | Rollback | CancelRequested(_),
        ) => return illegal,
    };
    Ok(update)
}

impl OpRecord {
    /// The record of `op`, which has done `steps_done` steps and failed `attempt` times at the current one.
    pub const fn of(op: &VnfLcmOpOcc, steps_done: usize, attempt: u32) -> Self {
        let VnfLcmOpOcc { state, cancel, unattended, .. } = op;
        let can_roll_back = op.can_roll_back();
        Self { can_roll_back, state: *state, steps_done, attempt, cancel: *cancel, unattended: *unattended }
    }

    const fn unchanged(&self) -> Update {
        Update {
            from: self.state,
            to: self.state,
            steps_done: None,
            attempt: None,
            error: ErrorUpdate::Keep,
            cancel: CancelUpdate::Keep,
            releases_target_package: false,
            remedy: None,
            due: None,
        }
    }

    /// With a step done, the attempts at it and their error are past. The error in ROLLING_BACK is the one that led there.
    fn progress(&self, steps_done: usize) -> Update {
        let update = Update { steps_done: Some(steps_done), ..self.unchanged() };
        match self.state {
            _ if steps_done == self.steps_done => update,
            OpState::RollingBack => Update { attempt: Some(0), ..update },
            _ => Update { attempt: Some(0), error: ErrorUpdate::Clear, ..update },
        }
    }

    /// Enters another state.
    ///
    /// Steps count per direction, so rolling back starts with none done. An operation that stops while it rolls back forgets
    /// its progress: rolling back starts anew (every step is safe to run again), and so does a retry forward, whose steps
    /// have been undone in part. A retry after a stop in PROCESSING goes on with the step that failed.
    fn enter(&self, to: OpState) -> Update {
        let is_way_back = self.state == OpState::RollingBack || to == OpState::RollingBack;
        let waits_for = self.unattended.filter(|_| to == OpState::FailedTemp);
        Update {
            to,
            steps_done: is_way_back.then_some(0),
            attempt: Some(0),
            cancel: CancelUpdate::Clear,
            releases_target_package: to.is_final(),
            due: waits_for.map(|unattended| Due::After(unattended.after)),
            ..self.unchanged()
        }
    }

    /// Stops with an error. In STARTING nothing has changed in the VIM: there is nothing to retry or to roll back.
    fn stop(&self) -> Update {
        let to = if self.state == OpState::Starting { OpState::RolledBack } else { OpState::FailedTemp };
        Update { error: ErrorUpdate::Replace, ..self.enter(to) }
    }

    fn retry_later(&self, event: OpEvent, delay: Duration) -> Update {
        let keeps_error = self.state == OpState::RollingBack || event == OpEvent::StoreFailed;
        Update {
            attempt: Some(self.attempt.saturating_add(1)),
            error: if keeps_error { ErrorUpdate::Keep } else { ErrorUpdate::Replace },
            due: Some(Due::After(delay)),
            ..self.unchanged()
        }
    }

    /// Rolls back or fails an operation that nobody decided about. It rolls back once: if it comes back to FAILED_TEMP and is
    /// left again, it fails.
    fn apply_remedy(&self, remedy: Remedy) -> Update {
        let to = match remedy {
            Remedy::Rollback if self.can_roll_back => OpState::RollingBack,
            Remedy::Rollback | Remedy::Fail => OpState::Failed,
        };
        Update { error: ErrorUpdate::Replace, remedy: Some(Remedy::Fail), ..self.enter(to) }
    }
}

impl VnfLcmOpOcc {
    /// Whether `event` may happen to the operation now.
    pub fn allows(&self, event: OpEvent) -> bool {
        transition(&OpRecord::of(self, 0, 0), event).is_ok()
    }
}

#[cfg(test)]
mod tests;
