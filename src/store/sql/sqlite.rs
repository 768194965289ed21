//! SQLite: one file, one process, one writer.
//!
//! Writes use one connection ([`super::writer`]). Reads use read-only connections of their own.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use crate::domain::filter::{Operator, PathSegment};
use crate::store::attributes::is_number;
use crate::store::seal::KeyRing;
use crate::store::sql::endings::Endings;
use crate::store::sql::pool::ReplaceablePool;
use crate::store::sql::writer::{Tx, Writer};
use crate::store::sql::{FILTER_CONNECTIONS, FILTER_DEADLINE, Migrated, Signals, run_migrations};
use crate::store::{LiveOperation, Store, StoreError};

// --- used by shared/ (macros must be defined before it) --------------------------------------------------------------

type Db = sqlx::Sqlite;
/// SQLite needs no background tasks.
type BackgroundTasks = ();

/// The name in OpenTelemetry's semantic conventions.
const ENGINE: &str = "sqlite";
/// The result of [`violated`] for the unique index on the name of a VIM.
const VIM_NAME: &str = "vims.project_id, vims.name";
/// Whether a statement that changes rows may be part of another one.
const NESTS_CHANGES: bool = false;

/// The current time in milliseconds since the epoch; constant within a statement.
macro_rules! now {
    () => {
        "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
    };
}
/// No row locks are needed: there is one writer.
macro_rules! for_update {
    () => {
        ""
    };
}
macro_rules! for_share {
    () => {
        ""
    };
}
macro_rules! skip_locked {
    () => {
        ""
    };
}
/// The table function that returns the members of a JSON object as (key, value).
macro_rules! members_of {
    () => {
        "json_each"
    };
}
/// The collation that orders texts by their bytes.
macro_rules! text_order {
    () => {
        ""
    };
}
/// The function that returns the position of one text in another, counted from 1; 0 if it does not occur.
macro_rules! position {
    () => {
        "instr"
    };
}
/// The JSON type of a value that [`push_found`] returns, and the value as that type.
macro_rules! found_type {
    () => {
        "CASE found.type WHEN 'text' THEN 'string' WHEN 'integer' THEN 'number' WHEN 'real' THEN 'number' \
         WHEN 'true' THEN 'boolean' WHEN 'false' THEN 'boolean' END"
    };
}
macro_rules! found_text {
    () => {
        "found.value"
    };
}
macro_rules! found_number {
    () => {
        "found.value"
    };
}
macro_rules! found_boolean {
    () => {
        "found.type"
    };
}

/// A new random UUID as text.
macro_rules! random_uuid {
    () => {
        "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8' \
               || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
    };
}
/// The aggregate function that makes a JSON array of the values of all rows.
macro_rules! json_array {
    () => {
        "json_group_array"
    };
}
/// The function that returns the number of elements of a JSON array.
macro_rules! json_array_length {
    () => {
        "json_array_length"
    };
}
/// The function that makes a JSON object of names and values.
macro_rules! json_object {
    () => {
        "json_object"
    };
}
/// A JSON column as a value of [`json_object!`].
macro_rules! as_json {
    ($column:literal) => {
        concat!("json(", $column, ")")
    };
}
/// The elements of a JSON array of texts, as a subquery.
macro_rules! texts_of {
    ($array:literal) => {
        concat!("SELECT value FROM json_each(", $array, ")")
    };
}
macro_rules! for_no_key_update {
    () => {
        ""
    };
}
/// The statements that insert a change (`$change`, an INSERT … SELECT) and its deliveries (`$deliveries`), which reads
/// `receiver (id)`, the subscriptions in the JSON array `$ids`, and `change (position)`, which is the largest.
macro_rules! publish_statement {
    ($change:expr, $ids:literal, $deliveries:expr) => {
        concat!(
            $change,
            "; WITH receiver AS (SELECT id FROM subscriptions WHERE id IN (",
            texts_of!($ids),
            ")), change AS (SELECT MAX(position) AS position FROM outbox_changes) ",
            $deliveries
        )
    };
}

/// The elements of a JSON array as rows.
fn elements(json: &str) -> String {
    format!("json_each({json})")
}

/// The members of a JSON value as rows; no rows unless it is an object.
fn members(json: &str) -> String {
    format!("json_each(CASE json_type({json}) WHEN 'object' THEN {json} END)")
}

/// The values at `path` in `json` as rows `found`. Arrays on the path and at its end are unwrapped.
///
/// `json_each` accepts JSON texts only, but returns scalars as SQL values: these are converted to JSON again.
fn push_found(query: &mut sqlx::QueryBuilder<Db>, json: &str, path: &[PathSegment]) {
    query.push("(SELECT 1) AS root");
    let mut array =
        format!("CASE json_type({json}) WHEN 'array' THEN {json} WHEN 'object' THEN json_array(json({json})) END");
    for (depth, name) in path.iter().enumerate() {
        let member = format!("member{depth}");
        query.push(format!(
            " JOIN json_each({array}) AS step{depth} \
             JOIN json_each(CASE step{depth}.type WHEN 'object' THEN step{depth}.value END) AS {member} ON "
        ));
        array = match name {
            PathSegment::Member(name) => {
                query.push(format!("{member}.key = ")).push_bind(name.clone());
                format!(
                    "CASE {member}.type WHEN 'array' THEN {member}.value WHEN 'object' THEN '[' || {member}.value || ']' \
                     WHEN 'true' THEN '[true]' WHEN 'false' THEN '[false]' ELSE json_array({member}.value) END"
                )
            }
            PathSegment::Key => {
                query.push("true");
                format!("json_array({member}.key)")
            }
        };
    }
    query.push(format!(" JOIN json_each({array}) AS found"));
}

/// A cheap condition that holds whenever a value at `path` in `json` passes the test: the JSON text of an operand occurs in the
/// JSON text of the column. serde_json has written both. Numbers have no such condition, because equal numbers may have
/// different texts.
fn push_hint(query: &mut sqlx::QueryBuilder<Db>, json: &str, _: &[PathSegment], operator: Operator, texts: &[String]) {
    let has_hint = matches!(operator, Operator::Eq | Operator::In | Operator::Cont);
    let column = json.split_once(" -> ").map_or(json, |(column, _)| column);
    let is_column = column.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'));
    if !has_hint || !is_column || texts.iter().any(|text| is_number(text)) {
        return;
    }
    query.push("(");
    for (index, text) in texts.iter().enumerate() {
        let quoted = serde_json::Value::from(text.as_str()).to_string();
        query.push(if index == 0 { "" } else { " OR " });
        query.push(format!("instr({column}, ")).push_bind(quoted[1..quoted.len() - 1].to_owned()).push(") > 0");
    }
    query.push(") AND ");
}

/// The violated unique constraint: SQLite names its columns, not its index.
fn violated(error: &dyn DatabaseError) -> Option<&str> {
    error.message().strip_prefix("UNIQUE constraint failed: ")
}

/// The deadline of a call. A file needs none.
async fn bounded<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    call.await
}

/// SQLite has no other process to notify.
async fn notify_work(_: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    Ok(())
}

/// As [`notify_work`].
async fn notify_cancel(_: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    Ok(())
}

/// As [`notify_work`].
async fn tell_others_of_onboarding(_: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    Ok(())
}

/// SQLite has one writer: older transactions have ended.
async fn begun_transaction(_: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    Ok(String::new())
}

/// As [`begun_transaction`].
async fn older_transactions_ended(_: &SqlitePool, _: &str) -> Result<(), sqlx::Error> {
    Ok(())
}

/// Runs the statements of filtered lists, on read connections of their own.
struct FilterReader {
    pool: SqlitePool,
    /// From the start of the statement to its end.
    deadline: Duration,
}

impl FilterReader {
    /// Opens connections when they are needed, and closes them when they are idle: each has a page cache.
    fn new(options: SqliteConnectOptions) -> Self {
        let pool = SqlitePoolOptions::new().test_before_acquire(false).max_connections(FILTER_CONNECTIONS);
        let pool = pool.idle_timeout(Duration::from_secs(60)).acquire_timeout(FILTER_DEADLINE);
        Self { pool: pool.connect_lazy_with(options.read_only(true)), deadline: FILTER_DEADLINE }
    }

    /// Runs the query. SQLite itself stops the statement at the deadline, and when the caller drops the future: it asks the
    /// progress handler every [`STEPS`](Self::STEPS) instructions of its virtual machine.
    async fn fetch_all(&self, query: &mut sqlx::QueryBuilder<Db>) -> Result<Vec<SqliteRow>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let deadline = Instant::now() + self.deadline;
        let caller = Arc::new(());
        let caller_waits = Arc::downgrade(&caller);
        let goes_on = move || caller_waits.strong_count() > 0 && Instant::now() < deadline;
        connection.lock_handle().await?.set_progress_handler(Self::STEPS, goes_on);
        let rows = query.build().persistent(false).fetch_all(&mut *connection).await;
        rows.map_err(|error| match &error {
            sqlx::Error::Database(stopped) if stopped.code().is_some_and(|code| code == Self::INTERRUPT) => {
                StoreError::FilterDeadline
            }
            _ => error.into(),
        })
    }

    /// About a millisecond.
    const STEPS: i32 = 10_000;
    /// `SQLITE_INTERRUPT`.
    const INTERRUPT: &str = "9";
}

#[expect(clippy::duplicate_mod, reason = "compiled once per engine: docs/adr/0002-one-sql-for-two-engines.md")]
#[path = "shared/mod.rs"]
mod shared;

// --- opening --------------------------------------------------------------------------------------------------------

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");
const READERS: u32 = 4;

pub(super) async fn connect(path: &str, keys: KeyRing) -> Result<Arc<dyn Store>, StoreError> {
    let lock = lock_file(Path::new(path))?;
    let options = options(path);
    let mut writer = options.connect().await?;
    run_migrations(&MIGRATIONS, &mut writer).await?;
    shared::sealing::check_keys(&mut writer, &keys).await?;
    // This process holds the lock file, so the processes that held leases are gone.
    for release in [
        "UPDATE vnf_lcm_op_occs SET lease_owner = NULL, lease_until = 0, attempt = attempt + 1 WHERE lease_until <> 0",
        "UPDATE subscriptions SET lease_owner = NULL, lease_until = 0 WHERE lease_until <> 0",
        "UPDATE vnf_packages SET lease_owner = NULL, lease_until = 0 WHERE lease_until <> 0",
    ] {
        sqlx::query(release).execute(&mut writer).await?;
    }
    // Connections to a file never become stale: no need to test or replace them.
    let pool = SqlitePoolOptions::new().test_before_acquire(false).max_lifetime(None).idle_timeout(None);
    let reader = pool.max_connections(READERS).connect_with(options.clone().read_only(true)).await?;
    Ok(Arc::new(shared::Database::new(
        ReplaceablePool::new(reader),
        FilterReader::new(options),
        Writer::new(writer, lock),
        keys,
        Signals::default(),
        Endings::within_process(),
        (),
    )))
}

pub(super) async fn migrate(path: &str) -> Result<Migrated, StoreError> {
    let _lock = lock_file(Path::new(path))?;
    let mut connection = options(path).connect().await?;
    run_migrations(&MIGRATIONS, &mut connection).await
}

pub(super) async fn is_sealed(path: &str) -> Result<bool, StoreError> {
    if !Path::new(path).exists() {
        return Ok(false);
    }
    shared::sealing::is_sealed(&mut options(path).read_only(true).connect().await?).await
}

pub(super) async fn rekey(path: &str, keys: &KeyRing) -> Result<u64, StoreError> {
    let _lock = lock_file(Path::new(path))?;
    let mut connection = options(path).connect().await?;
    run_migrations(&MIGRATIONS, &mut connection).await?;
    shared::sealing::rekey(&mut connection, keys).await
}

pub(super) async fn live_operations(path: &str) -> Result<Vec<LiveOperation>, StoreError> {
    shared::inspect::operations(&mut options(path).read_only(true).connect().await?).await
}

/// `synchronous = FULL`: a commit is on the disk when it returns, so a power failure never loses an answered request.
fn options(path: &str) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
}

/// Creates the database file if it is missing, readable by its owner only (SQLite's side files get the same mode), and locks
/// the lock file beside it. The operating system releases the lock when the process ends, also after a kill.
fn lock_file(path: &Path) -> Result<File, StoreError> {
    let open = |path: &Path| {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        file.map_err(|source| StoreError::File { path: path.to_owned(), source })
    };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let lock = open(&lock_path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::FileInUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(StoreError::File { path: lock_path, source }),
    }
    open(path)?;
    Ok(lock)
}
