//! Looks before it leaps: previews and their plans, sync, undo, and a new credential for a VIM.

use gybe::domain::vim::{VimAccess, VimCredential};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Person;
use super::package::{NGINX, write};
use crate::support::cluster::Cluster;
use crate::support::gybe::Gybe;

/// A file as kubectl has it.
fn kubeconfig(access: &VimAccess) -> String {
    let VimCredential::BearerToken(token) = &access.credential else { panic!("an account has a token") };
    let user = json!({ "token": token.expose() });
    let cluster = json!({ "server": access.endpoint, "certificate-authority": "ca.pem" });
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "me" } }],
        "clusters": [{ "name": "lab", "cluster": cluster }], "users": [{ "name": "me", "user": user }],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_plans_sync_undo_and_rotation() {
    let (cluster, home) = (Cluster::running().await, TempDir::new().unwrap());
    let namespace = cluster.namespace().await;
    let name = namespace.name.as_str();
    let gybe = Gybe::start();
    let person = Person { home: home.path() };
    let at = ["--server", gybe.url.as_str()];
    let run = async |code, arguments: &[&str]| person.expect(code, &[arguments, &at].concat()).await;
    let preview = async |arguments: &[&str]| -> Value {
        let (code, output, _) = person.run(&[arguments, &["--preview", "-o", "json"], &at].concat()).await;
        let preview: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(code, 0, "{preview:#}");
        preview
    };
    let plan_of = |preview: &Value| preview["planId"].as_str().unwrap().to_owned();

    // Two accounts with the rights that any package needs.
    let roles: Value =
        serde_json::from_str(&person.expect(0, &["vim", "rbac", "-n", name, "-o", "json"]).await).unwrap();
    let role = roles["items"].as_array().unwrap().iter().find(|it| it["kind"] == "Role").unwrap();
    let first = cluster.account(&namespace.name, "first", role["rules"].clone()).await;
    let second = cluster.account(&namespace.name, "second", role["rules"].clone()).await;
    let config = kubeconfig(&first);
    let VimCredential::BearerToken(token) = &second.credential else { panic!("an account has a token") };
    let files =
        [("ca.pem", first.ca.as_deref().unwrap()), ("config", &config), ("token", token.expose()), ("wrong", "x.y.z")];
    write(home.path(), &files);
    run(0, &["vim", "add", "lab", "--kubeconfig", "config", "--default"]).await;

    // The plan of a preview runs as it was shown.
    write(&home.path().join("nginx"), &NGINX);
    let nginx = ["run", "nginx", "-n", name, "--aspect", "web=nginx:2"];
    let shown = preview(&nginx).await;
    let actions: Vec<&str> =
        shown["objects"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create"; 3], "{shown:#}");
    assert!(run(0, &["vnf", "list"]).await.contains("nginx  NOT_INSTANTIATED"));
    let ran = run(0, &[&nginx[..], &["--plan", &plan_of(&shown)]].concat()).await;
    assert!(ran.starts_with("INSTANTIATE COMPLETED ("), "{ran}");

    let text = run(0, &["vnf", "scale", "nginx", "--out", "1", "--preview"]).await;
    assert!(text.contains("change  Deployment  nginx") && text.contains("  /spec/replicas\n  - 2\n  + 3\n"), "{text}");
    assert!(text.contains("the same command with --plan "), "{text}");
    let stale = plan_of(&preview(&["vnf", "scale", "nginx", "--to", "1"]).await);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), name);
    let replicas = async || deployments.get("nginx").await.unwrap().spec.unwrap().replicas;
    assert_eq!(replicas().await, Some(2), "a preview changes nothing");
    run(0, &["vnf", "scale", "nginx", "--to", "2", "--wait"]).await;
    let refused = run(8, &["vnf", "scale", "nginx", "--to", "1", "--plan", &stale]).await;
    assert!(refused.contains("something it was made from has changed"), "{refused}");

    // The last change is undone, whatever it was.
    run(0, &["vnf", "undo", "nginx", "--wait"]).await;
    assert_eq!(replicas().await, Some(2));
    let settings: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), name);
    let page = async || settings.get("site").await.unwrap().data.unwrap()["index.html"].clone();
    let mut second_version = NGINX;
    let site = NGINX[2].1.replace("hello", "second version");
    second_version[2].1 = &site;
    write(&home.path().join("nginx2"), &second_version);
    run(0, &["vnf", "change", "nginx", "nginx2", "--aspect", "web=nginx:2", "--wait"]).await;
    assert_eq!(page().await, "second version");
    run(0, &["vnf", "undo", "nginx", "--wait"]).await;
    assert_eq!(page().await, "hello");
    run(0, &["vnf", "stop", "nginx", "--wait"]).await;
    assert_eq!(replicas().await, Some(0));
    run(0, &["vnf", "undo", "nginx", "--wait"]).await;
    assert_eq!(replicas().await, Some(2));
    let history = run(0, &["vnf", "history", "nginx"]).await;
    for change in ["web 0 → 2", "web 2 → 0", "STOPPED", "STARTED", " → "] {
        assert!(history.contains(change), "{change}: {history}");
    }

    // A sync brings back what differs, but for what it is to leave.
    let change = json!({ "data": { "index.html": "changed" } });
    settings.patch("site", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    run(0, &["vnf", "sync", "nginx", "--ignore", "ConfigMap/site:/data/index.html", "--wait"]).await;
    assert_eq!(page().await, "changed");
    run(0, &["vnf", "sync", "nginx", "--wait"]).await;
    assert_eq!(page().await, "hello");
    assert!(run(2, &["vnf", "sync", "nginx", "--ignore", "spec"]).await.contains("KIND[/NAME]:POINTER"));
    let misspelt = run(3, &["vnf", "sync", "nginx", "--ignore", "ConfigMap/sites:/data"]).await;
    assert!(
        misspelt.contains("ConfigMap 'sites', which the VNF does not have; of this kind it has: site ("),
        "{misspelt}"
    );

    // Files that changed are another package, which needs another id.
    person.expect(0, &["package", "init", "nginx2", "--out", "edited"]).await;
    run(0, &["package", "push", "edited"]).await;
    run(0, &["package", "push", "edited"]).await;
    write(&home.path().join("edited/Files/kubernetes"), &[("service.yaml", &NGINX[1].1.replace("80", "8080"))]);
    let refused = run(3, &["vnf", "change", "nginx", "edited", "--preview"]).await;
    assert!(refused.contains("its files differ; give descriptor_id in the VNFD a new value"), "{refused}");
    let other = home.path().join("other");
    write(&other, &NGINX);
    let lost = run(0, &["vnf", "change", "nginx", "other", "--preview"]).await;
    assert!(lost.contains("the new package has no scaling aspect 'web', which is at level 0"), "{lost}");

    // A credential that the cluster refuses is not kept.
    run(3, &["vim", "rotate", "lab", "--token-file", "wrong"]).await;
    assert!(run(0, &["vim", "check", "lab"]).await.contains(":first"));
    let rotated = run(0, &["vim", "rotate", "lab", "--token-file", "token"]).await;
    assert!(rotated.contains(&format!("takes the credential of system:serviceaccount:{name}:second")), "{rotated}");
    write(home.path(), &[("elsewhere", &config.replace(&first.endpoint, "https://elsewhere.example"))]);
    let elsewhere = run(2, &["vim", "rotate", "lab", "--kubeconfig", "elsewhere"]).await;
    assert!(elsewhere.contains("elsewhere is for https://elsewhere.example, and the VIM 'lab' is "), "{elsewhere}");
    run(0, &["vim", "rotate", "lab", "--kubeconfig", "config"]).await;

    let end = preview(&["vnf", "terminate", "nginx"]).await;
    assert_eq!(end["objects"].as_array().unwrap().iter().filter(|it| it["action"] == "delete").count(), 3, "{end:#}");
    run(0, &["vnf", "terminate", "nginx", "--delete", "--plan", &plan_of(&end)]).await;
}
