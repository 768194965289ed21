//! Finds the files of a VNFD by their imports, from the entry file on. They are bounded in number and size, and all in the CSAR.

use std::collections::{BTreeSet, VecDeque};

use crate::domain::problem::{Problem, ProblemType, problem};
use crate::package::yaml::{self, At, Budget, Node};

/// The most files of a VNFD.
const MAX_FILES: usize = 100;
/// The most bytes of all files of a VNFD.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Reads the text of a file of the package by its path; `None` if there is no such file.
pub type FileReader<'a> = dyn FnMut(&str) -> Result<Option<String>, Problem> + 'a;

/// Path and text.
type Files = Vec<(String, String)>;

/// The files that `entry` imports, directly or not, and their documents. Errors about `entry` name `place`.
pub(super) fn load(entry: &str, place: &str, read_file: &mut FileReader<'_>) -> Result<(Files, Vec<Node>), Problem> {
    let (mut files, mut documents) = (Files::new(), Vec::new());
    let mut seen = BTreeSet::from([entry.to_owned()]);
    let mut wanted = VecDeque::from([(entry.to_owned(), place.to_owned())]);
    let (mut size, mut budget) = (0, Budget::default());
    while let Some((path, place)) = wanted.pop_front() {
        let Some(text) = read_file(&path)? else {
            if is_standard(&path) {
                continue;
            }
            return Err(problem!(
                ProblemType::InvalidPackage,
                "{place}: there is no file {file} in the CSAR; add it or correct the path",
                place = place,
                file = path,
            ));
        };
        size += text.len();
        if files.len() == MAX_FILES || size > MAX_BYTES {
            return Err(problem!(
                ProblemType::InvalidPackage,
                "{place}: the VNFD has more than {limit} files or {maxBytes} bytes; import less",
                place = place,
                limit = MAX_FILES,
                maxBytes = MAX_BYTES,
            ));
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
        (Some(_), Some(second)) => Err(yaml::problem(
            path,
            second.line,
            "a file of a VNFD is one YAML document, and this is another; remove the '---'",
        )),
        _ => Err(yaml::problem(
            path,
            1,
            "a file of a VNFD is a mapping with tosca_definitions_version; correct the file",
        )),
    }
}

/// The paths that a file imports, with file and line of each import.
fn imports(root: At<'_>) -> Result<Vec<(String, String)>, Problem> {
    let Some(list) = root.member("imports") else { return Ok(Vec::new()) };
    let items: Vec<At<'_>> =
        if list.node().as_map().is_some() { list.entries()?.collect() } else { list.items()?.collect() };
    let mut imports = Vec::new();
    for import in items.into_iter().map(imported) {
        let path = import.text()?;
        if !(is_standard(path) && path.contains("://")) {
            imports.push((resolve(import, path)?, format!("{}:{}", import.file(), import.node().line)));
        }
    }
    Ok(imports)
}

/// Whether it is a file of types of the standard. These are built in: the package need not contain them.
fn is_standard(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("etsi_nfv_sol001_"))
}

/// The path of an import: `path`, `file: path`, `name: path` or `name: {file: path}`.
fn imported(import: At<'_>) -> At<'_> {
    let only = || import.entries().ok()?.next();
    let file = import.member("file").or_else(|| only().map(|named| named.member("file").unwrap_or(named)));
    file.unwrap_or(import)
}

/// Resolves `path` against the file that imports it.
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
