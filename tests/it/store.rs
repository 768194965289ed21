//! What the store promises, on both engines: each case below runs once on SQLite and once on PostgreSQL.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use gybe::domain::grant::{Asked, GrantReference, PendingGrant};
use gybe::domain::ids::{ProjectId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use gybe::domain::instance::{InstantiatedVnfInfo, VirtualStorage, VnfInstance, VnfMetadata, VnfState, Vnfc};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::{
    AffectedStorage, AffectedVnfc, CancelMode, ChangeType, LcmOperation, OpState, ResourceChanges, VnfLcmOpOcc,
};
use gybe::domain::package::{ArtifactInfo, Content, DefinitionFile, Onboarding, OperationalState, VnfPackage};
use gybe::domain::plan::{Plan, Step};
use gybe::domain::problem::Problem;
use gybe::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use gybe::domain::vim::{Secret, Secrets, Vim, VimConnection};
use gybe::domain::vnfd::{Flavour, Vdu, Vnfd};
use gybe::store::attributes::{self, filter};
use gybe::store::seal::KeyRing;
use gybe::store::{
    Checkpoint, Claim, Claimed, Granted, InstanceLocation, Lease, OperationEnded, OperationOutcome, Page, QueueStats,
    Store, StoreError, connect, live_operations, migrate,
};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::postgres;
use crate::support::store::{whole, work};

/// All there are, of either engine.
const MIGRATIONS: [&str; 11] = [
    "1 initial",
    "2 traceparent",
    "3 tuning",
    "4 notifications",
    "5 lists",
    "6 change vnfpkg",
    "7 grants",
    "8 package subscriptions",
    "9 clients",
    "10 claims",
    "11 op occ values",
];

on_both_engines! {
    Fixture::sqlite(), Fixture::postgres();
    packages_are_kept_and_listed_oldest_first
    onboarding_goes_through_its_states
    onboarding_keeps_what_it_found
    a_vnfd_is_onboarded_once_per_project
    abandoned_onboardings_fail
    packages_are_updated
    packages_are_deleted_when_disabled_and_unused
    no_instance_is_made_of_a_package_that_goes
    vims_are_kept_with_their_secrets
    vims_are_updated
    a_vim_name_is_taken_once_and_so_is_the_default
    a_vim_in_use_is_not_deleted
    secrets_are_never_in_clear
    a_secret_opens_only_in_its_row_and_with_its_key
    instances_are_kept
    the_pages_of_a_list_have_each_instance_once_in_a_stable_order
    an_instance_needs_an_enabled_package
    an_instance_is_deleted_when_nothing_is_left_of_it
    the_namespace_is_in_vnf_metadata
    an_operation_begins_together_with_its_instance
    an_operation_does_not_begin_on_an_instance_that_changed
    one_operation_of_an_instance_is_live
    operations_are_listed_oldest_first
    a_claim_gives_all_that_is_needed
    the_operation_that_waited_longest_is_claimed_first
    each_operation_is_claimed_once
    an_operation_whose_lease_ran_out_is_claimed_again
    a_conductor_that_lost_its_lease_writes_nothing
    a_lease_that_ran_out_is_lost_though_nobody_took_over
    a_renewed_lease_lasts
    a_renewal_tells_of_a_cancel_request
    only_a_running_operation_is_cancelled
    an_operation_that_waits_is_due_once_cancelled
    a_cancelled_operation_is_not_put_off
    a_cancelled_operation_does_not_leave_starting
    a_cancel_request_is_signalled
    a_plan_is_stored_with_its_inventory
    an_operation_waits_for_its_grant_and_is_stored_with_it
    a_second_plan_keeps_what_is_known_of_objects
    intent_is_recorded_of_planned_objects_only
    rows_are_added_before_their_objects_are_made_and_written_anew_with_what_came_of_it
    a_package_that_an_operation_brings_is_in_use_until_that_is_over
    a_checkpoint_is_all_or_nothing
    large_inventories_are_written
    progress_forgets_the_attempts_at_a_step
    a_postponed_operation_waits
    an_error_that_passes_does_not_hide_the_one_that_led_back
    an_operation_ends_with_its_instance
    an_operation_ends_with_its_inventory_forgotten_only_where_it_says_so
    an_operation_ends_only_from_its_state
    a_failed_operation_is_retried_where_it_stopped
    a_failed_operation_is_rolled_back_from_the_first_step
    a_retry_after_a_rollback_that_failed_starts_over
    only_a_failed_operation_is_resumed
    idle_tells_when_to_look_again
    what_makes_work_wakes_the_conductors
    instantiated_instances_are_found_with_what_there_is_to_look_at
    an_instance_is_refreshed_unless_it_changed_or_an_operation_is_live
    endings_are_told
    a_row_that_cannot_be_read_is_named
    a_caller_that_goes_away_leaves_no_transaction_behind
    another_projects_rows_are_not_found
    the_database_answers
    the_queue_tells_what_waits_and_for_how_long
    live_operations_are_read_beside_the_process_that_serves
}

// --- fixture --------------------------------------------------------------------------------------------------------

const LONG: Duration = Duration::from_secs(600);
pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A store on a database of its own.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    url: String,
    next: AtomicU64,
    /// What removes the database when it goes. After the store.
    _database: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::new(format!("sqlite://{}/gybe.db", dir.path().display()), Box::new(dir)).await
    }

    pub async fn postgres() -> Self {
        let database = postgres::Database::create().await;
        Self::new(database.url.clone(), Box::new(database)).await
    }

    async fn new(url: String, database: Box<dyn Any + Send + Sync>) -> Self {
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

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// Runs a statement behind the store's back.
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

    /// The one text that `query` selects.
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

    fn uuid(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn package(&self) -> VnfPackage {
        VnfPackage {
            id: VnfPkgId(self.uuid()),
            project_id: ProjectId::default(),
            onboarding: Onboarding::Created,
            operational_state: OperationalState::Disabled,
            in_use: false,
            user_defined_data: object(json!({"owner": "Zoë", "n": 1.5})),
            created_at: at(0),
        }
    }

    /// An onboarded package, of a VNFD named after it.
    pub async fn onboarded(&self) -> VnfPkgId {
        let package = self.package();
        self.store.create_package(&package).await.unwrap();
        self.onboard(package.id, &package.id.to_string()).await.unwrap();
        package.id
    }

    async fn onboard(&self, id: VnfPkgId, vnfd_id: &str) -> Result<(), StoreError> {
        self.store.begin_upload(&ProjectId::default(), id, at(1)).await?;
        self.store.begin_processing(id, at(2)).await?;
        self.store.finish_onboarding(id, &content(vnfd_id), &[], at(3)).await
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
            version: 1,
            created_at: at(5),
        }
    }

    /// An instance of a package of its own.
    async fn instance(&self) -> VnfInstance {
        let instance = self.instance_of(self.onboarded().await);
        self.store.create_instance(&instance).await.unwrap();
        instance
    }

    pub fn op(&self, instance: &VnfInstance) -> VnfLcmOpOcc {
        VnfLcmOpOcc {
            id: VnfLcmOpOccId(self.uuid()),
            project_id: instance.project_id.clone(),
            vnf_instance_id: instance.id,
            operation: LcmOperation::Instantiate,
            state: OpState::Starting,
            state_entered_time: at(10),
            start_time: at(10),
            is_automatic_invocation: false,
            params: json!({"flavourId": "default"}),
            cancel: None,
            error: None,
            resource_changes: None,
            changed_info: Some(json!({"vnfInstanceName": "x"})),
            target_package: None,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            grant: None,
            unattended: None,
        }
    }

    /// An operation on an instance of its own.
    async fn operation(&self) -> VnfLcmOpOcc {
        let instance = self.instance().await;
        let op = self.op(&instance);
        self.store.begin_operation(&op, &instance).await.unwrap();
        op
    }

    pub async fn claim(&self, ttl: Duration) -> Claimed {
        work(self.store.claim("worker", ttl, 1).await.unwrap())
    }

    /// An operation in PROCESSING with two planned objects and a plan of two steps back and forth, and its lease.
    async fn processing(&self) -> Claimed {
        self.operation().await;
        let claimed = self.claim(LONG).await;
        self.store.store_plan(&claimed.lease, LONG, &plan(), &[resource("a"), resource("b")], at(11)).await.unwrap();
        claimed
    }

    /// An operation that failed after its first step.
    async fn failed(&self) -> VnfLcmOpOcc {
        let claimed = self.processing().await;
        let checkpoint = Checkpoint { steps_done: 1, ..Checkpoint::default() };
        self.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
        let error = Some(problem("first"));
        let ending = OperationOutcome { error, ..ending(OpState::Processing, OpState::FailedTemp) };
        self.store.end_operation(claimed.lease, &ending).await.unwrap();
        claimed.op
    }

    /// Ends the operation with its instance instantiated in namespace `edge`.
    async fn instantiate(&self, claimed: Claimed) -> VnfInstanceId {
        let mut instance = claimed.instance.clone();
        instance.metadata.namespace = Some(Namespace::try_from("edge".to_owned()).unwrap());
        instance.vim_connections.insert("vim".to_owned(), VimConnection { home: true, ..connection_to(None) });
        instance.instantiated = Some(instantiated());
        let ending = OperationOutcome { instance: Some(instance), ..ending(OpState::Processing, OpState::Completed) };
        self.store.end_operation(claimed.lease, &ending).await.unwrap();
        claimed.instance.id
    }

    async fn op_occ(&self, id: VnfLcmOpOccId) -> VnfLcmOpOcc {
        self.store.op_occ(&ProjectId::default(), id).await.unwrap()
    }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).unwrap() + Duration::from_millis(7)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn elsewhere() -> ProjectId {
    ProjectId("elsewhere".to_owned())
}

fn problem(detail: &str) -> Problem {
    Problem::conflict(detail).with("object", "Deployment a")
}

pub fn content(vnfd_id: &str) -> Content {
    let vdu = Vdu { name: "app".to_owned(), min: 1, max: 3, initial: Some(1) };
    let flavour = Flavour { vdus: BTreeMap::from([("VDU1".to_owned(), vdu)]), ..Flavour::default() };
    let vnfd = Vnfd {
        id: vnfd_id.to_owned(),
        version: "2.0".to_owned(),
        provider: "Company".to_owned(),
        product_name: "Sample".to_owned(),
        software_version: "1.0".to_owned(),
        vnfm_info: vec!["Gybe".to_owned()],
        flavours: BTreeMap::from([("default".to_owned(), flavour)]),
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
    Content { vnfd, sha512: "abc".to_owned(), size: 5_000_000_000, artifacts: vec![artifact] }
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
        vim_project: "default".to_owned(),
        extra: object(json!({"area": [1, "b"]})),
        is_default: false,
        user_name: Some("system:serviceaccount:x:gybe".to_owned()),
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
        added_by: None,
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: name.to_owned() }
}

fn resource(name: &str) -> Resource {
    Resource {
        key: key(name),
        info: KindInfo { plural: "deployments".to_owned(), namespaced: true },
        vdu_id: Some("VDU1".to_owned()),
        manifest: object(json!({"spec": {"replicas": 1}})),
        state: ResourceState::Planned,
    }
}

fn present(uid: &str) -> ResourceState {
    ResourceState::Present { uid: uid.to_owned(), owned: true }
}

fn plan() -> Plan {
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
        vnfcs: vec![vnfc()],
        storages: Vec::new(),
    }
}

fn vnfc() -> Vnfc {
    Vnfc {
        vdu_id: "VDU1".to_owned(),
        pod_name: "app-1".to_owned(),
        pod_uid: "u1".to_owned(),
        workload_kind: "Deployment".to_owned(),
        workload_name: "app".to_owned(),
    }
}

pub fn ending(from: OpState, to: OpState) -> OperationOutcome {
    OperationOutcome::bare(from, to, None, at(20))
}

/// All that an instance has. `Debug` hides the secrets, so they are compared apart.
fn assert_same(one: &VnfInstance, other: &VnfInstance) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    let secrets = |instance: &VnfInstance| -> Vec<Secrets> {
        instance.vim_connections.values().map(|connection| connection.secrets.clone()).collect()
    };
    assert_eq!(secrets(one), secrets(other));
}

macro_rules! assert_fails {
    ($result:expr, $error:pat $(if $guard:expr)?) => {
        match $result {
            Err($error) $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($error)),
        }
    };
}

// --- packages -------------------------------------------------------------------------------------------------------

async fn packages_are_kept_and_listed_oldest_first(f: Fixture) {
    let project = ProjectId::default();
    let newer = VnfPackage { created_at: at(2), ..f.package() };
    let older = VnfPackage { created_at: at(1), ..f.package() };
    let same_age = VnfPackage { created_at: at(1), ..f.package() };
    for package in [&newer, &same_age, &older] {
        f.store.create_package(package).await.unwrap();
    }
    assert_eq!(f.store.package(&project, newer.id).await.unwrap(), newer);
    assert_eq!(f.store.packages(&project, &whole()).await.unwrap(), [older, same_age, newer]);
}

async fn onboarding_goes_through_its_states(f: Fixture) {
    let project = ProjectId::default();
    let package = f.package();
    let id = package.id;
    f.store.create_package(&package).await.unwrap();
    let state = async || f.store.package(&project, id).await.unwrap().onboarding;

    assert_fails!(f.store.begin_processing(id, at(1)).await, StoreError::Stale);
    assert_fails!(f.store.finish_onboarding(id, &content("d"), &[], at(1)).await, StoreError::Stale);
    assert_fails!(f.store.fail_onboarding(id, &problem("x"), at(1)).await, StoreError::Stale);
    f.store.begin_upload(&project, id, at(1)).await.unwrap();
    assert_eq!(state().await, Onboarding::Uploading);
    assert_fails!(f.store.begin_upload(&project, id, at(1)).await, StoreError::Stale);
    f.store.begin_processing(id, at(2)).await.unwrap();
    assert_eq!(state().await, Onboarding::Processing);
    f.store.fail_onboarding(id, &problem("no good"), at(3)).await.unwrap();
    assert_eq!(state().await, Onboarding::Error(problem("no good")));
    // It may be uploaded again.
    f.onboard(id, "d").await.unwrap();
    let onboarded = f.store.package(&project, id).await.unwrap();
    assert_eq!(onboarded.onboarding, Onboarding::Onboarded(Box::new(content("d"))));
    assert_eq!(onboarded.operational_state, OperationalState::Enabled);
    assert_fails!(f.store.begin_upload(&project, id, at(4)).await, StoreError::Stale);
}

async fn onboarding_keeps_what_it_found(f: Fixture) {
    let project = ProjectId::default();
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    f.store.begin_upload(&project, package.id, at(1)).await.unwrap();
    f.store.begin_processing(package.id, at(2)).await.unwrap();
    let file = |path: String| DefinitionFile { text: format!("# {path} ü\n"), path };
    let mut files: Vec<_> = (0..70).map(|n| file(format!("b/{n:02}.yaml"))).collect();
    files.extend(["a.yaml", "B.yaml", "é.yaml"].map(|path| file(path.to_owned())));
    f.store.finish_onboarding(package.id, &content("d"), &files, at(3)).await.unwrap();

    let vnfd = f.store.vnfd(&project, "d").await.unwrap();
    assert_eq!((vnfd.package_id, vnfd.operational_state), (package.id, OperationalState::Enabled));
    assert_eq!(vnfd.vnfd, content("d").vnfd);
    // By path, as bytes.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // The second time, they are kept.
    for _ in 0..2 {
        assert_eq!(*f.store.definition_files(package.id).await.unwrap(), *files);
    }
    assert_fails!(f.store.vnfd(&project, "other").await, StoreError::NotFound);
}

async fn a_vnfd_is_onboarded_once_per_project(f: Fixture) {
    let project = ProjectId::default();
    let (first, second) = (f.package(), f.package());
    let foreign = VnfPackage { project_id: elsewhere(), ..f.package() };
    for package in [&first, &second, &foreign] {
        f.store.create_package(package).await.unwrap();
    }
    f.onboard(first.id, "d").await.unwrap();
    assert_fails!(f.onboard(second.id, "d").await, StoreError::Duplicate(_));
    // Nothing of it was kept, and it can be told.
    f.store.fail_onboarding(second.id, &problem("taken"), at(4)).await.unwrap();
    f.store.begin_upload(&elsewhere(), foreign.id, at(1)).await.unwrap();
    f.store.begin_processing(foreign.id, at(2)).await.unwrap();
    f.store.finish_onboarding(foreign.id, &content("d"), &[], at(3)).await.unwrap();
    assert_eq!(f.store.vnfd(&project, "d").await.unwrap().package_id, first.id);
    assert_eq!(f.store.vnfd(&elsewhere(), "d").await.unwrap().package_id, foreign.id);
}

async fn abandoned_onboardings_fail(f: Fixture) {
    let project = ProjectId::default();
    let [created, old, recent] = [f.package(), f.package(), f.package()];
    for package in [&created, &old, &recent] {
        f.store.create_package(package).await.unwrap();
    }
    f.store.begin_upload(&project, old.id, at(1)).await.unwrap();
    f.store.begin_upload(&project, recent.id, at(1)).await.unwrap();
    f.store.begin_processing(recent.id, at(5)).await.unwrap();
    let failed = f.store.fail_abandoned_onboardings(at(5), &problem("abandoned"), at(9)).await.unwrap();
    assert_eq!(failed, [old.id]);
    let state = async |id| f.store.package(&project, id).await.unwrap().onboarding;
    assert_eq!(state(old.id).await, Onboarding::Error(problem("abandoned")));
    assert_eq!(state(recent.id).await, Onboarding::Processing);
    assert_eq!(state(created.id).await, Onboarding::Created);
}

async fn packages_are_updated(f: Fixture) {
    use OperationalState::{Disabled, Enabled};
    let project = ProjectId::default();
    let fresh = f.package();
    f.store.create_package(&fresh).await.unwrap();
    let onboarded = f.onboarded().await;
    let (before, data) = (fresh.user_defined_data.clone(), object(json!({"new": null, "number": 1.50, "text": "ä"})));
    let set = Some([&before, &data]);
    // Before onboarding, only the data.
    assert_fails!(f.store.update_package(&project, fresh.id, Some(Enabled), None).await, StoreError::Stale);
    assert_fails!(f.store.update_package(&project, fresh.id, Some(Disabled), set).await, StoreError::Stale);
    f.store.update_package(&project, fresh.id, None, set).await.unwrap();
    assert_eq!(f.store.package(&project, fresh.id).await.unwrap().user_defined_data, data);
    // Somebody else's change is not lost.
    assert_fails!(f.store.update_package(&project, fresh.id, None, set).await, StoreError::Stale);
    f.store.update_package(&project, fresh.id, None, Some([&data, &before])).await.unwrap();

    assert_fails!(f.store.update_package(&project, onboarded, Some(Enabled), set).await, StoreError::Stale);
    f.store.update_package(&project, onboarded, Some(Disabled), set).await.unwrap();
    let updated = f.store.package(&project, onboarded).await.unwrap();
    assert_eq!((updated.operational_state, updated.user_defined_data), (Disabled, data));
    f.store.update_package(&project, onboarded, Some(Enabled), None).await.unwrap();
}

async fn packages_are_deleted_when_disabled_and_unused(f: Fixture) {
    let project = ProjectId::default();
    let package = f.package();
    let id = package.id;
    f.store.create_package(&package).await.unwrap();
    f.store.begin_upload(&project, id, at(1)).await.unwrap();
    f.store.begin_processing(id, at(2)).await.unwrap();
    let file = DefinitionFile { path: "a.yaml".to_owned(), text: String::new() };
    f.store.finish_onboarding(id, &content("d"), &[file], at(3)).await.unwrap();
    let instance = f.instance_of(id);
    f.store.create_instance(&instance).await.unwrap();
    assert!(f.store.package(&project, id).await.unwrap().in_use);
    assert!(f.store.packages(&project, &whole()).await.unwrap()[0].in_use);
    assert_fails!(f.store.delete_package(&project, id).await, StoreError::Stale);
    f.store.update_package(&project, id, Some(OperationalState::Disabled), None).await.unwrap();
    assert_fails!(f.store.delete_package(&project, id).await, StoreError::InUse);
    f.store.delete_instance(&project, instance.id, None).await.unwrap();
    assert!(!f.store.package(&project, id).await.unwrap().in_use);
    f.store.delete_package(&project, id).await.unwrap();
    assert!(f.store.definition_files(id).await.unwrap().is_empty());
    assert_fails!(f.store.package(&project, id).await, StoreError::NotFound);
    assert_fails!(f.store.delete_package(&project, id).await, StoreError::NotFound);

    let uploading = f.package();
    f.store.create_package(&uploading).await.unwrap();
    f.store.begin_upload(&project, uploading.id, at(1)).await.unwrap();
    assert_fails!(f.store.delete_package(&project, uploading.id).await, StoreError::Stale);
    f.store.fail_onboarding(uploading.id, &problem("x"), at(2)).await.unwrap();
    f.store.delete_package(&project, uploading.id).await.unwrap();
}

async fn a_package_that_an_operation_brings_is_in_use_until_that_is_over(f: Fixture) {
    use OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack};
    let project = ProjectId::default();
    for way in [&[Completed][..], &[FailedTemp, Failed], &[FailedTemp, RollingBack, RolledBack], &[RolledBack]] {
        let (instance, target) = (f.instance().await, f.onboarded().await);
        let in_use = async || f.store.package(&project, target).await.unwrap().in_use;
        let usage = async |state: &str| {
            let filter = filter(&format!("(eq,usageState,{state})"), &attributes::packages::V1).unwrap();
            let page = Page { filter: &filter, ..whole() };
            f.store.packages(&project, &page).await.unwrap().iter().any(|package| package.id == target)
        };
        assert!(!in_use().await && usage("NOT_IN_USE").await);
        let op = VnfLcmOpOcc {
            operation: LcmOperation::ChangeVnfpkg,
            state: if way == [RolledBack] { OpState::Starting } else { Processing },
            changed_info: None,
            target_package: Some(target),
            ..f.op(&instance)
        };
        f.store.begin_operation(&op, &instance).await.unwrap();
        assert_eq!(f.op_occ(op.id).await.target_package, Some(target));
        f.store.update_package(&project, target, Some(OperationalState::Disabled), None).await.unwrap();
        let mut state = op.state;
        for &to in way {
            assert!(in_use().await && usage("IN_USE").await, "{state:?}");
            assert_fails!(f.store.delete_package(&project, target).await, StoreError::InUse);
            if state == FailedTemp {
                f.store.resume_operation(&project, op.id, to, at(30)).await.unwrap();
            } else {
                let claimed = f.claim(LONG).await;
                assert_eq!(claimed.op.target_package, Some(target));
                let changed_info = (to == Completed).then(|| json!({ "vnfdId": "new" }));
                let error = (to != Completed).then(|| problem("stopped"));
                let ending = OperationOutcome { error, changed_info, ..ending(state, to) };
                f.store.end_operation(claimed.lease, &ending).await.unwrap();
            }
            state = to;
        }
        let ended = f.op_occ(op.id).await;
        assert_eq!((ended.state, ended.target_package), (state, None));
        assert_eq!(ended.changed_info, (state == Completed).then(|| json!({ "vnfdId": "new" })));
        assert!(!in_use().await && usage("NOT_IN_USE").await, "{state:?}");
        f.store.delete_package(&project, target).await.unwrap();
        let late = VnfLcmOpOcc { id: VnfLcmOpOccId(f.uuid()), ..op };
        assert_fails!(f.store.begin_operation(&late, &instance).await, StoreError::Stale);
    }
}

async fn no_instance_is_made_of_a_package_that_goes(f: Fixture) {
    let project = ProjectId::default();
    for _ in 0..20 {
        let package = f.onboarded().await;
        let instance = f.instance_of(package);
        let remove = async {
            f.store.update_package(&project, package, Some(OperationalState::Disabled), None).await.unwrap();
            f.store.delete_package(&project, package).await
        };
        match tokio::join!(f.store.create_instance(&instance), remove) {
            (Ok(()), Err(StoreError::InUse)) | (Err(StoreError::Stale), Ok(())) => {}
            other => panic!("{other:?}"),
        }
    }
}

// --- VIMs -----------------------------------------------------------------------------------------------------------

async fn vims_are_kept_with_their_secrets(f: Fixture) {
    let project = ProjectId::default();
    let newer = Vim { created_at: at(1), ..vim(f.uuid(), "newer") };
    let older = Vim { is_default: true, secrets: Secrets::new(), user_name: None, ..vim(f.uuid(), "older") };
    assert_fails!(f.store.default_vim(&project).await, StoreError::NotFound);
    f.store.create_vim(&newer).await.unwrap();
    f.store.create_vim(&older).await.unwrap();
    assert_eq!(f.store.vim(&project, newer.id).await.unwrap(), newer);
    assert_eq!(f.store.default_vim(&project).await.unwrap(), older);
    assert_eq!(f.store.vims(&project).await.unwrap(), [older, newer]);
}

async fn vims_are_updated(f: Fixture) {
    let project = ProjectId::default();
    let before = vim(f.uuid(), "before");
    f.store.create_vim(&before).await.unwrap();
    let after = Vim {
        name: "after".to_owned(),
        endpoint: "https://other".to_owned(),
        secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("rotated"))]),
        is_default: true,
        updated_at: Some(at(9)),
        ..before.clone()
    };
    f.store.update_vim(&Vim { created_at: at(9), ..after.clone() }, None).await.unwrap();
    assert_eq!(f.store.vim(&project, before.id).await.unwrap(), after);
    assert_fails!(f.store.update_vim(&before, None).await, StoreError::Stale);
    assert_fails!(f.store.update_vim(&before, Some(at(8))).await, StoreError::Stale);
    f.store.update_vim(&Vim { updated_at: Some(at(10)), ..after }, Some(at(9))).await.unwrap();
    assert_fails!(f.store.update_vim(&vim(f.uuid(), "none"), None).await, StoreError::NotFound);
    f.store.delete_vim(&project, before.id).await.unwrap();
    assert_fails!(f.store.delete_vim(&project, before.id).await, StoreError::NotFound);
}

async fn a_vim_name_is_taken_once_and_so_is_the_default(f: Fixture) {
    let first = Vim { is_default: true, ..vim(f.uuid(), "a") };
    let second = vim(f.uuid(), "b");
    f.store.create_vim(&first).await.unwrap();
    f.store.create_vim(&second).await.unwrap();
    assert_fails!(f.store.create_vim(&vim(f.uuid(), "a")).await, StoreError::Duplicate("name"));
    let another_default = Vim { is_default: true, ..vim(f.uuid(), "c") };
    assert_fails!(f.store.create_vim(&another_default).await, StoreError::Duplicate("default VIM"));
    let renamed = Vim { name: "a".to_owned(), ..second.clone() };
    assert_fails!(f.store.update_vim(&renamed, None).await, StoreError::Duplicate("name"));
    let promoted = Vim { is_default: true, ..second };
    assert_fails!(f.store.update_vim(&promoted, None).await, StoreError::Duplicate("default VIM"));
    // Each project has its own.
    f.store.create_vim(&Vim { project_id: elsewhere(), is_default: true, ..vim(f.uuid(), "a") }).await.unwrap();
}

async fn a_vim_in_use_is_not_deleted(f: Fixture) {
    let project = ProjectId::default();
    let (used, unused) = (vim(f.uuid(), "used"), vim(f.uuid(), "unused"));
    f.store.create_vim(&used).await.unwrap();
    f.store.create_vim(&unused).await.unwrap();
    let connections = [("one".to_owned(), connection_to(None)), ("two".to_owned(), connection_to(Some(&used)))];
    let instance = VnfInstance { vim_connections: BTreeMap::from(connections), ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    assert_fails!(f.store.delete_vim(&project, used.id).await, StoreError::InUse);
    f.store.delete_vim(&project, unused.id).await.unwrap();
    f.store.delete_instance(&project, instance.id, None).await.unwrap();
    f.store.delete_vim(&project, used.id).await.unwrap();
}

async fn secrets_are_never_in_clear(f: Fixture) {
    f.store.create_vim(&vim(f.uuid(), "a")).await.unwrap();
    let connections = BTreeMap::from([("one".to_owned(), connection_to(None))]);
    let instance = VnfInstance { vim_connections: connections, ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    let everything = if let Some(path) = f.url.strip_prefix("sqlite://") {
        ["", "-wal"].iter().flat_map(|side| std::fs::read(format!("{path}{side}")).unwrap()).collect()
    } else {
        let rows = "SELECT (SELECT string_agg(v::text || encode(v.secrets, 'escape'), '') FROM vims v) \
                    || (SELECT string_agg(i::text || encode(i.vim_secrets, 'escape'), '') FROM vnf_instances i)";
        f.text(rows).await.into_bytes()
    };
    let has = |text: &str| everything.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("https://cluster:6443"), "the rows are there");
    for secret in ["t0ken-of-the-vim", "k3y-of-the-connection", "bearer_token", "client_key"] {
        assert!(!has(secret), "{secret}");
    }
}

async fn a_secret_opens_only_in_its_row_and_with_its_key(f: Fixture) {
    let project = ProjectId::default();
    let (one, other) = (vim(f.uuid(), "one"), vim(f.uuid(), "other"));
    f.store.create_vim(&one).await.unwrap();
    f.store.create_vim(&other).await.unwrap();
    let copy =
        format!("UPDATE vims SET secrets = (SELECT secrets FROM vims WHERE name = 'one') WHERE id = '{}'", other.id);
    f.execute(&copy).await;
    match f.store.vim(&project, other.id).await {
        Err(StoreError::Corrupt { table: "vims", id, .. }) => assert_eq!(id, other.id.to_string()),
        result => panic!("{result:?}"),
    }
    // A ring that has the key among others opens; one that has it not does not.
    let f = f.reopen(&format!("{OTHER_KEY},{KEY}")).await;
    assert_eq!(f.store.vim(&project, one.id).await.unwrap(), one);
    let f = f.reopen(OTHER_KEY).await;
    assert_fails!(f.store.vim(&project, one.id).await, StoreError::Corrupt { .. });
}

// --- VNF instances --------------------------------------------------------------------------------------------------

async fn instances_are_kept(f: Fixture) {
    let project = ProjectId::default();
    let package = f.onboarded().await;
    let bare = VnfInstance { name: None, created_at: at(6), ..f.instance_of(package) };
    let full = VnfInstance {
        description: Some("…".to_owned()),
        metadata: VnfMetadata {
            namespace: Some("edge".to_owned().try_into().unwrap()),
            user: object(json!({"key": {"deep": [1, null]}})),
        },
        extensions: object(json!({"e": 1})),
        configurable_properties: object(json!({"isAutohealEnabled": true})),
        vim_connections: BTreeMap::from([
            ("with".to_owned(), connection_to(None)),
            ("without".to_owned(), VimConnection { secrets: Secrets::new(), ..connection_to(None) }),
        ]),
        instantiated: Some(instantiated()),
        version: 7,
        ..f.instance_of(package)
    };
    f.store.create_instance(&bare).await.unwrap();
    f.store.create_instance(&full).await.unwrap();
    assert_same(&f.store.instance(&project, bare.id).await.unwrap(), &bare);
    assert_same(&f.store.instance(&project, full.id).await.unwrap(), &full);
    assert_eq!(f.store.instance_version(&project, full.id).await.unwrap(), full.version);
    let mut both = f.store.instances(&project, &[bare.id, full.id, VnfInstanceId(f.uuid())]).await.unwrap();
    both.sort_by_key(|instance| instance.created_at);
    assert_eq!(both.len(), 2);
    assert_same(&both[0], &full);
    assert_same(&both[1], &bare);
}

async fn the_pages_of_a_list_have_each_instance_once_in_a_stable_order(f: Fixture) {
    let project = ProjectId::default();
    let package = f.onboarded().await;
    let mut made = Vec::new();
    // Several at each point in time: then the ids decide.
    for number in 0..10 {
        let instance = VnfInstance { created_at: at(number / 4), ..f.instance_of(package) };
        f.store.create_instance(&instance).await.unwrap();
        made.push((instance.created_at, instance.id.to_string()));
    }
    made.sort();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: 3, ..whole() };
        let page = f.store.list_instances(&project, &page).await.unwrap();
        let Some(last) = page.last() else { break };
        // What the next page begins after may be gone by then.
        after = Some(last.place);
        f.store.delete_instance(&project, last.id, None).await.unwrap();
        seen.extend(page.iter().map(|listed| listed.id.to_string()));
    }
    assert_eq!(seen, made.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

async fn an_instance_needs_an_enabled_package(f: Fixture) {
    let project = ProjectId::default();
    let fresh = f.package();
    f.store.create_package(&fresh).await.unwrap();
    let disabled = f.onboarded().await;
    f.store.update_package(&project, disabled, Some(OperationalState::Disabled), None).await.unwrap();
    let enabled = f.onboarded().await;
    for instance in [
        f.instance_of(fresh.id),
        f.instance_of(disabled),
        f.instance_of(VnfPkgId(f.uuid())),
        VnfInstance { project_id: elsewhere(), ..f.instance_of(enabled) },
    ] {
        assert_fails!(f.store.create_instance(&instance).await, StoreError::Stale);
    }
    assert!(f.store.list_instances(&project, &whole()).await.unwrap().is_empty());
}

async fn an_instance_is_deleted_when_nothing_is_left_of_it(f: Fixture) {
    let project = ProjectId::default();
    let claimed = f.processing().await;
    let id = claimed.instance.id;
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::Busy(op) if op == claimed.op.id);
    let instance = VnfInstance { instantiated: Some(instantiated()), ..claimed.instance };
    let completed = OperationOutcome { instance: Some(instance), ..ending(OpState::Processing, OpState::Completed) };
    f.store.end_operation(claimed.lease, &completed).await.unwrap();
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::Stale);

    let instance = f.store.instance(&project, id).await.unwrap();
    f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    let claimed = f.claim(LONG).await;
    f.store.store_plan(&claimed.lease, LONG, &plan(), &[], at(12)).await.unwrap();
    let instance = VnfInstance { instantiated: None, ..claimed.instance };
    let removed = Checkpoint { steps_done: 1, removed: vec![key("a")], ..Checkpoint::default() };
    f.store.checkpoint(&claimed.lease, &removed).await.unwrap();
    let terminated = OperationOutcome { instance: Some(instance), ..ending(OpState::Processing, OpState::Completed) };
    f.store.end_operation(claimed.lease, &terminated).await.unwrap();
    let version = f.store.instance(&project, id).await.unwrap().version;
    assert_fails!(f.store.delete_instance(&project, id, Some(&[version - 1])).await, StoreError::OtherVersion);
    // An object is still in the inventory.
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::InUse);
    f.execute("DELETE FROM vnf_resources").await;
    f.store.delete_instance(&project, id, Some(&[version - 1, version])).await.unwrap();
    assert_fails!(f.store.instance(&project, id).await, StoreError::NotFound);
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::NotFound);
    assert_eq!(f.store.op_occs(&project, &whole()).await.unwrap().len(), 2, "what was done stays known");
}

async fn the_namespace_is_in_vnf_metadata(f: Fixture) {
    let namespace = Some("edge".to_owned().try_into().unwrap());
    let metadata = VnfMetadata { namespace, user: object(json!({"key": "value"})) };
    let instance = VnfInstance { metadata, ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    let kept = f.text("SELECT CAST(vnf_metadata AS text) FROM vnf_instances").await;
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), json!({"namespace": "edge", "key": "value"}));
}

// --- operations: callers --------------------------------------------------------------------------------------------

async fn an_operation_begins_together_with_its_instance(f: Fixture) {
    let instance = f.instance().await;
    let op = VnfLcmOpOcc { is_automatic_invocation: true, ..f.op(&instance) };
    let changed = VnfInstance { name: Some("changed".to_owned()), ..instance.clone() };
    f.store.begin_operation(&op, &changed).await.unwrap();
    assert_eq!(f.op_occ(op.id).await, op);
    assert_eq!(f.store.plan(op.id).await.unwrap(), None);
    assert_fails!(f.store.plan(VnfLcmOpOccId(f.uuid())).await, StoreError::NotFound);
    let after = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_same(&after, &VnfInstance { version: 2, ..changed });
}

async fn an_operation_does_not_begin_on_an_instance_that_changed(f: Fixture) {
    let instance = f.instance().await;
    let old = VnfInstance { version: 0, ..instance.clone() };
    let op = f.op(&instance);
    assert_fails!(f.store.begin_operation(&op, &old).await, StoreError::Stale);
    let gone = f.instance_of(instance.vnf_pkg_id);
    assert_fails!(f.store.begin_operation(&f.op(&gone), &gone).await, StoreError::NotFound);
    let foreign = VnfInstance { project_id: elsewhere(), ..instance.clone() };
    assert_fails!(f.store.begin_operation(&f.op(&instance), &foreign).await, StoreError::NotFound);
    assert!(f.store.op_occs(&instance.project_id, &whole()).await.unwrap().is_empty());
    assert_same(&f.store.instance(&instance.project_id, instance.id).await.unwrap(), &instance);
    f.store.begin_operation(&op, &instance).await.unwrap();
}

async fn one_operation_of_an_instance_is_live(f: Fixture) {
    let instance = f.instance().await;
    let ops: Vec<_> = (0..16).map(|_| f.op(&instance)).collect();
    let began = join_all(ops.iter().map(|op| {
        let (store, op, instance) = (Arc::clone(&f.store), op.clone(), instance.clone());
        tokio::spawn(async move { (op.id, store.begin_operation(&op, &instance).await) })
    }))
    .await;
    let (winners, losers): (Vec<_>, Vec<_>) =
        began.into_iter().map(Result::unwrap).partition(|(_, began)| began.is_ok());
    let [(winner, _)] = winners.as_slice() else { panic!("{winners:?}") };
    for (_, lost) in losers {
        assert_fails!(lost, StoreError::Busy(live) if live == *winner);
    }
    assert_eq!(f.store.op_occs(&instance.project_id, &whole()).await.unwrap().len(), 1);
    assert_eq!(f.store.instance(&instance.project_id, instance.id).await.unwrap().version, 2);

    // In FAILED_TEMP it is still not over; once it is, the next may begin.
    let claimed = f.claim(LONG).await;
    f.store.store_plan(&claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::FailedTemp)).await.unwrap();
    let instance = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    let next = f.op(&instance);
    assert_fails!(f.store.begin_operation(&next, &instance).await, StoreError::Busy(live) if live == *winner);
    f.store.resume_operation(&instance.project_id, *winner, OpState::Failed, at(30)).await.unwrap();
    f.store.begin_operation(&next, &instance).await.unwrap();
}

async fn operations_are_listed_oldest_first(f: Fixture) {
    let mut begun = Vec::new();
    for start in [3, 1, 2] {
        let instance = f.instance().await;
        let op = VnfLcmOpOcc { start_time: at(start), ..f.op(&instance) };
        f.store.begin_operation(&op, &instance).await.unwrap();
        begun.push(op);
    }
    begun.sort_by_key(|op| op.start_time);
    assert_eq!(f.store.op_occs(&ProjectId::default(), &whole()).await.unwrap(), begun);
}

// --- operations: conductors -----------------------------------------------------------------------------------------

async fn a_claim_gives_all_that_is_needed(f: Fixture) {
    let op = f.operation().await;
    let claimed = f.claim(Duration::ZERO).await;
    assert_eq!(claimed.op, op);
    assert_eq!((claimed.lease.op, claimed.lease.epoch), (op.id, 1));
    assert_eq!((claimed.plan, claimed.steps_done, claimed.attempt), (None, 0, 0));
    let instance = f.store.instance(&op.project_id, op.vnf_instance_id).await.unwrap();
    assert_same(&claimed.instance, &instance);
    // The lease ran out at once.
    let claimed = f.claim(LONG).await;
    f.store.store_plan(&claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
    let checkpoint = Checkpoint { steps_done: 1, ..Checkpoint::default() };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store.postpone(claimed.lease, Duration::ZERO, 4, Some(&problem("later"))).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.plan, claimed.steps_done, claimed.attempt), (Some(plan()), 1, 4));
    assert_eq!((claimed.op.state, claimed.op.state_entered_time), (OpState::Processing, at(11)));
    assert_eq!(claimed.op.error, Some(problem("later")));
    assert_eq!(claimed.lease.epoch, 3);
}

async fn the_operation_that_waited_longest_is_claimed_first(f: Fixture) {
    let mut begun = Vec::new();
    for _ in 0..5 {
        begun.push(f.operation().await.id);
    }
    // In the same millisecond the id decides, and the ids count up.
    for id in begun {
        assert_eq!(f.claim(LONG).await.op.id, id);
    }
}

async fn each_operation_is_claimed_once(f: Fixture) {
    const OPERATIONS: usize = 200;
    const WORKERS: usize = 8;
    let package = f.onboarded().await;
    for _ in 0..OPERATIONS {
        let instance = f.instance_of(package);
        f.store.create_instance(&instance).await.unwrap();
        f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    }
    let workers = (0..WORKERS).map(|worker| {
        let store = Arc::clone(&f.store);
        tokio::spawn(async move {
            let mut done = Vec::new();
            loop {
                match store.claim(&format!("worker {worker}"), LONG, 3).await.unwrap() {
                    Claim::Work(claimed) => {
                        assert!((1..=3).contains(&claimed.len()));
                        for claimed in claimed {
                            done.push(complete(&*store, claimed).await);
                        }
                    }
                    // Others hold what is left, or none is.
                    Claim::Idle(Some(_)) => tokio::task::yield_now().await,
                    Claim::Idle(None) => return done,
                }
            }
        })
    });
    let done: Vec<_> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(done.len(), OPERATIONS);
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), OPERATIONS);
    let ops = f.store.op_occs(&ProjectId::default(), &whole()).await.unwrap();
    assert!(ops.iter().all(|op| op.state == OpState::Completed));
}

/// Does all that an operation that makes one object writes.
async fn complete(store: &dyn Store, claimed: Claimed) -> VnfLcmOpOccId {
    store.store_plan(&claimed.lease, LONG, &plan(), &[resource("a")], at(1)).await.unwrap();
    store.record_intent(&claimed.lease, LONG, &[key("a")], &[]).await.unwrap();
    let states = vec![(key("a"), present("u"))];
    let checkpoint = Checkpoint { steps_done: 2, states, ..Checkpoint::default() };
    store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    claimed.op.id
}

async fn an_operation_whose_lease_ran_out_is_claimed_again(f: Fixture) {
    let op = f.operation().await;
    let dead = f.claim(Duration::ZERO).await;
    let heir = f.claim(LONG).await;
    assert_eq!((heir.op.id, heir.lease.epoch), (op.id, dead.lease.epoch + 1));
    assert_eq!((dead.attempt, heir.attempt), (0, 1), "the operation may be what killed its worker");
    assert!(matches!(f.store.claim("third", LONG, 1).await.unwrap(), Claim::Idle(Some(_))));
}

/// Every write with `lease`; each must be refused.
async fn assert_lost(f: &Fixture, lease: Lease) {
    let (op, epoch) = (lease.op, lease.epoch);
    let again = || Lease { op, epoch };
    let states = vec![(key("a"), present("zombie"))];
    let checkpoint = Checkpoint { steps_done: 9, states, removed: vec![key("b")], ..Checkpoint::default() };
    assert_fails!(f.store.renew(&lease, LONG).await, StoreError::LeaseLost);
    assert_fails!(f.store.store_plan(&lease, LONG, &plan(), &[resource("z")], at(50)).await, StoreError::LeaseLost);
    assert_fails!(f.store.record_intent(&lease, LONG, &[key("a")], &[resource("z")]).await, StoreError::LeaseLost);
    assert_fails!(f.store.checkpoint(&lease, &checkpoint).await, StoreError::LeaseLost);
    assert_fails!(f.store.postpone(again(), LONG, 9, None).await, StoreError::LeaseLost);
    let ending = ending(OpState::Processing, OpState::Completed);
    assert_fails!(f.store.end_operation(again(), &ending).await, StoreError::LeaseLost);
}

async fn a_conductor_that_lost_its_lease_writes_nothing(f: Fixture) {
    let zombie = f.processing().await;
    f.execute("UPDATE vnf_lcm_op_occs SET lease_until = 1").await;
    let heir = f.claim(LONG).await;
    assert_lost(&f, zombie.lease).await;
    assert_eq!(f.op_occ(heir.op.id).await, heir.op);
    let inventory = f.store.resources(heir.instance.id).await.unwrap();
    assert_eq!(inventory, [resource("a"), resource("b")]);
    // Nor when the operation is over.
    let (op, epoch) = (heir.op.id, heir.lease.epoch);
    f.store.end_operation(heir.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    assert_lost(&f, Lease { op, epoch }).await;
    assert_lost(&f, Lease { op: VnfLcmOpOccId(f.uuid()), epoch }).await;
}

async fn a_lease_that_ran_out_is_lost_though_nobody_took_over(f: Fixture) {
    f.operation().await;
    let claimed = f.claim(Duration::ZERO).await;
    assert_lost(&f, claimed.lease).await;
}

async fn a_renewed_lease_lasts(f: Fixture) {
    f.operation().await;
    let claimed = f.claim(LONG).await;
    assert_eq!(f.store.renew(&claimed.lease, 2 * LONG).await.unwrap(), None);
    let Claim::Idle(Some(until)) = f.store.claim("other", LONG, 1).await.unwrap() else { panic!("claimed") };
    assert!(until > LONG && until <= 2 * LONG, "{until:?}");
    // It can be given up by making it short.
    f.store.renew(&claimed.lease, Duration::ZERO).await.unwrap();
    assert_eq!(f.claim(LONG).await.op.id, claimed.op.id);
}

async fn a_renewal_tells_of_a_cancel_request(f: Fixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    f.execute("UPDATE vnf_lcm_op_occs SET cancel_mode = 'FORCEFUL'").await;
    assert_eq!(f.store.renew(&claimed.lease, LONG).await.unwrap(), Some(CancelMode::Forceful));
    assert_eq!(f.op_occ(op.id).await.cancel, Some(CancelMode::Forceful));
    f.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    assert_eq!(f.op_occ(op.id).await.cancel, None, "it has taken effect");
}

async fn cancel(f: &Fixture, id: VnfLcmOpOccId, mode: CancelMode) -> Result<(), StoreError> {
    f.store.cancel_operation(&ProjectId::default(), id, mode).await
}

async fn only_a_running_operation_is_cancelled(f: Fixture) {
    use CancelMode::{Forceful, Graceful};
    assert_fails!(cancel(&f, VnfLcmOpOccId(f.uuid()), Graceful).await, StoreError::NotFound);
    for state in OpState::ALL {
        let instance = f.instance().await;
        let op = VnfLcmOpOcc { state, ..f.op(&instance) };
        f.store.begin_operation(&op, &instance).await.unwrap();
        assert_fails!(f.store.cancel_operation(&elsewhere(), op.id, Graceful).await, StoreError::NotFound);
        if !state.is_running() {
            assert_fails!(cancel(&f, op.id, Forceful).await, StoreError::Stale);
            assert_eq!(f.op_occ(op.id).await, op, "it stays as it is");
            continue;
        }
        for (mode, pending) in [(Graceful, Graceful), (Forceful, Forceful), (Graceful, Forceful)] {
            cancel(&f, op.id, mode).await.unwrap();
            assert_eq!(f.op_occ(op.id).await, VnfLcmOpOcc { cancel: Some(pending), ..op.clone() });
        }
    }
}

async fn an_operation_that_waits_is_due_once_cancelled(f: Fixture) {
    let claimed = f.processing().await;
    f.store.postpone(claimed.lease, LONG, 3, Some(&problem("down"))).await.unwrap();
    assert!(matches!(f.store.claim("worker", LONG, 1).await.unwrap(), Claim::Idle(Some(_))));
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.cancel, claimed.attempt), (Some(CancelMode::Graceful), 3));
}

async fn a_cancelled_operation_is_not_put_off(f: Fixture) {
    let claimed = f.processing().await;
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    f.store.postpone(claimed.lease, LONG, 1, None).await.unwrap();
    assert_eq!(f.claim(LONG).await.op.cancel, Some(CancelMode::Graceful));
}

async fn a_cancelled_operation_does_not_leave_starting(f: Fixture) {
    f.operation().await;
    let claimed = f.claim(LONG).await;
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    let stored = f.store.store_plan(&claimed.lease, LONG, &plan(), &[resource("a")], at(11)).await;
    assert_fails!(stored, StoreError::Stale);
    assert_eq!(f.op_occ(claimed.op.id).await.state, OpState::Starting);
    assert!(f.store.resources(claimed.instance.id).await.unwrap().is_empty());
}

async fn a_cancel_request_is_signalled(f: Fixture) {
    let claimed = f.processing().await;
    let mut cancels = f.store.cancels();
    assert!(!cancels.has_changed().unwrap());
    cancel(&f, claimed.op.id, CancelMode::Graceful).await.unwrap();
    cancels.changed().await.unwrap();
    f.store.renew(&claimed.lease, LONG).await.unwrap();
    let ending = ending(OpState::Processing, OpState::FailedTemp);
    f.store.end_operation(claimed.lease, &ending).await.unwrap();
    assert_fails!(cancel(&f, claimed.op.id, CancelMode::Graceful).await, StoreError::Stale);
    assert_eq!(f.op_occ(claimed.op.id).await.cancel, None);
}

async fn a_plan_is_stored_with_its_inventory(f: Fixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    let planned = [resource("b"), resource("a"), Resource { vdu_id: None, state: present("u"), ..resource("c") }];
    f.store.store_plan(&claimed.lease, LONG, &plan(), &planned, at(11)).await.unwrap();
    assert_eq!(f.store.plan(op.id).await.unwrap(), Some(plan()));
    assert_eq!(f.store.resources(op.vnf_instance_id).await.unwrap(), planned);
    let processing = VnfLcmOpOcc { state: OpState::Processing, state_entered_time: at(11), ..op };
    assert_eq!(f.op_occ(processing.id).await, processing);
    // Once.
    let again = f.store.store_plan(&claimed.lease, LONG, &Plan::default(), &[resource("z")], at(12)).await;
    assert_fails!(again, StoreError::Stale);
    assert_eq!(f.store.plan(processing.id).await.unwrap(), Some(plan()));
}

async fn an_operation_waits_for_its_grant_and_is_stored_with_it(f: Fixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    assert_eq!(claimed.pending_grant, None);
    let asked = Asked { add: vec!["a-1".to_owned()], remove: Vec::new() };
    let pending = PendingGrant { uri: "http://nfvo/grants/g".to_owned(), asked };
    f.store.await_grant(claimed.lease, LONG, &pending).await.unwrap();
    assert!(matches!(f.store.claim("x", LONG, 1).await.unwrap(), Claim::Idle(Some(_))), "it is put off");
    assert_eq!(f.op_occ(op.id).await, op, "it has no grant yet");
    f.execute("UPDATE vnf_lcm_op_occs SET not_before = 0").await;
    let claimed = f.claim(LONG).await;
    assert_eq!(claimed.pending_grant.as_ref(), Some(&pending));
    let mut instance = claimed.instance.clone();
    instance.name = Some("as granted".to_owned());
    let grant = GrantReference { id: "g".to_owned(), uri: pending.uri.clone() };
    let granted = Granted { grant: grant.clone(), instance: Some(instance.clone()) };
    let store =
        async |lease| f.store.store_granted_plan(lease, LONG, &plan(), &[resource("a")], &granted, at(11)).await;
    store(&claimed.lease).await.unwrap();
    let after = f.op_occ(op.id).await;
    assert_eq!((after.state, after.grant), (OpState::Processing, Some(grant)));
    let written = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_eq!((written.name, written.version), (instance.name.clone(), instance.version + 1));
    assert_fails!(store(&claimed.lease).await, StoreError::Stale);
    let lost = Lease { op: op.id, epoch: claimed.lease.epoch - 1 };
    assert_fails!(store(&lost).await, StoreError::LeaseLost);
    assert_fails!(f.store.await_grant(lost, LONG, &pending).await, StoreError::LeaseLost);
    assert_fails!(f.store.await_grant(claimed.lease, LONG, &pending).await, StoreError::Stale);
    let instance_now = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_eq!(instance_now.version, instance.version + 1, "what is refused changes nothing");
}

async fn a_second_plan_keeps_what_is_known_of_objects(f: Fixture) {
    let claimed = f.processing().await;
    let checkpoint = Checkpoint { steps_done: 2, states: vec![(key("b"), present("u"))], ..Checkpoint::default() };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    let instance = f.store.instance(&claimed.op.project_id, claimed.instance.id).await.unwrap();
    f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    let claimed = f.claim(LONG).await;
    let changed = Resource { manifest: object(json!({"spec": {"replicas": 5}})), ..resource("b") };
    f.store.store_plan(&claimed.lease, LONG, &plan(), &[resource("new"), changed.clone()], at(12)).await.unwrap();
    let expected = [resource("a"), Resource { state: present("u"), ..changed }, resource("new")];
    assert_eq!(f.store.resources(instance.id).await.unwrap(), expected);
}

async fn intent_is_recorded_of_planned_objects_only(f: Fixture) {
    let claimed = f.processing().await;
    let checkpoint = Checkpoint { steps_done: 0, states: vec![(key("b"), present("u"))], ..Checkpoint::default() };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store.record_intent(&claimed.lease, LONG, &[key("a"), key("b"), key("none")], &[]).await.unwrap();
    let states = async || -> Vec<_> {
        f.store.resources(claimed.instance.id).await.unwrap().into_iter().map(|resource| resource.state).collect()
    };
    assert_eq!(states().await, [ResourceState::Intent, present("u")]);
    f.store.record_intent(&claimed.lease, LONG, &[key("a")], &[]).await.unwrap();
    f.store.record_intent(&claimed.lease, LONG, &[], &[]).await.unwrap();
    assert_eq!(states().await, [ResourceState::Intent, present("u")]);
}

async fn rows_are_added_before_their_objects_are_made_and_written_anew_with_what_came_of_it(f: Fixture) {
    let claimed = f.processing().await;
    let rows = async || f.store.resources(claimed.instance.id).await.unwrap();
    let new = Resource { state: ResourceState::Intent, ..resource("new") };
    f.store.record_intent(&claimed.lease, LONG, &[key("a")], std::slice::from_ref(&new)).await.unwrap();
    let begun = Resource { state: ResourceState::Intent, ..resource("a") };
    assert_eq!(rows().await, [begun.clone(), resource("b"), new.clone()]);

    // Another version of the same object takes the place of a row.
    let key_of_beta = ObjectKey { api_version: "apps/v1beta1".to_owned(), ..key("a") };
    let beta = Resource { key: key_of_beta.clone(), vdu_id: Some("VDU9".to_owned()), state: present("u"), ..begun };
    let anew = Resource { manifest: object(json!({"spec": {}})), vdu_id: None, ..new };
    let checkpoint = Checkpoint {
        steps_done: 1,
        rows: vec![beta.clone(), anew.clone()],
        states: vec![(key_of_beta, present("u"))],
        removed: vec![key("a")],
    };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    assert_eq!(rows().await, [resource("b"), anew, beta], "what was there keeps its place and its state");
}

async fn a_checkpoint_is_all_or_nothing(f: Fixture) {
    let claimed = f.processing().await;
    let manifest = object(json!({"spec": {"replicas": 2}}));
    let unowned = ResourceState::Present { uid: "u".to_owned(), owned: false };
    let of_unknown = Checkpoint {
        steps_done: 1,
        states: vec![(key("a"), ResourceState::Intent), (key("none"), ResourceState::Intent)],
        ..Checkpoint::default()
    };
    assert_fails!(f.store.checkpoint(&claimed.lease, &of_unknown).await, StoreError::NotFound);
    let of_unknown = Checkpoint {
        steps_done: 1,
        rows: vec![Resource { manifest: manifest.clone(), ..resource("new") }],
        states: vec![(key("none"), ResourceState::Intent)],
        removed: Vec::new(),
    };
    assert_fails!(f.store.checkpoint(&claimed.lease, &of_unknown).await, StoreError::NotFound);
    assert_eq!(f.store.resources(claimed.instance.id).await.unwrap(), [resource("a"), resource("b")]);

    let checkpoint = Checkpoint {
        steps_done: 1,
        rows: vec![Resource { manifest: manifest.clone(), ..resource("a") }],
        states: vec![(key("a"), unowned.clone()), (key("b"), ResourceState::Intent)],
        removed: vec![key("b"), key("none")],
    };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    let kept = f.store.resources(claimed.instance.id).await.unwrap();
    assert_eq!(kept, [Resource { manifest, state: unowned, ..resource("a") }]);
    // Back to where nothing was made.
    let states = vec![(key("a"), ResourceState::Planned)];
    f.store.checkpoint(&claimed.lease, &Checkpoint { steps_done: 1, states, ..Checkpoint::default() }).await.unwrap();
    assert_eq!(f.store.resources(claimed.instance.id).await.unwrap()[0].state, ResourceState::Planned);
}

async fn large_inventories_are_written(f: Fixture) {
    let op = f.operation().await;
    let claimed = f.claim(LONG).await;
    let objects: Vec<_> = (0..2500).map(|n| resource(&format!("object-{n}"))).collect();
    let keys: Vec<_> = objects.iter().map(|object| object.key.clone()).collect();
    f.store.store_plan(&claimed.lease, LONG, &plan(), &objects, at(11)).await.unwrap();
    assert_eq!(f.store.resources(op.vnf_instance_id).await.unwrap(), objects);
    f.store.record_intent(&claimed.lease, LONG, &keys, &[]).await.unwrap();
    let states = keys.iter().map(|key| (key.clone(), present(&key.name))).collect();
    let of = |row: &Resource| Resource { manifest: object(json!({"of": row.key.name})), ..row.clone() };
    let rows = objects.iter().map(of).collect();
    let checkpoint = Checkpoint { steps_done: 1, rows, states, removed: Vec::new() };
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    for (at, object) in f.store.resources(op.vnf_instance_id).await.unwrap().iter().enumerate() {
        assert_eq!(object.key, keys[at]);
        assert_eq!(object.state, present(&object.key.name));
        assert_eq!(object.manifest["of"], object.key.name);
    }
    let removed = Checkpoint { steps_done: 2, removed: keys, ..Checkpoint::default() };
    f.store.checkpoint(&claimed.lease, &removed).await.unwrap();
    assert!(f.store.resources(op.vnf_instance_id).await.unwrap().is_empty());
}

async fn progress_forgets_the_attempts_at_a_step(f: Fixture) {
    let claimed = f.processing().await;
    f.store.postpone(claimed.lease, Duration::ZERO, 3, Some(&problem("later"))).await.unwrap();
    let claimed = f.claim(LONG).await;
    // What is recorded within a step leaves them alone.
    f.store.checkpoint(&claimed.lease, &Checkpoint::default()).await.unwrap();
    assert_eq!(f.op_occ(claimed.op.id).await.error, Some(problem("later")));
    f.store.checkpoint(&claimed.lease, &Checkpoint { steps_done: 1, ..Checkpoint::default() }).await.unwrap();
    f.store.renew(&claimed.lease, Duration::ZERO).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!(
        (claimed.steps_done, claimed.attempt, claimed.op.error),
        (1, 1, None),
        "that the lease ran out is the first"
    );
}

async fn a_postponed_operation_waits(f: Fixture) {
    let claimed = f.processing().await;
    f.store.postpone(claimed.lease, LONG, 1, Some(&problem("later"))).await.unwrap();
    let Claim::Idle(Some(until)) = f.store.claim("worker", LONG, 1).await.unwrap() else { panic!("claimed") };
    assert!(until <= LONG && until > LONG / 2, "{until:?}");
    let waiting = f.op_occ(claimed.op.id).await;
    assert_eq!((waiting.state, waiting.error), (OpState::Processing, Some(problem("later"))));
}

async fn an_error_that_passes_does_not_hide_the_one_that_led_back(f: Fixture) {
    let op = f.failed().await;
    f.store.resume_operation(&op.project_id, op.id, OpState::RollingBack, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    f.store.postpone(claimed.lease, Duration::ZERO, 1, Some(&problem("passing"))).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.attempt, claimed.op.error), (1, Some(problem("first"))));
    f.store.checkpoint(&claimed.lease, &Checkpoint { steps_done: 1, ..Checkpoint::default() }).await.unwrap();
    f.store.end_operation(claimed.lease, &ending(OpState::RollingBack, OpState::RolledBack)).await.unwrap();
    assert_eq!(f.op_occ(op.id).await.error, Some(problem("first")));
}

async fn an_operation_ends_with_its_instance(f: Fixture) {
    let claimed = f.processing().await;
    let instance = VnfInstance { instantiated: Some(instantiated()), ..claimed.instance };
    let changes = ResourceChanges {
        vim_connection_id: "vim1".to_owned(),
        affected_vnfcs: vec![AffectedVnfc { change: ChangeType::Added, vnfc: vnfc() }],
        affected_storages: vec![AffectedStorage {
            change: ChangeType::Removed,
            storage: VirtualStorage { claim_name: "data-0".to_owned(), claim_uid: "uid".to_owned() },
        }],
    };
    let ending = OperationOutcome {
        instance: Some(instance.clone()),
        resource_changes: Some(changes.clone()),
        ..ending(OpState::Processing, OpState::Completed)
    };
    f.store.end_operation(claimed.lease, &ending).await.unwrap();
    let expected = VnfLcmOpOcc {
        state: OpState::Completed,
        state_entered_time: at(20),
        resource_changes: Some(changes),
        ..claimed.op
    };
    assert_eq!(f.op_occ(expected.id).await, expected);
    let after = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    assert_same(&after, &VnfInstance { version: 3, ..instance });
    assert!(matches!(f.store.claim("worker", LONG, 1).await.unwrap(), Claim::Idle(None)));
}

async fn an_operation_ends_with_its_inventory_forgotten_only_where_it_says_so(f: Fixture) {
    for discard_inventory in [false, true] {
        let claimed = f.processing().await;
        let id = claimed.instance.id;
        assert!(!f.store.resources(id).await.unwrap().is_empty());
        let ending = OperationOutcome { discard_inventory, ..ending(OpState::Processing, OpState::Completed) };
        f.store.end_operation(claimed.lease, &ending).await.unwrap();
        assert_eq!(f.store.resources(id).await.unwrap().is_empty(), discard_inventory);
    }
}

async fn an_operation_ends_only_from_its_state(f: Fixture) {
    let claimed = f.processing().await;
    let (op, epoch) = (claimed.lease.op, claimed.lease.epoch);
    let from_elsewhere = ending(OpState::Starting, OpState::RolledBack);
    assert_fails!(f.store.end_operation(Lease { op, epoch }, &from_elsewhere).await, StoreError::Stale);
    // Nor with an instance that is not the one that was claimed.
    let old = VnfInstance { version: 0, ..claimed.instance };
    let with_old = OperationOutcome { instance: Some(old), ..ending(OpState::Processing, OpState::Completed) };
    assert_fails!(f.store.end_operation(Lease { op, epoch }, &with_old).await, StoreError::Stale);
    assert_eq!(f.op_occ(op).await.state, OpState::Processing);
    f.store.renew(&claimed.lease, LONG).await.unwrap();
}

async fn a_failed_operation_is_retried_where_it_stopped(f: Fixture) {
    let op = f.failed().await;
    let failed = f.op_occ(op.id).await;
    assert_eq!((failed.state, failed.error), (OpState::FailedTemp, Some(problem("first"))));
    assert!(matches!(f.store.claim("worker", LONG, 1).await.unwrap(), Claim::Idle(None)));
    f.store.resume_operation(&op.project_id, op.id, OpState::Processing, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.state, claimed.op.state_entered_time), (OpState::Processing, at(30)));
    assert_eq!((claimed.op.error, claimed.steps_done, claimed.attempt), (Some(problem("first")), 1, 0));
}

async fn a_failed_operation_is_rolled_back_from_the_first_step(f: Fixture) {
    let op = f.failed().await;
    f.store.resume_operation(&op.project_id, op.id, OpState::RollingBack, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.state, claimed.steps_done, claimed.attempt), (OpState::RollingBack, 0, 0));
    assert_eq!((claimed.plan, claimed.op.error), (Some(plan()), Some(problem("first"))));
}

async fn a_retry_after_a_rollback_that_failed_starts_over(f: Fixture) {
    let op = f.failed().await;
    f.store.resume_operation(&op.project_id, op.id, OpState::RollingBack, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    f.store.checkpoint(&claimed.lease, &Checkpoint { steps_done: 1, ..Checkpoint::default() }).await.unwrap();
    let error = Some(problem("second"));
    let failed = OperationOutcome { error, ..ending(OpState::RollingBack, OpState::FailedTemp) };
    f.store.end_operation(claimed.lease, &failed).await.unwrap();
    assert_eq!(f.op_occ(op.id).await.error, Some(problem("second")));
    f.store.resume_operation(&op.project_id, op.id, OpState::Processing, at(40)).await.unwrap();
    assert_eq!(f.claim(LONG).await.steps_done, 0);
}

async fn only_a_failed_operation_is_resumed(f: Fixture) {
    let op = f.operation().await;
    let resume = async |id, to| f.store.resume_operation(&ProjectId::default(), id, to, at(30)).await;
    assert_fails!(resume(op.id, OpState::Processing).await, StoreError::Stale);
    assert_fails!(resume(VnfLcmOpOccId(f.uuid()), OpState::Processing).await, StoreError::NotFound);
    let claimed = f.claim(LONG).await;
    f.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    assert_fails!(resume(op.id, OpState::Failed).await, StoreError::Stale);
    let failed = f.failed().await.id;
    resume(failed, OpState::Failed).await.unwrap();
    let op = f.op_occ(failed).await;
    assert_eq!((op.state, op.state_entered_time, op.error), (OpState::Failed, at(30), Some(problem("first"))));
    assert_fails!(resume(failed, OpState::RollingBack).await, StoreError::Stale);
}

async fn idle_tells_when_to_look_again(f: Fixture) {
    assert!(matches!(f.store.claim("worker", LONG, 1).await.unwrap(), Claim::Idle(None)));
    f.operation().await;
    let postponed = f.claim(LONG).await;
    f.store.postpone(postponed.lease, 3 * LONG, 1, None).await.unwrap();
    let until = async || match f.store.claim("worker", LONG, 1).await.unwrap() {
        Claim::Idle(Some(until)) => until,
        other => panic!("{other:?}"),
    };
    assert!(until().await > 2 * LONG);
    // A lease that ends sooner counts too: its operation may have to be taken over.
    f.operation().await;
    f.claim(LONG).await;
    assert!(until().await <= LONG);
}

async fn what_makes_work_wakes_the_conductors(f: Fixture) {
    let wake = f.store.wake();
    // Registered before, as conductors do.
    macro_rules! wakes {
        ($call:expr) => {{
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            $call.await.unwrap();
            woken.await;
        }};
    }
    let instance = f.instance().await;
    let op = f.op(&instance);
    wakes!(f.store.begin_operation(&op, &instance));
    let claimed = f.claim(LONG).await;
    f.store.store_plan(&claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
    wakes!(f.store.postpone(claimed.lease, Duration::ZERO, 1, None));
    let claimed = f.claim(LONG).await;
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::FailedTemp)).await.unwrap();
    wakes!(f.store.resume_operation(&op.project_id, op.id, OpState::RollingBack, at(30)));
    wakes!(cancel(&f, op.id, CancelMode::Graceful));
}

async fn instantiated_instances_are_found_with_what_there_is_to_look_at(f: Fixture) {
    let claimed = f.processing().await;
    assert_eq!(f.store.instantiated(None).await.unwrap(), []);
    let id = f.instantiate(claimed).await;
    f.instance().await;
    let found = f.store.instantiated(None).await.unwrap();
    let whereabouts = InstanceLocation {
        id,
        project_id: ProjectId::default(),
        home: Some(VimConnection { home: true, ..connection_to(None) }),
        namespace: Namespace::try_from("edge".to_owned()).unwrap(),
        kinds: BTreeSet::from(["Deployment".to_owned()]),
    };
    assert_eq!(found, std::slice::from_ref(&whereabouts));
    assert_eq!(f.store.instantiated(Some(&[id])).await.unwrap(), [whereabouts]);
    assert_eq!(f.store.instantiated(Some(&[VnfInstanceId(f.uuid())])).await.unwrap(), []);
    assert_eq!(f.store.instantiated(Some(&[])).await.unwrap(), []);
}

async fn an_instance_is_refreshed_unless_it_changed_or_an_operation_is_live(f: Fixture) {
    let claimed = f.processing().await;
    let id = f.instantiate(claimed).await;
    let mut instance = f.store.instance(&ProjectId::default(), id).await.unwrap();
    instance.instantiated.as_mut().unwrap().vnfcs.clear();
    instance.name = Some("not to be written".to_owned());
    f.store.refresh_instance(&instance).await.unwrap();
    let after = f.store.instance(&ProjectId::default(), id).await.unwrap();
    assert_eq!((&after.instantiated, after.version), (&instance.instantiated, instance.version + 1));
    assert_eq!(after.name.as_deref(), Some("upf"));
    assert_fails!(f.store.refresh_instance(&instance).await, StoreError::Stale);

    let op = f.op(&after);
    f.store.begin_operation(&op, &after).await.unwrap();
    let now = f.store.instance(&ProjectId::default(), id).await.unwrap();
    assert_fails!(f.store.refresh_instance(&now).await, StoreError::Busy(live) if live == op.id);
    let claimed = f.claim(LONG).await;
    f.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    f.store.refresh_instance(&now).await.unwrap();
    let none = f.instance().await;
    assert_fails!(f.store.refresh_instance(&none).await, StoreError::Stale);
}

async fn endings_are_told(f: Fixture) {
    let mut here = f.store.endings();
    // PostgreSQL serves other processes.
    let there = match f.url.starts_with("postgres") {
        true => Some(connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap()),
        false => None,
    };
    let mut elsewhere = there.as_ref().map(|store| store.endings());
    let failed = f.failed().await;
    f.store.resume_operation(&failed.project_id, failed.id, OpState::Failed, at(30)).await.unwrap();
    let claimed = f.processing().await;
    let id = f.instantiate(claimed).await;
    let mut vim = vim(f.uuid(), "a");
    f.store.create_vim(&vim).await.unwrap();
    vim.description = "changed".to_owned();
    f.store.update_vim(&vim, None).await.unwrap();
    for expected in [OperationEnded::One(failed.vnf_instance_id), OperationEnded::One(id), OperationEnded::Any] {
        while here.recv().await.unwrap() != expected {}
        if let Some(elsewhere) = &mut elsewhere {
            while elsewhere.recv().await.unwrap() != expected {}
        }
    }
}

async fn a_row_that_cannot_be_read_is_named(f: Fixture) {
    let op = f.operation().await;
    f.execute(r#"UPDATE vnf_lcm_op_occs SET plan = '{"forward": 1}'"#).await;
    let assert_named = |error: StoreError| match error {
        StoreError::Corrupt { table: "vnf_lcm_op_occs", id, reason } => {
            assert_eq!(id, op.id.to_string());
            assert!(reason.contains("plan"), "{reason}");
        }
        other => panic!("{other:?}"),
    };
    assert_named(f.store.plan(op.id).await.unwrap_err());
    assert_named(f.store.claim("worker", LONG, 1).await.unwrap_err());
    // It does not keep others from being claimed.
    let other = f.operation().await;
    assert_eq!(f.claim(LONG).await.op.id, other.id);
    // Nor when it is claimed together with them.
    f.execute("UPDATE vnf_lcm_op_occs SET lease_until = 0").await;
    let Claim::Work(claimed) = f.store.claim("worker", LONG, 8).await.unwrap() else { panic!("nothing to claim") };
    assert_eq!(claimed.iter().map(|claimed| claimed.op.id).collect::<Vec<_>>(), [other.id]);
}

/// Polls `call` up to `polls` times, each time when it is woken, and drops it: while it waits, or when what it waits for
/// has come. Tells whether it was done.
async fn abandon<F: Future + Unpin>(mut call: F, polls: usize, while_waiting: bool) -> bool {
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        match Pin::new(&mut call).poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled == polls && while_waiting => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn a_caller_that_goes_away_leaves_no_transaction_behind(f: Fixture) {
    let (mut done, mut tries) = (0, 0);
    // However many polls it takes: until it was done a few times.
    while done < 10 {
        let instance = f.instance().await;
        let op = f.op(&instance);
        done += usize::from(abandon(f.store.begin_operation(&op, &instance), tries / 2, tries % 2 == 0).await);
        tries += 1;
        // It happened whole or not at all.
        let version = f.store.instance(&instance.project_id, instance.id).await.unwrap().version;
        if let Err(error) = f.store.op_occ(&instance.project_id, op.id).await {
            assert!(matches!(error, StoreError::NotFound), "{error:?}");
            assert_eq!(version, 1);
        }
    }
    let count = async |table| -> usize {
        f.text(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await.parse().unwrap()
    };

    assert!(tries > 12, "some were dropped half-way");
    assert_eq!(count("vnf_instances").await, tries, "what was said to be done is in the database");
    assert!(count("vnf_lcm_op_occs").await >= done);
}

async fn the_queue_tells_what_waits_and_for_how_long(f: Fixture) {
    assert_eq!(f.store.queue().await.unwrap(), QueueStats::default());
    f.failed().await;
    f.operation().await;
    let mut queue = f.store.queue().await.unwrap();
    queue.states.sort_by_key(|(state, _)| state.as_str());
    assert_eq!(queue.states, [(OpState::FailedTemp, 1), (OpState::Starting, 1)]);
    assert_eq!(queue.waiting, 1);
    assert!(queue.oldest.unwrap() < LONG);
    let claimed = f.claim(LONG).await;
    let queue = f.store.queue().await.unwrap();
    assert_eq!((queue.waiting, queue.oldest), (0, None), "what is held does not wait");
    f.store.postpone(claimed.lease, LONG, 1, None).await.unwrap();
    assert_eq!(f.store.queue().await.unwrap().waiting, 0, "what was put off does not wait");
}

async fn live_operations_are_read_beside_the_process_that_serves(f: Fixture) {
    let Claimed { lease, op, .. } = f.processing().await;
    f.store.checkpoint(&lease, &Checkpoint { steps_done: 1, ..Checkpoint::default() }).await.unwrap();
    let live = live_operations(&f.url).await.unwrap();
    let [seen] = live.as_slice() else { panic!("{live:?}") };
    assert_eq!((seen.id, seen.vnf_instance_id, seen.state), (op.id, op.vnf_instance_id, OpState::Processing));
    assert_eq!((seen.steps_done, seen.steps, seen.attempt), (1, Some(2), 0));
    let held = seen.lease.as_ref().unwrap();
    assert_eq!((held.owner.as_str(), held.epoch), ("worker", lease.epoch));
    let error = Some(problem("why"));
    let stopped = OperationOutcome { error: error.clone(), ..ending(OpState::Processing, OpState::FailedTemp) };
    f.store.end_operation(lease, &stopped).await.unwrap();
    let live = live_operations(&f.url).await.unwrap();
    assert!(live[0].lease.is_none());
    assert_eq!(live[0].error, error);
    f.store.resume_operation(&op.project_id, op.id, OpState::Failed, at(13)).await.unwrap();
    assert!(live_operations(&f.url).await.unwrap().is_empty(), "what is over is not shown");
}

async fn another_projects_rows_are_not_found(f: Fixture) {
    let (mine, other) = (ProjectId::default(), elsewhere());
    let vim = Vim { is_default: true, ..vim(f.uuid(), "a") };
    f.store.create_vim(&vim).await.unwrap();
    let op = f.failed().await;
    let instance = f.store.instance(&mine, op.vnf_instance_id).await.unwrap();
    let package = instance.vnf_pkg_id;
    assert_fails!(f.store.package(&other, package).await, StoreError::NotFound);
    assert_fails!(f.store.begin_upload(&other, package, at(1)).await, StoreError::NotFound);
    assert_fails!(
        f.store.update_package(&other, package, None, Some([&Map::new(), &Map::new()])).await,
        StoreError::NotFound
    );
    assert_fails!(f.store.delete_package(&other, package).await, StoreError::NotFound);
    assert_fails!(f.store.vnfd(&other, &instance.vnfd_id).await, StoreError::NotFound);
    assert_fails!(f.store.vim(&other, vim.id).await, StoreError::NotFound);
    assert_fails!(f.store.default_vim(&other).await, StoreError::NotFound);
    let foreign = Vim { project_id: other.clone(), ..vim.clone() };
    assert_fails!(f.store.update_vim(&foreign, None).await, StoreError::NotFound);
    assert_fails!(f.store.delete_vim(&other, vim.id).await, StoreError::NotFound);
    assert_fails!(f.store.instance(&other, instance.id).await, StoreError::NotFound);
    assert_fails!(f.store.delete_instance(&other, instance.id, None).await, StoreError::NotFound);
    assert_fails!(f.store.op_occ(&other, op.id).await, StoreError::NotFound);
    assert_fails!(f.store.resume_operation(&other, op.id, OpState::Failed, at(1)).await, StoreError::NotFound);
    assert!(f.store.packages(&other, &whole()).await.unwrap().is_empty());
    assert!(f.store.vims(&other).await.unwrap().is_empty());
    assert_fails!(f.store.instance_version(&other, instance.id).await, StoreError::NotFound);
    assert!(f.store.instances(&other, &[instance.id]).await.unwrap().is_empty());
    assert!(f.store.list_instances(&other, &whole()).await.unwrap().is_empty());
    assert!(f.store.op_occs(&other, &whole()).await.unwrap().is_empty());
}

async fn the_database_answers(f: Fixture) {
    f.store.ping().await.unwrap();
}

// --- one engine's own -----------------------------------------------------------------------------------------------

mod only_sqlite {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_second_process_is_refused() {
        let f = Fixture::sqlite().await;
        let refused = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.err().unwrap();
        assert!(matches!(refused, StoreError::Held { .. }), "{refused:?}");
        assert!(refused.to_string().contains("gybe.db is in use by another process"), "{refused}");
        assert_fails!(migrate(&f.url).await, StoreError::Held { .. });
        f.reopen(KEY).await;
    }

    #[tokio::test]
    async fn an_interrupted_operation_is_claimable_as_soon_as_the_next_process_starts() {
        let f = Fixture::sqlite().await;
        let interrupted = f.processing().await;
        assert!(matches!(f.store.claim("worker", LONG, 1).await.unwrap(), Claim::Idle(Some(_))));
        let f = f.reopen(KEY).await;
        assert_lost(&f, interrupted.lease).await;
        let claimed = f.claim(LONG).await;
        assert_eq!((claimed.op.id, claimed.lease.epoch, claimed.plan), (interrupted.op.id, 2, Some(plan())));
    }

    #[tokio::test]
    async fn the_files_are_the_owners_alone() {
        let f = Fixture::sqlite().await;
        f.operation().await;
        let path = f.url.strip_prefix("sqlite://").unwrap();
        for side in ["", "-wal", "-shm", ".lock"] {
            let mode = std::fs::metadata(format!("{path}{side}")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{side}");
        }
    }

    #[tokio::test]
    async fn migrating_tells_what_was_applied() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/new.db", dir.path().display());
        assert_eq!(migrate(&url).await.unwrap().applied, MIGRATIONS);
        assert!(migrate(&url).await.unwrap().applied.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_named() {
        let refused = connect("sqlite:///nonexistent/gybe.db", KeyRing::parse(KEY).unwrap()).await.err().unwrap();
        assert!(refused.to_string().contains("/nonexistent/gybe.db"), "{refused}");
    }

    #[tokio::test]
    async fn a_page_of_a_list_is_read_from_its_index_alone() {
        let f = Fixture::sqlite().await;
        let path = f.url.strip_prefix("sqlite://").unwrap();
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(
            "EXPLAIN QUERY PLAN SELECT id, created_at, version FROM vnf_instances \
             WHERE project_id = 'default' AND (created_at, id) > (1, 'x') ORDER BY created_at, id LIMIT 100",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let [(_, _, _, step)] = &plan[..] else { panic!("one step, no sorting: {plan:?}") };
        assert!(step.contains("USING COVERING INDEX vnf_instances_list"), "{step}");
    }

    #[tokio::test]
    async fn op_occurrences_are_filtered_by_simple_attributes_in_an_index_alone() {
        let f = Fixture::sqlite().await;
        let path = f.url.strip_prefix("sqlite://").unwrap();
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        for (condition, index) in [
            ("state IN ('FAILED') AND operation NOT IN ('HEAL')", "vnf_lcm_op_occs_list"),
            ("state_entered_time >= 1 AND (cancel_mode IS NOT NULL) IN (true)", "vnf_lcm_op_occs_list"),
            ("is_automatic_invocation IN (false) AND instr(vnf_instance_id, 'x') > 0", "vnf_lcm_op_occs_list"),
            ("vnf_instance_id IN ('x')", "vnf_lcm_op_occs_instance"),
        ] {
            let statement = format!(
                "EXPLAIN QUERY PLAN SELECT id FROM vnf_lcm_op_occs \
                 WHERE project_id = 'default' AND {condition} ORDER BY start_time, id LIMIT 100"
            );
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
            let [(_, _, _, step)] = &plan[..] else { panic!("one step, no sorting: {plan:?}") };
            assert!(step.contains(&format!("USING COVERING INDEX {index}")), "{condition}: {step}");
        }
    }

    /// The indexes that keep the claim and the lists from reading the whole table.
    #[tokio::test]
    async fn the_queue_is_served_by_its_index() {
        let f = Fixture::sqlite().await;
        let path = f.url.strip_prefix("sqlite://").unwrap();
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let explain = "EXPLAIN QUERY PLAN SELECT id FROM vnf_lcm_op_occs \
             WHERE CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL \
                              ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END \
               AND not_before <= 1 AND lease_until <= 1 ORDER BY not_before, id LIMIT 1";
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut connection).await.unwrap();
        assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
        assert!(plan[0].3.contains("vnf_lcm_op_occs_due"), "{plan:?}");
    }
}

mod only_postgres {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_served_by_its_index_though_nothing_is_known_of_the_table() {
        let f = Fixture::postgres().await;
        let mut connection = f.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap();
        let explain = "EXPLAIN SELECT id FROM vnf_lcm_op_occs \
             WHERE CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL \
                              ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END \
               AND not_before <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) \
               AND lease_until <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) \
             ORDER BY not_before, id LIMIT 8 FOR UPDATE SKIP LOCKED";
        // Thousands wait before the server has counted them.
        let many = "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, \
                        start_time, is_automatic_invocation, params, not_before) \
                    SELECT n, 'p', n, 'HEAL', 'STARTING', 1, 1, false, '{}', n FROM generate_series(1, 3000) AS n";
        let mut tx = connection.begin().await.unwrap();
        sqlx::query(many).execute(&mut *tx).await.unwrap();
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *tx).await.unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan using vnf_lcm_op_occs_due") && !plan.contains("Sort"), "{plan}");
    }

    #[tokio::test]
    async fn a_database_that_was_not_migrated_is_refused() {
        let database = postgres::Database::create_empty().await;
        let refused = connect(&database.url, KeyRing::parse(KEY).unwrap()).await.err().unwrap();
        assert!(matches!(refused, StoreError::NotMigrated), "{refused:?}");
        assert!(refused.to_string().contains("gybe migrate"));
        assert_eq!(migrate(&database.url).await.unwrap().applied, MIGRATIONS);
        assert!(migrate(&database.url).await.unwrap().applied.is_empty());
        let store = connect(&database.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
        store.ping().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_that_is_not_as_this_release_knows_it_is_refused() {
        let f = Fixture::postgres().await;
        let again = async || connect(&f.url, KeyRing::parse(KEY).unwrap()).await;
        f.execute("INSERT INTO _sqlx_migrations SELECT 9999, 'newer', now(), true, checksum, 0 FROM _sqlx_migrations WHERE version = 1")
            .await;
        again().await.unwrap();
        f.execute("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1").await;
        assert_fails!(again().await.map(drop), StoreError::Migrate(_));
        f.execute("DELETE FROM _sqlx_migrations WHERE version = 1").await;
        assert_fails!(again().await.map(drop), StoreError::NotMigrated);
    }

    /// Two stores stand for two processes.
    #[tokio::test]
    async fn a_conductor_is_woken_by_another_process() {
        let f = Fixture::postgres().await;
        let other = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
        let wake = other.wake();
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        let op = f.operation().await;
        woken.await;
        assert_eq!(work(other.claim("other", LONG, 1).await.unwrap()).op.id, op.id);
        assert!(matches!(f.store.claim("ours", LONG, 1).await.unwrap(), Claim::Idle(Some(_))));
    }

    #[tokio::test]
    async fn a_cancel_request_is_signalled_to_other_processes_and_other_work_is_not() {
        let f = Fixture::postgres().await;
        let other = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
        let (wake, mut cancels) = (other.wake(), other.cancels());
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        let op = f.operation().await;
        woken.await;
        assert!(!cancels.has_changed().unwrap());
        cancel(&f, op.id, CancelMode::Forceful).await.unwrap();
        cancels.changed().await.unwrap();
        assert_eq!(work(other.claim("other", LONG, 1).await.unwrap()).op.cancel, Some(CancelMode::Forceful));
    }

    #[tokio::test]
    async fn a_conductor_is_woken_when_the_lost_connection_is_back() {
        let f = Fixture::postgres().await;
        let wake = f.store.wake();
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        f.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'LISTEN %'",
        )
        .await;
        woken.await;
        // And notifications arrive again.
        let other = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
        let instance = f.instance().await;
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        other.begin_operation(&f.op(&instance), &instance).await.unwrap();
        woken.await;
    }

    #[tokio::test]
    async fn the_listener_ends_with_the_store() {
        let f = Fixture::postgres().await;
        let wake = Arc::downgrade(&f.store.wake());
        let Fixture { store, _database, .. } = f;
        drop(store);
        while wake.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_without_repeating_it() {
    for url in ["mysql://user:s3cr3t@host/db", "gybe.db", "sqlite://", "sqlite://:memory:", "sqlite::memory:"] {
        let refused = connect(url, KeyRing::parse(KEY).unwrap()).await.err().unwrap();
        assert!(matches!(refused, StoreError::Url), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("s3cr3t"));
    }
}
