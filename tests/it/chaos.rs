//! Processes that are killed at random: two APIs and three conductors on one PostgreSQL, under load, for
//! `GYBE_CHAOS_SECONDS` (30); what they decide by chance follows from `GYBE_CHAOS_SEED` (1). `scripts/chaos` runs it for
//! five minutes with each of five seeds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::support::audit::{Audit, Clock, Waits};
use crate::support::chance::Chance;
use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fleet::{APIS, Fleet, LEASE, PROCESSES};
use crate::support::nfvo::{Nfvo, Order};
use crate::support::postgres::Database;
use crate::support::witness::Witness;

/// How long the claim may take once it is possible: a conductor wakes when the lease of another one ends, but may be at its
/// limit, starved of CPU, or just be starting.
const CLAIM: Duration = Duration::from_secs(3);

/// A fleet with its load.
struct Site {
    database: Database,
    cluster: Cluster,
    namespaces: Vec<TestNamespace>,
    fleet: Arc<Fleet>,
    nfvo: Arc<Nfvo>,
    witness: Witness,
    clock: Clock,
    orders: Vec<Order>,
}

impl Site {
    /// With so many NFVOs that order core5g, and so many that order a single pod.
    async fn start(large: usize, small: usize) -> Self {
        let database = Database::create().await;
        let cluster = Cluster::running().await;
        let mut namespaces = Vec::new();
        for _ in 0..large + small {
            namespaces.push(cluster.namespace().await);
        }
        let names: Vec<String> = namespaces.iter().map(|namespace| namespace.name.as_str().to_owned()).collect();
        let witness = Witness::of(&cluster, &names).await;
        let fleet = Fleet::start(&database.url, &cluster.admin).await;
        let order = |(index, namespace): (usize, &String)| Order {
            vnfd: if index < large { fleet.core5g.clone() } else { fleet.small.clone() },
            aspect: (index < large).then_some("amf"),
            namespace: namespace.clone(),
            vim: None,
        };
        let orders = names.iter().enumerate().map(order).collect();
        let (nfvo, clock) = (Nfvo::new(&fleet), Clock::start(&database.url, LEASE));
        Self { database, cluster, namespaces, fleet, nfvo, witness, clock, orders }
    }

    /// Runs the load while `disturbance` goes on, then until what has begun is over; compares everything at the end.
    async fn live_through(&self, chance: &mut Chance, disturbance: impl Future<Output = ()>) -> Waits {
        let stop = CancellationToken::new();
        let lives: Vec<_> = self
            .orders
            .iter()
            .map(|order| {
                let (nfvo, order, chance, stop) = (Arc::clone(&self.nfvo), order.clone(), chance.fork(), stop.clone());
                tokio::spawn(async move { nfvo.live(&order, chance, &stop).await })
            })
            .collect();
        disturbance.await;
        stop.cancel();
        for life in lives {
            life.await.unwrap();
        }
        let waits = self.clock.take();
        let audit = Audit {
            url: &self.database.url,
            cluster: &self.cluster,
            namespaces: &self.namespaces.iter().map(|it| it.name.as_str().to_owned()).collect::<Vec<_>>(),
            accepted: &self.nfvo.accepted.lock().unwrap().clone(),
            instances: &self.nfvo.instances.lock().unwrap().clone(),
            witness: &self.witness,
        };
        audit.check().await;
        waits
    }
}

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
    let site = Site::start(2, 4).await;
    let mut chance = Chance(seed);
    let (mut killer, mut kills) = (chance.fork(), [0; PROCESSES]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let waits =
        site.live_through(&mut chance, async { kills = kill_at_random(&site.fleet, &mut killer, end).await }).await;
    println!(
        "seed {seed}, {seconds} s: {} operations accepted, all COMPLETED; {} kills ({} of APIs); {} requests unanswered; \
         {} take-overs; no sign of life from an operation for {:.1} s at worst (lease {} s); longest at one step {:.1} s",
        site.nfvo.accepted.lock().unwrap().len(),
        kills.iter().sum::<usize>(),
        kills[..APIS].iter().sum::<usize>(),
        site.nfvo.unanswered.load(Ordering::Relaxed),
        waits.take_overs,
        waits.worst.as_secs_f32(),
        LEASE.as_secs(),
        waits.slowest.as_secs_f32(),
    );
    assert!(waits.worst < LEASE + CLAIM, "{waits:?}");
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
