//! Pages of lists.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::attributes::Filter;
use crate::store::sql;

/// A place in a list, which is ordered by the time at which things began, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// What is there, or was there.
    pub id: Uuid,
}

impl PageCursor {
    /// The place of what is called `id` and began at `time`.
    pub fn of(time: OffsetDateTime, id: Uuid) -> Self {
        Self { at: sql::millis(time), id }
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Of what the list is to have.
    pub filter: &'a Filter,
    /// The place it begins after; `None`: at the beginning.
    pub after: Option<PageCursor>,
    /// The most elements.
    pub limit: usize,
}
