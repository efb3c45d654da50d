//! `y = act((x * gate) . w^T * scale + shift) + skip`, and the pool's sums.

use super::{Finish, tile_sums};
use crate::kernels::params::{POINTWISE_LONG_CHUNK, POINTWISE_SHORT_CHUNK, POINTWISE_SHORT_SUM};
use crate::kernels::{Compute, pointwise as chunks_f16};
use crate::verify::bounds::{Bounded, UNROUNDED_TF32, tensor_core_roundings};
use half::f16;
use rayon::prelude::*;

/// Channels of a chunk of an f32 or TF32 sum: `kChunkChannels` of `kernels/tile_pointwise_f32.cuh`.
const CHUNK_F32: usize = 128;

/// A pointwise convolution of `[rows, c_in]`.
#[derive(Clone, Copy)]
pub struct Pointwise<'a> {
    /// In which precision.
    pub compute: Compute,
    /// Whether the device has TF32: from sm_80 on.
    pub has_tf32: bool,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels of `x`.
    pub c_in: usize,
    /// Channels of the result.
    pub c_out: usize,
    /// `[n, pixels, c_in]`.
    pub x: &'a [f32],
    /// `[n, c_in]`.
    pub gate: Option<&'a [f32]>,
    /// `[n, c_in]`, in f16 and rounded to it: a gate that the kernel computes itself.
    pub own_gate: Option<&'a [Bounded]>,
    /// `[c_out, c_in]`.
    pub weight: &'a [f32],
    /// Batch-norm and activation.
    pub finish: Finish<'a>,
    /// `[n, pixels, c_out]`.
    pub skip: Option<&'a [f32]>,
}

impl Pointwise<'_> {
    /// Roundings that a product passes through at the most. In f32, chunks change nothing: where a sum
    /// of `K` products is cut, each product passes through `K` roundings at the most all the same.
    fn roundings(&self) -> f64 {
        let c_in = self.c_in;
        match self.compute {
            Compute::Fp32 => c_in as f64,
            Compute::Tf32 => tensor_core_roundings(c_in.min(CHUNK_F32), c_in.div_ceil(CHUNK_F32)),
            Compute::Fp16 => match chunks_f16::chunks(c_in as i32) as usize {
                1 => tensor_core_roundings(c_in, 1),
                chunks if c_in <= POINTWISE_SHORT_SUM as usize => {
                    tensor_core_roundings(POINTWISE_SHORT_CHUNK as usize, chunks)
                }
                chunks => tensor_core_roundings(POINTWISE_LONG_CHUNK as usize, chunks),
            },
        }
    }

    /// A factor as it is multiplied.
    fn factor(&self, x: f32) -> f64 {
        match self.compute {
            Compute::Tf32 => tf32(x).into(),
            Compute::Fp16 | Compute::Fp32 => x.into(),
        }
    }

    /// `x * gate` as it is multiplied: rounded by the multiplication; in f16 the gate is rounded before.
    fn gated(&self, x: f32, gate: f32) -> f64 {
        match self.compute {
            Compute::Fp16 => f16::from_f32(x * f16::from_f32(gate).to_f32()).to_f64(),
            Compute::Fp32 | Compute::Tf32 => self.factor(x * gate),
        }
    }
}

/// The product of a gate that the kernel computes itself, in f16.
fn own_gated(x: f32, gate: Bounded) -> Bounded {
    let x = f64::from(x);
    Bounded { value: x * gate.value, error: x.abs() * gate.error }.rounded_to_f16()
}

/// To 10 bits of fraction, to nearest, ties away from zero.
fn tf32(x: f32) -> f32 {
    f32::from_bits(x.to_bits().wrapping_add(0x1000) & !0x1fff)
}

/// The result, `[n, pixels, c_out]`.
pub fn pointwise(p: &Pointwise<'_>) -> Vec<Bounded> {
    let (c_in, c_out) = (p.c_in, p.c_out);
    let image_elems = p.pixels * c_in;
    let channel_of_image = |i: usize| i / image_elems * c_in + i % c_in;
    let factor = |(i, &x): (usize, &f32)| match (p.gate, p.own_gate) {
        (Some(gate), _) => p.gated(x, gate[channel_of_image(i)]),
        (None, Some(gate)) => own_gated(x, gate[channel_of_image(i)]).value,
        (None, None) => p.factor(x),
    };
    let x: Vec<f64> = p.x.par_iter().enumerate().map(factor).collect();
    // Channels of each image whose gate is not known to the last bit.
    let unsure: Vec<Vec<usize>> = p.own_gate.map_or_else(Vec::new, |gate| {
        let of_image = |gate: &[Bounded]| (0..c_in).filter(|&c| gate[c].error != 0.0).collect();
        gate.chunks(c_in).map(of_image).collect()
    });
    let inherited = |row: usize, o: usize| -> f64 {
        let (Some(gate), image) = (p.own_gate, row / p.pixels) else { return 0.0 };
        let of_channel = |&c: &usize| {
            let x = own_gated(p.x[row * c_in + c], gate[image * c_in + c]);
            x.error * f64::from(p.weight[o * c_in + c]).abs()
        };
        unsure[image].iter().map(of_channel).sum()
    };
    let weight: Vec<f64> = p.weight.par_iter().map(|&w| p.factor(w)).collect();
    let rounds = p.compute != Compute::Tf32 || p.has_tf32;
    let unrounded = if rounds { 0.0 } else { UNROUNDED_TF32 };
    let roundings = p.roundings();
    products(&x, &weight, [c_in, c_out], |row, o, value, magnitude| {
        let inherited = unrounded * magnitude + inherited(row, o);
        let sum = Bounded::sum(value, magnitude, inherited, roundings);
        let y = p.finish.of(o, sum);
        p.skip.map_or(y, |skip| y.plus(skip[row * c_out + o]))
    })
}

/// The kernel's partial sums of a map `[n, pixels, c]` in tiles of `tile_rows` pixels, and their number
/// for an image. A value passes through as many additions as the tile has rows at the most.
pub fn pointwise_tiles(
    map: &[Bounded],
    [pixels, c]: [usize; 2],
    tile_rows: usize,
) -> (Vec<Bounded>, usize) {
    let tiles = pixels.div_ceil(tile_rows);
    let additions = tile_rows.min(pixels) as f64;
    (tile_sums(map, [pixels, c], tiles, additions, |pixel| pixel / tile_rows), tiles)
}

/// Rows that are multiplied at once, and columns: their sums stay in the first cache.
const BLOCK: [usize; 2] = [8, 64];

/// `x . weight^T`, `x` `[rows, c_in]`, `weight` `[c_out, c_in]`: each sum and its magnitude
/// `sum |x w|` go through `finish(row, column, sum, magnitude)`.
pub(super) fn products(
    x: &[f64],
    weight: &[f64],
    [c_in, c_out]: [usize; 2],
    finish: impl Fn(usize, usize, f64, f64) -> Bounded + Sync,
) -> Vec<Bounded> {
    let mut transposed = vec![0.0; weight.len()]; // [c_in, c_out]
    for (o, row) in weight.chunks(c_in).enumerate() {
        for (i, &w) in row.iter().enumerate() {
            transposed[i * c_out + o] = w;
        }
    }
    let [block_rows, block_cols] = BLOCK;
    let mut values = vec![Bounded::default(); x.len() / c_in * c_out];
    let blocks = values.par_chunks_mut(block_rows * c_out).zip(x.par_chunks(block_rows * c_in));
    blocks.enumerate().for_each(|(block, (values, x))| {
        for first in (0..c_out).step_by(block_cols) {
            let cols = block_cols.min(c_out - first);
            let mut sums = [[0.0f64; BLOCK[1]]; BLOCK[0]];
            let mut magnitudes = sums;
            for (i, w) in transposed.chunks(c_out).enumerate() {
                let w = &w[first..][..cols];
                for (row, x) in x.chunks(c_in).enumerate() {
                    let (sums, magnitudes) = (&mut sums[row][..cols], &mut magnitudes[row][..cols]);
                    for ((sum, magnitude), &w) in sums.iter_mut().zip(magnitudes).zip(w) {
                        let product = x[i] * w;
                        *sum += product;
                        *magnitude += product.abs();
                    }
                }
            }
            for (row, values) in values.chunks_mut(c_out).enumerate() {
                for (col, y) in values[first..][..cols].iter_mut().enumerate() {
                    let (at, o) = (block * block_rows + row, first + col);
                    *y = finish(at, o, sums[row][col], magnitudes[row][col]);
                }
            }
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole blocks and what is left of rows and columns.
    #[test]
    fn products_are_those_of_a_matrix() {
        let (rows, c_in, c_out) = (BLOCK[0] + 3, 5, BLOCK[1] + 7);
        let x: Vec<f64> = (0..rows * c_in).map(|i| (i % 7) as f64 - 3.0).collect();
        let weight: Vec<f64> = (0..c_out * c_in).map(|i| (i % 5) as f64 - 2.0).collect();
        let found =
            products(&x, &weight, [c_in, c_out], |_, _, value, error| Bounded { value, error });
        for row in 0..rows {
            for o in 0..c_out {
                let terms = (0..c_in).map(|i| x[row * c_in + i] * weight[o * c_in + i]);
                let error = terms.clone().map(f64::abs).sum();
                assert_eq!(found[row * c_out + o], Bounded { value: terms.sum(), error });
            }
        }
    }
}
