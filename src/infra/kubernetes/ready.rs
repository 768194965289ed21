//! When an object counts as ready, kind by kind: rules only, from the object as the API server shows it.
//!
//! [`super::progress`] asks for every object it sees. A kind without a rule is ready as soon as it is there.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::domain::resource::ObjectKey;

/// What an object's own status says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing more to wait for.
    Ready,
    /// Not ready, and this is missing.
    Waiting(String),
    /// Not ready because of this; it may heal.
    Trouble(String),
    /// It will never be ready.
    Failed(String),
}

use Verdict::{Failed, Ready, Trouble, Waiting};

/// What a pod that is not ready suffers from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Symptom {
    /// The container; empty for the pod itself.
    pub container: String,
    /// What is wrong at the moment. `None`: nothing to be seen, but not healed either, as between two crashes.
    pub wrong: Option<String>,
}

type Rule = fn(&DynamicObject) -> Verdict;

/// Whether objects of the kind become ready only some time after they were made.
pub(super) fn is_awaited(key: &ObjectKey) -> bool {
    rule(key).is_some()
}

/// Whether the object's kind makes pods whose troubles are its own.
pub(super) fn makes_pods(key: &ObjectKey) -> bool {
    matches!(key.group(), "apps" | "batch") || key.kind == "ReplicationController"
}

/// What the object's own status says.
pub(super) fn verdict(key: &ObjectKey, object: &DynamicObject) -> Verdict {
    rule(key).map_or(Ready, |rule| rule(object))
}

fn rule(key: &ObjectKey) -> Option<Rule> {
    Some(match (key.group(), key.kind.as_str()) {
        ("apps", "Deployment") => deployment,
        ("apps", "StatefulSet") => stateful_set,
        ("apps", "DaemonSet") => daemon_set,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set,
        ("batch", "Job") => job,
        ("", "Pod") => pod,
        ("", "PersistentVolumeClaim") => claim,
        ("", "PersistentVolume") => volume,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition,
        ("apiregistration.k8s.io", "APIService") => |object| by_condition(object, "Available"),
        // Kubernetes' own groups have no dot or end like this; the others are of custom resources.
        (group, _) if group.contains('.') && !group.ends_with(".k8s.io") => custom,
        _ => return None,
    })
}

fn deployment(object: &DynamicObject) -> Verdict {
    if unseen(object) {
        return Waiting(UNSEEN.to_owned());
    }
    let wanted = wanted(object);
    let [all, updated, available] = ["replicas", "updatedReplicas", "availableReplicas"].map(|it| count(object, it));
    if [all, updated, available] == [wanted; 3] {
        return Ready;
    }
    failing(object, "ReplicaFailure", "True")
        .or_else(|| failing(object, "Progressing", "False"))
        .map_or_else(|| rollout(available, wanted, updated, all), Trouble)
}

fn stateful_set(object: &DynamicObject) -> Verdict {
    if unseen(object) {
        return Waiting(UNSEEN.to_owned());
    }
    let wanted = wanted(object);
    let [all, updated, ready] = ["replicas", "updatedReplicas", "readyReplicas"].map(|it| count(object, it));
    // Absent before Kubernetes 1.22.
    let available = object.data.pointer("/status/availableReplicas").and_then(Value::as_i64).unwrap_or(ready);
    let kept = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let rolled_out = match text(object, "/spec/updateStrategy/type") {
        // The pods are replaced when somebody deletes them, which may be never.
        "OnDelete" => true,
        _ if kept > 0 => updated >= (wanted - kept).max(0),
        _ => text(object, "/status/currentRevision") == text(object, "/status/updateRevision"),
    };
    if rolled_out && [all, ready, available] == [wanted; 3] { Ready } else { rollout(available, wanted, updated, all) }
}

fn daemon_set(object: &DynamicObject) -> Verdict {
    if unseen(object) {
        return Waiting(UNSEEN.to_owned());
    }
    let [wanted, updated, available] =
        ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"].map(|it| count(object, it));
    let rolled_out = updated == wanted || text(object, "/spec/updateStrategy/type") == "OnDelete";
    if rolled_out && available == wanted {
        return Ready;
    }
    Waiting(format!("{available} of {wanted} pods available, {updated} of the present revision"))
}

fn replica_set(object: &DynamicObject) -> Verdict {
    if unseen(object) {
        return Waiting(UNSEEN.to_owned());
    }
    let wanted = wanted(object);
    let [all, available] = ["replicas", "availableReplicas"].map(|it| count(object, it));
    if [all, available] == [wanted; 2] {
        return Ready;
    }
    failing(object, "ReplicaFailure", "True").map_or_else(|| rollout(available, wanted, all, all), Trouble)
}

fn job(object: &DynamicObject) -> Verdict {
    if let Some(text) = failing(object, "Failed", "True") {
        return Failed(text);
    }
    let suspended = object.data.pointer("/spec/suspend") == Some(&Value::Bool(true));
    if suspended || holds(object, "Complete") {
        return Ready;
    }
    let [succeeded, failed] = ["succeeded", "failed"].map(|it| count(object, it));
    Waiting(format!("not complete: {succeeded} pods succeeded, {failed} failed"))
}

fn pod(object: &DynamicObject) -> Verdict {
    match text(object, "/status/phase") {
        "Succeeded" => Ready,
        "Failed" => Failed(format!("the pod failed: {}", end_of(object))),
        _ if holds(object, "Ready") => Ready,
        phase => Waiting(format!("phase {phase}")),
    }
}

fn claim(object: &DynamicObject) -> Verdict {
    match text(object, "/status/phase") {
        "Bound" => Ready,
        "Lost" => Trouble("the volume it was bound to is gone".to_owned()),
        phase => Waiting(format!("phase {phase}")),
    }
}

fn volume(object: &DynamicObject) -> Verdict {
    match text(object, "/status/phase") {
        "Available" | "Bound" => Ready,
        "Failed" => Trouble(said(text(object, "/status/reason"), text(object, "/status/message"))),
        phase => Waiting(format!("phase {phase}")),
    }
}

fn definition(object: &DynamicObject) -> Verdict {
    if let Some(text) = failing(object, "NamesAccepted", "False") {
        return Trouble(text);
    }
    if holds(object, "NamesAccepted") { by_condition(object, "Established") } else { Waiting(UNSEEN.to_owned()) }
}

/// As kstatus has it: an object without conditions is taken to be ready.
fn custom(object: &DynamicObject) -> Verdict {
    let observed = object.data.pointer("/status/observedGeneration").is_some();
    if observed && unseen(object) {
        return Waiting(UNSEEN.to_owned());
    }
    if let Some(text) = failing(object, "Stalled", "True") {
        return Trouble(text);
    }
    match ["Ready", "Available"].into_iter().find(|kind| condition(object, kind).is_some()) {
        // Its controller is at work on it: False is no trouble by itself.
        Some(kind) => match by_condition(object, kind) {
            Trouble(text) => Waiting(text),
            other => other,
        },
        None => Ready,
    }
}

/// What keeps a pod from being ready: one entry per container that is not, and one for the pod if it found no node.
pub(super) fn symptoms(pod: &DynamicObject) -> Vec<Symptom> {
    let mut symptoms = Vec::new();
    if let Some((status, "Unschedulable", message)) = condition(pod, "PodScheduled")
        && status == "False"
    {
        let wrong = Some(format!("no node takes it (Unschedulable): {message}"));
        symptoms.push(Symptom { container: String::new(), wrong });
    }
    for status in ["/status/initContainerStatuses", "/status/containerStatuses"].iter().flat_map(|it| list(pod, it)) {
        let done = status.pointer("/state/terminated/exitCode").is_some_and(|code| code == 0);
        if status.get("ready") == Some(&Value::Bool(true)) || done {
            continue;
        }
        let container = string(status, "/name").to_owned();
        // The two reasons that say no more than "not yet".
        let wrong = match string(status, "/state/waiting/reason") {
            "" | "ContainerCreating" | "PodInitializing" => None,
            reason => {
                Some(format!("container {container}: {}", said(reason, string(status, "/state/waiting/message"))))
            }
        };
        symptoms.push(Symptom { container, wrong });
    }
    symptoms
}

/// Why a pod that has no symptom is not ready yet.
pub(super) fn unready(pod: &DynamicObject) -> String {
    match condition(pod, "Ready") {
        Some((_, reason, message)) => said(reason, message),
        None => format!("phase {}", text(pod, "/status/phase")),
    }
}

/// Whether the pod has run to its end, well or not.
pub(super) fn has_ended(pod: &DynamicObject) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// A text of the object, or nothing.
pub(super) fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    string(&object.data, pointer)
}

/// A reason and its message.
pub(super) fn said(reason: &str, message: &str) -> String {
    match (reason, message) {
        ("", "") => "no reason given".to_owned(),
        (one, "") | ("", one) => one.to_owned(),
        _ => format!("{reason}: {message}"),
    }
}

const UNSEEN: &str = "its controller has not seen it yet";

fn rollout(available: i64, wanted: i64, updated: i64, all: i64) -> Verdict {
    let mut text = format!("{available} of {wanted} replicas available");
    if updated < wanted {
        text = format!("{text}, {updated} of the present revision");
    }
    if all > wanted {
        text = format!("{text}, {} more than wanted", all - wanted);
    }
    Waiting(text)
}

/// The status is of an older generation than the intent.
fn unseen(object: &DynamicObject) -> bool {
    number(object, "/status/observedGeneration") < object.metadata.generation.unwrap_or(0)
}

fn wanted(object: &DynamicObject) -> i64 {
    object.data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn by_condition(object: &DynamicObject, kind: &str) -> Verdict {
    match condition(object, kind) {
        Some(("True", ..)) => Ready,
        Some((_, reason, message)) => Trouble(format!("not {kind}: {}", said(reason, message))),
        None => Waiting(UNSEEN.to_owned()),
    }
}

fn holds(object: &DynamicObject, kind: &str) -> bool {
    condition(object, kind).is_some_and(|(status, ..)| status == "True")
}

/// What the condition says, if it has that status.
fn failing(object: &DynamicObject, kind: &str, status: &str) -> Option<String> {
    condition(object, kind).filter(|(is, ..)| *is == status).map(|(_, reason, message)| said(reason, message))
}

/// Status, reason and message of a condition.
fn condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let condition = list(object, "/status/conditions").find(|condition| string(condition, "/type") == kind)?;
    Some((string(condition, "/status"), string(condition, "/reason"), string(condition, "/message")))
}

/// How the containers of a failed pod ended.
fn end_of(pod: &DynamicObject) -> String {
    let ends = list(pod, "/status/containerStatuses").filter_map(|status| {
        let code = status.pointer("/state/terminated/exitCode")?.as_i64().filter(|code| *code != 0)?;
        Some(format!("container {} exited with {code}", string(status, "/name")))
    });
    let mut texts: Vec<String> = ends.collect();
    let own = said(text(pod, "/status/reason"), text(pod, "/status/message"));
    if texts.is_empty() {
        texts.push(own);
    }
    texts.join(", ")
}

fn list<'a>(object: &'a DynamicObject, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.data.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn count(object: &DynamicObject, name: &str) -> i64 {
    number(object, &format!("/status/{name}"))
}

fn number(object: &DynamicObject, pointer: &str) -> i64 {
    object.data.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn string<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
