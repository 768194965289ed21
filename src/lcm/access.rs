//! Resolves how to reach the cluster of a VNF instance: from its own `vimConnectionInfo`, or from the present registration of
//! the VIM that it names, so that a rotated credential takes effect at the next use.

use crate::domain::ids::{ProjectId, VimId};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::vim::{Vim, VimAccess, VimConnection};
use crate::error::ApiError;
use crate::store::{StoreError, VimStore};

/// The reason why an instance's cluster cannot be accessed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The connection can't be used. The text is for the caller.
    #[error("vimConnectionInfo: {0}")]
    Unusable(String),
    /// The project may not use the VIM any more.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Unusable(_) => Problem::new(ProblemType::VimUnusable, error.to_string()).into(),
            AccessError::Refused(problem) => problem.into(),
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
    let id = vim_id(connection)?;
    // A VNF is in the VIM, which it may have to leave although the VIM is shared no longer.
    match store.vim(connection.lender.as_ref().unwrap_or(project), id).await {
        Err(StoreError::NotFound) => Err(unregistered(id)),
        other => other?.access_of(project).map_err(AccessError::Unusable),
    }
}

/// The registered VIM that `home` names, as the project may use it now; `None` if it has an access of its own.
///
/// # Errors
/// [`AccessError`]; 403 if the VIM is shared with the project no longer.
pub async fn registered(
    store: &dyn VimStore,
    project: &ProjectId,
    home: &VimConnection,
) -> Result<Option<Vim>, AccessError> {
    match home.inline_access() {
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => return Ok(None),
    }
    let id = vim_id(home)?;
    match store.visible_vim(project, id).await {
        Err(StoreError::NotFound) if home.lender.is_some() => Err(AccessError::Refused(problem!(
            ProblemType::VimPolicy,
            "VIM {vim} is no longer shared with project '{project}': VNFs that are there can be terminated only",
            vim = id.to_string(),
            project = project.0.as_str(),
        ))),
        Err(StoreError::NotFound) => Err(unregistered(id)),
        other => Ok(Some(other?)),
    }
}

fn vim_id(connection: &VimConnection) -> Result<VimId, AccessError> {
    let id = connection.vim_id.as_deref().unwrap_or_default();
    id.parse().map_err(|_| AccessError::Unusable(format!("'{id}' is not a VIM")))
}

fn unregistered(id: VimId) -> AccessError {
    AccessError::Unusable(format!("the VIM {id} is no longer registered"))
}
