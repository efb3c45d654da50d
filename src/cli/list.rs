//! Lists of images and their classes, as people, spreadsheets, trainers and `effnet classify` write
//! them.

mod columns;
mod json;
mod table;

use super::classes::Classes;
use super::paths;
use effnet::labels::text::{self, TextError};
use std::path::{Path, PathBuf};

/// More than a list of ten million images takes. Each of them takes some 200 bytes of memory.
const MAX_BYTES: u64 = 1 << 30;

/// Longest line: one with a column for each of 21 843 classes takes 43 KB.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Images and their classes, as a list names them.
#[derive(Debug, Default)]
pub struct List {
    /// In the order of the list.
    pub entries: Vec<Entry>,
    /// What was taken for granted, for people.
    pub notes: Vec<String>,
}

/// A line of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The image.
    pub path: PathBuf,
    /// Its class.
    pub class: Class,
    /// Where the list says so.
    pub place: Place,
}

/// A class as a list names it.
#[derive(Debug, PartialEq, Eq)]
pub enum Class {
    /// By a word: a name, an id or an index.
    Word(String),
    /// By its index, which is called that.
    Index(usize),
}

/// Where a list says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this line, from 1.
    Line(u64),
    /// In what JSON says of this image.
    Image(String),
}

/// Why a list is not understood.
#[derive(Debug)]
pub enum ListFault {
    /// It is no text.
    Text(TextError),
    /// A line is none of a list.
    Line {
        /// From 1.
        line: u64,
        /// The line, or what is wrong with it.
        found: String,
        /// The word in the place of a class, where there is one.
        word: String,
    },
    /// The JSON is none of a list.
    Json(String),
}

impl List {
    /// Reads a list. Paths come as they are written; `is_file` says whether one is there.
    pub fn open(
        list: &Path,
        classes: &Classes,
        is_file: &dyn Fn(&Path) -> bool,
    ) -> Result<List, ListFault> {
        let bytes = text::read(list, MAX_BYTES).map_err(ListFault::Text)?;
        let ending = list.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        let is_json = ["json", "jsonl", "ndjson"].contains(&&*ending.to_ascii_lowercase());
        let first = bytes.trim_ascii_start().first();
        if is_json || first.is_some_and(|byte| b"{[".contains(byte)) {
            match json::read(&bytes) {
                // A path may begin with a bracket.
                Err(_) if !is_json => {}
                found => return found,
            }
        }
        table::read(&bytes, classes, is_file)
    }
}

/// Refuses a line that is longer than any of a list, before its fields are counted.
fn check_lines(bytes: &[u8]) -> Result<(), ListFault> {
    let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    match { lines }.find(|(_, text)| text.len() > MAX_LINE_BYTES) {
        None => Ok(()),
        Some((line, text)) => Err(ListFault::Text(TextError::LongLine {
            line,
            bytes: text.len(),
            most: MAX_LINE_BYTES,
        })),
    }
}

/// A text of a list, cut for a message.
fn shown(text: String) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The path that these bytes of a list are.
fn path(bytes: &[u8]) -> Option<PathBuf> {
    paths::from_bytes(bytes).filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Classes {
        let names = ["tench, Tinca tinca", "goldfish", "great white shark", "jay; blue"];
        Classes::new(
            4,
            Some(&names.map(String::from)),
            Some(&["n01", "n02", "n03", "n04"].map(String::from)),
        )
    }

    fn open(
        name: &str,
        content: &[u8],
        is_file: &dyn Fn(&Path) -> bool,
    ) -> Result<List, ListFault> {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join(name);
        std::fs::write(&list, content).unwrap();
        List::open(&list, &classes(), is_file)
    }

    /// Each entry as `path=word`, or `path#index`.
    fn read(name: &str, content: impl AsRef<[u8]>) -> Vec<String> {
        let list = open(name, content.as_ref(), &|_| false).unwrap();
        let text = |entry: &Entry| match &entry.class {
            Class::Word(word) => format!("{}={word}", entry.path.display()),
            Class::Index(index) => format!("{}#{index}", entry.path.display()),
        };
        list.entries.iter().map(text).collect()
    }

    #[test]
    fn tables_are_read_as_tools_write_them() {
        for text in [
            "a.jpg 3\nb.jpg 0\n",
            "a.jpg 3\r\nb.jpg 0\r\n\r\n",
            "\u{feff}a.jpg 3\r\nb.jpg 0",
            "a.jpg\t3\nb.jpg\t0\n",
            "a.jpg,3\nb.jpg,0\n   \n",
            "a.jpg;3\nb.jpg;0\n",
            "\"a.jpg\",\"3\"\n\"b.jpg\",\"0\"\n",
            "\"a.jpg\" 3\n\"b.jpg\" 0\n",
            "a.jpg,3,val\nb.jpg,0,val\n",
            "a.jpg,3,1\nb.jpg,0,2\n",
            "filename,label\na.jpg,3\nb.jpg,0\n",
            "# a comment\nlabel;file\n3;a.jpg\n0;b.jpg\n",
            "split,image,class\nval,a.jpg,3\nval,b.jpg,0\n",
            "path target\na.jpg 3\nb.jpg 0\n",
            ",filename,label\n7,a.jpg,3\n8,b.jpg,0\n",
            "ImageId,PredictionString\na.jpg,3 85 1 499 272\nb.jpg,0 1 2 3 4 0 5 6 7 8\n",
            "sep=;\nimage;class\na.jpg;3\nb.jpg;0\n",
            "sep=,\r\na.jpg,3\r\nb.jpg,0\r\n",
            "picture,diagnosis\na.jpg,3\nb.jpg,0\n",
        ] {
            assert_eq!(read("l.txt", text), ["a.jpg=3", "b.jpg=0"], "{text:?}");
        }
        let utf16: Vec<u8> =
            "\u{feff}a.jpg\t3\r\nb.jpg\t0\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read("l.txt", utf16), ["a.jpg=3", "b.jpg=0"]);
    }

    #[test]
    fn paths_and_classes_may_have_separators_in_them() {
        for (text, expected) in [
            ("a b.jpg 3\nc.jpg 0\n", ["a b.jpg=3", "c.jpg=0"]),
            ("a,b.jpg,3\nc.jpg,0\n", ["a,b.jpg=3", "c.jpg=0"]),
            ("\"a,b.jpg\",3\n\"c\"\".jpg\",0\n", ["a,b.jpg=3", "c\".jpg=0"]),
            ("a.jpg;tench, Tinca tinca\nb.jpg;n02\n", ["a.jpg=tench, Tinca tinca", "b.jpg=n02"]),
            ("a.jpg great white shark\nb.jpg 1\n", ["a.jpg=great white shark", "b.jpg=1"]),
            ("a.jpg\tjay; blue\nb.jpg,1\n", ["a.jpg=jay; blue", "b.jpg=1"]),
            (
                "file,label\n\"a\nb.jpg\",1\nc.jpg,\"tench, Tinca tinca\"\n",
                ["a\nb.jpg=1", "c.jpg=tench, Tinca tinca"],
            ),
        ] {
            assert_eq!(read("l.txt", text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_classify_writes_is_read_with_the_first_class_as_the_class() {
        let csv = "path,rank,index,label,probability\n#1.jpg,1,3,0,0.5\n#1.jpg,2,0,1,0.2\n\
                   \" b,.jpg\",1,2,7,0.9\n";
        assert_eq!(read("own.csv", csv), ["#1.jpg#3", " b,.jpg#2"]);
        let lines = [
            r#"{"path":"a.jpg","top":[{"index":3,"label":"0"},{"index":1,"label":"2"}]}"#,
            r#"{"path":"b.jpg","top":[],"error":"corrupt"}"#,
            r#"{"path":"r\ufffd.jpg","path_bytes":"cukuanBn","top":[{"index":2}],"error":null}"#,
        ];
        for text in [lines.join("\n"), format!("[{}]", lines.join(","))] {
            let list = open("own.jsonl", text.as_bytes(), &|_| false).unwrap();
            assert!(list.notes[0].contains("1 image of the list has an error"), "{:?}", list.notes);
            assert_eq!(list.entries.len(), 2);
            assert_eq!(
                (&list.entries[0].class, &list.entries[1].class),
                (&Class::Index(3), &Class::Index(2))
            );
            #[cfg(unix)]
            assert_eq!(Some(&list.entries[1].path), paths::from_bytes(b"r\xe9.jpg").as_ref());
        }
        assert_eq!(read("own.json", lines[0]), ["a.jpg#3"]);
        assert_eq!(read("own", format!("{}\n\n", lines[0])), ["a.jpg#3"]);
    }

    #[test]
    fn a_line_longer_than_any_of_a_list_is_refused_and_faults_are_cut() {
        let row = |length: usize| format!("a.jpg,3\n{},1\n", "b".repeat(length - 2));
        assert_eq!(
            open("l.csv", row(MAX_LINE_BYTES).as_bytes(), &|_| false).unwrap().entries.len(),
            2
        );
        let found = open("l.csv", row(MAX_LINE_BYTES + 1).as_bytes(), &|_| false);
        let Err(ListFault::Text(TextError::LongLine { line, bytes, .. })) = found else {
            panic!("{found:?}")
        };
        assert_eq!((line, bytes), (2, MAX_LINE_BYTES + 1));
        let text = format!("a.jpg,3\nb.jpg,{}\n", "typo".repeat(1000));
        let found = open("l.csv", text.as_bytes(), &|_| false);
        let Err(ListFault::Line { line: 2, found, word }) = found else { panic!("{found:?}") };
        assert!([found, word].iter().all(|text| text.ends_with("...") && text.len() < 300));
    }

    #[test]
    fn json_is_read_in_every_usual_shape() {
        for text in [
            r#"{"a.jpg": 3, "b.jpg": "0"}"#,
            "\u{feff}{\"a.jpg\": {\"label\": 3}, \"b.jpg\": {\"class\": 0}}",
            r#"[["a.jpg", 3], ["b.jpg", 0]]"#,
            r#"[{"image": "a.jpg", "label": 3}, {"image": "b.jpg", "label": "0"}]"#,
            "{\"file_name\": \"a.jpg\", \"label\": 3}\n{\"file_name\": \"b.jpg\", \"label\": 0}\n",
        ] {
            assert_eq!(read("l.json", text), ["a.jpg=3", "b.jpg=0"], "{text}");
        }
        // A path may begin with a bracket.
        assert_eq!(read("l.txt", "[x].jpg 3\n{y}.jpg 0\n"), ["[x].jpg=3", "{y}.jpg=0"]);
    }

    #[test]
    fn headings_that_are_not_known_are_told_and_a_first_image_is_none() {
        let text = "picture,diagnosis\na,1\nb,2\n";
        let list = open("l.csv", text.as_bytes(), &|_| false).unwrap();
        assert_eq!((list.entries.len(), list.notes.len()), (2, 1));
        assert!(list.notes[0].contains("picture, diagnosis"), "{:?}", list.notes);
        for (text, is_file) in [
            ("a.jpg,typo\nb.jpg,2\n", false),
            ("a,typo\nb,2\n", true),
            ("a,typo\n", false),
            ("a,1\nb,typo\n", false),
            ("a.jp2,typo\nb,2\n", false),
            ("a,7\nb,2\n", false),
            ("a typo\nb 2\n", false),
        ] {
            let found = open("l.csv", text.as_bytes(), &|_| is_file);
            assert!(matches!(found, Err(ListFault::Line { .. })), "{text}: {found:?}");
        }
    }

    /// `tests/field/lists.py` has written them with pandas and Python's csv.
    #[test]
    fn lists_of_the_usual_libraries_are_read() {
        let names: Vec<String> = (0..12).map(|class| format!("class {class}")).collect();
        let classes = Classes::new(12, Some(&names), None);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lists");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
        assert!(files.len() > 10, "{files:?}");
        for file in files {
            let list = List::open(&file, &classes, &|_| false)
                .unwrap_or_else(|fault| panic!("{}: {fault:?}", file.display()));
            let paths: Vec<&Path> = list.entries.iter().map(|entry| &*entry.path).collect();
            let expected = ["a, b.png", "sub dir/c.png", "é.png"].map(Path::new);
            assert_eq!(paths, expected, "{}", file.display());
            let words: Vec<&str> = list
                .entries
                .iter()
                .map(|entry| match &entry.class {
                    Class::Word(word) => &**word,
                    Class::Index(_) => panic!("{}: {entry:?}", file.display()),
                })
                .collect();
            let found = classes.read(&words, None).unwrap().classes;
            assert_eq!(found, [10, 2, 0], "{}", file.display());
        }
    }

    #[test]
    fn a_column_for_each_class_has_one_for_the_images_own() {
        let rows = "a,0,1\nb,1.0,0\n";
        let text = format!("image_id,tench,great_white_shark\n{rows}");
        assert_eq!(read("l.csv", &text), ["a=great_white_shark", "b=tench"]);
        // Neither more than one, nor columns that are no classes.
        for (headings, rows) in [
            ("image_id,tench,goldfish", "a,1,1\n"),
            ("image_id,tench,goldfish", "a,0,0\n"),
            ("image_id,tench,goldfish", "a,1\n"),
            ("image_id,rust,scab", rows),
            ("image_id,tench,scab", rows),
        ] {
            let found = open("l.csv", format!("{headings}\n{rows}").as_bytes(), &|_| false);
            assert!(matches!(found, Err(ListFault::Line { .. })), "{headings}: {found:?}");
        }
    }

    #[test]
    fn lines_are_counted_through_blank_ones_comments_and_both_line_ends() {
        for text in [
            "file,label\r\n\r\n# c\r\na.jpg,1\r\n,2\r\n",
            "file,label\n\n# c\na.jpg,1\n,2\n",
            "sep=,\nfile,label\n# c\na.jpg,1\n,1\n",
            "a.jpg,1\n\n# c\nb.jpg,2\nc.jpg\n",
        ] {
            let found = open("l.csv", text.as_bytes(), &|_| false);
            assert!(matches!(found, Err(ListFault::Line { line: 5, .. })), "{text:?}: {found:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_are_bytes() {
        for text in [&b"r\xe9.jpg 1\n"[..], b"image,class\nr\xe9.jpg,1\n", b"r\xe9.jpg,1,val\n"] {
            let list = open("l.csv", text, &|_| false).unwrap();
            assert_eq!(list.entries[0].path, paths::from_bytes(b"r\xe9.jpg").unwrap());
        }
    }
}
