//! The `gybe` command.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use gybe::api::openapi;
use gybe::app::Stop;
use gybe::config::{Config, ConfigError, Options};
use gybe::debug::{self, View};
use gybe::domain::problem::chain;
use gybe::traces::Traces;
use gybe::{app, store, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// A VNF Manager (ETSI NFV-SOL 003) for containerised network functions on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests and work on operations until SIGTERM or SIGINT
    Serve(Settings),
    /// Bring the database's schema up to date
    Migrate(Settings),
    /// Write the OpenAPI documents
    Openapi {
        /// Folder to write to
        #[arg(default_value = "openapi")]
        folder: PathBuf,
    },
    /// Show what a database says of operations that are not over; a process may serve on it meanwhile
    Debug {
        #[command(subcommand)]
        view: DebugView,
    },
    /// Check the configuration and print what it comes to
    CheckConfig(Settings),
}

#[derive(Subcommand)]
enum DebugView {
    /// Operations that are not over: where they stand, and why they stopped or wait
    Ops(DebugSettings),
    /// Who works on which operation, and until when unless it goes on
    Leases(DebugSettings),
}

#[derive(clap::Args)]
struct DebugSettings {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(clap::Args)]
struct Settings {
    /// TOML file whose keys are the names of the flags below, with underscores; flags and environment win over it
    #[arg(long, value_name = "FILE", env = "GYBE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Settings {
    fn resolve(self) -> Result<Config, ConfigError> {
        let file = self.config.as_deref().map(Options::from_file).transpose()?;
        self.options.or(file.unwrap_or_default()).resolve()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Two TLS libraries' defaults must not be left to chance: the first use decides, and panics if there is none.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("gybe: the TLS provider is set already");
        return ExitCode::FAILURE;
    }
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gybe: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve(settings) => {
            let config = settings.resolve()?;
            let runtime = runtime()?;
            let traces = {
                let _within = runtime.enter();
                config.otlp_endpoint.as_deref().map(Traces::start).transpose()?
            };
            telemetry::start(traces.as_ref());
            telemetry::log_panics();
            let served = runtime.block_on(serve(config));
            if let Some(traces) = traces {
                runtime.block_on(traces.finish());
            }
            // A package that is being read is not waited for; it counts as abandoned.
            runtime.shutdown_timeout(Duration::from_secs(1));
            served
        }
        Command::Migrate(settings) => {
            telemetry::start(None);
            let config = settings.resolve()?;
            let migrated = runtime()?.block_on(store::migrate(&config.database_url.0))?;
            for migration in &migrated.applied {
                println!("applied {migration}");
            }
            println!("the schema is up to date");
            Ok(())
        }
        Command::Openapi { folder } => {
            std::fs::create_dir_all(&folder)?;
            for name in openapi::NAMES {
                let text = openapi::text(name)?.unwrap_or_default();
                std::fs::write(folder.join(name), text)?;
            }
            Ok(())
        }
        Command::Debug { view } => {
            telemetry::start(None);
            let (view, DebugSettings { json, settings }) = match view {
                DebugView::Ops(settings) => (View::Operations, settings),
                DebugView::Leases(settings) => (View::Leases, settings),
            };
            let operations = runtime()?.block_on(store::live_operations(&settings.resolve()?.database_url.0))?;
            std::io::stdout().write_all(debug::show(view, &operations, json)?.as_bytes())?;
            Ok(())
        }
        Command::CheckConfig(settings) => {
            let config = settings.resolve()?;
            println!("{config:#?}");
            Ok(())
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let stop = Stop::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        for (token, how) in [(stopping.begun, "stopping"), (stopping.at_once, "stopping without delay")] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("{how}");
            token.cancel();
        }
    });
    let role = config.role;
    let announce = |address: SocketAddr| println!("gybe serves on http://{address} (role {role:?})");
    app::run(config, stop, announce).await?;
    Ok(())
}
