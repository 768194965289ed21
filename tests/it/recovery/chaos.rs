//! Processes that are killed at random: two APIs and three conductors on one PostgreSQL, under load, for
//! `GYBE_CHAOS_SECONDS` (30); what they decide by chance follows from `GYBE_CHAOS_SEED` (1). `scripts/chaos` runs it for
//! five minutes with each of five seeds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::fleet::{APIS, Fleet, PROCESSES, SHORT};
use crate::support::rng::Chance;
use crate::support::site::Site;

/// How long the claim may take once it is possible: a conductor wakes when the lease of another one ends, but may be at its
/// limit, starved of CPU, or just be starting.
const CLAIM: Duration = Duration::from_secs(3);

/// Kills processes until the time is up, and starts each again after a while; gives back how often which was killed.
async fn kill_at_random(fleet: &Arc<Fleet>, chance: &mut Chance, end: Instant) -> [usize; PROCESSES] {
    let mut kills = [0; PROCESSES];
    while Instant::now() < end {
        tokio::time::sleep(chance.span(Duration::from_secs(2))).await;
        let index = chance.below(PROCESSES);
        fleet.kill(index).await;
        kills[index] += 1;
        tokio::time::sleep(chance.span(Duration::from_secs(1))).await;
        fleet.start_again(index).await;
    }
    kills
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_nor_done_twice_when_processes_are_killed_at_random() {
    let (seed, seconds) = (number("GYBE_CHAOS_SEED", 1), number("GYBE_CHAOS_SECONDS", 30));
    println!("GYBE_CHAOS_SEED={seed}");
    let site = Site::start(SHORT, 2, 4).await;
    let mut chance = Chance(seed);
    let (mut killer, mut kills) = (chance.fork(), [0; PROCESSES]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let waits =
        site.live_through(&mut chance, async { kills = kill_at_random(&site.fleet, &mut killer, end).await }).await;
    println!(
        "seed {seed}, {seconds} s: {} operations accepted, all COMPLETED; {} kills ({} of APIs); {} requests unanswered; \
         {} take-overs; no sign of life from an operation for {:.1} s at worst (lease {} s); longest at one step {:.1} s, put off {} times",
        site.nfvo.accepted.lock().unwrap().len(),
        kills.iter().sum::<usize>(),
        kills[..APIS].iter().sum::<usize>(),
        site.nfvo.unanswered.load(Ordering::Relaxed),
        waits.take_overs,
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
