//! Settings that any client can have, and that they apply to that client only.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::ConfiguredGybe;
use crate::support::gybe::binary;

const CONFIGURATION: &str = r#"
[[client]]
name = "strict"
header = { name = "X-Client", value = "strict" }
version_required = true

[[client]]
name = "inside"
header = { name = "X-Client", value = "inside" }
public_url = "http://gybe.inside:9890/"
page_size = 1
error_type = "application/json"

[[client]]
name = "tacker"
profile = "tacker"
header = { name = "X-Client", value = "tacker" }
"#;

#[tokio::test]
async fn requires_version_header_from_a_strict_client() {
    let server = ConfiguredGybe::start(CONFIGURATION);
    let path = "/vnflcm/v2/vnf_instances";
    let strict = server.caller(&[("X-Client", "strict")]);
    let refused = strict.get(path).await;
    assert!(refused.problem(400).contains("Version: 2.0.0"), "{}", refused.text);
    assert_eq!(refused.headers["version"], "2.0.0");
    strict.get("/vnfpkgm/v1/vnf_packages").await.problem(400);
    for exempt in ["/vnflcm/api_versions", "/vnflcm/v2/api_versions", "/v1.0/vims"] {
        strict.get(exempt).await.expect(StatusCode::OK);
    }
    let with_version = server.caller(&[("X-Client", "strict"), ("Version", "2.0.0")]);
    with_version.get(path).await.expect(StatusCode::OK);
    for other in [&[("X-Client", "other")][..], &[]] {
        server.caller(other).get(path).await.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn applies_own_links_pages_and_error_type() {
    let server = ConfiguredGybe::start(CONFIGURATION);
    let (gybe, inside) = (&server.gybe, server.caller(&[("X-Client", "inside")]));
    let vnfd = gybe.onboard("small").await;
    let created = inside.post("/vnflcm/v2/vnf_instances", &json!({ "vnfdId": vnfd })).await;
    let vnf = created.expect(StatusCode::CREATED);
    let path = format!("/vnflcm/v2/vnf_instances/{}", vnf["id"].as_str().unwrap());
    let self_link = |shown: &Value| shown["_links"]["self"]["href"].as_str().unwrap().to_owned();
    assert_eq!(self_link(&vnf), format!("http://gybe.inside:9890{path}"));
    assert_eq!(created.location, Some(self_link(&vnf)));
    // Alternately, so that a cached response of one client is not sent to the other.
    for _ in 0..2 {
        assert_eq!(
            self_link(&inside.get(&path).await.expect(StatusCode::OK)),
            format!("http://gybe.inside:9890{path}")
        );
        assert_eq!(self_link(&gybe.get(&path).await.expect(StatusCode::OK)), format!("{}{path}", gybe.url));
    }
    gybe.create("v2", &vnfd).await;
    let list = inside.get("/vnflcm/v2/vnf_instances").await;
    assert_eq!(list.expect(StatusCode::OK).as_array().unwrap().len(), 1);
    assert!(list.headers["link"].to_str().unwrap().starts_with("<http://gybe.inside:9890/vnflcm/v2/vnf_instances?"));
    assert_eq!(gybe.get("/vnflcm/v2/vnf_instances").await.expect(StatusCode::OK).as_array().unwrap().len(), 2);

    let unknown = "/vnflcm/v2/vnf_instances/8f14e45f-ceea-467f-a8f4-0123456789ab";
    let plain = inside.get(unknown).await;
    assert_eq!((plain.status, plain.content_type.as_deref()), (StatusCode::NOT_FOUND, Some("application/json")));
    gybe.get(unknown).await.problem(404);
    // Any request may ask for that.
    let likes_json = [("Accept", "application/json, application/problem+json;q=0.1")];
    assert_eq!(server.caller(&likes_json).get(unknown).await.content_type.as_deref(), Some("application/json"));
    server.caller(&[("Accept", "application/json")]).get(unknown).await.problem(404);
}

#[tokio::test]
async fn lists_all_attributes_of_v1_for_a_tacker_client() {
    let server = ConfiguredGybe::start(CONFIGURATION);
    let vnfd = server.gybe.onboard("small").await;
    let body = json!({ "vnfdId": vnfd, "metadata": { "site": "north" } });
    server.gybe.post("/vnflcm/v1/vnf_instances", &body).await.expect(StatusCode::CREATED);
    let shown = async |client: &str, path: &str| {
        let list = server.caller(&[("X-Client", client)]).get(path).await.expect(StatusCode::OK);
        list[0].get("metadata").is_some()
    };
    assert!(shown("tacker", "/vnflcm/v1/vnf_instances").await);
    assert!(!shown("tacker", "/vnflcm/v2/vnf_instances").await, "clients of v2 can use selectors");
    assert!(!shown("tacker", "/vnflcm/v1/vnf_instances?exclude_default").await);
    assert!(shown("tacker", "/vnflcm/v1/vnf_instances?fields=metadata").await);
    assert!(!shown("other", "/vnflcm/v1/vnf_instances").await);
    let packages = server.caller(&[("X-Client", "tacker")]).get("/vnfpkgm/v1/vnf_packages").await;
    let package = packages.expect(StatusCode::OK)[0].clone();
    assert_eq!(package.get("softwareImages"), None, "lists of packages do not change: {package:#}");
}

#[test]
fn accepts_the_sample_and_names_the_line_of_an_error() {
    let check = |file: &std::path::Path| {
        std::process::Command::new(binary()).args(["check-config", "--config"]).arg(file).output().unwrap()
    };
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/clients.toml");
    let shown = check(&sample);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("ONAP SO") && !shown.contains("4c1f0e"), "the value of a header is not shown: {shown}");
    let wrong = super::config_file("[[client]]\nname = 'a'\nprofile = 'onpa'\n");
    let output = check(wrong.path());
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("line 3") && error.contains("onap"), "{error}");
}
