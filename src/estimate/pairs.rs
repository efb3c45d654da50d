//! JSON objects without duplicate keys, and small files.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// The members of an object in their order. A key that comes twice is an error: which of the two
/// was meant, nobody can say.
pub(super) struct Pairs(pub Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(String, Value)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if pairs.iter().any(|(other, _)| *other == key) {
                        return Err(A::Error::custom(format_args!("key {key} comes twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Members)
    }
}

/// The text of a file of at most `most_bytes`, or why there is none.
pub(super) fn read_text(path: &Path, most_bytes: u64) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut some = file.take(most_bytes + 1);
    some.read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > most_bytes {
        return Err(format!("more than {most_bytes} bytes, expected a small JSON file"));
    }
    Ok(text)
}
