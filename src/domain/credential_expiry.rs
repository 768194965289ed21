//! Until when a credential of a VIM is valid, as far as it says so itself: the claims of a JWT, the validity of a client certificate.
//!
//! Nothing is verified: what is read is shown to people and alarms, and decides nothing. The API server decides.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Number;
use time::{Duration, OffsetDateTime};
use x509_parser::pem::Pem;

/// The longest token that is read, in bytes.
const LONGEST_TOKEN: usize = 64 * 1024;
/// The most certificates of a chain that are read.
const MAX_CERTIFICATES: usize = 16;
/// A credential is about to expire when less than this is left, or less than a fifth of its whole life.
const NEAR: Duration = Duration::days(7);
const NEAR_PART: i32 = 5;

/// The life of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `iat` of a JWT, `notBefore` of a certificate, if there is one.
    pub begins: Option<OffsetDateTime>,
    /// `exp` of a JWT, `notAfter` of a certificate.
    pub ends: OffsetDateTime,
}

impl Validity {
    /// Of a bearer token; `None` if it does not say until when it is valid, or nothing that can be true.
    pub fn of_token(token: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Claims {
            exp: Option<Number>,
            iat: Option<Number>,
        }
        let token = token.trim();
        let mut parts = token.split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let claims = (token.len() <= LONGEST_TOKEN).then(|| URL_SAFE_NO_PAD.decode(claims).ok())??;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        Some(Self { begins: claims.iat.as_ref().and_then(numeric_date), ends: numeric_date(&claims.exp?)? })
    }

    /// Of a certificate chain in PEM, which is valid as long as all of it is; `None` if it cannot be read.
    pub fn of_certificates(pem: &str) -> Option<Self> {
        let mut validity: Option<Self> = None;
        for certificate in Pem::iter_from_buffer(pem.as_bytes()).take(MAX_CERTIFICATES) {
            let certificate = certificate.ok()?;
            let parsed = certificate.parse_x509().ok()?;
            let begins = date(parsed.validity().not_before.timestamp());
            let ends = date(parsed.validity().not_after.timestamp())?;
            validity = match validity {
                Some(known) if known.ends <= ends => Some(known),
                _ => Some(Self { begins, ends }),
            };
        }
        validity
    }

    /// Whether the credential is about to expire, or has expired.
    pub fn is_near_end(&self, now: OffsetDateTime) -> bool {
        let life = self.begins.map(|begins| self.ends - begins).filter(|life| life.is_positive());
        self.ends - now < life.map_or(NEAR, |life| NEAR.min(life / NEAR_PART))
    }
}

/// A NumericDate (RFC 7519 clause 2): seconds since 1970, which may have a fraction.
fn numeric_date(number: &Number) -> Option<OffsetDateTime> {
    number.as_i64().or_else(|| whole_seconds(number.as_f64()?)).and_then(date)
}

/// The seconds without their fraction, of times that have four digits for the year.
fn whole_seconds(seconds: f64) -> Option<i64> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (0.0..YEAR_10000).contains(&seconds).then_some(seconds as i64)
}

/// A time after 1970 that can be written with four digits for the year.
fn date(seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|date| seconds > 0 && date.year() <= 9999)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_claims(claims: &str) -> Option<i64> {
        let token = format!("e30.{}.c2ln\n", URL_SAFE_NO_PAD.encode(claims));
        Validity::of_token(&token).map(|it| it.ends.unix_timestamp())
    }

    #[test]
    fn a_token_says_when_it_expires() {
        for (claims, expected) in [
            (r#"{"exp":1800000000,"iat":1700000000}"#, Some(1_800_000_000)),
            (r#"{"exp":1800000000.9}"#, Some(1_800_000_000)),
            (r#"{"exp":-1}"#, None),
            (r#"{"exp":0}"#, None),
            (r#"{"exp":1e300}"#, None),
            (r#"{"exp":-1e300}"#, None),
            (r#"{"exp":18446744073709551615}"#, None),
            (r#"{"exp":253402300800}"#, None),
            (r#"{"exp":"soon"}"#, None),
            (r#"{"iat":1700000000}"#, None),
            ("[]", None),
            ("no JSON", None),
        ] {
            assert_eq!(of_claims(claims), expected, "{claims}");
        }
        let long = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(r#"{"exp":1800000000}"#) + &"A".repeat(LONGEST_TOKEN));
        for token in ["", "opaque", "a.b", "a.b.c", "a.b.c.d", "..", &long] {
            assert_eq!(Validity::of_token(token), None);
        }
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n", not_der, "\u{0}"] {
            assert_eq!(Validity::of_certificates(pem), None, "{pem}");
        }
    }

    #[test]
    fn the_end_is_near_in_the_last_week_or_the_last_fifth() {
        let at = |day| OffsetDateTime::UNIX_EPOCH + Duration::days(day);
        let year = Validity { begins: Some(at(0)), ends: at(365) };
        assert_eq!([at(357), at(359), at(366)].map(|now| year.is_near_end(now)), [false, true, true]);
        let short = Validity { begins: Some(at(0)), ends: at(5) };
        assert_eq!([at(3), at(4) + Duration::SECOND].map(|now| short.is_near_end(now)), [false, true]);
        let unknown = Validity { begins: None, ends: at(5) };
        assert!(unknown.is_near_end(at(0)));
        let backwards = Validity { begins: Some(at(9)), ends: at(5) };
        assert!(backwards.is_near_end(at(0)));
    }
}
