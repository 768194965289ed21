//! The real PostgreSQL that the run started: a database per test, copied from a template that was migrated once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;

use gybe::clock::{Ids, System};
use gybe::store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// URL of a database on the server to test on, of a role that may create others.
const VARIABLE: &str = "GYBE_TEST_POSTGRES_URL";

/// The template's name, once it is there.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A database of a test; dropped with this value.
pub struct Database {
    name: String,
    /// Its URL, as `gybe::store::connect` takes it.
    pub url: String,
}

impl Database {
    /// One with the schema in it.
    pub async fn create() -> Self {
        Self::copy_of(TEMPLATE.get_or_init(template).await).await
    }

    /// One with nothing in it.
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
        // FORCE: the test's pools may not have closed their connections yet.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // On a thread, for this one may belong to a runtime that is not to be blocked.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&statement)).unwrap();
        });
        let dropped = dropped.join();
        assert!(dropped.is_ok() || thread::panicking(), "the database can be dropped");
    }
}

/// Makes the template unless the server has it from an earlier run: its name tells of what migrations it is.
async fn template() -> String {
    let mut hasher = DefaultHasher::new();
    for migration in sqlx::migrate!("./migrations/postgres").iter() {
        migration.checksum.hash(&mut hasher);
    }
    let name = format!("gybe_template_{:016x}", hasher.finish());
    // Nobody may be connected to what is copied.
    let there = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    if execute(&there).await.is_err() {
        let fresh = Database::create_empty().await;
        store::migrate(&fresh.url).await.unwrap();
        // If another process was faster, its template is as good.
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
