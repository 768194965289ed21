//! What a VIM says when it refuses something or fails: kept, logged and told without secrets, bounded, and so that any database
//! takes it, in every state and whether it passes or not.

use std::time::Duration;

use gybe::clock::{Clock as _, System};
use gybe::domain::op_occ::{OpState, VnfLcmOpOcc};
use gybe::domain::plan::{Plan, Step};
use gybe::domain::problem::Problem;
use gybe::domain::resource::{ObjectKey, Resource, ResourceState};
use gybe::domain::transition::OpEvent;
use gybe::infra::{InfraError, InfraErrorKind};
use serde_json::json;

use super::cancel::{Gates, Work};
use crate::support::ops::{Ops, key, resource};

/// A Secret, with `hunter2` in it.
fn secret() -> Resource {
    let manifest = json!({ "stringData": { "password": "hunter2" } });
    Resource {
        key: ObjectKey { api_version: "v1".to_owned(), kind: "Secret".to_owned(), name: "s".to_owned() },
        manifest: manifest.as_object().unwrap().clone(),
        state: ResourceState::Present { uid: "s".to_owned(), owned: true },
        ..resource("s")
    }
}

/// Has the cluster answer this to everything, while an operation makes `count` objects, which may be rolled back.
async fn answered(ops: Ops, count: usize, error: InfraError) -> (Work, VnfLcmOpOcc) {
    let names: Vec<String> = (0..count).map(|number| format!("o{number}")).collect();
    let objects: Vec<ObjectKey> = names.iter().map(|name| key(name)).collect();
    let forward = vec![Step::Apply { objects }];
    let backward = Some(vec![Step::Remove { objects: vec![secret().key], grace_seconds: None, keep_rows: false }]);
    let rows: Vec<Resource> = names.iter().map(|name| resource(name)).chain([secret()]).collect();
    let gates = Gates::open(&[""]);
    gates.fail("", error);
    let op = ops.planned(&Plan { forward, backward, ..Plan::default() }, &rows).await;
    (Work::begin(ops, gates), op)
}

/// What is said of the operation once something is.
async fn said(work: &Work, op: &VnfLcmOpOcc) -> Problem {
    loop {
        if let Some(error) = work.ops.show(op).await.error {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_passes_is_told_without_secrets_and_counted_though_it_has_a_nul() {
    let text = "webhook: no\0 connection with hunter2, token=abc";
    let (work, op) = answered(Ops::on_postgres().await, 1, InfraError::transient(text)).await;
    let error = said(&work, &op).await;
    assert_eq!((error.status, error.detail.as_str()), (504, "webhook: no  connection with ***, token=***"));
    assert_eq!(work.ops.show(&op).await.state, OpState::Processing, "it is tried again");
}

#[tokio::test]
async fn an_attempt_counts_though_what_is_said_of_it_is_not_taken() {
    let ops = Ops::on_postgres().await;
    ops.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE ON vnf_lcm_op_occs FOR EACH ROW \
         WHEN (NEW.error::text LIKE '%vim-unreachable%') EXECUTE FUNCTION refuse()",
    )
    .await;
    let (work, op) = answered(ops, 1, InfraError::transient("later")).await;
    // The lease would run out long after this test.
    assert_eq!(said(&work, &op).await.urn, "urn:gybe:problem:internal");
}

#[tokio::test]
async fn what_stops_a_way_back_is_told_without_secrets() {
    let text = "it is\0 refused with hunter2";
    let (work, op) = answered(Ops::on_postgres().await, 1, InfraError::invalid(text)).await;
    let forth = work.ops.settled(&op).await;
    assert_eq!((forth.state, forth.error.unwrap().detail), (OpState::FailedTemp, "it is  refused with ***".to_owned()));
    work.ops.store.resume_operation(&op.project_id, op.id, OpEvent::Rollback, System.now()).await.unwrap();
    let back = work.ops.settled(&op).await;
    assert_eq!((back.state, back.error.unwrap().detail), (OpState::FailedTemp, "it is  refused with ***".to_owned()));
}

#[tokio::test]
async fn many_long_answers_are_told_in_a_short_text() {
    for kind in [InfraErrorKind::Invalid, InfraErrorKind::Transient] {
        let (work, op) = answered(Ops::on_sqlite().await, 30, InfraError::new(kind, "long ".repeat(100_000))).await;
        let detail = said(&work, &op).await.detail;
        assert!(detail.len() < 2048 && detail.starts_with("long long"), "{} bytes", detail.len());
    }
}

#[tokio::test]
async fn an_operation_that_kills_whoever_works_on_it_stops_in_the_end() {
    let ops = Ops::on_sqlite().await;
    let objects = vec![key("o")];
    let op = ops.planned(&Plan { forward: vec![Step::Apply { objects }], ..Plan::default() }, &[resource("o")]).await;
    for _ in 0..24 {
        ops.store.claim("killed", Duration::ZERO, 1).await.unwrap();
    }
    let work = Work::begin(ops, Gates::open(&[""]));
    let stopped = work.ops.settled(&op).await;
    let error = stopped.error.unwrap();
    assert_eq!(
        (stopped.state, error.urn.as_str()),
        (OpState::FailedTemp, "urn:gybe:problem:workers-lost"),
        "{error:?}"
    );
}
