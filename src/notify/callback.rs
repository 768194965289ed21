//! Requests to subscribers: the notification, the test of a callback URI, and the token that may be needed for either.
//!
//! How requests are made and bounded is [`crate::outbound`]'s. A subscriber's answers decide what becomes of the notification
//! ([`Reply`]); their texts are not repeated, as nobody knows what they hold.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};

use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::{AuthType, Authentication, CLIENT_PASSWORD, PASSWORD, Subscription};
use crate::outbound::tokens::{TokenCache, TokenClient};
use crate::outbound::{Outbound, basic};

pub use crate::outbound::{Authorization, OutboundConfig, OutboundError as CallbackError};

/// So much of an answer is read; its status says the rest.
const MAX_ANSWER: usize = 64 * 1024;

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The subscriber took it.
    Taken,
    /// The subscriber will never take it.
    Refused(String),
    /// It may be taken later.
    Failed(String),
}

impl Reply {
    /// As it is counted.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Taken => "delivered",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// The way to subscribers.
pub struct Callbacks {
    outbound: Outbound,
    tokens: TokenCache<SubscriptionId>,
}

impl Callbacks {
    /// The way as `settings` have it.
    ///
    /// # Errors
    /// [`CallbackError`].
    pub fn new(settings: &OutboundConfig) -> Result<Self, CallbackError> {
        Ok(Self { outbound: Outbound::new(settings, MAX_ANSWER)?, tokens: TokenCache::default() })
    }

    /// Whether there is a certificate to show.
    pub const fn has_certificate(&self) -> bool {
        self.outbound.has_certificate()
    }

    /// Sends a notification.
    pub async fn notify(&self, subscription: &Subscription, authorization: &Authorization, body: String) -> Reply {
        let status = match self.call(Method::POST, subscription, authorization, body).await {
            Ok(status) => status,
            Err(reason) => return Reply::Failed(reason),
        };
        match status {
            status if status.is_success() => Reply::Taken,
            StatusCode::UNAUTHORIZED if authorization.is_cached_token => {
                self.tokens.forget(&subscription.id);
                Reply::Failed("the subscriber does not take the token any more: the next one is asked for".to_owned())
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Reply::Failed(format!("the subscriber answered {status}"))
            }
            status if status.is_server_error() => Reply::Failed(format!("the subscriber answered {status}")),
            status if status.is_redirection() => {
                Reply::Refused(format!("the subscriber answered {status}: redirects are not followed"))
            }
            status => Reply::Refused(format!("the subscriber answered {status}")),
        }
    }

    /// Asks the callback URI whether it is one (clause 5.4.18.3.1).
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn probe(&self, subscription: &Subscription) -> Result<StatusCode, String> {
        let authorization = self.authorization(subscription).await?;
        self.call(Method::GET, subscription, &authorization, String::new()).await
    }

    /// How requests to `subscription` show who sends them: of what it takes, a token before a password.
    ///
    /// # Errors
    /// Why there is no token, if that is all it takes.
    pub async fn authorization(&self, subscription: &Subscription) -> Result<Authorization, String> {
        let Some(authentication) = &subscription.authentication else { return Ok(Authorization::default()) };
        let takes = |wanted| authentication.auth_types.contains(&wanted);
        let password = takes(AuthType::Basic)
            .then(|| basic(authentication.user_name.as_deref(), authentication.secrets.get(PASSWORD)));
        if takes(AuthType::Oauth2ClientCredentials) {
            let client = TokenClient {
                endpoint: authentication.token_endpoint.as_deref().unwrap_or_default(),
                id: authentication.client_id.as_deref(),
                password: authentication.secrets.get(CLIENT_PASSWORD),
                certified: shows_certificate(authentication),
            };
            match self.tokens.authorization(subscription.id, &self.outbound, &client).await {
                Ok(authorization) => return Ok(authorization),
                Err(reason) if password.is_none() => return Err(reason),
                Err(reason) => {
                    tracing::warn!(subscription.id = %subscription.id, "the password is used, as there is no token: {reason}");
                }
            }
        }
        Ok(Authorization { header: password.transpose()?, is_cached_token: false })
    }

    async fn call(
        &self,
        method: Method,
        subscription: &Subscription,
        authorization: &Authorization,
        body: String,
    ) -> Result<StatusCode, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(&subscription.callback_uri)
            .header("Version", subscription.version())
            .header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(header) = &authorization.header {
            request = request.header(AUTHORIZATION, header);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let certified = subscription.authentication.as_ref().is_some_and(shows_certificate);
        Ok(self.outbound.exchange(request, certified).await?.status)
    }
}

fn shows_certificate(authentication: &Authentication) -> bool {
    authentication.auth_types.contains(&AuthType::TlsCert)
}
