//! Bearer tokens that are had for a client's id and password (RFC 6749 clause 4.4), kept until they run out.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::secret::Secret;
use crate::outbound::{Authorization, Outbound, basic, bearer};

/// A token is not used in its last seconds.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a token is good that does not say so.
const LIFE: Duration = Duration::from_secs(60);
/// No token is kept for longer, whatever it says.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// Whose token it is, and where it is had.
pub struct Client<'a> {
    /// The token endpoint.
    pub endpoint: &'a str,
    /// Who we are there.
    pub id: Option<&'a str>,
    /// The password of that.
    pub password: Option<&'a Secret>,
    /// Whether the endpoint is shown the certificate.
    pub certified: bool,
}

/// The tokens of peers, each by a key of the caller's.
pub struct Tokens<K> {
    kept: Mutex<HashMap<K, Token>>,
}

struct Token {
    secret: Secret,
    until: Instant,
}

/// What is read of a token endpoint's answer (RFC 6749 clause 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Secret,
    expires_in: Option<u64>,
}

impl<K> Default for Tokens<K> {
    fn default() -> Self {
        Self { kept: Mutex::default() }
    }
}

impl<K: Eq + Hash> Tokens<K> {
    /// The token of `key`: the one that is kept, or one that `client` is given now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn authorization(
        &self,
        key: K,
        outbound: &Outbound,
        client: &Client<'_>,
    ) -> Result<Authorization, String> {
        let kept = self.kept().get(&key).filter(|token| Instant::now() < token.until).map(|it| it.secret.clone());
        if let Some(token) = kept {
            return Ok(Authorization { header: Some(bearer(&token)?), is_kept_token: true });
        }
        let asked = Instant::now();
        let failed = |reason: String| format!("the token endpoint gave no token: {reason}");
        let answer = ask(outbound, client).await.map_err(failed)?;
        let life = answer.expires_in.map_or(LIFE, Duration::from_secs).min(LONGEST_LIFE);
        let header = bearer(&answer.access_token)?;
        let token = Token { secret: answer.access_token, until: asked + life.saturating_sub(MARGIN) };
        let mut kept = self.kept();
        kept.retain(|_, token| asked < token.until);
        kept.insert(key, token);
        Ok(Authorization { header: Some(header), is_kept_token: false })
    }

    /// The peer does not take the token of `key` any more.
    pub fn forget(&self, key: &K) {
        self.kept().remove(key);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<K, Token>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(outbound: &Outbound, client: &Client<'_>) -> Result<TokenAnswer, String> {
    let request = Request::post(client.endpoint)
        .header(AUTHORIZATION, basic(client.id, client.password)?)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body("grant_type=client_credentials".to_owned())
        .map_err(|error| error.to_string())?;
    let answer = outbound.exchange(request, client.certified).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("it answered {}", answer.status));
    }
    // serde's message could quote the token.
    serde_json::from_slice(&answer.body.unwrap_or_default()).map_err(|_| "its answer is none that has one".to_owned())
}
