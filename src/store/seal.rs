//! Sealing of secret columns: AES-256-GCM under a ring of keys that the operator keeps outside the database.
//!
//! The store seals secrets before it writes them and opens them after it reads them; nothing else uses this module. A sealed
//! value is `key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. Table, column and row are authenticated with it, so a sealed
//! value that is copied into another row does not open there. To rotate keys, put the new key first and keep the old one
//! until `gybe rekey` has sealed every row again.
//!
//! The nonce is random, so one key is safe for 2³² values: far more than Gybe ever writes.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;

const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;

/// The keys. The first key seals; every key opens.
pub struct KeyRing {
    keys: Vec<SealingKey>,
}

struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
    /// For keys that are derived from it.
    derivation: Prk,
}

/// Why a text is not a key ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has no key.
    #[error("the key ring is empty: it needs at least one key")]
    Empty,
    /// This key, counted from 1, is malformed. The message does not quote it: it is secret.
    #[error("key {0} must be {KEY_BYTES} bytes in base64")]
    Malformed(usize),
    /// The random number generator failed.
    #[error("the random number generator failed")]
    Random,
}

/// Why a value could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key ring does not have the key with this identifier, which sealed the value.
    #[error("sealed with key {0}, which is not in the key ring: add that key")]
    UnknownKey(String),
    /// The value was changed, belongs to another row, or is not a sealed value.
    #[error("the sealed value was changed or moved")]
    Broken,
    /// The cryptographic library failed.
    #[error("sealing failed")]
    Failed,
}

/// The column and row that a sealed value belongs to.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The row's identifier.
    pub row: &'a str,
}

impl KeyRing {
    /// Parses keys of 32 bytes in base64, separated by line ends or commas.
    ///
    /// # Errors
    /// [`KeyError::Empty`], [`KeyError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let texts = text.split(['\n', ',']).map(str::trim).filter(|text| !text.is_empty());
        let keys = texts
            .enumerate()
            .map(|(at, text)| SealingKey::parse(text).ok_or(KeyError::Malformed(at + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self { keys }) }
    }

    /// Generates a key, as a text that [`KeyRing::parse`] accepts.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate_text() -> Result<String, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        Ok(STANDARD.encode(bytes))
    }

    /// Seals `secrets` for this column and row.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, context: &SealContext<'_>, secrets: &impl Serialize) -> Result<Vec<u8>, SealError> {
        let SealingKey { id, key, .. } = self.keys.first().ok_or(SealError::Failed)?;
        let mut text = serde_json::to_vec(secrets).map_err(|_| SealError::Failed)?;
        let nonce = key.seal_in_place_append_tag(context.aad(), &mut text).map_err(|_| SealError::Failed)?;
        Ok([id.as_slice(), nonce.as_ref(), &text].concat())
    }

    /// A key for another `purpose`, derived from each key of the ring: its identifier and its bytes. The newest comes first.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn derive(&self, purpose: &'static str) -> Result<Vec<(String, [u8; KEY_BYTES])>, SealError> {
        let derived = self.keys.iter().map(|key| {
            let mut bytes = [0; KEY_BYTES];
            let info = [purpose.as_bytes()];
            let derived = key.derivation.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes));
            derived.map(|()| (hex::encode(key.id), bytes)).map_err(|_| SealError::Failed)
        });
        derived.collect()
    }

    /// The identifier of the key that seals.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn sealing_key(&self) -> Result<String, SealError> {
        self.keys.first().map(|key| hex::encode(key.id)).ok_or(SealError::Failed)
    }

    /// Whether the ring has the key with this identifier.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| hex::encode(key.id) == id)
    }

    /// Seals what `sealed` contains with the key that seals.
    ///
    /// # Errors
    /// As [`KeyRing::open`] and [`KeyRing::seal`].
    pub fn seal_again(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal(context, &self.open::<serde_json::Value>(context, sealed)?)
    }

    /// Opens a value that was sealed for this column and row.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Broken`].
    pub fn open<T: DeserializeOwned>(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<T, SealError> {
        let (id, rest) = sealed.split_at_checked(KEY_ID_BYTES).ok_or(SealError::Broken)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::Broken)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| SealError::UnknownKey(hex::encode(id)))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut text = text.to_vec();
        let clear = key.key.open_in_place(nonce, context.aad(), &mut text).map_err(|_| SealError::Broken)?;
        // The message of serde may quote the secret.
        serde_json::from_slice(clear).map_err(|_| SealError::Broken)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")
    }
}

impl SealingKey {
    fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == KEY_BYTES)?;
        let id = digest(&SHA256, &bytes).as_ref().first_chunk().copied()?;
        let derivation = Salt::new(HKDF_SHA256, &[]).extract(&bytes);
        Some(Self { id, key: RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?, derivation })
    }
}

impl SealContext<'_> {
    /// The parts contain no NUL, so two contexts never have the same bytes.
    fn aad(&self) -> Aad<Vec<u8>> {
        Aad::from([self.table, self.column, self.row].join("\0").into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;
    use crate::domain::vim::Secrets;

    const CONTEXT: SealContext<'_> = SealContext { table: "vims", column: "secrets", row: "1" };

    fn secrets() -> Secrets {
        Secrets::from([("bearer_token".to_owned(), Secret::new("s3cr3t"))])
    }

    fn ring(texts: &[&str]) -> KeyRing {
        KeyRing::parse(&texts.join("\n")).unwrap()
    }

    #[test]
    fn opens_what_it_sealed_and_hides_it() {
        let ring = ring(&[&KeyRing::generate_text().unwrap()]);
        let sealed = ring.seal(&CONTEXT, &secrets()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cr3t"));
        assert_ne!(sealed, ring.seal(&CONTEXT, &secrets()).unwrap(), "the nonce is fresh");
        assert_eq!(ring.open::<Secrets>(&CONTEXT, &sealed).unwrap(), secrets());
    }

    #[test]
    fn detects_a_change_of_any_byte() {
        let ring = ring(&[&KeyRing::generate_text().unwrap()]);
        let sealed = ring.seal(&CONTEXT, &secrets()).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            ring.open::<Secrets>(&CONTEXT, &changed).unwrap_err();
            ring.open::<Secrets>(&CONTEXT, &sealed[..at]).unwrap_err();
        }
    }

    #[test]
    fn opens_only_in_its_own_column_and_row() {
        let ring = ring(&[&KeyRing::generate_text().unwrap()]);
        let sealed = ring.seal(&CONTEXT, &secrets()).unwrap();
        for elsewhere in [
            SealContext { table: "vnf_instances", ..CONTEXT },
            SealContext { column: "vim_secrets", ..CONTEXT },
            SealContext { row: "2", ..CONTEXT },
        ] {
            assert_eq!(ring.open::<Secrets>(&elsewhere, &sealed), Err(SealError::Broken));
        }
    }

    #[test]
    fn rotation_opens_old_values_and_seals_with_the_new_key() {
        let [old, new] = [KeyRing::generate_text().unwrap(), KeyRing::generate_text().unwrap()];
        let sealed = ring(&[&old]).seal(&CONTEXT, &secrets()).unwrap();
        let both = KeyRing::parse(&format!("{new},{old}\n")).unwrap();
        assert_eq!(both.open::<Secrets>(&CONTEXT, &sealed).unwrap(), secrets());
        let again = both.seal(&CONTEXT, &secrets()).unwrap();
        assert_eq!(ring(&[&new]).open::<Secrets>(&CONTEXT, &again).unwrap(), secrets());
        assert!(matches!(ring(&[&new]).open::<Secrets>(&CONTEXT, &sealed), Err(SealError::UnknownKey(_))));
    }

    #[test]
    fn derives_keys_that_depend_on_purpose_and_key() {
        let [old, new] = [KeyRing::generate_text().unwrap(), KeyRing::generate_text().unwrap()];
        let derived = ring(&[&new, &old]).derive("tokens").unwrap();
        assert_eq!(derived[1..], ring(&[&old]).derive("tokens").unwrap());
        assert_ne!(derived[0], derived[1]);
        assert_ne!(derived, ring(&[&new, &old]).derive("others").unwrap());
    }

    #[test]
    fn rejects_malformed_keys_without_quoting_them() {
        let good = KeyRing::generate_text().unwrap();
        assert_eq!(KeyRing::parse(" \n,").unwrap_err(), KeyError::Empty);
        assert_eq!(KeyRing::parse(&format!("{good}\nc2hvcnQ=")).unwrap_err(), KeyError::Malformed(2));
        assert_eq!(KeyRing::parse("not base64!").unwrap_err(), KeyError::Malformed(1));
        assert_eq!(format!("{:?}", ring(&[&good])), "KeyRing");
    }
}
