//! Profiles: where a run's time goes, launch by launch, against what the device can do at best.
//!
//! An [`Item`] is a launch, or a step of the CPU executor, with its costs by the plan. On a GPU and
//! on the CPU each is timed ([`TimeProfile`]); on the emulator it is counted ([`CountProfile`]). Both
//! are summed up [`By`] layer, block, stage and op.
//!
//! The ceilings, a copy and a matrix product, are measured on the device first. The floor of an item
//! is the largest of what its bytes, its arithmetic and its launch take at the ceilings. It is no law:
//! tensors that a cache still holds come faster than the copy, which no cache holds.

mod ceilings;
mod counts;
mod group;
mod item;
mod json;
mod limits;
mod page;
mod report;
mod run;
mod tables;
mod times;
mod trace;

pub use ceilings::{CeilingError, cuda_ceilings};
pub use counts::{CountGroup, CountProfile, Counts, Executed};
pub use group::{By, groups};
pub use item::{Item, KernelUse, items_of_launches, items_of_steps};
pub use limits::{Bound, Ceilings, Floor, Method};
pub use report::{Found, Report, Subject};
pub use run::{
    CeilingWork, cpu_product_side, profile_cpu, profile_cuda, profile_emulated, serial_runs,
};
pub use tables::ceilings_table;
pub use times::{Figures, TimeGroup, TimeProfile};
pub use trace::{Event, Trace, trace};
