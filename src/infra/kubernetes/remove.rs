//! Removing objects by the inventory: what the uid says is ours, what descends from it, and the volumes claimed for it.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Preconditions};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::apply::{api, is_ours};
use super::client::{AT_ONCE, Cluster};
use super::ready::{has_ended, makes_pods};
use super::shared::{give_up, is_shared};
use super::watch::{Event, Source, follow, gone};
use crate::domain::order::{Class, class};
use crate::domain::plan::PodRef;
use crate::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// The object is gone, with its pods and the volumes claimed by its templates.
pub(super) async fn remove(
    cluster: &Cluster,
    scope: &Scope,
    resource: &Resource,
    grace: Option<Duration>,
    timeout: Duration,
) -> Result<(), InfraError> {
    let removal = Removal { cluster, scope, resource, deadline: Instant::now() + timeout };
    if resource.state == ResourceState::Planned {
        return removal.remove_abandoned_claims().await;
    }
    match removal.find().await? {
        Found::Doomed(uid) => removal.remove(&uid, grace).await?,
        Found::Nothing => {}
        // It keeps its volumes, too.
        Found::Others => return Ok(()),
    }
    // Even if it was gone already: this may be the second run, after a crash in between.
    removal.remove_claims(removal.claims().await?).await
}

/// The pods are gone.
pub(super) async fn delete_pods(
    cluster: &Cluster,
    scope: &Scope,
    pods: &[PodRef],
    timeout: Duration,
) -> Result<(), InfraError> {
    let deadline = Instant::now() + timeout;
    let api = cluster.pods(&scope.namespace);
    let named = pods.iter().map(|pod| (pod.name.as_str(), pod.uid.as_str()));
    delete_all(cluster, &api, named, &DeleteParams::default()).await?;
    let uids = pods.iter().map(|pod| pod.uid.clone()).collect();
    let left = gone(cluster, Source::labelled(api, &ours(scope)), &uids, deadline).await?;
    all_gone("Pod", scope, &left)
}

/// The pods of the workloads are gone, which have no replicas and so delete them. Who has ended by itself may stay: its
/// controller does not count it, and keeps it for people to look at.
pub(super) async fn end_pods(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    grace: Option<Duration>,
    timeout: Duration,
) -> Result<(), InfraError> {
    let begun = Instant::now();
    let (deadline, kill_at) = (begun + timeout, grace.map(|grace| begun + grace));
    let makers = makers(cluster, scope, resources).await?;
    let counts =
        |pod: &DynamicObject| !has_ended(pod) && pod.owner_references().iter().any(|owner| makers.contains(&owner.uid));
    let api = cluster.pods(&scope.namespace);
    let mut events = follow(cluster, Source::labelled(api.clone(), &ours(scope)));
    let (mut left, mut killed) = (None::<HashMap<String, DynamicObject>>, HashSet::new());
    loop {
        let killing = kill_at.is_some_and(|at| Instant::now() >= at);
        if left.as_ref().is_some_and(HashMap::is_empty) {
            return Ok(());
        }
        // Also those that are made only now, by a controller that has not heard yet.
        for (uid, pod) in left.iter().flatten().filter(|(uid, _)| killing && killed.insert((*uid).clone())) {
            delete(cluster, &api, &pod.name_any(), uid, DeleteParams::default().grace_period(0)).await?;
        }
        let until = kill_at.filter(|_| !killing).unwrap_or(deadline).min(deadline);
        match timeout_at(until, events.next()).await {
            Ok(Some(event)) => take(&mut left, event?, counts),
            Ok(None) => return Err(InfraError::transient("the watch of the pods has ended")),
            Err(_) if Instant::now() >= deadline => {
                let left: Vec<DynamicObject> = left.into_iter().flat_map(HashMap::into_values).collect();
                return all_gone("Pod", scope, &left);
            }
            // It is time to kill.
            Err(_) => {}
        }
    }
}

/// The uids of the workloads and of those between them and their pods.
async fn makers(cluster: &Cluster, scope: &Scope, resources: &[Resource]) -> Result<HashSet<String>, InfraError> {
    let uids = resources.iter().filter_map(|resource| match &resource.state {
        ResourceState::Present { uid, .. } => Some(uid.clone()),
        ResourceState::Planned | ResourceState::Intent => None,
    });
    let mut makers: HashSet<String> = uids.collect();
    if resources.iter().any(|resource| resource.key.kind == "Deployment") {
        let sets = cluster.builtin("apps/v1", "ReplicaSet", "replicasets", &scope.namespace);
        let sets = cluster.call(sets.list(&ListParams::default().labels(&ours(scope)))).await?;
        let theirs = sets.iter().filter(|set| set.owner_references().iter().any(|owner| makers.contains(&owner.uid)));
        let theirs: Vec<String> = theirs.filter_map(DynamicObject::uid).collect();
        makers.extend(theirs);
    }
    Ok(makers)
}

/// Keeps the pods that count, by uid; `None` until they were listed.
fn take(pods: &mut Option<HashMap<String, DynamicObject>>, event: Event, counts: impl Fn(&DynamicObject) -> bool) {
    match (event, pods) {
        (Event::Listed(all), pods) => {
            *pods = Some(all.into_iter().filter(counts).filter_map(|pod| Some((pod.uid()?, pod))).collect());
        }
        (Event::Changed(pod), Some(pods)) if counts(&pod) => {
            pods.insert(pod.uid().unwrap_or_default(), *pod);
        }
        (Event::Changed(pod) | Event::Gone(pod), Some(pods)) => {
            pods.remove(&pod.uid().unwrap_or_default());
        }
        (_, None) => {}
    }
}

struct Removal<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    resource: &'a Resource,
    deadline: Instant,
}

/// What there is of the name of an object that is to go.
enum Found {
    /// Our object, of this uid.
    Doomed(String),
    /// None.
    Nothing,
    /// One that is not ours, or not any more.
    Others,
}

impl Removal<'_> {
    async fn find(&self) -> Result<Found, InfraError> {
        let (cluster, scope, key, api) = (self.cluster, self.scope, &self.resource.key, self.api());
        let known = match &self.resource.state {
            ResourceState::Planned | ResourceState::Present { owned: false, .. } => return Ok(Found::Others),
            ResourceState::Present { uid, owned: true } => Some(uid),
            ResourceState::Intent => None,
        };
        let Some(found) = cluster.find_metadata(&api, &key.name).await? else { return Ok(Found::Nothing) };
        let uid = found.uid().unwrap_or_default();
        // Who took our mark off it, or made another in its place, has it.
        if !is_ours(&found, scope.instance) || known.is_some_and(|known| *known != uid) {
            return Ok(Found::Others);
        }
        if is_shared(key) && !give_up(cluster, scope, key, &api, &uid).await? {
            return Ok(Found::Others);
        }
        Ok(Found::Doomed(uid))
    }

    async fn remove(&self, uid: &str, grace: Option<Duration>) -> Result<(), InfraError> {
        let key = &self.resource.key;
        // With dependents, the object's end is to be the end of them all.
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
        let source = Source::named(self.api(), &self.resource.key.name);
        let left = gone(self.cluster, source, &HashSet::from([uid.to_owned()]), self.deadline).await?;
        all_gone(&self.resource.key.kind, self.scope, &left)
    }

    /// From `time` on, kills every pod that descends from the object: also those that are made only then, as a
    /// controller may replace a killed pod until it learns that it is to go itself. Ends only if it can't go on.
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
        let mut events = follow(self.cluster, Source::labelled(api.clone(), &ours(self.scope)));
        let mut killed = HashSet::new();
        loop {
            let pods = match events.next().await {
                Some(Ok(Event::Listed(pods))) => pods,
                Some(Ok(Event::Changed(pod))) => vec![*pod],
                Some(Ok(Event::Gone(_))) => continue,
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

    /// The uids of the object and of those between it and its pods.
    async fn ancestors(&self, uid: &str) -> Result<HashSet<String>, InfraError> {
        let (namespace, labelled) = (&self.scope.namespace, ListParams::default().labels(&ours(self.scope)));
        let (between, params) = match self.resource.key.kind.as_str() {
            "Deployment" => (self.cluster.builtin("apps/v1", "ReplicaSet", "replicasets", namespace), labelled),
            // The template of a CronJob's Jobs need not carry our label, only that of their pods does.
            "CronJob" => (self.cluster.builtin("batch/v1", "Job", "jobs", namespace), ListParams::default()),
            _ => return Ok(HashSet::from([uid.to_owned()])),
        };
        let objects = self.cluster.call(between.list(&params)).await?;
        let children =
            objects.items.into_iter().filter(|it| it.owner_references().iter().any(|owner| owner.uid == uid));
        Ok(children.filter_map(|child| child.uid()).chain([uid.to_owned()]).collect())
    }

    /// Deletes what a StatefulSet has left that was there before: it was deleted by somebody, and to be made anew, which was
    /// refused.
    async fn remove_abandoned_claims(&self) -> Result<(), InfraError> {
        let claims = match self.claims().await {
            // Where nothing was made, perhaps as nothing is allowed, there must be nothing in the way of giving up.
            Err(error) if error.kind == InfraErrorKind::Denied => {
                tracing::warn!(instance = %self.scope.instance, "claims of {} are not looked for: {error}", self.resource.key);
                return Ok(());
            }
            claims => claims?,
        };
        // A set of that name is another's, and its pods have got hold of these.
        if !claims.is_empty() && self.cluster.find_metadata(&self.api(), &self.resource.key.name).await?.is_some() {
            return Ok(());
        }
        self.remove_claims(claims).await
    }

    /// The claims that a StatefulSet made of its templates, which it leaves behind itself.
    async fn claims(&self) -> Result<Vec<DynamicObject>, InfraError> {
        let templates = claim_templates(self.resource);
        if templates.is_empty() {
            return Ok(Vec::new());
        }
        let made = |claim: &DynamicObject| is_made_of(&claim.name_any(), &templates, &self.resource.key.name);
        let api = self.cluster.claims(&self.scope.namespace);
        let list = self.cluster.call(api.list(&ListParams::default().labels(&ours(self.scope)))).await?;
        Ok(list.items.into_iter().filter(made).collect())
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
        let left = gone(self.cluster, Source::labelled(api, &ours(self.scope)), &uids, self.deadline).await?;
        all_gone("PersistentVolumeClaim", self.scope, &left)
    }

    fn api(&self) -> Api<DynamicObject> {
        api(self.cluster, self.scope, self.resource)
    }
}

/// Deletes the objects of these names and uids.
async fn delete_all<'a>(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    named: impl Iterator<Item = (&'a str, &'a str)>,
    params: &DeleteParams,
) -> Result<(), InfraError> {
    let delete = async |(name, uid)| delete(cluster, api, name, uid, params.clone()).await.map(drop);
    stream::iter(named.map(Ok)).try_for_each_concurrent(AT_ONCE, delete).await
}

/// Deletes the object with that uid and no other. Whether it is known to be gone already.
async fn delete(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    params: DeleteParams,
) -> Result<bool, InfraError> {
    let params = params.preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match cluster.call(api.delete(name, &params)).await {
        // A Status for an answer means that nothing is left; the object, that it is on its way out.
        Ok(answer) => Ok(answer.is_right()),
        Err(failed) if failed.code == Some(404) => Ok(true),
        // It has another uid: the one that is meant is gone, as waiting for it will find.
        Err(failed) if failed.code == Some(409) => Ok(false),
        Err(failed) => Err(failed.into()),
    }
}

fn all_gone(kind: &str, scope: &Scope, left: &[DynamicObject]) -> Result<(), InfraError> {
    if left.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = left.iter().map(why_still_there).collect();
    let text = format!("{kind} {} in namespace {} is not gone in time", names.join(", "), scope.namespace);
    Err(InfraError::not_ready(text))
}

fn why_still_there(object: &DynamicObject) -> String {
    match object.finalizers() {
        [] => object.name_any(),
        finalizers => format!("{} (waits for its finalizers {})", object.name_any(), finalizers.join(", ")),
    }
}

fn ours(scope: &Scope) -> String {
    format!("{INSTANCE_LABEL}={}", scope.instance)
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
    fn a_claim_is_known_by_template_set_and_ordinal() {
        let made = |claim| is_made_of(claim, &["data", "log"], "db");
        assert!(made("data-db-0") && made("log-db-12"));
        assert!(
            !made("data-db") && !made("data-db-") && !made("data-db-x") && !made("data-db2-0") && !made("tmp-db-0")
        );
    }
}
