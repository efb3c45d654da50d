//! Images with known classes, for `effnet eval`: a folder or a list.

use super::inputs::{self, InputError};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a model's classes are called.
pub struct Classes {
    /// How many there are.
    pub count: usize,
    /// Their names, where known.
    pub names: Option<Vec<String>>,
    /// Their WordNet ids, as in `n01440764`, where they are ImageNet's.
    pub synsets: Option<Vec<&'static str>>,
}

impl Classes {
    /// The class that a word means: its index, its WordNet id or its name. A name with synonyms, as
    /// in `tench, Tinca tinca`, may be given by the first of them. A name that two classes have
    /// means neither.
    pub fn index(&self, word: &str) -> Option<usize> {
        if let Ok(index) = word.parse::<usize>() {
            return (index < self.count).then_some(index);
        }
        let synsets = self.synsets.iter().flatten();
        if let Some(index) = synsets.into_iter().position(|&synset| synset == word) {
            return Some(index);
        }
        let first = |name: &str| name.split(',').next().unwrap_or("").trim().to_owned();
        let is_named = |name: &String| name == word || first(name) == word;
        let mut named = self.names.iter().flatten().enumerate().filter(|(_, name)| is_named(name));
        match (named.next(), named.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    }

    /// What [`Classes::index`] understands, for messages.
    fn expected(&self) -> String {
        let mut text = format!("a class index 0 to {}", self.count - 1);
        if self.synsets.is_some() {
            text.push_str(", an ImageNet id as n01440764");
        }
        if self.names.is_some() {
            text.push_str(", or a label that no other class has");
        }
        text
    }
}

/// Images and their classes.
#[derive(Debug)]
pub struct Dataset {
    /// In the order of the folder or list.
    pub images: Vec<(PathBuf, usize)>,
    /// How the classes were told, for people.
    pub rule: &'static str,
}

/// Why there is no dataset.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A folder or the list cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A folder below cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// No image at all.
    #[error("{path}: no image found: expected a folder of class folders, or a list of images",
            path = path.display())]
    Empty {
        /// The folder or list.
        path: PathBuf,
    },
    /// Class folders that mean no class.
    #[error(
        "{path}: folder '{folder}' names no class: expected {expected}, or exactly {classes} \
         folders in the order of the classes, found {folders}; give the classes by a list \
         instead: --list FILE",
        path = path.display()
    )]
    Folder {
        /// The dataset.
        path: PathBuf,
        /// The first folder that means no class.
        folder: String,
        /// What would be understood.
        expected: String,
        /// Classes of the model.
        classes: usize,
        /// Folders found.
        folders: usize,
    },
    /// A flat folder.
    #[error(
        "{path}: no folder per class, and {file} does not begin with an ImageNet id as in \
         n01440764_tench.jpg: give the classes by a list: --list FILE",
        path = path.display()
    )]
    Flat {
        /// The folder.
        path: PathBuf,
        /// The first file without an id.
        file: String,
    },
    /// A line of a list.
    #[error("{path}:{line}: expected an image's path and {expected}, found '{found}'",
            path = path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What would be understood as the class.
        expected: String,
        /// The line.
        found: String,
    },
    /// A JSON list.
    #[error("{path}: {message}: expected {{\"IMAGE\": CLASS, ...}} or \
             {{\"IMAGE\": {{\"label\": CLASS}}, ...}}, each CLASS {expected}",
            path = path.display())]
    Json {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// What would be understood as the class.
        expected: String,
    },
}

impl Dataset {
    /// Reads a dataset. A list's paths are relative to `root`, else to the list's own folder.
    pub fn open(
        path: &Path,
        list: Option<&Path>,
        classes: &Classes,
    ) -> Result<Dataset, DatasetError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DatasetError::Io { path, source }
        };
        let is_folder = fs::metadata(path).map_err(io(path))?.is_dir();
        let dataset = match list {
            None if is_folder => folder(path, classes)?,
            None => read_list(path, path.parent().unwrap_or(Path::new("")), classes)?,
            Some(list) => read_list(list, path, classes)?,
        };
        if dataset.images.is_empty() {
            return Err(DatasetError::Empty { path: list.unwrap_or(path).to_owned() });
        }
        Ok(dataset)
    }
}

fn folder(path: &Path, classes: &Classes) -> Result<Dataset, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            folders.push((name, entry.path()));
        }
    }
    if folders.is_empty() {
        return flat(path, classes);
    }
    folders.sort();
    let by_name: Vec<Option<usize>> = folders.iter().map(|(name, _)| classes.index(name)).collect();
    let stranger = by_name.iter().position(Option::is_none);
    let (rule, indices): (_, Vec<usize>) = match stranger {
        None => ("by the folders' names", by_name.into_iter().flatten().collect()),
        Some(_) if folders.len() == classes.count => {
            ("by the folders' sorted order", (0..classes.count).collect())
        }
        Some(stranger) => {
            return Err(DatasetError::Folder {
                path: path.to_owned(),
                folder: folders.swap_remove(stranger).0,
                expected: classes.expected(),
                classes: classes.count,
                folders: folders.len() + 1,
            });
        }
    };
    let mut images = Vec::new();
    for ((_, folder), index) in folders.iter().zip(indices) {
        images.extend(walk(folder)?.into_iter().map(|image| (image, index)));
    }
    Ok(Dataset { images, rule })
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>, InputError> {
    let mut found = Vec::new();
    inputs::walk(folder, &mut HashSet::new(), &mut |image| found.push(image));
    found.into_iter().collect()
}

/// A folder of images named after their class, as in `n01440764_tench.jpg`.
fn flat(path: &Path, classes: &Classes) -> Result<Dataset, DatasetError> {
    let class = |image: PathBuf| {
        let file = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = file.split(['_', '.']).next().unwrap_or("");
        let synsets = classes.synsets.iter().flatten();
        match synsets.into_iter().position(|&synset| synset == id) {
            Some(index) => Ok((image, index)),
            None => Err(DatasetError::Flat { path: path.to_owned(), file }),
        }
    };
    let images = walk(path)?.into_iter().map(class).collect::<Result<_, _>>()?;
    Ok(Dataset { images, rule: "by the ImageNet id that begins each file's name" })
}

fn read_list(list: &Path, root: &Path, classes: &Classes) -> Result<Dataset, DatasetError> {
    let text = fs::read_to_string(list)
        .map_err(|source| DatasetError::Io { path: list.to_owned(), source })?;
    let is_json = list.extension().is_some_and(|extension| extension == "json");
    let images = if is_json {
        json_list(list, &text, classes)?
    } else {
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                split(line, classes).ok_or_else(|| DatasetError::Line {
                    path: list.to_owned(),
                    line: number,
                    expected: classes.expected(),
                    found: line.to_owned(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?
    };
    let images = images.into_iter().map(|(image, index)| (root.join(image), index)).collect();
    Ok(Dataset { images, rule: "by the list" })
}

/// `PATH<tab>CLASS`, `PATH,CLASS` or `PATH CLASS`; only the last separator counts, so that paths
/// may have spaces and commas in them.
fn split(line: &str, classes: &Classes) -> Option<(String, usize)> {
    let separators: [&dyn Fn(char) -> bool; 3] =
        [&|c| c == '\t', &|c| c == ',', &|c: char| c.is_whitespace()];
    separators.iter().find_map(|separator| {
        let (path, class) = line.rsplit_once(separator)?;
        let path = path.trim_end();
        Some((path.to_owned(), classes.index(class.trim())?)).filter(|_| !path.is_empty())
    })
}

/// The images sorted by path, as JSON objects have no order.
fn json_list(
    list: &Path,
    text: &str,
    classes: &Classes,
) -> Result<Vec<(String, usize)>, DatasetError> {
    let fault = |message: String| DatasetError::Json {
        path: list.to_owned(),
        message,
        expected: classes.expected(),
    };
    let entries: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
    let class = |(image, value): (String, Value)| {
        let label = value.get("label").unwrap_or(&value);
        let index = match label {
            Value::String(word) => classes.index(word),
            Value::Number(number) => classes.index(&number.to_string()),
            _ => None,
        };
        match index {
            Some(index) => Ok((image, index)),
            None => Err(fault(format!("'{image}' has the class {label}"))),
        }
    };
    entries.into_iter().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Classes {
        let names = ["tench, Tinca tinca", "goldfish", "crane", "crane"];
        Classes {
            count: 4,
            names: Some(names.map(String::from).into()),
            synsets: Some(vec!["n01", "n02", "n03", "n04"]),
        }
    }

    fn dataset(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    /// Paths relative to the folder, with their classes.
    fn read(folder: &Path, path: &str, list: Option<&str>) -> Result<Vec<(String, usize)>, String> {
        let list = list.map(|list| folder.join(list));
        let dataset = Dataset::open(&folder.join(path), list.as_deref(), &classes())
            .map_err(|error| error.to_string())?;
        let relative =
            |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        Ok(dataset.images.iter().map(|(path, index)| (relative(path), *index)).collect())
    }

    #[test]
    fn a_class_is_named_by_index_id_or_label() {
        let classes = classes();
        for (word, expected) in [
            ("0", Some(0)),
            ("3", Some(3)),
            ("4", None),
            ("-1", None),
            ("n02", Some(1)),
            ("tench", Some(0)),
            ("tench, Tinca tinca", Some(0)),
            ("Tinca tinca", None),
            ("crane", None),
            ("", None),
        ] {
            assert_eq!(classes.index(word), expected, "'{word}'");
        }
    }

    #[test]
    fn folders_name_their_classes() {
        let folder = dataset(&[("n03/b.jpg", ""), ("goldfish/a.jpg", ""), ("0/x/y.png", "")]);
        let found = read(folder.path(), "", None).unwrap();
        let expected = [("0/x/y.png", 0), ("goldfish/a.jpg", 1), ("n03/b.jpg", 2)];
        assert_eq!(found, expected.map(|(path, index)| (path.to_owned(), index)));
    }

    #[test]
    fn else_their_order_counts_if_there_is_one_for_each_class() {
        let folder = dataset(&[("w/1.jpg", ""), ("x/1.jpg", ""), ("y/1.jpg", ""), ("z/1.jpg", "")]);
        let found = read(folder.path(), "", None).unwrap();
        assert_eq!(found.iter().map(|(_, index)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);
        fs::remove_dir_all(folder.path().join("y")).unwrap();
        let error = read(folder.path(), "", None).unwrap_err();
        assert!(error.contains("'w' names no class") && error.contains("found 3"), "{error}");
    }

    #[test]
    fn a_flat_folder_needs_ids_or_a_list() {
        let folder = dataset(&[("n02_x.jpg", ""), ("n04.jpg", "")]);
        let found = read(folder.path(), "", None).unwrap();
        assert_eq!(found, [("n02_x.jpg".to_owned(), 1), ("n04.jpg".to_owned(), 3)]);
        fs::write(folder.path().join("cat.jpg"), "").unwrap();
        let error = read(folder.path(), "", None).unwrap_err();
        assert!(error.contains("cat.jpg does not begin with an ImageNet id"), "{error}");
    }

    #[test]
    fn lists_are_relative_to_themselves_or_to_the_folder() {
        let text = "# a comment\n\na b.jpg 3\nc,d.jpg,n02\r\ne.jpg\ttench, Tinca tinca\n";
        let json = r#"{"b.jpg": {"label": 2, "x": 1}, "a.jpg": "goldfish"}"#;
        let folder = dataset(&[("lists/l.txt", text), ("lists/l.json", json), ("p/q", "")]);
        let expected = |at: &str| {
            [("a b.jpg", 3), ("c,d.jpg", 1), ("e.jpg", 0)]
                .map(|(path, index)| (format!("{at}/{path}"), index))
        };
        assert_eq!(read(folder.path(), "lists/l.txt", None).unwrap(), expected("lists"));
        assert_eq!(read(folder.path(), "p", Some("lists/l.txt")).unwrap(), expected("p"));
        let found = read(folder.path(), "lists/l.json", None).unwrap();
        assert_eq!(found, [("lists/a.jpg".to_owned(), 1), ("lists/b.jpg".to_owned(), 2)]);
    }

    #[test]
    fn faults_say_where() {
        for (file, content, expected) in [
            ("l.txt", "a.jpg 1\nb.jpg 4\n", "l.txt:2: expected an image's path and a class index"),
            ("l.txt", "a.jpg\n", "l.txt:1:"),
            ("l.txt", " 3\n", "l.txt:1:"),
            ("l.txt", "# nothing\n", "no image found"),
            ("l.json", "[1]", "l.json: invalid type"),
            ("l.json", r#"{"a.jpg": true}"#, "'a.jpg' has the class true"),
            ("l.json", r#"{"a.jpg": 4}"#, "'a.jpg' has the class 4"),
        ] {
            let folder = dataset(&[(file, content)]);
            let error = read(folder.path(), file, None).unwrap_err();
            assert!(error.contains(expected), "{content}: {error}");
        }
        let folder = dataset(&[("readme.txt", "")]);
        assert!(read(folder.path(), "", None).unwrap_err().contains("no image found"));
        assert!(read(folder.path(), "nowhere", None).unwrap_err().contains("nowhere"));
    }
}
