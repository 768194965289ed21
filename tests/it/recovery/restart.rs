//! `kill -9` of the real binary in the middle of operations, on the real control plane: they go on when the process is there
//! again.
//!
//! A VNF lives the life that [`LIFE`] says, a new operation being one line more. First it is left alone, which tells how many
//! changes of its objects each operation is seen to make, and what is intended. Then it lives again, with the process killed in
//! each operation, after that part of the changes that chance says. What becomes of it is to be the same.

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
use crate::support::rng::{Chance, seeds};

// --- the operations ---------------------------------------------------------------------------------------------------

struct Operation {
    name: &'static str,
    /// The task of the VNF instance; `PATCH` for its modification, `rollback` for that of an instantiation that has stopped.
    task: &'static str,
    /// The body, for the VNF instance as it is.
    body: fn(&Value) -> Value,
    end: &'static str,
}

#[rustfmt::skip]
const LIFE: [Operation; 12] = [
    Operation { name: "INSTANTIATE rolled back", task: "rollback", body: |_| json!({}), end: "ROLLED_BACK" },
    Operation { name: "INSTANTIATE", task: "instantiate", body: |_| json!({ "flavourId": "simple" }), end: "COMPLETED" },
    Operation { name: "SCALE out", task: "scale", body: |_| json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data" }), end: "COMPLETED" },
    Operation { name: "SCALE in", task: "scale", body: |_| json!({ "type": "SCALE_IN", "aspectId": "subscriber_data" }), end: "COMPLETED" },
    Operation { name: "SCALE_TO_LEVEL", task: "scale_to_level", body: |_| json!({ "scaleInfo": [{ "aspectId": "smf", "scaleLevel": 1 }] }), end: "COMPLETED" },
    Operation { name: "CHANGE_VNFPKG", task: "change_vnfpkg", body: |_| json!({ "vnfdId": CORE5G_2 }), end: "COMPLETED" },
    Operation { name: "HEAL one", task: "heal", body: |instance| json!({ "vnfcInstanceId": [vnfcs(instance)["AMF"][0]] }), end: "COMPLETED" },
    Operation { name: "HEAL all", task: "heal", body: |_| json!({}), end: "COMPLETED" },
    Operation { name: "MODIFY_INFO", task: "PATCH", body: |_| json!({ "vnfInstanceName": "renamed" }), end: "COMPLETED" },
    Operation { name: "OPERATE stop", task: "operate", body: |_| json!({ "changeStateTo": "STOPPED" }), end: "COMPLETED" },
    Operation { name: "OPERATE start", task: "operate", body: |_| json!({ "changeStateTo": "STARTED" }), end: "COMPLETED" },
    Operation { name: "TERMINATE", task: "terminate", body: |_| json!({ "terminationType": "FORCEFUL" }), end: "COMPLETED" },
];

/// The vnfdId of sample `core5g-2`.
const CORE5G_2: &str = "0d2d5e0c-2f0e-4d0b-9d3c-5a9d1c0c7a52";

/// The names of the pods of the VNFCs that the instance shows, by VDU.
fn vnfcs(instance: &Value) -> BTreeMap<String, Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut vnfcs = BTreeMap::<String, Vec<String>>::new();
    for vnfc in instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().into_iter().flatten() {
        vnfcs.entry(text(&vnfc["vduId"])).or_default().push(text(&vnfc["computeResource"]["resourceId"]));
    }
    vnfcs
}

// --- what is seen -----------------------------------------------------------------------------------------------------

/// The uids of the objects of the instance, by kind and name; those of pods that are to stay.
struct ObservedObject {
    objects: BTreeMap<String, (String, Option<i64>)>,
    pods: BTreeMap<String, String>,
}

/// What an operation comes to, without what differs from life to life.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// The objects that are there, with their replicas.
    objects: BTreeMap<String, Option<i64>>,
    /// Of these, those that are not the ones that were there before.
    replaced: BTreeSet<String>,
    /// How many pods are there, and how many of these are those that were there before.
    pods: (usize, usize),
    /// What the instance shows.
    instance: Value,
}

impl Outcome {
    fn of(before: &ObservedObject, now: &ObservedObject, instance: &Value) -> Self {
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

/// The objects that are there under another uid.
fn replaced(before: &ObservedObject, now: &ObservedObject) -> BTreeSet<String> {
    let differs = |(name, (uid, _)): &(&String, &(String, _))| before.objects.get(*name).is_some_and(|it| it.0 != *uid);
    now.objects.iter().filter(differs).map(|(name, _)| name.clone()).collect()
}

// --- a life -----------------------------------------------------------------------------------------------------------

/// What comes about by itself, such as the view of what has changed, does so within this.
const SOON: Duration = Duration::from_secs(20);

struct Life<'a> {
    cluster: &'a Cluster,
    namespace: TestNamespace,
    gybe: Gybe,
    path: String,
}

impl<'a> Life<'a> {
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

    async fn see(&self) -> ObservedObject {
        let (mut objects, mut pods) = (BTreeMap::new(), BTreeMap::new());
        for (kind, object) in self.cluster.marked(&self.namespace.name).await {
            let DynamicObject { metadata, data, .. } = object;
            let (name, uid) = (metadata.name.unwrap(), metadata.uid.unwrap());
            match kind {
                "Pod" if metadata.deletion_timestamp.is_some() => {}
                "Pod" => assert_eq!(pods.insert(name, uid), None),
                // The Deployments' own.
                "ReplicaSet" => {}
                kind => {
                    assert_eq!(objects.insert(format!("{kind} {name}"), (uid, data["spec"]["replicas"].as_i64())), None)
                }
            }
        }
        ObservedObject { objects, pods }
    }

    /// The changes of the instance's objects from now on.
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

    /// An instantiation that has stopped because somebody has one of its last objects; its op occurrence's URI.
    async fn stopped(&self) -> String {
        let foreign = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "amf" },
            "spec": { "minAvailable": 0, "selector": { "matchLabels": { "app": "other" } } },
        });
        self.cluster.create("poddisruptionbudgets", Some(&self.namespace.name), foreign).await;
        let op = self.ask("instantiate", &json!({ "flavourId": "simple" })).await;
        let stopped = self.gybe.settled(&op).await;
        assert_eq!((&stopped["operationState"], &stopped["error"]["status"]), (&json!("FAILED_TEMP"), &json!(409)));
        let budgets =
            self.cluster.api("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", Some(&self.namespace.name));
        budgets.delete("amf", &Default::default()).await.unwrap();
        op
    }

    /// Sends a request; the URI of its op occurrence.
    async fn ask(&self, task: &str, body: &Value) -> String {
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

    /// Goes through an operation. `kill` kills the process when so many changes are seen and starts it again; without it, the
    /// changes are counted. Gives back their number and what the operation has come to, once that is as `intended`.
    async fn live(
        &mut self,
        operation: &Operation,
        kill: Option<usize>,
        intended: Option<&Outcome>,
    ) -> (usize, Outcome) {
        let stopped = if operation.task == "rollback" { Some(self.stopped().await) } else { None };
        let (before, body) = (self.see().await, (operation.body)(&self.instance().await));
        let mut changes = self.changes().await;
        let op = match stopped {
            Some(op) => {
                self.gybe.post(&format!("{op}/rollback"), &body).await.expect(StatusCode::ACCEPTED);
                op
            }
            None => self.ask(operation.task, &body).await,
        };
        let mut seen = 0;
        let mut at_kill = None;
        let ended = {
            let mut settled = std::pin::pin!(self.gybe.settled(&op));
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
            at_kill = Some(self.see().await);
            self.leases_run_out().await;
            self.gybe.restart();
        }
        let ended = match ended {
            Some(ended) => ended,
            None => self.gybe.settled(&op).await,
        };
        assert_eq!(ended["operationState"], operation.end, "{ended:#}\n{}", self.gybe.log());
        let (now, outcome) = self.comes_to(&before, intended).await;
        if let Some(at_kill) = at_kill {
            assert_eq!(replaced(&at_kill, &now), BTreeSet::new(), "what was there when it was killed is the same");
        }
        self.the_database_agrees_with_the_cluster(&now).await;
        (seen, outcome)
    }

    /// On PostgreSQL a killed process has its leases until they run out; on SQLite they end with it.
    async fn leases_run_out(&self) {
        if self.gybe.database_url.starts_with("postgres") {
            let mut connection = sqlx::PgConnection::connect(&self.gybe.database_url).await.unwrap();
            sqlx::raw_sql("UPDATE vnf_lcm_op_occs SET lease_until = 0").execute(&mut connection).await.unwrap();
        }
    }

    async fn comes_to(&self, before: &ObservedObject, intended: Option<&Outcome>) -> (ObservedObject, Outcome) {
        let begun = Instant::now();
        loop {
            let (now, instance) = (self.see().await, self.instance().await);
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

    /// The inventory has each object, and each is as it says.
    async fn the_database_agrees_with_the_cluster(&self, now: &ObservedObject) {
        // The volumes are the StatefulSet's.
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

/// Lives once more, being killed in each operation at a point that follows from the seed. Gives back how many of them were at
/// work then.
async fn is_killed_again_and_again(gybe: Gybe, seed: u64, undisturbed: &[(usize, Outcome)]) -> usize {
    let mut chance = Chance(seed);
    let cluster = Cluster::running().await;
    let mut life = Life::new(&cluster, gybe).await;
    for (operation, (changes, intended)) in LIFE.iter().zip(undisturbed) {
        let point = changes * chance.below(101) / 100;
        println!("GYBE_MATRIX_SEED={seed}: {} is killed after {point} of {changes} changes", operation.name);
        life.live(operation, Some(point), Some(intended)).await;
    }
    let claims = life.gybe.log().matches(" claimed\"").count();
    // The one that is rolled back is claimed twice of itself.
    let again = claims - LIFE.len() - 1;
    println!("GYBE_MATRIX_SEED={seed}: {again} of {} operations were taken up again", LIFE.len());
    again
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn every_operation_goes_on_after_a_kill_anywhere_in_it() {
    let cluster = Cluster::running().await;
    let mut life = Life::new(&cluster, Gybe::start()).await;
    let mut undisturbed = Vec::new();
    for operation in &LIFE {
        undisturbed.push(life.live(operation, None, None).await);
    }
    drop(life);
    let databases = [Database::create().await, Database::create().await];
    let processes =
        [Gybe::start(), Gybe::start(), Gybe::start_on(&databases[0].url), Gybe::start_on(&databases[1].url)];
    let seeds = seeds(processes.len() as u64);
    // Each on a thread of its own, for starting a process blocks.
    let again: usize = thread::scope(|scope| {
        let lives = processes.into_iter().zip(seeds).map(|(gybe, seed)| {
            let undisturbed = &undisturbed;
            scope.spawn(move || block_on(is_killed_again_and_again(gybe, seed, undisturbed)))
        });
        let lives: Vec<_> = lives.collect();
        lives.into_iter().map(|life| life.join().unwrap()).sum()
    });
    assert!(again > LIFE.len(), "most were over when the process was killed");
}

/// Here the lease is waited for.
#[tokio::test]
async fn an_instantiation_goes_on_on_postgresql_once_the_lease_has_run_out() {
    let cluster = Cluster::running().await;
    let database = Database::create().await;
    let mut life = Life::new(&cluster, Gybe::start_on(&database.url)).await;
    let mut changes = life.changes().await;
    let op = life.ask("instantiate", &json!({ "flavourId": "simple" })).await;
    changes.next().await;
    life.gybe.kill();
    let at_kill = life.see().await;
    life.gybe.restart();
    let op = life.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "COMPLETED", "{op:#}\n{}", life.gybe.log());
    let now = life.see().await;
    assert_eq!(replaced(&at_kill, &now), BTreeSet::new());
    life.the_database_agrees_with_the_cluster(&now).await;
}
