//! Deletes what is kept no longer, in small batches: each call of [`RetentionStore`] is a short transaction that reads an index,
//! whatever the number of rows.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;

use super::outbox::delete_delivered;
use super::subscriptions::DELETED;
use super::{Database, QueryBuilder, op_occs, read, resources};
use crate::domain::ids::{SubscriptionId, VnfInstanceId};
use crate::store::sql::convert::{count, length, millis};
use crate::store::{PageCursor, RetentionStore, StoreError};

/// The condition of the partial indexes `vnf_lcm_op_occs_ended` and `vnf_lcm_op_occs_plans`. A query must use the same text to
/// use them.
macro_rules! ended {
    () => {
        "state IN ('COMPLETED', 'FAILED', 'ROLLED_BACK')"
    };
}

#[async_trait]
impl RetentionStore for Database {
    async fn begin_retention(&self, interval: Duration) -> Result<bool, StoreError> {
        self.traced("retention::begin", async {
            let is_due = concat!("SELECT 1 FROM background_tasks WHERE name = 'retention' AND not_before <= ", now!());
            if sqlx::query(is_due).fetch_optional(&self.reader()).await?.is_none() {
                return Ok(false);
            }
            let take = sqlx::query(concat!(
                "UPDATE background_tasks SET not_before = ",
                now!(),
                " + $1 WHERE name = 'retention' AND not_before <= ",
                now!()
            ));
            Ok(self.writer.execute(take.bind(length(interval))).await?.rows_affected() == 1)
        })
        .await
    }

    async fn seal_clear_manifests(&self, limit: usize) -> Result<usize, StoreError> {
        self.traced("retention::seal", async {
            Ok(resources::seal_clear(self, limit).await? + op_occs::seal_clear(self, limit).await?)
        })
        .await
    }

    async fn clear_ended_plans(&self, limit: usize) -> Result<usize, StoreError> {
        self.traced("retention::plans", async {
            let select = concat!(
                "SELECT id FROM vnf_lcm_op_occs WHERE plan IS NOT NULL AND ",
                ended!(),
                " ORDER BY id LIMIT $1"
            );
            let ids = sqlx::query_scalar(select).bind(count(limit)).fetch_all(&self.reader()).await?;
            change(self, concat!("UPDATE vnf_lcm_op_occs SET ", op_occs::plan_cleared!()), &ids).await
        })
        .await
    }

    async fn delete_ended_operations(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("retention::operations", async {
            let select = concat!(
                "SELECT id FROM vnf_lcm_op_occs WHERE state_entered_time < $1 AND ",
                ended!(),
                " ORDER BY state_entered_time, id LIMIT $2"
            );
            let select = sqlx::query_scalar(select).bind(millis(before)).bind(count(limit));
            let ids = select.fetch_all(&self.reader()).await?;
            change(self, "DELETE FROM vnf_lcm_op_occs", &ids).await
        })
        .await
    }

    async fn instances_after(
        &self,
        after: Option<VnfInstanceId>,
        limit: usize,
    ) -> Result<Vec<VnfInstanceId>, StoreError> {
        self.traced("retention::instances", async {
            let select = sqlx::query("SELECT id FROM vnf_instances WHERE id > $1 ORDER BY id LIMIT $2");
            let select = select.bind(after.map(|id| id.to_string()).unwrap_or_default()).bind(count(limit));
            let rows = select.fetch_all(&self.reader()).await?;
            rows.iter()
                .map(|row| read("vnf_instances", row, |row| Ok(row.try_get::<&str, _>("id")?.parse()?)))
                .collect()
        })
        .await
    }

    async fn ended_after(
        &self,
        after: PageCursor,
        limit: usize,
    ) -> Result<Vec<(VnfInstanceId, PageCursor)>, StoreError> {
        self.traced("retention::ended", async {
            let select = concat!(
                "SELECT id, vnf_instance_id, state_entered_time FROM vnf_lcm_op_occs \
                 WHERE (state_entered_time, id) > ($1, $2) AND ",
                ended!(),
                " ORDER BY state_entered_time, id LIMIT $3"
            );
            let select = sqlx::query(select).bind(after.at).bind(after.id.to_string()).bind(count(limit));
            let rows = select.fetch_all(&self.reader()).await?;
            let ended = |row| {
                read(op_occs::TABLE, row, |row| {
                    let position = PageCursor {
                        at: row.try_get("state_entered_time")?,
                        id: row.try_get::<&str, _>("id")?.parse()?,
                    };
                    Ok((row.try_get::<&str, _>("vnf_instance_id")?.parse()?, position))
                })
            };
            rows.iter().map(ended).collect()
        })
        .await
    }

    async fn trim_operations(&self, id: VnfInstanceId, keep: usize, limit: usize) -> Result<usize, StoreError> {
        self.traced("retention::trim", async {
            // All are read from the index `vnf_lcm_op_occs_instance`, whose first column is the project.
            let select = "SELECT o.id FROM vnf_instances AS i JOIN vnf_lcm_op_occs AS o \
                          ON o.project_id = i.project_id AND o.vnf_instance_id = i.id \
                          WHERE i.id = $1 ORDER BY o.start_time DESC, o.id DESC LIMIT $2 OFFSET $3";
            let select = sqlx::query_scalar(select).bind(id.to_string()).bind(count(limit)).bind(count(keep));
            let ids = select.fetch_all(&self.reader()).await?;
            change(self, "DELETE FROM vnf_lcm_op_occs", &ids).await
        })
        .await
    }

    async fn delete_parked_notifications(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("retention::notifications", async {
            let rows = sqlx::query(
                "SELECT subscription_id AS id, position FROM outbox_deliveries \
                 WHERE parked IS NOT NULL AND not_before < $1 ORDER BY not_before LIMIT $2",
            );
            let rows = rows.bind(millis(before)).bind(count(limit)).fetch_all(&self.reader()).await?;
            let mut deliveries: Vec<(SubscriptionId, i64)> = Vec::new();
            for row in &rows {
                let id = read("outbox_deliveries", row, |row| Ok(row.try_get::<&str, _>("id")?.parse()?))?;
                deliveries.push((id, row.try_get("position")?));
            }
            deliveries.sort_unstable_by_key(|(id, position)| (id.0, *position));
            for of_one in deliveries.chunk_by(|(one, _), (other, _)| one == other) {
                let positions: Vec<i64> = of_one.iter().map(|(_, position)| *position).collect();
                let mut tx = self.writer.begin().await?;
                delete_delivered(&mut tx, of_one[0].0, &positions).await?;
                tx.commit().await?;
            }
            Ok(deliveries.len())
        })
        .await
    }

    async fn delete_notifications_of_deleted_subscriptions(&self, limit: usize) -> Result<usize, StoreError> {
        self.traced("retention::subscriptions", async {
            let select = "SELECT id FROM subscriptions WHERE project_id = $1 ORDER BY id LIMIT 1";
            let Some(row) = sqlx::query(select).bind(DELETED).fetch_optional(&self.reader()).await? else {
                return Ok(0);
            };
            let id: SubscriptionId = read("subscriptions", &row, |row| Ok(row.try_get::<&str, _>("id")?.parse()?))?;
            let select = "SELECT position FROM outbox_deliveries WHERE subscription_id = $1 ORDER BY position LIMIT $2";
            let select = sqlx::query_scalar(select).bind(id.to_string()).bind(count(limit));
            let positions: Vec<i64> = select.fetch_all(&self.reader()).await?;
            let mut tx = self.writer.begin().await?;
            if positions.is_empty() {
                let delete = sqlx::query("DELETE FROM subscriptions WHERE id = $1 AND project_id = $2");
                delete.bind(id.to_string()).bind(DELETED).execute(&mut *tx).await?;
            } else {
                delete_delivered(&mut tx, id, &positions).await?;
            }
            tx.commit().await?;
            // The row of the subscription counts, so that the next call finds the next one.
            Ok(positions.len().max(1))
        })
        .await
    }
}

/// Runs the statement for the op occurrences that have ended among `ids`. Returns how many it changed.
async fn change(db: &Database, statement: &'static str, ids: &[String]) -> Result<usize, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let mut change = QueryBuilder::new(statement);
    change.push(concat!(" WHERE ", ended!(), " AND id IN ("));
    let mut list = change.separated(", ");
    for id in ids {
        list.push_bind(id);
    }
    change.push(")");
    let done = db.writer.execute(change.build().persistent(false)).await?;
    Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
}
