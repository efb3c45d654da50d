//! A stand-in for CUDA's driver library whose GPU is the PTX emulator.
//!
//! Built as a shared library and put where a program looks for `libcuda.so`, it takes the calls
//! that `device::cuda` makes through cudarc: contexts, memory, modules, streams, graphs. Kernels
//! run on the emulator with all its checks. So the host's side of a GPU run can be tested without a
//! GPU: allocations, copies, captures and launches, and their order.
//!
//! Work on streams is queued and only done when something waits for it, as late as a GPU may: a
//! host that reads before it has waited, or changes a staging buffer too early, gets wrong values.
//! So does one that leaves out a wait between streams: work that a wait does not need is done after
//! it (`late`) or before it (`early`).
//!
//! A launch that may begin while the one before it runs is checked for waiting by itself (see
//! `emulator::Launch::dependent`). Uploads without a stream before the first of them count as
//! weights, which no launch writes.
//!
//! Environment variables:
//!
//! - `EFFNET_EMULATED_DRIVER_FAIL`: any of these, with commas between them: `no-device`,
//!   `old-driver`, `memory`, `architecture`, `load`; `CALL=CODE`, by which every call of a function
//!   has this result, or `CALL=CODE@N`, by which the Nth one has. `dependent` stands for launches that
//!   may begin early, and `kernel` for a kernel while it runs: what waits for it is told, and so is
//!   every call after that;
//! - `EFFNET_EMULATED_DRIVER_VERSION`: the CUDA that it is of, as a driver counts, instead of 13000;
//! - `EFFNET_EMULATED_DRIVER_GPUS`: the compute capability of each GPU, as in `75,90`, instead of one of
//!   the newest target that is built;
//! - `EFFNET_EMULATED_DRIVER_ORDER`: `late`, as where it is not set, or `early`;
//! - `EFFNET_EMULATED_DRIVER_LOG`: a file to which a line is added for each kernel that runs;
//! - `EFFNET_EMULATED_DRIVER_TRACE`: a file to which a line is added for each copy that is made (with
//!   the host's address and whether its memory is pinned, where the host has a part in it), and for
//!   each call about a graph, a wait of the host or an attribute.

#![allow(non_snake_case)] // the driver's names

// In reading order: what a call may answer, what the environment sets, the GPU with its queues of
// work, and the driver's functions.
mod calls;
mod gpu;
mod modules;
mod results;
mod settings;
