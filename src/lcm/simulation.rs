//! The simulated VIM of `gybe serve --simulate`: its registration, and its objects after a restart. The cluster is in the memory of the
//! process; the inventories of the VNF instances, in the database, say what was in it.

use crate::clock::{Clock, Ids};
use crate::domain::caller::Caller;
use crate::domain::ids::VimId;
use crate::domain::vim::{SIMULATED, SIMULATED_ENDPOINT, Secrets, Vim, VimStatus};
use crate::domain::vim_policy::VimPolicy;
use crate::infra::simulated::{SimulatedCluster, USER};
use crate::store::attributes::Filter;
use crate::store::{Page, Store, StoreError};

/// VNF instances that are read at a time.
const BATCH: usize = 100;

/// Why there is no simulated VIM.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error("there is a VIM named '{SIMULATED}' that is not simulated: rename it, or use another database")]
    NameTaken,
    #[error("cannot use the database")]
    Store(#[from] StoreError),
}

/// The simulated cluster, with the objects of the VNF instances that live in it. Registers its VIM if that is not done; it becomes the
/// default VIM of the project of local callers if that has none.
///
/// # Errors
/// [`SimulationError`].
pub async fn prepare(store: &dyn Store, clock: &dyn Clock, ids: &dyn Ids) -> Result<SimulatedCluster, SimulationError> {
    let vim = register(store, clock, ids).await?;
    let cluster = SimulatedCluster::default();
    let restored = restore(store, &cluster).await?;
    tracing::warn!(
        vim.id = %vim.id,
        "the VIM '{SIMULATED}' is simulated, in the memory of this process: nothing runs in it; it has the objects of {restored} VNF instances"
    );
    Ok(cluster)
}

async fn register(store: &dyn Store, clock: &dyn Clock, ids: &dyn Ids) -> Result<Vim, SimulationError> {
    let caller = Caller::local();
    match store.vim_named(&caller.project, SIMULATED).await {
        Ok(vim) if vim.is_simulated() => return Ok(vim),
        Ok(vim) if vim.project_id == caller.project => return Err(SimulationError::NameTaken),
        Ok(_) | Err(StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    let mut vim = Vim {
        id: VimId(ids.uuid()),
        policy: VimPolicy::of_new_vim(&caller),
        project_id: caller.project,
        name: SIMULATED.to_owned(),
        description: "Simulated in the memory of gybe: nothing runs in it".to_owned(),
        vim_type: SIMULATED.to_owned(),
        endpoint: SIMULATED_ENDPOINT.to_owned(),
        access_info: serde_json::Map::new(),
        secrets: Secrets::new(),
        impersonate: None,
        vim_project: "default".to_owned(),
        extra: serde_json::Map::new(),
        shared: false,
        lent: None,
        is_default: true,
        user_name: Some(USER.to_owned()),
        cluster_uid: None,
        status: VimStatus::Active,
        created_at: clock.now(),
        updated_at: None,
    };
    match store.create_vim(&vim).await {
        Err(StoreError::Duplicate("default VIM")) => {
            vim.is_default = false;
            store.create_vim(&vim).await?;
        }
        created => created?,
    }
    Ok(vim)
}

/// Makes the objects of all VNF instances again that live in the simulated VIM. Returns the number of these instances.
async fn restore(store: &dyn Store, cluster: &SimulatedCluster) -> Result<usize, StoreError> {
    let (filter, mut after, mut restored) = (Filter::default(), None, 0);
    loop {
        let listed = store.list_instances(None, &Page { filter: &filter, after, limit: BATCH }).await?;
        let Some(last) = listed.last() else { return Ok(restored) };
        after = Some(last.place);
        let ids: Vec<_> = listed.iter().map(|one| one.id).collect();
        for instance in store.instances(None, &ids).await? {
            let is_here = instance.home().is_some_and(|(_, home)| home.vim_type == SIMULATED);
            let Some(namespace) = instance.metadata.namespace.as_ref().filter(|_| is_here) else { continue };
            cluster.restore(namespace, &store.resources(instance.id).await?);
            restored += 1;
        }
    }
}
