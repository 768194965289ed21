//! What a cluster shows of objects that are not ready: their conditions, the events about them and their pods, the last
//! lines of failing containers. For [`crate::infra::Driver::evidence`]; the rules of what is ready are in [`super::ready`].

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

use super::client::Cluster;
use super::progress::time_of;
use super::ready::{Verdict, has_ended, is_awaited, list, string, symptoms, text, unready, verdict};
use crate::domain::evidence::{ConditionEvidence, EventEvidence, Evidence, LogEvidence, ObjectEvidence};
use crate::domain::resource::{INSTANCE_LABEL, ObjectKey, Resource, ResourceState};
use crate::infra::{InfraError, Scope};

/// All requests together have so long.
const DEADLINE: Duration = Duration::from_secs(5);
/// So many requests at a time.
const AT_ONCE: usize = 8;
/// So many objects are looked at for events.
const OBJECTS: usize = 20;
/// So many events are read of each, and kept of all.
const EVENTS: u32 = 100;
/// So many logs are read.
const LOGS: usize = 6;
/// So many lines of each, and no more bytes than this.
const LINES: i64 = 20;
const LOG_BYTES: u64 = 64 * 1024;

/// What is not ready of `resources`, and why.
pub(super) async fn evidence(cluster: &Cluster, scope: &Scope, resources: &[Resource]) -> Evidence {
    let look = Look { cluster, scope, deadline: Instant::now() + DEADLINE, notes: Mutex::default() };
    let (mut unready, pods) = join(look.objects(resources), look.pods()).await;
    // A bare pod is an object of the instance already.
    let known: HashSet<String> = unready.iter().map(|it| it.uid.clone()).collect();
    unready.extend(pods.iter().map(unready_pod).filter(|pod| !known.contains(&pod.uid)));
    let (events, logs) = join(look.events(&unready), look.logs(&pods)).await;
    let objects = unready.into_iter().map(|it| it.evidence).collect();
    Evidence { objects, events, logs, notes: look.notes.into_inner().into_iter().collect() }
}

/// An object that is not ready.
struct Unready {
    /// Its uid: events of an earlier object of that name are not about it.
    uid: String,
    evidence: ObjectEvidence,
}

struct Look<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    deadline: Instant,
    /// What could not be read; each said once.
    notes: Mutex<BTreeSet<String>>,
}

impl Look<'_> {
    /// The answer to a request, or a note that there is none.
    async fn ask<T>(&self, what: &str, request: impl Future<Output = kube::Result<T>>) -> Option<T> {
        let answer = match timeout_at(self.deadline, self.cluster.call(request)).await {
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

    /// Those that are not ready.
    async fn objects(&self, resources: &[Resource]) -> Vec<Unready> {
        let made = |resource: &&Resource| is_awaited(&resource.key) && resource.state != ResourceState::Planned;
        let mut kinds: BTreeMap<(&str, &str), Vec<&Resource>> = BTreeMap::new();
        for row in resources.iter().filter(made) {
            kinds.entry((&row.key.api_version, &row.key.kind)).or_default().push(row);
        }
        let looks: Vec<_> = kinds.into_values().map(|rows| self.objects_of_kind(rows)).collect();
        let found: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        found.into_iter().flatten().flatten().collect()
    }

    /// Those that are not ready of `rows`, which are of one kind.
    async fn objects_of_kind(&self, rows: Vec<&Resource>) -> Option<Vec<Unready>> {
        let Resource { key, info, .. } = rows.first()?;
        let api = self.cluster.api(&key.api_version, &key.kind, info, &self.scope.namespace);
        let found = self.ask(&info.plural, api.list(&self.ours())).await?.items;
        Some(rows.into_iter().filter_map(|row| unready_object(row, &found)).collect())
    }

    /// The pods of the instance that are not ready.
    async fn pods(&self) -> Vec<DynamicObject> {
        let api = self.cluster.pods(&self.scope.namespace);
        let Some(pods) = self.ask("pods", api.list(&self.ours())).await else { return Vec::new() };
        let key = |pod: &DynamicObject| pod_key(pod.name_any());
        pods.items.into_iter().filter(|pod| verdict(&key(pod), pod) != Verdict::Ready).collect()
    }

    /// The events about the objects, newest first.
    async fn events(&self, objects: &[Unready]) -> Vec<EventEvidence> {
        let api = self.cluster.builtin("v1", "Event", "events", &self.scope.namespace);
        let about = |object: &Unready| {
            ListParams::default().fields(&format!("involvedObject.uid={}", object.uid)).limit(EVENTS)
        };
        let known = objects.iter().filter(|object| !object.uid.is_empty());
        let about: Vec<ListParams> = known.take(OBJECTS).map(about).collect();
        let looks: Vec<_> = about.iter().map(|params| self.ask("events", api.list(params))).collect();
        let lists: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        let mut events: Vec<EventEvidence> =
            lists.into_iter().flatten().flat_map(|list| list.items).map(|event| read_event(&event)).collect();
        events.sort_by(|a, b| b.last_timestamp.cmp(&a.last_timestamp));
        events.truncate(EVENTS as usize);
        events
    }

    /// The last lines of the failing containers of the pods.
    async fn logs(&self, pods: &[DynamicObject]) -> Vec<LogEvidence> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), self.scope.namespace.as_str());
        let wanted = pods.iter().flat_map(failing_containers).take(LOGS);
        let logs = join_all(wanted.map(|mut log| {
            let api = &api;
            async move {
                let what = format!("the log of container {} of pod {}", log.container, log.pod);
                log.lines = self.ask(&what, last_lines(api, &log)).await?;
                Some(log)
            }
        }));
        logs.await.into_iter().flatten().filter(|log| !log.lines.is_empty()).collect()
    }

    fn ours(&self) -> ListParams {
        ListParams::default().labels(&format!("{INSTANCE_LABEL}={}", self.scope.instance))
    }
}

fn pod_key(name: String) -> ObjectKey {
    ObjectKey { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name }
}

/// What the object of the row lacks, unless it is ready.
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
        Some(object) => match verdict(key, object) {
            Verdict::Ready => return None,
            Verdict::Waiting(lacks) | Verdict::Trouble(lacks) | Verdict::Failed(lacks) => (lacks, conditions(object)),
        },
    };
    let uid = object.and_then(|object| object.uid()).unwrap_or(uid);
    let evidence = ObjectEvidence { kind: key.kind.clone(), name: key.name.clone(), lacks, conditions };
    Some(Unready { uid, evidence })
}

fn unready_pod(pod: &DynamicObject) -> Unready {
    let wrong: Vec<String> = symptoms(pod).into_iter().filter_map(|symptom| symptom.wrong).collect();
    let lacks = match &wrong[..] {
        [] if has_ended(pod) => match verdict(&pod_key(pod.name_any()), pod) {
            Verdict::Failed(text) => text,
            _ => unready(pod),
        },
        [] => unready(pod),
        wrong => wrong.join("; "),
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
        last_timestamp: time_of(event),
    }
}

/// The logs worth reading of a pod: of its containers that are not ready and have run, the present run and the one before.
///
/// The log of a container that waits to be started again is the previous run's.
fn failing_containers(pod: &DynamicObject) -> Vec<LogEvidence> {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = statuses.iter().flat_map(|it| list(pod, it));
    let failing = statuses.filter(|status| {
        let done = status.pointer("/state/terminated/exitCode").is_some_and(|code| code == 0);
        status.get("ready") != Some(&Value::Bool(true)) && !done
    });
    let logs = failing.flat_map(|status| {
        let runs = status.pointer("/state/running").or(status.pointer("/state/terminated")).is_some();
        let ran = status.pointer("/lastState/terminated").is_some();
        let log = move |previous| LogEvidence {
            pod: pod.name_any(),
            container: string(status, "/name").to_owned(),
            previous,
            lines: Vec::new(),
        };
        [(runs, false), (ran, true)].into_iter().filter(|(there, _)| *there).map(move |(_, previous)| log(previous))
    });
    logs.collect()
}

async fn last_lines(api: &Api<Pod>, log: &LogEvidence) -> kube::Result<Vec<String>> {
    let params = LogParams {
        container: Some(log.container.clone()),
        previous: log.previous,
        tail_lines: Some(LINES),
        ..LogParams::default()
    };
    let mut bytes = Vec::new();
    let stream = api.log_stream(&log.pod, &params).await?;
    // A log that breaks off is as good as it is.
    let _ = std::pin::pin!(stream).take(LOG_BYTES).read_to_end(&mut bytes).await;
    // A line that is cut off might show the beginning of a secret, which would not be known as one.
    if bytes.len() as u64 == LOG_BYTES {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}
