//! Every state with every event.

use super::*;
use crate::domain::op_occ::{LcmOperation, can_roll_back};

use OpEvent::{
    AttemptFailed, CancelRequested, Cancelled, Fail, GrantPending, Granted, Interrupted, LeftUnattended,
    OutcomeRejected, Progressed, Retry, Rollback, Stopped, StoreFailed, Succeeded, Waiting,
};
use OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack, Starting};

const PAUSE: Duration = Duration::from_secs(5);
const UNATTENDED: Unattended = Unattended { after: Duration::from_secs(60), remedy: Remedy::Rollback };
const NOW: Option<Due> = Some(Due::After(Duration::ZERO));

const EVENTS: [OpEvent; 16] = [
    Granted,
    GrantPending(PAUSE),
    Progressed(3),
    Succeeded,
    AttemptFailed,
    Waiting(PAUSE),
    StoreFailed,
    Interrupted,
    Stopped,
    Cancelled,
    OutcomeRejected,
    LeftUnattended,
    Retry,
    Rollback,
    Fail,
    CancelRequested(CancelMode::Graceful),
];

/// An INSTANTIATE with two steps done and one failed attempt at the third.
const fn record(state: OpState) -> OpRecord {
    OpRecord { can_roll_back: true, state, steps_done: 2, attempt: 1, cancel: None, unattended: Some(UNATTENDED) }
}

fn unchanged(state: OpState) -> Update {
    record(state).unchanged()
}

/// What is common to all changes of state.
fn entering(from: OpState, to: OpState) -> Update {
    Update {
        to,
        attempt: Some(0),
        cancel: CancelUpdate::Clear,
        releases_target_package: matches!(to, Completed | Failed | RolledBack),
        ..unchanged(from)
    }
}

fn stopping(from: OpState) -> Update {
    let due = Some(Due::After(UNATTENDED.after));
    let steps_done = (from == RollingBack).then_some(0);
    Update { error: ErrorUpdate::Replace, due, steps_done, ..entering(from, FailedTemp) }
}

/// Each legal pair of state and event, and what it changes.
fn legal() -> Vec<(OpState, OpEvent, Update)> {
    let second_delay = Some(Due::After(retry::delay(1)));
    let mut legal = vec![
        (
            Starting,
            Granted,
            Update {
                to: Processing,
                steps_done: Some(0),
                attempt: Some(0),
                error: ErrorUpdate::Clear,
                ..unchanged(Starting)
            },
        ),
        (
            Starting,
            GrantPending(PAUSE),
            Update { attempt: Some(0), error: ErrorUpdate::Clear, due: Some(Due::After(PAUSE)), ..unchanged(Starting) },
        ),
        (Starting, Stopped, Update { error: ErrorUpdate::Replace, ..entering(Starting, RolledBack) }),
        (Starting, Cancelled, Update { error: ErrorUpdate::Replace, ..entering(Starting, RolledBack) }),
        (
            Processing,
            Progressed(3),
            Update { steps_done: Some(3), attempt: Some(0), error: ErrorUpdate::Clear, ..unchanged(Processing) },
        ),
        (RollingBack, Progressed(3), Update { steps_done: Some(3), attempt: Some(0), ..unchanged(RollingBack) }),
        (Processing, Succeeded, Update { error: ErrorUpdate::Clear, ..entering(Processing, Completed) }),
        (RollingBack, Succeeded, Update { steps_done: Some(0), ..entering(RollingBack, RolledBack) }),
        (
            FailedTemp,
            LeftUnattended,
            Update {
                steps_done: Some(0),
                error: ErrorUpdate::Replace,
                remedy: Some(Remedy::Fail),
                ..entering(FailedTemp, RollingBack)
            },
        ),
        (FailedTemp, Retry, Update { due: NOW, ..entering(FailedTemp, Processing) }),
        (FailedTemp, Rollback, Update { steps_done: Some(0), due: NOW, ..entering(FailedTemp, RollingBack) }),
        (FailedTemp, Fail, Update { due: NOW, ..entering(FailedTemp, Failed) }),
        (
            FailedTemp,
            AttemptFailed,
            Update { attempt: Some(2), error: ErrorUpdate::Replace, due: second_delay, ..unchanged(FailedTemp) },
        ),
    ];
    for state in [Processing, RollingBack] {
        let error = if state == RollingBack { ErrorUpdate::Keep } else { ErrorUpdate::Replace };
        let waits = Update { attempt: Some(1), error, due: Some(Due::After(PAUSE)), ..unchanged(state) };
        legal.push((state, Waiting(PAUSE), waits));
        legal.extend([Stopped, Cancelled].map(|event| (state, event, stopping(state))));
    }
    for state in [Starting, Processing, RollingBack] {
        let error = if state == RollingBack { ErrorUpdate::Keep } else { ErrorUpdate::Replace };
        let retried = Update { attempt: Some(2), due: second_delay, ..unchanged(state) };
        legal.push((state, AttemptFailed, Update { error, ..retried }));
        legal.push((state, StoreFailed, retried));
        legal.push((state, Interrupted, Update { attempt: Some(1), due: NOW, ..unchanged(state) }));
        let cancelled = CancelUpdate::Set(CancelMode::Graceful);
        let due = Some(Due::NoLaterThanNow);
        let request = CancelRequested(CancelMode::Graceful);
        legal.push((state, request, Update { cancel: cancelled, due, ..unchanged(state) }));
    }
    for state in [Starting, Processing, RollingBack, FailedTemp] {
        let error = if state == RollingBack { ErrorUpdate::Keep } else { ErrorUpdate::Replace };
        let due = Some(Due::After(retry::LONGEST_STEP_DELAY));
        legal.push((state, OutcomeRejected, Update { attempt: Some(2), error, due, ..unchanged(state) }));
    }
    legal
}

#[test]
fn every_event_in_every_state_changes_what_the_table_says_or_is_illegal() {
    let legal = legal();
    for state in OpState::ALL {
        for event in EVENTS {
            let expected = legal.iter().find(|(from, on, _)| (*from, *on) == (state, event));
            let expected = expected.map(|(_, _, update)| *update).ok_or(IllegalTransition { from: state, event });
            assert_eq!(transition(&record(state), event), expected, "{state:?} on {event:?}");
        }
    }
}

#[test]
fn last_attempt_stops_the_operation() {
    for (state, last) in [(Starting, 5), (Processing, 10), (RollingBack, 10)] {
        for event in [AttemptFailed, StoreFailed] {
            let record = OpRecord { attempt: last, ..record(state) };
            assert_eq!(transition(&record, event), transition(&record, Stopped), "{state:?}");
            let earlier = OpRecord { attempt: last - 1, ..record };
            assert!(!transition(&earlier, event).unwrap().changes_state(), "{state:?}");
        }
    }
    let long_after = OpRecord { attempt: u32::MAX, ..record(FailedTemp) };
    let update = transition(&long_after, AttemptFailed).unwrap();
    assert_eq!((update.to, update.attempt), (FailedTemp, Some(u32::MAX)));
}

#[test]
fn work_within_a_step_keeps_attempts_and_error() {
    for state in [Processing, RollingBack] {
        let expected = Update { steps_done: Some(2), ..unchanged(state) };
        assert_eq!(transition(&record(state), Progressed(2)), Ok(expected));
    }
}

#[test]
fn operations_without_a_way_back_are_failed_and_not_rolled_back() {
    for operation in [LcmOperation::Heal, LcmOperation::Terminate, LcmOperation::ModifyInfo] {
        let record = OpRecord { can_roll_back: can_roll_back(operation, false), ..record(FailedTemp) };
        assert!(transition(&record, Rollback).is_err(), "{operation:?}");
        assert_eq!(transition(&record, LeftUnattended).unwrap().to, Failed, "{operation:?}");
    }
    assert!(can_roll_back(LcmOperation::ModifyInfo, true));
}

#[test]
fn operations_without_a_remedy_wait_for_a_person() {
    let record = OpRecord { unattended: None, ..record(FailedTemp) };
    assert!(transition(&record, LeftUnattended).is_err());
    let stopped = transition(&OpRecord { state: Processing, ..record }, Stopped).unwrap();
    assert_eq!((stopped.to, stopped.due), (FailedTemp, None));
}

#[test]
fn remedy_rolls_back_once() {
    let failing = Unattended { remedy: Remedy::Fail, ..UNATTENDED };
    let record = OpRecord { unattended: Some(failing), ..record(FailedTemp) };
    assert_eq!(transition(&record, LeftUnattended).unwrap().to, Failed);
}

#[test]
fn forceful_cancel_request_stays_forceful() {
    let record = OpRecord { cancel: Some(CancelMode::Forceful), ..record(Processing) };
    let update = transition(&record, CancelRequested(CancelMode::Graceful)).unwrap();
    assert_eq!(update.cancel, CancelUpdate::Set(CancelMode::Forceful));
}
