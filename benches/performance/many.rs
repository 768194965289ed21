//! Many concurrent instantiations: Gybe and the bare client with the same load.

use std::time::{Duration, Instant};

use futures::future::join_all;
use gybe::domain::namespace::Namespace;
use kube::Client;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bare::Bare;
use crate::namespaces::Namespaces;
use crate::process::Process;
use crate::report::{Section, figure, median, millis};
use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, instantiate_request};

/// The number of concurrent instantiations, and of measurements, alternating with the bare client.
const LOADS: [(usize, usize); 2] = [(50, 5), (500, 1)];

pub async fn measure() -> Section {
    let mut section = Section::new(
        "many",
        "Many instantiations at once",
        "Real and played as for one instantiation; sample `small`, each in a namespace of its own that was there before. Gybe: \
         from the first POST until the last is COMPLETED; it works on 64 at once. The bare client begins with all at once. \
         `Worst` is Gybe's longest single one, from its acceptance on, so with the time that it was queued; `peak` the most memory \
         that Gybe had. With several runs, medians.",
        &["at once", "runs", "gybe ms", "bare ms", "gybe / bare", "gybe worst ms", "gybe peak MiB"],
    );
    let (cluster, client) = (Cluster::running().await, crate::bare::client().await);
    for (number, runs) in LOADS {
        let gybe = Gybe::start();
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = gybe.onboard("small").await;
        let (mut ours, mut worsts, mut bares) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let namespaces = Namespaces::create(&cluster.client, number).await;
            let (all, worst) = by_gybe(&gybe, &namespaces.names, &vnfd).await;
            ours.push(all);
            worsts.push(worst);
            namespaces.remove().await;
            let namespaces = Namespaces::create(&cluster.client, number).await;
            bares.push(by_bare(&client, &cluster, &namespaces.names).await);
            namespaces.remove().await;
        }
        let peak = Process(gybe.child.id()).peak_kib() as f64 / 1024.0;
        let (gybe, bare) = (median(ours), median(bares));
        let ratio = figure(gybe.as_secs_f64() / bare.as_secs_f64());
        let row = [json!(number), json!(runs), millis(gybe), millis(bare), ratio, millis(median(worsts)), figure(peak)];
        section.row(row.to_vec());
    }
    section
}

/// The total time, and the longest single time.
async fn by_gybe(gybe: &Gybe, namespaces: &[Namespace], vnfd: &str) -> (Duration, Duration) {
    let mut paths = Vec::new();
    for _ in namespaces {
        paths.push(gybe.create("v2", vnfd).await);
    }
    let begin = async |(path, namespace): (&String, &Namespace)| {
        let body = instantiate_request(namespace.as_str());
        gybe.begin(path, "instantiate", &body).await
    };
    let begun = Instant::now();
    let ops = join_all(paths.iter().zip(namespaces).map(begin)).await;
    let mut worst = Duration::ZERO;
    for op in &ops {
        let over = |op: &Value| !matches!(op["operationState"].as_str(), Some("STARTING" | "PROCESSING"));
        // One op occurrence is polled at a time, so that polling costs little for any number.
        let op = gybe.poll(op, Duration::from_millis(10), over).await;
        assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
        worst = worst.max(length(&op));
    }
    let all = begun.elapsed();
    for path in &paths {
        gybe.begin(path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    }
    for path in &paths {
        gybe.wait_until(path, |instance| instance["instantiationState"] == "NOT_INSTANTIATED").await;
    }
    (all, worst)
}

/// From the acceptance of an operation to its end.
fn length(op: &Value) -> Duration {
    let time = |key: &str| OffsetDateTime::parse(op[key].as_str().unwrap(), &Rfc3339).unwrap();
    (time("stateEnteredTime") - time("startTime")).unsigned_abs()
}

/// The total time.
async fn by_bare(client: &Client, cluster: &Cluster, namespaces: &[Namespace]) -> Duration {
    let mut bares = Vec::new();
    for namespace in namespaces {
        bares.push(Bare::new(client, cluster, "small", namespace).await);
    }
    let begun = Instant::now();
    // A task each, so that they share the CPUs as Gybe's do.
    let tasks: Vec<_> = bares.into_iter().map(|bare| tokio::spawn(async move { bare.apply().await })).collect();
    for task in tasks {
        task.await.unwrap();
    }
    begun.elapsed()
}
