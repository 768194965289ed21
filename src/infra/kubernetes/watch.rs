//! Follows objects as they change: for an operation ([`super::readiness`], [`super::remove`]), and for [`super::observe`] as long
//! as the process lives.
//!
//! However a watch ends (time, a broken connection, silence, an API server out of reach), it goes on from the version it has seen. It
//! lists again only if the API server has forgotten that version (410) or the watch breaks as soon as it begins, several times. So
//! the return of an API server brings no flood of lists. A lasting watch never gives up on a server out of reach.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::Cluster;
use super::ownership::instance_selector;
use crate::clock::{Ids as _, System};
use crate::domain::ids::ProjectId;
use crate::domain::resource::INSTANCE_LABEL;
use crate::infra::{InfraError, Scope};
use crate::places::Place;

/// How long a watch of an operation stays open.
const OPERATION_WATCH: Duration = Duration::from_secs(30);
/// How long a lasting watch stays open. TCP keep-alive finds a dead connection before that.
const LASTING_WATCH: Duration = Duration::from_secs(290);
/// How much longer the server may take to end a watch.
const SLACK: Duration = Duration::from_secs(5);
/// A watch that ends sooner counts as a failure.
const MIN_WATCH: Duration = Duration::from_secs(5);
/// Failures in a row before an operation's watch gives up. A lasting watch logs a warning at this number and goes on.
const MAX_FAILURES: u32 = 6;
/// The pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Watches in a row that break as soon as they begin before the objects are listed again.
const BROKEN_WATCHES: u32 = 3;
/// While the project has as many watches of an API server as it may, the objects are listed this often instead.
const POLL: Duration = Duration::from_secs(15);

/// Which objects to list and watch.
pub(super) struct ListWatch {
    api: Api<DynamicObject>,
    list: ListParams,
    lasting: bool,
    /// Whose watch it is: projects share the watches of an API server.
    project: ProjectId,
}

impl ListWatch {
    /// The objects that carry the label of any VNF instance, page by page, for as long as the process lives.
    pub fn lasting(api: Api<DynamicObject>, project: &ProjectId) -> Self {
        Self { api, list: ListParams::default().labels(INSTANCE_LABEL), lasting: true, project: project.clone() }
    }

    /// The objects of the VNF instance.
    pub fn of_instance(api: Api<DynamicObject>, scope: &Scope) -> Self {
        let list = ListParams::default().labels(&instance_selector(scope.instance));
        Self { api, list, lasting: false, project: scope.project.clone() }
    }

    /// The objects that the field selector selects, for an operation in the scope.
    pub fn by_fields(api: Api<DynamicObject>, scope: &Scope, selector: &str) -> Self {
        let list = ListParams::default().fields(selector);
        Self { api, list, lasting: false, project: scope.project.clone() }
    }

    /// The object of that name, for an operation in the scope.
    pub fn by_name(api: Api<DynamicObject>, scope: &Scope, name: &str) -> Self {
        Self::by_fields(api, scope, &format!("metadata.name={name}"))
    }

    const fn watch_time(&self) -> Duration {
        if self.lasting { LASTING_WATCH } else { OPERATION_WATCH }
    }
}

/// A change of the objects, or of what is kept of them.
pub(super) enum ObjectEvent<T = DynamicObject> {
    /// All objects there are.
    Listed(Vec<T>),
    /// This object was made or changed.
    Changed(Box<T>),
    /// This object was deleted.
    Deleted(Box<T>),
}

/// The objects now, then every change. Ends only with an error: at once if the credential may not list or watch, and with
/// [`InfraErrorKind::Transient`](crate::infra::InfraErrorKind::Transient) if the API server stays out of reach.
pub(super) fn follow(cluster: &Cluster, target: ListWatch) -> BoxStream<'_, Result<ObjectEvent, InfraError>> {
    follow_as(cluster, target, |object| object)
}

/// As [`follow`], but keeps of each object only what `keep` returns.
pub(super) fn follow_as<'a, T: Send + 'a>(
    cluster: impl Borrow<Cluster> + Send + Sync + 'a,
    target: ListWatch,
    keep: impl Fn(DynamicObject) -> T + Send + Sync + 'a,
) -> BoxStream<'a, Result<ObjectEvent<T>, InfraError>> {
    let follower = Follower { cluster, target, keep, state: FollowState::Start, failures: 0 };
    stream::try_unfold(follower, |mut follower| async move { Ok(Some((follower.next().await?, follower))) }).boxed()
}

/// Waits until no object has one of `uids`, and returns those that are left at the deadline. Lists at least once, however near
/// the deadline is.
pub(super) async fn wait_until_deleted(
    cluster: &Cluster,
    target: ListWatch,
    uids: &HashSet<String>,
    deadline: Instant,
) -> Result<Vec<DynamicObject>, InfraError> {
    let awaited = |objects: Vec<DynamicObject>| -> Vec<DynamicObject> {
        objects.into_iter().filter(|object| object.uid().is_some_and(|uid| uids.contains(&uid))).collect()
    };
    let mut events = follow(cluster, target);
    let mut left = match events.next().await.transpose()? {
        Some(ObjectEvent::Listed(objects)) => awaited(objects),
        _ => Vec::new(),
    };
    while !left.is_empty() {
        let Ok(Some(event)) = timeout_at(deadline, events.next()).await else { break };
        match event? {
            ObjectEvent::Listed(objects) => left = awaited(objects),
            ObjectEvent::Changed(changed) => {
                left.iter_mut().filter(|it| it.uid() == changed.uid()).for_each(|it| *it = (*changed).clone());
            }
            ObjectEvent::Deleted(deleted) => left.retain(|it| it.uid() != deleted.uid()),
        }
    }
    Ok(left)
}

struct Follower<C, K> {
    cluster: C,
    target: ListWatch,
    keep: K,
    state: FollowState,
    failures: u32,
}

enum FollowState {
    /// The objects must be listed.
    Start,
    /// The objects are known up to this version; a watch must be opened from there.
    Known(String),
    /// A watch is open.
    Watching {
        events: BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>,
        since: Instant,
        version: String,
        /// One of the watches that the API server may have.
        _place: Place,
    },
}

impl<C: Borrow<Cluster>, T, K: Fn(DynamicObject) -> T> Follower<C, K> {
    async fn next(&mut self) -> Result<ObjectEvent<T>, InfraError> {
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) if error.is_transient() => self.back_off(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<ObjectEvent<T>>, InfraError> {
        match &mut self.state {
            FollowState::Start => {
                let cluster = self.cluster.borrow();
                let (objects, version) = cluster.list_as(&self.target.api, &self.target.list, &self.keep).await?;
                self.state = FollowState::Known(version);
                Ok(Some(ObjectEvent::Listed(objects)))
            }
            FollowState::Known(version) => {
                let params = WatchParams {
                    label_selector: self.target.list.label_selector.clone(),
                    field_selector: self.target.list.field_selector.clone(),
                    bookmarks: true,
                    ..WatchParams::default().timeout(self.target.watch_time().as_secs() as u32)
                };
                let cluster = self.cluster.borrow();
                let Some(place) = cluster.watch_place(self.target.lasting, &self.target.project) else {
                    self.state = FollowState::Start;
                    sleep(jittered(POLL)).await;
                    return Ok(None);
                };
                let watch = match cluster.call(self.target.api.watch(&params, version)).await {
                    Ok(watch) => watch,
                    Err(failed) => {
                        if failed.code == Some(410) {
                            self.state = FollowState::Start;
                        }
                        return Err(failed.into());
                    }
                };
                let (version, since) = (std::mem::take(version), Instant::now());
                self.state = FollowState::Watching { events: watch.boxed(), since, version, _place: place };
                Ok(None)
            }
            FollowState::Watching { events, since, version, .. } => {
                match timeout(self.target.watch_time() + SLACK, events.next()).await {
                    Ok(Some(Ok(event))) if !matches!(event, WatchEvent::Error(_)) => {
                        self.failures = 0;
                        if let Some(latest) = version_of(&event) {
                            *version = latest;
                        }
                        Ok(object_event(event, &self.keep))
                    }
                    ended => {
                        // An error event is the 410 of a version that the API server has forgotten.
                        let is_forgotten = matches!(ended, Ok(Some(Ok(_))));
                        let (since, version) = (*since, std::mem::take(version));
                        let is_broken = since.elapsed() < MIN_WATCH;
                        let lists_again = is_forgotten || (is_broken && self.failures >= BROKEN_WATCHES);
                        self.state = if lists_again { FollowState::Start } else { FollowState::Known(version) };
                        if !is_broken {
                            self.failures = 0;
                            return Ok(None);
                        }
                        Err(InfraError::transient("the API server ends watches as soon as they begin"))
                    }
                }
            }
        }
    }

    /// Pauses before the next call. Returns the error after too many failures, unless the watch is a lasting one.
    async fn back_off(&mut self, error: InfraError) -> Result<(), InfraError> {
        if self.failures == MAX_FAILURES {
            if !self.target.lasting {
                return Err(error);
            }
            tracing::warn!("a watch is interrupted; retrying until it works: {error}");
        }
        sleep(jittered((FIRST_PAUSE * 2_u32.pow(self.failures.min(MAX_FAILURES + 1))).min(MAX_PAUSE))).await;
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}

/// Between half of the pause and one and a half: the watches that one outage has interrupted come back one after the other.
fn jittered(pause: Duration) -> Duration {
    let random = u32::from(System.uuid().as_bytes()[0]);
    pause / 2 + pause * random / 256
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

fn object_event<T>(event: WatchEvent<DynamicObject>, keep: impl Fn(DynamicObject) -> T) -> Option<ObjectEvent<T>> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(ObjectEvent::Changed(Box::new(keep(object)))),
        WatchEvent::Deleted(object) => Some(ObjectEvent::Deleted(Box::new(keep(object)))),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
    }
}
