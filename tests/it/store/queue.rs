//! Operations as a queue: claims, leases and their loss, delays, and the signals that wake conductors.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use gybe::domain::fair_share::{Crowded, Sharer};
use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::instance::VnfInstance;
use gybe::domain::op_occ::{CancelMode, OpState};
use gybe::domain::plan::PLAN_FORMAT;
use gybe::domain::transition::OpEvent;
use gybe::domain::vim::VimConnection;
use gybe::store::{Checkpoint, Claim, Claimed, Lease, QueueStats, RenewedLease, Store, live_operations};

use super::{assert_lost, cancel};
use crate::support::store::{outcome, postponement, progress, record, store_plan, whole};
use crate::support::store_fixture::{
    LONG, StoreFixture, assert_same, at, connection_to, ending, key, plan, present, problem, resource,
};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    a_claim_returns_operation_plan_and_instance
    the_longest_waiting_operation_is_claimed_first
    each_operation_is_claimed_once
    an_operation_with_an_expired_lease_is_claimed_again
    a_lost_lease_rejects_every_write
    an_expired_lease_rejects_writes_even_if_unclaimed
    renewal_extends_the_lease
    one_statement_renews_many_leases
    operations_of_crowded_projects_and_vims_are_left_to_later
    a_plan_of_a_newer_format_is_left_to_newer_processes
    a_postponed_operation_is_not_claimable
    a_retryable_error_does_not_replace_the_cause_of_a_rollback
    the_time_of_a_step_goes_on_in_another_process
    idle_returns_the_time_to_the_next_claim
    new_work_wakes_the_conductors
    queue_stats_report_waiting_operations_and_age
    live_operations_are_readable_by_another_process
}

async fn a_claim_returns_operation_plan_and_instance(f: StoreFixture) {
    let op = f.operation().await;
    let claimed = f.claim(Duration::ZERO).await;
    assert_eq!(claimed.op, op);
    assert_eq!((claimed.lease.op, claimed.lease.epoch), (op.id, 1));
    assert_eq!((claimed.plan, claimed.steps_done, claimed.attempt), (None, 0, 0));
    let instance = f.store.instance(&op.project_id, op.vnf_instance_id).await.unwrap();
    assert_same(&claimed.instance, &instance);
    // The lease expired at once.
    let claimed = f.claim(LONG).await;
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
    let checkpoint = progress(OpState::Processing, 1);
    f.store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    f.store
        .postpone(claimed.lease, &postponement(OpState::Processing, Duration::ZERO, 4), Some(&problem("later")))
        .await
        .unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.plan, claimed.steps_done, claimed.attempt), (Some(plan()), 1, 4));
    assert_eq!((claimed.op.state, claimed.op.state_entered_time), (OpState::Processing, at(11)));
    assert_eq!(claimed.op.error, Some(problem("later")));
    assert_eq!(claimed.lease.epoch, 3);
}

async fn the_longest_waiting_operation_is_claimed_first(f: StoreFixture) {
    let mut begun = Vec::new();
    for _ in 0..5 {
        begun.push(f.operation().await.id);
    }
    // Within a millisecond the id decides, and the ids increase.
    for id in begun {
        assert_eq!(f.claim(LONG).await.op.id, id);
    }
}

async fn each_operation_is_claimed_once(f: StoreFixture) {
    const OPERATIONS: usize = 200;
    const WORKERS: usize = 8;
    let package = f.onboarded().await;
    for _ in 0..OPERATIONS {
        let instance = f.instance_of(package);
        f.store.create_instance(&instance).await.unwrap();
        f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    }
    let workers = (0..WORKERS).map(|worker| {
        let store = Arc::clone(&f.store);
        tokio::spawn(async move {
            let mut done = Vec::new();
            loop {
                match store.claim(&format!("worker {worker}"), LONG, 3, &Crowded::default()).await.unwrap() {
                    Claim::Work(claimed) => {
                        assert!((1..=3).contains(&claimed.len()));
                        for claimed in claimed {
                            done.push(complete(&*store, claimed).await);
                        }
                    }
                    // Others hold the rest.
                    Claim::Idle(Some(_)) => tokio::task::yield_now().await,
                    Claim::Idle(None) => return done,
                }
            }
        })
    });
    let done: Vec<_> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(done.len(), OPERATIONS);
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), OPERATIONS);
    let ops = f.store.op_occs(Some(&ProjectId::default()), &whole()).await.unwrap();
    assert!(ops.iter().all(|op| op.state == OpState::Completed));
}

/// Makes all writes of an operation that creates one object.
async fn complete(store: &dyn Store, claimed: Claimed) -> VnfLcmOpOccId {
    store_plan(store, &claimed.lease, LONG, &plan(), &[resource("a")], at(1)).await.unwrap();
    store.record_intent(&claimed.lease, LONG, &[key("a")], &[]).await.unwrap();
    let states = vec![(key("a"), present("u"))];
    let checkpoint = Checkpoint { states, ..progress(OpState::Processing, 2) };
    store.checkpoint(&claimed.lease, &checkpoint).await.unwrap();
    store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    claimed.op.id
}

async fn an_operation_with_an_expired_lease_is_claimed_again(f: StoreFixture) {
    let op = f.operation().await;
    let dead = f.claim(Duration::ZERO).await;
    let heir = f.claim(LONG).await;
    assert_eq!((heir.op.id, heir.lease.epoch), (op.id, dead.lease.epoch + 1));
    assert_eq!((dead.attempt, heir.attempt), (0, 1), "the operation may be what killed its worker");
    assert!(matches!(f.store.claim("third", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(Some(_))));
}

async fn one_statement_renews_many_leases(f: StoreFixture) {
    let mut leases = Vec::new();
    for _ in 0..3 {
        f.operation().await;
        leases.push(f.claim(LONG).await.lease);
    }
    f.operation().await;
    let lost = f.claim(Duration::ZERO).await.lease;
    let heir = f.claim(LONG).await.lease;
    assert_eq!(lost.op, heir.op);
    cancel(&f, leases[1].op, CancelMode::Graceful).await.unwrap();
    let all: Vec<Lease> = leases.iter().chain([&lost]).map(|it| Lease { op: it.op, epoch: it.epoch }).collect();
    let mut renewed = f.store.renew_all(&all, 2 * LONG).await.unwrap();
    renewed.sort_by_key(|lease| lease.op.0);
    let cancels = [None, Some(CancelMode::Graceful), None];
    let wanted = leases.iter().zip(cancels).map(|(it, cancel)| RenewedLease { op: it.op, epoch: it.epoch, cancel });
    assert_eq!(renewed, wanted.collect::<Vec<_>>(), "all but the lost one, with their cancel requests");
    assert_eq!(f.store.renew_all(&[], LONG).await.unwrap(), []);
}

async fn operations_of_crowded_projects_and_vims_are_left_to_later(f: StoreFixture) {
    let nowhere = f.operation().await;
    let home = VimConnection { home: true, ..connection_to(None) };
    let connections = BTreeMap::from([("vim".to_owned(), home)]);
    let instance = VnfInstance { vim_connections: connections, ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    let op = f.op(&instance);
    f.store.begin_operation(&op, &instance).await.unwrap();
    let (project, vim) = (op.project_id.clone(), op.vim(&instance).unwrap().to_owned());
    let another = ProjectId("another".to_owned());
    let sharer = |project: &ProjectId, vim: &str| Sharer { project: project.clone(), vim: Some(vim.to_owned()) };
    let by_vim = Crowded { vims: vec!["another".to_owned(), vim.clone()], ..Crowded::default() };
    let Claim::Work(claimed) = f.store.claim("worker", LONG, 8, &by_vim).await.unwrap() else { panic!("no work") };
    assert_eq!(claimed.iter().map(|it| it.op.id).collect::<Vec<_>>(), [nowhere.id], "it needs no VIM");
    f.store
        .end_operation(claimed.into_iter().next().unwrap().lease, &ending(OpState::Starting, OpState::RolledBack))
        .await
        .unwrap();
    let by_project = Crowded { projects: vec![another.clone(), project.clone()], ..Crowded::default() };
    let by_both = Crowded { sharers: vec![sharer(&another, &vim), sharer(&project, &vim)], ..Crowded::default() };
    for crowded in [by_vim, by_project, by_both] {
        assert!(matches!(f.store.claim("worker", LONG, 8, &crowded).await.unwrap(), Claim::Idle(None)), "{crowded:?}");
    }
    let others = Crowded {
        projects: vec![another.clone()],
        vims: vec!["another".to_owned()],
        sharers: vec![sharer(&another, &vim), sharer(&project, "another")],
    };
    let Claim::Work(claimed) = f.store.claim("worker", LONG, 8, &others).await.unwrap() else { panic!("no work") };
    assert_eq!(claimed[0].op.id, op.id);
}

async fn a_plan_of_a_newer_format_is_left_to_newer_processes(f: StoreFixture) {
    let claimed = f.processing().await;
    let id = claimed.op.id;
    f.store.postpone(claimed.lease, &postponement(OpState::Processing, Duration::ZERO, 0), None).await.unwrap();
    assert_eq!(f.text("SELECT CAST(plan_format AS TEXT) FROM vnf_lcm_op_occs").await, PLAN_FORMAT.to_string());
    f.execute("UPDATE vnf_lcm_op_occs SET plan_format = plan_format + 1").await;
    assert!(matches!(f.store.claim("older", LONG, 8, &Crowded::default()).await.unwrap(), Claim::Idle(None)));
    f.execute("UPDATE vnf_lcm_op_occs SET plan_format = NULL").await;
    assert_eq!(f.claim(LONG).await.op.id, id, "a plan from before there were numbers");
}

async fn a_lost_lease_rejects_every_write(f: StoreFixture) {
    let zombie = f.processing().await;
    f.execute("UPDATE vnf_lcm_op_occs SET lease_until = 1").await;
    let heir = f.claim(LONG).await;
    assert_lost(&f, zombie.lease).await;
    assert_eq!(f.op_occ(heir.op.id).await, heir.op);
    let inventory = f.store.resources(heir.instance.id).await.unwrap();
    assert_eq!(inventory, [resource("a"), resource("b")]);
    // Nor after the end of the operation.
    let (op, epoch) = (heir.op.id, heir.lease.epoch);
    f.store.end_operation(heir.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    assert_lost(&f, Lease { op, epoch }).await;
    assert_lost(&f, Lease { op: VnfLcmOpOccId(f.uuid()), epoch }).await;
}

async fn an_expired_lease_rejects_writes_even_if_unclaimed(f: StoreFixture) {
    f.operation().await;
    let claimed = f.claim(Duration::ZERO).await;
    assert_lost(&f, claimed.lease).await;
}

async fn renewal_extends_the_lease(f: StoreFixture) {
    f.operation().await;
    let claimed = f.claim(LONG).await;
    assert_eq!(f.store.renew(&claimed.lease, 2 * LONG).await.unwrap(), None);
    let Claim::Idle(Some(until)) = f.store.claim("other", LONG, 1, &Crowded::default()).await.unwrap() else {
        panic!("claimed")
    };
    assert!(until > LONG && until <= 2 * LONG, "{until:?}");
    // A short renewal releases it.
    f.store.renew(&claimed.lease, Duration::ZERO).await.unwrap();
    assert_eq!(f.claim(LONG).await.op.id, claimed.op.id);
}

async fn a_postponed_operation_is_not_claimable(f: StoreFixture) {
    let claimed = f.processing().await;
    f.store
        .postpone(claimed.lease, &postponement(OpState::Processing, LONG, 1), Some(&problem("later")))
        .await
        .unwrap();
    let Claim::Idle(Some(until)) = f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap() else {
        panic!("claimed")
    };
    assert!(until <= LONG && until > LONG / 2, "{until:?}");
    let waiting = f.op_occ(claimed.op.id).await;
    assert_eq!((waiting.state, waiting.error), (OpState::Processing, Some(problem("later"))));
}

async fn a_retryable_error_does_not_replace_the_cause_of_a_rollback(f: StoreFixture) {
    let op = f.failed().await;
    f.store.resume_operation(&op.project_id, op.id, OpEvent::Rollback, at(30)).await.unwrap();
    let claimed = f.claim(LONG).await;
    f.store
        .postpone(claimed.lease, &postponement(OpState::RollingBack, Duration::ZERO, 1), Some(&problem("passing")))
        .await
        .unwrap();
    let claimed = f.claim(LONG).await;
    assert_eq!((claimed.attempt, claimed.op.error), (1, Some(problem("first"))));
    f.store.checkpoint(&claimed.lease, &progress(OpState::RollingBack, 1)).await.unwrap();
    f.store.end_operation(claimed.lease, &ending(OpState::RollingBack, OpState::RolledBack)).await.unwrap();
    assert_eq!(f.op_occ(op.id).await.error, Some(problem("first")));
}

async fn the_time_of_a_step_goes_on_in_another_process(f: StoreFixture) {
    let mut claimed = f.processing().await;
    let at_once = || postponement(OpState::Processing, Duration::ZERO, 0);
    while claimed.step_age < Duration::from_millis(20) {
        let before = claimed.step_age;
        // A part of the step is recorded, and the conductor gives the operation away.
        f.store.checkpoint(&claimed.lease, &progress(OpState::Processing, 0)).await.unwrap();
        f.store.postpone(claimed.lease, &at_once(), None).await.unwrap();
        claimed = f.claim(LONG).await;
        assert!(claimed.step_age >= before, "{:?} after {before:?}", claimed.step_age);
    }
    let step_age = claimed.step_age;
    // A killed process leaves the same time.
    f.store.renew(&claimed.lease, Duration::ZERO).await.unwrap();
    claimed = f.claim(LONG).await;
    assert!(claimed.step_age >= step_age);
    let before_step = std::time::Instant::now();
    f.store.checkpoint(&claimed.lease, &progress(OpState::Processing, 1)).await.unwrap();
    f.store.postpone(claimed.lease, &at_once(), None).await.unwrap();
    let claimed = f.claim(LONG).await;
    assert!(claimed.step_age <= before_step.elapsed() + Duration::from_millis(1), "{:?}", claimed.step_age);
}

async fn idle_returns_the_time_to_the_next_claim(f: StoreFixture) {
    assert!(matches!(f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap(), Claim::Idle(None)));
    f.operation().await;
    let postponed = f.claim(LONG).await;
    f.store.postpone(postponed.lease, &postponement(OpState::Processing, 3 * LONG, 1), None).await.unwrap();
    let until = async || match f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap() {
        Claim::Idle(Some(until)) => until,
        other => panic!("{other:?}"),
    };
    assert!(until().await > 2 * LONG);
    // A lease that ends sooner counts too: its operation may have to be taken over.
    f.operation().await;
    f.claim(LONG).await;
    assert!(until().await <= LONG);
}

async fn new_work_wakes_the_conductors(f: StoreFixture) {
    let wake = f.store.wake();
    // Registered before the change, as conductors do.
    macro_rules! wakes {
        ($call:expr) => {{
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            $call.await.unwrap();
            woken.await;
        }};
    }
    let instance = f.instance().await;
    let op = f.op(&instance);
    wakes!(f.store.begin_operation(&op, &instance));
    let claimed = f.claim(LONG).await;
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
    wakes!(f.store.postpone(claimed.lease, &postponement(OpState::Processing, Duration::ZERO, 1), None));
    let claimed = f.claim(LONG).await;
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::FailedTemp)).await.unwrap();
    wakes!(f.store.resume_operation(&op.project_id, op.id, OpEvent::Rollback, at(30)));
    wakes!(cancel(&f, op.id, CancelMode::Graceful));
}

async fn queue_stats_report_waiting_operations_and_age(f: StoreFixture) {
    assert_eq!(f.store.queue().await.unwrap(), QueueStats::default());
    f.failed().await;
    f.operation().await;
    let mut queue = f.store.queue().await.unwrap();
    queue.states.sort_by_key(|(state, _)| state.as_str());
    assert_eq!(queue.states, [(OpState::FailedTemp, 1), (OpState::Starting, 1)]);
    assert_eq!(queue.waiting, 1);
    assert!(queue.oldest.unwrap() < LONG);
    let claimed = f.claim(LONG).await;
    let queue = f.store.queue().await.unwrap();
    assert_eq!((queue.waiting, queue.oldest), (0, None), "a claimed operation does not count");
    f.store.postpone(claimed.lease, &postponement(OpState::Processing, LONG, 1), None).await.unwrap();
    assert_eq!(f.store.queue().await.unwrap().waiting, 0, "a postponed operation does not count");
}

async fn live_operations_are_readable_by_another_process(f: StoreFixture) {
    let Claimed { lease, op, .. } = f.processing().await;
    f.store.checkpoint(&lease, &progress(OpState::Processing, 1)).await.unwrap();
    let live = live_operations(&f.url).await.unwrap();
    let [seen] = live.as_slice() else { panic!("{live:?}") };
    assert_eq!((seen.id, seen.vnf_instance_id, seen.state), (op.id, op.vnf_instance_id, OpState::Processing));
    assert_eq!((seen.steps_done, seen.steps, seen.attempt), (1, Some(2), 0));
    let held = seen.lease.as_ref().unwrap();
    assert_eq!((held.owner.as_str(), held.epoch), ("worker", lease.epoch));
    let error = Some(problem("why"));
    let stopped = outcome(&record(OpState::Processing), OpState::FailedTemp, error.clone(), at(20));
    f.store.end_operation(lease, &stopped).await.unwrap();
    let live = live_operations(&f.url).await.unwrap();
    assert!(live[0].lease.is_none());
    assert_eq!(live[0].error, error);
    f.store.resume_operation(&op.project_id, op.id, OpEvent::Fail, at(13)).await.unwrap();
    assert!(live_operations(&f.url).await.unwrap().is_empty(), "finished operations are not shown");
}
