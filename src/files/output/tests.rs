use super::*;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_is_replaced_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    fs::write(&path, "old").unwrap();
    let file = OutputFile::new(&path).unwrap();
    assert_eq!(read(&path), "old");
    file.write(b"new").unwrap();
    assert_eq!(read(&path), "new");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn content_that_fails_replaces_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    fs::write(&path, "old").unwrap();
    let failed = OutputFile::new(&path).unwrap().write_with(|to| {
        to.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    let text = failed.unwrap_err().to_string();
    assert!(text.contains("make room on that disk"), "{text}");
    assert_eq!(read(&path), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_written_is_told_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| OutputFile::new(path).unwrap_err().to_string();
    let absent = said(&folder.path().join("none/report"));
    assert!(absent.contains("none/report") && absent.contains("existing folder"), "{absent}");
    assert!(said(folder.path()).contains("directory"));
    fs::write(folder.path().join("file"), "").unwrap();
    let below = said(&folder.path().join("file/report"));
    assert!(below.contains("part of the path is a file"), "{below}");
    assert!(said(&folder.path().join("report/")).contains("expected the name of a file"));
    let long = said(&folder.path().join("x".repeat(5000)));
    assert!(long.contains("of the length that the system allows"), "{long}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Each cause has its own way out, and none is told to make a folder that is there.
#[cfg(target_os = "linux")]
#[test]
fn advice_fits_the_error() {
    // ENOENT, EACCES, ENOTDIR, EISDIR, EFBIG, ENOSPC, EROFS, ENAMETOOLONG, EDQUOT, EIO.
    let codes = [2, 13, 20, 21, 27, 28, 30, 36, 122, 5];
    let advices = codes.map(|code| {
        let source = io::Error::from_raw_os_error(code);
        OutputError { path: "x".into(), source }.to_string()
    });
    let expected = [
        "make it first",
        "change its permissions",
        "part of the path is a file",
        "expected the name of a file",
        "raise the limit",
        "make room on that disk",
        "nothing there can be written",
        "the length that the system allows",
        "remove some of your files",
        "in an existing folder that may be written to",
    ];
    for (text, expected) in advices.iter().zip(expected) {
        assert!(text.contains(expected), "{text}: {expected}");
        let makes_a_folder = text.contains("make it first");
        assert_eq!(makes_a_folder, expected == "make it first", "{text}");
    }
}

#[cfg(unix)]
mod on_unix {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::process::Command;

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn devices_are_written_to_and_not_replaced() {
        OutputFile::new(Path::new("/dev/null")).unwrap().write(b"nothing").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let full = OutputFile::new(Path::new("/dev/full")).map(|file| file.write(b"much"));
        let text = full.unwrap().unwrap_err().to_string();
        assert!(text.contains("make room"), "{text}");
    }

    #[test]
    fn a_pipe_is_written_to_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let file = OutputFile::new(&path).unwrap();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || read(&path))
        };
        file.write(b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        fs::write(at("below/file"), "old").unwrap();
        symlink("below/file", at("link")).unwrap();
        symlink("link", at("second")).unwrap();
        symlink("below/none", at("dangling")).unwrap();
        symlink("below", at("folder")).unwrap();
        for (link, target) in [
            ("link", "below/file"),
            ("second", "below/file"),
            ("dangling", "below/none"),
            ("folder/other", "below/other"),
        ] {
            OutputFile::new(&at(link)).unwrap().write(link.as_bytes()).unwrap();
            assert_eq!(read(&at(target)), link);
        }
        for link in ["link", "second", "dangling", "folder"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(fs::read_dir(at("below")).unwrap().count(), 3);

        symlink("/dev/null", at("device")).unwrap();
        OutputFile::new(&at("device")).unwrap().write(b"nothing").unwrap();
        assert!(fs::symlink_metadata(at("device")).unwrap().is_symlink());
        symlink("loop", at("loop")).unwrap();
        assert!(OutputFile::new(&at("loop")).is_err());
    }

    /// What the process holds open has a link for a name, which leads nowhere on disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_written_in_place() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = File::create(&path).unwrap();
        let before = open.metadata().unwrap().ino();
        let name = format!("/dev/fd/{}", open.as_raw_fd());
        OutputFile::new(Path::new(&name)).unwrap().write(b"content").unwrap();
        assert_eq!((read(&path).as_str(), fs::metadata(&path).unwrap().ino()), ("content", before));
    }

    #[test]
    fn permissions_pass_on() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o640, 0o664, 0o755] {
            let path = folder.path().join(format!("{mode:o}"));
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let file = OutputFile::new(&path).unwrap();
            // What is private is so while it is written, too.
            let Place::Beside { temporary, .. } = &file.place else { panic!("{file:?}") };
            let now = temporary.as_file().unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(now & 0o777, mode);
            file.write(b"new").unwrap();
            assert_eq!((read(&path).as_str(), mode_of(&path)), ("new", mode));
        }
    }
}
