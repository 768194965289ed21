//! `TOSCA-Metadata/TOSCA.meta` (TOSCA Simple Profile clause 6.2) and the manifest `*.mf` (SOL004 clause 4.3.2): blocks of
//! `Key: value` lines, one block per artifact. [`super::csar`] acts on them.
//!
//! Slightly more lenient than Tacker: the case of keys does not matter, a new `Name` or `Source` begins a new block even
//! without a blank line, values may be quoted, and unknown keys are ignored.

use std::collections::BTreeMap;

use crate::domain::problem::Problem;
use crate::package::yaml::problem;

/// The content of such a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The keys, in lower case, of the blocks that describe no artifact. The first value of a key counts.
    pub keys: BTreeMap<String, LocatedValue>,
    /// The artifacts that are hashed, in order.
    pub artifacts: Vec<Artifact>,
    /// The paths of the others.
    pub unhashed: Vec<LocatedValue>,
    /// `non_mano_artifact_sets` (SOL004 clause 4.3.7): the set of each path that is in one.
    pub sets: BTreeMap<String, String>,
}

/// A value and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedValue {
    /// From 1.
    pub line: usize,
    /// The value, without quotes.
    pub text: String,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// `Name` or `Source`: its path in the CSAR.
    pub path: LocatedValue,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Algorithm`.
    pub algorithm: LocatedValue,
    /// `Hash`.
    pub hash: LocatedValue,
    /// `Signature` and `Certificate`: the paths of what it is signed with, where they are given.
    pub signatures: Vec<String>,
}

/// Reads the `text` of `file`.
///
/// # Errors
/// 422 naming file and line of the first syntax error.
pub fn read(file: &str, text: &str) -> Result<Meta, Problem> {
    let mut meta = Meta::default();
    let mut block = BTreeMap::new();
    let mut last: Option<String> = None;
    // The set of the sources that follow; empty before the first.
    let mut set: Option<String> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line_number = index + 1;
        if line.starts_with("-----BEGIN") {
            // The signature is the end of a manifest.
            break;
        }
        if line.trim().is_empty() {
            meta.add(file, std::mem::take(&mut block))?;
            last = None;
        } else if line.starts_with([' ', '\t'])
            && let Some(name) = &mut set
        {
            match line.trim().split_once(':').map(|(key, value)| (key.trim(), unquoted(value.trim()))) {
                Some((key, "")) => unquoted(key).clone_into(name),
                Some((key, path)) if key.eq_ignore_ascii_case("source") => {
                    meta.sets.insert(path.to_owned(), name.clone());
                }
                _ => {}
            }
        } else if line.starts_with([' ', '\t']) {
            continue_value(&mut block, last.as_deref(), line.trim());
        } else if !line.starts_with('#') {
            let (key, value) = key_and_value(file, line_number, line)?;
            set = (key == "non_mano_artifact_sets").then(String::new);
            let begins = matches!(key.as_str(), "name" | "source");
            if begins && block.keys().any(|key| matches!(key.as_str(), "name" | "source")) {
                meta.add(file, std::mem::take(&mut block))?;
            }
            if block.insert(key.clone(), value).is_some() {
                return Err(problem(file, line_number, &format!("'{key}' occurs twice in one block; remove one")));
            }
            last = Some(key);
        }
    }
    meta.add(file, block)?;
    Ok(meta)
}

fn key_and_value(file: &str, line: usize, text: &str) -> Result<(String, LocatedValue), Problem> {
    let Some((key, value)) = text.split_once(':') else {
        let shown: String = text.chars().take(40).collect();
        return Err(problem(file, line, &format!("'{shown}' is not like 'Key: value'; correct or remove the line")));
    };
    Ok((key.trim().to_ascii_lowercase(), LocatedValue { line, text: unquoted(value.trim()).to_owned() }))
}

/// An indented line continues the value above it. The data under `metadata:` is not used.
fn continue_value(block: &mut BTreeMap<String, LocatedValue>, last: Option<&str>, more: &str) {
    if let Some(value) = last.filter(|key| *key != "metadata").and_then(|key| block.get_mut(key)) {
        value.text.push_str(more);
    }
}

/// A path without `./` at its beginning.
fn relative(mut path: LocatedValue) -> LocatedValue {
    if let Some(rest) = path.text.strip_prefix("./") {
        path.text = rest.to_owned();
    }
    path
}

fn unquoted(text: &str) -> &str {
    let within = |quote| text.strip_prefix(quote).and_then(|text: &str| text.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

impl Meta {
    /// Ends a block. TOSCA allows one that names a file without a hash.
    fn add(&mut self, file: &str, mut block: BTreeMap<String, LocatedValue>) -> Result<(), Problem> {
        let path = block.remove("name").or_else(|| block.remove("source")).map(relative);
        let hashed = block.contains_key("algorithm") || block.contains_key("hash");
        match path {
            None if hashed => {
                let line = block.values().map(|value| value.line).min().unwrap_or(1);
                Err(problem(file, line, "an artifact without Name or Source; add the path of its file"))
            }
            None => {
                for (key, value) in block {
                    self.keys.entry(key).or_insert_with(|| relative(value));
                }
                Ok(())
            }
            Some(path) if !hashed => {
                self.unhashed.push(path);
                Ok(())
            }
            Some(path) => {
                if path.text.is_empty() {
                    return Err(problem(file, path.line, "an artifact whose path is empty; add the path of its file"));
                }
                let mut required = |key: &str, name: &str| {
                    block.remove(key).filter(|value| !value.text.is_empty()).ok_or_else(|| {
                        let what = format!("the artifact {} has no {name}; add a line '{name}: …'", path.text);
                        problem(file, path.line, &what)
                    })
                };
                let (algorithm, hash) = (required("algorithm", "Algorithm")?, required("hash", "Hash")?);
                let content_type = block.remove("content-type").map(|value| value.text);
                let signatures = ["signature", "certificate"].into_iter().filter_map(|key| block.remove(key));
                let signatures = signatures.map(|value| value.text).collect();
                self.artifacts.push(Artifact { path, content_type, algorithm, hash, signatures });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        read("m", text).unwrap_err().detail
    }

    #[test]
    fn reads_blocks_with_their_lines() {
        let text = "\u{feff}TOSCA-Meta-File-Version: 1.0\r\nCreated-by: me\r\nEntry-Definitions: Definitions/\r\n top.yaml\r\n\r\n\r\n\
                    Name: a.yaml\r\nContent-Type: application/yaml\r\nAlgorithm: sha-256\r\nHash: ab\r\n  cd\r\n\
                    Source: b.yaml\r\nAlgorithm: SHA-512\r\nHash: 00\r\nSignature: x.p7s\r\n\r\nName: ./unhashed.txt\r\n";
        let meta = read("m", text).unwrap();
        let entry = meta.keys.get("entry-definitions").unwrap();
        assert_eq!((entry.line, entry.text.as_str()), (3, "Definitions/top.yaml"));
        let artifacts: Vec<_> = meta
            .artifacts
            .iter()
            .map(|a| (a.path.line, a.path.text.as_str(), a.hash.line, a.content_type.as_deref()))
            .collect();
        assert_eq!(artifacts, [(7, "a.yaml", 10, Some("application/yaml")), (12, "b.yaml", 14, None)]);
        assert_eq!(meta.unhashed, [LocatedValue { line: 17, text: "unhashed.txt".to_owned() }]);
    }

    #[test]
    fn accepts_a_manifest_with_metadata_and_signature() {
        let text = "metadata:\n  vnf_product_name: x\n  a: b\n# comment\n\nSource: a\nAlgorithm: SHA-256\nHash: 'ab'\n\n\
                    -----BEGIN CMS-----\nMIGDBgsqhkiG9w0BCRABCaB0\n-----END CMS-----\n";
        let meta = read("m", text).unwrap();
        assert_eq!(meta.artifacts.len(), 1);
        assert_eq!(meta.artifacts[0].hash.text, "ab");
    }

    #[test]
    fn reads_non_mano_artifact_sets_and_signatures() {
        let text = "metadata:\n  a: b\nnon_mano_artifact_sets:\n  onap:\n    Source: a/b.yml\n\n    Source: 'c'\n  prv.x:\n    \
                    source: d\nSource: a/b.yml\nAlgorithm: SHA-256\nHash: ab\nSignature: s.p7s\nCertificate: c.pem\n";
        let meta = read("m", text).unwrap();
        let sets: Vec<_> = meta.sets.iter().map(|(path, set)| (path.as_str(), set.as_str())).collect();
        assert_eq!(sets, [("a/b.yml", "onap"), ("c", "onap"), ("d", "prv.x")]);
        assert_eq!(meta.artifacts[0].signatures, ["s.p7s", "c.pem"]);
    }

    #[test]
    fn rejects_syntax_errors_with_their_line() {
        let cases = [
            ("a: b\nnonsense\n", "m:2: 'nonsense' is not like 'Key: value'"),
            ("Name: a\nHash: 00\n", "m:1: the artifact a has no Algorithm; add a line"),
            ("\nName: a\nAlgorithm: SHA-256\nHash:\n", "m:2: the artifact a has no Hash; add a line"),
            ("x: y\n\nAlgorithm: SHA-256\nHash: 00\n", "m:3: an artifact without Name or Source"),
            ("Name:\nAlgorithm: SHA-256\nHash: 00\n", "m:1: an artifact whose path is empty"),
            ("Name: a\nHash: 00\nHash: 01\n", "m:3: 'hash' occurs twice in one block"),
        ];
        for (text, expected) in cases {
            assert!(error(text).starts_with(expected), "{text}\n{}", error(text));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = read("m", &text);
        }

        #[test]
        fn never_panics_on_what_looks_like_blocks(text in "((Name|Source|Hash|Algorithm|metadata|-----BEGIN)?:? ?[\"'a\u{feff}]?\r?\n?){0,40}") {
            let _ = read("m", &text);
        }
    }
}
