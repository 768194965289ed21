//! OPERATE through the API of the real binary, on the real control plane: a CNF is stopped and started.

use std::time::{Duration, Instant};

use kube::api::{ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::sample;

/// An instance of `core5g`, with the subscriber data at level 1.
struct OperateFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl OperateFixture {
    async fn new(gybe: Gybe, edition: &str) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = gybe.onboard("core5g").await;
        let path = gybe.instantiate(edition, &vnfd, namespace.name.as_str()).await;
        gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" })).await;
        Self { cluster, namespace, gybe, path }
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    async fn operate(&self, request: Value) -> Value {
        self.gybe.complete(&self.path, "operate", &request).await
    }

    /// The names of the pods that have not terminated.
    async fn pods(&self) -> Vec<String> {
        let pods = self.cluster.api("v1", "Pod", "pods", Some(&self.namespace.name));
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let running = pods.iter().filter(|pod| pod.data["status"]["phase"] != "Succeeded");
        running.map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    /// Kind, name and replicas of the objects, without those that controllers create.
    async fn objects(&self) -> Vec<(&'static str, String, Option<u64>)> {
        let marked = self.cluster.marked(&self.namespace.name).await;
        let own = marked.into_iter().filter(|(kind, _)| !["Pod", "ReplicaSet"].contains(kind));
        let mut objects: Vec<_> = own
            .map(|(kind, it)| {
                (kind, it.metadata.name.unwrap(), it.data.pointer("/spec/replicas").and_then(Value::as_u64))
            })
            .collect();
        objects.sort();
        objects
    }

    async fn drift(&self) -> Value {
        self.gybe.get(&format!("{}/drift", self.path)).await.expect(StatusCode::OK)
    }
}

/// The number of VNFCs by VDU.
fn vnfcs(instance: &Value) -> Vec<String> {
    let all = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap();
    let mut vdus: Vec<String> = all.iter().map(|vnfc| vnfc["vduId"].as_str().unwrap().to_owned()).collect();
    vdus.sort();
    vdus
}

async fn check_stop_and_start(fixture: &mut OperateFixture, stop: Value) {
    let (before, objects) = (fixture.instance().await, fixture.objects().await);
    assert_eq!(before["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert!(["scale", "scaleToLevel", "operate"].iter().all(|link| before["_links"].get(*link).is_some()));

    let op = fixture.operate(stop).await;
    assert_eq!(op["operation"], "OPERATE");
    let removed = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert_eq!(removed.len(), vnfcs(&before).len());
    assert!(removed.iter().all(|vnfc| vnfc["changeType"] == "REMOVED"));
    assert_eq!(fixture.pods().await, Vec::<String>::new());
    let stopped = fixture.instance().await;
    let info = &stopped["instantiatedVnfInfo"];
    assert_eq!((&stopped["instantiationState"], &info["vnfState"]), (&json!("INSTANTIATED"), &json!("STOPPED")));
    assert_eq!(vnfcs(&stopped), Vec::<String>::new());
    assert_eq!(
        info["scaleStatus"], before["instantiatedVnfInfo"]["scaleStatus"],
        "the VNF starts at the level that it had before the stop"
    );
    let links = stopped["_links"].as_object().unwrap();
    assert!(["operate", "heal", "terminate"].iter().all(|link| links.contains_key(*link)), "{links:?}");
    assert!(!links.contains_key("scale") && !links.contains_key("scaleToLevel"), "{links:?}");
    assert_eq!(fixture.drift().await["inSync"], true, "{:#}", fixture.drift().await);
    for (task, request) in [
        ("scale", json!({ "type": "SCALE_OUT", "aspectId": "smf" })),
        ("scale_to_level", json!({ "instantiationLevelId": "large" })),
    ] {
        assert!(
            fixture.gybe.post(&format!("{}/{task}", fixture.path), &request).await.problem(409).contains("STOPPED")
        );
    }

    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    assert_eq!((fixture.pods().await, &fixture.instance().await), (Vec::new(), &stopped), "healing starts nothing");
    fixture.gybe.kill();
    fixture.gybe.restart();

    let op = fixture.operate(json!({ "changeStateTo": "STARTED" })).await;
    let added = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert!(added.iter().all(|vnfc| vnfc["changeType"] == "ADDED"));
    let after = fixture.instance().await;
    assert_eq!(after["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert_eq!(vnfcs(&after), vnfcs(&before));
    assert_eq!(after["instantiatedVnfInfo"]["scaleStatus"], before["instantiatedVnfInfo"]["scaleStatus"]);
    assert_eq!(fixture.objects().await, objects, "no trace of the stop is left");
    assert_eq!(fixture.drift().await["inSync"], true);
    fixture.gybe.complete(&fixture.path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
}

#[tokio::test]
async fn stop_removes_all_pods_and_start_restores_them_v2() {
    let mut fixture = OperateFixture::new(Gybe::start(), "v2").await;
    check_stop_and_start(&mut fixture, json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL" })).await;
    // A second stop succeeds and keeps the recorded replicas.
    for state in ["STOPPED", "STOPPED", "STARTED", "STARTED"] {
        fixture.operate(json!({ "changeStateTo": state })).await;
    }
    assert_eq!(vnfcs(&fixture.instance().await).iter().filter(|vdu| *vdu == "UDR").count(), 3);
}

#[tokio::test]
async fn stop_removes_all_pods_and_start_restores_them_v1_on_postgresql() {
    let database = Database::create().await;
    // The lease of the killed process expires after that time.
    let gybe = Gybe::start_on_with(&database.url, &["--lease", "5"]);
    let mut fixture = OperateFixture::new(gybe, "v1").await;
    check_stop_and_start(&mut fixture, json!({ "changeStateTo": "STOPPED" })).await;
}

#[tokio::test]
async fn terminating_a_stopped_vnf_leaves_nothing() {
    let fixture = OperateFixture::new(Gybe::start(), "v2").await;
    fixture.operate(json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": 5 })).await;
    fixture.gybe.complete(&fixture.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(fixture.objects().await, []);
    fixture.gybe.delete(&fixture.path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn external_changes_of_a_stopped_vnf_show_as_vnfcs_and_drift_not_as_level() {
    let fixture = OperateFixture::new(Gybe::start(), "v2").await;
    fixture.operate(json!({ "changeStateTo": "STOPPED" })).await;
    let stopped = fixture.instance().await;
    let deployments = fixture.cluster.api("apps/v1", "Deployment", "deployments", Some(&fixture.namespace.name));
    let one = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    deployments.patch("smf", &PatchParams::default(), &one).await.unwrap();
    let seen = fixture.gybe.wait_until(&fixture.path, |it| vnfcs(it) == ["SMF"; 3]).await;
    let (seen, stopped) = (&seen["instantiatedVnfInfo"], &stopped["instantiatedVnfInfo"]);
    assert_eq!((&seen["scaleStatus"], &seen["vnfState"]), (&stopped["scaleStatus"], &stopped["vnfState"]));
    let drift = fixture.drift().await;
    let smf = drift["objects"].as_array().unwrap().iter().find(|it| it["state"] == "CHANGED").unwrap();
    assert_eq!((&smf["name"], &smf["differences"][0]["intended"]), (&json!("smf"), &json!(0)));

    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    fixture.gybe.wait_until(&fixture.path, |it| vnfcs(it).is_empty()).await;
}

#[tokio::test]
async fn a_blocked_stop_is_cancelled_and_rolled_back() {
    let fixture = OperateFixture::new(Gybe::start(), "v2").await;
    let before = fixture.instance().await;
    let agents = fixture.cluster.api("apps/v1", "DaemonSet", "daemonsets", Some(&fixture.namespace.name));
    let finalizers = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    agents.patch("upf", &PatchParams::default(), &finalizers(json!(["example.org/held"]))).await.unwrap();

    let op = fixture.gybe.begin(&fixture.path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    let begun = Instant::now();
    while agents.get("upf").await.unwrap().metadata.deletion_timestamp.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the object is not terminating");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "FORCEFUL" })).await.expect(StatusCode::ACCEPTED);
    let stopped = fixture.gybe.wait_ended(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
    agents.patch("upf", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    fixture.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(fixture.gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    let after = fixture.instance().await;
    assert_eq!(after["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert_eq!(vnfcs(&after), vnfcs(&before));
    assert_eq!(fixture.drift().await["inSync"], true);
}

#[tokio::test]
async fn rejects_impossible_operate_before_the_202() {
    let fixture = OperateFixture::new(Gybe::start(), "v2").await;
    let created = fixture.gybe.create("v1", fixture.instance().await["vnfdId"].as_str().unwrap()).await;
    let start = json!({ "changeStateTo": "STARTED" });
    assert!(fixture.gybe.post(&format!("{created}/operate"), &start).await.problem(409).contains("NOT_INSTANTIATED"));
    let ops = fixture.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    for (request, status, says) in [
        (json!({}), 400, "changeStateTo"),
        (json!({ "changeStateTo": "PAUSED" }), 400, "changeStateTo"),
        (json!({ "changeStateTo": "STARTED", "stopType": "GRACEFUL" }), 422, "stopType"),
        (json!({ "changeStateTo": "STARTED", "gracefulStopTimeout": 5 }), 422, "gracefulStopTimeout"),
        (json!({ "changeStateTo": "STOPPED", "gracefulStopTimeout": 5 }), 422, "gracefulStopTimeout"),
        (
            json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": -1 }),
            400,
            "gracefulStopTimeout",
        ),
        (json!({ "changeStateTo": "STOPPED", "vnfcInstanceId": ["AMF-x"] }), 422, "single VNFCs"),
    ] {
        let detail = fixture.gybe.post(&format!("{}/operate", fixture.path), &request).await.problem(status);
        assert!(detail.contains(says), "{request}: {detail}");
    }
    assert_eq!(fixture.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), ops);
}

#[tokio::test]
async fn a_job_that_deleted_itself_is_not_run_again() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let app = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: 'example.test/good'}]}
";
    for ttl in [0, 1] {
        let namespace = cluster.namespace().await;
        let job = format!(
            "
apiVersion: batch/v1
kind: Job
metadata: {{name: prepare}}
spec:
  ttlSecondsAfterFinished: {ttl}
  template: {{spec: {{restartPolicy: Never, containers: [{{name: main, image: 'example.test/good'}}]}}}}
"
        );
        let csar = sample::of_version(&format!("{ttl}.1"), &[("Files/all.yaml", &(job + app))]);
        let package = gybe.upload(&csar).await;
        let path = gybe.instantiate("v2", package["vnfdId"].as_str().unwrap(), namespace.name.as_str()).await;
        let jobs = cluster.api("batch/v1", "Job", "jobs", Some(&namespace.name));
        while jobs.get_opt("prepare").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        let drift = gybe.get(&format!("{path}/drift")).await.expect(StatusCode::OK);
        assert_eq!(drift["inSync"], true, "{drift:#}");
        for (task, request) in [
            ("heal", json!({})),
            ("operate", json!({ "changeStateTo": "STOPPED" })),
            ("operate", json!({ "changeStateTo": "STARTED" })),
        ] {
            gybe.complete(&path, task, &request).await;
            assert!(jobs.get_opt("prepare").await.unwrap().is_none(), "{task}");
        }
        gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        assert!(cluster.marked(&namespace.name).await.is_empty());
    }
}
