//! The journal of changes, which `/events/v1` streams.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::domain::event::Event;
use crate::store::StoreError;

/// What the journal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalBounds {
    /// Who has seen an event before this one may have missed events that the journal does not have.
    pub first: i64,
    /// The last event.
    pub last: i64,
}

impl JournalBounds {
    /// Whether the journal has all events after this one.
    pub const fn has_all_after(&self, sequence: i64) -> bool {
        self.first <= sequence && sequence <= self.last
    }
}

/// The store as the stream of events uses it. Changes are written to the journal only while somebody wants them.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Changes are written to the journal for `ttl` from now on. If they were not until now, returns when all changes that end after
    /// this call are written, and the journal begins anew.
    async fn want_events(&self, ttl: Duration) -> Result<JournalBounds, StoreError>;
    /// The events after this one, in their order, at most `limit`.
    async fn events_after(&self, sequence: i64, limit: usize) -> Result<Vec<Event>, StoreError>;
    /// What the journal has.
    async fn journal_bounds(&self) -> Result<JournalBounds, StoreError>;
    /// Fires (`notify_waiters`) when there may be an event. Register (`Notified::enable`) before reading. On PostgreSQL a signal of another
    /// process can be lost: read from time to time, too.
    fn events_signal(&self) -> Arc<Notify>;
    /// Deletes events that are older than `before`, or that are not among the newest `keep`; at most `limit`. Returns how many.
    async fn delete_events(&self, before: OffsetDateTime, keep: usize, limit: usize) -> Result<usize, StoreError>;
}
