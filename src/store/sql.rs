//! The store on SQLite and on PostgreSQL.
//!
//! `sql/shared/` has every statement once. Both engines take `$1`, `RETURNING`, `ON CONFLICT` and JSON the same way, so its
//! files are compiled twice: as children of `sql/sqlite.rs` and of `sql/postgres.rs`, which bring what differs (the driver
//! type, the clock in SQL, row locks, how to write, how an error tells which rule was broken, how other processes are
//! woken, how long to wait). docs/adr/0002-one-sql-for-two-engines.md has the reasons.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::store::seal::KeyRing;
use crate::store::{LiveOperation, Store, StoreError};

mod convert;
mod current;
mod endings;
mod kept;
mod postgres;
mod sqlite;
mod writer;

pub(super) use convert::millis;

/// What a store tells the conductors of its process; see [`Store::wake`] and [`Store::cancels`].
#[derive(Clone, Default)]
struct Signals {
    wake: Arc<Notify>,
    cancels: watch::Sender<()>,
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
/// [`StoreError::Url`], [`StoreError::Held`], [`StoreError::File`], [`StoreError::NotMigrated`], or what the database says.
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
/// As [`connect`], except [`StoreError::Held`].
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
        _ => Err(StoreError::Url),
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
