//! Who sends a request: [`Caller`], which `auth` makes from the credential of a request, and [`Role`]. What a role may do:
//! [`super::policy`].

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::domain::ids::ProjectId;

/// The longest subject or project that a caller may have, in bytes.
pub const LONGEST_NAME: usize = 255;

/// What a caller may do in its project. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what the project has.
    Reader,
    /// Works with it: packages, VIMs, VNF instances, subscriptions.
    Member,
    /// Decides for the project.
    Manager,
    /// Operates Gybe: all projects.
    Admin,
}

impl Role {
    /// All roles, from the least to the most powerful.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Member, Self::Manager, Self::Admin];

    /// The name, as Keystone's bootstrap spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Manager => "manager",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a [`Role`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a role; the roles are reader, member, manager and admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Self::ALL.into_iter().find(|role| text.eq_ignore_ascii_case(role.as_str()));
        role.ok_or_else(|| UnknownRole(text.chars().take(64).collect()))
    }
}

/// How a caller proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// Not at all: Gybe serves loopback only, without authentication.
    None,
    /// A static token of the token file, or one that Gybe issued to a user.
    Token,
    /// User name and password (RFC 7617).
    Basic,
    /// A signed JWT (RFC 7519) as bearer token.
    Jwt,
    /// A bearer token that its issuer confirmed (RFC 7662).
    Introspection,
    /// A token of Keystone.
    Keystone,
    /// A client certificate (TLS).
    Certificate,
    /// The headers of a trusted proxy.
    Proxy,
}

impl AuthMethod {
    /// All methods.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Token,
        Self::Basic,
        Self::Jwt,
        Self::Introspection,
        Self::Keystone,
        Self::Certificate,
        Self::Proxy,
    ];

    /// The name, in the configuration and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::Keystone => "keystone",
            Self::Certificate => "certificate",
            Self::Proxy => "proxy",
        }
    }
}

/// Who sends a request, for which project, with which role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the person or program, within its method.
    pub subject: String,
    pub project: ProjectId,
    /// The most powerful of its roles; `None`: it has none that Gybe knows.
    pub role: Option<Role>,
    pub method: AuthMethod,
}

/// Why there is no caller with such a subject and project.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {0} must have 1 to 255 bytes and no control characters")]
pub struct InvalidName(&'static str);

/// Whether a text can be a subject or project.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

impl Caller {
    /// A caller with these names, which come from outside.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn new(
        subject: impl Into<String>,
        project: impl Into<String>,
        role: Option<Role>,
        method: AuthMethod,
    ) -> Result<Self, InvalidName> {
        let (subject, project) = (subject.into(), project.into());
        for (name, value) in [("subject", &subject), ("project", &project)] {
            if !is_name(value) {
                return Err(InvalidName(name));
            }
        }
        Ok(Self { subject, project: ProjectId(project), role, method })
    }

    /// Everybody who reaches a Gybe without authentication, which serves loopback only.
    pub fn local() -> Self {
        Self {
            subject: "local".to_owned(),
            project: ProjectId::default(),
            role: Some(Role::Admin),
            method: AuthMethod::None,
        }
    }

    /// Whether it has `role` or a more powerful one.
    pub fn has(&self, role: Role) -> bool {
        self.role.is_some_and(|own| own >= role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_those_before_it_may() {
        let caller = |role| Caller::new("s", "p", role, AuthMethod::Token).unwrap();
        for (own, allowed) in [(None, 0), (Some(Role::Reader), 1), (Some(Role::Member), 2), (Some(Role::Admin), 4)] {
            let count = Role::ALL.into_iter().filter(|role| caller(own).has(*role)).count();
            assert_eq!(count, allowed, "{own:?}");
        }
        assert_eq!("Manager".parse(), Ok(Role::Manager));
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn names_from_outside_are_bounded() {
        let name = "a".repeat(256);
        for (subject, project) in [("", "p"), ("s", ""), ("s\n", "p"), ("s", "p\0"), (&name, "p"), ("s", &name)] {
            assert!(Caller::new(subject, project, None, AuthMethod::Jwt).is_err(), "{subject:?} {project:?}");
        }
    }
}
