//! The `config.json` that timm writes beside a checkpoint.
//!
//! Its present form has `architecture`, `num_classes`, `label_names` and `label_descriptions`, and
//! the recipe under `pretrained_cfg`; the older form has everything at the top. Sizes for testing
//! (`test_input_size`, `test_crop_pct`) go before those for training, as in timm's validation.
//! Sources: timm/models/_hub.py, `_parse_model_cfg`; timm/data/config.py, `resolve_data_config`.

use crate::arch::Size;
use crate::image::{Framing, Interpolation, Rounding, ShortSide};
use crate::weights::{Labels, Metadata, RecipeOverrides};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The file's name.
pub(super) const NAME: &str = "config.json";
/// Larger than the labels of any model: a longer file is not read. A byte may take 32 bytes of memory.
const MAX_BYTES: u64 = 4 << 20;
/// timm's `crop_pct` where a configuration has none.
const DEFAULT_CROP_PCT: f64 = 0.875;

/// A `config.json`, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The file.
    pub path: PathBuf,
    /// All of it: an object.
    pub value: Value,
    /// timm's name of the architecture.
    pub architecture: Option<String>,
    /// What it says of the recipe.
    pub recipe: RecipeOverrides,
    /// Names of the classes.
    pub labels: Option<Labels>,
    /// Values that make no sense here, one sentence each.
    pub notes: Vec<String>,
}

impl Config {
    /// The file of this name in `folder`; none where there is none. The error says what is wrong
    /// with a file that cannot be used, and names it.
    pub(super) fn beside(folder: &Path) -> Result<Option<Config>, String> {
        let path = folder.join(NAME);
        Ok(object(&path)?.map(|value| Config::new(path, value)))
    }

    fn new(path: PathBuf, value: Value) -> Config {
        let none = Map::new();
        let top = value.as_object().unwrap_or(&none);
        let inner = top.get("pretrained_cfg").and_then(Value::as_object);
        let text = |object: &Map<String, Value>| {
            object.get("architecture").and_then(Value::as_str).map(str::to_owned)
        };
        let architecture = text(top).or_else(|| inner.and_then(text));
        let mut notes = Vec::new();
        let mut note = |what: String| notes.push(format!("{}: {what}", path.display()));
        let recipe = recipe(inner.unwrap_or(top), &mut note);
        let find = |key: &str| top.get(key).or_else(|| inner.and_then(|inner| inner.get(key)));
        let names = find("label_names").or_else(|| find("labels"));
        let labels = names.and_then(|names| labels(names, find("label_descriptions")));
        Config { architecture, recipe, labels, notes, path, value }
    }
}

/// The JSON object of a file; none where there is no file. The error says what is wrong with a file
/// that cannot be used, and names it.
pub(super) fn object(path: &Path) -> Result<Option<Value>, String> {
    let fault = |what: String| Err(format!("{}: {what}; it was left out", path.display()));
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return fault("it is no regular file".into()),
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            return fault(format!("expected at most {MAX_BYTES} bytes, found {}", metadata.len()));
        }
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return fault(error.to_string()),
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    if let Err(error) = read {
        return fault(error.to_string());
    }
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(Some(value)),
        Ok(_) => fault("expected a JSON object".into()),
        Err(error) => fault(format!("expected JSON: {error}")),
    }
}

/// What timm's data configuration says of the recipe. `note` takes a sentence for each value that
/// makes no sense here, which is left out.
pub(super) fn recipe(config: &Map<String, Value>, note: &mut dyn FnMut(String)) -> RecipeOverrides {
    // Nothing and null are the same.
    let get = |key: &str| config.get(key).filter(|value| !value.is_null());
    let mut refuse = |key: &str, expected: &str, found: &Value| {
        const SHOWN: usize = 60;
        let found: String = found.to_string().chars().take(SHOWN).collect();
        let found = found.escape_debug();
        note(format!("{key}: expected {expected}, found {found}; it was left out"));
    };

    let first = |keys: [&'static str; 2]| keys.into_iter().find_map(|key| Some((key, get(key)?)));
    let size = first(["test_input_size", "input_size"]).and_then(|(key, value)| {
        let side = |value: &Value| {
            let side = usize::try_from(value.as_u64()?).ok()?;
            (1..=Size::MAX_SIDE).contains(&side).then_some(side)
        };
        let size = match value.as_array().map(Vec::as_slice) {
            Some([_, h, w]) => side(h).zip(side(w)).map(|(h, w)| Size { h, w }),
            _ => None,
        };
        if size.is_none() {
            let expected = format!("[channels, height, width] of up to {}", Size::MAX_SIDE);
            refuse(key, &expected, value);
        }
        size
    });

    let crop_pct = first(["test_crop_pct", "crop_pct"]).and_then(|(key, value)| {
        let pct = value.as_f64().filter(|pct| *pct > 0.0 && *pct <= 1.0);
        if pct.is_none() {
            refuse(key, "more than 0 and at most 1", value);
        }
        pct
    });
    let squash = get("crop_mode").and_then(|value| match value.as_str() {
        Some("center") => Some(false),
        Some("squash") => Some(true),
        _ => {
            refuse("crop_mode", "center or squash", value);
            None
        }
    });
    // A configuration that has either has timm's defaults for the other.
    let framing = (crop_pct.is_some() || squash.is_some()).then(|| {
        let crop_pct = crop_pct.unwrap_or(DEFAULT_CROP_PCT);
        match squash {
            Some(true) => Framing::Squash { crop_pct },
            _ => Framing::ResizeThenCrop {
                short_side: ShortSide::CropPct(crop_pct),
                rounding: Rounding::Torchvision,
            },
        }
    });

    let interpolation = get("interpolation").and_then(|value| match value.as_str() {
        Some("bicubic") => Some(Interpolation::PillowBicubic),
        Some("bilinear") => Some(Interpolation::PillowBilinear),
        // What timm's own code has for no value, and a choice for training only.
        Some("" | "random") => None,
        _ => {
            refuse("interpolation", "bicubic or bilinear", value);
            None
        }
    });

    let mut rgb = |key: &str, expected: &str, is_usual: fn(f32) -> bool| {
        let value = get(key)?;
        let number = |value: &Value| value.as_f64().map(|x| x as f32).filter(|&x| is_usual(x));
        let list = value.as_array().filter(|list| list.len() <= 3);
        let numbers = list.and_then(|list| list.iter().map(number).collect::<Option<Vec<_>>>());
        let numbers = match numbers.as_deref() {
            Some(&[r, g, b]) => Some([r, g, b]),
            // As timm does for a value on its command line.
            Some(&[all]) => Some([all; 3]),
            _ => None,
        };
        if numbers.is_none() {
            refuse(key, expected, value);
        }
        numbers
    };
    let mean = rgb("mean", "three finite numbers", f32::is_finite);
    let std = rgb("std", "three positive numbers", |x| x.is_finite() && x > 0.0);
    RecipeOverrides { size, framing, interpolation, mean, std, ..RecipeOverrides::default() }
}

/// The names of the classes: a list, or an object from `"0"` on. The built-in ones where they are
/// ImageNet's ids; where they are other ids of WordNet's, their descriptions.
pub(super) fn labels(names: &Value, descriptions: Option<&Value>) -> Option<Labels> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names: Vec<String> = match names {
        Value::Array(list) => list.iter().map(text).collect::<Option<_>>()?,
        Value::Object(map) => {
            (0..map.len()).map(|class| text(map.get(&class.to_string())?)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    if !(1..=Metadata::MAX_CLASSES).contains(&names.len()) {
        return None;
    }
    let is_id = |name: &String| {
        name.strip_prefix('n')
            .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    if !names.iter().all(is_id) {
        return Some(Labels::Names(names));
    }
    // ImageNet-1k's classes have their ids in ascending order.
    let (first, last) = ("n01440764", "n15075141");
    if names.len() == 1000 && names[0] == first && names[999] == last && names.is_sorted() {
        return Some(Labels::Imagenet1k);
    }
    let described: Option<Vec<String>> =
        names.iter().map(|name| text(descriptions?.get(name)?)).collect();
    Some(Labels::Names(described.unwrap_or(names)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> Config {
        Config::new("x/config.json".into(), value)
    }

    #[test]
    fn both_forms_say_the_same() {
        let recipe = json!({
            "input_size": [3, 224, 192], "interpolation": "bilinear", "crop_pct": 0.95,
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.25, 0.125], "first_conv": "conv_stem",
        });
        let mut flat = recipe.clone();
        flat["architecture"] = "tf_efficientnet_b0".into();
        flat["labels"] = json!(["ant", "bee"]);
        let new = json!({
            "architecture": "tf_efficientnet_b0", "num_classes": 2, "pretrained_cfg": recipe,
            "label_names": {"1": "bee", "0": "ant"},
        });
        for value in [flat, new] {
            let found = config(value);
            assert_eq!(found.architecture.as_deref(), Some("tf_efficientnet_b0"));
            let names = ["ant", "bee"].map(str::to_owned).to_vec();
            assert_eq!(found.labels, Some(Labels::Names(names)));
            let expected = RecipeOverrides {
                size: Some(Size { h: 224, w: 192 }),
                framing: Some(Framing::ResizeThenCrop {
                    short_side: ShortSide::CropPct(0.95),
                    rounding: Rounding::Torchvision,
                }),
                interpolation: Some(Interpolation::PillowBilinear),
                mean: Some([0.5; 3]),
                std: Some([0.5, 0.25, 0.125]),
                ..RecipeOverrides::default()
            };
            assert_eq!((found.recipe, found.notes), (expected, vec![]));
        }
    }

    #[test]
    fn sizes_for_testing_go_first_and_squash_is_known() {
        let found = config(json!({"pretrained_cfg": {
            "input_size": [3, 240, 240], "test_input_size": [3, 288, 288],
            "crop_pct": 0.9, "test_crop_pct": 1.0, "crop_mode": "squash", "mean": null,
        }}));
        assert_eq!(found.recipe.size, Some(Size::square(288)));
        assert_eq!(found.recipe.framing, Some(Framing::Squash { crop_pct: 1.0 }));
        assert_eq!((found.recipe.mean, found.architecture, found.labels), (None, None, None));
    }

    #[test]
    fn values_that_make_no_sense_are_left_out_and_named() {
        let found = config(json!({
            "input_size": [3, 0, 240], "crop_pct": 1.5, "crop_mode": "border",
            "interpolation": "lanczos", "mean": [0.5, "x", 0.5], "std": [1.0, 0.0, 1.0],
            "label_names": [1, 2],
        }));
        assert_eq!((found.recipe, found.labels), (RecipeOverrides::default(), None));
        let starts = ["input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std"];
        assert_eq!(found.notes.len(), starts.len());
        for (note, start) in found.notes.iter().zip(starts) {
            assert!(note.starts_with(&format!("x/config.json: {start}: expected ")), "{note}");
        }
        let huge = config(json!({ "crop_pct": "\u{1b}[2J".repeat(10_000) }));
        assert!(huge.notes[0].len() < 300 && !huge.notes[0].contains('\u{1b}'), "{huge:?}");
    }

    #[test]
    fn ids_become_names_where_they_are_known() {
        let ids = json!(["n01440764", "n02084071"]);
        let names = |names: [&str; 2]| Some(Labels::Names(names.map(str::to_owned).to_vec()));
        let described = json!({"n01440764": "tench", "n02084071": "dog"});
        assert_eq!(labels(&ids, Some(&described)), names(["tench", "dog"]));
        let partly = json!({"n01440764": "tench"});
        assert_eq!(labels(&ids, Some(&partly)), names(["n01440764", "n02084071"]));
        assert_eq!(labels(&json!({"0": "a", "2": "b"}), None), None);
        assert_eq!(labels(&json!([]), None), None);
        let mut imagenet: Vec<String> =
            (0..1000).map(|i| format!("n{:08}", 1_440_764 + i)).collect();
        imagenet[999] = "n15075141".into();
        assert_eq!(labels(&json!(imagenet), None), Some(Labels::Imagenet1k));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Config::beside(folder.path()), Ok(None));
        assert_eq!(Config::beside(&folder.path().join("absent")), Ok(None));
        let path = folder.path().join(NAME);
        let deep = "[".repeat(100_000);
        for (bytes, expected) in [
            (&b"{\"architecture\": "[..], "expected JSON"),
            (b"[1]", "expected a JSON object"),
            (b"\xff\xfe", "expected JSON"),
            (b"", "expected JSON"),
            (deep.as_bytes(), "expected JSON"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = Config::beside(folder.path()).unwrap_err();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert!(error.contains(expected) && error.ends_with("left out"), "{error}");
        }
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(Config::beside(folder.path()).unwrap_err().contains("at most"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Config::beside(folder.path()).unwrap_err().contains("no regular file"));
    }
}
