//! Requests that a web page sends through a browser are refused on every path, and every response tells browsers what they must not
//! do with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::documents::resources;
use crate::support::gybe::{ApiResponse, Gybe};

/// All documented operations, and those outside of the documents.
fn requests() -> Vec<(Method, String)> {
    let outside = ["/", "/healthz", "/readyz", "/metrics", "/openapi", "/openapi/vims.json", "/problems", "/nothing"];
    let mut requests: Vec<_> = outside.iter().map(|path| (Method::GET, (*path).to_owned())).collect();
    for resource in resources() {
        let path = resource.somewhere();
        requests.extend(resource.operations.iter().map(|one| (one.method.parse().unwrap(), path.clone())));
        requests.push((Method::OPTIONS, path.clone()));
    }
    requests
}

async fn send(gybe: &Gybe, method: &Method, path: &str, headers: &[(&str, &str)]) -> ApiResponse {
    let request = gybe.client.request(method.clone(), gybe.uri(path));
    gybe.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn every_path_refuses_other_sites_and_rebound_names() {
    let gybe = Gybe::start();
    for (method, path) in requests() {
        for header in [
            ("Origin", "https://attacker.example"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Host", "attacker.example"),
        ] {
            let answer = send(&gybe, &method, &path, &[header]).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path} {header:?}: {answer:?}");
            assert!(answer.text.contains("urn:gybe:problem:cross-site-request"), "{method} {path}: {answer:?}");
        }
        let own = [("Origin", gybe.url.as_str()), ("Sec-Fetch-Site", "same-origin")];
        assert_ne!(send(&gybe, &method, &path, &own).await.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test]
async fn what_a_page_sends_without_asking_changes_nothing() {
    let gybe = Gybe::start();
    let body = json!({ "vnfdId": gybe.onboard("small").await }).to_string();
    let path = "/vnflcm/v2/vnf_instances";
    // A browser asks nobody before it sends these types, and sends no Origin in some cases.
    for media_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")]
    {
        let request = gybe.client.post(gybe.uri(path)).body(body.clone());
        let request = media_type.map_or(request.try_clone().unwrap(), |it| request.header("Content-Type", it));
        assert!(gybe.send(request).await.problem(415).contains("application/json"), "{media_type:?}");
    }
    let op = "/vnflcm/v2/vnf_lcm_op_occs/8f14e45f-ceea-467f-a8f4-0123456789ab";
    gybe.send(gybe.client.post(gybe.uri(&format!("{op}/retry"))).body("x")).await.problem(415);
    gybe.send(gybe.client.post(gybe.uri(&format!("{op}/retry")))).await.problem(404);
    assert_eq!(gybe.get(path).await.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn public_url_is_an_own_site() {
    let gybe = Gybe::start_with(&["--public-url", "https://vnfm.example"]);
    let headers = [("Host", "vnfm.example"), ("Origin", "https://vnfm.example")];
    send(&gybe, &Method::GET, "/vnflcm/v1/vnf_instances", &headers).await.expect(StatusCode::OK);
    let other = send(&gybe, &Method::GET, "/vnflcm/v1/vnf_instances", &[("Host", "other.example")]).await;
    assert!(other.problem(403).contains("vnfm.example"), "{other:?}");
}

#[tokio::test]
async fn every_response_forbids_sniffing_keeping_and_framing() {
    let gybe = Gybe::start();
    for (method, path) in requests() {
        let answer = send(&gybe, &method, &path, &[]).await;
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{method} {path}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{method} {path}");
        let policy = header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("frame-ancestors 'none'"), "{method} {path}: {policy}");
    }
}

#[tokio::test]
async fn header_names_are_written_as_in_the_standards() {
    let gybe = Gybe::start_with(&["--page-size", "1"]);
    let vnfd = gybe.onboard("small").await;
    let created = raw(&gybe, "POST", "/vnflcm/v2/vnf_instances", &json!({ "vnfdId": vnfd }).to_string());
    gybe.create("v2", &vnfd).await;
    let listed = raw(&gybe, "GET", "/vnflcm/v2/vnf_instances", "");
    let refused = raw(&gybe, "PUT", "/vnflcm/v2/vnf_instances", "");
    for (answer, names) in [
        (&created, &["Location", "Content-Type", "Content-Length", "Version", "Date", "X-Request-Id"][..]),
        (&listed, &["Link", "Version", "Content-Type", "Cache-Control"]),
        (&refused, &["Allow", "Content-Type", "Version"]),
    ] {
        for name in names {
            assert!(answer.contains(&format!("\r\n{name}: ")), "{name}: {answer}");
        }
    }
}

/// The bytes of a response: HTTP clients change the case of header names.
fn raw(gybe: &Gybe, method: &str, path: &str, body: &str) -> String {
    let address = gybe.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}
