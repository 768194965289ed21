//! What is seen of a VNF instance in its cluster, cut down to what `instantiatedVnfInfo` is made of.
//!
//! Pure. Objects become [`ObservedObject`] in `crate::infra`; an operation's end and the view (`crate::view`) conclude from them here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::{VirtualStorage, Vnfc};
use crate::domain::resource::{Resource, ResourceState};

/// The kinds that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObservedKind {
    /// A VNFC, if it descends from a VDU's workload.
    Pod,
    /// Has replicas.
    Deployment,
    /// Has replicas, or stands between a Deployment and its pods.
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
    /// Whether it is there to stay: not being deleted, nor a pod that has ended.
    pub living: bool,
}

/// The kinds to look at for an instance whose VDUs and volumes are of `kinds`.
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

/// The living pods that descend from a workload with a VDU, by VDU and name. A pod belongs to a VDU by the chain of its
/// owners' uids, never by its name.
pub fn vnfcs(seen: &[ObservedObject], inventory: &[Resource]) -> Vec<Vnfc> {
    let workloads = workloads(inventory);
    let between: HashMap<&str, &[String]> = seen
        .iter()
        .filter(|it| it.kind == ObservedKind::ReplicaSet)
        .map(|it| (it.uid.as_str(), it.owners.as_slice()))
        .collect();
    let vnfc = |pod: &ObservedObject| {
        let line = pod
            .owners
            .iter()
            .flat_map(|owner| between.get(owner.as_str()).copied().unwrap_or_default().iter().chain([owner]));
        let workload = line.chain([&pod.uid]).find_map(|uid| workloads.get(uid.as_str()))?;
        Some(Vnfc {
            vdu_id: workload.vdu_id.clone()?,
            pod_name: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            workload_kind: workload.key.kind.clone(),
            workload_name: workload.key.name.clone(),
        })
    };
    let mut vnfcs: Vec<Vnfc> =
        seen.iter().filter(|it| it.kind == ObservedKind::Pod && it.living).filter_map(vnfc).collect();
    vnfcs.sort_by(|a, b| (&a.vdu_id, &a.pod_name).cmp(&(&b.vdu_id, &b.pod_name)));
    vnfcs
}

/// The volume claims, by name.
pub fn storages(seen: &[ObservedObject]) -> Vec<VirtualStorage> {
    let claims = seen.iter().filter(|it| it.kind == ObservedKind::Claim);
    let mut storages: Vec<VirtualStorage> =
        claims.map(|it| VirtualStorage { claim_name: it.name.clone(), claim_uid: it.uid.clone() }).collect();
    storages.sort_by(|a, b| a.claim_name.cmp(&b.claim_name));
    storages
}

/// The replicas that the workloads of the VDUs are told to have now, by VDU.
pub fn replicas(seen: &[ObservedObject], inventory: &[Resource]) -> BTreeMap<String, u32> {
    let workloads = workloads(inventory);
    let living = seen.iter().filter(|it| it.living);
    living.filter_map(|it| Some((workloads.get(it.uid.as_str())?.vdu_id.clone()?, it.replicas?))).collect()
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
