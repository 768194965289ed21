//! Runs one claimed operation from its next step until it enters another state or is postponed.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::blocking::blocking;
use crate::conductor::execution::{Conclusion, Execution};
use crate::conductor::steps::{StepError, Steps};
use crate::conductor::{outcome, unattended};
use crate::domain::evidence::{EVIDENCE, Evidence};
use crate::domain::mask::Mask;
use crate::domain::op_occ::{CancelMode, LcmOperation, OpState};
use crate::domain::plan::{Plan, Step};
use crate::domain::problem::{Panic, Problem, ProblemType, problem};
use crate::domain::progress::{Direction, StepLog};
use crate::domain::resource::{Resource, ResourceState};
use crate::domain::retry;
use crate::domain::secret::Secret;
use crate::domain::transition::{OpEvent, Update, transition};
use crate::domain::vim::VimAccess;
use crate::domain::writer::Writer;
use crate::error::{ApiError, internal};
use crate::infra::{InfraError, InfraErrorKind, PodSnapshot, Scope};
use crate::lcm;
use crate::lcm::access::AccessError;
use crate::lcm::plan::{PlanError, Planner};
use crate::store::{OperationOutcome, PlannedOperation, StoreError};
use crate::traces::TRACES;

/// What a run learned of the cluster before it stopped.
#[derive(Default)]
struct ClusterFindings {
    /// The inventory in the store.
    inventory: Vec<Resource>,
    /// The evidence of the causes of an error; empty if it was not collected.
    evidence: Evidence,
    /// The secrets of the credential of the VIM.
    credential: Vec<Secret>,
}

impl Execution<'_> {
    /// Runs until there is a conclusion. `interrupted` ends waiting: the lease is lost or the process stops.
    pub async fn run(mut self, interrupted: &CancellationToken) -> Conclusion {
        tracing::info!(op.id = %self.op.id, vnf_instance.id = %self.instance.id, operation = self.op.operation.as_str(),
            state = self.op.state.as_str(), steps_done = self.steps_done, attempt = self.attempt, "operation {} claimed", self.op.id);
        if let Some(outcome) = unattended::outcome(&self) {
            return self.end(outcome);
        }
        // A panic leaves the store and the cluster in the same state as a kill, so it is safe to run the steps again.
        let mut findings = ClusterFindings::default();
        match AssertUnwindSafe(self.work(&mut findings, interrupted)).catch_unwind().await {
            Ok(Ok(outcome)) => self.end(outcome),
            Ok(Err(StepError::Store(StoreError::LeaseLost))) => Conclusion::LeaseLost,
            Ok(Err(error)) => self.conclude(error, findings).await,
            // A panic counts as a failed attempt: the next attempt may meet other circumstances.
            Err(panic) => self.conclude(StepError::Retryable(internal(&Panic::of(&*panic))), findings).await,
        }
    }

    /// The conclusion with this outcome, which ends the current step.
    fn end(&mut self, mut outcome: OperationOutcome) -> Conclusion {
        self.log.end(outcome.error.as_ref().map(|error| error.detail.as_str()), outcome.now);
        outcome.steps = self.log.take_unwritten();
        Conclusion::End { outcome: Box::new(outcome), record: self.record() }
    }

    /// The conclusion that another attempt follows; `reason` ends this one.
    fn postpone(&mut self, update: Update, error: Option<Problem>, reason: &str) -> Conclusion {
        self.log.end(Some(reason), self.conductor.clock.now());
        Conclusion::Postpone { update, error, steps: self.log.take_unwritten() }
    }

    async fn work(
        &mut self,
        findings: &mut ClusterFindings,
        interrupted: &CancellationToken,
    ) -> Result<OperationOutcome, StepError> {
        self.load_log().await?;
        findings.inventory = self.conductor.store.resources(self.instance.id).await?;
        self.inventory_was_empty = findings.inventory.is_empty();
        if self.attempt >= retry::MAX_CLAIMS_WITHOUT_PROGRESS {
            return Err(StepError::Permanent(problem!(
                ProblemType::WorkersLost,
                "{attempts} processes stopped working on the operation at the same step: find the cause in the logs, then retry it",
                attempts = self.attempt,
            )));
        }
        // The cancel request arrived while no conductor worked on the operation.
        if self.cancel.pending().is_some() {
            return Err(StepError::Cancelled);
        }
        let mut scope = self.scope().await?;
        findings.credential = scope.as_ref().map(|scope| scope.access.credential.secrets()).unwrap_or_default();
        let done = self.advance(&mut scope, findings, interrupted).await;
        match done {
            Err(StepError::Vim(error)) if error.kind == InfraErrorKind::Unauthorized => {
                Err(self.after_refusal(error, scope.as_ref()).await)
            }
            done => done,
        }
    }

    /// Reads the history that other runs have left. In STARTING there is none.
    async fn load_log(&mut self) -> Result<(), StoreError> {
        if !self.has_log && self.plan.is_some() {
            let stored = self.conductor.store.steps(self.op.id).await?;
            self.log = StepLog::resume(stored, self.conductor.clock.now());
        }
        self.has_log = true;
        Ok(())
    }

    /// What follows from a credential that the VIM refused. One that was replaced since the operation read it is no failed attempt.
    /// Otherwise it may be about to be replaced: it counts as an attempt, like a VIM out of reach.
    async fn after_refusal(&self, error: InfraError, scope: Option<&Scope>) -> StepError {
        match self.access().await {
            Ok(access) if scope.is_some_and(|scope| scope.access != access) => StepError::CredentialReplaced,
            Err(failed @ StepError::Store(_)) => failed,
            _ => error.into(),
        }
    }

    /// Plans the operation, if it has no plan yet, and carries the plan out.
    async fn advance(
        &mut self,
        scope: &mut Option<Scope>,
        findings: &mut ClusterFindings,
        interrupted: &CancellationToken,
    ) -> Result<OperationOutcome, StepError> {
        if self.op.state == OpState::Starting {
            self.start(scope, &mut findings.inventory, interrupted).await?;
        }
        let plan = self.plan.take().unwrap_or_default();
        let outcome = self.carry_out(&plan, scope.as_ref(), findings, interrupted).await;
        // The secrets of the plan must be masked in errors.
        self.plan = Some(plan);
        outcome
    }

    async fn carry_out(
        &mut self,
        plan: &Plan,
        scope: Option<&Scope>,
        findings: &mut ClusterFindings,
        interrupted: &CancellationToken,
    ) -> Result<OperationOutcome, StepError> {
        let mut pods = PodSnapshot::default();
        if let Some(scope) = scope {
            pods = match self.steps(plan, scope, &mut findings.inventory, interrupted).await {
                Ok(pods) => pods,
                Err(error) => {
                    if self.stops_processing(&error) {
                        findings.evidence = self.evidence(scope, &findings.inventory, interrupted).await?;
                    }
                    return Err(error);
                }
            };
        }
        outcome::succeeded(self, scope, plan, &findings.inventory, pods).await
    }

    /// Does the remaining steps. Returns the pods that the last step waited for, if any.
    async fn steps(
        &mut self,
        plan: &Plan,
        scope: &Scope,
        inventory: &mut Vec<Resource>,
        interrupted: &CancellationToken,
    ) -> Result<PodSnapshot, StepError> {
        let backward = self.op.state == OpState::RollingBack;
        let steps = match (backward, &plan.backward) {
            (false, _) => &plan.forward,
            (true, Some(steps)) => steps,
            // `can_roll_back` and the plan contradict each other. ROLLED_BACK without a step would hide it.
            (true, None) => return Err(StepError::Permanent(self.no_rollback_steps())),
        };
        let (conductor, lease, cancel, place) = (self.conductor, self.lease, self.cancel, self.place);
        let stored_intents = std::mem::take(&mut self.stored_intents);
        let keeps_rows = backward && self.op.operation == LcmOperation::Instantiate;
        let mut runner = Steps {
            conductor,
            lease,
            interrupted,
            cancel,
            place,
            keeps_rows,
            scope,
            inventory,
            record: self.record(),
            stored_intents,
            warnings: &mut self.op.warnings,
            since: self.step_since,
            pods: PodSnapshot::default(),
            log: &mut self.log,
            steps,
            direction: if backward { Direction::Backward } else { Direction::Forward },
            plan,
            mask: None,
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
            // The next step starts with attempt 0. The work after the last step shares the attempts of that step, and may run again
            // with it.
            if !is_last {
                self.attempt = 0;
            }
        }
        Ok(runner.pods)
    }

    /// Whether `error` ends PROCESSING. If so, the objects that show the causes all still exist.
    fn stops_processing(&self, error: &StepError) -> bool {
        let stops = || transition(&self.record(), event(error)).is_ok_and(|update| update.changes_state());
        self.op.state == OpState::Processing && matches!(error, StepError::Vim(_) | StepError::Permanent(_)) && stops()
    }

    /// Collects evidence of the causes of an error.
    async fn evidence(
        &self,
        scope: &Scope,
        inventory: &[Resource],
        interrupted: &CancellationToken,
    ) -> Result<Evidence, StepError> {
        tokio::select! {
            biased;
            // The conductor that continues meets the same error and collects the evidence then.
            () = interrupted.cancelled() => Err(StepError::Interrupted),
            evidence = self.conductor.driver.evidence(scope, inventory) => Ok(evidence),
        }
    }

    /// The error of the VIM with its evidence, bounded and without secrets, for callers and logs.
    async fn explain(&self, error: InfraError, findings: ClusterFindings) -> Problem {
        let ClusterFindings { inventory: mut rows, evidence, credential } = findings;
        let problem = Problem::from(error);
        // Terminating pods may still show secrets from before the operation, new pods those of the plan.
        rows.extend(self.plan.iter().flat_map(Plan::rows).cloned());
        // Masking runs on a blocking thread, because the secrets may have megabytes.
        let explained = blocking(move || {
            let credentials = credential.iter().map(Secret::expose);
            Ok(evidence.attach_to(problem, &Mask::with_credentials(&rows, credentials)))
        });
        explained.await.unwrap_or_else(|fault| fault)
    }

    /// STARTING: plans, checks, requests a grant if an NFVO grants operations, and stores the plan. Updates `inventory` to the stored
    /// rows.
    async fn start(
        &mut self,
        scope: &mut Option<Scope>,
        inventory: &mut Vec<Resource>,
        interrupted: &CancellationToken,
    ) -> Result<(), StepError> {
        let conductor = self.conductor;
        let granting = conductor.granting.as_ref().filter(|_| self.op.needs_grant());
        let (plan, mut resources, granted) = match granting {
            None => {
                let (plan, resources) = self.planned(scope.as_ref(), inventory).await?;
                (plan, resources, None)
            }
            Some(granting) => {
                let (plan, resources, granted) = self.granted(granting, scope, inventory, interrupted).await?;
                (plan, resources, Some(granted))
            }
        };
        // The first step follows immediately, so the intents of its objects are stored with the plan. Existing rows keep their state.
        if let Some(Step::Apply { objects }) = plan.forward.first().filter(|_| inventory.is_empty()) {
            let first = resources.iter_mut().filter(|row| objects.contains(&row.key));
            first.for_each(|row| row.state = ResourceState::Intent);
            self.stored_intents.clone_from(objects);
        }
        let update = self.transition(OpEvent::Granted)?;
        self.op.warnings.merge(&plan.warnings);
        let warnings = &self.op.warnings;
        let planned = PlannedOperation { plan: &plan, warnings, resources: &resources, granted: granted.as_ref() };
        let (ttl, now) = (conductor.settings.lease_ttl, conductor.clock.now());
        match conductor.store.store_plan(self.lease, ttl, &update, &planned, now).await {
            // A cancel request is pending; the next claim finds it.
            Err(StoreError::Stale) => return Err(StepError::Interrupted),
            Err(taken @ (StoreError::NamespaceTaken | StoreError::NamespaceReserved)) => {
                return Err(StepError::Permanent(ApiError::from(taken).0));
            }
            stored => stored?,
        }
        self.op.state = update.to;
        self.attempt = 0;
        if let Some(granted) = granted {
            // The write has incremented the version of the instance.
            self.instance.version += i64::from(granted.instance.is_some());
            self.op.grant = Some(granted.grant);
        }
        self.plan = Some(plan);
        // Existing rows keep state and position. Without existing rows, the inventory consists of the planned rows.
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

    /// The location of the VNF. `None` for an operation that needs no cluster, and until the grant names the VIM.
    pub(super) async fn scope(&self) -> Result<Option<Scope>, StepError> {
        let is_open = self.instance.home().is_none() && self.conductor.granting.is_some();
        if is_open || !self.op.needs_cluster() {
            return Ok(None);
        }
        let Some(namespace) = self.instance.metadata.namespace.clone() else { return Ok(None) };
        let started = self.op.start_time.unix_timestamp_nanos() / 1_000_000;
        let writer = Writer { started: started.try_into().unwrap_or(i64::MAX), epoch: self.lease.epoch };
        Ok(Some(Scope {
            access: self.access().await?,
            namespace,
            instance: self.instance.id,
            project: self.instance.project_id.clone(),
            writer: Some(writer),
        }))
    }

    /// The credentials, read anew by each run, so that a rotated credential reaches running operations.
    async fn access(&self) -> Result<VimAccess, StepError> {
        let (store, instance) = (&*self.conductor.store, &self.instance);
        let access =
            lcm::access::access(store, &instance.project_id, instance.home().map(|(_, connection)| connection)).await;
        access.map_err(|error| match error {
            AccessError::Unusable(_) => StepError::Permanent(Problem::unprocessable(error.to_string())),
            AccessError::Refused(problem) => StepError::Permanent(problem),
            AccessError::Store(error) => error.into(),
        })
    }

    /// The conclusion of a run that ended with an error: another attempt later, or another state.
    async fn conclude(&mut self, error: StepError, findings: ClusterFindings) -> Conclusion {
        let Ok(update) = transition(&self.record(), event(&error)) else { return Conclusion::LeaseLost };
        let op = self.op.id;
        let is_waiting = matches!(error, StepError::Waiting { .. });
        // If that fails again, attempts of lost conductors stay as they are. Nor may a panic keep the operation from its conclusion.
        let _ = AssertUnwindSafe(self.load_log()).catch_unwind().await;
        let problem = match error {
            StepError::Store(error) if !update.changes_state() => {
                tracing::error!(op.id = %op, error = &error as &dyn std::error::Error, "operation {op} is postponed: the store failed");
                return self.postpone(update, None, "the database failed: the logs have the cause");
            }
            StepError::GrantPending { pending: Some(pending), .. } => {
                tracing::info!(op.id = %op, "operation {op} waits for the grant at {}", pending.uri);
                return Conclusion::AwaitGrant { update, pending };
            }
            StepError::CredentialReplaced => {
                tracing::info!(op.id = %op, "the credential of the VIM was replaced; operation {op} goes on with the new one");
                return self.postpone(update, None, "the VIM refused the credential, which was replaced meanwhile");
            }
            StepError::GrantPending { pending: None, .. } | StepError::Interrupted => {
                return self.postpone(update, None, "the conductor stopped: another one goes on");
            }
            // The database recorded all attempts, so an error in each of them has its cause in the data, not in the database.
            StepError::Store(error) => internal(&error),
            StepError::Cancelled => self.cancelled(),
            StepError::Vim(error) | StepError::Waiting { error, .. } => self.explain(error, findings).await,
            StepError::Permanent(problem) | StepError::Retryable(problem) => problem,
        };
        if !update.changes_state() {
            tracing::warn!(op.id = %op, attempt = self.attempt, "operation {op} is postponed: {}", problem.detail);
            if is_waiting {
                self.log.wait(&problem.detail);
                return Conclusion::Postpone { update, error: Some(problem), steps: self.log.take_unwritten() };
            }
            let reason = problem.detail.clone();
            return self.postpone(update, Some(problem), &reason);
        }
        // The evidence of the error before the rollback stays visible when the rollback stops, too.
        let is_rolling_back = self.op.state == OpState::RollingBack;
        let evidence = self.op.error.as_ref().filter(|_| is_rolling_back).and_then(|error| error.extra.get(EVIDENCE));
        let problem = match evidence {
            Some(evidence) => problem.with(EVIDENCE, evidence.clone()),
            None => problem,
        };
        tracing::warn!(op.id = %op, state = update.to.as_str(), "operation {op} stopped: {}", problem.detail);
        let is_undone = update.to == OpState::RolledBack && self.inventory_was_empty;
        self.end(OperationOutcome {
            // An inventory that an earlier instantiation left needs the namespace and the connection: both stay.
            instance: is_undone.then(|| outcome::undone(&self.op, &self.instance)).flatten(),
            ..OperationOutcome::of(update, Some(problem), self.conductor.clock.now())
        })
    }

    fn no_rollback_steps(&self) -> Problem {
        problem!(
            ProblemType::Internal,
            "the plan of this {operation} has no rollback steps: retry the operation or fail it",
            operation = self.op.operation.as_str(),
        )
    }

    /// Why a cancelled operation stopped.
    fn cancelled(&self) -> Problem {
        let mode = self.cancel.pending().unwrap_or(CancelMode::Graceful).as_str();
        let progress = match (self.op.state, self.steps_done) {
            (OpState::Starting, _) => "before anything was created".to_owned(),
            (OpState::RollingBack, 0) => "before its first rollback step was done".to_owned(),
            (OpState::RollingBack, done) => format!("after rollback step {done}"),
            (_, 0) => "before its first step was done".to_owned(),
            (_, done) => format!("after step {done} of its plan"),
        };
        let attempt = self.op.error.as_ref().filter(|_| self.attempt > 0);
        let attempt = attempt.map_or_else(String::new, |error| format!("; before that: {}", error.detail));
        Problem::new(ProblemType::Cancelled, format!("cancelled by request ({mode}) {progress}{attempt}"))
            .with("cancelMode", mode)
    }
}

/// The event that an error is for the operation.
fn event(error: &StepError) -> OpEvent {
    match error {
        StepError::Vim(error)
            if matches!(
                error.kind,
                InfraErrorKind::Transient
                    | InfraErrorKind::Waiting
                    | InfraErrorKind::Gone
                    | InfraErrorKind::Unauthorized
            ) =>
        {
            OpEvent::AttemptFailed
        }
        StepError::Retryable(_) => OpEvent::AttemptFailed,
        StepError::Waiting { retry_after, .. } => OpEvent::Waiting(*retry_after),
        StepError::Vim(_) | StepError::Permanent(_) => OpEvent::Stopped,
        StepError::Store(_) => OpEvent::StoreFailed,
        StepError::Interrupted | StepError::CredentialReplaced => OpEvent::Interrupted,
        StepError::Cancelled => OpEvent::Cancelled,
        StepError::GrantPending { retry_after, .. } => OpEvent::GrantPending(*retry_after),
    }
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
