//! A simulated cluster (`gybe serve --simulate`): an API server in this process, in memory, that the driver for Kubernetes speaks to as
//! to any other, for tests and demonstrations (`docs/adr/0044-a-simulated-api-server.md`). Nothing runs in it.
//!
//! - [`state`]: the objects, and how much is kept. [`kinds`]: what is served.
//! - [`request`], [`api`] and [`managed`]: the requests that the driver sends.
//! - [`controllers`] and [`pods`]: what becomes of workloads. [`script`]: what goes wrong on demand.
//!
//! It has one writer, Gybe, and no other clients. It checks few fields and fills in few defaults.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kube::client::Body;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use self::api::{Answer, Watched, answer};
use self::controllers::reconcile;
use self::request::{ApiRequest, Refusal, decoded, query};
use self::state::State;
use crate::clock::{Clock as _, System};
use crate::domain::intent::applied;
use crate::domain::namespace::Namespace;
use crate::domain::resource::{Resource, ResourceState};

mod api;
mod controllers;
mod kinds;
mod managed;
mod pods;
mod request;
mod script;
mod state;

/// The user of the credential.
pub const USER: &str = "simulated";
/// A watch that does not say how long it lasts ends after this time.
const WATCH_TIME: u64 = 300;

/// A simulated cluster. Clones are the same cluster.
#[derive(Clone)]
pub struct SimulatedCluster {
    state: Arc<Mutex<State>>,
    /// The version of the latest change.
    version: watch::Sender<u64>,
}

/// The body of an answer: a watch goes on for a while.
pub type AnswerBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

impl Default for SimulatedCluster {
    fn default() -> Self {
        let mut state = State::default();
        ["default", "kube-system"].into_iter().for_each(|name| api::ensure_namespace(&mut state, name, System.now()));
        let version = watch::Sender::new(state.version());
        Self { state: Arc::new(Mutex::new(state)), version }
    }
}

impl SimulatedCluster {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, then the controllers, and wakes watches.
    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.locked();
        let before = state.version();
        let result = work(&mut state);
        if state.version() != before {
            reconcile(&mut state, System.now());
        }
        let version = state.version();
        drop(state);
        self.version.send_if_modified(|known| std::mem::replace(known, version) != version);
        result
    }

    /// Starts pods when their time has come, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut versions = self.version.subscribe();
        loop {
            let next = self.locked().starting.values().map(|(_, ends)| *ends).min();
            let pause =
                next.map_or(Duration::from_hours(1), |next| (next - System.now()).try_into().unwrap_or(Duration::ZERO));
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives in `self`.
                _ = versions.changed() => {}
                () = sleep(pause) => {
                    let now = System.now();
                    let mut state = self.locked();
                    reconcile(&mut state, now);
                    let version = state.version();
                    drop(state);
                    self.version.send_replace(version);
                }
            }
        }
    }

    /// Makes the objects again that the inventory of a VNF instance has, after a restart: the cluster was in the memory of the process.
    pub fn restore(&self, namespace: &Namespace, inventory: &[Resource]) {
        self.with_state(|state| {
            for resource in inventory {
                let ResourceState::Present { uid, owned: true } = &resource.state else { continue };
                let object = Value::Object(intent(resource, namespace));
                api::restore(state, &resource.key.api_version, &resource.info.plural, object, uid, System.now());
            }
        });
    }

    /// Answers a request of the driver.
    ///
    /// # Errors
    /// The body cannot be read.
    pub async fn call(self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let request = ApiRequest {
            method: head.method,
            path: head.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect(),
            query: query(head.uri.query().unwrap_or_default()),
            is_merge_patch: content_type.contains("merge-patch"),
            body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? },
        };
        let (code, body) = match self.with_state(|state| answer(state, &request, System.now())) {
            Ok(Answer::Object(code, object)) => (code, once(object.to_string())),
            Ok(Answer::Text(text)) => (200, once(text.to_owned())),
            Ok(Answer::Watch(watched)) => (200, self.watch(watched)),
            Err(refusal) => (refusal.code, once(refusal.status().to_string())),
        };
        Ok(Response::builder().status(code).header(CONTENT_TYPE, "application/json").body(StreamBody::new(body))?)
    }

    /// The changes of the watched objects, a line each, until its time is over.
    fn watch(self, watched: Watched) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
        let seconds = if watched.seconds == 0 { WATCH_TIME } else { watched.seconds };
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let versions = self.version.subscribe();
        stream::unfold(Some((self, versions, watched)), move |watch| async move {
            let (cluster, mut versions, mut watched) = watch?;
            loop {
                versions.mark_unchanged();
                let lines = watched.lines(&cluster.locked());
                match lines {
                    Err(text) => return Some((line(text), None)),
                    Ok(text) if !text.is_empty() => return Some((line(text), Some((cluster, versions, watched)))),
                    Ok(_) => {}
                }
                if !matches!(timeout_at(deadline, versions.changed()).await, Ok(Ok(()))) {
                    return None;
                }
            }
        })
        .boxed()
    }
}

impl Watched {
    /// The events since the last call, a line each. `Err`: the last event, for they are not kept any more.
    fn lines(&mut self, state: &State) -> Result<String, String> {
        let Ok(changes) = state.changes_after(self.version) else {
            return Err(format!("{}\n", serde_json::json!({ "type": "ERROR", "object": Refusal::gone().status() })));
        };
        let shown = changes.filter(|change| self.selects(&change.place, &change.object));
        let lines =
            shown.map(|change| format!("{{\"type\":\"{}\",\"object\":{}}}\n", change.kind.as_str(), change.object));
        let lines = lines.collect();
        self.version = state.version();
        Ok(lines)
    }
}

fn line(text: String) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(text)))
}

fn once(text: String) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    stream::iter([line(text)]).boxed()
}

/// The object of a row, as the driver applies it.
fn intent(resource: &Resource, namespace: &Namespace) -> Map<String, Value> {
    let mut object = applied(&resource.manifest);
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        match resource.info.namespaced {
            true => metadata.insert("namespace".to_owned(), namespace.as_str().into()),
            false => metadata.remove("namespace"),
        };
    }
    object
}
