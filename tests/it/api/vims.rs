//! `/v1.0/vims` through the real binary.

use std::time::Duration;

use gybe::domain::credential_expiry::Validity;
use gybe::domain::vim::VimCredential;
use kube::api::{DeleteParams, ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::support::cluster::Cluster;
use crate::support::fault_proxy::FaultProxy;
use crate::support::gybe::{Gybe, connection, vim};
use crate::support::subscriber::{Reply, Subscriber};

#[tokio::test]
async fn a_vim_is_registered_shown_updated_and_deleted() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    // A credential without permissions: registration only asks who it belongs to.
    let nobody = cluster.account(&namespace.name, "nobody", json!([])).await;
    let mut gybe = Gybe::start();
    let id = gybe.register_vim(&nobody, "first", true).await;
    let path = format!("/v1.0/vims/{id}");
    let shown = gybe.get(&path).await.expect(StatusCode::OK)["vim"].clone();
    assert_eq!((&shown["status"], &shown["is_default"]), (&json!("ACTIVE"), &json!(true)));
    let user = format!("system:serviceaccount:{}:nobody", namespace.name);
    assert_eq!(shown["auth_cred"]["user_name"], user);
    assert_eq!(shown["auth_cred"]["bearer_token"], "***");
    let VimCredential::BearerToken(token) = &nobody.credential else { panic!("an account has a token") };
    let expires = |validity: Option<Validity>| validity.unwrap().ends.format(&Rfc3339).unwrap();
    assert_eq!(shown["credential_expires_at"], expires(Validity::of_token(token.expose())));

    let second = gybe.post("/v1.0/vims", &vim(&cluster.admin, "second", true)).await;
    assert!(second.problem(409).contains("default"));
    gybe.post("/v1.0/vims", &vim(&cluster.admin, "first", false)).await.problem(409);

    let new = json!({ "vim": { "description": "d", "is_default": false, "auth_cred": vim(&cluster.admin, "", false)["vim"]["auth_cred"] } });
    let changed = gybe.put(&path, &new).await.expect(StatusCode::OK)["vim"].clone();
    assert_eq!((&changed["description"], &changed["is_default"]), (&json!("d"), &json!(false)));
    assert_ne!(changed["auth_cred"]["user_name"], user);
    let VimCredential::ClientCertificate { certificate, .. } = &cluster.admin.credential else {
        panic!("the administrator has a certificate")
    };
    let validity = Validity::of_certificates(certificate);
    assert_eq!(changed["credential_expires_at"], expires(validity));
    gybe.kill();
    gybe.restart();
    let metric = format!(
        "gybe_vim_credential_expires_timestamp_seconds{{vim=\"{id}\"}} {}",
        validity.unwrap().ends.unix_timestamp()
    );
    while !gybe.get("/metrics").await.text.contains(&metric) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    gybe.get(&path).await.problem(404);
}

#[tokio::test]
async fn a_vim_in_use_cannot_be_deleted_and_a_rotated_credential_takes_effect() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let (first, second) = (
        cluster.account(&namespace.name, "first", json!([])).await,
        cluster.account(&namespace.name, "second", everything).await,
    );
    let gybe = Gybe::start();
    let id = gybe.register_vim(&first, "vim", false).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let request = json!({
        "flavourId": "simple", "vimConnectionInfo": { "vim1": { "vimId": id } },
        "additionalParams": { "namespace": namespace.name.as_str() },
    });
    let op = gybe.begin(&path, "instantiate", &request).await;
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "FAILED_TEMP", "the account has no rights");
    assert!(gybe.delete(&format!("/v1.0/vims/{id}")).await.problem(409).contains("in use"));

    let new = json!({ "vim": { "auth_cred": vim(&second, "", false)["vim"]["auth_cred"] } });
    gybe.put(&format!("/v1.0/vims/{id}"), &new).await.expect(StatusCode::OK);
    gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
    assert_eq!(gybe.wait_ended(&op).await["operationState"], "COMPLETED");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    gybe.delete(&format!("/v1.0/vims/{id}")).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn secrets_are_never_returned_nor_stored_in_clear() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&namespace.name, "holder", everything).await;
    let inline = connection(&account);
    let token = inline["accessInfo"]["bearer_token"].as_str().unwrap().to_owned();
    let gybe = Gybe::start();
    gybe.register_vim(&account, "vim", false).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let request = json!({
        "flavourId": "simple", "vimConnectionInfo": { "vim1": inline },
        "additionalParams": { "namespace": namespace.name.as_str(), "nested": { "adminPassword": token } },
    });
    gybe.complete(&path, "instantiate", &request).await;
    let mut patch = connection(&account);
    patch["accessInfo"]["projectId"] = "p".into();
    patch["accessInfo"]["credentials"] = json!({ "username": "u", "anything": token });
    patch["extra"] = json!({ "apiToken": token, "area": "a" });
    let answer = gybe.patch(&path, &json!({ "vimConnectionInfo": { "vim1": patch } })).await;
    gybe.wait_ended(answer.location.as_deref().unwrap()).await;

    let params = json!({ "deployToken": token });
    for (task, mut body) in [("heal", json!({ "cause": "test" })), ("operate", json!({ "changeStateTo": "STARTED" }))] {
        body["additionalParams"] = params.clone();
        let op = gybe.complete(&path, task, &body).await;
        assert_eq!(op["operationParams"]["additionalParams"], json!({ "deployToken": "***" }));
    }
    let helm = json!({ "helm_info": { "masternode_ip": ["10.0.0.1"], "masternode_password": token } });
    let vims = gybe.get("/v1.0/vims").await.expect(StatusCode::OK);
    let vim = format!("/v1.0/vims/{}", vims["vims"][0]["id"].as_str().unwrap());
    let put = gybe.client.put(gybe.uri(&vim)).json(&json!({ "vim": { "extra": helm } }));
    let shown = gybe.send(put).await.expect(StatusCode::OK);
    assert_eq!(shown["vim"]["extra"]["helm_info"]["masternode_ip"], json!(["10.0.0.1"]));

    let paths =
        ["/v1.0/vims", "/vnflcm/v1/vnf_instances", "/vnflcm/v2/vnf_instances", "/vnflcm/v2/vnf_lcm_op_occs", &path];
    for shown in paths {
        let answer = gybe.get(shown).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.text.contains(&token), "{shown}");
    }
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(instance["vimConnectionInfo"]["vim1"]["accessInfo"], json!({ "projectId": "p" }), "the rest is shown");
    assert!(!gybe.log().contains(&token));
    for file in
        std::fs::read_dir(gybe.folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "{}", file.display());
    }
    let terminated: Value = gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(terminated["operationState"], "COMPLETED", "the sealed credential can still be decrypted");
}

#[tokio::test]
async fn vims_are_filtered_by_attributes() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    let first = gybe.register_vim(&cluster.admin, "first", true).await;
    let second = gybe.register_vim(&cluster.admin, "second", false).await;
    for (query, wanted) in [
        ("", &[&first, &second][..]),
        (&format!("?id={second}&fields=id"), &[&second]),
        ("?name=second", &[&second]),
        ("?is_default=True&type=kubernetes", &[&first]),
        ("?name=first&is_default=false", &[]),
        ("?name=", &[]),
    ] {
        for path in ["/v1.0/vims", "/v1.0/vims.json"] {
            let listed = gybe.get(&format!("{path}{query}")).await.expect(StatusCode::OK);
            let ids: Vec<&str> =
                listed["vims"].as_array().unwrap().iter().map(|vim| vim["id"].as_str().unwrap()).collect();
            assert_eq!(ids, wanted, "{path}{query}");
        }
    }
    let fields = gybe.get("/v1.0/vims?fields=id&fields=name,status&name=first").await.expect(StatusCode::OK);
    assert_eq!(fields["vims"], json!([{ "id": first, "name": "first", "status": "ACTIVE" }]));
    for query in ["x=1", "auth_cred=a", "ID=1"] {
        gybe.get(&format!("/v1.0/vims?{query}")).await.problem(400);
    }
    let path = format!("/v1.0/vims/{first}.json");
    assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["vim"]["name"], "first");
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    gybe.get(&path).await.problem(404);
}

#[tokio::test]
async fn stored_credentials_are_never_sent_to_another_endpoint() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let patch = async |entry: Value| gybe.patch(&path, &json!({ "vimConnectionInfo": { "vim": entry } })).await;
    let first = patch(json!({
        "interfaceInfo": { "endpoint": "https://cluster.test" },
        "accessInfo": { "bearer_token": "t0ken", "projectId": "p" },
    }));
    gybe.wait_ended(&first.await.location.unwrap()).await;
    for elsewhere in [
        json!({ "interfaceInfo": { "endpoint": "https://other.test" } }),
        json!({ "interfaceInfo": { "insecure": true } }),
        json!({ "interfaceInfo": { "endpoint": "https://other.test" }, "accessInfo": { "projectId": "q" } }),
    ] {
        patch(elsewhere).await.problem(422);
    }
    let moved =
        json!({ "interfaceInfo": { "endpoint": "https://other.test" }, "accessInfo": { "bearer_token": "other" } });
    gybe.wait_ended(&patch(moved).await.location.unwrap()).await;
    let shown = gybe.get(&path).await.expect(StatusCode::OK);
    assert_eq!(shown["vimConnectionInfo"]["vim"]["accessInfo"], json!({ "projectId": "p" }));
    let rotated = patch(json!({ "accessInfo": { "bearer_token": "rotated" }, "extra": { "a": "b" } })).await;
    gybe.wait_ended(&rotated.location.unwrap()).await;
    gybe.wait_ended(&patch(json!({ "extra": { "a": "c" } })).await.location.unwrap()).await;
}

#[tokio::test]
async fn auth_cred_is_merged_and_another_verification_needs_the_credential_anew() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let account = cluster.account(&namespace.name, "one", json!([])).await;
    let gybe = Gybe::start();
    let path = format!("/v1.0/vims/{}", gybe.register_vim(&account, "vim", true).await);
    let registered = vim(&account, "", false)["vim"]["auth_cred"].clone();
    let put = |cred: Value| {
        let body = json!({ "vim": { "auth_cred": cred } });
        let (gybe, path) = (&gybe, path.as_str());
        async move { gybe.put(path, &body).await }
    };
    // The certificate authority stays when the token is rotated.
    let other = cluster.account(&namespace.name, "two", json!([])).await;
    let token = vim(&other, "", false)["vim"]["auth_cred"]["bearer_token"].clone();
    let shown = put(json!({ "bearer_token": token })).await.expect(StatusCode::OK)["vim"]["auth_cred"].clone();
    assert_eq!((&shown["ssl_ca_cert"], &shown["bearer_token"]), (&registered["ssl_ca_cert"], &json!("***")));
    assert!(shown["user_name"].as_str().unwrap().ends_with(":two"), "{shown}");
    // What a GET shows can be sent again.
    let again = put(shown.clone()).await.expect(StatusCode::OK);
    assert_eq!(again["vim"]["auth_cred"], shown);

    for (cred, what) in [
        (json!({ "insecure": true }), "insecure"),
        (json!({ "ssl_ca_cert": null }), "ssl_ca_cert"),
        (json!({ "ssl_ca_cert": "-----BEGIN CERTIFICATE-----", "bearer_token": "***" }), "ssl_ca_cert"),
    ] {
        let detail = put(cred).await.problem(422);
        assert!(detail.starts_with(&format!("{what} changes, so auth_cred must have")), "{detail}");
    }
    assert!(put(json!({ "client_cert": "x" })).await.problem(422).contains("client_key is missing"));
    let detail = put(json!({ "bearer_token": "wrong" })).await.problem(422);
    assert!(detail.contains("was not changed"), "{detail}");
    put(json!({ "insecure": true, "bearer_token": token })).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn inline_connection_needs_the_credential_anew_for_another_verification() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&namespace.name, "gybe", rules).await;
    let request = json!({
        "flavourId": "simple", "vimConnectionInfo": { "vim": connection(&account) },
        "additionalParams": { "namespace": namespace.name.as_str() },
    });
    gybe.complete(&path, "instantiate", &request).await;
    for patch in [
        json!({ "accessInfo": { "insecure": true } }),
        json!({ "interfaceInfo": { "insecure": true } }),
        json!({ "interfaceInfo": { "ssl_ca_cert": null } }),
        json!({ "interfaceInfo": { "endpoint": "https://127.0.0.1:9" }, "accessInfo": { "username": "u" } }),
    ] {
        let connections = json!({ "vimConnectionInfo": { "vim": patch } });
        let detail = gybe.patch(&path, &connections).await.problem(422);
        assert!(detail.contains("accessInfo must have a bearer_token"), "{patch}: {detail}");
        let mut change = json!({ "vnfdId": vnfd });
        change["vimConnectionInfo"] = connections["vimConnectionInfo"].clone();
        if patch["interfaceInfo"]["ssl_ca_cert"].is_null() && patch["interfaceInfo"].get("ssl_ca_cert").is_some() {
            continue; // Without null in a change of package, there is nothing to change.
        }
        gybe.post(&format!("{path}/change_vnfpkg"), &change).await.problem(422);
    }
    let harmless =
        json!({ "vimConnectionInfo": { "vim": { "extra": { "a": 1 }, "accessInfo": { "username": "u" } } } });
    let patched = gybe.patch(&path, &harmless).await;
    patched.expect(StatusCode::ACCEPTED);
    gybe.wait_ended(&patched.location.unwrap()).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

/// The API server of the VIM has another address and another certificate.
#[tokio::test(flavor = "multi_thread")]
async fn instances_follow_their_vim_to_another_address_of_the_same_cluster() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&namespace.name, "gybe", everything).await;
    let proxy = FaultProxy::of(&account).await;
    let moved = vim(&proxy.access(&account), "", false)["vim"].clone();
    let gybe = Gybe::start();
    let id = gybe.register_vim(&account, "vim", true).await;
    let path = format!("/v1.0/vims/{id}");
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;

    let new = |members: &[&str]| {
        let members = members.iter().map(|name| ((*name).to_owned(), moved[name].clone()));
        json!({ "vim": members.collect::<serde_json::Map<_, _>>() })
    };
    assert!(gybe.put(&path, &new(&["auth_url"])).await.problem(422).contains("auth_cred must have"));
    let shown = gybe.put(&path, &new(&["auth_url", "auth_cred"])).await.expect(StatusCode::OK)["vim"].clone();
    assert_eq!(shown["auth_url"], moved["auth_url"]);
    let begun = std::time::Instant::now();
    gybe.complete(&instance, "heal", &json!({})).await;
    assert!(proxy.requests(begun) > 0, "the operation used the new address");

    // A cluster without the objects of the instance is another one.
    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    for object in deployments.list(&ListParams::default()).await.unwrap() {
        deployments.delete(&object.metadata.name.unwrap(), &DeleteParams::background()).await.unwrap();
    }
    let back = json!({ "vim": vim(&account, "vim", true)["vim"] });
    let detail = gybe.put(&path, &back).await.problem(409);
    assert!(detail.contains("another cluster") && detail.contains(instance.rsplit('/').next().unwrap()), "{detail}");
    assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["vim"]["auth_url"], moved["auth_url"]);
    gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

/// An API server of another cluster, as far as registration asks.
async fn another_cluster() -> Subscriber {
    let server = Subscriber::start().await;
    server.answer(|received| {
        let (status, object) = match received.path.as_str() {
            path if path.contains("selfsubjectreviews") => (
                201,
                json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {},
                    "status": { "userInfo": { "username": "other" } },
                }),
            ),
            path if path.ends_with("/namespaces/kube-system") => (
                200,
                json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": { "name": "kube-system", "uid": "another-uid" },
                }),
            ),
            _ => (404, json!({})),
        };
        Reply::With(status, vec![("content-type", "application/json".to_owned())], object.to_string())
    });
    server
}

/// The uid of kube-system says which cluster it is, also when the instances have no objects any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_vim_with_instances_stays_in_its_cluster() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let (gybe, other) = (Gybe::start(), another_cluster().await);
    let moved = json!({ "vim": {
        "auth_url": other.url, "auth_cred": { "bearer_token": "t", "insecure": true, "ssl_ca_cert": null },
    } });
    let free = gybe.register_vim(&cluster.admin, "free", false).await;
    gybe.put(&format!("/v1.0/vims/{free}"), &moved).await.expect(StatusCode::OK);

    let path = format!("/v1.0/vims/{}", gybe.register_vim(&cluster.admin, "vim", true).await);
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
    let detail = gybe.put(&path, &moved).await.problem(409);
    assert!(detail.contains(&other.url) && detail.contains(&cluster.admin.endpoint), "{detail}");
    assert!(detail.contains("another-uid") && detail.contains("1 VNF instances"), "{detail}");

    let deployments = cluster.api("apps/v1", "Deployment", "deployments", Some(&namespace.name));
    for object in deployments.list(&ListParams::default()).await.unwrap() {
        deployments.delete(&object.metadata.name.unwrap(), &DeleteParams::background()).await.unwrap();
    }
    let administrator = cluster.administrator(&namespace.name, "admin").await;
    let proxy = FaultProxy::of(&administrator).await;
    let back = json!({ "vim": vim(&proxy.access(&administrator), "vim", true)["vim"] });
    gybe.put(&path, &back).await.expect(StatusCode::OK);
    gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn the_list_of_vims_has_pages_that_tackers_clients_follow() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start_with(&["--page-size", "2"]);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(gybe.register_vim(&cluster.admin, &format!("vim{number}"), false).await);
    }
    let (mut path, mut listed) = ("/v1.0/vims?type=kubernetes&fields=id".to_owned(), Vec::new());
    loop {
        let page = gybe.get(&path).await;
        let body = page.expect(StatusCode::OK);
        let vims = body["vims"].as_array().unwrap();
        assert!((1..=2).contains(&vims.len()));
        listed.extend(vims.iter().map(|vim| vim["id"].as_str().unwrap().to_owned()));
        let Some(link) = body["vims_links"].as_array().map(|links| links[0].clone()) else { break };
        assert_eq!(link["rel"], "next");
        path = link["href"].as_str().unwrap().to_owned();
        assert_eq!(page.headers["link"], format!("<{path}>; rel=\"next\""));
    }
    assert_eq!(listed, ids);
    gybe.get("/v1.0/vims?nextpage_opaque_marker=x").await.problem(400);
}

#[tokio::test]
async fn a_vim_has_a_limited_size() {
    let cluster = Cluster::running().await;
    let gybe = Gybe::start();
    for (member, value) in [
        ("description", json!("x".repeat(5000))),
        ("auth_url", json!(format!("https://a.test/{}", "x".repeat(5000)))),
        ("extra", json!({ "note": "x".repeat(300_000) })),
    ] {
        let mut request = vim(&cluster.admin, "vim", false);
        request["vim"][member] = value;
        gybe.post("/v1.0/vims", &request).await.problem(422);
    }
}
