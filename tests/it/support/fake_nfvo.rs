//! A fake NFVO that grants operations: an [`Nfvo`] without network. `grant_server` is one with HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gybe::nfvo::{GrantDecision, Nfvo, NfvoError};
use gybe::sol003::grant::GrantRequest;
use serde_json::Value;

use super::grant_server::grant;

/// What it takes to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantTiming {
    /// The NFVO grants in the response to the request.
    Immediate,
    /// The NFVO accepts the request and grants at the second poll.
    Deferred,
}

/// A fake NFVO.
pub struct FakeNfvo {
    /// What it takes to decide.
    pub timing: GrantTiming,
    /// The requests by the URI of their grant, with the number of polls.
    asked: Mutex<BTreeMap<String, (Value, usize)>>,
}

impl FakeNfvo {
    pub fn new(timing: GrantTiming) -> Arc<Self> {
        Arc::new(Self { timing, asked: Mutex::default() })
    }
}

fn granted(request: &Value, uri: &str) -> GrantDecision {
    let grant = serde_json::from_value(grant(request)).unwrap();
    GrantDecision::Granted { grant: Box::new(grant), uri: uri.to_owned() }
}

#[async_trait]
impl Nfvo for FakeNfvo {
    async fn request_grant(&self, request: &GrantRequest) -> Result<GrantDecision, NfvoError> {
        let request = serde_json::to_value(request).unwrap();
        let uri = format!("http://nfvo/grants/grant-{}", request["vnfLcmOpOccId"].as_str().unwrap());
        if self.timing == GrantTiming::Immediate {
            return Ok(granted(&request, &uri));
        }
        // A repeated request is the same request.
        self.asked.lock().unwrap().entry(uri.clone()).or_insert((request, 0));
        Ok(GrantDecision::Pending { uri, retry_after: None })
    }

    async fn poll_grant(&self, uri: &str) -> Result<GrantDecision, NfvoError> {
        let mut asked = self.asked.lock().unwrap();
        let (request, looks) = asked.get_mut(uri).unwrap();
        *looks += 1;
        if *looks > 1 {
            return Ok(granted(request, uri));
        }
        Ok(GrantDecision::Pending { uri: uri.to_owned(), retry_after: None })
    }
}
