//! A value with the most that a kernel's rounding may put it off by.
//!
//! `u = 2^-24` is the largest relative error of one rounding to f32, and
//! `gamma(k) = k u / (1 - k u)` bounds the relative error of `k` roundings one after the other, whatever
//! their order (Higham, "Accuracy and Stability of Numerical Algorithms", lemma 3.1). Every bound is for
//! one element, from the very values that it is made of, and holds to all orders of `u`:
//!
//! - a sum in f32 of products `x w`, none of which passes through more than `k` roundings (an fma counts
//!   one; so does an addition), in any order: `gamma(k) sum |x w|`, and what is wrong with each `x`, times
//!   its `|w|`;
//! - a sum on tensor cores: `k = 3 K + chunks`, where `K` is the length of the longest chunk: a block of
//!   `b >= 4` exact products and the accumulator are added in fixed point, each addend cut off below the
//!   last of 24 bits of the largest, and so is the result: less than `(b + 2) 2 u sum |x w|` a block, and
//!   `K / b` blocks make `(1 + 2 / b) 2 K u sum |x w| <= 3 K u sum |x w|`. Each chunk is then added with
//!   one rounding. `tests/support/emulated/mod.rs` names the measurements behind this;
//! - factors in TF32 are rounded by the kernel to 10 bits of fraction, and by the reference likewise, so
//!   that their products are exact. Before sm_80 there is no TF32, the kernels multiply what was not
//!   rounded, and each product may differ by [`UNROUNDED_TF32`];
//! - features are multiplied by the classifier in FP16 as the sum of two f16, `2^-22 |x|` off, or
//!   `2^-31` where that is more;
//! - an image's values are rounded to f16 by the stem in FP16, and by the reference likewise;
//! - `x gate` before a pointwise convolution is rounded to the storage type once, by the reference
//!   likewise: one multiplication of two f32 is the same everywhere. A gate that the kernel computes
//!   itself is rounded to f16, and so is its product with `x`: [`Bounded::rounded_to_f16`]. Where all
//!   within the error so far rounds alike, as it does for all but a few channels, nothing is left of
//!   the error; elsewhere the product is off by the spacing of f16;
//! - batch-norm, one fma: the error so far times `|scale|`, and one rounding of the result;
//! - relu6 and no activation pass an error on as it is. Swish and sigmoid pass on [`SWISH_SLOPE`] and
//!   [`SIGMOID_SLOPE`] of it at the most, and add [`EXP_ERROR`] of the result: `exp` is an `ex2.approx`
//!   (2^-22 by the PTX ISA) of an argument that was reduced in f32 (another 2^-22), and the addition of 1
//!   and the division round once each. Where `exp` overflows, they give 0 for what is closer to it than
//!   [`EXP_OVERFLOW`]. Kernels in FP16 do not reduce the argument: it is multiplied by a rounded
//!   `log2 e`, with another rounding, so that `exp` is off by `2 u |x|` of itself besides; `rcp.approx`
//!   stands for the division (2^-23), and gives 0 from `2^126` on: [`EXP_OVERFLOW_FP16`];
//! - a gate's multiplication and a skip's addition round once each;
//! - the map between expansion and depthwise convolution is rounded to the storage type: half a unit in
//!   the last place of each of its values, on top of the error so far, times the window's `|w|`;
//! - a value stored as f16: half a unit in the last place, `2^-11 |y|`, at least `2^-25` (subnormals);
//! - below `2^-126` a rounding to f32 is absolute: [`TINY`] for each.
//!
//! The reference itself computes in f64: `2^-53` against `2^-24`, which is left out.

use crate::arch::Activation;
use crate::weights::Precision;

/// Relative error of one rounding to f32: 2^-24.
pub const U: f64 = 1.0 / (1 << 24) as f64;
/// Half of the least subnormal f32, 2^-150: error of one rounding below 2^-126.
pub const TINY: f64 = f64::from_bits((1023 - 150) << 52);
/// Relative error of swish and sigmoid, as evaluated in f32.
pub const EXP_ERROR: f64 = 8.0 * U + 2.0 * U;
/// Above the magnitude of swish where `exp(-x)` overflows f32: `88.73 exp(-88.72) < 2.7e-37`.
pub const EXP_OVERFLOW: f64 = 2.7e-37;
/// The same in FP16, where `1 + exp(-x)` is above 2^126: `87.34 2^-126 < 1.1e-36`.
pub const EXP_OVERFLOW_FP16: f64 = 1.1e-36;
/// Largest slope of `x / (1 + exp(-x))`: 1.0998.
pub const SWISH_SLOPE: f64 = 1.1;
/// Largest slope of `1 / (1 + exp(-x))`.
pub const SIGMOID_SLOPE: f64 = 0.25;
/// By how much of itself a product of two factors differs from that of the factors rounded to TF32:
/// 2^-11 of each factor, and their product.
pub const UNROUNDED_TF32: f64 = 1.0 / 1024.0 + 1.0 / (1 << 22) as f64;

/// Largest relative error of `k` roundings to f32, one after the other.
pub fn gamma(k: f64) -> f64 {
    k * U / (1.0 - k * U)
}

/// Roundings of a sum on tensor cores, of `chunks` chunks that are added up, the longest of `longest`
/// products.
pub fn tensor_core_roundings(longest: usize, chunks: usize) -> f64 {
    (3 * longest + chunks) as f64
}

/// The f16 nearest to a value, ties to even. `half` looks at a part of the bits of an f64 alone.
fn nearest_f16(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    // 11 bits of the value, and none below the least subnormal.
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(-14);
    let unit = 2f64.powi(exponent - 10);
    let nearest = (x / unit).round_ties_even() * unit;
    if nearest.abs() >= 65_536.0 { f64::INFINITY.copysign(x) } else { nearest }
}

/// Roundings of a sum of `products` on tensor cores whose matrices are diagonal. A block of exact
/// products and the accumulator loses less than twice 2 u of the sum by what it cuts off, its one
/// product that is not zero and the accumulator, and 2 u by the result; blocks of zeros lose nothing.
pub fn diagonal_roundings(products: usize) -> f64 {
    6.0 * products as f64
}

/// A value as a kernel may compute it: within `error` of `value`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounded {
    /// The value in f64.
    pub value: f64,
    /// The most that a kernel may be off by.
    pub error: f64,
}

impl Bounded {
    /// A value that is as it is.
    pub fn exact(value: f64) -> Bounded {
        Bounded { value, error: 0.0 }
    }

    /// A sum of terms whose magnitudes add up to `magnitude`, off by `inherited` before the sum rounds;
    /// no term passes through more than `roundings` roundings.
    pub fn sum(value: f64, magnitude: f64, inherited: f64, roundings: f64) -> Bounded {
        let rounding = gamma(roundings) * (magnitude + inherited) + roundings * TINY;
        let error = if magnitude + inherited == 0.0 { 0.0 } else { inherited + rounding };
        Bounded { value, error }
    }

    /// After one rounding to f32.
    pub fn rounded(self) -> Bounded {
        let Bounded { value, error } = self;
        Bounded { value, error: error + U * (value.abs() + error) + TINY }
    }

    /// `self * scale + shift` in one fma.
    pub fn batch_norm(self, scale: f32, shift: f32) -> Bounded {
        let (scale, shift) = (f64::from(scale), f64::from(shift));
        let value = self.value * scale + shift;
        Bounded { value, error: self.error * scale.abs() }.rounded()
    }

    /// Own error of `1 / (1 + exp(-self))` as a part of it, and the most where `exp` overflows.
    fn exp_error(self, precision: Precision) -> [f64; 2] {
        match precision {
            Precision::Fp32 => [EXP_ERROR, EXP_OVERFLOW],
            // The argument at which it is evaluated may be off by the error so far.
            Precision::Fp16 => {
                [EXP_ERROR + 2.0 * U * (self.value.abs() + self.error), EXP_OVERFLOW_FP16]
            }
        }
    }

    /// After an activation, as kernels of a precision evaluate it.
    pub fn activate(self, activation: Activation, precision: Precision) -> Bounded {
        let Bounded { value: x, error } = self;
        match activation {
            Activation::None => self,
            Activation::Relu6 => Bounded { value: x.clamp(0.0, 6.0), error },
            Activation::Swish => {
                let value = x / (1.0 + (-x).exp());
                let inherited = SWISH_SLOPE * error;
                let [relative, overflow] = self.exp_error(precision);
                let own = relative * (value.abs() + inherited) + overflow;
                Bounded { value, error: inherited + own }
            }
        }
    }

    /// `1 / (1 + exp(-self))`, as kernels of a precision evaluate it.
    pub fn sigmoid(self, precision: Precision) -> Bounded {
        let value = 1.0 / (1.0 + (-self.value).exp());
        let inherited = SIGMOID_SLOPE * self.error;
        let [relative, overflow] = self.exp_error(precision);
        let own = relative * (value + inherited) + overflow;
        Bounded { value, error: inherited + own }
    }

    /// Times a factor, rounded once.
    pub fn times(self, factor: f32) -> Bounded {
        let factor = f64::from(factor);
        Bounded { value: self.value * factor, error: self.error * factor.abs() }.rounded()
    }

    /// Plus a term, rounded once.
    pub fn plus(self, term: f32) -> Bounded {
        Bounded { value: self.value + f64::from(term), error: self.error }.rounded()
    }

    /// Rounded to f16 as a kernel rounds it: between what the least and the most that the kernel may
    /// have are rounded to, which is one value for almost all.
    pub fn rounded_to_f16(self) -> Bounded {
        let Bounded { value, error } = self;
        let [value, least, most] = [value, value - error, value + error].map(nearest_f16);
        // Not a difference of infinities.
        let error = if least == most { 0.0 } else { (value - least).max(most - value) };
        Bounded { value, error }
    }

    /// Stored in a precision: an f32 as it is.
    pub fn stored(self, precision: Precision) -> Bounded {
        let Bounded { value, error } = self;
        match precision {
            Precision::Fp32 => self,
            Precision::Fp16 => {
                let half_unit = ((value.abs() + error) * 2f64.powi(-11)).max(2f64.powi(-25));
                Bounded { value, error: error + half_unit }
            }
        }
    }
}

/// What a step reads: an exact value of a tensor, or one that was computed on the way.
pub trait Operand: Copy + Send + Sync {
    /// The value with its bound.
    fn bounded(self) -> Bounded;
}

impl Operand for f32 {
    fn bounded(self) -> Bounded {
        Bounded::exact(self.into())
    }
}

impl Operand for Bounded {
    fn bounded(self) -> Bounded {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// f32 arithmetic on what f64 computes stays within the bound, and the bound is not idle.
    #[test]
    fn f32_arithmetic_keeps_to_the_bounds_and_comes_near_them() {
        let mut random = crate::weights::stand_in::Random::new(1);
        let mut worst = [0.0f64; 4];
        for _ in 0..20_000 {
            let [x, scale, shift] = [(); 3].map(|()| random.signed());
            let exact = f32::mul_add(x, scale, shift);
            let normalised = Bounded::exact(x.into()).batch_norm(scale, shift);
            let swish = normalised.activate(Activation::Swish, Precision::Fp32);
            let found = [
                (f64::from(exact), normalised),
                (f64::from(exact / (1.0 + (-exact).exp())), swish),
                (f64::from(1.0 / (1.0 + (-exact).exp())), normalised.sigmoid(Precision::Fp32)),
                (f16::from_f32(exact).to_f64(), normalised.stored(Precision::Fp16)),
            ];
            for ((found, Bounded { value, error }), worst) in found.into_iter().zip(&mut worst) {
                *worst = worst.max((found - value).abs() / error);
            }
        }
        assert!(worst.iter().all(|&ratio| ratio <= 1.0), "{worst:?}");
        // A single rounding reaches its bound; of several, a part is enough.
        assert!(worst[0] > 0.9 && worst[3] > 0.9, "{worst:?}");
        assert!(worst[1] > 0.05 && worst[2] > 0.05, "{worst:?}");
    }

    #[test]
    fn a_sum_of_nothing_is_exact_and_one_of_much_is_bounded_by_its_magnitude() {
        assert_eq!(Bounded::sum(0.0, 0.0, 0.0, 100.0), Bounded::exact(0.0));
        let x: Vec<f32> = crate::weights::stand_in::Random::new(2).vector(3000);
        let found = x.iter().fold(0.0f32, |sum, &x| f32::mul_add(x, x, sum));
        let value: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let bounded = Bounded::sum(value, value, 0.0, 3000.0);
        let off = (f64::from(found) - value).abs();
        assert!(off > 0.0 && off <= bounded.error, "{off:.2e} of {:.2e}", bounded.error);
    }

    #[test]
    fn what_rounds_alike_is_exact_in_f16() {
        let near = |value: f64, error: f64| Bounded { value, error }.rounded_to_f16();
        let unit = 2f64.powi(-11);
        assert_eq!(near(1.0 + 0.3 * unit, 0.1 * unit), Bounded::exact(1.0));
        // Half a unit above one: it may become one, or the next value.
        let halfway = near(0.5 + 0.5 * unit, 1e-9);
        assert!(
            halfway.error == unit && (halfway.value - 0.5).min(0.5 + unit - halfway.value) == 0.0
        );
        for (x, expected) in [
            (65_519.9, 65_504.0),
            (65_520.0, f64::INFINITY),
            (-1e300, f64::NEG_INFINITY),
            (2f64.powi(-25), 0.0),
            (1.1 * 2f64.powi(-25), 2f64.powi(-24)),
            (1e-300, 0.0),
        ] {
            assert_eq!(nearest_f16(x), expected, "{x:e}");
        }
        for bits in 0..0x7c00 {
            let exact = f16::from_bits(bits).to_f64();
            assert_eq!(nearest_f16(exact), exact);
        }
        let mut random = crate::weights::stand_in::Random::new(4);
        for _ in 0..20_000 {
            let [value, part, within] = [(); 3].map(|()| f64::from(random.signed()));
            let error = part.abs() * 1e-3;
            let Bounded { value: rounded, error: bound } = near(value, error);
            let found = nearest_f16(value + error * within);
            assert!((found - rounded).abs() <= bound, "{value} {error} {within}");
        }
    }

    #[test]
    fn a_swish_whose_exponential_overflows_may_be_zero() {
        for (x, precision) in [(-88.8, Precision::Fp32), (-87.4, Precision::Fp16)] {
            let bounded = Bounded::exact(x).activate(Activation::Swish, precision);
            assert!(bounded.value.abs() <= bounded.error);
        }
    }
}
