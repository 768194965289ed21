//! Does one step of a plan and records it.
//!
//! The runner sends the requests for the objects of a step concurrently. The row of an object says `Intent` before a request that
//! may create the object, and `Present` or `Planned` after the response. So the conductor that continues after a crash knows which
//! objects may exist.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::conductor::Conductor;
use crate::conductor::cancel::Cancel;
use crate::conductor::waves::{Answers, Fence};
use crate::domain::change;
use crate::domain::grant::PendingGrant;
use crate::domain::mask::Mask;
use crate::domain::order::is_known_a_moment_later;
use crate::domain::plan::{Plan, ReplicaChange, Step};
use crate::domain::problem::Problem;
use crate::domain::progress::{Direction, StepLog};
use crate::domain::replicas::with_vnf_state;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::retry;
use crate::domain::transition::{OpEvent, OpRecord, transition};
use crate::domain::warning::Warnings;
use crate::infra::{
    AppliedObject, InfraError, InfraErrorKind, ObjectKind, PodSnapshot, ReadinessTimeouts, Removal, Scope,
};
use crate::places::WorkPlace;
use crate::store::{Checkpoint, Lease, StoreError};

/// Why a step is not done.
#[derive(Debug)]
pub enum StepError {
    /// An error of the VIM. Its text may contain secrets.
    Vim(InfraError),
    /// The step needs something in the VIM that is not ready yet. The text may contain secrets.
    Waiting {
        /// What is missing.
        error: InfraError,
        /// A conductor tries the step again after this delay.
        retry_after: Duration,
    },
    /// Another attempt may succeed.
    Retryable(Problem),
    /// Another attempt fails too, unless somebody changes something.
    Permanent(Problem),
    /// The store failed, or the lease is lost.
    Store(StoreError),
    /// The lease is lost or the process stops: another conductor continues with the same step.
    Interrupted,
    /// A cancel request takes effect.
    Cancelled,
    /// The VIM refused the credential, which has been replaced meanwhile: the operation goes on with the new one.
    CredentialReplaced,
    /// The NFVO has not decided on the grant yet.
    GrantPending {
        /// A conductor polls the grant again after this delay.
        retry_after: Duration,
        /// Where the NFVO will publish the grant; `None` if the store has it already.
        pending: Option<PendingGrant>,
    },
}

impl From<InfraError> for StepError {
    fn from(error: InfraError) -> Self {
        Self::Vim(error)
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// How [`Steps::apply`] applies rows.
#[derive(Clone, Copy, Default)]
struct Application {
    /// Whether each row is written to the inventory once its object is applied.
    are_new: bool,
    /// Whether to set the replicas of workloads that somebody else scales, too.
    sets_replicas: bool,
}

/// Runs the steps of one operation over its inventory.
pub struct Steps<'a> {
    /// The conductor that works on the operation.
    pub conductor: &'a Conductor,
    /// The right to write.
    pub lease: &'a Lease,
    /// Interrupts requests to the cluster. Calls of the store always run to their end.
    pub interrupted: &'a CancellationToken,
    /// The cancel request, as soon as there is one.
    pub cancel: &'a Cancel,
    /// The place of the operation.
    pub place: &'a WorkPlace,
    /// The operation as the store has it.
    pub record: OpRecord,
    /// Whether the rows of removed objects stay. They do in the rollback of an INSTANTIATE, because the plan brought the rows and a
    /// retry may create the objects again.
    pub keeps_rows: bool,
    /// Where the objects are.
    pub scope: &'a Scope,
    /// The inventory, as the store has it.
    pub inventory: &'a mut Vec<Resource>,
    /// The objects of the first step, if their intents were just stored with the plan: no request was sent yet, and the lease is
    /// fresh.
    pub stored_intents: Vec<ObjectKey>,
    /// When the current step began, in whichever process.
    pub since: Instant,
    /// The pods that the last step waited for; empty after a step that may have changed pods.
    pub pods: PodSnapshot,
    /// The warnings of the op occurrence.
    pub warnings: &'a mut Warnings,
    /// The history of the operation.
    pub log: &'a mut StepLog,
    /// All steps of the current direction.
    pub steps: &'a [Step],
    /// The current direction.
    pub direction: Direction,
    /// The plan, whose secrets must be masked.
    pub plan: &'a Plan,
    /// Hides secrets in reasons; `None` until one is to be shown.
    pub mask: Option<Arc<Mask>>,
}

impl Steps<'_> {
    /// As [`Execution::warn`](crate::conductor::execution::Execution::warn).
    ///
    /// # Errors
    /// The store fails, or the lease is lost.
    pub async fn warn(&mut self, text: impl AsRef<str>) -> Result<(), StepError> {
        if self.warnings.add(text) {
            self.conductor.store.record_warnings(self.lease, self.warnings).await?;
        }
        Ok(())
    }

    /// Does step `index` and records it. A step that waits for something that is not ready gives up after the ready timeout, counted
    /// from the beginning of the step.
    ///
    /// # Errors
    /// [`StepError`]. The finished part of the step is recorded; the step does not count as done.
    pub async fn run(&mut self, index: usize, step: &Step, is_last: bool) -> Result<(), StepError> {
        self.begin(index).await?;
        let done = self.perform_announced(index, step, is_last).await;
        let waited = self.since.elapsed();
        let timeout = self.conductor.settings.patience.timeout;
        match done {
            Ok(()) => self.since = Instant::now(),
            Err(StepError::Vim(error)) if error.kind == InfraErrorKind::Waiting => {
                return Err(if waited < timeout {
                    StepError::Waiting { error, retry_after: retry::waiting_delay(waited) }
                } else {
                    let detail = format!("not possible within {} s: {}", timeout.as_secs(), error.detail);
                    StepError::Vim(InfraError { kind: InfraErrorKind::NotReady, detail, ..error })
                });
            }
            other => return other,
        }
        Ok(())
    }

    /// Does step `index` and records it. For the last step it records only changes of objects; the outcome records that the step is
    /// done.
    ///
    /// # Errors
    /// [`StepError`], as [`Steps::run`].
    pub(super) async fn perform(&mut self, index: usize, step: &Step, is_last: bool) -> Result<(), StepError> {
        let conductor = self.conductor;
        self.pods = PodSnapshot::default();
        let done = StepChanges { steps_done: index + 1, ..StepChanges::default() };
        match step {
            Step::Apply { objects } => self.apply(index, self.rows(objects), Application::default()).await,
            Step::Change { rows, sets_replicas } => {
                let how = Application { are_new: true, sets_replicas: *sets_replicas };
                self.apply(index, self.unmade(rows), how).await
            }
            Step::Restore { rows } => self.apply(index, self.unmade(rows), Application::default()).await,
            Step::MarkUncertain { objects } => {
                let there = |row: &Resource| matches!(row.state, ResourceState::Present { .. });
                let rows = self.rows(objects).into_iter().filter(there);
                let states = rows.map(|row| (row.key, ResourceState::Intent)).collect();
                self.record(StepChanges { states, ..done }).await
            }
            Step::DeleteReplaced { rows } => self.clear(index, rows).await,
            Step::SetReplicas { changes } => self.set_replicas(index, changes).await,
            Step::Operate { objects, vnf_state } => {
                let mut rows = self.rows(objects);
                rows.iter_mut().for_each(|row| row.manifest = with_vnf_state(&row.manifest, *vnf_state));
                self.apply(index, rows, Application { are_new: true, sets_replicas: false }).await
            }
            Step::AwaitReady { objects } => {
                let rows = self.rows(objects);
                let timeouts = ReadinessTimeouts { waited: self.since.elapsed(), ..conductor.settings.patience };
                self.pods = self.await_ready(&rows, timeouts).await?;
                if is_last { Ok(()) } else { self.record(done).await }
            }
            Step::DeletePods { pods } => {
                self.renew_lease().await?;
                let timeout = conductor.settings.removal_timeout + time_to_end(None, self.inventory);
                let gone = conductor.driver.delete_pods(self.scope, pods, timeout);
                let gone = self.place.without(self.answers(stream::once(gone))).await?.pop();
                gone.ok_or(StepError::Cancelled)??;
                // The row of a bare pod has the uid of the deleted pod, and a later step creates a new pod.
                let is_gone = |row: &&Resource| matches!(&row.state, ResourceState::Present { uid, .. } if pods.iter().any(|pod| pod.uid == *uid));
                let gone = self.inventory.iter().filter(is_gone);
                let states = gone.map(|row| (row.key.clone(), ResourceState::Planned)).collect();
                self.record(StepChanges { states, ..done }).await
            }
            Step::EndPods { objects, grace_seconds } => {
                self.renew_lease().await?;
                let rows = self.rows(objects);
                let grace = grace_seconds.map(|seconds| Duration::from_secs(seconds.into()));
                let timeout = conductor.settings.removal_timeout + time_to_end(grace, &rows);
                let ended = conductor.driver.end_pods(self.scope, &rows, grace, timeout);
                let ended = self.place.without(self.answers(stream::once(ended))).await?.pop();
                ended.ok_or(StepError::Cancelled)??;
                self.record(done).await
            }
            Step::Remove { objects, grace_seconds, keep_rows } => {
                let then = if *keep_rows || self.keeps_rows { Then::Planned } else { Then::Forgotten };
                self.remove(index, self.rows(objects), *grace_seconds, then).await
            }
        }
    }

    /// Renews the lease before a change of the cluster. So a conductor that was delayed until its lease expired stops here, and a
    /// cancel request whose signal was lost takes effect.
    pub(super) async fn renew_lease(&self) -> Result<(), StepError> {
        let requested = self.conductor.store.renew(self.lease, self.conductor.settings.lease_ttl).await?;
        requested.map_or(Ok(()), |mode| {
            self.cancel.record(mode);
            Err(StepError::Cancelled)
        })
    }

    async fn set_replicas(&mut self, index: usize, changes: &[ReplicaChange]) -> Result<(), StepError> {
        let mut rows = Vec::new();
        for change in changes {
            if let Some(mut row) = self.inventory.iter().find(|row| row.key == change.object).cloned() {
                row.manifest = row.manifest_with_replicas(change.replicas);
                rows.push(row);
            }
        }
        self.apply(index, rows, Application { are_new: true, sets_replicas: true }).await
    }

    /// The rows of `wanted` to apply, with the states of their objects. The inventory keeps the old row of an object until the
    /// object matches the new row.
    fn unmade(&self, wanted: &[Resource]) -> Vec<Resource> {
        let with_state = |row: &Resource| match change::find(self.inventory, &row.key) {
            Some(now) if change::is_unchanged_job(now, row) => None,
            Some(now) => Some(Resource { state: now.state.clone(), ..row.clone() }),
            None => Some(row.clone()),
        };
        wanted.iter().filter_map(with_state).collect()
    }

    /// Applies the objects of `rows`. Objects without a row get one before.
    async fn apply(&mut self, index: usize, mut rows: Vec<Resource>, how: Application) -> Result<(), StepError> {
        self.resolve_kinds(index, &mut rows).await?;
        let Conductor { store, settings, .. } = self.conductor;
        let wanted = rows.len();
        let mut absent = std::mem::take(&mut self.stored_intents);
        let has_stored_intents = !absent.is_empty();
        let (known, added): (Vec<_>, Vec<_>) = rows.iter().partition(|row| self.known(&row.key).is_some());
        let planned = known.into_iter().filter(|row| row.state == ResourceState::Planned);
        absent.extend(planned.filter_map(|row| self.known(&row.key)).cloned());
        let added: Vec<Resource> =
            added.into_iter().map(|row| Resource { state: ResourceState::Intent, ..row.clone() }).collect();
        if absent.is_empty() && added.is_empty() {
            self.renew_lease().await?;
        } else if !has_stored_intents
            && let Some(mode) = store.record_intent(self.lease, settings.lease_ttl, &absent, &added).await?
        {
            // The operation is cancelled: the runner sends no request, and the rows become `Planned` again or are removed.
            self.cancel.record(mode);
        }
        self.inventory.extend(added.iter().cloned());
        let answers = self.ensure(rows, how).await?;
        let (gone, mut answers): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .partition(|(_, answer)| matches!(answer, Some(Err(error)) if error.kind == InfraErrorKind::Gone));
        if !gone.is_empty() {
            // Somebody deleted the objects. They will get new uids, so first remove the recorded uids.
            let keys: Vec<ObjectKey> = gone.iter().filter_map(|(row, _)| self.known(&row.key)).cloned().collect();
            let states = keys.iter().map(|key| (key.clone(), ResourceState::Intent)).collect();
            self.record(StepChanges { steps_done: index, states, ..StepChanges::default() }).await?;
            absent.extend(keys);
            let anew = gone.into_iter().map(|(row, _)| Resource { state: ResourceState::Intent, ..row });
            answers.extend(self.ensure(anew.collect(), how).await?);
        }
        let mut ensured = 0;
        let mut changes = StepChanges { steps_done: index, ..StepChanges::default() };
        let mut errors = Vec::new();
        for (row, result) in answers {
            match result {
                Some(Ok(AppliedObject { uid, owned })) => {
                    // The row may name another version of the API group for the same object.
                    changes.removed.extend(self.known(&row.key).filter(|known| **known != row.key).cloned());
                    let state = ResourceState::Present { uid, owned };
                    changes.states.push((row.key.clone(), state.clone()));
                    changes.rows.extend(how.are_new.then_some(Resource { state, ..row }));
                    ensured += 1;
                }
                // After a transient error the object may or may not exist: the row stays an intent.
                Some(Err(error)) if error.is_transient() => errors.push(error),
                // The API server refused the request, or the request was not sent.
                refused => {
                    match self.known(&row.key) {
                        Some(key) if added.iter().any(|added| added.key == *key) => changes.removed.push(key.clone()),
                        Some(key) if absent.contains(key) => {
                            changes.states.push((key.clone(), ResourceState::Planned));
                        }
                        _ => {}
                    }
                    errors.extend(refused.and_then(Result::err).map(|error| self.refusal(error)));
                }
            }
        }
        if ensured == wanted {
            changes.steps_done = index + 1;
        }
        self.record(changes).await?;
        worst(errors)?;
        if ensured == wanted { Ok(()) } else { Err(StepError::Cancelled) }
    }

    /// Completes the rows of kinds that an `APIService` of the package serves: when the operation was planned, no API server served
    /// them.
    async fn resolve_kinds(&mut self, index: usize, rows: &mut [Resource]) -> Result<(), StepError> {
        let kind = |row: &Resource| (row.key.api_version.clone(), row.key.kind.clone());
        let unknown: BTreeSet<ObjectKind> = rows.iter().filter(|row| !row.info.is_known()).map(kind).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let served = self.conductor.driver.discover(&self.scope.access, &unknown).await?;
        let mut completed = Vec::new();
        for row in rows.iter_mut().filter(|row| !row.info.is_known()) {
            let Some(info) = served.get(&kind(row)) else {
                let ObjectKey { api_version, kind, .. } = &row.key;
                let error = InfraError::waiting(format!("the cluster does not serve {api_version} {kind} yet"));
                return Err(error.quoting("apiVersion", api_version).quoting("kind", kind).into());
            };
            row.info = info.clone();
            completed.extend(
                change::find(self.inventory, &row.key).map(|known| Resource { info: info.clone(), ..known.clone() }),
            );
        }
        self.record(StepChanges { steps_done: index, rows: completed, ..StepChanges::default() }).await
    }

    /// An error of the API server that it may take back in a moment is [`InfraErrorKind::Waiting`].
    fn refusal(&self, error: InfraError) -> InfraError {
        let waits = error.kind == InfraErrorKind::Invalid && is_known_a_moment_later(&error.detail, self.inventory);
        if waits { InfraError { kind: InfraErrorKind::Waiting, ..error } } else { error }
    }

    /// Applies the objects of `rows`. `None`: the request was not sent, or not answered in time.
    async fn ensure(&self, rows: Vec<Resource>, how: Application) -> Result<Answers<AppliedObject>, StepError> {
        let (driver, scopes) = (&*self.conductor.driver, self.scopes());
        let request = |fence: Fence, row: Resource| {
            let scope = scopes.of(fence);
            async move {
                let answer = match how.sets_replicas {
                    true => driver.scale(scope, &row).await,
                    false => driver.ensure(scope, &row).await,
                };
                (row, answer)
            }
            .boxed()
        };
        self.in_waves(rows, request).await
    }

    /// Deletes objects that cannot be updated in place to the rows of `wanted`.
    async fn clear(&mut self, index: usize, wanted: &[Resource]) -> Result<(), StepError> {
        let is_doomed =
            |now: &&Resource| change::find(wanted, &now.key).is_some_and(|row| change::must_be_replaced(now, row));
        let doomed: Vec<Resource> = self.inventory.iter().filter(is_doomed).cloned().collect();
        if doomed.is_empty() {
            return self.record(StepChanges { steps_done: index + 1, ..StepChanges::default() }).await;
        }
        self.remove(index, doomed, None, Then::Become(wanted)).await
    }

    /// Deletes the objects of `rows`; `then` says what happens to the rows.
    async fn remove(
        &mut self,
        index: usize,
        rows: Vec<Resource>,
        grace: Option<u32>,
        then: Then<'_>,
    ) -> Result<(), StepError> {
        let conductor = self.conductor;
        self.renew_lease().await?;
        let grace = grace.map(|seconds| Duration::from_secs(seconds.into()));
        let wanted = rows.len();
        let timeout = conductor.settings.removal_timeout + time_to_end(grace, &rows);
        let scopes = self.scopes();
        let request = |fence: Fence, row: Resource| {
            let scope = scopes.of(fence);
            async move {
                let removal = conductor.driver.remove(scope, &row, grace, timeout).await;
                (row, removal)
            }
            .boxed()
        };
        // Most of the time, it waits until the objects are gone. The calls to the VIM are limited themselves.
        let answers = self.place.without(self.in_waves(rows, request)).await?;
        let (mut removed, mut left) = (0, Vec::new());
        let mut changes = StepChanges { steps_done: index, ..StepChanges::default() };
        let mut errors = Vec::new();
        for (Resource { key, .. }, result) in answers {
            match result {
                None => continue,
                Some(Err(error)) => {
                    errors.push(error);
                    continue;
                }
                Some(Ok(removal)) => {
                    left.extend((removal == Removal::Left).then(|| key.clone()));
                    then.record(key, &mut changes);
                }
            }
            removed += 1;
        }
        if removed == wanted {
            changes.steps_done = index + 1;
        }
        for key in left {
            let namespace = &self.scope.namespace;
            self.warn(format!("{key} is left in the cluster (namespace {namespace}): it is not an object of this VNF instance any more, or objects of others depend on it")).await?;
        }
        self.record(changes).await?;
        worst(errors)?;
        if removed == wanted { Ok(()) } else { Err(StepError::Cancelled) }
    }

    /// The rows of `objects`. An object without a row was removed by an earlier run of the step.
    fn rows(&self, objects: &[ObjectKey]) -> Vec<Resource> {
        objects.iter().filter_map(|key| self.inventory.iter().find(|row| row.key == *key)).cloned().collect()
    }

    /// The key of the object in the inventory.
    fn known(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        change::find(self.inventory, key).map(|row| &row.key)
    }

    /// Writes `changes` and makes them in memory, too.
    async fn record(&mut self, changes: StepChanges) -> Result<(), StepError> {
        let StepChanges { steps_done, rows, states, removed } = changes;
        let update = transition(&self.record, OpEvent::Progressed(steps_done));
        let update = update.map_err(|error| StepError::Permanent(Problem::conflict(error.to_string())))?;
        if steps_done > self.record.steps_done {
            self.note_step_done(self.record.steps_done);
        }
        let checkpoint = Checkpoint { update, rows, states, removed, steps: self.log.take_unwritten() };
        if let Err(error) = self.conductor.store.checkpoint(self.lease, &checkpoint).await {
            self.log.restore(checkpoint.steps);
            return Err(error.into());
        }
        self.record.steps_done = steps_done;
        self.inventory.retain(|row| !checkpoint.removed.contains(&row.key));
        for new in checkpoint.rows {
            match self.inventory.iter_mut().find(|row| row.key == new.key) {
                Some(row) => *row = Resource { state: row.state.clone(), ..new },
                None => self.inventory.push(new),
            }
        }
        for (key, state) in checkpoint.states {
            if let Some(row) = self.inventory.iter_mut().find(|row| row.key == key) {
                row.state = state;
            }
        }
        Ok(())
    }
}

/// What a step changes, in part or as a whole.
#[derive(Default)]
struct StepChanges {
    /// Steps of the current direction that are done then.
    steps_done: usize,
    /// See [`Checkpoint`].
    rows: Vec<Resource>,
    states: Vec<(ObjectKey, ResourceState)>,
    removed: Vec<ObjectKey>,
}

/// What happens to the row of an object that was removed.
#[derive(Clone, Copy)]
enum Then<'a> {
    /// There is none any more.
    Forgotten,
    /// The object is to be made again.
    Planned,
    /// The object is to be made as the one of these says.
    Become(&'a [Resource]),
}

impl Then<'_> {
    fn record(self, key: ObjectKey, changes: &mut StepChanges) {
        match self {
            Self::Forgotten => changes.removed.push(key),
            Self::Planned => changes.states.push((key, ResourceState::Planned)),
            Self::Become(wanted) => {
                let Some(row) = change::find(wanted, &key) else { return };
                changes.states.push((row.key.clone(), ResourceState::Planned));
                changes.rows.push(row.clone());
                changes.removed.extend((row.key != key).then_some(key));
            }
        }
    }
}

/// The time that the pods of `rows` have to terminate: the grace period of the request, or the longest of their manifests. At
/// most a day, since either may be any number and stuck pods must be reported some day.
fn time_to_end(grace: Option<Duration>, rows: &[Resource]) -> Duration {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let own = || Duration::from_secs(rows.iter().map(Resource::termination_grace).max().unwrap_or(0));
    grace.unwrap_or_else(own).min(DAY)
}

/// One error for all, with the texts of the first ten. An error that lasts precedes one that waits, and that a transient one.
fn worst(errors: Vec<InfraError>) -> Result<(), StepError> {
    const SHOWN: usize = 10;
    let more = errors.len().saturating_sub(SHOWN);
    let mut texts: Vec<String> = errors.iter().take(SHOWN).map(ToString::to_string).collect();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    let rank = |error: &InfraError| match error.kind {
        InfraErrorKind::Transient => 2,
        InfraErrorKind::Waiting | InfraErrorKind::Unauthorized => 1,
        _ => 0,
    };
    let Some(worst) = errors.into_iter().min_by_key(rank) else { return Ok(()) };
    Err(InfraError { detail: texts.join("; "), ..worst }.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(grace: &Value) -> Resource {
        let manifest = json!({ "spec": { "template": { "spec": { "terminationGracePeriodSeconds": grace } } } });
        Resource::planned("apps/v1", "Deployment", "web", &manifest)
    }

    #[test]
    fn pods_are_waited_for_as_long_as_they_have_but_no_longer_than_a_day() {
        let waited = |grace: Option<u32>, own: &[Value]| {
            let rows: Vec<Resource> = own.iter().map(deployment).collect();
            time_to_end(grace.map(|seconds| Duration::from_secs(seconds.into())), &rows).as_secs()
        };
        assert_eq!(waited(None, &[json!(60), json!(null)]), 60);
        assert_eq!(waited(None, &[]), 0);
        assert_eq!(waited(Some(0), &[json!(60)]), 0, "they are killed at once");
        assert_eq!(waited(Some(600), &[json!(60)]), 600, "they are not killed before");
        assert_eq!(waited(Some(u32::MAX), &[json!(60)]), 86_400);
        assert_eq!(waited(None, &[json!(u64::MAX)]), 86_400);
    }

    #[test]
    fn of_several_errors_the_one_that_lasts_tells_of_what_kind_they_are() {
        let transient = || InfraError::transient("later");
        let told = |errors| match worst(errors) {
            Err(StepError::Vim(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(worst(Vec::new()).is_ok());
        assert_eq!(told(vec![transient(), transient()]), InfraError::transient("later; later"));
        let mixed = vec![transient(), InfraError::invalid("no")];
        assert_eq!(told(mixed), InfraError::invalid("later; no"));
        let mixed = vec![transient(), InfraError::waiting("not yet")];
        assert_eq!(told(mixed), InfraError::waiting("later; not yet"));
        let many = std::iter::repeat_with(transient).take(12).collect();
        assert_eq!(told(many).to_string(), format!("{}and 2 more", "later; ".repeat(10)));
    }
}
