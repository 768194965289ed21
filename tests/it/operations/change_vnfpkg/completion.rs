//! A change of package that completes: objects, levels, namespace, replicas, view and notifications.

use std::collections::BTreeMap;

use gybe::domain::change::{instance_numbers, retained_rows};
use gybe::domain::namespace::Namespace;
use kube::api::{Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{SOUND, Site, images, spec};
use crate::support::cluster::Cluster;
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::sample::{of_version, with_manifests};
use crate::support::subscriber::Subscriber;

async fn gets_the_objects_of_the_other_package(mut site: Site, task: &str) {
    let Site { namespace, .. } = &site;
    let second = site.second(SOUND).await;
    let (before, uids) = (site.instance().await, site.uids().await);
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
    let op = site.gybe.complete(&site.path, task, &request).await;
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
    let of_v1 = site.gybe.get(&op["_links"]["self"]["href"].as_str().unwrap().replace("/v2/", "/v1/")).await;
    assert_eq!(of_v1.expect(StatusCode::OK).get("modificationsTriggeredByVnfPkgChange"), None);

    let after = site.instance().await;
    let shown = |name: &str| after[name].clone();
    assert_eq!(shown("vnfdId"), second);
    assert_eq!((shown("vnfSoftwareVersion"), shown("vnfdVersion")), (json!("2.0"), json!("2.0")));
    assert_eq!((shown("vnfProvider"), shown("vnfProductName")), (json!("Gybe"), json!("Small")));
    assert_eq!(
        (shown("extensions"), shown("vnfConfigurableProperties")),
        (json!({ "site": "north" }), json!({ "mode": 1 }))
    );
    assert_eq!(after["metadata"], before["metadata"]);
    assert_eq!(images(&site).await, [SOUND; 2]);

    let (now, objects) = (site.uids().await, site.objects().await);
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
    assert_eq!(objects["ConfigMap settings"].data["data"], json!({ "greeting": "goodbye" }), "what it had is gone");
    assert_eq!(objects["HorizontalPodAutoscaler legacy"].data["spec"]["maxReplicas"], 4);
    site.is_in_sync().await;
    assert_eq!(
        (site.usage(&site.first).await, site.usage(&second).await),
        ("NOT_IN_USE".to_owned(), "IN_USE".to_owned())
    );

    // And back, by a process that was not there before.
    site.gybe.kill();
    site.gybe.restart();
    let first = site.first.clone();
    site.change(&first).await;
    assert_eq!(images(&site).await, ["registry.k8s.io/pause:3.9"; 2]);
    assert_eq!(site.uids().await.into_keys().collect::<Vec<_>>(), uids.into_keys().collect::<Vec<_>>());
    site.is_in_sync().await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn a_vnf_gets_the_objects_of_another_package_in_its_namespace_and_those_of_the_first_back() {
    gets_the_objects_of_the_other_package(Site::new(Gybe::start()).await, "change_vnfpkg").await;
}

#[tokio::test]
async fn a_vnf_gets_the_objects_of_another_package_under_the_name_of_later_editions_on_postgresql() {
    let database = Database::create().await;
    let gybe = Gybe::start_on_with(&database.url, &["--lease", "5"]);
    gets_the_objects_of_the_other_package(Site::new(gybe).await, "change_current_vnfpkg").await;
}

#[tokio::test]
async fn levels_are_kept_and_the_vnf_scales_on_by_the_new_vnfd() {
    let (cluster, gybe) = (Cluster::running().await, Gybe::start());
    let namespace = cluster.namespace().await;
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let (first, second) = (gybe.onboard("core5g").await, gybe.onboard("core5g-2").await);
    let path = gybe.create("v2", &first).await;
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    gybe.complete(&path, "instantiate", &request).await;
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
async fn the_namespace_that_gybe_made_stays_through_changes_and_goes_at_the_end() {
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

    // One that brings the Namespace itself, one that does not, and one whose objects name others.
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
async fn replicas_that_are_left_to_an_autoscaler_stay_what_they_are_until_it_changes_them() {
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
    let site = Site::of(Gybe::start(), deployment).await;
    let autoscaled = site.onboard("2.0", &format!("{deployment}---{autoscaler}")).await;
    let op = site.change(&autoscaled).await;
    assert_eq!(op["resourceChanges"]["affectedVnfcs"], json!([]), "no pod had to go");
    assert_eq!(images(&site).await.len(), 3);
    site.is_in_sync().await;
    // By the one that scales, and by a hand that asks it to.
    let deployments = site.cluster.api("apps/v1", "Deployment", "deployments", Some(&site.namespace.name));
    let five = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    deployments.patch_scale("app", &PatchParams::default(), &five).await.unwrap();
    site.gybe
        .until(&site.path, |it| it["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len() == 5)
        .await;
    site.is_in_sync().await;
    let first = site.first.clone();
    site.change(&first).await;
    assert_eq!(images(&site).await.len(), 3, "they are the package's again");
    site.is_in_sync().await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn the_view_follows_kinds_that_came_with_the_new_package() {
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: app, image: 'registry.k8s.io/pause:3.9'}]}}
";
    let site = Site::of(Gybe::start(), deployment).await;
    let set = deployment.replace("Deployment", "StatefulSet").replace("selector:", "serviceName: app\n  selector:");
    let second = site.onboard("2.0", &set).await;
    site.change(&second).await;
    let shown = |instance: &Value| instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0].clone();
    let before = shown(&site.instance().await);
    assert_eq!(before["computeResource"]["vimLevelResourceType"], "StatefulSet");
    assert_eq!(before["id"], "app-0");
    let pods = site.cluster.api("v1", "Pod", "pods", Some(&site.namespace.name));
    pods.delete("app-0", &Default::default()).await.unwrap();
    site.gybe
        .until(&site.path, |instance| {
            let now = shown(instance);
            now["id"] == "app-0" && now["metadata"]["podUid"] != before["metadata"]["podUid"]
        })
        .await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn subscribers_are_told_of_the_change_and_only_in_full_of_what_it_modified() {
    let (site, subscriber) = (Site::new(Gybe::start()).await, Subscriber::start().await);
    let second = site.second(SOUND).await;
    for verbosity in ["FULL", "SHORT"] {
        let filter = json!({ "operationTypes": ["CHANGE_VNFPKG"], "operationStates": ["COMPLETED"] });
        let uri = format!("{}/{verbosity}", subscriber.url);
        let body = json!({ "callbackUri": uri, "verbosity": verbosity, "filter": filter });
        site.gybe.post("/vnflcm/v2/subscriptions", &body).await.expect(StatusCode::CREATED);
    }
    // Not this one.
    site.gybe.complete(&site.path, "heal", &json!({})).await;
    site.change(&second).await;
    let received = subscriber.until_taken(2).await.into_iter().filter(|one| one.taken);
    let told: BTreeMap<String, Value> = received.map(|one| (one.path, one.body)).collect();
    let (full, short) = (&told["/FULL"], &told["/SHORT"]);
    assert_eq!((&full["operation"], &short["operation"]), (&json!("CHANGE_VNFPKG"), &json!("CHANGE_VNFPKG")));
    let modifications = &full["modificationsTriggeredByVnfPkgChange"];
    assert_eq!((&modifications["vnfdId"], &modifications["vnfdVersion"]), (&json!(second), &json!("2.0")), "{full:#}");
    assert_eq!(full.get("changedInfo"), None);
    assert_eq!(short.get("modificationsTriggeredByVnfPkgChange"), None, "{short:#}");
    let all =
        site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs?filter=(eq,operation,CHANGE_VNFPKG)").await.expect(StatusCode::OK);
    assert_eq!(all.as_array().unwrap().len(), 1);
    assert!(site.gybe.get("/metrics").await.text.contains(r#"operation="CHANGE_VNFPKG""#));
}
