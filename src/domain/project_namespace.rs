//! Namespaces that an administrator makes for a project: what a request may ask for, the objects that it means, and whether a Namespace
//! that exists may be used. `lcm::namespaces` carries it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::domain::ids::{NamespaceId, ProjectId, VimId};
use crate::domain::namespace::{Namespace, is_of_kubernetes};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::resource::{MANAGED_BY, MANAGED_BY_LABEL};

/// The annotation of a Namespace that Gybe made: the identifier of its [`ProjectNamespace`].
pub const NAMESPACE_ID_ANNOTATION: &str = "gybe.dev/namespace-id";

/// The most labels, and the most limits of a ResourceQuota.
const MOST_ENTRIES: usize = 64;
/// The longest key of a label or limit: a DNS name of 253 characters, a slash and a name of 63.
const LONGEST_KEY: usize = 317;
/// The longest value of a label, and longer than any quantity.
const LONGEST_VALUE: usize = 63;
/// The longest name of an object.
const LONGEST_OBJECT_NAME: usize = 253;

/// A namespace of a project, which Gybe made or adopted.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectNamespace {
    pub id: NamespaceId,
    /// The project that it belongs to.
    pub project: ProjectId,
    /// The VIM, and the project that has registered it.
    pub vim: VimId,
    pub vim_project: ProjectId,
    pub name: Namespace,
    /// `metadata.uid` of the Namespace; `None` until it is made or adopted.
    pub uid: Option<String>,
    /// Whether Gybe made the Namespace, and so deletes it. An adopted one stays.
    pub is_made: bool,
    pub settings: NamespaceSettings,
    pub state: NamespaceState,
    /// The administrator who asked for it.
    pub created_by: String,
    pub created_at: OffsetDateTime,
}

/// How far a [`ProjectNamespace`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NamespaceState {
    /// Objects may be missing in the cluster: the request did not get to its end. The same request finishes it.
    Pending,
    /// The cluster has all that was asked for.
    Ready,
    /// It is to be deleted. No VNF may come any more.
    Deleting,
}

impl NamespaceState {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Deleting => "DELETING",
        }
    }
}

/// What belongs into the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSettings {
    /// Labels of the Namespace.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `spec.hard` of a ResourceQuota; empty: none.
    #[serde(default)]
    pub resource_quota: BTreeMap<String, String>,
    /// Whether a NetworkPolicy denies all traffic that no other policy allows.
    #[serde(default)]
    pub isolate: bool,
    /// Who gets a role in the namespace.
    #[serde(default)]
    pub service_account: Option<ProjectServiceAccount>,
}

/// The ServiceAccount of a project, and what it may do in the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectServiceAccount {
    pub name: String,
    /// The namespace that it lives in.
    pub namespace: Namespace,
    /// The ClusterRole that it gets in the project's namespace.
    pub cluster_role: String,
}

/// An object in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceObject {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub name: &'static str,
}

const QUOTA: NamespaceObject = object("v1", "ResourceQuota", "resourcequotas");
const POLICY: NamespaceObject = object("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies");
const BINDING: NamespaceObject = object("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings");

const fn object(api_version: &'static str, kind: &'static str, plural: &'static str) -> NamespaceObject {
    NamespaceObject { api_version, kind, plural, name: "gybe-project" }
}

impl NamespaceSettings {
    /// Checks sizes. The API server checks the rest.
    ///
    /// # Errors
    /// 422.
    pub fn check(&self) -> Result<(), Problem> {
        for (member, entries) in [("labels", &self.labels), ("resourceQuota", &self.resource_quota)] {
            let is_long = |(key, value): (&String, &String)| key.len() > LONGEST_KEY || value.len() > LONGEST_VALUE;
            if entries.len() > MOST_ENTRIES || entries.iter().any(is_long) {
                return Err(problem!(
                    ProblemType::Unprocessable,
                    "{member} may have {most} entries, with keys of {longest} bytes and values of {longestValue}",
                    member = member,
                    most = MOST_ENTRIES,
                    longest = LONGEST_KEY,
                    longestValue = LONGEST_VALUE,
                ));
            }
        }
        let account = self.service_account.as_ref();
        let is_name = |name: &str| !name.is_empty() && name.len() <= LONGEST_OBJECT_NAME;
        if account.is_some_and(|account| !is_name(&account.name) || !is_name(&account.cluster_role)) {
            return Err(problem!(
                ProblemType::Unprocessable,
                "the names in serviceAccount must have 1 to {longest} bytes",
                longest = LONGEST_OBJECT_NAME,
            ));
        }
        Ok(())
    }

    /// Each object that a namespace may have, with its manifest if this one is to have it.
    pub fn objects(&self) -> [(NamespaceObject, Option<Value>); 3] {
        let quota = (!self.resource_quota.is_empty()).then(|| json!({ "spec": { "hard": self.resource_quota } }));
        let policy =
            self.isolate.then(|| json!({ "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } }));
        let binding = self.service_account.as_ref().map(|account| {
            json!({
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account.cluster_role },
                "subjects": [{ "kind": "ServiceAccount", "name": account.name, "namespace": account.namespace }],
            })
        });
        [(QUOTA, quota), (POLICY, policy), (BINDING, binding)].map(|(object, body)| {
            let manifest = body.map(|mut body| {
                body["apiVersion"] = object.api_version.into();
                body["kind"] = object.kind.into();
                body["metadata"] = json!({ "name": object.name, "labels": { MANAGED_BY_LABEL: MANAGED_BY } });
                body
            });
            (object, manifest)
        })
    }
}

/// Refuses the namespaces of Kubernetes itself.
///
/// # Errors
/// 422.
pub fn check_name(name: &Namespace) -> Result<(), Problem> {
    if is_of_kubernetes(name.as_str()) {
        return Err(problem!(
            ProblemType::Unprocessable,
            "namespace '{namespace}' is one of Kubernetes itself, and can belong to no project: choose another name",
            namespace = name.as_str(),
        ));
    }
    Ok(())
}

/// A Namespace as the cluster has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundNamespace {
    pub uid: String,
    pub resource_version: String,
    pub annotations: BTreeMap<String, String>,
    /// Kubernetes is deleting it.
    pub is_terminating: bool,
}

impl FoundNamespace {
    /// Whether Gybe made it for `wanted`.
    pub fn is_made_for(&self, wanted: &ProjectNamespace) -> bool {
        self.annotations.get(NAMESPACE_ID_ANNOTATION) == Some(&wanted.id.to_string())
    }

    /// The project that it names.
    pub fn named_project(&self, annotation: &str) -> Option<&str> {
        self.annotations.get(annotation).map(String::as_str).filter(|project| !project.is_empty())
    }

    /// Refuses a Namespace that can't become `wanted`, where `annotation` names the project of a Namespace.
    ///
    /// # Errors
    /// 409: it names another project, or Kubernetes is deleting it.
    pub fn check_usable(&self, wanted: &ProjectNamespace, annotation: &str) -> Result<(), Problem> {
        if self.is_terminating {
            return Err(problem!(
                ProblemType::NamespaceGone,
                "Kubernetes is deleting namespace '{namespace}': wait until it is gone, then repeat the request",
                namespace = wanted.name.as_str(),
            ));
        }
        if self.named_project(annotation).is_some_and(|project| project != wanted.project.0) {
            return Err(problem!(
                ProblemType::Conflict,
                "the annotation {annotation} of namespace '{namespace}' names another project: remove it first, or choose another namespace",
                annotation = annotation,
                namespace = wanted.name.as_str(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "openstack.org/kuryr-project";

    fn wanted() -> ProjectNamespace {
        ProjectNamespace {
            id: NamespaceId(uuid::Uuid::from_u128(7)),
            project: ProjectId("a".to_owned()),
            vim: VimId(uuid::Uuid::from_u128(8)),
            vim_project: ProjectId::default(),
            name: Namespace::try_from("team-a".to_owned()).unwrap(),
            uid: None,
            is_made: false,
            settings: NamespaceSettings::default(),
            state: NamespaceState::Pending,
            created_by: "admin".to_owned(),
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_namespace_of_nobody_or_of_the_project_may_be_used() {
        let huge = "=".repeat(1 << 18);
        for (annotation, is_terminating, status) in [
            (None, false, None),
            (Some(""), false, None),
            (Some("a"), false, None),
            (Some("b"), false, Some(409)),
            (Some("a\n"), false, Some(409)),
            (Some(huge.as_str()), false, Some(409)),
            (Some("a"), true, Some(409)),
        ] {
            let annotations = annotation.map(|value| (KEY.to_owned(), value.to_owned())).into_iter().collect();
            let found = FoundNamespace { annotations, is_terminating, ..FoundNamespace::default() };
            let refused = found.check_usable(&wanted(), KEY).err();
            assert_eq!(refused.as_ref().map(|problem| problem.status), status, "{is_terminating}");
            assert!(refused.is_none_or(|problem| !problem.detail.contains("==")), "the value is not quoted");
        }
        let mut found = FoundNamespace::default();
        assert!(!found.is_made_for(&wanted()));
        found.annotations.insert(NAMESPACE_ID_ANNOTATION.to_owned(), wanted().id.to_string());
        assert!(found.is_made_for(&wanted()));
    }

    #[test]
    fn settings_become_objects_and_their_absence_removes_these() {
        let kinds = |settings: &NamespaceSettings| {
            let objects = settings.objects();
            objects.map(|(object, manifest)| {
                let manifest = manifest?;
                assert_eq!(manifest["metadata"]["labels"][MANAGED_BY_LABEL], MANAGED_BY);
                (manifest["kind"] == object.kind).then_some(object.kind)
            })
        };
        assert_eq!(kinds(&NamespaceSettings::default()), [None; 3]);
        let settings: NamespaceSettings = serde_json::from_value(json!({
            "resourceQuota": { "pods": "2" }, "isolate": true,
            "serviceAccount": { "name": "a", "namespace": "projects", "clusterRole": "admin" },
        }))
        .unwrap();
        assert_eq!(kinds(&settings), [Some("ResourceQuota"), Some("NetworkPolicy"), Some("RoleBinding")]);
        settings.check().unwrap();
        let many = (0..65).map(|number| (format!("l{number}"), String::new())).collect();
        for settings in [
            NamespaceSettings { labels: many, ..NamespaceSettings::default() },
            NamespaceSettings {
                resource_quota: [("pods".to_owned(), "9".repeat(64))].into(),
                ..NamespaceSettings::default()
            },
        ] {
            assert_eq!(settings.check().unwrap_err().status, 422);
        }
        assert!(check_name(&Namespace::try_from("kube-system".to_owned()).unwrap()).is_err());
    }
}
