//! `vnf_lcm_op_occ_values`: at which start times op occurrences that are over have which values ([`crate::store::values`] says
//! which). Written with the state that an operation ends in, or, where another release has ended it, when the database is
//! migrated; asked by the list of op occurrences.

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::super::{Db, elements};
use super::op_occs::TABLE;
use super::{Database, QueryBuilder, Row, filters, optional_json, project, read};
use crate::domain::ids::ProjectId;
use crate::store::StoreError;
use crate::store::sql::convert::count;
use crate::store::values::{Column, Listed, Sought, listed};

/// Op occurrences that are listed by one transaction when they are found over.
const BATCH: usize = 500;

type Connection = <Db as sqlx::Database>::Connection;

/// What [`list`] reads.
macro_rules! columns {
    () => {
        "id, project_id, start_time, params, error, resource_changes, changed_info"
    };
}
pub(super) use columns;

/// Times at which op occurrences began that may pass a filter, in their order.
pub(super) struct Window {
    pub(super) times: Vec<i64>,
    /// They are all up to here; `None`: all.
    pub(super) to: Option<i64>,
}

/// A row of the table: when, and what.
type Entry = (i64, Listed);

/// Lists an op occurrence that is marked as listed, in the transaction that ended it.
pub(super) async fn list(connection: &mut Connection, row: &Row) -> Result<(), StoreError> {
    if let Some(values) = values(row) {
        return Ok(insert(connection, &values).await?);
    }
    let unmark = sqlx::query("UPDATE vnf_lcm_op_occs SET listed = false WHERE id = $1");
    unmark.bind(row.try_get::<&str, _>("id")?).execute(connection).await?;
    Ok(())
}

/// Lists all that are over and are not listed; gives back how many.
pub(in super::super) async fn list_missing(connection: &mut Connection) -> Result<usize, StoreError> {
    let select = concat!(
        "SELECT ",
        columns!(),
        " FROM vnf_lcm_op_occs WHERE NOT listed AND (project_id, start_time, id) > ($1, $2, $3) \
         AND state IN ('COMPLETED', 'FAILED', 'ROLLED_BACK') ORDER BY project_id, start_time, id LIMIT $4"
    );
    let mut after = (String::new(), 0_i64, String::new());
    let mut number = 0;
    loop {
        let mut tx = connection.begin().await?;
        let select = sqlx::query(select).bind(&after.0).bind(after.1).bind(&after.2).bind(count(BATCH));
        let rows = select.fetch_all(&mut *tx).await?;
        let Some(last) = rows.last() else { return Ok(number) };
        after = (last.try_get("project_id")?, last.try_get("start_time")?, last.try_get("id")?);
        let (mut ids, mut all) = (Vec::new(), Vec::new());
        for row in &rows {
            if let Some(values) = values(row) {
                ids.push(row.try_get::<String, _>("id")?);
                all.extend(values);
            }
        }
        insert(&mut tx, &all).await?;
        let mut mark = QueryBuilder::new("UPDATE vnf_lcm_op_occs SET listed = true WHERE id IN ('' ");
        for id in &ids {
            mark.push(", ").push_bind(id);
        }
        mark.push(")").build().persistent(false).execute(&mut *tx).await?;
        tx.commit().await?;
        number += ids.len();
    }
}

/// Adds those that are not there.
async fn insert(connection: &mut Connection, values: &[Entry]) -> Result<(), sqlx::Error> {
    if values.is_empty() {
        return Ok(());
    }
    let insert = format!(
        "INSERT INTO vnf_lcm_op_occ_values (path, start_time, kind, value) \
         SELECT CAST(entry.value -> 1 ->> 0 AS bigint), CAST(entry.value ->> 0 AS bigint), \
                entry.value -> 1 ->> 1, entry.value -> 1 ->> 2 \
         FROM {} AS entry WHERE true ON CONFLICT DO NOTHING",
        elements("$1")
    );
    sqlx::query(AssertSqlSafe(insert)).bind(Json(values)).execute(connection).await?;
    Ok(())
}

/// `None`: there is too much to list; or a row can't be read, which must stop neither the end of the operation nor the start of
/// the process.
fn values(row: &Row) -> Option<Vec<Entry>> {
    let read = read(TABLE, row, |row| {
        let mut columns = Vec::new();
        for column in Column::ALL {
            columns.extend(optional_json::<Value>(row, column.as_str())?.map(|value| (column, value)));
        }
        Ok((row.try_get("start_time")?, listed(&project(row)?, &columns)))
    });
    let (time, listed) = read
        .inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "values are not listed"))
        .ok()?;
    listed.map(|all| all.into_iter().map(|one| (time, one)).collect())
}

/// Of the times from `from` on, the first `most` at which something began that may have all that is sought, or less.
pub(super) async fn window(
    db: &Database,
    project: &ProjectId,
    sought: &[Sought],
    from: i64,
    most: usize,
) -> Result<Window, StoreError> {
    let mut unlisted = QueryBuilder::new("SELECT DISTINCT start_time FROM vnf_lcm_op_occs WHERE NOT listed");
    unlisted.push(" AND project_id = ").push_bind(&project.0);
    let mut window = times(db, &mut unlisted, from, most).await?;
    let mut common: Option<Window> = None;
    for sought in sought {
        let mut select = QueryBuilder::new("SELECT DISTINCT start_time FROM vnf_lcm_op_occ_values WHERE true");
        filters::push_sought(&mut select, sought);
        let having = times(db, &mut select, from, most).await?;
        let is_all = having.to.is_none();
        common = Some(match common {
            Some(common) if !is_all => common.intersected(&having),
            _ => having,
        });
        // They are few enough to be looked into.
        if is_all {
            break;
        }
    }
    if let Some(common) = common {
        window = window.united(common);
    }
    Ok(window)
}

/// The first `most` times from `from` on that `select` finds with these conditions.
async fn times(db: &Database, select: &mut QueryBuilder, from: i64, most: usize) -> Result<Window, StoreError> {
    select.push(" AND start_time >= ").push_bind(from);
    select.push(" ORDER BY start_time LIMIT ").push_bind(count(most));
    let rows = filters::fetch(db, select).await?;
    let times = rows.iter().map(|row| row.try_get("start_time")).collect::<Result<Vec<i64>, _>>()?;
    let to = if times.len() == most { times.last().copied() } else { None };
    Ok(Window { times, to })
}

impl Window {
    /// What both have, as far as both go.
    fn intersected(mut self, other: &Self) -> Self {
        self.cut(other.to);
        self.times.retain(|time| other.times.binary_search(time).is_ok());
        self
    }

    /// What either has, as far as both go.
    fn united(mut self, mut other: Self) -> Self {
        self.cut(other.to);
        other.cut(self.to);
        self.times.append(&mut other.times);
        self.times.sort_unstable();
        self.times.dedup();
        self
    }

    fn cut(&mut self, to: Option<i64>) {
        self.to = match (self.to, to) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let Some(to) = self.to {
            self.times.retain(|time| *time <= to);
        }
    }
}
