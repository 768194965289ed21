//! The store on SQLite and on PostgreSQL.
//!
//! `sql/shared/` has every statement once. Both engines accept the same syntax for `$1`, `RETURNING`, `ON CONFLICT` and JSON,
//! so its files are compiled twice: as children of `sql/sqlite.rs` and of `sql/postgres.rs`. These define the differences:
//! the driver type, the clock in SQL, row locks, the writer, the name of a violated constraint, notifications to other
//! processes, and deadlines. docs/adr/0002-one-sql-for-two-engines.md has the reasons.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::store::seal::KeyRing;
use crate::store::{LiveOperation, Store, StoreError};

mod convert;
mod definition_cache;
mod endings;
mod pool;
mod postgres;
mod sqlite;
mod writer;

pub(super) use convert::millis;

/// A statement of a filtered list is stopped after this time. A filter by an attribute in JSON reads about 400,000 op
/// occurrences per second, so it reaches this deadline with two million.
pub const FILTER_DEADLINE: Duration = Duration::from_secs(5);
/// Connections for filtered lists, per process. A filter keeps a core of the database busy while it reads; further
/// requests with a filter wait for a connection.
const FILTER_CONNECTIONS: u32 = 2;

/// The signals of a store to its own process: see `wake` and `cancels` of [`LeaseStore`](crate::store::LeaseStore) and
/// `outbox` of [`OutboxStore`](crate::store::OutboxStore).
#[derive(Clone, Default)]
struct Signals {
    wake: Arc<Notify>,
    cancels: watch::Sender<()>,
    outbox: Arc<Notify>,
    onboardings: Arc<Notify>,
    events: Arc<Notify>,
    /// Keeps a signal until other processes are notified.
    events_of_ours: Arc<Notify>,
}

/// What a transaction has published.
#[derive(Clone, Copy, Debug, Default)]
struct Published {
    /// Notifications to subscribers.
    notifications: bool,
    /// Events in the journal.
    events: bool,
}

impl Signals {
    /// There may be an operation to claim.
    fn work(&self) {
        self.wake.notify_waiters();
    }

    /// A cancel request: a running operation is to stop, a postponed one is due.
    fn cancel(&self) {
        self.cancels.send_replace(());
        self.work();
    }

    /// A transaction was committed that published a change.
    fn published(&self, published: Published) {
        if published.notifications {
            self.wake_outbox();
        }
        self.journaled(published.events);
    }

    /// A transaction was committed that wrote to the journal, if `any`.
    fn journaled(&self, any: bool) {
        if any {
            self.wake_events();
            self.events_of_ours.notify_one();
        }
    }

    /// There may be new events in the journal.
    fn wake_events(&self) {
        self.events.notify_waiters();
    }

    /// See `events_signal` of [`EventStore`](crate::store::EventStore).
    fn events(&self) -> Arc<Notify> {
        Arc::clone(&self.events)
    }

    /// An onboarding began or may be taken over: the next lease to run out may be another one.
    fn onboarding(&self) {
        self.onboardings.notify_waiters();
    }

    /// There may be a notification to send.
    fn wake_outbox(&self) {
        self.outbox.notify_waiters();
    }
}

/// The result of [`migrate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that it applied, oldest first, such as `1 initial`.
    pub applied: Vec<String>,
}

/// Opens the database with this URL: `sqlite://PATH` or `postgres://…`. `keys` seal its secrets.
///
/// SQLite: creates the file if it is missing, migrates it, and locks it until the store is dropped, so that no other process
/// can open it. The holders of leases are gone then, so interrupted operations can be claimed at once.
/// PostgreSQL: the schema must be up to date. A background task on the current runtime listens for notifications until the
/// store is dropped.
///
/// # Errors
/// [`StoreError::InvalidUrl`], [`StoreError::FileInUse`], [`StoreError::File`], [`StoreError::NotMigrated`],
/// [`StoreError::MissingKeys`], or an error of the database.
pub async fn connect(url: &str, keys: KeyRing) -> Result<Arc<dyn Store>, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::connect(path, keys).await,
        Engine::Postgres => postgres::connect(url, keys).await,
    }
}

/// Applies the missing migrations to the database with this URL.
///
/// # Errors
/// As [`connect`].
pub async fn migrate(url: &str) -> Result<Migrated, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::migrate(path).await,
        Engine::Postgres => postgres::migrate(url).await,
    }
}

/// Whether the database with this URL has sealed values. `false` if the database does not exist.
///
/// # Errors
/// An error of the database.
pub async fn is_sealed(url: &str) -> Result<bool, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::is_sealed(path).await,
        Engine::Postgres => postgres::is_sealed(url).await,
    }
}

/// Seals all secrets in the database with the first of `keys`. Returns how many another key had sealed. Afterwards only the
/// first key is needed. On PostgreSQL, Gybe may run meanwhile, if its processes have all the keys.
///
/// # Errors
/// As [`connect`]; [`StoreError::MissingKeys`], [`StoreError::Corrupt`].
pub async fn rekey(url: &str, keys: &KeyRing) -> Result<u64, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::rekey(path, keys).await,
        Engine::Postgres => postgres::rekey(url, keys).await,
    }
}

/// The live operations, oldest first. It only reads and takes no lock, so it works while another process uses the database.
///
/// # Errors
/// As [`connect`], except [`StoreError::FileInUse`].
pub async fn live_operations(url: &str) -> Result<Vec<LiveOperation>, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::live_operations(path).await,
        Engine::Postgres => postgres::live_operations(url).await,
    }
}

enum Engine<'a> {
    Sqlite(&'a str),
    Postgres,
}

fn engine(url: &str) -> Result<Engine<'_>, StoreError> {
    match url.split_once("://") {
        Some(("sqlite", path)) if !path.is_empty() && path != ":memory:" => Ok(Engine::Sqlite(path)),
        Some(("postgres" | "postgresql", _)) => Ok(Engine::Postgres),
        // The URL may contain a password: the error does not quote it.
        _ => Err(StoreError::InvalidUrl),
    }
}

/// Applies the missing `migrations`. Returns those that it applied.
async fn run_migrations<C: sqlx::migrate::Migrate>(
    migrations: &sqlx::migrate::Migrator,
    connection: &mut C,
) -> Result<Migrated, StoreError> {
    connection.ensure_migrations_table(&migrations.table_name).await?;
    let before = connection.list_applied_migrations(&migrations.table_name).await?;
    migrations.run_direct(None, connection, false).await?;
    let missing = migrations.iter().filter(|one| before.iter().all(|applied| applied.version != one.version));
    Ok(Migrated { applied: missing.map(|one| format!("{} {}", one.version, one.description)).collect() })
}
