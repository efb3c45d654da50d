//! What is known of a file before it is fetched, and what the file is compared with.

use super::{PullError, io_at, without_login};
use crate::weights::CatalogueEntry;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What the SHA-256 of a checkpoint was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// The whole SHA-256: the file is the one that was meant.
    Sha256,
    /// The first eight hexadecimal digits, 32 bits: an accident is found, an attack is not. A file
    /// with given digits takes 2^32 trials, minutes of one core.
    Sha256Prefix,
    /// Nothing: no digest is known.
    Nothing,
}

/// What is known of a file before it is fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// The SHA-256 in lower-case hexadecimal, or its first digits.
    pub digest: Option<&'a str>,
    /// Length in bytes.
    pub bytes: Option<u64>,
    /// Longest length that is taken where it is not known.
    pub max_bytes: u64,
}

impl<'a> Expected<'a> {
    /// Of the entry's checkpoint; `sha256` is what the caller demands.
    pub fn of(
        entry: &'a CatalogueEntry,
        sha256: Option<&'a str>,
        max_bytes: u64,
    ) -> Result<Expected<'a>, PullError> {
        let fault = |sha256: &str, expected: String| PullError::Demand {
            sha256: sha256.to_owned(),
            expected,
        };
        if let Some(sha256) = sha256 {
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if sha256.len() != 64 || !sha256.bytes().all(hex) {
                return Err(fault(sha256, "64 lower-case hexadecimal digits".to_owned()));
            }
            if let Some(known) = entry.digest().filter(|known| !sha256.starts_with(known)) {
                let begins = if known.len() < 64 { "which begins with " } else { "" };
                let expected = format!("the catalogue's, {begins}{known}");
                return Err(fault(sha256, expected));
            }
        }
        Ok(Expected { digest: sha256.or(entry.digest()), bytes: entry.bytes, max_bytes })
    }

    /// The longest file that is taken.
    pub fn limit(&self) -> u64 {
        self.bytes.unwrap_or(self.max_bytes)
    }

    /// Whether the file may have this length.
    pub fn takes(&self, length: u64) -> bool {
        match self.bytes {
            Some(bytes) => length == bytes,
            None => length <= self.max_bytes,
        }
    }

    /// What a file that passed was compared with.
    pub fn checked(&self) -> Checked {
        match self.digest {
            Some(digest) if digest.len() == 64 => Checked::Sha256,
            Some(_) => Checked::Sha256Prefix,
            None => Checked::Nothing,
        }
    }

    /// Whether the file is there and, as far as is known, the right one. A wrong one is left
    /// alone: it may be the user's; it is replaced by the download.
    pub fn is_there(&self, path: &Path) -> Result<bool, PullError> {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => {
                let right_length = self.bytes.is_none_or(|bytes| bytes == found.len());
                Ok(right_length && self.is_digest_of(path)?.is_ok())
            }
            Ok(_) => Err(io_at(path)(io::Error::other(
                "expected a file or nothing there, found something else; move it away",
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_at(path)(error)),
        }
    }

    /// The digest that the file has instead of the expected one.
    pub fn is_digest_of(&self, path: &Path) -> Result<Result<(), String>, PullError> {
        let Some(expected) = self.digest else { return Ok(Ok(())) };
        let found = sha256(path)?;
        Ok(if found.starts_with(expected) { Ok(()) } else { Err(found) })
    }

    /// The error of a file with another digest.
    pub fn digest_error(&self, url: &str, found: String) -> PullError {
        let expected = self.digest.unwrap_or_default();
        let more = if expected.len() < found.len() { "..." } else { "" };
        PullError::Digest { url: without_login(url), expected: format!("{expected}{more}"), found }
    }

    /// The error of a file of another length; `found` is none where it has no end within the limit.
    pub fn length_error(&self, url: &str, found: Option<u64>) -> PullError {
        PullError::Length {
            url: without_login(url),
            limit: self.limit(),
            exact: self.bytes.is_some(),
            found,
        }
    }
}

/// SHA-256 of a file in lower-case hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String, PullError> {
    let file = File::open(path).map_err(io_at(path))?;
    let mut hasher = Sha256::new();
    io::copy(&mut &file, &mut HashWriter(&mut hasher)).map_err(io_at(path))?;
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes written go into the hash.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
