//! Validation against the JSON Schemas of SOL003. The schemas are not part of the repository; the tests use them where
//! `../shared/schemas` exists.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use super::python;

/// The schema of a request, response or notification.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Path below the folder of the schemas.
    file: &'static str,
    /// The definition in the file; `None`: the file itself.
    definition: Option<&'static str>,
    /// Whether members that the schema does not have are errors.
    is_closed: bool,
}

/// A schema of 2.6.1, which has a file for each type.
pub const fn v1(file: &'static str) -> Schema {
    Schema { file, definition: None, is_closed: false }
}

/// A schema of lifecycle management of 3.3.1.
pub const fn v2(definition: &'static str) -> Schema {
    Schema { file: "v3.3.1/sol003-v331-lifecycle.definitions.json", definition: Some(definition), is_closed: false }
}

/// A schema of package management of 3.3.1.
pub const fn package_v2(definition: &'static str) -> Schema {
    Schema { file: "v3.3.1/sol003-v331-package.definitions.json", definition: Some(definition), is_closed: false }
}

/// A schema of granting of 3.3.1, for requests of ours: they may have no other members.
pub const fn grant_v2(definition: &'static str) -> Schema {
    Schema { file: "v3.3.1/sol003-v331-operation.definitions.json", definition: Some(definition), is_closed: true }
}

/// Values to validate, all at once: starting Python costs more than a check.
#[derive(Default)]
pub struct SchemaCheck(Vec<Value>);

impl SchemaCheck {
    /// Adds a value; `name` appears in errors.
    pub fn add(&mut self, name: &str, schema: Schema, value: &Value) {
        self.push(name, schema, false, value);
    }

    /// Adds each element of a list.
    pub fn add_list(&mut self, name: &str, schema: Schema, value: &Value) {
        self.push(name, schema, true, value);
    }

    fn push(&mut self, name: &str, schema: Schema, is_list: bool, value: &Value) {
        let path = folder().expect("the caller has checked that the schemas exist").join(schema.file);
        assert!(path.is_file(), "{}", path.display());
        self.0.push(json!([name, path, schema.definition, is_list, schema.is_closed, value]));
    }

    /// Validates all; returns their number and the errors.
    pub fn errors(&self) -> (usize, String) {
        let mut script = python::script("schemas.py");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let lines: String = self.0.iter().map(|value| format!("{value}\n")).collect();
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let errors = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{errors}");
        (self.0.len(), errors)
    }
}

/// The folder of the schemas, if it exists.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/schemas");
    folder.is_dir().then_some(folder)
}
