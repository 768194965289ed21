//! `vnf_lcm_op_occs` as the API sees it: accept, show, resume, cancel. What conductors do with the rows is in `leases.rs`.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::super::{commit_unsynced, tell_others_of_cancel, wake_others};
use super::{
    Database, QueryBuilder, Row, Tx, filters, instances, is_foreign_key_violation, json, optional_json, point_in_time,
    project, read,
};
use crate::domain::ids::{ProjectId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::instance::VnfInstance;
use crate::domain::op_occ::{CancelMode, GrantReference, OpState, Unattended, VnfLcmOpOcc};
use crate::domain::plan::Plan;
use crate::store::sql::convert::{Unreadable, cancel_mode, enumerator, length, millis};
use crate::store::{OperationEnded, OperationStore, Page, StoreError};

pub(super) const TABLE: &str = "vnf_lcm_op_occs";

/// What [`op_occ`] reads.
macro_rules! columns {
    () => {
        "id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, is_automatic_invocation, \
         params, cancel_mode, error, resource_changes, changed_info, target_pkg_id, traceparent, grant_id, grant_uri, \
         unattended_after, unattended_remedy"
    };
}
pub(super) use columns;

/// The states of the partial index `vnf_lcm_op_occs_live`, in its words: the index serves only who asks in these.
macro_rules! live_states {
    () => {
        "('STARTING', 'PROCESSING', 'FAILED_TEMP', 'ROLLING_BACK')"
    };
}

macro_rules! running_states {
    () => {
        "('STARTING', 'PROCESSING', 'ROLLING_BACK')"
    };
}

macro_rules! final_states {
    () => {
        "('COMPLETED', 'FAILED', 'ROLLED_BACK')"
    };
}

/// What conductors work on once it is due: what the partial index `vnf_lcm_op_occs_due` has, in its words, as the index serves
/// only who asks in these.
macro_rules! for_conductors {
    () => {
        "CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL \
                    ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END"
    };
}
pub(super) use final_states;
pub(super) use for_conductors;
pub(super) use live_states;

#[async_trait]
impl OperationStore for Database {
    async fn begin_operation(&self, op: &VnfLcmOpOcc, instance: &VnfInstance) -> Result<(), StoreError> {
        // There is no check before the act: of two operations of one VNF instance that begin together, the index lets one in.
        self.traced("op_occs::begin", async {
            let mut tx = self.writer.begin().await?;
            let insert = sqlx::query(concat!(
                "INSERT INTO vnf_lcm_op_occs \
                     (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
                      is_automatic_invocation, params, changed_info, cancel_mode, target_pkg_id, traceparent, \
                      unattended_after, unattended_remedy, not_before) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, ",
                now!(),
                ") ON CONFLICT (vnf_instance_id) WHERE state IN ",
                live_states!(),
                " DO NOTHING"
            ));
            let done = insert
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
                .bind(op.cancel.map(cancel_mode))
                .bind(op.target_package.map(|id| id.to_string()))
                .bind(&op.traceparent)
                .bind(op.unattended.map(|unattended| length(unattended.after)))
                .bind(op.unattended.map(|unattended| unattended.remedy.as_str()))
                .execute(&mut *tx)
                .await;
            let done = match done {
                // The package is gone meanwhile.
                Err(error) if is_foreign_key_violation(&error) => return Err(StoreError::Stale),
                done => done?,
            };
            if done.rows_affected() == 0 {
                let live = live(&mut tx, op.vnf_instance_id).await?;
                // On PostgreSQL it may have ended between the two statements.
                return Err(live.map_or(StoreError::Stale, StoreError::Busy));
            }
            instances::replace(self, &mut tx, instance).await?;
            wake_others(&mut tx).await?;
            let unsynced = commit_unsynced(tx).await?;
            // Whoever claims it has to wait for the disk himself before he makes anything.
            self.wake_ours();
            self.signals.change();
            unsynced.synced().await?;
            Ok(())
        })
        .await
    }

    async fn op_occ(&self, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError> {
        self.traced("op_occs::one", one(self, project, id)).await
    }

    async fn op_occs(&self, project: &ProjectId, page: &Page<'_>) -> Result<Vec<VnfLcmOpOcc>, StoreError> {
        // The subquery selects the rows of the page. It reads the index `vnf_lcm_op_occs_list` alone unless the filter names
        // an attribute in JSON, because the rows are large. CROSS JOIN makes SQLite read the selected rows after that.
        self.traced("op_occs::list", async {
            let mut select =
                QueryBuilder::new(concat!("SELECT ", columns!(), " FROM (SELECT id AS page_id FROM vnf_lcm_op_occs"));
            filters::push_page(&mut select, "start_time", project, page);
            select.push(") AS page CROSS JOIN vnf_lcm_op_occs WHERE id = page_id ORDER BY start_time, id");
            filters::fetch(self, &mut select, page).await?.iter().map(|row| read(TABLE, row, op_occ)).collect()
        })
        .await
    }

    async fn resume_operation(
        &self,
        project: &ProjectId,
        id: VnfLcmOpOccId,
        to: OpState,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        // Steps count per direction, so going back starts from 0. A retry goes on where it stopped; if that was on the way back,
        // [`super::leases::end_operation`] has left 0 there. A conductor may be about to do what is done where nobody decides:
        // without its lease it can't.
        self.traced("op_occs::resume", async {
            let mut tx = self.writer.begin().await?;
            let done = sqlx::query(concat!(
                "UPDATE vnf_lcm_op_occs \
                 SET state = $3, state_entered_time = $4, attempt = 0, \
                     steps_done = CASE WHEN $3 = 'ROLLING_BACK' THEN 0 ELSE steps_done END, \
                     target_pkg_id = CASE WHEN $3 = 'FAILED' THEN NULL ELSE target_pkg_id END, \
                     lease_owner = NULL, lease_until = 0, not_before = ",
                now!(),
                " WHERE id = $1 AND project_id = $2 AND state = 'FAILED_TEMP'"
            ))
            .bind(id.to_string())
            .bind(&project.0)
            .bind(to.as_str())
            .bind(millis(now))
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                drop(tx);
                one(self, project, id).await?;
                return Err(StoreError::Stale);
            }
            wake_others(&mut tx).await?;
            tx.commit().await?;
            self.wake_ours();
            self.signals.change();
            if to.is_final() {
                self.endings.send(OperationEnded::One(one(self, project, id).await?.vnf_instance_id));
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
        // One that waits for its next attempt becomes due; whoever holds one that is worked on finds the request when it renews.
        self.traced("op_occs::cancel", async {
            let mut tx = self.writer.begin().await?;
            let update = concat!(
                "UPDATE vnf_lcm_op_occs \
                 SET cancel_mode = CASE WHEN cancel_mode = 'FORCEFUL' THEN cancel_mode ELSE $3 END, \
                     not_before = CASE WHEN not_before > ",
                now!(),
                " THEN ",
                now!(),
                " ELSE not_before END \
                 WHERE id = $1 AND project_id = $2 AND state IN ",
                running_states!()
            );
            let update = sqlx::query(update).bind(id.to_string()).bind(&project.0).bind(cancel_mode(mode));
            if update.execute(&mut *tx).await?.rows_affected() == 0 {
                drop(tx);
                one(self, project, id).await?;
                return Err(StoreError::Stale);
            }
            tell_others_of_cancel(&mut tx).await?;
            tx.commit().await?;
            self.signals.cancel();
            Ok(())
        })
        .await
    }

    async fn plan(&self, id: VnfLcmOpOccId) -> Result<Option<Plan>, StoreError> {
        self.traced("op_occs::plan", async {
            let row = sqlx::query("SELECT id, plan FROM vnf_lcm_op_occs WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.reader())
                .await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| Ok(optional_json(row, "plan")?))
        })
        .await
    }
}

pub(super) async fn one(db: &Database, project: &ProjectId, id: VnfLcmOpOccId) -> Result<VnfLcmOpOcc, StoreError> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM vnf_lcm_op_occs WHERE id = $1 AND project_id = $2"))
        .bind(id.to_string())
        .bind(&project.0)
        .fetch_optional(&db.reader())
        .await?;
    read(TABLE, &row.ok_or(StoreError::NotFound)?, op_occ)
}

/// The operation of the VNF instance that is not over.
pub(super) async fn live(tx: &mut Tx, instance: VnfInstanceId) -> Result<Option<VnfLcmOpOccId>, StoreError> {
    let row =
        sqlx::query(concat!("SELECT id FROM vnf_lcm_op_occs WHERE vnf_instance_id = $1 AND state IN ", live_states!()))
            .bind(instance.to_string())
            .fetch_optional(&mut **tx)
            .await?;
    row.map(|row| read(TABLE, &row, id)).transpose()
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
    })
}

fn unattended(row: &Row) -> Result<Option<Unattended>, Unreadable> {
    let after = row.try_get::<Option<i64>, _>("unattended_after")?;
    let remedy = row.try_get::<Option<&str>, _>("unattended_remedy")?;
    let (Some(after), Some(remedy)) = (after, remedy) else { return Ok(None) };
    Ok(Some(Unattended { after: Duration::from_millis(after.try_into()?), remedy: enumerator(remedy)? }))
}
