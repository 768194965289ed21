//! Questions to the person at a terminal. Nothing is asked where there is none: a script never waits for an answer.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use crate::cli::CliError;
use crate::cli::init::{Aspect, Workload};

/// The longest answer in bytes.
const MAX_ANSWER: u64 = 1024;

/// Asks which of `workloads` are to be scaled, and how far.
///
/// # Errors
/// An answer that is no number of instances.
pub fn aspects(workloads: &[Workload]) -> Result<Vec<Aspect>, CliError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Vec::new());
    }
    let mut aspects = Vec::new();
    for workload in workloads.iter().filter(|workload| workload.is_scalable()) {
        let (name, now) = (&workload.name, workload.replicas);
        let question =
            format!("{} {name} has {now} instances. At most, after scaling? [{now}: no scaling] ", workload.kind);
        let answer = answer(&question)?;
        let most = if answer.is_empty() { Some(now) } else { answer.parse().ok().filter(|most| *most >= now) };
        let most = most.ok_or_else(|| {
            CliError::usage(format!("'{answer}' is not a whole number of at least {now}; run the command again"))
        })?;
        if most > now {
            aspects.push(Aspect { name: name.clone(), workloads: vec![name.clone()], max_level: most - now });
        }
    }
    Ok(aspects)
}

fn answer(question: &str) -> Result<String, CliError> {
    let failed = |error: io::Error| CliError::usage(format!("the terminal can't be read: {error}"));
    let mut errors = io::stderr();
    errors.write_all(question.as_bytes()).and_then(|()| errors.flush()).map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().take(MAX_ANSWER).read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}
