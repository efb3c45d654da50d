//! Exact results and their one rounding.
//!
//! f32 works in f64: a product of two f32 is exact there, a sum is rounded to odd, which loses
//! nothing that a second, narrower rounding needs (Boldo and Melquiond, "Emulation of a FMA and
//! correctly rounded sums: proved algorithms using rounding to odd", 2008), and a quotient or root
//! of f32 that is no f32 lies further from every f32 than f64 rounds. f64 in a directed mode works
//! in integers.

use super::Rounding;

/// A rounding mode at compile time.
pub(super) trait Mode {
    const MODE: Rounding;
}

pub(super) struct Nearest;
pub(super) struct Zero;
pub(super) struct Down;
pub(super) struct Up;

impl Mode for Nearest {
    const MODE: Rounding = Rounding::Nearest;
}

impl Mode for Zero {
    const MODE: Rounding = Rounding::Zero;
}

impl Mode for Down {
    const MODE: Rounding = Rounding::Down;
}

impl Mode for Up {
    const MODE: Rounding = Rounding::Up;
}

/// `$run` with `M` the type of a rounding mode.
macro_rules! modes {
    ($mode:expr, |$M:ident| $run:expr) => {{
        use $crate::arithmetic::{Rounding, exact};
        $crate::arithmetic::choose!(
            $mode,
            [
                Rounding::Nearest => (exact::Nearest),
                Rounding::Zero => (exact::Zero),
                Rounding::Down => (exact::Down),
                Rounding::Up => (exact::Up),
            ],
            (|$M| $run)
        )
    }};
}
pub(super) use modes;

/// `p + c`, rounded to odd: exact, or the neighbour of the exact sum whose last bit is 1.
#[inline(always)]
pub(super) fn sum_odd(p: f64, c: f64) -> f64 {
    let sum = p + c;
    // Knuth's TwoSum: what the sum lost, exactly.
    let c_part = sum - p;
    let lost = (p - (sum - c_part)) + (c - c_part);
    // With an infinity or a NaN `lost` is a NaN, and nothing is adjusted.
    let inexact = u64::from(lost > 0.0) | u64::from(lost < 0.0);
    let bits = sum.to_bits();
    let adjust = inexact & !bits & 1;
    // Towards the exact sum: away from zero where the loss has the sum's sign.
    let toward_zero = (bits ^ lost.to_bits()) >> 63;
    f64::from_bits(bits.wrapping_add(adjust).wrapping_sub((adjust & toward_zero) << 1))
}

/// The same in f32, for operands that neither overflow nor underflow.
#[inline(always)]
pub(super) fn sum_odd32(p: f32, c: f32) -> f32 {
    let sum = p + c;
    let c_part = sum - p;
    let lost = (p - (sum - c_part)) + (c - c_part);
    let inexact = u32::from(lost > 0.0) | u32::from(lost < 0.0);
    let bits = sum.to_bits();
    let adjust = inexact & !bits & 1;
    let toward_zero = (bits ^ lost.to_bits()) >> 31;
    f32::from_bits(bits.wrapping_add(adjust).wrapping_sub((adjust & toward_zero) << 1))
}

/// An f64 to f32. `x` is exact, rounded to odd, or close enough, see the top.
#[inline(always)]
pub(super) fn narrow<M: Mode>(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let bits = nearest.to_bits();
    let negative = bits >> 31;
    // One step down in magnitude, or up, where the nearest lies on the wrong side.
    let (smaller, larger) = match M::MODE {
        Rounding::Nearest => return nearest,
        Rounding::Zero => (u32::from(back.abs() > x.abs()), 0),
        Rounding::Down => {
            let above = u32::from(back > x);
            (above & !negative, above & negative)
        }
        Rounding::Up => {
            let below = u32::from(back < x);
            (below & negative, below & !negative)
        }
    };
    f32::from_bits(bits.wrapping_sub(smaller).wrapping_add(larger))
}

/// An f64 to f32, rounded to odd.
#[inline(always)]
pub(super) fn narrow_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let bits = nearest.to_bits();
    let larger = u32::from(back.abs() > x.abs()) & !bits & 1;
    let smaller = u32::from(back.abs() < x.abs()) & !bits & 1;
    f32::from_bits(bits.wrapping_sub(larger).wrapping_add(smaller))
}

/// `p + c` to f32. `p` may be the exact product of two f32, `c` is an f32.
#[inline(always)]
pub(super) fn sum<M: Mode>(p: f64, c: f64) -> f32 {
    let exact = sum_odd(p, c);
    let sum = narrow::<M>(exact);
    if M::MODE == Rounding::Down {
        // A sum that is exactly zero is -0, unless both operands are +0.
        let negative = (p.to_bits() | c.to_bits()) >> 63 != 0;
        if exact == 0.0 && negative { -0.0 } else { sum }
    } else {
        sum
    }
}

/// A finite, nonzero number `magnitude * 2^exponent`, its sign, with the top bit of the magnitude
/// at [`TOP`].
#[derive(Clone, Copy)]
struct Exact {
    negative: bool,
    magnitude: u128,
    exponent: i32,
}

const TOP: u32 = 125;

impl Exact {
    /// `None` for zeros.
    fn new(negative: bool, magnitude: u128, exponent: i32) -> Option<Exact> {
        if magnitude == 0 {
            return None;
        }
        let top = 127 - magnitude.leading_zeros();
        let magnitude = if top > TOP {
            shift_right_sticky(magnitude, top - TOP)
        } else {
            magnitude << (TOP - top)
        };
        Some(Exact { negative, magnitude, exponent: exponent + top as i32 - TOP as i32 })
    }

    /// Of a finite number.
    fn from_f64(x: f64) -> Option<Exact> {
        let bits = x.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let biased = (bits >> 52 & 0x7ff) as i32;
        let magnitude = if biased == 0 { fraction } else { fraction | 1 << 52 };
        Exact::new(x.is_sign_negative(), magnitude.into(), biased.max(1) - 1075)
    }

    /// Exact: 106 bits.
    fn product(self, other: Exact) -> Exact {
        let shift = TOP - 52;
        Exact::new(
            self.negative != other.negative,
            (self.magnitude >> shift) * (other.magnitude >> shift),
            self.exponent + other.exponent + 2 * shift as i32,
        )
        .expect("a product of nonzero magnitudes")
    }

    /// Its last bit is sticky; 126 bits less one of cancellation are more than any rounding here
    /// needs.
    fn sum(self, other: Exact) -> Option<Exact> {
        let (large, small) = if (self.exponent, self.magnitude) >= (other.exponent, other.magnitude)
        {
            (self, other)
        } else {
            (other, self)
        };
        let aligned = shift_right_sticky(small.magnitude, (large.exponent - small.exponent) as u32);
        let magnitude = if large.negative == small.negative {
            large.magnitude + aligned
        } else {
            large.magnitude - aligned
        };
        Exact::new(large.negative, magnitude, large.exponent)
    }

    /// Rounded once, to `precision` bits, the exponent of the last at least `least`: the integer
    /// and that exponent.
    fn round(self, mode: Rounding, precision: u32, least: i32) -> (u128, i32) {
        let drop = (TOP + 1 - precision) as i32;
        let exponent = (self.exponent + drop).max(least);
        let drop = exponent - self.exponent;
        if drop > 127 {
            let up = match mode {
                Rounding::Nearest | Rounding::Zero => false,
                Rounding::Down => self.negative,
                Rounding::Up => !self.negative,
            };
            return (up.into(), exponent);
        }
        let kept = self.magnitude >> drop;
        let lost = self.magnitude & ((1 << drop) - 1);
        let half = 1_u128 << (drop - 1);
        let up = match mode {
            Rounding::Nearest => lost > half || lost == half && kept & 1 == 1,
            Rounding::Zero => false,
            Rounding::Down => self.negative && lost != 0,
            Rounding::Up => !self.negative && lost != 0,
        };
        (kept + u128::from(up), exponent)
    }

    fn to_f64(self, mode: Rounding) -> f64 {
        const LEAST: i32 = -1074;
        let (integer, exponent) = self.round(mode, 53, LEAST);
        let sign = u64::from(self.negative) << 63;
        // 2^53 after a carry is the power of two above.
        let (integer, exponent) =
            if integer >> 53 != 0 { (integer >> 1, exponent + 1) } else { (integer, exponent) };
        let normal = integer >> 52 != 0;
        if normal && exponent > 1023 - 52 {
            let finite = match mode {
                Rounding::Nearest => false,
                Rounding::Zero => true,
                Rounding::Down => !self.negative,
                Rounding::Up => self.negative,
            };
            let magnitude = if finite { f64::MAX } else { f64::INFINITY };
            return f64::from_bits(sign | magnitude.to_bits());
        }
        // The biased exponent is 0 for subnormals, whose integer has no hidden bit.
        let biased = if normal { (exponent - LEAST + 1) as u64 } else { 0 };
        f64::from_bits(sign | biased << 52 | integer as u64 & ((1 << 52) - 1))
    }
}

/// The last bit of the result stands for all that were dropped.
fn shift_right_sticky(x: u128, by: u32) -> u128 {
    match by {
        0 => x,
        1..128 => x >> by | u128::from(x << (128 - by) != 0),
        _ => u128::from(x != 0),
    }
}

/// `a * b + c` in f64.
pub(super) fn fma64(mode: Rounding, a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        // No rounding: an infinity, or a NaN. A product of finite factors that overflows is no
        // infinity.
        return if a.is_finite() && b.is_finite() { c } else { product + c };
    }
    let negative = a.is_sign_negative() != b.is_sign_negative();
    let product = match (Exact::from_f64(a), Exact::from_f64(b)) {
        (Some(a), Some(b)) => Some(a.product(b)),
        _ => None,
    };
    let sum = match (product, Exact::from_f64(c)) {
        (Some(product), Some(c)) => product.sum(c),
        (product, c) => product.or(c),
    };
    match sum {
        Some(sum) => sum.to_f64(mode),
        None => {
            // Exactly zero. Opposite signs, of zeros or of what cancelled, give the mode's zero.
            let same = negative == c.is_sign_negative();
            let negative = if same { negative } else { mode == Rounding::Down };
            if negative { -0.0 } else { 0.0 }
        }
    }
}

/// `a + b` in f64.
pub(super) fn add64(mode: Rounding, a: f64, b: f64) -> f64 {
    fma64(mode, a, 1.0, b)
}

/// `a * b` in f64.
pub(super) fn mul64(mode: Rounding, a: f64, b: f64) -> f64 {
    match (Exact::from_f64(a), Exact::from_f64(b)) {
        (Some(x), Some(y)) if a.is_finite() && b.is_finite() => x.product(y).to_f64(mode),
        _ => a * b,
    }
}

/// `a / b` in f64.
pub(super) fn div64(mode: Rounding, a: f64, b: f64) -> f64 {
    match (Exact::from_f64(a), Exact::from_f64(b)) {
        (Some(x), Some(y)) if a.is_finite() && b.is_finite() => {
            // 73 more bits above than below: a quotient of 73 or 74 bits, the last sticky.
            let divisor = y.magnitude >> (TOP - 52);
            let quotient = (x.magnitude / divisor) << 1 | u128::from(x.magnitude % divisor != 0);
            Exact::new(
                x.negative != y.negative,
                quotient,
                x.exponent - y.exponent - (TOP - 52) as i32 - 1,
            )
            .expect("a quotient of at least 2^72")
            .to_f64(mode)
        }
        _ => a / b,
    }
}

/// The square root in f64.
pub(super) fn sqrt64(mode: Rounding, a: f64) -> f64 {
    match Exact::from_f64(a) {
        Some(x) if a > 0.0 && a.is_finite() => {
            // An even exponent; a root of 63 bits, the last sticky.
            let odd = x.exponent & 1;
            let square = x.magnitude << odd;
            let root = square.isqrt();
            let sticky = u128::from(root * root != square);
            Exact::new(false, root << 1 | sticky, (x.exponent - odd) / 2 - 1)
                .expect("a root of at least 2^62")
                .to_f64(mode)
        }
        _ => a.sqrt(),
    }
}

/// An integer to f32 and f64, which `as` does to nearest only.
pub(super) fn integer64(mode: Rounding, x: i128) -> f64 {
    match Exact::new(x < 0, x.unsigned_abs(), 0) {
        Some(exact) => exact.to_f64(mode),
        None => 0.0,
    }
}

/// An integer to f64, rounded to odd: to be narrowed.
pub(super) fn integer_odd(x: i128) -> f64 {
    let toward_zero = integer64(Rounding::Zero, x);
    let inexact = toward_zero as i128 != x;
    f64::from_bits(toward_zero.to_bits() | u64::from(inexact))
}
