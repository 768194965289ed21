//! How to reach the cluster of a VNF instance: by its own `vimConnectionInfo`, or as the VIM it names is registered now, so
//! that a rotated credential is used from the next look on.

use crate::domain::ids::ProjectId;
use crate::domain::vim::{VimAccess, VimConnection};
use crate::store::{StoreError, VimStore};

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The connection is of no use; the text is for the caller.
    #[error("vimConnectionInfo: {0}")]
    Unusable(String),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The access to the VIM that an instance lives in.
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
    let id = connection.vim_id.as_deref().unwrap_or_default();
    let vim_id = id.parse().map_err(|_| AccessError::Unusable(format!("'{id}' is not a VIM")))?;
    match store.vim(project, vim_id).await {
        Err(StoreError::NotFound) => Err(AccessError::Unusable(format!("the VIM {id} is no longer registered"))),
        other => other?.access().map_err(AccessError::Unusable),
    }
}
