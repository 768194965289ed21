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
    assert_eq!(store.op_occs(&ProjectId::default(), &page).await.unwrap().len(), 1);
}
