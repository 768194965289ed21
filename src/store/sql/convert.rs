//! Conversions between domain values and column values, the same for both engines.

use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use time::OffsetDateTime;

use crate::domain::package::OperationalState;

/// Why a row cannot be read.
pub(super) type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// A point in time as milliseconds since the epoch.
pub(in crate::store) fn millis(time: OffsetDateTime) -> i64 {
    // An OffsetDateTime is within ±9999 years, so the conversion cannot fail.
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The point in time of milliseconds since the epoch.
pub(super) fn time(millis: i64) -> Result<OffsetDateTime, Unreadable> {
    Ok(OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)?)
}

/// A duration in milliseconds, at most ten years, so that adding it to a time cannot overflow.
pub(super) fn length(duration: Duration) -> i64 {
    const TEN_YEARS: Duration = Duration::from_hours(24 * 3652);
    i64::try_from(duration.min(TEN_YEARS).as_millis()).unwrap_or(i64::MAX)
}

/// A count as a column value. Real counts are far below `i64::MAX`.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The enumerator of that name. The database uses the names of the wire format.
pub(super) fn enumerator<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, ValueError> {
    T::deserialize(StrDeserializer::new(name))
}

pub(super) const fn operational_state(state: OperationalState) -> &'static str {
    match state {
        OperationalState::Enabled => "ENABLED",
        OperationalState::Disabled => "DISABLED",
    }
}
