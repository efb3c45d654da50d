//! Whole networks through the kernels, on the emulator with all its checks, against the CPU executor.
//!
//! # The bounds
//!
//! FP32: the largest difference of a logit is at most 1e-4 of the largest logit, as for the CPU executor itself.
//!
//! FP16: weights are the same f16 values in both, so that only activations round: once per stored map, by at most 2^-11
//! of the value, independently of each other. A network of L stored maps whose activations stay of order one adds up
//! sqrt(L) of them, on the average; with L up to 200 (B7) that is 14 * 2^-11, 0.7 % of a typical logit. The largest of a
//! thousand differences lies some four deviations out. 2^-5, 3 %, of the largest logit holds that, and is far from what
//! any wrong padding, scale or layer makes of it.
//!
//! TF32: as FP16, with factors of 2^-11 in the pointwise convolutions.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::device::EmulatedDevice;
use effnet::emulator::Schedule;
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, Path, Placement};
use effnet::plan::{Plan, PlanOptions};
use effnet::session::{Device, Session, SessionOptions};
use effnet::weights::{Precision, Weights};
use std::sync::Arc;
use support::emulated::images_or_skip;
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
    let Some(_) = images_or_skip() else { return };
    let weights = weights(variant, padding, compute);
    let cpu = SessionOptions { size: Some(size), ..SessionOptions::default() };
    let mut session = Session::new(weights.clone(), cpu).unwrap();
    let image = Random::new(2).vector(session.input_elems());
    let expected = session.run(&image).unwrap();
    for &path in paths {
        let what = format!("{variant}, {padding}, {size}, {compute}, {path}");
        let options =
            SessionOptions { device: Device::Emulator, path, compute: Some(compute), ..cpu };
        let start = std::time::Instant::now();
        let mut session = Session::new(weights.clone(), options).unwrap();
        let found = session.run(&image).unwrap_or_else(|e| panic!("{what}: {e}"));
        let logits = difference(found.logits(0), expected.logits(0));
        let features = difference(found.features(0), expected.features(0));
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{what}: {logits:.2e} of the largest logit, {features:.2e} of the largest feature; {seconds:.1} s"
        );
        assert!(logits <= bound(compute) && features <= bound(compute), "{what}: {logits:.2e}");
        on_a_gpu(&what, &weights, options, &image, expected.logits(0));
    }
}

/// Where `EFFNET_TEST_DEVICE` is `cuda`, the same on a GPU: within the same bound of the CPU, and twice the same bytes.
/// Not the emulator's bytes: tensor cores and approximate functions round in their own way.
fn on_a_gpu(
    what: &str,
    weights: &Arc<Weights>,
    options: SessionOptions,
    image: &[f32],
    expected: &[f32],
) {
    match std::env::var("EFFNET_TEST_DEVICE") {
        Ok(device) if device == "cuda" => {}
        Ok(device) => panic!("EFFNET_TEST_DEVICE is {device}, expected cuda"),
        Err(_) => return,
    }
    let options = SessionOptions { device: Device::Cuda(0), ..options };
    let mut session =
        Session::new(weights.clone(), options).unwrap_or_else(|e| panic!("{what}: {e}"));
    let name = session.device_name();
    let first = session.run(image).unwrap_or_else(|e| panic!("{what}: {e}")).logits(0).to_vec();
    let again = session.run(image).unwrap_or_else(|e| panic!("{what}: {e}"));
    let logits = difference(again.logits(0), expected);
    println!("{what}, on {name}: {logits:.2e} of the largest logit");
    assert_eq!(bits(&first), bits(again.logits(0)), "{what}: not the same bytes twice");
    assert!(logits <= bound(options.compute.unwrap()), "{what}, on {name}: {logits:.2e}");
}

/// At the native size, batch 1.
fn native(variant: Variant, compute: Compute) {
    agrees(variant, Padding::SameDynamic, variant.native(), compute, &PATHS);
}

#[test]
fn b0_f16_at_native_size() {
    native(Variant::B0, Compute::Fp16);
}

#[test]
fn b0_f32_at_native_size() {
    native(Variant::B0, Compute::Fp32);
}

#[test]
fn b0_small_f16_at_native_size() {
    native(Variant::B0Small, Compute::Fp16);
}

#[test]
fn b0_small_f32_at_native_size() {
    native(Variant::B0Small, Compute::Fp32);
}

#[test]
fn lite0_f16_at_native_size() {
    native(Variant::Lite0, Compute::Fp16);
}

#[test]
fn lite0_f32_at_native_size() {
    native(Variant::Lite0, Compute::Fp32);
}

#[test]
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
fn b1_to_b3_f16_at_a_small_size() {
    small(&[Variant::B1, Variant::B2, Variant::B3], Compute::Fp16);
}

#[test]
fn b1_to_b3_f32_at_a_small_size() {
    small(&[Variant::B1, Variant::B2, Variant::B3], Compute::Fp32);
}

#[test]
fn b4_and_b5_f16_at_a_small_size() {
    small(&[Variant::B4, Variant::B5], Compute::Fp16);
}

#[test]
fn b4_and_b5_f32_at_a_small_size() {
    small(&[Variant::B4, Variant::B5], Compute::Fp32);
}

#[test]
fn b6_and_b7_f16_at_a_small_size() {
    small(&[Variant::B6, Variant::B7], Compute::Fp16);
}

#[test]
fn b6_and_b7_f32_at_a_small_size() {
    small(&[Variant::B6, Variant::B7], Compute::Fp32);
}

const LITES: [Variant; 4] = [Variant::Lite1, Variant::Lite2, Variant::Lite3, Variant::Lite4];

#[test]
fn lite1_to_lite4_f16_at_a_small_size() {
    small(&LITES, Compute::Fp16);
}

#[test]
fn lite1_to_lite4_f32_at_a_small_size() {
    small(&LITES, Compute::Fp32);
}

fn device(weights: &Weights, batch: usize, size: Size, options: LaunchOptions) -> EmulatedDevice {
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
    EmulatedDevice::new(LaunchPlan::new(&plan, options).unwrap(), weights).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The same image alone, at each place of a batch of 4, twice, and under adversarial schedules: the same bytes.
fn results_depend_on_nothing_else(compute: Compute, path: Path) {
    let Some(_) = images_or_skip() else { return };
    let size = Size { h: 64, w: 48 };
    for variant in [Variant::B0, Variant::Lite0] {
        let what = format!("{variant}, {compute}, {path}");
        let weights = weights(variant, Padding::SameDynamic, compute);
        let mut device = device(&weights, 4, size, LaunchOptions::new(path, compute));
        let images = Random::new(3).vector(4 * device.plan().input_elems);
        let elems = device.plan().input_elems;
        let run = |device: &mut EmulatedDevice, images: &[f32]| -> [Vec<u32>; 2] {
            device.run(images, images.len() / elems).unwrap_or_else(|e| panic!("{what}: {e}"));
            [bits(device.logits()), bits(device.features())]
        };
        let whole = run(&mut device, &images);
        assert!(whole == run(&mut device, &images), "{what}: not the same bytes twice");
        for i in 0..4 {
            let alone = run(&mut device, &images[i * elems..(i + 1) * elems]);
            for (whole, alone) in whole.iter().zip(&alone) {
                let part = &whole[i * alone.len()..][..alone.len()];
                assert!(part == alone, "{what}: image {i} depends on its batch");
            }
        }
        let mut turned = images[elems..].to_vec();
        turned.extend_from_slice(&images[..elems]);
        device.set_schedule(Schedule::Adversarial(7));
        let turned = run(&mut device, &turned);
        for (whole, turned) in whole.iter().zip(&turned) {
            let image = whole.len() / 4;
            assert!(whole[image..] == turned[..3 * image], "{what}: places in the batch matter");
            assert!(whole[..image] == turned[3 * image..], "{what}: places in the batch matter");
        }
    }
}

#[test]
fn f16_layerwise_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp16, Path::Layerwise);
}

#[test]
fn f16_fused_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp16, Path::Fused);
}

#[test]
fn f32_layerwise_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp32, Path::Layerwise);
}

#[test]
fn f32_fused_depends_on_neither_run_nor_batch_nor_schedule() {
    results_depend_on_nothing_else(Compute::Fp32, Path::Fused);
}

/// Buffers that share bytes give what buffers by themselves give; every buffer is filled, and nothing between them is
/// touched; the counters are left as they were.
#[test]
fn the_arena_is_shared_without_harm() {
    let Some(_) = images_or_skip() else { return };
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
        let images = Random::new(5).vector(2 * shared.plan().input_elems);
        for device in [&mut shared, &mut apart] {
            device.run(&images, 2).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        assert_eq!(bits(shared.logits()), bits(apart.logits()), "{what}");
        let mut end = 0;
        for buffer in &apart.plan().buffers {
            let start = buffer.offset_bytes as usize;
            assert_eq!(apart.written_bytes(end..start), 0, "{what}: before {}", buffer.name);
            end = start + buffer.bytes();
            let written = apart.written_bytes(start..end);
            let scratch = buffer.image_elems == 0;
            assert!(written == buffer.bytes() || scratch, "{what}: {written} of {}", buffer.name);
        }
        let counters: Vec<u32> = shared.counters();
        assert!(counters.iter().all(|&count| count == 0), "{what}: counters {counters:?}");
    }
}

/// The device's best classes are those of the host.
#[test]
fn top_k_on_the_device_is_top_k_on_the_host() {
    let Some(_) = images_or_skip() else { return };
    let size = Size::square(32);
    let weights = weights(Variant::B0, Padding::SameDynamic, Compute::Fp16);
    let options = LaunchOptions { top_k: 5, ..LaunchOptions::new(Path::Fused, Compute::Fp16) };
    let mut device = device(&weights, 3, size, options);
    let images = Random::new(8).vector(3 * device.plan().input_elems);
    device.run(&images, 3).unwrap();
    let top = device.plan().top_k.unwrap();
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
        for (rank, expected) in outputs.top_k(image, 5).into_iter().enumerate() {
            let i = image * 5 + rank;
            assert_eq!(classes[i] as usize, expected.class);
            assert_eq!(logits[i], expected.logit);
            // exp, a sum of a thousand terms and a division in f32.
            let off = (probabilities[i] - expected.probability).abs();
            assert!(off <= 1e-5 * expected.probability, "{} {off}", expected.probability);
        }
    }
}

#[test]
fn precisions_of_weights_are_converted() {
    let Some(_) = images_or_skip() else { return };
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
