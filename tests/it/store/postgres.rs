//! What only PostgreSQL does: schema checks and signals between processes.

use std::pin::pin;
use std::sync::Arc;

use gybe::domain::fair_share::Crowded;
use gybe::domain::op_occ::CancelMode;
use gybe::error::ApiError;
use gybe::store::seal::KeyRing;
use gybe::store::{Claim, StoreError, connect, migrate};
use sqlx::{ConnectOptions, Connection};

use super::{MIGRATIONS, cancel};
use crate::support::postgres;
use crate::support::store::work;
use crate::support::store_fixture::{KEY, LONG, StoreFixture, vim};

#[tokio::test]
async fn the_claim_uses_its_index_without_table_statistics() {
    let f = StoreFixture::postgres().await;
    let mut connection = f.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap();
    let explain = "EXPLAIN SELECT id FROM vnf_lcm_op_occs \
         WHERE CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL \
                          ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END \
           AND not_before <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) \
           AND lease_until <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) \
           AND (CASE WHEN plan_format > 3 THEN 1 ELSE 0 END) <> 1 \
           AND (CASE WHEN project_id IN ('b') THEN 1 WHEN vim IN ('v') THEN 1 \
                     WHEN (project_id, vim) IN (VALUES ('a', 'w')) THEN 1 ELSE 0 END) <> 1 \
         ORDER BY not_before, id LIMIT 8 FOR UPDATE SKIP LOCKED";
    // Thousands of rows wait before the server has statistics.
    let many = "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, \
                    start_time, is_automatic_invocation, params, not_before) \
                SELECT n, 'p', n, 'HEAL', 'STARTING', 1, 1, false, '{}', n FROM generate_series(1, 3000) AS n";
    let mut tx = connection.begin().await.unwrap();
    sqlx::query(many).execute(&mut *tx).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *tx).await.unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using vnf_lcm_op_occs_due") && !plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn rejects_an_unmigrated_database() {
    let database = postgres::Database::create_empty().await;
    let refused = connect(&database.url, KeyRing::parse(KEY).unwrap()).await.err().unwrap();
    assert!(matches!(refused, StoreError::NotMigrated), "{refused:?}");
    assert!(refused.to_string().contains("gybe migrate"));
    assert_eq!(migrate(&database.url).await.unwrap().applied, MIGRATIONS);
    assert!(migrate(&database.url).await.unwrap().applied.is_empty());
    let store = connect(&database.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn rejects_a_database_with_unknown_migrations() {
    let f = StoreFixture::postgres().await;
    let again = async || connect(&f.url, KeyRing::parse(KEY).unwrap()).await;
    f.execute("INSERT INTO _sqlx_migrations SELECT 9999, 'newer', now(), true, checksum, 0 FROM _sqlx_migrations WHERE version = 1")
        .await;
    again().await.unwrap();
    f.execute("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1").await;
    assert_fails!(again().await.map(drop), StoreError::Migrate(_));
    f.execute("DELETE FROM _sqlx_migrations WHERE version = 1").await;
    assert_fails!(again().await.map(drop), StoreError::NotMigrated);
}

/// Each store stands for a process.
#[tokio::test]
async fn another_process_wakes_a_conductor() {
    let f = StoreFixture::postgres().await;
    let other = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
    let wake = other.wake();
    let mut woken = pin!(wake.notified());
    woken.as_mut().enable();
    let op = f.operation().await;
    woken.await;
    assert_eq!(work(other.claim("other", LONG, 1, &Crowded::default()).await.unwrap()).op.id, op.id);
    assert!(matches!(f.store.claim("ours", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(Some(_))));
}

#[tokio::test]
async fn only_cancel_requests_signal_cancellation_to_other_processes() {
    let f = StoreFixture::postgres().await;
    let other = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
    let (wake, mut cancels) = (other.wake(), other.cancels());
    let mut woken = pin!(wake.notified());
    woken.as_mut().enable();
    let op = f.operation().await;
    woken.await;
    assert!(!cancels.has_changed().unwrap());
    cancel(&f, op.id, CancelMode::Forceful).await.unwrap();
    cancels.changed().await.unwrap();
    assert_eq!(
        work(other.claim("other", LONG, 1, &Crowded::default()).await.unwrap()).op.cancel,
        Some(CancelMode::Forceful)
    );
}

#[tokio::test]
async fn a_reconnect_wakes_the_conductor() {
    let f = StoreFixture::postgres().await;
    let wake = f.store.wake();
    let mut woken = pin!(wake.notified());
    woken.as_mut().enable();
    f.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN %'",
    )
    .await;
    woken.await;
    // After the reconnection, notifications arrive again.
    let other = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap();
    let instance = f.instance().await;
    let mut woken = pin!(wake.notified());
    woken.as_mut().enable();
    other.begin_operation(&f.op(&instance), &instance).await.unwrap();
    woken.await;
}

#[tokio::test]
async fn the_listener_ends_with_the_store() {
    let f = StoreFixture::postgres().await;
    let wake = Arc::downgrade(&f.store.wake());
    let StoreFixture { store, _database, .. } = f;
    drop(store);
    while wake.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_statement_that_waits_too_long_for_a_lock_can_be_repeated() {
    let f = StoreFixture::postgres().await;
    let mut connection = f.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    sqlx::query("LOCK TABLE vims IN ACCESS EXCLUSIVE MODE").execute(&mut *tx).await.unwrap();
    let one = vim(f.uuid(), "one");
    let error = f.store.create_vim(&one).await.unwrap_err();
    assert!(error.is_locked() && error.is_transient() && !error.is_outage(), "{error:?}");
    assert_eq!(ApiError::from(error).0.status, 503);
    tx.rollback().await.unwrap();
    f.store.create_vim(&one).await.unwrap();
}
