//! `/v1.0/vims`: Tacker's VIM registration, as its clients send and read it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use crate::domain::impersonation::Impersonation;
use crate::domain::vim::{MASKED, Vim as Domain};
use crate::domain::vim_policy::{InvalidEntry, KindPattern, NamespacePattern, VimPolicy};

/// The envelope of one VIM.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// The VIM.
    pub vim: T,
}

/// The envelope of a list.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `api::vims` writes, which may be parts of VIMs; never constructed")]
pub struct List {
    /// The VIMs.
    vims: Vec<Vim>,
    /// The link to the next page, if there is one, as Tacker's clients read it; also in the `Link` header.
    #[schema(value_type = Option<Vec<Object>>)]
    vims_links: Option<Vec<Value>>,
}

/// The parameters of the list. Each attribute of a VIM selects the VIMs that have the value.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `api::vims` reads; never constructed")]
pub struct Parameters {
    /// The VIM of that id.
    id: Option<String>,
    /// The VIM of that name.
    name: Option<String>,
    #[param(rename = "type")]
    vim_type: Option<String>,
    description: Option<String>,
    auth_url: Option<String>,
    tenant_id: Option<String>,
    /// The default VIM, or all others.
    is_default: Option<bool>,
    shared: Option<bool>,
    status: Option<String>,
    /// The attributes to show, separated by commas; all if absent.
    fields: Option<String>,
    /// The position that the page begins after: from the link of the page before.
    nextpage_opaque_marker: Option<String>,
    /// Show the VIMs of all projects, an extension: `true`, for admins only. `tenant_id` is the project.
    all_projects: Option<String>,
}

/// `POST /v1.0/vims`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateVim {
    /// Must be `kubernetes`.
    #[serde(rename = "type")]
    pub vim_type: String,
    /// Unique within the project.
    pub name: String,
    /// A description.
    pub description: Option<String>,
    /// URL of the API server.
    pub auth_url: String,
    /// `bearer_token`, `client_cert` with `client_key`, or `oidc_token_url` with `client_id` and `client_secret`; `ssl_ca_cert` (PEM) or
    /// `insecure: true`.
    #[schema(value_type = Object)]
    pub auth_cred: Map<String, Value>,
    /// An extension: as which ServiceAccount Gybe works for each project, `{"<project>": {"service_account": "<namespace>/<name>"}}`.
    /// Projects without one may not use the VIM.
    #[schema(value_type = Option<Object>)]
    pub impersonate: Option<Map<String, Value>>,
    /// The project in the VIM: `name`.
    #[schema(value_type = Option<Object>)]
    pub vim_project: Option<Map<String, Value>>,
    /// Whether requests without a VIM use this one.
    pub is_default: Option<bool>,
    /// The client's own data.
    #[schema(value_type = Option<Object>)]
    pub extra: Option<Map<String, Value>>,
    /// What VNFs may use in it, an extension. Managers may set it. Absent: cluster-scoped kinds and `kube-*` namespaces are refused;
    /// without authentication, nothing is.
    pub policy: Option<Policy>,
}

/// What VNFs may use in a VIM. At most 64 entries in each list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Names of namespaces, or their beginnings with `*` at the end. Only an entry that begins with `kube-` allows those of
    /// Kubernetes. Absent: all others are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<Vec<String>>,
    /// Namespaced kinds: `Ingress`, `Ingress.networking.k8s.io` or `*`. Absent: all are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_kinds: Option<Vec<String>>,
    /// Kinds that are refused, whatever else allows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_kinds: Option<Vec<String>>,
    /// Cluster-scoped kinds that are allowed. A Namespace must also be an allowed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cluster_kinds: Option<Vec<String>>,
}

impl Policy {
    /// Its lists, by name.
    pub fn lists(&self) -> [(&'static str, &Option<Vec<String>>); 4] {
        [
            ("allowed_namespaces", &self.allowed_namespaces),
            ("allowed_kinds", &self.allowed_kinds),
            ("refused_kinds", &self.refused_kinds),
            ("allowed_cluster_kinds", &self.allowed_cluster_kinds),
        ]
    }
}

impl TryFrom<Policy> for VimPolicy {
    type Error = InvalidEntry;

    fn try_from(wire: Policy) -> Result<Self, InvalidEntry> {
        let kinds = |list: Vec<String>| list.into_iter().map(KindPattern::try_from).collect::<Result<Vec<_>, _>>();
        let namespaces = |list: Vec<String>| list.into_iter().map(NamespacePattern::try_from).collect();
        Ok(Self {
            allowed_namespaces: wire.allowed_namespaces.map(namespaces).transpose()?,
            allowed_kinds: wire.allowed_kinds.map(kinds).transpose()?,
            refused_kinds: kinds(wire.refused_kinds.unwrap_or_default())?,
            allowed_cluster_kinds: kinds(wire.allowed_cluster_kinds.unwrap_or_default())?,
        })
    }
}

impl From<&VimPolicy> for Policy {
    fn from(policy: &VimPolicy) -> Self {
        let kinds = |list: &[KindPattern]| list.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>();
        let namespaces = |list: &Vec<NamespacePattern>| list.iter().map(|one| one.as_str().to_owned()).collect();
        Self {
            allowed_namespaces: policy.allowed_namespaces.as_ref().map(namespaces),
            allowed_kinds: policy.allowed_kinds.as_deref().map(kinds),
            refused_kinds: Some(kinds(&policy.refused_kinds)),
            allowed_cluster_kinds: Some(kinds(&policy.allowed_cluster_kinds)),
        }
    }
}

/// `PUT /v1.0/vims/{id}`: absent members keep their values.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateVim {
    /// Unique within the project.
    pub name: Option<String>,
    /// A description.
    pub description: Option<String>,
    /// URL of the API server, which must be of the same cluster. A new one needs a credential in `auth_cred`.
    pub auth_url: Option<String>,
    /// Merged into the present one: `null` removes a member, `***` keeps it. Another `ssl_ca_cert` or `insecure` needs a credential.
    #[schema(value_type = Option<Object>)]
    pub auth_cred: Option<Map<String, Value>>,
    /// An extension: replaces all of `impersonate`; `null` ends impersonation, and `{}` lets no project use the VIM.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    pub impersonate: Option<Option<Map<String, Value>>>,
    /// Whether requests without a VIM use this one.
    pub is_default: Option<bool>,
    /// Replaces all of `extra`.
    #[schema(value_type = Option<Object>)]
    pub extra: Option<Map<String, Value>>,
    /// Replaces all of `policy`. Managers may set it.
    pub policy: Option<Policy>,
}

/// Tells a member that is `null` from one that is absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(member: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(member).map(Some)
}

/// A VIM in responses. Secrets are shown as `***`. Of a VIM that another project shares, `auth_cred` and `extra` are empty, and
/// `impersonate` and `credential_expires_at` absent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Vim {
    id: String,
    #[serde(rename = "type")]
    vim_type: String,
    name: String,
    description: String,
    auth_url: String,
    #[schema(value_type = Object)]
    auth_cred: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    impersonate: Option<Map<String, Value>>,
    #[schema(value_type = Object)]
    vim_project: Value,
    #[schema(value_type = Object)]
    placement_attr: Value,
    tenant_id: String,
    is_default: bool,
    shared: bool,
    status: &'static str,
    #[schema(value_type = Object)]
    extra: Map<String, Value>,
    policy: Policy,
    /// Of a VIM that another project shares: the namespaces in which the caller's project may have VNFs, as far as `policy` allows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_namespaces: Option<Vec<String>>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<OffsetDateTime>,
    /// An extension: when the credential expires, if a token (`exp`) or a client certificate says so.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    credential_expires_at: Option<OffsetDateTime>,
}

impl From<&Domain> for Vim {
    fn from(vim: &Domain) -> Self {
        let is_lent = vim.lent.is_some();
        let mut auth_cred = Map::new();
        if !is_lent {
            auth_cred.clone_from(&vim.access_info);
            auth_cred.extend(vim.secrets.keys().map(|name| (name.clone(), MASKED.into())));
            if let Some(user) = &vim.user_name {
                auth_cred.insert("user_name".to_owned(), user.clone().into());
            }
        }
        let names = |patterns: &Vec<NamespacePattern>| patterns.iter().map(|one| one.as_str().to_owned()).collect();
        Self {
            id: vim.id.to_string(),
            vim_type: vim.vim_type.clone(),
            name: vim.name.clone(),
            description: vim.description.clone(),
            auth_url: vim.endpoint.clone(),
            auth_cred,
            impersonate: vim.impersonate.as_ref().filter(|_| !is_lent).map(Impersonation::shown),
            vim_project: json!({ "name": vim.vim_project }),
            placement_attr: json!({ "regions": [] }),
            tenant_id: vim.project_id.0.clone(),
            // The default VIM of the project that owns it.
            is_default: vim.is_default && !is_lent,
            shared: vim.shared,
            status: vim.status.as_str(),
            extra: if is_lent { Map::new() } else { vim.extra.clone() },
            policy: Policy::from(&vim.policy),
            shared_namespaces: vim.lent.as_ref().map(names),
            created_at: vim.created_at,
            updated_at: vim.updated_at,
            credential_expires_at: vim.credential_validity().filter(|_| !is_lent).map(|validity| validity.ends),
        }
    }
}
