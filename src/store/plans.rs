//! Plans that previews keep.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::{PlanId, ProjectId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::kept_plan::{FrozenPlan, KeptPlan};
use crate::store::StoreError;

/// The store as previews and the operations that run their plans use it. `begin_operation` takes the plan of an operation.
#[async_trait]
pub trait PlanStore: Send + Sync {
    /// Keeps a plan, and of its project at most `most` plans that no operation has taken: the oldest are deleted.
    async fn keep_plan(&self, plan: &KeptPlan, most: usize) -> Result<(), StoreError>;
    /// A plan for the VNF instance of that project that no operation has taken. `NotFound` if there is none.
    async fn kept_plan(&self, project: &ProjectId, instance: VnfInstanceId, id: PlanId)
    -> Result<KeptPlan, StoreError>;
    /// The plan that the operation has taken, as long as it is in STARTING. `NotFound` if there is none.
    async fn taken_plan(&self, op: VnfLcmOpOccId) -> Result<FrozenPlan, StoreError>;
    /// Deletes at most `limit` plans that nobody can run any more: those that were to be run before `now`, and those that operations took
    /// that have left STARTING. Returns their number.
    async fn delete_plans(&self, now: OffsetDateTime, limit: usize) -> Result<usize, StoreError>;
}
