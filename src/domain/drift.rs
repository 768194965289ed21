//! Drift: what differs between an object in its cluster and its intent, and whose doing it is.
//!
//! Pure. The cluster is asked by `crate::infra`, which has the API server say what applying the intent again would make of
//! the object (a dry run), and compares that with the object as it is: so defaults, quantities and merged lists count as
//! Kubernetes counts them, and what differs is exactly what a heal would change.

use serde_json::{Map, Value};

use crate::domain::resource::ObjectKey;

/// How an object stands to its intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftState {
    /// It is as intended.
    InSync,
    /// It is there and not as intended.
    Changed,
    /// It is not there.
    Missing,
    /// There is an object of that name that is not this VNF instance's.
    Foreign,
}

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectDrift {
    /// Which object.
    pub key: ObjectKey,
    /// How it stands to its intent.
    pub state: DriftState,
    /// What more there is to say, such as why the intent can't be applied to it any more.
    pub detail: Option<String>,
    /// Where it differs, if it is CHANGED.
    pub differences: Vec<Difference>,
}

/// A place where an object differs from its intent.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// JSON pointer (RFC 6901) into the object as it is; `-` in it: an element that the list does not have.
    pub path: String,
    /// What the intent makes of it; `None`: nothing should be there.
    pub intended: Option<Value>,
    /// What is there; `None`: nothing is.
    pub actual: Option<Value>,
    /// Who set what is there, if it shows. What was removed has nobody's name on it.
    pub author: Option<Author>,
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

/// Where `actual` differs from `intended`, which is the same object after the intent was applied to it (as a dry run) by
/// the field manager `manager`. What the API server itself keeps (status, generation, managed fields) is left out.
pub fn differences(actual: &Value, intended: &Value, manager: &str) -> Vec<Difference> {
    let entries = |object: &'_ Value| -> Vec<Value> {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        entries.cloned().unwrap_or_default()
    };
    let (others, after) = (entries(actual), entries(intended));
    let is_ours = |entry: &&Value| entry.get("manager").and_then(Value::as_str) == Some(manager);
    let ours = after.iter().filter(is_ours).filter_map(|entry| entry.get("fieldsV1"));
    let others =
        others.iter().filter(|entry| !is_ours(entry)).filter_map(|entry| Some((entry, entry.get("fieldsV1")?)));
    let place = ElementPath { path: String::new(), shapes: ours.collect(), owners: others.collect() };
    let mut found = Vec::new();
    place.compare(Some(&stripped(actual)), Some(&stripped(intended)), &mut found);
    found
}

/// The object without what no intent has a say in.
fn stripped(object: &Value) -> Value {
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

/// A place in an object, with what managed fields (`FieldsV1`) say of it.
struct ElementPath<'a> {
    path: String,
    /// What the applied intent has there: tells how a list is merged.
    shapes: Vec<&'a Value>,
    /// Which other manager has what there.
    owners: Vec<(&'a Value, &'a Value)>,
}

impl<'a> ElementPath<'a> {
    /// The place below, under `token` of the path and `field` of `FieldsV1`.
    fn below(&self, token: &str, field: &str) -> Self {
        let token = token.replace('~', "~0").replace('/', "~1");
        // A manager that has a place as a whole (a leaf) has what is below it.
        let within = |fields: &'a Value| if is_leaf(fields) { Some(fields) } else { fields.get(field) };
        Self {
            path: format!("{}/{token}", self.path),
            shapes: self.shapes.iter().filter_map(|fields| fields.get(field)).collect(),
            owners: self.owners.iter().filter_map(|(entry, fields)| Some((*entry, within(fields)?))).collect(),
        }
    }

    fn compare(&self, actual: Option<&Value>, intended: Option<&Value>, found: &mut Vec<Difference>) {
        match (actual, intended) {
            (actual, intended) if actual == intended => {}
            (Some(Value::Object(actual)), Some(Value::Object(intended))) => {
                let added = intended.keys().filter(|name| !actual.contains_key(*name));
                for name in actual.keys().chain(added) {
                    self.below(name, &format!("f:{name}")).compare(actual.get(name), intended.get(name), found);
                }
            }
            (Some(Value::Array(actual)), Some(Value::Array(intended))) if !self.merge_keys().is_empty() => {
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

    /// Compares lists whose elements Kubernetes tells apart by some of their members, in whatever order they are.
    fn compare_elements(&self, actual: &[Value], intended: &[Value], found: &mut Vec<Difference>) {
        let keys = self.merge_keys();
        let same = |a: &Value, b: &Value| keys.iter().all(|key| a.get(key) == b.get(key));
        for (index, element) in actual.iter().enumerate() {
            let twin = intended.iter().find(|other| same(element, other));
            self.below(&index.to_string(), &field_of(element, &keys)).compare(Some(element), twin, found);
        }
        for element in intended.iter().filter(|element| !actual.iter().any(|other| same(element, other))) {
            self.below("-", &field_of(element, &keys)).compare(None, Some(element), found);
        }
    }

    /// The members that tell the elements of the list apart; none if it is no such list.
    fn merge_keys(&self) -> Vec<String> {
        let fields = self.shapes.iter().filter_map(|fields| fields.as_object()).flat_map(Map::keys);
        let mut keys =
            fields.filter_map(|field| serde_json::from_str::<Map<String, Value>>(field.strip_prefix("k:")?).ok());
        keys.next().map(|key| key.into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
    }

    /// The manager that has this place, or something below it; of several the last to come.
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

fn is_leaf(fields: &Value) -> bool {
    fields.as_object().is_some_and(Map::is_empty)
}

/// The `FieldsV1` name of a list's element: `k:` and its keys, as JSON with the names in order.
fn field_of(element: &Value, keys: &[String]) -> String {
    let members: Map<String, Value> =
        keys.iter().filter_map(|key| Some((key.clone(), element.get(key)?.clone()))).collect();
    format!("k:{}", Value::Object(members))
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
    fn what_the_api_server_keeps_is_no_drift() {
        let actual = json!({ "metadata": { "resourceVersion": "7", "generation": 2 }, "status": { "replicas": 3 } });
        let intended = json!({ "metadata": { "resourceVersion": "7", "generation": 3 }, "status": {} });
        assert_eq!(differences(&actual, &intended, "us"), []);
    }

    #[test]
    fn a_changed_field_is_its_managers() {
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
    fn elements_are_told_apart_by_their_keys_in_whatever_order() {
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
    fn a_list_without_keys_differs_as_a_whole_and_names_are_escaped() {
        let actual = json!({ "metadata": { "annotations": { "a.b/c~d": "x" } }, "args": [1, 2] });
        let intended = json!({ "metadata": { "annotations": {} }, "args": [2, 1] });
        assert_eq!(
            paths(&differences(&actual, &intended, "us")),
            [("/args", None), ("/metadata/annotations/a.b~1c~0d", None)]
        );
    }
}
