//! A database and a model cluster with one VNF instance, between operations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::container_update::RESTART_ANNOTATION;
use gybe::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::op_occ::{Unattended, VnfLcmOpOcc};
use gybe::domain::resource::{ObjectKey, Resource};
use gybe::domain::transition::OpEvent;
use gybe::domain::vim::Vim;
use gybe::infra::{Driver as _, ObservedResources, PodSnapshot, Scope};
use gybe::lcm::accept::Acceptor;
use gybe::lcm::access::access;
use gybe::store::{Store, StoreError};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use super::faults::Task;
use super::operations::Request;
use super::package::Package;
use crate::support::fake_nfvo::{FakeNfvo, GrantTiming};
use crate::support::model::{ClusterState, ModelCluster};
use crate::support::{store, store_fixture};

/// The lease; no lease expires by itself.
pub const LEASE: Duration = Duration::from_secs(3600);

/// A database and a cluster with a VNF instance, between operations.
pub struct Environment {
    pub url: String,
    pub store: Option<Arc<dyn Store>>,
    pub cluster: Arc<ModelCluster>,
    /// The NFVO, if operations are granted.
    pub nfvo: Option<Arc<FakeNfvo>>,
    pub instance: VnfInstanceId,
    /// The vnfdId of the instance, and that of a change.
    pub vnfds: [String; 2],
    /// The remedy for accepted operations without a decision.
    pub unattended: Option<Unattended>,
    /// Whether the time for a decision has passed.
    pub is_overdue: bool,
    /// Deletes the database when dropped. Declared after the store, so that the store closes first.
    pub _folder: Option<TempDir>,
}

impl Environment {
    pub async fn on_sqlite(package: &Package) -> Self {
        let folder = folder();
        Self::new(sqlite_url(&folder), Some(folder), package).await
    }

    pub async fn new(url: String, folder: Option<TempDir>, package: &Package) -> Self {
        let store = store::open(&url).await;
        if matches!(store.default_vim(&project()).await, Err(StoreError::NotFound)) {
            register_vim(&*store).await;
        }
        let onboarded = package.onboard(&*store).await;
        let vnfd = onboarded.vnfd.id.clone();
        let mut vnfds = [vnfd.clone(), vnfd];
        if let Some(other) = &package.other {
            vnfds[1] = other.onboard(&*store).await.vnfd.id;
        }
        let instance = store::instance(&*store, &onboarded).await.id;
        let environment = Self {
            url,
            store: Some(store),
            cluster: Arc::default(),
            nfvo: None,
            instance,
            vnfds,
            unattended: None,
            is_overdue: false,
            _folder: folder,
        };
        environment.record_plans().await;
        environment
    }

    pub async fn copy_of(prepared: &Snapshot) -> Self {
        let folder = folder();
        std::fs::copy(database_in(&prepared.folder), database_in(&folder)).unwrap();
        let url = sqlite_url(&folder);
        let store = store::open(&url).await;
        let cluster = Arc::new(ModelCluster::with_state(prepared.cluster.clone()));
        Self {
            url,
            store: Some(store),
            cluster,
            nfvo: prepared.granted.map(FakeNfvo::new),
            instance: prepared.instance,
            vnfds: prepared.vnfds.clone(),
            unattended: None,
            is_overdue: false,
            _folder: Some(folder),
        }
    }

    pub async fn prepared(self, op: Option<VnfLcmOpOccId>) -> Snapshot {
        let folder = folder();
        self.execute(&format!("VACUUM INTO '{}'", database_in(&folder).display())).await;
        let granted = self.nfvo.as_ref().map(|nfvo| nfvo.timing);
        let (instance, vnfds) = (self.instance, self.vnfds.clone());
        Snapshot { folder, cluster: self.cluster.state(), granted, instance, vnfds, op }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    /// Opens the database again, as a new process does.
    pub async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(store::reopen(&self.url).await);
    }

    /// Ends all delays and leases.
    pub async fn expire_leases_and_delays(&self) {
        self.execute("UPDATE vnf_lcm_op_occs SET lease_until = 0, not_before = 0").await;
    }

    /// Ends the delay of the operation. Returns whether it can be claimed then, because nobody has its lease.
    pub async fn expire_delay(&self, op: VnfLcmOpOccId) -> bool {
        let due = format!("UPDATE vnf_lcm_op_occs SET not_before = 0 WHERE id = '{op}' AND lease_until = 0");
        self.execute(&due).await > 0
    }

    /// Returns the number of changed rows.
    pub async fn execute(&self, statement: &str) -> u64 {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            statement.execute(&mut connection).await.unwrap().rows_affected()
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            statement.execute(&mut connection).await.unwrap().rows_affected()
        }
    }

    pub async fn instance(&self) -> VnfInstance {
        self.store().instance(&project(), self.instance).await.unwrap()
    }

    pub async fn inventory(&self) -> Vec<Resource> {
        self.store().resources(self.instance).await.unwrap()
    }

    /// Updates the shown pods, as the view does shortly after an operation that left the instance unchanged.
    pub async fn refresh_view(&self) {
        let mut instance = self.instance().await;
        let Some(info) = &mut instance.instantiated else { return };
        let home = self.instance().await;
        let access = access(&**self.store(), &project(), home.home().map(|(_, connection)| connection)).await.unwrap();
        let scope = Scope {
            access,
            namespace: home.metadata.namespace.unwrap(),
            instance: self.instance,
            project: project(),
            writer: None,
        };
        let ObservedResources { vnfcs, storages } =
            self.cluster.observe(&scope, &self.inventory().await, PodSnapshot::default()).await.unwrap();
        (info.vnfcs, info.storages) = (vnfcs, storages);
        self.store().refresh_instance(&instance).await.unwrap();
    }

    pub async fn op_occ(&self, id: VnfLcmOpOccId) -> VnfLcmOpOcc {
        self.store().op_occ(&project(), id).await.unwrap()
    }

    /// Makes a request through the acceptor of the API.
    pub async fn accept(&self, (task, body): Request) -> VnfLcmOpOccId {
        let acceptor = Acceptor {
            store: &**self.store(),
            clock: &System,
            ids: &System,
            project: &project(),
            granting: false,
            unattended: self.unattended,
            vims_by_name: false,
            require_namespace: false,
            tenancy: None,
            rehearsal: None,
        };
        let body = body.replace("the first", &self.vnfds[0]).replace("the other", &self.vnfds[1]);
        let (id, body) = (self.instance, serde_json::from_str::<Value>(&body).unwrap());
        fn read<T: serde::de::DeserializeOwned>(body: Value) -> T {
            serde_json::from_value(body).unwrap()
        }
        let accepted = match task {
            "instantiate" | "instantiate and fail" => acceptor.instantiate(id, read(body)).await,
            "scale" => acceptor.scale(id, &read(body)).await,
            "scale_to_level" => acceptor.scale_to_level(id, &read(body)).await,
            "heal" => acceptor.heal(id, &read(body)).await,
            "operate" => acceptor.operate(id, &read(body)).await,
            "change_vnfpkg" | "change_vnfpkg and fail" => acceptor.change_vnfpkg(id, read(body)).await,
            "terminate" => acceptor.terminate(id, &read(body)).await,
            "modify" | "update" => acceptor.modify(id, read(body), None).await,
            other => panic!("no task is called {other}"),
        };
        accepted.unwrap()
    }

    /// Requests a task on the op occurrence, as the API does.
    pub async fn task(&self, op: &VnfLcmOpOcc, task: Task) {
        let event = match task {
            Task::Retry => OpEvent::Retry,
            Task::Rollback => OpEvent::Rollback,
            Task::Fail => OpEvent::Fail,
        };
        self.store().resume_operation(&project(), op.id, event, System.now()).await.unwrap();
    }

    /// Lets the database record which operations get a plan, which is gone at their end.
    async fn record_plans(&self) {
        let table = "CREATE TABLE IF NOT EXISTS planned (id TEXT PRIMARY KEY);";
        let trigger = if self.url.starts_with("sqlite:") {
            "CREATE TRIGGER IF NOT EXISTS record_plan AFTER UPDATE OF plan ON vnf_lcm_op_occs WHEN NEW.plan IS NOT NULL \
             BEGIN INSERT OR IGNORE INTO planned VALUES (NEW.id); END;"
        } else {
            "CREATE OR REPLACE FUNCTION record_plan() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN INSERT INTO planned VALUES (NEW.id) ON CONFLICT DO NOTHING; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER record_plan AFTER UPDATE OF plan ON vnf_lcm_op_occs \
             FOR EACH ROW WHEN (NEW.plan IS NOT NULL) EXECUTE FUNCTION record_plan();"
        };
        self.execute(&format!("{table} {trigger}")).await;
    }

    /// Whether the operation had a plan.
    pub async fn was_planned(&self, op: VnfLcmOpOccId) -> bool {
        self.execute(&format!("UPDATE planned SET id = id WHERE id = '{op}'")).await > 0
    }

    /// The visible state of instance and cluster.
    pub async fn view(&self) -> VisibleState {
        self.view_of(self.instance().await)
    }

    /// As [`Environment::view`], without the ids that VNFCs kept through a heal.
    pub async fn view_without_kept_ids(&self) -> VisibleState {
        let mut instance = self.instance().await;
        for vnfc in instance.instantiated.iter_mut().flat_map(|info| &mut info.vnfcs) {
            vnfc.kept_id = None;
        }
        self.view_of(instance)
    }

    fn view_of(&self, instance: VnfInstance) -> VisibleState {
        let state = self.cluster.state();
        let objects = state.objects.iter().map(|(place, object)| {
            let pods = state.pods.iter().filter(|pod| pod.owner == object.uid).count();
            let manifest = serde_json::to_string_pretty(&without_operation(&object.manifest)).unwrap();
            (place.key.clone(), (manifest.replace(&self.instance.to_string(), "the instance"), pods))
        });
        let mut info = instance.instantiated;
        if let Some(info) = &mut info {
            info.storages.clear();
            for vnfc in &mut info.vnfcs {
                vnfc.pod_uid.clear();
                vnfc.pod_name.clear();
            }
        }
        let connections: Vec<&String> = instance.vim_connections.keys().collect();
        VisibleState {
            objects: objects.collect(),
            claims: state.claims.keys().cloned().collect(),
            instance: format!(
                "{:#?}",
                (instance.name, instance.vnfd_id, instance.metadata, instance.extensions, connections, info)
            ),
        }
    }
}

/// A copy of an environment on SQLite.
pub struct Snapshot {
    pub folder: TempDir,
    pub cluster: ClusterState,
    pub granted: Option<GrantTiming>,
    pub instance: VnfInstanceId,
    pub vnfds: [String; 2],
    pub op: Option<VnfLcmOpOccId>,
}

/// A folder for a database, in memory where possible: the tests do not cut power, and a case writes to disk about fifty
/// times.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

pub fn sqlite_url(folder: &TempDir) -> String {
    format!("sqlite://{}", database_in(folder).display())
}

pub fn database_in(folder: &TempDir) -> PathBuf {
    folder.path().join("gybe.db")
}

pub fn project() -> ProjectId {
    ProjectId::default()
}

/// The visible state of an instance and its cluster, without ids, uids, pod names and times.
#[derive(Clone)]
pub struct VisibleState {
    /// The objects: the applied manifest, and the number of pods.
    pub objects: BTreeMap<ObjectKey, (String, usize)>,
    pub claims: BTreeSet<String>,
    /// The row of the instance.
    pub instance: String,
}

impl VisibleState {
    pub fn is(&self, wanted: &Self, what: &str) {
        let keys: BTreeSet<&ObjectKey> = self.objects.keys().chain(wanted.objects.keys()).collect();
        for key in keys {
            assert_eq!(self.objects.get(key), wanted.objects.get(key), "{key} does not have {what}");
        }
        assert_eq!(self.instance, wanted.instance, "the instance does not have {what}");
        // Volumes outlive the pods of a StatefulSet that was scaled in, as in Kubernetes.
        let kept = wanted.objects.keys().any(|key| key.kind == "StatefulSet");
        assert!(self.claims.is_superset(&wanted.claims), "{:?}", self.claims);
        assert!(kept || self.claims == wanted.claims, "volumes are left over: {:?}", self.claims);
    }
}

pub async fn register_vim(store: &dyn Store) {
    let vim = Vim { is_default: true, ..store_fixture::vim(System.uuid(), "model") };
    store.create_vim(&vim).await.unwrap();
}

/// The manifest with the same value for all operations that restart its pods.
fn without_operation(manifest: &Map<String, Value>) -> Value {
    let mut manifest = Value::Object(manifest.clone());
    for annotations in ["/metadata/annotations", "/spec/template/metadata/annotations"] {
        let annotation =
            manifest.pointer_mut(annotations).and_then(|annotations| annotations.get_mut(RESTART_ANNOTATION));
        if let Some(annotation) = annotation {
            *annotation = "the operation".into();
        }
    }
    manifest
}
