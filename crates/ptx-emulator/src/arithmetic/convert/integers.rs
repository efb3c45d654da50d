//! Integers of 8 to 64 bits.

use super::types::{Options, Type, TypeKind, Wide, read, write};
use crate::arithmetic::{Mask, Operand, Reg, Registers, Run, each};
use crate::registers::Width;

/// An integer of any size and sign.
pub(super) trait Integer: Copy {
    const BITS: u32;
    const MIN: i128;
    const MAX: i128;
    /// The register that holds it, the low bits of which it is.
    type Register: Operand + Integer;
    /// Sign- or zero-extended.
    fn extended(self) -> u64;
    fn truncated(bits: u64) -> Self;
    fn value(self) -> i128;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    /// Towards zero, and to the limits.
    fn from_f64(x: f64) -> Self;
}

macro_rules! integers {
    ($($type:ty: $register:ty;)+) => {
        $(impl Integer for $type {
            const BITS: u32 = <$type>::BITS;
            const MIN: i128 = <$type>::MIN as i128;
            const MAX: i128 = <$type>::MAX as i128;
            type Register = $register;

            #[inline(always)]
            fn extended(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn truncated(bits: u64) -> Self {
                bits as $type
            }

            #[inline(always)]
            fn value(self) -> i128 {
                self as i128
            }

            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
        })+
    };
}

integers! {
    u8: u16;
    i8: u16;
    u16: u16;
    i16: u16;
    u32: u32;
    i32: u32;
    u64: u64;
    i64: u64;
}

/// `$run` with `S` the integer's type.
macro_rules! by_integer {
    ($type:expr, |$S:ident| $run:expr) => {
        $crate::arithmetic::choose!(
            ($type.kind, $type.bits),
            [
                (TypeKind::Unsigned, 8) => (u8),
                (TypeKind::Unsigned, 16) => (u16),
                (TypeKind::Unsigned, 32) => (u32),
                (TypeKind::Unsigned, _) => (u64),
                (_, 8) => (i8),
                (_, 16) => (i16),
                (_, 32) => (i32),
                _ => (i64),
            ],
            (|$S| $run)
        )
    };
}
pub(super) use by_integer;

/// `$run` with `D` the integer's type and `W` its register's.
macro_rules! by_destination {
    ($type:expr, $width:expr, |$D:ident, $W:ident| $run:expr) => {
        $crate::arithmetic::choose!(
            ($type.kind, $type.bits, $width),
            [
                // With zeros above, registers of 16 and 32 bits are the same.
                (TypeKind::Unsigned, 8, Width::B16 | Width::B32) => (u8, u32),
                (TypeKind::Unsigned, 8, _) => (u8, u64),
                (TypeKind::Unsigned, 16, Width::B16 | Width::B32) => (u16, u32),
                (TypeKind::Unsigned, 16, _) => (u16, u64),
                (TypeKind::Unsigned, 32, Width::B32) => (u32, u32),
                (TypeKind::Unsigned, 32, _) => (u32, u64),
                (TypeKind::Unsigned, _, _) => (u64, u64),
                (_, 8, Width::B16) => (i8, u16),
                (_, 8, Width::B32) => (i8, u32),
                (_, 8, _) => (i8, u64),
                (_, 16, Width::B16) => (i16, u16),
                (_, 16, Width::B32) => (i16, u32),
                (_, 16, _) => (i16, u64),
                (_, 32, Width::B32) => (i32, u32),
                (_, 32, _) => (i32, u64),
                _ => (i64, u64),
            ],
            (|$D, $W| $run)
        )
    };
}
pub(super) use by_destination;

pub(super) fn select(to: Type, from: Type, options: Options, width: Width) -> Result<Run, String> {
    if options.integral.is_some() || options.rounding.is_some() {
        return Err("`cvt` between integers takes no rounding".to_owned());
    }
    if options.sat && to.holds(from) {
        return Err("`cvt.sat` to a type that holds all values of the source is no form".to_owned());
    }
    Ok(by_integer!(from, |S| by_destination!(to, width, |D, W| if options.sat {
        saturated::<S, D, W> as Run
    } else {
        truncated::<S, D, W> as Run
    })))
}

#[inline(always)]
pub(super) fn integer<S: Integer>(register: S::Register) -> S {
    S::truncated(register.extended())
}

#[inline(never)]
fn read_extended<S: Integer>(registers: &Registers, from: Reg) -> Wide<u64> {
    read(registers, from, |a| integer::<S>(a).extended())
}

#[inline(never)]
fn read_values<S: Integer>(registers: &Registers, from: Reg) -> Wide<i128> {
    read(registers, from, |a| integer::<S>(a).value())
}

/// As `D`, extended to the destination register `W`.
#[inline(never)]
fn write_integer<D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<u64>,
) {
    write(registers, to, mask, values, |x| W::truncated(D::truncated(x).extended()));
}

fn truncated<S: Integer, D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = read_extended::<S>(registers, operands[1]);
    write_integer::<D, W>(registers, operands[0], mask, &values);
}

#[inline(never)]
fn limited<D: Integer>(values: &Wide<i128>) -> Wide<u64> {
    each(values, |x| x.clamp(D::MIN, D::MAX) as u64)
}

fn saturated<S: Integer, D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = limited::<D>(&read_values::<S>(registers, operands[1]));
    write_integer::<D, W>(registers, operands[0], mask, &values);
}
