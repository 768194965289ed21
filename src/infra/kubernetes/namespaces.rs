//! Makes, marks and deletes Namespaces of projects, and the objects in them: [`NamespaceKeeper`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use super::KubernetesDriver;
use super::call_error::CallError;
use super::client::Cluster;
use super::observe::LONGEST_UID;
use crate::domain::namespace::Namespace;
use crate::domain::project_namespace::{FoundNamespace, NamespaceObject};
use crate::domain::resource::{KindInfo, MANAGED_BY, MANAGED_BY_LABEL};
use crate::domain::vim::VimAccess;
use crate::infra::{InfraError, InfraErrorKind, NamespaceKeeper, NamespaceMarks};

/// The field manager of the objects. Fields of others are never taken over.
const MANAGER: &str = "gybe-projects";

#[async_trait]
impl NamespaceKeeper for KubernetesDriver {
    async fn find(&self, access: &VimAccess, name: &Namespace) -> Result<Option<FoundNamespace>, InfraError> {
        let Some(found) = self.clients.get(access)?.namespace(name).await? else { return Ok(None) };
        observed(found.metadata).map(Some)
    }

    async fn make(
        &self,
        access: &VimAccess,
        name: &Namespace,
        marks: &NamespaceMarks,
    ) -> Result<Option<FoundNamespace>, InfraError> {
        let cluster = self.clients.get(access)?;
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": name, "labels": marks.labels, "annotations": marks.annotations } });
        let object: DynamicObject = serde_json::from_value(object)
            .map_err(|error| InfraError::invalid(format!("the Namespace is not a Kubernetes object: {error}")))?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match cluster.call(namespaces(&cluster, name).create(&params, &object)).await {
            Ok(made) => observed(made.metadata).map(Some),
            Err(failed) if failed.code == Some(409) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn mark(
        &self,
        access: &VimAccess,
        name: &Namespace,
        found: &FoundNamespace,
        marks: &NamespaceMarks,
    ) -> Result<bool, InfraError> {
        let cluster = self.clients.get(access)?;
        // With its version and uid, so that nobody has changed or replaced it since it was looked at.
        let patch = json!({ "metadata": {
            "uid": found.uid, "resourceVersion": found.resource_version,
            "labels": marks.labels, "annotations": marks.annotations } });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = namespaces(&cluster, name);
        match cluster.call(api.patch_metadata(name.as_str(), &params, &Patch::Merge(patch))).await {
            Ok(_) => Ok(true),
            Err(failed) if matches!(failed.code, Some(404 | 409)) => Ok(false),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn apply(
        &self,
        access: &VimAccess,
        name: &Namespace,
        object: NamespaceObject,
        manifest: &Value,
    ) -> Result<(), InfraError> {
        let cluster = self.clients.get(access)?;
        let api = objects(&cluster, name, object);
        let params = PatchParams::apply(MANAGER);
        cluster.call(api.patch(object.name, &params, &Patch::Apply(manifest))).await?;
        Ok(())
    }

    async fn remove(&self, access: &VimAccess, name: &Namespace, object: NamespaceObject) -> Result<(), InfraError> {
        let cluster = self.clients.get(access)?;
        let api = objects(&cluster, name, object);
        let Some(found) = cluster.find_metadata(&api, object.name).await? else { return Ok(()) };
        let labels = found.metadata.labels.unwrap_or_default();
        if labels.get(MANAGED_BY_LABEL).is_none_or(|manager| manager != MANAGED_BY) {
            return Ok(());
        }
        deleted(cluster.call(api.delete(object.name, &of_uid(found.metadata.uid))).await)
    }

    async fn delete(&self, access: &VimAccess, name: &Namespace, uid: &str) -> Result<(), InfraError> {
        let cluster = self.clients.get(access)?;
        let params = of_uid(Some(uid.to_owned()));
        deleted(cluster.call(namespaces(&cluster, name).delete(name.as_str(), &params)).await)
    }
}

/// The parameters to delete the object with this uid and no other one of its name.
fn of_uid(uid: Option<String>) -> DeleteParams {
    DeleteParams { preconditions: Some(Preconditions { uid, resource_version: None }), ..DeleteParams::default() }
}

/// An object that is gone, was replaced, or that Kubernetes is deleting already, needs no deletion.
fn deleted<T>(answer: Result<T, CallError>) -> Result<(), InfraError> {
    match answer {
        Ok(_) => Ok(()),
        Err(failed) if matches!(failed.code, Some(404 | 409)) => Ok(()),
        Err(failed) => Err(failed.into()),
    }
}

fn namespaces(cluster: &Cluster, name: &Namespace) -> Api<DynamicObject> {
    cluster.api("v1", "Namespace", &KindInfo { plural: "namespaces".to_owned(), namespaced: false }, name)
}

fn objects(cluster: &Cluster, name: &Namespace, object: NamespaceObject) -> Api<DynamicObject> {
    cluster.builtin(object.api_version, object.kind, object.plural, name)
}

fn observed(metadata: ObjectMeta) -> Result<FoundNamespace, InfraError> {
    let uid = metadata.uid.filter(|uid| !uid.is_empty() && uid.len() <= LONGEST_UID);
    let uid = uid.ok_or_else(|| {
        InfraError::new(InfraErrorKind::Invalid, "the API server gives the Namespace no uid, or a long one")
    })?;
    Ok(FoundNamespace {
        uid,
        resource_version: metadata.resource_version.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
        is_terminating: metadata.deletion_timestamp.is_some(),
    })
}
