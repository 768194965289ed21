//! Operations that stop, on their own or on request: why is told, and retry, rollback and fail lead out. On the real
//! control plane.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::Gybe;
use crate::support::sample;

async fn begun(gybe: &Gybe, cluster: &Cluster, sample: &str, namespace: &TestNamespace) -> (String, String, Value) {
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard(sample).await;
    let path = gybe.create("v2", &vnfd).await;
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let op = gybe.begin(&path, "instantiate", &request).await;
    let settled = gybe.settled(&op).await;
    (path, op, settled)
}

async fn workloads(cluster: &Cluster, namespace: &TestNamespace) -> usize {
    let api = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    api.list(&ListParams::default()).await.unwrap().items.len()
}

async fn fails_with(sample: &str, wanted: &[&str]) {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let (path, op, settled) = begun(&gybe, &cluster, sample, &namespace).await;
    assert_eq!(settled["operationState"], "FAILED_TEMP");
    let detail = settled["error"]["detail"].as_str().unwrap();
    assert!(wanted.iter().all(|wanted| detail.contains(wanted)), "wanted {wanted:?}: {detail}");
    let evidence = &settled["error"]["evidence"];
    let objects = evidence["objects"].as_array().unwrap();
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Deployment", "Pod"], "{evidence:#}");
    assert!(objects.iter().all(|object| !object["conditions"].as_array().unwrap().is_empty()), "{evidence:#}");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let back = gybe.settled(&op).await;
    assert_eq!(back["operationState"], "ROLLED_BACK");
    assert_eq!(&back["error"]["evidence"], evidence, "it stays when what it is about is gone");
    assert_eq!(workloads(&cluster, &namespace).await, 0);
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

/// An instantiation that waits for a pod that never becomes ready; its path and its op occurrence's.
async fn waiting(gybe: &Gybe, cluster: &Cluster, namespace: &TestNamespace) -> (String, String) {
    let manifest = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: 'registry.k8s.io/never-ready:1.0'}]}
";
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let package = gybe.upload(&sample::with_manifests(&[("Files/app.yaml", manifest)])).await;
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let op = gybe.begin(&path, "instantiate", &request).await;
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    let mut events = deployments.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
    (path, op)
}

#[tokio::test]
async fn an_instantiation_that_waits_is_cancelled_and_rolled_back() {
    let cluster = Cluster::running().await;
    for mode in ["GRACEFUL", "FORCEFUL"] {
        let namespace = cluster.namespace().await;
        let gybe = Gybe::start();
        let (path, op) = waiting(&gybe, &cluster, &namespace).await;
        let cancelled = Instant::now();
        gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": mode })).await.expect(StatusCode::ACCEPTED);
        let stopped = gybe.settled(&op).await;
        assert!(cancelled.elapsed() < Duration::from_secs(4), "sooner than the lease is renewed");
        assert_eq!((&stopped["operationState"], &stopped["isCancelPending"]), (&json!("FAILED_TEMP"), &json!(false)));
        let detail = stopped["error"]["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("cancelled by request ({mode}) ")), "{detail}");
        gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": mode })).await.problem(409);
        gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
        assert_eq!(gybe.settled(&op).await["operationState"], "ROLLED_BACK");
        assert_eq!(workloads(&cluster, &namespace).await, 0);
        gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn an_image_that_can_not_be_pulled_fails_the_operation_with_the_reason() {
    fails_with("broken/image-pull", &["ImagePullBackOff", "registry.invalid"]).await;
}

#[tokio::test]
async fn a_crash_loop_fails_the_operation_with_the_reason() {
    fails_with("broken/crash-loop", &["CrashLoopBackOff", "app"]).await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_fails_the_operation_with_the_reason() {
    fails_with("broken/unschedulable", &["Unschedulable", "Insufficient cpu"]).await;
}

#[tokio::test]
async fn a_retry_goes_on_once_the_cause_is_gone() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let (path, op, settled) = begun(&gybe, &cluster, "broken/image-pull", &namespace).await;
    assert_eq!(settled["operationState"], "FAILED_TEMP");
    let links = settled["_links"].as_object().unwrap();
    assert!(["retry", "rollback", "fail"].iter().all(|link| links.contains_key(*link)));
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": "registry.k8s.io/pause:3.10" }] } } } });
    let api = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    api.patch("app", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.settled(&op).await["operationState"], "COMPLETED");
    assert!(gybe.post(&format!("{op}/retry"), &json!({})).await.problem(409).contains("COMPLETED"));
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_failed_instantiation_keeps_its_objects_in_the_inventory_until_they_are_removed() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let (path, op, _) = begun(&gybe, &cluster, "broken/image-pull", &namespace).await;
    let failed = gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    assert_eq!(failed["operationState"], "FAILED");
    assert!(failed["error"]["detail"].as_str().unwrap().contains("ImagePullBackOff"));
    gybe.post(&format!("{op}/rollback"), &json!({})).await.problem(409);
    assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["instantiationState"], "NOT_INSTANTIATED");
    assert!(gybe.delete(&path).await.problem(409).contains("instantiate it again"));
    let elsewhere = json!({ "flavourId": "simple", "additionalParams": { "namespace": "elsewhere" } });
    let detail = gybe.post(&format!("{path}/instantiate"), &elsewhere).await.problem(409);
    assert!(detail.contains(namespace.name.as_str()), "{detail}");

    let again = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let op = gybe.begin(&path, "instantiate", &again).await;
    assert_eq!(gybe.settled(&op).await["operationState"], "FAILED_TEMP");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(workloads(&cluster, &namespace).await, 0);
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_a_failed_instantiation_left_is_not_forgotten_when_the_next_one_is_refused() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let (path, op, _) = begun(&gybe, &cluster, "broken/image-pull", &namespace).await;
    gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    let home = gybe.get(&path).await.expect(StatusCode::OK)["vimConnectionInfo"].clone();
    let broken = json!({ "vimConnectionInfo": { "default": { "accessInfo": { "bearer_token": "wrong" } } } });
    let patched = gybe.patch(&path, &broken).await;
    patched.expect(StatusCode::ACCEPTED);
    gybe.settled(&patched.location.unwrap()).await;
    let elsewhere = json!({ "vimConnectionInfo": { "default": { "vimId": null, "interfaceInfo": { "endpoint": "https://127.0.0.1:9" }, "accessInfo": { "bearer_token": "x" } } } });
    assert!(gybe.patch(&path, &elsewhere).await.problem(409).contains("it stays"));
    assert!(gybe.patch(&path, &json!({ "vimConnectionInfo": null })).await.problem(409).contains("it stays"));

    let mut unreadable = crate::support::gybe::connection(&cluster.admin);
    unreadable["interfaceInfo"]["endpoint"] = "https://127.0.0.1:9".into();
    let request = json!({
        "flavourId": "simple", "vimConnectionInfo": { "other": unreadable },
        "additionalParams": { "namespace": namespace.name.as_str() },
    });
    assert!(gybe.post(&format!("{path}/instantiate"), &request).await.problem(409).contains("it stays"));
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["metadata"]["namespace"], namespace.name.as_str());
    assert_eq!(instance["vimConnectionInfo"]["default"]["vimId"], home["default"]["vimId"]);

    let again = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let op = gybe.begin(&path, "instantiate", &again).await;
    assert_eq!(gybe.settled(&op).await["operationState"], "FAILED_TEMP");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(workloads(&cluster, &namespace).await, 0);
}

#[tokio::test]
async fn a_scale_out_that_stops_is_rolled_back_to_the_number_before() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let (path, _, settled) = begun(&gybe, &cluster, "core5g", &namespace).await;
    assert_eq!(settled["operationState"], "COMPLETED");
    let pods = cluster.api("v1", "Pod", "pods", Some(&namespace.name)).list(&ListParams::default()).await.unwrap();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" },
        "spec": { "hard": { "pods": pods.items.len().to_string() } },
    });
    cluster.create("resourcequotas", Some(&namespace.name), quota).await;
    let op = gybe.begin(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
    let stopped = gybe.settled(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP");
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("quota"), "{}", stopped["error"]["detail"]);
    let other = gybe.post(&format!("{path}/heal"), &json!({})).await;
    assert!(other.problem(409).contains("FAILED_TEMP"));
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    let levels = instance["instantiatedVnfInfo"]["scaleStatus"].as_array().unwrap();
    assert!(levels.iter().all(|info| info["scaleLevel"] == 0));
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    assert_eq!(deployments.get("smf").await.unwrap().data["spec"]["replicas"], 1);
    let op = gybe.begin(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(gybe.settled(&op).await["operationState"], "COMPLETED");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.problem(404);
}
