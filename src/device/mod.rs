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

pub use cuda::{CudaDevice, CudaError};
pub use emulated::{EmulatedDevice, EmulatedError};
