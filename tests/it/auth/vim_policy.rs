//! The policy of a VIM on the real control plane: which namespaces and kinds VNFs may use there.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::refused_by_policy;
use super::site::Site;
use crate::support::cluster::Cluster;
use crate::support::gybe::{instantiate_request, vim};
use crate::support::sample;

/// A package with these manifests beside a Deployment.
fn package(version: &str, manifest: &str) -> Vec<u8> {
    let app = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n";
    sample::of_version(version, &[("Files/kubernetes/app.yaml", app), ("Files/kubernetes/more.yaml", manifest)])
}

async fn set_policy(site: &mut Site, vim: &str, policy: Value) {
    let manager = site.act_as("a", "manager");
    let changed = manager.put(&format!("/v1.0/vims/{vim}"), &json!({ "vim": { "policy": policy } })).await;
    changed.expect(StatusCode::OK);
    site.act_as("a", "member");
}

#[tokio::test]
async fn vnfs_use_only_what_the_policy_of_the_vim_allows() {
    let cluster = Cluster::running().await;
    let (namespace, other) = (cluster.namespace().await, cluster.namespace().await);
    let (own, foreign) = (namespace.name.as_str(), other.name.as_str());
    let mut site = Site::start(&[]);
    let member = site.act_as("a", "member");
    let id = member.register_vim(&cluster.admin, "cluster", true).await;
    let path = format!("/v1.0/vims/{id}");
    let shown = member.get(&path).await.expect(StatusCode::OK)["vim"]["policy"].clone();
    assert_eq!(shown, json!({ "refused_kinds": [], "allowed_cluster_kinds": [] }));
    let open = json!({ "vim": { "policy": { "allowed_cluster_kinds": ["*"] } } });
    assert!(member.put(&path, &open).await.problem(403).contains("needs the role manager"));
    let mut registration = vim(&cluster.admin, "open", false);
    registration["vim"]["policy"] = open["vim"]["policy"].clone();
    member.post("/v1.0/vims", &registration).await.problem(403);

    // Without an entry: nothing of Kubernetes itself, nothing cluster-scoped.
    let vnfd = member.onboard("small").await;
    let instance = member.create("v2", &vnfd).await;
    let detail = refused_by_policy(member, &instance, "instantiate", &instantiate_request("kube-system")).await;
    assert!(detail.contains("namespace 'kube-system'") && detail.contains("all but kube-*"), "{detail}");
    let mut creating = instantiate_request(own);
    creating["additionalParams"]["createNamespace"] = true.into();
    let detail = refused_by_policy(member, &instance, "instantiate", &creating).await;
    assert!(detail.contains(&format!("Namespace {own}")), "{detail}");
    let role =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: gybe-policy-test}\nrules: []\n";
    let cluster_role = member.upload(&package("role", role)).await["vnfdId"].as_str().unwrap().to_owned();
    let with_role = member.create("v2", &cluster_role).await;
    let detail = refused_by_policy(member, &with_role, "instantiate", &instantiate_request(own)).await;
    assert!(detail.contains("ClusterRole gybe-policy-test"), "{detail}");
    // Only the cluster knows the scope of this kind: refused when it is planned, before anything is made.
    let class = "apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: gybe-policy-test}\nspec: {}\n";
    let device_class = member.upload(&package("class", class)).await["vnfdId"].as_str().unwrap().to_owned();
    let with_class = member.create("v2", &device_class).await;
    let op = member.begin(&with_class, "instantiate", &instantiate_request(own)).await;
    let ended = member.wait_ended(&op).await;
    assert_eq!(ended["operationState"], "ROLLED_BACK", "{ended:#}");
    assert_eq!(ended["error"]["type"], "urn:gybe:problem:vim-policy", "{ended:#}");

    set_policy(&mut site, &id, json!({ "allowed_namespaces": [own], "allowed_cluster_kinds": ["Namespace"] })).await;
    let member = &site.gybe;
    let detail = refused_by_policy(member, &instance, "instantiate", &instantiate_request(foreign)).await;
    assert!(detail.contains(&format!("allowed: {own}")), "{detail}");
    creating["additionalParams"]["namespace"] = foreign.into();
    refused_by_policy(member, &instance, "instantiate", &creating).await;
    creating["additionalParams"]["namespace"] = own.into();
    member.complete(&instance, "instantiate", &creating).await;

    // What is there stays manageable as far as the policy of now allows, and can always be terminated.
    set_policy(&mut site, &id, json!({ "refused_kinds": ["Deployment.apps"] })).await;
    let detail = refused_by_policy(&site.gybe, &instance, "heal", &json!({})).await;
    assert!(detail.contains("Deployment app"), "{detail}");
    set_policy(&mut site, &id, json!({ "allowed_namespaces": ["kube-*"] })).await;
    refused_by_policy(&site.gybe, &instance, "operate", &json!({ "changeStateTo": "STOPPED" })).await;
    refused_by_policy(&site.gybe, &instance, "change_vnfpkg", &json!({ "vnfdId": vnfd })).await;
    site.gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn odd_policies_are_refused() {
    let cluster = Cluster::running().await;
    let mut site = Site::start(&[]);
    let manager = site.act_as("a", "manager");
    let id = manager.register_vim(&cluster.admin, "cluster", false).await;
    let path = format!("/v1.0/vims/{id}");
    let many: Vec<String> = (0..65).map(|number| format!("n{number}")).collect();
    for (policy, status, expected) in [
        (json!({ "allowed_namespaces": ["Team_A"] }), 422, "'Team_A' is not the name of a namespace"),
        (json!({ "allowed_namespaces": ["a*b"] }), 422, "'a*b'"),
        (json!({ "allowed_namespaces": [""] }), 422, "'' is not"),
        (json!({ "refused_kinds": ["Po d"] }), 422, "'Po d'"),
        (json!({ "allowed_namespaces": many }), 422, "more than 64 entries"),
        (json!({ "allowed_namespace": ["a"] }), 400, "allowed_namespace"),
        (json!({ "allowed_kinds": "Pod" }), 400, "allowed_kinds"),
        (json!(["a"]), 400, "policy"),
    ] {
        let detail = manager.put(&path, &json!({ "vim": { "policy": policy } })).await.problem(status);
        assert!(detail.contains(expected), "{policy}: {detail}");
    }
    let policy = json!({ "allowed_namespaces": ["team-*"], "allowed_kinds": ["*.apps"], "refused_kinds": [], "allowed_cluster_kinds": [] });
    manager.put(&path, &json!({ "vim": { "policy": policy } })).await.expect(StatusCode::OK);
    // Other changes keep it, `{}` is the default again.
    manager.put(&path, &json!({ "vim": { "description": "d" } })).await.expect(StatusCode::OK);
    assert_eq!(manager.get(&path).await.expect(StatusCode::OK)["vim"]["policy"], policy);
    let reset = manager.put(&path, &json!({ "vim": { "policy": {} } })).await.expect(StatusCode::OK);
    assert_eq!(reset["vim"]["policy"], json!({ "refused_kinds": [], "allowed_cluster_kinds": [] }));
}
