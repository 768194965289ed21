//! Sealing of secret columns: AES-256-GCM under a ring of keys that the operator keeps outside the database.
//!
//! The stores seal before they write and open after they read; nobody else calls this. A sealed value is
//! `key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. The place it belongs to (table, column, row) is authenticated with
//! it, so that a sealed value copied into another row does not open there. Rotation: put the new key first and keep the
//! old one until every row was written again.
//!
//! The nonce is random: one key is good for 2³² values, far more than there will ever be writes of secrets.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;

const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;

/// The keys. The first one seals, all open.
pub struct KeyRing {
    keys: Vec<Key>,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

/// Why a text is no key ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has no key.
    #[error("there is no key")]
    Empty,
    /// A key, counted from 1, is not as it must be. What it is instead is not told: it is secret.
    #[error("key {0} is not {KEY_BYTES} bytes in base64")]
    Malformed(usize),
    /// The random number generator failed.
    #[error("no random numbers")]
    Random,
}

/// Why a value was not sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with a key that the ring does not have.
    #[error("it is sealed with key {0}, which is not in the key ring")]
    UnknownKey(String),
    /// It was changed, belongs to another row, or is no sealed value.
    #[error("the sealed value was changed or moved")]
    Broken,
    /// The library refused.
    #[error("sealing failed")]
    Failed,
}

/// Where a sealed value belongs.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The row's identifier.
    pub row: &'a str,
}

impl KeyRing {
    /// Reads keys of 32 bytes in base64, separated by line ends or commas.
    ///
    /// # Errors
    /// If there is none, or one is something else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let texts = text.split(['\n', ',']).map(str::trim).filter(|text| !text.is_empty());
        let keys = texts
            .enumerate()
            .map(|(at, text)| Key::parse(text).ok_or(KeyError::Malformed(at + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self { keys }) }
    }

    /// A fresh key as a text that [`KeyRing::parse`] reads.
    ///
    /// # Errors
    /// If there are no random numbers to be had.
    pub fn generate_text() -> Result<String, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        Ok(STANDARD.encode(bytes))
    }

    /// Seals `secrets` for the place `context`.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, context: &Context<'_>, secrets: &impl Serialize) -> Result<Vec<u8>, SealError> {
        let Key { id, key } = self.keys.first().ok_or(SealError::Failed)?;
        let mut text = serde_json::to_vec(secrets).map_err(|_| SealError::Failed)?;
        let nonce = key.seal_in_place_append_tag(context.aad(), &mut text).map_err(|_| SealError::Failed)?;
        Ok([id.as_slice(), nonce.as_ref(), &text].concat())
    }

    /// Opens what was sealed for the place `context`.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Broken`].
    pub fn open<T: DeserializeOwned>(&self, context: &Context<'_>, sealed: &[u8]) -> Result<T, SealError> {
        let (id, rest) = sealed.split_at_checked(KEY_ID_BYTES).ok_or(SealError::Broken)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::Broken)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| SealError::UnknownKey(hex::encode(id)))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut text = text.to_vec();
        let clear = key.key.open_in_place(nonce, context.aad(), &mut text).map_err(|_| SealError::Broken)?;
        // serde's message could quote the secret.
        serde_json::from_slice(clear).map_err(|_| SealError::Broken)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == KEY_BYTES)?;
        let id = digest(&SHA256, &bytes).as_ref().first_chunk().copied()?;
        Some(Self { id, key: RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()? })
    }
}

impl Context<'_> {
    /// The names have no NUL, so two places never give the same bytes.
    fn aad(&self) -> Aad<Vec<u8>> {
        Aad::from([self.table, self.column, self.row].join("\0").into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;
    use crate::domain::vim::Secrets;

    const PLACE: Context<'_> = Context { table: "vims", column: "secrets", row: "1" };

    fn secrets() -> Secrets {
        Secrets::from([("bearer_token".to_owned(), Secret::new("s3cr3t"))])
    }

    fn ring(texts: &[&str]) -> KeyRing {
        KeyRing::parse(&texts.join("\n")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_is_not_in_clear() {
        let ring = ring(&[&KeyRing::generate_text().unwrap()]);
        let sealed = ring.seal(&PLACE, &secrets()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cr3t"));
        assert_ne!(sealed, ring.seal(&PLACE, &secrets()).unwrap(), "the nonce is fresh");
        assert_eq!(ring.open::<Secrets>(&PLACE, &sealed).unwrap(), secrets());
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let ring = ring(&[&KeyRing::generate_text().unwrap()]);
        let sealed = ring.seal(&PLACE, &secrets()).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            ring.open::<Secrets>(&PLACE, &changed).unwrap_err();
            ring.open::<Secrets>(&PLACE, &sealed[..at]).unwrap_err();
        }
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_place() {
        let ring = ring(&[&KeyRing::generate_text().unwrap()]);
        let sealed = ring.seal(&PLACE, &secrets()).unwrap();
        for elsewhere in [
            Context { table: "vnf_instances", ..PLACE },
            Context { column: "vim_secrets", ..PLACE },
            Context { row: "2", ..PLACE },
        ] {
            assert_eq!(ring.open::<Secrets>(&elsewhere, &sealed), Err(SealError::Broken));
        }
    }

    #[test]
    fn after_a_rotation_old_values_open_and_new_ones_use_the_new_key() {
        let [old, new] = [KeyRing::generate_text().unwrap(), KeyRing::generate_text().unwrap()];
        let sealed = ring(&[&old]).seal(&PLACE, &secrets()).unwrap();
        let both = KeyRing::parse(&format!("{new},{old}\n")).unwrap();
        assert_eq!(both.open::<Secrets>(&PLACE, &sealed).unwrap(), secrets());
        let again = both.seal(&PLACE, &secrets()).unwrap();
        assert_eq!(ring(&[&new]).open::<Secrets>(&PLACE, &again).unwrap(), secrets());
        assert!(matches!(ring(&[&new]).open::<Secrets>(&PLACE, &sealed), Err(SealError::UnknownKey(_))));
    }

    #[test]
    fn a_text_that_is_no_key_ring_is_refused_without_showing_it() {
        let good = KeyRing::generate_text().unwrap();
        assert_eq!(KeyRing::parse(" \n,").unwrap_err(), KeyError::Empty);
        assert_eq!(KeyRing::parse(&format!("{good}\nc2hvcnQ=")).unwrap_err(), KeyError::Malformed(2));
        assert_eq!(KeyRing::parse("not base64!").unwrap_err(), KeyError::Malformed(1));
        assert_eq!(format!("{:?}", ring(&[&good])), "KeyRing");
    }
}
