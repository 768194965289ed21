//! The CSARs on disk. Several API processes share the directory.
//!
//! `DATA_DIR/packages/<id>.<epoch>.csar` is the content of the package `id` that arrived under the onboarding lease `epoch`.
//! Only the holder of that lease writes it, so a process that lost its lease spoils no other upload. Epoch 0 has the name
//! `<id>.csar`. `….upload` is a file that is still being written.

use std::fs::{DirEntry, File as StdFile};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::domain::ids::VnfPkgId;
use crate::domain::problem::{Problem, ProblemType, problem};

/// The directory of the CSARs.
#[derive(Clone, Debug)]
pub struct PackageFiles {
    directory: PathBuf,
    max_bytes: u64,
}

/// So many bytes of an upload must arrive in this time, unless they are the last ones: 34 KiB a second. A slower sender can't
/// upload a large package before [`UPLOAD_TIMEOUT`] and would only keep a slot from others.
const PROGRESS: (u64, Duration) = (1024 * 1024, Duration::from_secs(30));
/// The longest duration of an upload.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(50 * 60);

impl PackageFiles {
    /// The directory below `data_dir`, created if it is missing. A CSAR has at most `max_bytes`.
    ///
    /// # Errors
    /// The directory can't be created.
    pub fn open(data_dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let directory = data_dir.join("packages");
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory, max_bytes })
    }

    /// The CSAR of a package whose content arrived under the lease `epoch`.
    pub fn path(&self, id: VnfPkgId, epoch: i64) -> PathBuf {
        self.directory.join(if epoch == 0 { format!("{id}.csar") } else { format!("{id}.{epoch}.csar") })
    }

    /// Writes `chunks` to disk as they arrive. On return the CSAR is complete at [`PackageFiles::path`] and outlives a power
    /// failure.
    ///
    /// # Errors
    /// 413 if it is too large, 408 if it takes too long, 400 if it breaks off, 507 if the disk fails. No file is left then.
    pub async fn receive<B: AsRef<[u8]>, E>(
        &self,
        id: VnfPkgId,
        epoch: i64,
        chunks: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Result<(), Problem> {
        let upload = UploadFile(self.directory.join(format!("{id}.{epoch}.upload")));
        let written = tokio::time::timeout(UPLOAD_TIMEOUT, self.write(&upload.0, chunks)).await;
        written.unwrap_or_else(|_| Err(too_slow()))?;
        tokio::fs::rename(&upload.0, self.path(id, epoch)).await.map_err(|error| disk_failure(&error))?;
        self.sync_directory().await.map_err(|error| disk_failure(&error))
    }

    /// Makes the names in the directory outlive a power failure.
    async fn sync_directory(&self) -> io::Result<()> {
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || StdFile::open(directory)?.sync_all()).await?
    }

    async fn write<B: AsRef<[u8]>, E>(
        &self,
        path: &Path,
        mut chunks: impl Stream<Item = Result<B, E>> + Unpin,
    ) -> Result<(), Problem> {
        let mut file = File::create(path).await.map_err(|error| disk_failure(&error))?;
        let (mut size, mut counted, mut deadline) = (0, 0, Instant::now() + PROGRESS.1);
        while let Some(chunk) = timeout_at(deadline, chunks.next()).await.map_err(|_| too_slow())? {
            let chunk = chunk.map_err(|_| {
                Problem::bad_request("the transfer of the content was interrupted: upload or fetch the package again")
            })?;
            size += chunk.as_ref().len() as u64;
            if size - counted >= PROGRESS.0 {
                (counted, deadline) = (size, Instant::now() + PROGRESS.1);
            }
            if size > self.max_bytes {
                return Err(problem!(
                    ProblemType::TooLarge,
                    "the package is larger than the {maxBytes} bytes that this VNFM takes",
                    maxBytes = self.max_bytes,
                ));
            }
            file.write_all(chunk.as_ref()).await.map_err(|error| disk_failure(&error))?;
        }
        file.sync_all().await.map_err(|error| disk_failure(&error))
    }

    /// Removes the files of a package that arrived under the lease `epoch` or an earlier one. Failures are logged.
    pub async fn remove_through(&self, id: VnfPkgId, epoch: i64) {
        let files = self.clone();
        let removal = tokio::task::spawn_blocking(move || {
            for (path, _) in files.entries()?.into_iter().filter(|(_, file)| file.0 == id && file.1 <= epoch) {
                remove(&path);
            }
            Ok::<_, io::Error>(())
        });
        if let Err(error) = removal.await.unwrap_or_else(|error| Err(error.into())) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the files of package {id} can't be removed");
        }
    }

    /// The packages and leases that the files in the directory belong to, CSARs and unfinished uploads alike.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn all(&self) -> io::Result<Vec<(VnfPkgId, i64)>> {
        Ok(self.entries()?.into_iter().map(|(_, file)| file).collect())
    }

    fn entries(&self) -> io::Result<Vec<(PathBuf, (VnfPkgId, i64))>> {
        let entries = std::fs::read_dir(&self.directory)?.collect::<Result<Vec<_>, _>>()?;
        let paths = entries.iter().map(DirEntry::path);
        Ok(paths.filter_map(|path| Some((path.clone(), package_and_epoch(&path)?))).collect())
    }
}

/// Names without a lease are of epoch 0.
fn package_and_epoch(path: &Path) -> Option<(VnfPkgId, i64)> {
    let mut parts = path.file_name()?.to_str()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().unwrap_or(0)))
}

/// A file that is being written. Dropping it removes the file unless it was renamed; a reset connection drops it.
struct UploadFile(PathBuf);

impl Drop for UploadFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "a package file can't be removed");
    }
}

fn too_slow() -> Problem {
    Problem::new(ProblemType::RequestTimeout, "the package content did not arrive in time: upload it again")
}

fn disk_failure(error: &io::Error) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "a package can't be written to disk");
    Problem::new(ProblemType::StorageFailed, "the VNFM can't write the package to its disk: tell its operator")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_carry_the_package_and_the_lease() {
        let id = "8f14e45f-ceea-467f-a8f4-0123456789ab";
        for (name, epoch) in [
            (format!("{id}.csar"), 0),
            (format!("{id}.12.csar"), 12),
            (format!("{id}.3.upload"), 3),
            (format!("{id}.8f14e45f-ceea-467f-a8f4-0123456789ac.upload"), 0),
        ] {
            assert_eq!(package_and_epoch(Path::new(&name)), Some((id.parse().unwrap(), epoch)), "{name}");
        }
        assert_eq!(package_and_epoch(Path::new("lost+found")), None);
    }
}
