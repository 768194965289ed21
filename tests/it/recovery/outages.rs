//! A process group under load whose processes are restarted one after the other, or whose database is unreachable.
//! `GYBE_CHAOS_OUTAGE` is the length of a PostgreSQL outage in seconds (8, which is longer than a lease; a minute in
//! `scripts/chaos`).

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::support::load_test::LoadTest;
use crate::support::postgres::Server;
use crate::support::process_group::{APIS, LONG, PROCESSES, ProcessGroup, SHORT};
use crate::support::proxy::Proxy;
use crate::support::rng::Rng;

/// The longest response time while the database does not respond.
const ANSWER: Duration = Duration::from_secs(15);
/// A renewed lease of [`LONG`] is never older; an abandoned one becomes three times as old.
const RENEWED: Duration = Duration::from_secs(10);
/// The longest delay of the next claim after the database is back.
const CLAIM: Duration = Duration::from_secs(3);

/// A load test whose processes reach a database server of their own through a proxy.
async fn start_behind_proxy() -> (LoadTest, Proxy) {
    let server = Server::start().await;
    let proxy = Proxy::before_socket(server.socket()).await;
    let (url, through) = (server.url.clone(), format!("postgres://gybe@{}/postgres?sslmode=disable", proxy.address()));
    (LoadTest::on(Box::new(server), [&url, &through], SHORT, 1, 3).await, proxy)
}

/// Waits until that many more operations are accepted.
async fn wait_for_progress(load: &LoadTest, operations: usize) {
    let accepted = || load.nfvo.accepted.lock().unwrap().len();
    let (wanted, begun) = (accepted() + operations, Instant::now());
    while accepted() < wanted {
        assert!(begun.elapsed() < Duration::from_secs(120), "too few operations are accepted\n{}", load.group.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Checks that all processes are live and not ready, and that the APIs return 503, all in time.
async fn check_reported(group: &ProcessGroup) {
    for index in 0..PROCESSES {
        let (status, after) = group.probe(index, "/healthz").await;
        assert!(status == StatusCode::OK && after < Duration::from_secs(3), "{status} after {after:?}");
        let (status, after) = group.probe(index, "/readyz").await;
        assert!(
            status == StatusCode::SERVICE_UNAVAILABLE && after < Duration::from_secs(6),
            "{status} after {after:?}"
        );
    }
    for index in 0..APIS {
        let (status, after) = group.probe(index, "/vnflcm/v2/vnf_instances").await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && after < ANSWER, "{status} after {after:?}");
    }
}

fn outage() -> Duration {
    Duration::from_secs(std::env::var("GYBE_CHAOS_OUTAGE").map_or(8, |text| text.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_hands_over_every_operation_at_once() {
    let load = LoadTest::start(LONG, 1, 3).await;
    let begun = Instant::now();
    let waits = load
        .run_during(&mut Rng(1), async {
            wait_for_progress(&load, 4).await;
            // Until a stopped process had a running operation, usually in the first round.
            while load.queue.waits().handovers == 0 {
                assert!(
                    begun.elapsed() < Duration::from_secs(120),
                    "no operation was handed over\n{}",
                    load.group.log()
                );
                for index in 0..PROCESSES {
                    load.group.stop(index).await;
                    load.group.start_again(index).await;
                }
            }
        })
        .await;
    assert_eq!(waits.takeovers, 0, "no lease expired: {waits:?}");
    assert!(waits.worst < RENEWED, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_continue_after_a_postgresql_restart() {
    let server = Server::start().await;
    let url = server.url.clone();
    let load = LoadTest::on(Box::new(()), [&url, &url], SHORT, 1, 3).await;
    let waits = load
        .run_during(&mut Rng(2), async {
            for _ in 0..3 {
                wait_for_progress(&load, 2).await;
                server.restart();
            }
            wait_for_progress(&load, 4).await;
        })
        .await;
    assert!(waits.worst < SHORT + CLAIM, "{waits:?}");
    load.group.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_reported_and_operations_continue_when_it_answers() {
    let (load, proxy) = start_behind_proxy().await;
    load.run_during(&mut Rng(3), async {
        wait_for_progress(&load, 4).await;
        let end = Instant::now() + outage();
        proxy.fall_silent();
        check_reported(&load.group).await;
        tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
        proxy.restore();
        let restored = Instant::now();
        load.group.wait_ready().await;
        wait_for_progress(&load, 4).await;
        println!(
            "database silent for {} s: 4 operations were accepted {:.1} s after it answered again; the longest that a caller \
             waited for his 503 was {:.1} s",
            outage().as_secs(),
            restored.elapsed().as_secs_f32(),
            load.nfvo.longest.lock().unwrap().as_secs_f32(),
        );
    })
    .await;
    assert!(*load.nfvo.longest.lock().unwrap() < ANSWER);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_database_connections_are_abandoned() {
    let (load, proxy) = start_behind_proxy().await;
    load.run_during(&mut Rng(4), async {
        wait_for_progress(&load, 4).await;
        // As when a firewall has dropped the state of all connections.
        proxy.forget();
        let forgotten = Instant::now();
        wait_for_progress(&load, 4).await;
        load.group.wait_ready().await;
        assert!(forgotten.elapsed() < Duration::from_secs(40), "{:?}\n{}", forgotten.elapsed(), load.group.log());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_database_is_reported_and_operations_continue_when_it_accepts() {
    let (load, proxy) = start_behind_proxy().await;
    load.run_during(&mut Rng(5), async {
        wait_for_progress(&load, 4).await;
        proxy.refuse();
        check_reported(&load.group).await;
        proxy.restore();
        load.group.wait_ready().await;
        wait_for_progress(&load, 4).await;
    })
    .await;
}
