//! Runs an operation to its end, across the faults of its conductors.

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
use gybe::infra::ReadinessTimeouts;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::environment::{Environment, LEASE};
use super::faults::{Task, UNATTENDED};
use super::operations::{DELETE_OBJECTS, Request};
use crate::support::faults::{
    CallPoint, Fault, FaultPlan, FaultyDriver, FaultyNfvo, FaultyProcess, FaultyStore, ProcessEvent,
};

/// A running operation and its processes.
pub struct OperationRun<'a> {
    pub environment: &'a mut Environment,
    pub op: VnfLcmOpOccId,
    pub faults: Arc<FaultPlan>,
    pub events: UnboundedReceiver<ProcessEvent>,
    pub processes: Vec<Arc<FaultyProcess>>,
    /// The tasks to request in FAILED_TEMP, last one first. Without a task left, the run ends there.
    pub tasks: Vec<Task>,
    /// The number of tasks requested.
    pub requested: usize,
    /// The errors with which it entered FAILED_TEMP.
    pub stops: Vec<Problem>,
    /// How often a conductor waited for a delay or a lease.
    pub waited: usize,
    /// How often it waited for a lease.
    pub waited_for_lease: usize,
}

impl<'a> OperationRun<'a> {
    pub fn new(
        environment: &'a mut Environment,
        op: VnfLcmOpOccId,
        plan: BTreeMap<usize, Fault>,
        tasks: &[Task],
    ) -> Self {
        let (sender, events) = unbounded_channel();
        Self {
            environment,
            op,
            faults: FaultPlan::new(op, plan, sender),
            events,
            processes: Vec::new(),
            tasks: tasks.iter().rev().copied().collect(),
            requested: 0,
            stops: Vec::new(),
            waited: 0,
            waited_for_lease: 0,
        }
    }

    /// Runs until the operation has ended, or is in FAILED_TEMP without a task left.
    pub async fn wait_ended(mut self) -> RunResult {
        self.start();
        let state = loop {
            match self.events.recv().await.unwrap() {
                // A kill ends all conductors of the process.
                ProcessEvent::Killed => {
                    self.processes.drain(..).for_each(|process| process.kill());
                    self.check_inventory_is_complete().await;
                    let is_sqlite = self.environment.url.starts_with("sqlite:");
                    self.environment.reopen().await;
                    if !is_sqlite {
                        self.environment.expire_leases_and_delays().await;
                    }
                    self.start();
                }
                ProcessEvent::Stopped => {
                    self.processes.retain(|process| !process.stop.is_cancelled());
                    self.start();
                }
                ProcessEvent::Paused => {
                    self.environment.expire_leases_and_delays().await;
                    self.start();
                }
                ProcessEvent::Idle
                    if self.processes.iter().any(|process| process.is_busy() && !process.is_paused()) => {}
                ProcessEvent::Idle => {
                    let op = self.environment.op_occ(self.op).await;
                    let is_overdue = op.state == OpState::FailedTemp
                        && op.unattended == Some(UNATTENDED)
                        && self.environment.is_overdue;
                    if op.state == OpState::FailedTemp && !is_overdue {
                        assert_eq!(op.cancel, None, "no cancel request is pending at the end");
                        self.stops.push(op.error.clone().unwrap());
                    }
                    if op.state.is_running() || is_overdue {
                        self.waited += 1;
                        if !self.environment.expire_delay(self.op).await {
                            self.waited_for_lease += 1;
                            self.environment.expire_leases_and_delays().await;
                        }
                        self.environment.store().wake().notify_waiters();
                    } else if op.state.is_final() {
                        break op.state;
                    } else if let Some(task) = self.tasks.pop() {
                        self.requested += 1;
                        self.faults.clear_lasting();
                        self.environment.task(&op, task).await;
                    } else {
                        break op.state;
                    }
                }
            }
        };
        self.faults.end();
        self.check_paused_processes_write_nothing().await;
        for process in &self.processes {
            process.kill();
        }
        RunResult {
            state,
            passed: self.faults.passed(),
            requested: self.requested,
            stops: self.stops,
            cancels: self.faults.cancels(),
            waited: self.waited,
            waited_for_lease: self.waited_for_lease,
        }
    }

    /// Starts a conductor on the open store.
    pub fn start(&mut self) {
        let process = FaultyProcess::new(&self.faults, Arc::clone(self.environment.store()));
        let driver = FaultyDriver { process: Arc::clone(&process), cluster: self.environment.cluster.clone() };
        let settings = ConductorConfig {
            owner: System.uuid().to_string(),
            max_operations: 1,
            // A claim means that the conductor has no operation.
            max_waiting: 0,
            lease_ttl: LEASE,
            patience: ReadinessTimeouts {
                grace: Duration::ZERO,
                timeout: Duration::ZERO,
                settle: Duration::ZERO,
                waited: Duration::ZERO,
            },
            removal_timeout: Duration::ZERO,
        };
        let store = Arc::new(FaultyStore(Arc::clone(&process)));
        let granting = self.environment.nfvo.clone().map(|nfvo| Granting {
            nfvo: Arc::new(FaultyNfvo { process: Arc::clone(&process), nfvo }),
            edition: Edition::V2,
            base_url: "http://vnfm".to_owned(),
            patience: LEASE,
            head_start: Duration::ZERO,
            tenancy: None,
        });
        let conductor = Conductor::granted(store, Arc::new(driver), Arc::new(System), settings, granting);
        let (stop, faults) = (process.stop.clone(), Arc::clone(&self.faults));
        tokio::spawn(async move {
            conductor.run(stop).await;
            faults.notify(ProcessEvent::Stopped);
        });
        self.processes.push(process);
    }

    /// Checks that the inventory has every object: rows are written before objects are created.
    pub async fn check_inventory_is_complete(&mut self) {
        let state = self.environment.cluster.state();
        let inventory = self.environment.inventory().await;
        for key in state.objects_of(self.environment.instance).keys() {
            let row = inventory.iter().find(|row| row.key == **key);
            assert!(row.is_some_and(|row| row.state != ResourceState::Planned), "{key} is there, its row is {row:?}");
        }
    }

    pub async fn check_paused_processes_write_nothing(&mut self) {
        let held: Vec<_> = self.processes.iter().filter(|process| process.is_paused()).cloned().collect();
        if held.is_empty() {
            return;
        }
        let written = async |environment: &Environment| {
            let op = environment.op_occ(self.op).await;
            let instance = environment.instance().await;
            (op, instance.version, format!("{instance:?}"), environment.inventory().await, environment.cluster.state())
        };
        let before = written(self.environment).await;
        for process in held {
            process.resume();
            // The conductor claims other work, or ends if a shutdown was requested before the pause.
            while !matches!(self.events.recv().await.unwrap(), ProcessEvent::Idle | ProcessEvent::Stopped) {}
        }
        assert_eq!(written(self.environment).await, before, "a conductor without a lease has changed something");
    }
}

/// The result of a run.
pub struct RunResult {
    pub state: OpState,
    pub passed: Vec<CallPoint>,
    pub requested: usize,
    pub stops: Vec<Problem>,
    /// The states in which cancel requests were accepted.
    pub cancels: Vec<OpState>,
    pub waited: usize,
    pub waited_for_lease: usize,
}

/// Runs requests to COMPLETED, or to FAILED where their name says so.
pub async fn run_to_end(environment: &mut Environment, requests: &[Request]) {
    for request in requests {
        if *request == DELETE_OBJECTS {
            environment.cluster.delete_externally(request.1);
            continue;
        }
        let op = environment.accept(*request).await;
        let fails = request.0.ends_with(" and fail");
        let run = OperationRun::new(environment, op, BTreeMap::new(), &[Task::Fail]);
        if fails {
            run.faults.refuse("observe");
        }
        let outcome = run.wait_ended().await;
        let wanted = if fails { OpState::Failed } else { OpState::Completed };
        assert_eq!(outcome.state, wanted, "{request:?}: {:?}", environment.op_occ(op).await.error);
        if fails {
            environment.refresh_view().await;
        }
    }
}
