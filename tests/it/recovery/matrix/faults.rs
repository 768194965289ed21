//! The faults of the matrix, and the tasks that follow if an operation stops.

use std::time::Duration;

use gybe::domain::op_occ::{CancelMode, Remedy, Unattended};

use crate::support::faults::{CLAIM_CALLS, CallPoint, CallTarget, Fault};

/// The remedy for an operation without a decision.
pub const UNATTENDED: Unattended = Unattended { after: Duration::from_secs(3600), remedy: Remedy::Rollback };

/// The faults while a conductor decides. After the decision, the operation is an ordinary rollback.
pub const FAULTS_WHILE_DECIDING: [Fault; 6] =
    [Fault::KilledBefore, Fault::KilledAfter, Fault::FailsOnce, Fault::ReplyLost, Fault::TakenOver, Fault::Stopped];

/// The task to request in FAILED_TEMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Retry,
    Rollback,
    Fail,
}

/// The faults at a point, each with the task to request if the operation stops.
pub const FAULTS: [(Fault, Task); 24] = [
    (Fault::KilledBefore, Task::Retry),
    (Fault::KilledAfter, Task::Retry),
    (Fault::Twice, Task::Retry),
    (Fault::FailsOnce, Task::Retry),
    (Fault::FailsAlways, Task::Retry),
    (Fault::FailsAlways, Task::Rollback),
    (Fault::FailsAlways, Task::Fail),
    (Fault::Refused, Task::Retry),
    (Fault::Refused, Task::Rollback),
    (Fault::Refused, Task::Fail),
    (Fault::ReplyLost, Task::Retry),
    (Fault::TakenOver, Task::Retry),
    (Fault::TakenOverUnsent, Task::Retry),
    (Fault::SentLate, Task::Retry),
    (Fault::Stopped, Task::Retry),
    (Fault::Cancelled(CancelMode::Graceful), Task::Retry),
    (Fault::Cancelled(CancelMode::Graceful), Task::Rollback),
    (Fault::Cancelled(CancelMode::Forceful), Task::Retry),
    (Fault::Cancelled(CancelMode::Forceful), Task::Rollback),
    (Fault::CancelledAndKilled(CancelMode::Graceful), Task::Retry),
    (Fault::CancelledAndKilled(CancelMode::Graceful), Task::Rollback),
    (Fault::CancelledAndKilled(CancelMode::Forceful), Task::Fail),
    (Fault::PanicsAlways, Task::Retry),
    (Fault::PanicsAfter, Task::Retry),
];

/// The calls that only read.
pub const READ_CALLS: [&str; 6] = ["resources", "vim", "vnfd", "definition_files", "discover", "observe"];

/// Whether the fault is possible at the point.
pub fn is_possible(fault: Fault, task: Task, point: &CallPoint) -> bool {
    match (fault, point.side) {
        (Fault::Twice | Fault::Refused | Fault::TakenOverUnsent, side) => side != CallTarget::Store,
        (Fault::SentLate, side) => side == CallTarget::Cluster && !READ_CALLS.contains(&point.call.as_str()),
        // After eleven attempts, the operation stops as after a permanent error.
        (Fault::FailsAlways, CallTarget::Cluster | CallTarget::Nfvo) => task == Task::Retry,
        (Fault::FailsAlways, CallTarget::Store) if READ_CALLS.contains(&point.call.as_str()) => task == Task::Retry,
        (Fault::FailsAlways, CallTarget::Store) => !CLAIM_CALLS.contains(&point.call.as_str()),
        // For a call that only reads, a fault after it equals a fault before the next one.
        (Fault::KilledAfter | Fault::ReplyLost | Fault::CancelledAndKilled(_) | Fault::PanicsAfter, _)
            if READ_CALLS.contains(&point.call.as_str()) =>
        {
            false
        }
        (Fault::PanicsAlways | Fault::PanicsAfter, _) => !CLAIM_CALLS.contains(&point.call.as_str()),
        _ => true,
    }
}
