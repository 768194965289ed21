//! `gybe` as a tool: packages made, checked and built, and the client of a server.

mod errors;
mod events;
mod lint;
mod package;
mod plan;
mod story;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::gybe::binary;

/// A person's machine: a home directory for the client.
pub struct Person<'a> {
    pub home: &'a Path,
}

impl Person<'_> {
    /// A command in the home directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.home).args(arguments).stdin(Stdio::null());
        // Only what the test says counts.
        for variable in
            ["GYBE_SERVER", "GYBE_TOKEN", "GYBE_CONTEXT", "GYBE_CA_FILE", "XDG_CONFIG_HOME", "GYBE_CLIENT_CONFIG"]
        {
            command.env_remove(variable);
        }
        command.env("HOME", self.home);
        command
    }

    /// Runs a command, and returns exit code, output and errors.
    pub async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        said(&output)
    }

    /// As [`Self::run`], which must end with that exit code. Returns the output, or the errors of one that fails.
    pub async fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let (found, output, errors) = self.run(arguments).await;
        assert_eq!(found, code, "gybe {arguments:?}\n{output}\n{errors}");
        if errors.is_empty() { output } else { errors }
    }
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
