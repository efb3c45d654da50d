//! Steps on vectors per image: squeeze-excite, pool, classifier.
//!
//! All read weights where they lie in the packed file.

use super::activation::{sigmoid, swish};
use super::layout::Location;
use super::simd::Simd;
use super::tile::{load_columns, store_columns};
use super::{Run, Values};
use crate::arch::Size;

/// Rows of weights that a task of a matrix-vector product takes.
const ROWS: usize = 4;

/// `sum of w[i] * x[i]` for `rows` rows of weights at once, `[rows, x.len()]`.
#[inline(always)]
fn dots<S: Simd>(s: S, w: &[f32], x: &[f32], rows: usize) -> [f32; ROWS] {
    let k = x.len();
    assert!(rows <= ROWS && w.len() >= rows * k);
    let whole = k / S::LANES * S::LANES;
    let mut dots = [0.0; ROWS];
    if rows == ROWS {
        let mut sums = [s.splat(0.0); ROWS];
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: `i + LANES <= whole <= k`, and `w` has ROWS rows of `k`.
            unsafe {
                let x = s.load(x.as_ptr().add(i));
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(s.load(w.as_ptr().add(r * k + i)), x, *sum);
                }
            }
        }
        for (dot, sum) in dots.iter_mut().zip(sums) {
            *dot = lanes_sum(s, sum);
        }
    } else {
        for (r, dot) in dots.iter_mut().enumerate().take(rows) {
            let mut sum = s.splat(0.0);
            for i in (0..whole).step_by(S::LANES) {
                // SAFETY: as above, with `r < rows`.
                unsafe {
                    let x = s.load(x.as_ptr().add(i));
                    sum = s.fma(s.load(w.as_ptr().add(r * k + i)), x, sum);
                }
            }
            *dot = lanes_sum(s, sum);
        }
    }
    for (r, dot) in dots.iter_mut().enumerate().take(rows) {
        for i in whole..k {
            *dot += w[r * k + i] * x[i];
        }
    }
    dots
}

/// The sum of a vector's elements, in pairs.
#[inline(always)]
fn lanes_sum<S: Simd>(s: S, v: S::V) -> f32 {
    let mut lanes = [0.0; super::simd::MAX_LANES];
    store_columns(s, &mut lanes, [v], S::LANES);
    let mut n = super::simd::MAX_LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}

/// `y[c] = act(y[c])`, vector by vector.
#[inline(always)]
fn map_in_place<S: Simd>(s: S, y: &mut [f32], f: impl Fn(S::V) -> S::V) {
    for part in y.chunks_mut(S::LANES) {
        let columns = part.len();
        let [v] = load_columns::<S, 1>(s, part, columns);
        store_columns(s, part, [f(v)], columns);
    }
}

/// The first half of squeeze-excite: `reduced = swish(reduce_weight . squeeze + bias)`.
#[derive(Debug)]
pub(super) struct SeReduce {
    pub c: usize,
    pub c_se: usize,
    /// Bands of the depthwise convolution, whose sums are `[bands, c]`.
    pub bands: usize,
    /// Pixels of the depthwise output.
    pub pixels: usize,
    pub squeeze: Location,
    /// `[c_se, c]`.
    pub weight: Values,
    /// `[c_se]`.
    pub bias: Values,
}

impl SeReduce {
    /// Rows per task: few enough tasks that adding up the squeeze in each costs little.
    fn task_rows(&self) -> usize {
        self.c_se.div_ceil(4).next_multiple_of(ROWS)
    }

    /// Number of tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.c_se.div_ceil(self.task_rows())
    }

    /// Runs a task of one image.
    pub(super) fn run<S: Simd>(
        &self,
        s: S,
        run: &Run<'_>,
        image: usize,
        task: usize,
        scratch: &mut [f32],
    ) {
        let sums_elems = self.bands * self.c;
        let sums = run.partials.part(image * sums_elems..(image + 1) * sums_elems);
        // SAFETY: the depthwise step has written them; nobody does during this step.
        let sums = unsafe { sums.read() };
        let (w, bias) = (self.weight.get(run.weights), self.bias.get(run.weights));
        let rows = task * self.task_rows()..((task + 1) * self.task_rows()).min(self.c_se);
        let reduced =
            run.reduced.part(image * run.reduced_stride..(image + 1) * run.reduced_stride);
        // SAFETY: these rows belong to this task alone.
        let reduced = unsafe { reduced.part(rows.clone()).write() };
        let mean = &mut scratch[..self.c];
        s.vectorize(
            #[inline(always)]
            || {
                mean.copy_from_slice(&sums[..self.c]);
                for band in sums.chunks_exact(self.c).skip(1) {
                    mean.iter_mut().zip(band).for_each(|(mean, &x)| *mean += x);
                }
                mean.iter_mut().for_each(|mean| *mean /= self.pixels as f32);
                for (i, reduced) in reduced.chunks_mut(ROWS).enumerate() {
                    let row = rows.start + i * ROWS;
                    let dots = dots(s, &w[row * self.c..], mean, reduced.len());
                    for (r, reduced) in reduced.iter_mut().enumerate() {
                        *reduced = dots[r] + bias[row + r];
                    }
                }
                map_in_place(
                    s,
                    reduced,
                    #[inline(always)]
                    |v| swish(s, v),
                );
            },
        );
        if task == 0 {
            // SAFETY: the first task alone writes the squeeze.
            unsafe { run.map(self.squeeze, image).write() }.copy_from_slice(mean);
        }
    }
}

/// The second half of squeeze-excite: `gate = sigmoid(expand_weight^T . reduced + bias)`.
#[derive(Debug)]
pub(super) struct SeExpand {
    pub c: usize,
    pub c_se: usize,
    pub gate: Location,
    /// `[c_se, c]`.
    pub weight: Values,
    /// `[c]`.
    pub bias: Values,
}

impl SeExpand {
    /// Channels per task.
    const CHANNELS: usize = 256;

    /// Number of tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.c.div_ceil(SeExpand::CHANNELS)
    }

    /// Runs a task of one image.
    pub(super) fn run<S: Simd>(&self, s: S, run: &Run<'_>, image: usize, task: usize) {
        let channels = task * SeExpand::CHANNELS..((task + 1) * SeExpand::CHANNELS).min(self.c);
        // SAFETY: these channels belong to this task alone.
        let gate = unsafe { run.map(self.gate, image).part(channels.clone()).write() };
        let start = image * run.reduced_stride;
        // SAFETY: the step before has written it; nobody does during this step.
        let reduced = unsafe { run.reduced.part(start..start + self.c_se).read() };
        let (w, bias) = (self.weight.get(run.weights), self.bias.get(run.weights));
        s.vectorize(
            #[inline(always)]
            || {
                gate.copy_from_slice(&bias[channels.clone()]);
                for (w, &x) in w.chunks_exact(self.c).zip(reduced) {
                    for (gate, &w) in gate.iter_mut().zip(&w[channels.clone()]) {
                        *gate += w * x;
                    }
                }
                map_in_place(
                    s,
                    gate,
                    #[inline(always)]
                    |v| sigmoid(s, v),
                );
            },
        );
    }
}

/// The mean over all pixels.
#[derive(Debug)]
pub(super) struct Pool {
    pub size: Size,
    pub c: usize,
    pub input: Location,
    pub output: Location,
}

impl Pool {
    /// Channels per task.
    const CHANNELS: usize = 256;

    /// Number of tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.c.div_ceil(Pool::CHANNELS)
    }

    /// Runs a task of one image: sums of rows first, then the sum of those.
    pub(super) fn run<S: Simd>(&self, s: S, run: &Run<'_>, image: usize, task: usize) {
        let channels = task * Pool::CHANNELS..((task + 1) * Pool::CHANNELS).min(self.c);
        // SAFETY: the plan keeps a step's inputs unwritten while the step runs.
        let x = unsafe { run.map(self.input, image).read() };
        // SAFETY: these channels belong to this task alone.
        let mean = unsafe { run.map(self.output, image).part(channels.clone()).write() };
        s.vectorize(
            #[inline(always)]
            || {
                mean.fill(0.0);
                for row in x.chunks_exact(self.size.w * self.c) {
                    let mut sums = [0.0; Pool::CHANNELS];
                    for pixel in row.chunks_exact(self.c) {
                        sums.iter_mut().zip(&pixel[channels.clone()]).for_each(|(s, x)| *s += x);
                    }
                    mean.iter_mut().zip(&sums).for_each(|(mean, x)| *mean += x);
                }
                mean.iter_mut().for_each(|mean| *mean /= self.size.pixels() as f32);
            },
        );
    }
}

/// `logits = features . w^T + bias`.
#[derive(Debug)]
pub(super) struct Classifier {
    pub c_in: usize,
    pub classes: usize,
    pub input: Location,
    pub output: Location,
    /// `[classes, c_in]`.
    pub weight: Values,
    /// `[classes]`.
    pub bias: Values,
}

impl Classifier {
    /// Classes per task.
    const CLASSES: usize = 8 * ROWS;

    /// Number of tasks; each computes its classes for all images, so that weights are read once.
    pub(super) fn tasks(&self) -> usize {
        self.classes.div_ceil(Classifier::CLASSES)
    }

    /// Runs a task for all images.
    pub(super) fn run<S: Simd>(&self, s: S, run: &Run<'_>, task: usize) {
        let (w, bias) = (self.weight.get(run.weights), self.bias.get(run.weights));
        let end = ((task + 1) * Classifier::CLASSES).min(self.classes);
        for first in (task * Classifier::CLASSES..end).step_by(ROWS) {
            let rows = ROWS.min(end - first);
            for image in 0..run.n {
                // SAFETY: the plan keeps a step's inputs unwritten while the step runs.
                let x = unsafe { run.map(self.input, image).read() };
                // SAFETY: these classes belong to this task alone.
                let to = unsafe { run.map(self.output, image).part(first..first + rows).write() };
                s.vectorize(
                    #[inline(always)]
                    || {
                        let dots = dots(s, &w[first * self.c_in..], x, rows);
                        for (r, to) in to.iter_mut().enumerate() {
                            *to = dots[r] + bias[first + r];
                        }
                    },
                );
            }
        }
    }
}
