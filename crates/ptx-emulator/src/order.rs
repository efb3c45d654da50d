//! What happens before what: vector clocks of the warps that run together.
//!
//! Time. Every warp has a clock `now`, which begins at 1. A group of warps shares one time, and
//! whenever a warp ticks, its clock takes the next value of it, which no other clock had before:
//! all that the warp did up to the time `t` of the tick lies at or below `t`, and all that follows
//! lies above. An access is stamped with the warp, its clock and the lane.
//!
//! Knowledge. `known[v]` of a warp is the time up to which it has seen what warp `v` did. An access
//! of warp `v` at clock `c` happens before what warp `w` does now iff
//!
//! - `v = w`: `c < now[w]`, or it was made by the same lane;
//! - otherwise: `c <= known[w][v]`.
//!
//! Events, with `t` for the time before the event, and `full(w) = known[w]` with `known[w][w] = t`:
//!
//! - barrier: `known[released] = max(known, full(arrived)...)`, and all of them tick;
//! - `bar.warp.sync`: ticks;
//! - release at a location `l`: `l = max(l, full(w))` (a plain store: `l = full(w)`), and ticks;
//! - acquire at `l`: `known[w] = max(known[w], l)`;
//! - fence: `known[w] = max(known[w], pending[w])`, `fenced[w] = full(w)`, and ticks;
//! - relaxed write at `l`: `l = fenced[w]`; relaxed read: `pending[w] = max(pending[w], l)`; a
//!   relaxed read-modify-write does both, and keeps what `l` held: it continues the release
//!   sequence.
//!
//! The sources are the PTX ISA's memory consistency model (release and acquire patterns, causality
//! order) and, for the test by one number of an access, Flanagan and Freund, FastTrack, 2009.
//!
//! Scopes. A release reaches an acquire only where the scope of each includes the other: a location
//! holds a clock for each of three levels, block, cluster and device. A release writes the levels
//! up to its scope, an acquire reads those up to its own.
//!
//! A warp has one clock: lanes of a warp that have diverged are ordered as one.

use std::collections::HashMap;
use std::sync::Arc;

/// The largest time; a run that gets there is no longer checked for races.
pub(crate) const LAST_TIME: u32 = (1 << 29) - 1;

/// How far a release, an acquire or a fence reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The block.
    Cta,
    /// The blocks of the cluster.
    Cluster,
    /// All blocks of the launch.
    Gpu,
    /// The device and the host: as `Gpu` here.
    Sys,
}

const LEVELS: usize = 3;

impl Scope {
    /// The levels that the scope includes: 1 to 3.
    fn levels(self) -> usize {
        match self {
            Scope::Cta => 1,
            Scope::Cluster => 2,
            Scope::Gpu | Scope::Sys => 3,
        }
    }
}

/// A place in memory that warps synchronise through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Location {
    /// The block whose shared memory it is, by linear number; none: global memory.
    pub block: Option<u32>,
    pub address: u64,
}

#[cfg(test)]
impl Location {
    pub fn global(address: u64) -> Location {
        Location { block: None, address }
    }

    pub fn shared(block: u32, address: u32) -> Location {
        Location { block: Some(block), address: address.into() }
    }
}

/// How the warps of a launch are grouped: which warps are of one block, and of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub warps_per_block: u32,
    /// Blocks of a cluster, which have consecutive numbers; 1 without clusters.
    pub blocks_per_cluster: u32,
}

impl Grouping {
    pub fn block(self, warp: u32) -> u32 {
        warp / self.warps_per_block.max(1)
    }

    /// What a level is an instance of: the block, the cluster, or the launch.
    fn instance(self, level: usize, warp: u32) -> u32 {
        match level {
            0 => self.block(warp),
            1 => self.block(warp) / self.blocks_per_cluster.max(1),
            _ => 0,
        }
    }
}

/// Times of warps; 0: nothing of the warp is known.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Of the group's warps.
    group: Arc<Vec<u32>>,
    /// Of warps of groups that ran earlier.
    earlier: Arc<HashMap<u32, u32>>,
}

impl Known {
    fn nothing(warps: u32) -> Known {
        Known { group: Arc::new(vec![0; warps as usize]), earlier: Arc::default() }
    }

    fn join(&mut self, other: &Known) {
        if !Arc::ptr_eq(&self.group, &other.group) {
            let group = Arc::make_mut(&mut self.group);
            for (mine, &theirs) in group.iter_mut().zip(other.group.iter()) {
                *mine = (*mine).max(theirs);
            }
        }
        if Arc::ptr_eq(&self.earlier, &other.earlier) || other.earlier.is_empty() {
            return;
        }
        if self.earlier.is_empty() {
            self.earlier = Arc::clone(&other.earlier);
            return;
        }
        let earlier = Arc::make_mut(&mut self.earlier);
        for (&warp, &time) in other.earlier.iter() {
            let mine = earlier.entry(warp).or_default();
            *mine = (*mine).max(time);
        }
    }

    fn set(&mut self, index: usize, time: u32) {
        if self.group[index] != time {
            Arc::make_mut(&mut self.group)[index] = time;
        }
    }
}

/// The vector clock of a warp.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    warp: u32,
    first: u32,
    grouping: Grouping,
    now: u32,
    /// The least time known of the group's other warps.
    others: u32,
    known: Known,
}

impl Clock {
    /// The time up to which this warp has seen what `warp` did; of itself: its clock.
    #[inline(always)]
    pub fn of(&self, warp: u32) -> u32 {
        if warp == self.warp {
            return self.now;
        }
        match self.known.group.get(warp.wrapping_sub(self.first) as usize) {
            Some(&time) => time,
            None => self.of_earlier(warp),
        }
    }

    #[cold]
    fn of_earlier(&self, warp: u32) -> u32 {
        self.known.earlier.get(&warp).copied().unwrap_or(0)
    }

    /// The first warp of the group.
    #[inline(always)]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Warps of the group.
    #[inline(always)]
    pub fn warps(&self) -> u32 {
        self.known.group.len() as u32
    }

    pub fn grouping(&self) -> Grouping {
        self.grouping
    }

    /// The warp's own time.
    #[inline(always)]
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Everything that a warp of the group did at this time or before happens before what this warp
    /// does now.
    #[inline(always)]
    pub fn floor(&self) -> u32 {
        self.others.min(self.now - 1)
    }

    /// Whether the time still goes on: after [`LAST_TIME`] nothing can be said.
    #[inline(always)]
    pub fn is_exhausted(&self) -> bool {
        self.now >= LAST_TIME
    }

    fn index(&self) -> usize {
        (self.warp - self.first) as usize
    }

    fn knows_more(&mut self) {
        let (before, after) = self.known.group.split_at(self.index());
        let least = |times: &[u32]| times.iter().copied().fold(u32::MAX, u32::min);
        self.others = least(before).min(least(&after[1..]));
    }
}

/// What a location carries at a level, for one block, cluster or launch.
#[derive(Clone, Debug)]
struct Carried {
    level: usize,
    instance: u32,
    known: Known,
}

/// What was released at a location.
#[derive(Clone, Debug, Default)]
struct Released {
    carried: Vec<Carried>,
    /// The warp of the last release or write: its next plain write keeps what is carried.
    by: Option<u32>,
}

impl Released {
    fn add(&mut self, level: usize, instance: u32, known: &Known) {
        match self.carried.iter_mut().find(|c| c.level == level && c.instance == instance) {
            Some(carried) => carried.known.join(known),
            None => self.carried.push(Carried { level, instance, known: known.clone() }),
        }
    }

    fn at(&self, level: usize, instance: u32) -> Option<&Known> {
        let carried = self.carried.iter().find(|c| c.level == level && c.instance == instance)?;
        Some(&carried.known)
    }
}

/// The order of what the warps of a group do; a group is a block, a cluster, or a cooperative grid.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    first: u32,
    grouping: Grouping,
    time: u32,
    clocks: Vec<Clock>,
    /// What each warp's last fence saw, by level.
    fenced: Vec<[Option<Known>; LEVELS]>,
    /// What each warp's relaxed reads since its last fence came upon, by level.
    pending: Vec<[Option<Known>; LEVELS]>,
    released: HashMap<Location, Released>,
}

impl Order {
    /// A group of the warps `first_warp..first_warp + warps` of the launch.
    pub fn new(first_warp: u32, warps: u32, grouping: Grouping) -> Order {
        let mut order = Order {
            first: first_warp,
            grouping,
            time: 1,
            clocks: Vec::new(),
            fenced: Vec::new(),
            pending: Vec::new(),
            released: HashMap::new(),
        };
        order.start(first_warp, warps);
        order
    }

    fn start(&mut self, first: u32, warps: u32) {
        let known = Known::nothing(warps);
        let others = if warps == 1 { u32::MAX } else { 0 };
        let clock = |i| Clock {
            warp: first + i,
            first,
            grouping: self.grouping,
            now: 1,
            others,
            known: known.clone(),
        };
        self.clocks = (0..warps).map(clock).collect();
        self.first = first;
        self.time = 1;
        self.fenced = vec![const { [const { None }; LEVELS] }; warps as usize];
        self.pending = self.fenced.clone();
    }

    /// The next group of a launch whose groups run one after the other: it keeps what was released
    /// to the whole device, and knows nothing else of the groups before it.
    pub fn next_group(&mut self, first_warp: u32, warps: u32) {
        self.clocks.clear();
        self.fenced.clear();
        self.pending.clear();
        let first = self.first;
        self.released.retain(|location, released| {
            released.carried.retain(|carried| carried.level == LEVELS - 1);
            if location.block.is_some() || released.carried.is_empty() {
                return false;
            }
            for Carried { known, .. } in &mut released.carried {
                let group = std::mem::replace(&mut known.group, Arc::new(vec![0; warps as usize]));
                let earlier = Arc::make_mut(&mut known.earlier);
                for (warp, &time) in (first..).zip(group.iter()) {
                    if time != 0 {
                        earlier.insert(warp, time);
                    }
                }
            }
            true
        });
        self.start(first_warp, warps);
    }

    /// The clock of a warp of the group.
    #[inline(always)]
    pub fn clock(&self, warp: u32) -> &Clock {
        &self.clocks[self.index(warp)]
    }

    #[inline(always)]
    fn index(&self, warp: u32) -> usize {
        (warp - self.first) as usize
    }

    fn next_time(&mut self) -> u32 {
        self.time = (self.time + 1).min(LAST_TIME);
        self.time
    }

    /// Begins a new time of the warp, after all that it did.
    pub fn tick(&mut self, warp: u32) {
        let time = self.next_time();
        let index = self.index(warp);
        self.clocks[index].now = time;
    }

    /// `bar.warp.sync`, and any other instruction that orders the lanes of one warp.
    pub fn warp_sync(&mut self, warp: u32) {
        self.tick(warp);
    }

    /// A barrier that every warp of `arrived` has just arrived at, and that lets those of
    /// `released` go on. A warp that arrives and goes on without waiting is a
    /// [`release`](Self::release) at the time of its arrival instead, which those who wait
    /// [`acquire`](Self::acquire).
    pub fn barrier(&mut self, arrived: &[u32], released: &[u32]) {
        let Some((&leader, rest)) = arrived.split_first() else { return };
        let before = self.time;
        let mut joined = self.clocks[self.index(leader)].known.clone();
        for &warp in rest {
            joined.join(&self.clocks[self.index(warp)].known);
        }
        for &warp in arrived {
            joined.set(self.index(warp), before);
        }
        let after = self.next_time();
        for &warp in arrived {
            let index = self.index(warp);
            self.clocks[index].now = after;
        }
        for &warp in released {
            let index = self.index(warp);
            let clock = &mut self.clocks[index];
            clock.now = after;
            // Of an arrived warp nothing is lost: its knowledge is in what was joined.
            if arrived.contains(&warp) {
                clock.known = joined.clone();
            } else {
                clock.known.join(&joined);
            }
            clock.knows_more();
        }
    }

    /// All that the warp has seen and done.
    fn full(&self, warp: u32) -> Known {
        let index = self.index(warp);
        let mut known = self.clocks[index].known.clone();
        known.set(index, self.time);
        known
    }

    fn give(&mut self, warp: u32, at: Location, scope: Scope, replaces: bool) {
        let full = self.full(warp);
        let released = self.released.entry(at).or_default();
        if replaces {
            released.carried.clear();
        }
        released.by = Some(warp);
        for level in 0..scope.levels() {
            released.add(level, self.grouping.instance(level, warp), &full);
        }
        self.tick(warp);
    }

    /// A read-modify-write that releases, or an arrival: what earlier ones released stays.
    pub fn release(&mut self, warp: u32, at: Location, scope: Scope) {
        self.give(warp, at, scope, false);
    }

    /// `st.release`: who reads it sees what this warp did, and not what others released there
    /// before.
    pub fn release_write(&mut self, warp: u32, at: Location, scope: Scope) {
        self.give(warp, at, scope, true);
    }

    /// A read that acquires: `ld.acquire`, `atom.acquire`, a wait on an mbarrier that succeeds.
    pub fn acquire(&mut self, warp: u32, at: Location, scope: Scope) {
        let index = self.index(warp);
        let Some(released) = self.released.get(&at) else { return };
        let clock = &mut self.clocks[index];
        for level in 0..scope.levels() {
            if let Some(known) = released.at(level, self.grouping.instance(level, warp)) {
                clock.known.join(known);
            }
        }
        clock.knows_more();
        // With a wider fence after it, it is also the read of a fence's pattern.
        if scope.levels() < LEVELS {
            self.relaxed_read(warp, at);
        }
    }

    /// `fence` and `membar`: acquires what relaxed reads came upon, and lets relaxed writes
    /// release.
    pub fn fence(&mut self, warp: u32, scope: Scope) {
        let index = self.index(warp);
        let clock = &mut self.clocks[index];
        for pending in &mut self.pending[index][..scope.levels()] {
            if let Some(known) = pending.take() {
                clock.known.join(&known);
            }
        }
        clock.knows_more();
        let full = self.full(warp);
        self.fenced[index][..scope.levels()].fill(Some(full));
        self.tick(warp);
    }

    /// A strong write that does not release by itself: `st.volatile`, `st.relaxed`.
    pub fn relaxed_write(&mut self, warp: u32, at: Location) {
        // After a release by the same warp it belongs to that release's pattern.
        if let Some(released) = self.released.get_mut(&at)
            && released.by != Some(warp)
        {
            self.released.remove(&at);
        }
        self.carry_fence(warp, at, true);
    }

    /// A strong read that does not acquire by itself: `ld.volatile`, `ld.relaxed`.
    pub fn relaxed_read(&mut self, warp: u32, at: Location) {
        let Some(released) = self.released.get(&at) else { return };
        let index = self.index(warp);
        for (level, pending) in self.pending[index].iter_mut().enumerate() {
            if let Some(known) = released.at(level, self.grouping.instance(level, warp)) {
                match pending {
                    Some(pending) => pending.join(known),
                    None => *pending = Some(known.clone()),
                }
            }
        }
    }

    /// `atom` and `red` that neither acquire nor release: it continues the release sequence.
    pub fn relaxed_rmw(&mut self, warp: u32, at: Location) {
        self.relaxed_read(warp, at);
        self.carry_fence(warp, at, false);
    }

    fn carry_fence(&mut self, warp: u32, at: Location, is_write: bool) {
        let fenced = &self.fenced[self.index(warp)];
        if fenced.iter().all(Option::is_none) {
            return;
        }
        let released = self.released.entry(at).or_default();
        for (level, known) in fenced.iter().enumerate() {
            if let Some(known) = known {
                released.add(level, self.grouping.instance(level, warp), known);
            }
        }
        if is_write {
            released.by = Some(warp);
        }
    }
}

#[cfg(test)]
mod tests;
