//! The [`Driver`] and [`Observer`] for Kubernetes: any kind, through discovery and `DynamicObject`.
//!
//! - [`client`]: clients and deadlines; [`connection`]: TLS and credentials; [`token_source`]: tokens of a token endpoint. [`breaker`],
//!   [`call_metrics`], [`response_limit`], [`answer_budget`] and [`call_error`] belong to them.
//! - [`discovery`]: which kinds a cluster serves.
//! - [`apply`]: makes objects, [`update`] changes them; [`scaler`]: who sets the replicas. [`ownership`]: whose an object is.
//! - [`readiness`]: waits until objects are ready; the rules of each kind are in [`readiness::rules`].
//! - [`remove`], [`end_pods`], [`delete`]: remove objects and pods. [`shared_objects`]: what may not be removed.
//! - [`namespaces`]: makes and deletes Namespaces of projects.
//! - [`observe`], [`drift`], [`preview`], [`preflight`], [`evidence`]: read without changing anything. [`watch`]: follows objects as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};

use self::scaler::Replicas;
use crate::domain::drift::ObjectDrift;
use crate::domain::evidence::Evidence;
use crate::domain::ids::ProjectId;
use crate::domain::namespace::Namespace;
use crate::domain::observation::ObservedKind;
use crate::domain::plan::PodRef;
use crate::domain::preflight::{Check, Questions};
use crate::domain::preview::{ObjectPreview, PlannedObject};
use crate::domain::resource::{KindInfo, Resource};
use crate::domain::tenancy::ObservedNamespace;
use crate::domain::vim::VimAccess;
use crate::infra::simulated::SimulatedCluster;
use crate::infra::{
    AppliedObject, Driver, InfraError, InfraErrorKind, ObjectKind, ObservedResources, Observer, PodSnapshot, Previewer,
    ReadinessSink, ReadinessTimeouts, Removal, Scope, VimContacts, WatchEvent,
};
use crate::metrics::VimMetrics;
use crate::outbound::OutboundConfig;

mod answer_budget;
mod apply;
mod breaker;
mod call_error;
mod call_metrics;
mod client;
mod connection;
mod delete;
mod discovery;
mod discovery_cache;
mod drift;
mod end_pods;
mod evidence;
mod fields;
mod namespaces;
mod observe;
mod ownership;
mod preflight;
mod preview;
mod readiness;
mod remove;
mod response_limit;
mod scaler;
mod shared_objects;
mod token_source;
mod update;
mod watch;

/// The longest name of a user: the longest one of a ServiceAccount has 340 bytes.
const LONGEST_USER_NAME: usize = 1024;

/// The driver for Kubernetes clusters. Use one per Tokio runtime, shared by its tasks: a connection lives on the runtime that opened
/// it, so the worker threads of the HTTP server have a driver of their own.
#[derive(Default)]
pub struct KubernetesDriver {
    clients: client::Clients,
}

impl KubernetesDriver {
    pub fn new() -> Self {
        Self::default()
    }

    /// A driver that counts its calls in `metrics` and reports what they show to `contacts`; several drivers may share both. It asks
    /// token endpoints for tokens as `token_endpoints` says.
    pub fn reporting(metrics: VimMetrics, contacts: VimContacts, token_endpoints: OutboundConfig) -> Self {
        Self { clients: client::Clients::new(metrics, contacts, token_endpoints) }
    }

    /// The same driver with a simulated cluster, for VIMs that are simulated.
    #[must_use]
    pub fn simulating(mut self, cluster: Option<SimulatedCluster>) -> Self {
        self.clients.simulated = cluster;
        self
    }
}

#[async_trait]
impl Driver for KubernetesDriver {
    async fn who_am_i(&self, access: &VimAccess) -> Result<String, InfraError> {
        // Registration asks for each project of a VIM.
        let cluster = match access.impersonate {
            Some(_) => Arc::new(self.clients.passing(access)?),
            None => self.clients.get(access)?,
        };
        let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
        let review = cluster.call(reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
        let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
        let user =
            user.ok_or_else(|| InfraError::invalid("the API server does not say who the credential belongs to"))?;
        if user.len() > LONGEST_USER_NAME {
            let text = format!("the API server names a user with more than {LONGEST_USER_NAME} bytes");
            return Err(InfraError::invalid(text));
        }
        Ok(user)
    }

    async fn discover(
        &self,
        access: &VimAccess,
        kinds: &BTreeSet<ObjectKind>,
    ) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError> {
        discovery::discover(&*self.clients.get(access)?, kinds).await
    }

    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = apply::ensure(&cluster, scope, resource, Replicas::OfScaler).await.and_then(with_short_uid);
        cluster.with_missing_namespace(&scope.namespace, result).await
    }

    async fn scale(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = apply::ensure(&cluster, scope, resource, Replicas::OfManifest).await.and_then(with_short_uid);
        cluster.with_missing_namespace(&scope.namespace, result).await
    }

    async fn await_ready(
        &self,
        scope: &Scope,
        resources: &[Resource],
        timeouts: ReadinessTimeouts,
    ) -> Result<PodSnapshot, InfraError> {
        self.await_ready_reporting(scope, resources, timeouts, &ReadinessSink::default()).await
    }

    async fn await_ready_reporting(
        &self,
        scope: &Scope,
        resources: &[Resource],
        timeouts: ReadinessTimeouts,
        reports: &ReadinessSink,
    ) -> Result<PodSnapshot, InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = readiness::await_ready(&cluster, scope, resources, timeouts, reports).await;
        cluster.with_missing_namespace(&scope.namespace, result).await
    }

    async fn remove(
        &self,
        scope: &Scope,
        resource: &Resource,
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<Removal, InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = remove::remove(&cluster, scope, resource, grace, timeout).await;
        match cluster.with_missing_namespace(&scope.namespace, result).await {
            // With its namespace, everything in it is gone.
            Err(error) if error.kind == InfraErrorKind::NamespaceGone => Ok(Removal::Removed),
            removed => removed,
        }
    }

    async fn end_pods(
        &self,
        scope: &Scope,
        resources: &[Resource],
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = end_pods::end_pods(&cluster, scope, resources, grace, timeout).await;
        cluster.with_missing_namespace(&scope.namespace, result).await
    }

    async fn delete_pods(&self, scope: &Scope, pods: &[PodRef], timeout: Duration) -> Result<(), InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = end_pods::delete_pods(&cluster, scope, pods, timeout).await;
        cluster.with_missing_namespace(&scope.namespace, result).await
    }

    async fn evidence(&self, scope: &Scope, resources: &[Resource]) -> Evidence {
        match self.clients.get(&scope.access) {
            Ok(cluster) => evidence::evidence(&cluster, scope, resources).await,
            Err(error) => Evidence { notes: vec![error.to_string()], ..Evidence::default() },
        }
    }

    async fn observe(
        &self,
        scope: &Scope,
        resources: &[Resource],
        pods: PodSnapshot,
    ) -> Result<ObservedResources, InfraError> {
        let cluster = self.clients.get(&scope.access)?;
        let result = observe::observe(&cluster, scope, resources, pods).await;
        cluster.with_missing_namespace(&scope.namespace, result).await
    }
}

/// Refuses a uid that is not one of Kubernetes: inventories have it.
fn with_short_uid(applied: AppliedObject) -> Result<AppliedObject, InfraError> {
    if applied.uid.len() > observe::LONGEST_UID {
        return Err(InfraError::invalid("the API server gives an object a uid that is too long"));
    }
    Ok(applied)
}

#[async_trait]
impl Observer for KubernetesDriver {
    async fn drift(&self, scope: &Scope, resources: &[Resource]) -> Result<Vec<ObjectDrift>, InfraError> {
        drift::drift(&*self.clients.get(&scope.access)?, scope, resources).await
    }

    async fn has_any(&self, scope: &Scope, resources: &[Resource]) -> Result<bool, InfraError> {
        observe::has_any(&*self.clients.get(&scope.access)?, scope, resources).await
    }

    async fn namespace(
        &self,
        access: &VimAccess,
        namespace: &Namespace,
    ) -> Result<Option<ObservedNamespace>, InfraError> {
        let Some(found) = self.clients.get(access)?.namespace(namespace).await? else { return Ok(None) };
        let uid = found.metadata.uid.filter(|uid| !uid.is_empty() && uid.len() <= observe::LONGEST_UID);
        let uid = uid.ok_or_else(|| InfraError::invalid("the API server gives the Namespace no uid, or a long one"))?;
        Ok(Some(ObservedNamespace { uid, annotations: found.metadata.annotations.unwrap_or_default() }))
    }

    fn watch(
        &self,
        access: &VimAccess,
        project: &ProjectId,
        namespace: &Namespace,
        kind: ObservedKind,
    ) -> Result<BoxStream<'static, WatchEvent>, InfraError> {
        Ok(observe::watch(self.clients.get(access)?, project.clone(), namespace.clone(), kind))
    }
}

#[async_trait]
impl Previewer for KubernetesDriver {
    async fn preview(&self, scope: &Scope, objects: &[PlannedObject]) -> Result<Vec<ObjectPreview>, InfraError> {
        preview::preview(&*self.clients.get(&scope.access)?, scope, objects).await
    }

    async fn preflight(
        &self,
        scope: &Scope,
        objects: &[PlannedObject],
        questions: &Questions,
    ) -> Result<Vec<Check>, InfraError> {
        preflight::preflight(&*self.clients.get(&scope.access)?, scope, objects, questions).await
    }
}
