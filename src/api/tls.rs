//! HTTPS: certificate and key of the server, the authorities of clients' certificates, and the certificate of each connection.
//!
//! The files are looked at when a connection opens or brings a request with a client certificate, at most once a second, and read
//! again if they have changed. A file that can't be used is logged, and what was read before stays in use.
//!
//! Sessions are not resumed if clients have certificates: a resumed one would not check them again.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio::time::Instant;

use crate::auth::AuthError;
use crate::auth::certificate::ClientCertificate;
use crate::clock::{Clock as _, System};
use crate::config::tls::TlsOptions;
use crate::domain::problem::chain;
use crate::outbound::{OutboundError, certificates, identity};

/// How often the files are looked at, at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of no [`Loaded`]: the first request verifies the certificate again, as the files may have changed since.
const NEVER: u64 = u64::MAX;

/// Why HTTPS can't be set up, or a changed file can't be used. Never quotes the content of a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] OutboundError),
    #[error("cannot use the file {}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The files, and what was read from them.
pub struct Tls {
    files: Files,
    /// A client without a certificate is refused.
    certificate_required: bool,
    provider: Arc<CryptoProvider>,
    state: RwLock<State>,
}

struct Files {
    certificate: PathBuf,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
}

struct State {
    loaded: Arc<Loaded>,
    versions: Vec<FileVersion>,
    /// When the files were last looked at.
    looked: Instant,
}

/// What was read from the files at a time.
struct Loaded {
    /// Counts how often they were read.
    number: u64,
    server: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// Tells a file from the one before: modification time, inode and size. `None`: there is none.
type FileVersion = Option<(i64, i64, u64, u64)>;

impl Files {
    fn versions(&self) -> Vec<FileVersion> {
        let all = [Some(&self.certificate), self.client_ca.as_ref(), self.client_crl.as_ref()];
        let version = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.st_mtime(), file.st_mtime_nsec(), file.st_ino(), file.st_size()))
        };
        all.into_iter().flatten().map(version).collect()
    }

    fn load(&self, provider: &Arc<CryptoProvider>, number: u64) -> Result<Loaded, TlsError> {
        let (chain, key) = identity(&self.certificate)?;
        let server = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| unusable(&self.certificate, error.to_string()))?;
        let clients = self.client_ca.as_deref().map(|path| self.verifier(path, provider)).transpose()?;
        Ok(Loaded { number, server: Arc::new(server), clients })
    }

    fn verifier(
        &self,
        authorities: &Path,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities)? {
            roots.add(authority).map_err(|error| unusable(authorities, error.to_string()))?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(path) = &self.client_crl {
            let unreadable = |error: rustls::pki_types::pem::Error| unusable(path, error.to_string());
            let lists = CertificateRevocationListDer::pem_file_iter(path).map_err(unreadable)?;
            let lists = lists.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
            if lists.is_empty() {
                return Err(unusable(path, "it contains no PEM revocation list".to_owned()));
            }
            verifier = verifier.with_crls(lists);
        }
        let blamed = self.client_crl.as_deref().unwrap_or(authorities);
        verifier.build().map_err(|error| unusable(blamed, error.to_string()))
    }
}

fn unusable(path: &Path, reason: String) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), reason }
}

impl Tls {
    /// Reads the files; `None` if the options name no certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(options: &TlsOptions, certificate_required: bool) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(certificate) = options.certificate_file.clone() else { return Ok(None) };
        let (client_ca, client_crl) = (options.client_ca_file.clone(), options.client_crl_file.clone());
        let files = Files { certificate, client_ca, client_crl };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Before the files are read: a change in between is seen later.
        let versions = files.versions();
        let loaded = Arc::new(files.load(&provider, 0)?);
        let state = RwLock::new(State { loaded, versions, looked: Instant::now() });
        Ok(Some(Arc::new(Self { files, certificate_required, provider, state })))
    }

    /// The configuration for the server, which adds the protocols.
    ///
    /// # Errors
    /// [`TlsError::Tls`].
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let own = Current(Arc::clone(self));
        if self.files.client_ca.is_none() {
            return Ok(builder.with_no_client_auth().with_cert_resolver(Arc::new(own)));
        }
        let clients = Arc::new(Current(Arc::clone(self)));
        let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(Arc::new(own));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// What the files contain, as far as they can be used.
    fn current(&self) -> Arc<Loaded> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < INTERVAL {
            return Arc::clone(&state.loaded);
        }
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= INTERVAL {
            self.look(&mut state);
        }
        Arc::clone(&state.loaded)
    }

    fn look(&self, state: &mut State) {
        state.looked = Instant::now();
        let versions = self.files.versions();
        if versions == state.versions {
            return;
        }
        state.versions = versions;
        match self.files.load(&self.provider, state.loaded.number + 1) {
            Ok(loaded) => {
                state.loaded = Arc::new(loaded);
                tracing::info!("the changed TLS files are in use");
            }
            Err(error) => tracing::error!(reason = chain(&error), "the TLS files before the change stay in use"),
        }
    }
}

/// Gives rustls what is current at each handshake.
struct Current(Arc<Tls>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().server))
    }
}

impl ClientCertVerifier for Current {
    fn client_auth_mandatory(&self) -> bool {
        self.0.certificate_required
    }

    /// None: they would have to live as long as the server. A client sends the certificate that it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match &self.0.current().clients {
            Some(clients) => clients.verify_client_cert(end_entity, intermediates, now),
            None => Err(rustls::Error::NoCertificatesPresented),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that the client of a connection has presented.
pub struct PeerCertificate {
    tls: Arc<Tls>,
    certificate: ClientCertificate,
    /// As presented: the certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// [`Loaded::number`] of what last verified it.
    verified: Cell<u64>,
}

impl PeerCertificate {
    /// The certificate, if it is still valid: it may have expired, or been revoked, since the connection opened.
    ///
    /// # Errors
    /// [`AuthError::Invalid`].
    pub fn valid(&self) -> Result<&ClientCertificate, AuthError> {
        let now = System.now().unix_timestamp();
        let is_valid = now <= self.certificate.not_after && self.is_still_trusted(now);
        let invalid = || AuthError::Invalid("the client certificate has expired, or is no longer trusted".to_owned());
        if is_valid { Ok(&self.certificate) } else { Err(invalid()) }
    }

    fn is_still_trusted(&self, now: i64) -> bool {
        let current = self.tls.current();
        if self.verified.get() == current.number {
            return true;
        }
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap_or(0)));
        let Some((own, others)) = self.chain.split_first() else { return false };
        let is_trusted =
            current.clients.as_ref().is_some_and(|clients| clients.verify_client_cert(own, others, now).is_ok());
        if is_trusted {
            self.verified.set(current.number);
        }
        is_trusted
    }
}

/// The TCP stream below a connection, with or without TLS.
pub fn tcp_stream(connection: &dyn Any) -> Option<&TcpStream> {
    let below_tls = || connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
    connection.downcast_ref::<TcpStream>().or_else(below_tls)
}

/// The server calls it with each new connection: keeps the client's certificate in the connection's data.
pub fn keep_certificate(tls: &Arc<Tls>, connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let Some(presented) = stream.get_ref().1.peer_certificates() else { return };
    let chain: Vec<_> = presented.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let Some(certificate) = chain.first().and_then(|own| ClientCertificate::parse(own)) else {
        tracing::warn!("the names in a client certificate cannot be read: it identifies nobody");
        return;
    };
    let verified = Cell::new(NEVER);
    data.insert(PeerCertificate { tls: Arc::clone(tls), certificate, chain, verified });
}
