//! The operator's view of a process: probes, metrics, logs, `gybe debug`, load shedding and graceful shutdown.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::postgres::Database;
use crate::support::sample;
use crate::support::subscriber::{Reply, Subscriber};

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";

/// The value of the series with that name and labels.
async fn metric(gybe: &Gybe, series: &str) -> Option<f64> {
    let metrics = gybe.get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::OK);
    let mut values = metrics.text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    values.next().map(|value| value.parse().unwrap())
}

/// Waits until the series has that value; returns the duration.
async fn wait_for_metric(gybe: &Gybe, series: &str, wanted: f64) -> Duration {
    let begun = Instant::now();
    while metric(gybe, series).await != Some(wanted) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{series} did not become {wanted}\n{}", gybe.log());
        tokio::task::yield_now().await;
    }
    begun.elapsed()
}

/// The log lines as JSON objects.
fn log(gybe: &Gybe) -> Vec<Map<String, Value>> {
    let log = gybe.log();
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Starts an instantiation with one pod that does not become ready, and waits until the conductor waits for it. Returns
/// the paths of the instance and of the op occurrence.
async fn start_waiting_instantiation(gybe: &Gybe, cluster: &Cluster, namespace: &TestNamespace) -> (String, String) {
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let deployment = include_str!("../../../samples/small/Files/kubernetes/deployment.yaml");
    let deployment = deployment.replace("registry.k8s.io/pause:3.10", "registry.test/never-ready:1");
    let package = gybe.upload(&sample::with_manifests(&[("Files/deployment.yaml", &deployment)])).await;
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let request = instantiate_request(namespace.name.as_str());
    let op = gybe.begin(&path, "instantiate", &request).await;
    let pods = cluster.api("v1", "Pod", "pods", Some(&namespace.name));
    while pods.list(&ListParams::default()).await.unwrap().items.is_empty() {
        tokio::task::yield_now().await;
    }
    (path, op)
}

#[tokio::test]
async fn probes_report_live_and_ready() {
    let gybe = Gybe::start();
    assert_eq!(gybe.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(gybe.get("/readyz").await.status, StatusCode::OK);
    let metrics = gybe.get("/metrics").await;
    assert_eq!(metrics.content_type.as_deref(), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(metrics.text.ends_with("# EOF\n"));
    assert_eq!(metric(&gybe, "gybe_database_up").await, Some(1.0));
    assert!(metric(&gybe, "process_resident_memory_bytes").await.unwrap() > 1e6);
}

#[tokio::test]
async fn a_conductor_without_api_serves_probes() {
    let database = Database::create().await;
    let gybe = Gybe::start_on_with(&database.url, &["--role", "conductor"]);
    assert_eq!(gybe.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(gybe.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(metric(&gybe, "gybe_leases_held").await, Some(0.0));
    gybe.get(INSTANCES).await.problem(404);
}

#[tokio::test]
async fn without_its_database_a_process_is_live_but_not_ready() {
    let database = Database::create().await;
    let gybe = Gybe::start_on(&database.url);
    drop(database);
    assert_eq!(gybe.get("/readyz").await.problem(503), "the database does not answer");
    assert_eq!(gybe.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(metric(&gybe, "gybe_database_up").await, Some(0.0));

    let request = gybe.client.get(gybe.uri(INSTANCES)).header("X-Request-Id", "call-7");
    let answer = gybe.send(request).await;
    assert_eq!(answer.headers["x-request-id"], "call-7");
    let id = answer.expect(StatusCode::INTERNAL_SERVER_ERROR)["errorId"].clone();
    let ours = |line: &Map<String, Value>| {
        line.get("request.id") == Some(&"call-7".into()) && line["target"].as_str().unwrap().starts_with("gybe::")
    };
    let about: Vec<_> = log(&gybe).into_iter().filter(ours).collect();
    let [cause, access] = about.as_slice() else { panic!("{about:?}") };
    assert_eq!((&cause["level"], &cause["error.id"]), (&"ERROR".into(), &id));
    assert_eq!((&access["http.status"], &access["error.id"]), (&500.into(), &id));
    assert!(metric(&gybe, "gybe_store_errors_total{kind=\"database\"}").await.unwrap() >= 1.0);
}

#[tokio::test]
async fn operations_calls_and_requests_are_counted_and_logged() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let path = gybe.create("v1", &gybe.onboard("small").await).await;
    let request = instantiate_request(namespace.name.as_str());
    let op = gybe.complete(&path, "instantiate", &request).await;

    let outcome = "operation=\"INSTANTIATE\",outcome=\"COMPLETED\"";
    assert_eq!(metric(&gybe, &format!("gybe_operations_ended_total{{{outcome}}}")).await, Some(1.0));
    assert_eq!(metric(&gybe, &format!("gybe_operation_duration_seconds_count{{{outcome}}}")).await, Some(1.0));
    assert_eq!(metric(&gybe, "gybe_leases_held").await, Some(0.0));
    let vim = cluster.admin.endpoint.strip_prefix("https://").unwrap();
    let calls = format!("gybe_vim_calls_total{{vim=\"{vim}\",verb=\"patch\",result=\"ok\"}}");
    assert!(metric(&gybe, &calls).await.unwrap() >= 1.0);
    let requests =
        "gybe_http_requests_total{route=\"/vnflcm/v1/vnf_instances/{id}/instantiate\",method=\"POST\",status=\"202\"}";
    assert_eq!(metric(&gybe, requests).await, Some(1.0));

    let about: Vec<_> =
        log(&gybe).into_iter().filter(|line| line["target"].as_str().unwrap().starts_with("gybe::conductor")).collect();
    assert!(about.len() >= 2, "claimed and ended");
    for line in about {
        assert_eq!((&line["op.id"], &line["vnf_instance.id"]), (&op["id"], &op["vnfInstanceId"]), "{line:?}");
    }
    let accessed = |line: &Map<String, Value>| {
        line.get("http.route") == Some(&"/vnflcm/v1/vnf_instances/{id}/instantiate".into())
            && line["http.status"] == 202
            && line["duration_ms"].is_f64()
            && line["request.id"].is_string()
    };
    assert_eq!(log(&gybe).iter().filter(|line| accessed(line)).count(), 1);
}

#[tokio::test]
async fn debug_shows_stuck_operations_of_a_running_process() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let (path, op) = start_waiting_instantiation(&gybe, &cluster, &namespace).await;
    let id = op.rsplit('/').next().unwrap();
    let ops: Value = serde_json::from_str(&gybe.debug(&["ops", "--json"])).unwrap();
    assert_eq!(ops[0]["id"], id);
    assert!(path.ends_with(ops[0]["vnfInstanceId"].as_str().unwrap()));
    assert_eq!(ops[0]["operation"], "INSTANTIATE");
    let leases: Value = serde_json::from_str(&gybe.debug(&["leases", "--json"])).unwrap();
    assert_eq!((&leases[0]["op"], &leases[0]["epoch"]), (&id.into(), &1.into()));
    assert_eq!(metric(&gybe, "gybe_leases_held").await, Some(1.0));
    for view in ["ops", "leases"] {
        let table = gybe.debug(&[view]);
        assert!(table.lines().nth(1).unwrap().starts_with(id), "{table}");
    }
}

/// Starts a request on a connection of its own, without the end of its body, which is `}`.
fn unfinished(gybe: &Gybe, method: &str, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address(gybe)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    );
    connection.write_all(format!("{head}{{").as_bytes()).unwrap();
    connection
}

/// A request whose body is incomplete.
async fn unfinished_request(gybe: &Gybe) -> TcpStream {
    let connection = unfinished(gybe, "POST", INSTANCES);
    wait_for_metric(gybe, "gybe_http_bodies_arriving", 1.0).await;
    connection
}

fn address(gybe: &Gybe) -> &str {
    gybe.url.strip_prefix("http://").unwrap()
}

/// Completes the request; returns the start of the status line.
fn finish(mut connection: TcpStream) -> String {
    connection.write_all(b"}").unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

#[tokio::test]
async fn overload_rejects_requests_but_not_probes() {
    let gybe = Gybe::start_with(&["--max-requests", "1"]);
    // The callback URI is tested meanwhile: the first request waits for it, and the same request again waits for the first.
    let (subscriber, tested) = (Subscriber::start().await, Arc::new(Notify::new()));
    let when = Arc::clone(&tested);
    subscriber.answer(move |_| Reply::When(Arc::clone(&when)));
    let subscription = json!({ "callbackUri": subscriber.url });
    let subscribe = || {
        let request = gybe.client.post(gybe.uri("/vnflcm/v2/subscriptions")).header("Idempotency-Key", "a");
        tokio::spawn(request.json(&subscription).send())
    };
    let first = subscribe();
    subscriber.wait_until(|received| received.len() == 1).await;
    let second = subscribe();
    wait_for_metric(&gybe, "gybe_http_requests_under_way", 2.0).await;
    let answer = gybe.get(INSTANCES).await;
    assert!(answer.problem(503).contains("repeat the request later"));
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.headers["version"], "2.0.0");
    assert_eq!(gybe.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(metric(&gybe, "gybe_http_requests_shed_total").await, Some(1.0));

    tested.notify_one();
    for request in [first, second] {
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::CREATED, "it gets its response");
    }
    gybe.get(INSTANCES).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_slow_body_does_not_count_as_load() {
    let gybe = Gybe::start_with(&["--max-requests", "1"]);
    let first = unfinished_request(&gybe).await;
    let second = unfinished(&gybe, "POST", INSTANCES);
    wait_for_metric(&gybe, "gybe_http_bodies_arriving", 2.0).await;
    gybe.get(INSTANCES).await.expect(StatusCode::OK);
    for request in [first, second] {
        assert_eq!(finish(request), "HTTP/1.1 400", "the server has read the request and is processing it");
    }
    assert_eq!(metric(&gybe, "gybe_http_requests_shed_total").await, Some(0.0));
}

#[tokio::test]
async fn shutdown_reports_not_ready_before_it_stops_serving() {
    let mut gybe = Gybe::start_with(&["--stop-delay", "600"]);
    gybe.terminate();
    let mut ready = gybe.get("/readyz").await;
    while ready.status == StatusCode::OK {
        ready = gybe.get("/readyz").await;
    }
    assert_eq!(ready.problem(503), "the process is stopping");
    assert_eq!(gybe.get("/healthz").await.status, StatusCode::OK);
    gybe.get(INSTANCES).await.expect(StatusCode::OK);
    gybe.terminate();
    assert!(gybe.child.wait().unwrap().success());
}

#[tokio::test]
async fn shutdown_completes_requests_in_flight() {
    let mut gybe = Gybe::start();
    let request = unfinished_request(&gybe).await;
    gybe.terminate();
    let begun = Instant::now();
    while TcpStream::connect(address(&gybe)).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(60), "new connections are refused\n{}", gybe.log());
    }
    assert_eq!(finish(request), "HTTP/1.1 400");
    assert!(gybe.child.wait().unwrap().success());
}

#[tokio::test]
async fn shutdown_hands_over_operations_at_once() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let database = Database::create().await;
    let mut first = Gybe::start_on(&database.url);
    let (path, op) = start_waiting_instantiation(&first, &cluster, &namespace).await;
    let second = Gybe::start_on_with(&database.url, &["--role", "conductor"]);
    assert_eq!(metric(&first, "gybe_leases_held").await, Some(1.0));
    assert_eq!(metric(&second, "gybe_leases_held").await, Some(0.0));

    first.terminate();
    let taken_over = wait_for_metric(&second, "gybe_leases_held", 1.0).await;
    assert!(taken_over < Duration::from_secs(10), "the lease of 30 s was waited for: {taken_over:?}\n{}", first.log());
    assert!(first.child.wait().unwrap().success());
    let leases: Value = serde_json::from_str(&second.debug(&["leases", "--json"])).unwrap();
    assert_eq!(leases[0]["epoch"], 2, "{leases}");

    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": "registry.test/app:1" }] } } } });
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    deployments.patch("app", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    first.restart();
    assert_eq!(first.wait_ended(&op).await["operationState"], "COMPLETED");
    let instance = first.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().len(), 1, "{instance:#}");
}
