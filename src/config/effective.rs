//! The effective configuration, as `gybe check-config` prints it: a configuration file that leads to the same, with the source of
//! each value. Passwords and other secrets are not in it.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, Command, ValueEnum as _};

use crate::config::clients::{Client, Header};
use crate::config::file::ConfigFile;
use crate::config::quotas::OPTIONS;
use crate::config::tenancy::{TenancyConfig, VerifyProject};
use crate::config::{Config, Options};
use crate::domain::caller::AuthMethod;
use crate::domain::op_occ::{Remedy, Unattended};
use crate::domain::quota::Limit;

/// The text for `config`, which was made of `matches` and `file`.
pub fn describe(config: &Config, matches: &ArgMatches, file: Option<&ConfigFile>) -> String {
    let mut text = String::new();
    let command = Options::augment_args(Command::new("gybe"));
    for arg in command.get_arguments().filter(|arg| arg.get_id() != "config") {
        let id = arg.get_id().as_str();
        let key = id.strip_prefix("nfvo_").map_or_else(|| id.to_owned(), |rest| format!("nfvo.{rest}"));
        let Ok(Some(values)) = matches.try_get_raw(id) else {
            line(&mut text, &format!("# {key} is not set"));
            continue;
        };
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        let value = match id {
            "database_url" => toml_value(&config.options.database.database_url.without_secrets()),
            _ => toml_value(&values.join(",")),
        };
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ if file.is_some_and(|file| file.sets(id)) => "file",
            _ => "default",
        };
        line(&mut text, &format!("{key} = {value}  # {source}"));
    }
    if let Some(nfvo) = &config.nfvo {
        line(&mut text, &format!("# Authentication at the NFVO: {}", nfvo.endpoint.authentication()));
    }
    line(&mut text, &format!("# Authentication of callers: {}", authentication(config)));
    describe_projects(&mut text, config);
    for client in &config.clients {
        describe_client(&mut text, client);
    }
    text
}

/// The methods by which callers are authenticated. Their tables have secrets and are not shown.
fn authentication(config: &Config) -> String {
    let tokens = config.options.token_file.is_some().then_some(AuthMethod::Token);
    let methods = tokens.into_iter().chain(config.auth.methods());
    let names: Vec<&str> = methods.map(AuthMethod::as_str).collect();
    if names.is_empty() { "none, loopback only".to_owned() } else { names.join(", ") }
}

/// The tables about projects: whose namespaces are, and how much a project may have.
fn describe_projects(text: &mut String, config: &Config) {
    if let Some(TenancyConfig { rules, verify_project }) = &config.tenancy {
        let verify_project = match verify_project {
            VerifyProject::Keystone => "keystone",
            VerifyProject::Off => "off",
        };
        line(text, "");
        line(text, "[tenancy]");
        line(text, &format!("project_annotation = {}", quoted(&rules.annotation)));
        line(text, &format!("verify_project = {}", quoted(verify_project)));
        if let Some(project) = &rules.default_project {
            line(text, "");
            line(text, "[neutron_defaults]");
            line(text, &format!("project = {}", quoted(&project.0)));
        }
    }
    line(text, "");
    line(text, "[quotas]");
    for (option, limit) in OPTIONS.into_iter().zip(config.quotas.0) {
        let number = match limit {
            Limit::Unlimited => "-1".to_owned(),
            Limit::AtMost(number) => number.to_string(),
        };
        line(text, &format!("{option} = {number}"));
    }
}

fn describe_client(text: &mut String, client: &Client) {
    line(text, "");
    line(text, "[[client]]");
    let mut set = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            line(text, &format!("{key} = {value}"));
        }
    };
    let profile = &client.profile;
    set("name", Some(quoted(&client.name)));
    // The value may be known to the proxy alone.
    let header = |header: &Header| format!("{{ name = {}, value = \"***\" }}", quoted(&header.name));
    set("header", client.header.as_ref().map(header));
    set("user", client.user.as_deref().map(quoted));
    set("network", client.network.map(|network| quoted(&network.to_string())));
    set("public_url", client.public_url.as_deref().map(quoted));
    set("page_size", Some(client.page_size.to_string()));
    let callback_test = client.callback_test.to_possible_value();
    set("callback_test", callback_test.map(|value| quoted(value.get_name())));
    set("version_required", Some(profile.version_required.to_string()));
    set("error_type", Some(quoted(profile.error_type.as_str())));
    set("full_v1_lists", Some(profile.full_v1_lists.to_string()));
    set("vims_by_name", Some(profile.vims_by_name.to_string()));
    let seconds = |time: Option<std::time::Duration>| {
        Some(time.map_or_else(|| quoted("never"), |time| time.as_secs().to_string()))
    };
    set("unattended_after", seconds(profile.unattended.map(|unattended| unattended.after)));
    let remedy = |unattended: Unattended| match unattended.remedy {
        Remedy::Rollback => quoted("rollback"),
        Remedy::Fail => quoted("fail"),
    };
    set("unattended_remedy", profile.unattended.map(remedy));
    set("orphan_subscriptions_after", seconds(profile.orphan_grace));
}

/// The value in TOML: numbers and booleans as they are.
fn toml_value(text: &str) -> String {
    if text.parse::<u64>().is_ok() || text.parse::<bool>().is_ok() {
        return text.to_owned();
    }
    quoted(text)
}

/// A basic string of TOML has the escapes of JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn line(text: &mut String, line: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}
