//! Compares each object with its intent: the API server says by a dry run (`dryRun=All`) what applying the intent again would make
//! of the object. Changes nothing.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, PatchParams};
use serde_json::Value;

use super::apply::{Target, intent_in_namespace, is_other_uid, is_review_object, set_metadata};
use super::client::Cluster;
use super::ownership::{field_manager, is_owned, is_shared};
use super::scaler::{Replicas, leave_replicas};
use crate::domain::drift::{Difference, DriftState, ObjectDrift, differences};
use crate::domain::manifest::set_annotation;
use crate::domain::resource::{Resource, ResourceState};
use crate::domain::writer::WRITTEN_BY_ANNOTATION;
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// Objects that are compared at a time.
pub(super) const MAX_CONCURRENT: usize = 8;
/// How often others may change an object during the comparison: several times a second during a rollout.
pub(super) const MAX_ATTEMPTS: usize = 12;

/// The drift of each object of the inventory, in the order of the inventory. Leaves out reviews, which leave no object.
pub(super) async fn drift(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
) -> Result<Vec<ObjectDrift>, InfraError> {
    let comparisons: Vec<_> = resources
        .iter()
        .filter(|resource| !is_review_object(&resource.key))
        .map(|resource| compare(cluster, scope, resource))
        .collect();
    stream::iter(comparisons).buffered(MAX_CONCURRENT).try_collect().await
}

async fn compare(cluster: &Cluster, scope: &Scope, resource: &Resource) -> Result<ObjectDrift, InfraError> {
    let target = Target::new(cluster, scope, resource);
    let drift = |state, detail, differences| ObjectDrift { key: resource.key.clone(), state, detail, differences };
    for _ in 0..MAX_ATTEMPTS {
        let Some(live) = cluster.find(&target.api, &resource.key.name).await? else {
            let state = if ends_by_itself(resource) { DriftState::InSync } else { DriftState::Missing };
            return Ok(drift(state, None, Vec::new()));
        };
        if !is_owned(&live, scope.instance) {
            // A Namespace or CustomResourceDefinition that existed before is used as it is: that is the intent.
            let state = if is_shared(&resource.key) { DriftState::InSync } else { DriftState::Foreign };
            return Ok(drift(state, None, Vec::new()));
        }
        let comparison = compare_with_intent(&target, resource, &live, Replicas::OfScaler).await?;
        let Some(Comparison { differences, refusal }) = comparison else { continue };
        let detail = refusal.map(|error| format!("the intent cannot be applied: {error}"));
        let changed = !differences.is_empty() || detail.is_some();
        return Ok(drift(if changed { DriftState::Changed } else { DriftState::InSync }, detail, differences));
    }
    Err(changing(resource))
}

/// An object of ours, compared with its intent.
pub(super) struct Comparison {
    pub differences: Vec<Difference>,
    /// Why the intent cannot be applied: somebody replaced the object with one that differs in an immutable field.
    pub refusal: Option<InfraError>,
}

/// What applying the intent of `resource` would change of `live`, an object of ours. `None`: somebody changed it meanwhile.
pub(super) async fn compare_with_intent(
    target: &Target<'_>,
    resource: &Resource,
    live: &DynamicObject,
    replicas: Replicas,
) -> Result<Option<Comparison>, InfraError> {
    let (cluster, scope) = (target.cluster, target.scope);
    let params = PatchParams { dry_run: true, ..PatchParams::apply(&field_manager(scope.instance)).force() };
    let mut intent = intent_in_namespace(resource, scope);
    set_metadata(&mut intent, "uid", live.metadata.uid.clone().map(Value::from));
    if replicas == Replicas::OfScaler {
        leave_replicas(cluster, scope, &resource.key, &mut intent, live).await?;
    }
    if let Some(writer) = live.annotations().get(WRITTEN_BY_ANNOTATION) {
        set_annotation(&mut intent, WRITTEN_BY_ANNOTATION, Some(writer));
    }
    let applied = match target.apply(&params, &intent).await {
        Err(failed) if matches!(failed.code, Some(404 | 409)) || is_other_uid(&failed) => return Ok(None),
        Err(refused) => target.dry_run_replacement(&intent, live, refused).await,
        Ok(applied) => Ok(Some(applied)),
    };
    let (applied, refusal) = match applied {
        Ok(None) => return Ok(None),
        // Somebody changed it since we read it. That change must not count as a difference.
        Ok(Some(applied)) if applied.metadata.resource_version != live.metadata.resource_version => return Ok(None),
        Ok(applied) => (applied, None),
        Err(error) if error.kind == InfraErrorKind::Invalid => (None, Some(error)),
        Err(error) => return Err(error),
    };
    let differences = all_differences(live, applied.as_ref(), scope, resource)?;
    Ok(Some(Comparison { differences, refusal }))
}

/// The error if others change the object whenever it is compared.
pub(super) fn changing(resource: &Resource) -> InfraError {
    InfraError::transient(format!("others change {} at the same time", resource.key)).quoting("object", &resource.key)
}

/// Whether Kubernetes deletes the object once it has done its work: a Job with `ttlSecondsAfterFinished` that was made.
fn ends_by_itself(resource: &Resource) -> bool {
    let lifetime = resource.manifest.get("spec").and_then(|spec| spec.get("ttlSecondsAfterFinished"));
    resource.key.group() == "batch"
        && resource.key.kind == "Job"
        && lifetime.is_some_and(Value::is_number)
        && matches!(resource.state, ResourceState::Present { .. })
}

/// The differences, first those of the metadata: the object was replaced, or is being deleted. Values of Secrets are masked.
fn all_differences(
    live: &DynamicObject,
    applied: Option<&DynamicObject>,
    scope: &Scope,
    resource: &Resource,
) -> Result<Vec<Difference>, InfraError> {
    let difference = |path: &str, intended: Option<&str>, actual: Option<String>| Difference {
        path: path.to_owned(),
        intended: intended.map(Value::from),
        actual: actual.map(Value::from),
        author: None,
    };
    let mut found = Vec::new();
    if let ResourceState::Present { uid, .. } = &resource.state
        && live.metadata.uid.as_ref() != Some(uid)
    {
        found.push(difference("/metadata/uid", Some(uid), live.uid()));
    }
    if let Some(time) = &live.metadata.deletion_timestamp {
        found.push(difference("/metadata/deletionTimestamp", None, Some(time.0.to_string())));
    }
    if let Some(applied) = applied {
        let json = |object: &DynamicObject| {
            serde_json::to_value(object).map_err(|error| InfraError::invalid(format!("{}: {error}", resource.key)))
        };
        found.extend(differences(&json(live)?, &json(applied)?, &field_manager(scope.instance)));
    }
    if resource.key.api_version == "v1" && resource.key.kind == "Secret" {
        // The annotation of `kubectl apply` repeats the data.
        let has_values = |it: &&mut Difference| {
            ["/data", "/stringData", "/metadata/annotations"].iter().any(|at| it.path.starts_with(at))
        };
        found.iter_mut().filter(has_values).for_each(mask);
    }
    Ok(found)
}

fn mask(difference: &mut Difference) {
    fn hide(value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(hide),
            value => *value = "***".into(),
        }
    }
    difference.intended.iter_mut().chain(&mut difference.actual).for_each(hide);
}
