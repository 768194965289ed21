//! Keeps the lease of an operation while a conductor works on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::conductor::cancel::Cancel;
use crate::store::{Lease, LeaseStore, StoreError};

/// Renews `lease` until `done`. Interrupts the operation when the lease is lost, or when it could not be renewed for two
/// thirds of `ttl` by the monotonic clock. The interrupt drops requests under way and their connections. Requests that an API
/// server is working on already have the remaining third to take effect, before another conductor begins. Kubernetes can't
/// check the epoch of a lease; this bound is its fence.
///
/// Passes a cancel request on to `cancel`. `cancels` is the signal of the store that there are requests: it triggers a
/// renewal, which says whether one is for this operation.
///
/// Returns whether the lease is still held.
pub async fn keep(
    store: Arc<dyn LeaseStore>,
    lease: &Lease,
    ttl: Duration,
    mut cancels: watch::Receiver<()>,
    cancel: &Cancel,
    interrupted: &CancellationToken,
    done: &CancellationToken,
) -> bool {
    let mut deadline = Instant::now() + ttl * 2 / 3;
    loop {
        tokio::select! {
            () = done.cancelled() => return true,
            Ok(()) = cancels.changed() => {}
            () = tokio::time::sleep(ttl / 6) => {}
        }
        // In a task of its own: a database that stops answering may keep it waiting past the deadline, and a call of the
        // store must run to its end.
        let begun = Instant::now();
        let renewal = tokio::spawn({
            let (store, lease) = (Arc::clone(&store), Lease { op: lease.op, epoch: lease.epoch });
            async move { store.renew(&lease, ttl).await }.in_current_span()
        });
        let renewed = match tokio::time::timeout_at(deadline, renewal).await {
            Ok(Ok(Ok(requested))) => {
                requested.into_iter().for_each(|mode| cancel.ask(mode));
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
            deadline = begun + ttl * 2 / 3;
        } else if Instant::now() >= deadline {
            tracing::error!(op.id = %lease.op, "operation {} is interrupted: its lease may have expired", lease.op);
            interrupted.cancel();
            return false;
        }
    }
}
