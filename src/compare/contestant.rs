//! One runtime with the network: started, asked for logits, timed in short bursts.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Why a contestant gives no figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What was being done.
    pub step: String,
    /// What went wrong.
    pub message: String,
    /// What the program said last.
    pub last_lines: Vec<String>,
}

impl Failure {
    /// A failure of which no program says anything.
    pub fn new(step: &str, message: impl fmt::Display) -> Failure {
        Failure { step: step.to_owned(), message: message.to_string(), last_lines: Vec::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.message)?;
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

impl std::error::Error for Failure {}

/// A contestant that is ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Name and version of the runtime, and what of it runs.
    pub runtime: String,
    /// Where it runs.
    pub device: String,
    /// In which precision it computes, in its own words.
    pub precision: String,
    /// From weights or ONNX to something that runs, the first time.
    pub build_ms: f64,
    /// From the start of a process to its first logits, for each start.
    pub start_up_ms: Vec<f64>,
    /// Size of the file that it runs.
    pub disk_bytes: u64,
    /// What file that is.
    pub disk_file: &'static str,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

/// How long a burst is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstLength {
    /// Runs before the ones that count.
    pub warm_up: Duration,
    /// The ones that count.
    pub measured: Duration,
}

/// Some runs in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Burst {
    /// Of each run: from input in the host's memory to logits in the host's memory.
    pub latencies_ms: Vec<f64>,
    /// Of each run, without the copies between host and GPU; empty where it is not known.
    pub device_ms: Vec<f64>,
    /// Images by the time that they all took.
    pub images_per_s: f64,
}

/// Memory that a contestant takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The most that its process has had resident, where the system tells.
    pub peak_resident_bytes: Option<u64>,
    /// What its process holds of the GPU, where nvidia-smi tells.
    pub gpu_bytes: Option<u64>,
}

/// A runtime with the network.
pub trait Contestant {
    /// As on the command line.
    fn name(&self) -> &str;

    /// Makes it ready.
    fn start(&mut self) -> Result<Started, Failure>;

    /// The logits of all inputs, `[images, classes]`.
    fn answer(&mut self) -> Result<Vec<f32>, Failure>;

    /// Runs the first batch again and again. Memory is looked at in a burst that does not count.
    fn burst(&mut self, length: BurstLength, counts: bool) -> Result<Burst, Failure>;

    /// Memory so far.
    fn memory(&mut self) -> Memory;

    /// What a reader should know that only the bursts have shown.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
