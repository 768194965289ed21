//! The crash matrix: every operation × every point of it × every fault, on a model of the cluster, over the real
//! conductor and the real store.
//!
//! [`OPERATIONS`] and [`CHANGES`] are the list: a new operation is covered by one line. Each is run once without a fault, which numbers its
//! points (`support::faults`): each call of the conductor to the store or to the cluster. Then it is run again for each
//! point and each fault there can be at it. [`check`] says what is to hold afterwards; what is intended is what the run
//! without a fault came to.
//!
//! No test waits for time to pass: where a conductor would wait for a delay or for another's lease to end,
//! [`World::time_passes`] ends both.

mod check;
mod operations;
mod package;
mod row;
mod run;
mod troubles;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gybe::clock::Clock as _;
use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::op_occ::OpState;

use self::check::{can_be_put_right, case, check};
use self::operations::{CHANGES, MODIFY, OPERATIONS, Operation, Way};
use self::package::Package;
use self::row::Row;
use self::run::{Run, carry_out};
use self::troubles::{Answer, TROUBLES};
use self::world::World;
use crate::support::faults::{Fault, Side};
use crate::support::played_nfvo::Taking;
use crate::support::postgres;
use crate::support::rng::{Chance, seeds};

/// A case that takes longer is stuck.
const STUCK: Duration = Duration::from_secs(20);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async { tokio::time::timeout(STUCK, future).await });
    runtime.shutdown_background();
    result.expect("the case is stuck")
}

/// Runs `jobs` on as many threads as there are processors. Gives back the names of those that failed, with what they said.
fn run_all<J: Sync>(jobs: &[J], name: impl Fn(&J) -> String + Sync, run: impl Fn(&J) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(job)));
                    if result.is_err() {
                        eprintln!("failed: {}", name(job));
                        failed.lock().unwrap().push(name(job));
                    }
                }
            });
        }
    });
    println!("{} cases in {:.1} s", jobs.len(), begun.elapsed().as_secs_f64());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), jobs.len(), failed.join("\n"));
}

/// One trouble of one row.
type Single<'a> = (&'a Row, (usize, Fault, Answer));

fn name_of((row, (point, fault, answer)): &Single<'_>) -> String {
    format!("{}: {fault:?} at point {point} ({}), then {answer:?}", row.operation.name, row.points[*point].call)
}

fn rows(package: Package, operations: impl Iterator<Item = &'static Operation>) -> Vec<Row> {
    let package = Arc::new(package);
    operations.map(|operation| block_on(Row::new(operation, &package, None))).collect()
}

/// The rows of [`OPERATIONS`].
fn operations() -> Vec<Row> {
    rows(Package::of_many_kinds(), OPERATIONS.iter())
}

/// The rows of [`CHANGES`].
fn changes() -> Vec<Row> {
    rows(Package::changing(), CHANGES.iter())
}

/// Of the cases, every `share`th; all of them with `GYBE_MATRIX_ALL`.
fn survive_every_fault_at_every_point(rows: &[Row], share: usize) {
    let mut jobs: Vec<Single> = Vec::new();
    for row in rows {
        let cases = row.cases();
        println!("{}: {} points, {} cases", row.operation.name, row.points.len(), cases.len());
        jobs.extend(cases.into_iter().map(|case| (row, case)));
    }
    let share = if std::env::var_os("GYBE_MATRIX_ALL").is_some() { 1 } else { share };
    let jobs: Vec<Single> = jobs.into_iter().step_by(share).collect();
    run_all(&jobs, name_of, |(row, trouble)| block_on(case(row, *trouble)));
}

#[test]
fn every_operation_survives_every_fault_at_every_point() {
    survive_every_fault_at_every_point(&operations(), 1);
}

#[test]
fn every_change_of_package_survives_every_fault_at_every_point() {
    survive_every_fault_at_every_point(&changes(), 5);
}

/// From the request for a grant to the plan that is stored with it; what is before and after is as without an NFVO.
#[test]
fn every_operation_survives_every_fault_while_it_is_granted() {
    let packages = [(Package::of_many_kinds(), &OPERATIONS[..]), (Package::changing(), &CHANGES[..])];
    let granted = |operation: &&Operation| operation.way == Way::Forward && operation.request != MODIFY;
    let both = [Taking::NoTime, Taking::ItsTime];
    let mut rows: Vec<Row> = Vec::new();
    for (package, operations) in packages {
        let package = Arc::new(package);
        let granted = operations.iter().filter(granted);
        let row = |operation| both.map(|taking| block_on(Row::new(operation, &package, Some(taking))));
        rows.extend(granted.flat_map(row));
    }
    let mut jobs: Vec<Single> = Vec::new();
    for row in &rows {
        let asks = row.points.iter().position(|point| point.side == Side::Nfvo).unwrap();
        let cases = row.cases().into_iter().filter(|(point, ..)| *point >= asks && row.is_starting(*point));
        jobs.extend(cases.map(|case| (row, case)));
    }
    assert!(rows.iter().any(|row| row.points.iter().any(|point| point.call == "await_grant")));
    run_all(&jobs, name_of, |(row, trouble)| block_on(case(row, *trouble)));
}

/// Several faults in one operation, and answers as they come.
async fn several(row: &Row, world: &mut World, op: VnfLcmOpOccId, chance: &mut Chance) {
    let faults: BTreeMap<usize, Fault> =
        (0..2 + chance.below(4)).map(|_| (chance.below(row.points.len() * 2), chance.one_of(&TROUBLES).0)).collect();
    let choice = [Answer::Retry, Answer::Retry, Answer::Fail, Answer::Rollback];
    let choice = if row.operation.can_roll_back() { &choice[..] } else { &choice[..3] };
    let mut answers: Vec<Answer> = (0..3).map(|_| chance.one_of(choice)).collect();
    answers.resize(faults.len() + 3, Answer::Retry);
    println!("{}: {faults:?}, then {:?}", row.operation.name, &answers[..3]);
    let can_stop =
        |fault: &Fault| matches!(fault, Fault::Refused | Fault::FailsOn | Fault::PanicsOn) || fault.is_cancel();
    let can_stop = faults.values().any(can_stop);
    let outcome = Run::new(world, op, faults, &answers).settle().await;
    assert!(outcome.state.is_final());
    if !can_stop {
        assert_eq!(outcome.state, row.outcome);
    }
    let straight = answers.iter().take(outcome.answered).all(|answer| *answer == row.operation.answer());
    check(row, world, op, outcome.state, straight).await;
    if outcome.state == OpState::Failed {
        can_be_put_right(world).await;
    }
}

#[test]
fn operations_survive_several_faults() {
    let rows = [operations(), changes()].into_iter().flatten().collect::<Vec<_>>();
    let name = |seed: &u64| format!("GYBE_MATRIX_SEED={seed}");
    run_all(&seeds(200), name, |seed| {
        block_on(async {
            let mut chance = Chance(*seed);
            let row = &rows[chance.below(rows.len())];
            let mut world = World::copy_of(&row.prepared).await;
            let op = row.operation.begin(&mut world, row.prepared.op).await;
            several(row, &mut world, op, &mut chance).await;
        });
    });
}

/// The sample has many objects of a kind, as real VNFs do: here the faults are taken by chance.
#[test]
fn operations_on_a_large_vnf_survive_faults() {
    let operations = OPERATIONS.iter().chain(&CHANGES).filter(|operation| operation.way == Way::Forward);
    let rows = rows(Package::core5g(), operations);
    let singles: Vec<Single> = rows.iter().flat_map(|row| row.cases().into_iter().map(move |it| (row, it))).collect();
    let name = |seed: &u64| format!("GYBE_MATRIX_SEED={seed}");
    run_all(&seeds(60), name, |seed| {
        let single = Chance(*seed).one_of(&singles);
        println!("{}", name_of(&single));
        block_on(case(single.0, single.1));
    });
}

/// On PostgreSQL each case is a VNF instance of its own in one database, one after the other.
#[test]
fn operations_survive_faults_on_postgresql() {
    let rows = [operations(), changes()].into_iter().flatten().collect::<Vec<_>>();
    let database = block_on(postgres::Database::create());
    for seed in seeds(40) {
        println!("GYBE_MATRIX_SEED={seed}");
        block_on(async {
            let mut chance = Chance(seed);
            let row = &rows[chance.below(rows.len())];
            let mut world = World::new(database.url.clone(), None, &row.package).await;
            carry_out(&mut world, row.operation.before).await;
            let stopped = row.operation.stop(&mut world, row.stop).await;
            world.cluster.take_effects();
            let op = row.operation.begin(&mut world, stopped).await;
            several(row, &mut world, op, &mut chance).await;
        });
    }
}
