//! A runtime for the EfficientNet family: public checkpoints in, class logits out.
//!
//! The map, in reading order:
//!
//! - [`arch`]: variants, block specs, padding, shapes and costs, as pure data;
//! - [`image`]: from an encoded picture to the input tensor, by the recipe of the checkpoint's family;
//! - [`weights`]: checkpoints, packed files, the catalogue, downloads;
//! - [`plan`]: every step, tensor and buffer of a run, as plain data;
//! - [`cpu`]: an executor of plans in f32;
//! - [`kernels`]: the CUDA kernels as compiled images, and their launches as plain data;
//! - [`launches`]: the plan as launches, by path and precision, with device memory laid out;
//! - [`device`]: machines that run launches: a CUDA GPU, and the emulator;
//! - [`emulator`]: PTX on the CPU, with checks;
//! - [`session`]: weights, plan and executor together, with an example to start from;
//! - [`pipeline`]: photographs through a session, decoded while the network runs;
//! - [`export`]: the network as an ONNX file;
//! - `estimate`: what a GPU would take, predicted without one (features `cli` and `emulator`);
//! - [`environment`], [`measure`], [`profile`], [`compare`], [`report`]: the machine, times, where they
//!   go, how they compare, and how that is shown;
//! - [`labels`]: the names of ImageNet's classes;
//! - [`files`]: outputs that are there as a whole or not at all.
//!
//! Without features this is the runtime alone. The feature `emulator` brings the emulator; `cli` brings
//! the command and its tools: [`export`], [`measure`], [`profile`], [`compare`], [`report`], and the
//! downloads of [`weights`].
//!
//! Layout is NHWC throughout. Errors are values; nothing panics on bad input. The same input gives
//! the same bytes, whatever the number of threads and the batch that it travels in.

// Test support names the crate as its users do.
#[cfg(test)]
extern crate self as effnet;

pub mod arch;
mod arena;
#[cfg(feature = "cli")]
pub mod compare;
pub mod cpu;
pub mod device;
#[cfg(feature = "cli")]
pub mod environment;
#[cfg(all(feature = "cli", feature = "emulator"))]
pub mod estimate;
#[cfg(feature = "cli")]
pub mod export;
pub mod files;
pub mod image;
pub mod kernels;
pub mod labels;
pub mod launches;
mod mapped;
#[cfg(feature = "cli")]
pub mod measure;
pub mod memory;
pub mod pipeline;
pub mod plan;
#[cfg(feature = "cli")]
mod process;
#[cfg(feature = "cli")]
pub mod profile;
#[cfg(feature = "cli")]
pub mod report;
#[cfg(feature = "serve")]
pub mod serve;
pub mod session;
#[cfg(feature = "cli")]
mod threads;
#[cfg(feature = "cli")]
pub mod verify;
pub mod weights;

#[cfg(feature = "emulator")]
pub use ptx_emulator as emulator;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
