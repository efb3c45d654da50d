//! TensorFlow 1's `resize_bicubic` (`align_corners` and `half_pixel_centers` both false).
//!
//! Keys' cubic with a = -0.75 at four taps along each axis, rows first, in f32; pixel `i` lies at
//! `i * scale`, nothing is antialiased, and the weights come from a table of 1024 steps. Values are
//! neither rounded nor clipped.

use super::{Resize, Window};
use std::ops::Range;

/// Steps between two pixels.
const STEPS: usize = 1 << 10;
const A: f64 = -0.75;

/// Four source samples and their weights.
struct Tap {
    samples: [usize; 4],
    weights: [f32; 4],
}

/// The kernel at `distance` in [0, 1].
fn inner(distance: f32) -> f32 {
    let x = f64::from(distance);
    (((A + 2.0) * x - (A + 3.0)) * x * x + 1.0) as f32
}

/// The kernel at `1 + distance` for `distance` in [0, 1].
fn outer(distance: f32) -> f32 {
    let x = f64::from(distance + 1.0);
    (((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A) as f32
}

fn taps(source: usize, resized: usize, wanted: Range<usize>) -> Vec<Tap> {
    let scale = source as f32 / resized as f32;
    let tap = |i| {
        let position = i as f32 * scale;
        let whole = position as usize;
        let step = ((position - whole as f32) * STEPS as f32).round_ties_even() as usize;
        let (after, before) = (step as f32 / STEPS as f32, (STEPS - step) as f32 / STEPS as f32);
        let clamp = |x: usize| x.min(source - 1);
        Tap {
            samples: [
                clamp(whole.saturating_sub(1)),
                clamp(whole),
                clamp(whole + 1),
                clamp(whole + 2),
            ],
            weights: [outer(after), inner(after), inner(before), outer(before)],
        }
    };
    wanted.map(tap).collect()
}

/// Writes the wanted window.
pub(super) fn resize(resize: &Resize, out: &mut Window<f32>) {
    let Resize { source, resized, rows, columns } = resize;
    let rows = taps(source.size.h, resized.h, rows.clone());
    let columns = taps(source.size.w, resized.w, columns.clone());
    // One row between the passes, [source w, 3].
    let mut between = vec![0.0_f32; source.size.w * 3];
    for (y, row) in rows.iter().enumerate() {
        let lines = row.samples.map(|sample| source.row(sample));
        for (x, to) in between.iter_mut().enumerate() {
            *to = weighted(row.weights, lines.map(|line| f32::from(line[x])));
        }
        let pixels = between.as_chunks::<3>().0;
        for (to, column) in out.row(y).as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let near = column.samples.map(|sample| pixels[sample]);
            for c in 0..3 {
                to[c] = weighted(column.weights, near.map(|pixel| pixel[c]));
            }
        }
    }
}

fn weighted(w: [f32; 4], x: [f32; 4]) -> f32 {
    x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3]
}
