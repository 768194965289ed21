//! The life cycle of a CNF through the API of the real binary, on the real control plane: both editions, both
//! databases.

use gybe::domain::namespace::Namespace;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, connection, instantiate_request};
use crate::support::postgres::Database;
use crate::support::sample;

/// The number of VNFCs of a VDU that the instance shows.
fn vnfcs(instance: &Value, vdu: &str) -> Vec<String> {
    let all = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap();
    let of_vdu = all.iter().filter(|vnfc| vnfc["vduId"] == vdu);
    of_vdu.map(|vnfc| vnfc["computeResource"]["resourceId"].as_str().unwrap().to_owned()).collect()
}

fn level(instance: &Value, aspect: &str) -> u64 {
    let all = instance["instantiatedVnfInfo"]["scaleStatus"].as_array().unwrap();
    all.iter().find(|info| info["aspectId"] == aspect).unwrap()["scaleLevel"].as_u64().unwrap()
}

/// The names of objects of instances that are left in the namespace.
async fn remaining_objects(cluster: &Cluster, namespace: &Namespace) -> Vec<String> {
    let marked = cluster.marked(namespace).await;
    marked.into_iter().map(|(kind, object)| format!("{kind} {}", object.metadata.name.unwrap())).collect()
}

/// Create, instantiate, scale out and in, heal, terminate, delete, with a look at the cluster after each.
async fn run_life_cycle(gybe: &Gybe, cluster: &Cluster, edition: &str) {
    let namespace = cluster.namespace().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace.name.as_str());
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace.name.as_str());
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("core5g").await;
    let path = gybe.create(edition, &vnfd).await;

    let before = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(before["instantiationState"], "NOT_INSTANTIATED");
    assert_eq!(before["metadata"].get("namespace"), None);

    let request = instantiate_request(namespace.name.as_str());
    let op = gybe.complete(&path, "instantiate", &request).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["instantiationState"], "INSTANTIATED");
    assert_eq!(instance["metadata"]["namespace"], namespace.name.as_str());
    if edition == "v2" {
        assert_eq!(instance["instantiatedVnfInfo"]["metadata"]["namespace"], namespace.name.as_str());
        let info = &instance["instantiatedVnfInfo"]["vnfcInfo"][0];
        assert_eq!(info["vnfcState"], "STARTED");
    }
    assert_eq!((level(&instance, "amf"), level(&instance, "subscriber_data")), (0, 0));
    assert_eq!((vnfcs(&instance, "AMF").len(), vnfcs(&instance, "NRF").len()), (1, 2));
    let added = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert!(added.iter().all(|vnfc| vnfc["changeType"] == "ADDED"));
    let storages = op["resourceChanges"]["affectedVirtualStorages"].as_array().unwrap();
    let shown = instance["instantiatedVnfInfo"]["virtualStorageResourceInfo"].as_array().unwrap();
    assert!(storages.iter().all(|storage| storage["changeType"] == "ADDED"));
    let resources = |of: &[Value]| of.iter().map(|one| one["storageResource"].clone()).collect::<Vec<_>>();
    assert!(!shown.is_empty() && resources(storages) == resources(shown), "{storages:#?}");
    assert_eq!(added.len(), instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len());
    for pod in vnfcs(&instance, "UPF") {
        pods.get(&pod).await.expect("the VNFC is a real pod");
    }

    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((level(&instance, "smf"), vnfcs(&instance, "SMF").len()), (1, 3));
    assert_eq!(deployments.get("smf").await.unwrap().spec.unwrap().replicas, Some(3));
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_IN", "aspectId": "smf", "numberOfSteps": 1 })).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((level(&instance, "smf"), vnfcs(&instance, "SMF").len()), (0, 1));

    // One aspect scales two VDUs, one of them a StatefulSet with volumes.
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" })).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((vnfcs(&instance, "UDR").len(), vnfcs(&instance, "UDR_DB").len()), (3, 2));
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), namespace.name.as_str());
    assert_eq!(sets.get("udr-db").await.unwrap().status.unwrap().ready_replicas, Some(2));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace.name.as_str());
    assert_eq!(claims.list(&ListParams::default()).await.unwrap().items.len(), 2);

    let healed = vnfcs(&instance, "AMF")[0].clone();
    let op = gybe.complete(&path, "heal", &json!({ "vnfcInstanceId": [healed] })).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(vnfcs(&instance, "AMF").len(), 1);
    assert_ne!(vnfcs(&instance, "AMF")[0], healed);
    let affected = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    let [gone, come] = affected.as_slice() else { panic!("one pod went, one came: {op:#}") };
    assert_eq!((&gone["changeType"], &come["changeType"]), (&json!("REMOVED"), &json!("ADDED")));
    assert_eq!((&gone["id"], &come["id"]), (&json!(healed), &json!(healed)));
    assert_ne!(gone["computeResource"]["resourceId"], come["computeResource"]["resourceId"]);

    gybe.complete(&path, "terminate", &json!({ "terminationType": "GRACEFUL", "gracefulTerminationTimeout": 5 })).await;
    assert_eq!(remaining_objects(cluster, &namespace.name).await, Vec::<String>::new());
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["instantiationState"], "NOT_INSTANTIATED");
    assert_eq!(instance["metadata"].get("namespace"), None);
    assert_eq!(instance.get("instantiatedVnfInfo"), None);
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    gybe.get(&path).await.problem(404);
}

#[tokio::test]
async fn whole_life_cycle_through_v2_on_sqlite() {
    let cluster = Cluster::running().await;
    run_life_cycle(&Gybe::start(), &cluster, "v2").await;
}

#[tokio::test]
async fn whole_life_cycle_through_v1_on_postgresql() {
    let cluster = Cluster::running().await;
    let database = Database::create().await;
    run_life_cycle(&Gybe::start_on(&database.url), &cluster, "v1").await;
}

#[tokio::test]
async fn both_editions_show_the_same_instance() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let v1 = gybe.create("v1", &vnfd).await;
    let mut inline = connection(&cluster.admin);
    inline["id"] = "my-vim".into();
    let request = json!({
        "flavourId": "simple", "vimConnectionInfo": [inline], "additionalParams": { "namespace": namespace.name.as_str() },
        "extVirtualLinks": [{ "id": "n6", "resourceId": "r", "extCps": [] }], "localizationLanguage": "en",
    });
    let op = gybe.complete(&v1, "instantiate", &request).await;
    for kept in ["flavourId", "extVirtualLinks", "localizationLanguage", "additionalParams"] {
        assert_eq!(op["operationParams"][kept], request[kept], "{kept}");
    }
    assert_eq!(op["operationParams"]["vimConnectionInfo"][0]["id"], "my-vim");
    let v2 = v1.replace("/v1/", "/v2/");
    let (first, second) = (gybe.get(&v1).await.expect(StatusCode::OK), gybe.get(&v2).await.expect(StatusCode::OK));
    assert_eq!(first["vimConnectionInfo"][0]["id"], "my-vim");
    assert_eq!(second["vimConnectionInfo"]["my-vim"]["vimType"], "ETSINFV.KUBERNETES.V_1");
    assert_eq!(first["metadata"], second["metadata"]);
    assert_eq!(first["instantiatedVnfInfo"]["vnfcResourceInfo"], second["instantiatedVnfInfo"]["vnfcResourceInfo"]);
    assert!(second["_links"]["terminate"]["href"].as_str().unwrap().starts_with(&gybe.url));
    gybe.complete(&v2, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(remaining_objects(&cluster, &namespace.name).await, Vec::<String>::new());
}

#[tokio::test]
async fn healing_without_vnfcs_restores_objects_and_replaces_every_pod() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("own-namespace").await;
    let path = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
    let before = gybe.get(&path).await.expect(StatusCode::OK);
    let services = cluster.api("v1", "Service", "services", Some(&namespace.name));
    let service = services.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    services.delete(&service, &kube::api::DeleteParams::default()).await.unwrap();

    gybe.complete(&path, "heal", &json!({})).await;
    services.get(&service).await.expect("the Service is back");
    let after = gybe.get(&path).await.expect(StatusCode::OK);
    let (before, after) = (vnfcs(&before, "VDU1"), vnfcs(&after, "VDU1"));
    assert_eq!(before.len(), after.len());
    assert!(before.iter().all(|pod| !after.contains(pod)));
}

#[tokio::test]
async fn a_package_may_define_the_kinds_of_its_objects() {
    let cluster = Cluster::running().await;
    let (a, b) = (cluster.namespace().await, cluster.namespace().await);
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let group = format!("{}.example.test", a.name);
    let definition = format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: slices.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Slice, plural: slices}}
  versions:
  - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}
"
    );
    let slice = format!("{{apiVersion: {group}/v1, kind: Slice, metadata: {{name: gold}}, spec: {{bandwidth: 1}}}}");
    let csar = sample::with_manifests(&[("Files/slice.yaml", &slice), ("Files/definition.yaml", &definition)]);
    let package = gybe.upload(&csar).await;
    let vnfd = package["vnfdId"].as_str().unwrap_or_else(|| panic!("{package:#}")).to_owned();
    let (first, second) = (gybe.create("v2", &vnfd).await, gybe.create("v2", &vnfd).await);
    for (path, namespace) in [(&first, &a), (&second, &b)] {
        let request = instantiate_request(namespace.name.as_str());
        gybe.complete(path, "instantiate", &request).await;
        let slices = cluster.api(&format!("{group}/v1"), "Slice", "slices", Some(&namespace.name));
        slices.get("gold").await.expect("the custom resource is there");
    }
    let definitions =
        cluster.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", None);
    // The first instance created the definition; it stays while the second one uses it.
    gybe.complete(&first, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    let name = format!("slices.{group}");
    definitions.get(&name).await.expect("the definition is left to the second instance");
    gybe.complete(&second, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    definitions.delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn modify_is_an_operation_of_its_own() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let patch = json!({ "vnfInstanceName": "new", "metadata": { "a": 1, "b": null } });
    let answer = gybe.patch(&path, &patch).await;
    answer.expect(StatusCode::ACCEPTED);
    let op = gybe.wait_ended(&answer.location.unwrap()).await;
    assert_eq!((op["operation"].as_str(), op["operationState"].as_str()), (Some("MODIFY_INFO"), Some("COMPLETED")));
    assert_eq!(op["changedInfo"]["vnfInstanceName"], "new");
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((&instance["vnfInstanceName"], &instance["metadata"]), (&json!("new"), &json!({ "a": 1 })));

    let cleared = gybe.patch(&path, &json!({ "vnfInstanceName": null, "metadata": null })).await;
    gybe.wait_ended(&cleared.location.unwrap()).await;
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((instance.get("vnfInstanceName"), &instance["metadata"]), (None, &json!({})));

    let refused = gybe.patch(&path, &json!({ "metadata": { "namespace": "elsewhere" } })).await;
    assert!(refused.problem(422).contains("reserved"));
    assert!(gybe.patch(&path, &json!({ "vnfdId": "other" })).await.problem(422).contains("vnfdId"));
    let large = json!({ "metadata": { "a": "x".repeat(70_000) } });
    assert!(gybe.patch(&path, &large).await.problem(422).contains("metadata would have"));
    let long = json!({ "vnfInstanceDescription": "x".repeat(1025) });
    assert!(gybe.patch(&path, &long).await.problem(422).contains("1024 characters"));
    let connection = json!({ "interfaceInfo": { "endpoint": "https://a" }, "accessInfo": { "bearer_token": "t" },
        "extra": { "text": "x".repeat(270_000) } });
    let large = json!({ "vimConnectionInfo": { "vim": connection } });
    assert!(gybe.patch(&path, &large).await.problem(422).contains("vimConnectionInfo would have"));
    let large = json!({ "flavourId": "simple", "vimConnectionInfo": { "vim": {
            "interfaceInfo": { "endpoint": "https://a" }, "accessInfo": { "bearer_token": "t" } } },
        "additionalParams": { "namespace": "a", "text": "x".repeat(270_000) } });
    assert!(
        gybe.post(&format!("{path}/instantiate"), &large).await.problem(422).contains("kept of the request would have")
    );
    let long = json!({ "vnfdId": vnfd, "vnfInstanceName": "x".repeat(256) });
    gybe.post("/vnflcm/v2/vnf_instances", &long).await.problem(422);
    let stale = gybe.client.patch(gybe.uri(&path)).header("If-Match", "\"0\"").json(&patch);
    gybe.send(stale).await.problem(412);
    let stale = gybe.client.delete(gybe.uri(&path)).header("If-Match", "\"0\"");
    gybe.send(stale).await.problem(412);
}
