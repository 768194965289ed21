//! The forms of a CSAR (SOL004), and the reported faults.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use gybe::package::archive::Limits;
use gybe::package::csar;
use gybe::package::manifest;

use super::{APP, META, Package, TOP, TYPES, block, check_rejected, filler, on_disk, onboard, onboard_bytes};

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
        &with("Source: ftp://example.com/image.qcow2\nAlgorithm: SHA-256\nHash: 00\n"),
        &format!("{place}:6: the artifact ftp://example.com/image.qcow2 is a URL"),
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
    check_rejected(&with("").with(place, [0xff, 0xfe, 0xff]), &format!("{place}: is neither UTF-8 nor UTF-16"));
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
        &Package::new().with("Definitions/types.yaml", filler(TOO_LARGE)),
        "Definitions/types.yaml: 8786710 bytes are more than the 8388608",
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
        .with("Files/unlisted.yaml", "a: b");
    let onboarded = onboard(&package).unwrap();
    assert_eq!(onboarded.content.artifacts.len(), 6);
    assert_eq!(
        paths(&onboarded),
        ["Files/app.yaml", "Files/chart/templates/a.yaml", "Files/values.yml", "Files/x.JSON"]
    );
    assert!(onboarded.content.warnings.is_empty(), "{:?}", onboarded.content.warnings);
}

const TOO_LARGE: usize = 8 * 1024 * 1024 + 1;

fn paths(onboarded: &csar::Onboarded) -> Vec<&str> {
    onboarded.files.iter().map(|file| file.path.as_str()).collect()
}

/// The warnings of a package, which is onboarded.
#[track_caller]
fn warnings(package: &Package) -> Vec<String> {
    onboard(package).unwrap().content.warnings.iter().map(str::to_owned).collect()
}

#[test]
fn artifacts_that_no_operation_could_use_are_warnings() {
    let large = filler(TOO_LARGE);
    let cases: [(&str, &[u8], &str); 7] = [
        ("event.yaml", b"---\n\tevent: {presence: required}\n", ":2: a tab in the indentation"),
        ("init.yaml", b"interfaces:\n{% for i in interfaces %}\n  - name: {{ i }}\n{% endfor %}\n", ""),
        ("erb.yaml", b"peers:\n<% peers.each do |p| %>\n- <%= p %>\n<% end %>\n", ""),
        ("settings.json", b"{\n  // the name\n  \"name\": \"upf\",\n}\n", ""),
        ("subscribers.json", b"{\"imsi\": \"1\"}\n{\"imsi\": \"2\"}\n", ""),
        ("latin.yaml", b"name: caf\xe9\n", ": is neither UTF-8 nor UTF-16"),
        ("large.yaml", large.as_bytes(), ": 8786710 bytes are more than the 8388608 that Gybe reads"),
    ];
    for (name, content, expected) in cases {
        let path = format!("Artifacts/{name}");
        let warnings = warnings(&Package::new().with_artifact(&path, content));
        match warnings.as_slice() {
            [] => assert_eq!(expected, "", "{name}"),
            [warning] => {
                assert!(!expected.is_empty() && warning.starts_with(&format!("{path}{expected}")), "{warning}");
                assert!(warning.ends_with("; an operation that needs the file is refused"), "{warning}");
            }
            more => panic!("{more:?}"),
        }
    }
    let limits = Limits { definition_bytes: 100, ..Limits::default() };
    let large = Package::new().with_artifact("Files/b.yaml", "a: b".repeat(20));
    let onboarded = onboard_bytes(&large.bytes(), &limits).unwrap();
    assert_eq!(
        onboarded.files[1].problem.as_deref(),
        Some("the YAML and JSON artifacts up to this one have more than 100 bytes")
    );
}

#[test]
fn an_artifact_without_a_hash_is_listed_with_a_warning() {
    let meta = format!(
        "{META}\nName: ./Files/app.yaml\nContent-Type: x\n\nName: Definitions/top.yaml\n\nName: Files/gone.yaml\n"
    );
    let package = Package::new().with("TOSCA-Metadata/TOSCA.meta", meta);
    let onboarded = onboard(&package).unwrap();
    let hash = hex::encode(digest::digest(&digest::SHA256, APP.as_bytes()));
    let [artifact] = onboarded.content.artifacts.as_slice() else { panic!("{:?}", onboarded.content.artifacts) };
    assert_eq!(
        (artifact.path.as_str(), artifact.algorithm.as_str(), &artifact.hash),
        ("Files/app.yaml", "SHA-256", &hash)
    );
    assert_eq!(paths(&onboarded), ["Files/app.yaml"]);
    let place = "TOSCA-Metadata/TOSCA.meta";
    let warnings = warnings(&package);
    assert!(warnings[0].starts_with(&format!("{place}:6: the artifact Files/app.yaml has no hash, so nothing proves")));
    assert!(
        warnings[1]
            .starts_with(&format!("{place}:11: the artifact Files/gone.yaml has no hash, and there is no such file"))
    );
    assert_eq!(warnings.len(), 2, "the VNFD needs no hash: {warnings:?}");
}

#[test]
fn names_may_begin_with_the_present_directory() {
    let dotted: BTreeMap<String, Vec<u8>> =
        Package::new().0.into_iter().map(|(path, content)| (format!("./{path}"), content)).collect();
    let onboarded = onboard(&Package(dotted.clone())).unwrap();
    assert_eq!(paths(&onboarded), ["Files/app.yaml"]);
    let file = on_disk(&Package(dotted.clone()).bytes());
    assert!(csar::vnfd(file.path(), &Limits::default()).is_ok());
    let twice = Package(dotted).with("Files/app.yaml", APP);
    check_rejected(&twice, "the CSAR is refused: two of its entries have the name 'Files/app.yaml'");
    check_rejected(&Package::new().with("././a", ""), "the CSAR is refused: the name of its entry '././a'");
}

#[test]
fn every_file_may_have_a_byte_order_mark_and_be_utf_16() {
    let utf16 = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff_u16).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let marked = |text: &str| ["\u{feff}".as_bytes(), text.as_bytes()].concat();
    let app = utf16(&format!("---\n{APP}---\n{}", APP.replace("app}", "b}")));
    let package = Package::new()
        .with("Definitions/top.yaml", marked(TOP))
        .with("Definitions/types.yaml", utf16(TYPES))
        .with_artifact("Files/sixteen.yaml", &app)
        .with_artifact("Files/marked.yaml", marked(&format!("---\n{APP}")));
    let onboarded = onboard(&package).unwrap();
    assert!(onboarded.content.warnings.is_empty(), "{:?}", onboarded.content.warnings);
    let objects = |index: usize| manifest::read(&onboarded.files[index..=index]).unwrap();
    let positions = |index| objects(index).iter().map(|it| it.position()).collect::<Vec<_>>();
    assert_eq!(positions(1), ["Files/marked.yaml:2"]);
    assert_eq!(positions(2), ["Files/sixteen.yaml:2", "Files/sixteen.yaml:6"]);
}

#[test]
fn types_of_the_standard_need_not_be_in_the_package() {
    let top =
        TOP.replace("[types.yaml]", "[etsi_nfv_sol001_common_types.yaml, etsi_nfv_sol001_vnfd_types.yaml, types.yaml]");
    assert!(onboard(&Package::new().with("Definitions/top.yaml", top)).is_ok());
}

#[test]
fn software_images_have_the_checksum_of_the_vnfd_and_may_share_a_file() {
    let image = |id: &str, checksum: &str| {
        format!(
            "    {id}:\n      type: tosca.nodes.nfv.Vdu.VirtualBlockStorage\n      properties:\n        sw_image_data: {{name: {id}, version: '1', \
             container_format: bare, disk_format: raw, min_disk: 1.5 GB, min_ram: 0.5 GiB, size: 1.5 kB, checksum: {checksum}}}\n      \
             artifacts:\n        i: {{type: tosca.artifacts.nfv.SwImage, file: ../Files/i.raw}}\n"
        )
    };
    let sha512 = hex::encode(digest::digest(&digest::SHA512, b"image"));
    let right = format!("{{algorithm: sha-512, hash: {sha512}}}");
    let wrong = "{algorithm: SHA-256, hash: abcd}";
    let top = format!("{TOP}{}{}", image("One", &right), image("Two", wrong));
    let package = Package::new().with("Definitions/top.yaml", top).with_artifact("Files/i.raw", b"image");
    let artifacts = onboard(&package).unwrap().content.artifacts;
    let images: Vec<_> = artifacts.iter().filter_map(|it| Some((it.image.as_ref()?, it))).collect();
    let shown: Vec<_> =
        images.iter().map(|(image, it)| (image.id.as_str(), it.algorithm.as_str(), it.hash.as_str())).collect();
    assert_eq!(shown, [("One", "sha-512", sha512.as_str()), ("Two", "SHA-256", "abcd")]);
    let sizes = |(image, _): &(&gybe::domain::package::SoftwareImage, _)| (image.min_disk, image.min_ram, image.size);
    assert_eq!(sizes(&images[0]), (1_500_000_000, 1 << 29, 1500));
    assert_eq!(warnings(&package), ["the checksum of the image Two in the VNFD is not that of Files/i.raw"]);
}
