//! The real PostgreSQL that the run started: a database per test, copied from one that was migrated once per process.

use std::thread;

use gybe::clock::{Ids, System};
use gybe::store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tokio::sync::OnceCell;

/// URL of a database on the server to test on, with the right to create others.
const VARIABLE: &str = "GYBE_TEST_POSTGRES_URL";

/// The template's name. Nothing stays connected to it: PostgreSQL copies only what nobody uses. It goes with the server.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A migrated database; dropped with this value.
pub struct Database {
    name: String,
    /// Its URL, as `gybe::store::connect` takes it.
    pub url: String,
}

impl Database {
    /// A fresh one with the schema in it.
    pub async fn create() -> Self {
        let template = TEMPLATE
            .get_or_init(async || {
                let template = Self::create_from("template0").await;
                store::migrate(&template.url).await.unwrap();
                let name = template.name.clone();
                std::mem::forget(template);
                name
            })
            .await;
        Self::create_from(template).await
    }

    /// A fresh one with nothing in it.
    pub async fn create_empty() -> Self {
        Self::create_from("template0").await
    }

    async fn create_from(template: &str) -> Self {
        let name = format!("gybe_test_{}", System.uuid().simple());
        execute(format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        let (server, _) = server_url().rsplit_once('/').map(|(server, name)| (server.to_owned(), name.len())).unwrap();
        Self { url: format!("{server}/{name}"), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // FORCE: the pools of a test that panicked may still be connected. A thread, for we may be on a runtime's.
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let drop =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(execute(statement));
        let dropped = thread::spawn(drop).join();
        if !thread::panicking() {
            dropped.expect("the database can be dropped");
        }
    }
}

async fn execute(statement: String) {
    let mut connection = server_url().parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

fn server_url() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} is not set: run scripts/test, which starts a PostgreSQL, \
             or start one by `export {VARIABLE}=$(tests/postgres/up DIR)`"
        )
    })
}
