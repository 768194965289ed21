//! The store on SQLite and on PostgreSQL.
//!
//! `sql/shared/` has every statement once. Both engines take `$1`, `RETURNING`, `ON CONFLICT` and JSON the same way, so its
//! files are compiled twice: as children of `sql/sqlite.rs` and of `sql/postgres.rs`, which bring what differs (the driver
//! type, the clock in SQL, row locks, how to write, how an error tells which rule was broken, how other processes are
//! woken, how long to wait). docs/adr/0002-one-sql-for-two-engines.md has the reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
#[derive(Clone)]
struct Signals {
    wake: Arc<Notify>,
    cancels: watch::Sender<()>,
    outbox: Arc<Notify>,
    onboardings: Arc<Notify>,
    /// 0: when it was last looked there were no subscriptions, and none has been made since. Else there may be some.
    subscriptions: Arc<AtomicU64>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            wake: Arc::default(),
            cancels: watch::Sender::default(),
            outbox: Arc::default(),
            onboardings: Arc::default(),
            subscriptions: Arc::new(AtomicU64::new(1)),
        }
    }
}

impl Signals {
    /// There may be something to claim.
    fn work(&self) {
        self.wake.notify_waiters();
    }

    /// A running operation was asked to stop; one that was put off is due.
    fn cancel(&self) {
        self.cancels.send_replace(());
        self.work();
    }

    /// A state was changed, of which subscribers may be told. Costs nothing where there are none.
    fn change(&self) {
        if self.subscriptions.load(Ordering::SeqCst) > 0 {
            self.wake_outbox();
        }
    }

    /// An onboarding began or may be taken over: the next lease to run out may be another one.
    fn onboarding(&self) {
        self.onboardings.notify_waiters();
    }

    /// There may be something to send.
    fn wake_outbox(&self) {
        self.outbox.notify_waiters();
    }

    /// A subscription was made, here or in another process.
    fn subscribed(&self) {
        self.subscriptions.fetch_add(1, Ordering::SeqCst);
        self.wake_outbox();
    }

    /// What [`Signals::counted`] wants to know before the database is asked.
    fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::SeqCst)
    }

    /// There are subscriptions, or none. One that was made since `before` is not overlooked.
    fn counted(&self, before: u64, any: bool) {
        let (from, to) = if any { (0, 1) } else { (before, 0) };
        // It fails if it is known already, or if one was made meanwhile.
        let _ = self.subscriptions.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// What [`migrate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied now, oldest first, such as `1 initial`.
    pub applied: Vec<String>,
}

/// Opens the database that `url` names: `sqlite://PATH` or `postgres://…`. `keys` seal the secrets in it.
///
/// SQLite: the file is made if need be, migrated, and held until the store is dropped: no second process gets in. So
/// whoever held leases is gone, and interrupted operations are claimable at once.
/// PostgreSQL: the schema must be there; a background task on the current runtime listens for wake-ups until the store is
/// dropped.
///
/// # Errors
/// [`StoreError::InvalidUrl`], [`StoreError::FileInUse`], [`StoreError::File`], [`StoreError::NotMigrated`], or what the database says.
pub async fn connect(url: &str, keys: KeyRing) -> Result<Arc<dyn Store>, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::connect(path, keys).await,
        Engine::Postgres => postgres::connect(url, keys).await,
    }
}

/// Brings the schema of the database that `url` names up to date, whichever of its migrations are missing.
///
/// # Errors
/// As [`connect`].
pub async fn migrate(url: &str) -> Result<Migrated, StoreError> {
    match engine(url)? {
        Engine::Sqlite(path) => sqlite::migrate(path).await,
        Engine::Postgres => postgres::migrate(url).await,
    }
}

/// The operations that are not over, oldest first. Reads only and takes no lock: beside a process that serves, too.
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
        // The URL may hold a password: it is not repeated.
        _ => Err(StoreError::InvalidUrl),
    }
}

/// Applies the missing ones of `migrations` and tells which they were.
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
