//! OTLP traces of the real binary, received by a collector of the test.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reqwest::StatusCode as Status;
use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::collector::{Collector, attribute};
use crate::support::gybe::{Gybe, binary, instantiate_request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const UNSAMPLED: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The spans with that kind, name and parent.
fn children<'a>(spans: &'a [Span], parent: &[u8], kind: SpanKind, name: &str) -> Vec<&'a Span> {
    let wanted = |span: &&Span| span.parent_span_id == parent && span.kind == kind as i32 && span.name == name;
    spans.iter().filter(wanted).collect()
}

fn one<'a>(spans: &'a [Span], parent: &[u8], kind: SpanKind, name: &str) -> &'a Span {
    let found = children(spans, parent, kind, name);
    assert_eq!(found.len(), 1, "{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

#[tokio::test]
async fn an_operation_is_traced_from_the_caller_to_each_cluster_call() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let collector = Collector::start().await;
    let mut gybe = Gybe::start_with(&["--otlp-endpoint", &collector.endpoint]);
    assert_eq!(gybe.get("/readyz").await.status, Status::OK);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let path = gybe.create("v2", &gybe.onboard("small").await).await;
    let shown = gybe.client.get(gybe.uri(&path)).header("traceparent", format!("00-{UNSAMPLED}-{CALLER}-00"));
    gybe.send(shown).await.expect(Status::OK);

    let request = instantiate_request(namespace.name.as_str());
    let request = gybe.client.post(gybe.uri(&format!("{path}/instantiate"))).json(&request);
    let answer = gybe.send(request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"))).await;
    answer.expect(Status::ACCEPTED);
    let op = gybe.wait_ended(&answer.location.unwrap()).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
    collector.wait_until(|spans| spans.iter().any(|span| span.name == "INSTANTIATE")).await;
    gybe.get("/unknown").await.problem(404);
    gybe.terminate();
    assert!(gybe.child.wait().unwrap().success());
    let spans = collector.spans();
    assert!(
        spans.iter().any(|span| attribute(span, "http.response.status_code") == "404"),
        "the last spans are exported, too"
    );

    let route = "/vnflcm/v2/vnf_instances/{id}/instantiate";
    let request = one(&spans, &hex::decode(CALLER).unwrap(), SpanKind::Server, &format!("POST {route}"));
    assert_eq!(hex::encode(&request.trace_id), TRACE);
    assert_eq!(attribute(request, "http.route"), route);
    assert_eq!(attribute(request, "http.response.status_code"), "202");
    one(&spans, &request.span_id, SpanKind::Client, "op_occs::begin");

    let operation = one(&spans, &request.span_id, SpanKind::Consumer, "INSTANTIATE");
    assert_eq!(attribute(operation, "op.id"), op["id"].as_str().unwrap());
    assert_eq!(attribute(operation, "vnf_instance.id"), op["vnfInstanceId"].as_str().unwrap());
    assert_eq!(attribute(operation, "state.before"), "STARTING");
    assert_eq!(attribute(operation, "state.after"), "COMPLETED");
    let apply = one(&spans, &operation.span_id, SpanKind::Internal, "apply");
    one(&spans, &operation.span_id, SpanKind::Internal, "await ready");
    let calls = children(&spans, &apply.span_id, SpanKind::Client, "VIM patch");
    assert!(!calls.is_empty());
    for call in calls {
        assert_eq!(cluster.admin.endpoint, format!("https://{}", attribute(call, "server.address")));
        assert!(attribute(call, "url.path").contains(&format!("/namespaces/{}/", namespace.name)));
        assert_eq!(attribute(call, "result"), "ok");
        assert_eq!(hex::encode(&call.trace_id), TRACE);
    }

    assert!(
        spans.iter().all(|span| hex::encode(&span.trace_id) != UNSAMPLED),
        "the caller said that it is not sampled"
    );
    let known: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    for span in &spans {
        let beginning = [SpanKind::Server as i32, SpanKind::Consumer as i32].contains(&span.kind);
        assert!(
            beginning || known.contains(span.parent_span_id.as_slice()),
            "the parent of the span is missing: {span:#?}"
        );
        assert!(attribute(span, "http.route") != "/readyz");
    }
}

#[tokio::test]
async fn traces_hold_no_secrets_and_record_failures() {
    let cluster = Cluster::running().await;
    let collector = Collector::start().await;
    let gybe = Gybe::start_with(&["--otlp-endpoint", &collector.endpoint]);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let path = gybe.create("v1", &gybe.onboard("small").await).await;
    let request = json!({ "flavourId": "simple", "additionalParams":
        { "namespace": "no-such-namespace", "password": "s3cret-p4rameter" } });
    let op = gybe.begin(&path, "instantiate", &request).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP");
    let spans = collector.wait_until(|spans| spans.iter().any(|span| span.name == "INSTANTIATE")).await;
    let failed = |name: &str| {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
    };
    assert!(failed("INSTANTIATE") && failed("apply") && !failed("VIM get"));
    let all = format!("{spans:?}");
    let registered = crate::support::gybe::vim(&cluster.admin, "cluster", true);
    for (name, value) in registered["vim"]["auth_cred"].as_object().unwrap() {
        if let Some(value) = value.as_str().filter(|value| value.len() > 16) {
            assert!(!all.contains(&value[..16]), "{name} is in the traces");
        }
    }
    assert!(!all.contains("s3cret-p4rameter") && !all.contains("Bearer"));
}

#[tokio::test]
async fn an_unreachable_or_silent_collector_has_no_effect() {
    let cluster = Cluster::running().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1", &silent] {
        let namespace = cluster.namespace().await;
        let mut gybe = Gybe::start_with(&["--otlp-endpoint", endpoint]);
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let path = gybe.instantiate("v2", &gybe.onboard("small").await, namespace.name.as_str()).await;
        gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
        gybe.terminate();
        assert!(gybe.child.wait().unwrap().success(), "{endpoint}");
        let mentions = gybe.log().lines().filter(|line| line.contains("traces")).count();
        assert!((1..=2).contains(&mentions), "once, and once at the end: {endpoint}\n{}", gybe.log());
    }
}

#[test]
fn rejects_an_invalid_endpoint_and_one_with_a_password() {
    for endpoint in
        ["collector:4318", "ftp://collector", "http://user:s3cret@collector", "http://", "http://c/?token=x"]
    {
        let output = Command::new(binary()).args(["check-config", "--otlp-endpoint", endpoint]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("--otlp-endpoint must be"), "{endpoint}: {text}");
        assert!(!text.contains("s3cret"));
    }
    let output =
        Command::new(binary()).args(["check-config", "--otlp-endpoint", "https://c:4318/otlp"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("https://c:4318/otlp"));
}
