//! Threads of one block or by themselves: tiles in shared memory, arrays in local memory,
//! assertions and traps.

use super::{Call, CudaFile, Kernels, Ran, random};
use ptx_emulator::Check;

pub(crate) static TRANSPOSE: CudaFile = CudaFile::new("transpose", 80);
static LOCAL_ARRAY: CudaFile = CudaFile::new("local_array", 80);
static ASSERTION: CudaFile = CudaFile::new("assertion", 80);

const ROWS: usize = 70;
const COLUMNS: usize = 45;

/// One of the transposes.
pub(crate) fn transpose_with(call: Call, input: &[f32], rows: usize, columns: usize) -> Ran {
    let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
    call.with(|launch| launch.grid(grid).block([32, 8, 1]))
        .upload("input", input)
        .uninitialised("output", 4 * rows * columns)
        .arg(rows as i32)
        .arg(columns as i32)
        .run()
}

/// A ragged matrix.
#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn transpose() {
    let kernels = Kernels::of(&TRANSPOSE);
    let input: Vec<f32> = (0..ROWS * COLUMNS).map(|i| i as f32).collect();
    let wanted: Vec<f32> = (0..COLUMNS)
        .flat_map(|column| (0..ROWS).map(move |row| (row * COLUMNS + column) as f32))
        .collect();
    for entry in ["transpose", "transpose_without_padding"] {
        for ran in kernels.clean(entry, |call| transpose_with(call, &input, ROWS, COLUMNS)) {
            assert_eq!(ran.download::<f32>("output"), wanted, "{entry}, {ran}");
            let written = ran.memory.initialised_bytes(ran.buffer("output"));
            assert_eq!(written, 4 * ROWS * COLUMNS);
        }
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_transposes_are_reported() {
    let kernels = Kernels::of(&TRANSPOSE);
    let input = vec![1.0; ROWS * COLUMNS];
    let run = |call: Call| transpose_with(call, &input, ROWS, COLUMNS);
    kernels.broken("transpose_without_barrier", run);
    for ran in kernels.broken("transpose_without_bounds", run) {
        for buffer in ["input", "output"] {
            assert!(
                ran.report.findings.iter().any(|finding| finding.check == Check::OutOfBounds
                    && finding.buffer.as_deref() == Some(buffer)),
                "nothing out of bounds in {buffer}: {ran}"
            );
        }
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn local_array() {
    let kernels = Kernels::of(&LOCAL_ARRAY);
    let mut random = random(14);
    for elems in [16, 11, 1] {
        const ROWS: usize = 100;
        let input: Vec<i32> = (0..ROWS * elems).map(|_| random() as i32 % 50).collect();
        let mut wanted = input.clone();
        wanted.chunks_mut(elems).for_each(<[i32]>::sort_unstable);
        let sort = |call: Call| {
            call.shape(2, 64)
                .upload("input", &input)
                .uninitialised("output", 4 * input.len())
                .arg(ROWS as i32)
                .arg(elems as i32)
                .run()
        };
        for ran in kernels.clean("sort_rows", sort) {
            assert_eq!(ran.download::<i32>("output"), wanted, "{elems}, {ran}");
        }
    }
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn broken_local_arrays_are_reported() {
    let kernels = Kernels::of(&LOCAL_ARRAY);
    let input: Vec<i32> = (0..20).rev().map(|i| i * 3 + 1).collect();
    kernels.broken("sort_past_the_end", |call| {
        let call = call.upload("input", &input).uninitialised("output", 4 * 16);
        call.arg(input.len() as i32).run()
    });

    // Elements 3 and 9 are written; 3, then 4 is read.
    let read =
        |call: Call, at: i32| call.upload("indices", &[3, 9, at]).uninitialised("output", 4).run();
    for ran in kernels.clean("read_before_write", |call| read(call, 3)) {
        assert_eq!(ran.download::<i32>("output"), [1]);
    }
    kernels.broken("read_before_write", |call| read(call, 4));
}

#[test]
#[cfg_attr(not(nvcc), ignore = "needs nvcc: run `make cuda`, or set EFFNET_NVCC")]
fn assertions_and_traps_report_where() {
    let kernels = Kernels::of(&ASSERTION);
    let mut input: Vec<f32> = (0..64).map(|i| (i * i) as f32).collect();
    let wanted: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let roots = |call: Call, input: &[f32]| {
        call.shape(1, 64).upload("input", input).uninitialised("output", 4 * 64).run()
    };
    for ran in kernels.clean("square_roots", |call| roots(call, &input)) {
        assert_eq!(ran.download::<f32>("output"), wanted);
    }
    input[37] = -1.0;
    for ran in kernels.broken("square_roots", |call| roots(call, &input)) {
        let finding = &ran.report.findings[0];
        assert_eq!(finding.thread, [37, 0, 0]);
        // What was asserted is in the PTX, and is worth showing.
        assert!(finding.message.contains("value >= 0.0f"), "{finding}");
    }
    for ran in kernels.broken("traps", |call| call.shape(1, 4).upload("input", &[0, 0, 1, 0]).run())
    {
        assert_eq!(ran.report.findings[0].thread, [2, 0, 0]);
    }
}
