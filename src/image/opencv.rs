//! OpenCV's `resize` with `INTER_LINEAR` on 8-bit pictures, bit for bit.
//!
//! Two taps along each axis at half-pixel-centred positions in f32, weights with [`WEIGHT_BITS`]
//! fractional bits, columns first; nothing is antialiased. The halving of both sides is OpenCV's
//! one exception: it averages four pixels.

use super::{Resize, Sample, Window};
use std::ops::Range;

/// Fractional bits of the weights.
const WEIGHT_BITS: u32 = 11;

/// Two source samples and their weights.
#[derive(Clone, Copy)]
struct Tap {
    near: usize,
    far: usize,
    weights: [i32; 2],
}

/// Position of sample `i`: whole part, and fraction in f32.
fn position(i: usize, scale: f64) -> (isize, f32) {
    let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
    let whole = position.floor();
    (whole as isize, position - whole)
}

/// `1 - fraction` and `fraction` in fixed point, each rounded half to even.
fn weights(fraction: f32) -> [i32; 2] {
    let one = (1 << WEIGHT_BITS) as f32;
    [1.0 - fraction, fraction].map(|weight| (weight * one).round_ties_even() as i32)
}

/// Columns: beyond the first and the last pixel, that pixel counts alone.
fn columns(source: usize, resized: usize, wanted: Range<usize>) -> Vec<Tap> {
    let scale = 1.0 / (resized as f64 / source as f64);
    let tap = |i| {
        let (near, fraction) = position(i, scale);
        if near < 0 || near as usize >= source - 1 {
            let near = near.clamp(0, source as isize - 1) as usize;
            return Tap { near, far: near, weights: weights(0.0) };
        }
        Tap { near: near as usize, far: near as usize + 1, weights: weights(fraction) }
    };
    wanted.map(tap).collect()
}

/// Rows: beyond the edges the edge row is taken twice, with its two weights.
fn rows(source: usize, resized: usize, wanted: Range<usize>) -> Vec<Tap> {
    let scale = 1.0 / (resized as f64 / source as f64);
    let clamp = |y: isize| y.clamp(0, source as isize - 1) as usize;
    let tap = |i| {
        let (near, fraction) = position(i, scale);
        Tap { near: clamp(near), far: clamp(near + 1), weights: weights(fraction) }
    };
    wanted.map(tap).collect()
}

/// Writes the wanted window, in whole levels.
pub(super) fn resize<T: Sample>(resize: &Resize, out: &mut Window<T>) {
    let Resize { source, resized, .. } = resize;
    if source.size.h == 2 * resized.h && source.size.w == 2 * resized.w {
        return halve(resize, out);
    }
    let columns = columns(source.size.w, resized.w, resize.columns.clone());
    let rows = rows(source.size.h, resized.h, resize.rows.clone());
    let width = columns.len() * 3;
    // The two source rows in use, resampled, [columns, 3], and their numbers.
    let mut held = [vec![0_i32; width], vec![0_i32; width]];
    let mut numbers = [usize::MAX; 2];
    for (y, row) in rows.iter().enumerate() {
        if numbers[0] != row.near && numbers[1] == row.near {
            held.swap(0, 1);
            numbers.swap(0, 1);
        }
        for (slot, number) in [row.near, row.far].into_iter().enumerate() {
            if numbers[slot] != number {
                resample_row(source.row(number), &columns, &mut held[slot]);
                numbers[slot] = number;
            }
        }
        let [w0, w1] = row.weights;
        for ((to, &near), &far) in out.row(y).iter_mut().zip(&held[0]).zip(&held[1]) {
            // Each product keeps 2 of its 22 fractional bits, truncated, before the rounding.
            let sum = ((w0 * (near >> 4)) >> 16) + ((w1 * (far >> 4)) >> 16);
            *to = T::of_level(((sum + 2) >> 2).clamp(0, 255) as u8);
        }
    }
}

/// One source row, [source w, 3], to [columns, 3] with [`WEIGHT_BITS`] fractional bits.
fn resample_row(row: &[u8], columns: &[Tap], to: &mut [i32]) {
    let pixels = row.as_chunks::<3>().0;
    for (to, tap) in to.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
        let (near, far) = (pixels[tap.near], pixels[tap.far]);
        let [w0, w1] = tap.weights;
        for c in 0..3 {
            to[c] = i32::from(near[c]) * w0 + i32::from(far[c]) * w1;
        }
    }
}

/// Half of both sides: the rounded mean of 2x2 pixels.
fn halve<T: Sample>(resize: &Resize, out: &mut Window<T>) {
    let x0 = resize.columns.start * 6;
    for (y, row) in resize.rows.clone().enumerate() {
        let upper = resize.source.row(2 * row)[x0..].as_chunks::<6>().0;
        let lower = resize.source.row(2 * row + 1)[x0..].as_chunks::<6>().0;
        let to = out.row(y).as_chunks_mut::<3>().0;
        for ((to, upper), lower) in to.iter_mut().zip(upper).zip(lower) {
            for c in 0..3 {
                let sum = [upper[c], upper[c + 3], lower[c], lower[c + 3]].map(u16::from);
                to[c] = T::of_level(((sum.iter().sum::<u16>() + 2) >> 2) as u8);
            }
        }
    }
}
