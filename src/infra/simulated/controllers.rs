//! The controllers of a simulated cluster: they give each workload its pods, start pods, and write what workloads show.
//!
//! [`reconcile`] passes over all workloads. It runs after each write, and when the next pod has started; [`super::SimulatedCluster`]
//! calls it. Pods appear and disappear at once; only their start takes time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::pods::{self, Maker, text};
use super::script::{ANNOTATION, Fault};
use super::state::{Place, State, size};
use crate::clock::{Ids as _, System};

/// The labels that tell the revision of a pod's template.
const REPLICA_SET_REVISION: &str = "pod-template-hash";
const SET_REVISION: &str = "controller-revision-hash";

/// Brings the cluster to what its objects ask for, as far as it is due at `now`.
pub(super) fn reconcile(state: &mut State, now: OffsetDateTime) {
    start_pods(state, now);
    settle_claims_and_definitions(state);
    let mut pods: HashMap<String, Vec<Pod>> = HashMap::new();
    for (place, pod) in state.of_kind("", "pods", "") {
        for owner in owners(pod) {
            pods.entry(owner.to_owned()).or_default().push((place.clone(), Arc::clone(pod)));
        }
    }
    for (group, plural) in [
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("", "replicationcontrollers"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("batch", "jobs"),
    ] {
        let workloads: Vec<(Place, Arc<Value>)> =
            state.of_kind(group, plural, "").map(|(place, object)| (place.clone(), Arc::clone(object))).collect();
        for (place, object) in workloads {
            let mut controller = Controller::new(state, place, object, now);
            match plural {
                "deployments" => controller.deployment(&pods),
                "statefulsets" => controller.stateful_set(&pods),
                "daemonsets" => controller.daemon_set(&pods),
                "jobs" => controller.job(&pods),
                _ => controller.replica_set(&pods),
            }
        }
    }
}

type Pod = (Place, Arc<Value>);

/// The uids of the owners of an object.
pub(super) fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    owners.filter_map(|owner| owner.get("uid")?.as_str())
}

/// The uid of an object.
pub(super) fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// Shows what became of the pods whose start ends now. Starts bare pods that are new.
fn start_pods(state: &mut State, now: OffsetDateTime) {
    let is_new = |pod: &Value| pod.get("status").is_none();
    let new: Vec<Pod> = state
        .of_kind("", "pods", "")
        .filter(|(_, pod)| is_new(pod))
        .map(|(place, pod)| (place.clone(), Arc::clone(pod)))
        .collect();
    for (place, pod) in new {
        state.starting.insert(place.clone(), (uid(&pod).to_owned(), pods::start_ends(&pod, now)));
        state.put_status(&place, pods::starting(&pod, now));
    }
    let due: Vec<(Place, String)> = state
        .starting
        .iter()
        .filter(|(_, (_, ends))| *ends <= now)
        .map(|(place, (uid, _))| (place.clone(), uid.clone()))
        .collect();
    for (place, of) in due {
        state.starting.remove(&place);
        let Some(pod) = state.get(&place).filter(|pod| uid(pod) == of).cloned() else { continue };
        state.put_status(&place, pods::started(&pod, now));
    }
}

/// Volumes are there at once, and so are the kinds of a definition.
fn settle_claims_and_definitions(state: &mut State) {
    let established = json!({ "conditions": [
        { "type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "" },
        { "type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "" },
    ] });
    for (group, plural, status) in [
        ("", "persistentvolumeclaims", json!({ "phase": "Bound" })),
        ("", "persistentvolumes", json!({ "phase": "Available" })),
        ("apiextensions.k8s.io", "customresourcedefinitions", established),
    ] {
        let new: Vec<Place> = state
            .of_kind(group, plural, "")
            .filter(|(_, object)| object.get("status").is_none())
            .map(|(place, _)| place.clone())
            .collect();
        new.iter().for_each(|place| state.put_status(place, status.clone()));
    }
}

/// The controller of one workload.
struct Controller<'a> {
    state: &'a mut State,
    place: Place,
    object: Arc<Value>,
    now: OffsetDateTime,
}

impl<'a> Controller<'a> {
    const fn new(state: &'a mut State, place: Place, object: Arc<Value>, now: OffsetDateTime) -> Self {
        Self { state, place, object, now }
    }

    fn number(&self, pointer: &str) -> Option<usize> {
        self.object.pointer(pointer)?.as_u64()?.try_into().ok()
    }

    fn replicas(&self) -> usize {
        self.number("/spec/replicas").unwrap_or(1)
    }

    fn template(&self) -> Value {
        self.object.pointer("/spec/template").cloned().unwrap_or_default()
    }

    /// A short text that changes with the template.
    fn revision(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.template().to_string().hash(&mut hasher);
        format!("{:010x}", hasher.finish() & 0xff_ffff_ffff)
    }

    fn generation(&self) -> Value {
        self.object.pointer("/metadata/generation").cloned().unwrap_or_default()
    }

    /// Makes a pod, of this workload or of `owner`. `Err`: why it cannot be made.
    fn make_pod(&mut self, name: &str, owner: &Value, revision: Option<(&str, &str)>) -> Result<Pod, String> {
        let place = self.place.beside("", "pods", name);
        let object = Arc::clone(&self.object);
        let template = self.template();
        let script = object.get("metadata").and_then(|it| it.get("annotations")?.get(ANNOTATION)?.as_str());
        let id = System.uuid().to_string();
        let pod =
            pods::of_template(&template, &Maker { owner: owner.clone(), revision, script }, &place, &id, self.now);
        if Fault::of_pod(&pod) == Some(Fault::Quota) {
            return Err(format!("pods \"{name}\" is forbidden: {QUOTA}"));
        }
        if !self.state.has_room(&place, size(&pod)) {
            return Err(format!("pods \"{name}\" is forbidden: {FULL}"));
        }
        self.state.starting.insert(place.clone(), (id, pods::start_ends(&pod, self.now)));
        let pod = self.state.put(place.clone(), pod);
        Ok((place, pod))
    }

    fn delete_pods(&mut self, doomed: impl IntoIterator<Item = Pod>) {
        for (place, _) in doomed {
            self.state.remove(&place);
        }
    }

    /// Brings the number of `pods`, which are of one revision, to `wanted`. The newest go first.
    fn fill(
        &mut self,
        pods: &mut Vec<Pod>,
        wanted: usize,
        owner: &Value,
        revision: Option<(&str, &str)>,
    ) -> Result<(), String> {
        while pods.len() > wanted {
            let newest = pods.iter().enumerate().max_by_key(|(_, (_, pod))| version(pod)).map_or(0, |(at, _)| at);
            let pod = pods.swap_remove(newest);
            self.delete_pods([pod]);
        }
        let prefix = match revision {
            Some((_, revision)) if self.place.plural == "deployments" => format!("{}-{revision}", self.place.name),
            _ => self.place.name.clone(),
        };
        while pods.len() < wanted {
            let random = System.uuid().simple().to_string();
            pods.push(self.make_pod(&format!("{prefix}-{}", &random[..5]), owner, revision)?);
        }
        Ok(())
    }

    /// New pods beside the old ones, which go when all of the new ones are ready.
    fn deployment(&mut self, pods: &HashMap<String, Vec<Pod>>) {
        let (wanted, revision) = (self.replicas(), self.revision());
        let id = uid(&self.object).to_owned();
        let is_paused = self.object.pointer("/spec/paused") == Some(&Value::Bool(true));
        let sets: Vec<Pod> = self
            .state
            .of_kind("apps", "replicasets", &self.place.namespace)
            .filter(|(_, set)| owners(set).any(|owner| owner == id))
            .map(|(place, set)| (place.clone(), Arc::clone(set)))
            .collect();
        let name = format!("{}-{revision}", self.place.name);
        let (current, old): (Vec<Pod>, Vec<Pod>) = sets.into_iter().partition(|(place, _)| place.name == name);
        let of = |set: &Pod| pods.get(uid(&set.1)).cloned().unwrap_or_default();
        let mut old_pods: Vec<Pod> = old.iter().flat_map(of).collect();
        let mut own: Vec<Pod> = current.iter().flat_map(of).collect();
        let mut failed = None;
        if !is_paused {
            let set = self.put_replica_set(&name, &revision, wanted);
            let owner = reference("apps/v1", "ReplicaSet", &name, &set);
            failed = self.fill(&mut own, wanted, &owner, Some((REPLICA_SET_REVISION, &revision))).err();
            if own.iter().filter(|(_, pod)| pods::is_ready(pod)).count() >= wanted {
                self.delete_pods(std::mem::take(&mut old_pods));
                old.iter().for_each(|(place, _)| drop(self.state.remove(place)));
            }
        }
        let ready = own.iter().chain(&old_pods).filter(|(_, pod)| pods::is_ready(pod)).count();
        let mut conditions =
            vec![json!({ "type": "Available", "status": if ready >= wanted { "True" } else { "False" } })];
        if let Some(message) = &failed {
            conditions.push(
                json!({ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message }),
            );
        }
        let status = json!({
            "observedGeneration": self.generation(), "replicas": own.len() + old_pods.len(), "updatedReplicas": own.len(),
            "readyReplicas": ready, "availableReplicas": ready, "conditions": conditions,
        });
        self.conclude(status, failed);
    }

    /// The ReplicaSet of the present template, which stands between a Deployment and its pods. Returns its uid.
    fn put_replica_set(&mut self, name: &str, revision: &str, replicas: usize) -> String {
        let place = self.place.beside("apps", "replicasets", name);
        let known = self.state.get(&place).cloned();
        if let Some(known) = &known
            && known.pointer("/spec/replicas").and_then(Value::as_u64) == u64::try_from(replicas).ok()
        {
            return uid(known).to_owned();
        }
        let mut labels = self.object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_else(|| json!({}));
        labels[REPLICA_SET_REVISION] = revision.into();
        let id = known.map_or_else(|| System.uuid().to_string(), |known| uid(&known).to_owned());
        let owner = reference("apps/v1", "Deployment", &self.place.name, uid(&self.object));
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": name, "namespace": self.place.namespace, "uid": id, "generation": 1, "labels": labels,
                "creationTimestamp": text(self.now), "ownerReferences": [owner] },
            "spec": { "replicas": replicas },
            "status": { "observedGeneration": 1, "replicas": replicas },
        });
        self.state.put(place, set);
        id
    }

    /// A ReplicaSet or ReplicationController of its own.
    fn replica_set(&mut self, pods: &HashMap<String, Vec<Pod>>) {
        if owners(&self.object).next().is_some() {
            return;
        }
        let mut own = pods.get(uid(&self.object)).cloned().unwrap_or_default();
        let owner = self.own_reference();
        let failed = self.fill(&mut own, self.replicas(), &owner, None).err();
        let ready = own.iter().filter(|(_, pod)| pods::is_ready(pod)).count();
        let status = json!({
            "observedGeneration": self.generation(), "replicas": own.len(), "readyReplicas": ready, "availableReplicas": ready,
        });
        self.conclude(status, failed);
    }

    /// Pods with ordinals. Those of an older revision are replaced one by one, from the last one on.
    fn stateful_set(&mut self, pods: &HashMap<String, Vec<Pod>>) {
        let (wanted, revision) = (self.replicas(), format!("{}-{}", self.place.name, self.revision()));
        let own = pods.get(uid(&self.object)).cloned().unwrap_or_default();
        let ordinal = |pod: &Pod| pod.0.name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse::<usize>().ok());
        let (mut own, superfluous): (Vec<Pod>, Vec<Pod>) =
            own.into_iter().partition(|pod| ordinal(pod).is_some_and(|ordinal| ordinal < wanted));
        self.delete_pods(superfluous);
        let is_stale = |pod: &Pod| label(&pod.1, SET_REVISION) != Some(revision.as_str());
        let all_ready = own.len() == wanted && own.iter().all(|(_, pod)| pods::is_ready(pod));
        let replaced = own
            .iter()
            .filter(|pod| is_stale(pod) && (all_ready || !pods::is_ready(&pod.1)))
            .max_by_key(|pod| ordinal(pod))
            .cloned();
        if let Some(replaced) = replaced {
            own.retain(|pod| pod.0 != replaced.0);
            self.delete_pods([replaced]);
        }
        let (owner, mut failed) = (self.own_reference(), None);
        for number in 0..wanted {
            if failed.is_some() || own.iter().any(|pod| ordinal(pod) == Some(number)) {
                continue;
            }
            self.claim_volumes(number);
            match self.make_pod(&format!("{}-{number}", self.place.name), &owner, Some((SET_REVISION, &revision))) {
                Ok(pod) => own.push(pod),
                Err(error) => failed = Some(error),
            }
        }
        let ready = own.iter().filter(|(_, pod)| pods::is_ready(pod)).count();
        let updated = own.iter().filter(|pod| !is_stale(pod)).count();
        let before = self.object.pointer("/status/currentRevision").cloned().filter(|_| updated < own.len());
        let status = json!({
            "observedGeneration": self.generation(), "replicas": own.len(), "readyReplicas": ready, "availableReplicas": ready,
            "updatedReplicas": updated, "updateRevision": revision, "currentRevision": before.unwrap_or_else(|| revision.clone().into()),
        });
        self.conclude(status, failed);
    }

    /// The claims of the templates of a StatefulSet. They stay when the set goes.
    fn claim_volumes(&mut self, ordinal: usize) {
        let object = Arc::clone(&self.object);
        let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
        for template in templates {
            let Some(name) = template.pointer("/metadata/name").and_then(Value::as_str) else { continue };
            let place =
                self.place.beside("", "persistentvolumeclaims", &format!("{name}-{}-{ordinal}", self.place.name));
            let claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": place.name, "namespace": place.namespace, "uid": System.uuid().to_string(),
                    "labels": template.pointer("/metadata/labels"), "creationTimestamp": text(self.now) },
                "spec": template.get("spec"), "status": { "phase": "Bound" },
            });
            if self.state.get(&place).is_none() && self.state.has_room(&place, size(&claim)) {
                self.state.put(place, claim);
            }
        }
    }

    /// One pod, for there is one node.
    fn daemon_set(&mut self, pods: &HashMap<String, Vec<Pod>>) {
        let revision = self.revision();
        let (stale, mut own): (Vec<Pod>, Vec<Pod>) = pods
            .get(uid(&self.object))
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .partition(|pod| label(&pod.1, SET_REVISION) != Some(revision.as_str()));
        self.delete_pods(stale);
        let owner = self.own_reference();
        let failed = self.fill(&mut own, 1, &owner, Some((SET_REVISION, &revision))).err();
        let ready = own.iter().filter(|(_, pod)| pods::is_ready(pod)).count();
        let status = json!({
            "observedGeneration": self.generation(), "desiredNumberScheduled": 1, "currentNumberScheduled": own.len(),
            "updatedNumberScheduled": own.len(), "numberReady": ready, "numberAvailable": ready,
        });
        self.conclude(status, failed);
    }

    fn job(&mut self, pods: &HashMap<String, Vec<Pod>>) {
        let is_held = self.object.pointer("/spec/suspend") == Some(&Value::Bool(true))
            || self.number("/spec/parallelism") == Some(0);
        let wanted = self.number("/spec/completions").unwrap_or(1);
        let mut own = pods.get(uid(&self.object)).cloned().unwrap_or_default();
        let done = |pods: &[Pod]| pods.iter().filter(|(_, pod)| pods::has_succeeded(pod)).count();
        let is_complete = self
            .object
            .pointer("/status/succeeded")
            .and_then(Value::as_u64)
            .is_some_and(|number| number >= wanted as u64);
        if is_complete {
            return;
        }
        let owner = self.own_reference();
        let failed = if is_held { None } else { self.fill(&mut own, wanted, &owner, None).err() };
        let succeeded = done(&own);
        let mut status = json!({ "active": own.len() - succeeded, "succeeded": succeeded, "failed": 0 });
        if succeeded >= wanted {
            status["conditions"] =
                json!([{ "type": "Complete", "status": "True", "lastTransitionTime": text(self.now) }]);
        }
        self.conclude(status, failed);
    }

    fn own_reference(&self) -> Value {
        let member = |name: &str| self.object.get(name).and_then(Value::as_str).unwrap_or_default();
        reference(member("apiVersion"), member("kind"), &self.place.name, uid(&self.object))
    }

    /// Writes the status, and an event if a pod could not be made.
    fn conclude(&mut self, status: Value, failed: Option<String>) {
        self.state.put_status(&self.place, status);
        let place = self.place.beside("", "events", &format!("{}.{}.failedcreate", self.place.plural, self.place.name));
        let known = self.state.get(&place).map(|event| event.get("message").cloned());
        let Some(message) = failed else {
            if known.is_some() {
                self.state.remove(&place);
            }
            return;
        };
        let owner = self.own_reference();
        if known.is_some() {
            return;
        }
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedCreate", "count": 1,
            "message": format!("Error creating: {message}"), "firstTimestamp": text(self.now), "lastTimestamp": text(self.now),
            "metadata": { "name": place.name, "namespace": place.namespace, "uid": System.uuid().to_string(),
                "creationTimestamp": text(self.now), "ownerReferences": [owner] },
            "involvedObject": { "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["name"], "uid": owner["uid"],
                "namespace": place.namespace },
        });
        self.state.put(place, event);
    }
}

/// Why a quota that is scripted refuses something.
pub(super) const QUOTA: &str = "exceeded quota: simulated, requested: count=1, used: count=0, limited: count=0";
/// Why nothing more can be made.
pub(super) const FULL: &str = "exceeded quota: the simulated cluster is full, for it lives in the memory of this process: delete VNFs, or use a real cluster";

fn reference(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true })
}

fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(name)?.as_str()
}

fn version(object: &Value) -> u64 {
    let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}
