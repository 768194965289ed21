//! PostgreSQL: any number of processes on one database.
//!
//! Rows are locked where two transactions could both pass a check; leases are compared with the database's clock, never
//! with a process's. NOTIFY tells other processes' conductors that there is work; it only saves them waiting for their timer.
//!
//! A server, or what lies between, may fall silent without closing a connection. Nobody waits for it longer than [`SILENCE`].
//! The connection that listens finds out first, as it is asked for a sign of life when it is quiet; then all connections are
//! given up, since a statement could wait on each of them for as long as TCP tries, a quarter of an hour.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgNotification, PgPoolOptions, PgQueryResult, PgRow};
use sqlx::{ConnectOptions, Executor as _, PgConnection, PgPool};
use tokio::sync::{broadcast, mpsc};
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

// --- what shared/ takes from its parent (the macros by being defined before it) -------------------------------------

type Db = sqlx::Postgres;
/// The tasks that listen to other processes and tell them: they end with the store.
type Held = [AbortOnDropHandle<()>; 2];

type Tx = sqlx::Transaction<'static, Db>;
type Query<'q> = sqlx::query::Query<'q, Db, PgArguments>;
/// As OpenTelemetry calls it.
const ENGINE: &str = "postgresql";
/// What [`violated`] tells of the unique index on a VIM's name.
const VIM_NAME: &str = "vims_name";

/// The present in milliseconds since the epoch: of the statement, not of the transaction.
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
/// As an UPDATE locks that leaves the key alone: rows that others refer to are not passed over.
macro_rules! skip_locked {
    () => {
        " FOR NO KEY UPDATE SKIP LOCKED"
    };
}
/// The table function that gives the members of a JSON object as (key, value).
macro_rules! members_of {
    () => {
        "jsonb_each"
    };
}
/// The order of texts by their bytes.
macro_rules! text_order {
    () => {
        " COLLATE \"C\""
    };
}
/// The function that tells where in a text another begins, 0 if nowhere.
macro_rules! position {
    () => {
        "strpos"
    };
}
/// What a value is that [`push_found`] finds, as JSON calls it, and its value as that.
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

/// The elements of a JSON array as rows.
fn elements(json: &str) -> String {
    format!("jsonb_array_elements({json})")
}

/// The members of what may be a JSON object as rows.
fn members(json: &str) -> String {
    format!("jsonb_each(CASE jsonb_typeof({json}) WHEN 'object' THEN {json} END)")
}

/// The values at `path` in `json` as rows `found`: elements where there are arrays, on the way or at its end, which is what
/// a lax path means.
fn push_found(query: &mut sqlx::QueryBuilder<Db>, json: &str, path: &[PathSegment]) {
    query.push(format!("jsonb_path_query({json}, CAST(")).push_bind(json_path(path));
    query.push(" AS jsonpath), '{}', true) AS found(value)");
}

/// What holds wherever the values at `path` in `json` pass the test, and is found out sooner: one call instead of a subquery.
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
            PathSegment::Key => steps.push_str(".keyvalue().key"),
        }
    }
    steps + "[*]"
}

/// Which unique rule was broken: the index.
fn violated(error: &dyn DatabaseError) -> Option<&str> {
    error.is_unique_violation().then(|| error.constraint()).flatten()
}

/// Gives `work` up after [`SILENCE`]. What it has sent may take effect all the same: leases are compared where it does, and
/// callers are told that they don't know.
async fn bounded<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(SILENCE, work).await.unwrap_or(Err(StoreError::NoAnswer))
}

/// Wakes the conductors of all processes once the transaction commits. Commits that notify wait for each other across the
/// whole server, so only what makes work does this: not checkpoints, not renewals.
async fn wake_others(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(connection).await.map(drop)
}

/// Tells the conductors of all processes, once the transaction commits, that a running operation was asked to stop.
async fn tell_others_of_cancel(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(CANCEL).execute(connection).await.map(drop)
}

/// Signals all processes, once the transaction commits, that an onboarding began or may be taken over.
async fn tell_others_of_onboarding(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(ONBOARDING).execute(connection).await.map(drop)
}

/// Tells all processes, once the transaction commits, that there is a subscription.
async fn tell_others_of_subscription(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(SUBSCRIBED).execute(connection).await.map(drop)
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

/// The way to write: any connection of the pool.
struct Writer(ReplaceablePool<Db>);

impl Writer {
    /// Begins a transaction: the only place that does. One that is dropped rolls back, a moment later.
    ///
    /// BEGIN runs on a task of its own, because sqlx 0.9.0 loses track of it when the future is dropped: the connection
    /// goes back to the pool inside a transaction, and the next borrower's writes are never committed
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

    /// As [`Writer::execute`], with the rows that the statement gives back. The server syncs all commits.
    async fn fetch_all_unsynced(&self, query: Query<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        query.fetch_all(&self.0.get()).await
    }

    /// What can be seen is on the server's disk.
    async fn sync(&self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// A commit, which the server has synced.
struct Unsynced;

impl Unsynced {
    async fn synced(self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// Ends the transaction.
async fn commit_unsynced(tx: Tx) -> Result<Unsynced, sqlx::Error> {
    tx.commit().await.map(|()| Unsynced)
}

#[expect(clippy::duplicate_mod, reason = "compiled once per engine: docs/adr/0002-one-sql-for-two-engines.md")]
#[path = "shared/mod.rs"]
mod shared;

// --- opening --------------------------------------------------------------------------------------------------------

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");
const CHANNEL: &str = "gybe_wake";
/// The payload of a notification that tells of a cancel request.
const CANCEL: &str = "cancel";
/// The payload of a notification that an onboarding began or may be taken over.
const ONBOARDING: &str = "onboarding";
/// The payload of a notification that tells of a subscription.
const SUBSCRIBED: &str = "subscribed";
/// Its payload: the ids of instances whose operations are over, with commas between, or [`ANY`].
const ENDED_CHANNEL: &str = "gybe_ended";
const ANY: &str = "*";
/// Endings are gathered for so long before other processes are told, for commits that notify wait for each other.
const GATHER: Duration = Duration::from_millis(100);
/// A payload has less than 8000 bytes.
const IDS_PER_PAYLOAD: usize = 200;
/// Per process. PostgreSQL allows 100 by default, and no request or operation needs more than one at a time.
const CONNECTIONS: u32 = 10;
/// A server that is there ends a statement itself before that ([`options`]).
const SILENCE: Duration = Duration::from_secs(12);
/// To get a connection: a free one, or a new one.
const ACQUIRE: Duration = Duration::from_secs(8);
/// A listener that heard nothing for so long asks for a sign of life.
const QUIET: Duration = Duration::from_secs(5);
/// It is given so long.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(100);
const LAST_RECONNECT_DELAY: Duration = Duration::from_secs(10);

pub(super) async fn connect(url: &str, keys: KeyRing) -> Result<Arc<dyn Store>, StoreError> {
    let options = options(url)?;
    let pool = pool(&options);
    check_schema(&mut *pool.acquire().await?).await?;
    let current = ReplaceablePool::new(pool);
    let filter_reader = FilterReader(ReplaceablePool::new(filter_pool(&options)));
    let signals = Signals::default();
    let listener = listen(&options).await?;
    let (endings, queue) = Endings::with_other_processes();
    let listening = tokio::spawn(pass_on(
        listener,
        options,
        current.clone(),
        filter_reader.clone(),
        signals.clone(),
        endings.local_sender(),
    ));
    let telling = tokio::spawn(tell_others(current.clone(), queue));
    let tasks = [AbortOnDropHandle::new(listening), AbortOnDropHandle::new(telling)];
    Ok(Arc::new(shared::Database::new(current.clone(), filter_reader, Writer(current), keys, signals, endings, tasks)))
}

/// Callers don't put deadlines on the store's methods (a query given up half-way still runs); the server does.
fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    Ok(url.parse::<PgConnectOptions>()?.application_name("gybe").options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        // Every statement is over before it would be compiled.
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

pub(super) async fn migrate(url: &str) -> Result<Migrated, StoreError> {
    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    run_migrations(&MIGRATIONS, &mut connection).await
}

pub(super) async fn live_operations(url: &str) -> Result<Vec<LiveOperation>, StoreError> {
    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    check_schema(&mut connection).await?;
    shared::inspect::operations(&mut connection).await
}

/// Every migration we know must have been applied as we know it. Ones we don't know are no error: a newer release has
/// migrated ahead of us, and migrations leave room for the release before.
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

/// A listener on a connection of its own: it is never idle, and must not take one of the pool's.
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

/// The next notification; `None` when the connection was lost and is there again.
async fn heard(listener: &mut PgListener) -> Result<Option<PgNotification>, sqlx::Error> {
    loop {
        if let Ok(event) = timeout(QUIET, listener.try_recv()).await {
            return event;
        }
        timeout(SIGN_OF_LIFE, listener.execute("SELECT 1")).await.unwrap_or_else(|_| Err(silent()))?;
    }
}

/// As TCP says it, if only much later.
fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

/// Turns notifications into wake-ups, for ever. When the connection was lost, so may have been notifications: being
/// connected again counts as one of each kind. When the server has fallen silent, `current` is replaced.
async fn pass_on(
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
            // Reconnects by itself after the usual ways to lose a connection, and then returns None.
            Some(listener) => heard(listener).await,
            None => listen(&options).await.map(|fresh| {
                listener = Some(fresh);
                None
            }),
        };
        if event.is_ok() {
            delay = FIRST_RECONNECT_DELAY;
        }
        match event {
            Ok(Some(told)) if told.channel() == ENDED_CHANNEL => {
                for id in told.payload().split(',') {
                    // It is no matter if nobody listens.
                    let _ = endings.send(id.parse().map_or(OperationEnded::Any, OperationEnded::One));
                }
            }
            Ok(Some(told)) => match told.payload() {
                CANCEL => signals.cancel(),
                SUBSCRIBED => signals.subscribed(),
                ONBOARDING => signals.onboarding(),
                _ => signals.work(),
            },
            Ok(None) => {
                signals.cancel();
                signals.subscribed();
                signals.onboarding();
                let _ = endings.send(OperationEnded::Any);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "listening for wake-ups failed");
                if is_silence(&error) && listener.is_some() {
                    // Whoever waits for a connection of the old one is told at once; those in use are closed when, and if,
                    // their statements end.
                    drop(current.replace(pool(&options)).close());
                    drop(filter_reader.0.replace(filter_pool(&options)).close());
                }
                // It may be in any condition: start afresh.
                listener = None;
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LAST_RECONNECT_DELAY);
            }
        }
    }
}

/// Tells other processes of operations that are over, many at a time. Apart from the transactions that ended them: those
/// would wait for each other. What is lost if this process is killed now, the others' views find when they look at all.
async fn tell_others(current: ReplaceablePool<Db>, mut queue: mpsc::UnboundedReceiver<OperationEnded>) {
    while let Some(first) = queue.recv().await {
        tokio::time::sleep(GATHER).await;
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
        let told = bounded(async { Ok(notify.execute(&current.get()).await?) }).await;
        if let Err(error) = told {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "other processes can't be told of ended operations"
            );
        }
    }
}
