//! The state of the store: figures for metrics, health checks and `gybe debug`.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;

use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId};
use crate::domain::op_occ::{LcmOperation, OpState};
use crate::domain::problem::Problem;
use crate::metrics::StoreMetrics;
use crate::store::StoreError;

/// The state of the store itself, for health checks and metrics.
#[async_trait]
pub trait HealthStore: Send + Sync {
    /// How much there is to do, from the index of what is not over.
    async fn queue(&self) -> Result<QueueStats, StoreError>;
    /// How much there is to send.
    async fn outbox_depth(&self) -> Result<OutboxStats, StoreError>;
    /// The failures of this store, as they are counted.
    fn metrics(&self) -> StoreMetrics;
    /// One round trip to the database: whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;
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
