//! `metering_records`. [`measure`] is part of the transaction that ends an operation.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;

use super::{Database, QueryBuilder, Row, Tx, point_in_time, project, read};
use crate::domain::ids::ProjectId;
use crate::domain::instance::VnfInstance;
use crate::domain::metering::{MeteredResource, MeteringRecord, Quantities, TimeRange};
use crate::store::sql::convert::{Unreadable, count, millis, time};
use crate::store::{MeteringStore, PageCursor, StoreError};

const TABLE: &str = "metering_records";

#[async_trait]
impl MeteringStore for Database {
    async fn metering_records(
        &self,
        project: &ProjectId,
        range: TimeRange,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Vec<MeteringRecord>, StoreError> {
        self.traced("metering::list", async {
            let mut select = QueryBuilder::new(
                "SELECT id, project_id, vim, namespace, vnf_instance_id, resource, quantity, started_at, ended_at \
                 FROM metering_records WHERE project_id = ",
            );
            select.push_bind(&project.0).push(" AND started_at < ").push_bind(millis(range.to));
            select.push(" AND (ended_at IS NULL OR ended_at > ").push_bind(millis(range.from)).push(")");
            if let Some(after) = after {
                select.push(" AND (started_at, id) > (").push_bind(after.at).push(", ");
                select.push_bind(after.id.to_string()).push(")");
            }
            select.push(" ORDER BY started_at, id LIMIT ").push_bind(count(limit));
            let rows = select.build().fetch_all(&self.reader()).await?;
            rows.iter().map(|row| read(TABLE, row, record)).collect()
        })
        .await
    }

    async fn delete_metering_records(&self, before: OffsetDateTime, limit: usize) -> Result<usize, StoreError> {
        self.traced("metering::delete", async {
            let delete = sqlx::query(
                "DELETE FROM metering_records WHERE id IN \
                 (SELECT id FROM metering_records WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
            );
            let done = self.writer.execute(delete.bind(millis(before)).bind(count(limit))).await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }
}

/// Records that the instance has these quantities from now on: ends the records of what it had, and begins new ones. What has not changed
/// goes on. The records are of the project that the namespace had when the VNF came there, else of the instance's.
pub(super) async fn measure(
    tx: &mut Tx,
    instance: &VnfInstance,
    quantities: &Quantities,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let id = instance.id.to_string();
    let select = sqlx::query(
        "SELECT id, resource, quantity FROM metering_records WHERE vnf_instance_id = $1 AND ended_at IS NULL",
    );
    let open = select.bind(&id).fetch_all(&mut **tx).await?;
    for (resource, quantity) in MeteredResource::ALL.into_iter().zip(quantities.0) {
        let row = open.iter().find(|row| row.try_get::<&str, _>("resource").is_ok_and(|it| it == resource.as_str()));
        let quantity = i64::try_from(quantity).unwrap_or(i64::MAX);
        if let Some(row) = row {
            if row.try_get::<i64, _>("quantity")? == quantity {
                continue;
            }
            // The clock of another process may have been ahead.
            let end = sqlx::query(
                "UPDATE metering_records SET ended_at = CASE WHEN started_at > $2 THEN started_at ELSE $2 END WHERE id = $1",
            );
            end.bind(row.try_get::<String, _>("id")?).bind(millis(now)).execute(&mut **tx).await?;
        }
        if quantity > 0 {
            begin(tx, instance, resource, quantity, now).await?;
        }
    }
    Ok(())
}

async fn begin(
    tx: &mut Tx,
    instance: &VnfInstance,
    resource: MeteredResource,
    quantity: i64,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let insert = concat!(
        "INSERT INTO metering_records (id, project_id, vim, namespace, vnf_instance_id, resource, quantity, started_at) \
         SELECT ",
        random_uuid!(),
        ", COALESCE((SELECT project_id FROM tenant_instances WHERE vnf_instance_id = $1), $2), $3, $4, $1, $5, $6, $7"
    );
    let namespace = instance.metadata.namespace.as_ref().map_or("", |namespace| namespace.as_str());
    sqlx::query(insert)
        .bind(instance.id.to_string())
        .bind(&instance.project_id.0)
        .bind(instance.vim().unwrap_or_default())
        .bind(namespace)
        .bind(resource.as_str())
        .bind(quantity)
        .bind(millis(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn record(row: &Row) -> Result<MeteringRecord, Unreadable> {
    let resource: &str = row.try_get("resource")?;
    let resource = MeteredResource::ALL.into_iter().find(|one| one.as_str() == resource);
    Ok(MeteringRecord {
        id: row.try_get::<&str, _>("id")?.parse()?,
        project: project(row)?,
        vim: row.try_get("vim")?,
        namespace: row.try_get("namespace")?,
        instance: row.try_get::<&str, _>("vnf_instance_id")?.parse()?,
        resource: resource.ok_or("an unknown resource")?,
        quantity: row.try_get::<i64, _>("quantity")?.try_into()?,
        from: point_in_time(row, "started_at")?,
        to: row.try_get::<Option<i64>, _>("ended_at")?.map(time).transpose()?,
    })
}
