//! Which project a namespace of a cluster belongs to: the value of an annotation of the Namespace, else the project of the
//! configuration. One namespace belongs to one project; a project may have many. `lcm::tenancy` reads the Namespace.

use std::collections::BTreeMap;

use crate::domain::caller::{Caller, LONGEST_NAME, Role, is_name};
use crate::domain::ids::ProjectId;
use crate::domain::namespace::Namespace;
use crate::domain::problem::{Problem, ProblemType, problem};

/// The annotation that Kuryr gives a Namespace.
pub const PROJECT_ANNOTATION: &str = "openstack.org/kuryr-project";

/// The name of the option with the project of namespaces without annotation.
const DEFAULT_PROJECT: &str = "neutron_defaults.project";

/// A Namespace of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedNamespace {
    /// `metadata.uid`: another Namespace of this name has another one.
    pub uid: String,
    pub annotations: BTreeMap<String, String>,
}

/// The project of a namespace, as it was when a VNF was instantiated in it. Later operations do not decide it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceProject {
    /// `metadata.uid` of the Namespace.
    pub namespace_uid: String,
    pub project: ProjectId,
}

/// What the identity service knows of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectState {
    Enabled,
    Disabled,
    Unknown,
}

/// The rules of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenancyRules {
    /// The annotation of a Namespace that names its project.
    pub annotation: String,
    /// The project of namespaces without that annotation.
    pub default_project: Option<ProjectId>,
}

impl TenancyRules {
    /// The project of the namespace. An empty annotation is none.
    ///
    /// # Errors
    /// 422: it has none, or its annotation can't be the id of a project.
    pub fn project_of(&self, name: &Namespace, namespace: &ObservedNamespace) -> Result<ProjectId, Problem> {
        let annotation = namespace.annotations.get(&self.annotation).filter(|project| !project.is_empty());
        match annotation.cloned().map(ProjectId).or_else(|| self.default_project.clone()) {
            Some(project) if !is_name(&project.0) => Err(problem!(
                ProblemType::Unprocessable,
                "the annotation {annotation} of namespace '{namespace}' has more than {maximum} bytes, or control characters: it must be the id of a project",
                annotation = self.annotation.as_str(),
                namespace = name.as_str(),
                maximum = LONGEST_NAME,
            )),
            Some(project) => Ok(project),
            None => Err(problem!(
                ProblemType::Unprocessable,
                "namespace '{namespace}' belongs to no project: it has no annotation {annotation}, and the option {option} is not set",
                namespace = name.as_str(),
                annotation = self.annotation.as_str(),
                option = DEFAULT_PROJECT,
            )),
        }
    }
}

/// Who wants to put a VNF into a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// The project of the VNF.
    pub project: &'a ProjectId,
    /// Whether namespaces of all projects are open to it.
    pub is_admin: bool,
}

impl<'a> From<&'a Caller> for Applicant<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self { project: &caller.project, is_admin: caller.has(Role::Admin) }
    }
}

/// Refuses applicants who are neither of the project of the namespace nor admins. Does not tell them whose it is.
///
/// # Errors
/// 403.
pub fn check_owner(applicant: Applicant<'_>, project: &ProjectId, namespace: &Namespace) -> Result<(), Problem> {
    if applicant.project == project || applicant.is_admin {
        return Ok(());
    }
    Err(problem!(
        ProblemType::NamespaceNotOwned,
        "namespace '{namespace}' does not belong to project '{project}': use one that does",
        namespace = namespace.as_str(),
        project = applicant.project.0.as_str(),
    ))
}

/// Refuses projects that the identity service does not know, or has disabled.
///
/// # Errors
/// 422.
pub fn check_state(state: ProjectState, project: &ProjectId, namespace: &Namespace) -> Result<(), Problem> {
    let found = match state {
        ProjectState::Enabled => return Ok(()),
        ProjectState::Disabled => "is disabled",
        ProjectState::Unknown => "does not exist",
    };
    Err(problem!(
        ProblemType::Unprocessable,
        "namespace '{namespace}' belongs to project '{project}', which {found} in Keystone: correct the namespace's annotation, or the project",
        namespace = namespace.as_str(),
        project = project.0.as_str(),
        found = found,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::AuthMethod;

    fn name() -> Namespace {
        Namespace::try_from("team-a".to_owned()).unwrap()
    }

    #[test]
    fn annotation_precedes_default_and_an_empty_one_is_none() {
        let project = |annotation: Option<&str>, default: Option<&str>| {
            let rules = TenancyRules {
                annotation: PROJECT_ANNOTATION.to_owned(),
                default_project: default.map(|it| ProjectId(it.to_owned())),
            };
            let annotations = annotation.map(|value| (PROJECT_ANNOTATION.to_owned(), value.to_owned()));
            let namespace = ObservedNamespace { annotations: annotations.into_iter().collect(), ..Default::default() };
            rules.project_of(&name(), &namespace)
        };
        for (annotation, default, expected) in [
            (Some("a"), None, Some("a")),
            (Some("a"), Some("d"), Some("a")),
            (Some(""), Some("d"), Some("d")),
            (None, Some("d"), Some("d")),
            (None, None, None),
            (Some(""), None, None),
            (Some("a\n"), Some("d"), None),
        ] {
            let found = project(annotation, default);
            assert_eq!(found.as_ref().ok().map(|it| it.0.as_str()), expected, "{annotation:?} {default:?}");
        }
        let refused = project(None, None).unwrap_err();
        assert_eq!(refused.status, 422);
        assert!(refused.detail.contains("neutron_defaults.project"), "{}", refused.detail);
    }

    #[test]
    fn owners_and_admins_may_use_a_namespace() {
        let project = ProjectId("a".to_owned());
        for (own, role, allowed) in [
            ("a", Role::Member, true),
            ("b", Role::Member, false),
            ("b", Role::Manager, false),
            ("b", Role::Admin, true),
        ] {
            let caller = Caller::new("s", own, Some(role), AuthMethod::Keystone).unwrap();
            assert_eq!(check_owner((&caller).into(), &project, &name()).is_ok(), allowed, "{own} {role}");
        }
        let caller = Caller::new("s", "b", Some(Role::Member), AuthMethod::Keystone).unwrap();
        assert_eq!(check_owner((&caller).into(), &ProjectId("secret".to_owned()), &name()).unwrap_err().status, 403);
    }

    #[test]
    fn projects_must_exist_and_be_enabled() {
        let project = ProjectId("a".to_owned());
        for (state, allowed) in
            [(ProjectState::Enabled, true), (ProjectState::Disabled, false), (ProjectState::Unknown, false)]
        {
            assert_eq!(check_state(state, &project, &name()).is_ok(), allowed, "{state:?}");
        }
    }
}
