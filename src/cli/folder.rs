//! Reads the files of a folder, within bounds. A folder may come from somebody else: links lead to no file outside of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::CliError;
use crate::package::archive::Limits;

/// The contents of files by their path below the folder, with `/` between the components.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The most bytes of all files together, which are in memory: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// Reads the files below `folder` whose path is `wanted`. Leaves out those whose name, or a folder of theirs, begins with a dot.
///
/// # Errors
/// A file that can't be read, a link to the outside, more files or bytes than a package may have.
pub fn read(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Files, CliError> {
    let root = fs::canonicalize(folder).map_err(|error| CliError::file(folder, "read", &error))?;
    let (mut files, mut bytes, limits) = (Files::new(), 0, Limits::default());
    let mut folders = vec![(String::new(), root.clone(), 0)];
    while let Some((prefix, folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| CliError::file(&folder, "read", &error))? {
            let entry = entry.map_err(|error| CliError::file(&folder, "read", &error))?;
            let name = name_of(&entry)?;
            if name.starts_with('.') {
                continue;
            }
            let (path, kind) = (format!("{prefix}{name}"), entry.file_type());
            if kind.map_err(|error| CliError::file(&entry.path(), "read", &error))?.is_dir() {
                if depth == limits.path_depth {
                    return Err(CliError::usage(format!("{path} is deeper than the {depth} folders of a package")));
                }
                folders.push((format!("{path}/"), entry.path(), depth + 1));
            } else if wanted(&path) {
                let file = within(&root, &entry.path())?;
                bytes += fs::metadata(&file).map_err(|error| CliError::file(&file, "read", &error))?.len();
                if bytes > MAX_BYTES || files.len() == limits.entries {
                    return Err(CliError::usage(format!(
                        "{} has more than {} files or {MAX_BYTES} bytes; name a folder with the files of one VNF",
                        root.display(),
                        limits.entries
                    )));
                }
                files.insert(path, fs::read(&file).map_err(|error| CliError::file(&file, "read", &error))?);
            }
        }
    }
    Ok(files)
}

fn name_of(entry: &fs::DirEntry) -> Result<String, CliError> {
    let name = entry.file_name().into_string();
    let wrong = |name: &dyn std::fmt::Debug| {
        CliError::usage(format!("the name of the file {name:?} is not UTF-8, or has control characters; rename it"))
    };
    let name = name.map_err(|name| wrong(&name))?;
    if name.contains(char::is_control) { Err(wrong(&name)) } else { Ok(name) }
}

/// The file at `path` that a link may lead to.
fn within(root: &Path, path: &Path) -> Result<PathBuf, CliError> {
    let file = fs::canonicalize(path).map_err(|error| CliError::file(path, "read", &error))?;
    if !file.starts_with(root) {
        return Err(CliError::usage(format!(
            "{} is a link that leads out of {}; put the file itself there",
            path.display(),
            root.display()
        )));
    }
    if !file.is_file() {
        return Err(CliError::usage(format!("{} is no regular file; remove it from the folder", path.display())));
    }
    Ok(file)
}
