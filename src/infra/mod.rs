//! Towards the clusters: [`Driver`] is what the conductor asks for, [`Observer`] what looks and changes nothing,
//! [`kubernetes`] how both are done.
//!
//! Every verb says what is to hold and may be repeated. No verb retries for long by itself: a passing error comes back as
//! [`InfraErrorKind::Transient`] and the conductor puts the step off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::domain::drift::ObjectDrift;
use crate::domain::evidence::Evidence;
use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::{VirtualStorage, Vnfc};
use crate::domain::namespace::Namespace;
use crate::domain::observation::{ObservedKind, ObservedObject};
use crate::domain::plan::PodRef;
use crate::domain::resource::{KindInfo, Resource};
use crate::domain::vim::VimAccess;

mod error;
pub mod kubernetes;

pub use error::{InfraError, InfraErrorKind};

/// Where a VNF instance lives: whose objects, in which namespace, of which cluster.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The cluster and the credential.
    pub access: VimAccess,
    /// The namespace.
    pub namespace: Namespace,
    /// The owner of the objects.
    pub instance: VnfInstanceId,
}

/// An object that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether it is ours to delete: false for a Namespace or CustomResourceDefinition that was there before, and for
    /// what leaves no object behind, such as a SelfSubjectAccessReview.
    pub owned: bool,
}

/// How long to wait for readiness.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// After this, an object that is in trouble (image pull, crash loop, quota, unschedulable) counts as failed.
    pub grace: Duration,
    /// After this, an object that is not ready counts as failed.
    pub timeout: Duration,
}

/// The pods and volumes of a VNF instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
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
pub type Kind = (String, String);

/// A way to reach clusters. See the module's documentation.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Asks the API server who the credential belongs to (SelfSubjectReview: every authenticated user may).
    async fn who_am_i(&self, access: &VimAccess) -> Result<String, InfraError>;

    /// What the cluster knows of these kinds. Kinds it does not serve are left out.
    async fn discover(
        &self,
        access: &VimAccess,
        kinds: &BTreeSet<Kind>,
    ) -> Result<BTreeMap<Kind, KindInfo>, InfraError>;

    /// The object is there as its manifest says, carrying the instance's marks.
    ///
    /// An object of that name that is not this instance's is a [`InfraErrorKind::Conflict`] that says whose it is, and stays
    /// as it is; but a Namespace or CustomResourceDefinition that is there is used as it is.
    ///
    /// An object that was `Present` and is there no more is [`InfraErrorKind::Gone`]: it is made anew once its row is an `Intent`,
    /// for whoever removes it by the uid in its row would miss the new one.
    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<Ensured, InfraError>;

    /// Waits until all of `resources` are ready, as their kinds define it. The snapshot holds the instance's pods if the
    /// watches have shown all of them and none that is being deleted.
    async fn await_ready(
        &self,
        scope: &Scope,
        resources: &[Resource],
        patience: Patience,
    ) -> Result<PodSnapshot, InfraError>;

    /// The object is gone, with what it owns and the volumes claimed by its templates. Nothing is done to an object
    /// that is not ours: another uid, another owner's mark, or a Namespace that holds, or a CustomResourceDefinition that
    /// defines, others' objects.
    /// Pods are killed after `grace` (see [`crate::domain::plan::Step::Remove`]).
    async fn remove(
        &self,
        scope: &Scope,
        resource: &Resource,
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError>;

    /// The workloads, whose intents have no replicas, have no pods any more. Those that still run after `grace` are killed.
    async fn end_pods(
        &self,
        scope: &Scope,
        resources: &[Resource],
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError>;

    /// The pods are gone: deleted with their uid as precondition, waited for.
    async fn delete_pods(&self, scope: &Scope, pods: &[PodRef], timeout: Duration) -> Result<(), InfraError>;

    /// What is not ready of `resources`, and what the cluster shows of the reasons. Takes a few seconds at most: what can't
    /// be read in time, or may not be read, is left out with a note. Secrets are not masked.
    ///
    /// A driver that keeps nothing to look at finds nothing.
    async fn evidence(&self, _scope: &Scope, _resources: &[Resource]) -> Evidence {
        Evidence::default()
    }

    /// Reads the pods and volumes of the instance. Does not list the pods if `pods` holds them.
    async fn observe(&self, scope: &Scope, resources: &[Resource], pods: PodSnapshot) -> Result<Observed, InfraError>;
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// These are all there are.
    All(Vec<ObservedObject>),
    /// This one came or changed.
    Changed(ObservedObject),
    /// This one is gone.
    Gone(ObservedObject),
    /// They can't be looked at, and why; it is tried again now and then.
    Unavailable(InfraError),
}

/// A way to see what others do in clusters. Changes nothing there.
#[async_trait]
pub trait Observer: Send + Sync {
    /// How each object of the inventory stands to its intent, in the inventory's order.
    async fn drift(&self, scope: &Scope, resources: &[Resource]) -> Result<Vec<ObjectDrift>, InfraError>;

    /// The objects of `kind` in the namespace that carry any VNF instance's label, and their changes, for ever: with one
    /// watch, however many instances there are. Cluster out of reach: nothing comes until it is there again, and then all.
    ///
    /// # Errors
    /// The access is unusable as it is.
    fn watch(
        &self,
        access: &VimAccess,
        namespace: &Namespace,
        kind: ObservedKind,
    ) -> Result<BoxStream<'static, WatchEvent>, InfraError>;
}
