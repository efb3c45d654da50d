//! The `config.json` and `preprocessor_config.json` that Hugging Face transformers writes beside an
//! EfficientNet.
//!
//! `depthwise_padding` lists the blocks of stride 2 whose pads are symmetric; all others, and the
//! stem, have one row and column less before than after. That is TensorFlow's SAME for a side that
//! is odd before the listed blocks and even before the others, whatever side the image has:
//! [`Padding::SameFrozen`] at any such side.
//!
//! The processor resizes without regard to the aspect ratio, and with `include_top` divides by the
//! deviation twice: `((x * rescale_factor - offset) - mean) / std / std`.
//! Source: transformers 5.24, models/efficientnet/{modeling,image_processing}_efficientnet.py.

use super::config;
use crate::arch::{Network, Padding, Size, Variant};
use crate::image::{Framing, Interpolation};
use crate::weights::{Labels, RecipeOverrides, SettingError};
use serde_json::{Map, Value};

/// The processor's file.
pub(super) const PROCESSOR: &str = "preprocessor_config.json";

/// Whether a `config.json` is of transformers' EfficientNet.
pub(super) fn is_ours(config: &Value) -> bool {
    config.get("model_type").and_then(Value::as_str) == Some("efficientnet")
}

/// What a configuration says of the network, beside its shapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::weights) struct Conventions {
    /// Padding convention.
    pub padding: Option<Padding>,
    /// Added to batch-norm's variance.
    pub bn_eps: Option<f64>,
    /// What the network has and this runtime has not.
    pub refused: Option<SettingError>,
}

/// Padding and eps of `variant` under the configuration.
pub(super) fn conventions(config: &Value, variant: Variant) -> Conventions {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let fault = |setting, expected: &str, found: &str| {
        let found = found.chars().take(40).flat_map(char::escape_debug).collect();
        Some(SettingError { setting, expected: expected.to_owned(), found })
    };
    let refused = match (text("hidden_act"), text("pooling_type")) {
        (Some(other), _) if !matches!(other, "swish" | "silu") => {
            fault("hidden_act of config.json", "swish", other)
        }
        (_, Some(other)) if other != "mean" => fault("pooling_type of config.json", "mean", other),
        _ => None,
    };
    let side = |value: &Value| value.as_u64().and_then(|side| usize::try_from(side).ok());
    let padding = config.get("depthwise_padding").and_then(Value::as_array).map(|list| {
        let symmetric: Vec<usize> = list.iter().filter_map(side).collect();
        Padding::SameFrozen(Size::square(frozen_side(variant, &symmetric)))
    });
    let bn_eps = config.get("batch_norm_eps").and_then(Value::as_f64);
    Conventions { padding, bn_eps, refused }
}

/// The names of the classes; none where they are the numbers that stand for no names.
pub(super) fn labels(config: &Value) -> Option<Labels> {
    match config::labels(config.get("id2label")?, None)? {
        Labels::Names(names) => {
            let is_number = |(class, name): (usize, &String)| *name == format!("LABEL_{class}");
            let is_imagenet = names.len() == 1000
                && names[0].starts_with("tench")
                && names[999].starts_with("toilet tissue");
            match names.iter().enumerate().all(is_number) {
                true => None,
                false if is_imagenet => Some(Labels::Imagenet1k),
                false => Some(Labels::Names(names)),
            }
        }
        labels => Some(labels),
    }
}

/// A side whose SAME pads are symmetric before the blocks `symmetric` alone: the native one, if it
/// is such a side.
fn frozen_side(variant: Variant, symmetric: &[usize]) -> usize {
    let network = Network::new(variant, 1);
    let reductions = network.blocks.iter().filter(|block| block.stride == 2);
    // Before the stem the side is even.
    let odd: Vec<bool> = std::iter::once(false)
        .chain(reductions.map(|block| symmetric.contains(&block.index)))
        .collect();
    let fits = |side: usize| {
        let sides = std::iter::successors(Some(side), |side| Some(side.div_ceil(2)));
        sides.zip(&odd).all(|(side, &odd)| side % 2 == usize::from(odd))
    };
    if fits(variant.native_size()) {
        return variant.native_size();
    }
    // From the last map backwards; B0's is of 7 pixels.
    odd.iter().rev().fold(7, |side, &odd| 2 * side - usize::from(odd))
}

/// The recipe of a processor. `note` takes a sentence for each value that cannot be followed, which
/// is left out.
pub(super) fn recipe(
    processor: &Map<String, Value>,
    note: &mut dyn FnMut(String),
) -> RecipeOverrides {
    let get = |key: &str| processor.get(key).filter(|value| !value.is_null());
    let flag = |key: &str, usual: bool| get(key).and_then(Value::as_bool).unwrap_or(usual);
    let number = |key: &str, usual: f64| get(key).and_then(Value::as_f64).unwrap_or(usual);
    let mut refuse = |key: &str, expected: &str, found: Option<&Value>| {
        const SHOWN: usize = 60;
        let found: String = match found {
            Some(found) => found.to_string().chars().take(SHOWN).collect(),
            None => "nothing".to_owned(),
        };
        let found = found.escape_debug();
        note(format!("{key}: expected {expected}, found {found}; it was left out"));
    };

    let size = sides(get("size")).unwrap_or(Size::square(346));
    if get("size").is_some() && sides(get("size")).is_none() {
        refuse("size", "height and width", get("size"));
    }
    let crop = match flag("do_center_crop", false) {
        true => sides(get("crop_size")).unwrap_or(Size::square(289)),
        false => size,
    };
    let crop_pct = crop.h as f64 / size.h as f64;
    let enlarged = |side: usize| (side as f64 / crop_pct).floor() as usize;
    let mut overrides = RecipeOverrides {
        size: Some(crop),
        framing: Some(Framing::Squash { crop_pct }),
        ..RecipeOverrides::default()
    };
    if !flag("do_resize", true) {
        refuse("do_resize", "true", get("do_resize"));
    }
    if crop_pct > 1.0 || (enlarged(crop.h), enlarged(crop.w)) != (size.h, size.w) {
        refuse("crop_size", "the same part of height and width", get("crop_size"));
        overrides.size = Some(size);
        overrides.framing = Some(Framing::Squash { crop_pct: 1.0 });
    }
    overrides.interpolation = match get("resample").map(Value::as_u64) {
        None | Some(Some(3)) => Some(Interpolation::PillowBicubic),
        Some(Some(2)) => Some(Interpolation::PillowBilinear),
        _ => {
            refuse("resample", "2 (bilinear) or 3 (bicubic)", get("resample"));
            None
        }
    };

    // (x * factor - offset - mean) / std^n, as (x / 255 - mean) / std.
    let factor = if flag("do_rescale", true) {
        255.0 * number("rescale_factor", 1.0 / 255.0)
    } else {
        255.0
    };
    let offset = if flag("do_rescale", true) && flag("rescale_offset", false) { 1.0 } else { 0.0 };
    let normalised = flag("do_normalize", true);
    let mean = if normalised { rgb(get("image_mean"), [0.5; 3]) } else { Some([0.0; 3]) };
    let divisions = i32::from(normalised) + i32::from(flag("include_top", true));
    let std = rgb(get("image_std"), [0.5; 3]).filter(|std| std.iter().all(|&x| x > 0.0));
    match (mean, std) {
        (Some(mean), Some(std)) if factor > 0.0 && factor.is_finite() => {
            overrides.mean = Some(mean.map(|mean| ((mean + offset) / factor) as f32));
            overrides.std = Some(std.map(|std| (std.powi(divisions) / factor) as f32));
        }
        _ => refuse("image_mean and image_std", "three numbers, std above 0", get("image_std")),
    }
    overrides
}

/// `{"height": h, "width": w}`, or one number.
fn sides(value: Option<&Value>) -> Option<Size> {
    let side = |value: &Value| {
        let side = usize::try_from(value.as_u64()?).ok()?;
        (1..=Size::MAX_SIDE).contains(&side).then_some(side)
    };
    let value = value?;
    match side(value) {
        Some(all) => Some(Size::square(all)),
        None => Some(Size { h: side(value.get("height")?)?, w: side(value.get("width")?)? }),
    }
}

/// Three numbers, or one for all; `usual` where there is nothing.
fn rgb(value: Option<&Value>, usual: [f64; 3]) -> Option<[f64; 3]> {
    let Some(value) = value else { return Some(usual) };
    if let Some(all) = value.as_f64() {
        return Some([all; 3]);
    }
    let numbers: Option<Vec<f64>> = value.as_array()?.iter().take(4).map(Value::as_f64).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The lists of Google's repositories, which were written for Keras's pads at the native size.
    #[test]
    fn published_lists_are_the_native_size() {
        #[rustfmt::skip]
        let table: [(Variant, &[usize]); 8] = [
            (Variant::B0, &[]), (Variant::B1, &[16]), (Variant::B2, &[5, 8, 16]),
            (Variant::B3, &[5, 18]), (Variant::B4, &[6]), (Variant::B5, &[13, 27]),
            (Variant::B6, &[31]), (Variant::B7, &[18]),
        ];
        for (variant, list) in table {
            let found = conventions(&json!({ "depthwise_padding": list }), variant);
            assert_eq!(found.padding, Some(Padding::SameFrozen(variant.native())), "{variant}");
            assert_eq!((found.bn_eps, found.refused), (None, None));
        }
    }

    /// Every list of blocks: symmetric before those, shorter before all others.
    #[test]
    fn any_list_has_a_side_with_its_pads() {
        use crate::arch::NetworkGeometry;
        for variant in [Variant::B0, Variant::B4, Variant::B7] {
            let network = Network::new(variant, 1);
            let reductions: Vec<_> = network.blocks.iter().filter(|b| b.stride == 2).collect();
            for chosen in 0..1 << reductions.len() {
                let is = |n: usize| chosen >> n & 1 == 1;
                let mut list: Vec<usize> =
                    (0..reductions.len()).filter(|&n| is(n)).map(|n| reductions[n].index).collect();
                // A block of stride 1, and none at all, change nothing.
                list.extend([0, usize::MAX]);
                let config = json!({ "depthwise_padding": list, "batch_norm_eps": 0.01 });
                let found = conventions(&config, variant);
                assert_eq!(found.bn_eps, Some(0.01));
                // Whatever the image.
                let image = Size { h: 97, w: 130 };
                let sizes = NetworkGeometry::new(&network, image, found.padding.unwrap()).unwrap();
                assert_eq!(sizes.stem.pad_top, 0);
                let convs = sizes.blocks.iter().filter(|conv| conv.stride == 2);
                for (n, conv) in convs.enumerate() {
                    let before = if is(n) { conv.k / 2 } else { conv.k / 2 - 1 };
                    assert_eq!(
                        (conv.pad_top, conv.pad_left),
                        (before, before),
                        "{variant} {list:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_networks_are_refused() {
        for (config, says) in [
            (
                json!({"hidden_act": "relu"}),
                "hidden_act of config.json: expected swish, found relu",
            ),
            (
                json!({"pooling_type": "max"}),
                "pooling_type of config.json: expected mean, found max",
            ),
        ] {
            let refused = conventions(&config, Variant::B0).refused.unwrap();
            assert_eq!(refused.to_string(), says);
        }
        let silu = json!({"hidden_act": "silu", "pooling_type": "mean"});
        assert_eq!(conventions(&silu, Variant::B0), Conventions::default());
    }

    #[test]
    fn names_of_classes_are_names() {
        let of = |map: Value| labels(&json!({ "id2label": map }));
        assert_eq!(of(json!({"0": "LABEL_0", "1": "LABEL_1"})), None);
        let names = Labels::Names(vec!["cat".into(), "LABEL_1".into()]);
        assert_eq!(of(json!({"1": "LABEL_1", "0": "cat"})), Some(names));
        assert_eq!(of(json!({"1": "dog", "2": "cat"})), None);
        let mut imagenet: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        imagenet[0] = "tench, Tinca tinca".into();
        imagenet[999] = "toilet tissue, toilet paper, bathroom tissue".into();
        assert_eq!(of(json!(imagenet)), Some(Labels::Imagenet1k));
    }

    fn of(processor: Value) -> (RecipeOverrides, Vec<String>) {
        let mut notes = Vec::new();
        let recipe = recipe(processor.as_object().unwrap(), &mut |note| notes.push(note));
        (recipe, notes)
    }

    /// Google's processor: the roots of ImageNet's deviations, twice.
    #[test]
    fn the_published_processor_is_imagenets_normalisation() {
        let (recipe, notes) = of(json!({
            "size": {"height": 240, "width": 240}, "do_center_crop": false, "resample": 2,
            "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163],
            "include_top": true, "rescale_factor": 0.00392156862745098, "rescale_offset": false,
        }));
        assert_eq!(notes, [""; 0]);
        assert_eq!(recipe.size, Some(Size::square(240)));
        assert_eq!(recipe.framing, Some(Framing::Squash { crop_pct: 1.0 }));
        assert_eq!(recipe.interpolation, Some(Interpolation::PillowBilinear));
        let pairs = [(recipe.mean, [0.485, 0.456, 0.406]), (recipe.std, [0.229, 0.224, 0.225])];
        for (found, expected) in pairs {
            let far =
                found.unwrap().iter().zip(expected).any(|(a, b): (&f32, f32)| (a - b).abs() > 1e-6);
            assert!(!far, "{found:?}");
        }
    }

    /// transformers' formula on a value, against the recipe's.
    #[test]
    fn every_choice_of_normalisation_is_the_processors_formula() {
        for (rescale, offset, normalise, top) in
            (0..16).map(|n| (n & 1 == 1, n & 2 == 2, n & 4 == 4, n & 8 == 8))
        {
            let (found, _) = of(json!({
                "do_rescale": rescale, "rescale_factor": 1.0 / 127.5, "rescale_offset": offset,
                "do_normalize": normalise, "image_mean": 0.25, "image_std": [0.5, 0.5, 0.5],
                "include_top": top,
            }));
            let x = 200.0;
            let mut expected = x;
            if rescale {
                expected = expected / 127.5 - if offset { 1.0 } else { 0.0 };
            }
            if normalise {
                expected = (expected - 0.25) / 0.5;
            }
            if top {
                expected /= 0.5;
            }
            let (mean, std) = (found.mean.unwrap()[0], found.std.unwrap()[0]);
            let value = (x / 255.0 - f64::from(mean)) / f64::from(std);
            assert!((value - expected).abs() <= 1e-5 * expected.abs(), "{value} {expected}");
        }
    }

    #[test]
    fn crops_and_what_cannot_be_followed() {
        let cropped = json!({"size": {"height": 346, "width": 346}, "do_center_crop": true});
        let (recipe, notes) = of(cropped);
        assert_eq!((recipe.size, notes), (Some(Size::square(289)), vec![]));
        assert_eq!(recipe.framing, Some(Framing::Squash { crop_pct: 289.0 / 346.0 }));

        let (recipe, notes) = of(json!({
            "size": {"shortest_edge": 256}, "resample": 0, "image_std": [0.5, 0.0, 0.5],
            "do_center_crop": true, "crop_size": 400, "do_resize": false,
        }));
        let starts = ["size", "do_resize", "crop_size", "resample", "image_mean and image_std"];
        assert_eq!(notes.len(), starts.len(), "{notes:?}");
        assert!(notes.iter().zip(starts).all(|(note, start)| note.starts_with(start)), "{notes:?}");
        assert_eq!((recipe.interpolation, recipe.mean, recipe.std), (None, None, None));
        assert_eq!(recipe.framing, Some(Framing::Squash { crop_pct: 1.0 }));
    }
}
