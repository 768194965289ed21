//! Error messages of a VIM: stored, logged and reported without secrets, limited in length, and in a form that every
//! database accepts, for retryable and permanent errors.

use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Clock as _, System};
use gybe::domain::fair_share::Crowded;
use gybe::domain::op_occ::{OpState, VnfLcmOpOcc};
use gybe::domain::plan::{Plan, Step};
use gybe::domain::problem::Problem;
use gybe::domain::resource::{ObjectKey, Resource, ResourceState};
use gybe::domain::retry;
use gybe::domain::transition::OpEvent;
use gybe::infra::{InfraError, InfraErrorKind};
use serde_json::json;

use super::cancel::{ConductorFixture, GatedDriver, instantiated};
use crate::support::op_occ_fixture::{OpOccFixture, resource};
use crate::support::store_fixture::key;

/// A Secret that contains `hunter2`.
fn secret() -> Resource {
    let manifest = json!({ "stringData": { "password": "hunter2" } });
    Resource {
        key: ObjectKey { api_version: "v1".to_owned(), kind: "Secret".to_owned(), name: "s".to_owned() },
        manifest: manifest.as_object().unwrap().clone(),
        state: ResourceState::Present { uid: "s".to_owned(), owned: true },
        ..resource("s")
    }
}

/// Runs an operation that creates `count` objects and can be rolled back, on a cluster that responds to every request
/// with `error`.
async fn run_with_error(ops: OpOccFixture, count: usize, error: InfraError) -> (ConductorFixture, VnfLcmOpOcc) {
    let names: Vec<String> = (0..count).map(|number| format!("o{number}")).collect();
    let objects: Vec<ObjectKey> = names.iter().map(|name| key(name)).collect();
    let forward = vec![Step::Apply { objects }];
    let backward = Some(vec![Step::Remove { objects: vec![secret().key], grace_seconds: None, keep_rows: false }]);
    let rows: Vec<Resource> = names.iter().map(|name| resource(name)).chain([secret()]).collect();
    let driver = GatedDriver::open(&[""]);
    driver.fail("", error);
    let op = ops.planned(&Plan { forward, backward, ..Plan::default() }, &rows).await;
    (ConductorFixture::begin(ops, driver), op)
}

/// Waits until the operation has an error, and returns it.
async fn wait_error(fixture: &ConductorFixture, op: &VnfLcmOpOcc) -> Problem {
    loop {
        if let Some(error) = fixture.ops.show(op).await.error {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_retryable_error_is_recorded_without_secrets_even_with_a_nul() {
    let text = "webhook: no\0 connection with hunter2, token=abc";
    let (fixture, op) = run_with_error(OpOccFixture::on_postgres().await, 1, InfraError::transient(text)).await;
    let error = wait_error(&fixture, &op).await;
    assert_eq!((error.status, error.detail.as_str()), (504, "webhook: no  connection with ***, token=***"));
    assert_eq!(fixture.ops.show(&op).await.state, OpState::Processing, "the conductor tries the step again");
}

/// A webhook that does not answer yet, or a kind that is not served yet, is no failure.
#[tokio::test]
async fn an_operation_goes_on_once_what_it_waits_for_is_ready() {
    for ops in [OpOccFixture::on_sqlite().await, OpOccFixture::on_postgres().await] {
        let forward = vec![Step::Apply { objects: vec![key("o")] }];
        let plan = Plan { forward, instantiated: Some(instantiated()), ..Plan::default() };
        let driver = GatedDriver::open(&[""]);
        driver.fail("ensure", InfraError::waiting("failed calling webhook \"w\""));
        let op = ops.planned(&plan, &[resource("o")]).await;
        let fixture = ConductorFixture::begin(ops, Arc::clone(&driver));
        let error = wait_error(&fixture, &op).await;
        assert_eq!(
            (error.urn.as_str(), error.detail.as_str()),
            ("urn:gybe:problem:vnf-not-ready", "failed calling webhook \"w\"")
        );
        assert_eq!(fixture.ops.show(&op).await.state, OpState::Processing);
        driver.fail("nothing", InfraError::transient("never"));
        let ended = fixture.ops.wait_ended(&op).await;
        assert_eq!((ended.state, ended.error), (OpState::Completed, None));
    }
}

#[tokio::test]
async fn an_attempt_counts_even_if_its_error_cannot_be_stored() {
    let ops = OpOccFixture::on_postgres().await;
    ops.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE ON vnf_lcm_op_occs FOR EACH ROW \
         WHEN (NEW.error::text LIKE '%vim-unreachable%') EXECUTE FUNCTION refuse()",
    )
    .await;
    let (fixture, op) = run_with_error(ops, 1, InfraError::transient("later")).await;
    // The lease does not expire during the test, so the error must come from the recorded attempt.
    assert_eq!(wait_error(&fixture, &op).await.urn, "urn:gybe:problem:internal");
}

#[tokio::test]
async fn an_error_that_stops_a_rollback_is_recorded_without_secrets() {
    let text = "it is\0 refused with hunter2";
    let (fixture, op) = run_with_error(OpOccFixture::on_postgres().await, 1, InfraError::invalid(text)).await;
    let after_operation = fixture.ops.wait_ended(&op).await;
    assert_eq!(
        (after_operation.state, after_operation.error.unwrap().detail),
        (OpState::FailedTemp, "it is  refused with ***".to_owned())
    );
    fixture.ops.store.resume_operation(&op.project_id, op.id, OpEvent::Rollback, System.now()).await.unwrap();
    let after_rollback = fixture.ops.wait_ended(&op).await;
    assert_eq!(
        (after_rollback.state, after_rollback.error.unwrap().detail),
        (OpState::FailedTemp, "it is  refused with ***".to_owned())
    );
}

#[tokio::test]
async fn many_long_errors_are_shortened() {
    for kind in [InfraErrorKind::Invalid, InfraErrorKind::Transient] {
        let (fixture, op) =
            run_with_error(OpOccFixture::on_sqlite().await, 30, InfraError::new(kind, "long ".repeat(100_000))).await;
        let detail = wait_error(&fixture, &op).await.detail;
        assert!(detail.len() < 2048 && detail.starts_with("long long"), "{} bytes", detail.len());
    }
}

#[tokio::test]
async fn an_operation_that_kills_its_conductors_stops_after_the_allowed_claims() {
    let ops = OpOccFixture::on_sqlite().await;
    let objects = vec![key("o")];
    let op = ops.planned(&Plan { forward: vec![Step::Apply { objects }], ..Plan::default() }, &[resource("o")]).await;
    for _ in 0..retry::MAX_CLAIMS_WITHOUT_PROGRESS {
        ops.store.claim("killed", Duration::ZERO, 1, &Crowded::default()).await.unwrap();
    }
    let fixture = ConductorFixture::begin(ops, GatedDriver::open(&[""]));
    let stopped = fixture.ops.wait_ended(&op).await;
    let error = stopped.error.unwrap();
    assert_eq!(
        (stopped.state, error.urn.as_str()),
        (OpState::FailedTemp, "urn:gybe:problem:workers-lost"),
        "{error:?}"
    );
}
