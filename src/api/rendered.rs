//! VNF instances as they go over the wire, kept by their version: what did not change is not read and written out again.
//!
//! An instance's version counts up with every change of what a caller can see of it (it is the ETag), so an entry is true
//! for ever and nothing is ever invalidated: an old one is just not asked for any more. Which version is the present one
//! comes from the database with every request, also when other processes write there. Used by [`super::instances`].

use actix_web::web::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::VnfInstance;
use crate::error::{ApiError, internal};
use crate::sol003::{Edition, v1, v2};

type Key = (VnfInstanceId, i64, Edition);

/// What is kept takes at most so many bytes.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// What an entry takes beside its text, about.
const ENTRY: u64 = 128;

/// The kept texts.
pub struct Rendered {
    /// The beginning of every link: scheme, host and port.
    base: String,
    texts: Cache<Key, Bytes, Size>,
}

#[derive(Clone)]
struct Size;

impl Weighter<Key, Bytes> for Size {
    fn weight(&self, _: &Key, text: &Bytes) -> u64 {
        text.len() as u64 + ENTRY
    }
}

impl Rendered {
    /// Nothing kept yet.
    pub fn new(base: String) -> Self {
        // About as many as there is room for of small ones.
        let texts = Cache::with_weighter((CAPACITY / 1024) as usize, CAPACITY, Size);
        Self { base, texts }
    }

    /// The text of that version, if it is kept.
    pub fn kept(&self, edition: Edition, id: VnfInstanceId, version: i64) -> Option<Bytes> {
        self.texts.get(&(id, version, edition))
    }

    /// Writes an instance out, and keeps the text.
    ///
    /// # Errors
    /// 500 if it can't be written as JSON, which is a defect.
    pub fn write(&self, edition: Edition, instance: &VnfInstance) -> Result<Bytes, ApiError> {
        let text = match edition {
            Edition::V1 => serde_json::to_vec(&v1::VnfInstance::new(instance, &self.base)),
            Edition::V2 => serde_json::to_vec(&v2::VnfInstance::new(instance, &self.base)),
        };
        let text = Bytes::from(text.map_err(|error| internal(&error))?);
        self.texts.insert((instance.id, instance.version, edition), text.clone());
        Ok(text)
    }
}
