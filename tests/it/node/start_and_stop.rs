//! Processes that become ready late, flap, drain, or ignore TERM.

use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, System};
use kube::api::ListParams;
use serde_json::json;

use super::{Instance, SERVE, Workload, completed};

#[tokio::test]
async fn an_instantiation_waits_for_a_process_that_becomes_ready_late() {
    let script = format!("(sleep 4; touch /tmp/ready) & {SERVE}");
    let workload = Workload { script: &script, readiness: Some("test -e /tmp/ready"), ..Workload::default() };
    let instance = Instance::create(&workload).await;
    let begun = Instant::now();
    completed(&instance.instantiate().await);
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert!(instance.pods().await.iter().all(|(_, ready)| *ready));
}

#[tokio::test]
async fn an_instantiation_completes_when_a_flapping_process_is_ready() {
    let script = format!("(while :; do touch /tmp/ready; sleep 2; rm /tmp/ready; sleep 2; done) & {SERVE}");
    let workload = Workload { script: &script, readiness: Some("test -e /tmp/ready"), ..Workload::default() };
    completed(&Instance::create(&workload).await.instantiate().await);
}

/// As a network function does until its database answers. Kubernetes restarts it at once, and then after ten seconds: longer than a
/// fault may last that somebody has to mend.
#[tokio::test]
async fn an_instantiation_completes_when_a_process_no_longer_crashes() {
    let database_answers = System.now().unix_timestamp() + 8;
    let script = format!("[ $(date +%s) -ge {database_answers} ] || exit 1; {SERVE}");
    let instance = Instance::create_with(&Workload { script: &script, ..Workload::default() }, 4).await;
    completed(&instance.instantiate().await);
    let pods = instance.cluster.api("v1", "Pod", "pods", Some(&instance.namespace.name));
    let pods = pods.list(&ListParams::default()).await.unwrap();
    let status = &pods.items[0].data["status"]["containerStatuses"][0];
    assert!(status["ready"] == true && status["restartCount"].as_u64() >= Some(1), "{status:#}");
}

/// Terminates an instance of `workload` with `request` and returns how long that took.
async fn terminate(workload: Workload<'_>, request: serde_json::Value) -> Duration {
    let instance = Instance::running(&workload).await;
    let begun = Instant::now();
    completed(&instance.run("terminate", &request).await);
    assert_eq!(instance.pods().await, []);
    begun.elapsed()
}

#[tokio::test]
async fn a_graceful_termination_lets_a_process_drain() {
    let script = "trap 'sleep 3; exit 0' TERM; while :; do sleep 0.1; done";
    let request = json!({ "terminationType": "GRACEFUL", "gracefulTerminationTimeout": 60 });
    let took = terminate(Workload { script, ..Workload::default() }, request).await;
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(25), "{took:?}");
}

#[tokio::test]
async fn a_graceful_termination_kills_a_process_that_ignores_term_after_its_timeout() {
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let request = json!({ "terminationType": "GRACEFUL", "gracefulTerminationTimeout": 4 });
    let took = terminate(Workload { script, grace: 600, ..Workload::default() }, request).await;
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn a_forceful_termination_waits_for_no_process() {
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let request = json!({ "terminationType": "FORCEFUL" });
    let took = terminate(Workload { script, grace: 600, ..Workload::default() }, request).await;
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn a_scale_in_and_a_heal_let_processes_drain() {
    let script = "trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done";
    let instance = Instance::running(&Workload { kind: "StatefulSet", script, ..Workload::default() }).await;
    completed(&instance.run("scale", &json!({ "type": "SCALE_OUT", "aspectId": "app" })).await);
    assert_eq!(instance.pods().await, [("app-0".to_owned(), true), ("app-1".to_owned(), true)]);
    let begun = Instant::now();
    completed(&instance.run("scale", &json!({ "type": "SCALE_IN", "aspectId": "app" })).await);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(instance.pods().await, [("app-0".to_owned(), true)]);
    let vnfc = instance.gybe.get(&instance.path).await.expect(reqwest::StatusCode::OK);
    let vnfc = vnfc["instantiatedVnfInfo"]["vnfcResourceInfo"][0]["id"].clone();
    let begun = Instant::now();
    completed(&instance.run("heal", &json!({ "vnfcInstanceId": [vnfc] })).await);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(instance.pods().await, [("app-0".to_owned(), true)]);
}

#[tokio::test]
async fn operate_stops_and_starts_real_processes() {
    let instance = Instance::running(&Workload::default()).await;
    completed(&instance.run("operate", &json!({ "changeStateTo": "STOPPED" })).await);
    assert_eq!(instance.pods().await, []);
    completed(&instance.run("operate", &json!({ "changeStateTo": "STARTED" })).await);
    assert!(matches!(&instance.pods().await[..], [(_, true)]));
}
