//! Random kills: two APIs and three conductors on one PostgreSQL, under load, for `GYBE_CHAOS_SECONDS` (30). All random
//! choices follow from `GYBE_CHAOS_SEED` (1). `scripts/chaos` runs it for five minutes with each of five seeds, and so with
//! processes whose clocks stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::gybe::FAKETIME;
use crate::support::load_test::LoadTest;
use crate::support::process_group::{APIS, PROCESSES, ProcessGroup, SHORT};
use crate::support::rng::Rng;

/// The longest delay of a claim that is possible: a conductor wakes when another's lease expires, but may be at its
/// limit, short of CPU, or still starting.
const CLAIM: Duration = Duration::from_secs(3);

/// Kills processes for that time and starts each again after a while; returns the number of kills per process.
async fn kill_at_random(group: &Arc<ProcessGroup>, rng: &mut Rng, end: Instant) -> [usize; PROCESSES] {
    let mut kills = [0; PROCESSES];
    while Instant::now() < end {
        tokio::time::sleep(rng.duration(Duration::from_secs(2))).await;
        let index = rng.below(PROCESSES);
        group.kill(index).await;
        kills[index] += 1;
        tokio::time::sleep(rng.duration(Duration::from_secs(1))).await;
        group.start_again(index).await;
    }
    kills
}

/// Stops processes with their clocks for up to two leases each, for that time; returns the number of stops.
async fn stop_clocks_at_random(group: &Arc<ProcessGroup>, rng: &mut Rng, end: Instant) -> usize {
    let mut stops = 0;
    while Instant::now() < end {
        tokio::time::sleep(rng.duration(Duration::from_secs(2))).await;
        group.stand_still(rng.below(PROCESSES), rng.duration(2 * SHORT)).await;
        stops += 1;
    }
    stops
}

/// A process that stood still doesn't know that its leases have expired: the database and the annotations of the objects refuse
/// what it sends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime: run scripts/chaos"]
async fn clocks_that_stop_lose_and_repeat_nothing() {
    assert!(std::env::var_os(FAKETIME).is_some(), "{FAKETIME} must name libfaketimeMT.so.1");
    let (seed, seconds) = (number("GYBE_CHAOS_SEED", 1), number("GYBE_CHAOS_SECONDS", 30));
    let load = LoadTest::start(SHORT, 2, 4).await;
    let mut rng = Rng(seed);
    let (mut stopper, mut stops) = (rng.fork(), 0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let stopping = async { stops = stop_clocks_at_random(&load.group, &mut stopper, end).await };
    let waits = load.run_during(&mut rng, stopping).await;
    println!(
        "seed {seed}, {seconds} s: {} operations accepted, all COMPLETED; {stops} stops of clocks; {} take-overs",
        load.nfvo.accepted.lock().unwrap().len(),
        waits.takeovers,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn random_kills_lose_and_repeat_nothing() {
    let (seed, seconds) = (number("GYBE_CHAOS_SEED", 1), number("GYBE_CHAOS_SECONDS", 30));
    println!("GYBE_CHAOS_SEED={seed}");
    let load = LoadTest::start(SHORT, 2, 4).await;
    let mut rng = Rng(seed);
    let (mut killer, mut kills) = (rng.fork(), [0; PROCESSES]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let waits = load.run_during(&mut rng, async { kills = kill_at_random(&load.group, &mut killer, end).await }).await;
    println!(
        "seed {seed}, {seconds} s: {} operations accepted, all COMPLETED; {} kills ({} of APIs); {} requests unanswered; \
         {} take-overs; no sign of life from an operation for {:.1} s at worst (lease {} s); longest at one step {:.1} s, put off {} times",
        load.nfvo.accepted.lock().unwrap().len(),
        kills.iter().sum::<usize>(),
        kills[..APIS].iter().sum::<usize>(),
        load.nfvo.unanswered.load(Ordering::Relaxed),
        waits.takeovers,
        waits.worst.as_secs_f32(),
        SHORT.as_secs(),
        waits.slowest.as_secs_f32(),
        waits.attempts,
    );
    assert!(waits.worst < SHORT + CLAIM, "{waits:?}");
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
