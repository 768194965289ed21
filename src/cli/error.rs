//! Errors of commands, and the exit codes (`docs/cli.md`).

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use crate::domain::problem::Problem;

/// How a command ended. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done,
    /// 1: an operation did not complete, a package is wrong, a VNF differs from its intent.
    Failed,
    /// 2: the arguments, or what they name, can't be used; clap uses the same number.
    Usage,
    /// 3: the server refuses the request.
    Refused,
    /// 4: there is nothing, or more than one thing, of that name.
    NotFound,
    /// 5: the server does not accept the credential, or it lacks a right.
    Denied,
    /// 6: no answer, or a server that fails.
    Unreachable,
    /// 7: the time of `--timeout` is over; the operation goes on.
    TimedOut,
    /// 8: the plan of `--plan` can't be run any more.
    Stale,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::NotFound => 4,
            Exit::Denied => 5,
            Exit::Unreachable => 6,
            Exit::TimedOut => 7,
            Exit::Stale => 8,
        })
    }
}

/// Why a command failed: what is wrong, what is allowed, what to do.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    message: String,
}

impl CliError {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The arguments, or what they name, can't be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file can't be read or written.
    pub fn file(path: &Path, what: &str, error: &dyn fmt::Display) -> Self {
        Self::usage(format!("{} can't be {what}: {error}", path.display()))
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        Self::new(Exit::Failed, problem.detail)
    }
}
