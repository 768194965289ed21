//! The results, stored as JSON (a section replaces its earlier result) and printed as Markdown tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// The file of the results, unless `GYBE_BENCH_RESULTS` names another one.
const DEFAULT: &str = "target/bench/results.json";

/// The result of a section.
pub struct Section {
    /// The argument that runs the section, and its key in the file.
    pub name: &'static str,
    /// The subject.
    pub title: &'static str,
    /// What is real and what is fake, and other facts that are needed to read the figures.
    pub real: &'static str,
    /// The names of the columns, with units.
    pub columns: &'static [&'static str],
    rows: Vec<Value>,
}

impl Section {
    /// A section without rows.
    pub fn new(name: &'static str, title: &'static str, real: &'static str, columns: &'static [&'static str]) -> Self {
        Self { name, title, real, columns, rows: Vec::new() }
    }

    /// Adds a row, a value per column, and prints it: long runs show their progress.
    pub fn row(&mut self, values: Vec<Value>) {
        assert_eq!(values.len(), self.columns.len(), "a value for each column");
        let row = Value::from(values);
        println!("{}", line(&row));
        self.rows.push(row);
    }
}

/// The file of results.
pub struct Report {
    path: PathBuf,
    document: Value,
}

impl Report {
    /// Opens the file with earlier results.
    pub fn open() -> Self {
        let path = std::env::var_os("GYBE_BENCH_RESULTS").map(PathBuf::from);
        let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(DEFAULT));
        let document = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            Err(_) => json!({}),
        };
        Self { path, document }
    }

    /// Replaces the section, with machine, commit and date of this run from `scripts/bench`.
    pub fn keep(&mut self, section: Section) {
        let facts = std::env::var("GYBE_BENCH_FACTS").ok();
        let facts: Value = facts.map_or(json!({}), |facts| serde_json::from_str(&facts).unwrap());
        self.document[section.name] = json!({
            "title": section.title,
            "real": section.real,
            "facts": facts,
            "optimized": !cfg!(debug_assertions),
            "columns": section.columns,
            "rows": section.rows,
        });
        std::fs::create_dir_all(self.path.parent().unwrap()).unwrap();
        std::fs::write(&self.path, serde_json::to_string_pretty(&self.document).unwrap()).unwrap();
        println!("\n{} written", self.path.display());
    }

    /// All sections as Markdown, in the order of `names`.
    pub fn markdown(&self, names: &[&str]) -> String {
        let sections = names.iter().filter_map(|name| self.document.get(name));
        sections.map(markdown).collect::<Vec<_>>().join("\n")
    }
}

fn markdown(section: &Value) -> String {
    let text = |key: &str| section[key].as_str().unwrap_or_default();
    let facts = section["facts"].as_object().into_iter().flatten();
    let facts: Vec<String> = facts.map(|(name, fact)| format!("{name}: {}", cell(fact))).collect();
    let mut lines = vec![
        format!("### {}\n\n{}", text("title"), text("real")),
        line(&section["columns"]),
        format!("|{}", "---|".repeat(section["columns"].as_array().map_or(0, Vec::len))),
    ];
    lines[0].push('\n');
    lines.extend(section["rows"].as_array().into_iter().flatten().map(line));
    if section["optimized"] != true {
        lines.push("\n**A debug build: these figures say nothing.**".to_owned());
    }
    lines.push(format!("\n{}\n", facts.join("; ")));
    lines.join("\n")
}

/// A line of a table.
fn line(cells: &Value) -> String {
    let cells: Vec<String> = cells.as_array().into_iter().flatten().map(cell).collect();
    format!("| {} |", cells.join(" | "))
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// A figure with two decimals below ten, one below a hundred, and none above.
pub fn figure(number: f64) -> Value {
    let places = if number.abs() < 10.0 {
        100.0
    } else if number.abs() < 100.0 {
        10.0
    } else {
        1.0
    };
    let rounded = (number * places).round() / places;
    if places > 1.0 { json!(rounded) } else { json!(rounded as i64) }
}

/// A time in milliseconds.
pub fn millis(time: Duration) -> Value {
    figure(time.as_secs_f64() * 1000.0)
}

/// The median.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
