//! Who calls: from the credential of a request to a [`Caller`]. A file per method; the configuration says which are on.
//!
//! `api` asks [`Authenticator::authenticate`] for each request that needs a credential ([`crate::domain::policy`]). The methods
//! are asked in a fixed order, and the first one that knows the credential decides. Credentials never reach logs or answers.

pub mod basic;
pub mod certificate;
pub mod claims;
pub mod introspection;
pub mod issued;
pub mod jwks;
pub mod jwt;
pub mod keystone;
pub mod proxy;
pub mod service;
pub mod session;
pub mod token_cache;
pub mod tokens;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::auth::basic::{Basic, BasicOptions};
use crate::auth::certificate::{CertificateOptions, Certificates, ClientCertificate};
use crate::auth::introspection::{Introspection, IntrospectionOptions};
use crate::auth::issued::{IssuedTokens, TokenKey};
use crate::auth::jwt::{Jwt, JwtOptions};
use crate::auth::keystone::{Keystone, KeystoneOptions};
use crate::auth::proxy::{Proxy, ProxyOptions};
use crate::auth::tokens::StaticTokens;
use crate::clock::{Clock as _, System};
use crate::domain::caller::{AuthMethod, Caller, Role};
use crate::domain::ids::ProjectId;
use crate::domain::secret::Secret;
use crate::outbound::OutboundConfig;

/// The values of a header, by its name in lower case.
pub type Headers<'a> = Box<dyn Fn(&str) -> Vec<&'a [u8]> + 'a>;

/// What a request says about its sender.
pub struct Credentials<'a> {
    pub headers: Headers<'a>,
    /// The address of the connection's other end.
    pub peer: Option<IpAddr>,
    /// The certificate of the connection's other end, which is valid.
    pub certificate: Option<&'a ClientCertificate>,
    /// The method of the request.
    pub method: &'a str,
    /// The path of the request, as it was sent.
    pub path: &'a str,
}

/// A header that is a credential or an identity has several values or bytes that are no text: nobody can say which one counts.
const AMBIGUOUS: &str = "a header with a credential must be there once, as text";

impl<'a> Credentials<'a> {
    /// The value of a header; `None` if the request does not have it.
    ///
    /// # Errors
    /// [`AuthError::Invalid`]: it has several values, or one that is not text.
    pub fn header(&self, name: &str) -> Result<Option<&'a str>, AuthError> {
        match (self.headers)(name)[..] {
            [] => Ok(None),
            [value] => std::str::from_utf8(value).map(Some).map_err(|_| AuthError::Invalid(AMBIGUOUS.to_owned())),
            _ => Err(AuthError::Invalid(AMBIGUOUS.to_owned())),
        }
    }

    /// The credentials of `Authorization` with this scheme (RFC 9110 section 11.4).
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn authorization(&self, scheme: &str) -> Result<Option<&'a str>, AuthError> {
        let value = self.header("authorization")?.and_then(|value| value.split_once(' '));
        Ok(value.filter(|(own, _)| own.eq_ignore_ascii_case(scheme)).map(|(_, credentials)| credentials.trim()))
    }

    /// The bearer token (RFC 6750 section 2.1).
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn bearer(&self) -> Result<Option<&'a str>, AuthError> {
        self.authorization("bearer")
    }

    /// User name and password of HTTP Basic (RFC 7617).
    ///
    /// # Errors
    /// As [`header`](Self::header), and if they can't be decoded.
    pub fn basic(&self) -> Result<Option<(String, String)>, AuthError> {
        let Some(encoded) = self.authorization("basic")? else { return Ok(None) };
        let decoded = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let unreadable = || AuthError::Invalid("the credentials of HTTP Basic can't be decoded".to_owned());
        pair.map(|(user, password)| Some((user.to_owned(), password.to_owned()))).ok_or_else(unreadable)
    }

    /// The token of OpenStack's clients.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn auth_token(&self) -> Result<Option<&'a str>, AuthError> {
        self.header("x-auth-token")
    }
}

/// Why a request has no caller. The texts are for the sender and say nothing of the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It carries no credential of a method that is on.
    #[error("the request carries no credential that this server knows")]
    Missing,
    /// The credential is wrong, expired or revoked.
    #[error("{0}")]
    Invalid(String),
    /// Too many wrong credentials in a short time.
    #[error("too many failed attempts")]
    Throttled {
        /// When the next attempt may come.
        retry_after: Duration,
    },
    /// The service that checks the credential does not answer. Never an answer about the credential.
    #[error("{0} does not answer, so that the credential cannot be checked")]
    Unavailable(&'static str),
}

/// The SHA-256 digest of a token: tokens are kept and found by it, so that the time of a look-up says nothing about a token.
pub type TokenDigest = [u8; SHA256_OUTPUT_LEN];

/// The digest of `token`.
pub fn token_digest(token: &str) -> TokenDigest {
    let mut sum = [0; SHA256_OUTPUT_LEN];
    sum.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    sum
}

/// Which names of roles, as tokens and identity services spell them, mean which role. A role's own name always means it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct RoleNames(BTreeMap<Role, Vec<String>>);

impl RoleNames {
    /// Checks that no role has the name of another one.
    fn check(&self) -> Result<(), AuthConfigError> {
        let names = self.0.values().flatten();
        match names.into_iter().find(|name| name.parse::<Role>().is_ok()) {
            Some(name) => Err(AuthConfigError(format!("auth.roles: '{name}' always means itself: leave it out"))),
            None => Ok(()),
        }
    }

    /// The most powerful of these roles; `None` if Gybe knows none of them.
    pub fn highest<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<Role> {
        names.into_iter().filter_map(|name| self.role(name)).max()
    }

    fn role(&self, name: &str) -> Option<Role> {
        let mapped = self.0.iter().rev().find(|(_, names)| names.iter().any(|own| own == name));
        mapped.map(|(role, _)| *role).or_else(|| name.parse().ok())
    }
}

/// The project of a credential whose table names none.
fn default_project() -> String {
    ProjectId::DEFAULT.to_owned()
}

/// The table `[auth]` of the configuration file. Each method that has a table in it is on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthOptions {
    /// Names of roles besides their own.
    #[serde(default)]
    pub roles: RoleNames,
    pub jwt: Option<JwtOptions>,
    pub introspection: Option<IntrospectionOptions>,
    pub basic: Option<BasicOptions>,
    pub certificate: Option<CertificateOptions>,
    pub keystone: Option<KeystoneOptions>,
    pub proxy: Option<ProxyOptions>,
}

impl AuthOptions {
    /// Whether a method is on.
    pub fn has_method(&self) -> bool {
        !self.methods().is_empty()
    }

    /// The methods that are on, in the order in which they are asked.
    pub fn methods(&self) -> Vec<AuthMethod> {
        let all = [
            (AuthMethod::Jwt, self.jwt.is_some()),
            (AuthMethod::Introspection, self.introspection.is_some()),
            (AuthMethod::Basic, self.basic.is_some()),
            (AuthMethod::Keystone, self.keystone.is_some()),
            (AuthMethod::Certificate, self.certificate.is_some()),
            (AuthMethod::Proxy, self.proxy.is_some()),
        ];
        all.into_iter().filter(|(_, is_on)| *is_on).map(|(method, _)| method).collect()
    }

    /// Whether a method is on besides client certificates.
    pub fn has_other_method(&self) -> bool {
        self.methods().iter().any(|method| *method != AuthMethod::Certificate)
    }
}

/// Why the methods can't be set up. The text names the table or file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthConfigError(pub String);

/// Requests whose credentials take time to check: others check them, or wait for their turn. More are refused at once, so that they
/// don't take the places of requests that are answered from memory.
const WAITING: usize = 256;

struct Waiting(Semaphore);

impl Default for Waiting {
    fn default() -> Self {
        Self(Semaphore::new(WAITING))
    }
}

/// The methods that are on.
#[derive(Default)]
pub struct Authenticator {
    waiting: Waiting,
    tokens: Option<StaticTokens>,
    jwt: Option<Jwt>,
    introspection: Option<Introspection>,
    basic: Option<Basic>,
    /// For the users of `basic`.
    issued: Option<IssuedTokens>,
    certificates: Option<Certificates>,
    keystone: Option<Keystone>,
    proxy: Option<Proxy>,
}

impl Authenticator {
    /// The methods of the configuration. `tokens` are those of the token file, if there is one; `keys` are for tokens that Gybe
    /// issues, `outbound` for requests to services that check credentials.
    ///
    /// # Errors
    /// [`AuthConfigError`].
    pub fn new(
        options: &AuthOptions,
        tokens: Option<StaticTokens>,
        keys: &[TokenKey],
        outbound: &OutboundConfig,
    ) -> Result<Self, AuthConfigError> {
        let roles = || options.roles.clone();
        let introspection = options.introspection.as_ref();
        options.roles.check()?;
        Ok(Self {
            waiting: Waiting::default(),
            tokens,
            jwt: options.jwt.as_ref().map(|jwt| Jwt::new(jwt, roles(), outbound)).transpose()?,
            introspection: introspection.map(|it| Introspection::new(it, roles(), outbound)).transpose()?,
            basic: options.basic.as_ref().map(Basic::new).transpose()?,
            issued: options.basic.as_ref().map(|_| IssuedTokens::new(keys)).transpose()?,
            certificates: options.certificate.as_ref().map(Certificates::new).transpose()?,
            keystone: options.keystone.as_ref().map(|keystone| Keystone::new(keystone, roles())).transpose()?,
            proxy: options.proxy.as_ref().map(|proxy| Proxy::new(proxy, roles())).transpose()?,
        })
    }

    /// Whether callers are authenticated at all.
    pub const fn is_on(&self) -> bool {
        self.takes_bearer_tokens()
            || self.basic.is_some()
            || self.keystone.is_some()
            || self.certificates.is_some()
            || self.proxy.is_some()
    }

    const fn takes_bearer_tokens(&self) -> bool {
        self.tokens.is_some() || self.jwt.is_some() || self.introspection.is_some() || self.issued.is_some()
    }

    /// The values of `WWW-Authenticate` in a 401 (RFC 9110 section 11.6.1).
    pub fn challenges(&self) -> Vec<String> {
        let bearer = self.takes_bearer_tokens().then(|| "Bearer realm=\"gybe\"".to_owned());
        let basic = self.basic.is_some().then(|| "Basic realm=\"gybe\", charset=\"UTF-8\"".to_owned());
        let keystone = self.keystone.as_ref().map(Keystone::challenge);
        let mut challenges: Vec<String> = bearer.into_iter().chain(basic).chain(keystone).collect();
        if challenges.is_empty() {
            // A proxy or a certificate decides: there is nothing that the client could send here.
            challenges.push("Gybe realm=\"gybe\"".to_owned());
        }
        challenges
    }

    /// The caller of a request. Without any method that is on: [`Caller::local`].
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Caller, AuthError> {
        if !self.is_on() {
            return Ok(Caller::local());
        }
        self.bounded(self.ask_methods(credentials)).await
    }

    /// Completes `check` if it does so at once, or if not too many wait.
    async fn bounded<T>(&self, check: impl Future<Output = Result<T, AuthError>>) -> Result<T, AuthError> {
        let mut check = pin!(check);
        if let Poll::Ready(done) = futures::poll!(check.as_mut()) {
            return done;
        }
        let _permit = self.waiting.0.try_acquire().map_err(|_| AuthError::Unavailable("the queue of credentials"))?;
        check.await
    }

    async fn ask_methods(&self, credentials: &Credentials<'_>) -> Result<Caller, AuthError> {
        if let Some(tokens) = &self.tokens
            && let Some(caller) = tokens.caller(credentials)?
        {
            return Ok(caller);
        }
        if let Some(jwt) = &self.jwt
            && let Some(caller) = jwt.caller(credentials).await?
        {
            return Ok(caller);
        }
        if let Some(caller) = self.user_of_issued_token(credentials)? {
            return Ok(caller);
        }
        if let Some(introspection) = &self.introspection
            && let Some(caller) = introspection.caller(credentials).await?
        {
            return Ok(caller);
        }
        if let Some(basic) = &self.basic
            && let Some(caller) = basic.caller(credentials).await?
        {
            return Ok(caller);
        }
        if let Some(keystone) = &self.keystone
            && let Some(caller) = keystone.caller(credentials).await?
        {
            return Ok(caller);
        }
        if let Some(caller) = self.certificates.as_ref().and_then(|certificates| certificates.caller(credentials)) {
            return Ok(caller);
        }
        if let Some(proxy) = &self.proxy
            && let Some(caller) = proxy.caller(credentials)?
        {
            return Ok(caller);
        }
        Err(AuthError::Missing)
    }

    /// Whether there are users who may have tokens.
    pub const fn issues_tokens(&self) -> bool {
        self.issued.is_some()
    }

    /// A token for a user of `[auth.basic]`, who sent the password from `peer`.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn issue_token(&self, name: String, password: String, peer: Option<IpAddr>) -> Result<Secret, AuthError> {
        let (Some(basic), Some(issued)) = (&self.basic, &self.issued) else {
            return Err(AuthError::Invalid("there are no users: [auth.basic] is not configured".to_owned()));
        };
        let user = self.bounded(basic.check(name, password, peer)).await?;
        issued.issue(&user.subject, System.now())
    }

    fn user_of_issued_token(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        let (Some(basic), Some(issued)) = (&self.basic, &self.issued) else { return Ok(None) };
        let Some(token) = credentials.bearer()? else { return Ok(None) };
        let Some(name) = issued.user(token)? else { return Ok(None) };
        let gone = || AuthError::Invalid("the user of the token no longer exists".to_owned());
        basic.user(&name).ok_or_else(gone).map(|user| Some(Caller { method: AuthMethod::Token, ..user }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Calls `use_them` with the credentials of a request that has these headers and comes from `peer`.
    pub(crate) fn with_headers<'h, R>(
        headers: &'h [(&'h str, &'h str)],
        peer: Option<&str>,
        use_them: impl FnOnce(&Credentials<'h>) -> R,
    ) -> R {
        let values = move |name: &str| {
            let values = headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
            values.map(|(_, value)| value.as_bytes()).collect()
        };
        let peer = peer.map(|address| address.parse().unwrap());
        let headers = Box::new(values);
        use_them(&Credentials { headers, peer, certificate: None, method: "GET", path: "/" })
    }

    #[test]
    fn reads_credentials_that_are_there_once() {
        for (headers, expected) in [
            (&[("Authorization", "Bearer abc")][..], Ok(Some("abc"))),
            (&[("authorization", "bearer  abc ")], Ok(Some("abc"))),
            (&[("Authorization", "Basic abc")], Ok(None)),
            (&[], Ok(None)),
            (
                &[("Authorization", "Bearer abc"), ("Authorization", "Bearer def")],
                Err(AuthError::Invalid(AMBIGUOUS.to_owned())),
            ),
        ] {
            assert_eq!(with_headers(headers, None, |it| it.bearer()), expected, "{headers:?}");
        }
        let basic = |value| with_headers(&[("Authorization", value)], None, |it| it.basic());
        assert_eq!(basic("Basic aWJtOmE6Yg=="), Ok(Some(("ibm".to_owned(), "a:b".to_owned()))));
        assert!(basic("Basic ???").is_err());
        assert!(basic("Basic aWJt").is_err());
    }

    #[test]
    fn maps_names_of_roles() {
        let names: RoleNames = toml::from_str("member = ['vnf-operator']\nadmin = ['cloud_admin']").unwrap();
        for (roles, expected) in [
            (&["vnf-operator", "reader"][..], Some(Role::Member)),
            (&["cloud_admin"], Some(Role::Admin)),
            (&["Manager", "other"], Some(Role::Manager)),
            (&["other"], None),
            (&[], None),
        ] {
            assert_eq!(names.highest(roles.iter().copied()), expected, "{roles:?}");
        }
        assert!(toml::from_str::<RoleNames>("boss = ['x']").is_err());
        let names: RoleNames = toml::from_str("reader = ['Admin']").unwrap();
        assert!(names.check().unwrap_err().to_string().contains("'Admin' always means itself"));
    }
}
