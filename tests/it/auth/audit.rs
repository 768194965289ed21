//! Audit records: who did what, or tried to, and who may read it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::site::{Site, token};

async fn records(site: &mut Site, project: &str, role: &str, query: &str) -> Vec<Value> {
    let answer = site.act_as(project, role).get(&format!("/audit/v1/records{query}")).await;
    answer.expect(StatusCode::OK).as_array().unwrap().clone()
}

#[tokio::test]
async fn each_mutation_and_each_refused_one_is_recorded_for_its_project() {
    let mut site = Site::start(&[]);
    let package = site.act_as("a", "member").post("/vnfpkgm/v1/vnf_packages", &json!({})).await;
    let id = package.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned();
    let path = format!("/vnfpkgm/v1/vnf_packages/{id}");
    site.gybe.get(&path).await.expect(StatusCode::OK);
    site.act_as("a", "reader").delete(&path).await.problem(403);
    site.act_as("b", "member").delete(&path).await.problem(404);
    let refused = site.act_as_nobody().delete(&path).await;
    refused.problem(401);

    let own = records(&mut site, "a", "reader", "").await;
    let summary = |record: &Value| {
        json!([record["subject"], record["httpMethod"], record["path"], record["status"], record["location"]])
    };
    assert_eq!(
        own.iter().map(summary).collect::<Vec<_>>(),
        [
            json!(["a-member", "POST", "/vnfpkgm/v1/vnf_packages", 201, path]),
            json!(["a-reader", "DELETE", path, 403, null]),
        ]
    );
    assert_eq!(own[0]["authMethod"], "token");
    assert_eq!(own[0]["peer"], "127.0.0.1");
    assert_eq!(own[0]["requestId"], package.headers["x-request-id"].to_str().unwrap());
    assert_eq!(own[1]["route"], "/vnfpkgm/v1/vnf_packages/{id}");

    let filtered = records(&mut site, "a", "reader", "?filter=(eq,status,403)").await;
    assert_eq!(filtered.iter().map(summary).collect::<Vec<_>>(), [summary(&own[1])]);
    let others = records(&mut site, "b", "reader", "").await;
    assert_eq!(others.iter().map(summary).collect::<Vec<_>>(), [json!(["b-member", "DELETE", path, 404, null])]);
    let all = records(&mut site, "b", "admin", "?all_projects").await;
    assert_eq!(all.len(), 4);
    let unknown = all.iter().find(|record| record["requestId"] == refused.headers["x-request-id"].to_str().unwrap());
    assert_eq!(summary(unknown.unwrap()), json!([null, "DELETE", path, 401, null]));
    site.act_as("a", "manager").get("/audit/v1/records?all_projects=true").await.problem(403);
    assert!(site.gybe.log().contains("a-member of project a: POST /vnfpkgm/v1/vnf_packages 201"));
}

#[tokio::test]
async fn records_and_logs_have_no_secrets() {
    let mut site = Site::start(&[]);
    let vim = json!({ "vim": { "name": "v", "type": "kubernetes", "auth_url": "https://127.0.0.1:1",
        "vim_project": { "name": "default" }, "auth_cred": { "bearer_token": "s3cr3t", "ssl_ca_cert": "None" } } });
    site.act_as("a", "member").post("/v1.0/vims?password=s3cr3t", &vim).await;
    let all = records(&mut site, "a", "admin", "?all_projects").await;
    assert_eq!(all.len(), 1);
    let log = site.gybe.log();
    for secret in ["s3cr3t", &token("a", "member"), &token("a", "admin")] {
        assert!(!Value::from(all.clone()).to_string().contains(secret), "{all:?}");
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn senders_whom_nobody_knows_can_not_fill_the_database() {
    let mut site = Site::start(&[]);
    site.act_as_nobody();
    for _ in 0..100 {
        site.gybe.post("/vnflcm/v1/vnf_instances", &json!({})).await.problem(401);
    }
    let recorded = records(&mut site, "a", "admin", "?all_projects").await.len();
    assert!((1..100).contains(&recorded), "{recorded}");
}
