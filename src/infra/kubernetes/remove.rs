//! Removes an object by its inventory row: the object with the uid of the row, what descends from it, and the volumes claimed for it.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{Either, select};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use tokio::time::{Instant, sleep_until};

use super::apply::api;
use super::client::Cluster;
use super::delete::{check_deleted, delete, delete_all};
use super::ownership::{instance_selector, is_owned, is_shared, refuse_superseded};
use super::readiness::rules::makes_pods;
use super::shared_objects::may_delete;
use super::watch::{ListWatch, ObjectEvent, follow, wait_until_deleted};
use crate::domain::order::{Class, class};
use crate::domain::resource::{Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, Removal, Scope};

/// Removes the object with its pods and the volumes claimed by its templates: [`crate::infra::Driver::remove`].
pub(super) async fn remove(
    cluster: &Cluster,
    scope: &Scope,
    resource: &Resource,
    grace: Option<Duration>,
    timeout: Duration,
) -> Result<Removal, InfraError> {
    let target = RemovalTarget { cluster, scope, resource, deadline: Instant::now() + timeout };
    match &resource.state {
        ResourceState::Planned => {
            target.remove_abandoned_claims().await?;
            return Ok(Removal::Removed);
        }
        ResourceState::Present { owned: false, .. } => return Ok(Removal::Removed),
        ResourceState::Intent | ResourceState::Present { .. } => {}
    }
    match target.find().await? {
        Found::Ours(uid) => target.remove(&uid, grace).await?,
        Found::Nothing => {}
        // A foreign object keeps its volumes, too.
        Found::Foreign => return Ok(left(&resource.state)),
    }
    // Even if the object was gone already: a crash may have interrupted the first run here.
    target.remove_claims(target.claims().await?).await?;
    Ok(Removal::Removed)
}

/// A foreign object is one that was ours only if we know that we made it.
fn left(state: &ResourceState) -> Removal {
    if matches!(state, ResourceState::Present { .. }) { Removal::Left } else { Removal::Removed }
}

struct RemovalTarget<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    resource: &'a Resource,
    deadline: Instant,
}

/// The object that has the name in the row.
enum Found {
    /// Our object, of this uid.
    Ours(String),
    /// There is no such object.
    Nothing,
    /// An object that is not ours, or not any more.
    Foreign,
}

impl RemovalTarget<'_> {
    /// Our label decides, not the uid: a backup tool or `kubectl replace --force` makes our object again with another uid.
    async fn find(&self) -> Result<Found, InfraError> {
        let (cluster, scope, key, api) = (self.cluster, self.scope, &self.resource.key, self.api());
        let Some(found) = cluster.find_metadata(&api, &key.name).await? else { return Ok(Found::Nothing) };
        let uid = found.uid().unwrap_or_default();
        // Somebody took our label off it, or made another object in its place: it is theirs now.
        if !is_owned(&found, scope.instance) {
            return Ok(Found::Foreign);
        }
        refuse_superseded(scope, key, &found)?;
        if is_shared(key) && !may_delete(cluster, scope, key, &api, &uid).await? {
            return Ok(Found::Foreign);
        }
        Ok(Found::Ours(uid))
    }

    async fn remove(&self, uid: &str, grace: Option<Duration>) -> Result<(), InfraError> {
        let key = &self.resource.key;
        // In the foreground, the object is gone only after all its dependents.
        let params = match class(key) {
            Class::Workload | Class::Custom if key.kind != "Pod" => DeleteParams::foreground(),
            _ => DeleteParams::background(),
        };
        if delete(self.cluster, &self.api(), &key.name, uid, params).await? {
            return Ok(());
        }
        let has_pods = makes_pods(key) || key.kind == "Pod";
        let Some(grace) = grace.filter(|_| has_pods) else { return self.wait(uid).await };
        match select(pin!(self.wait(uid)), pin!(self.kill(uid, Instant::now() + grace))).await {
            Either::Left((result, _)) => result,
            Either::Right((error, waiting)) => {
                tracing::warn!(namespace = %self.scope.namespace, "the pods of {key} cannot be killed: {error}");
                waiting.await
            }
        }
    }

    async fn wait(&self, uid: &str) -> Result<(), InfraError> {
        let target = ListWatch::by_name(self.api(), self.scope, &self.resource.key.name);
        let left = wait_until_deleted(self.cluster, target, &HashSet::from([uid.to_owned()]), self.deadline).await?;
        check_deleted(&self.resource.key.kind, self.scope, &left)
    }

    /// From `time` on, kills every pod that descends from the object, including new ones: a controller replaces killed pods until it
    /// learns that it is being deleted itself. Returns only on an error.
    async fn kill(&self, uid: &str, time: Instant) -> InfraError {
        sleep_until(time).await;
        let ancestors = match self.ancestors(uid).await {
            Ok(ancestors) => ancestors,
            Err(error) => return error,
        };
        let descends = |pod: &DynamicObject| {
            pod.metadata.uid.as_deref() == Some(uid)
                || pod.owner_references().iter().any(|it| ancestors.contains(&it.uid))
        };
        let api = self.cluster.pods(&self.scope.namespace);
        let mut events = follow(self.cluster, ListWatch::of_instance(api.clone(), self.scope));
        let mut killed = HashSet::new();
        loop {
            let pods = match events.next().await {
                Some(Ok(ObjectEvent::Listed(pods))) => pods,
                Some(Ok(ObjectEvent::Changed(pod))) => vec![*pod],
                Some(Ok(ObjectEvent::Deleted(_))) => continue,
                Some(Err(error)) => return error,
                None => return InfraError::transient("the watch of the pods has ended"),
            };
            for pod in pods.iter().filter(|pod| descends(pod)) {
                let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
                let params = DeleteParams::default().grace_period(0);
                if killed.insert(uid.clone())
                    && let Err(error) = delete(self.cluster, &api, &name, &uid, params).await
                {
                    return error;
                }
            }
        }
    }

    /// The uids of the object, and of the objects between it and its pods.
    async fn ancestors(&self, uid: &str) -> Result<HashSet<String>, InfraError> {
        let (namespace, labelled) =
            (&self.scope.namespace, ListParams::default().labels(&instance_selector(self.scope.instance)));
        let (between, params) = match self.resource.key.kind.as_str() {
            "Deployment" => (self.cluster.builtin("apps/v1", "ReplicaSet", "replicasets", namespace), labelled),
            // The Jobs of a CronJob need not carry our label; only their pods do.
            "CronJob" => (self.cluster.builtin("batch/v1", "Job", "jobs", namespace), ListParams::default()),
            _ => return Ok(HashSet::from([uid.to_owned()])),
        };
        let objects = self.cluster.list_all(&between, &params).await?;
        let children = objects.into_iter().filter(|it| it.owner_references().iter().any(|owner| owner.uid == uid));
        Ok(children.filter_map(|child| child.uid()).chain([uid.to_owned()]).collect())
    }

    /// Deletes the claims that an earlier StatefulSet left: somebody deleted the set, and the cluster refused to make it again.
    async fn remove_abandoned_claims(&self) -> Result<(), InfraError> {
        let claims = match self.claims().await {
            // Nothing was made, perhaps because the credential may do nothing: that must not block the rollback.
            Err(error) if error.kind == InfraErrorKind::Denied => {
                tracing::warn!(instance = %self.scope.instance, "claims of {} are not removed: {error}", self.resource.key);
                return Ok(());
            }
            claims => claims?,
        };
        // A set of that name belongs to somebody else, whose pods use these claims now.
        if !claims.is_empty() && self.cluster.find_metadata(&self.api(), &self.resource.key.name).await?.is_some() {
            return Ok(());
        }
        self.remove_claims(claims).await
    }

    /// The claims that a StatefulSet made from its templates. Kubernetes does not delete them with it.
    async fn claims(&self) -> Result<Vec<DynamicObject>, InfraError> {
        let templates = claim_templates(self.resource);
        if templates.is_empty() {
            return Ok(Vec::new());
        }
        let is_from_template =
            |claim: &DynamicObject| is_made_of(&claim.name_any(), &templates, &self.resource.key.name);
        let api = self.cluster.claims(&self.scope.namespace);
        let list =
            self.cluster.list_all(&api, &ListParams::default().labels(&instance_selector(self.scope.instance))).await?;
        Ok(list.into_iter().filter(is_from_template).collect())
    }

    async fn remove_claims(&self, claims: Vec<DynamicObject>) -> Result<(), InfraError> {
        let uids: HashSet<String> = claims.iter().filter_map(DynamicObject::uid).collect();
        if uids.is_empty() {
            return Ok(());
        }
        let api = self.cluster.claims(&self.scope.namespace);
        let named =
            claims.iter().filter_map(|claim| Some((claim.metadata.name.as_deref()?, claim.metadata.uid.as_deref()?)));
        delete_all(self.cluster, &api, named, &DeleteParams::background()).await?;
        let target = ListWatch::of_instance(api, self.scope);
        let left = wait_until_deleted(self.cluster, target, &uids, self.deadline).await?;
        check_deleted("PersistentVolumeClaim", self.scope, &left)
    }

    fn api(&self) -> Api<DynamicObject> {
        api(self.cluster, self.scope, self.resource)
    }
}

/// The names of a StatefulSet's claim templates.
fn claim_templates(resource: &Resource) -> Vec<&str> {
    let spec = resource.manifest.get("spec").filter(|_| resource.key.kind == "StatefulSet");
    let templates = spec.and_then(|spec| spec.get("volumeClaimTemplates")?.as_array()).into_iter().flatten();
    templates.filter_map(|template| template.pointer("/metadata/name")?.as_str()).collect()
}

/// Whether a claim has the name `<template>-<StatefulSet>-<ordinal>`.
fn is_made_of(claim: &str, templates: &[&str], set: &str) -> bool {
    let ordinal =
        templates.iter().find_map(|it| claim.strip_prefix(it)?.strip_prefix('-')?.strip_prefix(set)?.strip_prefix('-'));
    ordinal.is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_claims_by_template_set_and_ordinal() {
        let made = |claim| is_made_of(claim, &["data", "log"], "db");
        assert!(made("data-db-0") && made("log-db-12"));
        assert!(
            !made("data-db") && !made("data-db-") && !made("data-db-x") && !made("data-db2-0") && !made("tmp-db-0")
        );
    }
}
