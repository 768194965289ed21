//! The outbox: notifications that are not delivered yet. [`crate::notify`] delivers them; operators can list and
//! resend them.
//!
//! The store adds a notification in the transaction that changes the state.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::ids::{ProjectId, SubscriptionId};
use crate::domain::notification::{Notification, Undelivered};
use crate::domain::subscription::Subscription;
use crate::store::StoreError;

#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Lists the notifications to a subscription, in the order of delivery, at most `limit`. Empty if the subscription does
    /// not exist.
    async fn undelivered(
        &self,
        project: &ProjectId,
        id: SubscriptionId,
        limit: usize,
    ) -> Result<Vec<Undelivered>, StoreError>;
    /// Makes parked notifications wait again, and all waiting ones due. Returns how many were parked. `NotFound` if the
    /// subscription does not exist.
    async fn resend(&self, project: &ProjectId, id: SubscriptionId) -> Result<u64, StoreError>;
    /// Claims the subscription whose back-off ended first, among those that have a due notification and whose lease no other process
    /// holds. Those of the projects `except` are left to later.
    async fn claim_subscription(
        &self,
        owner: &str,
        ttl: Duration,
        except: &[ProjectId],
    ) -> Result<OutboxClaim, StoreError>;
    /// Notifications to deliver next, at most `limit`: the first waiting notification of each VNF instance, and of packages.
    async fn next_notifications(&self, lease: &OutboxLease, limit: usize) -> Result<Vec<Notification>, StoreError>;
    /// Extends the lease to `ttl` from now. This and the following three methods fail with `LeaseLost` if the lease ended.
    async fn renew_subscription(&self, lease: &OutboxLease, ttl: Duration) -> Result<(), StoreError>;
    /// Deletes delivered notifications, parks refused ones, and extends the lease to `ttl` from now.
    async fn record_sent(&self, lease: &OutboxLease, ttl: Duration, sent: &Sent) -> Result<(), StoreError>;
    /// Ends the lease.
    async fn release_subscription(&self, lease: OutboxLease) -> Result<(), StoreError>;
    /// Ends the lease and delivers nothing for `delay`. Parks notifications that have been due for longer than `patience`.
    async fn put_off_subscription(
        &self,
        lease: OutboxLease,
        delay: Duration,
        attempt: u32,
        reason: &str,
        patience: Duration,
    ) -> Result<(), StoreError>;
    /// Fires (`notify_waiters`) when this process put a notification into the outbox, and when a resend was requested.
    /// Register before you claim. Other processes deliver what they put there; poll from time to time, because one may have
    /// been killed before that.
    fn outbox(&self) -> Arc<Notify>;
}

/// The lease of a subscription. Its holder alone delivers to it. Not `Clone`, as [`crate::store::Lease`].
#[derive(Debug)]
pub struct OutboxLease {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Fencing token: each claim increments it, each write of the holder compares it.
    pub epoch: i64,
}

/// A subscription with notifications that are due.
#[derive(Debug)]
pub struct ClaimedSubscription {
    /// Its lease.
    pub lease: OutboxLease,
    /// The subscription.
    pub subscription: Subscription,
    /// Failed deliveries since the last one that succeeded.
    pub attempt: u32,
}

/// The result of [`OutboxStore::claim_subscription`].
#[derive(Debug)]
pub enum OutboxClaim {
    /// A subscription was claimed.
    Work(Box<ClaimedSubscription>),
    /// Nothing is due. The time until the next notification is, if any waits.
    Idle(Option<Duration>),
}

/// Results of delivery, by the positions of the notifications.
#[derive(Debug, Default)]
pub struct Sent {
    /// Accepted by the subscriber.
    pub delivered: Vec<i64>,
    /// Refused by the subscriber, with the reason.
    pub refused: Vec<(i64, String)>,
}
