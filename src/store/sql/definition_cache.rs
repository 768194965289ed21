//! A cache of the definition files of packages. Each instantiation reads them twice: when it is accepted and when it is
//! planned. The content of an onboarded package never changes and its identifier is never reused, so an entry never becomes
//! stale. `shared/packages.rs` uses the cache.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::ids::VnfPkgId;
use crate::domain::package::DefinitionFile;

/// Approximate maximum size in bytes.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// Approximate size in bytes of an entry, and of a file without its text.
const OVERHEAD: usize = 128;

/// Definition files by package.
pub(super) struct DefinitionFileCache(Cache<VnfPkgId, Arc<[DefinitionFile]>, FilesWeighter>);

#[derive(Clone)]
struct FilesWeighter;

impl Weighter<VnfPkgId, Arc<[DefinitionFile]>> for FilesWeighter {
    fn weight(&self, _: &VnfPkgId, files: &Arc<[DefinitionFile]>) -> u64 {
        let size = |file: &DefinitionFile| OVERHEAD + file.path.len() + file.text.len();
        (OVERHEAD + files.iter().map(size).sum::<usize>()) as u64
    }
}

impl DefinitionFileCache {
    pub fn new() -> Self {
        Self(Cache::with_weighter((CAPACITY / 16384) as usize, CAPACITY, FilesWeighter))
    }

    pub fn get(&self, id: VnfPkgId) -> Option<Arc<[DefinitionFile]>> {
        self.0.get(&id)
    }

    /// Adds the files of a package. A package without files may not be onboarded yet: it is not added.
    pub fn insert(&self, id: VnfPkgId, files: &Arc<[DefinitionFile]>) {
        if !files.is_empty() {
            self.0.insert(id, Arc::clone(files));
        }
    }

    pub fn remove(&self, id: VnfPkgId) {
        self.0.remove(&id);
    }
}
