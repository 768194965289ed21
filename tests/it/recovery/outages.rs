//! A fleet under load whose processes are replaced one after the other, or whose database goes away.
//! `GYBE_CHAOS_OUTAGE` is how many seconds PostgreSQL is cut off (8, which is longer than a lease; a minute in
//! `scripts/chaos`).

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::support::fleet::{APIS, Fleet, LONG, PROCESSES, SHORT};
use crate::support::postgres::Server;
use crate::support::proxy::Proxy;
use crate::support::rng::Chance;
use crate::support::site::Site;

/// While the database does not answer, callers are told so within this.
const ANSWER: Duration = Duration::from_secs(15);
/// A lease of [`LONG`] that is renewed is never older; one that nobody renews any more gets three times as old.
const RENEWED: Duration = Duration::from_secs(10);
/// How long the next claim may take once the database is there again.
const CLAIM: Duration = Duration::from_secs(3);

/// A site whose processes reach a database server of its own through a proxy.
async fn behind_a_proxy() -> (Site, Proxy) {
    let server = Server::start().await;
    let proxy = Proxy::before_socket(server.socket()).await;
    let (url, through) = (server.url.clone(), format!("postgres://gybe@{}/postgres?sslmode=disable", proxy.address()));
    (Site::on(Box::new(server), [&url, &through], SHORT, 1, 3).await, proxy)
}

/// Lets the load run until so many operations more were accepted.
async fn work(site: &Site, operations: usize) {
    let accepted = || site.nfvo.accepted.lock().unwrap().len();
    let (wanted, begun) = (accepted() + operations, Instant::now());
    while accepted() < wanted {
        assert!(begun.elapsed() < Duration::from_secs(120), "too few operations are accepted\n{}", site.fleet.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All processes live and say that they are not ready, and the APIs answer 503, none of them late.
async fn is_told(fleet: &Fleet) {
    for index in 0..PROCESSES {
        let (status, after) = fleet.probe(index, "/healthz").await;
        assert!(status == StatusCode::OK && after < Duration::from_secs(3), "{status} after {after:?}");
        let (status, after) = fleet.probe(index, "/readyz").await;
        assert!(
            status == StatusCode::SERVICE_UNAVAILABLE && after < Duration::from_secs(6),
            "{status} after {after:?}"
        );
    }
    for index in 0..APIS {
        let (status, after) = fleet.probe(index, "/vnflcm/v2/vnf_instances").await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && after < ANSWER, "{status} after {after:?}");
    }
}

fn outage() -> Duration {
    Duration::from_secs(std::env::var("GYBE_CHAOS_OUTAGE").map_or(8, |text| text.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_hands_every_operation_over_at_once() {
    let site = Site::start(LONG, 1, 3).await;
    let begun = Instant::now();
    let waits = site
        .live_through(&mut Chance(1), async {
            work(&site, 4).await;
            // Until an operation was under way in a process that was stopped: in the first round already, as a rule.
            while site.clock.waits().hand_overs == 0 {
                assert!(begun.elapsed() < Duration::from_secs(120), "nothing was handed over\n{}", site.fleet.log());
                for index in 0..PROCESSES {
                    site.fleet.stop(index).await;
                    site.fleet.start_again(index).await;
                }
            }
        })
        .await;
    assert_eq!(waits.take_overs, 0, "no lease had to run out: {waits:?}");
    assert!(waits.worst < RENEWED, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_go_on_when_postgresql_was_restarted() {
    let server = Server::start().await;
    let url = server.url.clone();
    let site = Site::on(Box::new(()), [&url, &url], SHORT, 1, 3).await;
    let waits = site
        .live_through(&mut Chance(2), async {
            for _ in 0..3 {
                work(&site, 2).await;
                server.restart();
            }
            work(&site, 4).await;
        })
        .await;
    assert!(waits.worst < SHORT + CLAIM, "{waits:?}");
    site.fleet.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_told_of_and_everything_goes_on_when_it_answers_again() {
    let (site, proxy) = behind_a_proxy().await;
    site.live_through(&mut Chance(3), async {
        work(&site, 4).await;
        let end = Instant::now() + outage();
        proxy.fall_silent();
        is_told(&site.fleet).await;
        tokio::time::sleep(end.saturating_duration_since(Instant::now())).await;
        proxy.restore();
        let restored = Instant::now();
        site.fleet.until_ready().await;
        work(&site, 4).await;
        println!(
            "database silent for {} s: 4 operations were accepted {:.1} s after it answered again; the longest that a caller \
             waited for his 503 was {:.1} s",
            outage().as_secs(),
            restored.elapsed().as_secs_f32(),
            site.nfvo.longest.lock().unwrap().as_secs_f32(),
        );
    })
    .await;
    assert!(*site.nfvo.longest.lock().unwrap() < ANSWER);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_database_that_died_without_a_word_are_given_up() {
    let (site, proxy) = behind_a_proxy().await;
    site.live_through(&mut Chance(4), async {
        work(&site, 4).await;
        // As when a firewall has forgotten them all.
        proxy.forget();
        let forgotten = Instant::now();
        work(&site, 4).await;
        site.fleet.until_ready().await;
        assert!(forgotten.elapsed() < Duration::from_secs(40), "{:?}\n{}", forgotten.elapsed(), site.fleet.log());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_connections_is_told_of_and_everything_goes_on_when_it_takes_them_again() {
    let (site, proxy) = behind_a_proxy().await;
    site.live_through(&mut Chance(5), async {
        work(&site, 4).await;
        proxy.refuse();
        is_told(&site.fleet).await;
        proxy.restore();
        site.fleet.until_ready().await;
        work(&site, 4).await;
    })
    .await;
}
