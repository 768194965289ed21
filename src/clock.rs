//! Time and identifiers as parameters. Nothing else in the crate reads the system clock or draws a UUID;
//! `clippy.toml` enforces it.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present, in UTC, whole milliseconds (the store keeps no more).
    fn now(&self) -> OffsetDateTime;
}

/// Draws identifiers.
pub trait Ids: Send + Sync {
    /// A fresh UUID.
    fn uuid(&self) -> Uuid;
}

/// The system's clock and random identifiers.
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
    #[expect(clippy::disallowed_methods, reason = "the one place that draws identifiers")]
    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}
