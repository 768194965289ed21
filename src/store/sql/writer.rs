//! The one writer of SQLite. Transactions run one after the other, each with a commit of its own, and share `fsync`s.
//!
//! SQLite syncs nothing here but at checkpoints (`synchronous = NORMAL`): what is committed is in the log, is seen by everybody
//! from then on, and outlives the process. [`Tx::commit`] returns once it outlives a power failure, too: once the log is on
//! the disk up to there ([`Log`]). One `fsync` serves all who committed before it began, and others commit meanwhile. The log
//! is written in the order of commits: whatever is on the disk, all that was committed before is there with it.
//!
//! Whatever touches the connection beyond the caller's own statements runs in a task of its own: a caller that is dropped
//! half-way (a closed connection drops the request's handler) must not leave a transaction open.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::{SqliteArguments, SqliteQueryResult, SqliteRow};
use sqlx::{Executor as _, Sqlite, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tracing::Instrument as _;

/// Said of every commit after one that the disk did not take.
const FAILED: &str = "the disk has failed: what is stored is not safe until it works and gybe is started again";

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// The writer. Its clones are the same one.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Mutex<SqliteConnection>>,
    log: Log,
    /// A caller's runtime may end before his transaction does.
    runtime: Handle,
    /// Held as long as anything may be written.
    _lock: File,
}

/// SQLite's write-ahead log, as far as getting it to the disk goes.
pub(super) struct Log {
    file: Arc<File>,
    /// Commits so far.
    committed: AtomicU64,
    /// So many of them are on the disk; `None` once it has failed: what the system has not written then, it may forget.
    synced: watch::Sender<Option<u64>>,
    /// Whose turn it is to sync, for all.
    turn: Mutex<()>,
}

/// A transaction. One that is dropped rolls back.
pub(super) struct Tx {
    shared: Arc<Shared>,
    /// There until the transaction ends.
    connection: Option<OwnedMutexGuard<SqliteConnection>>,
}

/// A commit that everybody sees, and that a power failure may still take away.
#[must_use]
pub(super) struct Unsynced {
    shared: Arc<Shared>,
    /// Which commit it is, counted from 1.
    number: u64,
}

impl Writer {
    /// Writes through `connection`, to `log`, ending transactions on the current runtime, and holds `lock` until the last has
    /// ended.
    pub(super) fn new(connection: SqliteConnection, log: Log, lock: File) -> Self {
        let connection = Arc::new(Mutex::new(connection));
        Self { shared: Arc::new(Shared { connection, log, runtime: Handle::current(), _lock: lock }) }
    }

    /// Begins a transaction once it is its turn.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        let begin = async move {
            let mut connection = Arc::clone(&shared.connection).lock_owned().await;
            connection.execute("BEGIN IMMEDIATE").await?;
            Ok(Tx { shared, connection: Some(connection) })
        };
        let begun = self.shared.runtime.spawn(begin.in_current_span());
        begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    /// Runs a statement as a transaction of its own.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn execute(&self, query: Query<'_>) -> Result<SqliteQueryResult, sqlx::Error> {
        let mut tx = self.begin().await?;
        let done = query.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// As [`Writer::execute`], with the rows that the statement gives back, and without waiting for the disk.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn fetch_all_unsynced(&self, query: Query<'_>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let rows = query.fetch_all(&mut *tx).await?;
        let _ = tx.commit_unsynced().await?;
        Ok(rows)
    }

    /// Returns once all that is committed now is on the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) async fn sync(&self) -> Result<(), sqlx::Error> {
        let number = self.shared.log.committed.load(Ordering::SeqCst);
        Unsynced { shared: Arc::clone(&self.shared), number }.synced().await
    }
}

impl Tx {
    /// Ends the transaction; returns once it is on the disk.
    ///
    /// # Errors
    /// What the database says: nothing is written then. Or the disk failed.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.commit_unsynced().await?.synced().await
    }

    /// Ends the transaction; returns once everybody sees it.
    ///
    /// # Errors
    /// What the database says. Nothing is written then.
    pub(super) async fn commit_unsynced(mut self) -> Result<Unsynced, sqlx::Error> {
        let Some(mut connection) = self.connection.take() else { return Err(sqlx::Error::WorkerCrashed) };
        let shared = Arc::clone(&self.shared);
        let end = async move {
            if let Err(error) = connection.execute("COMMIT").await {
                // It fails if the database has done so itself.
                let _ = connection.execute("ROLLBACK").await;
                return Err(error);
            }
            let number = shared.log.committed.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Unsynced { shared, number })
        };
        let ended = self.shared.runtime.spawn(end.in_current_span());
        ended.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }
}

impl Unsynced {
    /// Returns once the commit is on the disk.
    ///
    /// # Errors
    /// The disk failed, now or before.
    pub(super) async fn synced(self) -> Result<(), sqlx::Error> {
        let runtime = self.shared.runtime.clone();
        let sync = async move { self.shared.log.sync(self.number).await };
        runtime.spawn(sync.in_current_span()).await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }
}

impl Log {
    /// The log of the database at `path`, which is open.
    ///
    /// # Errors
    /// It can't be opened, or its folder can't be synced, after which the log is there for good.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let file = File::open(log)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self::of(file))
    }

    fn of(file: File) -> Self {
        let synced = watch::Sender::new(Some(0));
        Self { file: Arc::new(file), committed: AtomicU64::new(0), synced, turn: Mutex::new(()) }
    }

    /// Returns once commit `number` is on the disk.
    async fn sync(&self, number: u64) -> Result<(), sqlx::Error> {
        let mut synced = self.synced.subscribe();
        let reached = async {
            let known = synced.wait_for(|synced| synced.is_none_or(|synced| synced >= number)).await;
            known.ok().and_then(|known| *known)
        };
        let _turn = tokio::select! {
            biased;
            known = reached => return known.map(drop).ok_or_else(|| sqlx::Error::Io(io::Error::other(FAILED))),
            turn = self.turn.lock() => turn,
        };
        let all = self.committed.load(Ordering::SeqCst);
        let file = Arc::clone(&self.file);
        let done = tokio::task::spawn_blocking(move || file.sync_data()).await;
        let done = done.unwrap_or_else(|lost| Err(io::Error::other(lost)));
        if let Err(error) = &done {
            tracing::error!(error = error as &dyn std::error::Error, "{FAILED}");
        }
        self.synced.send_replace(done.is_ok().then_some(all));
        done.map_err(sqlx::Error::Io)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        self.shared.runtime.spawn(async move {
            // It fails if the database has done so itself.
            let _ = connection.execute("ROLLBACK").await;
        });
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    #[expect(clippy::expect_used, reason = "only what consumes the transaction takes the connection")]
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_deref().expect("a transaction that is not over")
    }
}

impl DerefMut for Tx {
    #[expect(clippy::expect_used, reason = "as in deref")]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_deref_mut().expect("a transaction that is not over")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;
    use tempfile::TempDir;

    use super::*;

    struct Database {
        folder: TempDir,
        writer: Writer,
    }

    impl Database {
        async fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let mut connection = options(&folder).create_if_missing(true).connect().await.unwrap();
            let tables = "CREATE TABLE numbers (number INTEGER PRIMARY KEY); \
                          CREATE TABLE twins (number INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)";
            connection.execute(tables).await.unwrap();
            let log = Log::open(&folder.path().join("test.db")).unwrap();
            let lock = File::create(folder.path().join("test.lock")).unwrap();
            Self { folder, writer: Writer::new(connection, log, lock) }
        }

        fn log(&self) -> &Log {
            &self.writer.shared.log
        }

        /// What another connection sees.
        async fn numbers(&self) -> Vec<i64> {
            let mut connection = options(&self.folder).connect().await.unwrap();
            sqlx::query_scalar("SELECT number FROM numbers ORDER BY 1").fetch_all(&mut connection).await.unwrap()
        }

        /// Begins to write `number` and to wait for the disk; returns once everybody sees it.
        async fn write(&self, number: i64) -> tokio::task::JoinHandle<Result<(), sqlx::Error>> {
            let mut tx = self.writer.begin().await.unwrap();
            insert(&mut tx, number).await;
            tokio::spawn(tx.commit_unsynced().await.unwrap().synced())
        }
    }

    fn options(folder: &TempDir) -> SqliteConnectOptions {
        let file = folder.path().join("test.db");
        SqliteConnectOptions::new().filename(file).journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
    }

    async fn insert(tx: &mut Tx, number: i64) {
        sqlx::query("INSERT INTO numbers VALUES ($1)").bind(number).execute(&mut **tx).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn transactions_that_come_at_once_are_all_written() {
        let database = Database::new().await;
        let writes = (0..500).map(|number| {
            let writer = database.writer.clone();
            tokio::spawn(async move {
                let mut tx = writer.begin().await.unwrap();
                insert(&mut tx, number).await;
                if number % 3 == 0 { drop(tx) } else { tx.commit().await.unwrap() }
            })
        });
        join_all(writes).await.into_iter().for_each(Result::unwrap);
        assert_eq!(database.numbers().await, (0..500).filter(|number| number % 3 != 0).collect::<Vec<_>>());
        assert_eq!(*database.log().synced.borrow(), Some(database.log().committed.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn nobody_returns_before_the_disk_has_it_and_one_sync_serves_all_who_wait() {
        let database = Database::new().await;
        let turn = database.log().turn.lock().await;
        let waiting = [database.write(1).await, database.write(2).await, database.write(3).await];
        assert_eq!(database.numbers().await, [1, 2, 3]);
        assert!(waiting.iter().all(|write| !write.is_finished()));
        drop(turn);
        let [first, second, third] = waiting;
        first.await.unwrap().unwrap();
        assert_eq!(*database.log().synced.borrow(), Some(3));
        let _nobody_syncs_again = database.log().turn.lock().await;
        second.await.unwrap().unwrap();
        third.await.unwrap().unwrap();
        database.writer.sync().await.unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_failed_is_not_trusted_again() {
        let database = Database::new().await;
        let (_reader, pipe) = io::pipe().unwrap();
        let log = Log::of(File::from(std::os::fd::OwnedFd::from(pipe)));
        assert!(log.sync(1).await.is_err(), "a pipe can't be synced");
        let again = log.sync(1).await.unwrap_err().to_string();
        assert!(again.contains("the disk has failed"), "{again}");
        database.writer.sync().await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_nothing_open() {
        let database = Database::new().await;
        let first = database.writer.begin().await.unwrap();
        for _ in 0..3 {
            drop(tokio::time::timeout(Duration::ZERO, database.writer.begin()).await);
        }
        first.commit().await.unwrap();
        let mut last = database.writer.begin().await.unwrap();
        insert(&mut last, 1).await;
        let commit = last.commit();
        drop(tokio::time::timeout(Duration::ZERO, commit).await);
        let mut after = database.writer.begin().await.unwrap();
        insert(&mut after, 2).await;
        after.commit().await.unwrap();
        assert_eq!(database.numbers().await.last(), Some(&2));
    }

    #[tokio::test]
    async fn a_commit_that_fails_harms_no_other() {
        let database = Database::new().await;
        let mut bad = database.writer.begin().await.unwrap();
        insert(&mut bad, 1).await;
        bad.execute("INSERT INTO twins VALUES (7)").await.unwrap();
        let failed = bad.commit().await.unwrap_err();
        assert!(format!("{failed:?}").contains("FOREIGN KEY"), "{failed:?}");
        assert!(database.numbers().await.is_empty());
        database.write(3).await.await.unwrap().unwrap();
        assert_eq!(database.numbers().await, [3]);
    }
}
