//! Whether a Namespace that we made may go: only with nobody else's objects in it.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::{Discovery, Scope as KindScope, verbs};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::apply::is_ours;
use super::client::Cluster;
use crate::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL};
use crate::infra::{InfraError, Scope};

/// So many lists at a time.
const AT_ONCE: usize = 8;
/// Kinds that Kubernetes itself keeps in every namespace, for others' objects.
const NOBODYS_KINDS: [&str; 5] = ["Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision"];
/// Objects that Kubernetes itself makes in every namespace.
const NOBODYS: [(&str, &str); 2] = [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")];

/// Whether the Namespace is to be deleted. If others' objects are in it, it is left to them, without our marks.
///
/// An object that is made in it between this look and the deletion is lost with it: Kubernetes has no condition for that.
pub(super) async fn give_up(
    cluster: &Cluster,
    scope: &Scope,
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
) -> Result<bool, InfraError> {
    let Some(found) = cluster.call(api.get_opt(name)).await? else { return Ok(false) };
    // Without our marks it was left to others already.
    if found.metadata.uid.as_deref() != Some(uid) || !is_ours(&found, scope.instance) {
        return Ok(false);
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(true);
    }
    let others = occupants(cluster, scope, name).await?;
    if others.is_empty() {
        return Ok(true);
    }
    let shown: Vec<&str> = others.iter().take(5).map(String::as_str).collect();
    tracing::warn!(
        namespace = name,
        "not deleted, as {} objects of others are in it, such as {}",
        others.len(),
        shown.join(", ")
    );
    let unmarked = json!({ "metadata": { "uid": uid, "labels": { INSTANCE_LABEL: null, MANAGED_BY_LABEL: null } } });
    match cluster.call(api.patch(name, &PatchParams::default(), &Patch::Merge(unmarked))).await {
        Err(failed) if !matches!(failed.code, Some(404 | 409)) => Err(failed.into()),
        _ => Ok(false),
    }
}

/// What is in the namespace and neither ours nor Kubernetes' own. What we may not look at counts as well.
async fn occupants(cluster: &Cluster, scope: &Scope, namespace: &str) -> Result<Vec<String>, InfraError> {
    let discovery = cluster.call(Discovery::new(cluster.client.clone()).run()).await?;
    let kinds: Vec<ApiResource> = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(kind, able)| {
            able.scope == KindScope::Namespaced
                && [verbs::LIST, verbs::DELETE].iter().all(|verb| able.supports_operation(verb))
                && !NOBODYS_KINDS.contains(&kind.kind.as_str())
        })
        .map(|(kind, _)| kind)
        .collect();
    let others = ListParams::default().labels(&format!("{INSTANCE_LABEL}!={}", scope.instance));
    let found: Vec<Vec<String>> = stream::iter(kinds)
        .map(|kind| occupants_of(cluster, namespace, kind, &others))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

async fn occupants_of(
    cluster: &Cluster,
    namespace: &str,
    kind: ApiResource,
    others: &ListParams,
) -> Result<Vec<String>, InfraError> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &kind);
    let list = match cluster.call(api.list_metadata(others)).await {
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
