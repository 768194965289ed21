//! Records to put into a store: a package, an instance, an operation.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gybe::clock::{Clock as _, Ids as _, System};
use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use gybe::domain::instance::{VnfInstance, VnfMetadata};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::{Content, DefinitionFile, Onboarding, OperationalState, VnfPackage};
use gybe::domain::plan::Plan;
use gybe::domain::problem::Problem;
use gybe::domain::resource::Resource;
use gybe::domain::transition::{Due, ErrorUpdate, OpEvent, OpRecord, Update, transition};
use gybe::domain::vnfd::{Flavour, Vnfd};
use gybe::domain::warning::Warnings;
use gybe::store::attributes::Filter;
use gybe::store::seal::KeyRing;
use gybe::store::{
    Checkpoint, Claim, Claimed, Lease, OnboardedVnfd, OperationOutcome, Page, PlannedOperation, Store, StoreError,
    connect,
};
use serde_json::{Map, json};
use time::OffsetDateTime;

/// Opens the database at `url`.
pub async fn open(url: &str) -> Arc<dyn Store> {
    connect(url, keys()).await.unwrap()
}

/// Opens the database at `url` as soon as the last calls of a killed process have ended.
pub async fn reopen(url: &str) -> Arc<dyn Store> {
    loop {
        match connect(url, keys()).await {
            Err(StoreError::FileInUse { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    }
}

static EVERYTHING: LazyLock<Filter> = LazyLock::new(Filter::default);

/// A page that contains a whole list.
pub fn whole() -> Page<'static> {
    Page { filter: &EVERYTHING, after: None, limit: 1_000_000 }
}

fn keys() -> KeyRing {
    KeyRing::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

/// The onboarded VNFD of that content; onboards it first if necessary.
pub async fn onboarded(store: &dyn Store, content: &Content, files: &[DefinitionFile]) -> OnboardedVnfd {
    let project = ProjectId::default();
    match store.vnfd(&project, &content.vnfd.id).await {
        Err(StoreError::NotFound) => {}
        other => return other.unwrap(),
    }
    let package = new_package();
    let id = package.id;
    store.create_package(&package).await.unwrap();
    let lease = store.begin_upload(&project, id, None, "test", Duration::from_secs(60)).await.unwrap();
    store.finish_upload(&lease, Duration::from_secs(60)).await.unwrap();
    store.finish_onboarding(&lease, content, files).await.unwrap();
    store.vnfd(&project, &content.vnfd.id).await.unwrap()
}

/// A new package; not stored yet.
pub fn new_package() -> VnfPackage {
    VnfPackage {
        id: VnfPkgId(System.uuid()),
        project_id: ProjectId::default(),
        onboarding: Onboarding::Created,
        operational_state: OperationalState::Disabled,
        in_use: false,
        content_epoch: 0,
        user_defined_data: Map::new(),
        created_at: System.now(),
    }
}

/// The content of a package without artifacts.
pub fn content_of(vnfd: Vnfd) -> Content {
    Content { vnfd, sha512: "0".to_owned(), size: 1, artifacts: Vec::new(), warnings: Warnings::default() }
}

/// Creates a VNF instance of that VNFD.
pub async fn instance(store: &dyn Store, onboarded: &OnboardedVnfd) -> VnfInstance {
    let instance = new_instance(onboarded);
    store.create_instance(&instance).await.unwrap();
    instance
}

/// A new VNF instance of that VNFD; not stored yet.
pub fn new_instance(onboarded: &OnboardedVnfd) -> VnfInstance {
    let vnfd = &onboarded.vnfd;
    VnfInstance {
        id: VnfInstanceId(System.uuid()),
        project_id: ProjectId::default(),
        name: Some("core".to_owned()),
        description: None,
        vnfd_id: vnfd.id.clone(),
        vnf_pkg_id: onboarded.package_id,
        provider: vnfd.provider.clone(),
        product_name: vnfd.product_name.clone(),
        software_version: vnfd.software_version.clone(),
        vnfd_version: vnfd.version.clone(),
        metadata: VnfMetadata::default(),
        extensions: Map::new(),
        configurable_properties: Map::new(),
        vim_connections: BTreeMap::new(),
        instantiated: None,
        warnings: Warnings::default(),
        version: 1,
        created_at: System.now(),
    }
}

/// A new operation of the instance, in STARTING; not stored yet.
pub fn new_operation(instance: &VnfInstance, operation: LcmOperation) -> VnfLcmOpOcc {
    VnfLcmOpOcc::starting(VnfLcmOpOccId(System.uuid()), operation, instance, json!({}), System.now())
}

/// A VNFD without VDUs.
pub fn vnfd(id: &str) -> Vnfd {
    Vnfd {
        id: id.to_owned(),
        version: "1.0".to_owned(),
        provider: "Company".to_owned(),
        product_name: "Sample".to_owned(),
        software_version: "1.0".to_owned(),
        vnfm_info: Vec::new(),
        flavours: BTreeMap::from([("simple".to_owned(), Flavour::default())]),
    }
}

/// Creates an operation in FAILED_TEMP, of an instance of its own.
pub async fn failed_operation(store: &Arc<dyn Store>) -> VnfLcmOpOccId {
    let content = content_of(vnfd("of-nothing"));
    let instance = instance(&**store, &onboarded(&**store, &content, &[]).await).await;
    let op = VnfLcmOpOcc { state: OpState::Processing, ..new_operation(&instance, LcmOperation::Instantiate) };
    store.begin_operation(&op, &instance).await.unwrap();
    let claimed = work(store.claim("first", Duration::from_secs(600), 1, &Crowded::default()).await.unwrap());
    assert_eq!(claimed.op.id, op.id, "there is one operation to work on");
    let error = Some(Problem::conflict("stopped"));
    let ending = outcome(&record(OpState::Processing), OpState::FailedTemp, error, System.now());
    store.end_operation(claimed.lease, &ending).await.unwrap();
    op.id
}

/// An operation with a way back in `state`, as the state machine needs it.
pub const fn record(state: OpState) -> OpRecord {
    OpRecord { can_roll_back: true, state, steps_done: 0, attempt: 0, cancel: None, unattended: None }
}

/// The outcome that takes an operation to `to`. Without an error, the present one stays.
pub fn outcome(record: &OpRecord, to: OpState, error: Option<Problem>, now: OffsetDateTime) -> OperationOutcome {
    use OpEvent::{Fail, Granted, LeftUnattended, Retry, Rollback, Stopped, Succeeded};
    let events = [LeftUnattended, Succeeded, Stopped, Granted, Retry, Rollback, Fail];
    let mut updates = events.into_iter().filter_map(|event| transition(record, event).ok());
    let mut update = updates.find(|update| update.to == to).unwrap();
    if error.is_none() && update.error == ErrorUpdate::Replace {
        update.error = ErrorUpdate::Keep;
    }
    OperationOutcome::of(update, error, now)
}

/// The checkpoint after step `steps_done` of an operation in `state`; 0: within the first step.
pub fn progress(state: OpState, steps_done: usize) -> Checkpoint {
    let record = OpRecord { steps_done: steps_done.saturating_sub(1), ..record(state) };
    Checkpoint::of(transition(&record, OpEvent::Progressed(steps_done)).unwrap())
}

/// What postpones an operation in `state` after an error that may pass.
pub fn postponement(state: OpState, delay: Duration, attempt: u32) -> Update {
    let update = transition(&record(state), OpEvent::AttemptFailed).unwrap();
    Update { attempt: Some(attempt), due: Some(Due::After(delay)), ..update }
}

/// Stores the plan of an operation in STARTING.
pub async fn store_plan(
    store: &dyn Store,
    lease: &Lease,
    ttl: Duration,
    plan: &Plan,
    resources: &[Resource],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let update = transition(&record(OpState::Starting), OpEvent::Granted).unwrap();
    let op = store.op_occ(&ProjectId::default(), lease.op).await;
    let warnings = &op.map(|op| op.warnings).unwrap_or_default();
    store.store_plan(lease, ttl, &update, &PlannedOperation { plan, warnings, resources, granted: None }, now).await
}

/// The operation that was claimed.
pub fn work(claim: Claim) -> Claimed {
    match claim {
        Claim::Work(mut claimed) => claimed.pop().unwrap(),
        Claim::Idle(until) => panic!("nothing to claim until {until:?}"),
    }
}
