//! Changes an object of ours to what its manifest says, by server-side apply. Where that cannot express the change, by a replacement:
//! [`crate::domain::replacement`] says when, `docs/adr/0027-updates-beyond-server-side-apply.md` why.

use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::apply::{Target, is_other_uid, set_metadata};
use super::call_error::CallError;
use super::ownership::field_manager;
use super::scaler::{Replicas, leave_replicas};
use crate::domain::managed_fields::{merged_into_apply, replacement_manager};
use crate::domain::replacement::{completion, merge_patch, replacement};
use crate::infra::{InfraError, InfraErrorKind};

impl Target<'_> {
    /// Updates our object, which is `found`. `None` if it is gone, replaced, or changed by others in between: look again.
    pub(super) async fn update(
        &self,
        intent: &Map<String, Value>,
        found: &DynamicObject,
        replicas: Replicas,
    ) -> Result<Option<DynamicObject>, InfraError> {
        let mut intent = intent.clone();
        if replicas == Replicas::OfScaler {
            leave_replicas(self.cluster, self.scope, self.key, &mut intent, found).await?;
        }
        // If the object was replaced since we looked, the uid makes this fail; without it we would take over the new object. The
        // version makes it fail if a later writer has written the object since.
        set_metadata(&mut intent, "uid", found.metadata.uid.clone().map(Value::from));
        set_metadata(&mut intent, "resourceVersion", found.resource_version().map(Value::from));
        match self.apply(&PatchParams::apply(&field_manager(self.scope.instance)).force(), &intent).await {
            Ok(made) if self.was_replaced(&made) => self.own_replaced_fields(&made).await,
            Ok(made) => Ok(Some(made)),
            Err(failed) if must_look_again(&failed) => Ok(None),
            Err(failed) => self.replace(&intent, found, failed, false).await,
        }
    }

    /// The object that a replacement would make of `found`, as a dry run; `refused` if no replacement is possible either.
    pub(super) async fn dry_run_replacement(
        &self,
        intent: &Map<String, Value>,
        found: &DynamicObject,
        refused: CallError,
    ) -> Result<Option<DynamicObject>, InfraError> {
        self.replace(intent, found, refused, true).await
    }

    /// Replaces the object after the API server has refused an apply. `refused` stays the error if that does not help.
    async fn replace(
        &self,
        intent: &Map<String, Value>,
        found: &DynamicObject,
        refused: CallError,
        dry_run: bool,
    ) -> Result<Option<DynamicObject>, InfraError> {
        let has_twins = is_about_twins(&refused);
        if !has_twins && refused.code != Some(422) {
            return Err(refused.into());
        }
        let manager = field_manager(self.scope.instance);
        let live =
            serde_json::to_value(found).map_err(|error| InfraError::invalid(format!("{}: {error}", self.key)))?;
        let sent = match self.send_difference(&live, &replacement(&live, intent, &manager), dry_run).await {
            // Nothing of a Pod or a Job can be removed.
            Err(failed) if has_twins && failed.error.kind == InfraErrorKind::Invalid => {
                self.send_difference(&live, &completion(&live, intent, &manager), dry_run).await
            }
            sent => sent,
        };
        match sent {
            Ok(None) if has_twins => Ok(Some(found.clone())),
            Ok(None) => Err(refused.into()),
            // The next apply finds what it can express, and removes the traces of the replacement.
            Ok(Some(_)) if !has_twins && !dry_run => Ok(None),
            Ok(made) => Ok(made),
            Err(failed) if must_look_again(&failed) => Ok(None),
            Err(failed) if failed.error.kind == InfraErrorKind::Invalid => Err(refused.into()),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Turns the object into `wanted`, if it is still `live`. `None` if they are equal.
    async fn send_difference(
        &self,
        live: &Value,
        wanted: &Value,
        dry_run: bool,
    ) -> Result<Option<DynamicObject>, CallError> {
        let Some(mut patch) = merge_patch(live, wanted) else { return Ok(None) };
        if let Value::Object(patch) = &mut patch {
            let metadata = patch.entry("metadata").or_insert_with(|| json!({}));
            metadata["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        let manager = replacement_manager(&field_manager(self.scope.instance));
        let params = PatchParams { field_manager: Some(manager), dry_run, ..PatchParams::default() };
        self.cluster.call(self.api.patch(&self.key.name, &params, &Patch::Merge(patch))).await.map(Some)
    }

    /// Whether the object has fields that a replacement set.
    fn was_replaced(&self, object: &DynamicObject) -> bool {
        let manager = replacement_manager(&field_manager(self.scope.instance));
        object.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(manager.as_str()))
    }

    /// Makes the fields that a replacement set fields of our applies, so that the next apply removes those that the manifest lacks.
    async fn own_replaced_fields(&self, object: &DynamicObject) -> Result<Option<DynamicObject>, InfraError> {
        let live =
            serde_json::to_value(object).map_err(|error| InfraError::invalid(format!("{}: {error}", self.key)))?;
        let patch = json!({ "metadata": {
            "resourceVersion": object.resource_version(),
            "managedFields": merged_into_apply(&live, &field_manager(self.scope.instance)),
        } });
        match self.cluster.call(self.api.patch(&self.key.name, &PatchParams::default(), &Patch::Merge(patch))).await {
            Err(failed) if !must_look_again(&failed) => Err(failed.into()),
            _ => Ok(None),
        }
    }
}

/// Whether the apply failed only because the object is gone, replaced, or changed.
fn must_look_again(failed: &CallError) -> bool {
    matches!(failed.code, Some(404 | 409)) || is_other_uid(failed)
}

/// Whether server-side apply refuses the manifest because two elements of a list have the same key.
pub(super) fn is_about_twins(failed: &CallError) -> bool {
    failed.error.kind == InfraErrorKind::Invalid && failed.error.detail.contains("duplicate entries for key")
}
