//! Access to the clusters: the conductor changes them through [`Driver`], drift and the view read them through [`Observer`], previews compare
//! plans with them through [`Previewer`], namespaces of projects are made through [`NamespaceKeeper`]. [`kubernetes`] implements all four.
//! [`simulated`] is an API server in this process, for tests and demonstrations.
//!
//! Every method of [`Driver`] states the result it must reach, and may be repeated. None retries for long: it returns a temporary
//! error as [`InfraErrorKind::Transient`], and the conductor postpones the step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::watch;

use crate::domain::drift::ObjectDrift;
use crate::domain::evidence::Evidence;
use crate::domain::ids::{ProjectId, VnfInstanceId};
use crate::domain::instance::{VirtualStorage, Vnfc};
use crate::domain::namespace::Namespace;
use crate::domain::observation::{ObservedKind, ObservedObject};
use crate::domain::plan::PodRef;
use crate::domain::preflight::{Check, Questions};
use crate::domain::preview::{ObjectPreview, PlannedObject};
use crate::domain::progress::ObjectReadiness;
use crate::domain::project_namespace::{FoundNamespace, NamespaceObject};
use crate::domain::resource::{KindInfo, Resource};
use crate::domain::tenancy::ObservedNamespace;
use crate::domain::vim::VimAccess;
use crate::domain::writer::Writer;

mod contacts;
mod error;
pub mod kubernetes;
pub mod simulated;

pub use contacts::{Contact, VimContacts};
pub use error::{InfraError, InfraErrorKind};

/// Where a VNF instance lives: cluster, namespace, and the owner of the objects.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The cluster and the credential.
    pub access: VimAccess,
    /// The namespace.
    pub namespace: Namespace,
    /// The owner of the objects.
    pub instance: VnfInstanceId,
    /// The owner of the VNF instance.
    pub project: ProjectId,
    /// Who writes; `None` for those who only read, and for who is sure that nobody else writes.
    pub writer: Option<Writer>,
}

/// An object that [`Driver::ensure`] made or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedObject {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether we may delete it: false for a Namespace or CustomResourceDefinition that existed before, and for a review, which
    /// leaves no object.
    pub owned: bool,
}

/// What became of an object that [`Driver::remove`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// No object of ours is left.
    Removed,
    /// An object of that name is left in the cluster, because it is not ours any more, or others depend on it.
    Left,
}

/// How long to wait for readiness.
#[derive(Clone, Copy, Debug)]
pub struct ReadinessTimeouts {
    /// After this, an object with a fault that lasts until somebody acts (image pull, quota) counts as failed; after ten times as
    /// long, one with a fault that usually passes (crash loop, unschedulable).
    pub grace: Duration,
    /// After this, an object that is not ready counts as failed.
    pub timeout: Duration,
    /// A container without a readiness or startup probe counts once it has run for this long.
    pub settle: Duration,
    /// How long the same objects were waited for before, by another process or an earlier attempt: part of `timeout`.
    pub waited: Duration,
}

/// The pods and volumes of a VNF instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedResources {
    /// Pods that descend from a workload with a VDU, by VDU and name.
    pub vnfcs: Vec<Vnfc>,
    /// Volume claims of the instance, by name.
    pub storages: Vec<VirtualStorage>,
}

/// The pods of an instance as [`Driver::await_ready`] saw them last, for [`Driver::observe`] with the same scope.
///
/// It saves the last list call of an operation: an API server first reads from etcd before it lists a kind in which nothing
/// happens, which takes a tenth of a second. Only drivers look inside. The default holds no pods, and makes `observe` list them.
#[derive(Clone, Debug, Default)]
pub struct PodSnapshot(Option<Vec<ObservedObject>>);

/// A kind, by `apiVersion` and `kind`.
pub type ObjectKind = (String, String);

/// Receives what a driver sees of the objects that it waits for, as often as it likes.
pub type ReadinessSink = watch::Sender<Vec<ObjectReadiness>>;

/// Changes objects in clusters. See the module documentation.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Asks the API server who the credential belongs to (SelfSubjectReview: every authenticated user may).
    async fn who_am_i(&self, access: &VimAccess) -> Result<String, InfraError>;

    /// Asks the cluster about these kinds. Leaves out those that it does not serve.
    async fn discover(
        &self,
        access: &VimAccess,
        kinds: &BTreeSet<ObjectKind>,
    ) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError>;

    /// Makes or updates the object so that it is as its manifest says.
    ///
    /// # Errors
    /// - [`InfraErrorKind::Conflict`], with the owner, if an object of that name belongs to somebody else; it stays as it is. But a
    ///   Namespace or CustomResourceDefinition that exists is used as it is.
    /// - [`InfraErrorKind::Gone`] if the row is `Present` and the object with its uid is gone. The caller sets the row to `Intent`
    ///   before it asks again: with the old uid in the row, a removal would miss the new object.
    /// - [`InfraErrorKind::Superseded`] if a later writer than `scope.writer` has written the object.
    /// A workload that somebody else has scaled keeps its replicas.
    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError>;

    /// As [`Driver::ensure`], and sets the replicas of a workload that somebody else has scaled, too.
    async fn scale(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError>;

    /// Waits until all of `resources` are ready, as their kinds define it. The snapshot holds the instance's pods if the
    /// watches have shown all of them and none that is being deleted.
    async fn await_ready(
        &self,
        scope: &Scope,
        resources: &[Resource],
        timeouts: ReadinessTimeouts,
    ) -> Result<PodSnapshot, InfraError>;

    /// As [`Driver::await_ready`]; while it waits, it sends to `reports` what it sees of the objects whose readiness is not certain when
    /// they exist. A driver that cannot say more reports nothing.
    async fn await_ready_reporting(
        &self,
        scope: &Scope,
        resources: &[Resource],
        timeouts: ReadinessTimeouts,
        _reports: &ReadinessSink,
    ) -> Result<PodSnapshot, InfraError> {
        self.await_ready(scope, resources, timeouts).await
    }

    /// Removes the object with its dependents and the volumes claimed by its templates, and waits until they are gone. An object with
    /// our label is ours, even if another client made it again: `docs/adr/0028-our-label-decides.md`.
    ///
    /// Leaves an object that is not ours as it is: one without our label, and a Namespace or CustomResourceDefinition that objects of
    /// others depend on. Kills pods after `grace` (see [`crate::domain::plan::Step::Remove`]).
    async fn remove(
        &self,
        scope: &Scope,
        resource: &Resource,
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<Removal, InfraError>;

    /// Waits until the workloads, which are scaled to 0, have no pods. Kills the pods that still run after `grace`.
    async fn end_pods(
        &self,
        scope: &Scope,
        resources: &[Resource],
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError>;

    /// Deletes the pods, with their uid as precondition, and waits until they are gone.
    async fn delete_pods(&self, scope: &Scope, pods: &[PodRef], timeout: Duration) -> Result<(), InfraError>;

    /// Collects what the cluster shows of those of `resources` that are not ready. Takes a few seconds at most, and notes what it could
    /// not read in time or may not read. Secrets are not masked.
    async fn evidence(&self, _scope: &Scope, _resources: &[Resource]) -> Evidence {
        Evidence::default()
    }

    /// Reads the pods and volumes of the instance. Does not list the pods if `pods` holds them.
    async fn observe(
        &self,
        scope: &Scope,
        resources: &[Resource],
        pods: PodSnapshot,
    ) -> Result<ObservedResources, InfraError>;
}

/// Says what plans would do in clusters, and changes nothing.
#[async_trait]
pub trait Previewer: Send + Sync {
    /// Compares each object of a plan with the cluster, by dry runs; in the order of `objects`.
    ///
    /// # Errors
    /// Those that concern all objects: the cluster does not answer, or refuses the credential. What the cluster refuses of one object is
    /// in its preview.
    async fn preview(&self, scope: &Scope, objects: &[PlannedObject]) -> Result<Vec<ObjectPreview>, InfraError>;

    /// Asks what would stop the plan with these objects.
    ///
    /// # Errors
    /// As [`Previewer::preview`]. What the credential may not read is [`Verdict::Unknown`](crate::domain::preflight::Verdict::Unknown).
    async fn preflight(
        &self,
        scope: &Scope,
        objects: &[PlannedObject],
        questions: &Questions,
    ) -> Result<Vec<Check>, InfraError>;
}

/// What Gybe writes on a Namespace of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMarks {
    pub labels: BTreeMap<String, String>,
    /// `None` removes the annotation.
    pub annotations: BTreeMap<String, Option<String>>,
}

/// Makes and deletes Namespaces of projects. Each method may run twice.
#[async_trait]
pub trait NamespaceKeeper: Send + Sync {
    /// The Namespace of that name; `None` if it does not exist.
    async fn find(&self, access: &VimAccess, name: &Namespace) -> Result<Option<FoundNamespace>, InfraError>;

    /// Makes the Namespace; `None` if there is one.
    async fn make(
        &self,
        access: &VimAccess,
        name: &Namespace,
        marks: &NamespaceMarks,
    ) -> Result<Option<FoundNamespace>, InfraError>;

    /// Writes on the Namespace, unless it is another one, or has changed, since it was found. Returns whether it did.
    async fn mark(
        &self,
        access: &VimAccess,
        name: &Namespace,
        found: &FoundNamespace,
        marks: &NamespaceMarks,
    ) -> Result<bool, InfraError>;

    /// Makes the object in the namespace, or changes it. Fields that somebody else has set are an [`InfraErrorKind::Conflict`].
    async fn apply(
        &self,
        access: &VimAccess,
        name: &Namespace,
        object: NamespaceObject,
        manifest: &Value,
    ) -> Result<(), InfraError>;

    /// Deletes the object in the namespace, if Gybe made it.
    async fn remove(&self, access: &VimAccess, name: &Namespace, object: NamespaceObject) -> Result<(), InfraError>;

    /// Begins to delete the Namespace with this uid. Kubernetes may take long, and waits for finalizers.
    async fn delete(&self, access: &VimAccess, name: &Namespace, uid: &str) -> Result<(), InfraError>;
}

/// An event of [`Observer::watch`].
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// All existing objects.
    All(Vec<ObservedObject>),
    /// This object was created or changed.
    Changed(ObservedObject),
    /// This object was deleted.
    Deleted(ObservedObject),
    /// The objects cannot be watched, and why. The watch tries again every few minutes.
    Unavailable(InfraError),
}

/// Reads objects in clusters, and changes nothing.
#[async_trait]
pub trait Observer: Send + Sync {
    /// Compares each object of the inventory with its intent; in the order of the inventory.
    async fn drift(&self, scope: &Scope, resources: &[Resource]) -> Result<Vec<ObjectDrift>, InfraError>;

    /// Whether the cluster has at least one of these objects, by its uid.
    async fn has_any(&self, scope: &Scope, resources: &[Resource]) -> Result<bool, InfraError>;

    /// The Namespace of that name; `None` if it does not exist.
    ///
    /// # Errors
    /// [`InfraErrorKind::Denied`] if the credential may not get it.
    async fn namespace(
        &self,
        access: &VimAccess,
        namespace: &Namespace,
    ) -> Result<Option<ObservedNamespace>, InfraError>;

    /// The objects of `kind` in the namespace that carry the label of any VNF instance, then their changes, without end. One watch
    /// serves all instances, as one of those of `project` (ADR 26). While the cluster is unreachable the stream has no events; afterwards it begins again with all objects.
    ///
    /// # Errors
    /// [`InfraErrorKind::Invalid`] if the access cannot be used.
    fn watch(
        &self,
        access: &VimAccess,
        project: &ProjectId,
        namespace: &Namespace,
        kind: ObservedKind,
    ) -> Result<BoxStream<'static, WatchEvent>, InfraError>;
}
