//! Which pods and volumes a VNF instance has.
//!
//! A pod belongs to a VDU by the chain of its owners' uids, never by its name.

use std::collections::HashMap;

use futures::future::{OptionFuture, try_join3};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, ListParams};

use super::client::Cluster;
use super::ready::has_ended;
use crate::domain::instance::{VirtualStorage, Vnfc};
use crate::domain::resource::{INSTANCE_LABEL, Resource, ResourceState};
use crate::infra::{InfraError, Observed, Scope};

/// The pods and volumes there are.
pub(super) async fn observe(cluster: &Cluster, scope: &Scope, resources: &[Resource]) -> Result<Observed, InfraError> {
    let ours = ListParams::default().labels(&format!("{INSTANCE_LABEL}={}", scope.instance));
    let workloads: HashMap<&str, &Resource> = resources
        .iter()
        .filter(|resource| resource.vdu_id.is_some())
        .filter_map(|resource| match &resource.state {
            ResourceState::Present { uid, .. } => Some((uid.as_str(), resource)),
            ResourceState::Planned | ResourceState::Intent => None,
        })
        .collect();
    let deployments = workloads.values().any(|resource| resource.key.kind == "Deployment");
    let replica_sets = cluster.builtin("apps/v1", "ReplicaSet", "replicasets", &scope.namespace);
    let between: OptionFuture<_> = deployments.then(|| cluster.call(replica_sets.list(&ours))).into();
    let (pods, claims) = (cluster.pods(&scope.namespace), cluster.claims(&scope.namespace));
    let (pods, between, claims) = try_join3(
        async { Ok(cluster.call(pods.list(&ours)).await?) },
        async { Ok(between.await.transpose()?) },
        async {
            match cluster.call(claims.list(&ours)).await.map_err(InfraError::from) {
                Ok(claims) => Ok(claims.items),
                // A VNF without volumes must not need this right.
                Err(InfraError::Denied(_)) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        },
    )
    .await?;
    let between = parents(between.into_iter().flatten());
    let living = |pod: &&DynamicObject| pod.metadata.deletion_timestamp.is_none() && !has_ended(pod);
    let mut vnfcs: Vec<Vnfc> =
        pods.items.iter().filter(living).filter_map(|pod| vnfc(pod, &between, &workloads)).collect();
    vnfcs.sort_by(|a, b| (&a.vdu_id, &a.pod_name).cmp(&(&b.vdu_id, &b.pod_name)));
    let storage = |claim: &DynamicObject| VirtualStorage {
        claim_name: claim.name_any(),
        claim_uid: claim.uid().unwrap_or_default(),
    };
    let mut storages: Vec<VirtualStorage> = claims.iter().map(storage).collect();
    storages.sort_by(|a, b| a.claim_name.cmp(&b.claim_name));
    Ok(Observed { vnfcs, storages })
}

/// The uids of objects' owners, by their own.
pub(super) fn parents(objects: impl IntoIterator<Item = DynamicObject>) -> HashMap<String, Vec<String>> {
    let owners = |object: &DynamicObject| object.owner_references().iter().map(|owner| owner.uid.clone()).collect();
    objects.into_iter().filter_map(|object| Some((object.uid()?, owners(&object)))).collect()
}

fn vnfc(
    pod: &DynamicObject,
    between: &HashMap<String, Vec<String>>,
    workloads: &HashMap<&str, &Resource>,
) -> Option<Vnfc> {
    let uid = pod.uid()?;
    let owners = pod.owner_references().iter().map(|owner| &owner.uid);
    let line = owners.flat_map(|owner| between.get(owner).into_iter().flatten().chain([owner]));
    let workload = line.chain([&uid]).find_map(|uid| workloads.get(uid.as_str()))?;
    Some(Vnfc {
        vdu_id: workload.vdu_id.clone()?,
        pod_name: pod.name_any(),
        pod_uid: uid.clone(),
        workload_kind: workload.key.kind.clone(),
        workload_name: workload.key.name.clone(),
    })
}
