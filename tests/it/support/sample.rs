//! The sample packages, packed by `samples/pack`.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// The CSAR of a sample.
pub fn pack(sample: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/pack");
    let packed = Command::new(pack).arg(sample).arg(folder.path()).output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::read(file).unwrap()
}

/// The CSAR of a sample after `edit` (path and text) of each of its files.
pub fn edited(sample: &str, mut edit: impl FnMut(&str, &mut String)) -> Vec<u8> {
    edit_files(pack(sample), &mut edit)
}

/// `csar` after `edit` (path and text) of each of its files.
pub fn edit_files(csar: Vec<u8>, edit: &mut dyn FnMut(&str, &mut String)) -> Vec<u8> {
    let mut packed = ZipArchive::new(Cursor::new(csar)).unwrap();
    let mut csar = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..packed.len() {
        let mut entry = packed.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        edit(&name, &mut text);
        csar.start_file(name, SimpleFileOptions::default()).unwrap();
        csar.write_all(text.as_bytes()).unwrap();
    }
    csar.finish().unwrap().into_inner()
}

/// The CSAR of sample `small` with a software image.
pub fn with_image() -> Vec<u8> {
    edited("small", |path, text| {
        if path.ends_with("small_df_simple.yaml") {
            let image = "    Image:\n      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage\n      properties:\n        sw_image_data: {name: i, version: '1', \
                         container_format: bare, disk_format: raw, min_disk: 1 GB, size: 1 MB}\n      artifacts:\n        image: {type: tosca.artifacts.nfv.SwImage, file: ../Files/kubernetes/deployment.yaml}\n";
            *text = text.replacen("  node_templates:\n", &format!("  node_templates:\n{image}"), 1);
        }
    })
}

/// The CSAR of sample `small` with `manifests` (path and text) as its only definition files.
pub fn with_manifests(manifests: &[(&str, &str)]) -> Vec<u8> {
    of_version("1.0", manifests)
}

/// The policies of a VDU `VDU1` of one to three instances, which the aspect `app` scales.
const SCALING: &str = "
  policies:
    - aspects:
        type: tosca.policies.nfv.ScalingAspects
        properties: {aspects: {app: {name: app, description: Pods, max_scale_level: 2, step_deltas: [one]}}}
    - initial:
        type: tosca.policies.nfv.VduInitialDelta
        properties: {initial_delta: {number_of_instances: 1}}
        targets: [VDU1]
    - deltas:
        type: tosca.policies.nfv.VduScalingAspectDeltas
        properties: {aspect: app, deltas: {one: {number_of_instances: 1}}}
        targets: [VDU1]
";

/// As [`of_version`], with an aspect `app` of the workload `app`.
pub fn scalable(version: &str, manifests: &[(&str, &str)]) -> Vec<u8> {
    edit_files(of_version(version, manifests), &mut |name, text| {
        if name == "Definitions/small_df_simple.yaml" {
            *text = text.replace("max_number_of_instances: 1", "max_number_of_instances: 3") + SCALING;
        }
    })
}

/// As [`with_manifests`], with another version and id of the VNFD.
pub fn of_version(version: &str, manifests: &[(&str, &str)]) -> Vec<u8> {
    let mut small = ZipArchive::new(Cursor::new(pack("small"))).unwrap();
    let mut csar = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, text: &str| {
        csar.start_file(name, SimpleFileOptions::default()).unwrap();
        csar.write_all(text.as_bytes()).unwrap();
    };
    for index in 0..small.len() {
        let mut entry = small.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        if name == "Definitions/small_top.vnfd.yaml" && version != "1.0" {
            text = text.replace("73931552-9c18-4c34-b436-5587710fb0b6", &format!("small-{version}"));
            text = text.replace("\"1.0\"", &format!("\"{version}\""));
        }
        if name == "TOSCA-Metadata/TOSCA.meta" {
            text.truncate(text.find("\nName:").unwrap());
            for (path, manifest) in manifests {
                let hash = hex::encode(digest::digest(&digest::SHA256, manifest.as_bytes()));
                text += &format!("\n\nName: {path}\nAlgorithm: SHA-256\nHash: {hash}\n");
            }
        }
        if !name.starts_with("Files/") {
            add(&name, &text);
        }
    }
    manifests.iter().for_each(|(path, manifest)| add(path, manifest));
    csar.finish().unwrap().into_inner()
}
