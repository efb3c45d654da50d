//! An emulator of PTX on the CPU, warp by warp, stricter than a GPU.
//!
//! It executes what nvcc emits, unmodified, and reports what a GPU would let pass: accesses out of
//! bounds, reads of what nothing has written, races, divergent barriers, wrong membermasks, copies
//! that were not waited for. In reading order:
//!
//! - [`Module`]: PTX text, lexed, parsed and lowered; what is not understood is an error at load;
//! - [`Memory`]: global memory in named buffers;
//! - [`Launch`]: a kernel with its grid and arguments, run to a [`Report`] of [`Finding`]s and
//!   [`Counters`];
//! - [`Timing`]: constants of a GPU, with which a launch predicts what its blocks would take there,
//!   as a [`BlockTiming`] of each.
//!
//! The same launch gives the same bytes and the same report. What it cannot tell: faults of ptxas,
//! registers and spills, time beyond what the constants foresee, the rounding of tensor cores' sums
//! and of approximate functions, and reorderings that only a weak memory would show and that no
//! missing synchronisation explains.

mod accesses;
mod address;
mod arithmetic;
mod ast;
mod asynchronous;
mod barriers;
mod block;
mod block_barrier;
#[cfg(feature = "cli")]
pub mod cli;
mod counters;
mod environment;
mod exchange;
mod execute;
mod faults;
#[cfg(test)]
mod fixtures;
mod group;
mod launch;
mod lex;
mod lower;
mod mbarrier;
mod memory;
mod module;
mod order;
mod parse;
mod postdominators;
mod program;
mod registers;
mod report;
mod splits;
mod tensor;
mod threads;
mod timing;
mod transfers;
mod warp;
mod warp_copies;

pub use counters::{Counters, InstructionCounters, LineCounters, Traffic};
pub use launch::{DEFAULT_BUDGET, Launch, LaunchError, Schedule};
pub use memory::{Buffer, Memory};
pub use module::{Entry, InstructionInfo, LoadError, Module, Param};
pub use program::Class;
pub use report::{Check, Checks, Finding, Report};
pub use threads::{ThreadsError, start_threads};
pub use timing::{
    BlockTiming, BlockTraffic, Cause, InstructionTiming, Latencies, PathPart, Timing,
};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
