//! Collects evidence about objects that are not ready: their conditions, the events about them and their pods, and the last log lines
//! of failing containers. For [`crate::infra::Driver::evidence`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures::AsyncReadExt as _;
use futures::future::{join, join_all};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::call_error::CallError;
use super::client::Cluster;
use super::fields::{list, text, value_text};
use super::ownership::instance_selector;
use super::readiness::events::last_time;
use super::readiness::pods::{container_faults, has_ended, has_succeeded, unready_reason};
use super::readiness::rules::{ObjectStatus, has_rule, object_status};
use crate::domain::evidence::{ConditionEvidence, EventEvidence, Evidence, LogEvidence, ObjectEvidence};
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::infra::{InfraError, Scope};

/// The time for all requests together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that are sent at a time.
const MAX_CONCURRENT: usize = 8;
/// Objects whose events are read.
const MAX_OBJECTS: usize = 20;
/// Events that are read of each object, and kept of all together.
const MAX_EVENTS: u32 = 100;
/// Logs that are read.
const MAX_LOGS: usize = 6;
/// Lines, and bytes, that are read of each log.
const MAX_LINES: i64 = 20;
const MAX_LOG_BYTES: u64 = 64 * 1024;

/// Collects the evidence about those of `resources` that are not ready.
pub(super) async fn evidence(cluster: &Cluster, scope: &Scope, resources: &[Resource]) -> Evidence {
    let collector = Collector { cluster, scope, deadline: Instant::now() + TIMEOUT, notes: Mutex::default() };
    let (mut unready, pods) = join(collector.objects(resources), collector.pods()).await;
    // A bare pod is among the objects already.
    let known: HashSet<String> = unready.iter().map(|it| it.uid.clone()).collect();
    unready.extend(pods.iter().map(unready_pod).filter(|pod| !known.contains(&pod.uid)));
    let (events, logs) = join(collector.events(&unready), collector.logs(&pods)).await;
    let objects = unready.into_iter().map(|it| it.evidence).collect();
    Evidence { objects, events, logs, notes: collector.notes.into_inner().into_iter().collect() }
}

/// An object that is not ready.
struct Unready {
    /// Its uid: events about an earlier object of that name have another uid.
    uid: String,
    evidence: ObjectEvidence,
}

struct Collector<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    deadline: Instant,
    /// What could not be read, each once.
    notes: Mutex<BTreeSet<String>>,
}

impl Collector<'_> {
    /// Sends a request; on failure, notes that `what` could not be read.
    async fn read<T>(&self, what: &str, request: impl Future<Output = Result<T, CallError>>) -> Option<T> {
        let answer = match timeout_at(self.deadline, request).await {
            Ok(answer) => answer.map_err(|failed| InfraError::from(failed).to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        match answer {
            Ok(answer) => Some(answer),
            Err(why) => {
                self.notes.lock().await.insert(format!("{what} could not be read: {why}"));
                None
            }
        }
    }

    /// Those of `resources` that are not ready.
    async fn objects(&self, resources: &[Resource]) -> Vec<Unready> {
        let made = |resource: &&Resource| has_rule(&resource.key) && resource.state != ResourceState::Planned;
        let mut kinds: BTreeMap<(&str, &str), Vec<&Resource>> = BTreeMap::new();
        for row in resources.iter().filter(made) {
            kinds.entry((&row.key.api_version, &row.key.kind)).or_default().push(row);
        }
        let requests: Vec<_> = kinds.into_values().map(|rows| self.objects_of_kind(rows)).collect();
        let found: Vec<_> = stream::iter(requests).buffered(MAX_CONCURRENT).collect().await;
        found.into_iter().flatten().flatten().collect()
    }

    /// Those of `rows`, all of one kind, that are not ready.
    async fn objects_of_kind(&self, rows: Vec<&Resource>) -> Option<Vec<Unready>> {
        let Resource { key, info, .. } = rows.first()?;
        let api = self.cluster.api(&key.api_version, &key.kind, info, &self.scope.namespace);
        let found = self.read(&info.plural, self.cluster.list(&api, &self.params())).await?.items;
        Some(rows.into_iter().filter_map(|row| unready_object(row, &found)).collect())
    }

    /// The pods of the instance that are not ready.
    async fn pods(&self) -> Vec<DynamicObject> {
        let api = self.cluster.pods(&self.scope.namespace);
        let Some(pods) = self.read("pods", self.cluster.list(&api, &self.params())).await else { return Vec::new() };
        let key = |pod: &DynamicObject| pod_key(pod.name_any());
        pods.items.into_iter().filter(|pod| object_status(&key(pod), pod) != ObjectStatus::Ready).collect()
    }

    /// The events about the objects, newest first.
    async fn events(&self, objects: &[Unready]) -> Vec<EventEvidence> {
        let api = self.cluster.builtin("v1", "Event", "events", &self.scope.namespace);
        let about = |object: &Unready| {
            ListParams::default().fields(&format!("involvedObject.uid={}", object.uid)).limit(MAX_EVENTS)
        };
        let known = objects.iter().filter(|object| !object.uid.is_empty());
        let about: Vec<ListParams> = known.take(MAX_OBJECTS).map(about).collect();
        let requests: Vec<_> =
            about.iter().map(|params| self.read("events", self.cluster.list(&api, params))).collect();
        let lists: Vec<_> = stream::iter(requests).buffered(MAX_CONCURRENT).collect().await;
        let mut events: Vec<EventEvidence> =
            lists.into_iter().flatten().flat_map(|list| list.items).map(|event| read_event(&event)).collect();
        events.sort_by(|a, b| b.last_timestamp.cmp(&a.last_timestamp));
        events.truncate(MAX_EVENTS as usize);
        events
    }

    /// The last lines of the failing containers of the pods.
    async fn logs(&self, pods: &[DynamicObject]) -> Vec<LogEvidence> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), self.scope.namespace.as_str());
        let wanted = pods.iter().flat_map(failing_containers).take(MAX_LOGS);
        let logs = join_all(wanted.map(|mut log| {
            let api = &api;
            async move {
                let what = format!("the log of container {} of pod {}", log.container, log.pod);
                log.lines = self.read(&what, self.cluster.call(last_lines(api, &log))).await?;
                Some(log)
            }
        }));
        logs.await.into_iter().flatten().filter(|log| !log.lines.is_empty()).collect()
    }

    fn params(&self) -> ListParams {
        ListParams::default().labels(&instance_selector(self.scope.instance))
    }
}

fn pod_key(name: String) -> ObjectKey {
    ObjectKey { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name }
}

/// The object of the row, unless it is ready.
fn unready_object(row: &Resource, found: &[DynamicObject]) -> Option<Unready> {
    let key = &row.key;
    let uid = match &row.state {
        ResourceState::Present { uid, .. } => uid.clone(),
        ResourceState::Planned | ResourceState::Intent => String::new(),
    };
    let object = found.iter().find(|object| object.name_any() == key.name);
    let (lacks, conditions) = match object {
        None => ("it is not there".to_owned(), Vec::new()),
        Some(object) if object.metadata.deletion_timestamp.is_some() => {
            ("it is being deleted".to_owned(), conditions(object))
        }
        Some(object) => match object_status(key, object) {
            ObjectStatus::Ready => return None,
            ObjectStatus::InProgress(lacks) | ObjectStatus::Faulty(lacks) | ObjectStatus::Failed(lacks) => {
                (lacks, conditions(object))
            }
        },
    };
    let uid = object.and_then(|object| object.uid()).unwrap_or(uid);
    let evidence = ObjectEvidence { kind: key.kind.clone(), name: key.name.clone(), lacks, conditions };
    Some(Unready { uid, evidence })
}

fn unready_pod(pod: &DynamicObject) -> Unready {
    let reasons: Vec<String> = container_faults(pod).into_iter().filter_map(|fault| fault.reason).collect();
    let lacks = match &reasons[..] {
        [] if has_ended(pod) => match object_status(&pod_key(pod.name_any()), pod) {
            ObjectStatus::Failed(text) => text,
            _ => unready_reason(pod),
        },
        [] => unready_reason(pod),
        reasons => reasons.join("; "),
    };
    let evidence = ObjectEvidence { kind: "Pod".to_owned(), name: pod.name_any(), lacks, conditions: conditions(pod) };
    Unready { uid: pod.uid().unwrap_or_default(), evidence }
}

fn conditions(object: &DynamicObject) -> Vec<ConditionEvidence> {
    list(object, "/status/conditions").map(ConditionEvidence::read).collect()
}

fn read_event(event: &DynamicObject) -> EventEvidence {
    let count = ["/series/count", "/count"].iter().find_map(|it| event.data.pointer(it).and_then(Value::as_i64));
    EventEvidence {
        object: format!("{} {}", text(event, "/involvedObject/kind"), text(event, "/involvedObject/name")),
        kind: text(event, "/type").to_owned(),
        reason: text(event, "/reason").to_owned(),
        message: text(event, "/message").to_owned(),
        count: count.unwrap_or(1),
        last_timestamp: last_time(event),
    }
}

/// The logs to read of a pod: of each container that is not ready, the present and the previous run. A container that waits to be
/// restarted has a previous run only.
fn failing_containers(pod: &DynamicObject) -> Vec<LogEvidence> {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = statuses.iter().flat_map(|it| list(pod, it));
    let failing = statuses.filter(|status| status.get("ready") != Some(&Value::Bool(true)) && !has_succeeded(status));
    let logs = failing.flat_map(|status| {
        let has_run = status.pointer("/state/running").or(status.pointer("/state/terminated")).is_some();
        let ran_before = status.pointer("/lastState/terminated").is_some();
        let log = move |previous| LogEvidence {
            pod: pod.name_any(),
            container: value_text(status, "/name").to_owned(),
            previous,
            lines: Vec::new(),
        };
        [(has_run, false), (ran_before, true)]
            .into_iter()
            .filter(|(there, _)| *there)
            .map(move |(_, previous)| log(previous))
    });
    logs.collect()
}

async fn last_lines(api: &Api<Pod>, log: &LogEvidence) -> kube::Result<Vec<String>> {
    let params = LogParams {
        container: Some(log.container.clone()),
        previous: log.previous,
        tail_lines: Some(MAX_LINES),
        ..LogParams::default()
    };
    let mut bytes = Vec::new();
    let stream = api.log_stream(&log.pod, &params).await?;
    // A log that breaks off is used as far as it goes.
    let _ = std::pin::pin!(stream).take(MAX_LOG_BYTES).read_to_end(&mut bytes).await;
    // The mask does not recognise the beginning of a secret: drop a line that is cut off.
    if bytes.len() as u64 == MAX_LOG_BYTES {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}
