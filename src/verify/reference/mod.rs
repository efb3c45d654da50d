//! Every launch's step as plain loops in f64: for each element the value and its bound
//! ([`bounds`](super::bounds)). One file per operation.
//!
//! Maps are `[n, h, w, c]`, of `n` images; results are in the order of the elements, before they are
//! rounded to the storage type where a function's name does not say otherwise. Rows are computed in
//! parallel.

mod bn_swish;
mod depthwise;
mod expand_depthwise;
mod head;
mod pointwise;
mod squeeze;
mod squeeze_excite;
mod stem;

pub use bn_swish::{BnSwish, bn_swish};
pub use depthwise::{depthwise, depthwise_tiles};
pub use expand_depthwise::{Expand, expand, expand_depthwise_tiles};
pub use head::{Classifier, classifier, pool, top_k};
pub use pointwise::{Pointwise, pointwise, pointwise_tiles};
pub use squeeze::{Gate, Squeeze, gate, squeeze};
pub use squeeze_excite::{SqueezeExcite, squeeze_excite};
pub use stem::stem;

use super::bounds::Bounded;
use crate::arch::{Activation, ConvGeometry};
use crate::weights::Precision;
use rayon::prelude::*;
use std::ops::Range;

/// What is made of a sum: `act(sum * scale + shift)`, without scale and shift where there is no
/// batch-norm.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// Scale and shift, `[c]` each.
    pub bn: Option<[&'a [f32]; 2]>,
    /// Applied last.
    pub activation: Activation,
    /// Of the kernel: how it evaluates a swish.
    pub precision: Precision,
}

impl Finish<'_> {
    /// A channel's sum, finished.
    pub fn of(&self, channel: usize, sum: Bounded) -> Bounded {
        let normalised = match self.bn {
            Some([scale, shift]) => sum.batch_norm(scale[channel], shift[channel]),
            None => sum,
        };
        normalised.activate(self.activation, self.precision)
    }
}

/// `rows` rows of `elems` values, each filled by `fill(row, values)`.
fn by_rows(rows: usize, elems: usize, fill: impl Fn(usize, &mut [Bounded]) + Sync) -> Vec<Bounded> {
    let mut values = vec![Bounded::default(); rows * elems];
    values.par_chunks_mut(elems).enumerate().for_each(|(row, values)| fill(row, values));
    values
}

/// Which taps of a window of side `k` at an output coordinate lie within `0..extent` of the input.
fn inside(conv: &ConvGeometry, at: usize, pad: usize, extent: usize) -> Range<usize> {
    let first = pad.saturating_sub(at * conv.stride);
    let end = (extent + pad).saturating_sub(at * conv.stride).min(conv.k);
    first.min(end)..end
}

/// Sums over the pixels of tiles, `[n, tiles, c]`, of a map `[n, pixels, c]`; `tile(pixel)` says which
/// tile a pixel is in, and no value passes through more than `additions` additions.
fn tile_sums(
    map: &[Bounded],
    [pixels, c]: [usize; 2],
    tiles: usize,
    additions: f64,
    tile: impl Fn(usize) -> usize + Sync,
) -> Vec<Bounded> {
    let mut sums = Vec::with_capacity(map.len() / pixels * tiles);
    for image in map.chunks(pixels * c) {
        // Value, magnitude, error of each.
        let mut totals = vec![[0.0f64; 3]; tiles * c];
        for (pixel, values) in image.chunks(c).enumerate() {
            let totals = &mut totals[tile(pixel) * c..][..c];
            for (total, y) in totals.iter_mut().zip(values) {
                total[0] += y.value;
                total[1] += y.value.abs();
                total[2] += y.error;
            }
        }
        sums.extend(
            totals
                .into_iter()
                .map(|[value, magnitude, error]| Bounded::sum(value, magnitude, error, additions)),
        );
    }
    sums
}
