//! Files and folders that are there for a while: named recognisably, locked while their writer
//! lives, removed with it or by the next one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{Builder, NamedTempFile, TempDir};

/// Beginning of the name of everything temporary.
const PREFIX: &str = ".effnet-";
/// End of the name of everything temporary.
const SUFFIX: &str = ".tmp";
/// Trials to make a file that no other process takes for a leftover before it is locked.
const TRIALS: usize = 16;
/// Entries of a folder that are looked at for leftovers; a folder of more keeps them.
#[cfg(unix)]
const MAX_ENTRIES: usize = 100_000;

/// What is there at the moment. Its lock is held while something temporary is made, renamed or
/// removed, so that [`abandon`] finds all of it.
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn live() -> MutexGuard<'static, Vec<PathBuf>> {
    // The list is consistent at all times.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every temporary file and folder of this process. After that none is made, and none
/// becomes an output: a thread that tries waits for ever. For a process that ends now.
pub fn abandon() {
    let live = live();
    for path in live.iter() {
        // One that cannot be removed stays, and the others are still to be.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    mem::forget(live);
}

/// Names and permissions of something temporary.
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(8);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(PermissionsExt::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Whether the lock on something temporary is had now. Where the file system knows no locks, no
/// other process can take it for a leftover.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Whether `path` still is `file`, and not removed meanwhile by a process that took it for a
/// leftover.
#[cfg(unix)]
fn is_at(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let both = fs::symlink_metadata(path).and_then(|at| Ok((at, file.metadata()?)));
    both.is_ok_and(|(at, file)| (at.dev(), at.ino()) == (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn is_at(path: &Path, _file: &File) -> bool {
    path.exists()
}

/// Whether a folder that was made and then opened is there and locked. Some systems do not open
/// folders, and lock none; on others it cannot be opened where another process has removed it.
fn is_mine(folder: &Path, file: Option<&File>) -> bool {
    match file {
        Some(file) => lock(file).is_ok() && is_at(folder, file),
        None => folder.is_dir(),
    }
}

/// A file that becomes an output, or nothing.
#[derive(Debug)]
pub(super) struct Temporary {
    /// None once it has become an output.
    file: Option<NamedTempFile>,
}

impl Temporary {
    /// Makes an empty file in a folder, with these permissions less those that the process's umask
    /// takes away, and removes the folder's leftovers. The folder's path is absolute.
    pub(super) fn new(folder: &Path, mode: u32) -> io::Result<Temporary> {
        for _ in 0..TRIALS {
            let mut live = live();
            let file = builder(mode).tempfile_in(folder)?;
            live.push(file.path().to_owned());
            drop(live);
            let temporary = Temporary { file: Some(file) };
            let Some(file) = &temporary.file else { continue };
            if lock(file.as_file()).is_ok() && is_at(file.path(), file.as_file()) {
                #[cfg(unix)]
                sweep(folder, file.as_file());
                return Ok(temporary);
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// The open file.
    pub(super) fn as_file(&self) -> io::Result<&File> {
        // Nothing uses it after `rename`, which takes it.
        self.file.as_ref().map(NamedTempFile::as_file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives it its name, in the place of what had that name.
    pub(super) fn rename(mut self, target: &Path) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        let mut live = live();
        let path = file.path().to_owned();
        let renamed = file.persist(target);
        live.retain(|other| *other != path);
        // A file that was not renamed is removed here, under the lock.
        renamed.map(drop).map_err(|error| error.error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let mut live = live();
        let path = file.path().to_owned();
        drop(file);
        live.retain(|other| *other != path);
    }
}

/// A folder of this user alone, in the system's folder for temporary files; it is removed, with all
/// that is in it, when this is dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    /// None once it is removed.
    folder: Option<TempDir>,
    path: PathBuf,
    /// The lock that tells other processes that it is in use.
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// Makes an empty folder, and removes those that killed processes have left beside it.
    pub fn new() -> io::Result<TemporaryFolder> {
        TemporaryFolder::new_in(&std::env::temp_dir())
    }

    fn new_in(place: &Path) -> io::Result<TemporaryFolder> {
        let place = place.canonicalize()?;
        for _ in 0..TRIALS {
            let mut live = live();
            let folder = builder(0o700).tempdir_in(&place)?;
            let path = folder.path().to_owned();
            live.push(path.clone());
            drop(live);
            let file = File::open(&path).ok();
            let is_mine = is_mine(&path, file.as_ref());
            let made = TemporaryFolder { folder: Some(folder), path, _lock: file };
            if is_mine {
                #[cfg(unix)]
                made._lock.iter().for_each(|file| sweep(&place, file));
                return Ok(made);
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let mut live = live();
        drop(self.folder.take());
        live.retain(|other| *other != self.path);
    }
}

/// A file with a name of its own that is removed with this value, or by [`abandon`].
#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) struct Transient {
    path: PathBuf,
}

#[cfg(feature = "cli")]
impl Transient {
    /// Takes over a file that is there.
    pub(crate) fn new(path: &Path) -> Transient {
        live().push(path.to_owned());
        Transient { path: path.to_owned() }
    }
}

#[cfg(feature = "cli")]
impl Drop for Transient {
    fn drop(&mut self) {
        let mut live = live();
        // One that cannot be removed stays.
        let _ = fs::remove_file(&self.path);
        live.retain(|other| *other != self.path);
    }
}

/// Removes from `folder` what processes that live no more have left: files and folders with a
/// temporary name, of the user who has made `own`, and with a lock that nobody holds. What cannot
/// be looked at or removed stays.
#[cfg(unix)]
fn sweep(folder: &Path, own: &File) {
    use std::os::unix::fs::MetadataExt;
    let (Ok(entries), Ok(own)) = (fs::read_dir(folder), own.metadata()) else { return };
    for entry in entries.take(MAX_ENTRIES).flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if !name.starts_with(PREFIX.as_bytes()) || !name.ends_with(SUFFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        // Neither a link, nor a pipe, which would be waited for when it is opened.
        let plain = fs::symlink_metadata(&path)
            .is_ok_and(|found| (found.is_file() || found.is_dir()) && found.uid() == own.uid());
        if !plain || live().contains(&path) {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() && is_at(&path, &file) {
            let is_dir = file.metadata().is_ok_and(|found| found.is_dir());
            let _ = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Another process takes a folder for a leftover that is made and not locked yet.
    #[test]
    fn a_folder_that_is_gone_before_it_is_locked_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let open = File::open(&folder).unwrap();
        assert!(is_mine(&folder, Some(&open)) && is_mine(&folder, None));
        fs::remove_dir(&folder).unwrap();
        // Removed after it was opened, and before.
        assert!(!is_mine(&folder, Some(&open)) && !is_mine(&folder, None));
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else_is() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let write = |name: &str| fs::write(place.join(name), "x").unwrap();
        for name in [".effnet-dead0000.tmp", ".effnet-notes", "effnet-x.tmp", ".other.tmp"] {
            write(name);
        }
        fs::create_dir(place.join(".effnet-deaddir0.tmp")).unwrap();
        write(".effnet-deaddir0.tmp/inside");
        // A link is not followed, and stays.
        symlink(place.join(".other.tmp"), place.join(".effnet-link0000.tmp")).unwrap();
        // Of a process that lives: locks belong to what is opened, also within one process.
        write(".effnet-living00.tmp");
        let living = File::open(place.join(".effnet-living00.tmp")).unwrap();
        living.lock().unwrap();

        let own = Temporary::new(&place, 0o666).unwrap();
        let kept = [
            ".effnet-link0000.tmp",
            ".effnet-living00.tmp",
            ".effnet-notes",
            ".other.tmp",
            "effnet-x.tmp",
        ];
        let found = names(&place);
        assert_eq!(found.len(), kept.len() + 1, "{found:?}");
        assert!(kept.iter().all(|name| found.iter().any(|found| found == name)), "{found:?}");
        // Neither does another output take it for a leftover.
        let other = Temporary::new(&place, 0o666).unwrap();
        assert_eq!(names(&place).len(), kept.len() + 2);
        drop((own, other));
        assert_eq!(names(&place), kept);
        drop(living);
        drop(Temporary::new(&place, 0o666).unwrap());
        assert!(!place.join(".effnet-living00.tmp").exists());
    }

    #[test]
    fn a_folder_is_its_owners_and_goes_with_what_is_in_it() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join(".effnet-deaddir0.tmp")).unwrap();
        let folder = TemporaryFolder::new_in(place.path()).unwrap();
        assert_eq!(names(place.path()).len(), 1);
        let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(folder.path().join("file"), "x").unwrap();
        drop(folder);
        assert!(names(place.path()).is_empty());
    }
}
