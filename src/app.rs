//! The only place that wires the parts together. Called by `main` and by the tests that want a whole process in theirs.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer, middleware, web};
use futures::FutureExt as _;
use futures::future::join_all;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::clients::Clients;
use crate::api::connections::{Connections, KEEP_ALIVE};
use crate::api::health::Health;
use crate::api::instance_cache::InstanceCache;
use crate::api::load::Load;
use crate::api::{self, Api};
use crate::clock::{Clock, Ids, System};
use crate::conductor::grant::Granting;
use crate::conductor::{Conductor, ConductorConfig};
use crate::config::clients::Profile;
use crate::config::{Config, Role};
use crate::domain::ids::ProjectId;
use crate::fetch::PackageSources;
use crate::infra::Observer;
use crate::infra::kubernetes::KubernetesDriver;
use crate::lcm::onboarding::Onboarder;
use crate::metrics::{HttpMetrics, VimMetrics};
use crate::nfvo::client::GrantClient;
use crate::notify::Notifier;
use crate::notify::callback::{CallbackError, Callbacks};
use crate::outbound::OutboundError;
use crate::package::files::PackageFiles;
use crate::store::seal::{KeyError, KeyRing};
use crate::store::{self, Store, StoreError};
use crate::view::View;

/// Why the process does not serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The sealing keys can't be had.
    #[error("the keys that seal secrets can't be used")]
    Key(#[from] KeyError),
    /// There is no key, and none may be made up: several processes need the same.
    #[error(
        "PostgreSQL is shared by several processes, which need the same sealing key: set --key-file or GYBE_KEY (32 random bytes in base64, such as `openssl rand -base64 32` prints)"
    )]
    NoKey,
    /// A file or socket can't be used.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Subscribers can't be reached.
    #[error("--callback-ca-file or --callback-certificate-file is of no use")]
    Callbacks(#[from] CallbackError),
    /// The NFVO can't be reached.
    #[error("--nfvo-ca-file or --nfvo-certificate-file is of no use")]
    Nfvo(#[source] OutboundError),
    /// The database can't be used.
    #[error("the database can't be used")]
    Store(#[from] StoreError),
    /// A defect: the log has the panic.
    #[error("the {0} panicked")]
    Panicked(&'static str),
}

/// Objects have this long to be gone.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(500);
/// A grant is not asked for sooner after an operation was accepted: the notification of that has a head start of 100 ms
/// before it.
const GRANT_HEAD_START: Duration = Duration::from_millis(250);
/// A connection that has not sent a complete request head after this long is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end, operations have this long to be handed over. It takes a write each; only a database that is cut off takes longer.
const HAND_OVER: Duration = Duration::from_secs(10);
/// After that, requests under way have this long.
const DRAIN: Duration = Duration::from_secs(20);
/// Connections open at once, which are two files each, if there may be twice as many files: the database and the clusters
/// need some, too.
/// Further ones wait for one of these to close, as those without a request soon do.
const MAX_CONNECTIONS: usize = 8192;

/// Connections that wait to be taken. The system drops any further ones without a word, and has a limit of its own.
const BACKLOG: u32 = 4096;

/// The conductor, the view or the notifier at work.
type Part = JoinHandle<Result<(), AppError>>;

/// How a process is told to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// It is not ready any more, claims nothing more and hands its operations over; after `--stop-delay` it answers no more.
    pub begun: CancellationToken,
    /// It does not wait for the end of the delay.
    pub at_once: CancellationToken,
}

/// Serves until `stop`. `ready` is told the address once requests are answered: with `--role conductor` only those of
/// [`api::health`].
///
/// # Errors
/// [`AppError`]: it could not begin, or the server failed.
pub async fn run(config: Config, stop: Stop, ready: impl FnOnce(SocketAddr)) -> Result<(), AppError> {
    let started = System.now();
    let data_dir = &config.options.data_dir;
    // Packages may hold Secrets: nobody else's business.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(io_error(format!("the folder {} can't be made", data_dir.display())))?;
    let keys = keys(&config)?;
    let store = store::connect(&config.options.database.database_url.0, keys).await?;
    let socket =
        listen(config.options.listen).map_err(io_error(format!("{} can't be listened on", config.options.listen)))?;
    let address = socket.local_addr().map_err(io_error("the socket has no address".to_owned()))?;
    let (vims, http, mut registry) = (VimMetrics::default(), HttpMetrics::default(), Registry::default());
    store.metrics().register(&mut registry);
    vims.register(&mut registry);
    http.register(&mut registry);
    let callbacks = Arc::new(Callbacks::new(&config.options.outbound())?);
    let granting = granting(&config, address, &mut registry)?;
    let owner = System.uuid().to_string();
    let notifier = Notifier::new(store.clone(), Arc::clone(&callbacks), owner.clone(), config.options.lease);
    notifier.metrics().register(&mut registry);
    let api = match config.options.role {
        Role::Conductor => None,
        Role::All | Role::Api => Some(api(&config, &store, address, &vims, callbacks, &owner).await?),
    };
    let notifying = tokio::spawn(vital("notifier", notifier.run(stop.begun.clone()), stop.clone()));
    let working = (config.options.role != Role::Api).then(|| {
        let settings = ConductorConfig {
            owner,
            max_operations: config.options.max_operations,
            lease_ttl: config.options.lease,
            patience: config.options.patience(),
            removal_timeout: REMOVAL_TIMEOUT,
        };
        let driver = Arc::new(KubernetesDriver::counting(vims));
        let observer = Arc::clone(&driver) as Arc<dyn Observer>;
        let conductor = Conductor::granted(Arc::clone(&store), driver, Arc::new(System), settings, granting);
        conductor.metrics().register(&mut registry);
        let view = View::new(Arc::clone(&store), observer);
        [
            tokio::spawn(vital("conductor", conductor.run(stop.begun.clone()), stop.clone())),
            tokio::spawn(vital("view", view.run(stop.begun.clone()), stop.clone())),
        ]
    });
    let onboarding = api.as_ref().map(|api| {
        let onboarder = Arc::clone(&api.onboarder);
        tokio::spawn(vital("onboarder", onboarder.run(stop.begun.clone()), stop.clone()))
    });
    let parts = working.into_iter().flatten().chain([notifying]).chain(onboarding).collect();
    let health = Health::new(store, stop.begun.clone(), registry, started);
    let server = serve(&config, socket, api, health, http)?;
    let end = tokio::spawn(end(server.handle(), parts, stop.clone(), config.options.stop_delay));
    ready(address);
    let served = server.await.map_err(io_error("the server failed".to_owned()));
    stop.begun.cancel();
    served.and(end.await.unwrap_or(Err(AppError::Panicked("end"))))
}

/// The beginning of every link.
fn public_url(config: &Config, address: SocketAddr) -> String {
    config.options.public_url.clone().unwrap_or_else(|| format!("http://{address}"))
}

/// How operations are granted, where this process works on any.
fn granting(config: &Config, address: SocketAddr, registry: &mut Registry) -> Result<Option<Granting>, AppError> {
    let Some(nfvo) = config.nfvo.as_ref().filter(|_| config.options.role != Role::Api) else { return Ok(None) };
    let client = GrantClient::new(nfvo.endpoint.clone()).map_err(AppError::Nfvo)?;
    client.metrics().register(registry);
    let (edition, patience) = (nfvo.edition, nfvo.grant_timeout);
    let base_url = nfvo.public_url.clone().unwrap_or_else(|| public_url(config, address));
    Ok(Some(Granting { nfvo: Arc::new(client), edition, base_url, patience, head_start: GRANT_HEAD_START }))
}

/// As `TcpListener::bind`, but with room for more than 128 connections that wait to be taken.
fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// What the API's handlers work with.
async fn api(
    config: &Config,
    store: &Arc<dyn Store>,
    address: SocketAddr,
    vims: &VimMetrics,
    callbacks: Arc<Callbacks>,
    owner: &str,
) -> Result<web::Data<Api>, AppError> {
    let packages = PackageFiles::open(&config.options.data_dir, config.options.max_package_bytes())
        .map_err(io_error("the directory of the packages can't be used".to_owned()))?;
    let packages = Arc::new(packages);
    let sources = PackageSources::new(config.options.package_sources.clone(), config.options.outbound_ca_file.as_deref())?;
    let onboarder =
        Onboarder::new(Arc::clone(store), Arc::clone(&packages), Arc::new(sources), owner.to_owned(), config.options.lease);
    // Its own, as connections live on the runtime that opened them and HTTP workers have runtimes of their own.
    let driver = Arc::new(KubernetesDriver::counting(vims.clone()));
    let public_url = public_url(config, address);
    let api = web::Data::new(Api {
        store: Arc::clone(store),
        observer: Arc::clone(&driver) as Arc<dyn Observer>,
        driver,
        clock: Arc::new(System),
        ids: Arc::new(System),
        page_size: config.options.page_size,
        instance_cache: Arc::new(InstanceCache::new(public_url.clone())),
        public_url,
        callbacks,
        callback_test: config.options.callback_test,
        granting: config.nfvo.is_some(),
        onboarder,
        packages,
        runtime: Handle::current(),
        project: ProjectId::default(),
        profile: Profile::default(),
    });
    api.onboarder.remove_orphans(&api.project).await?;
    Ok(api)
}

/// The HTTP server, which runs when it is awaited.
fn serve(
    config: &Config,
    socket: std::net::TcpListener,
    api: Option<web::Data<Api>>,
    health: Health,
    http: HttpMetrics,
) -> Result<Server, AppError> {
    // Who watches a conductor does not need all cores.
    let workers = if api.is_some() { std::thread::available_parallelism().map_or(2, NonZero::get) } else { 1 };
    let (health, http) = (web::Data::new(health), web::Data::new(http));
    let load = web::Data::new(Load::new(config.options.max_requests, http.get_ref().clone()));
    let clients = web::Data::new(api.as_ref().map(|api| Clients::new(api, &config.clients)).unwrap_or_default());
    let most = MAX_CONNECTIONS.min(open_files() / 4);
    let connections = web::Data::new(Connections::new(most, http.get_ref().clone()));
    let opened = connections.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(clients.clone())
            .app_data(health.clone())
            .app_data(http.clone())
            .app_data(load.clone())
            .app_data(connections.clone())
            .wrap(middleware::from_fn(api::negotiate::negotiate))
            .wrap(middleware::from_fn(api::access::observe))
            .wrap(middleware::from_fn(api::load::limit_load))
            .wrap(middleware::from_fn(api::middleware::problem_details))
            .wrap(middleware::from_fn(api::clients::apply_client_profile))
            .wrap(middleware::from_fn(api::connections::close_when_crowded))
            .wrap(middleware::NormalizePath::new(middleware::TrailingSlash::MergeOnly))
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
        .on_connect(move |connection, kept| opened.opened(connection, kept))
        .shutdown_timeout(DRAIN.as_secs())
        // Not with HTTP/2 beside it: actix-web then waits without a limit for the first byte of a connection.
        .listen(socket)
        .map_err(io_error(format!("{} can't be served on", config.options.listen)))?;
    Ok(server.run())
}

/// How many files may be open at once, after raising the number as far as the process may.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.and_then(|files| files.try_into().ok()).unwrap_or(usize::MAX)
}

/// Once told so, ends first conductor and view and, not before `delay` is over, the server, both gracefully.
///
/// In this order because a connection to the database lives on the runtime that opened it, which may be one of the
/// server's workers: operations can't be handed over through it any more when that worker is gone.
async fn end(server: ServerHandle, parts: Vec<Part>, stop: Stop, delay: Duration) -> Result<(), AppError> {
    stop.begun.cancelled().await;
    let delay = async {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.at_once.cancelled() => {}
        }
    };
    let handed_over = tokio::time::timeout(HAND_OVER, join_all(parts));
    let parts = tokio::join!(handed_over, delay).0.unwrap_or_else(|_| {
        tracing::error!("operations could not be handed over; others go on when their leases run out");
        Vec::new()
    });
    server.stop(true).await;
    // None is ever aborted: one that did not end by itself has said so.
    parts.into_iter().flatten().collect()
}

/// Runs a part of the process that it is of no use without. Should it panic, the process stops as if told to, and fails, so
/// that whoever watches over it starts it again.
async fn vital(name: &'static str, work: impl Future<Output = ()>, stop: Stop) -> Result<(), AppError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        tracing::error!("the {name} panicked: the process stops");
        stop.begun.cancel();
        AppError::Panicked(name)
    })
}

/// The sealing keys: of the file, of the environment, or (SQLite) of the data folder.
fn keys(config: &Config) -> Result<KeyRing, AppError> {
    if let Some(path) = &config.options.key_file {
        return read_keys(path);
    }
    if let Ok(text) = std::env::var("GYBE_KEY") {
        return Ok(KeyRing::parse(&text)?);
    }
    if !config.options.database.database_url.is_sqlite() {
        return Err(AppError::NoKey);
    }
    let path = config.options.data_dir.join("gybe.key");
    if !path.exists() {
        write_secret(&path, &KeyRing::generate_text()?)
            .map_err(io_error(format!("the key file {} can't be written", path.display())))?;
        tracing::info!(path = %path.display(), "a key was made that seals secrets; without it they can't be read again: back it up");
    }
    read_keys(&path)
}

fn read_keys(path: &Path) -> Result<KeyRing, AppError> {
    let text =
        std::fs::read_to_string(path).map_err(io_error(format!("the key file {} can't be read", path.display())))?;
    Ok(KeyRing::parse(&text)?)
}

/// Writes a file that only its owner can read; fails if it is there.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> AppError {
    move |source| AppError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_stops_the_process_and_fails_it() {
        let stop = Stop::default();
        let ended = vital("view", async { panic!("a defect") }, stop.clone()).await;
        assert_eq!(ended.unwrap_err().to_string(), "the view panicked");
        assert!(stop.begun.is_cancelled());
        assert!(!stop.at_once.is_cancelled());
    }
}
