//! Sessions of browsers. A random secret, which the browser keeps in a cookie, stands for the credential of the user.
//!
//! The store has a digest of the secret, and the credential encrypted under a key that only the secret yields: neither the
//! database nor the sealing keys tell the credential. Each request is authenticated as if it carried the credential, so that a
//! session can do what its credential can, and ends with it ([ADR 41](../../docs/adr/0041-a-dashboard-in-the-binary.md)).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::auth::AuthError;
use crate::domain::secret::Secret;

/// How long a session lasts, whatever happens in it.
pub const LIFETIME: Duration = Duration::from_hours(12);
/// Sessions that somebody may have at the same time. One more ends the oldest.
pub const MOST_SESSIONS: usize = 20;
/// The longest token, user name or password of a login, in bytes.
const LONGEST: usize = 8 * 1024;
const SECRET_BYTES: usize = 32;
const CRYPTOGRAPHY: AuthError = AuthError::Unavailable("the cryptographic library");

/// A credential, as a request carries it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCredential {
    header: CredentialHeader,
    value: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum CredentialHeader {
    Authorization,
    XAuthToken,
}

impl SessionCredential {
    /// What the token may be: a bearer token, or one of Keystone. `None` if no header can carry it.
    pub fn of_token(token: &str) -> Option<[Self; 2]> {
        is_sendable(token).then(|| {
            [
                Self { header: CredentialHeader::Authorization, value: Secret::new(format!("Bearer {token}")) },
                Self { header: CredentialHeader::XAuthToken, value: Secret::new(token) },
            ]
        })
    }

    /// User name and password of HTTP Basic. `None` if they are too long, or the name has a colon.
    pub fn of_user(user: &str, password: &str) -> Option<Self> {
        let is_short = user.len() <= LONGEST && password.len() <= LONGEST;
        (is_short && !user.contains(':')).then(|| {
            let pair = BASE64.encode(format!("{user}:{password}"));
            Self { header: CredentialHeader::Authorization, value: Secret::new(format!("Basic {pair}")) }
        })
    }

    /// The values of the header `name`, in lower case, in a request that carries this credential alone.
    pub fn header(&self, name: &str) -> Vec<&[u8]> {
        let own = match self.header {
            CredentialHeader::Authorization => "authorization",
            CredentialHeader::XAuthToken => "x-auth-token",
        };
        if name == own { vec![self.value.expose().as_bytes()] } else { Vec::new() }
    }
}

fn is_sendable(token: &str) -> bool {
    (1..=LONGEST).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The secret of a session, in the cookie.
pub struct SessionSecret([u8; SECRET_BYTES]);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl SessionSecret {
    /// A new secret.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`]: there is no randomness.
    pub fn random() -> Result<Self, AuthError> {
        let mut bytes = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CRYPTOGRAPHY)?;
        Ok(Self(bytes))
    }

    /// The secret of a cookie; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }

    /// The text in the cookie.
    pub fn expose(&self) -> String {
        hex::encode(self.0)
    }

    /// The session's identifier in the store, which says nothing about the secret.
    pub fn id(&self) -> String {
        hex::encode(digest(&SHA256, &self.0))
    }

    /// Encrypts the credential.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`]: the cryptographic library failed.
    pub fn seal(&self, credential: &SessionCredential) -> Result<Vec<u8>, AuthError> {
        let mut text = serde_json::to_vec(credential).map_err(|_| CRYPTOGRAPHY)?;
        let key = self.key().ok_or(CRYPTOGRAPHY)?;
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut text).map_err(|_| CRYPTOGRAPHY)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// The credential that [`seal`](Self::seal) encrypted; `None` if another secret did.
    pub fn open(&self, sealed: &[u8]) -> Option<SessionCredential> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        serde_json::from_slice(self.key()?.open_in_place(nonce, Aad::empty(), &mut text).ok()?).ok()
    }

    fn key(&self) -> Option<RandomizedNonceKey> {
        let mut key = [0; SECRET_BYTES];
        let info = [b"gybe browser session".as_slice()];
        let derivation = Salt::new(HKDF_SHA256, &[]).extract(&self.0);
        derivation.expand(&info, HKDF_SHA256).and_then(|output| output.fill(&mut key)).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_of_the_session_opens_its_credential() {
        let [secret, other] = [SessionSecret::random().unwrap(), SessionSecret::random().unwrap()];
        let [bearer, keystone] = SessionCredential::of_token("s3cr3t").unwrap();
        let sealed = secret.seal(&bearer).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cr3t"));
        assert_eq!(SessionSecret::parse(&secret.expose()).unwrap().open(&sealed), Some(bearer));
        assert_eq!(other.open(&sealed), None);
        assert_eq!(secret.open(&sealed[1..]), None);
        assert_eq!(secret.open(&[]), None);
        assert_ne!(secret.id(), secret.expose());
        assert_eq!(keystone.header("x-auth-token"), [b"s3cr3t"]);
        assert!(keystone.header("authorization").is_empty());
    }

    #[test]
    fn refuses_what_no_header_can_carry() {
        for token in ["", "a b", "a\r\nX-Auth-Token: b", "ä", &"a".repeat(8193)] {
            assert_eq!(SessionCredential::of_token(token), None, "{token}");
        }
        assert_eq!(SessionCredential::of_user("a:b", "c"), None);
        assert_eq!(SessionCredential::of_user("so", "a:b").unwrap().header("authorization"), [b"Basic c286YTpi"]);
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64)] {
            assert!(SessionSecret::parse(text).is_none(), "{text}");
        }
    }
}
