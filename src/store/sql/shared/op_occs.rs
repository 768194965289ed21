//! Op occurrences, `vnf_lcm_op_occs`, as the API uses them: accept, show, resume, cancel. Conductors use `leases.rs`. Both write
//! the updates that [`crate::domain::transition`] decides with [`push_state`] and [`push_update`].

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::super::{notify_cancel, notify_work};
use super::{
    Database, QueryBuilder, Row, Tx, filters, instances, is_foreign_key_violation, json, live_operation, optional_json,
    plans, point_in_time, project, publish, quotas, read, steps, tenancy,
};
use crate::domain::event::EventChange;
use crate::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::mask::is_secret;
use crate::domain::op_occ::{CancelMode, GrantReference, LcmOperation, Unattended, VnfLcmOpOcc, can_roll_back};
use crate::domain::plan::{PLAN_FORMAT, Plan};
use crate::domain::problem::Problem;
use crate::domain::progress::StepAttempt;
use crate::domain::quota::QuotaResource;
use crate::domain::tenancy::NamespaceProject;
use crate::domain::transition::{CancelUpdate, Due, ErrorUpdate, OpEvent, OpRecord, Update, transition};
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, count, enumerator, length, millis};
use crate::store::{OperationEnded, OperationStore, Page, StoreError};

pub(super) const TABLE: &str = "vnf_lcm_op_occs";

/// The columns that [`op_occ`] reads.
macro_rules! columns {
    () => {
        "id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, is_automatic_invocation, \
         params, cancel_mode, error, resource_changes, changed_info, target_pkg_id, traceparent, grant_id, grant_uri, \
         unattended_after, unattended_remedy, warnings"
    };
}
pub(super) use columns;

/// Operations for conductors: the condition of the partial index `vnf_lcm_op_occs_due`. A query must use the same text to use
/// the index.
macro_rules! for_conductors {
    () => {
        "CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL \
                    ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END"
    };
}
pub(super) use for_conductors;

#[async_trait]
impl OperationStore for Database {
    async fn begin_operation(&self, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<(), StoreError> {
        begin(self, op, instance, None, Begin::Do).await
    }

    async fn begin_in_namespace(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        namespace: &NamespaceProject,
    ) -> Result<(), StoreError> {
        begin(self, op, instance, Some(namespace), Begin::Do).await
    }

    async fn check_operation(
        &self,
        op: &VnfLcmOpOcc,
        instance: &VnfInstance,
        namespace: Option<&NamespaceProject>,
    ) -> Result<(), StoreError> {
        begin(self, op, instance, namespace, Begin::Try).await
    }

    async fn op_occ(&self, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError> {
        self.traced("op_occs::one", one(self, project, id)).await
    }

    async fn op_occs(&self, project: Option<&ProjectId>, page: &Page<'_>) -> Result<Vec<VnfLcmOpOcc>, StoreError> {
        // The subquery selects the rows of the page. It reads the index `vnf_lcm_op_occs_list` alone unless the filter names
        // an attribute in JSON, because the rows are large. CROSS JOIN makes SQLite read the selected rows after that.
        self.traced("op_occs::list", async {
            let mut select =
                QueryBuilder::new(concat!("SELECT ", columns!(), " FROM (SELECT id AS page_id FROM vnf_lcm_op_occs"));
            filters::push_page(&mut select, "start_time", project, page);
            select.push(") AS page CROSS JOIN vnf_lcm_op_occs WHERE id = page_id ORDER BY start_time, id");
            filters::fetch(self, &mut select, project, page).await?.iter().map(|row| read(TABLE, row, op_occ)).collect()
        })
        .await
    }

    async fn resume_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        event: OpEvent,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        // A conductor may hold the operation to apply the remedy for operations left unattended. Without the lease it can't.
        self.traced("op_occs::resume", async {
            let mut tx = self.writer.begin().await?;
            let (update, instance) = decide(&mut tx, project, id, event).await?;
            if update.to.is_running() {
                quotas::admit(self, &mut tx, project, QuotaResource::Operations, 1, 0).await?;
            }
            let mut query = QueryBuilder::new("UPDATE vnf_lcm_op_occs SET lease_owner = NULL, lease_until = 0");
            push_state(&mut query, &update, now);
            push_update(&mut query, &update, None);
            push_end(&mut query, &update);
            query.push(" WHERE id = ").push_bind(id.to_string());
            query.push(concat!(" RETURNING ", publish::operation_change!()));
            let row = query.build().fetch_one(&mut *tx).await?;
            let published = publish::operation(&mut tx, &row, EventChange::Updated).await?;
            notify_work(&mut tx).await?;
            tx.commit().await?;
            self.wake_ours();
            self.signals.published(published);
            if update.to.is_final() {
                self.endings.send(OperationEnded::One(instance));
            }
            Ok(())
        })
        .await
    }

    async fn cancel_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        mode: CancelMode,
    ) -> Result<(), StoreError> {
        // The conductor that holds the operation finds the request when it renews the lease.
        self.traced("op_occs::cancel", async {
            let mut tx = self.writer.begin().await?;
            let (update, _) = decide(&mut tx, project, id, OpEvent::CancelRequested(mode)).await?;
            let mut query = QueryBuilder::new("UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch");
            push_update(&mut query, &update, None);
            query.push(" WHERE id = ").push_bind(id.to_string()).push(" RETURNING id, vnf_instance_id, state");
            let row = query.build().fetch_one(&mut *tx).await?;
            let events = publish::cancel_request(&mut tx, project, &row).await?;
            notify_cancel(&mut tx).await?;
            tx.commit().await?;
            self.signals.cancel();
            self.signals.journaled(events);
            Ok(())
        })
        .await
    }

    async fn plan(&self, id: VnfLcmOpOccId) -> Result<Option<Plan>, StoreError> {
        self.traced("op_occs::plan", async {
            let row = sqlx::query("SELECT id, plan, sealed_plan FROM vnf_lcm_op_occs WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.reader())
                .await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| stored_plan(self, row))
        })
        .await
    }

    async fn steps(&self, id: VnfLcmOpOccId) -> Result<Vec<StepAttempt>, StoreError> {
        self.traced("op_occs::steps", steps::of(self, id)).await
    }

    async fn latest_steps(&self, ids: &[VnfLcmOpOccId]) -> Result<HashMap<VnfLcmOpOccId, StepAttempt>, StoreError> {
        self.traced("op_occs::latest_steps", steps::latest(self, ids)).await
    }
}

/// Whether to begin an operation.
#[derive(Clone, Copy)]
enum Begin {
    Do,
    /// Only find out whether that is possible: nothing is published, and the transaction is rolled back.
    Try,
}

/// Accepts an operation, in a namespace of that project if there is one.
async fn begin(
    db: &Database,
    op: &VnfLcmOpOcc,
    instance: &VnfInstance,
    namespace: Option<&NamespaceProject>,
    how: Begin,
) -> Result<(), StoreError> {
    // No check before the write: of two operations of one VNF instance that begin together, the index admits one.
    db.traced("op_occs::begin", async {
        let mut tx = db.writer.begin().await?;
        quotas::admit(db, &mut tx, &op.project_id, QuotaResource::Operations, 1, 0).await?;
        let insert = sqlx::query(concat!(
            "INSERT INTO vnf_lcm_op_occs \
                     (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
                      is_automatic_invocation, params, changed_info, cancel_mode, target_pkg_id, traceparent, \
                      unattended_after, unattended_remedy, warnings, vim, plan_format, not_before) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, ",
            now!(),
            ") ON CONFLICT (vnf_instance_id) WHERE state IN ",
            live_operation::live_states!(),
            " DO NOTHING RETURNING ",
            publish::operation_change!()
        ));
        let inserted = insert
            .bind(op.id.to_string())
            .bind(&op.project_id.0)
            .bind(op.vnf_instance_id.to_string())
            .bind(op.operation.as_str())
            .bind(op.state.as_str())
            .bind(millis(op.state_entered_time))
            .bind(millis(op.start_time))
            .bind(op.is_automatic_invocation)
            .bind(Json(&op.params))
            .bind(op.changed_info.as_ref().map(Json))
            .bind(op.cancel.map(CancelMode::as_str))
            .bind(op.target_package.map(|id| id.to_string()))
            .bind(&op.traceparent)
            .bind(op.unattended.map(|unattended| length(unattended.after)))
            .bind(op.unattended.map(|unattended| unattended.remedy.as_str()))
            .bind(Json(&op.warnings))
            .bind(op.vim(instance))
            .bind(needed_plan_format(op))
            .fetch_optional(&mut *tx)
            .await;
        let inserted = match inserted {
            // The package is gone meanwhile.
            Err(error) if is_foreign_key_violation(&error) => return Err(StoreError::Stale),
            inserted => inserted?,
        };
        let Some(row) = inserted else {
            let live = live_operation::live(&mut tx, op.vnf_instance_id).await?;
            // On PostgreSQL it may have ended between the two statements.
            return Err(live.map_or(StoreError::Stale, StoreError::Busy));
        };
        let published = match how {
            Begin::Do => Some(publish::operation(&mut tx, &row, EventChange::Created).await?),
            Begin::Try => None,
        };
        instances::replace(db, &mut tx, instance).await?;
        if let Some(namespace) = namespace {
            tenancy::enter(&mut tx, &op.vnf_instance_id.to_string(), namespace).await?;
        }
        let Some(published) = published else { return Ok(()) };
        if let Some(plan) = op.kept_plan() {
            plans::take(&mut tx, op, plan).await?;
        }
        notify_work(&mut tx).await?;
        tx.commit().await?;
        db.wake_ours();
        db.signals.published(published);
        Ok(())
    })
    .await
}

pub(super) async fn one(db: &Database, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM vnf_lcm_op_occs WHERE id = $1 AND project_id = $2"))
        .bind(id.to_string())
        .bind(&project.0)
        .fetch_optional(&db.reader())
        .await?;
    read(TABLE, &row.ok_or(StoreError::NotFound)?, op_occ)
}

/// The part of an op occurrence that decides what an event does to it.
macro_rules! select_record {
    () => {
        "SELECT id, vnf_instance_id, operation, target_pkg_id, state, steps_done, attempt, cancel_mode, \
                unattended_after, unattended_remedy \
         FROM vnf_lcm_op_occs WHERE id = $1 AND project_id = $2"
    };
}

/// The format of plans that a process must know to plan the operation; `None`: all know it. The release before format 2 would complete a
/// MODIFY_INFO that brings a package without a plan. The one before format 3 would make a plan of its own for an operation that runs a kept one.
fn needed_plan_format(op: &VnfLcmOpOcc) -> Option<i64> {
    let is_new = op.operation == LcmOperation::ModifyInfo && op.brings_package() || op.kept_plan().is_some();
    is_new.then_some(i64::from(PLAN_FORMAT))
}

/// Decides what `event` of a caller does to an op occurrence, and locks that until the end of the transaction. Also returns
/// the VNF instance. `Stale` if the state does not allow the event.
///
/// Looks without a lock first: claims skip locked rows, and a refused request must not keep conductors from an operation.
async fn decide(
    tx: &mut Tx,
    project: &ProjectId,
    id: VnfLcmOpOccId,
    event: OpEvent,
) -> Result<(Update, VnfInstanceId), StoreError> {
    let _ = decide_with(select_record!(), tx, project, id, event).await?;
    decide_with(concat!(select_record!(), for_update!()), tx, project, id, event).await
}

async fn decide_with(
    select: &'static str,
    tx: &mut Tx,
    project: &ProjectId,
    id: VnfLcmOpOccId,
    event: OpEvent,
) -> Result<(Update, VnfInstanceId), StoreError> {
    let row = sqlx::query(select).bind(id.to_string()).bind(&project.0).fetch_optional(&mut **tx).await?;
    let (record, instance) = read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| {
        let record = OpRecord {
            can_roll_back: can_roll_back(
                enumerator(row.try_get("operation")?)?,
                row.try_get::<Option<&str>, _>("target_pkg_id")?.is_some(),
            ),
            state: enumerator(row.try_get("state")?)?,
            steps_done: row.try_get::<i64, _>("steps_done")?.try_into()?,
            attempt: row.try_get::<i64, _>("attempt")?.try_into()?,
            cancel: row.try_get::<Option<&str>, _>("cancel_mode")?.map(enumerator).transpose()?,
            unattended: unattended(row)?,
        };
        Ok((record, row.try_get::<&str, _>("vnf_instance_id")?.parse()?))
    })?;
    Ok((transition(&record, event).map_err(|_| StoreError::Stale)?, instance))
}

/// Adds the new state to an UPDATE that sets something already.
pub(super) fn push_state(query: &mut QueryBuilder, update: &Update, now: OffsetDateTime) {
    query.push(", state = ").push_bind(update.to.as_str());
    query.push(", state_entered_time = ").push_bind(millis(now));
}

/// Adds what `update` changes, but for the state, to an UPDATE that sets something already. `error` is the new error.
///
/// A cancel request may arrive between decision and write. An operation that is postponed with one pending is due now.
pub(super) fn push_update(query: &mut QueryBuilder, update: &Update, error: Option<&Problem>) {
    if let Some(steps_done) = update.steps_done {
        query.push(", steps_done = ").push_bind(count(steps_done));
    }
    // The time that a step has to become ready does not begin again when another process continues with it.
    if update.changes_state() {
        query.push(concat!(", step_since = ", now!()));
    } else if let Some(steps_done) = update.steps_done {
        query.push(", step_since = CASE WHEN steps_done = ").push_bind(count(steps_done));
        query.push(concat!(" THEN COALESCE(step_since, ", now!(), ") ELSE ", now!(), " END"));
    }
    if let Some(attempt) = update.attempt {
        query.push(", attempt = ").push_bind(i64::from(attempt));
    }
    match update.error {
        ErrorUpdate::Keep => {}
        ErrorUpdate::Clear => {
            query.push(", error = NULL");
        }
        ErrorUpdate::Replace => {
            query.push(", error = ").push_bind(error.map(Json));
        }
    }
    match update.cancel {
        CancelUpdate::Keep => {}
        CancelUpdate::Clear => {
            query.push(", cancel_mode = NULL");
        }
        CancelUpdate::Set(mode) => {
            query.push(", cancel_mode = ").push_bind(mode.as_str());
        }
    }
    if update.releases_target_package {
        query.push(", target_pkg_id = NULL");
    }
    if let Some(remedy) = update.remedy {
        query.push(", unattended_remedy = ").push_bind(remedy.as_str());
    }
    match update.due {
        None => {}
        Some(Due::NoLaterThanNow) => {
            query.push(concat!(
                ", not_before = CASE WHEN not_before > ",
                now!(),
                " THEN ",
                now!(),
                " ELSE not_before END"
            ));
        }
        Some(Due::After(delay)) if update.cancel == CancelUpdate::Keep => {
            query.push(concat!(", not_before = ", now!(), " + CASE WHEN cancel_mode IS NULL THEN "));
            query.push_bind(length(delay)).push(" ELSE 0 END");
        }
        Some(Due::After(delay)) => {
            query.push(concat!(", not_before = ", now!(), " + ")).push_bind(length(delay));
        }
    }
}

/// What an UPDATE sets of an operation that has ended.
macro_rules! plan_cleared {
    () => {
        "plan = NULL, sealed_plan = NULL, grant_asked = NULL"
    };
}
pub(super) use plan_cleared;

/// Clears the plan of an operation that ends: nobody needs it any more. Adds to an UPDATE that sets something already.
pub(super) fn push_end(query: &mut QueryBuilder, update: &Update) {
    if update.to.is_final() {
        query.push(concat!(", ", plan_cleared!()));
    }
}

/// What the column `plan` has of a plan that is sealed: the numbers of steps, for `gybe debug`, which has no key. The release
/// before cannot read it as a plan.
#[derive(Deserialize, Serialize)]
pub(super) struct SealedPlan {
    /// The steps.
    pub sealed: StepCounts,
}

/// The numbers of steps of a plan.
#[derive(Deserialize, Serialize)]
pub(super) struct StepCounts {
    pub forward: usize,
    pub backward: usize,
}

/// Adds the plan to an UPDATE that sets something already. A plan with Secrets is sealed.
pub(super) fn push_plan(
    db: &Database,
    query: &mut QueryBuilder,
    id: VnfLcmOpOccId,
    plan: &Plan,
) -> Result<(), StoreError> {
    query.push(", plan_format = ").push_bind(i64::from(PLAN_FORMAT));
    if !plan.rows().any(is_secret) {
        query.push(", plan = ").push_bind(Json(plan)).push(", sealed_plan = NULL");
        return Ok(());
    }
    let counts = StepCounts { forward: plan.forward.len(), backward: plan.backward.as_ref().map_or(0, Vec::len) };
    let sealed = db.keys.seal(&sealed_at(&id.to_string()), plan).map_err(StoreError::Seal)?;
    query.push(", plan = ").push_bind(Json(SealedPlan { sealed: counts }));
    query.push(", sealed_plan = ").push_bind(sealed);
    Ok(())
}

pub(super) fn stored_plan(db: &Database, row: &Row) -> Result<Option<Plan>, Unreadable> {
    match row.try_get::<Option<Vec<u8>>, _>("sealed_plan")? {
        Some(sealed) => Ok(Some(db.keys.open(&sealed_at(row.try_get("id")?), &sealed)?)),
        None => Ok(optional_json(row, "plan")?),
    }
}

const fn sealed_at(id: &str) -> SealContext<'_> {
    SealContext { table: TABLE, column: "sealed_plan", row: id }
}

/// Seals plans with Secrets that the release before wrote, at most `limit`. Returns how many.
pub(super) async fn seal_clear(db: &Database, limit: usize) -> Result<usize, StoreError> {
    let select = concat!(
        "SELECT id, plan FROM vnf_lcm_op_occs WHERE state IN ",
        live_operation::live_states!(),
        " AND plan IS NOT NULL AND sealed_plan IS NULL AND CAST(plan AS text) LIKE '%\"Secret\"%'"
    );
    let mut sealed = 0;
    for row in sqlx::query(select).fetch_all(&db.reader()).await? {
        let (id, plan) = read(TABLE, &row, |row| Ok((id(row)?, optional_json::<Plan>(row, "plan")?)))?;
        let Some(plan) = plan.filter(|plan| sealed < limit && plan.rows().any(is_secret)) else { continue };
        let mut update = QueryBuilder::new("UPDATE vnf_lcm_op_occs SET lease_epoch = lease_epoch");
        push_plan(db, &mut update, id, &plan)?;
        // The operation may end meanwhile.
        update.push(" WHERE plan IS NOT NULL AND sealed_plan IS NULL AND id = ").push_bind(id.to_string());
        db.writer.execute(update.build()).await?;
        sealed += 1;
    }
    Ok(sealed)
}

fn id(row: &Row) -> Result<VnfLcmOpOccId, Unreadable> {
    Ok(row.try_get::<&str, _>("id")?.parse()?)
}

/// The grant that was received: only then it has an identifier.
fn grant(row: &Row) -> Result<Option<GrantReference>, Unreadable> {
    let Some(id) = row.try_get("grant_id")? else { return Ok(None) };
    Ok(Some(GrantReference { id, uri: row.try_get("grant_uri")? }))
}

pub(super) fn op_occ(row: &Row) -> Result<VnfLcmOpOcc, Unreadable> {
    Ok(VnfLcmOpOcc {
        id: id(row)?,
        project_id: project(row)?,
        vnf_instance_id: row.try_get::<&str, _>("vnf_instance_id")?.parse()?,
        operation: enumerator(row.try_get("operation")?)?,
        state: enumerator(row.try_get("state")?)?,
        state_entered_time: point_in_time(row, "state_entered_time")?,
        start_time: point_in_time(row, "start_time")?,
        is_automatic_invocation: row.try_get("is_automatic_invocation")?,
        params: json(row, "params")?,
        cancel: row.try_get::<Option<&str>, _>("cancel_mode")?.map(enumerator).transpose()?,
        error: optional_json(row, "error")?,
        resource_changes: optional_json(row, "resource_changes")?,
        changed_info: optional_json(row, "changed_info")?,
        target_package: row.try_get::<Option<&str>, _>("target_pkg_id")?.map(str::parse).transpose()?,
        traceparent: row.try_get("traceparent")?,
        grant: grant(row)?,
        unattended: unattended(row)?,
        warnings: json(row, "warnings")?,
    })
}

fn unattended(row: &Row) -> Result<Option<Unattended>, Unreadable> {
    let after = row.try_get::<Option<i64>, _>("unattended_after")?;
    let remedy = row.try_get::<Option<&str>, _>("unattended_remedy")?;
    let (Some(after), Some(remedy)) = (after, remedy) else { return Ok(None) };
    Ok(Some(Unattended { after: Duration::from_millis(after.try_into()?), remedy: enumerator(remedy)? }))
}
