//! The corpus that fuzzing has found (`fuzz/`, `scripts/fuzz`), given to what is fuzzed: whatever once went wrong, or came
//! near it, does not go wrong now. The filters go to both databases, too, which are not fuzzed.

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gybe::domain::ids::ProjectId;
use gybe::store::Page;
use gybe::store::attributes::filter;

use crate::store::filters::Site;
use crate::support::store_fixture::Fixture;
use subjects::List;

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

/// Each filter of the corpus is one that the database runs, in every list whose filter it is.
async fn run_filters(site: &Site) {
    let (store, project) = (&site.fixture.store, ProjectId::default());
    let mut run = 0;
    for (name, input) in corpus("filter") {
        let Ok(text) = std::str::from_utf8(&input) else { continue };
        for (list, members) in subjects::LISTS {
            let Ok(filter) = filter(text, members) else { continue };
            let page = Page { filter: &filter, after: None, limit: 10 };
            let read = match list {
                List::Instances => store.list_instances(&project, &page).await.map(drop),
                List::OpOccs => store.op_occs(&project, &page).await.map(drop),
                List::Packages => store.packages(&project, &page).await.map(drop),
            };
            read.unwrap_or_else(|error| panic!("{list:?} by {text} ({name}): {error:?}"));
            run += 1;
        }
    }
    assert!(run > 10, "{run} filters were run");
}

#[tokio::test]
async fn filters_of_the_corpus_are_sql_that_sqlite_runs() {
    run_filters(&Site::of(Fixture::sqlite().await).await).await;
}

#[tokio::test]
async fn filters_of_the_corpus_are_sql_that_postgresql_runs() {
    run_filters(&Site::of(Fixture::postgres().await).await).await;
}
