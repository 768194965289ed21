//! The history of operations, `vnf_lcm_op_occ_steps`: a row for each attempt of a step. Conductors write rows in their own
//! transactions (`leases.rs`); the rows go with their op occurrence.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::types::Json;

use super::super::NESTS_CHANGES;
use super::{Database, QueryBuilder, Tx, json, read};
use crate::domain::ids::VnfLcmOpOccId;
use crate::domain::progress::{StepAttempt, StepWrites};
use crate::store::StoreError;

const TABLE: &str = "vnf_lcm_op_occ_steps";
/// The end of an INSERT of attempts.
const UPSERT: &str = "ON CONFLICT (op_occ_id, position) DO UPDATE SET record = excluded.record";

/// Begins an UPDATE of an op occurrence that [`push_writes`] ends. On PostgreSQL the history is written by the same statement: a
/// conductor there spends most of its time on round trips.
pub(super) fn update(update: &str) -> QueryBuilder {
    let mut query = QueryBuilder::new(if NESTS_CHANGES { "WITH op AS (" } else { "" });
    query.push(update);
    query
}

/// Ends the UPDATE, which returns `id`. It writes the attempts if it changes the row, or leaves that to [`finish`].
pub(super) fn push_writes(query: &mut QueryBuilder, writes: &StepWrites) {
    if !NESTS_CHANGES {
        return;
    }
    query.push(")");
    if !writes.written.is_empty() {
        query.push(
            ", written AS (INSERT INTO vnf_lcm_op_occ_steps (op_occ_id, position, record) \
             SELECT op.id, step.position, step.record FROM op CROSS JOIN (",
        );
        query.push_values(&writes.written, |mut row, attempt| {
            row.push_bind(i64::from(attempt.position)).push_bind(Json(attempt));
        });
        query.push(") AS step (position, record) ").push(UPSERT).push(")");
    }
    query.push(" SELECT * FROM op");
}

/// Whether [`finish`] has nothing to do after the UPDATE.
pub(super) fn is_finished(writes: &StepWrites) -> bool {
    writes.removed.is_empty() && (NESTS_CHANGES || writes.written.is_empty())
}

/// Writes what [`push_writes`] has left. The UPDATE has checked the fence in the same transaction.
pub(super) async fn finish(tx: &mut Tx, op: VnfLcmOpOccId, writes: &StepWrites) -> Result<(), StoreError> {
    if !NESTS_CHANGES && !writes.written.is_empty() {
        let mut insert = QueryBuilder::new("INSERT INTO vnf_lcm_op_occ_steps (op_occ_id, position, record) ");
        insert.push_values(&writes.written, |mut row, attempt| {
            row.push_bind(op.to_string()).push_bind(i64::from(attempt.position)).push_bind(Json(attempt));
        });
        insert.push(" ").push(UPSERT).build().execute(&mut **tx).await?;
    }
    if !writes.removed.is_empty() {
        let mut delete = QueryBuilder::new("DELETE FROM vnf_lcm_op_occ_steps WHERE op_occ_id = ");
        delete.push_bind(op.to_string()).push(" AND position IN (");
        let mut positions = delete.separated(", ");
        for position in &writes.removed {
            positions.push_bind(i64::from(*position));
        }
        delete.push(")").build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Writes an attempt, unless the table has it already.
pub(super) async fn announce(tx: &mut Tx, op: VnfLcmOpOccId, attempt: &StepAttempt) -> Result<(), StoreError> {
    let insert = "INSERT INTO vnf_lcm_op_occ_steps (op_occ_id, position, record) VALUES ($1, $2, $3) \
                  ON CONFLICT (op_occ_id, position) DO NOTHING";
    let insert = sqlx::query(insert).bind(op.to_string()).bind(i64::from(attempt.position)).bind(Json(attempt));
    insert.execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn of(db: &Database, op: VnfLcmOpOccId) -> Result<Vec<StepAttempt>, StoreError> {
    let select = "SELECT op_occ_id AS id, record FROM vnf_lcm_op_occ_steps WHERE op_occ_id = $1 ORDER BY position";
    let rows = sqlx::query(select).bind(op.to_string()).fetch_all(&db.reader()).await?;
    rows.iter().map(|row| read(TABLE, row, |row| Ok(json(row, "record")?))).collect()
}

/// The latest attempt of each operation, in one statement.
pub(super) async fn latest(
    db: &Database,
    ops: &[VnfLcmOpOccId],
) -> Result<HashMap<VnfLcmOpOccId, StepAttempt>, StoreError> {
    if ops.is_empty() {
        return Ok(HashMap::new());
    }
    let mut select = QueryBuilder::new(
        "SELECT op_occ_id AS id, record FROM vnf_lcm_op_occ_steps WHERE (op_occ_id, position) IN \
         (SELECT op_occ_id, MAX(position) FROM vnf_lcm_op_occ_steps WHERE op_occ_id IN (",
    );
    let mut ids = select.separated(", ");
    for op in ops {
        ids.push_bind(op.to_string());
    }
    select.push(") GROUP BY op_occ_id)");
    let rows = select.build().persistent(false).fetch_all(&db.reader()).await?;
    let attempt = |row| read(TABLE, row, |row| Ok((row.try_get::<&str, _>("id")?.parse()?, json(row, "record")?)));
    rows.iter().map(attempt).collect()
}
