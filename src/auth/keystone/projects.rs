//! Whether a project exists in Keystone. `crate::lcm::tenancy` asks before it lets a VNF into a namespace of the project.

use http::StatusCode;
use serde::Deserialize;

use crate::auth::AuthConfigError;
use crate::auth::keystone::KeystoneOptions;
use crate::auth::keystone::session::{Scope, Session, Unavailable, body, unavailable};
use crate::domain::ids::ProjectId;
use crate::domain::tenancy::ProjectState;

/// The longest id of a project.
const LONGEST_ID: usize = 64;

/// The projects of one Keystone.
pub struct Projects {
    session: Session,
}

/// The body of `GET /v3/projects/{id}`.
#[derive(Deserialize)]
struct ProjectBody {
    project: Project,
}

#[derive(Deserialize)]
struct Project {
    enabled: bool,
}

impl Projects {
    /// The projects of the configured Keystone. It sends nothing yet.
    ///
    /// # Errors
    /// [`AuthConfigError`].
    pub fn new(options: &KeystoneOptions) -> Result<Self, AuthConfigError> {
        Ok(Self { session: Session::new(options, Scope::System)? })
    }

    /// Whether the project exists and is enabled.
    ///
    /// # Errors
    /// [`Unavailable`]: Keystone does not say.
    pub async fn state(&self, project: &ProjectId) -> Result<ProjectState, Unavailable> {
        if !is_id(&project.0) {
            return Ok(ProjectState::Unknown);
        }
        let response = self.session.get(&format!("/projects/{}", project.0), &[]).await?;
        match response.status {
            StatusCode::OK if body::<ProjectBody>(&response)?.project.enabled => Ok(ProjectState::Enabled),
            StatusCode::OK => Ok(ProjectState::Disabled),
            StatusCode::NOT_FOUND => Ok(ProjectState::Unknown),
            StatusCode::FORBIDDEN => {
                Err(unavailable("its user may not read projects: give it the role 'reader' of the system"))
            }
            status => Err(unavailable(&format!("it answers the request for a project with {status}"))),
        }
    }
}

/// Whether Keystone may have given this id: nothing that would change the path of a URL.
fn is_id(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_change_the_path() {
        for (text, expected) in [
            ("63a657a473ec45cc95bf0a4b89294f4f", true),
            ("default", true),
            ("", false),
            ("../users", false),
            ("a?b", false),
            ("a%2fb", false),
            ("\u{e9}", false),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(is_id(text), expected, "{text}");
        }
    }
}
