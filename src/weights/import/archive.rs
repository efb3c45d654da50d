//! Entries of a zip archive, found once and read from the mapped file.

use super::CheckpointError;
use super::error::{corrupt, quote, too_large, unsupported};
use flate2::bufread::DeflateDecoder;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

/// Deflate spends at least one bit on each of at most 258 bytes, two of them on the length's and
/// the distance's code: no stream expands by more than this.
const MAX_DEFLATE_RATIO: usize = 1032;

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Range of the entry's bytes in the file, compressed or not.
    pub(super) range: Range<usize>,
    /// Bytes once inflated.
    pub(super) size: usize,
    deflated: bool,
    crc: u32,
    /// Checksums of PyTorch's entries are not checked: PyTorch does not, and can be told not to
    /// write them.
    pub(super) check_crc: bool,
}

impl Member {
    /// The entry's bytes: borrowed from the file where they are stored as they are.
    pub(super) fn bytes<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>, CheckpointError> {
        let bytes = self.head(file, self.size)?;
        if self.check_crc {
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            if crc.sum() != self.crc {
                return Err(corrupt(
                    "checksum of a zip entry",
                    self.range.start,
                    format!("{:08x}", self.crc),
                    format!("{:08x}", crc.sum()),
                ));
            }
        }
        Ok(bytes)
    }

    /// The first `len` bytes, or all of a shorter entry.
    pub(super) fn head<'a>(
        &self,
        file: &'a [u8],
        len: usize,
    ) -> Result<Cow<'a, [u8]>, CheckpointError> {
        let len = len.min(self.size);
        let raw = &file[self.range.clone()];
        if !self.deflated {
            return Ok(raw[..len].into());
        }
        // A declared size is no reason to allocate: beyond this the vector grows as bytes come.
        let mut bytes = Vec::with_capacity(len.min(raw.len().saturating_mul(4)));
        let mut inflate = DeflateDecoder::new(raw).take(len as u64);
        inflate.read_to_end(&mut bytes).map_err(|error| {
            corrupt("a zip entry", self.range.start, "a deflate stream", error.to_string())
        })?;
        if bytes.len() < len {
            return Err(CheckpointError::Truncated {
                what: "deflate stream",
                offset: self.range.start as u64,
                needed: len as u64,
                remaining: bytes.len() as u64,
            });
        }
        Ok(bytes.into())
    }

    /// Whether the entry's bytes stand in the file as they are.
    pub(super) fn is_stored(&self) -> bool {
        !self.deflated
    }
}

/// Whether a file starts like a zip archive, be it one without entries.
pub(super) fn recognises(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06")
}

/// Every entry of the zip archive `file` by name.
pub(super) fn members(file: &[u8]) -> Result<BTreeMap<String, Member>, CheckpointError> {
    let broken = |error: zip::result::ZipError| {
        let end = file.len();
        corrupt("zip archive", end, "a central directory and the entries it lists", {
            let text = error.to_string();
            if text.len() > 200 { "none that can be read".to_owned() } else { text }
        })
    };
    // The file begins with its first entry: nothing stands before the archive. To look for its start
    // goes wrong where the records between directory and end are as long as an entry of the directory,
    // which PyTorch writes for names of one length.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, Cursor::new(file)).map_err(broken)?;
    if archive.has_duplicate_names() {
        return Err(corrupt(
            "zip archive",
            archive.central_directory_start() as usize,
            "each name once",
            "a name twice",
        ));
    }
    // Each byte of the file belongs to one entry: else a small file holds any number of large ones.
    if archive.has_overlapping_entries().map_err(broken)? {
        return Err(corrupt(
            "zip archive",
            archive.central_directory_start() as usize,
            "entries one after the other",
            "entries that overlap",
        ));
    }
    let mut members = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let at = entry.central_header_start() as usize;
        let name = match std::str::from_utf8(entry.name_raw()) {
            Ok(name) => name.to_owned(),
            Err(_) => return Err(corrupt("name of a zip entry", at, "UTF-8", "other bytes")),
        };
        if entry.is_dir() {
            continue;
        }
        let what = format!("zip entry {}", quote(&name));
        let deflated = match entry.compression() {
            _ if entry.encrypted() => {
                return Err(unsupported(what, at, "plain contents", "encrypted ones"));
            }
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => {
                return Err(unsupported(
                    what,
                    at,
                    "stored or deflated contents",
                    other.to_string(),
                ));
            }
        };
        let range = entry.data_start().and_then(|start| {
            let end = start.checked_add(entry.compressed_size())?;
            Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        });
        let range = match range {
            Some(range) if range.end <= file.len() => range,
            _ => {
                return Err(corrupt(
                    what,
                    at,
                    format!("its bytes within the file's {}", file.len()),
                    format!("{} of them from {:?}", entry.compressed_size(), entry.data_start()),
                ));
            }
        };
        let most =
            if deflated { range.len().saturating_mul(MAX_DEFLATE_RATIO) } else { range.len() };
        if entry.size() > most as u64 {
            return Err(too_large(format!("bytes of {what}"), at, most as u64, entry.size()));
        }
        if !deflated && entry.size() != range.len() as u64 {
            let found = format!("{} and {}", range.len(), entry.size());
            return Err(corrupt(what, at, "one size of a stored entry", found));
        }
        let (size, crc) = (entry.size() as usize, entry.crc32());
        members.insert(name, Member { range, size, deflated, crc, check_crc: true });
    }
    Ok(members)
}
