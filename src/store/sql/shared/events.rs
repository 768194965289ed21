//! The journal of changes, `events` and `event_journal`. Functions of other files write to it in the transaction of a change, if the
//! statement that made the change returned that the journal is [`watched!`].
//!
//! Concurrent transactions of PostgreSQL commit in another order than they wrote. So a row has no number when it is written. [`number`]
//! numbers committed rows, one transaction at a time: a reader that has seen a number has seen all before it
//! (docs/adr/0043-one-stream-of-events.md).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::types::Json;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::super::{begun_transaction, older_transactions_ended};
use super::{Database, QueryBuilder, Row, Tx, optional_json, point_in_time, project, read};
use crate::domain::event::{Event, EventChange, EventKind};
use crate::domain::progress::StepAttempt;
use crate::store::sql::convert::{Unreadable, count, length, millis};
use crate::store::{EventStore, JournalBounds, StoreError};

const TABLE: &str = "events";
/// The most rows that one transaction numbers.
const NUMBERED_AT_ONCE: i64 = 2000;

/// Whether changes are to be written to the journal: a condition, and a column of a RETURNING.
macro_rules! watched {
    () => {
        concat!("EXISTS (SELECT 1 FROM event_journal WHERE wanted_until > ", now!(), ")")
    };
}
pub(super) use watched;

/// A change to write to the journal.
pub(super) struct NewEvent<'a> {
    pub kind: EventKind,
    pub resource: &'a str,
    pub vnf_instance: Option<&'a str>,
    pub change: EventChange,
    pub state: Option<&'a str>,
    pub step: Option<&'a StepAttempt>,
}

impl<'a> NewEvent<'a> {
    /// A change without further attributes.
    pub const fn of(kind: EventKind, resource: &'a str, change: EventChange) -> Self {
        Self { kind, resource, vnf_instance: None, change, state: None, step: None }
    }
}

/// Writes changes of a project's resources, in their order, if the journal is watched. Returns whether it is.
pub(super) async fn write(tx: &mut Tx, project: &str, events: &[NewEvent<'_>]) -> Result<bool, StoreError> {
    if events.is_empty() {
        return Ok(false);
    }
    let mut insert = QueryBuilder::new(
        "INSERT INTO events (at, project_id, kind, resource_id, vnf_instance_id, change, state, detail) ",
    );
    for (index, event) in events.iter().enumerate() {
        insert.push(if index == 0 { "SELECT " } else { " UNION ALL SELECT " }).push(now!());
        insert.push(", CAST(").push_bind(project.to_owned()).push(" AS text)");
        let texts = [
            Some(event.kind.as_str()),
            Some(event.resource),
            event.vnf_instance,
            Some(event.change.as_str()),
            event.state,
        ];
        for text in texts {
            insert.push(", CAST(").push_bind(text.map(str::to_owned)).push(" AS text)");
        }
        insert.push(", ").push_bind(event.step.map(Json));
        insert.push(concat!(" WHERE ", watched!()));
    }
    Ok(insert.build().execute(&mut **tx).await?.rows_affected() > 0)
}

/// Numbers the rows without a number that are committed, at most [`NUMBERED_AT_ONCE`].
async fn number(tx: &mut Tx) -> Result<(), StoreError> {
    // With the lock, all rows that others have numbered are visible. The next statement also sees what was committed meanwhile.
    let last = concat!("SELECT last FROM event_journal WHERE id = 1", for_update!());
    let last: i64 = sqlx::query_scalar(last).fetch_one(&mut **tx).await?;
    let update = "UPDATE events SET sequence = $1 + numbered.number FROM \
                  (SELECT position, row_number() OVER (ORDER BY position) AS number FROM \
                   (SELECT position FROM events WHERE sequence IS NULL ORDER BY position LIMIT $2) AS oldest) AS numbered \
                  WHERE events.position = numbered.position";
    let done = sqlx::query(update).bind(last).bind(NUMBERED_AT_ONCE).execute(&mut **tx).await?;
    let numbered = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
    let update = "UPDATE event_journal SET last = last + $1 WHERE id = 1 AND $1 > 0";
    sqlx::query(update).bind(numbered).execute(&mut **tx).await?;
    Ok(())
}

/// As [`number`], if there is something to number.
async fn number_new(db: &Database) -> Result<(), StoreError> {
    let is_unnumbered = sqlx::query("SELECT 1 FROM events WHERE sequence IS NULL LIMIT 1");
    if is_unnumbered.fetch_optional(&db.reader()).await?.is_some() {
        let mut tx = db.writer.begin().await?;
        number(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

#[async_trait]
impl EventStore for Database {
    async fn want_events(&self, ttl: Duration) -> Result<JournalBounds, StoreError> {
        self.traced("events::want", async {
            let mut tx = self.writer.begin().await?;
            number(&mut tx).await?;
            let select = concat!("SELECT wanted_until > ", now!(), " FROM event_journal WHERE id = 1");
            let is_wanted: bool = sqlx::query_scalar(select).fetch_one(&mut *tx).await?;
            // Changes since the last event are not in the journal: it begins anew after a number that no event has.
            let begin = if is_wanted { "" } else { "first = last + 1, last = last + 1, " };
            let mut update = QueryBuilder::new("UPDATE event_journal SET ");
            update.push(begin).push("wanted_until = ").push(now!()).push(" + ").push_bind(length(ttl));
            update.push(" WHERE id = 1 RETURNING id, first, last");
            let row = update.build().fetch_one(&mut *tx).await?;
            let transaction = if is_wanted { None } else { Some(begun_transaction(&mut tx).await?) };
            tx.commit().await?;
            if let Some(transaction) = transaction {
                older_transactions_ended(&self.reader(), &transaction).await?;
            }
            read("event_journal", &row, bounds)
        })
        .await
    }

    async fn events_after(&self, sequence: i64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.traced("events::after", async {
            number_new(self).await?;
            let select = "SELECT CAST(sequence AS text) AS id, sequence, at, project_id, kind, resource_id, vnf_instance_id, change, \
                                 state, detail FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2";
            let rows = sqlx::query(select).bind(sequence).bind(count(limit)).fetch_all(&self.reader()).await?;
            rows.iter().map(|row| read(TABLE, row, event)).collect()
        })
        .await
    }

    async fn journal_bounds(&self) -> Result<JournalBounds, StoreError> {
        self.traced("events::bounds", async {
            let select = sqlx::query("SELECT id, first, last FROM event_journal WHERE id = 1");
            read("event_journal", &select.fetch_one(&self.reader()).await?, bounds)
        })
        .await
    }

    fn events_signal(&self) -> Arc<Notify> {
        self.signals.events()
    }

    async fn delete_events(&self, before: OffsetDateTime, keep: usize, limit: usize) -> Result<usize, StoreError> {
        self.traced("events::delete", async {
            number_new(self).await?;
            // Numbered rows leave from the oldest on, so the last of those that leave is the new bound.
            let select = "SELECT MAX(sequence) FROM (SELECT sequence FROM events WHERE sequence IS NOT NULL \
                          AND (at < $1 OR sequence <= (SELECT last FROM event_journal WHERE id = 1) - $2) \
                          ORDER BY sequence LIMIT $3) AS oldest";
            let select = sqlx::query_scalar(select).bind(millis(before)).bind(count(keep)).bind(count(limit));
            let Some(end) = select.fetch_one(&self.reader()).await? else { return Ok(0) };
            let end: i64 = end;
            let mut tx = self.writer.begin().await?;
            let update = "UPDATE event_journal SET first = CASE WHEN first < $1 THEN $1 ELSE first END WHERE id = 1";
            sqlx::query(update).bind(end).execute(&mut *tx).await?;
            let done = sqlx::query("DELETE FROM events WHERE sequence <= $1").bind(end).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(done.rows_affected().try_into().unwrap_or(usize::MAX))
        })
        .await
    }
}

fn bounds(row: &Row) -> Result<JournalBounds, Unreadable> {
    Ok(JournalBounds { first: row.try_get("first")?, last: row.try_get("last")? })
}

fn event(row: &Row) -> Result<Event, Unreadable> {
    let unknown = |name: &str| -> Unreadable { format!("'{name}' is unknown").into() };
    let (kind, change): (&str, &str) = (row.try_get("kind")?, row.try_get("change")?);
    Ok(Event {
        sequence: row.try_get("sequence")?,
        project: project(row)?,
        at: point_in_time(row, "at")?,
        kind: EventKind::of(kind).ok_or_else(|| unknown(kind))?,
        resource: row.try_get("resource_id")?,
        vnf_instance: row.try_get("vnf_instance_id")?,
        change: EventChange::of(change).ok_or_else(|| unknown(change))?,
        state: row.try_get("state")?,
        step: optional_json(row, "detail")?,
    })
}
