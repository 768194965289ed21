//! Arguments that the commands of several nouns have.

use clap::Args;

use crate::cli::contexts::ServerOptions;
use crate::cli::output::OutputOptions;

/// A list.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub at: ServerOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// One thing.
#[derive(Args)]
pub struct Named {
    /// Name or id
    pub name: String,
    #[command(flatten)]
    pub at: ServerOptions,
}

/// One thing that is shown.
#[derive(Args)]
pub struct Shown {
    /// Name or id
    pub name: String,
    #[command(flatten)]
    pub at: ServerOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}
