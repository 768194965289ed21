//! Op occurrences in the store, as the API uses them.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::op_occ::{CancelMode, OpState, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::store::{Page, StoreError};

/// Op occurrences as API requests see them; conductors use `LeaseStore`.
#[async_trait]
pub trait OperationStore: Send + Sync {
    /// Accepts an operation: adds the occurrence and, in the same transaction, replaces the instance by `instance` if
    /// its version is still `instance.version` (`Stale` if not, or if the package that it brings is gone), then wakes the
    /// conductors.
    /// `Busy` if another operation of the instance is not over.
    async fn begin_operation(&self, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<(), StoreError>;
    /// One op occurrence.
    async fn op_occ(&self, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError>;
    /// A page of a project's op occurrences, oldest first.
    async fn op_occs(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<VnfLcmOpOcc>, StoreError>;
    /// Moves an op occurrence that no conductor works on from FAILED_TEMP to `to` and wakes the conductors.
    /// `Stale` if it is not in FAILED_TEMP. Entering ROLLING_BACK or PROCESSING clears `attempt`; PROCESSING clears the error.
    /// ROLLING_BACK starts with no step done. PROCESSING goes on after the last step done, or from the first one if the
    /// operation stopped while it was rolled back.
    async fn resume_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        to: OpState,
        now: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// Asks whoever works on a running operation to stop, and makes one that was put off due now; wakes the conductors.
    /// `Stale` if it is not STARTING, PROCESSING or ROLLING_BACK. A FORCEFUL request stays one.
    async fn cancel_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        mode: CancelMode,
    ) -> Result<(), StoreError>;
    /// The plan of an op occurrence, if it has one. `NotFound` if there is no such op occurrence.
    async fn plan(&self, id: VnfLcmOpOccId) -> Result<Option<Plan>, StoreError>;
}
