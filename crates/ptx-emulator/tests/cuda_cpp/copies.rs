//! Asynchronous copies: `cp.async` and bulk copies, in pipelines of tiles.

use super::{Call, CudaFile, Kernels, Ran, whole_numbers};

static PIPELINE: CudaFile = CudaFile::new("pipeline", 80);
static BULK_COPY: CudaFile = CudaFile::new("bulk_copy", 90);

const TILE: usize = 128;

/// A kernel of `pipeline.cu` or `bulk_copy.cu` on `[2, tiles, TILE]`.
fn stream(call: Call, threads: u32, input: &[f32], out_elems: usize) -> Ran {
    // Some of the broken ones wait for ever.
    call.with(|launch| launch.budget(1 << 20))
        .shape(2, threads)
        .upload("input", input)
        .uninitialised("output", 4 * out_elems)
        .arg((input.len() / TILE / 2) as i32)
        .run()
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn pipeline() {
    let kernels = Kernels::of(&PIPELINE);
    for tiles in [1, 2, 7] {
        let input = whole_numbers(2 * tiles * TILE, 9);
        let wanted: Vec<f32> = input
            .chunks(tiles * TILE)
            .flat_map(|block| {
                (0..TILE).map(|t| block.chunks(TILE).map(|tile| tile[TILE - 1 - t]).sum())
            })
            .collect();
        for (entry, threads) in [("copy_pipeline", 32), ("produce_consume", 256)] {
            for ran in kernels.clean(entry, |call| stream(call, threads, &input, 2 * TILE)) {
                assert_eq!(ran.download::<f32>("output"), wanted, "{entry}, {tiles} tiles, {ran}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_pipelines_are_reported() {
    let kernels = Kernels::of(&PIPELINE);
    let input = whole_numbers(2 * 7 * TILE, 10);
    for (entry, threads) in [
        ("copy_waits_too_little", 32),
        ("copy_without_barrier", 32),
        ("produce_without_waiting", 256),
        ("consume_without_waiting", 256),
    ] {
        kernels.broken(entry, |call| stream(call, threads, &input, 2 * TILE));
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn bulk_copy() {
    let kernels = Kernels::of(&BULK_COPY);
    let input = whole_numbers(2 * 5 * TILE, 11);
    let wanted: Vec<f32> = input.iter().map(|x| 2.0 * x).collect();
    for ran in kernels.clean("bulk_copy", |call| stream(call, TILE as u32, &input, input.len())) {
        assert_eq!(ran.download::<f32>("output"), wanted, "{ran}");
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_bulk_copies_are_reported() {
    let kernels = Kernels::of(&BULK_COPY);
    let input = whole_numbers(2 * TILE, 12);
    for entry in ["bulk_without_wait", "bulk_expects_too_much"] {
        kernels.broken(entry, |call| stream(call, TILE as u32, &input, input.len()));
    }
}
