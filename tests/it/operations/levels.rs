//! SCALE_TO_LEVEL through the API of the real binary, on the real control plane.

use kube::api::PostParams;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::Gybe;

/// Instantiates `core5g` and returns the path of the instance.
async fn instantiate_core5g(gybe: &Gybe, cluster: &Cluster, namespace: &TestNamespace, edition: &str) -> String {
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("core5g").await;
    gybe.instantiate(edition, &vnfd, namespace.name.as_str()).await
}

/// The levels of amf, smf and subscriber_data, and the VNFC counts of AMF, SMF, UDR and UDR_DB.
async fn levels_and_counts(gybe: &Gybe, path: &str) -> ([u64; 3], [usize; 4]) {
    let instance = gybe.get(path).await.expect(StatusCode::OK);
    let info = &instance["instantiatedVnfInfo"];
    let infos = info["scaleStatus"].as_array().unwrap();
    let level = |aspect| infos.iter().find(|it| it["aspectId"] == aspect).unwrap()["scaleLevel"].as_u64().unwrap();
    let vnfcs = info["vnfcResourceInfo"].as_array().unwrap();
    let number = |vdu| vnfcs.iter().filter(|vnfc| vnfc["vduId"] == vdu).count();
    (["amf", "smf", "subscriber_data"].map(level), ["AMF", "SMF", "UDR", "UDR_DB"].map(number))
}

async fn scale_to_level(gybe: &Gybe, path: &str, request: Value) {
    let op = gybe.complete(path, "scale_to_level", &request).await;
    assert_eq!((&op["operation"], &op["operationParams"]), (&json!("SCALE_TO_LEVEL"), &request));
}

async fn check_scale_to_level(edition: &str) {
    let cluster = Cluster::running().await;
    let (gybe, namespace) = (Gybe::start(), cluster.namespace().await);
    let path = instantiate_core5g(&gybe, &cluster, &namespace, edition).await;
    scale_to_level(&gybe, &path, json!({ "instantiationLevelId": "large" })).await;
    assert_eq!(levels_and_counts(&gybe, &path).await, ([2, 1, 1], [3, 3, 3, 2]));
    let smf = json!({ "scaleInfo": [{ "aspectId": "smf", "scaleLevel": 2 }] });
    scale_to_level(&gybe, &path, smf).await;
    assert_eq!(levels_and_counts(&gybe, &path).await, ([2, 2, 1], [3, 5, 3, 2]));
    let down = json!({ "scaleInfo": [{ "aspectId": "amf", "scaleLevel": 0 }, { "aspectId": "smf", "scaleLevel": 0 }] });
    scale_to_level(&gybe, &path, down).await;
    assert_eq!(levels_and_counts(&gybe, &path).await, ([0, 0, 1], [1, 1, 3, 2]));
    scale_to_level(&gybe, &path, json!({ "instantiationLevelId": "default" })).await;
    assert_eq!(levels_and_counts(&gybe, &path).await, ([0, 0, 0], [1, 1, 1, 1]));
}

#[tokio::test]
async fn a_vnf_scales_to_an_instantiation_level_and_to_levels_of_its_aspects_through_v1() {
    check_scale_to_level("v1").await;
}

#[tokio::test]
async fn a_vnf_scales_to_an_instantiation_level_and_to_levels_of_its_aspects_through_v2() {
    check_scale_to_level("v2").await;
}

#[tokio::test]
async fn rollback_of_scale_to_level_restores_the_replicas() {
    let cluster = Cluster::running().await;
    let (gybe, namespace) = (Gybe::start_with(&["--ready-grace", "10"]), cluster.namespace().await);
    let path = instantiate_core5g(&gybe, &cluster, &namespace, "v2").await;
    scale_to_level(&gybe, &path, json!({ "scaleInfo": [{ "aspectId": "amf", "scaleLevel": 1 }] })).await;
    let before = levels_and_counts(&gybe, &path).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "full" }, "spec": { "hard": { "pods": "1" } },
    });
    let quotas = cluster.api("v1", "ResourceQuota", "resourcequotas", Some(&namespace.name));
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();

    let op = gybe.begin(&path, "scale_to_level", &json!({ "instantiationLevelId": "large" })).await;
    let stopped = gybe.wait_ended(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP");
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("quota"), "{stopped:#}");
    assert!(stopped["_links"].get("rollback").is_some());
    gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    assert_eq!(levels_and_counts(&gybe, &path).await, before);
}

#[tokio::test]
async fn rejects_impossible_level_without_creating_an_op_occurrence() {
    let cluster = Cluster::running().await;
    let (gybe, namespace) = (Gybe::start(), cluster.namespace().await);
    let created = gybe.create("v2", &gybe.onboard("small").await).await;
    let large = json!({ "instantiationLevelId": "large" });
    assert!(gybe.post(&format!("{created}/scale_to_level"), &large).await.problem(409).contains("NOT_INSTANTIATED"));
    let unknown = "/vnflcm/v1/vnf_instances/8f14e45f-ceea-467f-a8f4-0123456789ab/scale_to_level";
    gybe.post(unknown, &large).await.problem(404);

    let path = instantiate_core5g(&gybe, &cluster, &namespace, "v2").await;
    let ops = gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    let smf = |level: Value| json!({ "aspectId": "smf", "scaleLevel": level });
    for (request, status, says) in [
        (json!({}), 400, "scaleInfo"),
        (json!({ "scaleInfo": [] }), 400, "an entry at least"),
        (json!({ "instantiationLevelId": "large", "scaleInfo": [smf(json!(1))] }), 400, "either"),
        (json!({ "scaleInfo": [smf(json!(1)), smf(json!(2))] }), 400, "'smf' twice"),
        (json!({ "scaleInfo": [smf(json!(-1))] }), 400, "scaleInfo[0].scaleLevel"),
        (json!({ "scaleInfo": [smf(json!(9))] }), 422, "0 to"),
        (json!({ "scaleInfo": [{ "aspectId": "none", "scaleLevel": 1 }] }), 422, "subscriber_data"),
        (json!({ "instantiationLevelId": "huge" }), 422, "default, large"),
    ] {
        let detail = gybe.post(&format!("{path}/scale_to_level"), &request).await.problem(status);
        assert!(detail.contains(says), "{request}: {detail}");
    }
    assert_eq!(gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), ops);
}
