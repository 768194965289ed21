//! Operations that stop, by a fault or on request: they report why, and retry, rollback and fail resolve them. On the
//! real control plane.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, SHORT_GRACE, instantiate_request};
use crate::support::sample;

async fn instantiate_until_stopped(
    gybe: &Gybe,
    cluster: &Cluster,
    sample: &str,
    namespace: &TestNamespace,
) -> (String, String, Value) {
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard(sample).await;
    let path = gybe.create("v2", &vnfd).await;
    let request = instantiate_request(namespace.name.as_str());
    let op = gybe.begin(&path, "instantiate", &request).await;
    let settled = gybe.wait_ended(&op).await;
    (path, op, settled)
}

async fn workloads(cluster: &Cluster, namespace: &TestNamespace) -> usize {
    let api = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    api.list(&ListParams::default()).await.unwrap().items.len()
}

async fn check_failure(sample: &str, wanted: &[&str]) {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&SHORT_GRACE);
    let (path, op, settled) = instantiate_until_stopped(&gybe, &cluster, sample, &namespace).await;
    assert_eq!(settled["operationState"], "FAILED_TEMP");
    let detail = settled["error"]["detail"].as_str().unwrap();
    assert!(wanted.iter().all(|wanted| detail.contains(wanted)), "wanted {wanted:?}: {detail}");
    let evidence = &settled["error"]["evidence"];
    let objects = evidence["objects"].as_array().unwrap();
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Deployment", "Pod"], "{evidence:#}");
    assert!(objects.iter().all(|object| !object["conditions"].as_array().unwrap().is_empty()), "{evidence:#}");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let back = gybe.wait_ended(&op).await;
    assert_eq!(back["operationState"], "ROLLED_BACK");
    assert_eq!(&back["error"]["evidence"], evidence, "the evidence stays after its objects are deleted");
    assert_eq!(workloads(&cluster, &namespace).await, 0);
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

/// Starts an instantiation that waits for a pod that never becomes ready; returns the paths of the instance and of the
/// op occurrence.
async fn start_waiting_instantiation(gybe: &Gybe, cluster: &Cluster, namespace: &TestNamespace) -> (String, String) {
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
    let request = instantiate_request(namespace.name.as_str());
    let op = gybe.begin(&path, "instantiate", &request).await;
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    let mut events = deployments.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
    (path, op)
}

#[tokio::test]
async fn a_waiting_instantiation_is_cancelled_and_rolled_back() {
    let cluster = Cluster::running().await;
    for mode in ["GRACEFUL", "FORCEFUL"] {
        let namespace = cluster.namespace().await;
        // Its lease is renewed every 50 seconds, so the cancel request must be signalled.
        let gybe = Gybe::start_with(&["--lease", "300"]);
        let (path, op) = start_waiting_instantiation(&gybe, &cluster, &namespace).await;
        let cancelled = Instant::now();
        gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": mode })).await.expect(StatusCode::ACCEPTED);
        let stopped = gybe.wait_ended(&op).await;
        assert!(
            cancelled.elapsed() < Duration::from_secs(45),
            "the cancel takes effect before the next renewal of the lease"
        );
        assert_eq!((&stopped["operationState"], &stopped["isCancelPending"]), (&json!("FAILED_TEMP"), &json!(false)));
        let detail = stopped["error"]["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("cancelled by request ({mode}) ")), "{detail}");
        gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": mode })).await.problem(409);
        gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
        assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
        assert_eq!(workloads(&cluster, &namespace).await, 0);
        gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn an_unpullable_image_fails_the_operation_with_the_reason() {
    check_failure("broken/image-pull", &["ImagePullBackOff", "registry.invalid"]).await;
}

#[tokio::test]
async fn a_crash_loop_fails_the_operation_with_the_reason() {
    check_failure("broken/crash-loop", &["CrashLoopBackOff", "app"]).await;
}

#[tokio::test]
async fn an_unschedulable_pod_fails_the_operation_with_the_reason() {
    check_failure("broken/unschedulable", &["Unschedulable", "Insufficient cpu"]).await;
}

#[tokio::test]
async fn a_retry_succeeds_after_the_cause_is_fixed() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&SHORT_GRACE);
    let (path, op, settled) = instantiate_until_stopped(&gybe, &cluster, "broken/image-pull", &namespace).await;
    assert_eq!(settled["operationState"], "FAILED_TEMP");
    let links = settled["_links"].as_object().unwrap();
    assert!(["retry", "rollback", "fail"].iter().all(|link| links.contains_key(*link)));
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": "registry.k8s.io/pause:3.10" }] } } } });
    let api = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    api.patch("app", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "COMPLETED");
    assert!(gybe.post(&format!("{op}/retry"), &json!({})).await.problem(409).contains("COMPLETED"));
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_failed_instantiation_keeps_its_inventory_until_the_objects_are_deleted() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&SHORT_GRACE);
    let (path, op, _) = instantiate_until_stopped(&gybe, &cluster, "broken/image-pull", &namespace).await;
    let failed = gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    assert_eq!(failed["operationState"], "FAILED");
    assert!(failed["error"]["detail"].as_str().unwrap().contains("ImagePullBackOff"));
    gybe.post(&format!("{op}/rollback"), &json!({})).await.problem(409);
    assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["instantiationState"], "NOT_INSTANTIATED");
    assert!(gybe.delete(&path).await.problem(409).contains("terminate it first"));
    let drift = gybe.get(&format!("{path}/drift")).await.expect(StatusCode::OK);
    assert!(!drift["objects"].as_array().unwrap().is_empty(), "{drift:#}");
    let elsewhere = instantiate_request("elsewhere");
    let detail = gybe.post(&format!("{path}/instantiate"), &elsewhere).await.problem(409);
    assert!(detail.contains(namespace.name.as_str()), "{detail}");

    let again = instantiate_request(namespace.name.as_str());
    let op = gybe.begin(&path, "instantiate", &again).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(workloads(&cluster, &namespace).await, 0);
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn terminate_removes_what_a_failed_instantiation_left_even_if_the_package_is_disabled() {
    let cluster = Cluster::running().await;
    for edition in ["v1", "v2"] {
        let namespace = cluster.namespace().await;
        let gybe = Gybe::start_with(&SHORT_GRACE);
        let (path, op, _) = instantiate_until_stopped(&gybe, &cluster, "broken/image-pull", &namespace).await;
        gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
        let packages = gybe.get("/vnfpkgm/v2/vnf_packages").await.expect(StatusCode::OK);
        let package = packages[0]["_links"]["self"]["href"].as_str().unwrap();
        gybe.patch(package, &json!({ "operationalState": "DISABLED" })).await.expect(StatusCode::OK);
        assert_ne!(workloads(&cluster, &namespace).await, 0);

        let path = path.replace("/v2/", &format!("/{edition}/"));
        let op = gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        assert_eq!(op["operation"], "TERMINATE");
        assert_eq!(workloads(&cluster, &namespace).await, 0);
        let again = gybe.post(&format!("{path}/terminate"), &json!({ "terminationType": "FORCEFUL" })).await;
        assert!(again.problem(409).contains("NOT_INSTANTIATED"));
        assert!(gybe.get(&format!("{path}/drift")).await.problem(409).contains("has no objects"));
        gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_rejected_instantiation_keeps_the_inventory_of_the_failed_one() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&SHORT_GRACE);
    let (path, op, _) = instantiate_until_stopped(&gybe, &cluster, "broken/image-pull", &namespace).await;
    gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    let home = gybe.get(&path).await.expect(StatusCode::OK)["vimConnectionInfo"].clone();
    let broken = json!({ "vimConnectionInfo": { "default": { "accessInfo": { "bearer_token": "wrong" } } } });
    let patched = gybe.patch(&path, &broken).await;
    patched.expect(StatusCode::ACCEPTED);
    gybe.wait_ended(&patched.location.unwrap()).await;
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

    let again = instantiate_request(namespace.name.as_str());
    let op = gybe.begin(&path, "instantiate", &again).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(workloads(&cluster, &namespace).await, 0);
}

#[tokio::test]
async fn rollback_of_a_scale_out_restores_the_replicas() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&["--ready-grace", "10"]);
    let (path, _, settled) = instantiate_until_stopped(&gybe, &cluster, "core5g", &namespace).await;
    assert_eq!(settled["operationState"], "COMPLETED");
    let pods = cluster.api("v1", "Pod", "pods", Some(&namespace.name)).list(&ListParams::default()).await.unwrap();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" },
        "spec": { "hard": { "pods": pods.items.len().to_string() } },
    });
    cluster.create("resourcequotas", Some(&namespace.name), quota).await;
    let op = gybe.begin(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
    let stopped = gybe.wait_ended(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP");
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("quota"), "{}", stopped["error"]["detail"]);
    let other = gybe.post(&format!("{path}/heal"), &json!({})).await;
    assert!(other.problem(409).contains("FAILED_TEMP"));
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    let levels = instance["instantiatedVnfInfo"]["scaleStatus"].as_array().unwrap();
    assert!(levels.iter().all(|info| info["scaleLevel"] == 0));
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    assert_eq!(deployments.get("smf").await.unwrap().data["spec"]["replicas"], 1);
    let op = gybe.begin(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "COMPLETED");
    gybe.post(&format!("{op}/rollback"), &json!({})).await.problem(404);
}

/// A Secret with the words of the reasons, and one with a real secret.
const SECRETS: &str = "
{apiVersion: v1, kind: Secret, metadata: {name: words}, stringData: {user: spec, kind: Deployment, mode: strategy, name: token}}
---
{apiVersion: v1, kind: Secret, metadata: {name: real}, stringData: {password: tIg-8hd3-kq}}
---
";

/// What names a secret without being one is readable; a value of a Secret is not, wherever it occurs.
#[tokio::test]
async fn the_reason_of_a_refusal_is_readable() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let workload = |strategy: &str, container: &str, pod: &str| {
        format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app}}
spec:
  {strategy}
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec: {{containers: [{{name: app, image: 'example.test/good'{container}}}]{pod}}}
"
        )
    };
    let key = workload("", ", env: [{name: A, valueFrom: {secretKeyRef: {name: words}}}]", "");
    let mode = workload("", "", ", volumes: [{name: v, secret: {secretName: words, defaultMode: 4999}}]");
    let token = ", volumes: [{name: v, projected: {sources: [{serviceAccountToken: {expirationSeconds: 7200}}]}}]";
    let csi = ", volumes: [{name: v, csi: {driver: d.example.test, nodePublishSecretRef: {}}}]";
    let cases = [
        (key, "env[0].valueFrom.secretKeyRef.key: Required value"),
        (mode, "volumes[0].secret.defaultMode: Invalid value: 4999"),
        (workload("", "", token), "volumes[0].projected.path: Required value"),
        (workload("", "", csi), "nodePublishSecretRef.name: Required value"),
        ("{apiVersion: v1, kind: Secret, metadata: {name: Own_Secret}, data: {}}".to_owned(), "\"Own_Secret\""),
        (
            "{apiVersion: v1, kind: Secret, metadata: {name: t}, type: kubernetes.io/tls}".to_owned(),
            "data[tls.crt]: Required value",
        ),
        (workload("strategy: {type: Nonsense}", "", ""), r#"spec.strategy: Unsupported value: {"Type":"Nonsense""#),
        (workload("", ", imagePullPolicy: tIg-8hd3-kq", ""), "imagePullPolicy: Unsupported value: \"***\""),
    ];
    for (number, (manifest, reason)) in cases.iter().enumerate() {
        let namespace = cluster.namespace().await;
        let manifest = format!("{SECRETS}{manifest}");
        let csar = sample::of_version(&format!("{number}.1"), &[("Files/all.yaml", &manifest)]);
        let package = gybe.upload(&csar).await;
        let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
        let op = gybe.begin(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;
        let op = gybe.wait_ended(&op).await;
        let detail = op["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "wanted {reason}: {detail}");
        assert_eq!(detail.contains("***"), reason.contains("***"), "{detail}");
        assert!(!op.to_string().contains("tIg-8hd3-kq"), "{op:#}");
    }
}
