//! Reads the pods, workloads and volumes of VNF instances: once, or by watches.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use futures::try_join;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;

use super::client::Cluster;
use super::ownership::instance_selector;
use super::readiness::pods::has_ended;
use super::watch::{ListWatch, ObjectEvent, follow_as};
use crate::domain::ids::ProjectId;
use crate::domain::namespace::Namespace;
use crate::domain::observation::{ObservedKind, ObservedObject, kinds_for, storages, vnfcs};
use crate::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, ObservedResources, PodSnapshot, Scope, WatchEvent};

/// How long to wait before watching a denied kind again; somebody may have granted the right meanwhile.
const DENIED_PAUSE: Duration = Duration::from_secs(300);

/// The longest name and uid of an object in Kubernetes.
const LONGEST_NAME: usize = 253;
pub(super) const LONGEST_UID: usize = 128;

/// As [`DENIED_PAUSE`], after the credential was refused. When it is replaced, the view begins another watch.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Reads the pods and volumes of the instance. Lists only kinds that the VNF can have, and reuses the pods of the snapshot. A list
/// of a kind without recent changes costs a tenth of a second, because the API server asks etcd first.
pub(super) async fn observe(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
    PodSnapshot(pods): PodSnapshot,
) -> Result<ObservedResources, InfraError> {
    let is_claim = |resource: &Resource| resource.key.kind == "PersistentVolumeClaim";
    let observed = resources.iter().filter(|resource| resource.vdu_id.is_some() || is_claim(resource));
    let kinds = kinds_for(observed.map(|resource| resource.key.kind.as_str()));
    let list_if_needed = async |kind| match kinds.contains(&kind) {
        true => list(cluster, scope, kind).await,
        false => Ok(Vec::new()),
    };
    // The ReplicaSets between Deployments and pods are not needed if the owners of each pod are in the inventory.
    let replica_sets = async {
        match &pods {
            Some(pods) if all_owned_by(resources, pods) => Ok(Vec::new()),
            _ => list_if_needed(ObservedKind::ReplicaSet).await,
        }
    };
    let listed = async {
        match &pods {
            Some(pods) => Ok(pods.clone()),
            None => list_if_needed(ObservedKind::Pod).await,
        }
    };
    let (pods, replica_sets, claims) = try_join!(listed, replica_sets, list_if_needed(ObservedKind::Claim))?;
    let all = [pods, replica_sets, claims].concat();
    Ok(ObservedResources { vnfcs: vnfcs(&all, resources), storages: storages(&all) })
}

/// Whether the cluster has at least one of these objects, by its uid.
pub(super) async fn has_any(cluster: &Cluster, scope: &Scope, resources: &[Resource]) -> Result<bool, InfraError> {
    for resource in resources {
        let ResourceState::Present { uid, .. } = &resource.state else { continue };
        let api = super::apply::api(cluster, scope, resource);
        let found = cluster.find_metadata(&api, &resource.key.name).await?;
        if found.is_some_and(|found| found.metadata.uid.as_ref() == Some(uid)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists the objects of a kind of the instance.
async fn list(cluster: &Cluster, scope: &Scope, kind: ObservedKind) -> Result<Vec<ObservedObject>, InfraError> {
    let params = ListParams::default().labels(&instance_selector(scope.instance));
    match cluster.list_all(&api(cluster, &scope.namespace, kind), &params).await {
        Ok(objects) => Ok(objects.iter().filter_map(|object| observed_object(object, kind)).collect()),
        // A VNF without volumes works without the right to list claims.
        Err(failed) if failed.error.kind == InfraErrorKind::Denied && kind == ObservedKind::Claim => Ok(Vec::new()),
        Err(failed) => Err(failed.into()),
    }
}

/// Whether each active pod is in the inventory, or has an owner there.
fn all_owned_by(inventory: &[Resource], pods: &[ObservedObject]) -> bool {
    let uids = inventory.iter().filter_map(|resource| match &resource.state {
        ResourceState::Present { uid, .. } => Some(uid),
        ResourceState::Planned | ResourceState::Intent => None,
    });
    let uids: HashSet<&String> = uids.collect();
    pods.iter().filter(|pod| pod.active).all(|pod| pod.owners.iter().chain([&pod.uid]).any(|uid| uids.contains(uid)))
}

/// The objects of `kind` in `namespace` that carry the label of any VNF instance, and their changes.
pub(super) fn watch(
    cluster: Arc<Cluster>,
    project: ProjectId,
    namespace: Namespace,
    kind: ObservedKind,
) -> BoxStream<'static, WatchEvent> {
    let open = move || {
        let target = ListWatch::lasting(api(&cluster, &namespace, kind), &project);
        follow_as(Arc::clone(&cluster), target, move |object| observed_object(&object, kind))
    };
    let pause = Duration::ZERO;
    stream::unfold((open, None, pause), |(open, running, pause)| async move {
        let mut events = match running {
            Some(events) => events,
            None => {
                tokio::time::sleep(pause).await;
                open()
            }
        };
        match events.next().await {
            Some(Ok(event)) => Some((watch_event(event), (open, Some(events), pause))),
            Some(Err(error)) => {
                let is_refused = error.kind == InfraErrorKind::Unauthorized;
                let pause = if is_refused { REFUSED_PAUSE } else { DENIED_PAUSE };
                Some((Some(WatchEvent::Unavailable(error)), (open, None, pause)))
            }
            None => Some((None, (open, None, DENIED_PAUSE))),
        }
    })
    .filter_map(std::future::ready)
    .boxed()
}

fn watch_event(event: ObjectEvent<Option<ObservedObject>>) -> Option<WatchEvent> {
    match event {
        ObjectEvent::Listed(objects) => Some(WatchEvent::All(objects.into_iter().flatten().collect())),
        ObjectEvent::Changed(object) => object.map(WatchEvent::Changed),
        ObjectEvent::Deleted(object) => object.map(WatchEvent::Deleted),
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

/// The observed fields of an object; `None` if its label names no VNF instance, or if it is not from Kubernetes: instances show
/// names and uids.
pub(super) fn observed_object(object: &DynamicObject, kind: ObservedKind) -> Option<ObservedObject> {
    if object.name_any().len() > LONGEST_NAME || object.uid()?.len() > LONGEST_UID {
        return None;
    }
    let replicas = object.data.pointer("/spec/replicas").and_then(Value::as_u64);
    Some(ObservedObject {
        instance: object.labels().get(INSTANCE_LABEL)?.parse().ok()?,
        kind,
        name: object.name_any(),
        uid: object.uid()?,
        owners: object.owner_references().iter().map(|owner| owner.uid.clone()).collect(),
        replicas: replicas.and_then(|replicas| replicas.try_into().ok()),
        active: object.metadata.deletion_timestamp.is_none() && !(kind == ObservedKind::Pod && has_ended(object)),
    })
}
