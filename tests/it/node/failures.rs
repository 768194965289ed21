//! Processes that exit and images that cannot be pulled: each operation stops with the cause, and its rollback restores what was.

use serde_json::json;

use super::{Instance, SERVE, Workload, completed};

#[tokio::test]
async fn an_instantiation_names_the_image_that_cannot_be_pulled() {
    let instance = Instance::create(&Workload { image: "registry.invalid/app:1", ..Workload::default() }).await;
    let op = instance.instantiate().await;
    instance.check_failure_and_roll_back(&op, &["registry.invalid/app:1"]).await;
    assert_eq!(instance.pods().await, []);
}

#[tokio::test]
async fn a_heal_whose_new_pod_cannot_start_names_it() {
    let instance = Instance::running(&Workload { kind: "StatefulSet", ..Workload::default() }).await;
    // Somebody else adds a hook that fails; heal leaves it, because it is not Gybe's.
    let broken = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "app", "lifecycle": { "postStart": { "exec": { "command": ["sh", "-c", "exit 3"] } } } },
    ] } } } });
    let sets = instance.cluster.api("apps/v1", "StatefulSet", "statefulsets", Some(&instance.namespace.name));
    let patch = kube::api::Patch::Strategic(broken);
    sets.patch("app", &kube::api::PatchParams::default(), &patch).await.unwrap();
    let op = instance.run("heal", &json!({})).await;
    assert_eq!(op["operationState"], "FAILED_TEMP", "{op:#}");
    let detail = op["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("app-0"), "{detail}");
}

/// Without a probe, Kubernetes calls the container ready as soon as it runs.
#[tokio::test]
async fn a_process_without_a_probe_that_exits_at_once_does_not_count() {
    let script = "echo 'no licence' >&2; exit 3";
    let instance = Instance::create(&Workload { script, ..Workload::default() }).await;
    let op = instance.instantiate().await;
    instance.check_failure_and_roll_back(&op, &["container app", "no licence"]).await;
    assert_eq!(op["error"]["type"], "urn:gybe:problem:vnf-not-ready");
    let warnings = op["gybe:warnings"].to_string();
    assert!(warnings.contains("app of Deployment app"), "{warnings}");
}

#[tokio::test]
async fn an_instantiation_quotes_the_last_line_of_a_process_that_crashes_again_and_again() {
    // One stream: the lines of two streams have no order.
    let script = "exec >&2; echo starting; echo 'no route to db:5432'; exit 3";
    let instance = Instance::create(&Workload { script, readiness: Some("true"), ..Workload::default() }).await;
    let op = instance.instantiate().await;
    instance.check_failure_and_roll_back(&op, &["app", "no route to db:5432"]).await;
    assert_eq!(instance.pods().await, []);
    let lines = &op["error"]["evidence"]["logs"][0]["lines"];
    assert_eq!(lines, &json!(["starting", "no route to db:5432"]));
}

#[tokio::test]
async fn an_instantiation_fails_when_the_process_exits_within_the_settle_time() {
    let script = "sleep 1; echo 'gave up'; exit 3";
    let instance = Instance::create(&Workload { script, ..Workload::default() }).await;
    let op = instance.instantiate().await;
    instance.check_failure_and_roll_back(&op, &["app", "gave up"]).await;
}

#[tokio::test]
async fn a_scale_out_whose_new_pod_exits_is_rolled_back() {
    let script = format!("case $HOSTNAME in *-1) echo 'no license left'; exit 3;; esac; {SERVE}");
    let workload = Workload { kind: "StatefulSet", script: &script, ..Workload::default() };
    let instance = Instance::running(&workload).await;
    let op = instance.run("scale", &json!({ "type": "SCALE_OUT", "aspectId": "app" })).await;
    instance.check_failure_and_roll_back(&op, &["app-1", "no license left"]).await;
    assert_eq!(instance.pods().await, [("app-0".to_owned(), true)]);
}

#[tokio::test]
async fn a_change_to_a_package_whose_process_exits_is_rolled_back() {
    let instance = Instance::running(&Workload::default()).await;
    let broken = Workload { script: "echo 'no route to db:5432' >&2; exit 3", ..Workload::default() }
        .onboard(&instance.gybe, "2.0")
        .await;
    let op = instance.run("change_vnfpkg", &json!({ "vnfdId": broken })).await;
    instance.check_failure_and_roll_back(&op, &["app", "no route to db:5432"]).await;
    assert!(matches!(&instance.pods().await[..], [(_, true)]));
    let good = Workload { script: &format!("echo new; {SERVE}"), ..Workload::default() };
    let good = good.onboard(&instance.gybe, "3.0").await;
    completed(&instance.run("change_vnfpkg", &json!({ "vnfdId": good })).await);
}
