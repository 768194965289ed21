//! Op occurrences in any state, written through the store, without a cluster.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Clock as _, System};
use gybe::domain::fair_share::Crowded;
use gybe::domain::instance::{VnfInstance, VnfMetadata};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::{LcmOperation, OpState, Unattended, VnfLcmOpOcc};
use gybe::domain::plan::Plan;
use gybe::domain::resource::Resource;
use gybe::domain::secret::Secret;
use gybe::domain::vim::{Secrets, VimConnection};
use gybe::store::{Lease, OnboardedVnfd, Store};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use super::postgres::Database;
use super::store::{content_of, new_instance, new_operation, onboarded, open, postponement, store_plan, vnfd, work};
use super::store_fixture::{self, connection_to, object};

/// A store on a database of its own, with one package in it.
pub struct OpOccFixture {
    pub store: Arc<dyn Store>,
    url: String,
    onboarded: OnboardedVnfd,
    /// Removes the database when dropped. Declared after the store, so that the store closes first.
    _database: Box<dyn Any>,
}

impl OpOccFixture {
    pub async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(&format!("sqlite://{}/gybe.db", folder.path().display()), Box::new(folder)).await
    }

    pub async fn on_postgres() -> Self {
        let database = Database::create().await;
        Self::on(&database.url.clone(), Box::new(database)).await
    }

    /// Runs statements on a PostgreSQL database.
    pub async fn execute(&self, statements: &'static str) {
        let mut connection = self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
        connection.execute(statements).await.unwrap();
    }

    async fn on(url: &str, database: Box<dyn Any>) -> Self {
        let store = open(url).await;
        let onboarded = onboarded(&*store, &content_of(vnfd("vnfd")), &[]).await;
        Self { store, url: url.to_owned(), onboarded, _database: database }
    }

    /// A second connection to the same database, as another process has it; PostgreSQL only.
    pub async fn another_process(&self) -> Arc<dyn Store> {
        open(&self.url).await
    }

    /// An instance in a namespace of the unreachable cluster at `endpoint`.
    async fn instance(&self, endpoint: &str) -> VnfInstance {
        let connection = VimConnection {
            interface_info: object(json!({ "endpoint": endpoint })),
            secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("token"))]),
            home: true,
            ..connection_to(None)
        };
        let namespace = Namespace::try_from("there".to_owned()).unwrap();
        let instance = VnfInstance {
            metadata: VnfMetadata { namespace: Some(namespace), ..VnfMetadata::default() },
            vim_connections: BTreeMap::from([("vim".to_owned(), connection)]),
            ..new_instance(&self.onboarded)
        };
        self.store.create_instance(&instance).await.unwrap();
        instance
    }

    /// An operation in `state`, of an instance of its own.
    pub async fn begin(&self, operation: LcmOperation, state: OpState) -> VnfLcmOpOcc {
        self.begin_unattended(operation, state, None).await
    }

    /// As [`OpOccFixture::begin`], with the remedy that applies if no client decides.
    pub async fn begin_unattended(
        &self,
        operation: LcmOperation,
        state: OpState,
        unattended: Option<Unattended>,
    ) -> VnfLcmOpOcc {
        self.begin_in("https://cluster.invalid", operation, state, unattended).await
    }

    async fn begin_in(
        &self,
        endpoint: &str,
        operation: LcmOperation,
        state: OpState,
        unattended: Option<Unattended>,
    ) -> VnfLcmOpOcc {
        let instance = self.instance(endpoint).await;
        let params = json!({ "flavourId": "default" });
        let op = VnfLcmOpOcc { state, params, unattended, ..new_operation(&instance, operation) };
        self.store.begin_operation(&op, &instance).await.unwrap();
        op
    }

    /// An unclaimed INSTANTIATE in PROCESSING with this plan and inventory.
    pub async fn planned(&self, plan: &Plan, inventory: &[Resource]) -> VnfLcmOpOcc {
        let (op, lease) = self.planned_in("https://cluster.invalid", plan, inventory).await;
        self.release(lease).await;
        op
    }

    /// As [`OpOccFixture::planned`], in the VIM at `endpoint`; claimed.
    pub async fn planned_in(&self, endpoint: &str, plan: &Plan, inventory: &[Resource]) -> (VnfLcmOpOcc, Lease) {
        let op = self.begin_in(endpoint, LcmOperation::Instantiate, OpState::Starting, None).await;
        let claimed = work(self.store.claim("test", Duration::from_secs(60), 1, &Crowded::default()).await.unwrap());
        store_plan(&*self.store, &claimed.lease, Duration::from_secs(60), plan, inventory, System.now()).await.unwrap();
        (op, claimed.lease)
    }

    /// Leaves a claimed operation to the conductors.
    pub async fn release(&self, lease: Lease) {
        self.store.postpone(lease, &postponement(OpState::Processing, Duration::ZERO, 0), None).await.unwrap();
    }

    /// The current operation.
    pub async fn show(&self, op: &VnfLcmOpOcc) -> VnfLcmOpOcc {
        self.store.op_occ(&op.project_id, op.id).await.unwrap()
    }

    /// Waits until no conductor has to work on the operation, and returns it.
    pub async fn wait_ended(&self, op: &VnfLcmOpOcc) -> VnfLcmOpOcc {
        loop {
            let now = self.show(op).await;
            if !now.state.is_running() {
                return now;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A Deployment that is planned.
pub fn resource(name: &str) -> Resource {
    Resource { vdu_id: None, ..store_fixture::resource(name) }
}
