//! Namespaces that belong to projects of a real Keystone, in a real control plane.

use gybe::domain::namespace::Namespace;
use kube::api::{Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authenticated::{Authenticated, VIMS};
use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::keystone::{ADMIN, Account, Keystone, MEMBER_A, MEMBER_B, Token};

const ANNOTATION: &str = "openstack.org/kuryr-project";

async fn annotate(cluster: &Cluster, namespace: &Namespace, project: Option<&str>) {
    let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.client.clone());
    let patch = json!({ "metadata": { "annotations": { ANNOTATION: project } } });
    namespaces.patch(namespace.as_str(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// A member at work: what it sends, it sends with its token.
struct Member {
    token: Token,
    instance: String,
}

impl Member {
    /// Registers the cluster, onboards a package and creates a VNF instance.
    async fn at_work(gybe: &mut Authenticated, keystone: &Keystone, account: Account, cluster: &Cluster) -> Self {
        let token = keystone.token(account).await;
        gybe.act_as(&token);
        gybe.gybe.register_vim(&cluster.admin, "cluster", true).await;
        let vnfd = gybe.gybe.onboard("small").await;
        let instance = gybe.gybe.create("v2", &vnfd).await;
        Self { token, instance }
    }

    /// The problem of an instantiation that is refused. Nothing is created.
    async fn refusal(&self, gybe: &mut Authenticated, namespace: &str, status: StatusCode) -> String {
        gybe.act_as(&self.token);
        let path = format!("{}/instantiate", self.instance);
        let refused = gybe.gybe.post(&path, &instantiate_request(namespace)).await;
        let detail = refused.expect(status)["detail"].as_str().unwrap().to_owned();
        let ops = gybe.gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await;
        let of_this = |op: &&Value| self.instance.ends_with(op["vnfInstanceId"].as_str().unwrap());
        let ops = ops.expect(StatusCode::OK);
        assert_eq!(ops.as_array().unwrap().iter().filter(of_this).count(), 0, "{ops:#}");
        detail
    }

    async fn complete(&self, gybe: &mut Authenticated, operation: &str, body: &Value) {
        gybe.act_as(&self.token);
        gybe.gybe.complete(&self.instance, operation, body).await;
    }

    async fn drift(&self, gybe: &mut Authenticated) -> Value {
        gybe.act_as(&self.token);
        gybe.gybe.get(&format!("{}/drift", self.instance)).await.expect(StatusCode::OK)
    }
}

fn terminate() -> Value {
    json!({ "terminationType": "FORCEFUL" })
}

#[tokio::test]
async fn a_vnf_goes_only_into_a_namespace_of_its_project() {
    let (mut keystone, cluster) = (Keystone::start(3600), Cluster::running().await);
    let namespace = cluster.namespace().await;
    let name = namespace.name.as_str();
    let mut gybe = Authenticated::with_tables(&keystone.url, "[tenancy]\n");
    let a = Member::at_work(&mut gybe, &keystone, MEMBER_A, &cluster).await;
    let b = Member::at_work(&mut gybe, &keystone, MEMBER_B, &cluster).await;
    let admin = Member::at_work(&mut gybe, &keystone, ADMIN, &cluster).await;

    for annotation in [None, Some("")] {
        annotate(&cluster, &namespace.name, annotation).await;
        let detail = a.refusal(&mut gybe, name, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(detail.contains("neutron_defaults.project"), "{detail}");
    }
    let detail = a.refusal(&mut gybe, "gybe-no-such-namespace", StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(detail.contains("does not exist"), "{detail}");
    for (project, expected) in [
        ("0123456789abcdef0123456789abcdef".to_owned(), "does not exist"),
        (keystone.project("closed").await, "is disabled"),
    ] {
        annotate(&cluster, &namespace.name, Some(&project)).await;
        let detail = admin.refusal(&mut gybe, name, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(detail.contains(expected), "{detail}");
    }
    annotate(&cluster, &namespace.name, Some(a.token.project())).await;
    let detail = b.refusal(&mut gybe, name, StatusCode::FORBIDDEN).await;
    assert!(!detail.contains(a.token.project()), "{detail}");
    for user in [&a, &admin] {
        user.complete(&mut gybe, "instantiate", &instantiate_request(name)).await;
        user.complete(&mut gybe, "terminate", &terminate()).await;
    }

    // The token is remembered, but nobody says whether the project still exists.
    gybe.act_as(&keystone.token(MEMBER_A).await);
    gybe.gybe.get(VIMS).await.expect(StatusCode::OK);
    keystone.kill();
    let path = format!("{}/instantiate", a.instance);
    let refused = gybe.gybe.post(&path, &instantiate_request(name)).await.expect(StatusCode::SERVICE_UNAVAILABLE);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("Keystone does not say whether the project of namespace"), "{refused:#}");
}

#[tokio::test]
async fn an_annotation_that_changes_is_shown_and_not_followed() {
    let (keystone, cluster) = (Keystone::shared(), Cluster::running().await);
    let namespace = cluster.namespace().await;
    let name = namespace.name.as_str();
    let mut gybe = Authenticated::with_tables(&keystone.url, "[tenancy]\n");
    let a = Member::at_work(&mut gybe, &keystone, MEMBER_A, &cluster).await;
    let b = Member::at_work(&mut gybe, &keystone, MEMBER_B, &cluster).await;
    let (of_a, of_b) = (a.token.project(), b.token.project());
    annotate(&cluster, &namespace.name, Some(of_a)).await;
    a.complete(&mut gybe, "instantiate", &instantiate_request(name)).await;
    let drift = a.drift(&mut gybe).await;
    assert_eq!(drift["namespaceProject"], json!({ "intended": of_a, "actual": of_a }), "{drift:#}");
    assert_eq!(drift["inSync"], true, "{drift:#}");

    annotate(&cluster, &namespace.name, Some(of_b)).await;
    a.complete(&mut gybe, "heal", &json!({})).await;
    let drift = a.drift(&mut gybe).await;
    assert_eq!(drift["namespaceProject"], json!({ "intended": of_a, "actual": of_b }), "{drift:#}");
    assert_eq!(drift["inSync"], false, "{drift:#}");
    let detail = b.refusal(&mut gybe, name, StatusCode::CONFLICT).await;
    assert!(detail.contains("of another project"), "{detail}");
    a.complete(&mut gybe, "terminate", &terminate()).await;
    b.complete(&mut gybe, "instantiate", &instantiate_request(name)).await;
    b.complete(&mut gybe, "terminate", &terminate()).await;
}

#[tokio::test]
async fn a_role_in_the_namespace_lets_gybe_find_its_default_project() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gybe.toml");
    std::fs::write(&path, "[tenancy]\nverify_project = 'off'\n[neutron_defaults]\nproject = 'default'\n").unwrap();
    let gybe = Gybe::start_with(&["--config", path.to_str().unwrap()]);
    // What the VNF needs, but not the Namespace.
    let kinds = ["pods", "persistentvolumeclaims", "replicasets", "deployments"];
    let rules = json!([{ "apiGroups": ["", "apps"], "resources": kinds, "verbs": ["*"] }]);
    let access = cluster.account(&namespace.name, "manager", rules).await;
    gybe.register_vim(&access, "vim", true).await;
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.create("v2", &vnfd).await;
    let request = instantiate_request(namespace.name.as_str());
    let refused = gybe.post(&format!("{instance}/instantiate"), &request).await.expect(StatusCode::FORBIDDEN);
    assert!(refused["detail"].as_str().unwrap().contains("cannot get resource \"namespaces\""), "{refused:#}");

    let get = json!([{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }]);
    cluster.grant(&namespace.name, &namespace.name, "manager", get).await;
    gybe.complete(&instance, "instantiate", &request).await;
    let drift = gybe.get(&format!("{instance}/drift")).await.expect(StatusCode::OK);
    assert_eq!(drift["namespaceProject"], json!({ "intended": "default", "actual": "default" }), "{drift:#}");
    gybe.complete(&instance, "terminate", &terminate()).await;
}
