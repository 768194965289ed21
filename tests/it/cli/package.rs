//! From plain manifests to a package, through the real binary.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::gybe::binary;

/// A Deployment, a Service and a ConfigMap.
pub const NGINX: [(&str, &str); 3] = [
    (
        "deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: nginx\nspec:\n  replicas: 2\n  selector:\n    matchLabels: {app: nginx}\n  \
         template:\n    metadata:\n      labels: {app: nginx}\n    spec:\n      containers:\n        - name: nginx\n          image: nginx:1.29\n          \
         readinessProbe: {httpGet: {port: 80}}\n          resources: {requests: {cpu: 100m, memory: 64Mi}}\n          \
         volumeMounts: [{name: site, mountPath: /usr/share/nginx/html}]\n      volumes: [{name: site, configMap: {name: site}}]\n",
    ),
    (
        "service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: nginx}\nspec: {selector: {app: nginx}, ports: [{port: 80}]}\n",
    ),
    ("config/site.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: site}\ndata: {index.html: hello}\n"),
];

/// Writes these files below `folder`.
pub fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

fn gybe(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).current_dir(folder).args(arguments).output().unwrap()
}

fn output(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn plain_manifests_become_a_package_without_findings() {
    let home = TempDir::new().unwrap();
    write(&home.path().join("nginx"), &NGINX);
    let made = gybe(home.path(), &["package", "init", "nginx", "--aspect", "web=nginx:3"]);
    let expected = "nginx.csar: 3 manifests, 1 workloads, scaling aspects: web\n";
    assert_eq!(output(&made), (Some(0), expected.to_owned(), String::new()));

    let checked = gybe(home.path(), &["package", "lint", "nginx.csar", "-o", "json"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 0, "{report:#}");
    let needs = &report["needs"];
    let requests = |member: &str| ["pods", "cpuMilli", "memoryBytes"].map(|it| needs[member][it].as_u64().unwrap());
    assert_eq!(requests("requests"), [2, 200, 128 << 20]);
    assert_eq!(requests("highestRequests"), [5, 500, 320 << 20]);
    let rules = needs["rules"].as_array().unwrap();
    let may = |verb: &str, resource: &str| {
        rules.iter().any(|rule| {
            let has = |member: &str, value: &str| rule[member].as_array().unwrap().iter().any(|it| it == value);
            has("resources", resource) && has("verbs", verb)
        })
    };
    assert!(may("create", "deployments") && may("patch", "configmaps") && may("delete", "pods"), "{rules:#?}");
    assert!(!may("create", "pods") && !may("get", "secrets"), "{rules:#?}");
    assert_eq!(needs["clusterRules"].as_array().unwrap().len(), 0);

    // The same manifests make the same package.
    let first = std::fs::read(home.path().join("nginx.csar")).unwrap();
    gybe(home.path(), &["package", "init", "nginx", "--aspect", "web=nginx:3", "--out", "again.csar"]);
    assert!(first == std::fs::read(home.path().join("again.csar")).unwrap());
}

#[test]
fn a_folder_is_changed_and_built_again() {
    let home = TempDir::new().unwrap();
    write(&home.path().join("nginx"), &NGINX);
    let made = gybe(home.path(), &["package", "init", "nginx", "--out", "package"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let manifests = home.path().join("package/Files/kubernetes");
    let text = NGINX[1].1.replace("80", "8080");
    write(&manifests, &[("service.yaml", text.as_str()), ("second.yaml", &NGINX[2].1.replace("site", "second"))]);

    let (code, found, _) = output(&gybe(home.path(), &["package", "lint", "package"]));
    assert_eq!(code, Some(1), "{found}");
    assert!(
        found.contains(
            "package/TOSCA-Metadata/TOSCA.meta:19: artifact: the hash of Files/kubernetes/service.yaml is wrong"
        ),
        "{found}"
    );
    assert!(found.contains("package/Files/kubernetes/second.yaml:1: unlisted (warning): "), "{found}");
    assert!(found.contains("1 errors, 1 warnings"), "{found}");

    let (code, built, error) = output(&gybe(home.path(), &["package", "build", "package"]));
    assert_eq!((code, error.as_str()), (Some(0), ""), "{built}");
    assert!(built.starts_with("package.csar: 6 files\n0 errors, 0 warnings\nrights in its namespace:\n"), "{built}");
    let (code, found, _) = output(&gybe(home.path(), &["package", "lint", "package"]));
    assert!(code == Some(0) && found.starts_with("0 errors, 0 warnings"), "the folder has the hashes, too: {found}");
}

#[test]
fn what_cannot_be_made_is_refused_with_a_reason_and_leaves_no_file() {
    let home = TempDir::new().unwrap();
    write(&home.path().join("nginx"), &NGINX);
    write(&home.path().join("chart"), &[("Chart.yaml", "name: x\n"), ("templates/a.yaml", "{{ .Values.x }}\n")]);
    write(&home.path().join("broken"), &[("a.yaml", NGINX[1].1), ("b.yaml", "kind: Pod\nmetadata: {name: a}\n")]);
    std::fs::create_dir(home.path().join("empty")).unwrap();
    std::fs::create_dir(home.path().join("linked")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", home.path().join("linked/a.yaml")).unwrap();
    for (arguments, code, expected) in [
        (
            &["init", "nginx", "--aspect", "web=other:1"][..],
            2,
            "names 'other', which is no workload that can be scaled; there is: nginx",
        ),
        (&["init", "nginx", "--aspect", "web"], 2, "'web' is not like NAME=WORKLOAD,WORKLOAD:STEPS"),
        (&["init", "nginx", "--name", "a/b"], 2, "'a/b' can't be the name of a package"),
        (&["init", "nginx", "--aspect", "a=nginx:1", "--aspect", "b=nginx:1"], 2, "'nginx' is in two aspects"),
        (&["init", "chart"], 2, "Chart.yaml:1: a Helm chart is not a folder of manifests; render it"),
        (&["init", "broken"], 1, "b.yaml:1: the object has no apiVersion; add it"),
        (&["init", "empty"], 2, "there is no Kubernetes object"),
        (&["init", "linked"], 2, "is a link that leads out of"),
        (&["init", "nowhere"], 2, "nowhere can't be read: "),
        (&["lint", "nowhere.csar"], 2, "nowhere.csar can't be read: "),
        (&["build", "nginx"], 2, "for plain manifests: gybe package init nginx"),
    ] {
        let (found, _, error) = output(&gybe(home.path(), &[&["package"], arguments].concat()));
        assert_eq!(found, Some(code), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let files = std::fs::read_dir(home.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(files.count(), 0);

    // A folder of plain manifests is checked as it is, with all that is wrong.
    let (code, found, _) = output(&gybe(home.path(), &["package", "lint", "broken"]));
    assert_eq!(code, Some(1));
    assert!(
        found.contains("broken/b.yaml:1: manifest: the object has no apiVersion; add it. 'kubectl create"),
        "{found}"
    );
}
