//! The CSARs on disk: `DATA_DIR/packages/<id>.csar`. Several API processes share the folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::domain::ids::VnfPkgId;
use crate::domain::problem::{Problem, ProblemType};

/// The folder of the CSARs.
#[derive(Clone, Debug)]
pub struct PackageFiles {
    folder: PathBuf,
    max_bytes: u64,
}

/// So many bytes of an upload, unless they are the last, must arrive in this time: 34 KiB a second. Whoever is slower than
/// that can't upload a package of any size before [`UPLOAD_TIMEOUT`], and keeps a place from others.
const PROGRESS: (u64, Duration) = (1024 * 1024, Duration::from_secs(30));
/// An upload that takes longer is broken off. Less than what makes an onboarding count as abandoned, so that no two
/// uploads of a package are ever under way.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(50 * 60);

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

    /// Writes what arrives to disk, chunk by chunk, and puts it in place when it is complete. `upload` names the upload:
    /// no other ever writes to the same file.
    ///
    /// # Errors
    /// 413 if it is too large, 408 if it takes too long, 400 if it breaks off, 507 if the disk does not take it. Nothing is left of it then.
    pub async fn receive<B: AsRef<[u8]>, E>(
        &self,
        id: VnfPkgId,
        upload: Uuid,
        chunks: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Result<(), Problem> {
        let arriving = Arriving(self.folder.join(format!("{id}.{upload}.upload")));
        match tokio::time::timeout(UPLOAD_TIMEOUT, self.write(&arriving.0, chunks)).await {
            Ok(Ok(())) => tokio::fs::rename(&arriving.0, self.path(id)).await.map_err(|error| disk(&error)),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(late()),
        }
    }

    async fn write<B: AsRef<[u8]>, E>(
        &self,
        path: &Path,
        mut chunks: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Result<(), Problem> {
        let mut file = File::create(path).await.map_err(|error| disk(&error))?;
        let (mut size, mut seen, mut deadline) = (0, 0, Instant::now() + PROGRESS.1);
        while let Some(chunk) = timeout_at(deadline, chunks.next()).await.map_err(|_| late())? {
            let chunk = chunk.map_err(|_| Problem::bad_request("the upload broke off: upload the package again"))?;
            size += chunk.as_ref().len() as u64;
            if size - seen >= PROGRESS.0 {
                (seen, deadline) = (size, Instant::now() + PROGRESS.1);
            }
            if size > self.max_bytes {
                return Err(Problem::new(
                    ProblemType::TooLarge,
                    format!("the package is larger than the {} bytes that this VNFM takes", self.max_bytes),
                ));
            }
            file.write_all(chunk.as_ref()).await.map_err(|error| disk(&error))?;
        }
        file.sync_all().await.map_err(|error| disk(&error))
    }

    /// Removes the CSAR of a package, if there is one.
    pub async fn remove(&self, id: VnfPkgId) {
        remove(&self.path(id)).await;
    }

    /// The files in the folder and the packages they are of; CSARs and uploads that were cut off alike.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn all(&self) -> io::Result<Vec<(PathBuf, VnfPkgId)>> {
        let entries = std::fs::read_dir(&self.folder)?.collect::<Result<Vec<_>, _>>()?;
        let package = |path: &Path| path.file_name()?.to_str()?.split('.').next()?.parse().ok();
        Ok(entries
            .iter()
            .map(std::fs::DirEntry::path)
            .filter_map(|path| Some((path.clone(), package(&path)?)))
            .collect())
    }
}

/// A file that is written: unless it was put in place, it goes when this is dropped, as it is when the connection is reset
/// that it comes from.
struct Arriving(PathBuf);

impl Drop for Arriving {
    fn drop(&mut self) {
        removed(&self.0, std::fs::remove_file(&self.0));
    }
}

/// Removes a file; what can't be removed is logged.
pub async fn remove(path: &Path) {
    removed(path, tokio::fs::remove_file(path).await);
}

fn removed(path: &Path, result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "a package file can't be removed");
    }
}

fn late() -> Problem {
    Problem::new(ProblemType::RequestTimeout, "the package content did not arrive in time: upload it again")
}

fn disk(error: &io::Error) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "a package can't be written to disk");
    Problem::new(ProblemType::StorageFailed, "the VNFM can't write the package to its disk: tell its operator")
}
