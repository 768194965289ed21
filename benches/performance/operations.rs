//! Duration of each operation on an existing VNF: Gybe and the equivalent `kubectl` commands.

use std::time::{Duration, Instant};

use gybe::domain::namespace::Namespace;
use serde_json::{Value, json};

use crate::bare;
use crate::lifecycle::{completed, kubectl};
use crate::namespaces::Namespaces;
use crate::report::{Section, figure, median, millis};
use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, instantiate_request};

const RUNS: usize = 6;

/// An operation and its counterpart.
struct Operation {
    /// The name of the task resource, with the change.
    name: &'static str,
    request: Value,
    /// The `kubectl` commands in order.
    commands: Vec<String>,
}

/// The operations in order. `second` is the package of the change, `amf` a VNFC.
fn operations(second: &str, amf: &str) -> Vec<Operation> {
    let rolled = |name: &str| format!("rollout status deployment/{name} --timeout=60s");
    let scaled = |name: &str, replicas: usize| format!("scale deployment/{name} --replicas={replicas}");
    let folder = bare::folder("core5g-2");
    let levels = json!([{ "aspectId": "amf", "scaleLevel": 0 }, { "aspectId": "smf", "scaleLevel": 1 }]);
    vec![
        Operation {
            name: "scale",
            request: json!({ "type": "SCALE_OUT", "aspectId": "amf" }),
            commands: vec![scaled("amf", 2), rolled("amf")],
        },
        Operation {
            name: "scale_to_level",
            request: json!({ "scaleInfo": levels }),
            commands: vec![scaled("amf", 1), scaled("smf", 3), rolled("amf"), rolled("smf")],
        },
        Operation {
            name: "heal",
            request: json!({ "vnfcInstanceId": [amf] }),
            commands: vec!["delete pod -l app=amf".to_owned(), rolled("amf")],
        },
        Operation { name: "operate", request: json!({ "changeStateTo": "STOPPED" }), commands: Vec::new() },
        Operation { name: "operate", request: json!({ "changeStateTo": "STARTED" }), commands: Vec::new() },
        Operation {
            name: "change_vnfpkg",
            request: json!({ "vnfdId": second }),
            commands: vec![
                format!("apply -f {}", folder.display()),
                "delete poddisruptionbudget amf".to_owned(),
                rolled("amf"),
            ],
        },
    ]
}

pub async fn measure() -> Section {
    let mut section = Section::new(
        "operations",
        "Operations on a VNF of 37 objects",
        "Real and played: as in `lifecycle`. Gybe: from the POST until it is COMPLETED, by the operation's stateEnteredTime. \
         kubectl: the commands that do the same, run one after the other: `scale`, `delete pod`, `apply` and `delete` of \
         what the second package has no more, each with `rollout status`; stopping and starting a VNF has no counterpart. Medians of 6 runs, in turn, each in a namespace of its own.",
        &["operation", "request", "gybe ms", "kubectl ms", "gybe / kubectl"],
    );
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let (first, second) = (gybe.onboard("core5g").await, gybe.onboard("core5g-2").await);
    let [mut ours, mut theirs] = [const { Vec::<Vec<Duration>>::new() }; 2];
    for run in 0..RUNS {
        let namespaces = Namespaces::create(&cluster.client, 2).await;
        for turn in 0..2 {
            let namespace = &namespaces.names[turn];
            match (run + turn) % 2 {
                0 => ours.push(by_gybe(&gybe, namespace, &first, &second).await),
                _ => theirs.push(by_kubectl(namespace)),
            }
        }
        namespaces.remove().await;
    }
    for (number, operation) in operations("", "").into_iter().enumerate() {
        let of = |runs: &[Vec<Duration>]| median(runs.iter().map(|run| run[number]).collect());
        let gybe = of(&ours);
        let mut row = vec![json!(operation.name), json!(said(&operation.request)), millis(gybe)];
        if operation.commands.is_empty() {
            row.extend([json!("-"), json!("-")]);
        } else {
            let kubectl = of(&theirs);
            row.extend([millis(kubectl), figure(gybe.as_secs_f64() / kubectl.as_secs_f64())]);
        }
        section.row(row);
    }
    section
}

/// The part of the request that distinguishes it, for the table.
fn said(request: &Value) -> String {
    let texts = ["type", "aspectId", "changeStateTo"].iter().filter_map(|member| request[member].as_str());
    texts.collect::<Vec<_>>().join(" ")
}

async fn by_gybe(gybe: &Gybe, namespace: &Namespace, first: &str, second: &str) -> Vec<Duration> {
    let path = gybe.create("v2", first).await;
    let place = instantiate_request(namespace.as_str());
    gybe.complete(&path, "instantiate", &place).await;
    let mut times = Vec::new();
    for number in 0..operations("", "").len() {
        let instance = gybe.get(&path).await.expect(reqwest::StatusCode::OK);
        let vnfcs = instance["instantiatedVnfInfo"]["vnfcInfo"].as_array().unwrap();
        let amf = vnfcs.iter().find(|vnfc| vnfc["vduId"] == "AMF").map_or("", |vnfc| vnfc["id"].as_str().unwrap());
        let operation = operations(second, amf).swap_remove(number);
        times.push(completed(gybe, &path, operation.name, &operation.request).await);
    }
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    times
}

fn by_kubectl(namespace: &Namespace) -> Vec<Duration> {
    let run = |command: &str| kubectl(namespace, &command.split(' ').collect::<Vec<_>>());
    run(&format!("apply -f {}", bare::folder("core5g").display()));
    run("wait --timeout=60s --for=condition=Available deployment --all");
    let timed = |operation: &Operation| {
        let begun = Instant::now();
        operation.commands.iter().for_each(|command| run(command));
        begun.elapsed()
    };
    let times = operations("", "").iter().map(timed).collect();
    run(&format!("delete --wait=true -f {}", bare::folder("core5g-2").display()));
    times
}
