//! Runs an operation to its end, whatever happens to its conductors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Ids as _, System};
use gybe::conductor::grant::Granting;
use gybe::conductor::{Conductor, ConductorConfig};
use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::interface::Edition;
use gybe::domain::op_occ::OpState;
use gybe::domain::problem::Problem;
use gybe::domain::resource::ResourceState;
use gybe::infra::{Driver as _, ReadinessTimeouts};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::operations::{LOSE, Request};
use super::troubles::{Answer, LEFT};
use super::world::{LEASE, World};
use crate::support::faults::{Event, Fault, Faults, FaultyDriver, FaultyNfvo, FaultyStore, Point, Process};
use crate::support::store;

/// An operation at work, with whoever looks after its processes.
pub struct Run<'a> {
    pub world: &'a mut World,
    pub op: VnfLcmOpOccId,
    pub faults: Arc<Faults>,
    pub events: UnboundedReceiver<Event>,
    pub processes: Vec<Arc<Process>>,
    /// What is asked for in FAILED_TEMP, in turn. When there is no more, the run ends there.
    pub answers: Vec<Answer>,
    /// How many of them were used.
    pub answered: usize,
    /// Why it was in FAILED_TEMP, each time.
    pub stops: Vec<Problem>,
    /// How often a conductor had to wait for time to pass.
    pub waited: usize,
    /// How often of these it was for a lease to run out.
    pub waited_for_lease: usize,
}

impl<'a> Run<'a> {
    pub fn new(world: &'a mut World, op: VnfLcmOpOccId, plan: BTreeMap<usize, Fault>, answers: &[Answer]) -> Self {
        let (sender, events) = unbounded_channel();
        Self {
            world,
            op,
            faults: Faults::new(op, plan, sender),
            events,
            processes: Vec::new(),
            answers: answers.iter().rev().copied().collect(),
            answered: 0,
            stops: Vec::new(),
            waited: 0,
            waited_for_lease: 0,
        }
    }

    /// Runs until the operation has ended, or is in FAILED_TEMP with nothing more to ask for.
    pub async fn settle(mut self) -> Outcome {
        self.start();
        let state = loop {
            match self.events.recv().await.unwrap() {
                // A process that is killed takes all its conductors with it.
                Event::Killed => {
                    self.processes.drain(..).for_each(|process| process.kill());
                    self.all_objects_are_known().await;
                    let is_sqlite = self.world.url.starts_with("sqlite:");
                    self.world.reopen().await;
                    if !is_sqlite {
                        self.world.time_passes().await;
                    }
                    self.start();
                }
                Event::Stopped => {
                    self.processes.retain(|process| !process.stop.is_cancelled());
                    self.start();
                }
                Event::Held => {
                    self.world.time_passes().await;
                    self.start();
                }
                Event::Waits if self.processes.iter().any(|process| process.is_busy() && !process.is_held()) => {}
                Event::Waits => {
                    let op = self.world.op_occ(self.op).await;
                    let is_left = op.state == OpState::FailedTemp && op.unattended == Some(LEFT) && self.world.is_left;
                    if op.state == OpState::FailedTemp && !is_left {
                        assert_eq!(op.cancel, None, "a cancel request has taken effect or comes too late");
                        self.stops.push(op.error.clone().unwrap());
                    }
                    if op.state.is_running() || is_left {
                        self.waited += 1;
                        if !self.world.delay_is_over(self.op).await {
                            self.waited_for_lease += 1;
                            self.world.time_passes().await;
                        }
                        self.world.store().wake().notify_waiters();
                    } else if op.state.is_final() {
                        break op.state;
                    } else if let Some(answer) = self.answers.pop() {
                        self.answered += 1;
                        self.faults.lift();
                        self.world.answer(&op, answer).await;
                    } else {
                        break op.state;
                    }
                }
            }
        };
        self.faults.end();
        self.those_who_lost_their_lease_write_nothing().await;
        for process in &self.processes {
            process.kill();
        }
        Outcome {
            state,
            passed: self.faults.passed(),
            answered: self.answered,
            stops: self.stops,
            cancels: self.faults.cancels(),
            waited: self.waited,
            waited_for_lease: self.waited_for_lease,
        }
    }

    /// Starts a conductor over the store that is open.
    pub fn start(&mut self) {
        let process = Process::new(&self.faults, Arc::clone(self.world.store()));
        let driver = FaultyDriver { process: Arc::clone(&process), cluster: self.world.cluster.clone() };
        let settings = ConductorConfig {
            owner: System.uuid().to_string(),
            max_operations: 1,
            lease_ttl: LEASE,
            patience: ReadinessTimeouts { grace: Duration::ZERO, timeout: Duration::ZERO },
            removal_timeout: Duration::ZERO,
        };
        let store = Arc::new(FaultyStore(Arc::clone(&process)));
        let granting = self.world.nfvo.clone().map(|nfvo| Granting {
            nfvo: Arc::new(FaultyNfvo { process: Arc::clone(&process), nfvo }),
            edition: Edition::V2,
            base_url: "http://vnfm".to_owned(),
            patience: LEASE,
            head_start: Duration::ZERO,
        });
        let conductor = Conductor::granted(store, Arc::new(driver), Arc::new(System), settings, granting);
        let (stop, faults) = (process.stop.clone(), Arc::clone(&self.faults));
        tokio::spawn(async move {
            conductor.run(stop).await;
            faults.tell(Event::Stopped);
        });
        self.processes.push(process);
    }

    /// Whoever goes on finds every object in the inventory: it is written before an object is made.
    pub async fn all_objects_are_known(&mut self) {
        let state = self.world.cluster.state();
        let inventory = self.world.inventory().await;
        for key in state.objects_of(self.world.instance).keys() {
            let row = inventory.iter().find(|row| row.key == **key);
            assert!(row.is_some_and(|row| row.state != ResourceState::Planned), "{key} is there, its row is {row:?}");
        }
    }

    pub async fn those_who_lost_their_lease_write_nothing(&mut self) {
        let held: Vec<_> = self.processes.iter().filter(|process| process.is_held()).cloned().collect();
        if held.is_empty() {
            return;
        }
        let written = async |world: &World| {
            let op = world.op_occ(self.op).await;
            let instance = world.instance().await;
            (op, instance.version, format!("{instance:?}"), world.inventory().await, world.cluster.state())
        };
        let before = written(self.world).await;
        for process in held {
            process.release();
            // It looks for other work, or ends if it was told to stop before it was held.
            while !matches!(self.events.recv().await.unwrap(), Event::Waits | Event::Stopped) {}
        }
        assert_eq!(written(self.world).await, before, "a conductor without a lease has changed something");
    }
}

/// What a run came to.
pub struct Outcome {
    pub state: OpState,
    pub passed: Vec<Point>,
    pub answered: usize,
    pub stops: Vec<Problem>,
    /// The states in which it was asked to stop.
    pub cancels: Vec<OpState>,
    pub waited: usize,
    pub waited_for_lease: usize,
}

/// Runs requests to COMPLETED, or to FAILED where they say so.
pub async fn carry_out(world: &mut World, requests: &[Request]) {
    for request in requests {
        if *request == LOSE {
            world.cluster.lose(request.1);
            continue;
        }
        let op = world.accept(*request).await;
        let fails = request.0.ends_with(" and fail");
        let run = Run::new(world, op, BTreeMap::new(), &[Answer::Fail]);
        if fails {
            run.faults.refuse("observe");
        }
        let outcome = run.settle().await;
        let wanted = if fails { OpState::Failed } else { OpState::Completed };
        assert_eq!(outcome.state, wanted, "{request:?}: {:?}", world.op_occ(op).await.error);
        if fails {
            world.brought_up_to_date().await;
        }
    }
}
