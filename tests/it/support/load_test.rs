//! A [`ProcessGroup`] with its database, its cluster and a load, and the final check of all of them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::audit::{Audit, QueueMonitor, WaitTimes};
use super::cluster::{Cluster, TestNamespace};
use super::nfvo_load::{NfvoLoad, Order};
use super::object_recorder::ObjectRecorder;
use super::postgres::Database;
use super::process_group::ProcessGroup;
use super::rng::Rng;

/// A process group under load.
pub struct LoadTest {
    /// The direct URL of the database; the processes may use a proxy.
    pub url: String,
    _database: Box<dyn Any + Send>,
    pub cluster: Cluster,
    namespaces: Vec<TestNamespace>,
    pub group: Arc<ProcessGroup>,
    /// The clients that generate the load.
    pub nfvo: Arc<NfvoLoad>,
    recorder: ObjectRecorder,
    /// Observes the queue in the database.
    pub queue: QueueMonitor,
    orders: Vec<Order>,
}

impl LoadTest {
    /// Starts with leases of `lease`, with `large` clients that instantiate `core5g` and `small` clients that
    /// instantiate one pod.
    pub async fn start(lease: Duration, large: usize, small: usize) -> Self {
        let database = Database::create().await;
        let url = database.url.clone();
        Self::on(Box::new(database), [&url, &url], lease, large, small).await
    }

    /// As [`LoadTest::start`], on the database at `url`, which the processes reach through `through`.
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
        let recorder = ObjectRecorder::of(&cluster, &names).await;
        let group = ProcessGroup::start(through, &cluster.admin, lease).await;
        let order = |(index, namespace): (usize, &String)| Order {
            vnfd: if index < large { group.core5g.clone() } else { group.small.clone() },
            aspect: (index < large).then_some("amf"),
            namespace: namespace.clone(),
        };
        let orders = names.iter().enumerate().map(order).collect();
        let (nfvo, queue) = (NfvoLoad::new(&group), QueueMonitor::start(url, lease));
        Self { url: url.to_owned(), _database: database, cluster, namespaces, group, nfvo, recorder, queue, orders }
    }

    /// Runs the load during `disturbance`, waits for the operations that have started, and checks everything.
    pub async fn run_during(&self, rng: &mut Rng, disturbance: impl Future<Output = ()>) -> WaitTimes {
        let stop = CancellationToken::new();
        let lives: Vec<_> = self
            .orders
            .iter()
            .map(|order| {
                let (nfvo, order, rng, stop) = (Arc::clone(&self.nfvo), order.clone(), rng.fork(), stop.clone());
                tokio::spawn(async move { nfvo.run_life_cycles(&order, rng, &stop).await })
            })
            .collect();
        disturbance.await;
        stop.cancel();
        for life in lives {
            life.await.unwrap();
        }
        let waits = self.queue.take();
        let audit = Audit {
            url: &self.url,
            cluster: &self.cluster,
            namespaces: &self.namespaces.iter().map(|it| it.name.as_str().to_owned()).collect::<Vec<_>>(),
            accepted: &self.nfvo.accepted.lock().unwrap().clone(),
            instances: &self.nfvo.instances.lock().unwrap().clone(),
            recorder: &self.recorder,
        };
        audit.check().await;
        self.nfvo.delete_terminated().await;
        waits
    }
}
