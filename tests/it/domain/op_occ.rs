//! The state machine of op occurrences (`gybe::domain::op_occ`): every pair of state and event.

use gybe::domain::op_occ::OpEvent::{Cancelled, Fail, Granted, Refused, Retry, Rollback, Stopped, Succeeded};
use gybe::domain::op_occ::OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack, Starting};
use gybe::domain::op_occ::{OpEvent, OpState};

const EVENTS: [OpEvent; 8] = [Granted, Refused, Succeeded, Stopped, Cancelled, Retry, Rollback, Fail];

/// Every arrow of figure 5.6.2.2-1; nothing else is legal.
const ARROWS: [(OpState, OpEvent, OpState); 12] = [
    (Starting, Granted, Processing),
    (Starting, Refused, RolledBack),
    (Starting, Cancelled, RolledBack),
    (Processing, Succeeded, Completed),
    (Processing, Stopped, FailedTemp),
    (Processing, Cancelled, FailedTemp),
    (FailedTemp, Retry, Processing),
    (FailedTemp, Rollback, RollingBack),
    (FailedTemp, Fail, Failed),
    (RollingBack, Succeeded, RolledBack),
    (RollingBack, Stopped, FailedTemp),
    (RollingBack, Cancelled, FailedTemp),
];

#[test]
fn the_machine_has_the_arrows_of_the_standard_and_no_others() {
    for state in OpState::ALL {
        for event in EVENTS {
            let arrow = ARROWS.iter().find(|(from, on, _)| (*from, *on) == (state, event));
            assert_eq!(state.on(event).ok(), arrow.map(|(_, _, to)| *to), "{state:?} on {event:?}");
        }
    }
}

#[test]
fn nothing_follows_a_final_state() {
    for state in OpState::ALL {
        let ends = EVENTS.iter().all(|event| state.on(*event).is_err());
        assert_eq!(state.is_final(), ends, "{state:?}");
    }
}
