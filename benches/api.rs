//! How many requests a second the API answers, on SQLite and on PostgreSQL, with the load generator on the same cores.
//!
//! Real: the release binary, HTTP on loopback, both databases with their commits synced to disk. Nothing is played.
//! `scripts/bench` starts PostgreSQL and prints the table.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't run has nothing to say")]

mod load;
#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' support has more than this needs")]
mod support;

use load::Outcome;
use serde_json::json;
use support::gybe::Gybe;
use support::postgres::Database;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!("{:36} {:>10} {:>10} {:>10}", "request", "per second", "median ms", "p99 ms");
        measure("SQLite", &Gybe::start()).await;
        let database = Database::create().await;
        measure("PostgreSQL", &Gybe::start_on(&database.url)).await;
    });
}

async fn measure(database: &str, gybe: &Gybe) {
    let address = gybe.url.trim_start_matches("http://").to_owned();
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.create("v2", &vnfd).await;
    let body = json!({ "vnfdId": vnfd }).to_string();
    for connections in [1, 8, 32] {
        let request = load::get(&instance);
        let outcome = load::run(&address, connections, 20_000, 200, move |_| request.clone()).await;
        print(&format!("GET vnf_instances/{{id}} x{connections}"), database, &outcome);
    }
    for connections in [1, 32] {
        let request = load::post("/vnflcm/v2/vnf_instances", &body);
        let outcome = load::run(&address, connections, 4_000, 201, move |_| request.clone()).await;
        print(&format!("POST vnf_instances x{connections}"), database, &outcome);
    }
}

fn print(request: &str, database: &str, outcome: &Outcome) {
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let request = format!("{request} {database}");
    println!("{request:36} {:10.0} {:10.2} {:10.2}", outcome.rate, millis(outcome.median), millis(outcome.p99));
}
