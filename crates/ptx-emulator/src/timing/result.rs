//! What a timed block took, and on what.

use std::collections::BTreeMap;

/// What a cycle of a block's critical path was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Slots of issue: the warp's own, and those of the warps that share its scheduler.
    Issue,
    /// Results of arithmetic, conversions, comparisons and moves.
    Arithmetic,
    /// Results of special functions and of divisions.
    Special,
    /// Results of matrix products.
    Tensor,
    /// Exchanges between the lanes of a warp.
    Exchange,
    /// Branches, until it is known where they go.
    Control,
    /// Shared memory.
    Shared,
    /// Loads that the L1 cache served, and local memory.
    L1,
    /// Loads that went beyond the L1 cache.
    L2,
    /// Atomics in global memory, and fences.
    Atomic,
    /// Barriers, from the last arrival on.
    Barrier,
    /// Asynchronous copies that were waited for.
    Copy,
}

impl Cause {
    /// All of them, in the order of the documentation.
    pub const ALL: [Cause; 12] = [
        Cause::Issue,
        Cause::Arithmetic,
        Cause::Special,
        Cause::Tensor,
        Cause::Exchange,
        Cause::Control,
        Cause::Shared,
        Cause::L1,
        Cause::L2,
        Cause::Atomic,
        Cause::Barrier,
        Cause::Copy,
    ];

    /// A name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Issue => "issue",
            Cause::Arithmetic => "arithmetic",
            Cause::Special => "special function",
            Cause::Tensor => "tensor",
            Cause::Exchange => "exchange",
            Cause::Control => "control",
            Cause::Shared => "shared memory",
            Cause::L1 => "L1",
            Cause::L2 => "L2",
            Cause::Atomic => "atomic",
            Cause::Barrier => "barrier",
            Cause::Copy => "copy",
        }
    }
}

/// A part of a block's critical path: what the path spent at one instruction on one cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathPart {
    /// Its place in [`Entry::instructions`](crate::Entry::instructions).
    pub instruction: usize,
    /// What the cycles were spent on.
    pub cause: Cause,
    /// How many there were.
    pub cycles: f64,
}

/// Sectors of 32 bytes of global memory that a block moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTraffic {
    /// Sectors that loads asked of the L1 cache.
    pub l1_sectors: u64,
    /// Those of them that it had.
    pub l1_hits: u64,
    /// Sectors read from L2: those that L1 lacked, and those of loads and copies that go past it.
    pub l2_read_sectors: u64,
    /// Sectors written to L2: L1 is written through.
    pub l2_written_sectors: u64,
    /// Sectors of atomics, which L2 executes.
    pub l2_atomic_sectors: u64,
}

/// What a block would take by the constants of a [`Timing`](crate::Timing).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockTiming {
    /// Its number, as in [`Launch::blocks`](crate::Launch::blocks).
    pub block: u64,
    /// From its beginning to the end of its last warp; in a dependent launch, from
    /// `griddepcontrol.wait` on.
    pub cycles: f64,
    /// Of a dependent launch: from the block's beginning until all of its warps have come to
    /// `griddepcontrol.wait`, and until all that they had begun there is done.
    pub hidden_cycles: f64,
    /// The critical path, which adds up to `cycles`: longest parts first. Empty where the blocks
    /// that ran together executed more instructions than are kept, 2^22.
    pub path: Vec<PathPart>,
    /// What it moved between its caches.
    pub traffic: BlockTraffic,
}

impl BlockTiming {
    /// The cycles of the critical path by what they were spent on.
    pub fn cycles_by_cause(&self) -> BTreeMap<Cause, f64> {
        let mut by_cause = BTreeMap::new();
        for part in &self.path {
            *by_cause.entry(part.cause).or_default() += part.cycles;
        }
        by_cause
    }
}
