//! The configuration of the `gybe` command.
//!
//! Each option is declared once, in [`Options`] or [`NfvoOptions`], with its name, environment variable, default, range and help
//! text. Values of the configuration file ([`file`]) become defaults of these options, so that the command line comes before the
//! environment, the environment before the file, and the file before the declared default. [`Config::new`] checks what concerns
//! several options at once.

pub mod clients;
pub mod effective;
pub mod file;
pub mod nfvo;
pub mod quotas;
pub mod tenancy;
pub mod tls;
pub mod values;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use ipnet::IpNet;
use serde::Deserialize;

use crate::auth::AuthOptions;
use crate::config::clients::Client;
use crate::config::file::Tables;
use crate::config::nfvo::{NfvoConfig, NfvoOptions};
use crate::config::tenancy::TenancyConfig;
use crate::config::tls::TlsOptions;
use crate::config::values::{
    DatabaseUrl, WEEK, base_url, database_url, network, number, package_source, plain_url, seconds,
};
use crate::domain::quota::Quotas;
use crate::infra::ReadinessTimeouts;
use crate::outbound::OutboundConfig;
use crate::outbound::address::AddressRules;
use crate::package::files::StorageLimits;
use crate::retention::RetentionPolicy;

/// Elements of a page. A page of 10,000 large instances still fits into memory.
pub const PAGE_SIZES: RangeInclusive<usize> = 1..=10_000;

/// The options of all commands that read the database.
#[derive(Args, Clone, Debug)]
pub struct DatabaseOptions {
    /// TOML file with values for the options of `gybe serve`; its keys are their names, with underscores, those of --nfvo-… in a
    /// table [nfvo]. Command line and environment take precedence
    #[arg(long, value_name = "FILE", env = "GYBE_CONFIG")]
    pub config: Option<PathBuf>,
    /// `sqlite://path` or `postgres://user:password@host/name`
    #[arg(long, value_name = "URL", env = "GYBE_DATABASE_URL", hide_env_values = true)]
    #[arg(default_value = "sqlite://gybe.db", value_parser = database_url())]
    pub database_url: DatabaseUrl,
}

/// Where the keys are that seal secrets.
#[derive(Args, Clone, Debug)]
pub struct KeyOptions {
    /// Directory of the packages; all API processes of one database share it
    #[arg(long, value_name = "DIRECTORY", env = "GYBE_DATA_DIR", default_value = "gybe-data")]
    pub data_dir: PathBuf,
    /// File with the keys that seal secrets: one base64 text of 32 bytes per line, the newest first
    /// [default: the environment variable GYBE_KEY; with SQLite gybe.key in --data-dir, created at the first start]
    #[arg(long, value_name = "FILE", env = "GYBE_KEY_FILE")]
    pub key_file: Option<PathBuf>,
}

/// The options of `gybe serve`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    pub database: DatabaseOptions,
    /// Address and port to serve on
    #[arg(long, value_name = "ADDRESS:PORT", env = "GYBE_LISTEN", default_value = "127.0.0.1:9890")]
    pub listen: SocketAddr,
    /// Address and port that serve /healthz, /readyz and /metrics alone, whatever the load on --listen, which serves them too
    /// [default: none]
    #[arg(long, value_name = "ADDRESS:PORT", env = "GYBE_PROBE_LISTEN")]
    pub probe_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub keys: KeyOptions,
    /// What this process does
    #[arg(long, env = "GYBE_ROLE", value_enum, default_value_t = Role::All)]
    pub role: Role,
    /// Have a simulated VIM, named `simulated`, for tests and demonstrations: a cluster in the memory of this process, in which nothing
    /// runs. Only with SQLite
    #[arg(long, value_name = "BOOLEAN", env = "GYBE_SIMULATE", action = ArgAction::Set)]
    #[arg(default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    pub simulate: bool,
    /// Scheme, host and port under which clients reach the API; links begin with it. A [[client]] table may set another one for
    /// its client [default: http:// or https://, and the address of --listen]
    #[arg(long, value_name = "URL", env = "GYBE_PUBLIC_URL", value_parser = base_url)]
    pub public_url: Option<String>,
    /// Serve beyond loopback although callers are not authenticated
    #[arg(long, value_name = "BOOLEAN", env = "GYBE_INSECURE_LISTEN", action = ArgAction::Set)]
    #[arg(default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    pub insecure_listen: bool,
    /// Seconds that a conductor holds an operation without renewing its lease. Then another conductor takes the operation over
    #[arg(long, value_name = "SECONDS", env = "GYBE_LEASE")]
    #[arg(default_value = "30", value_parser = seconds(5..=600))]
    pub lease: Duration,
    /// Operations that this process works on at the same time; those that wait for pods, removals or grants do not count
    #[arg(long, value_name = "COUNT", env = "GYBE_MAX_OPERATIONS")]
    #[arg(default_value_t = 64, value_parser = number(1..=10_000_usize))]
    pub max_operations: usize,
    /// Requests that this process works on at the same time; it answers further ones with 503
    #[arg(long, value_name = "COUNT", env = "GYBE_MAX_REQUESTS")]
    #[arg(default_value_t = 1024, value_parser = number(1..=1_000_000_usize))]
    pub max_requests: usize,
    /// Elements of a list in one page; a longer list has a link to the next page
    #[arg(long, value_name = "COUNT", env = "GYBE_PAGE_SIZE")]
    #[arg(default_value_t = 1000, value_parser = number(PAGE_SIZES))]
    pub page_size: usize,
    /// Seconds to go on answering after SIGTERM while /readyz answers 503, so that load balancers notice. A second SIGTERM ends
    /// the delay
    #[arg(long, value_name = "SECONDS", env = "GYBE_STOP_DELAY")]
    #[arg(default_value = "0", value_parser = seconds(0..=WEEK))]
    pub stop_delay: Duration,
    /// Seconds that an object may have a fault that lasts until somebody acts (image name, quota) before its operation fails. A fault
    /// that usually passes (crash loop, no node has room yet) may last ten times as long
    #[arg(long, value_name = "SECONDS", env = "GYBE_READY_GRACE")]
    #[arg(default_value = "30", value_parser = seconds(0..=WEEK))]
    pub ready_grace: Duration,
    /// Seconds within which an object must become ready
    #[arg(long, value_name = "SECONDS", env = "GYBE_READY_TIMEOUT")]
    #[arg(default_value = "500", value_parser = seconds(0..=WEEK))]
    pub ready_timeout: Duration,
    /// Seconds that a container without a readiness or startup probe must run before it counts as ready; 0: it counts at once
    #[arg(long, value_name = "SECONDS", env = "GYBE_SETTLE_TIME")]
    #[arg(default_value = "2", value_parser = seconds(0..=3600))]
    pub settle_time: Duration,
    /// Refuse an instantiation if neither the request nor the manifests name a namespace, instead of using `default`
    #[arg(long, value_name = "BOOLEAN", env = "GYBE_REQUIRE_NAMESPACE", action = ArgAction::Set)]
    #[arg(default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    pub require_namespace: bool,
    /// File with static tokens, one of which each request must carry. If it does not exist, Gybe creates it with the token of an
    /// admin
    #[arg(long, value_name = "FILE", env = "GYBE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// How the callback URI of a new subscription is tested
    #[arg(long, env = "GYBE_CALLBACK_TEST", value_enum, default_value_t = CallbackTest::Strict)]
    pub callback_test: CallbackTest,
    /// Allow requests to subscribers, token endpoints and the NFVO to go to link-local addresses and cloud metadata services
    #[arg(long, value_name = "BOOLEAN", env = "GYBE_OUTBOUND_LINK_LOCAL", action = ArgAction::Set)]
    #[arg(default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    pub outbound_link_local: bool,
    /// Allow requests to subscribers and their token endpoints to go to loopback addresses [default: true while --listen is a
    /// loopback address, else false]
    #[arg(long, value_name = "BOOLEAN", env = "GYBE_OUTBOUND_LOOPBACK", action = ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub outbound_loopback: Option<bool>,
    /// Networks that requests to subscribers and their token endpoints may go to, separated by commas, such as
    /// 10.1.0.0/16,2001:db8::/48 [default: none, all networks]
    #[arg(long, value_name = "NETWORKS", env = "GYBE_OUTBOUND_NETWORKS")]
    #[arg(value_delimiter = ',', value_parser = network)]
    pub outbound_networks: Vec<IpNet>,
    /// PEM file of the certificate authorities of subscribers, token endpoints, package sources and the NFVO
    /// [default: those of the system]
    #[arg(long, value_name = "FILE", env = "GYBE_OUTBOUND_CA_FILE")]
    pub outbound_ca_file: Option<PathBuf>,
    /// PEM file with the client certificate, and its key, for the NFVO and for subscribers that use TLS_CERT [default: none]
    #[arg(long, value_name = "FILE", env = "GYBE_OUTBOUND_CERTIFICATE_FILE")]
    pub outbound_certificate_file: Option<PathBuf>,
    /// Hosts that upload_from_uri may fetch packages from, separated by commas: `host`, `host:port`, or `*` for all. With `*`,
    /// callers can find out which hosts in your network answer [default: none, upload_from_uri is refused]
    #[arg(long, value_name = "HOSTS", env = "GYBE_PACKAGE_SOURCES")]
    #[arg(value_delimiter = ',', value_parser = package_source)]
    pub package_sources: Vec<String>,
    /// OTLP endpoint for traces, without credentials, such as http://collector:4318. `/v1/traces` is appended
    /// [default: none, no traces]
    #[arg(long, value_name = "URL", env = "GYBE_OTLP_ENDPOINT", value_parser = plain_url())]
    pub otlp_endpoint: Option<String>,
    /// Size of the largest package that is accepted, in MiB
    #[arg(long, value_name = "MIB", env = "GYBE_MAX_PACKAGE_SIZE")]
    #[arg(default_value_t = 1024, value_parser = number(1..=1024 * 1024_u64))]
    pub max_package_size: u64,
    /// Size of all packages together, in MiB. When it is reached, uploads are answered with 507 until packages are deleted
    /// [default: none, no limit]
    #[arg(long, value_name = "MIB", env = "GYBE_MAX_PACKAGES_SIZE")]
    #[arg(value_parser = number(1..=1024 * 1024 * 1024_u64))]
    pub max_packages_size: Option<u64>,
    /// Free space that stays on the disk of the packages, in MiB. With less, uploads are answered with 507
    #[arg(long, value_name = "MIB", env = "GYBE_MIN_FREE_SPACE")]
    #[arg(default_value_t = 256, value_parser = number(0..=1024 * 1024 * 1024_u64))]
    pub min_free_space: u64,
    /// Days that an op occurrence is kept after its end; 0: as long as its VNF instance
    #[arg(long, value_name = "DAYS", env = "GYBE_KEEP_OPERATIONS")]
    #[arg(default_value_t = 30, value_parser = number(0..=36_500_u64))]
    pub keep_operations: u64,
    /// The most op occurrences that are kept of a VNF instance
    #[arg(long, value_name = "COUNT", env = "GYBE_KEEP_OPERATIONS_PER_INSTANCE")]
    #[arg(default_value_t = 1000, value_parser = number(1..=1_000_000_usize))]
    pub keep_operations_per_instance: usize,
    /// Days that a notification is kept that could not be delivered, for `resend`; 0: as long as its subscription
    #[arg(long, value_name = "DAYS", env = "GYBE_KEEP_NOTIFICATIONS")]
    #[arg(default_value_t = 7, value_parser = number(0..=36_500_u64))]
    pub keep_notifications: u64,
    /// Days that audit records are kept
    #[arg(long, value_name = "DAYS", env = "GYBE_KEEP_AUDIT")]
    #[arg(default_value_t = 90, value_parser = number(1..=36_500_u64))]
    pub keep_audit: u64,
    /// Days that metering records are kept after their end
    #[arg(long, value_name = "DAYS", env = "GYBE_KEEP_METERING")]
    #[arg(default_value_t = 400, value_parser = number(1..=36_500_u64))]
    pub keep_metering: u64,
    #[command(flatten)]
    pub tls: TlsOptions,
    #[command(flatten)]
    pub nfvo: NfvoOptions,
}

impl Options {
    /// How long to wait for objects to become ready.
    pub fn readiness_timeouts(&self) -> ReadinessTimeouts {
        ReadinessTimeouts {
            grace: self.ready_grace,
            timeout: self.ready_timeout,
            settle: self.settle_time,
            waited: Duration::ZERO,
        }
    }

    /// How subscribers and their token endpoints are reached.
    pub fn outbound(&self) -> OutboundConfig {
        OutboundConfig {
            addresses: AddressRules {
                allow_link_local: self.outbound_link_local,
                refuse_loopback: !self.outbound_loopback.unwrap_or(self.listen.ip().is_loopback()),
                networks: self.outbound_networks.clone(),
                own: None,
            },
            ca_file: self.outbound_ca_file.clone(),
            certificate_file: self.outbound_certificate_file.clone(),
        }
    }

    /// How services are reached that the operator names, wherever they are.
    pub fn trusted_peers(&self) -> OutboundConfig {
        OutboundConfig {
            addresses: AddressRules { allow_link_local: self.outbound_link_local, ..AddressRules::default() },
            ..self.outbound()
        }
    }

    /// What is kept, and how long.
    pub fn retention(&self) -> RetentionPolicy {
        let days = |days: u64| (days > 0).then(|| Duration::from_hours(24 * days));
        RetentionPolicy {
            operations: days(self.keep_operations),
            operations_per_instance: self.keep_operations_per_instance,
            notifications: days(self.keep_notifications),
            audit: Duration::from_hours(24 * self.keep_audit),
            metering: Duration::from_hours(24 * self.keep_metering),
        }
    }

    /// How much of the disk the packages may use.
    pub fn storage_limits(&self) -> StorageLimits {
        const MIB: u64 = 1024 * 1024;
        StorageLimits {
            package: self.max_package_size * MIB,
            all_packages: self.max_packages_size.map(|size| size * MIB),
            min_free: self.min_free_space * MIB,
        }
    }
}

/// The options of the commands that open the database with its keys.
#[derive(Args, Clone, Debug)]
pub struct StoreOptions {
    #[command(flatten)]
    pub database: DatabaseOptions,
    #[command(flatten)]
    pub keys: KeyOptions,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Answers requests and works on operations.
    All,
    /// Answers requests.
    Api,
    /// Works on operations.
    Conductor,
}

/// How the callback URI of a new subscription is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CallbackTest {
    /// A GET must be answered with 204, as SOL003 requires.
    Strict,
    /// A GET must be answered, also with the statement that the resource does not support GET; that is logged.
    Lenient,
    /// No test.
    Off,
}

/// The configuration of a serving process, checked as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    pub options: Options,
    /// The NFVO that grants operations; `None`: operations need no grant.
    pub nfvo: Option<NfvoConfig>,
    /// Clients with profiles or settings of their own. The first one that matches a request applies.
    pub clients: Vec<Client>,
    /// How callers are authenticated, besides by the tokens of `--token-file`.
    pub auth: AuthOptions,
    /// Namespaces belong to projects; `None`: to nobody.
    pub tenancy: Option<TenancyConfig>,
    /// The quotas of projects without their own.
    pub quotas: Quotas,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file can't be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A file with a secret can't be read.
    #[error("cannot read the file {}", path.display())]
    UnreadableSecret { path: PathBuf, source: std::io::Error },
    /// The configuration file is not valid. Its text is not shown, as it may hold a password.
    #[error("configuration file {}, line {line}: {message}", path.display())]
    Malformed {
        path: PathBuf,
        /// From 1.
        line: usize,
        message: String,
    },
    /// Options contradict each other.
    #[error("{0}")]
    Inconsistent(String),
}

impl Config {
    /// Checks the options together, and completes clients with their profiles.
    ///
    /// # Errors
    /// [`ConfigError::Inconsistent`], which names the options and what to do; [`ConfigError::UnreadableSecret`].
    pub fn new(options: Options, tables: Tables) -> Result<Self, ConfigError> {
        let Tables { clients, auth, tenancy, neutron_defaults, quotas } = tables;
        let inconsistent = |text: &str| Err(ConfigError::Inconsistent(text.to_owned()));
        let (role, listen) = (options.role, options.listen);
        let is_authenticated = options.token_file.is_some() || auth.has_method();
        if role != Role::Conductor && !listen.ip().is_loopback() && !options.insecure_listen && !is_authenticated {
            return inconsistent(
                "callers are not authenticated, so --listen must be a loopback address: set --token-file, or [auth] in the configuration file, or --insecure-listen",
            );
        }
        options.tls.check(&auth)?;
        if options.database.database_url.is_sqlite() && role != Role::All {
            return inconsistent("an SQLite database serves one process: use --role all, or PostgreSQL");
        }
        if options.simulate && !options.database.database_url.is_sqlite() {
            return inconsistent(
                "--simulate keeps its cluster in the memory of one process: use an SQLite database, which serves one process",
            );
        }
        let clients: Vec<Client> =
            clients.into_iter().map(|client| client.resolve(&options)).collect::<Result<_, _>>()?;
        let nfvo = options.nfvo.resolve(&options.outbound(), &clients)?;
        let needs_public_url = nfvo.as_ref().is_some_and(|nfvo| nfvo.public_url.is_none());
        if needs_public_url && role == Role::Conductor && options.public_url.is_none() {
            return inconsistent(
                "a conductor with --nfvo-url needs --public-url: grant requests contain links to the API, which begin with it",
            );
        }
        let tenancy = tenancy::resolve(tenancy, neutron_defaults, auth.keystone.is_some())?;
        Ok(Self { options, nfvo, clients, auth, tenancy, quotas: quotas.resolve()? })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use clap::{Command, FromArgMatches as _};

    use super::*;
    use crate::config::file::ConfigFile;

    /// The configuration of these arguments with this text as configuration file.
    pub(crate) fn config(arguments: &[&str], file: &str) -> Result<Config, String> {
        let file = ConfigFile::parse(Path::new("gybe.toml"), file).map_err(|error| error.to_string())?;
        // Without the environment variables of the person who runs the tests.
        let command = Options::augment_args(Command::new("gybe").no_binary_name(true))
            .mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
        let matches = file.defaults_for(command).try_get_matches_from(arguments).map_err(|error| error.to_string())?;
        let options = Options::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Config::new(options, file.tables).map_err(|error| error.to_string())
    }

    #[test]
    fn command_line_precedes_file_precedes_default() {
        let file = "lease = 60\npage_size = 7\npackage_sources = ['A.example', 'b:8443']\ninsecure_listen = true";
        let options = config(&["--page-size", "9"], file).unwrap().options;
        assert_eq!(options.page_size, 9);
        assert_eq!(options.lease, Duration::from_secs(60));
        assert_eq!(options.package_sources, ["a.example", "b:8443"]);
        assert!(options.insecure_listen);
        assert_eq!(options.max_requests, 1024);
        assert_eq!(options.listen.to_string(), "127.0.0.1:9890");
        assert!(!config(&["--insecure-listen=false"], file).unwrap().options.insecure_listen);
        assert!(config(&["--insecure-listen"], "").unwrap().options.insecure_listen);
    }

    #[test]
    fn loopback_subscribers_need_a_loopback_listener_or_the_option() {
        let refuses = |arguments: &[&str]| {
            let listen = ["--listen", "0.0.0.0:9890", "--insecure-listen"];
            let outside = config(&[&listen, arguments].concat(), "").unwrap().options.outbound().addresses;
            (config(arguments, "").unwrap().options.outbound().addresses.refuse_loopback, outside.refuse_loopback)
        };
        assert_eq!(refuses(&[]), (false, true));
        assert_eq!(refuses(&["--outbound-loopback"]), (false, false));
        assert_eq!(refuses(&["--outbound-loopback", "false"]), (true, true));
        let networks = config(&["--outbound-networks", "10.0.0.0/8, fd00::/8"], "").unwrap().options.outbound_networks;
        assert_eq!(networks.len(), 2);
    }

    #[test]
    fn names_file_line_and_allowed_values() {
        for (file, expected) in [
            (
                "role = 'all'\nlease = 3",
                "gybe.toml, line 2: invalid value '3' for '--lease <SECONDS>': must be a whole number from 5 to 600",
            ),
            (
                "\n\npage_size = 'many'",
                "line 3: invalid value 'many' for '--page-size <COUNT>': must be a whole number from 1 to 10000",
            ),
            ("role = 'boss'", "possible values: all, api, conductor"),
            ("lease = [1]", "'lease' must be a string, a number, a boolean or a list of strings"),
            ("leese = 30", "line 1: unknown key 'leese'"),
            ("config = 'other.toml'", "unknown key 'config'"),
            ("[nfvo]\nuri = 'x'", "line 2: unknown key 'nfvo.uri'"),
            ("lease =", "line 1: "),
        ] {
            let error = config(&[], file).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
    }

    #[test]
    fn refuses_inconsistent_options_and_says_what_to_do() {
        for (arguments, expected) in [
            (&["--listen", "0.0.0.0:9890"][..], "--insecure-listen"),
            (&["--role", "api"], "--role all, or PostgreSQL"),
            (&["--simulate", "--database-url", "postgres://db/gybe"], "use an SQLite database"),
            (&["--database-url", "mysql://gybe:s3cret@db"], "--database-url must begin with sqlite:// or postgres://"),
            (&["--public-url", "gybe"], "must begin with http://"),
            (&["--package-sources", "https://a"], "must be a host"),
            (&["--package-sources", "a,"], "must be a host"),
            (&["--outbound-networks", "10.0.0.0/33"], "must be a network such as 10.1.0.0/16"),
            (&["--ready-timeout", "604801"], "must be a whole number from 0 to 604800"),
        ] {
            let error = config(arguments, "").unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{arguments:?}: {error}");
        }
    }
}
