//! The squeeze without a launch, in f16: parts of the reduction, from sums over the tiles of a map;
//! and the gate, from the parts.

use super::squeeze_excite::dot;
use crate::arch::Activation;
use crate::verify::bounds::Bounded;
use crate::weights::Precision;
use rayon::prelude::*;

/// Shares that the parts of an image are added in: those with the same remainder.
const SHARES: usize = 8;

/// What a map's sums are multiplied by.
#[derive(Clone, Copy)]
pub struct Squeeze<'a> {
    /// Channels of the map.
    pub c: usize,
    /// Rows of `weight`.
    pub c_se: usize,
    /// Channels of a slice.
    pub slice: usize,
    /// `[c_se, c]`.
    pub weight: &'a [f32],
}

/// The parts `[n, tiles, slices, c_se rounded up to 4]` of sums `[n, tiles, c]`, and the number of
/// slices: `part[j] = sum of a slice's channels c, sum[c] weight[j, c]`, an fma each, and zeros
/// behind the last `j`.
pub fn squeeze(p: &Squeeze<'_>, sums: &[Bounded]) -> (Vec<Bounded>, usize) {
    let &Squeeze { c, c_se, slice, weight } = p;
    let (slices, stride) = (c.div_ceil(slice), c_se.next_multiple_of(4));
    let mut parts = vec![Bounded::default(); sums.len() / c * slices * stride];
    let tiles = parts.par_chunks_mut(slices * stride).zip(sums.par_chunks(c));
    tiles.for_each(|(parts, sums)| {
        for (index, (part, sums)) in parts.chunks_mut(stride).zip(sums.chunks(slice)).enumerate() {
            for (j, part) in part.iter_mut().take(c_se).enumerate() {
                let row = &weight[j * c + index * slice..][..sums.len()];
                *part = dot(sums, |i| row[i], 0.0, sums.len() as f64);
            }
        }
    });
    (parts, slices)
}

/// What a gate is computed from.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// Parts of an image.
    pub parts: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels of the gate.
    pub c: usize,
    /// Channels between.
    pub c_se: usize,
    /// `[n, parts, c_se rounded up to 4]`.
    pub squeeze: &'a [f32],
    /// Reduce bias `[c_se]`, expand weight `[c_se, c]` and bias `[c]`.
    pub weights: [&'a [f32]; 3],
}

/// The gate `[n, c]`, rounded to f16: `sigmoid(expand(swish(reduce)))`.
pub fn gate(p: &Gate<'_>) -> Vec<Bounded> {
    let &Gate { parts, pixels, c, c_se, squeeze, weights } = p;
    let [reduce_bias, expand_weight, expand_bias] = weights;
    let stride = c_se.next_multiple_of(4);
    // A part is added to its share, and the shares one after the other; the mean's division or its
    // product with a rounded inverse, and the bias.
    let roundings = (parts.div_ceil(SHARES) + SHARES + 3) as f64;
    let of_image = |image: &[f32]| -> Vec<Bounded> {
        let reduced: Vec<Bounded> = (0..c_se)
            .map(|j| {
                let terms = image[j..].iter().step_by(stride).map(|&x| f64::from(x));
                let magnitude: f64 = terms.clone().map(f64::abs).sum();
                let (pixels, bias) = (pixels as f64, f64::from(reduce_bias[j]));
                let value = terms.sum::<f64>() / pixels + bias;
                Bounded::sum(value, magnitude / pixels + bias.abs(), 0.0, roundings)
                    .activate(Activation::Swish, Precision::Fp16)
            })
            .collect();
        let of_channel = |channel: usize| {
            let weight = |j: usize| expand_weight[j * c + channel];
            let sum = dot(&reduced, weight, expand_bias[channel], (c_se + 1) as f64);
            sum.sigmoid(Precision::Fp16).rounded_to_f16()
        };
        (0..c).into_par_iter().map(of_channel).collect()
    };
    squeeze.chunks(parts * stride).flat_map(of_image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::stand_in::Random;

    /// Parts and gate in f32, in the kernels' order, keep to what f64 says.
    #[test]
    fn parts_and_gate_are_those_of_one_squeeze_excite() {
        let (c, c_se, slice, tiles, pixels) = (40, 6, 16, 3, 50);
        let mut random = Random::new(3);
        let sums = random.vector(tiles * c);
        let [reduce, expand] = [(); 2].map(|()| random.vector(c_se * c));
        let [reduce_bias, expand_bias] = [c_se, c].map(|elems| random.vector(elems));
        let bounded: Vec<Bounded> = sums.iter().map(|&x| Bounded::exact(x.into())).collect();
        let (parts, slices) = squeeze(&Squeeze { c, c_se, slice, weight: &reduce }, &bounded);
        assert_eq!((slices, parts.len()), (3, tiles * 3 * 8));
        let mut found = Vec::new();
        for tile in sums.chunks(c) {
            for (index, sums) in tile.chunks(slice).enumerate() {
                for j in 0..8 {
                    let row = reduce.get(j * c + index * slice..).unwrap_or_default();
                    let chain = |sum, (&x, &w): (&f32, &f32)| f32::mul_add(x, w, sum);
                    let part = sums.iter().zip(row).fold(0.0, chain);
                    found.push(if j < c_se { part } else { 0.0 });
                }
            }
        }
        for (at, (part, &found)) in parts.iter().zip(&found).enumerate() {
            assert!((f64::from(found) - part.value).abs() <= part.error, "part {at}");
            assert!(at % 8 < c_se || *part == Bounded::exact(0.0), "part {at}");
        }

        let weights = [&reduce_bias[..], &expand, &expand_bias];
        let gates =
            gate(&Gate { parts: tiles * slices, pixels, c, c_se, squeeze: &found, weights });
        let reduced: Vec<f64> = (0..c_se)
            .map(|j| {
                let sum: f64 = (0..tiles * c)
                    .map(|i| f64::from(sums[i]) * f64::from(reduce[j * c + i % c]))
                    .sum();
                let x = sum / pixels as f64 + f64::from(reduce_bias[j]);
                x / (1.0 + (-x).exp())
            })
            .collect();
        for (channel, gate) in gates.iter().enumerate() {
            let sum: f64 =
                (0..c_se).map(|j| reduced[j] * f64::from(expand[j * c + channel])).sum::<f64>();
            let value = 1.0 / (1.0 + (-(sum + f64::from(expand_bias[channel]))).exp());
            let off = (gate.value - value).abs();
            assert!(off <= gate.error + value * 2f64.powi(-11) + 1e-6, "gate {channel}: {off:e}");
        }
        // Most are the one f16 that every rounding gives.
        let exact = gates.iter().filter(|gate| gate.error == 0.0).count();
        assert!(exact >= gates.len() - 2, "{exact} of {}", gates.len());
    }
}
