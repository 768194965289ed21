//! A ZIP of some files of a CSAR that is made while it is sent ([`super::archive::Archive::bundle`]).
//!
//! The compressed files are copied from the CSAR as they are. So nothing is unpacked, the size is known before the first byte,
//! and any range can be sent. Only the headers are in memory: at most 700 bytes a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use crate::domain::problem::Problem;

/// A file of the bundle, as stored in the CSAR.
#[derive(Debug)]
pub struct Member {
    /// Its path.
    pub path: String,
    /// 0: stored, 8: deflated.
    pub method: u16,
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Size of the content in bytes.
    pub size: u64,
    /// Offset of the compressed content in the CSAR.
    pub start: u64,
    /// Size of the compressed content in bytes.
    pub compressed: u64,
}

/// The ZIP, read from its beginning.
pub struct Bundle {
    csar: File,
    parts: VecDeque<Part>,
    /// The bytes of the first part that were read.
    done: u64,
    size: u64,
}

enum Part {
    /// Headers.
    Bytes(Vec<u8>),
    /// A range of the CSAR.
    Copied { start: u64, length: u64 },
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copied { length, .. } => *length,
        }
    }
}

/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// The ZIP version that a reader needs: deflate.
const VERSION: u16 = 20;
/// Made on Unix, so that readers use [`MODE`].
const MADE_BY: u16 = 3 << 8 | VERSION;
/// A regular file that its owner may write and all may read.
const MODE: u32 = 0o100_644 << 16;
/// 1 January 1980, the earliest date: real times would make equal files differ.
const DATE: u16 = 1 << 5 | 1;

impl Bundle {
    /// A ZIP of these `members` of `csar`, at most 65,535.
    ///
    /// # Errors
    /// 422 if it would be larger than the 4 GiB that a plain ZIP can have.
    pub fn new(csar: File, members: &[Member]) -> Result<Self, Problem> {
        let too_large = || {
            Problem::invalid_package(
                "together these files have more than 4 GiB: get them one by one, or the whole package",
            )
        };
        let mut parts = VecDeque::new();
        let (mut directory, mut offset) = (Vec::new(), 0_u64);
        for member in members {
            let common = member.common().ok_or_else(too_large)?;
            let name = member.path.as_bytes();
            let header = [b"PK\x03\x04", &common[..], &[0; 2], name].concat();
            let at = u32::try_from(offset).map_err(|_| too_large())?;
            directory.extend_from_slice(b"PK\x01\x02");
            directory.extend_from_slice(&MADE_BY.to_le_bytes());
            directory.extend_from_slice(&common);
            // Neither extra field nor comment, on the first disk, no text.
            directory.extend_from_slice(&[0; 8]);
            directory.extend_from_slice(&MODE.to_le_bytes());
            directory.extend_from_slice(&at.to_le_bytes());
            directory.extend_from_slice(name);
            offset += header.len() as u64 + member.compressed;
            parts.push_back(Part::Bytes(header));
            parts.push_back(Part::Copied { start: member.start, length: member.compressed });
        }
        let (Ok(number), Ok(length), Ok(at)) =
            (u16::try_from(members.len()), u32::try_from(directory.len()), u32::try_from(offset))
        else {
            return Err(too_large());
        };
        directory.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        directory.extend_from_slice(&number.to_le_bytes());
        directory.extend_from_slice(&number.to_le_bytes());
        directory.extend_from_slice(&length.to_le_bytes());
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(&[0; 2]);
        let size = offset + directory.len() as u64;
        parts.push_back(Part::Bytes(directory));
        Ok(Self { csar, parts, done: 0, size })
    }

    /// Size of the ZIP in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Skips the next `bytes` without reading them.
    pub fn skip(&mut self, mut bytes: u64) {
        while let Some(part) = self.parts.front() {
            let left = part.length() - self.done;
            if bytes < left {
                self.done += bytes;
                return;
            }
            bytes -= left;
            self.done = 0;
            self.parts.pop_front();
        }
    }
}

impl Member {
    /// The part that both headers have, from the version to the length of the name.
    fn common(&self) -> Option<Vec<u8>> {
        let word = |size: u64| u32::try_from(size).ok();
        let mut common = Vec::with_capacity(24);
        for half in [VERSION, FLAGS, self.method, 0, DATE] {
            common.extend_from_slice(&half.to_le_bytes());
        }
        for word in [self.crc32, word(self.compressed)?, word(self.size)?] {
            common.extend_from_slice(&word.to_le_bytes());
        }
        common.extend_from_slice(&u16::try_from(self.path.len()).ok()?.to_le_bytes());
        Some(common)
    }
}

impl Read for Bundle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(part) = self.parts.front() {
            let left = part.length() - self.done;
            if left == 0 {
                self.skip(0);
                continue;
            }
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match part {
                Part::Bytes(bytes) => {
                    let mut rest = bytes.get(usize::try_from(self.done).unwrap_or(usize::MAX)..).unwrap_or_default();
                    rest.read(&mut buffer[..room])?
                }
                Part::Copied { start, .. } => self.csar.read_at(&mut buffer[..room], start + self.done)?,
            };
            if count == 0 && room > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.done += count as u64;
            return Ok(count);
        }
        Ok(0)
    }
}
