//! Pods: replacement, removal and assignment to VDUs.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use gybe::domain::plan::PodRef;
use gybe::infra::Driver as _;
use kube::ResourceExt;
use kube::api::{WatchEvent, WatchParams};
use serde_json::json;

use super::{GOOD, LONG, Vnf, deployment, pod, pods, stateful_set, with_replicas, workload};

#[tokio::test]
async fn deleted_pods_are_replaced_and_only_they_are_awaited() {
    for yaml in [deployment(GOOD), stateful_set(GOOD)] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml).await;
        vnf.ensure(&mut resources).await;
        let before = vnf.wait_ready_and_observe(&resources).await;
        let first = &before.vnfcs[0];
        let pods = [PodRef { name: first.pod_name.clone(), uid: first.pod_uid.clone() }];
        vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
        vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
        let after = vnf.wait_ready_and_observe(&resources).await;
        assert_eq!(after.vnfcs.len(), 2);
        assert!(after.vnfcs.contains(&before.vnfcs[1]) && !after.vnfcs.contains(first));
    }
}

/// Pods of a node without kubelet never terminate by themselves.
#[tokio::test]
async fn pods_are_killed_at_once_or_after_the_grace_period() {
    for grace in [Duration::ZERO, Duration::from_secs(2)] {
        let vnf = Vnf::new().await;
        let dead = |yaml: String| yaml.replace("{containers:", "{nodeName: no-such-node, containers:");
        let yaml =
            dead(deployment(GOOD)) + "---" + &dead(workload("ReplicaSet", "rs", GOOD)) + "---" + &dead(pod(GOOD, ""));
        let mut resources = vnf.render(&[], &yaml).await;
        vnf.ensure(&mut resources).await;
        let pods = vnf.cluster.api("v1", "Pod", "pods", Some(&vnf.scope.namespace));
        let mut events = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        for _ in 0..5 {
            while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
        }
        let start = Instant::now();
        let removals = resources.iter().map(|it| vnf.driver.remove(&vnf.scope, it, Some(grace), LONG));
        futures::future::try_join_all(removals).await.unwrap();
        assert!(start.elapsed() >= grace && start.elapsed() < LONG, "{:?}", start.elapsed());
        assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
    }
}

/// Pods of other owners stay.
#[tokio::test]
async fn pods_of_a_workload_scaled_to_zero_end_or_are_killed_after_the_grace_period() {
    let dead = |yaml: String| yaml.replace("{containers:", "{nodeName: no-such-node, containers:");
    for (yaml, grace) in [
        (deployment(GOOD), None),
        (stateful_set(GOOD), Some(LONG)),
        (dead(deployment(GOOD)), Some(Duration::ZERO)),
        (dead(workload("ReplicaSet", "web", GOOD)), Some(Duration::from_secs(2))),
    ] {
        let vnf = Vnf::new().await;
        let mut resources = vnf.render(&[], &(yaml + "---" + &pod(GOOD, ""))).await;
        vnf.ensure(&mut resources).await;
        let pods = vnf.cluster.api("v1", "Pod", "pods", Some(&vnf.scope.namespace));
        let mut events = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        // All three: a controller that is still creating pods may create one after the check.
        for _ in 0..3 {
            while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
        }
        let mut stopped = [with_replicas(&resources[0], 0)];
        vnf.ensure(&mut stopped).await;
        let start = Instant::now();
        vnf.driver.end_pods(&vnf.scope, &stopped, grace, LONG).await.unwrap();
        let grace = grace.filter(|grace| *grace < LONG).unwrap_or_default();
        assert!(start.elapsed() >= grace && start.elapsed() < LONG, "{:?}", start.elapsed());
        assert_eq!(vnf.names("v1", "Pod", "pods").await, ["lone"]);
        vnf.driver.end_pods(&vnf.scope, &stopped, Some(Duration::ZERO), LONG).await.unwrap();
        assert_eq!(vnf.names("v1", "Pod", "pods").await, ["lone"]);
        for resource in [&stopped[0], &resources[1]] {
            vnf.driver.remove(&vnf.scope, resource, Some(Duration::ZERO), LONG).await.unwrap();
        }
    }
}

#[tokio::test]
async fn pods_of_a_cron_job_are_killed_with_it() {
    let vnf = Vnf::new().await;
    let yaml = format!(
        "
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec:
  schedule: '0 0 * * *'
  jobTemplate:
    spec: {{template: {{spec: {{nodeName: no-such-node, restartPolicy: Never, containers: [{{name: main, image: {GOOD}}}]}}}}}}
"
    );
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    // The Job that the controller creates at midnight.
    let cron_job = vnf.get(&resources[0]).await.unwrap();
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": cron_job.uid(),
        "controller": true, "blockOwnerDeletion": true,
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": cron_job.data.pointer("/spec/jobTemplate/spec"),
        "metadata": { "name": "nightly-1", "ownerReferences": [owner] },
    });
    vnf.cluster.create("jobs", Some(&vnf.scope.namespace), job).await;
    let pods = vnf.cluster.api("v1", "Pod", "pods", Some(&vnf.scope.namespace));
    let mut events = pods.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)) {}
    let start = Instant::now();
    vnf.driver.remove(&vnf.scope, &resources[0], Some(Duration::ZERO), LONG).await.unwrap();
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    assert!(vnf.names("v1", "Pod", "pods").await.is_empty());
}

#[tokio::test]
async fn a_pod_belongs_to_a_vdu_by_owner_and_not_by_name() {
    let vnf = Vnf::new().await;
    let stray = pod(GOOD, "").replace("lone", "web-5d78c9869d-abcde");
    let mut resources = vnf.render(&[("VDU1", "web")], &(deployment(GOOD) + "---" + &stray)).await;
    vnf.ensure(&mut resources).await;
    let observed = vnf.wait_ready_and_observe(&resources).await;
    assert_eq!(pods(&observed), [("VDU1", "Deployment", "web"); 2]);
    assert!(observed.vnfcs.iter().all(|it| it.pod_name != "web-5d78c9869d-abcde"));
}
