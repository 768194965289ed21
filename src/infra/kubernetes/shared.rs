//! Objects that others' objects live in or are made of: a Namespace, a CustomResourceDefinition. Kubernetes deletes these
//! along, so such an object of ours goes only if there are none.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::apply::{is_namespace, is_ours};
use super::client::{AT_ONCE, Cluster, api_resource};
use super::discovery;
use super::ready::text;
use crate::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, ObjectKey};
use crate::infra::{InfraError, Scope};

/// Kinds that Kubernetes itself keeps in every namespace, for others' objects.
const NOBODYS_KINDS: [&str; 5] = ["Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision"];
/// Objects that Kubernetes itself makes in every namespace.
const NOBODYS: [(&str, &str); 2] = [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")];

/// Whether others' objects may depend on it being there.
pub(super) fn is_shared(key: &ObjectKey) -> bool {
    is_namespace(key) || is_definition(key)
}

fn is_definition(key: &ObjectKey) -> bool {
    key.group() == "apiextensions.k8s.io" && key.kind == "CustomResourceDefinition"
}

/// Whether the object with that uid is to be deleted. If others' objects depend on it, it is left to them, without our
/// marks.
///
/// An object that is made between this look and the deletion is lost with it: Kubernetes has no condition for that.
pub(super) async fn give_up(
    cluster: &Cluster,
    scope: &Scope,
    key: &ObjectKey,
    api: &Api<DynamicObject>,
    uid: &str,
) -> Result<bool, InfraError> {
    let Some(found) = cluster.find(api, &key.name).await? else { return Ok(false) };
    // Without our marks it was left to others already.
    if found.metadata.uid.as_deref() != Some(uid) || !is_ours(&found, scope.instance) {
        return Ok(false);
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(true);
    }
    let others = match is_definition(key) {
        true => instances(cluster, scope, &found).await?,
        false => occupants(cluster, scope, &key.name).await?,
    };
    if others.is_empty() {
        return Ok(true);
    }
    let shown: Vec<&str> = others.iter().take(5).map(String::as_str).collect();
    tracing::warn!(
        object = %key,
        instance = %scope.instance,
        "not deleted, as {} objects of others depend on it, such as {}",
        others.len(),
        shown.join(", ")
    );
    let unmarked = json!({ "metadata": { "uid": uid, "labels": { INSTANCE_LABEL: null, MANAGED_BY_LABEL: null } } });
    match cluster.call(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(unmarked))).await {
        Err(failed) if !matches!(failed.code, Some(404 | 409)) => Err(failed.into()),
        _ => Ok(false),
    }
}

/// What is in the namespace and neither ours nor Kubernetes' own. What we may not look at counts as well.
async fn occupants(cluster: &Cluster, scope: &Scope, namespace: &str) -> Result<Vec<String>, InfraError> {
    let lives_there = |kind: &APIResource| {
        let able = |verb: &str| kind.verbs.iter().any(|it| it == verb);
        kind.namespaced && able("list") && able("delete") && !NOBODYS_KINDS.contains(&kind.kind.as_str())
    };
    let kinds = discovery::all(cluster).await?.into_iter().filter(|(_, kind)| lives_there(kind));
    let found: Vec<Vec<String>> = stream::iter(kinds)
        .map(async |(api_version, kind)| {
            let kind = api_resource(&api_version, kind.kind, kind.name);
            let api = Api::namespaced_with(cluster.client.clone(), namespace, &kind);
            others(cluster, scope, &kind, &api).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// The objects of the kind that the definition brings and that are not ours.
async fn instances(cluster: &Cluster, scope: &Scope, definition: &DynamicObject) -> Result<Vec<String>, InfraError> {
    let versions = definition.data.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let mut served = versions.filter(|version| version.get("served") == Some(&Value::Bool(true)));
    let Some(version) = served.find_map(|version| version.get("name")?.as_str()) else { return Ok(Vec::new()) };
    let names = |name: &str| text(definition, &format!("/spec/names/{name}")).to_owned();
    let api_version = format!("{}/{version}", text(definition, "/spec/group"));
    let kind = api_resource(&api_version, names("kind"), names("plural"));
    others(cluster, scope, &kind, &Api::all_with(cluster.client.clone(), &kind)).await
}

async fn others(
    cluster: &Cluster,
    scope: &Scope,
    kind: &ApiResource,
    api: &Api<DynamicObject>,
) -> Result<Vec<String>, InfraError> {
    let params = ListParams::default().labels(&format!("{INSTANCE_LABEL}!={}", scope.instance));
    let list = match cluster.call(api.list_metadata(&params)).await {
        Ok(list) => list,
        Err(failed) if matches!(failed.code, Some(404 | 405)) => return Ok(Vec::new()),
        Err(failed) if failed.code == Some(403) => return Ok(vec![format!("{} (not allowed to look)", kind.plural)]),
        Err(failed) => return Err(failed.into()),
    };
    let somebodys = list.items.iter().filter(|object| {
        let name = object.name_any();
        object.meta().owner_references.is_none() && !NOBODYS.contains(&(kind.kind.as_str(), name.as_str()))
    });
    Ok(somebodys.map(|object| format!("{} {}", kind.kind, object.name_any())).collect())
}
