//! One function per fuzz target, which panics on a violation. `fuzz_targets/` passes them to libFuzzer;
//! `tests/it/fuzz_corpus.rs` runs them on the corpus.

use std::io::{Cursor, Write as _};

use aws_lc_rs::digest;
use gybe::domain::filter::{self, Condition, PathSegment};
use gybe::domain::package::DefinitionFile;
use gybe::domain::problem::Problem;
use gybe::domain::scale::{ScaleDirection, added, initial_levels, instances, level_of, scaled};
use gybe::domain::vnfd::Vnfd;
use gybe::package::archive::{Archive, Limits};
use gybe::package::vnfd::Descriptor;
use gybe::package::yaml::{self, Budget};
use gybe::package::{csar as package, manifest, vnfd as descriptor};
use gybe::store::attributes::{self, Members, op_occs, packages, vnf_instances};
use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Length limit of a problem's `detail`, in bytes.
const LONGEST_DETAIL: usize = 16 * 1024;

/// A refusal has the status of a client error and a short `detail`.
fn assert_refusal(problem: &Problem, status: u16) {
    assert_eq!(problem.status, status, "{problem:?}");
    assert!(problem.detail.len() <= LONGEST_DETAIL, "{} bytes of {}", problem.detail.len(), &problem.detail[..100]);
}

// --- filters ----------------------------------------------------------------------------------------------------------

/// Parses the attribute filter in `data`, writes it, parses it again, and applies it to the attributes of each list.
/// `tests/it/fuzz_corpus.rs` runs it on databases.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(conditions) = filter::parse(text) else { return };
    let written: Vec<String> = conditions.iter().map(written).collect();
    let written = written.join(";");
    // Quotes and escapes can exceed the length limit of filters.
    if written.len() <= filter::MAX_LENGTH {
        let again = filter::parse(&written).expect("a written filter can be parsed");
        let meaning = |all: &[Condition]| -> Vec<_> {
            all.iter().map(|it| (it.operator, it.path.clone(), it.values.clone())).collect()
        };
        assert_eq!(meaning(&again), meaning(&conditions), "{written}");
    }
    for (_, members) in LISTS {
        if let Err(problem) = attributes::parse_filter(text, members) {
            assert_refusal(&problem, 400);
        }
    }
}

fn written(condition: &Condition) -> String {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1").replace(',', "~a").replace('@', "~b");
    let path: Vec<String> = condition
        .path
        .iter()
        .map(|name| match name {
            PathSegment::Member(name) => escape(name),
            PathSegment::Key => "@key".to_owned(),
        })
        .collect();
    let values: Vec<String> = condition.values.iter().map(|it| format!(",'{}'", it.replace('\'', "''"))).collect();
    format!("({},{}{})", condition.operator.as_str(), path.join("/"), values.concat())
}

/// The attributes of each list.
pub static LISTS: [(List, &Members); 5] = [
    (List::Instances, &vnf_instances::V1),
    (List::Instances, &vnf_instances::V2),
    (List::OpOccs, &op_occs::V1),
    (List::OpOccs, &op_occs::V2),
    (List::Packages, &packages::V1),
];

/// The kind of a list's elements.
#[derive(Clone, Copy, Debug)]
pub enum List {
    Instances,
    OpOccs,
    Packages,
}

// --- packages ---------------------------------------------------------------------------------------------------------

/// Small, so that fuzzing exceeds them soon.
const LIMITS: Limits = Limits {
    entries: 50,
    file_bytes: 4 << 20,
    total_bytes: 8 << 20,
    ratio: 200,
    path_bytes: 200,
    path_depth: 8,
    definition_bytes: 1 << 20,
};

/// Start of the line that names a file, in data that lists files.
const FILE: &str = "=== ";

/// Onboards the package in `data` and reads everything that the API serves of it. `data` is an archive, or a list of files
/// (`=== path`, then the text) that this function packs, as random changes never produce a valid checksum.
pub fn csar(data: &[u8]) {
    let archive = match listed(data) {
        Some(files) => packed(&files),
        None => data.to_vec(),
    };
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&archive).expect("is written");
    let path = file.path();
    let onboarded = package::onboard(path, &LIMITS);
    for refusal in
        [onboarded.as_ref().err().cloned(), package::vnfd(path, &LIMITS).err(), package::manifest(path, &LIMITS).err()]
    {
        refusal.iter().for_each(|problem| assert_refusal(problem, 422));
    }
    let Ok(onboarded) = onboarded else { return };
    check_descriptor(&onboarded.content.vnfd);
    if let Err(problem) = manifest::read(&onboarded.files) {
        assert_refusal(&problem, 422);
    }
    for artifact in &onboarded.content.artifacts {
        let opened = Archive::open(path, &LIMITS).expect("it was opened before");
        let (mut reader, size) = opened.reader(path, &artifact.path).expect("its hash was taken");
        assert_eq!(std::io::copy(&mut reader, &mut std::io::sink()).expect("it was read"), size);
    }
}

/// Path and text of each file; `None` if `data` does not list files.
fn listed(data: &[u8]) -> Option<Vec<(&str, &str)>> {
    let list = std::str::from_utf8(data).ok()?.strip_prefix(FILE)?;
    Some(list.split("\n=== ").map(|file| file.split_once('\n').unwrap_or((file, ""))).collect())
}

/// An archive of the files. Replaces `#HASH path` in a text by the SHA-256 of that file.
fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        let hashed: Vec<String> = text.split('\n').map(|line| with_hash(line, files)).collect();
        // The writer refuses a name that occurs twice.
        if archive.start_file(*path, SimpleFileOptions::default()).is_ok() {
            archive.write_all(hashed.join("\n").as_bytes()).expect("memory takes it");
        }
    }
    archive.finish().expect("memory takes it").into_inner()
}

fn with_hash(line: &str, files: &[(&str, &str)]) -> String {
    let named = line.split_once("#HASH ").and_then(|(before, path)| {
        let (_, text) = files.iter().find(|(name, _)| *name == path.trim())?;
        Some(format!("{before}{}", hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))))
    });
    named.unwrap_or_else(|| line.to_owned())
}

/// Reads the descriptor whose entry file is the first one that `data` lists.
pub fn vnfd(data: &[u8]) {
    let Some(files) = listed(data) else { return };
    let Some((entry, _)) = files.first() else { return };
    let find = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
    match descriptor::read(entry, "meta:1", &mut |path| Ok(find(path))) {
        Ok(Descriptor { vnfd, files, .. }) => {
            assert!(!files.is_empty());
            check_descriptor(&vnfd);
        }
        Err(problem) => assert_refusal(&problem, 422),
    }
}

/// Computes all levels and instance counts that operations derive from a descriptor, and stores it as JSON and back.
fn check_descriptor(vnfd: &Vnfd) {
    let text = serde_json::to_string(vnfd).expect("it is stored as JSON");
    assert_eq!(serde_json::from_str::<Vnfd>(&text).expect("and read back"), *vnfd);
    for flavour in vnfd.flavours.values() {
        let levels = flavour.levels.keys().map(Some).chain([None]);
        for level in levels.take(8) {
            let Ok(at) = initial_levels(flavour, level.map(String::as_str)) else { continue };
            let numbers = instances(flavour, &at, level.map(String::as_str));
            for (id, aspect) in flavour.aspects.iter().take(8) {
                // An instantiation level may be beyond the levels of the aspect.
                let most = at.get(id).copied().unwrap_or(0).max(aspect.max_level);
                assert!(level_of(flavour, &at, id, &numbers).is_none_or(|level| level <= most));
                for steps in [1, aspect.max_level, u32::MAX] {
                    for direction in [ScaleDirection::Out, ScaleDirection::In] {
                        if let Ok(after) = scaled(flavour, &at, direction, id, steps) {
                            let _numbers: Vec<u32> =
                                flavour.vdus.keys().map(|vdu| added(flavour, &after, vdu)).collect();
                        }
                    }
                }
            }
        }
    }
}

// --- YAML -------------------------------------------------------------------------------------------------------------

/// Parses the text as documents and as Kubernetes objects, stores them as JSON and reads them back.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if yaml::manifests("f.yaml", text, &mut Budget::default()).is_ok() {
        yaml::check_syntax("f.yaml", text).expect("a parsed document is YAML");
    }
    match yaml::documents("f.yaml", text, &mut Budget::default()) {
        Ok(documents) => {
            for node in documents {
                assert!((1..=text.len() + 1).contains(&node.line));
                let value = Value::from(node);
                let json = serde_json::to_string(&value).expect("it is stored as JSON");
                assert_eq!(serde_json::from_str::<Value>(&json).expect("and read back"), value);
            }
        }
        Err(problem) => assert_refusal(&problem, 422),
    }
    let file = DefinitionFile::new("f.yaml", text);
    match manifest::read(&[file]) {
        Ok(objects) => {
            for object in objects {
                assert!(!object.kind().is_empty() && !object.name().is_empty() && !object.api_version().is_empty());
            }
        }
        Err(problem) => assert_refusal(&problem, 422),
    }
}
