//! `ProblemDetails` (RFC 9457, SOL013 clause 6.3): what a caller is told when something is wrong.
//!
//! It is domain data because op occurrences and packages keep one; `crate::error` turns one into an HTTP answer.

use std::any::Any;

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

/// The longest `detail` that [`Problem::new`] takes, in bytes: it quotes what packages, clusters and callers say, and is
/// kept, listed and sent to subscribers.
const MAX_DETAIL: usize = 8 * 1024;

impl Problem {
    /// A problem of the type `name` (kebab-case, without the URN prefix), whose title is the name in words.
    pub fn new(status: u16, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:gybe:problem:{name}"),
            title: title_of(name),
            status,
            detail: shortened(detail.into()),
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
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request-request", detail)
    }

    /// 422: the request was understood and can't be carried out as it is.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
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

/// The text as it can be kept: not too long, and without NUL, which PostgreSQL takes in no text.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_DETAIL {
        text.truncate(text.floor_char_boundary(MAX_DETAIL));
        text.push('…');
    }
    if text.contains('\0') { text.replace('\0', " ") } else { text }
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

/// A fault of the program's own, with what the panic says as far as that can't be a secret: a message that stands in the
/// program. One that was formatted may quote anything; the place that the log has tells which it was.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panic(&'static str);

impl Panic {
    /// The panic of that payload.
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        Self(payload.downcast_ref::<&'static str>().copied().unwrap_or("a formatted message, which is not shown"))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn of_a_panic_only_what_stands_in_the_program_is_told() {
        let text = |panics: fn()| Panic::of(&*catch_unwind(panics).unwrap_err()).to_string();
        assert_eq!(text(|| panic!("no such row")), "panicked: no such row");
        let quoting = text(|| panic!("no row of {}", "hunter2".to_owned()));
        assert_eq!(quoting, "panicked: a formatted message, which is not shown");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let problem = Problem::unprocessable(format!("a{}", "ü".repeat(100_000)));
        assert!(problem.detail.len() <= MAX_DETAIL + '…'.len_utf8() && problem.detail.ends_with("ü…"));
        assert_eq!(Problem::unprocessable("short").detail, "short");
    }

    #[test]
    fn what_no_database_takes_is_not_told() {
        assert_eq!(Problem::unprocessable("a\0b\n").detail, "a b\n");
    }
}
