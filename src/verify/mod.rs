//! The first wrong layer: every launch of a network by itself, held against the same step in f64.
//!
//! A launch's inputs are read back from the device before it runs, so that the reference computes from
//! the very values that the kernel gets, and no rounding of an earlier launch hides a fault. Weights and
//! shapes are those of the host: a wrong byte of either on the device is a fault of the launch that reads
//! it. Before a launch its outputs are filled with NaN, so that nothing that an earlier run left passes
//! for its work; what it updates in place is read first.
//!
//! Every element has a bound of its own, derived from the rounding of that launch alone: [`bounds`] has
//! the derivation, [`mod@reference`] the steps as plain loops. NaN and infinity fail before anything else.
//! Beside the values, the bytes between tensors must stay as they were, and counters zero.
//!
//! Last, the logits are held against the CPU executor's: [`logits_bound`] has that tolerance.
//!
//! In reading order: `bounds`, `reference/` (a file for each operation), `step` (from an op of the launch
//! plan to what it has to leave), `stepwise` (devices that run launch by launch), `run`, `report`.

pub mod bounds;
pub mod reference;
mod report;
mod run;
mod step;
mod stepwise;

pub use report::{Element, Fault, LaunchCheck, LogitsCheck, Outcome, Part};
pub use run::{Verification, VerifyError, logits_bound};
pub use stepwise::{StepError, Stepwise};
