//! The crash matrix: every operation × every call to the store or cluster ("point") × every fault, on a model cluster,
//! with the real conductor and the real store.
//!
//! [`OPERATIONS`], [`CHANGES`] and [`UPDATES`] list the rows; to cover a new operation, add one line. Each row runs once without faults:
//! this run numbers its points (`support::faults`). Then the row runs again for each point and each fault that is possible
//! there. [`check`] compares the result with the result of the first run.
//!
//! No test sleeps: where a conductor would wait for a delay or a lease,
//! [`self::environment::Environment::expire_leases_and_delays`] ends both.

mod check;
mod environment;
mod faults;
mod operations;
mod package;
mod row;
mod run;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gybe::domain::ids::VnfLcmOpOccId;
use gybe::domain::op_occ::OpState;

use self::check::{check, check_repairable, run_case};
use self::environment::Environment;
use self::faults::{FAULTS, Task};
use self::operations::{CHANGES, MODIFY, OPERATIONS, Operation, Phase, UPDATES};
use self::package::Package;
use self::row::MatrixRow;
use self::run::{OperationRun, run_to_end};
use crate::support::fake_nfvo::GrantTiming;
use crate::support::faults::{CallTarget, Fault};
use crate::support::postgres;
use crate::support::rng::{Rng, seeds};

/// The time limit of a case.
const CASE_TIMEOUT: Duration = Duration::from_secs(20);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async { tokio::time::timeout(CASE_TIMEOUT, future).await });
    runtime.shutdown_background();
    result.expect("the case is stuck")
}

/// Runs `jobs` on as many threads as there are processors; panics with the names of the failed ones.
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

/// A case: a row, a point, a fault and the task that follows.
type CrashCase<'a> = (&'a MatrixRow, (usize, Fault, Task));

fn case_name((row, (point, fault, task)): &CrashCase<'_>) -> String {
    format!("{}: {fault:?} at point {point} ({}), then {task:?}", row.operation.name, row.points[*point].call)
}

fn rows(package: Package, operations: impl Iterator<Item = &'static Operation>) -> Vec<MatrixRow> {
    let package = Arc::new(package);
    operations.map(|operation| block_on(MatrixRow::new(operation, &package, None))).collect()
}

/// The rows of [`OPERATIONS`].
fn operations() -> Vec<MatrixRow> {
    rows(Package::of_many_kinds(), OPERATIONS.iter())
}

/// The rows of [`CHANGES`].
fn changes() -> Vec<MatrixRow> {
    rows(Package::changing(), CHANGES.iter())
}

/// All cases of the rows.
fn all_cases(rows: &[MatrixRow]) -> Vec<CrashCase<'_>> {
    let mut jobs = Vec::new();
    for row in rows {
        let cases = row.cases();
        println!("{}: {} points, {} cases", row.operation.name, row.points.len(), cases.len());
        jobs.extend(cases.into_iter().map(|case| (row, case)));
    }
    jobs
}

/// Runs one case in `every_nth`, or all cases if `GYBE_MATRIX_ALL` is set.
fn run_cases(jobs: Vec<CrashCase<'_>>, every_nth: usize) {
    let every_nth = if std::env::var_os("GYBE_MATRIX_ALL").is_some() { 1 } else { every_nth };
    let jobs: Vec<CrashCase> = jobs.into_iter().step_by(every_nth).collect();
    run_all(&jobs, case_name, |(row, case)| block_on(run_case(row, *case)));
}

#[test]
fn every_operation_survives_every_fault_at_every_point() {
    run_cases(all_cases(&operations()), 5);
}

#[test]
fn every_change_of_package_survives_every_fault_at_every_point() {
    run_cases(all_cases(&changes()), 21);
}

#[test]
fn every_update_of_containers_survives_every_fault_at_every_point() {
    run_cases(all_cases(&rows(Package::updating(), UPDATES.iter())), 13);
}

/// The points from the grant request to the stored plan; the other points are the same as without an NFVO.
#[test]
fn every_operation_survives_every_fault_while_it_is_granted() {
    let packages = [(Package::of_many_kinds(), &OPERATIONS[..]), (Package::changing(), &CHANGES[..])];
    let granted = |operation: &&Operation| operation.phase == Phase::Forward && operation.request != MODIFY;
    let both = [GrantTiming::Immediate, GrantTiming::Deferred];
    let mut rows: Vec<MatrixRow> = Vec::new();
    for (package, operations) in packages {
        let package = Arc::new(package);
        let granted = operations.iter().filter(granted);
        let row = |operation| both.map(|timing| block_on(MatrixRow::new(operation, &package, Some(timing))));
        rows.extend(granted.flat_map(row));
    }
    let mut jobs: Vec<CrashCase> = Vec::new();
    for row in &rows {
        let grant_request = row.points.iter().position(|point| point.side == CallTarget::Nfvo).unwrap();
        let cases = row.cases().into_iter().filter(|(point, ..)| *point >= grant_request && row.is_starting(*point));
        jobs.extend(cases.map(|case| (row, case)));
    }
    assert!(rows.iter().any(|row| row.points.iter().any(|point| point.call == "await_grant")));
    run_cases(jobs, 8);
}

/// Runs an operation with several random faults and random tasks.
async fn run_with_several_faults(row: &MatrixRow, environment: &mut Environment, op: VnfLcmOpOccId, rng: &mut Rng) {
    // A creation is not fenced (ADR 29): sent late, it may make an object again that a rollback has removed.
    let fenced: Vec<Fault> = FAULTS.iter().map(|it| it.0).filter(|fault| *fault != Fault::SentLate).collect();
    let faults: BTreeMap<usize, Fault> =
        (0..2 + rng.below(4)).map(|_| (rng.below(row.points.len() * 2), rng.choose(&fenced))).collect();
    let choice = [Task::Retry, Task::Retry, Task::Fail, Task::Rollback];
    let choice = if row.operation.can_roll_back() { &choice[..] } else { &choice[..3] };
    let mut tasks: Vec<Task> = (0..3).map(|_| rng.choose(choice)).collect();
    tasks.resize(faults.len() + 3, Task::Retry);
    println!("{}: {faults:?}, then {:?}", row.operation.name, &tasks[..3]);
    let can_stop =
        |fault: &Fault| matches!(fault, Fault::Refused | Fault::FailsAlways | Fault::PanicsAlways) || fault.is_cancel();
    let can_stop = faults.values().any(can_stop);
    let outcome = OperationRun::new(environment, op, faults, &tasks).wait_ended().await;
    assert!(outcome.state.is_final());
    if !can_stop {
        assert_eq!(outcome.state, row.outcome);
    }
    let never_reversed = tasks.iter().take(outcome.requested).all(|task| *task == row.operation.task());
    check(row, environment, op, outcome.state, never_reversed).await;
    if outcome.state == OpState::Failed {
        check_repairable(environment).await;
    }
}

#[test]
fn operations_survive_several_faults() {
    let rows = [operations(), changes()].into_iter().flatten().collect::<Vec<_>>();
    let name = |seed: &u64| format!("GYBE_MATRIX_SEED={seed}");
    run_all(&seeds(200), name, |seed| {
        block_on(async {
            let mut rng = Rng(*seed);
            let row = &rows[rng.below(rows.len())];
            let mut environment = Environment::copy_of(&row.prepared).await;
            let op = row.operation.begin(&mut environment, row.prepared.op).await;
            run_with_several_faults(row, &mut environment, op, &mut rng).await;
        });
    });
}

/// The sample core5g has many objects of a kind, as real VNFs do. Cases are chosen at random.
#[test]
fn operations_on_a_large_vnf_survive_faults() {
    let operations = OPERATIONS.iter().chain(&CHANGES).filter(|operation| operation.phase == Phase::Forward);
    let rows = rows(Package::core5g(), operations);
    let cases: Vec<CrashCase> = rows.iter().flat_map(|row| row.cases().into_iter().map(move |it| (row, it))).collect();
    let name = |seed: &u64| format!("GYBE_MATRIX_SEED={seed}");
    run_all(&seeds(60), name, |seed| {
        let case = Rng(*seed).choose(&cases);
        println!("{}", case_name(&case));
        block_on(run_case(case.0, case.1));
    });
}

/// On PostgreSQL the cases run one after the other, each with its own VNF instance in one database.
#[test]
fn operations_survive_faults_on_postgresql() {
    let rows = [operations(), changes()].into_iter().flatten().collect::<Vec<_>>();
    let database = block_on(postgres::Database::create());
    for seed in seeds(40) {
        println!("GYBE_MATRIX_SEED={seed}");
        block_on(async {
            let mut rng = Rng(seed);
            let row = &rows[rng.below(rows.len())];
            let mut environment = Environment::new(database.url.clone(), None, &row.package).await;
            run_to_end(&mut environment, row.operation.before).await;
            let stopped = row.operation.stop(&mut environment, row.stop).await;
            environment.cluster.take_effects();
            let op = row.operation.begin(&mut environment, stopped).await;
            run_with_several_faults(row, &mut environment, op, &mut rng).await;
        });
    }
}
