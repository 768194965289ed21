//! Decides whether a shared object of ours (a Namespace, a CustomResourceDefinition) may be deleted. Kubernetes deletes with it all
//! objects that live in it or are of its kind, so it is deleted only if no object of others is left.
//!
//! An object with owners belongs to them: an operator gives the objects that it makes from ours an owner, not our label. Such an object
//! is no obstacle, but only if its owner was checked itself.

use std::collections::{BTreeSet, HashSet};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::client::{Cluster, MAX_CONCURRENT_CALLS, MAX_PAGES, PAGE, api_resource};
use super::discovery::{self, AllKinds};
use super::fields::text;
use super::ownership::{is_definition, is_owned};
use crate::domain::namespace::Namespace;
use crate::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, ObjectKey};
use crate::domain::text::is_dns_label;
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// Kinds of objects that Kubernetes itself makes beside the objects of others.
const SYSTEM_KINDS: [&str; 5] = ["Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision"];
/// Objects that Kubernetes itself makes in every namespace.
const SYSTEM_OBJECTS: [(&str, &str); 2] = [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")];

/// Whether the object with that uid may be deleted. If objects of others depend on it, takes our labels off it and leaves it to them.
///
/// An object that somebody makes between this check and the deletion is lost: Kubernetes has no precondition against that.
pub(super) async fn may_delete(
    cluster: &Cluster,
    scope: &Scope,
    key: &ObjectKey,
    api: &Api<DynamicObject>,
    uid: &str,
) -> Result<bool, InfraError> {
    let Some(found) = cluster.find(api, &key.name).await? else { return Ok(false) };
    // Without our label, it was left to others before.
    if found.metadata.uid.as_deref() != Some(uid) || !is_owned(&found, scope.instance) {
        return Ok(false);
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(true);
    }
    let others = match is_definition(key) {
        true => foreign_instances(cluster, scope, &found).await?,
        false => foreign_occupants(cluster, scope, &key.name).await?,
    };
    if others.is_empty() {
        return Ok(true);
    }
    let shown: Vec<&str> = others.iter().take(5).map(String::as_str).collect();
    tracing::warn!(
        object = %key,
        instance = %scope.instance,
        "not deleted: objects of others depend on it, such as {}",
        shown.join(", ")
    );
    let unmarked = json!({ "metadata": { "uid": uid, "labels": { INSTANCE_LABEL: null, MANAGED_BY_LABEL: null } } });
    match cluster.call(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(unmarked))).await {
        Err(failed) if !matches!(failed.code, Some(404 | 409)) => Err(failed.into()),
        _ => Ok(false),
    }
}

/// One object of each kind in the namespace that is neither ours nor made by Kubernetes. A kind that we may not list counts too, and
/// an API that does not answer: it may have objects of others.
async fn foreign_occupants(cluster: &Cluster, scope: &Scope, namespace: &str) -> Result<Vec<String>, InfraError> {
    let home = Namespace::try_from(namespace.to_owned()).map_err(|error| InfraError::invalid(error.to_string()))?;
    let is_relevant = |kind: &APIResource| {
        let supports = |verb: &str| kind.verbs.iter().any(|it| it == verb);
        kind.namespaced && supports("list") && supports("delete") && !SYSTEM_KINDS.contains(&kind.kind.as_str())
    };
    let AllKinds { kinds, silent } = discovery::all_kinds(cluster).await?;
    let kinds = kinds.into_iter().filter(|(_, kind)| is_relevant(kind));
    let kinds: Vec<ApiResource> =
        kinds.map(|(api_version, kind)| api_resource(&api_version, kind.kind, kind.name)).collect();
    let listed = kinds.iter().map(|kind| (kind.group.clone(), kind.kind.clone())).collect();
    let search = &ForeignSearch { cluster, scope, home, listed };
    let found: Vec<Option<String>> = stream::iter(kinds)
        .map(async |kind| {
            let api = Api::namespaced_with(cluster.client.clone(), namespace, &kind);
            search.find(&kind, &api).await
        })
        .buffer_unordered(MAX_CONCURRENT_CALLS)
        .try_collect()
        .await?;
    let silent = silent.into_iter().map(|version| format!("those of {version} (its API server does not answer)"));
    Ok(found.into_iter().flatten().chain(silent).collect())
}

/// One object of the kind that the definition defines and that is not ours.
async fn foreign_instances(
    cluster: &Cluster,
    scope: &Scope,
    definition: &DynamicObject,
) -> Result<Vec<String>, InfraError> {
    let versions = definition.data.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let mut served = versions.filter(|version| version.get("served") == Some(&Value::Bool(true)));
    let Some(version) = served.find_map(|version| version.get("name")?.as_str()) else { return Ok(Vec::new()) };
    let names = |name: &str| text(definition, &format!("/spec/names/{name}")).to_owned();
    let group = text(definition, "/spec/group");
    // They become parts of a URL.
    if !group.split('.').chain([version, text(definition, "/spec/names/plural")]).all(is_dns_label) {
        return Err(InfraError::invalid(format!(
            "the group, version or plural of {} is no DNS label",
            definition.name_any()
        )));
    }
    let api_version = format!("{group}/{version}");
    let kind = api_resource(&api_version, names("kind"), names("plural"));
    let search = ForeignSearch { cluster, scope, home: scope.namespace.clone(), listed: HashSet::new() };
    Ok(search.find(&kind, &Api::all_with(cluster.client.clone(), &kind)).await?.into_iter().collect())
}

/// A search for objects of others.
struct ForeignSearch<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    /// The namespace in which owners are checked. In any other namespace no owner is ours.
    home: Namespace,
    /// Group and kind of the objects that the search lists anyway: owners of these kinds need no check of their own.
    listed: HashSet<(String, String)>,
}

impl ForeignSearch<'_> {
    /// The first object of the kind that belongs to others.
    async fn find(&self, kind: &ApiResource, api: &Api<DynamicObject>) -> Result<Option<String>, InfraError> {
        let mut params =
            ListParams::default().labels(&format!("{INSTANCE_LABEL}!={}", self.scope.instance)).limit(PAGE);
        let mut checked = HashSet::new();
        for _ in 0..MAX_PAGES {
            let list = match self.cluster.call(api.list_metadata(&params)).await {
                Ok(list) => list,
                Err(failed) if matches!(failed.code, Some(404 | 405)) => return Ok(None),
                Err(failed) if failed.code == Some(403) => {
                    return Ok(Some(format!("{} (not allowed to list)", kind.plural)));
                }
                Err(failed) => return Err(failed.into()),
            };
            let is_foreign = |name: &str| !SYSTEM_OBJECTS.contains(&(kind.kind.as_str(), name));
            for object in list.items.iter().filter(|object| is_foreign(&object.name_any())) {
                if !self.belongs_to_owners(object, &mut checked).await? {
                    return Ok(Some(format!("{} {}", kind.kind, object.name_any())));
                }
            }
            params.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(format!("{} (a list that does not end)", kind.plural)))
    }

    /// Whether the object is no obstacle because of its owners. Each owner must be listed by the search itself, or be ours, or have
    /// such owners, or be gone (Kubernetes then collects the object). `checked` keeps the uids of owners that passed.
    async fn belongs_to_owners(
        &self,
        object: &impl ResourceExt,
        checked: &mut HashSet<String>,
    ) -> Result<bool, InfraError> {
        let elsewhere = object.namespace().is_some_and(|namespace| namespace != self.home.as_str());
        let mut owners = object.owner_references().to_vec();
        if owners.is_empty() || elsewhere {
            return Ok(false);
        }
        while let Some(owner) = owners.pop() {
            let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
            if self.listed.contains(&(group.to_owned(), owner.kind.clone())) || !checked.insert(owner.uid.clone()) {
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
            let Some(found) = found.filter(|found| !is_owned(found, self.scope.instance)) else { continue };
            if found.owner_references().is_empty() {
                return Ok(false);
            }
            owners.extend_from_slice(found.owner_references());
        }
        Ok(true)
    }
}
