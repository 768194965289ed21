//! HTTP requests to peers: subscribers ([`crate::notify`]), the NFVO ([`crate::nfvo`]), token endpoints of both, and package
//! sources ([`crate::fetch`]).
//!
//! Connection, exchange and response size are bounded. Redirects are not followed. [`address`] lists refused addresses.
//! Authentication to peers (password, token, certificate) is here, too. Returned texts contain no secrets.

pub mod address;
pub mod tokens;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{HeaderName, HeaderValue};
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
use crate::outbound::address::{AddressRules, NotToSelf};

/// Deadline for a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Deadline for the whole exchange.
const DEADLINE: Duration = Duration::from_secs(10);
/// Connections that were idle for longer are not reused, as many servers close them soon after.
const IDLE: Duration = Duration::from_secs(4);

/// A client that refuses the addresses of [`address`].
pub type Https = Client<HttpsConnector<NotToSelf>, String>;

/// Address rules and TLS files for peers.
#[derive(Clone, Debug, Default)]
pub struct OutboundConfig {
    pub addresses: AddressRules,
    /// PEM file of the certificate authorities of peers, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with client certificate and key, for peers that ask for one.
    pub certificate_file: Option<PathBuf>,
}

/// Why no client can be created.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Never quotes the content of the file.
    #[error("cannot use the file {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The authentication of a request.
#[derive(Clone, Default)]
pub struct Authorization {
    /// The `Authorization` header.
    pub header: Option<HeaderValue>,
    /// It contains a cached token, which the peer may have revoked.
    pub is_cached_token: bool,
}

/// The response of a peer.
pub struct PeerResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `None` if the body was cut off or exceeds the limit.
    pub body: Option<Vec<u8>>,
}

/// A client for peers. Its connections live on the runtime that opens them.
pub struct Outbound {
    plain: Https,
    /// With the operator's client certificate, if there is one.
    certified: Option<Https>,
    addresses: AddressRules,
    max_response: usize,
}

/// Why there is no answer of a peer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The rules of the operator, or the peer itself, say so.
    #[error("{0}")]
    Known(String),
    /// The connection failed. The text tells what there is in the network of the operator, and is for the log.
    #[error("{0}")]
    Unreachable(String),
}

impl ExchangeError {
    /// The reason as the caller may know it, who has named the peer: not what listens where.
    pub fn for_caller(&self) -> &str {
        match self {
            Self::Known(reason) => reason,
            Self::Unreachable(_) => {
                "it cannot be reached, or its certificate cannot be verified (the log of Gybe has the reason)"
            }
        }
    }

    /// The same error, said of something more.
    #[must_use]
    pub fn of(self, what: &str) -> Self {
        match self {
            Self::Known(reason) => Self::Known(format!("{what}: {reason}")),
            Self::Unreachable(reason) => Self::Unreachable(format!("{what}: {reason}")),
        }
    }
}

impl From<ExchangeError> for String {
    fn from(error: ExchangeError) -> Self {
        error.to_string()
    }
}

impl Outbound {
    /// Reads at most `max_response` bytes of the body of a response.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub fn new(config: &OutboundConfig, max_response: usize) -> Result<Self, OutboundError> {
        Self::trusting(config, &[], max_response)
    }

    /// As [`Self::new`], with `authorities` in place of those of `config`, if there are any.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub fn trusting(
        config: &OutboundConfig,
        authorities: &[CertificateDer<'static>],
        max_response: usize,
    ) -> Result<Self, OutboundError> {
        let authorities = match &config.ca_file {
            Some(path) if authorities.is_empty() => certificates(path)?,
            _ => authorities.to_vec(),
        };
        let https = |certificate| https(&config.addresses, &authorities, certificate);
        let certificate = config.certificate_file.as_deref().map(identity).transpose()?;
        Ok(Self {
            plain: https(None)?,
            certified: certificate.map(|certificate| https(Some(certificate))).transpose()?,
            addresses: config.addresses.clone(),
            max_response,
        })
    }

    /// Whether there is a client certificate.
    pub const fn has_certificate(&self) -> bool {
        self.certified.is_some()
    }

    /// Sends `request`. With `certified`, presents the client certificate, if there is one and the peer asks for it.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(&self, mut request: Request<String>, certified: bool) -> Result<PeerResponse, ExchangeError> {
        self.addresses.check(request.uri()).map_err(ExchangeError::Known)?;
        request.headers_mut().insert(LOOP_HEADER, LOOP_ID);
        let client = self.certified.as_ref().filter(|_| certified).unwrap_or(&self.plain);
        let exchange = async {
            let response = client.request(request).await.map_err(|error| match address::refusal_in(&error) {
                Some(refused) => ExchangeError::Known(refused.to_string()),
                None => ExchangeError::Unreachable(chain(&error)),
            })?;
            let (head, body) = response.into_parts();
            // Reading the body allows the connection to be reused.
            let body = Limited::new(body, self.max_response).collect().await;
            Ok(PeerResponse {
                status: head.status,
                headers: head.headers,
                body: body.ok().map(|body| body.to_bytes().to_vec()),
            })
        };
        let no_answer = || ExchangeError::Unreachable(format!("no answer within {DEADLINE:?}"));
        timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(no_answer()))
    }
}

/// The header by which Gybe recognises requests of its own that come back to it through others (RFC 8586, for all servers).
pub const LOOP_HEADER: HeaderName = HeaderName::from_static("cdn-loop");
/// The value of [`LOOP_HEADER`].
pub const LOOP_ID: HeaderValue = HeaderValue::from_static("gybe");

/// A client that trusts `authorities`, or those of the system if there are none, and refuses the addresses of [`address`]. `B` is the
/// body of its requests.
///
/// # Errors
/// [`OutboundError::Tls`].
pub fn https<B>(
    addresses: &AddressRules,
    authorities: &[CertificateDer<'static>],
    identity: Option<Identity>,
) -> Result<Client<HttpsConnector<NotToSelf>, B>, OutboundError>
where
    B: http_body_util::BodyExt + Send,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new_with_resolver(addresses.resolver());
    // The TLS connector checks the scheme.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls(authorities, identity)?);
    let connector = tls.https_or_http().enable_http1().wrap_connector(NotToSelf::new(tcp, addresses.clone()));
    let mut pool = Client::builder(TokioExecutor::new());
    Ok(pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
}

/// The `Authorization` header of HTTP Basic.
///
/// # Errors
/// A header cannot contain these characters.
pub fn basic(user: Option<&str>, password: Option<&Secret>) -> Result<HeaderValue, String> {
    let password = password.map_or("", Secret::expose);
    sensitive(format!("Basic {}", BASE64.encode(format!("{}:{password}", user.unwrap_or_default()))))
}

/// The `Authorization` header with a bearer token.
///
/// # Errors
/// A header cannot contain these characters.
pub fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    sensitive(format!("Bearer {}", token.expose().trim()))
}

/// A body of the type `application/x-www-form-urlencoded`.
pub fn form(parameters: &[(&str, &str)]) -> String {
    let encoded = |(name, value): &(&str, &str)| format!("{name}={}", form_encoded(value));
    parameters.iter().map(encoded).collect::<Vec<_>>().join("&")
}

/// A value of a form: all but unreserved characters are percent-encoded.
fn form_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn sensitive(text: String) -> Result<HeaderValue, String> {
    let mut header = HeaderValue::try_from(text)
        .map_err(|_| "the credential contains characters that an HTTP header cannot contain".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// A certificate chain and the key of its first certificate.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn tls(authorities: &[CertificateDer<'static>], identity: Option<Identity>) -> Result<ClientConfig, OutboundError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = if authorities.is_empty() {
        // Start without certificates of the system, too, as all peers may use http.
        builder.clone().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn Error,
                "the system has no CA certificates: https peers cannot be verified"
            );
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

/// Reads the certificates of a PEM file; at least one.
///
/// # Errors
/// [`OutboundError::File`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let unusable =
        |error: rustls::pki_types::pem::Error| OutboundError::File { path: path.to_owned(), reason: error.to_string() };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unusable)?.collect::<Result<_, _>>().map_err(unusable)?;
    if found.is_empty() {
        let reason = "it contains no PEM certificate".to_owned();
        return Err(OutboundError::File { path: path.to_owned(), reason });
    }
    Ok(found)
}

/// Reads the certificate chain and the key of a PEM file.
///
/// # Errors
/// [`OutboundError::File`].
pub fn identity(path: &Path) -> Result<Identity, OutboundError> {
    let key = PrivateKeyDer::from_pem_file(path);
    let key = key.map_err(|error| OutboundError::File { path: path.to_owned(), reason: error.to_string() })?;
    Ok((certificates(path)?, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_values_for_forms() {
        assert_eq!(form(&[("a", "aZ09-._~")]), "a=aZ09-._~");
        assert_eq!(form(&[("token", "a+b/c=&token=x%"), ("b", "\n")]), "token=a%2Bb%2Fc%3D%26token%3Dx%25&b=%0A");
    }
}
