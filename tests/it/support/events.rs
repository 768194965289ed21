//! A client of the stream of events.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::gybe::Gybe;

/// The longest that an expected event takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// A message of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: i64,
    pub event: String,
    pub data: Value,
}

/// An open stream.
pub struct EventStream {
    response: Response,
    text: String,
    /// The last id.
    pub last: i64,
}

impl EventStream {
    /// Opens the stream with this query. Returns when it has begun.
    pub async fn open(gybe: &Gybe, query: &str) -> Self {
        let request = gybe.client.get(gybe.uri(&format!("/events/v1{query}"))).header("Accept", "text/event-stream");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        for (name, value) in
            [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
        {
            assert_eq!(response.headers()[name], value);
        }
        let mut stream = Self { response, text: String::new(), last: 0 };
        let first = tokio::time::timeout(PATIENCE, stream.block()).await.unwrap().unwrap();
        // A reset says where the stream begins, too.
        if first.contains_key("event") {
            stream.text.insert_str(0, &format!("id: {}\nevent: reset\ndata: {{}}\n\n", first["id"]));
        }
        stream.last = first["id"].parse().unwrap();
        stream
    }

    /// The stream after the last event that this client has seen.
    pub async fn reopen(&self, gybe: &Gybe) -> Self {
        Self::open(gybe, &format!("?lastEventId={}", self.last)).await
    }

    /// The next message; `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<Message> {
        let block = tokio::time::timeout(PATIENCE, self.block()).await.expect("no event in time")?;
        self.last = block["id"].parse().unwrap();
        let data = serde_json::from_str(&block["data"]).unwrap();
        Some(Message { id: self.last, event: block["event"].clone(), data })
    }

    /// Messages up to the first for which `is_last` holds.
    pub async fn until(&mut self, is_last: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.last().is_none_or(|last| !is_last(last)) {
            messages.push(self.next().await.expect("the stream has ended"));
        }
        messages
    }

    /// The fields of the next block that is no comment.
    async fn block(&mut self) -> Option<BTreeMap<String, String>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let fields = block.lines().filter_map(|line| line.split_once(": "));
                let fields: BTreeMap<String, String> =
                    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                self.text = rest.to_owned();
                if !fields.is_empty() {
                    return Some(fields);
                }
            } else {
                let chunk = self.response.chunk().await.ok()??;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        }
    }
}
