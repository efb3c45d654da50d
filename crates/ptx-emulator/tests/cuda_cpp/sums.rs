//! Reductions, scans and histograms: blocks that work on one result, by barriers, fences and
//! atomics.

use super::{Call, CudaFile, Kernels, Ran, random, whole_numbers};
use std::collections::BTreeSet;

pub(crate) static REDUCTION: CudaFile = CudaFile::new("reduction", 80);
pub(crate) static SCAN: CudaFile = CudaFile::new("scan", 80);
static HISTOGRAM: CudaFile = CudaFile::new("histogram", 80);

/// One of the reductions over many blocks.
pub(crate) fn reduce(call: Call, input: &[f32]) -> Ran {
    const GRID: u32 = 5;
    call.shape(GRID, 256)
        .upload("input", input)
        .uninitialised("partial", 4 * GRID as usize)
        .zeroed("arrived", 4)
        .uninitialised("sum", 4)
        .arg(input.len() as u32)
        .run()
}

/// One of the reductions of a single warp.
fn reduce_warp(call: Call, input: &[f32]) -> Ran {
    call.shape(1, 32).upload("input", input).uninitialised("sum", 4 * 32).run()
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn reduction() {
    let kernels = Kernels::of(&REDUCTION);
    let input = whole_numbers(10_000, 1);
    let warp = whole_numbers(32, 2);
    for ran in kernels.clean("reduction", |call| reduce(call, &input)) {
        assert_eq!(ran.download::<f32>("sum"), [input.iter().sum::<f32>()], "{ran}");
    }
    for ran in kernels.clean("warp_tree", |call| reduce_warp(call, &warp)) {
        assert_eq!(ran.download::<f32>("sum")[0], warp.iter().sum::<f32>(), "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_reductions_are_reported() {
    let kernels = Kernels::of(&REDUCTION);
    let input = whole_numbers(4000, 3);
    for entry in ["reduction_without_barrier", "reduction_without_fence"] {
        kernels.broken(entry, |call| reduce(call, &input));
    }
    for entry in ["reduction_with_wrong_membermask", "warp_tree_without_syncwarp"] {
        kernels.broken(entry, |call| reduce_warp(call, &input[..32]));
    }
}

pub(crate) fn scan_block(call: Call, input: &[u32]) -> Ran {
    call.shape(1, 256).upload("input", input).uninitialised("output", 4 * input.len()).run()
}

fn look_back(call: Call, input: &[u32]) -> Ran {
    let blocks = input.len().div_ceil(256);
    call.shape(blocks as u32, 256)
        .upload("input", input)
        .uninitialised("output", 4 * input.len())
        .arg(input.len() as u32)
        .zeroed("ticket", 4)
        .zeroed("states", 4 * blocks)
        .uninitialised("own", 4 * blocks)
        .uninitialised("inclusive", 4 * blocks)
        .run()
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
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn scan() {
    let kernels = Kernels::of(&SCAN);
    // All 32 bits: the sums wrap.
    let mut random = random(4);
    let input: Vec<u32> = (0..256 * 6 - 17).map(|_| random()).collect();
    for ran in kernels.clean("scan_block", |call| scan_block(call, &input[..256])) {
        assert_eq!(ran.download::<u32>("output"), prefix_sums(&input[..256]), "{ran}");
    }
    for ran in kernels.clean("scan_look_back", |call| look_back(call, &input)) {
        assert_eq!(ran.download::<u32>("output"), prefix_sums(&input), "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_scans_are_reported() {
    let kernels = Kernels::of(&SCAN);
    let input = vec![1; 256 * 4];
    kernels.broken("scan_without_barrier", |call| scan_block(call, &input[..256]));
    kernels.broken("look_back_without_fence", |call| look_back(call, &input));
}

fn count_bytes(call: Call, input: &[u8]) -> Ran {
    call.shape(4, 256)
        .upload("input", input)
        .arg(input.len() as u32)
        .zeroed("counts", 4 * 256)
        .run()
}

/// Few values are frequent, so that lanes meet in a bin.
fn skewed_bytes(elems: usize, seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    (0..elems).map(|_| (random() & random() & 0xff) as u8).collect()
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn histogram() {
    let kernels = Kernels::of(&HISTOGRAM);
    let input = skewed_bytes(5003, 5);
    let mut wanted = vec![0; 256];
    input.iter().for_each(|value| wanted[usize::from(*value)] += 1);
    for ran in kernels.clean("histogram", |call| count_bytes(call, &input)) {
        assert_eq!(ran.download::<u32>("counts"), wanted, "{ran}");
    }

    let few: Vec<u32> = input[..1000].iter().map(|v| u32::from(*v) * 1_000_003).collect();
    let match_keys = |call: Call| {
        call.shape(4, 256)
            .upload("input", &few)
            .arg(few.len() as u32)
            .upload("keys", &[u32::MAX; 256])
            .zeroed("counts", 4 * 256)
            .run()
    };
    for ran in kernels.clean("histogram_by_matching", match_keys) {
        let mut seen = BTreeSet::new();
        let (keys, counts) = (ran.download::<u32>("keys"), ran.download::<u32>("counts"));
        for (key, count) in keys.into_iter().zip(counts) {
            let wanted = few.iter().filter(|value| **value == key).count();
            assert_eq!(count as usize, wanted, "{ran}: key {key}");
            assert!(wanted == 0 || seen.insert(key), "{ran}: key {key} has two slots");
        }
        assert_eq!(seen, few.iter().copied().collect(), "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_histograms_are_reported() {
    let kernels = Kernels::of(&HISTOGRAM);
    let input = skewed_bytes(2000, 6);
    for entry in ["histogram_without_barrier", "histogram_without_atomics"] {
        kernels.broken(entry, |call| count_bytes(call, &input));
    }
}
