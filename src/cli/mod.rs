//! `gybe` as a tool of the people who work with it: packages on their own machine, and a client of a server.
//!
//! `main` calls [`run`]. A file per subject. On files: [`package`] has the commands, [`init`] makes a package from manifests, [`build`]
//! packs a folder, [`lint`] finds what is wrong with a package, `needs` what it needs. With a server: `contexts` knows which one,
//! `server` sends requests, `find` resolves names, `plan` begins or previews tasks, `wait` waits for operations, `events` reads the stream of
//! events; `vnf` (with `tasks` and `undo`), `op`, `vim`, `run` and `follow` have the commands.
//! Nothing of a server uses this module.

mod arguments;
mod ask;
pub mod build;
mod contexts;
mod error;
mod events;
mod find;
mod folder;
mod follow;
pub mod init;
mod kubeconfig;
pub mod lint;
mod needs;
mod op;
mod output;
pub mod package;
mod plan;
mod rbac;
mod run;
mod scratch;
mod server;
mod tasks;
mod undo;
mod vim;
mod vnf;
mod wait;
mod yaml;

use std::process::ExitCode;

use clap::Subcommand;

use contexts::{ContextCommand, Login};
pub use error::{CliError, Exit};
use follow::Follow;
use op::OpCommand;
use package::PackageCommand;
use run::Run;
use vim::VimCommand;
use vnf::VnfCommand;

/// The commands for people.
#[derive(Subcommand)]
pub enum ToolCommand {
    /// Bring a folder of manifests, or a package, to a running VNF
    Run(Run),
    /// VNFs: list, get, run, scale, heal, diff, sync, change, stop, start, undo, history, terminate, delete
    #[command(subcommand)]
    Vnf(VnfCommand),
    /// Operations: list, get, watch, retry, rollback, fail, cancel
    #[command(subcommand)]
    Op(OpCommand),
    /// Packages: init, lint, build, push, list, delete
    #[command(subcommand)]
    Package(PackageCommand),
    /// Clusters: add, list, check, rotate, delete, rbac
    #[command(subcommand)]
    Vim(VimCommand),
    /// What changes on the server, as it changes: operations and their steps, VNFs, packages, VIMs
    Events(Follow),
    /// Keep a server and a token, which later commands use
    Login(Login),
    /// The servers of `gybe login`: list, use, delete
    #[command(subcommand)]
    Context(ContextCommand),
}

/// Runs a command and returns the exit code. Prints an error to the standard error.
pub fn run(command: &ToolCommand) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(execute(command)),
        Err(error) => Err(CliError::usage(format!("this machine has no room for the command: {error}"))),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("gybe: {error}");
            error.exit.into()
        }
    }
}

async fn execute(command: &ToolCommand) -> Result<Exit, CliError> {
    match command {
        ToolCommand::Run(run) => run.run().await,
        ToolCommand::Vnf(command) => vnf::run(command).await,
        ToolCommand::Op(command) => op::run(command).await,
        ToolCommand::Package(command) => package::run(command).await,
        ToolCommand::Vim(command) => vim::run(command).await,
        ToolCommand::Events(follow) => follow.run().await,
        ToolCommand::Login(login) => login.run().await,
        ToolCommand::Context(command) => command.run(),
    }
}
