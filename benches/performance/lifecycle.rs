//! Duration of instantiation and termination: Gybe, `kubectl` and the bare client, alternately.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, System};
use gybe::domain::namespace::Namespace;
use kube::Client;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bare::{self, Bare};
use crate::namespaces::Namespaces;
use crate::report::{Section, figure, median, millis};
use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, instantiate_request};

/// A sample, and the resources that `kubectl wait` waits for.
struct Subject {
    sample: &'static str,
    objects: usize,
    /// The number of measurements. Each round starts with another candidate, so that each follows each other one
    /// equally often: the cluster is still busy with what the previous one left.
    runs: usize,
    waits: &'static [&'static str],
}

const SUBJECTS: [Subject; 2] = [
    Subject { sample: "small", objects: 1, runs: 15, waits: &["--for=condition=Available deployment --all"] },
    Subject {
        sample: "core5g",
        objects: 37,
        runs: 6,
        waits: &[
            "--for=condition=Available deployment --all",
            "--for=jsonpath={.status.readyReplicas}=1 statefulset/udr-db",
            "--for=jsonpath={.status.numberReady}=3 daemonset/upf",
            "--for=condition=Complete job/db-init",
        ],
    },
];

/// The times of instantiation and termination, run by run.
#[derive(Default)]
struct Times([Vec<Duration>; 2]);

impl Times {
    fn add(&mut self, [come, gone]: [Duration; 2]) {
        self.0[0].push(come);
        self.0[1].push(gone);
    }
}

pub async fn measure() -> Section {
    let mut section = Section::new(
        "lifecycle",
        "Instantiate and terminate",
        "Real: the control plane (etcd without fsync) and its controllers, the binary on SQLite with every commit synced, \
         HTTP on loopback. Played: kubelets (KWOK). Gybe: from the POST until it is COMPLETED, by the operation's stateEnteredTime; it is asked for every 25 milliseconds. \
         kubectl: `apply` and `wait`, `delete --cascade=foreground --wait`. The bare client applies what Gybe applies, in the \
         same classes, and watches until it is ready, or gone with its pods and claims; it has no database, its manifests \
         are in memory. Medians of 15 runs (37 objects: 6) in turn, each in a namespace of its own, each beginning with the next of the three; \
         all share the cores.",
        &["operation", "objects", "gybe ms", "kubectl ms", "bare ms", "gybe / kubectl", "gybe / bare"],
    );
    let (cluster, client) = (Cluster::running().await, bare::client().await);
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    for subject in SUBJECTS {
        let vnfd = gybe.onboard(subject.sample).await;
        let [mut ours, mut kubectls, mut bares] = [const { Times([Vec::new(), Vec::new()]) }; 3];
        for run in 0..subject.runs {
            let namespaces = Namespaces::create(&cluster.client, 3).await;
            for (turn, namespace) in namespaces.names.iter().enumerate() {
                match (run + turn) % 3 {
                    0 => ours.add(by_gybe(&gybe, namespace, &vnfd).await),
                    1 => kubectls.add(by_kubectl(namespace, &subject)),
                    _ => bares.add(by_bare(&client, &cluster, namespace, &subject).await),
                }
            }
            namespaces.remove().await;
        }
        for (operation, phase) in [("instantiate", 0), ("terminate", 1)] {
            let [gybe, kubectl, bare] = [&ours, &kubectls, &bares].map(|times| median(times.0[phase].clone()));
            let ratio = |other: Duration| figure(gybe.as_secs_f64() / other.as_secs_f64());
            let times = [gybe, kubectl, bare].map(millis);
            let mut row = vec![json!(operation), json!(subject.objects)];
            row.extend(times.into_iter().chain([ratio(kubectl), ratio(bare)]));
            section.row(row);
        }
    }
    section
}

async fn by_gybe(gybe: &Gybe, namespace: &Namespace, vnfd: &str) -> [Duration; 2] {
    let path = gybe.create("v2", vnfd).await;
    let place = instantiate_request(namespace.as_str());
    let mut times = Vec::new();
    for (operation, body) in [("instantiate", place), ("terminate", json!({ "terminationType": "GRACEFUL" }))] {
        times.push(completed(gybe, &path, operation, &body).await);
    }
    [times[0], times[1]]
}

/// From the POST to COMPLETED, by `stateEnteredTime`.
pub async fn completed(gybe: &Gybe, path: &str, operation: &str, body: &Value) -> Duration {
    let begun = System.now();
    let op = gybe.begin(path, operation, body).await;
    let over = |op: &Value| !matches!(op["operationState"].as_str(), Some("STARTING" | "PROCESSING"));
    // The others are notified by watches; frequent polling would take CPU time that all share.
    let op = gybe.poll(&op, Duration::from_millis(25), over).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    let entered = OffsetDateTime::parse(op["stateEnteredTime"].as_str().unwrap(), &Rfc3339).unwrap();
    (entered - begun).unsigned_abs()
}

fn by_kubectl(namespace: &Namespace, subject: &Subject) -> [Duration; 2] {
    let manifests = bare::folder(subject.sample);
    let begun = Instant::now();
    kubectl(namespace, &["apply", "-f", manifests.to_str().unwrap()]);
    for wait in subject.waits {
        let arguments: Vec<&str> = ["wait", "--timeout=60s"].into_iter().chain(wait.split(' ')).collect();
        kubectl(namespace, &arguments);
    }
    let come = begun.elapsed();
    let begun = Instant::now();
    kubectl(namespace, &["delete", "--cascade=foreground", "--wait=true", "-f", manifests.to_str().unwrap()]);
    [come, begun.elapsed()]
}

/// Runs `kubectl` in the namespace, as administrator.
pub fn kubectl(namespace: &Namespace, arguments: &[&str]) {
    let directory = PathBuf::from(std::env::var("GYBE_TEST_CLUSTER").unwrap());
    let mut command = Command::new(directory.join("kubectl"));
    command.arg("--kubeconfig").arg(directory.join("admin.kubeconfig"));
    let done = command.args(["-n", namespace.as_str()]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

async fn by_bare(client: &Client, cluster: &Cluster, namespace: &Namespace, subject: &Subject) -> [Duration; 2] {
    let bare = Bare::new(client, cluster, subject.sample, namespace).await;
    let begun = Instant::now();
    bare.apply().await;
    let come = begun.elapsed();
    let begun = Instant::now();
    bare.remove().await;
    [come, begun.elapsed()]
}
