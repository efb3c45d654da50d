//! One runtime with the network: started, asked for logits, timed in short bursts.

use serde::Serialize;
use std::time::Duration;

pub use crate::process::Failure;

/// A contestant that is ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Name and version of the runtime, and the part of it that runs.
    pub runtime: String,
    /// Device that the contestant runs on.
    pub device: String,
    /// Precision that the contestant computes in, in its own words.
    pub precision: String,
    /// Time from weights or ONNX to a network that can run, the first time.
    pub build_ms: f64,
    /// Time from the start of a process to its first logits, for each start.
    pub start_up_ms: Vec<f64>,
    /// Size of the file that the contestant runs.
    pub disk_bytes: u64,
    /// Kind of the file that the contestant runs.
    pub disk_file: &'static str,
    /// Further facts that a reader should know.
    pub notes: Vec<String>,
}

/// Length of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstLength {
    /// Time of the runs before the counted ones.
    pub warm_up: Duration,
    /// Time of the counted runs.
    pub measured: Duration,
}

/// Some runs in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Burst {
    /// Latency of each run: from input in the host's memory to logits in the host's memory.
    pub latencies_ms: Vec<f64>,
    /// Time of each run without the copies between host and GPU; empty where it is not known.
    pub device_ms: Vec<f64>,
    /// Images divided by the time of all runs together.
    pub images_per_s: f64,
}

/// Memory that a contestant takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Greatest resident size of the contestant's process, where the system tells.
    pub peak_resident_bytes: Option<u64>,
    /// GPU memory of the contestant's process, where nvidia-smi tells.
    pub gpu_bytes: Option<u64>,
}

/// A runtime with the network.
pub trait Contestant {
    /// Name of the contestant, as on the command line.
    fn name(&self) -> &str;

    /// Makes the contestant ready.
    fn start(&mut self) -> Result<Started, Failure>;

    /// The logits of all inputs, `[images, classes]`.
    fn answer(&mut self) -> Result<Vec<f32>, Failure>;

    /// Runs the first batch again and again. Memory is looked at in a burst that does not count.
    fn burst(&mut self, length: BurstLength, counts: bool) -> Result<Burst, Failure>;

    /// Memory so far.
    fn memory(&mut self) -> Memory;

    /// Facts that a reader should know and that only the bursts have shown.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
