//! CHANGE_VNFPKG: a CNF gets the objects of another package, and those of its own back. What is decided
//! (`gybe::domain::change`), and the whole through the API of the real binary, on the real control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gybe::domain::change::{backward, forward, kept, kept_levels, level_in_force, numbers};
use gybe::domain::manifest::Manifest;
use gybe::domain::namespace::Namespace;
use gybe::domain::package::DefinitionFile;
use gybe::domain::plan::Step;
use gybe::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu};
use gybe::package::manifest;
use kube::api::{DynamicObject, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, connection};
use crate::support::postgres::Database;
use crate::support::sample::{of_version, with_manifests};
use crate::support::subscriber::Subscriber;

// --- what is decided --------------------------------------------------------------------------------------------------

/// A row of an object that is there; `what` is its apiVersion, kind and name.
fn row(what: &str, spec: Value) -> Resource {
    let [api_version, kind, name] = what.split(' ').collect::<Vec<_>>()[..] else { panic!("{what}") };
    let object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name }, "spec": spec });
    Resource {
        key: ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() },
        info: KindInfo { plural: String::new(), namespaced: true },
        vdu_id: None,
        manifest: object.as_object().unwrap().clone(),
        state: ResourceState::Present { uid: what.to_owned(), owned: true },
    }
}

/// The steps in words.
fn told(steps: &[Step]) -> Vec<String> {
    let of_rows = |rows: &[Resource]| rows.iter().map(|row| row.key.to_string()).collect::<Vec<_>>().join(", ");
    let of_keys = |keys: &[ObjectKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let told = |step: &Step| match step {
        Step::DeleteReplaced { rows } | Step::Change { rows } => format!("{}: {}", step.name(), of_rows(rows)),
        Step::MarkUncertain { objects } | Step::AwaitReady { objects } | Step::Remove { objects, .. } => {
            format!("{}: {}", step.name(), of_keys(objects))
        }
        other => panic!("{other:?}"),
    };
    steps.iter().map(told).collect()
}

#[test]
fn what_is_new_is_ready_before_what_is_old_goes_and_on_the_way_back_it_goes_before_the_old_is_waited_for() {
    let before = [
        row("v1 ConfigMap settings", json!(1)),
        row("v1 Service old", json!(1)),
        row("apps/v1 Deployment web", json!(1)),
        row("apps/v1 Deployment old", json!(1)),
    ];
    let after = [
        row("v1 ResourceQuota new", json!(1)),
        row("v1 ConfigMap settings", json!(2)),
        row("apps/v1 Deployment web", json!(2)),
        row("apps/v1 Deployment new", json!(1)),
    ];
    assert_eq!(
        told(&forward(&before, &after)),
        [
            "change: ResourceQuota new",
            "change: ConfigMap settings",
            "change: Deployment web, Deployment new",
            "await ready: ResourceQuota new, ConfigMap settings, Deployment web, Deployment new",
            "remove: Deployment old",
            "remove: Service old",
        ]
    );
    assert_eq!(
        told(&backward(&before, &after)),
        [
            "change: ConfigMap settings",
            "change: Service old",
            "change: Deployment web, Deployment old",
            "remove: Deployment new",
            "remove: ResourceQuota new",
            "await ready: ConfigMap settings, Service old, Deployment web, Deployment old",
        ]
    );
}

#[test]
fn what_can_not_be_changed_is_made_anew_and_a_job_that_has_run_is_left_alone() {
    let template = |image: &str| json!({ "template": { "spec": { "containers": [{ "image": image }] } } });
    let before = [
        row("batch/v1 Job changed", template("a")),
        row("batch/v1 Job same", template("a")),
        row("v1 Pod changed", json!({ "containers": [1] })),
        row("v1 Pod same", json!({ "containers": [1] })),
        row("apps/v1 ReplicaSet changed", template("a")),
        row("apps/v1 ReplicaSet scaled", json!({ "replicas": 1 })),
        row("apps/v1 Deployment changed", template("a")),
        row("apps/v1 StatefulSet changed", template("a")),
    ];
    let after = [
        row("batch/v1 Job changed", template("b")),
        row("batch/v1 Job same", template("a")),
        row("v1 Pod changed", json!({ "containers": [2] })),
        row("v1 Pod same", json!({ "containers": [1] })),
        row("apps/v1 ReplicaSet changed", template("b")),
        row("apps/v1 ReplicaSet scaled", json!({ "replicas": 2 })),
        row("apps/v1 Deployment changed", template("b")),
        row("apps/v1 StatefulSet changed", template("b")),
    ];
    let [there, back] = [forward(&before, &after), backward(&before, &after)].map(|steps| told(&steps));
    assert_eq!(there[..2], ["doubt: Job changed", "clear: Job changed, Pod changed, ReplicaSet changed"]);
    assert!(there[2].starts_with("change: Job changed, Job same, Pod changed, Pod same"));
    assert!(there[3].starts_with("await ready: Job changed, Pod changed"), "{}", there[3]);
    assert_eq!(there.len(), 4);
    assert_eq!(back[..3], there[..3]);
    assert!(back[3].starts_with("await ready: Pod changed, Pod same"), "no Job is waited for: {}", back[3]);
    let dropped = told(&forward(&before[..1], &[]));
    assert_eq!(dropped[1..], ["doubt: Job changed", "remove: Job changed"]);
}

#[test]
fn an_object_in_another_version_of_its_group_is_the_same_object() {
    let before = [row("autoscaling/v1 HorizontalPodAutoscaler web", json!(1))];
    let after = [row("autoscaling/v2 HorizontalPodAutoscaler web", json!(1))];
    let objects = ["change: HorizontalPodAutoscaler web", "await ready: HorizontalPodAutoscaler web"];
    assert_eq!(told(&forward(&before, &after)), objects);
    assert_eq!(told(&backward(&before, &after)), objects);
    let other = [row("example.org/v2 HorizontalPodAutoscaler web", json!(1))];
    assert_eq!(told(&forward(&before, &other))[2], "remove: HorizontalPodAutoscaler web");
}

#[test]
fn a_workload_whose_autoscaler_is_dropped_gets_its_replicas_once_that_is_gone() {
    let autoscaler = |name: &str, target: &str| {
        row(
            &format!("autoscaling/v2 HorizontalPodAutoscaler {name}"),
            json!({ "scaleTargetRef": { "kind": "Deployment", "name": target } }),
        )
    };
    let deployment = |name: &str, replicas: Option<u32>| {
        row(&format!("apps/v1 Deployment {name}"), replicas.map_or(json!({}), |number| json!({ "replicas": number })))
    };
    let before = [deployment("a", None), deployment("b", None), autoscaler("a", "a"), autoscaler("b", "b")];
    let after = [deployment("a", Some(3)), deployment("b", None), autoscaler("b", "b")];
    let steps = told(&forward(&before, &after));
    let end = ["remove: HorizontalPodAutoscaler a", "change: Deployment a", "await ready: Deployment a"];
    assert_eq!(steps[steps.len() - 3..], end);
    let before = [deployment("a", Some(3))];
    let after = [deployment("a", None), autoscaler("a", "a")];
    let back = [
        "change: Deployment a",
        "remove: HorizontalPodAutoscaler a",
        "change: Deployment a",
        "await ready: Deployment a",
    ];
    assert_eq!(told(&backward(&before, &after)), back);
}

#[test]
fn the_namespace_that_the_vnf_lives_in_stays_with_it() {
    let home = Namespace::try_from("home".to_owned()).unwrap();
    let before = [row("v1 Namespace home", json!(1)), row("v1 Namespace other", json!(1))];
    let names =
        |after: &[Resource]| kept(&before, after, &home).iter().map(|row| row.key.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&[]), ["home"]);
    assert_eq!(names(&[row("v1 Namespace home", json!(2))]), [""; 0]);
}

/// Name, highest level, and what a level adds to VDUs.
type Aspect<'a> = (&'a str, u32, &'a [(&'a str, u32)]);

fn flavour(aspects: &[Aspect<'_>], initial: &[(&str, Option<u32>)]) -> Flavour {
    let aspect = |max_level, deltas: &[(&str, u32)]| ScalingAspect {
        max_level,
        deltas: deltas.iter().map(|(vdu, delta)| ((*vdu).to_owned(), vec![*delta])).collect(),
    };
    let vdu = |name: &str, initial| Vdu { name: name.to_lowercase(), min: 1, max: 9, initial };
    Flavour {
        vdus: initial.iter().map(|(id, initial)| ((*id).to_owned(), vdu(id, *initial))).collect(),
        aspects: aspects.iter().map(|(id, max, deltas)| ((*id).to_owned(), aspect(*max, deltas))).collect(),
        ..Flavour::default()
    }
}

fn levels(levels: &[(&str, u32)]) -> BTreeMap<String, u32> {
    levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()
}

fn manifests(yaml: &str) -> Vec<Manifest> {
    manifest::read(&[DefinitionFile { path: "a.yaml".to_owned(), text: yaml.to_owned() }]).unwrap()
}

#[test]
fn levels_are_kept_and_new_aspects_begin_where_an_instantiation_would() {
    let level =
        InstantiationLevel { scale_levels: levels(&[("kept", 1), ("new", 2)]), ..InstantiationLevel::default() };
    let flavour = Flavour {
        levels: BTreeMap::from([("default".to_owned(), level)]),
        default_level: Some("default".to_owned()),
        ..flavour(&[("kept", 3, &[("A", 1)]), ("new", 2, &[("A", 1)])], &[("A", Some(1))])
    };
    let after = kept_levels(&flavour, &levels(&[("kept", 3), ("dropped", 7)])).unwrap();
    assert_eq!(after, levels(&[("kept", 3), ("new", 2)]));
    let refused = kept_levels(&flavour, &levels(&[("kept", 4)])).unwrap_err();
    assert_eq!(refused.status, 422);
    assert!(refused.detail.contains("'kept' is at level 4") && refused.detail.contains("0..=3"), "{}", refused.detail);
}

#[test]
fn the_numbers_are_those_of_the_new_vnfd_at_the_levels_that_are_kept() {
    let three = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: b}, spec: {replicas: 3}}";
    let flavour = flavour(&[("a", 4, &[("A", 2), ("B", 1)])], &[("A", Some(1)), ("B", None), ("C", None)]);
    let stated = numbers(&flavour, &levels(&[("a", 2)]), None, &manifests(three)).unwrap();
    assert_eq!(stated, levels(&[("A", 5), ("B", 5)]), "of C the manifest says it");
    let refused = numbers(&flavour, &levels(&[("a", 8)]), None, &manifests(three)).unwrap_err();
    assert_eq!(refused.status, 422);
}

#[test]
fn a_vnf_that_was_instantiated_at_a_level_without_aspects_stays_at_it() {
    let at = |number| InstantiationLevel { vdu_instances: levels(&[("A", number)]), ..InstantiationLevel::default() };
    let with = |small, large| Flavour {
        levels: BTreeMap::from([("large".to_owned(), at(large)), ("small".to_owned(), at(small))]),
        default_level: Some("small".to_owned()),
        ..flavour(&[], &[("A", None)])
    };
    let (before, after) = (with(1, 4), with(2, 6));
    let level = level_in_force(&before, &levels(&[]), &levels(&[("A", 4)]));
    assert_eq!(level, Some("large"));
    assert_eq!(numbers(&after, &levels(&[]), level, &[]).unwrap(), levels(&[("A", 6)]));
    assert_eq!(level_in_force(&before, &levels(&[]), &levels(&[("A", 1)])), Some("small"));
    assert_eq!(level_in_force(&before, &levels(&[]), &levels(&[("A", 3)])), None);
}

// --- through the API --------------------------------------------------------------------------------------------------

/// The first package.
const FIRST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, only: here}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: legacy}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: first-secret-word}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: legacy}
spec: {selector: {app: legacy}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "registry.k8s.io/pause:3.9"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: legacy}
spec:
  selector: {matchLabels: {app: legacy}}
  template:
    metadata: {labels: {app: legacy}}
    spec: {containers: [{name: legacy, image: "registry.k8s.io/pause:3.9"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: prepare}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: prepare, image: "busybox:1.36"}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: "busybox:1.36"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: probe, image: "registry.k8s.io/pause:3.9"}]}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: legacy}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: legacy}, minReplicas: 1, maxReplicas: 3}
"#;

/// Its successor: `{image}` is that of the Deployment.
const SECOND: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: elsewhere}
data: {greeting: goodbye}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: new}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: second-secret-word}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80, name: http}, {port: 81, name: more}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: somewhere}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "{image}"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: prepare}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: prepare, image: "busybox:1.37"}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: once, image: "busybox:1.36"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec: {containers: [{name: probe, image: "registry.k8s.io/pause:3.10"}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: legacy}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: legacy}, minReplicas: 1, maxReplicas: 4}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: new}
spec:
  serviceName: new
  selector: {matchLabels: {app: new}}
  template:
    metadata: {labels: {app: new}}
    spec: {containers: [{name: new, image: "registry.k8s.io/pause:3.10"}]}
"#;

const SOUND: &str = "registry.k8s.io/pause:3.10";
const UNPULLABLE: &str = "registry.invalid/app:2";

/// A VNF of the first package.
struct Site {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
    first: String,
}

impl Site {
    async fn new(gybe: Gybe) -> Self {
        Self::of(gybe, FIRST).await
    }

    async fn of(gybe: Gybe, manifests: &str) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let package = gybe.upload(&with_manifests(&[("Files/all.yaml", manifests)])).await;
        let first = package["vnfdId"].as_str().unwrap().to_owned();
        let path = gybe.create("v2", &first).await;
        let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
        gybe.complete(&path, "instantiate", &request).await;
        Self { cluster, namespace, gybe, path, first }
    }

    /// Onboards a package of another version; gives back its vnfdId.
    async fn onboard(&self, version: &str, manifests: &str) -> String {
        let package = self.gybe.upload(&of_version(version, &[("Files/all.yaml", manifests)])).await;
        assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
        package["vnfdId"].as_str().unwrap().to_owned()
    }

    async fn second(&self, image: &str) -> String {
        self.onboard("2.0", &SECOND.replace("{image}", image)).await
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    async fn change(&self, vnfd: &str) -> Value {
        self.gybe.complete(&self.path, "change_vnfpkg", &json!({ "vnfdId": vnfd })).await
    }

    /// A change that stops; its op occurrence's URI, and what that says.
    async fn stopped(&self, vnfd: &str) -> (String, Value) {
        let op = self.gybe.begin(&self.path, "change_vnfpkg", &json!({ "vnfdId": vnfd })).await;
        let stopped = self.gybe.settled(&op).await;
        assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
        (op, stopped)
    }

    async fn roll_back(&self, op: &str) {
        self.gybe.post(&format!("{op}/rollback"), &json!({})).await.expect(StatusCode::ACCEPTED);
        let ended = self.gybe.settled(op).await;
        assert_eq!(ended["operationState"], "ROLLED_BACK", "{ended:#}\n{}", self.gybe.log());
    }

    async fn fail(&self, op: &str) {
        let failed = self.gybe.post(&format!("{op}/fail"), &json!({})).await.expect(StatusCode::OK);
        assert_eq!(failed["operationState"], "FAILED");
    }

    /// The objects, but for what controllers make.
    async fn objects(&self) -> BTreeMap<String, DynamicObject> {
        let marked = self.cluster.marked(&self.namespace.name).await;
        let own = marked.into_iter().filter(|(_, object)| object.metadata.owner_references.is_none());
        own.map(|(kind, object)| (format!("{kind} {}", object.metadata.name.as_ref().unwrap()), object)).collect()
    }

    async fn uids(&self) -> BTreeMap<String, String> {
        self.objects().await.into_iter().map(|(name, object)| (name, object.metadata.uid.unwrap())).collect()
    }

    /// What the objects are, without what they are called by and what the cluster adds at random.
    async fn specs(&self) -> BTreeMap<String, Value> {
        self.objects().await.into_iter().map(|(name, object)| (name, spec(object))).collect()
    }

    async fn is_as_before(&self, before: &BTreeMap<String, Value>) {
        let now = self.specs().await;
        assert_eq!(now.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        for (name, spec) in before {
            assert_eq!(now[name], *spec, "{name}");
        }
        self.is_in_sync().await;
    }

    async fn usage(&self, vnfd: &str) -> String {
        let packages = self.gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
        let package = packages.as_array().unwrap().iter().find(|it| it["vnfdId"] == vnfd).unwrap();
        package["usageState"].as_str().unwrap().to_owned()
    }

    async fn is_in_sync(&self) {
        let drift = self.gybe.get(&format!("{}/drift", self.path)).await.expect(StatusCode::OK);
        assert_eq!(drift["inSync"], true, "{drift:#}");
        let known = drift["objects"].as_array().unwrap().iter();
        let known: BTreeSet<String> =
            known.map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["name"].as_str().unwrap())).collect();
        let there: BTreeSet<String> = self.objects().await.into_keys().filter(|it| !it.starts_with("Persi")).collect();
        assert_eq!(known, there);
    }

    async fn nothing_is_left_once_terminated(&self) {
        self.gybe.complete(&self.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        let left = self.cluster.marked(&self.namespace.name).await;
        let left: Vec<_> = left.iter().map(|(kind, it)| (kind, it.metadata.name.clone())).collect();
        assert!(left.is_empty(), "{left:?}");
        self.gybe.delete(&self.path).await.expect(StatusCode::NO_CONTENT);
    }
}

fn spec(object: DynamicObject) -> Value {
    let DynamicObject { metadata, mut data, .. } = object;
    let [mut labels, mut annotations] = [metadata.labels, metadata.annotations].map(Option::unwrap_or_default);
    labels.retain(|name, _| !name.starts_with("topology.kubernetes.io/"));
    annotations.retain(|name, _| !name.contains("kubernetes.io/"));
    data.as_object_mut().unwrap().remove("status");
    if let Some(Value::Object(spec)) = data.get_mut("spec") {
        // Drawn anew with the object: addresses, the selector of a Job, the node and the token of a Pod.
        ["clusterIP", "clusterIPs", "nodeName", "volumes"].iter().for_each(|name| drop(spec.remove(*name)));
        if spec.contains_key("backoffLimit") {
            spec.remove("selector");
            spec["template"].as_object_mut().unwrap().remove("metadata");
        }
        if let Some(Value::Array(containers)) = spec.get_mut("containers") {
            containers.iter_mut().for_each(|it| drop(it.as_object_mut().unwrap().remove("volumeMounts")));
        }
    }
    json!({ "labels": labels, "annotations": annotations, "data": data })
}

/// The image that each container of the pods of VDU1 runs, by the VNFCs that are shown.
async fn images(site: &Site) -> Vec<String> {
    let pods = site.cluster.api("v1", "Pod", "pods", Some(&site.namespace.name));
    let mut images = Vec::new();
    for vnfc in site.instance().await["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap() {
        let pod = pods.get(vnfc["id"].as_str().unwrap()).await.unwrap();
        images.push(pod.data["spec"]["containers"][0]["image"].as_str().unwrap().to_owned());
    }
    images
}

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
async fn an_image_that_can_not_be_pulled_stops_the_change_with_the_evidence_and_all_is_rolled_back_exactly() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(UNPULLABLE).await;
    let (specs, uids, before) = (site.specs().await, site.uids().await, site.instance().await);
    let (op, stopped) = site.stopped(&second).await;
    let text = stopped["error"].to_string();
    assert!(text.contains("ImagePullBackOff") && text.contains("registry.invalid"), "{text}");
    assert!(stopped["error"]["evidence"]["objects"].as_array().unwrap().iter().any(|it| it["kind"] == "Pod"), "{text}");
    assert!(!text.contains("secret-word"), "{text}");
    let there = site.uids().await;
    assert!(there.contains_key("Deployment legacy"), "nothing is removed before what is new is ready");

    // Both are in use, and none of them goes.
    for vnfd in [&site.first, &second] {
        assert_eq!(site.usage(vnfd).await, "IN_USE");
        let packages = site.gybe.get("/vnfpkgm/v1/vnf_packages").await.expect(StatusCode::OK);
        let package = packages.as_array().unwrap().iter().find(|it| it["vnfdId"] == *vnfd).unwrap();
        let href = package["_links"]["self"]["href"].as_str().unwrap();
        let disabled = json!({ "operationalState": "DISABLED" });
        site.gybe.patch(href, &disabled).await.expect(StatusCode::OK);
        assert!(site.gybe.delete(href).await.problem(409).contains("IN_USE"));
    }
    assert_eq!(site.instance().await["vnfdId"], *site.first);

    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    let (now, changed) = (site.uids().await, ["Job prepare", "Pod probe"]);
    for (name, uid) in &uids {
        assert_eq!(now[name] == *uid, !changed.contains(&name.as_str()), "{name}");
    }
    site.is_in_sync().await;
    let after = site.instance().await;
    let without_pods = |mut instance: Value| {
        instance["instantiatedVnfInfo"].as_object_mut().unwrap().retain(|name, _| !name.starts_with("vnfc"));
        instance
    };
    assert_eq!(without_pods(after), without_pods(before));
    assert_eq!(
        (site.usage(&site.first).await, site.usage(&second).await),
        ("IN_USE".to_owned(), "NOT_IN_USE".to_owned())
    );
    let ended = site.gybe.get(&op).await.expect(StatusCode::OK);
    assert_eq!(ended.get("modificationsTriggeredByVnfPkgChange"), None);
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn what_was_removed_already_is_made_again_when_the_change_is_rolled_back() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(SOUND).await;
    let specs = site.specs().await;
    let settings = site.cluster.api("v1", "ConfigMap", "configmaps", Some(&site.namespace.name));
    let finalizers = |list: Value| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    settings.patch("legacy", &PatchParams::default(), &finalizers(json!(["example.org/held"]))).await.unwrap();
    let op = site.gybe.begin(&site.path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let begun = Instant::now();
    while settings.get("legacy").await.unwrap().metadata.deletion_timestamp.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not being removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!site.uids().await.contains_key("Deployment legacy"));
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "FORCEFUL" })).await.expect(StatusCode::ACCEPTED);
    assert_eq!(site.gybe.settled(&op).await["operationState"], "FAILED_TEMP");
    settings.patch("legacy", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    assert_eq!(images(&site).await, ["registry.k8s.io/pause:3.9"; 2]);

    // And the same again, to its end.
    site.change(&second).await;
    site.is_in_sync().await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn what_the_api_server_refuses_stops_the_change_and_it_is_rolled_back() {
    let site = Site::new(Gybe::start()).await;
    let specs = site.specs().await;
    let selector = SECOND
        .replace("{image}", SOUND)
        .replace("selector: {matchLabels: {app: app}}", "selector: {matchLabels: {app: other}}");
    let selector = selector.replace("metadata: {labels: {app: app}}", "metadata: {labels: {app: other}}");
    let second = site.onboard("2.0", &selector).await;
    let (op, stopped) = site.stopped(&second).await;
    assert_eq!(stopped["error"]["status"], 422);
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("immutable"), "{stopped:#}");
    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn an_object_of_somebody_else_stops_the_change_and_stays_as_it_is() {
    let site = Site::new(Gybe::start()).await;
    let specs = site.specs().await;
    let foreign =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "new" }, "data": { "mine": "1" } });
    site.cluster.create("configmaps", Some(&site.namespace.name), foreign).await;
    let second = site.second(SOUND).await;
    let (op, stopped) = site.stopped(&second).await;
    assert_eq!(stopped["error"]["status"], 409);
    assert!(stopped["error"]["detail"].as_str().unwrap().contains("ConfigMap new"), "{stopped:#}");
    site.roll_back(&op).await;
    site.is_as_before(&specs).await;
    let settings = site.cluster.api("v1", "ConfigMap", "configmaps", Some(&site.namespace.name));
    assert_eq!(settings.get("new").await.unwrap().data["data"], json!({ "mine": "1" }));
    site.is_in_sync().await;
    site.nothing_is_left_once_terminated().await;
    assert!(settings.get("new").await.is_ok());
}

#[tokio::test]
async fn a_change_that_was_failed_half_way_can_be_healed_changed_again_and_terminated() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(UNPULLABLE).await;
    let (op, _) = site.stopped(&second).await;
    site.fail(&op).await;
    let instance = site.instance().await;
    assert_eq!((&instance["vnfdId"], &instance["instantiationState"]), (&json!(site.first), &json!("INSTANTIATED")));
    assert_eq!(site.usage(&second).await, "NOT_IN_USE");
    let retried = site.gybe.post(&format!("{op}/retry"), &json!({})).await;
    retried.problem(409);

    // Healing brings back what the operation left, which does not become ready.
    let heal = site.gybe.begin(&site.path, "heal", &json!({})).await;
    assert_eq!(site.gybe.settled(&heal).await["operationState"], "FAILED_TEMP");
    site.fail(&heal).await;

    let third = site.onboard("3.0", &SECOND.replace("{image}", SOUND)).await;
    site.change(&third).await;
    assert_eq!(images(&site).await, [SOUND; 2]);
    site.is_in_sync().await;
    assert!(!site.uids().await.contains_key("Deployment legacy"));
    site.gybe.complete(&site.path, "heal", &json!({})).await;

    // The package it has: what was failed on the way from it is undone by it.
    let (op, _) = site.stopped(&second).await;
    site.fail(&op).await;
    site.change(&third).await;
    assert_eq!(images(&site).await, [SOUND; 2]);
    site.is_in_sync().await;

    let (op, _) = site.stopped(&second).await;
    site.fail(&op).await;
    site.nothing_is_left_once_terminated().await;
}

#[tokio::test]
async fn a_change_is_cancelled_retried_and_comes_to_its_end() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second("registry.k8s.io/never-ready:1.0").await;
    let op = site.gybe.begin(&site.path, "change_vnfpkg", &json!({ "vnfdId": second })).await;
    let sets = site.cluster.api("apps/v1", "StatefulSet", "statefulsets", Some(&site.namespace.name));
    let begun = Instant::now();
    while sets.get_opt("new").await.unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", site.gybe.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.gybe.post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" })).await.expect(StatusCode::ACCEPTED);
    let stopped = site.gybe.settled(&op).await;
    assert_eq!(stopped["operationState"], "FAILED_TEMP", "{stopped:#}");
    assert!(stopped["error"]["detail"].as_str().unwrap().starts_with("cancelled by request"), "{stopped:#}");
    // What kept it from its end is mended by hand.
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": SOUND }] } } } });
    site.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    let deployments = site.cluster.api("apps/v1", "Deployment", "deployments", Some(&site.namespace.name));
    let mend = PatchParams::apply("by-hand").force();
    let object =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "app" }, "spec": image["spec"] });
    deployments.patch("app", &mend, &Patch::Apply(object)).await.unwrap();
    let ended = site.gybe.settled(&op).await;
    assert_eq!(ended["operationState"], "COMPLETED", "{ended:#}");
    assert_eq!(site.instance().await["vnfdId"], *second);
    site.nothing_is_left_once_terminated().await;
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

#[tokio::test]
async fn a_change_that_can_not_be_is_refused_before_the_202() {
    let site = Site::new(Gybe::start()).await;
    let second = site.second(SOUND).await;
    let broken = site.onboard("3.0", "{apiVersion: v1, kind: ConfigMap, metadata: {}}").await;
    let with = |params: Value| json!({ "vnfdId": second, "additionalParams": params });
    let ops = site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    let elsewhere = connection(&site.cluster.admin);
    let mut moved = elsewhere.clone();
    moved["interfaceInfo"]["endpoint"] = "https://elsewhere.example:6443".into();
    for (request, status, says) in [
        (json!({}), 400, "vnfdId"),
        (json!({ "vnfdId": "unknown" }), 422, "'unknown'"),
        (json!({ "vnfdId": broken }), 422, "metadata has no name"),
        (with(json!({ "upgrade_type": "BlueGreen" })), 422, "RollingUpdate"),
        (with(json!({ "upgrade_type": 1 })), 400, "upgrade_type"),
        (with(json!({ "vdu_params": [{}] })), 400, "vdu_id"),
        (with(json!({ "vdu_params": "VDU1" })), 400, "vdu_params"),
        (with(json!({ "vdu_params": [{ "vdu_id": "VDU7" }] })), 422, "VDU7"),
        (with(json!({ "namespace": "default" })), 422, "stays there"),
        (with(json!({ "namespace": 5 })), 400, "namespace"),
        (with(json!({ "namespace": "" })), 400, "namespace"),
        (with(json!({ "lcm-kubernetes-def-files": ["Files/none.yaml"] })), 422, "Files/none.yaml"),
        (with(json!({ "lcm-kubernetes-def-files": 5 })), 400, "lcm-kubernetes-def-files"),
        (json!({ "vnfdId": second, "vimConnectionInfo": { "default": moved } }), 409, "stays there"),
        (json!({ "vnfdId": second, "extensions": { "a": "x".repeat(70_000) } }), 422, "extensions"),
    ] {
        let answer = site.gybe.post(&format!("{}/change_vnfpkg", site.path), &request).await;
        let detail = answer.problem(status);
        assert!(detail.contains(says), "{request}: {detail}");
    }
    assert_eq!(site.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK), ops);

    let created = site.gybe.create("v2", &site.first).await;
    let refused = site.gybe.post(&format!("{created}/change_vnfpkg"), &json!({ "vnfdId": second })).await;
    assert!(refused.problem(409).contains("NOT_INSTANTIATED"));
    assert!(site.gybe.get(&created).await.expect(StatusCode::OK)["_links"].get("changeCurrentVnfPkg").is_none());
    for task in ["change_vnfpkg", "change_current_vnfpkg"] {
        let of_v1 = site.path.replace("/v2/", "/v1/");
        site.gybe.post(&format!("{of_v1}/{task}"), &json!({ "vnfdId": second })).await.problem(404);
    }
    let of_v1 = site.gybe.get(&site.path.replace("/v2/", "/v1/")).await.expect(StatusCode::OK);
    assert!(of_v1["_links"].get("changeCurrentVnfPkg").is_none());
    site.gybe.complete(&site.path, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    let refused = site.gybe.post(&format!("{}/change_vnfpkg", site.path), &json!({ "vnfdId": second })).await;
    assert!(refused.problem(409).contains("STOPPED"));
    assert!(site.instance().await["_links"].get("changeCurrentVnfPkg").is_none());
}
