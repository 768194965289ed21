//! The `gybe` command.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use gybe::api::openapi;
use gybe::app::Stop;
use gybe::cli::{self, ToolCommand};
use gybe::config::file::ConfigFile;
use gybe::config::{Config, ConfigError, DatabaseOptions, Options, StoreOptions, effective};
use gybe::debug::{self, View};
use gybe::domain::ids::VnfInstanceId;
use gybe::domain::problem::chain;
use gybe::traces::Traces;
use gybe::{app, store, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// A VNF Manager (ETSI NFV-SOL 003) for containerised network functions on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests and work on operations until SIGTERM or SIGINT
    Serve(Options),
    /// Bring the database schema up to date
    Migrate(DatabaseOptions),
    /// Seal all secrets in the database with the first key of the key file. Afterwards the other keys are not needed
    Rekey(StoreOptions),
    /// Let go of a VNF instance whose cluster is lost, as a terminate with `gybe:abandon` does: Gybe forgets its objects and sends
    /// nothing to the cluster. With SQLite, `gybe serve` must be stopped meanwhile; it completes the operation when it starts
    Abandon {
        /// Identifier of the VNF instance
        instance: VnfInstanceId,
        #[command(flatten)]
        options: StoreOptions,
    },
    /// Print the hash of a password for `[[auth.basic.user]]`. Reads the password from the standard input, its first line
    HashPassword,
    /// Write the OpenAPI documents
    Openapi {
        /// Directory to write to
        #[arg(default_value = "openapi")]
        folder: PathBuf,
    },
    /// Show the unfinished operations in a database, also while `gybe serve` uses it
    Debug {
        #[command(subcommand)]
        view: DebugView,
    },
    /// Check the configuration of `gybe serve` and print the effective values, without secrets
    CheckConfig(Options),
    #[command(flatten)]
    Tool(ToolCommand),
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Subcommand)]
enum DebugView {
    /// Unfinished operations: state, progress, and why they stopped or wait
    Ops(DebugOptions),
    /// Leases: which process works on which operation, and when its lease expires
    Leases(DebugOptions),
}

#[derive(clap::Args)]
struct DebugOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseOptions,
}

/// A parsed command line.
struct Invocation {
    command: Command,
    /// The matches of the innermost subcommand.
    matches: ArgMatches,
    file: Option<ConfigFile>,
}

impl Invocation {
    /// Parses the command line, and once more if it names a configuration file, which supplies defaults. Ends the process if the
    /// command line is wrong or asks for help.
    fn parse() -> Result<Self, ConfigError> {
        let path = innermost(&Cli::command().get_matches()).try_get_one::<PathBuf>("config").ok().flatten().cloned();
        let file = path.as_deref().map(ConfigFile::read).transpose()?;
        let mut command = Cli::command();
        if let Some(file) = &file {
            command = file.defaults_for(command);
        }
        let matches = command.get_matches();
        let Cli { command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Ok(Self { command, matches: innermost(&matches).clone(), file })
    }

    fn config(&self, options: &Options) -> Result<Config, ConfigError> {
        let tables = self.file.as_ref().map(|file| file.tables.clone()).unwrap_or_default();
        Config::new(options.clone(), tables)
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

fn main() -> ExitCode {
    // rustls is built with one provider, but panics on first use if a dependency ever brings a second one and none is chosen.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("gybe: the TLS provider is set already");
        return ExitCode::FAILURE;
    }
    let invocation = Invocation::parse();
    if let Ok(Invocation { command: Command::Tool(command), .. }) = &invocation {
        return cli::run(command);
    }
    match invocation.map_err(Into::into).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gybe: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: Invocation) -> Result<(), Box<dyn Error>> {
    match &invocation.command {
        Command::Serve(options) => serve(invocation.config(options)?),
        Command::Migrate(database) => migrate(database),
        Command::Rekey(options) => rekey(options),
        Command::Abandon { instance, options } => abandon(*instance, options),
        Command::HashPassword => hash_password(),
        Command::Openapi { folder } => write_openapi(folder),
        Command::Debug { view: DebugView::Ops(options) } => show_operations(View::Operations, options),
        Command::Debug { view: DebugView::Leases(options) } => show_operations(View::Leases, options),
        Command::CheckConfig(options) => {
            let config = invocation.config(options)?;
            app::check_authentication(&config)?;
            print!("{}", effective::describe(&config, &invocation.matches, invocation.file.as_ref()));
            Ok(())
        }
        // `main` has run it.
        Command::Tool(_) => Ok(()),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "gybe", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let runtime = runtime()?;
    let traces = {
        let _entered = runtime.enter();
        config.options.otlp_endpoint.as_deref().map(Traces::start).transpose()?
    };
    telemetry::start(traces.as_ref());
    telemetry::log_panics();
    let served = runtime.block_on(serve_until_signal(config));
    if let Some(traces) = traces {
        runtime.block_on(traces.finish());
    }
    // Does not wait for a thread that still reads a package: another process takes its onboarding over when the lease expires.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn migrate(database: &DatabaseOptions) -> Result<(), Box<dyn Error>> {
    telemetry::start(None);
    let migrated = runtime()?.block_on(store::migrate(&database.database_url.0))?;
    for migration in &migrated.applied {
        println!("applied {migration}");
    }
    println!("the schema is up to date");
    Ok(())
}

fn rekey(options: &StoreOptions) -> Result<(), Box<dyn Error>> {
    telemetry::start(None);
    let number = runtime()?.block_on(app::rekey(options))?;
    println!("sealed {number} values again; all secrets are sealed with the first key");
    Ok(())
}

fn abandon(instance: VnfInstanceId, options: &StoreOptions) -> Result<(), Box<dyn Error>> {
    telemetry::start(None);
    let op = runtime()?.block_on(app::abandon(options, instance))?;
    println!("operation {op} abandons VNF instance {instance}; the op occurrence names the objects that are left");
    Ok(())
}

fn hash_password() -> Result<(), Box<dyn Error>> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err("the password is empty: write it to the standard input, such as `printf %s \"$PASSWORD\" | gybe hash-password`".into());
    }
    println!("{}", gybe::auth::basic::hash_password(password)?);
    Ok(())
}

fn write_openapi(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for name in openapi::NAMES {
        let text = openapi::text(name)?.unwrap_or_default();
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn show_operations(view: View, options: &DebugOptions) -> Result<(), Box<dyn Error>> {
    telemetry::start(None);
    let operations = runtime()?.block_on(store::live_operations(&options.database.database_url.0))?;
    std::io::stdout().write_all(debug::show(view, &operations, options.json)?.as_bytes())?;
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn serve_until_signal(config: Config) -> Result<(), Box<dyn Error>> {
    let stop = Stop::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        for (token, message) in [(stopping.begun, "stopping"), (stopping.at_once, "stopping without delay")] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("{message}");
            token.cancel();
        }
    });
    let (role, scheme) = (config.options.role, config.options.tls.scheme());
    let simulated = if config.options.simulate { ", with a simulated VIM" } else { "" };
    let announce =
        move |address: SocketAddr| println!("gybe serves on {scheme}://{address} (role {role:?}{simulated})");
    app::run(config, stop, announce).await?;
    Ok(())
}
