//! Every statement of the store that changes the state of an operation, a VNF instance or a package is in a function that
//! publishes the change. This test checks it by reading the source files, because the compiler cannot.

use std::path::Path;

/// Functions that may change a state without publishing it, with the reason.
const EXEMPT: [(&str, &str); 6] = [
    ("delete_ended_operations", "SOL003 has no notification of the deletion of an op occurrence"),
    ("trim_operations", "as delete_ended_operations"),
    ("create_package", "subscribers are notified of a package only after it was onboarded"),
    ("begin_upload", "as create_package"),
    ("finish_upload", "as create_package"),
    ("fail_onboarding", "as create_package"),
];

/// The tables whose rows are created and deleted, and the columns that hold a state.
const TABLES: [(&str, &[&str]); 3] = [
    ("vnf_lcm_op_occs", &["state"]),
    ("vnf_instances", &[]),
    ("vnf_packages", &["onboarding_state", "operational_state"]),
];

/// A function or macro, and its code without comments.
struct Item {
    name: String,
    is_macro: bool,
    code: String,
}

fn functions_and_macros(source: &str) -> Vec<Item> {
    let mut items = vec![Item { name: "(file)".to_owned(), is_macro: false, code: String::new() }];
    for line in source.lines() {
        let line = line.split("//").next().unwrap();
        let start = line.trim_start();
        let after = |marker: &str| {
            let (before, rest) = start.split_once(marker)?;
            // Nothing but `pub`, `async` and `const` comes before.
            before.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '(' | ')' | ' ')).then_some(rest)
        };
        let item = match (after("macro_rules! "), after("fn ")) {
            (Some(rest), _) => Some((rest, true)),
            (None, Some(rest)) => Some((rest, false)),
            (None, None) => None,
        };
        if let Some((rest, is_macro)) = item {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned();
            items.push(Item { name, is_macro, code: String::new() });
        }
        let code = &mut items.last_mut().unwrap().code;
        code.push_str(line.trim_end().trim_end_matches('\\'));
        code.push(' ');
    }
    items
}

/// The statements in `code` that change a state.
fn state_writes(code: &str) -> Vec<String> {
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut writes = Vec::new();
    // `push_state` adds the state change to the SQL statements of its callers.
    if code.contains("push_state(&mut") {
        writes.push("update of vnf_lcm_op_occs".to_owned());
    }
    for (table, columns) in TABLES {
        for (start, statement) in [("INSERT INTO ", "insert"), ("DELETE FROM ", "delete"), ("UPDATE ", "update")] {
            for (position, _) in code.match_indices(&format!("{start}{table}")) {
                let rest = &code[position + start.len() + table.len()..];
                if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                    continue;
                }
                let changed = rest.split("WHERE").next().unwrap();
                let sets = |column: &&str| {
                    changed.match_indices(&format!("{column} =")).any(|(at, _)| {
                        !changed[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                            && !["WHEN", "OR", "AND"].iter().any(|word| changed[..at].trim_end().ends_with(word))
                    })
                };
                if statement != "update" || columns.iter().any(sets) {
                    writes.push(format!("{statement} of {table}"));
                }
            }
        }
    }
    writes
}

fn unpublished_writes(source: &str) -> Vec<String> {
    let items = functions_and_macros(source);
    let publishes = |item: &Item| item.code.contains("publish::");
    let mut unpublished = Vec::new();
    for item in &items {
        let writes = state_writes(&item.code);
        let culprits: Vec<&Item> = if item.is_macro {
            let call = format!("{}!(", item.name);
            items.iter().filter(|user| !user.is_macro && user.code.contains(&call) && !publishes(user)).collect()
        } else if publishes(item) || EXEMPT.iter().any(|(name, _)| *name == item.name) {
            Vec::new()
        } else {
            vec![item]
        };
        for write in writes {
            unpublished.extend(culprits.iter().map(|item| format!("{}: {write}", item.name)));
        }
    }
    unpublished
}

fn sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sql");
    let mut sources = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

#[test]
fn every_state_write_publishes() {
    for (path, source) in sources() {
        let unpublished = unpublished_writes(&source);
        assert!(unpublished.is_empty(), "{path} changes states without publishing them: {unpublished:?}");
    }
}

#[test]
fn finds_state_writes_in_functions_and_macros() {
    let writes: usize = sources()
        .iter()
        .flat_map(|(_, source)| functions_and_macros(source))
        .map(|item| state_writes(&item.code).len())
        .sum();
    assert!(writes >= 13, "{writes} statements: the scan misses some");
    for unpublished in [
        r#"async fn one() { push_state(&mut query, &update, now); }"#,
        r#"async fn one() { sqlx::query("UPDATE vnf_lcm_op_occs SET attempt = 0, state = 'FAILED' WHERE id = $1") }"#,
        r#"async fn one() { sqlx::query("DELETE FROM vnf_instances WHERE id = $1") }"#,
        "macro_rules! insert { () => { \"INSERT INTO vnf_instances (id) SELECT $1\" }; }\nfn one() { insert!() }",
        "fn one() {\n \"UPDATE vnf_packages \\\n SET operational_state = 'ENABLED'\" }",
    ] {
        assert_eq!(unpublished_writes(unpublished).len(), 1, "{unpublished}");
    }
    for published in [
        r#"fn one() { "UPDATE vnf_lcm_op_occs SET error = CASE WHEN state = 'ROLLING_BACK' THEN 1 END WHERE state = 'STARTING'" }"#,
        r#"fn one() { "UPDATE vnf_instances SET version = 1" }"#,
        r#"fn one() { "INSERT INTO vnf_lcm_op_occ_values" }"#,
        r#"fn one() { "DELETE FROM vnf_instances"; publish::deletion() }"#,
    ] {
        assert!(unpublished_writes(published).is_empty(), "{published}");
    }
}
