//! Requests to peers over HTTP: to subscribers ([`crate::notify`]), to the NFVO ([`crate::nfvo`]), to the token endpoints of
//! either, and to where packages are fetched from ([`crate::fetch`]).
//!
//! Bounded in all they may take: connecting, the whole exchange, what is read of an answer. Redirects are not followed, and
//! [`address`] says where nothing is sent to. What a peer takes for who we are (password, token, certificate) is here, too;
//! secrets are in no text that this gives back.

pub mod address;
pub mod tokens;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::HeaderValue;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::domain::problem::chain;
use crate::domain::secret::Secret;
use crate::outbound::address::Resolver;

/// To be connected.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// To have the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A connection that was idle for so long is not used again: many servers close theirs soon after.
const IDLE: Duration = Duration::from_secs(4);

/// A client that connects to nothing that [`address`] refuses.
pub type Https = Client<HttpsConnector<HttpConnector<Resolver>>, String>;

/// How peers are reached.
#[derive(Clone, Debug, Default)]
pub struct OutboundConfig {
    /// Whether link-local addresses and metadata services may be.
    pub allow_link_local: bool,
    /// PEM file of the authorities that peers' certificates must be of, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with certificate and key that are shown to peers who take them.
    pub certificate_file: Option<PathBuf>,
}

/// Why peers can't be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file can't be used. What is in it is not shown.
    #[error("the file {} can't be used: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
}

/// How requests show who sends them.
#[derive(Clone, Default)]
pub struct Authorization {
    /// `Authorization`.
    pub header: Option<HeaderValue>,
    /// It is a token that was good for an earlier request.
    pub is_kept_token: bool,
}

/// What a peer answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; `None` if it was cut off or is longer than what is read.
    pub body: Option<Vec<u8>>,
}

/// The way to peers. Its connections live on the runtime that first asks for them.
pub struct Outbound {
    plain: Https,
    /// Shows the operator's certificate, if there is one.
    certified: Option<Https>,
    allow_link_local: bool,
    max_answer: usize,
}

impl Outbound {
    /// The way as `settings` have it. Of an answer's body, at most `max_answer` bytes are read.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub fn new(settings: &OutboundConfig, max_answer: usize) -> Result<Self, OutboundError> {
        let authorities = settings.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let https = |certificate| https(settings.allow_link_local, &authorities, certificate);
        let certificate = settings.certificate_file.as_deref().map(identity).transpose()?;
        Ok(Self {
            plain: https(None)?,
            certified: certificate.map(|certificate| https(Some(certificate))).transpose()?,
            allow_link_local: settings.allow_link_local,
            max_answer,
        })
    }

    /// Whether there is a certificate to show.
    pub const fn has_certificate(&self) -> bool {
        self.certified.is_some()
    }

    /// Sends `request`; with `certified`, shows the certificate to who asks for one, if there is one.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn exchange(&self, request: Request<String>, certified: bool) -> Result<Answer, String> {
        address::check(request.uri(), self.allow_link_local)?;
        let client = self.certified.as_ref().filter(|_| certified).unwrap_or(&self.plain);
        let exchange = async {
            let answer = client.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = answer.into_parts();
            // A connection whose answers are read can be used again.
            let body = Limited::new(body, self.max_answer).collect().await;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.ok().map(|body| body.to_bytes().to_vec()),
            })
        };
        timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")))
    }
}

/// A client over connections that [`address`] lets through, to servers that these `authorities` vouch for (the system's, if
/// there are none).
///
/// # Errors
/// TLS can't be set up.
pub fn https(
    allow_link_local: bool,
    authorities: &[CertificateDer<'static>],
    identity: Option<Identity>,
) -> Result<Https, OutboundError> {
    let mut tcp = HttpConnector::new_with_resolver(address::resolver(allow_link_local));
    // The scheme is the TLS connector's matter.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(authorities, identity)?);
    let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
    let mut pool = Client::builder(TokioExecutor::new());
    Ok(pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
}

/// `Authorization` with a password.
///
/// # Errors
/// It has characters that no header has.
pub fn basic(user: Option<&str>, password: Option<&Secret>) -> Result<HeaderValue, String> {
    let password = password.map_or("", Secret::expose);
    sensitive(format!("Basic {}", BASE64.encode(format!("{}:{password}", user.unwrap_or_default()))))
}

fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    sensitive(format!("Bearer {}", token.expose().trim()))
}

fn sensitive(text: String) -> Result<HeaderValue, String> {
    let mut header =
        HeaderValue::try_from(text).map_err(|_| "the token has characters that no token has".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// Certificates, and the key of the first.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn tls(authorities: &[CertificateDer<'static>], identity: Option<Identity>) -> Result<ClientConfig, OutboundError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = if authorities.is_empty() {
        // A system without any is no reason not to start: peers may all be http.
        builder.clone().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn Error, "the system has no certificates: no https peer is trusted");
            builder.with_root_certificates(RootCertStore::empty())
        })
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        builder.with_root_certificates(roots)
    };
    Ok(match identity {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key)?,
        None => builder.with_no_client_auth(),
    })
}

/// The certificates of a PEM file: at least one.
///
/// # Errors
/// [`OutboundError::File`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let unusable =
        |error: rustls::pki_types::pem::Error| OutboundError::File { path: path.to_owned(), reason: error.to_string() };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<_, _>>().map_err(unusable)?;
    if found.is_empty() {
        let reason = "it has no certificate in PEM".to_owned();
        return Err(OutboundError::File { path: path.to_owned(), reason });
    }
    Ok(found)
}

fn identity(path: &Path) -> Result<Identity, OutboundError> {
    let key = PrivateKeyDer::from_pem_file(path);
    let key = key.map_err(|error| OutboundError::File { path: path.to_owned(), reason: error.to_string() })?;
    Ok((certificates(path)?, key))
}
