//! `gybe debug`: the operations that are not over, as a table for people or as JSON for scripts. `main` reads them from the
//! database; what is here only writes them down.

use std::fmt::Write as _;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::ids::VnfLcmOpOccId;
use crate::store::{LiveLease, LiveOperation};

/// What is shown of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Where each stands.
    Operations,
    /// Who works on those that somebody works on.
    Leases,
}

/// The longest error in a table, in characters.
const SHOWN: usize = 100;

#[derive(Serialize)]
struct Held<'a> {
    op: VnfLcmOpOccId,
    #[serde(flatten)]
    lease: &'a LiveLease,
}

/// `operations` in that view, with an end of line.
///
/// # Errors
/// They can't be written as JSON: a defect.
pub fn show(view: View, operations: &[LiveOperation], json: bool) -> Result<String, serde_json::Error> {
    let held = || operations.iter().filter_map(|op| op.lease.as_ref().map(|lease| Held { op: op.id, lease }));
    Ok(match (view, json) {
        (View::Operations, true) => serde_json::to_string_pretty(operations)? + "\n",
        (View::Leases, true) => serde_json::to_string_pretty(&held().collect::<Vec<_>>())? + "\n",
        (View::Operations, false) => {
            let header = ["OPERATION", "INSTANCE", "KIND", "STATE", "STEP", "ATTEMPT", "NOT BEFORE", "LAST ERROR"];
            table(header, operations.iter().map(operation))
        }
        (View::Leases, false) => table(["OPERATION", "OWNER", "EPOCH", "UNTIL"], held().map(lease)),
    })
}

fn operation(op: &LiveOperation) -> [String; 8] {
    [
        op.id.to_string(),
        op.vnf_instance_id.to_string(),
        op.operation.as_str().to_owned(),
        op.state.as_str().to_owned(),
        step(op),
        op.attempt.to_string(),
        timestamp(op.not_before),
        op.error.as_ref().map_or_else(|| "-".to_owned(), |problem| shortened(&problem.detail)),
    ]
}

fn step(op: &LiveOperation) -> String {
    match (op.steps, &op.awaited_grant) {
        (Some(steps), _) => format!("{} of {steps}", op.steps_done),
        (None, Some(_)) => "grant".to_owned(),
        (None, None) => "-".to_owned(),
    }
}

fn lease(held: Held<'_>) -> [String; 4] {
    [held.op.to_string(), held.lease.owner.clone(), held.lease.epoch.to_string(), timestamp(held.lease.until)]
}

fn timestamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| "-".to_owned())
}

/// On one line, and nothing that a terminal would obey: errors quote what clusters and manifests say.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Columns as wide as their widest cell; the last one as it is.
fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::VnfInstanceId;
    use crate::domain::op_occ::{LcmOperation, OpState};
    use crate::domain::problem::Problem;

    fn operations() -> Vec<LiveOperation> {
        let time = OffsetDateTime::UNIX_EPOCH;
        let stopped = LiveOperation {
            id: VnfLcmOpOccId(Uuid::nil()),
            vnf_instance_id: VnfInstanceId(Uuid::nil()),
            operation: LcmOperation::Instantiate,
            state: OpState::FailedTemp,
            steps_done: 2,
            steps: Some(4),
            attempt: 0,
            not_before: time,
            awaited_grant: None,
            error: Some(Problem::conflict(format!("pod \u{1b}[31mamf\n{}", "x".repeat(SHOWN)))),
            lease: None,
        };
        let lease = LiveLease { owner: "one".to_owned(), epoch: 7, until: time };
        let running =
            LiveOperation { state: OpState::Starting, steps: None, error: None, lease: Some(lease), ..stopped.clone() };
        let ungranted =
            LiveOperation { awaited_grant: Some("http://nfvo/1".to_owned()), lease: None, ..running.clone() };
        vec![stopped, running, ungranted]
    }

    #[test]
    fn a_table_has_a_line_per_operation_and_nothing_that_a_terminal_obeys() {
        let text = show(View::Operations, &operations(), false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("OPERATION  ") && lines[0].ends_with("LAST ERROR"));
        assert!(lines[1].contains("  FAILED_TEMP  2 of 4  0        1970-01-01T00:00:00Z  pod  [31mamf x"), "{text}");
        assert!(lines[1].ends_with("x…"));
        assert!(lines[2].contains("  STARTING     -       0        1970-01-01T00:00:00Z  -"), "{text}");
        assert!(lines[3].contains("  STARTING     grant   0        "), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn leases_are_those_that_somebody_holds() {
        let text = show(View::Leases, &operations(), false).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("  one    7      1970-01-01T00:00:00Z\n"), "{text}");
        let json = show(View::Leases, &operations(), true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let wanted = serde_json::json!([{
            "op": Uuid::nil().to_string(), "owner": "one", "epoch": 7, "until": "1970-01-01T00:00:00Z",
        }]);
        assert_eq!(json, wanted);
    }
}
