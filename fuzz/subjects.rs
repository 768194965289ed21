//! What is fuzzed: a function per target, which fails by panicking. `fuzz_targets/` gives them to libFuzzer, and
//! `tests/it/fuzz_corpus.rs` what libFuzzer has found.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::sync::Arc;

use aws_lc_rs::digest;
use gybe::clock::{Ids as _, System};
use gybe::domain::filter::{self, Condition, Name};
use gybe::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId};
use gybe::domain::instance::{InstantiatedVnfInfo, VirtualStorage, VnfInstance, VnfMetadata, VnfState, Vnfc};
use gybe::domain::op_occ::{OpState, VnfLcmOpOcc};
use gybe::domain::package::{ArtifactInfo, Content, DefinitionFile};
use gybe::domain::problem::Problem;
use gybe::domain::scale::{ScaleDirection, added, initial_levels, instances, level_of, scaled};
use gybe::domain::vim::VimConnection;
use gybe::domain::vnfd::Vnfd;
use gybe::package::archive::{Archive, Limits};
use gybe::package::vnfd::Descriptor;
use gybe::package::yaml::{self, Budget};
use gybe::package::{csar as package, manifest, vnfd as descriptor};
use gybe::store::attributes::{self, Filter, Members, op_occs, packages, vnf_instances};
use gybe::store::{OnboardedVnfd, Page, Store, StoreError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::store::{failed_operation, onboarded, open};

/// What is told to a caller is no longer than this, in bytes, whatever he sent.
const LONGEST_DETAIL: usize = 16 * 1024;

/// A refusal says that it was the input, and says it briefly.
fn refused(problem: &Problem, status: u16) {
    assert_eq!(problem.status, status, "{problem:?}");
    assert!(problem.detail.len() <= LONGEST_DETAIL, "{} bytes of {}", problem.detail.len(), &problem.detail[..100]);
}

// --- filters ----------------------------------------------------------------------------------------------------------

/// The attribute filter in `data`: read, written and read again, and given to a database as the filter of each list.
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
    for (list, members) in LISTS {
        match attributes::filter(text, members) {
            Ok(filter) => DATABASE.with(|database| database.read(list, &filter, text)),
            Err(problem) => refused(&problem, 400),
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

#[derive(Clone, Copy, Debug)]
enum List {
    Instances,
    OpOccs,
    Packages,
}

static LISTS: [(List, &Members); 5] = [
    (List::Instances, &vnf_instances::V1),
    (List::Instances, &vnf_instances::V2),
    (List::OpOccs, &op_occs::V1),
    (List::OpOccs, &op_occs::V2),
    (List::Packages, &packages::V1),
];

thread_local! {
    static DATABASE: Database = Database::new().expect("a database");
}

/// A SQLite database with elements in each list.
struct Database {
    store: Arc<dyn Store>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Database {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let (folder, runtime) = (TempDir::new()?, Runtime::new()?);
        let url = format!("sqlite://{}", folder.path().join("gybe.db").display());
        let store = runtime.block_on(async {
            let store = open(&url).await;
            fill(&store).await.map(|()| store)
        })?;
        Ok(Self { store, runtime, _folder: folder })
    }

    /// The list that is filtered so. It may be empty; that it is read is what matters.
    fn read(&self, list: List, filter: &Filter, text: &str) {
        let (project, page) = (ProjectId::default(), Page { filter, after: None, limit: 10 });
        let read = self.runtime.block_on(async {
            match list {
                List::Instances => self.store.list_instances(&project, &page).await.map(drop),
                List::OpOccs => self.store.op_occs(&project, &page).await.map(drop),
                List::Packages => self.store.packages(&project, &page).await.map(drop),
            }
        });
        read.unwrap_or_else(|error| panic!("{list:?} by {text}: {error:?}"));
    }
}

/// Adds an element to each list, in which all that can be asked for is there.
async fn fill(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let odd = json!({ "list": [1, "x", { "y": true }], "a\"b'c/d~,@$.*": "odd", "null": null, "deep": { "n": 1.5e3 } });
    let odd: Map<String, Value> = odd.as_object().cloned().unwrap_or_default();
    let artifact = ArtifactInfo {
        path: "Files/a.yaml".to_owned(),
        algorithm: "SHA-256".to_owned(),
        hash: "00".to_owned(),
        content_type: Some("application/yaml".to_owned()),
    };
    let op = store.op_occ(&ProjectId::default(), failed_operation(store).await).await?;
    let plain = store.instance(&op.project_id, op.vnf_instance_id).await?;
    let OnboardedVnfd { mut vnfd, .. } = store.vnfd(&op.project_id, &plain.vnfd_id).await?;
    vnfd.id = "vnfd".to_owned();
    let content = Content { vnfd, sha512: "0".to_owned(), size: 1, artifacts: vec![artifact] };
    let package = onboarded(&**store, &content, &[]).await.package_id;
    store.update_package(&op.project_id, package, None, Some(&odd)).await?;
    let instance = VnfInstance {
        id: VnfInstanceId(System.uuid()),
        description: Some("description".to_owned()),
        vnf_pkg_id: package,
        metadata: VnfMetadata { namespace: None, user: odd.clone() },
        extensions: odd.clone(),
        configurable_properties: odd.clone(),
        vim_connections: BTreeMap::from([("vim".to_owned(), connection(&odd))]),
        instantiated: Some(instantiated()),
        ..plain
    };
    store.create_instance(&instance).await?;
    let op = VnfLcmOpOcc {
        id: VnfLcmOpOccId(System.uuid()),
        vnf_instance_id: instance.id,
        state: OpState::Processing,
        params: odd.into(),
        error: Some(Problem::conflict("stopped").with("more", 7)),
        ..op
    };
    store.begin_operation(&op, &instance).await
}

fn connection(odd: &Map<String, Value>) -> VimConnection {
    VimConnection {
        vim_id: Some("id".to_owned()),
        vim_type: "ETSINFV.KUBERNETES.V_1".to_owned(),
        interface_info: odd.clone(),
        access_info: Map::new(),
        secrets: BTreeMap::new(),
        extra: odd.clone(),
        home: true,
        added_by: None,
    }
}

fn instantiated() -> InstantiatedVnfInfo {
    let vnfc = Vnfc {
        vdu_id: "VDU1".to_owned(),
        pod_name: "app-1".to_owned(),
        pod_uid: "uid".to_owned(),
        workload_kind: "Deployment".to_owned(),
        workload_name: "app".to_owned(),
    };
    InstantiatedVnfInfo {
        flavour_id: "simple".to_owned(),
        vnf_state: VnfState::Started,
        scale_levels: BTreeMap::from([("a".to_owned(), 1)]),
        max_scale_levels: BTreeMap::from([("a".to_owned(), 3)]),
        definition_files: vec!["Files/a.yaml".to_owned()],
        vnfcs: vec![vnfc],
        storages: vec![VirtualStorage { claim_name: "data".to_owned(), claim_uid: "u".to_owned() }],
    }
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
