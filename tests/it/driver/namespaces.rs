//! Namespaces: which are created, used and deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use gybe::clock::{Ids as _, System};
use gybe::domain::namespace::Namespace;
use gybe::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, ResourceState};
use gybe::infra::{AppliedObject, Driver as _, InfraErrorKind};
use kube::ResourceExt;
use kube::api::{DeleteParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::{CONFIG_MAP, GOOD, HASTY, LONG, PATIENT, Vnf, owner, pod};
use crate::support::cluster::{render, scope};
use crate::support::fault_proxy::{FaultProxy, ProxyFault};

/// A namespace that does not exist yet, and its manifest.
fn new_namespace() -> (Namespace, String) {
    let name = format!("test-{}", &System.uuid().simple().to_string()[..12]);
    (
        Namespace::try_from(name.clone()).unwrap(),
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"),
    )
}

#[tokio::test]
async fn deletes_an_empty_namespace_that_gybe_created() {
    let mut vnf = Vnf::new().await;
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    // A bare pod is rejected until the namespace has its ServiceAccount.
    let mut resources = vnf.render(&[], &(yaml + "\n---" + &pod(GOOD, "") + "---" + CONFIG_MAP)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    assert!(matches!(&resources[0].state, ResourceState::Present { owned: true, .. }));
    // The pod is deleted first; the ConfigMap is ours and may be deleted with the namespace.
    vnf.remove(&resources[1]).await;
    vnf.remove(&resources[0]).await;
    assert!(vnf.get(&resources[0]).await.is_none());
    vnf.remove(&resources[0]).await;
}

#[tokio::test]
async fn keeps_a_created_namespace_that_holds_objects_of_others() {
    let mut vnf = Vnf::new().await;
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    let second = scope(&vnf.scope.access, &vnf.scope.namespace);
    let mut theirs = render(&vnf.driver, &second, &[], &(yaml + "\n---" + CONFIG_MAP)).await;
    let namespace = vnf.driver.ensure(&second, &theirs[0]).await.unwrap();
    assert!(!namespace.owned);
    vnf.driver.ensure(&second, &theirs[1]).await.unwrap();

    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none());
    assert!(!left.labels().contains_key(INSTANCE_LABEL) && !left.labels().contains_key(MANAGED_BY_LABEL));
    // After a crash the step runs again, now with nobody else in the namespace: Gybe gave it up, so it stays.
    theirs[1].state = ResourceState::Intent;
    vnf.driver.remove(&second, &theirs[1], None, LONG).await.unwrap();
    vnf.remove(&resources[0]).await;
    theirs[0].state = ResourceState::Present { uid: namespace.uid, owned: namespace.owned };
    vnf.driver.remove(&second, &theirs[0], None, LONG).await.unwrap();
    assert!(vnf.get(&resources[0]).await.unwrap().metadata.deletion_timestamp.is_none());
    vnf.cluster
        .api_of(&resources[0], &vnf.scope.namespace)
        .delete(&resources[0].key.name, &DeleteParams::default())
        .await
        .unwrap();
}

/// An object with an owner in the namespace counts as its owner; a cluster-scoped owner is found only through the
/// object.
#[tokio::test]
async fn keeps_a_created_namespace_with_objects_of_a_cluster_scoped_owner() {
    let mut vnf = Vnf::new().await;
    let outside = format!("late-{}", vnf.scope.instance);
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": outside },
        "provisioner": "example.test/none",
    });
    let class = vnf.cluster.create("storageclasses", None, class).await;
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    let mut resources = vnf.render(&[], &(yaml + "\n---" + CONFIG_MAP)).await;
    vnf.ensure(&mut resources).await;
    let secret = |name: &str, owner: Value| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "ownerReferences": owner } });
    let ours = owner(&vnf.get(&resources[1]).await.unwrap());
    vnf.cluster.create("secrets", Some(&vnf.scope.namespace), secret("made-of-ours", ours)).await;
    let theirs = owner(&class);
    vnf.cluster.create("secrets", Some(&vnf.scope.namespace), secret("theirs", theirs)).await;
    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert_eq!(left.metadata.deletion_timestamp, None);

    // Without that object the namespace, ours again, is deleted with everything that belongs to our objects.
    let secrets = vnf.cluster.api("v1", "Secret", "secrets", Some(&vnf.scope.namespace));
    secrets.delete("theirs", &DeleteParams::default()).await.unwrap();
    vnf.patch(&resources[0], json!({ "metadata": { "labels": { INSTANCE_LABEL: vnf.scope.instance.to_string() } } }))
        .await;
    vnf.remove(&resources[0]).await;
    assert!(vnf.get(&resources[0]).await.is_none());
    let classes = vnf.cluster.api("storage.k8s.io/v1", "StorageClass", "storageclasses", None);
    classes.delete(&outside, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn uses_an_existing_namespace_unless_it_is_terminating() {
    let vnf = Vnf::new().await;
    let yaml =
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {}, labels: {{x: x}}}}}}", vnf.scope.namespace);
    let resources = vnf.render(&[], &yaml).await;
    let before = vnf.get(&resources[0]).await.unwrap();
    let ensured = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap();
    assert_eq!(ensured, AppliedObject { uid: before.uid().unwrap(), owned: false });
    assert_eq!(vnf.get(&resources[0]).await.unwrap(), before);
    vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap();

    let config = vnf.render(&[], CONFIG_MAP).await;
    vnf.driver.ensure(&vnf.scope, &config[0]).await.unwrap();
    vnf.patch(&config[0], json!({ "metadata": { "finalizers": ["example.test/hold"] } })).await;
    let name = vnf.scope.namespace.as_str();
    vnf.cluster.api_of(&resources[0], &vnf.scope.namespace).delete(name, &DeleteParams::default()).await.unwrap();
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    let text = format!("Namespace {name} is being deleted");
    assert_eq!((error.kind, error.detail), (InfraErrorKind::NamespaceGone, text));
    let pod = vnf.render(&[], &pod(GOOD, "")).await;
    let error = vnf.driver.ensure(&vnf.scope, &pod[0]).await.unwrap_err();
    assert!(error.kind == InfraErrorKind::NamespaceGone && error.detail.contains("being terminated"), "{error}");
    // A removal does not fail: Kubernetes deletes the object with the namespace.
    let mut held = config[0].clone();
    held.state = ResourceState::Intent;
    let waits = vnf.driver.remove(&vnf.scope, &held, None, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(waits.kind, InfraErrorKind::NotReady, "{waits}");
    vnf.patch(&config[0], json!({ "metadata": { "finalizers": null } })).await;
}

#[tokio::test]
async fn reports_a_missing_namespace() {
    let mut vnf = Vnf::new().await;
    vnf.scope.namespace = new_namespace().0;
    let resources = vnf.render(&[], CONFIG_MAP).await;
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    let text = format!("namespaces \"{}\" not found", vnf.scope.namespace);
    assert_eq!((error.kind, error.detail), (InfraErrorKind::NamespaceGone, text));
}

/// The rights of a credential end with the namespace that gives them: Kubernetes says "forbidden", whatever is gone.
#[tokio::test]
async fn what_was_in_a_namespace_that_others_deleted_counts_as_removed() {
    let mut vnf = Vnf::new().await;
    let home = vnf.cluster.namespace().await;
    vnf.scope.access = vnf.cluster.account_for(&home.name, "gybe", &vnf.scope.namespace).await;
    let mut resources = vnf.render(&[], CONFIG_MAP).await;
    vnf.ensure(&mut resources).await;
    let namespaces = vnf.cluster.api("v1", "Namespace", "namespaces", None);
    let name = vnf.scope.namespace.as_str();
    namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = namespaces.watch(&watch, "0").await.unwrap().boxed();
    if namespaces.get_opt(name).await.unwrap().is_some() {
        while !matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Deleted(_)) {}
    }
    vnf.remove(&resources[0]).await;
    resources[0].state = ResourceState::Intent;
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    let start = format!("namespace {name} does not exist: ");
    assert!(error.kind == InfraErrorKind::NamespaceGone && error.detail.starts_with(&start), "{error:?}");
}

/// An API of somebody else is down. What needs another API goes on; only a namespace may hold objects that nobody can list now.
#[tokio::test]
async fn an_api_that_does_not_answer_stops_nothing_that_does_not_need_it() {
    let mut vnf = Vnf::new().await;
    let home = vnf.cluster.namespace().await;
    let account = vnf.cluster.administrator(&home.name, "gybe").await;
    let proxy = FaultProxy::of(&account).await;
    vnf.scope.access = proxy.access(&account);
    proxy.set(ProxyFault::SilentApi("/apis/autoscaling/"));
    let (name, yaml) = new_namespace();
    vnf.scope.namespace = name;
    let mut resources = vnf.render(&[], &(yaml + "\n---" + CONFIG_MAP)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    vnf.remove(&resources[1]).await;
    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none() && !left.labels().contains_key(INSTANCE_LABEL));
    let namespaces = vnf.cluster.api("v1", "Namespace", "namespaces", None);
    namespaces.delete(vnf.scope.namespace.as_str(), &DeleteParams::default()).await.unwrap();

    let autoscaler = BTreeSet::from([("autoscaling/v2".to_owned(), "HorizontalPodAutoscaler".to_owned())]);
    let error = vnf.driver.discover(&vnf.scope.access, &autoscaler).await.unwrap_err();
    assert_eq!(error.kind, InfraErrorKind::Transient);
    assert!(error.detail.starts_with("the kinds of autoscaling/v2 cannot be read: "), "{error}");
}
