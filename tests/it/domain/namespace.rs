//! The namespace decision (`gybe::domain::namespace`) and what it does to objects.

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
    assert_eq!(decide(Some(&json!("given")), &manifests).unwrap().as_str(), "given");
}

#[test]
fn without_the_parameter_the_manifests_one_namespace_is_taken() {
    assert_eq!(decide(None, &[config_map("a.yaml", Some("x"))]).unwrap().as_str(), "x");
}

#[test]
fn unset_beside_x_counts_as_x() {
    let manifests = [config_map("a.yaml", None), config_map("b.yaml", Some("x")), config_map("c.yaml", Some(""))];
    assert_eq!(decide(None, &manifests).unwrap().as_str(), "x");
}

#[test]
fn default_is_taken_where_nothing_is_named() {
    assert_eq!(decide(None, &[config_map("a.yaml", None)]).unwrap().as_str(), "default");
    assert_eq!(decide(None, &[]).unwrap().as_str(), "default");
}

#[test]
fn two_namespaces_without_the_parameter_are_refused_naming_files_and_namespaces() {
    let manifests = [config_map("a.yaml", Some("x")), config_map("b.yaml", Some("y")), config_map("c.yaml", Some("y"))];
    let problem = decide(None, &manifests).unwrap_err();
    assert_eq!(problem.status, 422);
    assert!(problem.detail.contains("x (a.yaml); y (b.yaml, c.yaml)"), "{}", problem.detail);
}

#[test]
fn a_role_counts_like_any_other_object() {
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "r", "namespace": "y" } });
    let manifests = [config_map("a.yaml", Some("x")), manifest("role.yaml", role)];
    assert_eq!(decide(None, &manifests).unwrap_err().status, 422);
}

#[test]
fn cluster_scoped_objects_do_not_count() {
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "r", "namespace": "y" } });
    let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "z" } });
    let manifests = [config_map("a.yaml", Some("x")), manifest("role.yaml", role), manifest("ns.yaml", own)];
    assert_eq!(decide(None, &manifests).unwrap().as_str(), "x");
}

#[test]
fn a_parameter_that_is_no_dns_label_is_a_400() {
    for wrong in [json!(""), json!("Bad_Name"), json!(7), json!(null), json!(["a"]), json!("-a"), json!("a".repeat(64))]
    {
        let problem = decide(Some(&wrong), &[]).unwrap_err();
        assert_eq!(problem.status, 400, "{wrong}");
        assert!(problem.detail.starts_with("additionalParams.namespace"), "{}", problem.detail);
    }
}

#[test]
fn placing_forces_the_namespace_on_namespaced_objects_alone() {
    let target = namespace("target");
    let placed = place(&config_map("a.yaml", Some("x")), true, &target, &PackageNamespaces::of(&[]));
    assert_eq!(placed["metadata"]["namespace"], "target");
    let placed = place(&config_map("a.yaml", Some("x")), false, &target, &PackageNamespaces::of(&[]));
    assert_eq!(placed["metadata"].get("namespace"), None);
}

#[test]
fn subjects_that_pointed_at_the_packages_namespace_follow_and_others_stay() {
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
    let placed = place(&manifest("b.yaml", binding), true, &namespace("target"), &PackageNamespaces::of(&[]));
    let namespaces: Vec<_> = placed["subjects"].as_array().unwrap().iter().map(|s| s["namespace"].as_str()).collect();
    assert_eq!(namespaces, [Some("target"), Some("target"), Some("monitoring"), None]);
}

#[test]
fn a_cluster_role_binding_follows_the_accounts_that_the_package_brings() {
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "own", "namespace": "edge" } });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "b" },
        "subjects": [
            { "kind": "ServiceAccount", "name": "own", "namespace": "edge" },
            { "kind": "ServiceAccount", "name": "other", "namespace": "edge" },
        ],
    });
    let manifests = [manifest("a.yaml", account), manifest("b.yaml", binding)];
    let placed = place(&manifests[1], false, &namespace("target"), &PackageNamespaces::of(&manifests));
    assert_eq!(placed["subjects"][0]["namespace"], "target");
    assert_eq!(placed["subjects"][1]["namespace"], "edge");
}

#[test]
fn subjects_follow_where_the_package_names_its_namespace_once_and_leaves_it_unset_elsewhere() {
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
    fn a_name_is_taken_exactly_if_it_is_a_dns_label(name in "[a-zA-Z0-9._-]{0,66}") {
        let label = (1..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        prop_assert_eq!(Namespace::try_from(name).is_ok(), label);
    }
}
