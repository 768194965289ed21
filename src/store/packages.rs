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
    /// A package that the project owns. `NotFound` if there is none.
    async fn package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError>;
    /// A package that the project owns or that is shared with it. `NotFound` if there is none.
    async fn visible_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError>;
    /// A package of any project. `NotFound` if there is none.
    async fn package_of_any_project(&self, id: VnfPkgId) -> Result<VnfPackage, StoreError>;
    /// The visible onboarded package that has the VNFD of that id: an own one first, else the oldest. `NotFound` if there is none.
    async fn package_of_vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<VnfPackage, StoreError>;
    /// A page of the packages that are visible to a project, or of all (`None`), oldest first.
    async fn packages(&self, project: Option<&ProjectId>, page: &Page<'_>) -> Result<Vec<VnfPackage>, StoreError>;
    /// Sets the operational state: `Stale` if the package already has it or is not onboarded. `user_defined_data` is
    /// `[expected, new]`: `Stale` if the stored data is not `expected`.
    async fn update_package(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        state: Option<OperationalState>,
        user_defined_data: Option<[&Map<String, Value>; 2]>,
    ) -> Result<(), StoreError>;
    /// Removes a package. `Stale` while it is ENABLED or being onboarded, `InUse` while an instance or an unfinished
    /// operation refers to it.
    async fn delete_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<(), StoreError>;
    /// The onboarded VNFD of that id, of the package that [`PackageStore::package_of_vnfd`] finds. `NotFound` if there is none.
    async fn vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<OnboardedVnfd, StoreError>;
    /// The VNFD of an onboarded package of any project, which a VNF instance has. `NotFound` if there is none.
    async fn vnfd_of_package(&self, id: VnfPkgId) -> Result<OnboardedVnfd, StoreError>;
    /// All definition files of a package, by path.
    async fn definition_files(&self, id: VnfPkgId) -> Result<Arc<[DefinitionFile]>, StoreError>;
}

/// An onboarded VNFD, with the attributes of its package that operations need.
#[derive(Clone, Debug)]
pub struct OnboardedVnfd {
    pub package_id: VnfPkgId,
    /// The owner of the package.
    pub project_id: ProjectId,
    /// Only an ENABLED package may be used for new instances.
    pub operational_state: OperationalState,
    pub vnfd: Vnfd,
}
