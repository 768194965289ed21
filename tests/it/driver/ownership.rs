//! Objects of other instances and of other clients are never taken over.

use std::time::Duration;

use futures::future::join;
use gybe::domain::drift::DriftState;
use gybe::domain::plan::PodRef;
use gybe::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, Resource, ResourceState};
use gybe::domain::writer::Writer;
use gybe::infra::{AppliedObject, Driver as _, InfraError, InfraErrorKind, Observer as _, Removal, Scope};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use serde_json::json;

use super::{CONFIG_MAP, GOOD, LONG, Vnf, deployment, pod};
use crate::support::cluster::{render, scope};

#[tokio::test]
async fn an_object_of_another_instance_is_a_conflict_that_names_the_instance() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], CONFIG_MAP).await;
    vnf.ensure(&mut resources).await;
    let before = vnf.get(&resources[0]).await;

    let second = scope(&vnf.scope.access, &vnf.scope.namespace);
    let mut theirs = render(&vnf.driver, &second, &[], &CONFIG_MAP.replace("red", "blue")).await;
    let error = vnf.driver.ensure(&second, &theirs[0]).await.unwrap_err();
    let InfraError { kind: InfraErrorKind::Conflict, detail: text, .. } = error else { panic!("{error}") };
    assert_eq!(
        text,
        format!(
            "ConfigMap settings in namespace {} belongs to VNF instance {}",
            vnf.scope.namespace, vnf.scope.instance
        )
    );
    theirs[0].state = ResourceState::Intent;
    vnf.driver.remove(&second, &theirs[0], None, LONG).await.unwrap();
    assert_eq!(vnf.get(&resources[0]).await, before);
}

#[tokio::test]
async fn of_two_instances_that_create_the_same_object_one_wins() {
    let vnf = Vnf::new().await;
    for round in 0..20 {
        let yaml = CONFIG_MAP.replace("settings", &format!("settings-{round}"));
        let scopes = [(); 4].map(|()| scope(&vnf.scope.access, &vnf.scope.namespace));
        let attempts = scopes.iter().map(async |scope| {
            let resources = render(&vnf.driver, scope, &[], &yaml).await;
            vnf.driver.ensure(scope, &resources[0]).await
        });
        let results = futures::future::join_all(attempts).await;
        let winners: Vec<usize> = (0..4).filter(|it| results[*it].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        let winner = scopes[winners[0]].instance.to_string();
        for result in results.iter().filter(|it| it.is_err()) {
            assert!(
                matches!(result, Err(InfraError { kind: InfraErrorKind::Conflict, detail: text, .. }) if text.contains(&winner)),
                "{result:?}, but {winner} won"
            );
        }
    }
}

#[tokio::test]
async fn an_unmanaged_object_is_a_conflict_and_stays_unchanged() {
    let vnf = Vnf::new().await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "colour": "red" },
        "metadata": {
            "name": "settings",
            "labels": { MANAGED_BY_LABEL: "Helm" },
            "annotations": { "meta.helm.sh/release-name": "shop" },
        },
    });
    let before = vnf.cluster.create("configmaps", Some(&vnf.scope.namespace), foreign).await;
    let resources = vnf.render(&[], CONFIG_MAP).await;
    let error = vnf.driver.ensure(&vnf.scope, &resources[0]).await.unwrap_err();
    let text = format!(
        "ConfigMap settings in namespace {} exists and is not managed by Gybe (app.kubernetes.io/managed-by is Helm; \
         Helm release shop; its fields were written by kubectl)",
        vnf.scope.namespace
    );
    assert_eq!((error.kind, error.detail), (InfraErrorKind::Conflict, text));
    assert_eq!(vnf.get(&resources[0]).await.unwrap().resource_version(), before.resource_version());

    let mut intended = resources[0].clone();
    intended.state = ResourceState::Intent;
    vnf.remove(&intended).await;
    assert!(vnf.get(&resources[0]).await.is_some());
}

/// The object of the other client has no field that conflicts with ours, so server-side apply alone would succeed.
#[tokio::test]
async fn an_object_created_concurrently_by_others_is_not_taken_over() {
    let vnf = Vnf::new().await;
    for round in 0..60 {
        let name = format!("settings-{round}");
        let resources = vnf.render(&[], &CONFIG_MAP.replace("settings", &name)).await;
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "colour": "red" }, "metadata": { "name": name },
        });
        let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
        let foreign: DynamicObject = serde_json::from_value(foreign).unwrap();
        let params = PostParams { field_manager: Some("kubectl".to_owned()), ..PostParams::default() };
        let (ours, theirs) = join(vnf.driver.ensure(&vnf.scope, &resources[0]), api.create(&params, &foreign)).await;
        let object = vnf.get(&resources[0]).await.unwrap();
        let marked = object.labels().contains_key(INSTANCE_LABEL);
        assert_eq!(object.data["data"], json!({ "colour": "red" }));
        match (ours, theirs) {
            (Ok(_), Err(_)) if marked => {}
            (Err(InfraError { kind: InfraErrorKind::Conflict, .. }), Ok(_)) if !marked => {}
            (ours, theirs) => panic!("{ours:?} {theirs:?} {object:?}"),
        }
    }
}

#[tokio::test]
async fn an_object_replaced_concurrently_by_others_is_not_taken_over() {
    let vnf = Vnf::new().await;
    for round in 0..60 {
        let name = format!("settings-{round}");
        let mut resources = vnf.render(&[], &CONFIG_MAP.replace("settings", &name)).await;
        vnf.ensure(&mut resources).await;
        // Otherwise it would not be created again.
        resources[0].state = ResourceState::Intent;
        let foreign = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "colour": "red" }, "metadata": { "name": name },
        });
        let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
        let foreign: DynamicObject = serde_json::from_value(foreign).unwrap();
        let replace = async {
            tokio::time::sleep(Duration::from_micros(100) * round).await;
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            api.create(&PostParams::default(), &foreign).await
        };
        let (ours, theirs) = join(vnf.driver.ensure(&vnf.scope, &resources[0]), replace).await;
        let object = vnf.get(&resources[0]).await.unwrap();
        let marked = object.labels().contains_key(INSTANCE_LABEL);
        match (ours, theirs) {
            // Ours was created again between their two calls.
            (Ok(AppliedObject { uid, .. }), Err(_)) if marked && object.uid() == Some(uid.clone()) => {}
            (Ok(AppliedObject { uid, .. }), Ok(made)) if !marked && made.uid() != Some(uid.clone()) => {}
            (Err(InfraError { kind: InfraErrorKind::Conflict, .. }), Ok(_)) if !marked => {}
            (ours, theirs) => panic!("{ours:?} {theirs:?} {object:?}"),
        }
    }
}

#[tokio::test]
async fn a_replaced_object_is_a_different_object() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", "lone")], &(CONFIG_MAP.to_owned() + "---" + &pod(GOOD, ""))).await;
    vnf.ensure(&mut resources).await;
    let old = resources.clone();
    for (resource, known) in resources.iter_mut().zip(&old) {
        vnf.remove(known).await;
        let error = vnf.driver.ensure(&vnf.scope, resource).await.unwrap_err();
        assert_eq!(
            error.kind,
            InfraErrorKind::Gone,
            "the object is created again only after its uid is forgotten: {error}"
        );
        assert!(vnf.get(resource).await.is_none());
        resource.state = ResourceState::Intent;
    }
    vnf.ensure(&mut resources).await;
    assert_ne!(old[0].state, resources[0].state);
    for resource in &old {
        let error = vnf.driver.ensure(&vnf.scope, resource).await.unwrap_err();
        assert_eq!(error.kind, InfraErrorKind::Gone, "{error}");
    }

    let ResourceState::Present { uid, .. } = old[1].state.clone() else { panic!() };
    vnf.driver.delete_pods(&vnf.scope, &[PodRef { name: "lone".to_owned(), uid }], LONG).await.unwrap();
    for resource in &resources {
        assert!(vnf.get(resource).await.unwrap().metadata.deletion_timestamp.is_none());
    }
}

/// As Velero or `kubectl replace --force` make it: with its labels, and another uid.
#[tokio::test]
async fn an_object_of_ours_that_others_made_again_is_removed() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[("VDU1", "web")], &(CONFIG_MAP.to_owned() + "---" + &deployment(GOOD))).await;
    vnf.ensure(&mut resources).await;
    for (resource, plural) in resources.iter().zip(["configmaps", "deployments"]) {
        let mut backup = serde_json::to_value(vnf.get(resource).await.unwrap()).unwrap();
        vnf.remove(resource).await;
        let metadata = backup["metadata"].as_object_mut().unwrap();
        metadata.retain(|name, _| ["name", "labels", "annotations"].contains(&name.as_str()));
        vnf.cluster.create(plural, Some(&vnf.scope.namespace), backup).await;
        let removal = vnf.driver.remove(&vnf.scope, resource, None, LONG).await.unwrap();
        assert_eq!((removal, vnf.get(resource).await), (Removal::Removed, None), "{}", resource.key);
    }
}

#[tokio::test]
async fn an_object_that_lost_our_label_is_left_and_said_to_be() {
    let vnf = Vnf::new().await;
    let mut resources = vnf.render(&[], CONFIG_MAP).await;
    vnf.ensure(&mut resources).await;
    vnf.patch(&resources[0], json!({ "metadata": { "labels": { INSTANCE_LABEL: null } } })).await;
    assert_eq!(vnf.driver.remove(&vnf.scope, &resources[0], None, LONG).await.unwrap(), Removal::Left);
    assert!(vnf.get(&resources[0]).await.is_some());
}

/// A conductor that wakes up late: another process, or the next operation, has written the object.
#[tokio::test]
async fn an_object_of_a_later_writer_is_neither_changed_nor_removed() {
    let vnf = Vnf::new().await;
    let as_writer = |started, epoch| Scope { writer: Some(Writer { started, epoch }), ..vnf.scope.clone() };
    let mut rows = vnf.render(&[], CONFIG_MAP).await;
    let AppliedObject { uid, owned } = vnf.driver.ensure(&as_writer(2, 1), &rows[0]).await.unwrap();
    rows[0].state = ResourceState::Present { uid, owned };
    let before = vnf.get(&rows[0]).await.unwrap();
    let blue = vnf.render(&[], &CONFIG_MAP.replace("red", "blue")).await[0].manifest.clone();
    let changed = Resource { manifest: blue, ..rows[0].clone() };
    for late in [as_writer(1, 7), as_writer(2, 0)] {
        let error = vnf.driver.ensure(&late, &changed).await.unwrap_err();
        assert_eq!(error.kind, InfraErrorKind::Superseded, "{error}");
        let error = vnf.driver.remove(&late, &changed, None, LONG).await.unwrap_err();
        assert_eq!(error.kind, InfraErrorKind::Superseded, "{error}");
        assert_eq!(vnf.get(&rows[0]).await.unwrap(), before);
    }
    assert_eq!(vnf.driver.drift(&vnf.scope, &rows).await.unwrap()[0].state, DriftState::InSync);
    vnf.driver.ensure(&as_writer(3, 1), &changed).await.unwrap();
    assert_eq!(vnf.get(&rows[0]).await.unwrap().data["data"]["colour"], "blue");
    vnf.driver.remove(&as_writer(3, 2), &changed, None, LONG).await.unwrap();
    assert_eq!(vnf.get(&rows[0]).await, None);
}
