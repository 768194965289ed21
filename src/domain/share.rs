//! Shares: a VIM or a VNF package that further projects may use. Only its owner changes it; admins share it.

use std::collections::HashSet;

use crate::domain::caller::is_name;
use crate::domain::ids::ProjectId;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::vim_policy::NamespacePattern;

/// The most shares of a VIM or package.
pub const MAX_SHARES: usize = 256;

/// With whom something is shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grantee {
    AllProjects,
    Project(ProjectId),
}

/// A share of a VIM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VimShare {
    pub grantee: Grantee,
    /// The namespaces in which the grantee may have VNFs.
    pub namespaces: Vec<NamespacePattern>,
}

/// Checks with whom something of `owner` is to be shared.
///
/// # Errors
/// 422 for too many, for one that is named twice, for a text that is no project, and for the owner.
pub fn check<'a>(owner: &ProjectId, grantees: impl ExactSizeIterator<Item = &'a Grantee>) -> Result<(), Problem> {
    if grantees.len() > MAX_SHARES {
        return Err(problem!(
            ProblemType::Unprocessable,
            "there are {number} shares, and may be {limit}: share with allProjects instead",
            number = grantees.len(),
            limit = MAX_SHARES,
        ));
    }
    let mut seen = HashSet::new();
    for grantee in grantees {
        let name = match grantee {
            Grantee::AllProjects => "allProjects",
            Grantee::Project(project) => project.0.as_str(),
        };
        let wrong = match grantee {
            Grantee::Project(_) if !is_name(name) => "must have 1 to 255 bytes and no control characters",
            Grantee::Project(project) if project == owner => "is the owner: leave it out",
            _ if !seen.insert(grantee) => "is there twice: give it once",
            _ => continue,
        };
        return Err(problem!(
            ProblemType::Unprocessable,
            "shares: the project '{project}' {reason}",
            project = name,
            reason = wrong,
        ));
    }
    Ok(())
}

/// 403: the caller's project may use the `what` of this id, which another project shares, and not change it.
pub fn read_only(what: &str, id: &str) -> Problem {
    problem!(
        ProblemType::SharedReadOnly,
        "{what} {id} is another project's, which shares it with yours: only its owner may change or delete it",
        what = what,
        id = id,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_few_and_each_with_another_project() {
        let owner = ProjectId("owner".to_owned());
        let project = |name: &str| Grantee::Project(ProjectId(name.to_owned()));
        let many = |number: usize| (0..number).map(|number| project(&number.to_string())).collect::<Vec<_>>();
        for (grantees, expected) in [
            (vec![], None),
            (vec![project("a"), project("*"), Grantee::AllProjects], None),
            (many(256), None),
            (many(257), Some("257 shares")),
            (vec![project("a"), project("a")], Some("'a' is there twice")),
            (vec![Grantee::AllProjects, Grantee::AllProjects], Some("twice")),
            (vec![project("owner")], Some("is the owner")),
            (vec![project("")], Some("1 to 255 bytes")),
            (vec![project("a\0")], Some("1 to 255 bytes")),
            (vec![project(&"a".repeat(256))], Some("1 to 255 bytes")),
        ] {
            match (check(&owner, grantees.iter()), expected) {
                (Ok(()), None) => {}
                (Err(problem), Some(expected)) => assert!(problem.detail.contains(expected), "{}", problem.detail),
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        }
    }
}
