//! Op occurrences in the store, as the API uses them.

use std::collections::HashMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::op_occ::{CancelMode, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::domain::progress::StepAttempt;
use crate::domain::tenancy::NamespaceProject;
use crate::domain::transition::OpEvent;
use crate::store::{Page, StoreError};

/// Op occurrences as API requests see them; conductors use `LeaseStore`.
#[async_trait]
pub trait OperationStore: Send + Sync {
    /// Accepts an operation: adds the op occurrence and replaces the instance by `instance`, in one transaction, then wakes the
    /// conductors. `Stale` if the version of the instance is no longer `instance.version`, or if the new package of
    /// the operation no longer exists. `Busy` if another operation of the instance is unfinished. An operation that runs a kept plan takes
    /// that plan, `Stale` if it is gone or taken.
    async fn begin_operation(&self, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<(), StoreError>;
    /// As [`Self::begin_operation`], for an operation that puts the VNF into a namespace of that project, which is stored with the
    /// instance. `NamespaceTaken` if instances of another project are in the namespace, `NamespaceReserved` if it is registered for another
    /// project, or is to be deleted.
    async fn begin_in_namespace(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        namespace: &NamespaceProject,
    ) -> Result<(), StoreError>;
    /// Whether the operation could begin now: fails as the method that begins it would, and changes nothing. Without [`VnfLcmOpOcc::kept_plan`].
    async fn check_operation(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        namespace: Option<&NamespaceProject>,
    ) -> Result<(), StoreError>;
    async fn op_occ(&self, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError>;
    /// A page of a project's op occurrences, or of all (`None`), oldest first.
    async fn op_occs(&self, project: Option<&ProjectId>, page: &Page<'_>) -> Result<Vec<VnfLcmOpOcc>, StoreError>;
    /// Retries, rolls back or fails an op occurrence and wakes the conductors. `Stale` if its state does not allow `event`.
    async fn resume_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        event: OpEvent,
        now: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// Records a cancel request for a running operation, makes the operation due now if it was postponed, and wakes the conductors.
    /// `Stale` if the operation is not in STARTING, PROCESSING or ROLLING_BACK.
    async fn cancel_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        mode: CancelMode,
    ) -> Result<(), StoreError>;
    /// The plan of an op occurrence, if it has one. `NotFound` if there is no such op occurrence.
    async fn plan(&self, id: VnfLcmOpOccId) -> Result<Option<Plan>, StoreError>;
    /// The attempts of the steps of an op occurrence, in the order in which they began.
    async fn steps(&self, id: VnfLcmOpOccId) -> Result<Vec<StepAttempt>, StoreError>;
    /// The latest attempt of each of the op occurrences; those without a step are left out.
    async fn latest_steps(&self, ids: &[VnfLcmOpOccId]) -> Result<HashMap<VnfLcmOpOccId, StepAttempt>, StoreError>;
}
