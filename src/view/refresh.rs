//! One instance brought up to date with what is seen of it: read, computed, compared, and written if it differs.

use super::namespace_cache::InstanceSnapshot;
use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfState};
use crate::domain::observation::{ObservedKind, replicas, storages, vnfcs};
use crate::domain::resource::Resource;
use crate::domain::scale::level_of;
use crate::store::{Store, StoreError};

/// How often the instance may change between reading and writing.
const ATTEMPTS: usize = 4;

/// What came of it.
pub enum Outcome {
    /// It is as it is seen, or not there any more, or can't be read.
    Done,
    /// An operation is live: it owns the instance.
    Busy,
    /// The store failed.
    Failed,
}

/// Brings the instance up to date.
pub async fn refresh(store: &dyn Store, project: &ProjectId, id: VnfInstanceId, sight: &InstanceSnapshot) -> Outcome {
    for _ in 0..ATTEMPTS {
        match attempt(store, project, id, sight).await {
            Ok(()) | Err(StoreError::NotFound) => return Outcome::Done,
            Err(StoreError::Busy(_)) => return Outcome::Busy,
            Err(StoreError::Stale) => {}
            Err(error) => {
                tracing::error!(vnf_instance.id = %id, error = &error as &dyn std::error::Error, "VNF instance {id} can't be brought up to date");
                // What can't be read now can't be read later either.
                return if matches!(error, StoreError::Corrupt { .. }) { Outcome::Done } else { Outcome::Failed };
            }
        }
    }
    Outcome::Failed
}

async fn attempt(
    store: &dyn Store,
    project: &ProjectId,
    id: VnfInstanceId,
    sight: &InstanceSnapshot,
) -> Result<(), StoreError> {
    let instance = store.instance(project, id).await?;
    let Some(told) = &instance.instantiated else { return Ok(()) };
    let inventory = store.resources(id).await?;
    let mut info = told.clone();
    see(&mut info, &inventory, sight);
    // Without replicas, a stopped VNF keeps the levels that it is to be started at.
    if !info.scale_levels.is_empty() && info.vnf_state == VnfState::Started {
        set_levels(store, &instance, &mut info, &inventory, sight).await?;
    }
    if info == *told {
        return Ok(());
    }
    store.refresh_instance(&VnfInstance { instantiated: Some(info), ..instance }).await?;
    tracing::info!(vnf_instance.id = %id, "VNF instance {id} was changed in its cluster and is brought up to date");
    Ok(())
}

/// What can't be seen stays as it was.
fn see(info: &mut InstantiatedVnfInfo, inventory: &[Resource], sight: &InstanceSnapshot) {
    let via_sets = inventory.iter().any(|row| row.vdu_id.is_some() && row.key.kind == "Deployment");
    if sight.known.contains(&ObservedKind::Pod) && (!via_sets || sight.known.contains(&ObservedKind::ReplicaSet)) {
        info.vnfcs = vnfcs(&sight.objects, inventory);
    }
    if sight.known.contains(&ObservedKind::Claim) {
        info.storages = storages(&sight.objects);
    }
}

/// An aspect whose VDUs have replicas that no level has keeps the level it had: the drift tells of the replicas.
async fn set_levels(
    store: &dyn Store,
    instance: &VnfInstance,
    info: &mut InstantiatedVnfInfo,
    inventory: &[Resource],
    sight: &InstanceSnapshot,
) -> Result<(), StoreError> {
    let vnfd = match store.vnfd(&instance.project_id, &instance.vnfd_id).await {
        Err(StoreError::NotFound) => return Ok(()),
        onboarded => onboarded?.vnfd,
    };
    let Some(flavour) = vnfd.flavours.get(&info.flavour_id) else { return Ok(()) };
    let replicas = replicas(&sight.objects, inventory);
    let before = info.scale_levels.clone();
    for (aspect, level) in &mut info.scale_levels {
        match level_of(flavour, &before, aspect, &replicas) {
            Some(seen) => *level = seen,
            None => {
                tracing::debug!(vnf_instance.id = %instance.id, "no level of aspect {aspect} fits the replicas {replicas:?}")
            }
        }
    }
    Ok(())
}
