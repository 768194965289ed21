//! Quotas and usage of projects over HTTP.

use futures::future::join;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::site::{Site, token};
use crate::support::gybe::ApiResponse;
use crate::support::sample;

fn path(project: &str, what: &str) -> String {
    format!("/tenancy/v1/projects/{project}/{what}")
}

/// Sets quotas of project `a`, as an admin of another one.
async fn set(site: &mut Site, quotas: &Value) -> Value {
    site.act_as("b", "admin").put(&path("a", "quotas"), quotas).await.expect(StatusCode::OK)
}

#[track_caller]
fn is_exceeded(answer: &ApiResponse, resource: &str, [limit, used, needed]: [u64; 3]) {
    let problem = answer.expect(StatusCode::CONFLICT);
    assert_eq!(problem["type"], "urn:gybe:problem:quota-exceeded", "{problem:#}");
    assert_eq!(problem["resource"], resource, "{problem:#}");
    assert_eq!([&problem["limit"], &problem["used"], &problem["needed"]], [limit, used, needed], "{problem:#}");
}

#[tokio::test]
async fn a_project_gets_what_its_quotas_allow_and_sees_what_it_has() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("gybe.toml");
    std::fs::write(&file, "[quotas]\nsubscriptions = 0\n").unwrap();
    let mut site = Site::start(&["--config", file.to_str().unwrap(), "--callback-test", "off"]);
    let gybe = site.act_as("a", "member");
    let quotas = gybe.get(&path("a", "quotas")).await.expect(StatusCode::OK);
    let unlimited = json!({ "vnfInstances": -1, "packages": -1, "packageBytes": -1, "operations": -1,
        "subscriptions": 0, "vims": -1 });
    assert_eq!(quotas, unlimited);
    let subscription = json!({ "callbackUri": "http://127.0.0.1:9" });
    let refused = gybe.post("/vnflcm/v2/subscriptions", &subscription).await;
    is_exceeded(&refused, "subscriptions", [0, 0, 1]);
    let vnfd = gybe.onboard("small").await;
    let usage = gybe.get(&path("a", "usage")).await.expect(StatusCode::OK);
    let bytes = usage["packageBytes"].as_u64().unwrap();
    assert_eq!(bytes, sample::pack("small").len() as u64);
    assert_eq!(usage["quotas"], unlimited, "{usage:#}");

    // Two creations at once: one has the last place.
    let set_to = set(&mut site, &json!({ "vnfInstances": 1, "packageBytes": bytes, "packages": 2 })).await;
    assert_eq!([&set_to["vnfInstances"], &set_to["subscriptions"], &set_to["vims"]], [1, 0, -1]);
    let gybe = site.act_as("a", "member");
    let create = async || gybe.post("/vnflcm/v2/vnf_instances", &json!({ "vnfdId": vnfd })).await;
    let (one, other) = join(create(), create()).await;
    let (made, refused) = if one.status == StatusCode::CREATED { (one, other) } else { (other, one) };
    made.expect(StatusCode::CREATED);
    is_exceeded(&refused, "vnfInstances", [1, 1, 1]);
    // No room for content, and the package stays as it was made.
    let package = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
    let href = format!("/vnfpkgm/v1/vnf_packages/{}", package["id"].as_str().unwrap());
    let upload = gybe.client.put(gybe.uri(&format!("{href}/package_content")));
    let upload = gybe.send(upload.header("Content-Type", "application/zip").body(sample::pack("small"))).await;
    is_exceeded(&upload, "packageBytes", [bytes, bytes, 1]);
    assert_eq!(gybe.get(&href).await.expect(StatusCode::OK)["onboardingState"], "CREATED");

    // Below what is there: allowed, and nothing is deleted.
    set(&mut site, &json!({ "packages": 0 })).await;
    let gybe = site.act_as("a", "member");
    is_exceeded(&gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await, "packages", [0, 2, 1]);
    gybe.delete(&href).await.expect(StatusCode::NO_CONTENT);
    let usage = gybe.get(&path("a", "usage")).await.expect(StatusCode::OK);
    assert_eq!([&usage["packages"], &usage["vnfInstances"], &usage["operations"]], [1, 1, 0], "{usage:#}");

    // Another project has its own.
    site.act_as("b", "member").onboard("small").await;
    others_see_nothing_and_nonsense_is_refused(&mut site).await;
}

async fn others_see_nothing_and_nonsense_is_refused(site: &mut Site) {
    for what in ["usage", "quotas"] {
        site.act_as("b", "manager").get(&path("a", what)).await.problem(404);
        site.act_as("b", "admin").get(&path("a", what)).await.expect(StatusCode::OK);
        site.act_as("b", "admin").get(&path(&"x".repeat(256), what)).await.problem(404);
        site.act_as("b", "admin").get(&path("a%0Ab", what)).await.problem(404);
    }
    site.act_as("a", "manager").put(&path("a", "quotas"), &json!({})).await.problem(403);
    for (body, expected) in [
        (json!({ "vnfInstances": -2 }), "-2 is not a limit"),
        (json!({ "vnfInstances": 1.5 }), "vnfInstances"),
        (json!({ "vnfInstances": 10_000_000_000_000_000_000_u64 }), "vnfInstances"),
        (json!({ "vnfs": 1 }), "vnfs"),
    ] {
        let detail = site.act_as("b", "admin").put(&path("a", "quotas"), &body).await.problem(400);
        assert!(detail.contains(expected), "{detail}");
    }
    // The quotas are those from before.
    let quotas = site.act_with(Some(&token("a", "reader"))).get(&path("a", "quotas")).await.expect(StatusCode::OK);
    assert_eq!([&quotas["packages"], &quotas["vnfInstances"]], [0, -1], "{quotas:#}");
}
