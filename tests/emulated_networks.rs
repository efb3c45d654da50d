//! Whole networks through the kernels, on the emulator with all its checks, against the CPU
//! executor.
//!
//! The networks that are compared with it run on a GPU too, or only there, where
//! `EFFNET_TEST_DEVICE` says so: see `tests/support/emulated/machine.rs`.
//!
//! # The bounds
//!
//! FP32: the largest difference of a logit is at most 1e-4 of the largest logit, as for the CPU
//! executor itself.
//!
//! FP16: weights are the same f16 values in both, so that only activations round: once per stored
//! map, by at most 2^-11 of the value, independently of each other. A network of L stored maps
//! whose activations stay of order one adds up sqrt(L) of them, on the average; with L up to 200
//! (B7) that is 14 * 2^-11, 0.7 % of a typical logit. The largest of a thousand differences lies
//! some four deviations out. 2^-5, 3 %, of the largest logit holds that, and is far below the
//! difference that any wrong padding, scale or layer makes.
//!
//! TF32: as FP16, with factors of 2^-11 in the pointwise convolutions: kernels round them to
//! nearest, whoever multiplies.
//!
//! A GPU's tensor cores cut off where the emulator rounds to nearest
//! (`tests/support/emulated/mod.rs`): a sum in chunks of at most 256 products is off by less than
//! 3 * 256 * 2^-24 of `sum |x * w|` at the worst. That is 0.8 * sqrt(256) times a typical sum, so
//! the worst is 6e-4 of it, about the 2^-11 that is counted above. The expected error is far
//! smaller: cuts towards zero of addends of either sign make up for each other, and only the
//! accumulator's, once in 4 products or more, go one way: at most 64 cuts of on average 2^-24, 4e-6
//! of the sum. The bounds stay. FP32 has no tensor cores: its fma are the emulator's, and `exp`
//! differs by the 2^-22 that the PTX ISA allows it.
//!
//! GPU and emulator agree but for such differences. These move a stored f16 to its neighbour where
//! it lies within them of the middle of two: of 2^-11 to either side, 4e-6 reaches one in a
//! hundred. So they are closer to each other than to the CPU, whose every stored value is another;
//! the bound between them is the same one.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::device::{CudaDevice, EmulatedDevice};
use effnet::emulator::Schedule;
use effnet::image::normalise_pixels;
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, Path, Placement, Region};
use effnet::plan::{Plan, PlanOptions};
use effnet::session::{Device, InputType, Session, SessionOptions};
use effnet::verify::bounds::U;
use effnet::verify::reference;
use effnet::weights::{Precision, Weights, packed_tensors, write_packed};
use std::sync::Arc;
use support::emulated::TestDevice;
use support::{Random, metadata, random_weights};

const PATHS: [Path; 2] = [Path::Layerwise, Path::Fused];

fn weights(variant: Variant, padding: Padding, compute: Compute) -> Arc<Weights> {
    Arc::new(random_weights(&metadata(variant, padding, compute.storage()), 1))
}

fn bound(compute: Compute) -> f64 {
    match compute {
        Compute::Fp32 => 1e-4,
        Compute::Fp16 | Compute::Tf32 => 1.0 / 32.0,
    }
}

/// Largest difference, as a part of the largest magnitude.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|x| x.is_finite()));
    let largest = expected.iter().fold(0.0f64, |m, &x| m.max(f64::from(x).abs()));
    let differences =
        found.iter().zip(expected).map(|(&x, &y)| (f64::from(x) - f64::from(y)).abs());
    differences.fold(0.0, f64::max) / largest
}

/// Every path in a precision against the CPU.
fn agrees(variant: Variant, padding: Padding, size: Size, compute: Compute, paths: &[Path]) {
    let weights = weights(variant, padding, compute);
    let cpu = SessionOptions { size: Some(size), ..SessionOptions::default() };
    let mut session = Session::new(weights.clone(), cpu).unwrap();
    let image = Random::new(2).vector(session.input_elems());
    let expected = session.run(&image).unwrap();
    let test_device = TestDevice::chosen();
    for &path in paths {
        let run = |device| {
            let what = format!("{variant}, {padding}, {size}, {compute}, {path}, {device:?}");
            let options = SessionOptions { device, path, compute: Some(compute), ..cpu };
            let start = std::time::Instant::now();
            let session = Session::new(weights.clone(), options);
            let mut session = session.unwrap_or_else(|e| panic!("{what}: {e}"));
            let mut run = || {
                let found = session.run(&image).unwrap_or_else(|e| panic!("{what}: {e}"));
                [found.logits(0).to_vec(), found.features(0).to_vec()]
            };
            let found = run();
            if device != Device::Emulator {
                assert_eq!(found.each_ref().map(|x| bits(x)), run().map(|x| bits(&x)), "{what}");
            }
            let logits = difference(&found[0], expected.logits(0));
            let features = difference(&found[1], expected.features(0));
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "{what}: {logits:.2e} of the largest logit, {features:.2e} of the largest feature; {seconds:.1} s"
            );
            assert!(logits <= bound(compute) && features <= bound(compute), "{what}: {logits:.2e}");
            found
        };
        let emulated = test_device.has_emulator().then(|| run(Device::Emulator));
        let on_gpu = test_device.has_gpu().then(|| run(Device::Cuda(0)));
        if let (Some(emulated), Some(on_gpu)) = (emulated, on_gpu) {
            let [logits, features] = [0, 1].map(|i| difference(&on_gpu[i], &emulated[i]));
            let what = format!("{variant}, {compute}, {path}, GPU against emulator");
            println!("{what}: {logits:.2e} of the largest logit");
            assert!(logits <= bound(compute) && features <= bound(compute), "{what}: {logits:.2e}");
        }
    }
}

/// At the native size, batch 1.
fn native(variant: Variant, compute: Compute) {
    agrees(variant, Padding::SameDynamic, variant.native(), compute, &PATHS);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_f16_at_native_size() {
    native(Variant::B0, Compute::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_f32_at_native_size() {
    native(Variant::B0, Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_small_f16_at_native_size() {
    native(Variant::B0Small, Compute::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_small_f32_at_native_size() {
    native(Variant::B0Small, Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn lite0_f16_at_native_size() {
    native(Variant::Lite0, Compute::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn lite0_f32_at_native_size() {
    native(Variant::Lite0, Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_tf32_at_a_small_size() {
    let size = Size { h: 64, w: 48 };
    agrees(Variant::B0, Padding::Symmetric, size, Compute::Tf32, &PATHS);
}

/// Every other variant at a small size, so that each block's launch runs.
fn small(variants: &[Variant], compute: Compute) {
    for &variant in variants {
        agrees(variant, Padding::Symmetric, Size::square(64), compute, &PATHS);
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b1_to_b3_f16_at_a_small_size() {
    small(&[Variant::B1, Variant::B2, Variant::B3], Compute::Fp16);
}

#[test]
#[ignore = "takes long: make test-all runs it"]
fn b1_to_b3_f32_at_a_small_size() {
    small(&[Variant::B1, Variant::B2, Variant::B3], Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b4_and_b5_f16_at_a_small_size() {
    small(&[Variant::B4, Variant::B5], Compute::Fp16);
}

#[test]
#[ignore = "takes long: make test-all runs it"]
fn b4_and_b5_f32_at_a_small_size() {
    small(&[Variant::B4, Variant::B5], Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b6_and_b7_f16_at_a_small_size() {
    small(&[Variant::B6, Variant::B7], Compute::Fp16);
}

#[test]
#[ignore = "takes long: make test-all runs it"]
fn b6_and_b7_f32_at_a_small_size() {
    small(&[Variant::B6, Variant::B7], Compute::Fp32);
}

const LITES: [Variant; 4] = [Variant::Lite1, Variant::Lite2, Variant::Lite3, Variant::Lite4];

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn lite1_to_lite4_f16_at_a_small_size() {
    small(&LITES, Compute::Fp16);
}

#[test]
#[ignore = "takes long: make test-all runs it"]
fn lite1_to_lite4_f32_at_a_small_size() {
    small(&LITES, Compute::Fp32);
}

fn launch_plan(weights: &Weights, batch: usize, size: Size, options: LaunchOptions) -> LaunchPlan {
    let plan = Plan::new(
        weights.network(),
        PlanOptions {
            batch,
            size,
            padding: weights.metadata().padding,
            precision: options.compute.storage(),
        },
    )
    .unwrap();
    LaunchPlan::new(&plan, options).unwrap()
}

fn device(weights: &Weights, batch: usize, size: Size, options: LaunchOptions) -> EmulatedDevice {
    EmulatedDevice::new(launch_plan(weights, batch, size, options), weights).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The same image alone, at each place of a batch of 4, twice, and under adversarial schedules,
/// gives the same bytes.
fn results_depend_on_nothing_else(compute: Compute, path: Path) {
    let size = Size { h: 64, w: 48 };
    for variant in [Variant::B0, Variant::Lite0] {
        let weights = weights(variant, Padding::SameDynamic, compute);
        let options = LaunchOptions::new(path, compute);
        if TestDevice::chosen().has_emulator() {
            let what = format!("{variant}, {compute}, {path}");
            let mut device = device(&weights, 4, size, options);
            let elems = device.plan().input_elems();
            depends_on_nothing_else(&what, elems, |images, schedule| {
                device.set_schedule(schedule);
                device.run(images, images.len() / elems).unwrap_or_else(|e| panic!("{what}: {e}"));
                [bits(device.logits()), bits(device.features())]
            });
        }
        if TestDevice::chosen().has_gpu() {
            let what = format!("{variant}, {compute}, {path}, on the GPU");
            let plan = launch_plan(&weights, 4, size, options);
            let elems = plan.input_elems();
            let device = CudaDevice::new(0, plan, &weights);
            let mut device = device.unwrap_or_else(|e| panic!("{what}: {e}"));
            // A GPU has its own schedule.
            depends_on_nothing_else(&what, elems, |images, _| {
                device.run(images, images.len() / elems).unwrap_or_else(|e| panic!("{what}: {e}"));
                [bits(device.logits()), bits(device.features())]
            });
        }
    }
}

/// Runs images of `elems` values alone, in a batch, again and under each schedule, and compares the
/// bytes.
fn depends_on_nothing_else(
    what: &str,
    elems: usize,
    mut run: impl FnMut(&[f32], Schedule) -> [Vec<u32>; 2],
) {
    let images = Random::new(3).vector(4 * elems);
    let whole = run(&images, Schedule::InOrder);
    assert!(whole == run(&images, Schedule::InOrder), "{what}: not the same bytes twice");
    for i in 0..4 {
        let alone = run(&images[i * elems..(i + 1) * elems], Schedule::InOrder);
        for (whole, alone) in whole.iter().zip(&alone) {
            let part = &whole[i * alone.len()..][..alone.len()];
            assert!(part == alone, "{what}: image {i} depends on its batch");
        }
    }
    let mut turned = images[elems..].to_vec();
    turned.extend_from_slice(&images[..elems]);
    let turned = run(&turned, Schedule::Adversarial(7));
    for (whole, turned) in whole.iter().zip(&turned) {
        let image = whole.len() / 4;
        assert!(whole[image..] == turned[..3 * image], "{what}: places in the batch matter");
        assert!(whole[..image] == turned[3 * image..], "{what}: places in the batch matter");
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn f16_layerwise_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp16, Path::Layerwise);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn f16_fused_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp16, Path::Fused);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn f32_layerwise_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp32, Path::Layerwise);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn f32_fused_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp32, Path::Fused);
}

/// Buffers that share bytes give the outputs that buffers by themselves give; every buffer is
/// filled, and nothing between them is touched; the counters are left as they were.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_arena_is_shared_without_harm() {
    let size = Size { h: 48, w: 64 };
    for (path, compute) in [
        (Path::Layerwise, Compute::Fp16),
        (Path::Fused, Compute::Fp16),
        (Path::Layerwise, Compute::Fp32),
        (Path::Fused, Compute::Fp32),
    ] {
        let what = format!("{path}, {compute}");
        let weights = weights(Variant::B1, Padding::SameDynamic, compute);
        let options = LaunchOptions::new(path, compute);
        let mut shared = device(&weights, 2, size, options);
        let apart = LaunchOptions { placement: Placement::Apart, ..options };
        let mut apart = device(&weights, 2, size, apart);
        let images = Random::new(5).vector(2 * shared.plan().input_elems());
        for device in [&mut shared, &mut apart] {
            device.run(&images, 2).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        assert_eq!(bits(shared.logits()), bits(apart.logits()), "{what}");
        let mut end = 0;
        for buffer in apart.plan().buffers() {
            let start = buffer.offset_bytes as usize;
            let part = start..start + buffer.bytes();
            if buffer.region == Region::Arena {
                let gap = apart.written_bytes(Region::Arena, end..start);
                assert_eq!(gap, 0, "{what}: before {}", buffer.name);
                end = part.end;
            }
            let written = apart.written_bytes(buffer.region, part);
            let scratch = buffer.image_elems == 0;
            assert!(written == buffer.bytes() || scratch, "{what}: {written} of {}", buffer.name);
        }
        let counters: Vec<u32> = shared.counters();
        assert!(counters.iter().all(|&count| count == 0), "{what}: counters {counters:?}");
    }
}

/// The device's best classes are those of the host.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn top_k_on_the_device_is_top_k_on_the_host() {
    let size = Size::square(32);
    let weights = weights(Variant::B0, Padding::SameDynamic, Compute::Fp16);
    let options = LaunchOptions { top_k: 5, ..LaunchOptions::new(Path::Fused, Compute::Fp16) };
    let mut device = device(&weights, 3, size, options);
    let images = Random::new(8).vector(3 * device.plan().input_elems());
    device.run(&images, 3).unwrap();
    let top = device.plan().top_k().unwrap();
    let classes: Vec<i32> = device.read(top.classes, 15);
    let logits: Vec<f32> = device.read(top.logits, 15);
    let probabilities: Vec<f32> = device.read(top.probabilities, 15);

    let host = SessionOptions {
        device: Device::Emulator,
        batch: 3,
        size: Some(size),
        compute: Some(Compute::Fp16),
        ..SessionOptions::default()
    };
    let mut session = Session::new(weights, host).unwrap();
    let outputs = session.run(&images).unwrap();
    for image in 0..3 {
        for (rank, expected) in outputs.top_k(image, 5).unwrap().into_iter().enumerate() {
            let i = image * 5 + rank;
            assert_eq!(classes[i] as usize, expected.class);
            assert_eq!(logits[i], expected.logit);
            // exp, a sum of a thousand terms and a division in f32.
            let probability = expected.probability.unwrap();
            let off = (probabilities[i] - probability).abs();
            assert!(off <= 1e-5 * probability, "{probability} {off}");
        }
    }
}

/// The stem rounds a level's value as the host does, and then computes as with that value: the same
/// bytes follow. The best classes alone are those of all logits, and their probabilities lie within
/// the bound of the kernel's softmax, and half a unit in the last place of the host's.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn levels_give_the_bytes_of_values_and_their_best_classes() {
    let mut metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    metadata.recipe.mean = [0.485, 0.456, 0.406];
    metadata.recipe.std = [0.229, 0.224, 0.225];
    let weights = Arc::new(random_weights(&metadata, 1));
    for (compute, path) in [
        (Compute::Fp16, Path::Fused),
        (Compute::Fp16, Path::Layerwise),
        (Compute::Fp32, Path::Fused),
    ] {
        let what = format!("{compute}, {path}");
        let options = SessionOptions {
            device: Device::Emulator,
            batch: 2,
            size: Some(Size::square(32)),
            compute: Some(compute),
            path,
            ..SessionOptions::default()
        };
        let new = |input, top_k| {
            let options = SessionOptions { input, top_k, ..options };
            Session::new(weights.clone(), options).unwrap()
        };
        let mut by_values = new(InputType::F32, None);
        let mut random = Random::new(4);
        let elems = 2 * by_values.input_elems();
        let levels: Vec<u8> = (0..elems).map(|_| random.bits() as u8).collect();
        let values = normalise_pixels(&levels, &by_values.recipe()).unwrap();
        let expected = by_values.run(&values).unwrap();

        let mut by_levels = new(InputType::U8, None);
        assert_eq!(by_levels.launches().unwrap().input_bytes(), elems as u64);
        by_levels.input_mut(2).unwrap().u8().unwrap().copy_from_slice(&levels);
        let found = by_levels.run_staged(2).unwrap();
        let mut best = new(InputType::U8, Some(5));
        best.input_mut(2).unwrap().u8().unwrap().copy_from_slice(&levels);
        let best = best.run_staged(2).unwrap();
        for image in 0..2 {
            let logits = expected.logits(image);
            assert_eq!(bits(found.logits(image)), bits(logits), "{what}");
            assert_eq!(bits(found.features(image)), bits(expected.features(image)), "{what}");
            let [_, _, bounds] = reference::top_k(logits, logits.len(), 5);
            let (best, all) = (best.top_k(image, 5).unwrap(), expected.top_k(image, 5).unwrap());
            assert_eq!((best.len(), all.len()), (5, 5));
            for ((best, all), bound) in best.iter().zip(&all).zip(bounds) {
                assert_eq!((best.class, best.logit.to_bits()), (all.class, all.logit.to_bits()));
                let [a, b] = [best, all].map(|p| f64::from(p.probability.unwrap()));
                assert!((a - b).abs() <= bound.error + U * bound.value, "{what}: {a} {b}");
            }
        }
    }
}

/// A logit that is no finite number is told as it is from all logits, though the best classes alone
/// came: from one of them, and from a class that is never among them.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn best_classes_of_logits_that_are_not_finite_are_refused_alike() {
    let metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp32);
    let tensors = packed_tensors(&metadata.network());
    let zeros: Vec<Vec<f32>> = tensors.iter().map(|tensor| vec![0.0; tensor.elems()]).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut data = zeros.clone();
        data.last_mut().unwrap()[7] = odd;
        write_packed(&path, &metadata, &data).unwrap();
        let weights = Arc::new(Weights::open(&path).unwrap());
        let size = Some(Size::square(32));
        let faults = [None, Some(2)].map(|top_k| {
            let device = Device::Emulator;
            let options = SessionOptions { device, size, top_k, ..SessionOptions::default() };
            let mut session = Session::new(weights.clone(), options).unwrap();
            let image = vec![0.0; session.input_elems()];
            session.run(&image).unwrap().top_k(0, 2).unwrap_err()
        });
        for fault in &faults {
            assert_eq!((fault.count, fault.classes, fault.class), (1, 1000, 7));
            assert!(fault.value == odd || (fault.value.is_nan() && odd.is_nan()), "{fault}");
        }
        assert_eq!(faults[0].value.to_bits(), faults[1].value.to_bits());
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn precisions_of_weights_are_converted() {
    let size = Size::square(32);
    let packed = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    let weights = Arc::new(random_weights(&packed, 1));
    let options = SessionOptions { size: Some(size), ..SessionOptions::default() };
    let mut cpu = Session::new(weights.clone(), options).unwrap();
    let image = Random::new(2).vector(cpu.input_elems());
    let expected = cpu.run(&image).unwrap();
    // f16 weights widen to f32 without loss.
    let options =
        SessionOptions { device: Device::Emulator, compute: Some(Compute::Fp32), ..options };
    let mut session = Session::new(weights, options).unwrap();
    let found = session.run(&image).unwrap();
    assert!(difference(found.logits(0), expected.logits(0)) <= 1e-4);
}
