//! Deletes objects by name and uid, never another object of the same name.

use futures::stream::{self, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};

use super::client::{Cluster, MAX_CONCURRENT_CALLS};
use crate::infra::{InfraError, Scope};

/// Deletes the objects of these names and uids.
pub(super) async fn delete_all<'a>(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    named: impl Iterator<Item = (&'a str, &'a str)>,
    params: &DeleteParams,
) -> Result<(), InfraError> {
    let delete = async |(name, uid)| delete(cluster, api, name, uid, params.clone()).await.map(drop);
    stream::iter(named.map(Ok)).try_for_each_concurrent(MAX_CONCURRENT_CALLS, delete).await
}

/// Deletes the object of that name if it has that uid. Returns whether it is surely gone already.
pub(super) async fn delete(
    cluster: &Cluster,
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    params: DeleteParams,
) -> Result<bool, InfraError> {
    let params = params.preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match cluster.call(api.delete(name, &params)).await {
        // The API server answers with a Status if nothing is left, and with the object while it is being deleted.
        Ok(answer) => Ok(answer.is_right()),
        Err(failed) if failed.code == Some(404) => Ok(true),
        // An object of another uid has the name, so ours is gone. The wait for it finds that out.
        Err(failed) if failed.code == Some(409) => Ok(false),
        Err(failed) => Err(failed.into()),
    }
}

/// An error that names the objects that are `left` after the time-out, and their finalizers.
pub(super) fn check_deleted(kind: &str, scope: &Scope, left: &[DynamicObject]) -> Result<(), InfraError> {
    if left.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = left.iter().map(with_finalizers).collect();
    let text = format!("{kind} {} in namespace {} is not gone in time", names.join(", "), scope.namespace);
    Err(InfraError::not_ready(text).quoting("namespace", &scope.namespace))
}

fn with_finalizers(object: &DynamicObject) -> String {
    match object.finalizers() {
        [] => object.name_any(),
        finalizers => format!("{} (waits for its finalizers {})", object.name_any(), finalizers.join(", ")),
    }
}
