//! Tokens that their issuer confirms.

use std::sync::Arc;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{get, start};
use crate::support::subscriber::{Reply, Subscriber};

const INSTANCES: &str = "/vnflcm/v1/vnf_instances";

/// Confirms tokens that begin with `active`; is down for those that begin with `down`.
async fn endpoint() -> Subscriber {
    let server = Subscriber::start().await;
    server.answer(|received| {
        // gybe:s3cret
        if received.header("authorization") != Some("Basic Z3liZTpzM2NyZXQ=") {
            return Reply::Status(401, String::new());
        }
        let token = received.text.strip_prefix("token=").unwrap().split('&').next().unwrap();
        let claims =
            json!({ "active": true, "sub": "alice", "tenant": "edge", "scope": "openid member", "aud": ["gybe"] });
        match token.split('-').next().unwrap() {
            "active" => Reply::Status(200, claims.to_string()),
            "other" => {
                Reply::Status(200, json!({ "active": true, "sub": "a", "tenant": "edge", "aud": "web" }).to_string())
            }
            "expired" => Reply::Status(200, json!({ "active": true, "exp": 1 }).to_string()),
            "down" => Reply::Status(503, String::new()),
            "strange" => Reply::Status(200, "[]".to_owned()),
            _ => Reply::Status(200, json!({ "active": false }).to_string()),
        }
    });
    server
}

#[tokio::test]
async fn the_issuer_decides_and_is_asked_once_about_a_token() {
    let (server, secret) = (endpoint().await, NamedTempFile::new().unwrap());
    std::fs::write(secret.path(), "s3cret\n").unwrap();
    let gybe = Arc::new(start(&format!(
        "[auth.introspection]\nurl = '{}/introspect'\nclient_id = 'gybe'\naudience = 'gybe'\nclient_secret_file = '{}'\n\
         project_claim = 'tenant'\nroles_claim = 'scope'\n",
        server.url,
        secret.path().display()
    )));
    let all = join_all((0..8).map(|_| get(&gybe, "active-1", INSTANCES))).await;
    all.iter().for_each(|answer| drop(answer.expect(StatusCode::OK)));
    assert_eq!(server.received().len(), 1, "they wait for the same answer, or use the one that is kept");
    for (token, status, expected) in [
        ("unknown", 401, "the token is not active"),
        ("expired", 401, "the token is not active"),
        ("other", 401, "the token is not for this server"),
        ("down", 503, "the introspection endpoint does not answer"),
        ("strange", 503, "the introspection endpoint does not answer"),
    ] {
        let detail = get(&gybe, token, INSTANCES).await.problem(status);
        assert!(detail.contains(expected), "{token}: {detail}");
    }
    server.answer_status(500);
    get(&gybe, "active-1", INSTANCES).await.expect(StatusCode::OK);
    get(&gybe, "active-2", INSTANCES).await.problem(503);
    assert!(!gybe.log().contains("active-1"), "no token is logged");
    let detail = gybe.get(INSTANCES).await.problem(401);
    assert!(detail.contains("no credential"), "{detail}");
}
