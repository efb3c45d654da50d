//! The registers of one warp, and typed access to their 32 lanes.
//!
//! Registers are held by lane width: up to 32 bits in `narrow`, 64 bits in `wide`, predicates as a
//! mask of the lanes. A register of 8 or 16 bits holds its value zero-extended to 32. Immediates
//! and special registers are registers too, filled before the warp starts: every operand is an
//! index.

use half::{bf16, f16};

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// Bit `i` stands for lane `i`.
pub(crate) type Mask = u32;

/// Index into the registers of its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reg(pub u32);

/// How wide a register is, which tells the file that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Width {
    /// `.pred`.
    Pred,
    /// `.b8`, `.b16`, `.f16`, `.bf16`...: `narrow`, zero-extended.
    B16,
    /// `.b32`, `.f32`, `.f16x2`...: `narrow`.
    B32,
    /// `.b64`, `.f64`...: `wide`.
    B64,
}

/// The registers of a warp.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    pub narrow: Vec<[u32; LANES]>,
    pub wide: Vec<[u64; LANES]>,
    pub preds: Vec<Mask>,
    /// Lanes that have been written, for each register of the three files.
    pub narrow_set: Vec<Mask>,
    pub wide_set: Vec<Mask>,
    pub preds_set: Vec<Mask>,
}

/// A type that a register's lanes are read and written as.
pub(crate) trait Lane: Copy + Default {
    fn load(registers: &Registers, reg: Reg) -> [Self; LANES];
    /// Writes the lanes of `mask` only, and marks them as written.
    fn store(registers: &mut Registers, reg: Reg, mask: Mask, values: [Self; LANES]);
}

macro_rules! lane {
    ($type:ty, $file:ident, $set:ident, $from:expr, $to:expr) => {
        impl Lane for $type {
            #[inline(always)]
            fn load(registers: &Registers, reg: Reg) -> [Self; LANES] {
                each(&registers.$file[reg.0 as usize], $from)
            }

            #[inline(always)]
            fn store(registers: &mut Registers, reg: Reg, mask: Mask, values: [Self; LANES]) {
                registers.$set[reg.0 as usize] |= mask;
                blend(&mut registers.$file[reg.0 as usize], mask, each(&values, $to));
            }
        }
    };
}

lane!(u32, narrow, narrow_set, |bits| bits, |value| value);
lane!(i32, narrow, narrow_set, |bits| bits as i32, |value: i32| value as u32);
lane!(f32, narrow, narrow_set, f32::from_bits, f32::to_bits);
lane!(u16, narrow, narrow_set, |bits| bits as u16, u32::from);
lane!(i16, narrow, narrow_set, |bits| bits as i16, |value: i16| u32::from(value as u16));
lane!(f16, narrow, narrow_set, |bits| f16::from_bits(bits as u16), |value: f16| value
    .to_bits()
    .into());
lane!(bf16, narrow, narrow_set, |bits| bf16::from_bits(bits as u16), |value: bf16| value
    .to_bits()
    .into());
lane!(u64, wide, wide_set, |bits| bits, |value| value);
lane!(i64, wide, wide_set, |bits| bits as i64, |value: i64| value as u64);
lane!(f64, wide, wide_set, f64::from_bits, f64::to_bits);

impl Lane for bool {
    #[inline(always)]
    fn load(registers: &Registers, reg: Reg) -> [Self; LANES] {
        let bits = registers.preds[reg.0 as usize];
        each(&BITS, |bit| bits & bit != 0)
    }

    #[inline(always)]
    fn store(registers: &mut Registers, reg: Reg, mask: Mask, values: [Self; LANES]) {
        let bits = pack(values);
        let pred = &mut registers.preds[reg.0 as usize];
        *pred = *pred & !mask | bits & mask;
        registers.preds_set[reg.0 as usize] |= mask;
    }
}

/// The bit of each lane: a table, which loops over lanes turn into vectors where shifts would not
/// be.
pub(crate) const BITS: [Mask; LANES] = {
    let mut bits = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        bits[lane] = 1 << lane;
        lane += 1;
    }
    bits
};

/// The lanes of a mask, in order.
#[inline(always)]
pub(crate) fn lanes(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}

/// The mask of the lanes that are true.
#[inline(always)]
pub(crate) fn pack(values: [bool; LANES]) -> Mask {
    let mut mask = 0;
    for lane in 0..LANES {
        mask |= if values[lane] { BITS[lane] } else { 0 };
    }
    mask
}

/// `f` of every lane. The loop is always inlined, which `array::map` is not at every level of
/// optimisation.
#[inline(always)]
pub(crate) fn each<T: Copy, R: Copy + Default, const N: usize>(
    values: &[T; N],
    f: impl Fn(T) -> R,
) -> [R; N] {
    let mut results = [R::default(); N];
    for (result, &value) in results.iter_mut().zip(values) {
        *result = f(value);
    }
    results
}

#[inline(always)]
fn blend<T: Copy>(to: &mut [T; LANES], mask: Mask, values: [T; LANES]) {
    if mask == Mask::MAX {
        *to = values;
    } else {
        for lane in 0..LANES {
            to[lane] = if mask & BITS[lane] != 0 { values[lane] } else { to[lane] };
        }
    }
}
