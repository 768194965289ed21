//! The real OpenStack client with its plug-in for Tacker, from PyPI (tests/python), used without Keystone.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::python::{self, Dialogue};

/// A client of one Gybe. Its files are deleted when it is dropped.
pub struct OpenStack {
    commands: Dialogue,
    url: String,
    /// Its home directory.
    folder: TempDir,
}

/// The output of a command.
#[derive(Debug)]
pub struct Output {
    pub status: i64,
    pub out: String,
    pub err: String,
}

impl OpenStack {
    /// A client of the VNFM at `url`.
    pub fn of(url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut client = python::script("openstack_commands.py");
        client.env_clear().env("HOME", folder.path()).env("NO_PROXY", "*").env("PYTHONUTF8", "1");
        Self { commands: Dialogue::with(client), url: url.to_owned(), folder }
    }

    /// Runs `openstack --os-tacker-api-version VERSION ARGUMENTS…`.
    pub fn run(&mut self, version: &str, arguments: &[&str]) -> Output {
        let mut all = vec!["--os-auth-type", "none", "--os-endpoint", &self.url, "--os-tacker-api-version", version];
        all.extend(arguments);
        let answer = self.commands.ask(&json!(all));
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Output { status: answer["status"].as_i64().unwrap(), out: text("out"), err: text("err") }
    }

    /// Runs a command that must succeed and returns its output.
    #[track_caller]
    pub fn does(&mut self, version: &str, arguments: &[&str]) -> String {
        let output = self.run(version, arguments);
        assert_eq!((output.status, output.err.as_str()), (0, ""), "{arguments:?}: {}", output.out);
        output.out
    }

    /// Runs a command and returns its table as JSON: an object for `show`, an array of objects for `list`.
    #[track_caller]
    pub fn table(&mut self, version: &str, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        // Before a possible `--`.
        let place = all.iter().position(|argument| *argument == "--").unwrap_or(all.len());
        all.splice(place..place, ["-f", "json"]);
        serde_json::from_str(&self.does(version, &all)).expect("the table as JSON")
    }

    /// Runs a command that must fail and returns its error output.
    #[track_caller]
    pub fn fails(&mut self, version: &str, arguments: &[&str]) -> String {
        let output = self.run(version, arguments);
        assert_ne!(output.status, 0, "{arguments:?}: {}", output.out);
        output.err
    }

    /// Creates a file with that content and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The path of a file for a command to write.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}
