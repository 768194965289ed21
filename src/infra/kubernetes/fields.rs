//! Reads single fields of objects whose type is known only at run time.

use kube::api::DynamicObject;
use serde_json::Value;

/// The text at `pointer` in the object; empty if it is absent or no text.
pub(super) fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    value_text(&object.data, pointer)
}

/// The text at `pointer` in `value`; empty if it is absent or no text.
pub(super) fn value_text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The integer at `pointer`; 0 if it is absent.
pub(super) fn number(object: &DynamicObject, pointer: &str) -> i64 {
    object.data.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The elements of the array at `pointer`, if there is one.
pub(super) fn list<'a>(object: &'a DynamicObject, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.data.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// An entry of `status.conditions`.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

impl Condition<'_> {
    /// Reason and message.
    pub fn explanation(&self) -> String {
        explanation(self.reason, self.message)
    }
}

/// The condition of type `kind`.
pub(super) fn condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<Condition<'a>> {
    let found = list(object, "/status/conditions").find(|condition| value_text(condition, "/type") == kind)?;
    let text = |pointer| value_text(found, pointer);
    Some(Condition { status: text("/status"), reason: text("/reason"), message: text("/message") })
}

/// Since when the condition of type `kind` has its status, in RFC 3339; empty if the object does not say.
pub(super) fn condition_since<'a>(object: &'a DynamicObject, kind: &str) -> &'a str {
    let found = list(object, "/status/conditions").find(|condition| value_text(condition, "/type") == kind);
    found.map_or("", |found| value_text(found, "/lastTransitionTime"))
}

/// Whether the condition of type `kind` is `True`.
pub(super) fn is_true(object: &DynamicObject, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition.status == "True")
}

/// A reason and its message as one text.
pub(super) fn explanation(reason: &str, message: &str) -> String {
    match (reason, message) {
        ("", "") => "no reason given".to_owned(),
        (one, "") | ("", one) => one.to_owned(),
        _ => format!("{reason}: {message}"),
    }
}
