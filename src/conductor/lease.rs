//! Keeps the leases of the operations that a conductor holds, those that wait included: one statement renews many of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::time_since_boot;
use crate::conductor::cancel::Cancel;
use crate::domain::ids::VnfLcmOpOccId;
use crate::store::{Lease, LeaseStore, RenewedLease};

/// Renewals in the lifetime of a lease: a few may fail before the lease expires.
const RENEWALS_PER_LEASE: u32 = 6;
/// Leases that one statement renews.
const BATCH: usize = 500;

/// The time without a renewal, by the monotonic clock, after which an operation is interrupted: two thirds of `ttl`. The
/// interrupt drops requests in progress and their connections. Requests that an API server already works on have the remaining
/// third to take effect, before another conductor begins. Kubernetes cannot check the epoch of a lease; this bound is its fence.
fn longest_without_renewal(ttl: Duration) -> Duration {
    ttl * 2 / 3
}

/// A lease, by the operation and the epoch.
type LeaseKey = (VnfLcmOpOccId, i64);

/// The leases of a process.
#[derive(Default)]
pub struct LeaseKeeper {
    held: Mutex<HashMap<LeaseKey, KeptLease>>,
    /// Asks for a renewal now.
    now: Notify,
}

struct KeptLease {
    cancel: Cancel,
    state: watch::Sender<LeaseState>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LeaseState {
    /// Unless it is renewed, the operation must be interrupted at this time.
    HeldUntil(Instant),
    /// Another conductor has the operation, or may have it.
    Lost,
}

/// The lease of one operation, renewed until this is dropped.
pub struct HeldLease<'a> {
    keeper: &'a LeaseKeeper,
    key: LeaseKey,
    state: watch::Receiver<LeaseState>,
}

impl LeaseKeeper {
    /// Renews `lease` from now on and passes a cancel request on to `cancel`. `cancels` are the signals since before the claim.
    pub fn hold(&self, lease: &Lease, ttl: Duration, cancel: &Cancel, cancels: &watch::Receiver<()>) -> HeldLease<'_> {
        let key = (lease.op, lease.epoch);
        let (state, receiver) = watch::channel(LeaseState::HeldUntil(Instant::now() + longest_without_renewal(ttl)));
        self.lock().insert(key, KeptLease { cancel: cancel.clone(), state });
        if cancels.has_changed().unwrap_or(false) {
            self.now.notify_one();
        }
        HeldLease { keeper: self, key, state: receiver }
    }

    /// Renews all leases [`RENEWALS_PER_LEASE`] times per `ttl`, until `done`.
    ///
    /// The store signals that some operation has a cancel request. The signal triggers a renewal, which returns the request.
    pub async fn keep(&self, store: Arc<dyn LeaseStore>, ttl: Duration, done: CancellationToken) {
        let mut cancels = store.cancels();
        let mut begun_at = time_since_boot();
        loop {
            tokio::select! {
                () = done.cancelled() => return,
                Ok(()) = cancels.changed() => {}
                () = self.now.notified() => {}
                () = tokio::time::sleep(ttl / RENEWALS_PER_LEASE) => {}
            }
            // The timers of the runtime stand still while the machine sleeps.
            if time_since_boot().saturating_sub(begun_at) >= longest_without_renewal(ttl) {
                tracing::error!(
                    "the process stood still: its operations are interrupted, their leases may have expired"
                );
                for kept in std::mem::take(&mut *self.lock()).into_values() {
                    kept.state.send_replace(LeaseState::Lost);
                }
            }
            begun_at = time_since_boot();
            let leases: Vec<Lease> = self.lock().keys().map(|(op, epoch)| Lease { op: *op, epoch: *epoch }).collect();
            for batch in leases.chunks(BATCH) {
                let begun = Instant::now();
                match store.renew_all(batch, ttl).await {
                    Ok(renewed) => self.note(batch, &renewed, begun + longest_without_renewal(ttl)),
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "{} leases can't be renewed",
                            batch.len()
                        );
                    }
                }
            }
        }
    }

    /// Notes which leases of `batch` are held until `until`, and with which cancel requests. The others are lost.
    fn note(&self, batch: &[Lease], renewed: &[RenewedLease], until: Instant) {
        let renewed: HashMap<LeaseKey, _> = renewed.iter().map(|it| ((it.op, it.epoch), it.cancel)).collect();
        let held = self.lock();
        for lease in batch {
            let key = (lease.op, lease.epoch);
            // Without an entry, the operation has just ended.
            let Some(kept) = held.get(&key) else { continue };
            let state = match renewed.get(&key) {
                Some(requested) => {
                    requested.iter().for_each(|mode| kept.cancel.record(*mode));
                    LeaseState::HeldUntil(until)
                }
                None => LeaseState::Lost,
            };
            kept.state.send_replace(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseKey, KeptLease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldLease<'_> {
    /// Waits until the operation is `done`. Interrupts it when the lease is lost or was not renewed for
    /// [`longest_without_renewal`].
    ///
    /// Returns whether the lease is still held.
    pub async fn until_done(mut self, interrupted: &CancellationToken, done: &CancellationToken) -> bool {
        let (op, epoch) = self.key;
        loop {
            let state = *self.state.borrow_and_update();
            let LeaseState::HeldUntil(deadline) = state else {
                tracing::warn!(op.id = %op, lease.epoch = epoch, "the lease of operation {op} is lost");
                interrupted.cancel();
                return false;
            };
            tokio::select! {
                () = done.cancelled() => return true,
                // The sender is dropped after this.
                _ = self.state.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    tracing::error!(op.id = %op, "operation {op} is interrupted: its lease may have expired");
                    interrupted.cancel();
                    return false;
                }
            }
        }
    }
}

impl Drop for HeldLease<'_> {
    fn drop(&mut self) {
        self.keeper.lock().remove(&self.key);
    }
}
