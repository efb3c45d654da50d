//! Text files that people and spreadsheets write: bounded, and without their byte order marks.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a file could not be read as text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file is not readable.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is longer than any of its kind.
    #[error("longer than {most} bytes")]
    TooLong {
        /// Most bytes.
        most: u64,
    },
    /// A line is longer than any of its kind.
    #[error("line {line} has {bytes} bytes: expected at most {most}")]
    LongLine {
        /// From 1.
        line: u64,
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        most: usize,
    },
    /// A byte order mark of UTF-16, and then something else.
    #[error("it begins as UTF-16 does, and is none")]
    Utf16,
    /// A byte that no text has.
    #[error(
        "byte {at} is NUL, so not a text file: expected UTF-8, or UTF-16 with a byte order mark"
    )]
    Nul {
        /// The place of the byte, from 0.
        at: usize,
    },
}

/// The bytes of a text file of at most `most` bytes, without a byte order mark. UTF-16 that has one
/// becomes UTF-8; all else stays as it is, UTF-8 or not.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, TextError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(TextError::TooLong { most });
    }
    decode(bytes)
}

fn decode(mut bytes: Vec<u8>) -> Result<Vec<u8>, TextError> {
    let unit: Option<fn([u8; 2]) -> u16> = match bytes[..] {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    };
    if let Some(unit) = unit {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
        let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
        bytes = text.ok_or(TextError::Utf16)?.into_bytes();
    } else if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => Err(TextError::Nul { at }),
        None => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_read_and_left_out() {
        for bytes in [
            &b"\xc3\xa9,1"[..],
            b"\xef\xbb\xbf\xc3\xa9,1",
            b"\xff\xfe\xe9\0,\x001\0",
            b"\xfe\xff\0\xe9\0,\x001",
        ] {
            assert_eq!(decode(bytes.to_vec()).unwrap(), "é,1".as_bytes());
        }
        // A name that is no UTF-8 stays as it is.
        assert_eq!(decode(b"\xe9,1".to_vec()).unwrap(), b"\xe9,1");
        for bytes in [&b"\xff\xfe\xe9\0,"[..], b"\xff\xfe\0\xd8"] {
            assert!(matches!(decode(bytes.to_vec()), Err(TextError::Utf16)));
        }
        assert!(matches!(decode(b"a\0b\0".to_vec()), Err(TextError::Nul { at: 1 })));
    }

    #[test]
    fn a_file_without_an_end_is_too_long() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert!(matches!(read(file.path(), 4), Err(TextError::TooLong { most: 4 })));
    }
}
