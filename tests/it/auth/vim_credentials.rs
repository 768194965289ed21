//! Credentials of VIMs side by side, in a real control plane with RBAC: each project reaches what its credential, or the ServiceAccount
//! that is impersonated for it, may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gybe::domain::resource::INSTANCE_LABEL;
use gybe::domain::vim::VimAccess;
use kube::api::{DeleteParams, ListParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::site::Site;
use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::{Gybe, instantiate_request, vim};
use crate::support::subscriber::{Reply, Subscriber};

fn everything() -> Value {
    json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }])
}

/// A project with a VIM and a CNF in its namespace.
struct Tenant<'a> {
    project: &'static str,
    namespace: &'a TestNamespace,
    vim: String,
    vnfd: String,
    instance: String,
}

impl<'a> Tenant<'a> {
    /// Registers the VIM and instantiates a CNF.
    async fn at_work(
        site: &mut Site,
        project: &'static str,
        namespace: &'a TestNamespace,
        registration: &Value,
    ) -> Self {
        let gybe = site.act_as(project, "member");
        let answer = gybe.post("/v1.0/vims", registration).await.expect(StatusCode::CREATED);
        let vim = answer["vim"]["id"].as_str().unwrap().to_owned();
        let vnfd = gybe.onboard("small").await;
        let instance = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
        Self { project, namespace, vim, vnfd, instance }
    }

    /// The operation of an instantiation in another namespace fails, and names `user`.
    async fn cannot_reach(&self, site: &mut Site, other: &TestNamespace, user: &str) {
        let gybe = site.act_as(self.project, "member");
        let instance = gybe.create("v2", &self.vnfd).await;
        let op = gybe.begin(&instance, "instantiate", &instantiate_request(other.name.as_str())).await;
        let op = gybe.wait_ended(&op).await;
        let detail = op["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("User \"{user}\" cannot")), "{op:#}");
    }

    /// A VIM of another project does not exist.
    async fn does_not_know(&self, site: &mut Site, other: &Tenant<'_>) {
        let gybe = site.act_as(self.project, "admin");
        let instance = gybe.create("v2", &self.vnfd).await;
        let mut request = instantiate_request(self.namespace.name.as_str());
        request["vimConnectionInfo"] = json!({ "vim": { "vimId": other.vim } });
        let detail = gybe.post(&format!("{instance}/instantiate"), &request).await.problem(422);
        assert!(detail.contains("there is no VIM"), "{detail}");
    }

    /// Drift, watches, a heal and the termination have the rights that they need. Nothing of others is in the namespace.
    async fn lives(&self, site: &mut Site, cluster: &Cluster) {
        let gybe = site.act_as(self.project, "member");
        let drift = gybe.get(&format!("{}/drift", self.instance)).await.expect(StatusCode::OK);
        assert_eq!(drift["inSync"], true, "{drift:#}");
        let pods = cluster.api("v1", "Pod", "pods", Some(&self.namespace.name));
        let pod = pods.list(&ListParams::default()).await.unwrap().items.remove(0).metadata.name.unwrap();
        pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
        gybe.wait_until(&self.instance, |instance| !instance.to_string().contains(&pod)).await;
        gybe.complete(&self.instance, "heal", &json!({})).await;
        for (kind, object) in cluster.marked(&self.namespace.name).await {
            let owner = &object.metadata.labels.as_ref().unwrap()[INSTANCE_LABEL];
            assert!(self.instance.ends_with(owner), "{kind} {:?} is not of {}", object.metadata.name, self.instance);
        }
        gybe.complete(&self.instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    }
}

/// Three projects, each with a VIM of its own: two with a Role in one namespace, one with all rights.
#[tokio::test(flavor = "multi_thread")]
async fn vims_of_three_projects_reach_only_what_their_accounts_may() {
    let cluster = Cluster::running().await;
    let namespaces = [cluster.namespace().await, cluster.namespace().await, cluster.namespace().await];
    let [of_a, of_b, of_c] = &namespaces;
    let accounts = [
        cluster.account(&of_a.name, "gybe", everything()).await,
        cluster.account(&of_b.name, "gybe", everything()).await,
        cluster.administrator(&of_c.name, "gybe").await,
    ];
    let mut site = Site::start(&[]);
    let mut tenants = Vec::new();
    for ((project, namespace), access) in ["a", "b", "c"].into_iter().zip(&namespaces).zip(&accounts) {
        tenants.push(Tenant::at_work(&mut site, project, namespace, &vim(access, "vim", true)).await);
    }
    for (tenant, other) in [(0, 1), (1, 0), (0, 2), (1, 2)] {
        let user = format!("system:serviceaccount:{}:gybe", namespaces[tenant].name);
        tenants[tenant].cannot_reach(&mut site, &namespaces[other], &user).await;
        tenants[tenant].does_not_know(&mut site, &tenants[other]).await;
    }
    for tenant in &tenants {
        tenant.lives(&mut site, &cluster).await;
    }
}

/// One credential, which may do nothing but impersonate, serves two projects: what works at all works as the impersonated account.
#[tokio::test(flavor = "multi_thread")]
async fn one_credential_serves_projects_with_the_rights_of_their_service_accounts() {
    let cluster = Cluster::running().await;
    let home = cluster.namespace().await;
    let credential = cluster.account(&home.name, "impersonator", json!([])).await;
    let namespaces = [cluster.namespace().await, cluster.namespace().await];
    for namespace in &namespaces {
        cluster.account(&namespace.name, "gybe", everything()).await;
        let rules = json!([
            { "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["gybe"], "verbs": ["impersonate"] },
        ]);
        cluster.grant(&namespace.name, &home.name, "impersonator", rules).await;
    }
    let entry = |namespace: &TestNamespace| json!({ "service_account": format!("{}/gybe", namespace.name) });
    let registration = |impersonate: Value| {
        let mut registration = vim(&credential, "vim", true);
        registration["vim"]["impersonate"] = impersonate;
        registration
    };
    let [of_a, of_b] = &namespaces;
    let mut site = Site::start(&[]);

    // What may not be impersonated, or is no ServiceAccount, is not registered.
    let gybe = site.act_as("a", "member");
    let refused = registration(json!({ "a": { "service_account": format!("{}/other", of_a.name) } }));
    let detail = gybe.post("/v1.0/vims", &refused).await.problem(422);
    assert!(detail.contains("project 'a'") && detail.contains("cannot impersonate"), "{detail}");
    let refused = registration(json!({ "a": { "service_account": "x/y\nImpersonate-User: admin" } }));
    assert!(gybe.post("/v1.0/vims", &refused).await.problem(422).contains("is not a ServiceAccount"));

    let a = Tenant::at_work(&mut site, "a", of_a, &registration(json!({ "a": entry(of_a) }))).await;
    let b = Tenant::at_work(&mut site, "b", of_b, &registration(json!({ "a": entry(of_a), "b": entry(of_b) }))).await;
    for (tenant, other) in [(&a, &b), (&b, &a)] {
        let user = format!("system:serviceaccount:{}:gybe", tenant.namespace.name);
        tenant.cannot_reach(&mut site, other.namespace, &user).await;
    }

    // A project without an entry is refused: at the request, and later.
    let gybe = site.act_as("c", "member");
    gybe.post("/v1.0/vims", &registration(json!({ "a": entry(of_a) }))).await.expect(StatusCode::CREATED);
    let instance = gybe.create("v2", &gybe.onboard("small").await).await;
    let request = instantiate_request(of_a.name.as_str());
    let detail = gybe.post(&format!("{instance}/instantiate"), &request).await.problem(422);
    assert!(detail.contains("has none for project 'c'"), "{detail}");

    // The table holds for the members of its projects: they do not change it.
    let path = format!("/v1.0/vims/{}", a.vim);
    let member = site.act_as("a", "member");
    for impersonate in [Value::Null, json!({ "a": entry(of_b) })] {
        let change = json!({ "vim": { "impersonate": impersonate } });
        assert!(member.put(&path, &change).await.problem(403).contains("needs the role manager"));
    }
    let gybe = site.act_as("a", "manager");
    let put = async |impersonate: Value| {
        let changed = gybe.put(&path, &json!({ "vim": { "impersonate": impersonate } })).await;
        changed.expect(StatusCode::OK)["vim"]["impersonate"].clone()
    };
    assert_eq!(put(json!({})).await, json!({}));
    let refused = gybe.begin(&a.instance, "heal", &json!({})).await;
    let refused = gybe.wait_ended(&refused).await;
    assert!(refused["error"]["detail"].as_str().unwrap().contains("has none for project 'a'"), "{refused:#}");
    assert_eq!(put(json!({ "a": entry(of_a) })).await, json!({ "a": entry(of_a) }));

    // A project that a VIM is shared with works as its own ServiceAccount, not as the owner's.
    let shares = json!({ "shares": [{ "projectId": "a", "namespaces": [of_a.name, of_b.name] }] });
    let path = format!("/tenancy/v1/vims/{}/shares", b.vim);
    site.act_as("b", "admin").put(&path, &shares).await.expect(StatusCode::OK);
    let gybe = site.act_as("a", "member");
    let into = |namespace: &TestNamespace| {
        let mut request = instantiate_request(namespace.name.as_str());
        request["vimConnectionInfo"] = json!({ "vim": { "vimId": b.vim } });
        request
    };
    let refused = gybe.begin(&gybe.create("v2", &a.vnfd).await, "instantiate", &into(of_b)).await;
    let refused = gybe.wait_ended(&refused).await;
    let detail = refused["error"]["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("User \"system:serviceaccount:{}:gybe\" cannot", of_a.name)), "{refused:#}");

    for tenant in [&a, &b] {
        tenant.lives(&mut site, &cluster).await;
    }
}

/// A token endpoint that gives the client `gybe` the token of `first`, and of `second` when it is `rotated`.
async fn token_endpoint(first: &VimAccess, second: &VimAccess, rotated: Arc<AtomicBool>) -> Subscriber {
    let token = |access: &VimAccess| vim(access, "", false)["vim"]["auth_cred"]["bearer_token"].clone();
    let (first, second, server) = (token(first), token(second), Subscriber::start().await);
    server.answer(move |received| {
        let form = "client_id=gybe&client_secret=s3cret-of-the-client&grant_type=client_credentials&audience=kube";
        if received.text != form {
            return Reply::Status(401, json!({ "error": "invalid_client" }).to_string());
        }
        let token = if rotated.load(Ordering::Relaxed) { &second } else { &first };
        Reply::Status(200, json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 }).to_string())
    });
    server
}

/// The token of a VIM comes from an issuer, and from there again when the API server refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_vim_gets_its_tokens_from_a_token_endpoint() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let first = cluster.account(&namespace.name, "first", everything()).await;
    let second = cluster.account(&namespace.name, "second", everything()).await;
    let rotated = Arc::new(AtomicBool::new(false));
    let issuer = token_endpoint(&first, &second, Arc::clone(&rotated)).await;
    let proxy = FaultProxy::of(&cluster.admin).await;
    let mut registration = vim(&proxy.access(&first), "vim", true);
    registration["vim"]["auth_cred"] = json!({
        "oidc_token_url": format!("{}/token", issuer.url), "client_id": "gybe", "client_secret": "s3cret-of-the-client",
        "oidc_audience": "kube", "insecure": true,
    });
    let gybe = Gybe::start();

    let mut wrong = registration.clone();
    wrong["vim"]["auth_cred"]["client_secret"] = "s3cret-of-another".into();
    let detail = gybe.post("/v1.0/vims", &wrong).await.problem(422);
    assert!(detail.contains("no token for the VIM") && detail.contains("it answers 401"), "{detail}");
    wrong["vim"]["auth_cred"]["oidc_token_url"] = "http://169.254.169.254/token".into();
    assert!(gybe.post("/v1.0/vims", &wrong).await.problem(422).contains("metadata service"));

    let answer = gybe.post("/v1.0/vims", &registration).await.expect(StatusCode::CREATED);
    let cred = &answer["vim"]["auth_cred"];
    assert_eq!(cred["user_name"], format!("system:serviceaccount:{}:first", namespace.name));
    assert_eq!((&cred["client_secret"], &cred["client_id"]), (&json!("***"), &json!("gybe")));
    let path = format!("/v1.0/vims/{}", answer["vim"]["id"].as_str().unwrap());
    let elsewhere = json!({ "vim": { "auth_cred": { "oidc_token_url": "https://elsewhere.test/token" } } });
    assert!(gybe.put(&path, &elsewhere).await.problem(422).contains("oidc_token_url changes"));

    let vnfd = gybe.onboard("small").await;
    let instance = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
    let before = issuer.received().len();
    rotated.store(true, Ordering::Relaxed);
    proxy.set(ProxyFault::RefusesFirstToken);
    gybe.complete(&instance, "heal", &json!({})).await;
    gybe.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    assert_eq!(issuer.received().len(), before + 1, "the operations share the new token");
    assert!(!gybe.log().contains("s3cret"));
}
