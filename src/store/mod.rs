//! What is durable: packages, VIMs, VNF instances, inventories, op occurrences with their leases, subscriptions with the
//! outbox of what they are to be told.
//!
//! [`Store`] has a method per use case, each one transaction; no transaction leaves it. The op occurrence rows are the
//! conductor's queue. SQLite and PostgreSQL behave the same; `tests/it/store.rs` runs the same cases on both.
//!
//! Every method is written to be run to its end: callers don't wrap one in a timeout or a `select!`, for what was asked may
//! happen all the same; the database's own timeouts bound them. A future that is dropped leaves no transaction open.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use crate::domain::ids::{ProjectId, SubscriptionId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::instance::VnfInstance;
use crate::domain::namespace::Namespace;
use crate::domain::op_occ::{CancelMode, LcmOperation, OpState, VnfLcmOpOcc};
use crate::domain::package::{Content, DefinitionFile, OperationalState, VnfPackage};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::subscription::{Notification, Subscription, Undelivered};
use crate::domain::vim::{Vim, VimConnection};
use crate::domain::vnfd::Vnfd;
use crate::metrics::StoreMetrics;
use crate::store::attributes::Filter;

pub mod attributes;
pub mod seal;
mod sql;

pub use sql::{Migrated, connect, live_operations, migrate};

/// Why a store method did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such row, or it is another project's.
    #[error("no such row")]
    NotFound,
    /// The row is not in the state, or no longer of the version, that the caller saw.
    #[error("the row changed meanwhile")]
    Stale,
    /// Another row has the same unique value.
    #[error("{0} is taken")]
    Duplicate(&'static str),
    /// The VNF instance has an operation that is not over.
    #[error("operation {0} of this VNF instance is not over")]
    Busy(VnfLcmOpOccId),
    /// Other rows refer to the row.
    #[error("the row is in use")]
    InUse,
    /// The lease ran out and somebody else may hold the operation: write nothing more.
    #[error("the lease is lost")]
    LeaseLost,
    /// A row can't be read back: a defect, or a key that is not the one it was sealed with.
    #[error("{table} {id}: {reason}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret can't be sealed.
    #[error("the secrets can't be stored")]
    Seal(#[source] seal::SealError),
    /// The URL names no database that Gybe can use.
    #[error("the database URL must be sqlite://PATH or postgres://...")]
    Url,
    /// Another process has the SQLite file open.
    #[error("{} is in use by another process: a SQLite database serves one process; several need PostgreSQL", path.display())]
    Held {
        /// The database file.
        path: PathBuf,
    },
    /// The database file or the lock file beside it can't be opened.
    #[error("{} can't be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The schema is not there or is an older release's.
    #[error("the database's schema is not up to date: run `gybe migrate`")]
    NotMigrated,
    /// The database did not answer in time; a write may have taken effect.
    #[error("the database does not answer")]
    Silent,
    /// The database did not answer as it should.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migrating the database failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether the database can't be reached at the moment. A write may have taken effect.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Database(error) => is_outage(error),
            _ => false,
        }
    }

    /// Whether it lies in the database, which may do the same later, and not in what was asked of it.
    pub fn is_passing(&self) -> bool {
        self.is_outage() || matches!(self, Self::Database(sqlx::Error::PoolTimedOut))
    }

    /// What kind of failure it is, for the metrics; `None` if the store did its work by saying no.
    fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Database(sqlx::Error::PoolTimedOut) => Some("no-connection-free"),
            Self::Database(_) | Self::Silent => Some("database"),
            Self::Corrupt { .. } | Self::Seal(_) => Some("unreadable"),
            Self::LeaseLost => Some("lease-lost"),
            _ => None,
        }
    }
}

/// Whether the error is about the way to the database, or about the server on its way out or in, rather than about what was
/// asked of it.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL's class 08 is of connections; 57P01 to 57P03 are said by a server that stops, crashed or starts.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("08") || matches!(code.as_ref(), "57P01" | "57P02" | "57P03")),
        _ => false,
    }
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
}

/// What [`Store::claim`] found.
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
    /// New states of rows.
    pub states: Vec<(ObjectKey, ResourceState)>,
    /// New intents of rows.
    pub manifests: Vec<(ObjectKey, Map<String, Value>)>,
    /// Rows whose objects are gone.
    pub removed: Vec<ObjectKey>,
}

/// How an operation leaves a running state.
#[derive(Debug)]
pub struct Ending {
    /// The state it leaves: must be the current one.
    pub from: OpState,
    /// The state it enters.
    pub to: OpState,
    /// Why, unless it succeeded. `None` keeps the error there is, except in COMPLETED.
    pub error: Option<Problem>,
    /// The instance as it is from now on, of the version that was claimed; `None`: unchanged.
    pub instance: Option<VnfInstance>,
    /// What was changed.
    pub resource_changes: Option<crate::domain::op_occ::ResourceChanges>,
    /// Whether the inventory of the instance is forgotten, all of its objects being gone: an INSTANTIATE was rolled back.
    pub discard_inventory: bool,
    /// When.
    pub now: OffsetDateTime,
}

/// The operations that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many are in each state; those without any are left out.
    pub states: Vec<(OpState, u64)>,
    /// How many are due and held by nobody.
    pub waiting: u64,
    /// How long the one of them that has waited longest could have been worked on.
    pub oldest: Option<Duration>,
}

/// An operation that is not over, for people who look for what it hangs on. It holds no secrets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveOperation {
    /// Its identifier.
    pub id: VnfLcmOpOccId,
    /// Its VNF instance.
    pub vnf_instance_id: VnfInstanceId,
    /// What it does.
    pub operation: LcmOperation,
    /// Where it stands.
    pub state: OpState,
    /// Steps of the current direction that are done.
    pub steps_done: u64,
    /// Steps of the current direction; `None` until it is planned.
    pub steps: Option<usize>,
    /// How often the current step was put off.
    pub attempt: u64,
    /// Not worked on before this.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Why it stopped or was put off last.
    pub error: Option<Problem>,
    /// Who works on it.
    pub lease: Option<LiveLease>,
}

/// A lease that has not run out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveLease {
    /// The conductor, as it calls itself in its log.
    pub owner: String,
    /// How often the operation was claimed.
    pub epoch: i64,
    /// When it runs out unless it is renewed.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// A place in a list, which is ordered by the time at which things began, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// What is there, or was there.
    pub id: Uuid,
}

impl Place {
    /// The place of what is called `id` and began at `time`.
    pub fn of(time: OffsetDateTime, id: Uuid) -> Self {
        Self { at: sql::millis(time), id }
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Of what the list is to have.
    pub filter: &'a Filter,
    /// The place it begins after; `None`: at the beginning.
    pub after: Option<Place>,
    /// The most elements.
    pub limit: usize,
}

/// An instance in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: VnfInstanceId,
    /// Where.
    pub place: Place,
    /// Its present version.
    pub version: i64,
}

/// The package that carries a VNFD, as instance operations need it.
#[derive(Clone, Debug)]
pub struct OnboardedVnfd {
    /// The package.
    pub package_id: VnfPkgId,
    /// Whether it may be used for new instances.
    pub operational_state: OperationalState,
    /// The descriptor.
    pub vnfd: Vnfd,
}

/// Where an INSTANTIATED instance is, and what of it is to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Whereabouts {
    /// The instance.
    pub id: VnfInstanceId,
    /// Its tenant.
    pub project_id: ProjectId,
    /// The `vimConnectionInfo` entry of the VIM it lives in.
    pub home: Option<VimConnection>,
    /// Where its objects are.
    pub namespace: Namespace,
    /// The kinds of its objects that realise VDUs or are volumes.
    pub kinds: BTreeSet<String>,
}

/// What [`Store::create_subscription`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The subscription was added.
    Now,
    /// There is an equal one: with the same edition, callback URI, verbosity and filter.
    Already(SubscriptionId),
}

/// The right to send to a subscription until it runs out. Not `Clone`, as [`Lease`].
#[derive(Debug)]
pub struct OutboxLease {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The fence: each claim counts it up, each write of who sends compares it.
    pub epoch: i64,
}

/// A subscription to send to.
#[derive(Debug)]
pub struct Addressee {
    /// The right to.
    pub lease: OutboxLease,
    /// The subscription.
    pub subscription: Subscription,
    /// How often it was put off since something was delivered.
    pub attempt: u32,
}

/// What [`Store::claim_subscription`] found.
#[derive(Debug)]
pub enum OutboxClaim {
    /// There is something to send.
    Work(Box<Addressee>),
    /// Nothing is due; the time until something will be, if anything waits.
    Idle(Option<Duration>),
}

/// What became of notifications, by their positions.
#[derive(Debug, Default)]
pub struct Sent {
    /// Taken by the subscriber.
    pub delivered: Vec<i64>,
    /// Not taken, with the reason, and not to be sent again by itself.
    pub refused: Vec<(i64, String)>,
}

/// How much there is to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Notifications to be sent.
    pub waiting: u64,
    /// Notifications that are not sent any more unless the operator asks.
    pub parked: u64,
    /// How long the one that has waited longest could have been sent.
    pub oldest: Option<Duration>,
}

/// What [`Store::endings`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// An operation of this instance is over.
    Of(VnfInstanceId),
    /// Any may be, or a VIM was changed: look at all.
    Any,
}

/// The durable state. See the module's documentation.
#[async_trait]
pub trait Store: Send + Sync {
    // --- packages -----------------------------------------------------------------------------------------------

    /// Adds a package without content.
    async fn create_package(&self, package: &VnfPackage) -> Result<(), StoreError>;
    /// One package.
    async fn package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError>;
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
    /// and replaces the user data (the caller has merged them).
    async fn update_package(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        state: Option<OperationalState>,
        user_defined_data: Option<&Map<String, Value>>,
    ) -> Result<(), StoreError>;
    /// Removes a package. `Stale` while it is ENABLED or being onboarded, `InUse` while an instance refers to it.
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
    /// The project's default VIM. `NotFound` if it has none.
    async fn default_vim(&self, project: &ProjectId) -> Result<Vim, StoreError>;
    /// All VIMs of a project, oldest first.
    async fn vims(&self, project: &ProjectId) -> Result<Vec<Vim>, StoreError>;
    /// Replaces all but the id, project and `created_at`. Errors as [`Store::create_vim`].
    async fn update_vim(&self, vim: &Vim) -> Result<(), StoreError>;
    /// Removes a VIM. `InUse` while a VNF instance's `vim_connections` name it in a `vim_id`.
    async fn delete_vim(&self, project: &ProjectId, id: VimId) -> Result<(), StoreError>;

    // --- VNF instances ------------------------------------------------------------------------------------------

    /// Adds an instance. `Stale` if its package is no longer there and ENABLED.
    async fn create_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// One instance.
    async fn instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError>;
    /// The version of one instance: what [`Store::instance`] would give has no older one.
    async fn instance_version(&self, project: &ProjectId, id: VnfInstanceId) -> Result<i64, StoreError>;
    /// A page of a project's instances, oldest first.
    async fn list_instances(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<Listed>, StoreError>;
    /// Those of `ids` that are there, in any order.
    async fn instances(&self, project: &ProjectId, ids: &[VnfInstanceId]) -> Result<Vec<VnfInstance>, StoreError>;
    /// Removes an instance that is NOT_INSTANTIATED. `Stale` if it is instantiated, `InUse` while its inventory has rows,
    /// `Busy` while an operation is not over. Its finished op occurrences stay.
    async fn delete_instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<(), StoreError>;
    /// Where the INSTANTIATED ones of all projects are: of `ids`, or of all there are.
    async fn instantiated(&self, ids: Option<&[VnfInstanceId]>) -> Result<Vec<Whereabouts>, StoreError>;
    /// Replaces `instantiated_vnf_info` by that of `instance`, if the version is still `instance.version` (`Stale` if not),
    /// the instance is INSTANTIATED (`Stale`) and no operation of it is live (`Busy`).
    async fn refresh_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// The inventory of an instance, in the order in which the objects were planned.
    async fn resources(&self, id: VnfInstanceId) -> Result<Vec<Resource>, StoreError>;

    // --- op occurrences: callers --------------------------------------------------------------------------------

    /// Accepts an operation: adds the occurrence and, in the same transaction, replaces the instance by `instance` if
    /// its version is still `instance.version` (`Stale` if not), then wakes the conductors.
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
    /// whose lease ran out). One that can't be read is claimed all the same, so that it is in nobody's way until its lease ends.
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
    /// Marks rows that are `Planned` as `Intent`, before their objects are made; else as [`Store::renew`].
    async fn record_intent(
        &self,
        lease: &Lease,
        ttl: Duration,
        objects: &[ObjectKey],
    ) -> Result<Option<CancelMode>, StoreError>;
    /// Records finished work; with a further step done, `attempt` starts at 0 again. `NotFound`, and nothing is recorded, if
    /// a row that gets a state or an intent is not there. No row may be named twice in `states` or in `manifests`.
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
    async fn end_operation(&self, lease: Lease, ending: &Ending) -> Result<(), StoreError>;

    // --- subscriptions ------------------------------------------------------------------------------------------
    //
    // Each change of an instance or an op occurrence puts a notification into the outbox for each subscription that it
    // matches, in its transaction.

    /// Adds a subscription, unless there is an equal one.
    async fn create_subscription(&self, subscription: &Subscription) -> Result<Subscribed, StoreError>;
    /// One subscription.
    async fn subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<Subscription, StoreError>;
    /// All subscriptions of a project, oldest first.
    async fn subscriptions(&self, project: &ProjectId) -> Result<Vec<Subscription>, StoreError>;
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
    /// What is to be sent next, at most `limit`: one per VNF instance, the first that waits.
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
    async fn outbox_depth(&self) -> Result<Outbox, StoreError>;
    /// How much there is to do, from the index of what is not over.
    async fn queue(&self) -> Result<Queue, StoreError>;
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
    /// on. One that lags behind must look at all instances, as after [`Ended::Any`]. Another process's may be missed if that
    /// process is killed.
    fn endings(&self) -> broadcast::Receiver<Ended>;
    /// One round trip to the database: whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
