//! The CSARs on disk: `DATA_DIR/packages/<id>.csar`. Several API processes share the folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::domain::ids::VnfPkgId;
use crate::domain::problem::Problem;

/// The folder of the CSARs.
#[derive(Clone, Debug)]
pub struct PackageFiles {
    folder: PathBuf,
    max_bytes: u64,
}

/// An upload of which nothing arrives for so long is broken off.
const STALL: Duration = Duration::from_secs(30);

impl PackageFiles {
    /// The folder below `data_dir`, made if need be. No CSAR larger than `max_bytes` is taken.
    ///
    /// # Errors
    /// It can't be made.
    pub fn open(data_dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let folder = data_dir.join("packages");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, max_bytes })
    }

    /// Where the CSAR of a package is, once it arrived.
    pub fn path(&self, id: VnfPkgId) -> PathBuf {
        self.folder.join(format!("{id}.csar"))
    }

    /// Where it is while it arrives. An upload that is broken off is overwritten by the next one.
    fn arriving(&self, id: VnfPkgId) -> PathBuf {
        self.folder.join(format!("{id}.upload"))
    }

    /// Writes what arrives to disk, chunk by chunk, and puts it in place when it is complete.
    ///
    /// # Errors
    /// 413 if it is too large, 408 if it stalls, 400 if it breaks off, 507 if the disk does not take it.
    pub async fn receive<B, E>(
        &self,
        id: VnfPkgId,
        mut chunks: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Result<(), Problem>
    where
        B: AsRef<[u8]>,
    {
        let arriving = self.arriving(id);
        let mut file = File::create(&arriving).await.map_err(|error| disk(&error))?;
        let mut size: u64 = 0;
        let stalled = || Problem::new(408, "timeout", "the package content did not arrive in time: upload it again");
        while let Some(chunk) = tokio::time::timeout(STALL, chunks.next()).await.map_err(|_| stalled())? {
            let chunk = chunk.map_err(|_| Problem::malformed("the upload broke off: upload the package again"))?;
            size += chunk.as_ref().len() as u64;
            if size > self.max_bytes {
                return Err(Problem::new(
                    413,
                    "too-large",
                    format!("the package is larger than the {} bytes that this VNFM takes", self.max_bytes),
                ));
            }
            file.write_all(chunk.as_ref()).await.map_err(|error| disk(&error))?;
        }
        file.sync_all().await.map_err(|error| disk(&error))?;
        tokio::fs::rename(&arriving, self.path(id)).await.map_err(|error| disk(&error))
    }

    /// Removes whatever there is of a package.
    pub async fn remove(&self, id: VnfPkgId) {
        for path in [self.path(id), self.arriving(id)] {
            if let Err(error) = tokio::fs::remove_file(&path).await
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "a package file can't be removed");
            }
        }
    }

    /// The packages there are files of.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn ids(&self) -> io::Result<Vec<VnfPkgId>> {
        let entries = std::fs::read_dir(&self.folder)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries
            .iter()
            .filter_map(|entry| Path::new(&entry.file_name()).file_stem()?.to_str()?.parse().ok())
            .collect())
    }
}

fn disk(error: &io::Error) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "a package can't be written to disk");
    Problem::new(507, "disk", "the VNFM can't write the package to its disk: tell its operator")
}
