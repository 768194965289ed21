//! Writes the history of an operation while its steps run: [`Steps`] keeps a [`StepLog`](crate::domain::progress::StepLog).
//!
//! The end of an attempt is written with the record that the conductor makes anyway. Only an attempt that lasts is written before:
//! once it has lasted for [`FIRST_REPORT`], and while the driver reports why objects are not ready, what has changed, at most once
//! per [`INTERVAL`]. Reasons are masked as evidence is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::blocking::blocking;
use crate::conductor::steps::{StepError, Steps};
use crate::domain::change;
use crate::domain::mask::Mask;
use crate::domain::plan::Step;
use crate::domain::progress::{MAX_OBJECTS, ObjectReadiness, ObjectState, StepObject};
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::secret::Secret;
use crate::infra::{PodSnapshot, ReadinessTimeouts};
use crate::store::StoreError;

/// An attempt that ends before this is written once.
const FIRST_REPORT: Duration = Duration::from_millis(500);
/// The least time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

impl Steps<'_> {
    /// Notes that step `index` begins, unless the record before has done so. Writes what other runs have left to write.
    pub(super) async fn begin(&mut self, index: usize) -> Result<(), StepError> {
        let conductor = self.conductor;
        if !self.log.is_running(self.direction, index) {
            self.log.begin(self.direction, index, self.steps, &conductor.settings.owner, conductor.clock.now());
        }
        if self.log.has_unwritten() { self.write_log().await } else { Ok(()) }
    }

    /// Does step `index`, and writes meanwhile that it runs if it lasts.
    pub(super) async fn perform_announced(
        &mut self,
        index: usize,
        step: &Step,
        is_last: bool,
    ) -> Result<(), StepError> {
        let (store, lease) = (&*self.conductor.store, self.lease);
        let current = self.log.current().cloned();
        let is_writing = AtomicBool::new(false);
        let announced = async {
            tokio::time::sleep(FIRST_REPORT).await;
            is_writing.store(true, Ordering::Relaxed);
            let Some(attempt) = &current else { return };
            if let Err(error) = store.announce_step(lease, attempt).await {
                let op = lease.op;
                tracing::warn!(op.id = %op, error = &error as &dyn std::error::Error, "the step of operation {op} that runs is not written");
            }
        };
        let mut announced = std::pin::pin!(announced);
        let mut performed = std::pin::pin!(self.perform(index, step, is_last));
        tokio::select! {
            biased;
            done = &mut performed => {
                // A call of the store runs to its end.
                if is_writing.load(Ordering::Relaxed) {
                    announced.await;
                }
                done
            }
            () = &mut announced => performed.await,
        }
    }

    async fn write_log(&mut self) -> Result<(), StepError> {
        let writes = self.log.take_unwritten();
        let written = self.conductor.store.record_steps(self.lease, &writes).await;
        if written.is_err() {
            self.log.restore(writes);
        }
        Ok(written?)
    }

    /// Notes that step `index` is done and that the next one begins.
    pub(super) fn note_step_done(&mut self, index: usize) {
        let Some(step) = self.steps.get(index) else { return };
        // The wait has noted its objects.
        if !matches!(step, Step::AwaitReady { .. }) {
            let objects = self.done_objects(step);
            self.log.note_done(objects);
        }
        let (conductor, now) = (self.conductor, self.conductor.clock.now());
        self.log.end(None, now);
        self.log.begin(self.direction, index + 1, self.steps, &conductor.settings.owner, now);
    }

    /// The first objects of a step that is done.
    fn done_objects(&self, step: &Step) -> Vec<StepObject> {
        let state = match step {
            Step::Remove { .. } => ObjectState::Removed,
            // Which of their objects they change depends on the cluster and the inventory.
            Step::MarkUncertain { .. } | Step::DeleteReplaced { .. } => return Vec::new(),
            _ => ObjectState::Applied,
        };
        step.objects().take(MAX_OBJECTS).map(|key| self.object(key, state)).collect()
    }

    fn object(&self, key: &ObjectKey, state: ObjectState) -> StepObject {
        let is_namespaced = change::find(self.inventory, key).is_none_or(|row| row.info.namespaced);
        StepObject {
            key: key.clone(),
            namespace: is_namespaced.then(|| self.scope.namespace.to_string()),
            state,
            pods: None,
            reason: None,
            since: self.conductor.clock.now(),
        }
    }

    /// Waits until the objects of `rows` are ready, without a place, and writes why they are not.
    pub(super) async fn await_ready(
        &mut self,
        rows: &[Resource],
        timeouts: ReadinessTimeouts,
    ) -> Result<PodSnapshot, StepError> {
        let (conductor, scope, place) = (self.conductor, self.scope, self.place);
        let (interrupted, cancel) = (self.interrupted, self.cancel);
        let (sink, mut reports) = watch::channel(Vec::new());
        let ready = async {
            tokio::select! {
                biased;
                () = interrupted.cancelled() => Err(StepError::Interrupted),
                () = cancel.requested() => Err(StepError::Cancelled),
                ready = conductor.driver.await_ready_reporting(scope, rows, timeouts, &sink) => Ok(ready?),
            }
        };
        let mut ready = std::pin::pin!(place.without(ready));
        let mut next = Instant::now() + FIRST_REPORT;
        let ready = loop {
            tokio::select! {
                biased;
                ready = &mut ready => break ready,
                () = due(&mut reports, next) => {}
            }
            let report = reports.borrow_and_update().clone();
            let objects = self.observed(rows, report).await;
            if self.log.report(objects) {
                self.write_report().await?;
            }
            next = Instant::now() + INTERVAL;
        };
        let last = reports.borrow().clone();
        // A driver that reports nothing tells of success only.
        if ready.is_ok() || !last.is_empty() {
            let objects = self.observed(rows, last).await;
            self.log.note_objects(objects);
        }
        ready
    }

    /// Writes the log. A report that is not written comes with the next one, unless the lease is lost.
    async fn write_report(&mut self) -> Result<(), StepError> {
        match self.write_log().await {
            Err(StepError::Store(error)) if !matches!(error, StoreError::LeaseLost) => {
                let op = self.lease.op;
                tracing::warn!(op.id = %op, error = &error as &dyn std::error::Error, "why operation {op} waits is not written");
                Ok(())
            }
            written => written,
        }
    }

    /// The objects of `rows` as the driver sees them. Those without a report are ready as soon as they exist.
    async fn observed(&mut self, rows: &[Resource], report: Vec<ObjectReadiness>) -> Vec<StepObject> {
        let mask = match report.iter().any(|seen| seen.reason.is_some()) {
            true => self.mask().await,
            false => None,
        };
        let mut left = MAX_OBJECTS;
        let mut seen: HashMap<ObjectKey, ObjectReadiness> =
            report.into_iter().map(|seen| (seen.key.clone(), seen)).collect();
        let object = |row: &Resource| {
            let object = StepObject {
                key: row.key.clone(),
                namespace: row.info.namespaced.then(|| self.scope.namespace.to_string()),
                state: ObjectState::Ready,
                pods: None,
                reason: None,
                since: self.conductor.clock.now(),
            };
            let Some(seen) = seen.remove(&row.key) else { return object };
            let state = if seen.is_ready { ObjectState::Ready } else { ObjectState::Pending };
            // Masking takes time, and no more reasons are stored.
            let reason =
                seen.reason.filter(|_| left > 0).zip(mask.as_deref()).map(|(reason, mask)| mask.apply(&reason));
            left -= usize::from(reason.is_some());
            StepObject { state, pods: seen.pods, reason, ..object }
        };
        rows.iter().map(object).collect()
    }

    /// The mask of the secrets of the operation, made when the first reason needs it. `None` if it can't be made: then no reason is
    /// shown.
    async fn mask(&mut self) -> Option<Arc<Mask>> {
        if self.mask.is_none() {
            let rows: Vec<Resource> = self.inventory.iter().chain(self.plan.rows()).cloned().collect();
            let secrets = self.scope.access.credential.secrets();
            let made = blocking(move || Ok(Mask::with_credentials(&rows, secrets.iter().map(Secret::expose)))).await;
            self.mask = made.ok().map(Arc::new);
        }
        self.mask.clone()
    }
}

/// Returns when there is a new report, and not before `next`.
async fn due(reports: &mut watch::Receiver<Vec<ObjectReadiness>>, next: Instant) {
    if reports.changed().await.is_err() {
        // The driver reports nothing more.
        std::future::pending::<()>().await;
    }
    sleep_until(next).await;
}
