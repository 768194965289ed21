//! The one writer of SQLite. Transactions that wait at the same time share one commit, and so its `fsync`.
//!
//! Under `synchronous = FULL` each COMMIT waits for the disk, for milliseconds. Transactions that arrive meanwhile wait for
//! the connection. They then run one after the other, each in a savepoint of one SQLite transaction: a [`Batch`]. The last
//! one that nobody waits behind commits the batch, and [`Tx::commit`] of each returns after that. A transaction that arrives
//! alone is a batch of its own and commits at once.
//!
//! A transaction that fails or is dropped rolls back to its savepoint; the others of the batch are unaffected. If the COMMIT
//! fails, nothing of the batch is written and each of its transactions returns the error.
//!
//! Readers see a batch only when it is on the disk: SQLite publishes a commit after the `fsync`.
//!
//! A caller can be dropped at any point: a closed connection drops the handler of its request. So everything beyond the
//! caller's own statements (BEGIN, RELEASE, COMMIT, ROLLBACK) runs on a task of its own, which always finishes.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::sqlite::{SqliteArguments, SqliteQueryResult, SqliteRow};
use sqlx::{Executor as _, Sqlite, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tracing::Instrument as _;

/// Maximum number of transactions in a batch: the first one waits for all of them.
const BATCH_SIZE: usize = 64;

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// The result of a batch's commit; `None` until then.
type CommitResult = Option<Result<(), Arc<sqlx::Error>>>;

/// The writer. Clones share the connection.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Mutex<WriteConnection>>,
    /// Number of callers that wait for the connection.
    waiting: AtomicUsize,
    /// The runtime of the store. The runtime of a caller may end before its transaction does.
    runtime: Handle,
    /// The lock file: held as long as anything can still be written.
    _lock: File,
}

struct WriteConnection {
    connection: SqliteConnection,
    /// The open batch.
    batch: Option<Batch>,
}

/// The transactions of one COMMIT.
struct Batch {
    /// Number of transactions that wait for the COMMIT.
    size: usize,
    result: watch::Sender<CommitResult>,
}

/// A transaction. It rolls back when it is dropped.
pub(super) struct Tx {
    shared: Arc<Shared>,
    /// `None` once the transaction has ended.
    connection: Option<OwnedMutexGuard<WriteConnection>>,
}

impl Writer {
    /// Writes through `connection`. Transactions end on the current runtime. Holds `lock` until the last one has ended.
    pub(super) fn new(connection: SqliteConnection, lock: File) -> Self {
        let connection = Arc::new(Mutex::new(WriteConnection { connection, batch: None }));
        let waiting = AtomicUsize::new(0);
        Self { shared: Arc::new(Shared { connection, waiting, runtime: Handle::current(), _lock: lock }) }
    }

    /// Waits for the connection and begins a transaction.
    ///
    /// # Errors
    /// An error of the database.
    pub(super) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        let begin = async move {
            let connection = Arc::clone(&shared.connection).lock_owned().await;
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
            let mut tx = Tx { shared, connection: None };
            let connection = tx.connection.insert(connection);
            if connection.batch.is_some() {
                connection.connection.execute("SAVEPOINT tx").await?;
            } else {
                connection.connection.execute("BEGIN IMMEDIATE; SAVEPOINT tx").await?;
                connection.batch = Some(Batch { size: 0, result: watch::Sender::new(None) });
            }
            Ok(tx)
        };
        let begun = self.shared.runtime.spawn(begin.in_current_span());
        begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    /// Runs a statement as a transaction of its own.
    ///
    /// # Errors
    /// An error of the database.
    pub(super) async fn execute(&self, query: Query<'_>) -> Result<SqliteQueryResult, sqlx::Error> {
        let mut tx = self.begin().await?;
        let result = query.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// As [`Writer::execute`], for a statement that returns rows.
    ///
    /// # Errors
    /// An error of the database.
    pub(super) async fn fetch_all(&self, query: Query<'_>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let rows = query.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Returns when the open batch, if there is one, is on the disk. A transaction sees the others of its batch; readers see
    /// them only then.
    pub(super) async fn settled(&self) {
        let connection = self.shared.connection.lock().await;
        let Some(mut result) = connection.batch.as_ref().map(|batch| batch.result.subscribe()) else { return };
        drop(connection);
        // The batch reports its failure to those that wrote.
        let _ = result.wait_for(Option::is_some).await;
    }
}

impl Tx {
    /// Ends the transaction. Returns when it is on the disk, with the others of its batch.
    ///
    /// # Errors
    /// The error of the batch's COMMIT. Nothing of the batch is written then.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let Some(mut connection) = self.connection.take() else { return Err(sqlx::Error::WorkerCrashed) };
        let shared = Arc::clone(&self.shared);
        let end = async move {
            let Some(batch) = &mut connection.batch else { return Err(sqlx::Error::WorkerCrashed) };
            batch.size += 1;
            let mut result = batch.result.subscribe();
            let released = connection.connection.execute("RELEASE tx").await.map(drop);
            connection.end_transaction(&shared, released).await;
            drop(connection);
            match result.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Ok(()))) => Ok(()),
                Ok(Some(Err(error))) => Err(sqlx::Error::Io(io::Error::other(Arc::clone(error)))),
                _ => Err(sqlx::Error::WorkerCrashed),
            }
        };
        let runtime = self.shared.runtime.clone();
        runtime.spawn(end.in_current_span()).await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }
}

impl WriteConnection {
    /// After a transaction of the batch: commits the batch if nobody waits to join it. `ended` is the result of ending the
    /// savepoint. It fails if SQLite has rolled back everything itself, as it does when the disk is full; then the whole batch
    /// has failed.
    async fn end_transaction(&mut self, shared: &Shared, ended: Result<(), sqlx::Error>) {
        let is_last = shared.waiting.load(Ordering::SeqCst) == 0;
        let Some(batch) = self.batch.take_if(|batch| ended.is_err() || is_last || batch.size >= BATCH_SIZE) else {
            return;
        };
        let committed = match ended {
            Ok(()) => self.connection.execute("COMMIT").await.map(drop),
            Err(error) => Err(error),
        };
        if committed.is_err() {
            // Fails if SQLite has rolled back already.
            let _ = self.connection.execute("ROLLBACK").await;
        }
        batch.result.send_replace(Some(committed.map_err(Arc::new)));
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.runtime.spawn(async move {
            let undone = connection.connection.execute("ROLLBACK TO tx; RELEASE tx").await.map(drop);
            connection.end_transaction(&shared, undone).await;
        });
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    #[expect(clippy::expect_used, reason = "only what consumes the transaction takes the connection")]
    fn deref(&self) -> &SqliteConnection {
        &self.connection.as_ref().expect("the transaction has not ended").connection
    }
}

impl DerefMut for Tx {
    #[expect(clippy::expect_used, reason = "as in deref")]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection.as_mut().expect("the transaction has not ended").connection
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;
    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

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
            let lock = File::create(folder.path().join("test.lock")).unwrap();
            Self { folder, writer: Writer::new(connection, lock) }
        }

        /// The numbers that another connection reads.
        async fn numbers(&self) -> Vec<i64> {
            let mut connection = options(&self.folder).connect().await.unwrap();
            sqlx::query_scalar("SELECT number FROM numbers ORDER BY 1").fetch_all(&mut connection).await.unwrap()
        }

        /// Begins `count` transactions while another one is open. Returns when all of them wait.
        async fn waiting(&self, count: usize) -> Vec<JoinHandle<Result<Tx, sqlx::Error>>> {
            let begin = |_| {
                let writer = self.writer.clone();
                tokio::spawn(async move { writer.begin().await })
            };
            let begun = (0..count).map(begin).collect();
            let all_wait = async {
                while self.writer.shared.waiting.load(Ordering::SeqCst) < count {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, all_wait).await.unwrap();
            begun
        }

        /// Two transactions of one batch: the first waits for the commit, the second is open.
        async fn batch_of_two(&self) -> (JoinHandle<Result<(), sqlx::Error>>, Tx) {
            let mut first = self.writer.begin().await.unwrap();
            insert(&mut first, 1).await;
            let mut waiting = self.waiting(1).await;
            let first = tokio::spawn(first.commit());
            (first, waiting.remove(0).await.unwrap().unwrap())
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
    async fn writes_all_concurrent_transactions() {
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
    }

    #[tokio::test]
    async fn a_transaction_that_was_overtaken_in_its_batch_can_wait_until_readers_see_why() {
        let database = Database::new().await;
        let (first, overtaken) = database.batch_of_two().await;
        drop(overtaken);
        database.writer.settled().await;
        assert_eq!(database.numbers().await, [1]);
        first.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn shares_a_commit_and_returns_after_it() {
        let database = Database::new().await;
        let (first, mut second) = database.batch_of_two().await;
        assert!(database.numbers().await.is_empty(), "the first is not committed while the second is open");
        assert!(!first.is_finished());
        insert(&mut second, 2).await;
        second.commit().await.unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(database.numbers().await, [1, 2]);
    }

    #[tokio::test]
    async fn rolls_back_only_the_dropped_transaction_of_a_batch() {
        let database = Database::new().await;
        let (first, mut second) = database.batch_of_two().await;
        insert(&mut second, 2).await;
        drop(second);
        first.await.unwrap().unwrap();
        assert_eq!(database.numbers().await, [1]);
    }

    #[tokio::test]
    async fn a_failed_statement_does_not_harm_the_batch() {
        let database = Database::new().await;
        let (first, mut second) = database.batch_of_two().await;
        insert(&mut second, 2).await;
        second.execute("INSERT INTO numbers VALUES (1)").await.unwrap_err();
        drop(second);
        first.await.unwrap().unwrap();
        assert_eq!(database.numbers().await, [1]);
    }

    #[tokio::test]
    async fn a_caller_that_is_dropped_leaves_nothing_open() {
        let database = Database::new().await;
        let first = database.writer.begin().await.unwrap();
        for waiting in database.waiting(3).await {
            waiting.abort();
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
    async fn a_failed_commit_fails_its_batch_and_no_other() {
        let database = Database::new().await;
        let (first, mut second) = database.batch_of_two().await;
        second.execute("INSERT INTO twins VALUES (7)").await.unwrap();
        let failed = second.commit().await.unwrap_err();
        assert!(format!("{failed:?}").contains("FOREIGN KEY"), "{failed:?}");
        first.await.unwrap().unwrap_err();
        assert!(database.numbers().await.is_empty());

        let mut next = database.writer.begin().await.unwrap();
        insert(&mut next, 3).await;
        next.commit().await.unwrap();
        assert_eq!(database.numbers().await, [3]);
    }
}
