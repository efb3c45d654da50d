//! Names of classes.
//!
//! `labels/imagenet1k.txt` holds the WordNet lemmas of the 1000 classes of ImageNet-1k, one class a
//! line, in the order that every public checkpoint uses (synset ids ascending). They are the names
//! of the ILSVRC2012 development kit, taken from timm's `imagenet_synsets.txt` and
//! `imagenet_synset_to_lemma.txt`.

use crate::weights::{Labels, Metadata};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The names of ImageNet-1k's 1000 classes, in the usual order: `tench, Tinca tinca` first.
pub fn imagenet1k() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&'static str>> =
        LazyLock::new(|| include_str!("labels/imagenet1k.txt").lines().collect());
    &NAMES
}

impl Labels {
    /// The name of a class; `None` where the names or the class are unknown.
    pub fn name(&self, class: usize) -> Option<&str> {
        match self {
            Labels::Imagenet1k => imagenet1k().get(class).copied(),
            Labels::Names(names) => names.get(class).map(String::as_str),
            Labels::None => None,
        }
    }

    /// Reads a label file: one name a line, the first for class 0. Lines may also start with their
    /// number, as in PaddleClas' `0 tench, Tinca tinca`: if all do, in order, it is cut off.
    pub fn open(path: &Path) -> Result<Labels, LabelsError> {
        let io = |source| LabelsError::Io { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        if !(1..=Metadata::MAX_CLASSES).contains(&lines.len()) {
            return Err(LabelsError::Count { path: path.to_owned(), found: lines.len() });
        }
        let numbered: Option<Vec<&str>> = lines
            .iter()
            .enumerate()
            .map(|(class, line)| {
                let (number, name) = line.split_once([' ', '\t'])?;
                (number.parse() == Ok(class)).then(|| name.trim_start())
            })
            .collect();
        let names = numbered.unwrap_or(lines);
        Ok(Labels::Names(names.into_iter().map(str::to_owned).collect()))
    }
}

/// Why a label file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file is not readable, or not UTF-8.
    #[error("{path}: {source}; expected a UTF-8 text file with one class name a line",
            path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// No names, or too many.
    #[error("{path}: expected 1 to {max} lines with a class name each, found {found}",
            path = path.display(), max = Metadata::MAX_CLASSES)]
    Count {
        /// The file.
        path: PathBuf,
        /// Number of lines in the file.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imagenet_has_a_thousand_names_in_the_usual_order() {
        assert_eq!(imagenet1k().len(), 1000);
        for (class, name) in [
            (0, "tench, Tinca tinca"),
            (8, "hen"),
            (904, "window screen"),
            (999, "toilet tissue, toilet paper, bathroom tissue"),
        ] {
            assert_eq!(Labels::Imagenet1k.name(class), Some(name));
        }
        assert_eq!(Labels::Imagenet1k.name(1000), None);
        assert!(imagenet1k().iter().all(|name| !name.is_empty() && name.trim() == *name));
    }

    #[test]
    fn label_files_are_read_with_and_without_numbers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            Labels::open(file.path())
        };
        let names = |names: &[&str]| Labels::Names(names.iter().map(|x| (*x).into()).collect());
        assert_eq!(read("cat\nblue tit\n\n").unwrap(), names(&["cat", "blue tit"]));
        assert_eq!(read("0 cat\r\n1 blue tit\r\n").unwrap(), names(&["cat", "blue tit"]));
        // Not all lines carry their number: the numbers are part of the names.
        assert_eq!(read("0 degrees\n7 up\n").unwrap(), names(&["0 degrees", "7 up"]));
        assert!(read("\n\n").unwrap_err().to_string().contains("found 0"));
    }
}
