//! VNF instances as they go over the wire, whole and as lists show them, kept by their version: what did not change is not
//! read and written out again.
//!
//! An instance's version counts up with every change of what a caller can see of it (it is the ETag), so an entry is true
//! for ever and nothing is ever invalidated: an old one is just not asked for any more. Which version is the present one
//! comes from the database with every request, also when other processes write there. Used by [`super::instances`].

use actix_web::web::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::api::selectors::{Form, Selection};
use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::VnfInstance;
use crate::error::{ApiError, internal};
use crate::sol003::{Edition, v1, v2};

type Key = (VnfInstanceId, i64, Edition, Form);

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

    /// The text of what is shown of that version, if it is kept.
    pub fn kept(&self, edition: Edition, selection: &Selection, id: VnfInstanceId, version: i64) -> Option<Bytes> {
        let form = keeping(selection)?;
        self.texts.get(&(id, version, edition, form))
    }

    /// Writes out what is shown of an instance, and keeps the text if it is of a form that is asked for again and again.
    ///
    /// # Errors
    /// 500 if it can't be written as JSON, which is a defect.
    pub fn write(&self, edition: Edition, selection: &Selection, instance: &VnfInstance) -> Result<Bytes, ApiError> {
        let text = match edition {
            Edition::V1 => selection.text(&v1::VnfInstance::new(instance, &self.base)),
            Edition::V2 => selection.text(&v2::VnfInstance::new(instance, &self.base)),
        };
        let text = text.map_err(|error| internal(&error))?;
        if let Some(form) = keeping(selection) {
            self.texts.insert((instance.id, instance.version, edition, form), text.clone());
        }
        Ok(text)
    }
}

/// The form that texts are kept in; callers' own selections are too many.
fn keeping(selection: &Selection) -> Option<Form> {
    matches!(selection.form(), Form::All | Form::Default).then(|| selection.form())
}
