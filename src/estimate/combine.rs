//! From what a launch does, and what a GPU can do, to the time that it takes, and why.
//!
//! With `B` blocks on `S` multiprocessors that hold `R` of them each, `w = B / (S R)` waves, and
//! the busiest multiprocessor's part of the work `q`, which is `ceil(B / S) / B` for one wave or
//! less and `1 / S` beyond:
//!
//! ```text
//! latency     path of the slowest block, w <= 1; w times the mean path beyond
//! issue       q slots / (schedulers x sustained part)
//! a pipe      q slots of the pipe x 32 / lanes;  tensor: q multiply-accumulates / rate
//! L1          q bytes of first-level cache and shared memory, conflicts among them / rate
//! L2          the larger of q bytes / a multiprocessor's rate and bytes / the cache's rate
//! DRAM        bytes / rate
//! body        fourth root of the sum of the terms' fourth powers, and half a mean path where w > 1
//! ```
//!
//! Half a path, since blocks end at different times and the last wave drains. The fourth power lets
//! terms of equal size cost 19 % on top, and leaves one that is half as large 1.5 %: the analytic
//! model's.
//!
//! A launch costs `launch_us` beyond its body, or `dependent_launch_us` where it may begin early;
//! then what its blocks do before they wait is hidden as far as the body of the launch before is
//! long.

use super::gpu::Gpu;
use serde::Serialize;

/// Exponent of the norm that terms are put together by.
const NORM: i32 = 4;

/// What a launch is limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The launch itself.
    Launch,
    /// The critical path of a block.
    Latency,
    /// Issue slots of the schedulers.
    Issue,
    /// The pipe of f32 and f16 arithmetic.
    Fma,
    /// The pipe of integer and logic operations.
    Alu,
    /// The pipe of special functions.
    Special,
    /// The pipe of loads and stores.
    LoadStore,
    /// Tensor cores.
    Tensor,
    /// First-level cache and shared memory.
    L1,
    /// The L2 cache.
    L2,
    /// Device memory.
    Dram,
}

impl Cause {
    /// Every cause, in the order of reports.
    pub const ALL: [Cause; 11] = [
        Cause::Launch,
        Cause::Latency,
        Cause::Issue,
        Cause::Fma,
        Cause::Alu,
        Cause::Special,
        Cause::LoadStore,
        Cause::Tensor,
        Cause::L1,
        Cause::L2,
        Cause::Dram,
    ];

    /// In reports.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Launch => "launch",
            Cause::Latency => "latency",
            Cause::Issue => "issue",
            Cause::Fma => "FMA",
            Cause::Alu => "ALU",
            Cause::Special => "special function",
            Cause::LoadStore => "load/store",
            Cause::Tensor => "tensor",
            Cause::L1 => "L1",
            Cause::L2 => "L2",
            Cause::Dram => "DRAM",
        }
    }
}

/// Issue slots of warps, over all blocks of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slots {
    /// Of every pipe.
    pub all: f64,
    /// f32 and f16 arithmetic.
    pub fma: f64,
    /// Integer and logic operations, comparisons, conversions.
    pub alu: f64,
    /// Special functions.
    pub special: f64,
    /// Loads, stores, atomics.
    pub load_store: f64,
    /// Matrix products.
    pub tensor: f64,
}

impl Slots {
    /// Adds those of `times` as many blocks.
    pub fn add(&mut self, other: &Slots, times: f64) {
        self.all += times * other.all;
        self.fma += times * other.fma;
        self.alu += times * other.alu;
        self.special += times * other.special;
        self.load_store += times * other.load_store;
        self.tensor += times * other.tensor;
    }
}

/// Cycles of a critical path by what they are spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PathCycles {
    /// Waiting for an issue slot.
    pub issue: f64,
    /// Latency of arithmetic, and of branches.
    pub arithmetic: f64,
    /// Latency of special functions.
    pub special: f64,
    /// Latency of matrix products.
    pub tensor: f64,
    /// Latency of shared memory and of exchanges between lanes.
    pub shared: f64,
    /// Latency of loads that the first-level cache serves.
    pub l1: f64,
    /// Latency of loads beyond it.
    pub memory: f64,
    /// Barriers.
    pub barrier: f64,
    /// Atomics and fences.
    pub atomic: f64,
    /// Asynchronous copies.
    pub copy: f64,
}

/// What a cycle of a critical path is spent on: a field of [`PathCycles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields say it
pub enum Kind {
    Issue,
    Arithmetic,
    Special,
    Tensor,
    Shared,
    L1,
    Memory,
    Barrier,
    Atomic,
    Copy,
}

impl PathCycles {
    /// The cycles of a kind.
    pub fn of_mut(&mut self, kind: Kind) -> &mut f64 {
        match kind {
            Kind::Issue => &mut self.issue,
            Kind::Arithmetic => &mut self.arithmetic,
            Kind::Special => &mut self.special,
            Kind::Tensor => &mut self.tensor,
            Kind::Shared => &mut self.shared,
            Kind::L1 => &mut self.l1,
            Kind::Memory => &mut self.memory,
            Kind::Barrier => &mut self.barrier,
            Kind::Atomic => &mut self.atomic,
            Kind::Copy => &mut self.copy,
        }
    }

    /// Names and values.
    pub fn parts(&self) -> [(&'static str, f64); 10] {
        [
            ("issue", self.issue),
            ("arithmetic", self.arithmetic),
            ("special function", self.special),
            ("tensor", self.tensor),
            ("shared", self.shared),
            ("L1", self.l1),
            ("L2/DRAM", self.memory),
            ("barrier", self.barrier),
            ("atomics", self.atomic),
            ("copies", self.copy),
        ]
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.parts().iter().map(|(_, cycles)| cycles).sum()
    }

    /// All of it, where a load beyond the first level takes `times` as long.
    fn total_with(&self, times: f64) -> f64 {
        self.total() + (times - 1.0) * (self.memory + self.copy)
    }
}

/// What a launch does, as the emulator and its machine code tell: everything that its time follows
/// from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// Blocks of the grid.
    pub blocks: u64,
    /// Warps of a block.
    pub warps: u32,
    /// Blocks that a multiprocessor holds at once.
    pub resident: u32,
    /// Issue slots of all blocks.
    pub slots: Slots,
    /// Multiply-accumulates of all matrix products, in f16 ones' time.
    pub tensor_macs: f64,
    /// Bytes that first-level cache and shared memory deliver, each conflict as a whole cycle.
    pub l1_bytes: f64,
    /// Bytes between the multiprocessors and the L2 cache.
    pub l2_bytes: f64,
    /// Bytes read from device memory.
    pub dram_read: f64,
    /// Bytes written back to device memory.
    pub dram_written: f64,
    /// Part of what is read beyond the first level that comes from device memory.
    pub dram_part: f64,
    /// The critical path of the slowest block after its wait.
    pub path: PathCycles,
    /// Cycles of the mean block's path as a part of the slowest's.
    pub mean_path: f64,
    /// Cycles of the slowest block before its wait.
    pub hidden_cycles: f64,
    /// Cycles that a load beyond the first level took in `path`.
    pub memory_cycles: f64,
}

/// What a launch takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// Between the launch before and this one.
    pub launch_us: f64,
    /// From then to the end.
    pub body_us: f64,
    /// The largest term of the body.
    pub cause: Cause,
    /// Every term, in microseconds.
    pub terms: Vec<(Cause, f64)>,
    /// Blocks as a multiple of what the GPU holds at once.
    pub waves: f64,
    /// Warps that share a scheduler of the busiest multiprocessor.
    pub scheduler_warps: f64,
}

impl Predicted {
    /// From the end of the launch before to the end of this one.
    pub fn us(&self) -> f64 {
        self.launch_us + self.body_us
    }

    /// The larger of launch and body, named: what the time is spent on.
    pub fn overall(&self) -> Cause {
        if self.launch_us > self.body_us { Cause::Launch } else { self.cause }
    }
}

/// Latency of a load beyond the first-level cache of which a part goes to device memory.
pub fn memory_cycles(gpu: &Gpu, dram_part: f64) -> f64 {
    let constants = &gpu.constants;
    constants.l2_cycles + dram_part * (constants.dram_cycles - constants.l2_cycles)
}

/// The terms of a launch's body in cycles, its waves, and half a path where there is more than one.
fn terms(work: &Work, gpu: &Gpu) -> (Vec<(Cause, f64)>, f64, f64) {
    let c = &gpu.constants;
    let blocks = work.blocks.max(1) as f64;
    let waves = blocks / (c.multiprocessors * f64::from(work.resident.max(1)));
    let part = if waves <= 1.0 {
        (blocks / c.multiprocessors).ceil() / blocks
    } else {
        1.0 / c.multiprocessors
    };
    let slower = if work.memory_cycles > 0.0 {
        memory_cycles(gpu, work.dram_part) / work.memory_cycles
    } else {
        1.0
    };
    // What nothing hides: the prologue of a launch that cannot begin early.
    let prologue = if gpu.dependent_launches() { 0.0 } else { work.hidden_cycles };
    let slowest = work.path.total_with(slower) + prologue;
    let mean = slowest * work.mean_path;
    let pipe = |slots: f64, lanes: f64| part * slots * 32.0 / lanes;
    let bytes_a_cycle = |gbps: f64| gbps / c.clock_ghz;
    let found = vec![
        (Cause::Latency, if waves <= 1.0 { slowest } else { waves * mean }),
        (Cause::Issue, part * work.slots.all / (c.schedulers * c.sustained_issue)),
        (Cause::Fma, pipe(work.slots.fma, c.fma_lanes)),
        (Cause::Alu, pipe(work.slots.alu, c.alu_lanes)),
        (Cause::Special, pipe(work.slots.special, c.special_lanes)),
        (Cause::LoadStore, pipe(work.slots.load_store, c.load_store_lanes)),
        (Cause::Tensor, part * work.tensor_macs / c.tensor_macs),
        (Cause::L1, part * work.l1_bytes / c.l1_bytes),
        (
            Cause::L2,
            (part * work.l2_bytes / c.sm_l2_bytes).max(work.l2_bytes / bytes_a_cycle(c.l2_gbps)),
        ),
        (Cause::Dram, (work.dram_read + work.dram_written) / bytes_a_cycle(c.dram_gbps)),
    ];
    let tail = if waves > 1.0 { mean / 2.0 } else { 0.0 };
    (found, waves, tail)
}

/// The time of each launch of a run, in order.
pub fn predict(run: &[Work], gpu: &Gpu) -> Vec<Predicted> {
    let c = &gpu.constants;
    let mut found: Vec<Predicted> = Vec::with_capacity(run.len());
    for work in run {
        let (terms, waves, tail) = terms(work, gpu);
        let norm = terms.iter().map(|(_, cycles)| cycles.powi(NORM)).sum::<f64>();
        let body = norm.powf(1.0 / f64::from(NORM)) + tail;
        let launch_us = match found.last() {
            Some(before) if gpu.dependent_launches() => {
                let shown = (gpu.us(work.hidden_cycles) - before.body_us).max(0.0);
                c.dependent_launch_us + shown
            }
            // The first launch of a run waits for what is before it.
            None if gpu.dependent_launches() => c.launch_us + gpu.us(work.hidden_cycles),
            _ => c.launch_us,
        };
        let largest = terms.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let cause = largest.map_or(Cause::Latency, |(cause, _)| *cause);
        let side = (work.blocks as f64 / c.multiprocessors).ceil();
        let side = side.min(f64::from(work.resident.max(1)));
        found.push(Predicted {
            launch_us,
            body_us: gpu.us(body),
            cause,
            terms: terms.into_iter().map(|(cause, cycles)| (cause, gpu.us(cycles))).collect(),
            waves,
            scheduler_warps: side * f64::from(work.warps) / c.schedulers,
        });
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A GPU of round numbers: 10 multiprocessors at 1 GHz, so that a thousand cycles are a
    /// microsecond.
    pub fn gpu() -> Gpu {
        let mut gpu = Gpu::find("h100").unwrap();
        for (name, value) in [
            ("multiprocessors", 10.0),
            ("clock_ghz", 1.0),
            ("dram_gbps", 1000.0),
            ("l2_gbps", 2000.0),
            ("sm_l2_bytes", 500.0),
            ("l1_bytes", 128.0),
            ("sustained_issue", 0.5),
            ("fma_lanes", 128.0),
            ("alu_lanes", 64.0),
            ("special_lanes", 16.0),
            ("load_store_lanes", 32.0),
            ("tensor_macs", 1000.0),
            ("l2_cycles", 200.0),
            ("dram_cycles", 600.0),
            ("launch_us", 2.0),
            ("dependent_launch_us", 1.0),
        ] {
            gpu = gpu.with(name, value, "a test");
        }
        gpu
    }

    pub fn work() -> Work {
        Work { blocks: 100, warps: 4, resident: 2, mean_path: 1.0, ..Work::default() }
    }

    fn alone(work: Work) -> Predicted {
        predict(&[work], &gpu()).remove(0)
    }

    /// Each limit by itself: the time is the one term, and the cause its name.
    #[test]
    fn one_limit_alone_is_the_whole_body() {
        let cases = [
            (Cause::Issue, Work { slots: Slots { all: 4e6, ..Slots::default() }, ..work() }, 200.0),
            (Cause::Fma, Work { slots: Slots { fma: 4e6, ..Slots::default() }, ..work() }, 100.0),
            (Cause::Alu, Work { slots: Slots { alu: 4e6, ..Slots::default() }, ..work() }, 200.0),
            (
                Cause::Special,
                Work { slots: Slots { special: 1e6, ..Slots::default() }, ..work() },
                200.0,
            ),
            (
                Cause::LoadStore,
                Work { slots: Slots { load_store: 1e6, ..Slots::default() }, ..work() },
                100.0,
            ),
            (Cause::Tensor, Work { tensor_macs: 1e9, ..work() }, 100.0),
            (Cause::L1, Work { l1_bytes: 1.28e8, ..work() }, 100.0),
            (Cause::L2, Work { l2_bytes: 2e8, ..work() }, 100.0),
            (Cause::Dram, Work { dram_read: 6e7, dram_written: 4e7, ..work() }, 100.0),
        ];
        for (cause, work, us) in cases {
            let found = alone(work);
            assert_eq!(found.cause, cause);
            assert!((found.body_us - us).abs() < 1e-6 * us, "{cause:?}: {}", found.body_us);
            assert_eq!((found.waves, found.launch_us), (5.0, 2.0));
        }
    }

    /// One wave takes its slowest block's path; five take five mean ones, and half a one to drain.
    #[test]
    fn blocks_that_wait_take_a_path_a_wave() {
        let path = PathCycles { arithmetic: 1000.0, memory: 1000.0, ..PathCycles::default() };
        let work = Work { path, mean_path: 0.5, memory_cycles: 200.0, ..work() };
        let one = alone(Work { blocks: 20, ..work.clone() });
        assert_eq!((one.waves, one.cause), (1.0, Cause::Latency));
        assert!((one.body_us - 2.0).abs() < 1e-9, "{}", one.body_us);
        let five = alone(work.clone());
        assert!((five.body_us - 5.5).abs() < 1e-9, "{}", five.body_us);
        // From device memory a load takes three times as long.
        let far = alone(Work { blocks: 20, dram_part: 1.0, ..work });
        assert!((far.body_us - 4.0).abs() < 1e-9, "{}", far.body_us);
    }

    /// Eleven blocks on ten multiprocessors: one of them has two.
    #[test]
    fn the_busiest_multiprocessor_counts() {
        let slots = Slots { all: 11.0 * 2000.0, ..Slots::default() };
        let found = alone(Work { blocks: 11, slots, ..work() });
        assert!((found.body_us - 2.0).abs() < 1e-9, "{}", found.body_us);
        assert_eq!(found.scheduler_warps, 2.0);
    }

    #[test]
    fn a_launch_hides_its_prologue_behind_the_body_before() {
        let path = |cycles| PathCycles { arithmetic: cycles, ..PathCycles::default() };
        let first = Work { blocks: 1, path: path(3000.0), ..work() };
        let second = Work { blocks: 1, path: path(1000.0), hidden_cycles: 4000.0, ..work() };
        let found = predict(&[first.clone(), second.clone()], &gpu());
        assert_eq!((found[0].launch_us, found[1].launch_us), (2.0, 2.0)); // 1 us of 4 shows
        assert_eq!((found[0].body_us, found[1].body_us), (3.0, 1.0));
        assert_eq!((found[1].cause, found[1].overall()), (Cause::Latency, Cause::Launch));
        let mut old = gpu();
        old.arch = 80;
        let found = predict(&[first, second], &old);
        assert_eq!((found[1].launch_us, found[1].body_us), (2.0, 5.0));
    }

    #[test]
    fn two_equal_limits_cost_a_fifth_on_top() {
        let slots = Slots { all: 4e6, ..Slots::default() };
        let found = alone(Work { slots, tensor_macs: 2e9, ..work() });
        assert!((found.body_us / 200.0 - 2f64.powf(0.25)).abs() < 1e-9);
    }
}
