//! VNF instances and their inventories in the store.

use std::collections::BTreeSet;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::VnfInstance;
use crate::domain::namespace::Namespace;
use crate::domain::resource::Resource;
use crate::domain::vim::VimConnection;
use crate::store::{Page, PageCursor, StoreError};

/// VNF instances and their inventories.
#[async_trait]
pub trait InstanceStore: Send + Sync {
    /// Adds an instance. `Stale` if its package is no longer there and ENABLED.
    async fn create_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// Adds an instance, unless a request with that key has made one that is still there.
    async fn create_instance_once(
        &self,
        instance: &VnfInstance,
        key: &IdempotencyKey,
    ) -> Result<CreateOutcome, StoreError>;
    /// One instance.
    async fn instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError>;
    /// The version of one instance: what [`InstanceStore::instance`] would give has no older one.
    async fn instance_version(&self, project: &ProjectId, id: VnfInstanceId) -> Result<i64, StoreError>;
    /// A page of a project's instances, oldest first.
    async fn list_instances(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<Listed>, StoreError>;
    /// Those of `ids` that are there, in any order.
    async fn instances(&self, project: &ProjectId, ids: &[VnfInstanceId]) -> Result<Vec<VnfInstance>, StoreError>;
    /// Removes an instance that is NOT_INSTANTIATED. `OtherVersion` unless it is of one of `versions`, if there are any,
    /// `Stale` if it is instantiated, `InUse` while its inventory has rows, `Busy` while an operation is not over. Its
    /// finished op occurrences stay.
    async fn delete_instance(
        &self,
        project: &ProjectId,
        id: VnfInstanceId,
        versions: Option<&[i64]>,
    ) -> Result<(), StoreError>;
    /// Where the INSTANTIATED ones of all projects are: of `ids`, or of all there are.
    async fn instantiated(&self, ids: Option<&[VnfInstanceId]>) -> Result<Vec<InstanceLocation>, StoreError>;
    /// Replaces `instantiated_vnf_info` by that of `instance`, if the version is still `instance.version` (`Stale` if not),
    /// the instance is INSTANTIATED (`Stale`) and no operation of it is live (`Busy`).
    async fn refresh_instance(&self, instance: &VnfInstance) -> Result<(), StoreError>;
    /// The inventory of an instance, in the order in which the objects were planned.
    async fn resources(&self, id: VnfInstanceId) -> Result<Vec<Resource>, StoreError>;
    /// Tells of instances whose operation has come to a final state, in this process or (PostgreSQL) in another, from now
    /// on. One that lags behind must look at all instances, as after [`OperationEnded::Any`]. Another process's may be missed if that
    /// process is killed.
    fn endings(&self) -> broadcast::Receiver<OperationEnded>;
}

/// What tells a request that is repeated from another one (the `Idempotency-Key` header).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the caller sent it.
    pub key: String,
    /// The same for equal requests.
    pub fingerprint: String,
}

/// What [`InstanceStore::create_instance_once`](InstanceStore::create_instance_once) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The instance was added.
    Created,
    /// An equal request has made that one.
    Existing(VnfInstanceId),
    /// Another request has used the key.
    KeyConflict,
}

/// An instance in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: VnfInstanceId,
    /// Where.
    pub place: PageCursor,
    /// Its present version.
    pub version: i64,
}

/// Where an INSTANTIATED instance is, and what of it is to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceLocation {
    /// The instance.
    pub id: VnfInstanceId,
    /// Its tenant.
    pub project_id: ProjectId,
    /// The `vimConnectionInfo` entry of the VIM it lives in.
    pub home: Option<VimConnection>,
    /// Where its objects are.
    pub namespace: Namespace,
    /// The kinds of its objects that realise VDUs or are volumes.
    pub kinds: BTreeSet<String>,
}

/// What [`InstanceStore::endings`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationEnded {
    /// An operation of this instance is over.
    One(VnfInstanceId),
    /// Any may be, or a VIM was changed: look at all.
    Any,
}
