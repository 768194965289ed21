//! The history of an operation: what it waits for while it waits, and what it did. On the real control plane.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample;

/// A workload that runs, and one whose image does not exist and has a name with a secret of the package in it.
const MANIFEST: &str = "
apiVersion: v1
kind: Secret
metadata: {name: pull}
stringData: {password: hunter2-hunter2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: 'registry.k8s.io/pause:3.10'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: amf}
spec:
  selector: {matchLabels: {app: amf}}
  template:
    metadata: {labels: {app: amf}}
    spec: {containers: [{name: app, image: 'registry.invalid/x-hunter2-hunter2-x/amf:1.0'}]}
";

/// The step of that name and direction that began last.
fn last<'a>(history: &'a Value, name: &str, direction: &str) -> &'a Value {
    let steps = history["steps"].as_array().unwrap();
    let found = steps.iter().rfind(|step| step["name"] == name && step["direction"] == direction);
    found.unwrap_or_else(|| panic!("no {name} {direction}: {history:#}"))
}

#[tokio::test]
async fn shows_what_an_operation_waits_for_and_what_it_did() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&["--ready-grace", "600"]);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let package = gybe.upload(&sample::with_manifests(&[("Files/core.yaml", MANIFEST)])).await;
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let op = gybe.begin(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;

    let shows_reason = |op: &Value| op["gybe:progress"]["reasons"].to_string().contains("ImagePull");
    let waiting = gybe.wait_until(&op, |op| shows_reason(op) && op["gybe:progress"]["objects"]["ready"] == 2).await;
    let progress = &waiting["gybe:progress"];
    let reason = progress["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("Deployment amf 0 of 1 ready: pod amf-"), "{reason}");
    assert!(reason.contains("registry.invalid/x-***-x/amf"), "secrets are masked: {reason}");
    assert_eq!((&progress["name"], &progress["objects"]["total"]), (&json!("AwaitReady"), &json!(3)), "{progress:#}");
    assert_eq!(progress["step"], progress["of"], "{progress:#}");
    let listed = gybe.get("/vnflcm/v1/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    assert!(shows_reason(&listed[0]), "{listed:#}");

    let steps = gybe.get(&format!("{}/steps", op.replace("/v2/", "/v1/"))).await.expect(StatusCode::OK);
    let waits = last(&steps, "AwaitReady", "forward");
    assert_eq!((&waits["state"], waits.get("endedAt"), &waits["attempt"]), (&json!("RUNNING"), None, &json!(1)));
    let objects = waits["objects"].as_array().unwrap();
    let mut states: Vec<_> =
        objects.iter().map(|it| (it["name"].as_str().unwrap(), it["state"].as_str().unwrap())).collect();
    states.sort_unstable();
    assert_eq!(states, [("amf", "PENDING"), ("app", "READY"), ("pull", "READY")], "{waits:#}");
    assert_eq!((&objects[0]["ready"], &objects[0]["total"]), (&json!(0), &json!(1)));
    assert_eq!(objects[0]["namespace"], namespace.name.as_str());
    let applied = last(&steps, "Apply", "forward");
    assert_eq!((&applied["state"], &applied["objects"][0]["state"]), (&json!("COMPLETED"), &json!("APPLIED")));

    gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "FORCEFUL" })).await.expect(StatusCode::ACCEPTED);
    let stopped = gybe.wait_ended(&op).await;
    assert_eq!(stopped.get("gybe:progress"), None, "{stopped:#}");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    let steps = gybe.get(&format!("{op}/steps")).await.expect(StatusCode::OK);
    let waited = last(&steps, "AwaitReady", "forward");
    assert!(waited["error"].as_str().unwrap().starts_with("cancelled by request"), "{waited:#}");
    assert_eq!((&waited["state"], &waited["objects"][0]["state"]), (&json!("FAILED"), &json!("PENDING")));
    let removed = last(&steps, "Remove", "backward");
    assert_eq!((&removed["state"], &removed["objects"][0]["state"]), (&json!("COMPLETED"), &json!("REMOVED")));
    assert!(steps["steps"].as_array().unwrap().iter().all(|step| step["endedAt"].is_string()), "{steps:#}");
    assert!(!steps.to_string().contains("hunter2"), "{steps:#}");
}
