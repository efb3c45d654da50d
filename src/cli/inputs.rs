//! From the PATHs of a command line to a list of images, in the order in which they are reported.

use super::patterns;
use effnet::pipeline::ImageInput;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Images, and errors in the places of images.
type List = Vec<Result<Found, InputError>>;

/// Endings, in lower case, of the files that are taken from a folder.
pub const EXTENSIONS: [&str; 11] =
    ["apng", "bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// Names of folders in which an archiver or a file server keeps what belongs to images and is none
/// of them.
const PASSED_OVER: [&str; 2] = ["__MACOSX", "@eaDir"];

/// An image.
#[derive(Debug)]
pub struct Found {
    /// The image, named by its path.
    pub image: ImageInput,
    /// Its path, where that is no text.
    pub no_text: Option<PathBuf>,
}

impl Found {
    fn file(path: PathBuf) -> Found {
        Found { no_text: no_text(&path), image: path.into() }
    }
}

fn no_text(path: &Path) -> Option<PathBuf> {
    path.to_str().is_none().then(|| path.to_owned())
}

/// A PATH that gives no image.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {kind}", path = path.display())]
pub struct InputError {
    /// The file, folder or pattern.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: InputErrorKind,
}

/// What is wrong with a PATH.
#[derive(Debug, thiserror::Error)]
pub enum InputErrorKind {
    /// It is no file, and no pattern.
    #[error("no such file or folder")]
    Missing,
    /// The file system does not let it be read.
    #[error(transparent)]
    Io(io::Error),
    /// It is a malformed pattern.
    #[error("not a pattern: {message} at character {at}; quote special characters as [*]")]
    Pattern {
        /// What is wrong.
        message: &'static str,
        /// Where, from 0.
        at: usize,
    },
    /// It is a pattern that matches nothing.
    #[error("no file matches this pattern")]
    NoMatch,
    /// It is a folder without images.
    #[error("no image in this folder or below it: expected files ending in {extensions}",
            extensions = EXTENSIONS.join(", "))]
    EmptyFolder,
    /// It is `-` more than once.
    #[error("standard input can be read only once")]
    StdinTwice,
}

impl InputError {
    fn new(path: &Path, kind: InputErrorKind) -> InputError {
        InputError { path: path.to_owned(), kind }
    }
}

/// The place of an image that is not there.
impl From<InputError> for Found {
    fn from(InputError { path, kind }: InputError) -> Found {
        let image = ImageInput::failed(kind).named(path.display().to_string());
        Found { image, no_text: no_text(&path) }
    }
}

/// Expands PATHs in their order. Each is
/// - `-`: standard input;
/// - a file: itself, whatever its name; a pipe or a device is read like `-`;
/// - a folder: the files below it whose names end as an image's do, sorted by path; names that
///   begin with a dot are left out, and so are `__MACOSX`, `@eaDir`, pipes, sockets and devices; a
///   folder reached twice through links is walked once;
/// - else a pattern with `*`, `?`, `[...]` or `**`: its matches, sorted, each taken as if given, but
///   for pipes, sockets and devices.
///
/// A PATH that gives no image becomes an error at its place in the list.
pub fn expand(paths: &[PathBuf]) -> List {
    let mut list = Vec::new();
    let mut stdin_taken = false;
    for path in paths {
        if path.as_os_str() == "-" {
            let first = !std::mem::replace(&mut stdin_taken, true);
            list.push(match first {
                true => {
                    Ok(Found { image: ImageInput::reader(io::stdin()).named("-"), no_text: None })
                }
                false => Err(InputError::new(path, InputErrorKind::StdinTwice)),
            });
        } else if path.exists() {
            existing(path, &mut list);
        } else {
            pattern(path, &mut list);
        }
    }
    list
}

fn existing(path: &Path, list: &mut List) {
    if !path.is_dir() {
        list.push(Ok(Found::file(path.to_owned())));
        return;
    }
    let before = list.len();
    walk(path, &mut HashSet::new(), &mut |found| list.push(found.map(Found::file)));
    if list.len() == before {
        list.push(Err(InputError::new(path, InputErrorKind::EmptyFolder)));
    }
}

fn pattern(path: &Path, list: &mut List) {
    if !patterns::is_pattern(path) {
        list.push(Err(InputError::new(path, InputErrorKind::Missing)));
        return;
    }
    let matches = match patterns::matches(path) {
        Ok(matches) => matches,
        Err(patterns::PatternError { message, at }) => {
            let kind = InputErrorKind::Pattern { message, at };
            list.push(Err(InputError::new(path, kind)));
            return;
        }
    };
    let before = list.len();
    for (path, error) in matches {
        match error {
            None if is_special(&path) => {}
            None => existing(&path, list),
            Some(error) => list.push(Err(InputError::new(&path, InputErrorKind::Io(error)))),
        }
    }
    if list.len() == before {
        list.push(Err(InputError::new(path, InputErrorKind::NoMatch)));
    }
}

/// Gives `found` the images of a folder and of those below it, sorted by name within each folder.
pub fn walk(
    folder: &Path,
    seen: &mut HashSet<PathBuf>,
    found: &mut impl FnMut(Result<PathBuf, InputError>),
) {
    let entries = folder.canonicalize().and_then(|canonical| {
        if !seen.insert(canonical) {
            return Ok(Vec::new());
        }
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    });
    let mut entries: Vec<PathBuf> = match entries {
        Ok(entries) => entries,
        Err(error) => return found(Err(InputError::new(folder, InputErrorKind::Io(error)))),
    };
    entries.sort();
    for path in entries {
        if path.file_name().is_some_and(is_passed_over) {
            continue;
        }
        if path.is_dir() {
            walk(&path, seen, found);
        } else if is_image_name(&path) && !is_special(&path) {
            found(Ok(path));
        }
    }
}

/// Whether a file or folder of this name below a folder is left out: a hidden one, or a folder of
/// what belongs to images and is none.
pub fn is_passed_over(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || PASSED_OVER.iter().any(|known| name == *known)
}

/// Whether it is a pipe, a socket or a device, which may give nothing for ever. A link that leads
/// nowhere is none: reading it tells what is wrong.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Whether a name ends as an image's does.
pub fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these (empty) files.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    /// What `paths`, relative to `folder`, give: relative paths, and errors after an `!`.
    fn expanded(folder: &Path, paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths
            .iter()
            .map(|&path| if path == "-" { path.into() } else { folder.join(path) })
            .collect();
        let relative = |text: String| {
            let text = text.replace(&format!("{}/", folder.display()), "");
            text.replace(&folder.display().to_string(), ".")
        };
        expand(&paths)
            .into_iter()
            .map(|item| match item {
                Ok(found) => relative(found.image.name().unwrap_or_default().to_owned()),
                Err(error) => format!("!{}", relative(error.to_string())),
            })
            .collect()
    }

    #[test]
    fn a_folder_gives_its_images_sorted_and_recursively() {
        let folder = folder(&[
            "b.jpg",
            "a.PNG",
            "c.JFIF",
            "d.jpe",
            "notes.txt",
            ".hidden.jpg",
            "sub/c.webp",
            ".git/d.jpg",
            "__MACOSX/._a.PNG",
            "__MACOSX/e.jpg",
            "sub/@eaDir/c.webp/SYNOPHOTO_THUMB_M.jpg",
        ]);
        assert_eq!(
            expanded(folder.path(), &["."]),
            ["./a.PNG", "./b.jpg", "./c.JFIF", "./d.jpe", "./sub/c.webp"]
        );
    }

    #[test]
    fn paths_keep_their_order_and_files_need_no_ending() {
        let folder = folder(&["b.jpg", "a.jpg", "photo"]);
        let found = expanded(folder.path(), &["photo", "b.jpg", "-", "a.jpg", "b.jpg"]);
        assert_eq!(found, ["photo", "b.jpg", "-", "a.jpg", "b.jpg"]);
    }

    #[test]
    fn patterns_are_expanded_and_a_file_named_like_one_is_a_file() {
        let folder = folder(&["b1.jpg", "b2.jpg", "c.jpg", "x/y/z.jpg", "[odd].jpg"]);
        assert_eq!(expanded(folder.path(), &["b?.jpg"]), ["b1.jpg", "b2.jpg"]);
        assert_eq!(expanded(folder.path(), &["**/z.*"]), ["x/y/z.jpg"]);
        assert_eq!(expanded(folder.path(), &["x*"]), ["x/y/z.jpg"]);
        assert_eq!(expanded(folder.path(), &["[odd].jpg"]), ["[odd].jpg"]);
    }

    #[test]
    fn what_gives_no_image_is_an_error_at_its_place() {
        let folder = folder(&["a.jpg", "empty/notes.txt"]);
        let found =
            expanded(folder.path(), &["nowhere.jpg", "a.jpg", "*.png", "empty", "[", "-", "-"]);
        assert_eq!(found[0], "!nowhere.jpg: no such file or folder");
        assert_eq!(found[1], "a.jpg");
        assert_eq!(found[2], "!*.png: no file matches this pattern");
        assert!(found[3].starts_with("!empty: no image in this folder"), "{}", found[3]);
        assert!(found[4].starts_with("![: not a pattern"), "{}", found[4]);
        assert_eq!(found[5], "-");
        assert_eq!(found[6], "!-: standard input can be read only once");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_sockets_in_a_folder_are_passed_over_and_a_named_one_is_read() {
        let folder = folder(&["a.jpg"]);
        let _socket =
            std::os::unix::net::UnixListener::bind(folder.path().join("socket.jpg")).unwrap();
        let device = folder.path().join("zeros.jpg");
        std::os::unix::fs::symlink("/dev/zero", device).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("z-broken.jpg")).unwrap();
        assert_eq!(expanded(folder.path(), &["."]), ["./a.jpg", "./z-broken.jpg"]);
        assert_eq!(
            expanded(folder.path(), &["*s.jpg", "a*"]),
            ["!*s.jpg: no file matches this pattern", "a.jpg"]
        );
        assert_eq!(expanded(folder.path(), &["zeros.jpg"]), ["zeros.jpg"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends() {
        let folder = folder(&["a.jpg"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        assert_eq!(expanded(folder.path(), &["."]), ["./a.jpg"]);
    }
}
