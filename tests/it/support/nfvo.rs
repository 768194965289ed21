//! NFVOs that use a [`Fleet`] without rest: each takes VNF instances through their lives, one operation after the other, and
//! notes what was accepted. They behave as one must whose VNFM may be killed at any moment: a request that was not answered
//! is put to the other API, but never before looking whether it took effect.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fleet::{APIS, Fleet};
use super::rng::Chance;

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";
const OPERATIONS: &str = "/vnflcm/v2/vnf_lcm_op_occs";
/// A request that is not answered by then is given up.
const ANSWER: Duration = Duration::from_secs(30);
/// What is to become so does so within this, faults included.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the NFVOs know. All of them share one.
pub struct Nfvo {
    fleet: Arc<Fleet>,
    client: Client,
    turn: AtomicUsize,
    /// The op occurrences that were accepted.
    pub accepted: Mutex<BTreeSet<String>>,
    /// The instances that were created and not deleted.
    pub instances: Mutex<BTreeSet<String>>,
    /// Requests that no answer came to, or one of 500 or above.
    pub unanswered: AtomicUsize,
    /// The longest that a request was not answered.
    pub longest: Mutex<Duration>,
}

/// What an NFVO instantiates.
#[derive(Clone, Debug)]
pub struct Order {
    /// The VNFD.
    pub vnfd: String,
    /// A scaling aspect of it, if it has any.
    pub aspect: Option<&'static str>,
    /// Where, in the default VIM.
    pub namespace: String,
}

/// An answer with a body.
type Answer = (StatusCode, Option<String>, Value);

impl Nfvo {
    /// NFVOs of that fleet.
    pub fn new(fleet: &Arc<Fleet>) -> Arc<Self> {
        Arc::new(Self {
            fleet: Arc::clone(fleet),
            client: Client::builder().timeout(ANSWER).build().unwrap(),
            turn: AtomicUsize::new(0),
            accepted: Mutex::default(),
            instances: Mutex::default(),
            unanswered: AtomicUsize::new(0),
            longest: Mutex::default(),
        })
    }

    /// Takes instances through their lives until `stop`. An operation that has begun then is waited for; its instance stays.
    pub async fn live(&self, order: &Order, mut chance: Chance, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let name = format!("{}-{}", order.namespace, chance.below(usize::MAX));
            let instance = self.create(&order.vnfd, &name).await;
            self.instances.lock().unwrap().insert(instance.clone());
            if stop.is_cancelled() {
                return;
            }
            self.complete(&instance, "instantiate", &instantiation(&order.namespace)).await;
            let mut level = 0;
            for _ in 0..chance.below(4) {
                if stop.is_cancelled() {
                    return;
                }
                match (chance.below(3), order.aspect) {
                    (0, Some(aspect)) if level < 2 => {
                        level += 1;
                        self.complete(&instance, "scale", &json!({ "type": "SCALE_OUT", "aspectId": aspect })).await;
                    }
                    (1, Some(aspect)) if level > 0 => {
                        level -= 1;
                        self.complete(&instance, "scale", &json!({ "type": "SCALE_IN", "aspectId": aspect })).await;
                    }
                    _ => self.complete(&instance, "heal", &json!({ "cause": "load" })).await,
                }
                let shown = self.read(&format!("{INSTANCES}/{instance}")).await;
                assert_eq!(shown["instantiationState"], "INSTANTIATED", "{shown:#}");
            }
            if stop.is_cancelled() {
                return;
            }
            self.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
            self.delete(&instance).await;
            self.instances.lock().unwrap().remove(&instance);
        }
    }

    /// Creates an instance, and gives back its id.
    pub async fn create(&self, vnfd: &str, name: &str) -> String {
        let id = |instance: &Value| instance["id"].as_str().unwrap().to_owned();
        let body = json!({ "vnfdId": vnfd, "vnfInstanceName": name });
        let begun = Instant::now();
        loop {
            if let Some((status, _, instance)) = self.ask(Method::POST, INSTANCES, Some(&body)).await {
                assert_eq!(status, StatusCode::CREATED, "{instance:#}");
                return id(&instance);
            }
            let all = self.read(INSTANCES).await;
            if let Some(found) = all.as_array().unwrap().iter().find(|it| it["vnfInstanceName"] == name) {
                return id(found);
            }
            pause(begun, "an instance is created").await;
        }
    }

    /// Runs an operation to its end, which is to be COMPLETED.
    pub async fn complete(&self, instance: &str, operation: &str, body: &Value) {
        let op = self.begin(instance, operation, body).await;
        let ended = self.ended(&op).await;
        assert_eq!(ended["operationState"], "COMPLETED", "{operation}: {ended:#}\n{}", self.fleet.log());
    }

    /// Begins an operation; gives back the id of its op occurrence.
    pub async fn begin(&self, instance: &str, operation: &str, body: &Value) -> String {
        let path = format!("{INSTANCES}/{instance}/{operation}");
        let begun = Instant::now();
        loop {
            match self.ask(Method::POST, &path, Some(body)).await {
                Some((StatusCode::ACCEPTED, location, _)) => {
                    let op = location.unwrap().rsplit('/').next().unwrap().to_owned();
                    self.accepted.lock().unwrap().insert(op.clone());
                    return op;
                }
                // Asked before without an answer, and accepted after we looked.
                None | Some((StatusCode::CONFLICT, ..)) => {}
                Some((status, _, problem)) => panic!("{operation}: {status} {problem:#}"),
            }
            if let Some(op) = self.unknown(instance).await {
                return op;
            }
            pause(begun, &format!("{operation} of {instance} is accepted")).await;
        }
    }

    /// An op occurrence of the instance that was accepted without our being told.
    async fn unknown(&self, instance: &str) -> Option<String> {
        let all = self.read(OPERATIONS).await;
        let mut accepted = self.accepted.lock().unwrap();
        let ours = all.as_array().unwrap().iter().filter(|op| op["vnfInstanceId"] == instance);
        let op = ours.map(|op| op["id"].as_str().unwrap()).find(|op| !accepted.contains(*op))?.to_owned();
        accepted.insert(op.clone());
        Some(op)
    }

    /// The op occurrence once it needs nobody's work.
    pub async fn ended(&self, op: &str) -> Value {
        let path = format!("{OPERATIONS}/{op}");
        let begun = Instant::now();
        loop {
            let op = self.read(&path).await;
            if !matches!(op["operationState"].as_str(), Some("STARTING" | "PROCESSING" | "ROLLING_BACK")) {
                return op;
            }
            if begun.elapsed() > PATIENCE {
                panic!("it does not end: {op:#}\n{}", self.fleet.log());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn delete(&self, instance: &str) {
        let begun = Instant::now();
        let path = format!("{INSTANCES}/{instance}");
        loop {
            match self.ask(Method::DELETE, &path, None).await {
                Some((StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, ..)) => return,
                None => pause(begun, "an instance is deleted").await,
                Some((status, _, problem)) => panic!("{status} {problem:#}"),
            }
        }
    }

    /// What is at `path`.
    pub async fn read(&self, path: &str) -> Value {
        let begun = Instant::now();
        loop {
            if let Some((status, _, body)) = self.ask(Method::GET, path, None).await {
                assert_eq!(status, StatusCode::OK, "{path}: {body:#}");
                return body;
            }
            pause(begun, path).await;
        }
    }

    /// One request, to the APIs in turn. `None`: there was no answer, or one that leaves open whether it took effect.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Answer> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut request = self.client.request(method, format!("{}{path}", self.fleet.url(turn % APIS)));
        if let Some(body) = body {
            request = request.json(body);
        }
        let begun = Instant::now();
        let answer = async {
            let answer = request.send().await.ok()?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let location = headers.get("location").map(|value| value.to_str().unwrap().to_owned());
            let text = answer.text().await.ok()?;
            Some((status, location, serde_json::from_str(&text).unwrap_or(Value::Null)))
        };
        let answer = answer.await;
        if let Some((StatusCode::INTERNAL_SERVER_ERROR, _, problem)) = &answer {
            panic!("whatever is killed or cut off, nothing is wrong inside: {path}: {problem:#}\n{}", self.fleet.log());
        }
        let answer = answer.filter(|(status, ..)| !status.is_server_error());
        if answer.is_none() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            let mut longest = self.longest.lock().unwrap();
            *longest = longest.max(begun.elapsed());
        }
        answer
    }
}

fn instantiation(namespace: &str) -> Value {
    json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace } })
}

/// Between two tries.
async fn pause(begun: Instant, what: &str) {
    assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
