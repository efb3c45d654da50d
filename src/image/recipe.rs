//! How a checkpoint family turns a photograph into its input tensor.

use crate::arch::Size;
use serde::{Deserialize, Serialize};

/// From an encoded image to a normalised NHWC tensor. Recorded in every packed file, because the
/// weights are only right for the recipe that they were trained or evaluated with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Which resampling kernel, and whose arithmetic.
    pub interpolation: Interpolation,
    /// What is resized and what is cut away.
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

/// What is resized and what is cut away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Resize the short side, then cut the centre.
    ResizeThenCrop {
        /// The short side after resizing.
        short_side: ShortSide,
        /// How fractional sizes and offsets become whole.
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
}
