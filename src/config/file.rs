//! The TOML file of `--config`. Its keys are the names of options, with underscores; those of `--nfvo-…` are in the table
//! `[nfvo]`, `[[client]]` tables describe clients, `[auth]` says how callers are authenticated, `[tenancy]` with
//! `[neutron_defaults]` which project a namespace belongs to, and `[quotas]` how much a project may have.
//!
//! [`ConfigFile::defaults_for`] makes its values the defaults of the command's options. So clap decides the precedence (command
//! line, environment, file, declared default) and one parser checks a value wherever it comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Args as _, Command};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::auth::AuthOptions;
use crate::config::clients::ClientOptions;
use crate::config::quotas::QuotaOptions;
use crate::config::tenancy::{NeutronDefaults, TenancyOptions};
use crate::config::{ConfigError, Options};

/// A configuration file that was read and whose values are valid.
pub struct ConfigFile {
    /// By the identifier of the option's argument, such as `nfvo_url`.
    values: BTreeMap<String, String>,
    /// Its tables that are no options of the command line.
    pub tables: Tables,
}

/// The tables that only a configuration file can have.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Tables {
    /// The `[[client]]` tables.
    #[serde(default, rename = "client")]
    pub clients: Vec<ClientOptions>,
    /// `[auth]`.
    #[serde(default)]
    pub auth: AuthOptions,
    /// `[tenancy]`.
    pub tenancy: Option<TenancyOptions>,
    /// `[neutron_defaults]`.
    #[serde(default)]
    pub neutron_defaults: NeutronDefaults,
    /// `[quotas]`.
    #[serde(default)]
    pub quotas: QuotaOptions,
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`]; [`ConfigError::Malformed`], with the line, for bad syntax, unknown keys and values that the
    /// option does not take.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// As [`read`](Self::read), from the `text` of that file.
    ///
    /// # Errors
    /// [`ConfigError::Malformed`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = SourceText { path, text };
        let toml = |error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            source.error(offset, error.message())
        };
        let tables = toml::from_str(text).map_err(toml)?;
        let document = DeTable::parse(text).map_err(toml)?;
        let mut file = Self { values: BTreeMap::new(), tables };
        for (key, value) in document.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("client" | "auth" | "tenancy" | "neutron_defaults" | "quotas", _) => {}
                ("nfvo", DeValue::Table(table)) => {
                    for (key, value) in table {
                        file.add(&source, &format!("nfvo_{}", key.get_ref()), key, value)?;
                    }
                }
                (name, _) => file.add(&source, name, key, value)?,
            }
        }
        Ok(file)
    }

    fn add(
        &mut self,
        source: &SourceText<'_>,
        id: &str,
        key: &Spanned<impl Sized>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        // Without the environment, so that an error is about this value.
        let command = Options::augment_args(Command::new("gybe").no_binary_name(true));
        let command = command.mut_args(|arg| arg.env(Resettable::Reset));
        // The file can't name another file.
        let arg = command.get_arguments().find(|arg| arg.get_id() == id && id != "config");
        let Some(option) = arg.and_then(|arg| arg.get_long()).map(str::to_owned) else {
            let name = id.strip_prefix("nfvo_").map_or_else(|| id.to_owned(), |rest| format!("nfvo.{rest}"));
            let text = format!("unknown key '{name}'; `gybe serve --help` lists the options, whose names are the keys");
            return Err(source.error(key.span().start, &text));
        };
        let Some(text) = argument(value.get_ref()) else {
            let text = format!("'{option}' must be a string, a number, a boolean or a list of strings");
            return Err(source.error(value.span().start, &text));
        };
        if let Err(error) = command.try_get_matches_from([format!("--{option}={text}")]) {
            return Err(source.error(value.span().start, &brief(&error)));
        }
        self.values.insert(id.to_owned(), text);
        Ok(())
    }

    /// `command`, and its subcommands, with the file's values as the defaults of the options that it has.
    #[must_use]
    pub fn defaults_for(&self, command: Command) -> Command {
        let command = command.mut_args(|arg| match self.values.get(arg.get_id().as_str()) {
            Some(value) => arg.default_value(value.clone()),
            None => arg,
        });
        command.mut_subcommands(|subcommand| self.defaults_for(subcommand))
    }

    /// Whether the file sets the option with the identifier `id`.
    pub fn sets(&self, id: &str) -> bool {
        self.values.contains_key(id)
    }
}

/// The text that errors are about.
struct SourceText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SourceText<'_> {
    fn error(&self, offset: usize, message: &str) -> ConfigError {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError::Malformed { path: PathBuf::from(self.path), line, message: message.to_owned() }
    }
}

/// The value as it would stand on the command line. Options that take several values split it at commas.
fn argument(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            items.collect::<Option<Vec<_>>>()?.join(",")
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

/// clap's message without its prefix, usage and hint.
fn brief(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}
