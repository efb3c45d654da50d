//! What kernels do with global memory.

use super::access::{Offsets, Run, Stored};
use super::buffers::{Allocation, Memory};
use super::chunks::{CHUNK_BYTES, Chunk};
use super::pages::{CELLS, Memo, Page};
use super::shadow::{AccessKind, AccessPlace, MANY, Present, Record};
use super::values::{self, State};
use super::{Actor, Words, bytes_of_word, lanes};
use crate::registers::{LANES, Mask};
use crate::report::{About, Check};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;

/// A chunk of an allocation, which need not have been made yet.
#[derive(Clone, Copy)]
struct Part<'m> {
    allocation: &'m Allocation,
    index: usize,
    granule_shift: u32,
}

impl<'m> Part<'m> {
    /// None: zeros that nothing has written.
    #[inline(always)]
    fn get(self) -> Option<&'m Chunk> {
        self.allocation.chunks.get(self.index)
    }

    #[inline(always)]
    fn make(self) -> &'m Chunk {
        self.allocation.chunks.make(self.index)
    }

    fn page(self, index: usize) -> &'m Page {
        self.make().page(index, self.granule_shift)
    }

    /// An access at an offset in the chunk.
    fn place(self, kind: AccessKind, lane: usize, width: u32, offset: u64) -> AccessPlace<'m> {
        let start = (self.index * CHUNK_BYTES) as u64;
        self.allocation.place(kind, lane, width, start + offset)
    }
}

impl Memory {
    /// Takes from `rest` the lanes that access one chunk of one allocation and no fault forbids,
    /// and sets their offsets in the chunk. Lanes with a fault are reported and taken too.
    #[inline(always)]
    fn next<'m>(
        &'m self,
        actor: &mut Actor,
        rest: &mut Mask,
        addresses: &[u64; LANES],
        width: u32,
        kind: AccessKind,
        offsets: &mut Offsets,
    ) -> Option<(Part<'m>, Mask)> {
        while *rest != 0 {
            let leader = rest.trailing_zeros() as usize;
            if let Some(index) = self.find(addresses[leader]) {
                let allocation = &self.allocations[index];
                let start = allocation.buffer.address();
                let chunk = (addresses[leader].wrapping_sub(start) / CHUNK_BYTES as u64) as usize;
                let base = start.wrapping_add((chunk * CHUNK_BYTES) as u64);
                let bytes = allocation.chunks.bytes_of(chunk) as u64;
                let address = |lane: usize| addresses[lane];
                let fine = offsets.set(base, bytes, address, *rest, width);
                let permitted = kind == AccessKind::Read || !allocation.read_only;
                if fine >> leader & 1 != 0 && permitted {
                    *rest &= !fine;
                    let granule_shift = self.granule_shift;
                    return Some((Part { allocation, index: chunk, granule_shift }, fine));
                }
            }
            self.refuse(actor, leader, addresses[leader], width, kind);
            *rest &= !(1 << leader);
        }
        None
    }

    #[cold]
    fn refuse(&self, actor: &mut Actor, lane: usize, address: u64, width: u32, kind: AccessKind) {
        let inside = self.find(address).and_then(|index| {
            let allocation = &self.allocations[index];
            let offset = address.checked_sub(allocation.buffer.address())?;
            let room = (allocation.buffer.len_bytes() as u64).checked_sub(width.into())?;
            (offset <= room).then_some((allocation, offset))
        });
        if let Some((allocation, offset)) = inside {
            let place = allocation.place(kind, lane, width, offset);
            if !offset.is_multiple_of(width.into()) || !allocation.read_only {
                return place.report_misaligned(actor);
            }
            let name = allocation.buffer.name();
            return actor.findings.add(Check::OutOfBounds, actor.site, lane as u32, || About {
                address: Some(address),
                buffer: Some(name.to_owned()),
                message: format!("{} of {width} bytes to {name}, which is read-only", kind.name()),
            });
        }
        actor.findings.add(Check::OutOfBounds, actor.site, lane as u32, || {
            let (buffer, nearest) = self.nearest(address, width);
            let s = if width == 1 { "" } else { "s" };
            About {
                address: Some(address),
                buffer,
                message: format!("{} of {width} byte{s}: {nearest}", kind.name()),
            }
        });
    }

    /// Loads `width` bytes (1, 2, 4, 8 or 16) for each lane of the mask.
    pub(crate) fn load(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u64; LANES],
        width: u32,
        out: &mut Words,
    ) {
        match width {
            1 => self.load_as::<1>(actor, mask, addresses, out),
            2 => self.load_as::<2>(actor, mask, addresses, out),
            4 => self.load_as::<4>(actor, mask, addresses, out),
            8 => self.load_as::<8>(actor, mask, addresses, out),
            _ => self.load_as::<16>(actor, mask, addresses, out),
        }
    }

    fn load_as<const WIDTH: usize>(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u64; LANES],
        out: &mut Words,
    ) {
        let width = WIDTH as u32;
        let mut rest = mask;
        let mut served = 0;
        let mut offsets = Offsets::new();
        while let Some((part, now)) =
            self.next(actor, &mut rest, addresses, width, AccessKind::Read, &mut offsets)
        {
            served |= now;
            if let Some(present) = Present::of(actor, Check::GlobalRace, actor.strong) {
                let width = WIDTH as u32;
                match WIDTH >> self.granule_shift {
                    0 | 1 => self.record_reads::<1>(actor, &present, part, &offsets, now, width),
                    2 => self.record_reads::<2>(actor, &present, part, &offsets, now, width),
                    4 => self.record_reads::<4>(actor, &present, part, &offsets, now, width),
                    8 => self.record_reads::<8>(actor, &present, part, &offsets, now, width),
                    _ => self.record_reads::<16>(actor, &present, part, &offsets, now, width),
                }
            }
            check_written::<WIDTH>(actor, part, &offsets, now, AccessKind::Read);
            match part.get() {
                Some(chunk) => values::read::<_, WIDTH>(&chunk.words, &offsets, now, out),
                None => values::read_zeros::<WIDTH>(now, out),
            }
        }
        for lane in lanes(mask & !served) {
            out.iter_mut().for_each(|words| words[lane] = 0);
        }
    }

    fn record_reads<const PER_LANE: usize>(
        &self,
        actor: &mut Actor,
        present: &Present,
        part: Part,
        offsets: &Offsets,
        mask: Mask,
        width: u32,
    ) {
        let mut memo = Memo::new();
        let mut held = None;
        let mut each = |run: Run| {
            let page = part.page(run.page);
            let found = page.read::<PER_LANE>(&run, present, &mut memo, &mut held);
            if let Some((lane, earlier)) = found {
                let lane = run.lane_to_report(lane, mask, earlier);
                let place = part.place(AccessKind::Read, lane, width, offsets.of[lane]);
                place.report_race(actor, Check::GlobalRace, earlier, true);
            }
        };
        if offsets.is_broadcast {
            let first = mask & mask.wrapping_neg();
            offsets.runs(first, width, self.granule_shift, CELLS, |run| {
                each(Run { lane: MANY, ..run });
            });
        } else {
            offsets.runs(mask, width, self.granule_shift, CELLS, each);
        }
    }

    /// Stores `width` bytes (1, 2, 4, 8 or 16) for each lane of the mask. Of lanes that write one
    /// place, the highest stays.
    pub(crate) fn store(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u64; LANES],
        width: u32,
        data: &Words,
    ) {
        match width {
            1 => self.store_as::<1>(actor, mask, addresses, data),
            2 => self.store_as::<2>(actor, mask, addresses, data),
            4 => self.store_as::<4>(actor, mask, addresses, data),
            8 => self.store_as::<8>(actor, mask, addresses, data),
            _ => self.store_as::<16>(actor, mask, addresses, data),
        }
    }

    fn store_as<const WIDTH: usize>(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u64; LANES],
        data: &Words,
    ) {
        let mut rest = mask;
        let mut offsets = Offsets::new();
        while let Some((part, now)) =
            self.next(actor, &mut rest, addresses, WIDTH as u32, AccessKind::Write, &mut offsets)
        {
            if let Some(present) = Present::of(actor, Check::GlobalRace, actor.strong) {
                let access = Stored { offsets: &offsets, mask: now, data, width: WIDTH as u32 };
                match WIDTH >> self.granule_shift {
                    0 | 1 => self.record_writes::<1>(actor, &present, part, &access),
                    2 => self.record_writes::<2>(actor, &present, part, &access),
                    4 => self.record_writes::<4>(actor, &present, part, &access),
                    8 => self.record_writes::<8>(actor, &present, part, &access),
                    _ => self.record_writes::<16>(actor, &present, part, &access),
                }
            }
            let chunk = part.make();
            let written = chunk.written.as_deref();
            values::write::<_, _, WIDTH>(&chunk.words, written, &offsets, now, data);
        }
    }

    fn record_writes<const PER_LANE: usize>(
        &self,
        actor: &mut Actor,
        present: &Present,
        part: Part,
        access: &Stored,
    ) {
        let Stored { offsets, mask, data, width } = *access;
        let mut memo = Memo::new();
        let mut held: Option<(usize, MutexGuard<()>)> = None;
        offsets.runs(mask, width, self.granule_shift, CELLS, |run| {
            let page = part.page(run.page);
            if held.as_ref().is_none_or(|(page, _)| *page != run.page) {
                held = None;
                held = Some((run.page, page.lock()));
            }
            let mut report = |lane: u32, cell: usize, earlier: Record, was_write: bool| {
                let lane = lane as usize;
                let at = ((run.page * CELLS + cell) << self.granule_shift) as u64;
                let place = part.place(AccessKind::Write, lane, width, offsets.of[lane]);
                let is_twin = was_write && present.is_now(earlier);
                let twin = offsets.twin(earlier, mask, lane, at, width).filter(|_| is_twin);
                match twin {
                    None => place.report_race(actor, Check::GlobalRace, earlier, was_write),
                    Some(other) if offsets.differ(data, lane, other, width) => {
                        place.report_lanes_differ(actor, Check::GlobalRace, other as u32);
                    }
                    Some(_) => {}
                }
            };
            page.write::<PER_LANE>(&run, present, &mut memo, &mut report);
        });
    }

    /// For each lane of the mask, in ascending order: gives `op` the lane and the `width` bytes (2,
    /// 4 or 8) in memory, and writes what it returns; none makes it a read. Against the other
    /// blocks, which run at the same time, each is indivisible; `op` may be asked again, with what
    /// another block has written meanwhile.
    pub(crate) fn atomic(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u64; LANES],
        width: u32,
        op: &mut dyn FnMut(usize, u64) -> Option<u64>,
    ) {
        let cells = (width as usize >> self.granule_shift).max(1);
        let looks_for_races = actor.checks.has(Check::GlobalRace);
        let mut rest = mask;
        let mut offsets = Offsets::new();
        while let Some((part, now)) =
            self.next(actor, &mut rest, addresses, width, AccessKind::Atomic, &mut offsets)
        {
            match width {
                2 => check_written::<2>(actor, part, &offsets, now, AccessKind::Atomic),
                4 => check_written::<4>(actor, part, &offsets, now, AccessKind::Atomic),
                _ => check_written::<8>(actor, part, &offsets, now, AccessKind::Atomic),
            }
            let present = Present::of(actor, Check::GlobalRace, true);
            let mut memo = Memo::new();
            for lane in lanes(now) {
                let offset = offsets.of[lane];
                let first = (offset >> self.granule_shift) as usize;
                // Blocks run at once only where races are looked for.
                let page = looks_for_races.then(|| part.page(first / CELLS));
                let mut held = page.map(|page| (first / CELLS, page.lock()));
                let mut race = None;
                let wrote = update(part.make(), offset, width, |old| op(lane, old));
                if let (Some(present), Some(page)) = (&present, page) {
                    let (index, lane) = (first / CELLS, lane as u32);
                    let run = Run { page: index, cell: first % CELLS, lane, lanes: 1 };
                    if wrote {
                        let mut report =
                            |_, _, earlier, was_write| race = Some((earlier, was_write));
                        match cells {
                            1 => page.write::<1>(&run, present, &mut memo, &mut report),
                            2 => page.write::<2>(&run, present, &mut memo, &mut report),
                            4 => page.write::<4>(&run, present, &mut memo, &mut report),
                            _ => page.write::<8>(&run, present, &mut memo, &mut report),
                        }
                    } else {
                        let found = match cells {
                            1 => page.read::<1>(&run, present, &mut memo, &mut held),
                            2 => page.read::<2>(&run, present, &mut memo, &mut held),
                            4 => page.read::<4>(&run, present, &mut memo, &mut held),
                            _ => page.read::<8>(&run, present, &mut memo, &mut held),
                        };
                        race = found.map(|(_, earlier)| (earlier, true));
                    }
                }
                drop(held);
                if let Some((earlier, was_write)) = race {
                    let place = part.place(AccessKind::Atomic, lane, width, offset);
                    place.report_race(actor, Check::GlobalRace, earlier, was_write);
                }
            }
        }
    }
}

#[inline(always)]
fn check_written<const WIDTH: usize>(
    actor: &mut Actor,
    part: Part,
    offsets: &Offsets,
    mask: Mask,
    kind: AccessKind,
) {
    if !actor.checks.has(Check::UninitialisedMemory) {
        return;
    }
    let written = match part.get() {
        Some(chunk) => chunk.written.as_deref(),
        None if part.allocation.chunks.is_written() => None,
        None => part.make().written.as_deref(),
    };
    let Some(written) = written else { return };
    values::check::<_, WIDTH>(written, offsets, mask, true, 0, |lane| {
        let offset = offsets.of[lane];
        let missing = (0..WIDTH as u32).find(|&index| {
            let at = offset + u64::from(index);
            State::get(&written[(at / 4) as usize]) >> (at % 4) & 1 == 0
        });
        let place = part.place(kind, lane, WIDTH as u32, offset);
        place.report_uninitialised(actor, missing.unwrap_or(0));
    });
}

/// A read-modify-write of `width` bytes; under the lock of the page, which makes 8 bytes one.
/// False: it wrote nothing.
fn update(chunk: &Chunk, offset: u64, width: u32, mut op: impl FnMut(u64) -> Option<u64>) -> bool {
    let index = (offset / 4) as usize;
    let word = &chunk.words[index];
    if width == 8 {
        let high = &chunk.words[index + 1];
        let old = u64::from(word.load(Relaxed)) | u64::from(high.load(Relaxed)) << 32;
        let Some(new) = op(old) else { return false };
        word.store(new as u32, Relaxed);
        high.store((new >> 32) as u32, Relaxed);
        chunk.mark_written(index, 0xf);
        chunk.mark_written(index + 1, 0xf);
        return true;
    }
    let shift = 8 * (offset % 4);
    let bits = (u32::MAX >> (32 - 8 * width)) << shift;
    let mut old = word.load(Relaxed);
    loop {
        let Some(new) = op(u64::from((old & bits) >> shift)) else { return false };
        let new = old & !bits | (new as u32) << shift & bits;
        match word.compare_exchange_weak(old, new, Relaxed, Relaxed) {
            Ok(_) => break,
            Err(found) => old = found,
        }
    }
    chunk.mark_written(index, bytes_of_word(offset, width));
    true
}
