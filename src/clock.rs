//! Time and identifiers as parameters. Only this module reads the system clock and generates UUIDs; `clippy.toml` enforces it.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

pub trait Clock: Send + Sync {
    /// The current time in UTC, in whole milliseconds, as the store has no finer resolution.
    fn now(&self) -> OffsetDateTime;
}

pub trait Ids: Send + Sync {
    /// A new random UUID.
    fn uuid(&self) -> Uuid;
}

/// The system clock and random identifiers.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        now - Duration::from_nanos(u64::from(now.nanosecond() % 1_000_000))
    }
}

impl Ids for System {
    #[expect(clippy::disallowed_methods, reason = "the one place that generates identifiers")]
    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// The time since the machine was started, the time in which it slept included (CLOCK_BOOTTIME): `Instant` does not count that.
pub fn time_since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
