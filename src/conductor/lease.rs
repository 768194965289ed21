//! Keeping a lease while its operation runs.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::store::{Lease, Store, StoreError};

/// Renews `lease` until `done`. Interrupts the operation when the lease is lost, or could not be renewed for two thirds
/// of `ttl` by the monotonic clock: every call to a cluster ends within the remaining third, so that no request is under
/// way when the next owner begins. Kubernetes can't check our epoch; this bound is the fence for it.
///
/// Returns whether the lease is still ours.
pub async fn keep(
    store: &dyn Store,
    lease: &Lease,
    ttl: Duration,
    interrupted: &CancellationToken,
    done: &CancellationToken,
) -> bool {
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = done.cancelled() => return true,
            () = tokio::time::sleep(ttl / 6) => {}
        }
        match store.renew(lease, ttl).await {
            Ok(_) => renewed = Instant::now(),
            Err(StoreError::LeaseLost) => {
                tracing::warn!(op.id = %lease.op, lease.epoch = lease.epoch, "the lease of operation {} is lost", lease.op);
                interrupted.cancel();
                return false;
            }
            Err(error) => {
                tracing::warn!(op.id = %lease.op, error = &error as &dyn std::error::Error, "the lease of operation {} can't be renewed", lease.op);
            }
        }
        if renewed.elapsed() > ttl * 2 / 3 {
            tracing::error!(op.id = %lease.op, "operation {} is interrupted: its lease may be over", lease.op);
            interrupted.cancel();
            return false;
        }
    }
}
