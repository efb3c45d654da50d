//! Files that are mapped into memory, and what may happen to them meanwhile.
//!
//! A mapping of a file is shared with every other program that has the file open (`MAP_SHARED`; a
//! private one would show the others' changes as well, until it is written to). So whoever maps a
//! file asks of the user that the file stay as it is:
//!
//! - **Replaced by renaming** another file over it: allowed. The mapping keeps the old file.
//! - **Truncated**: a page beyond the new end cannot be read any more, and an attempt ends the
//!   process with SIGBUS. [`MappedFile::check`] finds the truncation before, if it is asked before
//!   the pages are read. The program turns the signal into a message; a library must not take
//!   signals from its user's program.
//! - **Written to**: the numbers read are the writer's, or some of each. Nothing reads out of
//!   bounds, since lengths and offsets come from a copy of the header; but Rust calls bytes that
//!   change behind a shared reference undefined behaviour, whatever they are used for.
//!
//! [`MappedFile::copied`] is for those who cannot promise.
//!
//! An advisory lock (`File::lock_shared`) is not taken: it binds only programs that ask for it, and
//! those that truncate or overwrite files (`cp`, `rsync --inplace`, an editor) do not. It would keep
//! a program that does ask waiting for as long as the weights are open, and network file systems
//! may refuse it.

use memmap2::{Mmap, MmapMut, MmapOptions};
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::path::Path;

/// Why a file cannot be mapped, or should not be read any more.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The file system said no.
    Io(io::Error),
    /// Something that is no file, in words.
    NotAFile(&'static str),
    /// The file has another length than when it was opened.
    Changed {
        /// The length at that time.
        expected: u64,
        /// The length now.
        found: u64,
    },
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> FileError {
        FileError::Io(error)
    }
}

/// The bytes of a regular file, mapped to be read, or a copy of them in memory. They begin at the
/// start of a page.
#[derive(Debug)]
pub(crate) struct MappedFile {
    map: Mmap,
    /// None for a copy.
    file: Option<File>,
}

impl MappedFile {
    /// Maps a file. Nothing is read. See the module for what must not happen to the file.
    pub(crate) fn open(path: &Path) -> Result<MappedFile, FileError> {
        let (file, len) = open_regular(path)?;
        MappedFile::map(file, len)
    }

    /// Maps an open file, as one that has no name.
    pub(crate) fn of_file(file: File) -> Result<MappedFile, FileError> {
        let len = regular_len(&file)?;
        MappedFile::map(file, len)
    }

    fn map(file: File, len: usize) -> Result<MappedFile, FileError> {
        // SAFETY: the mapping is read-only and, as all mappings of files, shows what others do to
        // the file. That they leave it alone cannot be enforced: the functions that open weights
        // and checkpoints ask for it in their documentation.
        let map = unsafe { MmapOptions::new().len(len).map(&file) }?;
        let mapped = MappedFile { map, file: Some(file) };
        // The file may have shrunk after it was measured.
        mapped.check()?;
        Ok(mapped)
    }

    /// Reads a file into memory. The caller has found its length to be justified.
    pub(crate) fn copied(path: &Path) -> Result<MappedFile, FileError> {
        let (mut file, len) = open_regular(path)?;
        let mut map = MmapMut::map_anon(len)?;
        let expected = len as u64;
        let changed = |file: &File| match file.metadata() {
            Ok(metadata) => FileError::Changed { expected, found: metadata.len() },
            Err(error) => error.into(),
        };
        match file.read_exact(&mut map) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(changed(&file));
            }
            read => read?,
        }
        if file.metadata()?.len() != expected {
            return Err(changed(&file));
        }
        Ok(MappedFile { map: map.make_read_only()?, file: None })
    }

    /// A copy of `bytes`, aligned as a mapped file is.
    pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<MappedFile> {
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(MappedFile { map: map.make_read_only()?, file: None })
    }

    /// Whether the file still has the length that was mapped: one call of the system, which
    /// allocates nothing. A copy always has.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let (expected, found) = (self.map.len() as u64, file.metadata()?.len());
        if found == expected { Ok(()) } else { Err(FileError::Changed { expected, found }) }
    }

    /// Lets the system take back the memory of a part that was read. It may be read again, which
    /// reads the file.
    ///
    /// # Panics
    ///
    /// If the part does not lie within the file.
    pub(crate) fn release(&self, part: Range<usize>) {
        let bytes = &self.map[part.clone()];
        #[cfg(unix)]
        if self.file.is_some() && !bytes.is_empty() {
            // SAFETY: the part lies within the mapping. A read-only mapping of a file has no
            // changes to lose: its pages are read from the file again. A copy, whose pages would
            // come back as zeros, is not released.
            let released = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                self.map.unchecked_advise_range(advice, part.start, part.len())
            };
            // Only advice: a system that does not take it keeps the memory.
            let _ = released;
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// Opens a regular file, and gives its length.
///
/// The file is looked at before it is opened, because opening a pipe waits for its writer, and
/// opening a device may do something to it; and again afterwards, because another may be there.
pub(crate) fn open_regular(path: &Path) -> Result<(File, usize), FileError> {
    expect_regular(fs::metadata(path)?.file_type())?;
    let file = File::open(path)?;
    let len = regular_len(&file)?;
    Ok((file, len))
}

fn regular_len(file: &File) -> Result<usize, FileError> {
    let metadata = file.metadata()?;
    expect_regular(metadata.file_type())?;
    // No slice is longer than this.
    match isize::try_from(metadata.len()) {
        Ok(len) => Ok(len.unsigned_abs()),
        Err(_) => Err(FileError::Io(io::ErrorKind::FileTooLarge.into())),
    }
}

fn expect_regular(found: FileType) -> Result<(), FileError> {
    if found.is_file() { Ok(()) } else { Err(FileError::NotAFile(name(found))) }
}

fn name(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return "a pipe";
        }
        if found.is_socket() {
            return "a socket";
        }
        if found.is_char_device() || found.is_block_device() {
            return "a device";
        }
    }
    if found.is_dir() { "a folder" } else { "no regular file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_file_has_its_bytes_mapped_and_copied() {
        for bytes in [&b""[..], b"x", &[7; 5000]] {
            let file = file_of(bytes);
            let mapped = MappedFile::open(file.path()).unwrap();
            let copied = MappedFile::copied(file.path()).unwrap();
            let open = MappedFile::of_file(File::open(file.path()).unwrap()).unwrap();
            for found in [&mapped, &copied, &open, &MappedFile::of_bytes(bytes).unwrap()] {
                assert_eq!(found[..], *bytes);
                found.check().unwrap();
                found.release(0..bytes.len());
                assert_eq!(found[..], *bytes);
            }
        }
    }

    #[test]
    fn another_length_is_found_and_another_file_in_its_place_is_not_meant() {
        let file = file_of(b"twelve bytes");
        let mapped = MappedFile::open(file.path()).unwrap();
        let copied = MappedFile::copied(file.path()).unwrap();
        for len in [5, 0, 13] {
            file.as_file().set_len(len).unwrap();
            let found = mapped.check();
            let expected = |e: &FileError| matches!(e, FileError::Changed { expected: 12, found } if *found == len);
            assert!(found.as_ref().is_err_and(expected), "{found:?}");
            copied.check().unwrap();
        }
        assert_eq!(copied[..], *b"twelve bytes");

        let file = file_of(b"old");
        let mapped = MappedFile::open(file.path()).unwrap();
        fs::rename(file_of(b"the new").keep().unwrap().1, file.path()).unwrap();
        mapped.check().unwrap();
        assert_eq!(mapped[..], *b"old");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_named_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        // Opening it would wait for a writer.
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for (path, name) in [
            (&pipe, "a pipe"),
            (&socket, "a socket"),
            (&link, "a pipe"),
            (&"/dev/null".into(), "a device"),
            (&folder.path().into(), "a folder"),
        ] {
            for opened in [MappedFile::open(path), MappedFile::copied(path)] {
                let named = matches!(&opened, Err(FileError::NotAFile(found)) if *found == name);
                assert!(named, "{}: {opened:?}", path.display());
            }
        }
    }
}
