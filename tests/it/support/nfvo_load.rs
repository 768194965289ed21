//! Clients that keep a [`ProcessGroup`] busy: each takes VNF instances through their life cycle, one operation after
//! the other, and records what was accepted. They behave as the client of a VNFM that may be killed at any moment: an
//! unanswered request is sent to the other API, but only after checking whether it took effect.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::gybe::instantiate_request;
use super::process_group::{APIS, ProcessGroup};
use super::rng::Rng;

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";
const OPERATIONS: &str = "/vnflcm/v2/vnf_lcm_op_occs";
/// The timeout of a request.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest that an expected change takes, faults included.
const PATIENCE: Duration = Duration::from_secs(240);

/// The state that all clients share.
pub struct NfvoLoad {
    group: Arc<ProcessGroup>,
    client: Client,
    turn: AtomicUsize,
    /// The ids of accepted op occurrences.
    pub accepted: Mutex<BTreeSet<String>>,
    /// The ids of instances that were created and not deleted.
    pub instances: Mutex<BTreeSet<String>>,
    /// The ids of instances that were terminated. Their op occurrences end with them, so they are deleted after the audit.
    terminated: Mutex<Vec<String>>,
    /// The number of requests with no response or a 5xx.
    pub unanswered: AtomicUsize,
    /// The longest that a request was not answered.
    pub longest: Mutex<Duration>,
}

/// What a client instantiates.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its vnfdId.
    pub vnfd: String,
    /// A scaling aspect, if the VNFD has one.
    pub aspect: Option<&'static str>,
    /// The namespace in the default VIM.
    pub namespace: String,
}

/// Status, Location header and body.
type ReadResponse = (StatusCode, Option<String>, Value);

impl NfvoLoad {
    /// Clients of that process group.
    pub fn new(group: &Arc<ProcessGroup>) -> Arc<Self> {
        Arc::new(Self {
            group: Arc::clone(group),
            client: Client::builder().timeout(ANSWER).build().unwrap(),
            turn: AtomicUsize::new(0),
            accepted: Mutex::default(),
            instances: Mutex::default(),
            terminated: Mutex::default(),
            unanswered: AtomicUsize::new(0),
            longest: Mutex::default(),
        })
    }

    /// Runs life cycles until `stop`. It then waits for the current operation and leaves the instance.
    pub async fn run_life_cycles(&self, order: &Order, mut rng: Rng, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let name = format!("{}-{}", order.namespace, rng.below(usize::MAX));
            let instance = self.create(&order.vnfd, &name).await;
            self.instances.lock().unwrap().insert(instance.clone());
            if stop.is_cancelled() {
                return;
            }
            self.complete(&instance, "instantiate", &instantiate_request(&order.namespace)).await;
            let mut level = 0;
            for _ in 0..rng.below(4) {
                if stop.is_cancelled() {
                    return;
                }
                match (rng.below(3), order.aspect) {
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
            self.terminated.lock().unwrap().push(instance);
        }
    }

    /// Deletes the terminated instances.
    pub async fn delete_terminated(&self) {
        let terminated = std::mem::take(&mut *self.terminated.lock().unwrap());
        for instance in terminated {
            self.delete(&instance).await;
            self.instances.lock().unwrap().remove(&instance);
        }
    }

    /// Creates an instance and returns its id.
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

    /// Runs an operation, which must end COMPLETED.
    pub async fn complete(&self, instance: &str, operation: &str, body: &Value) {
        let op = self.begin(instance, operation, body).await;
        let ended = self.ended(&op).await;
        assert_eq!(ended["operationState"], "COMPLETED", "{operation}: {ended:#}\n{}", self.group.log());
    }

    /// Starts an operation and returns the id of its op occurrence.
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
                // An earlier unanswered request was accepted after the check.
                None | Some((StatusCode::CONFLICT, ..)) => {}
                Some((status, _, problem)) => panic!("{operation}: {status} {problem:#}"),
            }
            if let Some(op) = self.unknown(instance).await {
                return op;
            }
            pause(begun, &format!("{operation} of {instance} is accepted")).await;
        }
    }

    /// An op occurrence of the instance whose 202 was lost.
    async fn unknown(&self, instance: &str) -> Option<String> {
        let all = self.read(OPERATIONS).await;
        let mut accepted = self.accepted.lock().unwrap();
        let ours = all.as_array().unwrap().iter().filter(|op| op["vnfInstanceId"] == instance);
        let op = ours.map(|op| op["id"].as_str().unwrap()).find(|op| !accepted.contains(*op))?.to_owned();
        accepted.insert(op.clone());
        Some(op)
    }

    /// Waits until no conductor has to work on the op occurrence, and returns it.
    pub async fn ended(&self, op: &str) -> Value {
        let path = format!("{OPERATIONS}/{op}");
        let begun = Instant::now();
        loop {
            let op = self.read(&path).await;
            if !matches!(op["operationState"].as_str(), Some("STARTING" | "PROCESSING" | "ROLLING_BACK")) {
                return op;
            }
            if begun.elapsed() > PATIENCE {
                panic!("it does not end: {op:#}\n{}", self.group.log());
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

    /// GET `path`, repeated until there is a response.
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

    /// Sends one request, to the APIs in turn. `None`: no response, or one that does not tell whether the request took
    /// effect.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Option<ReadResponse> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut request = self.client.request(method, format!("{}{path}", self.group.url(turn % APIS)));
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
            panic!("whatever is killed or cut off, nothing is wrong inside: {path}: {problem:#}\n{}", self.group.log());
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

/// The pause between two attempts; panics if `what` is overdue.
async fn pause(begun: Instant, what: &str) {
    assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
