//! Concurrent API callers and conductors: each transition of an op occurrence happens once, and only if the state machine
//! (`gybe::domain::transition`) allows it. The store is real; the actors make the same store calls as the API and the
//! conductors.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use gybe::clock::{Clock as _, System};
use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::op_occ::OpState;
use gybe::domain::problem::Problem;
use gybe::domain::transition::{OpEvent, transition};
use gybe::store::{Claim, OperationOutcome, Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::store::record;
use crate::support::{postgres, store};

const LONG: Duration = Duration::from_secs(600);

/// A caller or conductor that acts once.
#[derive(Clone, Copy, Debug)]
enum Actor {
    /// A caller of the API, with retry, rollback or fail.
    Caller(OpEvent),
    /// A conductor that claims and ends the operation with this outcome.
    Conductor(OpEvent),
}

/// A transition that was written.
type Step = (OpState, OpEvent, OpState);

fn target(from: OpState, event: OpEvent) -> Option<OpState> {
    transition(&record(from), event).ok().map(|update| update.to)
}

/// Acts, and returns the transition if it happened.
async fn act(store: Arc<dyn Store>, id: VnfLcmOpOccId, actor: Actor) -> Option<Step> {
    match actor {
        Actor::Caller(event) => {
            let from = store.op_occ(&ProjectId::default(), id).await.unwrap().state;
            let to = target(from, event)?;
            match store.resume_operation(&ProjectId::default(), id, event, System.now()).await {
                Ok(()) => Some((from, event, to)),
                Err(StoreError::Stale) => None,
                Err(error) => panic!("{error}"),
            }
        }
        Actor::Conductor(event) => {
            let Claim::Work(mut claimed) = store.claim("conductor", LONG, 1, &Crowded::default()).await.unwrap() else {
                return None;
            };
            let claimed = claimed.pop().unwrap();
            let from = claimed.op.state;
            let update = transition(&record(from), event).unwrap();
            let error = (event == OpEvent::Stopped).then(|| Problem::conflict("stopped"));
            store.end_operation(claimed.lease, &OperationOutcome::of(update, error, System.now())).await.unwrap();
            Some((from, event, update.to))
        }
    }
}

/// Whether the steps, in some order, form a walk from FAILED_TEMP to `end` that uses each step once: every state but
/// the two ends is left as often as it is entered.
fn is_a_walk(steps: &[Step], end: OpState) -> bool {
    OpState::ALL.into_iter().all(|state| {
        let entered = steps.iter().filter(|step| step.2 == state).count() + usize::from(state == OpState::FailedTemp);
        let left = steps.iter().filter(|step| step.0 == state).count() + usize::from(state == end);
        entered == left
    })
}

async fn each_transition_happens_once(store: Arc<dyn Store>, actors: Vec<Actor>) {
    let id = store::failed_operation(&store).await;
    let tasks = actors.iter().map(|actor| tokio::spawn(act(Arc::clone(&store), id, *actor)));
    let steps: Vec<Step> = join_all(tasks).await.into_iter().filter_map(Result::unwrap).collect();
    let end = store.op_occ(&ProjectId::default(), id).await.unwrap().state;
    assert!(is_a_walk(&steps, end), "{actors:?} led to {end:?} by {steps:?}");
    let conductors = actors.iter().any(|actor| matches!(actor, Actor::Conductor(_)));
    assert!(conductors || steps.len() == 1, "with callers only, exactly one request succeeds: {steps:?}");
    assert!(steps.iter().all(|(from, event, to)| target(*from, *event) == Some(*to)));
    // Empty the queue for the next case. A claim skips locked rows, and a refused caller's lock lasts a moment longer. So
    // repeat until the store says that nothing is waiting (`Idle(None)`).
    while !matches!(store.claim("last", Duration::ZERO, 1, &Crowded::default()).await.unwrap(), Claim::Idle(None)) {
        act(Arc::clone(&store), id, Actor::Conductor(OpEvent::Succeeded)).await;
    }
}

fn actors() -> impl Strategy<Value = Vec<Actor>> {
    let callers =
        proptest::sample::select(vec![OpEvent::Retry, OpEvent::Rollback, OpEvent::Fail]).prop_map(Actor::Caller);
    let conductors = proptest::sample::select(vec![OpEvent::Succeeded, OpEvent::Stopped]).prop_map(Actor::Conductor);
    let some = prop_oneof![callers.clone(), conductors];
    (callers, proptest::collection::vec(some, 1..12)).prop_map(|(first, mut others)| {
        others.push(first);
        others
    })
}

fn run(cases: u32, store: impl Future<Output = (Arc<dyn Store>, impl Sized)>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (store, _database) = runtime.block_on(store);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&actors(), |actors| {
            runtime.block_on(each_transition_happens_once(Arc::clone(&store), actors));
            Ok(())
        })
        .unwrap();
}

#[test]
fn each_transition_happens_once_on_sqlite() {
    run(60, async {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/gybe.db", folder.path().display());
        (store::open(&url).await, folder)
    });
}

#[test]
fn each_transition_happens_once_on_postgresql() {
    run(60, async {
        let database = postgres::Database::create().await;
        (store::open(&database.url).await, database)
    });
}
