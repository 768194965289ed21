//! Keeps docs/conformance.md true: every documented method has a row, and every test that a row names exists.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::documents::resources;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// The API roots of the editions in a row.
fn roots(editions: &str) -> Vec<&'static str> {
    let roots = |edition: &str| match edition {
        "v1" => vec!["/vnflcm/v1"],
        "v2" => vec!["/vnflcm/v2"],
        "pkgm" => vec!["/vnfpkgm/v1", "/vnfpkgm/v2"],
        "Tacker" | "Gybe" => vec![""],
        other => panic!("no edition is called {other}"),
    };
    editions.split_whitespace().flat_map(roots).collect()
}

/// The texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_documented_method_has_a_row_and_every_named_test_exists() {
    let table = read("docs/conformance.md");
    let mut rows = BTreeSet::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, method, resource, editions, _, tests, _] = cells[..] else { continue };
        if ["method", "---"].contains(&method) {
            continue;
        }
        assert!(!quoted(tests).is_empty(), "no test: {line}");
        for root in roots(editions) {
            let row = format!("{method} {root}{}", quoted(resource)[0]);
            assert!(rows.insert(row), "twice: {line}");
        }
    }
    let documented: BTreeSet<String> = resources()
        .iter()
        .flat_map(|resource| resource.operations.iter().map(move |one| format!("{} {}", one.method, resource.path)))
        .collect();
    assert!(documented.len() > 75, "{documented:?}");
    assert_eq!(
        rows.difference(&documented).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "rows without a documented method"
    );
    assert_eq!(
        documented.difference(&rows).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "documented methods without a row"
    );

    let mut named = 0;
    for (module, test) in quoted(&table).into_iter().filter_map(|text| text.rsplit_once("::")) {
        let path = format!("tests/it/{}.rs", module.replace("::", "/"));
        assert!(
            read(&path).contains(&format!("fn {test}(")),
            "docs/conformance.md names {module}::{test}, but {path} has no such test"
        );
        named += 1;
    }
    assert!(named > 60, "{named}");
}
