//! Expansion and depthwise convolution in one launch: the map between them is computed here too.

use super::pointwise::products;
use super::{Finish, tile_sums};
use crate::arch::ConvGeometry;
use crate::kernels::expand_depthwise::Tiles;
use crate::verify::bounds::{Bounded, tensor_core_roundings};
use crate::weights::Precision;

/// The expansion of a launch.
#[derive(Clone, Copy)]
pub struct Expand<'a> {
    /// `[n, h, w, c_in]`.
    pub x: &'a [f32],
    /// Channels of `x`.
    pub c_in: usize,
    /// Channels of the result.
    pub c_mid: usize,
    /// `[c_mid, c_in]`.
    pub weight: &'a [f32],
    /// Batch-norm and activation.
    pub finish: Finish<'a>,
}

/// The map between the two convolutions, `[n, h, w, c_mid]`, as it is stored in shared memory. In f16
/// the products are summed up on tensor cores in one chunk, in f32 one fma each.
pub fn expand(expand: &Expand<'_>, precision: Precision) -> Vec<Bounded> {
    let &Expand { x, c_in, c_mid, weight, finish } = expand;
    let roundings = match precision {
        Precision::Fp16 => tensor_core_roundings(c_in, 0),
        Precision::Fp32 => c_in as f64,
    };
    let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let weight: Vec<f64> = weight.iter().map(|&w| w.into()).collect();
    products(&x, &weight, [c_in, c_mid], |_, c, value, magnitude| {
        finish.of(c, Bounded::sum(value, magnitude, 0.0, roundings)).stored(precision)
    })
}

/// The kernel's partial sums of a map `[n, h_out, w_out, c]`, and their number for an image.
pub fn expand_depthwise_tiles(
    map: &[Bounded],
    conv: &ConvGeometry,
    [c_in, c]: [usize; 2],
    precision: Precision,
) -> (Vec<Bounded>, usize) {
    let (h, w) = (conv.output.h, conv.output.w);
    let (k, stride, output) = (conv.k, conv.stride, [h as i32, w as i32]);
    let cut = Tiles::new(precision, k, stride, output, c_in as i32);
    let tiles = cut.count() as usize;
    let [rows, cols] = cut.tile().map(|side| side as usize);
    let additions = cut.additions() as f64;
    let tiles_of_row = w.div_ceil(cols);
    let tile_of = |pixel: usize| pixel / w / rows * tiles_of_row + pixel % w / cols;
    (tile_sums(map, [h * w, c], tiles, additions, tile_of), tiles)
}
