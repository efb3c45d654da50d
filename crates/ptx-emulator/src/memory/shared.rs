//! Shared memory of one block.

use super::access::{Offsets, Run, Stored};
use super::cells::{Glance, Outcome, RecordCell, Survey, fill, is_clear, racing, successor};
use super::in_flight::{CopiesInFlight, IN_FLIGHT};
use super::shadow::{AccessKind, AccessPlace, MANY, Present, Record};
use super::values::{self, State, WHOLE};
use super::{Actor, Words, bytes_of_word, lanes};
use crate::registers::{LANES, Mask};
use crate::report::{About, Check};
use std::cell::Cell;
use std::ops::Range;

/// A variable's name, offset and size.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    offset: u32,
    size: u32,
}

/// Shared memory of one block.
pub(crate) struct Shared {
    pub(super) bytes: u32,
    variables: Vec<Named>,
    pub(super) words: Vec<Cell<u32>>,
    pub(super) state: Vec<Cell<u8>>,
    /// Binary logarithm of a cell's bytes.
    granule_shift: u32,
    pub(super) writes: Vec<Cell<u64>>,
    pub(super) reads: Vec<Cell<u64>>,
    /// Of concurrent readers: the first is in `reads`, the latest here.
    pub(super) other_reads: Vec<Cell<u64>>,
    pub(super) copies: Vec<CopiesInFlight>,
}

impl Shared {
    /// Memory that nothing has written. `variables` are names, offsets and sizes, for reports.
    /// `granule` is the width in bytes of the kernel's narrowest access of shared memory: races are
    /// looked for in cells of that width, or of a word; none: they are not looked for.
    pub fn new(bytes: u32, variables: &[(String, u32, u32)], granule: Option<u32>) -> Shared {
        let granule_shift = granule.unwrap_or(4).max(1).ilog2().min(2);
        let words = bytes.div_ceil(4) as usize;
        let cells = if granule.is_some() { words << (2 - granule_shift) } else { 0 };
        let mut variables: Vec<Named> = variables
            .iter()
            .map(|&(ref name, offset, size)| Named { name: name.clone(), offset, size })
            .collect();
        variables.sort_by_key(|variable| variable.offset);
        Shared {
            bytes,
            variables,
            words: vec![Cell::new(0); words],
            state: vec![Cell::new(0); words],
            granule_shift,
            writes: vec![Cell::new(0); cells],
            reads: vec![Cell::new(0); cells],
            other_reads: vec![Cell::new(0); cells],
            copies: Vec::new(),
        }
    }

    /// As new, for another block.
    pub fn restart(&mut self) {
        self.state.fill(Cell::new(0));
        self.writes.fill(Cell::new(0));
        self.reads.fill(Cell::new(0));
        self.other_reads.fill(Cell::new(0));
        self.copies.clear();
    }

    /// The variable that holds the address, and the address's offset in it.
    pub fn name_of(&self, address: u32) -> (&str, u32) {
        let before = self.variables.partition_point(|variable| variable.offset <= address);
        match before.checked_sub(1).map(|index| &self.variables[index]) {
            // What is declared without a size goes on to the end.
            Some(v) if v.size == 0 || address - v.offset < v.size => (&v.name, address - v.offset),
            _ => ("shared memory", address),
        }
    }

    pub(super) fn place(
        &self,
        kind: AccessKind,
        lane: usize,
        width: u32,
        address: u32,
    ) -> AccessPlace<'_> {
        let (name, offset) = self.name_of(address);
        AccessPlace {
            kind,
            lane: lane as u32,
            width,
            address: address.into(),
            name,
            offset: offset.into(),
        }
    }

    /// Sets the offsets, and returns the lanes of the mask whose accesses are inside and aligned;
    /// the others are reported.
    #[inline(always)]
    pub(super) fn admitted(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        width: u32,
        kind: AccessKind,
        offsets: &mut Offsets,
    ) -> Mask {
        let address = |lane: usize| addresses[lane].into();
        let fine = offsets.set(0, self.bytes.into(), address, mask, width);
        if fine != mask {
            self.refuse(actor, mask & !fine, offsets, width, kind);
        }
        fine
    }

    #[cold]
    pub(super) fn refuse(
        &self,
        actor: &mut Actor,
        faulty: Mask,
        offsets: &Offsets,
        width: u32,
        kind: AccessKind,
    ) {
        for lane in lanes(faulty) {
            let address = offsets.of[lane];
            let end = address + u64::from(width);
            if end <= self.bytes.into() {
                self.place(kind, lane, width, address as u32).report_misaligned(actor);
                continue;
            }
            let past = end - u64::from(self.bytes);
            let s = |count: u64| if count == 1 { "" } else { "s" };
            actor.findings.add(Check::OutOfBounds, actor.site, lane as u32, || About {
                address: Some(address),
                // The one that it ran out of, most likely.
                buffer: self.variables.last().map(|variable| variable.name.clone()),
                message: format!(
                    "{} of {width} byte{} at {address:#x}: {past} byte{} past the end of the block's shared \
                     memory ({} bytes)",
                    kind.name(),
                    s(width.into()),
                    s(past),
                    self.bytes,
                ),
            });
        }
    }

    #[inline(always)]
    fn cells(&self, width: usize) -> usize {
        (width >> self.granule_shift).max(1)
    }

    /// Loads `width` bytes (1, 2, 4, 8 or 16) for each lane of the mask.
    pub fn load(
        &mut self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
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
        addresses: &[u32; LANES],
        out: &mut Words,
    ) {
        let mut offsets = Offsets::new();
        let now =
            self.admitted(actor, mask, addresses, WIDTH as u32, AccessKind::Read, &mut offsets);
        let flying = self.check_state::<WIDTH>(actor, &offsets, now, AccessKind::Read);
        if let Some(present) = Present::of(actor, Check::SharedRace, actor.strong) {
            let (width, seen) = (WIDTH as u32, now & !flying);
            match WIDTH >> self.granule_shift {
                0 | 1 => self.record_reads::<1>(actor, &present, &offsets, seen, width),
                2 => self.record_reads::<2>(actor, &present, &offsets, seen, width),
                4 => self.record_reads::<4>(actor, &present, &offsets, seen, width),
                8 => self.record_reads::<8>(actor, &present, &offsets, seen, width),
                _ => self.record_reads::<16>(actor, &present, &offsets, seen, width),
            }
        }
        values::read::<_, WIDTH>(&self.words, &offsets, now, out);
        for lane in lanes(mask & !now) {
            out.iter_mut().for_each(|words| words[lane] = 0);
        }
    }

    /// Reports bytes that nothing has written, or that a copy is still on its way to. Returns the
    /// lanes of the latter: the copy, when it lands, has no other race with what was reported.
    #[inline(always)]
    fn check_state<const WIDTH: usize>(
        &self,
        actor: &mut Actor,
        offsets: &Offsets,
        mask: Mask,
        kind: AccessKind,
    ) -> Mask {
        let needs_written = kind != AccessKind::Write;
        let mut flying = 0;
        values::check::<_, WIDTH>(&self.state, offsets, mask, needs_written, IN_FLIGHT, |lane| {
            let address = offsets.of[lane] as u32;
            let words = address as usize / 4..(address as usize + WIDTH).div_ceil(4);
            let in_flight = self.state[words].iter().any(|state| state.get() & IN_FLIGHT != 0);
            flying |= Mask::from(in_flight) << lane;
            self.report_state(actor, address, lane, WIDTH as u32, kind);
        });
        flying
    }

    #[cold]
    pub(super) fn report_state(
        &self,
        actor: &mut Actor,
        address: u32,
        lane: usize,
        width: u32,
        kind: AccessKind,
    ) {
        let place = self.place(kind, lane, width, address);
        let end = address + width;
        let copy = self
            .copies
            .iter()
            .find_map(|copies| Some((copies.warp, copies.lane_at(address..end)?)));
        if let Some((warp, other)) = copy {
            let warp = warp % actor.clock.grouping().warps_per_block.max(1);
            place.report(actor, Check::AsyncInFlight, || {
                format!(
                    "{}, into which an asynchronous copy of warp {warp} lane {other} is still under way: expected \
                     a wait for it before",
                    place.describe(),
                )
            });
            return;
        }
        let is_missing = |at: &u32| self.state[*at as usize / 4].get() >> (at % 4) & 1 == 0;
        if let Some(missing) = (address..end).find(is_missing)
            && kind != AccessKind::Write
        {
            place.report_uninitialised(actor, missing - address);
        }
    }

    fn record_reads<const PER_LANE: usize>(
        &self,
        actor: &mut Actor,
        present: &Present,
        offsets: &Offsets,
        mask: Mask,
        width: u32,
    ) {
        let is_one_run = offsets.is_broadcast || offsets.is_row && PER_LANE == 1;
        if !is_one_run && self.read_at_once::<PER_LANE>(present, offsets, mask) {
            return;
        }
        let limit = present.limit();
        let mut fine = u64::MAX;
        let mut last = None;
        let mut each = |run: Run| {
            self.record_read::<PER_LANE>(&run, present, &mut last);
            if is_clear::<_, PER_LANE>(&self.writes, &run, present, limit, &mut fine) {
                return;
            }
            for (cell, lane) in run.cells::<PER_LANE>() {
                if let Some(earlier) = racing(&self.writes[cell], present, lane) {
                    let lane = run.lane_to_report(lane, mask, earlier);
                    let place = self.place(AccessKind::Read, lane, width, offsets.of[lane] as u32);
                    return place.report_race(actor, Check::SharedRace, earlier, true);
                }
            }
        };
        if offsets.is_broadcast {
            let first = mask & mask.wrapping_neg();
            offsets.runs(first, width, self.granule_shift, usize::MAX, |run| {
                each(Run { lane: MANY, ..run });
            });
        } else {
            offsets.runs(mask, width, self.granule_shift, usize::MAX, each);
        }
    }

    /// Records the reads of all lanes, if nothing has been written lately and their cells' records
    /// are alike.
    #[inline(always)]
    fn read_at_once<const PER_LANE: usize>(
        &self,
        present: &Present,
        offsets: &Offsets,
        mask: Mask,
    ) -> bool {
        if mask == 0 {
            return true;
        }
        let first = |lane: usize| (offsets.of[lane] >> self.granule_shift) as usize;
        let is_settled = |glance: &Glance| glance.latest.0 < present.limit().0;
        if !is_settled(&Glance::of::<_, PER_LANE>(&self.writes, mask, first)) {
            return false;
        }
        let read = Glance::of::<_, PER_LANE>(&self.reads, mask, first);
        let cells = if is_settled(&read) {
            &self.reads
        } else {
            let Some(head) = read.head else { return false };
            if head.0 == present.base {
                return true;
            }
            match successor(head, present, 0) {
                Some(record) if record == present.record(0) => &self.reads,
                Some(_) => return false,
                None => {
                    let other = Glance::of::<_, PER_LANE>(&self.other_reads, mask, first);
                    match other.head {
                        _ if is_settled(&other) => &self.other_reads,
                        Some(head) if head.0 == present.base => return true,
                        // Of concurrent readers, the latest.
                        Some(head) if !present.is_now(head) => &self.other_reads,
                        _ => return false,
                    }
                }
            }
        };
        for lane in lanes(mask) {
            let record = present.record(lane as u32);
            cells[first(lane)..][..PER_LANE].iter().for_each(|cell| RecordCell::set(cell, record));
        }
        // Lanes that read one place are several there.
        for lane in lanes(mask) {
            if RecordCell::get(&cells[first(lane)]) != present.record(lane as u32) {
                let record = present.record(MANY);
                cells[first(lane)..][..PER_LANE]
                    .iter()
                    .for_each(|cell| RecordCell::set(cell, record));
            }
        }
        true
    }

    /// `last` is what became of the records of the run before, and their head.
    #[inline(always)]
    fn record_read<const PER_LANE: usize>(
        &self,
        run: &Run,
        present: &Present,
        last: &mut Option<(u64, Outcome)>,
    ) {
        let survey = Survey::of::<_, PER_LANE>(&self.reads, run, present);
        let outcome = match *last {
            Some((head, outcome)) if survey.is_uniform() && survey.head == head => outcome,
            _ => {
                let outcome = survey.outcome::<_, PER_LANE>(&self.reads, run, present);
                *last = survey.is_uniform().then_some((survey.head, outcome));
                outcome
            }
        };
        match outcome {
            Outcome::Covered => {}
            Outcome::Replaced => fill::<_, PER_LANE>(&self.reads, run, present),
            Outcome::Concurrent => {
                let other = Survey::of::<_, PER_LANE>(&self.other_reads, run, present);
                match other.outcome::<_, PER_LANE>(&self.other_reads, run, present) {
                    Outcome::Covered => {}
                    Outcome::Single => self.record_read_singly::<PER_LANE>(run, present),
                    // Of concurrent readers, the latest.
                    _ => fill::<_, PER_LANE>(&self.other_reads, run, present),
                }
            }
            Outcome::Single => self.record_read_singly::<PER_LANE>(run, present),
        }
    }

    fn record_read_singly<const PER_LANE: usize>(&self, run: &Run, present: &Present) {
        for (cell, lane) in run.cells::<PER_LANE>() {
            let (read, other) = (&self.reads[cell], &self.other_reads[cell]);
            match successor(RecordCell::get(read), present, lane) {
                Some(record) => RecordCell::set(read, record),
                None => {
                    let record = successor(RecordCell::get(other), present, lane);
                    RecordCell::set(other, record.unwrap_or(present.record(lane)));
                }
            }
        }
    }

    /// Stores `width` bytes (1, 2, 4, 8 or 16) for each lane of the mask. Of lanes that write one
    /// place, the highest stays.
    pub fn store(
        &mut self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
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
        addresses: &[u32; LANES],
        data: &Words,
    ) {
        let mut offsets = Offsets::new();
        let now =
            self.admitted(actor, mask, addresses, WIDTH as u32, AccessKind::Write, &mut offsets);
        let mut flying = 0;
        if !self.copies.is_empty() {
            flying = self.check_state::<WIDTH>(actor, &offsets, now, AccessKind::Write);
        }
        self.record_store::<WIDTH>(actor, actor.strong, &offsets, now & !flying, data);
        values::write::<_, _, WIDTH>(&self.words, Some(&self.state), &offsets, now, data);
    }

    #[inline(always)]
    pub(super) fn record_store<const WIDTH: usize>(
        &self,
        actor: &mut Actor,
        strong: bool,
        offsets: &Offsets,
        mask: Mask,
        data: &Words,
    ) {
        let Some(present) = Present::of(actor, Check::SharedRace, strong) else { return };
        let access = Stored { offsets, mask, data, width: WIDTH as u32 };
        match WIDTH >> self.granule_shift {
            0 | 1 => self.record_writes::<1>(actor, &present, &access),
            2 => self.record_writes::<2>(actor, &present, &access),
            4 => self.record_writes::<4>(actor, &present, &access),
            8 => self.record_writes::<8>(actor, &present, &access),
            _ => self.record_writes::<16>(actor, &present, &access),
        }
    }

    fn record_writes<const PER_LANE: usize>(
        &self,
        actor: &mut Actor,
        present: &Present,
        access: &Stored,
    ) {
        let Stored { offsets, mask, data, width } = *access;
        let limit = present.limit();
        let mut fine = u64::MAX;
        offsets.runs(mask, width, self.granule_shift, usize::MAX, |run| {
            if is_clear::<_, PER_LANE>(&self.writes, &run, present, limit, &mut fine)
                && is_clear::<_, PER_LANE>(&self.reads, &run, present, limit, &mut fine)
                && is_clear::<_, PER_LANE>(&self.other_reads, &run, present, limit, &mut fine)
            {
                return fill::<_, PER_LANE>(&self.writes, &run, present);
            }
            for lane in run.lane..run.lane + run.lanes {
                let first = run.cell + (lane - run.lane) as usize * PER_LANE;
                let race = self.record_write(present, first..first + PER_LANE, lane);
                let Some((cell, earlier, was_write)) = race else { continue };
                let lane = lane as usize;
                let at = (cell << self.granule_shift) as u64;
                let is_twin = was_write && present.is_now(earlier);
                let twin = offsets.twin(earlier, mask, lane, at, width).filter(|_| is_twin);
                let place = self.place(AccessKind::Write, lane, width, offsets.of[lane] as u32);
                match twin {
                    None => place.report_race(actor, Check::SharedRace, earlier, was_write),
                    Some(other) if offsets.differ(data, lane, other, width) => {
                        place.report_lanes_differ(actor, Check::SharedRace, other as u32);
                    }
                    Some(_) => {}
                }
            }
        });
    }

    /// Records a write of a lane, and returns the first record that it races with: the cell, the
    /// record, and whether that was a write.
    pub(super) fn record_write(
        &self,
        present: &Present,
        cells: Range<usize>,
        lane: u32,
    ) -> Option<(usize, Record, bool)> {
        let race = self.race(present, cells.clone(), lane);
        self.writes[cells].iter().for_each(|cell| RecordCell::set(cell, present.record(lane)));
        race
    }

    /// As [`record_write`](Self::record_write), of a read.
    fn record_lone_read(
        &self,
        present: &Present,
        cells: Range<usize>,
        lane: u32,
    ) -> Option<(usize, Record, bool)> {
        let run = Run { page: 0, cell: cells.start, lane, lanes: 1 };
        match cells.len() {
            1 => self.record_read_singly::<1>(&run, present),
            2 => self.record_read_singly::<2>(&run, present),
            4 => self.record_read_singly::<4>(&run, present),
            _ => self.record_read_singly::<8>(&run, present),
        }
        cells
            .into_iter()
            .find_map(|cell| Some((cell, racing(&self.writes[cell], present, lane)?, true)))
    }

    pub(super) fn race(
        &self,
        present: &Present,
        cells: Range<usize>,
        lane: u32,
    ) -> Option<(usize, Record, bool)> {
        cells.into_iter().find_map(|cell| {
            let write = racing(&self.writes[cell], present, lane).map(|record| (record, true));
            let reads = [&self.reads[cell], &self.other_reads[cell]];
            let mut reads = reads.into_iter().filter_map(|read| racing(read, present, lane));
            let (record, was_write) = write.or_else(|| Some((reads.next()?, false)))?;
            Some((cell, record, was_write))
        })
    }

    /// For each lane of the mask, in ascending order: gives `op` the lane and the `width` bytes (2,
    /// 4 or 8) in memory, and writes what it returns; none makes it a read.
    pub fn atomic(
        &mut self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        width: u32,
        op: &mut dyn FnMut(usize, u64) -> Option<u64>,
    ) {
        let mut offsets = Offsets::new();
        let now = self.admitted(actor, mask, addresses, width, AccessKind::Atomic, &mut offsets);
        match width {
            2 => self.check_state::<2>(actor, &offsets, now, AccessKind::Atomic),
            4 => self.check_state::<4>(actor, &offsets, now, AccessKind::Atomic),
            _ => self.check_state::<8>(actor, &offsets, now, AccessKind::Atomic),
        };
        let present = Present::of(actor, Check::SharedRace, true);
        let cells = self.cells(width as usize);
        for lane in lanes(now) {
            let address = addresses[lane];
            let index = address as usize / 4;
            let high = if width == 8 { self.words[index + 1].get() } else { 0 };
            let whole = u64::from(self.words[index].get()) | u64::from(high) << 32;
            let shift = 8 * (address % 4);
            let bits = (u64::MAX >> (64 - 8 * width)) << shift;
            let new = op(lane, (whole & bits) >> shift);
            if let Some(present) = &present {
                let first = (address >> self.granule_shift) as usize;
                let range = first..first + cells;
                let race = if new.is_some() {
                    self.record_write(present, range, lane as u32)
                } else {
                    self.record_lone_read(present, range, lane as u32)
                };
                if let Some((_, earlier, was_write)) = race {
                    let place = self.place(AccessKind::Atomic, lane, width, address);
                    place.report_race(actor, Check::SharedRace, earlier, was_write);
                }
            }
            if let Some(new) = new {
                let new = whole & !bits | new << shift & bits;
                self.words[index].set(new as u32);
                self.state[index].add(bytes_of_word(address.into(), width.min(4)));
                if width == 8 {
                    self.words[index + 1].set((new >> 32) as u32);
                    self.state[index + 1].add(WHOLE);
                }
            }
        }
    }

    pub(super) fn cells_of(&self, address: u32, bytes: u32) -> Range<usize> {
        (address >> self.granule_shift) as usize..((address + bytes) >> self.granule_shift) as usize
    }

    /// Whether a copy is under way.
    #[cfg(test)]
    pub fn has_copies(&self) -> bool {
        !self.copies.is_empty()
    }
}
