//! The files of a VNFD, found by their imports from the entry on. Bounded in number and size; nothing outside of the CSAR.

use std::collections::{BTreeSet, VecDeque};

use super::Source;
use crate::domain::problem::Problem;
use crate::package::yaml::{self, At, Budget, Node};

/// The most files of a VNFD.
const MAX_FILES: usize = 100;
/// The most a VNFD has in all.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Path and text.
type Files = Vec<(String, String)>;

/// The files that `entry`, which is named at `place`, leads to by its imports, and their documents.
pub(super) fn load(entry: &str, place: &str, source: &mut Source<'_>) -> Result<(Files, Vec<Node>), Problem> {
    let (mut files, mut documents) = (Files::new(), Vec::new());
    let mut seen = BTreeSet::from([entry.to_owned()]);
    let mut wanted = VecDeque::from([(entry.to_owned(), place.to_owned())]);
    let (mut size, mut budget) = (0, Budget::default());
    while let Some((path, place)) = wanted.pop_front() {
        let text = source(&path)?.ok_or_else(|| {
            Problem::invalid_package(format!(
                "{place}: there is no file {path} in the CSAR; add it or correct the path"
            ))
        })?;
        size += text.len();
        if files.len() == MAX_FILES || size > MAX_BYTES {
            return Err(Problem::invalid_package(format!(
                "{place}: the VNFD has more than {MAX_FILES} files or {MAX_BYTES} bytes; import less"
            )));
        }
        let node = only_document(&path, &text, &mut budget)?;
        for (import, place) in imports(At::root(&path, "the VNFD", &node))? {
            if seen.insert(import.clone()) {
                wanted.push_back((import, place));
            }
        }
        files.push((path, text));
        documents.push(node);
    }
    Ok((files, documents))
}

fn only_document(path: &str, text: &str, budget: &mut Budget) -> Result<Node, Problem> {
    let mut documents = yaml::documents(path, text, budget)?.into_iter();
    match (documents.next(), documents.next()) {
        (Some(node), None) if node.as_map().is_some() => Ok(node),
        (Some(_), Some(second)) => Err(Problem::invalid_package(format!(
            "{path}:{}: a file of a VNFD is one YAML document, and this is another; remove the '---'",
            second.line
        ))),
        _ => Err(Problem::invalid_package(format!(
            "{path}:1: a file of a VNFD is a mapping with tosca_definitions_version; correct the file"
        ))),
    }
}

/// The paths a file imports, and where it does.
fn imports(root: At<'_>) -> Result<Vec<(String, String)>, Problem> {
    let Some(list) = root.member("imports") else { return Ok(Vec::new()) };
    let items: Vec<At<'_>> =
        if list.node().as_map().is_some() { list.entries()?.collect() } else { list.items()?.collect() };
    let mut imports = Vec::new();
    for import in items.into_iter().map(imported) {
        let path = import.text()?;
        // What the standard's own types say is known here.
        let standard = path.rsplit('/').next().is_some_and(|name| name.starts_with("etsi_nfv_sol001_"));
        if !(standard && path.contains("://")) {
            imports.push((resolve(import, path)?, format!("{}:{}", import.file(), import.node().line)));
        }
    }
    Ok(imports)
}

/// Where an import has its path: `path`, `file: path`, `name: path` or `name: {file: path}`.
fn imported(import: At<'_>) -> At<'_> {
    let only = || import.entries().ok()?.next();
    let file = import.member("file").or_else(|| only().map(|named| named.member("file").unwrap_or(named)));
    file.unwrap_or(import)
}

/// `path` as seen from the file it is imported by.
pub(super) fn resolve(at: At<'_>, path: &str) -> Result<String, Problem> {
    if path.contains("://") {
        return Err(
            at.problem(format!("the import {path} is a URL, and nothing is fetched; put the file into the CSAR"))
        );
    }
    let mut components: Vec<&str> = if path.starts_with('/') { Vec::new() } else { at.file().split('/').collect() };
    components.pop();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if components.pop().is_none() => {
                return Err(at.problem(format!("the import {path} leads out of the CSAR; correct the path")));
            }
            ".." => {}
            name => components.push(name),
        }
    }
    Ok(components.join("/"))
}
