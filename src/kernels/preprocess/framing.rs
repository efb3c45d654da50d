//! Which part of a frame is resized, to what size, and where the crop lies in the result: for each
//! axis by itself. The same whole numbers as in `image`, which the tests hold it to.

use crate::arch::Size;
use crate::image::{Framing, Recipe, Rounding, ShortSide};

/// The resize and crop along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// First sample of the frame that is resized.
    pub first: usize,
    /// Samples that are resized.
    pub source: usize,
    /// Samples that they become.
    pub resized: usize,
    /// Where the crop begins in those; negative where the crop overhangs them.
    pub offset: i64,
    /// Samples of the crop.
    pub crop: usize,
}

impl Axis {
    /// Which sample of the resized picture sample `i` of the crop is; none where it is black.
    pub fn resized_index(&self, i: usize) -> Option<usize> {
        let index = usize::try_from(self.offset + i as i64).ok()?;
        (i < self.crop && index < self.resized).then_some(index)
    }
}

/// Both axes.
pub struct Frame {
    pub rows: Axis,
    pub columns: Axis,
}

impl Frame {
    /// `image` has no zero side, and the recipe is valid.
    pub fn new(image: Size, recipe: &Recipe) -> Frame {
        let crop = recipe.size;
        match recipe.framing {
            Framing::ResizeThenCrop { short_side, rounding } => {
                let target = match short_side {
                    ShortSide::Margin(margin) => Size { h: crop.h + margin, w: crop.w + margin },
                    ShortSide::CropPct(pct) => enlarged(crop, pct),
                };
                Frame::centred(image, covering(image, target, rounding), crop, rounding)
            }
            Framing::Squash { crop_pct } => {
                Frame::centred(image, enlarged(crop, crop_pct), crop, Rounding::Torchvision)
            }
            Framing::CropThenResize { margin } => {
                let source = padded_centre(image, crop, margin);
                let axis = |image: usize, source: usize, crop| {
                    let first = (image - source).div_ceil(2);
                    Axis { first, source, resized: crop, offset: 0, crop }
                };
                let rows = axis(image.h, source.h, crop.h);
                Frame { rows, columns: axis(image.w, source.w, crop.w) }
            }
        }
    }

    /// The whole image resized, and its centre kept.
    fn centred(image: Size, resized: Size, crop: Size, rounding: Rounding) -> Frame {
        let axis = |source, resized, crop| {
            let offset = centre(resized, crop, rounding);
            Axis { first: 0, source, resized, offset, crop }
        };
        let rows = axis(image.h, resized.h, crop.h);
        Frame { rows, columns: axis(image.w, resized.w, crop.w) }
    }
}

/// timm's `floor(size / crop_pct)`.
fn enlarged(crop: Size, pct: f64) -> Size {
    let side = |side: usize| (side as f64 / pct).floor() as usize;
    Size { h: side(crop.h), w: side(crop.w) }
}

/// The size, of the image's aspect ratio, that just covers `target`. torchvision truncates the long
/// side of a square target; timm rounds both sides of any other, and PaddleClas of all, half to
/// even.
fn covering(image: Size, target: Size, rounding: Rounding) -> Size {
    if rounding == Rounding::Torchvision && target.h == target.w {
        let short = image.h.min(image.w);
        return Size { h: target.h * image.h / short, w: target.w * image.w / short };
    }
    let sides = [(image.h as f64, target.h as f64), (image.w as f64, target.w as f64)];
    let [h, w] = match rounding {
        Rounding::Torchvision => {
            let ratio = (sides[0].0 / sides[0].1).min(sides[1].0 / sides[1].1);
            sides.map(|(side, _)| side / ratio)
        }
        Rounding::Paddle => {
            let scale = (sides[0].1 / sides[0].0).max(sides[1].1 / sides[1].0);
            sides.map(|(side, _)| side * scale)
        }
    };
    Size { h: h.round_ties_even() as usize, w: w.round_ties_even() as usize }
}

/// Where the crop's first sample lies. torchvision halves the margin to even, and what is missing
/// is halved downwards; PaddleClas rounds down.
fn centre(resized: usize, crop: usize, rounding: Rounding) -> i64 {
    let margin = resized as i64 - crop as i64;
    match rounding {
        Rounding::Torchvision if margin < 0 => -(-margin / 2),
        Rounding::Torchvision => (margin as f64 / 2.0).round_ties_even() as i64,
        Rounding::Paddle => margin.div_euclid(2),
    }
}

/// Google's `int(size / (size + margin) * min(h, w))`, the product in f32; for a crop that is not
/// square, of the largest rectangle of the padded crop's aspect ratio that the image holds.
fn padded_centre(image: Size, crop: Size, margin: usize) -> Size {
    let side = |image: usize, other: usize, crop: usize, other_crop: usize| {
        let padded = (crop + margin) as f64;
        let fitted = other as f64 * padded / (other_crop + margin) as f64;
        let part = (crop as f64 / padded) as f32;
        ((part * fitted.min(image as f64) as f32) as usize).clamp(1, image)
    };
    Size { h: side(image.h, image.w, crop.h, crop.w), w: side(image.w, image.h, crop.w, crop.h) }
}
