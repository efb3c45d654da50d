//! Messages between `effnet compare` and its drivers: a JSON object a line, on standard input
//! and output. Every request has one reply.
//!
//! A driver is a program that runs one network on one runtime: `effnet` itself, or a Python script
//! in `drivers/`. It stays alive between its turns.
//!
//! | request | reply | effect |
//! |---|---|---|
//! | `load` | `ready` | the network is made, and has answered the first batch |
//! | `answer` | `answered` | the logits of all inputs are written to a file |
//! | `run` | `ran` | the first batch is run again and again, and each run timed |
//! | any | `error` | nothing; the text says why |
//!
//! A run goes from input in the host's memory to logits in the host's memory.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Request to a driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the network, and run it on the first batch.
    Load(Load),
    /// Run all inputs, batch by batch.
    Answer(Answer),
    /// Time runs of the first batch.
    Run(Run),
}

/// Inputs of a driver for its network; each driver takes the fields that it needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The packed weights.
    pub weights: PathBuf,
    /// The network as JSON: see [`super::description`].
    pub description: PathBuf,
    /// The network as an ONNX file; empty where it is not for this driver.
    pub onnx: PathBuf,
    /// Inputs as little-endian f32: `[images, 3, height, width]` for a Python driver,
    /// `[images, height, width, 3]` for effnet.
    pub inputs: PathBuf,
    /// Number of inputs: a multiple of the batch.
    pub images: usize,
    /// Images per run.
    pub batch: usize,
    /// Height of the input.
    pub height: usize,
    /// Width of the input.
    pub width: usize,
    /// `fp16`, `fp32` or `tf32`.
    pub precision: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// The N of `cuda:N`.
    pub gpu: usize,
    /// Threads of the CPU.
    pub threads: usize,
    /// ONNX Runtime's provider.
    pub provider: Option<String>,
    /// The mode of `torch.compile`; none where nothing is compiled.
    pub compile: Option<String>,
}

/// Inputs to run once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Inputs, as in [`Load::inputs`].
    pub inputs: PathBuf,
    /// Number of inputs, as in [`Load::images`].
    pub images: usize,
    /// The file to write: f32 `[images, classes]`, little-endian.
    pub logits: PathBuf,
}

/// Runs to time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Time of the first runs, which are not counted.
    pub warm_up_ms: f64,
    /// Least time of the counted runs, of which there are at least [`Run::MIN_RUNS`].
    pub measure_ms: f64,
}

impl Run {
    /// The fewest runs that are timed.
    pub const MIN_RUNS: usize = 3;
}

/// Reply of a driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The network has answered the first batch.
    Ready(Ready),
    /// The file of logits is written.
    Answered(Answered),
    /// The runs were timed.
    Ran(Ran),
    /// Reason why the request was not done.
    Error(String),
}

/// A network that has answered its first batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Name and version of the runtime, and the part of it that runs.
    pub runtime: String,
    /// `cpu`, `cuda:N`, or the runtime's own name of its device.
    pub device: String,
    /// Precision that the driver computes in, in the words of the runtime.
    pub precision: String,
    /// Time from the files to the first batch's logits, without the start of the process.
    pub build_ms: f64,
    /// Further facts that a reader should know.
    pub notes: Vec<String>,
}

/// Logits are in their file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Number of images whose logits are in the file.
    pub images: usize,
}

/// Times of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Latency of each run, in order.
    pub latencies_ms: Vec<f64>,
    /// Time of the network alone in each run, by the clock of the GPU; empty where it is not known.
    #[serde(default)]
    pub device_ms: Vec<f64>,
    /// Time from the start of the first run to the end of the last.
    pub elapsed_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_objects_with_one_key() {
        let run = Request::Run(Run { warm_up_ms: 50.0, measure_ms: 1e3 });
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(text, r#"{"run":{"warm_up_ms":50.0,"measure_ms":1000.0}}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), run);
        let error: Reply = serde_json::from_str(r#"{"error": "no GPU"}"#).unwrap();
        assert_eq!(error, Reply::Error("no GPU".to_owned()));
    }

    #[test]
    fn the_python_side_has_the_same_minimum() {
        let text = include_str!("drivers/driver_protocol.py");
        assert!(text.contains(&format!("MIN_RUNS = {}\n", Run::MIN_RUNS)));
    }
}
