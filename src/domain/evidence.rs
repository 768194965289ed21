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
        for log in &mut self.logs {
            // As a whole: a private key spans lines.
            log.lines = mask.apply_to_lines(&log.lines);
            log.lines.iter_mut().for_each(|line| *line = cut(line, LONGEST_TEXT));
        }
        self.notes.iter_mut().for_each(clean);
        self.notes.dedup();
        self.notes.truncate(NOTES);
        keep_within(&mut self.objects, OBJECTS_BUDGET, |object| {
            clean(&mut object.lacks);
            keep_within(&mut object.conditions, CONDITIONS_BUDGET, |condition| {
                [&mut condition.kind, &mut condition.reason, &mut condition.message].into_iter().for_each(clean);
                plain(&mut condition.status);
            });
        });
        keep_within(&mut self.events, EVENTS_BUDGET, |event| {
            [&mut event.reason, &mut event.message].into_iter().for_each(clean);
            [&mut event.object, &mut event.kind, &mut event.last_timestamp].into_iter().for_each(plain);
        });
        let share = (LOGS_BUDGET / self.logs.len().max(1)).saturating_sub(AROUND_LINES);
        for log in &mut self.logs {
            // The newest lines tell most.
            log.lines.reverse();
            keep_within(&mut log.lines, share, |_| ());
            log.lines.reverse();
        }
        keep_within(&mut self.logs, LOGS_BUDGET, |_| ());
        self
    }
}

/// Makes the first entries clean and keeps them, as long as their JSON is no longer than `budget` together. There may be
/// many more, which nobody will read.
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

/// A word that tells nothing, short and without control characters: who wrote the object may have put any there.
fn plain(text: &mut String) {
    *text = cut(text, LONGEST_TEXT).replace(char::is_control, " ");
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
    fn no_member_has_control_characters() {
        let text = "x\0y".to_owned();
        let [kind, status, reason, message] = [(); 4].map(|()| text.clone());
        let condition = ConditionEvidence { kind, status, reason, message };
        let object = ObjectEvidence { conditions: vec![condition], ..ObjectEvidence::default() };
        let [object_of, kind, reason, last_timestamp] = [(); 4].map(|()| text.clone());
        let event = EventEvidence { object: object_of, kind, reason, last_timestamp, ..EventEvidence::default() };
        let evidence = Evidence { objects: vec![object], events: vec![event], ..Evidence::default() };
        let told = serde_json::to_string(&evidence.bounded(&Mask::default())).unwrap();
        assert_eq!((told.matches("x y").count(), told.contains("\\u0000")), (8, false), "{told}");
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
