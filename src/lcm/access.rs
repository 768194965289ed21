//! Resolves how to reach the cluster of a VNF instance: from its own `vimConnectionInfo`, or from the present registration of
//! the VIM that it names, so that a rotated credential takes effect at the next use.

use crate::domain::ids::ProjectId;
use crate::domain::problem::{Problem, ProblemType};
use crate::domain::vim::{Vim, VimAccess, VimConnection};
use crate::error::ApiError;
use crate::store::{StoreError, VimStore};

/// The reason why an instance's cluster cannot be accessed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The connection can't be used. The text is for the caller.
    #[error("vimConnectionInfo: {0}")]
    Unusable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Unusable(_) => Problem::new(ProblemType::VimUnusable, error.to_string()).into(),
            AccessError::Store(error) => error.into(),
        }
    }
}

/// The access to the VIM `home`, where an instance of `project` lives: as the ServiceAccount of the project, if the VIM impersonates.
///
/// # Errors
/// [`AccessError`].
pub async fn access(
    store: &dyn VimStore,
    project: &ProjectId,
    home: Option<&VimConnection>,
) -> Result<VimAccess, AccessError> {
    let connection = home.ok_or_else(|| AccessError::Unusable("the VNF instance lives in none".to_owned()))?;
    if let Some(access) = connection.inline_access().map_err(AccessError::Unusable)? {
        return Ok(access);
    }
    vim(store, project, connection).await?.access_of(project).map_err(AccessError::Unusable)
}

/// The registered VIM that `home` names; `None` if it has an access of its own.
///
/// # Errors
/// [`AccessError`].
pub async fn registered(
    store: &dyn VimStore,
    project: &ProjectId,
    home: &VimConnection,
) -> Result<Option<Vim>, AccessError> {
    match home.inline_access() {
        Ok(None) => vim(store, project, home).await.map(Some),
        Ok(Some(_)) | Err(_) => Ok(None),
    }
}

async fn vim(store: &dyn VimStore, project: &ProjectId, connection: &VimConnection) -> Result<Vim, AccessError> {
    let id = connection.vim_id.as_deref().unwrap_or_default();
    let vim_id = id.parse().map_err(|_| AccessError::Unusable(format!("'{id}' is not a VIM")))?;
    match store.vim(project, vim_id).await {
        Err(StoreError::NotFound) => Err(AccessError::Unusable(format!("the VIM {id} is no longer registered"))),
        other => Ok(other?),
    }
}
