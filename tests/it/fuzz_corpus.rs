//! Runs the fuzz targets' functions on every input of `fuzz/corpus`: seeds, regressions and what fuzzing has found. Runs the
//! filters on both databases, too, which fuzzing does not.

use std::fmt::Write as _;
use std::io::Read as _;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gybe::domain::ids::ProjectId;
use gybe::store::Page;
use gybe::store::attributes::parse_filter;

use crate::store::filters::FilterFixture;
use crate::support::store_fixture::StoreFixture;
use subjects::List;
use zip::ZipArchive;

#[path = "../../fuzz/subjects.rs"]
mod subjects;

/// Time limit for an input, in a debug build on a busy machine. `scripts/fuzz` sets the same limit.
const LONGEST: Duration = Duration::from_secs(10);

/// Names and contents of the inputs of a target.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = std::fs::read_dir(corpus.join(target)).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> =
        files.map(|path| (path.file_name().unwrap().display().to_string(), std::fs::read(&path).unwrap())).collect();
    assert!(!inputs.is_empty(), "{target} has named inputs");
    let archive = std::fs::File::open(corpus.join(format!("{target}.zip"))).unwrap();
    let mut archive = ZipArchive::new(archive).unwrap();
    assert!(!archive.is_empty(), "{target} has inputs of fuzzing");
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        inputs.push((entry.name().unwrap().into_owned(), content));
    }
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
fn corpus_filters_are_parsed_or_rejected() {
    replay("filter", subjects::filter);
}

#[test]
fn corpus_packages_are_parsed_or_rejected() {
    replay("csar", subjects::csar);
}

#[test]
fn corpus_descriptors_are_parsed_or_rejected() {
    replay("vnfd", subjects::vnfd);
}

#[test]
fn corpus_yaml_is_parsed_or_rejected() {
    replay("yaml", subjects::yaml);
}

/// The database accepts every filter of the corpus, in each list whose attributes it uses.
async fn run_filters(filters: &FilterFixture) {
    let (store, project) = (&filters.fixture.store, ProjectId::default());
    let mut run = 0;
    for (name, input) in corpus("filter") {
        let Ok(text) = std::str::from_utf8(&input) else { continue };
        for (list, members) in subjects::LISTS {
            let Ok(filter) = parse_filter(text, members) else { continue };
            let page = Page { filter: &filter, after: None, limit: 10 };
            let read = match list {
                List::Instances => store.list_instances(Some(&project), &page).await.map(drop),
                List::OpOccs => store.op_occs(Some(&project), &page).await.map(drop),
                List::Packages => store.packages(Some(&project), &page).await.map(drop),
            };
            read.unwrap_or_else(|error| panic!("{list:?} by {text} ({name}): {error:?}"));
            run += 1;
        }
    }
    assert!(run > 10, "{run} filters were run");
}

#[tokio::test]
async fn corpus_filters_run_on_sqlite() {
    run_filters(&FilterFixture::of(StoreFixture::sqlite().await).await).await;
}

#[tokio::test]
async fn corpus_filters_run_on_postgresql() {
    run_filters(&FilterFixture::of(StoreFixture::postgres().await).await).await;
}
