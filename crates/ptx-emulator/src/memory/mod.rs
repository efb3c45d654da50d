//! The memories of the emulated device, and the checks of every access.
//!
//! All of them are accessed by a warp at once: a mask of lanes, and an address for each. A lane
//! whose access is outside of every allocation, or misaligned, is left out and reads zeros.

mod access;
mod actor;
mod buffers;
mod cells;
mod chunks;
mod copies;
mod global;
mod in_flight;
mod local;
mod pages;
mod params;
mod shadow;
mod shared;
mod values;
mod words;

pub(crate) use actor::Actor;
#[cfg(test)]
pub(crate) use buffers::FIRST_ADDRESS;
pub use buffers::{Buffer, Memory};
pub(crate) use local::Local;
pub(crate) use params::load_bytes;
pub(crate) use shared::Shared;
pub(crate) use words::Words;

use super::registers::lanes;
use words::{byte, bytes_of_word};

#[cfg(test)]
mod tests;
