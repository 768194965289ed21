//! IBM CP4NA with its SOL003 driver: `/vnflcm/v2` without `Version`, HTTP Basic. A 202 must have no body. It never
//! reads op occurrences but waits for the first notification of type RESULT. It reads errors only as plain JSON.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Caller, ConfiguredGybe, last_segment};
use crate::support::cluster::Cluster;
use crate::support::gybe::connection;
use crate::support::postgres::Database;
use crate::support::subscriber::{Received, Reply, Subscriber};

const CONFIGURATION: &str = r#"
[[client]]
name = "CP4NA"
profile = "ibm"
user = "cp4na"
"#;
/// `cp4na:s3cr3t`
const AUTHORIZATION: (&str, &str) = ("Authorization", "Basic Y3A0bmE6czNjcjN0");
const LCN: &str = "/vnflcm/v2/notifications";

/// The notifications of the operation.
fn of<'a>(received: &'a [Received], op: &str) -> Vec<&'a Value> {
    let all = received.iter().map(|one| &one.body);
    all.filter(|body| body["vnfLcmOpOccId"] == op).collect()
}

/// Waits as the driver does: the first RESULT notification ends the operation.
async fn done(driver: &Caller<'_>, callback: &Subscriber, instance: &str, operation: &str, body: Value) {
    let location = driver.begin(instance, operation, &body).await;
    let op = last_segment(&location);
    let received =
        callback.wait_until(|received| of(received, op).iter().any(|one| one["notificationStatus"] == "RESULT")).await;
    let summaries = of(&received, op);
    assert_eq!(
        summaries.len(),
        1,
        "of the states it subscribed to there is one, and no earlier RESULT: {summaries:#?}"
    );
    assert_eq!(summaries[0]["operationState"], "COMPLETED", "{operation}: {:#}\n{}", summaries[0], driver.gybe.log());
}

#[tokio::test]
async fn cp4na_follows_the_life_cycle_by_notifications_alone() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let database = Database::create().await;
    let server = ConfiguredGybe::start_on(&database.url, CONFIGURATION, &[]);
    let (gybe, driver) = (&server.gybe, server.caller(&[AUTHORIZATION]));
    let (vnfd, next) = (gybe.onboard("core5g").await, gybe.onboard("core5g-2").await);
    let callback = Subscriber::start().await;
    callback.answer(|request| Reply::Status(if request.method == "POST" { 204 } else { 405 }, String::new()));
    // The driver's user creates this by hand, once.
    let subscription = json!({
        "callbackUri": format!("{}{LCN}", callback.url),
        "filter": { "notificationTypes": ["VnfLcmOperationOccurrenceNotification"],
            "operationStates": ["COMPLETED", "FAILED", "FAILED_TEMP", "ROLLED_BACK"] },
    });
    driver.post("/vnflcm/v2/subscriptions", &subscription).await.expect(StatusCode::CREATED);

    let created = driver.post("/vnflcm/v2/vnf_instances", &json!({ "vnfdId": vnfd, "vnfInstanceName": "core" })).await;
    let id = created.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned();
    assert_eq!(created.headers["version"], "2.0.0");
    let vnf = format!("/vnflcm/v2/vnf_instances/{id}");
    let install = json!({
        "flavourId": "simple",
        "vimConnectionInfo": { "vim1": connection(&cluster.admin) },
        "additionalParams": { "namespace": namespace.name.as_str() },
    });
    done(&driver, &callback, &vnf, "instantiate", install).await;
    done(&driver, &callback, &vnf, "operate", json!({ "changeStateTo": "STOPPED", "stopType": "FORCEFUL" })).await;
    done(&driver, &callback, &vnf, "operate", json!({ "changeStateTo": "STARTED" })).await;
    let scale = |direction| json!({ "type": direction, "aspectId": "smf", "numberOfSteps": 1 });
    done(&driver, &callback, &vnf, "scale", scale("SCALE_OUT")).await;
    done(&driver, &callback, &vnf, "scale", scale("SCALE_IN")).await;
    done(&driver, &callback, &vnf, "heal", json!({ "cause": "from CP4NA" })).await;
    done(&driver, &callback, &vnf, "change_vnfpkg", json!({ "vnfdId": next })).await;
    assert_eq!(driver.get(&vnf).await.expect(StatusCode::OK)["vnfdId"], next);

    // The driver reads an error only if it is plain JSON with status and detail.
    let refused = driver.delete(&vnf).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.content_type.as_deref(), Some("application/json"));
    let problem: Value = serde_json::from_str(&refused.text).unwrap();
    assert_eq!(problem["status"], 409);
    assert!(problem["detail"].is_string());
    let nothing = driver.get("/vnflcm/v2/nothing").await;
    assert_eq!((nothing.status, nothing.content_type.as_deref()), (StatusCode::NOT_FOUND, Some("application/json")));

    done(
        &driver,
        &callback,
        &vnf,
        "terminate",
        json!({ "terminationType": "GRACEFUL", "gracefulTerminationTimeout": 5 }),
    )
    .await;
    driver.delete(&vnf).await.expect(StatusCode::NO_CONTENT);
    assert!(callback.received().iter().all(|one| one.method == "POST" || one.path == LCN));
}
