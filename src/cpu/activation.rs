//! Activations on vectors.
//!
//! `exp` is Cody and Waite's: `x = n ln 2 + r` with `ln 2` in two parts, a polynomial for `e^r` on
//! `|r| <= ln 2 / 2` (Cephes `expf`), then a scaling by `2^n`. The largest errors against f64, which
//! the tests of this file measure over every exponent, are 3e-7 relative for `sigmoid` and for
//! `swish` where the exact value is at least 1e-36 in magnitude, and 1e-36 absolute below that.

use super::simd::Simd;
use crate::arch::Activation;

/// `e^x` for `x` clamped to `-87..=88`, where the result and its reciprocal are normal numbers.
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LN_2_HI: f32 = 0.693_359_4;
    const LN_2_LO: f32 = -2.121_944_4e-4;
    // 1.5 * 2^23: adding and subtracting it rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;

    let x = s.min(s.splat(88.0), s.max(s.splat(-87.0), x));
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.add(shifted, s.splat(-ROUND));
    let r = s.fma(n, s.splat(-LN_2_HI), x);
    let r = s.fma(n, s.splat(-LN_2_LO), r);

    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.fma(p, s.mul(r, r), s.add(r, s.splat(1.0)));
    s.scale2(p, n)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.mul(x, s.splat(-1.0)));
    s.div(s.splat(1.0), s.add(e, s.splat(1.0)))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn swish<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.mul(x, s.splat(-1.0)));
    s.div(x, s.add(e, s.splat(1.0)))
}

/// `act(x)`.
#[inline(always)]
pub(super) fn apply<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    match activation {
        Activation::Swish => swish(s, x),
        Activation::Relu6 => s.min(s.splat(6.0), s.max(s.splat(0.0), x)),
        Activation::None => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::{Isa, WithSimd};

    struct Map<'a>(&'a [f32], &'a mut [f32], fn(f64) -> f64);

    impl Map<'_> {
        fn one<S: Simd>(s: S, x: f32, name: &str) -> f32 {
            let mut out = [0.0; 16];
            s.vectorize(
                #[inline(always)]
                || {
                    let x = s.splat(x);
                    let y = match name {
                        "sigmoid" => sigmoid(s, x),
                        "swish" => swish(s, x),
                        _ => apply(s, Activation::Relu6, x),
                    };
                    // SAFETY: no vector has more than 16 lanes.
                    unsafe { s.store(out.as_mut_ptr(), y) };
                },
            );
            out[0]
        }
    }

    struct Sweep;

    impl WithSimd for Sweep {
        type Output = ();
        fn call<S: Simd>(self, s: S) {
            let mut worst = [0.0f64; 2];
            // 64 mantissas of every exponent, both signs: zeros and subnormals to 2^127.
            for high in 0..=0x1_fdff_u32 {
                for sign in [0, 1 << 31] {
                    if high % 2 == 1 {
                        continue;
                    }
                    let x = f32::from_bits((high << 14) & 0x7fff_ffff | 0x155 | sign);
                    if !x.is_finite() {
                        continue;
                    }
                    let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
                    for (i, (name, exact)) in [("sigmoid", exact), ("swish", f64::from(x) * exact)]
                        .into_iter()
                        .enumerate()
                    {
                        let found = f64::from(Map::one(s, x, name));
                        let error = (found - exact).abs();
                        if exact.abs() >= 1e-36 {
                            worst[i] = worst[i].max(error / exact.abs());
                        } else {
                            assert!(error <= 1e-36 * f64::from(x).abs().max(1.0), "{name}({x:e})");
                        }
                    }
                }
            }
            assert!(worst.iter().all(|&worst| worst <= 3e-7), "{worst:e?}");
            assert!(worst.iter().all(|&worst| worst > 0.0));
        }
    }
}
