//! Operations on a real node: kubelet, containerd and processes that start slowly, exit, flap or ignore signals. The simulated
//! nodes of the other tests do none of that.

mod failures;
mod start_and_stop;

use kube::api::ListParams;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample;

/// A process that ends as soon as it gets TERM.
const SERVE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// A workload `app` of one container that runs a shell script.
struct Workload<'a> {
    kind: &'a str,
    script: &'a str,
    image: &'a str,
    /// `terminationGracePeriodSeconds`.
    grace: u32,
    /// A script whose success makes the pod ready.
    readiness: Option<&'a str>,
}

impl Default for Workload<'_> {
    fn default() -> Self {
        Self { kind: "Deployment", script: SERVE, image: "gybe.test/busybox:1", grace: 30, readiness: None }
    }
}

impl Workload<'_> {
    fn manifest(&self) -> String {
        let mut container = json!({
            "name": "app", "image": self.image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", self.script],
        });
        if let Some(script) = self.readiness {
            container["readinessProbe"] = json!({ "exec": { "command": ["sh", "-c", script] }, "periodSeconds": 1 });
        }
        let labels = json!({ "app": "app" });
        let manifest = json!({
            "apiVersion": "apps/v1", "kind": self.kind, "metadata": { "name": "app" },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "terminationGracePeriodSeconds": self.grace, "automountServiceAccountToken": false,
                        "containers": [container],
                    },
                },
            },
        });
        // JSON is YAML.
        manifest.to_string()
    }

    /// Onboards a package with the workload and returns its vnfdId.
    async fn onboard(&self, gybe: &Gybe, version: &str) -> String {
        let csar = sample::scalable(version, &[("Files/app.yaml", &self.manifest())]);
        let package = gybe.upload(&csar).await;
        assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
        package["vnfdId"].as_str().unwrap().to_owned()
    }
}

/// A VNF instance on the real node.
struct Instance {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl Instance {
    /// An instance whose workload has not been instantiated.
    async fn create(workload: &Workload<'_>) -> Self {
        Self::create_with(workload, 2).await
    }

    /// As [`Instance::create`], with a grace period in seconds.
    async fn create_with(workload: &Workload<'_>, grace: u32) -> Self {
        let cluster = Cluster::with_node().await;
        let namespace = cluster.namespace().await;
        // A kubelet notices the end of a process up to a second later, and on a busy machine later still.
        let gybe = Gybe::start_with(&["--ready-grace", &grace.to_string(), "--settle-time", "4"]);
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = workload.onboard(&gybe, "1.0").await;
        let path = gybe.create("v2", &vnfd).await;
        Self { cluster, namespace, gybe, path }
    }

    async fn instantiate(&self) -> Value {
        self.run("instantiate", &instantiate_request(self.namespace.name.as_str())).await
    }

    /// An instance whose instantiation is COMPLETED.
    async fn running(workload: &Workload<'_>) -> Self {
        let instance = Self::create(workload).await;
        completed(&instance.instantiate().await);
        instance
    }

    /// Runs an operation until no conductor has to work on it.
    async fn run(&self, operation: &str, body: &Value) -> Value {
        let op = self.gybe.begin(&self.path, operation, body).await;
        self.gybe.wait_ended(&op).await
    }

    /// Checks that the operation has stopped with `wanted` in its detail, and rolls it back.
    async fn check_failure_and_roll_back(&self, op: &Value, wanted: &[&str]) {
        assert_eq!(op["operationState"], "FAILED_TEMP", "{op:#}");
        let detail = op["error"]["detail"].as_str().unwrap();
        assert!(wanted.iter().all(|wanted| detail.contains(wanted)), "wanted {wanted:?}: {detail}");
        let path = format!("/vnflcm/v2/vnf_lcm_op_occs/{}", op["id"].as_str().unwrap());
        self.gybe.post(&format!("{path}/rollback"), &json!({})).await.expect(reqwest::StatusCode::ACCEPTED);
        let op = self.gybe.wait_ended(&path).await;
        assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
    }

    /// The pods, those that terminate included: name, and whether it is ready.
    async fn pods(&self) -> Vec<(String, bool)> {
        let pods = self.cluster.api("v1", "Pod", "pods", Some(&self.namespace.name));
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().unwrap();
            conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        pods.into_iter().map(|pod| (pod.metadata.name.clone().unwrap(), ready(&pod.data))).collect()
    }
}

#[track_caller]
fn completed(op: &Value) {
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
}
