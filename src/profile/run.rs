//! Profiles taken: the ceilings first, then the network.

#[cfg(feature = "emulator")]
use super::Executed;
use super::{Ceilings, CountProfile, Method, TimeProfile, items_of_launches, items_of_steps};
use crate::cpu::{CpuError, CpuExecutor};
use crate::device::{CudaDevice, CudaError, EmulatedDevice, EmulatedError};
use crate::measure::{Sampling, Summary, sample};
use crate::plan::Plan;
use std::time::{Duration, Instant};

/// How large the work is that ceilings are measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingWork {
    /// Bytes of each of the two buffers of a copy: far more than caches hold.
    pub copy_bytes: usize,
    /// Rows, channels in and channels out of the matrix product; a multiple of 8.
    pub product_side: usize,
    /// How often each is done; the best counts.
    pub samples: usize,
}

/// Times the steps of `n` images on the CPU.
pub fn profile_cpu(
    executor: &mut CpuExecutor,
    input: &[f32],
    n: usize,
    sampling: &Sampling,
    work: &CeilingWork,
) -> Result<TimeProfile, CpuError> {
    let ceilings = cpu_ceilings(executor, work)?;
    let items = items_of_steps(executor.plan(), n);
    let mut steps = Vec::new();
    let sampled = sample(sampling, |_| {
        let began = Instant::now();
        executor.run_timed(input, n, &mut steps)?;
        let run = began.elapsed();
        let of = |steps: &[Duration]| us(steps.iter().sum());
        let times = items.iter().map(|item| of(&steps[item.steps[0]..item.steps[1]]));
        Ok::<_, CpuError>((us(run), times.collect::<Vec<f64>>()))
    })?;
    let (runs, times): (Vec<f64>, Vec<Vec<f64>>) = sampled.samples.into_iter().unzip();
    Ok(TimeProfile {
        items,
        times_us: by_item(&times),
        run_us: summary(&runs),
        serial_run_us: None,
        ceilings,
    })
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Times the launches of `n` images on a GPU, and whole runs; `plan` is what the device's launches
/// are of, and `ceilings` were measured on the same GPU.
pub fn profile_cuda(
    device: &mut CudaDevice,
    plan: &Plan,
    input: &[f32],
    n: usize,
    sampling: &Sampling,
    ceilings: Ceilings,
) -> Result<TimeProfile, CudaError> {
    let items = items_of_launches(plan, &device.plan().launches(n)?, device.info().arch);
    let runs = sample(sampling, |_| {
        let began = Instant::now();
        device.run(input, n)?;
        Ok::<_, CudaError>(us(began.elapsed()))
    })?;
    let times = sample(sampling, |_| {
        let times = device.run_timed(input, n)?;
        Ok::<_, CudaError>(times.into_iter().map(f64::from).collect::<Vec<f64>>())
    })?;
    let (times_us, run_us) = (by_item(&times.samples), summary(&runs.samples));
    Ok(TimeProfile { items, times_us, run_us, serial_run_us: None, ceilings })
}

/// Times whole runs of `n` images in which no launch begins before the one before it has ended;
/// none on a GPU where none does anyway.
pub fn serial_runs(
    device: CudaDevice,
    input: &[f32],
    n: usize,
    sampling: &Sampling,
) -> Result<Option<Summary>, CudaError> {
    if !device.dependent_launches() {
        return Ok(None);
    }
    let mut device = device.without_dependent_launches();
    let runs = sample(sampling, |_| {
        let began = Instant::now();
        device.run(input, n)?;
        Ok::<_, CudaError>(us(began.elapsed()))
    })?;
    Ok(Some(summary(&runs.samples)))
}

/// Samples of whole runs as a summary of each item.
pub(super) fn by_item(runs: &[Vec<f64>]) -> Vec<Summary> {
    let items = runs.first().map_or(0, Vec::len);
    let of = |item: usize| summary(&runs.iter().map(|run| run[item]).collect::<Vec<f64>>());
    (0..items).map(of).collect()
}

/// Sampling takes one sample at least, and clocks give finite numbers.
pub(super) fn summary(samples: &[f64]) -> Summary {
    Summary::new(samples).unwrap_or_else(|| unreachable!("{} finite times", samples.len()))
}

/// The side of a product that gives so many threads enough to do, and is done soon.
pub fn cpu_product_side(threads: usize) -> usize {
    512 * (threads as f64 / 8.0).sqrt().ceil().max(1.0) as usize
}

/// What the executor's threads reach.
fn cpu_ceilings(executor: &mut CpuExecutor, work: &CeilingWork) -> Result<Ceilings, CpuError> {
    let CeilingWork { copy_bytes, product_side: side, samples } = *work;
    let best = |times: Vec<Duration>| times.into_iter().map(us).fold(f64::INFINITY, f64::min);
    let threads = executor.threads();
    // Not the best: with one thread asleep there is nobody to wait for.
    let empty: Vec<f64> = executor.time_empty_steps(samples).into_iter().map(us).collect();
    let launch_us = summary(&empty).median;
    let copy_us = best(executor.time_copies(copy_bytes, samples)?);
    let product_us = best(executor.time_products(side, samples)?);
    Ok(Ceilings {
        copy_gbps: gbps(copy_bytes, copy_us),
        product_tflops: tflops(side, product_us),
        launch_us,
        method: Method {
            copy: format!(
                "{} MiB copied on {threads} threads, bytes read and bytes written; best of {samples}",
                copy_bytes >> 20
            ),
            product: format!(
                "the executor's pointwise convolution, {side} x {side} x {side}, f32; best of {samples}"
            ),
            launch: format!("a step without work on {threads} threads; median of {samples}"),
        },
    })
}

/// Of a copy: bytes read and bytes written.
pub(super) fn gbps(copy_bytes: usize, us: f64) -> f64 {
    2.0 * copy_bytes as f64 / us / 1e3
}

/// Of a product of square matrices.
pub(super) fn tflops(side: usize, us: f64) -> f64 {
    2.0 * (side as f64).powi(3) / us / 1e6
}

/// Counts the launches of `n` images on the emulator; `plan` is what the device's launches are of, and
/// `arch` the compute capability that occupancy is told for, as in 90: the emulator has none.
#[cfg(feature = "emulator")]
pub fn profile_emulated(
    device: &mut EmulatedDevice,
    plan: &Plan,
    input: &[f32],
    n: usize,
    arch: u32,
) -> Result<CountProfile, EmulatedError> {
    device.set_count_traffic(true);
    let run = device.run(input, n);
    device.set_count_traffic(false);
    run?;
    let items = items_of_launches(plan, &device.plan().launches(n)?, arch);
    let executed = device.executed().iter().map(Executed::from).collect();
    Ok(CountProfile { items, executed, arch })
}

/// Nothing, as this build has no emulated device.
#[cfg(not(feature = "emulator"))]
pub fn profile_emulated(
    device: &mut EmulatedDevice,
    _plan: &Plan,
    _input: &[f32],
    _n: usize,
    _arch: u32,
) -> Result<CountProfile, EmulatedError> {
    match *device {}
}
