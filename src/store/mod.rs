//! What is durable: packages, VIMs, VNF instances, inventories, op occurrences with their leases, subscriptions with the
//! outbox of what they are to be told.
//!
//! [`Store`] has a method per use case, each one transaction; no transaction leaves it. The op occurrence rows are the
//! conductor's queue. SQLite and PostgreSQL behave the same; `tests/it/store` runs the same cases on both.
//!
//! Every method is written to be run to its end: callers don't wrap one in a timeout or a `select!`, for what was asked may
//! happen all the same; the database's own timeouts bound them. A future that is dropped leaves no transaction open.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast, watch};

use crate::domain::grant::PendingGrant;
use crate::domain::ids::{ProjectId, SubscriptionId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::instance::VnfInstance;
use crate::domain::interface::Interface;
use crate::domain::op_occ::{CancelMode, OpState, VnfLcmOpOcc};
use crate::domain::package::{Content, DefinitionFile, OperationalState, VnfPackage};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::subscription::{Notification, Subscription, Undelivered};
use crate::domain::vim::Vim;
use crate::metrics::StoreMetrics;

pub mod attributes;
mod error;
mod idempotency;
mod records;
pub mod seal;
mod sql;
mod values;

pub use error::StoreError;
pub use idempotency::{CreateOutcome, IdempotencyKey};
pub use records::*;
pub use sql::{Migrated, connect, live_operations, migrate};

/// The durable state. See the module's documentation.
#[async_trait]
pub trait Store: Send + Sync {
    // --- packages -----------------------------------------------------------------------------------------------

    /// Adds a package without content.
    async fn create_package(&self, package: &VnfPackage) -> Result<(), StoreError>;
    /// One package.
    async fn package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError>;
    /// The onboarded package that has the VNFD of that id. `NotFound` if there is none.
    async fn package_of_vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<VnfPackage, StoreError>;
    /// A page of a project's packages, oldest first.
    async fn packages(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<VnfPackage>, StoreError>;
    /// CREATED or ERROR → UPLOADING. `Stale` in any other state.
    async fn begin_upload(&self, project: &ProjectId, id: VnfPkgId, now: OffsetDateTime) -> Result<(), StoreError>;
    /// UPLOADING → PROCESSING.
    async fn begin_processing(&self, id: VnfPkgId, now: OffsetDateTime) -> Result<(), StoreError>;
    /// PROCESSING → ONBOARDED and ENABLED, with the definition files' texts. `Duplicate` if the project has the VNFD already.
    async fn finish_onboarding(
        &self,
        id: VnfPkgId,
        content: &Content,
        files: &[DefinitionFile],
        now: OffsetDateTime,
    ) -> Result<(), StoreError>;
    /// UPLOADING or PROCESSING → ERROR.
    async fn fail_onboarding(&self, id: VnfPkgId, problem: &Problem, now: OffsetDateTime) -> Result<(), StoreError>;
    /// Every package that has been UPLOADING or PROCESSING since before `before` → ERROR with `problem`: whoever worked on it is gone.
    /// Returns their ids.
    async fn fail_abandoned_onboardings(
        &self,
        before: OffsetDateTime,
        problem: &Problem,
        now: OffsetDateTime,
    ) -> Result<Vec<VnfPkgId>, StoreError>;
    /// Changes the operational state from the other one (`Stale` if it is that already or the package is not onboarded)
    /// and replaces the user data by the second value (`Stale` if it is no longer the first).
    async fn update_package(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        state: Option<OperationalState>,
        user_defined_data: Option<[&Map<String, Value>; 2]>,
    ) -> Result<(), StoreError>;
    /// Removes a package. `Stale` while it is ENABLED or being onboarded, `InUse` while an instance refers to it, or an
    /// operation that is not over.
    async fn delete_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<(), StoreError>;
    /// The onboarded VNFD of that id. `NotFound` if there is none.
    async fn vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<OnboardedVnfd, StoreError>;
    /// All definition files of a package, by path.
    async fn definition_files(&self, id: VnfPkgId) -> Result<Arc<[DefinitionFile]>, StoreError>;

    // --- VIMs ---------------------------------------------------------------------------------------------------

    /// Adds a VIM. `Duplicate("name")`, or `Duplicate("default VIM")` if it would be the second default of the project.
    async fn create_vim(&self, vim: &Vim) -> Result<(), StoreError>;
    /// One VIM.
    async fn vim(&self, project: &ProjectId, id: VimId) -> Result<Vim, StoreError>;
    /// The VIM of that name.
    async fn vim_named(&self, project: &ProjectId, name: &str) -> Result<Vim, StoreError>;
    /// The project's default VIM. `NotFound` if it has none.
    async fn default_vim(&self, project: &ProjectId) -> Result<Vim, StoreError>;
    /// All VIMs of a project, oldest first.
    async fn vims(&self, project: &ProjectId) -> Result<Vec<Vim>, StoreError>;
    /// Replaces all but the id, project and `created_at`, if the VIM was last updated at `seen` (`Stale` if not). Errors as
    /// [`Store::create_vim`].
    async fn update_vim(&self, vim: &Vim, seen: Option<OffsetDateTime>) -> Result<(), StoreError>;
    /// Removes a VIM. `InUse` while a VNF instance's `vim_connections` name it in a `vim_id`.
    async fn delete_vim(&self, project: &ProjectId, id: VimId) -> Result<(), StoreError>;

    // --- VNF instances ------------------------------------------------------------------------------------------

    /// Adds an instance. `Stale` if its package is no longer there and ENABLED.
    async fn create_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// Adds an instance, unless a request with that key has made one that is still there.
    async fn create_instance_once(
        &self,
        instance: &VnfInstance,
        key: &IdempotencyKey,
    ) -> Result<CreateOutcome, StoreError>;
    /// One instance.
    async fn instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError>;
    /// The version of one instance: what [`Store::instance`] would give has no older one.
    async fn instance_version(&self, project: &ProjectId, id: VnfInstanceId) -> Result<i64, StoreError>;
    /// A page of a project's instances, oldest first.
    async fn list_instances(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<Listed>, StoreError>;
    /// Those of `ids` that are there, in any order.
    async fn instances(&self, project: &ProjectId, ids: &[VnfInstanceId]) -> Result<Vec<VnfInstance>, StoreError>;
    /// Removes an instance that is NOT_INSTANTIATED. `OtherVersion` unless it is of one of `versions`, if there are any,
    /// `Stale` if it is instantiated, `InUse` while its inventory has rows, `Busy` while an operation is not over. Its
    /// finished op occurrences stay.
    async fn delete_instance(
        &self,
        project: &ProjectId,
        id: VnfInstanceId,
        versions: Option<&[i64]>,
    ) -> Result<(), StoreError>;
    /// Where the INSTANTIATED ones of all projects are: of `ids`, or of all there are.
    async fn instantiated(&self, ids: Option<&[VnfInstanceId]>) -> Result<Vec<InstanceLocation>, StoreError>;
    /// Replaces `instantiated_vnf_info` by that of `instance`, if the version is still `instance.version` (`Stale` if not),
    /// the instance is INSTANTIATED (`Stale`) and no operation of it is live (`Busy`).
    async fn refresh_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// The inventory of an instance, in the order in which the objects were planned.
    async fn resources(&self, id: VnfInstanceId) -> Result<Vec<Resource>, StoreError>;

    // --- op occurrences: callers --------------------------------------------------------------------------------

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

    // --- op occurrences: conductors -----------------------------------------------------------------------------
    //
    // Each write is `LeaseLost`, and changes nothing, unless the lease is the operation's last and has not run out by the
    // database's clock.

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
    /// As [`Store::store_plan`], of an operation that an NFVO has granted.
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
    /// [`Store::renew`].
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

    // --- subscriptions ------------------------------------------------------------------------------------------
    //
    // Each change of an instance, an op occurrence or an onboarded package puts a notification into the outbox for each subscription that it
    // matches, in its transaction.

    /// Adds a subscription, unless there is an equal one.
    async fn create_subscription(&self, subscription: &Subscription) -> Result<Subscribed, StoreError>;
    /// One subscription.
    async fn subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<Subscription, StoreError>;
    /// A page of a project's subscriptions to changes of that kind, oldest first.
    async fn subscriptions(
        &self,
        project: &ProjectId,
        interface: Interface,
        page: &Page<'_>,
    ) -> Result<Vec<Subscription>, StoreError>;
    /// Removes a subscription and what was to be sent to it.
    async fn delete_subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<(), StoreError>;
    /// What is in the outbox for a subscription, in order, at most `limit`; nothing if there is no such subscription.
    async fn undelivered(
        &self,
        project: &ProjectId,
        id: SubscriptionId,
        limit: usize,
    ) -> Result<Vec<Undelivered>, StoreError>;
    /// Has all that is parked for a subscription sent again, and what waits at once; tells how many were parked.
    async fn resend(&self, project: &ProjectId, id: SubscriptionId) -> Result<u64, StoreError>;

    /// Takes the subscription that was put off longest ago of those that there is something to send to now and that nobody
    /// sends to (or whose lease ran out).
    async fn claim_subscription(&self, owner: &str, ttl: Duration) -> Result<OutboxClaim, StoreError>;
    /// What is to be sent next, at most `limit`: one per VNF instance and one of packages, the first that waits.
    async fn next_notifications(&self, lease: &OutboxLease, limit: usize) -> Result<Vec<Notification>, StoreError>;
    /// Makes the lease run for `ttl` from now. `LeaseLost` if it is lost, as the three below.
    async fn renew_subscription(&self, lease: &OutboxLease, ttl: Duration) -> Result<(), StoreError>;
    /// Forgets what was delivered, parks what was refused, and makes the lease run for `ttl` from now.
    async fn record_sent(&self, lease: &OutboxLease, ttl: Duration, sent: &Sent) -> Result<(), StoreError>;
    /// Gives up the lease.
    async fn release_subscription(&self, lease: OutboxLease) -> Result<(), StoreError>;
    /// Sends nothing more for `delay`, for that reason, and gives up the lease. What could have been sent for longer than
    /// `patience` is parked.
    async fn put_off_subscription(
        &self,
        lease: OutboxLease,
        delay: Duration,
        attempt: u32,
        reason: &str,
        patience: Duration,
    ) -> Result<(), StoreError>;

    // --- operators ----------------------------------------------------------------------------------------------

    /// How much there is to send.
    async fn outbox_depth(&self) -> Result<OutboxStats, StoreError>;
    /// How much there is to do, from the index of what is not over.
    async fn queue(&self) -> Result<QueueStats, StoreError>;
    /// The failures of this store, as they are counted.
    fn metrics(&self) -> StoreMetrics;

    /// Fires (`notify_waiters`) when there may be something to claim: register (`Notified::enable`) before looking. It can
    /// fire for nothing, and on PostgreSQL another process's can be missed: look now and then all the same.
    fn wake(&self) -> Arc<Notify>;
    /// Fires (`notify_waiters`) when there may be something to send that this process put into the outbox, or somebody
    /// subscribed: register before looking. Another process's changes are its own to send; should it be killed, look now
    /// and then.
    fn outbox(&self) -> Arc<Notify>;
    /// Changes when a running operation, of any process, was asked to stop: [`Store::renew`] tells which. Subscribe before
    /// claiming, so that none is missed; on PostgreSQL another process's can be: the next renewal tells of it all the same.
    fn cancels(&self) -> watch::Receiver<()>;
    /// Tells of instances whose operation has come to a final state, in this process or (PostgreSQL) in another, from now
    /// on. One that lags behind must look at all instances, as after [`OperationEnded::Any`]. Another process's may be missed if that
    /// process is killed.
    fn endings(&self) -> broadcast::Receiver<OperationEnded>;
    /// Returns once a power failure takes nothing of what is committed now: what others are to be told of, who would not
    /// forget it.
    async fn sync(&self) -> Result<(), StoreError>;
    /// One round trip to the database: whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
