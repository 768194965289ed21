//! Whether a fleet did what it said: looks into the database while operations run, for how long they wait, and afterwards
//! compares what was accepted, the database and the cluster.

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
use super::witness::{Witness, is_of_a_job};

/// How often the queue is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// What was seen of the queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// The longest that an operation that could be worked on had no sign of life from anybody.
    pub worst: Duration,
    /// The longest that one stayed at the same step, worked on or put off.
    pub slowest: Duration,
    /// How often an operation was claimed as the lease of another one had run out.
    pub take_overs: usize,
    /// How often one was put off, and claimed again: after a passing error, or handed over by a process that stops.
    pub hand_overs: usize,
    /// The most often that a step was put off.
    pub attempts: i64,
}

/// Looks at the queue until it is dropped.
pub struct Clock {
    waits: Arc<Mutex<Waits>>,
    _task: AbortOnDropHandle<()>,
}

/// A live row: id, what changes with progress, epoch, attempt, the last sign of life or since when it is due, and when it
/// is due; and the present. Times are the database's, in milliseconds.
type Row = (String, String, i64, i64, i64, i64, i64);

impl Clock {
    /// Looks at the database of that URL; leases are of `lease`.
    pub fn start(url: &str, lease: Duration) -> Self {
        let waits = Arc::new(Mutex::new(Waits::default()));
        let task = tokio::spawn(look(url.to_owned(), lease, Arc::clone(&waits)));
        Self { waits, _task: AbortOnDropHandle::new(task) }
    }

    /// What was seen so far.
    pub fn waits(&self) -> Waits {
        *self.waits.lock().unwrap()
    }

    /// What was seen so far, or since this was last asked.
    pub fn take(&self) -> Waits {
        std::mem::take(&mut self.waits.lock().unwrap())
    }
}

async fn look(url: String, lease: Duration, waits: Arc<Mutex<Waits>>) {
    let mut connection = None;
    let mut before: BTreeMap<String, (Row, i64)> = BTreeMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        // The database may be away, too.
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

/// Compares rows with those of the look before, each with the time of its last progress; gives them back likewise.
fn note(rows: Vec<Row>, before: &BTreeMap<String, (Row, i64)>, waits: &mut Waits) -> BTreeMap<String, (Row, i64)> {
    let span = |from: i64, to: i64| Duration::from_millis(u64::try_from(to - from).unwrap_or(0));
    let mut after = BTreeMap::new();
    for row in rows {
        let (id, progress, epoch, attempt, sign, due, now) = &row;
        let mut since = *now;
        if let Some(((_, progress_before, epoch_before, _, sign_before, due_before, _), since_before)) = before.get(id)
        {
            // Who gives an operation up makes it due, and leaves no sign of life after that.
            let was_held = due == due_before && sign_before > due_before;
            let is_claimed_again = *epoch_before > 0 && epoch > epoch_before;
            waits.take_overs += usize::from(is_claimed_again && was_held);
            waits.hand_overs += usize::from(is_claimed_again && !was_held);
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

/// What is to be found at the end.
pub struct Audit<'a> {
    /// The database.
    pub url: &'a str,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The namespaces that nobody else uses.
    pub namespaces: &'a [String],
    /// The op occurrences that were accepted.
    pub accepted: &'a BTreeSet<String>,
    /// The instances that are not deleted.
    pub instances: &'a BTreeSet<String>,
    /// Who saw all objects.
    pub witness: &'a Witness,
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
    /// Everything accepted is COMPLETED and nothing else was done; database and cluster agree; nothing was made twice.
    pub async fn check(&self) {
        let mut database = self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
        let select = "SELECT id, vnf_instance_id AS instance, operation, state, start_time, resource_changes AS changes \
                      FROM vnf_lcm_op_occs ORDER BY start_time";
        let ops: Vec<Op> = sqlx::query_as(select).fetch_all(&mut database).await.unwrap();
        let there: BTreeSet<String> = ops.iter().map(|op| op.id.clone()).collect();
        assert_same(&there, self.accepted, "the operations there are, and those that were accepted");
        for op in &ops {
            assert_eq!(op.state, "COMPLETED", "{op:?}");
        }
        let instances: Vec<(String, Option<Json<Value>>)> =
            sqlx::query_as("SELECT id, instantiated_vnf_info FROM vnf_instances")
                .fetch_all(&mut database)
                .await
                .unwrap();
        let there: BTreeSet<String> = instances.iter().map(|(id, _)| id.clone()).collect();
        assert_same(&there, self.instances, "the instances there are, and those that were created and not deleted");

        let inventory = inventory(&mut database).await;
        let objects = self.objects(&inventory.kinds).await;
        assert_same(&objects, &inventory.objects, "the cluster, and the inventory");
        let instantiated: BTreeSet<&String> =
            instances.iter().filter(|(_, info)| info.is_some()).map(|(id, _)| id).collect();
        let with_objects: BTreeSet<&String> = objects.iter().map(|[instance, ..]| instance).collect();
        assert_same(&with_objects, &instantiated, "who has objects, and who is INSTANTIATED");
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

    /// The pods are those that the instances tell of; and no pod and no other object ever was that no operation tells of.
    ///
    /// A pod may come while its VNF is terminated: its controller replaces one that is killed until it learns that it is to
    /// go itself.
    async fn check_pods(&self, ops: &[Op], instances: &[(String, Option<Json<Value>>)]) {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
        let pod = |vnfc: &Value| [text(vnfc, "pod_name"), text(vnfc, "pod_uid")];
        let told: BTreeSet<[String; 2]> = instances
            .iter()
            .filter_map(|(_, info)| info.as_ref())
            .flat_map(|info| info["vnfcs"].as_array().unwrap().iter().map(pod))
            .collect();
        let pods = self.cluster.api("v1", "Pod", "pods", None);
        let pods = pods.list(&ListParams::default().labels(INSTANCE_LABEL)).await.unwrap();
        let pods = pods.items.into_iter().filter(|pod| self.is_ours(pod.namespace()) && !is_of_a_job(pod));
        let pods: BTreeSet<[String; 2]> = pods.map(|pod| [pod.name_any(), pod.uid().unwrap()]).collect();
        assert_same(&pods, &told, "the pods there are, and those that the instances tell of");

        let added: BTreeSet<[String; 2]> = ops
            .iter()
            .filter_map(|op| op.changes.as_ref())
            .flat_map(|changes| changes["affected_vnfcs"].as_array().unwrap())
            .filter(|affected| affected["change"] == "ADDED")
            .map(|affected| pod(&affected["vnfc"]))
            .collect();
        for ((instance, kind, name), seen) in self.witness.seen() {
            if kind == "Pod" {
                let of: Vec<&Op> = ops.iter().filter(|op| op.instance == instance).collect();
                let going = |made: i64| of.iter().any(|op| op.operation == "TERMINATE" && op.start_time / 1000 <= made);
                let told = |uid: &String| added.contains(&[name.clone(), uid.clone()]);
                let alright = seen.iter().all(|(uid, made)| told(uid) || going(*made));
                assert!(alright, "pod {name} of {instance} {seen:?} was made twice or for nobody: {of:#?}");
            } else {
                assert_eq!(seen.len(), 1, "{kind} {name} of {instance} was made more than once");
            }
        }
    }
}

/// As `assert_eq!`, saying what is in one only.
#[track_caller]
fn assert_same<T: Ord + std::fmt::Debug>(left: &BTreeSet<T>, right: &BTreeSet<T>, what: &str) {
    let (more, less): (Vec<&T>, Vec<&T>) = (left.difference(right).collect(), right.difference(left).collect());
    assert!(more.is_empty() && less.is_empty(), "{what}: the first also has {more:#?}, the second {less:#?}");
}

struct Inventory {
    objects: Objects,
    /// apiVersion, kind and plural of all kinds in it.
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
