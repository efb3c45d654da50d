//! Measuring: repeated runs, their statistics, and the machine that they were made on.
//!
//! - [`statistics`]: from samples to a median, percentiles and their spread;
//! - [`sampling`]: warm-up, then runs until there are enough of them, one subject or several in
//!   turn;
//! - [`environment`]: device, driver, clocks and versions, without which no time means anything;
//! - `process`: child programs with a time limit, for `nvidia-smi` and the contestants of a comparison;
//! - [`mod@bench`]: latency and throughput of configurations, and how they compare with earlier
//!   ones.

pub mod bench;
pub mod environment;
pub(crate) mod process;
pub mod sampling;
pub mod statistics;

pub use environment::Environment;
pub use sampling::{Sampled, Sampling, sample, sample_in_turn};
pub use statistics::Summary;
