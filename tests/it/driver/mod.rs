//! The Kubernetes driver against a real control plane, whose nodes and pods KWOK simulates.

mod autoscalers;
mod connection;
mod definitions;
mod evidence;
mod faults;
mod hostile;
mod namespaces;
mod ownership;
mod pods;
mod updates;
mod volumes;
mod workloads;

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use gybe::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::infra::{
    AppliedObject, Driver as _, InfraError, InfraErrorKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Scope,
};
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace, render, scope};

/// Longer than any expected change takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(180);

/// For objects that become ready.
const PATIENT: ReadinessTimeouts =
    ReadinessTimeouts { grace: Duration::from_secs(30), timeout: LONG, settle: Duration::ZERO, waited: Duration::ZERO };

/// For objects with a fault: the first sight of it counts.
const HASTY: ReadinessTimeouts = ReadinessTimeouts { grace: Duration::ZERO, ..PATIENT };

/// A VNF instance in a namespace of its own.
struct Vnf {
    cluster: Cluster,
    _namespace: TestNamespace,
    driver: KubernetesDriver,
    scope: Scope,
}

impl Vnf {
    async fn new() -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        let scope = scope(&cluster.admin, &namespace.name);
        Self { cluster, _namespace: namespace, driver: KubernetesDriver::new(), scope }
    }

    async fn render(&self, vdus: &[(&str, &str)], yaml: &str) -> Vec<Resource> {
        render(&self.driver, &self.scope, vdus, yaml).await
    }

    async fn ensure(&self, resources: &mut [Resource]) {
        for resource in resources {
            let AppliedObject { uid, owned } = self.driver.ensure(&self.scope, resource).await.unwrap();
            resource.state = ResourceState::Present { uid, owned };
        }
    }

    /// Creates the objects and waits for them.
    async fn run(&self, yaml: &str, patience: ReadinessTimeouts) -> Result<(), InfraError> {
        let mut resources = self.render(&[], yaml).await;
        self.ensure(&mut resources).await;
        self.driver.await_ready(&self.scope, &resources, patience).await.map(|_| ())
    }

    /// Creates a ResourceQuota and waits until its controller enforces it.
    async fn create_enforced_quota(&self, quota: &mut [Resource]) {
        self.ensure(quota).await;
        let quotas = self.cluster.api_of(&quota[0], &self.scope.namespace);
        let mut events = quotas.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        loop {
            match events.try_next().await.unwrap().unwrap() {
                WatchEvent::Added(quota) | WatchEvent::Modified(quota)
                    if quota.data.pointer("/status/hard").is_some() =>
                {
                    break;
                }
                _ => {}
            }
        }
    }

    /// Creates the objects and returns the reason why they do not become ready.
    async fn fault(&self, yaml: &str) -> String {
        let start = Instant::now();
        let Err(InfraError { kind: InfraErrorKind::NotReady, detail: text, .. }) = self.run(yaml, HASTY).await else {
            panic!("it became ready")
        };
        assert!(start.elapsed() < HASTY.timeout / 2, "it took too long: {text}");
        text
    }

    /// Waits until the objects are ready and observes them, with and without the result of the wait: both must be
    /// equal.
    async fn wait_ready_and_observe(&self, resources: &[Resource]) -> ObservedResources {
        let pods = self.driver.await_ready(&self.scope, resources, PATIENT).await.unwrap();
        let observed = self.driver.observe(&self.scope, resources, pods).await.unwrap();
        assert_eq!(observed, self.observe(resources).await);
        observed
    }

    async fn observe(&self, resources: &[Resource]) -> ObservedResources {
        self.driver.observe(&self.scope, resources, PodSnapshot::default()).await.unwrap()
    }

    async fn remove(&self, resource: &Resource) {
        self.driver.remove(&self.scope, resource, None, LONG).await.unwrap();
    }

    async fn get(&self, resource: &Resource) -> Option<DynamicObject> {
        self.cluster.api_of(resource, &self.scope.namespace).get_opt(&resource.key.name).await.unwrap()
    }

    /// Merges a change into the object as the administrator.
    async fn patch(&self, resource: &Resource, change: Value) {
        let api = self.cluster.api_of(resource, &self.scope.namespace);
        api.patch(&resource.key.name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// The names of the existing objects of the instance.
    async fn names(&self, api_version: &str, kind: &str, plural: &str) -> Vec<String> {
        let api = self.cluster.api(api_version, kind, plural, Some(&self.scope.namespace));
        let ours = ListParams::default().labels(&format!("{INSTANCE_LABEL}={}", self.scope.instance));
        api.list(&ours).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }
}

fn pods(observed: &ObservedResources) -> Vec<(&str, &str, &str)> {
    observed.vnfcs.iter().map(|it| (it.vdu_id.as_str(), it.workload_kind.as_str(), it.workload_name.as_str())).collect()
}

fn with_replicas(resource: &Resource, replicas: u32) -> Resource {
    Resource { manifest: resource.manifest_with_replicas(replicas), ..resource.clone() }
}

/// A workload with two pods.
fn workload(kind: &str, name: &str, image: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: elsewhere}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: main, image: {image}}}]}}
"
    )
}

fn deployment(image: &str) -> String {
    workload("Deployment", "web", image)
}

fn stateful_set(image: &str) -> String {
    let claim = "
  serviceName: db
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";
    workload("StatefulSet", "db", image).trim_end().to_owned() + claim
}

fn job(image: &str) -> String {
    format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec:
  backoffLimit: 0
  template: {{spec: {{restartPolicy: Never, containers: [{{name: main, image: {image}}}]}}}}
"
    )
}

fn pod(image: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: lone}}
spec: {{containers: [{{name: main, image: {image}}}]{more}}}
"
    )
}

const CONFIG_MAP: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red}
";

const GOOD: &str = "example.test/good";

/// The owner reference to an object.
fn owner(object: &DynamicObject) -> Value {
    let types = object.types.as_ref().unwrap();
    let (name, uid) = (object.name_any(), object.uid());
    json!([{ "apiVersion": types.api_version, "kind": types.kind, "name": name, "uid": uid }])
}
