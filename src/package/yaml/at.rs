//! Typed access to trees, with errors that name file, line and key.

use super::limits::problem;
use super::node::{Data, Node};
use crate::domain::problem::Problem;

/// A node with its file and key, so that errors can name them.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    file: &'a str,
    key: &'a str,
    node: &'a Node,
}

impl<'a> At<'a> {
    /// The root of a document; `name` says what it should be.
    pub const fn root(file: &'a str, name: &'a str, node: &'a Node) -> Self {
        Self { file, key: name, node }
    }

    /// The node itself.
    pub const fn node(self) -> &'a Node {
        self.node
    }

    /// The file it is in.
    pub const fn file(self) -> &'a str {
        self.file
    }

    /// The key it stands under.
    pub const fn key(self) -> &'a str {
        self.key
    }

    /// 422: `file:line: what`.
    pub fn problem(self, what: impl AsRef<str>) -> Problem {
        problem(self.file, self.node.line, what.as_ref())
    }

    /// `file:line: what`, for a warning.
    pub fn located(self, what: impl AsRef<str>) -> String {
        format!("{}:{}: {}", self.file, self.node.line, what.as_ref())
    }

    /// The member `key`, if it is there and not empty (null).
    pub fn member(self, key: &'a str) -> Option<Self> {
        self.node.get(key).filter(|node| node.data != Data::Null).map(|node| Self { key, node, ..self })
    }

    /// The member `key`.
    ///
    /// # Errors
    /// 422 if it is not there.
    pub fn required(self, key: &'a str) -> Result<Self, Problem> {
        let _ = self.entries()?;
        self.member(key).ok_or_else(|| self.problem(format!("{} has no {key}; add it", self.key)))
    }

    /// The string.
    ///
    /// # Errors
    /// 422 if it is something else.
    pub fn text(self) -> Result<&'a str, Problem> {
        self.node.as_text().ok_or_else(|| self.wrong_type("a string", "; put it in quotes"))
    }

    /// The whole number from 0.
    ///
    /// # Errors
    /// 422 if it is something else.
    pub fn number(self) -> Result<u32, Problem> {
        match &self.node.data {
            Data::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()),
            _ => None,
        }
        .ok_or_else(|| self.wrong_type("a whole number from 0 to 4294967295", ""))
    }

    /// The members of the mapping.
    ///
    /// # Errors
    /// 422 if it is something else.
    pub fn entries(self) -> Result<impl Iterator<Item = Self>, Problem> {
        let map = self.node.as_map().ok_or_else(|| self.wrong_type("a mapping", ""))?;
        Ok(map.iter().map(move |(key, node)| Self { file: self.file, key, node }))
    }

    /// The items of the list.
    ///
    /// # Errors
    /// 422 if it is something else.
    pub fn items(self) -> Result<impl Iterator<Item = Self>, Problem> {
        let Data::List(items) = &self.node.data else { return Err(self.wrong_type("a list", "")) };
        Ok(items.iter().map(move |node| Self { node, ..self }))
    }

    fn wrong_type(self, wanted: &str, advice: &str) -> Problem {
        self.problem(format!("{} must be {wanted}, and this is {}{advice}", self.key, self.node.type_name()))
    }
}
