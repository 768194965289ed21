use serde_json::{Value, json};

use super::*;
use crate::domain::resource::{KindInfo, ResourceState};

const GRACE: Duration = Duration::from_secs(60);

/// The clocks of a wait that has just begun, without a settle time.
fn timing() -> Timing {
    Timing {
        begun: Instant::now(),
        begun_utc: at("2024-01-01T00:10:00Z"),
        waited: Duration::ZERO,
        settle: Duration::ZERO,
    }
}

fn at(time: &str) -> OffsetDateTime {
    OffsetDateTime::parse(time, &Rfc3339).unwrap()
}

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
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))], timing());
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
        let mut subjects: Vec<WatchSubject> = Progress::new(&resources, timing()).subjects().cloned().collect();
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
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))], timing());
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
    assert_eq!(Progress::new(&[], timing()).assess(now, GRACE), Readiness::Ready);
}

#[test]
fn counts_the_pods_even_if_the_status_of_their_workload_is_older() {
    let now = Instant::now();
    for kind in ["Deployment", "StatefulSet"] {
        let mut progress = Progress::new(&[resource("apps/v1", kind, json!({}))], timing());
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
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))], timing());
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
        let mut progress = Progress::new(&[resource("apps/v1", kind, json!({}))], timing());
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
    let mut progress = Progress::new(&[resource("apps/v1", "Deployment", json!({}))], timing());
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
    assert!(matches!(progress.assess(now + 9 * GRACE, GRACE), Readiness::Waiting(..)), "it usually passes");
    assert!(matches!(progress.assess(now + 10 * GRACE, GRACE), Readiness::Failed(_)));

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
fn a_fault_that_passes_may_last_longer_than_one_that_lasts() {
    let lasts = |pod: DynamicObject| {
        let mut progress = deployment(vec![pod]);
        let now = Instant::now();
        let Readiness::Waiting(_, Some(end)) = progress.assess(now, GRACE) else { panic!() };
        end - now
    };
    let waiting =
        |reason: &str, message: &str| pod("p", json!({ "waiting": { "reason": reason, "message": message } }));
    assert_eq!(lasts(waiting("InvalidImageName", "x")), GRACE);
    assert_eq!(lasts(waiting("ErrImagePull", "x: not found")), GRACE);
    assert_eq!(lasts(waiting("ErrImagePull", "dial tcp: i/o timeout")), 10 * GRACE);
    assert_eq!(lasts(waiting("CrashLoopBackOff", "back-off 10s")), 10 * GRACE);
    let mut unschedulable = pod("p", json!({}));
    unschedulable.data["status"] = json!({ "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu" },
    ] });
    assert_eq!(lasts(unschedulable), 10 * GRACE, "an autoscaler may bring a node");

    // An older kubelet repeats the cause of a failed pull only now and then.
    let now = Instant::now();
    let mut progress = deployment(vec![waiting("ErrImagePull", "i/o timeout")]);
    progress.assess(now, GRACE);
    changed(&mut progress, waiting("ImagePullBackOff", "Back-off pulling image \"x\""));
    assert!(matches!(progress.assess(now + GRACE, GRACE), Readiness::Waiting(..)));
}

#[test]
fn the_clock_of_a_fault_goes_on_where_another_process_left_it() {
    let unready = |since: &str| {
        let mut pod = pod("p", waits("ErrImagePull"));
        pod.data["status"]["conditions"] = json!([{ "type": "Ready", "status": "False", "lastTransitionTime": since }]);
        pod
    };
    let left = |waited: Duration, since: &str| {
        let mut progress = deployment(vec![unready(since)]);
        progress.timing.waited = waited;
        let now = progress.timing.begun;
        match progress.assess(now, GRACE) {
            Readiness::Waiting(_, Some(end)) => end - now,
            Readiness::Failed(_) => Duration::ZERO,
            other => panic!("{other:?}"),
        }
    };
    let second = Duration::from_secs(1);
    assert_eq!(left(Duration::ZERO, "2024-01-01T00:00:00Z"), GRACE, "the wait begins now, whatever was before");
    assert_eq!(left(20 * second, "2024-01-01T00:00:00Z"), 40 * second, "the fault is not older than the step");
    assert_eq!(left(20 * second, "2024-01-01T00:09:55Z"), 55 * second);
    assert_eq!(left(200 * second, "2024-01-01T00:00:00Z"), Duration::ZERO);
    assert_eq!(left(20 * second, "2024-01-01T00:10:07Z"), GRACE, "the clock of the node is ahead");
    assert_eq!(left(20 * second, ""), GRACE);
}

fn running_pod(started: &str, restarts: i64) -> DynamicObject {
    let mut pod = ready_pod("p");
    pod.data["status"]["phase"] = json!("Running");
    pod.data["status"]["containerStatuses"] = json!([
        { "name": "c", "ready": true, "restartCount": restarts, "state": { "running": { "startedAt": started } } },
    ]);
    pod
}

#[test]
fn a_container_without_a_probe_counts_once_it_has_run_for_the_settle_time() {
    const SETTLE: Duration = Duration::from_secs(2);
    let with = |containers: Value, pod: DynamicObject| {
        let mut progress =
            Progress::new(&[resource("apps/v1", "Deployment", json!({}))], Timing { settle: SETTLE, ..timing() });
        progress.apply(&objects("Deployment"), ObjectEvent::Listed(vec![workload("Deployment", 1)]));
        let mut pod = pod;
        pod.data["spec"] = json!({ "containers": containers });
        progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(vec![pod]));
        progress
    };
    let unprobed = || json!([{ "name": "c" }]);
    let started = "2024-01-01T00:10:00Z";
    let mut progress = with(unprobed(), running_pod(started, 0));
    let now = progress.timing.begun;
    let Readiness::Waiting(text, Some(end)) = progress.assess(now, GRACE) else { panic!() };
    assert!(text.contains("container c of pod web-p has no readiness or startup probe"), "{text}");
    assert_eq!(end, now + SETTLE);
    // It ended and was started again: the time begins anew.
    let mut again = running_pod(started, 1);
    again.data["spec"] = json!({ "containers": unprobed() });
    changed(&mut progress, again);
    assert!(matches!(progress.assess(end, GRACE), Readiness::Waiting(_, Some(later)) if later == end + SETTLE));
    assert_eq!(progress.assess(end + SETTLE, GRACE), Readiness::Ready);

    for probe in ["readinessProbe", "startupProbe"] {
        let mut progress = with(json!([{ "name": "c", probe: {} }]), running_pod(started, 0));
        assert_eq!(progress.assess(now, GRACE), Readiness::Ready, "{probe}");
    }
    let mut progress = with(unprobed(), running_pod("2024-01-01T00:00:00Z", 0));
    assert_eq!(progress.assess(progress.timing.begun, GRACE), Readiness::Ready, "it has run for minutes");
    let mut ended = running_pod(started, 0);
    ended.data["status"]["containerStatuses"][0]["state"] = json!({ "terminated": { "exitCode": 0 } });
    let mut progress = with(unprobed(), ended);
    let late = progress.timing.begun + 2 * SETTLE;
    assert!(matches!(progress.assess(late, GRACE), Readiness::Waiting(..)), "it does not run");
}

#[test]
fn a_process_that_runs_for_a_moment_between_two_crashes_fails() {
    let unprobed = |mut pod: DynamicObject| {
        pod.data["spec"] = json!({ "restartPolicy": "Always", "containers": [{ "name": "c" }] });
        pod
    };
    let ended = || unprobed(pod("p", json!({ "terminated": { "exitCode": 3, "reason": "Error" } })));
    let mut progress = deployment(vec![ended()]);
    progress.timing.settle = Duration::from_secs(2);
    let now = progress.timing.begun;
    assert!(matches!(progress.assess(now, GRACE), Readiness::Waiting(..)));
    let restarted = now + 5 * GRACE;
    changed(&mut progress, unprobed(running_pod("2024-01-01T00:15:00Z", 1)));
    assert!(matches!(progress.assess(restarted, GRACE), Readiness::Waiting(..)));
    changed(&mut progress, ended());
    let Readiness::Failed(text) = progress.assess(now + 10 * GRACE, GRACE) else { panic!() };
    assert!(text.contains("container c: Error: it ended with exit code 3"), "{text}");
}

#[test]
fn finds_pods_that_keep_a_stateful_set_from_its_present_revision() {
    let blocking = |revision: &str, state: Value, unready_since: &str| {
        let mut progress = Progress::new(&[resource("apps/v1", "StatefulSet", json!({}))], timing());
        let mut set = workload("StatefulSet", 0);
        set.data["status"]["updateRevision"] = json!("web-3");
        progress.apply(&objects("StatefulSet"), ObjectEvent::Listed(vec![set]));
        let mut pod = pod("p", state);
        pod.labels_mut().insert("controller-revision-hash".to_owned(), revision.to_owned());
        pod.data["status"]["conditions"] =
            json!([{ "type": "Ready", "status": "False", "lastTransitionTime": unready_since }]);
        progress.apply(&WatchSubject::pods(), ObjectEvent::Listed(vec![pod]));
        let now = progress.timing.begun;
        let (pods, next) = progress.blocking_pods(now, GRACE);
        (pods.into_iter().map(|(_, uid)| uid).collect::<Vec<_>>(), next.map(|next| next - now))
    };
    let (lately, long) = ("2024-01-01T00:09:50Z", "2024-01-01T00:00:00Z");
    assert_eq!(blocking("web-2", waits("ImagePullBackOff"), lately), (vec!["p".to_owned()], None));
    assert_eq!(blocking("web-3", waits("ImagePullBackOff"), long), (vec![], None), "it is of the present revision");
    assert_eq!(blocking("web-2", json!({ "running": {} }), long), (vec!["p".to_owned()], None));
    let later = Some(Duration::from_secs(50));
    assert_eq!(blocking("web-2", json!({ "running": {} }), lately), (vec![], later), "it may be starting");
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
    let mut progress = Progress::new(&resources, timing());
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
    let mut progress = Progress::new(&[job], timing());
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
    let mut progress = Progress::new(&[resource("apps/v1", "StatefulSet", json!({}))], timing());
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
