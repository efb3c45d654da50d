//! The 16-bit formats: f16 and bf16, one or two in a register.
//!
//! Every operation is computed in f32, exactly, rounded to odd, or with so many more bits than the
//! format that the second rounding changes nothing, and is then rounded to the format.

use super::exact::{self, Mode};
use super::float::{self, canonical, exp2, max32, min32, saturate};
use super::{Arithmetic, Form, LANES, Lane, Rounding, Run, lanes};

/// A format of 16 bits, which are the low ones of a u32: loops over u32 and f32 become vectors of
/// one shape.
pub(super) trait Format {
    /// Largest finite value.
    const MAX: f32;
    /// Bits of 1.0.
    const ONE: u32;
    /// Exact; a NaN gives the canonical one of f32.
    fn wide(bits: u32) -> f32;
    /// To nearest even; a NaN gives 0x7fff.
    fn narrow(x: f32) -> u32;
    /// A subnormal to the zero of its sign.
    fn flush(bits: u32) -> u32;
    /// `a * b + c` of values of the format, rounded to odd.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

pub(super) struct F16;
pub(super) struct Bf16;

impl Format for F16 {
    const MAX: f32 = 65504.0;
    const ONE: u32 = 0x3c00;

    #[inline(always)]
    fn wide(bits: u32) -> f32 {
        let sign = (bits & 0x8000) << 16;
        let magnitude = (bits & 0x7fff) << 13;
        // The exponent's bias differs by 112. A subnormal gets the hidden bit that it has not, and
        // loses it again.
        let normal = magnitude + (112 << 23);
        let least = f32::from_bits(113 << 23);
        let subnormal = (f32::from_bits(magnitude + (113 << 23)) - least).to_bits();
        let special = if magnitude > 0x1f << 23 { float::NAN.to_bits() } else { 0xff << 23 };
        let finite = if magnitude < 1 << 23 { subnormal } else { normal };
        let wide = if magnitude >= 0x1f << 23 { special } else { finite };
        // The canonical NaN has no sign.
        f32::from_bits(if magnitude > 0x1f << 23 { wide } else { wide | sign })
    }

    #[inline(always)]
    fn narrow(x: f32) -> u32 {
        let bits = x.to_bits();
        let sign = bits >> 16 & 0x8000;
        let magnitude = bits & 0x7fff_ffff;
        let odd = magnitude >> 13 & 1;
        // A carry out of the fraction goes into the exponent, and out of the largest to infinity.
        let normal = magnitude.wrapping_add(odd + 0xfff).wrapping_sub(112 << 23) >> 13;
        // The sum's last bit is worth 2^-24, the least subnormal: the addition rounds.
        let shift = f32::from_bits((127 - 24 + 23) << 23);
        let subnormal = (f32::from_bits(magnitude) + shift).to_bits().wrapping_sub(shift.to_bits());
        let finite = if magnitude < 113 << 23 { subnormal } else { normal };
        let narrow = if magnitude >= 143 << 23 { 0x7c00 } else { finite };
        if magnitude > 0xff << 23 { 0x7fff } else { narrow | sign }
    }

    #[inline(always)]
    fn flush(bits: u32) -> u32 {
        if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
    }

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        // 22 bits of the product, and no exponent near the limits.
        exact::sum_odd32(a * b, c)
    }
}

impl Format for Bf16 {
    const MAX: f32 = f32::from_bits(0x7f7f_0000);
    const ONE: u32 = 0x3f80;

    #[inline(always)]
    fn wide(bits: u32) -> f32 {
        canonical(f32::from_bits(bits << 16))
    }

    #[inline(always)]
    fn narrow(x: f32) -> u32 {
        let bits = x.to_bits();
        let odd = bits >> 16 & 1;
        let narrow = bits.wrapping_add(odd + 0x7fff) >> 16;
        if x.is_nan() { 0x7fff } else { narrow }
    }

    #[inline(always)]
    fn flush(bits: u32) -> u32 {
        if bits & 0x7f80 == 0 { bits & 0x8000 } else { bits }
    }

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        exact::narrow_odd(exact::sum_odd(f64::from(a) * f64::from(b), f64::from(c)))
    }
}

/// Rounded as the mode says. `x` is exact or rounded to odd.
#[inline(always)]
pub(super) fn narrow<F: Format, M: Mode>(x: f32) -> u32 {
    let nearest = F::narrow(x);
    let back = F::wide(nearest);
    let negative = nearest >> 15;
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
    nearest.wrapping_sub(smaller).wrapping_add(larger)
}

/// What is done to a result before it is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clamp {
    None,
    Saturate,
    Relu,
}

/// Negative numbers to +0; a NaN stays.
#[inline(always)]
pub(super) fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn start<F: Format, const FTZ: bool>(bits: u32) -> f32 {
    F::wide(if FTZ { F::flush(bits) } else { bits })
}

#[inline(always)]
fn end<F: Format, const FTZ: bool>(x: f32) -> u32 {
    let bits = F::narrow(x);
    if FTZ { F::flush(bits) } else { bits }
}

/// One operation on one or on both values of the registers, computed in f32; `F` is the format in
/// the expression.
macro_rules! half_form {
    (one $format:ty, $ftz:literal, |$($source:ident),+| $result:expr) => {
        lanes!(|$($source: u16),+| -> u16 {
            type F = $format;
            $(let $source = start::<F, $ftz>($source.into());)+
            end::<F, $ftz>($result) as u16
        })
    };
    (two $format:ty, $ftz:literal, |$($source:ident),+| $result:expr) => {{
        let form = lanes!(|$($source: u32),+| -> u32 { 0 $(| $source)+ });
        let run: Run = |registers, operands, mask| {
            type F = $format;
            let mut rest = operands[1..].iter();
            $(let $source = u32::load(
                registers,
                *rest.next().expect("operands as in the slots"),
            );)+
            let mut result = [0; LANES];
            // The low halves first, then the high ones: no array of a lane's halves, which would
            // keep the loop over lanes from becoming vectors.
            for shift in [0, 16] {
                for lane in 0..LANES {
                    $(let $source = start::<F, $ftz>($source[lane] >> shift & 0xffff);)+
                    result[lane] |= end::<F, $ftz>($result) << shift;
                }
            }
            u32::store(registers, operands[0], mask, result);
        };
        Arithmetic { run, ..form }
    }};
    ($name:expr, $ftz:expr, |$($source:ident),+| $result:expr) => {
        match ($name, $ftz) {
            ("f16", false) => Some(half_form!(one F16, false, |$($source),+| $result)),
            ("f16", true) => Some(half_form!(one F16, true, |$($source),+| $result)),
            ("f16x2", false) => Some(half_form!(two F16, false, |$($source),+| $result)),
            ("f16x2", true) => Some(half_form!(two F16, true, |$($source),+| $result)),
            ("bf16", false) => Some(half_form!(one Bf16, false, |$($source),+| $result)),
            ("bf16x2", false) => Some(half_form!(two Bf16, false, |$($source),+| $result)),
            _ => None,
        }
    };
}

/// The same with `.sat` or `.relu`.
macro_rules! clamped {
    ($name:expr, $ftz:expr, $clamp:expr, |$($source:ident),+| $result:expr) => {
        match $clamp {
            Clamp::None => half_form!($name, $ftz, |$($source),+| $result),
            Clamp::Saturate => half_form!($name, $ftz, |$($source),+| saturate($result)),
            Clamp::Relu => half_form!($name, $ftz, |$($source),+| relu($result)),
        }
    };
}

pub(super) fn lower(opcode: &str, modifiers: &[&str], operands: usize) -> Option<Arithmetic> {
    let mut form = Form::new(modifiers);
    match opcode {
        // {.rn}{.ftz}{.sat}
        "add" | "sub" | "mul" => {
            form.take("rn");
            let ftz = form.take("ftz");
            let clamp = if form.take("sat") { Clamp::Saturate } else { Clamp::None };
            let name = form.next();
            form.end()?;
            // There is no saturation in bf16.
            if clamp == Clamp::Saturate && !name.starts_with("f16") {
                return None;
            }
            match opcode {
                "add" => clamped!(name, ftz, clamp, |a, b| a + b),
                "sub" => clamped!(name, ftz, clamp, |a, b| a - b),
                _ => clamped!(name, ftz, clamp, |a, b| F::fma(a, b, -0.0)),
            }
        }
        // .rn{.ftz}{.sat or .relu}
        "fma" if form.take("rn") => {
            let ftz = form.take("ftz");
            let clamp = form
                .one_of(&[("sat", Clamp::Saturate), ("relu", Clamp::Relu)])
                .unwrap_or(Clamp::None);
            let name = form.next();
            form.end()?;
            if clamp == Clamp::Saturate && !name.starts_with("f16") {
                return None;
            }
            clamped!(name, ftz, clamp, |a, b, c| F::fma(a, b, c))
        }
        // {.ftz}
        "neg" | "abs" => {
            let ftz = form.take("ftz");
            let name = form.next();
            form.end()?;
            let negate = opcode == "neg";
            Some(match (name, ftz, negate) {
                ("f16" | "bf16", false, true) => lanes!(|a: u16| -> u16 { a ^ 0x8000 }),
                ("f16" | "bf16", false, false) => lanes!(|a: u16| -> u16 { a & 0x7fff }),
                ("f16x2" | "bf16x2", false, true) => lanes!(|a: u32| -> u32 { a ^ 0x8000_8000 }),
                ("f16x2" | "bf16x2", false, false) => lanes!(|a: u32| -> u32 { a & 0x7fff_7fff }),
                ("f16", true, true) => {
                    lanes!(|a: u16| -> u16 { F16::flush(a.into()) as u16 ^ 0x8000 })
                }
                ("f16", true, false) => {
                    lanes!(|a: u16| -> u16 { F16::flush(a.into()) as u16 & 0x7fff })
                }
                ("f16x2", true, true) => lanes!(|a: u32| -> u32 { flush_both(a) ^ 0x8000_8000 }),
                ("f16x2", true, false) => lanes!(|a: u32| -> u32 { flush_both(a) & 0x7fff_7fff }),
                _ => return None,
            })
        }
        // {.ftz}{.NaN}; not with .xorsign.abs, which would need the sign of a NaN.
        "min" | "max" if operands == 3 => {
            let ftz = form.take("ftz");
            let nan = form.take("NaN");
            let name = form.next();
            form.end()?;
            match (opcode == "min", nan) {
                (true, false) => half_form!(name, ftz, |a, b| min32::<false>(a, b)),
                (true, true) => half_form!(name, ftz, |a, b| min32::<true>(a, b)),
                (false, false) => half_form!(name, ftz, |a, b| max32::<false>(a, b)),
                (false, true) => half_form!(name, ftz, |a, b| max32::<true>(a, b)),
            }
        }
        // .approx for f16, .approx.ftz for bf16
        "ex2" if form.take("approx") => {
            let ftz = form.take("ftz");
            let name = form.next();
            form.end()?;
            match (name, ftz) {
                ("f16" | "f16x2", false) => half_form!(name, false, |a| exp2(a)),
                ("bf16", true) => Some(half_form!(one Bf16, true, |a| exp2(a))),
                ("bf16x2", true) => Some(half_form!(two Bf16, true, |a| exp2(a))),
                _ => None,
            }
        }
        "tanh" if form.take("approx") => {
            let name = form.next();
            form.end()?;
            half_form!(name, false, |a| f64::from(a).tanh() as f32)
        }
        _ => None,
    }
}

#[inline(always)]
fn flush_both(a: u32) -> u32 {
    F16::flush(a & 0xffff) | F16::flush(a >> 16) << 16
}
