//! From the PATHs of a command line to a list of images, in the order in which they are reported.

use super::{patterns, pipes};
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
    /// A list names it, and it is a pipe, a socket or a device.
    #[error("expected a file, as a list names, found a pipe, a socket or a device")]
    Special,
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
        } else {
            match fs::metadata(path) {
                Ok(_) => {
                    pipes::tell(path);
                    existing(path, &mut list);
                }
                Err(error) => pattern(path, error, &mut list),
            }
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
    walk(path, &mut |found| list.push(found.map(Found::file)));
    if list.len() == before {
        list.push(Err(InputError::new(path, InputErrorKind::EmptyFolder)));
    }
}

/// A PATH that leads to nothing, for this reason.
fn pattern(path: &Path, reason: io::Error, list: &mut List) {
    if !patterns::is_pattern(path) {
        let kind = match reason.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => InputErrorKind::Missing,
            _ => InputErrorKind::Io(reason),
        };
        list.push(Err(InputError::new(path, kind)));
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

/// What makes a folder the same as one that was reached by another path.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(unix)]
fn identity(folder: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    folder.metadata().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(folder: &Path) -> io::Result<Identity> {
    folder.canonicalize()
}

/// Gives `found` the images of a folder and of those below it, sorted by name within each folder. A
/// folder that is reached twice is walked once. The length of a path, which the system bounds,
/// bounds the depth.
pub fn walk(folder: &Path, found: &mut impl FnMut(Result<PathBuf, InputError>)) {
    let mut seen: HashSet<Identity> = HashSet::new();
    // What is still to come, the next one last.
    let mut stack = entries(folder, &mut seen, found);
    while let Some((path, is_dir)) = stack.pop() {
        if is_dir {
            stack.append(&mut entries(&path, &mut seen, found));
        } else if is_image_name(&path) && !is_special(&path) {
            found(Ok(path));
        }
    }
}

/// The entries of a folder that are not left out, and whether each is a folder, in reverse order;
/// none where it was seen before.
fn entries(
    folder: &Path,
    seen: &mut HashSet<Identity>,
    found: &mut impl FnMut(Result<PathBuf, InputError>),
) -> Vec<(PathBuf, bool)> {
    let mut list = || -> io::Result<Vec<(PathBuf, bool)>> {
        if !seen.insert(identity(folder)?) {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is_passed_over(&entry.file_name()) {
                continue;
            }
            let path = entry.path();
            // A link may lead to a folder; all else is what its entry says.
            let is_dir = match entry.file_type() {
                Ok(kind) if !kind.is_symlink() => kind.is_dir(),
                _ => path.is_dir(),
            };
            entries.push((path, is_dir));
        }
        Ok(entries)
    };
    let mut entries = list().unwrap_or_else(|error| {
        found(Err(InputError::new(folder, InputErrorKind::Io(error))));
        Vec::new()
    });
    entries.sort_by(|(a, _), (b, _)| b.cmp(a));
    entries
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

/// The image that a list names. A list is to name files: a pipe or device might give nothing for
/// ever, and nobody at the terminal has named it.
pub fn listed(path: PathBuf) -> ImageInput {
    if is_special(&path) {
        let kind = InputErrorKind::Special;
        return ImageInput::failed(kind).named(path.display().to_string());
    }
    path.into()
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

    /// Nearly two thousand folders below each other, and some more where no path leads.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_deep_folder_is_walked_as_far_as_paths_go() {
        let folder = folder(&[]);
        let make = |name: &str, levels: usize| {
            let deep = folder.path().join(name).join(vec!["d"; levels].join("/"));
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("image.jpg"), b"").unwrap();
            deep
        };
        // Together more than the 4096 bytes of a path.
        let (deep, _) = (make("a", 1900), make("b", 200));
        std::os::unix::fs::symlink(folder.path().join("a"), deep.join("loop")).unwrap();
        fs::rename(folder.path().join("b"), deep.join("x")).unwrap();
        let top = folder.path().join("a");
        let mut found = expand(std::slice::from_ref(&top));
        let long = top.join("x".repeat(5000));
        found.extend(expand(&[long]));
        // The standard library opens a folder per level to remove them.
        assert!(std::process::Command::new("rm").arg("-rf").arg(top).status().unwrap().success());
        assert_eq!(found.len(), 3);
        let name = found[0].as_ref().unwrap().image.name().unwrap();
        assert!(name.ends_with("d/image.jpg"), "{name}");
        for error in &found[1..] {
            let error = error.as_ref().unwrap_err().to_string();
            assert!(error.contains("File name too long"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_list_names_files() {
        let kind = |path: &str| format!("{:?}", listed(path.into()));
        assert_eq!(listed("/dev/zero".into()).name(), Some("/dev/zero"));
        assert!(kind("/dev/zero").contains("failed"), "{}", kind("/dev/zero"));
        // One that is not there is told when it is opened.
        assert!(kind("a.jpg").contains("file"), "{}", kind("a.jpg"));
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends() {
        let folder = folder(&["a.jpg"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        assert_eq!(expanded(folder.path(), &["."]), ["./a.jpg"]);
    }
}
