//! Pages of lists.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::attributes::Filter;
use crate::store::sql;

/// A position in a list. Lists are ordered by start or creation time, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// The id of the element, which may be deleted by now.
    pub id: Uuid,
}

impl PageCursor {
    /// The position of the element `id` of `time`.
    pub fn of(time: OffsetDateTime, id: Uuid) -> Self {
        Self { at: sql::millis(time), id }
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The page has only elements that match this filter.
    pub filter: &'a Filter,
    /// The page starts after this position; `None`: it starts at the beginning of the list.
    pub after: Option<PageCursor>,
    /// The maximum number of elements.
    pub limit: usize,
}
