//! A model of a cluster: [`ModelCluster`] is a [`Driver`] over objects in memory, by the contract of `gybe::infra`.
//!
//! It is no Kubernetes: everything is ready at once, and deletion takes no time. What it is exact about is who owns what,
//! which uid an object has, which pods descend from it, and how often anything was made, changed or deleted
//! ([`ModelCluster::effects`]), so that "done twice" can be seen. `tests/it/driver` shows that the real driver keeps
//! the same contract on a real control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use gybe::domain::ids::VnfInstanceId;
use gybe::domain::instance::{VirtualStorage, Vnfc};
use gybe::domain::plan::PodRef;
use gybe::domain::resource::{INSTANCE_LABEL, KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::vim::VimAccess;
use gybe::infra::{
    AppliedObject, Driver, InfraError, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Scope,
};
use serde_json::{Map, Value};

/// The kinds that are served without a definition: apiVersion, kind, plural, whether namespaced.
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

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its namespace; `None` for a cluster's object.
    pub namespace: Option<String>,
    /// Which object.
    pub key: ObjectKey,
}

/// An object of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `metadata.uid`.
    pub uid: String,
    /// The manifest as it was last applied.
    pub manifest: Map<String, Value>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The uid of the workload it descends from; its own for a pod that nothing controls.
    pub owner: String,
    /// The name of that workload.
    pub workload: String,
}

/// How often something was done to an object or to the pods of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// It was made.
    pub created: usize,
    /// It was changed; applying what is there already is no change.
    pub changed: usize,
    /// It was deleted.
    pub deleted: usize,
}

/// All that is in a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    uids: usize,
    /// The objects.
    pub objects: BTreeMap<Place, Object>,
    /// The pods, in the order in which they were made.
    pub pods: Vec<Pod>,
    /// The volume claims that StatefulSets made of their templates: name, uid and the StatefulSet's key.
    pub claims: BTreeMap<String, (String, ObjectKey)>,
}

/// The cluster. See the module's documentation.
#[derive(Default)]
pub struct ModelCluster {
    state: Mutex<State>,
    effects: Mutex<BTreeMap<String, Effects>>,
}

impl ModelCluster {
    /// A cluster that holds `state`, where nothing was done yet.
    pub fn holding(state: State) -> Self {
        Self { state: Mutex::new(state), effects: Mutex::default() }
    }

    /// What is there now.
    pub fn state(&self) -> State {
        self.locked().clone()
    }

    /// What was done since the last call, by object and by `pods of` a workload.
    pub fn take_effects(&self) -> BTreeMap<String, Effects> {
        std::mem::take(&mut self.effects.lock().unwrap())
    }

    /// Somebody deletes objects, such as `Deployment udr, Pod probe`; those that are there.
    pub fn lose(&self, objects: &str) {
        let mut state = self.locked();
        let lost: Vec<Place> = state
            .objects
            .keys()
            .filter(|place| objects.split(", ").any(|it| it == place.key.to_string()))
            .cloned()
            .collect();
        lost.iter().for_each(|place| self.delete(&mut state, place));
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn did(&self, what: impl ToString, count: impl FnOnce(&mut Effects)) {
        count(self.effects.lock().unwrap().entry(what.to_string()).or_default());
    }

    fn delete(&self, state: &mut State, place: &Place) {
        if state.objects.remove(place).is_some() {
            self.did(&place.key, |effects| effects.deleted += 1);
        }
        self.control(state);
    }

    /// What the cluster's controllers do: each workload has the pods and claims that it is to have, and no others are there.
    fn control(&self, state: &mut State) {
        let workloads: Vec<(ObjectKey, Object)> =
            state.objects.iter().map(|(place, object)| (place.key.clone(), object.clone())).collect();
        let mut pods = std::mem::take(&mut state.pods);
        pods.retain(|pod| {
            let owned = workloads.iter().any(|(_, object)| object.uid == pod.owner);
            if !owned {
                self.did(format!("pods of {}", pod.workload), |effects| effects.deleted += 1);
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
                self.did(&label, |effects| effects.deleted += 1);
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
                pods.push(Pod { name, uid, owner: object.uid.clone(), workload: key.name.clone() });
                self.did(&label, |effects| effects.created += 1);
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

impl State {
    fn fresh_uid(&mut self) -> String {
        self.uids += 1;
        format!("uid{}", self.uids)
    }

    /// The objects that carry the instance's mark.
    pub fn objects_of(&self, instance: VnfInstanceId) -> BTreeMap<&ObjectKey, &Object> {
        let ours = self.objects.iter().filter(|(_, object)| owner(object) == Some(instance.to_string()));
        ours.map(|(place, object)| (&place.key, object)).collect()
    }

    /// The pods of the object of that key.
    pub fn pods_of(&self, key: &ObjectKey) -> Vec<&Pod> {
        let uids: Vec<&str> =
            self.objects.iter().filter(|(place, _)| place.key == *key).map(|(_, object)| object.uid.as_str()).collect();
        self.pods.iter().filter(|pod| uids.contains(&pod.owner.as_str())).collect()
    }
}

fn owner(object: &Object) -> Option<String> {
    let labels = object.manifest.get("metadata")?.get("labels")?;
    Some(labels.get(INSTANCE_LABEL)?.as_str()?.to_owned())
}

/// How many pods the object is to have; `None` if it is no workload.
fn wanted_pods(key: &ObjectKey, object: &Object) -> Option<usize> {
    let replicas = || object.manifest.get("spec")?.get("replicas")?.as_u64()?.try_into().ok();
    match key.kind.as_str() {
        "Deployment" | "StatefulSet" => Some(replicas().unwrap_or(1)),
        "DaemonSet" | "Pod" => Some(1),
        _ => None,
    }
}

fn claim_templates(object: &Object) -> Vec<&str> {
    let templates = object.manifest.get("spec").and_then(|spec| spec.get("volumeClaimTemplates")?.as_array());
    templates.into_iter().flatten().filter_map(|template| template.pointer("/metadata/name")?.as_str()).collect()
}

fn is_shared(key: &ObjectKey) -> bool {
    matches!(key.kind.as_str(), "Namespace" | "CustomResourceDefinition")
}

/// Whether the cluster has the kind, of itself or by a definition.
fn is_served(state: &State, key: &ObjectKey) -> bool {
    let defines = |object: &Object| {
        let text = |path: &str| Value::Object(object.manifest.clone()).pointer(path)?.as_str().map(str::to_owned);
        text("/spec/group").as_deref() == Some(key.group()) && text("/spec/names/kind").as_ref() == Some(&key.kind)
    };
    KINDS.iter().any(|kind| (kind.0, kind.1) == (&key.api_version, &key.kind))
        || state.objects.iter().any(|(place, object)| place.key.kind == "CustomResourceDefinition" && defines(object))
}

fn place(scope: &Scope, resource: &Resource) -> Place {
    let namespace = resource.info.namespaced.then(|| scope.namespace.to_string());
    Place { namespace, key: resource.key.clone() }
}

fn has_namespace(state: &State, name: &str) -> bool {
    state.objects.keys().any(|place| place.key.kind == "Namespace" && place.key.name == name)
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

    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        let place = place(scope, resource);
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
            if found.manifest != resource.manifest {
                found.manifest = resource.manifest.clone();
                self.did(&resource.key, |effects| effects.changed += 1);
            }
        } else {
            let object = Object { uid: state.fresh_uid(), manifest: resource.manifest.clone() };
            state.objects.insert(place.clone(), object);
            self.did(&resource.key, |effects| effects.created += 1);
        }
        self.control(&mut state);
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
            let Some(object) = state.objects.get(&place(scope, resource)) else {
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
    ) -> Result<(), InfraError> {
        let place = place(scope, resource);
        let mut state = self.locked();
        let ours = |object: &Object| owner(object) == Some(scope.instance.to_string());
        let doomed = state.objects.get(&place).is_some_and(|object| match &resource.state {
            ResourceState::Planned => false,
            ResourceState::Intent => ours(object),
            ResourceState::Present { uid, owned } => *owned && object.uid == *uid,
        });
        let inhabited = place.key.kind == "Namespace"
            && state.objects.keys().any(|other| other.namespace.as_ref() == Some(&place.key.name));
        if doomed && !inhabited {
            self.delete(&mut state, &place);
        }
        if resource.state != ResourceState::Planned {
            state.claims.retain(|_, (_, set)| *set != resource.key);
        }
        Ok(())
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
            self.did(format!("pods of {}", gone.workload), |effects| effects.deleted += 1);
            if gone.uid == gone.owner {
                let bare = state.objects.iter().find(|(_, object)| object.uid == gone.uid).unwrap().0.clone();
                self.delete(&mut state, &bare);
            }
        }
        self.control(&mut state);
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
