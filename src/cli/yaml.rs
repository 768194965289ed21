//! JSON as YAML, for `-o yaml` and for manifests to be applied.

use std::fmt::Write as _;

use serde_json::Value;

/// One document.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0, false);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes `value` at that depth. `inline`: something stands before it on its line. Writing to a text cannot fail.
fn write(text: &mut String, value: &Value, depth: usize, inline: bool) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, member)) in map.iter().enumerate() {
                if index > 0 || !inline {
                    text.push_str(&indent);
                }
                let _ = write!(text, "{}:", scalar(key));
                nested(text, member, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || !inline {
                    text.push_str(&indent);
                }
                text.push_str("- ");
                write(text, item, depth + 1, true);
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        Value::String(string) => text.push_str(&scalar(string)),
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

fn nested(text: &mut String, value: &Value, depth: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        let depth = if value.is_array() { depth } else { depth + 1 };
        write(text, value, depth, false);
    } else {
        text.push(' ');
        write(text, value, depth, true);
        text.push('\n');
    }
}

/// A text that every reader of YAML reads as this text: in quotes, unless it is plainly a word.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter));
    let lower = text.to_ascii_lowercase();
    let is_other = matches!(lower.as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null");
    if is_word && !is_other { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::package::yaml::{Budget, manifests};

    #[test]
    fn what_is_written_is_read_again() {
        let value = json!({
            "apiVersion": "v1", "list": [{"a": 1, "b": [1, [2]]}, [], {}, "x", null, [["y"]]], "empty": {}, "none": null,
            "texts": ["yes", "", "1.5", "a: b", "- x", "a\nb", "é", "rbac.authorization.k8s.io", "#", "*"],
            "key with: colon": true, "nested": {"deep": {"x": 1.5}}
        });
        let read = manifests("f", &text(&value), &mut Budget::default()).unwrap();
        assert_eq!(
            read.into_iter().map(Value::from).collect::<Vec<_>>(),
            std::slice::from_ref(&value),
            "{}",
            text(&value)
        );
    }
}
