//! A file for the time of a command: readers of packages read files.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::CliError;
use crate::clock::{Ids, System};

/// A file that only this user may read. It is deleted when this is dropped.
pub struct ScratchFile(PathBuf);

impl ScratchFile {
    /// Writes `content` to a new file in `folder`.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn new(folder: &Path, content: &[u8]) -> Result<Self, CliError> {
        let id = System.uuid();
        let path = folder.join(format!(".gybe-{id}.csar"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(|error| CliError::file(&path, "written", &error))?;
        let scratch = Self(path);
        { file }.write_all(content).map_err(|error| CliError::file(&scratch.0, "written", &error))?;
        Ok(scratch)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = std::fs::remove_file(&self.0);
    }
}
