//! Callers: how they prove who they are, what their roles allow, what other projects see of them.

mod audit;
mod authenticated;
mod authority;
mod configuration;
mod introspection;
mod jwt;
mod keystone;
mod metering;
mod namespaces;
mod oauth;
mod projects;
mod quotas;
mod roles;
mod shares;
pub(crate) mod site;
mod tenancy;
mod tls;
mod vim_credentials;
mod vim_policy;

use serde_json::Value;

use crate::support::gybe::{ApiResponse, Gybe};

/// Starts Gybe with this configuration file.
fn start(configuration: &str) -> Gybe {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), configuration).unwrap();
    Gybe::start_with(&["--config", file.path().to_str().unwrap()])
}

/// A GET with that bearer token.
async fn get(gybe: &Gybe, token: &str, path: &str) -> ApiResponse {
    gybe.send(gybe.client.get(gybe.uri(path)).bearer_auth(token)).await
}

/// The detail of the refusal of an operation by the policy of a VIM, or by the share through which the project uses it.
async fn refused_by_policy(gybe: &Gybe, instance: &str, operation: &str, body: &Value) -> String {
    let refused = gybe.post(&format!("{instance}/{operation}"), body).await;
    assert!(refused.text.contains("urn:gybe:problem:vim-policy"), "{}", refused.text);
    refused.problem(403)
}
