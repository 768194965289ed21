//! Requests to subscribers: notifications, tests of callback URIs, and the tokens that these need. [`crate::outbound`] sends
//! and limits them.
//!
//! The status of a response decides about the notification ([`Reply`]). Its body is not logged: it may contain anything.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};

use crate::domain::ids::SubscriptionId;
use crate::domain::subscription::{AuthType, Authentication, CLIENT_PASSWORD, PASSWORD, Subscription};
use crate::outbound::tokens::{TokenCache, TokenClient};
use crate::outbound::{ExchangeError, Outbound, basic};

pub use crate::outbound::{Authorization, OutboundConfig, OutboundError as CallbackError};

/// Largest response body in bytes. Only the status is used.
const MAX_ANSWER: usize = 64 * 1024;

/// Result of sending a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The subscriber accepted it.
    Accepted,
    /// The subscriber will never accept it, with the reason.
    Refused(String),
    /// The subscriber may accept it later, with the reason of the failure.
    Failed(String),
}

impl Reply {
    /// Value of the metric's label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "delivered",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// Client for requests to subscribers.
pub struct Callbacks {
    outbound: Outbound,
    tokens: TokenCache<SubscriptionId>,
}

impl Callbacks {
    /// Creates a client.
    ///
    /// # Errors
    /// [`CallbackError`] if a file of `settings` cannot be used.
    pub fn new(settings: &OutboundConfig) -> Result<Self, CallbackError> {
        Ok(Self { outbound: Outbound::new(settings, MAX_ANSWER)?, tokens: TokenCache::default() })
    }

    /// Whether a client certificate is configured.
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
            status if status.is_success() => Reply::Accepted,
            StatusCode::UNAUTHORIZED if authorization.is_cached_token => {
                self.tokens.forget(&subscription.id);
                Reply::Failed("the subscriber rejected the access token; a new one is requested".to_owned())
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

    /// Tests the callback URI with a GET (clause 5.4.18.3.1).
    ///
    /// # Errors
    /// Why there was no response.
    pub async fn probe(&self, subscription: &Subscription) -> Result<StatusCode, String> {
        let authorization = self.authorization(subscription).await?;
        self.call(Method::GET, subscription, &authorization, String::new()).await
    }

    /// Credentials for requests to `subscription`: a token if it accepts tokens and one can be obtained, otherwise the
    /// password.
    ///
    /// # Errors
    /// Why no token could be obtained, if the subscription accepts no password.
    pub async fn authorization(&self, subscription: &Subscription) -> Result<Authorization, String> {
        let Some(authentication) = &subscription.authentication else { return Ok(Authorization::default()) };
        let accepts = |wanted| authentication.auth_types.contains(&wanted);
        let password = accepts(AuthType::Basic)
            .then(|| basic(authentication.user_name.as_deref(), authentication.secrets.get(PASSWORD)));
        if accepts(AuthType::Oauth2ClientCredentials) {
            let client = TokenClient {
                endpoint: authentication.token_endpoint.as_deref().unwrap_or_default(),
                id: authentication.client_id.as_deref(),
                password: authentication.secrets.get(CLIENT_PASSWORD),
                certified: shows_certificate(authentication),
            };
            match self.tokens.authorization(subscription.id, &self.outbound, &client).await {
                Ok(authorization) => return Ok(authorization),
                Err(error) if password.is_none() => return Err(reason(subscription, &error)),
                Err(reason) => {
                    tracing::warn!(subscription.id = %subscription.id, "using the password because no token could be obtained: {reason}");
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
        let answer = self.outbound.exchange(request, certified).await;
        answer.map(|answer| answer.status).map_err(|error| reason(subscription, &error))
    }
}

/// The reason as subscribers may know it. The log has it as it is.
fn reason(subscription: &Subscription, error: &ExchangeError) -> String {
    if matches!(error, ExchangeError::Unreachable(_)) {
        tracing::info!(subscription.id = %subscription.id, "a request for subscription {} had no answer: {error}", subscription.id);
    }
    error.for_caller().to_owned()
}

fn shows_certificate(authentication: &Authentication) -> bool {
    authentication.auth_types.contains(&AuthType::TlsCert)
}
