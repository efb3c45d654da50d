//! A barrier of a block while its threads arrive.

use super::program::BarrierKind;
use super::registers::Mask;

/// A barrier of a block that some have arrived at.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockBarrier {
    /// Warps whose lanes have all arrived; a warp may come twice by `arrive`.
    pub arrived: Vec<u32>,
    /// Lanes of warps that have not all arrived.
    pub partial: Vec<(u32, Mask)>,
    /// Threads that complete it; all of the block where `None`.
    pub threads: Option<u32>,
    /// A reduction so far.
    pub any: bool,
    pub every: bool,
    pub count: u32,
    pub started: bool,
}

impl BlockBarrier {
    /// What the reduction of this kind gives.
    pub fn value(&self, kind: BarrierKind) -> u32 {
        match kind {
            BarrierKind::Sync | BarrierKind::Arrive => 0,
            BarrierKind::And(_) => self.every.into(),
            BarrierKind::Or(_) => self.any.into(),
            BarrierKind::Popc(_) => self.count,
        }
    }
}
