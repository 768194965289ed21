//! `Idempotency-Key`: a repeated create returns the first VNF instance, for every client, on both databases.

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::postgres::Database;

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";

async fn create(gybe: &Gybe, key: &str, body: &serde_json::Value) -> ApiResponse {
    gybe.send(gybe.client.post(gybe.uri(INSTANCES)).header("Idempotency-Key", key).json(body)).await
}

async fn number(gybe: &Gybe) -> usize {
    gybe.get(INSTANCES).await.expect(StatusCode::OK).as_array().unwrap().len()
}

async fn check_repeated_create(gybe: Gybe) {
    let vnfd = gybe.onboard("small").await;
    let body = json!({ "vnfdId": vnfd, "vnfInstanceName": "core", "metadata": { "site": "north" } });
    let first = create(&gybe, "a", &body).await;
    let made = first.expect(StatusCode::CREATED);
    let path = first.location.clone().unwrap();
    for _ in 0..2 {
        let again = create(&gybe, "a", &body).await;
        assert_eq!((again.expect(StatusCode::CREATED), &again.location), (made.clone(), &first.location));
    }
    assert_eq!(number(&gybe).await, 1);

    let other = json!({ "vnfdId": vnfd, "vnfInstanceName": "edge" });
    let refused = create(&gybe, "a", &other).await.problem(422);
    assert!(refused.contains("Idempotency-Key"), "{refused}");
    create(&gybe, "b", &other).await.expect(StatusCode::CREATED);
    gybe.post(INSTANCES, &other).await.expect(StatusCode::CREATED);
    assert_eq!(number(&gybe).await, 3, "each request without a key creates an instance");

    // Concurrent requests create one.
    let at_once = join_all((0..8).map(|_| create(&gybe, "c", &body))).await;
    let ids: Vec<_> = at_once.iter().map(|answer| answer.expect(StatusCode::CREATED)["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(number(&gybe).await, 4);

    // After its deletion, its key can be used again.
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    assert_ne!(create(&gybe, "a", &body).await.expect(StatusCode::CREATED)["id"], made["id"]);
    let unknown = json!({ "vnfdId": "8f14e45f-ceea-467f-a8f4-0123456789ab" });
    create(&gybe, "d", &unknown).await.problem(422);
    for wrong in ["", &"x".repeat(256)] {
        create(&gybe, wrong, &body).await.problem(400);
    }
    let twice = gybe.client.post(gybe.uri(INSTANCES)).header("Idempotency-Key", "e").header("Idempotency-Key", "f");
    gybe.send(twice.json(&body)).await.problem(400);
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
