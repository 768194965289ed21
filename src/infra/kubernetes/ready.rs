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

/// Whether the pod is ready.
pub(super) fn is_ready(pod: &DynamicObject) -> bool {
    holds(pod, "Ready")
}

/// How many ready pods a workload has that is ready itself; `None` for other kinds.
pub(super) fn pods_wanted(key: &ObjectKey, object: &DynamicObject) -> Option<usize> {
    let wanted = match (key.group(), key.kind.as_str()) {
        ("apps", "DaemonSet") => count(object, "desiredNumberScheduled"),
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") | ("", "ReplicationController") => wanted(object),
        _ => return None,
    };
    wanted.try_into().ok()
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

/// The elements of an array of the object, or none.
pub(super) fn list<'a>(object: &'a DynamicObject, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.data.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn count(object: &DynamicObject, name: &str) -> i64 {
    number(object, &format!("/status/{name}"))
}

fn number(object: &DynamicObject, pointer: &str) -> i64 {
    object.data.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A text of the value, or nothing.
pub(super) fn string<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: Value, status: Value) -> DynamicObject {
        let object = json!({ "metadata": { "name": "x", "generation": 2 }, "spec": spec, "status": status });
        serde_json::from_value(object).unwrap()
    }

    /// One letter for the verdict, then its words.
    fn told(api_version: &str, kind: &str, spec: Value, status: Value) -> String {
        let key = ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "x".to_owned() };
        assert!(is_awaited(&key));
        match verdict(&key, &object(spec, status)) {
            Ready => "R".to_owned(),
            Waiting(text) => format!("W {text}"),
            Trouble(text) => format!("T {text}"),
            Failed(text) => format!("F {text}"),
        }
    }

    #[test]
    fn kinds_that_only_have_to_be_there_are_not_awaited() {
        let kinds = [
            ("v1", "Namespace"),
            ("v1", "Service"),
            ("v1", "ConfigMap"),
            ("batch/v1", "CronJob"),
            ("networking.k8s.io/v1", "Ingress"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("policy/v1", "PodDisruptionBudget"),
        ];
        for (api_version, kind) in kinds {
            let key = ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "x".to_owned() };
            assert!(!is_awaited(&key), "{key}");
            assert_eq!(verdict(&key, &object(json!({}), json!({}))), Ready);
        }
    }

    #[test]
    fn deployments() {
        let told = |replicas: Value, status| told("apps/v1", "Deployment", json!({ "replicas": replicas }), status);
        let status = |all: i64, updated: i64, available: i64| json!({ "observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available });
        assert_eq!(told(json!(3), json!(null)), "W its controller has not seen it yet");
        assert_eq!(
            told(json!(3), json!({ "observedGeneration": 1, "replicas": 3 })),
            "W its controller has not seen it yet"
        );
        assert_eq!(told(json!(3), status(3, 3, 3)), "R");
        assert_eq!(told(json!(null), status(1, 1, 1)), "R");
        assert_eq!(told(json!(0), json!({ "observedGeneration": 2 })), "R");
        assert_eq!(told(json!(0), status(1, 1, 1)), "W 1 of 0 replicas available, 1 more than wanted");
        assert_eq!(told(json!(3), status(3, 3, 2)), "W 2 of 3 replicas available");
        assert_eq!(told(json!(3), status(4, 3, 3)), "W 3 of 3 replicas available, 1 more than wanted");
        assert_eq!(told(json!(3), status(3, 1, 3)), "W 3 of 3 replicas available, 1 of the present revision");
        let mut denied = status(0, 0, 0);
        denied["conditions"] = json!([
            { "type": "Progressing", "status": "True" },
            { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota" },
        ]);
        assert_eq!(told(json!(3), denied), "T FailedCreate: exceeded quota");
        let mut late = status(3, 3, 2);
        late["conditions"] =
            json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
        assert_eq!(told(json!(3), late.clone()), "T ProgressDeadlineExceeded");
        late["observedGeneration"] = json!(1);
        assert_eq!(told(json!(3), late), "W its controller has not seen it yet");
    }

    #[test]
    fn stateful_sets() {
        let told = |strategy: Value, status| {
            told("apps/v1", "StatefulSet", json!({ "replicas": 3, "updateStrategy": strategy }), status)
        };
        let status = |ready: i64, updated: i64, revision: &str| {
            json!({
                "observedGeneration": 2, "replicas": 3, "readyReplicas": ready, "availableReplicas": ready,
                "updatedReplicas": updated, "currentRevision": "a", "updateRevision": revision,
            })
        };
        assert_eq!(told(json!({}), json!({})), "W its controller has not seen it yet");
        assert_eq!(told(json!({}), status(3, 3, "a")), "R");
        assert_eq!(told(json!({}), status(2, 3, "a")), "W 2 of 3 replicas available");
        assert_eq!(told(json!({}), status(3, 1, "b")), "W 3 of 3 replicas available, 1 of the present revision");
        let partition = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
        assert_eq!(told(partition.clone(), status(3, 1, "b")), "R");
        assert_eq!(told(partition, status(3, 0, "b")), "W 3 of 3 replicas available, 0 of the present revision");
        assert_eq!(told(json!({ "type": "OnDelete" }), status(3, 0, "b")), "R");
        let mut old = status(3, 3, "a");
        old["availableReplicas"] = json!(null);
        assert_eq!(told(json!({}), old), "R");
        let mut surplus = status(3, 3, "a");
        surplus["replicas"] = json!(4);
        assert_eq!(told(json!({}), surplus), "W 3 of 3 replicas available, 1 more than wanted");
    }

    #[test]
    fn daemon_sets_and_replica_sets() {
        let daemon = |kind: &str, wanted: i64, updated: i64, available: i64| {
            let status = json!({
                "observedGeneration": 2, "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated,
                "numberAvailable": available,
            });
            told("apps/v1", "DaemonSet", json!({ "updateStrategy": { "type": kind } }), status)
        };
        assert_eq!(daemon("RollingUpdate", 3, 3, 3), "R");
        assert_eq!(daemon("RollingUpdate", 0, 0, 0), "R");
        assert_eq!(daemon("RollingUpdate", 3, 1, 3), "W 3 of 3 pods available, 1 of the present revision");
        assert_eq!(daemon("RollingUpdate", 3, 3, 2), "W 2 of 3 pods available, 3 of the present revision");
        assert_eq!(daemon("OnDelete", 3, 0, 3), "R");
        assert_eq!(told("apps/v1", "DaemonSet", json!({}), json!({})), "W its controller has not seen it yet");

        let set = |all: i64, available: i64| {
            let status = json!({ "observedGeneration": 2, "replicas": all, "availableReplicas": available });
            told("apps/v1", "ReplicaSet", json!({ "replicas": 2 }), status)
        };
        assert_eq!(set(2, 2), "R");
        assert_eq!(set(3, 2), "W 2 of 2 replicas available, 1 more than wanted");
        assert_eq!(set(2, 1), "W 1 of 2 replicas available");
    }

    #[test]
    fn jobs_and_pods() {
        let job = |spec, status| told("batch/v1", "Job", spec, status);
        let condition = |kind: &str| json!({ "conditions": [{ "type": kind, "status": "True", "reason": "Why" }] });
        assert_eq!(
            job(json!({}), json!({ "succeeded": 1, "failed": 2 })),
            "W not complete: 1 pods succeeded, 2 failed"
        );
        assert_eq!(job(json!({}), condition("Complete")), "R");
        assert_eq!(job(json!({}), condition("FailureTarget")), "W not complete: 0 pods succeeded, 0 failed");
        assert_eq!(job(json!({}), condition("Failed")), "F Why");
        assert_eq!(job(json!({ "suspend": true }), json!({})), "R");

        let pod = |status| told("v1", "Pod", json!({}), status);
        assert_eq!(pod(json!({ "phase": "Pending" })), "W phase Pending");
        assert_eq!(pod(json!({ "phase": "Running" })), "W phase Running");
        assert_eq!(pod(json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] })), "R");
        assert_eq!(pod(json!({ "phase": "Succeeded" })), "R");
        assert_eq!(
            pod(json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" })),
            "F the pod failed: Evicted: low on memory"
        );
        let ended = |code: i64| json!({ "name": format!("c{code}"), "state": { "terminated": { "exitCode": code } } });
        assert_eq!(
            pod(json!({ "phase": "Failed", "containerStatuses": [ended(0), ended(3)] })),
            "F the pod failed: container c3 exited with 3"
        );
    }

    #[test]
    fn volumes_and_claims() {
        let phase = |kind: &str, phase: &str| told("v1", kind, json!({}), json!({ "phase": phase, "reason": "Why" }));
        assert_eq!(phase("PersistentVolumeClaim", "Bound"), "R");
        assert_eq!(phase("PersistentVolumeClaim", "Pending"), "W phase Pending");
        assert_eq!(phase("PersistentVolumeClaim", "Lost"), "T the volume it was bound to is gone");
        assert_eq!(phase("PersistentVolume", "Available"), "R");
        assert_eq!(phase("PersistentVolume", "Bound"), "R");
        assert_eq!(phase("PersistentVolume", "Pending"), "W phase Pending");
        assert_eq!(phase("PersistentVolume", "Failed"), "T Why");
    }

    #[test]
    fn definitions_and_custom_resources() {
        let conditions = |conditions: &[(&str, &str)]| {
            let condition = |(kind, status): &(&str, &str)| json!({ "type": kind, "status": status, "reason": "Why" });
            json!({ "conditions": conditions.iter().map(condition).collect::<Vec<_>>() })
        };
        let definition =
            |it: &[_]| told("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({}), conditions(it));
        assert_eq!(definition(&[]), "W its controller has not seen it yet");
        assert_eq!(definition(&[("NamesAccepted", "True"), ("Established", "True")]), "R");
        assert_eq!(definition(&[("NamesAccepted", "True"), ("Established", "False")]), "T not Established: Why");
        assert_eq!(definition(&[("NamesAccepted", "False"), ("Established", "True")]), "T Why");
        let service = |it: &[_]| told("apiregistration.k8s.io/v1", "APIService", json!({}), conditions(it));
        assert_eq!(service(&[]), "W its controller has not seen it yet");
        assert_eq!(service(&[("Available", "True")]), "R");
        assert_eq!(service(&[("Available", "False")]), "T not Available: Why");

        let custom = |status| told("example.test/v1", "Gadget", json!({}), status);
        assert_eq!(custom(json!(null)), "R");
        assert_eq!(custom(conditions(&[("Other", "False")])), "R");
        assert_eq!(custom(conditions(&[("Ready", "True")])), "R");
        assert_eq!(custom(conditions(&[("Ready", "Unknown")])), "W not Ready: Why");
        assert_eq!(custom(conditions(&[("Available", "False")])), "W not Available: Why");
        assert_eq!(custom(conditions(&[("Ready", "False"), ("Stalled", "True")])), "T Why");
        let mut old = conditions(&[("Ready", "True")]);
        old["observedGeneration"] = json!(1);
        assert_eq!(custom(old), "W its controller has not seen it yet");
    }

    #[test]
    fn symptoms_of_a_pod() {
        let wrong = |status: Value| -> Vec<(String, Option<String>)> {
            symptoms(&object(json!({}), status)).into_iter().map(|it| (it.container, it.wrong)).collect()
        };
        let waits = |reason: &str| json!({ "name": "c", "ready": false, "state": { "waiting": { "reason": reason, "message": "m" } } });
        for reason in ["ContainerCreating", "PodInitializing"] {
            assert_eq!(wrong(json!({ "containerStatuses": [waits(reason)] })), [("c".to_owned(), None)]);
        }
        let reasons =
            ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CrashLoopBackOff", "CreateContainerConfigError"];
        for reason in reasons {
            let text = format!("container c: {reason}: m");
            assert_eq!(wrong(json!({ "containerStatuses": [waits(reason)] })), [("c".to_owned(), Some(text.clone()))]);
            assert_eq!(wrong(json!({ "initContainerStatuses": [waits(reason)] })), [("c".to_owned(), Some(text))]);
        }
        let healthy = json!({ "name": "c", "ready": true, "state": { "running": {} } });
        let done = json!({ "name": "i", "ready": false, "state": { "terminated": { "exitCode": 0 } } });
        assert_eq!(wrong(json!({ "initContainerStatuses": [done], "containerStatuses": [healthy] })), []);
        let running = json!({ "name": "c", "ready": false, "state": { "running": {} } });
        assert_eq!(wrong(json!({ "containerStatuses": [running] })), [("c".to_owned(), None)]);
        let scheduled = |reason: &str| json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes" }] });
        let text = "no node takes it (Unschedulable): 0/3 nodes".to_owned();
        assert_eq!(wrong(scheduled("Unschedulable")), [(String::new(), Some(text))]);
        assert_eq!(wrong(scheduled("SchedulingGated")), []);
    }
}
