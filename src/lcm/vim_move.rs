//! The API server of a registered VIM has another address. The VNF instances that live in the VIM follow, so it must be the same
//! cluster: one that has their objects, by uid.

use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::resource::{Resource, ResourceState};
use crate::domain::vim::{Vim, VimConnection};
use crate::error::ApiError;
use crate::infra::{Observer, Scope};
use crate::store::Store;

/// The most instances that are compared. Those of one VIM have the same access.
const MAX_INSTANCES: usize = 8;
/// The most objects of an instance that are looked for. Others may have deleted some of them.
const MAX_OBJECTS: usize = 8;

/// Checks that the cluster at the new address and with the new credential of `vim` is the one where its VNF instances live.
///
/// # Errors
/// 409 if it lacks all objects of an instance; the error of the VIM if it cannot be read.
pub async fn check(store: &dyn Store, observer: &dyn Observer, vim: &Vim) -> Result<(), ApiError> {
    let id = vim.id.to_string();
    let lives_there = |home: &VimConnection| home.vim_id.as_deref() == Some(id.as_str());
    let located = store.instantiated(None).await?;
    let located = located.into_iter().filter(|it| it.home.as_ref().is_some_and(lives_there));
    for instance in located.take(MAX_INSTANCES) {
        let is_present = |row: &Resource| matches!(row.state, ResourceState::Present { .. });
        let rows = store.resources(instance.id).await?;
        let rows: Vec<Resource> = rows.into_iter().filter(is_present).take(MAX_OBJECTS).collect();
        let access = vim.access_of(&instance.project_id);
        let access = access.map_err(|reason| Problem::new(ProblemType::VimUnusable, reason))?;
        let scope = Scope { access, namespace: instance.namespace, instance: instance.id, writer: None };
        if !rows.is_empty() && !observer.has_any(&scope, &rows).await.map_err(Problem::from)? {
            return Err(problem!(
                ProblemType::Conflict,
                "{endpoint} is the API server of another cluster: it has no object of VNF instance {vnfInstanceId}, which lives in \
                 this VIM. Register another VIM for another cluster",
                endpoint = vim.endpoint,
                vnfInstanceId = instance.id.to_string(),
            )
            .into());
        }
    }
    Ok(())
}
