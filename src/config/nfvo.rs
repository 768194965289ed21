//! The options for the NFVO that grants operations: `--nfvo-…`, or `[nfvo]` in the configuration file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::ConfigError;
use crate::config::clients::Client;
use crate::config::values::{WEEK, plain_url, seconds, version};
use crate::domain::interface::Edition;
use crate::domain::secret::Secret;
use crate::nfvo::client::{Credential, NfvoEndpoint};
use crate::outbound::OutboundConfig;
use crate::outbound::address::AddressRules;

/// Environment variable with the password, for use without a file.
const PASSWORD: &str = "GYBE_NFVO_PASSWORD";

// Identifiers of arguments are unique in a command, so each field needs its prefix in `id` and `long`.
#[derive(Args, Clone, Debug)]
pub struct NfvoOptions {
    /// Root, with its version, of the grant interface of the NFVO that grants every operation, such as
    /// https://nfvo.example/grant/v1 [default: none, operations need no grant]
    #[arg(id = "nfvo_url", long = "nfvo-url", value_name = "URL", env = "GYBE_NFVO_URL", value_parser = plain_url())]
    pub url: Option<String>,
    /// Edition of SOL003 through which the NFVO uses Gybe: links in grant requests lead to /vnflcm/v1 or /vnflcm/v2
    #[arg(id = "nfvo_edition", long = "nfvo-edition", env = "GYBE_NFVO_EDITION")]
    #[arg(value_enum, default_value_t = NfvoEdition::V2)]
    pub edition: NfvoEdition,
    /// Name of the [[client]] table that describes the NFVO: links in grant requests begin with its public_url
    /// [default: none, they begin with --public-url]
    #[arg(id = "nfvo_client", long = "nfvo-client", value_name = "NAME", env = "GYBE_NFVO_CLIENT")]
    pub client: Option<String>,
    /// Version of the grant interface, for the Version header of requests
    #[arg(id = "nfvo_api_version", long = "nfvo-api-version", value_name = "VERSION", env = "GYBE_NFVO_API_VERSION")]
    #[arg(default_value = "1.4.0", value_parser = version)]
    pub api_version: String,
    /// User name for HTTP Basic; with --nfvo-token-endpoint the client identifier for OAuth 2.0 client credentials
    #[arg(id = "nfvo_user", long = "nfvo-user", value_name = "NAME", env = "GYBE_NFVO_USER")]
    pub user: Option<String>,
    /// File with the password of --nfvo-user [default: the environment variable GYBE_NFVO_PASSWORD]
    #[arg(
        id = "nfvo_password_file",
        long = "nfvo-password-file",
        value_name = "FILE",
        env = "GYBE_NFVO_PASSWORD_FILE"
    )]
    pub password_file: Option<PathBuf>,
    /// OAuth 2.0 token endpoint of the NFVO
    #[arg(id = "nfvo_token_endpoint", long = "nfvo-token-endpoint", value_name = "URL")]
    #[arg(env = "GYBE_NFVO_TOKEN_ENDPOINT", value_parser = plain_url())]
    pub token_endpoint: Option<String>,
    /// PEM file of the certificate authorities of the NFVO and its token endpoint [default: --outbound-ca-file]
    #[arg(id = "nfvo_ca_file", long = "nfvo-ca-file", value_name = "FILE", env = "GYBE_NFVO_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate, and its key, for the NFVO [default: --outbound-certificate-file]
    #[arg(id = "nfvo_certificate_file", long = "nfvo-certificate-file", value_name = "FILE")]
    #[arg(env = "GYBE_NFVO_CERTIFICATE_FILE")]
    pub certificate_file: Option<PathBuf>,
    /// Seconds, from the acceptance of an operation, within which the NFVO must decide
    #[arg(id = "nfvo_grant_timeout", long = "nfvo-grant-timeout", value_name = "SECONDS")]
    #[arg(env = "GYBE_NFVO_GRANT_TIMEOUT", default_value = "3600", value_parser = seconds(1..=WEEK))]
    pub grant_timeout: Duration,
}

/// An edition of SOL003.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NfvoEdition {
    /// 2.6.1, `/vnflcm/v1`.
    V1,
    /// 3.3.1, `/vnflcm/v2`.
    V2,
}

/// The NFVO that grants operations.
#[derive(Clone, Debug)]
pub struct NfvoConfig {
    pub endpoint: NfvoEndpoint,
    /// The edition of the API that links in grant requests lead to.
    pub edition: Edition,
    /// The start of these links; `None`: the same as for all clients.
    pub public_url: Option<String>,
    /// From the acceptance of an operation to the NFVO's decision.
    pub grant_timeout: Duration,
}

impl NfvoOptions {
    /// The NFVO, if there is one. What these options leave open follows `outbound`, and its links those of its client.
    ///
    /// # Errors
    /// [`ConfigError`], which names the options and what to do.
    pub fn resolve(&self, outbound: &OutboundConfig, clients: &[Client]) -> Result<Option<NfvoConfig>, ConfigError> {
        let Some(url) = &self.url else { return self.refuse_all().map(|()| None) };
        let public_url = match &self.client {
            Some(name) => {
                let client = clients.iter().find(|client| client.name == *name);
                let unknown = || inconsistent(&format!("--nfvo-client '{name}' is not the name of a [[client]] table"));
                client.ok_or_else(unknown)?.public_url.clone()
            }
            None => None,
        };
        let endpoint = NfvoEndpoint {
            url: url.clone(),
            api_version: self.api_version.clone(),
            credential: self.credential()?,
            outbound: OutboundConfig {
                // The operator names the NFVO, wherever it is.
                addresses: AddressRules {
                    allow_link_local: outbound.addresses.allow_link_local,
                    ..AddressRules::default()
                },
                ca_file: self.ca_file.clone().or_else(|| outbound.ca_file.clone()),
                certificate_file: self.certificate_file.clone().or_else(|| outbound.certificate_file.clone()),
            },
        };
        let edition = match self.edition {
            NfvoEdition::V1 => Edition::V1,
            NfvoEdition::V2 => Edition::V2,
        };
        Ok(Some(NfvoConfig { endpoint, edition, public_url, grant_timeout: self.grant_timeout }))
    }

    /// Without an NFVO no option may be set that only makes sense with one.
    fn refuse_all(&self) -> Result<(), ConfigError> {
        let set = [
            ("client", self.client.is_some()),
            ("user", self.user.is_some()),
            ("password-file", self.password_file.is_some()),
            ("token-endpoint", self.token_endpoint.is_some()),
            ("ca-file", self.ca_file.is_some()),
            ("certificate-file", self.certificate_file.is_some()),
        ];
        match set.into_iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => {
                Err(inconsistent(&format!("--nfvo-{name} has no effect without --nfvo-url: set both or none")))
            }
            None => Ok(()),
        }
    }

    fn credential(&self) -> Result<Option<Credential>, ConfigError> {
        let Some(user) = self.user.clone() else {
            return if self.password_file.is_some() || self.token_endpoint.is_some() {
                Err(inconsistent("--nfvo-password-file and --nfvo-token-endpoint need --nfvo-user"))
            } else {
                Ok(None)
            };
        };
        let password = match &self.password_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::UnreadableSecret { path: path.clone(), source })?,
            None => std::env::var(PASSWORD).map_err(|_| {
                inconsistent("--nfvo-user needs a password: set --nfvo-password-file or GYBE_NFVO_PASSWORD")
            })?,
        };
        // Editors end files with a line break, which is not part of the password.
        let password = Secret::new(password.trim_end_matches(['\r', '\n']));
        Ok(Some(Credential { user, password, token_endpoint: self.token_endpoint.clone() }))
    }
}

fn inconsistent(text: &str) -> ConfigError {
    ConfigError::Inconsistent(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::config;

    #[test]
    fn refuses_inconsistent_options_and_says_what_to_do() {
        for (table, expected) in [
            ("user = 'gybe'", "--nfvo-user has no effect without --nfvo-url"),
            ("url = 'nfvo/grant/v1'", "must be an http://"),
            ("url = 'https://gybe:secret@nfvo/grant/v1'", "without user"),
            ("url = 'https://nfvo/grant/v1'\ntoken_endpoint = 'https://nfvo/token'", "need --nfvo-user"),
            ("url = 'https://nfvo/grant/v1'\nuser = 'gybe'\npassword_file = '/nonexistent'", "/nonexistent"),
            ("url = 'https://nfvo/grant/v1'\napi_version = '1.4'", "three numbers"),
            ("url = 'https://nfvo/grant/v1'\ngrant_timeout = 0", "from 1 to 604800"),
            ("url = 'https://nfvo/grant/v1'\nclient = 'so'", "--nfvo-client 'so' is not the name"),
        ] {
            let error = config(&[], &format!("[nfvo]\n{table}")).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{table}: {error}");
        }
        assert!(config(&[], "").unwrap().nfvo.is_none());
    }

    #[test]
    fn reads_the_password_from_the_file_and_does_not_show_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter22\n").unwrap();
        let path = file.path().display();
        let text = format!("[nfvo]\nurl = 'https://nfvo/grant/v1/'\nuser = 'gybe'\npassword_file = '{path}'");
        let config = config(&[], &text).unwrap();
        let endpoint = &config.nfvo.as_ref().unwrap().endpoint;
        assert_eq!(endpoint.url, "https://nfvo/grant/v1");
        assert_eq!(endpoint.credential.as_ref().unwrap().password.expose(), "hunter22");
        assert!(!format!("{config:#?}").contains("hunter22"));
    }

    #[test]
    fn takes_links_from_its_client_and_files_from_the_outbound_options() {
        let text = r#"
            public_url = "https://vnfm.example"
            outbound_ca_file = "all.pem"
            outbound_certificate_file = "all.pem"
            [nfvo]
            url = "https://nfvo/grant/v1"
            client = "so"
            ca_file = "nfvo.pem"
            [[client]]
            name = "so"
            public_url = "http://inside:9890/"
        "#;
        let nfvo = config(&[], text).unwrap().nfvo.unwrap();
        assert_eq!(nfvo.public_url.as_deref(), Some("http://inside:9890"));
        assert_eq!(nfvo.endpoint.outbound.ca_file.unwrap().to_str(), Some("nfvo.pem"));
        assert_eq!(nfvo.endpoint.outbound.certificate_file.unwrap().to_str(), Some("all.pem"));
    }
}
