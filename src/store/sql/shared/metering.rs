//! `metering_records`. [`measure`] is part of the transaction that ends an operation.

use async_trait::async_trait;
use sqlx::Row as _;
use time::OffsetDateTime;

use super::{Database, QueryBuilder, Row, Tx, point_in_time, project, read};
use crate::domain::ids::{ProjectId, VnfInstanceId};
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
    let select = "SELECT resource, quantity FROM metering_records WHERE vnf_instance_id = $1 AND ended_at IS NULL";
    let open = sqlx::query_as::<_, (String, i64)>(select).bind(&id).fetch_all(&mut **tx).await?;
    let had = |resource: MeteredResource| open.iter().find(|(name, _)| name == resource.as_str()).map(|(_, had)| *had);
    let has = quantities.0.map(|quantity| i64::try_from(quantity).unwrap_or(i64::MAX));
    let (mut ended, mut begun) = (Vec::new(), Vec::new());
    for (resource, quantity) in MeteredResource::ALL.into_iter().zip(has) {
        if had(resource).unwrap_or(0) != quantity {
            ended.extend(had(resource).map(|_| resource));
            begun.extend((quantity > 0).then_some((resource, quantity)));
        }
    }
    if !ended.is_empty() {
        end(tx, &id, &ended, now).await?;
    }
    if !begun.is_empty() {
        begin(tx, instance, &begun, now).await?;
    }
    Ok(())
}

/// Ends the records of an instance that is deleted: a process of an earlier release, which knows no records, may have terminated it.
pub(super) async fn close(tx: &mut Tx, instance: VnfInstanceId) -> Result<(), StoreError> {
    let update = concat!(
        "UPDATE metering_records SET ended_at = CASE WHEN started_at > ",
        now!(),
        " THEN started_at ELSE ",
        now!(),
        " END WHERE vnf_instance_id = $1 AND ended_at IS NULL"
    );
    sqlx::query(update).bind(instance.to_string()).execute(&mut **tx).await?;
    Ok(())
}

async fn end(tx: &mut Tx, instance: &str, ended: &[MeteredResource], now: OffsetDateTime) -> Result<(), StoreError> {
    // The clock of another process may have been ahead.
    let mut update = QueryBuilder::new("UPDATE metering_records SET ended_at = CASE WHEN started_at > ");
    update.push_bind(millis(now)).push(" THEN started_at ELSE ").push_bind(millis(now));
    update.push(" END WHERE ended_at IS NULL AND vnf_instance_id = ").push_bind(instance).push(" AND resource IN (");
    let mut list = update.separated(", ");
    ended.iter().for_each(|resource| _ = list.push_bind(resource.as_str()));
    update.push(")");
    update.build().execute(&mut **tx).await?;
    Ok(())
}

async fn begin(
    tx: &mut Tx,
    instance: &VnfInstance,
    begun: &[(MeteredResource, i64)],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let id = instance.id.to_string();
    let mut insert = QueryBuilder::new(concat!(
        "INSERT INTO metering_records (id, project_id, vim, namespace, vnf_instance_id, resource, quantity, started_at) \
         SELECT ",
        random_uuid!(),
        ", COALESCE((SELECT project_id FROM tenant_instances WHERE vnf_instance_id = "
    ));
    insert.push_bind(&id).push("), ").push_bind(&instance.project_id.0).push("), ");
    insert.push_bind(instance.vim().unwrap_or_default()).push(", ");
    insert.push_bind(instance.metadata.namespace.as_ref().map_or("", |namespace| namespace.as_str())).push(", ");
    insert.push_bind(&id).push(", begun.column1, begun.column2, ").push_bind(millis(now)).push(" FROM (");
    insert.push_values(begun, |mut row, (resource, quantity)| {
        row.push_bind(resource.as_str()).push_bind(*quantity);
    });
    insert.push(") AS begun");
    insert.build().execute(&mut **tx).await?;
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
