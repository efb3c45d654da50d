//! The way to a GPU, without one: these tests again, in a process whose CUDA driver has the PTX
//! emulator as its GPU.

use crate::support::emulated_driver;
use effnet::device::cuda::{CudaError, KernelRunner, Repeats};
use effnet::kernels::params::BnSwishParams;
use effnet::kernels::{CATALOGUE, bn_swish};
use effnet::launches::KernelId;
use effnet::weights::Precision;
use std::process::{Command, Output};

/// Tests of this program whose names contain the first of `arguments`, on the device that the
/// environment variable names, with a driver that fails in a way, or does not.
fn on_the_driver(arguments: &[&str], device: &str, fail: &str) -> (Output, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    emulated_driver::link(folder.path());
    let log = folder.path().join("launches.log");
    let output = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(arguments)
        .arg("--nocapture")
        .env("LD_LIBRARY_PATH", folder.path())
        .env("EFFNET_TEST_DEVICE", device)
        .env("EFFNET_EMULATED_DRIVER_FAIL", fail)
        .env("EFFNET_EMULATED_DRIVER_LOG", &log)
        .output()
        .expect("the test program starts");
    (output, std::fs::read_to_string(log).unwrap_or_default())
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).join("\n")
}

/// Kernels of every file reach the driver, and their outputs pass as they do on the emulator.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn on_the_emulated_driver_the_short_list_passes() {
    let (output, log) = on_the_driver(&["::short_"], "cuda", "");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for (image, entries) in CATALOGUE {
        let launched = |entry: &&&str| log.lines().any(|line| line.starts_with(**entry));
        assert!(entries.iter().any(|entry| launched(&entry)), "{image}: no launch of {entries:?}");
        // Crops have no bound: they are the CPU's.
        let reported = said.lines().any(|line| {
            let line = line.rsplit_once(&format!("{image}: ")).map_or("", |(_, line)| line);
            line.contains(" cases, largest error ")
                && line.contains("largest difference from the emulator 0.000 of it (")
                && line.contains("::short_")
        });
        assert!(image == "preprocess" || reported, "{image}: {said}");
    }
}

/// A missing feature of a GPU is a failure, not a reason to pass.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn on_the_emulated_driver_a_gpu_that_is_asked_for_has_to_be_there() {
    for (device, fail, says) in [
        ("cuda", "no-device", "sees no GPU"),
        ("cuda-only", "no-device", "sees no GPU"),
        ("cuda", "load", "CUDA_ERROR_NO_BINARY_FOR_GPU"),
        ("cuda", "memory", "no memory for a kernel's buffer"),
        ("cpu", "", "expected cuda or cuda-only"),
    ] {
        let (output, log) = on_the_driver(&["short_stem"], device, fail);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(101), "{device}, {fail}: {said}");
        assert!(said.contains(says) && said.contains("0 passed; 1 failed"), "{said}");
        assert!(log.is_empty(), "{log}");
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn on_the_emulated_driver_a_runner_copies_launches_and_times() {
    let (output, log) = on_the_driver(&["runner_of_the_first_gpu", "--ignored"], "cuda", "");
    let said = said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    // One launch, then a warm-up of two and three samples of four.
    assert_eq!(log.lines().count(), 1 + 2 + 3 * 4, "{log}");
}

/// Runs for the test above, or on a GPU.
#[test]
#[ignore = "needs a GPU"]
fn runner_of_the_first_gpu() {
    let mut gpu = KernelRunner::new(0).unwrap();
    assert_eq!(gpu.info().ordinal, 0);
    assert!(matches!(KernelRunner::new(99), Err(CudaError::Ordinal { ordinal: 99, .. })));

    let values: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    let mut buffer = gpu.alloc(1000).unwrap();
    buffer.fill(7).unwrap();
    buffer.upload(10, &values[..100]).unwrap();
    let mut expected = vec![7; 1000];
    expected[10..110].copy_from_slice(&values[..100]);
    assert_eq!(buffer.download().unwrap(), expected);
    for (offset, bytes) in [(901, 100), (1001, 0), (usize::MAX, 2)] {
        let error = buffer.upload(offset, &values[..bytes]).unwrap_err();
        assert!(matches!(error, CudaError::Range { len_bytes: 1000, .. }), "{error}");
    }
    assert!(gpu.alloc(0).unwrap().download().unwrap().is_empty());

    // Nothing is applied: a copy.
    let elems = 64 * 8;
    let mut input = gpu.alloc(elems * 4).unwrap();
    let mut output = gpu.alloc(elems * 4).unwrap();
    let values: Vec<f32> = (0..elems).map(|i| i as f32).collect();
    input.upload(0, bytemuck::cast_slice(&values)).unwrap();
    output.fill(0xff).unwrap();
    let params = BnSwishParams {
        input: input.address(),
        output: output.address(),
        rows: 64,
        pixels: 64,
        c: 8,
        ..BnSwishParams::default()
    };
    let launch = bn_swish::launch(Precision::Fp32, params).unwrap();
    let kernel = KernelId::of(launch.image, launch.kernel).unwrap();
    let params = bytemuck::bytes_of(&launch.params);
    // SAFETY: the kernel takes these parameters; both buffers hold all rows.
    unsafe { gpu.launch(kernel, launch.geometry, params).unwrap() };
    gpu.synchronize().unwrap();
    assert_eq!(output.download().unwrap(), input.download().unwrap());

    let repeats = Repeats { warm_up: 2, samples: 3, launches: 4 };
    // SAFETY: as above, and a copy may be made again.
    let times = unsafe { gpu.time(kernel, launch.geometry, params, repeats).unwrap() };
    assert!(times.len() == 3 && times.iter().all(|time| *time > 0.0), "{times:?}");

    let unknown = KernelId { image: 0, entry: 99 };
    // SAFETY: there is no such kernel, so that nothing is launched.
    let error = unsafe { gpu.launch(unknown, launch.geometry, params) }.unwrap_err();
    assert!(matches!(error, CudaError::Kernel { .. }), "{error}");
}
