//! The only place that wires the parts together. Called by `main` and by the tests that want a whole process in theirs.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer, middleware, web};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api};
use crate::clock::{Ids, System};
use crate::conductor::{Conductor, Settings};
use crate::config::{Config, Role};
use crate::domain::ids::ProjectId;
use crate::infra::Observer;
use crate::infra::kubernetes::KubernetesDriver;
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
    /// The database can't be used.
    #[error("the database can't be used")]
    Store(#[from] StoreError),
}

/// Conductors give a lease up after this long without a sign of life.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Objects have this long to be gone.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(500);
/// A connection that has not sent a complete request head after this long is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// With several processes, an onboarding that began so long ago is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Requests under way at the end have this long.
const DRAIN: Duration = Duration::from_secs(20);

/// Serves until `stop`. `ready` is told the address once requests are answered (not with `--role conductor`).
///
/// # Errors
/// [`AppError`]: it could not begin, or the server failed.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<(), AppError> {
    let data_dir = &config.data_dir;
    std::fs::create_dir_all(data_dir).map_err(io_error(format!("the folder {} can't be made", data_dir.display())))?;
    let keys = keys(&config)?;
    let store = store::connect(&config.database_url, keys).await?;
    let conductor = (config.role != Role::Api).then(|| {
        let settings = Settings {
            owner: System.uuid().to_string(),
            max_operations: config.max_operations,
            lease_ttl: LEASE_TTL,
            patience: config.patience,
            removal_timeout: REMOVAL_TIMEOUT,
        };
        let driver = Arc::new(KubernetesDriver::new());
        let observer = Arc::clone(&driver) as Arc<dyn Observer>;
        let conductor = Conductor::new(Arc::clone(&store), driver, Arc::new(System), settings);
        let view = View::new(Arc::clone(&store), observer);
        (tokio::spawn(conductor.run(stop.clone())), tokio::spawn(view.run(stop.clone())))
    });
    if config.role == Role::Conductor {
        ready(None);
        stop.cancelled().await;
    } else {
        serve(&config, &store, &stop, ready).await?;
    }
    // The operations of this process are handed over before it ends.
    stop.cancel();
    if let Some((conductor, view)) = conductor {
        for (name, task) in [("conductor", conductor), ("view", view)] {
            if let Err(error) = task.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the {name} ended by a panic");
            }
        }
    }
    Ok(())
}

async fn serve(
    config: &Config,
    store: &Arc<dyn Store>,
    stop: &CancellationToken,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<(), AppError> {
    let socket = std::net::TcpListener::bind(config.listen)
        .map_err(io_error(format!("{} can't be listened on", config.listen)))?;
    let address = socket.local_addr().map_err(io_error("the socket has no address".to_owned()))?;
    let packages = PackageFiles::open(&config.data_dir, config.max_package_bytes)
        .map_err(io_error("the folder of the packages can't be used".to_owned()))?;
    // Its own, as connections live on the runtime that opened them and HTTP workers have runtimes of their own.
    let driver = Arc::new(KubernetesDriver::new());
    let api = web::Data::new(Api {
        store: Arc::clone(store),
        observer: Arc::clone(&driver) as Arc<dyn Observer>,
        driver,
        clock: Arc::new(System),
        ids: Arc::new(System),
        public_url: config.public_url.clone().unwrap_or_else(|| format!("http://{address}")),
        packages,
        project: ProjectId::default(),
    });
    // SQLite serves one process: whoever was reading a package is gone.
    let stale_after = if config.database_url.starts_with("sqlite:") { Duration::ZERO } else { ABANDONED };
    api::packages::clear_abandoned(&api, stale_after).await?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(api.clone())
            .wrap(middleware::from_fn(api::middleware::dress))
            .wrap(middleware::NormalizePath::new(middleware::TrailingSlash::MergeOnly))
            .configure(api::routes)
    })
    .disable_signals()
    .client_request_timeout(HEAD_TIMEOUT)
    .shutdown_timeout(DRAIN.as_secs())
    .listen_auto_h2c(socket)
    .map_err(io_error(format!("{address} can't be served on")))?
    .run();
    let handle = server.handle();
    let stopping = stop.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        handle.stop(true).await;
    });
    ready(Some(address));
    server.await.map_err(io_error("the server failed".to_owned()))
}

/// The sealing keys: of the file, of the environment, or (SQLite) of the data folder.
fn keys(config: &Config) -> Result<KeyRing, AppError> {
    if let Some(path) = &config.key_file {
        return read_keys(path);
    }
    if let Ok(text) = std::env::var("GYBE_KEY") {
        return Ok(KeyRing::parse(&text)?);
    }
    if !config.database_url.starts_with("sqlite:") {
        return Err(AppError::NoKey);
    }
    let path = config.data_dir.join("gybe.key");
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
