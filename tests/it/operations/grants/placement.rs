//! Placement: a grant names the VIM and namespace of a VNF.

use gybe::domain::vim::{VimAccess, VimCredential};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{GrantFixture, arguments, count_resources};
use crate::support::cluster::Cluster;
use crate::support::grant_server::{GrantServer, created, grant};
use crate::support::gybe::{Gybe, connection};

fn token(access: &VimAccess) -> String {
    match &access.credential {
        VimCredential::BearerToken(token) => token.expose().to_owned(),
        _ => panic!("a token is wanted"),
    }
}

/// `grant` with the VIM `id`.
fn with_vim(mut grant: Value, id: &str) -> Value {
    for list in ["addResources", "removeResources"] {
        for info in grant[list].as_array_mut().unwrap() {
            info["vimConnectionId"] = id.into();
        }
    }
    grant
}

async fn check_placement(fixture: GrantFixture, edition: &str) {
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = fixture.cluster.account(&fixture.namespace.name, "gybe", rules).await;
    let secret = token(&account);
    let path = fixture.small(edition).await;
    let (there, array) = (connection(&account), edition == "v1");
    fixture.nfvo.answer(move |request| {
        let mut grant = with_vim(grant(request), "granted");
        if array {
            let mut entry = there.clone();
            entry["id"] = "granted".into();
            grant["vimConnections"] = json!([entry]);
        } else {
            grant["vimConnectionInfo"] = json!({ "granted": there });
        }
        created(request, &grant)
    });
    let op = fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    let instance = fixture.show(&path).await;
    let vnfc = &instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0];
    assert_eq!(vnfc["computeResource"]["vimConnectionId"], "granted", "{instance:#}");
    let ids: Vec<&str> = match &instance["vimConnectionInfo"] {
        Value::Array(entries) => entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect(),
        map => map.as_object().unwrap().keys().map(String::as_str).collect(),
    };
    assert_eq!(ids, ["granted"], "the VIM of the grant replaces the default VIM");
    let shown = format!("{instance}{op}{}", fixture.gybe.log());
    assert!(!shown.contains(&secret), "the credential is shown");
    let database = std::fs::read(fixture.gybe.folder().join("gybe.db")).unwrap();
    let journal = std::fs::read(fixture.gybe.folder().join("gybe.db-wal")).unwrap();
    let in_clear = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!in_clear(&database) && !in_clear(&journal), "the credential is in clear in the database");

    fixture.nfvo.answer(|request| {
        let mut grant = with_vim(grant(request), "elsewhere");
        grant["vimConnectionInfo"] = json!({ "elsewhere": { "vimType": "kubernetes" } });
        created(request, &grant)
    });
    let heal = fixture.gybe.begin(&path, "heal", &json!({})).await;
    let heal = fixture.gybe.wait_ended(&heal).await;
    assert_eq!(heal["operationState"], "ROLLED_BACK", "{heal:#}");
    assert!(heal["error"]["detail"].as_str().unwrap().contains("a VNF is not moved"), "{heal:#}");
    fixture.nfvo.answer(|request| created(request, &with_vim(grant(request), "granted")));
    fixture.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(fixture.cluster.marked(&fixture.namespace.name).await.is_empty());
}

#[tokio::test]
async fn a_3_3_1_grant_selects_the_vim() {
    check_placement(GrantFixture::new(&[]).await, "v2").await;
}

#[tokio::test]
async fn a_2_6_1_grant_selects_the_vim() {
    check_placement(GrantFixture::new(&["--nfvo-edition", "v1"]).await, "v1").await;
}

#[tokio::test]
async fn without_a_registered_vim_the_grant_must_bring_one() {
    let nfvo = GrantServer::start().await;
    let gybe = Gybe::start_with(&arguments(&nfvo, &[]));
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let fixture = GrantFixture { cluster, namespace, nfvo, gybe };
    let path = fixture.small("v2").await;
    let error = fixture.instantiate_refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("no VIM"), "{error}");
    assert_eq!(count_resources(&fixture.nfvo.last(), "addResources", "COMPUTE"), (1, 0));
    let there = connection(&fixture.cluster.admin);
    fixture.nfvo.answer(move |request| {
        let mut grant = grant(request);
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    fixture.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_grant_cannot_override_the_vim_of_the_request() {
    let fixture = GrantFixture::new(&[]).await;
    let path = fixture.small("v2").await;
    let there = connection(&fixture.cluster.admin);
    fixture.nfvo.answer(move |request| {
        let mut grant = with_vim(grant(request), "granted");
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    let mut request = fixture.instantiation();
    request["vimConnectionInfo"] = json!({ "requested": connection(&fixture.cluster.admin) });
    let op = fixture.gybe.begin(&path, "instantiate", &request).await;
    let op = fixture.gybe.wait_ended(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK");
    assert!(op["error"]["detail"].as_str().unwrap().contains("'requested'"), "{op:#}");
    fixture.check_nothing_created(&path).await;
}

#[tokio::test]
async fn a_grant_may_request_creation_of_the_namespace() {
    let fixture = GrantFixture::new(&[]).await;
    let path = fixture.small("v2").await;
    fixture.nfvo.answer(|request| {
        let mut grant = grant(request);
        grant["additionalParams"] = json!({ "createNamespace": "true", "other": { "things": 1 } });
        created(request, &grant)
    });
    let name = format!("{}-granted", fixture.namespace.name.as_str());
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": name } });
    fixture.gybe.complete(&path, "instantiate", &request).await;
    let namespaces = fixture.cluster.api("v1", "Namespace", "namespaces", None);
    assert!(namespaces.get_opt(&name).await.unwrap().is_some());
    fixture.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_granted_vim_needs_a_namespace_of_the_project() {
    let nfvo = GrantServer::start().await;
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("gybe.toml");
    std::fs::write(&config, "[tenancy]\nverify_project = 'off'\n").unwrap();
    let gybe = Gybe::start_with(&arguments(&nfvo, &["--config", config.to_str().unwrap()]));
    let fixture = GrantFixture::on(nfvo, gybe).await;
    let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(fixture.cluster.client.clone());
    let name = fixture.namespace.name.as_str();
    let annotate = async |project: &str| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { "openstack.org/kuryr-project": project } } }));
        namespaces.patch(name, &PatchParams::default(), &patch).await.unwrap();
    };
    let there = connection(&fixture.cluster.admin);
    fixture.nfvo.answer(move |request| {
        let mut grant = with_vim(grant(request), "granted");
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    let path = fixture.small("v2").await;

    annotate("other").await;
    let error = fixture.instantiate_refused(&path).await;
    assert_eq!(error["status"], 403, "{error:#}");
    assert!(error["detail"].as_str().unwrap().contains("does not belong to project 'default'"), "{error:#}");
    assert!(!error.to_string().contains("other"), "the error says whose the namespace is: {error:#}");

    annotate("default").await;
    fixture.gybe.complete(&path, "instantiate", &fixture.instantiation()).await;
    let drift = fixture.show(&format!("{path}/drift")).await;
    assert_eq!(drift["namespaceProject"], json!({ "intended": "default", "actual": "default" }), "{drift:#}");
    fixture.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}
