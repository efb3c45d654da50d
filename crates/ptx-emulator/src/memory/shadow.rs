//! Who accessed a cell of memory, and whether that happened before what happens now.
//!
//! A cell is as wide as the narrowest access of the kernel, 1, 2 or 4 bytes, so that every access
//! covers whole cells and no two threads share one that do not share its bytes. Of each cell three
//! accesses are kept: the last write, and two reads.
//!
//! What can be missed: of more than two concurrent readers, those that are not kept; a plain access
//! that a strong one of another thread, ordered after it, has replaced; strong accesses whose
//! scopes do not include each other; lanes of a warp that have diverged, and passed a barrier of
//! the warp apart.

use super::Actor;
use crate::order::Clock;
use crate::registers::LANES;
use crate::report::{About, Check};

/// Stands for more than one lane of a warp.
pub(super) const MANY: u32 = LANES as u32;

const LANE_SHIFT: u32 = 1;
const WARP_SHIFT: u32 = 7;
const CLOCK_SHIFT: u32 = 35;

/// An access: `clock:29 | warp:28 | lane:6 | strong:1`; 0: none, as clocks begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record(pub u64);

impl Record {
    pub fn new(warp: u32, clock: u32, lane: u32, strong: bool) -> Record {
        Record(
            u64::from(warp) << WARP_SHIFT
                | u64::from(clock) << CLOCK_SHIFT
                | u64::from(lane) << LANE_SHIFT
                | u64::from(strong),
        )
    }

    /// The same access by the next lane.
    #[inline(always)]
    pub fn of_next_lane(self) -> Record {
        Record(self.0.wrapping_add(1 << LANE_SHIFT))
    }

    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub fn warp(self) -> u32 {
        (self.0 >> WARP_SHIFT) as u32 & ((1 << (CLOCK_SHIFT - WARP_SHIFT)) - 1)
    }

    #[inline(always)]
    pub fn clock(self) -> u32 {
        (self.0 >> CLOCK_SHIFT) as u32
    }

    #[inline(always)]
    pub fn lane(self) -> u32 {
        (self.0 >> LANE_SHIFT) as u32 & ((1 << (WARP_SHIFT - LANE_SHIFT)) - 1)
    }

    #[inline(always)]
    pub fn is_strong(self) -> bool {
        self.0 & 1 != 0
    }

    /// The record with its lane XORed with another: two records of the same warp, clock and
    /// relation to the lane that looks at them have the same.
    #[inline(always)]
    pub fn seen_by(self, lane: u32) -> u64 {
        self.0 ^ u64::from(lane) << LANE_SHIFT
    }
}

/// Who makes an access now.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    pub clock: &'a Clock,
    pub warp: u32,
    pub now: u32,
    first: u32,
    warps: u32,
    floor: u32,
    /// The record of lane 0.
    pub base: u64,
}

impl<'a> Present<'a> {
    /// None where races are not looked for: the check is off, or numbers are beyond what a record
    /// holds.
    #[inline(always)]
    pub fn of(actor: &Actor<'a>, check: Check, strong: bool) -> Option<Present<'a>> {
        let clock = actor.clock;
        let warp = actor.warp;
        if !actor.checks.has(check)
            || clock.is_exhausted()
            || warp >> (CLOCK_SHIFT - WARP_SHIFT) != 0
        {
            return None;
        }
        let now = clock.now();
        Some(Present {
            clock,
            warp,
            now,
            first: clock.first(),
            warps: clock.warps(),
            floor: clock.floor(),
            base: Record::new(warp, now, 0, strong).0,
        })
    }

    #[inline(always)]
    pub fn record(&self, lane: u32) -> Record {
        Record(self.base | u64::from(lane) << LANE_SHIFT)
    }

    /// Whether the access happened before what this lane does now.
    #[inline(always)]
    pub fn follows(&self, record: Record, lane: u32) -> bool {
        if record.warp() == self.warp {
            record.clock() < self.now || record.lane() == lane
        } else {
            record.clock() <= self.clock.of(record.warp())
        }
    }

    /// Records below this one are settled if they are of the group.
    #[inline(always)]
    pub fn limit(&self) -> Record {
        Record::new(0, self.floor + 1, 0, false)
    }

    /// Whether the access is of the group, and of a time up to which this warp has seen what any
    /// warp of the group did: then it happened before what any lane does now. Or there was none.
    #[inline(always)]
    pub fn is_settled(&self, record: Record) -> bool {
        let is_own = record.warp().wrapping_sub(self.first) < self.warps;
        (is_own & (record.clock() <= self.floor)) | record.is_none()
    }

    /// Whether the access, a write if this is a read, races with this one.
    #[inline(always)]
    pub fn races(&self, record: Record, lane: u32) -> bool {
        let both_strong = record.is_strong() && self.base & 1 != 0;
        !(record.is_none() || both_strong || self.follows(record, lane))
    }

    /// Whether the access was made by this warp since its last synchronisation.
    #[inline(always)]
    pub fn is_now(&self, record: Record) -> bool {
        record.warp() == self.warp && record.clock() == self.now
    }

    /// This read together with one that a cell has from this warp's present time.
    #[inline(always)]
    pub fn merged(&self, record: Record, lane: u32) -> Record {
        let lane = if record.lane() == lane { lane } else { MANY };
        let mine = self.record(lane);
        // Plain as soon as one of them is.
        Record(if record.is_strong() { mine.0 } else { mine.0 & !1 })
    }
}

/// What an access does, and what an earlier one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessKind {
    Read,
    Write,
    Atomic,
}

impl AccessKind {
    pub fn name(self) -> &'static str {
        match self {
            AccessKind::Read => "read",
            AccessKind::Write => "write",
            AccessKind::Atomic => "atomic",
        }
    }
}

/// Where an access lies, for a report.
#[derive(Clone, Copy)]
pub(super) struct AccessPlace<'a> {
    pub kind: AccessKind,
    pub lane: u32,
    pub width: u32,
    pub address: u64,
    /// Buffer or variable, and the offset of the address in it.
    pub name: &'a str,
    pub offset: u64,
}

impl AccessPlace<'_> {
    /// "read of 4 bytes at tile + 64".
    pub fn describe(&self) -> String {
        let AccessPlace { kind, width, name, offset, .. } = self;
        let s = if *width == 1 { "" } else { "s" };
        if name.is_empty() {
            format!("{} of {width} byte{s}", kind.name())
        } else {
            format!("{} of {width} byte{s} at {name} + {offset}", kind.name())
        }
    }

    fn buffer(&self) -> Option<String> {
        (!self.name.is_empty()).then(|| self.name.to_owned())
    }

    #[cold]
    pub fn report(&self, actor: &mut Actor, check: Check, message: impl FnOnce() -> String) {
        if actor.checks.has(check) {
            actor.findings.add(check, actor.site, self.lane, || About {
                address: Some(self.address),
                buffer: self.buffer(),
                message: message(),
            });
        }
    }

    /// `earlier` and this access are not ordered.
    #[cold]
    pub fn report_race(&self, actor: &mut Actor, check: Check, earlier: Record, was_write: bool) {
        let (warp, clock) = (actor.warp, actor.clock);
        self.report(actor, check, || {
            let did = if was_write { "written" } else { "read" };
            format!("{}, {did} by {}", self.describe(), who(earlier, warp, clock))
        });
    }

    #[cold]
    pub fn report_misaligned(&self, actor: &mut Actor) {
        self.report(actor, Check::Misaligned, || {
            let AccessPlace { address, width, .. } = self;
            format!(
                "{}: expected an address that is a multiple of {width}, found {address:#x}, which is {} more \
                 than one",
                self.describe(),
                address & u64::from(width - 1),
            )
        });
    }

    #[cold]
    pub fn report_uninitialised(&self, actor: &mut Actor, byte: u32) {
        self.report(actor, Check::UninitialisedMemory, || {
            format!(
                "{}: expected written bytes, found that byte {byte} was never written",
                self.describe()
            )
        });
    }

    /// An access beyond the one allocation of its space, of `size` bytes.
    #[cold]
    pub fn report_outside(&self, actor: &mut Actor, size: u64) {
        actor.findings.add(Check::OutOfBounds, actor.site, self.lane, || About {
            address: Some(self.address),
            buffer: self.buffer(),
            message: format!(
                "{} of {} bytes at {:#x} reaches {} bytes past the end of {} ({size} bytes)",
                self.kind.name(),
                self.width,
                self.address,
                self.address + u64::from(self.width) - size,
                if self.name.is_empty() { "memory" } else { self.name },
            ),
        });
    }

    /// Two lanes of one instruction write different values to one place.
    #[cold]
    pub fn report_lanes_differ(&self, actor: &mut Actor, check: Check, other: u32) {
        self.report(actor, check, || {
            format!(
                "{}: lane {other} of this instruction writes another value there",
                self.describe()
            )
        });
    }
}

fn who(earlier: Record, warp: u32, clock: &Clock) -> String {
    let grouping = clock.grouping();
    let lane = |lane| if lane == MANY { "several lanes".into() } else { format!("lane {lane}") };
    let lane = lane(earlier.lane());
    if earlier.warp() == warp {
        return format!("{lane} of the same warp without a bar.warp.sync or a barrier in between");
    }
    let block = grouping.block(earlier.warp());
    let in_block = earlier.warp() - block * grouping.warps_per_block.max(1);
    if block == grouping.block(warp) {
        format!("warp {in_block} {lane} without a barrier in between")
    } else {
        format!("block {block} warp {in_block} {lane} without a release and an acquire in between")
    }
}
