//! Latency and throughput of every variant on a GPU, as a Markdown table: `gpu_bench SECONDS [VARIANT...]`.
//!
//! Random weights, native size, batch 1, 4, 8, 32 and 128, FP16 and FP32, both paths. Each run is one replay of the CUDA
//! graph with its copies from and to pinned memory; the least and the median of many, after a warm-up. Ends when the
//! seconds are over, and says what was left out.

#[path = "../tests/support/mod.rs"]
mod support;

use effnet::arch::{Padding, Variant};
use effnet::kernels::Compute;
use effnet::launches::Path;
use effnet::session::{Device, Session, SessionOptions};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Random, metadata, random_weights};

const BATCHES: [usize; 5] = [1, 4, 8, 32, 128];
/// Of one configuration.
const MOST_RUNS: usize = 200;
const LONGEST: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().ok_or("gpu_bench SECONDS [VARIANT...]")?.parse()?;
    let wanted: Vec<String> = args.collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let gpu = effnet::device::cuda::devices()?.into_iter().next().ok_or("no GPU")?;
    println!("GPU: {gpu}\n");
    println!("| variant | precision | path | batch | median us | least us | images/s |");
    println!("|---|---|---|---|---|---|---|");
    let mut left_out = 0;
    for variant in Variant::all().filter(|v| wanted.is_empty() || wanted.contains(&v.to_string())) {
        for compute in [Compute::Fp16, Compute::Fp32] {
            let metadata = metadata(variant, Padding::SameDynamic, compute.storage());
            let weights = Arc::new(random_weights(&metadata, 1));
            for path in [Path::Fused, Path::Layerwise] {
                for batch in BATCHES {
                    if Instant::now() >= end {
                        left_out += 1;
                        continue;
                    }
                    let options = SessionOptions {
                        device: Device::Cuda(0),
                        batch,
                        path,
                        compute: Some(compute),
                        ..SessionOptions::default()
                    };
                    match time(Session::new(weights.clone(), options)) {
                        Ok(mut times) => {
                            times.sort_unstable();
                            let [median, least] =
                                [times[times.len() / 2], times[0]].map(|t| t.as_secs_f64() * 1e6);
                            let rate = batch as f64 / median * 1e6;
                            println!(
                                "| {variant} | {compute} | {path} | {batch} | {median:.1} | \
                                 {least:.1} | {rate:.0} |"
                            );
                        }
                        Err(error) => {
                            println!("| {variant} | {compute} | {path} | {batch} | {error} | | |");
                        }
                    }
                }
            }
        }
    }
    if left_out > 0 {
        println!("\n{left_out} configurations were left out: the {seconds} s were over.");
    }
    Ok(())
}

fn time(
    session: Result<Session, effnet::session::SessionError>,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut session = session?;
    let images = Random::new(1).vector(session.batch() * session.input_elems());
    for _ in 0..3 {
        session.run(&images)?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < MOST_RUNS && (times.is_empty() || start.elapsed() < LONGEST) {
        let began = Instant::now();
        session.run(&images)?;
        times.push(began.elapsed());
    }
    Ok(times)
}
