//! f16, bf16, f32 and f64.

use super::types::{Options, Type, TypeKind, Wide, read, write};
use crate::arithmetic::exact::{self, Mode, Nearest, modes};
use crate::arithmetic::float::{canonical, canonical64, flush};
use crate::arithmetic::half::{self, Format};
use crate::arithmetic::{Mask, Operand, Reg, Registers, Rounding, Run, each, flag};

/// A floating-point type, as read from and written to a register.
pub(super) trait Float {
    type Register: Operand;
    /// Exact.
    fn wide(register: Self::Register) -> f64;
    /// Rounded once. `x` is exact or rounded to odd; a NaN gives the canonical one.
    fn narrow<M: Mode>(x: f64) -> Self::Register;
}

pub(super) struct F32;
pub(super) struct F32Ftz;
pub(super) struct F64;

impl Float for F32 {
    type Register = f32;

    #[inline(always)]
    fn wide(register: f32) -> f64 {
        register.into()
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> f32 {
        canonical(exact::narrow::<M>(x))
    }
}

impl Float for F32Ftz {
    type Register = f32;

    #[inline(always)]
    fn wide(register: f32) -> f64 {
        flush(register).into()
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> f32 {
        flush(F32::narrow::<M>(x))
    }
}

impl Float for F64 {
    type Register = f64;

    #[inline(always)]
    fn wide(register: f64) -> f64 {
        register
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> f64 {
        canonical64(x)
    }
}

impl<H: Format> Float for H {
    type Register = u16;

    #[inline(always)]
    fn wide(register: u16) -> f64 {
        H::wide(register.into()).into()
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> u16 {
        half::narrow::<H, M>(exact::narrow_odd(x)) as u16
    }
}

/// `$run` with `F` the floating-point type.
macro_rules! by_float {
    ($type:expr, $ftz:expr, |$F:ident| $run:expr) => {{
        use $crate::arithmetic::{convert::floats, half};
        $crate::arithmetic::choose!(
            ($type.kind, $type.bits, $ftz),
            [
                (TypeKind::Brain, _, _) => (half::Bf16),
                (_, 16, _) => (half::F16),
                (_, 32, false) => (floats::F32),
                (_, 32, true) => (floats::F32Ftz),
                _ => (floats::F64),
            ],
            (|$F| $run)
        )
    }};
}
pub(super) use by_float;

pub(super) fn select(to: Type, from: Type, options: Options) -> Result<Run, String> {
    let Options { integral, rounding, ftz, sat, .. } = options;
    if let Some(mode) = integral {
        if to != from {
            return Err(
                "`cvt` with integer rounding between different floating-point types is no form"
                    .into(),
            );
        }
        return Ok(by_float!(to, ftz, |F| modes!(mode, |M| flag!(sat, |SAT| {
            float_integral::<F, M, SAT> as Run
        }))));
    }
    let mode = match rounding {
        None if to.holds_float(from) => Rounding::Nearest,
        Some(mode) if !to.holds_float(from) => mode,
        None => return Err("`cvt` to a type of less precision needs a rounding".to_owned()),
        Some(_) => return Err("`cvt` without a loss of precision takes no rounding".to_owned()),
    };
    Ok(by_float!(from, ftz, |S| by_float!(to, ftz, |D| modes!(mode, |M| flag!(sat, |SAT| {
        float_to_float::<S, D, M, SAT> as Run
    })))))
}

#[inline(never)]
pub(super) fn read_float<S: Float>(registers: &Registers, from: Reg) -> Wide<f64> {
    read(registers, from, S::wide)
}

/// `x` is exact or rounded to odd.
#[inline(never)]
pub(super) fn write_float<D: Float, M: Mode>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<f64>,
) {
    write(registers, to, mask, values, D::narrow::<M>);
}

/// To an integral value, keeping the sign of a zero.
#[inline(always)]
fn to_integral<M: Mode>(x: f64) -> f64 {
    // Adding and subtracting 2^52 leaves no fraction; a magnitude from there has none.
    const INTEGER: f64 = 4_503_599_627_370_496.0;
    let magnitude = x.abs();
    let nearest = (magnitude + INTEGER) - INTEGER;
    let nearest = if magnitude < INTEGER { nearest } else { magnitude };
    let nearest = nearest.copysign(x);
    let rounded = match M::MODE {
        Rounding::Nearest => nearest,
        Rounding::Zero => {
            nearest - if nearest.abs() > magnitude { 1.0_f64.copysign(x) } else { 0.0 }
        }
        Rounding::Down => nearest - if nearest > x { 1.0 } else { 0.0 },
        Rounding::Up => nearest + if nearest < x { 1.0 } else { 0.0 },
    };
    rounded.copysign(x)
}

#[inline(never)]
pub(super) fn integral<M: Mode>(values: &Wide<f64>) -> Wide<f64> {
    each(values, to_integral::<M>)
}

fn float_to_float<S: Float, D: Float, M: Mode, const SAT: bool>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let mut values = read_float::<S>(registers, operands[1]);
    if SAT {
        saturate(&mut values);
    }
    write_float::<D, M>(registers, operands[0], mask, &values);
}

/// With integer rounding.
fn float_integral<F: Float, M: Mode, const SAT: bool>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let mut values = integral::<M>(&read_float::<F>(registers, operands[1]));
    if SAT {
        saturate(&mut values);
    }
    write_float::<F, Nearest>(registers, operands[0], mask, &values);
}

/// To [0, 1], a NaN to +0.
#[inline(never)]
fn saturate(values: &mut Wide<f64>) {
    *values = each(values, |x| {
        let positive = if x > 0.0 { x } else { 0.0 };
        if positive < 1.0 { positive } else { 1.0 }
    });
}
