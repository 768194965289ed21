//! The history of an operation: each attempt of each step, with its objects and why they are not ready.
//!
//! The conductor keeps a [`StepLog`] for the operation that it works on. The log collects the [`StepWrites`] that bring the stored
//! rows to the same state, so that the conductor can write them in the transaction that it makes anyway. An attempt that ends soon is
//! written once, when it ends; one that lasts, when it has lasted for a moment and whenever its objects change. `GET …/vnf_lcm_op_occs/{id}/steps` and `gybe:progress` show the stored rows.
//!
//! All sizes are bounded: objects of an attempt, attempts of a step, lengths of texts.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::domain::plan::Step;
use crate::domain::resource::ObjectKey;
use crate::domain::text::truncated;

/// The most objects of an attempt that are stored, those that are not ready first. The counts are of all objects.
pub const MAX_OBJECTS: usize = 100;
/// Bytes of a reason.
const MAX_REASON: usize = 500;
/// Bytes of an error.
const MAX_ERROR: usize = 2000;
/// Of the attempts of a step, this many first ones are kept.
const FIRST_KEPT: usize = 2;
/// And this many last ones.
const LAST_KEPT: usize = 4;

/// Which steps of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To COMPLETED.
    Forward,
    /// To ROLLED_BACK.
    Backward,
}

impl Direction {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

/// The state of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepState {
    /// A conductor sends its requests, or watches its objects.
    Running,
    /// It needs something that is not ready yet. No conductor works on it; one goes on later.
    Waiting,
    /// Ended: done.
    Completed,
    /// Ended without success.
    Failed,
}

impl StepState {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether nothing can follow.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// The state of an object in an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ObjectState {
    /// The cluster refused it.
    Failed,
    /// Not done, or not ready yet.
    Pending,
    /// Ready.
    Ready,
    /// Created or changed.
    Applied,
    /// Deleted.
    Removed,
}

impl ObjectState {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "FAILED",
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Applied => "APPLIED",
            Self::Removed => "REMOVED",
        }
    }
}

/// What a driver sees of an object that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReadiness {
    /// The object.
    pub key: ObjectKey,
    pub is_ready: bool,
    /// Its ready pods, and how many it is to have; `None` if it makes no pods.
    pub pods: Option<(u32, u32)>,
    /// Why it is not ready. May contain secrets.
    pub reason: Option<String>,
}

/// An object of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepObject {
    pub key: ObjectKey,
    /// `None` for a cluster-scoped object.
    pub namespace: Option<String>,
    pub state: ObjectState,
    /// Its ready pods, and how many it is to have.
    pub pods: Option<(u32, u32)>,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// Since when it is in this state.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl StepObject {
    /// The object with its reason in a sentence, such as `Deployment amf 1 of 3 ready: pod amf-3: ImagePullBackOff`.
    pub fn explanation(&self) -> String {
        let pods = self.pods.map_or_else(String::new, |(ready, wanted)| format!(" {ready} of {wanted} ready"));
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!("{}{pods}{reason}", self.key)
    }
}

/// An attempt of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepAttempt {
    /// Its number in the history of the operation.
    pub position: u32,
    /// Counts the attempts of the step, from 1.
    pub attempt: u32,
    /// The number of the step in its direction, from 0.
    pub sequence: usize,
    /// The number of steps in its direction.
    pub of: usize,
    pub direction: Direction,
    pub name: String,
    pub label: String,
    pub state: StepState,
    #[serde(with = "time::serde::rfc3339")]
    pub began_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// The conductor that works on it, or worked on it last.
    pub conductor: String,
    /// Why it ended, or what it waits for.
    pub error: Option<String>,
    /// How many of its objects are ready, applied or removed.
    pub ready: usize,
    /// The number of its objects.
    pub total: usize,
    /// At most [`MAX_OBJECTS`].
    pub objects: Vec<StepObject>,
}

impl StepAttempt {
    /// Why it is not done yet; at most `limit` reasons.
    pub fn reasons(&self, limit: usize) -> Vec<String> {
        let unready = self.objects.iter().filter(|object| object.reason.is_some());
        self.error.clone().into_iter().chain(unready.map(StepObject::explanation)).take(limit).collect()
    }

    fn is_of(&self, direction: Direction, sequence: usize) -> bool {
        (self.direction, self.sequence) == (direction, sequence)
    }

    /// Replaces the objects. An object keeps the time since when it is in its state.
    fn set_objects(&mut self, mut objects: Vec<StepObject>) {
        let before: HashMap<&ObjectKey, &StepObject> =
            self.objects.iter().map(|object| (&object.key, object)).collect();
        for object in &mut objects {
            if let Some(known) = before.get(&object.key).filter(|known| known.state == object.state) {
                object.since = known.since;
            }
            object.reason = object.reason.take().map(|reason| truncated(&reason, MAX_REASON));
        }
        self.total = objects.len();
        self.ready = objects.iter().filter(|object| object.state > ObjectState::Pending).count();
        // Stable: objects of one state keep the order of the step.
        objects.sort_by_key(|object| (object.state, object.reason.is_none()));
        objects.truncate(MAX_OBJECTS);
        self.objects = objects;
    }
}

/// What is to be written, so that the store has what a [`StepLog`] has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepWrites {
    /// New and changed attempts, none twice.
    pub written: Vec<StepAttempt>,
    /// The positions of attempts to delete.
    pub removed: Vec<u32>,
}

impl StepWrites {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }

    fn write(&mut self, attempt: StepAttempt) {
        match self.written.iter_mut().find(|one| one.position == attempt.position) {
            Some(one) => *one = attempt,
            None => self.written.push(attempt),
        }
    }

    fn remove(&mut self, position: u32) {
        self.written.retain(|attempt| attempt.position != position);
        self.removed.push(position);
    }

    /// Adds what is written after this.
    fn then(&mut self, later: Self) {
        later.written.into_iter().for_each(|attempt| self.write(attempt));
        later.removed.into_iter().for_each(|position| self.remove(position));
    }

    /// The same, but each attempt has failed with this error: for an outcome that the database rejected.
    pub fn failed(&self, error: &str) -> Self {
        let fail = |attempt: &StepAttempt| StepAttempt {
            state: StepState::Failed,
            error: Some(truncated(error, MAX_ERROR)),
            objects: Vec::new(),
            ..attempt.clone()
        };
        Self { written: self.written.iter().map(fail).collect(), removed: self.removed.clone() }
    }
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
struct Past {
    position: u32,
    attempt: u32,
    direction: Direction,
    sequence: usize,
}

/// The history of an operation, as the conductor that works on it knows it.
#[derive(Debug, Default)]
pub struct StepLog {
    past: Vec<Past>,
    /// The attempt that has not ended.
    current: Option<StepAttempt>,
    next: u32,
    unwritten: StepWrites,
}

impl StepLog {
    /// The log of an operation with these stored attempts, in their order. A conductor that stopped without a word left one that
    /// is running: it has failed.
    pub fn resume(stored: Vec<StepAttempt>, now: OffsetDateTime) -> Self {
        let mut log = Self::default();
        for attempt in stored {
            log.next = attempt.position + 1;
            if attempt.state.is_ended() {
                log.keep(&attempt);
                continue;
            }
            log.close(now);
            log.current = Some(attempt);
        }
        if log.current.as_ref().is_some_and(|attempt| attempt.state == StepState::Running) {
            log.close(now);
        }
        log
    }

    /// The current attempt, if there is one, was left by its conductor.
    fn close(&mut self, now: OffsetDateTime) {
        let Some(attempt) = &self.current else { return };
        let error = format!("the conductor {} stopped working on it", attempt.conductor);
        self.end(Some(&error), now);
    }

    fn keep(&mut self, attempt: &StepAttempt) {
        let StepAttempt { position, attempt, direction, sequence, .. } = *attempt;
        self.past.push(Past { position, attempt, direction, sequence });
    }

    /// The current attempt is to be written.
    fn touch(&mut self) {
        if let Some(attempt) = self.current.clone() {
            self.unwritten.write(attempt);
        }
    }

    /// Whether there is something to write.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Takes what the store does not have yet, to write it.
    pub fn take_unwritten(&mut self) -> StepWrites {
        std::mem::take(&mut self.unwritten)
    }

    /// The writes that [`Self::take_unwritten`] returned have failed: they come first the next time.
    pub fn restore(&mut self, mut failed: StepWrites) {
        failed.then(std::mem::take(&mut self.unwritten));
        self.unwritten = failed;
    }

    /// Whether an attempt of this step is running.
    pub fn is_running(&self, direction: Direction, sequence: usize) -> bool {
        let is_running =
            |attempt: &StepAttempt| attempt.is_of(direction, sequence) && attempt.state == StepState::Running;
        self.current.as_ref().is_some_and(is_running)
    }

    /// An attempt of step `sequence` of `steps` begins, or goes on after it waited. Nothing begins after the last step. A new attempt
    /// is not to be written yet.
    pub fn begin(
        &mut self,
        direction: Direction,
        sequence: usize,
        steps: &[Step],
        conductor: &str,
        now: OffsetDateTime,
    ) {
        let Some(step) = steps.get(sequence) else { return };
        if let Some(waiting) = self.current.as_mut().filter(|attempt| attempt.is_of(direction, sequence)) {
            waiting.state = StepState::Running;
            waiting.error = None;
            conductor.clone_into(&mut waiting.conductor);
            return self.touch();
        }
        self.close(now);
        let before: Vec<Past> =
            self.past.iter().filter(|past| (past.direction, past.sequence) == (direction, sequence)).copied().collect();
        self.trim(&before);
        self.current = Some(StepAttempt {
            position: self.next,
            attempt: before.last().map_or(1, |last| last.attempt + 1),
            sequence,
            of: steps.len(),
            direction,
            name: step.kind().to_owned(),
            label: step.label(),
            state: StepState::Running,
            began_at: now,
            ended_at: None,
            conductor: conductor.to_owned(),
            error: None,
            ready: 0,
            total: step.size(),
            objects: Vec::new(),
        });
        self.next += 1;
    }

    /// The current attempt, to be written if it lasts.
    pub const fn current(&self) -> Option<&StepAttempt> {
        self.current.as_ref()
    }

    /// Forgets attempts of a step between the first and the last ones. `before` are all that have ended, and another one begins.
    fn trim(&mut self, before: &[Past]) {
        let end = (before.len() + 1).saturating_sub(LAST_KEPT);
        for superfluous in before.get(FIRST_KEPT..end).unwrap_or_default() {
            self.past.retain(|past| past.position != superfluous.position);
            self.unwritten.remove(superfluous.position);
        }
    }

    /// Notes the objects of the current attempt. They are written with the next change of it.
    pub fn note_objects(&mut self, objects: Vec<StepObject>) {
        if let Some(attempt) = &mut self.current {
            attempt.set_objects(objects);
        }
    }

    /// Notes that all objects of the current attempt are done. `shown` are the first of them.
    pub fn note_done(&mut self, shown: Vec<StepObject>) {
        if let Some(attempt) = &mut self.current {
            attempt.ready = attempt.total;
            attempt.objects = shown;
        }
    }

    /// As [`Self::note_objects`]; the attempt is to be written if something has changed. Returns whether it is.
    pub fn report(&mut self, objects: Vec<StepObject>) -> bool {
        let before = self.current.clone();
        self.note_objects(objects);
        let has_changed = self.current != before;
        if has_changed {
            self.touch();
        }
        has_changed
    }

    /// The current attempt ends with success, or with the error.
    pub fn end(&mut self, error: Option<&str>, now: OffsetDateTime) {
        let Some(mut attempt) = self.current.take() else { return };
        attempt.state = if error.is_some() { StepState::Failed } else { StepState::Completed };
        attempt.error = error.map(|error| truncated(error, MAX_ERROR));
        attempt.ended_at = Some(now);
        self.keep(&attempt);
        self.unwritten.write(attempt);
    }

    /// The current attempt waits, without a conductor, because of `reason`.
    pub fn wait(&mut self, reason: &str) {
        if let Some(attempt) = &mut self.current {
            attempt.state = StepState::Waiting;
            attempt.error = Some(truncated(reason, MAX_ERROR));
        }
        self.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: name.to_owned() }
    }

    fn steps() -> Vec<Step> {
        let objects = vec![key("amf"), key("smf")];
        vec![Step::Apply { objects: objects.clone() }, Step::AwaitReady { objects }]
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn object(name: &str, reason: Option<&str>, seconds: i64) -> StepObject {
        StepObject {
            key: key(name),
            namespace: Some("core".to_owned()),
            state: if reason.is_some() { ObjectState::Pending } else { ObjectState::Ready },
            pods: Some((1, 3)),
            reason: reason.map(str::to_owned),
            since: at(seconds),
        }
    }

    fn begin(log: &mut StepLog, sequence: usize, seconds: i64) {
        log.begin(Direction::Forward, sequence, &steps(), "one", at(seconds));
    }

    /// Writes what the store does not have yet.
    fn store(rows: &mut Vec<StepAttempt>, log: &mut StepLog) {
        let writes = log.take_unwritten();
        rows.retain(|row| writes.written.iter().all(|new| new.position != row.position));
        rows.extend(writes.written);
        rows.retain(|row| !writes.removed.contains(&row.position));
        rows.sort_by_key(|row| row.position);
    }

    #[test]
    fn a_step_is_written_when_it_begins_when_its_reasons_change_and_when_it_ends() {
        let mut log = StepLog::default();
        begin(&mut log, 1, 1);
        assert!(!log.has_unwritten(), "an attempt that ends soon is written once");
        let row = log.current().unwrap();
        assert_eq!((row.sequence, row.of, row.attempt, row.total), (1, 2, 1, 2));
        assert_eq!((row.name.as_str(), row.label.as_str()), ("AwaitReady", "wait until 2 objects are ready"));
        let report = |log: &mut StepLog, seconds| {
            log.report(vec![object("smf", None, seconds), object("amf", Some("pod amf-3: ImagePullBackOff"), seconds)])
        };
        assert!(report(&mut log, 2));
        let row = log.take_unwritten().written.remove(0);
        assert_eq!((row.ready, row.total, row.state), (1, 2, StepState::Running));
        assert_eq!(row.reasons(5), ["Deployment amf 1 of 3 ready: pod amf-3: ImagePullBackOff"]);
        assert!(!report(&mut log, 3), "nothing has changed, and the state began at the first sight");
        log.end(None, at(4));
        let failed = log.take_unwritten();
        log.restore(failed);
        let writes = log.take_unwritten();
        assert_eq!(writes.written.len(), 1, "a write that failed comes again");
        assert_eq!((writes.written[0].state, writes.written[0].ended_at), (StepState::Completed, Some(at(4))));
        assert!(log.take_unwritten().is_empty());
    }

    #[test]
    fn another_conductor_goes_on_with_a_waiting_step_and_begins_a_lost_one_anew() {
        let (mut log, mut rows) = (StepLog::default(), Vec::new());
        begin(&mut log, 0, 1);
        log.wait("the cluster does not serve it yet");
        store(&mut rows, &mut log);
        assert_eq!((rows.len(), rows[0].state), (1, StepState::Waiting));
        let mut log = StepLog::resume(rows.clone(), at(2));
        assert!(!log.is_running(Direction::Forward, 0));
        log.begin(Direction::Forward, 0, &steps(), "two", at(3));
        store(&mut rows, &mut log);
        assert_eq!((rows.len(), rows[0].conductor.as_str(), rows[0].state), (1, "two", StepState::Running));

        let mut log = StepLog::resume(rows.clone(), at(4));
        begin(&mut log, 0, 5);
        log.report(vec![object("amf", Some("ImagePullBackOff"), 5)]);
        store(&mut rows, &mut log);
        assert_eq!((rows[0].state, rows[0].ended_at), (StepState::Failed, Some(at(4))));
        assert!(rows[0].error.as_ref().unwrap().contains("two stopped"));
        assert_eq!((rows[1].attempt, rows[1].position, rows[1].state), (2, 1, StepState::Running));
    }

    #[test]
    fn the_first_and_the_last_attempts_of_a_step_are_kept() {
        let (mut log, mut rows) = (StepLog::default(), Vec::new());
        for attempt in 0..20 {
            begin(&mut log, 0, attempt);
            log.end(Some("no"), at(attempt));
            store(&mut rows, &mut log);
        }
        begin(&mut log, 1, 30);
        log.end(None, at(30));
        store(&mut rows, &mut log);
        let attempts: Vec<u32> = rows.iter().map(|row| row.attempt).collect();
        assert_eq!(attempts, [1, 2, 17, 18, 19, 20, 1]);
    }

    #[test]
    fn objects_and_texts_are_bounded_and_the_unready_come_first() {
        let mut log = StepLog::default();
        begin(&mut log, 1, 1);
        let mut objects: Vec<StepObject> = (0..500).map(|name| object(&name.to_string(), None, 1)).collect();
        objects.push(object("last", Some(&"x".repeat(9000)), 1));
        log.report(objects);
        let row = log.take_unwritten().written.remove(0);
        assert_eq!((row.total, row.ready, row.objects.len()), (501, 500, MAX_OBJECTS));
        assert_eq!(row.objects[0].key.name, "last");
        assert!(row.objects[0].reason.as_ref().unwrap().len() <= MAX_REASON);
    }
}
