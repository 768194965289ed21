//! Stops calls to an API server that is silent. Without it, each of 200 requests for objects behind a black hole would wait for its own
//! deadline. One call at a time looks whether the server answers again; all others fail at once, and their operations are
//! postponed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// From a call without an answer to the next one that looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Longer than any call: a call that looked and was given up by its caller does not keep others from looking.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// What is known of one API server.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<BreakerState>);

#[derive(Debug, Default)]
struct BreakerState {
    last_answer: Option<Instant>,
    /// While it is silent: when the next call may look.
    look_at: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be sent at this time.
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match &mut state.look_at {
            None => true,
            Some(at) if *at <= now => {
                *at = now + LONGEST_LOOK;
                true
            }
            Some(_) => false,
        }
    }

    /// A call was answered, whatever the answer.
    pub fn answered(&self, now: Instant) {
        *self.lock() = BreakerState { last_answer: Some(now), look_at: None };
    }

    /// A call that was sent at `sent` has no answer in time. Other calls stop, unless one was answered since: then only this
    /// request is slow.
    pub fn unanswered(&self, sent: Instant, now: Instant) {
        let mut state = self.lock();
        if state.last_answer.is_none_or(|answer| answer < sent) {
            state.look_at = Some(now + PAUSE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BreakerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(8);

    #[test]
    fn a_silent_server_gets_one_call_at_a_time_until_it_answers() {
        let (breaker, sent) = (Breaker::default(), Instant::now());
        assert!(breaker.admits(sent) && breaker.admits(sent));
        let now = sent + DEADLINE;
        breaker.unanswered(sent, now);
        assert!(!breaker.admits(now));
        let look = now + PAUSE;
        assert!(breaker.admits(look) && !breaker.admits(look), "one call looks");
        breaker.unanswered(look, look + DEADLINE);
        assert!(!breaker.admits(look + DEADLINE));
        let again = look + DEADLINE + PAUSE;
        assert!(breaker.admits(again));
        assert!(breaker.admits(again + LONGEST_LOOK), "the caller of the call that looked has gone");
        breaker.answered(again + LONGEST_LOOK);
        assert!(breaker.admits(again + LONGEST_LOOK) && breaker.admits(again + LONGEST_LOOK));
    }

    #[test]
    fn a_slow_request_to_a_server_that_answers_others_stops_nothing() {
        let (breaker, sent) = (Breaker::default(), Instant::now());
        breaker.answered(sent + Duration::from_secs(1));
        breaker.unanswered(sent, sent + DEADLINE);
        assert!(breaker.admits(sent + DEADLINE));
    }
}
