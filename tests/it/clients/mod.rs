//! Clients as they are: each is replayed with what it sends, in its order, from create to delete, on the real control plane
//! through the real binary with the profile it has (docs/clients.md). A file per client, and one per setting that is not of
//! one client alone.

mod etsi_mano;
mod ibm;
mod idempotency;
mod itential;
mod onap;
mod openmsa;
mod openstack;
mod settings;
mod unattended;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::support::gybe::{Answer, Gybe};

/// A running Gybe with a configuration file.
struct Site {
    gybe: Gybe,
    /// Read again at each start.
    _file: NamedTempFile,
}

impl Site {
    /// With this text as configuration file.
    fn start(configuration: &str) -> Self {
        let file = written(configuration);
        Self { gybe: Gybe::start_with(&["--config", file.path().to_str().unwrap()]), _file: file }
    }

    /// As [`Site::start`], on the PostgreSQL database of that URL, with further arguments.
    fn start_on(database_url: &str, configuration: &str, arguments: &[&str]) -> Self {
        let file = written(configuration);
        let arguments = [&["--config", file.path().to_str().unwrap()], arguments].concat();
        Self { gybe: Gybe::start_on_with(database_url, &arguments), _file: file }
    }

    /// Someone who sends these headers with each request.
    fn caller(&self, headers: &[(&'static str, &str)]) -> Caller<'_> {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Caller { gybe: &self.gybe, headers }
    }
}

fn written(configuration: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(configuration.as_bytes()).unwrap();
    file
}

/// A client, as far as HTTP goes.
struct Caller<'a> {
    gybe: &'a Gybe,
    headers: BTreeMap<&'static str, String>,
}

impl Caller<'_> {
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.gybe.client.request(method, self.gybe.uri(path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.gybe.send(request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Begins an operation; gives back its `Location`. Its answer has no body: some clients take one for an error.
    async fn begin(&self, instance: &str, operation: &str, body: &Value) -> String {
        let answer = self.post(&format!("{instance}/{operation}"), body).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""), "{operation}");
        assert!(!answer.headers.contains_key("content-type"));
        let location = answer.location.expect("a 202 has a Location");
        assert!(location.starts_with(&self.gybe.url), "it is absolute: {location}");
        location
    }

    /// Asks for the op occurrence again and again until it is in one of these states.
    async fn poll(&self, op: &str, states: &[&str]) -> Value {
        loop {
            let op = self.get(op).await.expect(reqwest::StatusCode::OK);
            let state = op["operationState"].as_str().unwrap();
            if states.contains(&state) {
                return op;
            }
            assert!(
                !matches!(state, "FAILED_TEMP" | "COMPLETED" | "FAILED" | "ROLLED_BACK"),
                "{op:#}\n{}",
                self.gybe.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The last segment of a path, which clients take for the id.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// A request without a runtime, as whoever is called back makes one in the middle of that. Gives back the status.
fn request_now(base: &str, head: &str) -> u16 {
    let address = base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(connection, "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
