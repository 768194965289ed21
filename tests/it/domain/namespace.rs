//! The choice of the namespace (`gybe::domain::namespace`) and its effect on objects.

use gybe::domain::manifest::Manifest;
use gybe::domain::namespace::{Namespace, PackageNamespaces, decide, place};
use proptest::prelude::*;
use serde_json::{Value, json};

fn manifest(file: &str, object: Value) -> Manifest {
    Manifest { file: file.to_owned(), line: 1, object: object.as_object().unwrap().clone() }
}

fn config_map(file: &str, namespace: Option<&str>) -> Manifest {
    let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" } });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    manifest(file, object)
}

fn namespace(name: &str) -> Namespace {
    Namespace::try_from(name.to_owned()).unwrap()
}

#[test]
fn the_parameter_wins_over_the_manifests() {
    let manifests = [config_map("a.yaml", Some("x")), config_map("b.yaml", Some("y"))];
    assert_eq!(decide(Some(&json!("given")), &manifests, false).unwrap().as_str(), "given");
}

#[test]
fn uses_the_only_namespace_of_the_manifests() {
    assert_eq!(decide(None, &[config_map("a.yaml", Some("x"))], false).unwrap().as_str(), "x");
}

#[test]
fn unset_beside_x_counts_as_x() {
    let manifests = [config_map("a.yaml", None), config_map("b.yaml", Some("x")), config_map("c.yaml", Some(""))];
    assert_eq!(decide(None, &manifests, false).unwrap().as_str(), "x");
}

#[test]
fn uses_default_if_no_namespace_is_named() {
    assert_eq!(decide(None, &[config_map("a.yaml", None)], false).unwrap().as_str(), "default");
    assert_eq!(decide(None, &[], false).unwrap().as_str(), "default");
    let refused = decide(None, &[config_map("a.yaml", None)], true).unwrap_err();
    assert_eq!(refused.status, 422);
    assert_eq!(decide(None, &[config_map("a.yaml", Some("x"))], true).unwrap().as_str(), "x");
}

#[test]
fn rejects_two_namespaces_and_names_files_and_namespaces() {
    let manifests = [config_map("a.yaml", Some("x")), config_map("b.yaml", Some("y")), config_map("c.yaml", Some("y"))];
    let problem = decide(None, &manifests, false).unwrap_err();
    assert_eq!(problem.status, 422);
    assert!(problem.detail.contains("x (a.yaml); y (b.yaml, c.yaml)"), "{}", problem.detail);
}

#[test]
fn roles_count_as_namespaced_objects() {
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "r", "namespace": "y" } });
    let manifests = [config_map("a.yaml", Some("x")), manifest("role.yaml", role)];
    assert_eq!(decide(None, &manifests, false).unwrap_err().status, 422);
}

#[test]
fn cluster_scoped_objects_do_not_count() {
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "r", "namespace": "y" } });
    let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "z" } });
    let manifests = [config_map("a.yaml", Some("x")), manifest("role.yaml", role), manifest("ns.yaml", own)];
    assert_eq!(decide(None, &manifests, false).unwrap().as_str(), "x");
}

#[test]
fn rejects_a_parameter_that_is_not_a_dns_label_with_400() {
    for wrong in [json!(""), json!("Bad_Name"), json!(7), json!(null), json!(["a"]), json!("-a"), json!("a".repeat(64))]
    {
        let problem = decide(Some(&wrong), &[], false).unwrap_err();
        assert_eq!(problem.status, 400, "{wrong}");
        assert!(problem.detail.starts_with("additionalParams.namespace"), "{}", problem.detail);
    }
}

#[test]
fn placement_sets_the_namespace_of_namespaced_objects_only() {
    let target = namespace("target");
    let placed = place(&config_map("a.yaml", Some("x")), true, &target, &PackageNamespaces::of(&[]));
    assert_eq!(placed["metadata"]["namespace"], "target");
    let placed = place(&config_map("a.yaml", Some("x")), false, &target, &PackageNamespaces::of(&[]));
    assert_eq!(placed["metadata"].get("namespace"), None);
}

#[test]
fn subjects_in_the_package_namespace_are_moved_and_others_are_kept() {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "b", "namespace": "edge" },
        "subjects": [
            { "kind": "ServiceAccount", "name": "own", "namespace": "edge" },
            { "kind": "ServiceAccount", "name": "unset" },
            { "kind": "ServiceAccount", "name": "scraper", "namespace": "monitoring" },
            { "kind": "Group", "name": "system:serviceaccounts:edge" },
        ],
    });
    let manifests = [manifest("b.yaml", binding)];
    let placed = place(&manifests[0], true, &namespace("target"), &PackageNamespaces::of(&manifests));
    let namespaces: Vec<_> = placed["subjects"].as_array().unwrap().iter().map(|s| s["namespace"].as_str()).collect();
    assert_eq!(namespaces, [Some("target"), Some("target"), Some("monitoring"), None]);
}

#[test]
fn cluster_role_bindings_follow_the_service_accounts_of_the_own_namespace() {
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "own", "namespace": "edge" } });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "b" },
        "subjects": [
            { "kind": "ServiceAccount", "name": "own", "namespace": "edge" },
            { "kind": "ServiceAccount", "name": "default", "namespace": "edge" },
            { "kind": "ServiceAccount", "name": "other", "namespace": "elsewhere" },
        ],
    });
    let manifests = [manifest("a.yaml", account), manifest("b.yaml", binding)];
    let placed = place(&manifests[1], false, &namespace("target"), &PackageNamespaces::of(&manifests));
    assert_eq!(placed["subjects"][0]["namespace"], "target");
    assert_eq!(placed["subjects"][1]["namespace"], "target", "the pods of the package run as this account");
    assert_eq!(placed["subjects"][2]["namespace"], "elsewhere");
}

#[test]
fn objects_of_system_namespaces_are_refused_and_never_moved() {
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "reader", "namespace": "kube-system" } });
    let manifests = [config_map("a.yaml", None), manifest("role.yaml", role)];
    let problem = decide(Some(&json!("edge")), &manifests, false).unwrap_err();
    assert_eq!(problem.status, 422);
    assert!(problem.detail.contains("RoleBinding reader in kube-system at role.yaml:1"), "{}", problem.detail);
    assert_eq!(decide(Some(&json!("edge")), &manifests[..1], false).unwrap().as_str(), "edge");
    assert_eq!(
        decide(None, &manifests[1..], false).unwrap().as_str(),
        "kube-system",
        "the package is of that namespace alone"
    );
}

#[test]
fn subjects_follow_a_namespace_that_only_some_manifests_name() {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "own" } });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "b" },
        "subjects": [
            { "kind": "ServiceAccount", "name": "own", "namespace": "edge" },
            { "kind": "ServiceAccount", "name": "other", "namespace": "default" },
        ],
    });
    let manifests = [config_map("c.yaml", Some("edge")), manifest("a.yaml", account), manifest("b.yaml", binding)];
    let placed = place(&manifests[2], true, &namespace("target"), &PackageNamespaces::of(&manifests));
    assert_eq!(placed["subjects"][0]["namespace"], "target");
    assert_eq!(placed["subjects"][1]["namespace"], "default", "the package is not of this namespace");
}

proptest! {
    #[test]
    fn accepts_exactly_the_dns_labels(name in "[a-zA-Z0-9._-]{0,66}") {
        let label = (1..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        prop_assert_eq!(Namespace::try_from(name).is_ok(), label);
    }
}
