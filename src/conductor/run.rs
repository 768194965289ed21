//! One claimed operation, from where its record says it stands to the next state, or to being put off.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::blocking::blocking;
use crate::conductor::cancel::Cancel;
use crate::conductor::steps::{StepError, Steps};
use crate::conductor::{Conductor, outcome, unattended};
use crate::domain::evidence::{EVIDENCE, Evidence};
use crate::domain::grant::PendingGrant;
use crate::domain::instance::VnfInstance;
use crate::domain::mask::{Mask, is_secret};
use crate::domain::op_occ::{CancelMode, LcmOperation, OpEvent, OpState, VnfLcmOpOcc};
use crate::domain::plan::{Plan, Step};
use crate::domain::problem::{Panic, Problem, ProblemType};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::vim::VimAccess;
use crate::error::internal;
use crate::infra::{InfraError, InfraErrorKind, PodSnapshot, Scope};
use crate::lcm;
use crate::lcm::access::AccessError;
use crate::lcm::plan::{PlanError, Planner};
use crate::store::{Lease, OperationOutcome, StoreError};
use crate::traces::TRACES;

/// A claimed operation at work.
pub struct Task<'a> {
    /// The conductor that claimed it.
    pub conductor: &'a Conductor,
    /// The right to work on it.
    pub lease: &'a Lease,
    /// Whether it is to stop.
    pub cancel: &'a Cancel,
    /// The operation.
    pub op: VnfLcmOpOcc,
    /// Its VNF instance.
    pub instance: VnfInstance,
    /// Its plan, once it has one.
    pub plan: Option<Plan>,
    /// Steps of the current direction that are done.
    pub steps_done: usize,
    /// How often the current step was put off.
    pub attempt: u32,
    /// Whether the inventory was empty when the operation was claimed; false until it was read.
    pub was_empty: bool,
    /// What became an intent with the plan, and was not asked for yet.
    pub begun: Vec<ObjectKey>,
    /// The grant that it waits for.
    pub pending_grant: Option<PendingGrant>,
}

/// What becomes of the operation now.
pub enum Verdict {
    /// It enters another state; how often the current step was put off before.
    End(Box<OperationOutcome>, u32),
    /// It is put off, to be claimed again after the delay.
    Postpone(Duration, u32, Option<Problem>),
    /// It waits for a grant, to be looked for after the delay.
    AwaitGrant(Duration, PendingGrant),
    /// It is somebody else's: nothing more is written.
    Lost,
}

/// What was found until an operation could not go on.
#[derive(Default)]
struct Found {
    /// The inventory, as the store has it.
    inventory: Vec<Resource>,
    /// What the cluster shows of the causes, if it was looked at.
    evidence: Evidence,
}

/// A passing error in STARTING is tried so often: about 15 seconds, as the caller still waits for a first sign.
const STARTING_ATTEMPTS: u32 = 6;
/// A passing error in a step is tried so often: about 3 minutes.
const STEP_ATTEMPTS: u32 = 11;
/// After so many claims without a step done, passing errors among them, the operation itself may be what kills its workers:
/// more than any outage or restart needs, and the end of a crash that would go round all processes for ever.
const LOST_WORKERS: u32 = 24;
/// The longest delay before another try.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(30);

impl Task<'_> {
    /// Runs until something is to be concluded. `interrupted` ends waiting: the lease is lost or the process stops.
    pub async fn run(mut self, interrupted: &CancellationToken) -> Verdict {
        tracing::info!(op.id = %self.op.id, vnf_instance.id = %self.instance.id, operation = self.op.operation.as_str(),
            state = self.op.state.as_str(), steps_done = self.steps_done, attempt = self.attempt, "operation {} claimed", self.op.id);
        if let Some(ending) = unattended::ending(&self) {
            return Verdict::End(Box::new(ending), self.attempt);
        }
        // What a panic leaves half done is in the store and in the cluster, as after a kill: the steps are safe to run again.
        let mut found = Found::default();
        match AssertUnwindSafe(self.work(&mut found, interrupted)).catch_unwind().await {
            Ok(Ok(ending)) => Verdict::End(Box::new(ending), self.attempt),
            Ok(Err(StepError::Store(StoreError::LeaseLost))) => Verdict::Lost,
            Ok(Err(error)) => self.stopped(error, found).await,
            // It counts as an attempt: another one may meet other circumstances.
            Err(panic) => self.stopped(StepError::Retryable(internal(&Panic::of(&*panic))), found).await,
        }
    }

    async fn work(
        &mut self,
        found: &mut Found,
        interrupted: &CancellationToken,
    ) -> Result<OperationOutcome, StepError> {
        found.inventory = self.conductor.store.resources(self.instance.id).await?;
        self.was_empty = found.inventory.is_empty();
        if self.attempt >= LOST_WORKERS {
            let text = format!(
                "whoever worked on the operation was lost {} times at the same step: find out why in the logs, then retry it",
                self.attempt
            );
            return Err(StepError::Permanent(Problem::new(ProblemType::WorkersLost, text)));
        }
        // Asked while nobody worked on it.
        if self.cancel.pending().is_some() {
            return Err(StepError::Cancelled);
        }
        let mut scope = self.scope().await?;
        if self.op.state == OpState::Starting {
            self.start(&mut scope, &mut found.inventory, interrupted).await?;
        }
        let plan = self.plan.take().unwrap_or_default();
        let ending = self.carry_out(&plan, scope.as_ref(), found, interrupted).await;
        // Whoever tells of an error has to know what is secret in the plan.
        self.plan = Some(plan);
        ending
    }

    async fn carry_out(
        &mut self,
        plan: &Plan,
        scope: Option<&Scope>,
        found: &mut Found,
        interrupted: &CancellationToken,
    ) -> Result<OperationOutcome, StepError> {
        let mut pods = PodSnapshot::default();
        if let Some(scope) = scope {
            pods = match self.steps(plan, scope, &mut found.inventory, interrupted).await {
                Ok(pods) => pods,
                Err(error) => {
                    if self.ends_processing(&error) {
                        found.evidence = self.evidence(scope, &found.inventory, interrupted).await?;
                    }
                    return Err(error);
                }
            };
        }
        outcome::ending(self, scope, plan, &found.inventory, pods).await
    }

    /// Does the steps that are left. Gives back the pods that the last one has shown, if it did.
    async fn steps(
        &mut self,
        plan: &Plan,
        scope: &Scope,
        inventory: &mut Vec<Resource>,
        interrupted: &CancellationToken,
    ) -> Result<PodSnapshot, StepError> {
        let backward = self.op.state == OpState::RollingBack;
        let steps = if backward { plan.backward.as_deref().unwrap_or_default() } else { &plan.forward };
        let (conductor, lease, cancel) = (self.conductor, self.lease, self.cancel);
        let begun = std::mem::take(&mut self.begun);
        let keeps_rows = backward && self.op.operation == LcmOperation::Instantiate;
        let mut runner = Steps {
            conductor,
            lease,
            interrupted,
            cancel,
            keeps_rows,
            scope,
            inventory,
            begun,
            pods: PodSnapshot::default(),
        };
        for (index, step) in steps.iter().enumerate().skip(self.steps_done) {
            if cancel.pending().is_some() {
                return Err(StepError::Cancelled);
            }
            let span = tracing::info_span!(target: TRACES, "step", otel.name = step.name(), otel.status_code = Empty,
                step.index = index, step.objects = step.size(), step.backward = backward);
            let is_last = index + 1 == steps.len();
            runner.run(index, step, is_last).instrument(span.clone()).await.inspect_err(|_| {
                span.record("otel.status_code", "ERROR");
            })?;
            self.steps_done = index + 1;
            // The next step has its own attempts. What follows the last one shares them, for that may run again with it.
            if !is_last {
                self.attempt = 0;
            }
        }
        Ok(runner.pods)
    }

    /// Whether the error of a step ends PROCESSING: then nothing has been removed yet of what shows its causes.
    fn ends_processing(&self, error: &StepError) -> bool {
        let lasts = match error {
            StepError::Vim(error) => !self.passes(error),
            StepError::Permanent(_) => true,
            _ => false,
        };
        lasts && self.op.state == OpState::Processing
    }

    /// Whether it is tried again after this error.
    fn passes(&self, error: &InfraError) -> bool {
        matches!(error.kind, InfraErrorKind::Transient | InfraErrorKind::Gone)
            && self.attempt + 1 < attempts(self.op.state)
    }

    /// What the cluster shows of the causes of an error.
    async fn evidence(
        &self,
        scope: &Scope,
        inventory: &[Resource],
        interrupted: &CancellationToken,
    ) -> Result<Evidence, StepError> {
        tokio::select! {
            biased;
            // Whoever goes on meets the same error, and looks then.
            () = interrupted.cancelled() => Err(StepError::Interrupted),
            evidence = self.conductor.driver.evidence(scope, inventory) => Ok(evidence),
        }
    }

    /// What the VIM said, and shows, as it may be kept, logged and told: bounded, and without secrets.
    async fn told(&self, error: InfraError, found: Found) -> Problem {
        let Found { inventory, evidence } = found;
        let problem = Problem::from(error);
        // Pods that are going may still tell of what was a secret before, others of what is to be one.
        let rows = inventory.iter().chain(self.plan.iter().flat_map(Plan::rows));
        let secrets: Vec<Resource> = rows.filter(|row| is_secret(row)).cloned().collect();
        // There may be megabytes of them.
        let told = blocking(move || Ok(evidence.explain(problem, &Mask::of(&secrets))));
        told.await.unwrap_or_else(|fault| fault)
    }

    /// STARTING: plans, checks, has it granted if somebody is to, and stores the plan. `inventory` becomes what it is from
    /// now on.
    async fn start(
        &mut self,
        scope: &mut Option<Scope>,
        inventory: &mut Vec<Resource>,
        interrupted: &CancellationToken,
    ) -> Result<(), StepError> {
        let conductor = self.conductor;
        let (plan, mut resources, granted) = match &conductor.granting {
            None => {
                let (plan, resources) = self.planned(scope.as_ref(), inventory).await?;
                (plan, resources, None)
            }
            Some(granting) => {
                let (plan, resources, granted) = self.granted(granting, scope, inventory, interrupted).await?;
                (plan, resources, Some(granted))
            }
        };
        // What the first step makes is asked for next: its intents need no write of their own. Not of rows that are there,
        // for they keep their state.
        if let Some(Step::Apply { objects }) = plan.forward.first().filter(|_| inventory.is_empty()) {
            let first = resources.iter_mut().filter(|row| objects.contains(&row.key));
            first.for_each(|row| row.state = ResourceState::Intent);
            self.begun.clone_from(objects);
        }
        let (store, ttl, now) = (&conductor.store, conductor.settings.lease_ttl, conductor.clock.now());
        let stored = match &granted {
            None => store.store_plan(self.lease, ttl, &plan, &resources, now).await,
            Some(granted) => store.store_granted_plan(self.lease, ttl, &plan, &resources, granted, now).await,
        };
        match stored {
            // It was asked to stop; the next claim knows how.
            Err(StoreError::Stale) => return Err(StepError::Interrupted),
            stored => stored?,
        }
        self.op.state = OpState::Processing;
        self.attempt = 0;
        if let Some(granted) = granted {
            // Writing the instance has counted its version up.
            self.instance.version += i64::from(granted.instance.is_some());
            self.op.grant = Some(granted.grant);
        }
        self.plan = Some(plan);
        // Rows that are there keep state and place; without any, the inventory is what was planned.
        match (inventory.is_empty(), resources.is_empty()) {
            (_, true) => {}
            (true, _) => *inventory = resources,
            (false, _) => *inventory = conductor.store.resources(self.instance.id).await?,
        }
        Ok(())
    }

    /// The plan, and the inventory rows to be added or replaced.
    pub(super) async fn planned(
        &self,
        scope: Option<&Scope>,
        inventory: &[Resource],
    ) -> Result<(Plan, Vec<Resource>), StepError> {
        let (store, driver) = (&*self.conductor.store, &*self.conductor.driver);
        let planner = Planner { store, driver, scope, op: &self.op, instance: &self.instance, inventory };
        Ok(planner.plan().await?)
    }

    /// Where the VNF lives; `None` for an operation that does nothing there, and while a grant is to say so.
    pub(super) async fn scope(&self) -> Result<Option<Scope>, StepError> {
        let is_open = self.instance.home().is_none() && self.conductor.granting.is_some();
        if self.op.operation == LcmOperation::ModifyInfo || is_open {
            return Ok(None);
        }
        let Some(namespace) = self.instance.metadata.namespace.clone() else { return Ok(None) };
        Ok(Some(Scope { access: self.access().await?, namespace, instance: self.instance.id }))
    }

    /// The credentials, looked up afresh at each run, so that a rotation reaches running operations.
    async fn access(&self) -> Result<VimAccess, StepError> {
        let (store, instance) = (&*self.conductor.store, &self.instance);
        let access =
            lcm::access::access(store, &instance.project_id, instance.home().map(|(_, connection)| connection)).await;
        access.map_err(|error| match error {
            AccessError::Unusable(_) => StepError::Permanent(Problem::unprocessable(error.to_string())),
            AccessError::Store(error) => error.into(),
        })
    }

    /// What an error means: another try later, or the end of this state.
    async fn stopped(&self, error: StepError, found: Found) -> Verdict {
        let (starting, limit) = (self.op.state == OpState::Starting, attempts(self.op.state));
        let problem = match error {
            // An error that outlasts all attempts lies in what is written, not in the database, which took the attempts.
            StepError::Store(error) if self.attempt + 1 < limit => {
                tracing::error!(op.id = %self.op.id, error = &error as &dyn std::error::Error, "operation {} is put off: the store failed", self.op.id);
                return Verdict::Postpone(back_off(self.attempt), self.attempt + 1, self.op.error.clone());
            }
            StepError::Ungranted(delay, Some(pending)) => {
                tracing::info!(op.id = %self.op.id, "operation {} waits for the grant at {}", self.op.id, pending.uri);
                return Verdict::AwaitGrant(delay, pending);
            }
            StepError::Ungranted(delay, None) => return Verdict::Postpone(delay, 0, None),
            StepError::Interrupted => {
                return Verdict::Postpone(Duration::ZERO, self.attempt, self.op.error.clone());
            }
            StepError::Store(error) => internal(&error),
            StepError::Cancelled => self.cancelled(),
            StepError::Vim(error) if self.passes(&error) => return self.put_off(self.told(error, found).await),
            StepError::Vim(error) => self.told(error, found).await,
            StepError::Permanent(problem) => problem,
            StepError::Retryable(problem) if self.attempt + 1 < limit => return self.put_off(problem),
            StepError::Retryable(problem) => problem,
        };
        // What led to rolling back stays in sight when that stops, too.
        let rolling_back = self.op.state == OpState::RollingBack;
        let before = self.op.error.as_ref().filter(|_| rolling_back).and_then(|error| error.extra.get(EVIDENCE));
        let problem = match before {
            Some(evidence) => problem.with(EVIDENCE, evidence.clone()),
            None => problem,
        };
        let event = if starting { OpEvent::Refused } else { OpEvent::Stopped };
        let Ok(to) = self.op.state.on(event) else { return Verdict::Lost };
        tracing::warn!(op.id = %self.op.id, state = to.as_str(), "operation {} stopped: {}", self.op.id, problem.detail);
        let ending = OperationOutcome {
            // What an earlier instantiation left is found by the namespace and the connection: with leftovers, they stay.
            instance: (starting && self.was_empty).then(|| outcome::undone(&self.op, &self.instance)).flatten(),
            ..OperationOutcome::bare(self.op.state, to, Some(problem), self.conductor.clock.now())
        };
        Verdict::End(Box::new(ending), self.attempt)
    }

    fn put_off(&self, problem: Problem) -> Verdict {
        tracing::warn!(op.id = %self.op.id, attempt = self.attempt, "operation {} is put off: {}", self.op.id, problem.detail);
        Verdict::Postpone(back_off(self.attempt), self.attempt + 1, Some(problem))
    }

    /// Why a cancelled operation stopped.
    fn cancelled(&self) -> Problem {
        let mode = self.cancel.pending().unwrap_or(CancelMode::Graceful).as_str();
        let progress = match (self.op.state, self.steps_done) {
            (OpState::Starting, _) => "before anything was made".to_owned(),
            (OpState::RollingBack, 0) => "before its first step on the way back was done".to_owned(),
            (OpState::RollingBack, done) => format!("after step {done} on the way back"),
            (_, 0) => "before its first step was done".to_owned(),
            (_, done) => format!("after step {done} of its plan"),
        };
        let attempt = self.op.error.as_ref().filter(|_| self.attempt > 0);
        let attempt = attempt.map_or_else(String::new, |error| format!("; before that: {}", error.detail));
        Problem::new(ProblemType::Cancelled, format!("cancelled by request ({mode}) {progress}{attempt}"))
            .with("cancelMode", mode)
    }
}

/// How often something is tried in that state.
pub(super) const fn attempts(state: OpState) -> u32 {
    if matches!(state, OpState::Starting) { STARTING_ATTEMPTS } else { STEP_ATTEMPTS }
}

/// The delay before try `attempt + 1`: half a second, doubled up to half a minute.
pub(super) fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(500 << attempt.min(6)).min(LONGEST_DELAY)
}

impl From<PlanError> for StepError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Refused(problem) => Self::Permanent(problem),
            PlanError::Infra(error) => error.into(),
            PlanError::Store(error) => error.into(),
        }
    }
}
