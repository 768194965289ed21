//! Evidence: what a cluster shows of the cause when an operation stops.
//!
//! A driver collects it before anything is removed. The `error` of the op occurrence keeps it, limited in size and without secrets.

use serde::Serialize;
use serde_json::Value;

use crate::domain::mask::{Mask, change_texts};
use crate::domain::problem::Problem;

/// The member of a [`Problem`] that holds evidence: an extension, as RFC 9457 clause 3.2 allows.
pub const EVIDENCE: &str = "evidence";

/// The most bytes of all objects with their conditions, of all events and of all logs, as JSON. With notes, the evidence has at
/// most 18 KiB.
const OBJECTS_BUDGET: usize = 5 * 1024;
const EVENTS_BUDGET: usize = 4 * 1024;
const LOGS_BUDGET: usize = 6 * 1024;
/// The most bytes of the conditions of one object.
const CONDITIONS_BUDGET: usize = 1536;
/// The bytes reserved per log for the names of pod and container.
const LOG_OVERHEAD: usize = 400;
/// The most bytes of a text; longer texts are cut.
const MAX_TEXT: usize = 400;
/// The most bytes of `detail`; a longer one is cut, the evidence has the details.
const MAX_DETAIL: usize = 1024;
/// The most notes that are kept.
const MAX_NOTES: usize = 5;

/// The evidence. Each list begins with the most useful entries; the last entries are dropped if they do not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Objects that are not ready.
    pub objects: Vec<ObjectEvidence>,
    /// The events about them, newest first.
    pub events: Vec<EventEvidence>,
    /// The last log lines of their failing containers.
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
    /// Why the object is not ready.
    pub lacks: String,
    /// `status.conditions`.
    pub conditions: Vec<ConditionEvidence>,
}

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConditionEvidence {
    /// The type of the condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The cause in one word.
    pub reason: String,
    /// The cause in a sentence.
    pub message: String,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventEvidence {
    /// Kind and name of the object that the event is about.
    pub object: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of event in one word.
    pub reason: String,
    /// The description of the event.
    pub message: String,
    /// How often the event occurred.
    pub count: i64,
    /// The time of the last occurrence, as Kubernetes writes it.
    pub last_timestamp: String,
}

/// The end of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogEvidence {
    /// The pod.
    pub pod: String,
    /// The container in it.
    pub container: String,
    /// Whether it is the log of the previous run of the container.
    pub previous: bool,
    /// The last lines, oldest first.
    pub lines: Vec<String>,
}

impl Evidence {
    /// Adds the evidence to `problem` as a member. Limits the size of both and masks secrets.
    pub fn attach_to(self, problem: Problem, mask: &Mask) -> Problem {
        let detail = cut(&mask.apply(&problem.detail), MAX_DETAIL);
        let mut problem = Problem { detail, ..problem };
        for member in problem.extra.values_mut() {
            change_texts(member, &mut |text| *text = cut(&mask.apply(text), MAX_TEXT));
        }
        if self == Self::default() {
            return problem;
        }
        let evidence = self.bounded(mask);
        if let Some((log, line)) = evidence.last_line() {
            let LogEvidence { pod, container, .. } = log;
            let detail = cut(&problem.detail, MAX_DETAIL - MAX_TEXT);
            problem.detail =
                cut(&format!("{detail}; last line of container {container} of pod {pod}: {line}"), MAX_DETAIL);
        }
        problem.with(EVIDENCE, serde_json::to_value(evidence).unwrap_or_default())
    }

    /// The last line of the first log, which says most about the cause.
    fn last_line(&self) -> Option<(&LogEvidence, &str)> {
        let written = |line: &&String| !line.trim().is_empty();
        self.logs.iter().find_map(|log| Some((log, log.lines.iter().rfind(written)?.trim())))
    }

    /// Masks secrets, shortens texts, and drops the last entries that do not fit.
    fn bounded(mut self, mask: &Mask) -> Self {
        let clean = |text: &mut String| *text = cut(&mask.apply(text), MAX_TEXT);
        for log in &mut self.logs {
            // Mask all lines together, because a private key spans lines.
            log.lines = mask.apply_to_lines(&log.lines);
            log.lines.iter_mut().for_each(|line| *line = cut(line, MAX_TEXT));
        }
        self.notes.iter_mut().for_each(clean);
        self.notes.dedup();
        self.notes.truncate(MAX_NOTES);
        keep_within(&mut self.objects, OBJECTS_BUDGET, |object| {
            clean(&mut object.lacks);
            keep_within(&mut object.conditions, CONDITIONS_BUDGET, |condition| {
                [&mut condition.kind, &mut condition.reason, &mut condition.message].into_iter().for_each(clean);
                without_control_characters(&mut condition.status);
            });
        });
        keep_within(&mut self.events, EVENTS_BUDGET, |event| {
            [&mut event.reason, &mut event.message].into_iter().for_each(clean);
            [&mut event.object, &mut event.kind, &mut event.last_timestamp]
                .into_iter()
                .for_each(without_control_characters);
        });
        let share = (LOGS_BUDGET / self.logs.len().max(1)).saturating_sub(LOG_OVERHEAD);
        for log in &mut self.logs {
            // Keep the newest lines.
            log.lines.reverse();
            keep_within(&mut log.lines, share, |_| ());
            log.lines.reverse();
        }
        keep_within(&mut self.logs, LOGS_BUDGET, |_| ());
        self
    }
}

/// Cleans and keeps the first entries, up to `budget` bytes of JSON. Does not clean the rest, of which there may be many.
fn keep_within<T: Serialize>(entries: &mut Vec<T>, budget: usize, mut clean: impl FnMut(&mut T)) {
    let mut left = budget;
    let fitting = entries.iter_mut().map_while(|entry| {
        clean(entry);
        let length = serde_json::to_string(entry).ok()?.len();
        left = left.checked_sub(length + 1)?;
        Some(())
    });
    let fitting = fitting.count();
    entries.truncate(fitting);
}

/// Shortens a text that cannot contain a secret, and replaces control characters, which the author of the object may have put
/// there.
fn without_control_characters(text: &mut String) {
    *text = cut(text, MAX_TEXT).replace(char::is_control, " ");
}

/// At most `max` bytes of the text, with `…` if it was longer.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

impl ConditionEvidence {
    /// Reads a condition as Kubernetes writes it.
    pub fn read(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        Self { kind: text("type"), status: text("status"), reason: text("reason"), message: text("message") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large_evidence() -> Evidence {
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
    fn limits_the_size_of_any_evidence() {
        let problem = large_evidence().attach_to(Problem::conflict("d".repeat(9000)), &Mask::default());
        assert!(problem.detail.len() <= MAX_DETAIL + '…'.len_utf8());
        let evidence = &problem.extra[EVIDENCE];
        let length = evidence.to_string().len();
        assert!(length <= 18 * 1024, "{length}");
        for list in ["objects", "events", "logs", "notes"] {
            assert!(!evidence[list].as_array().unwrap().is_empty(), "{list}: the first are kept");
        }
    }

    #[test]
    fn masks_every_member_of_the_error() {
        let mask = Mask::with_credentials(&[], ["s3cr3t-value"]);
        let problem =
            Problem::conflict("x").with("values", serde_json::json!(["s3cr3t-value", { "of": "a s3cr3t-value" }]));
        let problem = Evidence::default().attach_to(problem, &mask);
        assert_eq!(problem.extra["values"], serde_json::json!(["***", { "of": "a ***" }]));
    }

    #[test]
    fn removes_control_characters() {
        let text = "x\0y".to_owned();
        let [kind, status, reason, message] = [(); 4].map(|()| text.clone());
        let condition = ConditionEvidence { kind, status, reason, message };
        let object = ObjectEvidence { conditions: vec![condition], ..ObjectEvidence::default() };
        let [object_of, kind, reason, last_timestamp] = [(); 4].map(|()| text.clone());
        let event = EventEvidence { object: object_of, kind, reason, last_timestamp, ..EventEvidence::default() };
        let evidence = Evidence { objects: vec![object], events: vec![event], ..Evidence::default() };
        let json = serde_json::to_string(&evidence.bounded(&Mask::default())).unwrap();
        assert_eq!((json.matches("x y").count(), json.contains("\\u0000")), (8, false), "{json}");
    }

    #[test]
    fn keeps_the_newest_lines_of_a_log() {
        let lines: Vec<String> = (0..100).map(|line| format!("{line} {}", "x".repeat(300))).collect();
        let logs = vec![LogEvidence { lines, ..LogEvidence::default() }];
        let kept = Evidence { logs, ..Evidence::default() }.bounded(&Mask::default());
        assert!(kept.logs[0].lines.last().unwrap().starts_with("99 "), "{:?}", kept.logs);
    }

    #[test]
    fn quotes_the_last_line_of_the_first_log_in_the_detail() {
        let log = |pod: &str, lines: &[&str]| LogEvidence {
            pod: pod.to_owned(),
            container: "app".to_owned(),
            previous: true,
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        };
        let logs = vec![log("a", &[" "]), log("b", &["starting", "no route to db:5432", ""]), log("c", &["fine"])];
        let problem = Evidence { logs, ..Evidence::default() }.attach_to(Problem::conflict("x"), &Mask::default());
        assert_eq!(problem.detail, "x; last line of container app of pod b: no route to db:5432");
    }

    #[test]
    fn keeps_all_that_fits() {
        let event = EventEvidence { message: "Back-off".to_owned(), count: 3, ..EventEvidence::default() };
        let evidence = Evidence { events: vec![event], ..Evidence::default() };
        assert_eq!(evidence.clone().bounded(&Mask::default()), evidence);
        assert_eq!(Evidence::default().attach_to(Problem::conflict("x"), &Mask::default()), Problem::conflict("x"));
    }
}
