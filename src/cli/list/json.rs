//! Lists in JSON: an object from images to classes, or a record for each image.

use super::columns::Columns;
use super::{Class, Entry, List, ListFault, Place, check_lines};
use crate::cli::paths;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Longest JSON that is read as one value, of which a byte may take 32 bytes of memory.
const MAX_WHOLE_BYTES: usize = 64 << 20;

type Object = Map<String, Value>;

/// Reads an object of images, an array of records, or records line by line.
pub fn read(bytes: &[u8]) -> Result<List, ListFault> {
    let mut list = Reading::default();
    if bytes.len() > MAX_WHOLE_BYTES {
        let whole = format!("{} bytes, of which {MAX_WHOLE_BYTES} may be one value", bytes.len());
        if check_lines(bytes).is_err() {
            return Err(ListFault::Json(whole));
        }
        list.lines(bytes, whole)?;
        return Ok(list.into_list());
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                list.item(item, &format!("item {index}")).map_err(ListFault::Json)?;
            }
        }
        Ok(Value::Object(object)) if is_record(&object) => {
            list.record(&object, "the record").map_err(ListFault::Json)?;
        }
        Ok(Value::Object(object)) => {
            for (image, class) in &object {
                list.image(image, class).map_err(ListFault::Json)?;
            }
        }
        Ok(other) => return Err(ListFault::Json(format!("found {}", short(&other)))),
        Err(error) => list.lines(bytes, error.to_string())?,
    }
    Ok(list.into_list())
}

/// Whether an object is of one image, and not of images by their paths.
fn is_record(object: &Object) -> bool {
    is_classified(object) || fields(object).is_some_and(|(path, _)| path.is_string())
}

/// Whether it is a line of `effnet classify --json`.
fn is_classified(object: &Object) -> bool {
    object.get("path").is_some_and(Value::is_string)
        && object.get("top").is_some_and(Value::is_array)
}

/// The image and the class of a record.
fn fields(object: &Object) -> Option<(&Value, &Value)> {
    let keys: Vec<String> = object.keys().cloned().collect();
    let columns = Columns::under(&keys)?;
    Some((object.values().nth(columns.path)?, object.values().nth(columns.class)?))
}

/// A value, cut for a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[derive(Default)]
struct Reading {
    entries: Vec<Entry>,
    /// Images that `effnet classify` had no class for.
    failed: usize,
}

impl Reading {
    fn into_list(self) -> List {
        let Reading { entries, failed } = self;
        let left_out = (failed > 0).then(|| {
            let (plural, have) = if failed == 1 { ("", "has") } else { ("s", "have") };
            format!(
                "{failed} image{plural} of the list {have} an error instead of a class: left out"
            )
        });
        List { entries, notes: left_out.into_iter().collect() }
    }

    /// A record a line.
    fn lines(&mut self, bytes: &[u8], whole: String) -> Result<(), ListFault> {
        let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
        let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
        for (place, (number, line)) in lines.enumerate() {
            let item = match serde_json::from_slice::<Value>(line) {
                Ok(item) => item,
                // No line is JSON by itself: the fault is that of the whole.
                Err(_) if place == 0 => return Err(ListFault::Json(whole)),
                Err(error) => return Err(ListFault::Json(format!("line {number}: {error}"))),
            };
            self.item(&item, &format!("line {number}")).map_err(ListFault::Json)?;
        }
        Ok(())
    }

    /// A record, or an image and its class side by side.
    fn item(&mut self, item: &Value, place: &str) -> Result<(), String> {
        match item {
            Value::Object(object) => self.record(object, place),
            Value::Array(pair) => match &pair[..] {
                [Value::String(image), class] => self.image(image, class),
                _ => Err(format!("{place}: expected an image and a class, found {}", short(item))),
            },
            _ => Err(format!("{place}: expected a record, found {}", short(item))),
        }
    }

    fn record(&mut self, object: &Object, place: &str) -> Result<(), String> {
        if is_classified(object) {
            return self.classified(object, place);
        }
        match fields(object) {
            Some((Value::String(image), class)) => self.image(image, class),
            _ => Err(format!(
                "{place}: expected a record with a path and a label, found {}",
                short(&Value::Object(object.clone()))
            )),
        }
    }

    /// A line of `effnet classify --json`: its first class is the class.
    fn classified(&mut self, object: &Object, place: &str) -> Result<(), String> {
        let text = object["path"].as_str().unwrap_or_default();
        let path = match object.get("path_bytes") {
            None | Some(Value::Null) => PathBuf::from(text),
            Some(bytes) => bytes.as_str().and_then(paths::from_base64).ok_or_else(|| {
                format!("{place}: path_bytes is no path of this system in base64")
            })?,
        };
        let Some(best) = object["top"].get(0) else {
            self.failed += 1;
            return Ok(());
        };
        let index = best.get("index").and_then(Value::as_u64).and_then(|x| x.try_into().ok());
        let class = index.map(Class::Index).ok_or_else(|| {
            format!("{place}: expected the index of a class in top, found {}", short(best))
        })?;
        self.entries.push(Entry { path, class, place: Place::Image(text.to_owned()) });
        Ok(())
    }

    /// An image and its class, which may be a field of what is said of the image.
    fn image(&mut self, image: &str, class: &Value) -> Result<(), String> {
        let label = class.get("label").or_else(|| class.get("class")).unwrap_or(class);
        let word = match label {
            Value::String(word) => word.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            other => return Err(format!("'{image}' has the class {}", short(other))),
        };
        let (path, place) = (PathBuf::from(image), Place::Image(image.to_owned()));
        self.entries.push(Entry { path, class: Class::Word(word), place });
        Ok(())
    }
}
