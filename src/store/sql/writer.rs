//! The one writer of SQLite. Transactions that come while others are under way share a commit, and so its `fsync`.
//!
//! They run one after the other, each in a savepoint of one transaction of the database. Whoever ends when nobody waits, or
//! ends the group's last place, commits for all; nobody returns from [`Tx::commit`] before his group is on the disk. A
//! transaction that comes alone commits at once: the group is what gathers during the `fsync` of the one before.
//!
//! Whatever touches the connection beyond the caller's own statements runs in a task of its own: a caller that is dropped
//! half-way (a closed connection drops the request's handler) must leave neither a savepoint nor a group behind.
//!
//! Within a group a transaction sees what those before it wrote. If the commit fails, all of the group are told so.

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

/// Transactions that share one commit at most: the first of them waits for the last.
const GROUP: usize = 64;

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// Whether a group's commit succeeded; `None` until it is tried.
type Outcome = Option<Result<(), Arc<sqlx::Error>>>;

/// The writer. Its clones are the same one.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Arc<Mutex<State>>,
    /// Who wants the connection and does not have it.
    waiting: AtomicUsize,
    /// A caller's runtime may end before his transaction does.
    runtime: Handle,
    /// Held as long as anything may be written.
    _lock: File,
}

struct State {
    connection: SqliteConnection,
    /// The open transaction of the database, if there is one.
    group: Option<Group>,
}

struct Group {
    size: usize,
    outcome: watch::Sender<Outcome>,
}

/// A transaction. One that is dropped rolls back.
pub(super) struct Tx {
    shared: Arc<Shared>,
    /// There until the transaction ends.
    state: Option<OwnedMutexGuard<State>>,
}

impl Writer {
    /// Writes through `connection`, ending transactions on the current runtime, and holds `lock` until the last has ended.
    pub(super) fn new(connection: SqliteConnection, lock: File) -> Self {
        let state = Arc::new(Mutex::new(State { connection, group: None }));
        Self {
            shared: Arc::new(Shared { state, waiting: AtomicUsize::new(0), runtime: Handle::current(), _lock: lock }),
        }
    }

    /// Begins a transaction once it is its turn.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        let begin = async move {
            let state = Arc::clone(&shared.state).lock_owned().await;
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
            let mut tx = Tx { shared, state: None };
            let state = tx.state.insert(state);
            if state.group.is_some() {
                state.connection.execute("SAVEPOINT one").await?;
            } else {
                state.connection.execute("BEGIN IMMEDIATE; SAVEPOINT one").await?;
                state.group = Some(Group { size: 0, outcome: watch::Sender::new(None) });
            }
            Ok(tx)
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

    /// As [`Writer::execute`], with the rows that the statement gives back.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn fetch_all(&self, query: Query<'_>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let rows = query.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(rows)
    }
}

impl Tx {
    /// Ends the transaction; returns once it is on the disk, with the others of its group.
    ///
    /// # Errors
    /// What the database says of the group's commit. Nothing of it is written then.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let Some(mut state) = self.state.take() else { return Err(sqlx::Error::WorkerCrashed) };
        let shared = Arc::clone(&self.shared);
        let end = async move {
            let Some(group) = &mut state.group else { return Err(sqlx::Error::WorkerCrashed) };
            group.size += 1;
            let mut outcome = group.outcome.subscribe();
            let released = state.connection.execute("RELEASE one").await.map(drop);
            state.settle(&shared, released).await;
            drop(state);
            match outcome.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Ok(()))) => Ok(()),
                Ok(Some(Err(error))) => Err(sqlx::Error::Io(io::Error::other(Arc::clone(error)))),
                _ => Err(sqlx::Error::WorkerCrashed),
            }
        };
        let runtime = self.shared.runtime.clone();
        runtime.spawn(end.in_current_span()).await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }
}

impl State {
    /// After one transaction of the group ended: commits if no other is to come, and undoes all if one could not end.
    async fn settle(&mut self, shared: &Shared, ended: Result<(), sqlx::Error>) {
        let last = shared.waiting.load(Ordering::SeqCst) == 0;
        let Some(group) = self.group.take_if(|group| ended.is_err() || last || group.size >= GROUP) else { return };
        let committed = match ended {
            Ok(()) => self.connection.execute("COMMIT").await.map(drop),
            Err(error) => Err(error),
        };
        if committed.is_err() {
            // It fails if the database has done so itself.
            let _ = self.connection.execute("ROLLBACK").await;
        }
        group.outcome.send_replace(Some(committed.map_err(Arc::new)));
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.runtime.spawn(async move {
            let undone = state.connection.execute("ROLLBACK TO one; RELEASE one").await.map(drop);
            state.settle(&shared, undone).await;
        });
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    #[expect(clippy::expect_used, reason = "only what consumes the transaction takes the state")]
    fn deref(&self) -> &SqliteConnection {
        &self.state.as_ref().expect("a transaction that is not over").connection
    }
}

impl DerefMut for Tx {
    #[expect(clippy::expect_used, reason = "as in deref")]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.state.as_mut().expect("a transaction that is not over").connection
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

    const WAITING: Duration = Duration::from_secs(30);

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

        /// What another connection sees.
        async fn numbers(&self) -> Vec<i64> {
            let mut connection = options(&self.folder).connect().await.unwrap();
            sqlx::query_scalar("SELECT number FROM numbers ORDER BY 1").fetch_all(&mut connection).await.unwrap()
        }

        /// Begins `count` transactions at once while `first` is open, and gives back when all wait for it.
        async fn waiting(&self, count: usize) -> Vec<tokio::task::JoinHandle<Result<Tx, sqlx::Error>>> {
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
            tokio::time::timeout(WAITING, all_wait).await.unwrap();
            begun
        }

        /// A transaction that has written 1 and commits, and the one that came meanwhile, of the same group.
        async fn group_of_two(&self) -> (tokio::task::JoinHandle<Result<(), sqlx::Error>>, Tx) {
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
    }

    #[tokio::test]
    async fn those_that_wait_share_a_commit_and_nobody_returns_before_it() {
        let database = Database::new().await;
        let (first, mut second) = database.group_of_two().await;
        assert!(database.numbers().await.is_empty(), "the first is not committed while the second is open");
        assert!(!first.is_finished());
        insert(&mut second, 2).await;
        second.commit().await.unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(database.numbers().await, [1, 2]);
    }

    #[tokio::test]
    async fn one_that_is_dropped_takes_nothing_of_its_group_with_it() {
        let database = Database::new().await;
        let (first, mut second) = database.group_of_two().await;
        insert(&mut second, 2).await;
        drop(second);
        first.await.unwrap().unwrap();
        assert_eq!(database.numbers().await, [1]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_nothing_open() {
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
    async fn all_of_a_group_are_told_that_its_commit_failed_and_the_next_group_is_not_harmed() {
        let database = Database::new().await;
        let (first, mut second) = database.group_of_two().await;
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
