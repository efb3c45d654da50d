//! What a block would take on a GPU: a clock for each warp, by constants that are given.
//!
//! Nothing here is measured. [`Timing`] says what each instruction of a kernel costs in machine code
//! and how far the memories are; a launch that is [timed](crate::Launch::timed) goes by it while it
//! runs, and gives a [`BlockTiming`] for each of its blocks. The model, in reading order:
//!
//! - `model`: the constants. An instruction of `issue` slots takes `issue * warps_per_scheduler`
//!   cycles of its warp's time, since the warps of a scheduler take turns. Its results are there
//!   `latency` cycles after it began. A warp issues in order, and waits where an operand is not
//!   there yet.
//! - `events`: an instruction begins at the latest of what it waits for; which one that was is kept,
//!   so that the critical path can be walked back from the end of the block.
//! - `warp`: the time of a warp, and when each of its registers, pipes and copies is ready. All
//!   lanes share them: where lanes part, their ways are timed one after the other.
//! - `cache`: the L1 cache, which decides how far a load has to go.
//! - `meeting`: barriers end when the last warp has come, and a little later.
//! - `timer`: all of it together, called by the loop that executes.
//!
//! A launch that depends on the one before it may begin early. All that its block does up to
//! `griddepcontrol.wait` is hidden behind that launch: there the clock starts anew.
//!
//! Left out: how warps of other blocks use caches and memories (it is for whoever asks to hold the
//! counts of sectors against bandwidths), waits for a store to arrive, instruction fetch, and loops
//! that wait for other blocks by reading memory.

mod cache;
mod events;
mod meeting;
mod model;
mod result;
mod timer;
mod warp;

pub(crate) use meeting::Arrival;
pub use model::{InstructionTiming, Latencies, Timing};
pub use result::{BlockTiming, BlockTraffic, Cause, PathPart};
pub(crate) use timer::{Timer, Touch};
