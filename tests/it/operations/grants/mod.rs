//! Granting (SOL003 clause 9): the real binary on the real control plane, and an NFVO that is a real HTTP server.
//!
//! `recovery::matrix` tests operations that are killed, cancelled or taken over while they wait for a grant.

mod credentials;
mod decisions;
mod placement;
mod requests;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::granter::Granter;
use crate::support::gybe::Gybe;

/// What the NFVO knows us by; the port differs from run to run.
const PUBLIC_URL: &str = "http://vnfm.example";

/// A `gybe` whose operations `nfvo` grants.
struct Site {
    cluster: Cluster,
    namespace: TestNamespace,
    nfvo: Granter,
    gybe: Gybe,
}

impl Site {
    async fn new(more: &[&str]) -> Self {
        let nfvo = Granter::start().await;
        let gybe = Gybe::start_with(&arguments(&nfvo, more));
        Self::on(nfvo, gybe).await
    }

    async fn on(nfvo: Granter, gybe: Gybe) -> Self {
        let cluster = Cluster::running().await;
        let namespace = cluster.namespace().await;
        gybe.register_vim(&cluster.admin, "cluster", true).await;
        Self { cluster, namespace, nfvo, gybe }
    }

    async fn small(&self, edition: &str) -> String {
        let vnfd = self.gybe.onboard("small").await;
        self.gybe.create(edition, &vnfd).await
    }

    fn instantiation(&self) -> Value {
        json!({ "flavourId": "simple", "additionalParams": { "namespace": self.namespace.name.as_str() } })
    }

    async fn show(&self, path: &str) -> Value {
        self.gybe.get(path).await.expect(StatusCode::OK)
    }

    /// That nothing was made, and that the instance is as if nobody had asked.
    async fn nothing_was_made(&self, instance: &str) {
        assert!(self.cluster.marked(&self.namespace.name).await.is_empty());
        let instance = self.show(instance).await;
        assert_eq!(instance["instantiationState"], "NOT_INSTANTIATED");
        assert_eq!(instance["metadata"].get("namespace"), None);
        assert!(instance["vimConnectionInfo"].as_object().is_none_or(serde_json::Map::is_empty), "{instance:#}");
    }

    /// Asks for an instantiation that comes to nothing; gives back its error.
    async fn refused(&self, instance: &str) -> Value {
        let error = self.rolled_back(instance).await;
        self.nothing_was_made(instance).await;
        error
    }

    /// As [`Site::refused`], while others of the site live.
    async fn rolled_back(&self, instance: &str) -> Value {
        let op = self.gybe.begin(instance, "instantiate", &self.instantiation()).await;
        let op = self.gybe.settled(&op).await;
        assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
        assert_eq!(op.get("grantId"), None);
        op["error"].clone()
    }
}

fn arguments<'a>(nfvo: &'a Granter, more: &[&'a str]) -> Vec<&'a str> {
    [&["--nfvo-url", &nfvo.url, "--public-url", PUBLIC_URL], more].concat()
}

/// How many resources of that type a list of the request has, and of how many it says which they are.
fn counted(request: &Value, list: &str, kind: &str) -> (usize, usize) {
    let those = request[list].as_array().unwrap().iter().filter(|definition| definition["type"] == kind);
    those.fold((0, 0), |(all, known), it| (all + 1, known + usize::from(it.get("resource").is_some())))
}
