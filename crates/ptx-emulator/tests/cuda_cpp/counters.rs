//! Counters, against what follows from the kernels. Those of single instructions are in
//! `tests/ptx`.

use super::sums::{REDUCTION, SCAN, reduce, scan_block};
use super::threads::{TRANSPOSE, transpose_with};
use super::{Call, Kernels, Ran, whole_numbers};
use ptx_emulator::{Counters, LineCounters, Schedule, Traffic};

// Whole tiles: 2 x 3 blocks, of 8 warps. A warp goes through 4 rows of its tile.
const ROWS: usize = 64;
const COLUMNS: usize = 96;
const BLOCKS: u64 = 2 * 3;
/// Loads from the input; as many stores to the tile, loads from the tile and stores to the output.
const REQUESTS: u64 = BLOCKS * 8 * 4;

fn transposed(call: Call) -> Ran {
    transpose_with(call, &[1.0; ROWS * COLUMNS], ROWS, COLUMNS)
}

fn per_line(
    kernels: &Kernels,
    entry: &str,
    schedule: Schedule,
    run: impl Fn(Call) -> Ran,
) -> Counters {
    let ran = run(kernels.call(entry, schedule).with(|launch| launch.per_line(true)));
    assert!(ran.report.is_clean(), "{entry}, {ran}");
    ran.report.counters
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn traffic_of_the_transposes() {
    let kernels = Kernels::of(&TRANSPOSE);
    // A warp reads a column of the tile. A row of 33 words puts it into 32 banks; with a row of 32
    // words all 32 lie in one bank, 31 more cycles than one. Along a row, as in stores to the tile,
    // there is no conflict.
    for (entry, conflicts) in [("transpose", 0), ("transpose_without_padding", 31 * REQUESTS)] {
        let ran =
            transposed(kernels.call(entry, Schedule::InOrder).with(|l| l.count_traffic(true)));
        let Counters { global, shared, divergent_branches, by_line, .. } = ran.report.counters;
        let (requests, bytes) = (2 * REQUESTS, 2 * REQUESTS * 128);
        // Warps go along rows of either matrix, whose lengths are multiples of 128 bytes: 4
        // sectors.
        let wanted = Traffic { requests, bytes, sectors: 4 * requests, conflicts: 0 };
        assert_eq!(global, wanted, "{entry}");
        assert_eq!(global.sectors_per_request(), 4.0);
        assert_eq!(shared, Traffic { requests, bytes, sectors: 0, conflicts }, "{entry}");
        // No thread of a whole tile is out of bounds, and loops depend on `threadIdx.y` alone.
        assert_eq!(divergent_branches, 0);
        assert!(by_line.is_empty(), "counted without being asked for");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn barriers_of_a_block() {
    let kernels = Kernels::of(&TRANSPOSE);
    for ran in kernels.clean("transpose", transposed) {
        assert_eq!(ran.report.counters.barriers, BLOCKS, "{ran}");
    }
    let ran = transposed(kernels.call("transpose_without_barrier", Schedule::InOrder));
    assert_eq!(ran.report.counters.barriers, 0);
    let kernels = Kernels::of(&REDUCTION);
    // In each of 5 blocks one for the block's sum and one for `is_last`; the last block adds up
    // again.
    let input = whole_numbers(4000, 1);
    for ran in kernels.clean("reduction", |call| reduce(call, &input)) {
        assert_eq!(ran.report.counters.barriers, 5 * 2 + 1, "{ran}");
    }
    let kernels = Kernels::of(&SCAN);
    // After the first store, and after each of the distances 1, 2, ... 128.
    for ran in kernels.clean("scan_block", |call| scan_block(call, &[1; 256])) {
        assert_eq!(ran.report.counters.barriers, 1 + 8, "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn lines_have_their_share() {
    let kernels = Kernels::of(&TRANSPOSE);
    let counters = per_line(&kernels, "transpose_without_padding", Schedule::InOrder, transposed);
    let mut total = LineCounters::default();
    let add = |to: &mut Traffic, from: &Traffic| {
        to.requests += from.requests;
        to.bytes += from.bytes;
        to.sectors += from.sectors;
        to.conflicts += from.conflicts;
    };
    for ((file, line), counted) in &counters.by_line {
        assert!(file.ends_with(&kernels.cuda.path), "{file}");
        total.instructions += counted.instructions;
        add(&mut total.global, &counted.global);
        add(&mut total.shared, &counted.shared);

        // The lines of the source that go to memory, and what follows from them.
        let text = kernels.cuda.source.lines().nth(*line as usize - 1).unwrap();
        let (bytes, none) = (128 * REQUESTS, Traffic::default());
        let global = Traffic { requests: REQUESTS, bytes, sectors: 4 * REQUESTS, conflicts: 0 };
        let shared = |conflicts| Traffic { requests: REQUESTS, bytes, sectors: 0, conflicts };
        let wanted = if text.contains("tile[i][threadIdx.x] = input[") {
            (global, shared(0))
        } else if text.contains("tile[threadIdx.x][i]") {
            (none, shared(31 * REQUESTS))
        } else if text.contains("output[column * rows + row] =") {
            (global, none)
        } else {
            (none, none)
        };
        assert_eq!((counted.global, counted.shared), wanted, "line {line}: {text}");
    }
    let Counters { instructions, global, shared, .. } = counters;
    assert_eq!(total, LineCounters { instructions, global, shared });
    assert_eq!((global.requests, shared.requests), (2 * REQUESTS, 2 * REQUESTS));
}

/// They are a property of the launch and its schedule: not of the run, nor of how many threads run
/// its blocks.
#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn counters_are_equal_from_run_to_run() {
    let check = |kernels: &Kernels, entry: &str, run: &(dyn Fn(Call) -> Ran + Sync)| {
        let schedules = [Schedule::InOrder, Schedule::Adversarial(3)];
        for schedule in schedules {
            let wanted = per_line(kernels, entry, schedule, run);
            assert!(wanted.instructions > 0 && !wanted.by_line.is_empty());
            for threads in [1, 1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let counters = pool.install(|| per_line(kernels, entry, schedule, run));
                assert_eq!(counters, wanted, "{entry}, {threads} threads, {schedule:?}");
            }
        }
    };
    let kernels = Kernels::of(&TRANSPOSE);
    // Ragged, so that blocks differ: 3 x 2.
    check(&kernels, "transpose", &|call| transpose_with(call, &[1.0; 70 * 45], 70, 45));
    let kernels = Kernels::of(&REDUCTION);
    let input = whole_numbers(4000, 2);
    check(&kernels, "reduction", &|call| reduce(call, &input));
}
