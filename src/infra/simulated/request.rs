//! Requests to a simulated API server, as its driver sends them, and the answers.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

/// A request.
#[derive(Debug)]
pub(super) struct ApiRequest {
    pub method: Method,
    /// The parts of the path.
    pub path: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub is_merge_patch: bool,
    /// Null if there is none.
    pub body: Value,
}

impl ApiRequest {
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// Whether nothing is to be written.
    pub fn is_dry_run(&self) -> bool {
        self.parameter("dryRun") == "All"
    }
}

/// The parts of a path or the members of a query, without percent-encoding.
pub(super) fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, others)) = rest.split_first() {
        let hex = others
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (first, hex) {
            (b'%', Some(byte)) => (&others[2..], bytes.push(byte)),
            (b'+', _) => (others, bytes.push(b' ')),
            (byte, _) => (others, bytes.push(*byte)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The members of a query.
pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    let members = text.split('&').filter(|member| !member.is_empty());
    members
        .map(|member| member.split_once('=').unwrap_or((member, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// An answer that is no success: a `Status` of Kubernetes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { code: 404, reason: "NotFound", message: message.into() }
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self { code: 409, reason: "Conflict", message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: 422, reason: "Invalid", message: message.into() }
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { code: 403, reason: "Forbidden", message: message.into() }
    }

    /// Watches cannot go back so far.
    pub fn gone() -> Self {
        Self { code: 410, reason: "Expired", message: "the version is too old: list the objects again".to_owned() }
    }

    /// The `Status`.
    pub fn status(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.message,
        })
    }
}

/// Whether an object has the labels that a selector of `name=value`, `name!=value` and `name` asks for.
pub(super) fn has_labels(object: &Value, selector: &str) -> bool {
    let labels = object.get("metadata").and_then(|metadata| metadata.get("labels"));
    let label = |name: &str| labels.and_then(|labels| labels.get(name)?.as_str());
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        if let Some((name, value)) = part.split_once("!=") {
            return label(name) != Some(value);
        }
        match part.split_once('=') {
            Some((name, value)) => label(name) == Some(value.trim_start_matches('=')),
            None => label(part).is_some(),
        }
    })
}

/// Whether an object has the fields that a selector of `path=value` asks for.
pub(super) fn has_fields(object: &Value, selector: &str) -> bool {
    selector.split(',').filter_map(|part| part.split_once('=')).all(|(path, value)| {
        let field = path.split('.').try_fold(object, |object, member| object.get(member));
        field.and_then(Value::as_str).unwrap_or_default() == value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries_and_selectors_as_clients_write_them() {
        let query = query("&labelSelector=gybe.dev%2Fid%3D1&fieldSelector=metadata.name%3Da&dryRun=All&x=%zz");
        assert_eq!((query["labelSelector"].as_str(), query["x"].as_str()), ("gybe.dev/id=1", "%zz"));
        let object = json!({ "metadata": { "name": "a", "labels": { "gybe.dev/id": "1" } } });
        for (selector, expected) in [
            ("gybe.dev/id=1", true),
            ("gybe.dev/id=2", false),
            ("gybe.dev/id!=2,gybe.dev/id", true),
            ("x", false),
            ("", true),
        ] {
            assert_eq!(has_labels(&object, selector), expected, "{selector}");
        }
        assert!(has_fields(&object, &query["fieldSelector"]) && !has_fields(&object, "metadata.name=b"));
    }
}
