//! A long outage of a subscriber while operations run and the process is killed: afterwards every notification is
//! delivered, in order and under its first id. Through the real binary. `GYBE_CALLBACK_OUTAGE` is the length of the
//! outage in seconds (12; ten minutes in `scripts/callback-outage`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::proxy::Proxy;
use crate::support::subscriber::{Received, Subscriber};

const INSTANCES: usize = 5;
/// The lease: on PostgreSQL, the lease of a killed process must expire.
const LEASE: &str = "5";
/// The longest delay between attempts, the response timeout and a lease: after that, deliveries continue.
const RESUMPTION: Duration = Duration::from_secs(80);

fn outage() -> Duration {
    Duration::from_secs(std::env::var("GYBE_CALLBACK_OUTAGE").map_or(12, |text| text.parse().unwrap()))
}

/// Operations on all instances in turn.
struct Load {
    instances: Vec<String>,
    /// The number of operations per instance.
    rounds: usize,
    slowest: Duration,
}

impl Load {
    async fn new(gybe: &Gybe) -> Self {
        let vnfd = gybe.onboard("small").await;
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            instances.push(gybe.create("v2", &vnfd).await);
        }
        Self { instances, rounds: 0, slowest: Duration::ZERO }
    }

    /// Runs one operation on each instance.
    async fn round(&mut self, gybe: &Gybe) {
        for instance in &self.instances {
            let begun = Instant::now();
            let answer = gybe.patch(instance, &json!({ "vnfInstanceName": format!("name {}", self.rounds) })).await;
            answer.expect(StatusCode::ACCEPTED);
            let op = gybe.wait_ended(answer.location.as_deref().unwrap()).await;
            assert_eq!(op["operationState"], "COMPLETED", "{op:#}");
            self.slowest = self.slowest.max(begun.elapsed());
        }
        self.rounds += 1;
    }

    async fn wait_until(&mut self, gybe: &Gybe, end: Instant) {
        while Instant::now() < end {
            self.round(gybe).await;
            // The long run must not be busy.
            tokio::time::sleep(outage() / 40).await;
        }
    }

    fn notifications(&self) -> usize {
        INSTANCES * (1 + 2 * self.rounds)
    }

    /// The expected notifications per instance.
    fn wanted(&self) -> Vec<String> {
        let rounds = (0..self.rounds).flat_map(|round| ["PROCESSING".to_owned(), format!("COMPLETED name {round}")]);
        ["VnfIdentifierCreationNotification".to_owned()].into_iter().chain(rounds).collect()
    }
}

fn summary(received: &Received) -> String {
    let name = received.body["changedInfo"]["vnfInstanceName"].as_str().map(|name| format!(" {name}"));
    received.summary() + &name.unwrap_or_default()
}

/// Compares the accepted notifications, without repetitions, with the expected ones; returns the number of repetitions.
fn check(load: &Load, taken: &[Received]) -> usize {
    let mut bodies = BTreeMap::<String, Value>::new();
    let mut summaries = BTreeMap::<String, Vec<String>>::new();
    let mut last = BTreeMap::<String, String>::new();
    let mut twice = 0;
    for one in taken {
        let instance = one.body["vnfInstanceId"].as_str().unwrap().to_owned();
        if let Some(first) = bodies.get(&one.id()) {
            assert_eq!(*first, one.body, "a repeated notification is equal");
            assert_eq!(
                last[&instance],
                one.id(),
                "a repeated notification precedes later notifications of its instance"
            );
            twice += 1;
            continue;
        }
        bodies.insert(one.id(), one.body.clone());
        last.insert(instance.clone(), one.id());
        summaries.entry(instance).or_default().push(summary(one));
    }
    let wanted = load.wanted();
    assert_eq!(summaries.len(), INSTANCES);
    summaries.values().for_each(|summaries| assert_eq!(*summaries, wanted));
    twice
}

async fn undelivered(gybe: &Gybe) -> usize {
    let metrics = gybe.get("/metrics").await.text;
    let name = "gybe_notifications_undelivered{state=\"waiting\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap()
}

async fn check_long_outage(mut gybe: Gybe, engine: &str) {
    let (away, beside) = (Subscriber::start().await, Subscriber::start().await);
    let way = Proxy::before(&away.url).await;
    for uri in [format!("http://{}/cb", way.address()), format!("{}/cb", beside.url)] {
        let made = gybe.post("/vnflcm/v2/subscriptions", &json!({ "callbackUri": uri })).await;
        made.expect(StatusCode::CREATED);
    }
    let mut load = Load::new(&gybe).await;
    load.round(&gybe).await;
    let taken = |received: &[Received]| ids(received).len();
    away.wait_until(|received| taken(received) == load.notifications()).await;
    let calm = load.slowest;

    let (begun, part) = (Instant::now(), outage() / 4);
    way.refuse();
    load.wait_until(&gybe, begun + part).await;
    // Nothing is forwarded, and no connection is closed.
    way.fall_silent();
    load.wait_until(&gybe, begun + part * 2).await;
    gybe.kill();
    gybe.restart();
    load.wait_until(&gybe, begun + part * 3).await;
    away.answer_status(503);
    way.restore();
    load.wait_until(&gybe, begun + part * 4).await;
    let lasted = begun.elapsed();
    let refused = away.received();
    // A reachable subscriber has received everything meanwhile.
    beside.wait_until(|received| taken(received) == load.notifications()).await;
    let left = undelivered(&gybe).await;
    assert!(left >= load.notifications() - INSTANCES * 3, "{left} of {} wait", load.notifications());
    assert!(
        load.slowest < calm + Duration::from_secs(5),
        "operations do not wait for subscribers: {:?}, {calm:?}",
        load.slowest
    );

    let ended = Instant::now();
    away.answer_status(204);
    // The process is killed once more during delivery.
    let half = load.notifications() / 2;
    let resumed = tokio::time::timeout(RESUMPTION, away.wait_until(|received| taken(received) >= half)).await;
    resumed.expect("deliveries resume by themselves");
    gybe.kill();
    gybe.restart();
    away.wait_until(|received| taken(received) == load.notifications()).await;
    let after = ended.elapsed();
    let twice = check(&load, &away.accepted());
    // At most one repetition per instance and kill.
    assert!(twice <= 2 * INSTANCES, "{twice} came twice");
    check(&load, &beside.accepted());
    let delivered = ids(&away.received());
    assert!(refused.iter().filter(|one| one.method == "POST").all(|one| delivered.contains(&one.id())));
    println!(
        "callback outage on {engine}: {:.0} s; {} notifications were delivered within {:.1} s of its end, {twice} of them twice; \
         the slowest operation took {:.2} s, before the outage {:.2} s",
        lasted.as_secs_f32(),
        delivered.len(),
        after.as_secs_f32(),
        load.slowest.as_secs_f32(),
        calm.as_secs_f32(),
    );
}

/// The accepted notifications without repetitions.
fn ids(received: &[Received]) -> BTreeSet<String> {
    received.iter().filter(|one| one.accepted).map(Received::id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivers_everything_after_an_outage_with_kills_on_sqlite() {
    check_long_outage(Gybe::start_with(&["--lease", LEASE]), "SQLite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivers_everything_after_an_outage_with_kills_on_postgresql() {
    let database = Database::create().await;
    check_long_outage(Gybe::start_on_with(&database.url, &["--lease", LEASE]), "PostgreSQL").await;
}
