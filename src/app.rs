//! Connects the parts of a process. Only `main` calls it.

mod parts;

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, middleware, web};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Map, json};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;

use self::parts::Parts;
pub use self::parts::Stop;
use crate::api::clients::Clients;
use crate::api::connections::{Connections, KEEP_ALIVE};
use crate::api::cross_site::OwnSites;
use crate::api::event_hub::EventHub;
use crate::api::health::Health;
use crate::api::instance_cache::InstanceCache;
use crate::api::load::Load;
use crate::api::tls::{Tls, TlsError, keep_certificate};
use crate::api::{self, Api};
use crate::auth::issued::TokenKey;
use crate::auth::keystone::projects::Projects;
use crate::auth::tokens::{StaticTokens, TokenFileError};
use crate::auth::{AuthConfigError, Authenticator};
use crate::clock::{Clock, Ids, System};
use crate::conductor::grant::Granting;
use crate::conductor::{Conductor, ConductorConfig};
use crate::config::clients::Profile;
use crate::config::tenancy::VerifyProject;
use crate::config::values::DatabaseUrl;
use crate::config::{Config, KeyOptions, Role, StoreOptions};
use crate::domain::caller::Caller;
use crate::domain::ids::{VnfInstanceId, VnfLcmOpOccId};
use crate::domain::op_occ::ABANDON;
use crate::domain::problem::Problem;
use crate::error::ApiError;
use crate::fetch::PackageSources;
use crate::infra::kubernetes::KubernetesDriver;
use crate::infra::{NamespaceKeeper, Observer, Previewer, VimContacts};
use crate::lcm::accept::Acceptor;
use crate::lcm::onboarding::Onboarder;
use crate::lcm::sent::Sent;
use crate::lcm::simulation::{self, SimulationError};
use crate::lcm::tenancy::Tenancy;
use crate::metrics::{HttpMetrics, VimCredentialMetrics, VimMetrics};
use crate::nfvo::client::GrantClient;
use crate::notify::Notifier;
use crate::notify::callback::{CallbackError, Callbacks};
use crate::outbound::OutboundError;
use crate::package::files::{PackageFiles, make_private_directory};
use crate::retention::Retention;
use crate::sol003::common::{TerminateVnfRequest, TerminationType};
use crate::store::seal::{KeyError, KeyRing, SealError};
use crate::store::{self, Store, StoreError};
use crate::view::{self, View};

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot use the keys that seal secrets")]
    Key(#[from] KeyError),
    /// No key is set, and Gybe does not create one, because several processes need the same.
    #[error(
        "a sealing key is missing, which all processes on a PostgreSQL database share: set --key-file or GYBE_KEY to 32 random bytes in base64 (`openssl rand -base64 32`)"
    )]
    NoKey,
    /// The file with the key is gone, and secrets in the database need it.
    #[error(
        "the database has sealed secrets, and the key file {} is missing: put the file back, or name the keys with --key-file or GYBE_KEY; without the key the secrets are lost",
        .0.display()
    )]
    LostKey(PathBuf),
    #[error("the system has no randomness for a token")]
    NoRandomness,
    #[error("cannot derive the keys of tokens from the sealing keys")]
    Derivation(#[source] SealError),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    #[error("the authentication of callers cannot be set up")]
    Auth(#[from] AuthConfigError),
    #[error("--tls-certificate-file, --tls-client-ca-file or --tls-client-crl-file is not valid")]
    Tls(#[from] TlsError),
    #[error("{message}")]
    Io { message: String, source: io::Error },
    #[error("--outbound-ca-file or --outbound-certificate-file is not valid")]
    Callbacks(#[from] CallbackError),
    #[error("--nfvo-ca-file or --nfvo-certificate-file is not valid")]
    Nfvo(#[source] OutboundError),
    #[error("cannot use the database")]
    Store(#[from] StoreError),
    #[error("--simulate")]
    Simulation(#[from] SimulationError),
    /// The request of a command is refused.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// A defect. The log contains the panic.
    #[error("the {0} panicked")]
    Panicked(&'static str),
}

/// Time for objects to disappear after their deletion.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(500);
/// Time from the acceptance of an operation to its grant request, so that the notification of STARTING arrives before.
const GRANT_HEAD_START: Duration = Duration::from_millis(250);
/// Operations that wait in this process for pods, removals or grants.
const MAX_WAITING: usize = 10_000;
/// Time for a new connection to send a complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for pending requests after that.
const DRAIN: Duration = Duration::from_secs(20);
/// Open client connections, if the limit of file descriptors allows: each uses two, and client connections use at most half of
/// all, so that the database and clusters keep the rest. Further connections wait until one closes.
const MAX_CONNECTIONS: usize = 8192;

/// Open connections of `--probe-listen`.
const PROBES: usize = 256;

/// Connections that the kernel queues before they are accepted. It drops further ones silently, and has a limit of its own.
const BACKLOG: u32 = 4096;

/// Serves until `stop`. Calls `ready` with the address once requests are answered; with `--role conductor` these are only the
/// endpoints of [`api::health`].
///
/// # Errors
/// [`AppError`]: the process could not start, or the server failed.
pub async fn run(config: Config, stop: Stop, ready: impl FnOnce(SocketAddr)) -> Result<(), AppError> {
    let started = System.now();
    let (store, token_keys) = store(&config).await?;
    let simulated = match config.options.simulate {
        true => Some(simulation::prepare(&*store, &System, &System).await?),
        false => None,
    };
    let socket =
        listen(config.options.listen).map_err(io_error(format!("cannot listen on {}", config.options.listen)))?;
    let address = socket.local_addr().map_err(io_error("the socket has no address".to_owned()))?;
    let (vims, http, mut registry) = (VimMetrics::default(), HttpMetrics::default(), Registry::default());
    store.metrics().register(&mut registry);
    vims.register(&mut registry);
    http.register(&mut registry);
    let contacts = VimContacts::default();
    let mut outbound = config.options.outbound();
    outbound.addresses.own = Some(address);
    let callbacks = Arc::new(Callbacks::new(&outbound)?);
    let clusters = || {
        let driver = KubernetesDriver::reporting(vims.clone(), contacts.clone(), outbound.clone());
        driver.simulating(simulated.clone())
    };
    let owner = System.uuid().to_string();
    let notifier = Notifier::new(store.clone(), Arc::clone(&callbacks), owner.clone(), config.options.lease);
    notifier.metrics().register(&mut registry);
    let api = match config.options.role {
        Role::Conductor => None,
        Role::All | Role::Api => Some(api(&config, &store, address, clusters(), callbacks, &owner).await?),
    };
    let mut parts = Parts::new(stop.clone());
    if config.options.role != Role::Api {
        let driver = Arc::new(clusters());
        let observer = Arc::clone(&driver) as Arc<dyn Observer>;
        let granting = granting(&config, address, &observer, &mut registry)?;
        let settings = conductor_config(&config, owner);
        let conductor = Conductor::granted(Arc::clone(&store), driver, Arc::new(System), settings, granting);
        start_conductor(conductor, observer, &store, &mut registry, &mut parts);
    }
    parts.start("notifier", |stop| notifier.run(stop));
    if let Some(api) = &api {
        let (onboarder, events) = (Arc::clone(&api.onboarder), Arc::clone(&api.events));
        parts.start("onboarder", |stop| onboarder.run(stop));
        parts.start("reader of events", |stop| events.run(stop));
    }
    if let Some(cluster) = simulated {
        parts.start("simulated cluster", |stop| cluster.run(stop));
    }
    parts.start("recorder of VIM status", |stop| view::vim_status::run(Arc::clone(&store), contacts, stop));
    let retention = Retention::new(Arc::clone(&store), Arc::new(System), config.options.retention());
    parts.start("retention", |stop| retention.run(stop));
    let health = web::Data::new(Health::new(store, stop.begun.clone(), registry, started));
    let probes = probes(&config, health.clone())?;
    let authenticator = web::Data::new(authenticator(&config, &token_keys)?);
    let server = serve(&config, socket, api, health, http, authenticator)?;
    let end = tokio::spawn(parts.end(server.handle(), config.options.stop_delay));
    ready(address);
    let served = serving(server, probes).await.map_err(io_error("the server failed".to_owned()));
    stop.begun.cancel();
    served.and(end.await.unwrap_or(Err(AppError::Panicked("end"))))
}

/// The store, and the keys of the tokens that Gybe issues.
async fn store(config: &Config) -> Result<(Arc<dyn Store>, Vec<TokenKey>), AppError> {
    let data_dir = &config.options.keys.data_dir;
    // It has the packages, which may contain Secrets, and the sealing key.
    let made = make_private_directory(data_dir);
    made.map_err(io_error(format!("cannot make {} a directory of this user alone", data_dir.display())))?;
    let url = &config.options.database.database_url;
    let keys = keys(url, &config.options.keys).await?;
    let token_keys = token_keys(&keys)?;
    let store = store::connect(&url.0, keys).await?;
    store.configure_quotas(config.quotas);
    Ok((store, token_keys))
}

fn conductor_config(config: &Config, owner: String) -> ConductorConfig {
    ConductorConfig {
        owner,
        max_operations: config.options.max_operations,
        max_waiting: MAX_WAITING,
        lease_ttl: config.options.lease,
        patience: config.options.readiness_timeouts(),
        removal_timeout: REMOVAL_TIMEOUT,
    }
}

/// Starts what a process with the role of a conductor does.
fn start_conductor(
    conductor: Arc<Conductor>,
    observer: Arc<dyn Observer>,
    store: &Arc<dyn Store>,
    registry: &mut Registry,
    parts: &mut Parts,
) {
    conductor.metrics().register(registry);
    let expiries = VimCredentialMetrics::default();
    expiries.register(registry);
    let view = View::new(Arc::clone(store), observer);
    parts.start("conductor", |stop| conductor.run(stop));
    parts.start("view", |stop| view.run(stop));
    parts.start("watch of credentials", |stop| {
        view::vim_credentials::run(Arc::clone(store), Arc::new(System), expiries, stop)
    });
}

/// The start of links.
fn public_url(config: &Config, address: SocketAddr) -> String {
    let own = || format!("{}://{address}", config.options.tls.scheme());
    config.options.public_url.clone().unwrap_or_else(own)
}

/// Grants for the operations of the conductor; `None` without an NFVO.
fn granting(
    config: &Config,
    address: SocketAddr,
    observer: &Arc<dyn Observer>,
    registry: &mut Registry,
) -> Result<Option<Granting>, AppError> {
    let Some(nfvo) = &config.nfvo else { return Ok(None) };
    let client = GrantClient::new(nfvo.endpoint.clone()).map_err(AppError::Nfvo)?;
    client.metrics().register(registry);
    let (edition, patience) = (nfvo.edition, nfvo.grant_timeout);
    let base_url = nfvo.public_url.clone().unwrap_or_else(|| public_url(config, address));
    let (nfvo, tenancy) = (Arc::new(client), tenancy(config, observer)?.map(Arc::new));
    Ok(Some(Granting { nfvo, edition, base_url, patience, head_start: GRANT_HEAD_START, tenancy }))
}

/// Like `TcpListener::bind`, which queues only 128 connections.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// How callers are authenticated.
fn authenticator(config: &Config, keys: &[TokenKey]) -> Result<Authenticator, AppError> {
    let tokens = config.options.token_file.as_deref().map(static_tokens).transpose()?;
    Ok(Authenticator::new(&config.auth, tokens, keys, &config.options.trusted_peers())?)
}

/// Checks what the authentication of callers needs, and changes nothing: a token file that does not exist is not made.
///
/// # Errors
/// [`AppError`], as the start of the process would fail.
pub fn check_authentication(config: &Config) -> Result<(), AppError> {
    let file = config.options.token_file.as_deref().filter(|path| path.exists());
    let tokens = file.map(static_tokens).transpose()?;
    Authenticator::new(&config.auth, tokens, &[], &config.options.trusted_peers())?;
    Ok(())
}

/// The keys of tokens that Gybe issues: the same for all processes on the database.
fn token_keys(keys: &KeyRing) -> Result<Vec<TokenKey>, AppError> {
    let derived = keys.derive("gybe issued tokens").map_err(AppError::Derivation)?;
    Ok(derived.into_iter().map(|(id, secret)| TokenKey { id, secret }).collect())
}

/// The tokens of the file, which is made if it does not exist.
fn static_tokens(path: &Path) -> Result<StaticTokens, AppError> {
    if !path.exists() {
        let mut token = [0; 32];
        aws_lc_rs::rand::fill(&mut token).map_err(|_| AppError::NoRandomness)?;
        write_secret(path, &StaticTokens::file_with(&hex::encode(token)))
            .map_err(io_error(format!("cannot write the token file {}", path.display())))?;
        tracing::info!(path = %path.display(), "created the token file with the token of an admin");
    }
    let text =
        std::fs::read_to_string(path).map_err(io_error(format!("cannot read the token file {}", path.display())))?;
    Ok(StaticTokens::parse(path, &text)?)
}

/// Which project a namespace belongs to, if the operator wants that.
fn tenancy(config: &Config, observer: &Arc<dyn Observer>) -> Result<Option<Tenancy>, AppError> {
    let Some(tenancy) = &config.tenancy else { return Ok(None) };
    let keystone = config.auth.keystone.as_ref().filter(|_| tenancy.verify_project == VerifyProject::Keystone);
    let projects = keystone.map(Projects::new).transpose()?;
    Ok(Some(Tenancy { rules: tenancy.rules.clone(), projects, observer: Arc::clone(observer) }))
}

/// The state of the API's handlers.
async fn api(
    config: &Config,
    store: &Arc<dyn Store>,
    address: SocketAddr,
    clusters: KubernetesDriver,
    callbacks: Arc<Callbacks>,
    owner: &str,
) -> Result<web::Data<Api>, AppError> {
    let packages = PackageFiles::open(&config.options.keys.data_dir, config.options.storage_limits())
        .map_err(io_error("cannot use the directory of the packages".to_owned()))?;
    let packages = Arc::new(packages);
    let sources =
        PackageSources::new(config.options.package_sources.clone(), config.options.outbound_ca_file.as_deref())?;
    let onboarder = Onboarder::new(
        Arc::clone(store),
        Arc::clone(&packages),
        Arc::new(sources),
        owner.to_owned(),
        config.options.lease,
    );
    // Separate from the conductor's: connections live on the runtime that opened them, and HTTP workers have their own runtimes.
    let driver = Arc::new(clusters);
    let observer = Arc::clone(&driver) as Arc<dyn Observer>;
    let public_url = public_url(config, address);
    let api = web::Data::new(Api {
        store: Arc::clone(store),
        tenancy: tenancy(config, &observer)?.map(Arc::new),
        observer,
        previewer: Arc::clone(&driver) as Arc<dyn Previewer>,
        namespace_keeper: Arc::clone(&driver) as Arc<dyn NamespaceKeeper>,
        driver,
        clock: Arc::new(System),
        ids: Arc::new(System),
        page_size: config.options.page_size,
        require_namespace: config.options.require_namespace,
        instance_cache: Arc::new(InstanceCache::new(public_url.clone())),
        public_url,
        callbacks,
        callback_test: config.options.callback_test,
        granting: config.nfvo.is_some(),
        onboarder,
        packages,
        runtime: Handle::current(),
        caller: Caller::local(),
        refusal_limit: Arc::default(),
        profile: Profile::default(),
        events: EventHub::new(Arc::clone(store)),
    });
    api.onboarder.remove_orphans().await?;
    Ok(api)
}

/// The HTTP server, which runs when it is awaited.
fn serve(
    config: &Config,
    socket: std::net::TcpListener,
    api: Option<web::Data<Api>>,
    health: web::Data<Health>,
    http: HttpMetrics,
    authenticator: web::Data<Authenticator>,
) -> Result<Server, AppError> {
    // Probes of a conductor do not need all cores.
    let workers = if api.is_some() { std::thread::available_parallelism().map_or(2, NonZero::get) } else { 1 };
    let http = web::Data::new(http);
    let load = web::Data::new(Load::new(config.options.max_requests, http.get_ref().clone()));
    let clients = web::Data::new(api.as_ref().map(|api| Clients::new(api, &config.clients)).unwrap_or_default());
    let most = MAX_CONNECTIONS.min(open_files() / 4);
    let connections = web::Data::new(Connections::new(most, http.get_ref().clone()));
    let tls = tls(config)?;
    let (opened, secured) = (connections.clone(), tls.clone());
    let sites = web::Data::new(own_sites(config, socket.local_addr().unwrap_or(config.options.listen)));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(clients.clone())
            .app_data(health.clone())
            .app_data(http.clone())
            .app_data(load.clone())
            .app_data(connections.clone())
            .app_data(sites.clone())
            .app_data(authenticator.clone())
            .wrap(middleware::from_fn(api::negotiate::negotiate))
            .wrap(middleware::from_fn(api::cross_site::refuse_cross_site))
            .wrap(middleware::from_fn(api::access::observe))
            .wrap(middleware::from_fn(api::load::limit_load))
            .wrap(middleware::from_fn(api::middleware::problem_details))
            .wrap(middleware::from_fn(api::clients::apply_client_profile))
            .wrap(middleware::from_fn(api::connections::close_when_crowded))
            .wrap(middleware::NormalizePath::new(middleware::TrailingSlash::Trim))
            .configure(api::health::routes)
            .configure(|config| {
                if let Some(api) = &api {
                    config.app_data(api.clone()).configure(api::routes);
                }
            })
    });
    let server = server
        .disable_signals()
        .workers(workers)
        .max_connections(most / workers)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        // Handshakes are limited as connections are: by number and time.
        .max_connection_rate(most / workers)
        .tls_handshake_timeout(HEAD_TIMEOUT)
        .on_connect(move |connection, kept| {
            opened.opened(connection, kept);
            if let Some(tls) = &secured {
                keep_certificate(tls, connection, kept);
            }
        })
        .shutdown_timeout(DRAIN.as_secs());
    let server = match tls {
        // The handshake, whose time is limited, decides about HTTP/2.
        Some(tls) => server.listen_rustls_0_23(socket, tls.server_config()?),
        // Without HTTP/2: with it, actix-web waits without a limit for the first byte of a connection.
        None => server.listen(socket),
    };
    Ok(server.map_err(io_error(format!("cannot serve on {}", config.options.listen)))?.run())
}

/// HTTPS, if the options say so.
fn tls(config: &Config) -> Result<Option<Arc<Tls>>, AppError> {
    let has_other_method = config.options.token_file.is_some() || config.auth.has_other_method();
    Ok(Tls::new(&config.options.tls, config.auth.certificate.is_some() && !has_other_method)?)
}

/// The server of the health endpoints alone, if the operator wants one. No load on the other reaches its worker and its connections.
fn probes(config: &Config, health: web::Data<Health>) -> Result<Option<Server>, AppError> {
    let Some(address) = config.options.probe_listen else { return Ok(None) };
    let cannot_listen = || io_error(format!("cannot listen on {address} (--probe-listen)"));
    let socket = listen(address).map_err(cannot_listen())?;
    let sites = web::Data::new(own_sites(config, socket.local_addr().unwrap_or(address)));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(health.clone())
            .app_data(sites.clone())
            // Its address is for monitoring alone.
            .app_data(web::Data::new(Authenticator::default()))
            .wrap(middleware::from_fn(api::cross_site::refuse_cross_site))
            .wrap(middleware::from_fn(api::middleware::problem_details))
            .configure(api::health::routes)
            .default_service(web::to(api::middleware::unknown_path))
    });
    let server = server.disable_signals().workers(1).max_connections(PROBES).client_request_timeout(HEAD_TIMEOUT);
    Ok(Some(server.keep_alive(KEEP_ALIVE).listen(socket).map_err(cannot_listen())?.run()))
}

/// Awaits the server. The probes are answered until it has ended.
async fn serving(server: Server, probes: Option<Server>) -> io::Result<()> {
    let Some(probes) = probes else { return server.await };
    let handle = probes.handle();
    let server = async {
        let served = server.await;
        handle.stop(true).await;
        served
    };
    let (served, probed) = tokio::join!(server, probes);
    served.and(probed)
}

/// The web sites whose pages may send requests.
fn own_sites(config: &Config, address: SocketAddr) -> OwnSites {
    let of_clients = config.clients.iter().filter_map(|client| client.public_url.as_deref());
    OwnSites::new(address, config.options.public_url.as_deref().into_iter().chain(of_clients))
}

/// Raises the limit of file descriptors as far as the process may, and returns it.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.and_then(|files| files.try_into().ok()).unwrap_or(usize::MAX)
}

/// Seals all secrets in the database with the first key. Returns how many another key had sealed.
///
/// # Errors
/// [`AppError`]: there is no key, or the store failed.
pub async fn rekey(options: &StoreOptions) -> Result<u64, AppError> {
    let url = &options.database.database_url;
    let keys = keys(url, &options.keys).await?;
    Ok(store::rekey(&url.0, &keys).await?)
}

/// Begins a TERMINATE that abandons the objects of the VNF instance. Returns the op occurrence; a conductor completes it.
///
/// # Errors
/// [`AppError`]: there is no key, the store failed, or the instance is in a state that does not allow it.
pub async fn abandon(options: &StoreOptions, id: VnfInstanceId) -> Result<VnfLcmOpOccId, AppError> {
    let url = &options.database.database_url;
    let store = store::connect(&url.0, keys(url, &options.keys).await?).await?;
    let project = store.project_of_instance(id).await.map_err(|error| match error {
        StoreError::NotFound => AppError::Refused(Problem::not_found("VNF instance", &id.to_string()).into()),
        error => AppError::Store(error),
    })?;
    let acceptor = Acceptor {
        store: &*store,
        clock: &System,
        ids: &System,
        project: &project,
        granting: false,
        unattended: None,
        vims_by_name: false,
        require_namespace: false,
        tenancy: None,
        rehearsal: None,
    };
    let request = TerminateVnfRequest {
        termination_type: TerminationType::Forceful,
        graceful_termination_timeout: None,
        additional_params: Some(Map::from_iter([(ABANDON.to_owned(), true.into())])),
        plan_id: None,
    };
    let body = json!({ "terminationType": "FORCEFUL", "additionalParams": { ABANDON: true } }).to_string();
    Ok(acceptor.terminate(id, &Sent { request, body }).await?)
}

/// The sealing keys: from the file, the environment, or (SQLite) the data directory.
async fn keys(database_url: &DatabaseUrl, options: &KeyOptions) -> Result<KeyRing, AppError> {
    if let Some(path) = &options.key_file {
        return read_keys(path);
    }
    if let Ok(text) = std::env::var("GYBE_KEY") {
        return Ok(KeyRing::parse(&text)?);
    }
    if !database_url.is_sqlite() {
        return Err(AppError::NoKey);
    }
    let path = options.data_dir.join("gybe.key");
    if !path.exists() {
        // A new key would open none of them.
        if store::is_sealed(&database_url.0).await? {
            return Err(AppError::LostKey(path));
        }
        write_secret(&path, &KeyRing::generate_text()?)
            .map_err(io_error(format!("cannot write the key file {}", path.display())))?;
        tracing::info!(path = %path.display(), "created the key that seals secrets; back it up, as secrets cannot be read without it");
    }
    read_keys(&path)
}

fn read_keys(path: &Path) -> Result<KeyRing, AppError> {
    let text =
        std::fs::read_to_string(path).map_err(io_error(format!("cannot read the key file {}", path.display())))?;
    Ok(KeyRing::parse(&text)?)
}

/// Writes a file that only its owner can read; fails if it exists.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn io_error(message: String) -> impl FnOnce(io::Error) -> AppError {
    move |source| AppError::Io { message, source }
}
