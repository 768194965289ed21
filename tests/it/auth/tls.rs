//! HTTPS, and clients with certificates.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gybe::clock::{Clock as _, System};
use reqwest::{Certificate, Client, Identity, StatusCode, Version};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::authority::{Authority, replace};
use crate::support::gybe::Gybe;
use crate::support::issuer::{Issuer, SigningKey};

const INSTANCES: &str = "/vnflcm/v1/vnf_instances";

/// A client that trusts `authority` alone and has this certificate and key.
fn client(authority: &Authority, identity: Option<&str>) -> Client {
    let authority = Certificate::from_pem(authority.certificate().as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([authority]).pool_max_idle_per_host(1);
    match identity {
        Some(pem) => client.identity(Identity::from_pem(pem.as_bytes()).unwrap()),
        None => client,
    }
    .build()
    .unwrap()
}

/// Asks until the answer is as wanted.
async fn wait_until(ask: impl AsyncFn() -> Option<StatusCode>, wanted: Option<StatusCode>) {
    let patience = Duration::from_secs(60);
    let asked = async {
        while ask().await != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| panic!("the answer does not become {wanted:?}"));
}

/// The status of the answer; `None` if there is no connection.
async fn status(client: &Client, url: &str, token: Option<&str>) -> Option<StatusCode> {
    let request = client.get(url);
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    Some(request.send().await.ok()?.status())
}

#[tokio::test]
async fn https_speaks_both_versions_of_http_and_takes_a_renewed_certificate() {
    let [first, second] = ["first", "second"].map(Authority::new);
    let file = first.path("server.both");
    replace(&file, &first.issue("server", "IP:127.0.0.1"));
    let gybe = Gybe::start_with(&["--tls-certificate-file", file.to_str().unwrap()]);
    assert!(gybe.url.starts_with("https://"), "{}", gybe.url);
    let answer = client(&first, None).get(gybe.uri(INSTANCES)).send().await.unwrap();
    assert_eq!((answer.version(), answer.status()), (Version::HTTP_2, StatusCode::OK));
    let authority = Certificate::from_pem(first.certificate().as_bytes()).unwrap();
    let old = Client::builder().tls_certs_only([authority]).http1_only().build().unwrap();
    let answer = old.get(gybe.uri("/")).send().await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_11);
    let links: Value = answer.json().await.unwrap();
    assert!(links["documentation"].as_str().unwrap().starts_with(&gybe.url), "{links}");
    assert!(Client::new().get(gybe.uri("/").replace("https", "http")).send().await.is_err());

    replace(&file, &second.issue("server", "IP:127.0.0.1"));
    let url = gybe.uri(INSTANCES);
    // Each time over a new connection.
    wait_until(async || status(&client(&second, None), &url, None).await, Some(StatusCode::OK)).await;
    assert_eq!(status(&client(&first, None), &url, None).await, None);
    replace(&file, &second.certificate());
    wait_until(
        async || status(&client(&second, None), &url, None).await.filter(|_| gybe.log().contains("stay in use")),
        Some(StatusCode::OK),
    )
    .await;
}

/// A TLS connection that has agreed on a protocol.
async fn connect(authority: &Authority, address: &str, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap()
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed_before_and_after_the_handshake() {
    let authority = Authority::new("authority");
    let file = authority.path("server.both");
    replace(&file, &authority.issue("server", "IP:127.0.0.1"));
    let gybe = Gybe::start_with(&["--tls-certificate-file", file.to_str().unwrap()]);
    let address = gybe.url.strip_prefix("https://").unwrap().to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(&[0x16, 3, 1]).await.unwrap();
    let mut without_preface = connect(&authority, &address, b"h2").await;
    let mut without_head = connect(&authority, &address, b"http/1.1").await;
    let mut bytes = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let [a, b, c, d] = &mut bytes;
    // How they end does not matter: with or without an alert or a 408.
    let closed = async {
        let _ends = tokio::join!(
            silent.read_to_end(a),
            slow.read_to_end(b),
            without_preface.read_to_end(c),
            without_head.read_to_end(d)
        );
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("they are closed");
}

#[tokio::test]
async fn a_certificate_is_its_caller_until_it_ends_or_is_revoked() {
    let [authority, other] = ["authority", "other"].map(Authority::new);
    let [file, ca, crl, config] =
        ["server.both", "clients.pem", "clients.crl", "gybe.toml"].map(|it| authority.path(it));
    replace(&file, &authority.issue("server", "IP:127.0.0.1"));
    replace(&ca, &authority.certificate());
    replace(&crl, &authority.revocations());
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]).await;
    let identities = "[[auth.certificate.identity]]\nsan = 'so.example'\nproject = 'edge'\nrole = 'reader'\n\
                      [[auth.certificate.identity]]\nsan = 'spiffe://example/nfvo'\nrole = 'member'\n";
    replace(&config, &format!("{identities}{}", issuer.table()));
    let [file, ca, crl_path, config] = [&file, &ca, &crl, &config].map(|path| path.to_str().unwrap().to_owned());
    let tls = ["--tls-certificate-file", &file, "--tls-client-ca-file", &ca, "--tls-client-crl-file", &crl_path];
    let mut gybe = Gybe::start_with(&[&tls[..], &["--config", &config]].concat());
    let url = gybe.uri(INSTANCES);
    let with = |pem: &str| client(&authority, Some(pem));

    let so_pem = authority.issue("so", "DNS:SO.example,DNS:other.example");
    let nfvo_pem = authority.issue("nfvo", "URI:spiffe://example/nfvo");
    let (so, nfvo) = (with(&so_pem), with(&nfvo_pem));
    gybe.client = so.clone();
    let detail = gybe.post(INSTANCES, &json!({ "vnfdId": "x" })).await.problem(403);
    assert!(detail.contains("'so.example' has the role reader in project 'edge'"), "{detail}");
    for (client, expected) in [
        (so.clone(), Some(StatusCode::OK)),
        (nfvo.clone(), Some(StatusCode::OK)),
        (client(&authority, None), Some(StatusCode::UNAUTHORIZED)),
        (with(&authority.issue("stranger", "DNS:stranger.example")), Some(StatusCode::UNAUTHORIZED)),
        // A common name counts only where the configuration has one.
        (with(&authority.issue("so.example", "")), Some(StatusCode::UNAUTHORIZED)),
        (with(&other.issue("so", "DNS:so.example")), None),
        (with(&authority.issue_until("old", "DNS:so.example", "210101000000Z")), None),
    ] {
        assert_eq!(status(&client, &url, None).await, expected);
    }

    // RFC 8705: whoever steals the token can't use it.
    let own = CertificateDer::from_pem_slice(so_pem.as_bytes()).unwrap();
    let mut claims = issuer.claims("alice", "reader");
    claims["cnf"] = json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, &own)) });
    let token = key.sign(&claims);
    assert_eq!(status(&so, &url, Some(&token)).await, Some(StatusCode::OK));
    assert_eq!(status(&nfvo, &url, Some(&token)).await, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(status(&client(&authority, None), &url, Some(&token)).await, Some(StatusCode::UNAUTHORIZED));

    // Connections stay open beyond the end of certificates.
    let end = System.now() + Duration::from_secs(4);
    let (date, time) = (end.date(), end.time());
    let date = format!("{:02}{:02}{:02}", date.year() % 100, u8::from(date.month()), date.day());
    let end = format!("{date}{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second());
    let short = with(&authority.issue_until("short", "DNS:so.example", &end));
    assert_eq!(status(&short, &url, None).await, Some(StatusCode::OK));
    authority.revoke("so");
    replace(&crl, &authority.revocations());
    wait_until(async || status(&so, &url, None).await, Some(StatusCode::UNAUTHORIZED)).await;
    assert_eq!(status(&with(&so_pem), &url, None).await, None);
    assert_eq!(status(&nfvo, &url, None).await, Some(StatusCode::OK));
    wait_until(async || status(&short, &url, None).await, Some(StatusCode::UNAUTHORIZED)).await;
}

#[tokio::test]
async fn a_client_needs_a_certificate_where_nothing_else_identifies_it() {
    let (authority, folder) = (Authority::new("authority"), TempDir::new().unwrap());
    let [file, config] = ["server.both", "gybe.toml"].map(|it| folder.path().join(it));
    replace(&file, &authority.issue("server", "IP:127.0.0.1"));
    replace(&config, "[[auth.certificate.identity]]\ncommon_name = 'so'\nrole = 'admin'\n");
    let (file, ca) = (file.to_str().unwrap(), authority.path("ca.pem"));
    let tls = ["--tls-certificate-file", file, "--tls-client-ca-file", ca.to_str().unwrap()];
    let gybe = Gybe::start_with(&[&tls[..], &["--config", config.to_str().unwrap()]].concat());
    let url = gybe.uri(INSTANCES);
    assert_eq!(status(&client(&authority, None), &url, None).await, None);
    let so = client(&authority, Some(&authority.issue("so", "")));
    assert_eq!(status(&so, &url, None).await, Some(StatusCode::OK));
    assert_eq!(status(&so, &gybe.uri("/metrics"), None).await, Some(StatusCode::OK));
}
