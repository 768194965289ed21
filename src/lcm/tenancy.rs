//! Decides which project the namespace of an instantiation belongs to (`docs/adr/0034-namespaces-of-projects.md`): before it is accepted
//! (`crate::lcm::accept`), or, if an NFVO chooses the VIM, when it has (`crate::conductor::grant`). The rules are in
//! [`crate::domain::tenancy`].

use std::sync::Arc;

use crate::auth::keystone::projects::Projects;
use crate::domain::ids::ProjectId;
use crate::domain::namespace::Namespace;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::tenancy::{Applicant, NamespaceProject, ObservedNamespace, TenancyRules, check_owner, check_state};
use crate::domain::vim::VimAccess;
use crate::infra::Observer;

/// The rules of the site, and where projects are looked up.
pub struct Tenancy {
    pub rules: TenancyRules,
    /// `None`: nobody is asked whether a project exists.
    pub projects: Option<Projects>,
    /// Reads the Namespace.
    pub observer: Arc<dyn Observer>,
}

impl Tenancy {
    /// The project of the namespace, into which `applicant` wants to put a VNF.
    ///
    /// # Errors
    /// 422 (no such namespace; it has no project, or one that does not exist), 403 (the project is not the applicant's; the VIM's
    /// credential may not read the Namespace), 503 (Keystone does not answer), 504 (the cluster does not answer).
    pub async fn decide(
        &self,
        access: &VimAccess,
        name: &Namespace,
        applicant: Applicant<'_>,
    ) -> Result<NamespaceProject, Problem> {
        let namespace = self.read(access, name).await?.ok_or_else(|| {
            problem!(
                ProblemType::Unprocessable,
                "namespace '{namespace}' does not exist in the VIM: create it for its project first",
                namespace = name.as_str(),
            )
        })?;
        let project = self.rules.project_of(name, &namespace)?;
        check_owner(applicant, &project, name)?;
        self.check_project(&project, name).await?;
        Ok(NamespaceProject { namespace_uid: namespace.uid, project })
    }

    /// Refuses a project of the namespace that does not exist, or is disabled.
    ///
    /// # Errors
    /// 422, and 503 (Keystone does not answer).
    pub async fn check_project(&self, project: &ProjectId, name: &Namespace) -> Result<(), Problem> {
        let Some(projects) = &self.projects else { return Ok(()) };
        let state = projects.state(project).await.map_err(|_| {
            problem!(
                ProblemType::ProjectUnverified,
                "Keystone does not say whether the project of namespace '{namespace}' exists: repeat the request later",
                namespace = name.as_str(),
            )
        })?;
        check_state(state, project, name)
    }

    /// The Namespace, if it exists.
    ///
    /// # Errors
    /// 403 and 504, as in [`Self::decide`].
    pub async fn read(&self, access: &VimAccess, name: &Namespace) -> Result<Option<ObservedNamespace>, Problem> {
        self.observer.namespace(access, name).await.map_err(Problem::from)
    }
}
