//! `GET …/vnf_instances/{id}/drift`: what others changed, and who, through the real binary on the real control plane.

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, vim};
use crate::support::sample;

/// An instance with a few objects, and a client that changes them.
struct DriftFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    vim: String,
    path: String,
}

impl DriftFixture {
    async fn of(vnfd: impl AsyncFnOnce(&Gybe) -> String) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        let gybe = Gybe::start();
        let vim = gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = vnfd(&gybe).await;
        let path = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
        Self { cluster, namespace, gybe, vim, path }
    }

    async fn small() -> Self {
        let csar = sample::with_manifests(&[("Files/all.yaml", OBJECTS)]);
        Self::of(async move |gybe| gybe.upload(&csar).await["vnfdId"].as_str().unwrap().to_owned()).await
    }

    fn api(&self, api_version: &str, kind: &str, plural: &str) -> kube::Api<DynamicObject> {
        self.cluster.api(api_version, kind, plural, Some(&self.namespace.name))
    }

    async fn edit(&self, api_version: &str, kind: &str, plural: &str, name: &str, change: Value) {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.api(api_version, kind, plural).patch(name, &params, &Patch::Strategic(change)).await.unwrap();
    }

    async fn drift(&self) -> Value {
        self.gybe.get(&format!("{}/drift", self.path)).await.expect(StatusCode::OK)
    }

    /// The entry of an object in the report.
    async fn of_object(&self, kind: &str, name: &str) -> Value {
        let drift = self.drift().await;
        let objects = drift["objects"].as_array().unwrap();
        objects.iter().find(|it| it["kind"] == kind && it["name"] == name).unwrap().clone()
    }
}

const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {tier: front}}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: registry.k8s.io/pause:3.10
        resources: {requests: {cpu: '0.01', memory: 16384Ki}}
        env: [{name: A, value: '1'}, {name: B, value: '2'}]
---
{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {selector: {app: app}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: red}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {password: hunter2}}
";

#[tokio::test]
async fn a_new_instance_is_in_sync_despite_cluster_defaults() {
    let fixture = DriftFixture::of(async |gybe| gybe.onboard("core5g").await).await;
    let drift = fixture.drift().await;
    assert_eq!(drift["inSync"], true, "{drift:#}");
    let objects = drift["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 37);
    assert!(objects.iter().all(|object| object["state"] == "IN_SYNC" && object.get("differences").is_none()));
    assert_eq!(drift["namespace"], fixture.namespace.name.as_str());
    let v1 = format!("{}/drift", fixture.path.replace("/v2/", "/v1/"));
    assert_eq!(fixture.gybe.get(&v1).await.expect(StatusCode::OK), drift);
}

#[tokio::test]
async fn reports_a_changed_field_with_both_values_and_its_manager() {
    let fixture = DriftFixture::small().await;
    assert_eq!(fixture.drift().await["inSync"], true);
    fixture
        .edit("apps/v1", "Deployment", "deployments", "app", json!({ "spec": { "replicas": 3, "paused": true } }))
        .await;
    let object = fixture.of_object("Deployment", "app").await;
    assert_eq!(object["state"], "CHANGED");
    let differences = object["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "fields that the intent does not name are no drift: {differences:#?}");
    let mut difference = differences[0].clone();
    assert!(difference["time"].take().is_string());
    assert_eq!(
        difference,
        json!({
            "path": "/spec/replicas", "intended": 1, "actual": 3, "manager": "kubectl-edit", "operation": "Update", "time": null,
        })
    );
}

#[tokio::test]
async fn reports_changed_list_elements_and_removed_labels() {
    let fixture = DriftFixture::small().await;
    let change = json!({
        "metadata": { "labels": { "tier": null, "team": "x" } },
        "spec": { "template": { "spec": { "containers": [{
            "name": "app", "image": "registry.k8s.io/pause:3.9",
            "env": [{ "name": "A", "$patch": "delete" }, { "name": "Z", "value": "26" }],
        }] } } },
    });
    fixture.edit("apps/v1", "Deployment", "deployments", "app", change).await;
    let object = fixture.of_object("Deployment", "app").await;
    let mut found: Vec<(&str, &str)> = object["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["path"].as_str().unwrap(), it["manager"].as_str().unwrap_or("-")))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("/metadata/labels/tier", "-"),
            ("/spec/template/spec/containers/0/env/-", "-"),
            ("/spec/template/spec/containers/0/image", "kubectl-edit"),
        ],
        "{object:#}"
    );
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let fixture = DriftFixture::small().await;
    fixture.edit("v1", "Secret", "secrets", "key", json!({ "stringData": { "password": "correct horse" } })).await;
    let object = fixture.of_object("Secret", "key").await;
    assert_eq!(object["state"], "CHANGED");
    let difference = &object["differences"][0];
    assert_eq!(difference["path"], "/data/password");
    assert_eq!((&difference["intended"], &difference["actual"]), (&json!("***"), &json!("***")));
    assert_eq!(difference["manager"], "kubectl-edit");
}

#[tokio::test]
async fn a_deleted_object_is_missing_and_its_replacement_foreign_until_a_heal() {
    let fixture = DriftFixture::small().await;
    let services = fixture.api("v1", "Service", "services");
    services.delete("app", &DeleteParams::default()).await.unwrap();
    fixture.edit("v1", "ConfigMap", "configmaps", "settings", json!({ "data": { "colour": "blue" } })).await;
    assert_eq!(fixture.of_object("Service", "app").await["state"], "MISSING");
    assert_eq!(fixture.drift().await["inSync"], false);
    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    assert_eq!(fixture.drift().await["inSync"], true, "a heal removes the drift");

    services.delete("app", &DeleteParams::default()).await.unwrap();
    let other = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "app" }, "spec": { "ports": [{ "port": 80 }] } });
    fixture.cluster.create("services", Some(&fixture.namespace.name), other).await;
    assert_eq!(fixture.of_object("Service", "app").await["state"], "FOREIGN");
    assert_eq!(services.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_replaced_object_is_found_by_its_uid() {
    let fixture = DriftFixture::small().await;
    let deployments = fixture.api("apps/v1", "Deployment", "deployments");
    let mut twin = deployments.get("app").await.unwrap();
    deployments.delete("app", &DeleteParams::background()).await.unwrap();
    twin.metadata = kube::api::ObjectMeta {
        name: twin.metadata.name,
        labels: twin.metadata.labels,
        ..kube::api::ObjectMeta::default()
    };
    twin.data["spec"]["selector"]["matchLabels"]["more"] = "1".into();
    twin.data["spec"]["template"]["metadata"]["labels"]["more"] = "1".into();
    deployments.create(&Default::default(), &twin).await.unwrap();
    let object = fixture.of_object("Deployment", "app").await;
    assert_eq!((&object["state"], &object["differences"][0]["path"]), (&json!("CHANGED"), &json!("/metadata/uid")));
    assert!(object["detail"].as_str().unwrap().contains("immutable"), "{object:#}");
}

#[tokio::test]
async fn reports_a_credential_without_permission_to_apply() {
    let fixture = DriftFixture::small().await;
    let rules = json!([{ "apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["get", "list", "watch"] }]);
    let reader = fixture.cluster.account(&fixture.namespace.name, "reader", rules).await;
    let vim = vim(&reader, "cluster", true);
    let change = json!({ "vim": { "auth_cred": vim["vim"]["auth_cred"] } });
    fixture.gybe.put(&format!("/v1.0/vims/{}", fixture.vim), &change).await.expect(StatusCode::OK);
    let detail = fixture.gybe.get(&format!("{}/drift", fixture.path)).await.problem(403);
    assert!(detail.contains("cannot patch resource") && detail.contains(":reader"), "{detail}");
}

#[tokio::test]
async fn an_instance_that_is_not_instantiated_has_no_drift() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v1", &vnfd).await;
    assert!(gybe.get(&format!("{path}/drift")).await.problem(409).contains("NOT_INSTANTIATED"));
    gybe.get("/vnflcm/v2/vnf_instances/8f14e45f-ceea-467f-a8f4-0123456789ab/drift").await.problem(404);
}

#[tokio::test]
async fn a_sync_brings_back_what_drifted_and_restarts_no_pod() {
    let f = DriftFixture::small().await;
    let pods = f.api("v1", "Pod", "pods");
    let uids = async || {
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        pods.into_iter().map(|pod| pod.metadata.uid.unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = uids().await;
    let change = json!({ "metadata": { "labels": { "tier": null } }, "spec": { "replicas": 2 } });
    f.edit("apps/v1", "Deployment", "deployments", "app", change).await;
    f.edit("v1", "ConfigMap", "configmaps", "settings", json!({ "data": { "colour": "blue" } })).await;
    f.api("v1", "Service", "services").delete("app", &DeleteParams::default()).await.unwrap();
    let ignore = json!({ "ignore": [
        { "kind": "Deployment", "name": "app", "paths": ["/spec/replicas"] }, { "kind": "ConfigMap", "paths": ["/data"] },
    ] });
    let op = f.gybe.complete(&f.path, "sync", &ignore).await;
    assert_eq!((op["operation"].as_str(), &op["operationParams"]["gybe:sync"]), (Some("HEAL"), &ignore));
    assert_eq!(f.of_object("Service", "app").await["state"], "IN_SYNC");
    let differences = f.of_object("Deployment", "app").await["differences"].clone();
    assert_eq!(differences.as_array().unwrap().len(), 1, "{differences:#}");
    assert_eq!(differences[0]["path"], "/spec/replicas");
    assert_eq!(f.of_object("ConfigMap", "settings").await["state"], "CHANGED");
    assert!(uids().await.is_superset(&before));
    f.gybe.complete(&f.path, "sync", &json!({})).await;
    assert_eq!(f.drift().await["inSync"], true, "without rules, all of it");
    assert!(
        f.gybe
            .post(&format!("{}/sync", f.path), &json!({ "ignore": [{ "kind": "x", "paths": ["y"] }] }))
            .await
            .problem(400)
            .contains("JSON pointers")
    );
}
