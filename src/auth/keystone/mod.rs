//! Tokens of OpenStack's Keystone (Identity API v3), as `X-Auth-Token`.
//!
//! Gybe asks Keystone about each token, with a token of its own, and remembers the answer by the token's digest: what is valid at
//! most for [`REMEMBERED`] and never beyond its end, so that a revoked token works no longer than that. Requests with an equal
//! token wait for one question. While Keystone does not answer, requests whose tokens are not remembered get 503: nothing else says
//! whether a token is good, so that nothing may stand in for Keystone.
//!
//! A service that acts for a user for a long time sends its own token as `X-Service-Token`: then the user's may have expired.

mod access_rules;
pub mod projects;
mod session;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::auth::keystone::session::{SUBJECT_TOKEN, Scope, Session, Unavailable, body, unavailable};
use crate::auth::keystone::token::{Identity, Token, TokenBody};
use crate::auth::{AuthConfigError, AuthError, Credentials, RoleNames, TokenDigest, token_digest};
use crate::clock::{Clock as _, System};
use crate::domain::caller::Caller;

/// The longest that a valid token is not asked about again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// The same for a token that is not valid: it may be one whose user has just been enabled.
const REFUSED: Duration = Duration::from_secs(5);
/// The same if there was no answer.
const UNANSWERED: Duration = Duration::from_secs(1);
/// Answers that are remembered. Those that nobody asks for again are forgotten first.
const ANSWERS: usize = 10_000;
/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 4096;
/// Says that this service enforces access rules. Without it Keystone knows no token that carries some.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");
const ACCESS_RULES_VERSION: HeaderValue = HeaderValue::from_static("1.0");

/// The table `[auth.keystone]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoneOptions {
    /// The URL of Keystone, with or without `/v3`.
    pub auth_url: String,
    /// The user by whom Gybe asks about tokens. It needs the role `service`.
    pub username: String,
    /// The file with the password; else it is in the environment, `GYBE_KEYSTONE_PASSWORD`.
    pub password_file: Option<PathBuf>,
    #[serde(default = "default_domain")]
    pub user_domain_name: String,
    #[serde(default = "service_project")]
    pub project_name: String,
    #[serde(default = "default_domain")]
    pub project_domain_name: String,
    /// PEM file of the certificate authorities of Keystone, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

fn default_domain() -> String {
    "Default".to_owned()
}

fn service_project() -> String {
    "service".to_owned()
}

/// The digest of a token, and whether it may have expired.
type Question = (TokenDigest, bool);

/// What Keystone said of a token.
#[derive(Clone)]
struct Answer {
    said: Said,
    /// From here on it is to be asked again.
    until: Instant,
    /// The end of the token, if it matters.
    expires_at: Option<OffsetDateTime>,
}

#[derive(Clone)]
enum Said {
    Valid(Arc<Identity>),
    /// Why the token is not good, as a text for the sender.
    Refused(Arc<str>),
    Nothing,
}

impl Answer {
    fn lasting(said: Said, time: Duration) -> Self {
        Self { said, until: Instant::now() + time, expires_at: None }
    }

    fn is_over(&self) -> bool {
        self.until <= Instant::now() || self.expires_at.is_some_and(|end| end <= System.now())
    }
}

/// The method.
pub struct Keystone {
    session: Session,
    roles: RoleNames,
    answers: Cache<Question, Answer>,
    challenge: String,
}

impl Keystone {
    /// The Keystone of the configuration. It need not run yet.
    ///
    /// # Errors
    /// [`AuthConfigError`].
    pub fn new(options: &KeystoneOptions, roles: RoleNames) -> Result<Self, AuthConfigError> {
        Ok(Self {
            session: Session::new(options, Scope::Project)?,
            roles,
            answers: Cache::new(ANSWERS),
            challenge: format!("Keystone uri=\"{}\"", options.auth_url),
        })
    }

    /// The value of `WWW-Authenticate`.
    pub fn challenge(&self) -> String {
        self.challenge.clone()
    }

    /// The caller whose token the request carries; `None` if it carries none.
    ///
    /// # Errors
    /// [`AuthError::Invalid`]; [`AuthError::Unavailable`]: Keystone does not answer.
    pub async fn caller(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        let Some(token) = credentials.auth_token()? else { return Ok(None) };
        let service = credentials.header("x-service-token")?;
        if let Some(service) = service
            && !self.identity(service, false).await?.is_service
        {
            return Err(AuthError::Invalid("X-Service-Token is of a user without the role 'service'".to_owned()));
        }
        let identity = self.identity(token, service.is_some()).await?;
        if !identity.may_send(credentials.method, credentials.path) {
            return Err(AuthError::Invalid(
                "the access rules of the application credential do not allow this request".to_owned(),
            ));
        }
        Ok(Some(identity.caller.clone()))
    }

    async fn identity(&self, token: &str, may_be_expired: bool) -> Result<Arc<Identity>, AuthError> {
        let header = HeaderValue::try_from(token).ok().filter(|_| token.len() <= LONGEST_TOKEN);
        let Some(mut header) = header else {
            return Err(AuthError::Invalid(format!(
                "a token of Keystone has at most {LONGEST_TOKEN} characters, which are visible ASCII"
            )));
        };
        header.set_sensitive(true);
        match self.answer((token_digest(token), may_be_expired), &header).await.said {
            Said::Valid(identity) => Ok(identity),
            Said::Refused(reason) => Err(AuthError::Invalid(reason.to_string())),
            Said::Nothing => Err(AuthError::Unavailable("Keystone")),
        }
    }

    /// The remembered answer, or a new one. Of several that need the same one, only the first asks; if it goes away, the next does.
    async fn answer(&self, question: Question, token: &HeaderValue) -> Answer {
        self.answers.remove_if(&question, Answer::is_over);
        match self.answers.get_value_or_guard_async(&question).await {
            Ok(answer) => answer,
            Err(guard) => {
                let answer = self.ask(token, question.1).await;
                // Nobody else may have put one there.
                let _ = guard.insert(answer.clone());
                answer
            }
        }
    }

    async fn ask(&self, token: &HeaderValue, may_be_expired: bool) -> Answer {
        match self.validate(token, may_be_expired).await {
            Ok(Some(token)) => self.valid(token, may_be_expired),
            Ok(None) => {
                let reason = "Keystone does not know the token: it has expired, was revoked, or is not valid";
                Answer::lasting(Said::Refused(reason.into()), REFUSED)
            }
            Err(Unavailable) => Answer::lasting(Said::Nothing, UNANSWERED),
        }
    }

    /// What Keystone says of the token; `None` if it is not valid.
    async fn validate(&self, token: &HeaderValue, may_be_expired: bool) -> Result<Option<Token>, Unavailable> {
        let allow_expired = if may_be_expired { "&allow_expired=1" } else { "" };
        let path = format!("/auth/tokens?nocatalog=1{allow_expired}");
        let headers = [(SUBJECT_TOKEN, token.clone()), (ACCESS_RULES, ACCESS_RULES_VERSION)];
        let response = self.session.get(&path, &headers).await?;
        match response.status {
            StatusCode::OK => Ok(Some(body::<TokenBody>(&response)?.token)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => {
                Err(unavailable("its service user may not validate tokens: give it the role 'service'"))
            }
            status => Err(unavailable(&format!("it answers the validation of a token with {status}"))),
        }
    }

    fn valid(&self, token: Token, may_be_expired: bool) -> Answer {
        let expires_at = Some(token.expires_at).filter(|_| !may_be_expired);
        match Identity::of(token, &self.roles) {
            Ok(identity) => Answer { expires_at, ..Answer::lasting(Said::Valid(Arc::new(identity)), REMEMBERED) },
            Err(reason) => Answer::lasting(Said::Refused(reason.into()), REFUSED),
        }
    }
}
