//! A steady load for a long time: memory must stay flat, and files, connections and watches must be released.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use gybe::domain::namespace::Namespace;
use http::Request;
use kube::Client;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::api::INSTANCES;
use crate::bare;
use crate::namespaces::Namespaces;
use crate::process::Process;
use crate::report::{Section, figure};
use crate::support::cluster::Cluster;
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

/// The interval between starts of a VNF life cycle.
const LIFE_EVERY: Duration = Duration::from_secs(2);
/// The interval between GETs, unless [`READS`] are unanswered.
const GET_EVERY: Duration = Duration::from_millis(20);
const READS: usize = 8;
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// The number of namespaces, with one VNF at a time in each. While all are in use, no life cycle starts.
const NAMESPACES: usize = 8;
/// Kept connections are closed after 90 seconds without use; a connection that is open later is a leak.
const QUIET: Duration = Duration::from_secs(180);
/// Growth over the second half that is not a leak: this amount, or this share of the value.
const GROWTH_KIB: f64 = 1024.0;
const GROWTH_SHARE: f64 = 0.05;

/// The figures of a process at one moment.
#[derive(Clone, Copy)]
struct Sample {
    resident_kib: u64,
    files: usize,
    connections: usize,
    to_cluster: usize,
    threads: u64,
}

/// The processes under load.
struct Processes {
    api: Gybe,
    conductor: Option<Gybe>,
    cluster_port: u16,
    /// Deletes the database after the processes have ended.
    _database: Option<Database>,
}

impl Processes {
    async fn start(split: bool, cluster: &Cluster) -> Self {
        let cluster_port = cluster.admin.endpoint.rsplit_once(':').unwrap().1.parse().unwrap();
        if !split {
            return Self { api: Gybe::start(), conductor: None, cluster_port, _database: None };
        }
        let database = Database::create().await;
        let api = Gybe::start_on_with(&database.url, &["--role", "api"]);
        let conductor = Some(Gybe::start_on_with(&database.url, &["--role", "conductor"]));
        Self { api, conductor, cluster_port, _database: Some(database) }
    }

    fn names(&self) -> &'static [&'static str] {
        if self.conductor.is_some() { &["api", "conductor"] } else { &["all"] }
    }

    fn samples(&self) -> Vec<Sample> {
        let sample = |gybe: &Gybe| {
            let process = Process(gybe.child.id());
            let ports = process.connections();
            Sample {
                resident_kib: process.resident_kib(),
                files: process.files(),
                connections: ports.values().sum(),
                to_cluster: ports.get(&self.cluster_port).copied().unwrap_or(0),
                threads: process.threads(),
            }
        };
        [&self.api].into_iter().chain(&self.conductor).map(sample).collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (gybe, name) in [&self.api].into_iter().chain(&self.conductor).zip(self.names()) {
                let kept = results().join(format!("soak-{name}.log"));
                std::fs::write(&kept, gybe.log()).unwrap();
                eprintln!("the log of the process: {}", kept.display());
            }
        }
    }
}

/// The folder of samples and logs.
fn results() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The number of completed life cycles and reads.
#[derive(Default)]
struct Done {
    lives: AtomicUsize,
    reads: AtomicUsize,
}

/// Runs the load for that time. The second value tells whether everything was released.
pub async fn measure(length: Duration, split: bool) -> (Section, bool) {
    let mut section = Section::new(
        if split { "soak-postgres" } else { "soak" },
        if split { "Soak, roles api and conductor on PostgreSQL" } else { "Soak, one process on SQLite" },
        "Real: the control plane and its controllers, the binary, the database. Played: kubelets (KWOK). Every two seconds a \
         VNF (the workloads of sample `core5g` that scale, with their services and volumes) is created, instantiated, scaled out and in, terminated and deleted, in one of eight \
         namespaces; up to 50 GETs a second. `Growth` is the slope of VmRSS over the second half times its length; files, TCP \
         connections and the API server's watches are counted after a first life, at their most, and once the load is over.",
        &[
            "process",
            "seconds",
            "lives",
            "GETs",
            "MiB at half",
            "growth MiB",
            "bound MiB",
            "files",
            "connections",
            "threads",
            "watches",
            "flat and back",
        ],
    );
    let (cluster, client) = (Cluster::running().await, bare::client().await);
    let processes = Processes::start(split, &cluster).await;
    let watches_before = watches(&client).await;
    processes.api.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = processes.api.onboard("core5g").await;
    let namespaces = Namespaces::create(&cluster.client, NAMESPACES).await;
    live(&processes.api, &vnfd, &namespaces.names[0]).await;
    let begin = processes.samples();

    let done = Done::default();
    let samples = run(&processes, &vnfd, &namespaces.names, length, &done).await;
    let end = quiet(&processes, &begin).await;
    let watches_after = watches(&client).await;
    let watches_back = watches_after <= watches_before;
    let mut good = watches_back;
    for (number, name) in processes.names().iter().enumerate() {
        let of = |at: &[Sample]| at[number];
        let series: Vec<f64> = samples.iter().map(|at| of(at).resident_kib as f64).collect();
        let half = &series[series.len() / 2..];
        let (growth, bound) = (growth(half), GROWTH_KIB.max(half[0] * GROWTH_SHARE));
        let most = |what: fn(&Sample) -> usize| samples.iter().map(|at| what(&of(at))).max().unwrap_or(0);
        let (first, last) = (of(&begin), of(&end));
        let back = last.files <= first.files && last.connections <= first.connections && last.threads <= first.threads;
        let fine = growth <= bound && back;
        good &= fine;
        let path = |first: usize, most: usize, last: usize| json!(format!("{first} → {most} → {last}"));
        section.row(vec![
            json!(name),
            json!(length.as_secs()),
            json!(done.lives.load(Ordering::Relaxed)),
            json!(done.reads.load(Ordering::Relaxed)),
            figure(half[0] / 1024.0),
            figure(growth / 1024.0),
            figure(bound / 1024.0),
            path(first.files, most(|it| it.files), last.files),
            path(first.connections, most(|it| it.connections), last.connections),
            path(first.threads as usize, most(|it| it.threads as usize), last.threads as usize),
            json!(format!("{watches_before} → {watches_after}")),
            json!(if fine && watches_back { "yes" } else { "NO" }),
        ]);
    }
    namespaces.remove().await;
    (section, good)
}

/// Runs the load; returns the samples and writes them to a file.
async fn run(
    processes: &Processes,
    vnfd: &str,
    namespaces: &[Namespace],
    length: Duration,
    done: &Done,
) -> Vec<Vec<Sample>> {
    let (free, mut next) = mpsc::unbounded_channel();
    namespaces.iter().for_each(|namespace| free.send(namespace.clone()).unwrap());
    let [mut lives, mut reads, mut samples] = [LIFE_EVERY, GET_EVERY, SAMPLE_EVERY].map(interval);
    reads.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut csv = Csv::create(processes.names());
    let mut sampled = Vec::new();
    let gybe = &processes.api;
    let begun = Instant::now();
    let mut living = FuturesUnordered::new();
    let mut reading = FuturesUnordered::new();
    while begun.elapsed() < length || !living.is_empty() {
        tokio::select! {
            _ = lives.tick(), if begun.elapsed() < length => {
                if let Ok(namespace) = next.try_recv() {
                    living.push(async {
                        live(gybe, vnfd, &namespace).await;
                        namespace
                    });
                }
            }
            Some(namespace) = living.next() => {
                done.lives.fetch_add(1, Ordering::Relaxed);
                free.send(namespace).unwrap();
            }
            _ = reads.tick(), if begun.elapsed() < length && reading.len() < READS => reading.push(gybe.get(INSTANCES)),
            Some(answer) = reading.next() => {
                answer.expect(StatusCode::OK);
                done.reads.fetch_add(1, Ordering::Relaxed);
            }
            _ = samples.tick(), if begun.elapsed() < length => {
                let now = processes.samples();
                csv.write(begun.elapsed(), done, &now);
                sampled.push(now);
            }
        }
    }
    sampled
}

/// The life cycle of a VNF.
async fn live(gybe: &Gybe, vnfd: &str, namespace: &Namespace) {
    let path = gybe.create("v2", vnfd).await;
    let files = ["amf", "smf", "subscriber-data"].map(|name| format!("Files/kubernetes/{name}.yaml"));
    let place = json!({ "namespace": namespace.as_str(), "lcm-kubernetes-def-files": files });
    let scale = |direction: &str| json!({ "type": direction, "aspectId": "amf" });
    let operations: [(&str, Value); 4] = [
        ("instantiate", json!({ "flavourId": "simple", "additionalParams": place })),
        ("scale", scale("SCALE_OUT")),
        ("scale", scale("SCALE_IN")),
        ("terminate", json!({ "terminationType": "GRACEFUL" })),
    ];
    for (operation, body) in operations {
        gybe.complete(&path, operation, &body).await;
    }
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

/// The figures after the load: as low as at `begin`, or those after [`QUIET`]. Threads for blocking calls end after ten
/// seconds without work.
async fn quiet(processes: &Processes, begin: &[Sample]) -> Vec<Sample> {
    let begun = Instant::now();
    loop {
        let now = processes.samples();
        let back = |(now, begin): (&Sample, &Sample)| {
            now.files <= begin.files && now.connections <= begin.connections && now.threads <= begin.threads
        };
        if now.iter().zip(begin).all(back) || begun.elapsed() > QUIET {
            return now;
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
}

/// The increase of the regression line through the points.
fn growth(points: &[f64]) -> f64 {
    let number = points.len() as f64;
    let (mean_at, mean) = ((number - 1.0) / 2.0, points.iter().sum::<f64>() / number);
    let deviations = points.iter().enumerate().map(|(at, point)| (at as f64 - mean_at, point - mean));
    let (mut both, mut squares) = (0.0, 0.0);
    for (at, point) in deviations {
        both += at * point;
        squares += at * at;
    }
    if squares > 0.0 { both / squares * (number - 1.0) } else { 0.0 }
}

/// The number of open watches of all clients of the API server.
async fn watches(client: &Client) -> usize {
    let metrics = client.request_text(Request::get("/metrics").body(Vec::new()).unwrap()).await.unwrap();
    let open = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_longrunning_requests{") && line.contains(r#"verb="WATCH""#));
    open.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as usize).sum()
}

/// The samples as a table for plotting.
struct Csv(File);

impl Csv {
    fn create(names: &[&str]) -> Self {
        let path = results().join(format!("soak-{}.csv", names.join("-")));
        let mut file = File::create(&path).unwrap();
        let columns = ["resident_kib", "files", "connections", "to_cluster", "threads"];
        let columns = names.iter().flat_map(|name| columns.map(|column| format!(",{name}_{column}")));
        writeln!(file, "seconds,lives,gets{}", columns.collect::<String>()).unwrap();
        println!("samples: {}", path.display());
        Self(file)
    }

    fn write(&mut self, at: Duration, done: &Done, samples: &[Sample]) {
        let [lives, reads] = [&done.lives, &done.reads].map(|count| count.load(Ordering::Relaxed));
        let of = |it: &Sample| {
            format!(",{},{},{},{},{}", it.resident_kib, it.files, it.connections, it.to_cluster, it.threads)
        };
        let samples: String = samples.iter().map(of).collect();
        writeln!(self.0, "{},{lives},{reads}{samples}", at.as_secs()).unwrap();
    }
}
