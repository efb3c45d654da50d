//! The first directory of a TIFF as it stands in the file, without the `tiff` crate.

use super::corrupt;
use crate::image::ImageError;
use tiff::tags::Tag;

/// The most values of a tag that the `tiff` crate reads as soon as it sees the directory, at 32
/// bytes for each: more strips or tiles than the largest picture has tiles of 16x16.
const MAX_VALUES: u64 = 1 << 20;

/// Tags that it reads then.
const READ_AT_ONCE: [Tag; 9] = [
    Tag::BitsPerSample,
    Tag::SampleFormat,
    Tag::ExtraSamples,
    Tag::StripOffsets,
    Tag::StripByteCounts,
    Tag::TileOffsets,
    Tag::TileByteCounts,
    Tag::JPEGTables,
    Tag::ColorMap,
];

/// A tag in the directory.
pub(super) struct Entry {
    pub tag: u16,
    pub count: u64,
    /// Where its value stands, or the place of its values.
    pub value: usize,
}

/// The entries, as far as they are there.
pub(super) fn entries(tiff: &[u8]) -> Vec<Entry> {
    let big_endian = tiff.starts_with(b"MM");
    let number = |at: usize, len: usize| {
        let part = tiff.get(at..at.checked_add(len)?)?;
        let add = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        Some(if big_endian { part.iter().fold(0, add) } else { part.iter().rev().fold(0, add) })
    };
    let big = number(2, 2) == Some(43);
    // Place and length of the directory's offset; lengths of its count, an entry, an entry's count.
    let (at, offset, count, size, word) = if big { (8, 8, 8, 20, 8) } else { (4, 4, 2, 12, 4) };
    let directory = number(at, offset).and_then(|at| usize::try_from(at).ok());
    let Some(directory) = directory else { return Vec::new() };
    let found = number(directory, count).unwrap_or(0).min(u64::from(u16::MAX)) as usize;
    let entry = |i: usize| {
        let at = directory.checked_add(count + i * size)?;
        let tag = number(at, 2)? as u16;
        Some(Entry { tag, count: number(at + 4, word)?, value: at + 4 + word })
    };
    (0..found).map_while(entry).collect()
}

/// Whether the `tiff` crate can be given the directory.
pub(super) fn check(tiff: &[u8]) -> Result<(), ImageError> {
    let read = |entry: &Entry| READ_AT_ONCE.iter().any(|tag| tag.to_u16() == entry.tag);
    match entries(tiff).iter().find(|entry| read(entry) && entry.count > MAX_VALUES) {
        Some(Entry { tag, count, .. }) => {
            Err(corrupt(format!("{count} values of tag {tag}, of which {MAX_VALUES} are accepted")))
        }
        None => Ok(()),
    }
}
