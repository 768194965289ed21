//! A token issuer: publishes its keys over HTTP, signs tokens, and changes its keys.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gybe::clock::{Clock as _, System};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::subscriber::{Reply, Subscriber};

/// A key of the issuer.
#[derive(Clone)]
pub struct SigningKey {
    pub id: String,
    secret: Vec<u8>,
    public: Vec<u8>,
}

impl SigningKey {
    pub fn new(id: &str) -> Self {
        let secret = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret.as_ref()).unwrap();
        Self { id: id.to_owned(), secret: secret.as_ref().to_vec(), public: pair.public_key().as_ref().to_vec() }
    }

    fn published(&self) -> Value {
        let [x, y] = [&self.public[1..33], &self.public[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": x, "y": y })
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &EncodingKey::from_ec_der(&self.secret)).unwrap()
    }

    /// A token with an HMAC whose secret is the public key: what a careless server takes for signed.
    pub fn confuse(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::HS256) };
        encode(&header, claims, &EncodingKey::from_secret(&self.public).unwrap()).unwrap()
    }
}

/// The claims without a signature.
pub fn unsigned(claims: &Value) -> String {
    let [header, claims] = [&json!({ "alg": "none" }), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.")
}

/// A running issuer. It ends when dropped.
pub struct Issuer {
    pub server: Subscriber,
    keys: Arc<Mutex<Option<Vec<SigningKey>>>>,
}

impl Issuer {
    /// An issuer that publishes these keys.
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let issuer = Self { server: Subscriber::start().await, keys: Arc::default() };
        issuer.publish(keys);
        let (keys, url) = (Arc::clone(&issuer.keys), issuer.server.url.clone());
        issuer.server.answer(move |received| {
            let Some(keys) = keys.lock().unwrap().clone() else { return Reply::Status(503, String::new()) };
            match received.path.as_str() {
                "/.well-known/openid-configuration" => {
                    Reply::Status(200, json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string())
                }
                "/keys" => {
                    // One of a kind that nobody knows, and one for encryption, are of no interest.
                    let mut all = vec![json!({ "kty": "unknown", "kid": 7 }), json!({ "kty": "oct", "k": "AAAA" })];
                    all.extend(keys.iter().map(SigningKey::published));
                    Reply::Status(200, json!({ "keys": all }).to_string())
                }
                _ => Reply::Status(404, String::new()),
            }
        });
        issuer
    }

    /// Publishes these keys from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        *self.keys.lock().unwrap() = Some(keys.iter().map(|&key| key.clone()).collect());
    }

    /// Answers everything with 503 from now on.
    pub fn fail(&self) {
        *self.keys.lock().unwrap() = None;
    }

    /// How often the keys were fetched.
    pub fn fetches(&self) -> usize {
        self.server.received().iter().filter(|received| received.path == "/keys").count()
    }

    /// The claims of a token that is valid for five minutes.
    pub fn claims(&self, subject: &str, role: &str) -> Value {
        let now = System.now().unix_timestamp();
        json!({
            "iss": self.server.url, "aud": ["account", "gybe"], "sub": subject, "project_id": "edge",
            "realm_access": { "roles": ["offline_access", role] }, "iat": now, "exp": now + 300,
        })
    }

    /// The table of the configuration file for this issuer.
    pub fn table(&self) -> String {
        format!("[auth.jwt]\nissuer = '{}'\naudience = 'gybe'\nroles_claim = 'realm_access.roles'\n", self.server.url)
    }
}
