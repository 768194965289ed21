//! What a cluster shows of the causes when an operation stops. A driver collects it before anything is removed; it is kept
//! in the op occurrence's `error`, bounded and without secrets, until the op occurrence ends and after.

use serde::Serialize;
use serde_json::Value;

use crate::domain::mask::Mask;
use crate::domain::problem::Problem;

/// The member of a [`Problem`] that holds evidence: an extension, as RFC 9457 clause 3.2 allows.
pub const EVIDENCE: &str = "evidence";

/// Bytes of all conditions, of all events and of all logs, as JSON: together, 16 KiB with what is around them.
const OBJECTS_BUDGET: usize = 5 * 1024;
const EVENTS_BUDGET: usize = 4 * 1024;
const LOGS_BUDGET: usize = 6 * 1024;
/// Of these, the conditions of one object, and what is around the lines of a log (two names).
const CONDITIONS_BUDGET: usize = 1536;
const AROUND_LINES: usize = 400;
/// Longer texts are cut.
const LONGEST_TEXT: usize = 400;
/// A longer `detail` is cut: the evidence has the rest.
const LONGEST_DETAIL: usize = 1024;
/// So many notes are kept.
const NOTES: usize = 5;

/// What was found. The first of each list are the most telling ones: if something does not fit, the last go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Objects that are not ready.
    pub objects: Vec<ObjectEvidence>,
    /// What Kubernetes reported about them, newest first.
    pub events: Vec<EventEvidence>,
    /// What their failing containers said last.
    pub logs: Vec<LogEvidence>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An object that is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ObjectEvidence {
    /// `kind`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// What it lacks, in words.
    pub lacks: String,
    /// `status.conditions`.
    pub conditions: Vec<ConditionEvidence>,
}

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConditionEvidence {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventEvidence {
    /// Kind and name of what it is about.
    pub object: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, in one word.
    pub reason: String,
    /// What happened, in words.
    pub message: String,
    /// How often.
    pub count: i64,
    /// When last.
    pub last_timestamp: String,
}

/// The end of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogEvidence {
    /// The pod.
    pub pod: String,
    /// The container in it.
    pub container: String,
    /// Whether it is the log of the container that ran, and ended, before the present one.
    pub previous: bool,
    /// The last lines, oldest first.
    pub lines: Vec<String>,
}

impl Evidence {
    /// `problem` with this as a member, both without secrets and no longer than they may be.
    pub fn explain(self, problem: Problem, mask: &Mask) -> Problem {
        let detail = cut(&mask.apply(&problem.detail), LONGEST_DETAIL);
        let problem = Problem { detail, ..problem };
        if self == Self::default() {
            return problem;
        }
        problem.with(EVIDENCE, serde_json::to_value(self.bounded(mask)).unwrap_or_default())
    }

    /// The same without secrets, with short texts, and with as many entries as fit.
    fn bounded(mut self, mask: &Mask) -> Self {
        let clean = |text: &mut String| *text = cut(&mask.apply(text), LONGEST_TEXT);
        for object in &mut self.objects {
            clean(&mut object.lacks);
            for condition in &mut object.conditions {
                clean(&mut condition.reason);
                clean(&mut condition.message);
            }
            keep_within(&mut object.conditions, CONDITIONS_BUDGET);
        }
        self.events.iter_mut().for_each(|event| clean(&mut event.message));
        for log in &mut self.logs {
            // As a whole: a private key spans lines.
            log.lines = mask.apply_to_lines(&log.lines);
            log.lines.iter_mut().for_each(|line| *line = cut(line, LONGEST_TEXT));
        }
        self.notes.iter_mut().for_each(clean);
        self.notes.dedup();
        self.notes.truncate(NOTES);
        keep_within(&mut self.objects, OBJECTS_BUDGET);
        keep_within(&mut self.events, EVENTS_BUDGET);
        let share = (LOGS_BUDGET / self.logs.len().max(1)).saturating_sub(AROUND_LINES);
        for log in &mut self.logs {
            // The newest lines tell most.
            log.lines.reverse();
            keep_within(&mut log.lines, share);
            log.lines.reverse();
        }
        keep_within(&mut self.logs, LOGS_BUDGET);
        self
    }
}

/// Keeps the first entries, as long as their JSON is no longer than `budget` together.
fn keep_within<T: Serialize>(entries: &mut Vec<T>, budget: usize) {
    let mut left = budget;
    let fitting = entries.iter().map_while(|entry| {
        let length = serde_json::to_string(entry).ok()?.len();
        left = left.checked_sub(length + 1)?;
        Some(())
    });
    let fitting = fitting.count();
    entries.truncate(fitting);
}

/// At most `longest` bytes of the text, and a sign that there was more.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

impl ConditionEvidence {
    /// The condition that `value` is, as Kubernetes writes it.
    pub fn read(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        Self { kind: text("type"), status: text("status"), reason: text("reason"), message: text("message") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn much() -> Evidence {
        let text = "x\u{1}\"é".repeat(1000);
        let condition = ConditionEvidence { message: text.clone(), ..ConditionEvidence::default() };
        let object =
            ObjectEvidence { lacks: text.clone(), conditions: vec![condition; 9], ..ObjectEvidence::default() };
        let event = EventEvidence { message: text.clone(), ..EventEvidence::default() };
        let lines: Vec<String> = (0..20).map(|line| format!("{line} {text}")).collect();
        let log = LogEvidence { lines, ..LogEvidence::default() };
        Evidence { objects: vec![object; 50], events: vec![event; 500], logs: vec![log; 12], notes: vec![text; 50] }
    }

    #[test]
    fn evidence_is_bounded_whatever_was_found() {
        let problem = much().explain(Problem::conflict("d".repeat(9000)), &Mask::default());
        assert!(problem.detail.len() <= LONGEST_DETAIL + '…'.len_utf8());
        let evidence = &problem.extra[EVIDENCE];
        let length = evidence.to_string().len();
        assert!(length <= 18 * 1024, "{length}");
        for list in ["objects", "events", "logs", "notes"] {
            assert!(!evidence[list].as_array().unwrap().is_empty(), "{list}: the first are kept");
        }
    }

    #[test]
    fn the_newest_lines_of_a_log_are_kept() {
        let lines: Vec<String> = (0..100).map(|line| format!("{line} {}", "x".repeat(300))).collect();
        let logs = vec![LogEvidence { lines, ..LogEvidence::default() }];
        let kept = Evidence { logs, ..Evidence::default() }.bounded(&Mask::default());
        assert!(kept.logs[0].lines.last().unwrap().starts_with("99 "), "{:?}", kept.logs);
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let event = EventEvidence { message: "Back-off".to_owned(), count: 3, ..EventEvidence::default() };
        let evidence = Evidence { events: vec![event], ..Evidence::default() };
        assert_eq!(evidence.clone().bounded(&Mask::default()), evidence);
        assert_eq!(Evidence::default().explain(Problem::conflict("x"), &Mask::default()), Problem::conflict("x"));
    }
}
