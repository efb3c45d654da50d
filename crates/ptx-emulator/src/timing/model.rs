//! The constants that a timed launch goes by.

/// What a timed launch goes by: times are in cycles of the multiprocessor's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// One for each of [`Entry::instructions`](crate::Entry::instructions), in their order.
    pub instructions: Vec<InstructionTiming>,
    /// How far the memories are, and what barriers cost.
    pub latencies: Latencies,
    /// Warps that take turns at one scheduler, of this block and of those that are resident beside
    /// it: 1 or more.
    pub warps_per_scheduler: f32,
    /// Whether the assembler orders instructions by when their operands are there, as one does that
    /// hoists loads and predicates what branches skip: an instruction then waits for its operands,
    /// its pipe, a slot of issue, and the operands of branches before it, and for no other, until
    /// a branch back, a barrier, a wait or one that is `blocking`, before which all have begun. In
    /// the order of the PTX otherwise.
    pub reordered: bool,
    /// The part of the L1 cache that a block may think its own, in bytes.
    pub l1_bytes: u32,
    /// Whether the launch begins while the one before it still runs, so that what comes before
    /// `griddepcontrol.wait` is hidden.
    pub dependent: bool,
}

/// What one instruction costs in machine code.
///
/// Where everything is 0, nothing is left of the instruction: its results are ready when its
/// operands are, and it waits for none of them. Instructions that touch global or shared memory or
/// synchronise are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InstructionTiming {
    /// Issue slots of the machine instructions that it became.
    pub issue: f32,
    /// Cycles from its beginning until its results may be used; for loads, atomics and asynchronous
    /// copies those beyond the [`Latencies`] of the memory that serves them.
    pub latency: f32,
    /// Cycles for which it occupies its pipe, of one scheduler's quarter of the multiprocessor: two
    /// instructions of a warp that use the same pipe begin `pipe_cycles * warps_per_scheduler`
    /// apart at least. There is a pipe for each [`Cause`](crate::Cause) that an instruction's result
    /// may be waited for.
    pub pipe_cycles: f32,
    /// Whether the warp stands still until the result is there, as at a branch or in a routine
    /// that is called.
    pub blocking: bool,
}

/// How far the memories are, and what barriers cost, in cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Shared memory of the block; each bank conflict adds a cycle.
    pub shared: f32,
    /// Shared memory of another block of the cluster.
    pub cluster_shared: f32,
    /// The L1 cache, where it has all that a request asks for.
    pub l1: f32,
    /// L2, beyond [`l1`](Self::l1): for requests of which L1 lacks a sector, and those that go past
    /// it.
    pub l2: f32,
    /// From the last arrival at a barrier of the block until its warps go on.
    pub barrier: f32,
    /// From the last arrival at a barrier of the cluster until its warps go on.
    pub cluster_barrier: f32,
}

/// Longest time that a constant may be, in cycles.
const MAX_CYCLES: f32 = 1e6;

impl Timing {
    /// What is wrong with it for a kernel of so many instructions: what, found, expected.
    pub(crate) fn fault(&self, instructions: usize) -> Option<(&'static str, String, String)> {
        if self.instructions.len() != instructions {
            let found = format!("of {} instructions", self.instructions.len());
            return Some(("timing", found, format!("one for each of {instructions}")));
        }
        let is_time = |value: f32| (0.0..=MAX_CYCLES).contains(&value);
        let times = |timing: &InstructionTiming| {
            let InstructionTiming { issue, latency, pipe_cycles, .. } = *timing;
            [issue, latency, pipe_cycles].into_iter().find(|&value| !is_time(value))
        };
        let expected = || format!("0 to {MAX_CYCLES} cycles");
        if let Some(found) = self.instructions.iter().find_map(times) {
            return Some(("timing of an instruction", found.to_string(), expected()));
        }
        let Latencies { shared, cluster_shared, l1, l2, barrier, cluster_barrier } = self.latencies;
        let latencies = [shared, cluster_shared, l1, l2, barrier, cluster_barrier];
        if let Some(found) = latencies.into_iter().find(|&value| !is_time(value)) {
            return Some(("latency", found.to_string(), expected()));
        }
        let warps = self.warps_per_scheduler;
        if !(1.0..=1024.0).contains(&warps) {
            return Some(("warps per scheduler", warps.to_string(), "1 to 1024".to_owned()));
        }
        None
    }
}
