//! Keeps the lease of an operation while a conductor works on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::conductor::cancel::Cancel;
use crate::store::{Lease, LeaseStore, StoreError};

/// Renewals in the lifetime of a lease: a few may fail before the lease expires.
const RENEWALS_PER_LEASE: u32 = 6;

/// The time without a renewal, by the monotonic clock, after which an operation is interrupted: two thirds of `ttl`. The
/// interrupt drops requests in progress and their connections. Requests that an API server already works on have the remaining
/// third to take effect, before another conductor begins. Kubernetes cannot check the epoch of a lease; this bound is its fence.
fn longest_without_renewal(ttl: Duration) -> Duration {
    ttl * 2 / 3
}

/// Renews `lease` [`RENEWALS_PER_LEASE`] times per `ttl` until `done`. Interrupts the operation when the lease is lost or was not
/// renewed for [`longest_without_renewal`].
///
/// Passes a cancel request on to `cancel`. The store signals on `cancels` that some operation has a cancel request. The signal
/// triggers a renewal, which returns the request if it is for this operation.
///
/// Returns whether the lease is still held.
pub async fn renew_until_done(
    store: Arc<dyn LeaseStore>,
    lease: &Lease,
    ttl: Duration,
    mut cancels: watch::Receiver<()>,
    cancel: &Cancel,
    interrupted: &CancellationToken,
    done: &CancellationToken,
) -> bool {
    let mut deadline = Instant::now() + longest_without_renewal(ttl);
    loop {
        tokio::select! {
            () = done.cancelled() => return true,
            Ok(()) = cancels.changed() => {}
            () = tokio::time::sleep(ttl / RENEWALS_PER_LEASE) => {}
        }
        // The renewal has its own task. A database that stops answering may delay it past the deadline, and a call of the store
        // must run to its end.
        let begun = Instant::now();
        let renewal = tokio::spawn({
            let (store, lease) = (Arc::clone(&store), Lease { op: lease.op, epoch: lease.epoch });
            async move { store.renew(&lease, ttl).await }.in_current_span()
        });
        let renewed = match tokio::time::timeout_at(deadline, renewal).await {
            Ok(Ok(Ok(requested))) => {
                requested.into_iter().for_each(|mode| cancel.record(mode));
                true
            }
            Ok(Ok(Err(StoreError::LeaseLost))) => {
                tracing::warn!(op.id = %lease.op, lease.epoch = lease.epoch, "the lease of operation {} is lost", lease.op);
                interrupted.cancel();
                return false;
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!(op.id = %lease.op, error = &error as &dyn std::error::Error, "the lease of operation {} can't be renewed", lease.op);
                false
            }
            Ok(Err(_)) | Err(_) => false,
        };
        if renewed {
            deadline = begun + longest_without_renewal(ttl);
        } else if Instant::now() >= deadline {
            tracing::error!(op.id = %lease.op, "operation {} is interrupted: its lease may have expired", lease.op);
            interrupted.cancel();
            return false;
        }
    }
}
