//! How long an instantiation takes, from POST to COMPLETED, against `kubectl apply` and `kubectl wait` of the same objects.
//!
//! Real: the control plane and its controllers, the release binary on SQLite, HTTP on loopback. Played: kubelets (KWOK).
//! `scripts/bench` starts the control plane and prints the table.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't run has nothing to say")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' support has more than this needs")]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::gybe::Gybe;

/// Each is measured so often, in turn with the other.
const RUNS: usize = 10;

/// A sample package, its manifests, and what `kubectl wait` waits for.
struct Subject {
    sample: &'static str,
    waits: &'static [&'static str],
}

const SUBJECTS: [Subject; 2] = [
    Subject { sample: "small", waits: &["--for=condition=Available deployment --all"] },
    Subject {
        sample: "core5g",
        waits: &[
            "--for=condition=Available deployment --all",
            "--for=jsonpath={.status.readyReplicas}=1 statefulset/udr-db",
            "--for=jsonpath={.status.numberReady}=3 daemonset/upf",
            "--for=condition=Complete job/db-init",
        ],
    },
];

fn main() {
    // The tests' runtime: the benchmark itself needs no speed, gybe runs in a process of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::running().await;
        let gybe = Gybe::start();
        println!("idle memory: {:.1} MB resident (release binary, just started)", resident_megabytes(&gybe));
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        println!("median of {RUNS} runs in turn; milliseconds");
        println!("{:10} {:>8} {:>8} {:>6}", "sample", "gybe", "kubectl", "ratio");
        for subject in SUBJECTS {
            let vnfd = gybe.onboard(subject.sample).await;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                ours.push(instantiate(&gybe, &cluster, &vnfd).await);
                theirs.push(kubectl(&cluster, &subject).await);
            }
            let (ours, theirs) = (median(ours), median(theirs));
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            println!("{:10} {:8.1} {:8.1} {ratio:6.2}", subject.sample, millis(ours), millis(theirs));
        }
        println!("memory now: {:.1} MB resident", resident_megabytes(&gybe));
    });
}

async fn instantiate(gybe: &Gybe, cluster: &Cluster, vnfd: &str) -> Duration {
    let namespace = cluster.namespace().await;
    let path = gybe.create("v2", vnfd).await;
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let begun = Instant::now();
    let op = gybe.begin(&path, "instantiate", &request).await;
    let over = |op: &Value| !matches!(op["operationState"].as_str(), Some("STARTING" | "PROCESSING"));
    let op = gybe.poll(&op, Duration::from_millis(2), over).await;
    let took = begun.elapsed();
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    took
}

async fn kubectl(cluster: &Cluster, subject: &Subject) -> Duration {
    let namespace = cluster.namespace().await;
    let directory = PathBuf::from(std::env::var("GYBE_TEST_CLUSTER").unwrap());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(directory.join("kubectl"));
        command.arg("--kubeconfig").arg(directory.join("admin.kubeconfig"));
        let done = command.args(["-n", namespace.name.as_str()]).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(subject.sample).join("Files/kubernetes");
    let begun = Instant::now();
    run(&["apply", "-f", manifests.to_str().unwrap()]);
    for wait in subject.waits {
        let arguments: Vec<&str> = ["wait", "--timeout=60s"].into_iter().chain(wait.split(' ')).collect();
        run(&arguments);
    }
    let took = begun.elapsed();
    run(&["delete", "--wait=true", "-f", manifests.to_str().unwrap()]);
    took
}

fn resident_megabytes(gybe: &Gybe) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gybe.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
