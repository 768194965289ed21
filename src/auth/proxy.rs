//! An authenticating proxy: its headers name the caller. Only those of the configured networks count; whoever else sends them says
//! nothing with them.

use ipnet::IpNet;
use serde::Deserialize;

use crate::auth::{AuthConfigError, AuthError, Credentials, RoleNames};
use crate::domain::caller::{AuthMethod, Caller};

/// The table `[auth.proxy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyOptions {
    /// The networks from which the proxy connects, such as `10.0.0.7/32`.
    pub networks: Vec<IpNet>,
    #[serde(default = "subject_header")]
    pub subject_header: String,
    #[serde(default = "project_header")]
    pub project_header: String,
    /// The names of the caller's roles, separated by commas.
    #[serde(default = "roles_header")]
    pub roles_header: String,
}

fn subject_header() -> String {
    "X-User-Id".to_owned()
}

fn project_header() -> String {
    "X-Project-Id".to_owned()
}

fn roles_header() -> String {
    "X-Roles".to_owned()
}

/// The method.
pub struct Proxy {
    networks: Vec<IpNet>,
    subject: String,
    project: String,
    roles: String,
    role_names: RoleNames,
}

impl Proxy {
    /// The proxy of the configuration.
    ///
    /// # Errors
    /// [`AuthConfigError`]: it names no network, or the name of a header is not valid.
    pub fn new(options: &ProxyOptions, role_names: RoleNames) -> Result<Self, AuthConfigError> {
        if options.networks.is_empty() {
            return Err(AuthConfigError(
                "auth.proxy.networks must name the addresses from which the proxy connects, such as '10.0.0.7/32'"
                    .to_owned(),
            ));
        }
        let name = |option: &str, name: &str| match name.parse::<http::HeaderName>() {
            Ok(name) => Ok(name.as_str().to_owned()),
            Err(_) => Err(AuthConfigError(format!("auth.proxy.{option} must be the name of an HTTP header"))),
        };
        Ok(Self {
            networks: options.networks.clone(),
            subject: name("subject_header", &options.subject_header)?,
            project: name("project_header", &options.project_header)?,
            roles: name("roles_header", &options.roles_header)?,
            role_names,
        })
    }

    /// The caller whom the proxy names; `None` if the request does not come from the proxy, or the proxy names nobody.
    ///
    /// # Errors
    /// The proxy names a caller incompletely or twice: a client may have added a header to the proxy's.
    pub fn caller(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        let is_proxy = credentials.peer.is_some_and(|peer| {
            let peer = peer.to_canonical();
            self.networks.iter().any(|network| network.contains(&peer))
        });
        if !is_proxy {
            return Ok(None);
        }
        let Some(subject) = credentials.header(&self.subject)? else { return Ok(None) };
        let project = credentials.header(&self.project)?.unwrap_or_default();
        let roles = credentials.header(&self.roles)?.unwrap_or_default();
        let role = self.role_names.highest(roles.split(',').map(str::trim));
        let caller = Caller::new(subject, project, role, AuthMethod::Proxy);
        caller.map(Some).map_err(|error| AuthError::Invalid(format!("the proxy's headers: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::with_headers;
    use crate::domain::caller::Role;

    fn proxy() -> Proxy {
        let options: ProxyOptions = toml::from_str("networks = ['10.0.0.7/32', 'fd00::/64']").unwrap();
        Proxy::new(&options, RoleNames::default()).unwrap()
    }

    const IDENTITY: [(&str, &str); 3] =
        [("X-User-Id", "nfvo"), ("X-Project-Id", "edge"), ("X-Roles", "reader, member")];

    #[test]
    fn believes_only_the_named_peers() {
        let caller = |peer| with_headers(&IDENTITY, peer, |it| proxy().caller(it).unwrap());
        for peer in [Some("10.0.0.7"), Some("::ffff:10.0.0.7"), Some("fd00::1")] {
            let caller = caller(peer).unwrap();
            assert_eq!((caller.subject.as_str(), caller.project.0.as_str()), ("nfvo", "edge"));
            assert_eq!(caller.role, Some(Role::Member));
        }
        for peer in [Some("10.0.0.8"), Some("127.0.0.1"), None] {
            assert_eq!(caller(peer), None, "{peer:?}");
        }
    }

    #[test]
    fn refuses_a_header_that_a_client_added() {
        let mut twice = IDENTITY.to_vec();
        twice.push(("x-project-id", "other"));
        assert!(with_headers(&twice, Some("10.0.0.7"), |it| proxy().caller(it)).is_err());
        assert!(with_headers(&IDENTITY[..1], Some("10.0.0.7"), |it| proxy().caller(it)).is_err(), "no project");
        assert_eq!(with_headers(&IDENTITY[1..], Some("10.0.0.7"), |it| proxy().caller(it)), Ok(None));
    }

    #[test]
    fn needs_networks_and_names_of_headers() {
        for wrong in ["networks = []", "networks = ['10.0.0.7/32']\nroles_header = 'a b'"] {
            let options: ProxyOptions = toml::from_str(wrong).unwrap();
            assert!(Proxy::new(&options, RoleNames::default()).is_err(), "{wrong}");
        }
    }
}
