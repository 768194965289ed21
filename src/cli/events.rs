//! `GET /events/v1`: what changes on a server, as it changes. [`super::wait`] waits by it, `gybe events` shows it ([`super::follow`]).

use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

/// The most bytes of an event. The stream ends where a server sends more.
const MAX_EVENT: usize = 1 << 20;
/// A stream without a byte for this time is lost: a server sends a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// A stream of events (text/event-stream).
pub struct Events {
    body: UnsyncBoxBody<Bytes, String>,
    buffer: Vec<u8>,
}

impl Events {
    /// Reads `body`.
    pub const fn new(body: UnsyncBoxBody<Bytes, String>) -> Self {
        Self { body, buffer: Vec::new() }
    }

    /// Waits until something about the operation `op` changes, or `patience` is over. False once the stream has ended.
    pub async fn changed(&mut self, op: &str, patience: Duration) -> bool {
        let wait = async {
            while let Some(event) = self.next().await {
                // After a reset, what changed is unknown.
                if event.is_reset() || is_about(&event.data, op) {
                    return true;
                }
            }
            false
        };
        timeout(patience, wait).await.unwrap_or(true)
    }

    /// The next event; `None` once the stream has ended or is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            let frame = timeout(SILENCE, self.body.frame()).await.ok()??.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > MAX_EVENT {
                return None;
            }
        }
    }

    /// The first whole event of the buffer.
    fn take_event(&mut self) -> Option<Event> {
        let end = self.buffer.windows(2).position(|two| two == b"\n\n")?;
        let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Some(Event::read(&String::from_utf8_lossy(&event)))
    }
}

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its place in the stream, from which another stream goes on.
    pub id: Option<String>,
    pub name: Option<String>,
    /// JSON; empty if the event says nothing but its place.
    pub data: String,
}

impl Event {
    fn read(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("event", name)) => event.name = Some(name.to_owned()),
                Some(("data", data)) => event.data.push_str(data),
                _ => {}
            }
        }
        event
    }

    /// Whether the client has missed events, and reads again what it knows.
    pub fn is_reset(&self) -> bool {
        self.name.as_deref() == Some("reset")
    }
}

fn is_about(data: &str, op: &str) -> bool {
    let data: Value = serde_json::from_str(data).unwrap_or_default();
    ["id", "opOccId"].iter().any(|member| data.get(member).is_some_and(|id| id == op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_recognised() {
        let event = Event::read(": comment\nid: 5\nevent: step\ndata: {\"opOccId\":\ndata: \"a\"}\n\n");
        let [id, name] = ["5", "step"].map(|text| Some(text.to_owned()));
        assert_eq!(event, Event { id, name, data: "{\"opOccId\":\"a\"}".to_owned() });
        assert!(is_about(&event.data, "a") && !is_about(&event.data, "b") && !is_about("", "a"));
        assert!(is_about("{\"type\":\"vnf_lcm_op_occ\",\"id\":\"b\"}", "b"));
        assert!(!event.is_reset() && Event::read("event: reset\ndata: {}\n\n").is_reset());
    }
}
