//! Settings that a family's weights were made for: padding, batch-norm eps and recipe, per variant.
//!
//! None of this is written in a checkpoint file; accuracy alone does not betray a wrong eps, and a
//! wrong recipe costs a few percent, so the values are tables from the publishers' own sources.

use super::Family;
use crate::arch::{Padding, Size, Variant};
use crate::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The conventions that a checkpoint's weights were trained with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Padding convention.
    pub padding: Padding,
    /// Added to batch-norm's variance.
    pub bn_eps: f64,
    /// Steps from a photograph to the input tensor.
    pub recipe: Recipe,
}

/// Mean and standard deviation of ImageNet's training images, R, G, B, of `x / 255`.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// `x / 127.5 - 1`.
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
/// `(x - 127) / 128`, Google's for the Lite family.
const LITE: ([f32; 3], [f32; 3]) = ([127.0 / 255.0; 3], [128.0 / 255.0; 3]);

/// PyTorch's default batch-norm eps.
const EPS_PYTORCH: f64 = 1e-5;
/// Google's batch-norm eps.
const EPS_TENSORFLOW: f64 = 1e-3;

/// The settings of a family's default checkpoint of a variant: the defaults of its publisher's own
/// code. The catalogue refines them for single checkpoints.
///
/// Defined for every pair, also where nothing was published: then the variant's native size is
/// used with the family's conventions.
pub fn settings(family: Family, variant: Variant) -> Settings {
    let native = variant.native();
    let frozen = Padding::SameFrozen(native);
    let resize_then_crop = |short_side, rounding| Framing::ResizeThenCrop { short_side, rounding };
    let recipe = |interpolation, framing, (mean, std), size| Recipe {
        interpolation,
        framing,
        mean,
        std,
        exif_orientation: false,
        size,
    };
    let bicubic = Interpolation::PillowBicubic;
    match family {
        Family::Timm => {
            let (side, crop_pct, norm) = timm(variant);
            let framing = if variant == Variant::B5 {
                Framing::Squash { crop_pct }
            } else {
                resize_then_crop(ShortSide::CropPct(crop_pct), Rounding::Torchvision)
            };
            Settings {
                padding: Padding::Symmetric,
                bn_eps: EPS_PYTORCH,
                recipe: recipe(bicubic, framing, norm, Size::square(side)),
            }
        }
        Family::TimmTf => {
            let (side, crop_pct, norm) = timm_tf(variant);
            let interpolation = match variant {
                Variant::Lite3 | Variant::Lite4 => Interpolation::PillowBilinear,
                _ => bicubic,
            };
            let framing = resize_then_crop(ShortSide::CropPct(crop_pct), Rounding::Torchvision);
            Settings {
                padding: Padding::SameDynamic,
                bn_eps: EPS_TENSORFLOW,
                recipe: recipe(interpolation, framing, norm, Size::square(side)),
            }
        }
        Family::Torchvision => {
            let (side, margin) = torchvision(variant);
            // B5 to B7 were converted from Google's weights; the eps came along, the padding not.
            let bn_eps = match variant {
                Variant::B5 | Variant::B6 | Variant::B7 => EPS_TENSORFLOW,
                _ => EPS_PYTORCH,
            };
            let framing = resize_then_crop(ShortSide::Margin(margin), Rounding::Torchvision);
            Settings {
                padding: Padding::Symmetric,
                bn_eps,
                recipe: recipe(bicubic, framing, IMAGENET, Size::square(side)),
            }
        }
        Family::Lukemelas => Settings {
            padding: frozen,
            bn_eps: EPS_TENSORFLOW,
            recipe: recipe(
                bicubic,
                resize_then_crop(ShortSide::Margin(0), Rounding::Torchvision),
                IMAGENET,
                native,
            ),
        },
        Family::LitePytorch => Settings {
            padding: frozen,
            bn_eps: EPS_TENSORFLOW,
            recipe: recipe(
                bicubic,
                resize_then_crop(ShortSide::Margin(32), Rounding::Torchvision),
                LITE,
                native,
            ),
        },
        Family::PaddleClas => Settings {
            padding: match variant {
                Variant::B0Small => Padding::Symmetric,
                _ => Padding::SameCropped(native),
            },
            bn_eps: EPS_TENSORFLOW,
            recipe: Recipe {
                // OpenCV's decoder turns the image.
                exif_orientation: true,
                ..recipe(
                    Interpolation::OpencvBilinear,
                    resize_then_crop(ShortSide::Margin(32), Rounding::Paddle),
                    IMAGENET,
                    native,
                )
            },
        },
        // Keras's pads, which its conversion wrote down as a list of blocks, are those of SAME at
        // the native size. The processor divides by the root of the deviation, twice.
        Family::Transformers => Settings {
            padding: frozen,
            bn_eps: EPS_TENSORFLOW,
            recipe: recipe(bicubic, Framing::Squash { crop_pct: 1.0 }, IMAGENET, native),
        },
        // Keras has Google's weights and no code of its own that prepares images.
        Family::Keras => Settings {
            padding: frozen,
            bn_eps: EPS_TENSORFLOW,
            recipe: recipe(
                Interpolation::TensorflowBicubic,
                Framing::CropThenResize { margin: 32 },
                IMAGENET,
                native,
            ),
        },
    }
}

type Norm = ([f32; 3], [f32; 3]);

/// Side, crop_pct and normalisation of timm's default tag of `efficientnet_*`, at its test size.
fn timm(variant: Variant) -> (usize, f64, Norm) {
    match variant {
        Variant::B0 | Variant::B0Small | Variant::Lite0 => (224, 0.875, IMAGENET),
        Variant::B1 => (288, 1.0, HALF), // ra4_e3600_r240_in1k
        Variant::B2 => (288, 1.0, IMAGENET),
        Variant::B3 => (320, 1.0, IMAGENET),
        Variant::B4 => (384, 1.0, IMAGENET),
        Variant::B5 => (448, 1.0, IMAGENET), // sw_in12k_ft_in1k, squashed
        // Untrained: the values of their configurations.
        Variant::B6 => (528, 0.942, IMAGENET),
        Variant::B7 => (600, 0.949, IMAGENET),
        Variant::B8 => (672, 0.954, IMAGENET),
        Variant::Lite1 => (240, 0.882, IMAGENET),
        Variant::Lite2 => (260, 0.89, IMAGENET),
        Variant::Lite3 => (300, 0.904, IMAGENET),
        Variant::Lite4 => (380, 0.922, IMAGENET),
    }
}

/// Side, crop_pct and normalisation of timm's default tag of `tf_efficientnet_*`.
fn timm_tf(variant: Variant) -> (usize, f64, Norm) {
    match variant {
        Variant::B0 | Variant::B0Small => (224, 0.875, IMAGENET),
        Variant::B1 => (240, 0.882, IMAGENET),
        Variant::B2 => (260, 0.89, IMAGENET),
        Variant::B3 => (300, 0.904, IMAGENET),
        Variant::B4 => (380, 0.922, IMAGENET),
        Variant::B5 => (456, 0.934, IMAGENET),
        Variant::B6 => (528, 0.942, IMAGENET),
        Variant::B7 => (600, 0.949, IMAGENET),
        Variant::B8 => (672, 0.954, HALF), // the default tag is AdvProp's
        Variant::Lite0 => (224, 0.875, HALF),
        Variant::Lite1 => (240, 0.882, HALF),
        Variant::Lite2 => (260, 0.89, HALF),
        Variant::Lite3 => (300, 0.904, HALF),
        Variant::Lite4 => (380, 0.92, HALF),
    }
}

/// Side of the crop and margin of the resized short side, of torchvision's `IMAGENET1K_V1`.
fn torchvision(variant: Variant) -> (usize, usize) {
    match variant {
        Variant::B0 => (224, 32),
        Variant::B1 => (240, 16),
        Variant::B2 => (288, 0),
        Variant::B3 => (300, 20),
        Variant::B4 => (380, 4),
        Variant::B5 => (456, 0),
        Variant::B6 => (528, 0),
        Variant::B7 => (600, 0),
        _ => (variant.native_size(), 0),
    }
}

/// The normalisation that Keras's layers do, from the tensors of its `normalization` layer, of
/// `x / 255`: `(x - mean) / sqrt(variance)`.
///
/// With ImageNet's weights the variance is ImageNet's deviation, and a layer without tensors
/// divides by its root once more (keras/src/applications/efficientnet.py).
pub(super) fn keras_normalization(mean: [f32; 3], variance: [f32; 3]) -> RecipeOverrides {
    let near = |a: f32, b: f32| (a - b).abs() < 1e-4;
    let (mean_of, deviation) = IMAGENET;
    let is_imagenet = (0..3).all(|c| near(mean[c], mean_of[c]) && near(variance[c], deviation[c]));
    let std = if is_imagenet { deviation } else { variance.map(f32::sqrt) };
    RecipeOverrides { mean: Some(mean), std: Some(std), ..RecipeOverrides::default() }
}

/// A padding convention as it is asked for; [`Padding`] with the native size left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaddingChoice {
    /// [`Padding::Symmetric`].
    Symmetric,
    /// [`Padding::SameDynamic`].
    Same,
    /// [`Padding::SameFrozen`] at the variant's native size.
    SameFrozen,
    /// [`Padding::SameCropped`] at the variant's native size.
    SameCropped,
}

impl PaddingChoice {
    /// Every choice.
    pub const ALL: [PaddingChoice; 4] = [
        PaddingChoice::Symmetric,
        PaddingChoice::Same,
        PaddingChoice::SameFrozen,
        PaddingChoice::SameCropped,
    ];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PaddingChoice::Symmetric => "symmetric",
            PaddingChoice::Same => "same",
            PaddingChoice::SameFrozen => "same-frozen",
            PaddingChoice::SameCropped => "same-cropped",
        }
    }

    /// The convention for a variant.
    pub fn padding(self, variant: Variant) -> Padding {
        match self {
            PaddingChoice::Symmetric => Padding::Symmetric,
            PaddingChoice::Same => Padding::SameDynamic,
            PaddingChoice::SameFrozen => Padding::SameFrozen(variant.native()),
            PaddingChoice::SameCropped => Padding::SameCropped(variant.native()),
        }
    }
}

impl fmt::Display for PaddingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no padding convention's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown padding '{0}': expected one of {names}",
        names = PaddingChoice::ALL.map(PaddingChoice::name).join(", "))]
pub struct UnknownPadding(pub String);

impl FromStr for PaddingChoice {
    type Err = UnknownPadding;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PaddingChoice::ALL
            .into_iter()
            .find(|choice| choice.name() == text.to_ascii_lowercase())
            .ok_or_else(|| UnknownPadding(text.to_owned()))
    }
}

/// Changes to a family's recipe: a field that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecipeOverrides {
    /// Size of the crop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The whole framing; applied before `crop_pct` and `margin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// Part of the resized short side (or, squashed, of both sides) that the crop keeps, in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_pct: Option<f64>,
    /// Pixels that the short side has more than the crop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<usize>,
    /// Resampling kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// Subtracted from `x / 255`, per channel R, G, B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// Divides the difference, per channel R, G, B.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<[f32; 3]>,
    /// Whether the EXIF orientation is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exif_orientation: Option<bool>,
}

/// A setting that makes no sense.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{setting}: expected {expected}, found {found}")]
pub struct SettingError {
    /// The setting, as in `crop_pct`.
    pub setting: &'static str,
    /// The right values.
    pub expected: String,
    /// The value given.
    pub found: String,
}

impl RecipeOverrides {
    /// `recipe` with these changes, checked.
    pub fn apply(&self, recipe: &Recipe) -> Result<Recipe, SettingError> {
        let fault = |setting, expected: &str, found: String| {
            Err(SettingError { setting, expected: expected.to_owned(), found })
        };
        let size = self.size.unwrap_or(recipe.size);
        if ![size.h, size.w].iter().all(|side| (1..=Size::MAX_SIDE).contains(side)) {
            let expected = format!("sides of 1 to {} pixels", Size::MAX_SIDE);
            return fault("size", &expected, size.to_string());
        }
        let mut framing = self.framing.unwrap_or(recipe.framing);
        let rounding = match framing {
            Framing::ResizeThenCrop { rounding, .. } => rounding,
            _ => Rounding::Torchvision,
        };
        match (self.crop_pct, self.margin) {
            (Some(pct), Some(margin)) => {
                let found = format!("crop_pct {pct} and margin {margin}");
                return fault("crop_pct", "either crop_pct or margin", found);
            }
            (Some(pct), None) => match &mut framing {
                Framing::Squash { crop_pct } => *crop_pct = pct,
                Framing::ResizeThenCrop { short_side, .. } => *short_side = ShortSide::CropPct(pct),
                Framing::CropThenResize { .. } => {
                    return fault("crop_pct", "a margin: this recipe crops first", pct.to_string());
                }
            },
            (None, Some(pixels)) => match &mut framing {
                Framing::CropThenResize { margin } => *margin = pixels,
                _ => {
                    let short_side = ShortSide::Margin(pixels);
                    framing = Framing::ResizeThenCrop { short_side, rounding };
                }
            },
            (None, None) => {}
        }
        match framing {
            Framing::Squash { crop_pct: pct }
            | Framing::ResizeThenCrop { short_side: ShortSide::CropPct(pct), .. }
                if !(pct > 0.0 && pct <= 1.0) =>
            {
                return fault("crop_pct", "more than 0 and at most 1", pct.to_string());
            }
            Framing::ResizeThenCrop { short_side: ShortSide::Margin(margin), .. }
            | Framing::CropThenResize { margin }
                if margin > Size::MAX_SIDE =>
            {
                let expected = format!("at most {} pixels", Size::MAX_SIDE);
                return fault("margin", &expected, margin.to_string());
            }
            _ => {}
        }
        let mean = self.mean.unwrap_or(recipe.mean);
        if !mean.iter().all(|x| x.is_finite()) {
            return fault("mean", "three finite numbers", format!("{mean:?}"));
        }
        let std = self.std.unwrap_or(recipe.std);
        if !std.iter().all(|x| x.is_finite() && *x > 0.0) {
            return fault("std", "three positive numbers", format!("{std:?}"));
        }
        Ok(Recipe {
            interpolation: self.interpolation.unwrap_or(recipe.interpolation),
            framing,
            mean,
            std,
            exif_orientation: self.exif_orientation.unwrap_or(recipe.exif_orientation),
            size,
        })
    }

    /// These changes, with `other`'s for the fields that have none here.
    pub fn or(&self, other: &RecipeOverrides) -> RecipeOverrides {
        // A margin given here must not meet a crop_pct from there, nor the other way round.
        let own_crop = self.crop_pct.is_some() || self.margin.is_some();
        RecipeOverrides {
            size: self.size.or(other.size),
            framing: self.framing.or(other.framing),
            crop_pct: if own_crop { self.crop_pct } else { other.crop_pct },
            margin: if own_crop { self.margin } else { other.margin },
            interpolation: self.interpolation.or(other.interpolation),
            mean: self.mean.or(other.mean),
            std: self.std.or(other.std),
            exif_orientation: self.exif_orientation.or(other.exif_orientation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_publishers() {
        #[rustfmt::skip]
        let table = [
            (Family::Timm,        Variant::B0,      "symmetric",              1e-5, 224, 0.485),
            (Family::Timm,        Variant::B1,      "symmetric",              1e-5, 288, 0.5),
            (Family::TimmTf,      Variant::B1,      "SAME",                   1e-3, 240, 0.485),
            (Family::TimmTf,      Variant::B8,      "SAME",                   1e-3, 672, 0.5),
            (Family::TimmTf,      Variant::Lite4,   "SAME",                   1e-3, 380, 0.5),
            (Family::Torchvision, Variant::B4,      "symmetric",              1e-5, 380, 0.485),
            (Family::Torchvision, Variant::B5,      "symmetric",              1e-3, 456, 0.485),
            (Family::Lukemelas,   Variant::B3,      "SAME frozen at 300x300", 1e-3, 300, 0.485),
            (Family::LitePytorch, Variant::Lite3,   "SAME frozen at 280x280", 1e-3, 280, 127.0 / 255.0),
            (Family::PaddleClas,  Variant::B2,      "SAME frozen at 260x260, cropped", 1e-3, 260, 0.485),
            (Family::PaddleClas,  Variant::B0Small, "symmetric",              1e-3, 224, 0.485),
        ];
        for (family, variant, padding, eps, side, mean) in table {
            let settings = settings(family, variant);
            let found = settings.padding.to_string();
            assert_eq!((found.as_str(), settings.bn_eps), (padding, eps), "{family} {variant}");
            assert_eq!(settings.recipe.size, Size::square(side), "{family} {variant}");
            assert_eq!(settings.recipe.mean[0], mean, "{family} {variant}");
            assert_eq!(settings.recipe.exif_orientation, family == Family::PaddleClas);
        }
    }

    #[test]
    fn every_pair_has_a_valid_recipe() {
        for family in Family::ALL {
            for variant in Variant::all() {
                let recipe = settings(family, variant).recipe;
                assert_eq!(RecipeOverrides::default().apply(&recipe).as_ref(), Ok(&recipe));
            }
        }
    }

    #[test]
    fn overrides_change_only_what_they_name() {
        let recipe = settings(Family::Timm, Variant::B5).recipe;
        let size = Size { h: 300, w: 200 };
        let overrides =
            RecipeOverrides { size: Some(size), crop_pct: Some(0.9), ..Default::default() };
        let changed = overrides.apply(&recipe).unwrap();
        assert_eq!(changed.framing, Framing::Squash { crop_pct: 0.9 });
        assert_eq!(changed, Recipe { framing: changed.framing, size, ..recipe });

        let margin = RecipeOverrides { margin: Some(16), ..Default::default() };
        let merged = margin.or(&overrides);
        assert_eq!((merged.margin, merged.crop_pct, merged.size), (Some(16), None, Some(size)));
        let paddle = settings(Family::PaddleClas, Variant::B0).recipe;
        assert_eq!(
            margin.apply(&paddle).unwrap().framing,
            Framing::ResizeThenCrop {
                short_side: ShortSide::Margin(16),
                rounding: Rounding::Paddle
            }
        );
    }

    #[test]
    fn senseless_overrides_are_refused() {
        let none = RecipeOverrides::default();
        #[rustfmt::skip]
        let table = [
            ("size", RecipeOverrides { size: Some(Size { h: 0, w: 224 }), ..none.clone() }),
            ("size", RecipeOverrides { size: Some(Size { h: 224, w: 5000 }), ..none.clone() }),
            ("crop_pct", RecipeOverrides { crop_pct: Some(0.0), ..none.clone() }),
            ("crop_pct", RecipeOverrides { crop_pct: Some(f64::NAN), ..none.clone() }),
            ("crop_pct", RecipeOverrides { crop_pct: Some(0.9), margin: Some(1), ..none.clone() }),
            ("margin", RecipeOverrides { margin: Some(usize::MAX), ..none.clone() }),
            ("mean", RecipeOverrides { mean: Some([0.0, f32::INFINITY, 0.0]), ..none.clone() }),
            ("std", RecipeOverrides { std: Some([1.0, 0.0, 1.0]), ..none.clone() }),
        ];
        let recipe = settings(Family::Timm, Variant::B0).recipe;
        for (setting, overrides) in table {
            let error = overrides.apply(&recipe).unwrap_err();
            assert_eq!(error.setting, setting, "{error}");
        }
    }
}
