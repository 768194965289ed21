//! Updates that server-side apply cannot express. `crate::infra::kubernetes` makes them after the API server refused an apply.
//!
//! - The new manifest chooses another member of a union, such as another source of a volume. The defaults of the API server beside
//!   the old member have no owner. So server-side apply keeps them, and the API server refuses both members together.
//! - The manifest has two elements of the same key in a list, such as an environment variable twice. The API server accepts this when
//!   an object is created, but server-side apply does not.

use serde_json::{Map, Value};

use crate::domain::managed_fields::{OwnedFields, element_name, is_of_instance};

/// The object that `kubectl replace` would make of `live`, but with the fields that other managers own.
///
/// Where `intent` adds, changes or removes a member of an object, the members beside it that nobody owns are removed: the API server
/// sets its defaults again. Elsewhere they stay, and so do those of the metadata. `manager` is the field manager of the instance.
pub fn replacement(live: &Value, intent: &Map<String, Value>, manager: &str) -> Value {
    merged(live, intent, manager, false)
}

/// As [`replacement`], but removes members of the metadata only.
///
/// The creator of an object owns the defaults of the API server, too. In a Pod or a Job, neither they nor what admission and the scheduler
/// added beside them can be removed.
pub fn completion(live: &Value, intent: &Map<String, Value>, manager: &str) -> Value {
    merged(live, intent, manager, true)
}

fn merged(live: &Value, intent: &Map<String, Value>, manager: &str, keeps_all: bool) -> Value {
    let owners = Owners {
        ours: OwnedFields::of(live, |entry| is_of_instance(entry, manager)),
        others: OwnedFields::of(live, |entry| !is_of_instance(entry, manager)),
        keeps_all,
    };
    let Value::Object(members) = live else { return Value::Object(intent.clone()) };
    let mut merged = owners.merge_objects(members, intent, false);
    let metadata = intent.get("metadata").and_then(Value::as_object);
    if let (Some(Value::Object(old)), Some(new)) = (members.get("metadata"), metadata) {
        let owners = Owners { keeps_all: false, ..owners.child("f:metadata") };
        let metadata = owners.merge_objects(old, new, true);
        merged.insert("metadata".to_owned(), Value::Object(metadata));
    }
    Value::Object(merged)
}

/// The JSON Merge Patch (RFC 7386) that turns `from` into `to`; `None` if they are equal.
pub fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        (from, to) if from == to => None,
        (Value::Object(from), Value::Object(to)) => {
            let removed = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
            let set = to.iter().filter_map(|(name, value)| match from.get(name) {
                Some(old) => Some((name.clone(), merge_patch(old, value)?)),
                None => Some((name.clone(), value.clone())),
            });
            Some(removed.chain(set).collect::<Map<String, Value>>().into())
        }
        (_, to) => Some(to.clone()),
    }
}

/// The fields that Gybe and others own at one place in an object.
struct Owners<'a> {
    ours: OwnedFields<'a>,
    others: OwnedFields<'a>,
    /// Whether what the intent lacks stays.
    keeps_all: bool,
}

impl Owners<'_> {
    fn child(&self, field: &str) -> Self {
        Self { ours: self.ours.child(field), others: self.others.child(field), keeps_all: self.keeps_all }
    }

    fn merge(&self, live: &Value, intent: &Value) -> Value {
        match (live, intent) {
            // The selector of a workload, for example: Kubernetes replaces it as a whole.
            _ if self.ours.are_whole() || self.others.are_whole() => without_nulls(intent),
            (Value::Object(live), Value::Object(intent)) => self.merge_objects(live, intent, false).into(),
            (Value::Array(live), Value::Array(intent)) => self.merge_lists(live, intent).into(),
            _ => without_nulls(intent),
        }
    }

    fn merge_objects(
        &self,
        live: &Map<String, Value>,
        intent: &Map<String, Value>,
        keeps_unowned: bool,
    ) -> Map<String, Value> {
        let wanted = |name: &str| intent.get(name).filter(|value| !value.is_null());
        let is_removed = |name: &String| wanted(name).is_none() && !self.child(&format!("f:{name}")).ours.is_empty();
        let is_set = |(name, value): (&String, &Value)| match live.get(name) {
            None => !value.is_null(),
            Some(old) => !value.is_object() && !value.is_array() && !value.is_null() && old != value,
        };
        let drops_unowned = !keeps_unowned && (live.keys().any(is_removed) || intent.iter().any(is_set));
        let mut merged = Map::new();
        for (name, old) in live {
            let owners = self.child(&format!("f:{name}"));
            let value = match wanted(name) {
                Some(new) => Some(owners.merge(old, new)),
                None => owners.retained(old, drops_unowned),
            };
            merged.extend(value.map(|value| (name.clone(), value)));
        }
        let added = intent.iter().filter(|(name, value)| !live.contains_key(*name) && !value.is_null());
        merged.extend(added.map(|(name, value)| (name.clone(), without_nulls(value))));
        merged
    }

    /// A field that the intent lacks: without what is ours, and without what nobody owns if `drops_unowned`.
    fn retained(&self, value: &Value, drops_unowned: bool) -> Option<Value> {
        match (self.ours.is_empty(), self.others.is_empty(), value) {
            _ if self.keeps_all => Some(value.clone()),
            (true, true, _) => (!drops_unowned).then(|| value.clone()),
            (false, true, _) => None,
            (false, false, Value::Object(members)) => {
                let members = members.iter().filter_map(|(name, value)| {
                    Some((name.clone(), self.child(&format!("f:{name}")).retained(value, true)?))
                });
                Some(members.collect::<Map<String, Value>>().into())
            }
            (_, false, _) => Some(value.clone()),
        }
    }

    /// The elements of the intent in their order, then those of others.
    fn merge_lists(&self, live: &[Value], intent: &[Value]) -> Vec<Value> {
        let keys = match self.ours.merge_keys() {
            keys if keys.is_empty() => self.others.merge_keys(),
            keys => keys,
        };
        if keys.is_empty() {
            let is_set = self.others.has_values();
            let is_of_others = |value: &&Value| {
                is_set && !self.others.child(&format!("v:{value}")).is_empty() && !intent.contains(value)
            };
            return intent.iter().chain(live.iter().filter(is_of_others)).cloned().collect();
        }
        // A key that the manifest leaves out has its default.
        let same =
            |new: &Value, old: &Value| keys.iter().all(|key| new.get(key).is_none_or(|it| old.get(key) == Some(it)));
        let counterparts = |new: &Value| live.iter().filter(|old| same(new, old)).count();
        let merged = intent.iter().map(|new| match live.iter().find(|old| same(new, old)) {
            Some(old) if counterparts(new) == 1 && intent.iter().filter(|it| same(it, old)).count() == 1 => {
                self.child(&element_name(old, &keys)).merge(old, new)
            }
            _ => without_nulls(new),
        });
        let others = live.iter().filter(|old| !intent.iter().any(|new| same(new, old)));
        let others = others.filter_map(|old| self.child(&element_name(old, &keys)).retained(old, false));
        merged.chain(others).collect()
    }
}

/// The value without the members that are null: a manifest means their absence.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            members.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<String, Value>>().into()
        }
        Value::Array(elements) => elements.iter().map(without_nulls).collect::<Vec<_>>().into(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An object whose manager `us` applied `ours`, and others own `others`.
    fn live(spec: Value, ours: Value, others: Value) -> Value {
        let entry =
            |manager: &str, fields: Value| json!({ "manager": manager, "operation": "Apply", "fieldsV1": fields });
        let managed = [entry("us", json!({ "f:spec": ours })), entry("them", json!({ "f:spec": others }))];
        json!({ "metadata": { "name": "x", "uid": "1", "managedFields": managed }, "spec": spec })
    }

    fn spec_of(live: &Value, spec: Value) -> Value {
        let intent = json!({ "metadata": { "name": "x" }, "spec": spec });
        replacement(live, intent.as_object().unwrap(), "us")["spec"].clone()
    }

    #[test]
    fn the_defaults_beside_a_changed_member_go() {
        let defaults =
            json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } }, "limit": 10 });
        let object = live(defaults, json!({ "f:x": {} }), json!({ "f:x": {} }));
        let recreate = json!({ "strategy": { "type": "Recreate" } });
        assert_eq!(spec_of(&object, recreate), json!({ "strategy": { "type": "Recreate" }, "limit": 10 }));
    }

    #[test]
    fn another_source_replaces_the_source_of_a_volume() {
        let volume = json!({ "volumes": [{ "name": "a", "configMap": { "name": "c", "defaultMode": 420 } }] });
        let ours = json!({ "f:volumes": { r#"k:{"name":"a"}"#: { "f:name": {}, "f:configMap": { "f:name": {} } } } });
        let wanted = json!({ "volumes": [{ "name": "a", "secret": { "secretName": "s" } }] });
        assert_eq!(spec_of(&live(volume, ours, json!({ "f:x": {} })), wanted.clone()), wanted);
    }

    #[test]
    fn what_others_own_stays() {
        let spec = json!({ "replicas": 5, "env": [{ "name": "A", "value": "1" }, { "name": "THEIRS", "value": "2" }],
            "finalizers": ["a", "b"] });
        let ours = json!({ "f:env": { r#"k:{"name":"A"}"#: { "f:name": {}, "f:value": {} } }, "f:finalizers": { "v:\"a\"": {} } });
        let others = json!({ "f:replicas": {}, "f:env": { r#"k:{"name":"THEIRS"}"#: { "f:name": {}, "f:value": {} } },
            "f:finalizers": { "v:\"b\"": {} } });
        let wanted = json!({ "env": [{ "name": "A", "value": "x" }, { "name": "A", "value": "y" }], "finalizers": [] });
        let expected = json!({ "replicas": 5, "finalizers": ["b"], "env": [{ "name": "A", "value": "x" },
            { "name": "A", "value": "y" }, { "name": "THEIRS", "value": "2" }] });
        assert_eq!(spec_of(&live(spec, ours, others), wanted), expected);
    }

    #[test]
    fn what_we_applied_before_and_do_not_state_any_more_goes() {
        let object =
            live(json!({ "a": 1, "b": { "c": 2 } }), json!({ "f:a": {}, "f:b": { "f:c": {} } }), json!({ "f:x": {} }));
        assert_eq!(spec_of(&object, json!({ "a": 1 })), json!({ "a": 1 }));
    }

    #[test]
    fn a_completion_removes_nothing_but_metadata() {
        let spec = json!({ "dnsPolicy": "ClusterFirst", "nodeName": "n", "c": [{ "name": "a", "env": ["x"], "mounts": ["m"] }] });
        let ours =
            json!({ "f:dnsPolicy": {}, "f:c": { r#"k:{"name":"a"}"#: { "f:name": {}, "f:policy": {}, "f:env": {} } } });
        let mut object = live(spec.clone(), ours, json!({ "f:x": {} }));
        object["metadata"]["labels"] = json!({ "old": "1" });
        object["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"] = json!({ "f:labels": { "f:old": {} } });
        let intent = json!({ "metadata": { "name": "x" }, "spec": { "c": [{ "name": "a", "env": ["x"] }] } });
        let completed = completion(&object, intent.as_object().unwrap(), "us");
        assert_eq!((&completed["spec"], completed["metadata"].get("labels")), (&spec, None));
        let replaced = replacement(&object, intent.as_object().unwrap(), "us");
        assert_eq!(replaced["spec"].get("nodeName"), None);
    }

    #[test]
    fn a_field_that_is_owned_as_a_whole_is_replaced_as_a_whole() {
        let object =
            live(json!({ "selector": { "a": "1", "b": "2" } }), json!({ "f:x": {} }), json!({ "f:selector": {} }));
        let wanted = json!({ "selector": { "a": "1" } });
        assert_eq!(spec_of(&object, wanted.clone()), wanted);
    }

    #[test]
    fn unowned_metadata_stays() {
        let object = json!({ "metadata": { "name": "x", "uid": "1", "finalizers": ["f"], "labels": { "old": "1" },
            "managedFields": [{ "manager": "us", "fieldsV1": { "f:metadata": { "f:labels": { "f:old": {} } } } }] } });
        let intent = json!({ "metadata": { "name": "x", "labels": { "new": "1" } } });
        let replaced = replacement(&object, intent.as_object().unwrap(), "us");
        assert_eq!(replaced.pointer("/metadata/finalizers"), Some(&json!(["f"])));
        assert_eq!(replaced.pointer("/metadata/labels"), Some(&json!({ "new": "1" })));
        assert_eq!(replaced.pointer("/metadata/uid"), Some(&json!("1")));
    }

    #[test]
    fn a_merge_patch_holds_only_what_changes() {
        let (from, to) =
            (json!({ "a": 1, "b": { "c": [1], "d": 2 }, "e": 3 }), json!({ "a": 1, "b": { "c": [2], "d": 2 } }));
        assert_eq!(merge_patch(&from, &to), Some(json!({ "b": { "c": [2] }, "e": null })));
        assert_eq!(merge_patch(&to, &to), None);
    }
}
