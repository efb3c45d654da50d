//! Latency and throughput of every variant on a GPU, as a Markdown table:
//! `gpu_bench SECONDS [VARIANT...]`.
//!
//! Random weights, native size, batch 1, 4, 8, 32 and 128, FP16 and FP32, both paths. Latency: one
//! replay of the CUDA graph with its copies from and to pinned memory, the median and the least of
//! many, after a warm-up. Throughput: runs that are submitted while the one before is under way, so
//! that copies overlap with launches. Serial: the median latency where no launch may begin before
//! the one before it has ended, of batch 1. Ends when the seconds are over, and names the rows that
//! were left out.

#[path = "../tests/support/mod.rs"]
mod support;

use effnet::arch::{Padding, Variant};
use effnet::device::cuda::Wait;
use effnet::device::{CudaDevice, CudaError};
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, Path};
use effnet::plan::{Plan, PlanOptions};
use effnet::weights::Weights;
use std::error::Error;
use std::time::{Duration, Instant};
use support::{Random, metadata, random_weights};

const BATCHES: [usize; 5] = [1, 4, 8, 32, 128];
/// Most runs of one measurement.
const MOST_RUNS: usize = 200;
const LONGEST: Duration = Duration::from_millis(60);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().ok_or("gpu_bench SECONDS [VARIANT...]")?.parse()?;
    let wanted: Vec<String> = args.collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let gpu = effnet::device::cuda::devices()?.into_iter().next().ok_or("no GPU")?;
    println!("GPU: {gpu}\n");
    println!(
        "| variant | precision | path | batch | median us | least us | images/s | serial us |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut left_out = 0;
    for variant in Variant::all().filter(|v| wanted.is_empty() || wanted.contains(&v.to_string())) {
        for compute in [Compute::Fp16, Compute::Fp32] {
            let metadata = metadata(variant, Padding::SameDynamic, compute.storage());
            let weights = random_weights(&metadata, 1);
            for path in [Path::Fused, Path::Layerwise] {
                for batch in BATCHES {
                    if Instant::now() >= end {
                        left_out += 1;
                        continue;
                    }
                    let row = match measure(&weights, path, compute, batch) {
                        Ok(row) => row,
                        Err(error) => format!("{error} | | | "),
                    };
                    println!("| {variant} | {compute} | {path} | {batch} | {row} |");
                }
            }
        }
    }
    if left_out > 0 {
        println!("\n{left_out} configurations were left out: the {seconds} s were over.");
    }
    Ok(())
}

fn measure(
    weights: &Weights,
    path: Path,
    compute: Compute,
    batch: usize,
) -> Result<String, Box<dyn Error>> {
    let plan = Plan::new(
        weights.network(),
        PlanOptions {
            batch,
            size: weights.metadata().recipe.size,
            padding: weights.metadata().padding,
            precision: compute.storage(),
        },
    )?;
    let plan = LaunchPlan::new(&plan, LaunchOptions::new(path, compute))?;
    let images = Random::new(1).vector(batch * plan.input_elems());
    let mut gpu = CudaDevice::new(0, plan, weights)?;
    let [median, least] = latency(&mut gpu, &images, batch)?;
    let rate = throughput(&mut gpu, &images, batch)?;
    let serial = match (batch, gpu.dependent_launches()) {
        (1, true) => {
            let [median, _] = latency(&mut gpu.without_dependent_launches(), &images, batch)?;
            format!("{median:.1}")
        }
        _ => String::new(),
    };
    Ok(format!("{median:.1} | {least:.1} | {rate:.0} | {serial}"))
}

/// Median and least, in microseconds.
fn latency(gpu: &mut CudaDevice, images: &[f32], n: usize) -> Result<[f64; 2], CudaError> {
    gpu.set_wait(Wait::Spin);
    for _ in 0..3 {
        gpu.run(images, n)?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < MOST_RUNS && (times.is_empty() || start.elapsed() < LONGEST) {
        let began = Instant::now();
        gpu.run(images, n)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[0]].map(|time| time.as_secs_f64() * 1e6))
}

/// Images a second, of runs that overlap.
fn throughput(gpu: &mut CudaDevice, images: &[f32], n: usize) -> Result<f64, CudaError> {
    gpu.set_wait(Wait::Auto);
    for _ in 0..LaunchPlan::SLOTS {
        gpu.submit(images, n)?;
    }
    let (start, mut runs) = (Instant::now(), 0);
    while runs < MOST_RUNS && (runs == 0 || start.elapsed() < LONGEST) {
        gpu.collect()?;
        gpu.submit(images, n)?;
        runs += 1;
    }
    // The number of runs begun is the number collected.
    let rate = (runs * n) as f64 / start.elapsed().as_secs_f64();
    for _ in 0..LaunchPlan::SLOTS {
        gpu.collect()?;
    }
    Ok(rate)
}
