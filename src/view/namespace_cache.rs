//! What is seen in one namespace with one access: pure, fed by the watches, one per kind.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::domain::ids::VnfInstanceId;
use crate::domain::observation::{ObservedKind, ObservedObject};
use crate::infra::WatchEvent;

/// The objects of one kind of one instance, by uid.
type Objects = BTreeMap<String, ObservedObject>;

/// See the module's documentation.
#[derive(Default)]
pub struct NamespaceCache {
    /// The instances that are looked at. Others' objects are kept as well: their instantiation may be about to end.
    members: HashSet<VnfInstanceId>,
    /// The kinds that are watched.
    wanted: BTreeSet<ObservedKind>,
    /// Of these, what is there is known; of no others.
    known: HashMap<ObservedKind, HashMap<VnfInstanceId, Objects>>,
    /// These are not to be seen.
    hidden: BTreeSet<ObservedKind>,
}

/// What is seen of one instance.
pub struct InstanceSnapshot {
    /// Its objects.
    pub objects: Vec<ObservedObject>,
    /// The kinds of which all objects are in `objects`.
    pub known: BTreeSet<ObservedKind>,
}

impl NamespaceCache {
    /// The kinds of `kinds` that are to be watched from now on.
    pub fn want(&mut self, kinds: BTreeSet<ObservedKind>) -> Vec<ObservedKind> {
        kinds.into_iter().filter(|kind| self.wanted.insert(*kind)).collect()
    }

    /// Whether the instance is new here.
    pub fn enter(&mut self, instance: VnfInstanceId) -> bool {
        self.members.insert(instance)
    }

    /// The instance is gone. Whether it was the last.
    pub fn exit(&mut self, instance: VnfInstanceId) -> bool {
        self.members.remove(&instance);
        self.members.is_empty()
    }

    /// Whether every watch has told what there is, or that it can't.
    pub fn is_complete(&self) -> bool {
        self.wanted.iter().all(|kind| self.known.contains_key(kind) || self.hidden.contains(kind))
    }

    /// Whether it is known already that the kind is not to be seen.
    pub fn is_hidden(&self, kind: ObservedKind) -> bool {
        self.hidden.contains(&kind)
    }

    /// Takes in what the watch of a kind tells. Returns the members for which something that matters is not as it was;
    /// none before the room is complete, and all when it gets so.
    pub fn take(&mut self, kind: ObservedKind, sighting: WatchEvent) -> Vec<VnfInstanceId> {
        let was_complete = self.is_complete();
        let changed = match sighting {
            WatchEvent::All(objects) => self.replace(kind, objects),
            WatchEvent::Changed(seen) => {
                let instance = seen.instance;
                let objects = self.known.entry(kind).or_default().entry(instance).or_default();
                let changed = objects.get(&seen.uid) != Some(&seen);
                objects.insert(seen.uid.clone(), seen);
                changed.then_some(instance).into_iter().collect()
            }
            WatchEvent::Gone(seen) => {
                let of_kind = self.known.entry(kind).or_default();
                let Some(objects) = of_kind.get_mut(&seen.instance) else { return Vec::new() };
                let changed = objects.remove(&seen.uid).is_some();
                if objects.is_empty() {
                    of_kind.remove(&seen.instance);
                }
                changed.then_some(seen.instance).into_iter().collect()
            }
            // What was seen last may be long past.
            WatchEvent::Unavailable(_) => {
                self.known.remove(&kind);
                self.hidden.insert(kind);
                Vec::new()
            }
        };
        match (was_complete, self.is_complete()) {
            (true, true) => changed.into_iter().filter(|instance| self.members.contains(instance)).collect(),
            (false, true) => self.members.iter().copied().collect(),
            (_, false) => Vec::new(),
        }
    }

    /// All objects of a kind, at the beginning or after the watch was lost. Returns whose differ from what was known.
    fn replace(&mut self, kind: ObservedKind, objects: Vec<ObservedObject>) -> Vec<VnfInstanceId> {
        let mut now: HashMap<VnfInstanceId, Objects> = HashMap::new();
        for seen in objects {
            now.entry(seen.instance).or_default().insert(seen.uid.clone(), seen);
        }
        self.hidden.remove(&kind);
        let Some(before) = self.known.insert(kind, now) else {
            return self.members.iter().copied().collect();
        };
        let Some(now) = self.known.get(&kind) else { return Vec::new() };
        let all: HashSet<&VnfInstanceId> = before.keys().chain(now.keys()).collect();
        all.into_iter().filter(|instance| before.get(instance) != now.get(instance)).copied().collect()
    }

    /// What is seen of an instance now.
    pub fn sight(&self, instance: VnfInstanceId) -> InstanceSnapshot {
        let objects = self.known.values().filter_map(|of_kind| of_kind.get(&instance)).flat_map(BTreeMap::values);
        InstanceSnapshot { objects: objects.cloned().collect(), known: self.known.keys().copied().collect() }
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

    fn room(kinds: &[ObservedKind]) -> NamespaceCache {
        let mut room = NamespaceCache::default();
        room.want(kinds.iter().copied().collect());
        assert!(room.enter(A) && room.enter(B));
        room
    }

    fn told(mut instances: Vec<VnfInstanceId>) -> Vec<VnfInstanceId> {
        instances.sort_unstable();
        instances
    }

    #[test]
    fn all_are_told_of_once_every_kind_is_known_and_then_only_whose_objects_change() {
        let mut room = room(&[ObservedKind::Pod, ObservedKind::Deployment]);
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a")])), []);
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::Changed(pod(A, "b"))), []);
        assert_eq!(told(room.take(ObservedKind::Deployment, WatchEvent::All(Vec::new()))), [A, B]);
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::Changed(pod(A, "b"))), [], "nothing that matters changed");
        assert_eq!(
            room.take(ObservedKind::Pod, WatchEvent::Changed(ObservedObject { active: false, ..pod(A, "b") })),
            [A]
        );
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::Gone(pod(A, "b"))), [A]);
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::Gone(pod(B, "x"))), []);
    }

    #[test]
    fn a_list_after_a_lost_watch_tells_of_what_changed_meanwhile() {
        let mut room = room(&[ObservedKind::Pod]);
        room.take(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a"), pod(B, "b")]));
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a"), pod(B, "b2")])), [B]);
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::All(vec![pod(B, "b2")])), [A]);
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::All(vec![pod(B, "b2")])), []);
    }

    #[test]
    fn a_kind_that_is_hidden_holds_nobody_up_and_is_not_known() {
        let mut room = room(&[ObservedKind::Pod, ObservedKind::Claim]);
        room.take(ObservedKind::Pod, WatchEvent::All(vec![pod(A, "a")]));
        let hidden = WatchEvent::Unavailable(InfraError::denied("no"));
        assert_eq!(told(room.take(ObservedKind::Claim, hidden)), [A, B]);
        let sight = room.sight(A);
        assert_eq!((sight.objects, sight.known), (vec![pod(A, "a")], BTreeSet::from([ObservedKind::Pod])));
        assert_eq!(told(room.take(ObservedKind::Claim, WatchEvent::All(Vec::new()))), [A, B]);
    }

    #[test]
    fn others_objects_are_kept_for_when_they_enter_but_not_told_of() {
        let mut room = NamespaceCache::default();
        room.want(BTreeSet::from([ObservedKind::Pod]));
        room.enter(A);
        room.take(ObservedKind::Pod, WatchEvent::All(Vec::new()));
        assert_eq!(room.take(ObservedKind::Pod, WatchEvent::Changed(pod(B, "b"))), []);
        assert!(room.enter(B) && room.is_complete());
        assert_eq!(room.sight(B).objects, [pod(B, "b")]);
        assert!(!room.exit(A) && room.exit(B));
    }
}
