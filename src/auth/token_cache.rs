//! Results of checks of tokens, by the digests of the tokens: whoever asks for a token that is being checked waits for that check.
//!
//! The methods that ask another service about a token use it. Tokens themselves are not kept.

use std::convert::Infallible;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::auth::{AuthError, TokenDigest, token_digest};

/// The longest that a result is used.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Results that are kept; the least used go first.
const KEPT: usize = 10_000;
/// Requests to a service at the same time.
pub const REQUESTS: usize = 32;
/// The longest that a check waits for others.
const PATIENCE: Duration = Duration::from_secs(5);

/// The result of a check.
#[derive(Clone)]
pub struct Checked<V> {
    pub result: Result<V, AuthError>,
    /// How long the result may be used, at most [`LONGEST`]; zero: only by those who wait for it.
    pub lifetime: Duration,
}

impl<V> Checked<V> {
    /// An error that is not kept.
    pub const fn failed(error: AuthError) -> Self {
        Self { result: Err(error), lifetime: Duration::ZERO }
    }
}

#[derive(Clone)]
struct Kept<V> {
    result: Result<V, AuthError>,
    until: Instant,
}

/// The results of one method.
pub struct TokenCache<V> {
    /// Named in errors.
    service: &'static str,
    results: Cache<TokenDigest, Kept<V>>,
    checks: Semaphore,
}

impl<V: Clone> TokenCache<V> {
    /// An empty cache. `service` is the one that checks the tokens, at most `checks` at a time.
    pub fn new(service: &'static str, checks: usize) -> Self {
        Self { service, results: Cache::new(KEPT), checks: Semaphore::new(checks) }
    }

    /// The result for `token`: a kept one, or that of `check`, which runs once however many callers wait.
    ///
    /// # Errors
    /// That of the check; [`AuthError::Unavailable`] if too many tokens wait for theirs.
    pub async fn result(&self, token: &str, check: impl Future<Output = Checked<V>>) -> Result<V, AuthError> {
        let key = token_digest(token);
        if let Some(kept) = self.results.get(&key) {
            if Instant::now() < kept.until {
                return kept.result;
            }
            self.results.remove_if(&key, |kept| kept.until <= Instant::now());
        }
        let checked = async { Ok::<_, Infallible>(self.check(check).await) };
        match self.results.get_or_insert_async(&key, checked).await {
            Ok(kept) => kept.result,
            Err(never) => match never {},
        }
    }

    async fn check(&self, check: impl Future<Output = Checked<V>>) -> Kept<V> {
        let checked = match timeout(PATIENCE, self.checks.acquire()).await {
            Ok(_permit) => check.await,
            Err(_) => Checked::failed(AuthError::Unavailable(self.service)),
        };
        Kept { result: checked.result, until: Instant::now() + checked.lifetime.min(LONGEST) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn checks_a_token_once_for_all_who_wait() {
        let (cache, checks) = (TokenCache::new("the issuer", 1), AtomicUsize::new(0));
        let check = |lifetime| {
            let checks = &checks;
            async move {
                tokio::task::yield_now().await;
                Checked { result: Ok(checks.fetch_add(1, Ordering::Relaxed)), lifetime }
            }
        };
        let results = join_all((0..10).map(|_| cache.result("a", check(Duration::from_secs(9))))).await;
        assert!(results.iter().all(|result| *result == Ok(0)), "{results:?}");
        assert_eq!(cache.result("a", check(Duration::ZERO)).await, Ok(0), "it is kept");
        assert_eq!(cache.result("b", check(Duration::ZERO)).await, Ok(1));
        assert_eq!(cache.result("b", check(Duration::ZERO)).await, Ok(2), "it is not kept");
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_kept() {
        let cache = TokenCache::<()>::new("the issuer", 1);
        let down = || async { Checked::failed(AuthError::Unavailable("the issuer")) };
        assert_eq!(cache.result("a", down()).await, Err(AuthError::Unavailable("the issuer")));
        let up = async { Checked { result: Ok(()), lifetime: LONGEST } };
        assert_eq!(cache.result("a", up).await, Ok(()));
    }
}
