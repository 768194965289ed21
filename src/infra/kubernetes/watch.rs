//! Following objects as they change, for [`super::wait`] and [`super::remove`].
//!
//! A watch is never trusted for long: it is opened for [`RELIST`], and after its end, however it came about (time, 410,
//! a broken connection, silence), the objects are listed again.

use std::collections::HashSet;
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::Cluster;
use crate::infra::InfraError;

/// How long a watch is kept open.
const RELIST: Duration = Duration::from_secs(30);
/// Beyond [`RELIST`], how long the server may take to end a watch.
const SLACK: Duration = Duration::from_secs(5);
/// A watch that ends sooner counts as a failure.
const SHORT: Duration = Duration::from_secs(5);
/// So many failures in a row are survived.
const FAILURES: u32 = 6;
/// The pause after the first of them; it doubles with each.
const PAUSE: Duration = Duration::from_millis(100);

/// Which objects.
pub(super) struct Source {
    api: Api<DynamicObject>,
    list: ListParams,
}

impl Source {
    /// Those that the label selector selects.
    pub fn labelled(api: Api<DynamicObject>, selector: &str) -> Self {
        Self { api, list: ListParams::default().labels(selector) }
    }

    /// Those that the field selector selects.
    pub fn with_fields(api: Api<DynamicObject>, selector: &str) -> Self {
        Self { api, list: ListParams::default().fields(selector) }
    }

    /// The one of that name.
    pub fn named(api: Api<DynamicObject>, name: &str) -> Self {
        Self::with_fields(api, &format!("metadata.name={name}"))
    }
}

/// What is learnt of the objects.
pub(super) enum Event {
    /// These are all there are.
    Listed(Vec<DynamicObject>),
    /// This one came or changed.
    Changed(Box<DynamicObject>),
    /// This one is gone.
    Gone(Box<DynamicObject>),
}

/// The objects now, then every change. Ends only with an error: at once if the credential may not list or watch, and
/// with [`InfraError::Transient`] if the API server stays out of reach.
pub(super) fn follow(
    cluster: &Cluster,
    source: Source,
) -> impl Stream<Item = Result<Event, InfraError>> + Send + Unpin + use<'_> {
    let follower = Follower { cluster, source, state: State::Start, failures: 0 };
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

struct Follower<'a> {
    cluster: &'a Cluster,
    source: Source,
    state: State,
    failures: u32,
}

enum State {
    /// To be listed.
    Start,
    /// Listed at this version, to be watched from there.
    Listed(String),
    /// Watched since then.
    Watched(BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>, Instant),
}

impl Follower<'_> {
    async fn next(&mut self) -> Result<Event, InfraError> {
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error @ InfraError::Transient(_)) => self.fail(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Event>, InfraError> {
        match &mut self.state {
            State::Start => {
                let list = self.cluster.call(self.source.api.list(&self.source.list)).await?;
                self.state = State::Listed(list.metadata.resource_version.unwrap_or_default());
                Ok(Some(Event::Listed(list.items)))
            }
            State::Listed(version) => {
                let params = WatchParams {
                    label_selector: self.source.list.label_selector.clone(),
                    field_selector: self.source.list.field_selector.clone(),
                    bookmarks: false,
                    ..WatchParams::default().timeout(RELIST.as_secs() as u32)
                };
                let watch = self.cluster.call(self.source.api.watch(&params, version)).await?;
                self.state = State::Watched(watch.boxed(), Instant::now());
                Ok(None)
            }
            State::Watched(watch, since) => {
                let since = *since;
                match timeout(RELIST + SLACK, watch.next()).await {
                    Ok(Some(Ok(event))) if !matches!(event, WatchEvent::Error(_)) => {
                        self.failures = 0;
                        Ok(change(event))
                    }
                    _ => {
                        self.state = State::Start;
                        if since.elapsed() >= SHORT {
                            self.failures = 0;
                            return Ok(None);
                        }
                        Err(InfraError::Transient("the API server ends watches as soon as they begin".to_owned()))
                    }
                }
            }
        }
    }

    /// Gives up after too many failures, or pauses and begins anew.
    async fn fail(&mut self, error: InfraError) -> Result<(), InfraError> {
        if self.failures >= FAILURES {
            return Err(error);
        }
        self.state = State::Start;
        sleep(PAUSE * 2_u32.pow(self.failures)).await;
        self.failures += 1;
        Ok(())
    }
}

fn change(event: WatchEvent<DynamicObject>) -> Option<Event> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Event::Changed(Box::new(object))),
        WatchEvent::Deleted(object) => Some(Event::Gone(Box::new(object))),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
    }
}
