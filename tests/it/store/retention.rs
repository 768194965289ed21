//! What is kept no longer: op occurrences by age, number and instance.

use std::sync::Arc;
use std::time::Duration;

use gybe::clock::{Clock, System};
use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::retention::{Retention, RetentionPolicy};
use gybe::store::{KeptAnswer, KeyedRequest, RequestClaim};
use serde_json::json;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::support::store::{outcome, record, whole};
use crate::support::store_fixture::{LONG, StoreFixture, at};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    ended_operations_are_deleted_by_their_age
    the_newest_operations_of_each_instance_are_kept
    operations_are_deleted_with_their_instance
    a_pass_looks_only_at_instances_whose_operations_ended_since_the_last_one
    plans_that_earlier_releases_kept_are_cleared
    one_process_at_a_time_does_a_pass
    answers_to_repeated_requests_are_kept_for_a_day_and_in_limited_number
}

const DAY: Duration = Duration::from_hours(24);

struct FixedClock(OffsetDateTime);

impl Clock for FixedClock {
    fn now(&self) -> OffsetDateTime {
        self.0
    }
}

/// A pass at this time.
async fn pass(f: &StoreFixture, now: OffsetDateTime, operations_per_instance: usize) {
    let policy = RetentionPolicy {
        operations: Some(30 * DAY),
        operations_per_instance,
        notifications: Some(7 * DAY),
        audit: 90 * DAY,
        metering: 90 * DAY,
    };
    let mut retention = Retention::new(Arc::clone(&f.store), Arc::new(FixedClock(now)), policy);
    retention.pass(&CancellationToken::new()).await.unwrap();
}

/// An operation of the instance that began at this time and is in PROCESSING.
async fn begun(f: &StoreFixture, instance: &VnfInstance, time: OffsetDateTime) -> VnfLcmOpOccId {
    let instance = f.store.instance(&instance.project_id, instance.id).await.unwrap();
    let id = VnfLcmOpOccId(f.uuid());
    let op = VnfLcmOpOcc::starting(id, LcmOperation::ModifyInfo, &instance, json!({}), time);
    f.store.begin_operation(&op, &instance).await.unwrap();
    id
}

/// An operation of the instance that ended at this time.
async fn ended(f: &StoreFixture, instance: &VnfInstance, time: OffsetDateTime) -> VnfLcmOpOccId {
    let id = begun(f, instance, time).await;
    let claimed = f.claim(LONG).await;
    let ending = outcome(&record(OpState::Processing), OpState::Completed, None, time);
    f.store.end_operation(claimed.lease, &ending).await.unwrap();
    id
}

async fn kept(f: &StoreFixture) -> Vec<VnfLcmOpOccId> {
    f.store.op_occs(Some(&ProjectId::default()), &whole()).await.unwrap().iter().map(|op| op.id).collect()
}

async fn ended_operations_are_deleted_by_their_age(f: StoreFixture) {
    let instance = f.instance().await;
    let old = ended(&f, &instance, at(0)).await;
    let young = ended(&f, &instance, at(10)).await;
    let live = begun(&f, &instance, at(11)).await;
    pass(&f, at(0) + 30 * DAY, 1000).await;
    assert_eq!(kept(&f).await, [old, young, live], "the first is as old as allowed");
    pass(&f, at(1) + 30 * DAY, 1000).await;
    assert_eq!(kept(&f).await, [young, live]);
    pass(&f, at(0) + 300 * DAY, 1000).await;
    assert_eq!(kept(&f).await, [live], "it has not ended");
}

async fn the_newest_operations_of_each_instance_are_kept(f: StoreFixture) {
    let (one, other) = (f.instance().await, f.instance().await);
    let mut of_one = Vec::new();
    for second in 0..5 {
        of_one.push(ended(&f, &one, at(second)).await);
    }
    let of_other = ended(&f, &other, at(9)).await;
    pass(&f, at(100), 3).await;
    assert_eq!(kept(&f).await, [&of_one[2..], &[of_other]].concat());
}

async fn operations_are_deleted_with_their_instance(f: StoreFixture) {
    let (one, other) = (f.instance().await, f.instance().await);
    ended(&f, &one, at(0)).await;
    let of_other = ended(&f, &other, at(1)).await;
    f.store.delete_instance(&one.project_id, one.id, None).await.unwrap();
    assert_eq!(kept(&f).await, [of_other]);
}

async fn plans_that_earlier_releases_kept_are_cleared(f: StoreFixture) {
    let instance = f.instance().await;
    let id = ended(&f, &instance, at(0)).await;
    let live = f.processing().await;
    f.execute(&format!("UPDATE vnf_lcm_op_occs SET plan = '{{\"forward\": []}}' WHERE id = '{id}'")).await;
    assert!(f.store.plan(id).await.unwrap().is_some());
    pass(&f, at(1), 1000).await;
    assert_eq!(f.store.plan(id).await.unwrap(), None);
    assert!(f.store.plan(live.op.id).await.unwrap().is_some());
}

async fn one_process_at_a_time_does_a_pass(f: StoreFixture) {
    assert!(f.store.begin_retention(LONG).await.unwrap());
    assert!(!f.store.begin_retention(LONG).await.unwrap());
    f.execute("UPDATE background_tasks SET not_before = 0").await;
    assert!(f.store.begin_retention(LONG).await.unwrap());
}

async fn a_pass_looks_only_at_instances_whose_operations_ended_since_the_last_one(f: StoreFixture) {
    let (idle, busy) = (f.instance().await, f.instance().await);
    let policy = RetentionPolicy {
        operations: None,
        operations_per_instance: 1,
        notifications: None,
        audit: 90 * DAY,
        metering: 90 * DAY,
    };
    let mut retention = Retention::new(Arc::clone(&f.store), Arc::new(FixedClock(at(100_000))), policy);
    let count = async |instance: &VnfInstance| {
        let ops = f.store.op_occs(Some(&ProjectId::default()), &whole()).await.unwrap();
        ops.iter().filter(|op| op.vnf_instance_id == instance.id).count()
    };
    for second in [1, 2] {
        ended(&f, &idle, at(second)).await;
    }
    retention.pass(&CancellationToken::new()).await.unwrap();
    assert_eq!(count(&idle).await, 1, "the first pass of a process looks at all");
    // An operation that ended long ago stands for an instance to which nothing happened since.
    ended(&f, &idle, at(3)).await;
    for second in [100_001, 100_002, 100_003] {
        ended(&f, &busy, at(second)).await;
    }
    retention.pass(&CancellationToken::new()).await.unwrap();
    assert_eq!((count(&idle).await, count(&busy).await), (2, 1));
}

async fn answers_to_repeated_requests_are_kept_for_a_day_and_in_limited_number(f: StoreFixture) {
    let request = |key: &str, fingerprint: &str| KeyedRequest {
        project: ProjectId::default(),
        key: key.to_owned(),
        fingerprint: fingerprint.to_owned(),
    };
    let claim = async |request: &KeyedRequest| f.store.claim_request(request, f.uuid(), DAY).await.unwrap();
    let (one, answer) =
        (request("one", "a"), KeptAnswer { status: 202, location: None, content_type: None, body: None });
    assert_eq!(claim(&one).await, RequestClaim::New);
    assert_eq!(claim(&one).await, RequestClaim::InProgress);
    assert_eq!(claim(&request("one", "b")).await, RequestClaim::OtherRequest);
    f.store.keep_answer(&one, &answer).await.unwrap();
    f.store.forget_request(&one).await.unwrap();
    assert!(matches!(claim(&one).await, RequestClaim::Answered(_, kept) if kept == answer));

    // After a day the key is new, whether its row is deleted by then or not.
    f.execute("UPDATE idempotent_requests SET started_at = started_at - 86400000").await;
    assert_eq!(claim(&request("one", "b")).await, RequestClaim::New);
    assert_eq!(claim(&request("two", "a")).await, RequestClaim::New);
    f.execute("UPDATE idempotent_requests SET started_at = started_at + 1000 WHERE key = 'two'").await;
    assert_eq!(f.store.trim_requests(1, 10).await.unwrap(), 1);
    assert_eq!(claim(&request("two", "a")).await, RequestClaim::InProgress, "the newest stays");
    assert_eq!(f.store.delete_requests(System.now() - DAY, 10).await.unwrap(), 0);
    f.execute("UPDATE idempotent_requests SET started_at = started_at - 86410000").await;
    assert_eq!(f.store.delete_requests(System.now() - DAY, 10).await.unwrap(), 1);
    assert_eq!(claim(&request("two", "c")).await, RequestClaim::New);
}
