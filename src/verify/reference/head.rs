//! Pool, classifier, and the best classes.

use super::squeeze_excite::dot;
use super::tile_sums;
use crate::kernels::head;
use crate::kernels::params::{
    CLASSIFIER_SHARES, CLASSIFIER_STEP_CHANNELS as STEP_CHANNELS, POOL_MAX_TILES, POOL_STEP_PIXELS,
};
use crate::verify::bounds::{Bounded, EXP_ERROR, Operand, U, gamma, tensor_core_roundings};
use crate::weights::Precision;
use rayon::prelude::*;

/// Sums over the pixels of tiles of `x`, `[n, pixels, c]`, and their number for an image. A thread adds
/// every 16th pixel of a tile at the most; two exchanges; eight warps.
pub fn pool(x: &[f32], [pixels, c]: [usize; 2]) -> (Vec<Bounded>, usize) {
    let tiles = head::pool_tiles(pixels as i32) as usize;
    let (step, most) = (POOL_STEP_PIXELS as usize, POOL_MAX_TILES as usize);
    let tile_pixels = step * pixels.div_ceil(step * most);
    let additions = (tile_pixels / 16 + 2 + 8) as f64;
    let x: Vec<Bounded> = x.iter().map(|x| x.bounded()).collect();
    (tile_sums(&x, [pixels, c], tiles, additions, |pixel| pixel / tile_pixels), tiles)
}

/// Means over an image's pixels, `[c]`, of its partial sums `[tiles, c]`: `tiles` additions and a
/// division.
pub(super) fn mean(image: &[f32], c: usize, pixels: usize, tiles: usize) -> Vec<Bounded> {
    let of = |channel: usize| {
        let terms = image[channel..].iter().step_by(c).map(|&x| f64::from(x));
        let magnitude: f64 = terms.clone().map(f64::abs).sum();
        let pixels = pixels as f64;
        let roundings = tiles as f64 + 1.0;
        Bounded::sum(terms.sum::<f64>() / pixels, magnitude / pixels, 0.0, roundings)
    };
    (0..c).map(of).collect()
}

/// A classifier launch.
#[derive(Clone, Copy)]
pub struct Classifier<'a> {
    /// Of the kernel: how it multiplies.
    pub precision: Precision,
    /// Tiles of an image.
    pub tiles: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels of the features.
    pub c: usize,
    /// `[n, tiles, c]`.
    pub partial_sums: &'a [f32],
    /// `[classes, c]`.
    pub weight: &'a [f32],
    /// `[classes]`.
    pub bias: &'a [f32],
}

impl Classifier<'_> {
    /// Roundings that a product passes through at the most.
    fn roundings(&self) -> f64 {
        match self.precision {
            // A lane has at most 8 of every 256 channels, or all where there are fewer; five exchanges;
            // the bias.
            Precision::Fp32 => (8 * self.c.div_ceil(256) + 6) as f64,
            // A share on tensor cores, and its addition to those before it. The sum of the second parts
            // of features makes an error of 2^-11 of the first's, whose
            // products are up to 2^-11 larger; it is added with one rounding, and the
            // scale, a rounded quotient, and the bias take two.
            Precision::Fp16 => {
                let share = (head::classifier_share_steps(self.c as i32) * STEP_CHANNELS) as usize;
                (tensor_core_roundings(share, CLASSIFIER_SHARES as usize)) * (1.0 + 1.0 / 1024.0)
                    + 3.0
            }
        }
    }

    /// A feature as it is multiplied: in FP16 it is the sum of two f16, each rounded to 11 bits,
    /// `2^-22 |x|`, of a value that is 32 times smaller at the most, where subnormals are off by 2^-25
    /// times the second part's 2^-11.
    fn factor(&self, feature: Bounded) -> Bounded {
        let Bounded { value, error } = feature;
        match self.precision {
            Precision::Fp32 => feature,
            Precision::Fp16 => {
                let split = (value.abs() + error) * 2f64.powi(-22) + 32.0 * 2f64.powi(-36);
                Bounded { value, error: error + split }
            }
        }
    }
}

/// Features `[n, c]`, and logits `[n, classes]`.
pub fn classifier(p: &Classifier<'_>) -> [Vec<Bounded>; 2] {
    let (mut features, mut logits) = (Vec::new(), Vec::new());
    let roundings = p.roundings();
    for image in p.partial_sums.chunks(p.tiles * p.c) {
        let mean = mean(image, p.c, p.pixels, p.tiles);
        let factors: Vec<Bounded> = mean.iter().map(|&feature| p.factor(feature)).collect();
        let rows = p.weight.par_chunks(p.c).zip(p.bias);
        let of_image: Vec<Bounded> =
            rows.map(|(row, &bias)| dot(&factors, |i| row[i], bias, roundings)).collect();
        logits.extend(of_image);
        features.extend(mean);
    }
    [features, logits]
}

/// The `k` best classes of each image of `logits`, `[n, classes]`: classes and logits, which are exact,
/// and probabilities, `[n, k]` each. Equal logits keep the order of their classes.
pub fn top_k(logits: &[f32], classes: usize, k: usize) -> [Vec<Bounded>; 3] {
    let mut values = [const { Vec::new() }; 3];
    for logits in logits.chunks(classes) {
        let mut order: Vec<usize> = (0..classes).collect();
        // Stable, and 0 equals -0.
        order.sort_by(|&a, &b| {
            logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal)
        });
        let best = f64::from(logits[order[0]]);
        // The difference rounds, and exp makes a relative error of its absolute one.
        let part = |logit: f32| {
            let above = f64::from(logit) - best;
            let value = above.exp();
            Bounded { value, error: value * (EXP_ERROR + 2.0 * U * above.abs()) }
        };
        let (sum, error) = logits.iter().fold((0.0, 0.0), |(sum, error), &logit| {
            let Bounded { value, error: own } = part(logit);
            (sum + value, error + own)
        });
        // A thread's additions, five exchanges, eight warps, the division.
        let roundings = (classes.div_ceil(256) + 5 + 8 + 1) as f64;
        for &class in &order[..k] {
            let part = part(logits[class]);
            let value = part.value / sum;
            let relative = part.error / part.value + 2.0 * (error / sum + gamma(roundings));
            values[0].push(Bounded::exact(class as f64));
            values[1].push(Bounded::exact(logits[class].into()));
            // Where exp underflows, its error is absolute.
            let error = if part.value > 0.0 { value * relative } else { 0.0 };
            values[2].push(Bounded { value, error: error + f64::from(f32::MIN_POSITIVE) });
        }
    }
    values
}
