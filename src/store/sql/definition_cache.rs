//! The definition files of packages that are instantiated now, kept by package: each instantiation reads them twice, when it is
//! accepted and when it is planned. What a package holds never changes once it is onboarded, and its id is not given again.
//! Used by `shared/packages.rs`.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::ids::VnfPkgId;
use crate::domain::package::DefinitionFile;

/// What is kept takes at most so many bytes, about.
const CAPACITY: u64 = 16 * 1024 * 1024;
/// What an entry, and what a file takes beside its text, about.
const OVERHEAD: usize = 128;

/// The kept files.
pub(super) struct KeptFiles(Cache<VnfPkgId, Arc<[DefinitionFile]>, Size>);

#[derive(Clone)]
struct Size;

impl Weighter<VnfPkgId, Arc<[DefinitionFile]>> for Size {
    fn weight(&self, _: &VnfPkgId, files: &Arc<[DefinitionFile]>) -> u64 {
        let size = |file: &DefinitionFile| OVERHEAD + file.path.len() + file.text.len();
        (OVERHEAD + files.iter().map(size).sum::<usize>()) as u64
    }
}

impl KeptFiles {
    /// None yet.
    pub fn new() -> Self {
        Self(Cache::with_weighter((CAPACITY / 16384) as usize, CAPACITY, Size))
    }

    /// Those of the package, if they are kept.
    pub fn get(&self, id: VnfPkgId) -> Option<Arc<[DefinitionFile]>> {
        self.0.get(&id)
    }

    /// Keeps those of the package. A package without any may not be onboarded yet.
    pub fn keep(&self, id: VnfPkgId, files: &Arc<[DefinitionFile]>) {
        if !files.is_empty() {
            self.0.insert(id, Arc::clone(files));
        }
    }

    /// The package is deleted.
    pub fn forget(&self, id: VnfPkgId) {
        self.0.remove(&id);
    }
}
