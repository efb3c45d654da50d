//! Files that are there as a whole or not at all.

use super::temporary::Temporary;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot write there: {source}; {}", advice(source), path = path.display())]
pub struct OutputError {
    /// The file.
    pub path: PathBuf,
    /// Error of the operating system.
    pub source: io::Error,
}

/// What to do about an error of an output.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound => {
            "expected a file name in an existing folder: make it first, or name another file"
        }
        NotADirectory => "part of the path is a file: expected a file name in an existing folder",
        IsADirectory => "expected the name of a file: add one",
        PermissionDenied => {
            "expected a file name in an existing folder that may be written to: change its \
             permissions, or name a file elsewhere"
        }
        StorageFull => "make room on that disk, or name a file on another one",
        QuotaExceeded => "remove some of your files on that disk, or name a file on another one",
        FileTooLarge => {
            "neither the file system nor `ulimit -f` may forbid files of this size: name a file \
             elsewhere, or raise the limit"
        }
        ReadOnlyFilesystem => "nothing there can be written: name a file elsewhere",
        InvalidFilename => "expected a name and a path of the length that the system allows",
        BrokenPipe => "whoever read it has closed it",
        _ => "expected a file name in an existing folder that may be written to",
    }
}

/// A file that will be written. Whether it can be written is found out before the work for it is
/// done.
///
/// - No file, or an ordinary one: the content goes to a temporary file beside it, which then takes
///   its name in one step. A file that was there before stays as it is until then; its permissions
///   pass on, and so does its owner where the system allows it. A file that was not there has the
///   permissions that the process's umask leaves of `rw-rw-rw-`.
/// - A symbolic link stays, and what it leads to is written, in the same ways. One that leads to
///   no file makes it.
/// - A device, a pipe, a socket, and a file that the process holds open (`/dev/stdout`) are written
///   in place.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Written at its end.
    InPlace,
    /// Becomes `target`.
    Beside { temporary: Temporary, target: PathBuf },
}

impl OutputFile {
    /// Gets ready to write `path`; its old content stays until [`write`](OutputFile::write).
    pub fn new(path: &Path) -> Result<OutputFile, OutputError> {
        match place(path) {
            Ok(place) => Ok(OutputFile { path: path.to_owned(), place }),
            Err(source) => Err(OutputError { path: path.to_owned(), source: plain(source) }),
        }
    }

    /// The path that was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` as the whole content of the file.
    pub fn write(self, bytes: &[u8]) -> Result<(), OutputError> {
        self.write_with(|to| to.write_all(bytes))
    }

    /// Writes the whole content of the file by `content`, in pieces. Nothing is replaced where
    /// `content` fails.
    pub fn write_with(
        self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let OutputFile { path, place } = self;
        let written = match place {
            // Never made: it was there. A pipe waits here for its reader.
            Place::InPlace => OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .and_then(|file| fill(&file, content)),
            Place::Beside { temporary, target } => replace(temporary, &target, content),
        };
        written.map_err(|source| OutputError { path, source: plain(source) })
    }
}

/// Where an output goes.
fn place(path: &Path) -> io::Result<Place> {
    let old = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => return Ok(Place::InPlace),
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let Some(target) = target(path)? else { return Ok(Place::InPlace) };
    let folder = target.parent().ok_or(io::ErrorKind::IsADirectory)?;
    // What is private is private from the beginning.
    let temporary = Temporary::new(folder, old.as_ref().map_or(0o666, mode))?;
    if let Some(old) = &old {
        keep_owner(temporary.as_file()?, old);
    }
    Ok(Place::Beside { temporary, target })
}

/// The file that a path leads to through links, whether it is there or not; its folder has no links
/// in it. None for one that a process holds open.
fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    /// More than the system follows.
    const MAX_LINKS: usize = 64;
    let ends_as_folder = path.as_os_str().as_encoded_bytes().last();
    if ends_as_folder.is_some_and(|&byte| std::path::is_separator(byte.into())) {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = folder.canonicalize()?;
        let found = folder.join(name);
        match fs::read_link(&found) {
            // `/dev/stdout` and its like lead to what is open under any name, or none.
            Ok(_) if cfg!(target_os = "linux") && folder.starts_with("/proc") => return Ok(None),
            Ok(link) => path = folder.join(link),
            // No link, or nothing there.
            Err(_) => return Ok(Some(found)),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

#[cfg(unix)]
fn mode(file: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o777
}

#[cfg(not(unix))]
fn mode(_file: &fs::Metadata) -> u32 {
    0o666
}

/// Gives a file the owner and the permissions of the one that it replaces, as far as the system
/// allows.
fn keep_owner(file: &File, old: &fs::Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        let now = file.metadata().ok().map(|now| (now.uid(), now.gid()));
        if now != Some((old.uid(), old.gid())) {
            // Only root gives files away, and only members of a group give files to it.
            let _ = fchown(file, Some(old.uid()), Some(old.gid()))
                .or_else(|_| fchown(file, None, Some(old.gid())));
        }
        let _ = file.set_permissions(PermissionsExt::from_mode(mode(old)));
    }
    #[cfg(not(unix))]
    let _ = (file, old);
}

fn replace(
    temporary: Temporary,
    target: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    fill(temporary.as_file()?, content)?;
    temporary.rename(target)
}

fn fill(file: &File, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut to = BufWriter::new(file);
    content(&mut to)?;
    to.flush()
}

/// The error without the name of a temporary file in its text, which means nothing to the user.
fn plain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None if error.kind() == io::ErrorKind::Other => error,
        None => error.kind().into(),
    }
}

#[cfg(test)]
mod tests;
