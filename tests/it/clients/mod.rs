//! Known clients: each test replays the requests of a client, in its order, from create to delete, on the real control
//! plane through the real binary with the client's profile (docs/clients.md). Settings that belong to no single client
//! have their own files.

mod etsi_mano;
mod generated;
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

use crate::support::gybe::{ApiResponse, Gybe};

/// A running Gybe with a configuration file.
struct ConfiguredGybe {
    gybe: Gybe,
    /// Read at each start.
    _file: NamedTempFile,
}

impl ConfiguredGybe {
    /// Starts with this configuration.
    fn start(configuration: &str) -> Self {
        Self::start_with(configuration, &[])
    }

    /// As [`ConfiguredGybe::start`], with further arguments.
    fn start_with(configuration: &str, arguments: &[&str]) -> Self {
        let file = config_file(configuration);
        let arguments = [&["--config", file.path().to_str().unwrap()], arguments].concat();
        Self { gybe: Gybe::start_with(&arguments), _file: file }
    }

    /// As [`ConfiguredGybe::start`], on the PostgreSQL database of that URL, with further arguments.
    fn start_on(database_url: &str, configuration: &str, arguments: &[&str]) -> Self {
        let file = config_file(configuration);
        let arguments = [&["--config", file.path().to_str().unwrap()], arguments].concat();
        Self { gybe: Gybe::start_on_with(database_url, &arguments), _file: file }
    }

    /// A client that sends these headers with each request.
    fn caller(&self, headers: &[(&'static str, &str)]) -> Caller<'_> {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Caller { gybe: &self.gybe, headers }
    }
}

fn config_file(configuration: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(configuration.as_bytes()).unwrap();
    file
}

/// A client: it sends its headers with each request.
struct Caller<'a> {
    gybe: &'a Gybe,
    headers: BTreeMap<&'static str, String>,
}

impl Caller<'_> {
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> ApiResponse {
        let mut request = self.gybe.client.request(method, self.gybe.uri(path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.gybe.send(request).await
    }

    async fn get(&self, path: &str) -> ApiResponse {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> ApiResponse {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> ApiResponse {
        self.send(Method::DELETE, path, None).await
    }

    /// Starts an operation and returns its `Location`. The 202 has no body, which some clients take for an error.
    async fn begin(&self, instance: &str, operation: &str, body: &Value) -> String {
        let answer = self.post(&format!("{instance}/{operation}"), body).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""), "{operation}");
        assert!(!answer.headers.contains_key("content-type"));
        let location = answer.location.expect("a 202 has a Location");
        assert!(location.starts_with(&self.gybe.url), "the location is absolute: {location}");
        location
    }

    /// Polls the op occurrence until it is in one of these states.
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

/// The last segment of a path, which clients use as id.
fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// Sends a blocking request, as a client does inside a callback; returns the status.
fn blocking_request(base: &str, head: &str) -> u16 {
    let address = base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(connection, "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
