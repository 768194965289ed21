//! Where a VNF lives: in the VIM and namespace that the grant names.

use gybe::domain::vim::{VimAccess, VimCredential};
use serde_json::{Value, json};

use super::{Site, arguments, counted};
use crate::support::cluster::Cluster;
use crate::support::granter::{Granter, created, grant};
use crate::support::gybe::{Gybe, connection};

fn token(access: &VimAccess) -> String {
    match &access.credential {
        VimCredential::BearerToken(token) => token.expose().to_owned(),
        VimCredential::ClientCertificate { .. } => panic!("a token is wanted"),
    }
}

/// `grant`, in the VIM `id`.
fn placed(mut grant: Value, id: &str) -> Value {
    for list in ["addResources", "removeResources"] {
        for info in grant[list].as_array_mut().unwrap() {
            info["vimConnectionId"] = id.into();
        }
    }
    grant
}

async fn lives_where_the_grant_says(site: Site, edition: &str) {
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = site.cluster.account(&site.namespace.name, "gybe", rules).await;
    let secret = token(&account);
    let path = site.small(edition).await;
    let (there, array) = (connection(&account), edition == "v1");
    site.nfvo.answer(move |request| {
        let mut grant = placed(grant(request), "granted");
        if array {
            let mut entry = there.clone();
            entry["id"] = "granted".into();
            grant["vimConnections"] = json!([entry]);
        } else {
            grant["vimConnectionInfo"] = json!({ "granted": there });
        }
        created(request, &grant)
    });
    let op = site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    let instance = site.show(&path).await;
    let vnfc = &instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0];
    assert_eq!(vnfc["computeResource"]["vimConnectionId"], "granted", "{instance:#}");
    let ids: Vec<&str> = match &instance["vimConnectionInfo"] {
        Value::Array(entries) => entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect(),
        map => map.as_object().unwrap().keys().map(String::as_str).collect(),
    };
    assert_eq!(ids, ["granted"], "the default VIM only stood in");
    let shown = format!("{instance}{op}{}", site.gybe.log());
    assert!(!shown.contains(&secret), "the credential is shown");
    let database = std::fs::read(site.gybe.folder().join("gybe.db")).unwrap();
    let journal = std::fs::read(site.gybe.folder().join("gybe.db-wal")).unwrap();
    let in_clear = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(!in_clear(&database) && !in_clear(&journal), "the credential is in clear in the database");

    site.nfvo.answer(|request| {
        let mut grant = placed(grant(request), "elsewhere");
        grant["vimConnectionInfo"] = json!({ "elsewhere": { "vimType": "kubernetes" } });
        created(request, &grant)
    });
    let heal = site.gybe.begin(&path, "heal", &json!({})).await;
    let heal = site.gybe.settled(&heal).await;
    assert_eq!(heal["operationState"], "ROLLED_BACK", "{heal:#}");
    assert!(heal["error"]["detail"].as_str().unwrap().contains("a VNF is not moved"), "{heal:#}");
    site.nfvo.answer(|request| created(request, &placed(grant(request), "granted")));
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(site.cluster.marked(&site.namespace.name).await.is_empty());
}

#[tokio::test]
async fn a_vnf_lives_in_the_vim_that_a_grant_of_3_3_1_brings() {
    lives_where_the_grant_says(Site::new(&[]).await, "v2").await;
}

#[tokio::test]
async fn a_vnf_lives_in_the_vim_that_a_grant_of_2_6_1_brings() {
    lives_where_the_grant_says(Site::new(&["--nfvo-edition", "v1"]).await, "v1").await;
}

#[tokio::test]
async fn without_any_vim_the_grant_is_to_bring_one() {
    let nfvo = Granter::start().await;
    let gybe = Gybe::start_with(&arguments(&nfvo, &[]));
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let site = Site { cluster, namespace, nfvo, gybe };
    let path = site.small("v2").await;
    let error = site.refused(&path).await;
    assert!(error["detail"].as_str().unwrap().contains("no VIM"), "{error}");
    assert_eq!(counted(&site.nfvo.last(), "addResources", "COMPUTE"), (1, 0));
    let there = connection(&site.cluster.admin);
    site.nfvo.answer(move |request| {
        let mut grant = grant(request);
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    site.gybe.complete(&path, "instantiate", &site.instantiation()).await;
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn a_grant_does_not_move_a_vnf_from_where_the_request_wants_it() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    let there = connection(&site.cluster.admin);
    site.nfvo.answer(move |request| {
        let mut grant = placed(grant(request), "granted");
        grant["vimConnectionInfo"] = json!({ "granted": there });
        created(request, &grant)
    });
    let mut request = site.instantiation();
    request["vimConnectionInfo"] = json!({ "requested": connection(&site.cluster.admin) });
    let op = site.gybe.begin(&path, "instantiate", &request).await;
    let op = site.gybe.settled(&op).await;
    assert_eq!(op["operationState"], "ROLLED_BACK");
    assert!(op["error"]["detail"].as_str().unwrap().contains("'requested'"), "{op:#}");
    site.nothing_was_made(&path).await;
}

#[tokio::test]
async fn a_grant_may_have_the_namespace_made() {
    let site = Site::new(&[]).await;
    let path = site.small("v2").await;
    site.nfvo.answer(|request| {
        let mut grant = grant(request);
        grant["additionalParams"] = json!({ "createNamespace": "true", "other": { "things": 1 } });
        created(request, &grant)
    });
    let name = format!("{}-granted", site.namespace.name.as_str());
    let request = json!({ "flavourId": "simple", "additionalParams": { "namespace": name } });
    site.gybe.complete(&path, "instantiate", &request).await;
    let namespaces = site.cluster.api("v1", "Namespace", "namespaces", None);
    assert!(namespaces.get_opt(&name).await.unwrap().is_some());
    site.gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());
}
