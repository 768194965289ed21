//! Op occurrences in any state, put there through the store, and a conductor's work on them without a cluster.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use gybe::domain::instance::{VnfInstance, VnfMetadata};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::{LcmOperation, OpState, Unattended, VnfLcmOpOcc};
use gybe::domain::package::{Content, Onboarding, OperationalState, VnfPackage};
use gybe::domain::plan::Plan;
use gybe::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{Secrets, VimConnection};
use gybe::domain::vnfd::{Flavour, Vnfd};
use gybe::store::seal::KeyRing;
use gybe::store::{Store, connect};
use serde_json::{Map, Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use super::postgres::Database;
use super::store::{postponement, store_plan, work};

/// A store with one package in it, on a database of its own.
pub struct Ops {
    pub store: Arc<dyn Store>,
    url: String,
    package: VnfPkgId,
    /// What removes the database when it goes. After the store.
    _database: Box<dyn Any>,
}

impl Ops {
    pub async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(&format!("sqlite://{}/gybe.db", folder.path().display()), Box::new(folder)).await
    }

    pub async fn on_postgres() -> Self {
        let database = Database::create().await;
        Self::on(&database.url.clone(), Box::new(database)).await
    }

    /// Has a PostgreSQL database do something.
    pub async fn execute(&self, statements: &'static str) {
        let mut connection = self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
        connection.execute(statements).await.unwrap();
    }

    async fn on(url: &str, database: Box<dyn Any>) -> Self {
        let store = open(url).await;
        let package = VnfPkgId(System.uuid());
        let row = VnfPackage {
            id: package,
            project_id: ProjectId::default(),
            onboarding: Onboarding::Created,
            operational_state: OperationalState::Disabled,
            in_use: false,
            content_epoch: 0,
            user_defined_data: Map::new(),
            created_at: System.now(),
        };
        store.create_package(&row).await.unwrap();
        let lease = store.begin_upload(&row.project_id, package, None, "test", Duration::from_secs(60)).await.unwrap();
        store.finish_upload(&lease, Duration::from_secs(60)).await.unwrap();
        store.finish_onboarding(&lease, &content(), &[]).await.unwrap();
        Self { store, url: url.to_owned(), package, _database: database }
    }

    /// The store as another process has it open; PostgreSQL only.
    pub async fn another_process(&self) -> Arc<dyn Store> {
        open(&self.url).await
    }

    /// An instance in a namespace of a cluster that nobody reaches.
    async fn instance(&self) -> VnfInstance {
        let connection = VimConnection {
            vim_id: None,
            vim_name: None,
            vim_type: "kubernetes".to_owned(),
            interface_info: object(json!({ "endpoint": "https://cluster.invalid" })),
            access_info: Map::new(),
            secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("token"))]),
            extra: Map::new(),
            home: true,
            added_by: None,
        };
        let namespace = Namespace::try_from("there".to_owned()).unwrap();
        let instance = VnfInstance {
            id: VnfInstanceId(System.uuid()),
            project_id: ProjectId::default(),
            name: None,
            description: None,
            vnfd_id: content().vnfd.id,
            vnf_pkg_id: self.package,
            provider: String::new(),
            product_name: String::new(),
            software_version: String::new(),
            vnfd_version: String::new(),
            metadata: VnfMetadata { namespace: Some(namespace), ..VnfMetadata::default() },
            extensions: Map::new(),
            configurable_properties: Map::new(),
            vim_connections: BTreeMap::from([("vim".to_owned(), connection)]),
            instantiated: None,
            version: 1,
            created_at: System.now(),
        };
        self.store.create_instance(&instance).await.unwrap();
        instance
    }

    /// An operation in `state`, of an instance of its own.
    pub async fn begin(&self, operation: LcmOperation, state: OpState) -> VnfLcmOpOcc {
        self.begin_unattended(operation, state, None).await
    }

    /// As [`Ops::begin`], with what becomes of it if nobody decides.
    pub async fn begin_unattended(
        &self,
        operation: LcmOperation,
        state: OpState,
        unattended: Option<Unattended>,
    ) -> VnfLcmOpOcc {
        let instance = self.instance().await;
        let id = VnfLcmOpOccId(System.uuid());
        let params = json!({ "flavourId": "default" });
        let op = VnfLcmOpOcc::starting(id, operation, &instance, params, System.now());
        let op = VnfLcmOpOcc { state, unattended, ..op };
        self.store.begin_operation(&op, &instance).await.unwrap();
        op
    }

    /// An INSTANTIATE in PROCESSING with this plan and inventory, worked on by nobody.
    pub async fn planned(&self, plan: &Plan, inventory: &[Resource]) -> VnfLcmOpOcc {
        let op = self.begin(LcmOperation::Instantiate, OpState::Starting).await;
        let claimed = work(self.store.claim("test", Duration::from_secs(60), 1).await.unwrap());
        store_plan(&*self.store, &claimed.lease, Duration::from_secs(60), plan, inventory, System.now()).await.unwrap();
        self.store.postpone(claimed.lease, &postponement(OpState::Processing, Duration::ZERO, 0), None).await.unwrap();
        op
    }

    /// The operation as it is now.
    pub async fn show(&self, op: &VnfLcmOpOcc) -> VnfLcmOpOcc {
        self.store.op_occ(&op.project_id, op.id).await.unwrap()
    }

    /// The operation once it needs nobody's work.
    pub async fn settled(&self, op: &VnfLcmOpOcc) -> VnfLcmOpOcc {
        loop {
            let now = self.show(op).await;
            if !now.state.is_running() {
                return now;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn open(url: &str) -> Arc<dyn Store> {
    connect(url, KeyRing::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()).await.unwrap()
}

/// The key of a Deployment.
pub fn key(name: &str) -> ObjectKey {
    ObjectKey { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: name.to_owned() }
}

/// A Deployment that has not been made.
pub fn resource(name: &str) -> Resource {
    Resource {
        key: key(name),
        info: KindInfo { plural: "deployments".to_owned(), namespaced: true },
        vdu_id: None,
        manifest: object(json!({ "spec": { "replicas": 1 } })),
        state: ResourceState::Planned,
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn content() -> Content {
    let vnfd = Vnfd {
        id: "vnfd".to_owned(),
        version: String::new(),
        provider: String::new(),
        product_name: String::new(),
        software_version: String::new(),
        vnfm_info: Vec::new(),
        flavours: BTreeMap::from([("default".to_owned(), Flavour::default())]),
    };
    Content { vnfd, sha512: String::new(), size: 0, artifacts: Vec::new() }
}
