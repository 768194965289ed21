//! VNF instances and their inventories in the store.

use std::collections::BTreeSet;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::VnfInstance;
use crate::domain::namespace::Namespace;
use crate::domain::resource::Resource;
use crate::domain::tenancy::NamespaceProject;
use crate::domain::vim::VimConnection;
use crate::store::{Page, PageCursor, StoreError};

/// VNF instances and their inventories.
#[async_trait]
pub trait InstanceStore: Send + Sync {
    /// Adds an instance. `Stale` unless its package is visible to its project and ENABLED.
    async fn create_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    async fn instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError>;
    /// The project of an instance, whoever owns it. `NotFound` if there is none.
    async fn project_of_instance(&self, id: VnfInstanceId) -> Result<ProjectId, StoreError>;
    /// The version of one instance. [`InstanceStore::instance`] returns that version or a newer one afterwards.
    async fn instance_version(&self, project: &ProjectId, id: VnfInstanceId) -> Result<i64, StoreError>;
    /// A page of a project's instances, or of all (`None`), oldest first.
    async fn list_instances(&self, project: Option<&ProjectId>, page: &Page<'_>) -> Result<Vec<Listed>, StoreError>;
    /// The instances of `ids` that exist, of that project or of all (`None`), in any order.
    async fn instances(
        &self,
        project: Option<&ProjectId>,
        ids: &[VnfInstanceId],
    ) -> Result<Vec<VnfInstance>, StoreError>;
    /// Removes an instance that is NOT_INSTANTIATED; its finished op occurrences stay. `OtherVersion` if `versions` is given and lacks
    /// the version of the instance. `Stale` if the instance is instantiated, `InUse` while its inventory has rows, `Busy` while an
    /// operation is unfinished.
    async fn delete_instance(
        &self,
        project: &ProjectId,
        id: VnfInstanceId,
        versions: Option<&[i64]>,
    ) -> Result<(), StoreError>;
    /// The locations of INSTANTIATED instances of all projects: those of `ids`, or all.
    async fn instantiated(&self, ids: Option<&[VnfInstanceId]>) -> Result<Vec<InstanceLocation>, StoreError>;
    /// Replaces `instantiated_vnf_info` by that of `instance`, if the version is still `instance.version` (`Stale` if not),
    /// the instance is INSTANTIATED (`Stale`) and no operation of it is live (`Busy`).
    async fn refresh_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// The inventory of an instance, in the order in which the objects were planned.
    async fn resources(&self, id: VnfInstanceId) -> Result<Vec<Resource>, StoreError>;
    /// The project of the namespace that the instance is in, as it was when it came there; `None` if nobody asked.
    async fn namespace_project(&self, id: VnfInstanceId) -> Result<Option<NamespaceProject>, StoreError>;
    /// Receives each operation that enters a final state from now on, in this process or (PostgreSQL) in another. A receiver
    /// that lags must read all instances, as after [`OperationEnded::Any`]. The signal of another process is lost if that
    /// process is killed.
    fn endings(&self) -> broadcast::Receiver<OperationEnded>;
}

/// An instance in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its identifier.
    pub id: VnfInstanceId,
    /// Its tenant.
    pub project_id: ProjectId,
    /// Its position in the list.
    pub place: PageCursor,
    /// Its present version.
    pub version: i64,
}

/// Where an INSTANTIATED instance is, and the kinds of its objects to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceLocation {
    /// The instance.
    pub id: VnfInstanceId,
    /// Its tenant.
    pub project_id: ProjectId,
    /// The `vimConnectionInfo` entry of its VIM.
    pub home: Option<VimConnection>,
    /// The namespace of its objects.
    pub namespace: Namespace,
    /// The kinds of its objects that realise VDUs or are volumes.
    pub kinds: BTreeSet<String>,
}

/// A signal of [`InstanceStore::endings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationEnded {
    /// An operation of this instance has ended.
    One(VnfInstanceId),
    /// Operations of any instances may have ended, or a VIM has changed: look at all instances.
    Any,
}
