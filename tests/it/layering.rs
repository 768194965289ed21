//! Dependencies between modules point inwards (docs/architecture.md). The compiler does not check this.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each part of the crate with the parts it may use. `app` and `main` wire everything and may use all.
const MAY_USE: [(&str, &[&str]); 24] = [
    ("domain", &[]),
    ("clock", &[]),
    ("traces", &[]),
    ("telemetry", &["clock", "domain", "traces"]),
    ("metrics", &["domain"]),
    ("sol003", &["domain"]),
    ("package", &["domain"]),
    ("store", &["domain", "metrics", "traces"]),
    ("retention", &["clock", "domain", "store"]),
    ("debug", &["domain", "store"]),
    ("infra", &["clock", "domain", "metrics", "outbound", "places", "traces"]),
    ("outbound", &["domain"]),
    ("places", &["domain"]),
    ("fetch", &["domain", "outbound", "places"]),
    ("nfvo", &["domain", "metrics", "outbound", "sol003", "traces"]),
    ("notify", &["domain", "metrics", "outbound", "places", "sol003", "store"]),
    ("auth", &["clock", "domain", "outbound"]),
    ("config", &["auth", "domain", "infra", "nfvo", "outbound", "package", "retention"]),
    ("error", &["clock", "domain", "store"]),
    ("blocking", &["domain", "error"]),
    (
        "lcm",
        &[
            "auth", "blocking", "clock", "domain", "error", "fetch", "infra", "package", "places", "sol003", "store",
            "traces",
        ],
    ),
    (
        "conductor",
        &["blocking", "clock", "domain", "error", "infra", "lcm", "metrics", "nfvo", "places", "store", "traces"],
    ),
    // Commands on somebody's own machine. They read packages with the readers of the server, and send requests as Gybe does to its peers.
    ("cli", &["clock", "domain", "outbound", "package"]),
    ("view", &["clock", "domain", "infra", "lcm", "metrics", "store"]),
];

/// The parts of the crate that a part names in code, not in comments.
fn uses(part: &str) -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join(format!("{part}.rs"))];
    collect(&source.join(part), &mut files);
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let code: String = texts
        .flat_map(|text| {
            text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect::<Vec<_>>()
        })
        .collect();
    let word = |rest: &str| {
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap().to_owned()
    };
    code.split("crate::").skip(1).map(word).filter(|used| used != part).collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, into) } else { into.push(path) }
    }
}

#[test]
fn dependencies_point_inwards() {
    for (part, may_use) in MAY_USE {
        let may_use: BTreeSet<String> = may_use.iter().map(|used| (*used).to_owned()).collect();
        let uses = uses(part);
        assert!(uses.is_subset(&may_use), "{part} must not use {:?}", uses.difference(&may_use).collect::<Vec<_>>());
    }
}

#[test]
fn the_check_finds_a_forbidden_dependency() {
    assert!(uses("api").contains("lcm"), "otherwise the check accepts everything");
}
