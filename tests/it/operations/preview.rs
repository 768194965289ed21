//! `POST …/vnf_instances/{id}/{task}/preview`: what a task would do, and the task that runs exactly this plan, through the real binary on
//! the real control plane.

use std::collections::BTreeMap;

use gybe::domain::writer::WRITTEN_BY_ANNOTATION;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, instantiate_request, vim};
use crate::support::sample;

/// The objects of the first package; `{…}` differ in the second.
const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: '{image}'}]}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: {colour}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {password: {password}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: prepare}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'registry.k8s.io/pause:3.10', args: ['{colour}']}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: {service}}, spec: {selector: {app: app}, ports: [{port: 80}]}}
";

fn package(version: &str) -> Vec<u8> {
    let values = match version {
        "1.0" => [
            ("image", "registry.k8s.io/pause:3.10"),
            ("colour", "red"),
            ("password", "hunter2-of-old"),
            ("service", "old"),
        ],
        _ => [
            ("image", "registry.k8s.io/pause:3.9"),
            ("colour", "blue"),
            ("password", "hunter3-of-new"),
            ("service", "new"),
        ],
    };
    let objects =
        values.iter().fold(OBJECTS.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
    sample::scalable(version, &[("Files/all.yaml", &objects)])
}

/// An object as others see it, without what the control plane and each write of Gybe change.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    uid: String,
    version: String,
    content: Value,
}

fn seen(object: DynamicObject) -> Seen {
    let (uid, version) = (object.uid().unwrap(), object.resource_version().unwrap());
    let mut content = serde_json::to_value(object).unwrap();
    content.as_object_mut().unwrap().remove("status");
    let metadata = content["metadata"].as_object_mut().unwrap();
    ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"].iter().for_each(|name| {
        metadata.remove(*name);
    });
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| name != WRITTEN_BY_ANNOTATION && !name.starts_with("deployment.kubernetes.io/"));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    Seen { uid, version, content }
}

type Objects = BTreeMap<(String, String), Seen>;

/// A Gybe with a VNF instance, whose tasks are previewed and run.
struct PreviewFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl PreviewFixture {
    async fn start(gybe: Gybe) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = gybe.upload(&package("1.0")).await["vnfdId"].as_str().unwrap().to_owned();
        let path = gybe.create("v2", &vnfd).await;
        Self { cluster, namespace, gybe, path }
    }

    async fn preview(&self, task: &str, body: &Value) -> Value {
        self.gybe.post(&format!("{}/{task}/preview", self.path), body).await.expect(StatusCode::OK)
    }

    /// The objects of the VNF that no other object owns, and pods.
    async fn objects(&self) -> Objects {
        let marked = self.cluster.marked(&self.namespace.name).await;
        let own = marked.into_iter().filter(|(kind, object)| *kind == "Pod" || object.owner_references().is_empty());
        own.map(|(kind, object)| ((kind.to_owned(), object.name_any()), seen(object))).collect()
    }

    /// What Gybe shows of its state, but for the pods, which it follows.
    async fn state(&self) -> [Value; 4] {
        let mut instance = self.gybe.get(&self.path).await.expect(StatusCode::OK);
        let [metadata, vims] = ["metadata", "vimConnectionInfo"].map(|name| instance[name].take());
        let scale = instance["instantiatedVnfInfo"]["scaleStatus"].take();
        [metadata, vims, scale, self.gybe.get("/vnflcm/v2/vnf_lcm_op_occs?all_fields").await.expect(StatusCode::OK)]
    }

    /// Previews the task, runs the plan, and compares the preview with what has happened. Returns the preview.
    async fn rehearse(&self, task: &str, body: Value) -> Value {
        let (state, before) = (self.state().await, self.objects().await);
        let preview = self.preview(task, &body).await;
        let own = |objects: &Objects| -> Objects {
            objects
                .iter()
                .filter(|((kind, _), _)| kind != "Pod")
                .map(|(key, seen)| (key.clone(), seen.clone()))
                .collect()
        };
        let unchanged = self.objects().await;
        for (key, seen) in own(&before) {
            // The control plane may still write the status of workloads.
            let is_settled = !["Deployment", "Job"].contains(&key.0.as_str());
            let now = &unchanged[&key];
            assert!(now.uid == seen.uid && now.content == seen.content, "{task}: {key:?}");
            assert!(!is_settled || now.version == seen.version, "{task}: {key:?}");
        }
        assert_eq!(own(&unchanged).len(), own(&before).len());
        assert_eq!(self.state().await, state, "{task}");

        let mut run = body;
        run["gybe:planId"] = preview["planId"].clone();
        let op = self.gybe.complete(&self.path, task, &run).await;
        assert_eq!(op["operationParams"]["gybe:planId"], preview["planId"], "{op:#}");
        let after = self.objects().await;
        let mut told = BTreeMap::new();
        for object in preview["objects"].as_array().unwrap() {
            let key = [&object["kind"], &object["name"]].map(|it| it.as_str().unwrap().to_owned());
            told.insert((key[0].clone(), key[1].clone()), object["action"].as_str().unwrap().to_owned());
        }
        let keys = before.keys().chain(after.keys()).filter(|key| key.0 != "Pod" || told.contains_key(*key));
        for key in keys {
            let happened = match (before.get(key), after.get(key)) {
                (None, Some(_)) => "create",
                (Some(_), None) => "delete",
                (Some(before), Some(after)) if before.uid != after.uid => "recreate",
                (Some(before), Some(after)) if before.content != after.content => "change",
                _ => "unchanged",
            };
            let expected = told.get(key).map_or("unchanged", String::as_str);
            assert_eq!(happened, expected, "{task}: {key:?}: {preview:#}");
        }
        assert!(told.values().all(|action| action != "unknown"), "{task}: {preview:#}");
        preview
    }
}

fn object<'a>(preview: &'a Value, kind: &str, name: &str) -> &'a Value {
    let objects = preview["objects"].as_array().unwrap();
    objects.iter().find(|it| it["kind"] == kind && it["name"] == name).unwrap_or_else(|| panic!("{preview:#}"))
}

/// Each check, its verdict and its detail.
fn checks(preview: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    preview["preflight"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["check"].as_str().unwrap(), it["verdict"].as_str().unwrap(), it["detail"].as_str().unwrap()))
}

#[tokio::test]
async fn a_preview_of_each_task_is_what_then_happens() {
    let f = PreviewFixture::start(Gybe::start()).await;
    let namespace = f.namespace.name.as_str();
    let preview = f.preview("instantiate", &instantiate_request(namespace)).await;
    let events = f.cluster.api("v1", "Event", "events", Some(&f.namespace.name)).list(&ListParams::default()).await;
    assert!(events.unwrap().items.is_empty(), "a preview makes no events: {preview:#}");
    let preview = f.rehearse("instantiate", instantiate_request(namespace)).await;
    assert_eq!(preview["operation"], "INSTANTIATE");
    let checks: Vec<(&str, &str)> = checks(&preview).map(|(check, verdict, _)| (check, verdict)).collect();
    assert_eq!(checks, [("admission", "ok"), ("image", "ok"), ("rights", "ok"), ("pods", "ok")], "{preview:#}");
    assert_eq!(object(&preview, "Service", "old")["namespace"], namespace);
    let steps: Vec<&str> = preview["steps"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["Apply", "Apply", "Apply", "AwaitReady"], "{preview:#}");
    assert_eq!(preview["steps"][3]["label"], "wait until 5 objects are ready");

    let preview = f.rehearse("scale", json!({ "type": "SCALE_OUT", "aspectId": "app" })).await;
    assert_eq!(
        object(&preview, "Deployment", "app")["differences"],
        json!([{ "path": "/spec/replicas", "from": 1, "to": 2 }])
    );
    f.rehearse("scale_to_level", json!({ "scaleInfo": [{ "aspectId": "app", "scaleLevel": 0 }] })).await;
    f.rehearse("operate", json!({ "changeStateTo": "STOPPED" })).await;
    f.rehearse("operate", json!({ "changeStateTo": "STARTED" })).await;

    let services = f.cluster.api("v1", "Service", "services", Some(&f.namespace.name));
    services.delete("old", &DeleteParams::default()).await.unwrap();
    let settings = f.cluster.api("v1", "ConfigMap", "configmaps", Some(&f.namespace.name));
    let edit = Patch::Merge(json!({ "data": { "colour": "green" } }));
    settings.patch("settings", &PatchParams::default(), &edit).await.unwrap();
    let preview = f.rehearse("heal", json!({})).await;
    assert_eq!(object(&preview, "Service", "old")["action"], "create");
    let difference = &object(&preview, "ConfigMap", "settings")["differences"][0];
    assert_eq!(difference, &json!({ "path": "/data/colour", "from": "green", "to": "red" }));

    let vnfd = f.gybe.upload(&package("2.0")).await["vnfdId"].clone();
    let preview = f.rehearse("change_vnfpkg", json!({ "vnfdId": vnfd })).await;
    for (kind, name, action) in [
        ("Deployment", "app", "change"),
        ("Job", "prepare", "recreate"),
        ("Service", "new", "create"),
        ("Service", "old", "delete"),
        ("Secret", "key", "change"),
    ] {
        assert_eq!(object(&preview, kind, name)["action"], action, "{preview:#}");
    }
    assert!(!preview.to_string().contains("hunter"), "{preview:#}");
    f.rehearse("terminate", json!({ "terminationType": "FORCEFUL" })).await;
    assert!(f.objects().await.is_empty());
}

#[tokio::test]
async fn previews_of_a_second_life_are_what_then_happens() {
    let f = PreviewFixture::start(Gybe::start()).await;
    f.rehearse("instantiate", instantiate_request(f.namespace.name.as_str())).await;
    f.rehearse("scale", json!({ "type": "SCALE_OUT", "aspectId": "app", "numberOfSteps": 2 })).await;
    f.rehearse("scale", json!({ "type": "SCALE_IN", "aspectId": "app" })).await;
    let preview = f.rehearse("heal", json!({})).await;
    let is_same = |object: &Value| object["action"] == "unchanged" || object["kind"] == "Pod";
    assert!(preview["objects"].as_array().unwrap().iter().all(is_same), "{preview:#}");
    let instance = f.gybe.get(&f.path).await.expect(StatusCode::OK);
    let vnfc = &instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0]["id"];
    f.rehearse("heal", json!({ "vnfcInstanceId": [vnfc] })).await;
    f.rehearse("operate", json!({ "changeStateTo": "STOPPED", "stopType": "FORCEFUL" })).await;
    f.rehearse("operate", json!({ "changeStateTo": "STOPPED" })).await;
    f.rehearse("operate", json!({ "changeStateTo": "STARTED" })).await;
    let next = f.gybe.upload(&package("2.0")).await["vnfdId"].clone();
    f.rehearse("change_vnfpkg", json!({ "vnfdId": next })).await;
    let jobs = f.cluster.api("batch/v1", "Job", "jobs", Some(&f.namespace.name));
    jobs.delete("prepare", &DeleteParams::background()).await.unwrap();
    f.rehearse("heal", json!({})).await;
    f.rehearse("scale_to_level", json!({ "scaleInfo": [{ "aspectId": "app", "scaleLevel": 2 }] })).await;
    f.rehearse("terminate", json!({ "terminationType": "GRACEFUL" })).await;
    assert!(f.objects().await.is_empty());
}

#[tokio::test]
async fn a_plan_is_run_once_and_only_for_what_it_was_made_from() {
    let f = PreviewFixture::start(Gybe::start()).await;
    let instantiate = instantiate_request(f.namespace.name.as_str());
    let with = |body: &Value, plan: &Value| {
        let mut body = body.clone();
        body["gybe:planId"] = plan.clone();
        body
    };
    let refused = async |task: &str, body: Value| {
        let answer = f.gybe.post(&format!("{}/{task}", f.path), &body).await;
        let detail = answer.problem(409);
        assert!(answer.text.contains("urn:gybe:problem:plan-stale"), "{detail}");
        detail
    };
    let unknown = json!("8f14e45f-ceea-467f-a8f4-0123456789ab");
    assert!(refused("instantiate", with(&instantiate, &unknown)).await.contains("there is no plan"));
    let plan = f.preview("instantiate", &instantiate).await["planId"].clone();
    let other = with(&json!({ "flavourId": "simple", "additionalParams": { "namespace": "default" } }), &plan);
    let detail = refused("instantiate", other).await;
    assert!(detail.contains("the request") && detail.contains("the namespace"), "{detail}");
    f.gybe.post(&format!("{}/instantiate/preview", f.path), &with(&instantiate, &plan)).await.problem(400);
    f.gybe.post(&format!("{}/instantiate", f.path), &with(&instantiate, &json!(7))).await.problem(400);
    f.gybe.complete(&f.path, "instantiate", &with(&instantiate, &plan)).await;

    let scale = json!({ "type": "SCALE_OUT", "aspectId": "app" });
    assert!(refused("scale", with(&scale, &plan)).await.contains("it was run before"));
    let [first, second] = [f.preview("scale", &scale).await, f.preview("scale", &scale).await];
    f.gybe.complete(&f.path, "scale", &with(&scale, &first["planId"])).await;
    let detail = refused("scale", with(&scale, &second["planId"])).await;
    assert!(detail.contains("the state of the VNF instance") && detail.contains("the objects"), "{detail}");
    let heal = json!({});
    assert!(refused("heal", with(&heal, &second["planId"])).await.contains("the task"));
    // A refusal has no effect: the next operation begins.
    f.gybe.complete(&f.path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_preview_says_what_it_cannot_check_and_what_the_cluster_refuses() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let objects = "
{apiVersion: v1, kind: Service, metadata: {name: wrong}, spec: {ports: [{port: 99999}]}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: taken}, data: {a: b}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: free}, data: {a: b}}
";
    let vnfd = gybe.upload(&sample::with_manifests(&[("Files/all.yaml", objects)])).await["vnfdId"].clone();
    let path = gybe.create("v1", vnfd.as_str().unwrap()).await;
    let preview =
        async |body: Value| gybe.post(&format!("{path}/instantiate/preview"), &body).await.expect(StatusCode::OK);

    let taken = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "taken" } });
    cluster.create("configmaps", Some(&namespace.name), taken).await;
    let here = preview(instantiate_request(namespace.name.as_str())).await;
    assert_eq!(object(&here, "ConfigMap", "free")["action"], "create");
    let failed: Vec<(&str, &str)> = here["preflight"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] == "failed")
        .map(|check| (check["object"]["name"].as_str().unwrap(), check["detail"].as_str().unwrap()))
        .collect();
    let refusal =
        |name: &str| failed.iter().find(|(object, _)| *object == name).unwrap_or_else(|| panic!("{here:#}")).1;
    assert!(refusal("wrong").contains("99999"), "{here:#}");
    assert!(refusal("taken").contains("is not managed by Gybe"), "{here:#}");

    let mut elsewhere = instantiate_request(namespace.sibling("new").name.as_str());
    elsewhere["additionalParams"]["createNamespace"] = true.into();
    let elsewhere = preview(elsewhere).await;
    let home = elsewhere["objects"].as_array().unwrap().iter().find(|it| it["kind"] == "Namespace").unwrap();
    assert_eq!((&home["action"], home.get("namespace")), (&json!("create"), None));
    let free = object(&elsewhere, "ConfigMap", "free");
    assert_eq!(free["action"], "unknown");
    assert!(free["note"].as_str().unwrap().contains("does not exist yet"), "{free:#}");
}

#[tokio::test]
async fn the_checks_name_what_would_stop_the_operation() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let label = Patch::Merge(json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "baseline" } } }));
    let namespaces = cluster.api("v1", "Namespace", "namespaces", None);
    namespaces.patch(namespace.name.as_str(), &PatchParams::default(), &label).await.unwrap();
    let gybe = Gybe::start();
    let admin = gybe.register_vim(&cluster.admin, "cluster", true).await;
    let workload = |name: &str, annotations: &str, spec: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{selector: {{matchLabels: {{app: {name}}}}}, \
             template: {{metadata: {{labels: {{app: {name}}}, annotations: {{{annotations}}}}}, spec: {{{spec}}}}}}}}}\n---\n"
        )
    };
    let image = "containers: [{name: c, image: 'registry.k8s.io/pause:3.10'}]";
    let objects = [
        workload("host", "", &format!("hostNetwork: true, {image}")),
        workload("urgent", "", &format!("priorityClassName: no-such-class, {image}")),
        workload("wired", "k8s.v1.cni.cncf.io/networks: no-such-network", image),
        workload("misspelt", "", "containers: [{name: c, image: 'Registry/Pause'}]"),
        "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {storageClassName: no-such-storage, \
          accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}"
            .to_owned(),
    ];
    let csar = sample::with_manifests(&[("Files/all.yaml", &objects.concat())]);
    let vnfd = gybe.upload(&csar).await["vnfdId"].as_str().unwrap().to_owned();
    let path = gybe.create("v2", &vnfd).await;
    let request = instantiate_request(namespace.name.as_str());
    let preview = async || gybe.post(&format!("{path}/instantiate/preview"), &request).await.expect(StatusCode::OK);
    let all = preview().await;
    for (check, verdict, wanted) in [
        ("pod-security", "failed", "host namespaces"),
        ("reference", "failed", "PriorityClass no-such-class"),
        ("reference", "failed", "NetworkAttachmentDefinition no-such-network"),
        ("reference", "unknown", "StorageClass no-such-storage"),
        ("image", "failed", "Registry/Pause"),
        ("rights", "ok", "rights"),
    ] {
        let mut found = checks(&all).filter(|(of, ..)| *of == check);
        assert!(found.any(|(_, found, detail)| found == verdict && detail.contains(wanted)), "{wanted}: {all:#}");
    }

    let rules = json!([{ "apiGroups": ["", "apps"], "resources": ["deployments", "persistentvolumeclaims"], "verbs": ["get", "patch"] }]);
    let narrow = cluster.account(&namespace.name, "narrow", rules).await;
    let change = json!({ "vim": { "auth_cred": vim(&narrow, "cluster", true)["vim"]["auth_cred"] } });
    gybe.put(&format!("/v1.0/vims/{admin}"), &change).await.expect(StatusCode::OK);
    let all = preview().await;
    let place = format!("in namespace {}", namespace.name);
    let may_not = format!("the credential may not create deployments.apps {place}");
    assert!(checks(&all).any(|it| it == ("rights", "failed", may_not.as_str())), "{all:#}");
    assert!(
        checks(&all).any(|it| it.0 == "reference" && it.1 == "unknown" && it.2.contains("no-such-class")),
        "{all:#}"
    );
    assert!(checks(&all).all(|it| it.0 != "pods" || it.1 == "unknown"), "{all:#}");
}
