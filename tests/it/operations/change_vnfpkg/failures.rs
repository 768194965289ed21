//! A change of package that is rejected, stops, is cancelled or failed: the remaining objects, and the rollback.

use std::time::{Duration, Instant};

use kube::api::{ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ChangeFixture, SECOND, SOUND, UNPULLABLE, images};
use crate::support::gybe::{Gybe, SHORT_GRACE, connection};

/// A StatefulSet that replaces its pods in order.
fn database(image: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 1}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 2
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: db, image: '{image}'}}]}}
"
    )
}

/// Its controller waits for ever for a pod of the bad revision.
#[tokio::test]
async fn an_ordered_stateful_set_gets_out_of_a_bad_revision() {
    let fixture = ChangeFixture::of(Gybe::start_with(&SHORT_GRACE), &database("example.test/db:1")).await;
    let bad = fixture.onboard("2.0", &database(UNPULLABLE)).await;
    let good = fixture.onboard("3.0", &database("example.test/db:3")).await;
    let pods = fixture.cluster.api("v1", "Pod", "pods", Some(&fixture.namespace.name));
    let images = async || {
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        pods.iter().map(|pod| pod.data["spec"]["containers"][0]["image"].clone()).collect::<Vec<Value>>()
    };
    let (op, _) = fixture.change_until_stopped(&bad).await;
    fixture.roll_back(&op).await;
    assert_eq!(images().await, ["example.test/db:1"; 2]);
    let (op, _) = fixture.change_until_stopped(&bad).await;
    fixture.fail(&op).await;
    fixture.change(&good).await;
    assert_eq!(images().await, ["example.test/db:3"; 2]);
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn an_unpullable_image_stops_the_change_and_rollback_restores_all() {
    let fixture = ChangeFixture::new(Gybe::start_with(&SHORT_GRACE)).await;
    let second = fixture.second(UNPULLABLE).await;
    let (specs, uids, before) = (fixture.specs().await, fixture.uids().await, fixture.instance().await);
    let (op, stopped) = fixture.change_until_stopped(&second).await;
    let text = stopped["error"].to_string();
    assert!(text.contains("ImagePullBackOff") && text.contains("registry.invalid"), "{text}");
    assert!(stopped["error"]["evidence"]["objects"].as_array().unwrap().iter().any(|it| it["kind"] == "Pod"), "{text}");
    assert!(!text.contains("secret-word"), "{text}");
    let there = fixture.uids().await;
    assert!(there.contains_key("Deployment legacy"), "nothing is removed before the new objects are ready");

    // Both packages are in use and cannot be deleted.
    for vnfd in [&fixture.first, &second] {
        assert_eq!(fixture.usage(vnfd).await, "IN_USE");
        let packages = fixture.gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
        let package = packages.as_array().unwrap().iter().find(|it| it["vnfdId"] == *vnfd).unwrap();
        let href = package["_links"]["self"]["href"].as_str().unwrap();
        let disabled = json!({ "operationalState": "DISABLED" });
        fixture.gybe.patch(href, &disabled).await.expect(StatusCode::OK);
        assert!(fixture.gybe.delete(href).await.problem(409).contains("IN_USE"));
    }
    assert_eq!(fixture.instance().await["vnfdId"], *fixture.first);

    fixture.roll_back(&op).await;
    fixture.check_unchanged(&specs).await;
    let (now, changed) = (fixture.uids().await, ["Job prepare", "Pod probe"]);
    for (name, uid) in &uids {
        assert_eq!(now[name] == *uid, !changed.contains(&name.as_str()), "{name}");
    }
    fixture.check_in_sync().await;
    let after = fixture.instance().await;
    let without_pods = |mut instance: Value| {
        instance["instantiatedVnfInfo"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("vnfc"));
        instance
    };
    assert_eq!(without_pods(after), without_pods(before));
    assert_eq!(
        (fixture.usage(&fixture.first).await, fixture.usage(&second).await),
        ("IN_USE".to_owned(), "NOT_IN_USE".to_owned())
    );
    let ended = fixture.gybe.get(&op).await.expect(StatusCode::OK);
    assert_eq!(ended.get("modificationsTriggeredByVnfPkgChange"), None);
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn rollback_recreates_deleted_objects() {
    let fixture = ChangeFixture::new(Gybe::start()).await;
    let second = fixture.second(SOUND).await;
    let specs = fixture.specs().await;
    let settings = fixture.cluster.api("v1", "ConfigMap", "configmaps", Some(&fixture.namespace.name));
    let finalizers = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    settings.patch("legacy", &PatchParams::default(), &finalizers(json!(["example.org/held"]))).await.unwrap();
    let op = fixture.gybe.begin(&fixture.path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let begun = Instant::now();
    while settings.get("legacy").await.unwrap().metadata.deletion_timestamp.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the object is not terminating");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!fixture.uids().await.contains_key("Deployment legacy"));
    fixture.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "FORCEFUL" })).await.expect(StatusCode::ACCEPTED);
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    settings.patch("legacy", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    fixture.roll_back(&op).await;
    fixture.check_unchanged(&specs).await;
    assert_eq!(images(&fixture).await, ["registry.k8s.io/pause:3.9"; 2]);

    // The same change again completes.
    fixture.change(&second).await;
    fixture.check_in_sync().await;
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn a_rejected_object_stops_the_change_and_it_is_rolled_back() {
    let fixture = ChangeFixture::new(Gybe::start()).await;
    let specs = fixture.specs().await;
    let selector = SECOND
        .replace("{image}", SOUND)
        .replace("selector: {matchLabels: {app: app}}", "selector: {matchLabels: {app: other}}");
    let selector = selector.replace("metadata: {labels: {app: app}}", "metadata: {labels: {app: other}}");
    let second = fixture.onboard("2.0", &selector).await;
    let (op, stopped) = fixture.change_until_stopped(&second).await;
    assert_eq!(stopped["error"]["status"], 422);
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("immutable"), "{stopped:#}");
    fixture.roll_back(&op).await;
    fixture.check_unchanged(&specs).await;
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn an_object_of_another_owner_stops_the_change_and_stays_unchanged() {
    let fixture = ChangeFixture::new(Gybe::start()).await;
    let specs = fixture.specs().await;
    let foreign =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "new" }, "data": { "mine": "1" } });
    fixture.cluster.create("configmaps", Some(&fixture.namespace.name), foreign).await;
    let second = fixture.second(SOUND).await;
    let (op, stopped) = fixture.change_until_stopped(&second).await;
    assert_eq!(stopped["error"]["status"], 409);
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("ConfigMap new"), "{stopped:#}");
    fixture.roll_back(&op).await;
    fixture.check_unchanged(&specs).await;
    let settings = fixture.cluster.api("v1", "ConfigMap", "configmaps", Some(&fixture.namespace.name));
    assert_eq!(settings.get("new").await.unwrap().data["data"], json!({ "mine": "1" }));
    fixture.check_in_sync().await;
    fixture.terminate_and_check_nothing_left().await;
    assert!(settings.get("new").await.is_ok());
}

#[tokio::test]
async fn a_failed_change_can_be_healed_repeated_and_terminated() {
    let fixture = ChangeFixture::new(Gybe::start_with(&SHORT_GRACE)).await;
    let second = fixture.second(UNPULLABLE).await;
    let (op, _) = fixture.change_until_stopped(&second).await;
    fixture.fail(&op).await;
    let instance = fixture.instance().await;
    assert_eq!((&instance["vnfdId"], &instance["instantiationState"]), (&json!(fixture.first), &json!("INSTANTIATED")));
    assert_eq!(fixture.usage(&second).await, "NOT_IN_USE");
    let retried = fixture.gybe.post(&format!("{op}/retry"), &json!({})).await;
    retried.problem(409);

    // Healing restores the state that the operation left, which never becomes ready.
    let heal = fixture.gybe.begin(&fixture.path, "heal", &json!({})).await;
    assert_eq!(fixture.gybe.wait_ended(&heal).await["operationState"], "FAILED_TEMP");
    fixture.fail(&heal).await;

    let third = fixture.onboard("3.0", &SECOND.replace("{image}", SOUND)).await;
    fixture.change(&third).await;
    assert_eq!(images(&fixture).await, [SOUND; 2]);
    fixture.check_in_sync().await;
    assert!(!fixture.uids().await.contains_key("Deployment legacy"));
    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;

    // A change to the current package undoes the failed change.
    let (op, _) = fixture.change_until_stopped(&second).await;
    fixture.fail(&op).await;
    fixture.change(&third).await;
    assert_eq!(images(&fixture).await, [SOUND; 2]);
    fixture.check_in_sync().await;

    let (op, _) = fixture.change_until_stopped(&second).await;
    fixture.fail(&op).await;
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn a_cancelled_change_is_retried_and_completes() {
    let fixture = ChangeFixture::new(Gybe::start()).await;
    let second = fixture.second("registry.k8s.io/never-ready:1.0").await;
    let op = fixture.gybe.begin(&fixture.path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let sets = fixture.cluster.api("apps/v1", "StatefulSet", "statefulsets", Some(&fixture.namespace.name));
    let begun = Instant::now();
    while sets.get_opt("new").await.unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", fixture.gybe.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await.expect(StatusCode::ACCEPTED);
    let stopped = fixture.gybe.wait_ended(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
    assert!(stopped["error"]["detail"].as_str().unwrap().starts_with("cancelled by request"), "{stopped:#}");
    // Remove the cause of the failure.
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": SOUND }] } } } });
    fixture.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let deployments = fixture.cluster.api("apps/v1", "Deployment", "deployments", Some(&fixture.namespace.name));
    let mend = PatchParams::apply("by-hand").force();
    let object =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "app" }, "spec": image["spec"] });
    deployments.patch("app", &mend, &Patch::Apply(object)).await.unwrap();
    let ended = fixture.gybe.wait_ended(&op).await;
    assert_eq!(ended["operationState"], "COMPLETED", "{ended:#}");
    assert_eq!(fixture.instance().await["vnfdId"], *second);
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn rejects_impossible_change_before_the_202() {
    let fixture = ChangeFixture::new(Gybe::start()).await;
    let second = fixture.second(SOUND).await;
    let broken = fixture.onboard("3.0", "{apiVersion: v1, kind: ConfigMap, metadata: {}}").await;
    let with = |params: Value| json!({ "vnfdId": second, "additionalParams": params });
    let ops = fixture.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    let elsewhere = connection(&fixture.cluster.admin);
    let mut moved = elsewhere.clone();
    moved["interfaceInfo"]["endpoint"] = "https://elsewhere.example:6443".into();
    for (request, status, says) in [
        (json!({}), 400, "vnfdId"),
        (json!({ "vnfdId": "unknown" }), 422, "'unknown'"),
        (json!({ "vnfdId": broken }), 422, "metadata has no name"),
        (with(json!({ "upgrade_type": "BlueGreen" })), 422, "RollingUpdate"),
        (with(json!({ "upgrade_type": 1 })), 400, "upgrade_type"),
        (with(json!({ "vdu_params": [{}] })), 400, "vdu_id"),
        (with(json!({ "vdu_params": "VDU1" })), 400, "vdu_params"),
        (with(json!({ "vdu_params": [{ "vdu_id": "VDU7" }] })), 422, "VDU7"),
        (with(json!({ "namespace": "default" })), 422, "stays there"),
        (with(json!({ "namespace": 5 })), 400, "namespace"),
        (with(json!({ "namespace": "" })), 400, "namespace"),
        (with(json!({ "lcm-kubernetes-def-files": ["Files/none.yaml"] })), 422, "Files/none.yaml"),
        (with(json!({ "lcm-kubernetes-def-files": 5 })), 400, "lcm-kubernetes-def-files"),
        (json!({ "vnfdId": second, "vimConnectionInfo": { "default": moved } }), 409, "stays there"),
        (json!({ "vnfdId": second, "extensions": { "a": "x".repeat(70_000) } }), 422, "extensions"),
    ] {
        let answer = fixture.gybe.post(&format!("{}/change_vnfpkg", fixture.path), &request).await;
        let detail = answer.problem(status);
        assert!(detail.contains(says), "{request}: {detail}");
    }
    assert_eq!(fixture.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), ops);

    let created = fixture.gybe.create("v2", &fixture.first).await;
    let refused = fixture.gybe.post(&format!("{created}/change_vnfpkg"), &json!({ "vnfdId": second })).await;
    assert!(refused.problem(409).contains("NOT_INSTANTIATED"));
    assert!(fixture.gybe.get(&created).await.expect(StatusCode::OK)["_links"].get("changeCurrentVnfPkg").is_none());
    for task in ["change_vnfpkg", "change_current_vnfpkg"] {
        let of_v1 = fixture.path.replace("/v2/", "/v1/");
        fixture.gybe.post(&format!("{of_v1}/{task}"), &json!({ "vnfdId": second })).await.problem(404);
    }
    let of_v1 = fixture.gybe.get(&fixture.path.replace("/v2/", "/v1/")).await.expect(StatusCode::OK);
    assert!(of_v1["_links"].get("changeCurrentVnfPkg").is_none());
    fixture.gybe.complete(&fixture.path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    let refused = fixture.gybe.post(&format!("{}/change_vnfpkg", fixture.path), &json!({ "vnfdId": second })).await;
    assert!(refused.problem(409).contains("STOPPED"));
    assert!(fixture.instance().await["_links"].get("changeCurrentVnfPkg").is_none());
}
