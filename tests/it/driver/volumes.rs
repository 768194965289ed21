//! Volume claims of StatefulSets and others.

use gybe::clock::{Ids as _, System};
use gybe::domain::instance::VirtualStorage;
use gybe::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use gybe::infra::{Driver as _, Scope};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{CONFIG_MAP, GOOD, LONG, PATIENT, Vnf, pods, stateful_set};

#[tokio::test]
async fn claims_of_a_stateful_set_are_deleted_with_it() {
    let vnf = Vnf::new().await;
    let other = vnf.render(&[], "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-db}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}").await;
    let mut resources = vnf.render(&[("VDU1", "db")], &stateful_set(GOOD)).await;
    resources.extend(other);
    vnf.ensure(&mut resources).await;
    let observed = vnf.wait_ready_and_observe(&resources).await;
    assert_eq!(pods(&observed), [("VDU1", "StatefulSet", "db"); 2]);
    let claims: Vec<&str> = observed.storages.iter().map(|it| it.claim_name.as_str()).collect();
    assert_eq!(claims, ["data-db", "data-db-0", "data-db-1"]);

    vnf.remove(&resources[0]).await;
    assert_eq!(vnf.names("v1", "Pod", "pods").await, Vec::<String>::new());
    assert_eq!(vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await, ["data-db"]);
    vnf.remove(&resources[1]).await;
}

#[tokio::test]
async fn claims_of_removed_replicas_are_kept_until_the_set_is_deleted() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", "db")], &stateful_set(GOOD)).await;
    for replicas in [3, 1] {
        resources[0].manifest = resources[0].manifest_with_replicas(replicas);
        vnf.ensure(&mut resources).await;
        let observed = vnf.wait_ready_and_observe(&resources).await;
        assert_eq!(observed.vnfcs.len(), replicas as usize);
        let claims = vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await;
        assert_eq!(claims, ["data-db-0", "data-db-1", "data-db-2"], "at {replicas} replicas");
    }
    vnf.remove(&resources[0]).await;
    assert!(vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await.is_empty());
}

#[tokio::test]
async fn claims_are_deleted_even_if_the_set_was_deleted_before_a_crash() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &stateful_set(GOOD)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    api.delete("db", &DeleteParams::background()).await.unwrap();
    resources[0].state = ResourceState::Intent;
    vnf.remove(&resources[0]).await;
    assert!(vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await.is_empty());
}

/// Another client deleted the set, and its recreation was rejected.
#[tokio::test]
async fn claims_of_a_set_that_was_not_recreated_are_deleted_unless_in_use() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &stateful_set(GOOD)).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    let planned = Resource { state: ResourceState::Planned, ..resources[0].clone() };
    let claims = async || vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await;
    // A set of another client replaces it, and its pods use the existing claims.
    vnf.patch(&resources[0], json!({ "metadata": { "labels": { INSTANCE_LABEL: null } } })).await;
    vnf.remove(&planned).await;
    assert_eq!(claims().await, ["data-db-0", "data-db-1"]);
    api.delete("db", &DeleteParams::background()).await.unwrap();
    while vnf.get(&resources[0]).await.is_some() {}
    vnf.remove(&planned).await;
    assert!(claims().await.is_empty());

    // A credential without permissions can still give up an object that it could not create.
    let rules = json!([{ "apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get"] }]);
    let access = vnf.cluster.account(&vnf.scope.namespace, "poor", rules).await;
    vnf.driver.remove(&Scope { access, ..vnf.scope.clone() }, &planned, None, LONG).await.unwrap();
}

#[tokio::test]
async fn an_object_without_our_label_is_kept_with_its_volumes() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], &(CONFIG_MAP.to_owned() + "---" + &stateful_set(GOOD))).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let marks = [Value::Null, json!(System.uuid().to_string())];
    for (resource, mark) in resources.iter().zip(marks) {
        vnf.patch(resource, json!({ "metadata": { "labels": { INSTANCE_LABEL: mark } } })).await;
        vnf.remove(resource).await;
        assert_eq!(vnf.get(resource).await.unwrap().metadata.deletion_timestamp, None, "{}", resource.key);
    }
    let claims = vnf.names("v1", "PersistentVolumeClaim", "persistentvolumeclaims").await;
    assert_eq!(claims, ["data-db-0", "data-db-1"]);
}

#[tokio::test]
async fn a_claim_that_binds_on_first_use_is_ready() {
    let vnf = Vnf::new().await;
    let class = format!("late-{}", vnf.scope.instance);
    let yaml = format!(
        "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {class}}}
provisioner: kubernetes.io/host-path
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: late}}
spec: {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
    );
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    let observed = vnf.wait_ready_and_observe(&resources).await;
    let ResourceState::Present { uid, .. } = &resources[1].state else { panic!() };
    assert_eq!(observed.storages, [VirtualStorage { claim_name: "late".to_owned(), claim_uid: uid.clone() }]);
    for resource in resources.iter().rev() {
        vnf.remove(resource).await;
    }
}
