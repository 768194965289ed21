//! Waits for the end of an operation, and shows its progress to a person.
//!
//! A server that offers events says when something changes. Otherwise the operation is asked for again, with a growing delay.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::cli::find::VNFLCM;
use crate::cli::output::{is_watched, print, text_at};
use crate::cli::server::Server;
use crate::cli::{CliError, Exit};

/// The first delay, and the longest one, where there are no events.
pub(super) const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// With events, the operation is asked for at least so often: a proxy may keep the stream open and lose what is in it.
const AT_LEAST: Duration = Duration::from_secs(30);

/// Whether to wait.
#[derive(Args, Clone, Copy, Debug)]
pub struct WaitOptions {
    /// Wait until the operation has ended. The exit code is 0 if it did what was asked
    #[arg(long)]
    pub wait: bool,
    /// Wait at most so many seconds. The operation goes on; the exit code is 7
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// The op occurrence `op` once no conductor works on it, or needs somebody.
///
/// # Errors
/// As the server answers; the time is over.
pub async fn ended(server: &Server, op: &str, seconds: Option<u64>) -> Result<Value, CliError> {
    let path = format!("{VNFLCM}/vnf_lcm_op_occs/{op}");
    let mut shown = Progress::default();
    let wait = async {
        // Before the first look, so that no change is lost between the two.
        let (mut events, mut delay) = (server.events().await, DELAYS.0);
        loop {
            let occurrence = server.get(&path).await?.body;
            let is_live =
                matches!(text_at(&occurrence, "/operationState").as_str(), "STARTING" | "PROCESSING" | "ROLLING_BACK");
            if !is_live {
                shown.clear()?;
                return Ok(occurrence);
            }
            shown.show(&occurrence)?;
            let has_events = match &mut events {
                Some(stream) => stream.changed(op, AT_LEAST).await,
                None => false,
            };
            if !has_events {
                events = None;
                sleep(delay).await;
                delay = (delay * 3 / 2).min(DELAYS.1);
            }
        }
    };
    let Some(seconds) = seconds else { return wait.await };
    let over = || {
        let text = format!("the operation {op} goes on after {seconds} seconds; wait for it: gybe op watch {op}");
        CliError::new(Exit::TimedOut, text)
    };
    timeout(Duration::from_secs(seconds), wait).await.unwrap_or_else(|_| Err(over()))
}

/// Prints the operation, or waits for its end and prints that. `wanted` is the state in which it has done what was asked.
///
/// # Errors
/// As [`ended`].
pub async fn finish(server: &Server, op: &str, options: WaitOptions, wanted: &str) -> Result<Exit, CliError> {
    if !options.wait {
        print(&format!("{op}\n"))?;
        return Ok(Exit::Done);
    }
    outcome(&ended(server, op, options.timeout).await?, wanted)
}

/// Prints how an operation ended.
///
/// # Errors
/// It did not do what was asked.
pub fn outcome(occurrence: &Value, wanted: &str) -> Result<Exit, CliError> {
    let at = |pointer| text_at(occurrence, pointer);
    let (op, operation, state) = (at("/id"), at("/operation"), at("/operationState"));
    for warning in occurrence.get("gybe:warnings").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("gybe: warning: {}", warning.as_str().unwrap_or_default());
    }
    if state == wanted {
        print(&format!("{operation} {state} ({op})\n"))?;
        return Ok(Exit::Done);
    }
    let possible = ["retry", "rollback", "fail"];
    let possible = possible.iter().filter(|task| occurrence.pointer(&format!("/_links/{task}")).is_some());
    let possible: Vec<String> = possible.map(|task| format!("gybe op {task} {op}")).collect();
    let hint = if possible.is_empty() { String::new() } else { format!("; decide: {}", possible.join(", ")) };
    Err(CliError::new(Exit::Failed, format!("{operation} {state} ({op}): {}{hint}", at("/error/detail"))))
}

/// The line that shows the progress to a person.
#[derive(Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn show(&mut self, occurrence: &Value) -> Result<(), CliError> {
        let line = progress_line(occurrence);
        if !is_watched() || line == self.last {
            return Ok(());
        }
        print(&format!("\r\u{1b}[K{line}"))?;
        self.last = line;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), CliError> {
        if self.last.is_empty() { Ok(()) } else { print("\r\u{1b}[K") }
    }
}

/// The longest line that is shown, in characters: a longer one would fill several lines, which are not erased.
const MAX_LINE: usize = 100;

/// State, step and the objects that are waited for, in one line.
fn progress_line(occurrence: &Value) -> String {
    let at = |pointer| text_at(occurrence, pointer);
    let mut line = format!("{} {}", at("/operation"), at("/operationState"));
    if let Some(progress) = occurrence.get("gybe:progress") {
        let of = |pointer| text_at(progress, pointer);
        line += &format!(" step {} of {}: {}", of("/step"), of("/of"), of("/label"));
        if !of("/objects/total").is_empty() {
            line += &format!(", {} of {} ready", of("/objects/ready"), of("/objects/total"));
        }
        if let Some(reason) = progress.pointer("/reasons/0").and_then(Value::as_str) {
            line += &format!("; {reason}");
        }
    }
    line.chars().filter(|letter| !letter.is_control()).take(MAX_LINE).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_is_one_short_line_without_control_characters() {
        let op =
            |progress: Value| json!({"operation": "SCALE", "operationState": "PROCESSING", "gybe:progress": progress});
        let progress = json!({"step": 3, "of": 7, "label": "wait", "objects": {"ready": 2, "total": 5}, "reasons": ["smf-3 \u{1b}x"]});
        assert_eq!(progress_line(&op(progress)), "SCALE PROCESSING step 3 of 7: wait, 2 of 5 ready; smf-3 x");
        assert_eq!(progress_line(&json!({"operation": "HEAL", "operationState": "STARTING"})), "HEAL STARTING");
        assert_eq!(progress_line(&op(json!({"label": "x".repeat(200)}))).chars().count(), MAX_LINE);
    }

    #[test]
    fn an_operation_that_needs_somebody_says_what_to_do() {
        let op = json!({
            "id": "i", "operation": "HEAL", "operationState": "FAILED_TEMP", "error": {"detail": "no node"},
            "_links": {"self": {}, "retry": {}, "fail": {}},
        });
        let error = outcome(&op, "COMPLETED").unwrap_err();
        assert_eq!(error.exit, Exit::Failed);
        let expected = "HEAL FAILED_TEMP (i): no node; decide: gybe op retry i, gybe op fail i";
        assert_eq!(error.to_string(), expected);
    }
}
