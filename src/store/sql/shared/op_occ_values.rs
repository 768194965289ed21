//! `vnf_lcm_op_occ_values`: at which start times op occurrences that are over have which values ([`crate::store::values`] says
//! which). Written with the state that an operation ends in, or, where another release has ended it, when the database is
//! migrated; asked by the list of op occurrences.

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::super::{Db, elements};
use super::op_occs::{TABLE, final_states};
use super::{Database, QueryBuilder, Row, filters, optional_json, project, read};
use crate::domain::ids::ProjectId;
use crate::store::StoreError;
use crate::store::attributes::Filter;
use crate::store::sql::convert::count;
use crate::store::values::{Column, Listed, Sought, listed, simple};

/// Op occurrences that are listed by one transaction when they are found over: each may have half a MiB.
const BATCH: usize = 50;

type Connection = <Db as sqlx::Database>::Connection;

/// What [`list`] reads.
macro_rules! columns {
    () => {
        "id, project_id, start_time, params, error, resource_changes, changed_info"
    };
}
pub(super) use columns;

/// So many candidates are looked into rather than compared with more lists.
const FEW: usize = 1000;

/// Goes on with a table and conditions; see [`times`].
macro_rules! times {
    () => {
        concat!("SELECT ", gathered!(), "(start_time) AS times FROM (SELECT DISTINCT start_time FROM ")
    };
}

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

/// Lists all that are over and are not listed.
pub(in super::super) async fn list_missing(connection: &mut Connection) -> Result<(), StoreError> {
    let select = concat!(
        "SELECT ",
        columns!(),
        " FROM vnf_lcm_op_occs WHERE NOT listed AND (project_id, start_time, id) > ($1, $2, $3) AND state IN ",
        final_states!(),
        " ORDER BY project_id, start_time, id LIMIT $4"
    );
    let mut after = (String::new(), 0_i64, String::new());
    let mut number = 0;
    loop {
        let mut tx = connection.begin().await?;
        let select = sqlx::query(select).bind(&after.0).bind(after.1).bind(&after.2).bind(count(BATCH));
        let rows = select.fetch_all(&mut *tx).await?;
        let Some(last) = rows.last() else { break };
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
    if number > 0 {
        tracing::info!(number, "the values of operations that another release has ended are listed");
    }
    Ok(())
}

/// Adds values, or not where they are there.
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

/// Of the times from `from` on, the first `most` at which something began that may pass the filter, or less.
///
/// What is asked of simple attributes is one more list of times, from the index that has them.
pub(super) async fn window(
    db: &Database,
    project: &ProjectId,
    filter: &Filter,
    sought: &[Sought],
    from: i64,
    most: usize,
) -> Result<Window, StoreError> {
    // Before the values: what is listed in between is in both, and not in neither.
    let mut unlisted = of_project(project);
    unlisted.push(" AND NOT listed");
    let unlisted = times(db, &mut unlisted, from, most).await?;
    let mut lists = Vec::new();
    if simple(filter).next().is_some() {
        let mut select = of_project(project);
        filters::push_own(&mut select, simple(filter));
        lists.push(select);
    }
    for sought in sought {
        let mut select = QueryBuilder::new(concat!(times!(), "vnf_lcm_op_occ_values WHERE true"));
        filters::push_sought(&mut select, sought);
        lists.push(select);
    }
    let mut all: Option<Window> = None;
    for mut list in lists {
        let window = times(db, &mut list, from, most).await?;
        let (window, is_enough) = match all {
            _ if window.to.is_none() && window.times.len() <= FEW => (window, true),
            None => (window, false),
            Some(all) => {
                let both = all.intersected(&window);
                let are_few = both.times.len() <= FEW;
                (both, are_few)
            }
        };
        all = Some(window);
        if is_enough {
            break;
        }
    }
    Ok(match all {
        Some(all) => all.united(unlisted),
        None => unlisted,
    })
}

fn of_project(project: &ProjectId) -> QueryBuilder {
    let mut select = QueryBuilder::new(concat!(times!(), "vnf_lcm_op_occs WHERE project_id = "));
    select.push_bind(project.0.clone());
    select
}

/// The first `most` times from `from` on that `select` finds with these conditions. In one row: a row each would cost more than
/// finding them.
async fn times(db: &Database, select: &mut QueryBuilder, from: i64, most: usize) -> Result<Window, StoreError> {
    select.push(" AND start_time >= ").push_bind(from);
    select.push(" ORDER BY start_time LIMIT ").push_bind(count(most)).push(") AS time");
    let rows = filters::fetch(db, select).await?;
    let times = rows.first().map(|row| optional_json::<Vec<i64>>(row, "times")).transpose()?.flatten();
    let mut times = times.unwrap_or_default();
    times.sort_unstable();
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
