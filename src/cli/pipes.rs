//! Named pipes among the files that a command reads.

use super::output;
use std::path::Path;

/// Says that the command waits where a path that it is about to open is a named pipe: opening one
/// lasts until another program writes to it, and nothing else would show. The pipes of a shell's
/// `<(...)` have a writer and no name.
#[cfg(unix)]
pub fn tell(path: &Path) {
    if is_named(path) {
        output::note(&format_args!(
            "{}: a named pipe; waiting for a program that writes to it",
            path.display()
        ));
    }
}

#[cfg(not(unix))]
pub fn tell(_path: &Path) {}

#[cfg(unix)]
fn is_named(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    // What is open without a name has a link for a path, which leads to no file.
    path.metadata().is_ok_and(|found| found.file_type().is_fifo()) && path.canonicalize().is_ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_a_named_pipe_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(is_named(&pipe));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        assert!(is_named(&link));
        assert!(!is_named(folder.path()) && !is_named(Path::new("/dev/null")));
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let (reader, _writer) = std::io::pipe().unwrap();
            assert!(!is_named(Path::new(&format!("/dev/fd/{}", reader.as_raw_fd()))));
        }
    }
}
