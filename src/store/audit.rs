//! Audit records in the store.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::audit::AuditRecord;
use crate::domain::ids::ProjectId;
use crate::store::{Page, StoreError};

/// Audit records.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds a record.
    async fn add_audit_record(&self, record: &AuditRecord) -> Result<(), StoreError>;
    /// A page of records, oldest first: those of a project, or all, also those of requests without a known caller.
    async fn audit_records(&self, project: Option<&ProjectId>, page: &Page<'_>)
    -> Result<Vec<AuditRecord>, StoreError>;
    /// Deletes records before this time, oldest first, and at most `limit` of them. Returns their number.
    async fn delete_audit_records(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
}
