//! `gybe debug`: formats unfinished operations as a table for people or as JSON for scripts. `main` reads them from the
//! database.

use std::fmt::Write as _;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::ids::VnfLcmOpOccId;
use crate::store::{LiveLease, LiveOperation};

/// What to show of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// State and progress of each operation.
    Operations,
    /// The leases of claimed operations.
    Leases,
}

/// Length limit of an error in a table, in characters.
const MAX_ERROR: usize = 100;

#[derive(Serialize)]
struct LeaseRow<'a> {
    op: VnfLcmOpOccId,
    #[serde(flatten)]
    lease: &'a LiveLease,
}

/// Formats `operations`; the text ends with a line break.
///
/// # Errors
/// Serialisation as JSON failed: a defect.
pub fn show(view: View, operations: &[LiveOperation], json: bool) -> Result<String, serde_json::Error> {
    let leases = || operations.iter().filter_map(|op| op.lease.as_ref().map(|lease| LeaseRow { op: op.id, lease }));
    Ok(match (view, json) {
        (View::Operations, true) => serde_json::to_string_pretty(operations)? + "\n",
        (View::Leases, true) => serde_json::to_string_pretty(&leases().collect::<Vec<_>>())? + "\n",
        (View::Operations, false) => {
            let header = ["OPERATION", "INSTANCE", "KIND", "STATE", "STEP", "ATTEMPT", "NOT BEFORE", "LAST ERROR"];
            table(header, operations.iter().map(operation))
        }
        (View::Leases, false) => table(["OPERATION", "OWNER", "EPOCH", "UNTIL"], leases().map(lease)),
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

fn lease(row: LeaseRow<'_>) -> [String; 4] {
    [row.op.to_string(), row.lease.owner.clone(), row.lease.epoch.to_string(), timestamp(row.lease.until)]
}

fn timestamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| "-".to_owned())
}

/// One line without control characters, as errors quote clusters and manifests and a terminal would obey them.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_ERROR).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_ERROR).is_some() {
        shown.push('…');
    }
    shown
}

/// Pads columns to their widest cell.
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
            error: Some(Problem::conflict(format!("pod \u{1b}[31mamf\n{}", "x".repeat(MAX_ERROR)))),
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
    fn prints_a_line_per_operation_without_control_characters() {
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
    fn prints_only_claimed_operations_as_leases() {
        let text = show(View::Leases, &operations(), false).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("  one    7      1970-01-01T00:00:00Z\n"), "{text}");
        let json = show(View::Leases, &operations(), true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!([{
            "op": Uuid::nil().to_string(), "owner": "one", "epoch": 7, "until": "1970-01-01T00:00:00Z",
        }]);
        assert_eq!(json, expected);
    }
}
