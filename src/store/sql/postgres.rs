//! PostgreSQL: any number of processes on one database.
//!
//! Transactions lock a row where two of them could pass the same check. Leases are compared with the clock of the database,
//! never with the clock of a process. NOTIFY tells the conductors of other processes that there is work; without it they find
//! the work at their next poll.
//!
//! A server or the network may fall silent without closing the connections. No call waits longer than [`SILENCE`]. The
//! listening connection detects it first: it sends a probe when it hears nothing. Then the pools are replaced, because a
//! statement on each of the old connections could wait as long as TCP retries, about 15 minutes.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgNotification, PgPoolOptions, PgQueryResult, PgRow};
use sqlx::{ConnectOptions, Executor as _, PgConnection, PgPool};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::domain::filter::{Operator, PathSegment};
use crate::store::attributes::is_number;
use crate::store::seal::KeyRing;
use crate::store::sql::endings::Endings;
use crate::store::sql::pool::ReplaceablePool;
use crate::store::sql::{FILTER_CONNECTIONS, FILTER_DEADLINE, Migrated, Signals, run_migrations};
use crate::store::{LiveOperation, OperationEnded, Store, StoreError};

// --- used by shared/ (macros must be defined before it) --------------------------------------------------------------

type Db = sqlx::Postgres;
/// The tasks that receive notifications from other processes and send them. They end with the store.
type BackgroundTasks = [AbortOnDropHandle<()>; 3];

type Tx = sqlx::Transaction<'static, Db>;
type Query<'q> = sqlx::query::Query<'q, Db, PgArguments>;
/// The name in OpenTelemetry's semantic conventions.
const ENGINE: &str = "postgresql";
/// The result of [`violated`] for the unique index on the name of a VIM.
const VIM_NAME: &str = "vims_name";
/// Whether a statement that changes rows may be part of another one. It saves a round trip.
const NESTS_CHANGES: bool = true;

/// The current time in milliseconds since the epoch, when the expression is evaluated; not the start of the transaction.
macro_rules! now {
    () => {
        "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
    };
}
macro_rules! for_update {
    () => {
        " FOR UPDATE"
    };
}
macro_rules! for_share {
    () => {
        " FOR SHARE"
    };
}
/// The lock of an UPDATE that does not change the key. It does not skip rows that a foreign key check has locked.
macro_rules! skip_locked {
    () => {
        " FOR NO KEY UPDATE SKIP LOCKED"
    };
}
/// The table function that returns the members of a JSON object as (key, value).
macro_rules! members_of {
    () => {
        "jsonb_each"
    };
}
/// The collation that orders texts by their bytes.
macro_rules! text_order {
    () => {
        " COLLATE \"C\""
    };
}
/// The function that returns the position of one text in another, counted from 1; 0 if it does not occur.
macro_rules! position {
    () => {
        "strpos"
    };
}
/// The JSON type of a value that [`push_found`] returns, and the value as that type.
macro_rules! found_type {
    () => {
        "jsonb_typeof(found.value)"
    };
}
macro_rules! found_text {
    () => {
        "(found.value #>> '{}')"
    };
}
macro_rules! found_number {
    () => {
        "found.value"
    };
}
macro_rules! found_boolean {
    () => {
        "(found.value #>> '{}')"
    };
}

/// A new random UUID as text.
macro_rules! random_uuid {
    () => {
        "CAST(gen_random_uuid() AS text)"
    };
}
/// The aggregate function that makes a JSON array of the values of all rows; NULL if there are none.
macro_rules! json_array {
    () => {
        "json_agg"
    };
}
/// The function that returns the number of elements of a JSON array.
macro_rules! json_array_length {
    () => {
        "jsonb_array_length"
    };
}
/// The function that makes a JSON object of names and values.
macro_rules! json_object {
    () => {
        "json_build_object"
    };
}
/// A JSON column as a value of [`json_object!`].
macro_rules! as_json {
    ($column:literal) => {
        $column
    };
}
/// The elements of a JSON array of texts, as a subquery.
macro_rules! texts_of {
    ($array:literal) => {
        concat!("SELECT jsonb_array_elements_text(", $array, ")")
    };
}
/// Locks rows as an UPDATE does that leaves the key alone.
macro_rules! for_no_key_update {
    () => {
        " FOR NO KEY UPDATE"
    };
}
/// One statement that inserts a change (`$change`, an INSERT … SELECT) and its deliveries (`$deliveries`), which reads
/// `receiver (id)`, the subscriptions in the JSON array `$ids`, and `change (position)`.
///
/// Inserts nothing if another transaction has deleted all the subscriptions.
macro_rules! publish_statement {
    ($change:expr, $ids:literal, $deliveries:expr) => {
        concat!(
            "WITH receiver AS (SELECT id FROM subscriptions WHERE id IN (",
            texts_of!($ids),
            ") FOR KEY SHARE), change AS (",
            $change,
            " WHERE EXISTS (SELECT 1 FROM receiver) RETURNING position) ",
            $deliveries
        )
    };
}

/// The elements of a JSON array as rows.
fn elements(json: &str) -> String {
    format!("jsonb_array_elements({json})")
}

/// The members of a JSON value as rows; no rows unless it is an object.
fn members(json: &str) -> String {
    format!("jsonb_each(CASE jsonb_typeof({json}) WHEN 'object' THEN {json} END)")
}

/// The values at `path` in `json` as rows `found`. Arrays on the path and at its end are unwrapped: the path is lax.
fn push_found(query: &mut sqlx::QueryBuilder<Db>, json: &str, path: &[PathSegment]) {
    query.push(format!("jsonb_path_query({json}, CAST(")).push_bind(json_path(path));
    query.push(" AS jsonpath), '{}', true) AS found(value)");
}

/// A cheap condition that holds whenever a value at `path` in `json` passes the test: one function call, no subquery.
fn push_hint(
    query: &mut sqlx::QueryBuilder<Db>,
    json: &str,
    path: &[PathSegment],
    operator: Operator,
    texts: &[String],
) {
    if !matches!(operator, Operator::Eq | Operator::In) {
        return;
    }
    let mut equal = Vec::new();
    for text in texts {
        equal.push(format!("@ == {}", serde_json::Value::from(text.as_str())));
        if is_number(text) || matches!(text.as_str(), "true" | "false") {
            equal.push(format!("@ == {text}"));
        }
    }
    let filter = format!("{} ? ({})", json_path(path), equal.join(" || "));
    query.push(format!("{json} @? CAST(")).push_bind(filter).push(" AS jsonpath) AND ");
}

fn json_path(path: &[PathSegment]) -> String {
    let mut steps = "lax $".to_owned();
    for name in path {
        match name {
            PathSegment::Member(name) => steps.push_str(&format!(".{}", serde_json::Value::from(name.as_str()))),
            // On anything but an object, keyvalue() fails and ends the query.
            PathSegment::Key => steps.push_str(" ? (@.type() == \"object\").keyvalue().key"),
        }
    }
    steps + "[*]"
}

/// The violated unique constraint: the name of its index.
fn violated(error: &dyn DatabaseError) -> Option<&str> {
    error.is_unique_violation().then(|| error.constraint()).flatten()
}

/// Stops waiting for a call after [`SILENCE`]. Its statements may still take effect: the error says so, and writes of
/// conductors are fenced by their lease.
async fn bounded<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(SILENCE, call).await.unwrap_or(Err(StoreError::NoAnswer))
}

/// Wakes the conductors of all processes when the transaction commits. Commits with NOTIFY run one at a time in the whole
/// server, so only changes that create work notify: not checkpoints, not renewals.
async fn notify_work(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(connection).await.map(drop)
}

/// Signals a cancel request to the conductors of all processes when the transaction commits.
async fn notify_cancel(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(CANCEL).execute(connection).await.map(drop)
}

/// Signals all processes, once the transaction commits, that an onboarding began or may be taken over.
async fn tell_others_of_onboarding(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(ONBOARDING).execute(connection).await.map(drop)
}

/// The id of the transaction, for [`older_transactions_ended`].
async fn begun_transaction(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT CAST(pg_current_xact_id() AS text)").fetch_one(connection).await
}

/// Returns when the transactions that wrote before this one have ended, and after [`OLDER_TRANSACTIONS`] in any case.
async fn older_transactions_ended(pool: &PgPool, transaction: &str) -> Result<(), sqlx::Error> {
    let have_ended = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > CAST($1 AS xid8)";
    let begun = Instant::now();
    while !sqlx::query_scalar::<_, bool>(have_ended).bind(transaction).fetch_one(pool).await? {
        if begun.elapsed() > OLDER_TRANSACTIONS {
            break;
        }
        tokio::time::sleep(OLDER_PAUSE).await;
    }
    Ok(())
}

/// Runs the statements of filtered lists, on connections of their own, where the server stops a statement at
/// [`FILTER_DEADLINE`].
#[derive(Clone)]
struct FilterReader(ReplaceablePool<Db>);

impl FilterReader {
    async fn fetch_all(&self, query: &mut sqlx::QueryBuilder<Db>) -> Result<Vec<PgRow>, StoreError> {
        let rows = query.build().persistent(false).fetch_all(&self.0.get()).await;
        rows.map_err(|error| match &error {
            sqlx::Error::Database(stopped) if stopped.code().is_some_and(|code| code == Self::QUERY_CANCELED) => {
                StoreError::FilterDeadline
            }
            _ => error.into(),
        })
    }

    const QUERY_CANCELED: &str = "57014";
}

/// Writes on any connection of the pool.
struct Writer(ReplaceablePool<Db>);

impl Writer {
    /// Begins a transaction. It rolls back soon after it is dropped. All transactions begin here.
    ///
    /// BEGIN runs on a task of its own, because sqlx 0.9.0 loses track of it when the future is dropped: the connection
    /// returns to the pool inside a transaction, and the writes of the next borrower are never committed
    /// (<https://github.com/transact-rs/sqlx/issues/4393>).
    async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let pool = self.0.get();
        let begun = tokio::spawn(async move { pool.begin_with("BEGIN").await }.in_current_span());
        begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    /// Runs a statement as a transaction of its own.
    async fn execute(&self, query: Query<'_>) -> Result<PgQueryResult, sqlx::Error> {
        query.execute(&self.0.get()).await
    }

    /// As [`Writer::execute`], for a statement that returns rows.
    async fn fetch_all(&self, query: Query<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        query.fetch_all(&self.0.get()).await
    }

    /// Returns when readers see all that a failed transaction has seen: at once, because it has seen committed rows only.
    async fn settled(&self) {}
}

#[expect(clippy::duplicate_mod, reason = "compiled once per engine: docs/adr/0002-one-sql-for-two-engines.md")]
#[path = "shared/mod.rs"]
mod shared;

// --- opening --------------------------------------------------------------------------------------------------------

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");
const CHANNEL: &str = "gybe_wake";
/// The payload of a notification of a cancel request.
const CANCEL: &str = "cancel";
/// The payload of a notification that an onboarding began or may be taken over.
const ONBOARDING: &str = "onboarding";
/// The payload of a notification that there are events in the journal.
const EVENTS: &str = "events";
/// How long the first stream of events waits for transactions of others. Those of Gybe are shorter.
const OLDER_TRANSACTIONS: Duration = Duration::from_secs(10);
const OLDER_PAUSE: Duration = Duration::from_millis(20);
/// Its payload: the identifiers of instances whose operation has ended, separated by commas, or [`ANY`].
const ENDED_CHANNEL: &str = "gybe_ended";
const ANY: &str = "*";
/// Ended operations are collected for this time before other processes are notified, because commits with NOTIFY run one at
/// a time.
const COLLECT: Duration = Duration::from_millis(100);
/// PostgreSQL limits a payload to less than 8000 bytes.
const IDS_PER_PAYLOAD: usize = 200;
/// Connections per process. PostgreSQL allows 100 by default. No request or operation uses more than one at a time.
const CONNECTIONS: u32 = 10;
/// The deadline of a call. A live server ends a statement before that: see [`options`].
const SILENCE: Duration = Duration::from_secs(12);
/// How often a migration that waits for a lock is repeated, and the pause before: a minute altogether.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_secs(1);
/// The time to get a free connection or open a new one.
const ACQUIRE: Duration = Duration::from_secs(8);
/// The listener sends a probe after this time without a notification.
const QUIET: Duration = Duration::from_secs(5);
/// The deadline of the probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(100);
const LAST_RECONNECT_DELAY: Duration = Duration::from_secs(10);

pub(super) async fn connect(url: &str, keys: KeyRing) -> Result<Arc<dyn Store>, StoreError> {
    let options = options(url)?;
    let pool = pool(&options);
    let mut connection = pool.acquire().await?;
    check_schema(&mut connection).await?;
    shared::sealing::check_keys(&mut connection, &keys).await?;
    drop(connection);
    let current = ReplaceablePool::new(pool);
    let filter_reader = FilterReader(ReplaceablePool::new(filter_pool(&options)));
    let signals = Signals::default();
    let listener = listen(&options).await?;
    let (endings, queue) = Endings::with_other_processes();
    let listening = tokio::spawn(forward_notifications(
        listener,
        options,
        current.clone(),
        filter_reader.clone(),
        signals.clone(),
        endings.local_sender(),
    ));
    let notifying = tokio::spawn(notify_endings(current.clone(), queue));
    let telling = tokio::spawn(notify_events(current.clone(), Arc::clone(&signals.events_of_ours)));
    let tasks = [listening, notifying, telling].map(AbortOnDropHandle::new);
    Ok(Arc::new(shared::Database::new(current.clone(), filter_reader, Writer(current), keys, signals, endings, tasks)))
}

/// The server enforces the deadlines of statements: a query that a client stops waiting for would still run.
fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(url.parse::<PgConnectOptions>()?.application_name("gybe").options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        // Every statement is too short to be worth compiling.
        ("jit", "off"),
    ]))
}

fn pool(options: &PgConnectOptions) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
    pool.connect_lazy_with(options.clone())
}

/// Opens connections when they are needed. The last setting of `statement_timeout` holds.
fn filter_pool(options: &PgConnectOptions) -> PgPool {
    let deadline = format!("{}s", FILTER_DEADLINE.as_secs());
    let options = options.clone().options([("statement_timeout", deadline)]);
    let pool = PgPoolOptions::new().max_connections(FILTER_CONNECTIONS).acquire_timeout(FILTER_DEADLINE);
    pool.connect_lazy_with(options)
}

/// Migrates while other processes use the database. A statement that waits for a lock blocks all that come after it, so it gives
/// up soon and is repeated later. Indexes are made without a lock; one that was interrupted is made again.
pub(super) async fn migrate(url: &str) -> Result<Migrated, StoreError> {
    let options = url.parse::<PgConnectOptions>()?.application_name("gybe migrate").options([("lock_timeout", "2s")]);
    let mut connection = options.connect().await?;
    drop_unfinished_indexes(&mut connection).await?;
    let mut applied = Vec::new();
    for attempt in 1.. {
        match run_migrations(&MIGRATIONS, &mut connection).await {
            Err(StoreError::Migrate(error)) if attempt < LOCK_ATTEMPTS && is_lock_timeout(&error) => {
                tracing::info!("the migration waits for a lock of another session");
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            migrated => {
                applied.extend(migrated?.applied);
                break;
            }
        }
    }
    Ok(Migrated { applied })
}

fn is_lock_timeout(error: &MigrateError) -> bool {
    let source: &(dyn std::error::Error + 'static) = error;
    let mut causes = std::iter::successors(Some(source), |error| error.source());
    causes.any(|cause| {
        let database = cause.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        database.and_then(DatabaseError::code).is_some_and(|code| code == "55P03")
    })
}

/// Drops indexes that an interrupted `CREATE INDEX CONCURRENTLY` left: no query uses them, and each write pays for them.
async fn drop_unfinished_indexes(connection: &mut PgConnection) -> Result<(), StoreError> {
    let select = "SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', index.indexrelid::regclass) \
                  FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indrelid \
                  WHERE NOT index.indisvalid AND class.relnamespace = current_schema()::regnamespace \
                    AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS running \
                                    WHERE running.index_relid = index.indexrelid)";
    for drop in sqlx::query_scalar::<_, String>(select).fetch_all(&mut *connection).await? {
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(super) async fn is_sealed(url: &str) -> Result<bool, StoreError> {
    shared::sealing::is_sealed(&mut url.parse::<PgConnectOptions>()?.connect().await?).await
}

pub(super) async fn rekey(url: &str, keys: &KeyRing) -> Result<u64, StoreError> {
    let mut connection = options(url)?.connect().await?;
    check_schema(&mut connection).await?;
    shared::sealing::rekey(&mut connection, keys).await
}

pub(super) async fn live_operations(url: &str) -> Result<Vec<LiveOperation>, StoreError> {
    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    check_schema(&mut connection).await?;
    shared::inspect::operations(&mut connection).await
}

/// Checks that every migration of this release is applied, unchanged. Further migrations are accepted: they belong to a newer
/// release.
async fn check_schema(connection: &mut PgConnection) -> Result<(), StoreError> {
    let table = &MIGRATIONS.table_name;
    let made = sqlx::query_scalar::<_, bool>("SELECT to_regclass($1) IS NOT NULL")
        .bind(table.as_ref())
        .fetch_one(&mut *connection)
        .await?;
    if !made {
        return Err(StoreError::NotMigrated);
    }
    if let Some(version) = connection.dirty_version(table).await? {
        return Err(MigrateError::Dirty(version).into());
    }
    let applied = connection.list_applied_migrations(table).await?;
    let applied: HashMap<_, _> = applied.iter().map(|one| (one.version, &one.checksum)).collect();
    for known in MIGRATIONS.iter() {
        match applied.get(&known.version) {
            None => return Err(StoreError::NotMigrated),
            Some(checksum) if **checksum != known.checksum => {
                return Err(MigrateError::VersionMismatch(known.version).into());
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A listener on a connection of its own: it would keep a connection of the pool for ever.
async fn listen(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let single = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).acquire_timeout(ACQUIRE);
    let single = single.connect_lazy_with(options.clone());
    let connecting = async {
        let mut listener = PgListener::connect_with(&single).await?;
        listener.listen_all([CHANNEL, ENDED_CHANNEL]).await?;
        Ok(listener)
    };
    timeout(SILENCE, connecting).await.unwrap_or_else(|_| Err(silent()))
}

/// The next notification. `None`: the connection was lost and is restored.
async fn next_notification(listener: &mut PgListener) -> Result<Option<PgNotification>, sqlx::Error> {
    loop {
        if let Ok(event) = timeout(QUIET, listener.try_recv()).await {
            return event;
        }
        timeout(PROBE_TIMEOUT, listener.execute("SELECT 1")).await.unwrap_or_else(|_| Err(silent()))?;
    }
}

/// The error that TCP would return, much later.
fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

/// Forwards notifications of other processes to the signals of this process, for ever. Notifications may be lost with the
/// connection, so a restored connection counts as one notification of each kind. When the server falls silent, the pools are
/// replaced.
async fn forward_notifications(
    listener: PgListener,
    options: PgConnectOptions,
    current: ReplaceablePool<Db>,
    filter_reader: FilterReader,
    signals: Signals,
    endings: broadcast::Sender<OperationEnded>,
) {
    let mut listener = Some(listener);
    let mut delay = FIRST_RECONNECT_DELAY;
    loop {
        let event = match &mut listener {
            // It reconnects by itself after most errors, and returns None then.
            Some(listener) => next_notification(listener).await,
            None => listen(&options).await.map(|fresh| {
                listener = Some(fresh);
                None
            }),
        };
        if event.is_ok() {
            delay = FIRST_RECONNECT_DELAY;
        }
        match event {
            Ok(Some(notification)) if notification.channel() == ENDED_CHANNEL => {
                for id in notification.payload().split(',') {
                    // Fails if there is no receiver.
                    let _ = endings.send(id.parse().map_or(OperationEnded::Any, OperationEnded::One));
                }
            }
            Ok(Some(notification)) => match notification.payload() {
                CANCEL => signals.cancel(),
                ONBOARDING => signals.onboarding(),
                EVENTS => signals.wake_events(),
                _ => signals.work(),
            },
            Ok(None) => {
                signals.cancel();
                signals.wake_outbox();
                signals.onboarding();
                signals.wake_events();
                let _ = endings.send(OperationEnded::Any);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "listening for wake-ups failed");
                if is_silence(&error) && listener.is_some() {
                    // Callers that wait for a connection of the old pool fail at once. Its connections close when their
                    // statements end.
                    drop(current.replace(pool(&options)).close());
                    drop(filter_reader.0.replace(filter_pool(&options)).close());
                }
                // Its state is unknown: make a new one.
                listener = None;
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LAST_RECONNECT_DELAY);
            }
        }
    }
}

/// Notifies other processes of ended operations, many at a time, and not in the transactions that end them: these would wait
/// for each other. If this process is killed first, the views of the others find the change at their next full read.
async fn notify_endings(current: ReplaceablePool<Db>, mut queue: mpsc::UnboundedReceiver<OperationEnded>) {
    while let Some(first) = queue.recv().await {
        tokio::time::sleep(COLLECT).await;
        let mut ids = Vec::new();
        let mut next = Some(first);
        while let Some(ended) = next {
            ids.push(match ended {
                OperationEnded::One(id) => id.to_string(),
                OperationEnded::Any => ANY.to_owned(),
            });
            next = if ids.len() < IDS_PER_PAYLOAD { queue.try_recv().ok() } else { None };
        }
        let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(ENDED_CHANNEL).bind(ids.join(","));
        let sent = bounded(async { Ok(notify.execute(&current.get()).await?) }).await;
        if let Err(error) = sent {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "notifying other processes of ended operations failed"
            );
        }
    }
}

/// Notifies other processes of events, many at a time, as [`notify_endings`]. If this process is killed first, the streams of the others find
/// the events at their next read.
async fn notify_events(current: ReplaceablePool<Db>, written: Arc<Notify>) {
    loop {
        written.notified().await;
        tokio::time::sleep(COLLECT).await;
        let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(EVENTS);
        if let Err(error) = bounded(async { Ok(notify.execute(&current.get()).await?) }).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "notifying other processes of events failed");
        }
    }
}
