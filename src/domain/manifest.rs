//! A Kubernetes object in a definition file of a package, with its position there.
//!
//! `crate::package::manifest` reads them out of YAML; [`crate::domain::namespace`] and [`crate::domain::render`] turn them into intents.

use serde_json::{Map, Value};

/// One object of a definition file. It has `apiVersion`, `kind` and `metadata.name`: the reader checks this, and names a review without
/// a name, because the inventory needs one.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Path of the file in the package.
    pub file: String,
    /// Line the document begins on, from 1.
    pub line: usize,
    /// The object.
    pub object: Map<String, Value>,
}

impl Manifest {
    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        text(&self.object, "apiVersion")
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        text(&self.object, "kind")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata("name").unwrap_or_default()
    }

    /// `metadata.namespace`, if it is there and not empty.
    pub fn namespace(&self) -> Option<&str> {
        self.metadata("namespace").filter(|name| !name.is_empty())
    }

    /// `file:line`, for error messages.
    pub fn position(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// Whether it is a review, see [`is_review`].
    pub fn is_review(&self) -> bool {
        is_review(self.api_version())
    }

    fn metadata(&self, member: &str) -> Option<&str> {
        self.object.get("metadata")?.get(member)?.as_str()
    }
}

/// Whether objects of this `apiVersion` are reviews, such as SelfSubjectAccessReview: creating one gives an answer and leaves no object.
pub fn is_review(api_version: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
}

/// Sets an annotation of a manifest, or removes it. A removal also removes an empty `annotations`.
pub fn set_annotation(manifest: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    let Some(Value::Object(metadata)) = manifest.get_mut("metadata") else { return };
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    let Value::Object(members) = annotations else { return };
    match text {
        Some(text) => members.insert(name.to_owned(), text.into()),
        None => members.remove(name),
    };
    if members.is_empty() {
        metadata.remove("annotations");
    }
}

fn text<'a>(object: &'a Map<String, Value>, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_annotation_is_set_beside_others_and_removed_without_a_trace() {
        let with = |annotations: Value| match json!({ "metadata": { "name": "a", "annotations": annotations } }) {
            Value::Object(manifest) => manifest,
            _ => Map::new(),
        };
        for (before, after) in
            [(json!(null), json!({ "n": "t" })), (json!({ "m": "u" }), json!({ "m": "u", "n": "t" }))]
        {
            let mut manifest = with(before);
            set_annotation(&mut manifest, "n", Some("t"));
            assert_eq!(manifest, with(after));
        }
        let mut manifest = with(json!({ "n": "t" }));
        set_annotation(&mut manifest, "n", None);
        assert_eq!(Value::Object(manifest), json!({ "metadata": { "name": "a" } }));
    }
}
