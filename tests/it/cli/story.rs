//! From three manifests to a running VNF and back, with the commands that the documentation names.
//!
//! The server is behind a proxy that loses the answer to every second request that changes something: each command acts once all the same.

use gybe::domain::vim::VimCredential;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Person;
use super::package::{NGINX, write};
use crate::support::cluster::Cluster;
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::Gybe;

#[tokio::test(flavor = "multi_thread")]
async fn from_plain_manifests_to_a_running_vnf_and_back() {
    let (cluster, home) = (Cluster::running().await, TempDir::new().unwrap());
    let namespace = cluster.namespace().await;
    let name = namespace.name.as_str();
    let gybe = Gybe::start();
    let behind = gybe::domain::vim::VimAccess { endpoint: gybe.url.clone(), ..cluster.admin.clone() };
    let proxy = FaultProxy::of(&behind).await;
    proxy.set(ProxyFault::LosesReplies(2));
    let person = Person { home: home.path() };
    let path = |file: &str| home.path().join(file).to_str().unwrap().to_owned();
    write(&home.path().join("nginx"), &NGINX);

    let front = proxy.access(&behind);
    std::fs::write(path("ca.pem"), front.ca.unwrap()).unwrap();
    person.expect(0, &["login", "--server", &front.endpoint, "--ca-file", "ca.pem"]).await;

    // A credential with the rights that the package needs, and no others.
    person.expect(0, &["package", "init", "nginx", "--aspect", "web=nginx:2", "--out", "web.csar"]).await;
    let roles = person.expect(0, &["vim", "rbac", "-n", name, "--package", "web.csar", "-o", "json"]).await;
    let roles: Value = serde_json::from_str(&roles).unwrap();
    let role = roles["items"].as_array().unwrap().iter().find(|it| it["kind"] == "Role").unwrap();
    let account = cluster.account(&namespace.name, "gybe", role["rules"].clone()).await;
    let VimCredential::BearerToken(token) = &account.credential else { panic!("an account has a token") };
    std::fs::write(path("token"), token.expose()).unwrap();
    std::fs::write(path("vim.pem"), account.ca.as_deref().unwrap()).unwrap();
    let vim = [
        "vim",
        "add",
        "lab",
        "--url",
        &account.endpoint,
        "--token-file",
        "token",
        "--vim-ca-file",
        "vim.pem",
        "--default",
    ];
    let added = person.expect(0, &vim).await;
    assert!(added.contains(&format!("as system:serviceaccount:{name}:gybe")), "{added}");
    person.expect(0, &["vim", "check", "lab"]).await;

    let ran = person.expect(0, &["run", "web.csar", "-n", name]).await;
    assert!(ran.contains("onboarded\nVNF web (") && ran.contains("INSTANTIATE COMPLETED ("), "{ran}");
    let list = person.expect(0, &["vnf", "list"]).await;
    assert!(list.contains(&format!("web   INSTANTIATED  {name}")), "{list}");
    let again = person.expect(3, &["run", "web.csar", "-n", name]).await;
    assert!(again.contains("there is a VNF 'web' already"), "{again}");

    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), name);
    let replicas = async || deployments.get("nginx").await.unwrap().spec.unwrap().replicas;
    person.expect(0, &["vnf", "scale", "web", "--out", "1", "--wait"]).await;
    assert_eq!(replicas().await, Some(3));
    let too_far = person.expect(3, &["vnf", "scale", "web", "--out", "5", "--wait"]).await;
    assert!(too_far.contains("(422"), "{too_far}");
    person.expect(0, &["vnf", "scale", "web", "--to", "2", "--wait", "--timeout", "300"]).await;
    assert_eq!(replicas().await, Some(4));
    let shown = person.expect(0, &["vnf", "get", "web"]).await;
    assert!(shown.contains("web     2      2") && shown.contains("NGINX  nginx-"), "{shown}");

    assert_eq!(person.expect(0, &["vnf", "diff", "web"]).await, "in sync\n");
    let settings: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), name);
    let change = json!({ "data": { "index.html": "changed" } });
    settings.patch("site", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    let differs = person.expect(1, &["vnf", "diff", "web"]).await;
    assert!(
        differs.starts_with("ConfigMap site: CHANGED\n") && differs.contains("  - \"hello\"\n  + \"changed\"\n"),
        "{differs}"
    );
    person.expect(0, &["vnf", "heal", "web", "--cause", "somebody changed it", "--wait"]).await;
    person.expect(0, &["vnf", "diff", "web", "-o", "json"]).await;

    let history = person.expect(0, &["vnf", "history", "web", "-o", "json"]).await;
    let history: Vec<Value> = serde_json::from_str(&history).unwrap();
    let operations: Vec<&str> = history.iter().map(|op| op["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["INSTANTIATE", "SCALE", "SCALE_TO_LEVEL", "HEAL"], "each once, though answers were lost");
    let last = person.expect(0, &["op", "get", "web", "-o", "yaml"]).await;
    assert!(last.contains("operation: HEAL\n") && last.contains("operationState: COMPLETED\n"), "{last}");
    let refused = person.expect(3, &["op", "retry", "web"]).await;
    assert!(refused.contains("(409"), "{refused}");

    let ended = person.expect(0, &["vnf", "terminate", "web", "--delete"]).await;
    assert!(ended.contains("TERMINATE COMPLETED (") && ended.ends_with("deleted\n"), "{ended}");
    let left: Vec<ObjectMeta> =
        cluster.marked(&namespace.name).await.into_iter().map(|(_, object)| object.metadata).collect();
    assert_eq!(left, []);
    person.expect(0, &["package", "delete", "nginx"]).await;
    person.expect(0, &["vim", "delete", "lab"]).await;
    let (packages, vims) = (gybe.get("/vnfpkgm/v2/vnf_packages").await, gybe.get("/v1.0/vims").await);
    assert_eq!((packages.text.as_str(), vims.text.as_str()), ("[]", "{\"vims\":[]}"));
}
