//! CUDA C++ through the real nvcc and the emulator: what is right gives the right values and no finding, in order and
//! under ten seeds of the adversarial schedule; what is broken is reported by the right check at the right line.

#[path = "support/nvcc.rs"]
mod nvcc;

use effnet::emulator::{Check, Launch, Memory, Module, Report, Schedule};
use nvcc::{Compiled, CudaFile};
use std::collections::BTreeSet;

static ASSERTION: CudaFile = CudaFile::new("assertion", 80);
static BULK_COPY: CudaFile = CudaFile::new("bulk_copy", 90);
static CLUSTER: CudaFile = CudaFile::new("cluster", 90);
static GRID_SYNC: CudaFile = CudaFile::new("grid_sync", 80);
static HISTOGRAM: CudaFile = CudaFile::new("histogram", 80);
static LOCAL_ARRAY: CudaFile = CudaFile::new("local_array", 80);
static PIPELINE: CudaFile = CudaFile::new("pipeline", 80);
static REDUCTION: CudaFile = CudaFile::new("reduction", 80);
static SCAN: CudaFile = CudaFile::new("scan", 80);
static TRANSPOSE: CudaFile = CudaFile::new("transpose", 80);

fn schedules() -> impl Iterator<Item = Schedule> {
    std::iter::once(Schedule::InOrder).chain((0..10).map(Schedule::Adversarial))
}

fn load(cuda: &Compiled) -> Module {
    Module::parse(&cuda.path, &cuda.ptx).unwrap_or_else(|e| panic!("{e}"))
}

fn listed(report: &Report) -> String {
    report.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn assert_clean(report: &Report, schedule: Schedule) {
    assert!(report.is_clean(), "{schedule:?}:\n{}", listed(report));
}

/// There is a finding, and every finding is at a line of the file that is marked for this entry and check.
fn assert_found(report: &Report, cuda: &Compiled, entry: &str, schedule: Schedule) {
    assert!(!report.is_clean(), "{entry}, {schedule:?}: nothing was found");
    let marks = cuda.marks(entry);
    for finding in &report.findings {
        assert_eq!(finding.kernel, entry);
        let place = finding.source.as_ref().filter(|(file, _)| file.ends_with(&cuda.path));
        let marked =
            place.is_some_and(|(_, line)| marks.contains(&(*line, finding.check.name().into())));
        assert!(
            marked,
            "{entry}, {schedule:?}: a finding that is not marked:\n{finding}\nmarks: {marks:?}"
        );
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), its upper half.
fn random(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

/// Small integers as f32: sums of them are exact in any order.
fn whole_numbers(elems: usize, seed: u64) -> Vec<f32> {
    let mut random = random(seed);
    (0..elems).map(|_| (random() % 33) as f32 - 16.0).collect()
}

/// Runs one of the reductions over many blocks and returns its sum.
fn reduce(module: &Module, entry: &str, input: &[f32], schedule: Schedule) -> (Report, f32) {
    const GRID: u32 = 5;
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let partial = memory.uninitialised("partial", 4 * GRID as usize);
    let arrived = memory.zeroed("arrived", 4);
    let sum = memory.uninitialised("sum", 4);
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([GRID, 1, 1])
        .block([256, 1, 1])
        .arg(values.address())
        .arg(partial.address())
        .arg(arrived.address())
        .arg(sum.address())
        .arg(input.len() as u32)
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download::<f32>(&sum)[0])
}

/// Runs one of the reductions of a single warp.
fn reduce_warp(module: &Module, entry: &str, input: &[f32], schedule: Schedule) -> (Report, f32) {
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let sum = memory.uninitialised("sum", 4 * 32);
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([1, 1, 1])
        .block([32, 1, 1])
        .arg(values.address())
        .arg(sum.address())
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download::<f32>(&sum)[0])
}

#[test]
fn reduction() {
    let Some(cuda) = REDUCTION.compiled() else { return };
    let module = load(cuda);
    let input = whole_numbers(10_000, 1);
    let wanted: f32 = input.iter().sum();
    let warp = whole_numbers(32, 2);
    for schedule in schedules() {
        let (report, sum) = reduce(&module, "reduction", &input, schedule);
        assert_clean(&report, schedule);
        assert_eq!(sum, wanted, "{schedule:?}");
        let (report, sum) = reduce_warp(&module, "warp_tree", &warp, schedule);
        assert_clean(&report, schedule);
        assert_eq!(sum, warp.iter().sum::<f32>(), "{schedule:?}");
    }
}

#[test]
fn broken_reductions_are_reported() {
    let Some(cuda) = REDUCTION.compiled() else { return };
    let module = load(cuda);
    let input = whole_numbers(4000, 3);
    for schedule in schedules() {
        for entry in ["reduction_without_barrier", "reduction_without_fence"] {
            assert_found(&reduce(&module, entry, &input, schedule).0, cuda, entry, schedule);
        }
        for entry in ["reduction_with_wrong_membermask", "warp_tree_without_syncwarp"] {
            let (report, _) = reduce_warp(&module, entry, &input[..32], schedule);
            assert_found(&report, cuda, entry, schedule);
        }
    }
}

fn scan_block(
    module: &Module,
    entry: &str,
    input: &[u32],
    schedule: Schedule,
) -> (Report, Vec<u32>) {
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let output = memory.uninitialised("output", 4 * input.len());
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([1, 1, 1])
        .block([256, 1, 1])
        .arg(values.address())
        .arg(output.address())
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&output))
}

fn look_back(
    module: &Module,
    entry: &str,
    input: &[u32],
    schedule: Schedule,
) -> (Report, Vec<u32>) {
    let blocks = input.len().div_ceil(256);
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let output = memory.uninitialised("output", 4 * input.len());
    let ticket = memory.zeroed("ticket", 4);
    let states = memory.zeroed("states", 4 * blocks);
    let own = memory.uninitialised("own", 4 * blocks);
    let inclusive = memory.uninitialised("inclusive", 4 * blocks);
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([blocks as u32, 1, 1])
        .block([256, 1, 1])
        .arg(values.address())
        .arg(output.address())
        .arg(input.len() as u32)
        .arg(ticket.address())
        .arg(states.address())
        .arg(own.address())
        .arg(inclusive.address())
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&output))
}

fn prefix_sums(input: &[u32]) -> Vec<u32> {
    let mut sum = 0u32;
    input
        .iter()
        .map(|value| {
            sum = sum.wrapping_add(*value);
            sum
        })
        .collect()
}

#[test]
fn scan() {
    let Some(cuda) = SCAN.compiled() else { return };
    let module = load(cuda);
    // All 32 bits: the sums wrap.
    let mut random = random(4);
    let input: Vec<u32> = (0..256 * 6 - 17).map(|_| random()).collect();
    for schedule in schedules() {
        let (report, output) = scan_block(&module, "scan_block", &input[..256], schedule);
        assert_clean(&report, schedule);
        assert_eq!(output, prefix_sums(&input[..256]), "{schedule:?}");
        let (report, output) = look_back(&module, "scan_look_back", &input, schedule);
        assert_clean(&report, schedule);
        assert_eq!(output, prefix_sums(&input), "{schedule:?}");
    }
}

#[test]
fn broken_scans_are_reported() {
    let Some(cuda) = SCAN.compiled() else { return };
    let module = load(cuda);
    let input = vec![1; 256 * 4];
    for schedule in schedules() {
        let entry = "scan_without_barrier";
        let (report, _) = scan_block(&module, entry, &input[..256], schedule);
        assert_found(&report, cuda, entry, schedule);
        let entry = "look_back_without_fence";
        assert_found(&look_back(&module, entry, &input, schedule).0, cuda, entry, schedule);
    }
}

const ROWS: usize = 70;
const COLUMNS: usize = 45;

/// Runs one of the transposes on a ragged matrix; the output, and how many of its bytes were written.
fn transpose_with(
    module: &Module,
    entry: &str,
    input: &[f32],
    schedule: Schedule,
) -> (Report, Vec<f32>, usize) {
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let output = memory.uninitialised("output", 4 * ROWS * COLUMNS);
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([COLUMNS.div_ceil(32) as u32, ROWS.div_ceil(32) as u32, 1])
        .block([32, 8, 1])
        .arg(values.address())
        .arg(output.address())
        .arg(ROWS as i32)
        .arg(COLUMNS as i32)
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&output), memory.initialised_bytes(&output))
}

#[test]
fn transpose() {
    let Some(cuda) = TRANSPOSE.compiled() else { return };
    let module = load(cuda);
    let input: Vec<f32> = (0..ROWS * COLUMNS).map(|i| i as f32).collect();
    let wanted: Vec<f32> = (0..COLUMNS)
        .flat_map(|column| (0..ROWS).map(move |row| (row * COLUMNS + column) as f32))
        .collect();
    for schedule in schedules() {
        for entry in ["transpose", "transpose_without_padding"] {
            let (report, output, written) = transpose_with(&module, entry, &input, schedule);
            assert_clean(&report, schedule);
            assert_eq!(output, wanted, "{entry}, {schedule:?}");
            assert_eq!(written, 4 * ROWS * COLUMNS);
        }
    }
}

#[test]
fn broken_transposes_are_reported() {
    let Some(cuda) = TRANSPOSE.compiled() else { return };
    let module = load(cuda);
    let input = vec![1.0; ROWS * COLUMNS];
    for schedule in schedules() {
        for entry in ["transpose_without_barrier", "transpose_without_bounds"] {
            let (report, ..) = transpose_with(&module, entry, &input, schedule);
            assert_found(&report, cuda, entry, schedule);
        }
        let (report, ..) = transpose_with(&module, "transpose_without_bounds", &input, schedule);
        for buffer in ["input", "output"] {
            assert!(
                report.findings.iter().any(|finding| finding.check == Check::OutOfBounds
                    && finding.buffer.as_deref() == Some(buffer)),
                "{schedule:?}: nothing out of bounds in {buffer}:\n{}",
                listed(&report)
            );
        }
    }
}

fn count_bytes(
    module: &Module,
    entry: &str,
    input: &[u8],
    schedule: Schedule,
) -> (Report, Vec<u32>) {
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let counts = memory.zeroed("counts", 4 * 256);
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([4, 1, 1])
        .block([256, 1, 1])
        .arg(values.address())
        .arg(input.len() as u32)
        .arg(counts.address())
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&counts))
}

/// Few values are frequent, so that lanes meet in a bin.
fn skewed_bytes(elems: usize, seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    (0..elems).map(|_| (random() & random() & 0xff) as u8).collect()
}

#[test]
fn histogram() {
    let Some(cuda) = HISTOGRAM.compiled() else { return };
    let module = load(cuda);
    let input = skewed_bytes(5003, 5);
    let mut wanted = vec![0; 256];
    input.iter().for_each(|value| wanted[usize::from(*value)] += 1);
    for schedule in schedules() {
        let (report, counts) = count_bytes(&module, "histogram", &input, schedule);
        assert_clean(&report, schedule);
        assert_eq!(counts, wanted, "{schedule:?}");

        let mut memory = Memory::new();
        let few: Vec<u32> = input[..1000].iter().map(|v| u32::from(*v) * 1_000_003).collect();
        let values = memory.upload("input", &few);
        let keys = memory.upload("keys", &[u32::MAX; 256]);
        let counts = memory.zeroed("counts", 4 * 256);
        let report = Launch::new(&module, "histogram_by_matching")
            .unwrap()
            .grid([4, 1, 1])
            .block([256, 1, 1])
            .arg(values.address())
            .arg(few.len() as u32)
            .arg(keys.address())
            .arg(counts.address())
            .schedule(schedule)
            .run(&mut memory)
            .unwrap();
        assert_clean(&report, schedule);
        let (keys, counts) = (memory.download::<u32>(&keys), memory.download::<u32>(&counts));
        let mut seen = BTreeSet::new();
        for (key, count) in keys.into_iter().zip(counts) {
            let wanted = few.iter().filter(|value| **value == key).count();
            assert_eq!(count as usize, wanted, "{schedule:?}: key {key}");
            assert!(wanted == 0 || seen.insert(key), "{schedule:?}: key {key} has two slots");
        }
        assert_eq!(seen, few.iter().copied().collect(), "{schedule:?}");
    }
}

#[test]
fn broken_histograms_are_reported() {
    let Some(cuda) = HISTOGRAM.compiled() else { return };
    let module = load(cuda);
    let input = skewed_bytes(2000, 6);
    for schedule in schedules() {
        for entry in ["histogram_without_barrier", "histogram_without_atomics"] {
            let (report, _) = count_bytes(&module, entry, &input, schedule);
            assert_found(&report, cuda, entry, schedule);
        }
    }
}

const HEAT_STEPS: i32 = 5;

fn heat(
    module: &Module,
    entry: &str,
    start: &[f32],
    cooperative: bool,
    schedule: Schedule,
) -> (Report, Vec<f32>) {
    let mut memory = Memory::new();
    let even = memory.upload("even", start);
    let odd = memory.uninitialised("odd", 4 * start.len());
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([6, 1, 1])
        .block([64, 1, 1])
        .cooperative(cooperative)
        .arg(even.address())
        .arg(odd.address())
        .arg(start.len() as i32)
        .arg(HEAT_STEPS)
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&odd))
}

#[test]
fn grid_sync() {
    let Some(cuda) = GRID_SYNC.compiled() else { return };
    let module = load(cuda);
    let start = whole_numbers(6 * 64 * 2 + 37, 7);
    // The product with 2 is exact, so a fused multiply-add rounds as two operations do.
    let mut wanted = start.clone();
    for _ in 0..HEAT_STEPS {
        let from = wanted.clone();
        for i in 1..from.len() - 1 {
            wanted[i] = 0.25 * (from[i - 1] + 2.0 * from[i] + from[i + 1]);
        }
    }
    for schedule in schedules() {
        let (report, result) = heat(&module, "heat", &start, true, schedule);
        assert_clean(&report, schedule);
        assert_eq!(result, wanted, "{schedule:?}");
    }
}

#[test]
fn a_missing_grid_sync_is_reported() {
    let Some(cuda) = GRID_SYNC.compiled() else { return };
    let module = load(cuda);
    let start = whole_numbers(6 * 64 * 2, 8);
    let entry = "heat_without_grid_sync";
    for schedule in schedules() {
        assert_found(&heat(&module, entry, &start, true, schedule).0, cuda, entry, schedule);
    }
    // Cooperative groups traps where the launch was not cooperative.
    let (report, _) = heat(&module, "heat", &start, false, Schedule::InOrder);
    assert!(report.findings.iter().any(|finding| finding.check == Check::Trap));
}

const TILE: usize = 128;

/// Runs a kernel of `pipeline.cu` or `bulk_copy.cu` on `[2, tiles, TILE]`.
fn stream(
    module: &Module,
    entry: &str,
    threads: u32,
    input: &[f32],
    out_elems: usize,
    schedule: Schedule,
) -> (Report, Vec<f32>) {
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let output = memory.uninitialised("output", 4 * out_elems);
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([2, 1, 1])
        .block([threads, 1, 1])
        .arg(values.address())
        .arg(output.address())
        .arg((input.len() / TILE / 2) as i32)
        .schedule(schedule)
        // Some of the broken ones wait for ever.
        .budget(1 << 20)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&output))
}

#[test]
fn pipeline() {
    let Some(cuda) = PIPELINE.compiled() else { return };
    let module = load(cuda);
    for tiles in [1, 2, 7] {
        let input = whole_numbers(2 * tiles * TILE, 9);
        let wanted: Vec<f32> = input
            .chunks(tiles * TILE)
            .flat_map(|block| {
                (0..TILE).map(|t| block.chunks(TILE).map(|tile| tile[TILE - 1 - t]).sum())
            })
            .collect();
        for schedule in schedules() {
            for (entry, threads) in [("copy_pipeline", 32), ("produce_consume", 256)] {
                let (report, sums) = stream(&module, entry, threads, &input, 2 * TILE, schedule);
                assert_clean(&report, schedule);
                assert_eq!(sums, wanted, "{entry}, {tiles} tiles, {schedule:?}");
            }
        }
    }
}

#[test]
fn broken_pipelines_are_reported() {
    let Some(cuda) = PIPELINE.compiled() else { return };
    let module = load(cuda);
    let input = whole_numbers(2 * 7 * TILE, 10);
    for schedule in schedules() {
        for (entry, threads) in [
            ("copy_waits_too_little", 32),
            ("copy_without_barrier", 32),
            ("produce_without_waiting", 256),
            ("consume_without_waiting", 256),
        ] {
            let (report, _) = stream(&module, entry, threads, &input, 2 * TILE, schedule);
            assert_found(&report, cuda, entry, schedule);
        }
    }
}

#[test]
fn bulk_copy() {
    let Some(cuda) = BULK_COPY.compiled() else { return };
    let module = load(cuda);
    let input = whole_numbers(2 * 5 * TILE, 11);
    let wanted: Vec<f32> = input.iter().map(|x| 2.0 * x).collect();
    for schedule in schedules() {
        let (report, output) =
            stream(&module, "bulk_copy", TILE as u32, &input, input.len(), schedule);
        assert_clean(&report, schedule);
        assert_eq!(output, wanted, "{schedule:?}");
    }
}

#[test]
fn broken_bulk_copies_are_reported() {
    let Some(cuda) = BULK_COPY.compiled() else { return };
    let module = load(cuda);
    let input = whole_numbers(2 * TILE, 12);
    for schedule in schedules() {
        for entry in ["bulk_without_wait", "bulk_expects_too_much"] {
            let (report, _) = stream(&module, entry, TILE as u32, &input, input.len(), schedule);
            assert_found(&report, cuda, entry, schedule);
        }
    }
}

fn exchange(module: &Module, entry: &str, input: &[i32], schedule: Schedule) -> (Report, Vec<i32>) {
    let mut memory = Memory::new();
    let values = memory.upload("input", input);
    let output = memory.uninitialised("output", 4 * input.len());
    // The size of the cluster is in the PTX.
    let report = Launch::new(module, entry)
        .unwrap()
        .grid([(input.len() / 64) as u32, 1, 1])
        .block([64, 1, 1])
        .arg(values.address())
        .arg(output.address())
        .schedule(schedule)
        .run(&mut memory)
        .unwrap();
    (report, memory.download(&output))
}

#[test]
fn cluster() {
    let Some(cuda) = CLUSTER.compiled() else { return };
    let module = load(cuda);
    let mut random = random(13);
    let input: Vec<i32> = (0..2 * 4 * 64).map(|_| random() as i32 >> 4).collect();
    let wanted: Vec<i32> = (0..input.len())
        .map(|i| {
            let first = i / 256 * 256 + i % 64;
            (0..4).map(|block| input[first + 64 * block]).sum()
        })
        .collect();
    let bins: Vec<u32> = (0..3000).map(|_| random() & random() & 0xff).collect();
    let mut counted = vec![0; 256];
    bins.iter().for_each(|bin| counted[*bin as usize] += 1);
    for schedule in schedules() {
        let (report, output) = exchange(&module, "cluster_exchange", &input, schedule);
        assert_clean(&report, schedule);
        assert_eq!(output, wanted, "{schedule:?}");

        let mut memory = Memory::new();
        let values = memory.upload("input", &bins);
        let counts = memory.uninitialised("counts", 4 * 256);
        let report = Launch::new(&module, "cluster_histogram")
            .unwrap()
            .grid([4, 1, 1])
            .block([64, 1, 1])
            .cluster([4, 1, 1])
            .arg(values.address())
            .arg(bins.len() as u32)
            .arg(counts.address())
            .schedule(schedule)
            .run(&mut memory)
            .unwrap();
        assert_clean(&report, schedule);
        assert_eq!(memory.download::<u32>(&counts), counted, "{schedule:?}");
    }
}

#[test]
fn a_missing_cluster_sync_is_reported() {
    let Some(cuda) = CLUSTER.compiled() else { return };
    let module = load(cuda);
    let entry = "cluster_without_sync";
    for schedule in schedules() {
        let (report, _) = exchange(&module, entry, &[1; 2 * 4 * 64], schedule);
        assert_found(&report, cuda, entry, schedule);
    }
}

#[test]
fn local_array() {
    let Some(cuda) = LOCAL_ARRAY.compiled() else { return };
    let module = load(cuda);
    let mut random = random(14);
    for elems in [16, 11, 1] {
        const ROWS: usize = 100;
        let input: Vec<i32> = (0..ROWS * elems).map(|_| random() as i32 % 50).collect();
        let mut wanted = input.clone();
        wanted.chunks_mut(elems).for_each(<[i32]>::sort_unstable);
        for schedule in schedules() {
            let mut memory = Memory::new();
            let values = memory.upload("input", &input);
            let output = memory.uninitialised("output", 4 * input.len());
            let report = Launch::new(&module, "sort_rows")
                .unwrap()
                .grid([2, 1, 1])
                .block([64, 1, 1])
                .arg(values.address())
                .arg(output.address())
                .arg(ROWS as i32)
                .arg(elems as i32)
                .schedule(schedule)
                .run(&mut memory)
                .unwrap();
            assert_clean(&report, schedule);
            assert_eq!(memory.download::<i32>(&output), wanted, "{elems}, {schedule:?}");
        }
    }
}

#[test]
fn broken_local_arrays_are_reported() {
    let Some(cuda) = LOCAL_ARRAY.compiled() else { return };
    let module = load(cuda);
    for schedule in schedules() {
        let mut memory = Memory::new();
        let input: Vec<i32> = (0..20).rev().map(|i| i * 3 + 1).collect();
        let values = memory.upload("input", &input);
        let output = memory.uninitialised("output", 4 * 16);
        let entry = "sort_past_the_end";
        let report = Launch::new(&module, entry)
            .unwrap()
            .grid([1, 1, 1])
            .block([1, 1, 1])
            .arg(values.address())
            .arg(output.address())
            .arg(input.len() as i32)
            .schedule(schedule)
            .run(&mut memory)
            .unwrap();
        assert_found(&report, cuda, entry, schedule);

        // Elements 3 and 9 are written; 3, then 4 is read.
        for (read, clean) in [(3, true), (4, false)] {
            let mut memory = Memory::new();
            let indices = memory.upload("indices", &[3, 9, read]);
            let output = memory.uninitialised("output", 4);
            let entry = "read_before_write";
            let report = Launch::new(&module, entry)
                .unwrap()
                .grid([1, 1, 1])
                .block([1, 1, 1])
                .arg(indices.address())
                .arg(output.address())
                .schedule(schedule)
                .run(&mut memory)
                .unwrap();
            if clean {
                assert_clean(&report, schedule);
                assert_eq!(memory.download::<i32>(&output), [1]);
            } else {
                assert_found(&report, cuda, entry, schedule);
            }
        }
    }
}

#[test]
fn assertions_and_traps_report_where() {
    let Some(cuda) = ASSERTION.compiled() else { return };
    let module = load(cuda);
    for schedule in schedules() {
        for bad in [None, Some(37)] {
            let mut input: Vec<f32> = (0..64).map(|i| (i * i) as f32).collect();
            let wanted: Vec<f32> = (0..64).map(|i| i as f32).collect();
            if let Some(thread) = bad {
                input[thread] = -1.0;
            }
            let mut memory = Memory::new();
            let values = memory.upload("input", &input);
            let output = memory.uninitialised("output", 4 * 64);
            let entry = "square_roots";
            let report = Launch::new(&module, entry)
                .unwrap()
                .grid([1, 1, 1])
                .block([64, 1, 1])
                .arg(values.address())
                .arg(output.address())
                .schedule(schedule)
                .run(&mut memory)
                .unwrap();
            match bad {
                None => {
                    assert_clean(&report, schedule);
                    assert_eq!(memory.download::<f32>(&output), wanted);
                }
                Some(thread) => {
                    assert_found(&report, cuda, entry, schedule);
                    let finding = &report.findings[0];
                    assert_eq!(finding.thread, [thread as u32, 0, 0]);
                    // What was asserted is in the PTX, and is worth showing.
                    assert!(finding.message.contains("value >= 0.0f"), "{finding}");
                }
            }
        }

        let mut memory = Memory::new();
        let values = memory.upload("input", &[0, 0, 1, 0]);
        let report = Launch::new(&module, "traps")
            .unwrap()
            .grid([1, 1, 1])
            .block([4, 1, 1])
            .arg(values.address())
            .schedule(schedule)
            .run(&mut memory)
            .unwrap();
        assert_found(&report, cuda, "traps", schedule);
        assert_eq!(report.findings[0].thread, [2, 0, 0]);
    }
}
