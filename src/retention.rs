//! Deletes what is kept no longer: op occurrences that have ended, parked notifications, notifications to deleted subscriptions,
//! answers to requests with an `Idempotency-Key`, plans of previews, audit records, metering records, sessions of browsers, events.
//!
//! One process at a time does a pass. A pass works in small batches with pauses, so that requests and operations hardly notice it,
//! and each batch reads an index: its cost does not grow with the database. A pass that is interrupted leaves nothing half done.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::ids::VnfInstanceId;
use crate::store::{ANSWERS_KEPT, PageCursor, Store, StoreError};

/// From one pass to the next.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rows per batch.
const BATCH: usize = 500;
/// After each batch: others get their turn.
const PAUSE: Duration = Duration::from_millis(20);

/// A pass looks again at what ended this long before the one before it: the clocks of processes differ, and a transaction may commit
/// a while after the time it writes.
const OVERLAP: Duration = Duration::from_secs(300);
/// The most requests with an `Idempotency-Key` that are kept.
const REQUESTS_KEPT: usize = 100_000;

/// Events are kept for this time, and no more than this number of them: a client of the stream that was away longer reads its lists again.
const EVENTS_KEPT: Duration = Duration::from_secs(24 * 3600);
const MOST_EVENTS: usize = 100_000;

/// What is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Op occurrences are kept for this time after their end; `None`: as long as their VNF instance.
    pub operations: Option<Duration>,
    /// The most op occurrences that are kept of a VNF instance.
    pub operations_per_instance: usize,
    /// Parked notifications are kept for this time after they were due; `None`: as long as their subscription.
    pub notifications: Option<Duration>,
    /// Audit records are kept for this time.
    pub audit: Duration,
    /// Metering records are kept for this time after their end.
    pub metering: Duration,
}

/// Deletes what the policy does not keep.
pub struct Retention {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    policy: RetentionPolicy,
    /// Instances whose operations ended before this time have no more than the policy keeps. `None`: not known, since an earlier
    /// process may have had another policy.
    trimmed: Option<OffsetDateTime>,
}

impl Retention {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, policy: RetentionPolicy) -> Self {
        Self { store, clock, policy, trimmed: None }
    }

    /// Does passes until `stop`, alternating with other processes on the same database.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut is_sealed = false;
        loop {
            let pass = async {
                if self.store.begin_retention(INTERVAL).await? {
                    // Earlier releases stored clear texts. This one does not, so one look is enough.
                    if !is_sealed {
                        self.batches(&stop, || self.store.seal_clear_manifests(BATCH)).await?;
                        is_sealed = !stop.is_cancelled();
                    }
                    self.pass(&stop).await?;
                }
                Ok::<_, StoreError>(())
            };
            if let Err(error) = pass.await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "deleting what is kept no longer failed; the next attempt follows"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Does one pass, or as much of it as is possible before `stop`.
    ///
    /// # Errors
    /// Those of the store. The next pass continues.
    pub async fn pass(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let (store, now) = (&self.store, self.clock.now());
        self.batches(stop, || store.delete_notifications_of_deleted_subscriptions(BATCH)).await?;
        self.batches(stop, || store.clear_ended_plans(BATCH)).await?;
        self.batches(stop, || store.delete_requests(now - ANSWERS_KEPT, BATCH)).await?;
        self.batches(stop, || store.trim_requests(REQUESTS_KEPT, BATCH)).await?;
        self.batches(stop, || store.delete_plans(now, BATCH)).await?;
        self.batches(stop, || store.delete_sessions(now, BATCH)).await?;
        self.batches(stop, || store.delete_audit_records(now - self.policy.audit, BATCH)).await?;
        self.batches(stop, || store.delete_metering_records(now - self.policy.metering, BATCH)).await?;
        self.batches(stop, || store.delete_events(now - EVENTS_KEPT, MOST_EVENTS, BATCH)).await?;
        if let Some(age) = self.policy.notifications {
            self.batches(stop, || store.delete_parked_notifications(now - age, BATCH)).await?;
        }
        if let Some(age) = self.policy.operations {
            self.batches(stop, || store.delete_ended_operations(now - age, BATCH)).await?;
        }
        match self.trimmed {
            None => self.trim_all(stop).await?,
            Some(since) => self.trim_ended(since, stop).await?,
        }
        if !stop.is_cancelled() {
            self.trimmed = Some(now - OVERLAP);
        }
        Ok(())
    }

    /// Trims the operations of all VNF instances.
    async fn trim_all(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut last = None;
        while !stop.is_cancelled() {
            let instances = self.store.instances_after(last, BATCH).await?;
            for id in &instances {
                self.trim(*id, stop).await?;
            }
            match instances.last() {
                Some(id) => last = Some(*id),
                None => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Trims the operations of the VNF instances of which one has ended since: nothing that is idle costs anything.
    async fn trim_ended(&self, since: OffsetDateTime, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut last = PageCursor::of(since, Uuid::nil());
        let mut trimmed = HashSet::new();
        while !stop.is_cancelled() {
            let ended = self.store.ended_after(last, BATCH).await?;
            for (id, position) in &ended {
                if trimmed.insert(*id) {
                    self.trim(*id, stop).await?;
                }
                last = *position;
            }
            if ended.len() < BATCH {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn trim(&self, id: VnfInstanceId, stop: &CancellationToken) -> Result<(), StoreError> {
        let keep = self.policy.operations_per_instance;
        self.batches(stop, || self.store.trim_operations(id, keep, BATCH)).await
    }

    /// Repeats `batch` until it finds nothing, or until `stop`.
    async fn batches<F>(&self, stop: &CancellationToken, batch: impl Fn() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<usize, StoreError>>,
    {
        while !stop.is_cancelled() && batch().await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
