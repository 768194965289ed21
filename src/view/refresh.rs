//! Brings one instance up to date with its observed objects: reads, computes, compares, and writes it if it differs.

use std::collections::BTreeSet;

use super::namespace_cache::InstanceSnapshot;
use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfState};
use crate::domain::observation::{ObservedKind, replicas, storages, vnfcs};
use crate::domain::resource::Resource;
use crate::domain::scale::level_of;
use crate::domain::vnfc_ids::identified;
use crate::store::{Store, StoreError};

/// How often the instance may change between reading and writing.
const ATTEMPTS: usize = 4;

/// The result of a refresh.
pub enum RefreshResult {
    /// The instance is up to date, or does not exist any more, or can't be read.
    Done,
    /// An operation is live and owns the instance.
    Busy,
    /// The store failed.
    Failed,
}

/// Brings the instance up to date.
pub async fn refresh(
    store: &dyn Store,
    project: &ProjectId,
    id: VnfInstanceId,
    snapshot: &InstanceSnapshot,
) -> RefreshResult {
    for _ in 0..ATTEMPTS {
        match attempt(store, project, id, snapshot).await {
            Ok(()) | Err(StoreError::NotFound) => return RefreshResult::Done,
            Err(StoreError::Busy(_)) => return RefreshResult::Busy,
            Err(StoreError::Stale) => {}
            Err(error) => {
                tracing::error!(vnf_instance.id = %id, error = &error as &dyn std::error::Error, "VNF instance {id} can't be brought up to date");
                // A corrupt row stays corrupt.
                return if matches!(error, StoreError::Corrupt { .. }) {
                    RefreshResult::Done
                } else {
                    RefreshResult::Failed
                };
            }
        }
    }
    RefreshResult::Failed
}

async fn attempt(
    store: &dyn Store,
    project: &ProjectId,
    id: VnfInstanceId,
    snapshot: &InstanceSnapshot,
) -> Result<(), StoreError> {
    let instance = store.instance(project, id).await?;
    let Some(stored) = &instance.instantiated else { return Ok(()) };
    let inventory = store.resources(id).await?;
    let mut info = stored.clone();
    observe(&mut info, &inventory, snapshot);
    // A stopped VNF has no replicas and keeps the levels to start at.
    if !info.scale_levels.is_empty() && info.vnf_state == VnfState::Started {
        set_levels(store, &instance, &mut info, &inventory, snapshot).await?;
    }
    if info == *stored {
        return Ok(());
    }
    store.refresh_instance(&VnfInstance { instantiated: Some(info), ..instance }).await?;
    tracing::info!(vnf_instance.id = %id, "VNF instance {id} was changed in its cluster and is brought up to date");
    Ok(())
}

/// Updates VNFCs and volumes. Kinds that can't be observed leave them unchanged.
fn observe(info: &mut InstantiatedVnfInfo, inventory: &[Resource], snapshot: &InstanceSnapshot) {
    let via_sets = inventory.iter().any(|row| row.vdu_id.is_some() && row.key.kind == "Deployment");
    if snapshot.listed.contains(&ObservedKind::Pod)
        && (!via_sets || snapshot.listed.contains(&ObservedKind::ReplicaSet))
    {
        info.vnfcs = identified(&info.vnfcs, vnfcs(&snapshot.objects, inventory), &BTreeSet::new());
    }
    if snapshot.listed.contains(&ObservedKind::Claim) {
        info.storages = storages(&snapshot.objects);
    }
}

/// Updates scale levels. An aspect keeps its level if no level has the observed replicas: the drift shows them.
async fn set_levels(
    store: &dyn Store,
    instance: &VnfInstance,
    info: &mut InstantiatedVnfInfo,
    inventory: &[Resource],
    snapshot: &InstanceSnapshot,
) -> Result<(), StoreError> {
    let vnfd = match store.vnfd_of_package(instance.vnf_pkg_id).await {
        Err(StoreError::NotFound) => return Ok(()),
        onboarded => onboarded?.vnfd,
    };
    let Some(flavour) = vnfd.flavours.get(&info.flavour_id) else { return Ok(()) };
    let replicas = replicas(&snapshot.objects, inventory);
    let before = info.scale_levels.clone();
    for (aspect, level) in &mut info.scale_levels {
        match level_of(flavour, &before, aspect, &replicas) {
            Some(observed) => *level = observed,
            None => {
                tracing::debug!(vnf_instance.id = %instance.id, "no level of aspect {aspect} fits the replicas {replicas:?}")
            }
        }
    }
    Ok(())
}
