//! Wrong packages, one mistake each: lint names file, line, rule and remedy.

use gybe::cli::build::{self, TOSCA_META};
use gybe::cli::init::{self, Aspect};
use gybe::cli::package::report;
use std::collections::BTreeMap;
use tempfile::TempDir;

use crate::support::sample;

type Files = BTreeMap<String, Vec<u8>>;

const WEB: &str = "Files/kubernetes/web.yaml";
const SERVICE: &str = "Files/kubernetes/service.yaml";
const VNFD: &str = "Definitions/app.vnfd.yaml";
/// The package itself, for what is wrong with it as a whole.
const PACKAGE: &str = "package.csar";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: nginx:1.29
          readinessProbe: {httpGet: {port: 80}}
";

/// A right package.
fn right() -> Files {
    let manifests = [
        ("web.yaml", DEPLOYMENT),
        ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec: {ports: [{port: 80}]}\n"),
    ];
    let manifests: Files =
        manifests.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    let workloads = init::workloads(&init::objects(&manifests).unwrap());
    let aspect: Aspect = "web:3".parse().unwrap();
    init::package("app", &manifests, &workloads, &[aspect]).unwrap()
}

fn text(files: &Files, path: &str) -> String {
    String::from_utf8_lossy(&files[path]).into_owned()
}

fn put(files: &mut Files, path: &str, text: &str) {
    files.insert(path.to_owned(), text.as_bytes().to_vec());
}

fn replace(files: &mut Files, path: &str, from: &str, to: &str) {
    let before = text(files, path);
    assert!(before.contains(from), "{path} has no {from}");
    put(files, path, &before.replacen(from, to, 1));
}

/// A mistake: what changes of the right package, and where lint finds it.
struct Mistake {
    change: fn(&mut Files),
    /// Whether the hashes are right after the change.
    hashed: bool,
    file: &'static str,
    /// The line is the first that has this text; 1 if it is empty.
    line_of: &'static str,
    rule: &'static str,
    message: &'static str,
}

/// A mistake in a package whose hashes are right.
const fn hashed(
    change: fn(&mut Files),
    (file, line_of): (&'static str, &'static str),
    rule: &'static str,
    message: &'static str,
) -> Mistake {
    Mistake { change, hashed: true, file, line_of, rule, message }
}

/// A mistake in a package as it is.
const fn packed(
    change: fn(&mut Files),
    place: (&'static str, &'static str),
    rule: &'static str,
    message: &'static str,
) -> Mistake {
    Mistake { hashed: false, ..hashed(change, place, rule, message) }
}

const IN_LISTS: [Mistake; 16] = [
    packed(|files| put(files, "../evil.yaml", ""), (PACKAGE, ""), "archive", "'../evil.yaml' is absolute or has '.'"),
    packed(|files| put(files, "/etc/passwd", ""), (PACKAGE, ""), "archive", "'/etc/passwd' is absolute"),
    packed(|files| put(files, "a\\b.txt", ""), (PACKAGE, ""), "archive", "has backslashes"),
    packed(|files| drop(files.remove(TOSCA_META)), (PACKAGE, ""), "lists", "add TOSCA-Metadata/TOSCA.meta with a line"),
    packed(
        |files| *files = files.iter().map(|(path, it)| (format!("app/{path}"), it.clone())).collect(),
        (PACKAGE, ""),
        "lists",
        "pack what is in the directory app, without the directory itself",
    ),
    packed(
        |files| replace(files, TOSCA_META, "Entry-Definitions", "Entry-Definition"),
        (TOSCA_META, ""),
        "lists",
        "there is no Entry-Definitions; add a line",
    ),
    packed(
        |files| replace(files, TOSCA_META, "app.vnfd", "other.vnfd"),
        (TOSCA_META, "Entry-Definitions"),
        "vnfd",
        "there is no file Definitions/other.vnfd.yaml in the CSAR; add it or correct the path",
    ),
    packed(
        |files| replace(files, TOSCA_META, "CSAR-Version: 1.1", "CSAR-Version 1.1"),
        (TOSCA_META, "CSAR-Version"),
        "lists",
        "'CSAR-Version 1.1' is not like 'Key: value'; correct or remove the line",
    ),
    packed(
        |files| replace(files, TOSCA_META, "Algorithm", "Content-Type: text/x\nAlgorithm"),
        (TOSCA_META, "Content-Type: text/x"),
        "lists",
        "'content-type' occurs twice in one block; remove one",
    ),
    packed(
        |files| replace(files, TOSCA_META, "Name: Files/kubernetes/web.yaml", "File: x"),
        (TOSCA_META, "File: x"),
        "lists",
        "an artifact without Name or Source; add the path",
    ),
    packed(
        |files| replace(files, TOSCA_META, "Algorithm: SHA-256\n", ""),
        (TOSCA_META, "Name: Files/kubernetes/service.yaml"),
        "lists",
        "has no Algorithm; add a line",
    ),
    packed(
        |files| replace(files, SERVICE, "port: 80", "port: 81"),
        (TOSCA_META, "Hash: "),
        "artifact",
        "the hash of Files/kubernetes/service.yaml is wrong",
    ),
    packed(
        |files| replace(files, TOSCA_META, "SHA-256", "MD5"),
        (TOSCA_META, "MD5"),
        "artifact",
        "the algorithm MD5 is not known; use SHA-256",
    ),
    packed(
        |files| drop(files.remove(WEB)),
        (TOSCA_META, "Name: Files/kubernetes/web.yaml"),
        "artifact",
        "there is no file Files/kubernetes/web.yaml in the CSAR; add it",
    ),
    packed(
        |files| replace(files, TOSCA_META, "\n\n", "\nETSI-Entry-Manifest: app.mf\n\n"),
        (TOSCA_META, "ETSI-Entry-Manifest"),
        "lists",
        "there is no file app.mf in the CSAR; add the manifest or remove the line",
    ),
    packed(
        |files| put(files, "Files/more.yaml", DEPLOYMENT),
        ("Files/more.yaml", ""),
        "unlisted (warning)",
        "no list of the package names this file",
    ),
];

const IN_VNFD: [Mistake; 16] = [
    hashed(|files| put(files, VNFD, "a: [1\n"), (VNFD, ""), "vnfd", "not valid YAML"),
    hashed(
        |files| replace(files, VNFD, "\nimports:", "\n---\nimports:"),
        (VNFD, "imports:"),
        "vnfd",
        "a file of a VNFD is one YAML document, and this is another; remove the '---'",
    ),
    hashed(
        |files| replace(files, VNFD, "    VNF:\n      type: tosca.nodes.nfv.VNF", "    VNF:\n      type: my.VNF"),
        (VNFD, "tosca_definitions_version"),
        "vnfd",
        "has no node whose type is derived from tosca.nodes.nfv.VNF; add the node",
    ),
    hashed(
        |files| replace(files, VNFD, "        descriptor_id", "        id"),
        (VNFD, "    VNF:"),
        "vnfd",
        "the node VNF has no property descriptor_id; add it",
    ),
    hashed(
        |files| replace(files, VNFD, "descriptor_version: \"1.0\"", "descriptor_version: 1.0"),
        (VNFD, "descriptor_version"),
        "vnfd",
        "descriptor_version must be a string, and this is a number; put it in quotes",
    ),
    hashed(
        |files| replace(files, VNFD, "  - etsi_nfv", "  - types.yaml\n  - etsi_nfv"),
        (VNFD, "- types.yaml"),
        "vnfd",
        "there is no file Definitions/types.yaml in the CSAR; add it or correct the path",
    ),
    hashed(
        |files| replace(files, VNFD, "  - etsi_nfv", "  - https://example.test/types.yaml\n  - etsi_nfv"),
        (VNFD, "example.test"),
        "vnfd",
        "is a URL, and nothing is fetched; put the file into the CSAR",
    ),
    hashed(
        |files| {
            replace(files, VNFD, "      flavour_id: simple\n\n", "      none: 1\n\n");
            replace(files, VNFD, "        flavour_id: simple\n", "");
        },
        (VNFD, "tosca_definitions_version"),
        "vnfd",
        "the VNFD has no deployment flavour",
    ),
    hashed(
        |files| replace(files, VNFD, "targets: [\"WEB\"]", "targets: [WEBB]"),
        (VNFD, "targets: [WEBB]"),
        "vnfd",
        "there is no VDU WEBB; there is: WEB. Correct the name",
    ),
    hashed(
        |files| replace(files, VNFD, "\"web\": {scale_level", "\"application\": {scale_level"),
        (VNFD, "\"application\": {"),
        "vnfd",
        "there is no aspect application; there is: web. Correct the name",
    ),
    hashed(
        |files| replace(files, VNFD, "aspect: \"web\"", "aspect: wbe"),
        (VNFD, "aspect: wbe"),
        "vnfd (warning)",
        "there is no aspect wbe, so this is ignored; there is: web",
    ),
    hashed(
        |files| replace(files, VNFD, "        name: \"web\" # of the Deployment\n", ""),
        (VNFD, "    WEB:"),
        "vnfd",
        "the node WEB has no property name; add it",
    ),
    hashed(
        |files| replace(files, VNFD, "max_number_of_instances: 5", "max_number_of_instances: 1"),
        (VNFD, "vdu_profile"),
        "vnfd (warning)",
        "the vdu_profile of WEB allows 2 to 1 instances; correct it",
    ),
    hashed(
        |files| replace(files, VNFD, "{scale_level: 3}", "{scale_level: 4}"),
        (VNFD, "{scale_level: 4}"),
        "vnfd (warning)",
        "the scale level 4 of the aspect web is beyond its max_scale_level 3",
    ),
    hashed(
        |files| {
            replace(
                files,
                VNFD,
                "initial_delta: {number_of_instances: 2}",
                "initial_delta: {number_of_instances: 20000}",
            )
        },
        (VNFD, "name: \"web\" # of"),
        "scaling",
        "VDU 'WEB' would have 20000 instances; the limit is 10000",
    ),
    hashed(
        |files| replace(files, VNFD, "name: \"web\" # of", "name: wbe # of"),
        (VNFD, "name: wbe"),
        "vdu (warning)",
        "VDU 'WEB': no Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod named 'wbe' is in the definition files",
    ),
];

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: thing.example.test}\n\
                   spec: {group: example.test, scope: Namespaced, names: {kind: Thing, plural: things}, versions: []}\n";

const IN_MANIFESTS: [Mistake; 20] = [
    hashed(|files| replace(files, WEB, "spec:\n", "spec: [\n"), (WEB, "selector:"), "manifest", "not valid YAML"),
    hashed(|files| replace(files, WEB, "  replicas", "\treplicas"), (WEB, "replicas"), "manifest", "YAML"),
    hashed(
        |files| replace(files, WEB, "apiVersion: apps/v1\n", ""),
        (WEB, ""),
        "manifest",
        "the object has no apiVersion; add it",
    ),
    hashed(
        |files| replace(files, WEB, "kind: Deployment\n", ""),
        (WEB, ""),
        "manifest",
        "the object has no kind; add it",
    ),
    hashed(
        |files| replace(files, WEB, "  name: web\n", "  labels: {}\n"),
        (WEB, "metadata:"),
        "manifest",
        "metadata has no name; add it",
    ),
    hashed(
        |files| replace(files, WEB, "  name: web", "  generateName: web-"),
        (WEB, "generateName"),
        "manifest",
        "give a fixed metadata.name",
    ),
    hashed(
        |files| replace(files, WEB, "  name: web\n", "  name: Web/1\n"),
        (WEB, "Web/1"),
        "manifest",
        "can't be a name in Kubernetes",
    ),
    hashed(
        |files| replace(files, WEB, "  name: web\n", "  name: web\n  labels: {version: 1.0}\n"),
        (WEB, "version: 1.0"),
        "manifest",
        "version must be a string, and this is a number; put it in quotes",
    ),
    hashed(
        |files| replace(files, WEB, "  replicas: 2\n", "  replicas: 2\n  replicas: 3\n"),
        (WEB, "replicas: 3"),
        "manifest",
        "the key 'replicas' occurs twice in one mapping",
    ),
    hashed(
        |files| drop(files.insert(WEB.to_owned(), b"apiVersion: v1 # caf\xe9\n".to_vec())),
        (WEB, ""),
        "manifest (warning)",
        "is neither UTF-8 nor UTF-16",
    ),
    // Artifacts that are for others are no error: requests can name the manifests.
    hashed(
        |files| put(files, "Artifacts/init.yaml", "a:\n{% for i in x %}\n"),
        ("Artifacts/init.yaml", "{%"),
        "manifest (warning)",
        "not valid YAML",
    ),
    hashed(
        |files| put(files, "Artifacts/settings.json", "{\n  \"name\": \"upf\"\n}\n"),
        ("Artifacts/settings.json", ""),
        "manifest (warning)",
        "the object has no apiVersion",
    ),
    hashed(
        |files| put(files, "Files/kubernetes/x.yaml", DEPLOYMENT),
        ("Files/kubernetes/x.yaml", ""),
        "object",
        "Deployment web is defined twice",
    ),
    hashed(
        |files| replace(files, WEB, "replicas: 2", "replicas: 20000"),
        (WEB, ""),
        "object",
        "has more than 10000 pods",
    ),
    hashed(
        |files| put(files, "Files/crd.yaml", CRD),
        ("Files/crd.yaml", ""),
        "object",
        "metadata.name must be things.example.test",
    ),
    hashed(
        |files| {
            replace(files, WEB, "  name: web\n", "  name: web\n  namespace: north\n");
            replace(files, SERVICE, "  name: web\n", "  name: web\n  namespace: south\n");
        },
        (WEB, ""),
        "namespace (warning)",
        "the manifests name 2 namespaces: north",
    ),
    hashed(
        |files| replace(files, SERVICE, "  name: web\n", "  name: web\n  namespace: kube-system\n"),
        (SERVICE, ""),
        "namespace",
        "these objects belong to a namespace of Kubernetes itself",
    ),
    hashed(
        |files| replace(files, WEB, "spec:\n", "spec:\n  paused: true\n"),
        (WEB, ""),
        "rollout (warning)",
        "nothing rolls out until somebody resumes it",
    ),
    hashed(
        |files| replace(files, WEB, "          readinessProbe: {httpGet: {port: 80}}\n", ""),
        (WEB, ""),
        "rollout (warning)",
        "without a readiness or startup probe",
    ),
    hashed(
        |files| {
            replace(files, WEB, "kind: Deployment", "kind: DaemonSet");
            replace(files, WEB, "spec:\n  replicas: 2\n", "spec:\n  updateStrategy: {type: OnDelete}\n");
        },
        (VNFD, "name: \"web\" # of"),
        "vdu (warning)",
        "VDU 'WEB' is a DaemonSet, which has no replicas: aspect 'web' can't be scaled",
    ),
];

#[test]
fn each_mistake_has_a_line_with_file_line_rule_and_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(PACKAGE);
    let shown = path.display().to_string();
    for mistake in IN_LISTS.iter().chain(&IN_VNFD).chain(&IN_MANIFESTS) {
        let mut files = right();
        (mistake.change)(&mut files);
        if mistake.hashed {
            build::hash(&mut files).unwrap();
        }
        std::fs::write(&path, build::zip(&files).unwrap()).unwrap();
        let number = |(index, _): (usize, &str)| index + 1;
        let in_file =
            || text(&files, mistake.file).lines().enumerate().find(|(_, it)| it.contains(mistake.line_of)).map(number);
        let line =
            if mistake.line_of.is_empty() { 1 } else { in_file().unwrap_or_else(|| panic!("{}", mistake.line_of)) };
        let file = if mistake.file == PACKAGE { shown.as_str() } else { mistake.file };
        let begin = format!("{file}:{line}: {}: ", mistake.rule);
        let report = report(&path).unwrap();
        let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        let found = lines.iter().find(|line| line.starts_with(&begin) && line.contains(mistake.message));
        let found = found.unwrap_or_else(|| panic!("{begin}{}\n{lines:#?}", mistake.message));
        assert!(report.findings.iter().all(|finding| found.len() > begin.len() && !finding.remedy.is_empty()));
        let is_warning = mistake.rule.ends_with("(warning)");
        assert_eq!(report.errors() == 0, is_warning, "{lines:#?}");
    }
}

#[test]
fn what_is_no_archive_is_named_and_right_packages_have_no_errors() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(PACKAGE);
    std::fs::write(&path, "hello").unwrap();
    let line = report(&path).unwrap().findings[0].to_string();
    assert!(line.contains("package.csar:1: archive: the CSAR is refused: it is no intact ZIP archive"), "{line}");
    std::fs::write(&path, build::zip(&right()).unwrap()).unwrap();
    assert_eq!(report(&path).unwrap().findings, []);
    for (name, errors) in [
        ("core5g", 0),
        ("core5g-2", 0),
        ("no-metadata", 0),
        ("own-namespace", 0),
        ("broken/not-yaml", 1),
        ("broken/bad-vnfd", 1),
    ] {
        std::fs::write(&path, sample::pack(name)).unwrap();
        let report = report(&path).unwrap();
        assert_eq!(report.errors(), errors, "{name}: {:#?}", report.findings);
    }
}
