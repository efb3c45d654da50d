//! Layout of `squeeze`: the products of pooled sums with `se_reduce`'s weight, in parts.
//!
//! `se_reduce` is linear in the sums over the map, so the kernels that make the map multiply their
//! own sums by the weight, and nothing else has to wait for a whole image. A kernel cuts the map
//! into tiles, and the channels into slices that are alike for every tile. For tile `t` and slice
//! `s` it writes, in f32,
//!
//! ```text
//! squeeze[n, t, s, j] = sum over channels c of slice s, ascending, one fma each, of
//!                       S[t, c] * reduce_weight[j, c]
//! S[t, c]             = sum of the map's channel c over the pixels of tile t
//! ```
//!
//! A part, the `c_se` numbers of one tile and slice, is padded with zeros to [`stride`] elements.
//! Whoever reads them adds up all parts. The slices follow from the channels and the tiles of an
//! image alone, and so does the order of every sum: the bytes do not depend on the batch.

use super::LaunchError;
use super::launch::Check;
use crate::weights::Precision;

/// A launch's arguments for its squeeze.
pub(super) struct Squeezed {
    /// Address of `squeeze`; 0: none.
    pub squeeze: u64,
    /// Address of the weight, `[c_se, c]`.
    pub reduce_weight: u64,
    /// Images, tiles of an image, channels, and `c_se`.
    pub extents: [i32; 4],
    /// Channels of a slice.
    pub slice: i32,
}

impl Squeezed {
    /// All of them or none; in f16 alone.
    pub fn check(&self, check: &Check, precision: Precision) -> Result<(), LaunchError> {
        let [n, tiles, c, c_se] = self.extents;
        if self.squeeze == 0 {
            check.that(c_se == 0, "c_se", c_se.into(), "0 without squeeze")?;
            return check.that(self.slice == 0, "slice", self.slice.into(), "0 without squeeze");
        }
        check.that(precision == Precision::Fp16, "squeeze", 1, "none in f32")?;
        check.address("squeeze", self.squeeze, 16)?;
        check.address("reduce_weight", self.reduce_weight, 16)?;
        check.at_least("c_se", c_se, 1)?;
        check.that(
            self.slice == slice(c, tiles),
            "slice",
            self.slice.into(),
            "the slice of the channels and tiles",
        )?;
        check.elems("reduce_weight", &[c_se, c])?;
        check.elems("squeeze", &[n, tiles, slices(c, tiles), stride(c_se)])
    }
}

/// Channels of the smallest slice.
const SMALLEST_SLICE: i32 = 16;

/// Most parts of an image, where slices of all channels do not already make more. Blocks have whole
/// slices, so this bounds the blocks of a single image's launch; and whoever makes a gate reads all
/// parts.
const ENOUGH_PARTS: u64 = 256;

/// Channels of a slice of `c` channels, where the map has `tiles` tiles: the smallest of 16, 32,
/// 64, ... with which an image has at most 256 parts, or the first that is at least `c`. 0 where
/// there are no channels.
pub fn slice(c: i32, tiles: i32) -> i32 {
    if c <= 0 {
        return 0;
    }
    let few = |slice: i32| tiles.max(0) as u64 * (c as u64).div_ceil(slice as u64) <= ENOUGH_PARTS;
    let mut slice = SMALLEST_SLICE;
    while slice < c && !few(slice) {
        slice = slice.saturating_mul(2);
    }
    slice
}

/// Slices of `c` channels, where the map has `tiles` tiles.
pub fn slices(c: i32, tiles: i32) -> i32 {
    match slice(c, tiles) {
        0 => 0,
        slice => (c as u32).div_ceil(slice as u32) as i32,
    }
}

/// Elements from one part to the next: `c_se` rounded up to a multiple of four, a 16-byte vector.
pub fn stride(c_se: i32) -> i32 {
    c_se.max(0).saturating_add(3) / 4 * 4
}

/// Elements, of f32, of one image's `squeeze`: `[tiles, slices, stride]`.
pub fn elems(c: i32, tiles: i32, c_se: i32) -> usize {
    [tiles.max(0), slices(c, tiles), stride(c_se)]
        .into_iter()
        .fold(1usize, |product, extent| product.saturating_mul(extent as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_small_as_the_number_of_parts_allows() {
        // [c, tiles, slice, slices]
        for [c, tiles, expected, number] in [
            [32, 14, 16, 2],
            [96, 14, 16, 6],
            [96, 42, 16, 6],
            [96, 43, 32, 3],
            [144, 28, 16, 9],
            [240, 4, 16, 15],
            [1152, 1, 16, 72],
            [4096, 1, 16, 256],
            [4104, 1, 32, 129],
            [8, 1, 16, 1],
            [480, 256, 512, 1],
            // Even one slice makes more parts.
            [32, 300, 32, 1],
            [40, 300, 64, 1],
            [8, 300, 16, 1],
            [0, 3, 0, 0],
        ] {
            assert_eq!(slice(c, tiles), expected, "{c} channels, {tiles} tiles");
            assert_eq!(slices(c, tiles), number, "{c} channels, {tiles} tiles");
        }
    }

    /// Every slice but the last is full, the last is not empty, and half the slice would not do.
    #[test]
    fn slices_cover_the_channels() {
        for c in (8..=4200).step_by(8) {
            for tiles in [1, 2, 3, 7, 14, 28, 49, 256, 257, 1000, i32::MAX] {
                let (slice, slices) = (slice(c, tiles), slices(c, tiles));
                assert!((slices - 1) * slice < c && c <= slices * slice, "{c} {tiles}");
                let parts = |slice: i32| i64::from(tiles) * i64::from((c + slice - 1) / slice);
                assert!(parts(slice) <= 256 || slice >= c, "{c} {tiles}");
                assert!(slice == 16 || (parts(slice / 2) > 256 && slice / 2 < c), "{c} {tiles}");
            }
        }
    }

    #[test]
    fn parts_are_whole_vectors() {
        assert_eq!([0, 1, 4, 6, 8, 10, 28, 48].map(stride), [0, 4, 4, 8, 8, 12, 28, 48]);
        assert_eq!(elems(1152, 1, 48), 72 * 48);
        assert_eq!(elems(96, 14, 4), 14 * 6 * 4);
        assert_eq!(elems(144, 14, 6), 14 * 9 * 8);
        assert_eq!(elems(32, 300, 8), 300 * 8);
    }

    /// No argument panics or wraps around.
    #[test]
    fn hostile_extents() {
        let extremes = [i32::MIN, -1, 0, 1, i32::MAX];
        for c in extremes {
            for tiles in extremes {
                for c_se in extremes {
                    let elems = elems(c, tiles, c_se);
                    assert_eq!(elems == 0, c <= 0 || tiles <= 0 || c_se <= 0);
                }
            }
        }
        assert_eq!(slice(i32::MAX, i32::MAX), i32::MAX);
        assert_eq!(slices(i32::MAX, i32::MAX), 1);
    }
}
