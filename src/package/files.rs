//! The CSARs on disk. Several API processes share the directory.
//!
//! `DATA_DIR/packages/<id>.<epoch>.csar` is the content of the package `id` that arrived under the onboarding lease `epoch`.
//! Only the holder of that lease writes it, so a process that lost its lease spoils no other upload. Epoch 0 has the name
//! `<id>.csar`. `….upload` is a file that is still being written.

use std::fs::{DirBuilder, DirEntry, File as StdFile, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use crate::domain::ids::VnfPkgId;
use crate::domain::problem::{Problem, ProblemType, problem};

/// The directory of the CSARs.
#[derive(Clone, Debug)]
pub struct PackageFiles {
    directory: PathBuf,
    limits: StorageLimits,
}

/// How much of the disk the packages may use, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct StorageLimits {
    /// Of one package.
    pub package: u64,
    /// Of all packages together; `None`: no limit.
    pub all_packages: Option<u64>,
    /// Free space that stays for others, such as the database.
    pub min_free: u64,
}

/// The space is checked again each time so many bytes have arrived.
const SPACE_CHECK: u64 = 8 * 1024 * 1024;

/// So many bytes of an upload must arrive in this time, unless they are the last ones: 34 KiB a second. A slower sender can't
/// upload a large package before [`UPLOAD_TIMEOUT`] and would only keep a slot from others.
const PROGRESS: (u64, Duration) = (1024 * 1024, Duration::from_secs(30));
/// The longest duration of an upload.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(50 * 60);

impl PackageFiles {
    /// The directory below `data_dir`, created if it is missing. Only the user of this process can read it, because packages
    /// may contain Secrets.
    ///
    /// # Errors
    /// The directory can't be created, or belongs to somebody else.
    pub fn open(data_dir: &Path, limits: StorageLimits) -> io::Result<Self> {
        let directory = data_dir.join("packages");
        make_private_directory(&directory)?;
        // The name of the directory must outlive a power failure, too.
        StdFile::open(data_dir)?.sync_all()?;
        let files = Self { directory, limits };
        // Earlier releases wrote files that others could read.
        for (path, _) in files.entries()? {
            if std::fs::metadata(&path).is_ok_and(|file| file.mode() & 0o077 != 0) {
                std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            }
        }
        Ok(files)
    }

    /// Checks that the disk has room for a further package.
    ///
    /// # Errors
    /// 507: it has not.
    pub async fn check_space(&self) -> Result<(), Problem> {
        let files = self.clone();
        let used = tokio::task::spawn_blocking(move || {
            let free = rustix::fs::statvfs(&files.directory)?;
            let free = free.f_bavail.saturating_mul(free.f_frsize);
            let mut all = 0;
            if files.limits.all_packages.is_some() {
                for (path, _) in files.entries()? {
                    // A file may disappear meanwhile.
                    all += std::fs::metadata(path).map_or(0, |file| file.len());
                }
            }
            Ok::<_, io::Error>(DiskUse { free, all_packages: all })
        });
        let used = used.await.unwrap_or_else(|error| Err(error.into())).map_err(|error| disk_failure(&error))?;
        used.check(&self.limits)
    }

    /// The CSAR of a package whose content arrived under the lease `epoch`.
    pub fn path(&self, id: VnfPkgId, epoch: i64) -> PathBuf {
        self.directory.join(if epoch == 0 { format!("{id}.csar") } else { format!("{id}.{epoch}.csar") })
    }

    /// Writes `chunks` to disk as they arrive. On return the CSAR is complete at [`PackageFiles::path`] and outlives a power
    /// failure.
    ///
    /// # Errors
    /// 413 if it is too large, 408 if it takes too long, 400 if it breaks off, 507 if the disk fails or has no room. No file is
    /// left then.
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
        self.check_space().await?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).await;
        let mut file: File = file.map_err(|error| disk_failure(&error))?;
        let (mut size, mut counted, mut deadline, mut checked) = (0, 0, Instant::now() + PROGRESS.1, 0);
        while let Some(chunk) = timeout_at(deadline, chunks.next()).await.map_err(|_| too_slow())? {
            let chunk = chunk.map_err(|_| {
                Problem::bad_request("the transfer of the content was interrupted: upload or fetch the package again")
            })?;
            size += chunk.as_ref().len() as u64;
            if size - counted >= PROGRESS.0 {
                (counted, deadline) = (size, Instant::now() + PROGRESS.1);
            }
            if size > self.limits.package {
                return Err(problem!(
                    ProblemType::TooLarge,
                    "the package is larger than the {maxBytes} bytes that this VNFM takes",
                    maxBytes = self.limits.package,
                ));
            }
            if size - checked >= SPACE_CHECK {
                checked = size;
                self.check_space().await?;
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

/// What is used of the disk, in bytes.
#[derive(Clone, Copy, Debug)]
struct DiskUse {
    free: u64,
    all_packages: u64,
}

impl DiskUse {
    fn check(self, limits: &StorageLimits) -> Result<(), Problem> {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        if self.free < limits.min_free {
            return Err(problem!(
                ProblemType::StorageFull,
                "the disk of the packages has {freeMiB} MiB of free space left and {minimumMiB} MiB must stay free: delete packages, or tell the operator of the VNFM",
                freeMiB = mib(self.free),
                minimumMiB = mib(limits.min_free),
            ));
        }
        match limits.all_packages {
            Some(most) if self.all_packages >= most => Err(problem!(
                ProblemType::StorageFull,
                "all packages together have {usedMiB} MiB and may have {maximumMiB} MiB: delete packages that are no longer needed",
                usedMiB = mib(self.all_packages),
                maximumMiB = mib(most),
            )),
            _ => Ok(()),
        }
    }
}

/// Creates the directory, or takes access to it from everybody but its owner.
///
/// # Errors
/// The directory can't be created, or belongs to somebody else and is open to others.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = std::fs::metadata(path)?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7700)) }
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const UNLIMITED: StorageLimits = StorageLimits { package: 1 << 30, all_packages: None, min_free: 0 };

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    async fn receive(files: &PackageFiles, size: usize) -> Result<PathBuf, Problem> {
        static RECEIVED: AtomicU64 = AtomicU64::new(0);
        let id = VnfPkgId(uuid::Uuid::from_u128(RECEIVED.fetch_add(1, Ordering::Relaxed).into()));
        let chunks = vec![vec![7; 64 * 1024]; size.div_ceil(64 * 1024)];
        let chunks = futures::stream::iter(chunks.into_iter().map(Ok::<_, ()>));
        files.receive(id, 1, chunks).await.map(|()| files.path(id, 1))
    }

    #[tokio::test]
    async fn only_the_owner_can_read_packages() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = data_dir.path().join("packages");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let old = directory.join("8f14e45f-ceea-467f-a8f4-0123456789ab.csar");
        std::fs::write(&old, "PK").unwrap();
        std::fs::set_permissions(&old, Permissions::from_mode(0o644)).unwrap();
        let files = PackageFiles::open(data_dir.path(), UNLIMITED).unwrap();
        let new = receive(&files, 10).await.unwrap();
        assert_eq!([mode(&directory), mode(&old), mode(&new)], [0o700, 0o600, 0o600]);
    }

    #[tokio::test]
    async fn a_package_never_takes_the_last_space_of_the_disk() {
        let data_dir = tempfile::tempdir().unwrap();
        let files = PackageFiles::open(data_dir.path(), StorageLimits { min_free: u64::MAX, ..UNLIMITED }).unwrap();
        let problem = receive(&files, 10).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.urn.as_str()),
            (507, "urn:gybe:problem:storage-full"),
            "{}",
            problem.detail
        );
        assert!(files.all().unwrap().is_empty());
    }

    #[tokio::test]
    async fn all_packages_together_are_bounded() {
        let data_dir = tempfile::tempdir().unwrap();
        let limits = StorageLimits { all_packages: Some(1024 * 1024), ..UNLIMITED };
        let files = PackageFiles::open(data_dir.path(), limits).unwrap();
        receive(&files, 512 * 1024).await.unwrap();
        // Noticed while it arrives.
        let problem = receive(&files, 20 * 1024 * 1024).await.unwrap_err();
        assert_eq!((problem.status, &problem.extra["maximumMiB"]), (507, &1.into()), "{}", problem.detail);
        assert_eq!(files.all().unwrap().len(), 1);
        receive(&files, 512 * 1024).await.unwrap();
        assert_eq!(receive(&files, 10).await.unwrap_err().status, 507);
    }

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
