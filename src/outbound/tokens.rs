//! OAuth 2.0 client credentials (RFC 6749 clause 4.4): gets bearer tokens and caches them until they expire.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::secret::Secret;
use crate::outbound::{Authorization, ExchangeError, Outbound, basic, bearer};

/// Tokens are not used in their last seconds.
const MARGIN: Duration = Duration::from_secs(10);
/// Lifetime of a token without `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest lifetime of a token in the cache.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// The client that a token is for, and its token endpoint.
pub struct TokenClient<'a> {
    pub endpoint: &'a str,
    /// Client identifier.
    pub id: Option<&'a str>,
    pub password: Option<&'a Secret>,
    /// Whether to present the client certificate to the endpoint.
    pub certified: bool,
}

/// A cache of tokens by a key of the caller.
pub struct TokenCache<K> {
    tokens: Mutex<HashMap<K, Token>>,
}

struct Token {
    secret: Secret,
    until: Instant,
}

/// The response of a token endpoint (RFC 6749 clause 5.1).
#[derive(Deserialize)]
struct TokenResponse {
    access_token: Secret,
    expires_in: Option<u64>,
}

impl<K> Default for TokenCache<K> {
    fn default() -> Self {
        Self { tokens: Mutex::default() }
    }
}

impl<K: Eq + Hash> TokenCache<K> {
    /// The token of `key`: the cached one, or a new one for `client`.
    ///
    /// # Errors
    /// The reason why there is none.
    pub async fn authorization(
        &self,
        key: K,
        outbound: &Outbound,
        client: &TokenClient<'_>,
    ) -> Result<Authorization, ExchangeError> {
        let cached = self.lock().get(&key).filter(|token| Instant::now() < token.until).map(|it| it.secret.clone());
        if let Some(token) = cached {
            return Ok(Authorization {
                header: Some(bearer(&token).map_err(ExchangeError::Known)?),
                is_cached_token: true,
            });
        }
        let requested = Instant::now();
        let failed = |error: ExchangeError| error.of("the token endpoint gave no token");
        let response = request_token(outbound, client).await.map_err(failed)?;
        let lifetime = response.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        let header = bearer(&response.access_token).map_err(ExchangeError::Known)?;
        let token = Token { secret: response.access_token, until: requested + lifetime.saturating_sub(MARGIN) };
        let mut tokens = self.lock();
        tokens.retain(|_, token| requested < token.until);
        tokens.insert(key, token);
        Ok(Authorization { header: Some(header), is_cached_token: false })
    }

    /// Removes the token of `key`, which the peer refused.
    pub fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn request_token(outbound: &Outbound, client: &TokenClient<'_>) -> Result<TokenResponse, ExchangeError> {
    let request = Request::post(client.endpoint)
        .header(AUTHORIZATION, basic(client.id, client.password).map_err(ExchangeError::Known)?)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body("grant_type=client_credentials".to_owned())
        .map_err(|error| ExchangeError::Known(error.to_string()))?;
    let response = outbound.exchange(request, client.certified).await?;
    if response.status != StatusCode::OK {
        return Err(ExchangeError::Known(format!("it answered {}", response.status)));
    }
    // serde's message could quote the token.
    serde_json::from_slice(&response.body.unwrap_or_default())
        .map_err(|_| ExchangeError::Known("its answer contains no access_token".to_owned()))
}
