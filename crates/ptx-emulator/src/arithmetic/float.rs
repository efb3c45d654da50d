//! f32 and f64 arithmetic.

use super::exact::{self, Mode, Nearest, modes};
use super::{
    Arithmetic, Form, LANES, Lane, Mask, ROUNDINGS, Reg, Registers, Rounding, Run, each, lanes,
};

/// The NaN that f32 operations give.
pub(super) const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// The NaN that f64 operations give.
const NAN64: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// The four forms of an f32 operation with `.ftz` and `.sat`.
macro_rules! f32_form {
    ($options:expr, |$($source:ident),+| $result:expr) => {
        match ($options.ftz, $options.sat) {
            (false, false) => lanes!(|$($source: f32),+| -> f32 { canonical($result) }),
            (true, false) => lanes!(|$($source: f32),+| -> f32 {
                $(let $source = flush($source);)+
                canonical(flush($result))
            }),
            (false, true) => lanes!(|$($source: f32),+| -> f32 { saturate($result) }),
            (true, true) => lanes!(|$($source: f32),+| -> f32 {
                $(let $source = flush($source);)+
                saturate(flush($result))
            }),
        }
    };
}

struct Options {
    rounding: Option<Rounding>,
    approx: bool,
    full: bool,
    ftz: bool,
    sat: bool,
    double: bool,
}

/// `{.rnd or .approx or .full}{.ftz}{.sat}.type`
fn options(modifiers: &[&str]) -> Option<Options> {
    let mut form = Form::new(modifiers);
    let rounding = form.one_of(&ROUNDINGS);
    let approx = rounding.is_none() && form.take("approx");
    let full = rounding.is_none() && !approx && form.take("full");
    let ftz = form.take("ftz");
    let sat = form.take("sat");
    let double = form.one_of(&[("f32", false), ("f64", true)])?;
    form.end()?;
    // Neither exists in double precision.
    if double && (ftz || sat) {
        return None;
    }
    Some(Options { rounding, approx, full, ftz, sat, double })
}

pub(super) fn lower(opcode: &str, modifiers: &[&str], operands: usize) -> Option<Arithmetic> {
    if matches!(opcode, "min" | "max") {
        // With three sources there is another operand.
        return (operands == 3).then(|| minimum(opcode, modifiers)).flatten();
    }
    let options = options(modifiers)?;
    let Options { rounding, approx, full, ftz: _, sat, double } = options;
    if approx || full {
        return if double { None } else { approximate(opcode, &options) };
    }
    let optional = rounding.unwrap_or(Rounding::Nearest);
    match opcode {
        "add" if !double => Some(modes!(optional, |M| f32_form!(options, |a, b| add::<M>(a, b)))),
        "sub" if !double => Some(modes!(optional, |M| f32_form!(options, |a, b| add::<M>(a, -b)))),
        "mul" if !double => Some(modes!(optional, |M| f32_form!(options, |a, b| mul::<M>(a, b)))),
        "fma" | "mad" if !double && rounding == Some(Rounding::Nearest) => {
            let form = f32_form!(options, |a, b, c| fma::<Nearest>(a, b, c));
            let run: Run = match (options.ftz, sat) {
                (false, false) => fma_nearest::<false, false>,
                (false, true) => fma_nearest::<false, true>,
                (true, false) => fma_nearest::<true, false>,
                (true, true) => fma_nearest::<true, true>,
            };
            Some(Arithmetic { run, ..form })
        }
        "fma" | "mad" if !double => {
            Some(modes!(rounding?, |M| f32_form!(options, |a, b, c| fma::<M>(a, b, c))))
        }
        "add" => Some(modes!(optional, |M| lanes!(|a: f64, b: f64| -> f64 { add64::<M>(a, b) }))),
        "sub" => Some(modes!(optional, |M| lanes!(|a: f64, b: f64| -> f64 { add64::<M>(a, -b) }))),
        "mul" => Some(modes!(optional, |M| lanes!(|a: f64, b: f64| -> f64 { mul64::<M>(a, b) }))),
        "fma" | "mad" => Some(modes!(rounding?, |M| lanes!(|a: f64, b: f64, c: f64| -> f64 {
            fma64::<M>(a, b, c)
        }))),
        // What follows has no saturation.
        _ if sat => None,
        "div" if !double => Some(modes!(rounding?, |M| f32_form!(options, |a, b| div::<M>(a, b)))),
        "rcp" if !double => Some(modes!(rounding?, |M| f32_form!(options, |a| div::<M>(1.0, a)))),
        "sqrt" if !double => Some(modes!(rounding?, |M| f32_form!(options, |a| sqrt::<M>(a)))),
        "div" => Some(modes!(rounding?, |M| lanes!(|a: f64, b: f64| -> f64 { div64::<M>(a, b) }))),
        "rcp" => Some(modes!(rounding?, |M| lanes!(|a: f64| -> f64 { div64::<M>(1.0, a) }))),
        "sqrt" => Some(modes!(rounding?, |M| lanes!(|a: f64| -> f64 { sqrt64::<M>(a) }))),
        // Nor have these a rounding.
        _ if rounding.is_some() => None,
        "abs" if double => Some(lanes!(|a: f64| -> f64 { a.abs() })),
        "neg" if double => Some(lanes!(|a: f64| -> f64 { -a })),
        "abs" if options.ftz => Some(lanes!(|a: f32| -> f32 { flush(a).abs() })),
        "neg" if options.ftz => Some(lanes!(|a: f32| -> f32 { -flush(a) })),
        "abs" => Some(lanes!(|a: f32| -> f32 { a.abs() })),
        "neg" => Some(lanes!(|a: f32| -> f32 { -a })),
        _ => None,
    }
}

fn approximate(opcode: &str, options: &Options) -> Option<Arithmetic> {
    if options.sat || options.full && opcode != "div" {
        return None;
    }
    Some(match opcode {
        "div" if options.full => f32_form!(options, |a, b| a / b),
        "div" => f32_form!(options, |a, b| div_approx(a, b)),
        "rcp" => f32_form!(options, |a| 1.0 / a),
        "sqrt" => f32_form!(options, |a| a.sqrt()),
        "rsqrt" => f32_form!(options, |a| (1.0 / f64::from(a).sqrt()) as f32),
        "sin" => f32_form!(options, |a| f64::from(a).sin() as f32),
        "cos" => f32_form!(options, |a| f64::from(a).cos() as f32),
        "lg2" => f32_form!(options, |a| f64::from(a).log2() as f32),
        "ex2" => f32_form!(options, |a| exp2(a)),
        "tanh" if !options.ftz => f32_form!(options, |a| f64::from(a).tanh() as f32),
        _ => return None,
    })
}

/// `{.ftz}{.NaN}{.xorsign.abs}.f32`, `.f64`.
fn minimum(opcode: &str, modifiers: &[&str]) -> Option<Arithmetic> {
    let min = opcode == "min";
    let mut form = Form::new(modifiers);
    if form.take("f64") {
        form.end()?;
        return Some(if min {
            lanes!(|a: f64, b: f64| -> f64 { min64(a, b) })
        } else {
            lanes!(|a: f64, b: f64| -> f64 { canonical64(-min64(-a, -b)) })
        });
    }
    let ftz = form.take("ftz");
    let nan = form.take("NaN");
    let xorsign = form.take("xorsign");
    if xorsign != form.take("abs") || !form.take("f32") {
        return None;
    }
    form.end()?;
    let options =
        Options { rounding: None, approx: false, full: false, ftz, sat: false, double: false };
    Some(match (min, nan, xorsign) {
        (true, false, false) => f32_form!(options, |a, b| min32::<false>(a, b)),
        (true, true, false) => f32_form!(options, |a, b| min32::<true>(a, b)),
        (false, false, false) => f32_form!(options, |a, b| max32::<false>(a, b)),
        (false, true, false) => f32_form!(options, |a, b| max32::<true>(a, b)),
        (true, false, true) => f32_form!(options, |a, b| xor_sign(a, b, min32::<false>)),
        (true, true, true) => f32_form!(options, |a, b| xor_sign(a, b, min32::<true>)),
        (false, false, true) => f32_form!(options, |a, b| xor_sign(a, b, max32::<false>)),
        (false, true, true) => f32_form!(options, |a, b| xor_sign(a, b, max32::<true>)),
    })
}

/// By its bits: which NaN a computation gives is open to the compiler, so that of `is_nan` and a choice
/// it may leave the computation alone.
#[inline(always)]
pub(super) fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { NAN.to_bits() } else { bits })
}

/// A subnormal to the zero of its sign.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

/// To [0, 1], a NaN to +0.
#[inline(always)]
pub(super) fn saturate(x: f32) -> f32 {
    let positive = if x > 0.0 { x } else { 0.0 };
    if positive < 1.0 { positive } else { 1.0 }
}

/// As [`canonical`].
#[inline(always)]
pub(super) fn canonical64(x: f64) -> f64 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff_ffff_ffff;
    f64::from_bits(if magnitude > 0x7ff0_0000_0000_0000 { NAN64.to_bits() } else { bits })
}

#[inline(always)]
fn add<M: Mode>(a: f32, b: f32) -> f32 {
    match M::MODE {
        Rounding::Nearest => a + b,
        _ => exact::sum::<M>(a.into(), b.into()),
    }
}

#[inline(always)]
fn mul<M: Mode>(a: f32, b: f32) -> f32 {
    match M::MODE {
        Rounding::Nearest => a * b,
        _ => exact::narrow::<M>(f64::from(a) * f64::from(b)),
    }
}

/// Without the machine's own fused operation, which the baseline of x86-64 does not have.
#[inline(always)]
pub(super) fn fma<M: Mode>(a: f32, b: f32, c: f32) -> f32 {
    exact::sum::<M>(f64::from(a) * f64::from(b), c.into())
}

/// `fma.rn.f32` without rounding to odd, which only a sum that is half-way between two f32 needs:
/// for one such lane all are done again.
fn fma_nearest<const FTZ: bool, const SAT: bool>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let load = |operand: usize| {
        let values = f32::load(registers, operands[operand]);
        if FTZ { each(&values, flush) } else { values }
    };
    let (a, b, c) = (load(1), load(2), load(3));
    let mut result = [0.0; LANES];
    let mut doubt = 0;
    for lane in 0..LANES {
        let sum = f64::from(a[lane]) * f64::from(b[lane]) + f64::from(c[lane]);
        let bits = sum.to_bits();
        let half_way = bits as u32 & 0x1fff_ffff == 0x1000_0000;
        // Nonzero below 2^-126, where half-way points lie elsewhere.
        let magnitude = (bits >> 32) as u32 & 0x7fff_ffff;
        let small = magnitude.wrapping_sub(1) < 0x3810_0000 - 1;
        doubt |= u32::from(half_way) | u32::from(small);
        result[lane] = sum as f32;
    }
    if doubt != 0 {
        for lane in 0..LANES {
            result[lane] = fma::<Nearest>(a[lane], b[lane], c[lane]);
        }
    }
    let finish = |x: f32| {
        let x = if FTZ { flush(x) } else { x };
        if SAT { saturate(x) } else { canonical(x) }
    };
    f32::store(registers, operands[0], mask, each(&result, finish));
}

#[inline(always)]
fn div<M: Mode>(a: f32, b: f32) -> f32 {
    match M::MODE {
        Rounding::Nearest => a / b,
        _ => exact::narrow::<M>(f64::from(a) / f64::from(b)),
    }
}

#[inline(always)]
fn sqrt<M: Mode>(a: f32) -> f32 {
    match M::MODE {
        Rounding::Nearest => a.sqrt(),
        _ => exact::narrow::<M>(f64::from(a).sqrt()),
    }
}

/// For |b| above 2^126 the quotient is 0, or a NaN where a is infinite: as a times the flushed
/// reciprocal of b.
#[inline(always)]
fn div_approx(a: f32, b: f32) -> f32 {
    const LARGE: f32 = f32::from_bits((126 + 127) << 23);
    let large = b.abs() > LARGE && b.abs() < f32::INFINITY;
    if large { a * 0.0_f32.copysign(b) } else { a / b }
}

/// 2^x. The fraction's power is its Taylor series to the 10th degree in f64, with a relative error
/// below 2^-41, so that the result is all but always the nearest f32.
#[inline(always)]
pub(super) fn exp2(x: f32) -> f32 {
    // ln(2)^k / k!
    const TERMS: [f64; 11] = {
        let mut terms = [1.0; 11];
        let mut k = 1;
        while k < 11 {
            terms[k] = terms[k - 1] * std::f64::consts::LN_2 / k as f64;
            k += 1;
        }
        terms
    };
    // Adding it leaves an integer in the low bits of the sum.
    const INTEGER: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    let wide = f64::from(x);
    // Beyond, the result is 0 or infinite; the comparisons leave a NaN as it is.
    let wide = if wide < -200.0 { -200.0 } else { wide };
    let wide = if wide > 200.0 { 200.0 } else { wide };
    let shifted = wide + INTEGER;
    let fraction = wide - (shifted - INTEGER);
    let mut power = TERMS[10];
    let mut k = 10;
    while k > 0 {
        k -= 1;
        power = power * fraction + TERMS[k];
    }
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    (power * scale) as f32
}

/// `-0 < +0`; a NaN only where both are, or where one is and `NAN`.
#[inline(always)]
pub(super) fn min32<const NAN: bool>(a: f32, b: f32) -> f32 {
    let equal = f32::from_bits(a.to_bits() | b.to_bits());
    let smaller = if a < b { a } else { b };
    let smaller = if a == b { equal } else { smaller };
    // With a NaN in `b` the comparison has chosen `b`.
    if NAN {
        if a.is_nan() { a } else { smaller }
    } else if b.is_nan() {
        a
    } else {
        smaller
    }
}

#[inline(always)]
pub(super) fn max32<const NAN: bool>(a: f32, b: f32) -> f32 {
    -min32::<NAN>(-a, -b)
}

/// On the magnitudes, with the product's sign.
#[inline(always)]
pub(super) fn xor_sign(a: f32, b: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    f32::from_bits(f(a.abs(), b.abs()).to_bits() | sign)
}

#[inline(always)]
fn min64(a: f64, b: f64) -> f64 {
    let smaller = if a < b || b.is_nan() { a } else { b };
    canonical64(if a == b { f64::from_bits(a.to_bits() | b.to_bits()) } else { smaller })
}

#[inline(always)]
fn add64<M: Mode>(a: f64, b: f64) -> f64 {
    canonical64(match M::MODE {
        Rounding::Nearest => a + b,
        mode => exact::add64(mode, a, b),
    })
}

#[inline(always)]
fn mul64<M: Mode>(a: f64, b: f64) -> f64 {
    canonical64(match M::MODE {
        Rounding::Nearest => a * b,
        mode => exact::mul64(mode, a, b),
    })
}

#[inline(always)]
fn fma64<M: Mode>(a: f64, b: f64, c: f64) -> f64 {
    canonical64(match M::MODE {
        Rounding::Nearest => a.mul_add(b, c),
        mode => exact::fma64(mode, a, b, c),
    })
}

#[inline(always)]
fn div64<M: Mode>(a: f64, b: f64) -> f64 {
    canonical64(match M::MODE {
        Rounding::Nearest => a / b,
        mode => exact::div64(mode, a, b),
    })
}

#[inline(always)]
fn sqrt64<M: Mode>(a: f64) -> f64 {
    canonical64(match M::MODE {
        Rounding::Nearest => a.sqrt(),
        mode => exact::sqrt64(mode, a),
    })
}
