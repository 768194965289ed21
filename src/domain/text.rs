//! Words of error messages and checks of texts that several parts of the crate share.

use serde_json::Value;

use crate::domain::problem::{Problem, ProblemType, problem};

/// `a, b, c`: at most 20 of the names, then `…`; `none` if there are none.
pub fn names<'a>(all: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 20;
    let mut all = all.map(String::as_str);
    let mut shown: Vec<&str> = all.by_ref().take(SHOWN).collect();
    if all.next().is_some() {
        shown.push("…");
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// The JSON type of a value with its article, such as `a string`.
pub const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Checks that a text has at most `longest` characters.
///
/// # Errors
/// 422.
pub fn check_length(attribute: &str, text: &str, longest: usize) -> Result<(), Problem> {
    if text.chars().count() <= longest {
        return Ok(());
    }
    Err(problem!(
        ProblemType::Unprocessable,
        "{attribute} has more than {limit} characters",
        attribute = attribute,
        limit = longest,
    ))
}

/// `text` of a cluster as PostgreSQL can store it: no NUL, and the beginning with `…` if it has more than `limit` bytes. The result
/// has at most `limit` bytes, at least 3.
pub fn truncated(text: &str, limit: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= limit {
        return text.replace('\0', " ");
    }
    let end = text.floor_char_boundary(limit.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", text[..end].replace('\0', " "))
}

/// Whether `text` is a DNS label as Kubernetes restricts it (RFC 1123 section 2.1): 1 to 63 lower-case letters, digits and
/// `-`, with a letter or digit at both ends.
pub fn is_dns_label(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
}
