//! What can go wrong at a point of an operation, and what is requested if the operation stops there.

use std::time::Duration;

use gybe::domain::op_occ::{CancelMode, Remedy, Unattended};
use gybe::store::Store;

use crate::support::faults::{Fault, NEEDED, Point, Side};

/// What becomes of an operation that nobody decides about.
pub const LEFT: Unattended = Unattended { after: Duration::from_secs(3600), remedy: Remedy::Rollback };

/// What can go wrong while a conductor decides. What follows is a rollback as any other.
pub const TROUBLES_OF_DECIDING: [Fault; 6] =
    [Fault::KilledBefore, Fault::KilledAfter, Fault::FailsOnce, Fault::ReplyLost, Fault::TakenOver, Fault::Stopped];

/// What is asked for when the operation is in FAILED_TEMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Retry,
    Rollback,
    Fail,
}

/// What can go wrong at a point, and what is asked for if the operation stops there.
pub const TROUBLES: [(Fault, Answer); 23] = [
    (Fault::KilledBefore, Answer::Retry),
    (Fault::KilledAfter, Answer::Retry),
    (Fault::Twice, Answer::Retry),
    (Fault::FailsOnce, Answer::Retry),
    (Fault::FailsOn, Answer::Retry),
    (Fault::FailsOn, Answer::Rollback),
    (Fault::FailsOn, Answer::Fail),
    (Fault::Refused, Answer::Retry),
    (Fault::Refused, Answer::Rollback),
    (Fault::Refused, Answer::Fail),
    (Fault::ReplyLost, Answer::Retry),
    (Fault::TakenOver, Answer::Retry),
    (Fault::TakenOverUnsent, Answer::Retry),
    (Fault::Stopped, Answer::Retry),
    (Fault::Cancelled(CancelMode::Graceful), Answer::Retry),
    (Fault::Cancelled(CancelMode::Graceful), Answer::Rollback),
    (Fault::Cancelled(CancelMode::Forceful), Answer::Retry),
    (Fault::Cancelled(CancelMode::Forceful), Answer::Rollback),
    (Fault::CancelledAndKilled(CancelMode::Graceful), Answer::Retry),
    (Fault::CancelledAndKilled(CancelMode::Graceful), Answer::Rollback),
    (Fault::CancelledAndKilled(CancelMode::Forceful), Answer::Fail),
    (Fault::PanicsOn, Answer::Retry),
    (Fault::PanicsAfter, Answer::Retry),
];

/// The calls that change nothing.
pub const READING: [&str; 6] = ["resources", "vim", "vnfd", "definition_files", "discover", "observe"];

/// Whether the fault is one that can happen at the point.
pub fn can_happen(fault: Fault, answer: Answer, point: &Point) -> bool {
    match (fault, point.side) {
        (Fault::Twice | Fault::Refused | Fault::TakenOverUnsent, side) => side != Side::Store,
        // What follows is the same as when the cluster refuses, after eleven attempts.
        (Fault::FailsOn, Side::Cluster | Side::Nfvo) => answer == Answer::Retry,
        (Fault::FailsOn, Side::Store) if READING.contains(&point.call.as_str()) => answer == Answer::Retry,
        (Fault::FailsOn, Side::Store) => !NEEDED.contains(&point.call.as_str()),
        // After a call that only reads is before the next one, and nothing is lost with its answer.
        (Fault::KilledAfter | Fault::ReplyLost | Fault::CancelledAndKilled(_) | Fault::PanicsAfter, _)
            if READING.contains(&point.call.as_str()) =>
        {
            false
        }
        (Fault::PanicsOn | Fault::PanicsAfter, _) => !NEEDED.contains(&point.call.as_str()),
        _ => true,
    }
}
