//! Makes, adopts and deletes namespaces of projects (`docs/adr/0036-quotas-usage-and-metering-of-projects.md`). The decisions are in
//! [`crate::domain::project_namespace`].
//!
//! The store has a row before anything is made in the cluster, and each step may run twice. So a request that fails or is killed half-way
//! leaves a PENDING or DELETING row, and the same request finishes it.

use std::collections::BTreeMap;

use crate::clock::{Clock, Ids};
use crate::domain::caller::Caller;
use crate::domain::ids::{NamespaceId, ProjectId, VimId};
use crate::domain::namespace::Namespace;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::project_namespace::{
    FoundNamespace, NAMESPACE_ID_ANNOTATION, NamespaceSettings, NamespaceState, ProjectNamespace, check_name,
};
use crate::domain::resource::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::domain::tenancy::ObservedNamespace;
use crate::domain::vim::VimAccess;
use crate::error::ApiError;
use crate::infra::{NamespaceKeeper, NamespaceMarks};
use crate::lcm::tenancy::Tenancy;
use crate::store::{Store, StoreError};

/// How often somebody else may change a Namespace while it is looked at.
const MAX_ATTEMPTS: usize = 5;

/// What an administrator asks for.
#[derive(Clone, Debug)]
pub struct WantedNamespace {
    pub vim: VimId,
    pub name: Namespace,
    pub project: ProjectId,
    pub settings: NamespaceSettings,
}

/// The administration of namespaces.
pub struct Namespaces<'a> {
    pub store: &'a dyn Store,
    pub keeper: &'a dyn NamespaceKeeper,
    pub tenancy: &'a Tenancy,
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn Ids,
    pub caller: &'a Caller,
}

impl Namespaces<'_> {
    /// Makes the namespace, or adopts the one that exists, and all that belongs into it. Finishes what an earlier request left.
    ///
    /// # Errors
    /// 422 (an unknown VIM or project, a value that is too long, an object that the cluster refuses), 409 (another project's namespace,
    /// or one that is being deleted), 403, 503 and 504 as [`Tenancy::decide`].
    pub async fn make(&self, wanted: WantedNamespace) -> Result<ProjectNamespace, ApiError> {
        check_name(&wanted.name)?;
        wanted.settings.check()?;
        self.tenancy.check_project(&wanted.project, &wanted.name).await?;
        let (vim_project, access) = self.vim(wanted.vim, &wanted.project).await?;
        let row = ProjectNamespace {
            id: NamespaceId(self.ids.uuid()),
            project: wanted.project,
            vim: wanted.vim,
            vim_project,
            name: wanted.name,
            uid: None,
            is_made: false,
            settings: wanted.settings,
            state: NamespaceState::Pending,
            created_by: self.caller.subject.clone(),
            created_at: self.clock.now(),
        };
        let mut namespace = self.store.claim_namespace(&row).await?;
        let found = self.present(&access, &namespace).await?;
        namespace.is_made = found.is_made_for(&namespace);
        namespace.uid = Some(found.uid);
        for (object, manifest) in namespace.settings.objects() {
            match manifest {
                Some(manifest) => self.keeper.apply(&access, &namespace.name, object, &manifest).await,
                None => self.keeper.remove(&access, &namespace.name, object).await,
            }
            .map_err(Problem::from)?;
        }
        self.store.finish_namespace(&namespace).await?;
        namespace.state = NamespaceState::Ready;
        Ok(namespace)
    }

    /// The Namespace with all its marks: made, or found and marked.
    async fn present(&self, access: &VimAccess, wanted: &ProjectNamespace) -> Result<FoundNamespace, ApiError> {
        let annotation = &self.tenancy.rules.annotation;
        let project = (annotation.clone(), Some(wanted.project.0.clone()));
        let labels: BTreeMap<String, String> = wanted.settings.labels.clone();
        for _ in 0..MAX_ATTEMPTS {
            let Some(found) = self.keeper.find(access, &wanted.name).await.map_err(Problem::from)? else {
                let mut made = NamespaceMarks { labels: labels.clone(), annotations: [project.clone()].into() };
                made.labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
                made.annotations.insert(NAMESPACE_ID_ANNOTATION.to_owned(), Some(wanted.id.to_string()));
                match self.keeper.make(access, &wanted.name, &made).await.map_err(Problem::from)? {
                    Some(made) => return Ok(made),
                    // Somebody else was faster: look at it.
                    None => continue,
                }
            };
            found.check_usable(wanted, annotation)?;
            let check = self.store.check_unused(wanted, &found.uid, Some(&wanted.project)).await;
            check.map_err(|error| match error {
                StoreError::InUse => StoreError::NamespaceTaken,
                other => other,
            })?;
            let marks = NamespaceMarks { labels: labels.clone(), annotations: [project.clone()].into() };
            if self.keeper.mark(access, &wanted.name, &found, &marks).await.map_err(Problem::from)? {
                return Ok(found);
            }
        }
        Err(problem!(
            ProblemType::ConcurrentChange,
            "others changed namespace '{namespace}' during each of {attempts} attempts: repeat the request",
            namespace = wanted.name.as_str(),
            attempts = MAX_ATTEMPTS,
        )
        .into())
    }

    /// Deletes a Namespace that Gybe made; takes from an adopted one what was given to it. Returns whether all is gone; if not, Kubernetes
    /// is at it, and the same request looks again. In a VIM that is no longer registered, nothing is deleted.
    ///
    /// # Errors
    /// 409 while VNF instances are in it; 403 and 504 of the cluster.
    pub async fn remove(&self, namespace: ProjectNamespace) -> Result<bool, ApiError> {
        let access = match self.access(&namespace.vim_project, namespace.vim).await {
            Err(error) if error.0.status == 404 => {
                self.store.begin_namespace_deletion(&namespace).await?;
                self.store.forget_namespace(namespace.id).await?;
                return Ok(true);
            }
            other => other?,
        };
        let found = self.keeper.find(&access, &namespace.name).await.map_err(Problem::from)?;
        // Another Namespace of that name is not this one.
        let is_this = |found: &FoundNamespace| {
            found.is_made_for(&namespace) || namespace.uid.as_ref().is_some_and(|uid| *uid == found.uid)
        };
        let found = found.filter(is_this);
        let uid = found.as_ref().map(|found| found.uid.clone()).or_else(|| namespace.uid.clone());
        let is_made = namespace.is_made || found.as_ref().is_some_and(|found| found.is_made_for(&namespace));
        let namespace = ProjectNamespace { uid, is_made, ..namespace };
        self.store.begin_namespace_deletion(&namespace).await?;
        if let Some(found) = found {
            if namespace.is_made {
                self.keeper.delete(&access, &namespace.name, &found.uid).await.map_err(Problem::from)?;
                let left = self.keeper.find(&access, &namespace.name).await.map_err(Problem::from)?;
                if left.is_some_and(|left| left.uid == found.uid) {
                    return Ok(false);
                }
            } else {
                self.give_back(&access, &namespace, found).await?;
            }
        }
        self.store.forget_namespace(namespace.id).await?;
        Ok(true)
    }

    /// Removes the objects and the annotation of an adopted Namespace. Its labels stay.
    async fn give_back(
        &self,
        access: &VimAccess,
        namespace: &ProjectNamespace,
        mut found: FoundNamespace,
    ) -> Result<(), ApiError> {
        for (object, _) in namespace.settings.objects() {
            self.keeper.remove(access, &namespace.name, object).await.map_err(Problem::from)?;
        }
        let annotation = &self.tenancy.rules.annotation;
        for _ in 0..MAX_ATTEMPTS {
            if found.is_terminating || found.named_project(annotation) != Some(namespace.project.0.as_str()) {
                return Ok(());
            }
            let marks =
                NamespaceMarks { annotations: [(annotation.clone(), None)].into(), ..NamespaceMarks::default() };
            if self.keeper.mark(access, &namespace.name, &found, &marks).await.map_err(Problem::from)? {
                return Ok(());
            }
            match self.keeper.find(access, &namespace.name).await.map_err(Problem::from)? {
                Some(again) if again.uid == found.uid => found = again,
                _ => return Ok(()),
            }
        }
        Err(StoreError::Stale.into())
    }

    /// Follows the Namespace as it is now: the project that its annotation names, and its uid, if somebody made it again.
    ///
    /// # Errors
    /// 409 while VNF instances are in it, and unless it is READY; 422 if the Namespace does not exist or names no project that exists.
    pub async fn resync(&self, namespace: ProjectNamespace) -> Result<ProjectNamespace, ApiError> {
        let access = self.access(&namespace.vim_project, namespace.vim).await?;
        let found = self.keeper.find(&access, &namespace.name).await.map_err(Problem::from)?;
        let found = found.filter(|found| !found.is_terminating).ok_or_else(|| {
            problem!(
                ProblemType::Unprocessable,
                "namespace '{namespace}' does not exist in the VIM: delete it here, or create it again",
                namespace = namespace.name.as_str(),
            )
        })?;
        let observed = ObservedNamespace { uid: found.uid.clone(), annotations: found.annotations.clone() };
        let project = self.tenancy.rules.project_of(&namespace.name, &observed)?;
        self.tenancy.check_project(&project, &namespace.name).await?;
        let is_made = found.is_made_for(&namespace);
        let moved = ProjectNamespace { project, uid: Some(found.uid), is_made, ..namespace };
        self.store.move_namespace(&moved).await?;
        Ok(moved)
    }

    /// The VIM, which the administrator's project or that of the namespace has registered.
    async fn vim(&self, id: VimId, project: &ProjectId) -> Result<(ProjectId, VimAccess), ApiError> {
        for owner in [&self.caller.project, project] {
            match self.access(owner, id).await {
                Err(error) if error.0.status == 404 => {}
                other => return Ok((owner.clone(), other?)),
            }
        }
        Err(problem!(
            ProblemType::Unprocessable,
            "vimId: neither your project nor that of the namespace has VIM {id}: register it in one of them",
            id = id.to_string(),
        )
        .into())
    }

    async fn access(&self, project: &ProjectId, id: VimId) -> Result<VimAccess, ApiError> {
        let vim = self.store.vim(project, id).await.map_err(|error| match error {
            StoreError::NotFound => Problem::not_found("VIM", &id.to_string()).into(),
            other => ApiError::from(other),
        })?;
        Ok(vim.access().map_err(|reason| Problem::new(ProblemType::VimUnusable, reason))?)
    }
}
