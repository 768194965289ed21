//! VIMs: registered ones, and the `vimConnectionInfo` that requests carry (SOL003 clause 4.4.1.6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::domain::credential_expiry::Validity;
use crate::domain::ids::{ProjectId, VimId, VnfLcmOpOccId};
use crate::domain::impersonation::{Impersonation, ServiceAccount};
use crate::domain::oidc_client::{self, OidcClient, TOKEN_URL};
use crate::domain::secret::Secret;
use crate::domain::vim_policy::{NamespacePattern, VimPolicy};

/// The members of `accessInfo` and `auth_cred` that are secret, by name; sealed as one by the store.
pub type Secrets = BTreeMap<String, Secret>;

/// The members of `accessInfo` and `auth_cred` that are public. All others are secret, whatever their names.
pub const PUBLIC_ACCESS: [&str; 19] = [
    "client_cert",
    "client_id",
    "domain",
    "domainName",
    "domain_name",
    "insecure",
    "oidc_audience",
    "oidc_scope",
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

/// Merges the members of `accessInfo` or `auth_cred` that a client sends into those that are known. `null` removes a member, and `***`,
/// which responses show for a secret, keeps it. A credential of one kind (token, client certificate, client of a token endpoint) replaces
/// one of another kind.
pub fn merge_access(public: &mut Map<String, Value>, secrets: &mut Secrets, given: Map<String, Value>) {
    let has = |name: &str| given.get(name).is_some_and(|value| !value.is_null() && *value != MASKED);
    let kinds: [&[&str]; 3] = [&["bearer_token"], &["client_cert", "client_key"], &oidc_client::MEMBERS];
    let given_kind = kinds.iter().position(|members| {
        // Other kinds may have a `client_id`, which shows nothing.
        members.iter().any(|name| !["client_id", "password"].contains(name) && has(name))
    });
    let others = kinds.iter().enumerate().filter(|(kind, _)| given_kind.is_some_and(|given| given != *kind));
    let replaced = others.flat_map(|(_, members)| members.iter().copied());
    let removed = given.iter().filter(|(_, value)| **value != MASKED).map(|(name, _)| name.as_str());
    for name in removed.chain(replaced) {
        public.remove(name);
        secrets.remove(name);
    }
    let (new_public, new_secrets) = split_secrets(given.into_iter().filter(|(_, value)| *value != MASKED).collect());
    public.extend(new_public);
    secrets.extend(new_secrets);
}

/// What responses show for a secret.
pub const MASKED: &str = "***";

/// The type of a VIM that is simulated in the memory of one process, for tests and demonstrations.
pub const SIMULATED: &str = "simulated";
/// The address of such a VIM: a domain that cannot exist (RFC 2606).
pub const SIMULATED_ENDPOINT: &str = "https://simulated.invalid";

/// How Gybe verifies a server before it sends a credential there.
#[derive(Clone, Debug, PartialEq)]
struct Verification {
    endpoint: String,
    ca: Option<String>,
    insecure: bool,
    /// The token endpoint gets the secret of the client.
    token_url: Option<String>,
}

impl Verification {
    fn new(endpoint: &str, info: &Map<String, Value>) -> Self {
        let ca = info.get("ssl_ca_cert").and_then(Value::as_str).filter(|ca| !ca.is_empty() && *ca != "None");
        let insecure = info.get("insecure").and_then(Value::as_bool).unwrap_or(false);
        let token_url = info.get(TOKEN_URL).filter(|url| !url.is_null()).map(Value::to_string);
        Self { endpoint: endpoint.to_owned(), ca: ca.map(str::to_owned), insecure, token_url }
    }

    /// The first member in which both differ, by its name in a request.
    fn difference(&self, other: &Self, endpoint: &'static str) -> Option<&'static str> {
        let differs = [
            (endpoint, self.endpoint != other.endpoint),
            ("ssl_ca_cert", self.ca != other.ca),
            ("insecure", self.insecure != other.insecure),
            (TOKEN_URL, self.token_url != other.token_url),
        ];
        differs.into_iter().find_map(|(name, differs)| differs.then_some(name))
    }
}

/// The error for a request that changes how a server is verified and has no credential of its own.
fn needs_credential(changed: &str, member: &str) -> String {
    format!(
        "{changed} changes, so {member} must have a bearer_token, client_cert and client_key, or client_secret: Gybe sends a credential only to the server for which it was given"
    )
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
    /// The project that shares the VIM, if it is not the instance's own: it owned the VIM when the connection was checked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lender: Option<ProjectId>,
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
    /// `type`: `kubernetes`, or [`SIMULATED`].
    pub vim_type: String,
    /// `auth_url`: the API server.
    pub endpoint: String,
    /// `auth_cred` without its secrets: `ssl_ca_cert`, `client_cert`, `insecure`.
    pub access_info: Map<String, Value>,
    /// The secrets of `auth_cred`, sealed by the store.
    pub secrets: Secrets,
    /// `impersonate`: as whom Gybe works in the cluster, by project. `None`: as the user of the credential, for all projects.
    pub impersonate: Option<Impersonation>,
    /// `vim_project.name`.
    pub vim_project: String,
    /// `extra`.
    pub extra: Map<String, Value>,
    /// What VNFs may use in it.
    pub policy: VimPolicy,
    /// Whether further projects may use it.
    pub shared: bool,
    /// For a project that may use the VIM of another: the namespaces in which it may have VNFs.
    pub lent: Option<Vec<NamespacePattern>>,
    /// Whether a request without `vimConnectionInfo` uses this VIM. One per project.
    pub is_default: bool,
    /// The user of the credential, as the API server named it at registration.
    pub user_name: Option<String>,
    /// The uid of the Namespace `kube-system` of the cluster, if the credential may read it.
    pub cluster_uid: Option<String>,
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
    /// The ServiceAccount as which the user of the credential works. Accesses that differ in it share no client and no cache.
    pub impersonate: Option<ServiceAccount>,
}

impl VimAccess {
    /// The access of the credential itself.
    #[must_use]
    pub fn without_impersonation(&self) -> Self {
        Self { impersonate: None, ..self.clone() }
    }
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
    /// A client that gets its bearer tokens from a token endpoint.
    TokenEndpoint(OidcClient),
    /// None is needed: the cluster is simulated.
    Simulated,
}

impl VimCredential {
    /// What nobody else may know: the token, the private key, or the secrets for the token endpoint.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::BearerToken(token) => vec![token.clone()],
            Self::ClientCertificate { key, .. } => vec![key.clone()],
            Self::TokenEndpoint(client) => client.secrets().cloned().collect(),
            Self::Simulated => Vec::new(),
        }
    }

    /// Until when it is valid, if it says so.
    pub fn validity(&self) -> Option<Validity> {
        match self {
            Self::BearerToken(token) => Validity::of_token(token.expose()),
            Self::ClientCertificate { certificate, .. } => Validity::of_certificates(certificate),
            Self::TokenEndpoint(_) | Self::Simulated => None,
        }
    }
}

impl VimConnection {
    /// Whether Gybe has a driver for `vimType`.
    pub fn is_kubernetes(&self) -> bool {
        ["ETSINFV.KUBERNETES.V_1", "kubernetes", SIMULATED].contains(&self.vim_type.as_str())
    }

    /// The connection without what could authenticate a caller: its secrets, and URLs with a user or password.
    #[must_use]
    pub fn without_credentials(mut self) -> Self {
        let has_user = |value: &Value| {
            let authority = value.as_str().and_then(|text| text.split_once("://")).map(|(_, rest)| rest);
            authority.and_then(|rest| rest.split('/').next()).is_some_and(|authority| authority.contains('@'))
        };
        self.secrets.clear();
        for members in [&mut self.interface_info, &mut self.access_info, &mut self.extra] {
            members.retain(|_, value| !has_user(value));
        }
        self
    }

    /// Whether both refer to the same cluster, with the same or other credentials.
    pub fn same_cluster(&self, other: &Self) -> bool {
        let endpoint = |connection: &Self| connection.interface_info.get("endpoint").cloned();
        self.vim_id == other.vim_id && endpoint(self) == endpoint(other)
    }

    /// Takes the secrets of `former`, and the members of `accessInfo` in `given`, which a client sends with this connection. If the server,
    /// or how it is verified, is another one, the former secrets are lost.
    ///
    /// # Errors
    /// The server is another one and `given` has no secret.
    pub fn take_access(&mut self, former: Option<&Self>, given: Map<String, Value>) -> Result<(), String> {
        (self.access_info, self.secrets) =
            former.map(|former| (former.access_info.clone(), former.secrets.clone())).unwrap_or_default();
        let (_, given_secrets) =
            split_secrets(given.clone().into_iter().filter(|(_, value)| *value != MASKED).collect());
        merge_access(&mut self.access_info, &mut self.secrets, given);
        let (Some(verification), Some(former)) = (self.verification(), former) else { return Ok(()) };
        let changed = former.verification().map_or(Some("interfaceInfo.endpoint"), |before| {
            before.difference(&verification, "interfaceInfo.endpoint")
        });
        let Some(changed) = changed else { return Ok(()) };
        if given_secrets.is_empty() {
            return Err(needs_credential(changed, "accessInfo"));
        }
        self.secrets = given_secrets;
        Ok(())
    }

    /// `None` if it only names a registered VIM.
    fn verification(&self) -> Option<Verification> {
        let endpoint = self.interface_info.get("endpoint").filter(|endpoint| !endpoint.is_null())?;
        let endpoint = endpoint.as_str().map_or_else(|| endpoint.to_string(), str::to_owned);
        Some(Verification::new(&endpoint, &self.peer_info()))
    }

    /// `accessInfo` with the members of `interfaceInfo` that tell how to verify the server.
    fn peer_info(&self) -> Map<String, Value> {
        let mut info = self.access_info.clone();
        for member in ["ssl_ca_cert", "insecure"] {
            if let Some(value) = self.interface_info.get(member) {
                info.insert(member.to_owned(), value.clone());
            }
        }
        info
    }

    /// The access of an inline connection; `None` if it only names a registered VIM.
    ///
    /// # Errors
    /// What is missing or of the wrong type, as a text for the caller.
    pub fn inline_access(&self) -> Result<Option<VimAccess>, String> {
        let Some(endpoint) = self.interface_info.get("endpoint").filter(|endpoint| !endpoint.is_null()) else {
            return Ok(None);
        };
        let endpoint = endpoint.as_str().ok_or("interfaceInfo.endpoint must be a string")?;
        access(endpoint, &self.peer_info(), &self.secrets).map(Some)
    }
}

impl Vim {
    /// Whether its cluster is simulated.
    pub fn is_simulated(&self) -> bool {
        self.vim_type == SIMULATED
    }

    /// Changes the address and the members of `auth_cred` that a client sends. If the server, or how it is verified, is another one, the
    /// former secrets are lost.
    ///
    /// # Errors
    /// The server is another one and `auth_cred` has no secret.
    pub fn change_access(
        &mut self,
        auth_url: Option<&str>,
        auth_cred: Option<&Map<String, Value>>,
    ) -> Result<(), String> {
        if self.is_simulated() && (auth_url.is_some_and(|url| url != self.endpoint) || auth_cred.is_some()) {
            return Err("the VIM is simulated and has no credential: leave out auth_url and auth_cred".to_owned());
        }
        let before = Verification::new(&self.endpoint, &self.access_info);
        if let Some(url) = auth_url {
            url.clone_into(&mut self.endpoint);
        }
        let given = auth_cred.cloned().unwrap_or_default();
        let (_, given_secrets) =
            split_secrets(given.clone().into_iter().filter(|(_, value)| *value != MASKED).collect());
        merge_access(&mut self.access_info, &mut self.secrets, given);
        let Some(changed) = before.difference(&Verification::new(&self.endpoint, &self.access_info), "auth_url") else {
            return Ok(());
        };
        if given_secrets.is_empty() {
            return Err(needs_credential(changed, "auth_cred"));
        }
        self.secrets = given_secrets;
        Ok(())
    }

    /// How to reach this VIM, as the user of its credential.
    ///
    /// # Errors
    /// What is missing or of the wrong type, as a text for the caller.
    pub fn access(&self) -> Result<VimAccess, String> {
        if self.is_simulated() {
            return Ok(VimAccess {
                endpoint: self.endpoint.clone(),
                ca: None,
                insecure: false,
                credential: VimCredential::Simulated,
                impersonate: None,
            });
        }
        access(&self.endpoint, &self.access_info, &self.secrets)
    }

    /// How `project` reaches this VIM. A VIM that impersonates never works as the user of its credential for a project.
    ///
    /// # Errors
    /// As [`Self::access`], and as [`Self::account_of`].
    pub fn access_of(&self, project: &ProjectId) -> Result<VimAccess, String> {
        Ok(VimAccess { impersonate: self.account_of(project)?.cloned(), ..self.access()? })
    }

    /// Until when the credential is valid, if it says so.
    pub fn credential_validity(&self) -> Option<Validity> {
        self.access().ok()?.credential.validity()
    }

    /// The ServiceAccount that is impersonated for `project`; `None` if the VIM does not impersonate.
    ///
    /// # Errors
    /// The VIM impersonates, and not for this project: a text for the caller.
    pub fn account_of(&self, project: &ProjectId) -> Result<Option<&ServiceAccount>, String> {
        let Some(impersonate) = &self.impersonate else { return Ok(None) };
        let account = impersonate.of(project).ok_or_else(|| {
            format!(
                "the VIM {} impersonates a ServiceAccount for each project, and has none for project '{}': add it to the \
                 VIM's impersonate",
                self.id, project.0
            )
        });
        account.map(Some)
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
    let insecure = match info.get("insecure") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(insecure)) => *insecure,
        Some(_) => return Err("insecure must be true or false".to_owned()),
    };
    if !insecure && !endpoint.starts_with("https://") {
        return Err("plain http exposes the credentials: use https, or set insecure to true".to_owned());
    }
    let (credential, ca) = (credential(info, secrets, insecure)?, text(info, "ssl_ca_cert")?);
    Ok(VimAccess { endpoint: endpoint.to_owned(), ca, insecure, credential, impersonate: None })
}

fn credential(info: &Map<String, Value>, secrets: &Secrets, insecure: bool) -> Result<VimCredential, String> {
    let certificate = text(info, "client_cert")?;
    Ok(match (secret(secrets, "bearer_token"), certificate, secret(secrets, "client_key")) {
        (Some(token), _, _) => VimCredential::BearerToken(token.clone()),
        (None, Some(certificate), Some(key)) => VimCredential::ClientCertificate { certificate, key: key.clone() },
        (None, Some(_), None) => return Err("client_key is missing, the key of client_cert: send both".to_owned()),
        (None, None, Some(_)) => {
            return Err("client_cert is missing, the certificate of client_key: send both".to_owned());
        }
        (None, None, None) => VimCredential::TokenEndpoint(OidcClient::read(info, secrets, insecure)?.ok_or(
            "there is no credential: set bearer_token, client_cert and client_key, or oidc_token_url, client_id and \
             client_secret",
        )?),
    })
}

/// A member that is a text. Tacker's clients send `None` for one that they do not have.
pub(super) fn text(info: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match info.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text == "None" => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// A secret that is there.
pub(super) fn secret<'a>(secrets: &'a Secrets, name: &str) -> Option<&'a Secret> {
    secrets.get(name).filter(|secret| !["", "None"].contains(&secret.expose()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    /// The names of the members, of which the secret ones have a star.
    fn merged(known: Value, given: Value) -> String {
        let (mut public, mut secrets) = split_secrets(members(known));
        merge_access(&mut public, &mut secrets, members(given));
        let secrets = secrets.iter().map(|(name, secret)| format!("{name}*{}", secret.expose()));
        let public = public.iter().map(|(name, value)| format!("{name}={value}"));
        secrets.chain(public).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn given_members_replace_known_ones() {
        let token = || json!({ "bearer_token": "old", "ssl_ca_cert": "ca" });
        let certificate = || json!({ "client_cert": "c", "client_key": "k" });
        let oidc = || json!({ "oidc_token_url": "https://id", "client_id": "c", "client_secret": "s" });
        for (known, given, expected) in [
            (token(), json!({ "bearer_token": "new" }), "bearer_token*new ssl_ca_cert=\"ca\""),
            (
                token(),
                json!({ "bearer_token": "***", "insecure": true }),
                "bearer_token*old insecure=true ssl_ca_cert=\"ca\"",
            ),
            (token(), json!({ "ssl_ca_cert": null }), "bearer_token*old"),
            (token(), json!({ "bearer_token": null }), "ssl_ca_cert=\"ca\""),
            (token(), certificate(), "client_key*k client_cert=\"c\" ssl_ca_cert=\"ca\""),
            (certificate(), json!({ "bearer_token": "t" }), "bearer_token*t"),
            (certificate(), json!({ "client_cert": "d" }), "client_key*k client_cert=\"d\""),
            (json!({ "username": "u" }), json!({ "username": { "s": 1 } }), "username*{\"s\":1}"),
            (token(), oidc(), "client_secret*s client_id=\"c\" oidc_token_url=\"https://id\" ssl_ca_cert=\"ca\""),
            (oidc(), token(), "bearer_token*old ssl_ca_cert=\"ca\""),
            (oidc(), json!({ "client_secret": "t" }), "client_secret*t client_id=\"c\" oidc_token_url=\"https://id\""),
        ] {
            assert_eq!(merged(known.clone(), given.clone()), expected, "{known} {given}");
        }
    }

    #[test]
    fn another_server_needs_a_credential_of_its_own() {
        let wire = |endpoint: &str, info: Value| VimConnection {
            vim_id: None,
            vim_name: None,
            vim_type: "kubernetes".to_owned(),
            interface_info: members(json!({ "endpoint": endpoint, "ssl_ca_cert": info["ca"] })),
            access_info: Map::new(),
            secrets: Secrets::new(),
            extra: Map::new(),
            home: false,
            lender: None,
            added_by: None,
        };
        let mut known = wire("https://a", json!({ "ca": "ca" }));
        known.take_access(None, members(json!({ "bearer_token": "old" }))).unwrap();
        let change = |endpoint: &str, ca: Value, given: Value| {
            let mut connection = wire(endpoint, json!({ "ca": ca }));
            connection.take_access(Some(&known), members(given)).map(|()| connection.secrets.len())
        };
        assert_eq!(change("https://a", json!("ca"), json!({})), Ok(1));
        assert_eq!(change("https://a", json!("ca"), json!({ "username": "u" })), Ok(1));
        for (endpoint, ca, given, what) in [
            ("https://b", json!("ca"), json!({}), "interfaceInfo.endpoint"),
            ("https://a", json!("other"), json!({}), "ssl_ca_cert"),
            ("https://a", json!(null), json!({}), "ssl_ca_cert"),
            ("https://a", json!("ca"), json!({ "insecure": true }), "insecure"),
            ("https://a", json!("ca"), json!({ "insecure": true, "bearer_token": "***" }), "insecure"),
            ("https://a", json!("ca"), json!({ "oidc_token_url": "https://id", "client_id": "c" }), "oidc_token_url"),
        ] {
            let refused = change(endpoint, ca, given).unwrap_err();
            assert!(refused.starts_with(&format!("{what} changes, so accessInfo must have")), "{refused}");
        }
        let mut moved = wire("https://b", json!({ "ca": "ca" }));
        moved.take_access(Some(&known), members(json!({ "client_cert": "c", "client_key": "k" }))).unwrap();
        assert_eq!(moved.secrets.keys().collect::<Vec<_>>(), ["client_key"], "the former token is gone");
    }

    #[test]
    fn half_a_credential_says_what_is_missing() {
        for (given, missing) in [
            (json!({ "client_cert": "c" }), "client_key is missing"),
            (json!({ "client_key": "k" }), "client_cert is missing"),
            (json!({ "bearer_token": "" }), "there is no credential"),
        ] {
            let (public, secrets) = split_secrets(members(given));
            assert!(access("https://a", &public, &secrets).unwrap_err().contains(missing));
        }
    }
}
