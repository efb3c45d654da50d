//! Label files as trainers and hubs write them.

use super::{LabelsError, text};
use crate::weights::Metadata;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::Path;

/// Twice what the 21 843 classes of ImageNet-21k take with their descriptions. As JSON, a byte may
/// take 32 bytes of memory.
const MAX_BYTES: u64 = 4 << 20;

/// What a label file says of the classes, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFile {
    /// A name for each class.
    pub names: Vec<String>,
    /// An id for each class, as WordNet's `n01440764`, where the file has them beside the names.
    pub ids: Option<Vec<String>>,
}

/// Names of objects in which configurations keep their classes, the best first.
const KEYS: [&str; 6] =
    ["id2label", "label_names", "label2id", "class_to_idx", "class_names", "classes"];

impl LabelFile {
    /// Reads a label file of at most 4 MiB. It is text or JSON, in UTF-8, or in UTF-16 with a byte
    /// order mark.
    ///
    /// Text has one name a line, the first for class 0; blank lines at the end do not count. What
    /// every line begins with is cut off: its class's number (`0 tench`, `0: tench`, `0,tench`),
    /// counted from 0 in any order or from 1 in order, unless more than one name in a hundred would
    /// then be another's too; and after it a WordNet id (`n01440764 tench`), which becomes the
    /// class's id. A line of headings before numbered lines is left out. A Python dictionary,
    /// `{0: 'tench', ...}` with an entry a line, is read as well.
    ///
    /// JSON is a list of names; an object from numbers to names (`id2label`); from names to numbers
    /// (`class_to_idx`); from numbers to `[id, name]` (Keras' `imagenet_class_index.json`); or an
    /// object that has one of these as `id2label`, `label_names`, `label2id`, `class_to_idx`,
    /// `class_names` or `classes`, as a `config.json` does.
    pub fn open(path: &Path) -> Result<LabelFile, LabelsError> {
        let bytes = text::read(path, MAX_BYTES)
            .map_err(|source| LabelsError::Text { path: path.to_owned(), source })?;
        let found = match String::from_utf8(bytes) {
            Ok(text) => parse(&text, path.extension().is_some_and(|ending| ending == "json")),
            Err(_) => Err("not UTF-8".to_owned()),
        };
        let found = found.map_err(|fault| LabelsError::Content { path: path.to_owned(), fault })?;
        match found.names.len() {
            1..=Metadata::MAX_CLASSES => Ok(found),
            found => Err(LabelsError::Count { path: path.to_owned(), found }),
        }
    }
}

fn parse(text: &str, is_json: bool) -> Result<LabelFile, String> {
    if is_json || text.trim_start().starts_with(['{', '[']) {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => return json(&value),
            Err(error) => match dictionary(text) {
                Some(names) => return Ok(LabelFile { names, ids: None }),
                None if is_json => return Err(error.to_string()),
                // A name may begin with a bracket.
                None => {}
            },
        }
    }
    Ok(lines(text))
}

/// One name a line.
fn lines(text: &str) -> LabelFile {
    let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let is_heading = |line: &str| {
        line.contains([',', ';', '\t']) && !line.starts_with(|c: char| c.is_ascii_digit())
    };
    let headed = lines.split_first().filter(|(first, _)| is_heading(first));
    let names = numbered(&lines)
        .or_else(|| headed.and_then(|(_, rest)| numbered(rest)))
        .unwrap_or_else(|| lines.iter().map(|line| (*line).to_owned()).collect());
    let split: Option<Vec<(&str, &str)>> = names.iter().map(|line| after_id(line)).collect();
    match split.filter(|split| !split.is_empty()) {
        None => LabelFile { names, ids: None },
        Some(split) => {
            let (ids, names) =
                split.into_iter().map(|(id, name)| (id.to_owned(), name.to_owned())).unzip();
            LabelFile { names, ids: Some(ids) }
        }
    }
}

/// The names without their numbers, in the order of these; none unless every line has its own.
fn numbered(lines: &[&str]) -> Option<Vec<String>> {
    let split: Vec<(usize, String)> = lines
        .iter()
        .map(|line| {
            let digits = line.find(|c: char| !c.is_ascii_digit())?;
            let number = line[..digits].parse().ok()?;
            let (separator, name) = line.split_at(digits).1.split_at_checked(1)?;
            let name = name.trim_start();
            (":,; \t".contains(separator) && !name.is_empty()).then(|| (number, unquoted(name)))
        })
        .collect::<Option<_>>()?;
    let mut names: HashSet<&str> = HashSet::new();
    let doubles = split.iter().filter(|(_, name)| !names.insert(name)).count();
    if doubles * 100 > split.len() {
        return None;
    }
    if split.iter().zip(1..).all(|((number, _), place)| *number == place) {
        return Some(split.into_iter().map(|(_, name)| name).collect());
    }
    in_order(split).ok()
}

/// A name in double quotes, as spreadsheets write it, without them.
fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// The WordNet id that begins a line, and the rest.
fn after_id(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.split_at_checked(9)?;
    let is_id = id.starts_with('n') && id[1..].bytes().all(|byte| byte.is_ascii_digit());
    let name = rest.strip_prefix([' ', '\t', ',', ':', ';'])?.trim_start();
    (is_id && !name.is_empty()).then_some((id, name))
}

/// The names by number, where the numbers are 0 to n - 1, each once; else what is wrong.
fn in_order<T>(numbered: Vec<(usize, T)>) -> Result<Vec<T>, String> {
    let last = numbered.len().saturating_sub(1);
    let mut places: Vec<Option<T>> = numbered.iter().map(|_| None).collect();
    for (number, name) in numbered {
        let place = places
            .get_mut(number)
            .ok_or_else(|| format!("a class has the number {number}: expected 0 to {last}"))?;
        if place.replace(name).is_some() {
            return Err(format!("two classes have the number {number}: expected 0 to {last}"));
        }
    }
    // As many as there are places, in distinct ones.
    Ok(places.into_iter().flatten().collect())
}

/// A Python dictionary from numbers to names, an entry a line.
fn dictionary(text: &str) -> Option<Vec<String>> {
    let body = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let entry = |line: &str| {
        let (number, name) = line.trim().trim_end_matches(',').split_once(':')?;
        let name = name.trim();
        let quote = name.chars().next().filter(|c| ['\'', '"'].contains(c))?;
        let name = name.strip_prefix(quote)?.strip_suffix(quote)?;
        Some((number.trim().parse().ok()?, name.replace("\\'", "'").replace("\\\"", "\"")))
    };
    let entries = body.lines().filter(|line| !line.trim().is_empty());
    in_order(entries.map(entry).collect::<Option<_>>()?).ok()
}

const EXPECTED: &str = "expected a list of names, or an object from numbers to names or from names \
                        to numbers";

fn json(value: &Value) -> Result<LabelFile, String> {
    if let Value::Object(object) = value
        && let Some(inner) =
            KEYS.iter().filter_map(|key| object.get(*key)).find(|x| x.is_array() || x.is_object())
    {
        return Ok(described(plain(inner)?, object));
    }
    plain(value)
}

/// A list or an object of classes.
fn plain(value: &Value) -> Result<LabelFile, String> {
    let named = |value: &Value| match value {
        Value::String(name) => Some((None, name.clone())),
        Value::Array(pair) => match &pair[..] {
            [Value::String(id), Value::String(name)] => Some((Some(id.clone()), name.clone())),
            _ => None,
        },
        _ => None,
    };
    let fault = |value: &Value| {
        let mut text: String = value.to_string().chars().take(40).collect();
        if text.len() < value.to_string().len() {
            text.push_str("...");
        }
        format!("{EXPECTED}, found {text} for a class")
    };
    let named = |value: &Value| named(value).ok_or_else(|| fault(value));
    let classes: Vec<(Option<String>, String)> = match value {
        Value::Array(names) => names.iter().map(named).collect::<Result<_, _>>()?,
        Value::Object(object) if object.values().all(Value::is_u64) => {
            let number = |value: &Value| value.as_u64().and_then(|x| x.try_into().ok());
            let numbered = object
                .iter()
                .map(|(name, value)| {
                    let number = number(value).ok_or_else(|| fault(value))?;
                    Ok((number, (None, name.clone())))
                })
                .collect::<Result<_, String>>()?;
            in_order(numbered)?
        }
        Value::Object(object) => {
            let numbered = object
                .iter()
                .map(|(key, value)| {
                    let number = key.parse().map_err(|_| format!("{EXPECTED}, found '{key}'"))?;
                    Ok((number, named(value)?))
                })
                .collect::<Result<_, String>>()?;
            in_order(numbered)?
        }
        other => return Err(fault(other)),
    };
    let (ids, names): (Vec<Option<String>>, Vec<String>) = classes.into_iter().unzip();
    let ids: Option<Vec<String>> = ids.into_iter().collect();
    Ok(LabelFile { names, ids })
}

/// timm keeps what people read apart from the names, which then are ids.
fn described(found: LabelFile, object: &Map<String, Value>) -> LabelFile {
    let descriptions = object.get("label_descriptions").and_then(Value::as_object);
    let described = descriptions.and_then(|descriptions| {
        let text = |name: &String| Some(descriptions.get(name)?.as_str()?.to_owned());
        found.names.iter().map(text).collect::<Option<Vec<String>>>()
    });
    match described {
        Some(names) => LabelFile { names, ids: Some(found.names) },
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text, false).unwrap().names
    }

    #[test]
    fn lines_lose_the_numbers_and_ids_that_all_of_them_have() {
        for text in [
            "cat\nblue tit\n\n",
            "0 cat\r\n1 blue tit\r\n",
            "0: cat\n1: blue tit",
            "0,cat\n1,\"blue tit\"\n",
            "index,name\n0,cat\n1,blue tit\n",
            "1\tblue tit\n0\tcat\n",
            "1 cat\n2 blue tit\n",
            "n02121808 cat\nn01592084 blue tit\n",
            "0 n02121808 cat\n1 n01592084 blue tit\n",
            "{0: 'cat',\n 1: \"blue tit\"}\n",
            "[\"cat\", \"blue tit\"]",
        ] {
            assert_eq!(names(text), ["cat", "blue tit"], "{text}");
        }
        let ids = parse("n02121808 cat\nn01592084 blue tit\n", false).unwrap().ids.unwrap();
        assert_eq!(ids, ["n02121808", "n01592084"]);
    }

    #[test]
    fn what_not_all_lines_have_is_part_of_the_names() {
        for (text, expected) in [
            ("0 degrees\n7 up\n", ["0 degrees", "7 up"]),
            ("0 degrees\n1 degrees\n", ["0 degrees", "1 degrees"]),
            ("0,5 l\n1,5 l\n", ["0,5 l", "1,5 l"]),
            ("0\n1\n", ["0", "1"]),
            ("n02121808\nn01592084\n", ["n02121808", "n01592084"]),
            ("n02121808 cat\nblue tit\n", ["n02121808 cat", "blue tit"]),
            ("[x]\n[y]\n", ["[x]", "[y]"]),
            ("{a: b}\n{c: d}\n", ["{a: b}", "{c: d}"]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
        assert_eq!(names("a\n\nb\n"), ["a", "", "b"]);
    }

    #[test]
    fn json_is_read_as_the_libraries_write_it() {
        for text in [
            r#"["cat", "blue tit"]"#,
            r#"{"0": "cat", "1": "blue tit"}"#,
            r#"{"blue tit": 1, "cat": 0}"#,
            r#"{"0": ["n02121808", "cat"], "1": ["n01592084", "blue tit"]}"#,
            r#"{"architectures": ["X"], "id2label": {"0": "cat", "1": "blue tit"}}"#,
            r#"{"num_classes": 2, "label_names": ["cat", "blue tit"]}"#,
            r#"{"label_names": ["x", "y"], "label_descriptions": {"x": "cat", "y": "blue tit"}}"#,
        ] {
            assert_eq!(names(text), ["cat", "blue tit"], "{text}");
        }
        assert_eq!(names(r#"{"10": 1, "2": 0}"#), ["2", "10"]);
        assert_eq!(names(r#"{"0": "10", "1": "2"}"#), ["10", "2"]);
        let keras = parse(r#"{"0": ["n02121808", "cat"]}"#, true).unwrap();
        assert_eq!(keras.ids.unwrap(), ["n02121808"]);
    }

    #[test]
    fn faults_say_what_is_wrong() {
        for (text, expected) in [
            (r#"{"cat": 0, "dog": 2}"#, "a class has the number 2: expected 0 to 1"),
            (r#"{"0": "cat", "00": "dog"}"#, "two classes have the number 0"),
            (r#"{"0": "cat", "x": "dog"}"#, "found 'x'"),
            (r#"["cat", 1]"#, "found 1 for a class"),
            (r#"{"id2label": 3, "x": null}"#, "found 'id2label'"),
            ("3", "found 3 for a class"),
            ("[\"cat\",", "EOF while parsing"),
        ] {
            let fault = parse(text, true).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep, true).unwrap_err().contains("recursion limit"));
    }
}
