use serde_json::{Value, json};

use super::*;
use crate::domain::resource::{KindInfo, ResourceState};

const GRACE: Duration = Duration::from_secs(60);

fn resource(api_version: &str, kind: &str, spec: Value) -> Resource {
    let manifest = json!({ "spec": spec });
    Resource {
        key: ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "web".to_owned() },
        info: KindInfo { plural: "x".to_owned(), namespaced: true },
        vdu_id: None,
        manifest: manifest.as_object().unwrap().clone(),
        state: ResourceState::Planned,
    }
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn workload(kind: &str, available: i64) -> DynamicObject {
    object(json!({
        "metadata": { "name": "web", "uid": "w", "generation": 1 },
        "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } } },
        "status": {
            "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": available,
            "availableReplicas": available,
        },
        "kind": kind, "apiVersion": "apps/v1",
    }))
}

fn pod(uid: &str, state: Value) -> DynamicObject {
    object(json!({
        "metadata": {
            "name": format!("web-{uid}"), "uid": uid, "labels": { "app": "web" },
            "creationTimestamp": "2024-01-01T00:01:00Z",
            "ownerReferences": [{ "apiVersion": "x", "kind": "ReplicaSet", "name": "x", "uid": "w" }],
        },
        "status": { "phase": "Pending", "containerStatuses": [{ "name": "c", "ready": false, "state": state }] },
    }))
}

fn ready_pod(uid: &str) -> DynamicObject {
    let mut pod = pod(uid, json!({ "running": {} }));
    pod.data["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
    pod
}

fn waits(reason: &str) -> Value {
    json!({ "waiting": { "reason": reason } })
}

fn objects(kind: &str) -> WatchSubject {
    WatchSubject::Objects { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: None }
}

/// A Deployment of one pod that is not available, and what is known of its pods.
fn deployment(pods: Vec<DynamicObject>) -> Progress {
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
    progress.apply(&objects("Deployment"), ObjectEvent::Listed(vec![workload("Deployment", 0)]));
    progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(pods));
    progress
}

fn changed(progress: &mut Progress, pod: DynamicObject) {
    progress.apply(&WatchSubject::pods(), ObjectEvent::Changed(Box::new(pod)));
}

#[test]
fn watches_only_what_the_rules_need() {
    let subjects = |kinds: &[(&str, &str)]| {
        let resources: Vec<Resource> = kinds.iter().map(|(group, kind)| resource(group, kind, json!({}))).collect();
        let mut subjects: Vec<WatchSubject> = Progress::new(&resources).subjects().cloned().collect();
        subjects.sort();
        subjects
    };
    assert_eq!(subjects(&[("v1", "ConfigMap"), ("v1", "Service")]), []);
    assert_eq!(subjects(&[("apps/v1", "Deployment")]), [objects("Deployment"), WatchSubject::pods()]);
    assert_eq!(subjects(&[("v1", "Pod")]), [WatchSubject::pods()]);
    let events = WatchSubject::EventsAbout("StatefulSet".to_owned());
    assert_eq!(subjects(&[("apps/v1", "StatefulSet")]), [objects("StatefulSet"), WatchSubject::pods(), events]);
}

#[test]
fn is_ready_once_every_object_is() {
    let now = Instant::now();
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
    let text = "Deployment web: not listed yet".to_owned();
    assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, None));
    progress.apply(&objects("Deployment"), ObjectEvent::Listed(vec![workload("Deployment", 0)]));
    let text = "Deployment web: 0 of 1 replicas available".to_owned();
    assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, None));
    progress.apply(&objects("Deployment"), ObjectEvent::Changed(Box::new(workload("Deployment", 1))));
    let text = "Deployment web: its pods are not listed yet".to_owned();
    assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, None));
    progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(vec![ready_pod("p")]));
    assert_eq!(progress.assess(now, GRACE), Readiness::Ready);
    assert_eq!(Progress::new(&[]).assess(now, GRACE), Readiness::Ready);
}

#[test]
fn counts_the_pods_even_if_the_status_of_their_workload_is_older() {
    let now = Instant::now();
    for kind in ["Deployment", "StatefulSet"] {
        let mut progress = Progress::new(&[resource("apps/v1", kind, json!({}))]);
        progress.apply(&objects(kind), ObjectEvent::Listed(vec![workload(kind, 1)]));
        progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(Vec::new()));
        let text = format!("{kind} web: 0 of 1 pods ready");
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text.clone(), None));
        changed(&mut progress, pod("q", json!({ "running": {} })));
        assert!(matches!(progress.assess(now, GRACE), Readiness::Waiting(words, None) if words.starts_with(&text)));
        changed(&mut progress, ready_pod("q"));
        assert_eq!(progress.assess(now, GRACE), Readiness::Ready);
    }
}

#[test]
fn pods_are_known_once_the_surplus_is_gone() {
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
    progress.apply(&objects("Deployment"), ObjectEvent::Listed(vec![workload("Deployment", 1)]));
    assert!(progress.pods().is_none(), "they are not listed yet");
    progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(vec![ready_pod("old"), ready_pod("new")]));
    assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
    assert!(progress.pods().is_none(), "one of them is surplus");
    progress.apply(&WatchSubject::pods(), ObjectEvent::Deleted(Box::new(ready_pod("old"))));
    let pods = progress.pods().unwrap().map(|(pod, deployment)| (pod.name_any(), deployment));
    assert_eq!(pods.collect::<Vec<_>>(), [("web-new".to_owned(), Some("w".to_owned()))]);
    let mut foreign = ready_pod("new");
    foreign.metadata.owner_references = None;
    changed(&mut progress, foreign);
    assert!(progress.pods().is_none(), "no ReplicaSet has made it");
}

#[test]
fn pods_of_an_earlier_template_are_not_taken_for_their_replacements() {
    let known = |kind: &str, workload: DynamicObject, pod: DynamicObject| {
        let mut progress = Progress::new(&[resource("apps/v1", kind, json!({}))]);
        progress.apply(&objects(kind), ObjectEvent::Listed(vec![workload]));
        progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(vec![pod]));
        assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
        progress.pods().is_some()
    };
    let changed = |kind: &str| {
        let mut workload = workload(kind, 1);
        workload.metadata.generation = Some(2);
        workload.data["status"]["observedGeneration"] = json!(2);
        workload.data["status"]["currentRevision"] = json!("web-2");
        workload.data["status"]["updateRevision"] = json!("web-2");
        workload
    };
    let of_revision = |revision: &str| {
        let mut pod = ready_pod("p");
        pod.labels_mut().insert("controller-revision-hash".to_owned(), revision.to_owned());
        pod
    };
    assert!(!known("StatefulSet", changed("StatefulSet"), of_revision("web-1")));
    assert!(known("StatefulSet", changed("StatefulSet"), of_revision("web-2")));
    let mut deployment = changed("Deployment");
    deployment.data["status"]["updateRevision"] = json!("");
    assert!(!known("Deployment", deployment, ready_pod("p")));
    assert!(known("Deployment", workload("Deployment", 1), ready_pod("p")));
}

#[test]
fn is_ready_without_the_right_to_watch_pods() {
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))]);
    progress.apply(&objects("Deployment"), ObjectEvent::Listed(vec![workload("Deployment", 1)]));
    progress.ignore(&WatchSubject::pods());
    assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
}

#[test]
fn a_fault_that_lasts_for_the_grace_fails() {
    let now = Instant::now();
    let mut progress = deployment(vec![pod("p", waits("ErrImagePull"))]);
    let text = |reason| format!("Deployment web: pod web-p: container c: {reason}");
    assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text("ErrImagePull"), Some(now + GRACE)));
    changed(&mut progress, pod("p", waits("ImagePullBackOff")));
    let later = now + GRACE / 2;
    assert_eq!(progress.assess(later, GRACE), Readiness::Waiting(text("ImagePullBackOff"), Some(now + GRACE)));
    assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Failed(text("ImagePullBackOff")));
}

#[test]
fn a_crash_loop_is_over_only_once_the_container_is_ready() {
    let now = Instant::now();
    let mut progress = deployment(vec![pod("p", waits("CrashLoopBackOff"))]);
    progress.assess(now, GRACE);
    changed(&mut progress, pod("p", json!({ "running": {} })));
    assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, None)));
    changed(&mut progress, pod("p", waits("CrashLoopBackOff")));
    assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Failed(_)));

    let mut progress = deployment(vec![pod("p", waits("CrashLoopBackOff"))]);
    progress.assess(now, GRACE);
    let mut ready = pod("p", json!({ "running": {} }));
    ready.data["status"]["containerStatuses"][0]["ready"] = json!(true);
    changed(&mut progress, ready);
    progress.assess(now + GRACE, GRACE);
    changed(&mut progress, pod("p", waits("CrashLoopBackOff")));
    assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, Some(_))));
}

#[test]
fn inactive_and_foreign_pods_do_not_count() {
    let now = Instant::now();
    let sick = || pod("p", waits("ImagePullBackOff"));
    let mut deleted = sick();
    deleted.metadata = serde_json::from_value(json!({
        "name": "web-p", "uid": "p", "labels": { "app": "web" }, "deletionTimestamp": "2024-01-01T00:00:00Z",
    }))
    .unwrap();
    let mut evicted = sick();
    evicted.data["status"]["phase"] = json!("Failed");
    let mut foreign = sick();
    foreign.metadata.labels = None;
    for pod in [deleted, evicted, foreign] {
        let mut progress = deployment(vec![pod]);
        progress.assess(now, GRACE);
        let text = "Deployment web: 0 of 1 replicas available".to_owned();
        assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(text, None));
    }
    let mut progress = deployment(vec![sick()]);
    progress.assess(now, GRACE);
    progress.apply(&WatchSubject::pods(), ObjectEvent::Deleted(Box::new(sick())));
    changed(&mut progress, pod("q", waits("ImagePullBackOff")));
    let later = now + GRACE;
    assert!(matches!(progress.assess(later, GRACE), Readiness::Waiting(_, Some(end)) if end == later + GRACE));
}

#[test]
fn assesses_thousands_of_objects_in_one_pass() {
    const MANY: usize = 5000;
    let named = |number: usize, mut object: DynamicObject| {
        object.metadata.name = Some(format!("web-{number}"));
        object
    };
    let workload = |number, kind| {
        let mut workload = named(number, workload(kind, 1));
        workload.metadata.uid = Some(format!("{kind}-{number}"));
        workload.data["spec"]["selector"] = json!({
            "matchLabels": { "app": "web", "number": number.to_string() },
            "matchExpressions": [{ "key": "app", "operator": "Exists" }],
        });
        workload
    };
    let pod = |number: usize, kind| {
        let mut pod = named(number, ready_pod(&format!("{kind}-pod-{number}")));
        pod.metadata.name = Some(format!("{kind}-{number}"));
        pod.owner_references_mut()[0].uid = format!("{kind}-{number}");
        if kind == "Deployment" {
            pod.labels_mut().insert("number".to_owned(), number.to_string());
        }
        pod
    };
    let event = |number: usize| {
        let about = format!("StatefulSet-{number}");
        object(json!({ "metadata": { "name": about }, "involvedObject": { "uid": about }, "reason": "FailedCreate" }))
    };
    let (mut resources, mut pods) = (Vec::new(), Vec::new());
    for kind in ["Deployment", "StatefulSet"] {
        pods.extend((0..MANY).map(|number| pod(number, kind)));
        for number in 0..MANY {
            let mut resource = resource("apps/v1", kind, json!({}));
            resource.key.name = format!("web-{number}");
            resources.push(resource);
        }
    }
    let mut progress = Progress::new(&resources);
    for kind in ["Deployment", "StatefulSet"] {
        progress.apply(&objects(kind), ObjectEvent::Listed((0..MANY).map(|number| workload(number, kind)).collect()));
    }
    let events = WatchSubject::EventsAbout("StatefulSet".to_owned());
    progress.apply(&events, ObjectEvent::Listed((0..MANY).map(event).collect()));
    let late = pods.pop().unwrap();
    progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(pods));
    // This took a minute when each object searched all pods.
    let now = Instant::now();
    for _ in 0..5 {
        let text = format!("StatefulSet web-{}: FailedCreate", MANY - 1);
        assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text, Some(now + GRACE)));
    }
    changed(&mut progress, late);
    assert_eq!(progress.assess(Instant::now(), GRACE), Readiness::Ready);
    assert_eq!(progress.pods().unwrap().filter(|(_, deployment)| deployment.is_some()).count(), MANY);
}

#[test]
fn a_list_replaces_all_objects() {
    let now = Instant::now();
    let mut progress = deployment(vec![pod("p", waits("ImagePullBackOff"))]);
    progress.assess(now, GRACE);
    progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(Vec::new()));
    assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, None)));
}

#[test]
fn a_missing_object_is_a_fault_unless_it_is_a_job_with_a_ttl() {
    let now = Instant::now();
    let mut progress = deployment(Vec::new());
    progress.apply(&objects("Deployment"), ObjectEvent::Listed(Vec::new()));
    assert!(matches!(progress.assess(now, GRACE), Readiness::Waiting(_, Some(_))));
    let text = "Deployment web: it is not there any more".to_owned();
    assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Failed(text));

    let job = resource("batch/v1", "Job", json!({ "ttlSecondsAfterFinished": 0 }));
    let mut progress = Progress::new(&[job]);
    let subject = WatchSubject::Objects { api_version: "batch/v1".to_owned(), kind: "Job".to_owned(), name: None };
    progress.apply(&subject, ObjectEvent::Listed(Vec::new()));
    assert_eq!(progress.assess(now, GRACE), Readiness::Ready);
}

#[test]
fn an_event_counts_until_a_newer_pod_exists() {
    let event = |time: &str| {
        object(json!({
            "metadata": { "name": "e" }, "involvedObject": { "uid": "w" }, "lastTimestamp": time,
            "reason": "FailedCreate", "message": "exceeded quota",
        }))
    };
    let now = Instant::now();
    let mut progress = Progress::new(&[resource("apps/v1", "StatefulSet", json!({}))]);
    progress.apply(&objects("StatefulSet"), ObjectEvent::Listed(vec![workload("StatefulSet", 0)]));
    let events = WatchSubject::EventsAbout("StatefulSet".to_owned());
    progress.apply(&events, ObjectEvent::Listed(vec![event("2024-01-01T00:01:01Z")]));
    progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(vec![pod("p", json!({ "running": {} }))]));
    let text = "StatefulSet web: FailedCreate: exceeded quota".to_owned();
    assert_eq!(progress.assess(now, GRACE), Readiness::Waiting(text.clone(), Some(now + GRACE)));
    assert_eq!(progress.assess(now + GRACE, GRACE), Readiness::Failed(text));
    progress.apply(&events, ObjectEvent::Listed(vec![event("2024-01-01T00:01:00Z")]));
    assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(_, None)));
}
