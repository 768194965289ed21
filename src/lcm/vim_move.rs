//! A registered VIM gets another address or credential. The VNF instances that live in the VIM follow, so it must be the same cluster.
//!
//! Two clusters differ in the uid of their Namespace `kube-system`, which is recorded when the VIM is registered or changed. If the
//! credential may not read it, the cluster at a new address must have objects of the instances, by uid.

use crate::domain::namespace::Namespace;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::resource::{Resource, ResourceState};
use crate::domain::vim::{Vim, VimConnection};
use crate::error::ApiError;
use crate::infra::{Observer, Scope};
use crate::store::{InstanceLocation, Store};

/// The most instances that are compared.
const MAX_INSTANCES: usize = 8;
/// The most objects of an instance that are looked for. Others may have deleted some of them.
const MAX_OBJECTS: usize = 8;
/// The Namespace that every cluster has, and keeps as long as it lives.
const SYSTEM: &str = "kube-system";

/// What tells the cluster of `vim` from others: the uid of its Namespace `kube-system`. `None` if the credential may not read it.
pub async fn cluster_uid(observer: &dyn Observer, vim: &Vim) -> Option<String> {
    let (access, namespace) = (vim.access().ok()?, Namespace::try_from(SYSTEM.to_owned()).ok()?);
    observer.namespace(&access, &namespace).await.ok()?.map(|found| found.uid)
}

/// Checks that `vim` is the cluster that `former`, the same VIM before its change, was, if VNF instances live in it. Returns the uid to
/// record.
///
/// # Errors
/// 409 if the clusters differ; the error of the VIM if it cannot be read.
pub async fn check(
    store: &dyn Store,
    observer: &dyn Observer,
    former: &Vim,
    vim: &Vim,
) -> Result<Option<String>, ApiError> {
    let found = cluster_uid(observer, vim).await;
    let known = found.clone().or_else(|| former.cluster_uid.clone());
    let is_same = found.is_some() && found == former.cluster_uid;
    let is_unknown = found.is_none() || former.cluster_uid.is_none();
    if is_same || is_unknown && former.endpoint == vim.endpoint {
        return Ok(known);
    }
    let id = vim.id.to_string();
    let lives_there = |home: &VimConnection| home.vim_id.as_deref() == Some(id.as_str());
    let mut instances = store.instantiated(None).await?;
    instances.retain(|it| it.home.as_ref().is_some_and(lives_there));
    match (&former.cluster_uid, &found) {
        _ if instances.is_empty() => return Ok(found),
        (Some(before), Some(now)) => return Err(another_cluster(former, before, vim, now, instances.len()).into()),
        _ => have_objects(store, observer, former, vim, instances).await?,
    }
    Ok(known)
}

/// Checks that the cluster has objects of the instances.
async fn have_objects(
    store: &dyn Store,
    observer: &dyn Observer,
    former: &Vim,
    vim: &Vim,
    instances: Vec<InstanceLocation>,
) -> Result<(), ApiError> {
    for instance in instances.into_iter().take(MAX_INSTANCES) {
        let is_present = |row: &Resource| matches!(row.state, ResourceState::Present { .. });
        let rows = store.resources(instance.id).await?;
        let rows: Vec<Resource> = rows.into_iter().filter(is_present).take(MAX_OBJECTS).collect();
        let access = vim.access_of(&instance.project_id);
        let access = access.map_err(|reason| Problem::new(ProblemType::VimUnusable, reason))?;
        let InstanceLocation { id, project_id: project, namespace, .. } = instance;
        let scope = Scope { access, namespace, instance: id, project, writer: None };
        if !rows.is_empty() && !observer.has_any(&scope, &rows).await.map_err(Problem::from)? {
            return Err(problem!(
                ProblemType::Conflict,
                "{endpoint} is the API server of another cluster than {former}: it has no object of VNF instance {vnfInstanceId}, \
                 which lives in this VIM. Register another VIM for another cluster",
                endpoint = vim.endpoint,
                former = former.endpoint,
                vnfInstanceId = id.to_string(),
            )
            .into());
        }
    }
    Ok(())
}

fn another_cluster(former: &Vim, before: &str, vim: &Vim, now: &str, instances: usize) -> Problem {
    problem!(
        ProblemType::Conflict,
        "{endpoint} is the API server of another cluster (kube-system has the uid {uid}) than {former} was (uid {formerUid}), where \
         {count} VNF instances of this VIM live. Register another VIM for another cluster, or terminate them first",
        endpoint = vim.endpoint,
        uid = now,
        former = former.endpoint,
        formerUid = before,
        count = instances,
    )
}
