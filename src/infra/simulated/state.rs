//! The objects of a simulated cluster, their latest changes, and the bounds of both.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;

/// The most objects, pods and events included.
const MAX_OBJECTS: usize = 10_000;
/// The most bytes of all objects, as JSON.
const MAX_BYTES: usize = 32 << 20;
/// The most changes, and bytes of changed objects, that a watch can go back.
const MAX_CHANGES: usize = 2000;
const MAX_CHANGED_BYTES: usize = 8 << 20;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The API group; empty for the core group.
    pub group: String,
    pub plural: String,
    /// Empty for an object of the cluster.
    pub namespace: String,
    pub name: String,
}

impl Place {
    /// The place of another object of the same namespace.
    pub fn beside(&self, group: &str, plural: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            plural: plural.to_owned(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl ChangeKind {
    /// The type of the event of a watch.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// A change, for watches.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub version: u64,
    pub kind: ChangeKind,
    pub place: Place,
    pub object: Arc<Value>,
    bytes: usize,
}

/// The changes since a version are not kept any more.
#[derive(Debug)]
pub(super) struct Forgotten;

/// The contents of a cluster.
#[derive(Default)]
pub(super) struct State {
    objects: BTreeMap<Place, (Arc<Value>, usize)>,
    bytes: usize,
    version: u64,
    changes: VecDeque<Change>,
    changed_bytes: usize,
    /// Pods that start, with their uids, and when they have.
    pub starting: BTreeMap<Place, (String, OffsetDateTime)>,
}

impl State {
    /// The version of the latest change.
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, place: &Place) -> Option<&Arc<Value>> {
        self.objects.get(place).map(|(object, _)| object)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &Arc<Value>)> {
        self.objects.iter().map(|(place, (object, _))| (place, object))
    }

    /// The objects of a kind, of a namespace or (an empty name) of all.
    pub fn of_kind<'a>(
        &'a self,
        group: &'a str,
        plural: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Place, &'a Arc<Value>)> {
        let first = Place {
            group: group.to_owned(),
            plural: plural.to_owned(),
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let rest = self.objects.range(first..).map(|(place, (object, _))| (place, object));
        rest.take_while(move |(place, _)| {
            place.group == group && place.plural == plural && (namespace.is_empty() || place.namespace == namespace)
        })
    }

    /// Whether an object of that many bytes may be added, or take the place of one.
    pub fn has_room(&self, place: &Place, bytes: usize) -> bool {
        let (number, before) = match self.objects.get(place) {
            Some((_, before)) => (self.objects.len(), *before),
            None => (self.objects.len() + 1, 0),
        };
        number <= MAX_OBJECTS && self.bytes - before + bytes <= MAX_BYTES
    }

    /// Writes an object with a new version.
    pub fn put(&mut self, place: Place, mut object: Value) -> Arc<Value> {
        self.version += 1;
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.insert("resourceVersion".to_owned(), self.version.to_string().into());
        }
        let bytes = size(&object);
        let object = Arc::new(object);
        let before = self.objects.insert(place.clone(), (Arc::clone(&object), bytes));
        let kind = if before.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.bytes = self.bytes + bytes - before.map_or(0, |(_, bytes)| bytes);
        self.record(kind, place, Arc::clone(&object), bytes);
        object
    }

    /// Replaces the status, if it differs.
    pub fn put_status(&mut self, place: &Place, status: Value) {
        let Some(object) = self.get(place).filter(|object| object.get("status") != Some(&status)) else { return };
        let mut object = Value::clone(object);
        object["status"] = status;
        self.put(place.clone(), object);
    }

    /// Deletes an object.
    pub fn remove(&mut self, place: &Place) -> Option<Arc<Value>> {
        let (object, bytes) = self.objects.remove(place)?;
        self.bytes -= bytes;
        self.version += 1;
        self.starting.remove(place);
        let mut last = Value::clone(&object);
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.record(ChangeKind::Deleted, place.clone(), Arc::new(last), bytes);
        Some(object)
    }

    fn record(&mut self, kind: ChangeKind, place: Place, object: Arc<Value>, bytes: usize) {
        self.changes.push_back(Change { version: self.version, kind, place, object, bytes });
        self.changed_bytes += bytes;
        while self.changes.len() > MAX_CHANGES || (self.changed_bytes > MAX_CHANGED_BYTES && self.changes.len() > 1) {
            let forgotten = self.changes.pop_front().map_or(0, |change| change.bytes);
            self.changed_bytes -= forgotten;
        }
    }

    /// The changes after `version`, in their order.
    ///
    /// # Errors
    /// [`Forgotten`]: list the objects again.
    pub fn changes_after(&self, version: u64) -> Result<impl Iterator<Item = &Change>, Forgotten> {
        let oldest = self.changes.front().map_or(self.version + 1, |change| change.version);
        if version + 1 < oldest || version > self.version {
            return Err(Forgotten);
        }
        let known = self.changes.partition_point(|change| change.version <= version);
        Ok(self.changes.range(known..))
    }
}

/// Bytes of an object, as JSON.
pub(super) fn size(object: &Value) -> usize {
    object.to_string().len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(name: &str) -> Place {
        let [group, plural, namespace] = ["", "configmaps", "a"].map(str::to_owned);
        Place { group, plural, namespace, name: name.to_owned() }
    }

    #[test]
    fn objects_and_changes_are_bounded() {
        let mut state = State::default();
        let object = || json!({ "metadata": {}, "data": { "x": "y".repeat(16 << 10) } });
        let mut number = 0;
        while state.has_room(&place(&number.to_string()), size(&object())) {
            state.put(place(&number.to_string()), object());
            number += 1;
        }
        assert!(number > 1000 && number < MAX_OBJECTS, "{number}");
        assert!(state.changed_bytes <= MAX_CHANGED_BYTES && state.bytes <= MAX_BYTES);
        assert!(state.has_room(&place("0"), size(&object())), "an object may be replaced");
        assert!(state.changes_after(1).is_err() && state.changes_after(state.version() + 1).is_err());
        for number in 0..number {
            state.remove(&place(&number.to_string()));
        }
        assert_eq!((state.bytes, state.iter().count()), (0, 0));
        assert!(state.changes.len() <= MAX_CHANGES);
    }

    #[test]
    fn a_watch_gets_the_changes_after_its_version() {
        let mut state = State::default();
        state.put(place("a"), json!({ "metadata": {} }));
        let seen = state.version();
        state.put(place("a"), json!({ "metadata": {}, "data": 1 }));
        state.put_status(&place("a"), json!({ "phase": "x" }));
        state.put_status(&place("a"), json!({ "phase": "x" }));
        state.remove(&place("a"));
        let kinds: Vec<ChangeKind> = state.changes_after(seen).unwrap().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::Modified, ChangeKind::Modified, ChangeKind::Deleted]);
        assert_eq!(state.changes_after(state.version()).unwrap().count(), 0);
    }
}
