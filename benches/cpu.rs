//! The CPU executor: opening weights, preparing, whole networks, and the costliest steps.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effnet::arch::{Network, Padding, Variant};
use effnet::cpu::CpuExecutor;
use effnet::plan::{Plan, PlanOptions};
use effnet::weights::{Precision, Weights, packed_tensors, write_packed};
use std::sync::Arc;
use std::time::Duration;
use support::{Random, metadata, random_weights};

/// Opening the largest common file: mapped and validated, nothing copied.
fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for precision in [Precision::Fp16, Precision::Fp32] {
        let metadata = metadata(Variant::B7, Padding::Symmetric, precision);
        let network = Network::new(metadata.variant, metadata.classes);
        let data: Vec<Vec<f32>> =
            packed_tensors(&network).iter().map(|tensor| vec![0.0; tensor.elems()]).collect();
        let path = folder.path().join(format!("b7-{precision}.safetensors"));
        write_packed(&path, &metadata, &data).expect("a temporary file can be written");
        drop(data);
        group.bench_function(format!("b7-{precision}"), |b| {
            b.iter(|| Weights::open(&path).expect("a packed file"));
        });
    }
}

fn executor(variant: Variant, batch: usize) -> (CpuExecutor, Vec<f32>) {
    let metadata = metadata(variant, Padding::Symmetric, Precision::Fp32);
    let weights = Arc::new(random_weights(&metadata, 1));
    let size = variant.native();
    let options =
        PlanOptions { batch, size, padding: Padding::Symmetric, precision: Precision::Fp32 };
    let plan = Plan::new(weights.network(), options).expect("the native size works");
    let executor = CpuExecutor::new(plan, weights, None).expect("an executor");
    (executor, Random::new(2).vector(batch * size.pixels() * Network::C_IMAGE))
}

fn networks(c: &mut Criterion) {
    let mut group = c.benchmark_group("network");
    group.sample_size(20);
    for (variant, batch) in
        [(Variant::B0, 1), (Variant::B0, 8), (Variant::Lite0, 1), (Variant::B4, 1)]
    {
        let (mut executor, images) = executor(variant, batch);
        group.bench_function(BenchmarkId::new(variant.name(), batch), |b| {
            b.iter(|| executor.run(&images, batch).expect("a run"));
        });
    }
}

/// The costliest steps of B0, by the time that they take within whole runs.
fn steps(c: &mut Criterion) {
    const STEPS: usize = 6;
    let (mut executor, image) = executor(Variant::B0, 1);
    let plan = executor.plan().clone();
    let mut times = Vec::new();
    let mut least = vec![Duration::MAX; plan.steps.len()];
    for _ in 0..10 {
        executor.run_timed(&image, 1, &mut times).expect("a run");
        least.iter_mut().zip(&times).for_each(|(least, &time)| *least = time.min(*least));
    }
    let mut order: Vec<usize> = (0..least.len()).collect();
    order.sort_by_key(|&step| std::cmp::Reverse(least[step]));

    let mut group = c.benchmark_group("step");
    group.sample_size(20);
    for &step in &order[..STEPS] {
        group.bench_function(format!("b0/{}", plan.steps[step].name), |b| {
            b.iter_custom(|runs| {
                let mut sum = Duration::ZERO;
                for _ in 0..runs {
                    executor.run_timed(&image, 1, &mut times).expect("a run");
                    sum += times[step];
                }
                sum
            });
        });
    }
}

criterion_group!(benches, open, networks, steps);
criterion_main!(benches);
