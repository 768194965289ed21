//! What differs from the intent. The API server is asked what applying the intent again would make of each object
//! (`dryRun=All`), and that is compared with the object as it is. Nothing is changed.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::apply::{api, is_other_uid, is_ours, is_question, manager, placed, set_metadata};
use super::client::Cluster;
use super::shared::is_shared;
use crate::domain::drift::{Difference, DriftState, ObjectDrift, differences};
use crate::domain::resource::{Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// So many objects at a time.
const AT_ONCE: usize = 8;
/// How often an object may change under our eyes.
const ATTEMPTS: usize = 4;

/// How each object of the inventory stands to its intent, in the inventory's order. Reviews leave no object and are left out.
pub(super) async fn drift(
    cluster: &Cluster,
    scope: &Scope,
    resources: &[Resource],
) -> Result<Vec<ObjectDrift>, InfraError> {
    let looks: Vec<_> = resources
        .iter()
        .filter(|resource| !is_question(&resource.key))
        .map(|resource| one(cluster, scope, resource))
        .collect();
    stream::iter(looks).buffered(AT_ONCE).try_collect().await
}

async fn one(cluster: &Cluster, scope: &Scope, resource: &Resource) -> Result<ObjectDrift, InfraError> {
    let api = api(cluster, scope, resource);
    let params = PatchParams { dry_run: true, ..PatchParams::apply(&manager(scope.instance)).force() };
    let told = |state, detail, differences| ObjectDrift { key: resource.key.clone(), state, detail, differences };
    for _ in 0..ATTEMPTS {
        let Some(live) = cluster.find(&api, &resource.key.name).await? else {
            return Ok(told(DriftState::Missing, None, Vec::new()));
        };
        if !is_ours(&live, scope.instance) {
            // A Namespace or CustomResourceDefinition that was there is used as it is: that is the intent.
            let state = if is_shared(&resource.key) { DriftState::InSync } else { DriftState::Foreign };
            return Ok(told(state, None, Vec::new()));
        }
        let mut intent = placed(resource, scope);
        set_metadata(&mut intent, "uid", live.metadata.uid.clone().map(Value::from));
        let (applied, detail) = match cluster.call(api.patch(&resource.key.name, &params, &Patch::Apply(intent))).await
        {
            // Another change came in between: it must not be taken for ours.
            Ok(applied) if applied.metadata.resource_version != live.metadata.resource_version => continue,
            Ok(applied) => (Some(applied), None),
            Err(failed) if matches!(failed.code, Some(404 | 409)) || is_other_uid(&failed) => continue,
            // It was replaced by one that differs in what can't be changed.
            Err(failed) if failed.error.kind == InfraErrorKind::Invalid => {
                (None, Some(format!("the intent can't be applied to it: {}", failed.error)))
            }
            Err(failed) => return Err(failed.into()),
        };
        let found = found(&live, applied.as_ref(), scope, resource)?;
        let changed = !found.is_empty() || detail.is_some();
        return Ok(told(if changed { DriftState::Changed } else { DriftState::InSync }, detail, found));
    }
    Err(InfraError::transient(format!("{} is changed by others at the same time", resource.key)))
}

/// The differences, beginning with those that no manifest has words for: the object was replaced, or is being deleted.
fn found(
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
        found.extend(differences(&json(live)?, &json(applied)?, &manager(scope.instance)));
    }
    if resource.key.api_version == "v1" && resource.key.kind == "Secret" {
        found.iter_mut().filter(|it| ["/data", "/stringData"].iter().any(|at| it.path.starts_with(at))).for_each(mask);
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
