//! Metering records in the store. `LeaseStore::end_operation` opens and closes them.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::ProjectId;
use crate::domain::metering::{MeteringRecord, TimeRange};
use crate::store::{PageCursor, StoreError};

/// Metering records.
#[async_trait]
pub trait MeteringStore: Send + Sync {
    /// The first `limit` records of a project after a position that lie in the range at least in part, by their beginning.
    async fn metering_records(
        &self,
        project: &ProjectId,
        range: TimeRange,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Vec<MeteringRecord>, StoreError>;
    /// Deletes records that ended before this time, oldest first, and at most `limit` of them. Returns their number.
    async fn delete_metering_records(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
}
