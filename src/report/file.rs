//! Files that reports go to.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: cannot write there: {source}; expected a file name in an existing folder that may be written to",
    path = path.display()
)]
pub struct OutputError {
    /// The file.
    pub path: PathBuf,
    /// Error of the operating system.
    pub source: io::Error,
}

/// A file that will be written. Whether it can be written is found out before the work for it is
/// done, and it is replaced in one step.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    /// The temporary file beside `path`. None where `path` is no ordinary file, as a device, which
    /// is written to directly.
    temporary: Option<NamedTempFile>,
}

impl OutputFile {
    /// Gets ready to write `path`; its old content stays until [`write`](OutputFile::write).
    pub fn new(path: &Path) -> Result<OutputFile, OutputError> {
        let failed = |source| OutputError { path: path.to_owned(), source };
        let temporary = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => None,
            _ => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Some(NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(|source| {
                    // The text may name the temporary file, which means nothing to the user.
                    failed(match source.raw_os_error() {
                        Some(code) => io::Error::from_raw_os_error(code),
                        None => source.kind().into(),
                    })
                })?)
            }
        };
        Ok(OutputFile { path: path.to_owned(), temporary })
    }

    /// Writes `bytes` as the whole content of the file.
    pub fn write(self, bytes: &[u8]) -> Result<(), OutputError> {
        let OutputFile { path, temporary } = self;
        let written = match temporary {
            None => fs::write(&path, bytes),
            Some(file) => replace(file, bytes, &path),
        };
        written.map_err(|source| OutputError { path, source })
    }
}

fn replace(mut file: NamedTempFile, bytes: &[u8], path: &Path) -> io::Result<()> {
    file.write_all(bytes)?;
    // Temporary files are private to their owner; reports are as public as other files.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        fs::write(&path, "old").unwrap();
        let file = OutputFile::new(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        file.write(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_told_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let absent = OutputFile::new(&folder.path().join("none/report")).unwrap_err().to_string();
        assert!(absent.contains("none/report") && absent.contains("existing folder"), "{absent}");
        assert!(OutputFile::new(folder.path()).unwrap_err().to_string().contains("directory"));
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_written_to_and_not_replaced() {
        OutputFile::new(Path::new("/dev/null")).unwrap().write(b"nothing").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
