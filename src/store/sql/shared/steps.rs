//! The history of operations, `vnf_lcm_op_occ_steps`: a row for each attempt of a step. Conductors write rows in their own
//! transactions (`leases.rs`); the rows go with their op occurrence.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::types::Json;

use super::super::NESTS_CHANGES;
use super::events::NewEvent;
use super::{Database, QueryBuilder, Row, Tx, events, json, read};
use crate::domain::event::{EventChange, EventKind};
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

/// What the UPDATE returns, at least.
macro_rules! returned {
    () => {
        concat!("id, project_id, vnf_instance_id, ", super::events::watched!(), " AS is_watched")
    };
}
pub(super) use returned;

/// Ends the UPDATE, which returns [`returned!`]. It writes the attempts if it changes the row, or leaves that to [`finish`].
pub(super) fn push_writes(query: &mut QueryBuilder, writes: &StepWrites) {
    if !NESTS_CHANGES {
        return;
    }
    query.push(")");
    if !writes.written.is_empty() {
        query.push(", step (position, record) AS (");
        query.push_values(&writes.written, |mut row, attempt| {
            row.push_bind(i64::from(attempt.position)).push_bind(Json(attempt));
        });
        query.push("), written AS (INSERT INTO vnf_lcm_op_occ_steps (op_occ_id, position, record) ");
        query.push("SELECT op.id, step.position, step.record FROM op CROSS JOIN step ").push(UPSERT);
        query.push(concat!(
            "), journaled AS (INSERT INTO events \
                 (at, project_id, kind, resource_id, vnf_instance_id, change, state, detail) SELECT ",
            now!(),
            ", op.project_id, 'step', op.id, op.vnf_instance_id, 'updated', step.record ->> 'state', step.record \
             FROM op CROSS JOIN step WHERE op.is_watched ORDER BY step.position)"
        ));
    }
    query.push(" SELECT * FROM op");
}

/// Whether [`finish`] has nothing to do after the UPDATE.
pub(super) fn is_finished(writes: &StepWrites) -> bool {
    writes.removed.is_empty() && (NESTS_CHANGES || writes.written.is_empty())
}

/// Whether the writes have become events in the journal. `row` is that of the UPDATE.
pub(super) fn has_events(row: &Row, writes: &StepWrites) -> Result<bool, sqlx::Error> {
    Ok(!writes.written.is_empty() && row.try_get("is_watched")?)
}

/// Writes what [`push_writes`] has left. The UPDATE has checked the fence in the same transaction, and returned `row`. Returns whether
/// the writes have become events in the journal.
pub(super) async fn finish(tx: &mut Tx, row: &Row, writes: &StepWrites) -> Result<bool, StoreError> {
    let op: &str = row.try_get("id")?;
    let has_events = has_events(row, writes)?;
    if !NESTS_CHANGES && !writes.written.is_empty() {
        let mut insert = QueryBuilder::new("INSERT INTO vnf_lcm_op_occ_steps (op_occ_id, position, record) ");
        insert.push_values(&writes.written, |mut row, attempt| {
            row.push_bind(op.to_owned()).push_bind(i64::from(attempt.position)).push_bind(Json(attempt));
        });
        insert.push(" ").push(UPSERT).build().execute(&mut **tx).await?;
        if has_events {
            journal(tx, row, &writes.written).await?;
        }
    }
    if !writes.removed.is_empty() {
        let mut delete = QueryBuilder::new("DELETE FROM vnf_lcm_op_occ_steps WHERE op_occ_id = ");
        delete.push_bind(op.to_owned()).push(" AND position IN (");
        let mut positions = delete.separated(", ");
        for position in &writes.removed {
            positions.push_bind(i64::from(*position));
        }
        delete.push(")").build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(has_events)
}

/// Writes an attempt, unless the table has it already. Otherwise as [`finish`].
pub(super) async fn announce(tx: &mut Tx, row: &Row, attempt: &StepAttempt) -> Result<bool, StoreError> {
    let insert = "INSERT INTO vnf_lcm_op_occ_steps (op_occ_id, position, record) VALUES ($1, $2, $3) \
                  ON CONFLICT (op_occ_id, position) DO NOTHING";
    let op: &str = row.try_get("id")?;
    let insert = sqlx::query(insert).bind(op).bind(i64::from(attempt.position)).bind(Json(attempt));
    let is_new = insert.execute(&mut **tx).await?.rows_affected() > 0;
    if is_new && row.try_get("is_watched")? { journal(tx, row, std::slice::from_ref(attempt)).await } else { Ok(false) }
}

async fn journal(tx: &mut Tx, row: &Row, attempts: &[StepAttempt]) -> Result<bool, StoreError> {
    let (op, instance): (&str, &str) = (row.try_get("id")?, row.try_get("vnf_instance_id")?);
    let events = attempts.iter().map(|attempt| NewEvent {
        vnf_instance: Some(instance),
        state: Some(attempt.state.as_str()),
        step: Some(attempt),
        ..NewEvent::of(EventKind::Step, op, EventChange::Updated)
    });
    let events: Vec<NewEvent<'_>> = events.collect();
    events::write(tx, row.try_get("project_id")?, &events).await
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
