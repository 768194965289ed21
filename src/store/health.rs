//! The state of the store: figures for metrics, health checks and `gybe debug`.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;

use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId};
use crate::domain::op_occ::{LcmOperation, OpState};
use crate::domain::problem::Problem;
use crate::domain::vim::VimStatus;
use crate::metrics::StoreMetrics;
use crate::store::StoreError;

/// The state of the store itself, for health checks and metrics.
#[async_trait]
pub trait HealthStore: Send + Sync {
    /// Figures of the unfinished operations.
    async fn queue(&self) -> Result<QueueStats, StoreError>;
    /// Figures of the outbox.
    async fn outbox_depth(&self) -> Result<OutboxStats, StoreError>;
    /// Figures of the site. Reads a row for each VNF instance and each VIM, so callers keep the answer for a while.
    async fn site(&self) -> Result<SiteStats, StoreError>;
    /// The counters of failures of this store.
    fn metrics(&self) -> StoreMetrics;
    /// Makes one round trip to the database.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Figures of the unfinished operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// The number of operations by state, without states that have none.
    pub states: Vec<(OpState, u64)>,
    /// Operations that are due and that no conductor holds.
    pub waiting: u64,
    /// The longest time that one of these has been due.
    pub oldest: Option<Duration>,
}

/// The outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Notifications that wait for delivery, at most 10,000.
    pub waiting: u64,
    /// Notifications that are sent again only if the operator asks, at most 10,000.
    pub parked: u64,
    /// The longest time that the first waiting notification of a subscription has been due.
    pub oldest: Option<Duration>,
}

/// What all projects have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteStats {
    /// VNF instances that are INSTANTIATED.
    pub instantiated: u64,
    /// VNF instances that are NOT_INSTANTIATED.
    pub not_instantiated: u64,
    /// The number of VIMs by status, without statuses that none has.
    pub vims: Vec<(VimStatus, u64)>,
}

/// An unfinished operation, for people who look for the cause of a delay. It holds no secrets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveOperation {
    /// Its identifier.
    pub id: VnfLcmOpOccId,
    /// Its VNF instance.
    pub vnf_instance_id: VnfInstanceId,
    /// The kind of operation.
    pub operation: LcmOperation,
    /// Its state.
    pub state: OpState,
    /// Steps of the current direction that are done.
    pub steps_done: u64,
    /// Steps of the current direction; `None` until it is planned.
    pub steps: Option<usize>,
    /// Attempts at the current step that failed.
    pub attempt: u64,
    /// No conductor works on it before this time.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Why it stopped, or why the last attempt failed.
    pub error: Option<Problem>,
    /// The URI of the grant that it waits for.
    pub awaited_grant: Option<String>,
    /// The lease of the conductor that works on it.
    pub lease: Option<LiveLease>,
}

/// A lease that has not expired.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveLease {
    /// The conductor, under its name in the log.
    pub owner: String,
    /// The number of claims of the operation.
    pub epoch: i64,
    /// When it expires unless it is renewed.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}
