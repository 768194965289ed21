//! Builds trees from the events of the parser, without recursion: one stack frame per level would overflow a thread's stack.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use granit_parser::{Event, ScalarStyle, StructureStyle, Tag};

use super::limits::{Budget, Size, problem, size, too_much};
use super::node::{Data, Node};
use super::scalar;
use crate::domain::problem::Problem;

/// What a plain key such as `yes`, `0x10` or `1.5` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// A string of these characters.
    AsWritten,
    /// What `kubectl` makes of it: the text of the boolean or whole number.
    OfKubectl,
}

/// Builds the trees from the parser's events.
pub(super) struct Composer<'a> {
    file: &'a str,
    keys: Keys,
    /// Whether the present part of a definition file has a document; `None` in a VNFD, which has no parts.
    has_document: Option<bool>,
    pub documents: Vec<Node>,
    /// The collections that are not complete, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    budget: &'a mut Budget,
}

struct Open {
    line: usize,
    anchor: usize,
    style: StructureStyle,
    collection: Collection,
}

enum Collection {
    List(Vec<Node>),
    Map { entries: BTreeMap<String, Node>, merged: Vec<Node>, key: Option<Key> },
}

/// The key whose value comes next.
enum Key {
    Name {
        line: usize,
        name: String,
    },
    /// `<<`: the entries of the value are merged.
    Merge,
}

impl<'a> Composer<'a> {
    pub fn new(file: &'a str, keys: Keys, budget: &'a mut Budget) -> Self {
        let (documents, open, anchors) = (Vec::new(), Vec::new(), HashMap::new());
        Self { file, keys, has_document: None, documents, open, anchors, budget }
    }

    /// Begins a part of a definition file: it may have one document.
    pub fn begin_part(&mut self) {
        self.has_document = Some(false);
    }

    /// Takes the next event, which is on these lines.
    pub fn take(&mut self, event: Event<'_>, line: usize, end_line: usize) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => self.begin_document(line),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_as_kubectl(&text, style, line, end_line)?;
                self.scalar(text, style, anchor, tag.as_deref(), line)
            }
            Event::SequenceStart(style, anchor, tag) => {
                let list = Collection::List(Vec::new());
                self.begin(Open { line, anchor, style, collection: list }, tag.as_deref(), "seq")
            }
            Event::MappingStart(style, anchor, tag) => {
                let map = Collection::Map { entries: BTreeMap::new(), merged: Vec::new(), key: None };
                self.begin(Open { line, anchor, style, collection: map }, tag.as_deref(), "map")
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, line),
            _ => Ok(()),
        }
    }

    fn begin_document(&mut self, line: usize) -> Result<(), Problem> {
        self.anchors.clear();
        match &mut self.has_document {
            Some(true) => {
                let what = "another document begins here without a line '---', and kubectl would not read it";
                Err(problem(self.file, line, what))
            }
            Some(has_document) => {
                *has_document = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Refuses scalars that the parser takes and `kubectl` does not.
    fn check_as_kubectl(&self, text: &str, style: ScalarStyle, line: usize, end_line: usize) -> Result<(), Problem> {
        if self.keys == Keys::AsWritten {
            return Ok(());
        }
        let in_flow = self.open.last().is_some_and(|open| open.style == StructureStyle::Flow);
        if in_flow && style == ScalarStyle::Plain && (text.contains('?') || text.starts_with(':')) {
            let what =
                "a '?', or a ':' at the beginning, within {} or [] is no part of a value; put the value in quotes";
            return Err(problem(self.file, line, what));
        }
        if line < end_line && self.wants_key() {
            return Err(problem(self.file, line, "a key continues on the next line; write it on one line"));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<(), Problem> {
        self.spend(Size { nodes: 1, bytes: text.len(), depth: 0 }, line)?;
        // PostgreSQL and Kubernetes refuse it, too, but can't name the line.
        if text.contains('\0') {
            return Err(problem(self.file, line, "the character U+0000 can't be stored; leave it out"));
        }
        let plain = style == ScalarStyle::Plain && tag.is_none();
        if self.wants_key() {
            return self.scalar_key(text.into_owned(), plain, anchor, line);
        }
        let typed = match tag.and_then(Tag::core_suffix) {
            Some("str") => false,
            Some("null" | "bool" | "int" | "float") => true,
            _ if tag.is_some_and(|tag| tag.original() != "!") => return Err(self.unknown_tag(tag, line)),
            _ => plain,
        };
        let data = if typed { scalar::plain(&text) } else { Some(Data::Text(text.clone().into_owned())) };
        let data = data.ok_or_else(|| {
            let what = format!("{text} is no number that Kubernetes takes; put it in quotes to make it a string");
            problem(self.file, line, &what)
        })?;
        self.complete(Node { line, data }, anchor)
    }

    fn scalar_key(&mut self, text: String, plain: bool, anchor: usize, line: usize) -> Result<(), Problem> {
        match text.as_str() {
            "<<" if plain => {
                self.key(Key::Merge);
                Ok(())
            }
            "" | "~" | "null" if plain => {
                Err(problem(self.file, line, "a key is missing before ':'; keys are strings"))
            }
            _ => {
                let text = if plain && self.keys == Keys::OfKubectl { self.typed_key(text, line)? } else { text };
                self.remember(anchor, || Node { line, data: Data::Text(text.clone()) }, line)?;
                self.named_key(line, text)
            }
        }
    }

    /// The key that `kubectl` makes of a plain scalar.
    fn typed_key(&self, text: String, line: usize) -> Result<String, Problem> {
        match scalar::plain(&text) {
            Some(Data::Bool(value)) => Ok(value.to_string()),
            Some(Data::Number(number)) if !number.is_f64() => Ok(number.to_string()),
            Some(Data::Text(text)) => Ok(text),
            _ => Err(problem(self.file, line, &format!("the key {text} is no string; put it in quotes"))),
        }
    }

    fn begin(&mut self, open: Open, tag: Option<&Tag>, own_tag: &str) -> Result<(), Problem> {
        let line = open.line;
        if tag.is_some_and(|tag| tag.core_suffix() != Some(own_tag)) {
            return Err(self.unknown_tag(tag, line));
        }
        if self.wants_key() {
            return Err(problem(self.file, line, "a key must be a string, and this one is a list or mapping"));
        }
        self.spend(Size { nodes: 1, bytes: 0, depth: 1 }, line)?;
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(Open { line, anchor, collection, .. }) = self.open.pop() else { return Ok(()) };
        let data = match collection {
            Collection::List(items) => Data::List(items),
            Collection::Map { mut entries, merged, .. } => {
                for source in merged {
                    merge(&mut entries, source).map_err(|what| problem(self.file, line, what))?;
                }
                Data::Map(entries)
            }
        };
        self.complete(Node { line, data }, anchor)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Problem> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(problem(self.file, line, "an alias (*) within its own anchor (&); write the value out"));
        };
        let node = node.clone();
        self.spend(size(&node), line)?;
        match node.data {
            Data::Text(name) if self.wants_key() => self.named_key(line, name),
            _ if self.wants_key() => Err(problem(self.file, line, "a key must be a string, and this alias is none")),
            data => self.complete(Node { line, data }, 0),
        }
    }

    /// Adds a complete value to the innermost open collection.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.remember(anchor, || node.clone(), node.line)?;
        match self.open.last_mut().map(|open| &mut open.collection) {
            None if node.data == Data::Null => {}
            None => self.documents.push(node),
            Some(Collection::List(items)) => items.push(node),
            Some(Collection::Map { entries, merged, key }) => match key.take() {
                Some(Key::Name { line, name }) => {
                    entries.insert(name, Node { line, data: node.data });
                }
                Some(Key::Merge) => merged.push(node),
                None => {}
            },
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.collection, Collection::Map { key: None, .. }))
    }

    fn named_key(&mut self, line: usize, name: String) -> Result<(), Problem> {
        if let Some(Open { collection: Collection::Map { entries, .. }, .. }) = self.open.last()
            && let Some(first) = entries.get(&name)
        {
            let what =
                format!("the key '{name}' occurs twice in one mapping, first on line {}; remove one", first.line);
            return Err(problem(self.file, line, &what));
        }
        self.key(Key::Name { line, name });
        Ok(())
    }

    fn key(&mut self, next: Key) {
        if let Some(Open { collection: Collection::Map { key, .. }, .. }) = self.open.last_mut() {
            *key = Some(next);
        }
    }

    /// Keeps a copy of the node for the aliases of its anchor, if it has one. The copy counts as any other value does.
    fn remember(&mut self, anchor: usize, node: impl FnOnce() -> Node, line: usize) -> Result<(), Problem> {
        if anchor == 0 {
            return Ok(());
        }
        let node = node();
        self.spend(Size { depth: 0, ..size(&node) }, line)?;
        self.anchors.insert(anchor, node);
        Ok(())
    }

    fn spend(&mut self, size: Size, line: usize) -> Result<(), Problem> {
        if self.budget.spend(size, self.open.len()) { Ok(()) } else { Err(too_much(self.file, line)) }
    }

    fn unknown_tag(&self, tag: Option<&Tag>, line: usize) -> Problem {
        let name = tag.map(Tag::original).unwrap_or_default();
        problem(self.file, line, &format!("the tag {name} means nothing here; write the value without it"))
    }
}

/// Adds the entries of a `<<` value, a mapping or a list of mappings, that `entries` does not have.
fn merge(entries: &mut BTreeMap<String, Node>, source: Node) -> Result<(), &'static str> {
    match source.data {
        Data::Map(more) => {
            for (key, value) in more {
                entries.entry(key).or_insert(value);
            }
            Ok(())
        }
        Data::List(sources) if sources.iter().all(|source| source.as_map().is_some()) => {
            sources.into_iter().try_for_each(|source| merge(entries, source))
        }
        _ => Err("'<<' takes a mapping or a list of mappings; put it in quotes if it is an ordinary key"),
    }
}
