//! An in-memory [`Driver`] that keeps the contract of `gybe::infra`.
//!
//! Everything is ready at once, and deletion takes no time. The model is exact about owners, uids, the pods of a
//! workload, and how often each object was created, changed or deleted ([`ModelCluster::take_effects`]), so that
//! repeated effects are found. `tests/it/driver` tests the real driver against a real control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use gybe::domain::ids::VnfInstanceId;
use gybe::domain::instance::{VirtualStorage, Vnfc};
use gybe::domain::plan::PodRef;
use gybe::domain::resource::{INSTANCE_LABEL, KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::vim::VimAccess;
use gybe::domain::writer::Writer;
use gybe::infra::{
    AppliedObject, Driver, InfraError, InfraErrorKind, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts,
    Removal, Scope,
};
use serde_json::{Map, Value};

/// The built-in kinds: apiVersion, kind, plural, whether namespaced.
const KINDS: [(&str, &str, &str, bool); 20] = [
    ("v1", "Namespace", "namespaces", false),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "Service", "services", true),
    ("v1", "Pod", "pods", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("batch/v1", "Job", "jobs", true),
    ("batch/v1", "CronJob", "cronjobs", true),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("networking.k8s.io/v1", "Ingress", "ingresses", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
];

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its namespace; `None` for a cluster-scoped object.
    pub namespace: Option<String>,
    pub key: ObjectKey,
}

/// An object in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelObject {
    /// `metadata.uid`.
    pub uid: String,
    /// The manifest that was applied last.
    pub manifest: Map<String, Value>,
    /// The claim of an operation that applied it.
    pub writer: Option<Writer>,
}

/// A pod in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The uid of its workload; its own uid for a bare pod.
    pub owner: String,
    /// The name of that workload.
    pub workload: String,
}

/// The number of effects on an object or on the pods of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Creations.
    pub created: usize,
    /// Changes; applying an equal manifest does not count.
    pub changed: usize,
    /// Deletions.
    pub deleted: usize,
}

/// The contents of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterState {
    uids: usize,
    /// The objects.
    pub objects: BTreeMap<ObjectRef, ModelObject>,
    /// The pods in order of creation.
    pub pods: Vec<ModelPod>,
    /// The claims that StatefulSets created from their templates: name, uid and key of the StatefulSet.
    pub claims: BTreeMap<String, (String, ObjectKey)>,
}

/// A model cluster; see the module's documentation.
#[derive(Default)]
pub struct ModelCluster {
    state: Mutex<ClusterState>,
    effects: Mutex<BTreeMap<String, Effects>>,
}

impl ModelCluster {
    /// A cluster with these contents and no effects.
    pub fn with_state(state: ClusterState) -> Self {
        Self { state: Mutex::new(state), effects: Mutex::default() }
    }

    /// The current contents.
    pub fn state(&self) -> ClusterState {
        self.locked().clone()
    }

    /// The effects since the last call, by object and by `pods of` a workload.
    pub fn take_effects(&self) -> BTreeMap<String, Effects> {
        std::mem::take(&mut self.effects.lock().unwrap())
    }

    /// Deletes the named objects that exist, such as `Deployment udr, Pod probe`, as another client would.
    pub fn delete_externally(&self, objects: &str) {
        let mut state = self.locked();
        let lost: Vec<ObjectRef> = state
            .objects
            .keys()
            .filter(|place| objects.split(", ").any(|it| it == place.key.to_string()))
            .cloned()
            .collect();
        lost.iter().for_each(|place| self.delete(&mut state, place));
    }

    fn locked(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().unwrap()
    }

    fn count(&self, what: impl ToString, count: impl FnOnce(&mut Effects)) {
        count(self.effects.lock().unwrap().entry(what.to_string()).or_default());
    }

    fn delete(&self, state: &mut ClusterState, place: &ObjectRef) {
        if state.objects.remove(place).is_some() {
            self.count(&place.key, |effects| effects.deleted += 1);
        }
        self.reconcile(state);
    }

    /// The cluster's controllers: gives each workload exactly its pods and claims.
    fn reconcile(&self, state: &mut ClusterState) {
        let workloads: Vec<(ObjectKey, ModelObject)> =
            state.objects.iter().map(|(place, object)| (place.key.clone(), object.clone())).collect();
        let mut pods = std::mem::take(&mut state.pods);
        pods.retain(|pod| {
            let owned = workloads.iter().any(|(_, object)| object.uid == pod.owner);
            if !owned {
                self.count(format!("pods of {}", pod.workload), |effects| effects.deleted += 1);
            }
            owned
        });
        for (key, object) in workloads {
            let Some(wanted) = wanted_pods(&key, &object) else { continue };
            let label = format!("pods of {}", key.name);
            let mut there = pods.iter().filter(|pod| pod.owner == object.uid).count();
            while there > wanted {
                let last = pods.iter().rposition(|pod| pod.owner == object.uid).unwrap();
                pods.remove(last);
                self.count(&label, |effects| effects.deleted += 1);
                there -= 1;
            }
            for ordinal in 0..wanted {
                if there == wanted {
                    break;
                }
                let uid = if key.kind == "Pod" { object.uid.clone() } else { state.fresh_uid() };
                let name = match key.kind.as_str() {
                    "Pod" => key.name.clone(),
                    "StatefulSet" => format!("{}-{ordinal}", key.name),
                    _ => format!("{}-{uid}", key.name),
                };
                if key.kind == "StatefulSet" && pods.iter().any(|pod| pod.name == name) {
                    continue;
                }
                pods.push(ModelPod { name, uid, owner: object.uid.clone(), workload: key.name.clone() });
                self.count(&label, |effects| effects.created += 1);
                there += 1;
            }
            for (template, ordinal) in
                claim_templates(&object).into_iter().flat_map(|it| (0..wanted).map(move |n| (it, n)))
            {
                let name = format!("{template}-{}-{ordinal}", key.name);
                if !state.claims.contains_key(&name) {
                    let uid = state.fresh_uid();
                    state.claims.insert(name, (uid, key.clone()));
                }
            }
        }
        state.pods = pods;
    }
}

impl ClusterState {
    fn fresh_uid(&mut self) -> String {
        self.uids += 1;
        format!("uid{}", self.uids)
    }

    /// The objects with the label of the instance.
    pub fn objects_of(&self, instance: VnfInstanceId) -> BTreeMap<&ObjectKey, &ModelObject> {
        let ours = self.objects.iter().filter(|(_, object)| owner(object) == Some(instance.to_string()));
        ours.map(|(place, object)| (&place.key, object)).collect()
    }

    /// The pods of an object.
    pub fn pods_of(&self, key: &ObjectKey) -> Vec<&ModelPod> {
        let uids: Vec<&str> =
            self.objects.iter().filter(|(place, _)| place.key == *key).map(|(_, object)| object.uid.as_str()).collect();
        self.pods.iter().filter(|pod| uids.contains(&pod.owner.as_str())).collect()
    }
}

fn owner(object: &ModelObject) -> Option<String> {
    let labels = object.manifest.get("metadata")?.get("labels")?;
    Some(labels.get(INSTANCE_LABEL)?.as_str()?.to_owned())
}

/// The wanted number of pods; `None` if the object is no workload.
fn wanted_pods(key: &ObjectKey, object: &ModelObject) -> Option<usize> {
    let replicas = || object.manifest.get("spec")?.get("replicas")?.as_u64()?.try_into().ok();
    match key.kind.as_str() {
        "Deployment" | "StatefulSet" => Some(replicas().unwrap_or(1)),
        "DaemonSet" | "Pod" => Some(1),
        _ => None,
    }
}

fn claim_templates(object: &ModelObject) -> Vec<&str> {
    let templates = object.manifest.get("spec").and_then(|spec| spec.get("volumeClaimTemplates")?.as_array());
    templates.into_iter().flatten().filter_map(|template| template.pointer("/metadata/name")?.as_str()).collect()
}

fn is_shared(key: &ObjectKey) -> bool {
    matches!(key.kind.as_str(), "Namespace" | "CustomResourceDefinition")
}

/// Whether the cluster serves the kind, built in or by a definition.
fn is_served(state: &ClusterState, key: &ObjectKey) -> bool {
    let defines = |object: &ModelObject| {
        let text = |path: &str| Value::Object(object.manifest.clone()).pointer(path)?.as_str().map(str::to_owned);
        text("/spec/group").as_deref() == Some(key.group()) && text("/spec/names/kind").as_ref() == Some(&key.kind)
    };
    KINDS.iter().any(|kind| (kind.0, kind.1) == (&key.api_version, &key.kind))
        || state.objects.iter().any(|(place, object)| place.key.kind == "CustomResourceDefinition" && defines(object))
}

fn object_ref(scope: &Scope, resource: &Resource) -> ObjectRef {
    let namespace = resource.info.namespaced.then(|| scope.namespace.to_string());
    ObjectRef { namespace, key: resource.key.clone() }
}

fn has_namespace(state: &ClusterState, name: &str) -> bool {
    state.objects.keys().any(|place| place.key.kind == "Namespace" && place.key.name == name)
}

/// Refuses an object that a later writer has written, as the driver does.
fn refuse_superseded(scope: &Scope, key: &ObjectKey, found: &ModelObject) -> Result<(), InfraError> {
    if scope.writer.is_some_and(|writer| found.writer > Some(writer)) {
        return Err(InfraError::new(InfraErrorKind::Superseded, format!("a later writer has written {key}")));
    }
    Ok(())
}

#[async_trait]
impl Driver for ModelCluster {
    async fn who_am_i(&self, _: &VimAccess) -> Result<String, InfraError> {
        Ok("model".to_owned())
    }

    async fn discover(
        &self,
        _: &VimAccess,
        kinds: &BTreeSet<ObjectKind>,
    ) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError> {
        let served = KINDS.iter().map(|&(api_version, kind, plural, namespaced)| {
            ((api_version.to_owned(), kind.to_owned()), KindInfo { plural: plural.to_owned(), namespaced })
        });
        Ok(served.filter(|(kind, _)| kinds.contains(kind)).collect())
    }

    async fn scale(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        self.ensure(scope, resource).await
    }

    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        let place = object_ref(scope, resource);
        let mut state = self.locked();
        if !is_served(&state, &resource.key) {
            return Err(InfraError::transient(format!("the cluster does not serve {}", resource.key.kind)));
        }
        if let Some(namespace) = place.namespace.as_ref().filter(|name| !has_namespace(&state, name)) {
            return Err(InfraError::invalid(format!("namespaces \"{namespace}\" not found")));
        }
        let there = state.objects.get(&place).map(|found| found.uid.as_str());
        if matches!(&resource.state, ResourceState::Present { uid, owned: true } if there != Some(uid)) {
            return Err(InfraError::gone(format!("{} was deleted", resource.key)));
        }
        if let Some(found) = state.objects.get_mut(&place) {
            if owner(found) != Some(scope.instance.to_string()) {
                let uid = found.uid.clone();
                let taken = InfraError::conflict(format!("{} belongs to {:?}", resource.key, owner(found)));
                return if is_shared(&resource.key) { Ok(AppliedObject { uid, owned: false }) } else { Err(taken) };
            }
            refuse_superseded(scope, &resource.key, found)?;
            found.writer = scope.writer;
            if found.manifest != resource.manifest {
                found.manifest = resource.manifest.clone();
                self.count(&resource.key, |effects| effects.changed += 1);
            }
        } else {
            let object =
                ModelObject { uid: state.fresh_uid(), manifest: resource.manifest.clone(), writer: scope.writer };
            state.objects.insert(place.clone(), object);
            self.count(&resource.key, |effects| effects.created += 1);
        }
        self.reconcile(&mut state);
        Ok(AppliedObject { uid: state.objects[&place].uid.clone(), owned: true })
    }

    async fn await_ready(
        &self,
        scope: &Scope,
        resources: &[Resource],
        _: ReadinessTimeouts,
    ) -> Result<PodSnapshot, InfraError> {
        let state = self.locked();
        for resource in resources {
            let Some(object) = state.objects.get(&object_ref(scope, resource)) else {
                return Err(InfraError::not_ready(format!("{} is not there", resource.key)));
            };
            let pods = state.pods_of(&resource.key).len();
            if wanted_pods(&resource.key, object).is_some_and(|wanted| wanted != pods) {
                return Err(InfraError::not_ready(format!("{} has {pods} pods", resource.key)));
            }
        }
        Ok(PodSnapshot::default())
    }

    async fn remove(
        &self,
        scope: &Scope,
        resource: &Resource,
        _: Option<Duration>,
        _: Duration,
    ) -> Result<Removal, InfraError> {
        let place = object_ref(scope, resource);
        let mut state = self.locked();
        let ours = |object: &ModelObject| owner(object) == Some(scope.instance.to_string());
        let doomed = state.objects.get(&place).is_some_and(|object| match &resource.state {
            ResourceState::Planned | ResourceState::Present { owned: false, .. } => false,
            ResourceState::Intent | ResourceState::Present { .. } => ours(object),
        });
        if let Some(found) = state.objects.get(&place).filter(|_| doomed) {
            refuse_superseded(scope, &resource.key, found)?;
        }
        let inhabited = place.key.kind == "Namespace"
            && state.objects.keys().any(|other| other.namespace.as_ref() == Some(&place.key.name));
        if doomed && !inhabited {
            self.delete(&mut state, &place);
        }
        if resource.state != ResourceState::Planned {
            state.claims.retain(|_, (_, set)| *set != resource.key);
        }
        Ok(Removal::Removed)
    }

    async fn end_pods(
        &self,
        _: &Scope,
        resources: &[Resource],
        _: Option<Duration>,
        _: Duration,
    ) -> Result<(), InfraError> {
        let state = self.locked();
        match resources.iter().find(|resource| !state.pods_of(&resource.key).is_empty()) {
            Some(resource) => Err(InfraError::not_ready(format!("{} has pods", resource.key))),
            None => Ok(()),
        }
    }

    async fn delete_pods(&self, _: &Scope, pods: &[PodRef], _: Duration) -> Result<(), InfraError> {
        let mut state = self.locked();
        for pod in pods {
            let Some(index) = state.pods.iter().position(|it| it.uid == pod.uid && it.name == pod.name) else {
                continue;
            };
            let gone = state.pods.remove(index);
            self.count(format!("pods of {}", gone.workload), |effects| effects.deleted += 1);
            if gone.uid == gone.owner {
                let bare = state.objects.iter().find(|(_, object)| object.uid == gone.uid).unwrap().0.clone();
                self.delete(&mut state, &bare);
            }
        }
        self.reconcile(&mut state);
        Ok(())
    }

    async fn observe(
        &self,
        scope: &Scope,
        resources: &[Resource],
        _: PodSnapshot,
    ) -> Result<ObservedResources, InfraError> {
        let state = self.locked();
        let mut vnfcs = Vec::new();
        for resource in resources {
            let (Some(vdu_id), ResourceState::Present { uid, .. }) = (&resource.vdu_id, &resource.state) else {
                continue;
            };
            vnfcs.extend(state.pods.iter().filter(|pod| pod.owner == *uid).map(|pod| Vnfc {
                vdu_id: vdu_id.clone(),
                kept_id: None,
                pod_name: pod.name.clone(),
                pod_uid: pod.uid.clone(),
                workload_kind: resource.key.kind.clone(),
                workload_name: resource.key.name.clone(),
            }));
        }
        vnfcs.sort_by(|a, b| (&a.vdu_id, &a.pod_name).cmp(&(&b.vdu_id, &b.pod_name)));
        let made = state.claims.iter().map(|(name, (uid, _))| (name.clone(), uid.clone()));
        let objects = state.objects_of(scope.instance);
        let volumes = objects.iter().filter(|(key, _)| key.kind == "PersistentVolumeClaim");
        let volumes = volumes.map(|(key, object)| (key.name.clone(), object.uid.clone()));
        let storages = made.chain(volumes).map(|(claim_name, claim_uid)| VirtualStorage { claim_name, claim_uid });
        Ok(ObservedResources { vnfcs, storages: storages.collect() })
    }
}
