//! Whole packages through [`gybe::package::csar`]: the forms of SOL004, and what a hostile uploader may send.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _, Write};

use aws_lc_rs::digest;
use gybe::domain::package::ArtifactClassification;
use gybe::domain::problem::Problem;
use gybe::package::archive::{Archive, Limits};
use gybe::package::bundle::{Bundle, Member};
use gybe::package::csar::{self, Selection};
use gybe::package::manifest;
use proptest::prelude::*;
use tempfile::NamedTempFile;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, ZipArchive};

const TOP: &str = "\
tosca_definitions_version: tosca_simple_yaml_1_2
imports: [types.yaml]
topology_template:
  substitution_mappings:
    properties: {flavour_id: simple}
  node_templates:
    VNF:
      type: example.VNF
      properties: {descriptor_id: id, descriptor_version: v, provider: p, product_name: q, software_version: s}
    A:
      type: tosca.nodes.nfv.Vdu.Compute
      properties: {name: app}
";
const TYPES: &str = "node_types:\n  example.VNF: {derived_from: tosca.nodes.nfv.VNF}\n";
const APP: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n";
const META: &str =
    "TOSCA-Meta-File-Version: 1.0\nCreated-By: me\nCSAR-Version: 1.1\nEntry-Definitions: Definitions/top.yaml\n";

/// The files of a package that is being put together.
#[derive(Clone)]
struct Package(BTreeMap<String, Vec<u8>>);

impl Package {
    /// A package without fault: TOSCA.meta, a VNFD of two files, one manifest.
    fn new() -> Self {
        let meta = format!("{META}{}", block("Name", "Files/app.yaml", APP.as_bytes()));
        Self(BTreeMap::new())
            .with("TOSCA-Metadata/TOSCA.meta", meta)
            .with("Definitions/top.yaml", TOP)
            .with("Definitions/types.yaml", TYPES)
            .with("Files/app.yaml", APP)
    }

    fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.0.insert(path.to_owned(), content.as_ref().to_vec());
        self
    }

    fn without(mut self, path: &str) -> Self {
        self.0.remove(path).unwrap();
        self
    }

    /// The same with another file that is listed as an artifact.
    fn with_artifact(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let meta = String::from_utf8(self.0["TOSCA-Metadata/TOSCA.meta"].clone()).unwrap();
        let meta = format!("{meta}{}", block("Name", path, content.as_ref()));
        self.with("TOSCA-Metadata/TOSCA.meta", meta).with(path, content)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in &self.0 {
            writer.start_file(path.as_str(), SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }
}

fn block(key: &str, path: &str, content: &[u8]) -> String {
    let hash = hex::encode(digest::digest(&digest::SHA256, content));
    format!("\n{key}: {path}\nAlgorithm: SHA-256\nHash: {hash}\n")
}

/// Text of that length that does not compress like a bomb.
fn filler(length: usize) -> String {
    let mut text: String = (0..length / 6).map(|number| format!("{number:06}")).collect();
    text.extend(std::iter::repeat_n('x', length % 6));
    text
}

fn on_disk(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn onboard_bytes(bytes: &[u8], limits: &Limits) -> Result<csar::Onboarded, Problem> {
    csar::onboard(on_disk(bytes).path(), limits)
}

fn onboard(package: &Package) -> Result<csar::Onboarded, Problem> {
    onboard_bytes(&package.bytes(), &Limits::default())
}

#[track_caller]
fn refused(package: &Package, detail: &str) {
    refused_bytes(&package.bytes(), &Limits::default(), detail);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], limits: &Limits, detail: &str) {
    let problem = onboard_bytes(bytes, limits).expect_err(detail);
    assert_eq!(problem.status, 422, "{}", problem.detail);
    assert!(problem.detail.starts_with(detail), "expected: {detail}\nfound:    {}", problem.detail);
}

/// `bytes` with every `from` replaced by `to`, which is as long.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn a_package_with_tosca_metadata() {
    let package = Package::new().with("Licenses/x.txt", "free");
    let bytes = package.bytes();
    let onboarded = onboard_bytes(&bytes, &Limits::default()).unwrap();
    assert_eq!(onboarded.content.vnfd.id, "id");
    assert_eq!(onboarded.content.vnfd.flavours["simple"].vdus["A"].name, "app");
    assert_eq!(onboarded.content.size, bytes.len() as u64);
    assert_eq!(onboarded.content.sha512, hex::encode(digest::digest(&digest::SHA512, &bytes)));
    let [artifact] = onboarded.content.artifacts.as_slice() else { panic!("{:?}", onboarded.content.artifacts) };
    assert_eq!((artifact.path.as_str(), artifact.algorithm.as_str()), ("Files/app.yaml", "SHA-256"));
    assert_eq!(manifest::read(&onboarded.files).unwrap()[0].place(), "Files/app.yaml:1");
}

#[test]
fn a_package_without_tosca_metadata() {
    let manifest = format!("metadata:\n  vnfd_id: id\n{}", block("Source", "Files/app.yaml", APP.as_bytes()));
    let package =
        Package(BTreeMap::new()).with("vnf.yaml", format!("{TYPES}{}", TOP.replace("imports: [types.yaml]\n", "")));
    let package = package.with("vnf.mf", &manifest).with("Files/app.yaml", APP);
    let onboarded = onboard(&package).unwrap();
    assert_eq!((onboarded.content.artifacts.len(), onboarded.files.len()), (1, 1));
    let file = on_disk(&package.bytes());
    let served = csar::manifest(file.path(), &Limits::default()).unwrap();
    assert_eq!(served, Some(("vnf.mf".to_owned(), manifest.clone())));
    let vnfd = csar::vnfd(file.path(), &Limits::default()).unwrap();
    assert!(vnfd.text.unwrap().starts_with("node_types"));

    refused(
        &package.clone().without("vnf.mf").with("other.mf", &manifest),
        "other.mf: a CSAR without TOSCA-Metadata/TOSCA.meta has one",
    );
    refused(
        &package.clone().with("second.yml", "a: b"),
        "the CSAR has neither TOSCA-Metadata/TOSCA.meta nor exactly one YAML file at its root (it has: second.yml, vnf.yaml)",
    );
    refused(
        &package.without("vnf.yaml"),
        "the CSAR has neither TOSCA-Metadata/TOSCA.meta nor exactly one YAML file at its root (it has: none)",
    );
}

#[test]
fn artifacts_may_be_listed_in_both_files() {
    let more = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let manifest = format!(
        "{}{}",
        block("Source", "Files/more.json", more.as_bytes()),
        block("Source", "Files/app.yaml", APP.as_bytes())
    );
    let meta = format!("{META}ETSI-Entry-Manifest: vnf.mf\n{}", block("Name", "Files/app.yaml", APP.as_bytes()));
    let package = Package::new().with("TOSCA-Metadata/TOSCA.meta", meta).with("Files/more.json", more);
    let onboarded = onboard(&package.clone().with("vnf.mf", manifest)).unwrap();
    let paths: Vec<&str> = onboarded.content.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
    assert_eq!(paths, ["Files/app.yaml", "Files/more.json"]);
    refused(&package, "TOSCA-Metadata/TOSCA.meta:5: there is no file vnf.mf in the CSAR; add the manifest");
}

#[test]
fn every_known_algorithm_is_checked() {
    for (name, algorithm) in [
        ("sha-224", &digest::SHA224),
        ("SHA256", &digest::SHA256),
        ("SHA-384", &digest::SHA384),
        ("sha512", &digest::SHA512),
    ] {
        let hash = hex::encode_upper(digest::digest(algorithm, APP.as_bytes()));
        let meta =
            format!("{META}\nName: Files/app.yaml\nContent-Type: application/yaml\nAlgorithm: {name}\nHash: {hash}\n");
        let onboarded = onboard(&Package::new().with("TOSCA-Metadata/TOSCA.meta", meta)).unwrap();
        assert_eq!(onboarded.content.artifacts[0].content_type.as_deref(), Some("application/yaml"));
    }
}

#[test]
fn what_is_wrong_with_an_artifact_is_told() {
    let with = |lines: &str| Package::new().with("TOSCA-Metadata/TOSCA.meta", format!("{META}\n{lines}"));
    let hash = hex::encode(digest::digest(&digest::SHA256, APP.as_bytes()));
    let name = "Name: Files/app.yaml\n";
    let place = "TOSCA-Metadata/TOSCA.meta";
    refused(
        &with(&format!("{name}Algorithm: SHA-256\nHash: 00\n")),
        &format!("{place}:8: the hash of Files/app.yaml is wrong: its SHA-256 is {hash}; correct"),
    );
    refused(
        &with(&format!("{name}Algorithm: MD5\nHash: 00\n")),
        &format!("{place}:7: the algorithm MD5 is not known; use SHA-256"),
    );
    refused(
        &with(&format!("{name}Algorithm: SHA-256\n")),
        &format!("{place}:6: the artifact Files/app.yaml has no Hash; add"),
    );
    refused(
        &with("Name: Files/gone.yaml\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: there is no file Files/gone.yaml in the CSAR"),
    );
    refused(
        &with("Source: https://example.com/a.yaml\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: the artifact https://example.com/a.yaml is a URL"),
    );
    refused(
        &with("Source: file:/etc/passwd\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: the artifact file:/etc/passwd is a URL"),
    );
    refused(&with("nonsense\n"), &format!("{place}:6: 'nonsense' is not like"));
    refused(
        &with("").with(place, "CSAR-Version: 1.1\n"),
        &format!("{place}:1: there is no Entry-Definitions; add a line"),
    );
    refused(&with("").with(place, [0xff, 0xfe]), &format!("{place}: is not UTF-8"));
}

#[test]
fn what_is_wrong_with_the_vnfd_is_told() {
    refused(
        &Package::new().without("Definitions/top.yaml"),
        "TOSCA-Metadata/TOSCA.meta:4: there is no file Definitions/top.yaml in the CSAR",
    );
    refused(
        &Package::new().without("Definitions/types.yaml"),
        "Definitions/top.yaml:2: there is no file Definitions/types.yaml in the CSAR",
    );
    refused(
        &Package::new().with("Definitions/types.yaml", "a: [b\nc: d\n"),
        "Definitions/types.yaml:2: not valid YAML",
    );
    let laughs: String =
        (1..10).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))).collect();
    refused(
        &Package::new().with("Definitions/types.yaml", format!("a0: &a0 ha\n{laughs}")),
        "Definitions/types.yaml:7: files are not read beyond",
    );
    refused(
        &Package::new().with("Definitions/types.yaml", "a: &a {b: *a}\n"),
        "Definitions/types.yaml:1: an alias (*) within its own anchor",
    );
    refused(
        &Package::new().with("Definitions/types.yaml", "[".repeat(1_000_000)),
        "Definitions/types.yaml:1: files are not read beyond 64 levels",
    );
    refused(
        &Package::new().with("Definitions/types.yaml", filler(1_500_001)),
        "Definitions/types.yaml: 1500001 bytes are more than the 1500000",
    );
}

#[test]
fn definition_files_are_the_listed_yaml_and_json_that_is_not_the_vnfd() {
    let package = Package::new()
        .with_artifact("Files/values.yml", "replicas: 1\n")
        .with_artifact("Files/x.JSON", "{}")
        .with_artifact("Files/chart/templates/a.yaml", "{{- if .Values.a }\nb: [\n")
        .with_artifact("Files/chart.tgz", [0xff])
        .with_artifact("Definitions/types.yaml", TYPES)
        .with_artifact("Files/large.yaml", filler(1_500_001))
        .with("Files/unlisted.yaml", "a: b");
    let onboarded = onboard(&package).unwrap();
    assert_eq!(onboarded.content.artifacts.len(), 7);
    let paths: Vec<&str> = onboarded.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["Files/app.yaml", "Files/chart/templates/a.yaml", "Files/values.yml", "Files/x.JSON"]);

    refused(&Package::new().with_artifact("Files/a.yaml", "a: b\nc: {d\n"), "Files/a.yaml:2: not valid YAML: ");
    refused(&Package::new().with_artifact("Files/a.yaml", [b'a', 0xff]), "Files/a.yaml: is not UTF-8; save it");
    let limits = Limits { definition_bytes: 100, ..Limits::default() };
    let large = Package::new().with_artifact("Files/b.yaml", "a: b".repeat(20));
    refused_bytes(&large.bytes(), &limits, "the YAML and JSON artifacts have more than 100 bytes");
}

#[test]
fn parts_of_a_package_are_served() {
    let file = on_disk(&Package::new().bytes());
    let limits = Limits::default();
    let vnfd = csar::vnfd(file.path(), &limits).unwrap();
    assert_eq!(vnfd.text, None);
    let zip = ZipArchive::new(Cursor::new(vnfd.zip)).unwrap();
    let names: Vec<_> = zip.file_names().map(Result::unwrap).collect();
    assert_eq!(names, ["TOSCA-Metadata/TOSCA.meta", "Definitions/top.yaml", "Definitions/types.yaml"]);
    assert_eq!(csar::manifest(file.path(), &limits).unwrap(), None);

    let archive = || Archive::open(file.path(), &limits).unwrap();
    assert_eq!(archive().size("Files/app.yaml"), Some(APP.len() as u64));
    let (mut reader, size) = archive().reader(file.path(), "Files/app.yaml").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), size), (APP, APP.len() as u64));
    assert_eq!(archive().reader(file.path(), "Files/../x").err().unwrap().status, 404);
    assert_eq!(archive().size("Files/"), None);
    assert_eq!(csar::onboard(&file.path().join("gone"), &limits).unwrap_err().status, 500);
}

#[test]
fn a_file_that_is_not_compressed_is_read_as_it_is() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [("Files/a", "aaaa"), ("Files/b", "bb")] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    let file = on_disk(&zip.finish().unwrap().into_inner());
    let archive = Archive::open(file.path(), &Limits::default()).unwrap();
    let (mut reader, _) = archive.reader(file.path(), "Files/a").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "aaaa", "and nothing of what comes after it");
}

/// A package with artifacts for others than NFV-MANO, one that is signed, one that is not compressed, and a licence.
fn package_with_sets() -> (NamedTempFile, Vec<u8>) {
    let big = filler(3 << 20);
    let meta = format!("{META}ETSI-Entry-Manifest: vnf.mf\nETSI-Entry-Licenses: Licenses\n");
    let manifest = format!(
        "metadata:\n  vnfd_id: id\n{}Signature: Files/app.p7s\nCertificate: Files/gone.pem\n{}{}{}\nnon_mano_artifact_sets:\n  onap:\n    Source: Files/ves.yaml\n  acme:\n    Source: Files/big.bin\n",
        block("Source", "Files/app.yaml", APP.as_bytes()),
        block("Source", "Files/ves.yaml", b"a: b\n"),
        block("Source", "Files/big.bin", big.as_bytes()),
        block("Source", "Licenses/\u{fc}ber.txt", b"free"),
    );
    let files: [(&str, &[u8]); 9] = [
        ("TOSCA-Metadata/TOSCA.meta", meta.as_bytes()),
        ("Definitions/top.yaml", TOP.as_bytes()),
        ("Definitions/types.yaml", TYPES.as_bytes()),
        ("vnf.mf", manifest.as_bytes()),
        ("Files/app.yaml", APP.as_bytes()),
        ("Files/app.p7s", b"\xff\xfe signature"),
        ("Files/ves.yaml", b"a: b\n"),
        ("Files/big.bin", big.as_bytes()),
        ("Licenses/\u{fc}ber.txt", b"free"),
    ];
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        let stored = path == "Files/ves.yaml";
        let method = if stored { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        writer.start_file(path, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    (on_disk(&writer.finish().unwrap().into_inner()), big.into_bytes())
}

#[test]
fn artifacts_are_bundled_as_they_are_selected() {
    let (file, big) = package_with_sets();
    let limits = Limits::default();
    let artifacts = csar::onboard(file.path(), &limits).unwrap().content.artifacts;
    let sets: Vec<_> = artifacts.iter().filter_map(|one| one.non_mano_artifact_set.as_deref()).collect();
    assert_eq!(sets, ["acme", "onap"]);
    assert_eq!(artifacts[3].classification, Some(ArtifactClassification::License));
    assert_eq!(artifacts[0].classification, None);

    let bundled = |selection: &Selection| {
        let mut bundle = csar::bundle(file.path(), &limits, &artifacts, selection).unwrap();
        let mut bytes = Vec::new();
        let size = bundle.size();
        bundle.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, size, "what was said beforehand");
        bytes
    };
    let names = |selection: Selection| {
        let mut zip = ZipArchive::new(Cursor::new(bundled(&selection))).unwrap();
        zip.validate_header_consistency().unwrap();
        let names: Vec<String> =
            (0..zip.len()).map(|index| zip.by_index(index).unwrap().name().unwrap().into_owned()).collect();
        names
    };
    let (app, bin, ves, text) = ("Files/app.yaml", "Files/big.bin", "Files/ves.yaml", "Licenses/\u{fc}ber.txt");
    let all = Selection::default();
    assert_eq!(names(all.clone()), [app, bin, ves, text]);
    assert_eq!(names(Selection { without_mano: true, ..all.clone() }), [bin, ves]);
    assert_eq!(names(Selection { without_non_mano: true, ..all.clone() }), [app, text]);
    let onap = Some(BTreeSet::from(["onap".to_owned()]));
    assert_eq!(names(Selection { sets: onap.clone(), ..all.clone() }), [app, ves, text]);
    assert_eq!(names(Selection { sets: onap, without_mano: true, ..all.clone() }), [ves]);
    assert_eq!(names(Selection { signatures: true, ..all.clone() }), ["Files/app.p7s", app, bin, ves, text]);
    assert_eq!(names(Selection { without_mano: true, without_non_mano: true, ..all.clone() }), [""; 0]);

    let whole = bundled(&all);
    let mut zip = ZipArchive::new(Cursor::new(&whole)).unwrap();
    for (path, content) in [(app, APP.as_bytes()), (bin, &big), (ves, b"a: b\n"), (text, b"free")] {
        let mut found = Vec::new();
        zip.by_name(path).unwrap().read_to_end(&mut found).unwrap();
        assert!(found == content, "{path}");
    }
    // Any part of it is had by itself.
    let parts = (0..whole.len()).step_by(whole.len() / 97).chain([whole.len() - 1, whole.len()]);
    for start in parts.chain(0..200) {
        let mut bundle = csar::bundle(file.path(), &limits, &artifacts, &all).unwrap();
        bundle.skip(start as u64);
        let mut part = Vec::new();
        bundle.take(5000).read_to_end(&mut part).unwrap();
        assert!(
            whole[start..].starts_with(&part) && (part.len() == 5000 || start + part.len() == whole.len()),
            "{start}"
        );
    }
}

#[test]
fn a_bundle_of_a_csar_that_was_cut_off_fails() {
    let (file, _) = package_with_sets();
    let limits = Limits::default();
    let artifacts = csar::onboard(file.path(), &limits).unwrap().content.artifacts;
    let mut bundle = csar::bundle(file.path(), &limits, &artifacts, &Selection::default()).unwrap();
    file.as_file().set_len(100).unwrap();
    let error = bundle.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn more_than_a_plain_zip_can_have_is_not_bundled() {
    let member = |path: &str, compressed| Member {
        path: path.to_owned(),
        method: 0,
        crc32: 0,
        size: 1 << 30,
        start: 0,
        compressed,
    };
    let bundle = |members: &[Member]| Bundle::new(tempfile::tempfile().unwrap(), members).map(|bundle| bundle.size());
    let most = u64::from(u32::MAX) - 31;
    assert!(bundle(&[member("a", most)]).unwrap() > u64::from(u32::MAX));
    assert_eq!(bundle(&[member("a", most + 1)]).unwrap_err().status, 422);
    assert_eq!(bundle(&[member("a", 1 << 40)]).unwrap_err().status, 422);
}

#[test]
fn what_is_no_zip_is_refused() {
    let limits = Limits::default();
    refused_bytes(b"", &limits, "the CSAR is refused: it is no intact ZIP archive");
    refused_bytes(b"not a zip at all", &limits, "the CSAR is refused: it is no intact ZIP archive");
    let bytes = Package::new().bytes();
    refused_bytes(&bytes[..bytes.len() / 2], &limits, "the CSAR is refused: it is no intact ZIP archive");
    let inner = Package(Package::new().0.into_iter().map(|(path, content)| (format!("vnf/{path}"), content)).collect());
    refused(
        &inner,
        "the CSAR has vnf/TOSCA-Metadata/TOSCA.meta, but not TOSCA-Metadata/TOSCA.meta: pack what is in the directory vnf",
    );
}

#[test]
fn names_that_lead_out_or_deceive_are_refused() {
    let name = "the CSAR is refused: the name of its entry ";
    for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "./a"] {
        let expected = format!("{name}'{path}' is absolute or has '.', '..' or empty components");
        refused_bytes(&with_raw_name(path.as_bytes()), &Limits::default(), &expected);
    }
    for (path, shown) in [("..\\x", "..\\\\x"), ("a\0b", "a\\0b"), ("a\nb", "a\\nb")] {
        let expected = format!("{name}'{shown}' has backslashes or control characters");
        refused_bytes(&with_raw_name(path.as_bytes()), &Limits::default(), &expected);
    }
    refused_bytes(
        &with_raw_name(b"a\xff"),
        &Limits::default(),
        "the CSAR is refused: the name of its entry 'a\u{fffd}' is not UTF-8",
    );
    refused(
        &Package::new().with(&"x".repeat(513), ""),
        &format!("{name}'{}' has more than 512 bytes", "x".repeat(100)),
    );
    refused(
        &Package::new().with(&["x"; 17].join("/"), ""),
        &format!("{name}'x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x' has more than 16 components"),
    );
    let twice = Package::new().with("Files/1.txt", "a").with("Files/2.txt", "b").bytes();
    let twice = patched(twice, b"Files/2.txt", b"Files/1.txt");
    refused_bytes(&twice, &Limits::default(), "the CSAR is refused: two of its entries have the same name");
}

/// A package with one more entry of that very name, which a decent writer would not write.
fn with_raw_name(name: &[u8]) -> Vec<u8> {
    let placeholder = "#".repeat(name.len());
    patched(Package::new().with(&placeholder, "x").bytes(), placeholder.as_bytes(), name)
}

#[test]
fn links_and_special_files_are_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    refused_bytes(&bytes, &Limits::default(), "the CSAR is refused: its entry 'link' is a link or special file");
    // A device: the upper half of the external attributes is the mode.
    let bytes = patched(Package::new().bytes(), &0o100_644_u16.to_le_bytes(), &0o020_644_u16.to_le_bytes());
    refused_bytes(
        &bytes,
        &Limits::default(),
        "the CSAR is refused: its entry 'Definitions/top.yaml' is a link or special file",
    );
}

#[test]
fn encrypted_and_strangely_compressed_entries_are_refused() {
    let bytes = Package::new().bytes();
    // After the signature and the versions of a central header come flags and method.
    let central = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let mut encrypted = bytes.clone();
    encrypted[central + 8] |= 1;
    refused_bytes(&encrypted, &Limits::default(), "the CSAR is refused: its entry 'Definitions/top.yaml' is encrypted");
    let mut strange = bytes;
    strange[central + 10] = 12;
    refused_bytes(
        &strange,
        &Limits::default(),
        "the CSAR is refused: its entry 'Definitions/top.yaml' is compressed by a method",
    );
}

#[test]
fn archives_that_inflate_are_refused() {
    let bomb = Package::new().with("zeros", vec![0; 8 << 20]);
    refused(&bomb, "the CSAR is refused: its entry 'zeros' inflates to more than 200 times its size");
    let bytes = Package::new().with("big", vec![7; 5_000]).bytes();
    let limits = Limits { file_bytes: 4_999, ..Limits::default() };
    refused_bytes(&bytes, &limits, "the CSAR is refused: its entry 'big' has 5000 bytes; the most is 4999");
    let limits = Limits { total_bytes: 5_000, ..Limits::default() };
    refused_bytes(&bytes, &limits, "the CSAR is refused: its entries have more than 5000 bytes");
}

#[test]
fn an_entry_larger_than_it_says_is_refused() {
    let content = vec![b'a'; 300_123];
    let mut package = Package::new().with_artifact("Files/liar.txt", &content).bytes();
    package = patched(package, &300_123_u32.to_le_bytes(), &123_u32.to_le_bytes());
    refused_bytes(
        &package,
        &Limits::default(),
        "the CSAR is refused: its entry 'Files/liar.txt' is damaged (File is larger than",
    );
}

#[test]
fn a_damaged_entry_is_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in &Package::new().0 {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(path.as_str(), stored).unwrap();
        writer.write_all(content).unwrap();
    }
    let bytes = patched(writer.finish().unwrap().into_inner(), b"kind: Deployment", b"kind: Daemon Set");
    refused_bytes(
        &bytes,
        &Limits::default(),
        "the CSAR is refused: its entry 'Files/app.yaml' is damaged (Invalid checksum)",
    );
}

#[test]
fn entries_that_only_the_directory_or_only_the_data_has_are_refused() {
    let bytes = Package::new().with("Files/other.txt", "x").bytes();
    let at = bytes.windows(15).position(|window| window == b"Files/other.txt").unwrap();
    let mut differing = bytes;
    differing[at..at + 15].copy_from_slice(b"Files/again.txt");
    refused_bytes(&differing, &Limits::default(), "the CSAR is refused: it is no intact ZIP archive (");
}

#[test]
fn too_many_entries_are_refused_before_they_cost_anything() {
    let limits = Limits { entries: 4, ..Limits::default() };
    assert!(onboard_bytes(&Package::new().bytes(), &limits).is_ok());
    refused_bytes(
        &Package::new().with("fifth", "").bytes(),
        &limits,
        "the CSAR is refused: it has more than 4 entries",
    );
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for number in 0..3_000 {
        writer.start_file(format!("{number:0>512}"), SimpleFileOptions::default()).unwrap();
    }
    let bytes = writer.finish().unwrap().into_inner();
    let limits = Limits { entries: 100, ..Limits::default() };
    refused_bytes(&bytes, &limits, "the CSAR is refused: it has more than 100 entries");
}

#[test]
fn a_file_that_is_listed_often_is_hashed_once() {
    let large = vec![b'x'; 4 << 20];
    let mut meta = META.to_owned();
    let listed = block("Name", "Files/large.bin", &large);
    (0..5_000).for_each(|_| meta.push_str(&listed));
    let limits = Limits { ratio: 10_000, ..Limits::default() };
    let package = Package::new().with("Files/large.bin", &large).with("TOSCA-Metadata/TOSCA.meta", meta);
    assert_eq!(onboard_bytes(&package.bytes(), &limits).unwrap().content.artifacts.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_change_of_a_package_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), end in any::<prop::sample::Index>(), cut in any::<bool>()) {
        let mut bytes = Package::new().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        let _ = onboard_bytes(&bytes, &Limits::default());
    }

    #[test]
    fn no_text_in_the_place_of_tosca_meta_makes_it_panic(text in any::<String>()) {
        let _ = onboard(&Package::new().with("TOSCA-Metadata/TOSCA.meta", format!("{META}{text}")));
    }
}
