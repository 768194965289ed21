//! The crash matrix: every operation × every point of it × every fault, on a model of the cluster, over the real
//! conductor and the real store.
//!
//! [`OPERATIONS`] and [`CHANGES`] are the list: a new operation is covered by one line. Each is run once without a fault, which numbers its
//! points (`support::faults`): each call of the conductor to the store or to the cluster. Then it is run again for each
//! point and each fault there can be at it. [`check`] says what is to hold afterwards; what is intended is what the run
//! without a fault came to.
//!
//! No test waits for time to pass: where a conductor would wait for a delay or for another's lease to end,
//! [`World::time_passes`] ends both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::conductor::grant::Granting;
use gybe::conductor::{Conductor, Settings};
use gybe::domain::ids::{ProjectId, VimId, VnfInstanceId, VnfLcmOpOccId};
use gybe::domain::instance::{VnfInstance, VnfState};
use gybe::domain::op_occ::{CancelMode, LcmOperation, OpEvent, OpState, Remedy, Unattended, VnfLcmOpOcc};
use gybe::domain::operate::{Stopping, stopping};
use gybe::domain::package::{Content, DefinitionFile};
use gybe::domain::problem::Problem;
use gybe::domain::resource::{ObjectKey, Resource, ResourceState};
use gybe::domain::subscription::Edition;
use gybe::domain::vim::{Secret, Secrets, Vim};
use gybe::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu, Vnfd};
use gybe::infra::{Driver as _, Observed, Patience, Scope};
use gybe::lcm::accept::Acceptor;
use gybe::lcm::access::access;
use gybe::package::archive::Limits;
use gybe::package::csar;
use gybe::sol003::op_occ::can_roll_back;
use gybe::store::{Claim, OnboardedVnfd, Store, StoreError};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::faults::{
    Event, Fault, Faults, FaultyDriver, FaultyNfvo, FaultyStore, NEEDED, Point, Process, Side,
};
use crate::support::model::{Effects, ModelCluster, State};
use crate::support::played_nfvo::{PlayedNfvo, Taking};
use crate::support::rng::{Chance, seeds};
use crate::support::{postgres, sample, store};

// --- the operations ---------------------------------------------------------------------------------------------------

/// A row of the matrix.
struct Operation {
    name: &'static str,
    /// What the instance went through before.
    before: &'static [Request],
    request: Request,
    /// What of it is put to the test.
    way: Way,
}

/// A task of the API and its body.
type Request = (&'static str, &'static str);

/// The part of an operation that is put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From its acceptance on.
    Forward,
    /// It stopped at its end and is rolled back.
    Back,
    /// It stopped half-way and is tried again.
    Again,
    /// It stopped at its end and nobody decided in time: what is put to the test is that a conductor does.
    Left,
}

/// What becomes of an operation that nobody decides about.
const LEFT: Unattended = Unattended { after: Duration::from_secs(3600), remedy: Remedy::Rollback };
/// What can go wrong while a conductor decides. What follows is a rollback as any other.
const TROUBLES_OF_DECIDING: [Fault; 6] =
    [Fault::KilledBefore, Fault::KilledAfter, Fault::FailsOnce, Fault::ReplyLost, Fault::TakenOver, Fault::Stopped];

const INSTANTIATE: Request =
    ("instantiate", r#"{"flavourId":"simple","additionalParams":{"namespace":"vnf","createNamespace":true}}"#);
/// An instantiation that stops with everything made, and is failed.
const INSTANTIATE_AND_FAIL: Request =
    ("instantiate and fail", r#"{"flavourId":"simple","additionalParams":{"namespace":"vnf","createNamespace":true}}"#);
const SCALE_OUT: Request = ("scale", r#"{"type":"SCALE_OUT","aspectId":"subscriber_data","numberOfSteps":2}"#);
const SCALE_IN: Request = ("scale", r#"{"type":"SCALE_IN","aspectId":"subscriber_data"}"#);
const SCALE_TO_LEVEL: Request = ("scale_to_level", r#"{"instantiationLevelId":"large"}"#);
const SCALE_ASPECTS: Request = ("scale_to_level", r#"{"scaleInfo":[{"aspectId":"subscriber_data","scaleLevel":0}]}"#);
const HEAL_ONE: Request = ("heal", r#"{"vnfcInstanceId":["UDR_DB-udr-db-0"]}"#);
const HEAL_ALL: Request = ("heal", r#"{"cause":"healing all"}"#);
const STOP: Request = ("operate", r#"{"changeStateTo":"STOPPED","stopType":"GRACEFUL","gracefulStopTimeout":5}"#);
const START: Request = ("operate", r#"{"changeStateTo":"STARTED"}"#);
const TERMINATE: Request = ("terminate", r#"{"terminationType":"GRACEFUL","gracefulTerminationTimeout":5}"#);
const KILL: Request = ("terminate", r#"{"terminationType":"FORCEFUL"}"#);
/// Somebody deletes what the VNF needs; no request.
const LOSE: Request = ("lose", "Deployment udr, Pod probe");
const MODIFY: Request = ("modify", r#"{"vnfInstanceName":"renamed","metadata":{"site":"north"}}"#);
/// To the other package; what stands for its VNFD is replaced.
const CHANGE: Request = ("change_vnfpkg", r#"{"vnfdId":"the other","extensions":{"site":"north"}}"#);
/// One that stops with everything done, and is failed: the VNF has the first package then, and the objects of the other.
const CHANGE_AND_FAIL: Request = ("change_vnfpkg and fail", r#"{"vnfdId":"the other"}"#);
const CHANGE_BACK: Request = ("change_vnfpkg", r#"{"vnfdId":"the first"}"#);

#[rustfmt::skip]
const OPERATIONS: [Operation; 26] = [
    Operation { name: "INSTANTIATE", before: &[], request: INSTANTIATE, way: Way::Forward },
    Operation { name: "INSTANTIATE rolled back", before: &[], request: INSTANTIATE, way: Way::Back },
    Operation { name: "INSTANTIATE left alone", before: &[], request: INSTANTIATE, way: Way::Left },
    Operation { name: "INSTANTIATE retried", before: &[], request: INSTANTIATE, way: Way::Again },
    Operation { name: "INSTANTIATE over what is left", before: &[INSTANTIATE_AND_FAIL], request: INSTANTIATE, way: Way::Forward },
    Operation { name: "SCALE out", before: &[INSTANTIATE], request: SCALE_OUT, way: Way::Forward },
    Operation { name: "SCALE out rolled back", before: &[INSTANTIATE], request: SCALE_OUT, way: Way::Back },
    Operation { name: "SCALE in", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_IN, way: Way::Forward },
    Operation { name: "SCALE in rolled back", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_IN, way: Way::Back },
    Operation { name: "SCALE_TO_LEVEL of instantiation", before: &[INSTANTIATE], request: SCALE_TO_LEVEL, way: Way::Forward },
    Operation { name: "SCALE_TO_LEVEL of instantiation rolled back", before: &[INSTANTIATE], request: SCALE_TO_LEVEL, way: Way::Back },
    Operation { name: "SCALE_TO_LEVEL of an aspect", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_ASPECTS, way: Way::Forward },
    Operation { name: "HEAL one", before: &[INSTANTIATE], request: HEAL_ONE, way: Way::Forward },
    Operation { name: "HEAL all", before: &[INSTANTIATE], request: HEAL_ALL, way: Way::Forward },
    Operation { name: "HEAL of what was deleted", before: &[INSTANTIATE, LOSE], request: HEAL_ALL, way: Way::Forward },
    Operation { name: "HEAL of a stopped VNF", before: &[INSTANTIATE, STOP], request: HEAL_ALL, way: Way::Forward },
    Operation { name: "OPERATE stop", before: &[INSTANTIATE, SCALE_OUT], request: STOP, way: Way::Forward },
    Operation { name: "OPERATE stop rolled back", before: &[INSTANTIATE, SCALE_OUT], request: STOP, way: Way::Back },
    Operation { name: "OPERATE stop retried", before: &[INSTANTIATE], request: STOP, way: Way::Again },
    Operation { name: "OPERATE start", before: &[INSTANTIATE, SCALE_OUT, STOP], request: START, way: Way::Forward },
    Operation { name: "OPERATE start rolled back", before: &[INSTANTIATE, SCALE_OUT, STOP], request: START, way: Way::Back },
    Operation { name: "TERMINATE of a stopped VNF", before: &[INSTANTIATE, STOP], request: KILL, way: Way::Forward },
    Operation { name: "TERMINATE graceful", before: &[INSTANTIATE, SCALE_OUT], request: TERMINATE, way: Way::Forward },
    Operation { name: "TERMINATE forceful", before: &[INSTANTIATE], request: KILL, way: Way::Forward },
    Operation { name: "TERMINATE retried", before: &[INSTANTIATE], request: KILL, way: Way::Again },
    Operation { name: "MODIFY_INFO", before: &[INSTANTIATE], request: MODIFY, way: Way::Forward },
];

/// Of a VNF with another package than the rest, which has a successor.
#[rustfmt::skip]
const CHANGES: [Operation; 7] = [
    Operation { name: "CHANGE_VNFPKG", before: &[INSTANTIATE], request: CHANGE, way: Way::Forward },
    Operation { name: "CHANGE_VNFPKG rolled back", before: &[INSTANTIATE, SCALE_OUT], request: CHANGE, way: Way::Back },
    Operation { name: "CHANGE_VNFPKG retried", before: &[INSTANTIATE], request: CHANGE, way: Way::Again },
    Operation { name: "CHANGE_VNFPKG of what was deleted", before: &[INSTANTIATE, LOSE], request: CHANGE, way: Way::Forward },
    Operation { name: "CHANGE_VNFPKG back", before: &[INSTANTIATE, SCALE_OUT, CHANGE], request: CHANGE_BACK, way: Way::Forward },
    Operation { name: "CHANGE_VNFPKG over what is left", before: &[INSTANTIATE, CHANGE_AND_FAIL], request: CHANGE, way: Way::Forward },
    Operation { name: "TERMINATE of what is left", before: &[INSTANTIATE, CHANGE_AND_FAIL], request: KILL, way: Way::Forward },
];

/// What is asked for when the operation is in FAILED_TEMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Retry,
    Rollback,
    Fail,
}

/// What can go wrong at a point, and what is asked for if the operation stops there.
const TROUBLES: [(Fault, Answer); 23] = [
    (Fault::KilledBefore, Answer::Retry),
    (Fault::KilledAfter, Answer::Retry),
    (Fault::Twice, Answer::Retry),
    (Fault::FailsOnce, Answer::Retry),
    (Fault::FailsOn, Answer::Retry),
    (Fault::FailsOn, Answer::Rollback),
    (Fault::FailsOn, Answer::Fail),
    (Fault::Refused, Answer::Retry),
    (Fault::Refused, Answer::Rollback),
    (Fault::Refused, Answer::Fail),
    (Fault::ReplyLost, Answer::Retry),
    (Fault::TakenOver, Answer::Retry),
    (Fault::TakenOverUnsent, Answer::Retry),
    (Fault::Stopped, Answer::Retry),
    (Fault::Cancelled(CancelMode::Graceful), Answer::Retry),
    (Fault::Cancelled(CancelMode::Graceful), Answer::Rollback),
    (Fault::Cancelled(CancelMode::Forceful), Answer::Retry),
    (Fault::Cancelled(CancelMode::Forceful), Answer::Rollback),
    (Fault::CancelledAndKilled(CancelMode::Graceful), Answer::Retry),
    (Fault::CancelledAndKilled(CancelMode::Graceful), Answer::Rollback),
    (Fault::CancelledAndKilled(CancelMode::Forceful), Answer::Fail),
    (Fault::PanicsOn, Answer::Retry),
    (Fault::PanicsAfter, Answer::Retry),
];

/// The calls that change nothing.
const READING: [&str; 6] = ["resources", "vim", "vnfd", "definition_files", "discover", "observe"];

/// Whether the fault is one that can happen at the point.
fn can_happen(fault: Fault, answer: Answer, point: &Point) -> bool {
    match (fault, point.side) {
        (Fault::Twice | Fault::Refused | Fault::TakenOverUnsent, side) => side != Side::Store,
        // What follows is the same as when the cluster refuses, after eleven attempts.
        (Fault::FailsOn, Side::Cluster | Side::Nfvo) => answer == Answer::Retry,
        (Fault::FailsOn, Side::Store) if READING.contains(&point.call.as_str()) => answer == Answer::Retry,
        (Fault::FailsOn, Side::Store) => !NEEDED.contains(&point.call.as_str()),
        // After a call that only reads is before the next one, and nothing is lost with its answer.
        (Fault::KilledAfter | Fault::ReplyLost | Fault::CancelledAndKilled(_) | Fault::PanicsAfter, _)
            if READING.contains(&point.call.as_str()) =>
        {
            false
        }
        (Fault::PanicsOn | Fault::PanicsAfter, _) => !NEEDED.contains(&point.call.as_str()),
        _ => true,
    }
}

// --- packages ---------------------------------------------------------------------------------------------------------

/// What is onboarded.
struct Package {
    content: Content,
    files: Vec<DefinitionFile>,
    /// What it can be changed to.
    other: Option<Box<Self>>,
}

impl Package {
    /// Objects that differ in how they are made and removed: a definition and an object of its kind, workloads with and
    /// without volumes, a bare pod. Few of them, so that all cases can be run.
    fn of_many_kinds() -> Self {
        let vdus = [("UDR", "udr", Some(1)), ("UDR_DB", "udr-db", Some(1)), ("PROBE", "probe", None)];
        Self::new("of-many-kinds", &vdus, include_str!("matrix/many_kinds.yaml"), None)
    }

    /// With another one that shares, changes, adds and drops objects of each class, whose workloads are of other VDUs in part.
    fn changing() -> Self {
        let shared = [("UDR", "udr", Some(1)), ("UDR_DB", "udr-db", Some(1)), ("PROBE", "probe", None)];
        let to = [&shared[..], &[("PORTAL", "web", None), ("NEF", "nef", None)]].concat();
        let to = Self::new("changing-to", &to, include_str!("matrix/changing_to.yaml"), None);
        let from = [&shared[..], &[("WEB", "web", None), ("LEGACY", "legacy", None)]].concat();
        Self::new("changing-from", &from, include_str!("matrix/changing_from.yaml"), Some(Box::new(to)))
    }

    fn new(id: &str, vdus: &[(&str, &str, Option<u32>)], objects: &str, other: Option<Box<Self>>) -> Self {
        let vdu = |name: &str, initial| Vdu { name: name.to_owned(), min: 1, max: 9, initial };
        let named = |entries: &[(&str, u32)]| entries.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let aspect = ScalingAspect {
            max_level: 3,
            deltas: BTreeMap::from([("UDR".to_owned(), vec![2]), ("UDR_DB".to_owned(), vec![1])]),
        };
        let level = |scale_level| InstantiationLevel {
            scale_levels: named(&[("subscriber_data", scale_level)]),
            vdu_instances: named(&[]),
        };
        let flavour = Flavour {
            description: String::new(),
            vdus: vdus.iter().map(|(id, name, initial)| ((*id).to_owned(), vdu(name, *initial))).collect(),
            aspects: BTreeMap::from([("subscriber_data".to_owned(), aspect)]),
            levels: BTreeMap::from([("default".to_owned(), level(0)), ("large".to_owned(), level(2))]),
            default_level: Some("default".to_owned()),
        };
        let vnfd = Vnfd {
            id: id.to_owned(),
            version: "1.0".to_owned(),
            provider: "Company".to_owned(),
            product_name: "Sample".to_owned(),
            software_version: "1.0".to_owned(),
            vnfm_info: vec!["Gybe".to_owned()],
            flavours: BTreeMap::from([("simple".to_owned(), flavour)]),
        };
        let content = Content { vnfd, sha512: "0".to_owned(), size: 1, artifacts: Vec::new() };
        let file = DefinitionFile { path: "Files/objects.yaml".to_owned(), text: objects.to_owned() };
        Self { content, files: vec![file], other }
    }

    /// The sample `core5g` and its successor, as the package reader reads them.
    fn core5g() -> Self {
        Self { other: Some(Box::new(Self::of_sample("core5g-2"))), ..Self::of_sample("core5g") }
    }

    fn of_sample(sample: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("sample.csar");
        std::fs::write(&file, sample::pack(sample)).unwrap();
        let csar::Onboarded { content, files } = csar::onboard(&file, &Limits::default()).unwrap();
        Self { content, files, other: None }
    }

    async fn onboard(&self, store: &dyn Store) -> OnboardedVnfd {
        store::onboarded(store, &self.content, &self.files).await
    }
}

// --- the world --------------------------------------------------------------------------------------------------------

/// No lease runs out by itself.
const LEASE: Duration = Duration::from_secs(3600);
/// A case that takes longer is stuck.
const STUCK: Duration = Duration::from_secs(20);

/// A database and a cluster with a VNF instance, between operations.
struct World {
    url: String,
    store: Option<Arc<dyn Store>>,
    cluster: Arc<ModelCluster>,
    /// Who grants operations, if anybody does.
    nfvo: Option<Arc<PlayedNfvo>>,
    instance: VnfInstanceId,
    /// The VNFD it was made of, and what that can be changed to.
    vnfds: [String; 2],
    /// What becomes of the operations that are accepted if nobody decides.
    unattended: Option<Unattended>,
    /// Whether the time to decide is over.
    is_left: bool,
    /// What removes the database when it goes. After the store.
    _folder: Option<TempDir>,
}

/// A world to copy, on SQLite.
struct Prepared {
    folder: TempDir,
    cluster: State,
    granted: Option<Taking>,
    instance: VnfInstanceId,
    vnfds: [String; 2],
    op: Option<VnfLcmOpOccId>,
}

/// A folder for a database, in memory where the system has such folders: no power fails here, and a case writes to the
/// disk some fifty times otherwise.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn sqlite_url(folder: &TempDir) -> String {
    format!("sqlite://{}", database_in(folder).display())
}

fn database_in(folder: &TempDir) -> PathBuf {
    folder.path().join("gybe.db")
}

fn project() -> ProjectId {
    ProjectId::default()
}

impl World {
    async fn on_sqlite(package: &Package) -> Self {
        let folder = folder();
        Self::new(sqlite_url(&folder), Some(folder), package).await
    }

    async fn new(url: String, folder: Option<TempDir>, package: &Package) -> Self {
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
        Self {
            url,
            store: Some(store),
            cluster: Arc::default(),
            nfvo: None,
            instance,
            vnfds,
            unattended: None,
            is_left: false,
            _folder: folder,
        }
    }

    async fn copy_of(prepared: &Prepared) -> Self {
        let folder = folder();
        std::fs::copy(database_in(&prepared.folder), database_in(&folder)).unwrap();
        let url = sqlite_url(&folder);
        let store = store::open(&url).await;
        let cluster = Arc::new(ModelCluster::holding(prepared.cluster.clone()));
        Self {
            url,
            store: Some(store),
            cluster,
            nfvo: prepared.granted.map(PlayedNfvo::new),
            instance: prepared.instance,
            vnfds: prepared.vnfds.clone(),
            unattended: None,
            is_left: false,
            _folder: Some(folder),
        }
    }

    async fn prepared(self, op: Option<VnfLcmOpOccId>) -> Prepared {
        let folder = folder();
        self.execute(&format!("VACUUM INTO '{}'", database_in(&folder).display())).await;
        let granted = self.nfvo.as_ref().map(|nfvo| nfvo.taking);
        let (instance, vnfds) = (self.instance, self.vnfds.clone());
        Prepared { folder, cluster: self.cluster.state(), granted, instance, vnfds, op }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    /// The database is opened anew, as by a process that starts.
    async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(store::reopen(&self.url).await);
    }

    /// All delays and leases are over.
    async fn time_passes(&self) {
        self.execute("UPDATE vnf_lcm_op_occs SET lease_until = 0, not_before = 0").await;
    }

    /// The delay of the operation is over. Whether that is enough, as nobody has a lease of it.
    async fn delay_is_over(&self, op: VnfLcmOpOccId) -> bool {
        let due = format!("UPDATE vnf_lcm_op_occs SET not_before = 0 WHERE id = '{op}' AND lease_until = 0");
        self.execute(&due).await > 0
    }

    /// Gives back the number of rows that were changed.
    async fn execute(&self, statement: &str) -> u64 {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            statement.execute(&mut connection).await.unwrap().rows_affected()
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            statement.execute(&mut connection).await.unwrap().rows_affected()
        }
    }

    async fn instance(&self) -> VnfInstance {
        self.store().instance(&project(), self.instance).await.unwrap()
    }

    async fn inventory(&self) -> Vec<Resource> {
        self.store().resources(self.instance).await.unwrap()
    }

    /// What the view does a moment after an operation that has left the instance as it was: its pods are those there are.
    async fn brought_up_to_date(&self) {
        let mut instance = self.instance().await;
        let Some(info) = &mut instance.instantiated else { return };
        let home = self.instance().await;
        let access = access(&**self.store(), &project(), home.home().map(|(_, connection)| connection)).await.unwrap();
        let scope = Scope { access, namespace: home.metadata.namespace.unwrap(), instance: self.instance };
        let Observed { vnfcs, storages } = self.cluster.observe(&scope, &self.inventory().await, None).await.unwrap();
        (info.vnfcs, info.storages) = (vnfcs, storages);
        self.store().refresh_instance(&instance).await.unwrap();
    }

    async fn op_occ(&self, id: VnfLcmOpOccId) -> VnfLcmOpOcc {
        self.store().op_occ(&project(), id).await.unwrap()
    }

    /// Has the API accept a request.
    async fn accept(&self, (task, body): Request) -> VnfLcmOpOccId {
        let acceptor = Acceptor {
            store: &**self.store(),
            clock: &System,
            ids: &System,
            project: &project(),
            granting: false,
            unattended: self.unattended,
            vims_by_name: false,
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
            "modify" => acceptor.modify(id, read(body), None).await,
            other => panic!("no task is called {other}"),
        };
        accepted.unwrap()
    }

    /// Does what the API does for a task on an op occurrence.
    async fn answer(&self, op: &VnfLcmOpOcc, answer: Answer) {
        let event = match answer {
            Answer::Retry => OpEvent::Retry,
            Answer::Rollback => OpEvent::Rollback,
            Answer::Fail => OpEvent::Fail,
        };
        let to = op.state.on(event).unwrap();
        self.store().resume_operation(&project(), op.id, to, System.now()).await.unwrap();
    }

    async fn is_planned(&self, op: VnfLcmOpOccId) -> bool {
        self.store().plan(op).await.unwrap().is_some()
    }

    /// All that is known of the instance and of the cluster.
    async fn view(&self) -> View {
        let instance = self.instance().await;
        let state = self.cluster.state();
        let objects = state.objects.iter().map(|(place, object)| {
            let pods = state.pods.iter().filter(|pod| pod.owner == object.uid).count();
            let manifest = serde_json::to_string_pretty(&object.manifest).unwrap();
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
        View {
            objects: objects.collect(),
            claims: state.claims.keys().cloned().collect(),
            instance: format!(
                "{:#?}",
                (instance.name, instance.vnfd_id, instance.metadata, instance.extensions, connections, info)
            ),
        }
    }
}

/// What an instance and its cluster come to, without what differs from run to run (ids, uids, names of pods, times).
#[derive(Clone)]
struct View {
    /// The objects: what was applied, and the number of pods.
    objects: BTreeMap<ObjectKey, (String, usize)>,
    claims: BTreeSet<String>,
    /// The row.
    instance: String,
}

impl View {
    fn is(&self, wanted: &Self, what: &str) {
        let keys: BTreeSet<&ObjectKey> = self.objects.keys().chain(wanted.objects.keys()).collect();
        for key in keys {
            assert_eq!(self.objects.get(key), wanted.objects.get(key), "{key} is not {what}");
        }
        assert_eq!(self.instance, wanted.instance, "the instance is not {what}");
        // Volumes outlive the pods that a StatefulSet has no more, as Kubernetes keeps them for when it has them again.
        let kept = wanted.objects.keys().any(|key| key.kind == "StatefulSet");
        assert!(self.claims.is_superset(&wanted.claims), "{:?}", self.claims);
        assert!(kept || self.claims == wanted.claims, "volumes are left over: {:?}", self.claims);
    }
}

async fn register_vim(store: &dyn Store) {
    let vim = Vim {
        id: VimId(System.uuid()),
        project_id: project(),
        name: "model".to_owned(),
        description: String::new(),
        vim_type: "kubernetes".to_owned(),
        endpoint: "https://cluster:6443".to_owned(),
        access_info: Map::new(),
        secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("t0ken"))]),
        vim_project: "default".to_owned(),
        extra: Map::new(),
        is_default: true,
        user_name: None,
        created_at: System.now(),
        updated_at: None,
    };
    store.create_vim(&vim).await.unwrap();
}

// --- running an operation ---------------------------------------------------------------------------------------------

/// An operation at work, with whoever looks after its processes.
struct Run<'a> {
    world: &'a mut World,
    op: VnfLcmOpOccId,
    faults: Arc<Faults>,
    events: UnboundedReceiver<Event>,
    processes: Vec<Arc<Process>>,
    /// What is asked for in FAILED_TEMP, in turn. When there is no more, the run ends there.
    answers: Vec<Answer>,
    /// How many of them were used.
    answered: usize,
    /// Why it was in FAILED_TEMP, each time.
    stops: Vec<Problem>,
    /// How often a conductor had to wait for time to pass.
    waited: usize,
    /// How often of these it was for a lease to run out.
    waited_for_lease: usize,
}

/// What a run came to.
struct Outcome {
    state: OpState,
    passed: Vec<Point>,
    answered: usize,
    stops: Vec<Problem>,
    /// The states in which it was asked to stop.
    cancels: Vec<OpState>,
    waited: usize,
    waited_for_lease: usize,
}

impl<'a> Run<'a> {
    fn new(world: &'a mut World, op: VnfLcmOpOccId, plan: BTreeMap<usize, Fault>, answers: &[Answer]) -> Self {
        let (sender, events) = unbounded_channel();
        Self {
            world,
            op,
            faults: Faults::new(op, plan, sender),
            events,
            processes: Vec::new(),
            answers: answers.iter().rev().copied().collect(),
            answered: 0,
            stops: Vec::new(),
            waited: 0,
            waited_for_lease: 0,
        }
    }

    /// Runs until the operation has ended, or is in FAILED_TEMP with nothing more to ask for.
    async fn settle(mut self) -> Outcome {
        self.start();
        let state = loop {
            match self.events.recv().await.unwrap() {
                // A process that is killed takes all its conductors with it.
                Event::Killed => {
                    self.processes.drain(..).for_each(|process| process.kill());
                    self.all_objects_are_known().await;
                    let is_sqlite = self.world.url.starts_with("sqlite:");
                    self.world.reopen().await;
                    if !is_sqlite {
                        self.world.time_passes().await;
                    }
                    self.start();
                }
                Event::Stopped => {
                    self.processes.retain(|process| !process.stop.is_cancelled());
                    self.start();
                }
                Event::Held => {
                    self.world.time_passes().await;
                    self.start();
                }
                Event::Waits if self.processes.iter().any(|process| process.is_busy() && !process.is_held()) => {}
                Event::Waits => {
                    let op = self.world.op_occ(self.op).await;
                    let is_left = op.state == OpState::FailedTemp && op.unattended == Some(LEFT) && self.world.is_left;
                    if op.state == OpState::FailedTemp && !is_left {
                        assert_eq!(op.cancel, None, "a cancel request has taken effect or comes too late");
                        self.stops.push(op.error.clone().unwrap());
                    }
                    if op.state.is_running() || is_left {
                        self.waited += 1;
                        if !self.world.delay_is_over(self.op).await {
                            self.waited_for_lease += 1;
                            self.world.time_passes().await;
                        }
                        self.world.store().wake().notify_waiters();
                    } else if op.state.is_final() {
                        break op.state;
                    } else if let Some(answer) = self.answers.pop() {
                        self.answered += 1;
                        self.faults.lift();
                        self.world.answer(&op, answer).await;
                    } else {
                        break op.state;
                    }
                }
            }
        };
        self.faults.end();
        self.those_who_lost_their_lease_write_nothing().await;
        for process in &self.processes {
            process.kill();
        }
        Outcome {
            state,
            passed: self.faults.passed(),
            answered: self.answered,
            stops: self.stops,
            cancels: self.faults.cancels(),
            waited: self.waited,
            waited_for_lease: self.waited_for_lease,
        }
    }

    /// Starts a conductor over the store that is open.
    fn start(&mut self) {
        let process = Process::new(&self.faults, Arc::clone(self.world.store()));
        let driver = FaultyDriver { process: Arc::clone(&process), cluster: self.world.cluster.clone() };
        let settings = Settings {
            owner: System.uuid().to_string(),
            max_operations: 1,
            lease_ttl: LEASE,
            patience: Patience { grace: Duration::ZERO, timeout: Duration::ZERO },
            removal_timeout: Duration::ZERO,
        };
        let store = Arc::new(FaultyStore(Arc::clone(&process)));
        let granting = self.world.nfvo.clone().map(|nfvo| Granting {
            nfvo: Arc::new(FaultyNfvo { process: Arc::clone(&process), nfvo }),
            edition: Edition::V2,
            base_url: "http://vnfm".to_owned(),
            patience: LEASE,
            head_start: Duration::ZERO,
        });
        let conductor = Conductor::granted(store, Arc::new(driver), Arc::new(System), settings, granting);
        let (stop, faults) = (process.stop.clone(), Arc::clone(&self.faults));
        tokio::spawn(async move {
            conductor.run(stop).await;
            faults.tell(Event::Stopped);
        });
        self.processes.push(process);
    }

    /// Whoever goes on finds every object in the inventory: it is written before an object is made.
    async fn all_objects_are_known(&mut self) {
        let state = self.world.cluster.state();
        let inventory = self.world.inventory().await;
        for key in state.objects_of(self.world.instance).keys() {
            let row = inventory.iter().find(|row| row.key == **key);
            assert!(row.is_some_and(|row| row.state != ResourceState::Planned), "{key} is there, its row is {row:?}");
        }
    }

    async fn those_who_lost_their_lease_write_nothing(&mut self) {
        let held: Vec<_> = self.processes.iter().filter(|process| process.is_held()).cloned().collect();
        if held.is_empty() {
            return;
        }
        let written = async |world: &World| {
            let op = world.op_occ(self.op).await;
            let instance = world.instance().await;
            (op, instance.version, format!("{instance:?}"), world.inventory().await, world.cluster.state())
        };
        let before = written(self.world).await;
        for process in held {
            process.release();
            // It looks for other work, or ends if it was told to stop before it was held.
            while !matches!(self.events.recv().await.unwrap(), Event::Waits | Event::Stopped) {}
        }
        assert_eq!(written(self.world).await, before, "a conductor without a lease has changed something");
    }
}

/// Runs requests to COMPLETED, or to FAILED where they say so.
async fn carry_out(world: &mut World, requests: &[Request]) {
    for request in requests {
        if *request == LOSE {
            world.cluster.lose(request.1);
            continue;
        }
        let op = world.accept(*request).await;
        let fails = request.0.ends_with(" and fail");
        let run = Run::new(world, op, BTreeMap::new(), &[Answer::Fail]);
        if fails {
            run.faults.refuse("observe");
        }
        let outcome = run.settle().await;
        let wanted = if fails { OpState::Failed } else { OpState::Completed };
        assert_eq!(outcome.state, wanted, "{request:?}: {:?}", world.op_occ(op).await.error);
        if fails {
            world.brought_up_to_date().await;
        }
    }
}

// --- a row of the matrix ----------------------------------------------------------------------------------------------

/// An operation as it is put to the test: where it begins, and what it comes to without a fault.
struct Row {
    operation: &'static Operation,
    package: Arc<Package>,
    prepared: Prepared,
    /// The point at which it was stopped before it is put to the test.
    stop: Option<usize>,
    points: Vec<Point>,
    /// How it ends.
    outcome: OpState,
    effects: BTreeMap<String, Effects>,
    /// What there was before the operation.
    before: View,
    /// What there is when it was COMPLETED.
    completed: View,
    /// How often a conductor had to wait for time to pass.
    waited: usize,
}

impl Row {
    async fn new(operation: &'static Operation, package: &Arc<Package>, granted: Option<Taking>) -> Self {
        let mut world = World::on_sqlite(package).await;
        world.nfvo = granted.map(PlayedNfvo::new);
        carry_out(&mut world, operation.before).await;
        let before = world.view().await;
        let mut prepared = world.prepared(None).await;

        let mut world = World::copy_of(&prepared).await;
        let op = world.accept(operation.request).await;
        let mut run = Run::new(&mut world, op, BTreeMap::new(), &[]).settle().await;
        let mut effects = world.cluster.take_effects();
        let completed = world.view().await;
        assert_eq!(run.state, OpState::Completed, "{}", operation.name);

        let cluster: Vec<usize> = points_of_cluster(&run.passed);
        let stop = match operation.way {
            Way::Forward => None,
            Way::Back | Way::Left => cluster.last().copied(),
            Way::Again => Some(cluster[cluster.len() / 2]),
        };
        if stop.is_some() {
            let mut world = World::copy_of(&prepared).await;
            let op = operation.stop(&mut world, stop).await;
            prepared = world.prepared(op).await;
            let mut world = World::copy_of(&prepared).await;
            let op = operation.begin(&mut world, op).await;
            run = Run::new(&mut world, op, BTreeMap::new(), &[]).settle().await;
            effects = world.cluster.take_effects();
        }
        let end = run.passed.iter().rposition(|point| point.call == "end_operation").unwrap();
        run.passed.truncate(end + 1);
        let (points, outcome, waited, package) = (run.passed, run.state, run.waited, Arc::clone(package));
        Self { operation, package, prepared, stop, points, outcome, effects, before, completed, waited }
    }

    /// What there is while the VNF is started, of an operation that stops or starts it.
    fn started(&self) -> Option<&View> {
        match self.operation.request {
            STOP => Some(&self.before),
            START => Some(&self.completed),
            _ => None,
        }
    }

    /// Whether the point is before the end of STARTING, where nothing is made and nothing is asked for.
    fn is_starting(&self, point: usize) -> bool {
        let is_planned = |point: &Point| ["store_plan", "store_granted_plan"].contains(&point.call.as_str());
        self.points.iter().position(is_planned).is_some_and(|planned| point <= planned)
    }

    /// Whether this fault at this point stops the operation; `None` where both are right.
    fn stops(&self, point: usize, fault: Fault) -> Option<bool> {
        match fault {
            Fault::Refused | Fault::FailsOn | Fault::PanicsOn => Some(true),
            // A request that is there when the inventory is read, or a step begins, is obeyed. If it comes in the last step,
            // that may be done before; once all is written, it comes too late.
            Fault::Cancelled(_) | Fault::CancelledAndKilled(_) => {
                let looks = |point: &Point| {
                    ["resources", "store_plan", "renew", "record_intent"].contains(&point.call.as_str())
                };
                let last_look = self.points.iter().rposition(looks).unwrap();
                if point <= last_look { Some(true) } else { (point + 1 == self.points.len()).then_some(false) }
            }
            _ => Some(false),
        }
    }

    /// What is to hold of how the operation ended after this trouble at this point.
    fn is_as_expected(
        &self,
        (point, fault, answer): (usize, Fault, Answer),
        outcome: &Outcome,
        error: Option<&Problem>,
    ) {
        let (stops, starting) = (self.stops(point, fault), self.is_starting(point));
        let stopped = outcome.answered > 0;
        assert!(stops.is_none_or(|stops| stopped == (stops && !starting)), "stopped: {stopped}: {error:?}");
        let expected = match answer {
            _ if starting && stops == Some(true) => OpState::RolledBack,
            _ if !stopped => self.outcome,
            Answer::Retry => OpState::Completed,
            Answer::Rollback => OpState::RolledBack,
            Answer::Fail => OpState::Failed,
        };
        assert_eq!(outcome.state, expected, "{error:?}");
        if matches!(fault, Fault::KilledBefore | Fault::KilledAfter | Fault::Stopped | Fault::Twice)
            || fault.is_cancel()
        {
            assert!(outcome.waited <= self.waited, "whoever goes on does so at once, or when it would have anyway");
        }
        let why = outcome.stops.first().or(error.filter(|_| starting)).map(|problem| problem.kind.as_str());
        if fault.is_cancel() {
            assert_eq!(outcome.cancels.len(), 1);
            assert_eq!(outcome.cancels[0] == OpState::Starting, starting);
            assert!(why.is_none_or(|why| why == "urn:gybe:problem:cancelled"), "{why:?}");
        }
        if matches!(fault, Fault::PanicsOn | Fault::PanicsAfter) {
            assert_eq!(outcome.waited_for_lease, 0, "a panic does not hold the lease");
            assert!(why.is_none_or(|why| why == "urn:gybe:problem:internal"), "{why:?}");
        }
    }

    fn cases(&self) -> Vec<(usize, Fault, Answer)> {
        let mut cases = Vec::new();
        let decision = self.points.iter().position(|point| point.call == "end_operation").unwrap();
        for (index, point) in self.points.iter().enumerate() {
            for (fault, answer) in TROUBLES {
                let possible = answer != Answer::Rollback || self.operation.can_roll_back();
                let asked_for = answer == Answer::Retry || !self.is_starting(index);
                let deciding = index <= decision && TROUBLES_OF_DECIDING.contains(&fault);
                let tested = self.operation.way != Way::Left || deciding;
                if possible && asked_for && tested && can_happen(fault, answer, point) {
                    cases.push((index, fault, answer));
                }
            }
        }
        cases
    }
}

impl Operation {
    fn can_roll_back(&self) -> bool {
        ["instantiate", "scale", "scale_to_level", "operate", "change_vnfpkg"].contains(&self.request.0)
    }

    /// Stops the operation at a point, if at any.
    async fn stop(&self, world: &mut World, point: Option<usize>) -> Option<VnfLcmOpOccId> {
        let plan = BTreeMap::from([(point?, Fault::Refused)]);
        world.unattended = (self.way == Way::Left).then_some(LEFT);
        let op = world.accept(self.request).await;
        let stopped = Run::new(world, op, plan, &[]).settle().await;
        assert_eq!(stopped.state, OpState::FailedTemp, "{}", self.name);
        Some(op)
    }

    /// Begins what is put to the test: `stopped` if it was stopped before.
    async fn begin(&self, world: &mut World, stopped: Option<VnfLcmOpOccId>) -> VnfLcmOpOccId {
        let Some(op) = stopped else { return world.accept(self.request).await };
        if self.way == Way::Left {
            world.time_passes().await;
            world.is_left = true;
            return op;
        }
        world.answer(&world.op_occ(op).await, self.answer()).await;
        op
    }

    /// What is asked for to begin, and to go on, what is put to the test.
    fn answer(&self) -> Answer {
        if self.way == Way::Back { Answer::Rollback } else { Answer::Retry }
    }
}

fn points_of_cluster(points: &[Point]) -> Vec<usize> {
    points.iter().enumerate().filter(|(_, point)| point.side == Side::Cluster).map(|(index, _)| index).collect()
}

/// What is to hold when an operation of `row` has ended in `state`; `straight`: without a change of direction.
async fn check(row: &Row, world: &World, op: VnfLcmOpOccId, state: OpState, straight: bool) {
    let op = world.op_occ(op).await;
    assert_eq!(op.error.is_some(), state != OpState::Completed, "the error in {state:?}: {:?}", op.error);
    assert_eq!(op.cancel, None, "a cancel request has taken effect or comes too late");
    assert_eq!(can_roll_back(op.operation), row.operation.can_roll_back());
    let idle = world.store().claim("nobody", LEASE, 1).await.unwrap();
    assert!(matches!(idle, Claim::Idle(None)), "nothing is left to do: {idle:?}");

    let effects = world.cluster.take_effects();
    match state {
        OpState::Completed => world.view().await.is(&row.completed, "what is intended"),
        OpState::RolledBack if op.operation == LcmOperation::Instantiate && world.is_planned(op.id).await => {
            nothing_is_left(world).await;
        }
        // What was lost is made again on the way back.
        OpState::RolledBack if row.operation.before.contains(&LOSE) && world.is_planned(op.id).await => {}
        OpState::RolledBack => {
            let mut view = world.view().await;
            // A database that can't be read does not tell whether the namespace is still needed: it is kept.
            if op.error.is_some_and(|error| error.status == 500) {
                view.instance.clone_from(&row.before.instance);
            }
            view.is(&row.before, "what there was before");
            if row.operation.before.contains(&LOSE) {
                return;
            }
        }
        _ => {}
    }
    if straight && state == row.outcome {
        assert_eq!(effects, row.effects, "nothing is done twice");
    }
    for (what, effects) in effects.iter().filter(|(what, _)| !what.starts_with("pods of")) {
        assert!(effects.created <= 1 + effects.deleted, "{what} was made {} times", effects.created);
    }
    the_database_agrees_with_the_cluster(world, state == OpState::Failed).await;
    let (instance, cluster) = (world.instance().await, world.cluster.state());
    if let Some(info) = instance.instantiated.as_ref().filter(|_| state != OpState::Failed) {
        let shown: BTreeSet<&str> = info.vnfcs.iter().map(|vnfc| vnfc.pod_uid.as_str()).collect();
        let there: BTreeSet<&str> = cluster.pods.iter().map(|pod| pod.uid.as_str()).collect();
        assert!(shown.is_subset(&there), "a VNFC is no pod of the cluster: {shown:?}, {there:?}");
    }
}

/// Each object has its row, each row its object. After an operation that was failed, rows may be left over.
async fn the_database_agrees_with_the_cluster(world: &World, failed: bool) {
    let (inventory, state) = (world.inventory().await, world.cluster.state());
    let objects = state.objects_of(world.instance);
    for (key, object) in &objects {
        let row = inventory.iter().find(|row| row.key == **key);
        let row = row.unwrap_or_else(|| panic!("{key} is there and has no row"));
        match &row.state {
            ResourceState::Present { uid, owned: true } if *uid == object.uid => {}
            // It was made, or made anew, and nobody has heard of it.
            other => assert!(failed && *other == ResourceState::Intent, "{key} is there, its row says {other:?}"),
        }
        assert!(failed || row.manifest == object.manifest, "{key}: the row says {:?}", row.manifest);
    }
    let info = world.instance().await.instantiated;
    let is_stopped = info.is_some_and(|info| info.vnf_state == VnfState::Stopped);
    let waits =
        |row: &Resource| is_stopped && row.state == ResourceState::Planned && stopping(&row.key) == Stopping::Removed;
    for row in inventory.iter().filter(|row| !failed && !waits(row)) {
        assert!(objects.contains_key(&row.key), "{} has a row and is not there", row.key);
    }
}

/// An instance whose operation was failed can be put right by further operations, which leave nothing behind.
async fn can_be_put_right(world: &mut World) {
    if world.instance().await.instantiated.is_none() {
        carry_out(world, &[INSTANTIATE]).await;
        the_database_agrees_with_the_cluster(world, false).await;
    }
    carry_out(world, &[KILL]).await;
    nothing_is_left(world).await;
}

async fn nothing_is_left(world: &World) {
    let (state, instance) = (world.cluster.state(), world.instance().await);
    assert!(state.objects_of(world.instance).is_empty() && state.claims.is_empty(), "left over: {:?}", state.objects);
    assert!(world.inventory().await.is_empty());
    assert!(instance.instantiated.is_none() && instance.metadata.namespace.is_none(), "{instance:?}");
}

async fn case(row: &Row, trouble: (usize, Fault, Answer)) {
    let (point, fault, answer) = trouble;
    let mut world = World::copy_of(&row.prepared).await;
    let op = row.operation.begin(&mut world, row.prepared.op).await;
    let outcome = Run::new(&mut world, op, BTreeMap::from([(point, fault)]), &[answer]).settle().await;
    row.is_as_expected(trouble, &outcome, world.op_occ(op).await.error.as_ref());
    check(row, &world, op, outcome.state, true).await;
    if outcome.state == OpState::Failed {
        if let Some(started) = row.started() {
            carry_out(&mut world, &[START]).await;
            world.view().await.is(started, "what ran before");
        }
        if row.operation.request.0 == CHANGE.0 {
            // Healing leaves it half-way, as it is; the same again brings it where it was to go.
            carry_out(&mut world, &[HEAL_ALL, row.operation.request]).await;
            world.view().await.is(&row.completed, "what it was to become");
            the_database_agrees_with_the_cluster(&world, false).await;
        }
        can_be_put_right(&mut world).await;
    }
}

// --- running many -----------------------------------------------------------------------------------------------------

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async { tokio::time::timeout(STUCK, future).await });
    runtime.shutdown_background();
    result.expect("the case is stuck")
}

/// Runs `jobs` on as many threads as there are processors. Gives back the names of those that failed, with what they said.
fn run_all<J: Sync>(jobs: &[J], name: impl Fn(&J) -> String + Sync, run: impl Fn(&J) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(job)));
                    if result.is_err() {
                        eprintln!("failed: {}", name(job));
                        failed.lock().unwrap().push(name(job));
                    }
                }
            });
        }
    });
    println!("{} cases in {:.1} s", jobs.len(), begun.elapsed().as_secs_f64());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), jobs.len(), failed.join("\n"));
}

/// One trouble of one row.
type Single<'a> = (&'a Row, (usize, Fault, Answer));

fn name_of((row, (point, fault, answer)): &Single<'_>) -> String {
    format!("{}: {fault:?} at point {point} ({}), then {answer:?}", row.operation.name, row.points[*point].call)
}

fn rows(package: Package, operations: impl Iterator<Item = &'static Operation>) -> Vec<Row> {
    let package = Arc::new(package);
    operations.map(|operation| block_on(Row::new(operation, &package, None))).collect()
}

/// The rows of [`OPERATIONS`].
fn operations() -> Vec<Row> {
    rows(Package::of_many_kinds(), OPERATIONS.iter())
}

/// The rows of [`CHANGES`].
fn changes() -> Vec<Row> {
    rows(Package::changing(), CHANGES.iter())
}

/// Of the cases, every `share`th; all of them with `GYBE_MATRIX_ALL`.
fn survive_every_fault_at_every_point(rows: &[Row], share: usize) {
    let mut jobs: Vec<Single> = Vec::new();
    for row in rows {
        let cases = row.cases();
        println!("{}: {} points, {} cases", row.operation.name, row.points.len(), cases.len());
        jobs.extend(cases.into_iter().map(|case| (row, case)));
    }
    let share = if std::env::var_os("GYBE_MATRIX_ALL").is_some() { 1 } else { share };
    let jobs: Vec<Single> = jobs.into_iter().step_by(share).collect();
    run_all(&jobs, name_of, |(row, trouble)| block_on(case(row, *trouble)));
}

#[test]
fn every_operation_survives_every_fault_at_every_point() {
    survive_every_fault_at_every_point(&operations(), 1);
}

#[test]
fn every_change_of_package_survives_every_fault_at_every_point() {
    survive_every_fault_at_every_point(&changes(), 5);
}

/// From the request for a grant to the plan that is stored with it; what is before and after is as without an NFVO.
#[test]
fn every_operation_survives_every_fault_while_it_is_granted() {
    let packages = [(Package::of_many_kinds(), &OPERATIONS[..]), (Package::changing(), &CHANGES[..])];
    let granted = |operation: &&Operation| operation.way == Way::Forward && operation.request != MODIFY;
    let both = [Taking::NoTime, Taking::ItsTime];
    let mut rows: Vec<Row> = Vec::new();
    for (package, operations) in packages {
        let package = Arc::new(package);
        let granted = operations.iter().filter(granted);
        let row = |operation| both.map(|taking| block_on(Row::new(operation, &package, Some(taking))));
        rows.extend(granted.flat_map(row));
    }
    let mut jobs: Vec<Single> = Vec::new();
    for row in &rows {
        let asks = row.points.iter().position(|point| point.side == Side::Nfvo).unwrap();
        let cases = row.cases().into_iter().filter(|(point, ..)| *point >= asks && row.is_starting(*point));
        jobs.extend(cases.map(|case| (row, case)));
    }
    assert!(rows.iter().any(|row| row.points.iter().any(|point| point.call == "await_grant")));
    run_all(&jobs, name_of, |(row, trouble)| block_on(case(row, *trouble)));
}

// --- by chance --------------------------------------------------------------------------------------------------------

/// Several faults in one operation, and answers as they come.
async fn several(row: &Row, world: &mut World, op: VnfLcmOpOccId, chance: &mut Chance) {
    let faults: BTreeMap<usize, Fault> =
        (0..2 + chance.below(4)).map(|_| (chance.below(row.points.len() * 2), chance.one_of(&TROUBLES).0)).collect();
    let choice = [Answer::Retry, Answer::Retry, Answer::Fail, Answer::Rollback];
    let choice = if row.operation.can_roll_back() { &choice[..] } else { &choice[..3] };
    let mut answers: Vec<Answer> = (0..3).map(|_| chance.one_of(choice)).collect();
    answers.resize(faults.len() + 3, Answer::Retry);
    println!("{}: {faults:?}, then {:?}", row.operation.name, &answers[..3]);
    let can_stop =
        |fault: &Fault| matches!(fault, Fault::Refused | Fault::FailsOn | Fault::PanicsOn) || fault.is_cancel();
    let can_stop = faults.values().any(can_stop);
    let outcome = Run::new(world, op, faults, &answers).settle().await;
    assert!(outcome.state.is_final());
    if !can_stop {
        assert_eq!(outcome.state, row.outcome);
    }
    let straight = answers.iter().take(outcome.answered).all(|answer| *answer == row.operation.answer());
    check(row, world, op, outcome.state, straight).await;
    if outcome.state == OpState::Failed {
        can_be_put_right(world).await;
    }
}

#[test]
fn operations_survive_several_faults() {
    let rows = [operations(), changes()].into_iter().flatten().collect::<Vec<_>>();
    let name = |seed: &u64| format!("GYBE_MATRIX_SEED={seed}");
    run_all(&seeds(200), name, |seed| {
        block_on(async {
            let mut chance = Chance(*seed);
            let row = &rows[chance.below(rows.len())];
            let mut world = World::copy_of(&row.prepared).await;
            let op = row.operation.begin(&mut world, row.prepared.op).await;
            several(row, &mut world, op, &mut chance).await;
        });
    });
}

/// The sample has many objects of a kind, as real VNFs do: here the faults are taken by chance.
#[test]
fn operations_on_a_large_vnf_survive_faults() {
    let operations = OPERATIONS.iter().chain(&CHANGES).filter(|operation| operation.way == Way::Forward);
    let rows = rows(Package::core5g(), operations);
    let singles: Vec<Single> = rows.iter().flat_map(|row| row.cases().into_iter().map(move |it| (row, it))).collect();
    let name = |seed: &u64| format!("GYBE_MATRIX_SEED={seed}");
    run_all(&seeds(60), name, |seed| {
        let single = Chance(*seed).one_of(&singles);
        println!("{}", name_of(&single));
        block_on(case(single.0, single.1));
    });
}

/// On PostgreSQL each case is a VNF instance of its own in one database, one after the other.
#[test]
fn operations_survive_faults_on_postgresql() {
    let rows = [operations(), changes()].into_iter().flatten().collect::<Vec<_>>();
    let database = block_on(postgres::Database::create());
    for seed in seeds(40) {
        println!("GYBE_MATRIX_SEED={seed}");
        block_on(async {
            let mut chance = Chance(seed);
            let row = &rows[chance.below(rows.len())];
            let mut world = World::new(database.url.clone(), None, &row.package).await;
            carry_out(&mut world, row.operation.before).await;
            let stopped = row.operation.stop(&mut world, row.stop).await;
            world.cluster.take_effects();
            let op = row.operation.begin(&mut world, stopped).await;
            several(row, &mut world, op, &mut chance).await;
        });
    }
}
