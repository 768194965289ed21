//! VIMs: registered ones, and the `vimConnectionInfo` that requests carry (SOL003 clause 4.4.1.6).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VimId};

/// A text that must not be shown. `Debug` hides it; only [`Secret::expose`] gives it out, and only the store's sealing
/// and the Kubernetes client have reason to call it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The hidden text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The members of `accessInfo` and `auth_cred` that are secret, by name; sealed as one by the store.
pub type Secrets = BTreeMap<String, Secret>;

/// The names of secret members of `accessInfo` and `auth_cred`.
pub const SECRET_MEMBERS: [&str; 6] =
    ["bearer_token", "password", "client_secret", "client_key", "client_key_data", "ssl_client_key"];

/// Splits the members of `accessInfo` (or `auth_cred`) into public and secret ones.
pub fn split_secrets(access: Map<String, Value>) -> (Map<String, Value>, Secrets) {
    let mut public = Map::new();
    let mut secrets = Secrets::new();
    for (name, value) in access {
        match value {
            Value::String(text) if SECRET_MEMBERS.contains(&name.as_str()) => {
                secrets.insert(name, Secret::new(text));
            }
            // A secret of another type than string is of no use to anybody and must not be stored in clear.
            _ if SECRET_MEMBERS.contains(&name.as_str()) => {}
            value => {
                public.insert(name, value);
            }
        }
    }
    (public, secrets)
}

/// One entry of `vimConnectionInfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VimConnection {
    /// A registered VIM, whose endpoint and credentials are looked up at each use, so that rotation reaches the instance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vim_id: Option<String>,
    /// `vimType`.
    pub vim_type: String,
    /// `interfaceInfo`.
    #[serde(default)]
    pub interface_info: Map<String, Value>,
    /// `accessInfo` without its secrets.
    #[serde(default)]
    pub access_info: Map<String, Value>,
    /// The secrets of `accessInfo`; kept apart from the row's JSON and sealed by the store.
    #[serde(skip)]
    pub secrets: Secrets,
    /// `extra`.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

/// A registered VIM.
#[derive(Clone, Debug, PartialEq)]
pub struct Vim {
    /// Its identifier.
    pub id: VimId,
    /// The tenant.
    pub project_id: ProjectId,
    /// `name`; unique within the project.
    pub name: String,
    /// `description`.
    pub description: String,
    /// `type`: always `kubernetes`.
    pub vim_type: String,
    /// `auth_url`: the API server.
    pub endpoint: String,
    /// `auth_cred` without its secrets: `ssl_ca_cert`, `client_cert`, `insecure`.
    pub access_info: Map<String, Value>,
    /// The secrets of `auth_cred`, sealed by the store.
    pub secrets: Secrets,
    /// `vim_project.name`.
    pub vim_project: String,
    /// `extra`.
    pub extra: Map<String, Value>,
    /// Whether a request without `vimConnectionInfo` means this VIM. One per project.
    pub is_default: bool,
    /// Who the API server says the credential belongs to, as asked at registration.
    pub user_name: Option<String>,
    /// When it was registered.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: Option<OffsetDateTime>,
}

/// How to reach a cluster and as whom: what the driver needs, from a registered VIM or an inline connection.
#[derive(Clone, Debug, PartialEq)]
pub struct VimAccess {
    /// URL of the API server.
    pub endpoint: String,
    /// PEM of the authorities that may have signed its certificate; none: the system's.
    pub ca: Option<String>,
    /// Take any certificate. Only ever by the caller's explicit word.
    pub insecure: bool,
    /// How the client shows who it is.
    pub credential: VimCredential,
}

/// How a client shows who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum VimCredential {
    /// `Authorization: Bearer`.
    BearerToken(Secret),
    /// A TLS client certificate.
    ClientCertificate {
        /// PEM of the certificate chain.
        certificate: String,
        /// PEM of the private key.
        key: Secret,
    },
}

impl VimConnection {
    /// The access an inline connection spells out; `None` if it only names a registered VIM.
    ///
    /// # Errors
    /// What is missing or of the wrong type, as a text for the caller.
    pub fn inline_access(&self) -> Result<Option<VimAccess>, String> {
        let Some(endpoint) = self.interface_info.get("endpoint") else {
            return Ok(None);
        };
        let endpoint = endpoint.as_str().ok_or("interfaceInfo.endpoint must be a string")?;
        let mut info = self.access_info.clone();
        for member in ["ssl_ca_cert", "insecure"] {
            if let Some(value) = self.interface_info.get(member) {
                info.insert(member.to_owned(), value.clone());
            }
        }
        access(endpoint, &info, &self.secrets).map(Some)
    }
}

impl Vim {
    /// How to reach this VIM.
    ///
    /// # Errors
    /// What is missing or of the wrong type, as a text for the caller.
    pub fn access(&self) -> Result<VimAccess, String> {
        access(&self.endpoint, &self.access_info, &self.secrets)
    }
}

fn access(endpoint: &str, info: &Map<String, Value>, secrets: &Secrets) -> Result<VimAccess, String> {
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        return Err(format!("the endpoint '{endpoint}' is not an http(s) URL"));
    }
    let text = |name: &str| match info.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text == "None" => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} must be a string")),
    };
    let insecure = match info.get("insecure") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(insecure)) => *insecure,
        Some(_) => return Err("insecure must be true or false".to_owned()),
    };
    let certificate = text("client_cert")?;
    let credential = match (secrets.get("bearer_token"), certificate, secrets.get("client_key")) {
        (Some(token), _, _) => VimCredential::BearerToken(token.clone()),
        (None, Some(certificate), Some(key)) => VimCredential::ClientCertificate { certificate, key: key.clone() },
        _ => return Err("give a bearer_token, or client_cert with client_key".to_owned()),
    };
    Ok(VimAccess { endpoint: endpoint.to_owned(), ca: text("ssl_ca_cert")?, insecure, credential })
}
