//! VNF instances as they go over the wire, whole and as lists show them, kept with their version: what did not change is not
//! read and written out again.
//!
//! An instance's version counts up with every change of what a caller can see of it (it is the ETag). Which one is the
//! present comes from the database with every request, also when other processes write there, so nothing is ever
//! invalidated: an old text is just no longer what is asked for, and the next one takes its place. What is kept grows with
//! the instances, not with their changes. Used by [`super::instances`].

use actix_web::web::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::api::selectors::{Form, Selection};
use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::VnfInstance;
use crate::error::{ApiError, internal};
use crate::sol003::{Edition, v1, v2};

type Key = (VnfInstanceId, Edition, Form);
/// A text and the version it shows.
type Shown = (i64, Bytes);

/// The forms that texts are kept in; callers' own selections are too many.
const KEPT: [Form; 2] = [Form::All, Form::Default];
/// What is kept takes at most so many bytes.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// What an entry takes beside its text, about.
const ENTRY: u64 = 128;

/// The kept texts.
pub struct InstanceCache {
    /// The beginning of every link: scheme, host and port.
    base: String,
    texts: Cache<Key, Shown, Size>,
}

#[derive(Clone)]
struct Size;

impl Weighter<Key, Shown> for Size {
    fn weight(&self, _: &Key, (_, text): &Shown) -> u64 {
        text.len() as u64 + ENTRY
    }
}

impl InstanceCache {
    /// Nothing kept yet.
    pub fn new(base: String) -> Self {
        // About as many as there is room for of small ones.
        let texts = Cache::with_weighter((CAPACITY / 1024) as usize, CAPACITY, Size);
        Self { base, texts }
    }

    /// The text of what is shown of that version, if it is kept.
    pub fn kept(&self, edition: Edition, selection: &Selection, id: VnfInstanceId, version: i64) -> Option<Bytes> {
        let form = keeping(selection)?;
        self.texts.get(&(id, edition, form)).filter(|(shown, _)| *shown == version).map(|(_, text)| text)
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
            self.texts.insert((instance.id, edition, form), (instance.version, text.clone()));
        }
        Ok(text)
    }

    /// The instance is deleted. If another process did that, its texts stay until their room is wanted.
    pub fn forget(&self, id: VnfInstanceId) {
        for edition in [Edition::V1, Edition::V2] {
            for form in KEPT {
                self.texts.remove(&(id, edition, form));
            }
        }
    }
}

/// The form of the selection if texts are kept in it.
fn keeping(selection: &Selection) -> Option<Form> {
    KEPT.contains(&selection.form()).then(|| selection.form())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Map;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::{ProjectId, VnfPkgId};
    use crate::domain::instance::VnfMetadata;

    fn instance(version: i64) -> VnfInstance {
        VnfInstance {
            id: VnfInstanceId(Uuid::nil()),
            project_id: ProjectId::default(),
            name: Some(format!("of version {version}")),
            description: None,
            vnfd_id: "vnfd".to_owned(),
            vnf_pkg_id: VnfPkgId(Uuid::nil()),
            provider: "Company".to_owned(),
            product_name: "Sample".to_owned(),
            software_version: "1.0".to_owned(),
            vnfd_version: "1.0".to_owned(),
            metadata: VnfMetadata::default(),
            extensions: Map::new(),
            configurable_properties: Map::new(),
            vim_connections: BTreeMap::new(),
            instantiated: None,
            version,
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_the_present_text_of_an_instance_is_kept_and_none_once_it_is_deleted() {
        let rendered = InstanceCache::new("http://gybe".to_owned());
        let id = instance(1).id;
        let kept = |version| rendered.kept(Edition::V2, &Selection::ALL, id, version);
        assert_eq!(kept(1), None);
        let first = rendered.write(Edition::V2, &Selection::ALL, &instance(1)).unwrap();
        assert_eq!(kept(1), Some(first));
        assert_eq!(kept(2), None, "it has changed");
        let second = rendered.write(Edition::V2, &Selection::ALL, &instance(2)).unwrap();
        assert_eq!((kept(1), kept(2)), (None, Some(second)));
        assert_eq!(rendered.texts.len(), 1);
        rendered.forget(id);
        assert_eq!(rendered.texts.len(), 0);
    }
}
