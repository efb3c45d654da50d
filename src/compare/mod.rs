//! The runtime and its baselines on the same weights and inputs, side by side.
//!
//! Each runtime is a [`Contestant`]: started, asked for the logits of the same inputs, and timed in
//! short bursts, in turn with the others. In reading order:
//!
//! - [`job`]: the files and options that all are given;
//! - [`contestant`]: the interface of a runtime;
//! - [`protocol`]: the messages to drivers; [`serve`] is this runtime's side of it, `drivers/` has
//!   the Python sides, and [`driver`] is a contestant behind it;
//! - [`trtexec`]: TensorRT, through its tool;
//! - [`baselines`]: all of them by name, and [`python`]: the needs of those in Python;
//! - [`comparison`]: the turns, and the figures that follow; [`accuracy`]: their logits;
//! - [`published`](mod@published): other people's figures, shown apart; [`report`]: everything as
//!   one document.
//!
//! # Latencies and ratios
//!
//! Latency goes from input in the host's memory to logits in the host's memory. A ratio is made of
//! two bursts of the same round, so that any change with time (clocks, temperature, other work) is
//! in both of them; shown are the median, the least and the greatest of the rounds' ratios. A ratio
//! above 1 means that this runtime is quicker. The first burst of each contestant does not count.

pub mod accuracy;
pub mod baselines;
pub mod comparison;
pub mod contestant;
pub mod description;
pub mod driver;
mod gpu_memory;
pub mod inputs;
pub mod job;
pub mod protocol;
pub mod published;
pub mod python;
mod raw;
pub mod report;
pub mod serve;
pub mod trtexec;

pub use accuracy::Accuracy;
pub use baselines::{Baseline, Entrance, Tools};
pub use comparison::{Entry, Measured, Outcome, Ratio, Rounds, measure};
pub use contestant::{BurstLength, Contestant, Failure};
pub use driver::{DriverCommand, DriverContestant};
pub use job::{Job, JobOptions};
pub use published::{Published, published};
pub use report::{Report, SCHEMA};

use crate::arch::GeometryError;
use crate::export::onnx::OnnxError;
use crate::session::SessionError;
use std::io;

/// Why there is no comparison at all.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// This runtime gives no figures.
    #[error("effnet: {0}")]
    Runtime(Failure),
    /// No network at this size.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The reference could not be computed.
    #[error("reference: {0}")]
    Reference(#[from] SessionError),
    /// The network could not be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The folder for the contestants' files cannot be used.
    #[error("cannot write the files of the comparison: {0}")]
    Files(#[from] io::Error),
}
