//! Loads, stores, atomics and matrix rows: between a warp's registers and its memories.

use super::accesses::{Access, Work};
use super::group::Group;
use super::memory::Words;
use super::program::{Address, Atomic, Semantics, Target, Transfer};
use super::registers::{LANES, Lane, Mask, Reg, Registers, Width, each, lanes};
use super::splits::Flow;
use super::tensor::{self, Matrix};
use super::warp::{WarpData, WarpPlace};

impl Group<'_> {
    pub(super) fn load(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        transfer: &Transfer,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, &transfer.address);
        let at = addresses;
        let mut words: Words = [[0; LANES]; 4];
        let access = transfer.access(place, pc, active);
        self.access(access, &mut addresses, &mut data.local, Work::Load(&mut words));
        for (i, &(width, reg)) in transfer.registers.iter().enumerate() {
            unpack(&mut data.registers, active, width, reg, &words, i, transfer);
        }
        if access.strong {
            let warp = self.warp_number(place);
            for lane in lanes(active) {
                let Some(location) = self.location(place, transfer.target, at[lane]) else {
                    continue;
                };
                if transfer.semantics.acquires() {
                    self.order.acquire(warp, location, transfer.scope);
                } else {
                    self.order.relaxed_read(warp, location);
                }
            }
        }
        Flow::Next
    }

    pub(super) fn store(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        transfer: &Transfer,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, &transfer.address);
        let at = addresses;
        let mut words: Words = [[0; LANES]; 4];
        for (i, &(width, reg)) in transfer.registers.iter().enumerate() {
            pack(&data.registers, width, reg, &mut words, i, transfer.bytes);
        }
        let access = transfer.access(place, pc, active);
        self.access(access, &mut addresses, &mut data.local, Work::Store(&words));
        self.effect();
        if access.strong {
            let warp = self.warp_number(place);
            for lane in lanes(active) {
                let Some(location) = self.location(place, transfer.target, at[lane]) else {
                    continue;
                };
                if transfer.semantics.releases() {
                    self.order.release_write(warp, location, transfer.scope);
                } else {
                    self.order.relaxed_write(warp, location);
                }
            }
        }
        Flow::Next
    }

    pub(super) fn atomic(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        atomic: &Atomic,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, &atomic.address);
        let at = addresses;
        let wide = |registers: &Registers, reg: Reg| match atomic.width {
            Width::B64 => u64::load(registers, reg),
            _ => each(&u32::load(registers, reg), u64::from),
        };
        let b = wide(&data.registers, atomic.b);
        let c = atomic.c.map_or([0; LANES], |c| wide(&data.registers, c));
        let mut olds = [0u64; LANES];
        let mut changed = false;
        let mut update = |target, lane: usize, old| {
            olds[lane] = old;
            let run = if target == Target::Shared { atomic.run } else { atomic.run_global };
            let new = run(old, b[lane], c[lane]);
            changed |= new.is_some_and(|new| new != old);
            new
        };
        let (target, bytes) = (atomic.target, atomic.bytes);
        let (strong, past_l1, part) = (true, true, false);
        let access = Access { place, pc, mask: active, target, bytes, strong, past_l1, part };
        self.access(access, &mut addresses, &mut data.local, Work::Atomic(&mut update));
        if changed {
            self.effect();
        }
        if let Some(to) = atomic.to {
            match atomic.width {
                Width::B64 => u64::store(&mut data.registers, to, active, olds),
                _ => u32::store(&mut data.registers, to, active, each(&olds, |old| old as u32)),
            }
        }
        let warp = self.warp_number(place);
        for lane in lanes(active) {
            let Some(location) = self.location(place, atomic.target, at[lane]) else { continue };
            if atomic.semantics.acquires() {
                self.order.acquire(warp, location, atomic.scope);
            } else {
                self.order.relaxed_read(warp, location);
            }
            if atomic.semantics.releases() {
                self.order.release(warp, location, atomic.scope);
            } else {
                self.order.relaxed_rmw(warp, location);
            }
        }
        Flow::Next
    }

    pub(super) fn load_matrix(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        address: &Address,
        matrix: Matrix,
        registers: &[Reg],
    ) {
        let mut addresses = Self::addresses(&data.registers, address);
        let mut words: Words = [[0; LANES]; 4];
        let access = rows_access(place, pc, matrix);
        self.access(access, &mut addresses, &mut data.local, Work::Load(&mut words));
        let values = tensor::distribute(&words, matrix);
        for (&reg, values) in registers.iter().zip(values) {
            u32::store(&mut data.registers, reg, Mask::MAX, values);
        }
    }

    pub(super) fn store_matrix(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        address: &Address,
        matrix: Matrix,
        registers: &[Reg],
    ) {
        let mut addresses = Self::addresses(&data.registers, address);
        let mut values = [[0; LANES]; 4];
        for (values, &reg) in values.iter_mut().zip(registers) {
            *values = u32::load(&data.registers, reg);
        }
        let words = tensor::collect(&values, matrix);
        let access = rows_access(place, pc, matrix);
        self.access(access, &mut addresses, &mut data.local, Work::Store(&words));
        self.effect();
    }
}

impl Transfer {
    fn access(&self, place: WarpPlace, pc: u32, mask: Mask) -> Access {
        Access {
            place,
            pc,
            mask,
            target: self.target,
            bytes: self.bytes * self.registers.len() as u32,
            strong: self.semantics != Semantics::Weak,
            past_l1: self.past_l1,
            part: false,
        }
    }
}

/// The rows of matrices, 16 bytes each, of the lanes whose addresses name them: eight for each
/// matrix.
fn rows_access(place: WarpPlace, pc: u32, matrix: Matrix) -> Access {
    let mask = if matrix.count == 4 { Mask::MAX } else { (1 << (8 * matrix.count)) - 1 };
    let (strong, past_l1, part) = (false, false, false);
    Access { place, pc, mask, target: Target::Shared, bytes: 16, strong, past_l1, part }
}

/// Scalar `i` of a load into its register, extended to the register's width.
fn unpack(
    registers: &mut Registers,
    mask: Mask,
    width: Width,
    reg: Reg,
    words: &Words,
    i: usize,
    transfer: &Transfer,
) {
    let bytes = transfer.bytes as usize;
    match (bytes, width) {
        (4, Width::B32) => u32::store(registers, reg, mask, words[i]),
        (8, _) => {
            let (low, high) = (&words[2 * i], &words[2 * i + 1]);
            let values = std::array::from_fn(|l| u64::from(low[l]) | u64::from(high[l]) << 32);
            u64::store(registers, reg, mask, values);
        }
        _ => {
            let at = i * bytes;
            let (word, shift) = (at / 4, 8 * (at % 4));
            let unused = 64 - 8 * bytes;
            let values: [u64; LANES] = std::array::from_fn(|lane| {
                let raw = u64::from(words[word][lane] >> shift) << unused;
                if transfer.signed { (raw as i64 >> unused) as u64 } else { raw >> unused }
            });
            match width {
                Width::B64 => u64::store(registers, reg, mask, values),
                Width::B16 => u16::store(registers, reg, mask, each(&values, |v| v as u16)),
                _ => u32::store(registers, reg, mask, each(&values, |v| v as u32)),
            }
        }
    }
}

/// Scalar `i` of a store from its register, of which the low bits count.
fn pack(registers: &Registers, width: Width, reg: Reg, words: &mut Words, i: usize, bytes: u32) {
    let bytes = bytes as usize;
    if bytes == 8 {
        let values = u64::load(registers, reg);
        words[2 * i] = each(&values, |v| v as u32);
        words[2 * i + 1] = each(&values, |v| (v >> 32) as u32);
        return;
    }
    let values = match width {
        Width::B64 => each(&u64::load(registers, reg), |v| v as u32),
        _ => u32::load(registers, reg),
    };
    if bytes == 4 {
        words[i] = values;
        return;
    }
    let at = i * bytes;
    let (word, shift) = (at / 4, 8 * (at % 4));
    let low = (1u32 << (8 * bytes)) - 1;
    for (word, value) in words[word].iter_mut().zip(values) {
        *word |= (value & low) << shift;
    }
}
