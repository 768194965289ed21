//! CustomResourceDefinitions, their objects, and kinds that only answer a request.

use std::collections::BTreeSet;

use futures::future::join;
use gybe::domain::resource::{INSTANCE_LABEL, KindInfo, Resource, ResourceState};
use gybe::infra::{Driver as _, InfraErrorKind};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{CONFIG_MAP, HASTY, LONG, PATIENT, Vnf, owner};

/// A definition of kind Gadget, and its group.
fn definition(vnf: &Vnf) -> (String, String) {
    let group = format!("g{}.example.test", vnf.scope.instance.0.simple());
    let yaml = format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: gadgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Gadget, plural: gadgets}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"
    );
    (group, yaml)
}

#[tokio::test]
async fn creates_a_definition_and_an_object_of_its_kind() {
    let vnf = Vnf::new().await;
    let (group, yaml) = definition(&vnf);
    let kind = (format!("{group}/v1"), "Gadget".to_owned());
    let kinds = BTreeSet::from([kind.clone()]);
    assert!(vnf.driver.discover(&vnf.scope.access, &kinds).await.unwrap().is_empty());
    let mut definition = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut definition).await;
    vnf.driver.await_ready(&vnf.scope, &definition, PATIENT).await.unwrap();

    // After Established, each API server needs a moment to serve the kind.
    let found = loop {
        match vnf.driver.discover(&vnf.scope.access, &kinds).await.unwrap() {
            found if found.is_empty() => tokio::task::yield_now().await,
            found => break found,
        }
    };
    assert_eq!(found[&kind], KindInfo { plural: "gadgets".to_owned(), namespaced: true });
    let yaml = format!("{{apiVersion: {group}/v1, kind: Gadget, metadata: {{name: g}}, spec: {{size: 1}}}}");
    let mut gadget = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut gadget).await;
    vnf.driver.await_ready(&vnf.scope, &gadget, HASTY).await.unwrap();

    // The controller reports progress and then completion.
    let api = vnf.cluster.api_of(&gadget[0], &vnf.scope.namespace);
    let report = async |status: &str| {
        let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": status, "reason": "Busy" }] } });
        api.patch_status("g", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    report("False").await;
    let (ready, ()) = join(vnf.driver.await_ready(&vnf.scope, &gadget, PATIENT), report("True")).await;
    ready.unwrap();
    // Deleted with its definition: the garbage collector of Kubernetes discovers new kinds only every 30 s.
    vnf.remove(&definition[0]).await;
    assert!(vnf.get(&definition[0]).await.is_none());
    vnf.remove(&gadget[0]).await;
}

#[tokio::test]
async fn a_definition_that_others_use_is_kept() {
    let vnf = Vnf::new().await;
    let (group, yaml) = definition(&vnf);
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let gadget = json!({ "apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": { "name": "g" } });
    vnf.cluster.create("gadgets", Some(&vnf.scope.namespace), gadget).await;
    vnf.remove(&resources[0]).await;
    let left = vnf.get(&resources[0]).await.unwrap();
    assert!(left.metadata.deletion_timestamp.is_none() && !left.labels().contains_key(INSTANCE_LABEL));
    let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
    api.delete(&resources[0].key.name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_definition_is_kept_for_objects_of_other_owners_but_not_for_ours() {
    let (vnf, neighbour) = (Vnf::new().await, Vnf::new().await);
    let (group, yaml) = definition(&vnf);
    let gadget = |name: &str, owner: Value| {
        let metadata = json!({ "name": name, "ownerReferences": owner });
        json!({ "apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": metadata })
    };
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "order" } });
    for (other, is_left) in [(&neighbour, true), (&vnf, true), (&vnf, false)] {
        let mut resources = vnf.render(&[], &(yaml.clone() + "---" + CONFIG_MAP)).await;
        vnf.ensure(&mut resources).await;
        vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
        let place = Some(&other.scope.namespace);
        // The owner is an object of others, in their namespace or in ours; or one of ours, through another of the kind.
        let cause = match is_left {
            true => vnf.cluster.create("configmaps", place, settings.clone()).await,
            false => vnf.get(&resources[1]).await.unwrap(),
        };
        let made = vnf.cluster.create("gadgets", place, gadget("g", owner(&cause))).await;
        vnf.cluster.create("gadgets", place, gadget("h", owner(&made))).await;
        vnf.remove(&resources[0]).await;
        let left = vnf.get(&resources[0]).await;
        assert_eq!(left.is_some(), is_left);
        if let Some(left) = left {
            assert_eq!(left.metadata.deletion_timestamp, None);
            let api = vnf.cluster.api_of(&resources[0], &vnf.scope.namespace);
            api.delete(&resources[0].key.name, &DeleteParams::default()).await.unwrap();
            while vnf.get(&resources[0]).await.is_some() {}
            vnf.cluster
                .api("v1", "ConfigMap", "configmaps", place)
                .delete("order", &DeleteParams::default())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_definition_of_another_instance_is_used_unchanged() {
    let (vnf, other) = (Vnf::new().await, Vnf::new().await);
    let (_, yaml) = definition(&vnf);
    let mut resources = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut resources).await;
    let before = vnf.get(&resources[0]).await.unwrap();
    let mut theirs = other.render(&[], &yaml).await;
    other.ensure(&mut theirs).await;
    assert_eq!(theirs[0].state, ResourceState::Present { uid: before.uid().unwrap(), owned: false });
    other.remove(&theirs[0]).await;
    vnf.driver.await_ready(&vnf.scope, &resources, PATIENT).await.unwrap();
    let after = vnf.get(&resources[0]).await.unwrap();
    assert_eq!((after.uid(), after.metadata.labels), (before.uid(), before.metadata.labels));
    // Right after Established, the API server may answer that storage is being initialized.
    while let Err(error) = vnf.driver.remove(&vnf.scope, &resources[0], None, LONG).await {
        assert_eq!(error.kind, InfraErrorKind::Transient, "{error}");
    }
}

#[tokio::test]
async fn a_review_leaves_no_object() {
    let vnf = Vnf::new().await;
    let yaml = "
apiVersion: authorization.k8s.io/v1
kind: SelfSubjectAccessReview
metadata: {name: may-i}
spec: {resourceAttributes: {verb: create, group: apps, resource: deployments}}
---
apiVersion: authorization.k8s.io/v1
kind: LocalSubjectAccessReview
metadata: {name: may-they}
spec: {user: they, resourceAttributes: {namespace: default, verb: create, group: apps, resource: deployments}}
---
apiVersion: authorization.k8s.io/v1
kind: SelfSubjectRulesReview
spec: {namespace: default}
---
apiVersion: authorization.k8s.io/v1
kind: LocalSubjectAccessReview
metadata: {namespace: default}
spec: {user: they, resourceAttributes: {namespace: default, verb: create, group: apps, resource: deployments}}
---
apiVersion: authorization.k8s.io/v1
kind: SubjectAccessReview
spec: {user: they, resourceAttributes: {verb: create, group: apps, resource: deployments}}
---
apiVersion: authentication.k8s.io/v1
kind: TokenReview
spec: {token: of-nobody}
";
    let mut resources = vnf.render(&[], yaml).await;
    assert_eq!(resources.len(), 6);
    vnf.ensure(&mut resources).await;
    vnf.driver.await_ready(&vnf.scope, &resources, HASTY).await.unwrap();
    for resource in &resources {
        assert_eq!(resource.state, ResourceState::Present { uid: String::new(), owned: false });
        vnf.remove(resource).await;
    }
}

#[tokio::test]
async fn an_unserved_kind_is_retried() {
    let vnf = Vnf::new().await;
    let mut resource = vnf.render(&[], CONFIG_MAP).await.remove(0);
    resource.key.api_version = "example.test/v1".to_owned();
    resource.key.kind = "Gadget".to_owned();
    resource.info.plural = "gadgets".to_owned();
    resource.manifest.insert("apiVersion".to_owned(), "example.test/v1".into());
    resource.manifest.insert("kind".to_owned(), "Gadget".into());
    let error = vnf.driver.ensure(&vnf.scope, &resource).await.unwrap_err();
    assert_eq!(
        (error.kind, error.detail),
        (InfraErrorKind::Waiting, "the cluster does not serve example.test/v1 Gadget".to_owned())
    );
    for state in [ResourceState::Intent, ResourceState::Present { uid: "u".to_owned(), owned: true }] {
        vnf.remove(&Resource { state, ..resource.clone() }).await;
    }
}

#[tokio::test]
async fn discovery_omits_unserved_kinds() {
    let vnf = Vnf::new().await;
    let kind = |api_version: &str, kind: &str| (api_version.to_owned(), kind.to_owned());
    let asked = BTreeSet::from([
        kind("v1", "ConfigMap"),
        kind("v1", "Gadget"),
        kind("v9", "ConfigMap"),
        kind("apps/v1", "Deployment"),
        kind("apps/v1beta1", "Deployment"),
        kind("example.test/v1", "Gadget"),
        kind("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ]);
    let found = vnf.driver.discover(&vnf.scope.access, &asked).await.unwrap();
    let found: Vec<(&str, &str, bool)> =
        found.iter().map(|((_, kind), info)| (kind.as_str(), info.plural.as_str(), info.namespaced)).collect();
    assert_eq!(
        found,
        [
            ("Deployment", "deployments", true),
            ("ClusterRole", "clusterroles", false),
            ("ConfigMap", "configmaps", true)
        ]
    );
}
