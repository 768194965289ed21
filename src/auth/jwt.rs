//! Signed JWTs (RFC 7519) as bearer tokens: their signatures are checked with the keys that their issuer publishes.
//!
//! A token of another issuer, or one that is no JWT, is left to the other methods. A checked token is remembered by its digest for
//! at most a minute, and not beyond its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode, decode_header};
use serde::Deserialize;

use crate::auth::claims::{self, ClaimNames, Claims, TokenIdentity, validity};
use crate::auth::jwks::{Jwks, Source};
use crate::auth::service::{Service, service_url};
use crate::auth::token_cache::{Checked, TokenCache};
use crate::auth::{AuthConfigError, AuthError, Credentials, RoleNames, WAITING, issued};
use crate::clock::{Clock as _, System};
use crate::domain::caller::{AuthMethod, Caller};
use crate::outbound::OutboundConfig;

/// As errors name the issuer.
const ISSUER: &str = "the issuer of tokens";
/// The longest token that is read, in bytes.
const LONGEST_TOKEN: usize = 16 * 1024;
/// The longest discovery document or key set, in bytes.
const MAX_RESPONSE: usize = 256 * 1024;
/// The largest `clock_skew`, in seconds.
const MOST_SKEW: u64 = 300;
/// What `algorithms` may contain: with these, a public key verifies.
const ALLOWED: &str = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA";

/// The table `[auth.jwt]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtOptions {
    /// The claim `iss` of the tokens.
    pub issuer: String,
    /// What the claim `aud` of the tokens must contain.
    pub audience: String,
    /// The key set of the issuer; by default the one that its discovery document names.
    pub jwks_url: Option<String>,
    #[serde(default = "algorithms")]
    pub algorithms: Vec<String>,
    /// By how many seconds the clocks of issuer and Gybe may differ.
    #[serde(default = "clock_skew")]
    pub clock_skew: u64,
    #[serde(default = "claims::subject_claim")]
    pub subject_claim: String,
    #[serde(default = "claims::project_claim")]
    pub project_claim: String,
    #[serde(default = "claims::roles_claim")]
    pub roles_claim: String,
    /// PEM file of the certificate authorities of the issuer; by default those of `--outbound-ca-file`.
    pub ca_file: Option<PathBuf>,
}

fn algorithms() -> Vec<String> {
    vec!["RS256".to_owned(), "ES256".to_owned()]
}

const fn clock_skew() -> u64 {
    30
}

/// The method.
pub struct Jwt {
    issuer: String,
    validation: Validation,
    skew: Duration,
    names: ClaimNames,
    roles: RoleNames,
    keys: Arc<Jwks>,
    checked: TokenCache<TokenIdentity>,
}

/// Only to find out who issued a token.
#[derive(Deserialize)]
struct Issued {
    iss: Option<String>,
}

impl Jwt {
    /// The issuer of the configuration. It is not asked for its keys yet.
    ///
    /// # Errors
    /// [`AuthConfigError`].
    pub fn new(options: &JwtOptions, roles: RoleNames, outbound: &OutboundConfig) -> Result<Self, AuthConfigError> {
        let algorithms = allowed_algorithms(&options.algorithms)?;
        if options.clock_skew > MOST_SKEW {
            return Err(AuthConfigError(format!("auth.jwt.clock_skew must be 0 to {MOST_SKEW} seconds")));
        }
        if options.issuer.is_empty() || options.audience.is_empty() {
            return Err(AuthConfigError("auth.jwt.issuer and auth.jwt.audience must not be empty".to_owned()));
        }
        if options.issuer == issued::ISSUER {
            return Err(AuthConfigError(format!(
                "auth.jwt.issuer '{}' is the name of Gybe's own tokens",
                options.issuer
            )));
        }
        let source = match &options.jwks_url {
            Some(url) => Source::Keys(service_url("auth.jwt.jwks_url", url)?),
            None => Source::Issuer(service_url("without auth.jwt.jwks_url, auth.jwt.issuer", &options.issuer)?),
        };
        let service = Service::new(ISSUER, "auth.jwt", outbound, options.ca_file.as_ref(), MAX_RESPONSE)?;
        let mut validation = Validation::default();
        validation.set_issuer(&[&options.issuer]);
        validation.set_audience(&[&options.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = options.clock_skew;
        Ok(Self {
            issuer: options.issuer.clone(),
            validation,
            skew: Duration::from_secs(options.clock_skew),
            names: ClaimNames {
                subject: options.subject_claim.clone(),
                project: options.project_claim.clone(),
                roles: options.roles_claim.clone(),
            },
            roles,
            keys: Arc::new(Jwks::new(service, source, algorithms)),
            checked: TokenCache::new(ISSUER, WAITING),
        })
    }

    /// The caller whom the token names; `None` if the request carries no token of this issuer.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn caller(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        let Some(token) = credentials.bearer()?.filter(|token| self.is_issuer_of(token)) else { return Ok(None) };
        let identity = self.checked.result(token, self.check(token)).await?;
        identity.caller(credentials).map(Some)
    }

    /// Whether the token says so; anybody may have written it.
    fn is_issuer_of(&self, token: &str) -> bool {
        claimed_issuer(token).is_some_and(|issuer| issuer == self.issuer)
    }

    async fn check(&self, token: &str) -> Checked<TokenIdentity> {
        let claims = match self.verified(token).await {
            Ok(claims) => claims,
            Err(error) => return Checked::failed(error),
        };
        let lifetime = validity(&claims, System.now(), self.skew);
        match self.names.identity(&claims, &self.roles, AuthMethod::Jwt) {
            Ok(identity) => Checked { result: Ok(identity), lifetime },
            Err(error) => Checked::failed(error),
        }
    }

    /// The claims of the token, once signature, issuer, audience and times are checked.
    async fn verified(&self, token: &str) -> Result<Claims, AuthError> {
        let unsigned = |_| AuthError::Invalid("the token is not signed with an algorithm that is allowed".to_owned());
        let header = decode_header(token).map_err(unsigned)?;
        // Keys are for allowed algorithms alone.
        let keys = self.keys.candidates(header.kid.as_deref(), header.alg).await?;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let mut refusal = ErrorKind::InvalidSignature;
        for key in keys {
            match decode::<Claims>(token, &key.decoding, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => refusal = error.into_kind(),
            }
            if !matches!(refusal, ErrorKind::InvalidSignature) {
                break;
            }
        }
        Err(AuthError::Invalid(reason(&refusal)))
    }
}

/// Who issued the token, as it says itself; `None` if it is no JWT.
pub fn claimed_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > LONGEST_TOKEN {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Issued>(&claims).ok()?.iss
}

fn allowed_algorithms(names: &[String]) -> Result<Vec<Algorithm>, AuthConfigError> {
    let algorithm = |name: &String| {
        let algorithm = name.parse::<Algorithm>().ok().filter(|it| it.family() != AlgorithmFamily::Hmac);
        algorithm.ok_or_else(|| {
            let name: String = name.chars().take(16).collect();
            AuthConfigError(format!("auth.jwt.algorithms: '{name}' is not supported; supported are {ALLOWED}"))
        })
    };
    let algorithms: Vec<_> = names.iter().map(algorithm).collect::<Result<_, _>>()?;
    if algorithms.is_empty() {
        return Err(AuthConfigError(format!("auth.jwt.algorithms must name some of {ALLOWED}")));
    }
    Ok(algorithms)
}

/// What the sender learns: nothing of the token's content.
fn reason(refusal: &ErrorKind) -> String {
    match refusal {
        ErrorKind::ExpiredSignature => "the token has expired".to_owned(),
        ErrorKind::ImmatureSignature => "the token is not valid yet".to_owned(),
        ErrorKind::InvalidAudience => "the token is for another audience".to_owned(),
        ErrorKind::MissingRequiredClaim(name) => format!("the token has no claim '{name}'"),
        ErrorKind::InvalidSignature => "the signature of the token is wrong".to_owned(),
        _ => "the token is not valid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::with_headers;

    fn jwt(more: &str) -> Result<Jwt, String> {
        let text = format!("issuer = 'https://id.example'\naudience = 'gybe'\n{more}");
        let options = toml::from_str(&text).map_err(|error| error.to_string())?;
        Jwt::new(&options, RoleNames::default(), &OutboundConfig::default()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn leaves_tokens_of_others_to_other_methods() {
        let jwt = jwt("").unwrap();
        let of = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        for (token, is_ours) in [
            (of(r#"{"iss":"https://id.example"}"#), true),
            (of(r#"{"iss":"https://other.example"}"#), false),
            (of(r#"{"iss":7}"#), false),
            (of("{}"), false),
            ("0123456789abcdef".to_owned(), false),
            (format!("{}.x", of(r#"{"iss":"https://id.example"}"#)), false),
            (format!("{}{}", of(r#"{"iss":"https://id.example"}"#), "x".repeat(LONGEST_TOKEN)), false),
        ] {
            assert_eq!(jwt.is_issuer_of(&token), is_ours, "{token}");
        }
        let credentials = with_headers(&[("Authorization", "Basic YTpi")], None, |it| it.bearer());
        assert_eq!(credentials, Ok(None));
    }

    #[tokio::test]
    async fn refuses_tables_that_are_not_valid_or_not_safe() {
        for (table, expected) in [
            ("algorithms = ['HS256']", "'HS256' is not supported"),
            ("algorithms = ['none']", "'none' is not supported"),
            ("algorithms = []", "must name some of"),
            ("clock_skew = 301", "0 to 300"),
            ("jwks_url = 'id.example/keys'", "auth.jwt.jwks_url must be an http://"),
            ("jwks_url = 'https://a:b@id.example/keys'", "without user"),
            ("ca_file = '/nonexistent'", "/nonexistent"),
            ("leeway = 1", "unknown field `leeway`"),
        ] {
            let error = jwt(table).err().unwrap_or_default();
            assert!(error.contains(expected), "{table}: {error}");
        }
        assert!(jwt("algorithms = ['PS256', 'EdDSA']\njwks_url = 'http://id/keys'").is_ok());
    }
}
