//! Counters of what a launch executed.

use super::program::Class;
use std::collections::BTreeMap;

/// Accesses of one kind of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp-wide accesses.
    pub requests: u64,
    /// Bytes that the lanes asked for.
    pub bytes: u64,
    /// Global memory: distinct sectors of 32 bytes, over all requests.
    pub sectors: u64,
    /// Shared memory: cycles beyond the least that a request of its width takes, for banks of four
    /// bytes.
    pub conflicts: u64,
}

impl Traffic {
    /// Sectors of a mean request.
    pub fn sectors_per_request(&self) -> f64 {
        self.sectors as f64 / self.requests.max(1) as f64
    }

    pub(crate) fn add(&mut self, other: &Traffic) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.sectors += other.sectors;
        self.conflicts += other.conflicts;
    }
}

/// What one source line executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// Warp instructions.
    pub instructions: u64,
    /// Global memory.
    pub global: Traffic,
    /// Shared memory.
    pub shared: Traffic,
}

/// What one instruction executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstructionCounters {
    /// Times that a warp executed it.
    pub executed: u64,
    /// Lanes that took part, summed over them.
    pub lanes: u64,
    /// Global memory.
    pub global: Traffic,
    /// Shared memory.
    pub shared: Traffic,
}

impl InstructionCounters {
    fn add(&mut self, other: &InstructionCounters) {
        self.executed += other.executed;
        self.lanes += other.lanes;
        self.global.add(&other.global);
        self.shared.add(&other.shared);
    }
}

/// What a launch executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions.
    pub instructions: u64,
    /// Lanes that took part, summed over the instructions.
    pub lane_instructions: u64,
    /// Warp instructions by class.
    pub by_class: BTreeMap<Class, u64>,
    /// Matrix products.
    pub mma: u64,
    /// Multiply-accumulates of the matrix products.
    pub mma_macs: u64,
    /// Global memory; counted on request.
    pub global: Traffic,
    /// Shared memory; counted on request.
    pub shared: Traffic,
    /// Barriers of a block or of a cluster that were completed.
    pub barriers: u64,
    /// Branches that parted the lanes of a warp.
    pub divergent_branches: u64,
    /// By file and line of the source, on request.
    pub by_line: BTreeMap<(String, u32), LineCounters>,
    /// By instruction, in the order of [`Entry::instructions`](crate::Entry::instructions), on
    /// request; zeros for those of [`Class::Hidden`].
    pub by_instruction: Vec<InstructionCounters>,
}

impl Counters {
    /// Adds what another launch executed. Counters by instruction are added where they are of the
    /// same kernel; those of a kernel of another length are left out.
    pub fn add(&mut self, other: &Counters) {
        self.instructions += other.instructions;
        self.lane_instructions += other.lane_instructions;
        for (class, count) in &other.by_class {
            *self.by_class.entry(*class).or_default() += count;
        }
        self.mma += other.mma;
        self.mma_macs += other.mma_macs;
        self.global.add(&other.global);
        self.shared.add(&other.shared);
        self.barriers += other.barriers;
        self.divergent_branches += other.divergent_branches;
        for (line, counters) in &other.by_line {
            let mine = self.by_line.entry(line.clone()).or_default();
            mine.instructions += counters.instructions;
            mine.global.add(&counters.global);
            mine.shared.add(&counters.shared);
        }
        if self.by_instruction.is_empty() {
            self.by_instruction.clone_from(&other.by_instruction);
        } else if self.by_instruction.len() == other.by_instruction.len() {
            for (mine, theirs) in self.by_instruction.iter_mut().zip(&other.by_instruction) {
                mine.add(theirs);
            }
        }
    }
}

/// Counts of one instruction, gathered while a group runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub global: Traffic,
    pub shared: Traffic,
}

/// Distinct sectors of 32 bytes that the lanes touch: one for each lane at most, since accesses are
/// aligned.
pub(crate) fn sectors(mask: u32, addresses: &[u64; 32]) -> u64 {
    distinct_sectors(mask, addresses, &mut [0; 32]).len() as u64
}

/// As [`sectors`]: their numbers, in order.
pub(crate) fn distinct_sectors<'t>(
    mask: u32,
    addresses: &[u64; 32],
    touched: &'t mut [u64; 32],
) -> &'t [u64] {
    let mut count = 0;
    let mut is_sorted = true;
    for (lane, address) in addresses.iter().enumerate() {
        if mask >> lane & 1 != 0 {
            let sector = address / 32;
            if count == 0 || touched[count - 1] != sector {
                is_sorted &= count == 0 || touched[count - 1] < sector;
                touched[count] = sector;
                count += 1;
            }
        }
    }
    if is_sorted {
        return &touched[..count];
    }
    touched[..count].sort_unstable();
    let mut distinct = 0;
    for i in 0..count {
        if i == 0 || touched[i] != touched[distinct - 1] {
            touched[distinct] = touched[i];
            distinct += 1;
        }
    }
    &touched[..distinct]
}

/// Whether the lanes ask any bank for two different words.
fn meets_twice(mut mask: u32, addresses: &[u64; 32], words: usize) -> bool {
    let mut of_bank = [0u32; 32];
    let mut asked = 0u32;
    while mask != 0 {
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        for word in 0..words {
            let word = (addresses[lane] / 4) as u32 + word as u32;
            let bank = word as usize % 32;
            if asked >> bank & 1 != 0 && of_bank[bank] != word {
                return true;
            }
            asked |= 1 << bank;
            of_bank[bank] = word;
        }
    }
    false
}

/// Cycles beyond the least that banks of four bytes need: a request is cut into parts of 128 bytes
/// (32 lanes of 4 bytes, 16 of 8, 8 of 16), and a part takes as many cycles as its busiest bank has
/// distinct words.
pub(crate) fn conflicts(mask: u32, addresses: &[u64; 32], bytes: u32) -> u64 {
    let words = (bytes / 4).max(1) as usize; // of a lane
    let lanes = 32 / words;
    let mut extra = 0;
    for part in 0..words {
        let mask = mask & ((u64::from(u32::MAX) >> (32 - lanes)) << (part * lanes)) as u32;
        if !meets_twice(mask, addresses, words) {
            continue;
        }
        let mut of_bank: [[u32; 32]; 32] = [[0; 32]; 32];
        let mut count = [0usize; 32];
        for (lane, address) in addresses.iter().enumerate().skip(part * lanes).take(lanes) {
            if mask >> lane & 1 == 0 {
                continue;
            }
            for word in 0..words {
                let word = (address / 4) as u32 + word as u32;
                let bank = word as usize % 32;
                if !of_bank[bank][..count[bank]].contains(&word) {
                    of_bank[bank][count[bank]] = word;
                    count[bank] += 1;
                }
            }
        }
        extra += count.iter().max().copied().unwrap_or(0).saturating_sub(1) as u64;
    }
    extra
}
