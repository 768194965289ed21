//! A change of package that completes: objects, levels, namespace, replicas, view and notifications.

use std::collections::BTreeMap;

use gybe::domain::namespace::Namespace;
use kube::api::{Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ChangeFixture, SOUND, images};
use crate::support::cluster::Cluster;
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::sample::{of_version, with_manifests};
use crate::support::subscriber::Subscriber;

async fn check_change_and_back(mut fixture: ChangeFixture, task: &str) {
    let ChangeFixture { namespace, .. } = &fixture;
    let second = fixture.second(SOUND).await;
    let (before, uids) = (fixture.instance().await, fixture.uids().await);
    assert!(before["_links"]["changeCurrentVnfPkg"]["href"].as_str().unwrap().ends_with("/change_vnfpkg"));
    let request = json!({
        "vnfdId": second,
        "additionalParams": {
            "upgrade_type": "RollingUpdate", "lcm-kubernetes-def-files": ["Files/all.yaml"], "vdu_params": [{ "vdu_id": "VDU1" }],
            "namespace": namespace.name.as_str(),
        },
        "extensions": { "site": "north" },
        "vnfConfigurableProperties": { "mode": 1 },
    });
    let op = fixture.gybe.complete(&fixture.path, task, &request).await;
    assert_eq!((&op["operation"], op.get("changedInfo")), (&json!("CHANGE_VNFPKG"), None));
    assert_eq!(op["operationParams"], request);
    let modifications = json!({
        "vnfdId": second, "vnfSoftwareVersion": "2.0", "vnfdVersion": "2.0",
        "extensions": { "site": "north" }, "vnfConfigurableProperties": { "mode": 1 },
    });
    assert_eq!(op["modificationsTriggeredByVnfPkgChange"], modifications);
    let changed = op["resourceChanges"]["affectedVnfcs"].as_array().unwrap();
    assert_eq!(changed.iter().filter(|it| it["changeType"] == "ADDED").count(), 2);
    assert_eq!(changed.iter().filter(|it| it["changeType"] == "REMOVED").count(), 2);
    let of_v1 = fixture.gybe.get(&op["_links"]["self"]["href"].as_str().unwrap().replace("/v2/", "/v1/")).await;
    assert_eq!(of_v1.expect(StatusCode::OK).get("modificationsTriggeredByVnfPkgChange"), None);

    let after = fixture.instance().await;
    let shown = |name: &str| after[name].clone();
    assert_eq!(shown("vnfdId"), second);
    assert_eq!((shown("vnfSoftwareVersion"), shown("vnfdVersion")), (json!("2.0"), json!("2.0")));
    assert_eq!((shown("vnfProvider"), shown("vnfProductName")), (json!("Gybe"), json!("Small")));
    assert_eq!(
        (shown("extensions"), shown("vnfConfigurableProperties")),
        (json!({ "site": "north" }), json!({ "mode": 1 }))
    );
    assert_eq!(after["metadata"], before["metadata"]);
    assert_eq!(images(&fixture).await, [SOUND; 2]);

    let (now, objects) = (fixture.uids().await, fixture.objects().await);
    let same = |name: &str| uids.get(name) == now.get(name);
    for kept in [
        "ConfigMap settings",
        "Secret key",
        "Service app",
        "Deployment app",
        "HorizontalPodAutoscaler legacy",
        "Job once",
    ] {
        assert!(same(kept), "{kept}: {now:#?}");
    }
    assert!(!same("Job prepare") && !same("Pod probe"));
    for dropped in ["ConfigMap legacy", "Service legacy", "Deployment legacy"] {
        assert!(uids.contains_key(dropped) && !now.contains_key(dropped), "{now:#?}");
    }
    assert!(now.contains_key("ConfigMap new") && now.contains_key("StatefulSet new"));
    assert_eq!(
        objects["ConfigMap settings"].data["data"],
        json!({ "greeting": "goodbye" }),
        "the change removed the old data"
    );
    assert_eq!(objects["HorizontalPodAutoscaler legacy"].data["spec"]["maxReplicas"], 4);
    fixture.check_in_sync().await;
    assert_eq!(
        (fixture.usage(&fixture.first).await, fixture.usage(&second).await),
        ("NOT_IN_USE".to_owned(), "IN_USE".to_owned())
    );

    // And back, by another process.
    fixture.gybe.kill();
    fixture.gybe.restart();
    let first = fixture.first.clone();
    fixture.change(&first).await;
    assert_eq!(images(&fixture).await, ["registry.k8s.io/pause:3.9"; 2]);
    assert_eq!(fixture.uids().await.into_keys().collect::<Vec<_>>(), uids.into_keys().collect::<Vec<_>>());
    fixture.check_in_sync().await;
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn changes_the_package_in_the_namespace_of_the_vnf_and_back() {
    check_change_and_back(ChangeFixture::new(Gybe::start()).await, "change_vnfpkg").await;
}

#[tokio::test]
async fn changes_the_package_by_the_task_name_of_later_editions_on_postgresql() {
    let database = Database::create().await;
    let gybe = Gybe::start_on_with(&database.url, &["--lease", "5"]);
    check_change_and_back(ChangeFixture::new(gybe).await, "change_current_vnfpkg").await;
}

#[tokio::test]
async fn levels_are_kept_and_scaling_follows_the_new_vnfd() {
    let (cluster, gybe) = (Cluster::running().await, Gybe::start());
    let namespace = cluster.namespace().await;
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let (first, second) = (gybe.onboard("core5g").await, gybe.onboard("core5g-2").await);
    let path = gybe.instantiate("v2", &first, namespace.name.as_str()).await;
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "amf", "numberOfSteps": 2 })).await;
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" })).await;
    let before = gybe.get(&path).await.expect(StatusCode::OK);
    gybe.complete(&path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let after = gybe.get(&path).await.expect(StatusCode::OK);
    let info = |instance: &Value, what: &str| instance["instantiatedVnfInfo"][what].clone();
    for what in ["scaleStatus", "maxScaleLevels", "flavourId", "vnfState", "virtualStorageResourceInfo"] {
        assert_eq!(info(&after, what), info(&before, what), "{what}");
    }
    let count = |instance: &Value| {
        let mut numbers = BTreeMap::<String, usize>::new();
        for vnfc in info(instance, "vnfcResourceInfo").as_array().unwrap() {
            *numbers.entry(vnfc["vduId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        numbers
    };
    assert_eq!(count(&after), count(&before));
    gybe.complete(&path, "scale", &json!({ "type": "SCALE_OUT", "aspectId": "amf" })).await;
    assert_eq!(count(&gybe.get(&path).await.expect(StatusCode::OK))["AMF"], 4);
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(cluster.marked(&namespace.name).await.is_empty());
}

#[tokio::test]
async fn a_created_namespace_survives_changes_and_is_deleted_at_the_end() {
    let (cluster, gybe) = (Cluster::running().await, Gybe::start());
    let beside = cluster.namespace().await;
    let name = format!("{}-own", beside.name);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: b}}";
    let package = gybe.upload(&with_manifests(&[("Files/all.yaml", settings)])).await;
    let first = package["vnfdId"].as_str().unwrap().to_owned();
    let path = gybe.create("v2", &first).await;
    let place = json!({ "namespace": name, "createNamespace": true });
    gybe.complete(&path, "instantiate", &json!({ "flavourId": "simple", "additionalParams": place })).await;
    let namespaces = cluster.api("v1", "Namespace", "namespaces", None);
    let made = namespaces.get(&name).await.unwrap().metadata.uid;

    // A package that contains the Namespace, one that does not, and one whose objects name other namespaces.
    let of = |object: &str| format!("{object}\n---\n{settings}");
    let own = of(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{team: core}}}}}}"));
    let elsewhere = settings.replace("name: settings", "name: settings, namespace: elsewhere");
    for (version, manifests) in [("2.0", &own), ("3.0", &elsewhere)] {
        let package = gybe.upload(&of_version(version, &[("Files/all.yaml", manifests)])).await;
        gybe.complete(&path, "change_vnfpkg", &json!({ "vnfdId": package["vnfdId"] })).await;
        let now = namespaces.get(&name).await.unwrap();
        assert_eq!((now.metadata.uid, now.metadata.deletion_timestamp), (made.clone(), None), "{version}");
        let instance = gybe.get(&path).await.expect(StatusCode::OK);
        assert_eq!(instance["metadata"]["namespace"], name);
    }
    let home = Namespace::try_from(name.clone()).unwrap();
    assert!(cluster.api("v1", "ConfigMap", "configmaps", Some(&home)).get("settings").await.is_ok());
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_change_keeps_replicas_owned_by_an_autoscaler() {
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: app, image: 'registry.k8s.io/pause:3.9'}]}}
";
    let autoscaler = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: app}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: app}, minReplicas: 2, maxReplicas: 5}
";
    let fixture = ChangeFixture::of(Gybe::start(), deployment).await;
    let autoscaled = fixture.onboard("2.0", &format!("{deployment}---{autoscaler}")).await;
    let op = fixture.change(&autoscaled).await;
    assert_eq!(op["resourceChanges"]["affectedVnfcs"], json!([]), "no pod was deleted");
    assert_eq!(images(&fixture).await.len(), 3);
    fixture.check_in_sync().await;
    // Scaled by the autoscaler's field manager, as its controller does.
    let deployments = fixture.cluster.api("apps/v1", "Deployment", "deployments", Some(&fixture.namespace.name));
    let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    deployments.patch_scale("app", &PatchParams::default(), &five).await.unwrap();
    fixture
        .gybe
        .wait_until(&fixture.path, |it| it["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len() == 5)
        .await;
    fixture.check_in_sync().await;
    let first = fixture.first.clone();
    fixture.change(&first).await;
    assert_eq!(images(&fixture).await.len(), 3, "they are the package's again");
    fixture.check_in_sync().await;
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn the_view_watches_kinds_of_the_new_package() {
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: app, image: 'registry.k8s.io/pause:3.9'}]}}
";
    let fixture = ChangeFixture::of(Gybe::start(), deployment).await;
    let set = deployment.replace("Deployment", "StatefulSet").replace("selector:", "serviceName: app\n  selector:");
    let second = fixture.onboard("2.0", &set).await;
    fixture.change(&second).await;
    let shown = |instance: &Value| instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0].clone();
    let before = shown(&fixture.instance().await);
    assert_eq!(before["computeResource"]["vimLevelResourceType"], "StatefulSet");
    assert_eq!(before["id"], "app-0");
    let pods = fixture.cluster.api("v1", "Pod", "pods", Some(&fixture.namespace.name));
    pods.delete("app-0", &Default::default()).await.unwrap();
    fixture
        .gybe
        .wait_until(&fixture.path, |instance| {
            let now = shown(instance);
            now["id"] == "app-0" && now["metadata"]["podUid"] != before["metadata"]["podUid"]
        })
        .await;
    fixture.terminate_and_check_nothing_left().await;
}

#[tokio::test]
async fn the_change_is_notified_and_modified_info_only_in_full_notifications() {
    let (fixture, subscriber) = (ChangeFixture::new(Gybe::start()).await, Subscriber::start().await);
    let second = fixture.second(SOUND).await;
    for verbosity in ["FULL", "SHORT"] {
        let filter = json!({ "operationTypes": ["CHANGE_VNFPKG"], "operationStates": ["COMPLETED"] });
        let uri = format!("{}/{verbosity}", subscriber.url);
        let body = json!({ "callbackUri": uri, "verbosity": verbosity, "filter": filter });
        fixture.gybe.post("/vnflcm/v2/subscriptions", &body).await.expect(StatusCode::CREATED);
    }
    // This operation does not match the filter.
    fixture.gybe.complete(&fixture.path, "heal", &json!({})).await;
    fixture.change(&second).await;
    let received = subscriber.wait_for_accepted(2).await.into_iter().filter(|one| one.accepted);
    let notified: BTreeMap<String, Value> = received.map(|one| (one.path, one.body)).collect();
    let (full, short) = (&notified["/FULL"], &notified["/SHORT"]);
    assert_eq!((&full["operation"], &short["operation"]), (&json!("CHANGE_VNFPKG"), &json!("CHANGE_VNFPKG")));
    let modifications = &full["modificationsTriggeredByVnfPkgChange"];
    assert_eq!((&modifications["vnfdId"], &modifications["vnfdVersion"]), (&json!(second), &json!("2.0")), "{full:#}");
    assert_eq!(full.get("changedInfo"), None);
    assert_eq!(short.get("modificationsTriggeredByVnfPkgChange"), None, "{short:#}");
    let all =
        fixture.gybe.get("/vnflcm/v2/vnf_lcm_op_occs?filter=(eq,operation,CHANGE_VNFPKG)").await.expect(StatusCode::OK);
    assert_eq!(all.as_array().unwrap().len(), 1);
    assert!(fixture.gybe.get("/metrics").await.text.contains(r#"operation="CHANGE_VNFPKG""#));
}
