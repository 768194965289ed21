//! Contexts: the servers that a person works with, in `~/.config/gybe/config.toml`, as kubectl has them.
//!
//! The file holds tokens, so only its owner may read it. It has nothing to do with the configuration file of `gybe serve`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::output::print;
use crate::cli::server::Server;
use crate::cli::{CliError, Exit};
use crate::domain::secret::Secret;

/// The server of a command that names none: that of `gybe serve` without options.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9890";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Which server a command works with.
#[derive(Args, Clone, Debug)]
pub struct ServerOptions {
    /// URL of the server. The token of a context is not sent to another server: set GYBE_TOKEN
    #[arg(long, value_name = "URL", env = "GYBE_SERVER")]
    pub server: Option<String>,
    /// PEM file with the authorities that the server's certificate is verified against. Default: those of the system
    #[arg(long, value_name = "FILE", env = "GYBE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The context to use. Default: the one of the last `gybe login` or `gybe context use`
    #[arg(long, value_name = "NAME", env = "GYBE_CONTEXT")]
    pub context: Option<String>,
}

/// One server, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Context {
    server: String,
    ca_file: Option<PathBuf>,
    token: Option<Secret>,
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Contexts {
    current_context: Option<String>,
    contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// The file of `GYBE_CLIENT_CONFIG`, else `$XDG_CONFIG_HOME/gybe/config.toml`, else `~/.config/gybe/config.toml`.
    fn path() -> Result<PathBuf, CliError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = variable("GYBE_CLIENT_CONFIG") {
            return Ok(path);
        }
        let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
        let folder = folder.ok_or_else(|| CliError::usage("neither HOME nor GYBE_CLIENT_CONFIG is set; set one"))?;
        Ok(folder.join("gybe/config.toml"))
    }

    fn read() -> Result<Self, CliError> {
        let path = Self::path()?;
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::file(&path, "read", &error)),
        };
        let mode = file.metadata().map_err(|error| CliError::file(&path, "read", &error))?.mode();
        if mode & 0o077 != 0 {
            let shown = path.display();
            return Err(CliError::usage(format!("{shown} holds tokens and others may read it: chmod 600 {shown}")));
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| CliError::file(&path, "read", &error))?;
        // The message of the parser quotes the line, which may be that of a token.
        let wrong = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            CliError::usage(format!("{}:{line}: {}", path.display(), error.message()))
        };
        toml::from_str(&text).map_err(wrong)
    }

    fn write(&self) -> Result<(), CliError> {
        let path = Self::path()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| CliError::file(folder, "made", &error))?;
        let new = path.with_extension("new");
        let write = || {
            let _ = std::fs::remove_file(&new);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| CliError::file(&path, "written", &error))
    }

    fn text(&self) -> String {
        // A text of JSON is one of TOML.
        let quoted = |text: &str| Value::from(text).to_string();
        let mut text = String::new();
        if let Some(current) = &self.current_context {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "current-context = {}", quoted(current));
        }
        for (name, context) in &self.contexts {
            let _ = writeln!(text, "\n[contexts.{}]\nserver = {}", quoted(name), quoted(&context.server));
            if let Some(file) = &context.ca_file {
                let _ = writeln!(text, "ca-file = {}", quoted(&file.to_string_lossy()));
            }
            if let Some(token) = &context.token {
                let _ = writeln!(text, "token = {}", quoted(token.expose()));
            }
        }
        text
    }

    fn get(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            CliError::usage(format!(
                "there is no context '{name}'; there is: {known}. Make one: gybe login --context {name}"
            ))
        })
    }
}

impl ServerOptions {
    /// The server to work with. Options come first, then the environment, then the context.
    ///
    /// # Errors
    /// There is no such context, or the URL or a file can't be used.
    pub fn connect(&self) -> Result<Server, CliError> {
        let contexts = Contexts::read()?;
        // The token of a context is for its server alone.
        let is_for = |name: &&str| {
            self.server.is_none() || contexts.contexts.get(*name).map(|it| &it.server) == self.server.as_ref()
        };
        let named = self.context.as_deref().or(contexts.current_context.as_deref().filter(is_for));
        let context = named.map(|name| contexts.get(name)).transpose()?;
        let url = self.server.as_deref().or(context.map(|it| it.server.as_str())).unwrap_or(DEFAULT_SERVER);
        let own = context.filter(|context| context.server == url);
        let token = match std::env::var("GYBE_TOKEN") {
            Ok(token) if !token.is_empty() => Some(Secret::new(token)),
            _ => own.and_then(|context| context.token.clone()),
        };
        let ca_file = self.ca_file.clone().or_else(|| own?.ca_file.clone());
        Server::new(url, ca_file.as_deref(), token.as_ref())
    }
}

/// `gybe login`.
#[derive(Args)]
pub struct Login {
    #[command(flatten)]
    at: ServerOptions,
    /// File with the token in its first line. Default: the standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Login {
    /// Checks the credential with the server, and keeps both in the context, which becomes the current one.
    ///
    /// # Errors
    /// The server does not take the credential; the file can't be written.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let server = self.at.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let token = self.token()?;
        let ca_file = self.at.ca_file.as_deref().map(std::path::absolute).transpose();
        let ca_file = ca_file.map_err(|error| CliError::usage(format!("the current folder is unknown: {error}")))?;
        Server::new(&server, ca_file.as_deref(), token.as_ref())?.get("/v1.0/vims?fields=id").await?;
        let name = self.at.context.clone().unwrap_or_else(|| "default".to_owned());
        let mut contexts = Contexts::read()?;
        contexts.contexts.insert(name.clone(), Context { server: server.clone(), ca_file, token });
        contexts.current_context = Some(name.clone());
        contexts.write()?;
        print(&format!("context '{name}' is {server}\n"))?;
        Ok(Exit::Done)
    }

    fn token(&self) -> Result<Option<Secret>, CliError> {
        let mut line = String::new();
        match &self.token_file {
            Some(path) => {
                let file = std::fs::File::open(path).map_err(|error| CliError::file(path, "read", &error))?;
                let read = io::BufReader::new(file.take(MAX_FILE)).read_line(&mut line);
                read.map_err(|error| CliError::file(path, "read", &error))?;
                if line.trim() == "[[token]]" {
                    let shown = path.display();
                    return Err(CliError::usage(format!(
                        "{shown} is a file of 'gybe serve --token-file', with a table for each token; give the value of one `token` in a file of its own, or paste it"
                    )));
                }
            }
            None => {
                if io::stdin().is_terminal() {
                    eprint!(
                        "Token, as `gybe login < FILE` reads it, too (it is shown while you type; nothing: no token): "
                    );
                }
                let read = io::stdin().lock().take(MAX_FILE).read_line(&mut line);
                read.map_err(|error| CliError::usage(format!("the token can't be read: {error}")))?;
            }
        }
        Ok(Some(line.trim()).filter(|token| !token.is_empty()).map(Secret::new))
    }
}

/// `gybe context`.
#[derive(Subcommand)]
pub enum ContextCommand {
    /// List the contexts; the current one has a star
    List,
    /// Use a context from now on
    Use {
        /// Its name
        name: String,
    },
    /// Forget a context, with its token
    Delete {
        /// Its name
        name: String,
    },
}

impl ContextCommand {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such context; the file can't be read or written.
    pub fn run(&self) -> Result<Exit, CliError> {
        let mut contexts = Contexts::read()?;
        match self {
            Self::List => {
                for (name, context) in &contexts.contexts {
                    let star = if contexts.current_context.as_ref() == Some(name) { '*' } else { ' ' };
                    print(&format!("{star} {name}  {}\n", context.server))?;
                }
                return Ok(Exit::Done);
            }
            Self::Use { name } => {
                contexts.get(name)?;
                contexts.current_context = Some(name.clone());
            }
            Self::Delete { name } => {
                contexts.get(name)?;
                contexts.contexts.remove(name);
                contexts.current_context = contexts.current_context.filter(|current| current != name);
            }
        }
        contexts.write()?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_as_they_were_written() {
        let context = Context {
            server: "https://a".to_owned(),
            ca_file: Some("/a \"b\".pem".into()),
            token: Some(Secret::new("t\\\"\u{1f}")),
        };
        let contexts = Contexts {
            current_context: Some("a.b \"c\"".to_owned()),
            contexts: BTreeMap::from([("a.b \"c\"".to_owned(), context)]),
        };
        let read: Contexts = toml::from_str(&contexts.text()).unwrap();
        let (name, read_context) = read.contexts.first_key_value().unwrap();
        assert_eq!(read.current_context.as_ref(), Some(name));
        let context = &contexts.contexts[name];
        assert_eq!((&read_context.server, &read_context.ca_file), (&context.server, &context.ca_file));
        assert_eq!(read_context.token, context.token);
    }
}
