//! Exact sums and products of f64 in fixed point, and what it means to be rounded.

use std::cmp::Ordering;

use super::super::Rounding;

/// A signed number of 70 words, in units of 2^-2148: every product of two f64, and sums of a few.
#[derive(Clone)]
pub(super) struct Fixed([u64; 70]);

impl Fixed {
    pub(super) fn zero() -> Self {
        Fixed([0; 70])
    }

    /// Adds `factor * x * y`, for a factor of 1, -1 or 2.
    pub(super) fn add_product(mut self, factor: i32, x: f64, y: f64) -> Self {
        let (x_mantissa, x_exponent) = parts(x);
        let (y_mantissa, y_exponent) = parts(y);
        let negative = (x < 0.0) != ((y < 0.0) != (factor < 0));
        let product = x_mantissa * y_mantissa * u128::from(factor.unsigned_abs());
        let place = (x_exponent + y_exponent + 2148) as usize;
        let (word, bit) = (place / 64, place % 64);
        let low = product << bit;
        let high = if bit == 0 { 0 } else { product >> (128 - bit) };
        let mut digits = [0; 70];
        digits[word] = low as u64;
        digits[word + 1] = (low >> 64) as u64;
        if word + 2 < 70 {
            digits[word + 2] = high as u64;
        }
        let mut carry = u128::from(negative);
        for (word, digit) in self.0.iter_mut().zip(digits) {
            let digit = if negative { !digit } else { digit };
            let sum = u128::from(*word) + u128::from(digit) + carry;
            *word = sum as u64;
            carry = sum >> 64;
        }
        self
    }

    pub(super) fn add(self, factor: i32, x: f64) -> Self {
        self.add_product(factor, x, 1.0)
    }

    pub(super) fn sign(&self) -> Ordering {
        if self.0[69] >> 63 != 0 {
            Ordering::Less
        } else if self.0.iter().any(|&word| word != 0) {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }
}

/// Of a finite number: mantissa and exponent.
fn parts(x: f64) -> (u128, i32) {
    let bits = x.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let fraction = u128::from(bits & ((1 << 52) - 1));
    (if exponent == 0 { fraction } else { fraction | 1 << 52 }, exponent.max(1) - 1075)
}

/// A format, by its neighbours.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) up: fn(f64) -> f64,
    pub(super) largest: f64,
    /// The last bit is 0.
    pub(super) even: fn(f64) -> bool,
}

pub(super) const SINGLE: Format = Format {
    up: |x| f64::from((x as f32).next_up()),
    largest: f32::MAX as f64,
    even: |x| (x as f32).to_bits() & 1 == 0,
};

pub(super) const DOUBLE: Format =
    Format { up: f64::next_up, largest: f64::MAX, even: |x| x.to_bits() & 1 == 0 };

/// That `result` is the rounding of an exact value, which is known by how it compares with numbers:
/// `compare(factor, y, z)` gives the sign of `factor * exact - y - z`.
pub(super) fn is_rounded(
    mode: Rounding,
    format: Format,
    result: f64,
    compare: impl Fn(i32, f64, f64) -> Ordering,
) -> bool {
    let down = |x: f64| -(format.up)(-x);
    let exactly = |y: f64| compare(1, y, 0.0);
    let round_down = || {
        if result == f64::INFINITY {
            return false;
        }
        let above = (format.up)(result);
        let below = result == f64::NEG_INFINITY || exactly(result).is_ge();
        below && (above.is_infinite() || exactly(above).is_lt())
    };
    let round_up = || {
        if result == f64::NEG_INFINITY {
            return false;
        }
        let beneath = down(result);
        let above = result == f64::INFINITY || exactly(result).is_le();
        above && (beneath.is_infinite() || exactly(beneath).is_gt())
    };
    match mode {
        Rounding::Down => round_down(),
        Rounding::Up => round_up(),
        Rounding::Zero if exactly(0.0).is_ge() => round_down(),
        Rounding::Zero => round_up(),
        Rounding::Nearest => {
            // Beyond the largest the next power of two stands for infinity.
            let finite = |x: f64| {
                if x.is_infinite() {
                    (format.largest + (format.largest - down(format.largest))).copysign(x)
                } else {
                    x
                }
            };
            let even = result.is_infinite() || (format.even)(result);
            let here = finite(result);
            let upper = result == f64::INFINITY || {
                let side = compare(2, here, finite((format.up)(result)));
                side.is_lt() || side.is_eq() && even
            };
            let lower = result == f64::NEG_INFINITY || {
                let side = compare(2, here, finite(down(result)));
                side.is_gt() || side.is_eq() && even
            };
            upper && lower
        }
    }
}
