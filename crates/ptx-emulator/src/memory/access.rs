//! Where a warp's access lies: offsets of its lanes, and the runs that they make.

use super::Words;
use super::byte;
use super::shadow::Record;
use crate::registers::{LANES, Mask};
use std::ops::Range;

/// Offsets of the lanes in an allocation.
pub(super) struct Offsets {
    pub of: [u64; LANES],
    /// The lanes follow each other, in lanes and in addresses.
    pub is_row: bool,
    /// More than one lane, and all access one place.
    pub is_broadcast: bool,
}

impl Offsets {
    pub fn new() -> Offsets {
        Offsets { of: [0; LANES], is_row: false, is_broadcast: false }
    }

    /// Sets the offsets, and returns the lanes of the mask whose accesses lie in the allocation and
    /// are aligned. The allocation begins at `base`, which is aligned to any access, and has
    /// `bytes` bytes.
    #[inline(always)]
    pub fn set(
        &mut self,
        base: u64,
        bytes: u64,
        addresses: impl Fn(usize) -> u64,
        mask: Mask,
        width: u32,
    ) -> Mask {
        for (lane, offset) in self.of.iter_mut().enumerate() {
            *offset = addresses(lane).wrapping_sub(base);
        }
        self.is_row = false;
        self.is_broadcast = false;
        let of = &self.of;
        let Some(room) = bytes.checked_sub(width.into()) else { return 0 };
        let low = u64::from(width - 1);
        let first = mask.trailing_zeros() as usize % LANES;
        let end = first + mask.count_ones() as usize;
        let expected = |lane: usize| {
            of[first].wrapping_add((lane.wrapping_sub(first) as u64).wrapping_mul(width.into()))
        };
        let mut differing = 0;
        if mask == Mask::MAX {
            for (lane, offset) in of.iter().enumerate() {
                differing |= offset ^ expected(lane);
            }
        } else if u64::from(mask) == (1 << end) - (1 << first) {
            for (lane, offset) in of.iter().enumerate().take(end).skip(first) {
                differing |= offset ^ expected(lane);
            }
        } else {
            differing = 1;
        }
        if differing == 0 && of[first] & low == 0 && of[first] <= room && of[end - 1] <= room {
            self.is_row = true;
            return mask;
        }
        let (mut fine, mut alike) = (0, 0);
        for (lane, &offset) in of.iter().enumerate() {
            fine |= u32::from((offset <= room) & (offset & low == 0)) << lane;
            alike |= u32::from(offset == of[first]) << lane;
        }
        self.is_broadcast = mask & !alike == 0 && !mask.is_power_of_two();
        fine & mask
    }

    /// The first word and number of words of a row.
    #[inline(always)]
    pub fn row<const WIDTH: usize>(&self, mask: Mask) -> Option<(usize, Range<usize>)> {
        if !self.is_row || WIDTH < 4 {
            return None;
        }
        let first = mask.trailing_zeros() as usize % LANES;
        let start = (self.of[first] / 4) as usize;
        Some((first, start..start + mask.count_ones() as usize * (WIDTH / 4)))
    }

    /// Gives `each` the runs of the lanes of the mask, in pages of so many cells.
    #[inline(always)]
    pub fn runs(
        &self,
        mask: Mask,
        width: u32,
        granule_shift: u32,
        page_cells: usize,
        mut each: impl FnMut(Run),
    ) {
        let per_lane_shift = width.ilog2().saturating_sub(granule_shift);
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let start = (self.of[first] >> granule_shift) as usize;
            let (page, cell) = (start / page_cells, start % page_cells);
            // Lanes that are set from here on, and that the page has cells for.
            let ahead = (!(rest >> first)).trailing_zeros() as usize;
            let most = ahead.min(((page_cells - cell) >> per_lane_shift).max(1));
            let mut lanes = most;
            if width >> granule_shift == 0 {
                // Narrower than a cell, which is then shared.
                lanes = 1;
            } else if !self.is_row {
                lanes = 1;
                let mut next = self.of[first].wrapping_add(width.into());
                while lanes < most && self.of[first + lanes] == next {
                    lanes += 1;
                    next = next.wrapping_add(width.into());
                }
            }
            each(Run { page, cell, lane: first as u32, lanes: lanes as u32 });
            rest &= !((((1u64 << lanes) - 1) as u32) << first);
        }
    }

    /// The lane of this very instruction that made the earlier write at `at`, an access of the same
    /// warp and time.
    #[cold]
    pub fn twin(
        &self,
        earlier: Record,
        mask: Mask,
        lane: usize,
        at: u64,
        width: u32,
    ) -> Option<usize> {
        let other = earlier.lane() as usize;
        let is_before = other < lane && mask >> other & 1 != 0;
        (is_before && at.checked_sub(self.of[other])? < width.into()).then_some(other)
    }

    /// Whether two lanes write different bytes anywhere that both write.
    #[cold]
    pub fn differ(&self, data: &Words, lane: usize, other: usize, width: u32) -> bool {
        (0..width).any(|index| {
            let theirs = self.of[lane].wrapping_add(index.into()).wrapping_sub(self.of[other]);
            theirs < width.into() && byte(data, lane, index) != byte(data, other, theirs as u32)
        })
    }
}

/// Lanes of one access that follow each other, in lanes and in addresses, within one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub page: usize,
    /// The first cell of the first lane, in the page.
    pub cell: usize,
    /// The first lane, or [`MANY`](super::shadow::MANY) for several at one place.
    pub lane: u32,
    pub lanes: u32,
}

impl Run {
    /// Each cell and its lane.
    pub fn cells<const PER_LANE: usize>(&self) -> impl Iterator<Item = (usize, u32)> {
        let Run { cell, lane, lanes, .. } = *self;
        (lane..lane + lanes)
            .flat_map(|lane| std::iter::repeat_n(lane, PER_LANE))
            .zip(cell..)
            .map(|(lane, cell)| (cell, lane))
    }

    /// The run's cells, by lane.
    #[inline(always)]
    pub fn rows<'a, S, const PER_LANE: usize>(&self, cells: &'a [S]) -> &'a [[S; PER_LANE]] {
        cells[self.cell..][..self.lanes as usize * PER_LANE].as_chunks().0
    }

    /// The lane that a race at a cell is reported for: of several at one place, one that did not
    /// make the earlier access.
    pub fn lane_to_report(&self, lane: u32, mask: Mask, earlier: Record) -> usize {
        if (lane as usize) < LANES {
            return lane as usize;
        }
        let others = mask & !1u32.checked_shl(earlier.lane()).unwrap_or(0);
        others.trailing_zeros() as usize % LANES
    }
}

/// A store of a warp.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub offsets: &'a Offsets,
    pub mask: Mask,
    pub data: &'a Words,
    pub width: u32,
}
