//! Makes objects, and never takes over an object of somebody else: `docs/adr/0003-field-manager-per-instance.md`. [`super::update`]
//! changes those that exist.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::call_error::CallError;
use super::client::Cluster;
use super::ownership::{field_manager, is_namespace, is_owned, is_shared, refuse_superseded};
use super::scaler::Replicas;
use super::update::is_about_twins;
use super::watch::{ListWatch, ObjectEvent, follow, wait_until_deleted};
use crate::domain::intent::applied;
use crate::domain::managed_fields::replacement_manager;
use crate::domain::manifest::{is_review, set_annotation};
use crate::domain::namespace::Namespace;
use crate::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, ObjectKey, Resource, ResourceState};
use crate::domain::writer::WRITTEN_BY_ANNOTATION;
use crate::infra::{AppliedObject, InfraError, InfraErrorKind, Scope};

/// How often others may change the object in between before the step is retried later. A replacement takes three attempts, and the
/// status of a workload changes several times a second during a rollout.
const MAX_ATTEMPTS: usize = 12;
/// How long to wait for the default ServiceAccount of a new Namespace.
const SERVICE_ACCOUNT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an object of ours that is being deleted.
const DELETION_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes or updates the object so that it is as its manifest says: [`crate::infra::Driver::ensure`].
pub(super) async fn ensure(
    cluster: &Cluster,
    scope: &Scope,
    resource: &Resource,
    replicas: Replicas,
) -> Result<AppliedObject, InfraError> {
    let object = Target::new(cluster, scope, resource);
    let intent = intent_in_namespace(resource, scope);
    if is_review_object(&resource.key) {
        object.create_review(intent).await?;
        return Ok(AppliedObject { uid: String::new(), owned: false });
    }
    let known_uid = match &resource.state {
        ResourceState::Present { uid, .. } => Some(uid),
        ResourceState::Planned | ResourceState::Intent => None,
    };
    for _ in 0..MAX_ATTEMPTS {
        let applied = match cluster.find(&object.api, &resource.key.name).await? {
            None if known_uid.is_some() => return Err(object.gone()),
            None => object.create(&intent).await?,
            Some(found) if !is_owned(&found, scope.instance) => return object.reuse_or_refuse(&found),
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                object.wait_deleted(&found).await?;
                None
            }
            Some(found) if known_uid.is_some_and(|uid| found.metadata.uid.as_ref() != Some(uid)) => {
                return Err(object.gone());
            }
            Some(found) => {
                refuse_superseded(scope, &resource.key, &found)?;
                object.update(&intent, &found, replicas).await?
            }
        };
        if let Some(applied) = applied {
            return Ok(AppliedObject { uid: applied.uid().unwrap_or_default(), owned: true });
        }
    }
    let detail = format!("others change {object}, or an object that it depends on, at the same time");
    Err(object.error(InfraErrorKind::Transient, detail))
}

/// The API of the resource's kind in the namespace of the instance.
pub(super) fn api(cluster: &Cluster, scope: &Scope, resource: &Resource) -> Api<DynamicObject> {
    cluster.api(&resource.key.api_version, &resource.key.kind, &resource.info, &scope.namespace)
}

/// Whether an apply failed because the object has another uid than the applied metadata: 422, as for any immutable field.
pub(super) fn is_other_uid(failed: &CallError) -> bool {
    failed.error.kind == InfraErrorKind::Invalid && failed.error.detail.contains("metadata.uid: Invalid value")
}

/// Whether the object is a review: creating it gives an answer, and leaves no object.
pub(super) fn is_review_object(key: &ObjectKey) -> bool {
    is_review(&key.api_version)
}

/// The object of a row of the inventory.
pub(super) struct Target<'a> {
    pub cluster: &'a Cluster,
    pub scope: &'a Scope,
    pub key: &'a ObjectKey,
    pub api: Api<DynamicObject>,
}

impl<'a> Target<'a> {
    pub fn new(cluster: &'a Cluster, scope: &'a Scope, resource: &'a Resource) -> Self {
        Self { cluster, scope, key: &resource.key, api: api(cluster, scope, resource) }
    }

    /// Makes the object where there was none. `None` if somebody else made it first: look again.
    ///
    /// Two instances may make the object at once. Each sets its own value of our instance label. Without force, the API server
    /// accepts the first and refuses the second, whose field manager does not own that field.
    async fn create(&self, intent: &Map<String, Value>) -> Result<Option<DynamicObject>, InfraError> {
        let manager = field_manager(self.scope.instance);
        match self.apply(&PatchParams::apply(&manager), intent).await {
            Ok(made) if has_other_manager(&made, &manager) => {
                self.release(&manager, &made).await?;
                Ok(None)
            }
            Ok(made) => {
                if is_namespace(self.key) {
                    self.wait_service_account().await?;
                }
                Ok(Some(made))
            }
            Err(failed) if is_about_twins(&failed) => self.post(intent).await,
            Err(failed) if failed.code == Some(409) => Ok(None),
            Err(failed) if failed.code == Some(404) => Err(self.not_served(failed)),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Makes an object that server-side apply refuses, because two elements of a list have the same key. `None` if it exists.
    async fn post(&self, intent: &Map<String, Value>) -> Result<Option<DynamicObject>, InfraError> {
        let object = serde_json::from_value(Value::Object(intent.clone()))
            .map_err(|error| InfraError::invalid(format!("{self} is not a Kubernetes object: {error}")))?;
        let field_manager = Some(replacement_manager(&field_manager(self.scope.instance)));
        let params = PostParams { field_manager, ..PostParams::default() };
        match self.cluster.call(self.api.create(&params, &object)).await {
            Ok(made) => Ok(Some(made)),
            Err(failed) if failed.code == Some(409) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Creates a review, whose metadata may hold a namespace only.
    async fn create_review(&self, mut intent: Map<String, Value>) -> Result<(), InfraError> {
        let metadata = self.api.namespace().map_or(json!({}), |namespace| json!({ "namespace": namespace }));
        intent.insert("metadata".to_owned(), metadata);
        let review = serde_json::from_value(Value::Object(intent))
            .map_err(|error| InfraError::invalid(format!("{self} is not a Kubernetes object: {error}")))?;
        self.cluster.call(self.api.create(&PostParams::default(), &review)).await?;
        Ok(())
    }

    pub async fn apply(&self, params: &PatchParams, intent: &Map<String, Value>) -> Result<DynamicObject, CallError> {
        self.cluster.call(self.api.patch(&self.key.name, params, &Patch::Apply(intent))).await
    }

    /// Undoes an apply to somebody else's object, by applying nothing.
    async fn release(&self, manager: &str, made: &DynamicObject) -> Result<(), InfraError> {
        let nothing = json!({
            "apiVersion": self.key.api_version,
            "kind": self.key.kind,
            "metadata": { "name": self.key.name, "uid": made.uid() },
        });
        let params = PatchParams::apply(manager);
        match self.cluster.call(self.api.patch(&self.key.name, &params, &Patch::Apply(nothing))).await {
            Err(failed) if !matches!(failed.code, Some(404 | 409)) => Err(failed.into()),
            _ => Ok(()),
        }
    }

    /// An object that is not ours stays as it is: a shared one is used, any other is a conflict.
    fn reuse_or_refuse(&self, found: &DynamicObject) -> Result<AppliedObject, InfraError> {
        if is_shared(self.key) {
            if found.metadata.deletion_timestamp.is_some() {
                let kind = match is_namespace(self.key) {
                    true => InfraErrorKind::NamespaceGone,
                    false => InfraErrorKind::Waiting,
                };
                return Err(self.error(kind, format!("{} is being deleted", self.key)));
            }
            return Ok(AppliedObject { uid: found.uid().unwrap_or_default(), owned: false });
        }
        Err(match found.labels().get(INSTANCE_LABEL) {
            Some(owner) => {
                let detail = format!("{self} belongs to VNF instance {owner}");
                self.error(InfraErrorKind::Conflict, detail).quoting("ownerVnfInstanceId", owner)
            }
            None => {
                let detail = format!("{self} exists and is not managed by Gybe{}", describe_owner(found));
                self.error(InfraErrorKind::Conflict, detail)
            }
        })
    }

    /// Waits until our object, which is being deleted, is gone.
    async fn wait_deleted(&self, found: &DynamicObject) -> Result<(), InfraError> {
        let uids = HashSet::from([found.uid().unwrap_or_default()]);
        let target = ListWatch::by_name(self.api.clone(), self.scope, &self.key.name);
        let left = wait_until_deleted(self.cluster, target, &uids, Instant::now() + DELETION_TIMEOUT).await?;
        if left.is_empty() {
            return Ok(());
        }
        let finalizers = found.finalizers().join(", ");
        let detail = format!("{self} is being deleted; it waits for its finalizers [{finalizers}]");
        Err(self.error(InfraErrorKind::Transient, detail).quoting("finalizers", finalizers))
    }

    /// Waits until the new Namespace has its default ServiceAccount, a moment after it was made: before that, pods are refused.
    async fn wait_service_account(&self) -> Result<(), InfraError> {
        let namespace =
            Namespace::try_from(self.key.name.clone()).map_err(|error| InfraError::invalid(error.to_string()))?;
        let accounts = self.cluster.builtin("v1", "ServiceAccount", "serviceaccounts", &namespace);
        let mut events = follow(self.cluster, ListWatch::by_name(accounts, self.scope, "default"));
        while let Ok(Some(event)) = timeout(SERVICE_ACCOUNT_TIMEOUT, events.next()).await {
            match event {
                Ok(ObjectEvent::Listed(accounts)) if accounts.is_empty() => {}
                // Go on without the right to look, and after the time-out: a refused pod then says why.
                Ok(_) => break,
                Err(error) if error.kind == InfraErrorKind::Denied => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn error(&self, kind: InfraErrorKind, detail: String) -> InfraError {
        let error = InfraError::new(kind, detail).quoting("object", self.key);
        match self.api.namespace() {
            Some(namespace) => error.quoting("namespace", namespace),
            None => error,
        }
    }

    fn gone(&self) -> InfraError {
        self.error(InfraErrorKind::Gone, format!("somebody deleted {self}"))
    }

    /// The error of an apply that ends with 404: the namespace is missing, or the kind is not served. It may be served a moment
    /// after its definition was established.
    fn not_served(&self, failed: CallError) -> InfraError {
        if failed.error.kind == InfraErrorKind::NamespaceGone {
            return failed.error;
        }
        let ObjectKey { api_version, kind, .. } = self.key;
        let error = InfraError::waiting(format!("the cluster does not serve {api_version} {kind}"));
        error.quoting("apiVersion", api_version).quoting("kind", kind)
    }
}

/// Whether an apply met an object that somebody else made a moment before, and did not contradict it: a new object has one manager.
fn has_other_manager(applied: &DynamicObject, manager: &str) -> bool {
    applied.managed_fields().iter().any(|entry| entry.manager.as_deref() != Some(manager))
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.api.namespace() {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.key),
            None => write!(f, "{}", self.key),
        }
    }
}

/// What is applied of the manifest: with the namespace of the instance in place of its own, and the writer.
pub(super) fn intent_in_namespace(resource: &Resource, scope: &Scope) -> Map<String, Value> {
    let mut intent = applied(&resource.manifest);
    if let Some(writer) = scope.writer {
        set_annotation(&mut intent, WRITTEN_BY_ANNOTATION, Some(&writer.to_string()));
    }
    let namespace = resource.info.namespaced.then(|| scope.namespace.as_str().into());
    set_metadata(&mut intent, "namespace", namespace);
    intent
}

/// Sets a member of the metadata, or removes it.
pub(super) fn set_metadata(intent: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    let Some(Value::Object(metadata)) = intent.get_mut("metadata") else { return };
    match value {
        Some(value) => metadata.insert(name.to_owned(), value),
        None => metadata.remove(name),
    };
}

/// Who made an object, as far as its metadata shows.
fn describe_owner(object: &DynamicObject) -> String {
    let mut hints = Vec::new();
    hints.extend(object.labels().get(MANAGED_BY_LABEL).map(|by| format!("{MANAGED_BY_LABEL} is {by}")));
    hints.extend(object.annotations().get("meta.helm.sh/release-name").map(|name| format!("Helm release {name}")));
    let mut managers: Vec<&str> = object.managed_fields().iter().filter_map(|it| it.manager.as_deref()).collect();
    managers.dedup();
    hints.extend((!managers.is_empty()).then(|| format!("its fields were written by {}", managers.join(", "))));
    if hints.is_empty() { String::new() } else { format!(" ({})", hints.join("; ")) }
}
