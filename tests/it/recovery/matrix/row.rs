//! A row of the matrix, prepared: where the operation begins, its points, and the expected outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::op_occ::OpState;
use gybe::domain::problem::Problem;

use super::operations::{Operation, START, STOP, Way};
use super::package::Package;
use super::run::{Outcome, Run, carry_out};
use super::troubles::{Answer, LEFT, TROUBLES, TROUBLES_OF_DECIDING, can_happen};
use super::world::{Prepared, View, World};
use crate::support::faults::{Fault, Point, Side};
use crate::support::model::Effects;
use crate::support::played_nfvo::{PlayedNfvo, Taking};

/// An operation as it is put to the test: where it begins, and what it comes to without a fault.
pub struct Row {
    pub operation: &'static Operation,
    pub package: Arc<Package>,
    pub prepared: Prepared,
    /// The point at which it was stopped before it is put to the test.
    pub stop: Option<usize>,
    pub points: Vec<Point>,
    /// How it ends.
    pub outcome: OpState,
    pub effects: BTreeMap<String, Effects>,
    /// What there was before the operation.
    pub before: View,
    /// What there is when it was COMPLETED.
    pub completed: View,
    /// How often a conductor had to wait for time to pass.
    pub waited: usize,
}

impl Row {
    pub async fn new(operation: &'static Operation, package: &Arc<Package>, granted: Option<Taking>) -> Self {
        let mut world = World::on_sqlite(package).await;
        world.nfvo = granted.map(PlayedNfvo::new);
        carry_out(&mut world, operation.before).await;
        let before = world.view().await;
        let mut prepared = world.prepared(None).await;

        let mut world = World::copy_of(&prepared).await;
        let op = world.accept(operation.request).await;
        let mut run = Run::new(&mut world, op, BTreeMap::new(), &[]).settle().await;
        let mut effects = world.cluster.take_effects();
        let completed = world.view().await;
        assert_eq!(run.state, OpState::Completed, "{}", operation.name);

        let cluster: Vec<usize> = points_of_cluster(&run.passed);
        let stop = match operation.way {
            Way::Forward => None,
            Way::Back | Way::Left => cluster.last().copied(),
            Way::Again => Some(cluster[cluster.len() / 2]),
        };
        if stop.is_some() {
            let mut world = World::copy_of(&prepared).await;
            let op = operation.stop(&mut world, stop).await;
            prepared = world.prepared(op).await;
            let mut world = World::copy_of(&prepared).await;
            let op = operation.begin(&mut world, op).await;
            run = Run::new(&mut world, op, BTreeMap::new(), &[]).settle().await;
            effects = world.cluster.take_effects();
        }
        let end = run.passed.iter().rposition(|point| point.call == "end_operation").unwrap();
        run.passed.truncate(end + 1);
        let (points, outcome, waited, package) = (run.passed, run.state, run.waited, Arc::clone(package));
        Self { operation, package, prepared, stop, points, outcome, effects, before, completed, waited }
    }

    /// What there is while the VNF is started, of an operation that stops or starts it.
    pub fn started(&self) -> Option<&View> {
        match self.operation.request {
            STOP => Some(&self.before),
            START => Some(&self.completed),
            _ => None,
        }
    }

    /// Whether the point is before the end of STARTING, where nothing is made and nothing is asked for.
    pub fn is_starting(&self, point: usize) -> bool {
        let is_planned = |point: &Point| point.call == "store_plan";
        self.points.iter().position(is_planned).is_some_and(|planned| point <= planned)
    }

    /// Whether this fault at this point stops the operation; `None` where both are right.
    pub fn stops(&self, point: usize, fault: Fault) -> Option<bool> {
        match fault {
            Fault::Refused | Fault::FailsOn | Fault::PanicsOn => Some(true),
            // A request that is there when the inventory is read, or a step begins, is obeyed. If it comes in the last step,
            // that may be done before; once all is written, it comes too late.
            Fault::Cancelled(_) | Fault::CancelledAndKilled(_) => {
                let looks = |point: &Point| {
                    ["resources", "store_plan", "renew", "record_intent"].contains(&point.call.as_str())
                };
                let last_look = self.points.iter().rposition(looks).unwrap();
                if point <= last_look { Some(true) } else { (point + 1 == self.points.len()).then_some(false) }
            }
            _ => Some(false),
        }
    }

    /// What is to hold of how the operation ended after this trouble at this point.
    pub fn is_as_expected(
        &self,
        (point, fault, answer): (usize, Fault, Answer),
        outcome: &Outcome,
        error: Option<&Problem>,
    ) {
        let (stops, starting) = (self.stops(point, fault), self.is_starting(point));
        let stopped = outcome.answered > 0;
        assert!(stops.is_none_or(|stops| stopped == (stops && !starting)), "stopped: {stopped}: {error:?}");
        let expected = match answer {
            _ if starting && stops == Some(true) => OpState::RolledBack,
            _ if !stopped => self.outcome,
            Answer::Retry => OpState::Completed,
            Answer::Rollback => OpState::RolledBack,
            Answer::Fail => OpState::Failed,
        };
        assert_eq!(outcome.state, expected, "{error:?}");
        if matches!(fault, Fault::KilledBefore | Fault::KilledAfter | Fault::Stopped | Fault::Twice)
            || fault.is_cancel()
        {
            assert!(outcome.waited <= self.waited, "whoever goes on does so at once, or when it would have anyway");
        }
        let why = outcome.stops.first().or(error.filter(|_| starting)).map(|problem| problem.urn.as_str());
        if fault.is_cancel() {
            assert_eq!(outcome.cancels.len(), 1);
            assert_eq!(outcome.cancels[0] == OpState::Starting, starting);
            assert!(why.is_none_or(|why| why == "urn:gybe:problem:cancelled"), "{why:?}");
        }
        if matches!(fault, Fault::PanicsOn | Fault::PanicsAfter) {
            assert_eq!(outcome.waited_for_lease, 0, "a panic does not hold the lease");
            assert!(why.is_none_or(|why| why == "urn:gybe:problem:internal"), "{why:?}");
        }
    }

    pub fn cases(&self) -> Vec<(usize, Fault, Answer)> {
        let mut cases = Vec::new();
        let decision = self.points.iter().position(|point| point.call == "end_operation").unwrap();
        for (index, point) in self.points.iter().enumerate() {
            for (fault, answer) in TROUBLES {
                let possible = answer != Answer::Rollback || self.operation.can_roll_back();
                let asked_for = answer == Answer::Retry || !self.is_starting(index);
                let deciding = index <= decision && TROUBLES_OF_DECIDING.contains(&fault);
                let tested = self.operation.way != Way::Left || deciding;
                if possible && asked_for && tested && can_happen(fault, answer, point) {
                    cases.push((index, fault, answer));
                }
            }
        }
        cases
    }
}

impl Operation {
    pub fn can_roll_back(&self) -> bool {
        ["instantiate", "scale", "scale_to_level", "operate", "change_vnfpkg"].contains(&self.request.0)
    }

    /// Stops the operation at a point, if at any.
    pub async fn stop(&self, world: &mut World, point: Option<usize>) -> Option<VnfLcmOpOccId> {
        let plan = BTreeMap::from([(point?, Fault::Refused)]);
        world.unattended = (self.way == Way::Left).then_some(LEFT);
        let op = world.accept(self.request).await;
        let stopped = Run::new(world, op, plan, &[]).settle().await;
        assert_eq!(stopped.state, OpState::FailedTemp, "{}", self.name);
        Some(op)
    }

    /// Begins what is put to the test: `stopped` if it was stopped before.
    pub async fn begin(&self, world: &mut World, stopped: Option<VnfLcmOpOccId>) -> VnfLcmOpOccId {
        let Some(op) = stopped else { return world.accept(self.request).await };
        if self.way == Way::Left {
            world.time_passes().await;
            world.is_left = true;
            return op;
        }
        world.answer(&world.op_occ(op).await, self.answer()).await;
        op
    }

    /// What is asked for to begin, and to go on, what is put to the test.
    pub fn answer(&self) -> Answer {
        if self.way == Way::Back { Answer::Rollback } else { Answer::Retry }
    }
}

pub fn points_of_cluster(points: &[Point]) -> Vec<usize> {
    points.iter().enumerate().filter(|(_, point)| point.side == Side::Cluster).map(|(index, _)| index).collect()
}
