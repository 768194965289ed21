//! Tokens that Gybe itself issues to the users of `[auth.basic]` (RFC 6749 section 4.4), for clients that know no other way than a
//! token endpoint below the root of the API.
//!
//! They are signed with keys that are derived from the sealing keys, so that each process on the same database accepts them. A
//! token only names the user: project and role are those that the user has when the token is used.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::auth::jwt::claimed_issuer;
use crate::auth::{AuthConfigError, AuthError};
use crate::domain::secret::Secret;

/// How long a token is valid.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// The claims `iss` and `aud`. No other issuer has this name, as theirs are URLs.
pub const ISSUER: &str = "gybe";

/// A key with its identifier. Its bytes are secret.
pub struct TokenKey {
    pub id: String,
    pub secret: [u8; 32],
}

/// The keys: the first one signs, each of them verifies.
pub struct IssuedTokens(Vec<Keys>);

struct Keys {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    exp: i64,
}

impl IssuedTokens {
    /// # Errors
    /// [`AuthConfigError`]: the cryptographic library does not take a key.
    pub fn new(keys: &[TokenKey]) -> Result<Self, AuthConfigError> {
        let unusable = |_| AuthConfigError("a key for tokens cannot be derived from the sealing keys".to_owned());
        let keys = keys.iter().map(|key| {
            let encoding = EncodingKey::from_secret(&key.secret).map_err(unusable)?;
            let decoding = DecodingKey::from_secret(&key.secret).map_err(unusable)?;
            Ok(Keys { id: key.id.clone(), encoding, decoding })
        });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// A token for the user.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`]: there is no key.
    pub fn issue(&self, user: &str, now: OffsetDateTime) -> Result<Secret, AuthError> {
        let none = AuthError::Unavailable("the signer of tokens");
        let Some(key) = self.0.first() else { return Err(none) };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        let (iat, ends) = (now.unix_timestamp(), (now + LIFETIME).unix_timestamp());
        let claims = Claims { iss: ISSUER.to_owned(), aud: ISSUER.to_owned(), sub: user.to_owned(), iat, exp: ends };
        encode(&header, &claims, &key.encoding).map(Secret::new).map_err(|_| none)
    }

    /// The user whom a token names; `None` if Gybe has not issued it.
    ///
    /// # Errors
    /// [`AuthError::Invalid`]: it says so wrongly, or has expired.
    pub fn user(&self, token: &str) -> Result<Option<String>, AuthError> {
        if claimed_issuer(token).is_none_or(|issuer| issuer != ISSUER) {
            return Ok(None);
        }
        let invalid = || AuthError::Invalid("the token has expired, or was not issued here".to_owned());
        let header = decode_header(token).map_err(|_| invalid())?;
        let key = self.0.iter().find(|key| Some(&key.id) == header.kid.as_ref()).ok_or_else(invalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        let token = decode::<Claims>(token, &key.decoding, &validation).map_err(|_| invalid())?;
        Ok(Some(token.claims.sub))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, System};

    fn tokens(secrets: &[u8]) -> IssuedTokens {
        let keys = secrets.iter().map(|secret| TokenKey { id: format!("k{secret}"), secret: [*secret; 32] });
        IssuedTokens::new(&keys.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn processes_with_the_same_keys_accept_a_token_for_a_quarter_of_an_hour() {
        let now = System.now();
        let token = tokens(&[1]).issue("so", now).unwrap();
        assert_eq!(tokens(&[1]).user(token.expose()), Ok(Some("so".to_owned())));
        assert_eq!(tokens(&[2, 1]).user(token.expose()), Ok(Some("so".to_owned())), "the key is the second one now");
        assert!(tokens(&[2]).user(token.expose()).is_err());
        let expired = tokens(&[1]).issue("so", now - LIFETIME - Duration::from_secs(1)).unwrap();
        assert!(tokens(&[1]).user(expired.expose()).is_err());
        for other in ["x", "a.b.c", ""] {
            assert_eq!(tokens(&[1]).user(other), Ok(None));
        }
    }
}
