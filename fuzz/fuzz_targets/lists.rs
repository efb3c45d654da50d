//! Any bytes as a list of images and as a file of labels, by the readers of the command line.
//!
//! The first byte gives the file's ending, by which JSON is told.

#![no_main]

// The readers are of the program, not of its library: `cli` is a link to its sources.
#[allow(dead_code)]
mod cli {
    pub mod classes;
    pub mod list;
    pub mod paths;
}

use cli::classes::Classes;
use cli::list::{Class, List};
use effnet::labels::LabelFile;
use effnet::weights::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((form, text)) = data.split_first() else { return };
    let ending = ["txt", "csv", "json", "jsonl"][usize::from(form % 4)];
    let name = format!("effnet-fuzz-{}.{ending}", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).expect("a temporary file");

    let names = ["tench, Tinca tinca", "goldfish", "10", "jay; blue"].map(String::from);
    let ids = ["n01440764", "n01443537", "n01484850", "n01580077"].map(String::from);
    let classes = Classes::new(4, Some(&names), Some(&ids));
    if let Ok(list) = List::open(&file, &classes, &|path| path.as_os_str().len() % 2 == 0) {
        let words = list.entries.iter().filter_map(|entry| match &entry.class {
            Class::Word(word) => Some(word),
            Class::Index(_) => None,
        });
        let words: Vec<&String> = words.collect();
        if let Ok(reading) = classes.read(&words, None) {
            assert_eq!(reading.classes.len(), words.len());
            assert!(reading.classes.iter().all(|&class| class < 4));
        }
    }
    if let Ok(labels) = LabelFile::open(&file) {
        assert!((1..=Metadata::MAX_CLASSES).contains(&labels.names.len()));
        assert!(labels.ids.is_none_or(|ids| ids.len() == labels.names.len()));
    }
    std::fs::remove_file(&file).expect("the temporary file");
});
