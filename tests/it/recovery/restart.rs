//! The real binary is killed in the middle of operations on the real control plane: they continue after a restart.
//!
//! A VNF goes through the operations of [`OPERATIONS`]; a new operation is one more line. The first run is undisturbed: it
//! counts the changes of objects in each operation and records the outcome. The later runs kill the process in each
//! operation after a random part of the changes. The outcomes must be equal.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _, select_all};
use gybe::domain::resource::INSTANCE_LABEL;
use kube::api::{DynamicObject, ListParams, WatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;
use crate::support::rng::{Rng, seeds};

struct Operation {
    name: &'static str,
    /// The task of the VNF instance; `PATCH` for a modification, `rollback` for that of a failed instantiation.
    task: &'static str,
    /// The request body, given the current VNF instance.
    body: fn(&Value) -> Value,
    end: &'static str,
}

#[rustfmt::skip]
const OPERATIONS: [Operation; 12] = [
    Operation { name: "INSTANTIATE rolled back", task: "rollback", body: |_| json!({}), end: "ROLLED_BACK" },
    Operation { name: "INSTANTIATE", task: "instantiate", body: |_| json!({ "flavourId": "simple" }), end: "COMPLETED" },
    Operation { name: "SCALE out", task: "scale", body: |_| json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" }), end: "COMPLETED" },
    Operation { name: "SCALE in", task: "scale", body: |_| json!({ "type": "SCALE_IN", "aspectId": "subscriber_data" }), end: "COMPLETED" },
    Operation { name: "SCALE_TO_LEVEL", task: "scale_to_level", body: |_| json!({ "scaleInfo": [{ "aspectId": "smf", "scaleLevel": 1 }] }), end: "COMPLETED" },
    Operation { name: "CHANGE_VNFPKG", task: "change_vnfpkg", body: |_| json!({ "vnfdId": CORE5G_2 }), end: "COMPLETED" },
    Operation { name: "HEAL one", task: "heal", body: |instance| json!({ "vnfcInstanceId": [id_of_a_vnfc(instance, "AMF")] }), end: "COMPLETED" },
    Operation { name: "HEAL all", task: "heal", body: |_| json!({}), end: "COMPLETED" },
    Operation { name: "MODIFY_INFO", task: "PATCH", body: |_| json!({ "vnfInstanceName": "renamed" }), end: "COMPLETED" },
    Operation { name: "OPERATE stop", task: "operate", body: |_| json!({ "changeStateTo": "STOPPED" }), end: "COMPLETED" },
    Operation { name: "OPERATE start", task: "operate", body: |_| json!({ "changeStateTo": "STARTED" }), end: "COMPLETED" },
    Operation { name: "TERMINATE", task: "terminate", body: |_| json!({ "terminationType": "FORCEFUL" }), end: "COMPLETED" },
];

/// The vnfdId of sample `core5g-2`.
const CORE5G_2: &str = "0d2d5e0c-2f0e-4d0b-9d3c-5a9d1c0c7a52";

fn id_of_a_vnfc(instance: &Value, vdu: &str) -> Value {
    let mut vnfcs = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap().iter();
    vnfcs.find(|vnfc| vnfc["vduId"] == vdu).unwrap()["id"].clone()
}

/// The names of the pods of the shown VNFCs, by VDU.
fn vnfcs(instance: &Value) -> BTreeMap<String, Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut vnfcs = BTreeMap::<String, Vec<String>>::new();
    for vnfc in instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().into_iter().flatten() {
        vnfcs.entry(text(&vnfc["vduId"])).or_default().push(text(&vnfc["computeResource"]["resourceId"]));
    }
    vnfcs
}

/// The uids of the objects of the instance, by kind and name, and of the pods that stay.
struct ClusterSnapshot {
    objects: BTreeMap<String, (String, Option<i64>)>,
    pods: BTreeMap<String, String>,
}

/// The outcome of an operation, without details that differ from run to run.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// The existing objects with their replicas.
    objects: BTreeMap<String, Option<i64>>,
    /// Those that replaced an earlier object.
    replaced: BTreeSet<String>,
    /// The number of pods, and how many of them existed before.
    pods: (usize, usize),
    /// The shown instance.
    instance: Value,
}

impl Outcome {
    fn of(before: &ClusterSnapshot, now: &ClusterSnapshot, instance: &Value) -> Self {
        let info = &instance["instantiatedVnfInfo"];
        let vdus: BTreeMap<String, usize> = vnfcs(instance).into_iter().map(|(vdu, pods)| (vdu, pods.len())).collect();
        let kept = now.pods.values().filter(|uid| before.pods.values().any(|before| before == *uid)).count();
        Self {
            objects: now.objects.iter().map(|(name, (_, replicas))| (name.clone(), *replicas)).collect(),
            replaced: replaced(before, now),
            pods: (now.pods.len(), kept),
            instance: json!([
                instance["instantiationState"],
                instance["vnfInstanceName"],
                instance["vnfdId"],
                info["scaleStatus"],
                vdus
            ]),
        }
    }
}

/// The objects that exist under another uid.
fn replaced(before: &ClusterSnapshot, now: &ClusterSnapshot) -> BTreeSet<String> {
    let differs = |(name, (uid, _)): &(&String, &(String, _))| before.objects.get(*name).is_some_and(|it| it.0 != *uid);
    now.objects.iter().filter(differs).map(|(name, _)| name.clone()).collect()
}

/// The longest that an expected change takes, such as an update of the view.
const SOON: Duration = Duration::from_secs(20);

struct RestartFixture<'a> {
    cluster: &'a Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl<'a> RestartFixture<'a> {
    async fn new(cluster: &'a Cluster, gybe: Gybe) -> Self {
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = gybe.onboard("core5g").await;
        gybe.onboard("core5g-2").await;
        let path = gybe.create("v2", &vnfd).await;
        Self { cluster, namespace, gybe, path }
    }

    async fn instance(&self) -> Value {
        self.gybe.get(&self.path).await.expect(StatusCode::OK)
    }

    async fn snapshot(&self) -> ClusterSnapshot {
        let (mut objects, mut pods) = (BTreeMap::new(), BTreeMap::new());
        for (kind, object) in self.cluster.marked(&self.namespace.name).await {
            let DynamicObject { metadata, data, .. } = object;
            let (name, uid) = (metadata.name.unwrap(), metadata.uid.unwrap());
            match kind {
                "Pod" if metadata.deletion_timestamp.is_some() => {}
                "Pod" => assert_eq!(pods.insert(name, uid), None),
                // Owned by the Deployments.
                "ReplicaSet" => {}
                kind => {
                    assert_eq!(objects.insert(format!("{kind} {name}"), (uid, data["spec"]["replicas"].as_i64())), None)
                }
            }
        }
        ClusterSnapshot { objects, pods }
    }

    /// Watches the changes of the instance's objects.
    async fn changes(&self) -> BoxStream<'static, ()> {
        let mut watches = Vec::new();
        for (api_version, kind, plural) in [
            ("v1", "Service", "services"),
            ("apps/v1", "Deployment", "deployments"),
            ("apps/v1", "StatefulSet", "statefulsets"),
            ("v1", "Pod", "pods"),
        ] {
            let api = self.cluster.api(api_version, kind, plural, Some(&self.namespace.name));
            let list = api.list(&ListParams::default().labels(INSTANCE_LABEL)).await.unwrap();
            let since = list.metadata.resource_version.unwrap();
            let watch = api.watch(&WatchParams::default().labels(INSTANCE_LABEL), &since).await.unwrap();
            watches.push(watch.map(|event| drop(event.unwrap())).boxed());
        }
        select_all(watches).boxed()
    }

    /// Runs an instantiation that fails because another client owns one of its last objects; returns the URI of its op
    /// occurrence.
    async fn stopped(&self) -> String {
        let foreign = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "amf" },
            "spec": { "minAvailable": 0, "selector": { "matchLabels": { "app": "other" } } },
        });
        self.cluster.create("poddisruptionbudgets", Some(&self.namespace.name), foreign).await;
        let op = self.send("instantiate", &json!({ "flavourId": "simple" })).await;
        let stopped = self.gybe.wait_ended(&op).await;
        assert_eq!((&stopped["operationState"], &stopped["error"]["status"]), (&json!("FAILED_TEMP"), &json!(409)));
        let budgets =
            self.cluster.api("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", Some(&self.namespace.name));
        budgets.delete("amf", &Default::default()).await.unwrap();
        op
    }

    /// Sends a request; returns the URI of its op occurrence.
    async fn send(&self, task: &str, body: &Value) -> String {
        let mut body = body.clone();
        match task {
            "PATCH" => {
                let answer = self.gybe.patch(&self.path, &body).await;
                answer.expect(StatusCode::ACCEPTED);
                answer.location.unwrap()
            }
            "instantiate" => {
                body["additionalParams"] = json!({ "namespace": self.namespace.name.as_str() });
                self.gybe.begin(&self.path, task, &body).await
            }
            task => self.gybe.begin(&self.path, task, &body).await,
        }
    }

    /// Runs an operation. With `kill`, kills the process after that many changes and starts it again; without, counts
    /// the changes. Returns the count and the outcome, which must equal `intended`.
    async fn run_operation(
        &mut self,
        operation: &Operation,
        kill: Option<usize>,
        intended: Option<&Outcome>,
    ) -> (usize, Outcome) {
        let stopped = if operation.task == "rollback" { Some(self.stopped().await) } else { None };
        let (before, body) = (self.snapshot().await, (operation.body)(&self.instance().await));
        let mut changes = self.changes().await;
        let op = match stopped {
            Some(op) => {
                self.gybe.post(&format!("{op}/rollback"), &body).await.expect(StatusCode::ACCEPTED);
                op
            }
            None => self.send(operation.task, &body).await,
        };
        let mut seen = 0;
        let mut at_kill = None;
        let ended = {
            let mut settled = std::pin::pin!(self.gybe.wait_ended(&op));
            loop {
                if kill == Some(seen) {
                    break None;
                }
                tokio::select! {
                    biased;
                    Some(()) = changes.next() => seen += 1,
                    ended = &mut settled => break Some(ended),
                }
            }
        };
        if kill.is_some() {
            self.gybe.kill();
            at_kill = Some(self.snapshot().await);
            self.wait_for_lease_expiry().await;
            self.gybe.restart();
        }
        let ended = match ended {
            Some(ended) => ended,
            None => self.gybe.wait_ended(&op).await,
        };
        assert_eq!(ended["operationState"], operation.end, "{ended:#}\n{}", self.gybe.log());
        let (now, outcome) = self.wait_for_outcome(&before, intended).await;
        if let Some(at_kill) = at_kill {
            assert_eq!(replaced(&at_kill, &now), BTreeSet::new(), "no object that existed at the kill was replaced");
        }
        self.check_database_matches_cluster(&now).await;
        (seen, outcome)
    }

    /// On PostgreSQL the leases of a killed process must expire; on SQLite they end with it.
    async fn wait_for_lease_expiry(&self) {
        if self.gybe.database_url.starts_with("postgres") {
            let mut connection = sqlx::PgConnection::connect(&self.gybe.database_url).await.unwrap();
            sqlx::raw_sql("UPDATE vnf_lcm_op_occs SET lease_until = 0").execute(&mut connection).await.unwrap();
        }
    }

    async fn wait_for_outcome(
        &self,
        before: &ClusterSnapshot,
        intended: Option<&Outcome>,
    ) -> (ClusterSnapshot, Outcome) {
        let begun = Instant::now();
        loop {
            let (now, instance) = (self.snapshot().await, self.instance().await);
            let outcome = Outcome::of(before, &now, &instance);
            let shown: BTreeSet<String> = vnfcs(&instance).into_values().flatten().collect();
            let are_there = shown.iter().all(|pod| now.pods.contains_key(pod));
            if are_there && intended.is_none_or(|intended| outcome == *intended) {
                return (now, outcome);
            }
            if begun.elapsed() > SOON {
                assert!(are_there, "a VNFC is no pod of the cluster: {shown:?}, {:?}", now.pods);
                assert_eq!(Some(&outcome), intended);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that the inventory equals the objects in the cluster.
    async fn check_database_matches_cluster(&self, now: &ClusterSnapshot) {
        // The StatefulSet owns the volumes.
        let there: BTreeSet<&str> =
            now.objects.keys().map(String::as_str).filter(|it| !it.starts_with("Pers")).collect();
        let answer = self.gybe.get(&format!("{}/drift", self.path)).await;
        if answer.status == StatusCode::CONFLICT {
            assert!(now.objects.is_empty() && now.pods.is_empty(), "left over: {:?} {:?}", now.objects, now.pods);
            return;
        }
        let drift = answer.expect(StatusCode::OK);
        let name =
            |object: &Value| format!("{} {}", object["kind"].as_str().unwrap(), object["name"].as_str().unwrap());
        let known: BTreeSet<String> = drift["objects"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(known.iter().map(String::as_str).collect::<BTreeSet<_>>(), there);
        assert_eq!(drift["inSync"], true, "{drift:#}");
    }
}

/// Runs all operations with a kill in each at a point that follows from the seed. Returns how many were running at the
/// kill.
async fn run_with_kills(gybe: Gybe, seed: u64, undisturbed: &[(usize, Outcome)]) -> usize {
    let mut rng = Rng(seed);
    let cluster = Cluster::running().await;
    let mut fixture = RestartFixture::new(&cluster, gybe).await;
    for (operation, (changes, intended)) in OPERATIONS.iter().zip(undisturbed) {
        let point = changes * rng.below(101) / 100;
        println!("GYBE_MATRIX_SEED={seed}: {} is killed after {point} of {changes} changes", operation.name);
        fixture.run_operation(operation, Some(point), Some(intended)).await;
    }
    let claims = fixture.gybe.log().matches(" claimed\"").count();
    // The operation that is rolled back is claimed twice in any case.
    let again = claims - OPERATIONS.len() - 1;
    println!("GYBE_MATRIX_SEED={seed}: {again} of {} operations were taken up again", OPERATIONS.len());
    again
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn every_operation_resumes_after_a_kill_at_any_point() {
    let cluster = Cluster::running().await;
    let mut fixture = RestartFixture::new(&cluster, Gybe::start()).await;
    let mut undisturbed = Vec::new();
    for operation in &OPERATIONS {
        undisturbed.push(fixture.run_operation(operation, None, None).await);
    }
    drop(fixture);
    let databases = [Database::create().await, Database::create().await];
    let processes =
        [Gybe::start(), Gybe::start(), Gybe::start_on(&databases[0].url), Gybe::start_on(&databases[1].url)];
    let seeds = seeds(processes.len() as u64);
    // Each on a thread of its own, because starting a process blocks.
    let again: usize = thread::scope(|scope| {
        let runs = processes.into_iter().zip(seeds).map(|(gybe, seed)| {
            let undisturbed = &undisturbed;
            scope.spawn(move || block_on(run_with_kills(gybe, seed, undisturbed)))
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert!(again > OPERATIONS.len(), "most operations had ended when the process was killed");
}

/// This test waits for the lease to expire.
#[tokio::test]
async fn an_instantiation_resumes_on_postgresql_after_the_lease_expires() {
    let cluster = Cluster::running().await;
    let database = Database::create().await;
    let mut fixture = RestartFixture::new(&cluster, Gybe::start_on(&database.url)).await;
    let mut changes = fixture.changes().await;
    let op = fixture.send("instantiate", &json!({ "flavourId": "simple" })).await;
    changes.next().await;
    fixture.gybe.kill();
    let at_kill = fixture.snapshot().await;
    fixture.gybe.restart();
    let op = fixture.gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}\n{}", fixture.gybe.log());
    let now = fixture.snapshot().await;
    assert_eq!(replaced(&at_kill, &now), BTreeSet::new());
    fixture.check_database_matches_cluster(&now).await;
}
