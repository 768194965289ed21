//! Checks of a [`super::process_group::ProcessGroup`]: a monitor measures how long operations wait; at the end,
//! accepted operations, database and cluster are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gybe::domain::resource::INSTANCE_LABEL;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Json;
use sqlx::{ConnectOptions, PgConnection};
use tokio_util::task::AbortOnDropHandle;

use super::cluster::Cluster;
use super::object_recorder::{ObjectRecorder, is_of_a_job};

/// The interval between two looks at the queue.
const PERIOD: Duration = Duration::from_millis(100);

/// Measurements of the queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitTimes {
    /// The longest time without a lease renewal for an operation that was due.
    pub worst: Duration,
    /// The longest time that an operation stayed at one step, including delays.
    pub slowest: Duration,
    /// How often an operation was claimed after another process's lease had expired.
    pub takeovers: usize,
    /// How often a postponed operation was claimed again: after a retryable error, or handed over by a process that
    /// shut down.
    pub handovers: usize,
    /// The highest number of attempts at one step.
    pub attempts: i64,
}

/// Samples the queue until it is dropped.
pub struct QueueMonitor {
    waits: Arc<Mutex<WaitTimes>>,
    _task: AbortOnDropHandle<()>,
}

/// A live row: id, progress, lease epoch, attempt, time of the last renewal or since when it is due, due time, and the
/// current time. Times are the database's, in milliseconds.
type Row = (String, String, i64, i64, i64, i64, i64);

impl QueueMonitor {
    /// Starts to sample the database at `url`; leases last `lease`.
    pub fn start(url: &str, lease: Duration) -> Self {
        let waits = Arc::new(Mutex::new(WaitTimes::default()));
        let task = tokio::spawn(look(url.to_owned(), lease, Arc::clone(&waits)));
        Self { waits, _task: AbortOnDropHandle::new(task) }
    }

    /// The measurements so far.
    pub fn waits(&self) -> WaitTimes {
        *self.waits.lock().unwrap()
    }

    /// The measurements since the last call.
    pub fn take(&self) -> WaitTimes {
        std::mem::take(&mut self.waits.lock().unwrap())
    }
}

async fn look(url: String, lease: Duration, waits: Arc<Mutex<WaitTimes>>) {
    let mut connection = None;
    let mut before: BTreeMap<String, (Row, i64)> = BTreeMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        // The database may be unreachable as part of the test.
        match live(&url, &mut connection, lease).await {
            Ok(rows) => before = note(rows, &before, &mut waits.lock().unwrap()),
            Err(_) => connection = None,
        }
    }
}

async fn live(url: &str, connection: &mut Option<PgConnection>, lease: Duration) -> Result<Vec<Row>, sqlx::Error> {
    if connection.is_none() {
        *connection = Some(url.parse::<PgConnectOptions>()?.connect().await?);
    }
    let Some(connection) = connection else { return Ok(Vec::new()) };
    let select = "SELECT id, state || steps_done, lease_epoch, attempt, GREATEST(lease_until - $1, not_before), not_before, \
                  CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) \
                  FROM vnf_lcm_op_occs WHERE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK')";
    let lease = i64::try_from(lease.as_millis()).unwrap();
    sqlx::query_as(select).bind(lease).fetch_all(connection).await
}

/// Compares the rows with the previous sample; each has the time of its last progress.
fn note(rows: Vec<Row>, before: &BTreeMap<String, (Row, i64)>, waits: &mut WaitTimes) -> BTreeMap<String, (Row, i64)> {
    let span = |from: i64, to: i64| Duration::from_millis(u64::try_from(to - from).unwrap_or(0));
    let mut after = BTreeMap::new();
    for row in rows {
        let (id, progress, epoch, attempt, sign, due, now) = &row;
        let mut since = *now;
        if let Some(((_, progress_before, epoch_before, _, sign_before, due_before, _), since_before)) = before.get(id)
        {
            // A process that releases an operation makes it due and does not renew after that.
            let was_held = due == due_before && sign_before > due_before;
            let is_claimed_again = *epoch_before > 0 && epoch > epoch_before;
            waits.takeovers += usize::from(is_claimed_again && was_held);
            waits.handovers += usize::from(is_claimed_again && !was_held);
            if progress == progress_before {
                since = *since_before;
            }
        }
        waits.worst = waits.worst.max(span(*sign, *now));
        waits.slowest = waits.slowest.max(span(since, *now));
        waits.attempts = waits.attempts.max(*attempt);
        after.insert(id.clone(), (row, since));
    }
    after
}

/// The expected final state.
pub struct Audit<'a> {
    /// The URL of the database.
    pub url: &'a str,
    pub cluster: &'a Cluster,
    /// The namespaces of this test.
    pub namespaces: &'a [String],
    /// The ids of accepted op occurrences.
    pub accepted: &'a BTreeSet<String>,
    /// The ids of instances that are not deleted.
    pub instances: &'a BTreeSet<String>,
    /// The record of all objects.
    pub recorder: &'a ObjectRecorder,
}

#[derive(Debug, sqlx::FromRow)]
struct Op {
    id: String,
    instance: String,
    operation: String,
    state: String,
    start_time: i64,
    changes: Option<Json<Value>>,
}

/// A set of objects: instance, apiVersion, kind, name, uid.
type Objects = BTreeSet<[String; 5]>;

impl Audit<'_> {
    /// Checks that everything accepted is COMPLETED, that nothing else was done, that database and cluster agree, and
    /// that nothing was created twice.
    pub async fn check(&self) {
        let mut database = self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
        let select = "SELECT id, vnf_instance_id AS instance, operation, state, start_time, resource_changes AS changes \
                      FROM vnf_lcm_op_occs ORDER BY start_time";
        let ops: Vec<Op> = sqlx::query_as(select).fetch_all(&mut database).await.unwrap();
        let there: BTreeSet<String> = ops.iter().map(|op| op.id.clone()).collect();
        assert_same(&there, self.accepted, "existing operations and accepted operations");
        for op in &ops {
            assert_eq!(op.state, "COMPLETED", "{op:?}");
        }
        let instances: Vec<(String, Option<Json<Value>>)> =
            sqlx::query_as("SELECT id, instantiated_vnf_info FROM vnf_instances")
                .fetch_all(&mut database)
                .await
                .unwrap();
        let there: BTreeSet<String> = instances.iter().map(|(id, _)| id.clone()).collect();
        assert_same(&there, self.instances, "existing instances and created instances that were not deleted");

        let inventory = inventory(&mut database).await;
        let objects = self.objects(&inventory.kinds).await;
        assert_same(&objects, &inventory.objects, "objects in the cluster and in the inventory");
        let instantiated: BTreeSet<&String> =
            instances.iter().filter(|(_, info)| info.is_some()).map(|(id, _)| id).collect();
        let with_objects: BTreeSet<&String> = objects.iter().map(|[instance, ..]| instance).collect();
        assert_same(&with_objects, &instantiated, "instances with objects and instances that are INSTANTIATED");
        self.check_pods(&ops, &instances).await;
    }

    /// The objects of all instances in the namespaces, of these kinds.
    async fn objects(&self, kinds: &BTreeSet<(String, String, String)>) -> Objects {
        let mut objects = Objects::new();
        let selector = ListParams::default().labels(&format!("{INSTANCE_LABEL},app.kubernetes.io/managed-by=gybe"));
        for (api_version, kind, plural) in kinds {
            let all = self.cluster.api(api_version, kind, plural, None).list(&selector).await.unwrap();
            let ours = all.items.into_iter().filter(|object| self.is_ours(object.namespace()));
            objects.extend(ours.map(|object| {
                let instance = object.labels()[INSTANCE_LABEL].clone();
                [instance, api_version.clone(), kind.clone(), object.name_any(), object.uid().unwrap()]
            }));
        }
        objects
    }

    fn is_ours(&self, namespace: Option<String>) -> bool {
        namespace.is_some_and(|namespace| self.namespaces.contains(&namespace))
    }

    /// Checks that the pods are those that the instances list, and that every pod and object that ever existed is
    /// explained by an operation.
    ///
    /// A pod may appear during TERMINATE: its controller replaces a deleted pod until it is deleted itself.
    async fn check_pods(&self, ops: &[Op], instances: &[(String, Option<Json<Value>>)]) {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
        let pod = |vnfc: &Value| [text(vnfc, "pod_name"), text(vnfc, "pod_uid")];
        let listed: BTreeSet<[String; 2]> = instances
            .iter()
            .filter_map(|(_, info)| info.as_ref())
            .flat_map(|info| info["vnfcs"].as_array().unwrap().iter().map(pod))
            .collect();
        let pods = self.cluster.api("v1", "Pod", "pods", None);
        let pods = pods.list(&ListParams::default().labels(INSTANCE_LABEL)).await.unwrap();
        let pods = pods.items.into_iter().filter(|pod| self.is_ours(pod.namespace()) && !is_of_a_job(pod));
        let pods: BTreeSet<[String; 2]> = pods.map(|pod| [pod.name_any(), pod.uid().unwrap()]).collect();
        assert_same(&pods, &listed, "existing pods and pods that the instances list");

        let added: BTreeSet<[String; 2]> = ops
            .iter()
            .filter_map(|op| op.changes.as_ref())
            .flat_map(|changes| changes["affected_vnfcs"].as_array().unwrap())
            .filter(|affected| affected["change"] == "ADDED")
            .map(|affected| pod(&affected["vnfc"]))
            .collect();
        for ((instance, kind, name), seen) in self.recorder.recorded() {
            if kind == "Pod" {
                let of: Vec<&Op> = ops.iter().filter(|op| op.instance == instance).collect();
                let going = |made: i64| of.iter().any(|op| op.operation == "TERMINATE" && op.start_time / 1000 <= made);
                let listed = |uid: &String| added.contains(&[name.clone(), uid.clone()]);
                let alright = seen.iter().all(|(uid, made)| listed(uid) || going(*made));
                assert!(
                    alright,
                    "pod {name} of {instance} {seen:?} was created twice or without an operation: {of:#?}"
                );
            } else {
                assert_eq!(seen.len(), 1, "{kind} {name} of {instance} was created more than once");
            }
        }
    }
}

/// `assert_eq!` with a message that lists the differences.
#[track_caller]
fn assert_same<T: Ord + std::fmt::Debug>(left: &BTreeSet<T>, right: &BTreeSet<T>, what: &str) {
    let (more, less): (Vec<&T>, Vec<&T>) = (left.difference(right).collect(), right.difference(left).collect());
    assert!(more.is_empty() && less.is_empty(), "{what}: the first also has {more:#?}, the second {less:#?}");
}

struct Inventory {
    objects: Objects,
    /// apiVersion, kind and plural of all kinds.
    kinds: BTreeSet<(String, String, String)>,
}

async fn inventory(database: &mut PgConnection) -> Inventory {
    type Row = (String, String, String, String, String, Option<String>);
    let select = "SELECT vnf_instance_id, api_version, kind, resource_name, plural, uid FROM vnf_resources";
    let rows: Vec<Row> = sqlx::query_as(select).fetch_all(database).await.unwrap();
    let mut inventory = Inventory { objects: Objects::new(), kinds: BTreeSet::new() };
    for (instance, api_version, kind, name, plural, uid) in rows {
        inventory.kinds.insert((api_version.clone(), kind.clone(), plural));
        inventory.objects.insert([instance, api_version, kind, name, uid.unwrap_or_else(|| "none".to_owned())]);
    }
    inventory
}
