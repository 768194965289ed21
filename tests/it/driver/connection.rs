//! Credentials, permissions and the connection to the API server.

use std::time::{Duration, Instant};

use futures::future::join;
use gybe::domain::plan::PodRef;
use gybe::domain::resource::ResourceState;
use gybe::domain::secret::Secret;
use gybe::domain::vim::{VimAccess, VimCredential};
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::infra::{Driver as _, InfraError, InfraErrorKind, PodSnapshot, Scope};
use serde_json::{Value, json};

use super::{CONFIG_MAP, GOOD, LONG, PATIENT, Vnf, deployment, stateful_set};
use crate::support::cluster::Cluster;
use crate::support::proxy::Proxy;

/// The rules of a Role that suffices for the life cycle of a VNF instance.
fn rights() -> Value {
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    json!([
        { "apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "replicasets"], "verbs": all },
        { "apiGroups": [""], "resources": ["pods", "configmaps", "services", "persistentvolumeclaims"], "verbs": all },
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
    ])
}

#[tokio::test]
async fn a_role_in_the_namespace_suffices_and_gives_no_rights_elsewhere() {
    let mut vnf = Vnf::new().await;
    vnf.scope.access = vnf.cluster.account(&vnf.scope.namespace, "gybe", rights()).await;
    let user = format!("system:serviceaccount:{}:gybe", vnf.scope.namespace);
    assert_eq!(vnf.driver.who_am_i(&vnf.scope.access).await.unwrap(), user);

    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": vnf.scope.namespace } });
    let yaml = format!("{CONFIG_MAP}---{}---{}---\n{namespace}", deployment(GOOD), stateful_set(GOOD));
    let mut resources = vnf.render(&[("VDU1", "web"), ("VDU2", "db")], &yaml).await;
    vnf.ensure(&mut resources).await;
    assert!(matches!(&resources[3].state, ResourceState::Present { owned: false, .. }));
    let observed = vnf.wait_ready_and_observe(&resources).await;
    assert_eq!((observed.vnfcs.len(), observed.storages.len()), (4, 2));
    let pods = [PodRef { name: observed.vnfcs[0].pod_name.clone(), uid: observed.vnfcs[0].pod_uid.clone() }];
    vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    for resource in resources.iter().rev() {
        vnf.driver.remove(&vnf.scope, resource, Some(Duration::ZERO), LONG).await.unwrap();
    }

    let denied = |error: InfraError, words: &[&str]| {
        let InfraError { kind: InfraErrorKind::Denied, detail: text, .. } = error else { panic!("{error}") };
        assert!(text.contains(&user) && words.iter().all(|word| text.contains(word)), "{text}");
    };
    let elsewhere = vnf.cluster.namespace().await;
    let away = Scope { namespace: elsewhere.name.clone(), ..vnf.scope.clone() };
    let words = ["get", "configmaps", elsewhere.name.as_str()];
    denied(vnf.driver.ensure(&away, &resources[0]).await.unwrap_err(), &words);
    denied(vnf.driver.await_ready(&away, &resources, PATIENT).await.unwrap_err(), &["list"]);
    denied(vnf.driver.remove(&away, &resources[0], None, LONG).await.unwrap_err(), &["get", "configmaps"]);
    denied(vnf.driver.observe(&away, &resources, PodSnapshot::default()).await.unwrap_err(), &["list"]);
    denied(vnf.driver.delete_pods(&away, &pods, LONG).await.unwrap_err(), &["delete", "pods"]);
    let secret = vnf.render(&[], "{apiVersion: v1, kind: Secret, metadata: {name: s}}").await;
    denied(vnf.driver.ensure(&vnf.scope, &secret[0]).await.unwrap_err(), &["get", "secrets"]);
}

#[tokio::test]
async fn readiness_needs_no_permission_for_pods_or_events() {
    let mut vnf = Vnf::new().await;
    let rules =
        json!([{ "apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "patch"] }]);
    vnf.scope.access = vnf.cluster.account(&vnf.scope.namespace, "blind", rules).await;
    vnf.run(&(deployment(GOOD) + "---" + &stateful_set(GOOD)), PATIENT).await.unwrap();
}

#[tokio::test]
async fn reports_the_user_of_a_credential_or_why_it_is_unknown() {
    let cluster = Cluster::running().await;
    let driver = KubernetesDriver::new();
    assert_eq!(driver.who_am_i(&cluster.admin).await.unwrap(), "admin");
    let token = VimCredential::BearerToken(Secret::new("n0t-a-t0ken"));
    let endpoint = cluster.admin.endpoint.clone();

    let error = driver.who_am_i(&VimAccess { credential: token.clone(), ..cluster.admin.clone() }).await.unwrap_err();
    let text =
        format!("the API server {endpoint} refused the credential: Unauthorized; give the VIM one that is valid");
    assert_eq!((error.kind, error.detail), (InfraErrorKind::Unauthorized, text));

    // Any certificate other than that of the CA.
    let VimCredential::ClientCertificate { certificate, .. } = &cluster.admin.credential else { panic!() };
    let wrong = VimAccess { ca: Some(certificate.clone()), ..cluster.admin.clone() };
    let InfraError { kind: InfraErrorKind::Transient, detail: text, .. } = driver.who_am_i(&wrong).await.unwrap_err()
    else {
        panic!()
    };
    assert!(text.contains(&endpoint) && text.contains("invalid peer certificate"), "{text}");
    let trusting = VimAccess { insecure: true, ..wrong };
    assert_eq!(driver.who_am_i(&trusting).await.unwrap(), "admin");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = VimAccess { endpoint: format!("https://{closed}"), ..cluster.admin.clone() };
    let InfraError { kind: InfraErrorKind::Transient, detail: text, .. } = driver.who_am_i(&nowhere).await.unwrap_err()
    else {
        panic!()
    };
    assert!(text.contains(&closed.to_string()) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_wait_survives_lost_connections() {
    let mut vnf = Vnf::new().await;
    let proxy = Proxy::before(&vnf.cluster.admin.endpoint).await;
    vnf.scope.access.endpoint = proxy.endpoint();
    let mut resources = vnf.render(&[], &deployment("example.test/never-ready")).await;
    vnf.ensure(&mut resources).await;
    let change = async {
        for _ in 0..3 {
            proxy.wait_for_connections(2).await;
            proxy.cut();
        }
        let direct = Scope { access: vnf.cluster.admin.clone(), ..vnf.scope.clone() };
        let changed = vnf.render(&[], &deployment(GOOD)).await;
        vnf.driver.ensure(&direct, &changed[0]).await.unwrap();
    };
    let (ready, ()) = join(vnf.driver.await_ready(&vnf.scope, &resources, PATIENT), change).await;
    ready.unwrap();
}

#[tokio::test]
async fn concurrent_requests_are_limited() {
    let mut vnf = Vnf::new().await;
    let proxy = Proxy::before(&vnf.cluster.admin.endpoint).await;
    vnf.scope.access.endpoint = proxy.endpoint();
    let kinds = (0..300).map(|number| (format!("g{number}.example.test/v1"), "Gadget".to_owned())).collect();
    assert!(vnf.driver.discover(&vnf.scope.access, &kinds).await.unwrap().is_empty());
    let pods: Vec<PodRef> =
        (0..300).map(|number| PodRef { name: format!("p{number}"), uid: number.to_string() }).collect();
    vnf.driver.delete_pods(&vnf.scope, &pods, LONG).await.unwrap();
    // A request beyond the limit starts only after another has ended.
    assert!(proxy.connections() < 50, "{}", proxy.connections());
}

#[tokio::test]
async fn a_silent_api_server_times_out() {
    let cluster = Cluster::running().await;
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let access = VimAccess { endpoint: endpoint.clone(), ..cluster.admin };
    let start = Instant::now();
    let error = KubernetesDriver::new().who_am_i(&access).await.unwrap_err();
    assert_eq!(
        (error.kind, error.detail),
        (InfraErrorKind::Transient, format!("the API server {endpoint} did not answer within 8 s"))
    );
    assert!(start.elapsed() < Duration::from_secs(30));
}
