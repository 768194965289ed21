//! A database of an earlier schema, with data in it, becomes one of the present schema and keeps its data.

use std::any::Any;
use std::path::Path;

use gybe::domain::ids::ProjectId;
use gybe::store::attributes::{op_occs, parse_filter};
use gybe::store::{Page, migrate};
use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::support::{postgres, store};

on_both_engines! {
    OldDatabase::sqlite(), OldDatabase::postgres();
    drops_the_list_of_values
}

/// A database with the first eleven migrations.
struct OldDatabase {
    url: String,
    /// Removes the database when it is dropped.
    _guard: Box<dyn Any + Send + Sync>,
}

impl OldDatabase {
    const LAST_MIGRATION: i64 = 11;

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gybe.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal).connect().await.unwrap();
        migrations("migrations/sqlite").await.run_direct(None, &mut connection, false).await.unwrap();
        connection.close().await.unwrap();
        Self { url: format!("sqlite://{}", path.display()), _guard: Box::new(folder) }
    }

    async fn postgres() -> Self {
        let database = postgres::Database::create_empty().await;
        let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
        migrations("migrations/postgres").await.run_direct(None, &mut connection, false).await.unwrap();
        Self { url: database.url.clone(), _guard: Box::new(database) }
    }

    async fn execute(&self, statement: &str) {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        if let Some(path) = self.url.strip_prefix("sqlite://") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            statement.execute(&mut options.connect().await.unwrap()).await.unwrap();
        } else {
            statement.execute(&mut sqlx::PgConnection::connect(&self.url).await.unwrap()).await.unwrap();
        }
    }
}

async fn migrations(folder: &str) -> Migrator {
    let all = Migrator::new(Path::new(folder)).await.unwrap();
    let old = all.iter().filter(|migration| migration.version <= OldDatabase::LAST_MIGRATION).cloned();
    Migrator::with_migrations(old.collect())
}

async fn drops_the_list_of_values(old: OldDatabase) {
    let params = json!({ "additionalParams": { "namespace": "edge" } });
    old.execute(&format!(
        "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
             is_automatic_invocation, params, not_before, listed) \
         VALUES ('00000001-0000-4000-9000-000000000000', 'default', '00000000-0000-4000-8000-000000000000', 'HEAL', \
             'COMPLETED', 1, 7, false, '{params}', 0, true); \
         INSERT INTO vnf_lcm_op_occ_values (path, start_time, kind, value) VALUES (5, 7, 'string', 'edge')"
    ))
    .await;
    migrate(&old.url).await.unwrap();
    let store = store::open(&old.url).await;
    let filter = parse_filter("(eq,operationParams/additionalParams/namespace,edge)", &op_occs::V2).unwrap();
    let page = Page { filter: &filter, after: None, limit: 10 };
    assert_eq!(store.op_occs(Some(&ProjectId::default()), &page).await.unwrap().len(), 1);
}

/// The sessions of `gybe migrate` in this database that wait for a lock.
async fn waiting(connection: &mut sqlx::PgConnection) -> i64 {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                   AND application_name = 'gybe migrate'";
    sqlx::query_scalar(waiting).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_reader_lets_others_pass_and_goes_on_later() {
    let old = OldDatabase::postgres().await;
    let mut reader = sqlx::PgConnection::connect(&old.url).await.unwrap();
    let mut tx = reader.begin().await.unwrap();
    sqlx::query("SELECT id FROM vnf_lcm_op_occs").fetch_all(&mut *tx).await.unwrap();
    let mut others = sqlx::PgConnection::connect(&old.url).await.unwrap();
    let release = async {
        while waiting(&mut others).await == 0 {
            tokio::task::yield_now().await;
        }
        // The migration gives up while the reader stays. So statements that wait behind the migration go on.
        while waiting(&mut others).await > 0 {
            tokio::task::yield_now().await;
        }
        tx.rollback().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrate(&old.url), release);
    assert!(migrated.unwrap().applied.contains(&"13 outbox".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_an_interrupted_migration_left_is_made_again() {
    let old = OldDatabase::postgres().await;
    old.execute(
        "CREATE INDEX vnf_lcm_op_occs_ended ON vnf_lcm_op_occs (id); \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'vnf_lcm_op_occs_ended'::regclass",
    )
    .await;
    migrate(&old.url).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&old.url).await.unwrap();
    let definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'vnf_lcm_op_occs_ended'";
    let definition: String = sqlx::query_scalar(definition).fetch_one(&mut connection).await.unwrap();
    assert!(definition.contains("state_entered_time"), "{definition}");
}
