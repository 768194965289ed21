//! What the methods of [`super::Store`] take and give beside the domain's own types: leases and what is claimed with them,
//! what a conductor writes down, places in lists, what there is to send.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::grant::{GrantReference, PendingGrant};
use crate::domain::ids::{ProjectId, SubscriptionId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::instance::VnfInstance;
use crate::domain::namespace::Namespace;
use crate::domain::op_occ::{LcmOperation, OpState, ResourceChanges, VnfLcmOpOcc};
use crate::domain::package::OperationalState;
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::subscription::Subscription;
use crate::domain::vim::VimConnection;
use crate::domain::vnfd::Vnfd;
use crate::store::attributes::Filter;
use crate::store::sql;

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

/// The operations that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
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
    /// The grant that it waits for: where the NFVO said it would be.
    pub awaited_grant: Option<String>,
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
pub struct PageCursor {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// What is there, or was there.
    pub id: Uuid,
}

impl PageCursor {
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
    pub after: Option<PageCursor>,
    /// The most elements.
    pub limit: usize,
}

/// An instance in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: VnfInstanceId,
    /// Where.
    pub place: PageCursor,
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
pub struct InstanceLocation {
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
    Created,
    /// There is an equal one: with the same API and edition, callback URI, verbosity and filter.
    Existing(SubscriptionId),
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
pub struct ClaimedSubscription {
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
    Work(Box<ClaimedSubscription>),
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
pub struct OutboxStats {
    /// Notifications to be sent.
    pub waiting: u64,
    /// Notifications that are not sent any more unless the operator asks.
    pub parked: u64,
    /// How long the one that has waited longest could have been sent.
    pub oldest: Option<Duration>,
}

/// What [`Store::endings`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationEnded {
    /// An operation of this instance is over.
    One(VnfInstanceId),
    /// Any may be, or a VIM was changed: look at all.
    Any,
}
