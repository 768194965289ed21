//! The public keys of a token issuer (RFC 7517), for [`super::jwt`]: fetched when a token needs them, and kept.
//!
//! Keys that are known work while the issuer is down. A token with an unknown key makes Gybe fetch the keys again, as the issuer may
//! have new ones, but at most once in [`PAUSE`]: everybody can send such tokens.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::Request;
use http::header::ACCEPT;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::auth::AuthError;
use crate::auth::service::Service;

/// The shortest time between two fetches for keys that are unknown.
const PAUSE: Duration = Duration::from_secs(30);
/// The shortest time between a fetch that failed and the next one.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Keys are fetched again after this time, so that a key ends that the issuer has withdrawn.
const FRESH: Duration = Duration::from_secs(600);
/// Keys that are read of a set.
const MOST_KEYS: usize = 100;
/// Keys that are tried for a token.
const MOST_CANDIDATES: usize = 4;

/// Where the keys are.
pub enum Source {
    /// The URL of the set.
    Keys(String),
    /// The issuer, whose discovery document names the URL (OpenID Connect Discovery 1.0 section 4).
    Issuer(String),
}

/// A key with the algorithm that it is for.
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// The keys of an issuer.
pub struct Jwks {
    service: Service,
    source: Source,
    /// Those that tokens may be signed with.
    algorithms: Vec<Algorithm>,
    known: RwLock<Known>,
    fetches: Arc<Mutex<Fetches>>,
}

#[derive(Default)]
struct Known {
    keys: Vec<Arc<Key>>,
    fetched: Option<Instant>,
}

/// When keys may be fetched again.
struct Fetches {
    next: Instant,
    /// The last one failed.
    failed: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Keys are read one by one, so that one of an unknown kind does not spoil the others.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Jwks {
    /// Fetches nothing yet.
    pub fn new(service: Service, source: Source, algorithms: Vec<Algorithm>) -> Self {
        let fetches = Arc::new(Mutex::new(Fetches { next: Instant::now(), failed: false }));
        Self { service, source, algorithms, known: RwLock::default(), fetches }
    }

    /// The keys that may have signed a token: of this algorithm, and with this identifier if the token names one.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`]: none is known, and the issuer does not answer. [`AuthError::Invalid`]: the issuer has none.
    pub async fn candidates(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<Key>>, AuthError> {
        if !self.algorithms.contains(&algorithm) {
            return Err(AuthError::Invalid(
                "the token is signed with an algorithm that is not allowed here".to_owned(),
            ));
        }
        let found = self.find(id, algorithm);
        if found.is_empty() {
            return self.fetch_for(id, algorithm).await;
        }
        if self.is_stale() && self.fetches.try_lock().is_ok_and(|fetches| fetches.next <= Instant::now()) {
            let own = Arc::clone(self);
            self.service.in_background(async move { own.refresh().await });
        }
        Ok(found)
    }

    /// Fetches the keys again. If the issuer is down, those that are known stay.
    async fn refresh(&self) {
        let mut fetches = self.fetches.lock().await;
        if self.is_stale() && fetches.next <= Instant::now() {
            // The log has the reason of a failure.
            let _done = self.fetch(&mut fetches).await;
        }
    }

    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let may_be = |key: &&Arc<Key>| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
        known.keys.iter().filter(may_be).take(MOST_CANDIDATES).cloned().collect()
    }

    fn is_stale(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.fetched.is_none_or(|fetched| fetched.elapsed() > FRESH)
    }

    async fn fetch_for(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<Arc<Key>>, AuthError> {
        let mut fetches = Arc::clone(&self.fetches).lock_owned().await;
        // Somebody else may have fetched them meanwhile.
        let found = self.find(id, algorithm);
        if !found.is_empty() {
            return Ok(found);
        }
        if fetches.next <= Instant::now() {
            let own = Arc::clone(self);
            // To its end, also if this caller goes away: others wait for the same keys.
            self.service.complete(async move { own.fetch(&mut fetches).await }).await?;
        } else if fetches.failed {
            return Err(self.service.unavailable());
        }
        let found = self.find(id, algorithm);
        let unknown =
            || AuthError::Invalid("the token is signed with a key that its issuer does not publish".to_owned());
        if found.is_empty() { Err(unknown()) } else { Ok(found) }
    }

    async fn fetch(&self, fetches: &mut Fetches) -> Result<(), AuthError> {
        let keys = self.published().await.inspect_err(|_| {
            *fetches = Fetches { next: Instant::now() + PAUSE_AFTER_FAILURE, failed: true };
        })?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // The first fetch was for no key in particular.
        let pause = if known.fetched.is_none() { Duration::ZERO } else { PAUSE };
        *known = Known { keys, fetched: Some(Instant::now()) };
        *fetches = Fetches { next: Instant::now() + pause, failed: false };
        Ok(())
    }

    /// The keys that the issuer publishes; at least one.
    async fn published(&self) -> Result<Vec<Arc<Key>>, AuthError> {
        let discovered = match &self.source {
            Source::Keys(url) => url.clone(),
            Source::Issuer(issuer) => {
                let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let discovery: Discovery = self.get(&url).await?;
                if discovery.issuer != *issuer {
                    return Err(self.service.unusable("its discovery document is of another issuer"));
                }
                discovery.jwks_uri
            }
        };
        let set: KeySet = self.get(&discovered).await?;
        let keys: Vec<_> =
            set.keys.into_iter().take(MOST_KEYS).flat_map(|key| self.usable(key)).map(Arc::new).collect();
        if keys.is_empty() {
            return Err(self.service.unusable("its key set has no key for the algorithms of the configuration"));
        }
        Ok(keys)
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, AuthError> {
        let request = Request::get(url).header(ACCEPT, "application/json").body(String::new());
        let request = request.map_err(|_| self.service.unusable("it names a URL that is not valid"))?;
        let body = self.service.ask(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.service.unusable(&error.to_string()))
    }

    /// The key for each permitted algorithm that it fits; of another kind, or for encryption: none.
    fn usable(&self, key: Value) -> Vec<Key> {
        let Ok(key) = serde_json::from_value::<Jwk>(key) else { return Vec::new() };
        if key.common.public_key_use.as_ref().is_some_and(|own| *own != PublicKeyUse::Signature) {
            return Vec::new();
        }
        let fits = |algorithm: &&Algorithm| {
            let own = key.common.key_algorithm;
            is_of_kind(&key, **algorithm) && own.is_none_or(|own| own == KeyAlgorithm::from(**algorithm))
        };
        let keys = self.algorithms.iter().filter(fits).filter_map(|algorithm| {
            let decoding = DecodingKey::from_jwk(&key).ok()?;
            Some(Key { id: key.common.key_id.clone(), algorithm: *algorithm, decoding })
        });
        keys.collect()
    }
}

/// Whether the algorithm signs with keys of this kind. A symmetric key is of no kind: it must not be public.
fn is_of_kind(key: &Jwk, algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => algorithm == ES256,
            EllipticCurve::P384 => algorithm == ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519 && algorithm == EdDSA,
        _ => false,
    }
}
