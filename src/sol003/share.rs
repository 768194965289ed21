//! Shares of VIMs and VNF packages at `/tenancy/v1`, an extension of Gybe.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::ProjectId;
use crate::domain::problem::Problem;
use crate::domain::share::{Grantee, VimShare as DomainVimShare};
use crate::domain::vim_policy::NamespacePattern;

/// With whom a VIM is shared.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VimShares {
    /// At most 256.
    pub shares: Vec<VimShare>,
}

/// A project that may use a VIM, or all projects: either `projectId` or `allProjects`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VimShare {
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_projects: Option<bool>,
    /// The namespaces in which it may have VNFs: names, or their beginnings with `*` at the end. 1 to 64 of them.
    pub namespaces: Vec<String>,
}

/// With whom a VNF package is shared.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageShares {
    /// At most 256.
    pub shares: Vec<PackageShare>,
}

/// A project that may use a VNF package, or all projects: either `projectId` or `allProjects`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageShare {
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_projects: Option<bool>,
}

fn grantee(project: Option<String>, all: Option<bool>) -> Result<Grantee, Problem> {
    match (project, all) {
        (Some(project), None | Some(false)) => Ok(Grantee::Project(ProjectId(project))),
        (None, Some(true)) => Ok(Grantee::AllProjects),
        _ => Err(Problem::unprocessable("shares: each has either projectId, or allProjects with true")),
    }
}

impl TryFrom<VimShare> for DomainVimShare {
    type Error = Problem;

    fn try_from(wire: VimShare) -> Result<Self, Problem> {
        let grantee = grantee(wire.project_id, wire.all_projects)?;
        let namespaces = wire.namespaces.into_iter().map(NamespacePattern::try_from).collect::<Result<_, _>>();
        Ok(Self { grantee, namespaces: namespaces.map_err(|error| Problem::unprocessable(error.to_string()))? })
    }
}

impl TryFrom<PackageShare> for Grantee {
    type Error = Problem;

    fn try_from(wire: PackageShare) -> Result<Self, Problem> {
        grantee(wire.project_id, wire.all_projects)
    }
}

impl From<&DomainVimShare> for VimShare {
    fn from(share: &DomainVimShare) -> Self {
        let PackageShare { project_id, all_projects } = PackageShare::from(&share.grantee);
        let namespaces = share.namespaces.iter().map(|one| one.as_str().to_owned()).collect();
        Self { project_id, all_projects, namespaces }
    }
}

impl From<&Grantee> for PackageShare {
    fn from(grantee: &Grantee) -> Self {
        match grantee {
            Grantee::AllProjects => Self { project_id: None, all_projects: Some(true) },
            Grantee::Project(project) => Self { project_id: Some(project.0.clone()), all_projects: None },
        }
    }
}
