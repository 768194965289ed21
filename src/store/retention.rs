//! Deletion of what is kept no longer.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::VnfInstanceId;
use crate::store::{PageCursor, StoreError};

/// The store as [`crate::retention`] uses it. Each method but the first handles at most `limit` rows and returns their number:
/// 0 if there are none.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Whether this process is to do the next pass: one process at a time, `interval` after the last pass began.
    async fn begin_retention(&self, interval: Duration) -> Result<bool, StoreError>;
    /// Seals manifests of Secrets and plans that an earlier release stored in clear.
    async fn seal_clear_manifests(&self, limit: usize) -> Result<usize, StoreError>;
    /// Clears plans of ended operations, which earlier releases kept.
    async fn clear_ended_plans(&self, limit: usize) -> Result<usize, StoreError>;
    /// Deletes op occurrences that ended before this time, oldest first.
    async fn delete_ended_operations(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
    /// The identifiers of VNF instances after this one, in their order.
    async fn instances_after(
        &self,
        after: Option<VnfInstanceId>,
        limit: usize,
    ) -> Result<Vec<VnfInstanceId>, StoreError>;
    /// The op occurrences that ended after this position, ordered by the time of their end: the VNF instance and the position of
    /// each.
    async fn ended_after(
        &self,
        after: PageCursor,
        limit: usize,
    ) -> Result<Vec<(VnfInstanceId, PageCursor)>, StoreError>;
    /// Deletes the ended op occurrences of a VNF instance, except the `keep` newest.
    async fn trim_operations(&self, id: VnfInstanceId, keep: usize, limit: usize) -> Result<usize, StoreError>;
    /// Deletes parked notifications that were due before this time.
    async fn delete_parked_notifications(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
    /// Deletes notifications to deleted subscriptions.
    async fn delete_notifications_of_deleted_subscriptions(&self, limit: usize) -> Result<usize, StoreError>;
}
