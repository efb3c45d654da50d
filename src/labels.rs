//! Names of classes.
//!
//! `labels/imagenet1k.txt` holds the WordNet lemmas of the 1000 classes of ImageNet-1k, one class a
//! line, in the order that every public checkpoint uses (synset ids ascending). They are the names
//! of the ILSVRC2012 development kit, taken from timm's `imagenet_synsets.txt` and
//! `imagenet_synset_to_lemma.txt`.

mod file;
pub mod text;

pub use file::LabelFile;

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

    /// Reads a label file, see [`LabelFile::open`].
    pub fn open(path: &Path) -> Result<Labels, LabelsError> {
        Ok(Labels::Names(LabelFile::open(path)?.names))
    }
}

/// Why a label file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file is not readable, or no text.
    #[error("{path}: {source}; expected a text file with one class name a line, or JSON",
            path = path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: text::TextError,
    },
    /// What is written in it names no classes.
    #[error("{path}: {fault}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The file has no names, or too many.
    #[error("{path}: expected 1 to {max} class names, found {found}",
            path = path.display(), max = Metadata::MAX_CLASSES)]
    Count {
        /// The file.
        path: PathBuf,
        /// Names in the file.
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

    /// `tests/field/lists.py` has written them with torchvision, transformers and timm.
    #[test]
    fn labels_of_the_usual_libraries_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lists/labels");
        let names: Vec<String> = (0..12).map(|class| format!("class {class}")).collect();
        let mut sorted = names.clone();
        sorted.sort();
        for (file, expected) in [
            ("torchvision_class_to_idx.json", sorted),
            ("transformers_config.json", names.clone()),
            ("timm_config.json", names),
        ] {
            let found = Labels::open(&folder.join(file)).unwrap();
            assert_eq!(found, Labels::Names(expected), "{file}");
        }
    }

    #[test]
    fn label_files_are_read_or_the_error_names_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            Labels::open(file.path()).map_err(|error| error.to_string())
        };
        let names = |names: &[&str]| Ok(Labels::Names(names.iter().map(|x| (*x).into()).collect()));
        assert_eq!(read(b"\xef\xbb\xbfcat\r\nblue tit\r\n\r\n"), names(&["cat", "blue tit"]));
        assert_eq!(read(b"\xff\xfec\0a\0t\0\n\0"), names(&["cat"]));
        let path = file.path().display().to_string();
        for (bytes, expected) in [
            (&b"\n\n"[..], "found 0"),
            (b"[]", "found 0"),
            (b"caf\xe9\n", "not UTF-8"),
            (b"{\"cat\": 1}", "expected 0 to 0"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(expected) && error.contains(&path), "{error}");
        }
        let error = Labels::open("nowhere.txt".as_ref()).unwrap_err().to_string();
        assert!(error.starts_with("nowhere.txt: "), "{error}");
    }
}
