//! Packs the files of a package: lists and hashes in TOSCA.meta and the manifest, then the ZIP.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use aws_lc_rs::digest;
use zip::ZipWriter;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;

use crate::cli::folder::Files;
use crate::cli::{CliError, Exit};
use crate::package::meta::{self, Artifact, Meta};

/// The path of TOSCA.meta.
pub const TOSCA_META: &str = "TOSCA-Metadata/TOSCA.meta";

/// Writes the hashes of all listed files, and adds the files that no list names to TOSCA.meta, or to the manifest of a package
/// without. The same files make the same package.
///
/// # Errors
/// A list can't be read, or is signed.
pub fn hash(files: &mut Files) -> Result<(), CliError> {
    let lists: Vec<String> = files.keys().filter(|path| is_list(path)).cloned().collect();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for path in &lists {
        let text = text_of(files, path)?;
        let meta = meta::read(path, &text)?;
        listed.extend(meta.artifacts.iter().map(|artifact| artifact.path.text.clone()));
        listed.extend(meta.unhashed.iter().map(|path| path.text.clone()));
        listed.extend(meta.artifacts.iter().flat_map(|artifact| artifact.signatures.iter().cloned()));
        let hashed = with_hashes(&text, &meta, files);
        if hashed != text && text.contains("-----BEGIN") {
            let what =
                format!("{path} is signed, and its hashes are not those of the files: write them, and sign it again");
            return Err(CliError::new(Exit::Failed, what));
        }
        files.insert(path.clone(), hashed.into_bytes());
    }
    let Some(list) = lists.iter().find(|path| *path == TOSCA_META).or(lists.first()).cloned() else { return Ok(()) };
    let is_new = |path: &&String| !is_descriptor(path) && !is_list(path) && !listed.contains(*path);
    let new: Vec<String> = files.keys().filter(is_new).cloned().collect();
    let mut text = text_of(files, &list)?;
    if !new.is_empty() && text.contains("-----BEGIN") {
        let what = format!("{list} is signed and lists no {}: add it, and sign the list again", new.join(", "));
        return Err(CliError::new(Exit::Failed, what));
    }
    let key = if list == TOSCA_META { "Name" } else { "Source" };
    for path in new {
        let content = files.get(&path).map(Vec::as_slice).unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = write!(text, "\n{key}: {path}\nAlgorithm: SHA-256\nHash: {}\n", sha256(content));
    }
    files.insert(list, text.into_bytes());
    Ok(())
}

fn is_list(path: &str) -> bool {
    path == TOSCA_META || (path.ends_with(".mf") && !path.starts_with("Files/"))
}

/// Whether the file is of the VNFD, which needs no list: below Definitions, or at the root of a package without TOSCA.meta.
fn is_descriptor(path: &str) -> bool {
    path.starts_with("Definitions/") || path.starts_with("TOSCA-Metadata/") || !path.contains('/')
}

fn text_of(files: &Files, path: &str) -> Result<String, CliError> {
    let bytes = files.get(path).cloned().unwrap_or_default();
    String::from_utf8(bytes)
        .map_err(|_| CliError::new(Exit::Failed, format!("{path}:1: is not UTF-8; save it as UTF-8 text")))
}

/// `text` with a line for each hash that is that of the file.
fn with_hashes(text: &str, meta: &Meta, files: &Files) -> String {
    let hash = |artifact: &Artifact| {
        let (content, name) = (files.get(&artifact.path.text)?, artifact.algorithm.text.to_ascii_lowercase());
        let algorithm = match name.replace('-', "").as_str() {
            "sha224" => &digest::SHA224,
            "sha384" => &digest::SHA384,
            "sha512" => &digest::SHA512,
            "sha256" => &digest::SHA256,
            // The reader says which algorithms there are.
            _ => return None,
        };
        let digest = hex::encode(digest::digest(algorithm, content));
        (!digest.eq_ignore_ascii_case(&artifact.hash.text)).then_some((artifact.hash.line, digest))
    };
    let changed: std::collections::BTreeMap<usize, String> = meta.artifacts.iter().filter_map(hash).collect();
    if changed.is_empty() {
        return text.to_owned();
    }
    let (mut lines, mut continues) = (String::with_capacity(text.len()), false);
    for (index, line) in text.lines().enumerate() {
        if let Some(digest) = changed.get(&(index + 1)) {
            let key = line.split(':').next().unwrap_or("Hash");
            let _ = writeln!(lines, "{key}: {digest}");
            continues = true;
        } else if !(continues && line.starts_with([' ', '\t'])) {
            let _ = writeln!(lines, "{line}");
            continues = false;
        }
    }
    lines
}

/// The SHA-256 in lower-case hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, content))
}

/// The SHA-512 in lower-case hexadecimal digits.
pub fn sha512(content: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA512, content))
}

/// A ZIP of these files.
///
/// # Errors
/// They can't be packed, such as more than 4 GiB.
pub fn zip(files: &Files) -> Result<Vec<u8>, CliError> {
    let zip = || -> ZipResult<Vec<u8>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in files {
            writer.start_file(path.as_str(), SimpleFileOptions::default())?;
            writer.write_all(content)?;
        }
        Ok(writer.finish()?.into_inner())
    };
    zip().map_err(|error| CliError::new(Exit::Failed, format!("the files can't be packed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(meta: &str) -> Files {
        let list = [(TOSCA_META, meta), ("Definitions/a.yaml", "x"), ("Files/a.yaml", "a"), ("Files/b.yaml", "b")];
        list.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn hashed(meta: &str) -> Result<String, CliError> {
        let mut files = files(meta);
        hash(&mut files)?;
        text_of(&files, TOSCA_META)
    }

    #[test]
    fn wrong_hashes_are_corrected_and_new_files_are_listed() {
        let text = "Entry-Definitions: Definitions/a.yaml\n\nName: Files/a.yaml\nAlgorithm: SHA-256\nHash: 00\n  11\nContent-Type: x\n";
        let expected = format!(
            "Entry-Definitions: Definitions/a.yaml\n\nName: Files/a.yaml\nAlgorithm: SHA-256\nHash: {}\nContent-Type: x\n\n\
             Name: Files/b.yaml\nAlgorithm: SHA-256\nHash: {}\n",
            sha256(b"a"),
            sha256(b"b")
        );
        assert_eq!(hashed(text).unwrap(), expected);
        assert_eq!(hashed(&expected).unwrap(), expected, "what is right stays");
    }

    #[test]
    fn a_signed_list_is_not_changed() {
        let text = "Name: Files/a.yaml\nAlgorithm: SHA-256\nHash: 00\n\n-----BEGIN CMS-----\n";
        assert!(hashed(text).unwrap_err().to_string().contains("is signed"));
    }
}
