//! VNF packages in the store.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::domain::ids::{ProjectId, VnfPkgId};
use crate::domain::package::{DefinitionFile, OperationalState, VnfPackage};
use crate::domain::vnfd::Vnfd;
use crate::store::{Page, StoreError};

/// VNF packages and the definition files in them.
#[async_trait]
pub trait PackageStore: Send + Sync {
    /// Adds a package without content.
    async fn create_package(&self, package: &VnfPackage) -> Result<(), StoreError>;
    /// One package.
    async fn package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError>;
    /// The onboarded package that has the VNFD of that id. `NotFound` if there is none.
    async fn package_of_vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<VnfPackage, StoreError>;
    /// A page of a project's packages, oldest first.
    async fn packages(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<VnfPackage>, StoreError>;
    /// Changes the operational state from the other one (`Stale` if it is that already or the package is not onboarded)
    /// and replaces the user data by the second value (`Stale` if it is no longer the first).
    async fn update_package(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        state: Option<OperationalState>,
        user_defined_data: Option<[&Map<String, Value>; 2]>,
    ) -> Result<(), StoreError>;
    /// Removes a package. `Stale` while it is ENABLED or being onboarded, `InUse` while an instance refers to it, or an
    /// operation that is not over.
    async fn delete_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<(), StoreError>;
    /// The onboarded VNFD of that id. `NotFound` if there is none.
    async fn vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<OnboardedVnfd, StoreError>;
    /// All definition files of a package, by path.
    async fn definition_files(&self, id: VnfPkgId) -> Result<Arc<[DefinitionFile]>, StoreError>;
}

/// The package that carries a VNFD, as instance operations need it.
#[derive(Clone, Debug)]
pub struct OnboardedVnfd {
    /// The package.
    pub package_id: VnfPkgId,
    /// Whether it may be used for new instances.
    pub operational_state: OperationalState,
    /// The descriptor.
    pub vnfd: Vnfd,
}
