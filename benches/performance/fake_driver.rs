//! Fakes for measurements without a cluster: a driver that succeeds at once, and a VIM that is never called.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::ids::{ProjectId, VimId};
use gybe::domain::plan::PodRef;
use gybe::domain::resource::{KindInfo, Resource};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{Secrets, Vim, VimAccess, VimStatus};
use gybe::domain::vim_policy::VimPolicy;
use gybe::infra::{
    AppliedObject, Driver, InfraError, ObjectKind, ObservedResources, PodSnapshot, ReadinessTimeouts, Removal, Scope,
};
use serde_json::Map;

/// A driver that serves every kind and completes every call at once; it observes nothing.
pub struct InstantDriver;

#[async_trait]
impl Driver for InstantDriver {
    async fn who_am_i(&self, _: &VimAccess) -> Result<String, InfraError> {
        Ok("played".to_owned())
    }

    async fn discover(
        &self,
        _: &VimAccess,
        kinds: &BTreeSet<ObjectKind>,
    ) -> Result<BTreeMap<ObjectKind, KindInfo>, InfraError> {
        let info = |kind: &ObjectKind| KindInfo { plural: format!("{}s", kind.1.to_lowercase()), namespaced: true };
        Ok(kinds.iter().map(|kind| (kind.clone(), info(kind))).collect())
    }

    async fn scale(&self, scope: &Scope, resource: &Resource) -> Result<AppliedObject, InfraError> {
        self.ensure(scope, resource).await
    }

    async fn ensure(&self, _: &Scope, _: &Resource) -> Result<AppliedObject, InfraError> {
        Ok(AppliedObject { uid: System.uuid().to_string(), owned: true })
    }

    async fn await_ready(&self, _: &Scope, _: &[Resource], _: ReadinessTimeouts) -> Result<PodSnapshot, InfraError> {
        Ok(PodSnapshot::default())
    }

    async fn remove(&self, _: &Scope, _: &Resource, _: Option<Duration>, _: Duration) -> Result<Removal, InfraError> {
        Ok(Removal::Removed)
    }

    async fn end_pods(&self, _: &Scope, _: &[Resource], _: Option<Duration>, _: Duration) -> Result<(), InfraError> {
        Ok(())
    }

    async fn delete_pods(&self, _: &Scope, _: &[PodRef], _: Duration) -> Result<(), InfraError> {
        Ok(())
    }

    async fn observe(&self, _: &Scope, _: &[Resource], _: PodSnapshot) -> Result<ObservedResources, InfraError> {
        Ok(ObservedResources::default())
    }
}

/// A stored default VIM at that URL.
pub fn vim(endpoint: &str) -> Vim {
    Vim {
        id: VimId(System.uuid()),
        project_id: ProjectId::default(),
        name: "played".to_owned(),
        description: String::new(),
        vim_type: "kubernetes".to_owned(),
        endpoint: endpoint.to_owned(),
        access_info: Map::new(),
        secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("t0ken"))]),
        impersonate: None,
        vim_project: "default".to_owned(),
        extra: Map::new(),
        policy: VimPolicy::open(),
        shared: false,
        lent: None,
        is_default: true,
        user_name: None,
        cluster_uid: None,
        status: VimStatus::Active,
        created_at: System.now(),
        updated_at: None,
    }
}
