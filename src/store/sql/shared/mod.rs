//! What both engines share: the database handle, the one way into a transaction, and how rows are read. The statements
//! are in the child modules, a file per noun; [`Database`]'s `Store` implementation at the end only hands on to them.
//!
//! This directory is compiled twice (see `crate::store::sql`): `super` is `sqlite` the first time, `postgres` the second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{Pool, Row as _};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast, watch};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::{Db, ENGINE, Held, Tx, Writer, bounded};
use crate::domain::grant::PendingGrant;
use crate::domain::ids::{ProjectId, SubscriptionId, VimId, VnfInstanceId, VnfLcmOpOccId, VnfPkgId};
use crate::domain::instance::VnfInstance;
use crate::domain::interface::Interface;
use crate::domain::op_occ::{CancelMode, OpState, VnfLcmOpOcc};
use crate::domain::package::{Content, DefinitionFile, OperationalState, VnfPackage};
use crate::domain::plan::Plan;
use crate::domain::problem::Problem;
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::subscription::{Notification, Subscription, Undelivered};
use crate::domain::vim::Vim;
use crate::metrics::StoreMetrics;
use crate::store::seal::{Context, KeyRing, SealError};
use crate::store::sql::Signals;
use crate::store::sql::convert::{Unreadable, time};
use crate::store::sql::definition_cache::KeptFiles;
use crate::store::sql::endings::Endings;
use crate::store::sql::pool::Current;
use crate::store::{
    Checkpoint, Claim, CreateOutcome, Granted, IdempotencyKey, InstanceLocation, Lease, Listed, OnboardedVnfd,
    OperationEnded, OperationOutcome, OutboxClaim, OutboxLease, OutboxStats, Page, QueueStats, Sent, Store, StoreError,
    Subscribed,
};
use crate::traces::TRACES;

mod filters;
pub(super) mod inspect;
mod instances;
mod leases;
pub(super) mod op_occ_values;
mod op_occs;
mod outbox;
mod packages;
mod resources;
mod subscriptions;
mod vims;

type Row = <Db as sqlx::Database>::Row;
type Arguments = <Db as sqlx::Database>::Arguments;
type Query<'q> = sqlx::query::Query<'q, Db, Arguments>;
type QueryBuilder = sqlx::QueryBuilder<Db>;

/// A database of one engine.
pub(super) struct Database {
    reader: Current<Db>,
    writer: Writer,
    keys: KeyRing,
    signals: Signals,
    endings: Endings,
    files: KeptFiles,
    metrics: StoreMetrics,
    _held: Held,
}

impl Database {
    pub(super) fn new(
        reader: Current<Db>,
        writer: Writer,
        keys: KeyRing,
        signals: Signals,
        endings: Endings,
        held: Held,
    ) -> Self {
        let (files, metrics) = (KeptFiles::new(), StoreMetrics::default());
        Self { reader, writer, keys, signals, endings, files, metrics, _held: held }
    }

    /// For statements outside a transaction that only read. For all others: `writer`.
    fn reader(&self) -> Pool<Db> {
        self.reader.get()
    }

    /// Runs a method's work, traces it and counts its failure.
    async fn counted<T, W: Future<Output = Result<T, StoreError>>>(&self, work: W) -> Result<T, StoreError> {
        // The work is the future of a function of a child module, such as `packages::create`, and its type is so named.
        let span = tracing::info_span!(target: TRACES, "store", otel.kind = "client", otel.status_code = Empty,
            otel.name = std::any::type_name::<W>().split("shared::").last().unwrap_or_default().trim_end_matches("::{{closure}}"),
            db.system.name = ENGINE);
        let done = bounded(work).instrument(span.clone()).await;
        done.inspect_err(|error| {
            if let Some(kind) = error.failure() {
                self.metrics.failed(kind);
                span.record("otel.status_code", "ERROR");
            }
        })
    }

    /// Tells the conductors of this process that there may be something to claim. Only after the commit.
    fn wake_ours(&self) {
        self.signals.work();
    }

    /// Seals `secrets`; none are NULL, so that a row without any needs no key.
    fn seal<K: Serialize, V: Serialize>(
        &self,
        context: &Context<'_>,
        secrets: &BTreeMap<K, V>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        self.keys.seal(context, secrets).map(Some).map_err(StoreError::Seal)
    }

    /// Opens what [`Database::seal`] made.
    fn open<K: DeserializeOwned + Ord, V: DeserializeOwned>(
        &self,
        context: &Context<'_>,
        sealed: Option<Vec<u8>>,
    ) -> Result<BTreeMap<K, V>, SealError> {
        sealed.map_or_else(|| Ok(BTreeMap::new()), |sealed| self.keys.open(context, &sealed))
    }
}

/// Reads a row that has an `id`; if that fails, tells which row it was.
fn read<T>(
    table: &'static str,
    row: &Row,
    convert: impl FnOnce(&Row) -> Result<T, Unreadable>,
) -> Result<T, StoreError> {
    convert(row).map_err(|error| StoreError::Corrupt {
        table,
        id: row.try_get("id").unwrap_or_default(),
        reason: error.to_string(),
    })
}

fn json<T: DeserializeOwned + 'static>(row: &Row, column: &str) -> Result<T, sqlx::Error> {
    row.try_get::<Json<T>, _>(column).map(|Json(value)| value)
}

fn optional_json<T: DeserializeOwned + 'static>(row: &Row, column: &str) -> Result<Option<T>, sqlx::Error> {
    Ok(row.try_get::<Option<Json<T>>, _>(column)?.map(|Json(value)| value))
}

fn point_in_time(row: &Row, column: &str) -> Result<OffsetDateTime, Unreadable> {
    time(row.try_get(column)?)
}

fn project(row: &Row) -> Result<ProjectId, sqlx::Error> {
    row.try_get("project_id").map(ProjectId)
}

/// Whether `error` says that a unique rule was broken.
fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether `error` says that another row refers to the row, or that the row it refers to is not there.
fn is_foreign_key_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}

#[async_trait]
impl Store for Database {
    async fn create_package(&self, package: &VnfPackage) -> Result<(), StoreError> {
        self.counted(packages::create(self, package)).await
    }

    async fn package(&self, project: &ProjectId, id: VnfPkgId) -> Result<VnfPackage, StoreError> {
        self.counted(packages::one(self, project, id)).await
    }

    async fn package_of_vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<VnfPackage, StoreError> {
        self.counted(packages::of_vnfd(self, project, vnfd_id)).await
    }

    async fn packages(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<VnfPackage>, StoreError> {
        self.counted(packages::list(self, project, page)).await
    }

    async fn begin_upload(&self, project: &ProjectId, id: VnfPkgId, now: OffsetDateTime) -> Result<(), StoreError> {
        self.counted(packages::begin_upload(self, project, id, now)).await
    }

    async fn begin_processing(&self, id: VnfPkgId, now: OffsetDateTime) -> Result<(), StoreError> {
        self.counted(packages::begin_processing(self, id, now)).await
    }

    async fn finish_onboarding(
        &self,
        id: VnfPkgId,
        content: &Content,
        files: &[DefinitionFile],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.counted(packages::finish_onboarding(self, id, content, files, now)).await
    }

    async fn fail_onboarding(&self, id: VnfPkgId, problem: &Problem, now: OffsetDateTime) -> Result<(), StoreError> {
        self.counted(packages::fail_onboarding(self, id, problem, now)).await
    }

    async fn fail_abandoned_onboardings(
        &self,
        before: OffsetDateTime,
        problem: &Problem,
        now: OffsetDateTime,
    ) -> Result<Vec<VnfPkgId>, StoreError> {
        self.counted(packages::fail_abandoned(self, before, problem, now)).await
    }

    async fn update_package(
        &self,
        project: &ProjectId,
        id: VnfPkgId,
        state: Option<OperationalState>,
        user_defined_data: Option<[&Map<String, Value>; 2]>,
    ) -> Result<(), StoreError> {
        self.counted(packages::update(self, project, id, state, user_defined_data)).await
    }

    async fn delete_package(&self, project: &ProjectId, id: VnfPkgId) -> Result<(), StoreError> {
        self.counted(packages::delete(self, project, id)).await
    }

    async fn vnfd(&self, project: &ProjectId, vnfd_id: &str) -> Result<OnboardedVnfd, StoreError> {
        self.counted(packages::vnfd(self, project, vnfd_id)).await
    }

    async fn definition_files(&self, id: VnfPkgId) -> Result<Arc<[DefinitionFile]>, StoreError> {
        self.counted(packages::definition_files(self, id)).await
    }

    async fn create_vim(&self, vim: &Vim) -> Result<(), StoreError> {
        self.counted(vims::create(self, vim)).await
    }

    async fn vim(&self, project: &ProjectId, id: VimId) -> Result<Vim, StoreError> {
        self.counted(vims::one(self, project, id)).await
    }

    async fn vim_named(&self, project: &ProjectId, name: &str) -> Result<Vim, StoreError> {
        self.counted(vims::named(self, project, name)).await
    }

    async fn default_vim(&self, project: &ProjectId) -> Result<Vim, StoreError> {
        self.counted(vims::default(self, project)).await
    }

    async fn vims(&self, project: &ProjectId) -> Result<Vec<Vim>, StoreError> {
        self.counted(vims::all(self, project)).await
    }

    async fn update_vim(&self, vim: &Vim, seen: Option<OffsetDateTime>) -> Result<(), StoreError> {
        self.counted(vims::update(self, vim, seen)).await
    }

    async fn delete_vim(&self, project: &ProjectId, id: VimId) -> Result<(), StoreError> {
        self.counted(vims::delete(self, project, id)).await
    }

    async fn create_instance(&self, instance: &VnfInstance) -> Result<(), StoreError> {
        self.counted(instances::create(self, instance)).await
    }

    async fn create_instance_once(
        &self,
        instance: &VnfInstance,
        key: &IdempotencyKey,
    ) -> Result<CreateOutcome, StoreError> {
        self.counted(instances::create_once(self, instance, key)).await
    }

    async fn instance(&self, project: &ProjectId, id: VnfInstanceId) -> Result<VnfInstance, StoreError> {
        self.counted(instances::one(self, project, id)).await
    }

    async fn instance_version(&self, project: &ProjectId, id: VnfInstanceId) -> Result<i64, StoreError> {
        self.counted(instances::version(self, project, id)).await
    }

    async fn list_instances(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<Listed>, StoreError> {
        self.counted(instances::list(self, project, page)).await
    }

    async fn instances(&self, project: &ProjectId, ids: &[VnfInstanceId]) -> Result<Vec<VnfInstance>, StoreError> {
        self.counted(instances::some(self, project, ids)).await
    }

    async fn delete_instance(
        &self,
        project: &ProjectId,
        id: VnfInstanceId,
        versions: Option<&[i64]>,
    ) -> Result<(), StoreError> {
        self.counted(instances::delete(self, project, id, versions)).await
    }

    async fn instantiated(&self, ids: Option<&[VnfInstanceId]>) -> Result<Vec<InstanceLocation>, StoreError> {
        self.counted(instances::instantiated(self, ids)).await
    }

    async fn refresh_instance(&self, instance: &VnfInstance) -> Result<(), StoreError> {
        self.counted(instances::refresh(self, instance)).await
    }

    async fn resources(&self, id: VnfInstanceId) -> Result<Vec<Resource>, StoreError> {
        self.counted(resources::all(self, id)).await
    }

    async fn begin_operation(&self, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<(), StoreError> {
        self.counted(op_occs::begin(self, op, instance)).await
    }

    async fn op_occ(&self, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError> {
        self.counted(op_occs::one(self, project, id)).await
    }

    async fn op_occs(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<VnfLcmOpOcc>, StoreError> {
        self.counted(op_occs::list(self, project, page)).await
    }

    async fn resume_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        to: OpState,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.counted(op_occs::resume(self, project, id, to, now)).await
    }

    async fn cancel_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        mode: CancelMode,
    ) -> Result<(), StoreError> {
        self.counted(op_occs::cancel(self, project, id, mode)).await
    }

    async fn plan(&self, id: VnfLcmOpOccId) -> Result<Option<Plan>, StoreError> {
        self.counted(op_occs::plan(self, id)).await
    }

    async fn claim(&self, owner: &str, ttl: Duration, most: u32) -> Result<Claim, StoreError> {
        self.counted(leases::claim(self, owner, ttl, most)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<CancelMode>, StoreError> {
        self.counted(leases::renew(self, lease, ttl)).await
    }

    async fn store_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        plan: &Plan,
        resources: &[Resource],
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.counted(leases::store_plan(self, lease, ttl, plan, resources, None, now)).await
    }

    async fn store_granted_plan(
        &self,
        lease: &Lease,
        ttl: Duration,
        plan: &Plan,
        resources: &[Resource],
        granted: &Granted,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.counted(leases::store_plan(self, lease, ttl, plan, resources, Some(granted), now)).await
    }

    async fn await_grant(&self, lease: Lease, delay: Duration, pending: &PendingGrant) -> Result<(), StoreError> {
        self.counted(leases::await_grant(self, &lease, delay, pending)).await
    }

    async fn record_intent(
        &self,
        lease: &Lease,
        ttl: Duration,
        objects: &[ObjectKey],
        new: &[Resource],
    ) -> Result<Option<CancelMode>, StoreError> {
        self.counted(leases::record_intent(self, lease, ttl, objects, new)).await
    }

    async fn checkpoint(&self, lease: &Lease, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.counted(leases::checkpoint(self, lease, checkpoint)).await
    }

    async fn postpone(
        &self,
        lease: Lease,
        delay: Duration,
        attempt: u32,
        error: Option<&Problem>,
    ) -> Result<(), StoreError> {
        self.counted(leases::postpone(self, &lease, delay, attempt, error)).await
    }

    async fn end_operation(&self, lease: Lease, ending: &OperationOutcome) -> Result<(), StoreError> {
        self.counted(leases::end_operation(self, &lease, ending)).await
    }

    async fn create_subscription(&self, subscription: &Subscription) -> Result<Subscribed, StoreError> {
        self.counted(subscriptions::create(self, subscription)).await
    }

    async fn subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<Subscription, StoreError> {
        self.counted(subscriptions::one(self, project, id)).await
    }

    async fn subscriptions(
        &self,
        project: &ProjectId,
        interface: Interface,
        page: &Page<'_>,
    ) -> Result<Vec<Subscription>, StoreError> {
        self.counted(subscriptions::list(self, project, interface, page)).await
    }

    async fn delete_subscription(&self, project: &ProjectId, id: SubscriptionId) -> Result<(), StoreError> {
        self.counted(subscriptions::delete(self, project, id)).await
    }

    async fn undelivered(
        &self,
        project: &ProjectId,
        id: SubscriptionId,
        limit: usize,
    ) -> Result<Vec<Undelivered>, StoreError> {
        self.counted(outbox::undelivered(self, project, id, limit)).await
    }

    async fn resend(&self, project: &ProjectId, id: SubscriptionId) -> Result<u64, StoreError> {
        self.counted(outbox::resend(self, project, id)).await
    }

    async fn claim_subscription(&self, owner: &str, ttl: Duration) -> Result<OutboxClaim, StoreError> {
        self.counted(outbox::claim(self, owner, ttl)).await
    }

    async fn next_notifications(&self, lease: &OutboxLease, limit: usize) -> Result<Vec<Notification>, StoreError> {
        self.counted(outbox::next(self, lease, limit)).await
    }

    async fn renew_subscription(&self, lease: &OutboxLease, ttl: Duration) -> Result<(), StoreError> {
        self.counted(outbox::renew(self, lease, ttl)).await
    }

    async fn record_sent(&self, lease: &OutboxLease, ttl: Duration, sent: &Sent) -> Result<(), StoreError> {
        self.counted(outbox::record(self, lease, ttl, sent)).await
    }

    async fn release_subscription(&self, lease: OutboxLease) -> Result<(), StoreError> {
        self.counted(outbox::release(self, &lease)).await
    }

    async fn put_off_subscription(
        &self,
        lease: OutboxLease,
        delay: Duration,
        attempt: u32,
        reason: &str,
        patience: Duration,
    ) -> Result<(), StoreError> {
        self.counted(outbox::put_off(self, &lease, delay, attempt, reason, patience)).await
    }

    async fn queue(&self) -> Result<QueueStats, StoreError> {
        self.counted(inspect::queue(self)).await
    }

    async fn outbox_depth(&self) -> Result<OutboxStats, StoreError> {
        self.counted(outbox::depth(self)).await
    }

    fn metrics(&self) -> StoreMetrics {
        self.metrics.clone()
    }

    fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.signals.wake)
    }

    fn outbox(&self) -> Arc<Notify> {
        Arc::clone(&self.signals.outbox)
    }

    fn cancels(&self) -> watch::Receiver<()> {
        self.signals.cancels.subscribe()
    }

    fn endings(&self) -> broadcast::Receiver<OperationEnded> {
        self.endings.subscribe()
    }

    async fn sync(&self) -> Result<(), StoreError> {
        Ok(self.writer.sync().await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.reader()).await?;
        Ok(())
    }
}
