//! Buffers of the arena and of the outputs.

use super::{Address, Region};
use crate::weights::Precision;

/// Index of a buffer in [`LaunchPlan::buffers`](super::LaunchPlan::buffers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buf(pub usize);

/// A buffer of the arena, or of the outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchBuffer {
    /// For people, as in `blocks.3.depthwise`.
    pub name: String,
    /// Elements at the full batch.
    pub elems: usize,
    /// Elements of one image; 0 for scratch space that is not cut by images.
    pub image_elems: usize,
    /// Element type.
    pub precision: Precision,
    /// [`Region::Arena`] or [`Region::Output`].
    pub region: Region,
    /// Offset in the region.
    pub offset_bytes: u64,
    /// First launch that touches it.
    pub first_launch: usize,
    /// Last launch that touches it; outputs stay alive to the end.
    pub last_launch: usize,
}

impl LaunchBuffer {
    /// Where it is.
    pub fn address(&self) -> Address {
        Address { region: self.region, offset_bytes: self.offset_bytes }
    }

    /// Its size at the full batch.
    pub fn bytes(&self) -> usize {
        self.elems * self.precision.elem_bytes()
    }
}
