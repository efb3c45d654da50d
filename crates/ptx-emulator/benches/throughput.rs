//! Warp instructions per second of kernels that nvcc compiled: with every check on, with those alone
//! that a run cannot do without, and with a clock besides. A table is printed; the least time of
//! several runs counts, without uploads.

use ptx_emulator::{Checks, InstructionTiming, Latencies, Launch, Memory, Module, Timing};
use std::time::{Duration, Instant};

const CLUSTER: &str = include_str!("../tests/fixtures/cluster.ptx");
const LOCAL_ARRAY: &str = include_str!("../tests/fixtures/local_array.ptx");
const PIPELINE: &str = include_str!("../tests/fixtures/pipeline.ptx");
const REDUCTION: &str = include_str!("../tests/fixtures/reduction.ptx");
const TRANSPOSE: &str = include_str!("../tests/fixtures/transpose.ptx");

/// A launch of a kernel whose parameters are buffers, then integers.
struct Case {
    ptx: &'static str,
    entry: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    /// Elements of the first buffer, of 4 bytes each.
    input: usize,
    /// Elements of each buffer after it, which are zeros.
    zeros: &'static [usize],
    integers: &'static [u32],
}

const CASES: [Case; 6] = [
    // Loads along rows, shuffles, an atomic, a fence.
    Case {
        ptx: REDUCTION,
        entry: "reduction",
        grid: [64, 1, 1],
        block: [256, 1, 1],
        input: 1 << 20,
        zeros: &[64, 1, 1],
        integers: &[1 << 20],
    },
    // Tiles in shared memory.
    Case {
        ptx: TRANSPOSE,
        entry: "transpose",
        grid: [16, 16, 1],
        block: [32, 8, 1],
        input: 512 * 512,
        zeros: &[512 * 512],
        integers: &[512, 512],
    },
    // Asynchronous copies, and groups of them that are waited for.
    Case {
        ptx: PIPELINE,
        entry: "copy_pipeline",
        grid: [256, 1, 1],
        block: [32, 1, 1],
        input: 256 * 16 * 128,
        zeros: &[256 * 128],
        integers: &[16],
    },
    // Warps that copy and warps that compute, which wait for each other at an `mbarrier`.
    Case {
        ptx: PIPELINE,
        entry: "produce_consume",
        grid: [8, 1, 1],
        block: [256, 1, 1],
        input: 8 * 16 * 128,
        zeros: &[8 * 128],
        integers: &[16],
    },
    // Arrays in local memory, and branches that part the lanes.
    Case {
        ptx: LOCAL_ARRAY,
        entry: "sort_rows",
        grid: [32, 1, 1],
        block: [128, 1, 1],
        input: 32 * 128 * 16,
        zeros: &[32 * 128 * 16],
        integers: &[32 * 128, 16],
    },
    // Shared memory of other blocks.
    Case {
        ptx: CLUSTER,
        entry: "cluster_exchange",
        grid: [1024, 1, 1],
        block: [64, 1, 1],
        input: 1024 * 64,
        zeros: &[1024 * 64],
        integers: &[],
    },
];

/// Bits of f32 values from 1 to 2, in no order.
fn values(elems: usize) -> Vec<u32> {
    (0..elems as u32).map(|i| 0x3f80_0000 | i.wrapping_mul(0x9e37_79b9) >> 9).collect()
}

/// Some constants of a GPU.
fn timing(case: &Case, module: &Module) -> Timing {
    let count = module.entry(case.entry).map_or(0, |entry| entry.instructions().len());
    let cost = InstructionTiming { issue: 1.0, latency: 4.0, ..InstructionTiming::default() };
    let latencies = Latencies {
        shared: 30.0,
        cluster_shared: 180.0,
        l1: 40.0,
        l2: 250.0,
        barrier: 25.0,
        cluster_barrier: 200.0,
    };
    Timing {
        instructions: vec![cost; count],
        latencies,
        warps_per_scheduler: 4.0,
        reordered: false,
        l1_bytes: 1 << 16,
        dependent: false,
    }
}

/// The time of one run, and its warp instructions.
fn run(case: &Case, module: &Module, checks: Checks, timing: Option<&Timing>) -> (Duration, u64) {
    let mut memory = Memory::new();
    let mut launch = Launch::new(module, case.entry).unwrap_or_else(|error| panic!("{error}"));
    launch = launch.arg(memory.upload("input", &values(case.input)).address());
    for &elems in case.zeros {
        launch = launch.arg(memory.zeroed("zeros", 4 * elems).address());
    }
    for &integer in case.integers {
        launch = launch.arg(integer);
    }
    launch = launch.grid(case.grid).block(case.block).checks(checks);
    if let Some(timing) = timing {
        launch = launch.timed(timing);
    }
    let start = Instant::now();
    let report = launch.run(&mut memory).unwrap_or_else(|error| panic!("{error}"));
    let time = start.elapsed();
    assert!(report.is_clean(), "{}: {}", case.entry, report.findings[0]);
    (time, report.counters.instructions)
}

fn main() {
    // `cargo bench` says so; anything else runs everything once.
    let runs = if std::env::args().any(|argument| argument == "--bench") { 9 } else { 1 };
    let columns = ["kernel", "M instr.", "ms", "M/s", "unchecked", "timed"];
    let [kernel, count, time, rate, unchecked, timed] = columns;
    println!("{kernel:<20} {count:>9} {time:>9} {rate:>8} {unchecked:>9} {timed:>8}");
    for case in &CASES {
        let module = Module::parse(case.entry, case.ptx).unwrap_or_else(|error| panic!("{error}"));
        let timing = timing(case, &module);
        let ways =
            [(Checks::ALL, None), (Checks::required(), None), (Checks::required(), Some(&timing))];
        let mut least = [Duration::MAX; 3];
        let mut instructions = 0;
        for _ in 0..runs {
            for (least, (checks, timing)) in least.iter_mut().zip(ways) {
                let (time, executed) = run(case, &module, checks, timing);
                (*least, instructions) = (time.min(*least), executed);
            }
        }
        let millions = instructions as f64 / 1e6;
        let [rate, unchecked, timed] = least.map(|time| millions / time.as_secs_f64());
        let milliseconds = 1e3 * least[0].as_secs_f64();
        println!(
            "{:<20} {millions:>9.3} {milliseconds:>9.1} {rate:>8.1} {unchecked:>9.1} {timed:>8.1}",
            case.entry
        );
    }
}
