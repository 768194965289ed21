//! `gybe vim …`: the clusters of VNFs.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::arguments::{List, Named};
use crate::cli::contexts::ServerOptions;
use crate::cli::find;
use crate::cli::kubeconfig;
use crate::cli::output::{print, rows, table, text_at};
use crate::cli::rbac::Rbac;
use crate::cli::server::Server;
use crate::cli::{CliError, Exit};

/// The commands for VIMs.
#[derive(Subcommand)]
pub enum VimCommand {
    /// Register a cluster
    Add(Add),
    /// List the VIMs
    List(List),
    /// Ask a VIM whether it takes its credential
    Check(Named),
    /// Give a VIM a new credential, which the server tries before it keeps it
    Rotate(Rotate),
    /// Remove a VIM that no VNF uses
    Delete(Named),
    /// Print the ServiceAccount, Role and RoleBinding that a VIM's credential needs in a namespace
    Rbac(Rbac),
}

#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).args(["kubeconfig", "url"])))]
pub struct Add {
    /// Name
    name: String,
    /// A file with server, authorities and credential, as kubectl has it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the file. Default: its current one
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    kube_context: Option<String>,
    /// URL of the API server
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<String>,
    /// File with a token of a ServiceAccount in its first line
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// PEM file with the authorities of the API server
    #[arg(long, value_name = "FILE", requires = "url")]
    vim_ca_file: Option<PathBuf>,
    /// Requests that name no VIM use this one
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    at: ServerOptions,
}

#[derive(Args)]
#[command(group(ArgGroup::new("credential").required(true).args(["kubeconfig", "token_file"])))]
pub struct Rotate {
    /// Name or id
    name: String,
    /// A file of kubectl for the same API server: its credential and authorities
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the file. Default: its current one
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    kube_context: Option<String>,
    /// File with a token of a ServiceAccount in its first line
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with new authorities of the API server
    #[arg(long, value_name = "FILE", requires = "token_file")]
    vim_ca_file: Option<PathBuf>,
    #[command(flatten)]
    at: ServerOptions,
}

/// Runs a command.
///
/// # Errors
/// As the server answers.
pub async fn run(command: &VimCommand) -> Result<Exit, CliError> {
    match command {
        VimCommand::Add(arguments) => add(arguments).await,
        VimCommand::List(list) => {
            let vims = find::vims(&list.at.connect()?, "").await?;
            list.output.show(&Value::Array(vims), |vims| {
                let columns = ["/name", "/status", "/is_default", "/auth_url", "/credential_expires_at", "/id"];
                table(&["NAME", "STATUS", "DEFAULT", "URL", "CREDENTIAL ENDS", "ID"], &rows(vims, &columns))
            })?;
            Ok(Exit::Done)
        }
        VimCommand::Check(named) => {
            let server = named.at.connect()?;
            let id = find::vim(&server, &named.name).await?;
            // A change of nothing: the server asks the cluster who the credential is.
            identify(&server, &id, &Map::new()).await
        }
        VimCommand::Rotate(arguments) => rotate(arguments).await,
        VimCommand::Delete(named) => {
            let server = named.at.connect()?;
            let id = find::vim(&server, &named.name).await?;
            server.delete(&format!("/v1.0/vims/{id}")).await?;
            print(&format!("{id} deleted\n"))?;
            Ok(Exit::Done)
        }
        VimCommand::Rbac(rbac) => rbac.run(),
    }
}

async fn add(arguments: &Add) -> Result<Exit, CliError> {
    let (url, credential) = match (&arguments.kubeconfig, &arguments.url) {
        (Some(path), _) => kubeconfig::read(path, arguments.kube_context.as_deref())?,
        (None, url) => {
            let credential = credential(arguments.token_file.as_deref(), arguments.vim_ca_file.as_deref())?;
            (url.clone().unwrap_or_default(), credential)
        }
    };
    let vim = json!({
        "type": "kubernetes", "name": arguments.name, "auth_url": url, "auth_cred": credential,
        "vim_project": { "name": "default" }, "is_default": arguments.default,
    });
    let added = arguments.at.connect()?.post("/v1.0/vims", &json!({ "vim": vim })).await?.body;
    let user = text_at(&added, "/vim/auth_cred/user_name");
    print(&format!("VIM {} ({}): {url} as {user}\n", arguments.name, text_at(&added, "/vim/id")))?;
    Ok(Exit::Done)
}

async fn rotate(arguments: &Rotate) -> Result<Exit, CliError> {
    let server = arguments.at.connect()?;
    let id = find::vim(&server, &arguments.name).await?;
    let new = match &arguments.kubeconfig {
        Some(path) => {
            let (url, credential) = kubeconfig::read(path, arguments.kube_context.as_deref())?;
            let known = text_at(&server.get(&format!("/v1.0/vims/{id}")).await?.body, "/vim/auth_url");
            if url.trim_end_matches('/') != known.trim_end_matches('/') {
                let shown = path.display();
                return Err(CliError::usage(format!(
                    "{shown} is for {url}, and the VIM '{}' is {known}; name a file for this server, or give a token with --token-file",
                    arguments.name
                )));
            }
            credential
        }
        None => credential(arguments.token_file.as_deref(), arguments.vim_ca_file.as_deref())?,
    };
    identify(&server, &id, &new).await
}

/// Sends what changes of a credential, and prints whom the cluster sees. A credential that it refuses is not kept.
async fn identify(server: &Server, id: &str, credential: &Map<String, Value>) -> Result<Exit, CliError> {
    let body = json!({ "vim": { "auth_cred": credential } });
    let vim = server.put(&format!("/v1.0/vims/{id}"), &body).await?.body;
    let (user, ends) = (text_at(&vim, "/vim/auth_cred/user_name"), text_at(&vim, "/vim/credential_expires_at"));
    let ends = if ends.is_empty() { ends } else { format!(" until {ends}") };
    print(&format!("{} takes the credential of {user}{ends}\n", text_at(&vim, "/vim/auth_url")))?;
    Ok(Exit::Done)
}

fn credential(token: Option<&Path>, authorities: Option<&Path>) -> Result<Map<String, Value>, CliError> {
    let mut credential = Map::new();
    if let Some(path) = token {
        let token = kubeconfig::bounded(path)?.lines().next().unwrap_or_default().trim().to_owned();
        credential.insert("bearer_token".to_owned(), token.into());
    }
    if let Some(path) = authorities {
        credential.insert("ssl_ca_cert".to_owned(), kubeconfig::bounded(path)?.into());
    }
    Ok(credential)
}
