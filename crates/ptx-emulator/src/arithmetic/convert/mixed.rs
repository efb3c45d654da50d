//! Between integers and floating-point types.

use super::floats::{Float, by_float, integral, read_float, write_float};
use super::integers::{Integer, by_destination, by_integer, integer};
use super::types::{Options, Type, TypeKind, Wide, read, write};
use crate::arithmetic::exact::{self, Mode, modes};
use crate::arithmetic::{Lane, Mask, Operand, Reg, Registers, Rounding, Run};
use crate::registers::Width;

pub(super) fn to_integer(
    to: Type,
    from: Type,
    options: Options,
    width: Width,
) -> Result<Run, String> {
    let Some(mode) = options.integral else {
        return Err("`cvt` to an integer needs .rni, .rzi, .rmi or .rpi".to_owned());
    };
    Ok(by_float!(from, options.ftz, |F| modes!(mode, |M| by_destination!(to, width, |D, W| {
        float_to_integer::<F, M, D, W> as Run
    }))))
}

pub(super) fn from_integer(to: Type, from: Type, options: Options) -> Result<Run, String> {
    let Some(mode) = options.rounding else {
        return Err("`cvt` of an integer needs .rn, .rz, .rm or .rp".to_owned());
    };
    if options.sat {
        return Err("`cvt.sat` of an integer to a floating-point type is not supported".to_owned());
    }
    Ok(by_integer!(from, |S| match (to.kind, to.bits, mode) {
        (TypeKind::Float, 32, Rounding::Nearest) => integer_to_f32::<S> as Run,
        (TypeKind::Float, 64, _) => modes!(mode, |M| integer_to_f64::<S, M> as Run),
        // No integer is subnormal in f32.
        _ => by_float!(to, false, |D| modes!(mode, |M| integer_to_float::<S, D, M> as Run)),
    }))
}

/// The ISA gives 0 for a NaN, but `1 << (BITS - 1)` where either side has 64 bits.
#[inline(never)]
fn write_float_as_integer<D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<f64>,
    from_f64: bool,
) {
    let nan = if from_f64 || D::BITS == 64 { 1 << (D::BITS - 1) } else { 0 };
    write(registers, to, mask, values, |x| {
        let integer = if x.is_nan() { D::truncated(nan) } else { D::from_f64(x) };
        W::truncated(integer.extended())
    });
}

fn float_to_integer<S: Float, M: Mode, D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = integral::<M>(&read_float::<S>(registers, operands[1]));
    let from_f64 = S::Register::WIDTH == Width::B64;
    write_float_as_integer::<D, W>(registers, operands[0], mask, &values, from_f64);
}

/// f64 holds every integer of 32 bits; larger ones are rounded to odd.
#[inline(never)]
fn read_integer_as_float<S: Integer>(registers: &Registers, from: Reg) -> Wide<f64> {
    read(registers, from, |a| {
        let source = integer::<S>(a);
        if S::BITS < 64 { source.to_f64() } else { exact::integer_odd(source.value()) }
    })
}

fn integer_to_float<S: Integer, D: Float, M: Mode>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = read_integer_as_float::<S>(registers, operands[1]);
    write_float::<D, M>(registers, operands[0], mask, &values);
}

/// To nearest.
fn integer_to_f32<S: Integer>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let values = S::Register::load(registers, operands[1]);
    write(registers, operands[0], mask, &values, |a| integer::<S>(a).to_f32());
}

fn integer_to_f64<S: Integer, M: Mode>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let values = S::Register::load(registers, operands[1]);
    write(registers, operands[0], mask, &values, |a| {
        let source = integer::<S>(a);
        if S::BITS < 64 || M::MODE == Rounding::Nearest {
            source.to_f64()
        } else {
            exact::integer64(M::MODE, source.value())
        }
    });
}
