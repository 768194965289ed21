//! The forms of a CSAR (SOL004), and the reported faults.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use gybe::package::archive::Limits;
use gybe::package::csar;
use gybe::package::manifest;

use super::{
    APP, META, Package, TOP, TYPES, block, check_bytes_rejected, check_rejected, filler, on_disk, onboard,
    onboard_bytes,
};

#[test]
fn reads_a_package_with_tosca_metadata() {
    let package = Package::new().with("Licenses/x.txt", "free");
    let bytes = package.bytes();
    let onboarded = onboard_bytes(&bytes, &Limits::default()).unwrap();
    assert_eq!(onboarded.content.vnfd.id, "id");
    assert_eq!(onboarded.content.vnfd.flavours["simple"].vdus["A"].name, "app");
    assert_eq!(onboarded.content.size, bytes.len() as u64);
    assert_eq!(onboarded.content.sha512, hex::encode(digest::digest(&digest::SHA512, &bytes)));
    let [artifact] = onboarded.content.artifacts.as_slice() else { panic!("{:?}", onboarded.content.artifacts) };
    assert_eq!((artifact.path.as_str(), artifact.algorithm.as_str()), ("Files/app.yaml", "SHA-256"));
    assert_eq!(manifest::read(&onboarded.files).unwrap()[0].position(), "Files/app.yaml:1");
}

#[test]
fn reads_a_package_without_tosca_metadata() {
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

    check_rejected(
        &package.clone().without("vnf.mf").with("other.mf", &manifest),
        "other.mf: a CSAR without TOSCA-Metadata/TOSCA.meta has one",
    );
    check_rejected(
        &package.clone().with("second.yml", "a: b"),
        "the CSAR has neither TOSCA-Metadata/TOSCA.meta nor exactly one YAML file at its root (it has: second.yml, vnf.yaml)",
    );
    check_rejected(
        &package.without("vnf.yaml"),
        "the CSAR has neither TOSCA-Metadata/TOSCA.meta nor exactly one YAML file at its root (it has: none)",
    );
}

#[test]
fn artifacts_may_be_listed_in_meta_and_manifest() {
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
    check_rejected(&package, "TOSCA-Metadata/TOSCA.meta:5: there is no file vnf.mf in the CSAR; add the manifest");
}

#[test]
fn every_supported_hash_algorithm_is_checked() {
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
fn reports_the_error_of_an_artifact() {
    let with = |lines: &str| Package::new().with("TOSCA-Metadata/TOSCA.meta", format!("{META}\n{lines}"));
    let hash = hex::encode(digest::digest(&digest::SHA256, APP.as_bytes()));
    let name = "Name: Files/app.yaml\n";
    let place = "TOSCA-Metadata/TOSCA.meta";
    check_rejected(
        &with(&format!("{name}Algorithm: SHA-256\nHash: 00\n")),
        &format!("{place}:8: the hash of Files/app.yaml is wrong: its SHA-256 is {hash}; correct"),
    );
    check_rejected(
        &with(&format!("{name}Algorithm: MD5\nHash: 00\n")),
        &format!("{place}:7: the algorithm MD5 is not known; use SHA-256"),
    );
    check_rejected(
        &with(&format!("{name}Algorithm: SHA-256\n")),
        &format!("{place}:6: the artifact Files/app.yaml has no Hash; add"),
    );
    check_rejected(
        &with("Name: Files/gone.yaml\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: there is no file Files/gone.yaml in the CSAR"),
    );
    check_rejected(
        &with("Source: https://example.com/a.yaml\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: the artifact https://example.com/a.yaml is a URL"),
    );
    check_rejected(
        &with("Source: file:/etc/passwd\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: the artifact file:/etc/passwd is a URL"),
    );
    check_rejected(&with("nonsense\n"), &format!("{place}:6: 'nonsense' is not like"));
    check_rejected(
        &with("").with(place, "CSAR-Version: 1.1\n"),
        &format!("{place}:1: there is no Entry-Definitions; add a line"),
    );
    check_rejected(&with("").with(place, [0xff, 0xfe]), &format!("{place}: is not UTF-8"));
}

#[test]
fn reports_the_error_of_the_vnfd() {
    check_rejected(
        &Package::new().without("Definitions/top.yaml"),
        "TOSCA-Metadata/TOSCA.meta:4: there is no file Definitions/top.yaml in the CSAR",
    );
    check_rejected(
        &Package::new().without("Definitions/types.yaml"),
        "Definitions/top.yaml:2: there is no file Definitions/types.yaml in the CSAR",
    );
    check_rejected(
        &Package::new().with("Definitions/types.yaml", "a: [b\nc: d\n"),
        "Definitions/types.yaml:2: not valid YAML",
    );
    let laughs: String =
        (1..10).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))).collect();
    check_rejected(
        &Package::new().with("Definitions/types.yaml", format!("a0: &a0 ha\n{laughs}")),
        "Definitions/types.yaml:7: files are not read beyond",
    );
    check_rejected(
        &Package::new().with("Definitions/types.yaml", "a: &a {b: *a}\n"),
        "Definitions/types.yaml:1: an alias (*) within its own anchor",
    );
    check_rejected(
        &Package::new().with("Definitions/types.yaml", "[".repeat(1_000_000)),
        "Definitions/types.yaml:1: files are not read beyond 64 levels",
    );
    check_rejected(
        &Package::new().with("Definitions/types.yaml", filler(1_500_001)),
        "Definitions/types.yaml: 1500001 bytes are more than the 1500000",
    );
}

#[test]
fn definition_files_are_listed_yaml_and_json_without_the_vnfd() {
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

    check_rejected(&Package::new().with_artifact("Files/a.yaml", "a: b\nc: {d\n"), "Files/a.yaml:2: not valid YAML: ");
    check_rejected(&Package::new().with_artifact("Files/a.yaml", [b'a', 0xff]), "Files/a.yaml: is not UTF-8; save it");
    let limits = Limits { definition_bytes: 100, ..Limits::default() };
    let large = Package::new().with_artifact("Files/b.yaml", "a: b".repeat(20));
    check_bytes_rejected(&large.bytes(), &limits, "the YAML and JSON artifacts have more than 100 bytes");
}
