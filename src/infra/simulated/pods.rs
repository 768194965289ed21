//! Pods of a simulated cluster: how they are made of a template, and what they show while they start and afterwards.

use std::time::Duration;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::script::{ANNOTATION, Fault};
use super::state::Place;

/// How long a pod takes to start, unless it is scripted to be slow.
const START: Duration = Duration::from_millis(300);
/// How often a container has ended that crashes.
const RESTARTS: u32 = 3;

/// Who makes a pod.
pub(super) struct Maker<'a> {
    /// The owner, as an entry of `ownerReferences`.
    pub owner: Value,
    /// A label that tells the revision of the template.
    pub revision: Option<(&'a str, &'a str)>,
    /// What the workload is scripted to do: its pods do it.
    pub script: Option<&'a str>,
}

/// The pod of that name of a template.
pub(super) fn of_template(template: &Value, maker: &Maker<'_>, place: &Place, uid: &str, now: OffsetDateTime) -> Value {
    let members = |name: &str| -> Map<String, Value> {
        let found = template.get("metadata").and_then(|metadata| metadata.get(name)?.as_object());
        found.cloned().unwrap_or_default()
    };
    let (mut labels, mut annotations) = (members("labels"), members("annotations"));
    if let Some((name, value)) = maker.revision {
        labels.insert(name.to_owned(), value.into());
    }
    if let Some(script) = maker.script.filter(|_| !annotations.contains_key(ANNOTATION)) {
        annotations.insert(ANNOTATION.to_owned(), script.into());
    }
    let mut spec = template.get("spec").cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(spec) = &mut spec {
        spec.entry("restartPolicy").or_insert_with(|| "Always".into());
        spec.insert("nodeName".to_owned(), "simulated".into());
    }
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": spec,
        "metadata": {
            "name": place.name, "namespace": place.namespace, "uid": uid, "creationTimestamp": text(now),
            "labels": labels, "annotations": annotations, "ownerReferences": [maker.owner],
        },
    });
    pod["status"] = starting(&pod, now);
    pod
}

/// When a pod has started that is made now.
pub(super) fn start_ends(pod: &Value, now: OffsetDateTime) -> OffsetDateTime {
    match Fault::of_pod(pod) {
        Some(Fault::Slow(time)) => now + time,
        _ => now + START,
    }
}

/// The status of a pod that starts.
pub(super) fn starting(pod: &Value, now: OffsetDateTime) -> Value {
    let waiting = json!({ "waiting": { "reason": "ContainerCreating" } });
    let containers = containers(pod, |_| json!({ "ready": false, "restartCount": 0, "state": waiting }));
    status("Pending", false, &containers, &names(pod), now)
}

/// The status of a pod that has started, or has failed to.
pub(super) fn started(pod: &Value, now: OffsetDateTime) -> Value {
    let restarts = |policy: &str| pod.pointer("/spec/restartPolicy").and_then(Value::as_str) == Some(policy);
    let is_of_job = pod.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str) == Some("Job");
    let since = text(now);
    let (phase, is_ready, states) = match Fault::of_pod(pod) {
        Some(Fault::PullFailure) => (
            "Pending",
            false,
            containers(pod, |image| {
                let message =
                    format!("Back-off pulling image \"{image}\": ErrImagePull: simulated: \"{image}\" not found");
                json!({ "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ImagePullBackOff", "message": message } } })
            }),
        ),
        Some(Fault::Crash) => (
            "Running",
            false,
            containers(pod, |_| {
                json!({
                    "ready": false, "restartCount": RESTARTS,
                    "state": { "waiting": { "reason": "CrashLoopBackOff",
                        "message": "back-off 40s restarting failed container (simulated)" } },
                    "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "finishedAt": since } },
                })
            }),
        ),
        Some(Fault::NeverReady) => (
            "Running",
            false,
            containers(pod, |_| {
                json!({
            "ready": false, "restartCount": 0, "started": true, "state": { "running": { "startedAt": since } } })
            }),
        ),
        _ if is_of_job && !restarts("Always") => (
            "Succeeded",
            false,
            containers(pod, |_| {
                json!({
            "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": 0, "reason": "Completed", "finishedAt": since } } })
            }),
        ),
        _ => (
            "Running",
            true,
            containers(pod, |_| {
                json!({
            "ready": true, "restartCount": 0, "started": true, "state": { "running": { "startedAt": since } } })
            }),
        ),
    };
    status(phase, is_ready, &states, &names(pod), now)
}

/// What a container has written.
pub(super) fn log(pod: &Value) -> &'static str {
    match Fault::of_pod(pod) {
        Some(Fault::Crash) => "simulated: the container ends with exit code 1, as it is scripted to\n",
        _ => "simulated: nothing runs in this container\n",
    }
}

fn status(phase: &str, is_ready: bool, containers: &Value, names: &str, now: OffsetDateTime) -> Value {
    let since = text(now);
    let ready = if is_ready {
        json!({ "type": "Ready", "status": "True", "lastTransitionTime": since })
    } else {
        let message = format!("containers with unready status: [{names}]");
        json!({ "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": message, "lastTransitionTime": since })
    };
    let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": since });
    json!({ "phase": phase, "conditions": [scheduled, ready], "containerStatuses": containers, "startTime": since })
}

/// A status of each container of a pod, from its image.
fn containers(pod: &Value, state: impl Fn(&str) -> Value) -> Value {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let statuses = containers.map(|container| {
        let member = |name: &str| container.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut status = state(member("image"));
        status["name"] = member("name").into();
        status["image"] = member("image").into();
        status
    });
    statuses.collect()
}

fn names(pod: &Value) -> String {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    containers.filter_map(|container| container.get("name")?.as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether the pod is ready.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions
        .filter(|it| it.get("type").is_some_and(|kind| kind == "Ready"))
        .any(|it| it.get("status").is_some_and(|it| it == "True"))
}

/// Whether the pod has done its work.
pub(super) fn has_succeeded(pod: &Value) -> bool {
    pod.pointer("/status/phase").is_some_and(|phase| phase == "Succeeded")
}

/// A time as Kubernetes writes it.
pub(super) fn text(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}
