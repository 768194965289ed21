//! Following objects as they change, for [`super::wait`] and [`super::remove`], and for [`super::observe`] for as long as
//! the process lives.
//!
//! A watch of an operation is never trusted for long: it is opened for [`RELIST`], and after its end, however it came about
//! (time, 410, a broken connection, silence), the objects are listed again. A lasting one is to cost nothing while nothing
//! happens: after its end it goes on where it was, and only what the API server no longer remembers (410), or a watch that
//! breaks as soon as it begins, leads to another list. It never gives up on a server out of reach.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::Cluster;
use crate::infra::InfraError;

/// How long a watch of an operation is kept open.
const RELIST: Duration = Duration::from_secs(30);
/// How long a lasting watch is kept open. A connection that died without a word is found by TCP keep-alive before that.
const LASTING: Duration = Duration::from_secs(290);
/// Beyond that, how long the server may take to end a watch.
const SLACK: Duration = Duration::from_secs(5);
/// A watch that ends sooner counts as a failure.
const SHORT: Duration = Duration::from_secs(5);
/// So many failures in a row are survived; a lasting watch survives any number, and says so at this one.
const FAILURES: u32 = 6;
/// The pause after the first of them; it doubles with each.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Objects per page of a list that may be long.
const PAGE: u32 = 500;

/// Which objects.
pub(super) struct Source {
    api: Api<DynamicObject>,
    list: ListParams,
    lasting: bool,
}

impl Source {
    /// Those that the label selector selects, however many, for ever.
    pub fn lasting(api: Api<DynamicObject>, selector: &str) -> Self {
        Self { api, list: ListParams::default().labels(selector).limit(PAGE), lasting: true }
    }

    /// Those that the label selector selects.
    pub fn labelled(api: Api<DynamicObject>, selector: &str) -> Self {
        Self { api, list: ListParams::default().labels(selector), lasting: false }
    }

    /// Those that the field selector selects.
    pub fn with_fields(api: Api<DynamicObject>, selector: &str) -> Self {
        Self { api, list: ListParams::default().fields(selector), lasting: false }
    }

    /// The one of that name.
    pub fn named(api: Api<DynamicObject>, name: &str) -> Self {
        Self::with_fields(api, &format!("metadata.name={name}"))
    }
}

/// What is learnt of the objects, or of what is kept of them.
pub(super) enum Event<T = DynamicObject> {
    /// These are all there are.
    Listed(Vec<T>),
    /// This one came or changed.
    Changed(Box<T>),
    /// This one is gone.
    Gone(Box<T>),
}

/// The objects now, then every change. Ends only with an error: at once if the credential may not list or watch, and
/// with [`InfraErrorKind::Transient`] if the API server stays out of reach.
pub(super) fn follow(cluster: &Cluster, source: Source) -> BoxStream<'_, Result<Event, InfraError>> {
    follow_as(cluster, source, |object| object)
}

/// As [`follow`], keeping of each object no more than `keep` does.
pub(super) fn follow_as<'a, T: Send + 'a>(
    cluster: impl Borrow<Cluster> + Send + Sync + 'a,
    source: Source,
    keep: impl Fn(DynamicObject) -> T + Send + Sync + 'a,
) -> BoxStream<'a, Result<Event<T>, InfraError>> {
    let follower = Follower { cluster, source, keep, state: State::Start, failures: 0 };
    stream::try_unfold(follower, |mut follower| async move { Ok(Some((follower.next().await?, follower))) }).boxed()
}

/// Waits until none of `uids` is among the objects; those that still are at the deadline are returned. Looks at least
/// once, however near the deadline is.
pub(super) async fn gone(
    cluster: &Cluster,
    source: Source,
    uids: &HashSet<String>,
    deadline: Instant,
) -> Result<Vec<DynamicObject>, InfraError> {
    let listed = |objects: Vec<DynamicObject>| -> Vec<DynamicObject> {
        objects.into_iter().filter(|object| object.uid().is_some_and(|uid| uids.contains(&uid))).collect()
    };
    let mut events = follow(cluster, source);
    let mut left = match events.next().await.transpose()? {
        Some(Event::Listed(objects)) => listed(objects),
        _ => Vec::new(),
    };
    while !left.is_empty() {
        let Ok(Some(event)) = timeout_at(deadline, events.next()).await else { break };
        match event? {
            Event::Listed(objects) => left = listed(objects),
            Event::Changed(changed) => {
                left.iter_mut().filter(|it| it.uid() == changed.uid()).for_each(|it| *it = (*changed).clone());
            }
            Event::Gone(gone) => left.retain(|it| it.uid() != gone.uid()),
        }
    }
    Ok(left)
}

struct Follower<C, K> {
    cluster: C,
    source: Source,
    keep: K,
    state: State,
    failures: u32,
}

enum State {
    /// To be listed.
    Start,
    /// Known up to this version, to be watched from there.
    Known(String),
    /// Watched since then, known up to this version.
    Watched(BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>, Instant, String),
}

impl<C: Borrow<Cluster>, T, K: Fn(DynamicObject) -> T> Follower<C, K> {
    async fn next(&mut self) -> Result<Event<T>, InfraError> {
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) if error.is_transient() => self.fail(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Event<T>>, InfraError> {
        match &mut self.state {
            State::Start => {
                let (objects, version) = self.list().await?;
                self.state = State::Known(version);
                Ok(Some(Event::Listed(objects)))
            }
            State::Known(version) => {
                let params = WatchParams {
                    label_selector: self.source.list.label_selector.clone(),
                    field_selector: self.source.list.field_selector.clone(),
                    bookmarks: self.source.lasting,
                    ..WatchParams::default().timeout(span(self.source.lasting).as_secs() as u32)
                };
                let watch = self.cluster.borrow().call(self.source.api.watch(&params, version)).await?;
                self.state = State::Watched(watch.boxed(), Instant::now(), std::mem::take(version));
                Ok(None)
            }
            State::Watched(watch, since, version) => {
                match timeout(span(self.source.lasting) + SLACK, watch.next()).await {
                    Ok(Some(Ok(event))) if !matches!(event, WatchEvent::Error(_)) => {
                        self.failures = 0;
                        if let Some(latest) = version_of(&event) {
                            *version = latest;
                        }
                        Ok(change(event, &self.keep))
                    }
                    ended => {
                        let forgotten = matches!(ended, Ok(Some(Ok(_))));
                        let (since, version) = (*since, std::mem::take(version));
                        self.state =
                            if self.source.lasting && !forgotten { State::Known(version) } else { State::Start };
                        if since.elapsed() >= SHORT {
                            self.failures = 0;
                            return Ok(None);
                        }
                        Err(InfraError::transient("the API server ends watches as soon as they begin"))
                    }
                }
            }
        }
    }

    /// All objects, page by page, and the version they are of.
    async fn list(&mut self) -> Result<(Vec<T>, String), InfraError> {
        let mut params = self.source.list.clone();
        let mut objects = Vec::new();
        loop {
            let page = self.cluster.borrow().call(self.source.api.list(&params)).await?;
            objects.extend(page.items.into_iter().map(&self.keep));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((objects, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    /// Gives up after too many failures, unless it is to last, or pauses and begins anew.
    async fn fail(&mut self, error: InfraError) -> Result<(), InfraError> {
        if self.failures == FAILURES {
            if !self.source.lasting {
                return Err(error);
            }
            tracing::warn!("a watch is interrupted, and tried again until it works: {error}");
        }
        self.state = State::Start;
        sleep((PAUSE * 2_u32.pow(self.failures.min(FAILURES + 1))).min(LONGEST_PAUSE)).await;
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}

const fn span(lasting: bool) -> Duration {
    if lasting { LASTING } else { RELIST }
}

fn version_of(event: &WatchEvent<DynamicObject>) -> Option<String> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
            object.resource_version()
        }
        WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version.clone()),
        WatchEvent::Error(_) => None,
    }
}

fn change<T>(event: WatchEvent<DynamicObject>, keep: impl Fn(DynamicObject) -> T) -> Option<Event<T>> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Event::Changed(Box::new(keep(object)))),
        WatchEvent::Deleted(object) => Some(Event::Gone(Box::new(keep(object)))),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
    }
}
