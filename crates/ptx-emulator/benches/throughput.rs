//! Warp instructions per second with every check on, of kernels that nvcc compiled. A table is
//! printed; the least time of several runs counts, without uploads.

use ptx_emulator::{Launch, Memory, Module};
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

/// The time of one run, and its warp instructions.
fn run(case: &Case, module: &Module) -> (Duration, u64) {
    let mut memory = Memory::new();
    let mut launch = Launch::new(module, case.entry).unwrap_or_else(|error| panic!("{error}"));
    launch = launch.arg(memory.upload("input", &values(case.input)).address());
    for &elems in case.zeros {
        launch = launch.arg(memory.zeroed("zeros", 4 * elems).address());
    }
    for &integer in case.integers {
        launch = launch.arg(integer);
    }
    launch = launch.grid(case.grid).block(case.block);
    let start = Instant::now();
    let report = launch.run(&mut memory).unwrap_or_else(|error| panic!("{error}"));
    let time = start.elapsed();
    assert!(report.is_clean(), "{}: {}", case.entry, report.findings[0]);
    (time, report.counters.instructions)
}

fn main() {
    // `cargo bench` says so; anything else runs everything once.
    let runs = if std::env::args().any(|argument| argument == "--bench") { 9 } else { 1 };
    println!("{:<20} {:>9} {:>9} {:>8}", "kernel", "M instr.", "ms", "M/s");
    for case in &CASES {
        let module = Module::parse(case.entry, case.ptx).unwrap_or_else(|error| panic!("{error}"));
        let (mut least, mut instructions) = (Duration::MAX, 0);
        for _ in 0..runs {
            let (time, executed) = run(case, &module);
            (least, instructions) = (least.min(time), executed);
        }
        let (seconds, millions) = (least.as_secs_f64(), instructions as f64 / 1e6);
        let (milliseconds, rate) = (1e3 * seconds, millions / seconds);
        println!("{:<20} {millions:>9.3} {milliseconds:>9.1} {rate:>8.1}", case.entry);
    }
}
