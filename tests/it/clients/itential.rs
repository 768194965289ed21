//! Itential's adapter: `/vnflcm/v1` with URLs put together of parts that may be empty, and requests that are given up after
//! five seconds and tried again. It needs no profile.

use std::io::Write as _;
use std::net::TcpStream;

use reqwest::StatusCode;
use serde_json::json;

use super::{Site, last};
use crate::support::cluster::Cluster;

/// Sends a request and does not wait for the answer.
fn give_up(base: &str, path: &str, body: &str) -> TcpStream {
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
async fn itential_tries_again_what_it_gave_up_and_is_told_of_the_operation_that_runs() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let site = Site::start("");
    let (gybe, adapter) = (&site.gybe, site.caller(&[("Authorization", "Bearer token")]));
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

    let instantiate = json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace.name.as_str() } });
    let given_up = give_up(&gybe.url, &format!("{path}/instantiate?"), &instantiate.to_string());
    let running = gybe.until("/vnflcm/v1/vnf_lcm_op_occs", |all| !all.as_array().unwrap().is_empty()).await;
    drop(given_up);
    let again = adapter.post(&format!("{path}/instantiate?"), &instantiate).await;
    let told = again.problem(409);
    let op = running[0]["id"].as_str().unwrap();
    assert!(told.contains(op), "{told}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&again.text).unwrap()["vnfLcmOpOccId"], op);

    let op = format!("{root}/vnf_lcm_op_occs/{op}?");
    adapter.poll(&op, &["COMPLETED"]).await;
    let op = adapter.begin(&path, "terminate?", &json!({ "terminationType": "FORCEFUL" })).await;
    adapter.poll(&format!("{root}/vnf_lcm_op_occs/{}?", last(&op)), &["COMPLETED"]).await;
    adapter.delete(&format!("{path}?")).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(adapter.get(&format!("{root}/vnf_instances?")).await.expect(StatusCode::OK), json!([]));
}
