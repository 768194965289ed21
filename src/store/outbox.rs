//! The outbox in the store, as [`crate::notify`] and the operator use it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::subscription::{Notification, Subscription, Undelivered};
use crate::store::StoreError;

/// The outbox: notifications that are not delivered yet.
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Up to `limit` undelivered notifications of a subscription, in order; none if there is no such subscription.
    async fn undelivered(
        &self,
        project: &ProjectId,
        id: SubscriptionId,
        limit: usize,
    ) -> Result<Vec<Undelivered>, StoreError>;
    /// Sends the parked notifications of a subscription again and those that wait at once. Returns how many were parked.
    async fn resend(&self, project: &ProjectId, id: SubscriptionId) -> Result<u64, StoreError>;
    /// Claims the subscription that was postponed longest ago of those that have something due and that nobody holds (or whose
    /// lease has expired).
    async fn claim_subscription(&self, owner: &str, ttl: Duration) -> Result<OutboxClaim, StoreError>;
    /// Up to `limit` notifications to send next: the first that waits of each VNF instance, and the first of packages.
    async fn next_notifications(&self, lease: &OutboxLease, limit: usize) -> Result<Vec<Notification>, StoreError>;
    /// Makes the lease expire `ttl` from now. `LeaseLost` if it is lost, as for the three below.
    async fn renew_subscription(&self, lease: &OutboxLease, ttl: Duration) -> Result<(), StoreError>;
    /// Removes delivered notifications, parks refused ones, and makes the lease expire `ttl` from now.
    async fn record_sent(&self, lease: &OutboxLease, ttl: Duration, sent: &Sent) -> Result<(), StoreError>;
    /// Releases the lease.
    async fn release_subscription(&self, lease: OutboxLease) -> Result<(), StoreError>;
    /// Postpones the subscription by `delay` because of `reason` and releases the lease. Notifications that were due for longer
    /// than `patience` are parked.
    async fn put_off_subscription(
        &self,
        lease: OutboxLease,
        delay: Duration,
        attempt: u32,
        reason: &str,
        patience: Duration,
    ) -> Result<(), StoreError>;
    /// Fires (`notify_waiters`) when this process has put something into the outbox or somebody has subscribed. Register before
    /// looking. Another process sends its changes itself; look from time to time in case it is killed.
    fn outbox(&self) -> Arc<Notify>;
}

/// The right to send to a subscription until it expires. Not `Clone`, like [`Lease`](crate::store::Lease).
#[derive(Debug)]
pub struct OutboxLease {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The fence: each claim increments it, each write of the holder compares it.
    pub epoch: i64,
}

/// A subscription to send to.
#[derive(Debug)]
pub struct ClaimedSubscription {
    /// The right to send to it.
    pub lease: OutboxLease,
    /// The subscription.
    pub subscription: Subscription,
    /// How often it was postponed since the last delivery.
    pub attempt: u32,
}

/// The result of [`OutboxStore::claim_subscription`].
#[derive(Debug)]
pub enum OutboxClaim {
    /// There is something to send.
    Work(Box<ClaimedSubscription>),
    /// Nothing is due; the time until something will be, if anything waits.
    Idle(Option<Duration>),
}

/// The results of a wave of notifications, by their positions.
#[derive(Debug, Default)]
pub struct Sent {
    /// The subscriber took them.
    pub delivered: Vec<i64>,
    /// The subscriber refused them, for that reason: they are not sent again automatically.
    pub refused: Vec<(i64, String)>,
}
