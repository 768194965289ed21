//! Whole packages through [`gybe::package::csar`].

mod forms;
mod hostile;
mod parts;

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use aws_lc_rs::digest;
use gybe::domain::problem::Problem;
use gybe::package::archive::Limits;
use gybe::package::csar;
use tempfile::NamedTempFile;
use zip::write::{SimpleFileOptions, ZipWriter};

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

/// A package under construction: its files by path.
#[derive(Clone)]
struct Package(BTreeMap<String, Vec<u8>>);

impl Package {
    /// A valid package: TOSCA.meta, a VNFD of two files, one manifest.
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

    /// Adds a file and lists it as an artifact.
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

/// Text of that length whose compression ratio is below the limit.
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
fn check_rejected(package: &Package, detail: &str) {
    check_bytes_rejected(&package.bytes(), &Limits::default(), detail);
}

#[track_caller]
fn check_bytes_rejected(bytes: &[u8], limits: &Limits, detail: &str) {
    let problem = onboard_bytes(bytes, limits).expect_err(detail);
    assert_eq!(problem.status, 422, "{}", problem.detail);
    assert!(problem.detail.starts_with(detail), "expected: {detail}\nfound:    {}", problem.detail);
}

/// `bytes` with every `from` replaced by `to` of equal length.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}
