//! Quotas of projects, and what projects have, in the store.

use async_trait::async_trait;

use crate::domain::ids::ProjectId;
use crate::domain::quota::{OwnQuotas, QuotaUsage, Quotas};
use crate::store::StoreError;

/// Quotas of projects, and what projects have. Whatever adds something that is limited checks the quota in its transaction, and
/// fails with `QuotaExceeded`.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// Sets the limits of projects without their own, once, before requests are served. Without it they have none.
    fn configure_quotas(&self, configured: Quotas);
    /// The limits of a project.
    async fn quotas(&self, project: &ProjectId) -> Result<Quotas, StoreError>;
    /// Replaces a project's own limits. They may be below what it has: it then gets nothing more.
    async fn set_quotas(&self, project: &ProjectId, own: &OwnQuotas) -> Result<(), StoreError>;
    /// What a project has.
    async fn project_usage(&self, project: &ProjectId) -> Result<ProjectUsage, StoreError>;
}

/// What a project has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectUsage {
    /// What its quotas count.
    pub counted: QuotaUsage,
    /// The thousandths of a CPU that the manifests request for the VNFCs of instances that are booked to it, as metered.
    pub cpu_milli: u64,
    /// As `cpu_milli`, of memory, in MiB.
    pub memory_mib: u64,
    /// The namespaces with VNF instances that are booked to it, by name. At most [`ProjectUsage::MOST_NAMESPACES`].
    pub namespaces: Vec<NamespaceUsage>,
}

impl ProjectUsage {
    /// The most namespaces of a [`ProjectUsage`].
    pub const MOST_NAMESPACES: usize = 1000;
}

/// The VNF instances of a project in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// The name of the namespace.
    pub name: String,
    /// `metadata.uid` of the Namespace, if namespaces belong to projects.
    pub uid: Option<String>,
    /// VNF instances that are in it, or on their way.
    pub vnf_instances: u64,
    /// Their VNFCs.
    pub vnfcs: u64,
}
