//! Patterns over file names, as a shell expands them.
//!
//! A file's name need not be Unicode: for the comparison, and for it alone, each byte that is no
//! part of a UTF-8 sequence counts as one character of its own.

use glob::{MatchOptions, Pattern};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A malformed pattern.
#[derive(Debug, PartialEq, Eq)]
pub struct PatternError {
    /// What is wrong.
    pub message: &'static str,
    /// The character where it is wrong, from 0.
    pub at: usize,
}

/// A part of a pattern between separators.
enum Part {
    /// One name.
    Name(OsString),
    /// The names that match.
    Names(Pattern),
    /// `**`: any number of folders, none included.
    Folders,
}

/// What a pattern matches: paths in order, and folders that cannot be read, each with the reason.
pub type Matches = BTreeMap<PathBuf, Option<io::Error>>;

/// Whether a path has a character in it that makes it a pattern.
pub fn is_pattern(path: &Path) -> bool {
    has_wildcard(path.as_os_str())
}

/// What a pattern matches, each path once. As in a shell, `*` and `?` do not match the dot that
/// hides a file, and `**` follows no links.
pub fn matches(pattern: &Path) -> Result<Matches, PatternError> {
    let whole = text(pattern.as_os_str());
    compile(&whole, 0)?;
    let mut parts = Vec::new();
    for component in pattern.components() {
        let name = component.as_os_str();
        let part = text(name);
        parts.push(match () {
            () if part == "**" => Part::Folders,
            () if has_wildcard(name) => {
                let before = whole.find(&*part).unwrap_or(0);
                Part::Names(compile(&part, whole[..before].chars().count())?)
            }
            () => Part::Name(name.to_owned()),
        });
    }
    let wants_folder = whole.ends_with(std::path::is_separator);
    let mut found = Matches::new();
    expand(Path::new(""), &parts, &mut found);
    found.retain(|path, error| error.is_some() || !wants_folder || path.is_dir());
    Ok(found)
}

fn has_wildcard(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

fn compile(pattern: &str, offset: usize) -> Result<Pattern, PatternError> {
    let error =
        |error: glob::PatternError| PatternError { message: error.msg, at: offset + error.pos };
    Pattern::new(pattern).map_err(error)
}

/// A name as text, with one character of a range that no name uses for each byte that is no UTF-8.
fn text(name: &OsStr) -> Cow<'_, str> {
    if let Some(text) = name.to_str() {
        return text.into();
    }
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        let stand_ins = chunk.invalid().iter().map(|&byte| 0x10_ff00 + u32::from(byte));
        text.extend(stand_ins.filter_map(char::from_u32));
    }
    text.into()
}

fn expand(at: &Path, parts: &[Part], found: &mut Matches) {
    let Some((part, rest)) = parts.split_first() else {
        found.insert(at.to_owned(), None);
        return;
    };
    match part {
        Part::Name(name) => {
            let path = at.join(name);
            if path.symlink_metadata().is_ok() {
                expand(&path, rest, found);
            }
        }
        Part::Names(pattern) => {
            let options = MatchOptions { require_literal_leading_dot: true, ..Default::default() };
            for name in names(at, found) {
                if pattern.matches_with(&text(&name), options) {
                    expand(&at.join(name), rest, found);
                }
            }
        }
        Part::Folders => {
            // The folder stands for everything below it.
            expand(at, rest, found);
            if rest.is_empty() {
                return;
            }
            for name in names(at, found) {
                let path = at.join(&name);
                let is_hidden = name.as_encoded_bytes().starts_with(b".");
                let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
                if is_folder && !is_hidden {
                    expand(&path, parts, found);
                }
            }
        }
    }
}

/// The names in a folder; none in what is no folder.
fn names(folder: &Path, found: &mut Matches) -> Vec<OsString> {
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !place.is_dir() {
        return Vec::new();
    }
    let names = || -> io::Result<Vec<OsString>> {
        fs::read_dir(place)?.map(|entry| Ok(entry?.file_name())).collect()
    };
    names().unwrap_or_else(|error| {
        found.insert(folder.to_owned(), Some(error));
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&OsStr]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    fn found(folder: &Path, pattern: impl AsRef<OsStr>) -> Vec<PathBuf> {
        let found = matches(&folder.join(pattern.as_ref())).unwrap();
        let relative = |path: PathBuf| path.strip_prefix(folder).unwrap().to_owned();
        found.into_keys().map(relative).collect()
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let files =
            ["a1.png", "a2.png", ".a3.png", "b/a1.png", "b/c/a1.png", "b/.d/a1.png", "é.png"];
        let folder = folder(&files.map(OsStr::new));
        let found = |pattern: &str| found(folder.path(), pattern);
        assert_eq!(found("*.png"), paths(&["a1.png", "a2.png", "é.png"]));
        assert_eq!(found("?.png"), paths(&["é.png"]));
        assert_eq!(found("a[!1].png"), paths(&["a2.png"]));
        assert_eq!(found(".*.png"), paths(&[".a3.png"]));
        assert_eq!(found("**/a1.png"), paths(&["a1.png", "b/a1.png", "b/c/a1.png"]));
        assert_eq!(found("**/**/c/*"), paths(&["b/c/a1.png"]));
        assert_eq!(found("b/**"), paths(&["b"]));
        assert_eq!(found("*/"), paths(&["b"]));
        assert_eq!(found("*/../b/c"), paths(&["b/../b/c"]));
        assert_eq!(found("a1.png/*"), paths(&[]));
    }

    #[test]
    fn malformed_patterns_say_where() {
        for (pattern, at) in [("x/[a", 2), ("[a/b]c", 0), ("x/**y", 4), ("***", 2)] {
            let error = matches(Path::new(pattern)).unwrap_err();
            assert_eq!(error.at, at, "{pattern}: {error:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_unicode_are_matched_byte_by_byte() {
        use std::os::unix::ffi::OsStrExt;
        let [resume, other] = [&b"r\xe9sum\xe9.png"[..], b"\xff.png"].map(OsStr::from_bytes);
        let folder = folder(&[resume, other, OsStr::new("z.png")]);
        let found = |pattern: &[u8]| found(folder.path(), OsStr::from_bytes(pattern));
        assert_eq!(found(b"*.png"), [Path::new(resume), Path::new("z.png"), Path::new(other)]);
        assert_eq!(found(b"r?sum?.png"), [resume]);
        assert_eq!(found(b"r\xe9*"), [resume]);
        assert_eq!(found(b"r\xe8*"), [""; 0].map(PathBuf::from));
        assert_eq!(found(b"[\xe8-\xff]*"), [other]);
        assert_eq!(found(b"*.txt"), [""; 0].map(PathBuf::from));
    }
}
