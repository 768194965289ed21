//! Takes notifications from the outbox and sends them to their subscribers.
//!
//! Every process does, whatever its role: it is the one that changed the state that knows of the notification at once. The
//! lease of a subscription makes it one process at a time that sends to it. [`Notifier::run`] sleeps until the store wakes
//! it or something falls due, takes one subscription after the other and sends to each in a task of its own: one that does
//! not answer keeps nobody else waiting.
//!
//! Notifications go out in waves: of each VNF instance the first that waits, all at once, and the next wave when what became
//! of this one is recorded. So the order per VNF instance holds, and a process that is killed leaves at most one
//! notification per VNF instance that was taken but not recorded: it is sent again, under the same id. What fails is sent
//! again later, for a [`DAY`]; what the subscriber refuses is parked until the operator wants it sent again.

pub mod callback;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::subscription::{Notification as Domain, Subscription};
use crate::metrics::NotificationMetrics;
use crate::notify::callback::{Authorization, Callbacks, Reply};
use crate::sol003::notification::Notification;
use crate::store::{ClaimedSubscription, OutboxClaim, OutboxLease, OutboxStore, Sent, StoreError};

/// Sends notifications. See the module's documentation.
pub struct Notifier {
    store: Arc<dyn OutboxStore>,
    callbacks: Arc<Callbacks>,
    /// Who holds its leases: unique among the running processes.
    owner: String,
    /// A lease that is not renewed for so long is up for others.
    lease_ttl: Duration,
    metrics: NotificationMetrics,
}

/// Notifications that go to one subscriber at once.
const WAVE: usize = 64;
/// Subscribers that are sent to at once.
const SUBSCRIBERS: usize = 256;
/// What fails is sent again for so long.
pub const DAY: Duration = Duration::from_hours(24);
/// The longest pause before what failed is sent again.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Without a wake-up, the store is asked again after this long: another process may have been killed that had something to
/// send.
const RESCAN: Duration = Duration::from_secs(10);
/// When the process stops, what was sent has so long to be answered: whatever is not, is sent again by the next one.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing more is sent to a subscription for now.
enum Pause {
    /// There is nothing more, or the process stops.
    Done,
    /// Something failed, for that reason. The number of failures in a row.
    Failed(u32, String),
}

impl Notifier {
    /// A notifier that is not running yet.
    pub fn new(
        store: Arc<dyn OutboxStore>,
        callbacks: Arc<Callbacks>,
        owner: String,
        lease_ttl: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { store, callbacks, owner, lease_ttl, metrics: NotificationMetrics::default() })
    }

    /// What it counts.
    pub fn metrics(&self) -> NotificationMetrics {
        self.metrics.clone()
    }

    /// Works until `stop`; then what was sent is waited for a moment, recorded as far as it is answered, and given up.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(SUBSCRIBERS));
        let wake = self.store.outbox();
        while !stop.is_cancelled() {
            let slot = tokio::select! {
                () = stop.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            // Registered before looking, so that a wake-up between looking and sleeping is not lost.
            let woken = wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let pause = match self.store.claim_subscription(&self.owner, self.lease_ttl).await {
                Ok(OutboxClaim::Work(addressee)) => {
                    let (notifier, stop) = (Arc::clone(&self), stop.clone());
                    tasks.spawn(async move {
                        notifier.serve(*addressee, &stop).await;
                        drop(slot);
                    });
                    continue;
                }
                Ok(OutboxClaim::Idle(due)) => due.map_or(RESCAN, |due| due.min(RESCAN)),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the outbox can't be read");
                    STORE_PAUSE
                }
            };
            drop(slot);
            tokio::select! {
                () = stop.cancelled() => {}
                () = woken => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Sends what there is for one subscription, until there is nothing more or something fails.
    async fn serve(&self, addressee: ClaimedSubscription, stop: &CancellationToken) {
        let ClaimedSubscription { lease, subscription, attempt } = addressee;
        let id = subscription.id;
        let done = match self.waves(&lease, &subscription, attempt, stop).await {
            Ok(Pause::Done) => self.store.release_subscription(lease).await,
            Ok(Pause::Failed(attempt, reason)) => {
                tracing::warn!(subscription.id = %id, attempt, "notifications to subscription {id} are put off: {reason}");
                self.store.put_off_subscription(lease, back_off(attempt), attempt, &reason, DAY).await
            }
            Err(error) => Err(error),
        };
        // The lease runs out then, and whoever takes it next goes on.
        if let Err(error) = done {
            let error = &error as &dyn std::error::Error;
            tracing::error!(subscription.id = %id, error, "what became of notifications to subscription {id} was not recorded");
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

    /// Sends these at once. Gives back what became of them, and why the last one failed that did.
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
                    Some((one, Reply::Taken)) => sent.delivered.push(one.position),
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
            Err(error) => Reply::Refused(format!("it can't be written: {error}")),
        };
        self.metrics.sent(reply.as_str(), begun.elapsed());
        reply
    }
}

/// The pause after so many failures in a row: a second, doubled up to [`LONGEST_DELAY`].
fn back_off(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.saturating_sub(1).min(6)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_minute() {
        let seconds: Vec<u64> = (1..9).map(|attempt| back_off(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off(u32::MAX).as_secs(), 60);
    }
}
