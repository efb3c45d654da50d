//! Asynchronous copies that a warp has issued, and that have not landed.

use super::mbarrier::MbarrierPlace;
use super::memory::Words;
use super::registers::{LANES, Mask, lanes};
use super::timing::Arrival;
use super::warp::WarpPlace;

/// What a warp's lanes have under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct WarpCopies {
    pub copies: Vec<LaneCopies>,
    /// Groups that each lane has committed.
    pub committed: [u32; LANES],
    pub arrivals: Vec<CopyArrival>,
    /// Copies so far: tells what an arrival comes after.
    pub issued: u64,
    pub bulk: Vec<BulkToGlobal>,
    pub bulk_committed: [u32; LANES],
}

/// `cp.async` of a warp.
#[derive(Clone, Debug)]
pub(crate) struct LaneCopies {
    pub number: u64,
    pub pc: u32,
    /// Lanes whose copy has not landed.
    pub mask: Mask,
    /// Lanes that have not committed it to a group.
    pub open: Mask,
    pub group: [u32; LANES],
    pub to: [u32; LANES],
    pub bytes: u32,
    pub data: Words,
}

/// `cp.async.mbarrier.arrive` of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyArrival {
    pub lane: usize,
    pub at: MbarrierPlace,
    pub after: u64,
    /// When all that it comes after is done, in a timed launch.
    pub done: Option<Arrival>,
}

/// `cp.async.bulk` from shared to global memory.
#[derive(Clone, Debug)]
pub(crate) struct BulkToGlobal {
    pub pc: u32,
    pub lane: usize,
    pub group: Option<u32>,
    pub to: u64,
    pub data: Vec<u8>,
}

/// `cp.async.bulk` to shared memory.
#[derive(Clone, Debug)]
pub(crate) struct BulkToShared {
    pub place: WarpPlace,
    pub pc: u32,
    pub lane: usize,
    pub to: MbarrierPlace,
    pub mbarrier: MbarrierPlace,
    pub data: Vec<u8>,
    /// When it is done, in a timed launch.
    pub done: Option<Arrival>,
}

impl WarpCopies {
    /// The lanes put the copies that they have issued into a group.
    pub fn commit(&mut self, active: Mask) {
        for copy in &mut self.copies {
            for lane in lanes(copy.open & active) {
                copy.group[lane] = self.committed[lane];
            }
            copy.open &= !active;
        }
        for lane in lanes(active) {
            self.committed[lane] += 1;
        }
    }

    /// As [`commit`](Self::commit), for bulk copies to global memory.
    pub fn commit_bulk(&mut self, active: Mask) {
        for copy in &mut self.bulk {
            if copy.group.is_none() && active >> copy.lane & 1 != 0 {
                copy.group = Some(self.bulk_committed[copy.lane]);
            }
        }
        for lane in lanes(active) {
            self.bulk_committed[lane] += 1;
        }
    }

    /// Takes out the copies for whose lanes `lands` holds.
    pub fn take(&mut self, lands: impl Fn(&LaneCopies, usize) -> bool) -> Vec<LaneCopies> {
        let mut landed = Vec::new();
        for copy in &mut self.copies {
            let mask =
                lanes(copy.mask).filter(|&lane| lands(copy, lane)).fold(0, |m, l| m | 1 << l);
            if mask != 0 {
                landed.push(LaneCopies { mask, ..copy.clone() });
                copy.mask &= !mask;
            }
        }
        self.copies.retain(|copy| copy.mask != 0);
        landed
    }
}
