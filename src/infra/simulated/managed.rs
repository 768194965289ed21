//! The fields that an apply owns, in the answer to a dry run: they tell which lists are merged by name, so that differences are of single
//! fields. They are not stored, for an object has one manager.

use serde_json::{Map, Value, json};

use crate::domain::managed_fields::element_name;

/// Adds `metadata.managedFields` to `object`, as applied by `manager`.
pub(super) fn with_managed_fields(mut object: Value, manager: &str) -> Value {
    let entry = json!({
        "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields(&object),
    });
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("managedFields".to_owned(), json!([entry]));
    }
    object
}

/// The tree of the fields of a value; empty for what is owned as a whole.
fn fields(value: &Value) -> Value {
    let is_named = |element: &Value| element.get("name").is_some_and(Value::is_string);
    let tree: Map<String, Value> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (format!("f:{name}"), fields(value))).collect(),
        Value::Array(elements) if elements.iter().all(is_named) => {
            let keys = ["name".to_owned()];
            elements.iter().map(|element| (element_name(element, &keys), fields(element))).collect()
        }
        _ => Map::new(),
    };
    Value::Object(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::drift::differences;

    #[test]
    fn differences_are_of_single_fields() {
        let object = |image: &str| json!({ "metadata": {}, "spec": { "args": [1], "containers": [{ "name": "c", "image": image }] } });
        let found = differences(&object("a"), &with_managed_fields(object("b"), "us"), "us");
        let paths: Vec<&str> = found.iter().map(|difference| difference.path.as_str()).collect();
        assert_eq!(paths, ["/spec/containers/0/image"]);
    }
}
