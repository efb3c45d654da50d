//! Asynchronous copies into shared memory: from their beginning until they land.

use super::access::Offsets;
use super::in_flight::{CopiesInFlight, IN_FLIGHT, ONE_IN_FLIGHT};
use super::shadow::{AccessKind, Present};
use super::shared::Shared;
use super::values::{self, State, WHOLE};
use super::{Actor, Words, lanes};
use crate::registers::{LANES, Mask};
use crate::report::Check;

impl Shared {
    /// Begins an asynchronous copy of `bytes` (a multiple of 4) to `address` for a lane. Until
    /// [`finish_async`](Self::finish_async) any access of the destination is a fault. False: the
    /// destination is outside or misaligned, which has been reported, and the copy is not to be
    /// finished.
    pub fn begin_async(
        &mut self,
        actor: &mut Actor,
        lane: usize,
        address: u32,
        bytes: u32,
    ) -> bool {
        self.begin_async_lanes(actor, 1 << lane, &[address; LANES], bytes) != 0
    }

    /// As [`begin_async`](Self::begin_async), for each lane of the mask; returns those whose copies
    /// have begun.
    pub fn begin_async_lanes(
        &mut self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        bytes: u32,
    ) -> Mask {
        // Bulk copies are aligned to 16 bytes, the others to their size.
        let alignment = if bytes > 16 { 16 } else { bytes.next_power_of_two() }.max(4);
        let is_fine = |lane: &usize| {
            let address = addresses[*lane];
            let end = u64::from(address) + u64::from(bytes);
            end <= self.bytes.into() && bytes.is_multiple_of(4) && address.is_multiple_of(alignment)
        };
        let fine = lanes(mask).filter(is_fine).fold(0, |fine, lane| fine | 1 << lane);
        let mut offsets = Offsets::new();
        offsets.set(0, 0, |lane| addresses[lane].into(), 0, 1);
        if fine != mask {
            self.refuse(actor, mask & !fine, &offsets, bytes, AccessKind::Write);
        }
        if fine != 0 {
            self.copies.push(CopiesInFlight {
                warp: actor.warp,
                mask: fine,
                addresses: *addresses,
                bytes,
            });
        }
        let present = Present::of(actor, Check::SharedRace, false);
        for lane in lanes(fine) {
            let address = addresses[lane];
            let state = &self.state[address as usize / 4..(address + bytes) as usize / 4];
            if state.iter().any(|state| state.get() & IN_FLIGHT != 0) {
                self.report_state(actor, address, lane, bytes, AccessKind::Write);
            }
            for state in state {
                state.set(state.get().saturating_add(ONE_IN_FLIGHT));
            }
            // What others do with the destination must be over when the copy begins, too.
            let Some(present) = &present else { continue };
            let cells = self.cells_of(address, bytes);
            let records = [&self.writes, &self.reads, &self.other_reads];
            let settled = records.into_iter().all(|records| {
                records[cells.clone()].iter().all(|cell| cell.get() < present.limit().0)
            });
            if settled {
                continue;
            }
            if let Some((_, earlier, was_write)) = self.race(present, cells, lane as u32) {
                let place = self.place(AccessKind::Write, lane, bytes, address);
                place.report_race(actor, Check::SharedRace, earlier, was_write);
            }
        }
        fine
    }

    /// A copy lands: it becomes a write by its lane, now.
    pub fn finish_async(&mut self, actor: &mut Actor, lane: usize, address: u32, data: &[u8]) {
        let bytes = data.len() as u32;
        if !self.land(actor.warp, 1 << lane, &[address; LANES], bytes) {
            return;
        }
        let words = address as usize / 4..(address + bytes) as usize / 4;
        for (index, chunk) in words.zip(data.as_chunks().0) {
            self.words[index].set(u32::from_le_bytes(*chunk));
            self.state[index].add(WHOLE);
        }
        if let Some(present) = Present::of(actor, Check::SharedRace, false) {
            let race = self.record_write(&present, self.cells_of(address, bytes), lane as u32);
            if let Some((_, earlier, was_write)) = race {
                let place = self.place(AccessKind::Write, lane, bytes, address);
                place.report_race(actor, Check::SharedRace, earlier, was_write);
            }
        }
    }

    /// What [`begin_async_lanes`](Self::begin_async_lanes) has begun lands, of 4, 8 or 16 bytes:
    /// `mask` is what that returned, or a part of it.
    pub fn finish_async_lanes(
        &mut self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        bytes: u32,
        data: &Words,
    ) {
        if self.land(actor.warp, mask, addresses, bytes) {
            match bytes {
                4 => self.write_as::<4>(actor, mask, addresses, data),
                8 => self.write_as::<8>(actor, mask, addresses, data),
                _ => self.write_as::<16>(actor, mask, addresses, data),
            }
        }
    }

    fn write_as<const WIDTH: usize>(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        data: &Words,
    ) {
        let mut offsets = Offsets::new();
        let now =
            self.admitted(actor, mask, addresses, WIDTH as u32, AccessKind::Write, &mut offsets);
        self.record_store::<WIDTH>(actor, false, &offsets, now, data);
        values::write::<_, _, WIDTH>(&self.words, Some(&self.state), &offsets, now, data);
    }

    /// Takes copies of some lanes out of those under way; false if they are not among them.
    fn land(&mut self, warp: u32, mask: Mask, addresses: &[u32; LANES], bytes: u32) -> bool {
        let is_it = |copies: &CopiesInFlight| {
            (copies.warp, copies.bytes) == (warp, bytes)
                && mask & !copies.mask == 0
                && lanes(mask).all(|lane| copies.addresses[lane] == addresses[lane])
        };
        let Some(index) = self.copies.iter().position(is_it) else { return false };
        self.copies[index].mask &= !mask;
        if self.copies[index].mask == 0 {
            self.copies.remove(index);
        }
        for address in lanes(mask).map(|lane| addresses[lane]) {
            for state in &self.state[address as usize / 4..(address + bytes) as usize / 4] {
                state.set(state.get().saturating_sub(ONE_IN_FLIGHT) | state.get() & WHOLE);
            }
        }
        true
    }
}
