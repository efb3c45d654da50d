//! Every family against the ISA's definition, computed in another way: with wider integers, with
//! f64, with the `half` crate, bit by bit.

mod compare;
mod convert;
mod float;
mod forms;
mod half;
mod integer;
mod logic;
mod reference;

use super::*;

/// Registers for the operands of one form, lane `i` of source `k` from `sources[k][i]`; predicates
/// from bit 0.
pub(super) struct Bench {
    registers: Registers,
    operands: Vec<Reg>,
    form: Arithmetic,
}

/// The lanes of the destination before a run: what masked-off lanes must keep.
const BEFORE: u64 = 0xdead_beef_5a5a_a5a5;

impl Bench {
    /// `widths` as written; by default those of the slots.
    pub(super) fn new(
        form: &str,
        operands: usize,
        widths: Option<&[Option<Width>]>,
    ) -> Result<Self, String> {
        let mut parts = form.split('.');
        let opcode = parts.next().unwrap_or("");
        let modifiers: Vec<&str> = parts.collect();
        // Immediate tables are the one place where a register is no operand.
        let mut any = vec![None; operands];
        let widths = widths.unwrap_or_else(|| {
            if opcode != "lop3" {
                any.fill(None);
            }
            &any
        });
        let form = lower(opcode, &modifiers, widths)
            .unwrap_or_else(|| Err("unknown opcode".to_owned()))?;
        assert_eq!(form.slots.len(), operands, "slots of {opcode}");
        let mut registers = Registers::default();
        let operands = form
            .slots
            .iter()
            .map(|slot| {
                let (OperandSlot::Write(width) | OperandSlot::Read(width)) = *slot;
                let index = match width {
                    Width::Pred => {
                        registers.preds.push(BEFORE as u32);
                        registers.preds_set.push(0);
                        registers.preds.len()
                    }
                    Width::B16 | Width::B32 => {
                        let before =
                            if width == Width::B16 { BEFORE as u16 as u32 } else { BEFORE as u32 };
                        registers.narrow.push([before; LANES]);
                        registers.narrow_set.push(0);
                        registers.narrow.len()
                    }
                    Width::B64 => {
                        registers.wide.push([BEFORE; LANES]);
                        registers.wide_set.push(0);
                        registers.wide.len()
                    }
                };
                Reg(index as u32 - 1)
            })
            .collect();
        Ok(Bench { registers, operands, form })
    }

    pub(super) fn width(&self, operand: usize) -> Width {
        let (OperandSlot::Write(width) | OperandSlot::Read(width)) = self.form.slots[operand];
        width
    }

    pub(super) fn set(&mut self, operand: usize, lane: usize, value: u64) {
        let index = self.operands[operand].0 as usize;
        match self.width(operand) {
            Width::Pred => {
                let bit = 1 << lane;
                let pred = &mut self.registers.preds[index];
                *pred = if value & 1 != 0 { *pred | bit } else { *pred & !bit };
            }
            Width::B16 => self.registers.narrow[index][lane] = u32::from(value as u16),
            Width::B32 => self.registers.narrow[index][lane] = value as u32,
            Width::B64 => self.registers.wide[index][lane] = value,
        }
    }

    pub(super) fn get(&self, operand: usize, lane: usize) -> u64 {
        let index = self.operands[operand].0 as usize;
        match self.width(operand) {
            Width::Pred => u64::from(self.registers.preds[index] >> lane & 1),
            Width::B16 | Width::B32 => self.registers.narrow[index][lane].into(),
            Width::B64 => self.registers.wide[index][lane],
        }
    }

    fn written(&self, operand: usize) -> Mask {
        let index = self.operands[operand].0 as usize;
        match self.width(operand) {
            Width::Pred => self.registers.preds_set[index],
            Width::B16 | Width::B32 => self.registers.narrow_set[index],
            Width::B64 => self.registers.wide_set[index],
        }
    }

    pub(super) fn run(&mut self, mask: Mask) {
        (self.form.run)(&mut self.registers, &self.operands, mask);
    }
}

/// Runs a form with one destination on the given operands, in warps of all lanes and of a partial
/// mask, and compares each lane's result with `expected`. Numbers of a source are truncated to its
/// register.
pub(super) fn check<const N: usize>(
    form: &str,
    cases: &[[u64; N]],
    expected: impl Fn([u64; N]) -> u64,
) {
    check_widths(form, None, cases, expected);
}

pub(super) fn check_widths<const N: usize>(
    form: &str,
    widths: Option<&[Option<Width>]>,
    cases: &[[u64; N]],
    expected: impl Fn([u64; N]) -> u64,
) {
    let mut mask = Mask::MAX;
    for warp in cases.chunks(LANES) {
        let mut bench =
            Bench::new(form, N + 1, widths).unwrap_or_else(|error| panic!("{form}: {error}"));
        let before = bench.get(0, 0);
        for lane in 0..LANES {
            for (k, &value) in warp[lane % warp.len()].iter().enumerate() {
                bench.set(k + 1, lane, value);
            }
        }
        bench.run(mask);
        assert_eq!(bench.written(0), mask, "{form}");
        for lane in 0..LANES {
            let case = warp[lane % warp.len()];
            if mask >> lane & 1 == 0 {
                let kept = if bench.width(0) == Width::Pred { BEFORE >> lane & 1 } else { before };
                assert_eq!(bench.get(0, lane), kept, "{form}: lane {lane} is masked off");
            } else {
                let (got, expected) = (bench.get(0, lane), expected(case));
                assert_eq!(got, expected, "{form} {case:x?}: got {got:#x}, expected {expected:#x}");
            }
        }
        mask = mask.rotate_left(7) ^ 0x1235_8d1b;
    }
}

/// That a form is refused, with this in the reason.
pub(super) fn refused(form: &str, operands: usize, reason: &str) {
    match Bench::new(form, operands, None) {
        Ok(_) => panic!("{form} is accepted"),
        Err(error) => assert!(error.contains(reason), "{form}: {error}"),
    }
}

/// SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// All combinations of special values, then random ones, of `N` operands.
pub(super) fn cases<const N: usize>(specials: &[u64], random: usize) -> Vec<[u64; N]> {
    let mut generator = Random(N as u64);
    let combinations = specials.len().pow(N as u32);
    let mut cases: Vec<[u64; N]> = (0..combinations)
        .map(|index| {
            std::array::from_fn(|k| specials[index / specials.len().pow(k as u32) % specials.len()])
        })
        .collect();
    cases.extend((0..random).map(|_| {
        std::array::from_fn(|_| {
            // Half of them close to a special value, where the corners are.
            let value = generator.next();
            match value & 3 {
                0 => specials[(value >> 32) as usize % specials.len()].wrapping_add(value >> 4 & 3),
                _ => generator.next(),
            }
        })
    }));
    cases
}

pub(super) const INTEGERS: [u64; 14] = [
    0,
    1,
    2,
    7,
    31,
    32,
    0x7f,
    0x7fff,
    0x8000,
    0x7fff_ffff,
    0x8000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// f32: zeros, one, subnormals, the least normal, near one, the largest, infinities, NaN.
pub(super) const SINGLES: [u64; 20] = [
    0,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x3380_0000,
    0x4b80_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffa0_0000,
    0x7fff_ffff,
];

pub(super) const DOUBLES: [u64; 18] = [
    0,
    1 << 63,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    1,
    1 << 63 | 1,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x3fef_ffff_ffff_ffff,
    0x3ca0_0000_0000_0000,
    0xc340_0000_0000_0001,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff0_0000_0000_0001,
];

pub(super) const HALVES: [u64; 16] = [
    0, 0x8000, 0x3c00, 0xbc00, 1, 0x8001, 0x03ff, 0x0400, 0x3c01, 0x3bff, 0x7bff, 0xfbff, 0x7c00,
    0xfc00, 0x7e00, 0xfd01,
];
