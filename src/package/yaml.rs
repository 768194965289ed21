//! YAML and JSON texts as trees that know their lines. [`super::vnfd`] and [`super::manifest`] read everything through here.
//!
//! **Bounds.** [`documents`] refuses a text that is too long, too deep or that multiplies itself by aliases (the billion
//! laughs, an alias within its own anchor) after a bounded amount of work: see the constants. The tree is built from the
//! parser's events without recursion: deserialising into nested types takes more stack for 64 levels than a thread has.
//!
//! **Types.** Plain scalars mean what they mean to `kubectl`, and nearly all they mean to Tacker: those are readers of
//! YAML 1.1, to which `yes`, `on` and `y` are booleans and `0644` is 420. A manifest that works there works here. Keys are
//! strings as written, timestamps stay strings, integers keep all of their 64 bits, and a key that occurs twice is an error.

mod scalar;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Number, Value};

use crate::domain::package::DefinitionFile;
use crate::domain::problem::Problem;

/// Mappings and sequences within each other. Kubernetes' deepest CustomResourceDefinitions have about 40; what is
/// accepted here must stay below the 128 levels that `serde_json` reads back from the database.
pub const MAX_DEPTH: usize = 64;
/// Scalars, mappings and sequences of all files read together, with what aliases repeat.
const MAX_NODES: usize = 500_000;
/// Bytes of their scalars, with what aliases repeat.
const MAX_SCALAR_BYTES: usize = 32 * 1024 * 1024;

/// What has been read so far. One budget for all files whose trees are in memory at the same time.
#[derive(Debug, Default)]
pub struct Budget {
    nodes: usize,
    bytes: usize,
}

/// A value and the line it begins on.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// From 1. Within a mapping, the line of the key.
    pub line: usize,
    /// The value.
    pub data: Data,
}

/// What a [`Node`] holds.
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

/// The documents of `text`, without those that hold nothing.
///
/// # Errors
/// 422 naming `file` and line, if the text is no YAML or is beyond the bounds.
pub fn documents(file: &str, text: &str, budget: &mut Budget) -> Result<Vec<Node>, Problem> {
    if text.len() as u64 > DefinitionFile::MAX_BYTES {
        return Err(problem(
            file,
            1,
            &format!(
                "{} bytes are more than the {} that are read; split the file",
                text.len(),
                DefinitionFile::MAX_BYTES
            ),
        ));
    }
    let mut composer = Composer::new(file, budget);
    for event in Parser::new_from_str_with_options(text, parser_options()) {
        let (event, span) = event.map_err(|error| syntax_error(file, &error))?;
        composer.take(event, span.start.line())?;
    }
    Ok(composer.documents)
}

/// Checks that `text` is YAML or JSON, whatever it says.
///
/// # Errors
/// 422 naming `file` and line.
pub fn check_syntax(file: &str, text: &str) -> Result<(), Problem> {
    let error = Parser::new_from_str_with_options(text, parser_options()).find_map(Result::err);
    match error {
        // Depth matters only to whoever wants the tree.
        Some(error) if *error.kind() != ErrorKind::RecursionLimitExceeded => Err(syntax_error(file, &error)),
        _ => Ok(()),
    }
}

fn parser_options() -> Options {
    granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    }
}

fn syntax_error(file: &str, error: &ScanError) -> Problem {
    let line = error.marker().line();
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_much(file, line),
        ErrorKind::UnknownAnchor => problem(file, line, "an alias (*) of an anchor (&) that is not in the document"),
        _ => problem(file, line, &format!("not valid YAML: {}", error.info())),
    }
}

fn too_much(file: &str, line: usize) -> Problem {
    let what = format!(
        "files are not read beyond {MAX_DEPTH} levels, {MAX_NODES} values and {MAX_SCALAR_BYTES} bytes of text in all, \
         counting what aliases (*) repeat; use less, and no aliases"
    );
    problem(file, line, &what)
}

fn problem(file: &str, line: usize, what: &str) -> Problem {
    Problem::invalid_package(format!("{file}:{line}: {what}"))
}

/// Builds the trees from the parser's events.
struct Composer<'a> {
    file: &'a str,
    documents: Vec<Node>,
    /// The collections that have begun and not ended, outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    budget: &'a mut Budget,
}

struct Open {
    line: usize,
    anchor: usize,
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
    /// `<<`: the entries of the value are taken over.
    Merge,
}

#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl<'a> Composer<'a> {
    fn new(file: &'a str, budget: &'a mut Budget) -> Self {
        Self { file, documents: Vec::new(), open: Vec::new(), anchors: HashMap::new(), budget }
    }

    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref(), line),
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(line, anchor, tag.as_deref(), "seq", Collection::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let map = Collection::Map { entries: BTreeMap::new(), merged: Vec::new(), key: None };
                self.begin(line, anchor, tag.as_deref(), "map", map)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, line),
            _ => Ok(()),
        }
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
        // Neither PostgreSQL nor Kubernetes takes it; told here, it has a line.
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
                self.remember(anchor, || Node { line, data: Data::Text(text.clone()) }, line)?;
                self.named_key(line, text)
            }
        }
    }

    fn begin(
        &mut self,
        line: usize,
        anchor: usize,
        tag: Option<&Tag>,
        own_tag: &str,
        collection: Collection,
    ) -> Result<(), Problem> {
        if tag.is_some_and(|tag| tag.core_suffix() != Some(own_tag)) {
            return Err(self.unknown_tag(tag, line));
        }
        if self.wants_key() {
            return Err(problem(self.file, line, "a key must be a string, and this one is a list or mapping"));
        }
        self.spend(Size { nodes: 1, bytes: 0, depth: 1 }, line)?;
        self.open.push(Open { line, anchor, collection });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        let Some(Open { line, anchor, collection }) = self.open.pop() else { return Ok(()) };
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

    /// A value is there: it goes where it belongs.
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

    /// Keeps the node for the aliases of its anchor, if it has one. The copy counts like any other value.
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
        self.budget.nodes += size.nodes;
        self.budget.bytes += size.bytes;
        let within = self.budget.nodes <= MAX_NODES
            && self.budget.bytes <= MAX_SCALAR_BYTES
            && self.open.len() + size.depth <= MAX_DEPTH;
        if within { Ok(()) } else { Err(too_much(self.file, line)) }
    }

    fn unknown_tag(&self, tag: Option<&Tag>, line: usize) -> Problem {
        let name = tag.map(Tag::original).unwrap_or_default();
        problem(self.file, line, &format!("the tag {name} means nothing here; write the value without it"))
    }
}

/// Takes over what `entries` has not from the mapping, or the list of mappings, that a `<<` named.
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

fn size(node: &Node) -> Size {
    let (own, within): (usize, Vec<Size>) = match &node.data {
        Data::List(items) => (0, items.iter().map(size).collect()),
        Data::Map(map) => (map.keys().map(String::len).sum(), map.values().map(size).collect()),
        Data::Text(text) => return Size { nodes: 1, bytes: text.len(), depth: 0 },
        _ => return Size { nodes: 1, bytes: 0, depth: 0 },
    };
    within.into_iter().fold(Size { nodes: 1, bytes: own, depth: 1 }, |sum, item| Size {
        nodes: sum.nodes + item.nodes,
        bytes: sum.bytes + item.bytes,
        depth: sum.depth.max(item.depth + 1),
    })
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

    /// The kind of value, for telling an author what was found.
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

/// A node that is being looked at: it knows its file and its key, so that what is wrong with it can be told.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, Problem> {
        documents("f.yaml", text, &mut Budget::default())
    }

    fn values(text: &str) -> Vec<Value> {
        read(text).unwrap().into_iter().map(Value::from).collect()
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().detail
    }

    #[test]
    fn a_nul_character_is_refused_with_its_line() {
        let problem = read("a: 1\nb: \"x\\0y\"\n").unwrap_err();
        assert!(problem.detail.contains(":2: the character U+0000"), "{}", problem.detail);
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        let text = "a: yes\nb: off\nc: 0644\nd: 0o17\ne: -9223372036854775808\nf: 18446744073709551615\ng: -5\nh: 1.5\n\
                    i: 2024-01-01\nj: ~\nk: 'yes'\nl: \"0644\"\nm: 1_000\n8080: port\nyes: key\n0x10: hex\nn: 1.2.3\n\
                    o: !!str 5\nao: ! 5\nap: !!int \"5\"\np: 500m\nq:\nr: 0x1F\ns: 1e3\nt: .5\nu: -0b11\nv: +7\nw: yEs\nx: inf\nz: 0x\n\
                    aa: '-'\nab: 1e999\nac: 0x+5\nad: 10.0.0.1\n";
        let expected = json!({
            "a": true, "b": false, "c": 420, "d": 15, "e": i64::MIN, "f": u64::MAX, "g": -5, "h": 1.5,
            "i": "2024-01-01", "j": null, "k": "yes", "l": "0644", "m": 1000, "8080": "port", "yes": "key",
            "0x10": "hex", "n": "1.2.3", "o": "5", "ao": "5", "ap": 5, "p": "500m", "q": null, "r": 31, "s": 1000, "t": 0.5, "u": -3,
            "v": 7, "w": "yEs", "x": "inf", "z": "0x", "aa": "-", "ab": "1e999", "ac": "0x+5", "ad": "10.0.0.1"
        });
        assert_eq!(values(text), [expected]);
    }

    #[test]
    fn json_is_read_as_well() {
        let text = "{\n\t\"a\": [1, \"\\ud83d\\ude00\", \"\\/\"],\n\t\"b\": {\"c\":null}}\n";
        assert_eq!(values(text), [json!({"a": [1, "😀", "/"], "b": {"c": null}})]);
    }

    #[test]
    fn documents_and_members_know_their_lines() {
        let text = "# a comment\n---\n---\na:\n  b: 1\n  c:\n    - x\n    - y\n---\n~\n---\n# another\nd: 2\n...\n";
        let all = read(text).unwrap();
        let lines: Vec<usize> = all.iter().map(|node| node.line).collect();
        assert_eq!(lines, [4, 13]);
        let root = At::root("f.yaml", "document", &all[0]);
        let a = root.required("a").unwrap();
        let line = |key| a.required(key).unwrap().node().line;
        assert_eq!((a.node().line, line("b"), line("c")), (4, 5, 6));
        assert_eq!(a.required("c").unwrap().items().unwrap().nth(1).unwrap().node().line, 8);
        assert_eq!(a.required("d").unwrap_err().detail, "f.yaml:4: a has no d; add it");
        assert_eq!(
            a.required("c").unwrap().text().unwrap_err().detail,
            "f.yaml:6: c must be a string, and this is a list; put it in quotes"
        );
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let text = "base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\nagain: *base\nk: &k name\n*k : *k\n\
                    more:\n  <<: [{a: 5}, *base, {c: 6}]\n";
        let base = json!({"a": 1, "b": 2});
        let expected = json!({
            "base": base, "use": {"a": 1, "b": 3}, "again": base, "k": "name", "name": "name",
            "more": {"a": 5, "b": 2, "c": 6}
        });
        assert_eq!(values(text), [expected]);
        assert!(error("a:\n  <<: 5\n").starts_with("f.yaml:2: '<<' takes a mapping"));
    }

    #[test]
    fn a_text_without_anything_has_no_documents() {
        for text in ["", "\n", "# only a comment\n", "---\n", "---\n---\n...\n", "\u{feff}"] {
            assert_eq!(values(text), Vec::<Value>::new(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let cases = [
            ("a: 1\nb: [1\nc: 2\n", "f.yaml:3: not valid YAML: "),
            ("a: 1\nb: 2\na: 3\n", "f.yaml:3: the key 'a' occurs twice in one mapping, first on line 1; remove one"),
            ("a:\n\tb: 2\n", "f.yaml:2: not valid YAML: "),
            ("a: *gone\n", "f.yaml:1: an alias (*) of an anchor (&) that is not in the document"),
            ("a: &x 1\n---\na: *x\n", "f.yaml:3: an alias (*) of an anchor"),
            ("a: .inf\n", "f.yaml:1: .inf is no number that Kubernetes takes"),
            ("? [a, b]\n: c\n", "f.yaml:1: a key must be a string"),
            (": c\n", "f.yaml:1: a key is missing before ':'"),
            ("a: !Ref b\n", "f.yaml:1: the tag !Ref means nothing here; write the value without it"),
            ("a: !!set {b, c}\n", "f.yaml:1: the tag !!set means nothing here"),
            ("a: !!binary aGk=\n", "f.yaml:1: the tag !!binary means nothing here"),
            ("a: \"b\n", "f.yaml:"),
        ];
        for (text, expected) in cases {
            assert!(error(text).starts_with(expected), "{text}\n{}", error(text));
        }
        assert!(error(&"x".repeat(1_500_001)).starts_with("f.yaml:1: 1500001 bytes are more than"));
    }

    #[test]
    fn syntax_is_checked_without_regard_to_meaning() {
        for text in ["a: !Ref b\n", "a: 1\na: 2\n", "a: .inf\n", &"[".repeat(200)] {
            assert_eq!(check_syntax("f.yaml", text), Ok(()), "{text}");
        }
        assert!(
            check_syntax("f.yaml", "a: {b: 1\nc: 1\n").unwrap_err().detail.starts_with("f.yaml:2: not valid YAML: ")
        );
    }

    #[test]
    fn a_text_that_multiplies_itself_is_refused() {
        let mut laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
        for i in 1..12 {
            let row = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{row}]\n"));
        }
        assert!(error(&laughs).starts_with("f.yaml:6: files are not read beyond"), "{}", error(&laughs));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 400].join(", "));
        assert!(error(&long).starts_with("f.yaml:2: files are not read beyond"), "{}", error(&long));
        assert!(error("a: &a [1, *a]\n").starts_with("f.yaml:1: an alias (*) within its own anchor"));
        assert!(error("a: &a\n  b: *a\n").starts_with("f.yaml:2: an alias (*) within its own anchor"));
    }

    #[test]
    fn depth_is_bounded_also_through_aliases() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let refused = |text: &str| assert!(error(text).contains("beyond 64 levels"), "{}", error(text));
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        refused(&deep(MAX_DEPTH + 1));
        refused(&deep(700_000));
        refused(&(0..500).map(|level| format!("{}-\n", " ".repeat(level))).collect::<String>());
        let chain = (1..200).map(|i| format!("a{i}: &a{i} [*a{}]\n", i - 1)).collect::<String>();
        refused(&format!("a0: &a0 {}\n{chain}", deep(10)));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = read(&text);
        }

        #[test]
        fn never_panics_on_what_looks_like_yaml(text in "([-?:,&*!|>'\"{}#%@` \n\t\\[\\]]|a|b|0|<<|---|\\.\\.\\.){0,200}") {
            let _ = read(&text);
        }
    }
}
