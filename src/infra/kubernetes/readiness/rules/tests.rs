use serde_json::json;

use super::*;

fn object(spec: Value, status: Value) -> DynamicObject {
    let object = json!({ "metadata": { "name": "x", "generation": 2 }, "spec": spec, "status": status });
    serde_json::from_value(object).unwrap()
}

/// A letter for the status, then its text.
fn status_of(api_version: &str, kind: &str, spec: Value, status: Value) -> String {
    let key = ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "x".to_owned() };
    assert!(has_rule(&key));
    match object_status(&key, &object(spec, status)) {
        Ready => "R".to_owned(),
        InProgress(text) => format!("W {text}"),
        Faulty(text) => format!("T {text}"),
        Failed(text) => format!("F {text}"),
    }
}

#[test]
fn kinds_without_a_rule_are_ready_once_they_exist() {
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
        assert!(!has_rule(&key), "{key}");
        assert_eq!(object_status(&key, &object(json!({}), json!({}))), Ready);
    }
}

#[test]
fn rule_of_deployments() {
    let status_of =
        |replicas: Value, status| status_of("apps/v1", "Deployment", json!({ "replicas": replicas }), status);
    let status = |all: i64, updated: i64, available: i64| json!({ "observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available });
    assert_eq!(status_of(json!(3), json!(null)), "W its controller has not seen it yet");
    assert_eq!(
        status_of(json!(3), json!({ "observedGeneration": 1, "replicas": 3 })),
        "W its controller has not seen it yet"
    );
    assert_eq!(status_of(json!(3), status(3, 3, 3)), "R");
    assert_eq!(status_of(json!(null), status(1, 1, 1)), "R");
    assert_eq!(status_of(json!(0), json!({ "observedGeneration": 2 })), "R");
    assert_eq!(status_of(json!(0), status(1, 1, 1)), "W 1 of 0 replicas available, 1 more than wanted");
    assert_eq!(status_of(json!(3), status(3, 3, 2)), "W 2 of 3 replicas available");
    assert_eq!(status_of(json!(3), status(4, 3, 3)), "W 3 of 3 replicas available, 1 more than wanted");
    assert_eq!(status_of(json!(3), status(3, 1, 3)), "W 3 of 3 replicas available, 1 of the present revision");
    let mut denied = status(0, 0, 0);
    denied["conditions"] = json!([
        { "type": "Progressing", "status": "True" },
        { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota" },
    ]);
    assert_eq!(status_of(json!(3), denied), "T FailedCreate: exceeded quota");
    let mut late = status(3, 3, 2);
    late["conditions"] = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
    assert_eq!(status_of(json!(3), late.clone()), "T ProgressDeadlineExceeded");
    late["observedGeneration"] = json!(1);
    assert_eq!(status_of(json!(3), late), "W its controller has not seen it yet");
}

#[test]
fn rule_of_stateful_sets() {
    let status_of = |strategy: Value, status| {
        status_of("apps/v1", "StatefulSet", json!({ "replicas": 3, "updateStrategy": strategy }), status)
    };
    let status = |ready: i64, updated: i64, revision: &str| {
        json!({
            "observedGeneration": 2, "replicas": 3, "readyReplicas": ready, "availableReplicas": ready,
            "updatedReplicas": updated, "currentRevision": "a", "updateRevision": revision,
        })
    };
    assert_eq!(status_of(json!({}), json!({})), "W its controller has not seen it yet");
    assert_eq!(status_of(json!({}), status(3, 3, "a")), "R");
    assert_eq!(status_of(json!({}), status(2, 3, "a")), "W 2 of 3 replicas available");
    assert_eq!(status_of(json!({}), status(3, 1, "b")), "W 3 of 3 replicas available, 1 of the present revision");
    let partition = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    assert_eq!(status_of(partition.clone(), status(3, 1, "b")), "R");
    assert_eq!(status_of(partition, status(3, 0, "b")), "W 3 of 3 replicas available, 0 of the present revision");
    assert_eq!(status_of(json!({ "type": "OnDelete" }), status(3, 0, "b")), "R");
    let mut old = status(3, 3, "a");
    old["availableReplicas"] = json!(null);
    assert_eq!(status_of(json!({}), old), "R");
    let mut surplus = status(3, 3, "a");
    surplus["replicas"] = json!(4);
    assert_eq!(status_of(json!({}), surplus), "W 3 of 3 replicas available, 1 more than wanted");
}

#[test]
fn rules_of_daemon_sets_and_replica_sets() {
    let daemon = |kind: &str, wanted: i64, updated: i64, available: i64| {
        let status = json!({
            "observedGeneration": 2, "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated,
            "numberAvailable": available,
        });
        status_of("apps/v1", "DaemonSet", json!({ "updateStrategy": { "type": kind } }), status)
    };
    assert_eq!(daemon("RollingUpdate", 3, 3, 3), "R");
    assert_eq!(daemon("RollingUpdate", 0, 0, 0), "R");
    assert_eq!(daemon("RollingUpdate", 3, 1, 3), "W 3 of 3 pods available, 1 of the present revision");
    assert_eq!(daemon("RollingUpdate", 3, 3, 2), "W 2 of 3 pods available, 3 of the present revision");
    assert_eq!(daemon("OnDelete", 3, 0, 3), "R");
    assert_eq!(status_of("apps/v1", "DaemonSet", json!({}), json!({})), "W its controller has not seen it yet");

    let set = |all: i64, available: i64| {
        let status = json!({ "observedGeneration": 2, "replicas": all, "availableReplicas": available });
        status_of("apps/v1", "ReplicaSet", json!({ "replicas": 2 }), status)
    };
    assert_eq!(set(2, 2), "R");
    assert_eq!(set(3, 2), "W 2 of 2 replicas available, 1 more than wanted");
    assert_eq!(set(2, 1), "W 1 of 2 replicas available");
}

#[test]
fn rules_of_jobs_and_pods() {
    let job = |spec, status| status_of("batch/v1", "Job", spec, status);
    let condition = |kind: &str| json!({ "conditions": [{ "type": kind, "status": "True", "reason": "Why" }] });
    assert_eq!(job(json!({}), json!({ "succeeded": 1, "failed": 2 })), "W not complete: 1 pods succeeded, 2 failed");
    assert_eq!(job(json!({}), condition("Complete")), "R");
    assert_eq!(job(json!({}), condition("FailureTarget")), "W not complete: 0 pods succeeded, 0 failed");
    assert_eq!(job(json!({}), condition("Failed")), "F Why");
    assert_eq!(job(json!({ "suspend": true }), json!({})), "R");

    let pod = |status| status_of("v1", "Pod", json!({}), status);
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
fn rules_of_volumes_and_claims() {
    let phase = |kind: &str, phase: &str| status_of("v1", kind, json!({}), json!({ "phase": phase, "reason": "Why" }));
    assert_eq!(phase("PersistentVolumeClaim", "Bound"), "R");
    assert_eq!(phase("PersistentVolumeClaim", "Pending"), "W phase Pending");
    assert_eq!(phase("PersistentVolumeClaim", "Lost"), "T the volume it was bound to is gone");
    assert_eq!(phase("PersistentVolume", "Available"), "R");
    assert_eq!(phase("PersistentVolume", "Bound"), "R");
    assert_eq!(phase("PersistentVolume", "Pending"), "W phase Pending");
    assert_eq!(phase("PersistentVolume", "Failed"), "T Why");
}

#[test]
fn rules_of_definitions_and_custom_resources() {
    let conditions = |conditions: &[(&str, &str)]| {
        let condition = |(kind, status): &(&str, &str)| json!({ "type": kind, "status": status, "reason": "Why" });
        json!({ "conditions": conditions.iter().map(condition).collect::<Vec<_>>() })
    };
    let definition =
        |it: &[_]| status_of("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({}), conditions(it));
    assert_eq!(definition(&[]), "W its controller has not seen it yet");
    assert_eq!(definition(&[("NamesAccepted", "True"), ("Established", "True")]), "R");
    assert_eq!(definition(&[("NamesAccepted", "True"), ("Established", "False")]), "T not Established: Why");
    assert_eq!(definition(&[("NamesAccepted", "False"), ("Established", "True")]), "T Why");
    let service = |it: &[_]| status_of("apiregistration.k8s.io/v1", "APIService", json!({}), conditions(it));
    assert_eq!(service(&[]), "W its controller has not seen it yet");
    assert_eq!(service(&[("Available", "True")]), "R");
    assert_eq!(service(&[("Available", "False")]), "T not Available: Why");

    let custom = |status| status_of("example.test/v1", "Gadget", json!({}), status);
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
fn a_paused_deployment_is_ready_with_the_pods_it_has() {
    let status_of = |status| status_of("apps/v1", "Deployment", json!({ "replicas": 2, "paused": true }), status);
    let status = |all: i64, updated: i64, available: i64| json!({ "observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "availableReplicas": available });
    assert_eq!(status_of(json!({ "observedGeneration": 2 })), "R", "it was paused from the beginning");
    assert_eq!(status_of(status(2, 0, 2)), "R", "its pods are of the former template");
    assert_eq!(status_of(status(1, 1, 1)), "W 1 of 2 replicas available, and it is paused (spec.paused)");
    assert_eq!(status_of(status(2, 0, 1)), "W 1 of 2 replicas available, and it is paused (spec.paused)");
    assert_eq!(status_of(json!({ "observedGeneration": 1 })), "W its controller has not seen it yet");
}

#[test]
fn a_job_without_pods_at_a_time_and_a_volume_of_a_former_claim_do_not_change_by_themselves() {
    assert_eq!(status_of("batch/v1", "Job", json!({ "parallelism": 0 }), json!({})), "R");
    let released = status_of("v1", "PersistentVolume", json!({}), json!({ "phase": "Released" }));
    assert!(released.starts_with("T it still belongs to a claim that is gone"), "{released}");
}
