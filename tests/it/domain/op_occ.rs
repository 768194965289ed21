//! The state machine of op occurrences (`gybe::domain::transition`) against figure 5.6.2.2-1: every pair of state and event.

use gybe::domain::op_occ::OpState;
use gybe::domain::op_occ::OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack, Starting};
use gybe::domain::transition::OpEvent::{Cancelled, Fail, Granted, Retry, Rollback, Stopped, Succeeded};
use gybe::domain::transition::{OpEvent, transition};

use crate::support::store::record;

const EVENTS: [OpEvent; 7] = [Granted, Succeeded, Stopped, Cancelled, Retry, Rollback, Fail];

/// Every arrow of the figure; nothing else is legal.
const ARROWS: [(OpState, OpEvent, OpState); 12] = [
    (Starting, Granted, Processing),
    (Starting, Stopped, RolledBack),
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
fn state_machine_has_exactly_the_arrows_of_the_standard() {
    for state in OpState::ALL {
        for event in EVENTS {
            let arrow = ARROWS.iter().find(|(from, on, _)| (*from, *on) == (state, event));
            let to = transition(&record(state), event).ok().map(|update| update.to);
            assert_eq!(to, arrow.map(|(_, _, to)| *to), "{state:?} on {event:?}");
        }
    }
}

#[test]
fn no_event_leaves_a_final_state() {
    for state in OpState::ALL {
        let ends = EVENTS.iter().all(|event| transition(&record(state), *event).is_err());
        assert_eq!(state.is_final(), ends, "{state:?}");
    }
}
