//! Access records of global memory: pages of cells, made when a launch first comes to them.
//!
//! Blocks run on several threads. A write and a new read are recorded under the lock of their page,
//! and look for conflicts under it or after it: of two accesses that race, the later one to have
//! the lock sees the other, whatever the threads do. A read that the records already stand for
//! takes no lock, so that what all blocks read is only ever read by the threads too.

use super::access::Run;
use super::cells::{Outcome, RecordCell, Survey, fill, is_clear, racing, successor, uniform};
use super::shadow::{MANY, Present, Record};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Below it there is no record.
const NONE: Record = Record(1);

/// Cells of a page.
pub(super) const CELLS: usize = 1024;

/// Records of one kind, one for each cell of a page; made with the first of them.
#[derive(Default)]
struct Table {
    cells: OnceLock<Box<[AtomicU64]>>,
    /// Whether any has been recorded in this launch.
    used: AtomicBool,
}

impl Table {
    /// None: nothing has been recorded.
    #[inline(always)]
    fn get(&self) -> Option<&[AtomicU64; CELLS]> {
        if !self.used.load(Relaxed) {
            return None;
        }
        self.cells.get()?.first_chunk()
    }

    /// To record in.
    #[inline(always)]
    fn make(&self) -> &[AtomicU64; CELLS] {
        let cells = self.cells.get_or_init(|| (0..CELLS).map(|_| AtomicU64::new(0)).collect());
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
        cells.first_chunk().expect("a table has a record for each cell")
    }

    fn record(&self, cell: usize) -> Record {
        self.get().map_or(Record(0), |cells| cells[cell].get())
    }

    fn clear(&mut self) {
        if std::mem::take(self.used.get_mut()) {
            let cells = self.cells.get_mut().into_iter().flatten();
            cells.for_each(|cell| *cell.get_mut() = 0);
        }
    }
}

/// The records of a page's cells.
#[derive(Default)]
pub(super) struct Page {
    lock: Mutex<()>,
    writes: Table,
    reads: Table,
    /// Of concurrent reads the second.
    other_reads: Table,
}

/// What has been found out about records during one access: they come in rows that are alike.
pub(super) struct Memo {
    /// Two reads that stand for this one too.
    enough: [u64; 2],
    /// A record that is no conflict.
    fine: u64,
}

impl Memo {
    pub fn new() -> Memo {
        Memo { enough: [u64::MAX; 2], fine: u64::MAX }
    }

    #[inline(always)]
    fn is_enough(&mut self, reads: [Record; 2], present: &Present, lane: u32) -> bool {
        let seen = reads.map(|record| record.seen_by(lane));
        if seen != self.enough {
            if !is_enough(reads[0], reads[1], present, lane) {
                return false;
            }
            self.enough = seen;
        }
        true
    }
}

impl Page {
    /// Forgets every access.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.reads.clear();
        self.other_reads.clear();
    }

    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records reads of `run`, and returns a lane whose read races with a write, and that write.
    /// `held` is the lock of the page that the access has last come to.
    #[inline(always)]
    pub fn read<'p, const PER_LANE: usize>(
        &'p self,
        run: &Run,
        present: &Present,
        memo: &mut Memo,
        held: &mut Option<(usize, MutexGuard<'p, ()>)>,
    ) -> Option<(u32, Record)> {
        let is_held = held.as_ref().is_some_and(|(page, _)| *page == run.page);
        if is_held || !self.is_covered::<PER_LANE>(run, present, memo) {
            if !is_held {
                *held = None;
                *held = Some((run.page, self.lock()));
            }
            self.record_reads::<PER_LANE>(run, present, memo);
        }
        let writes = self.writes.get()?;
        if is_clear::<_, PER_LANE>(writes, run, present, NONE, &mut memo.fine) {
            return None;
        }
        run.cells::<PER_LANE>()
            .find_map(|(cell, lane)| Some((lane, racing(&writes[cell], present, lane)?)))
    }

    /// Whether the reads that the cells have stand for these: any later write that races with one
    /// of these races with one of them.
    #[inline(always)]
    fn is_covered<const PER_LANE: usize>(
        &self,
        run: &Run,
        present: &Present,
        memo: &mut Memo,
    ) -> bool {
        let Some(reads) = self.reads.get() else { return false };
        let others = self.other_reads.get();
        if let Some(first) = uniform::<_, PER_LANE>(reads, run) {
            if first.0 == present.base {
                return true;
            }
            let Some(others) = others else { return false };
            if let Some(other) = uniform::<_, PER_LANE>(others, run) {
                return memo.is_enough([first, other], present, 0);
            }
        }
        run.cells::<PER_LANE>().all(|(cell, lane)| {
            let first = reads[cell].get();
            let other = others.map_or(Record(0), |others| others[cell].get());
            first.seen_by(lane) == present.base || memo.is_enough([first, other], present, lane)
        })
    }

    /// Under the lock.
    fn record_reads<const PER_LANE: usize>(&self, run: &Run, present: &Present, memo: &mut Memo) {
        let reads = self.reads.make();
        let survey = Survey::of::<_, PER_LANE>(reads, run, present);
        match survey.outcome::<_, PER_LANE>(reads, run, present) {
            Outcome::Covered => {}
            Outcome::Replaced => fill::<_, PER_LANE>(reads, run, present),
            Outcome::Concurrent => {
                let others = self.other_reads.make();
                let other = Survey::of::<_, PER_LANE>(others, run, present);
                if other.outcome::<_, PER_LANE>(others, run, present) == Outcome::Replaced {
                    fill::<_, PER_LANE>(others, run, present);
                } else {
                    self.record_reads_singly::<PER_LANE>(run, present, memo);
                }
            }
            Outcome::Single => self.record_reads_singly::<PER_LANE>(run, present, memo),
        }
    }

    fn record_reads_singly<const PER_LANE: usize>(
        &self,
        run: &Run,
        present: &Present,
        memo: &mut Memo,
    ) {
        let reads = self.reads.make();
        for (cell, lane) in run.cells::<PER_LANE>() {
            let first = reads[cell].get();
            if let Some(record) = successor(first, present, lane) {
                reads[cell].set(record);
                continue;
            }
            let other = self.other_reads.record(cell);
            if !memo.is_enough([first, other], present, lane) {
                let record = successor(other, present, lane).unwrap_or(present.record(lane));
                self.other_reads.make()[cell].set(record);
            }
        }
    }

    /// Records writes of `run`, and gives `report` each lane's first cell that has an access which
    /// this one races with, the access, and whether that is a write; under the lock.
    #[inline(always)]
    pub fn write<const PER_LANE: usize>(
        &self,
        run: &Run,
        present: &Present,
        memo: &mut Memo,
        report: &mut dyn FnMut(u32, usize, Record, bool),
    ) {
        let writes = self.writes.make();
        let (reads, others) = (self.reads.get(), self.other_reads.get());
        let mut is_clear_of = |cells: Option<&[AtomicU64; CELLS]>| {
            cells.is_none_or(|cells| {
                is_clear::<_, PER_LANE>(cells, run, present, NONE, &mut memo.fine)
            })
        };
        if is_clear_of(Some(writes)) && is_clear_of(reads) && is_clear_of(others) {
            fill::<_, PER_LANE>(writes, run, present);
            return;
        }
        let mut reported = None;
        for (cell, lane) in run.cells::<PER_LANE>() {
            for (index, cells) in [Some(writes), reads, others].into_iter().enumerate() {
                if let Some(cells) = cells
                    && let Some(record) = racing(&cells[cell], present, lane)
                    && reported != Some(lane)
                {
                    reported = Some(lane);
                    report(lane, cell, record, index == 0);
                }
            }
            writes[cell].set(present.record(lane));
        }
    }
}

fn is_enough(first: Record, other: Record, present: &Present, lane: u32) -> bool {
    let stands = |record: Record| {
        !record.is_none() && present.is_now(record) && present.merged(record, lane) == record
    };
    if stands(first) || stands(other) {
        return true;
    }
    // Two concurrent reads. Blocks that run at once are never ordered: if the two are of different
    // groups, or one is of this warp's own, every writer of another group meets one that it cannot
    // have seen.
    let concurrent = |record: Record| {
        !record.is_none() && !present.is_now(record) && !present.follows(record, lane)
    };
    if !concurrent(first) || !concurrent(other) {
        return false;
    }
    let (own, warps) = (present.clock.first(), present.clock.warps().max(1));
    let group = |record: Record| record.warp() / warps;
    let is_own = |record: Record| record.warp().wrapping_sub(own) < warps;
    is_own(first) || is_own(other) || group(first) != group(other)
}

const _: () = assert!(MANY < 64, "a record's lane has six bits");
