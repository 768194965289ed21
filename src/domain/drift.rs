//! Drift: where an object in its cluster differs from its intent, and who changed it.
//!
//! `crate::infra` applies the intent as a dry run and compares the result with the object. So defaults, quantities and merged lists
//! are compared as Kubernetes compares them, and the differences are exactly what a heal would change.

use serde_json::Value;

use crate::domain::managed_fields::{element_name, entries, is_of_instance, merge_keys, within};
use crate::domain::mask::{Mask, change_texts};
use crate::domain::resource::ObjectKey;

/// An object compared with its intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftState {
    /// The object is as intended.
    InSync,
    /// The object exists and differs.
    Changed,
    /// The object does not exist.
    Missing,
    /// An object of that name belongs to somebody else.
    Foreign,
}

/// The drift of one object of the inventory.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectDrift {
    /// Which object.
    pub key: ObjectKey,
    pub state: DriftState,
    /// An explanation, such as why the intent cannot be applied any more.
    pub detail: Option<String>,
    /// The differences of an object that is CHANGED.
    pub differences: Vec<Difference>,
}

impl ObjectDrift {
    /// Hides the secrets that `mask` knows.
    pub fn mask(&mut self, mask: &Mask) {
        if let Some(detail) = &mut self.detail {
            *detail = mask.apply(detail);
        }
        self.differences.iter_mut().for_each(|difference| difference.mask(mask));
    }
}

/// A field that differs from the intent.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// JSON pointer (RFC 6901) into the actual object; `-` stands for an element that its list lacks.
    pub path: String,
    /// The intended value; `None` if the field should be absent.
    pub intended: Option<Value>,
    /// The actual value; `None` if the field is absent.
    pub actual: Option<Value>,
    /// Who set the actual value, if known. Nobody is recorded for a field that was removed.
    pub author: Option<Author>,
}

impl Difference {
    /// Hides the secrets that `mask` knows.
    pub fn mask(&mut self, mask: &Mask) {
        for value in self.intended.iter_mut().chain(&mut self.actual) {
            change_texts(value, &mut |text| *text = mask.hide_values(text));
        }
    }
}

/// Who set a field, as `metadata.managedFields` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The field manager, such as `kubectl-edit`.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: Option<String>,
    /// When, in RFC 3339.
    pub time: Option<String>,
}

/// The differences between `actual` and `intended`, the result of applying the intent to it as a dry run with the field manager
/// `manager`. Leaves out the fields that the API server maintains: status, generation, managed fields.
pub fn differences(actual: &Value, intended: &Value, manager: &str) -> Vec<Difference> {
    let is_ours = |entry: &&Value| is_of_instance(entry, manager);
    let ours = entries(intended).iter().filter(is_ours).filter_map(|entry| entry.get("fieldsV1"));
    let others = entries(actual).iter().filter(|entry| !is_ours(entry));
    let others = others.filter_map(|entry| Some((entry, entry.get("fieldsV1")?)));
    let root = ElementPath { path: String::new(), intent_fields: ours.collect(), owners: others.collect() };
    let mut found = Vec::new();
    root.compare(Some(&without_server_fields(actual)), Some(&without_server_fields(intended)), &mut found);
    found
}

/// The object without the fields that the API server maintains.
fn without_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(members) = &mut object {
        members.remove("status");
        if let Some(Value::Object(metadata)) = members.get_mut("metadata") {
            for name in ["managedFields", "resourceVersion", "generation", "creationTimestamp"] {
                metadata.remove(name);
            }
        }
    }
    object
}

/// A path into an object, with the managed fields (`FieldsV1`) at it.
struct ElementPath<'a> {
    path: String,
    /// The fields of the applied intent: they show how Kubernetes merges a list.
    intent_fields: Vec<&'a Value>,
    /// The fields of each other manager, with its entry.
    owners: Vec<(&'a Value, &'a Value)>,
}

impl<'a> ElementPath<'a> {
    /// The path of a child: `token` in the path, `field` in `FieldsV1`.
    fn child(&self, token: &str, field: &str) -> Self {
        let token = token.replace('~', "~0").replace('/', "~1");
        Self {
            path: format!("{}/{token}", self.path),
            intent_fields: self.intent_fields.iter().filter_map(|fields| fields.get(field)).collect(),
            owners: self.owners.iter().filter_map(|(entry, fields)| Some((*entry, within(fields, field)?))).collect(),
        }
    }

    fn compare(&self, actual: Option<&Value>, intended: Option<&Value>, found: &mut Vec<Difference>) {
        match (actual, intended) {
            (actual, intended) if actual == intended => {}
            (Some(Value::Object(actual)), Some(Value::Object(intended))) => {
                let added = intended.keys().filter(|name| !actual.contains_key(*name));
                for name in actual.keys().chain(added) {
                    self.child(name, &format!("f:{name}")).compare(actual.get(name), intended.get(name), found);
                }
            }
            (Some(Value::Array(actual)), Some(Value::Array(intended)))
                if !merge_keys(&self.intent_fields).is_empty() =>
            {
                self.compare_elements(actual, intended, found);
            }
            _ => found.push(Difference {
                path: self.path.clone(),
                intended: intended.cloned(),
                actual: actual.cloned(),
                author: actual.and_then(|_| self.author()),
            }),
        }
    }

    /// Compares lists whose elements Kubernetes identifies by some of their members; the order does not matter.
    fn compare_elements(&self, actual: &[Value], intended: &[Value], found: &mut Vec<Difference>) {
        let keys = merge_keys(&self.intent_fields);
        let same = |a: &Value, b: &Value| keys.iter().all(|key| a.get(key) == b.get(key));
        for (index, element) in actual.iter().enumerate() {
            let counterpart = intended.iter().find(|other| same(element, other));
            self.child(&index.to_string(), &element_name(element, &keys)).compare(Some(element), counterpart, found);
        }
        for element in intended.iter().filter(|element| !actual.iter().any(|other| same(element, other))) {
            self.child("-", &element_name(element, &keys)).compare(None, Some(element), found);
        }
    }

    /// The manager that owns this field, or a field below it; the latest of several.
    fn author(&self) -> Option<Author> {
        let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let authors = self.owners.iter().filter_map(|(entry, _)| {
            Some(Author {
                manager: text(entry, "manager")?,
                operation: text(entry, "operation"),
                time: text(entry, "time"),
            })
        });
        authors.max_by(|a, b| a.time.cmp(&b.time))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(manager: &str, time: &str, fields: Value) -> Value {
        json!({ "manager": manager, "operation": "Update", "time": time, "fieldsV1": fields })
    }

    fn paths(found: &[Difference]) -> Vec<(&str, Option<&str>)> {
        found.iter().map(|it| (it.path.as_str(), it.author.as_ref().map(|author| author.manager.as_str()))).collect()
    }

    #[test]
    fn fields_of_the_api_server_are_no_drift() {
        let actual = json!({ "metadata": { "resourceVersion": "7", "generation": 2 }, "status": { "replicas": 3 } });
        let intended = json!({ "metadata": { "resourceVersion": "7", "generation": 3 }, "status": {} });
        assert_eq!(differences(&actual, &intended, "us"), []);
    }

    #[test]
    fn hides_known_secrets_in_values_and_detail() {
        let difference = |value: Value| Difference {
            path: "/data/x".to_owned(),
            intended: Some(value.clone()),
            actual: Some(value),
            author: None,
        };
        let mut drift = ObjectDrift {
            key: ObjectKey { api_version: "v1".to_owned(), kind: "ConfigMap".to_owned(), name: "x".to_owned() },
            state: DriftState::Changed,
            detail: Some("not s3cr3t-value".to_owned()),
            differences: vec![difference(json!(["a\ns3cr3t-value", { "tokenPath": "/run/t" }]))],
        };
        drift.mask(&Mask::with_credentials(&[], ["s3cr3t-value"]));
        assert_eq!(drift.detail.as_deref(), Some("not ***"));
        assert_eq!(drift.differences, [difference(json!(["a\n***", { "tokenPath": "/run/t" }]))]);
    }

    #[test]
    fn names_the_latest_manager_of_a_changed_field() {
        let managed = [
            owned("early", "2026-01-01T00:00:00Z", json!({ "f:spec": { "f:replicas": {} } })),
            owned("late", "2026-01-02T00:00:00Z", json!({ "f:spec": { "f:replicas": {} } })),
            owned("other", "2026-01-03T00:00:00Z", json!({ "f:spec": { "f:paused": {} } })),
            owned("us", "2026-01-04T00:00:00Z", json!({ "f:spec": { "f:replicas": {} } })),
        ];
        let actual = json!({ "metadata": { "managedFields": managed }, "spec": { "replicas": 3, "paused": true } });
        let intended = json!({ "metadata": {}, "spec": { "replicas": 1, "paused": true } });
        let found = differences(&actual, &intended, "us");
        assert_eq!(paths(&found), [("/spec/replicas", Some("late"))]);
        assert_eq!((&found[0].intended, &found[0].actual), (&Some(json!(1)), &Some(json!(3))));
    }

    #[test]
    fn compares_elements_by_their_keys_in_any_order() {
        let shape = json!({ "f:env": { r#"k:{"name":"A"}"#: {}, r#"k:{"name":"B"}"#: {}, r#"k:{"name":"C"}"#: {} } });
        let other = json!({ "f:env": { r#"k:{"name":"A"}"#: { "f:value": {} } } });
        let actual = json!({
            "metadata": { "managedFields": [owned("them", "2026-01-01T00:00:00Z", other)] },
            "env": [{ "name": "B", "value": "2" }, { "name": "A", "value": "other" }],
        });
        let intended = json!({
            "metadata": { "managedFields": [owned("us", "2026-01-01T00:00:00Z", shape)] },
            "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }, { "name": "C", "value": "3" }],
        });
        let found = differences(&actual, &intended, "us");
        assert_eq!(paths(&found), [("/env/1/value", Some("them")), ("/env/-", None)]);
        assert_eq!(found[1].intended, Some(json!({ "name": "C", "value": "3" })));
    }

    #[test]
    fn compares_a_list_without_keys_as_a_whole_and_escapes_names() {
        let actual = json!({ "metadata": { "annotations": { "a.b/c~d": "x" } }, "args": [1, 2] });
        let intended = json!({ "metadata": { "annotations": {} }, "args": [2, 1] });
        assert_eq!(
            paths(&differences(&actual, &intended, "us")),
            [("/args", None), ("/metadata/annotations/a.b~1c~0d", None)]
        );
    }
}
