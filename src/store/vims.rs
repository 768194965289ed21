//! VIMs in the store.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VimId};
use crate::domain::vim::{Vim, VimStatus};
use crate::store::{PageCursor, StoreError};

/// VIMs and their credentials.
#[async_trait]
pub trait VimStore: Send + Sync {
    /// Adds a VIM. `Duplicate("name")`, or `Duplicate("default VIM")` if it would be the second default of the project.
    async fn create_vim(&self, vim: &Vim) -> Result<(), StoreError>;
    /// One VIM that the project owns.
    async fn vim(&self, project: &ProjectId, id: VimId) -> Result<Vim, StoreError>;
    /// One VIM that the project owns or that is shared with it.
    async fn visible_vim(&self, project: &ProjectId, id: VimId) -> Result<Vim, StoreError>;
    /// The visible VIM of that name: an own one first, else the oldest.
    async fn vim_named(&self, project: &ProjectId, name: &str) -> Result<Vim, StoreError>;
    /// The project's default VIM. `NotFound` if it has none.
    async fn default_vim(&self, project: &ProjectId) -> Result<Vim, StoreError>;
    /// The first `limit` VIMs that are visible to a project, or all (`None`), after a position, oldest first.
    async fn vims(
        &self,
        project: Option<&ProjectId>,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Vec<Vim>, StoreError>;
    /// The first `limit` VIMs with this `auth_url` after a position, of all projects, oldest first.
    async fn vims_at(&self, endpoint: &str, after: Option<PageCursor>, limit: usize) -> Result<Vec<Vim>, StoreError>;
    /// Records what the API server showed with the access that `vim` has. Changes nothing if the VIM was updated meanwhile.
    async fn record_vim_status(&self, vim: &Vim, status: VimStatus) -> Result<(), StoreError>;
    /// Replaces all but the id, project and `created_at`. `Stale` unless the VIM was last updated at `seen`; other errors as for
    /// [`VimStore::create_vim`].
    async fn update_vim(&self, vim: &Vim, seen: Option<OffsetDateTime>) -> Result<(), StoreError>;
    /// Removes a VIM. `InUse` while a `vim_id` of a VNF instance's `vim_connections` names it.
    async fn delete_vim(&self, project: &ProjectId, id: VimId) -> Result<(), StoreError>;
}
