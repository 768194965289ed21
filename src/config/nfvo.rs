//! The part of the configuration that is about the NFVO that grants operations: `--nfvo-…`, or `[nfvo]` in the file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::config::{ConfigError, is_plain_url, public_url};
use crate::domain::interface::Edition;
use crate::domain::secret::Secret;
use crate::nfvo::client::{Credential, Settings};
use crate::outbound;

/// The environment's password, if there is no file with it.
const PASSWORD: &str = "GYBE_NFVO_PASSWORD";
/// A grant that takes longer than a week is none.
const WEEK: u64 = 7 * 24 * 3600;

/// What can be set about the NFVO.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NfvoOptions {
    /// Root, with its version, of the grant interface of an NFVO that is to grant every operation before anything is made,
    /// such as https://nfvo.example/grant/v1 [default: none, operations need no grant]
    #[arg(id = "nfvo_url", long = "nfvo-url", env = "GYBE_NFVO_URL")]
    pub url: Option<String>,
    /// The edition of SOL003 that the NFVO uses us by: the root its links to VNF instances lead to [default: v2]
    #[arg(id = "nfvo_edition", long = "nfvo-edition", env = "GYBE_NFVO_EDITION")]
    pub edition: Option<NfvoEdition>,
    /// Scheme, host and port by which the NFVO knows this VNFM: the beginning of the links that it is sent [default: --public-url]
    #[arg(id = "nfvo_public_url", long = "nfvo-public-url", env = "GYBE_NFVO_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Version of the grant interface, as requests name it [default: 1.4.0]
    #[arg(id = "nfvo_api_version", long = "nfvo-api-version", env = "GYBE_NFVO_API_VERSION")]
    pub api_version: Option<String>,
    /// User name (BASIC), or with --nfvo-token-endpoint client identifier (OAUTH2_CLIENT_CREDENTIALS), that the NFVO knows us by
    #[arg(id = "nfvo_user", long = "nfvo-user", env = "GYBE_NFVO_USER")]
    pub user: Option<String>,
    /// File with the password of --nfvo-user [default: the environment's GYBE_NFVO_PASSWORD]
    #[arg(id = "nfvo_password_file", long = "nfvo-password-file", env = "GYBE_NFVO_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// Where tokens for the NFVO are had
    #[arg(id = "nfvo_token_endpoint", long = "nfvo-token-endpoint", env = "GYBE_NFVO_TOKEN_ENDPOINT")]
    pub token_endpoint: Option<String>,
    /// PEM file of the authorities that the certificates of NFVO and token endpoint must be of [default: the system's]
    #[arg(id = "nfvo_ca_file", long = "nfvo-ca-file", env = "GYBE_NFVO_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate and its key that are shown to the NFVO [default: none]
    #[arg(id = "nfvo_certificate_file", long = "nfvo-certificate-file", env = "GYBE_NFVO_CERTIFICATE_FILE")]
    pub certificate_file: Option<PathBuf>,
    /// Seconds from an operation's acceptance in which the NFVO is to decide [default: 3600]
    #[arg(id = "nfvo_grant_timeout", long = "nfvo-grant-timeout", env = "GYBE_NFVO_GRANT_TIMEOUT")]
    pub grant_timeout: Option<u64>,
}

/// An edition of SOL003.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NfvoEdition {
    /// 2.6.1, `/vnflcm/v1`.
    V1,
    /// 3.3.1, `/vnflcm/v2`.
    V2,
}

/// The NFVO that grants operations.
#[derive(Clone, Debug)]
pub struct NfvoConfig {
    /// How it is reached.
    pub client: Settings,
    /// The edition whose API the links lead to that it is sent.
    pub edition: Edition,
    /// The beginning of these links, if it is another than for everybody.
    pub public_url: Option<String>,
    /// How long it is waited for.
    pub patience: Duration,
}

impl NfvoOptions {
    /// These options, and where they say nothing those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            url: self.url.or(other.url),
            edition: self.edition.or(other.edition),
            public_url: self.public_url.or(other.public_url),
            api_version: self.api_version.or(other.api_version),
            user: self.user.or(other.user),
            password_file: self.password_file.or(other.password_file),
            token_endpoint: self.token_endpoint.or(other.token_endpoint),
            ca_file: self.ca_file.or(other.ca_file),
            certificate_file: self.certificate_file.or(other.certificate_file),
            grant_timeout: self.grant_timeout.or(other.grant_timeout),
        }
    }

    /// The NFVO, if there is one; `allow_link_local` as for callbacks.
    ///
    /// # Errors
    /// [`ConfigError`], saying which settings and what to do.
    pub fn resolve(self, allow_link_local: bool) -> Result<Option<NfvoConfig>, ConfigError> {
        let unsound = |text: &str| ConfigError::Unsound(text.to_owned());
        let Some(url) = &self.url else {
            let others = [
                self.user.is_some(),
                self.public_url.is_some(),
                self.password_file.is_some(),
                self.token_endpoint.is_some(),
                self.ca_file.is_some(),
                self.certificate_file.is_some(),
            ];
            return if others.contains(&true) {
                Err(unsound("--nfvo-… is of no use without --nfvo-url"))
            } else {
                Ok(None)
            };
        };
        if !is_plain_url(url) || self.token_endpoint.as_ref().is_some_and(|endpoint| !is_plain_url(endpoint)) {
            let text = "--nfvo-url and --nfvo-token-endpoint must be http:// or https:// URLs without user, password and query";
            return Err(unsound(text));
        }
        let api_version = self.api_version.clone().unwrap_or_else(|| "1.4.0".to_owned());
        let parts: Vec<&str> = api_version.split('.').collect();
        if parts.len() != 3 || parts.iter().any(|part| part.parse::<u16>().is_err()) {
            return Err(unsound("--nfvo-api-version must be three numbers, such as 1.4.0"));
        }
        let grant_timeout = self.grant_timeout.unwrap_or(3600);
        if !(1..=WEEK).contains(&grant_timeout) {
            return Err(unsound("--nfvo-grant-timeout must be 1 to 604800 (a week)"));
        }
        let client = Settings {
            url: url.trim_end_matches('/').to_owned(),
            api_version,
            credential: self.credential()?,
            way: outbound::Settings {
                allow_link_local,
                ca_file: self.ca_file,
                certificate_file: self.certificate_file,
            },
        };
        let edition = match self.edition.unwrap_or(NfvoEdition::V2) {
            NfvoEdition::V1 => Edition::V1,
            NfvoEdition::V2 => Edition::V2,
        };
        let public_url = self.public_url.clone().map(public_url).transpose();
        let public_url = public_url.map_err(|text| ConfigError::Unsound(format!("--nfvo-{text}")))?;
        Ok(Some(NfvoConfig { client, edition, public_url, patience: Duration::from_secs(grant_timeout) }))
    }

    fn credential(&self) -> Result<Option<Credential>, ConfigError> {
        let unsound = |text: &str| ConfigError::Unsound(text.to_owned());
        let Some(user) = self.user.clone() else {
            return if self.password_file.is_some() || self.token_endpoint.is_some() {
                Err(unsound("--nfvo-password-file and --nfvo-token-endpoint need --nfvo-user"))
            } else {
                Ok(None)
            };
        };
        let password = match &self.password_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::UnreadableSecret { path: path.clone(), source })?,
            None => std::env::var(PASSWORD)
                .map_err(|_| unsound("--nfvo-user needs a password: set --nfvo-password-file or GYBE_NFVO_PASSWORD"))?,
        };
        // Editors end files with a line's end, which is part of no password.
        let password = Secret::new(password.trim_end_matches(['\r', '\n']));
        Ok(Some(Credential { user, password, token_endpoint: self.token_endpoint.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> NfvoOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_what_to_do() {
        for (text, said) in [
            ("user = 'gybe'", "without --nfvo-url"),
            ("url = 'nfvo/grant/v1'", "must be http://"),
            ("url = 'https://gybe:secret@nfvo/grant/v1'", "without user"),
            ("url = 'https://nfvo/grant/v1'\ntoken_endpoint = 'https://nfvo/token'", "need --nfvo-user"),
            ("url = 'https://nfvo/grant/v1'\nuser = 'gybe'\npassword_file = '/nonexistent'", "/nonexistent"),
            ("url = 'https://nfvo/grant/v1'\napi_version = '1.4'", "three numbers"),
            ("url = 'https://nfvo/grant/v1'\ngrant_timeout = 0", "1 to 604800"),
        ] {
            let refused = options(text).resolve(false).unwrap_err().to_string();
            assert!(refused.contains(said) && !refused.contains("secret"), "{text}: {refused}");
        }
        assert!(options("").resolve(false).unwrap().is_none());
    }

    #[test]
    fn the_password_is_a_file_s_first_line_and_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter22\n").unwrap();
        let text =
            format!("url = 'https://nfvo/grant/v1/'\nuser = 'gybe'\npassword_file = '{}'", file.path().display());
        let config = options(&text).resolve(false).unwrap().unwrap();
        assert_eq!(config.client.url, "https://nfvo/grant/v1");
        assert_eq!(config.client.credential.as_ref().unwrap().password.expose(), "hunter22");
        assert!(!format!("{config:#?}").contains("hunter22"));
    }
}
