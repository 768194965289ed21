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

fn text<'a>(object: &'a Map<String, Value>, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or_default()
}
