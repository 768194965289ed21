//! Memory of a process, and time to serve.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::{INSTANCES, MANY, address, create_instances};
use crate::load::{Connection, Load, get, post};
use crate::process::Process;
use crate::report::{Section, figure, median, millis};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

/// The number of measured starts.
const RUNS: usize = 10;

pub async fn measure() -> Section {
    let mut section = Section::new(
        "memory",
        "Memory and start-up",
        "Uses the real binary and databases. Memory is VmRSS; under load: the peak. Start-up is the time from exec until \
         the log line `gybe serves on …`, the median of ten. The 10,000 instances are created and not instantiated.",
        &["what", "database", "figure", "unit"],
    );
    measure_on("SQLite", Gybe::start(), &mut section).await;
    let database = Database::create().await;
    measure_on("PostgreSQL", Gybe::start_on(&database.url), &mut section).await;
    section
}

async fn measure_on(database: &'static str, mut gybe: Gybe, section: &mut Section) {
    let mut memory = |what: &str, kib: u64| {
        section.row(vec![json!(what), json!(database), figure(kib as f64 / 1024.0), json!("MiB")]);
    };
    let idle_after_start = memory_after_restart(&mut gybe).await;
    memory("idle, just started", idle_after_start);
    let empty = start_times(&mut gybe);
    let vnfd = gybe.onboard("small").await;
    let body = json!({ "vnfdId": vnfd }).to_string();
    create_instances(&gybe, &post(INSTANCES, &body), MANY).await;
    memory("after creating 10,000 instances at 32 connections", process(&gybe).resident_kib());
    memory("idle with 10,000 instances, just started", memory_after_restart(&mut gybe).await);
    read_all(&gybe).await;
    memory("after reading all 10,000 once", process(&gybe).resident_kib());
    let instance = gybe.create("v2", &vnfd).await;
    process(&gybe).forget_peak();
    for (request, wanted) in [(get(&instance), 200), (post(INSTANCES, &body), 201)] {
        let load = Load { address: address(&gybe), connections: 32, requests: 50_000, wanted };
        load.run(move |_| request.clone()).await;
    }
    memory("under load: GET one and POST at 32 connections", process(&gybe).peak_kib());
    let full = start_times(&mut gybe);
    for (what, times) in [("start-up, empty", empty), ("start-up, 10,000 instances", full)] {
        section.row(vec![json!(what), json!(database), millis(median(times)), json!("ms")]);
    }
}

fn process(gybe: &Gybe) -> Process {
    Process(gybe.child.id())
}

/// The memory of a new process that has served one request.
async fn memory_after_restart(gybe: &mut Gybe) -> u64 {
    gybe.kill();
    gybe.restart();
    Connection::open(&address(gybe)).await.ask(&get("/readyz"), 200).await;
    // The work at the start, such as the view of all instances, must be over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    process(gybe).resident_kib()
}

fn start_times(gybe: &mut Gybe) -> Vec<Duration> {
    let start = |_| {
        gybe.kill();
        let begun = Instant::now();
        gybe.restart();
        begun.elapsed()
    };
    (0..RUNS).map(start).collect()
}

/// Reads the whole list, page by page.
async fn read_all(gybe: &Gybe) {
    let mut connection = Connection::open(&address(gybe)).await;
    let mut next = Some(INSTANCES.to_owned());
    while let Some(path) = next {
        next = connection.ask(&get(&path), 200).await.next_page();
    }
}
