//! The evidence that the driver collects of objects that are not ready: from a fake API server, because KWOK's nodes
//! have no logs, and from the real control plane.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use gybe::domain::evidence::{Evidence, LogEvidence};
use gybe::domain::namespace::Namespace;
use gybe::domain::resource::{Resource, ResourceState};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{VimAccess, VimCredential};
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::infra::{AppliedObject, Driver as _, InfraErrorKind};
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::cluster::{Cluster, render, scope};
use crate::support::op_occ_fixture::resource;

/// The fake server's response to a path; `None`: it never responds.
type Answers = fn(&str) -> Option<(u16, String)>;

/// A fake API server and the access to it.
async fn server(answers: Answers) -> VimAccess {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer(connection, answers));
        }
    });
    VimAccess {
        endpoint,
        ca: None,
        insecure: false,
        credential: VimCredential::BearerToken(Secret::new("token")),
        impersonate: None,
    }
}

async fn answer(mut connection: TcpStream, answers: Answers) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap();
    let Some((status, body)) = answers(path) else { return std::future::pending().await };
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    connection.write_all((head + &body).as_bytes()).await.unwrap();
}

fn list(items: &Value) -> Option<(u16, String)> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items });
    Some((200, list.to_string()))
}

fn forbidden() -> Option<(u16, String)> {
    let message = "it is forbidden: User \"eve\" cannot do that";
    Some((403, json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": message, "reason": "Forbidden" }).to_string()))
}

/// A Deployment whose pod has one crashing container and one that runs but is not ready.
fn fault(path: &str) -> Option<(u16, String)> {
    let ended = json!({ "terminated": { "exitCode": 1 } });
    if path.contains("/deployments") {
        let condition =
            json!({ "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "x" });
        return list(&json!([{ "metadata": { "name": "web", "uid": "w" }, "status": { "conditions": [condition] } }]));
    }
    if path.contains("/pods?") {
        return list(
            &json!([{ "metadata": { "name": "web-1", "uid": "p" }, "status": { "phase": "Running", "containerStatuses": [
            { "name": "crashing", "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ended },
            { "name": "running", "ready": false, "state": { "running": {} }, "lastState": ended },
            { "name": "fine", "ready": true, "state": { "running": {} } },
            { "name": "never-began", "ready": false, "state": { "waiting": { "reason": "ImagePullBackOff" } } },
        ] } }]),
        );
    }
    if path.contains("/log?") {
        assert!(path.contains("tailLines=20"), "{path}");
        let run = if path.contains("previous=true") { "before" } else { "now" };
        return Some((200, format!("1 {run}\n2 {run}\n")));
    }
    if path.contains("involvedObject.uid%3Dp") {
        let event = |reason, time| {
            json!({
                "metadata": { "name": reason }, "type": "Warning", "reason": reason, "message": "m", "count": 7, "lastTimestamp": time,
                "involvedObject": { "kind": "Pod", "name": "web-1" },
            })
        };
        return list(&json!([event("Older", "2024-01-01T00:00:00Z"), event("Newer", "2024-01-01T00:00:09Z")]));
    }
    list(&json!([]))
}

async fn found(answers: Answers) -> Evidence {
    let scope = scope(&server(answers).await, &Namespace::try_from("there".to_owned()).unwrap());
    let made = Resource { state: ResourceState::Intent, ..resource("web") };
    let lost = Resource { state: ResourceState::Intent, ..resource("lost") };
    KubernetesDriver::new().evidence(&scope, &[made, lost, resource("planned")]).await
}

#[tokio::test]
async fn evidence_has_conditions_events_and_last_log_lines() {
    let Evidence { objects, events, logs, notes } = found(fault).await;
    let named: Vec<_> = objects.iter().map(|it| (it.kind.as_str(), it.name.as_str(), it.lacks.as_str())).collect();
    assert_eq!(named[0], ("Deployment", "web", "0 of 1 replicas available, 0 of the present revision"));
    assert_eq!(named[1], ("Deployment", "lost", "it is not there"));
    assert_eq!((named[2].0, named[2].1, named.len()), ("Pod", "web-1", 3));
    assert!(named[2].2.contains("CrashLoopBackOff") && named[2].2.contains("ImagePullBackOff"), "{}", named[2].2);
    assert_eq!(objects[0].conditions[0].reason, "MinimumReplicasUnavailable");
    let events: Vec<_> = events.iter().map(|it| (it.object.as_str(), it.reason.as_str(), it.count)).collect();
    assert_eq!(events, [("Pod web-1", "Newer", 7), ("Pod web-1", "Older", 7)]);
    let log = |container: &str, previous, lines: [&str; 2]| LogEvidence {
        pod: "web-1".to_owned(),
        container: container.to_owned(),
        previous,
        lines: lines.map(str::to_owned).to_vec(),
    };
    let before = ["1 before", "2 before"];
    let wanted =
        [log("crashing", true, before), log("running", false, ["1 now", "2 now"]), log("running", true, before)];
    assert_eq!((logs, notes), (wanted.to_vec(), Vec::new()));
}

#[tokio::test]
async fn forbidden_evidence_is_omitted_with_a_note() {
    let Evidence { objects, events, logs, notes } =
        found(|path| if path.contains("/events") || path.contains("/log?") { forbidden() } else { fault(path) }).await;
    assert_eq!((objects.len(), events.len(), logs.len()), (3, 0, 0));
    let noted = |what: &str| notes.iter().any(|note| note.starts_with(what) && note.contains("User \"eve\""));
    assert!(noted("events could not be read") && noted("the log of container running of pod web-1"), "{notes:?}");
    assert_eq!(found(|_| forbidden()).await.notes.len(), 2, "of Deployments and of pods");
}

#[tokio::test]
async fn late_evidence_is_omitted_with_a_note() {
    let begun = Instant::now();
    let Evidence { objects, logs, notes, .. } =
        found(|path| if path.contains("/log?") { None } else { fault(path) }).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((objects.len(), logs.len()), (3, 0));
    assert!(notes.iter().all(|note| note.ends_with("no answer in time")) && !notes.is_empty(), "{notes:?}");
}

const CRASHING: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: registry.k8s.io/crash-loop:1.0}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fine}
";

#[tokio::test]
async fn the_control_plane_gives_conditions_and_events_but_no_logs_of_simulated_nodes() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let (driver, scope) = (KubernetesDriver::new(), scope(&cluster.admin, &namespace.name));
    let mut resources = render(&driver, &scope, &[], CRASHING).await;
    for row in &mut resources {
        let AppliedObject { uid, owned } = driver.ensure(&scope, row).await.unwrap();
        row.state = ResourceState::Present { uid, owned };
    }
    let hasty = super::HASTY;
    let failed = driver.await_ready(&scope, &resources, hasty).await;
    assert!(failed.as_ref().is_err_and(|error| error.kind == InfraErrorKind::NotReady), "{failed:?}");
    // Events of the Deployment are written concurrently with its status.
    let events = cluster.api("v1", "Event", "events", Some(&namespace.name));
    let mut events = events.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let scaled = |event: &WatchEvent<DynamicObject>| matches!(event, WatchEvent::Added(event) if event.data["reason"] == "ScalingReplicaSet");
    while !scaled(&events.try_next().await.unwrap().unwrap()) {}

    let Evidence { objects, events, logs, notes } = driver.evidence(&scope, &resources).await;
    let kinds: Vec<&str> = objects.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["Deployment", "Pod"]);
    assert!(objects.iter().all(|it| it.conditions.iter().any(|condition| condition.status == "False")), "{objects:?}");
    let lacks = &objects[1].lacks;
    assert!(lacks.contains("CrashLoopBackOff") || lacks.contains("it ended with exit code 1"), "{objects:?}");
    assert!(events.iter().any(|it| it.object == "Deployment web" && it.reason == "ScalingReplicaSet"), "{events:?}");
    assert!(logs.is_empty() && notes.iter().any(|note| note.starts_with("the log of container main")), "{notes:?}");
}
