//! The database keeps rejecting the outcome of an operation: the write is retried with growing delays, is visible to
//! the operator, and finally stops the operation. Through the real binary, on a real PostgreSQL.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::support::gybe::{Gybe, binary};
use crate::support::postgres::Database;

/// The lease; longer than the test, so that none expires.
const LEASE: &str = "600";
/// Longer than the longest delay between two attempts.
const PATIENCE: Duration = Duration::from_secs(90);

async fn run(database: &Database, statement: &str) {
    let mut connection = database.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
}

/// Makes the database reject every state change for which `condition` holds.
async fn refuse(database: &Database, condition: &str) {
    let statement = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'the disk of % is full', NEW.state; END $$; \
         DROP TRIGGER IF EXISTS refuse ON vnf_lcm_op_occs; \
         CREATE TRIGGER refuse BEFORE UPDATE ON vnf_lcm_op_occs FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
    );
    run(database, &statement).await;
}

/// Waits until the output of `gybe debug ops` for the only live operation satisfies `wanted`.
async fn wait_until(database: &Database, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let shown =
            Command::new(binary()).args(["debug", "ops", "--json", "--database-url", &database.url]).output().unwrap();
        let ops: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let op = ops[0].clone();
        if wanted(&op) {
            return op;
        }
        assert!(begun.elapsed() < PATIENCE, "this is not as expected: {ops:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn unwritten(gybe: &Gybe) -> f64 {
    let metrics = gybe.get("/metrics").await.text;
    let value = metrics.lines().find_map(|line| line.strip_prefix("gybe_operation_outcomes_unwritten_total "));
    value.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_outcome_is_retried_and_finally_stops_the_operation() {
    let database = Database::create().await;
    let gybe = Gybe::start_on_with(&database.url, &["--lease", LEASE]);
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.create("v2", &vnfd).await;
    refuse(&database, "NEW.state = 'COMPLETED'").await;
    let begun = Instant::now();
    let answer = gybe.patch(&instance, &json!({ "vnfInstanceName": "refused" })).await;
    answer.expect(StatusCode::ACCEPTED);
    let path = answer.location.unwrap();

    let op = wait_until(&database, |op| op["attempt"] == 3).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "no lease is waited for: {:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_millis(1400), "there are delays: {:?}", begun.elapsed());
    assert_eq!(op["state"], "PROCESSING");
    assert_eq!(op["error"]["status"], 500, "{op:#}");
    let id = op["error"]["errorId"].as_str().unwrap();
    assert!(gybe.log().contains(id) && gybe.log().contains("the disk of COMPLETED is full"));
    assert!(unwritten(&gybe).await >= 3.0);

    // The limit of attempts of a step, set here instead of waiting for them.
    refuse(&database, "NEW.state <> OLD.state").await;
    run(&database, "UPDATE vnf_lcm_op_occs SET attempt = 10").await;
    wait_until(&database, |op| op["attempt"] == 11).await;
    refuse(&database, "NEW.state = 'COMPLETED'").await;
    let op = wait_until(&database, |op| op["state"] == "FAILED_TEMP").await;
    assert_eq!(op["error"]["type"], "urn:gybe:problem:internal", "{op:#}");
    let shown = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!((&shown["operationState"], &shown["error"]["status"]), (&json!("FAILED_TEMP"), &json!(500)));
    assert!(!shown.to_string().contains("disk"), "only the operator's log has the cause: {shown:#}");

    run(&database, "DROP TRIGGER refuse ON vnf_lcm_op_occs").await;
    gybe.post(&format!("{path}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&path).await["operationState"], "COMPLETED");
    let shown = gybe.get(&instance).await.expect(StatusCode::OK);
    assert_eq!(shown["vnfInstanceName"], "refused");
}
