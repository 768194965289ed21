//! The observed objects of one namespace, as one credential sees them. No I/O: one watch per kind passes its events in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::domain::ids::VnfInstanceId;
use crate::domain::observation::{ObservedKind, ObservedObject};
use crate::infra::WatchEvent;

/// The objects of one kind of one instance, by uid.
type Objects = BTreeMap<String, ObservedObject>;

#[derive(Default)]
pub struct NamespaceCache {
    /// The instances that the view keeps up to date. Objects of other instances are cached too: such an instance may be added as
    /// soon as its instantiation ends.
    instances: HashSet<VnfInstanceId>,
    watched_kinds: BTreeSet<ObservedKind>,
    /// The objects of the kinds whose watches have listed them.
    listed: HashMap<ObservedKind, HashMap<VnfInstanceId, Objects>>,
    /// The kinds that can't be watched.
    unavailable: BTreeSet<ObservedKind>,
}

/// The observed objects of one instance.
pub struct InstanceSnapshot {
    /// Its objects.
    pub objects: Vec<ObservedObject>,
    /// The kinds of which all objects are in `objects`.
    pub listed: BTreeSet<ObservedKind>,
}

impl NamespaceCache {
    /// Adds kinds to watch. Returns those that are new.
    pub fn add_kinds(&mut self, kinds: BTreeSet<ObservedKind>) -> Vec<ObservedKind> {
        kinds.into_iter().filter(|kind| self.watched_kinds.insert(*kind)).collect()
    }

    /// Adds an instance. Returns whether it is new.
    pub fn add_instance(&mut self, instance: VnfInstanceId) -> bool {
        self.instances.insert(instance)
    }

    /// Removes an instance. Returns whether no instance is left.
    pub fn remove_instance(&mut self, instance: VnfInstanceId) -> bool {
        self.instances.remove(&instance);
        self.instances.is_empty()
    }

    /// Whether every watch has listed its objects or is unavailable.
    pub fn is_complete(&self) -> bool {
        self.watched_kinds.iter().all(|kind| self.listed.contains_key(kind) || self.unavailable.contains(kind))
    }

    /// Whether the watch of the kind is known to be unavailable.
    pub fn is_unavailable(&self, kind: ObservedKind) -> bool {
        self.unavailable.contains(&kind)
    }

    /// Applies an event of the watch of a kind. Returns the added instances whose objects differ now: none before the cache is
    /// complete, all of them when it becomes complete.
    pub fn apply(&mut self, kind: ObservedKind, event: WatchEvent) -> Vec<VnfInstanceId> {
        let was_complete = self.is_complete();
        let changed = match event {
            WatchEvent::All(objects) => self.replace(kind, objects),
            WatchEvent::Changed(object) => {
                let instance = object.instance;
                let objects = self.listed.entry(kind).or_default().entry(instance).or_default();
                let changed = objects.get(&object.uid) != Some(&object);
                objects.insert(object.uid.clone(), object);
                changed.then_some(instance).into_iter().collect()
            }
            WatchEvent::Deleted(object) => {
                let of_kind = self.listed.entry(kind).or_default();
                let Some(objects) = of_kind.get_mut(&object.instance) else { return Vec::new() };
                let changed = objects.remove(&object.uid).is_some();
                if objects.is_empty() {
                    of_kind.remove(&object.instance);
                }
                changed.then_some(object.instance).into_iter().collect()
            }
            // The objects of the last list may be outdated, so they are forgotten.
            WatchEvent::Unavailable(_) => {
                self.listed.remove(&kind);
                self.unavailable.insert(kind);
                Vec::new()
            }
        };
        match (was_complete, self.is_complete()) {
            (true, true) => changed.into_iter().filter(|instance| self.instances.contains(instance)).collect(),
            (false, true) => self.instances.iter().copied().collect(),
            (_, false) => Vec::new(),
        }
    }

    /// Replaces all objects of a kind, at the start or after a lost watch. Returns the instances whose objects differ.
    fn replace(&mut self, kind: ObservedKind, objects: Vec<ObservedObject>) -> Vec<VnfInstanceId> {
        let mut now: HashMap<VnfInstanceId, Objects> = HashMap::new();
        for object in objects {
            now.entry(object.instance).or_default().insert(object.uid.clone(), object);
        }
        self.unavailable.remove(&kind);
        let Some(before) = self.listed.insert(kind, now) else {
            return self.instances.iter().copied().collect();
        };
        let Some(now) = self.listed.get(&kind) else { return Vec::new() };
        let all: HashSet<&VnfInstanceId> = before.keys().chain(now.keys()).collect();
        all.into_iter().filter(|instance| before.get(instance) != now.get(instance)).copied().collect()
    }

    /// The observed objects of an instance.
    pub fn snapshot(&self, instance: VnfInstanceId) -> InstanceSnapshot {
        let objects = self.listed.values().filter_map(|of_kind| of_kind.get(&instance)).flat_map(BTreeMap::values);
        InstanceSnapshot { objects: objects.cloned().collect(), listed: self.listed.keys().copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::InfraError;
    use uuid::Uuid;

    const A: VnfInstanceId = VnfInstanceId(Uuid::from_u128(1));
    const B: VnfInstanceId = VnfInstanceId(Uuid::from_u128(2));

    fn pod(instance: VnfInstanceId, name: &str) -> ObservedObject {
        let (name, uid) = (name.to_owned(), name.to_owned());
        ObservedObject {
            instance,
            kind: ObservedKind::Pod,
            name,
            uid,
            owners: Vec::new(),
            replicas: None,
            active: true,
        }
    }

    fn cache(kinds: &[ObservedKind]) -> NamespaceCache {
        let mut cache = NamespaceCache::default();
        cache.add_kinds(kinds.iter().copied().collect());
        assert!(cache.add_instance(A) && cache.add_instance(B));
        cache
    }

    fn sorted(mut instances: Vec<VnfInstanceId>) -> Vec<VnfInstanceId> {
        instances.sort_unstable();
        instances
    }

    #[test]
    fn reports_all_instances_once_complete_and_then_each_change() {
        let mut cache = cache(&[ObservedKind::Pod, ObservedKind::Deployment]);
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a")])), []);
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::Changed(pod(A, "b"))), []);
        assert_eq!(sorted(cache.apply(ObservedKind::Deployment, WatchEvent::All(Vec::new()))), [A, B]);
        assert_eq!(
            cache.apply(ObservedKind::Pod, WatchEvent::Changed(pod(A, "b"))),
            [],
            "nothing that matters changed"
        );
        assert_eq!(
            cache.apply(ObservedKind::Pod, WatchEvent::Changed(ObservedObject { active: false, ..pod(A, "b") })),
            [A]
        );
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::Deleted(pod(A, "b"))), [A]);
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::Deleted(pod(B, "x"))), []);
    }

    #[test]
    fn reports_changes_found_after_a_lost_watch() {
        let mut cache = cache(&[ObservedKind::Pod]);
        cache.apply(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a"), pod(B, "b")]));
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a"), pod(B, "b2")])), [B]);
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::All(vec![pod(B, "b2")])), [A]);
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::All(vec![pod(B, "b2")])), []);
    }

    #[test]
    fn unavailable_kind_does_not_block_and_is_not_listed() {
        let mut cache = cache(&[ObservedKind::Pod, ObservedKind::Claim]);
        cache.apply(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a")]));
        let unavailable = WatchEvent::Unavailable(InfraError::denied("no"));
        assert_eq!(sorted(cache.apply(ObservedKind::Claim, unavailable)), [A, B]);
        let snapshot = cache.snapshot(A);
        assert_eq!((snapshot.objects, snapshot.listed), (vec![pod(A, "a")], BTreeSet::from([ObservedKind::Pod])));
        assert_eq!(sorted(cache.apply(ObservedKind::Claim, WatchEvent::All(Vec::new()))), [A, B]);
    }

    #[test]
    fn caches_objects_of_others_without_reporting_them() {
        let mut cache = NamespaceCache::default();
        cache.add_kinds(BTreeSet::from([ObservedKind::Pod]));
        cache.add_instance(A);
        cache.apply(ObservedKind::Pod, WatchEvent::All(Vec::new()));
        assert_eq!(cache.apply(ObservedKind::Pod, WatchEvent::Changed(pod(B, "b"))), []);
        assert!(cache.add_instance(B) && cache.is_complete());
        assert_eq!(cache.snapshot(B).objects, [pod(B, "b")]);
        assert!(!cache.remove_instance(A) && cache.remove_instance(B));
    }
}
