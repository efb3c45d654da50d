//! Lists of lines: comma-separated values with their relatives, or a path, a separator and a class.

use super::columns::Columns;
use super::{Class, Classes, Entry, List, ListFault, Place, check_lines, path, shown};
use csv::{ByteRecord, ReaderBuilder};
use std::path::{Path, PathBuf};

/// What separates fields, in the order in which it is tried.
const SEPARATORS: [u8; 4] = [b'\t', b';', b',', b' '];

/// Most words of a class that stands behind a path and a space.
const MAX_WORDS: usize = 16;

/// A record that is not blank, and its line.
type Record = (u64, ByteRecord);

/// Reads a list of lines: by its headings, else as a table whose second column is a class in every
/// row, else line by line.
pub fn read(
    bytes: &[u8],
    classes: &Classes,
    is_file: &dyn Fn(&Path) -> bool,
) -> Result<List, ListFault> {
    check_lines(bytes)?;
    let (separators, rest, before) = separator(bytes);
    let separators = separators.as_ref().map_or(&SEPARATORS[..], |only| &only[..]);
    for &separator in separators {
        let first = records(rest, separator, true).next();
        let headings: Vec<String> = first.iter().flat_map(|(_, first)| first).map(lossy).collect();
        if let Some(columns) = Columns::under(&headings) {
            return headed(rest, separator, columns, before);
        }
        if let Some(path) = Columns::image(&headings)
            && are_classes(&headings, path, classes)
        {
            return one_hot(rest, separator, &headings, path, before);
        }
    }
    for &separator in separators {
        if let Some(list) = plain(rest, separator, classes, is_file, before) {
            return Ok(list);
        }
    }
    by_line(rest, classes, before)
}

/// What a first line `sep=;`, which is for spreadsheets, says; what follows; and the lines of it.
fn separator(bytes: &[u8]) -> (Option<[u8; 1]>, &[u8], u64) {
    let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |end| end + 1);
    match bytes[..end].trim_ascii_end() {
        [b's', b'e', b'p', b'=', separator] => (Some([*separator]), &bytes[end..], 1),
        _ => (None, bytes, 0),
    }
}

/// The records with something in them.
fn records(bytes: &[u8], separator: u8, comments: bool) -> impl Iterator<Item = Record> {
    let reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .comment(comments.then_some(b'#'))
        .from_reader(bytes);
    // Reading from memory does not fail, and neither does a record of bytes of any length.
    let records = reader.into_byte_records().map_while(Result::ok);
    let (mut counted, mut line) = (0, 1);
    let numbered = move |record: ByteRecord| {
        let start = record.position().map_or(0, |position| position.byte() as usize);
        let start = start + skipped(&bytes[start..], comments);
        line += bytes[counted..start].iter().filter(|&&byte| byte == b'\n').count() as u64;
        counted = start;
        (line, record)
    };
    records.filter(|record| record.iter().any(|field| !field.trim_ascii().is_empty())).map(numbered)
}

/// Bytes of the line ends and comments before a record, which its position does not leave out.
fn skipped(bytes: &[u8], comments: bool) -> usize {
    let mut skipped = 0;
    loop {
        match bytes.get(skipped) {
            Some(b'\r' | b'\n') => skipped += 1,
            Some(b'#') if comments => {
                let rest = &bytes[skipped..];
                let end = rest.iter().position(|&byte| byte == b'\n');
                skipped += end.unwrap_or(rest.len());
            }
            _ => return skipped,
        }
    }
}

fn lossy(field: &[u8]) -> String {
    String::from_utf8_lossy(field.trim_ascii()).into_owned()
}

/// A table under headings.
fn headed(bytes: &[u8], separator: u8, columns: Columns, before: u64) -> Result<List, ListFault> {
    let mut entries = Vec::new();
    // A path that `effnet classify` writes may begin with the sign of a comment.
    let comments = columns.rank.is_none();
    for (line, record) in records(bytes, separator, comments).skip(1) {
        let line = line + before;
        if columns.rank.is_some_and(|rank| record.get(rank) != Some(b"1")) {
            continue;
        }
        let text = || shown(record.iter().map(lossy).collect::<Vec<_>>().join(", "));
        let class = record.get(columns.class).map(lossy).unwrap_or_default();
        let fault = || ListFault::Line { line, found: text(), word: shown(class.clone()) };
        let file = record.get(columns.path).unwrap_or_default();
        let file = if columns.rank.is_some() { file } else { file.trim_ascii() };
        let path = path(file).ok_or_else(fault)?;
        let class = match columns.rank {
            Some(_) => Class::Index(class.parse().map_err(|_| fault())?),
            None if columns.is_first_word => {
                Class::Word(class.split_whitespace().next().unwrap_or("").to_owned())
            }
            None => Class::Word(class),
        };
        entries.push(Entry { path, class, place: Place::Line(line) });
    }
    Ok(List { entries, notes: Vec::new() })
}

/// Whether all headings but the path's are names of classes, of which there are several.
fn are_classes(headings: &[String], path: usize, classes: &Classes) -> bool {
    let mut others = headings.iter().enumerate().filter(|(at, _)| *at != path);
    headings.len() > 2 && others.all(|(_, heading)| classes.named(heading).is_some())
}

/// A table with a column for each class, 1 for the image's own and 0 for the others.
fn one_hot(
    bytes: &[u8],
    separator: u8,
    headings: &[String],
    path_at: usize,
    before: u64,
) -> Result<List, ListFault> {
    let mut entries = Vec::new();
    for (line, record) in records(bytes, separator, true).skip(1) {
        let place = Place::Line(line + before);
        let fault = || {
            let found = shown(record.iter().map(lossy).collect::<Vec<_>>().join(", "));
            ListFault::Line { line: line + before, found, word: String::new() }
        };
        let path = record.get(path_at).and_then(|file| path(file.trim_ascii()));
        let path = path.ok_or_else(fault)?;
        let class = the_one(&record, path_at).filter(|_| record.len() == headings.len());
        let class = Class::Word(headings[class.ok_or_else(fault)?].clone());
        entries.push(Entry { path, class, place });
    }
    Ok(List { entries, notes: Vec::new() })
}

/// The place of the one field that is 1 where all but the path's are 0 otherwise.
fn the_one(record: &ByteRecord, path_at: usize) -> Option<usize> {
    let mut one = None;
    for (at, field) in record.iter().enumerate().filter(|(at, _)| *at != path_at) {
        match lossy(field).parse() {
            Ok(0.0) => {}
            Ok(1.0) if one.is_none() => one = Some(at),
            _ => return None,
        }
    }
    one
}

/// A table without headings that are known: path, class, and what else there may be. A first row
/// that is unlike all others is headings. A table with a column for each class is none of these.
fn plain(
    bytes: &[u8],
    separator: u8,
    classes: &Classes,
    is_file: &dyn Fn(&Path) -> bool,
    before: u64,
) -> Option<List> {
    let mut list = List::default();
    let mut headings = None;
    let (mut first_has_one, mut others_have_one) = (false, true);
    for (place, (line, record)) in records(bytes, separator, true).enumerate() {
        let has_one = record.len() > 2 && the_one(&record, 0).is_some();
        match place {
            0 => first_has_one = has_one,
            _ => others_have_one &= has_one,
        }
        let (file, class) = (record.get(0)?.trim_ascii(), lossy(record.get(1)?));
        let file = path(file)?;
        if classes.knows(&class) {
            list.entries.push(Entry {
                path: file,
                class: Class::Word(class),
                place: Place::Line(line + before),
            });
        } else if place == 0 && separator != b' ' && is_heading(&record) && !is_file(&file) {
            headings = Some(shown(record.iter().map(lossy).collect::<Vec<_>>().join(", ")));
        } else {
            return None;
        }
    }
    let rows = list.entries.len() + usize::from(headings.is_some());
    if rows > 1 && others_have_one && !first_has_one {
        return None;
    }
    if let Some(headings) = headings {
        list.notes.push(format!("the list's first line is taken for headings: {headings}"));
        // One row alone is no table, whose first row could be unlike the others.
        return Some(list).filter(|list| !list.entries.is_empty());
    }
    Some(list)
}

/// Whether all fields could be headings: no file's name with an ending, no number.
fn is_heading(record: &ByteRecord) -> bool {
    record.iter().all(|field| {
        let field = field.trim_ascii();
        !field.iter().any(|byte| b"./\\".contains(byte)) && !field.iter().all(u8::is_ascii_digit)
    })
}

/// `PATH<tab>CLASS`, `PATH;CLASS`, `PATH,CLASS` or `PATH CLASS`, each line by itself; only the last
/// separator counts, so that paths may have spaces and commas in them.
fn by_line(bytes: &[u8], classes: &Classes, before: u64) -> Result<List, ListFault> {
    let mut list = List::default();
    for (line, text) in (before + 1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        let (path, class) = split(text, classes).ok_or_else(|| ListFault::Line {
            line,
            found: shown(lossy(text)),
            word: shown(lossy(
                text.rsplit(|byte| b"\t;, ".contains(byte)).next().unwrap_or_default(),
            )),
        })?;
        list.entries.push(Entry { path, class: Class::Word(class), place: Place::Line(line) });
    }
    Ok(list)
}

fn split(line: &[u8], classes: &Classes) -> Option<(PathBuf, String)> {
    let at = |place: usize| {
        let (file, class) = (&line[..place], str::from_utf8(&line[place + 1..]).ok()?.trim());
        let file = path(file.trim_ascii_end())?;
        classes.knows(class).then(|| (file, class.to_owned()))
    };
    let last = |separator: u8| line.iter().rposition(|&byte| byte == separator);
    let spaces = line.iter().enumerate().rev().filter(|(_, byte)| byte.is_ascii_whitespace());
    let mut spaces: Vec<usize> = spaces.map(|(place, _)| place).take(MAX_WORDS).collect();
    spaces.reverse();
    let separators = [b'\t', b';', b','].into_iter().filter_map(last);
    separators.chain(spaces).find_map(at)
}
