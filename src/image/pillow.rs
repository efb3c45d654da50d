//! Pillow's `Image.resize` on 8-bit RGB, bit for bit.
//!
//! Two separable passes, columns first, each rounding to 8 bits. A kernel is stretched by the
//! reduction, so that every source pixel counts (antialiasing), normalised in f64 and applied in
//! fixed point with [`PRECISION_BITS`] fractional bits.

use super::{Resize, Sample, Window};
use std::ops::Range;

/// Fractional bits of the weights: 32, less 8 for the samples and 2 for overshoot and sign.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// One half, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// A resampling kernel: even, and zero from `support` on.
pub(crate) struct Kernel {
    support: f64,
    /// The weight at a distance >= 0.
    weight: fn(f64) -> f64,
}

/// Keys' cubic with a = -0.5.
pub(crate) const BICUBIC: Kernel = Kernel {
    support: 2.0,
    weight: |x| {
        const A: f64 = -0.5;
        if x < 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            (((x - 5.0) * x + 8.0) * x - 4.0) * A
        } else {
            0.0
        }
    },
};

/// The triangle.
pub(crate) const BILINEAR: Kernel =
    Kernel { support: 1.0, weight: |x| if x < 1.0 { 1.0 - x } else { 0.0 } };

/// The weighted source samples of each wanted sample along one axis.
pub(crate) struct Taps {
    /// First source sample and where its weights lie in `weights`.
    spans: Vec<(usize, Range<usize>)>,
    /// Fixed point, [`PRECISION_BITS`] fractional bits.
    weights: Vec<i32>,
}

impl Taps {
    /// The taps for samples `wanted` of an axis resized from `source` to `resized` samples.
    pub(crate) fn new(
        kernel: &Kernel,
        source: usize,
        resized: usize,
        wanted: Range<usize>,
    ) -> Taps {
        let scale = source as f64 / resized as f64;
        let stretch = scale.max(1.0);
        let support = kernel.support * stretch;
        let inverse = 1.0 / stretch;
        let mut spans = Vec::with_capacity(wanted.len());
        let mut weights = Vec::new();
        let mut exact = Vec::new();
        for i in wanted {
            let centre = (i as f64 + 0.5) * scale;
            // A float made an integer is truncated and, below zero, made 0: as intended here.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(source);
            exact.clear();
            exact.extend((first..end).map(|x| {
                let distance = (x as f64 - centre + 0.5) * inverse;
                (kernel.weight)(distance.abs())
            }));
            let sum: f64 = exact.iter().sum();
            let start = weights.len();
            weights.extend(exact.iter().map(|&weight| {
                let weight = if sum != 0.0 { weight / sum } else { weight };
                let fixed = weight * f64::from(1 << PRECISION_BITS);
                // Half away from zero; the cast truncates.
                (if weight < 0.0 { fixed - 0.5 } else { fixed + 0.5 }) as i32
            }));
            spans.push((first, start..weights.len()));
        }
        Taps { spans, weights }
    }

    /// First source sample and weights of wanted sample `i`.
    pub(crate) fn get(&self, i: usize) -> (usize, &[i32]) {
        let (first, span) = &self.spans[i];
        (*first, &self.weights[span.clone()])
    }

    /// All source samples that any wanted sample uses.
    fn used(&self) -> Range<usize> {
        let end = |(first, span): &(usize, Range<usize>)| first + span.len();
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => first.0..end(last),
            _ => 0..0,
        }
    }
}

/// Writes the wanted window, in whole levels.
///
/// Source rows are taken once, in order: each is resampled along its columns and then added, with
/// its weight, to every output row that it belongs to. Integer sums do not depend on order, so the
/// result is that of two passes over the picture, without the picture between them.
pub(super) fn resize<T: Sample>(resize: &Resize, kernel: &Kernel, out: &mut Window<T>) {
    let Resize { source, resized, rows, columns } = resize;
    let columns = Taps::new(kernel, source.size.w, resized.w, columns.clone());
    let rows = Taps::new(kernel, source.size.h, resized.h, rows.clone());
    let width = columns.spans.len() * 3;
    let height = rows.spans.len();
    if width == 0 {
        return;
    }
    let mut resampled = vec![0_u8; width];
    // One row of sums per unfinished output row: a ring, since spans begin and end in order.
    let depth = ring_depth(&rows);
    let mut sums = vec![HALF; depth * width];
    let mut unfinished = 0..0;
    for y in rows.used() {
        while unfinished.end < height && rows.get(unfinished.end).0 <= y {
            unfinished.end += 1;
        }
        resample_row(source.row(y), &columns, &mut resampled);
        for i in unfinished.clone() {
            let (first, weights) = rows.get(i);
            let sums = &mut sums[i % depth * width..][..width];
            let weight = weights[y - first];
            for (sum, &sample) in sums.iter_mut().zip(&resampled) {
                *sum += weight * i32::from(sample);
            }
            if y + 1 == first + weights.len() {
                for (to, sum) in out.row(i).iter_mut().zip(sums) {
                    *to = T::of_level(to_level(*sum));
                    *sum = HALF;
                }
                unfinished.start += 1;
            }
        }
    }
}

/// The most output rows that are unfinished at once.
fn ring_depth(rows: &Taps) -> usize {
    let mut depth = 1;
    let mut oldest = 0;
    for (i, (first, _)) in rows.spans.iter().enumerate() {
        while rows.spans[oldest].0 + rows.spans[oldest].1.len() <= *first {
            oldest += 1;
        }
        depth = depth.max(i - oldest + 1);
    }
    depth
}

/// One source row, [source w, 3], to the wanted columns, [columns, 3].
fn resample_row(row: &[u8], columns: &Taps, to: &mut [u8]) {
    for (i, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (first, weights) = columns.get(i);
        let mut sums = [HALF; 3];
        let pixels = row[first * 3..].as_chunks::<3>().0;
        for (pixel, &weight) in pixels.iter().zip(weights) {
            for c in 0..3 {
                sums[c] += weight * i32::from(pixel[c]);
            }
        }
        *to = sums.map(to_level);
    }
}

fn to_level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
