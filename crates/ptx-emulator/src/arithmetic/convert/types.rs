//! The types of a conversion, what stands before them, and the lanes between its two halves.

use crate::arithmetic::{Operand, Rounding};
use crate::registers::{LANES, Mask, Reg, Registers, Width, each};

/// A type's name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub kind: TypeKind,
    pub bits: u32,
}

/// Families of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeKind {
    Unsigned,
    Signed,
    Float,
    Brain,
}

impl Type {
    /// Of floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self.kind, TypeKind::Float | TypeKind::Brain)
    }

    /// All values of `other` are values of this integer type.
    pub fn holds(self, other: Type) -> bool {
        match (self.kind, other.kind) {
            (TypeKind::Unsigned, TypeKind::Unsigned) | (TypeKind::Signed, TypeKind::Signed) => {
                self.bits >= other.bits
            }
            (TypeKind::Signed, TypeKind::Unsigned) => self.bits > other.bits,
            _ => false,
        }
    }

    /// All values of `other` are values of this floating-point type.
    pub fn holds_float(self, other: Type) -> bool {
        self == other || self.bits > other.bits
    }

    /// The register that holds it.
    pub fn width(self) -> Width {
        match self.bits {
            8 | 16 => Width::B16,
            32 => Width::B32,
            _ => Width::B64,
        }
    }
}

/// What stands between `cvt` and its types.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub integral: Option<Rounding>,
    pub rounding: Option<Rounding>,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    pub satfinite: bool,
}

/// The lanes between the two halves of a conversion, which the many pairs of types share.
pub(super) type Wide<T> = [T; LANES];

/// What `f` makes of each lane of a register.
#[inline(always)]
pub(super) fn read<A: Operand, T: Copy + Default>(
    registers: &Registers,
    from: Reg,
    f: impl Fn(A) -> T,
) -> Wide<T> {
    each(&A::load(registers, from), f)
}

/// Writes what `f` makes of each lane to a register.
#[inline(always)]
pub(super) fn write<T: Copy, D: Operand>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<T>,
    f: impl Fn(T) -> D,
) {
    D::store(registers, to, mask, each(values, f));
}
