//! Machines that run a launch plan.
//!
//! They run the same launches with the same parameter bytes: what differs is where memory lies.
//!
//! The driver of a GPU is looked for when one is asked for, so one build runs with and without it.
//! Whatever is missing (driver, device, machine code, memory) is a [`CudaError`]
//! that says what was found and what to do.

pub mod cuda;
#[cfg_attr(not(feature = "emulator"), path = "no_emulator.rs")]
mod emulated;
mod input;

pub use cuda::{CudaDevice, CudaError};
pub use emulated::{EmulatedDevice, EmulatedError};
pub use input::InputMut;

use std::fmt;
use std::time::Duration;

/// The best classes of each image of a run, the best first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestClasses<'a> {
    /// Classes of each image.
    pub k: usize,
    /// Classes, `[n, k]`.
    pub classes: &'a [i32],
    /// Their logits, `[n, k]`.
    pub logits: &'a [f32],
    /// Their probabilities by softmax, `[n, k]`.
    pub probabilities: &'a [f32],
}

/// Launches that the emulator has executed, none of them with a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmulatedWork {
    /// The number of launches.
    pub launches: u64,
    /// Warp instructions of all launches.
    pub instructions: u64,
    /// Time that the launches took on this machine.
    pub time: Duration,
}

impl fmt::Display for EmulatedWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EmulatedWork { launches, instructions, time } = self;
        let millions = *instructions as f64 / 1e6;
        let seconds = time.as_secs_f64();
        write!(
            f,
            "{launches} launches, {millions:.1} M warp instructions, no finding, {seconds:.1} s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_in_a_line() {
        let time = Duration::from_millis(4120);
        let work = EmulatedWork { launches: 62, instructions: 33_080_000, time };
        let line = "62 launches, 33.1 M warp instructions, no finding, 4.1 s";
        assert_eq!(work.to_string(), line);
    }
}
