//! `GET /events/v1`: what changes on a server, as it changes. Used to wait without asking again and again.

use std::time::Duration;

use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::bytes::Bytes;

/// The most bytes of an event. The stream ends where a server sends more.
const MAX_EVENT: usize = 1 << 20;

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
            loop {
                while let Some(event) = self.take_event() {
                    // After a reset, what changed is unknown.
                    if event.name.as_deref() == Some("reset") || is_about(&event.data, op) {
                        return true;
                    }
                }
                let Some(Ok(frame)) = self.body.frame().await else { return false };
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                if self.buffer.len() > MAX_EVENT {
                    return false;
                }
            }
        };
        timeout(patience, wait).await.unwrap_or(true)
    }

    /// The first whole event of the buffer.
    fn take_event(&mut self) -> Option<Event> {
        let text = |buffer: &[u8]| buffer.windows(2).position(|two| two == b"\n\n");
        let end = text(&self.buffer)?;
        let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
        Some(Event::read(&String::from_utf8_lossy(&event)))
    }
}

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: Option<String>,
    data: String,
}

impl Event {
    fn read(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                Some(("event", name)) => event.name = Some(name.to_owned()),
                Some(("data", data)) => event.data.push_str(data),
                _ => {}
            }
        }
        event
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
        assert_eq!(event, Event { name: Some("step".to_owned()), data: "{\"opOccId\":\"a\"}".to_owned() });
        assert!(is_about(&event.data, "a") && !is_about(&event.data, "b") && !is_about("", "a"));
        assert!(is_about("{\"type\":\"vnf_lcm_op_occ\",\"id\":\"b\"}", "b"));
    }
}
