//! Pods: whether one counts, whether it is ready, and what is wrong with it.

use kube::api::DynamicObject;
use serde_json::Value;

use super::super::fields::{condition, condition_since, explanation, is_true, list, text, value_text};
use super::causes::Cause;

/// A container of a pod that is not ready.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct ContainerFault {
    /// The container; empty for the pod itself.
    pub container: String,
    /// What is wrong at the moment. `None`: nothing shows, but the container is not ready either, as while it starts again.
    pub reason: Option<String>,
    /// Whether it passes by itself. `None`: as before.
    pub cause: Option<Cause>,
    /// A time since which it lasts at most, in RFC 3339; empty if the pod does not say.
    pub since: String,
}

/// The containers of a pod that are not ready, and the pod itself if no node has room for it.
pub(in super::super) fn container_faults(pod: &DynamicObject) -> Vec<ContainerFault> {
    let mut faults = Vec::new();
    if let Some(scheduled) = condition(pod, "PodScheduled")
        && (scheduled.status, scheduled.reason) == ("False", "Unschedulable")
    {
        let reason = Some(format!("no node takes it (Unschedulable): {}", scheduled.message));
        let since = condition_since(pod, "PodScheduled").to_owned();
        faults.push(ContainerFault { container: String::new(), reason, cause: Some(Cause::Passing), since });
    }
    let unready_since = condition_since(pod, "Ready");
    let is_restarted = text(pod, "/spec/restartPolicy") == "Always";
    let init = list(pod, "/status/initContainerStatuses").map(|status| (status, false));
    for (status, is_restarted) in init.chain(list(pod, "/status/containerStatuses").map(|it| (it, is_restarted))) {
        let is_ready = status.get("ready") == Some(&Value::Bool(true));
        if is_ready || (has_succeeded(status) && !is_restarted) {
            continue;
        }
        let container = value_text(status, "/name").to_owned();
        let (reason, cause) = match value_text(status, "/state/waiting/reason") {
            "" => ended(status)
                .map_or((None, None), |(text, cause)| (Some(format!("container {container}: {text}")), Some(cause))),
            // Every container waits for these two at first.
            "ContainerCreating" | "PodInitializing" => (None, None),
            reason => {
                let message = value_text(status, "/state/waiting/message");
                let last_end = value_text(status, "/lastState/terminated/reason");
                let cause = Cause::of_waiting_container(reason, message, last_end);
                (Some(format!("container {container}: {}", explanation(reason, message))), cause)
            }
        };
        faults.push(ContainerFault { container, reason, cause, since: unready_since.to_owned() });
    }
    faults
}

/// How a container ended that its kubelet will start again, until that waits for the end of its back-off.
fn ended(container_status: &Value) -> Option<(String, Cause)> {
    let code = container_status.pointer("/state/terminated/exitCode")?.as_i64()?;
    let reason = value_text(container_status, "/state/terminated/reason");
    let text = explanation(reason, &format!("it ended with exit code {code}"));
    Some((text, Cause::of_waiting_container("CrashLoopBackOff", "", reason)?))
}

/// Whether a container, by its status, has ended without an error.
pub(in super::super) fn has_succeeded(container_status: &Value) -> bool {
    container_status.pointer("/state/terminated/exitCode").is_some_and(|code| code == 0)
}

/// Why a pod without a container fault is not ready yet.
pub(in super::super) fn unready_reason(pod: &DynamicObject) -> String {
    match condition(pod, "Ready") {
        Some(ready) => ready.explanation(),
        None => format!("phase {}", text(pod, "/status/phase")),
    }
}

/// Whether the pod is ready.
pub(super) fn is_ready(pod: &DynamicObject) -> bool {
    is_true(pod, "Ready")
}

/// Since when the pod is not ready, in RFC 3339; empty if it is ready or does not say.
pub(super) fn unready_since(pod: &DynamicObject) -> &str {
    if is_ready(pod) { "" } else { condition_since(pod, "Ready") }
}

/// A running container that no probe declares ready.
pub(super) struct UnprobedContainer<'a> {
    pub name: &'a str,
    /// The number of its restarts.
    pub restarts: i64,
    /// When it started, in RFC 3339, by the clock of its node.
    pub started: &'a str,
}

/// The containers of the pod, sidecars included, without a readiness or startup probe. `None`: one of them does not run.
pub(super) fn unprobed_containers(pod: &DynamicObject) -> Option<Vec<UnprobedContainer<'_>>> {
    let has_probe = |it: &Value| it.get("readinessProbe").is_some() || it.get("startupProbe").is_some();
    let sidecars =
        list(pod, "/spec/initContainers").filter(|it| value_text(it, "/restartPolicy") == "Always" && !has_probe(it));
    let unprobed = list(pod, "/spec/containers").filter(|it| !has_probe(it)).chain(sidecars);
    let names: Vec<&str> = unprobed.map(|it| value_text(it, "/name")).collect();
    let statuses = || {
        let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
        statuses.into_iter().flat_map(|it| list(pod, it))
    };
    let running = |name| {
        let status = statuses().find(|status| value_text(status, "/name") == name)?;
        status.pointer("/state/running")?;
        let restarts = status.get("restartCount").and_then(Value::as_i64).unwrap_or(0);
        Some(UnprobedContainer { name, restarts, started: value_text(status, "/state/running/startedAt") })
    };
    names.into_iter().map(running).collect()
}

/// Whether the pod has run to its end, with or without an error.
pub(in super::super) fn has_ended(pod: &DynamicObject) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether the pod counts: it is not being deleted, and has not ended. Its controller replaces the others.
pub(super) fn is_active(pod: &DynamicObject) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !has_ended(pod)
}

/// Why a failed pod failed: the exit codes of its containers, or the pod's own reason.
pub(super) fn failure_reason(pod: &DynamicObject) -> String {
    let exits: Vec<String> = list(pod, "/status/containerStatuses")
        .filter_map(|status| {
            let code = status.pointer("/state/terminated/exitCode")?.as_i64().filter(|code| *code != 0)?;
            Some(format!("container {} exited with {code}", value_text(status, "/name")))
        })
        .collect();
    if exits.is_empty() {
        return explanation(text(pod, "/status/reason"), text(pod, "/status/message"));
    }
    exits.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(status: Value) -> Vec<(String, Option<String>)> {
        let pod = serde_json::from_value(json!({ "metadata": { "name": "x" }, "status": status })).unwrap();
        container_faults(&pod).into_iter().map(|fault| (fault.container, fault.reason)).collect()
    }

    #[test]
    fn names_what_keeps_each_container_from_being_ready() {
        let waiting = |reason: &str| json!({ "name": "c", "ready": false, "state": { "waiting": { "reason": reason, "message": "m" } } });
        for reason in ["ContainerCreating", "PodInitializing"] {
            assert_eq!(faults(json!({ "containerStatuses": [waiting(reason)] })), [("c".to_owned(), None)]);
        }
        let reasons =
            ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CrashLoopBackOff", "CreateContainerConfigError"];
        for reason in reasons {
            let fault = ("c".to_owned(), Some(format!("container c: {reason}: m")));
            assert_eq!(faults(json!({ "containerStatuses": [waiting(reason)] })), std::slice::from_ref(&fault));
            assert_eq!(faults(json!({ "initContainerStatuses": [waiting(reason)] })), [fault]);
        }
        let healthy = json!({ "name": "c", "ready": true, "state": { "running": {} } });
        let done = json!({ "name": "i", "ready": false, "state": { "terminated": { "exitCode": 0 } } });
        assert_eq!(faults(json!({ "initContainerStatuses": [done], "containerStatuses": [healthy] })), []);
        let running = json!({ "name": "c", "ready": false, "state": { "running": {} } });
        assert_eq!(faults(json!({ "containerStatuses": [running] })), [("c".to_owned(), None)]);
        let ended =
            json!({ "name": "c", "ready": false, "state": { "terminated": { "exitCode": 3, "reason": "Error" } } });
        let fault = ("c".to_owned(), Some("container c: Error: it ended with exit code 3".to_owned()));
        assert_eq!(faults(json!({ "containerStatuses": [ended] })), [fault]);
    }

    #[test]
    fn the_end_of_a_process_that_should_run_for_ever_is_a_fault() {
        let ended =
            json!({ "name": "c", "ready": false, "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } });
        let faults = |policy: &str| {
            let pod = json!({
                "metadata": { "name": "x" }, "spec": { "restartPolicy": policy },
                "status": { "containerStatuses": [ended] },
            });
            container_faults(&serde_json::from_value(pod).unwrap()).len()
        };
        assert_eq!((faults("Always"), faults("OnFailure"), faults("Never")), (1, 0, 0));
    }

    #[test]
    fn names_a_pod_that_no_node_takes() {
        let scheduled = |reason: &str| json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes" }] });
        let text = "no node takes it (Unschedulable): 0/3 nodes".to_owned();
        assert_eq!(faults(scheduled("Unschedulable")), [(String::new(), Some(text))]);
        assert_eq!(faults(scheduled("SchedulingGated")), []);
    }
}
