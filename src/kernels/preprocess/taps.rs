//! Taps: for each sample of the crop along one axis, the samples of the frame that it is made of,
//! with their weights. They are 32-bit words, `[words, extent]`, whose meaning is in the kernels'
//! head.

use super::framing::Axis;
use crate::image::pillow;
use std::ops::Range;

/// The taps of one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// Samples that have taps: those of the crop, and black ones where a row is filled up.
    pub extent: usize,
    /// `[words, extent]`.
    pub words: Vec<i32>,
}

impl Taps {
    /// Taps from the words of each sample; missing words are zero, and all of a black sample.
    fn new(samples: &[Vec<i32>], least_words: usize) -> Taps {
        let extent = samples.len();
        let count = samples.iter().map(Vec::len).fold(least_words, usize::max);
        let mut words = vec![0; count * extent];
        for (i, sample) in samples.iter().enumerate() {
            for (word, &value) in sample.iter().enumerate() {
                words[word * extent + i] = value;
            }
        }
        Taps { extent, words }
    }

    /// Pillow's taps: the samples of the frame from the first to the last that is used.
    pub fn used(&self) -> Range<usize> {
        let (firsts, rest) = self.words.split_at(self.extent);
        let spans = firsts.iter().zip(rest).filter(|(_, count)| **count > 0);
        let ends = spans.clone().map(|(first, count)| (first + count) as usize);
        let first = spans.map(|(&first, _)| first as usize).min().unwrap_or(0);
        first..ends.max().unwrap_or(first)
    }

    /// Pillow's taps: counts the frame's samples from `start`, which is the first that is used.
    pub fn count_from(&mut self, start: usize) {
        let (firsts, rest) = self.words.split_at_mut(self.extent);
        for (first, count) in firsts.iter_mut().zip(rest) {
            if *count > 0 {
                *first -= start as i32;
            }
        }
    }
}

// --- Pillow ---

/// First sample, number of weights, weights in fixed point: `image`'s taps. Samples beyond the
/// crop, up to `extent`, are black.
pub fn pillow(kernel: &pillow::Kernel, axis: &Axis, extent: usize) -> Taps {
    let sample = |i| {
        let Some(i) = axis.resized_index(i) else { return Vec::new() };
        let taps = pillow::Taps::new(kernel, axis.source, axis.resized, i..i + 1);
        let (first, weights) = taps.get(0);
        let span = [(axis.first + first) as i32, weights.len() as i32];
        span.iter().chain(weights).copied().collect()
    };
    let samples: Vec<Vec<i32>> = (0..extent).map(sample).collect();
    Taps::new(&samples, 2)
}

// --- OpenCV ---

/// Fractional bits of OpenCV's weights.
const OPENCV_BITS: u32 = 11;

/// Position of sample `i`: whole part, and fraction in f32.
fn opencv_position(axis: &Axis, i: usize) -> (i64, f32) {
    let scale = 1.0 / (axis.resized as f64 / axis.source as f64);
    let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
    let whole = position.floor();
    (whole as i64, position - whole)
}

/// Two samples, and `1 - fraction` and `fraction` in fixed point, each rounded half to even.
fn opencv_tap(axis: &Axis, samples: [i64; 2], fraction: f32) -> Vec<i32> {
    let one = (1 << OPENCV_BITS) as f32;
    let samples = samples.map(|x| axis.first as i32 + x.clamp(0, axis.source as i64 - 1) as i32);
    let weights = [1.0 - fraction, fraction].map(|x| (x * one).round_ties_even() as i32);
    [samples, weights].concat()
}

fn opencv(axis: &Axis, tap: impl Fn(i64, f32) -> Vec<i32>) -> Taps {
    let sample = |i| {
        let resized = axis.resized_index(i);
        resized
            .map(|i| opencv_position(axis, i))
            .map_or(Vec::new(), |(near, fraction)| tap(near, fraction))
    };
    let samples: Vec<Vec<i32>> = (0..axis.crop).map(sample).collect();
    Taps::new(&samples, 4)
}

/// Columns: beyond the first and the last pixel, that pixel counts alone.
///
/// The halving of both sides, of which OpenCV makes an exception, needs none: these weights are
/// those of the mean of four pixels.
pub fn opencv_columns(axis: &Axis) -> Taps {
    opencv(axis, |near, fraction| {
        let within = near >= 0 && near < axis.source as i64 - 1;
        if within {
            opencv_tap(axis, [near, near + 1], fraction)
        } else {
            opencv_tap(axis, [near, near], 0.0)
        }
    })
}

/// Rows: beyond the edges the edge row is taken twice, with its two weights.
pub fn opencv_rows(axis: &Axis) -> Taps {
    opencv(axis, |near, fraction| opencv_tap(axis, [near, near + 1], fraction))
}

// --- TensorFlow ---

/// Steps between two pixels in TensorFlow's table of weights.
const TENSORFLOW_STEPS: usize = 1 << 10;

/// Keys' cubic with a = -0.75 at `distance` in [0, 1].
fn tensorflow_inner(distance: f32) -> f32 {
    const A: f64 = -0.75;
    let x = f64::from(distance);
    (((A + 2.0) * x - (A + 3.0)) * x * x + 1.0) as f32
}

/// The cubic at `1 + distance` for `distance` in [0, 1].
fn tensorflow_outer(distance: f32) -> f32 {
    const A: f64 = -0.75;
    let x = f64::from(distance + 1.0);
    (((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A) as f32
}

/// Four samples, and the bits of four f32 weights. Pixel `i` lies at `i * scale`.
pub fn tensorflow(axis: &Axis) -> Taps {
    let scale = axis.source as f32 / axis.resized as f32;
    let sample = |i| {
        let Some(i) = axis.resized_index(i) else { return Vec::new() };
        let position = i as f32 * scale;
        let whole = position as usize;
        let fraction = position - whole as f32;
        let step = (fraction * TENSORFLOW_STEPS as f32).round_ties_even() as usize;
        let distance = |steps: usize| steps as f32 / TENSORFLOW_STEPS as f32;
        let (after, before) = (distance(step), distance(TENSORFLOW_STEPS - step));
        let samples = [whole.saturating_sub(1), whole, whole + 1, whole + 2]
            .map(|x| (axis.first + x.min(axis.source - 1)) as i32);
        let weights = [
            tensorflow_outer(after),
            tensorflow_inner(after),
            tensorflow_inner(before),
            tensorflow_outer(before),
        ];
        [samples, weights.map(|weight| weight.to_bits() as i32)].concat()
    };
    let samples: Vec<Vec<i32>> = (0..axis.crop).map(sample).collect();
    Taps::new(&samples, 8)
}
