//! Figures for health checks and metrics, and the operations that are not over, for `gybe debug`.
//!
//! Those of operations read the partial index `vnf_lcm_op_occs_live`: their cost grows with the live operations, not with the history.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use sqlx::Row as _;

use super::super::Db;
use super::live_operation::live_states;
use super::op_occs::{SealedPlan, StepCounts, TABLE};
use super::{Database, Row, optional_json, outbox, point_in_time, read};
use crate::domain::op_occ::OpState;
use crate::domain::plan::Plan;
use crate::metrics::StoreMetrics;
use crate::store::sql::convert::{Unreadable, enumerator};
use crate::store::{HealthStore, LiveLease, LiveOperation, OutboxStats, QueueStats, SiteStats, StoreError};

/// Since when an operation that no conductor holds has been due; NULL for all others.
macro_rules! waits_since {
    () => {
        concat!(
            "CASE WHEN state <> 'FAILED_TEMP' AND not_before <= ",
            now!(),
            " AND lease_until <= ",
            now!(),
            " THEN CASE WHEN lease_until > not_before THEN lease_until ELSE not_before END END"
        )
    };
}

#[async_trait]
impl HealthStore for Database {
    async fn queue(&self) -> Result<QueueStats, StoreError> {
        self.traced("inspect::queue", async {
            let rows = sqlx::query(concat!(
                "SELECT state AS id, COUNT(*) AS number, COUNT(",
                waits_since!(),
                ") AS waiting, ",
                now!(),
                " - MIN(",
                waits_since!(),
                ") AS oldest FROM vnf_lcm_op_occs WHERE state IN ",
                live_states!(),
                " GROUP BY state"
            ))
            .fetch_all(&self.reader())
            .await?;
            let mut queue = QueueStats::default();
            for row in &rows {
                let (state, number, waiting, oldest) = read(TABLE, row, counts)?;
                queue.states.push((state, number));
                queue.waiting += waiting;
                queue.oldest = queue.oldest.max(oldest);
            }
            Ok(queue)
        })
        .await
    }

    async fn outbox_depth(&self) -> Result<OutboxStats, StoreError> {
        self.traced("outbox::depth", outbox::depth(self)).await
    }

    async fn site(&self) -> Result<SiteStats, StoreError> {
        self.traced("inspect::site", async {
            let count = "SELECT 'instances' AS id, COUNT(*) AS number, COUNT(instantiated_vnf_info) AS instantiated FROM vnf_instances";
            let row = sqlx::query(count).fetch_one(&self.reader()).await?;
            let (all, instantiated) =
                read("vnf_instances", &row, |row| Ok((number(row, "number")?, number(row, "instantiated")?)))?;
            let count = "SELECT status AS id, COUNT(*) AS number FROM vims GROUP BY status";
            let rows = sqlx::query(count).fetch_all(&self.reader()).await?;
            let of = |row: &Row| Ok((enumerator(row.try_get("id")?)?, number(row, "number")?));
            let vims = rows.iter().map(|row| read("vims", row, of)).collect::<Result<_, _>>()?;
            Ok(SiteStats { instantiated, not_instantiated: all - instantiated, vims })
        })
        .await
    }

    fn metrics(&self) -> StoreMetrics {
        self.metrics.clone()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.reader()).await?;
        Ok(())
    }
}

fn counts(row: &Row) -> Result<(OpState, u64, u64, Option<Duration>), Unreadable> {
    let oldest = row.try_get::<Option<i64>, _>("oldest")?;
    let oldest = oldest.map(|millis| Duration::from_millis(millis.try_into().unwrap_or(0)));
    Ok((enumerator(row.try_get("id")?)?, number(row, "number")?, number(row, "waiting")?, oldest))
}

fn number(row: &Row, column: &str) -> Result<u64, Unreadable> {
    Ok(row.try_get::<i64, _>(column)?.try_into()?)
}

pub(in super::super) async fn operations(
    connection: &mut <Db as sqlx::Database>::Connection,
) -> Result<Vec<LiveOperation>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT id, vnf_instance_id, operation, state, steps_done, plan, attempt, not_before, error, lease_epoch, \
         lease_until, CASE WHEN grant_id IS NULL THEN grant_uri END AS awaited_grant, CASE WHEN lease_until > ",
        now!(),
        " THEN lease_owner END AS holder FROM vnf_lcm_op_occs WHERE state IN ",
        live_states!(),
        " ORDER BY start_time, id"
    ))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| read(TABLE, row, operation)).collect()
}

/// The column `plan`.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredPlan {
    Sealed(SealedPlan),
    Clear(Box<Plan>),
}

fn operation(row: &Row) -> Result<LiveOperation, Unreadable> {
    let state = enumerator(row.try_get("state")?)?;
    let counts = optional_json::<StoredPlan>(row, "plan")?.map(|plan| match plan {
        StoredPlan::Sealed(SealedPlan { sealed }) => sealed,
        StoredPlan::Clear(plan) => {
            StepCounts { forward: plan.forward.len(), backward: plan.backward.map_or(0, |steps| steps.len()) }
        }
    });
    let steps = counts.map(|steps| if state == OpState::RollingBack { steps.backward } else { steps.forward });
    let holder = row.try_get::<Option<String>, _>("holder")?;
    let lease = holder.map(|owner| -> Result<_, Unreadable> {
        Ok(LiveLease { owner, epoch: row.try_get("lease_epoch")?, until: point_in_time(row, "lease_until")? })
    });
    Ok(LiveOperation {
        id: row.try_get::<&str, _>("id")?.parse()?,
        vnf_instance_id: row.try_get::<&str, _>("vnf_instance_id")?.parse()?,
        operation: enumerator(row.try_get("operation")?)?,
        state,
        steps_done: row.try_get::<i64, _>("steps_done")?.try_into()?,
        steps,
        attempt: row.try_get::<i64, _>("attempt")?.try_into()?,
        not_before: point_in_time(row, "not_before")?,
        error: optional_json(row, "error")?,
        awaited_grant: row.try_get("awaited_grant")?,
        lease: lease.transpose()?,
    })
}
