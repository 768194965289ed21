//! Trees of values that know their lines.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

/// A value and the line it begins on.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// From 1. Within a mapping, the line of the key.
    pub line: usize,
    /// The value.
    pub data: Data,
}

/// The value of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(BTreeMap<String, Node>),
}

impl Node {
    /// The member `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key)
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Self>> {
        if let Data::Map(map) = &self.data { Some(map) } else { None }
    }

    /// The text, if it is a string.
    pub fn as_text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data { Some(text) } else { None }
    }

    /// The kind of value, as error messages name it.
    pub const fn type_name(&self) -> &'static str {
        match &self.data {
            Data::Null => "empty",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        match node.data {
            Data::Null => Self::Null,
            Data::Bool(value) => Self::Bool(value),
            Data::Number(number) => Self::Number(number),
            Data::Text(text) => Self::String(text),
            Data::List(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Data::Map(map) => Self::Object(map.into_iter().map(|(key, node)| (key, node.into())).collect()),
        }
    }
}
