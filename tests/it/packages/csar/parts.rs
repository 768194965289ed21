//! Downloads of parts of a package: single files, and artifacts in one ZIP.

use std::collections::BTreeSet;
use std::io::{Cursor, Read as _, Write as _};

use gybe::domain::package::ArtifactClassification;
use gybe::package::archive::{Archive, Limits};
use gybe::package::bundle::{Bundle, Member};
use gybe::package::csar::{self, Selection};
use tempfile::NamedTempFile;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, ZipArchive};

use super::{APP, META, Package, TOP, TYPES, block, filler, on_disk};

#[test]
fn single_files_of_a_package_are_served() {
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
fn an_uncompressed_file_is_read_unchanged() {
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
    assert_eq!(text, "aaaa", "only this file's bytes");
}

/// A package with non-MANO artifacts, one of them signed and one uncompressed, and a licence.
fn package_with_non_mano_sets() -> (NamedTempFile, Vec<u8>) {
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
fn selected_artifacts_are_bundled() {
    let (file, big) = package_with_non_mano_sets();
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
        assert_eq!(bytes.len() as u64, size, "the bundle has the size that `size()` returned");
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
    // Reading can start at any offset.
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
fn bundling_a_truncated_csar_fails() {
    let (file, _) = package_with_non_mano_sets();
    let limits = Limits::default();
    let artifacts = csar::onboard(file.path(), &limits).unwrap().content.artifacts;
    let mut bundle = csar::bundle(file.path(), &limits, &artifacts, &Selection::default()).unwrap();
    file.as_file().set_len(100).unwrap();
    let error = bundle.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn rejects_a_bundle_beyond_the_zip_limits() {
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
