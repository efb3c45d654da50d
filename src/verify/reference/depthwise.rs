//! `y = act(conv(x) * scale + shift)`, channel by channel, and the squeeze's sums.

use super::{Finish, by_rows, inside, tile_sums};
use crate::arch::ConvGeometry;
use crate::kernels::depthwise;
use crate::verify::bounds::{Bounded, Operand, diagonal_roundings};
use crate::weights::Precision;

/// `x` `[n, h, w, c]`, `weight` `[k, k, c]`; the result `[n, h_out, w_out, c]`. One fma for each of
/// `k k` products.
pub fn depthwise<X: Operand>(
    x: &[X],
    n: usize,
    conv: &ConvGeometry,
    c: usize,
    weight: &[f32],
    finish: Finish<'_>,
) -> Vec<Bounded> {
    let (input, output) = (conv.input, conv.output);
    let roundings = match finish.precision {
        Precision::Fp32 => (conv.k * conv.k) as f64,
        // On tensor cores, of whose products all but one of each matrix are exact zeros.
        Precision::Fp16 => diagonal_roundings(conv.k * conv.k),
    };
    by_rows(n * output.h, output.w * c, |row, values| {
        let (image, oy) = (row / output.h, row % output.h);
        // Value, magnitude, error of the inputs.
        let mut sums = vec![[0.0f64; 3]; c];
        for (ox, values) in values.chunks_mut(c).enumerate() {
            sums.fill([0.0; 3]);
            for ky in inside(conv, oy, conv.pad_top, input.h) {
                let y = oy * conv.stride + ky - conv.pad_top;
                for kx in inside(conv, ox, conv.pad_left, input.w) {
                    let x_at = ox * conv.stride + kx - conv.pad_left;
                    let pixel = &x[((image * input.h + y) * input.w + x_at) * c..][..c];
                    let tap = &weight[(ky * conv.k + kx) * c..][..c];
                    for ((sum, x), &w) in sums.iter_mut().zip(pixel).zip(tap) {
                        let (x, w) = (x.bounded(), f64::from(w));
                        let product = x.value * w;
                        sum[0] += product;
                        sum[1] += product.abs();
                        sum[2] += x.error * w.abs();
                    }
                }
            }
            for (c, (y, &[value, magnitude, error])) in values.iter_mut().zip(&sums).enumerate() {
                *y = finish.of(c, Bounded::sum(value, magnitude, error, roundings));
            }
        }
    })
}

/// The kernel's partial sums of a map `[n, h_out, w_out, c]`, and their number for an image.
pub fn depthwise_tiles(
    map: &[Bounded],
    precision: Precision,
    conv: &ConvGeometry,
    c: usize,
) -> (Vec<Bounded>, usize) {
    let (h, w) = (conv.output.h, conv.output.w);
    let tiles = depthwise::Tiles::new(precision, conv.k, conv.stride, [h as i32, w as i32]);
    let count = tiles.count() as usize;
    let additions = tiles.additions() as f64;
    (tile_sums(map, [h * w, c], count, additions, |pixel| tiles.of(pixel / w, pixel % w)), count)
}
