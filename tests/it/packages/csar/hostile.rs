//! Broken, oversized and deceptive archives: each is rejected at little cost.

use std::io::{Cursor, Write as _};

use gybe::package::archive::Limits;
use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{META, Package, block, check_bytes_rejected, check_rejected, onboard, onboard_bytes, patched};

#[test]
fn rejects_a_file_that_is_not_a_zip() {
    let limits = Limits::default();
    check_bytes_rejected(b"", &limits, "the CSAR is refused: it is no intact ZIP archive");
    check_bytes_rejected(b"not a zip at all", &limits, "the CSAR is refused: it is no intact ZIP archive");
    let bytes = Package::new().bytes();
    check_bytes_rejected(&bytes[..bytes.len() / 2], &limits, "the CSAR is refused: it is no intact ZIP archive");
    let inner = Package(Package::new().0.into_iter().map(|(path, content)| (format!("vnf/{path}"), content)).collect());
    check_rejected(
        &inner,
        "the CSAR has vnf/TOSCA-Metadata/TOSCA.meta, but not TOSCA-Metadata/TOSCA.meta: pack what is in the directory vnf",
    );
}

#[test]
fn rejects_traversing_and_deceptive_names() {
    let name = "the CSAR is refused: the name of its entry ";
    for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b"] {
        let expected = format!("{name}'{path}' is absolute or has '.', '..' or empty components");
        check_bytes_rejected(&with_raw_name(path.as_bytes()), &Limits::default(), &expected);
    }
    for (path, shown) in [("..\\x", "..\\\\x"), ("a\0b", "a\\0b"), ("a\nb", "a\\nb")] {
        let expected = format!("{name}'{shown}' has backslashes or control characters");
        check_bytes_rejected(&with_raw_name(path.as_bytes()), &Limits::default(), &expected);
    }
    check_bytes_rejected(
        &with_raw_name(b"a\xff"),
        &Limits::default(),
        "the CSAR is refused: the name of its entry 'a\u{fffd}' is not UTF-8",
    );
    check_rejected(
        &Package::new().with(&"x".repeat(513), ""),
        &format!("{name}'{}' has more than 512 bytes", "x".repeat(100)),
    );
    check_rejected(
        &Package::new().with(&["x"; 17].join("/"), ""),
        &format!("{name}'x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x' has more than 16 components"),
    );
    let twice = Package::new().with("Files/1.txt", "a").with("Files/2.txt", "b").bytes();
    let twice = patched(twice, b"Files/2.txt", b"Files/1.txt");
    check_bytes_rejected(&twice, &Limits::default(), "the CSAR is refused: two of its entries have the same name");
}

/// A package with an entry of exactly that name, which zip writers refuse to write.
fn with_raw_name(name: &[u8]) -> Vec<u8> {
    let placeholder = "#".repeat(name.len());
    patched(Package::new().with(&placeholder, "x").bytes(), placeholder.as_bytes(), name)
}

#[test]
fn rejects_links_and_special_files() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    check_bytes_rejected(&bytes, &Limits::default(), "the CSAR is refused: its entry 'link' is a link or special file");
    // A device: the upper half of the external attributes is the mode.
    let bytes = patched(Package::new().bytes(), &0o100_644_u16.to_le_bytes(), &0o020_644_u16.to_le_bytes());
    check_bytes_rejected(
        &bytes,
        &Limits::default(),
        "the CSAR is refused: its entry 'Definitions/top.yaml' is a link or special file",
    );
}

#[test]
fn rejects_encrypted_entries_and_unsupported_compression() {
    let bytes = Package::new().bytes();
    // In a central header, flags and method follow the signature and the versions.
    let central = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let mut encrypted = bytes.clone();
    encrypted[central + 8] |= 1;
    check_bytes_rejected(
        &encrypted,
        &Limits::default(),
        "the CSAR is refused: its entry 'Definitions/top.yaml' is encrypted",
    );
    let mut strange = bytes;
    strange[central + 10] = 12;
    check_bytes_rejected(
        &strange,
        &Limits::default(),
        "the CSAR is refused: its entry 'Definitions/top.yaml' is compressed by a method",
    );
}

#[test]
fn rejects_archives_that_inflate_too_much() {
    let bomb = Package::new().with("zeros", vec![0; 8 << 20]);
    check_rejected(&bomb, "the CSAR is refused: its entry 'zeros' inflates to more than 200 times its size");
    let bytes = Package::new().with("big", vec![7; 5_000]).bytes();
    let limits = Limits { file_bytes: 4_999, ..Limits::default() };
    check_bytes_rejected(&bytes, &limits, "the CSAR is refused: its entry 'big' has 5000 bytes; the most is 4999");
    let limits = Limits { total_bytes: 5_000, ..Limits::default() };
    check_bytes_rejected(&bytes, &limits, "the CSAR is refused: its entries have more than 5000 bytes");
}

#[test]
fn rejects_an_entry_larger_than_declared() {
    let content = vec![b'a'; 300_123];
    let mut package = Package::new().with_artifact("Files/liar.txt", &content).bytes();
    package = patched(package, &300_123_u32.to_le_bytes(), &123_u32.to_le_bytes());
    check_bytes_rejected(
        &package,
        &Limits::default(),
        "the CSAR is refused: its entry 'Files/liar.txt' is damaged (File is larger than",
    );
}

#[test]
fn rejects_a_damaged_entry() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in &Package::new().0 {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(path.as_str(), stored).unwrap();
        writer.write_all(content).unwrap();
    }
    let bytes = patched(writer.finish().unwrap().into_inner(), b"kind: Deployment", b"kind: Daemon Set");
    check_bytes_rejected(
        &bytes,
        &Limits::default(),
        "the CSAR is refused: its entry 'Files/app.yaml' is damaged (Invalid checksum)",
    );
}

#[test]
fn rejects_entries_missing_from_directory_or_data() {
    let bytes = Package::new().with("Files/other.txt", "x").bytes();
    let at = bytes.windows(15).position(|window| window == b"Files/other.txt").unwrap();
    let mut differing = bytes;
    differing[at..at + 15].copy_from_slice(b"Files/again.txt");
    check_bytes_rejected(&differing, &Limits::default(), "the CSAR is refused: it is no intact ZIP archive (");
}

#[test]
fn rejects_too_many_entries_early() {
    let limits = Limits { entries: 4, ..Limits::default() };
    assert!(onboard_bytes(&Package::new().bytes(), &limits).is_ok());
    check_bytes_rejected(
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
    check_bytes_rejected(&bytes, &limits, "the CSAR is refused: it has more than 100 entries");
}

#[test]
fn a_file_listed_many_times_is_hashed_once() {
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
    fn no_mutation_of_a_package_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), end in any::<prop::sample::Index>(), cut in any::<bool>()) {
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
    fn no_text_as_tosca_meta_panics(text in any::<String>()) {
        let _ = onboard(&Package::new().with("TOSCA-Metadata/TOSCA.meta", format!("{META}{text}")));
    }
}
