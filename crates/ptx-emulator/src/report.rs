//! What a run found: findings with their places, and the counters.

use super::counters::Counters;
use super::timing::BlockTiming;
use std::collections::BTreeMap;
use std::fmt;

/// One kind of fault that the emulator looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// An access outside of every allocation, or across the end of one.
    OutOfBounds,
    /// An address that is not a multiple of the access's size.
    Misaligned,
    /// A read of memory that nothing has written.
    UninitialisedMemory,
    /// A read of a register that nothing has written.
    UninitialisedRegister,
    /// Two accesses of shared memory, one of them a write, that nothing orders.
    SharedRace,
    /// Two accesses of global memory, one of them a write, that nothing orders.
    GlobalRace,
    /// An access of a destination of an asynchronous copy that has not been waited for.
    AsyncInFlight,
    /// A barrier, or another operation that a warp executes together, that its lanes reach at
    /// different places or with different arguments.
    DivergentBarrier,
    /// A membermask that leaves out a lane that executes, or names one that cannot arrive.
    Membermask,
    /// Integer division or remainder by zero.
    DivisionByZero,
    /// In a programmatic dependent launch: an access, before `griddepcontrol.wait`, of memory that
    /// the launch before may still use, or a thread that ends without having waited.
    DependentLaunch,
    /// Misuse of an `mbarrier`: not initialised, overflow, invalid count.
    Mbarrier,
    /// Nothing can go on, and something has not ended.
    Deadlock,
    /// Everything goes round without an effect.
    Livelock,
    /// The instruction budget is spent.
    Budget,
    /// `trap`, and `assert` in CUDA C++.
    Trap,
}

impl Check {
    /// All of them, in the order of the documentation.
    pub const ALL: [Check; 16] = [
        Check::OutOfBounds,
        Check::Misaligned,
        Check::UninitialisedMemory,
        Check::UninitialisedRegister,
        Check::SharedRace,
        Check::GlobalRace,
        Check::AsyncInFlight,
        Check::DivergentBarrier,
        Check::Membermask,
        Check::DivisionByZero,
        Check::DependentLaunch,
        Check::Mbarrier,
        Check::Deadlock,
        Check::Livelock,
        Check::Budget,
        Check::Trap,
    ];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Check::OutOfBounds => "out-of-bounds",
            Check::Misaligned => "misaligned",
            Check::UninitialisedMemory => "uninitialised-memory",
            Check::UninitialisedRegister => "uninitialised-register",
            Check::SharedRace => "shared-race",
            Check::GlobalRace => "global-race",
            Check::AsyncInFlight => "async-in-flight",
            Check::DivergentBarrier => "divergent-barrier",
            Check::Membermask => "membermask",
            Check::DivisionByZero => "division-by-zero",
            Check::DependentLaunch => "dependent-launch",
            Check::Mbarrier => "mbarrier",
            Check::Deadlock => "deadlock",
            Check::Livelock => "livelock",
            Check::Budget => "budget",
            Check::Trap => "trap",
        }
    }

    /// Whether it can be left out. The others keep memory from harm, or end a launch. What a launch
    /// cannot go on after, such as a barrier that does not exist, is reported whatever is asked
    /// for.
    pub fn is_optional(self) -> bool {
        !matches!(
            self,
            Check::OutOfBounds | Check::Deadlock | Check::Livelock | Check::Budget | Check::Trap
        )
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks(u32);

impl Checks {
    /// Every check.
    pub const ALL: Checks = Checks((1 << Check::ALL.len()) - 1);

    /// Only what a run cannot go on without: see [`Check::is_optional`].
    pub fn required() -> Checks {
        Check::ALL.into_iter().filter(|c| !c.is_optional()).fold(Checks(0), Checks::with)
    }

    /// These and one more.
    pub fn with(self, check: Check) -> Checks {
        Checks(self.0 | 1 << check as u32)
    }

    /// These without one; a check that is not optional stays.
    pub fn without(self, check: Check) -> Checks {
        if check.is_optional() { Checks(self.0 & !(1 << check as u32)) } else { self }
    }

    /// Whether `check` is on.
    #[inline(always)]
    pub fn has(self, check: Check) -> bool {
        self.0 >> check as u32 & 1 != 0
    }
}

impl Default for Checks {
    fn default() -> Checks {
        Checks::ALL
    }
}

/// The place of an instruction that a warp executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// Index of the lowered instruction.
    pub pc: u32,
    /// Block in x, y, z.
    pub block: [u32; 3],
    /// Warp within the block.
    pub warp: u32,
}

/// A finding before it is given its names.
#[derive(Clone, Debug)]
pub(crate) struct RawFinding {
    pub check: Check,
    pub site: Site,
    pub lane: u32,
    pub address: Option<u64>,
    /// Name of the buffer or variable.
    pub buffer: Option<String>,
    pub message: String,
    pub times: u64,
    /// How many were found before it.
    pub number: usize,
}

/// Findings of a block, one for each check and instruction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub by_place: BTreeMap<(u32, Check), RawFinding>,
}

/// What a finding is about: filled in only where it is the first of its place.
pub(crate) struct About {
    pub address: Option<u64>,
    pub buffer: Option<String>,
    pub message: String,
}

/// A finding about no address.
pub(crate) fn plain(message: String) -> About {
    About { address: None, buffer: None, message }
}

impl Findings {
    /// Keeps the first finding of a check at an instruction, and counts the rest.
    #[cold]
    pub fn add(&mut self, check: Check, site: Site, lane: u32, about: impl FnOnce() -> About) {
        let number = self.by_place.len();
        self.by_place
            .entry((site.pc, check))
            .and_modify(|finding| finding.times += 1)
            .or_insert_with(|| {
                let About { address, buffer, message } = about();
                RawFinding { check, site, lane, address, buffer, message, times: 1, number }
            });
    }

    pub fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }
}

/// A fault that a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub check: Check,
    /// What was found, with expected and found values.
    pub message: String,
    /// The kernel's symbol.
    pub kernel: String,
    /// File and line of the source, where the PTX has line information.
    pub source: Option<(String, u32)>,
    /// Line of the PTX.
    pub ptx_line: u32,
    /// The instruction's opcode and modifiers.
    pub instruction: String,
    /// Block in x, y, z.
    pub block: [u32; 3],
    /// Thread within the block in x, y, z.
    pub thread: [u32; 3],
    /// The address, where the fault has one.
    pub address: Option<u64>,
    /// The allocation or variable, where the fault has one.
    pub buffer: Option<String>,
    /// How often it was found at this instruction.
    pub times: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bx, by, bz] = self.block;
        let [tx, ty, tz] = self.thread;
        write!(f, "{}: {}\n    in {} at ", self.check, self.message, self.kernel)?;
        if let Some((file, line)) = &self.source {
            write!(f, "{file}:{line}, ")?;
        }
        write!(
            f,
            "PTX line {} ({})\n    block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz})",
            self.ptx_line, self.instruction
        )?;
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        if let Some(buffer) = &self.buffer {
            write!(f, " in {buffer}")?;
        }
        if self.times > 1 {
            write!(f, "; {} times", self.times)?;
        }
        Ok(())
    }
}

/// What a launch did.
#[derive(Clone, Debug)]
#[must_use = "a launch with findings still returns"]
pub struct Report {
    /// What the checks found, one for each check and instruction, in the order in which they came
    /// up.
    pub findings: Vec<Finding>,
    /// What was executed.
    pub counters: Counters,
    /// Of a timed launch: what each block would take, in the order in which they ran.
    pub timings: Vec<BlockTiming>,
}

impl Report {
    /// Whether the kernel ran to its end without a finding.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}
