//! Activations on vectors.
//!
//! `exp` is Cody and Waite's: `x = n ln 2 + r` with `ln 2` in two parts, a polynomial for `e^r` on
//! `|r| <= ln 2 / 2` (Cephes `expf`), then a scaling by `2^n`. `sigmoid` and `swish` are off by at
//! most 3e-7 of their values where `x >= -87`, and below by at most 1e-38 times `max(1, |x|)`; the
//! test checks every exponent. NaN stays NaN.

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
pub(super) mod tests {
    use super::*;
    use crate::cpu::simd::{MAX_LANES, WithSimd};

    /// Measures the errors of this file's head.
    pub(in crate::cpu) struct Sweep;

    /// The first lane of `(sigmoid(x), swish(x), relu6(x))`.
    fn apply_all<S: Simd>(s: S, x: f32) -> [f32; 3] {
        let mut lanes = [[0.0; MAX_LANES]; 3];
        s.vectorize(
            #[inline(always)]
            || {
                let x = s.splat(x);
                let results = [sigmoid(s, x), swish(s, x), apply(s, Activation::Relu6, x)];
                for (lanes, y) in lanes.iter_mut().zip(results) {
                    // SAFETY: no vector is longer than MAX_LANES.
                    unsafe { s.store(lanes.as_mut_ptr(), y) };
                }
            },
        );
        lanes.map(|lanes| lanes[0])
    }

    impl WithSimd for Sweep {
        type Output = ();

        fn call<S: Simd>(self, s: S) {
            // 1024 mantissas of every exponent, subnormals to 2^127, both signs.
            for step in 0..255 << 10 {
                for sign in [0, 1 << 31] {
                    let x = f32::from_bits((step << 13) | (step * 0x95f & 0x1fff) | sign);
                    let [sigmoid, swish, relu6] = apply_all(s, x).map(f64::from);
                    assert_eq!(relu6, f64::from(x.clamp(0.0, 6.0)));
                    let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
                    for (found, exact) in [(sigmoid, exact), (swish, f64::from(x) * exact)] {
                        let error = (found - exact).abs();
                        let tiny = 1e-38 * f64::from(x).abs().max(1.0);
                        let bound = if x < -87.0 { tiny } else { 3e-7 * exact.abs() + tiny };
                        assert!(error <= bound, "x {x:e}: expected {exact:e}, found {found:e}");
                    }
                }
            }
            for y in apply_all(s, f32::NAN) {
                assert!(y.is_nan());
            }
        }
    }
}
