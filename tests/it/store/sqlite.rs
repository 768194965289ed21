//! What only SQLite does: one process, files of its owner alone, and plans of its queries.

use std::os::unix::fs::PermissionsExt;

use gybe::domain::fair_share::Crowded;
use gybe::store::seal::KeyRing;
use gybe::store::{Claim, StoreError, connect, migrate};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::{MIGRATIONS, assert_lost};
use crate::support::store_fixture::{KEY, LONG, StoreFixture, plan};

#[tokio::test]
async fn a_second_process_is_refused() {
    let f = StoreFixture::sqlite().await;
    let refused = connect(&f.url, KeyRing::parse(KEY).unwrap()).await.err().unwrap();
    assert!(matches!(refused, StoreError::FileInUse { .. }), "{refused:?}");
    assert!(refused.to_string().contains("gybe.db is in use by another process"), "{refused}");
    assert_fails!(migrate(&f.url).await, StoreError::FileInUse { .. });
    f.reopen(KEY).await;
}

#[tokio::test]
async fn an_interrupted_operation_is_claimable_at_the_next_start() {
    let f = StoreFixture::sqlite().await;
    let interrupted = f.processing().await;
    assert!(matches!(f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(Some(_))));
    let f = f.reopen(KEY).await;
    assert_lost(&f, interrupted.lease).await;
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.op.id, claimed.lease.epoch, claimed.plan), (interrupted.op.id, 2, Some(plan())));
}

#[tokio::test]
async fn files_are_readable_by_the_owner_only() {
    let f = StoreFixture::sqlite().await;
    f.operation().await;
    let path = f.url.strip_prefix("sqlite://").unwrap();
    for side in ["", "-wal", "-shm", ".lock"] {
        let mode = std::fs::metadata(format!("{path}{side}")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{side}");
    }
}

#[tokio::test]
async fn migrate_returns_the_applied_migrations() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/new.db", dir.path().display());
    assert_eq!(migrate(&url).await.unwrap().applied, MIGRATIONS);
    assert!(migrate(&url).await.unwrap().applied.is_empty());
}

#[tokio::test]
async fn an_unopenable_file_is_named() {
    let refused = connect("sqlite:///nonexistent/gybe.db", KeyRing::parse(KEY).unwrap()).await.err().unwrap();
    assert!(refused.to_string().contains("/nonexistent/gybe.db"), "{refused}");
}

#[tokio::test]
async fn a_list_page_is_read_from_its_covering_index() {
    let f = StoreFixture::sqlite().await;
    let path = f.url.strip_prefix("sqlite://").unwrap();
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(
        "EXPLAIN QUERY PLAN SELECT id, created_at, version FROM vnf_instances \
         WHERE project_id = 'default' AND (created_at, id) > (1, 'x') ORDER BY created_at, id LIMIT 100",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let [(_, _, _, step)] = &plan[..] else { panic!("one step, no sorting: {plan:?}") };
    assert!(step.contains("USING COVERING INDEX vnf_instances_list"), "{step}");
}

#[tokio::test]
async fn simple_filters_of_op_occurrences_use_a_covering_index() {
    let f = StoreFixture::sqlite().await;
    let path = f.url.strip_prefix("sqlite://").unwrap();
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    for (condition, index) in [
        ("state IN ('FAILED') AND operation NOT IN ('HEAL')", "vnf_lcm_op_occs_list"),
        ("state_entered_time >= 1 AND (cancel_mode IS NOT NULL) IN (true)", "vnf_lcm_op_occs_list"),
        ("is_automatic_invocation IN (false) AND instr(vnf_instance_id, 'x') > 0", "vnf_lcm_op_occs_list"),
        ("vnf_instance_id IN ('x')", "vnf_lcm_op_occs_instance"),
    ] {
        let statement = format!(
            "EXPLAIN QUERY PLAN SELECT id FROM vnf_lcm_op_occs \
             WHERE project_id = 'default' AND {condition} ORDER BY start_time, id LIMIT 100"
        );
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
        let [(_, _, _, step)] = &plan[..] else { panic!("one step, no sorting: {plan:?}") };
        assert!(step.contains(&format!("USING COVERING INDEX {index}")), "{condition}: {step}");
    }
}

/// The claim and the lists must not read the whole table.
#[tokio::test]
async fn the_claim_uses_its_index() {
    let f = StoreFixture::sqlite().await;
    let path = f.url.strip_prefix("sqlite://").unwrap();
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let explain = "EXPLAIN QUERY PLAN SELECT id FROM vnf_lcm_op_occs \
         WHERE CASE state WHEN 'FAILED_TEMP' THEN unattended_remedy IS NOT NULL \
                          ELSE state IN ('STARTING', 'PROCESSING', 'ROLLING_BACK') END \
           AND not_before <= 1 AND lease_until <= 1 ORDER BY not_before, id LIMIT 1";
    let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut connection).await.unwrap();
    assert_eq!(plan.len(), 1, "no sorting: {plan:?}");
    assert!(plan[0].3.contains("vnf_lcm_op_occs_due"), "{plan:?}");
}
