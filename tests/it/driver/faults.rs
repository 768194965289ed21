//! Why objects do not become ready: each reason is reported, and early.

use std::time::Duration;

use futures::future::join;
use gybe::infra::{Driver as _, InfraError, InfraErrorKind, ReadinessTimeouts};

use super::{GOOD, PATIENT, Vnf, deployment, job, pod, workload};

#[tokio::test]
async fn reports_an_image_that_cannot_be_pulled() {
    for yaml in [
        deployment("registry.invalid/x"),
        workload("StatefulSet", "db", "registry.invalid/x"),
        job("registry.invalid/x"),
        pod("registry.invalid/x", ""),
    ] {
        let text = Vnf::new().await.fault(&yaml).await;
        assert!(
            text.contains("container main: ErrImagePull") || text.contains("container main: ImagePullBackOff"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn reports_a_crash_loop() {
    let vnf = Vnf::new().await;
    let text = vnf.fault(&deployment("example.test/crash-loop")).await;
    let start = format!("in namespace {}: Deployment web: pod web-", vnf.scope.namespace);
    let is_named =
        [": container main: CrashLoopBackOff: back-off ", ": container main: Error: it ended with exit code 1"];
    assert!(text.starts_with(&start) && is_named.iter().any(|fault| text.contains(fault)), "{text}");
}

#[tokio::test]
async fn a_fault_may_recover_within_the_grace_period() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &deployment("registry.invalid/x")).await;
    vnf.ensure(&mut resources).await;
    let short = ReadinessTimeouts { timeout: Duration::from_secs(3), ..PATIENT };
    let error = vnf.driver.await_ready(&vnf.scope, &resources, short).await.unwrap_err();
    assert!(
        error.kind == InfraErrorKind::NotReady
            && error.detail.contains("not ready within 3 s")
            && error.detail.contains("ImagePullBackOff"),
        "{error}"
    );
    let heal = async {
        let mut healed = vnf.render(&[], &deployment(GOOD)).await;
        vnf.ensure(&mut healed).await;
    };
    let (ready, ()) = join(vnf.driver.await_ready(&vnf.scope, &resources, PATIENT), heal).await;
    ready.unwrap();
}

#[tokio::test]
async fn reports_an_unschedulable_pod() {
    let text = Vnf::new()
        .await
        .fault(&deployment(GOOD).replace("{containers:", "{nodeSelector: {no: such}, containers:"))
        .await;
    assert!(text.contains("no node takes it (Unschedulable): "), "{text}");
}

#[tokio::test]
async fn reports_an_exhausted_quota() {
    let quota = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: few}
spec: {hard: {pods: 1}}
---";
    let daemon_set = workload("DaemonSet", "agent", GOOD).replace("  replicas: 2\n", "");
    for yaml in [deployment(GOOD), workload("StatefulSet", "db", GOOD), workload("ReplicaSet", "web", GOOD), daemon_set]
    {
        let vnf = Vnf::new().await;
        let text = format!("{quota}{yaml}");
        let mut resources = vnf.render(&[], &text).await;
        vnf.create_enforced_quota(&mut resources[..1]).await;
        let text = vnf.fault(&text).await;
        assert!(text.contains("exceeded quota: few"), "{text}");
    }
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(quota.replace("pods: 1", "pods: 0") + &pod(GOOD, ""))).await;
    vnf.create_enforced_quota(&mut resources[..1]).await;
    let error = vnf.driver.ensure(&vnf.scope, &resources[1]).await.unwrap_err();
    assert!(error.kind == InfraErrorKind::Invalid && error.detail.contains("exceeded quota: few"), "{error}");
}

#[tokio::test]
async fn reports_a_claim_without_a_volume() {
    let claim = |class: &str| {
        format!(
            "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{storageClassName: '{class}', accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
        )
    };
    let text = Vnf::new().await.fault(&claim("no-such-class")).await;
    assert!(
        text.contains("PersistentVolumeClaim data: ProvisioningFailed: ") && text.contains("no-such-class"),
        "{text}"
    );
    let text = Vnf::new().await.fault(&claim("")).await;
    assert!(text.contains("PersistentVolumeClaim data: FailedBinding: "), "{text}");
}

#[tokio::test]
async fn reports_permanent_failure_at_once() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &job("example.test/crash-loop")).await;
    vnf.ensure(&mut resources).await;
    let error = vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap_err();
    assert!(
        error.kind == InfraErrorKind::NotReady && error.detail.contains("Job once has failed: BackoffLimitExceeded"),
        "{error}"
    );
    let error = vnf.run(&pod("example.test/crash-loop", ", restartPolicy: Never"), PATIENT).await.unwrap_err();
    assert!(
        error.kind == InfraErrorKind::NotReady
            && error.detail.contains("Pod lone has failed: the pod failed: container main exited with 1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_timeout_names_the_objects_that_are_not_ready() {
    let vnf = Vnf::new().await;
    let hurried = ReadinessTimeouts { timeout: Duration::from_secs(2), ..PATIENT };
    let error = vnf.run(&deployment("example.test/never-ready"), hurried).await.unwrap_err();
    let InfraError { kind: InfraErrorKind::NotReady, detail: text, .. } = error else { panic!("{error}") };
    let start = format!(
        "in namespace {}: not ready within 2 s: Deployment web: 0 of 2 replicas available; pod web-",
        vnf.scope.namespace
    );
    assert!(
        text.starts_with(&start) && text.ends_with("ContainersNotReady: containers with unready status: [main]"),
        "{text}"
    );
}
