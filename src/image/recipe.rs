//! A checkpoint family's way from a photograph to its input tensor.

use super::Normalisation;
use crate::arch::Size;
use serde::{Deserialize, Serialize};

/// Steps from an encoded image to a normalised NHWC tensor. A recipe is recorded in every packed
/// file, because the weights are only right for the recipe that they were trained or evaluated
/// with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The resampling kernel, and the library whose arithmetic is matched.
    pub interpolation: Interpolation,
    /// The part that is resized and the part that is cut away.
    pub framing: Framing,
    /// Subtracted from `x / 255`, per channel R, G, B.
    pub mean: [f32; 3],
    /// Divides the difference, per channel R, G, B.
    pub std: [f32; 3],
    /// Whether the EXIF orientation is applied (OpenCV does, Pillow and TensorFlow do not).
    pub exif_orientation: bool,
    /// Size of the tensor, that is, of the crop.
    pub size: Size,
}

/// A resampling kernel together with the library whose arithmetic is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Pillow's BICUBIC: antialiased (support scaled with the reduction), a = -0.5, 8-bit between
    /// the passes.
    PillowBicubic,
    /// Pillow's BILINEAR: antialiased.
    PillowBilinear,
    /// OpenCV's INTER_LINEAR on 8-bit images: two taps, no antialiasing, 11-bit weights.
    OpencvBilinear,
    /// TensorFlow 1's `resize_bicubic`: four taps, a = -0.75, no antialiasing, corners not
    /// half-pixel-centred, in f32.
    TensorflowBicubic,
}

/// The library that a family's images are read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Pillow, with `convert("RGB")`.
    Pillow,
    /// OpenCV, with `IMREAD_COLOR`.
    OpenCv,
    /// TensorFlow's `decode_image` to 8 bits.
    TensorFlow,
}

impl Interpolation {
    /// Whether resized pixels are whole levels, 0 to 255. Pillow and OpenCV compute with 8-bit
    /// pictures, and round: u8 holds what they give. TensorFlow's `resize_bicubic` gives f32,
    /// fractions and values beyond 0 and 255, which u8 does not hold.
    pub fn rounds_to_levels(self) -> bool {
        match self {
            Interpolation::PillowBicubic
            | Interpolation::PillowBilinear
            | Interpolation::OpencvBilinear => true,
            Interpolation::TensorflowBicubic => false,
        }
    }

    /// The library whose arithmetic is matched.
    pub fn library(self) -> Library {
        match self {
            Interpolation::PillowBicubic | Interpolation::PillowBilinear => Library::Pillow,
            Interpolation::OpencvBilinear => Library::OpenCv,
            Interpolation::TensorflowBicubic => Library::TensorFlow,
        }
    }
}

/// The part of an image that is resized and the part that is cut away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Resize the short side, then cut the centre.
    ResizeThenCrop {
        /// The short side after resizing.
        short_side: ShortSide,
        /// Rounding of fractional sizes and offsets to whole numbers.
        rounding: Rounding,
    },
    /// Resize both sides, ignoring the aspect ratio, to the size divided by `crop_pct`, then cut
    /// the centre (timm's `crop_mode: squash`).
    Squash {
        /// Part of the resized image that the crop keeps, in (0, 1].
        crop_pct: f64,
    },
    /// Cut a centred square of side `size / (size + margin) * min(h, w)`, then resize it (Google's
    /// own preprocessing).
    CropThenResize {
        /// Pixels of margin at the target's scale.
        margin: usize,
    },
}

/// The short side that an image is resized to before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShortSide {
    /// The crop's short side plus this many pixels.
    Margin(usize),
    /// `floor(crop / pct)` (timm's `crop_pct`), in (0, 1].
    CropPct(f64),
}

/// Whose rounding of resized sizes and crop offsets is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// torchvision and timm: the long side is truncated, the offset rounded half to even.
    Torchvision,
    /// PaddleClas: the sides are rounded half to even, the offset is rounded down.
    Paddle,
}

impl Recipe {
    /// The same recipe for another input size; margins and percentages are kept.
    pub fn with_size(&self, size: Size) -> Recipe {
        Recipe { size, ..self.clone() }
    }

    /// Whether the values are normalised whole levels, so that the same image in u8, normalised by
    /// the network, is the same input; see [`Interpolation::rounds_to_levels`].
    pub fn rounds_to_levels(&self) -> bool {
        self.interpolation.rounds_to_levels()
    }

    /// An error where the values are no whole levels.
    pub(crate) fn expect_levels(&self) -> Result<(), RecipeError> {
        match self.rounds_to_levels() {
            true => Ok(()),
            false => Err(RecipeError {
                field: "interpolation",
                found: format!("{:?}", self.interpolation),
                expected: "one that rounds to levels for images in u8, as Pillow's and OpenCV's; \
                           f32 holds what it gives"
                    .into(),
            }),
        }
    }

    /// The recipe's last step: from levels to values.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation { mean: self.mean, std: self.std }
    }
}

/// Why a recipe, read from a file's metadata perhaps, cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "invalid image recipe: {field} is {found}, expected {expected}; correct the weights' metadata or give the recipe explicitly"
)]
pub struct RecipeError {
    /// The offending field.
    pub field: &'static str,
    /// Value of the field.
    pub found: String,
    /// The valid values.
    pub expected: String,
}

impl Recipe {
    /// Checks every field: sizes and margins within `1..=`[`Size::MAX_SIDE`] (margins from 0),
    /// percentages in (0, 1] and not enlarging a side beyond 65535, mean and std finite, std
    /// positive. A valid recipe can be followed for any image.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let error =
            |field, found: String, expected: String| Err(RecipeError { field, found, expected });
        let max = Size::MAX_SIDE;
        let Size { h, w } = self.size;
        if !(1..=max).contains(&h) || !(1..=max).contains(&w) {
            return error("size", self.size.to_string(), format!("sides from 1 to {max}"));
        }
        if !self.mean.iter().all(|x| x.is_finite()) {
            return error("mean", format!("{:?}", self.mean), "finite numbers".into());
        }
        if !self.std.iter().all(|x| x.is_normal() && *x > 0.0) {
            return error("std", format!("{:?}", self.std), "finite numbers above 0".into());
        }
        match self.framing {
            Framing::ResizeThenCrop { short_side: ShortSide::Margin(margin), .. }
            | Framing::CropThenResize { margin } => {
                if margin > max {
                    return error("margin", margin.to_string(), format!("at most {max}"));
                }
            }
            Framing::ResizeThenCrop { short_side: ShortSide::CropPct(pct), .. }
            | Framing::Squash { crop_pct: pct } => {
                // Written so that a NaN fails too.
                let valid = pct > 0.0 && pct <= 1.0 && h.max(w) as f64 / pct <= 65_535.0;
                if !valid {
                    let least = h.max(w) as f64 / 65_535.0;
                    return error("crop_pct", pct.to_string(), format!("from {least:.4} to 1"));
                }
            }
        }
        Ok(())
    }
}
