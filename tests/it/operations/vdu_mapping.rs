//! `vdu_mapping` of `additionalParams` through the API of the real binary, on the real control plane.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample::scalable;

/// A workload that the descriptor does not name: `properties.name` of VDU1 is `app`.
fn workload(kind: &str, name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: c, image: \"{image}\"}}]}}\n"
    )
}

async fn fixture() -> (Cluster, TestNamespace, Gybe) {
    let cluster = Cluster::running().await;
    let (namespace, gybe) = (cluster.namespace().await, Gybe::start());
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    (cluster, namespace, gybe)
}

/// Onboards a package of that version with these workloads and returns its vnfdId.
async fn onboard(gybe: &Gybe, version: &str, workloads: &[String]) -> String {
    let package = gybe.upload(&scalable(version, &[("Files/all.yaml", &workloads.join("---\n"))])).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    package["vnfdId"].as_str().unwrap().to_owned()
}

/// `vimLevelResourceType` and workload of each VNFC of VDU1.
async fn vnfcs(gybe: &Gybe, path: &str) -> Vec<String> {
    let instance = gybe.get(path).await.expect(StatusCode::OK);
    let vnfcs = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().clone();
    let told = |vnfc: &Value| {
        assert_eq!(vnfc["vduId"], "VDU1", "{vnfc:#}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{} {}", text(&vnfc["computeResource"]["vimLevelResourceType"]), text(&vnfc["metadata"]["workload"]))
    };
    vnfcs.iter().map(told).collect()
}

#[tokio::test]
async fn a_mapped_vdu_is_shown_scaled_healed_and_changed_with_its_package() {
    let (_cluster, namespace, gybe) = fixture().await;
    let pause = "registry.k8s.io/pause:3.9";
    // Two workloads of one name: the kind decides.
    let first = [workload("Deployment", "front", pause), workload("StatefulSet", "front", pause)];
    let path = gybe.create("v2", &onboard(&gybe, "1.0", &first).await).await;
    let mapping = json!({ "VDU1": { "kind": "Deployment", "name": "front" } });
    let mut request = instantiate_request(namespace.name.as_str());
    request["additionalParams"]["vdu_mapping"] = mapping.clone();
    let op = gybe.complete(&path, "instantiate", &request).await;
    assert!(!op["gybe:warnings"].to_string().contains("VDU1"), "{op:#}");
    assert_eq!(vnfcs(&gybe, &path).await, ["Deployment front"]);
    let shown = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(shown["instantiatedVnfInfo"]["metadata"]["vdu_mapping"], mapping);
    let found =
        gybe.get("/vnflcm/v2/vnf_instances?filter=(eq,instantiatedVnfInfo/metadata/vdu_mapping/VDU1/name,front)");
    assert_eq!(found.await.expect(StatusCode::OK).as_array().unwrap().len(), 1);

    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "app" })).await;
    assert_eq!(vnfcs(&gybe, &path).await, ["Deployment front"; 2]);
    let shown = gybe.get(&path).await.expect(StatusCode::OK);
    let vnfc = shown["instantiatedVnfInfo"]["vnfcInfo"][0]["id"].clone();
    gybe.complete(&path, "heal", &json!({ "vnfcInstanceId": [vnfc] })).await;
    assert_eq!(vnfcs(&gybe, &path).await, ["Deployment front"; 2]);

    // The stored mapping holds in the next package, which still lacks a workload `app`.
    let second = onboard(&gybe, "2.0", &[workload("Deployment", "front", "registry.k8s.io/pause:3.10")]).await;
    let op = gybe.complete(&path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    assert!(!op["gybe:warnings"].to_string().contains("VDU1"), "{op:#}");
    assert_eq!(vnfcs(&gybe, &path).await, ["Deployment front"; 2]);
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_IN", "aspectId": "app" })).await;
    assert_eq!(vnfcs(&gybe, &path).await, ["Deployment front"]);

    // A request for another change names another workload.
    let third = onboard(&gybe, "3.0", &[workload("StatefulSet", "back", pause)]).await;
    let mapping = json!({ "VDU1": { "kind": "StatefulSet", "name": "back" } });
    let change = json!({ "vnfdId": third, "additionalParams": { "vdu_mapping": mapping } });
    gybe.complete(&path, "change_vnfpkg", &change).await;
    assert_eq!(vnfcs(&gybe, &path).await, ["StatefulSet back"]);
    let shown = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(shown["instantiatedVnfInfo"]["metadata"]["vdu_mapping"], mapping);
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_mapping_that_the_package_does_not_allow_is_refused_before_the_202() {
    let (_cluster, namespace, gybe) = fixture().await;
    let pause = "registry.k8s.io/pause:3.9";
    let path = gybe.create("v1", &onboard(&gybe, "1.0", &[workload("Deployment", "front", pause)]).await).await;
    for (mapping, status, detail) in [
        (json!(["VDU1"]), 400, "must be an object"),
        (json!({ "VDU1": { "kind": "Deployment", "name": "front", "label": "x" } }), 422, "allowed: kind, name"),
        (json!({ "VDU1": { "kind": "Service", "name": "front" } }), 422, "allowed: Deployment, StatefulSet"),
        (json!({ "VDU2": { "kind": "Deployment", "name": "front" } }), 422, "it has: VDU1"),
        (json!({ "VDU1": { "kind": "Deployment", "name": "app" } }), 422, "they have: Deployment front"),
    ] {
        let mut request = instantiate_request(namespace.name.as_str());
        request["additionalParams"]["vdu_mapping"] = mapping.clone();
        let refused = gybe.post(&format!("{path}/instantiate"), &request).await.problem(status);
        assert!(refused.contains("vdu_mapping") && refused.contains(detail), "{mapping}: {refused}");
    }
}
