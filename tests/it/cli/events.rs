//! `gybe events`: follows the stream over a lost connection.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use gybe::domain::secret::Secret;
use gybe::domain::vim::{VimAccess, VimCredential};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Person;
use crate::support::events::EventStream;
use crate::support::fault_proxy::{FaultProxy, ProxyFault, certificate};
use crate::support::gybe::Gybe;

/// The longest that an expected line takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that runs until the test ends.
struct Follower {
    child: Child,
    lines: UnboundedReceiver<String>,
}

impl Follower {
    fn start(person: &Person<'_>, arguments: &[&str]) -> Self {
        let mut child = person.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (output, (sender, lines)) = (child.stdout.take().unwrap(), unbounded_channel());
        // Ends with the command.
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|it| sender.send(it))
        });
        Self { child, lines }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The events up to the end of an operation, as type, change and state.
async fn until_completed(follower: &mut Follower) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, follower.lines.recv()).await.expect("no event in time");
        let event: Value = serde_json::from_str(&line.expect("the command has ended")).unwrap();
        let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
        told.push(format!("{} {} {}", text("type"), text("change"), text("state")));
        if event["state"] == "COMPLETED" {
            return told;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_over_a_lost_connection() {
    let (gybe, home) = (Gybe::start(), TempDir::new().unwrap());
    let person = Person { home: home.path() };
    let direct = VimAccess {
        endpoint: gybe.url.clone(),
        ca: Some(certificate().0),
        credential: VimCredential::BearerToken(Secret::new("unused")),
        insecure: false,
        impersonate: None,
    };
    let proxy = FaultProxy::of(&direct).await;
    let front = proxy.access(&direct);
    std::fs::write(home.path().join("ca.pem"), front.ca.unwrap()).unwrap();
    let vnfd = gybe.onboard("small").await;
    let (watched, other) = (gybe.create("v2", &vnfd).await, gybe.create("v2", &vnfd).await);
    let id = watched.rsplit('/').next().unwrap();

    // A first stream, from whose beginning on the command follows: it misses nothing, whenever it connects.
    let begun = EventStream::open(&gybe, "").await;
    let after = begun.last.to_string();
    let at = ["--server", &front.endpoint, "--ca-file", "ca.pem"];
    let follow = ["events", "-o", "json", "--vnf", id, "--after", &after];
    let mut follower = Follower::start(&person, &[&follow[..], &at].concat());

    let whole = ["vnf_lcm_op_occ created PROCESSING", "vnf_instance updated -", "vnf_lcm_op_occ updated COMPLETED"];
    let rename = async |instance: &String, name: &str| {
        let changed = gybe.patch(instance, &json!({ "vnfInstanceName": name })).await;
        gybe.wait_ended(&changed.location.unwrap()).await;
    };
    rename(&other, "of nobody's concern").await;
    rename(&watched, "one").await;
    assert_eq!(until_completed(&mut follower).await, whole);

    // Without a connection.
    proxy.set(ProxyFault::CutOff);
    rename(&watched, "two").await;
    proxy.set(ProxyFault::None);
    let mut expected = vec!["vnf_instance updated -"];
    expected.extend(whole);
    assert_eq!(until_completed(&mut follower).await, expected, "each once");

    let unknown = person.expect(4, &["events", "--server", &gybe.url, "--vnf", "unknown"]).await;
    assert!(unknown.contains("there is no VNF 'unknown'"), "{unknown}");
}
