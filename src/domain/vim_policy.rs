//! What VNFs may use in a registered VIM: which namespaces, and which kinds of objects. Without an entry that allows them,
//! cluster-scoped kinds and the namespaces of Kubernetes itself (`kube-…`) are refused.
//!
//! [`check`] runs before the 202, with what the manifests tell, and again in the planner, when discovery has told the scope of each
//! kind. A connection with an access of its own has no policy: who sends the credential may use it without Gybe, too.

use serde::{Deserialize, Serialize};

use crate::domain::caller::{AuthMethod, Caller};
use crate::domain::manifest::Manifest;
use crate::domain::namespace::{Namespace, is_cluster_scoped, is_of_kubernetes};
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::render::defined_kinds;
use crate::domain::resource::{ObjectKey, Resource};
use crate::domain::text::is_dns_label;
use crate::domain::vim::Vim;

/// The most entries in each list of a policy.
pub const MAX_ENTRIES: usize = 64;
/// The longest name of a kind with its group, in bytes.
const LONGEST_KIND: usize = 316;

/// A text that is no entry of a policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {expected}")]
pub struct InvalidEntry {
    text: String,
    expected: &'static str,
}

impl InvalidEntry {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), expected }
    }
}

/// A namespace by its name, or all whose names have the beginning before a final `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespacePattern(String);

impl NamespacePattern {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for that namespace. Only a pattern that begins with `kube-` stands for one of Kubernetes itself.
    fn matches(&self, namespace: &Namespace) -> bool {
        let name = namespace.as_str();
        let fits = self.0.strip_suffix('*').map_or(name == self.0, |beginning| name.starts_with(beginning));
        fits && (!is_of_kubernetes(name) || is_of_kubernetes(&self.0))
    }
}

impl TryFrom<String> for NamespacePattern {
    type Error = InvalidEntry;

    fn try_from(text: String) -> Result<Self, InvalidEntry> {
        let is_valid = match text.strip_suffix('*') {
            None => is_dns_label(&text),
            Some(beginning) => beginning.is_empty() || is_dns_label(beginning.trim_end_matches('-')),
        };
        if is_valid && text.len() <= 64 {
            return Ok(Self(text));
        }
        Err(InvalidEntry::new(&text, "the name of a namespace, or its beginning with '*' at the end"))
    }
}

impl From<NamespacePattern> for String {
    fn from(pattern: NamespacePattern) -> Self {
        pattern.0
    }
}

/// A kind of any group (`Ingress`) or of one (`Ingress.networking.k8s.io`). `*` stands for all kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KindPattern(String);

impl KindPattern {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, key: &ObjectKey) -> bool {
        let (kind, group) = self.0.split_once('.').map_or((self.0.as_str(), None), |(kind, group)| (kind, Some(group)));
        (kind == "*" || kind == key.kind) && group.is_none_or(|group| group == key.group())
    }
}

impl TryFrom<String> for KindPattern {
    type Error = InvalidEntry;

    fn try_from(text: String) -> Result<Self, InvalidEntry> {
        let (kind, group) = text.split_once('.').map_or((text.as_str(), None), |(kind, group)| (kind, Some(group)));
        let is_kind = kind == "*" || kind.chars().all(|one| one.is_ascii_alphanumeric()) && !kind.is_empty();
        let is_group = group.is_none_or(|group| group.split('.').all(is_dns_label));
        if is_kind && is_group && text.len() <= LONGEST_KIND {
            return Ok(Self(text));
        }
        Err(InvalidEntry::new(
            &text,
            "'*', a kind such as Ingress, or one with its group such as Ingress.networking.k8s.io",
        ))
    }
}

impl From<KindPattern> for String {
    fn from(pattern: KindPattern) -> Self {
        pattern.0
    }
}

/// The policy of a VIM. The default refuses what needs an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VimPolicy {
    /// `None`: all but those of Kubernetes itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<Vec<NamespacePattern>>,
    /// The namespaced kinds that are allowed; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_kinds: Option<Vec<KindPattern>>,
    /// Kinds that are refused, whatever else allows them.
    pub refused_kinds: Vec<KindPattern>,
    /// The cluster-scoped kinds that are allowed.
    pub allowed_cluster_kinds: Vec<KindPattern>,
}

impl VimPolicy {
    /// The policy that allows everything.
    pub fn open() -> Self {
        let namespaces = ["*", "kube-*"].map(|text| NamespacePattern(text.to_owned()));
        Self {
            allowed_namespaces: Some(namespaces.into()),
            allowed_cluster_kinds: vec![KindPattern("*".to_owned())],
            ..Self::default()
        }
    }

    /// The policy of a VIM that `caller` registers without one. While nobody is authenticated, everybody is the administrator.
    pub fn of_new_vim(caller: &Caller) -> Self {
        if caller.method == AuthMethod::None { Self::open() } else { Self::default() }
    }

    fn allows_namespace(&self, namespace: &Namespace) -> bool {
        match &self.allowed_namespaces {
            Some(patterns) => patterns.iter().any(|pattern| pattern.matches(namespace)),
            None => !is_of_kubernetes(namespace.as_str()),
        }
    }

    /// Whether it allows the object. A Namespace must also be one that `allows_namespace` allows. Other cluster-scoped objects reach
    /// beyond the namespaces of a share: a project with which the VIM is shared has none of them.
    fn allows(&self, object: &ObjectUse, allows_namespace: impl Fn(&Namespace) -> bool, is_shared: bool) -> bool {
        let is_in = |patterns: &[KindPattern]| patterns.iter().any(|pattern| pattern.matches(&object.key));
        if is_in(&self.refused_kinds) {
            return false;
        }
        let as_namespaced = self.allowed_kinds.as_deref().is_none_or(is_in);
        let as_cluster_scoped = is_in(&self.allowed_cluster_kinds)
            && named_namespace(&object.key).map_or(!is_shared, |namespace| allows_namespace(&namespace));
        match object.scope {
            KindScope::Namespaced => as_namespaced,
            KindScope::Cluster => as_cluster_scoped,
            KindScope::Unknown => as_namespaced || as_cluster_scoped,
        }
    }
}

/// The namespace that the object is, if it is a Namespace. Kubernetes refuses other names.
fn named_namespace(key: &ObjectKey) -> Option<Namespace> {
    let is_namespace = key.kind == "Namespace" && key.group().is_empty();
    Namespace::try_from(key.name.clone()).ok().filter(|_| is_namespace)
}

/// Whether objects of a kind are in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindScope {
    Namespaced,
    Cluster,
    /// The cluster has not told yet.
    Unknown,
}

/// An object that an operation is to make or change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUse {
    pub key: ObjectKey,
    pub scope: KindScope,
}

impl ObjectUse {
    /// The Namespace of that name.
    pub fn of_namespace(name: &Namespace) -> Self {
        let key =
            ObjectKey { api_version: "v1".to_owned(), kind: "Namespace".to_owned(), name: name.as_str().to_owned() };
        Self { key, scope: KindScope::Cluster }
    }

    /// The objects of a package, before a cluster was asked.
    pub fn of_manifests(manifests: &[Manifest]) -> Vec<Self> {
        let defined = defined_kinds(manifests);
        let object = |manifest: &Manifest| {
            let (api_version, kind) = (manifest.api_version().to_owned(), manifest.kind().to_owned());
            let is_defined_so = defined.get(&(api_version.clone(), kind.clone())).is_some_and(|info| !info.namespaced);
            let is_cluster_scoped = is_defined_so || is_cluster_scoped(manifest);
            let scope = if is_cluster_scoped { KindScope::Cluster } else { KindScope::Unknown };
            Self { key: ObjectKey { api_version, kind, name: manifest.name().to_owned() }, scope }
        };
        manifests.iter().map(object).collect()
    }
}

impl From<&Resource> for ObjectUse {
    fn from(row: &Resource) -> Self {
        let scope = match (row.info.is_known(), row.info.namespaced) {
            (false, _) => KindScope::Unknown,
            (true, true) => KindScope::Namespaced,
            (true, false) => KindScope::Cluster,
        };
        Self { key: row.key.clone(), scope }
    }
}

/// Refuses what a VNF in `namespace` may not use in the VIM. For a VNF of a project with which the VIM is shared, both the policy and
/// the share must allow its namespace.
///
/// # Errors
/// 403 with the namespace or the objects.
pub fn check(vim: &Vim, namespace: &Namespace, objects: &[ObjectUse]) -> Result<(), Problem> {
    let policy = &vim.policy;
    let allowed_by_share = |namespace: &Namespace| {
        vim.lent.as_ref().is_none_or(|lent| lent.iter().any(|pattern| pattern.matches(namespace)))
    };
    let allows_namespace = |namespace: &Namespace| policy.allows_namespace(namespace) && allowed_by_share(namespace);
    if !allows_namespace(namespace) {
        let patterns =
            vim.lent.as_ref().filter(|_| !allowed_by_share(namespace)).or(policy.allowed_namespaces.as_ref());
        let allowed: QuotedValues = match patterns {
            Some(patterns) => patterns.iter().map(NamespacePattern::as_str).collect(),
            None => ["all but kube-*"].into_iter().collect(),
        };
        return Err(problem!(
            ProblemType::VimPolicy,
            "VIM '{vim}' does not allow namespace '{namespace}'; allowed: {allowed}. Use another namespace, or ask a manager of the VIM's project",
            vim = vim.name.as_str(),
            namespace = namespace.as_str(),
            allowed = allowed,
        ));
    }
    let refused: Vec<&ObjectKey> = objects
        .iter()
        .filter(|it| !policy.allows(it, allows_namespace, vim.lent.is_some()))
        .map(|it| &it.key)
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(problem!(
        ProblemType::VimPolicy,
        "the policy of VIM '{vim}' does not allow {objects}: a cluster-scoped kind needs an entry in its allowed_cluster_kinds, and no project with which the VIM is shared may use one but Namespace. Remove the objects from the package, or ask a manager of the VIM's project",
        vim = vim.name.as_str(),
        objects = refused.into_iter().collect::<QuotedValues>(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::try_from(name.to_owned()).unwrap()
    }

    fn object(api_version: &str, kind: &str, name: &str, scope: KindScope) -> ObjectUse {
        let key = ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() };
        ObjectUse { key, scope }
    }

    fn policy(json: serde_json::Value) -> VimPolicy {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn namespaces_are_allowed_by_name_or_beginning_and_those_of_kubernetes_by_theirs() {
        let default = VimPolicy::default();
        let exact = policy(serde_json::json!({ "allowed_namespaces": ["team-a", "kube-public"] }));
        let beginning = policy(serde_json::json!({ "allowed_namespaces": ["team-a-*"] }));
        let all = policy(serde_json::json!({ "allowed_namespaces": ["*", "k*"] }));
        let none = policy(serde_json::json!({ "allowed_namespaces": [] }));
        for (name, expected) in [
            ("team-a", [true, true, false, true, false]),
            ("team-a-1", [true, false, true, true, false]),
            ("team-b", [true, false, false, true, false]),
            ("kube-system", [false, false, false, false, false]),
            ("kube-public", [false, true, false, false, false]),
            ("kubernetes", [true, false, false, true, false]),
        ] {
            let found = [&default, &exact, &beginning, &all, &none].map(|it| it.allows_namespace(&namespace(name)));
            assert_eq!(found, expected, "{name}");
            assert!(VimPolicy::open().allows_namespace(&namespace(name)), "{name}");
        }
    }

    #[test]
    fn kinds_are_allowed_by_their_scope() {
        use KindScope::{Cluster, Namespaced, Unknown};
        let default = VimPolicy::default();
        let few = policy(serde_json::json!({
            "allowed_namespaces": ["team-*"],
            "allowed_kinds": ["Deployment.apps", "Service"],
            "refused_kinds": ["Secret"],
            "allowed_cluster_kinds": ["Namespace", "ClusterRole.rbac.authorization.k8s.io", "Zone"],
        }));
        let open = VimPolicy { refused_kinds: vec![KindPattern("Pod".to_owned())], ..VimPolicy::open() };
        for (api_version, kind, name, scope, expected) in [
            ("apps/v1", "Deployment", "a", Namespaced, [true, true, true]),
            ("example.com/v1", "Deployment", "a", Namespaced, [true, false, true]),
            ("v1", "Service", "a", Unknown, [true, true, true]),
            ("v1", "Secret", "a", Namespaced, [true, false, true]),
            ("v1", "Pod", "a", Namespaced, [true, false, false]),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", "a", Cluster, [false, true, true]),
            ("example.com/v1", "ClusterRole", "a", Cluster, [false, false, true]),
            ("example.com/v1", "Zone", "a", Unknown, [true, true, true]),
            ("example.com/v1", "Zone", "a", Namespaced, [true, false, true]),
            ("v1", "Namespace", "team-a", Cluster, [false, true, true]),
            ("v1", "Namespace", "other", Cluster, [false, false, true]),
            ("v1", "Namespace", "kube-system", Cluster, [false, false, true]),
        ] {
            let object = object(api_version, kind, name, scope);
            assert_eq!(
                [&default, &few, &open].map(|policy| policy.allows(&object, |it| policy.allows_namespace(it), false)),
                expected,
                "{object:?}"
            );
            let is_beyond = object.scope == Cluster && kind != "Namespace";
            let shared = [&few, &open].map(|policy| policy.allows(&object, |it| policy.allows_namespace(it), true));
            assert!(!is_beyond || shared == [false, false], "{object:?}");
        }
    }

    #[test]
    fn entries_are_names_with_at_most_one_star_at_the_end() {
        for (text, is_valid) in [
            ("a", true),
            ("a-*", true),
            ("*", true),
            ("", false),
            ("A", false),
            ("a*b", false),
            ("-*", false),
            ("**", false),
        ] {
            assert_eq!(NamespacePattern::try_from(text.to_owned()).is_ok(), is_valid, "{text}");
        }
        assert!(NamespacePattern::try_from("a".repeat(64)).is_err());
        for (text, is_valid) in [
            ("Pod", true),
            ("*", true),
            ("*.apps", true),
            ("Pod.", false),
            ("", false),
            ("Po*", false),
            ("Pod/v1", false),
        ] {
            assert_eq!(KindPattern::try_from(text.to_owned()).is_ok(), is_valid, "{text}");
        }
        let refused = KindPattern::try_from("x".repeat(400)).unwrap_err();
        assert!(refused.to_string().len() < 200, "{refused}");
    }
}
