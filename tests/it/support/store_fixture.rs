//! A store on a database of its own, SQLite or PostgreSQL, and sample records to put into it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::{ProjectId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use gybe::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfMetadata, VnfState, Vnfc};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::{ArtifactInfo, Content, VnfPackage};
use gybe::domain::plan::{Plan, Step};
use gybe::domain::problem::Problem;
use gybe::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::secret::Secret;
use gybe::domain::vim::{Secrets, Vim, VimConnection, VimStatus};
use gybe::domain::vim_policy::VimPolicy;
use gybe::domain::vnfd::{Flavour, Vdu, Vnfd};
use gybe::domain::warning::Warnings;
use gybe::store::seal::KeyRing;
use gybe::store::{Claimed, OnboardingLease, OperationOutcome, Store, StoreError, connect};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::postgres;
use crate::support::store::{new_package, outcome, progress, record, store_plan, vnfd, work};

pub const LONG: Duration = Duration::from_secs(600);

pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A store on a database of its own.
pub struct StoreFixture {
    pub store: Arc<dyn Store>,
    pub url: String,
    pub next: AtomicU64,
    /// Deletes the database when dropped. Declared after the store, so that the store closes first.
    pub _database: Box<dyn Any + Send + Sync>,
}

impl StoreFixture {
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::new(format!("sqlite://{}/gybe.db", dir.path().display()), Box::new(dir)).await
    }

    pub async fn postgres() -> Self {
        let database = postgres::Database::create().await;
        Self::new(database.url.clone(), Box::new(database)).await
    }

    pub async fn new(url: String, database: Box<dyn Any + Send + Sync>) -> Self {
        let store = connect(&url, KeyRing::parse(KEY).unwrap()).await.unwrap();
        Self { store, url, next: AtomicU64::new(1), _database: database }
    }

    /// Closes the store and opens the database with other keys.
    pub async fn reopen(self, keys: &str) -> Self {
        let Self { store, url, next, _database } = self;
        drop(store);
        let store = connect(&url, KeyRing::parse(keys).unwrap()).await.unwrap();
        Self { store, url, next, _database }
    }

    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// Runs an SQL statement on a connection of its own.
    pub async fn execute(&self, statement: &str) {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            statement.execute(&mut connection).await.unwrap();
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            statement.execute(&mut connection).await.unwrap();
        }
    }

    /// The single text that `query` returns.
    pub async fn text(&self, query: &str) -> String {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
        }
    }

    pub fn uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn package(&self) -> VnfPackage {
        VnfPackage {
            id: VnfPkgId(self.uuid()),
            user_defined_data: object(json!({"owner": "Zoë", "n": 1.5})),
            created_at: at(0),
            ..new_package()
        }
    }

    /// Onboards a package. The id of its VNFD is its own id.
    pub async fn onboarded(&self) -> VnfPkgId {
        let package = self.package();
        self.store.create_package(&package).await.unwrap();
        self.onboard(package.id, &package.id.to_string()).await.unwrap();
        package.id
    }

    /// Begins an upload of the default project's package.
    pub async fn uploading(&self, id: VnfPkgId) -> Result<OnboardingLease, StoreError> {
        self.store.begin_upload(&ProjectId::default(), id, None, "test", LONG).await
    }

    pub async fn onboard(&self, id: VnfPkgId, vnfd_id: &str) -> Result<(), StoreError> {
        let lease = self.uploading(id).await?;
        self.store.finish_upload(&lease, LONG).await?;
        self.store.finish_onboarding(&lease, &content(vnfd_id), &[]).await
    }

    pub fn instance_of(&self, package: VnfPkgId) -> VnfInstance {
        VnfInstance {
            id: VnfInstanceId(self.uuid()),
            project_id: ProjectId::default(),
            name: Some("upf".to_owned()),
            description: None,
            vnfd_id: package.to_string(),
            vnf_pkg_id: package,
            provider: "Company".to_owned(),
            product_name: "Sample".to_owned(),
            software_version: "1.0".to_owned(),
            vnfd_version: "2.0".to_owned(),
            metadata: VnfMetadata::default(),
            extensions: Map::new(),
            configurable_properties: Map::new(),
            vim_connections: BTreeMap::new(),
            instantiated: None,
            warnings: warnings("of the instance"),
            version: 1,
            created_at: at(5),
        }
    }

    /// Creates an instance of a package of its own.
    pub async fn instance(&self) -> VnfInstance {
        let instance = self.instance_of(self.onboarded().await);
        self.store.create_instance(&instance).await.unwrap();
        instance
    }

    pub fn op(&self, instance: &VnfInstance) -> VnfLcmOpOcc {
        let id = VnfLcmOpOccId(self.uuid());
        let params = json!({"flavourId": "default"});
        VnfLcmOpOcc {
            changed_info: Some(json!({"vnfInstanceName": "x"})),
            warnings: warnings("of the request"),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..VnfLcmOpOcc::starting(id, LcmOperation::Instantiate, instance, params, at(10))
        }
    }

    /// Starts an operation on an instance of its own.
    pub async fn operation(&self) -> VnfLcmOpOcc {
        let instance = self.instance().await;
        let op = self.op(&instance);
        self.store.begin_operation(&op, &instance).await.unwrap();
        op
    }

    pub async fn claim(&self, ttl: Duration) -> Claimed {
        work(self.store.claim("worker", ttl, 1, &Crowded::default()).await.unwrap())
    }

    /// Claims an operation in PROCESSING with two planned objects and a plan of two steps forward and one back.
    pub async fn processing(&self) -> Claimed {
        self.operation().await;
        let claimed = self.claim(LONG).await;
        store_plan(&*self.store, &claimed.lease, LONG, &plan(), &[resource("a"), resource("b")], at(11)).await.unwrap();
        claimed
    }

    /// Creates an operation that failed after its first step.
    pub async fn failed(&self) -> VnfLcmOpOcc {
        let claimed = self.processing().await;
        let checkpoint = progress(OpState::Processing, 1);
        self.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
        let error = Some(problem("first"));
        let ending = outcome(&record(OpState::Processing), OpState::FailedTemp, error, at(20));
        self.store.end_operation(claimed.lease, &ending).await.unwrap();
        claimed.op
    }

    /// Completes the operation; its instance is then instantiated in namespace `edge`.
    pub async fn instantiate(&self, claimed: Claimed) -> VnfInstanceId {
        let mut instance = claimed.instance.clone();
        instance.metadata.namespace = Some(Namespace::try_from("edge".to_owned()).unwrap());
        instance.vim_connections.insert("vim".to_owned(), VimConnection { home: true, ..connection_to(None) });
        instance.instantiated = Some(instantiated());
        let ending = OperationOutcome { instance: Some(instance), ..ending(OpState::Processing, OpState::Completed) };
        self.store.end_operation(claimed.lease, &ending).await.unwrap();
        claimed.instance.id
    }

    pub async fn op_occ(&self, id: VnfLcmOpOccId) -> VnfLcmOpOcc {
        self.store.op_occ(&ProjectId::default(), id).await.unwrap()
    }
}

pub fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).unwrap() + Duration::from_millis(7)
}

pub fn warnings(text: &str) -> Warnings {
    [text].into_iter().collect()
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub fn elsewhere() -> ProjectId {
    ProjectId("elsewhere".to_owned())
}

pub fn problem(detail: &str) -> Problem {
    Problem::conflict(detail).with("object", "Deployment a")
}

pub fn content(vnfd_id: &str) -> Content {
    let vdu = Vdu { name: "app".to_owned(), kind: None, min: 1, max: 3, initial: Some(1) };
    let flavour = Flavour { vdus: BTreeMap::from([("VDU1".to_owned(), vdu)]), ..Flavour::default() };
    let vnfd = Vnfd {
        version: "2.0".to_owned(),
        vnfm_info: vec!["Gybe".to_owned()],
        flavours: BTreeMap::from([("default".to_owned(), flavour)]),
        ..vnfd(vnfd_id)
    };
    let artifact = ArtifactInfo {
        path: "Files/app.yaml".to_owned(),
        algorithm: "SHA-256".to_owned(),
        hash: "00".to_owned(),
        content_type: None,
        non_mano_artifact_set: None,
        classification: None,
        image: None,
    };
    Content {
        vnfd,
        sha512: "abc".to_owned(),
        size: 5_000_000_000,
        artifacts: vec![artifact],
        warnings: warnings("of the package"),
    }
}

pub fn vim(id: Uuid, name: &str) -> Vim {
    Vim {
        id: VimId(id),
        project_id: ProjectId::default(),
        name: name.to_owned(),
        description: String::new(),
        vim_type: "kubernetes".to_owned(),
        endpoint: "https://cluster:6443".to_owned(),
        access_info: object(json!({"insecure": false})),
        secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("t0ken-of-the-vim"))]),
        impersonate: None,
        vim_project: "default".to_owned(),
        extra: object(json!({"area": [1, "b"]})),
        policy: VimPolicy::open(),
        shared: false,
        lent: None,
        is_default: false,
        user_name: Some("system:serviceaccount:x:gybe".to_owned()),
        cluster_uid: Some("c1uster".to_owned()),
        status: VimStatus::Active,
        created_at: at(0),
        updated_at: None,
    }
}

pub fn connection_to(vim: Option<&Vim>) -> VimConnection {
    VimConnection {
        vim_id: vim.map(|vim| vim.id.to_string()),
        vim_name: None,
        vim_type: "kubernetes".to_owned(),
        interface_info: object(json!({"endpoint": "https://cluster:6443"})),
        access_info: Map::new(),
        secrets: Secrets::from([("client_key".to_owned(), Secret::new("k3y-of-the-connection"))]),
        extra: Map::new(),
        home: false,
        lender: None,
        added_by: None,
    }
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: name.to_owned() }
}

pub fn resource(name: &str) -> Resource {
    Resource {
        key: key(name),
        info: KindInfo { plural: "deployments".to_owned(), namespaced: true },
        vdu_id: Some("VDU1".to_owned()),
        manifest: object(json!({"spec": {"replicas": 1}})),
        state: ResourceState::Planned,
    }
}

pub fn present(uid: &str) -> ResourceState {
    ResourceState::Present { uid: uid.to_owned(), owned: true }
}

pub fn plan() -> Plan {
    let objects = vec![key("a"), key("b")];
    let forward = vec![Step::Apply { objects: objects.clone() }, Step::AwaitReady { objects: objects.clone() }];
    Plan {
        forward,
        backward: Some(vec![Step::Remove { objects, grace_seconds: Some(3), keep_rows: false }]),
        ..Plan::default()
    }
}

pub fn instantiated() -> InstantiatedVnfInfo {
    InstantiatedVnfInfo {
        flavour_id: "default".to_owned(),
        vnf_state: VnfState::Started,
        scale_levels: BTreeMap::from([("aspect".to_owned(), 1)]),
        max_scale_levels: BTreeMap::from([("aspect".to_owned(), 2)]),
        definition_files: vec!["Files/app.yaml".to_owned()],
        vdu_mapping: BTreeMap::new(),
        vnfcs: vec![vnfc()],
        storages: Vec::new(),
    }
}

pub fn vnfc() -> Vnfc {
    Vnfc {
        vdu_id: "VDU1".to_owned(),
        kept_id: None,
        pod_name: "app-1".to_owned(),
        pod_uid: "u1".to_owned(),
        workload_kind: "Deployment".to_owned(),
        workload_name: "app".to_owned(),
    }
}

pub fn ending(from: OpState, to: OpState) -> OperationOutcome {
    outcome(&record(from), to, None, at(20))
}

/// Compares all fields, and the secrets separately because `Debug` hides them.
pub fn assert_same(one: &VnfInstance, other: &VnfInstance) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    let secrets = |instance: &VnfInstance| -> Vec<Secrets> {
        instance.vim_connections.values().map(|connection| connection.secrets.clone()).collect()
    };
    assert_eq!(secrets(one), secrets(other));
}
