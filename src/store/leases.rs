//! Op occurrences in the store, as conductors use them: leases, and what a conductor writes under one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use crate::domain::grant::PendingGrant;
use crate::domain::ids::VnfLcmOpOccId;
use crate::domain::instance::VnfInstance;
use crate::domain::op_occ::{CancelMode, GrantReference, OpState, ResourceChanges, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::store::StoreError;

/// Op occurrences as conductors work on them.
///
/// Each write fails with `LeaseLost`, and changes nothing, unless the lease is the last one of the operation and has not
/// expired by the clock of the database.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Takes the operations, `most` at most, that have waited longest of those that are running, due, and held by nobody (or
    /// whose lease ran out, which counts as an attempt). One that can't be read is claimed all the same, so that it is in nobody's way until its lease ends.
    async fn claim(&self, owner: &str, ttl: Duration, most: u32) -> Result<Claim, StoreError>;
    /// Makes the lease run for `ttl` from now; tells whether a cancel request is pending.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<CancelMode>, StoreError>;
    /// STARTING → PROCESSING (`Stale` in any other state, and if a cancel request is pending) with the plan and the inventory rows of what it will make, none
    /// twice. Rows that exist keep their state and place and get the new intent; the others come after them. Makes the lease
    /// run for `ttl` from now.
    async fn store_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        plan: &Plan,
        resources: &[Resource],
        now: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// As [`LeaseStore::store_plan`], of an operation that an NFVO has granted.
    async fn store_granted_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        plan: &Plan,
        resources: &[Resource],
        granted: &Granted,
        now: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// Notes that the operation waits for a grant, puts it off for `delay` (not at all if a cancel request is pending) and
    /// gives up the lease. `Stale` unless it is in STARTING.
    async fn await_grant(&self, lease: Lease, delay: Duration, pending: &PendingGrant) -> Result<(), StoreError>;
    /// Marks rows that are `Planned` as `Intent` and adds those of `new`, before their objects are made; else as
    /// [`LeaseStore::renew`].
    async fn record_intent(
        &self,
        lease: &Lease,
        ttl: Duration,
        objects: &[ObjectKey],
        new: &[Resource],
    ) -> Result<Option<CancelMode>, StoreError>;
    /// Records finished work; with a further step done, `attempt` starts at 0 again. `NotFound`, and nothing is recorded, if
    /// a row that gets a state is not there. No row may be named twice in `states` or in `rows`.
    async fn checkpoint(&self, lease: &Lease, checkpoint: &Checkpoint) -> Result<(), StoreError>;
    /// Puts the operation off for `delay` (not at all if a cancel request is pending) and gives up the lease. `attempt` and `error` say why; in ROLLING_BACK the error
    /// that led there stays instead.
    async fn postpone(
        &self,
        lease: Lease,
        delay: Duration,
        attempt: u32,
        error: Option<&Problem>,
    ) -> Result<(), StoreError>;
    /// Ends the running state and gives up the lease: state, instance and notifications in one transaction.
    /// `Stale` if the operation is not in `ending.from`, or the version of the row is not that of `ending.instance`.
    /// A cancel request has taken effect or comes too late: it is cleared.
    async fn end_operation(&self, lease: Lease, ending: &OperationOutcome) -> Result<(), StoreError>;
    /// Fires (`notify_waiters`) when there may be something to claim: register (`Notified::enable`) before looking. It can
    /// fire for nothing, and on PostgreSQL another process's can be missed: look now and then all the same.
    fn wake(&self) -> Arc<Notify>;
    /// Changes when a running operation, of any process, was asked to stop: [`LeaseStore::renew`] tells which. Subscribe before
    /// claiming, so that none is missed; on PostgreSQL another process's can be: the next renewal tells of it all the same.
    fn cancels(&self) -> watch::Receiver<()>;
    /// Returns once a power failure takes nothing of what is committed now: what others are to be told of, who would not
    /// forget it.
    async fn sync(&self) -> Result<(), StoreError>;
}

/// The right to work on one operation until it runs out. Not `Clone`: a conductor's write needs one.
#[derive(Debug)]
pub struct Lease {
    /// The operation.
    pub op: VnfLcmOpOccId,
    /// The fence: each claim counts it up, each write of the conductor compares it.
    pub epoch: i64,
}

/// A claimed operation with all that is needed to go on with it.
#[derive(Debug)]
pub struct Claimed {
    /// The right to work on it.
    pub lease: Lease,
    /// The operation.
    pub op: VnfLcmOpOcc,
    /// Its VNF instance.
    pub instance: VnfInstance,
    /// The stored plan; `None` until it is planned.
    pub plan: Option<Plan>,
    /// Steps of the current direction (backward in ROLLING_BACK, else forward) that are done.
    pub steps_done: usize,
    /// How often the current step was put off because of passing errors.
    pub attempt: u32,
    /// The grant that it waits for.
    pub pending_grant: Option<PendingGrant>,
}

/// What an NFVO has granted to an operation.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The grant.
    pub grant: GrantReference,
    /// The instance as the grant makes it, of the version that was claimed; `None`: unchanged.
    pub instance: Option<VnfInstance>,
}

/// What [`LeaseStore::claim`] found.
#[derive(Debug)]
pub enum Claim {
    /// Operations to work on: at least one.
    Work(Vec<Claimed>),
    /// Nothing is due; the time until something will be, if anything waits.
    Idle(Option<Duration>),
}

/// What a finished step changed in the inventory. Written in one transaction with the step count.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Steps of the current direction done so far.
    pub steps_done: usize,
    /// Rows that say something else from now on, or are new. Those that are there keep place and state.
    pub rows: Vec<Resource>,
    /// New states of rows, those of `rows` among them.
    pub states: Vec<(ObjectKey, ResourceState)>,
    /// Rows whose objects are gone.
    pub removed: Vec<ObjectKey>,
}

/// How an operation leaves a running state.
#[derive(Debug)]
pub struct OperationOutcome {
    /// The state it leaves: must be the current one.
    pub from: OpState,
    /// The state it enters.
    pub to: OpState,
    /// Why, unless it succeeded. `None` keeps the error there is, except in COMPLETED.
    pub error: Option<Problem>,
    /// The instance as it is from now on, of the version that was claimed; `None`: unchanged.
    pub instance: Option<VnfInstance>,
    /// What was changed.
    pub resource_changes: Option<ResourceChanges>,
    /// What became of the instance's own attributes. `None` keeps what there is.
    pub changed_info: Option<Value>,
    /// Whether the inventory of the instance is forgotten, all of its objects being gone: an INSTANTIATE was rolled back.
    pub discard_inventory: bool,
    /// When.
    pub now: OffsetDateTime,
}

impl OperationOutcome {
    /// One that changes nothing but the state of the operation and its error.
    pub fn bare(from: OpState, to: OpState, error: Option<Problem>, now: OffsetDateTime) -> Self {
        Self {
            from,
            to,
            error,
            instance: None,
            resource_changes: None,
            changed_info: None,
            discard_inventory: false,
            now,
        }
    }
}
