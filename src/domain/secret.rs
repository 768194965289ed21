//! Texts that must not be shown, and JSON whose secret members are hidden.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A text that must not be shown: `Debug` hides it. Only code that seals, sends or compares the secret calls
/// [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The hidden text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Replaces each member of `value` whose name sounds secret, and user and password of a URL, by `***`. For free-form parameters, whose meaning Gybe does not
/// know.
pub fn masked(value: Value) -> Value {
    const SECRET_NAMES: [&str; 6] = ["password", "passwd", "secret", "token", "credential", "private"];
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let is_secret = SECRET_NAMES.iter().any(|word| lower.contains(word)) || lower.ends_with("key");
                let is_hidden = is_secret && !value.is_null() && !value.is_boolean();
                (name, if is_hidden { "***".into() } else { masked(value) })
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::String(text) => without_user_info(&text).into(),
        other => other,
    }
}

/// The URL without user and password (RFC 3986 section 3.2.1); any other text as it is.
pub fn without_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// [`masked`] for the members of an object.
pub fn masked_members(members: Map<String, Value>) -> Map<String, Value> {
    match masked(members.into()) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
