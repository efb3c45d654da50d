//! `gate = sigmoid(expand(swish(reduce(squeeze))))`, from the partial sums of the squeeze.

use super::head::mean;
use crate::arch::Activation;
use crate::verify::bounds::Bounded;
use crate::weights::Precision;
use rayon::prelude::*;

/// A squeeze-excite launch.
#[derive(Clone, Copy)]
pub struct SqueezeExcite<'a> {
    /// Tiles of an image.
    pub tiles: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels of squeeze and gate.
    pub c: usize,
    /// Channels between.
    pub c_se: usize,
    /// Of the kernel: how it evaluates swish and sigmoid.
    pub precision: Precision,
    /// `[n, tiles, c]`.
    pub partial_sums: &'a [f32],
    /// `[c_se, c]`, `[c_se]`, `[c_se, c]`, `[c]`: weight and bias of reduce, then of expand.
    pub weights: [&'a [f32]; 4],
}

/// The gate, `[n, c]`.
pub fn squeeze_excite(p: &SqueezeExcite<'_>) -> Vec<Bounded> {
    let &SqueezeExcite { tiles, pixels, c, c_se, precision, partial_sums, weights } = p;
    let [reduce_weight, reduce_bias, expand_weight, expand_bias] = weights;
    let gate = |image: &[f32]| -> Vec<Bounded> {
        // `tiles` additions, over slices or not, and a division.
        let squeeze = mean(image, c, pixels, tiles);
        let reduced: Vec<Bounded> = (0..c_se)
            .into_par_iter()
            .map(|j| {
                let row = &reduce_weight[j * c..][..c];
                // A lane has at most 8 of every 256 channels, or all where there are fewer; five
                // exchanges, the bias.
                let roundings = (8 * c.div_ceil(256) + 6) as f64;
                let sum = dot(&squeeze, |i| row[i], reduce_bias[j], roundings);
                sum.activate(Activation::Swish, precision)
            })
            .collect();
        (0..c)
            .into_par_iter()
            .map(|channel| {
                let weight = |j: usize| expand_weight[j * c + channel];
                // Each product, up to 16 parts, the bias: at most one addition for each product.
                dot(&reduced, weight, expand_bias[channel], (c_se + 1) as f64).sigmoid(precision)
            })
            .collect()
    };
    partial_sums.chunks(tiles * c).flat_map(gate).collect()
}

/// `bias + sum x weight`, where no term passes through more than `roundings` roundings.
pub(super) fn dot(
    x: &[Bounded],
    weight: impl Fn(usize) -> f32,
    bias: f32,
    roundings: f64,
) -> Bounded {
    let bias = f64::from(bias);
    let (mut value, mut magnitude, mut error) = (bias, bias.abs(), 0.0);
    for (i, x) in x.iter().enumerate() {
        let weight = f64::from(weight(i));
        value += x.value * weight;
        magnitude += (x.value * weight).abs();
        error += x.error * weight.abs();
    }
    Bounded::sum(value, magnitude, error, roundings)
}
