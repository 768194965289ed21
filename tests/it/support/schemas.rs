//! The JSON Schemas of SOL003, where they are at hand: in `../shared/schemas` beside the repository, of which they are no part.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use super::python;

/// What of SOL003 an answer is to be.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Below the folder of the schemas.
    file: &'static str,
    /// One of its definitions; `None`: the file itself.
    definition: Option<&'static str>,
}

/// Of 2.6.1, which has a file for each type.
pub const fn v1(file: &'static str) -> Schema {
    Schema { file, definition: None }
}

/// Of lifecycle management of 3.3.1.
pub const fn v2(definition: &'static str) -> Schema {
    Schema { file: "v3.3.1/sol003-v331-lifecycle.definitions.json", definition: Some(definition) }
}

/// Answers to hold against schemas.
#[derive(Default)]
pub struct Answers(Vec<Value>);

impl Answers {
    /// Keeps an answer, under a name for people.
    pub fn add(&mut self, name: &str, schema: Schema, answer: &Value) {
        self.push(name, schema, false, answer);
    }

    /// Keeps a list of such.
    pub fn add_list(&mut self, name: &str, schema: Schema, answer: &Value) {
        self.push(name, schema, true, answer);
    }

    fn push(&mut self, name: &str, schema: Schema, is_list: bool, answer: &Value) {
        let path = folder().expect("asked for before").join(schema.file);
        assert!(path.is_file(), "{}", path.display());
        self.0.push(json!([name, path, schema.definition, is_list, answer]));
    }

    /// How many there are, and what is wrong with them.
    pub fn check(&self) -> (usize, String) {
        let mut script = python::script("schemas.py");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let lines: String = self.0.iter().map(|answer| format!("{answer}\n")).collect();
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        (self.0.len(), said)
    }
}

/// The folder of the schemas, if it is there.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/schemas");
    folder.is_dir().then_some(folder)
}
