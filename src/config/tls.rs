//! The options for HTTPS: `--tls-…`.

use std::path::PathBuf;

use clap::Args;

use crate::auth::AuthOptions;
use crate::config::ConfigError;

// Identifiers of arguments are unique in a command, so each field needs its prefix in `id` and `long`.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM file with the certificate chain, and its key, of the API, which is then served over HTTPS alone. A changed file is read
    /// again without a restart [default: none, HTTP]
    #[arg(id = "tls_certificate_file", long = "tls-certificate-file", value_name = "FILE")]
    #[arg(env = "GYBE_TLS_CERTIFICATE_FILE")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file of the certificate authorities of clients' certificates. A client needs a certificate only if there is no other
    /// method of authentication [default: none, no client certificates]
    #[arg(id = "tls_client_ca_file", long = "tls-client-ca-file", value_name = "FILE")]
    #[arg(env = "GYBE_TLS_CLIENT_CA_FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// PEM file with the revocation lists of all authorities that issue clients' certificates [default: none, nothing is revoked]
    #[arg(id = "tls_client_crl_file", long = "tls-client-crl-file", value_name = "FILE")]
    #[arg(env = "GYBE_TLS_CLIENT_CRL_FILE")]
    pub client_crl_file: Option<PathBuf>,
}

impl TlsOptions {
    /// `https` or `http`.
    pub const fn scheme(&self) -> &'static str {
        if self.certificate_file.is_some() { "https" } else { "http" }
    }

    /// Checks the options together, and with the methods that need them.
    ///
    /// # Errors
    /// [`ConfigError::Inconsistent`].
    pub fn check(&self, auth: &AuthOptions) -> Result<(), ConfigError> {
        let needs = [
            (
                self.client_ca_file.is_some(),
                "--tls-client-ca-file",
                self.certificate_file.is_some(),
                "--tls-certificate-file",
            ),
            (
                self.client_crl_file.is_some(),
                "--tls-client-crl-file",
                self.client_ca_file.is_some(),
                "--tls-client-ca-file",
            ),
            (auth.certificate.is_some(), "[auth.certificate]", self.client_ca_file.is_some(), "--tls-client-ca-file"),
        ];
        match needs.into_iter().find(|(is_set, _, is_possible, _)| *is_set && !is_possible) {
            Some((_, what, _, needed)) => {
                Err(ConfigError::Inconsistent(format!("{what} has no effect without {needed}: set both or none")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::config;

    #[test]
    fn options_need_each_other() {
        for (arguments, expected) in [
            (&["--tls-client-ca-file", "a"][..], "--tls-client-ca-file has no effect without --tls-certificate-file"),
            (
                &["--tls-certificate-file", "a", "--tls-client-crl-file", "b"],
                "--tls-client-crl-file has no effect without --tls-client-ca-file",
            ),
        ] {
            let error = config(arguments, "").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let table = "[[auth.certificate.identity]]\nsan = 'so.example'\nrole = 'member'";
        let error = config(&["--tls-certificate-file", "a"], table).unwrap_err();
        assert!(error.contains("[auth.certificate] has no effect without --tls-client-ca-file"), "{error}");
        assert!(config(&["--tls-certificate-file", "a", "--tls-client-ca-file", "b"], table).is_ok());
    }
}
