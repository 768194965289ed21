//! Namespaces of projects, which Gybe made or adopted, in the store.

use async_trait::async_trait;

use crate::domain::ids::{NamespaceId, ProjectId};
use crate::domain::project_namespace::ProjectNamespace;
use crate::store::{PageCursor, StoreError};

/// Namespaces of projects, which Gybe made or adopted. A row is written before anything is made in the cluster, and removed after all is
/// gone there.
#[async_trait]
pub trait NamespaceStore: Send + Sync {
    /// Adds `wanted`, which is PENDING, or makes the one with that VIM and name PENDING with the settings of `wanted`. Returns it.
    /// `NamespaceReserved` if that one is of another project, or is to be deleted.
    async fn claim_namespace(&self, wanted: &ProjectNamespace) -> Result<ProjectNamespace, StoreError>;
    /// Refuses a Namespace in which VNF instances of other projects than `project` are, or any, if that is `None`. `InUse`.
    async fn check_unused(
        &self,
        namespace: &ProjectNamespace,
        uid: &str,
        project: Option<&ProjectId>,
    ) -> Result<(), StoreError>;
    /// The cluster has all of the namespace: it is READY, with the `uid` and `is_made` of `namespace`. `Duplicate` if another one has
    /// this uid, `NamespaceTaken` if VNF instances of another project are in it, `Stale` if it is to be deleted.
    async fn finish_namespace(&self, namespace: &ProjectNamespace) -> Result<(), StoreError>;
    /// Replaces project, `uid` and `is_made`, while no VNF instance is in the namespace (`InUse`) and it is READY (`Stale`).
    async fn move_namespace(&self, namespace: &ProjectNamespace) -> Result<(), StoreError>;
    /// Makes it DELETING, so that no VNF instance comes any more. `InUse` while some are in it.
    async fn begin_namespace_deletion(&self, namespace: &ProjectNamespace) -> Result<(), StoreError>;
    /// Removes one that is DELETING.
    async fn forget_namespace(&self, id: NamespaceId) -> Result<(), StoreError>;
    /// One namespace, of the project or of any.
    async fn project_namespace(
        &self,
        project: Option<&ProjectId>,
        id: NamespaceId,
    ) -> Result<ProjectNamespace, StoreError>;
    /// The first `limit` namespaces after a position, oldest first, of the project or of all.
    async fn project_namespaces(
        &self,
        project: Option<&ProjectId>,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Vec<ProjectNamespace>, StoreError>;
}
