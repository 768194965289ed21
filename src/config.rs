//! The configuration of `gybe serve`: flags over environment over file over defaults, checked as a whole before anything starts.

pub mod clients;
pub mod nfvo;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::config::clients::{Client, ClientOptions};
use crate::config::nfvo::{NfvoConfig, NfvoOptions};
use crate::infra::Patience;
use crate::notify::callback;

/// What can be set. All members are optional, so that sources can be laid over each other; [`Options::resolve`] fills the rest in.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Address and port to serve on [default: 127.0.0.1:9890]
    #[arg(long, env = "GYBE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// `sqlite://path` or `postgres://user:password@host/name` [default: sqlite://gybe.db]
    #[arg(long, env = "GYBE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Folder of the packages; several API processes share one [default: gybe-data]
    #[arg(long, env = "GYBE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// What this process does [default: all]
    #[arg(long, env = "GYBE_ROLE")]
    pub role: Option<Role>,
    /// Scheme, host and port under which callers reach the API, for absolute links [default: http://LISTEN]
    #[arg(long, env = "GYBE_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Serve beyond loopback although callers are not authenticated
    #[arg(long, env = "GYBE_INSECURE_LISTEN", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_listen: Option<bool>,
    /// File with the keys that seal secrets, one base64 text of 32 bytes a line, the newest first
    /// [default: the environment's GYBE_KEY; with SQLite, DATA_DIR/gybe.key, made at the first start]
    #[arg(long, env = "GYBE_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Seconds without a sign of life after which a conductor's operations are taken over by another one, and within which
    /// it stops touching them; each takes a small write every sixth of it [default: 30]
    #[arg(long, env = "GYBE_LEASE")]
    pub lease: Option<u64>,
    /// Operations that this process works on at once [default: 64]
    #[arg(long, env = "GYBE_MAX_OPERATIONS")]
    pub max_operations: Option<usize>,
    /// Requests that this process works on at once; further ones are answered with 503 [default: 1024]
    #[arg(long, env = "GYBE_MAX_REQUESTS")]
    pub max_requests: Option<usize>,
    /// The most elements that a list has; a longer one goes on with a link [default: 1000]
    #[arg(long, env = "GYBE_PAGE_SIZE")]
    pub page_size: Option<usize>,
    /// Seconds to go on answering after SIGTERM while /readyz says 503, for load balancers to notice; a second SIGTERM
    /// cuts them short [default: 0]
    #[arg(long, env = "GYBE_STOP_DELAY")]
    pub stop_delay: Option<u64>,
    /// Seconds an object may be in trouble (image pull, crash loop, quota, unschedulable) before its operation fails [default: 30]
    #[arg(long, env = "GYBE_READY_GRACE")]
    pub ready_grace: Option<u64>,
    /// Seconds an object has to become ready [default: 500]
    #[arg(long, env = "GYBE_READY_TIMEOUT")]
    pub ready_timeout: Option<u64>,
    /// How the callback URI of a subscription is tested [default: strict]
    #[arg(long, env = "GYBE_CALLBACK_TEST")]
    pub callback_test: Option<CallbackTest>,
    /// Let callbacks go to link-local addresses and to metadata services of cloud platforms
    #[arg(long, env = "GYBE_CALLBACK_LINK_LOCAL", num_args = 0..=1, default_missing_value = "true")]
    pub callback_link_local: Option<bool>,
    /// PEM file of the authorities that certificates of subscribers and package sources must be of [default: the system's]
    #[arg(long, env = "GYBE_CALLBACK_CA_FILE")]
    pub callback_ca_file: Option<PathBuf>,
    /// PEM file with the certificate and its key that are shown to subscribers who ask for TLS_CERT [default: none]
    #[arg(long, env = "GYBE_CALLBACK_CERTIFICATE_FILE")]
    pub callback_certificate_file: Option<PathBuf>,
    /// The NFVO that grants operations: a table of the file.
    #[command(flatten)]
    pub nfvo: NfvoOptions,
    /// Hosts that packages may be fetched from by upload_from_uri, with commas between: `host`, `host:port`, or `*` for all, which
    /// lets callers find out what answers within your network [default: none, nothing is fetched]
    #[arg(long, env = "GYBE_PACKAGE_SOURCES", value_delimiter = ',')]
    pub package_sources: Option<Vec<String>>,
    /// OTLP endpoint that traces go to, without credentials, such as http://collector:4318; `/v1/traces` is added
    /// [default: none, no traces]
    #[arg(long, env = "GYBE_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Largest package accepted, in MiB [default: 1024]
    #[arg(long, env = "GYBE_MAX_PACKAGE_SIZE")]
    pub max_package_size: Option<u64>,
    /// Callers that are treated otherwise: `[[client]]` tables, of the file alone.
    #[arg(skip)]
    pub client: Vec<ClientOptions>,
}

/// A list of that many large instances still fits into memory.
const PAGE_LIMIT: usize = 10_000;
/// Seconds of a week.
const WEEK: u64 = 7 * 24 * 3600;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// API and conductor.
    All,
    /// Answers requests only.
    Api,
    /// Works on operations only.
    Conductor,
}

/// How the callback URI of a subscription is tested before it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CallbackTest {
    /// A GET must be answered with 204, as the standard has it.
    Strict,
    /// A GET must be answered, also by saying that the resource is not for GET; which is logged.
    Lenient,
    /// It is not tested.
    Off,
}

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port to serve on.
    pub listen: SocketAddr,
    /// The database.
    pub database_url: DatabaseUrl,
    /// Folder of the packages.
    pub data_dir: PathBuf,
    /// What this process does.
    pub role: Role,
    /// Beginning of every link, without a slash at the end; `None`: the address served on.
    pub public_url: Option<String>,
    /// File with the sealing keys.
    pub key_file: Option<PathBuf>,
    /// A conductor that gives no sign of life for so long is succeeded.
    pub lease: Duration,
    /// Operations worked on at once.
    pub max_operations: usize,
    /// Requests worked on at once.
    pub max_requests: usize,
    /// The most elements of a list.
    pub page_size: usize,
    /// How long to go on answering once stopping.
    pub stop_delay: Duration,
    /// How long to wait for readiness.
    pub patience: Patience,
    /// How callback URIs are tested.
    pub callback_test: CallbackTest,
    /// How subscribers are reached.
    pub callbacks: callback::Settings,
    /// The NFVO that grants operations, if one does.
    pub nfvo: Option<NfvoConfig>,
    /// Hosts that packages may be fetched from, in lower case.
    pub package_sources: Vec<String>,
    /// Where traces go, if anywhere; without credentials.
    pub otlp_endpoint: Option<String>,
    /// Largest package accepted, in bytes.
    pub max_package_bytes: u64,
    /// Callers that are treated otherwise; of several that a request is of, the first counts.
    pub clients: Vec<Client>,
}

/// `sqlite://…` or `postgres://…`. `Debug` hides what may be a password.
#[derive(Clone)]
pub struct DatabaseUrl(pub String);

impl DatabaseUrl {
    /// Whether it names an SQLite file, which serves one process.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // A password may also be a parameter; only user, host and name are of interest.
        let rest = rest.split('?').next().unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((user, host)) => write!(f, "{scheme}://{}:***@{host}", user.split(':').next().unwrap_or_default()),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {} can't be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file with a secret can't be read.
    #[error("the file {} can't be read", path.display())]
    UnreadableSecret {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no configuration. Its text is not shown: it may hold a password.
    #[error("the configuration file {} is wrong, line {line}: {message}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why.
        message: String,
    },
    /// The settings don't go together.
    #[error("{0}")]
    Unsound(String),
}

impl Options {
    /// The options of a TOML file whose keys are the flags' names with underscores.
    ///
    /// # Errors
    /// The file can't be read, or says what there is no option for.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::Malformed { path: path.to_owned(), line, message: error.message().to_owned() }
        })
    }

    /// These options, and where they say nothing those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            database_url: self.database_url.or(other.database_url),
            data_dir: self.data_dir.or(other.data_dir),
            role: self.role.or(other.role),
            public_url: self.public_url.or(other.public_url),
            insecure_listen: self.insecure_listen.or(other.insecure_listen),
            key_file: self.key_file.or(other.key_file),
            lease: self.lease.or(other.lease),
            max_operations: self.max_operations.or(other.max_operations),
            max_requests: self.max_requests.or(other.max_requests),
            page_size: self.page_size.or(other.page_size),
            stop_delay: self.stop_delay.or(other.stop_delay),
            ready_grace: self.ready_grace.or(other.ready_grace),
            ready_timeout: self.ready_timeout.or(other.ready_timeout),
            callback_test: self.callback_test.or(other.callback_test),
            callback_link_local: self.callback_link_local.or(other.callback_link_local),
            callback_ca_file: self.callback_ca_file.or(other.callback_ca_file),
            callback_certificate_file: self.callback_certificate_file.or(other.callback_certificate_file),
            nfvo: self.nfvo.or(other.nfvo),
            package_sources: self.package_sources.or(other.package_sources),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            max_package_size: self.max_package_size.or(other.max_package_size),
            client: if self.client.is_empty() { other.client } else { self.client },
        }
    }

    /// The configuration, with defaults for what is not set.
    ///
    /// # Errors
    /// [`ConfigError::Unsound`], saying which settings and what to do.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let unsound = |text: &str| Err(ConfigError::Unsound(text.to_owned()));
        let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9890)));
        let role = self.role.unwrap_or(Role::All);
        let database_url = DatabaseUrl(self.database_url.unwrap_or_else(|| "sqlite://gybe.db".to_owned()));
        if role != Role::Conductor && !listen.ip().is_loopback() && !self.insecure_listen.unwrap_or(false) {
            return unsound(
                "callers are not authenticated, so that --listen beyond loopback lets anybody in: put an authenticating proxy in front, or say --insecure-listen",
            );
        }
        let sqlite = database_url.is_sqlite();
        if !sqlite && !["postgres://", "postgresql://"].iter().any(|scheme| database_url.0.starts_with(scheme)) {
            return unsound("--database-url must begin with sqlite:// or postgres://");
        }
        if sqlite && role != Role::All {
            return unsound("an SQLite database serves one process: use --role all, or PostgreSQL");
        }
        let public_url = self.public_url.map(public_url).transpose();
        let public_url = public_url.map_err(|text| ConfigError::Unsound(format!("--{text}")))?;
        // Also so that it can be shown: credentials are for OTEL_EXPORTER_OTLP_HEADERS.
        if self.otlp_endpoint.as_ref().is_some_and(|endpoint| !is_plain_url(endpoint)) {
            return unsound(
                "--otlp-endpoint must be an http:// or https:// URL without user, password and query; headers are taken from OTEL_EXPORTER_OTLP_HEADERS",
            );
        }
        let lease = self.lease.unwrap_or(30);
        if !(5..=600).contains(&lease) {
            return unsound("--lease must be 5 to 600");
        }
        let max_operations = self.max_operations.unwrap_or(64);
        if !(1..=10_000).contains(&max_operations) {
            return unsound("--max-operations must be 1 to 10000");
        }
        let (grace, timeout) = (self.ready_grace.unwrap_or(30), self.ready_timeout.unwrap_or(500));
        if grace.max(timeout) > WEEK {
            return unsound("--ready-grace and --ready-timeout must be at most a week (604800)");
        }
        let max_requests = self.max_requests.unwrap_or(1024);
        if max_requests == 0 {
            return unsound("--max-requests must be at least 1");
        }
        let page_size = self.page_size.unwrap_or(1000);
        if !(1..=PAGE_LIMIT).contains(&page_size) {
            return unsound("--page-size must be from 1 to 10000");
        }
        let link_local = self.callback_link_local.unwrap_or(false);
        let nfvo = self.nfvo.resolve(link_local)?;
        if nfvo.as_ref().is_some_and(|nfvo| nfvo.public_url.is_none())
            && role == Role::Conductor
            && public_url.is_none()
        {
            return unsound(
                "a conductor with --nfvo-url needs --public-url: links to the API, as the NFVO knows them, begin with it",
            );
        }
        let sources = self.package_sources.unwrap_or_default();
        let sources: Vec<String> = sources.iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        if sources.iter().any(|host| host.is_empty() || host.contains(['/', '@', ' '])) {
            return unsound("--package-sources must be hosts such as repository.example or repository.example:8443");
        }
        let callback_test = self.callback_test.unwrap_or(CallbackTest::Strict);
        let clients = self.client.into_iter().map(|client| client.resolve(page_size, callback_test));
        let clients = clients.collect::<Result<_, _>>()?;
        Ok(Config {
            listen,
            database_url,
            data_dir: self.data_dir.unwrap_or_else(|| PathBuf::from("gybe-data")),
            role,
            public_url,
            key_file: self.key_file,
            lease: Duration::from_secs(lease),
            max_operations,
            max_requests,
            page_size,
            stop_delay: Duration::from_secs(self.stop_delay.unwrap_or(0)),
            patience: Patience { grace: Duration::from_secs(grace), timeout: Duration::from_secs(timeout) },
            callback_test,
            callbacks: callback::Settings {
                allow_link_local: link_local,
                ca_file: self.callback_ca_file,
                certificate_file: self.callback_certificate_file,
            },
            nfvo,
            package_sources: sources,
            otlp_endpoint: self.otlp_endpoint,
            max_package_bytes: self.max_package_size.unwrap_or(1024).saturating_mul(1024 * 1024),
            clients,
        })
    }
}

/// The beginning of links, without a slash at its end.
fn public_url(url: String) -> Result<String, &'static str> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    Err("public-url must begin with http:// or https://")
}

/// Whether it is an http(s) URL that can be shown: without credentials.
fn is_plain_url(url: &str) -> bool {
    let plain = |uri: http::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    url.parse().is_ok_and(plain)
}
