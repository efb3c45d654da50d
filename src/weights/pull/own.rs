//! Files of one's own in a folder that may not be: none is reached through a link, and one that
//! somebody else put there is never written to.

use crate::files::Transient;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Tries to open a file that others replace at the same time.
const TRIES: usize = 1000;

/// Opens a file of this user's own for reading and writing, or makes it. What else has its name, a
/// link or a file of another user's, is deleted: nothing is written through it.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() && has_one_name(&found) && is_mine(&found, path)? => {
                let opened = OpenOptions::new().read(true).write(true).open(path);
                match opened {
                    Ok(file) if is_same(&file.metadata()?, &found) => return Ok(file),
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    // Another file by now.
                    _ => {}
                }
            }
            Ok(_) => remove(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => match File::create_new(path) {
                // `create_new` opens for writing alone.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Err(changing())
}

/// A small text of one's own; none where there is no such file.
pub(super) fn read_own(path: &Path) -> io::Result<Option<String>> {
    const MAX_BYTES: u64 = 4096;
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() <= MAX_BYTES && is_mine(&found, path)? => {
            Ok(fs::read_to_string(path).ok())
        }
        _ => Ok(None),
    }
}

/// Writes a small text into a file that is made for it.
pub(super) fn write_own(path: &Path, text: &str) -> io::Result<()> {
    remove(path)?;
    io::Write::write_all(&mut File::create_new(path)?, text.as_bytes())
}

/// Deletes a file, or a link but not what it leads to; nothing there is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The right to fetch one file: whoever else asks for it, in this process or another, waits. The
/// system takes the lock back when a process ends, however it ends; the file is deleted with this
/// value, or by a signal, and one that a killed process left is used again.
pub(super) struct Lock {
    /// Before the file, whose end gives the lock back: as long as it is held, nobody else can have
    /// a lock under this name.
    _named: Transient,
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting while another has it; `waiting` is called before that.
    pub fn take(path: &Path, waiting: &mut dyn FnMut()) -> io::Result<Lock> {
        let mut told = false;
        loop {
            let file = open_shared(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        waiting();
                        told = true;
                    }
                    file.lock()?;
                }
                // A file system without locks: downloads of one file at once are not held apart.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Its last owner deleted the file: the lock of one without a name holds off nobody.
            match fs::symlink_metadata(path) {
                Ok(found) if is_same(&file.metadata()?, &found) => {
                    return Ok(Lock { _named: Transient::new(path), _file: file });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens a file that is only locked, never written to, and so may be another user's.
fn open_shared(path: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        match File::create_new(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => match File::open(path) {
                Ok(file) if is_same(&file.metadata()?, &found) => return Ok(file),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            Ok(_) => remove(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(changing())
}

fn changing() -> io::Error {
    io::Error::other("expected a file that stays, found another each time it is opened")
}

#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn has_one_name(file: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(file) == 1
}

#[cfg(not(unix))]
fn has_one_name(_: &Metadata) -> bool {
    true
}

/// Whether a file belongs to whom files that this process makes in the same folder belong to.
#[cfg(unix)]
fn is_mine(file: &Metadata, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mine = tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))?.metadata()?;
    Ok(file.uid() == mine.uid())
}

#[cfg(not(unix))]
fn is_mine(_: &Metadata, _: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn links_are_replaced_and_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("part"), folder.path().join("victim"));
        for hard in [false, true] {
            fs::write(&victim, "precious").unwrap();
            match hard {
                false => std::os::unix::fs::symlink(&victim, &path).unwrap(),
                true => fs::hard_link(&victim, &path).unwrap(),
            }
            open_own(&path).unwrap().write_all(b"new").unwrap();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
            remove(&path).unwrap();

            std::os::unix::fs::symlink(&victim, &path).unwrap();
            assert_eq!(read_own(&path).unwrap(), None);
            write_own(&path, "text").unwrap();
            assert_eq!(read_own(&path).unwrap().as_deref(), Some("text"));
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
            remove(&path).unwrap();
        }
        std::os::unix::fs::symlink(folder.path().join("nothing"), &path).unwrap();
        open_own(&path).unwrap();
        assert!(!folder.path().join("nothing").exists());
    }

    #[test]
    fn what_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        fs::write(&path, "half").unwrap();
        assert_eq!(io::read_to_string(open_own(&path).unwrap()).unwrap(), "half");
    }

    #[test]
    fn a_lock_is_for_one_at_a_time_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // Left by a process that was killed.
        fs::write(&path, "").unwrap();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let lock = Lock::take(&path, &mut || {}).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
