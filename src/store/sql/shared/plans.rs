//! Plans that previews keep, `kept_plans`. They are sealed: a plan may have manifests of Secrets, and a request has parameters.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;

use super::{Database, Row, Tx, point_in_time, project, read};
use crate::domain::ids::{PlanId, ProjectId, VnfInstanceId, VnfLcmOpOccId};
use crate::domain::kept_plan::{FrozenPlan, KeptPlan};
use crate::domain::op_occ::VnfLcmOpOcc;
use crate::store::seal::SealContext;
use crate::store::sql::convert::{Unreadable, count, millis};
use crate::store::{PlanStore, StoreError};

const TABLE: &str = "kept_plans";

/// The most plans that a new one displaces: more are only there if the bound became smaller.
const DISPLACED: usize = 100;

#[async_trait]
impl PlanStore for Database {
    async fn keep_plan(&self, plan: &KeptPlan, most: usize) -> Result<(), StoreError> {
        self.traced("plans::keep", async {
            let id = plan.id.to_string();
            let sealed = self.keys.seal(&sealed_at(&id), &plan.frozen).map_err(StoreError::Seal)?;
            let mut tx = self.writer.begin().await?;
            let displace = sqlx::query(
                "DELETE FROM kept_plans WHERE id IN (SELECT id FROM kept_plans \
                 WHERE project_id = $1 AND op_id IS NULL ORDER BY expires_at DESC, id LIMIT $2 OFFSET $3)",
            );
            let displace = displace.bind(&plan.project_id.0).bind(count(DISPLACED)).bind(count(most.saturating_sub(1)));
            displace.execute(&mut *tx).await?;
            let insert = sqlx::query(
                "INSERT INTO kept_plans (id, project_id, vnf_instance_id, expires_at, sealed_plan) \
                 VALUES ($1, $2, $3, $4, $5)",
            );
            let insert = insert.bind(&id).bind(&plan.project_id.0).bind(plan.vnf_instance_id.to_string());
            insert.bind(millis(plan.expires_at)).bind(sealed).execute(&mut *tx).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    async fn kept_plan(
        &self,
        project: &ProjectId,
        instance: VnfInstanceId,
        id: PlanId,
    ) -> Result<KeptPlan, StoreError> {
        self.traced("plans::one", async {
            let select = sqlx::query(
                "SELECT id, project_id, vnf_instance_id, expires_at, sealed_plan FROM kept_plans \
                 WHERE id = $1 AND project_id = $2 AND vnf_instance_id = $3 AND op_id IS NULL",
            );
            let select = select.bind(id.to_string()).bind(&project.0).bind(instance.to_string());
            let row = select.fetch_optional(&self.reader()).await?.ok_or(StoreError::NotFound)?;
            read(TABLE, &row, |row| kept(self, row))
        })
        .await
    }

    async fn taken_plan(&self, op: VnfLcmOpOccId) -> Result<FrozenPlan, StoreError> {
        self.traced("plans::taken", async {
            let select = sqlx::query("SELECT id, sealed_plan FROM kept_plans WHERE op_id = $1");
            let row = select.bind(op.to_string()).fetch_optional(&self.reader()).await?;
            read(TABLE, &row.ok_or(StoreError::NotFound)?, |row| frozen(self, row))
        })
        .await
    }

    async fn delete_plans(&self, now: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("plans::delete", async {
            let delete = sqlx::query(
                "DELETE FROM kept_plans WHERE id IN (SELECT id FROM kept_plans AS kept \
                 WHERE kept.op_id IS NULL AND kept.expires_at < $1 \
                 OR kept.op_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM vnf_lcm_op_occs AS op \
                 WHERE op.id = kept.op_id AND op.state = 'STARTING') LIMIT $2)",
            );
            let done = self.writer.execute(delete.bind(millis(now)).bind(count(limit))).await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }
}

/// The operation takes its plan. `Stale` if the plan is gone or taken.
pub(super) async fn take(tx: &mut Tx, op: &VnfLcmOpOcc, plan: PlanId) -> Result<(), StoreError> {
    let take = sqlx::query(
        "UPDATE kept_plans SET op_id = $1 WHERE id = $2 AND project_id = $3 AND vnf_instance_id = $4 AND op_id IS NULL",
    );
    let take = take.bind(op.id.to_string()).bind(plan.to_string()).bind(&op.project_id.0);
    let done = take.bind(op.vnf_instance_id.to_string()).execute(&mut **tx).await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale) }
}

fn kept(db: &Database, row: &Row) -> Result<KeptPlan, Unreadable> {
    Ok(KeptPlan {
        id: row.try_get::<&str, _>("id")?.parse()?,
        project_id: project(row)?,
        vnf_instance_id: row.try_get::<&str, _>("vnf_instance_id")?.parse()?,
        expires_at: point_in_time(row, "expires_at")?,
        frozen: frozen(db, row)?,
    })
}

fn frozen(db: &Database, row: &Row) -> Result<FrozenPlan, Unreadable> {
    let sealed: Vec<u8> = row.try_get("sealed_plan")?;
    Ok(db.keys.open(&sealed_at(row.try_get("id")?), &sealed)?)
}

const fn sealed_at(id: &str) -> SealContext<'_> {
    SealContext { table: TABLE, column: "sealed_plan", row: id }
}
