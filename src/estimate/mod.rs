//! What a GPU would take for a run, predicted without one.
//!
//! Nothing here is measured, and everything that comes out says so. In reading order: [`gpu`] (the
//! constants of GPUs, with their sources), [`sample`] (which blocks stand for a launch),
//! [`opcodes`] and [`slots`] (from PTX to issue slots of the machine code), `weigh` and `run` (what
//! the launches do, on the PTX emulator), `l2` (what goes to device memory), [`combine`] (times and
//! causes), [`report`] (tables, JSON, a page), [`measured`] and [`fit`] (measured times beside, and
//! constants refitted).

pub mod combine;
pub mod fit;
pub mod gpu;
mod json;
mod l2;
pub mod measured;
pub mod opcodes;
mod page;
mod pairs;
pub mod report;
mod run;
pub mod sample;
pub mod slots;
mod tables;
mod weigh;

pub use run::{EstimateError, estimate};
