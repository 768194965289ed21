//! A change of `vnfdId` by PATCH, Tacker's container update, through the API of the real binary on the real control plane.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, SHORT_GRACE, instantiate_request};
use crate::support::sample::of_version;

const ONE: &str = "registry.k8s.io/pause:3.9";
const TWO: &str = "registry.k8s.io/pause:3.10";
const UNPULLABLE: &str = "registry.invalid/app:2";

/// A workload whose container has that image and those further members.
fn workload(kind: &str, name: &str, image: &str, container: &str) -> String {
    let pod = format!("containers: [{{name: c, image: \"{image}\"{container}}}]");
    if kind == "Pod" {
        return format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{pod}}}\n---\n");
    }
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec: {{{pod}}}\n---\n"
    )
}

/// Workloads of every kind: `app` gets another image, `idle` nothing, the others use what changes.
fn workloads(image: &str, port: u16) -> String {
    let config = ", envFrom: [{configMapRef: {name: settings}}]";
    let secret = ", env: [{name: P, valueFrom: {secretKeyRef: {name: key, key: password}}}]";
    [
        workload("Deployment", "app", image, ""),
        workload("Deployment", "idle", ONE, ", envFrom: [{configMapRef: {name: other}}]"),
        workload("ReplicaSet", "set", ONE, secret),
        workload("StatefulSet", "db", ONE, secret),
        workload("DaemonSet", "agent", ONE, config),
        workload("Pod", "probe", ONE, config),
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: app}}\nspec: {{selector: {{app: app}}, ports: [{{port: {port}}}]}}\n---\n"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {a: b}\n".to_owned(),
    ]
    .concat()
}

fn settings(word: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{greeting: {word}}}\n---\napiVersion: v1\nkind: Secret\n\
         metadata: {{name: key}}\nstringData: {{password: {word}-secret-word}}\n"
    )
}

/// A VNF of the first package.
struct UpdateFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
    first: String,
}

impl UpdateFixture {
    async fn new(gybe: Gybe) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let files = [("Files/workloads.yaml", workloads(ONE, 80)), ("Files/settings_1.yaml", settings("hello"))];
        let first = upload(&gybe, "1.0", &files).await;
        let path = gybe.create("v2", &first).await;
        gybe.complete(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;
        Self { cluster, namespace, gybe, path, first }
    }

    /// Onboards a package whose Deployment `app` has that image.
    async fn onboard(&self, version: &str, image: &str) -> String {
        let more = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndata: {a: b}\n";
        let files = [
            ("Files/workloads.yaml", workloads(image, 81) + more),
            ("Files/settings_1.yaml", settings("ignored")),
            ("Files/settings_2.yaml", settings("goodbye")),
        ];
        upload(&self.gybe, version, &files).await
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    /// Starts an update; returns the URI of the op occurrence.
    async fn begin(&self, patch: &Value) -> String {
        let answer = self.gybe.patch(&self.path, patch).await;
        answer.expect(StatusCode::ACCEPTED);
        answer.location.unwrap()
    }

    /// The uids of all pods, by their workload.
    async fn pods(&self) -> BTreeMap<String, String> {
        let pods = self.cluster.api("v1", "Pod", "pods", Some(&self.namespace.name));
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        let workload = |pod: &DynamicObject| {
            let app = pod.metadata.labels.as_ref().and_then(|labels| labels.get("app"));
            app.or(pod.metadata.name.as_ref()).unwrap().clone()
        };
        let live = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        live.map(|pod| (workload(pod), pod.metadata.uid.clone().unwrap())).collect()
    }

    /// What an update may change, by object: the data of settings, the pod templates of workloads.
    async fn content(&self) -> BTreeMap<String, Value> {
        let marked = self.cluster.marked(&self.namespace.name).await;
        let own = marked.into_iter().filter(|(_, object)| object.metadata.owner_references.is_none());
        let content = |object: &DynamicObject| match &object.data {
            data if data.get("data").is_some() => data["data"].clone(),
            data if data["spec"].get("template").is_some() => data["spec"]["template"].clone(),
            data => data["spec"].get("ports").unwrap_or(&data["spec"]["containers"][0]["image"]).clone(),
        };
        own.map(|(kind, it)| (format!("{kind} {}", it.metadata.name.as_ref().unwrap()), content(&it))).collect()
    }

    async fn check_in_sync(&self) {
        let drift = self.gybe.get(&format!("{}/drift", self.path)).await.expect(StatusCode::OK);
        assert_eq!(drift["inSync"], true, "{drift:#}");
    }

    async fn usage(&self, vnfd: &str) -> Value {
        let packages = self.gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
        packages.as_array().unwrap().iter().find(|it| it["vnfdId"] == vnfd).unwrap()["usageState"].clone()
    }

    async fn terminate(&self) {
        self.gybe.complete(&self.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        let left = self.cluster.marked(&self.namespace.name).await;
        let left: Vec<_> = left.iter().map(|(kind, it)| (kind, it.metadata.name.clone())).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

async fn upload(gybe: &Gybe, version: &str, files: &[(&str, String)]) -> String {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let package = gybe.upload(&of_version(version, &files)).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    package["vnfdId"].as_str().unwrap().to_owned()
}

/// The request of Tacker's clients.
fn update(vnfd: &str) -> Value {
    json!({
        "vnfdId": vnfd, "vnfInstanceName": "updated",
        "metadata": { "configmap_secret_paths": ["Files/settings_2.yaml"] },
    })
}

#[tokio::test]
async fn settings_and_images_change_and_only_the_pods_that_use_them_are_replaced() {
    let fixture = UpdateFixture::new(Gybe::start()).await;
    let second = fixture.onboard("2.0", TWO).await;
    let (before, pods) = (fixture.content().await, fixture.pods().await);
    let op = fixture.begin(&update(&second)).await;
    let op = fixture.gybe.wait_ended(&op).await;
    assert_eq!((&op["operation"], &op["operationState"]), (&json!("MODIFY_INFO"), &json!("COMPLETED")), "{op:#}");
    assert_eq!(op["operationParams"], update(&second));
    assert_eq!(
        op["changedInfo"],
        json!({
            "vnfdId": second, "vnfSoftwareVersion": "2.0", "vnfdVersion": "2.0", "vnfInstanceName": "updated",
            "metadata": { "configmap_secret_paths": ["Files/settings_2.yaml"] },
        })
    );
    let warnings = op["gybe:warnings"].to_string();
    assert!(
        warnings.contains("are not created by a change of vnfdId, but by POST …/change_vnfpkg: ConfigMap more"),
        "{warnings}"
    );
    assert!(
        warnings.contains("is not changed by a change of vnfdId, but by POST …/change_vnfpkg: Service app"),
        "{warnings}"
    );

    let (after, now) = (fixture.content().await, fixture.pods().await);
    assert_eq!(after["ConfigMap settings"], json!({ "greeting": "goodbye" }));
    assert_ne!(after["Secret key"], before["Secret key"]);
    assert_eq!(after["Deployment app"]["spec"]["containers"][0]["image"], TWO);
    for same in ["Deployment idle", "Service app", "ConfigMap other"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(now.keys().collect::<Vec<_>>(), pods.keys().collect::<Vec<_>>());
    for (workload, uid) in &pods {
        assert_eq!(now[workload] == *uid, workload == "idle", "the pod of {workload}");
    }
    let instance = fixture.instance().await;
    assert_eq!((&instance["vnfdId"], &instance["vnfInstanceName"]), (&json!(second), &json!("updated")));
    let metadata = &instance["instantiatedVnfInfo"]["metadata"];
    assert_eq!(metadata["lcm-kubernetes-def-files"], json!(["Files/workloads.yaml", "Files/settings_2.yaml"]));
    assert_eq!(metadata["namespace"], fixture.namespace.name.as_str());
    assert_eq!(
        (fixture.usage(&fixture.first).await, fixture.usage(&second).await),
        (json!("NOT_IN_USE"), json!("IN_USE"))
    );
    fixture.check_in_sync().await;

    // The same again changes nothing, and the other operations go on from there.
    let again = fixture.begin(&update(&second)).await;
    assert_eq!(fixture.gybe.wait_ended(&again).await["operationState"], "COMPLETED");
    assert_eq!(fixture.pods().await, now);
    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    assert_eq!(fixture.content().await, after);
    fixture.gybe.complete(&fixture.path, "change_vnfpkg", &json!({ "vnfdId": fixture.first })).await;
    assert_eq!(fixture.content().await, before);
    fixture.terminate().await;
}

#[tokio::test]
async fn an_update_that_stops_is_rolled_back_retried_or_failed() {
    let mut fixture = UpdateFixture::new(Gybe::start_with(&SHORT_GRACE)).await;
    let bad = fixture.onboard("2.0", UNPULLABLE).await;
    let (before, instance) = (fixture.content().await, fixture.instance().await);
    let op = fixture.begin(&update(&bad)).await;
    let stopped = fixture.gybe.wait_ended(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
    let error = stopped["error"].to_string();
    assert!(error.contains("registry.invalid") && !error.contains("secret-word"), "{error}");
    assert!(stopped["_links"].get("rollback").is_some() && stopped.get("changedInfo").is_none(), "{stopped:#}");
    assert_eq!((fixture.usage(&fixture.first).await, fixture.usage(&bad).await), (json!("IN_USE"), json!("IN_USE")));

    // By another process, and after an attempt that fails again.
    fixture.gybe.kill();
    fixture.gybe.restart();
    fixture.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    fixture.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let ended = fixture.gybe.wait_ended(&op).await;
    assert_eq!(ended["operationState"], "ROLLED_BACK", "{ended:#}");
    assert_eq!(fixture.content().await, before);
    fixture.check_in_sync().await;
    let now = fixture.instance().await;
    for name in ["vnfdId", "vnfInstanceName", "vnfSoftwareVersion", "metadata"] {
        assert_eq!(now.get(name), instance.get(name), "{name}");
    }
    assert_eq!(fixture.usage(&bad).await, "NOT_IN_USE");

    // Failed half-way, the next update repairs it.
    let op = fixture.begin(&update(&bad)).await;
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    fixture.gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    let good = fixture.onboard("3.0", TWO).await;
    let op = fixture.begin(&update(&good)).await;
    let ended = fixture.gybe.wait_ended(&op).await;
    assert_eq!(ended["operationState"], "COMPLETED", "{ended:#}");
    assert_eq!(fixture.content().await["Deployment app"]["spec"]["containers"][0]["image"], TWO);
    fixture.terminate().await;
}

#[tokio::test]
async fn an_update_is_cancelled() {
    let fixture = UpdateFixture::new(Gybe::start()).await;
    let bad = fixture.onboard("2.0", UNPULLABLE).await;
    let op = fixture.begin(&update(&bad)).await;
    fixture.gybe.wait_until(&op, |op| op["operationState"] == "PROCESSING").await;
    let cancel = json!({ "cancelMode": "FORCEFUL" });
    fixture.gybe.post(&format!("{op}/cancel"), &cancel).await.expect(StatusCode::ACCEPTED);
    let ended = fixture.gybe.wait_ended(&op).await;
    assert_eq!((&ended["operationState"], &ended["error"]["cancelMode"]), (&json!("FAILED_TEMP"), &json!("FORCEFUL")));
    fixture.gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
    fixture.terminate().await;
}

#[tokio::test]
async fn an_update_that_is_impossible_is_refused_before_the_202() {
    let fixture = UpdateFixture::new(Gybe::start()).await;
    let second = fixture.onboard("2.0", TWO).await;
    let elsewhere = upload(&fixture.gybe, "3.0", &[("Files/elsewhere.yaml", settings("x"))]).await;
    let paths = |paths: Value| json!({ "vnfdId": second, "metadata": { "configmap_secret_paths": paths } });
    for (patch, status, detail) in [
        (json!({ "vnfdId": 5 }), 400, "vnfdId must be a string, not a number"),
        (json!({ "vnfdId": "unknown" }), 422, "no onboarded VNF package has the vnfdId 'unknown'"),
        (json!({ "vnfdId": second, "vnfPkgId": "x" }), 422, "vnfPkgId"),
        (json!({ "vnfdId": elsewhere }), 422, "Files/elsewhere.yaml"),
        (paths(json!(["Files/none.yaml"])), 422, "Files/none.yaml"),
        (paths(json!({})), 400, "metadata.configmap_secret_paths must be an array of strings"),
        (json!({ "vnfdId": second, "vnfInstanceName": "x".repeat(256) }), 422, "255 characters"),
    ] {
        let refused = fixture.gybe.patch(&fixture.path, &patch).await.problem(status);
        assert!(refused.contains(detail), "{patch}: {refused}");
    }
    fixture.gybe.complete(&fixture.path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    assert!(fixture.gybe.patch(&fixture.path, &update(&second)).await.problem(409).contains("STOPPED"));
    fixture.terminate().await;
    let refused = fixture.gybe.patch(&fixture.path, &update(&second)).await.problem(422);
    assert!(refused.contains("create another instance"), "{refused}");
}
