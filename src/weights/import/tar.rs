//! Entries of an uncompressed tar archive, as ranges of it.
//!
//! The places of a few files are all that is wanted of an archive that is mapped; that is its 512
//! bytes of header each. Names of more than 100 bytes, and whatever is no plain file, are passed
//! over.

use super::CheckpointError;
use super::error::{corrupt, too_large};
use std::ops::Range;
use std::path::PathBuf;

const BLOCK: usize = 512;

/// Whether a file starts like an archive.
pub(super) fn recognises(file: &[u8]) -> bool {
    file.get(257..262) == Some(b"ustar")
}

/// Bytes of an archive that are unpacked of any file, and for each byte of the file: weights
/// compress to a half at best.
const UNPACKED_FLOOR: u64 = 32 << 20;
const UNPACKED_PER_BYTE: u64 = 4;

/// The archive in a gzip file, if there is one: its first block is looked at before the rest.
///
/// # Errors
///
/// If it unpacks to more than `32 MiB + 4 * bytes of the file`.
pub(super) fn unpack(file: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
    use std::io::Read;
    let most = UNPACKED_FLOOR + UNPACKED_PER_BYTE.saturating_mul(file.len() as u64);
    let mut archive = flate2::bufread::GzDecoder::new(file).take(most.saturating_add(1));
    let mut first = vec![0; BLOCK];
    if archive.read_exact(&mut first).is_err() || !recognises(&first) {
        return Ok(None);
    }
    // Grows as bytes come.
    if archive.read_to_end(&mut first).is_err() {
        return Ok(None);
    }
    match first.len() as u64 {
        found if found > most => Err(too_large("bytes of the unpacked archive", 0, most, found)),
        _ => Ok(Some(first)),
    }
}

/// The plain files by name, up to the first fault.
pub(super) fn entries(file: &[u8]) -> (Vec<(PathBuf, Range<usize>)>, Option<CheckpointError>) {
    let mut found = Vec::new();
    let fault = walk(file, &mut found).err();
    (found, fault)
}

fn walk(file: &[u8], found: &mut Vec<(PathBuf, Range<usize>)>) -> Result<(), CheckpointError> {
    let mut at = 0;
    while let Some(header) = file.get(at..at + BLOCK) {
        if header.iter().all(|&byte| byte == 0) {
            break;
        }
        let what = "tar header";
        if !recognises(header) {
            return Err(corrupt(what, at + 257, "the mark \"ustar\"", "other bytes"));
        }
        let Some(size) = octal(&header[124..136]) else {
            return Err(corrupt(what, at + 124, "a size in octal digits", "other bytes"));
        };
        let start = at + BLOCK;
        let remaining = (file.len() - start) as u64;
        let held = size.min(remaining) as usize;
        let name = header[..100].split(|&byte| byte == 0).next().unwrap_or_default();
        if matches!(header[156], 0 | b'0')
            && let Ok(name) = std::str::from_utf8(name)
        {
            found.push((PathBuf::from(name), start..start + held));
        }
        if size > remaining {
            let (what, offset) = ("tar entry", start as u64);
            return Err(CheckpointError::Truncated { what, offset, needed: size, remaining });
        }
        at = start + held.next_multiple_of(BLOCK);
    }
    Ok(())
}

/// A number in octal digits, between blanks and zero bytes.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, size: &str, kind: u8) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size.as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block
    }

    #[test]
    fn plain_files_are_found_and_lies_refused() {
        let mut archive = header("model/", "0", b'5');
        archive.extend(header("model/a.json", "00000000003", b'0'));
        archive.extend([b'x'; BLOCK]);
        archive.extend(header("b.pdiparams", "1000 ", 0));
        archive.extend([b'y'; BLOCK]);
        archive.extend([0; 2 * BLOCK]);
        assert!(recognises(&archive));
        let (found, fault) = entries(&archive);
        assert!(fault.is_none(), "{fault:?}");
        let names: Vec<_> = found.iter().map(|(name, range)| (name.to_str(), range)).collect();
        assert_eq!(names[0], (Some("model/a.json"), &(1024..1027)));
        assert_eq!(names[1], (Some("b.pdiparams"), &(2048..2560)));
        assert_eq!(names.len(), 2);

        for (size, says) in [("77777777777", "truncated tar entry"), ("9", "octal digits")] {
            let error = entries(&header("a", size, b'0')).1.unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = entries(&[header("a", "0", b'0'), vec![1; BLOCK]].concat()).1.unwrap();
        assert!(error.to_string().contains("offset 769: tar header"), "{error}");
    }
}
