//! OPERATE through the API of the real binary, on the real control plane: a CNF is stopped and started.

use std::time::{Duration, Instant};

use kube::api::{ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::Gybe;
use crate::support::ops;
use crate::support::postgres::Database;

/// A running `core5g`, with the subscriber data at level 1.
struct Site {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl Site {
    async fn new(gybe: Gybe, edition: &str) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = gybe.onboard("core5g").await;
        let path = gybe.create(edition, &vnfd).await;
        let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
        gybe.complete(&path, "instantiate", &request).await;
        gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" })).await;
        Self { cluster, namespace, gybe, path }
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    async fn operate(&self, request: Value) -> Value {
        self.gybe.complete(&self.path, "operate", &request).await
    }

    /// The pods that have not ended, by name.
    async fn pods(&self) -> Vec<String> {
        let pods = self.cluster.api("v1", "Pod", "pods", Some(&self.namespace.name));
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let running = pods.iter().filter(|pod| pod.data["status"]["phase"] != "Succeeded");
        running.map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    /// Kind, name and replicas of the objects, but for what controllers make.
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

/// The numbers of VNFCs by VDU.
fn vnfcs(instance: &Value) -> Vec<String> {
    let all = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap();
    let mut vdus: Vec<String> = all.iter().map(|vnfc| vnfc["vduId"].as_str().unwrap().to_owned()).collect();
    vdus.sort();
    vdus
}

async fn stops_and_starts(site: &mut Site, stop: Value) {
    let (before, objects) = (site.instance().await, site.objects().await);
    assert_eq!(before["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert!(["scale", "scaleToLevel", "operate"].iter().all(|link| before["_links"].get(*link).is_some()));

    let op = site.operate(stop).await;
    assert_eq!(op["operation"], "OPERATE");
    let removed = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert_eq!(removed.len(), vnfcs(&before).len());
    assert!(removed.iter().all(|vnfc| vnfc["changeType"] == "REMOVED"));
    assert_eq!(site.pods().await, Vec::<String>::new());
    let stopped = site.instance().await;
    let info = &stopped["instantiatedVnfInfo"];
    assert_eq!((&stopped["instantiationState"], &info["vnfState"]), (&json!("INSTANTIATED"), &json!("STOPPED")));
    assert_eq!(vnfcs(&stopped), Vec::<String>::new());
    assert_eq!(info["scaleStatus"], before["instantiatedVnfInfo"]["scaleStatus"], "it is started at that level again");
    let links = stopped["_links"].as_object().unwrap();
    assert!(["operate", "heal", "terminate"].iter().all(|link| links.contains_key(*link)), "{links:?}");
    assert!(!links.contains_key("scale") && !links.contains_key("scaleToLevel"), "{links:?}");
    assert_eq!(site.drift().await["inSync"], true, "{:#}", site.drift().await);
    for (task, request) in [
        ("scale", json!({ "type": "SCALE_OUT", "aspectId": "smf" })),
        ("scale_to_level", json!({ "instantiationLevelId": "large" })),
    ] {
        assert!(site.gybe.post(&format!("{}/{task}", site.path), &request).await.problem(409).contains("STOPPED"));
    }

    site.gybe.complete(&site.path, "heal", &json!({})).await;
    assert_eq!((site.pods().await, &site.instance().await), (Vec::new(), &stopped), "healing starts nothing");
    site.gybe.kill();
    site.gybe.restart();

    let op = site.operate(json!({ "changeStateTo": "STARTED" })).await;
    let added = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert!(added.iter().all(|vnfc| vnfc["changeType"] == "ADDED"));
    let after = site.instance().await;
    assert_eq!(after["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert_eq!(vnfcs(&after), vnfcs(&before));
    assert_eq!(after["instantiatedVnfInfo"]["scaleStatus"], before["instantiatedVnfInfo"]["scaleStatus"]);
    assert_eq!(site.objects().await, objects, "nothing is left of having been stopped");
    assert_eq!(site.drift().await["inSync"], true);
    site.gybe.complete(&site.path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "smf" })).await;
}

#[tokio::test]
async fn a_vnf_that_is_stopped_has_no_pods_and_is_started_as_it_was_through_v2() {
    let mut site = Site::new(Gybe::start(), "v2").await;
    stops_and_starts(&mut site, json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL" })).await;
    // Stopping what is stopped makes sure of it, and forgets nothing.
    for state in ["STOPPED", "STOPPED", "STARTED", "STARTED"] {
        site.operate(json!({ "changeStateTo": state })).await;
    }
    assert_eq!(vnfcs(&site.instance().await).iter().filter(|vdu| *vdu == "UDR").count(), 3);
}

#[tokio::test]
async fn a_vnf_that_is_stopped_has_no_pods_and_is_started_as_it_was_through_v1_on_postgresql() {
    let database = Database::create().await;
    // The operations of the process that is killed are free after that long.
    let gybe = Gybe::start_on_with(&database.url, &["--lease", "5"]);
    let mut site = Site::new(gybe, "v1").await;
    stops_and_starts(&mut site, json!({ "changeStateTo": "STOPPED" })).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_vnf_that_is_terminated_while_it_is_stopped() {
    let site = Site::new(Gybe::start(), "v2").await;
    site.operate(json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": 5 })).await;
    site.gybe.complete(&site.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(site.objects().await, []);
    site.gybe.delete(&site.path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_is_done_to_a_stopped_vnf_behind_our_back_shows_as_vnfcs_and_as_drift_but_not_as_a_level() {
    let site = Site::new(Gybe::start(), "v2").await;
    site.operate(json!({ "changeStateTo": "STOPPED" })).await;
    let stopped = site.instance().await;
    let deployments = site.cluster.api("apps/v1", "Deployment", "deployments", Some(&site.namespace.name));
    let one = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
    deployments.patch("smf", &PatchParams::default(), &one).await.unwrap();
    let seen = site.gybe.until(&site.path, |it| vnfcs(it) == ["SMF"; 3]).await;
    let (seen, told) = (&seen["instantiatedVnfInfo"], &stopped["instantiatedVnfInfo"]);
    assert_eq!((&seen["scaleStatus"], &seen["vnfState"]), (&told["scaleStatus"], &told["vnfState"]));
    let drift = site.drift().await;
    let smf = drift["objects"].as_array().unwrap().iter().find(|it| it["state"] == "CHANGED").unwrap();
    assert_eq!((&smf["name"], &smf["differences"][0]["intended"]), (&json!("smf"), &json!(0)));

    site.gybe.complete(&site.path, "heal", &json!({})).await;
    site.gybe.until(&site.path, |it| vnfcs(it).is_empty()).await;
}

#[tokio::test]
async fn a_stop_that_can_not_end_is_cancelled_and_rolled_back_to_what_ran_before() {
    let site = Site::new(Gybe::start(), "v2").await;
    let before = site.instance().await;
    let agents = site.cluster.api("apps/v1", "DaemonSet", "daemonsets", Some(&site.namespace.name));
    let finalizers = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    agents.patch("upf", &PatchParams::default(), &finalizers(json!(["example.org/held"]))).await.unwrap();

    let op = site.gybe.begin(&site.path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    let begun = Instant::now();
    while agents.get("upf").await.unwrap().metadata.deletion_timestamp.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not being removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "FORCEFUL" })).await.expect(StatusCode::ACCEPTED);
    let stopped = site.gybe.settled(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
    agents.patch("upf", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    site.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(site.gybe.settled(&op).await["operationState"], "ROLLED_BACK");
    let after = site.instance().await;
    assert_eq!(after["instantiatedVnfInfo"]["vnfState"], "STARTED");
    assert_eq!(vnfcs(&after), vnfcs(&before));
    assert_eq!(site.drift().await["inSync"], true);
}

#[tokio::test]
async fn an_operation_that_can_not_be_is_refused_before_the_202() {
    let site = Site::new(Gybe::start(), "v2").await;
    let created = site.gybe.create("v1", site.instance().await["vnfdId"].as_str().unwrap()).await;
    let start = json!({ "changeStateTo": "STARTED" });
    assert!(site.gybe.post(&format!("{created}/operate"), &start).await.problem(409).contains("NOT_INSTANTIATED"));
    let ops = site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
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
        let detail = site.gybe.post(&format!("{}/operate", site.path), &request).await.problem(status);
        assert!(detail.contains(says), "{request}: {detail}");
    }
    assert_eq!(site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), ops);
}
