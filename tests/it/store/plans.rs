//! Plans that previews keep, and the operations that take them.

use std::time::Duration;

use gybe::domain::ids::{PlanId, ProjectId};
use gybe::domain::kept_plan::{FrozenPlan, KeptPlan, PLAN_ID, PlanBasis};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::plan::PLAN_FORMAT;
use gybe::store::StoreError;
use serde_json::json;

use crate::support::store::store_plan;
use crate::support::store_fixture::{LONG, StoreFixture, at, elsewhere, plan, resource};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    a_plan_is_of_one_instance_and_taken_by_one_operation
    a_new_plan_displaces_the_oldest_of_its_project
    a_check_of_an_operation_changes_nothing
}

/// A plan for the instance of `op` that may be run until then.
fn kept(f: &StoreFixture, op: &VnfLcmOpOcc, instance: &gybe::domain::instance::VnfInstance, until: i64) -> KeptPlan {
    let basis = PlanBasis::of(op, instance, &[]);
    let frozen = FrozenPlan { format: PLAN_FORMAT, basis, plan: plan(), resources: vec![resource("a")] };
    KeptPlan {
        id: PlanId(f.uuid()),
        project_id: ProjectId::default(),
        vnf_instance_id: instance.id,
        expires_at: at(until),
        frozen,
    }
}

async fn a_plan_is_of_one_instance_and_taken_by_one_operation(f: StoreFixture) {
    let (instance, other) = (f.instance().await, f.instance().await);
    let op = f.op(&instance);
    let plan = kept(&f, &op, &instance, 100);
    f.store.keep_plan(&plan, 5).await.unwrap();
    let project = ProjectId::default();
    assert_eq!(f.store.kept_plan(&project, instance.id, plan.id).await.unwrap(), plan);
    assert_fails!(f.store.kept_plan(&project, other.id, plan.id).await, StoreError::NotFound);
    assert_fails!(f.store.kept_plan(&elsewhere(), instance.id, plan.id).await, StoreError::NotFound);
    assert_fails!(f.store.taken_plan(op.id).await, StoreError::NotFound);

    let named = json!({ PLAN_ID: plan.id });
    let of_other = VnfLcmOpOcc { params: named.clone(), ..f.op(&other) };
    assert_fails!(f.store.begin_operation(&of_other, &other).await, StoreError::Stale);
    let op = VnfLcmOpOcc { params: named, ..op };
    f.store.begin_operation(&op, &instance).await.unwrap();
    assert_fails!(f.store.kept_plan(&project, instance.id, plan.id).await, StoreError::NotFound);
    assert_eq!(f.store.delete_plans(at(1000), 10).await.unwrap(), 0, "the operation needs it while it is STARTING");
    assert_eq!(f.store.taken_plan(op.id).await.unwrap(), plan.frozen);

    let claimed = f.claim(LONG).await;
    assert_eq!(claimed.op.kept_plan(), Some(plan.id));
    store_plan(&*f.store, &claimed.lease, LONG, &plan.frozen.plan, &plan.frozen.resources, at(50)).await.unwrap();
    assert_eq!(f.store.delete_plans(at(60), 10).await.unwrap(), 1);
    assert_eq!(f.op_occ(op.id).await.state, OpState::Processing);
}

async fn a_new_plan_displaces_the_oldest_of_its_project(f: StoreFixture) {
    let instance = f.instance().await;
    let op = f.op(&instance);
    let plans: Vec<KeptPlan> = (1..=3).map(|until| kept(&f, &op, &instance, until * 100)).collect();
    for plan in &plans {
        f.store.keep_plan(plan, 2).await.unwrap();
    }
    let mut is_kept = Vec::new();
    for plan in &plans {
        is_kept.push(f.store.kept_plan(&ProjectId::default(), instance.id, plan.id).await.is_ok());
    }
    assert_eq!(is_kept, [false, true, true]);
    assert_eq!(f.store.delete_plans(at(250), 10).await.unwrap(), 1);
    assert_eq!(f.store.delete_plans(at(250) + Duration::from_secs(100), 10).await.unwrap(), 1);
}

async fn a_check_of_an_operation_changes_nothing(f: StoreFixture) {
    let instance = f.instance().await;
    let op = VnfLcmOpOcc { operation: LcmOperation::Heal, ..f.op(&instance) };
    f.store.check_operation(&op, &instance, None).await.unwrap();
    assert_fails!(f.store.op_occ(&ProjectId::default(), op.id).await, StoreError::NotFound);
    let same = f.store.instance(&ProjectId::default(), instance.id).await.unwrap();
    assert_eq!(same.version, instance.version);
    let old = gybe::domain::instance::VnfInstance { version: instance.version - 1, ..instance.clone() };
    assert_fails!(f.store.check_operation(&op, &old, None).await, StoreError::Stale);
    f.store.begin_operation(&op, &instance).await.unwrap();
    let next = f.op(&instance);
    assert_fails!(f.store.check_operation(&next, &same, None).await, StoreError::Busy(live) if live == op.id);
}
