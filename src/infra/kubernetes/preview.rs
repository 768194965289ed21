//! Says what a plan would do with each of its objects: as [`super::drift`], by dry runs (`dryRun=All`), which run admission and validation
//! and change nothing: [`crate::infra::Previewer`].

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, PatchParams, PostParams};
use serde_json::Value;

use super::apply::{Target, api, intent_in_namespace, is_review_object};
use super::call_error::CallError;
use super::client::Cluster;
use super::drift::{Comparison, MAX_ATTEMPTS, MAX_CONCURRENT, changing, compare_with_intent};
use super::ownership::{field_manager, is_owned, is_shared};
use super::scaler::Replicas;
use super::update::is_about_twins;
use crate::domain::preview::{Action, Brought, Effect, ObjectPreview, PlannedObject};
use crate::domain::resource::{INSTANCE_LABEL, ObjectKey, Resource, ResourceState};
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// A preview of each object, in their order.
pub(super) async fn preview(
    cluster: &Cluster,
    scope: &Scope,
    objects: &[PlannedObject],
) -> Result<Vec<ObjectPreview>, InfraError> {
    let rehearsal = &Rehearsal { cluster, scope, brought: Brought::of(objects) };
    let previews: Vec<_> = objects.iter().map(|object| rehearsal.object(object)).collect();
    stream::iter(previews).buffered(MAX_CONCURRENT).try_collect().await
}

/// The plan's view of the cluster.
struct Rehearsal<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    brought: Brought<'a>,
}

/// What [`Rehearsal::look`] found.
enum Found {
    Nothing,
    Ours(Box<DynamicObject>),
    /// Not ours, and why that is no place for an object of ours.
    Foreign(String),
    /// A Namespace or CustomResourceDefinition of others, which is used as it is.
    Shared,
}

impl Rehearsal<'_> {
    async fn object(&self, object: &PlannedObject) -> Result<ObjectPreview, InfraError> {
        let row = &object.row;
        let answer = match object.effect {
            Effect::Leave(why) => return Ok(noted(row, Action::Unchanged, why)),
            _ if is_review_object(&row.key) => {
                return Ok(noted(row, Action::Unchanged, "a review leaves no object"));
            }
            _ if !row.info.is_known() => {
                let ObjectKey { api_version, kind, .. } = &row.key;
                let note = format!(
                    "the cluster does not serve {api_version} {kind} yet: an APIService of the package announces it"
                );
                return Ok(noted(row, Action::Unknown, note));
            }
            Effect::Apply { sets_replicas: true } => self.applied(row, Replicas::OfManifest).await,
            Effect::Apply { sets_replicas: false } => self.applied(row, Replicas::OfScaler).await,
            Effect::Replace => self.replaced(row).await,
            Effect::Delete => self.deleted(row).await,
            Effect::DeletePod => self.deleted_pod(row).await,
        };
        match answer {
            Err(error) if matches!(error.kind, InfraErrorKind::Transient | InfraErrorKind::Unauthorized) => Err(error),
            Err(error) => self.refused(row, error).await,
            answer => answer,
        }
    }

    async fn applied(&self, row: &Resource, replicas: Replicas) -> Result<ObjectPreview, InfraError> {
        let target = Target::new(self.cluster, self.scope, row);
        // The uid in the row is no difference: an object that somebody made again stays.
        let wanted = Resource { state: ResourceState::Planned, ..row.clone() };
        for _ in 0..MAX_ATTEMPTS {
            let live = match self.look(&target, row).await? {
                Found::Shared => return Ok(noted(row, Action::Unchanged, "it exists, and is used as it is")),
                Found::Foreign(owner) => return Ok(conflict(row, owner)),
                Found::Nothing => match self.created(&target, row).await? {
                    Some(created) => return Ok(created),
                    None => continue,
                },
                Found::Ours(live) => live,
            };
            if live.metadata.deletion_timestamp.is_some() {
                return Ok(noted(row, Action::Recreate, "it is being deleted, and made again when it is gone"));
            }
            let Some(Comparison { differences, refusal }) =
                compare_with_intent(&target, &wanted, &live, replicas).await?
            else {
                continue;
            };
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            let action = if differences.is_empty() { Action::Unchanged } else { Action::Change };
            return Ok(ObjectPreview { differences, ..previewed(row, action) });
        }
        Err(changing(row))
    }

    async fn replaced(&self, row: &Resource) -> Result<ObjectPreview, InfraError> {
        let target = Target::new(self.cluster, self.scope, row);
        for _ in 0..MAX_ATTEMPTS {
            match self.look(&target, row).await? {
                Found::Shared => return Ok(noted(row, Action::Unchanged, "it exists, and is used as it is")),
                Found::Foreign(owner) => return Ok(conflict(row, owner)),
                Found::Ours(_) => return Ok(noted(row, Action::Recreate, "it is deleted, and made again")),
                Found::Nothing => {
                    if let Some(created) = self.created(&target, row).await? {
                        return Ok(created);
                    }
                }
            }
        }
        Err(changing(row))
    }

    async fn look(&self, target: &Target<'_>, row: &Resource) -> Result<Found, InfraError> {
        let Some(live) = self.cluster.find(&target.api, &row.key.name).await? else { return Ok(Found::Nothing) };
        if is_owned(&live, self.scope.instance) {
            return Ok(Found::Ours(Box::new(live)));
        }
        if is_shared(&row.key) {
            return Ok(Found::Shared);
        }
        Ok(Found::Foreign(match live.labels().get(INSTANCE_LABEL) {
            Some(owner) => format!("{} belongs to VNF instance {owner}", row.key),
            None => format!("{} exists and is not managed by Gybe", row.key),
        }))
    }

    /// The preview of an object that does not exist. `None`: somebody made it meanwhile.
    async fn created(&self, target: &Target<'_>, row: &Resource) -> Result<Option<ObjectPreview>, InfraError> {
        let manager = field_manager(self.scope.instance);
        let intent = intent_in_namespace(row, self.scope);
        let params = PatchParams { dry_run: true, ..PatchParams::apply(&manager) };
        let answer = match target.apply(&params, &intent).await {
            Err(failed) if is_about_twins(&failed) => {
                let object = serde_json::from_value(Value::Object(intent))
                    .map_err(|error| InfraError::invalid(format!("{target} is not a Kubernetes object: {error}")))?;
                let params = PostParams { dry_run: true, field_manager: Some(manager) };
                self.cluster.call(target.api.create(&params, &object)).await
            }
            answer => answer,
        };
        match answer {
            Ok(_) => Ok(Some(previewed(row, Action::Create))),
            Err(failed) if failed.code == Some(409) => Ok(None),
            Err(failed) if failed.code == Some(404) && failed.error.kind != InfraErrorKind::NamespaceGone => {
                Ok(Some(self.not_served(row, &failed)))
            }
            Err(failed) => Err(failed.into()),
        }
    }

    fn not_served(&self, row: &Resource, failed: &CallError) -> ObjectPreview {
        let ObjectKey { api_version, kind, .. } = &row.key;
        if self.brought.serves(api_version) {
            let note = format!(
                "the cluster serves {api_version} {kind} only when the definition in the package is established"
            );
            return noted(row, Action::Unknown, note);
        }
        if self.brought.is_named_in(&failed.error.detail, &row.key) {
            return noted(row, Action::Unknown, failed.error.detail.clone());
        }
        let refusal = format!("the cluster does not serve {api_version} {kind}: {}", failed.error.detail);
        ObjectPreview { refusal: Some(refusal), ..previewed(row, Action::Unknown) }
    }

    async fn deleted(&self, row: &Resource) -> Result<ObjectPreview, InfraError> {
        match &row.state {
            ResourceState::Planned => return Ok(noted(row, Action::Unchanged, "it was not made")),
            ResourceState::Present { owned: false, .. } => {
                return Ok(noted(row, Action::Unchanged, "it existed before the VNF, and stays"));
            }
            ResourceState::Intent | ResourceState::Present { .. } => {}
        }
        let api = api(self.cluster, self.scope, row);
        let Some(found) = self.cluster.find_metadata(&api, &row.key.name).await? else {
            return Ok(noted(row, Action::Unchanged, "it does not exist any more"));
        };
        if !is_owned(&found, self.scope.instance) {
            return Ok(noted(row, Action::Unchanged, "it is not an object of this VNF instance any more, and stays"));
        }
        if is_shared(&row.key) {
            return Ok(noted(row, Action::Unknown, "it is deleted unless objects of others depend on it then"));
        }
        if row.key.group() == "apps" && row.key.kind == "StatefulSet" {
            return Ok(noted(row, Action::Delete, "with the volumes that its templates claimed"));
        }
        Ok(previewed(row, Action::Delete))
    }

    async fn deleted_pod(&self, row: &Resource) -> Result<ObjectPreview, InfraError> {
        let found = self.cluster.find_metadata(&self.cluster.pods(&self.scope.namespace), &row.key.name).await?;
        let is_it = |uid: &str| matches!(&row.state, ResourceState::Present { uid: known, .. } if known == uid);
        Ok(match found.and_then(|found| found.metadata.uid) {
            Some(uid) if is_it(&uid) => noted(row, Action::Delete, "its controller makes another one"),
            _ => noted(row, Action::Unchanged, "it does not exist any more"),
        })
    }

    /// The preview of an object whose dry run ended with this error.
    async fn refused(&self, row: &Resource, error: InfraError) -> Result<ObjectPreview, InfraError> {
        let namespace = &self.scope.namespace;
        let checked: Result<(), InfraError> = Err(error);
        let Err(error) = self.cluster.with_missing_namespace(namespace, checked).await else {
            return Ok(previewed(row, Action::Unknown));
        };
        let unknown = previewed(row, Action::Unknown);
        Ok(match error.kind {
            InfraErrorKind::Transient | InfraErrorKind::Unauthorized => return Err(error),
            InfraErrorKind::NamespaceGone if self.brought.has_namespace(namespace.as_str()) => {
                let note =
                    format!("namespace {namespace} does not exist yet: the cluster checks the object when it is made");
                ObjectPreview { note: Some(note), ..unknown }
            }
            // Rights are a question of their own; a webhook that does not answer decides nothing.
            InfraErrorKind::Denied | InfraErrorKind::Waiting => ObjectPreview { note: Some(error.detail), ..unknown },
            _ if self.brought.is_named_in(&error.detail, &row.key) => {
                let note = format!("not until another object of the plan exists: {}", error.detail);
                ObjectPreview { note: Some(note), ..unknown }
            }
            _ => ObjectPreview { refusal: Some(error.detail), ..unknown },
        })
    }
}

fn previewed(row: &Resource, action: Action) -> ObjectPreview {
    ObjectPreview {
        key: row.key.clone(),
        namespaced: row.info.namespaced,
        action,
        differences: Vec::new(),
        note: None,
        refusal: None,
    }
}

fn noted(row: &Resource, action: Action, note: impl Into<String>) -> ObjectPreview {
    ObjectPreview { note: Some(note.into()), ..previewed(row, action) }
}

/// The preview of an object whose name somebody else has.
fn conflict(row: &Resource, owner: String) -> ObjectPreview {
    ObjectPreview { refusal: Some(owner), ..previewed(row, Action::Unknown) }
}
