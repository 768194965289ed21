//! How far the awaited objects are, and since when each fault lasts. No I/O; the time is a parameter.
//!
//! [`super::await_ready`] feeds in the events of the watches and calls [`Progress::assess`] after each batch of them. An
//! assessment passes over all objects once, however many are awaited.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::super::fields::{explanation, text};
use super::super::watch::ObjectEvent;
use super::causes::Cause;
use super::events::{CREATION_FAILED, WAITS_FOR_CONSUMER, last_time, latest, reports_by_events, to_second};
use super::index::OwnerIndex;
use super::pods::{
    UnprobedContainer, container_faults, is_active, is_ready, unprobed_containers, unready_reason, unready_since,
};
use super::revisions::is_superseded;
use super::rules::{ObjectStatus, has_rule, makes_pods, object_status, wanted_pods};
use crate::domain::progress::ObjectReadiness;
use crate::domain::resource::{ObjectKey, Resource};

/// Faults that the first look shows within this time may be older than the wait: their clock goes on where another process left it.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// How far the clock of a node may be wrong. A container that has run for longer by that clock has settled.
const MAX_CLOCK_ERROR: Duration = Duration::from_secs(60);

/// The awaited objects as the watches have shown them.
pub(super) struct Progress {
    awaited: Vec<AwaitedObject>,
    stores: HashMap<WatchSubject, ObjectStore>,
    /// Since when each fault lasts, and its latest known cause, by [`Fault::id`].
    faulty_since: HashMap<String, (Instant, Cause)>,
    /// When each run of a container without a probe was first seen, by uid of the pod, container and number of restarts.
    running_since: HashMap<(String, String, i64), Instant>,
    timing: Timing,
    /// The objects as the latest assessment saw them.
    report: Vec<ObjectReadiness>,
}

/// The clocks of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// When this wait began.
    pub begun: Instant,
    /// The same time by the clock of the system.
    pub begun_utc: OffsetDateTime,
    /// How long another process, or an earlier attempt, had waited for the same objects before.
    pub waited: Duration,
    /// How long a container without a probe must run before it counts.
    pub settle: Duration,
}

impl Timing {
    /// Since when a fault lasts that is seen at `now` and that the object dates to `since`, in RFC 3339.
    fn fault_begin(&self, now: Instant, since: &str) -> Instant {
        let elapsed = now - self.begun;
        if elapsed > FIRST_LOOK {
            return now;
        }
        let age = self.age(now, since).unwrap_or_default().min(self.waited + elapsed);
        now.checked_sub(age).unwrap_or(now)
    }

    /// How long ago a time in RFC 3339 is, by the clock of the system; zero if it is in the future.
    fn age(&self, now: Instant, time: &str) -> Option<Duration> {
        let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
        Some((self.begun_utc + (now - self.begun) - time).try_into().unwrap_or_default())
    }
}

/// What one watch shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WatchSubject {
    /// The objects of a kind.
    Objects {
        api_version: String,
        kind: String,
        /// Of a cluster-scoped kind: only the object of this name.
        name: Option<String>,
    },
    /// The events about objects of this kind.
    EventsAbout(String),
}

impl WatchSubject {
    /// All pods of the instance: the bare ones, and those of workloads, whose faults are their workload's.
    pub fn pods() -> Self {
        Self::Objects { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name: None }
    }
}

/// The state of all awaited objects together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// All objects are ready.
    Ready,
    /// One of them will not become ready, and why.
    Failed(String),
    /// Not ready: what is missing, and when it counts as failed if nothing changes until then.
    Waiting(String, Option<Instant>),
}

struct AwaitedObject {
    key: ObjectKey,
    subject: WatchSubject,
    /// Whether Kubernetes deletes it some time after its end.
    has_ttl: bool,
}

/// The objects of one watch by name: `None` until it has listed them.
type ObjectStore = Option<BTreeMap<String, DynamicObject>>;

/// A fault of an awaited object.
struct Fault {
    /// The same for the same fault at a later time.
    id: String,
    /// What is wrong at the moment. `None`: nothing shows, and the fault is not over either.
    reason: Option<String>,
    /// Whether it passes by itself. `None`: as before.
    cause: Option<Cause>,
    /// A time since which it lasts at most, in RFC 3339; empty if the object does not say.
    since: String,
}

/// Whether a pod may be counted, and from when on.
enum Settled {
    Yes,
    /// The container has no probe and has not run for long enough.
    NotBefore(Instant, String),
    /// A container without a probe does not run.
    NotRunning,
}

impl Progress {
    /// Awaits those of `resources` whose kinds have a readiness rule.
    pub fn new(resources: &[Resource], timing: Timing) -> Self {
        let awaited: Vec<AwaitedObject> =
            resources.iter().filter(|it| has_rule(&it.key)).map(AwaitedObject::new).collect();
        let mut subjects: HashSet<WatchSubject> = awaited.iter().map(|it| it.subject.clone()).collect();
        for key in awaited.iter().map(|it| &it.key) {
            subjects.extend(makes_pods(key).then(WatchSubject::pods));
            subjects.extend(reports_by_events(&key.kind).then(|| WatchSubject::EventsAbout(key.kind.clone())));
        }
        let stores = subjects.into_iter().map(|subject| (subject, None)).collect();
        Self {
            awaited,
            stores,
            faulty_since: HashMap::new(),
            running_since: HashMap::new(),
            timing,
            report: Vec::new(),
        }
    }

    /// What to watch.
    pub fn subjects(&self) -> impl Iterator<Item = &WatchSubject> {
        self.stores.keys()
    }

    /// Whether readiness cannot be known without this watch. The others only give better and earlier reasons.
    pub fn is_required(&self, subject: &WatchSubject) -> bool {
        self.awaited.iter().any(|it| it.subject == *subject)
    }

    /// Takes in an event of a watch.
    pub fn apply(&mut self, subject: &WatchSubject, event: ObjectEvent) {
        let Some(store) = self.stores.get_mut(subject) else { return };
        match (event, store) {
            (ObjectEvent::Listed(objects), store) => {
                *store = Some(objects.into_iter().map(|it| (it.name_any(), it)).collect());
            }
            (ObjectEvent::Changed(object), Some(objects)) => {
                objects.insert(object.name_any(), *object);
            }
            (ObjectEvent::Deleted(object), Some(objects)) => {
                objects.remove(&object.name_any());
            }
            (_, None) => {}
        }
    }

    /// Goes on without a watch that the credential may not have.
    pub fn ignore(&mut self, subject: &WatchSubject) {
        self.stores.remove(subject);
    }

    /// All pods of the instance once all objects are ready, each with the uid of its Deployment if a Deployment's ReplicaSet
    /// made it.
    ///
    /// `None` without a watch of the pods, and while that watch may be behind: the status of a workload may show a change
    /// before the watch of the pods does.
    pub fn pods(&self) -> Option<impl Iterator<Item = (&DynamicObject, Option<String>)>> {
        let pods = self.stores.get(&WatchSubject::pods())?.as_ref()?;
        let index = self.index();
        let mut deployments: HashMap<String, Option<String>> = HashMap::new();
        for awaited in self.awaited.iter().filter(|it| makes_pods(&it.key)) {
            let Some(object) = self.object(awaited) else { continue };
            let is_deployment = awaited.key.kind == "Deployment";
            let mut active = 0;
            for pod in index.pods_of(&awaited.key.kind, object).into_iter().filter(|pod| is_active(pod)) {
                active += 1;
                if !is_of_present_template(object, pod) {
                    return None;
                }
                if is_deployment {
                    let other = deployments.insert(pod.name_any(), object.uid());
                    // If selectors overlap, or somebody else made the pod, only its chain of owners shows whose it is.
                    if other.is_some() || !pod.owner_references().iter().any(|owner| owner.kind == "ReplicaSet") {
                        return None;
                    }
                }
            }
            if active != wanted_pods(&awaited.key, object).unwrap_or(0) {
                return None;
            }
        }
        Some(pods.values().map(move |pod| (pod, deployments.remove(&pod.name_any()).flatten())))
    }

    /// The state at `now`. A fault fails if it lasts longer than its cause may with this `grace`.
    pub fn assess(&mut self, now: Instant, grace: Duration) -> Readiness {
        self.note_running(now);
        let mut missing = Vec::new();
        let mut faults = Vec::new();
        let mut report = Vec::with_capacity(self.awaited.len());
        let mut settled_at: Option<Instant> = None;
        let index = self.index();
        for awaited in &self.awaited {
            let object = self.object(awaited);
            let pods = object.map(|object| index.pods_of(&awaited.key.kind, object)).unwrap_or_default();
            let events = object.map(|object| index.events_about(object)).unwrap_or_default();
            let seen = |reason| readiness_of(awaited, object, &pods, reason);
            let lacks = match self.status_of(awaited, &pods, events, now, &mut settled_at) {
                ObjectStatus::Ready => {
                    report.push(seen(None));
                    continue;
                }
                ObjectStatus::Failed(text) => return Readiness::Failed(format!("{} has failed: {text}", awaited.key)),
                ObjectStatus::InProgress(text) => text,
                ObjectStatus::Faulty(text) => {
                    let reason = Some(format!("{}: {text}", awaited.key));
                    let cause = match awaited.key.kind.as_str() {
                        // Its pods may still be starting, or the API server may not have asked again yet.
                        "APIService" => Cause::Passing,
                        _ => Cause::of_message(&text),
                    };
                    faults.push(Fault {
                        id: awaited.key.to_string(),
                        reason,
                        cause: Some(cause),
                        since: String::new(),
                    });
                    text
                }
            };
            let mut found = faults_of(awaited, &pods, events);
            found.extend(pods.iter().flat_map(|pod| self.restarted(pod, now)));
            let reason = found.iter().find_map(|fault| fault.reason.clone());
            let reason = reason.unwrap_or_else(|| format!("{}: {lacks}{}", awaited.key, first_unready_pod(&pods)));
            report.push(seen(Some(&reason)));
            missing.push(reason);
            faults.extend(found);
        }
        self.report = report;
        match self.check_grace(&faults, now, grace) {
            Err(text) => Readiness::Failed(text),
            Ok(_) if missing.is_empty() => Readiness::Ready,
            Ok(until) => {
                let until = [until, settled_at].into_iter().flatten().min();
                Readiness::Waiting(missing.join("; "), until)
            }
        }
    }

    /// The objects as the latest assessment saw them; empty if one has failed.
    pub fn take_report(&mut self) -> Vec<ObjectReadiness> {
        std::mem::take(&mut self.report)
    }

    /// Pods that keep the present revision of their workload from being rolled out: of another revision, not ready, and with a
    /// fault, or not ready for `grace`. Their controller waits until they are ready, or replaces no pod by itself. Kubernetes'
    /// documentation on the forced rollback of a StatefulSet says to delete them. Also returns when the next one counts.
    pub fn blocking_pods(&self, now: Instant, grace: Duration) -> (Vec<(String, String)>, Option<Instant>) {
        let index = self.index();
        let remaining = |pod: &DynamicObject| {
            if container_faults(pod).iter().any(|fault| fault.reason.is_some()) {
                return Duration::ZERO;
            }
            self.timing.age(now, unready_since(pod)).map_or(grace, |age| grace.saturating_sub(age))
        };
        let pods = self.awaited.iter().filter_map(|awaited| Some((awaited, self.object(awaited)?)));
        let pods = pods.flat_map(|(awaited, object)| {
            let pods = index.pods_of(&awaited.key.kind, object).into_iter();
            pods.filter(|pod| is_active(pod) && !is_ready(pod) && is_superseded(&awaited.key, object, pod))
        });
        let (stuck, others): (Vec<_>, Vec<_>) =
            pods.map(|pod| (pod, remaining(pod))).partition(|(_, remaining)| remaining.is_zero());
        let named = stuck.into_iter().map(|(pod, _)| (pod.name_any(), pod.uid().unwrap_or_default()));
        (named.collect(), others.into_iter().map(|(_, remaining)| now + remaining).min())
    }

    /// Notes since when each container without a probe runs. By our own clock: that of a node may be wrong by more than the time in
    /// question.
    fn note_running(&mut self, now: Instant) {
        let Some(Some(pods)) = self.stores.get(&WatchSubject::pods()).filter(|_| !self.timing.settle.is_zero()) else {
            return;
        };
        let mut running = HashMap::new();
        for pod in pods.values().filter(|pod| is_active(pod)) {
            for container in unprobed_containers(pod).into_iter().flatten() {
                let id = (pod.uid().unwrap_or_default(), container.name.to_owned(), container.restarts);
                let since = self.running_since.get(&id).copied().unwrap_or(now);
                running.insert(id, since);
            }
        }
        self.running_since = running;
    }

    /// Whether all containers of the pod without a probe have run for the settle time.
    fn settled(&self, pod: &DynamicObject, now: Instant) -> Settled {
        let settle = self.timing.settle;
        if settle.is_zero() {
            return Settled::Yes;
        }
        let Some(containers) = unprobed_containers(pod) else { return Settled::NotRunning };
        let mut last: Option<(Instant, &str)> = None;
        for container in containers {
            let age = self.timing.age(now, container.started).unwrap_or_default();
            let id = (pod.uid().unwrap_or_default(), container.name.to_owned(), container.restarts);
            let end = self.running_since.get(&id).copied().unwrap_or(now) + settle;
            if age < settle + MAX_CLOCK_ERROR && end > now && last.is_none_or(|(latest, _)| end > latest) {
                last = Some((end, container.name));
            }
        }
        last.map_or(Settled::Yes, |(end, name)| {
            let text = format!(
                "container {name} of pod {} has no readiness or startup probe and has run for less than {} s",
                pod.name_any(),
                settle.as_secs()
            );
            Settled::NotBefore(end, text)
        })
    }

    /// The containers that Kubernetes calls ready and that have crashed before, until they have settled: their faults are not over,
    /// or a process that runs for a moment between two crashes would never fail.
    fn restarted(&self, pod: &DynamicObject, now: Instant) -> Vec<Fault> {
        if !is_active(pod) || !is_ready(pod) || !matches!(self.settled(pod, now), Settled::NotBefore(..)) {
            return Vec::new();
        }
        let restarted = unprobed_containers(pod).into_iter().flatten().filter(|it| it.restarts > 0);
        let fault = |it: UnprobedContainer<'_>| Fault {
            id: container_fault_id(pod, it.name),
            reason: None,
            cause: None,
            since: String::new(),
        };
        restarted.map(fault).collect()
    }

    /// What the object or its absence, its pods and the events about it say.
    fn status_of(
        &self,
        awaited: &AwaitedObject,
        pods: &[&DynamicObject],
        events: &[&DynamicObject],
        now: Instant,
        settled_at: &mut Option<Instant>,
    ) -> ObjectStatus {
        let Some(Some(objects)) = self.stores.get(&awaited.subject) else {
            return ObjectStatus::InProgress("not listed yet".to_owned());
        };
        match objects.get(&awaited.key.name) {
            Some(object) if object.metadata.deletion_timestamp.is_some() => {
                ObjectStatus::Faulty("it is being deleted".to_owned())
            }
            Some(object) => match object_status(&awaited.key, object) {
                // The claim is bound once a pod uses it, and counts as ready until then. If binding fails, the pod shows a fault.
                ObjectStatus::InProgress(_) if latest(events, &WAITS_FOR_CONSUMER).is_some() => ObjectStatus::Ready,
                ObjectStatus::Ready => self.status_of_pods(awaited, object, pods, now, settled_at),
                status => status,
            },
            None if awaited.has_ttl => ObjectStatus::Ready,
            None => ObjectStatus::Faulty("it is not there any more".to_owned()),
        }
    }

    /// Whether an object that is ready by its own status has ready pods: its controller may still count a pod that was deleted
    /// a moment ago.
    ///
    /// A container without a probe counts only after it has run for the settle time; `settled_at` becomes the earliest end of it.
    fn status_of_pods(
        &self,
        awaited: &AwaitedObject,
        object: &DynamicObject,
        pods: &[&DynamicObject],
        now: Instant,
        settled_at: &mut Option<Instant>,
    ) -> ObjectStatus {
        let is_running_pod = awaited.key.kind == "Pod" && is_active(object);
        let Some(wanted) = wanted_pods(&awaited.key, object).or(is_running_pod.then_some(1)) else {
            return ObjectStatus::Ready;
        };
        match self.stores.get(&WatchSubject::pods()) {
            None => ObjectStatus::Ready,
            Some(None) => ObjectStatus::InProgress("its pods are not listed yet".to_owned()),
            Some(Some(_)) => {
                let (mut ready, mut settling) = (0, None);
                for pod in pods.iter().filter(|pod| is_active(pod) && is_ready(pod)) {
                    match self.settled(pod, now) {
                        Settled::Yes => ready += 1,
                        Settled::NotRunning => {}
                        Settled::NotBefore(end, text) => {
                            *settled_at = Some(settled_at.map_or(end, |earliest| earliest.min(end)));
                            settling = Some(text);
                        }
                    }
                }
                if ready >= wanted {
                    ObjectStatus::Ready
                } else {
                    let why = settling.map_or_else(String::new, |text| format!("; {text}"));
                    ObjectStatus::InProgress(format!("{ready} of {wanted} pods ready{why}"))
                }
            }
        }
    }

    /// When the first of the faults has lasted for as long as it may; as an error, a fault that has.
    fn check_grace(&mut self, faults: &[Fault], now: Instant, grace: Duration) -> Result<Option<Instant>, String> {
        let ids: HashSet<&str> = faults.iter().map(|fault| fault.id.as_str()).collect();
        self.faulty_since.retain(|id, _| ids.contains(id.as_str()));
        let mut until: Option<Instant> = None;
        for Fault { id, reason, cause, since } in faults {
            let Some(reason) = reason else { continue };
            let begin = || (self.timing.fault_begin(now, since), Cause::Lasting);
            let known = self.faulty_since.entry(id.clone()).or_insert_with(begin);
            known.1 = cause.unwrap_or(known.1);
            let end = known.0 + known.1.patience(grace);
            if end <= now {
                return Err(reason.clone());
            }
            until = Some(until.map_or(end, |until| until.min(end)));
        }
        Ok(until)
    }

    fn object(&self, awaited: &AwaitedObject) -> Option<&DynamicObject> {
        self.stores.get(&awaited.subject)?.as_ref()?.get(&awaited.key.name)
    }

    fn index(&self) -> OwnerIndex<'_> {
        let objects = |subject: &WatchSubject| {
            self.stores.get(subject).and_then(Option::as_ref).into_iter().flat_map(BTreeMap::values)
        };
        let events = self.stores.keys().filter(|subject| matches!(subject, WatchSubject::EventsAbout(_)));
        OwnerIndex::new(objects(&WatchSubject::pods()).collect(), events.flat_map(objects))
    }
}

impl AwaitedObject {
    fn new(resource: &Resource) -> Self {
        let ObjectKey { api_version, kind, name } = resource.key.clone();
        let name = (!resource.info.namespaced).then_some(name);
        let spec = resource.manifest.get("spec");
        let has_ttl = spec.is_some_and(|spec| spec.get("ttlSecondsAfterFinished").is_some());
        Self { key: resource.key.clone(), subject: WatchSubject::Objects { api_version, kind, name }, has_ttl }
    }
}

/// What an assessment saw of an object. `reason` begins with the object.
fn readiness_of(
    awaited: &AwaitedObject,
    object: Option<&DynamicObject>,
    pods: &[&DynamicObject],
    reason: Option<&str>,
) -> ObjectReadiness {
    let wanted = object.and_then(|object| wanted_pods(&awaited.key, object));
    let ready = pods.iter().filter(|pod| is_active(pod) && is_ready(pod)).count();
    let prefix = format!("{}: ", awaited.key);
    ObjectReadiness {
        key: awaited.key.clone(),
        is_ready: reason.is_none(),
        pods: wanted.map(|wanted| (ready.try_into().unwrap_or(u32::MAX), wanted.try_into().unwrap_or(u32::MAX))),
        reason: reason.map(|reason| reason.strip_prefix(&prefix).unwrap_or(reason).to_owned()),
    }
}

/// The faults of an object that is not ready, by its pods and the events about it.
fn faults_of(awaited: &AwaitedObject, pods: &[&DynamicObject], events: &[&DynamicObject]) -> Vec<Fault> {
    let of_pods = pods.iter().filter(|pod| is_active(pod)).flat_map(|pod| {
        container_faults(pod).into_iter().map(|fault| Fault {
            id: container_fault_id(pod, &fault.container),
            reason: fault.reason.map(|reason| match awaited.key.kind.as_str() {
                "Pod" => format!("{}: {reason}", awaited.key),
                _ => format!("{}: pod {}: {reason}", awaited.key, pod.name_any()),
            }),
            cause: fault.cause,
            since: fault.since,
        })
    });
    let of_events = latest(events, &CREATION_FAILED).filter(|event| {
        // A pod that was made since then shows that the controller goes on.
        let made = |pod: &DynamicObject| pod.creation_timestamp().map(|time| to_second(&time.0.to_string()));
        let failed = to_second(&last_time(event));
        !pods.iter().any(|pod| made(pod).is_some_and(|made| made >= failed))
    });
    let of_events = of_events.map(|event| Fault {
        id: format!("{}/events", awaited.key),
        reason: Some(format!("{}: {}", awaited.key, explanation(text(event, "/reason"), text(event, "/message")))),
        cause: Some(match awaited.key.kind.as_str() {
            "PersistentVolumeClaim" => Cause::of_claim(text(event, "/message")),
            _ => Cause::of_message(text(event, "/message")),
        }),
        since: text(event, "/firstTimestamp").to_owned(),
    });
    of_pods.chain(of_events).collect()
}

fn container_fault_id(pod: &DynamicObject, container: &str) -> String {
    format!("{}/{container}", pod.uid().unwrap_or_default())
}

/// The first pod that is not ready, for a message about a workload without a fault.
fn first_unready_pod(pods: &[&DynamicObject]) -> String {
    let mut pods = pods.iter().filter(|pod| is_active(pod) && !container_faults(pod).is_empty());
    pods.next().map_or_else(String::new, |pod| format!("; pod {}: {}", pod.name_any(), unready_reason(pod)))
}

/// Whether the pod is surely of the template that its workload has now: the workload never had another, or the pod names its
/// revision.
fn is_of_present_template(workload: &DynamicObject, pod: &DynamicObject) -> bool {
    if workload.metadata.generation == Some(1) {
        return true;
    }
    let revision = text(workload, "/status/updateRevision");
    !revision.is_empty() && pod.labels().get("controller-revision-hash").is_some_and(|it| it == revision)
}

#[cfg(test)]
mod tests;
