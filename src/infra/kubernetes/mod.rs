//! The [`Driver`] and [`Observer`] for Kubernetes: any kind, through discovery and `DynamicObject`.
//!
//! `client` reaches the clusters and bounds every call (`count` counts them, `bound` their answers), `errors` puts into words what comes of it.
//! The verbs are in `discovery`, `apply`, `wait` (with `watch`, `progress` and `ready` under it), `remove` (with `shared`),
//! `observe`, `drift` and `evidence`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};

use crate::domain::drift::ObjectDrift;
use crate::domain::evidence::Evidence;
use crate::domain::namespace::Namespace;
use crate::domain::observation::ObservedKind;
use crate::domain::plan::PodRef;
use crate::domain::resource::{KindInfo, Resource};
use crate::domain::vim::VimAccess;
use crate::infra::{Driver, Ensured, InfraError, Kind, Observed, Observer, Patience, PodSnapshot, Scope, WatchEvent};
use crate::metrics::VimMetrics;

mod apply;
mod bound;
mod client;
mod count;
mod discovery;
mod drift;
mod errors;
mod evidence;
mod observe;
mod progress;
mod ready;
mod remove;
mod shared;
mod wait;
mod watch;

/// Reaches Kubernetes clusters. Shared by all that run on one Tokio runtime: a connection lives on the runtime that first
/// needs it, so what runs on another (an HTTP server's worker threads) has a driver of its own.
#[derive(Default)]
pub struct KubernetesDriver {
    clients: client::Clients,
}

impl KubernetesDriver {
    /// A driver that has not reached any cluster yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`KubernetesDriver::new`], counting its calls in `metrics`, which drivers may share.
    pub fn counting(metrics: VimMetrics) -> Self {
        Self { clients: client::Clients::new(metrics) }
    }
}

#[async_trait]
impl Driver for KubernetesDriver {
    async fn who_am_i(&self, access: &VimAccess) -> Result<String, InfraError> {
        let cluster = self.clients.get(access)?;
        let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
        let review = cluster.call(reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
        let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
        user.ok_or_else(|| InfraError::invalid("the API server does not say who the credential belongs to"))
    }

    async fn discover(
        &self,
        access: &VimAccess,
        kinds: &BTreeSet<Kind>,
    ) -> Result<BTreeMap<Kind, KindInfo>, InfraError> {
        discovery::discover(&*self.clients.get(access)?, kinds).await
    }

    async fn ensure(&self, scope: &Scope, resource: &Resource) -> Result<Ensured, InfraError> {
        apply::ensure(&*self.clients.get(&scope.access)?, scope, resource).await
    }

    async fn await_ready(
        &self,
        scope: &Scope,
        resources: &[Resource],
        patience: Patience,
    ) -> Result<PodSnapshot, InfraError> {
        wait::await_ready(&*self.clients.get(&scope.access)?, scope, resources, patience).await
    }

    async fn remove(
        &self,
        scope: &Scope,
        resource: &Resource,
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError> {
        remove::remove(&*self.clients.get(&scope.access)?, scope, resource, grace, timeout).await
    }

    async fn end_pods(
        &self,
        scope: &Scope,
        resources: &[Resource],
        grace: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), InfraError> {
        remove::end_pods(&*self.clients.get(&scope.access)?, scope, resources, grace, timeout).await
    }

    async fn delete_pods(&self, scope: &Scope, pods: &[PodRef], timeout: Duration) -> Result<(), InfraError> {
        remove::delete_pods(&*self.clients.get(&scope.access)?, scope, pods, timeout).await
    }

    async fn evidence(&self, scope: &Scope, resources: &[Resource]) -> Evidence {
        match self.clients.get(&scope.access) {
            Ok(cluster) => evidence::evidence(&cluster, scope, resources).await,
            Err(error) => Evidence { notes: vec![error.to_string()], ..Evidence::default() },
        }
    }

    async fn observe(&self, scope: &Scope, resources: &[Resource], pods: PodSnapshot) -> Result<Observed, InfraError> {
        observe::observe(&*self.clients.get(&scope.access)?, scope, resources, pods).await
    }
}

#[async_trait]
impl Observer for KubernetesDriver {
    async fn drift(&self, scope: &Scope, resources: &[Resource]) -> Result<Vec<ObjectDrift>, InfraError> {
        drift::drift(&*self.clients.get(&scope.access)?, scope, resources).await
    }

    fn watch(
        &self,
        access: &VimAccess,
        namespace: &Namespace,
        kind: ObservedKind,
    ) -> Result<BoxStream<'static, WatchEvent>, InfraError> {
        Ok(observe::watch(self.clients.get(access)?, namespace.clone(), kind))
    }
}
