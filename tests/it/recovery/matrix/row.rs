//! A prepared row of the matrix: the state before the operation, its points, and the expected result.

use std::collections::BTreeMap;
use std::sync::Arc;

use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::op_occ::OpState;
use gybe::domain::problem::Problem;

use super::environment::{Environment, Snapshot, VisibleState};
use super::faults::{FAULTS, FAULTS_WHILE_DECIDING, Task, UNATTENDED, is_possible};
use super::operations::{Operation, Phase, START, STOP};
use super::package::Package;
use super::run::{OperationRun, RunResult, run_to_end};
use crate::support::fake_nfvo::{FakeNfvo, GrantTiming};
use crate::support::faults::{CallPoint, CallTarget, Fault};
use crate::support::model::Effects;

/// A prepared operation, with its result without faults.
pub struct MatrixRow {
    pub operation: &'static Operation,
    pub package: Arc<Package>,
    pub prepared: Snapshot,
    /// The point at which the operation stopped before the tested phase.
    pub stop: Option<usize>,
    pub points: Vec<CallPoint>,
    /// The final state of the operation without faults.
    pub outcome: OpState,
    pub effects: BTreeMap<String, Effects>,
    /// The state before the operation.
    pub before: VisibleState,
    /// The state after COMPLETED.
    pub completed: VisibleState,
    /// How often a conductor waited for a delay or a lease.
    pub waited: usize,
}

impl MatrixRow {
    pub async fn new(operation: &'static Operation, package: &Arc<Package>, granted: Option<GrantTiming>) -> Self {
        let mut environment = Environment::on_sqlite(package).await;
        environment.nfvo = granted.map(FakeNfvo::new);
        run_to_end(&mut environment, operation.before).await;
        let before = environment.view().await;
        let mut prepared = environment.prepared(None).await;

        let mut environment = Environment::copy_of(&prepared).await;
        let op = environment.accept(operation.request).await;
        let mut run = OperationRun::new(&mut environment, op, BTreeMap::new(), &[]).wait_ended().await;
        let mut effects = environment.cluster.take_effects();
        let completed = environment.view().await;
        assert_eq!(run.state, OpState::Completed, "{}", operation.name);

        let cluster: Vec<usize> = points_of_cluster(&run.passed);
        let stop = match operation.phase {
            Phase::Forward => None,
            Phase::Rollback | Phase::Unattended => cluster.last().copied(),
            Phase::Retry => Some(cluster[cluster.len() / 2]),
        };
        if stop.is_some() {
            let mut environment = Environment::copy_of(&prepared).await;
            let op = operation.stop(&mut environment, stop).await;
            prepared = environment.prepared(op).await;
            let mut environment = Environment::copy_of(&prepared).await;
            let op = operation.begin(&mut environment, op).await;
            run = OperationRun::new(&mut environment, op, BTreeMap::new(), &[]).wait_ended().await;
            effects = environment.cluster.take_effects();
        }
        let end = run.passed.iter().rposition(|point| point.call == "end_operation").unwrap();
        run.passed.truncate(end + 1);
        let (points, outcome, waited, package) = (run.passed, run.state, run.waited, Arc::clone(package));
        Self { operation, package, prepared, stop, points, outcome, effects, before, completed, waited }
    }

    /// The state while the VNF is started, for an operation that stops or starts it.
    pub fn started(&self) -> Option<&VisibleState> {
        match self.operation.request {
            STOP => Some(&self.before),
            START => Some(&self.completed),
            _ => None,
        }
    }

    /// Whether the point belongs to STARTING: no object has been created yet.
    pub fn is_starting(&self, point: usize) -> bool {
        let is_planned = |point: &CallPoint| point.call == "store_plan";
        self.points.iter().position(is_planned).is_some_and(|planned| point <= planned)
    }

    /// Whether this fault at this point stops the operation; `None` if it may or may not.
    pub fn stops(&self, point: usize, fault: Fault) -> Option<bool> {
        match fault {
            Fault::Refused | Fault::FailsAlways | Fault::PanicsAlways => Some(true),
            // A cancel request that exists when the inventory is read or a step begins takes effect. During the last
            // step the request may be too late; after the last write it is always too late.
            Fault::Cancelled(_) | Fault::CancelledAndKilled(_) => {
                let checks_cancel = |point: &CallPoint| {
                    ["resources", "store_plan", "renew", "record_intent"].contains(&point.call.as_str())
                };
                let last_check = self.points.iter().rposition(checks_cancel).unwrap();
                if point <= last_check { Some(true) } else { (point + 1 == self.points.len()).then_some(false) }
            }
            _ => Some(false),
        }
    }

    /// Checks the result of the operation after this fault at this point.
    pub fn check_result(
        &self,
        (point, fault, task): (usize, Fault, Task),
        outcome: &RunResult,
        error: Option<&Problem>,
    ) {
        let (stops, starting) = (self.stops(point, fault), self.is_starting(point));
        let stopped = outcome.requested > 0;
        assert!(stops.is_none_or(|stops| stopped == (stops && !starting)), "stopped: {stopped}: {error:?}");
        let expected = match task {
            _ if starting && stops == Some(true) => OpState::RolledBack,
            _ if !stopped => self.outcome,
            Task::Retry => OpState::Completed,
            Task::Rollback => OpState::RolledBack,
            Task::Fail => OpState::Failed,
        };
        assert_eq!(outcome.state, expected, "{error:?}");
        if matches!(fault, Fault::KilledBefore | Fault::KilledAfter | Fault::Stopped | Fault::Twice)
            || fault.is_cancel()
        {
            assert!(outcome.waited <= self.waited, "the operation continues without an extra wait");
        }
        let why = outcome.stops.first().or(error.filter(|_| starting)).map(|problem| problem.urn.as_str());
        if fault.is_cancel() {
            assert_eq!(outcome.cancels.len(), 1);
            assert_eq!(outcome.cancels[0] == OpState::Starting, starting);
            assert!(why.is_none_or(|why| why == "urn:gybe:problem:cancelled"), "{why:?}");
        }
        if matches!(fault, Fault::PanicsAlways | Fault::PanicsAfter) {
            assert_eq!(outcome.waited_for_lease, 0, "a panic does not hold the lease");
            assert!(why.is_none_or(|why| why == "urn:gybe:problem:internal"), "{why:?}");
        }
    }

    pub fn cases(&self) -> Vec<(usize, Fault, Task)> {
        let mut cases = Vec::new();
        let decision = self.points.iter().position(|point| point.call == "end_operation").unwrap();
        for (index, point) in self.points.iter().enumerate() {
            for (fault, task) in FAULTS {
                let possible = task != Task::Rollback || self.operation.can_roll_back();
                let is_requested = task == Task::Retry || !self.is_starting(index);
                let deciding = index <= decision && FAULTS_WHILE_DECIDING.contains(&fault);
                let tested = self.operation.phase != Phase::Unattended || deciding;
                if possible && is_requested && tested && is_possible(fault, task, point) {
                    cases.push((index, fault, task));
                }
            }
        }
        cases
    }
}

impl Operation {
    pub fn can_roll_back(&self) -> bool {
        ["instantiate", "scale", "scale_to_level", "operate", "change_vnfpkg", "update"].contains(&self.request.0)
    }

    /// Stops the operation at `point`, if there is one.
    pub async fn stop(&self, environment: &mut Environment, point: Option<usize>) -> Option<VnfLcmOpOccId> {
        let plan = BTreeMap::from([(point?, Fault::Refused)]);
        environment.unattended = (self.phase == Phase::Unattended).then_some(UNATTENDED);
        let op = environment.accept(self.request).await;
        let stopped = OperationRun::new(environment, op, plan, &[]).wait_ended().await;
        assert_eq!(stopped.state, OpState::FailedTemp, "{}", self.name);
        Some(op)
    }

    /// Starts the tested phase; `stopped` is the operation that was stopped before.
    pub async fn begin(&self, environment: &mut Environment, stopped: Option<VnfLcmOpOccId>) -> VnfLcmOpOccId {
        let Some(op) = stopped else { return environment.accept(self.request).await };
        if self.phase == Phase::Unattended {
            environment.expire_leases_and_delays().await;
            environment.is_overdue = true;
            return op;
        }
        environment.task(&environment.op_occ(op).await, self.task()).await;
        op
    }

    /// The task that starts the tested phase, and continues the operation after a stop.
    pub fn task(&self) -> Task {
        if self.phase == Phase::Rollback { Task::Rollback } else { Task::Retry }
    }
}

pub fn points_of_cluster(points: &[CallPoint]) -> Vec<usize> {
    points.iter().enumerate().filter(|(_, point)| point.side == CallTarget::Cluster).map(|(index, _)| index).collect()
}
