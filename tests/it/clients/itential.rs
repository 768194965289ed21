//! Itential's adapter: `/vnflcm/v1` with URLs built from parts that may be empty, and requests that time out after five
//! seconds and are repeated. It needs no profile.

use std::io::Write as _;
use std::net::TcpStream;

use reqwest::StatusCode;
use serde_json::json;

use super::{ConfiguredGybe, last_segment};
use crate::support::cluster::Cluster;
use crate::support::gybe::instantiate_request;

/// Sends a request and does not wait for the response.
fn send_and_time_out(base: &str, path: &str, body: &str) -> TcpStream {
    let address = base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        connection,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    connection
}

#[tokio::test]
async fn itential_retry_is_refused_with_the_running_operation() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let server = ConfiguredGybe::start("");
    let (gybe, adapter) = (&server.gybe, server.caller(&[("Authorization", "Bearer token")]));
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("core5g").await;

    let root = "//vnflcm/v1";
    let created = adapter.post(&format!("{root}/vnf_instances?"), &json!({ "vnfdId": vnfd })).await;
    let vnf = created.expect(StatusCode::CREATED);
    assert_eq!(created.headers["version"], "1.3.0");
    let path = format!("{root}/vnf_instances/{}", vnf["id"].as_str().unwrap());
    assert_eq!(
        adapter.get(&format!("{root}/vnf_instances?")).await.expect(StatusCode::OK).as_array().unwrap().len(),
        1
    );

    let instantiate = instantiate_request(namespace.name.as_str());
    let given_up = send_and_time_out(&gybe.url, &format!("{path}/instantiate?"), &instantiate.to_string());
    let running = gybe.wait_until("/vnflcm/v1/vnf_lcm_op_occs", |all| !all.as_array().unwrap().is_empty()).await;
    drop(given_up);
    let again = adapter.post(&format!("{path}/instantiate?"), &instantiate).await;
    let detail = again.problem(409);
    let op = running[0]["id"].as_str().unwrap();
    assert!(detail.contains(op), "{detail}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&again.text).unwrap()["vnfLcmOpOccId"], op);

    let op = format!("{root}/vnf_lcm_op_occs/{op}?");
    adapter.poll(&op, &["COMPLETED"]).await;
    let op = adapter.begin(&path, "terminate?", &json!({ "terminationType": "FORCEFUL" })).await;
    adapter.poll(&format!("{root}/vnf_lcm_op_occs/{}?", last_segment(&op)), &["COMPLETED"]).await;
    adapter.delete(&format!("{path}?")).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(adapter.get(&format!("{root}/vnf_instances?")).await.expect(StatusCode::OK), json!([]));
}
