//! Latency and throughput of configurations, as `effnet bench` prints, saves and compares them.
//!
//! The words are trtexec's. Enqueue is the host's time to enqueue the launches; H2D, GPU Compute
//! and D2H are the device's times for the copy of the input, the launches and the copy of the
//! outputs; Latency is those three together; Throughput is images by the time that passed on the
//! host. On the CPU there is Latency and Throughput alone, and Latency is the time of the call.
//!
//! Latency is taken of runs that follow one another. On a GPU the host looks for the end of each
//! until it has come ([`Wait::Spin`]), so that no wake-up is in a time; throughput is taken of further runs,
//! sampled by the same options, each submitted while the one before is under way, so that copies go
//! on beside launches; without a graph, and on the CPU, it is taken of the runs of the latency.
//! Inputs are taken in turn from more memory than a cache holds (see [`inputs_in_turn`]), so that
//! no run finds its input in one; on the device each copy goes to the same buffer.

mod against;
pub mod page;
pub mod tables;
mod warnings;

pub use against::{AgainstError, Comparison, Ratio, read};
pub use warnings::{Warning, WarningKind, of_environment, of_row};

use super::Summary;
use super::sampling::{Sampling, sample};
use crate::arch::Size;
use crate::device::CudaDevice;
use crate::device::cuda::{self, MeasuredDevice, RunTimes, Wait};
use crate::environment::{Environment, GpuState};
use crate::kernels::Compute;
use crate::launches::{Input, InputType, LaunchPlan, Path};
use crate::session::{Device, Session, SessionError, SessionOptions};
use crate::weights::Weights;
use crate::weights::stand_in::Random;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Value of `schema` in documents of this kind.
pub const SCHEMA: &str = "effnet-bench/1";

/// A configuration to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Device that runs the network.
    pub device: Device,
    /// Path of the kernels; none on the CPU.
    pub path: Option<Path>,
    /// Precision to compute in.
    pub compute: Compute,
    /// Images per run.
    pub batch: usize,
    /// Size of the input images.
    pub size: Size,
    /// Type of the input's elements.
    pub input: InputType,
}

/// Options of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Number and duration of the runs.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Whether the launches are one CUDA graph.
    pub cuda_graph: bool,
    /// Threads of the CPU executor.
    pub threads: usize,
}

/// Key of a row: it tells the rows of a document apart, and matches those of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The variant.
    pub variant: String,
    /// Size of the input images.
    pub size: Size,
    /// Images per run.
    pub batch: usize,
    /// Precision that was computed in.
    pub precision: String,
    /// Path of the kernels; none on the CPU.
    pub path: Option<String>,
    /// Device: `cuda:N` or `cpu`.
    pub device: String,
    /// Type of the input's elements: f32 in documents that do not tell.
    #[serde(default = "f32_input")]
    pub input: String,
}

/// The input of all documents before there was another.
fn f32_input() -> String {
    InputType::F32.to_string()
}

impl Key {
    /// The key of a variant in a configuration.
    pub fn new(variant: &str, config: &Config) -> Key {
        Key {
            variant: variant.to_owned(),
            size: config.size,
            batch: config.batch,
            precision: config.compute.to_string(),
            path: config.path.map(|path| path.to_string()),
            device: config.device.to_string(),
            input: config.input.to_string(),
        }
    }

    /// All of the key but the batch, which the points of one line of a plot have in common.
    pub fn series(&self) -> String {
        let path = self.path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
        let Key { variant, size, precision, device, .. } = self;
        let levels = if self.input == InputType::U8.to_string() { " u8" } else { "" };
        format!("{variant} {size}{levels} {precision}{path} {device}")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, batch {}", self.series(), self.batch)
    }
}

/// One document: everything that was measured, and the machine that it was measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// The machine.
    pub environment: Environment,
    /// Options of the measurements.
    pub options: Options,
    /// The measurements.
    pub rows: Vec<Row>,
    /// Warnings about all rows.
    pub warnings: Vec<Warning>,
    /// Comparison with an earlier document, where one was given. An earlier document's own is not
    /// read.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub against: Option<Comparison>,
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Key of the row.
    #[serde(flatten)]
    pub key: Key,
    /// The weights: `random`, or a file.
    pub weights: String,
    /// Times of the configuration; none where it failed.
    pub result: Option<Measurement>,
    /// Reason of the failure.
    pub error: Option<String>,
    /// Doubts about the times.
    pub warnings: Vec<Warning>,
}

/// The times of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Runs that are not counted.
    pub warm_up_runs: usize,
    /// Number of different inputs, taken in turn.
    pub inputs: usize,
    /// The time in which the counted runs were made.
    pub elapsed_s: f64,
    /// Throughput: images of the runs that it is taken of, divided by the time in which they were
    /// made.
    pub images_per_s: f64,
    /// Runs that the throughput is taken of.
    pub throughput_runs: usize,
    /// The time in which the runs of the throughput were made.
    pub throughput_s: f64,
    /// Whether each run was submitted while the one before was under way.
    pub overlapped: bool,
    /// Latency.
    pub latency_us: Summary,
    /// Time that the caller waits for a run.
    pub host_us: Summary,
    /// Enqueue; none on the CPU, as the three that follow.
    pub enqueue_us: Option<Summary>,
    /// H2D.
    pub h2d_us: Option<Summary>,
    /// GPU Compute.
    pub compute_us: Option<Summary>,
    /// D2H.
    pub d2h_us: Option<Summary>,
    /// The GPU right after the runs.
    pub gpu_state: Option<GpuState>,
}

/// Why a configuration has no times.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The network cannot be run on the device.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Too little memory on the host for the inputs.
    #[error("cannot allocate {bytes} bytes for inputs; choose a smaller batch or size")]
    Memory {
        /// The number asked for.
        bytes: usize,
    },
}

/// A cache that inputs must not fit, where its size is not known.
const CACHE_BYTES: usize = 64 << 20;

/// Number of inputs of this size that are taken in turn: the fewest that do not fit the cache. One
/// that is larger than the cache is enough, so the memory for all is bounded by the cache and one
/// input more.
pub fn inputs_in_turn(input_bytes: usize, cache_bytes: Option<usize>) -> usize {
    cache_bytes.unwrap_or(CACHE_BYTES) / input_bytes.max(1) + 1
}

/// Measures one configuration. The emulator has no times, and is refused like a precision that a
/// device does not compute in.
pub fn measure(
    weights: &Arc<Weights>,
    config: &Config,
    options: &Options,
) -> Result<Measurement, MeasureError> {
    let session_options = SessionOptions {
        device: config.device,
        batch: config.batch,
        size: Some(config.size),
        threads: Some(options.threads),
        path: config.path.unwrap_or_default(),
        compute: Some(config.compute),
        input: config.input,
        ..SessionOptions::default()
    };
    let session = Session::new(weights.clone(), session_options)?;
    match session.into_cuda() {
        Ok(device) => on_cuda(device, config, options),
        Err(session) => on_host(session, config, options),
    }
}

/// The inputs of a configuration, one after the other.
struct Inputs {
    values: Values,
    elems: usize,
    count: usize,
}

enum Values {
    F32(Vec<f32>),
    U8(Vec<u8>),
}

impl Inputs {
    fn new(
        input: InputType,
        elems: usize,
        cache_bytes: Option<usize>,
    ) -> Result<Inputs, MeasureError> {
        let count = inputs_in_turn(elems * input.elem_bytes(), cache_bytes);
        let all = count.saturating_mul(elems);
        let mut random = Random::new(2);
        // Values as those of photographs: levels, or after normalisation of order one.
        let values = match input {
            InputType::F32 => random_values(all, || random.signed()).map(Values::F32),
            InputType::U8 => random_values(all, || random.bits() as u8).map(Values::U8),
        };
        Ok(Inputs { values: values?, elems, count })
    }

    /// The input of a run.
    fn of(&self, run: usize) -> Input<'_> {
        let at = run % self.count * self.elems;
        let part = at..at + self.elems;
        match &self.values {
            Values::F32(values) => Input::F32(&values[part]),
            Values::U8(levels) => Input::U8(&levels[part]),
        }
    }
}

/// So many values, where there is memory for them.
fn random_values<T>(elems: usize, mut next: impl FnMut() -> T) -> Result<Vec<T>, MeasureError> {
    let mut values = Vec::new();
    if values.try_reserve_exact(elems).is_err() {
        return Err(MeasureError::Memory { bytes: elems.saturating_mul(size_of::<T>()) });
    }
    values.extend((0..elems).map(|_| next()));
    Ok(values)
}

fn on_host(
    mut session: Session,
    config: &Config,
    options: &Options,
) -> Result<Measurement, MeasureError> {
    let inputs = Inputs::new(config.input, config.batch * session.input_elems(), None)?;
    let found = sample(&options.sampling, |run| {
        let began = Instant::now();
        session.run(inputs.of(run))?;
        let latency_us = micros(began.elapsed());
        Ok::<_, SessionError>(RunTimes { latency_us, host_us: latency_us, ..RunTimes::default() })
    })?;
    Ok(Measurement {
        warm_up_runs: found.warm_up_runs,
        inputs: inputs.count,
        elapsed_s: found.elapsed.as_secs_f64(),
        images_per_s: rate(config.batch * found.samples.len(), found.elapsed.as_secs_f64()),
        throughput_runs: found.samples.len(),
        throughput_s: found.elapsed.as_secs_f64(),
        overlapped: false,
        latency_us: summary(&found.samples, |times| times.latency_us),
        host_us: summary(&found.samples, |times| times.host_us),
        enqueue_us: None,
        h2d_us: None,
        compute_us: None,
        d2h_us: None,
        gpu_state: None,
    })
}

fn on_cuda(
    device: CudaDevice,
    config: &Config,
    options: &Options,
) -> Result<Measurement, MeasureError> {
    let details = cuda::details(device.info().ordinal).map_err(SessionError::from)?;
    let device = MeasuredDevice::new(device, config.batch, options.cuda_graph);
    let mut device = device.map_err(SessionError::from)?;
    device.device_mut().set_wait(Wait::Spin);
    let elems = config.batch * device.device().plan().input_elems;
    let inputs = Inputs::new(config.input, elems, details.l2_bytes.map(|bytes| bytes as usize))?;
    let run = |run| Ok::<_, SessionError>(device.run(inputs.of(run))?);
    let found = sample(&options.sampling, run)?;
    // Before the clocks fall: asked at once, and not while runs would be disturbed.
    let state = GpuState::look(details.pci_bus_id.as_deref());
    let (throughput_runs, throughput) = match options.cuda_graph {
        true => overlapped(device.device_mut(), &inputs, config.batch, &options.sampling)?,
        false => (found.samples.len(), found.elapsed),
    };
    let sum_up = |of: fn(&RunTimes) -> f64| summary(&found.samples, of);
    Ok(Measurement {
        warm_up_runs: found.warm_up_runs,
        inputs: inputs.count,
        elapsed_s: found.elapsed.as_secs_f64(),
        images_per_s: rate(config.batch * throughput_runs, throughput.as_secs_f64()),
        throughput_runs,
        throughput_s: throughput.as_secs_f64(),
        overlapped: options.cuda_graph,
        latency_us: sum_up(|times| times.latency_us),
        host_us: sum_up(|times| times.host_us),
        enqueue_us: Some(sum_up(|times| times.enqueue_us)),
        h2d_us: Some(sum_up(|times| times.h2d_us)),
        compute_us: Some(sum_up(|times| times.compute_us)),
        d2h_us: Some(sum_up(|times| times.d2h_us)),
        gpu_state: Some(state),
    })
}

/// Makes runs that are submitted while the one before is under way. Gives their number, and the
/// time from the first to the last.
fn overlapped(
    device: &mut CudaDevice,
    inputs: &Inputs,
    batch: usize,
    sampling: &Sampling,
) -> Result<(usize, Duration), SessionError> {
    device.set_wait(Wait::Auto);
    for run in 0..LaunchPlan::SLOTS {
        device.submit(inputs.of(run), batch)?;
    }
    // The number of runs submitted in the time is the number collected.
    let found = sample(sampling, |run| {
        device.collect()?;
        device.submit(inputs.of(run + LaunchPlan::SLOTS), batch)
    })?;
    for _ in 0..LaunchPlan::SLOTS {
        device.collect()?;
    }
    Ok((found.samples.len(), found.elapsed))
}

/// Microseconds from whole nanoseconds, without their binary fractions.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn rate(images: usize, seconds: f64) -> f64 {
    // A clock that did not move gives no rate; JSON has no infinity.
    if seconds > 0.0 { images as f64 / seconds } else { 0.0 }
}

/// Sampling gives at least one sample, and clocks give finite times.
fn summary(samples: &[RunTimes], of: impl Fn(&RunTimes) -> f64) -> Summary {
    let values: Vec<f64> = samples.iter().map(of).collect();
    Summary::new(&values).unwrap_or(Summary {
        n: 0,
        min: 0.0,
        max: 0.0,
        mean: 0.0,
        median: 0.0,
        p90: 0.0,
        p95: 0.0,
        p99: 0.0,
        cv: 0.0,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::arch::Variant;
    use crate::weights::Precision;
    use crate::weights::stand_in::random_weights;

    /// A row with this latency and compute time, which every sample has.
    pub fn row(batch: usize, latency_us: f64, enqueue_us: f64) -> Row {
        let of = |x: f64| Summary::new(&[x; 20]).unwrap();
        let config = Config {
            device: Device::Cuda(0),
            path: Some(Path::Fused),
            compute: Compute::Fp16,
            batch,
            size: Size::square(224),
            input: InputType::F32,
        };
        Row {
            key: Key::new("b0", &config),
            weights: "random".to_owned(),
            result: Some(Measurement {
                warm_up_runs: 3,
                inputs: 4,
                elapsed_s: 1.0,
                throughput_runs: 1,
                throughput_s: 1.0,
                overlapped: false,
                images_per_s: batch as f64 / latency_us * 1e6,
                latency_us: of(latency_us),
                host_us: of(latency_us * 1.1),
                enqueue_us: Some(of(enqueue_us)),
                h2d_us: Some(of(latency_us * 0.1)),
                compute_us: Some(of(latency_us * 0.8)),
                d2h_us: Some(of(latency_us * 0.1)),
                gpu_state: None,
            }),
            error: None,
            warnings: Vec::new(),
        }
    }

    pub fn document(rows: Vec<Row>) -> Document {
        Document {
            schema: SCHEMA.to_owned(),
            environment: Environment::collect(&[]),
            options: Options { sampling: Sampling::default(), cuda_graph: true, threads: 2 },
            rows,
            warnings: Vec::new(),
            against: None,
        }
    }

    #[test]
    fn inputs_do_not_fit_the_cache() {
        assert_eq!(inputs_in_turn(600, Some(1000)), 2);
        assert_eq!(inputs_in_turn(500, Some(1000)), 3);
        assert_eq!(inputs_in_turn(2000, Some(1000)), 1);
        assert_eq!(inputs_in_turn(CACHE_BYTES, None), 2);
        assert_eq!(inputs_in_turn(0, Some(10)), 11);
    }

    #[test]
    fn the_cpu_gives_latency_and_throughput_of_every_run() {
        let weights = Arc::new(random_weights(Variant::Lite0, Precision::Fp32).unwrap());
        let config = Config {
            device: Device::Cpu,
            path: None,
            compute: Compute::Fp32,
            batch: 2,
            size: Size::square(32),
            input: InputType::F32,
        };
        let sampling =
            Sampling { warm_up_ms: 0, min_duration_ms: 0, min_iterations: 4, max_iterations: 4 };
        let options = Options { sampling, cuda_graph: true, threads: 1 };
        let found = measure(&weights, &config, &options).unwrap();
        assert_eq!((found.latency_us.n, found.warm_up_runs), (4, 1));
        assert!(found.latency_us.min > 0.0 && found.images_per_s > 0.0);
        assert_eq!((found.h2d_us, found.compute_us), (None, None));
        let levels = Config { input: InputType::U8, ..config };
        assert_eq!(measure(&weights, &levels, &options).unwrap().latency_us.n, 4);
        let wrong = Config { compute: Compute::Fp16, ..config };
        assert!(measure(&weights, &wrong, &options).unwrap_err().to_string().contains("fp32"));
    }
}
