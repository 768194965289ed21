//! A cache of VNF instances as JSON texts, for [`super::instances`]. It saves reading and serializing unchanged instances.
//!
//! The version of an instance grows with each change that a client can see (it is the ETag). Each request reads the present
//! version from the database, also if other processes write there. So no entry is ever invalidated: a text of an old version
//! does not match, and the text of the new version replaces it. There is one entry per instance, edition and form.

use actix_web::web::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::api::selectors::{Selection, SelectionForm};
use crate::domain::ids::VnfInstanceId;
use crate::domain::instance::VnfInstance;
use crate::error::{ApiError, internal};
use crate::sol003::{Edition, v1, v2};

type Key = (VnfInstanceId, Edition, SelectionForm);
/// The version of an instance and its text.
type VersionedText = (i64, Bytes);

/// The selections that are cached. The other selections are too many to cache.
const CACHED_FORMS: [SelectionForm; 2] = [SelectionForm::All, SelectionForm::Default];
/// The size of the cache in bytes.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// The approximate size of an entry without its text, in bytes.
const ENTRY_OVERHEAD: u64 = 128;

/// The cache.
pub struct InstanceCache {
    /// The start of each link in the texts: scheme, host and port.
    base: String,
    texts: Cache<Key, VersionedText, EntryWeight>,
}

#[derive(Clone)]
struct EntryWeight;

impl Weighter<Key, VersionedText> for EntryWeight {
    fn weight(&self, _: &Key, (_, text): &VersionedText) -> u64 {
        text.len() as u64 + ENTRY_OVERHEAD
    }
}

impl InstanceCache {
    /// An empty cache of texts with links below `base`.
    pub fn new(base: String) -> Self {
        // An estimate of the number of entries, for small texts.
        let texts = Cache::with_weighter((CAPACITY / 1024) as usize, CAPACITY, EntryWeight);
        Self { base, texts }
    }

    /// The text of that version, if the cache has it.
    pub fn get(&self, edition: Edition, selection: &Selection, id: VnfInstanceId, version: i64) -> Option<Bytes> {
        let form = cached_form(selection)?;
        self.texts.get(&(id, edition, form)).filter(|(cached, _)| *cached == version).map(|(_, text)| text)
    }

    /// Serializes an instance, and caches the text if the selection is one of the cached ones.
    ///
    /// # Errors
    /// 500 if it cannot be serialized: a defect.
    pub fn render(&self, edition: Edition, selection: &Selection, instance: &VnfInstance) -> Result<Bytes, ApiError> {
        let text = match edition {
            Edition::V1 => selection.text(&v1::VnfInstance::new(instance, &self.base)),
            Edition::V2 => selection.text(&v2::VnfInstance::new(instance, &self.base)),
        };
        let text = text.map_err(|error| internal(&error))?;
        if let Some(form) = cached_form(selection) {
            self.texts.insert((instance.id, edition, form), (instance.version, text.clone()));
        }
        Ok(text)
    }

    /// Drops the texts of a deleted instance. If another process deleted it, they stay until the cache evicts them.
    pub fn remove(&self, id: VnfInstanceId) {
        for edition in [Edition::V1, Edition::V2] {
            for form in CACHED_FORMS {
                self.texts.remove(&(id, edition, form));
            }
        }
    }
}

/// The form of the selection if it is a cached one.
fn cached_form(selection: &Selection) -> Option<SelectionForm> {
    CACHED_FORMS.contains(&selection.form()).then(|| selection.form())
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
    use crate::domain::warning::Warnings;

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
            warnings: Warnings::default(),
            version,
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn keeps_one_version_and_none_of_a_deleted_instance() {
        let cache = InstanceCache::new("http://gybe".to_owned());
        let id = instance(1).id;
        let cached = |version| cache.get(Edition::V2, &Selection::ALL, id, version);
        assert_eq!(cached(1), None);
        let first = cache.render(Edition::V2, &Selection::ALL, &instance(1)).unwrap();
        assert_eq!(cached(1), Some(first));
        assert_eq!(cached(2), None, "it has changed");
        let second = cache.render(Edition::V2, &Selection::ALL, &instance(2)).unwrap();
        assert_eq!((cached(1), cached(2)), (None, Some(second)));
        assert_eq!(cache.texts.len(), 1);
        cache.remove(id);
        assert_eq!(cache.texts.len(), 0);
    }
}
