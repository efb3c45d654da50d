//! `y = act(conv(x) * scale + shift)`, channel by channel, and the squeeze's sums.

use super::{Finish, by_rows, inside, tile_sums};
use crate::arch::ConvGeometry;
use crate::kernels::depthwise;
use crate::kernels::params::{DEPTHWISE_STRIP_PIXELS, DEPTHWISE_TILE_STRIPS};
use crate::verify::bounds::{Bounded, Operand};

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
    let roundings = (conv.k * conv.k) as f64;
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

/// The kernel's partial sums of a map `[n, h_out, w_out, c]`, and their number for an image. Four pixels
/// of a strip, then the eight strips of a warp in a tree, then two warps: no value goes through more than
/// 4 + 3 + 1 additions.
pub fn depthwise_tiles(map: &[Bounded], conv: &ConvGeometry, c: usize) -> (Vec<Bounded>, usize) {
    let (h, w) = (conv.output.h, conv.output.w);
    let tiles = depthwise::tiles(h as i32, w as i32) as usize;
    let (strip, tile) = (DEPTHWISE_STRIP_PIXELS as usize, DEPTHWISE_TILE_STRIPS as usize);
    let strips_of_row = w.div_ceil(strip);
    let tile_of = |pixel: usize| (pixel / w * strips_of_row + pixel % w / strip) / tile;
    (tile_sums(map, [h * w, c], tiles, 8.0, tile_of), tiles)
}
