//! Granting (SOL003 clause 9): the real binary on the real control plane, and an NFVO that is a real HTTP server.
//!
//! `recovery::matrix` tests operations that are killed, cancelled or taken over while they wait for a grant.

mod credentials;
mod decisions;
mod placement;
mod requests;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::grant_server::GrantServer;
use crate::support::gybe::{Gybe, instantiate_request};

/// The public URL; the port of the process differs from run to run.
const PUBLIC_URL: &str = "http://vnfm.example";

/// A `gybe` with an NFVO that grants its operations.
struct GrantFixture {
    cluster: Cluster,
    namespace: TestNamespace,
    nfvo: GrantServer,
    gybe: Gybe,
}

impl GrantFixture {
    async fn new(more: &[&str]) -> Self {
        let nfvo = GrantServer::start().await;
        let gybe = Gybe::start_with(&arguments(&nfvo, more));
        Self::on(nfvo, gybe).await
    }

    async fn on(nfvo: GrantServer, gybe: Gybe) -> Self {
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
        instantiate_request(self.namespace.name.as_str())
    }

    async fn show(&self, path: &str) -> Value {
        self.gybe.get(path).await.expect(StatusCode::OK)
    }

    /// Checks that nothing was created and that the instance is unchanged.
    async fn check_nothing_created(&self, instance: &str) {
        assert!(self.cluster.marked(&self.namespace.name).await.is_empty());
        let instance = self.show(instance).await;
        assert_eq!(instance["instantiationState"], "NOT_INSTANTIATED");
        assert_eq!(instance["metadata"].get("namespace"), None);
        assert!(instance["vimConnectionInfo"].as_object().is_none_or(serde_json::Map::is_empty), "{instance:#}");
    }

    /// Runs an instantiation that is rolled back with nothing created; returns its error.
    async fn instantiate_refused(&self, instance: &str) -> Value {
        let error = self.instantiate_rolled_back(instance).await;
        self.check_nothing_created(instance).await;
        error
    }

    /// As [`GrantFixture::instantiate_refused`], without the check: other instances exist.
    async fn instantiate_rolled_back(&self, instance: &str) -> Value {
        let op = self.gybe.begin(instance, "instantiate", &self.instantiation()).await;
        let op = self.gybe.wait_ended(&op).await;
        assert_eq!(op["operationState"], "ROLLED_BACK", "{op:#}");
        assert_eq!(op.get("grantId"), None);
        op["error"].clone()
    }
}

fn arguments<'a>(nfvo: &'a GrantServer, more: &[&'a str]) -> Vec<&'a str> {
    [&["--nfvo-url", &nfvo.url, "--public-url", PUBLIC_URL], more].concat()
}

/// The number of resources of that type in a list of the request, and how many of them have a resource handle.
fn count_resources(request: &Value, list: &str, kind: &str) -> (usize, usize) {
    let those = request[list].as_array().unwrap().iter().filter(|definition| definition["type"] == kind);
    those.fold((0, 0), |(all, known), it| (all + 1, known + usize::from(it.get("resource").is_some())))
}
