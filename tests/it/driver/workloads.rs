//! How workloads are created, become ready, change and are removed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join;
use gybe::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use gybe::infra::{AppliedObject, Driver as _, InfraError, InfraErrorKind, ObservedResources, ReadinessTimeouts};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::{
    CONFIG_MAP, GOOD, HASTY, LONG, PATIENT, Vnf, deployment, job, owner, pod, pods, stateful_set, with_replicas,
    workload,
};

async fn check_life_cycle(yaml: &str, kind: &str, name: &str, number: usize) {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", name)], yaml).await;
    vnf.ensure(&mut resources).await;
    let observed = vnf.wait_ready_and_observe(&resources).await;
    assert_eq!(pods(&observed), vec![("VDU1", kind, name); number]);
    let object = vnf.get(&resources[0]).await.unwrap();
    assert_eq!(object.labels()[INSTANCE_LABEL], vnf.scope.instance.to_string());
    vnf.remove(&resources[0]).await;
    assert!(vnf.get(&resources[0]).await.is_none());
    assert_eq!(vnf.observe(&resources).await, ObservedResources::default());
    assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
    vnf.remove(&resources[0]).await;
}

#[tokio::test]
async fn a_deployment_is_created_and_deleted() {
    check_life_cycle(&deployment(GOOD), "Deployment", "web", 2).await;
}

#[tokio::test]
async fn a_replica_set_is_created_and_deleted() {
    check_life_cycle(&workload("ReplicaSet", "web", GOOD), "ReplicaSet", "web", 2).await;
}

#[tokio::test]
async fn a_daemon_set_is_created_and_deleted() {
    // The test cluster has three nodes.
    check_life_cycle(&workload("DaemonSet", "agent", GOOD).replace("  replicas: 2\n", ""), "DaemonSet", "agent", 3)
        .await;
}

#[tokio::test]
async fn a_pod_is_created_and_deleted() {
    check_life_cycle(&pod(GOOD, ""), "Pod", "lone", 1).await;
}

#[tokio::test]
async fn a_job_completes_and_its_pods_are_not_vnfcs() {
    check_life_cycle(&job(GOOD), "Job", "once", 0).await;
}

#[tokio::test]
async fn objects_without_readiness_are_ready_at_once() {
    let vnf = Vnf::new().await;
    let yaml = format!(
        "{CONFIG_MAP}---
{{apiVersion: v1, kind: Service, metadata: {{name: ext}}, spec: {{type: ExternalName, externalName: example.test}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: lb}}, spec: {{type: LoadBalancer, ports: [{{port: 80}}]}}}}
---
{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: in}}, spec: {{defaultBackend: {{service: {{name: lb, port: {{number: 80}}}}}}}}}}
---
{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: pdb}}, spec: {{minAvailable: 1, selector: {{matchLabels: {{app: web}}}}}}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec: {{schedule: '0 0 * * *', jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: main, image: {GOOD}}}]}}}}}}}}}}
---
{}",
        job(GOOD).replace("backoffLimit: 0", "suspend: true")
    );
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap();
    for resource in &resources {
        vnf.remove(resource).await;
        assert!(vnf.get(resource).await.is_none(), "{}", resource.key);
    }
}

#[tokio::test]
async fn a_paused_deployment_is_ready_without_pods() {
    let vnf = Vnf::new().await;
    let yaml = deployment(GOOD).replace("  replicas: 2\n", "  replicas: 2\n  paused: true\n");
    vnf.run(&yaml, HASTY).await.unwrap();
    assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
}

#[tokio::test]
async fn a_container_without_a_probe_must_run_for_the_settle_time() {
    let settle = Duration::from_secs(1);
    for (yaml, waits) in [
        (deployment(GOOD), true),
        (pod(GOOD, ""), true),
        (deployment(GOOD).replace("image:", "readinessProbe: {tcpSocket: {port: 1}}, image:"), false),
    ] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[], &yaml).await;
        vnf.ensure(&mut resources).await;
        vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
        let start = Instant::now();
        let patient = ReadinessTimeouts { settle, ..PATIENT };
        vnf.driver.await_ready(&vnf.scope, &resources, patient).await.unwrap();
        assert!(start.elapsed() >= settle || !waits, "{:?}: {yaml}", start.elapsed());
    }
}

/// As after a change to a bad image that was failed: its pod never becomes ready, and nobody else deletes it.
#[tokio::test]
async fn a_pod_that_blocks_the_present_revision_is_deleted() {
    let short = ReadinessTimeouts { grace: Duration::from_secs(5), ..PATIENT };
    let ordered = workload("StatefulSet", "db", GOOD);
    let on_delete =
        |yaml: String| yaml.replace("spec:\n  replicas: 2\n", "spec:\n  updateStrategy: {type: OnDelete}\n");
    for yaml in [ordered.clone(), on_delete(ordered), on_delete(workload("DaemonSet", "agent", GOOD))] {
        for bad in ["registry.invalid/x", "example.test/crash-loop"] {
            let vnf = Vnf::new().await;
            let mut resources = vnf.render(&[], &yaml.replace(GOOD, bad)).await;
            vnf.ensure(&mut resources).await;
            vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap_err();
            let mut good = vnf.render(&[], &yaml).await;
            vnf.ensure(&mut good).await;
            vnf.driver.await_ready(&vnf.scope, &good, short).await.unwrap();
            for pod in vnf
                .cluster
                .api("v1", "Pod", "pods", Some(&vnf.scope.namespace))
                .list(&ListParams::default())
                .await
                .unwrap()
            {
                assert_eq!(pod.data["spec"]["containers"][0]["image"], GOOD, "{yaml}");
            }
        }
    }
}

/// A webhook that nobody answers refuses every object: the step waits for it, as for a kind that nobody serves yet.
#[tokio::test]
async fn a_webhook_that_does_not_answer_is_waited_for() {
    let vnf = Vnf::new().await;
    let namespaces = vnf.cluster.api("v1", "Namespace", "namespaces", None);
    let home = namespaces.get(vnf.scope.namespace.as_str()).await.unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Of this namespace only, and deleted with it.
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": vnf.scope.namespace.as_str(), "ownerReferences": owner(&home) },
        "webhooks": [{
            "name": "nobody.example.test", "failurePolicy": "Fail", "timeoutSeconds": 1, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": { "url": format!("https://{closed}") },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": vnf.scope.namespace.as_str() } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"] }],
        }],
    });
    vnf.cluster.create("validatingwebhookconfigurations", None, webhook).await;
    let resources = vnf.render(&[], CONFIG_MAP).await;
    // The API server learns of the webhook a moment later.
    let error = loop {
        match vnf.driver.ensure(&vnf.scope, &resources[0]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(error.kind == InfraErrorKind::Waiting && error.detail.contains("nobody.example.test"), "{error}");
    let hooks = vnf.cluster.api(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        None,
    );
    hooks.delete(vnf.scope.namespace.as_str(), &DeleteParams::default()).await.unwrap();
    loop {
        match vnf.driver.ensure(&vnf.scope, &resources[0]).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind, InfraErrorKind::Waiting, "{error}"),
        }
    }
}

#[tokio::test]
async fn ensure_is_idempotent() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(CONFIG_MAP.to_owned() + "---" + &deployment(GOOD))).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    for resource in &resources {
        let before = vnf.get(resource).await.unwrap();
        let ensured = vnf.driver.ensure(&vnf.scope, resource).await.unwrap();
        let after = vnf.get(resource).await.unwrap();
        assert_eq!(ensured, AppliedObject { uid: before.uid().unwrap(), owned: true });
        assert_eq!(after.metadata.generation, before.metadata.generation);
        assert_eq!(after.uid(), before.uid());
    }
}

#[tokio::test]
async fn a_change_is_ready_only_after_its_rollout() {
    for yaml in [deployment(GOOD), stateful_set(GOOD)] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml).await;
        vnf.ensure(&mut resources).await;
        let before = vnf.wait_ready_and_observe(&resources).await;

        let mut changed = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml.replace(GOOD, "example.test/new")).await;
        vnf.ensure(&mut changed).await;
        let after = vnf.wait_ready_and_observe(&changed).await;
        let uids =
            |observed: &ObservedResources| observed.vnfcs.iter().map(|it| it.pod_uid.clone()).collect::<BTreeSet<_>>();
        assert_eq!(after.vnfcs.len(), 2);
        assert!(uids(&after).is_disjoint(&uids(&before)));
    }
}

#[tokio::test]
async fn scaling_waits_for_new_pods_and_for_removal_of_surplus_pods() {
    for yaml in [deployment(GOOD), stateful_set(GOOD), workload("ReplicaSet", "web", GOOD)] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[("VDU1", "web"), ("VDU1", "db")], &yaml).await;
        let name = resources[0].key.name.clone();
        resources[0].vdu_id = Some("VDU1".to_owned());
        vnf.ensure(&mut resources).await;
        for replicas in [4, 1, 0, 2] {
            let mut scaled = [with_replicas(&resources[0], replicas)];
            vnf.ensure(&mut scaled).await;
            assert_eq!(vnf.wait_ready_and_observe(&scaled).await.vnfcs.len(), replicas as usize, "{name}");
        }
        vnf.driver.remove(&vnf.scope, &resources[0], Some(Duration::ZERO), LONG).await.unwrap();
    }
}

#[tokio::test]
async fn a_forbidden_change_is_an_invalid_error() {
    let vnf = Vnf::new().await;
    vnf.run(&stateful_set(GOOD), PATIENT).await.unwrap();
    let changed = vnf.render(&[], &stateful_set(GOOD).replace("app: db", "app: base")).await;
    let error = vnf.driver.ensure(&vnf.scope, &changed[0]).await.unwrap_err();
    assert!(error.kind == InfraErrorKind::Invalid && error.detail.contains("updates to statefulset spec"), "{error}");

    let unknown = vnf.render(&[], &deployment(GOOD).replace("replicas: 2", "copies: 2")).await;
    let error = vnf.driver.ensure(&vnf.scope, &unknown[0]).await.unwrap_err();
    assert!(error.kind == InfraErrorKind::Invalid && error.detail.contains("copies"), "{error}");
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {x: [hunter2]}}";
    let error = vnf.driver.ensure(&vnf.scope, &vnf.render(&[], secret).await[0]).await.unwrap_err();
    let InfraError { kind: InfraErrorKind::Invalid, detail: text, .. } = error else { panic!("{error}") };
    assert!(text.ends_with(".stringData.x: expected string"), "{text}");
    let wrong = vnf.render(&[], &deployment(GOOD).replace("replicas: 2", "replicas: -2")).await;
    let error = vnf.driver.ensure(&vnf.scope, &wrong[0]).await.unwrap_err();
    assert!(error.kind == InfraErrorKind::Invalid && error.detail.contains("spec.replicas"), "{error}");
}

#[tokio::test]
async fn a_deleted_object_is_reported_as_missing() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &deployment("example.test/never-ready")).await;
    vnf.ensure(&mut resources).await;
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    let delete = async { api.delete("web", &DeleteParams::background()).await.unwrap() };
    let (result, _) = join(vnf.driver.await_ready(&vnf.scope, &resources, HASTY), delete).await;
    let text = format!("in namespace {}: Deployment web: it is not there any more", vnf.scope.namespace);
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.detail), (InfraErrorKind::NotReady, text));
}

#[tokio::test]
async fn only_objects_that_may_exist_are_deleted() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], CONFIG_MAP).await;
    vnf.ensure(&mut resources).await;
    let state = |state| Resource { state, ..resources[0].clone() };
    vnf.remove(&state(ResourceState::Planned)).await;
    let uid = vnf.get(&resources[0]).await.unwrap().uid().unwrap();
    vnf.remove(&state(ResourceState::Present { uid, owned: false })).await;
    assert!(vnf.get(&resources[0]).await.is_some());
    vnf.remove(&state(ResourceState::Intent)).await;
    assert!(vnf.get(&resources[0]).await.is_none());
}

#[tokio::test]
async fn reports_the_finalizers_that_block_deletion() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(CONFIG_MAP.to_owned() + "---" + &pod(GOOD, ""))).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    for resource in &resources {
        vnf.patch(resource, json!({ "metadata": { "finalizers": ["example.test/hold"] } })).await;
        let soon = Duration::from_millis(300);
        let error = vnf.driver.remove(&vnf.scope, resource, None, soon).await.unwrap_err();
        let text = format!(
            "{} (waits for its finalizers example.test/hold) in namespace {} is not gone in time",
            resource.key, vnf.scope.namespace
        );
        assert_eq!((error.kind, error.detail), (InfraErrorKind::NotReady, text));
    }
    // Our terminating object is awaited and then created again.
    let free = async || vnf.patch(&resources[0], json!({ "metadata": { "finalizers": null } })).await;
    let anew = Resource { state: ResourceState::Intent, ..resources[0].clone() };
    let (ensured, ()) = join(vnf.driver.ensure(&vnf.scope, &anew), free()).await;
    let ResourceState::Present { uid, .. } = &resources[0].state else { panic!() };
    assert_ne!(ensured.unwrap().uid, *uid);
    vnf.patch(&resources[1], json!({ "metadata": { "finalizers": null } })).await;
}
