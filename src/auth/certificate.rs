//! Client certificates (TLS): the configuration says which name in a certificate is which caller.
//!
//! `api::tls` checks the certificate: who issued it, its time, and whether it is revoked. Only then it is a [`ClientCertificate`].

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::auth;
use crate::auth::{AuthConfigError, Credentials};
use crate::domain::caller::{AuthMethod, Caller, Role};

/// The table `[auth.certificate]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateOptions {
    /// The tables `[[auth.certificate.identity]]`.
    #[serde(default)]
    pub identity: Vec<IdentityOptions>,
}

/// Which certificate is which caller: `san` or `common_name`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityOptions {
    /// A subject alternative name: a DNS name, a URI such as a SPIFFE ID, or an e-mail address.
    pub san: Option<String>,
    /// The common name of the subject, of certificates without any subject alternative name.
    pub common_name: Option<String>,
    /// By default the name in the certificate.
    pub subject: Option<String>,
    #[serde(default = "auth::default_project")]
    pub project: String,
    pub role: String,
}

/// The certificate of the client of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    names: Vec<Name>,
    /// Its SHA-256 digest in base64url (RFC 8705 section 3.1).
    pub thumbprint: String,
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Dns(String),
    Uri(String),
    Email(String),
    /// Only if there is no other.
    Common(String),
}

impl Name {
    /// Neither URIs nor e-mail addresses can be taken for DNS names.
    fn alternative(text: &str) -> Self {
        if text.contains(':') {
            Self::Uri(text.to_owned())
        } else if text.contains('@') {
            Self::Email(text.to_owned())
        } else {
            Self::Dns(text.to_ascii_lowercase())
        }
    }
}

impl ClientCertificate {
    /// Reads a certificate in DER; `None` if that is not possible.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Vec::new();
        let alternatives = certificate.subject_alternative_name().ok()?;
        if let Some(alternatives) = alternatives {
            names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(Name::Dns(name.to_ascii_lowercase())),
                GeneralName::URI(uri) => Some(Name::Uri((*uri).to_owned())),
                GeneralName::RFC822Name(address) => Some(Name::Email((*address).to_owned())),
                _ => None,
            }));
        } else {
            let mut common = certificate.subject().iter_common_name();
            // With several of them, nobody can say which one counts.
            if let (Some(name), None) = (common.next(), common.next()) {
                names.push(Name::Common(name.as_str().ok()?.to_owned()));
            }
        }
        Some(Self {
            names,
            thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, der)),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// The method.
pub struct Certificates(Vec<(Name, Caller)>);

impl Certificates {
    /// The identities of the configuration.
    ///
    /// # Errors
    /// [`AuthConfigError`], naming the table.
    pub fn new(options: &CertificateOptions) -> Result<Self, AuthConfigError> {
        let mut identities = Vec::new();
        for identity in &options.identity {
            let (name, text) = match (&identity.san, &identity.common_name) {
                (Some(san), None) => (Name::alternative(san), san),
                (None, Some(name)) => (Name::Common(name.clone()), name),
                _ => {
                    return Err(AuthConfigError(
                        "each [[auth.certificate.identity]] needs either san or common_name".to_owned(),
                    ));
                }
            };
            let wrong = |reason: String| AuthConfigError(format!("auth.certificate.identity '{text}': {reason}"));
            let role: Role = identity.role.parse().map_err(|error| wrong(format!("{error}")))?;
            let subject = identity.subject.as_ref().unwrap_or(text).clone();
            let caller = Caller::new(subject, identity.project.clone(), Some(role), AuthMethod::Certificate)
                .map_err(|error| wrong(error.to_string()))?;
            if identities.iter().any(|(other, _)| *other == name) {
                return Err(wrong("another table has the same name".to_owned()));
            }
            identities.push((name, caller));
        }
        if identities.is_empty() {
            return Err(AuthConfigError("[auth.certificate] has no [[auth.certificate.identity]]".to_owned()));
        }
        Ok(Self(identities))
    }

    /// The caller whose name is in the certificate of the connection, by the first table that has one of its names; `None` if
    /// there is none.
    pub fn caller(&self, credentials: &Credentials<'_>) -> Option<Caller> {
        let certificate = credentials.certificate?;
        let identity = self.0.iter().find(|(name, _)| certificate.names.contains(name));
        identity.map(|(_, caller)| caller.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn identities(text: &str) -> Result<Certificates, String> {
        let options = toml::from_str(text).map_err(|error| error.to_string())?;
        Certificates::new(&options).map_err(|error| error.to_string())
    }

    /// A certificate with this thumbprint.
    pub(crate) fn with_thumbprint(thumbprint: &str) -> ClientCertificate {
        ClientCertificate { names: Vec::new(), thumbprint: thumbprint.to_owned(), not_after: i64::MAX }
    }

    fn caller(identities: &Certificates, names: &[Name]) -> Option<String> {
        let certificate = ClientCertificate { names: names.to_vec(), ..with_thumbprint("") };
        let credentials = Credentials {
            headers: Box::new(|_| Vec::new()),
            peer: None,
            certificate: Some(&certificate),
            method: "GET",
            path: "/",
        };
        identities.caller(&credentials).map(|caller| caller.subject)
    }

    #[test]
    fn takes_a_name_for_the_kind_that_it_is() {
        let identities = identities(
            "[[identity]]\nsan = 'SO.example'\nsubject = 'onap'\nrole = 'member'\n\
             [[identity]]\nsan = 'spiffe://a.example/so'\nrole = 'member'\n\
             [[identity]]\nsan = 'so@a.example'\nrole = 'member'\n\
             [[identity]]\ncommon_name = 'old'\nrole = 'reader'",
        )
        .unwrap();
        let text = |text: &str| text.to_owned();
        for (name, expected) in [
            (Name::Dns(text("so.example")), Some("onap")),
            (Name::Dns(text("a.so.example")), None),
            (Name::Dns(text("old")), None),
            (Name::Uri(text("spiffe://a.example/so")), Some("spiffe://a.example/so")),
            (Name::Uri(text("spiffe://a.example/SO")), None),
            (Name::Dns(text("so@a.example")), None),
            (Name::Email(text("so@a.example")), Some("so@a.example")),
            (Name::Common(text("old")), Some("old")),
            (Name::Common(text("so.example")), None),
        ] {
            assert_eq!(caller(&identities, std::slice::from_ref(&name)).as_deref(), expected, "{name:?}");
        }
        assert_eq!(caller(&identities, &[]), None);
    }

    #[test]
    fn refuses_tables_that_are_not_valid() {
        for (text, expected) in [
            ("", "has no [[auth.certificate.identity]]"),
            ("[[identity]]\nrole = 'member'", "either san or common_name"),
            ("[[identity]]\nsan = 'a'\ncommon_name = 'a'\nrole = 'member'", "either san or common_name"),
            ("[[identity]]\nsan = 'a'\nrole = 'boss'", "'boss' is not a role"),
            ("[[identity]]\nsan = 'a'\nrole = 'member'\n[[identity]]\nsan = 'A'\nrole = 'admin'", "the same name"),
        ] {
            let error = identities(text).err().unwrap_or_default();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn reads_no_certificate_from_other_bytes() {
        for bytes in [&b""[..], b"0", &[0x30, 0x82, 0xff, 0xff], &[0x30; 4096]] {
            assert_eq!(ClientCertificate::parse(bytes), None);
        }
    }
}
