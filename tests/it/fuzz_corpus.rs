//! The corpus that fuzzing has found (`fuzz/`, `scripts/fuzz`), given to what is fuzzed: whatever once went wrong, or came
//! near it, does not go wrong now. And to PostgreSQL, which is not fuzzed.

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gybe::domain::ids::ProjectId;
use gybe::store::Page;
use gybe::store::attributes::{filter, op_occs, packages, vnf_instances};

use crate::support::postgres::Database;
use crate::support::store;

#[path = "../../fuzz/subjects.rs"]
mod subjects;

/// No input takes longer, in a debug build on a busy machine. libFuzzer's limit is as long, for its own.
const LONGEST: Duration = Duration::from_secs(10);

/// Name and content of the target's inputs.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let inputs: Vec<_> =
        paths.map(|path| (path.file_name().unwrap().display().to_string(), std::fs::read(&path).unwrap())).collect();
    assert!(!inputs.is_empty(), "{target} has a corpus");
    inputs
}

fn replay(target: &str, subject: fn(&[u8])) {
    let mut failed = String::new();
    for (name, input) in corpus(target) {
        let begun = Instant::now();
        let outcome = catch_unwind(|| subject(&input));
        if outcome.is_err() || begun.elapsed() > LONGEST {
            writeln!(failed, "{name}, after {:?}", begun.elapsed()).unwrap();
        }
    }
    assert_eq!(failed, "", "inputs of {target} that fail");
}

#[test]
fn filters_of_the_corpus_are_read_or_refused() {
    replay("filter", subjects::filter);
}

#[test]
fn packages_of_the_corpus_are_read_or_refused() {
    replay("csar", subjects::csar);
}

#[test]
fn descriptors_of_the_corpus_are_read_or_refused() {
    replay("vnfd", subjects::vnfd);
}

#[test]
fn yaml_of_the_corpus_is_read_or_refused() {
    replay("yaml", subjects::yaml);
}

#[tokio::test]
async fn filters_of_the_corpus_are_sql_that_postgresql_runs_too() {
    let database = Database::create().await;
    let store = store::open(&database.url).await;
    store::failed_operation(&store).await;
    let project = ProjectId::default();
    let mut run = 0;
    for (name, input) in corpus("filter") {
        let Ok(text) = std::str::from_utf8(&input) else { continue };
        for (list, members) in [
            ("instances", &vnf_instances::V1),
            ("instances", &vnf_instances::V2),
            ("op occurrences", &op_occs::V1),
            ("op occurrences", &op_occs::V2),
            ("packages", &packages::V1),
        ] {
            let Ok(filter) = filter(text, members) else { continue };
            let page = Page { filter: &filter, after: None, limit: 10 };
            let read = match list {
                "instances" => store.list_instances(&project, &page).await.map(drop),
                "packages" => store.packages(&project, &page).await.map(drop),
                _ => store.op_occs(&project, &page).await.map(drop),
            };
            read.unwrap_or_else(|error| panic!("{list} by {text} ({name}): {error:?}"));
            run += 1;
        }
    }
    assert!(run > 10, "{run} filters were run");
}
