//! The real OpenStack client with its plug-in for Tacker, from PyPI (tests/python), with and without Keystone.

use gybe::domain::vim::{VimAccess, VimCredential};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::keystone::{Account, Keystone};
use super::python::{self, Dialogue};

/// A client of one Gybe. Its files are deleted when it is dropped.
pub struct OpenStack {
    commands: Dialogue,
    /// The options that say where the VNFM is, if the environment does not.
    options: Vec<String>,
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
    /// A client of the VNFM at `url`, which does not authenticate its callers.
    pub fn of(url: &str) -> Self {
        let options = ["--os-auth-type", "none", "--os-endpoint", url];
        Self::with(&options, &[])
    }

    /// A client that logs in with the password of the account, and finds the VNFM of the region in the catalogue.
    pub fn with_password(keystone: &Keystone, account: Account, region: &str) -> Self {
        let environment = [
            ("OS_AUTH_URL", keystone.url.as_str()),
            ("OS_USERNAME", account.user),
            ("OS_PASSWORD", account.user),
            ("OS_PROJECT_NAME", account.project),
            ("OS_USER_DOMAIN_ID", "default"),
            ("OS_PROJECT_DOMAIN_ID", "default"),
            ("OS_REGION_NAME", region),
        ];
        Self::with(&[], &environment)
    }

    fn with(options: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut client = python::script("openstack_commands.py");
        client.env_clear().env("HOME", folder.path()).env("NO_PROXY", "*").env("PYTHONUTF8", "1");
        client.envs(environment.iter().copied());
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { commands: Dialogue::with(client), options, folder }
    }

    /// Runs `openstack --os-tacker-api-version VERSION ARGUMENTS…`.
    pub fn run(&mut self, version: &str, arguments: &[&str]) -> Output {
        let mut all: Vec<&str> = self.options.iter().map(String::as_str).collect();
        all.extend(["--os-tacker-api-version", version]);
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

/// The content of a file for `vim register --config-file`.
pub fn vim_config(access: &VimAccess) -> String {
    let VimCredential::BearerToken(token) = &access.credential else { panic!("a token is wanted") };
    // JSON is valid YAML.
    json!({
        "auth_url": access.endpoint, "bearer_token": token.expose(), "ssl_ca_cert": access.ca,
        "project_name": "default", "type": "kubernetes",
    })
    .to_string()
}

/// The value of a column.
pub fn text(table: &Value, column: &str) -> String {
    table[column].as_str().unwrap_or_else(|| panic!("{column}: {table:#}")).to_owned()
}

/// The values of a column of a list.
pub fn column(list: &Value, column: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|row| text(row, column)).collect()
}
