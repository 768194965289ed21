//! A model of an NFVO that grants operations: an [`Nfvo`] without a network. `granter` has a real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gybe::nfvo::{GrantDecision, Nfvo, NfvoError};
use gybe::sol003::grant::GrantRequest;
use serde_json::Value;

use super::granter::grant;

/// What it takes to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It grants at once.
    NoTime,
    /// It grants when it is looked for the second time.
    ItsTime,
}

/// The NFVO.
pub struct PlayedNfvo {
    /// What it takes to decide.
    pub taking: Taking,
    /// What it was asked for, by where the grants will be, and how often it was looked for.
    asked: Mutex<BTreeMap<String, (Value, usize)>>,
}

impl PlayedNfvo {
    pub fn new(taking: Taking) -> Arc<Self> {
        Arc::new(Self { taking, asked: Mutex::default() })
    }
}

fn granted(request: &Value, uri: &str) -> GrantDecision {
    let grant = serde_json::from_value(grant(request)).unwrap();
    GrantDecision::Granted { grant: Box::new(grant), uri: uri.to_owned() }
}

#[async_trait]
impl Nfvo for PlayedNfvo {
    async fn request_grant(&self, request: &GrantRequest) -> Result<GrantDecision, NfvoError> {
        let request = serde_json::to_value(request).unwrap();
        let uri = format!("http://nfvo/grants/grant-{}", request["vnfLcmOpOccId"].as_str().unwrap());
        if self.taking == Taking::NoTime {
            return Ok(granted(&request, &uri));
        }
        // Asked again, it is the same to it.
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
