//! Keeps INSTANTIATED instances up to date while no operation works on them: VNFCs, volumes and scale levels follow pods
//! that are replaced, replicas that somebody edits and objects that somebody deletes.
//!
//! [`View::run`] is one loop in every process with a conductor (`docs/adr/0005-watch-driven-view.md`). There is one watch for
//! each cluster access, namespace and kind, shared by all instances there. A [`NamespaceCache`] keeps the parts that matter.
//! When they change for an instance, the instance is computed from the cache and written if it differs; during a live
//! operation, after that has ended. No cluster is polled. An instance to which nothing happens needs no task, no timer and
//! no read of its row.
//!
//! [`vim_status`] keeps the status of VIMs up to date in the same way. [`vim_credentials`] watches when their credentials expire.

mod namespace_cache;
mod refresh;
pub mod vim_credentials;
pub mod vim_status;

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
use crate::infra::{InfraErrorKind, Observer, WatchEvent};
use crate::lcm::access::{AccessError, access};
use crate::store::{InstanceLocation, OperationEnded, Store, StoreError};
use namespace_cache::NamespaceCache;
use refresh::{RefreshResult, refresh};

/// Changes within this time after a first one are processed together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// The most instances that are refreshed at once.
const CONCURRENT_REFRESHES: usize = 8;
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The list of instances is read again after this long without a signal: the signal of a process that was killed may be
/// lost.
const RESCAN: Duration = Duration::from_secs(600);
/// After an API server has refused a credential, the accesses are read again within this time: somebody may have replaced the
/// credential, and the signal of that may be lost.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Keeps instances up to date. See the module's documentation.
pub struct View {
    store: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
}

impl View {
    /// A view that is not running yet.
    pub fn new(store: Arc<dyn Store>, observer: Arc<dyn Observer>) -> Self {
        Self { store, observer }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut endings = self.store.endings();
        let mut state = ViewState::new(self);
        loop {
            let (due, rescan) = (state.due, state.last_scan + RESCAN);
            tokio::select! {
                () = stop.cancelled() => break,
                ended = endings.recv() => match ended {
                    Ok(OperationEnded::One(instance)) => state.ended(instance),
                    Ok(OperationEnded::Any) | Err(RecvError::Lagged(_)) => state.mark_all_stale(),
                    Err(RecvError::Closed) => break,
                },
                Some((cache, kind, event)) = state.watch_events.next() => state.on_watch_event(cache, kind, event),
                Some((instance, outcome)) = state.refreshing.next() => state.refreshed(instance, outcome),
                () = sleep_until(due.unwrap_or(rescan)), if due.is_some() => state.process_due().await,
                () = sleep_until(rescan) => state.mark_all_stale(),
            }
        }
        // Calls of the store run to their end.
        while state.refreshing.next().await.is_some() {}
    }
}

/// Identifies a cache while it exists.
type NamespaceCacheId = u64;

/// The state of the loop.
struct ViewState {
    view: View,
    caches: HashMap<NamespaceCacheId, CachedNamespace>,
    /// The caches of a namespace: one per access.
    by_namespace: HashMap<Namespace, Vec<NamespaceCacheId>>,
    next_cache_id: NamespaceCacheId,
    assignments: HashMap<VnfInstanceId, Assignment>,
    watch_events: SelectAll<BoxStream<'static, (NamespaceCacheId, ObservedKind, WatchEvent)>>,
    /// Instances to refresh; all others are up to date.
    pending: HashMap<VnfInstanceId, Pending>,
    refreshing: FuturesUnordered<BoxFuture<'static, (VnfInstanceId, RefreshResult)>>,
    /// Instances whose locations must be read again.
    stale_locations: Vec<VnfInstanceId>,
    /// Whether the locations of all instances must be read again.
    all_locations_stale: bool,
    /// When the loop has work to do.
    due: Option<Instant>,
    /// When the locations of all instances were read last.
    last_scan: Instant,
}

/// The cache of a namespace, and how to reach that.
struct CachedNamespace {
    access: VimAccess,
    namespace: Namespace,
    cache: NamespaceCache,
    /// Ends the watches.
    closed: CancellationToken,
}

/// The cache that an instance is in.
struct Assignment {
    cache: NamespaceCacheId,
    project: ProjectId,
}

/// What an instance waits for.
enum Pending {
    /// It must be refreshed.
    Due,
    /// It is being refreshed; `again`: it has changed since.
    Running { again: bool },
    /// Its live operation must end.
    Operation,
}

impl ViewState {
    fn new(view: View) -> Self {
        Self {
            view,
            caches: HashMap::new(),
            by_namespace: HashMap::new(),
            next_cache_id: 0,
            assignments: HashMap::new(),
            watch_events: SelectAll::new(),
            pending: HashMap::new(),
            refreshing: FuturesUnordered::new(),
            stale_locations: Vec::new(),
            all_locations_stale: true,
            due: Some(Instant::now()),
            last_scan: Instant::now(),
        }
    }

    fn due_within(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The instance has changed.
    fn mark(&mut self, instance: VnfInstanceId) {
        match self.pending.entry(instance).or_insert(Pending::Due) {
            Pending::Running { again } => *again = true,
            Pending::Due | Pending::Operation => {}
        }
        self.due_within(DEBOUNCE);
    }

    /// An operation of the instance has ended: its location may have changed, and changes during the operation must be written.
    fn ended(&mut self, instance: VnfInstanceId) {
        self.stale_locations.push(instance);
        match self.pending.get_mut(&instance) {
            Some(pending @ Pending::Operation) => *pending = Pending::Due,
            Some(Pending::Running { again }) => *again = true,
            Some(Pending::Due) | None => {}
        }
        self.due_within(DEBOUNCE);
    }

    fn mark_all_stale(&mut self) {
        self.all_locations_stale = true;
        for pending in self.pending.values_mut().filter(|pending| matches!(pending, Pending::Operation)) {
            *pending = Pending::Due;
        }
        // Set at once: the timer would fire again and again until the scan.
        self.last_scan = Instant::now();
        self.due_within(DEBOUNCE);
    }

    fn on_watch_event(&mut self, cache: NamespaceCacheId, kind: ObservedKind, event: WatchEvent) {
        let Some(cached) = self.caches.get_mut(&cache) else { return };
        if let WatchEvent::Unavailable(why) = &event
            && !cached.cache.is_unavailable(kind)
        {
            tracing::warn!(namespace = %cached.namespace, "the {kind:?}s can't be watched; what depends on them is not kept up to date: {why}");
        }
        if matches!(&event, WatchEvent::Unavailable(why) if why.kind == InfraErrorKind::Unauthorized) {
            self.all_locations_stale = true;
            self.due_within(REFUSED_PAUSE);
        }
        let Some(cached) = self.caches.get_mut(&cache) else { return };
        cached.cache.apply(kind, event).into_iter().for_each(|instance| self.mark(instance));
    }

    fn refreshed(&mut self, instance: VnfInstanceId, outcome: RefreshResult) {
        let again = matches!(self.pending.remove(&instance), Some(Pending::Running { again: true }));
        match outcome {
            _ if !self.assignments.contains_key(&instance) => {}
            RefreshResult::Failed => {
                self.pending.insert(instance, Pending::Due);
                return self.due_within(STORE_PAUSE);
            }
            _ if again => self.mark(instance),
            RefreshResult::Done => {}
            RefreshResult::Busy => {
                self.pending.insert(instance, Pending::Operation);
            }
        }
        // Other instances may have waited for a free slot.
        if self.pending.values().any(|pending| matches!(pending, Pending::Due)) {
            self.due_within(Duration::ZERO);
        }
    }

    /// Reads locations that may have changed, then refreshes instances that are due.
    async fn process_due(&mut self) {
        self.due = None;
        if (self.all_locations_stale || !self.stale_locations.is_empty())
            && let Err(error) = self.update_locations().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "where the VNF instances are can't be read");
            self.due_within(STORE_PAUSE);
            return;
        }
        let due = self.pending.iter_mut().filter(|(_, pending)| matches!(pending, Pending::Due));
        for (instance, pending) in due.take(CONCURRENT_REFRESHES.saturating_sub(self.refreshing.len())) {
            let Some(home) = self.assignments.get(instance) else { continue };
            let Some(cached) = self.caches.get(&home.cache) else { continue };
            *pending = Pending::Running { again: false };
            let (id, store, project) = (*instance, Arc::clone(&self.view.store), home.project.clone());
            let snapshot = cached.cache.snapshot(id);
            // In a task of its own: this loop may soon wait for a connection of the store, and must not block a refresh that has
            // one.
            let refreshed = tokio::spawn(async move { refresh(&*store, &project, id, &snapshot).await });
            self.refreshing.push(Box::pin(async move { (id, refreshed.await.unwrap_or(RefreshResult::Failed)) }));
        }
    }

    /// Reads the locations of instances and assigns each to its cache.
    async fn update_locations(&mut self) -> Result<(), StoreError> {
        let stale_locations = (!self.all_locations_stale).then(|| std::mem::take(&mut self.stale_locations));
        let found = match self.view.store.instantiated(stale_locations.as_deref()).await {
            Ok(found) => found,
            Err(error) => {
                self.stale_locations.extend(stale_locations.into_iter().flatten());
                return Err(error);
            }
        };
        self.all_locations_stale = false;
        if stale_locations.is_none() {
            self.stale_locations.clear();
        }
        let there: HashSet<VnfInstanceId> = found.iter().map(|location| location.id).collect();
        let asked = stale_locations.unwrap_or_else(|| self.assignments.keys().copied().collect());
        asked.into_iter().filter(|id| !there.contains(id)).for_each(|id| self.remove(id));
        let mut accesses: Vec<((ProjectId, Option<_>), VimAccess)> = Vec::new();
        for location in found {
            // The origin and the name of a connection differ between instances of one VIM.
            let home = location.home.clone().map(|home| VimConnection { added_by: None, vim_name: None, ..home });
            let key = (location.project_id.clone(), home);
            if let Some((_, access)) = accesses.iter().find(|(known, _)| *known == key) {
                self.assign(location, access.clone());
                continue;
            }
            match access(&*self.view.store, &location.project_id, location.home.as_ref()).await {
                Ok(access) => {
                    accesses.push((key, access.clone()));
                    self.assign(location, access);
                }
                Err(AccessError::Store(error)) => {
                    self.all_locations_stale = true;
                    return Err(error);
                }
                Err(error @ (AccessError::Unusable(_) | AccessError::Refused(_))) => {
                    tracing::warn!(vnf_instance.id = %location.id, "VNF instance {} can't be watched: {error}", location.id);
                    self.remove(location.id);
                }
            }
        }
        Ok(())
    }

    /// Assigns the instance to the cache of that access and its namespace.
    fn assign(&mut self, location: InstanceLocation, access: VimAccess) {
        let kinds = kinds_for(location.kinds.iter().map(String::as_str));
        let there = self.by_namespace.get(&location.namespace).into_iter().flatten();
        let cache = there.copied().find(|id| self.caches.get(id).is_some_and(|cached| cached.access == access));
        if self.assignments.get(&location.id).is_some_and(|home| Some(home.cache) != cache) {
            self.remove(location.id);
        }
        let id = cache.unwrap_or_else(|| self.open(access, location.namespace));
        let Some(cached) = self.caches.get_mut(&id) else { return };
        for kind in cached.cache.add_kinds(kinds) {
            match self.view.observer.watch(&cached.access, &location.project_id, &cached.namespace, kind) {
                Ok(watch_events) => {
                    let watch_events = watch_events.take_until(cached.closed.clone().cancelled_owned());
                    self.watch_events.push(watch_events.map(move |event| (id, kind, event)).boxed());
                }
                Err(why) => self.watch_events.push(stream::iter([(id, kind, WatchEvent::Unavailable(why))]).boxed()),
            }
        }
        let is_new = cached.cache.add_instance(location.id);
        let complete = cached.cache.is_complete();
        self.assignments.insert(location.id, Assignment { cache: id, project: location.project_id });
        // A cache reports all of its instances when it becomes complete.
        if is_new && complete {
            self.mark(location.id);
        }
    }

    fn open(&mut self, access: VimAccess, namespace: Namespace) -> NamespaceCacheId {
        let id = self.next_cache_id;
        self.next_cache_id += 1;
        self.by_namespace.entry(namespace.clone()).or_default().push(id);
        self.caches.insert(
            id,
            CachedNamespace { access, namespace, cache: NamespaceCache::default(), closed: CancellationToken::new() },
        );
        id
    }

    /// Removes the instance from its cache. A cache without instances is removed.
    fn remove(&mut self, instance: VnfInstanceId) {
        if !matches!(self.pending.get(&instance), Some(Pending::Running { .. })) {
            self.pending.remove(&instance);
        }
        let Some(home) = self.assignments.remove(&instance) else { return };
        let Some(cached) = self.caches.get_mut(&home.cache) else { return };
        if cached.cache.remove_instance(instance) {
            cached.closed.cancel();
            if let Some(there) = self.by_namespace.get_mut(&cached.namespace) {
                there.retain(|id| *id != home.cache);
                if there.is_empty() {
                    self.by_namespace.remove(&cached.namespace);
                }
            }
            self.caches.remove(&home.cache);
        }
    }
}
