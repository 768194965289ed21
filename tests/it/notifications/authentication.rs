//! How the notifier authenticates itself to subscribers, and which addresses it never calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gybe::domain::secret::Secret;
use gybe::domain::subscription::{AuthType, CLIENT_PASSWORD, Subscription};
use gybe::notify::callback::{Callbacks, OutboundConfig};
use gybe::outbound::address::AddressRules;
use serde_json::json;

use super::{OutboxFixture, Running, subscription, with_basic};
use crate::support::fault_proxy::{certificate, requiring_client_certificate};
use crate::support::subscriber::{Reply, Subscriber};

fn with_token(subscription: Subscription, endpoint: &str) -> Subscription {
    let mut subscription = with_basic(subscription);
    let authentication = subscription.authentication.as_mut().unwrap();
    authentication.auth_types.insert(0, AuthType::Oauth2ClientCredentials);
    authentication.client_id = Some("gybe-client".to_owned());
    authentication.token_endpoint = Some(endpoint.to_owned());
    authentication.secrets.insert(CLIENT_PASSWORD.to_owned(), Secret::new("t0k3n"));
    subscription
}

/// The Authorization header of `user` and `password`.
fn basic(text: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

/// A token endpoint: its tokens are `one`, `two` and so on.
async fn token_endpoint() -> Subscriber {
    let endpoint = Subscriber::start().await;
    let number = AtomicUsize::new(0);
    endpoint.answer(move |_| {
        let token = ["one", "two", "three"][number.fetch_add(1, Ordering::Relaxed)];
        let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
        Reply::Status(200, body.to_string())
    });
    endpoint
}

#[tokio::test]
async fn the_password_is_sent_only_when_requested() {
    let (outbox, subscriber) = (OutboxFixture::sqlite().await, Subscriber::start().await);
    let _notifier = outbox.notifier();
    outbox.subscribe(&with_basic(subscription(&subscriber.url, json!({})))).await;
    outbox.instance().await;
    let received = subscriber.wait_for_accepted(1).await;
    assert_eq!(received[0].header("authorization").unwrap(), basic("gybe-user:s3cr3t"));
}

#[tokio::test]
async fn a_token_is_requested_once_and_renewed_when_rejected() {
    let (outbox, subscriber, endpoint) =
        (OutboxFixture::sqlite().await, Subscriber::start().await, token_endpoint().await);
    let _notifier = outbox.notifier();
    outbox.subscribe(&with_token(subscription(&subscriber.url, json!({})), &endpoint.url)).await;
    outbox.complete(&outbox.instance().await).await;
    let received = subscriber.wait_for_accepted(4).await;
    assert!(received.iter().all(|one| one.header("authorization") == Some("Bearer one")));
    let asked = endpoint.received();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization").unwrap(), basic("gybe-client:t0k3n"));
    assert_eq!(asked[0].header("content-type"), Some("application/x-www-form-urlencoded"));

    subscriber.answer(|received| match received.header("authorization") {
        Some("Bearer two") => Reply::Status(204, String::new()),
        _ => Reply::Status(401, String::new()),
    });
    outbox.instance().await;
    let received = subscriber.wait_for_accepted(5).await;
    assert_eq!(received[4].header("authorization"), Some("Bearer two"));
    assert_eq!(endpoint.received().len(), 2);
}

#[tokio::test]
async fn the_password_is_the_fallback_where_no_token_is_available() {
    let (outbox, subscriber, endpoint) =
        (OutboxFixture::sqlite().await, Subscriber::start().await, Subscriber::start().await);
    endpoint.answer_status(500);
    let _notifier = outbox.notifier();
    outbox.subscribe(&with_token(subscription(&subscriber.url, json!({})), &endpoint.url)).await;
    outbox.instance().await;
    let received = subscriber.wait_for_accepted(1).await;
    assert_eq!(received[0].header("authorization").unwrap(), basic("gybe-user:s3cr3t"));
}

#[tokio::test]
async fn the_client_certificate_is_sent_only_when_requested() {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = (certificate(), certificate());
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = OutboundConfig {
        addresses: AddressRules::default(),
        ca_file: Some(file("ca.pem", &server.0)),
        certificate_file: Some(file("client.pem", &(client.0.clone() + &client.1))),
    };
    let tls = requiring_client_certificate(&server, &client);
    let (outbox, subscriber) = (OutboxFixture::sqlite().await, Subscriber::start_tls(tls).await);
    let _notifier = Running::new(Arc::clone(&outbox.store), &settings);
    let asks = |asks: AuthType| {
        let mut subscription = with_basic(subscription(&format!("{}/{asks:?}", subscriber.url), json!({})));
        subscription.authentication.as_mut().unwrap().auth_types = vec![asks];
        subscription
    };
    let (without, with) = (asks(AuthType::Basic), asks(AuthType::TlsCert));
    outbox.subscribe(&without).await;
    outbox.subscribe(&with).await;
    outbox.instance().await;
    let received = subscriber.wait_for_accepted(1).await;
    assert_eq!(received[0].path, "/TlsCert");
    assert_eq!(received[0].header("authorization"), None);
    // The other request is not recorded: its connection has no certificate.
    outbox.wait_until(&without, |left| left[0].reason.is_some()).await;
    assert_eq!(subscriber.received().len(), 1);
}

#[tokio::test]
async fn no_token_requests_or_redirects_go_to_metadata_services() {
    let (outbox, subscriber) = (OutboxFixture::sqlite().await, Subscriber::start().await);
    let _notifier = outbox.notifier();
    subscriber.answer(|_| Reply::Redirect("http://169.254.169.254/latest/meta-data".to_owned()));
    let token = {
        let mut token = with_token(subscription(&subscriber.url, json!({})), "http://169.254.169.254/token");
        token.authentication.as_mut().unwrap().auth_types = vec![AuthType::Oauth2ClientCredentials];
        token
    };
    let redirected = subscription(&subscriber.url, json!({ "operationTypes": ["SCALE"] }));
    outbox.subscribe(&token).await;
    outbox.subscribe(&redirected).await;
    outbox.instance().await;
    let left = outbox.wait_until(&token, |left| left[0].reason.is_some()).await;
    let reason = left[0].reason.as_deref().unwrap();
    assert!(reason.contains("the token endpoint gave no token") && reason.contains("metadata service"), "{reason}");
    let left = outbox.wait_until(&redirected, |left| left[0].is_parked).await;
    assert!(left[0].reason.as_deref().unwrap().contains("redirects are not followed"));
    let callbacks = Callbacks::new(&OutboundConfig::default()).unwrap();
    let probed = callbacks.probe(&subscription("http://169.254.169.254/", json!({}))).await.unwrap_err();
    assert!(probed.contains("metadata service"), "{probed}");
    assert_eq!(callbacks.probe(&redirected).await.unwrap().as_u16(), 302);
}

#[tokio::test]
async fn no_notification_goes_to_metadata_services() {
    let outbox = OutboxFixture::sqlite().await;
    let _notifier = outbox.notifier();
    // As an address, and as a name that the system's resolver maps to it.
    for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166"] {
        let subscription = subscription(&format!("http://{host}/latest"), json!({ "operationTypes": ["SCALE"] }));
        outbox.subscribe(&subscription).await;
        outbox.instance().await;
        let left = outbox.wait_until(&subscription, |left| left[0].reason.is_some()).await;
        let reason = left[0].reason.as_deref().unwrap();
        assert!(reason.contains("metadata service"), "{reason}");
    }
}
