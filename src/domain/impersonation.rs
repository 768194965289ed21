//! Impersonation: the ServiceAccounts as which a VIM works for each project, so that one credential serves many projects and none has
//! more rights than its own ServiceAccount (`docs/adr/0037-impersonation-per-project.md`).
//!
//! `api::vims` reads the table of a VIM, [`crate::domain::vim`] applies it to the access of an instance.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::caller::{LONGEST_NAME, is_name};
use crate::domain::ids::ProjectId;
use crate::domain::namespace::Namespace;
use crate::domain::text::{is_dns_label, type_name};

/// The most projects of a VIM: registration asks the API server about each.
pub const MAX_PROJECTS: usize = 256;
/// The longest name of a ServiceAccount, which is a DNS subdomain (RFC 1123).
const LONGEST_ACCOUNT: usize = 253;
/// The member of an entry.
const SERVICE_ACCOUNT: &str = "service_account";

/// A ServiceAccount of a cluster, written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceAccount {
    namespace: Namespace,
    name: String,
}

/// A text that names no ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a ServiceAccount: write namespace/name, both as Kubernetes allows them")]
pub struct NotAServiceAccount(String);

impl ServiceAccount {
    /// The name of its user, as the API server knows it.
    pub fn user_name(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ServiceAccount {
    type Err = NotAServiceAccount;

    fn from_str(text: &str) -> Result<Self, NotAServiceAccount> {
        // The text comes from a caller: quote no more of it than an error can bear.
        let wrong = || NotAServiceAccount(text.chars().take(64).collect());
        let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
        let namespace = Namespace::try_from(namespace.to_owned()).map_err(|_| wrong())?;
        if name.len() > LONGEST_ACCOUNT || !name.split('.').all(is_dns_label) {
            return Err(wrong());
        }
        Ok(Self { namespace, name: name.to_owned() })
    }
}

impl TryFrom<String> for ServiceAccount {
    type Error = NotAServiceAccount;

    fn try_from(text: String) -> Result<Self, NotAServiceAccount> {
        text.parse()
    }
}

impl From<ServiceAccount> for String {
    fn from(account: ServiceAccount) -> Self {
        account.to_string()
    }
}

/// The ServiceAccount of each project, by the project's id. A project without one may not use the VIM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Impersonation(BTreeMap<String, ServiceAccount>);

impl Impersonation {
    /// Reads the member `impersonate` of a request.
    ///
    /// # Errors
    /// What is wrong, as a text for the caller.
    pub fn parse(given: &Map<String, Value>) -> Result<Self, String> {
        if given.len() > MAX_PROJECTS {
            return Err(format!("impersonate names {} projects; it may name {MAX_PROJECTS}", given.len()));
        }
        given
            .iter()
            .map(|(project, entry)| Ok((known(project)?, account(project, entry)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The ServiceAccount of `project`.
    pub fn of(&self, project: &ProjectId) -> Option<&ServiceAccount> {
        self.0.get(&project.0)
    }

    /// All projects with their ServiceAccounts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ServiceAccount)> {
        self.0.iter().map(|(project, account)| (project.as_str(), account))
    }

    /// The member `impersonate` of responses.
    pub fn shown(&self) -> Map<String, Value> {
        let entry = |account: &ServiceAccount| json!({ SERVICE_ACCOUNT: account.to_string() });
        self.0.iter().map(|(project, account)| (project.clone(), entry(account))).collect()
    }
}

/// The id of a project, which a caller can have.
fn known(project: &str) -> Result<String, String> {
    if !is_name(project) {
        let quoted: String = project.chars().take(64).collect();
        return Err(format!(
            "impersonate: {quoted:?} is not the id of a project: use 1 to {LONGEST_NAME} bytes without control characters"
        ));
    }
    Ok(project.to_owned())
}

fn account(project: &str, entry: &Value) -> Result<ServiceAccount, String> {
    let wrong = |reason: String| format!("impersonate: project {project:?}: {reason}");
    let members = entry.as_object().ok_or_else(|| {
        wrong(format!("{} is no entry: write {{\"{SERVICE_ACCOUNT}\": \"namespace/name\"}}", type_name(entry)))
    })?;
    if let Some(other) = members.keys().find(|name| *name != SERVICE_ACCOUNT) {
        let quoted: String = other.chars().take(64).collect();
        return Err(wrong(format!("unknown member {quoted:?}; supported: {SERVICE_ACCOUNT}")));
    }
    let text = members.get(SERVICE_ACCOUNT).and_then(Value::as_str);
    let text = text.ok_or_else(|| wrong(format!("{SERVICE_ACCOUNT} must be a string \"namespace/name\"")))?;
    text.parse().map_err(|error: NotAServiceAccount| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: Value) -> Result<Impersonation, String> {
        Impersonation::parse(given.as_object().unwrap())
    }

    #[test]
    fn each_project_has_a_service_account() {
        let given = json!({ "a": { "service_account": "team-a/gybe" }, "b": { "service_account": "team-b/gybe.v2" } });
        let parsed = parse(given.clone()).unwrap();
        let of = |project: &str| parsed.of(&ProjectId(project.to_owned())).map(ServiceAccount::user_name);
        assert_eq!(of("b").as_deref(), Some("system:serviceaccount:team-b:gybe.v2"));
        assert_eq!(of("c"), None);
        assert_eq!(Value::from(parsed.shown()), given);
        let stored = serde_json::to_string(&parsed).unwrap();
        assert_eq!(serde_json::from_str::<Impersonation>(&stored).unwrap(), parsed);
        assert_eq!(parse(json!({})).unwrap(), Impersonation::default());
    }

    #[test]
    fn refuses_what_is_no_project_or_no_service_account() {
        let long = "x".repeat(300);
        for account in [
            "",
            "/",
            "a/",
            "/b",
            "a",
            "a/b/c",
            "a/b:c",
            "a:b/c",
            "a/b\nImpersonate-User: admin",
            "a\n/b",
            "A/b",
            "a/..",
            "a/b ",
            &format!("a/{long}"),
            &format!("{long}/a"),
            "system:masters",
        ] {
            let refused = parse(json!({ "p": { "service_account": account } })).unwrap_err();
            assert!(
                refused.contains("is not a ServiceAccount") && refused.len() < 300 && !refused.contains('\n'),
                "{refused}"
            );
        }
        for entry in [
            json!(null),
            json!("a/b"),
            json!([]),
            json!({}),
            json!({ "service_account": 1 }),
            json!({ "service_account": "a/b", "groups": ["system:masters"] }),
        ] {
            assert!(parse(json!({ "p": entry })).is_err());
        }
        for project in ["", "a\nb", "\u{0}", long.as_str()] {
            let refused = parse(json!({ project: { "service_account": "a/b" } })).unwrap_err();
            assert!(refused.contains("is not the id of a project") && !refused.contains('\n'), "{refused}");
        }
        let many = (0..=MAX_PROJECTS).map(|number| (number.to_string(), json!({ "service_account": "a/b" })));
        assert!(Impersonation::parse(&many.collect()).unwrap_err().contains("it may name 256"));
    }
}
