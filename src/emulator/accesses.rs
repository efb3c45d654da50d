//! Loads, stores and atomics of a warp: which memory they go to, and how their data comes in and out of registers.

use super::address::{self, Window};
use super::counters::{conflicts, sectors};
use super::group::{Flow, Group, Place, WarpData, lanes};
use super::memory::{Words, load_bytes};
use super::order::Location;
use super::program::{Address, Atomic, Semantics, Target, Transfer};
use super::registers::{LANES, Lane, Mask, Reg, Registers, Width, each};
use super::report::{About, Check};
use super::tensor::{self, Matrix};

impl Group<'_> {
    /// The lanes' addresses.
    pub(super) fn addresses(registers: &Registers, address: &Address) -> [u64; LANES] {
        let offset = address.offset as u64;
        match address.width {
            Width::B64 => each(&u64::load(registers, address.base), |a| a.wrapping_add(offset)),
            // Addresses of 32 bits wrap within their window.
            _ => each(&u32::load(registers, address.base), |a| {
                u64::from(a.wrapping_add(offset as u32))
            }),
        }
    }

    /// The lanes that go to each kind of memory, with addresses within it.
    fn targets(target: Target, mask: Mask, addresses: &mut [u64; LANES]) -> [(Target, Mask); 4] {
        let mut by_target =
            [(Target::Global, 0), (Target::Shared, 0), (Target::Local, 0), (Target::Param, 0)];
        match target {
            Target::Generic => {
                for lane in lanes(mask) {
                    let (slot, window) = match address::window_of(addresses[lane]) {
                        None => (0, 0),
                        Some(Window::Shared) => (1, address::SHARED),
                        Some(Window::Local) => (2, address::LOCAL),
                        Some(Window::Param) => (3, address::PARAM),
                        Some(Window::Const) => (0, address::CONST),
                    };
                    by_target[slot].1 |= 1 << lane;
                    addresses[lane] -= window;
                }
            }
            Target::Global | Target::Const => by_target[0].1 = mask,
            Target::Shared => by_target[1].1 = mask,
            Target::Local => by_target[2].1 = mask,
            Target::Param => by_target[3].1 = mask,
        }
        by_target
    }

    /// The block of each lane's shared address; lanes of blocks that do not exist are reported and left out.
    pub(super) fn shared_targets(
        &mut self,
        place: Place,
        pc: u32,
        mask: Mask,
        addresses: &[u64; LANES],
    ) -> (Vec<(usize, Mask)>, [u32; LANES]) {
        let mut offsets = [0; LANES];
        let mut blocks: Vec<(usize, Mask)> = Vec::with_capacity(1);
        let cluster = self.environment.cluster.iter().product::<u32>() as usize;
        let first = place.block / cluster * cluster;
        for lane in lanes(mask) {
            let (rank, offset) = address::rank_and_offset(addresses[lane]);
            offsets[lane] = offset;
            let block = match rank {
                None => place.block,
                Some(rank) if (rank as usize) < cluster => first + rank as usize,
                Some(_) => {
                    let site = self.site(place, pc);
                    let at = addresses[lane];
                    self.findings.add(Check::OutOfBounds, site, lane as u32, || About {
                        address: Some(at),
                        buffer: None,
                        message: format!(
                            "shared address {at:#x} lies in no block of the cluster of {cluster}"
                        ),
                    });
                    continue;
                }
            };
            match blocks.iter_mut().find(|(b, _)| *b == block) {
                Some((_, mask)) => *mask |= 1 << lane,
                None => blocks.push((block, 1 << lane)),
            }
        }
        (blocks, offsets)
    }

    /// Whether every address is of the block itself, the usual case; then its offsets.
    fn own_shared(addresses: &[u64; LANES]) -> Option<[u32; LANES]> {
        let all = addresses.iter().fold(0, |all, a| all | a);
        (all < 1 << 24).then(|| each(addresses, |a| a as u32))
    }

    #[allow(clippy::too_many_arguments)] // an access is all of this
    pub(super) fn read(
        &mut self,
        place: Place,
        data: &mut WarpData,
        pc: u32,
        mask: Mask,
        target: Target,
        addresses: &mut [u64; LANES],
        bytes: u32,
        strong: bool,
        words: &mut Words,
    ) {
        for (target, mask) in Self::targets(target, mask, addresses) {
            if mask == 0 {
                continue;
            }
            let narrow = |a: &[u64; LANES]| a.map(|a| u32::try_from(a).unwrap_or(u32::MAX));
            self.count_traffic(pc, target, mask, addresses, bytes);
            match target {
                Target::Global | Target::Const | Target::Generic => {
                    self.with_actor(place, pc, strong, |memory, _, actor| {
                        memory.load(actor, mask, addresses, bytes, words);
                    });
                }
                Target::Shared => match Self::own_shared(addresses) {
                    Some(offsets) => self.with_actor(place, pc, strong, |_, blocks, actor| {
                        blocks[place.block].shared.load(actor, mask, &offsets, bytes, words);
                    }),
                    None => {
                        let (blocks, offsets) = self.shared_targets(place, pc, mask, addresses);
                        for (block, mask) in blocks {
                            self.with_actor(place, pc, strong, |_, blocks, actor| {
                                blocks[block].shared.load(actor, mask, &offsets, bytes, words);
                            });
                        }
                    }
                },
                Target::Local => {
                    let offsets = narrow(addresses);
                    self.with_actor(place, pc, strong, |_, _, actor| {
                        data.local.load(actor, mask, &offsets, bytes, words);
                    });
                }
                Target::Param => {
                    let offsets = narrow(addresses);
                    let environment = self.environment;
                    self.with_actor(place, pc, strong, |_, _, actor| {
                        let params = &environment.params;
                        load_bytes(params, "parameters", actor, mask, &offsets, bytes, words);
                    });
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // an access is all of this
    fn write(
        &mut self,
        place: Place,
        data: &mut WarpData,
        pc: u32,
        mask: Mask,
        target: Target,
        addresses: &mut [u64; LANES],
        bytes: u32,
        strong: bool,
        words: &Words,
    ) {
        for (target, mask) in Self::targets(target, mask, addresses) {
            if mask == 0 {
                continue;
            }
            self.count_traffic(pc, target, mask, addresses, bytes);
            match target {
                Target::Global | Target::Const | Target::Generic => {
                    self.with_actor(place, pc, strong, |memory, _, actor| {
                        memory.store(actor, mask, addresses, bytes, words);
                    });
                }
                Target::Shared => match Self::own_shared(addresses) {
                    Some(offsets) => self.with_actor(place, pc, strong, |_, blocks, actor| {
                        blocks[place.block].shared.store(actor, mask, &offsets, bytes, words);
                    }),
                    None => {
                        let (blocks, offsets) = self.shared_targets(place, pc, mask, addresses);
                        for (block, mask) in blocks {
                            self.with_actor(place, pc, strong, |_, blocks, actor| {
                                blocks[block].shared.store(actor, mask, &offsets, bytes, words);
                            });
                        }
                    }
                },
                Target::Local => {
                    let offsets = each(addresses, |a| u32::try_from(a).unwrap_or(u32::MAX));
                    self.with_actor(place, pc, strong, |_, _, actor| {
                        data.local.store(actor, mask, &offsets, bytes, words);
                    });
                }
                Target::Param => {
                    let site = self.site(place, pc);
                    let lane = mask.trailing_zeros();
                    let at = addresses[lane as usize];
                    self.findings.add(Check::OutOfBounds, site, lane, || About {
                        address: Some(at),
                        buffer: Some("parameters".to_owned()),
                        message: "a store to the kernel's parameters, which are read-only"
                            .to_owned(),
                    });
                }
            }
        }
    }

    fn count_traffic(
        &mut self,
        pc: u32,
        target: Target,
        mask: Mask,
        addresses: &[u64; LANES],
        bytes: u32,
    ) {
        if !self.environment.count_traffic {
            return;
        }
        let count = &mut self.traffic[pc as usize];
        let traffic = match target {
            Target::Global => &mut count.global,
            Target::Shared => &mut count.shared,
            _ => return,
        };
        traffic.requests += 1;
        traffic.bytes += u64::from(mask.count_ones() * bytes);
        match target {
            Target::Global => traffic.sectors += sectors(mask, addresses),
            _ => traffic.conflicts += conflicts(mask, addresses, bytes),
        }
    }

    pub(super) fn load(
        &mut self,
        place: Place,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        transfer: &Transfer,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, &transfer.address);
        let at = addresses;
        let bytes = transfer.bytes * transfer.registers.len() as u32;
        let strong = transfer.semantics != Semantics::Weak;
        let mut words: Words = [[0; LANES]; 4];
        self.read(
            place,
            data,
            pc,
            active,
            transfer.target,
            &mut addresses,
            bytes,
            strong,
            &mut words,
        );
        for (i, &(width, reg)) in transfer.registers.iter().enumerate() {
            unpack(&mut data.registers, active, width, reg, &words, i, transfer);
        }
        if strong {
            let warp = self.warp_number(place);
            for lane in lanes(active) {
                let location = self.location(place, transfer.target, at[lane]);
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
        place: Place,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        transfer: &Transfer,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, &transfer.address);
        let at = addresses;
        let bytes = transfer.bytes * transfer.registers.len() as u32;
        let strong = transfer.semantics != Semantics::Weak;
        let mut words: Words = [[0; LANES]; 4];
        for (i, &(width, reg)) in transfer.registers.iter().enumerate() {
            pack(&data.registers, width, reg, &mut words, i, transfer.bytes);
        }
        self.write(place, data, pc, active, transfer.target, &mut addresses, bytes, strong, &words);
        self.effect();
        if strong {
            let warp = self.warp_number(place);
            for lane in lanes(active) {
                let location = self.location(place, transfer.target, at[lane]);
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
        place: Place,
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
        for (target, mask) in Self::targets(atomic.target, active, &mut addresses) {
            if mask == 0 {
                continue;
            }
            self.count_traffic(pc, target, mask, &addresses, atomic.bytes);
            let run = if target == Target::Global { atomic.run_global } else { atomic.run };
            let mut update = |lane: usize, old: u64| {
                olds[lane] = old;
                let new = run(old, b[lane], c[lane]);
                changed |= new.is_some_and(|new| new != old);
                new
            };
            match target {
                Target::Global | Target::Const | Target::Generic => {
                    self.with_actor(place, pc, true, |memory, _, actor| {
                        memory.atomic(actor, mask, &addresses, atomic.bytes, &mut update);
                    });
                }
                Target::Shared => {
                    let (blocks, offsets) = self.shared_targets(place, pc, mask, &addresses);
                    for (block, mask) in blocks {
                        self.with_actor(place, pc, true, |_, blocks, actor| {
                            let shared = &mut blocks[block].shared;
                            shared.atomic(actor, mask, &offsets, atomic.bytes, &mut update);
                        });
                    }
                }
                Target::Local | Target::Param => {
                    let site = self.site(place, pc);
                    let lane = mask.trailing_zeros();
                    self.findings.add(Check::OutOfBounds, site, lane, || About {
                        address: Some(at[lane as usize]),
                        buffer: None,
                        message: "an atomic in local memory or parameters".to_owned(),
                    });
                }
            }
        }
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
            let location = self.location(place, atomic.target, at[lane]);
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

    /// Where a strong access goes, as the ordering of accesses names it.
    pub(super) fn location(&self, place: Place, target: Target, address: u64) -> Location {
        let shared = match target {
            Target::Shared => Some(address),
            Target::Generic if address::window_of(address) == Some(Window::Shared) => {
                Some(address - address::SHARED)
            }
            _ => None,
        };
        match shared {
            None => Location { block: None, address },
            Some(address) => {
                let cluster = self.environment.cluster.iter().product::<u32>() as usize;
                let (rank, offset) = address::rank_and_offset(address);
                let block = match rank {
                    None => place.block,
                    Some(rank) => place.block / cluster * cluster + rank as usize,
                };
                let number = self.blocks.get(block).map_or(u32::MAX, |block| block.number);
                Location { block: Some(number), address: offset.into() }
            }
        }
    }

    pub(super) fn load_matrix(
        &mut self,
        place: Place,
        data: &mut WarpData,
        pc: u32,
        address: &Address,
        matrix: Matrix,
        registers: &[Reg],
    ) {
        let mut addresses = Self::addresses(&data.registers, address);
        let rows = rows_of(matrix);
        let mut words: Words = [[0; LANES]; 4];
        self.read(place, data, pc, rows, Target::Shared, &mut addresses, 16, false, &mut words);
        let values = tensor::distribute(&words, matrix);
        for (&reg, values) in registers.iter().zip(values) {
            u32::store(&mut data.registers, reg, Mask::MAX, values);
        }
    }

    pub(super) fn store_matrix(
        &mut self,
        place: Place,
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
        let rows = rows_of(matrix);
        self.write(place, data, pc, rows, Target::Shared, &mut addresses, 16, false, &words);
        self.effect();
    }
}

/// The lanes whose addresses name rows: eight for each matrix.
fn rows_of(matrix: Matrix) -> Mask {
    if matrix.count == 4 { Mask::MAX } else { (1 << (8 * matrix.count)) - 1 }
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
