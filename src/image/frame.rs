//! The part of a picture that is resized, its new size, and the place of the crop in the result.

use super::recipe::{Framing, Recipe, Rounding, ShortSide};
use crate::arch::Size;
use std::ops::Range;

/// The way from a picture to the crop, in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    /// First source row that is resized.
    pub top: usize,
    /// First source column that is resized.
    pub left: usize,
    /// Size of the resized part of the source.
    pub source: Size,
    /// Size of the source part after resizing.
    pub resized: Size,
    /// Start of the crop in the resized picture; negative where the crop overhangs it.
    pub offset: Offset,
}

/// A position in the resized picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Offset {
    pub y: isize,
    pub x: isize,
}

impl Frame {
    /// `image` has no zero side, and the recipe is valid.
    pub(crate) fn new(image: Size, recipe: &Recipe) -> Frame {
        let crop = recipe.size;
        match recipe.framing {
            Framing::ResizeThenCrop { short_side, rounding } => {
                let target = match short_side {
                    ShortSide::Margin(margin) => Size { h: crop.h + margin, w: crop.w + margin },
                    ShortSide::CropPct(pct) => enlarged(crop, pct),
                };
                let resized = cover(image, target, rounding);
                let offset = |resized, crop| match rounding {
                    Rounding::Torchvision => centre_half_even(resized, crop),
                    Rounding::Paddle => centre_floor(resized, crop),
                };
                let offset = Offset { y: offset(resized.h, crop.h), x: offset(resized.w, crop.w) };
                Frame { top: 0, left: 0, source: image, resized, offset }
            }
            Framing::Squash { crop_pct } => {
                let resized = enlarged(crop, crop_pct);
                let offset = Offset {
                    y: centre_half_even(resized.h, crop.h),
                    x: centre_half_even(resized.w, crop.w),
                };
                Frame { top: 0, left: 0, source: image, resized, offset }
            }
            Framing::CropThenResize { margin } => {
                let source = padded_centre(image, crop, margin);
                let (top, left) =
                    ((image.h - source.h).div_ceil(2), (image.w - source.w).div_ceil(2));
                Frame { top, left, source, resized: crop, offset: Offset { y: 0, x: 0 } }
            }
        }
    }
}

/// timm's `floor(size / crop_pct)`.
fn enlarged(crop: Size, pct: f64) -> Size {
    let side = |side: usize| (side as f64 / pct).floor() as usize;
    Size { h: side(crop.h), w: side(crop.w) }
}

/// The size, of the image's aspect ratio, that just covers `target`.
///
/// A square target is the short side of torchvision's `Resize(int)` or PaddleClas's `resize_short`.
/// Otherwise both sides must be covered: torchvision's rounding then follows timm's
/// `ResizeKeepRatio`, and PaddleClas's keeps its own, its scale being the larger of the two.
fn cover(image: Size, target: Size, rounding: Rounding) -> Size {
    let (h, w) = (image.h as f64, image.w as f64);
    let (target_h, target_w) = (target.h as f64, target.w as f64);
    match rounding {
        Rounding::Torchvision if target.h == target.w => {
            // int(short * long / short): truncated.
            let side = target.h;
            if image.w <= image.h {
                Size { h: side * image.h / image.w, w: side }
            } else {
                Size { h: side, w: side * image.w / image.h }
            }
        }
        Rounding::Torchvision => {
            let ratio = (h / target_h).min(w / target_w);
            let side = |x: f64| (x / ratio).round_ties_even() as usize;
            Size { h: side(h), w: side(w) }
        }
        Rounding::Paddle => {
            let percent = (target_h / h).max(target_w / w);
            let side = |x: f64| (x * percent).round_ties_even() as usize;
            Size { h: side(h), w: side(w) }
        }
    }
}

/// Google's `padded_center_crop_size`: `int(size / (size + margin) * min(h, w))`, the product in
/// f32. For a crop that is not square, `min(h, w)` becomes the largest rectangle of the padded
/// crop's aspect ratio that the image holds.
fn padded_centre(image: Size, crop: Size, margin: usize) -> Size {
    let padded = Size { h: crop.h + margin, w: crop.w + margin };
    let fit = |side: usize, other: usize, padded_side: usize, padded_other: usize| {
        let fitted = other as f64 * padded_side as f64 / padded_other as f64;
        fitted.min(side as f64) as f32
    };
    let side = |crop: usize, padded: usize, fitted: f32, image: usize| {
        let part = (crop as f64 / padded as f64) as f32;
        ((part * fitted) as usize).clamp(1, image)
    };
    Size {
        h: side(crop.h, padded.h, fit(image.h, image.w, padded.h, padded.w), image.h),
        w: side(crop.w, padded.w, fit(image.w, image.h, padded.w, padded.h), image.w),
    }
}

/// torchvision's `center_crop`: `round((resized - crop) / 2)`, half to even; where the crop is
/// larger, `(crop - resized) // 2` goes before the picture.
fn centre_half_even(resized: usize, crop: usize) -> isize {
    if crop > resized {
        return -(((crop - resized) / 2) as isize);
    }
    ((resized - crop) as f64 / 2.0).round_ties_even() as isize
}

/// PaddleClas's `CropImage`: `(resized - crop) // 2`.
fn centre_floor(resized: usize, crop: usize) -> isize {
    (resized as isize - crop as isize).div_euclid(2)
}

/// The rows (or columns) of the resized picture that a crop of `crop` from `offset` sees.
pub(super) fn covered(offset: isize, crop: usize, resized: usize) -> Range<usize> {
    let end = (offset + crop as isize).clamp(0, resized as isize) as usize;
    (offset.max(0) as usize).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_side_is_truncated_or_rounded() {
        let (image, target) = (Size { h: 375, w: 500 }, Size::square(256));
        // 256 * 500 / 375 = 341.33; below, 272 * 640 / 427 = 407.68.
        assert_eq!(cover(image, target, Rounding::Torchvision), Size { h: 256, w: 341 });
        let (image, target) = (Size { h: 640, w: 427 }, Size::square(272));
        assert_eq!(cover(image, target, Rounding::Torchvision), Size { h: 407, w: 272 });
        assert_eq!(cover(image, target, Rounding::Paddle), Size { h: 408, w: 272 });
    }

    #[test]
    fn half_a_pixel_of_offset() {
        // 341 - 224 = 117: 58.5 to the even 58; 343 - 224 = 119: 59.5 to the even 60.
        assert_eq!(centre_half_even(341, 224), 58);
        assert_eq!(centre_half_even(343, 224), 60);
        assert_eq!(centre_floor(343, 224), 59);
    }

    #[test]
    fn crop_larger_than_the_picture_is_padded() {
        // torchvision puts (7 - 4) // 2 before the picture and the rest behind it.
        assert_eq!(centre_half_even(4, 7), -1);
        assert_eq!(covered(-1, 7, 4), 0..4);
        assert_eq!(covered(2, 3, 9), 2..5);
    }

    #[test]
    fn targets_that_are_not_square_are_covered() {
        for rounding in [Rounding::Torchvision, Rounding::Paddle] {
            for (h, w) in [(375, 500), (500, 375), (100, 100), (1, 900), (900, 1)] {
                let size = cover(Size { h, w }, Size { h: 64, w: 200 }, rounding);
                assert!(size.h >= 64 && size.w >= 200, "{h}x{w} to {size}");
                assert!(size.h == 64 || size.w == 200, "{h}x{w} to {size}");
            }
        }
    }

    #[test]
    fn google_crops_first() {
        // int(224 / 256 * 375) = int(328.125).
        let image = Size { h: 375, w: 500 };
        assert_eq!(padded_centre(image, Size::square(224), 32), Size::square(328));
        // Twice as wide as high: 500 wide leaves 250 high.
        assert_eq!(padded_centre(image, Size { h: 100, w: 200 }, 0), Size { h: 250, w: 500 });
        assert_eq!(padded_centre(Size::square(1), Size::square(224), 32), Size::square(1));
    }
}
