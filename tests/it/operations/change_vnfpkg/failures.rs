//! A change of package that is refused, stops, is cancelled or failed: what is left, and how it is rolled back.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{SECOND, SOUND, Site, UNPULLABLE, images, spec};
use crate::support::gybe::{Gybe, connection};

#[tokio::test]
async fn an_image_that_can_not_be_pulled_stops_the_change_with_the_evidence_and_all_is_rolled_back_exactly() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(UNPULLABLE).await;
    let (specs, uids, before) = (site.specs().await, site.uids().await, site.instance().await);
    let (op, stopped) = site.stopped(&second).await;
    let text = stopped["error"].to_string();
    assert!(text.contains("ImagePullBackOff") && text.contains("registry.invalid"), "{text}");
    assert!(stopped["error"]["evidence"]["objects"].as_array().unwrap().iter().any(|it| it["kind"] == "Pod"), "{text}");
    assert!(!text.contains("secret-word"), "{text}");
    let there = site.uids().await;
    assert!(there.contains_key("Deployment legacy"), "nothing is removed before what is new is ready");

    // Both are in use, and none of them goes.
    for vnfd in [&site.first, &second] {
        assert_eq!(site.usage(vnfd).await, "IN_USE");
        let packages = site.gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
        let package = packages.as_array().unwrap().iter().find(|it| it["vnfdId"] == *vnfd).unwrap();
        let href = package["_links"]["self"]["href"].as_str().unwrap();
        let disabled = json!({ "operationalState": "DISABLED" });
        site.gybe.patch(href, &disabled).await.expect(StatusCode::OK);
        assert!(site.gybe.delete(href).await.problem(409).contains("IN_USE"));
    }
    assert_eq!(site.instance().await["vnfdId"], *site.first);

    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    let (now, changed) = (site.uids().await, ["Job prepare", "Pod probe"]);
    for (name, uid) in &uids {
        assert_eq!(now[name] == *uid, !changed.contains(&name.as_str()), "{name}");
    }
    site.is_in_sync().await;
    let after = site.instance().await;
    let without_pods = |mut instance: Value| {
        instance["instantiatedVnfInfo"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("vnfc"));
        instance
    };
    assert_eq!(without_pods(after), without_pods(before));
    assert_eq!(
        (site.usage(&site.first).await, site.usage(&second).await),
        ("IN_USE".to_owned(), "NOT_IN_USE".to_owned())
    );
    let ended = site.gybe.get(&op).await.expect(StatusCode::OK);
    assert_eq!(ended.get("modificationsTriggeredByVnfPkgChange"), None);
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn what_was_removed_already_is_made_again_when_the_change_is_rolled_back() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(SOUND).await;
    let specs = site.specs().await;
    let settings = site.cluster.api("v1", "ConfigMap", "configmaps", Some(&site.namespace.name));
    let finalizers = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    settings.patch("legacy", &PatchParams::default(), &finalizers(json!(["example.org/held"]))).await.unwrap();
    let op = site.gybe.begin(&site.path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let begun = Instant::now();
    while settings.get("legacy").await.unwrap().metadata.deletion_timestamp.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not being removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!site.uids().await.contains_key("Deployment legacy"));
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "FORCEFUL" })).await.expect(StatusCode::ACCEPTED);
    assert_eq!(site.gybe.settled(&op).await["operationState"], "FAILED_TEMP");
    settings.patch("legacy", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    assert_eq!(images(&site).await, ["registry.k8s.io/pause:3.9"; 2]);

    // And the same again, to its end.
    site.change(&second).await;
    site.is_in_sync().await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn what_the_api_server_refuses_stops_the_change_and_it_is_rolled_back() {
    let site = Site::new(Gybe::start()).await;
    let specs = site.specs().await;
    let selector = SECOND
        .replace("{image}", SOUND)
        .replace("selector: {matchLabels: {app: app}}", "selector: {matchLabels: {app: other}}");
    let selector = selector.replace("metadata: {labels: {app: app}}", "metadata: {labels: {app: other}}");
    let second = site.onboard("2.0", &selector).await;
    let (op, stopped) = site.stopped(&second).await;
    assert_eq!(stopped["error"]["status"], 422);
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("immutable"), "{stopped:#}");
    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn an_object_of_somebody_else_stops_the_change_and_stays_as_it_is() {
    let site = Site::new(Gybe::start()).await;
    let specs = site.specs().await;
    let foreign =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "new" }, "data": { "mine": "1" } });
    site.cluster.create("configmaps", Some(&site.namespace.name), foreign).await;
    let second = site.second(SOUND).await;
    let (op, stopped) = site.stopped(&second).await;
    assert_eq!(stopped["error"]["status"], 409);
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("ConfigMap new"), "{stopped:#}");
    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    let settings = site.cluster.api("v1", "ConfigMap", "configmaps", Some(&site.namespace.name));
    assert_eq!(settings.get("new").await.unwrap().data["data"], json!({ "mine": "1" }));
    site.is_in_sync().await;
    site.nothing_is_left_once_terminated().await;
    assert!(settings.get("new").await.is_ok());
}

#[tokio::test]
async fn a_change_that_was_failed_half_way_can_be_healed_changed_again_and_terminated() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(UNPULLABLE).await;
    let (op, _) = site.stopped(&second).await;
    site.fail(&op).await;
    let instance = site.instance().await;
    assert_eq!((&instance["vnfdId"], &instance["instantiationState"]), (&json!(site.first), &json!("INSTANTIATED")));
    assert_eq!(site.usage(&second).await, "NOT_IN_USE");
    let retried = site.gybe.post(&format!("{op}/retry"), &json!({})).await;
    retried.problem(409);

    // Healing brings back what the operation left, which does not become ready.
    let heal = site.gybe.begin(&site.path, "heal", &json!({})).await;
    assert_eq!(site.gybe.settled(&heal).await["operationState"], "FAILED_TEMP");
    site.fail(&heal).await;

    let third = site.onboard("3.0", &SECOND.replace("{image}", SOUND)).await;
    site.change(&third).await;
    assert_eq!(images(&site).await, [SOUND; 2]);
    site.is_in_sync().await;
    assert!(!site.uids().await.contains_key("Deployment legacy"));
    site.gybe.complete(&site.path, "heal", &json!({})).await;

    // The package it has: what was failed on the way from it is undone by it.
    let (op, _) = site.stopped(&second).await;
    site.fail(&op).await;
    site.change(&third).await;
    assert_eq!(images(&site).await, [SOUND; 2]);
    site.is_in_sync().await;

    let (op, _) = site.stopped(&second).await;
    site.fail(&op).await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn a_change_is_cancelled_retried_and_comes_to_its_end() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second("registry.k8s.io/never-ready:1.0").await;
    let op = site.gybe.begin(&site.path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let sets = site.cluster.api("apps/v1", "StatefulSet", "statefulsets", Some(&site.namespace.name));
    let begun = Instant::now();
    while sets.get_opt("new").await.unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", site.gybe.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await.expect(StatusCode::ACCEPTED);
    let stopped = site.gybe.settled(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
    assert!(stopped["error"]["detail"].as_str().unwrap().starts_with("cancelled by request"), "{stopped:#}");
    // What kept it from its end is mended by hand.
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": SOUND }] } } } });
    site.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let deployments = site.cluster.api("apps/v1", "Deployment", "deployments", Some(&site.namespace.name));
    let mend = PatchParams::apply("by-hand").force();
    let object =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "app" }, "spec": image["spec"] });
    deployments.patch("app", &mend, &Patch::Apply(object)).await.unwrap();
    let ended = site.gybe.settled(&op).await;
    assert_eq!(ended["operationState"], "COMPLETED", "{ended:#}");
    assert_eq!(site.instance().await["vnfdId"], *second);
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn a_change_that_can_not_be_is_refused_before_the_202() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(SOUND).await;
    let broken = site.onboard("3.0", "{apiVersion: v1, kind: ConfigMap, metadata: {}}").await;
    let with = |params: Value| json!({ "vnfdId": second, "additionalParams": params });
    let ops = site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    let elsewhere = connection(&site.cluster.admin);
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
        let answer = site.gybe.post(&format!("{}/change_vnfpkg", site.path), &request).await;
        let detail = answer.problem(status);
        assert!(detail.contains(says), "{request}: {detail}");
    }
    assert_eq!(site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), ops);

    let created = site.gybe.create("v2", &site.first).await;
    let refused = site.gybe.post(&format!("{created}/change_vnfpkg"), &json!({ "vnfdId": second })).await;
    assert!(refused.problem(409).contains("NOT_INSTANTIATED"));
    assert!(site.gybe.get(&created).await.expect(StatusCode::OK)["_links"].get("changeCurrentVnfPkg").is_none());
    for task in ["change_vnfpkg", "change_current_vnfpkg"] {
        let of_v1 = site.path.replace("/v2/", "/v1/");
        site.gybe.post(&format!("{of_v1}/{task}"), &json!({ "vnfdId": second })).await.problem(404);
    }
    let of_v1 = site.gybe.get(&site.path.replace("/v2/", "/v1/")).await.expect(StatusCode::OK);
    assert!(of_v1["_links"].get("changeCurrentVnfPkg").is_none());
    site.gybe.complete(&site.path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    let refused = site.gybe.post(&format!("{}/change_vnfpkg", site.path), &json!({ "vnfdId": second })).await;
    assert!(refused.problem(409).contains("STOPPED"));
    assert!(site.instance().await["_links"].get("changeCurrentVnfPkg").is_none());
}
