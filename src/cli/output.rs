//! The standard output: tables for people, JSON and YAML for programs. A reader that ends early, such as `head`, is no error.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::CliError;
use crate::cli::yaml;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table for people
    Table,
    /// JSON, as the server answers
    Json,
    /// The same as YAML
    Yaml,
}

/// The option of the format.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputOptions {
    /// Output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

impl OutputOptions {
    /// Prints `value`, or `table` for people.
    ///
    /// # Errors
    /// The output can't be written.
    pub fn show(self, value: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), CliError> {
        match self.output {
            OutputFormat::Table => print(&table(value)),
            OutputFormat::Json => print(&format!("{value:#}\n")),
            OutputFormat::Yaml => print(&yaml::text(value)),
        }
    }
}

impl OutputOptions {
    /// Says something to people beside the result. Programs read the result alone.
    ///
    /// # Errors
    /// The output can't be written.
    pub fn note(self, text: &str) -> Result<(), CliError> {
        if self.output == OutputFormat::Table {
            return print(text);
        }
        eprint!("{text}");
        Ok(())
    }
}

/// Writes `text` to the standard output.
///
/// # Errors
/// The output can't be written.
pub fn print(text: &str) -> Result<(), CliError> {
    print_more(text).map(drop)
}

/// As [`print`]. Returns whether somebody still reads.
///
/// # Errors
/// The output can't be written.
pub fn print_more(text: &str) -> Result<bool, CliError> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::usage(format!("the standard output can't be written: {error}"))),
    }
}

/// Whether a person watches the standard output.
pub fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// The text at a path of members; empty if it is not there.
pub fn text_at(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A row for each element, with the texts at these paths.
pub fn rows(all: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let row = |one: &Value| columns.iter().map(|column| text_at(one, column)).collect();
    all.as_array().into_iter().flatten().map(row).collect()
}

/// A difference at a path, like those of `diff`.
pub fn difference(path: &str, minus: Option<&Value>, plus: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| value.map_or_else(|| "(none)".to_owned(), ToString::to_string);
    format!("  {path}\n  - {}\n  + {}\n", shown(minus), shown(plus))
}

/// A table with aligned columns. Control characters, which names of others might have, are left out.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let plain = |text: &str| -> String { text.chars().filter(|letter| !letter.is_control()).collect() };
    let head = head.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect())).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let colour = is_watched() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let padded = format!("{cell:<width$}");
            match code(cell).filter(|_| colour) {
                Some(code) => format!("\u{1b}[{code}m{padded}\u{1b}[0m"),
                None => padded,
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The colour of a state: red needs somebody, green is done, yellow goes on.
fn code(cell: &str) -> Option<u8> {
    match cell {
        "FAILED_TEMP" | "FAILED" | "ERROR" | "UNREACHABLE" | "MISSING" | "FOREIGN" | "delete" | "failed" => Some(31),
        "COMPLETED" | "ONBOARDED" | "INSTANTIATED" | "IN_SYNC" | "ACTIVE" | "create" | "ok" => Some(32),
        "STARTING" | "PROCESSING" | "ROLLING_BACK" | "UPLOADING" | "CHANGED" | "change" | "recreate" | "unknown" => {
            Some(33)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_left_out() {
        let rows = [vec!["a\u{1b}[2J".to_owned(), "é".to_owned(), "x".to_owned()], vec!["long".to_owned()]];
        assert_eq!(table(&["N", "B", "C"], &rows), "N     B  C\na[2J  é  x\nlong\n");
    }
}
