//! `ProblemDetails` (RFC 9457, SOL013 clause 6.3): an error as clients read it.
//!
//! Op occurrences and packages store problems, so the type belongs to the domain. `crate::error` turns them into HTTP responses.

use std::any::Any;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::domain::problem_type::ProblemType;

/// A problem. `detail` says what is wrong, what is allowed, and what the caller can do.
///
/// `urn`, `title` and `status` are texts and a number, not a [`ProblemType`]: a database may hold problems of types that another
/// release has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// [`ProblemType::urn`].
    #[serde(rename = "type")]
    pub urn: String,
    /// [`ProblemType::title`].
    pub title: String,
    /// [`ProblemType::status`].
    pub status: u16,
    /// The cause, and what the caller can do. At most 8 KiB.
    pub detail: String,
    /// Extension members (RFC 9457 clause 3.2), in camel case: among them, each value that `detail` quotes.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A problem whose `detail` quotes values. Each value is named, and becomes a member of that name:
///
/// ```ignore
/// let problem = problem!(ProblemType::Conflict, "VNF instance {id} is {state}", id = "i-1", state = "STARTING");
/// assert_eq!(problem.detail, "VNF instance i-1 is STARTING");
/// assert_eq!(problem.extra["state"], "STARTING");
/// ```
///
/// A value is `Display` and `Serialize`. The text must name exactly the listed values, or it does not compile. `concat!` prevents
/// `format!` from capturing local variables.
macro_rules! problem {
    ($type:expr, $text:literal $(, $member:ident = $value:expr)* $(,)?) => {{
        #[expect(clippy::allow_attributes, reason = "an expectation would fail where each name is one word")]
        #[allow(non_snake_case, reason = "the names are those of JSON members")]
        let problem = match ($(&$value,)*) {
            ($($member,)*) => $crate::domain::problem::Problem::new($type, format!(concat!($text), $($member = $member),*))
                $(.quoting(stringify!($member), $member))*,
        };
        problem
    }};
}
pub(crate) use problem;

/// The longest `detail`, in bytes. A detail may quote long texts of packages, clusters and callers, and Gybe stores it and sends it
/// to subscribers.
const MAX_DETAIL: usize = 8 * 1024;
/// The longest text of a quoted member, in bytes.
const MAX_QUOTED: usize = 1024;
/// The most elements of a quoted member.
const MAX_ELEMENTS: usize = 100;

impl Problem {
    /// A problem whose `detail` quotes no value; for others, use the macro `problem!`.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            urn: kind.urn().to_owned(),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: storable(detail.into(), MAX_DETAIL),
            extra: Map::new(),
        }
    }

    /// The same problem with one more member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        debug_assert!(
            !["type", "title", "status", "detail", "instance"].contains(&member),
            "{member} is RFC 9457's own"
        );
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    /// The same problem with one more member: a value that `detail` quotes. Long texts and lists are cut.
    #[must_use]
    pub fn quoting(self, member: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let value = match serde_json::to_value(value) {
            Ok(Value::String(text)) => storable(text, MAX_QUOTED).into(),
            Ok(Value::Array(mut elements)) => {
                elements.truncate(MAX_ELEMENTS);
                let cut = |element| {
                    if let Value::String(text) = element { storable(text, MAX_QUOTED).into() } else { element }
                };
                elements.into_iter().map(cut).collect()
            }
            Ok(other) => other,
            // Only maps with non-string keys fail, and no problem quotes one.
            Err(_) => return self,
        };
        self.with(member, value)
    }

    /// The same problem with a link to the documentation of its type. `base` is scheme, host and port, or empty for a relative
    /// link. A type of another release gets no link.
    #[must_use]
    pub fn with_help(self, base: &str) -> Self {
        match ProblemType::by_urn(&self.urn) {
            Some(kind) => self.with("help", format!("{base}/problems/{}", kind.name())),
            None => self,
        }
    }

    /// 400: the request cannot be read: syntax, wrong type, missing member.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::BadRequest, detail)
    }

    /// 422: Gybe understands the request and cannot carry it out as it is.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Unprocessable, detail)
    }

    /// 422: the CSAR, its VNFD or its manifest is wrong.
    pub fn invalid_package(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::InvalidPackage, detail)
    }

    /// 404: there is no such resource. `resource` is a noun, such as "VNF instance".
    pub fn not_found(resource: &str, id: &str) -> Self {
        problem!(ProblemType::NotFound, "{resource} {id} does not exist", resource = resource, id = id)
    }

    /// 409: the resource is not in a state that allows this.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Conflict, detail)
    }
}

/// Several values that a `detail` quotes. The text has the first 20, joined by commas; the member is an array.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct QuotedValues(Vec<String>);

impl<T: ToString> FromIterator<T> for QuotedValues {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().map(|value| value.to_string()).collect())
    }
}

impl fmt::Display for QuotedValues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        formatter.write_str(&self.0[..self.0.len().min(SHOWN)].join(", "))?;
        if self.0.len() > SHOWN { formatter.write_str(", …") } else { Ok(()) }
    }
}

/// The text, at most `longest` bytes long, and without NUL: PostgreSQL cannot store NUL in a text.
fn storable(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
    if text.contains('\0') { text.replace('\0', " ") } else { text }
}

/// An error and its causes in one line, without repetitions.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = cause.to_string();
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// A panic. Its text is shown only if it is a literal in the program: a formatted one may quote a secret. The log has the
/// place of the panic.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panic(&'static str);

impl Panic {
    /// The panic with that payload.
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        Self(payload.downcast_ref::<&'static str>().copied().unwrap_or("a formatted message, which is not shown"))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn shows_literal_panic_messages_only() {
        let text = |panics: fn()| Panic::of(&*catch_unwind(panics).unwrap_err()).to_string();
        assert_eq!(text(|| panic!("no such row")), "panicked: no such row");
        let quoting = text(|| panic!("no row of {}", "hunter2".to_owned()));
        assert_eq!(quoting, "panicked: a formatted message, which is not shown");
    }

    #[test]
    fn cuts_long_details() {
        let problem = Problem::unprocessable(format!("a{}", "ü".repeat(100_000)));
        assert!(problem.detail.len() <= MAX_DETAIL + '…'.len_utf8() && problem.detail.ends_with("ü…"));
        assert_eq!(Problem::unprocessable("short").detail, "short");
    }

    #[test]
    fn replaces_nul() {
        assert_eq!(Problem::unprocessable("a\0b\n").detail, "a b\n");
        assert_eq!(problem!(ProblemType::Conflict, "{id}", id = "a\0b").extra["id"], "a b");
    }

    #[test]
    fn quoted_values_are_members() {
        let allowed: QuotedValues = ["a", "b"].into_iter().collect();
        let problem = problem!(ProblemType::BadRequest, "'{vnfdId}': {allowed}", vnfdId = 7, allowed = allowed);
        assert_eq!(problem.detail, "'7': a, b");
        assert_eq!(Value::Object(problem.extra), serde_json::json!({ "vnfdId": 7, "allowed": ["a", "b"] }));
        let long: QuotedValues = std::iter::repeat_n("x".repeat(5000), 500).collect();
        let problem = problem!(ProblemType::BadRequest, "{allowed}", allowed = long);
        assert!(problem.extra["allowed"].to_string().len() <= MAX_ELEMENTS * (MAX_QUOTED + 10));
    }

    #[test]
    fn reads_problems_of_unknown_types() {
        let stored = r#"{"type":"urn:gybe:problem:disk","title":"Disk","status":507,"detail":"full","more":[1]}"#;
        let problem: Problem = serde_json::from_str(stored).unwrap();
        assert_eq!((problem.status, problem.title.as_str()), (507, "Disk"));
        assert_eq!(serde_json::to_string(&problem).unwrap(), stored);
        assert_eq!(problem.clone().with_help(""), problem);
        assert_eq!(Problem::conflict("x").with_help("http://a").extra["help"], "http://a/problems/conflict");
    }
}
