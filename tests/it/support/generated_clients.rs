//! Clients that generators from PyPI make from the OpenAPI documents that a Gybe serves (tests/python/generated_clients.py).

use std::collections::BTreeSet;

use gybe::api::openapi;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::documents::document;
use super::python::{self, Dialogue};

/// The clients of all documents.
pub struct GeneratedClients {
    dialogue: Dialogue,
    /// The documents and operations of the successful GETs so far.
    read: BTreeSet<(String, String)>,
    /// The generated code.
    _folder: TempDir,
}

/// An answer as the clients have read it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    /// Null unless it is JSON.
    pub body: Value,
}

impl GeneratedClients {
    /// Generates clients of the VNFM at `url`. The generators must find nothing to complain about.
    pub fn of(url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut script = python::script("generated_clients.py");
        script.arg(url).arg(folder.path()).args(openapi::NAMES);
        script.env("NO_PROXY", "*").env("HOME", folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut dialogue = Dialogue::with(script);
        assert_eq!(dialogue.read(), json!([]), "complaints of the generators");
        Self { dialogue, read: BTreeSet::new(), _folder: folder }
    }

    /// Calls an operation of a document. Both generated clients must read the bodies of request and response without a loss.
    pub fn call(&mut self, document: &str, operation: &str, arguments: Value, body: Value) -> Answer {
        self.ask(&json!({ "document": document, "id": operation, "arguments": arguments, "body": body }))
    }

    /// As [`GeneratedClients::call`], with the content of a file as body.
    pub fn upload(&mut self, document: &str, operation: &str, arguments: Value, file: &str) -> Answer {
        self.ask(&json!({ "document": document, "id": operation, "arguments": arguments, "file": file }))
    }

    fn ask(&mut self, question: &Value) -> Answer {
        let answer = self.dialogue.ask(question);
        assert_eq!(answer["wrong"], json!([]), "{question}: {answer:#}");
        let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
        let text = |member: &str| question[member].as_str().unwrap().to_owned();
        if status < 300 && text("id").starts_with("get_") {
            self.read.insert((text("document"), text("id")));
        }
        Answer { status, location: answer["location"].as_str().map(str::to_owned), body: answer["body"].clone() }
    }

    /// The GETs of the documents that no call has made successfully, except those that are documented to have no success.
    pub fn unread(&self) -> Vec<(String, String)> {
        let mut unread = Vec::new();
        for name in openapi::NAMES {
            for (_, item) in document(name)["paths"].as_object().unwrap() {
                let one = (name.to_owned(), item["get"]["operationId"].as_str().unwrap_or_default().to_owned());
                let success = &item["get"]["responses"]["200"];
                // Generated clients wait for the end of a stream that has none.
                let is_stream = success["content"]["text/event-stream"].is_object();
                if success.is_object() && !is_stream && !self.read.contains(&one) {
                    unread.push(one);
                }
            }
        }
        unread
    }
}
