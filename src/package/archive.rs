//! A CSAR as a bounded set of files. [`super::csar`] reads all files by it; nothing is ever unpacked to disk.
//!
//! [`Archive::open`] refuses what only an attacker needs: names that lead out of the archive, links, duplicate names,
//! encrypted or unusually compressed entries, a directory that contradicts the entries, and entries that inflate beyond the
//! [`Limits`]. It checks the declared sizes; the zip reader fails if an entry is longer than it declares.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use aws_lc_rs::digest;
use flate2::bufread::DeflateDecoder;
use zip::CompressionMethod;
use zip::read::{ZipArchive, ZipFile, ZipFileEntry};
use zip::result::ZipError;

use crate::domain::package::DefinitionFile;
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::package::bundle::{Bundle, Member};
use crate::package::encoding::decode;

/// Bounds of a package.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files and directories: 10,000.
    pub entries: usize,
    /// Bytes of one file: 1 GiB.
    pub file_bytes: u64,
    /// Bytes of all files: 4 GiB.
    pub total_bytes: u64,
    /// How many times larger a file of more than 1 MiB may be than in the archive: 200. Text has 20, a bomb 1,000.
    pub ratio: u64,
    /// Bytes of a path: 512.
    pub path_bytes: usize,
    /// Components of a path: 16.
    pub path_depth: usize,
    /// Bytes of all definition files, which are kept in the database: 32 MiB.
    pub definition_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            file_bytes: 1 << 30,
            total_bytes: 4 << 30,
            ratio: 200,
            path_bytes: 512,
            path_depth: 16,
            definition_bytes: 32 << 20,
        }
    }
}

/// Smaller files may be compressed by any ratio. Bytes.
const RATIO_FLOOR: u64 = 1 << 20;

/// An open CSAR whose entries have been checked.
pub struct Archive {
    zip: ZipArchive<BufReader<Metered>>,
    /// Index in the archive and size, by path. Without directories.
    files: BTreeMap<String, (usize, u64)>,
}

impl Archive {
    /// Opens the CSAR at `path` and checks its entries.
    ///
    /// # Errors
    /// 422 saying what is wrong with it; 500 if the file can't be read.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, Problem> {
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        // The zip reader counts entries only after it has read all, and each takes memory. So the read is cut off.
        let allowance = Rc::new(Cell::new(Some(limits.entries as u64 * (limits.path_bytes as u64 + 256) + (1 << 20))));
        let metered = BufReader::new(Metered { file, allowance: Rc::clone(&allowance) });
        let mut zip = ZipArchive::new(metered).map_err(|error| match allowance.get() {
            Some(0) => too_many(limits),
            _ => not_a_zip(&error),
        })?;
        allowance.set(None);
        if zip.len() > limits.entries {
            return Err(too_many(limits));
        }
        if zip.has_duplicate_names() {
            return Err(refused("two of its entries have the same name"));
        }
        let files = checked_files(&zip, limits)?;
        zip.validate_header_consistency().map_err(|error| not_a_zip(&error))?;
        Ok(Self { zip, files })
    }

    /// The paths of the files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The size of the file at `path`, if there is one.
    pub fn size(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|(_, size)| *size)
    }

    /// The text of the file at `path`; `None` if there is no such file.
    ///
    /// # Errors
    /// 422 if it is larger than a definition file may be, or no text, or damaged.
    pub fn text(&mut self, path: &str) -> Result<Option<String>, Problem> {
        if self.size(path).is_none() {
            return Ok(None);
        }
        self.decoded(path)?
            .map(Some)
            .map_err(|reason| problem!(ProblemType::InvalidPackage, "{file}: {reason}", file = path, reason = reason))
    }

    /// The text of the file at `path`, or why it is none that Gybe reads.
    ///
    /// # Errors
    /// 404 if there is no such file, 422 if it is damaged.
    pub fn decoded(&mut self, path: &str) -> Result<Result<String, String>, Problem> {
        let (size, most) = (self.size(path).unwrap_or_default(), DefinitionFile::MAX_BYTES);
        if size > most {
            return Ok(Err(format!("{size} bytes are more than the {most} that Gybe reads; split the file")));
        }
        let mut bytes = Vec::new();
        self.file(path)?.read_to_end(&mut bytes).map_err(|error| damaged(path, &error))?;
        Ok(decode(bytes).map_err(str::to_owned))
    }

    /// A reader of the file at `path` that outlives the archive, and the size of the file in bytes. `csar` is the path of the
    /// archive. The checksum of the ZIP is not verified again: onboarding verified that of the package.
    ///
    /// # Errors
    /// 404 if there is no such file, 422 if it is damaged, 500 if reading fails.
    pub fn reader(mut self, csar: &Path, path: &str) -> Result<(Box<dyn Read + Send>, u64), Problem> {
        let size = self.size(path).ok_or_else(|| Problem::not_found("artifact", path))?;
        let entry = self.file(path)?;
        let start = entry.data_start().ok_or_else(|| damaged(path, &io::ErrorKind::InvalidData.into()))?;
        let (method, compressed) = (entry.compression(), entry.compressed_size());
        let mut file = File::open(csar).map_err(|error| unreadable(&error))?;
        file.seek(SeekFrom::Start(start)).map_err(|error| unreadable(&error))?;
        let content = BufReader::new(file.take(compressed));
        Ok(match method {
            CompressionMethod::Stored => (Box::new(content), size),
            _ => (Box::new(DeflateDecoder::new(content).take(size)), size),
        })
    }

    /// A ZIP of the files at `paths` that outlives the archive. `csar` is the path of the archive.
    ///
    /// # Errors
    /// As [`Archive::reader`]; 422 if it would be larger than 4 GiB.
    pub fn bundle<'a>(mut self, csar: &Path, paths: impl IntoIterator<Item = &'a str>) -> Result<Bundle, Problem> {
        let mut members = Vec::new();
        for path in paths {
            let entry = self.file(path)?;
            members.push(Member {
                path: path.to_owned(),
                method: if entry.compression() == CompressionMethod::Stored { 0 } else { 8 },
                crc32: entry.crc32(),
                size: entry.size(),
                start: entry.data_start().ok_or_else(|| damaged(path, &io::ErrorKind::InvalidData.into()))?,
                compressed: entry.compressed_size(),
            });
        }
        Bundle::new(File::open(csar).map_err(|error| unreadable(&error))?, &members)
    }

    /// The digest of the file at `path`, in lower-case hexadecimal digits.
    ///
    /// # Errors
    /// 404 if there is no such file, 422 if it is damaged, 500 if reading fails.
    pub fn digest(&mut self, path: &str, algorithm: &'static digest::Algorithm) -> Result<String, Problem> {
        let mut file = self.file(path)?;
        digest_of(&mut file, algorithm).map(|(digest, _)| digest).map_err(|error| damaged(path, &error))
    }

    fn file(&mut self, path: &str) -> Result<ZipFile<'_, BufReader<Metered>>, Problem> {
        let (index, _) = *self.files.get(path).ok_or_else(|| Problem::not_found("artifact", path))?;
        self.zip.by_index(index).map_err(|error| damaged(path, &io::Error::from(error)))
    }
}

/// The SHA-512 of the file at `path`, in lower-case hexadecimal digits, and its size.
///
/// # Errors
/// 500 if it can't be read.
pub fn sha512(path: &Path) -> Result<(String, u64), Problem> {
    let read = |path| digest_of(&mut File::open(path)?, &digest::SHA512);
    read(path).map_err(|error| unreadable(&error))
}

fn digest_of(reader: &mut dyn Read, algorithm: &'static digest::Algorithm) -> io::Result<(String, u64)> {
    let mut context = digest::Context::new(algorithm);
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        size += count as u64;
    }
    Ok((hex::encode(context.finish()), size))
}

fn checked_files(
    zip: &ZipArchive<BufReader<Metered>>,
    limits: &Limits,
) -> Result<BTreeMap<String, (usize, u64)>, Problem> {
    let mut files = BTreeMap::new();
    let mut total: u64 = 0;
    for index in 0..zip.len() {
        let entry = zip.by_index_data(index).map_err(|error| not_a_zip(&error))?;
        let path = checked_path(&entry, limits)?;
        check_kind(path, &entry)?;
        total = total.saturating_add(entry.size());
        check_size(path, &entry, total, limits)?;
        if !entry.is_dir() && files.insert(path.to_owned(), (index, entry.size())).is_some() {
            return Err(refused(&format!("two of its entries have the name '{path}'")));
        }
    }
    Ok(files)
}

fn checked_path<'a>(entry: &'a ZipFileEntry<'_>, limits: &Limits) -> Result<&'a str, Problem> {
    let raw = entry.name_raw();
    let shown = || String::from_utf8_lossy(raw).chars().take(100).collect::<String>();
    let wrong = |what: &str| Err(refused(&format!("the name of its entry '{}' {what}", shown().escape_debug())));
    let Ok(path) = std::str::from_utf8(raw) else { return wrong("is not UTF-8") };
    // As `zip -r x.csar .` and `tar` write them.
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.is_empty() && entry.is_dir() {
        return Ok(path);
    }
    let components: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    if path.len() > limits.path_bytes {
        return wrong(&format!("has more than {} bytes", limits.path_bytes));
    }
    if components.len() > limits.path_depth {
        return wrong(&format!("has more than {} components", limits.path_depth));
    }
    if path.contains(|letter: char| letter == '\\' || letter.is_control()) {
        return wrong("has backslashes or control characters; paths are written with '/'");
    }
    if components.iter().any(|component| matches!(*component, "" | "." | "..")) {
        return wrong("is absolute or has '.', '..' or empty components; names are relative to the root of the CSAR");
    }
    Ok(path)
}

fn check_kind(path: &str, entry: &ZipFileEntry<'_>) -> Result<(), Problem> {
    const TYPE: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    const DIRECTORY: u32 = 0o040_000;
    let wrong = |what: &str| Err(refused(&format!("its entry '{path}' {what}")));
    let kind = entry.unix_mode().unwrap_or_default() & TYPE;
    if kind != 0 && kind != if entry.is_dir() { DIRECTORY } else { REGULAR } {
        return wrong("is a link or special file; put the file itself there");
    }
    if entry.encrypted() {
        return wrong("is encrypted");
    }
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return wrong("is compressed by a method that is not read; use deflate");
    }
    Ok(())
}

fn check_size(path: &str, entry: &ZipFileEntry<'_>, total: u64, limits: &Limits) -> Result<(), Problem> {
    let size = entry.size();
    if size > limits.file_bytes {
        return Err(refused(&format!("its entry '{path}' has {size} bytes; the most is {}", limits.file_bytes)));
    }
    if total > limits.total_bytes {
        return Err(refused(&format!("its entries have more than {} bytes", limits.total_bytes)));
    }
    if size > RATIO_FLOOR && size / limits.ratio.max(1) > entry.compressed_size() {
        return Err(refused(&format!("its entry '{path}' inflates to more than {} times its size", limits.ratio)));
    }
    Ok(())
}

fn refused(what: &str) -> Problem {
    problem!(
        ProblemType::InvalidPackage,
        "the CSAR is refused: {reason}. Correct it and upload the package again",
        reason = what,
    )
}

fn too_many(limits: &Limits) -> Problem {
    refused(&format!("it has more than {} entries", limits.entries))
}

fn not_a_zip(error: &ZipError) -> Problem {
    match error {
        ZipError::Io(error) if !is_content(error) => unreadable(error),
        other => refused(&format!("it is no intact ZIP archive ({other})")),
    }
}

fn damaged(path: &str, error: &io::Error) -> Problem {
    if is_content(error) { refused(&format!("its entry '{path}' is damaged ({error})")) } else { unreadable(error) }
}

/// Whether the error is about the content of the file, not about its storage.
fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
}

fn unreadable(error: &io::Error) -> Problem {
    problem!(
        ProblemType::PackageUnreadable,
        "the package cannot be read from the disk: {reason}; tell the operator",
        reason = error.to_string(),
    )
}

/// A file that can be read up to an allowance, if there is one.
struct Metered {
    file: File,
    allowance: Rc<Cell<Option<u64>>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(allowance) = self.allowance.get() {
            self.allowance.set(Some(allowance.saturating_sub(count as u64)));
            if allowance < count as u64 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the directory of the archive is too large"));
            }
        }
        Ok(count)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
