//! CHANGE_VNFPKG through the API of the real binary, on the real control plane. `domain/change.rs` tests the plan.

mod completion;
mod failures;

use std::collections::{BTreeMap, BTreeSet};

use gybe::domain::writer::WRITTEN_BY_ANNOTATION;
use kube::api::DynamicObject;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::Gybe;
use crate::support::sample::{of_version, with_manifests};

/// The manifests of the first package.
const FIRST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, only: here}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: legacy}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: first-secret-word, withdrawn: first-withdrawn-word}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: legacy}
spec: {selector: {app: legacy}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "registry.k8s.io/pause:3.9"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: legacy}
spec:
  selector: {matchLabels: {app: legacy}}
  template:
    metadata: {labels: {app: legacy}}
    spec: {containers: [{name: legacy, image: "registry.k8s.io/pause:3.9"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: prepare}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: prepare, image: "busybox:1.36"}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: "busybox:1.36"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: probe, image: "registry.k8s.io/pause:3.9"}]}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: legacy}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: legacy}, minReplicas: 1, maxReplicas: 3}
"#;

/// The manifests of its successor; `{image}` is the image of the Deployment.
const SECOND: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: elsewhere}
data: {greeting: goodbye}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: new}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: second-secret-word, fresh: second-fresh-word}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80, name: http}, {port: 81, name: more}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: somewhere}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "{image}"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: prepare}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: prepare, image: "busybox:1.37"}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: "busybox:1.36"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: probe, image: "registry.k8s.io/pause:3.10"}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: legacy}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: legacy}, minReplicas: 1, maxReplicas: 4}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: new}
spec:
  serviceName: new
  selector: {matchLabels: {app: new}}
  template:
    metadata: {labels: {app: new}}
    spec: {containers: [{name: new, image: "registry.k8s.io/pause:3.10"}]}
"#;

const SOUND: &str = "registry.k8s.io/pause:3.10";

const UNPULLABLE: &str = "registry.invalid/app:2";

/// A VNF instance of the first package.
struct ChangeFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
    first: String,
}

impl ChangeFixture {
    async fn new(gybe: Gybe) -> Self {
        Self::of(gybe, FIRST).await
    }

    async fn of(gybe: Gybe, manifests: &str) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let package = gybe.upload(&with_manifests(&[("Files/all.yaml", manifests)])).await;
        let first = package["vnfdId"].as_str().unwrap().to_owned();
        let path = gybe.instantiate("v2", &first, namespace.name.as_str()).await;
        Self { cluster, namespace, gybe, path, first }
    }

    /// Onboards a package of another version and returns its vnfdId.
    async fn onboard(&self, version: &str, manifests: &str) -> String {
        let package = self.gybe.upload(&of_version(version, &[("Files/all.yaml", manifests)])).await;
        assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
        package["vnfdId"].as_str().unwrap().to_owned()
    }

    async fn second(&self, image: &str) -> String {
        self.onboard("2.0", &SECOND.replace("{image}", image)).await
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    async fn change(&self, vnfd: &str) -> Value {
        self.gybe.complete(&self.path, "change_vnfpkg", &json!({ "vnfdId": vnfd })).await
    }

    /// Starts a change that stops; returns the URI of the op occurrence and the op occurrence.
    async fn change_until_stopped(&self, vnfd: &str) -> (String, Value) {
        let op = self.gybe.begin(&self.path, "change_vnfpkg", &json!({ "vnfdId": vnfd })).await;
        let stopped = self.gybe.wait_ended(&op).await;
        assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
        (op, stopped)
    }

    async fn roll_back(&self, op: &str) {
        self.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
        let ended = self.gybe.wait_ended(op).await;
        assert_eq!(ended["operationState"], "ROLLED_BACK", "{ended:#}\n{}", self.gybe.log());
    }

    async fn fail(&self, op: &str) {
        let failed = self.gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
        assert_eq!(failed["operationState"], "FAILED");
    }

    /// The objects, without those that controllers create.
    async fn objects(&self) -> BTreeMap<String, DynamicObject> {
        let marked = self.cluster.marked(&self.namespace.name).await;
        let own = marked.into_iter().filter(|(_, object)| object.metadata.owner_references.is_none());
        own.map(|(kind, object)| (format!("{kind} {}", object.metadata.name.as_ref().unwrap()), object)).collect()
    }

    async fn uids(&self) -> BTreeMap<String, String> {
        self.objects().await.into_iter().map(|(name, object)| (name, object.metadata.uid.unwrap())).collect()
    }

    /// The objects without names, identities and fields that the cluster sets at random.
    async fn specs(&self) -> BTreeMap<String, Value> {
        self.objects().await.into_iter().map(|(name, object)| (name, spec(object))).collect()
    }

    async fn check_unchanged(&self, before: &BTreeMap<String, Value>) {
        let now = self.specs().await;
        assert_eq!(now.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for (name, spec) in before {
            assert_eq!(now[name], *spec, "{name}");
        }
        self.check_in_sync().await;
    }

    async fn usage(&self, vnfd: &str) -> String {
        let packages = self.gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
        let package = packages.as_array().unwrap().iter().find(|it| it["vnfdId"] == vnfd).unwrap();
        package["usageState"].as_str().unwrap().to_owned()
    }

    async fn check_in_sync(&self) {
        let drift = self.gybe.get(&format!("{}/drift", self.path)).await.expect(StatusCode::OK);
        assert_eq!(drift["inSync"], true, "{drift:#}");
        let known = drift["objects"].as_array().unwrap().iter();
        let known: BTreeSet<String> =
            known.map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["name"].as_str().unwrap())).collect();
        let there: BTreeSet<String> = self.objects().await.into_keys().filter(|it| !it.starts_with("Persi")).collect();
        assert_eq!(known, there);
    }

    async fn terminate_and_check_nothing_left(&self) {
        self.gybe.complete(&self.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        let left = self.cluster.marked(&self.namespace.name).await;
        let left: Vec<_> = left.iter().map(|(kind, it)| (kind, it.metadata.name.clone())).collect();
        assert!(left.is_empty(), "{left:?}");
        self.gybe.delete(&self.path).await.expect(StatusCode::NO_CONTENT);
    }
}

fn spec(object: DynamicObject) -> Value {
    let DynamicObject { metadata, mut data, .. } = object;
    let [mut labels, mut annotations] = [metadata.labels, metadata.annotations].map(Option::unwrap_or_default);
    labels.retain(|name, _| !name.starts_with("topology.kubernetes.io/"));
    // Each operation sets its own writer, whatever it changes.
    annotations.retain(|name, _| !name.contains("kubernetes.io/") && name != WRITTEN_BY_ANNOTATION);
    data.as_object_mut().unwrap().remove("status");
    if let Some(Value::Object(spec)) = data.get_mut("spec") {
        // Assigned anew to each object: addresses, the selector of a Job, the node and the token of a Pod.
        ["clusterIP", "clusterIPs", "nodeName", "volumes"].iter().for_each(|name| drop(spec.remove(*name)));
        if spec.contains_key("backoffLimit") {
            spec.remove("selector");
            spec["template"].as_object_mut().unwrap().remove("metadata");
        }
        if let Some(Value::Array(containers)) = spec.get_mut("containers") {
            containers.iter_mut().for_each(|it| drop(it.as_object_mut().unwrap().remove("volumeMounts")));
        }
    }
    json!({ "labels": labels, "annotations": annotations, "data": data })
}

/// The images of the containers of the pods of VDU1, by the VNFCs that the instance shows.
async fn images(fixture: &ChangeFixture) -> Vec<String> {
    let pods = fixture.cluster.api("v1", "Pod", "pods", Some(&fixture.namespace.name));
    let mut images = Vec::new();
    for vnfc in fixture.instance().await["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap() {
        let pod = pods.get(vnfc["computeResource"]["resourceId"].as_str().unwrap()).await.unwrap();
        images.push(pod.data["spec"]["containers"][0]["image"].as_str().unwrap().to_owned());
    }
    images
}
