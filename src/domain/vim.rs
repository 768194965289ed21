//! VIMs: registered ones, and the `vimConnectionInfo` that requests carry (SOL003 clause 4.4.1.6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VimId, VnfLcmOpOccId};
use crate::domain::secret::Secret;

/// The members of `accessInfo` and `auth_cred` that are secret, by name; sealed as one by the store.
pub type Secrets = BTreeMap<String, Secret>;

/// The members of `accessInfo` and `auth_cred` that are public. All others are secret, whatever their names.
pub const PUBLIC_ACCESS: [&str; 17] = [
    "client_cert",
    "client_id",
    "domain",
    "domainName",
    "domain_name",
    "insecure",
    "oidc_token_url",
    "project",
    "projectId",
    "projectName",
    "project_id",
    "project_name",
    "region",
    "ssl_ca_cert",
    "tenant",
    "user_name",
    "username",
];

/// Splits the members of `accessInfo` (or `auth_cred`) into public and secret ones. A secret that is not a
/// string is stored as its JSON text.
pub fn split_secrets(access: Map<String, Value>) -> (Map<String, Value>, Secrets) {
    let mut public = Map::new();
    let mut secrets = Secrets::new();
    for (name, value) in access {
        match value {
            Value::Null => {}
            value if PUBLIC_ACCESS.contains(&name.as_str()) && !value.is_object() && !value.is_array() => {
                public.insert(name, value);
            }
            Value::String(text) => {
                secrets.insert(name, Secret::new(text));
            }
            value => {
                secrets.insert(name, Secret::new(value.to_string()));
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
    /// The name by which the caller refers to that VIM, if not its id: shown in place of the id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vim_name: Option<String>,
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
    /// Whether the VNF lives in this VIM: from the 202 of its instantiation to the end of termination or rollback.
    #[serde(default)]
    pub home: bool,
    /// The INSTANTIATE that added the entry; its rollback removes the entry.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub added_by: Option<VnfLcmOpOccId>,
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
    /// Whether a request without `vimConnectionInfo` uses this VIM. One per project.
    pub is_default: bool,
    /// The user of the credential, as the API server named it at registration.
    pub user_name: Option<String>,
    /// What the latest calls to its API server showed.
    pub status: VimStatus,
    /// When it was registered.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: Option<OffsetDateTime>,
}

/// What calls to the API server of a VIM showed last. Tacker has `ACTIVE` for every VIM that was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VimStatus {
    /// It answered, and accepted the credential.
    Active,
    /// It did not answer, or not as a Kubernetes API server does.
    Unreachable,
    /// It refused the credential.
    Error,
}

impl VimStatus {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Unreachable => "UNREACHABLE",
            Self::Error => "ERROR",
        }
    }
}

/// How to reach a cluster, and as which user: from a registered VIM or an inline connection.
#[derive(Clone, Debug, PartialEq)]
pub struct VimAccess {
    /// URL of the API server.
    pub endpoint: String,
    /// PEM of the authorities that sign its certificate; the system's if `None`.
    pub ca: Option<String>,
    /// Accept any certificate. Only if the caller says so.
    pub insecure: bool,
    /// How the client shows who it is.
    pub credential: VimCredential,
}

/// How a client authenticates.
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

impl VimCredential {
    /// The part that nobody else may know: the token or the private key.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::BearerToken(token) => token,
            Self::ClientCertificate { key, .. } => key,
        }
    }
}

impl VimConnection {
    /// Whether Gybe has a driver for `vimType`.
    pub fn is_kubernetes(&self) -> bool {
        ["ETSINFV.KUBERNETES.V_1", "kubernetes"].contains(&self.vim_type.as_str())
    }

    /// Whether both refer to the same cluster, with the same or other credentials.
    pub fn same_cluster(&self, other: &Self) -> bool {
        let endpoint = |connection: &Self| connection.interface_info.get("endpoint").cloned();
        self.vim_id == other.vim_id && endpoint(self) == endpoint(other)
    }

    /// The access of an inline connection; `None` if it only names a registered VIM.
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
    let authority = endpoint.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err("the endpoint must not hold a user or password: use the members for credentials".to_owned());
    }
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        return Err(format!("the endpoint '{endpoint}' is not an http or https URL"));
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
    if !insecure && !endpoint.starts_with("https://") {
        return Err("plain http exposes the credentials: use https, or set insecure to true".to_owned());
    }
    let certificate = text("client_cert")?;
    let credential = match (secrets.get("bearer_token"), certificate, secrets.get("client_key")) {
        (Some(token), _, _) => VimCredential::BearerToken(token.clone()),
        (None, Some(certificate), Some(key)) => VimCredential::ClientCertificate { certificate, key: key.clone() },
        _ => return Err("set bearer_token, or client_cert and client_key".to_owned()),
    };
    Ok(VimAccess { endpoint: endpoint.to_owned(), ca: text("ssl_ca_cert")?, insecure, credential })
}
