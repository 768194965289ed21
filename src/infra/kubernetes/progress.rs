//! How far the awaited objects are, and since when something is wrong with them: no I/O, time is a parameter.
//!
//! [`super::wait`] feeds in what the watches bring and asks [`Progress::assess`] after each time that they brought something:
//! it goes over what is known once, however many objects are awaited.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::{Selector, SelectorExt as _};
use tokio::time::Instant;

use super::ready::{
    Verdict, has_ended, is_awaited, is_ready, makes_pods, pods_wanted, said, symptoms, text, unready, verdict,
};
use super::watch::Event;
use crate::domain::resource::{ObjectKey, Resource};

/// What is known of the awaited objects.
pub(super) struct Progress {
    awaited: Vec<Awaited>,
    stores: HashMap<Topic, Store>,
    /// Since when something is wrong, by [`Fault::id`].
    since: HashMap<String, Instant>,
}

/// What a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The objects of a kind, by `apiVersion` and `kind`; of a cluster-scoped kind the one of that name.
    Objects(String, String, Option<String>),
    /// The events about objects of a kind.
    Events(String),
}

impl Topic {
    /// All pods of the instance: the bare ones, and those whose troubles are their workload's.
    pub fn pods() -> Self {
        Self::Objects("v1".to_owned(), "Pod".to_owned(), None)
    }
}

/// How things stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// All objects are ready.
    Ready,
    /// This will not become ready.
    Failed(String),
    /// Not ready: what is missing. If nothing changes until the instant, it has failed.
    Waiting(String, Option<Instant>),
}

struct Awaited {
    key: ObjectKey,
    topic: Topic,
    /// Kubernetes deletes it some time after its end.
    may_vanish: bool,
}

/// Pods and events by what they belong to: sorted once, so that not each of many objects goes through all of them.
struct Sorted<'a> {
    pods: Vec<&'a DynamicObject>,
    /// By each uid of their owners, and by their own.
    pods_by_uid: HashMap<&'a str, Vec<&'a DynamicObject>>,
    /// By each of their labels' names and values.
    pods_by_label: HashMap<&'a str, HashMap<&'a str, Vec<&'a DynamicObject>>>,
    /// By the uid of what they are about.
    events: HashMap<&'a str, Vec<&'a DynamicObject>>,
}

/// What one watch has brought: `None` until it has listed.
type Store = Option<BTreeMap<String, DynamicObject>>;

/// Something that is, or may again be, wrong with an awaited object.
struct Fault {
    /// Tells it from others over time.
    id: String,
    /// What is wrong at the moment.
    wrong: Option<String>,
}

impl Progress {
    /// Nothing is known yet of those of `resources` that need waiting for.
    pub fn new(resources: &[Resource]) -> Self {
        let awaited: Vec<Awaited> = resources.iter().filter(|it| is_awaited(&it.key)).map(Awaited::new).collect();
        let mut topics: HashSet<Topic> = awaited.iter().map(|it| it.topic.clone()).collect();
        for key in awaited.iter().map(|it| &it.key) {
            topics.extend(makes_pods(key).then(Topic::pods));
            // What stops these is told by events only.
            let silent = matches!(key.kind.as_str(), "StatefulSet" | "DaemonSet" | "Job" | "PersistentVolumeClaim");
            topics.extend(silent.then(|| Topic::Events(key.kind.clone())));
        }
        let stores = topics.into_iter().map(|topic| (topic, None)).collect();
        Self { awaited, stores, since: HashMap::new() }
    }

    /// What is to be watched.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.stores.keys()
    }

    /// Whether waiting makes no sense without it: the others only make for better and faster words.
    pub fn needs(&self, topic: &Topic) -> bool {
        self.awaited.iter().any(|it| it.topic == *topic)
    }

    /// Takes in what a watch brought.
    pub fn learn(&mut self, topic: &Topic, event: Event) {
        let Some(store) = self.stores.get_mut(topic) else { return };
        match (event, store) {
            (Event::Listed(objects), store) => {
                *store = Some(objects.into_iter().map(|it| (it.name_any(), it)).collect())
            }
            (Event::Changed(object), Some(objects)) => {
                objects.insert(object.name_any(), *object);
            }
            (Event::Gone(object), Some(objects)) => {
                objects.remove(&object.name_any());
            }
            (_, None) => {}
        }
    }

    /// Does without what may not be watched.
    pub fn forgo(&mut self, topic: &Topic) {
        self.stores.remove(topic);
    }

    /// All pods of the instance once all objects are ready, and of those that a Deployment's ReplicaSet has made, the
    /// Deployment's uid. `None` without a watch of the pods, or while it may show others than there are: of a change, the
    /// workload's status may tell before the watch of the pods does.
    pub fn pods(&self) -> Option<impl Iterator<Item = (&DynamicObject, Option<String>)>> {
        let pods = self.stores.get(&Topic::pods())?.as_ref()?;
        let sorted = self.sorted();
        let mut deployments: HashMap<String, Option<String>> = HashMap::new();
        for awaited in self.awaited.iter().filter(|it| makes_pods(&it.key)) {
            let Some(object) = self.object(awaited) else { continue };
            let is_deployment = awaited.key.kind == "Deployment";
            let mut living = 0;
            for pod in sorted.pods_of(awaited, object).into_iter().filter(|pod| is_living(pod)) {
                living += 1;
                if !is_of_present_template(object, pod) {
                    return None;
                }
                if is_deployment {
                    let known = deployments.insert(pod.name_any(), object.uid());
                    // Selectors that overlap, or a pod that somebody else has made: the chain of owners tells.
                    if known.is_some() || !pod.owner_references().iter().any(|owner| owner.kind == "ReplicaSet") {
                        return None;
                    }
                }
            }
            if living != pods_wanted(&awaited.key, object).unwrap_or(0) {
                return None;
            }
        }
        Some(pods.values().map(move |pod| (pod, deployments.remove(&pod.name_any()).flatten())))
    }

    /// How things stand at `now`. What is wrong for `grace` counts as failed.
    pub fn assess(&mut self, now: Instant, grace: Duration) -> Readiness {
        let mut missing = Vec::new();
        let mut ailments = Vec::new();
        let sorted = self.sorted();
        for awaited in &self.awaited {
            let object = self.object(awaited);
            let pods = object.map(|object| sorted.pods_of(awaited, object)).unwrap_or_default();
            let events = object.map(|object| sorted.events_about(object)).unwrap_or_default();
            let lacks = match self.look_at(awaited, &pods, events) {
                Verdict::Ready => continue,
                Verdict::Failed(text) => return Readiness::Failed(format!("{} has failed: {text}", awaited.key)),
                Verdict::Waiting(text) => text,
                Verdict::Trouble(text) => {
                    ailments
                        .push(Fault { id: awaited.key.to_string(), wrong: Some(format!("{}: {text}", awaited.key)) });
                    text
                }
            };
            let found = ailments_of(awaited, &pods, events);
            let wrong = found.iter().find_map(|it| it.wrong.clone());
            missing.push(wrong.unwrap_or_else(|| format!("{}: {lacks}{}", awaited.key, unready_pod(&pods))));
            ailments.extend(found);
        }
        match self.outlasting(&ailments, now, grace) {
            Err(text) => Readiness::Failed(text),
            Ok(_) if missing.is_empty() => Readiness::Ready,
            Ok(until) => Readiness::Waiting(missing.join("; "), until),
        }
    }

    /// What the object, the events about it and its absence say of it.
    fn look_at(&self, awaited: &Awaited, pods: &[&DynamicObject], events: &[&DynamicObject]) -> Verdict {
        let Some(Some(objects)) = self.stores.get(&awaited.topic) else {
            return Verdict::Waiting("not looked at yet".to_owned());
        };
        match objects.get(&awaited.key.name) {
            Some(object) if object.metadata.deletion_timestamp.is_some() => {
                Verdict::Trouble("it is being deleted".to_owned())
            }
            Some(object) => match verdict(&awaited.key, object) {
                // It is bound once a pod uses it, and is fine until then. The pod tells if it comes to that and fails.
                Verdict::Waiting(_) if latest(events, &FOR_A_CONSUMER).is_some() => Verdict::Ready,
                Verdict::Ready => self.look_at_pods(awaited, object, pods),
                verdict => verdict,
            },
            None if awaited.may_vanish => Verdict::Ready,
            None => Verdict::Trouble("it is not there any more".to_owned()),
        }
    }

    /// Whether an object that is ready by its own status has the pods for it: its controller may not have heard yet of one
    /// that was deleted just now, and still count it.
    fn look_at_pods(&self, awaited: &Awaited, object: &DynamicObject, pods: &[&DynamicObject]) -> Verdict {
        let Some(wanted) = pods_wanted(&awaited.key, object) else { return Verdict::Ready };
        match self.stores.get(&Topic::pods()) {
            None => Verdict::Ready,
            Some(None) => Verdict::Waiting("its pods are not looked at yet".to_owned()),
            Some(Some(_)) => {
                let ready = pods.iter().filter(|pod| is_living(pod) && is_ready(pod)).count();
                if ready >= wanted {
                    Verdict::Ready
                } else {
                    Verdict::Waiting(format!("{ready} of {wanted} pods ready"))
                }
            }
        }
    }

    /// The first that is wrong for `grace`, or when that will be.
    fn outlasting(&mut self, ailments: &[Fault], now: Instant, grace: Duration) -> Result<Option<Instant>, String> {
        let ids: HashSet<&str> = ailments.iter().map(|it| it.id.as_str()).collect();
        self.since.retain(|id, _| ids.contains(id.as_str()));
        let mut until: Option<Instant> = None;
        for Fault { id, wrong } in ailments {
            let Some(wrong) = wrong else { continue };
            let end = *self.since.entry(id.clone()).or_insert(now) + grace;
            if end <= now {
                return Err(wrong.clone());
            }
            until = Some(until.map_or(end, |until| until.min(end)));
        }
        Ok(until)
    }

    fn object(&self, awaited: &Awaited) -> Option<&DynamicObject> {
        self.stores.get(&awaited.topic)?.as_ref()?.get(&awaited.key.name)
    }

    fn sorted(&self) -> Sorted<'_> {
        let known =
            |topic: &Topic| self.stores.get(topic).and_then(Option::as_ref).into_iter().flat_map(BTreeMap::values);
        let mut sorted = Sorted {
            pods: known(&Topic::pods()).collect(),
            pods_by_uid: HashMap::new(),
            pods_by_label: HashMap::new(),
            events: HashMap::new(),
        };
        for pod in &sorted.pods {
            let owners = pod.owner_references().iter().map(|owner| owner.uid.as_str());
            let uids: HashSet<&str> = owners.chain(pod.metadata.uid.as_deref()).collect();
            uids.into_iter().for_each(|uid| sorted.pods_by_uid.entry(uid).or_default().push(pod));
            for (name, value) in pod.labels() {
                sorted.pods_by_label.entry(name).or_default().entry(value).or_default().push(pod);
            }
        }
        let events = self.stores.keys().filter(|topic| matches!(topic, Topic::Events(_))).flat_map(known);
        events.for_each(|event| sorted.events.entry(text(event, "/involvedObject/uid")).or_default().push(event));
        sorted
    }
}

impl<'a> Sorted<'a> {
    /// The pods that are or were made for the object, or it itself.
    fn pods_of(&self, awaited: &Awaited, object: &DynamicObject) -> Vec<&'a DynamicObject> {
        let own = || Some(self.pods_by_uid.get(object.metadata.uid.as_deref()?)?.clone());
        // Between a Deployment and its pods are ReplicaSets, that are not watched. By the API's contract its selector
        // selects none but its own.
        let selector = (awaited.key.kind == "Deployment").then(|| selector(object)).flatten();
        selector.map_or_else(|| own().unwrap_or_default(), |selector| self.selected(selector))
    }

    fn selected(&self, selector: LabelSelector) -> Vec<&'a DynamicObject> {
        let with = |(name, value): (&String, &String)| {
            let pods = self.pods_by_label.get(name.as_str()).and_then(|values| values.get(value.as_str()));
            pods.map_or(&[][..], Vec::as_slice)
        };
        // The rarest label leaves the fewest to be looked at.
        let labels = selector.match_labels.iter().flatten();
        let candidates = labels.map(with).min_by_key(|pods| pods.len()).unwrap_or(&self.pods);
        let Ok(selector) = Selector::try_from(selector) else { return Vec::new() };
        candidates.iter().copied().filter(|pod| selector.matches(pod.labels())).collect()
    }

    fn events_about(&self, object: &DynamicObject) -> &[&'a DynamicObject] {
        let events = object.metadata.uid.as_deref().and_then(|uid| self.events.get(uid));
        events.map_or(&[], Vec::as_slice)
    }
}

/// What its pods and the events about it tell of an object that is not ready.
fn ailments_of(awaited: &Awaited, pods: &[&DynamicObject], events: &[&DynamicObject]) -> Vec<Fault> {
    let of_pods = pods.iter().filter(|pod| is_living(pod)).flat_map(|pod| {
        symptoms(pod).into_iter().map(|symptom| Fault {
            id: format!("{}/{}", pod.uid().unwrap_or_default(), symptom.container),
            wrong: symptom.wrong.map(|wrong| match awaited.key.kind.as_str() {
                "Pod" => format!("{}: {wrong}", awaited.key),
                _ => format!("{}: pod {}: {wrong}", awaited.key, pod.name_any()),
            }),
        })
    });
    let of_events = latest(events, &STOPPED).filter(|event| {
        // A pod that was made since then says that it goes on.
        let made = |pod: &DynamicObject| pod.creation_timestamp().map(|time| seconds(&time.0.to_string()));
        let stopped = seconds(&time_of(event));
        !pods.iter().any(|pod| made(pod).is_some_and(|made| made >= stopped))
    });
    let of_events = of_events.map(|event| Fault {
        id: format!("{}/events", awaited.key),
        wrong: Some(format!("{}: {}", awaited.key, said(text(event, "/reason"), text(event, "/message")))),
    });
    of_pods.chain(of_events).collect()
}

/// The words of a pod that is not ready, though nothing is wrong with it.
fn unready_pod(pods: &[&DynamicObject]) -> String {
    let mut pods = pods.iter().filter(|pod| is_living(pod) && !symptoms(pod).is_empty());
    pods.next().map_or_else(String::new, |pod| format!("; pod {}: {}", pod.name_any(), unready(pod)))
}

/// The latest of the events with one of these reasons.
fn latest<'a>(events: &[&'a DynamicObject], reasons: &[&str]) -> Option<&'a DynamicObject> {
    events.iter().copied().filter(|event| reasons.contains(&text(event, "/reason"))).max_by_key(|event| time_of(event))
}

impl Awaited {
    fn new(resource: &Resource) -> Self {
        let ObjectKey { api_version, kind, name } = resource.key.clone();
        let name = (!resource.info.namespaced).then_some(name);
        let topic = Topic::Objects(api_version, kind, name);
        let spec = resource.manifest.get("spec");
        let may_vanish = spec.is_some_and(|spec| spec.get("ttlSecondsAfterFinished").is_some());
        Self { key: resource.key.clone(), topic, may_vanish }
    }
}

/// Reasons of events about a claim that waits for a pod that uses it.
const FOR_A_CONSUMER: [&str; 2] = ["WaitForFirstConsumer", "WaitForPodScheduled"];
/// Reasons of events that say that no pod, or no volume, is made.
const STOPPED: [&str; 3] = ["FailedCreate", "ProvisioningFailed", "FailedBinding"];

/// Pods on their way out, and those that their controller has replaced or will, are not waited for.
fn is_living(pod: &DynamicObject) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !has_ended(pod)
}

/// Whether the pod is known to be of the template that its workload has now: it has had no other, or names its revision.
fn is_of_present_template(workload: &DynamicObject, pod: &DynamicObject) -> bool {
    if workload.metadata.generation == Some(1) {
        return true;
    }
    let revision = text(workload, "/status/updateRevision");
    !revision.is_empty() && pod.labels().get("controller-revision-hash").is_some_and(|it| it == revision)
}

fn selector(object: &DynamicObject) -> Option<LabelSelector> {
    serde_json::from_value(object.data.pointer("/spec/selector")?.clone()).ok()
}

/// When an event last happened.
pub(super) fn time_of(event: &DynamicObject) -> String {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"].map(|it| text(event, it));
    times.into_iter().max().unwrap_or("").to_owned()
}

/// RFC 3339 in UTC down to the second, as `creationTimestamp` has it: these texts compare as the times do.
fn seconds(time: &str) -> String {
    time.chars().take(19).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::resource::{KindInfo, ResourceState};

    const GRACE: Duration = Duration::from_secs(60);

    fn resource(api_version: &str, kind: &str, spec: Value) -> Resource {
        let manifest = json!({ "spec": spec });
        Resource {
            key: ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "web".to_owned() },
            info: KindInfo { plural: "x".to_owned(), namespaced: true },
            vdu_id: None,
            manifest: manifest.as_object().unwrap().clone(),
            state: ResourceState::Planned,
        }
    }

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn workload(kind: &str, available: i64) -> DynamicObject {
        object(json!({
            "metadata": { "name": "web", "uid": "w", "generation": 1 },
            "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } } },
            "status": {
                "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": available,
                "availableReplicas": available,
            },
            "kind": kind, "apiVersion": "apps/v1",
        }))
    }

    fn pod(uid: &str, state: Value) -> DynamicObject {
        object(json!({
            "metadata": {
                "name": format!("web-{uid}"), "uid": uid, "labels": { "app": "web" },
                "creationTimestamp": "2024-01-01T00:01:00Z",
                "ownerReferences": [{ "apiVersion": "x", "kind": "ReplicaSet", "name": "x", "uid": "w" }],
            },
            "status": { "phase": "Pending", "containerStatuses": [{ "name": "c", "ready": false, "state": state }] },
        }))
    }

    fn ready_pod(uid: &str) -> DynamicObject {
        let mut pod = pod(uid, json!({ "running": {} }));
        pod.data["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
        pod
    }

    fn waits(reason: &str) -> Value {
        json!({ "waiting": { "reason": reason } })
    }

    fn objects(kind: &str) -> Topic {
        Topic::Objects("apps/v1".to_owned(), kind.to_owned(), None)
    }

    /// A Deployment of one pod that is not available, and what is known of its pods.
    fn deployment(pods: Vec<DynamicObject>) -> Progress {
        let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
        progress.learn(&objects("Deployment"), Event::Listed(vec![workload("Deployment", 0)]));
        progress.learn(&Topic::pods(), Event::Listed(pods));
        progress
    }

    fn changed(progress: &mut Progress, pod: DynamicObject) {
        progress.learn(&Topic::pods(), Event::Changed(Box::new(pod)));
    }

    #[test]
    fn only_what_needs_it_is_watched() {
        let topics = |kinds: &[(&str, &str)]| {
            let resources: Vec<Resource> = kinds.iter().map(|(group, kind)| resource(group, kind, json!({}))).collect();
            let mut topics: Vec<Topic> = Progress::new(&resources).topics().cloned().collect();
            topics.sort();
            topics
        };
        assert_eq!(topics(&[("v1", "ConfigMap"), ("v1", "Service")]), []);
        assert_eq!(topics(&[("apps/v1", "Deployment")]), [objects("Deployment"), Topic::pods()]);
        assert_eq!(topics(&[("v1", "Pod")]), [Topic::pods()]);
        let events = Topic::Events("StatefulSet".to_owned());
        assert_eq!(topics(&[("apps/v1", "StatefulSet")]), [objects("StatefulSet"), Topic::pods(), events]);
    }

    #[test]
    fn ready_once_every_object_is() {
        let now = Instant::now();
        let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
        let text = "Deployment web: not looked at yet".to_owned();
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, None));
        progress.learn(&objects("Deployment"), Event::Listed(vec![workload("Deployment", 0)]));
        let text = "Deployment web: 0 of 1 replicas available".to_owned();
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, None));
        progress.learn(&objects("Deployment"), Event::Changed(Box::new(workload("Deployment", 1))));
        let text = "Deployment web: its pods are not looked at yet".to_owned();
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, None));
        progress.learn(&Topic::pods(), Event::Listed(vec![ready_pod("p")]));
        assert_eq!(progress.assess(now, GRACE), Readiness::Ready);
        assert_eq!(Progress::new(&[]).assess(now, GRACE), Readiness::Ready);
    }

    #[test]
    fn a_pod_that_is_gone_does_not_count_though_its_controller_has_not_heard_of_it_yet() {
        let now = Instant::now();
        for kind in ["Deployment", "StatefulSet"] {
            let mut progress = Progress::new(&[resource("apps/v1", kind, json!({}))]);
            progress.learn(&objects(kind), Event::Listed(vec![workload(kind, 1)]));
            progress.learn(&Topic::pods(), Event::Listed(Vec::new()));
            let text = format!("{kind} web: 0 of 1 pods ready");
            assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text.clone(), None));
            changed(&mut progress, pod("q", json!({ "running": {} })));
            assert!(matches!(progress.assess(now, GRACE), Readiness::Waiting(words, None) if words.starts_with(&text)));
            changed(&mut progress, ready_pod("q"));
            assert_eq!(progress.assess(now, GRACE), Readiness::Ready);
        }
    }

    #[test]
    fn the_pods_are_known_once_none_is_left_that_is_not_wanted() {
        let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
        progress.learn(&objects("Deployment"), Event::Listed(vec![workload("Deployment", 1)]));
        assert!(progress.pods().is_none(), "they are not looked at yet");
        progress.learn(&Topic::pods(), Event::Listed(vec![ready_pod("old"), ready_pod("new")]));
        assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
        assert!(progress.pods().is_none(), "one of them is to go");
        progress.learn(&Topic::pods(), Event::Gone(Box::new(ready_pod("old"))));
        let pods = progress.pods().unwrap().map(|(pod, deployment)| (pod.name_any(), deployment));
        assert_eq!(pods.collect::<Vec<_>>(), [("web-new".to_owned(), Some("w".to_owned()))]);
        let mut foreign = ready_pod("new");
        foreign.metadata.owner_references = None;
        changed(&mut progress, foreign);
        assert!(progress.pods().is_none(), "no ReplicaSet has made it");
    }

    #[test]
    fn pods_of_an_earlier_template_are_not_taken_for_those_that_replace_them() {
        let known = |kind: &str, workload: DynamicObject, pod: DynamicObject| {
            let mut progress = Progress::new(&[resource("apps/v1", kind, json!({}))]);
            progress.learn(&objects(kind), Event::Listed(vec![workload]));
            progress.learn(&Topic::pods(), Event::Listed(vec![pod]));
            assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
            progress.pods().is_some()
        };
        let changed = |kind: &str| {
            let mut workload = workload(kind, 1);
            workload.metadata.generation = Some(2);
            workload.data["status"]["observedGeneration"] = json!(2);
            workload.data["status"]["currentRevision"] = json!("web-2");
            workload.data["status"]["updateRevision"] = json!("web-2");
            workload
        };
        let of_revision = |revision: &str| {
            let mut pod = ready_pod("p");
            pod.labels_mut().insert("controller-revision-hash".to_owned(), revision.to_owned());
            pod
        };
        assert!(!known("StatefulSet", changed("StatefulSet"), of_revision("web-1")));
        assert!(known("StatefulSet", changed("StatefulSet"), of_revision("web-2")));
        let mut deployment = changed("Deployment");
        deployment.data["status"]["updateRevision"] = json!("");
        assert!(!known("Deployment", deployment, ready_pod("p")));
        assert!(known("Deployment", workload("Deployment", 1), ready_pod("p")));
    }

    #[test]
    fn pods_that_may_not_be_seen_are_done_without() {
        let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
        progress.learn(&objects("Deployment"), Event::Listed(vec![workload("Deployment", 1)]));
        progress.forgo(&Topic::pods());
        assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
    }

    #[test]
    fn what_is_wrong_for_the_grace_has_failed() {
        let now = Instant::now();
        let mut progress = deployment(vec![pod("p", waits("ErrImagePull"))]);
        let text = |reason| format!("Deployment web: pod web-p: container c: {reason}");
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text("ErrImagePull"), Some(now + GRACE)));
        changed(&mut progress, pod("p", waits("ImagePullBackOff")));
        let later = now + GRACE / 2;
        assert_eq!(progress.assess(later, GRACE), Readiness::Waiting(text("ImagePullBackOff"), Some(now + GRACE)));
        assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Failed(text("ImagePullBackOff")));
    }

    #[test]
    fn running_between_two_crashes_is_no_cure_but_being_ready_is() {
        let now = Instant::now();
        let mut progress = deployment(vec![pod("p", waits("CrashLoopBackOff"))]);
        progress.assess(now, GRACE);
        changed(&mut progress, pod("p", json!({ "running": {} })));
        assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, None)));
        changed(&mut progress, pod("p", waits("CrashLoopBackOff")));
        assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Failed(_)));

        let mut progress = deployment(vec![pod("p", waits("CrashLoopBackOff"))]);
        progress.assess(now, GRACE);
        let mut ready = pod("p", json!({ "running": {} }));
        ready.data["status"]["containerStatuses"][0]["ready"] = json!(true);
        changed(&mut progress, ready);
        progress.assess(now + GRACE, GRACE);
        changed(&mut progress, pod("p", waits("CrashLoopBackOff")));
        assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, Some(_))));
    }

    #[test]
    fn pods_that_are_gone_going_ended_or_others_do_not_count() {
        let now = Instant::now();
        let ill = || pod("p", waits("ImagePullBackOff"));
        let mut going = ill();
        going.metadata = serde_json::from_value(json!({
            "name": "web-p", "uid": "p", "labels": { "app": "web" }, "deletionTimestamp": "2024-01-01T00:00:00Z",
        }))
        .unwrap();
        let mut evicted = ill();
        evicted.data["status"]["phase"] = json!("Failed");
        let mut others = ill();
        others.metadata.labels = None;
        for pod in [going, evicted, others] {
            let mut progress = deployment(vec![pod]);
            progress.assess(now, GRACE);
            let text = "Deployment web: 0 of 1 replicas available".to_owned();
            assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(text, None));
        }
        let mut progress = deployment(vec![ill()]);
        progress.assess(now, GRACE);
        progress.learn(&Topic::pods(), Event::Gone(Box::new(ill())));
        changed(&mut progress, pod("q", waits("ImagePullBackOff")));
        let later = now + GRACE;
        assert!(matches!(progress.assess(later, GRACE), Readiness::Waiting(_, Some(end)) if end == later + GRACE));
    }

    #[test]
    fn an_assessment_goes_over_many_objects_once() {
        const MANY: usize = 5000;
        let named = |number: usize, mut object: DynamicObject| {
            object.metadata.name = Some(format!("web-{number}"));
            object
        };
        let workload = |number, kind| {
            let mut workload = named(number, workload(kind, 1));
            workload.metadata.uid = Some(format!("{kind}-{number}"));
            workload.data["spec"]["selector"] = json!({
                "matchLabels": { "app": "web", "number": number.to_string() },
                "matchExpressions": [{ "key": "app", "operator": "Exists" }],
            });
            workload
        };
        let pod = |number: usize, kind| {
            let mut pod = named(number, ready_pod(&format!("{kind}-pod-{number}")));
            pod.metadata.name = Some(format!("{kind}-{number}"));
            pod.owner_references_mut()[0].uid = format!("{kind}-{number}");
            if kind == "Deployment" {
                pod.labels_mut().insert("number".to_owned(), number.to_string());
            }
            pod
        };
        let event = |number: usize| {
            let about = format!("StatefulSet-{number}");
            object(
                json!({ "metadata": { "name": about }, "involvedObject": { "uid": about }, "reason": "FailedCreate" }),
            )
        };
        let (mut resources, mut pods) = (Vec::new(), Vec::new());
        for kind in ["Deployment", "StatefulSet"] {
            pods.extend((0..MANY).map(|number| pod(number, kind)));
            for number in 0..MANY {
                let mut resource = resource("apps/v1", kind, json!({}));
                resource.key.name = format!("web-{number}");
                resources.push(resource);
            }
        }
        let mut progress = Progress::new(&resources);
        for kind in ["Deployment", "StatefulSet"] {
            progress.learn(&objects(kind), Event::Listed((0..MANY).map(|number| workload(number, kind)).collect()));
        }
        let events = Topic::Events("StatefulSet".to_owned());
        progress.learn(&events, Event::Listed((0..MANY).map(event).collect()));
        let late = pods.pop().unwrap();
        progress.learn(&Topic::pods(), Event::Listed(pods));
        // This took a minute when each object went through all pods.
        let now = Instant::now();
        for _ in 0..5 {
            let text = format!("StatefulSet web-{}: FailedCreate", MANY - 1);
            assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, Some(now + GRACE)));
        }
        changed(&mut progress, late);
        assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
        assert_eq!(progress.pods().unwrap().filter(|(_, deployment)| deployment.is_some()).count(), MANY);
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let now = Instant::now();
        let mut progress = deployment(vec![pod("p", waits("ImagePullBackOff"))]);
        progress.assess(now, GRACE);
        progress.learn(&Topic::pods(), Event::Listed(Vec::new()));
        assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, None)));
    }

    #[test]
    fn what_is_missing_or_going_is_a_trouble_but_a_job_may_have_been_tidied_up() {
        let now = Instant::now();
        let mut progress = deployment(Vec::new());
        progress.learn(&objects("Deployment"), Event::Listed(Vec::new()));
        assert!(matches!(progress.assess(now, GRACE), Readiness::Waiting(_, Some(_))));
        let text = "Deployment web: it is not there any more".to_owned();
        assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Failed(text));

        let job = resource("batch/v1", "Job", json!({ "ttlSecondsAfterFinished": 0 }));
        let mut progress = Progress::new(&[job]);
        let topic = Topic::Objects("batch/v1".to_owned(), "Job".to_owned(), None);
        progress.learn(&topic, Event::Listed(Vec::new()));
        assert_eq!(progress.assess(now, GRACE), Readiness::Ready);
    }

    #[test]
    fn an_event_counts_until_a_pod_is_made_after_it() {
        let event = |time: &str| {
            object(json!({
                "metadata": { "name": "e" }, "involvedObject": { "uid": "w" }, "lastTimestamp": time,
                "reason": "FailedCreate", "message": "exceeded quota",
            }))
        };
        let now = Instant::now();
        let mut progress = Progress::new(&[resource("apps/v1", "StatefulSet", json!({}))]);
        progress.learn(&objects("StatefulSet"), Event::Listed(vec![workload("StatefulSet", 0)]));
        let events = Topic::Events("StatefulSet".to_owned());
        progress.learn(&events, Event::Listed(vec![event("2024-01-01T00:01:01Z")]));
        progress.learn(&Topic::pods(), Event::Listed(vec![pod("p", json!({ "running": {} }))]));
        let text = "StatefulSet web: FailedCreate: exceeded quota".to_owned();
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text.clone(), Some(now + GRACE)));
        assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Failed(text));
        progress.learn(&events, Event::Listed(vec![event("2024-01-01T00:01:00Z")]));
        assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, None)));
    }
}
