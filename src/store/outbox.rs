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
    /// Fires (`notify_waiters`) when there may be something to send that this process put into the outbox, or somebody
    /// subscribed: register before looking. Another process's changes are its own to send; should it be killed, look now
    /// and then.
    fn outbox(&self) -> Arc<Notify>;
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

/// What [`OutboxStore::claim_subscription`] found.
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
