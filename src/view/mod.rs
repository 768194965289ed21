//! Keeps what is told of INSTANTIATED instances true while no operation works on them: VNFCs, volumes and scale levels
//! follow pods that are replaced, replicas that are edited and objects that are removed behind our back.
//!
//! [`View::run`] is one loop, run by every process that conducts (`docs/adr/0005-watch-driven-view.md`). For each cluster
//! access, namespace and kind there is one watch, shared by all instances there; what it tells is kept in a [`NamespaceCache`], cut
//! down to what matters. Where that changes for an instance, the instance is due: it is computed anew from the room and
//! written, unless an operation is live, which then is waited for, or nothing differs. Nothing is asked of any cluster again
//! and again; an instance to which nothing happens has no task, no timer and no row read.

mod namespace_cache;
mod refresh;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered, SelectAll, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::namespace::Namespace;
use crate::domain::observation::{ObservedKind, kinds_for};
use crate::domain::vim::{VimAccess, VimConnection};
use crate::infra::{Observer, WatchEvent};
use crate::lcm::access::{AccessError, access};
use crate::store::{InstanceLocation, OperationEnded, Store, StoreError};
use namespace_cache::NamespaceCache;
use refresh::{Outcome, refresh};

/// What happens within this time of a first change is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Instances computed at once.
const AT_ONCE: usize = 8;
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The list of instances is read again after this long, though nothing was told: the word of a process that was killed
/// may be lost.
const RESCAN: Duration = Duration::from_secs(600);

/// Keeps instances true. See the module's documentation.
pub struct View {
    store: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
}

impl View {
    /// A view that does not look yet.
    pub fn new(store: Arc<dyn Store>, observer: Arc<dyn Observer>) -> Self {
        Self { store, observer }
    }

    /// Looks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut endings = self.store.endings();
        let mut eye = ViewState::new(self);
        loop {
            let (due, rescan) = (eye.due, eye.scanned + RESCAN);
            tokio::select! {
                () = stop.cancelled() => break,
                ended = endings.recv() => match ended {
                    Ok(OperationEnded::One(instance)) => eye.ended(instance),
                    Ok(OperationEnded::Any) | Err(RecvError::Lagged(_)) => eye.look_at_all(),
                    Err(RecvError::Closed) => break,
                },
                Some((room, kind, sighting)) = eye.sightings.next() => eye.see(room, kind, sighting),
                Some((instance, outcome)) = eye.refreshing.next() => eye.refreshed(instance, outcome),
                () = sleep_until(due.unwrap_or(rescan)), if due.is_some() => eye.act().await,
                () = sleep_until(rescan) => eye.look_at_all(),
            }
        }
        // A call of the store is run to its end.
        while eye.refreshing.next().await.is_some() {}
    }
}

/// Names a room for as long as it is there.
type NamespaceCacheId = u64;

/// What is known to the view.
struct ViewState {
    view: View,
    rooms: HashMap<NamespaceCacheId, CachedNamespace>,
    /// The rooms of a namespace: one per access.
    by_namespace: HashMap<Namespace, Vec<NamespaceCacheId>>,
    next_room: NamespaceCacheId,
    homes: HashMap<VnfInstanceId, Home>,
    sightings: SelectAll<BoxStream<'static, (NamespaceCacheId, ObservedKind, WatchEvent)>>,
    /// Instances with something to be done; all others are as they should be.
    pending: HashMap<VnfInstanceId, Pending>,
    refreshing: FuturesUnordered<BoxFuture<'static, (VnfInstanceId, Outcome)>>,
    /// Whose whereabouts are to be read again: of these, or of all.
    moved: Vec<VnfInstanceId>,
    all_moved: bool,
    /// When something is to be done, if anything is.
    due: Option<Instant>,
    /// When all whereabouts were last read.
    scanned: Instant,
}

/// A room and where it is.
struct CachedNamespace {
    access: VimAccess,
    namespace: Namespace,
    room: NamespaceCache,
    /// Ends its watches.
    closed: CancellationToken,
}

/// Where an instance is.
struct Home {
    room: NamespaceCacheId,
    project: ProjectId,
}

/// What an instance waits for.
enum Pending {
    /// To be computed.
    Due,
    /// Being computed; whether more has happened since.
    Running { again: bool },
    /// For its live operation to end.
    Operation,
}

impl ViewState {
    fn new(view: View) -> Self {
        Self {
            view,
            rooms: HashMap::new(),
            by_namespace: HashMap::new(),
            next_room: 0,
            homes: HashMap::new(),
            sightings: SelectAll::new(),
            pending: HashMap::new(),
            refreshing: FuturesUnordered::new(),
            moved: Vec::new(),
            all_moved: true,
            due: Some(Instant::now()),
            scanned: Instant::now(),
        }
    }

    fn due_within(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Something happened to the instance.
    fn mark(&mut self, instance: VnfInstanceId) {
        match self.pending.entry(instance).or_insert(Pending::Due) {
            Pending::Running { again } => *again = true,
            Pending::Due | Pending::Operation => {}
        }
        self.due_within(DEBOUNCE);
    }

    /// An operation of the instance is over: it may be somewhere else now, and what changed meanwhile is to be written.
    fn ended(&mut self, instance: VnfInstanceId) {
        self.moved.push(instance);
        match self.pending.get_mut(&instance) {
            Some(pending @ Pending::Operation) => *pending = Pending::Due,
            Some(Pending::Running { again }) => *again = true,
            Some(Pending::Due) | None => {}
        }
        self.due_within(DEBOUNCE);
    }

    fn look_at_all(&mut self) {
        self.all_moved = true;
        for pending in self.pending.values_mut().filter(|pending| matches!(pending, Pending::Operation)) {
            *pending = Pending::Due;
        }
        // Not again before it was done: the timer would fire without end.
        self.scanned = Instant::now();
        self.due_within(DEBOUNCE);
    }

    fn see(&mut self, room: NamespaceCacheId, kind: ObservedKind, sighting: WatchEvent) {
        let Some(place) = self.rooms.get_mut(&room) else { return };
        if let WatchEvent::Unavailable(why) = &sighting
            && !place.room.is_hidden(kind)
        {
            tracing::warn!(namespace = %place.namespace, "the {kind:?}s can't be watched; what depends on them is not kept up to date: {why}");
        }
        place.room.take(kind, sighting).into_iter().for_each(|instance| self.mark(instance));
    }

    fn refreshed(&mut self, instance: VnfInstanceId, outcome: Outcome) {
        let again = matches!(self.pending.remove(&instance), Some(Pending::Running { again: true }));
        match outcome {
            _ if !self.homes.contains_key(&instance) => {}
            Outcome::Failed => {
                self.pending.insert(instance, Pending::Due);
                return self.due_within(STORE_PAUSE);
            }
            _ if again => self.mark(instance),
            Outcome::Done => {}
            Outcome::Busy => {
                self.pending.insert(instance, Pending::Operation);
            }
        }
        // Others may have waited for a free place.
        if self.pending.values().any(|pending| matches!(pending, Pending::Due)) {
            self.due_within(Duration::ZERO);
        }
    }

    /// Reads whereabouts that may have changed, then computes what is due.
    async fn act(&mut self) {
        self.due = None;
        if (self.all_moved || !self.moved.is_empty())
            && let Err(error) = self.find().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "where the VNF instances are can't be read");
            self.due_within(STORE_PAUSE);
            return;
        }
        let due = self.pending.iter_mut().filter(|(_, pending)| matches!(pending, Pending::Due));
        for (instance, pending) in due.take(AT_ONCE.saturating_sub(self.refreshing.len())) {
            let Some(home) = self.homes.get(instance) else { continue };
            let Some(place) = self.rooms.get(&home.room) else { continue };
            *pending = Pending::Running { again: false };
            let (id, store, project) = (*instance, Arc::clone(&self.view.store), home.project.clone());
            let sight = place.room.sight(id);
            // A task of its own: this one may soon wait for the store itself, and would keep from going on what has a
            // connection already.
            let refreshed = tokio::spawn(async move { refresh(&*store, &project, id, &sight).await });
            self.refreshing.push(Box::pin(async move { (id, refreshed.await.unwrap_or(Outcome::Failed)) }));
        }
    }

    /// Reads where the instances are, and puts each into its room.
    async fn find(&mut self) -> Result<(), StoreError> {
        let moved = (!self.all_moved).then(|| std::mem::take(&mut self.moved));
        let found = match self.view.store.instantiated(moved.as_deref()).await {
            Ok(found) => found,
            Err(error) => {
                self.moved.extend(moved.into_iter().flatten());
                return Err(error);
            }
        };
        self.all_moved = false;
        if moved.is_none() {
            self.moved.clear();
        }
        let there: HashSet<VnfInstanceId> = found.iter().map(|it| it.id).collect();
        let asked = moved.unwrap_or_else(|| self.homes.keys().copied().collect());
        asked.into_iter().filter(|id| !there.contains(id)).for_each(|id| self.leave(id));
        let mut accesses: Vec<((ProjectId, Option<_>), VimAccess)> = Vec::new();
        for it in found {
            // Who brought the connection, and what he calls it, differ from instance to instance of one VIM.
            let home = it.home.clone().map(|home| VimConnection { added_by: None, vim_name: None, ..home });
            let key = (it.project_id.clone(), home);
            if let Some((_, access)) = accesses.iter().find(|(known, _)| *known == key) {
                self.settle(it, access.clone());
                continue;
            }
            match access(&*self.view.store, &it.project_id, it.home.as_ref()).await {
                Ok(access) => {
                    accesses.push((key, access.clone()));
                    self.settle(it, access);
                }
                Err(AccessError::Store(error)) => {
                    self.all_moved = true;
                    return Err(error);
                }
                Err(error @ AccessError::Unusable(_)) => {
                    tracing::warn!(vnf_instance.id = %it.id, "VNF instance {} can't be watched: {error}", it.id);
                    self.leave(it.id);
                }
            }
        }
        Ok(())
    }

    /// The instance is in the room of that access and its namespace.
    fn settle(&mut self, it: InstanceLocation, access: VimAccess) {
        let kinds = kinds_for(it.kinds.iter().map(String::as_str));
        let there = self.by_namespace.get(&it.namespace).into_iter().flatten();
        let room = there.copied().find(|id| self.rooms.get(id).is_some_and(|place| place.access == access));
        if self.homes.get(&it.id).is_some_and(|home| Some(home.room) != room) {
            self.leave(it.id);
        }
        let id = room.unwrap_or_else(|| self.open(access, it.namespace));
        let Some(place) = self.rooms.get_mut(&id) else { return };
        for kind in place.room.want(kinds) {
            match self.view.observer.watch(&place.access, &place.namespace, kind) {
                Ok(sightings) => {
                    let sightings = sightings.take_until(place.closed.clone().cancelled_owned());
                    self.sightings.push(sightings.map(move |sighting| (id, kind, sighting)).boxed());
                }
                Err(why) => self.sightings.push(stream::iter([(id, kind, WatchEvent::Unavailable(why))]).boxed()),
            }
        }
        let is_new = place.room.enter(it.id);
        let complete = place.room.is_complete();
        self.homes.insert(it.id, Home { room: id, project: it.project_id });
        // An incomplete room tells of all of its instances once it is complete.
        if is_new && complete {
            self.mark(it.id);
        }
    }

    fn open(&mut self, access: VimAccess, namespace: Namespace) -> NamespaceCacheId {
        let id = self.next_room;
        self.next_room += 1;
        self.by_namespace.entry(namespace.clone()).or_default().push(id);
        self.rooms.insert(
            id,
            CachedNamespace { access, namespace, room: NamespaceCache::default(), closed: CancellationToken::new() },
        );
        id
    }

    /// The instance is no longer looked at; its room closes with the last.
    fn leave(&mut self, instance: VnfInstanceId) {
        if !matches!(self.pending.get(&instance), Some(Pending::Running { .. })) {
            self.pending.remove(&instance);
        }
        let Some(home) = self.homes.remove(&instance) else { return };
        let Some(place) = self.rooms.get_mut(&home.room) else { return };
        if place.room.exit(instance) {
            place.closed.cancel();
            if let Some(there) = self.by_namespace.get_mut(&place.namespace) {
                there.retain(|id| *id != home.room);
                if there.is_empty() {
                    self.by_namespace.remove(&place.namespace);
                }
            }
            self.rooms.remove(&home.room);
        }
    }
}
