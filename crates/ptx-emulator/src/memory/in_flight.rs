//! Copies into shared memory that have not landed.

use super::lanes;
use crate::registers::{LANES, Mask};
use std::ops::Range;

/// Above the bits of its written bytes, a word's state counts the copies into it that are under
/// way.
pub(super) const IN_FLIGHT: u8 = 0xf0;
/// One copy more in a word's state.
pub(super) const ONE_IN_FLIGHT: u8 = 0x10;

/// Asynchronous copies of a warp's lanes that have not landed.
#[derive(Clone, Debug)]
pub(super) struct CopiesInFlight {
    pub warp: u32,
    pub mask: Mask,
    pub addresses: [u32; LANES],
    pub bytes: u32,
}

impl CopiesInFlight {
    /// A lane whose copy goes to any of these addresses.
    pub fn lane_at(&self, addresses: Range<u32>) -> Option<usize> {
        lanes(self.mask).find(|&lane| {
            self.addresses[lane] < addresses.end
                && addresses.start < self.addresses[lane] + self.bytes
        })
    }
}
