//! Operations per second that conductors complete when the cluster costs nothing.
//!
//! Each conductor process is this program again, run as [`WORKER`]: it opens the database, prints `ready`, works from
//! the first line on its input until the input ends, and prints the number of completed operations after each change.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use gybe::clock::{Ids as _, System};
use gybe::conductor::{Conductor, ConductorConfig};
use gybe::domain::ids::{ProjectId, VnfInstanceId};
use gybe::domain::op_occ::OpState;
use gybe::infra::ReadinessTimeouts;
use gybe::lcm::accept::Acceptor;
use gybe::package::archive::Limits;
use gybe::package::csar;
use gybe::store::Store;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::fake_driver::{InstantDriver, vim};
use crate::process::Process;
use crate::report::{Section, figure};
use crate::support::gybe::instantiate_request;
use crate::support::postgres::Database;
use crate::support::{sample, store};

/// The argument that makes this program a conductor; the URL of the database follows.
pub const WORKER: &str = "conduct";
/// The time limit.
const DEADLINE: Duration = Duration::from_secs(300);

pub async fn measure() -> Section {
    let mut section = Section::new(
        "conductor",
        "Operations through the conductor alone",
        "Real: conductor, plans, both databases with every commit synced to disk; each conductor is a process. Played: the \
         cluster, by a driver that succeeds at once. The operations are queued before the conductors start; sample \
         `small`, one object each. SQLite serves one process only. `CPU ms` is what the conductors' processes used for an \
         operation, PostgreSQL's not counted.",
        &["database", "conductors", "operation", "operations", "per second", "CPU ms"],
    );
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}", folder.path().join("gybe.db").display());
    measure_on("SQLite", &url, 1, 1_000, &mut section).await;
    for conductors in [1, 3] {
        let database = Database::create().await;
        measure_on("PostgreSQL", &database.url, conductors, 3_000, &mut section).await;
    }
    section
}

async fn measure_on(database: &str, url: &str, conductors: usize, operations: usize, section: &mut Section) {
    let instances = prepare(url, operations).await;
    for operation in ["instantiate", "terminate"] {
        accept(url, &instances, operation).await;
        let (took, cpu) = run(url, conductors, operations);
        all_completed(url, operation).await;
        let rate = operations as f64 / took.as_secs_f64();
        let cpu = figure(cpu.as_secs_f64() * 1000.0 / operations as f64);
        let row = [json!(database), json!(conductors), json!(operation), json!(operations), figure(rate), cpu];
        section.row(row.to_vec());
    }
}

/// A VIM, the sample and its instances.
async fn prepare(url: &str, number: usize) -> Vec<VnfInstanceId> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("small.csar");
    std::fs::write(&file, sample::pack("small")).unwrap();
    let package = csar::onboard(&file, &Limits::default()).unwrap();
    let store = store::open(url).await;
    store.create_vim(&vim("https://played:6443")).await.unwrap();
    let vnfd = store::onboarded(&*store, &package.content, &package.files).await;
    let instances = futures::stream::iter(0..number).map(|_| store::instance(&*store, &vnfd)).buffered(8);
    instances.map(|instance| instance.id).collect().await
}

/// Queues the operation for each of the instances.
async fn accept(url: &str, instances: &[VnfInstanceId], operation: &str) {
    let (store, project) = (store::open(url).await, ProjectId::default());
    let acceptor = Acceptor {
        store: &*store,
        clock: &System,
        ids: &System,
        project: &project,
        granting: false,
        unattended: None,
        vims_by_name: false,
        require_namespace: false,
        tenancy: None,
        rehearsal: None,
    };
    let accept = async |id: VnfInstanceId| match operation {
        "instantiate" => {
            let body = instantiate_request("there");
            acceptor.instantiate(id, serde_json::from_value(body).unwrap()).await
        }
        _ => {
            let body: Value = json!({ "terminationType": "FORCEFUL" });
            acceptor.terminate(id, &serde_json::from_value(body).unwrap()).await
        }
    };
    let accepted = futures::stream::iter(instances).map(|id| accept(*id)).buffered(8);
    let accepted: Vec<_> = accepted.map(Result::unwrap).collect().await;
    assert_eq!(accepted.len(), instances.len());
}

async fn all_completed(url: &str, operation: &str) {
    let ops = store::open(url).await.op_occs(Some(&ProjectId::default()), &store::whole()).await.unwrap();
    let unfinished = ops.iter().find(|op| op.state != OpState::Completed);
    assert!(unfinished.is_none(), "{operation}: {unfinished:?}");
}

/// The time from now until that many operations have ended, with so many conductors, and the CPU time they use.
fn run(url: &str, conductors: usize, operations: usize) -> (Duration, Duration) {
    let (tell, ended) = mpsc::channel();
    let mut workers: Vec<Worker> = (0..conductors).map(|number| Worker::start(url, number, tell.clone())).collect();
    let cpu = |workers: &[Worker]| -> Duration { workers.iter().map(|worker| Process(worker.child.id()).cpu()).sum() };
    let before = cpu(&workers);
    let begun = Instant::now();
    for worker in &mut workers {
        worker.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    until_ended(&ended, conductors, operations);
    let took = begun.elapsed();
    (took, cpu(&workers) - before)
}

fn until_ended(ended: &Receiver<(usize, usize)>, conductors: usize, operations: usize) {
    let mut counts = vec![0; conductors];
    while counts.iter().sum::<usize>() < operations {
        let (number, count) = ended.recv_timeout(DEADLINE).unwrap();
        counts[number] = count;
    }
}

/// A conductor process; it ends when dropped.
struct Worker {
    child: Child,
}

impl Worker {
    /// Starts a conductor and waits until it is ready. It then sends `number` with its count of ended operations.
    fn start(url: &str, number: usize, tell: mpsc::Sender<(usize, usize)>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([WORKER, url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        std::thread::spawn(move || {
            for line in lines {
                // The receiver is gone after all have ended.
                let _ = tell.send((number, line.parse().unwrap()));
            }
        });
        Self { child }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The conductor process.
pub async fn work(url: &str) {
    let store: Arc<dyn Store> = store::open(url).await;
    let patience = ReadinessTimeouts {
        grace: Duration::from_secs(30),
        timeout: Duration::from_secs(500),
        settle: Duration::ZERO,
        waited: Duration::ZERO,
    };
    let settings = ConductorConfig {
        owner: System.uuid().to_string(),
        max_operations: 64,
        max_waiting: 10_000,
        lease_ttl: Duration::from_secs(30),
        patience,
        removal_timeout: Duration::from_secs(500),
    };
    let conductor = Conductor::new(store, Arc::new(InstantDriver), Arc::new(System), settings);
    let mut registry = Registry::default();
    conductor.metrics().register(&mut registry);
    println!("ready");
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).unwrap();
    tokio::spawn(conductor.run(CancellationToken::new()));
    let mut reported = 0;
    loop {
        // Until this process is killed. Five milliseconds are negligible beside the measured seconds.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let count = ended(&registry);
        if count != reported {
            reported = count;
            println!("{reported}");
        }
    }
}

/// The number of ended operations, whatever their outcome.
fn ended(registry: &Registry) -> usize {
    let mut metrics = String::new();
    text::encode(&mut metrics, registry).unwrap();
    let counters = metrics.lines().filter(|line| line.starts_with("gybe_operations_ended_total"));
    counters.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
}
