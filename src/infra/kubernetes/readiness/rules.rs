//! Readiness rules: when an object counts as ready, kind by kind, from the object as the API server shows it.
//!
//! A new rule is a function here and a row in [`rule_for`]. The row for a kind of a custom resource must stand before the generic
//! row for `custom_resource`. If the pods of the kind count, add the kind to [`makes_pods`] and [`wanted_pods`] too. An object of
//! a kind without a rule is ready as soon as it exists.

use kube::api::DynamicObject;
use serde_json::Value;

use super::super::fields::{condition, explanation, is_true, number, text};
use super::pods::failure_reason;
use crate::domain::resource::ObjectKey;

/// What an object's own status says.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum ObjectStatus {
    /// Ready.
    Ready,
    /// Not ready yet; the text says what is missing.
    InProgress(String),
    /// Not ready because of this fault, which may heal.
    Faulty(String),
    /// It will never be ready.
    Failed(String),
}

use ObjectStatus::{Failed, Faulty, InProgress, Ready};

type Rule = fn(&DynamicObject) -> ObjectStatus;

fn rule_for(key: &ObjectKey) -> Option<Rule> {
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
        // Groups of Kubernetes have no dot or end with `.k8s.io`; all others are groups of custom resources. This row stays last.
        (group, _) if group.contains('.') && !group.ends_with(".k8s.io") => custom_resource,
        _ => return None,
    })
}

/// Whether objects of the kind may become ready some time after they were created.
pub(in super::super) fn has_rule(key: &ObjectKey) -> bool {
    rule_for(key).is_some()
}

/// What the object's own status says by the rule of its kind.
pub(in super::super) fn object_status(key: &ObjectKey, object: &DynamicObject) -> ObjectStatus {
    rule_for(key).map_or(Ready, |rule| rule(object))
}

/// Whether objects of the kind create pods whose faults count as faults of the object.
pub(in super::super) fn makes_pods(key: &ObjectKey) -> bool {
    matches!(key.group(), "apps" | "batch") || key.kind == "ReplicationController"
}

/// How many ready pods a ready workload has; `None` for other kinds.
pub(super) fn wanted_pods(key: &ObjectKey, object: &DynamicObject) -> Option<usize> {
    let wanted = match (key.group(), key.kind.as_str()) {
        ("apps", "DaemonSet") => count(object, "desiredNumberScheduled"),
        ("apps", "Deployment") if is_paused(object) => count(object, "replicas"),
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") | ("", "ReplicationController") => {
            wanted_replicas(object)
        }
        _ => return None,
    };
    wanted.try_into().ok()
}

fn deployment(object: &DynamicObject) -> ObjectStatus {
    if is_unobserved(object) {
        return InProgress(UNOBSERVED.to_owned());
    }
    let wanted = wanted_replicas(object);
    let [all, updated, available] = ["replicas", "updatedReplicas", "availableReplicas"].map(|it| count(object, it));
    if [all, updated, available] == [wanted; 3] {
        return Ready;
    }
    if is_paused(object) {
        // Nobody but a person can make it go on. What it has must run; it has nothing if it was paused from the beginning.
        return match all == available && (all == wanted || all == 0) {
            true => Ready,
            false => InProgress(format!("{available} of {wanted} replicas available, and it is paused (spec.paused)")),
        };
    }
    fault(object, "ReplicaFailure", "True")
        .or_else(|| fault(object, "Progressing", "False"))
        .map_or_else(|| replicas_in_progress(available, wanted, updated, all), Faulty)
}

fn stateful_set(object: &DynamicObject) -> ObjectStatus {
    if is_unobserved(object) {
        return InProgress(UNOBSERVED.to_owned());
    }
    let wanted = wanted_replicas(object);
    let [all, updated, ready] = ["replicas", "updatedReplicas", "readyReplicas"].map(|it| count(object, it));
    // Absent before Kubernetes 1.22.
    let available = object.data.pointer("/status/availableReplicas").and_then(Value::as_i64).unwrap_or(ready);
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let is_rolled_out = match text(object, "/spec/updateStrategy/type") {
        // The set replaces a pod only after somebody deletes the pod, and nobody may ever do so.
        "OnDelete" => true,
        _ if partition > 0 => updated >= (wanted - partition).max(0),
        _ => text(object, "/status/currentRevision") == text(object, "/status/updateRevision"),
    };
    if is_rolled_out && [all, ready, available] == [wanted; 3] {
        return Ready;
    }
    replicas_in_progress(available, wanted, updated, all)
}

fn daemon_set(object: &DynamicObject) -> ObjectStatus {
    if is_unobserved(object) {
        return InProgress(UNOBSERVED.to_owned());
    }
    let [wanted, updated, available] =
        ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"].map(|it| count(object, it));
    let is_rolled_out = updated == wanted || text(object, "/spec/updateStrategy/type") == "OnDelete";
    if is_rolled_out && available == wanted {
        return Ready;
    }
    InProgress(format!("{available} of {wanted} pods available, {updated} of the present revision"))
}

fn replica_set(object: &DynamicObject) -> ObjectStatus {
    if is_unobserved(object) {
        return InProgress(UNOBSERVED.to_owned());
    }
    let wanted = wanted_replicas(object);
    let [all, available] = ["replicas", "availableReplicas"].map(|it| count(object, it));
    if [all, available] == [wanted; 2] {
        return Ready;
    }
    fault(object, "ReplicaFailure", "True").map_or_else(|| replicas_in_progress(available, wanted, all, all), Faulty)
}

fn job(object: &DynamicObject) -> ObjectStatus {
    if let Some(text) = fault(object, "Failed", "True") {
        return Failed(text);
    }
    let is_suspended = object.data.pointer("/spec/suspend") == Some(&Value::Bool(true));
    // With no pod at a time it does nothing until somebody raises the number, as if it were suspended.
    let is_held = object.data.pointer("/spec/parallelism").and_then(Value::as_i64) == Some(0);
    if is_suspended || is_held || is_true(object, "Complete") {
        return Ready;
    }
    let [succeeded, failed] = ["succeeded", "failed"].map(|it| count(object, it));
    InProgress(format!("not complete: {succeeded} pods succeeded, {failed} failed"))
}

fn pod(object: &DynamicObject) -> ObjectStatus {
    match text(object, "/status/phase") {
        "Succeeded" => Ready,
        "Failed" => Failed(format!("the pod failed: {}", failure_reason(object))),
        _ if is_true(object, "Ready") => Ready,
        phase => InProgress(format!("phase {phase}")),
    }
}

fn claim(object: &DynamicObject) -> ObjectStatus {
    match text(object, "/status/phase") {
        "Bound" => Ready,
        "Lost" => Faulty("the volume it was bound to is gone".to_owned()),
        phase => InProgress(format!("phase {phase}")),
    }
}

fn volume(object: &DynamicObject) -> ObjectStatus {
    match text(object, "/status/phase") {
        "Available" | "Bound" => Ready,
        "Failed" => Faulty(explanation(text(object, "/status/reason"), text(object, "/status/message"))),
        "Released" => Faulty(
            "it still belongs to a claim that is gone (phase Released): delete the volume, or remove its spec.claimRef"
                .to_owned(),
        ),
        phase => InProgress(format!("phase {phase}")),
    }
}

fn definition(object: &DynamicObject) -> ObjectStatus {
    if let Some(text) = fault(object, "NamesAccepted", "False") {
        return Faulty(text);
    }
    match is_true(object, "NamesAccepted") {
        true => by_condition(object, "Established"),
        false => InProgress(UNOBSERVED.to_owned()),
    }
}

/// An object without conditions counts as ready, as in the library kstatus.
fn custom_resource(object: &DynamicObject) -> ObjectStatus {
    let has_generation = object.data.pointer("/status/observedGeneration").is_some();
    if has_generation && is_unobserved(object) {
        return InProgress(UNOBSERVED.to_owned());
    }
    if let Some(text) = fault(object, "Stalled", "True") {
        return Faulty(text);
    }
    match ["Ready", "Available"].into_iter().find(|kind| condition(object, kind).is_some()) {
        // The controller may still work on the object, so `False` alone is no fault.
        Some(kind) => match by_condition(object, kind) {
            Faulty(text) => InProgress(text),
            other => other,
        },
        None => Ready,
    }
}

const UNOBSERVED: &str = "its controller has not seen it yet";

/// Whether a Deployment rolls nothing out until somebody resumes it.
pub(super) fn is_paused(object: &DynamicObject) -> bool {
    object.data.pointer("/spec/paused") == Some(&Value::Bool(true))
}

/// Whether the status belongs to an older generation than the spec.
fn is_unobserved(object: &DynamicObject) -> bool {
    number(object, "/status/observedGeneration") < object.metadata.generation.unwrap_or(0)
}

fn replicas_in_progress(available: i64, wanted: i64, updated: i64, all: i64) -> ObjectStatus {
    let mut text = format!("{available} of {wanted} replicas available");
    if updated < wanted {
        text = format!("{text}, {updated} of the present revision");
    }
    if all > wanted {
        text = format!("{text}, {} more than wanted", all - wanted);
    }
    InProgress(text)
}

fn wanted_replicas(object: &DynamicObject) -> i64 {
    object.data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn by_condition(object: &DynamicObject, kind: &str) -> ObjectStatus {
    match condition(object, kind) {
        Some(condition) if condition.status == "True" => Ready,
        Some(condition) => Faulty(format!("not {kind}: {}", condition.explanation())),
        None => InProgress(UNOBSERVED.to_owned()),
    }
}

/// The explanation of the condition of type `kind`, if it has that status.
fn fault(object: &DynamicObject, kind: &str, status: &str) -> Option<String> {
    condition(object, kind).filter(|it| it.status == status).map(|it| it.explanation())
}

fn count(object: &DynamicObject, name: &str) -> i64 {
    number(object, &format!("/status/{name}"))
}

#[cfg(test)]
mod tests;
