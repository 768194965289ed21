//! Packages whose objects need one another: whatever the order of the file, each object is made once what it needs is there.

use std::path::PathBuf;
use std::process::Command;

use kube::api::DynamicObject;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{certificate, server_config};
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample;
use crate::support::subscriber::{Reply, Subscriber};

/// A VNF whose package has one definition file.
struct Package {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl Package {
    /// Onboards the package, with its namespace in place of `NAMESPACE`.
    async fn with(manifest: &str) -> Self {
        let (cluster, gybe) = (Cluster::running().await, Gybe::start());
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let manifest = manifest.replace("NAMESPACE", namespace.name.as_str());
        let package = gybe.upload(&sample::with_manifests(&[("Files/all.yaml", &manifest)])).await;
        assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
        let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
        Self { cluster, namespace, gybe, path }
    }

    async fn instantiate(&self) {
        self.gybe.complete(&self.path, "instantiate", &instantiate_request(self.namespace.name.as_str())).await;
    }

    async fn terminate(&self) {
        self.gybe.complete(&self.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        assert!(self.cluster.marked(&self.namespace.name).await.is_empty());
    }

    async fn pod(&self, name: &str) -> DynamicObject {
        self.cluster.api("v1", "Pod", "pods", Some(&self.namespace.name)).get(name).await.unwrap()
    }
}

fn deployment(name: &str, pod: &str) -> String {
    format!(
        "
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{{pod}containers: [{{name: main, image: 'example.test/good'}}]}}
"
    )
}

/// An object of no namespace that would disturb every other test, were it left behind.
struct Guarded(&'static str, String);

impl Drop for Guarded {
    fn drop(&mut self) {
        let cluster = PathBuf::from(std::env::var("GYBE_TEST_CLUSTER").unwrap());
        let _ = Command::new(cluster.join("kubectl"))
            .args(["delete", "--ignore-not-found", "--wait=false", self.0, &self.1, "--kubeconfig"])
            .arg(cluster.join("admin.kubeconfig"))
            .output();
    }
}

/// The pods are simulated: an HTTPS server of the test answers in their place, behind a Service that leads to this machine.
#[tokio::test]
async fn an_api_service_comes_after_the_server_behind_it() {
    let server = Subscriber::start_tls(server_config(&certificate())).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let group = format!("g{port}.example.test");
    let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/v1"), "resources": [] });
    let list = list.to_string();
    server.answer(move |_| Reply::With(200, vec![("content-type", "application/json".to_owned())], list.clone()));
    let manifest = format!(
        "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1.{group}}}
spec:
  group: {group}
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{name: adapter, namespace: NAMESPACE, port: {port}}}
{}
---
apiVersion: v1
kind: Service
metadata: {{name: adapter}}
spec: {{type: ExternalName, externalName: localhost, ports: [{{name: https, port: {port}}}]}}
",
        deployment("adapter", "")
    );
    let package = Package::with(&manifest).await;
    let _guarded = Guarded("apiservice", format!("v1.{group}"));
    package.instantiate().await;
    let services = package.cluster.api("apiregistration.k8s.io/v1", "APIService", "apiservices", None);
    let service = services.get(&format!("v1.{group}")).await.unwrap();
    let conditions = service.data["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|it| it["type"] == "Available" && it["status"] == "True"), "{conditions:#?}");
    let drift = package.gybe.get(&format!("{}/drift", package.path)).await.expect(StatusCode::OK);
    assert_eq!(drift["inSync"], true, "{drift:#}");
    package.gybe.complete(&package.path, "heal", &json!({})).await;
    package.terminate().await;
    assert!(services.get_opt(&format!("v1.{group}")).await.unwrap().is_none());
}

/// The simulated pods never answer: were the webhook made earlier, or deleted later, nothing could be made or deleted.
#[tokio::test]
async fn a_webhook_comes_last_and_goes_first() {
    let manifest = format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: NAMESPACE}}
webhooks:
- name: hook.example.test
  failurePolicy: Fail
  timeoutSeconds: 1
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {{service: {{name: hook, namespace: NAMESPACE, path: /check}}}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: NAMESPACE}}}}
  rules: [{{apiGroups: ['', apps], apiVersions: [v1], operations: ['*'], resources: [configmaps, services, deployments]}}]
---
{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings}}, data: {{a: b}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: hook}}, spec: {{selector: {{app: hook}}, ports: [{{port: 443}}]}}}}
{}",
        deployment("hook", "")
    );
    let package = Package::with(&manifest).await;
    package.instantiate().await;
    package.terminate().await;
}

/// The API server admits a pod only if the class that it names is there.
#[tokio::test]
async fn a_class_comes_before_the_pods_that_name_it() {
    let classes = [
        ("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nvalue: 1234", "priorityClassName: NAMESPACE, "),
        ("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nhandler: kata", "runtimeClassName: NAMESPACE, "),
    ];
    for (class, name) in classes {
        let manifest = format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: lone}}
spec: {{{name}containers: [{{name: main, image: 'example.test/good'}}]}}
{}
---
{class}
metadata: {{name: NAMESPACE}}
",
            deployment("app", name)
        );
        let package = Package::with(&manifest).await;
        package.instantiate().await;
        let spec = &package.pod("lone").await.data["spec"];
        let class = package.namespace.name.as_str();
        assert!(
            (spec["priorityClassName"] == class && spec["priority"] == 1234) || spec["runtimeClassName"] == class,
            "{spec:#}"
        );
        package.terminate().await;
    }
}

/// `helm template` writes these labels, and selectors that name them all.
#[tokio::test]
async fn a_service_and_a_budget_find_the_pods_by_all_labels_of_the_package() {
    let labels = "{app.kubernetes.io/name: upf, app.kubernetes.io/managed-by: Helm}";
    let manifest = format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: upf, labels: {labels}}}
spec: {{selector: {labels}, ports: [{{port: 80}}]}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: upf}}
spec: {{minAvailable: 1, selector: {{matchLabels: {labels}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: upf, labels: {labels}}}
spec: {{containers: [{{name: main, image: 'example.test/good'}}]}}
"
    );
    let package = Package::with(&manifest).await;
    package.instantiate().await;
    let namespace = Some(&package.namespace.name);
    let slices = package.cluster.api("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", namespace);
    let of_service = kube::api::ListParams::default().labels("kubernetes.io/service-name=upf");
    // The control plane finds them a moment later.
    while !slices.list(&of_service).await.unwrap().iter().any(|slice| slice.data["endpoints"][0] != Value::Null) {
        tokio::task::yield_now().await;
    }
    let budgets = package.cluster.api("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", namespace);
    while budgets.get("upf").await.unwrap().data["status"]["expectedPods"] != 1 {
        tokio::task::yield_now().await;
    }
    package.terminate().await;
}
