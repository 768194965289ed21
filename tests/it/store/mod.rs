//! The store on both engines: each case of [`on_both_engines!`] runs once on SQLite and once on PostgreSQL.

macro_rules! assert_fails {
    ($result:expr, $error:pat $(if $guard:expr)?) => {
        match $result {
            Err($error) $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($error)),
        }
    };
}

mod access;
mod cancel;
pub mod filters;
mod instances;
mod json_filters;
mod metering;
mod operations;
mod packages;
mod plans;
mod postgres;
mod progress;
mod publishing;
mod queue;
mod quotas;
mod retention;
mod sealing;
mod sessions;
mod shares;
mod sqlite;
mod tenancy;
mod transitions;
mod upgrade;
mod vims;

use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::op_occ::{CancelMode, OpState};
use gybe::domain::progress::StepWrites;
use gybe::store::{Checkpoint, Lease, StoreError};

use crate::support::store::{postponement, progress, store_plan};
use crate::support::store_fixture::{LONG, StoreFixture, at, ending, key, plan, present, resource};

/// All migrations of either engine.
const MIGRATIONS: &[&str] = &[
    "1 initial",
    "2 traceparent",
    "3 tuning",
    "4 notifications",
    "5 lists",
    "6 change vnfpkg",
    "7 grants",
    "8 package subscriptions",
    "9 clients",
    "10 claims",
    "11 op occ values",
    "12 drop op occ values",
    "13 outbox",
    "20 onboarding leases",
    "21 warnings",
    "22 step since",
    "23 retention",
    "24 ended operations",
    "25 ended plans",
    "26 parked notifications",
    "30 idempotent requests",
    "34 unreadable definition files",
    "36 vim status",
    "37 operation vim",
    "38 plan format",
    "39 audit",
    "40 tenancy",
    "41 vim policy",
    "42 shares",
    "43 quotas",
    "44 namespaces",
    "45 vim impersonation",
    "46 vim cluster",
    "47 metering",
    "48 project indexes",
    "49 steps",
    "51 kept plans",
    "52 sessions",
    "53 events",
];

/// Makes every write with `lease`; each must be rejected.
async fn assert_lost(f: &StoreFixture, lease: Lease) {
    let (op, epoch) = (lease.op, lease.epoch);
    let again = || Lease { op, epoch };
    let states = vec![(key("a"), present("zombie"))];
    let checkpoint = Checkpoint { states, removed: vec![key("b")], ..progress(OpState::Processing, 9) };
    assert_fails!(f.store.renew(&lease, LONG).await, StoreError::LeaseLost);
    assert_fails!(store_plan(&*f.store, &lease, LONG, &plan(), &[resource("z")], at(50)).await, StoreError::LeaseLost);
    assert_fails!(f.store.record_intent(&lease, LONG, &[key("a")], &[resource("z")]).await, StoreError::LeaseLost);
    assert_fails!(f.store.checkpoint(&lease, &checkpoint).await, StoreError::LeaseLost);
    assert_fails!(f.store.record_steps(&lease, &StepWrites::default()).await, StoreError::LeaseLost);
    assert_fails!(
        f.store.postpone(again(), &postponement(OpState::Processing, LONG, 9), None).await,
        StoreError::LeaseLost
    );
    let ending = ending(OpState::Processing, OpState::Completed);
    assert_fails!(f.store.end_operation(again(), &ending).await, StoreError::LeaseLost);
}

async fn cancel(f: &StoreFixture, id: VnfLcmOpOccId, mode: CancelMode) -> Result<(), StoreError> {
    f.store.cancel_operation(&ProjectId::default(), id, mode).await
}
