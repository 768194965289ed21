//! From the objects of a VNF instance in its cluster to `instantiatedVnfInfo`.
//!
//! `crate::infra` reads objects as [`ObservedObject`]. The end of an operation and `crate::view` compute VNFCs, storages and replicas
//! from them here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::{VirtualStorage, Vnfc};
use crate::domain::resource::{Resource, ResourceState};

/// The observed kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObservedKind {
    /// A VNFC, if it descends from the workload of a VDU.
    Pod,
    /// Has replicas.
    Deployment,
    /// Has replicas, or is between a Deployment and its pods.
    ReplicaSet,
    /// Has replicas.
    StatefulSet,
    /// A virtual storage.
    Claim,
}

/// An object that carries a VNF instance's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedObject {
    /// The instance that the label names.
    pub instance: VnfInstanceId,
    /// Its kind.
    pub kind: ObservedKind,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The uids of its owners.
    pub owners: Vec<String>,
    /// `spec.replicas`.
    pub replicas: Option<u32>,
    /// Whether it is neither being deleted nor a pod that has ended.
    pub active: bool,
}

/// The kinds to observe for an instance whose VDUs and volumes are of `kinds`.
pub fn kinds_for<'a>(kinds: impl IntoIterator<Item = &'a str>) -> BTreeSet<ObservedKind> {
    let needed = kinds.into_iter().flat_map(|kind| match kind {
        "Deployment" => [ObservedKind::Deployment, ObservedKind::ReplicaSet].as_slice(),
        "ReplicaSet" => &[ObservedKind::ReplicaSet],
        "StatefulSet" => &[ObservedKind::StatefulSet, ObservedKind::Claim],
        "PersistentVolumeClaim" => &[ObservedKind::Claim],
        _ => &[],
    });
    needed.copied().chain([ObservedKind::Pod]).collect()
}

/// The active pods that descend from a workload with a VDU, sorted by VDU and name, before
/// [`identified`](crate::domain::vnfc_ids::identified). A pod belongs to a VDU by the uids of its chain of
/// owners, never by its name.
pub fn vnfcs(objects: &[ObservedObject], inventory: &[Resource]) -> Vec<Vnfc> {
    let workloads = workloads(inventory);
    let replica_sets: HashMap<&str, &[String]> = objects
        .iter()
        .filter(|it| it.kind == ObservedKind::ReplicaSet)
        .map(|it| (it.uid.as_str(), it.owners.as_slice()))
        .collect();
    let vnfc = |pod: &ObservedObject| {
        let ancestors = pod
            .owners
            .iter()
            .flat_map(|owner| replica_sets.get(owner.as_str()).copied().unwrap_or_default().iter().chain([owner]));
        let workload = ancestors.chain([&pod.uid]).find_map(|uid| workloads.get(uid.as_str()))?;
        Some(Vnfc {
            vdu_id: workload.vdu_id.clone()?,
            kept_id: None,
            pod_name: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            workload_kind: workload.key.kind.clone(),
            workload_name: workload.key.name.clone(),
        })
    };
    let mut vnfcs: Vec<Vnfc> =
        objects.iter().filter(|it| it.kind == ObservedKind::Pod && it.active).filter_map(vnfc).collect();
    vnfcs.sort_by(|a, b| (&a.vdu_id, &a.pod_name).cmp(&(&b.vdu_id, &b.pod_name)));
    vnfcs
}

/// The volume claims, by name.
pub fn storages(objects: &[ObservedObject]) -> Vec<VirtualStorage> {
    let claims = objects.iter().filter(|it| it.kind == ObservedKind::Claim);
    let mut storages: Vec<VirtualStorage> =
        claims.map(|it| VirtualStorage { claim_name: it.name.clone(), claim_uid: it.uid.clone() }).collect();
    storages.sort_by(|a, b| a.claim_name.cmp(&b.claim_name));
    storages
}

/// `spec.replicas` of the workloads of the VDUs, by VDU.
pub fn replicas(objects: &[ObservedObject], inventory: &[Resource]) -> BTreeMap<String, u32> {
    let workloads = workloads(inventory);
    let active = objects.iter().filter(|it| it.active);
    active.filter_map(|it| Some((workloads.get(it.uid.as_str())?.vdu_id.clone()?, it.replicas?))).collect()
}

/// The workloads that realise VDUs, by their uids.
fn workloads(inventory: &[Resource]) -> HashMap<&str, &Resource> {
    let of_vdus = inventory.iter().filter(|resource| resource.vdu_id.is_some());
    of_vdus
        .filter_map(|resource| match &resource.state {
            ResourceState::Present { uid, .. } => Some((uid.as_str(), resource)),
            ResourceState::Planned | ResourceState::Intent => None,
        })
        .collect()
}
