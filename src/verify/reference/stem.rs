//! `y = act(conv(x) * scale + shift)`: 3 x 3, stride 2, of an image with 3 channels.

use super::{Finish, by_rows, inside};
use crate::arch::ConvGeometry;
use crate::verify::bounds::{Bounded, tensor_core_roundings};
use crate::weights::Precision;
use half::f16;

/// Products of a sum on tensor cores: the taps and zeros, a multiple of 16.
const TENSOR_CORE_PRODUCTS: usize = 32;

/// `x` `[n, h, w, 3]`, `weight` `[k, k, 3, c_out]`; the result `[n, h_out, w_out, c_out]`. In f32 one
/// fma for each of `3 k k` products. In FP16 the kernel rounds `x` to f16, and so does this: one
/// rounding to nearest is the same everywhere.
pub fn stem(
    x: &[f32],
    n: usize,
    conv: &ConvGeometry,
    c_out: usize,
    weight: &[f32],
    finish: Finish<'_>,
) -> Vec<Bounded> {
    let (input, output) = (conv.input, conv.output);
    let roundings = match finish.precision {
        Precision::Fp32 => (3 * conv.k * conv.k) as f64,
        Precision::Fp16 => tensor_core_roundings(TENSOR_CORE_PRODUCTS, 0),
    };
    let factor = |x: f32| match finish.precision {
        Precision::Fp32 => f64::from(x),
        Precision::Fp16 => f16::from_f32(x).to_f64(),
    };
    by_rows(n * output.h, output.w * c_out, |row, values| {
        let (image, oy) = (row / output.h, row % output.h);
        let mut sums = vec![[0.0f64; 2]; c_out];
        for (ox, values) in values.chunks_mut(c_out).enumerate() {
            sums.fill([0.0; 2]);
            for ky in inside(conv, oy, conv.pad_top, input.h) {
                let y = oy * conv.stride + ky - conv.pad_top;
                for kx in inside(conv, ox, conv.pad_left, input.w) {
                    let x_at = ox * conv.stride + kx - conv.pad_left;
                    let pixel = &x[((image * input.h + y) * input.w + x_at) * 3..][..3];
                    for (i, &x) in pixel.iter().enumerate() {
                        let x = factor(x);
                        let tap = &weight[((ky * conv.k + kx) * 3 + i) * c_out..][..c_out];
                        for (sum, &w) in sums.iter_mut().zip(tap) {
                            let product = x * f64::from(w);
                            sum[0] += product;
                            sum[1] += product.abs();
                        }
                    }
                }
            }
            for (c, (y, &[value, magnitude])) in values.iter_mut().zip(&sums).enumerate() {
                *y = finish.of(c, Bounded::sum(value, magnitude, 0.0, roundings));
            }
        }
    })
}
