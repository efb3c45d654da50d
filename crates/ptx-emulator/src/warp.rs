//! A warp: where it is, and what it computes with.

use super::memory::Local;
use super::registers::Registers;

/// The warp that executes: block of the group, warp of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WarpPlace {
    pub block: usize,
    pub warp: usize,
}

/// What a warp computes with.
#[derive(Default)]
pub(crate) struct WarpData {
    pub registers: Registers,
    pub local: Local,
}
