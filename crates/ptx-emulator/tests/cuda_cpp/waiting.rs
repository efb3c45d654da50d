//! Blocks that wait for each other: a cooperative grid, and clusters.

use super::{Call, CudaFile, Kernels, Ran, random, whole_numbers};
use ptx_emulator::{Check, Schedule};

static GRID_SYNC: CudaFile = CudaFile::new("grid_sync", 80);
static CLUSTER: CudaFile = CudaFile::new("cluster", 90);

const HEAT_STEPS: i32 = 5;

fn heat(call: Call, start: &[f32], cooperative: bool) -> Ran {
    call.shape(6, 64)
        .with(|launch| launch.cooperative(cooperative))
        .upload("even", start)
        .uninitialised("odd", 4 * start.len())
        .arg(start.len() as i32)
        .arg(HEAT_STEPS)
        .run()
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn grid_sync() {
    let kernels = Kernels::of(&GRID_SYNC);
    let start = whole_numbers(6 * 64 * 2 + 37, 7);
    // The product with 2 is exact, so a fused multiply-add rounds as two operations do.
    let mut wanted = start.clone();
    for _ in 0..HEAT_STEPS {
        let from = wanted.clone();
        for i in 1..from.len() - 1 {
            wanted[i] = 0.25 * (from[i - 1] + 2.0 * from[i] + from[i + 1]);
        }
    }
    for ran in kernels.clean("heat", |call| heat(call, &start, true)) {
        assert_eq!(ran.download::<f32>("odd"), wanted, "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn a_missing_grid_sync_is_reported() {
    let kernels = Kernels::of(&GRID_SYNC);
    let start = whole_numbers(6 * 64 * 2, 8);
    kernels.broken("heat_without_grid_sync", |call| heat(call, &start, true));
    // Cooperative groups traps where the launch was not cooperative.
    let ran = heat(kernels.call("heat", Schedule::InOrder), &start, false);
    assert!(ran.report.findings.iter().any(|finding| finding.check == Check::Trap));
}

fn exchange(call: Call, input: &[i32]) -> Ran {
    // The size of the cluster is in the PTX.
    call.shape((input.len() / 64) as u32, 64)
        .upload("input", input)
        .uninitialised("output", 4 * input.len())
        .run()
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn cluster() {
    let kernels = Kernels::of(&CLUSTER);
    let mut random = random(13);
    let input: Vec<i32> = (0..2 * 4 * 64).map(|_| random() as i32 >> 4).collect();
    let wanted: Vec<i32> = (0..input.len())
        .map(|i| {
            let first = i / 256 * 256 + i % 64;
            (0..4).map(|block| input[first + 64 * block]).sum()
        })
        .collect();
    for ran in kernels.clean("cluster_exchange", |call| exchange(call, &input)) {
        assert_eq!(ran.download::<i32>("output"), wanted, "{ran}");
    }

    let bins: Vec<u32> = (0..3000).map(|_| random() & random() & 0xff).collect();
    let mut counted = vec![0; 256];
    bins.iter().for_each(|bin| counted[*bin as usize] += 1);
    let count = |call: Call| {
        call.shape(4, 64)
            .with(|launch| launch.cluster([4, 1, 1]))
            .upload("input", &bins)
            .arg(bins.len() as u32)
            .uninitialised("counts", 4 * 256)
            .run()
    };
    for ran in kernels.clean("cluster_histogram", count) {
        assert_eq!(ran.download::<u32>("counts"), counted, "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn a_missing_cluster_sync_is_reported() {
    let kernels = Kernels::of(&CLUSTER);
    kernels.broken("cluster_without_sync", |call| exchange(call, &[1; 2 * 4 * 64]));
}
