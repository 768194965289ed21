//! What is fuzzed: a function per target, which fails by panicking. `fuzz_targets/` gives them to libFuzzer, and
//! `tests/it/fuzz_corpus.rs` what libFuzzer has found.

use std::io::{Cursor, Write as _};

use aws_lc_rs::digest;
use gybe::domain::filter::{self, Condition, Name};
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

/// What is told to a caller is no longer than this, in bytes, whatever he sent.
const LONGEST_DETAIL: usize = 16 * 1024;

/// A refusal says that it was the input, and says it briefly.
fn refused(problem: &Problem, status: u16) {
    assert_eq!(problem.status, status, "{problem:?}");
    assert!(problem.detail.len() <= LONGEST_DETAIL, "{} bytes of {}", problem.detail.len(), &problem.detail[..100]);
}

// --- filters ----------------------------------------------------------------------------------------------------------

/// The attribute filter in `data`: read, written and read again, and read as the filter of each list. What a database makes of
/// it is asked where there is one, `tests/it/fuzz_corpus.rs`.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(conditions) = filter::parse(text) else { return };
    let written: Vec<String> = conditions.iter().map(written).collect();
    let written = written.join(";");
    // Quotes and escapes may make it longer than a filter may be.
    if written.len() <= filter::MAX_LENGTH {
        let again = filter::parse(&written).expect("what was written is a filter");
        let meaning = |all: &[Condition]| -> Vec<_> {
            all.iter().map(|it| (it.operator, it.path.clone(), it.values.clone())).collect()
        };
        assert_eq!(meaning(&again), meaning(&conditions), "{written}");
    }
    for (_, members) in LISTS {
        if let Err(problem) = attributes::filter(text, members) {
            refused(&problem, 400);
        }
    }
}

fn written(condition: &Condition) -> String {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1").replace(',', "~a").replace('@', "~b");
    let path: Vec<String> = condition
        .path
        .iter()
        .map(|name| match name {
            Name::Member(name) => escape(name),
            Name::Key => "@key".to_owned(),
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

/// What is listed.
#[derive(Clone, Copy, Debug)]
pub enum List {
    Instances,
    OpOccs,
    Packages,
}

// --- packages ---------------------------------------------------------------------------------------------------------

/// Small, so that what is beyond them is soon reached.
const LIMITS: Limits = Limits {
    entries: 50,
    file_bytes: 4 << 20,
    total_bytes: 8 << 20,
    ratio: 200,
    path_bytes: 200,
    path_depth: 8,
    definition_bytes: 1 << 20,
};

/// What begins a line before the path of a file, in data that is a list of files.
const FILE: &str = "=== ";

/// A package is read, and all that can be asked of it later. `data` is an archive, or a list of files (`=== path`, then the
/// text), of which one is made: no chance would find a checksum.
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
        refusal.iter().for_each(|problem| refused(problem, 422));
    }
    let Ok(onboarded) = onboarded else { return };
    sane(&onboarded.content.vnfd);
    if let Err(problem) = manifest::read(&onboarded.files) {
        refused(&problem, 422);
    }
    for artifact in &onboarded.content.artifacts {
        let opened = Archive::open(path, &LIMITS).expect("it was opened before");
        let (mut reader, size) = opened.reader(path, &artifact.path).expect("its hash was taken");
        assert_eq!(std::io::copy(&mut reader, &mut std::io::sink()).expect("it was read"), size);
    }
}

/// Path and text of each file; `None` if it is no list of files.
fn listed(data: &[u8]) -> Option<Vec<(&str, &str)>> {
    let list = std::str::from_utf8(data).ok()?.strip_prefix(FILE)?;
    Some(list.split("\n=== ").map(|file| file.split_once('\n').unwrap_or((file, ""))).collect())
}

/// The files as an archive. `#HASH path` in a text is the SHA-256 of that file.
fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        let hashed: Vec<String> = text.split('\n').map(|line| with_hash(line, files)).collect();
        // A name that occurs twice is refused here already.
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

/// The descriptor whose entry is the first of the files that `data` lists.
pub fn vnfd(data: &[u8]) {
    let Some(files) = listed(data) else { return };
    let Some((entry, _)) = files.first() else { return };
    let find = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
    match descriptor::read(entry, "meta:1", &mut |path| Ok(find(path))) {
        Ok(Descriptor { vnfd, files }) => {
            assert!(!files.is_empty());
            sane(&vnfd);
        }
        Err(problem) => refused(&problem, 422),
    }
}

/// All that an operation works out of a descriptor can be, and it is stored as it is.
fn sane(vnfd: &Vnfd) {
    let text = serde_json::to_string(vnfd).expect("it is stored as JSON");
    assert_eq!(serde_json::from_str::<Vnfd>(&text).expect("and read back"), *vnfd);
    for flavour in vnfd.flavours.values() {
        let levels = flavour.levels.keys().map(Some).chain([None]);
        for level in levels.take(8) {
            let Ok(at) = initial_levels(flavour, level.map(String::as_str)) else { continue };
            let numbers = instances(flavour, &at, level.map(String::as_str));
            for (id, aspect) in flavour.aspects.iter().take(8) {
                assert!(at.get(id).is_none_or(|level| *level <= aspect.max_level));
                if let Some(seen) = level_of(flavour, &at, id, &numbers) {
                    assert!(seen <= aspect.max_level);
                }
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

/// The text as documents, and as Kubernetes objects. What is read can be stored and read back.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match yaml::documents("f.yaml", text, &mut Budget::default()) {
        Ok(documents) => {
            yaml::check_syntax("f.yaml", text).expect("what is read is YAML");
            for node in documents {
                assert!((1..=text.len() + 1).contains(&node.line));
                let value = Value::from(node);
                let json = serde_json::to_string(&value).expect("it is stored as JSON");
                assert_eq!(serde_json::from_str::<Value>(&json).expect("and read back"), value);
            }
        }
        Err(problem) => refused(&problem, 422),
    }
    let file = DefinitionFile { path: "f.yaml".to_owned(), text: text.to_owned() };
    match manifest::read(&[file]) {
        Ok(objects) => {
            for object in objects {
                assert!(!object.kind().is_empty() && !object.name().is_empty() && !object.api_version().is_empty());
            }
        }
        Err(problem) => refused(&problem, 422),
    }
}
