//! Op occurrences in the store, as conductors use them: leases, and what a conductor writes under one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use crate::domain::fair_share::Crowded;
use crate::domain::grant::PendingGrant;
use crate::domain::ids::VnfLcmOpOccId;
use crate::domain::instance::VnfInstance;
use crate::domain::metering::Quantities;
use crate::domain::op_occ::{CancelMode, GrantReference, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::progress::{StepAttempt, StepWrites};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::resource_changes::ResourceChanges;
use crate::domain::tenancy::NamespaceProject;
use crate::domain::transition::Update;
use crate::domain::warning::Warnings;
use crate::store::StoreError;

/// Op occurrences as conductors work on them.
///
/// The conductor decides with [`crate::domain::transition`]. While it holds the lease nobody else changes the operation, except for
/// a cancel request, so its copy is current.
/// Each write fails with `LeaseLost`, and changes nothing, unless the lease is the latest one of the operation and has not
/// expired by the clock of the database.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Claims up to `limit` due operations that nobody holds, the longest waiting first. A lease that expired counts as a failed
    /// attempt. Operations of those in `except` are left to later, and those whose plan has a newer format than
    /// [`PLAN_FORMAT`](crate::domain::plan::PLAN_FORMAT) to newer processes. Unreadable operations are claimed as well; otherwise every claim would meet them again. They are left out of the
    /// result and stay claimed until the lease expires.
    async fn claim(&self, owner: &str, ttl: Duration, limit: u32, except: &Crowded) -> Result<Claim, StoreError>;
    /// Makes the lease expire `ttl` from now. Returns the pending cancel request.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<CancelMode>, StoreError>;
    /// Makes all of these leases expire `ttl` from now, in one statement. Leaves out those that are lost.
    async fn renew_all(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<RenewedLease>, StoreError>;
    /// Stores the plan of an operation in STARTING with the inventory rows of the objects that it will create, and makes the
    /// lease expire `ttl` from now. Existing rows keep state and position and get the new intent; new rows are appended. `Stale` in any
    /// other state, and while a cancel request is pending; with a namespace, also the errors of
    /// [`OperationStore::begin_in_namespace`](crate::store::OperationStore::begin_in_namespace).
    async fn store_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        update: &Update,
        planned: &PlannedOperation<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// Records where the NFVO will publish the grant, postpones the operation and releases the lease. `Stale` unless it is
    /// in STARTING.
    async fn await_grant(&self, lease: Lease, update: &Update, pending: &PendingGrant) -> Result<(), StoreError>;
    /// Marks rows that are `Planned` as `Intent` and adds the rows of `new`, before their objects are created. Otherwise
    /// like [`LeaseStore::renew`].
    async fn record_intent(
        &self,
        lease: &Lease,
        ttl: Duration,
        objects: &[ObjectKey],
        new: &[Resource],
    ) -> Result<Option<CancelMode>, StoreError>;
    /// Replaces the warnings of the op occurrence.
    async fn record_warnings(&self, lease: &Lease, warnings: &Warnings) -> Result<(), StoreError>;
    /// Writes that this attempt of a step is running, unless the store has a later state of it.
    async fn announce_step(&self, lease: &Lease, attempt: &StepAttempt) -> Result<(), StoreError>;
    /// Writes the history of the operation.
    async fn record_steps(&self, lease: &Lease, steps: &StepWrites) -> Result<(), StoreError>;
    /// Records finished work. `NotFound`, and nothing is recorded, if a row of `states` does not exist. No row may occur twice
    /// in `states` or in `rows`.
    async fn checkpoint(&self, lease: &Lease, checkpoint: &Checkpoint) -> Result<(), StoreError>;
    /// Postpones the operation and releases the lease. `error` is written if the update replaces the stored error.
    async fn postpone(&self, lease: Lease, update: &Update, error: Option<&Problem>) -> Result<(), StoreError>;
    /// Moves the operation to another state and releases the lease: state, instance and notifications in one transaction.
    /// `Stale` if the operation is in another state than `update.from`, or if the instance has another version.
    async fn end_operation(&self, lease: Lease, outcome: &OperationOutcome) -> Result<(), StoreError>;
    /// Fires (`notify_waiters`) when there may be something to claim. Register (`Notified::enable`) before a claim. The signal can
    /// fire without cause, and on PostgreSQL a signal of another process can be lost: claim from time to time, too.
    fn wake(&self) -> Arc<Notify>;
    /// Changes when somebody cancels a running operation, in this process or another: [`LeaseStore::renew`] says which one.
    /// Subscribe before claiming, so that no signal is lost. On PostgreSQL a signal of another process can be lost; the next
    /// renewal finds the request anyway.
    fn cancels(&self) -> watch::Receiver<()>;
}

/// The right to work on one operation until it expires. Not `Clone`: each write of a conductor needs one.
#[derive(Debug)]
pub struct Lease {
    /// The operation.
    pub op: VnfLcmOpOccId,
    /// The fence: each claim increments the epoch, and each write of the conductor compares it.
    pub epoch: i64,
}

/// A lease that [`LeaseStore::renew_all`] has renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewedLease {
    /// The operation.
    pub op: VnfLcmOpOccId,
    /// The epoch of the lease.
    pub epoch: i64,
    /// The pending cancel request.
    pub cancel: Option<CancelMode>,
}

/// A claimed operation, with everything that a conductor needs to continue it.
#[derive(Debug)]
pub struct Claimed {
    /// The right to work on it.
    pub lease: Lease,
    /// The operation.
    pub op: VnfLcmOpOcc,
    /// Its VNF instance.
    pub instance: VnfInstance,
    /// The stored plan; `None` in STARTING.
    pub plan: Option<Plan>,
    /// Steps of the current direction (backward in ROLLING_BACK, else forward) that are done.
    pub steps_done: usize,
    /// Attempts at the current step that failed.
    pub attempt: u32,
    /// How long ago the current step began.
    pub step_age: Duration,
    /// The grant that the operation waits for.
    pub pending_grant: Option<PendingGrant>,
}

/// The result of planning an operation.
#[derive(Clone, Copy, Debug)]
pub struct PlannedOperation<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// All warnings of the op occurrence.
    pub warnings: &'a Warnings,
    /// The inventory rows of the objects that the plan creates, none twice.
    pub resources: &'a [Resource],
    /// The grant, if an NFVO grants operations.
    pub granted: Option<&'a GrantedChange>,
}

/// The grant of an NFVO for an operation.
#[derive(Clone, Debug)]
pub struct GrantedChange {
    /// The reference to the grant.
    pub grant: GrantReference,
    /// The instance to store, with the version that the claim returned (checked on write). `None`: do not change it.
    pub instance: Option<VnfInstance>,
    /// The namespace with its project, if the NFVO has chosen the VIM and namespaces belong to projects.
    pub namespace: Option<NamespaceProject>,
}

/// The result of [`LeaseStore::claim`].
#[derive(Debug)]
pub enum Claim {
    /// Operations to work on: at least one.
    Work(Vec<Claimed>),
    /// Nothing is due, or only in VIMs that were excepted; the time until something else will be, if anything waits.
    Idle(Option<Duration>),
}

/// Finished work, written in one transaction: progress of the operation and changes of the inventory.
#[derive(Debug)]
pub struct Checkpoint {
    /// The change of the op occurrence.
    pub update: Update,
    /// Inventory rows to write. Existing rows keep position and state.
    pub rows: Vec<Resource>,
    /// New states of rows, including the rows in `rows`.
    pub states: Vec<(ObjectKey, ResourceState)>,
    /// Rows whose objects are gone.
    pub removed: Vec<ObjectKey>,
    /// The history of the operation.
    pub steps: StepWrites,
}

impl Checkpoint {
    /// A checkpoint that leaves the inventory as it is.
    pub fn of(update: Update) -> Self {
        Self { update, rows: Vec::new(), states: Vec::new(), removed: Vec::new(), steps: StepWrites::default() }
    }
}

/// How an operation leaves a state.
#[derive(Debug)]
pub struct OperationOutcome {
    /// The change of the op occurrence.
    pub update: Update,
    /// The error, if the update replaces the stored error.
    pub error: Option<Problem>,
    /// The instance to store, with the version that the claim returned (checked on write). `None`: do not change it.
    pub instance: Option<VnfInstance>,
    /// What the instance has from now on, for metering; `None`: as before.
    pub metered: Option<Quantities>,
    /// Changes of VNFCs and storages; `None` keeps the stored ones.
    pub resource_changes: Option<ResourceChanges>,
    /// Changes of the instance's attributes; `None` keeps the stored ones.
    pub changed_info: Option<Value>,
    /// Whether to delete all inventory rows of the instance, because an INSTANTIATE was rolled back and all its objects are gone.
    pub discard_inventory: bool,
    /// The end of the last step.
    pub steps: StepWrites,
    /// The time of the outcome.
    pub now: OffsetDateTime,
}

impl OperationOutcome {
    /// An outcome that changes nothing but the op occurrence.
    pub fn of(update: Update, error: Option<Problem>, now: OffsetDateTime) -> Self {
        Self {
            update,
            error,
            instance: None,
            metered: None,
            resource_changes: None,
            changed_info: None,
            discard_inventory: false,
            steps: StepWrites::default(),
            now,
        }
    }
}
