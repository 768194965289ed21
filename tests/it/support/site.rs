//! A [`Fleet`] with its database, its cluster and its load, and the comparison of everything at the end.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::audit::{Audit, Clock, Waits};
use super::cluster::{Cluster, TestNamespace};
use super::fleet::Fleet;
use super::nfvo::{Nfvo, Order};
use super::postgres::Database;
use super::rng::Chance;
use super::witness::Witness;

/// A fleet with its load.
pub struct Site {
    /// The database itself, whatever the processes reach it through.
    pub url: String,
    _database: Box<dyn Any + Send>,
    /// The control plane.
    pub cluster: Cluster,
    namespaces: Vec<TestNamespace>,
    /// The processes.
    pub fleet: Arc<Fleet>,
    /// The load.
    pub nfvo: Arc<Nfvo>,
    witness: Witness,
    /// Looks at the queue.
    pub clock: Clock,
    orders: Vec<Order>,
}

impl Site {
    /// With leases of `lease`, so many NFVOs that order core5g, and so many that order a single pod.
    pub async fn start(lease: Duration, large: usize, small: usize) -> Self {
        let database = Database::create().await;
        let url = database.url.clone();
        Self::on(Box::new(database), [&url, &url], lease, large, small).await
    }

    /// On a database, of which it is told how it is reached directly, and how the processes are to reach it.
    pub async fn on(
        database: Box<dyn Any + Send>,
        [url, through]: [&str; 2],
        lease: Duration,
        large: usize,
        small: usize,
    ) -> Self {
        let cluster = Cluster::running().await;
        let mut namespaces = Vec::new();
        for _ in 0..large + small {
            namespaces.push(cluster.namespace().await);
        }
        let names: Vec<String> = namespaces.iter().map(|namespace| namespace.name.as_str().to_owned()).collect();
        let witness = Witness::of(&cluster, &names).await;
        let fleet = Fleet::start(through, &cluster.admin, lease).await;
        let order = |(index, namespace): (usize, &String)| Order {
            vnfd: if index < large { fleet.core5g.clone() } else { fleet.small.clone() },
            aspect: (index < large).then_some("amf"),
            namespace: namespace.clone(),
        };
        let orders = names.iter().enumerate().map(order).collect();
        let (nfvo, clock) = (Nfvo::new(&fleet), Clock::start(url, lease));
        Self { url: url.to_owned(), _database: database, cluster, namespaces, fleet, nfvo, witness, clock, orders }
    }

    /// Runs the load while `disturbance` goes on, then until what has begun is over; compares everything at the end.
    pub async fn live_through(&self, chance: &mut Chance, disturbance: impl Future<Output = ()>) -> Waits {
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
            url: &self.url,
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
