//! `Idempotency-Key`: every repeated POST gets its first answer and acts once, for every client, on both databases.

use std::time::Duration;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::support::cluster::Cluster;
use crate::support::gybe::{ApiResponse, Gybe, connection, instantiate_request, vim};
use crate::support::postgres::Database;
use crate::support::subscriber::Subscriber;

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";

async fn post(gybe: &Gybe, path: &str, key: &str, body: &Value) -> ApiResponse {
    gybe.send(gybe.client.post(gybe.uri(path)).header("Idempotency-Key", key).json(body)).await
}

async fn number(gybe: &Gybe, list: &str) -> usize {
    gybe.get(list).await.expect(StatusCode::OK).as_array().unwrap().len()
}

/// Sends the request twice; returns the answer, which is the same.
async fn twice(gybe: &Gybe, path: &str, key: &str, body: &Value) -> ApiResponse {
    let first = post(gybe, path, key, body).await;
    assert!(first.status.is_success(), "{path}: {first:?}");
    let again = post(gybe, path, key, body).await;
    assert_eq!((again.status, &again.location, &again.text), (first.status, &first.location, &first.text), "{path}");
    assert_eq!(again.content_type, first.content_type, "{path}");
    let other = post(gybe, path, key, &json!({ "other": true })).await.problem(422);
    assert!(other.contains("Idempotency-Key"), "{path}: {other}");
    first
}

async fn check_repeated_create(gybe: Gybe) {
    let vnfd = gybe.onboard("small").await;
    let body = json!({ "vnfdId": vnfd, "vnfInstanceName": "core", "metadata": { "site": "north" } });
    let first = twice(&gybe, INSTANCES, "a", &body).await;
    assert_eq!(number(&gybe, INSTANCES).await, 1);
    let other = json!({ "vnfdId": vnfd, "vnfInstanceName": "edge" });
    post(&gybe, "/vnflcm/v1/vnf_instances", "a", &body).await.problem(422);
    post(&gybe, INSTANCES, "b", &other).await.expect(StatusCode::CREATED);
    gybe.post(INSTANCES, &other).await.expect(StatusCode::CREATED);
    gybe.post(INSTANCES, &other).await.expect(StatusCode::CREATED);
    assert_eq!(number(&gybe, INSTANCES).await, 4, "each request without a key creates an instance");

    // Concurrent requests create one.
    let at_once = join_all((0..8).map(|_| post(&gybe, INSTANCES, "c", &body))).await;
    let ids: Vec<_> = at_once.iter().map(|answer| answer.expect(StatusCode::CREATED)["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(number(&gybe, INSTANCES).await, 5);

    // The answer stays, also when the instance is gone.
    gybe.delete(first.location.as_deref().unwrap()).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(post(&gybe, INSTANCES, "a", &body).await.text, first.text);
    assert_eq!(number(&gybe, INSTANCES).await, 4);
    for wrong in ["", &"x".repeat(256)] {
        post(&gybe, INSTANCES, wrong, &body).await.problem(400);
    }
    let two = gybe.client.post(gybe.uri(INSTANCES)).header("Idempotency-Key", "e").header("Idempotency-Key", "f");
    gybe.send(two.json(&body)).await.problem(400);
}

#[tokio::test]
async fn repeated_create_returns_the_first_instance_on_sqlite() {
    check_repeated_create(Gybe::start()).await;
}

#[tokio::test]
async fn repeated_create_returns_the_first_instance_on_postgresql() {
    let database = Database::create().await;
    check_repeated_create(Gybe::start_on(&database.url)).await;
}

#[tokio::test]
async fn refused_request_leaves_its_key_free() {
    let gybe = Gybe::start();
    let body = json!({ "vnfdId": "8f14e45f-ceea-467f-a8f4-0123456789ab" });
    post(&gybe, INSTANCES, "a", &body).await.problem(422);
    let corrected = json!({ "vnfdId": gybe.onboard("small").await });
    post(&gybe, INSTANCES, "a", &corrected).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn every_post_acts_once() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    twice(&gybe, "/v1.0/vims", "vim", &vim(&cluster.admin, "cluster", true)).await;
    let package = twice(&gybe, "/vnfpkgm/v1/vnf_packages", "package", &json!({})).await;
    assert_eq!(number(&gybe, "/vnfpkgm/v1/vnf_packages").await, 1);
    let content = format!("{}/package_content", package.location.unwrap());
    let upload = gybe.client.put(gybe.uri(&content)).header("Content-Type", "application/zip");
    gybe.send(upload.body(crate::support::sample::pack("small"))).await.expect(StatusCode::ACCEPTED);
    let onboarded = |package: &Value| package["onboardingState"] == "ONBOARDED";
    let package = gybe.wait_until(content.trim_end_matches("/package_content"), onboarded).await;
    for (root, body) in [
        ("/vnflcm/v1", json!({ "callbackUri": subscriber.url })),
        ("/vnfpkgm/v2", json!({ "callbackUri": subscriber.url })),
    ] {
        twice(&gybe, &format!("{root}/subscriptions"), root, &body).await;
        assert_eq!(number(&gybe, &format!("{root}/subscriptions")).await, 1);
    }
    let created = twice(&gybe, INSTANCES, "create", &json!({ "vnfdId": package["vnfdId"] })).await;
    let path = created.location.unwrap();
    for (task, body) in [
        ("instantiate", instantiate_request(namespace.name.as_str())),
        ("heal", json!({ "cause": "test" })),
        ("operate", json!({ "changeStateTo": "STOPPED" })),
        ("terminate", json!({ "terminationType": "FORCEFUL" })),
    ] {
        let answer = twice(&gybe, &format!("{path}/{task}"), task, &body).await;
        let op = answer.location.unwrap();
        assert_eq!(gybe.wait_ended(&op).await["operationState"], "COMPLETED");
        // Also when the operation has ended.
        assert_eq!(post(&gybe, &format!("{path}/{task}"), task, &body).await.location.as_ref(), Some(&op), "{task}");
    }
    assert_eq!(number(&gybe, "/vnflcm/v2/vnf_lcm_op_occs").await, 4);
}

#[tokio::test]
async fn tasks_of_op_occurrences_act_once() {
    let (cluster, gybe) = (Cluster::running().await, Gybe::start());
    let mut unreachable = cluster.admin.clone();
    unreachable.endpoint = "https://127.0.0.1:9".to_owned();
    let path = gybe.create("v2", &gybe.onboard("small").await).await;
    let request = json!({ "flavourId": "simple", "vimConnectionInfo": { "vim": connection(&unreachable) } });
    let op = gybe.begin(&path, "instantiate", &request).await;
    let (cancel, mode) = (format!("{op}/cancel"), json!({ "cancelMode": "FORCEFUL" }));
    twice(&gybe, &cancel, "cancel", &mode).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "ROLLED_BACK");
    post(&gybe, &cancel, "cancel", &mode).await.expect(StatusCode::ACCEPTED);
    post(&gybe, &cancel, "another", &mode).await.problem(409);
}

#[tokio::test]
async fn request_whose_process_was_killed_is_not_repeated() {
    let mut gybe = Gybe::start();
    let body = json!({ "vnfdId": gybe.onboard("small").await });
    let first = post(&gybe, INSTANCES, "a", &body).await;
    // As if the process was killed after the effect and before the answer was kept.
    gybe.kill();
    let forget = "UPDATE idempotent_requests SET status = NULL, location = NULL, content_type = NULL, body = NULL";
    execute(&gybe, forget).await;
    gybe.restart();
    let asked = std::time::Instant::now();
    let waiting = post(&gybe, INSTANCES, "a", &body).await;
    assert!(waiting.problem(409).contains("no answer yet") && asked.elapsed() >= Duration::from_secs(5), "{waiting:?}");
    gybe.kill();
    execute(&gybe, "UPDATE idempotent_requests SET claimed_until = 0").await;
    gybe.restart();
    let again = post(&gybe, INSTANCES, "a", &body).await.expect(StatusCode::CREATED);
    assert_eq!(again["id"], first.expect(StatusCode::CREATED)["id"]);
    assert_eq!(number(&gybe, INSTANCES).await, 1);
    // The process was killed before the effect.
    gybe.kill();
    execute(&gybe, &format!("{forget}, claimed_until = 0, resource_id = '8f14e45f-ceea-467f-a8f4-0123456789ab'")).await;
    gybe.restart();
    let made = post(&gybe, INSTANCES, "a", &body).await.expect(StatusCode::CREATED);
    assert_eq!(made["id"], "8f14e45f-ceea-467f-a8f4-0123456789ab");
    assert_eq!(number(&gybe, INSTANCES).await, 2);
}

/// Runs a statement on the database of a process that does not run.
async fn execute(gybe: &Gybe, statement: &str) {
    let options: sqlx::sqlite::SqliteConnectOptions = gybe.database_url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
}
