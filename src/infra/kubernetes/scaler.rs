//! Who sets the replicas of a workload: the manifest, or somebody else who scales it.
//!
//! [`super::update`] and [`super::drift`] ask [`leave_replicas`] before they apply an intent to an existing object.

use kube::api::{DynamicObject, ListParams};
use serde_json::{Map, Value};

use super::client::Cluster;
use super::ownership::field_manager;
use crate::domain::replicas;
use crate::domain::resource::ObjectKey;
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// Who sets the replicas of a workload that somebody else has scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replicas {
    /// The one who scales it.
    OfScaler,
    /// We do.
    OfManifest,
}

/// The field manager of the controller of HorizontalPodAutoscalers.
const AUTOSCALER_MANAGER: &str = "kube-controller-manager";

/// Removes the replicas from `intent` if somebody else scales the object: its scale subresource has been written, or a
/// HorizontalPodAutoscaler targets it. KEDA makes a HorizontalPodAutoscaler, too.
pub(super) async fn leave_replicas(
    cluster: &Cluster,
    scope: &Scope,
    key: &ObjectKey,
    intent: &mut Map<String, Value>,
    live: &DynamicObject,
) -> Result<(), InfraError> {
    let object = serde_json::to_value(live).map_err(|error| InfraError::invalid(format!("{key}: {error}")))?;
    let manager = field_manager(scope.instance);
    let is_scaled = replicas::was_scaled(&object)
        || replicas::changes_replicas(intent, &object)
            && match replicas::scaled_by(&object, &manager) {
                Some(AUTOSCALER_MANAGER) => has_autoscaler(cluster, scope, key).await?.unwrap_or(true),
                Some(_) => true,
                None => has_autoscaler(cluster, scope, key).await?.unwrap_or(false),
            };
    if is_scaled {
        replicas::leave_replicas(intent, &object, &manager);
    }
    Ok(())
}

/// Whether a HorizontalPodAutoscaler targets the object; `None` if the credential may not list them.
async fn has_autoscaler(cluster: &Cluster, scope: &Scope, key: &ObjectKey) -> Result<Option<bool>, InfraError> {
    let kind = "HorizontalPodAutoscaler";
    let autoscalers = cluster.builtin("autoscaling/v2", kind, "horizontalpodautoscalers", &scope.namespace);
    let targets = |autoscaler: &DynamicObject| {
        let target = autoscaler.data.pointer("/spec/scaleTargetRef");
        let text = |name: &str| target.and_then(|target| target.get(name)?.as_str()).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        // `apiVersion` is optional.
        let is_of_group = text("apiVersion").is_empty() || group == key.group();
        is_of_group && text("kind") == key.kind && text("name") == key.name
    };
    match cluster.list_all(&autoscalers, &ListParams::default()).await {
        Ok(list) => Ok(Some(list.iter().filter(|it| it.metadata.deletion_timestamp.is_none()).any(targets))),
        Err(failed) if failed.error.kind == InfraErrorKind::Denied => Ok(None),
        Err(failed) => Err(failed.into()),
    }
}
