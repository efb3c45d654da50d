//! Measuring: repeated runs and their statistics.
//!
//! - [`statistics`]: from samples to a median, percentiles and their spread;
//! - [`sampling`]: warm-up, then runs until there are enough of them, one subject or several in
//!   turn;
//! - [`mod@bench`]: latency and throughput of configurations, and how they compare with earlier
//!   ones.

pub mod bench;
pub mod sampling;
pub mod statistics;

pub use sampling::{Sampled, Sampling, sample, sample_in_turn};
pub use statistics::Summary;
