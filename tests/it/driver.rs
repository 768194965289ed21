//! Tests of the driver, against a real control plane whose nodes and pods are played by KWOK.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join;
use futures::{StreamExt as _, TryStreamExt as _};
use gybe::clock::{Ids as _, System};
use gybe::domain::instance::VirtualStorage;
use gybe::domain::namespace::Namespace;
use gybe::domain::plan::PodRef;
use gybe::domain::resource::{INSTANCE_LABEL, KindInfo, MANAGED_BY_LABEL, Resource, ResourceState};
use gybe::domain::vim::{Secret, VimAccess, VimCredential};
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::infra::{Driver as _, Ensured, InfraError, Observed, Patience, Scope};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace, render, scope};
use crate::support::proxy::Proxy;

/// Nothing that is expected to happen takes as long.
const LONG: Duration = Duration::from_secs(60);
/// For what is to become ready.
const PATIENT: Patience = Patience { grace: Duration::from_secs(30), timeout: LONG };
/// For what is not: a trouble that is seen counts.
const HASTY: Patience = Patience { grace: Duration::ZERO, timeout: LONG };

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
            let Ensured { uid, owned } = self.driver.ensure(&self.scope, resource).await.unwrap();
            resource.state = ResourceState::Present { uid, owned };
        }
    }

    /// Makes the objects and says what comes of waiting for them.
    async fn run(&self, yaml: &str, patience: Patience) -> Result<(), InfraError> {
        let mut resources = self.render(&[], yaml).await;
        self.ensure(&mut resources).await;
        self.driver.await_ready(&self.scope, &resources, patience).await.map(|_| ())
    }

    /// Makes a ResourceQuota; it counts once its controller has seen it.
    async fn counted_by(&self, quota: &mut [Resource]) {
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

    /// Why the objects do not become ready.
    async fn trouble(&self, yaml: &str) -> String {
        let start = Instant::now();
        let Err(InfraError::NotReady(text)) = self.run(yaml, HASTY).await else { panic!("it became ready") };
        assert!(start.elapsed() < HASTY.timeout / 2, "that is not fast: {text}");
        text
    }

    /// Waits until the objects are ready. What is observed with what waiting has shown is what is observed without.
    async fn settled(&self, resources: &[Resource]) -> Observed {
        let pods = self.driver.await_ready(&self.scope, resources, PATIENT).await.unwrap();
        let observed = self.driver.observe(&self.scope, resources, pods).await.unwrap();
        assert_eq!(observed, self.observe(resources).await);
        observed
    }

    async fn observe(&self, resources: &[Resource]) -> Observed {
        self.driver.observe(&self.scope, resources, None).await.unwrap()
    }

    async fn remove(&self, resource: &Resource) {
        self.driver.remove(&self.scope, resource, None, LONG).await.unwrap();
    }

    async fn get(&self, resource: &Resource) -> Option<DynamicObject> {
        self.cluster.api_of(resource, &self.scope.namespace).get_opt(&resource.key.name).await.unwrap()
    }

    /// Merges a change into the object, as the administrator.
    async fn patch(&self, resource: &Resource, change: Value) {
        let api = self.cluster.api_of(resource, &self.scope.namespace);
        api.patch(&resource.key.name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// The names of the objects of the instance that there are.
    async fn names(&self, api_version: &str, kind: &str, plural: &str) -> Vec<String> {
        let api = self.cluster.api(api_version, kind, plural, Some(&self.scope.namespace));
        let ours = ListParams::default().labels(&format!("{INSTANCE_LABEL}={}", self.scope.instance));
        api.list(&ours).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }
}

fn pods(observed: &Observed) -> Vec<(&str, &str, &str)> {
    observed.vnfcs.iter().map(|it| (it.vdu_id.as_str(), it.workload_kind.as_str(), it.workload_name.as_str())).collect()
}

fn with_replicas(resource: &Resource, replicas: u32) -> Resource {
    Resource { manifest: resource.manifest_with_replicas(replicas), ..resource.clone() }
}

/// A workload of two pods.
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

// What each kind goes through.

async fn lives(yaml: &str, kind: &str, name: &str, number: usize) {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", name)], yaml).await;
    vnf.ensure(&mut resources).await;
    let observed = vnf.settled(&resources).await;
    assert_eq!(pods(&observed), vec![("VDU1", kind, name); number]);
    let object = vnf.get(&resources[0]).await.unwrap();
    assert_eq!(object.labels()[INSTANCE_LABEL], vnf.scope.instance.to_string());
    vnf.remove(&resources[0]).await;
    assert!(vnf.get(&resources[0]).await.is_none());
    assert_eq!(vnf.observe(&resources).await, Observed::default());
    assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
    vnf.remove(&resources[0]).await;
}

#[tokio::test]
async fn a_deployment_lives() {
    lives(&deployment(GOOD), "Deployment", "web", 2).await;
}

#[tokio::test]
async fn a_replica_set_lives() {
    lives(&workload("ReplicaSet", "web", GOOD), "ReplicaSet", "web", 2).await;
}

#[tokio::test]
async fn a_daemon_set_lives() {
    // The test cluster has three nodes.
    lives(&workload("DaemonSet", "agent", GOOD).replace("  replicas: 2\n", ""), "DaemonSet", "agent", 3).await;
}

#[tokio::test]
async fn a_pod_lives() {
    lives(&pod(GOOD, ""), "Pod", "lone", 1).await;
}

#[tokio::test]
async fn a_job_completes_and_its_pods_are_no_vnfcs() {
    lives(&job(GOOD), "Job", "once", 0).await;
}

#[tokio::test]
async fn a_stateful_set_leaves_no_claim_behind() {
    let vnf = Vnf::new().await;
    let other = vnf.render(&[], "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-db}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}").await;
    let mut resources = vnf.render(&[("VDU1", "db")], &stateful_set(GOOD)).await;
    resources.extend(other);
    vnf.ensure(&mut resources).await;
    let observed = vnf.settled(&resources).await;
    assert_eq!(pods(&observed), [("VDU1", "StatefulSet", "db"); 2]);
    let claims: Vec<&str> = observed.storages.iter().map(|it| it.claim_name.as_str()).collect();
    assert_eq!(claims, ["data-db", "data-db-0", "data-db-1"]);

    vnf.remove(&resources[0]).await;
    assert_eq!(vnf.names("v1", "Pod", "pods").await, Vec::<String>::new());
    assert_eq!(vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await, ["data-db"]);
    vnf.remove(&resources[1]).await;
}

#[tokio::test]
async fn claims_of_replicas_that_were_scaled_away_stay_until_the_set_is_removed() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", "db")], &stateful_set(GOOD)).await;
    for replicas in [3, 1] {
        resources[0].manifest = resources[0].manifest_with_replicas(replicas);
        vnf.ensure(&mut resources).await;
        let observed = vnf.settled(&resources).await;
        assert_eq!(observed.vnfcs.len(), replicas as usize);
        let claims = vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await;
        assert_eq!(claims, ["data-db-0", "data-db-1", "data-db-2"], "at {replicas} replicas");
    }
    vnf.remove(&resources[0]).await;
    assert!(vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await.is_empty());
}

#[tokio::test]
async fn claims_go_even_if_the_stateful_set_went_before_a_crash() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &stateful_set(GOOD)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    api.delete("db", &DeleteParams::background()).await.unwrap();
    resources[0].state = ResourceState::Intent;
    vnf.remove(&resources[0]).await;
    assert!(vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await.is_empty());
}

/// Somebody deleted the set, and making it anew was refused.
#[tokio::test]
async fn claims_of_a_set_that_could_not_be_made_anew_go_unless_somebody_uses_them() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &stateful_set(GOOD)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    let planned = Resource { state: ResourceState::Planned, ..resources[0].clone() };
    let claims = async || vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await;
    // In place of it there is one of others, whose pods take the claims that there are.
    vnf.patch(&resources[0], json!({ "metadata": { "labels": { INSTANCE_LABEL: null } } })).await;
    vnf.remove(&planned).await;
    assert_eq!(claims().await, ["data-db-0", "data-db-1"]);
    api.delete("db", &DeleteParams::background()).await.unwrap();
    while vnf.get(&resources[0]).await.is_some() {}
    vnf.remove(&planned).await;
    assert!(claims().await.is_empty());

    // Who has no rights at all can give up what he could not make.
    let rules = json!([{ "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get"] }]);
    let access = vnf.cluster.account(&vnf.scope.namespace, "poor", rules).await;
    vnf.driver.remove(&Scope { access, ..vnf.scope.clone() }, &planned, None, LONG).await.unwrap();
}

#[tokio::test]
async fn what_lost_our_mark_is_left_alone_with_its_volumes() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(CONFIG_MAP.to_owned() + "---" + &stateful_set(GOOD))).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let marks = [Value::Null, json!(System.uuid().to_string())];
    for (resource, mark) in resources.iter().zip(marks) {
        vnf.patch(resource, json!({ "metadata": { "labels": { INSTANCE_LABEL: mark } } })).await;
        vnf.remove(resource).await;
        assert_eq!(vnf.get(resource).await.unwrap().metadata.deletion_timestamp, None, "{}", resource.key);
    }
    let claims = vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await;
    assert_eq!(claims, ["data-db-0", "data-db-1"]);
}

#[tokio::test]
async fn what_needs_no_waiting_is_ready_at_once() {
    let vnf = Vnf::new().await;
    let yaml = format!(
        "{CONFIG_MAP}---
{{apiVersion: v1, kind: Service, metadata: {{name: ext}}, spec: {{type: ExternalName, externalName: example.test}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: lb}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}
---
{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: in}}, spec: {{defaultBackend: {{service: {{name: lb, port: {{number: 80}}}}}}}}}}
---
{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: pdb}}, spec: {{minAvailable: 1, selector: {{matchLabels: {{app: web}}}}}}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec: {{schedule: '0 0 * * *', jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: main, image: {GOOD}}}]}}}}}}}}}}
---
{}",
        job(GOOD).replace("backoffLimit: 0", "suspend: true")
    );
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap();
    for resource in &resources {
        vnf.remove(resource).await;
        assert!(vnf.get(resource).await.is_none(), "{}", resource.key);
    }
}

#[tokio::test]
async fn a_claim_that_waits_for_a_pod_is_ready() {
    let vnf = Vnf::new().await;
    let class = format!("late-{}", vnf.scope.instance);
    let yaml = format!(
        "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {class}}}
provisioner: kubernetes.io/host-path
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: late}}
spec: {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
    );
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    let observed = vnf.settled(&resources).await;
    let ResourceState::Present { uid, .. } = &resources[1].state else { panic!() };
    assert_eq!(observed.storages, [VirtualStorage { claim_name: "late".to_owned(), claim_uid: uid.clone() }]);
    for resource in resources.iter().rev() {
        vnf.remove(resource).await;
    }
}

/// A definition of a kind Gadget, and its group.
fn definition(vnf: &Vnf) -> (String, String) {
    let group = format!("g{}.example.test", vnf.scope.instance.0.simple());
    let yaml = format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: gadgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Gadget, plural: gadgets}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"
    );
    (group, yaml)
}

#[tokio::test]
async fn a_definition_and_an_object_of_its_kind() {
    let vnf = Vnf::new().await;
    let (group, yaml) = definition(&vnf);
    let kind = (format!("{group}/v1"), "Gadget".to_owned());
    let kinds = BTreeSet::from([kind.clone()]);
    assert!(vnf.driver.discover(&vnf.scope.access, &kinds).await.unwrap().is_empty());
    let mut definition = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut definition).await;
    vnf.driver.await_ready(&vnf.scope, &definition, PATIENT).await.unwrap();

    // Established, but each API server takes a moment to serve it.
    let found = loop {
        match vnf.driver.discover(&vnf.scope.access, &kinds).await.unwrap() {
            found if found.is_empty() => tokio::task::yield_now().await,
            found => break found,
        }
    };
    assert_eq!(found[&kind], KindInfo { plural: "gadgets".to_owned(), namespaced: true });
    let yaml = format!("{{apiVersion: {group}/v1, kind: Gadget, metadata: {{name: g}}, spec: {{size: 1}}}}");
    let mut gadget = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut gadget).await;
    vnf.driver.await_ready(&vnf.scope, &gadget, HASTY).await.unwrap();

    // Its controller says that it is at work, then that it is done.
    let api = vnf.cluster.api_of(&gadget[0], &vnf.scope.namespace);
    let report = async |status: &str| {
        let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": status, "reason": "Busy" }] } });
        api.patch_status("g", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    report("False").await;
    let (ready, ()) = join(vnf.driver.await_ready(&vnf.scope, &gadget, PATIENT), report("True")).await;
    ready.unwrap();
    // With its definition, as Kubernetes' garbage collector gets to know of a new kind only every 30 s.
    vnf.remove(&definition[0]).await;
    assert!(vnf.get(&definition[0]).await.is_none());
    vnf.remove(&gadget[0]).await;
}

#[tokio::test]
async fn a_definition_is_left_to_others_who_use_it() {
    let vnf = Vnf::new().await;
    let (group, yaml) = definition(&vnf);
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let gadget = json!({ "apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": { "name": "g" } });
    vnf.cluster.create("gadgets", Some(&vnf.scope.namespace), gadget).await;
    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none() && !left.labels().contains_key(INSTANCE_LABEL));
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    api.delete(&resources[0].key.name, &DeleteParams::default()).await.unwrap();
}

/// As an owner in the metadata of others.
fn owner(object: &DynamicObject) -> Value {
    let types = object.types.as_ref().unwrap();
    let (name, uid) = (object.name_any(), object.uid());
    json!([{ "apiVersion": types.api_version, "kind": types.kind, "name": name, "uid": uid }])
}

#[tokio::test]
async fn a_definition_is_left_to_those_whose_operator_makes_objects_of_it_but_not_to_our_own() {
    let (vnf, neighbour) = (Vnf::new().await, Vnf::new().await);
    let (group, yaml) = definition(&vnf);
    let gadget = |name: &str, owner: Value| {
        let metadata = json!({ "name": name, "ownerReferences": owner });
        json!({ "apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": metadata })
    };
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "order" } });
    for (other, is_left) in [(&neighbour, true), (&vnf, true), (&vnf, false)] {
        let mut resources = vnf.render(&[], &(yaml.clone() + "---" + CONFIG_MAP)).await;
        vnf.ensure(&mut resources).await;
        vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
        let place = Some(&other.scope.namespace);
        // Of an object of others, in their namespace or in ours; of one of ours, through another of the kind.
        let cause = match is_left {
            true => vnf.cluster.create("configmaps", place, settings.clone()).await,
            false => vnf.get(&resources[1]).await.unwrap(),
        };
        let made = vnf.cluster.create("gadgets", place, gadget("g", owner(&cause))).await;
        vnf.cluster.create("gadgets", place, gadget("h", owner(&made))).await;
        vnf.remove(&resources[0]).await;
        let left = vnf.get(&resources[0]).await;
        assert_eq!(left.is_some(), is_left);
        if let Some(left) = left {
            assert_eq!(left.metadata.deletion_timestamp, None);
            let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
            api.delete(&resources[0].key.name, &DeleteParams::default()).await.unwrap();
            while vnf.get(&resources[0]).await.is_some() {}
            vnf.cluster
                .api("v1", "ConfigMap", "configmaps", place)
                .delete("order", &DeleteParams::default())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_definition_that_another_instance_made_is_used_as_it_is() {
    let (vnf, other) = (Vnf::new().await, Vnf::new().await);
    let (_, yaml) = definition(&vnf);
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    let before = vnf.get(&resources[0]).await.unwrap();
    let mut theirs = other.render(&[], &yaml).await;
    other.ensure(&mut theirs).await;
    assert_eq!(theirs[0].state, ResourceState::Present { uid: before.uid().unwrap(), owned: false });
    other.remove(&theirs[0]).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let after = vnf.get(&resources[0]).await.unwrap();
    assert_eq!((after.uid(), after.metadata.labels), (before.uid(), before.metadata.labels));
    // Right after it is established, the API server may still prepare the storage of its objects, and says so.
    while let Err(error) = vnf.driver.remove(&vnf.scope, &resources[0], None, LONG).await {
        assert!(matches!(error, InfraError::Transient(_)), "{error}");
    }
}

#[tokio::test]
async fn a_review_is_answered_and_leaves_nothing() {
    let vnf = Vnf::new().await;
    let yaml = "
apiVersion: authorization.k8s.io/v1
kind: SelfSubjectAccessReview
metadata: {name: may-i}
spec: {resourceAttributes: {verb: create, group: apps, resource: deployments}}
---
apiVersion: authorization.k8s.io/v1
kind: LocalSubjectAccessReview
metadata: {name: may-they}
spec: {user: they, resourceAttributes: {namespace: default, verb: create, group: apps, resource: deployments}}
---
apiVersion: authorization.k8s.io/v1
kind: SelfSubjectRulesReview
spec: {namespace: default}
---
apiVersion: authorization.k8s.io/v1
kind: LocalSubjectAccessReview
metadata: {namespace: default}
spec: {user: they, resourceAttributes: {namespace: default, verb: create, group: apps, resource: deployments}}
---
apiVersion: authorization.k8s.io/v1
kind: SubjectAccessReview
spec: {user: they, resourceAttributes: {verb: create, group: apps, resource: deployments}}
---
apiVersion: authentication.k8s.io/v1
kind: TokenReview
spec: {token: of-nobody}
";
    let mut resources = vnf.render(&[], yaml).await;
    assert_eq!(resources.len(), 6);
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap();
    for resource in &resources {
        assert_eq!(resource.state, ResourceState::Present { uid: String::new(), owned: false });
        vnf.remove(resource).await;
    }
}

// Changes.

#[tokio::test]
async fn ensuring_again_changes_nothing() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(CONFIG_MAP.to_owned() + "---" + &deployment(GOOD))).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    for resource in &resources {
        let before = vnf.get(resource).await.unwrap();
        let ensured = vnf.driver.ensure(&vnf.scope, resource).await.unwrap();
        let after = vnf.get(resource).await.unwrap();
        assert_eq!(ensured, Ensured { uid: before.uid().unwrap(), owned: true });
        assert_eq!(after.metadata.generation, before.metadata.generation);
        assert_eq!(after.uid(), before.uid());
    }
}

#[tokio::test]
async fn an_ensured_change_is_rolled_out_before_it_counts_as_ready() {
    for yaml in [deployment(GOOD), stateful_set(GOOD)] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml).await;
        vnf.ensure(&mut resources).await;
        let before = vnf.settled(&resources).await;

        let mut changed = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml.replace(GOOD, "example.test/new")).await;
        vnf.ensure(&mut changed).await;
        let after = vnf.settled(&changed).await;
        let uids = |observed: &Observed| observed.vnfcs.iter().map(|it| it.pod_uid.clone()).collect::<BTreeSet<_>>();
        assert_eq!(after.vnfcs.len(), 2);
        assert!(uids(&after).is_disjoint(&uids(&before)));
    }
}

#[tokio::test]
async fn scaling_waits_for_the_new_and_for_the_surplus() {
    for yaml in [deployment(GOOD), stateful_set(GOOD), workload("ReplicaSet", "web", GOOD)] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[("VDU1", "web"), ("VDU1", "db")], &yaml).await;
        let name = resources[0].key.name.clone();
        resources[0].vdu_id = Some("VDU1".to_owned());
        vnf.ensure(&mut resources).await;
        for replicas in [4, 1, 0, 2] {
            let mut scaled = [with_replicas(&resources[0], replicas)];
            vnf.ensure(&mut scaled).await;
            assert_eq!(vnf.settled(&scaled).await.vnfcs.len(), replicas as usize, "{name}");
        }
        vnf.driver.remove(&vnf.scope, &resources[0], Some(Duration::ZERO), LONG).await.unwrap();
    }
}

#[tokio::test]
async fn a_change_that_kubernetes_does_not_allow_is_invalid() {
    let vnf = Vnf::new().await;
    vnf.run(&stateful_set(GOOD), PATIENT).await.unwrap();
    let changed = vnf.render(&[], &stateful_set(GOOD).replace("app: db", "app: base")).await;
    let error = vnf.driver.ensure(&vnf.scope, &changed[0]).await.unwrap_err();
    assert!(matches!(&error, InfraError::Invalid(text) if text.contains("updates to statefulset spec")), "{error}");

    let unknown = vnf.render(&[], &deployment(GOOD).replace("replicas: 2", "copies: 2")).await;
    let error = vnf.driver.ensure(&vnf.scope, &unknown[0]).await.unwrap_err();
    assert!(matches!(&error, InfraError::Invalid(text) if text.contains("copies")), "{error}");
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {x: [hunter2]}}";
    let error = vnf.driver.ensure(&vnf.scope, &vnf.render(&[], secret).await[0]).await.unwrap_err();
    let InfraError::Invalid(text) = error else { panic!("{error}") };
    assert!(text.ends_with(".stringData.x: expected string"), "{text}");
    let wrong = vnf.render(&[], &deployment(GOOD).replace("replicas: 2", "replicas: -2")).await;
    let error = vnf.driver.ensure(&vnf.scope, &wrong[0]).await.unwrap_err();
    assert!(matches!(&error, InfraError::Invalid(text) if text.contains("spec.replicas")), "{error}");
}

// Who owns what.

#[tokio::test]
async fn another_instances_object_is_a_conflict_that_names_it() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], CONFIG_MAP).await;
    vnf.ensure(&mut resources).await;
    let before = vnf.get(&resources[0]).await;

    let second = scope(&vnf.scope.access, &vnf.scope.namespace);
    let mut theirs = render(&vnf.driver, &second, &[], &CONFIG_MAP.replace("red", "blue")).await;
    let error = vnf.driver.ensure(&second, &theirs[0]).await.unwrap_err();
    let InfraError::Conflict(text) = error else { panic!("{error}") };
    assert_eq!(
        text,
        format!(
            "ConfigMap settings in namespace {} belongs to VNF instance {}",
            vnf.scope.namespace, vnf.scope.instance
        )
    );
    theirs[0].state = ResourceState::Intent;
    vnf.driver.remove(&second, &theirs[0], None, LONG).await.unwrap();
    assert_eq!(vnf.get(&resources[0]).await, before);
}

#[tokio::test]
async fn of_instances_that_make_the_same_object_at_once_exactly_one_wins() {
    let vnf = Vnf::new().await;
    for round in 0..20 {
        let yaml = CONFIG_MAP.replace("settings", &format!("settings-{round}"));
        let scopes = [(); 4].map(|()| scope(&vnf.scope.access, &vnf.scope.namespace));
        let attempts = scopes.iter().map(async |scope| {
            let resources = render(&vnf.driver, scope, &[], &yaml).await;
            vnf.driver.ensure(scope, &resources[0]).await
        });
        let results = futures::future::join_all(attempts).await;
        let winners: Vec<usize> = (0..4).filter(|it| results[*it].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        let winner = scopes[winners[0]].instance.to_string();
        for result in results.iter().filter(|it| it.is_err()) {
            assert!(
                matches!(result, Err(InfraError::Conflict(text)) if text.contains(&winner)),
                "{result:?}, but {winner} won"
            );
        }
    }
}

#[tokio::test]
async fn an_object_that_is_not_gybes_is_a_conflict_and_stays_as_it_is() {
    let vnf = Vnf::new().await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "colour": "red" },
        "metadata": {
            "name": "settings",
            "labels": { MANAGED_BY_LABEL: "Helm" },
            "annotations": { "meta.helm.sh/release-name": "shop" },
        },
    });
    let before = vnf.cluster.create("configmaps", Some(&vnf.scope.namespace), foreign).await;
    let resources = vnf.render(&[], CONFIG_MAP).await;
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    let text = format!(
        "ConfigMap settings in namespace {} exists and is not managed by Gybe (app.kubernetes.io/managed-by is Helm; \
         Helm release shop; its fields were written by kubectl)",
        vnf.scope.namespace
    );
    assert_eq!(error, InfraError::Conflict(text));
    assert_eq!(vnf.get(&resources[0]).await.unwrap().resource_version(), before.resource_version());

    let mut intended = resources[0].clone();
    intended.state = ResourceState::Intent;
    vnf.remove(&intended).await;
    assert!(vnf.get(&resources[0]).await.is_some());
}

/// The other client's object contradicts ours in nothing, so that server-side apply alone would not notice.
#[tokio::test]
async fn an_object_that_somebody_makes_at_the_same_moment_is_not_taken_over() {
    let vnf = Vnf::new().await;
    for round in 0..60 {
        let name = format!("settings-{round}");
        let resources = vnf.render(&[], &CONFIG_MAP.replace("settings", &name)).await;
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "colour": "red" }, "metadata": { "name": name },
        });
        let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
        let foreign: DynamicObject = serde_json::from_value(foreign).unwrap();
        let params = PostParams { field_manager: Some("kubectl".to_owned()), ..PostParams::default() };
        let (ours, theirs) = join(vnf.driver.ensure(&vnf.scope, &resources[0]), api.create(&params, &foreign)).await;
        let object = vnf.get(&resources[0]).await.unwrap();
        let marked = object.labels().contains_key(INSTANCE_LABEL);
        assert_eq!(object.data["data"], json!({ "colour": "red" }));
        match (ours, theirs) {
            (Ok(_), Err(_)) if marked => {}
            (Err(InfraError::Conflict(_)), Ok(_)) if !marked => {}
            (ours, theirs) => panic!("{ours:?} {theirs:?} {object:?}"),
        }
    }
}

#[tokio::test]
async fn an_object_of_ours_that_somebody_replaces_at_the_same_moment_is_not_taken_over() {
    let vnf = Vnf::new().await;
    for round in 0..60 {
        let name = format!("settings-{round}");
        let mut resources = vnf.render(&[], &CONFIG_MAP.replace("settings", &name)).await;
        vnf.ensure(&mut resources).await;
        // Or else it would not be made anew.
        resources[0].state = ResourceState::Intent;
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "colour": "red" }, "metadata": { "name": name },
        });
        let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
        let foreign: DynamicObject = serde_json::from_value(foreign).unwrap();
        let replace = async {
            tokio::time::sleep(Duration::from_micros(100) * round).await;
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            api.create(&PostParams::default(), &foreign).await
        };
        let (ours, theirs) = join(vnf.driver.ensure(&vnf.scope, &resources[0]), replace).await;
        let object = vnf.get(&resources[0]).await.unwrap();
        let marked = object.labels().contains_key(INSTANCE_LABEL);
        match (ours, theirs) {
            // Ours was made again between their two calls.
            (Ok(Ensured { uid, .. }), Err(_)) if marked && object.uid() == Some(uid.clone()) => {}
            (Ok(Ensured { uid, .. }), Ok(made)) if !marked && made.uid() != Some(uid.clone()) => {}
            (Err(InfraError::Conflict(_)), Ok(_)) if !marked => {}
            (ours, theirs) => panic!("{ours:?} {theirs:?} {object:?}"),
        }
    }
}

#[tokio::test]
async fn an_object_that_was_replaced_is_another_object() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", "lone")], &(CONFIG_MAP.to_owned() + "---" + &pod(GOOD, ""))).await;
    vnf.ensure(&mut resources).await;
    let old = resources.clone();
    for (resource, known) in resources.iter_mut().zip(&old) {
        vnf.remove(known).await;
        let error = vnf.driver.ensure(&vnf.scope, resource).await.unwrap_err();
        assert!(matches!(error, InfraError::Gone(_)), "it is made anew only once its uid is forgotten: {error}");
        assert!(vnf.get(resource).await.is_none());
        resource.state = ResourceState::Intent;
    }
    vnf.ensure(&mut resources).await;
    assert_ne!(old[0].state, resources[0].state);
    for resource in &old {
        let error = vnf.driver.ensure(&vnf.scope, resource).await.unwrap_err();
        assert!(matches!(error, InfraError::Gone(_)), "{error}");
    }

    for resource in &old {
        vnf.remove(resource).await;
    }
    let ResourceState::Present { uid, .. } = old[1].state.clone() else { panic!() };
    vnf.driver.delete_pods(&vnf.scope, &[PodRef { name: "lone".to_owned(), uid }], LONG).await.unwrap();
    for resource in &resources {
        assert!(vnf.get(resource).await.unwrap().metadata.deletion_timestamp.is_none());
    }
}

#[tokio::test]
async fn what_was_not_made_is_not_removed_and_what_may_have_been_made_is() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], CONFIG_MAP).await;
    vnf.ensure(&mut resources).await;
    let state = |state| Resource { state, ..resources[0].clone() };
    vnf.remove(&state(ResourceState::Planned)).await;
    let uid = vnf.get(&resources[0]).await.unwrap().uid().unwrap();
    vnf.remove(&state(ResourceState::Present { uid, owned: false })).await;
    assert!(vnf.get(&resources[0]).await.is_some());
    vnf.remove(&state(ResourceState::Intent)).await;
    assert!(vnf.get(&resources[0]).await.is_none());
}

// Deleting.

#[tokio::test]
async fn deleted_pods_are_replaced_and_the_wait_is_for_these_pods_only() {
    for yaml in [deployment(GOOD), stateful_set(GOOD)] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml).await;
        vnf.ensure(&mut resources).await;
        let before = vnf.settled(&resources).await;
        let first = &before.vnfcs[0];
        let pods = [PodRef { name: first.pod_name.clone(), uid: first.pod_uid.clone() }];
        vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
        vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
        let after = vnf.settled(&resources).await;
        assert_eq!(after.vnfcs.len(), 2);
        assert!(after.vnfcs.contains(&before.vnfcs[1]) && !after.vnfcs.contains(first));
    }
}

/// Pods of a node without kubelet never end by themselves.
#[tokio::test]
async fn pods_are_killed_at_once_or_after_the_grace() {
    for grace in [Duration::ZERO, Duration::from_secs(2)] {
        let vnf = Vnf::new().await;
        let dead = |yaml: String| yaml.replace("{containers:", "{nodeName: no-such-node, containers:");
        let yaml =
            dead(deployment(GOOD)) + "---" + &dead(workload("ReplicaSet", "rs", GOOD)) + "---" + &dead(pod(GOOD, ""));
        let mut resources = vnf.render(&[], &yaml).await;
        vnf.ensure(&mut resources).await;
        let pods = vnf.cluster.api("v1", "Pod", "pods", Some(&vnf.scope.namespace));
        let mut events = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        for _ in 0..5 {
            while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
        }
        let start = Instant::now();
        let removals = resources.iter().map(|it| vnf.driver.remove(&vnf.scope, it, Some(grace), LONG));
        futures::future::try_join_all(removals).await.unwrap();
        assert!(start.elapsed() >= grace && start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
    }
}

/// The pods that are not its own stay.
#[tokio::test]
async fn the_pods_of_a_workload_without_replicas_end_by_themselves_or_are_killed_after_the_grace() {
    let dead = |yaml: String| yaml.replace("{containers:", "{nodeName: no-such-node, containers:");
    for (yaml, grace) in [
        (deployment(GOOD), None),
        (stateful_set(GOOD), Some(LONG)),
        (dead(deployment(GOOD)), Some(Duration::ZERO)),
        (dead(workload("ReplicaSet", "web", GOOD)), Some(Duration::from_secs(2))),
    ] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[], &(yaml + "---" + &pod(GOOD, ""))).await;
        vnf.ensure(&mut resources).await;
        let pods = vnf.cluster.api("v1", "Pod", "pods", Some(&vnf.scope.namespace));
        let mut events = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        for _ in 0..2 {
            while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
        }
        let mut stopped = [with_replicas(&resources[0], 0)];
        vnf.ensure(&mut stopped).await;
        let start = Instant::now();
        vnf.driver.end_pods(&vnf.scope, &stopped, grace, LONG).await.unwrap();
        let grace = grace.filter(|grace| *grace < LONG).unwrap_or_default();
        assert!(start.elapsed() >= grace && start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        assert_eq!(vnf.names("v1", "Pod", "pods").await, ["lone"]);
        vnf.driver.end_pods(&vnf.scope, &stopped, Some(Duration::ZERO), LONG).await.unwrap();
        assert_eq!(vnf.names("v1", "Pod", "pods").await, ["lone"]);
        for resource in [&stopped[0], &resources[1]] {
            vnf.driver.remove(&vnf.scope, resource, Some(Duration::ZERO), LONG).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_pods_of_a_cron_jobs_jobs_are_killed_with_it() {
    let vnf = Vnf::new().await;
    let yaml = format!(
        "
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec:
  schedule: '0 0 * * *'
  jobTemplate:
    spec: {{template: {{spec: {{nodeName: no-such-node, restartPolicy: Never, containers: [{{name: main, image: {GOOD}}}]}}}}}}
"
    );
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    // As its controller makes them, at midnight.
    let cron_job = vnf.get(&resources[0]).await.unwrap();
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": cron_job.uid(),
        "controller": true, "blockOwnerDeletion": true,
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": cron_job.data.pointer("/spec/jobTemplate/spec"),
        "metadata": { "name": "nightly-1", "ownerReferences": [owner] },
    });
    vnf.cluster.create("jobs", Some(&vnf.scope.namespace), job).await;
    let pods = vnf.cluster.api("v1", "Pod", "pods", Some(&vnf.scope.namespace));
    let mut events = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
    let start = Instant::now();
    vnf.driver.remove(&vnf.scope, &resources[0], Some(Duration::ZERO), LONG).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
}

#[tokio::test]
async fn a_pod_belongs_to_a_vdu_by_its_owners_and_not_by_its_name() {
    let vnf = Vnf::new().await;
    let stray = pod(GOOD, "").replace("lone", "web-5d78c9869d-abcde");
    let mut resources = vnf.render(&[("VDU1", "web")], &(deployment(GOOD) + "---" + &stray)).await;
    vnf.ensure(&mut resources).await;
    let observed = vnf.settled(&resources).await;
    assert_eq!(pods(&observed), [("VDU1", "Deployment", "web"); 2]);
    assert!(observed.vnfcs.iter().all(|it| it.pod_name != "web-5d78c9869d-abcde"));
}

#[tokio::test]
async fn finalizers_that_keep_an_object_are_named() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(CONFIG_MAP.to_owned() + "---" + &pod(GOOD, ""))).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    for resource in &resources {
        vnf.patch(resource, json!({ "metadata": { "finalizers": ["example.test/hold"] } })).await;
        let soon = Duration::from_millis(300);
        let error = vnf.driver.remove(&vnf.scope, resource, None, soon).await.unwrap_err();
        let text = format!(
            "{} (waits for its finalizers example.test/hold) in namespace {} is not gone in time",
            resource.key, vnf.scope.namespace
        );
        assert_eq!(error, InfraError::NotReady(text));
    }
    // Ours on its way out is waited for, then made anew.
    let free = async || vnf.patch(&resources[0], json!({ "metadata": { "finalizers": null } })).await;
    let anew = Resource { state: ResourceState::Intent, ..resources[0].clone() };
    let (ensured, ()) = join(vnf.driver.ensure(&vnf.scope, &anew), free()).await;
    let ResourceState::Present { uid, .. } = &resources[0].state else { panic!() };
    assert_ne!(ensured.unwrap().uid, *uid);
    vnf.patch(&resources[1], json!({ "metadata": { "finalizers": null } })).await;
}

// Namespaces.

/// A namespace that is not there yet, and its manifest.
fn new_namespace() -> (Namespace, String) {
    let name = format!("test-{}", &System.uuid().simple().to_string()[..12]);
    (
        Namespace::try_from(name.clone()).unwrap(),
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"),
    )
}

#[tokio::test]
async fn a_namespace_that_we_made_goes_when_it_is_empty() {
    let mut vnf = Vnf::new().await;
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    // A bare pod is refused as long as the namespace has no ServiceAccount.
    let mut resources = vnf.render(&[], &(yaml + "\n---" + &pod(GOOD, "") + "---" + CONFIG_MAP)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    assert!(matches!(&resources[0].state, ResourceState::Present { owned: true, .. }));
    // The pod goes first; the ConfigMap is ours and may go with the namespace.
    vnf.remove(&resources[1]).await;
    vnf.remove(&resources[0]).await;
    assert!(vnf.get(&resources[0]).await.is_none());
    vnf.remove(&resources[0]).await;
}

#[tokio::test]
async fn a_namespace_that_we_made_is_left_to_others_who_are_in_it() {
    let mut vnf = Vnf::new().await;
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    let second = scope(&vnf.scope.access, &vnf.scope.namespace);
    let mut theirs = render(&vnf.driver, &second, &[], &(yaml + "\n---" + CONFIG_MAP)).await;
    let namespace = vnf.driver.ensure(&second, &theirs[0]).await.unwrap();
    assert!(!namespace.owned);
    vnf.driver.ensure(&second, &theirs[1]).await.unwrap();

    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none());
    assert!(!left.labels().contains_key(INSTANCE_LABEL) && !left.labels().contains_key(MANAGED_BY_LABEL));
    // Run once more after a crash, with nobody in it by then: it was given up and stays.
    theirs[1].state = ResourceState::Intent;
    vnf.driver.remove(&second, &theirs[1], None, LONG).await.unwrap();
    vnf.remove(&resources[0]).await;
    theirs[0].state = ResourceState::Present { uid: namespace.uid, owned: namespace.owned };
    vnf.driver.remove(&second, &theirs[0], None, LONG).await.unwrap();
    assert!(vnf.get(&resources[0]).await.unwrap().metadata.deletion_timestamp.is_none());
    vnf.cluster
        .api_of(&resources[0], &vnf.scope.namespace)
        .delete(&resources[0].key.name, &DeleteParams::default())
        .await
        .unwrap();
}

/// Of an owner in the namespace it is the owner that counts; one outside is met nowhere else.
#[tokio::test]
async fn a_namespace_that_we_made_is_left_to_what_an_object_outside_owns_in_it() {
    let mut vnf = Vnf::new().await;
    let outside = format!("late-{}", vnf.scope.instance);
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": outside },
        "provisioner": "example.test/none",
    });
    let class = vnf.cluster.create("storageclasses", None, class).await;
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    let mut resources = vnf.render(&[], &(yaml + "\n---" + CONFIG_MAP)).await;
    vnf.ensure(&mut resources).await;
    let secret = |name: &str, owner: Value| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "ownerReferences": owner } });
    let ours = owner(&vnf.get(&resources[1]).await.unwrap());
    vnf.cluster.create("secrets", Some(&vnf.scope.namespace), secret("made-of-ours", ours)).await;
    let theirs = owner(&class);
    vnf.cluster.create("secrets", Some(&vnf.scope.namespace), secret("theirs", theirs)).await;
    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert_eq!(left.metadata.deletion_timestamp, None);

    // Without it, and ours once more, the namespace goes with all that is made of ours.
    let secrets = vnf.cluster.api("v1", "Secret", "secrets", Some(&vnf.scope.namespace));
    secrets.delete("theirs", &DeleteParams::default()).await.unwrap();
    vnf.patch(&resources[0], json!({ "metadata": { "labels": { INSTANCE_LABEL: vnf.scope.instance.to_string() } } }))
        .await;
    vnf.remove(&resources[0]).await;
    assert!(vnf.get(&resources[0]).await.is_none());
    let classes = vnf.cluster.api("storage.k8s.io/v1", "StorageClass", "storageclasses", None);
    classes.delete(&outside, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_was_there_is_used_as_it_is_unless_it_goes() {
    let vnf = Vnf::new().await;
    let yaml =
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {}, labels: {{x: x}}}}}}", vnf.scope.namespace);
    let resources = vnf.render(&[], &yaml).await;
    let before = vnf.get(&resources[0]).await.unwrap();
    let ensured = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap();
    assert_eq!(ensured, Ensured { uid: before.uid().unwrap(), owned: false });
    assert_eq!(vnf.get(&resources[0]).await.unwrap(), before);
    vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap();

    let config = vnf.render(&[], CONFIG_MAP).await;
    vnf.driver.ensure(&vnf.scope, &config[0]).await.unwrap();
    vnf.patch(&config[0], json!({ "metadata": { "finalizers": ["example.test/hold"] } })).await;
    let name = vnf.scope.namespace.as_str();
    vnf.cluster.api_of(&resources[0], &vnf.scope.namespace).delete(name, &DeleteParams::default()).await.unwrap();
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    assert_eq!(error, InfraError::Transient(format!("Namespace {name} is being deleted")));
    let pod = vnf.render(&[], &pod(GOOD, "")).await;
    let error = vnf.driver.ensure(&vnf.scope, &pod[0]).await.unwrap_err();
    assert!(matches!(&error, InfraError::Transient(text) if text.contains("being terminated")), "{error}");
    vnf.patch(&config[0], json!({ "metadata": { "finalizers": null } })).await;
}

#[tokio::test]
async fn a_kind_that_is_not_served_may_be_served_later() {
    let vnf = Vnf::new().await;
    let mut resource = vnf.render(&[], CONFIG_MAP).await.remove(0);
    resource.key.api_version = "example.test/v1".to_owned();
    resource.key.kind = "Gadget".to_owned();
    resource.info.plural = "gadgets".to_owned();
    resource.manifest.insert("apiVersion".to_owned(), "example.test/v1".into());
    resource.manifest.insert("kind".to_owned(), "Gadget".into());
    let error = vnf.driver.ensure(&vnf.scope, &resource).await.unwrap_err();
    assert_eq!(error, InfraError::Transient("the cluster does not serve example.test/v1 Gadget".to_owned()));
    for state in [ResourceState::Intent, ResourceState::Present { uid: "u".to_owned(), owned: true }] {
        vnf.remove(&Resource { state, ..resource.clone() }).await;
    }
}

#[tokio::test]
async fn a_missing_namespace_is_said_to_be_missing() {
    let mut vnf = Vnf::new().await;
    vnf.scope.namespace = new_namespace().0;
    let resources = vnf.render(&[], CONFIG_MAP).await;
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    let text = format!("namespaces \"{}\" not found", vnf.scope.namespace);
    assert_eq!(error, InfraError::Invalid(text));
}

// Troubles.

#[tokio::test]
async fn an_image_that_can_not_be_pulled_is_reported() {
    for yaml in [
        deployment("registry.invalid/x"),
        workload("StatefulSet", "db", "registry.invalid/x"),
        job("registry.invalid/x"),
        pod("registry.invalid/x", ""),
    ] {
        let text = Vnf::new().await.trouble(&yaml).await;
        assert!(
            text.contains("container main: ErrImagePull") || text.contains("container main: ImagePullBackOff"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_crash_loop_is_reported() {
    let vnf = Vnf::new().await;
    let text = vnf.trouble(&deployment("example.test/crash-loop")).await;
    let start = format!("in namespace {}: Deployment web: pod web-", vnf.scope.namespace);
    assert!(text.starts_with(&start) && text.contains(": container main: CrashLoopBackOff: back-off "), "{text}");
}

#[tokio::test]
async fn a_trouble_may_heal_within_its_grace() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &deployment("registry.invalid/x")).await;
    vnf.ensure(&mut resources).await;
    let short = Patience { timeout: Duration::from_secs(3), ..PATIENT };
    let error = vnf.driver.await_ready(&vnf.scope, &resources, short).await.unwrap_err();
    assert!(
        matches!(&error, InfraError::NotReady(text) if text.contains("not ready within 3 s") && text.contains("ImagePullBackOff")),
        "{error}"
    );
    let heal = async {
        let mut healed = vnf.render(&[], &deployment(GOOD)).await;
        vnf.ensure(&mut healed).await;
    };
    let (ready, ()) = join(vnf.driver.await_ready(&vnf.scope, &resources, PATIENT), heal).await;
    ready.unwrap();
}

#[tokio::test]
async fn a_pod_that_no_node_takes_is_reported() {
    let text = Vnf::new()
        .await
        .trouble(&deployment(GOOD).replace("{containers:", "{nodeSelector: {no: such}, containers:"))
        .await;
    assert!(text.contains("no node takes it (Unschedulable): "), "{text}");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_reported() {
    let quota = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: few}
spec: {hard: {pods: 1}}
---";
    let daemon_set = workload("DaemonSet", "agent", GOOD).replace("  replicas: 2\n", "");
    for yaml in [deployment(GOOD), workload("StatefulSet", "db", GOOD), workload("ReplicaSet", "web", GOOD), daemon_set]
    {
        let vnf = Vnf::new().await;
        let text = format!("{quota}{yaml}");
        let mut resources = vnf.render(&[], &text).await;
        vnf.counted_by(&mut resources[..1]).await;
        let text = vnf.trouble(&text).await;
        assert!(text.contains("exceeded quota: few"), "{text}");
    }
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(quota.replace("pods: 1", "pods: 0") + &pod(GOOD, ""))).await;
    vnf.counted_by(&mut resources[..1]).await;
    let error = vnf.driver.ensure(&vnf.scope, &resources[1]).await.unwrap_err();
    assert!(matches!(&error, InfraError::Invalid(text) if text.contains("exceeded quota: few")), "{error}");
}

#[tokio::test]
async fn a_claim_without_a_volume_is_reported() {
    let claim = |class: &str| {
        format!(
            "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{storageClassName: '{class}', accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
        )
    };
    let text = Vnf::new().await.trouble(&claim("no-such-class")).await;
    assert!(
        text.contains("PersistentVolumeClaim data: ProvisioningFailed: ") && text.contains("no-such-class"),
        "{text}"
    );
    let text = Vnf::new().await.trouble(&claim("")).await;
    assert!(text.contains("PersistentVolumeClaim data: FailedBinding: "), "{text}");
}

#[tokio::test]
async fn what_has_failed_for_good_is_reported_at_once() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &job("example.test/crash-loop")).await;
    vnf.ensure(&mut resources).await;
    let error = vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap_err();
    assert!(
        matches!(&error, InfraError::NotReady(text) if text.contains("Job once has failed: BackoffLimitExceeded")),
        "{error}"
    );
    let error = vnf.run(&pod("example.test/crash-loop", ", restartPolicy: Never"), PATIENT).await.unwrap_err();
    assert!(
        matches!(&error, InfraError::NotReady(text) if text.contains("Pod lone has failed: the pod failed: container main exited with 1")),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_ready_in_time_says_what_it_waits_for() {
    let vnf = Vnf::new().await;
    let hurried = Patience { timeout: Duration::from_secs(2), ..PATIENT };
    let error = vnf.run(&deployment("example.test/never-ready"), hurried).await.unwrap_err();
    let InfraError::NotReady(text) = error else { panic!("{error}") };
    let start = format!(
        "in namespace {}: not ready within 2 s: Deployment web: 0 of 2 replicas available; pod web-",
        vnf.scope.namespace
    );
    assert!(
        text.starts_with(&start) && text.ends_with("ContainersNotReady: containers with unready status: [main]"),
        "{text}"
    );
}

#[tokio::test]
async fn an_object_that_somebody_deletes_is_missed() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &deployment("example.test/never-ready")).await;
    vnf.ensure(&mut resources).await;
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    let delete = async { api.delete("web", &DeleteParams::background()).await.unwrap() };
    let (result, _) = join(vnf.driver.await_ready(&vnf.scope, &resources, HASTY), delete).await;
    let text = format!("in namespace {}: Deployment web: it is not there any more", vnf.scope.namespace);
    assert_eq!(result, Err(InfraError::NotReady(text)));
}

// Rights.

/// A Role that lets a VNF instance live.
fn rights() -> Value {
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    json!([
        { "apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "replicasets"], "verbs": all },
        { "apiGroups": [""], "resources": ["pods", "configmaps", "services", "persistentvolumeclaims"], "verbs": all },
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
    ])
}

#[tokio::test]
async fn a_role_in_the_namespace_is_enough_and_ends_there() {
    let mut vnf = Vnf::new().await;
    vnf.scope.access = vnf.cluster.account(&vnf.scope.namespace, "gybe", rights()).await;
    let user = format!("system:serviceaccount:{}:gybe", vnf.scope.namespace);
    assert_eq!(vnf.driver.who_am_i(&vnf.scope.access).await.unwrap(), user);

    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": vnf.scope.namespace } });
    let yaml = format!("{CONFIG_MAP}---{}---{}---\n{namespace}", deployment(GOOD), stateful_set(GOOD));
    let mut resources = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml).await;
    vnf.ensure(&mut resources).await;
    assert!(matches!(&resources[3].state, ResourceState::Present { owned: false, .. }));
    let observed = vnf.settled(&resources).await;
    assert_eq!((observed.vnfcs.len(), observed.storages.len()), (4, 2));
    let pods = [PodRef { name: observed.vnfcs[0].pod_name.clone(), uid: observed.vnfcs[0].pod_uid.clone() }];
    vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    for resource in resources.iter().rev() {
        vnf.driver.remove(&vnf.scope, resource, Some(Duration::ZERO), LONG).await.unwrap();
    }

    let denied = |error: InfraError, words: &[&str]| {
        let InfraError::Denied(text) = error else { panic!("{error}") };
        assert!(text.contains(&user) && words.iter().all(|word| text.contains(word)), "{text}");
    };
    let elsewhere = vnf.cluster.namespace().await;
    let away = Scope { namespace: elsewhere.name.clone(), ..vnf.scope.clone() };
    let words = ["get", "configmaps", elsewhere.name.as_str()];
    denied(vnf.driver.ensure(&away, &resources[0]).await.unwrap_err(), &words);
    denied(vnf.driver.await_ready(&away, &resources, PATIENT).await.unwrap_err(), &["list"]);
    denied(vnf.driver.remove(&away, &resources[0], None, LONG).await.unwrap_err(), &["get", "configmaps"]);
    denied(vnf.driver.observe(&away, &resources, None).await.unwrap_err(), &["list"]);
    denied(vnf.driver.delete_pods(&away, &pods, LONG).await.unwrap_err(), &["delete", "pods"]);
    let secret = vnf.render(&[], "{apiVersion: v1, kind: Secret, metadata: {name: s}}").await;
    denied(vnf.driver.ensure(&vnf.scope, &secret[0]).await.unwrap_err(), &["get", "secrets"]);
}

#[tokio::test]
async fn readiness_needs_no_right_to_see_pods_or_events() {
    let mut vnf = Vnf::new().await;
    let rules =
        json!([{ "apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "patch"] }]);
    vnf.scope.access = vnf.cluster.account(&vnf.scope.namespace, "blind", rules).await;
    vnf.run(&(deployment(GOOD) + "---" + &stateful_set(GOOD)), PATIENT).await.unwrap();
}

// Reaching the cluster.

#[tokio::test]
async fn kinds_that_the_cluster_does_not_serve_are_left_out() {
    let vnf = Vnf::new().await;
    let kind = |api_version: &str, kind: &str| (api_version.to_owned(), kind.to_owned());
    let asked = BTreeSet::from([
        kind("v1", "ConfigMap"),
        kind("v1", "Gadget"),
        kind("v9", "ConfigMap"),
        kind("apps/v1", "Deployment"),
        kind("apps/v1beta1", "Deployment"),
        kind("example.test/v1", "Gadget"),
        kind("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ]);
    let found = vnf.driver.discover(&vnf.scope.access, &asked).await.unwrap();
    let found: Vec<(&str, &str, bool)> =
        found.iter().map(|((_, kind), info)| (kind.as_str(), info.plural.as_str(), info.namespaced)).collect();
    assert_eq!(
        found,
        [
            ("Deployment", "deployments", true),
            ("ClusterRole", "clusterroles", false),
            ("ConfigMap", "configmaps", true)
        ]
    );
}

#[tokio::test]
async fn who_the_credential_belongs_to_or_why_that_is_not_known() {
    let cluster = Cluster::running().await;
    let driver = KubernetesDriver::new();
    assert_eq!(driver.who_am_i(&cluster.admin).await.unwrap(), "admin");
    let token = VimCredential::BearerToken(Secret::new("n0t-a-t0ken"));
    let endpoint = cluster.admin.endpoint.clone();

    let error = driver.who_am_i(&VimAccess { credential: token.clone(), ..cluster.admin.clone() }).await.unwrap_err();
    let text = format!("the API server {endpoint} refused the credential: Unauthorized");
    assert_eq!(error, InfraError::Denied(text));

    // Not the CA that signed: any other certificate will do.
    let VimCredential::ClientCertificate { certificate, .. } = &cluster.admin.credential else { panic!() };
    let wrong = VimAccess { ca: Some(certificate.clone()), ..cluster.admin.clone() };
    let InfraError::Transient(text) = driver.who_am_i(&wrong).await.unwrap_err() else { panic!() };
    assert!(text.contains(&endpoint) && text.contains("invalid peer certificate"), "{text}");
    let trusting = VimAccess { insecure: true, ..wrong };
    assert_eq!(driver.who_am_i(&trusting).await.unwrap(), "admin");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = VimAccess { endpoint: format!("https://{closed}"), ..cluster.admin.clone() };
    let InfraError::Transient(text) = driver.who_am_i(&nowhere).await.unwrap_err() else { panic!() };
    assert!(text.contains(&closed.to_string()) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_wait_outlives_the_connections_it_began_on() {
    let mut vnf = Vnf::new().await;
    let proxy = Proxy::before(&vnf.cluster.admin.endpoint).await;
    vnf.scope.access.endpoint = proxy.endpoint();
    let mut resources = vnf.render(&[], &deployment("example.test/never-ready")).await;
    vnf.ensure(&mut resources).await;
    let change = async {
        for _ in 0..3 {
            proxy.until_connections(2).await;
            proxy.cut();
        }
        let direct = Scope { access: vnf.cluster.admin.clone(), ..vnf.scope.clone() };
        let changed = vnf.render(&[], &deployment(GOOD)).await;
        vnf.driver.ensure(&direct, &changed[0]).await.unwrap();
    };
    let (ready, ()) = join(vnf.driver.await_ready(&vnf.scope, &resources, PATIENT), change).await;
    ready.unwrap();
}

#[tokio::test]
async fn of_many_requests_only_so_many_are_made_at_once() {
    let mut vnf = Vnf::new().await;
    let proxy = Proxy::before(&vnf.cluster.admin.endpoint).await;
    vnf.scope.access.endpoint = proxy.endpoint();
    let kinds = (0..300).map(|number| (format!("g{number}.example.test/v1"), "Gadget".to_owned())).collect();
    assert!(vnf.driver.discover(&vnf.scope.access, &kinds).await.unwrap().is_empty());
    let pods: Vec<PodRef> =
        (0..300).map(|number| PodRef { name: format!("p{number}"), uid: number.to_string() }).collect();
    vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
    // One more for some: it is made while another becomes free.
    assert!(proxy.connections() < 50, "{}", proxy.connections());
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_not_waited_for() {
    let cluster = Cluster::running().await;
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let access = VimAccess { endpoint: endpoint.clone(), ..cluster.admin };
    let start = Instant::now();
    let error = KubernetesDriver::new().who_am_i(&access).await.unwrap_err();
    assert_eq!(error, InfraError::Transient(format!("the API server {endpoint} did not answer within 8 s")));
    assert!(start.elapsed() < Duration::from_secs(10));
}
