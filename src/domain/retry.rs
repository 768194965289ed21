//! When a conductor tries a failed step again, and when it gives up.

use std::time::Duration;

use crate::domain::op_occ::OpState;

/// Attempts in STARTING: about 15 seconds, because the caller still waits for a first sign.
const STARTING_ATTEMPTS: u32 = 6;
/// Attempts at a step: about two and a half minutes, without the duration of the attempts.
const STEP_ATTEMPTS: u32 = 11;
/// The most claims of an operation during which no step is finished; claims that end with a retryable error count too. No outage
/// or restart needs as many. After them the operation itself may be what kills its conductors, and it must not crash one process
/// after the other.
pub const MAX_CLAIMS_WITHOUT_PROGRESS: u32 = 24;
/// The delay after the first failed attempt.
const FIRST_STEP_DELAY: Duration = Duration::from_millis(500);
/// The longest delay before a step that waits for something else is tried again.
const LONGEST_WAITING_DELAY: Duration = Duration::from_secs(5);
/// The longest delay before another attempt.
pub const LONGEST_STEP_DELAY: Duration = Duration::from_secs(30);

/// The delay after failed attempt `attempt`, counted from 0: half a second, doubled with each attempt up to [`LONGEST_STEP_DELAY`].
pub fn delay(attempt: u32) -> Duration {
    FIRST_STEP_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_STEP_DELAY)
}

/// The delay before a step is tried again that has waited for `waited` for something else to be ready. It grows with the wait.
pub fn waiting_delay(waited: Duration) -> Duration {
    (waited / 4).clamp(FIRST_STEP_DELAY, LONGEST_WAITING_DELAY)
}

/// Whether failed attempt `attempt`, counted from 0, was the last one in `state`.
pub const fn is_last(state: OpState, attempt: u32) -> bool {
    let attempts = if matches!(state, OpState::Starting) { STARTING_ATTEMPTS } else { STEP_ATTEMPTS };
    attempt.saturating_add(1) >= attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(state: OpState) -> Duration {
        (0..).take_while(|attempt| !is_last(state, *attempt)).map(delay).sum()
    }

    #[test]
    fn gives_up_after_15_seconds_in_starting_and_150_seconds_in_a_step() {
        assert_eq!(total(OpState::Starting), Duration::from_millis(15_500));
        assert_eq!(total(OpState::Processing), Duration::from_millis(151_500));
        assert_eq!(total(OpState::RollingBack), total(OpState::Processing));
    }

    #[test]
    fn delay_is_bounded() {
        assert_eq!(delay(0), Duration::from_millis(500));
        assert_eq!(delay(u32::MAX), LONGEST_STEP_DELAY);
        assert_eq!(waiting_delay(Duration::ZERO), Duration::from_millis(500));
        assert_eq!(waiting_delay(Duration::from_secs(8)), Duration::from_secs(2));
        assert_eq!(waiting_delay(Duration::MAX), Duration::from_secs(5));
    }
}
