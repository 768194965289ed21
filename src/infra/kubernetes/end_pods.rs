//! Ends pods: single ones, and all pods of workloads that are scaled to 0.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use tokio::time::{Instant, timeout_at};

use super::client::Cluster;
use super::delete::{check_deleted, delete, delete_all};
use super::fields::number;
use super::ownership::instance_selector;
use super::readiness::pods::has_ended;
use super::watch::{ListWatch, ObjectEvent, follow, wait_until_deleted};
use crate::domain::plan::PodRef;
use crate::domain::resource::{Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// How long to wait for controllers to see that their workloads have no replicas. After that the pods end all the same: a
/// controller that is down must not keep them alive.
const CONTROLLER_TIME: Duration = Duration::from_secs(5);

/// Deletes the pods and waits until they are gone: [`crate::infra::Driver::delete_pods`].
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
    let left = wait_until_deleted(cluster, ListWatch::of_instance(api, scope), &uids, deadline).await?;
    check_deleted("Pod", scope, &left)
}

/// Waits until the workloads, which have no replicas, have deleted their pods: [`crate::infra::Driver::end_pods`]. A pod that has ended
/// by itself may stay: its controller keeps it for people to look at.
pub(super) async fn end_pods(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    grace: Option<Duration>,
    timeout: Duration,
) -> Result<(), InfraError> {
    let start = Instant::now();
    let (deadline, kill_at) = (start + timeout, grace.map(|grace| start + grace));
    let soon = deadline.min(start + CONTROLLER_TIME);
    let mut have_seen = wait_for_controllers(cluster, scope, resources, soon).await?;
    let owners = owner_uids(cluster, scope, resources).await?;
    let counts =
        |pod: &DynamicObject| !has_ended(pod) && pod.owner_references().iter().any(|owner| owners.contains(&owner.uid));
    let api = cluster.pods(&scope.namespace);
    let mut events = follow(cluster, ListWatch::of_instance(api.clone(), scope));
    let (mut left, mut killed) = (None::<HashMap<String, DynamicObject>>, HashSet::new());
    loop {
        let is_past_grace = kill_at.is_some_and(|at| Instant::now() >= at);
        if left.as_ref().is_some_and(HashMap::is_empty) {
            if have_seen || Instant::now() >= deadline {
                return Ok(());
            }
            // A controller that has not seen the new replicas yet replaces the pods that have just ended: look again afterwards.
            have_seen = wait_for_controllers(cluster, scope, resources, deadline).await?;
            events = follow(cluster, ListWatch::of_instance(api.clone(), scope));
            left = None;
            continue;
        }
        // A controller that has not seen the new replicas yet may still make pods: kill these too.
        for (uid, pod) in left.iter().flatten().filter(|(uid, _)| is_past_grace && killed.insert((*uid).clone())) {
            delete(cluster, &api, &pod.name_any(), uid, DeleteParams::default().grace_period(0)).await?;
        }
        let until = kill_at.filter(|_| !is_past_grace).unwrap_or(deadline).min(deadline);
        match timeout_at(until, events.next()).await {
            Ok(Some(event)) => apply(&mut left, event?, counts),
            Ok(None) => return Err(InfraError::transient("the watch of the pods has ended")),
            Err(_) if Instant::now() >= deadline => {
                let left: Vec<DynamicObject> = left.into_iter().flat_map(HashMap::into_values).collect();
                return check_deleted("Pod", scope, &left);
            }
            // The grace is over: kill.
            Err(_) => {}
        }
    }
}

/// Waits until `until` for the controllers of the workloads to have seen that these have no replicas, and returns whether they have. A
/// controller that has not may still create a pod after the last one is gone.
async fn wait_for_controllers(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    until: Instant,
) -> Result<bool, InfraError> {
    let uids = workload_uids(resources);
    let has = |kind: &str| resources.iter().any(|resource| resource.key.kind == kind);
    // In the order in which the replicas are handed on.
    for (kind, plural, is_needed) in [
        ("Deployment", "deployments", has("Deployment")),
        ("ReplicaSet", "replicasets", has("Deployment") || has("ReplicaSet")),
        ("StatefulSet", "statefulsets", has("StatefulSet")),
    ] {
        if !is_needed {
            continue;
        }
        let api = cluster.builtin("apps/v1", kind, plural, &scope.namespace);
        let mut events = follow(cluster, ListWatch::of_instance(api, scope));
        let may_create_pods = |object: &DynamicObject| {
            let is_ours = object.uid().is_some_and(|uid| uids.contains(&uid))
                || object.owner_references().iter().any(|owner| uids.contains(&owner.uid));
            is_ours && !is_scaled_to_zero(object)
        };
        let mut left = None;
        while left.as_ref().is_none_or(|left: &HashMap<_, _>| !left.is_empty()) {
            match timeout_at(until, events.next()).await {
                Ok(Some(Ok(event))) => apply(&mut left, event, may_create_pods),
                // Without the right to look, the pods have to do.
                Ok(Some(Err(error))) if error.kind == InfraErrorKind::Denied => break,
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) | Err(_) => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// Whether the controller has seen that the workload has no replicas, and has no active pods of it.
fn is_scaled_to_zero(workload: &DynamicObject) -> bool {
    let observed = number(workload, "/status/observedGeneration");
    workload.metadata.generation.is_none_or(|generation| observed >= generation)
        && number(workload, "/spec/replicas") == 0
        && number(workload, "/status/replicas") == 0
}

fn workload_uids(resources: &[Resource]) -> HashSet<String> {
    let uids = resources.iter().filter_map(|resource| match &resource.state {
        ResourceState::Present { uid, .. } => Some(uid.clone()),
        ResourceState::Planned | ResourceState::Intent => None,
    });
    uids.collect()
}

/// The uids of the workloads, and of the ReplicaSets between them and their pods.
async fn owner_uids(cluster: &Cluster, scope: &Scope, resources: &[Resource]) -> Result<HashSet<String>, InfraError> {
    let mut owners = workload_uids(resources);
    if resources.iter().any(|resource| resource.key.kind == "Deployment") {
        let sets = cluster.builtin("apps/v1", "ReplicaSet", "replicasets", &scope.namespace);
        let sets = cluster.list_all(&sets, &ListParams::default().labels(&instance_selector(scope.instance))).await?;
        let theirs = sets.iter().filter(|set| set.owner_references().iter().any(|owner| owners.contains(&owner.uid)));
        let theirs: Vec<String> = theirs.filter_map(DynamicObject::uid).collect();
        owners.extend(theirs);
    }
    Ok(owners)
}

/// Applies an event to the objects that count, by uid; `None` until the first list.
fn apply(
    objects: &mut Option<HashMap<String, DynamicObject>>,
    event: ObjectEvent,
    counts: impl Fn(&DynamicObject) -> bool,
) {
    match (event, objects) {
        (ObjectEvent::Listed(all), objects) => {
            *objects =
                Some(all.into_iter().filter(counts).filter_map(|object| Some((object.uid()?, object))).collect());
        }
        (ObjectEvent::Changed(object), Some(objects)) if counts(&object) => {
            objects.insert(object.uid().unwrap_or_default(), *object);
        }
        (ObjectEvent::Changed(object) | ObjectEvent::Deleted(object), Some(objects)) => {
            objects.remove(&object.uid().unwrap_or_default());
        }
        (_, None) => {}
    }
}
