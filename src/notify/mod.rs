//! Delivers the notifications in the outbox to their subscribers.
//!
//! Every process delivers, whatever its role, because the process that changed the state knows of the notification first. The
//! lease of a subscription makes sure that one process at a time delivers to it. [`Notifier::run`] sleeps until the store
//! wakes it or a delivery is due. It claims one subscription after the other and serves each in its own task, so that a
//! subscriber that does not answer delays no other.
//!
//! Notifications are sent in waves: the first that waits of each VNF instance, all at once. The next wave starts when the
//! results of this one are recorded. So the order per VNF instance holds. After a kill, at most one notification per VNF
//! instance was accepted but not recorded: it is sent again with the same identifier. Failed deliveries are retried for a
//! [`DAY`]. Refused notifications are parked until the operator requests them again.

pub mod callback;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::fair_share::Sharer;
use crate::domain::notification::Notification as Domain;
use crate::domain::subscription::Subscription;
use crate::metrics::NotificationMetrics;
use crate::notify::callback::{Authorization, Callbacks, Reply};
use crate::places::Places;
use crate::sol003::notification::Notification;
use crate::store::{ClaimedSubscription, OutboxClaim, OutboxLease, OutboxStore, Sent, StoreError};

/// Delivers notifications. See the module's documentation.
pub struct Notifier {
    store: Arc<dyn OutboxStore>,
    callbacks: Arc<Callbacks>,
    /// Owner of its leases, unique among the running processes.
    owner: String,
    /// Duration of a lease that is not renewed.
    lease_ttl: Duration,
    metrics: NotificationMetrics,
}

/// Concurrent notifications to one subscriber.
const WAVE: usize = 64;
/// Subscriptions that are served concurrently. Projects share them.
const SUBSCRIBERS: usize = 256;
/// How long failed deliveries are retried before they are parked.
pub const DAY: Duration = Duration::from_hours(24);
/// Longest back-off after a failed delivery.
const LONGEST_NOTIFICATION_DELAY: Duration = Duration::from_secs(60);
/// Longest time between two polls of the store: another process may have been killed before it delivered.
const RESCAN: Duration = Duration::from_secs(10);
/// How long a process that stops waits for responses. Notifications without a response are sent again by another process.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Pause after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Why delivery to a subscription ends for now.
enum Pause {
    /// Nothing more is due, or the process stops.
    Done,
    /// A delivery failed: the number of failures in a row, and the reason.
    Failed(u32, String),
}

impl Notifier {
    /// Creates a notifier that is not running yet.
    pub fn new(
        store: Arc<dyn OutboxStore>,
        callbacks: Arc<Callbacks>,
        owner: String,
        lease_ttl: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { store, callbacks, owner, lease_ttl, metrics: NotificationMetrics::default() })
    }

    /// Its metrics.
    pub fn metrics(&self) -> NotificationMetrics {
        self.metrics.clone()
    }

    /// Runs until `stop`. Then waits for responses for [`LAST_ANSWERS`], records them, and ends its leases.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let places = Places::new(SUBSCRIBERS);
        let wake = self.store.outbox();
        while !stop.is_cancelled() {
            let mut reserved = tokio::select! {
                () = stop.cancelled() => break,
                reserved = places.reserve(1) => reserved,
            };
            // Registered before the claim, so that a wake-up between claim and sleep is not lost.
            let (woken, freed) = (wake.notified(), places.freed());
            tokio::pin!(woken);
            woken.as_mut().enable();
            let except = reserved.crowded().projects;
            let pause = match self.store.claim_subscription(&self.owner, self.lease_ttl, &except).await {
                Ok(OutboxClaim::Work(claimed)) => {
                    let (notifier, stop) = (Arc::clone(&self), stop.clone());
                    let place = reserved.assign(&Sharer::of(&claimed.subscription.project_id));
                    tasks.spawn(async move {
                        notifier.serve(*claimed, &stop).await;
                        drop(place);
                    });
                    continue;
                }
                Ok(OutboxClaim::Idle(due)) => due.map_or(RESCAN, |due| due.min(RESCAN)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the outbox cannot be read");
                    STORE_PAUSE
                }
            };
            drop(reserved);
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
                () = freed, if !except.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Delivers to one subscription until nothing more is due or a delivery fails.
    async fn serve(&self, claimed: ClaimedSubscription, stop: &CancellationToken) {
        let ClaimedSubscription { lease, subscription, attempt } = claimed;
        let id = subscription.id;
        let done = match self.waves(&lease, &subscription, attempt, stop).await {
            Ok(Pause::Done) => self.store.release_subscription(lease).await,
            Ok(Pause::Failed(attempt, reason)) => {
                tracing::warn!(subscription.id = %id, attempt, "notifications to subscription {id} are postponed: {reason}");
                self.store.put_off_subscription(lease, back_off(attempt), attempt, &reason, DAY).await
            }
            Err(error) => Err(error),
        };
        // The lease ends by itself, and the next claim continues.
        if let Err(error) = done {
            let error = &error as &dyn std::error::Error;
            tracing::error!(subscription.id = %id, error, "results of notifications to subscription {id} were not recorded");
        }
    }

    async fn waves(
        &self,
        lease: &OutboxLease,
        subscription: &Subscription,
        mut attempt: u32,
        stop: &CancellationToken,
    ) -> Result<Pause, StoreError> {
        while !stop.is_cancelled() {
            let wave = self.store.next_notifications(lease, WAVE).await?;
            if wave.is_empty() {
                break;
            }
            let authorization = match self.callbacks.authorization(subscription).await {
                Ok(authorization) => authorization,
                Err(reason) => return Ok(Pause::Failed(attempt + 1, reason)),
            };
            let (sent, failed) = self.wave(lease, subscription, &authorization, &wave, stop).await?;
            if !sent.delivered.is_empty() {
                attempt = 0;
            }
            if !sent.delivered.is_empty() || !sent.refused.is_empty() {
                self.store.record_sent(lease, self.lease_ttl, &sent).await?;
            }
            if let Some(reason) = failed {
                return Ok(Pause::Failed(attempt + 1, reason));
            }
        }
        Ok(Pause::Done)
    }

    /// Sends the notifications of one wave at once. Returns the results, and the reason of the last failure.
    async fn wave(
        &self,
        lease: &OutboxLease,
        subscription: &Subscription,
        authorization: &Authorization,
        wave: &[Domain],
        stop: &CancellationToken,
    ) -> Result<(Sent, Option<String>), StoreError> {
        let send = |one| async move { (one, self.send(subscription, authorization, one).await) };
        let mut sending: FuturesUnordered<_> = wave.iter().map(send).collect();
        let (mut sent, mut failed) = (Sent::default(), None);
        let mut renewal = interval_at(Instant::now() + self.lease_ttl / 3, self.lease_ttl / 3);
        let mut cut_off = pin!(async {
            stop.cancelled().await;
            sleep(LAST_ANSWERS).await;
        });
        loop {
            tokio::select! {
                reply = sending.next() => match reply {
                    None => break,
                    Some((one, Reply::Accepted)) => sent.delivered.push(one.position),
                    Some((one, Reply::Refused(reason))) => {
                        tracing::warn!(subscription.id = %subscription.id, notification.id = %one.id,
                            "notification {} is parked: {reason}", one.id);
                        sent.refused.push((one.position, reason));
                    }
                    Some((_, Reply::Failed(reason))) => failed = Some(reason),
                },
                _ = renewal.tick() => self.store.renew_subscription(lease, self.lease_ttl).await?,
                () = &mut cut_off => break,
            }
        }
        Ok((sent, failed))
    }

    async fn send(&self, subscription: &Subscription, authorization: &Authorization, one: &Domain) -> Reply {
        let begun = Instant::now();
        let reply = match serde_json::to_string(&Notification::new(one, subscription)) {
            Ok(body) => self.callbacks.notify(subscription, authorization, body).await,
            Err(error) => Reply::Refused(format!("the notification cannot be serialized: {error}")),
        };
        self.metrics.sent(reply.as_str(), begun.elapsed());
        reply
    }
}

/// The back-off after `attempt` failures in a row: one second, doubled up to [`LONGEST_NOTIFICATION_DELAY`].
fn back_off(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.saturating_sub(1).min(6)).min(LONGEST_NOTIFICATION_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_a_minute() {
        let seconds: Vec<u64> = (1..9).map(|attempt| back_off(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off(u32::MAX).as_secs(), 60);
    }
}
