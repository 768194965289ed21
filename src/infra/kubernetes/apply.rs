//! Making objects, and never taking one over: see `docs/adr/0003-field-manager-per-instance.md`.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::client::Cluster;
use super::errors::CallError;
use super::shared::is_shared;
use super::watch::{Event, Source, follow, gone};
use crate::domain::ids::VnfInstanceId;
use crate::domain::manifest::is_review;
use crate::domain::namespace::Namespace;
use crate::domain::resource::{INSTANCE_LABEL, MANAGED_BY_LABEL, ObjectKey, Resource, ResourceState};
use crate::infra::{Ensured, InfraError, InfraErrorKind, Scope};

/// How often an object may change hands under our eyes before we put the matter off.
const ATTEMPTS: usize = 4;
/// How long a Namespace is given to get its default ServiceAccount.
const FURNISHING: Duration = Duration::from_secs(5);
/// How long an object of ours that is on its way out is waited for.
const FAREWELL: Duration = Duration::from_secs(30);

/// The object is there as its manifest says, carrying the instance's marks.
pub(super) async fn ensure(cluster: &Cluster, scope: &Scope, resource: &Resource) -> Result<Ensured, InfraError> {
    let object = Object { cluster, scope, key: &resource.key, api: api(cluster, scope, resource) };
    let mut intent = placed(resource, scope);
    if is_question(&resource.key) {
        object.ask(intent).await?;
        return Ok(Ensured { uid: String::new(), owned: false });
    }
    let known = match &resource.state {
        ResourceState::Present { uid, .. } => Some(uid),
        ResourceState::Planned | ResourceState::Intent => None,
    };
    for _ in 0..ATTEMPTS {
        let made = match cluster.find(&object.api, &resource.key.name).await? {
            None if known.is_some() => return Err(object.gone()),
            None => object.create(&intent).await?,
            Some(found) if !is_ours(&found, scope.instance) => return object.leave(&found),
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                object.wait_deleted(&found).await?;
                None
            }
            Some(found) if known.is_some_and(|uid| found.metadata.uid.as_ref() != Some(uid)) => {
                return Err(object.gone());
            }
            Some(found) => object.update(&mut intent, found).await?,
        };
        if let Some(made) = made {
            return Ok(Ensured { uid: made.uid().unwrap_or_default(), owned: true });
        }
    }
    Err(InfraError::transient(format!("{object}, or what it depends on, is changed by others at the same time")))
}

/// The objects of the resource's kind, where the instance's are.
pub(super) fn api(cluster: &Cluster, scope: &Scope, resource: &Resource) -> Api<DynamicObject> {
    cluster.api(&resource.key.api_version, &resource.key.kind, &resource.info, &scope.namespace)
}

/// Whether the object carries the instance's mark.
pub(super) fn is_ours(object: &impl ResourceExt, instance: VnfInstanceId) -> bool {
    object.labels().get(INSTANCE_LABEL).is_some_and(|id| *id == instance.to_string())
}

/// Whether it is a Namespace: there may be one before us, and others may use it beside us.
pub(super) fn is_namespace(key: &ObjectKey) -> bool {
    key.api_version == "v1" && key.kind == "Namespace"
}

/// Whether an apply failed as the object has another uid than the applied metadata: 422, as for any immutable field.
pub(super) fn is_other_uid(failed: &CallError) -> bool {
    failed.error.kind == InfraErrorKind::Invalid && failed.error.detail.contains("metadata.uid: Invalid value")
}

/// Whether it is a review: it can be created, is answered, and is nowhere then.
pub(super) fn is_question(key: &ObjectKey) -> bool {
    is_review(&key.api_version)
}

struct Object<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    key: &'a ObjectKey,
    api: Api<DynamicObject>,
}

impl Object<'_> {
    /// Makes the object where there was none. `None`: somebody else was faster, look again.
    ///
    /// Without force, the API server itself decides between two that make the object at once: a field that one has set,
    /// as each sets its own value of our instance label, the other can't.
    async fn create(&self, intent: &Map<String, Value>) -> Result<Option<DynamicObject>, InfraError> {
        let manager = manager(self.scope.instance);
        match self.apply(&PatchParams::apply(&manager), intent).await {
            Ok(made) if self.was_there(&made, &manager) => {
                self.release(&manager, &made).await?;
                Ok(None)
            }
            Ok(made) => {
                if is_namespace(self.key) {
                    self.wait_service_account().await?;
                }
                Ok(Some(made))
            }
            Err(failed) if failed.code == Some(409) => Ok(None),
            Err(failed) if failed.code == Some(404) => Err(self.nowhere(failed)),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Brings our object to what the manifest says. `None`: it is not there any more, look again.
    async fn update(
        &self,
        intent: &mut Map<String, Value>,
        found: DynamicObject,
    ) -> Result<Option<DynamicObject>, InfraError> {
        self.hand_over_replicas(intent, &found).await?;
        // If the object was replaced since we looked, the uid makes this fail instead of being a seizure.
        set_metadata(intent, "uid", found.metadata.uid.map(Value::from));
        let applied = self.apply(&PatchParams::apply(&manager(self.scope.instance)).force(), intent).await;
        set_metadata(intent, "uid", None);
        match applied {
            Ok(made) => Ok(Some(made)),
            Err(failed) if matches!(failed.code, Some(404 | 409)) || is_other_uid(&failed) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Where the intent leaves `spec.replicas` to an autoscaler and we are the only one to have set it, has another field
    /// manager set what is there as well: what nobody sets any more, the API server makes its default, one replica. Whoever
    /// scales takes the field from that manager.
    async fn hand_over_replicas(&self, intent: &Map<String, Value>, found: &DynamicObject) -> Result<(), InfraError> {
        let manager = manager(self.scope.instance);
        let Some(replicas) = replicas_to_hand_over(intent, found, &manager) else { return Ok(()) };
        let handed = json!({
            "apiVersion": self.key.api_version,
            "kind": self.key.kind,
            "metadata": { "name": self.key.name, "uid": found.uid() },
            "spec": { "replicas": replicas },
        });
        let params = PatchParams::apply(&format!("{manager}-replicas"));
        match self.cluster.call(self.api.patch(&self.key.name, &params, &Patch::Apply(handed))).await {
            // Somebody has just scaled it, or it is gone, as the apply that follows will find.
            Err(failed) if !matches!(failed.code, Some(404 | 409)) && !is_other_uid(&failed) => Err(failed.into()),
            _ => Ok(()),
        }
    }

    /// Creates a review. It must not have metadata beyond its namespace.
    async fn ask(&self, mut intent: Map<String, Value>) -> Result<(), InfraError> {
        let metadata = self.api.namespace().map_or(json!({}), |namespace| json!({ "namespace": namespace }));
        intent.insert("metadata".to_owned(), metadata);
        let question = serde_json::from_value(Value::Object(intent))
            .map_err(|error| InfraError::invalid(format!("{self} is no Kubernetes object: {error}")))?;
        self.cluster.call(self.api.create(&PostParams::default(), &question)).await?;
        Ok(())
    }

    async fn apply(&self, params: &PatchParams, intent: &Map<String, Value>) -> Result<DynamicObject, CallError> {
        self.cluster.call(self.api.patch(&self.key.name, params, &Patch::Apply(intent))).await
    }

    /// The apply met an object that an other client had made just before, and that did not contradict: a fresh object
    /// has one manager.
    fn was_there(&self, made: &DynamicObject, manager: &str) -> bool {
        made.managed_fields().iter().any(|entry| entry.manager.as_deref() != Some(manager))
    }

    /// Takes back what the apply has added to another's object: by applying nothing.
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

    /// What becomes of an object that is not ours: it stays as it is.
    fn leave(&self, found: &DynamicObject) -> Result<Ensured, InfraError> {
        if is_shared(self.key) {
            if found.metadata.deletion_timestamp.is_some() {
                return Err(InfraError::transient(format!("{} is being deleted", self.key)));
            }
            return Ok(Ensured { uid: found.uid().unwrap_or_default(), owned: false });
        }
        let text = match found.labels().get(INSTANCE_LABEL) {
            Some(other) => format!("{self} belongs to VNF instance {other}"),
            None => format!("{self} exists and is not managed by Gybe{}", whose(found)),
        };
        Err(InfraError::conflict(text))
    }

    /// Waits until our object, that is being deleted, is gone.
    async fn wait_deleted(&self, found: &DynamicObject) -> Result<(), InfraError> {
        let uids = HashSet::from([found.uid().unwrap_or_default()]);
        let source = Source::named(self.api.clone(), &self.key.name);
        let left = gone(self.cluster, source, &uids, Instant::now() + FAREWELL).await?;
        if left.is_empty() {
            return Ok(());
        }
        let finalizers = found.finalizers().join(", ");
        Err(InfraError::transient(format!("{self} is being deleted; it waits for its finalizers [{finalizers}]")))
    }

    /// Waits until the new Namespace takes pods: it gets its default ServiceAccount only a moment after it was made.
    async fn wait_service_account(&self) -> Result<(), InfraError> {
        let namespace =
            Namespace::try_from(self.key.name.clone()).map_err(|error| InfraError::invalid(error.to_string()))?;
        let accounts = self.cluster.builtin("v1", "ServiceAccount", "serviceaccounts", &namespace);
        let mut events = follow(self.cluster, Source::named(accounts, "default"));
        while let Ok(Some(event)) = timeout(FURNISHING, events.next()).await {
            match event {
                Ok(Event::Listed(accounts)) if accounts.is_empty() => {}
                // Who may not look, or finds no such account in time, will hear of it when a pod is refused.
                Ok(_) => break,
                Err(error) if error.kind == InfraErrorKind::Denied => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn gone(&self) -> InfraError {
        InfraError::gone(format!("{self} was deleted by somebody"))
    }

    /// 404 when applying: the namespace is missing, or the kind's endpoint is not served (yet: it takes a moment after
    /// its definition was established).
    fn nowhere(&self, failed: CallError) -> InfraError {
        if failed.error.kind == InfraErrorKind::Invalid && failed.error.detail.starts_with("namespaces ") {
            return failed.error;
        }
        InfraError::transient(format!("the cluster does not serve {} {}", self.key.api_version, self.key.kind))
    }
}

impl std::fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.api.namespace() {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.key),
            None => write!(f, "{}", self.key),
        }
    }
}

/// The field manager of a VNF instance.
pub(super) fn manager(instance: VnfInstanceId) -> String {
    format!("gybe-{instance}")
}

/// The replicas of `found`, if `intent` has a spec without any and `manager` alone has set them.
fn replicas_to_hand_over(intent: &Map<String, Value>, found: &DynamicObject, manager: &str) -> Option<Value> {
    intent.get("spec")?.as_object().filter(|spec| !spec.contains_key("replicas"))?;
    let has_them = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|it| it.0.pointer("/f:spec/f:replicas").is_some())
    };
    let mut owners = found.managed_fields().iter().filter(has_them).map(|entry| entry.manager.as_deref());
    let is_ours = owners.next() == Some(Some(manager)) && owners.next().is_none();
    // None are what a VNF has that is being started: it begins with the default, for no autoscaler scales what has none.
    found.data.pointer("/spec/replicas").filter(|replicas| is_ours && **replicas != json!(0)).cloned()
}

/// The manifest with the namespace it is for, whatever it says.
pub(super) fn placed(resource: &Resource, scope: &Scope) -> Map<String, Value> {
    let mut intent = resource.manifest.clone();
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

/// Who may have made an object, as far as it shows.
fn whose(object: &DynamicObject) -> String {
    let mut signs = Vec::new();
    signs.extend(object.labels().get(MANAGED_BY_LABEL).map(|by| format!("{MANAGED_BY_LABEL} is {by}")));
    signs.extend(object.annotations().get("meta.helm.sh/release-name").map(|name| format!("Helm release {name}")));
    let mut managers: Vec<&str> = object.managed_fields().iter().filter_map(|it| it.manager.as_deref()).collect();
    managers.dedup();
    signs.extend((!managers.is_empty()).then(|| format!("its fields were written by {}", managers.join(", "))));
    if signs.is_empty() { String::new() } else { format!(" ({})", signs.join("; ")) }
}
