//! A kernel after lowering: a flat vector of instructions whose operands are register indices.

use super::arithmetic::Run;
use super::exchange::{Match, Redux, Shuffle, Vote};
use super::order::Scope;
use super::registers::{Reg, Registers, Width};
use super::tensor::Matrix;

/// One kernel, ready to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub instructions: Vec<Instruction>,
    /// Where each instruction came from.
    pub origins: Vec<Origin>,
    /// Where lanes meet that each instruction parts.
    pub meeting_points: Vec<u32>,
    /// Whether lanes that some instruction parts meet at each.
    pub is_meeting_point: Vec<bool>,
    /// Registers of each file.
    pub narrow: u32,
    pub wide: u32,
    pub preds: u32,
    /// Registers that are filled before a warp starts, and not written afterwards.
    pub constants: Vec<(Reg, Constant)>,
    /// Static shared variables: name, offset, bytes.
    pub shared: Vec<(String, u32, u32)>,
    /// Bytes of static shared memory, which is where dynamic shared memory begins.
    pub shared_bytes: u32,
    /// Bytes of local memory of each thread.
    pub local_bytes: u32,
    /// Bytes of the narrowest access of global and of shared memory, 4 at most: what races are told
    /// apart by.
    pub narrowest_global: u32,
    pub narrowest_shared: u32,
    /// Whether anything in it could order blocks, so that the order in which blocks run may show.
    pub orders_blocks: bool,
}

/// Where an instruction came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// Opcode and modifiers.
    pub form: String,
    /// Line of the PTX.
    pub line: u32,
    /// Index in the module's `.file` table, and line.
    pub source: Option<(u32, u32)>,
}

/// The value of a register that is filled before a warp starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    /// The same bits in every lane.
    Bits(Width, u64),
    /// The address of a module's variable, plus an offset: known at launch.
    Variable {
        width: Width,
        index: usize,
        offset: i64,
    },
    Special(Special),
}

/// Special registers whose value a warp keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Clusterid(usize),
    Nclusterid(usize),
    ClusterCtaid(usize),
    ClusterNctaid(usize),
    ClusterCtarank,
    ClusterNctarank,
    Laneid,
    Warpid,
    Nwarpid,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    /// Block number modulo a machine of one multiprocessor: 0.
    Smid,
    Nsmid,
    DynamicSmemSize,
    TotalSmemSize,
    Envreg(u8),
}

/// Special registers whose value changes while a warp runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockRegister {
    /// Instructions so far, for want of cycles.
    Low,
    High,
    Wide,
}

/// `@p` or `@!p`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub pred: Reg,
    pub negated: bool,
}

/// One lowered instruction.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub guard: Option<Guard>,
    pub op: Op,
    /// Registers that it reads, without those that are filled before the warp starts.
    pub reads: Box<[(Width, Reg)]>,
    /// Registers that it writes.
    pub writes: Box<[(Width, Reg)]>,
    pub class: Class,
}

/// Classes that instructions are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Integer and bit arithmetic.
    Integer,
    /// f32 and f64 arithmetic.
    Float,
    /// f16 and bf16 arithmetic.
    Half,
    /// Conversions between types.
    Convert,
    /// Moves, address conversions, selections.
    Move,
    /// Comparisons.
    Compare,
    /// Branches, exits, calls.
    Control,
    /// Loads of every space.
    Load,
    /// Stores of every space.
    Store,
    /// Atomics and reductions in memory.
    Atomic,
    /// Asynchronous copies.
    Async,
    /// Barriers, fences and other synchronisation.
    Synchronise,
    /// Exchanges between the lanes of a warp.
    Exchange,
    /// Matrix loads and products.
    Tensor,
    /// Hints without an effect.
    Hint,
    /// Made by lowering; not counted.
    Hidden,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Generic,
    Global,
    /// Constant memory: buffers in global memory, whose generic addresses have a window of their
    /// own.
    Const,
    /// `.shared`, of any block of the cluster.
    Shared,
    Local,
    Param,
}

/// `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub base: Reg,
    /// B64 or B32.
    pub width: Width,
    pub offset: i64,
}

/// How an access takes part in the ordering of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Semantics {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

impl Semantics {
    pub fn acquires(self) -> bool {
        matches!(self, Semantics::Acquire | Semantics::AcquireRelease)
    }

    pub fn releases(self) -> bool {
        matches!(self, Semantics::Release | Semantics::AcquireRelease)
    }
}

/// A load or a store: `elems` scalars of `bytes` each at consecutive addresses.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub target: Target,
    pub address: Address,
    pub bytes: u32,
    pub signed: bool,
    /// One register for each scalar.
    pub registers: Box<[(Width, Reg)]>,
    pub semantics: Semantics,
    pub scope: Scope,
    /// Whether a load goes past the L1 cache.
    pub past_l1: bool,
}

/// Old value, operands b and c; the new value, or nothing where memory stays as it is.
pub(crate) type AtomicFn = fn(u64, u64, u64) -> Option<u64>;

/// `atom` and `red`.
#[derive(Clone, Debug)]
pub(crate) struct Atomic {
    pub target: Target,
    pub address: Address,
    pub bytes: u32,
    pub run: AtomicFn,
    /// What it computes in global memory, where that differs: `atom.add.f32` flushes subnormals
    /// there.
    pub run_global: AtomicFn,
    pub width: Width,
    pub to: Option<Reg>,
    pub b: Reg,
    pub c: Option<Reg>,
    pub semantics: Semantics,
    pub scope: Scope,
}

/// What a barrier instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// To a predicate.
    And(Reg),
    Or(Reg),
    /// To a B32 register.
    Popc(Reg),
}

/// `bar` and `barrier`.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    pub kind: BarrierKind,
    pub aligned: bool,
    pub id: Reg,
    pub threads: Option<Reg>,
    /// Predicate of a reduction; the flag is its negation.
    pub pred: Option<Reg>,
}

/// `cp.async`.
#[derive(Clone, Debug)]
pub(crate) struct AsyncCopy {
    pub to: Address,
    pub from: Address,
    pub bytes: u32,
    /// Bytes to read; the rest is filled with zeros.
    pub from_bytes: Option<Reg>,
    /// Predicate that fills with zeros without reading.
    pub ignore: Option<Reg>,
    /// Whether it goes past the L1 cache.
    pub past_l1: bool,
}

/// `cp.async.bulk`.
#[derive(Clone, Debug)]
pub(crate) struct BulkCopy {
    pub direction: BulkDirection,
    pub to: Address,
    pub from: Address,
    pub bytes: Reg,
    /// The `mbarrier` that counts the bytes; a bulk group otherwise.
    pub mbarrier: Option<Address>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BulkDirection {
    GlobalToShared,
    SharedToShared,
    SharedToGlobal,
}

/// An operation on an `mbarrier`.
#[derive(Clone, Debug)]
pub(crate) struct MbarrierOp {
    pub kind: MbarrierKind,
    pub at: Address,
    pub target: Target,
    /// Token of an arrival (B64), predicate of a test, count of `pending_count` (B32).
    pub to: Option<Reg>,
    /// Count or bytes (B32), token (B64) or parity (B32).
    pub operand: Option<Reg>,
    pub scope: Scope,
    /// Acquire or release, unless relaxed.
    pub orders: bool,
}

/// What an operation on an `mbarrier` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MbarrierKind {
    Init,
    Invalidate,
    Arrive {
        drop: bool,
        no_complete: bool,
    },
    /// Raises the expected bytes, then arrives once.
    ArriveExpect {
        drop: bool,
    },
    ExpectBytes,
    CompleteBytes,
    /// With a token.
    Test,
    TestParity,
}

/// What an instruction does to the lanes of the split that executes it.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Arithmetic {
        run: Run,
        operands: Box<[Reg]>,
        divisor: Option<(Width, Reg)>,
    },
    Branch {
        target: u32,
    },
    BranchIndexed {
        index: Reg,
        targets: Box<[u32]>,
    },
    Exit,
    Trap,
    /// A failed `assert`: local addresses of message, file, line and function.
    AssertFail {
        arguments: Box<[u32]>,
    },
    Clock {
        to: Reg,
        which: ClockRegister,
    },
    ActiveMask {
        to: Reg,
    },
    Load(Box<Transfer>),
    Store(Box<Transfer>),
    Atomic(Box<Atomic>),
    Fence(Scope),
    WarpSync {
        members: Reg,
    },
    Shuffle {
        mode: Shuffle,
        to: Reg,
        pred: Option<Reg>,
        from: Reg,
        b: Reg,
        c: Reg,
        members: Reg,
    },
    Vote {
        mode: Vote,
        to: Reg,
        pred: Reg,
        members: Reg,
    },
    Match {
        form: Match,
        width: Width,
        to: Reg,
        pred: Option<Reg>,
        from: Reg,
        members: Reg,
    },
    Redux {
        run: Redux,
        to: Reg,
        from: Reg,
        members: Reg,
    },
    Elect {
        to: Option<Reg>,
        pred: Reg,
        members: Reg,
    },
    Barrier(Box<Barrier>),
    AsyncCopy(Box<AsyncCopy>),
    AsyncCommit,
    /// The newest groups that may stay pending; everything, committed or not, where `None`.
    AsyncWait(Option<u32>),
    AsyncArrive {
        at: Address,
        target: Target,
        noinc: bool,
    },
    BulkCopy(Box<BulkCopy>),
    BulkCommit,
    BulkWait(u32),
    LoadMatrix {
        address: Address,
        matrix: Matrix,
        registers: Box<[Reg]>,
    },
    StoreMatrix {
        address: Address,
        matrix: Matrix,
        registers: Box<[Reg]>,
    },
    Mma {
        run: fn(&mut Registers, &[Reg]),
        operands: Box<[Reg]>,
        macs: u64,
    },
    Mbarrier(Box<MbarrierOp>),
    ClusterArrive {
        release: bool,
        aligned: bool,
    },
    ClusterWait {
        aligned: bool,
    },
    /// Waits for the launches before this one.
    GridWait,
    /// Gives others a turn.
    Yield,
    Nothing,
}

impl Op {
    /// Whether every lane of the warp must execute it together.
    #[inline(always)]
    pub fn is_aligned(&self) -> bool {
        match self {
            Op::Barrier(barrier) => barrier.aligned,
            Op::ClusterArrive { aligned, .. } | Op::ClusterWait { aligned } => *aligned,
            Op::LoadMatrix { .. } | Op::StoreMatrix { .. } | Op::Mma { .. } => true,
            _ => false,
        }
    }
}
