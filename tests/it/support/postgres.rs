//! The real PostgreSQL of the test run: a database per test, copied from a template that is migrated once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use gybe::clock::{Ids, System};
use gybe::store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The URL of a database on the test server; its role may create databases.
const VARIABLE: &str = "GYBE_TEST_POSTGRES_URL";

/// The name of the template, once it exists.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A database of a test. It is deleted when dropped.
pub struct Database {
    name: String,
    /// Its URL.
    pub url: String,
}

impl Database {
    /// Creates a database with the schema.
    pub async fn create() -> Self {
        Self::copy_of(TEMPLATE.get_or_init(template).await).await
    }

    /// Creates an empty database.
    pub async fn create_empty() -> Self {
        Self::copy_of("template0").await
    }

    async fn copy_of(template: &str) -> Self {
        let name = format!("gybe_test_{}", System.uuid().simple());
        execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        let server = server_url();
        let (server, _) = server.rsplit_once('/').unwrap();
        Self { url: format!("{server}/{name}"), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // FORCE, because the test's pools may still have connections.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // On a thread of its own, because this one may belong to a runtime that must not be blocked.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&statement)).unwrap();
        });
        let dropped = dropped.join();
        assert!(dropped.is_ok() || thread::panicking(), "the database can be dropped");
    }
}

/// A PostgreSQL server for one test, which may restart it. It is stopped and deleted when dropped.
pub struct Server {
    folder: TempDir,
    /// Its database, with the schema.
    pub url: String,
}

impl Server {
    /// Starts a server.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let url = run(Command::new("tests/postgres/up").arg(folder.path())).trim().to_owned();
        store::migrate(&url).await.unwrap();
        Self { folder, url }
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.home().join(".s.PGSQL.5432")
    }

    /// Restarts the server and closes all connections, as for an upgrade. Returns when the server accepts connections.
    pub fn restart(&self) {
        let control = std::fs::read_to_string(self.folder.path().join("bin")).unwrap();
        // `pg_ctl` must run as the user of the server, who owns its files.
        let owner = std::fs::metadata(self.home()).unwrap().uid();
        let data = format!("--pgdata={}", self.home().join("data").display());
        let mut restart = Command::new(Path::new(control.trim()).join("pg_ctl"));
        restart.args([data.as_str(), "--mode=fast", "--wait", "--silent", "--log=/dev/null", "restart"]);
        run(restart.uid(owner).current_dir("/").stdin(Stdio::null()));
    }

    fn home(&self) -> PathBuf {
        std::fs::read_link(self.folder.path().join("home")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("tests/postgres/down").arg(self.folder.path()).status();
    }
}

/// Runs a command, which must succeed, in the folder of the repository; returns its output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Creates the template unless an earlier run has. Its name contains a hash of the migrations.
async fn template() -> String {
    let mut hasher = DefaultHasher::new();
    for migration in sqlx::migrate!("./migrations/postgres").iter() {
        migration.checksum.hash(&mut hasher);
    }
    let name = format!("gybe_template_{:016x}", hasher.finish());
    // CREATE DATABASE requires a template without connections.
    let there = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    if execute(&there).await.is_err() {
        let fresh = Database::create_empty().await;
        store::migrate(&fresh.url).await.unwrap();
        // Another process may have been faster; its template is the same.
        let renamed = execute(&format!("ALTER DATABASE {} RENAME TO {name}", fresh.name)).await;
        execute(&there).await.unwrap_or_else(|error| panic!("{renamed:?}, {error}"));
    }
    name
}

async fn execute(statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = server_url().parse::<PgConnectOptions>()?.connect().await?;
    connection.execute(AssertSqlSafe(statement.to_owned())).await?;
    Ok(())
}

fn server_url() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} is not set: run scripts/test, which starts a PostgreSQL, \
             or start one with `export {VARIABLE}=$(tests/postgres/up DIR)`"
        )
    })
}
