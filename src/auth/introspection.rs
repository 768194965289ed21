//! Bearer tokens that their issuer confirms (RFC 7662). Its answer is remembered by the token's digest for at most a minute, and not
//! beyond the token's end.

use std::path::PathBuf;
use std::time::Duration;

use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::claims::{self, ClaimNames, Claims, TokenIdentity, validity};
use crate::auth::service::{Service, service_url};
use crate::auth::token_cache::{Checked, LONGEST, REQUESTS, TokenCache};
use crate::auth::{AuthConfigError, AuthError, Credentials, RoleNames};
use crate::clock::{Clock as _, System};
use crate::domain::caller::{AuthMethod, Caller};
use crate::domain::secret::Secret;
use crate::outbound::{OutboundConfig, basic, form};

/// As errors name the endpoint.
const ENDPOINT: &str = "the introspection endpoint";
/// Environment variable with the client's secret, for use without a file.
const SECRET: &str = "GYBE_INTROSPECTION_SECRET";
/// The longest token that is asked about, in bytes.
const LONGEST_TOKEN: usize = 16 * 1024;
/// The longest answer, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
/// How long a token that is not active is not asked about again: it may become so soon after it was issued.
const INACTIVE: Duration = Duration::from_secs(5);

/// The table `[auth.introspection]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionOptions {
    /// The endpoint.
    pub url: String,
    /// Gybe's own name there.
    pub client_id: String,
    /// A name of Gybe that must be in the claim `aud` of a token. Empty: tokens for every service are accepted, which lets each service act
    /// as its users here.
    pub audience: String,
    /// File with the secret of `client_id`; by default it is in the environment variable `GYBE_INTROSPECTION_SECRET`.
    pub client_secret_file: Option<PathBuf>,
    #[serde(default = "claims::subject_claim")]
    pub subject_claim: String,
    #[serde(default = "claims::project_claim")]
    pub project_claim: String,
    #[serde(default = "claims::roles_claim")]
    pub roles_claim: String,
    /// PEM file of the certificate authorities of the endpoint; by default those of `--outbound-ca-file`.
    pub ca_file: Option<PathBuf>,
}

/// The method.
pub struct Introspection {
    url: String,
    authorization: HeaderValue,
    service: Service,
    audience: String,
    names: ClaimNames,
    roles: RoleNames,
    checked: TokenCache<TokenIdentity>,
}

impl Introspection {
    /// The endpoint of the configuration. It is not asked yet.
    ///
    /// # Errors
    /// [`AuthConfigError`].
    pub fn new(
        options: &IntrospectionOptions,
        roles: RoleNames,
        outbound: &OutboundConfig,
    ) -> Result<Self, AuthConfigError> {
        let secret = secret(options)?;
        let authorization = basic(Some(&options.client_id), Some(&secret))
            .map_err(|error| AuthConfigError(format!("[auth.introspection]: {error}")))?;
        let ca_file = options.ca_file.as_ref();
        Ok(Self {
            url: service_url("auth.introspection.url", &options.url)?,
            authorization,
            audience: options.audience.clone(),
            service: Service::new(ENDPOINT, "auth.introspection", outbound, ca_file, MAX_RESPONSE)?,
            names: ClaimNames {
                subject: options.subject_claim.clone(),
                project: options.project_claim.clone(),
                roles: options.roles_claim.clone(),
            },
            roles,
            checked: TokenCache::new(ENDPOINT, REQUESTS),
        })
    }

    /// The caller whom the endpoint names; `None` if the request carries no bearer token.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn caller(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        let Some(token) = credentials.bearer()? else { return Ok(None) };
        if token.len() > LONGEST_TOKEN {
            return Err(inactive());
        }
        let identity = self.checked.result(token, self.check(token)).await?;
        identity.caller(credentials).map(Some)
    }

    async fn check(&self, token: &str) -> Checked<TokenIdentity> {
        let claims = match self.claims(token).await {
            Ok(claims) => claims,
            Err(error) => return Checked::failed(error),
        };
        // The endpoint has considered how clocks differ.
        let lifetime = validity(&claims, System.now(), Duration::ZERO);
        if claims.get("active") != Some(&true.into()) || lifetime.is_zero() {
            return Checked { result: Err(inactive()), lifetime: INACTIVE };
        }
        if !self.is_for_us(&claims) {
            let text = format!("the token is not for this server: its claim aud does not have '{}'", self.audience);
            return Checked { result: Err(AuthError::Invalid(text)), lifetime: lifetime.min(LONGEST) };
        }
        let result = self.names.identity(&claims, &self.roles, AuthMethod::Introspection);
        Checked { result, lifetime: lifetime.min(LONGEST) }
    }

    /// `aud` is a text or a list of texts (RFC 7519 section 4.1.3).
    fn is_for_us(&self, claims: &Claims) -> bool {
        let is_own = |value: &Value| value.as_str() == Some(self.audience.as_str());
        self.audience.is_empty()
            || match claims.get("aud") {
                Some(Value::Array(all)) => all.iter().any(is_own),
                Some(one) => is_own(one),
                None => false,
            }
    }

    async fn claims(&self, token: &str) -> Result<Claims, AuthError> {
        let request = Request::post(&self.url)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form(&[("token", token), ("token_type_hint", "access_token")]))
            .map_err(|_| self.service.unusable("its URL is not valid"))?;
        let body = self.service.ask(request).await?;
        // serde's message could quote what the answer says of the token.
        serde_json::from_slice(&body).map_err(|_| self.service.unusable("its answer is not a JSON object"))
    }
}

fn inactive() -> AuthError {
    AuthError::Invalid("the token is not active".to_owned())
}

fn secret(options: &IntrospectionOptions) -> Result<Secret, AuthConfigError> {
    let text = match &options.client_secret_file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            AuthConfigError(format!("auth.introspection.client_secret_file: cannot read {}: {error}", path.display()))
        })?,
        None => std::env::var(SECRET).map_err(|_| {
            AuthConfigError(format!("[auth.introspection] needs a secret: set client_secret_file or {SECRET}"))
        })?,
    };
    // Editors end files with a line break, which is not part of the secret.
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_tables_that_are_not_valid() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let secret = format!("client_secret_file = '{}'", file.path().display());
        let introspection = |url: &str, more: &str| {
            let text = format!("url = '{url}'\nclient_id = 'gybe'\naudience = 'gybe'\n{more}");
            let options = toml::from_str(&text).map_err(|error| error.to_string())?;
            let method = Introspection::new(&options, RoleNames::default(), &OutboundConfig::default());
            method.map(|_| ()).map_err(|error| error.to_string())
        };
        for (url, more, expected) in [
            ("id.example", secret.as_str(), "auth.introspection.url must be an http://"),
            ("https://id.example", "client_secret_file = '/nonexistent'", "cannot read /nonexistent"),
            ("https://id.example", &format!("{secret}\nca_file = '/none'"), "/none"),
            ("https://id.example", &format!("{secret}\nsecret = 'x'"), "unknown field `secret`"),
        ] {
            let error = introspection(url, more).unwrap_err();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{url} {more}: {error}");
        }
        assert_eq!(introspection("https://id.example/introspect", &secret), Ok(()));
    }
}
