//! Shares of VIMs and VNF packages in the store.

use async_trait::async_trait;

use crate::domain::ids::{ProjectId, VimId, VnfPkgId};
use crate::domain::share::{Grantee, VimShare};
use crate::store::StoreError;

/// With whom the VIM or package of a project is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBy<T> {
    pub owner: ProjectId,
    pub shares: Vec<T>,
}

/// Shares, for admins: of the VIMs and packages of all projects. `NotFound` if there is no such VIM or package.
#[async_trait]
pub trait ShareStore: Send + Sync {
    async fn vim_shares(&self, id: VimId) -> Result<SharedBy<VimShare>, StoreError>;
    /// Replaces all shares of the VIM.
    async fn set_vim_shares(&self, id: VimId, shares: &[VimShare]) -> Result<(), StoreError>;
    async fn package_shares(&self, id: VnfPkgId) -> Result<SharedBy<Grantee>, StoreError>;
    /// Replaces all shares of the package.
    async fn set_package_shares(&self, id: VnfPkgId, shares: &[Grantee]) -> Result<(), StoreError>;
}
