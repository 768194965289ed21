//! The templates of a VNFD (TOSCA simple profile) with types, defaults and inputs resolved.

use std::collections::BTreeMap;

use crate::domain::problem::Problem;
use crate::package::yaml::At;

/// The most derivations between a type and the one it is derived from.
const MAX_DERIVATIONS: usize = 32;
/// The most characters of an identifier, a version or a name.
const LONGEST_TEXT: usize = 255;

/// All files of a VNFD.
pub(super) struct Model<'a> {
    pub files: &'a [At<'a>],
    types: BTreeMap<&'a str, At<'a>>,
}

impl<'a> Model<'a> {
    pub fn new(files: &'a [At<'a>]) -> Self {
        let types = files.iter().filter_map(|file| file.member("node_types")?.entries().ok()).flatten();
        Self { files, types: types.map(|node_type| (node_type.key(), node_type)).collect() }
    }

    /// The node templates of a file.
    ///
    /// # Errors
    /// 422 unless they are a mapping.
    pub fn nodes(&self, file: At<'a>) -> Result<Vec<At<'a>>, Problem> {
        let templates = file.member("topology_template").and_then(|topology| topology.member("node_templates"));
        templates.map_or(Ok(Vec::new()), |templates| Ok(templates.entries()?.collect()))
    }

    /// Whether the type of the node is one of `wanted` or derived from one.
    pub fn is_a(&self, node: At<'a>, wanted: &[&str]) -> bool {
        let Some(name) = node.member("type").and_then(|name| name.node().as_text()) else { return false };
        self.derivation(name).any(|name| wanted.contains(&name))
    }

    /// A type and the types that it is derived from.
    fn derivation(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let parent = |name: &&'a str| self.types.get(name)?.member("derived_from")?.node().as_text();
        std::iter::successors(Some(name), parent).take(MAX_DERIVATIONS)
    }

    /// A property of a node: its own value, else the default of the input that `get_input` names, else the default of the
    /// node's type.
    pub fn property(&self, node: At<'a>, name: &'a str) -> Option<At<'a>> {
        let own = node.member("properties").and_then(|properties| properties.member(name));
        match own {
            Some(value) if value.member("get_input").is_none() => Some(value),
            Some(value) => self.input_default(value).or_else(|| self.type_default(node, name)),
            None => self.type_default(node, name),
        }
    }

    fn input_default(&self, value: At<'a>) -> Option<At<'a>> {
        let input = value.member("get_input")?.node().as_text()?;
        let file = self.files.iter().find(|file| file.file() == value.file())?;
        file.member("topology_template")?.member("inputs")?.member(input)?.member("default")
    }

    fn type_default(&self, node: At<'a>, name: &'a str) -> Option<At<'a>> {
        let default = |type_name| self.types.get(type_name)?.member("properties")?.member(name)?.member("default");
        self.derivation(node.member("type")?.node().as_text()?).find_map(default)
    }

    /// A property that is a text of 1 to [`LONGEST_TEXT`] characters.
    ///
    /// # Errors
    /// 422 if it is missing or something else.
    pub fn required_text(&self, node: At<'a>, name: &'a str) -> Result<String, Problem> {
        let missing = || node.problem(format!("the node {} has no property {name}; add it", node.key()));
        let value = self.property(node, name).ok_or_else(missing)?;
        // The key of a default is only `default`.
        let text = value.node().as_text().ok_or_else(|| {
            value
                .problem(format!("{name} must be a string, and this is {}; put it in quotes", value.node().type_name()))
        })?;
        match text.chars().count() {
            0 => Err(missing()),
            1..=LONGEST_TEXT => Ok(text.to_owned()),
            _ => Err(value.problem(format!("{name} has more than {LONGEST_TEXT} characters"))),
        }
    }
}
