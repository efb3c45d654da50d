//! Rows of records, which are mostly alike: each is looked at once, as its lane sees it.

use super::access::Run;
use super::lanes;
use super::shadow::{MANY, Present, Record};
use crate::registers::{LANES, Mask};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A cell's record, of memory that one thread or several access.
pub(super) trait RecordCell {
    fn get(&self) -> Record;
    fn set(&self, record: Record);
}

impl RecordCell for Cell<u64> {
    #[inline(always)]
    fn get(&self) -> Record {
        Record(Cell::get(self))
    }

    #[inline(always)]
    fn set(&self, record: Record) {
        Cell::set(self, record.0);
    }
}

impl RecordCell for AtomicU64 {
    #[inline(always)]
    fn get(&self) -> Record {
        Record(self.load(Relaxed))
    }

    #[inline(always)]
    fn set(&self, record: Record) {
        self.store(record.0, Relaxed);
    }
}

/// What the records of a run have in common.
pub(super) struct Survey {
    /// The first, as its lane sees it.
    pub head: u64,
    /// Bits in which another differs from it.
    differing: u64,
    /// Bits that any record has.
    any: u64,
    /// Bits in which any differs from a present access of several lanes.
    not_many: u64,
}

impl Survey {
    #[inline(always)]
    pub fn of<S: RecordCell, const PER_LANE: usize>(
        cells: &[S],
        run: &Run,
        present: &Present,
    ) -> Survey {
        let rows = run.rows::<S, PER_LANE>(cells);
        let mut lane = run.lane;
        let head = rows[0][0].get().seen_by(lane);
        let many = present.record(MANY).0;
        let (mut differing, mut any, mut not_many) = (0, 0, 0);
        for row in rows {
            for cell in row {
                let record = cell.get();
                any |= record.0;
                differing |= record.seen_by(lane) ^ head;
                not_many |= record.0 ^ many;
            }
            lane = lane.wrapping_add(1);
        }
        Survey { head, differing, any, not_many }
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.any == 0
    }

    #[inline(always)]
    pub fn is_uniform(&self) -> bool {
        self.differing == 0
    }

    /// Whether the records are those of the reads themselves, or of several lanes of the warp now.
    #[inline(always)]
    fn is_present(&self, present: &Present) -> bool {
        self.not_many == 0 || self.is_uniform() && self.head == present.base
    }

    /// What becomes of the records when the run is read.
    #[inline(always)]
    pub fn outcome<S: RecordCell, const PER_LANE: usize>(
        &self,
        cells: &[S],
        run: &Run,
        present: &Present,
    ) -> Outcome {
        if self.is_empty() {
            return Outcome::Replaced;
        }
        if self.is_present(present) {
            return Outcome::Covered;
        }
        if !self.is_uniform() {
            let is_settled = is_settled::<S, PER_LANE>(cells, run, present);
            return if is_settled { Outcome::Replaced } else { Outcome::Single };
        }
        match successor(Record(self.head), present, 0) {
            None => Outcome::Concurrent,
            Some(record) if record == present.record(0) => Outcome::Replaced,
            Some(_) => Outcome::Single,
        }
    }
}

/// The first record of a run, as its lane sees it, if all are the same.
#[inline(always)]
pub(super) fn uniform<S: RecordCell, const PER_LANE: usize>(
    cells: &[S],
    run: &Run,
) -> Option<Record> {
    let rows = run.rows::<S, PER_LANE>(cells);
    let mut lane = run.lane;
    let head = rows[0][0].get().seen_by(lane);
    let mut differing = 0;
    for row in rows {
        for cell in row {
            differing |= cell.get().seen_by(lane) ^ head;
        }
        lane = lane.wrapping_add(1);
    }
    (differing == 0).then_some(Record(head))
}

/// What the records of lanes wherever they are have in common: see [`Survey`].
pub(super) struct Glance {
    /// The greatest: of the latest time.
    pub latest: Record,
    /// The first, as its lane sees it, where all are the same.
    pub head: Option<Record>,
}

impl Glance {
    /// `first` is each lane's first cell.
    #[inline(always)]
    pub fn of<S: RecordCell, const PER_LANE: usize>(
        cells: &[S],
        mask: Mask,
        first: impl Fn(usize) -> usize,
    ) -> Glance {
        let leader = mask.trailing_zeros() as usize % LANES;
        let head = cells[first(leader)].get().seen_by(leader as u32);
        let (mut differing, mut latest) = (0, 0);
        for lane in lanes(mask) {
            for cell in &cells[first(lane)..][..PER_LANE] {
                let record = cell.get();
                latest = record.0.max(latest);
                differing |= record.seen_by(lane as u32) ^ head;
            }
        }
        Glance { latest: Record(latest), head: (differing == 0).then_some(Record(head)) }
    }
}

/// Whether all of the records are of times that every warp of the group has seen: see
/// [`Present::is_settled`].
#[inline(always)]
fn is_settled<S: RecordCell, const PER_LANE: usize>(
    cells: &[S],
    run: &Run,
    present: &Present,
) -> bool {
    let rows = run.rows::<S, PER_LANE>(cells).as_flattened();
    rows.iter().fold(true, |all, cell| all & present.is_settled(cell.get()))
}

/// What becomes of records when their cells are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// They are of this very reader and time.
    Covered,
    /// The new ones take their place.
    Replaced,
    /// They stay, and the new ones stand beside them.
    Concurrent,
    /// It differs from cell to cell.
    Single,
}

/// Whether nothing among the records races with this access; false: it has to be seen cell by cell.
/// Records below `limit` are no conflict; `fine` is the last record, as its lane sees it, that is
/// none either.
#[inline(always)]
pub(super) fn is_clear<S: RecordCell, const PER_LANE: usize>(
    cells: &[S],
    run: &Run,
    present: &Present,
    limit: Record,
    fine: &mut u64,
) -> bool {
    let rows = run.rows::<S, PER_LANE>(cells);
    let mut lane = run.lane;
    let head = rows[0][0].get().seen_by(lane);
    let (mut differing, mut latest) = (0, 0);
    for row in rows {
        for cell in row {
            let record = cell.get();
            latest = record.0.max(latest);
            differing |= record.seen_by(lane) ^ head;
        }
        lane = lane.wrapping_add(1);
    }
    if latest < limit.0 {
        return true;
    }
    if differing != 0 {
        return is_settled::<S, PER_LANE>(cells, run, present);
    }
    if head != *fine {
        if present.races(Record(head), 0) {
            return false;
        }
        *fine = head;
    }
    true
}

/// Records this access in all cells of the run.
#[inline(always)]
pub(super) fn fill<S: RecordCell, const PER_LANE: usize>(
    cells: &[S],
    run: &Run,
    present: &Present,
) {
    let mut record = present.record(run.lane);
    for row in run.rows::<S, PER_LANE>(cells) {
        row.iter().for_each(|cell| cell.set(record));
        record = record.of_next_lane();
    }
}

/// The record, where this access races with it.
#[inline(always)]
pub(super) fn racing<S: RecordCell>(cell: &S, present: &Present, lane: u32) -> Option<Record> {
    let record = cell.get();
    present.races(record, lane).then_some(record)
}

/// What a read's record becomes where this one can take its place; none: it is concurrent.
#[inline(always)]
pub(super) fn successor(record: Record, present: &Present, lane: u32) -> Option<Record> {
    if record.is_none() {
        Some(present.record(lane))
    } else if present.is_now(record) {
        Some(present.merged(record, lane))
    } else {
        present.follows(record, lane).then(|| present.record(lane))
    }
}
