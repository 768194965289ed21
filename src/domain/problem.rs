//! `ProblemDetails` (RFC 9457, SOL013 clause 6.3): what a caller is told when something is wrong.
//!
//! It is domain data because op occurrences and packages keep one; `crate::error` turns one into an HTTP answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A problem as the caller reads it. `detail` says what is wrong and what the caller can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable URN that programs can compare, `urn:gybe:problem:<name>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text, the same for each problem of this type.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// Further members, such as the objects or the operation concerned.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Problem {
    /// A problem of the type `name` (kebab-case, without the URN prefix), whose title is the name in words.
    pub fn new(status: u16, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:gybe:problem:{name}"),
            title: title_of(name),
            status,
            detail: detail.into(),
            extra: Map::new(),
        }
    }

    /// The same problem with one more member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    /// 400: the request can't be read: syntax, wrong type, missing member.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed-request", detail)
    }

    /// 422: the request was understood and can't be carried out as it is.
    pub fn impossible(detail: impl Into<String>) -> Self {
        Self::new(422, "unprocessable", detail)
    }

    /// 404: there is no such resource.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(404, "not-found", format!("{what} {id} does not exist"))
    }

    /// 409: the resource is not in a state that allows this.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "conflict", detail)
    }
}

fn title_of(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An error with the causes behind it on one line, each said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = cause.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
