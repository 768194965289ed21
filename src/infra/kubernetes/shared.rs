//! Objects that others' objects live in or are made of: a Namespace, a CustomResourceDefinition. Kubernetes deletes these
//! along, so such an object of ours goes only if there are none.
//!
//! What has owners is whose they are: an operator marks what it makes of our objects with its owner, and not as ours. So an
//! owner excuses an object, but only if it was looked at itself.

use std::collections::{BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::apply::{is_namespace, is_ours};
use super::client::{AT_ONCE, Cluster, api_resource};
use super::discovery;
use super::ready::text;
use crate::domain::namespace::Namespace;
use crate::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, ObjectKey};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// Objects per page of a list.
const PAGE: u32 = 500;
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
        "not deleted, as objects of others depend on it, such as {}",
        shown.join(", ")
    );
    let unmarked = json!({ "metadata": { "uid": uid, "labels": { INSTANCE_LABEL: null, MANAGED_BY_LABEL: null } } });
    match cluster.call(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(unmarked))).await {
        Err(failed) if !matches!(failed.code, Some(404 | 409)) => Err(failed.into()),
        _ => Ok(false),
    }
}

/// What is in the namespace and neither ours nor Kubernetes' own: one of each kind. What we may not look at counts as well.
async fn occupants(cluster: &Cluster, scope: &Scope, namespace: &str) -> Result<Vec<String>, InfraError> {
    let home = Namespace::try_from(namespace.to_owned()).map_err(|error| InfraError::invalid(error.to_string()))?;
    let lives_there = |kind: &APIResource| {
        let able = |verb: &str| kind.verbs.iter().any(|it| it == verb);
        kind.namespaced && able("list") && able("delete") && !NOBODYS_KINDS.contains(&kind.kind.as_str())
    };
    let kinds = discovery::all(cluster).await?.into_iter().filter(|(_, kind)| lives_there(kind));
    let kinds: Vec<ApiResource> =
        kinds.map(|(api_version, kind)| api_resource(&api_version, kind.kind, kind.name)).collect();
    let listed = kinds.iter().map(|kind| (kind.group.clone(), kind.kind.clone())).collect();
    let look = Look { cluster, scope, home, listed };
    let look = &look;
    let found: Vec<Option<String>> = stream::iter(kinds)
        .map(async |kind| {
            let api = Api::namespaced_with(cluster.client.clone(), namespace, &kind);
            look.other(&kind, &api).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// One of the objects of the kind that the definition brings, that is not ours.
async fn instances(cluster: &Cluster, scope: &Scope, definition: &DynamicObject) -> Result<Vec<String>, InfraError> {
    let versions = definition.data.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let mut served = versions.filter(|version| version.get("served") == Some(&Value::Bool(true)));
    let Some(version) = served.find_map(|version| version.get("name")?.as_str()) else { return Ok(Vec::new()) };
    let names = |name: &str| text(definition, &format!("/spec/names/{name}")).to_owned();
    let api_version = format!("{}/{version}", text(definition, "/spec/group"));
    let kind = api_resource(&api_version, names("kind"), names("plural"));
    let look = Look { cluster, scope, home: scope.namespace.clone(), listed: HashSet::new() };
    Ok(look.other(&kind, &Api::all_with(cluster.client.clone(), &kind)).await?.into_iter().collect())
}

/// A look for others' objects.
struct Look<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    /// Where owners are looked at. Elsewhere none is ours.
    home: Namespace,
    /// Group and kind of what is listed there, so that owners of these kinds are met for themselves.
    listed: HashSet<(String, String)>,
}

impl Look<'_> {
    /// An object of the kind that is others'. One decides: the rest is not looked for.
    async fn other(&self, kind: &ApiResource, api: &Api<DynamicObject>) -> Result<Option<String>, InfraError> {
        let mut params =
            ListParams::default().labels(&format!("{INSTANCE_LABEL}!={}", self.scope.instance)).limit(PAGE);
        let mut excused = HashSet::new();
        loop {
            let list = match self.cluster.call(api.list_metadata(&params)).await {
                Ok(list) => list,
                Err(failed) if matches!(failed.code, Some(404 | 405)) => return Ok(None),
                Err(failed) if failed.code == Some(403) => {
                    return Ok(Some(format!("{} (not allowed to look)", kind.plural)));
                }
                Err(failed) => return Err(failed.into()),
            };
            let is_somebodys = |name: &str| !NOBODYS.contains(&(kind.kind.as_str(), name));
            for object in list.items.iter().filter(|object| is_somebodys(&object.name_any())) {
                if !self.goes_along(object, &mut excused).await? {
                    return Ok(Some(format!("{} {}", kind.kind, object.name_any())));
                }
            }
            params.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(None);
            }
        }
    }

    /// Whether the object goes with its owners: each is met for itself, or ours, or has owners that are, or is gone, as
    /// Kubernetes takes what that leaves. Owners of whom this is known are kept in `excused`, by uid.
    async fn goes_along(&self, object: &impl ResourceExt, excused: &mut HashSet<String>) -> Result<bool, InfraError> {
        let elsewhere = object.namespace().is_some_and(|namespace| namespace != self.home.as_str());
        let mut owners = object.owner_references().to_vec();
        if owners.is_empty() || elsewhere {
            return Ok(false);
        }
        while let Some(owner) = owners.pop() {
            let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
            if self.listed.contains(&(group.to_owned(), owner.kind.clone())) || !excused.insert(owner.uid.clone()) {
                continue;
            }
            let kind = (owner.api_version, owner.kind);
            let kinds = discovery::discover(self.cluster, &BTreeSet::from([kind.clone()])).await?;
            let Some(info) = kinds.get(&kind) else { return Ok(false) };
            let api = self.cluster.api(&kind.0, &kind.1, info, &self.home);
            let found = match self.cluster.find_metadata(&api, &owner.name).await {
                Err(error) if error.kind == InfraErrorKind::Denied => return Ok(false),
                found => found?.filter(|found| found.uid().as_ref() == Some(&owner.uid)),
            };
            let Some(found) = found.filter(|found| !is_ours(found, self.scope.instance)) else { continue };
            if found.owner_references().is_empty() {
                return Ok(false);
            }
            owners.extend_from_slice(found.owner_references());
        }
        Ok(true)
    }
}
