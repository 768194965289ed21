//! Which pods, workloads and volumes VNF instances have: listed once, or watched as they change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use futures::try_join;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;

use super::client::Cluster;
use super::ready::has_ended;
use super::watch::{Event, Source, follow_as};
use crate::domain::namespace::Namespace;
use crate::domain::observation::{ObservedKind, ObservedObject, kinds_for, storages, vnfcs};
use crate::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, Observed, PodSnapshot, Scope, WatchEvent};

/// After this, a kind that could not be looked at is tried again: rights may have been granted.
const HIDDEN_PAUSE: Duration = Duration::from_secs(300);

/// The pods and volumes there are. Only kinds that the VNF can have are asked for, and not `pods` that are known: an API
/// server that is asked for a kind in which nothing happens first makes sure that nothing did, a tenth of a second.
pub(super) async fn observe(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    PodSnapshot(pods): PodSnapshot,
) -> Result<Observed, InfraError> {
    let is_claim = |resource: &Resource| resource.key.kind == "PersistentVolumeClaim";
    let told = resources.iter().filter(|resource| resource.vdu_id.is_some() || is_claim(resource));
    let kinds = kinds_for(told.map(|resource| resource.key.kind.as_str()));
    let list_exactly = async |kind| match kinds.contains(&kind) {
        true => list(cluster, scope, kind).await,
        false => Ok(Vec::new()),
    };
    // What stands between Deployments and their pods is not asked for if each pod's owners lead to the inventory anyway.
    let between = async {
        match &pods {
            Some(pods) if lead_to(resources, pods) => Ok(Vec::new()),
            _ => list_exactly(ObservedKind::ReplicaSet).await,
        }
    };
    let listed = async {
        match &pods {
            Some(pods) => Ok(pods.clone()),
            None => list_exactly(ObservedKind::Pod).await,
        }
    };
    let (pods, between, claims) = try_join!(listed, between, list_exactly(ObservedKind::Claim))?;
    let all = [pods, between, claims].concat();
    Ok(Observed { vnfcs: vnfcs(&all, resources), storages: storages(&all) })
}

/// The instance's objects of a kind.
async fn list(cluster: &Cluster, scope: &Scope, kind: ObservedKind) -> Result<Vec<ObservedObject>, InfraError> {
    let ours = ListParams::default().labels(&format!("{INSTANCE_LABEL}={}", scope.instance));
    match cluster.call(api(cluster, &scope.namespace, kind).list(&ours)).await {
        Ok(objects) => Ok(objects.iter().filter_map(|object| seen(object, kind)).collect()),
        // A VNF without volumes must not need this right.
        Err(failed) if failed.error.kind == InfraErrorKind::Denied && kind == ObservedKind::Claim => Ok(Vec::new()),
        Err(failed) => Err(failed.into()),
    }
}

/// Whether each living one of `pods` has an owner in the inventory, or is in it.
fn lead_to(inventory: &[Resource], pods: &[ObservedObject]) -> bool {
    let uids = inventory.iter().filter_map(|resource| match &resource.state {
        ResourceState::Present { uid, .. } => Some(uid),
        ResourceState::Planned | ResourceState::Intent => None,
    });
    let uids: HashSet<&String> = uids.collect();
    pods.iter().filter(|pod| pod.living).all(|pod| pod.owners.iter().chain([&pod.uid]).any(|uid| uids.contains(uid)))
}

/// The objects of `kind` in `namespace` that carry any VNF instance's label, and every change of what matters of them.
pub(super) fn watch(cluster: Arc<Cluster>, namespace: Namespace, kind: ObservedKind) -> BoxStream<'static, WatchEvent> {
    let begin = move || {
        let source = Source::lasting(api(&cluster, &namespace, kind), INSTANCE_LABEL);
        follow_as(Arc::clone(&cluster), source, move |object| seen(&object, kind))
    };
    let pause = Duration::ZERO;
    stream::unfold((begin, None, pause), |(begin, running, pause)| async move {
        let mut events = match running {
            Some(events) => events,
            None => {
                tokio::time::sleep(pause).await;
                begin()
            }
        };
        match events.next().await {
            Some(Ok(event)) => Some((sighting(event), (begin, Some(events), pause))),
            Some(Err(error)) => Some((Some(WatchEvent::Unavailable(error)), (begin, None, HIDDEN_PAUSE))),
            None => Some((None, (begin, None, HIDDEN_PAUSE))),
        }
    })
    .filter_map(std::future::ready)
    .boxed()
}

fn sighting(event: Event<Option<ObservedObject>>) -> Option<WatchEvent> {
    match event {
        Event::Listed(seen) => Some(WatchEvent::All(seen.into_iter().flatten().collect())),
        Event::Changed(seen) => seen.map(WatchEvent::Changed),
        Event::Gone(seen) => seen.map(WatchEvent::Gone),
    }
}

fn api(cluster: &Cluster, namespace: &Namespace, kind: ObservedKind) -> Api<DynamicObject> {
    match kind {
        ObservedKind::Pod => cluster.pods(namespace),
        ObservedKind::Deployment => cluster.builtin("apps/v1", "Deployment", "deployments", namespace),
        ObservedKind::ReplicaSet => cluster.builtin("apps/v1", "ReplicaSet", "replicasets", namespace),
        ObservedKind::StatefulSet => cluster.builtin("apps/v1", "StatefulSet", "statefulsets", namespace),
        ObservedKind::Claim => cluster.claims(namespace),
    }
}

/// What matters of an object; `None` if its label names no VNF instance.
pub(super) fn seen(object: &DynamicObject, kind: ObservedKind) -> Option<ObservedObject> {
    let replicas = object.data.pointer("/spec/replicas").and_then(Value::as_u64);
    Some(ObservedObject {
        instance: object.labels().get(INSTANCE_LABEL)?.parse().ok()?,
        kind,
        name: object.name_any(),
        uid: object.uid()?,
        owners: object.owner_references().iter().map(|owner| owner.uid.clone()).collect(),
        replicas: replicas.and_then(|replicas| replicas.try_into().ok()),
        living: object.metadata.deletion_timestamp.is_none() && !(kind == ObservedKind::Pod && has_ended(object)),
    })
}
