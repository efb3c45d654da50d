//! Images with known classes, for `effnet eval`: a folder or a list.

use super::classes::{By, Classes, Other, Reading, Unread, is_number};
use super::inputs::{self, InputError};
use super::list::{Class, Entry, List, ListFault, Place};
use super::pipes;
use effnet::labels::text::TextError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Images and their classes.
#[derive(Debug)]
pub struct Dataset {
    /// In the order of the folder or list.
    pub images: Vec<(PathBuf, usize)>,
    /// How the classes were told, for people.
    pub rule: &'static str,
    /// What told them: `name`, `index`, `name or index`, or `order`.
    pub by: &'static str,
    /// The classes of the images if the same words are read in another way.
    pub other: Option<Other>,
    /// What was taken for granted, for people.
    pub notes: Vec<String>,
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
    /// The list is no text.
    #[error("{path}: {source}", path = path.display())]
    Text {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        source: TextError,
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
    /// Words of which some can only be names and some only indices.
    #[error(
        "{path}: '{number}' is no label and would be an index, but '{name}' is a label and not the \
         one of that index: say which they are: --classes-by index or --classes-by name",
        path = path.display()
    )]
    Mixed {
        /// The dataset or list.
        path: PathBuf,
        /// A number that is no name.
        number: String,
        /// A number that is a name.
        name: String,
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
        line: u64,
        /// What would be understood as the class.
        expected: String,
        /// The line.
        found: String,
    },
    /// A JSON list.
    #[error("{path}: {message}: expected {{\"IMAGE\": CLASS, ...}}, records with a path and a \
             label, or lines of `effnet classify --json`, each CLASS {expected}",
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
    /// Reads a dataset. A list's paths are relative to `root`, else to the list's own folder. `by`
    /// says what numbers in the place of classes are.
    pub fn open(
        path: &Path,
        list: Option<&Path>,
        classes: &Classes,
        by: Option<By>,
    ) -> Result<Dataset, DatasetError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DatasetError::Io { path, source }
        };
        let is_folder = fs::metadata(path).map_err(io(path))?.is_dir();
        let dataset = match list {
            None if is_folder => folder(path, classes, by)?,
            None => read_list(path, path.parent().unwrap_or(Path::new("")), classes, by)?,
            Some(list) => read_list(list, path, classes, by)?,
        };
        if dataset.images.is_empty() {
            return Err(DatasetError::Empty { path: list.unwrap_or(path).to_owned() });
        }
        Ok(dataset)
    }
}

fn folder(path: &Path, classes: &Classes, by: Option<By>) -> Result<Dataset, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if !inputs::is_passed_over(&name) && entry.path().is_dir() {
            folders.push((name.to_string_lossy().into_owned(), walk(&entry.path())?));
        }
    }
    folders.sort();
    // Empty folders count in the order of the classes alone.
    let every: Vec<String> = folders.iter().map(|(name, _)| name.clone()).collect();
    folders.retain(|(_, images)| !images.is_empty());
    if folders.is_empty() {
        return flat(path, classes);
    }
    let names: Vec<&str> = folders.iter().map(|(name, _)| &**name).collect();
    let (rule, reading) = match classes.read(&names, by) {
        Ok(reading) => ("by the folders' names", with_order(reading, &names, classes, by)),
        Err(Unread::Mixed(number, name)) => {
            let [number, name] = [number, name].map(|at| names[at].to_owned());
            return Err(DatasetError::Mixed { path: path.to_owned(), number, name });
        }
        Err(Unread::Unknown(stranger)) => match ordered(&every, &names, classes, by) {
            Some(reading) => ("by the folders' sorted order", reading),
            None => {
                return Err(DatasetError::Folder {
                    path: path.to_owned(),
                    folder: names[stranger].to_owned(),
                    expected: classes.expected(names[stranger], by),
                    classes: classes.count(),
                    folders: names.len(),
                });
            }
        },
    };
    let lengths: Vec<usize> = folders.iter().map(|(_, images)| images.len()).collect();
    let of_images = |classes: &[usize]| -> Vec<usize> {
        let repeated = classes.iter().zip(&lengths);
        repeated.flat_map(|(&class, &images)| std::iter::repeat_n(class, images)).collect()
    };
    let images = folders.into_iter().flat_map(|(_, images)| images);
    let images = images.zip(of_images(&reading.classes)).collect();
    let other = reading.other.map(|other| Other { classes: of_images(&other.classes), ..other });
    Ok(Dataset { images, rule, by: reading.by, other, notes: Vec::new() })
}

/// Folders that were read as indices, with the classes that they are where a trainer has sorted
/// them as text.
fn with_order(reading: Reading, names: &[&str], classes: &Classes, by: Option<By>) -> Reading {
    let is_known = classes.have_names() && names.len() < classes.count();
    if by.is_some() || reading.by != "index" || is_known {
        return reading;
    }
    let Some(sorted) = text_order(names, classes.count()) else { return reading };
    let Some(at) = (0..names.len()).find(|&at| sorted[at] != reading.classes[at]) else {
        return reading;
    };
    let (name, class, advice) = (names[at], sorted[at], "--classes-by name");
    let note = format!(
        "the folders' numbers are taken for indices; torchvision and Keras sort folders as text, \
         by which folder '{name}' is class {class}: {advice} takes that order"
    );
    Reading { other: Some(Other { classes: sorted, by: "order", note, advice }), ..reading }
}

/// The classes of folders by their order, where nothing else tells them.
fn ordered(every: &[String], names: &[&str], classes: &Classes, by: Option<By>) -> Option<Reading> {
    if by == Some(By::Index) {
        return None;
    }
    let every: Vec<&str> = every.iter().map(String::as_str).collect();
    let known = if every.len() == classes.count() { &every[..] } else { names };
    let place = |order: &[&str]| -> Option<Vec<usize>> {
        names.iter().map(|name| order.iter().position(|known| known == name)).collect()
    };
    if known.len() != classes.count() {
        // Folders 0 to n - 1 of which some are not here.
        let is_wanted = by == Some(By::Name) && !classes.have_names();
        let sorted = text_order(names, classes.count()).filter(|_| is_wanted)?;
        return Some(Reading { classes: sorted, by: "order", other: None });
    }
    let sorted = place(known)?;
    let mut by_number = known.to_vec();
    by_number.sort_by_key(|name| name.parse::<u64>().ok());
    let numbered = place(&by_number).filter(|numbered| {
        by.is_none() && known.iter().all(|name| is_number(name)) && *numbered != sorted
    });
    let other = numbered.map(|classes| Other {
        classes,
        by: "number",
        note:
            "the folders' numbers are taken in the order of texts, as torchvision and Keras take \
               them; timm's order is that of the numbers: --labels FILE gives it"
                .to_owned(),
        advice: "--labels FILE with the folders in the order of their numbers",
    });
    Some(Reading { classes: sorted, by: "order", other })
}

/// The places of numbers among all of 0 to `count` - 1 if these are sorted as text: 0, 1, 10, 11,
/// 2. None where a word is no such number as it is usually written.
fn text_order(numbers: &[&str], count: usize) -> Option<Vec<usize>> {
    let mut all: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    all.sort();
    numbers.iter().map(|&number| all.binary_search_by(|known| (**known).cmp(number)).ok()).collect()
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>, InputError> {
    let mut found = Vec::new();
    inputs::walk(folder, &mut |image| found.push(image));
    found.into_iter().collect()
}

/// A folder of images named after their class, as in `n01440764_tench.jpg`.
fn flat(path: &Path, classes: &Classes) -> Result<Dataset, DatasetError> {
    let class = |image: PathBuf| {
        let file = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = file.split(['_', '.']).next().unwrap_or("");
        match classes.with_id(id) {
            Some(index) => Ok((image, index)),
            None => Err(DatasetError::Flat { path: path.to_owned(), file }),
        }
    };
    let images = walk(path)?.into_iter().map(class).collect::<Result<_, _>>()?;
    let rule = "by the ImageNet id that begins each file's name";
    Ok(Dataset { images, rule, by: "name", other: None, notes: Vec::new() })
}

fn read_list(
    list: &Path,
    root: &Path,
    classes: &Classes,
    by: Option<By>,
) -> Result<Dataset, DatasetError> {
    let line = |line, found, word: &str| DatasetError::Line {
        path: list.to_owned(),
        line,
        expected: classes.expected(word, by),
        found,
    };
    let json = |message, word: &str| DatasetError::Json {
        path: list.to_owned(),
        message,
        expected: classes.expected(word, by),
    };
    pipes::tell(list);
    let found = List::open(list, classes, &|path| root.join(path).is_file());
    let List { entries, notes } = found.map_err(|fault| match fault {
        ListFault::Text(TextError::Io(source)) => {
            DatasetError::Io { path: list.to_owned(), source }
        }
        ListFault::Text(source) => DatasetError::Text { path: list.to_owned(), source },
        ListFault::Line { line: number, found, word } => line(number, found, &word),
        ListFault::Json(message) => json(message, ""),
    })?;
    let unknown = |entry: &Entry, word: &str| match &entry.place {
        Place::Line(number) => {
            line(*number, format!("{}' with the class '{word}", entry.path.display()), word)
        }
        Place::Image(image) => json(format!("'{image}' has the class {word}"), word),
    };

    // What is called an index is one; the words are read together.
    let mut words = Vec::new();
    let mut of_words = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match &entry.class {
            Class::Word(word) => {
                words.push(&**word);
                of_words.push(at);
            }
            Class::Index(index) if *index < classes.count() => {}
            Class::Index(index) => return Err(unknown(entry, &index.to_string())),
        }
    }
    let reading = classes.read(&words, by).map_err(|unread| match unread {
        Unread::Unknown(word) => unknown(&entries[of_words[word]], words[word]),
        Unread::Mixed(number, name) => {
            let [number, name] = [number, name].map(|at| words[at].to_owned());
            DatasetError::Mixed { path: list.to_owned(), number, name }
        }
    })?;
    let by = if words.is_empty() { "index" } else { reading.by };
    let of_entries = |read: &[usize]| -> Vec<usize> {
        let mut read = read.iter().copied();
        let class = |entry: &Entry| match &entry.class {
            Class::Index(index) => Some(*index),
            Class::Word(_) => read.next(),
        };
        entries.iter().filter_map(class).collect()
    };
    let truths = of_entries(&reading.classes);
    let other = reading.other.map(|other| Other { classes: of_entries(&other.classes), ..other });
    let files = entries.iter().map(|entry| file(root, &entry.path));
    let images = files.zip(truths).collect();
    Ok(Dataset { images, rule: "by the list", by, other, notes })
}

/// The file that a list names: below `root`, else as seen from the current folder, else below
/// `root` with an ending that the list leaves out, as Kaggle's do.
fn file(root: &Path, path: &Path) -> PathBuf {
    let below = root.join(path);
    if below.exists() {
        return below;
    }
    if path.exists() {
        return path.to_owned();
    }
    if inputs::is_image_name(path) {
        return below;
    }
    let lower = inputs::EXTENSIONS.into_iter().map(str::to_owned);
    let upper = inputs::EXTENSIONS.into_iter().map(str::to_uppercase);
    let mut named = lower.chain(upper).map(|ending| {
        let mut path = below.clone().into_os_string();
        path.push(".");
        path.push(ending);
        PathBuf::from(path)
    });
    named.find(|path| path.exists()).unwrap_or(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Classes {
        let names = ["tench, Tinca tinca", "goldfish", "crane", "crane"].map(String::from);
        Classes::new(4, Some(&names), Some(&["n01", "n02", "n03", "n04"].map(String::from)))
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
        let dataset = Dataset::open(&folder.join(path), list.as_deref(), &classes(), None)
            .map_err(|error| error.to_string())?;
        let relative =
            |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        Ok(dataset.images.iter().map(|(path, index)| (relative(path), *index)).collect())
    }

    /// The classes of the images, what told them, and the classes of the other reading.
    type Told = (Vec<usize>, &'static str, Option<Vec<usize>>);

    fn told(dataset: &Path, classes: &Classes, by: Option<By>) -> Result<Told, String> {
        let found = Dataset::open(dataset, None, classes, by).map_err(|error| error.to_string())?;
        let truths = found.images.into_iter().map(|(_, class)| class).collect();
        Ok((truths, found.by, found.other.map(|other| other.classes)))
    }

    #[test]
    fn folders_name_their_classes() {
        let folder = dataset(&[("n03/b.jpg", ""), ("goldfish/a.jpg", ""), ("0/x/y.png", "")]);
        let found = read(folder.path(), "", None).unwrap();
        let expected = [("0/x/y.png", 0), ("goldfish/a.jpg", 1), ("n03/b.jpg", 2)];
        assert_eq!(found, expected.map(|(path, index)| (path.to_owned(), index)));
        // Neither empty folders nor what archivers and file servers leave is a class.
        for file in
            ["__MACOSX/n03/._b.jpg", "@eaDir/t.jpg", ".ipynb_checkpoints/a.jpg", "x/.DS_Store"]
        {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(read(folder.path(), "", None).unwrap(), found);
    }

    #[test]
    fn else_their_order_counts_if_there_is_one_for_each_class() {
        let folder = dataset(&[("w/1.jpg", ""), ("x/1.jpg", ""), ("y/1.jpg", ""), ("z/1.jpg", "")]);
        let indices = || {
            let found = read(folder.path(), "", None).unwrap();
            found.iter().map(|(_, index)| *index).collect::<Vec<_>>()
        };
        assert_eq!(indices(), [0, 1, 2, 3]);
        fs::remove_file(folder.path().join("y/1.jpg")).unwrap();
        assert_eq!(indices(), [0, 1, 3], "an empty folder has its place");
        fs::remove_dir_all(folder.path().join("y")).unwrap();
        let error = read(folder.path(), "", None).unwrap_err();
        assert!(error.contains("'w' names no class") && error.contains("found 3"), "{error}");
    }

    #[test]
    fn folders_of_numbers_are_names_where_there_are_names_and_else_indices() {
        let folder = dataset(&[("2/a.jpg", ""), ("2/b.jpg", ""), ("10/a.jpg", "")]);
        let at = folder.path();
        let names: Vec<String> = (0..12).rev().map(|name| name.to_string()).collect();
        let named = Classes::new(12, Some(&names), None);
        let found = told(at, &named, None).unwrap();
        assert_eq!(found, (vec![1, 9, 9], "name", Some(vec![10, 2, 2])));
        let found = told(at, &named, Some(By::Index)).unwrap();
        assert_eq!(found, (vec![10, 2, 2], "index", None));

        // Without names: indices, and beside them the order of ImageFolder, 0 1 10 11 2.
        let unnamed = Classes::new(12, None, None);
        let found = told(at, &unnamed, None).unwrap();
        assert_eq!(found, (vec![10, 2, 2], "index", Some(vec![2, 4, 4])));
        let found = told(at, &unnamed, Some(By::Name)).unwrap();
        assert_eq!(found, (vec![2, 4, 4], "order", None));
        // Not where there are names, and folders that are none of them.
        let other = Classes::new(12, Some(&["x"; 12].map(String::from)), None);
        assert_eq!(told(at, &other, None).unwrap(), (vec![10, 2, 2], "index", None));
        let error = told(at, &other, Some(By::Name)).unwrap_err();
        assert!(error.contains("'10' names no class: expected a label"), "{error}");
        // Up to ten classes the two are one.
        let few = dataset(&[("2/a.jpg", ""), ("0/a.jpg", "")]);
        let found = told(few.path(), &Classes::new(10, None, None), None).unwrap();
        assert_eq!(found, (vec![0, 2], "index", None));

        // Names of which one is no label: neither reading holds for all.
        let error =
            told(at, &Classes::new(3, Some(&["2", "a", "b"].map(String::from)), None), None);
        assert!(error.unwrap_err().contains("'10' names no class"));
        let names: Vec<String> = (1..13).map(|name| format!("{}", name * 2)).collect();
        let mixed = dataset(&[("2/a.jpg", ""), ("3/a.jpg", "")]);
        let error = told(mixed.path(), &Classes::new(12, Some(&names), None), None).unwrap_err();
        assert!(error.contains("'3' is no label") && error.contains("--classes-by"), "{error}");
    }

    #[test]
    fn folders_counted_from_one_are_taken_in_their_order() {
        let files: Vec<String> = (1..12).map(|folder| format!("{folder}/a.jpg")).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|file| (&**file, "")).collect();
        let folder = dataset(&files);
        let (truths, by, other) = told(folder.path(), &Classes::new(11, None, None), None).unwrap();
        // The folders come as 1, 10, 11, 2, and so on.
        assert_eq!((truths, by), ((0..11).collect(), "order"));
        assert_eq!(other.unwrap(), [0, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        let error =
            told(folder.path(), &Classes::new(11, None, None), Some(By::Index)).unwrap_err();
        assert!(error.contains("'11'") && error.contains("count from 0"), "{error}");
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
    fn a_list_may_leave_out_the_ending() {
        let folder =
            dataset(&[("l.csv", "id,breed\na,1\nb,goldfish\n"), ("a.JPEG", ""), ("b", "")]);
        let found = read(folder.path(), "l.csv", None).unwrap();
        assert_eq!(found, [("a.JPEG".to_owned(), 1), ("b".to_owned(), 1)]);
    }

    #[test]
    fn numbers_in_a_list_are_names_where_these_exist() {
        let names: Vec<String> = (0..12).map(|class| ((class + 1) % 12).to_string()).collect();
        let named = Classes::new(12, Some(&names), None);
        for (file, text) in [
            ("l.txt", "a.jpg 3\nb.jpg 0\n"),
            ("l.csv", "image,class\na.jpg,3\nb.jpg,0\n"),
            ("l.json", r#"{"a.jpg": 3, "b.jpg": "0"}"#),
        ] {
            let folder = dataset(&[(file, text)]);
            let list = folder.path().join(file);
            let found = told(&list, &named, None).unwrap();
            assert_eq!(found, (vec![2, 11], "name", Some(vec![3, 0])), "{text}");
            let found = told(&list, &named, Some(By::Index)).unwrap();
            assert_eq!(found, (vec![3, 0], "index", None), "{text}");
        }
        // What is called an index is one.
        let folder = dataset(&[("l.csv", "path,rank,index,label,probability\na.jpg,1,3,4,0.5\n")]);
        let found = told(&folder.path().join("l.csv"), &named, None).unwrap();
        assert_eq!(found, (vec![3], "index", None));
    }

    #[test]
    fn faults_say_where() {
        for (file, content, expected) in [
            ("l.txt", "a.jpg 1\nb.jpg 4\n", "l.txt:2: expected an image's path and a class index"),
            ("l.txt", "a.jpg 1\nb.jpg 4\n", "indices count from 0"),
            ("l.txt", "a.jpg\n", "l.txt:1:"),
            ("l.txt", " 3\n", "l.txt:1:"),
            ("l.txt", "# nothing\n", "no image found"),
            ("l.txt", "a\0b", "byte 1 is NUL"),
            ("l.csv", "file,label\n\na.jpg,1\nb.jpg,7\n", "l.csv:4: expected"),
            ("l.csv", "file,label\na.jpg,1\nb.jpg\n", "l.csv:3:"),
            ("l.csv", "path,rank,index,label,probability\na.jpg,1,4,x,0.5\n", "l.csv:2:"),
            ("l.json", "[1]", "l.json: item 0: expected a record, found 1"),
            ("l.json", r#"{"a.jpg": true}"#, "'a.jpg' has the class true"),
            ("l.json", r#"{"a.jpg": 4}"#, "'a.jpg' has the class 4"),
            ("l.jsonl", "{\"path\": \"a.jpg\", \"label\": 1}\n{\"path\"", "l.jsonl: line 2: EOF"),
            ("l.jsonl", "{\"path\": \"a.jpg\", \"top\": [{}]}", "the index of a class"),
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
