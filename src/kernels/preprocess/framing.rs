//! The part of a frame that is resized, its new size, and the place of the crop in the result:
//! `image`'s frame, for each axis by itself.

use crate::arch::Size;
use crate::image::Recipe;
use crate::image::frame::Frame;

/// The resize and crop along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// First sample of the frame that is resized.
    pub first: usize,
    /// Samples that are resized.
    pub source: usize,
    /// Samples after resizing.
    pub resized: usize,
    /// First of the resized samples in the crop; negative where the crop overhangs them.
    pub offset: i64,
    /// Samples of the crop.
    pub crop: usize,
}

impl Axis {
    /// Index in the resized picture of sample `i` of the crop; none where it is black.
    pub fn resized_index(&self, i: usize) -> Option<usize> {
        let index = usize::try_from(self.offset + i as i64).ok()?;
        (i < self.crop && index < self.resized).then_some(index)
    }
}

/// Rows and columns of a frame under a recipe: `image` has no zero side, and the recipe is valid.
pub fn axes(image: Size, recipe: &Recipe) -> [Axis; 2] {
    let frame = Frame::new(image, recipe);
    let axis = |first, source, resized, offset: isize, crop| Axis {
        first,
        source,
        resized,
        offset: offset as i64,
        crop,
    };
    let Frame { top, left, source, resized, offset } = frame;
    [
        axis(top, source.h, resized.h, offset.y, recipe.size.h),
        axis(left, source.w, resized.w, offset.x, recipe.size.w),
    ]
}
