//! Reads `metadata.managedFields`: which fields of an object each field manager owns (Kubernetes documentation, "Server-Side Apply").
//!
//! A `FieldsV1` tree names a member `f:<name>`, an element of a list `k:<its keys as JSON>` or `v:<value>`. An empty tree stands for
//! a field that is owned as a whole.

use serde_json::{Map, Value};

/// The trees of some field managers at one place in an object.
#[derive(Clone, Debug, Default)]
pub struct OwnedFields<'a>(Vec<&'a Value>);

impl<'a> OwnedFields<'a> {
    /// The trees at the root of `object`, of the entries of `managedFields` that `includes` accepts.
    pub fn of(object: &'a Value, includes: impl Fn(&Value) -> bool) -> Self {
        let entries = entries(object).iter().filter(|entry| includes(entry));
        Self(entries.filter_map(|entry| entry.get("fieldsV1")).collect())
    }

    /// The trees one level below, at the field of this `FieldsV1` name. Who owns a field as a whole owns all below it.
    #[must_use]
    pub fn child(&self, field: &str) -> Self {
        Self(self.0.iter().filter_map(|fields| within(fields, field)).collect())
    }

    /// Whether nobody owns this place, or anything below it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody owns this place as a whole.
    pub fn are_whole(&self) -> bool {
        self.0.iter().any(|fields| fields.as_object().is_some_and(Map::is_empty))
    }

    /// Whether the list at this place is a set, whose values have owners each.
    pub fn has_values(&self) -> bool {
        self.0.iter().filter_map(|fields| fields.as_object()).flat_map(Map::keys).any(|name| name.starts_with("v:"))
    }

    /// The members that identify the elements of the list at this place; none for a list that is not merged by keys.
    pub fn merge_keys(&self) -> Vec<String> {
        merge_keys(&self.0)
    }
}

/// The entries of `metadata.managedFields`.
pub fn entries(object: &Value) -> &[Value] {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.map(Vec::as_slice).unwrap_or_default()
}

/// The name of the manager of an entry.
pub fn manager(entry: &Value) -> &str {
    entry.get("manager").and_then(Value::as_str).unwrap_or_default()
}

/// The tree below `fields` at the field of this name; `fields` itself if it stands for everything below.
pub fn within<'a>(fields: &'a Value, field: &str) -> Option<&'a Value> {
    let is_leaf = fields.as_object().is_some_and(Map::is_empty);
    if is_leaf { Some(fields) } else { fields.get(field) }
}

/// The members that identify the elements of a list, according to the trees at its place.
pub fn merge_keys(fields: &[&Value]) -> Vec<String> {
    let names = fields.iter().filter_map(|fields| fields.as_object()).flat_map(Map::keys);
    let mut keys = names.filter_map(|name| serde_json::from_str::<Map<String, Value>>(name.strip_prefix("k:")?).ok());
    keys.next().map(|key| key.into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
}

/// The `FieldsV1` name of an element of a list that is merged by `keys`: in the order of their names.
pub fn element_name(element: &Value, keys: &[String]) -> String {
    let members: Map<String, Value> =
        keys.iter().filter_map(|key| Some((key.clone(), element.get(key)?.clone()))).collect();
    format!("k:{}", Value::Object(members))
}

/// Whether an entry is of Gybe for the VNF instance whose field manager is `manager`: its applies, or its replacements
/// ([`replacement_manager`]).
pub fn is_of_instance(entry: &Value, manager: &str) -> bool {
    let name = self::manager(entry);
    name == manager || name == replacement_manager(manager)
}

/// The field manager of the updates that server-side apply cannot express: [`crate::domain::replacement`].
pub fn replacement_manager(manager: &str) -> String {
    format!("{manager}-replacement")
}

/// The `managedFields` of `object`, with the fields of our replacements among those of our applies.
pub fn merged_into_apply(object: &Value, manager: &str) -> Vec<Value> {
    let replacements = replacement_manager(manager);
    let (replaced, mut kept): (Vec<Value>, Vec<Value>) =
        entries(object).iter().cloned().partition(|entry| self::manager(entry) == replacements);
    let is_apply = |entry: &&mut Value| {
        self::manager(entry) == manager && entry.get("operation").and_then(Value::as_str) == Some("Apply")
    };
    if let Some(fields) = kept.iter_mut().find_map(|entry| Some(entry).filter(is_apply)?.get_mut("fieldsV1")) {
        replaced.iter().filter_map(|entry| entry.get("fieldsV1")).for_each(|more| unite(fields, more));
    }
    kept
}

fn unite(fields: &mut Value, more: &Value) {
    if let (Value::Object(fields), Value::Object(more)) = (fields, more) {
        for (name, more) in more {
            unite(fields.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())), more);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_of_a_replacement_become_those_of_our_applies() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({ "manager": manager, "operation": operation, "fieldsV1": fields });
        let (ours, theirs) = (json!({ "f:spec": { "f:a": {} } }), json!({ "f:status": {} }));
        let replaced = json!({ "f:spec": { "f:b": { "f:c": {} } } });
        let object = json!({ "metadata": { "managedFields": [entry("us", "Apply", ours),
            entry("us-replacement", "Update", replaced), entry("them", "Update", theirs.clone())] } });
        let merged = json!({ "f:spec": { "f:a": {}, "f:b": { "f:c": {} } } });
        assert_eq!(merged_into_apply(&object, "us"), [entry("us", "Apply", merged), entry("them", "Update", theirs)]);
    }

    #[test]
    fn the_owner_of_a_whole_field_owns_all_below_it() {
        let object = json!({ "metadata": { "managedFields": [{ "manager": "us", "fieldsV1": { "f:spec": {} } }] } });
        let fields = OwnedFields::of(&object, |_| true);
        assert!(!fields.child("f:spec").child("f:replicas").is_empty());
        assert!(fields.child("f:status").is_empty());
    }
}
