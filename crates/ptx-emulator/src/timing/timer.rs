//! The clocks of blocks that run together: begun and finished instruction by instruction, by the
//! loop that executes them.

use super::cache::Cache;
use super::events::{Log, Moment};
use super::meeting::{Arrival, Meeting};
use super::model::{Latencies, Timing};
use super::result::{BlockTiming, BlockTraffic, Cause};
use super::warp::WarpTimer;
use crate::counters::{conflicts, distinct_sectors};
use crate::mbarrier::MbarrierPlace;
use crate::program::{BulkDirection, Instruction, Op, Program, Target};
use crate::registers::{LANES, Mask, Width};
use crate::warp::WarpPlace;
use std::collections::HashMap;

/// Barriers of a block.
const BARRIERS: usize = 16;

/// What an access does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Load,
    /// A load that goes past the L1 cache.
    LoadPastL1,
    Store,
    Atomic,
}

/// What an instruction does besides its results.
#[derive(Clone, Copy)]
enum Role {
    Plain,
    Copy,
    Commit,
    Wait(Option<u32>),
    BulkToGlobal,
    BulkCommit,
    BulkWait(u32),
    GridWait,
}

/// What an instruction costs, in cycles of a warp.
#[derive(Clone, Copy)]
struct Cost {
    issue: f64,
    latency: f64,
    pipe: f64,
    blocking: bool,
    /// Nothing of it is left in machine code.
    is_gone: bool,
    order: Order,
    /// What its result is waited for as, unless a memory says otherwise.
    cause: Cause,
    role: Role,
}

impl Cost {
    fn new(timing: &Timing, index: usize, op: &Op, form: &str) -> Cost {
        let given = timing.instructions[index];
        let warps = f64::from(timing.warps_per_scheduler);
        let can_go = match op {
            Op::Arithmetic { .. }
            | Op::Branch { .. }
            | Op::Clock { .. }
            | Op::ActiveMask { .. }
            | Op::Nothing => true,
            Op::Load(transfer) | Op::Store(transfer) => {
                matches!(transfer.target, Target::Param | Target::Local)
            }
            _ => false,
        };
        let is_free = given.issue == 0.0 && given.latency == 0.0 && given.pipe_cycles == 0.0;
        Cost {
            issue: f64::from(given.issue) * warps,
            latency: f64::from(given.latency),
            pipe: f64::from(given.pipe_cycles) * warps,
            blocking: given.blocking,
            is_gone: can_go && is_free,
            order: match order(op, index) {
                _ if !timing.reordered || given.blocking => Order::HoldsUp,
                order => order,
            },
            cause: cause(op, form),
            role: role(op),
        }
    }
}

/// How an instruction holds up those that come after it in the PTX.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Only by its slot of issue.
    Free,
    /// By its operands: what comes after it cannot begin before they are there.
    Steers,
    /// By all that came before it: it begins after them.
    HoldsUp,
}

/// The order where the assembler may change that of the PTX. A branch ahead is as good as predicates
/// on what it skips; one back ends the round of a loop.
fn order(op: &Op, index: usize) -> Order {
    match op {
        Op::Branch { target } if *target as usize > index => Order::Steers,
        Op::Branch { .. }
        | Op::BranchIndexed { .. }
        | Op::Exit
        | Op::Trap
        | Op::AssertFail { .. }
        | Op::Yield
        | Op::GridWait
        | Op::Fence(_)
        | Op::WarpSync { .. }
        | Op::Barrier(_)
        | Op::Mbarrier(_)
        | Op::ClusterArrive { .. }
        | Op::ClusterWait { .. }
        | Op::AsyncWait(_)
        | Op::AsyncArrive { .. }
        | Op::BulkWait(_) => Order::HoldsUp,
        Op::Arithmetic { .. }
        | Op::Clock { .. }
        | Op::Load(_)
        | Op::Store(_)
        | Op::Atomic(_)
        | Op::ActiveMask { .. }
        | Op::Shuffle { .. }
        | Op::Vote { .. }
        | Op::Match { .. }
        | Op::Redux { .. }
        | Op::Elect { .. }
        | Op::AsyncCopy(_)
        | Op::AsyncCommit
        | Op::BulkCopy(_)
        | Op::BulkCommit
        | Op::LoadMatrix { .. }
        | Op::StoreMatrix { .. }
        | Op::Mma { .. }
        | Op::Nothing => Order::Free,
    }
}

fn role(op: &Op) -> Role {
    match op {
        Op::AsyncCopy(_) => Role::Copy,
        Op::AsyncCommit => Role::Commit,
        Op::AsyncWait(newest) => Role::Wait(*newest),
        Op::BulkCopy(copy) if copy.direction == BulkDirection::SharedToGlobal => Role::BulkToGlobal,
        Op::BulkCommit => Role::BulkCommit,
        Op::BulkWait(newest) => Role::BulkWait(*newest),
        Op::GridWait => Role::GridWait,
        _ => Role::Plain,
    }
}

fn cause(op: &Op, form: &str) -> Cause {
    const SPECIAL: [&str; 10] =
        ["ex2", "lg2", "sin", "cos", "rcp", "rsqrt", "sqrt", "tanh", "div", "rem"];
    match op {
        Op::Arithmetic { .. } => {
            let opcode = form.split('.').next().unwrap_or_default();
            if SPECIAL.contains(&opcode) { Cause::Special } else { Cause::Arithmetic }
        }
        Op::Clock { .. } | Op::Load(_) | Op::Store(_) | Op::Yield | Op::Nothing => {
            Cause::Arithmetic
        }
        Op::Branch { .. }
        | Op::BranchIndexed { .. }
        | Op::Exit
        | Op::Trap
        | Op::AssertFail { .. }
        | Op::GridWait => Cause::Control,
        Op::Atomic(_) | Op::Fence(_) => Cause::Atomic,
        Op::ActiveMask { .. }
        | Op::WarpSync { .. }
        | Op::Shuffle { .. }
        | Op::Vote { .. }
        | Op::Match { .. }
        | Op::Redux { .. }
        | Op::Elect { .. } => Cause::Exchange,
        Op::Barrier(_) | Op::Mbarrier(_) | Op::ClusterArrive { .. } | Op::ClusterWait { .. } => {
            Cause::Barrier
        }
        Op::AsyncCopy(_)
        | Op::AsyncCommit
        | Op::AsyncWait(_)
        | Op::AsyncArrive { .. }
        | Op::BulkCopy(_)
        | Op::BulkCommit
        | Op::BulkWait(_) => Cause::Copy,
        Op::LoadMatrix { .. } | Op::StoreMatrix { .. } => Cause::Shared,
        Op::Mma { .. } => Cause::Tensor,
    }
}

/// The instruction that is being executed.
#[derive(Clone, Copy)]
struct Current {
    start: Moment,
    /// What memory adds to its latency.
    memory: f64,
    cause: Cause,
}

/// What a block's warps share.
struct BlockTimer {
    number: u64,
    hidden: f64,
    cache: Cache,
    traffic: BlockTraffic,
    barriers: [Meeting; BARRIERS],
    /// Of each object the phase that goes on, and the end of the one before.
    mbarriers: HashMap<u32, (Meeting, Option<Arrival>)>,
    cluster: Meeting,
    cluster_end: Option<Arrival>,
}

/// The clocks of the blocks that run together.
pub(crate) struct Timer {
    latencies: Latencies,
    dependent: bool,
    l1_bytes: u32,
    costs: Vec<Cost>,
    warps_per_block: usize,
    blocks: Vec<BlockTimer>,
    /// Block by block.
    warps: Vec<WarpTimer>,
    log: Log,
    current: Current,
}

impl Timer {
    pub fn new(timing: &Timing, program: &Program, warps_per_block: u32) -> Timer {
        let instructions = program.instructions.iter().zip(&program.origins).enumerate();
        Timer {
            latencies: timing.latencies,
            dependent: timing.dependent,
            l1_bytes: timing.l1_bytes,
            costs: instructions
                .map(|(i, (instruction, origin))| {
                    Cost::new(timing, i, &instruction.op, &origin.form)
                })
                .collect(),
            warps_per_block: warps_per_block as usize,
            blocks: Vec::new(),
            warps: Vec::new(),
            log: Log::new(),
            current: Current { start: Moment::START, memory: 0.0, cause: Cause::Issue },
        }
    }

    /// Blocks of these numbers begin.
    pub fn start(&mut self, program: &Program, numbers: impl Iterator<Item = u64>) {
        self.log.clear();
        let mut count = 0;
        for number in numbers {
            if count == self.blocks.len() {
                self.blocks.push(BlockTimer {
                    number,
                    hidden: 0.0,
                    cache: Cache::new(self.l1_bytes),
                    traffic: BlockTraffic::default(),
                    barriers: [Meeting::default(); BARRIERS],
                    mbarriers: HashMap::new(),
                    cluster: Meeting::default(),
                    cluster_end: None,
                });
                let warps = (0..self.warps_per_block).map(|_| WarpTimer::new(program));
                self.warps.extend(warps);
            }
            let block = &mut self.blocks[count];
            block.number = number;
            block.hidden = 0.0;
            block.cache.clear();
            block.traffic = BlockTraffic::default();
            block.barriers = [Meeting::default(); BARRIERS];
            block.mbarriers.clear();
            (block.cluster, block.cluster_end) = (Meeting::default(), None);
            count += 1;
        }
        self.blocks.truncate(count);
        self.warps.truncate(count * self.warps_per_block);
        let waited = !self.dependent;
        self.warps.iter_mut().for_each(|warp| warp.restart(waited));
    }

    /// What the blocks took.
    pub fn end(&self, timings: &mut Vec<BlockTiming>) {
        for (block, warps) in self.blocks.iter().zip(self.warps.chunks(self.warps_per_block)) {
            // Without a wait for the launch before, nothing is hidden.
            let any_waited = warps.iter().any(|warp| warp.waited);
            let mut end = Moment::START;
            let mut hidden = block.hidden;
            for warp in warps {
                if warp.waited == any_waited {
                    end = end.max(warp.now);
                } else {
                    hidden = hidden.max(warp.latest);
                }
            }
            timings.push(BlockTiming {
                block: block.number,
                cycles: end.time,
                hidden_cycles: hidden,
                path: self.log.path(end),
                traffic: block.traffic,
            });
        }
    }

    #[inline(always)]
    fn index(&self, place: WarpPlace) -> usize {
        place.block * self.warps_per_block + place.warp
    }

    /// A warp comes to an instruction; `runs` says whether any lane executes it.
    #[inline]
    pub fn begin(&mut self, place: WarpPlace, pc: u32, instruction: &Instruction, runs: bool) {
        let cost = &self.costs[pc as usize];
        let warp = &self.warps[self.index(place)];
        let mut start = warp.now;
        if !cost.is_gone {
            if cost.order == Order::HoldsUp {
                start = start.max(warp.begun);
            }
            if let Some(guard) = instruction.guard {
                start = start.max(warp.ready(Width::Pred, guard.pred));
            }
            if runs {
                for &(width, reg) in &*instruction.reads {
                    start = start.max(warp.ready(width, reg));
                }
                start = start.max(warp.pipes[cost.cause as usize]);
            }
        }
        self.current = Current { start, memory: 0.0, cause: cost.cause };
    }

    /// The instruction that was begun is executed, unless no lane takes part.
    #[inline]
    pub fn finish(&mut self, place: WarpPlace, pc: u32, instruction: &Instruction, runs: bool) {
        let cost = self.costs[pc as usize];
        let index = self.index(place);
        let warp = &mut self.warps[index];
        if cost.is_gone {
            if runs {
                let guard = instruction.guard.map(|guard| (Width::Pred, guard.pred));
                let sources = instruction.reads.iter().copied().chain(guard);
                let ready = sources.fold(Moment::START, |m, (w, r)| m.max(warp.ready(w, r)));
                for &(width, reg) in &*instruction.writes {
                    warp.set_ready(width, reg, ready);
                }
            }
            return;
        }
        let Current { start, memory, cause } = self.current;
        let event = self.log.push(pc, start);
        let mut now = event.then(start.time + cost.issue, Cause::Issue);
        // Its slot, which those behind it come after, may be long before its operands are there.
        let slot = warp.now;
        if cost.order != Order::HoldsUp {
            warp.begun = warp.begun.max(now);
            if cost.order == Order::Free && start.time > slot.time {
                now = self.log.push(pc, slot).then(slot.time + cost.issue, Cause::Issue);
            }
        }
        if runs {
            let ready = event.then(start.time + cost.latency + memory, cause);
            for &(width, reg) in &*instruction.writes {
                warp.set_ready(width, reg, ready);
            }
            if cost.blocking {
                now = now.max(ready);
            }
            if cost.pipe > 0.0 {
                let pipe = &mut warp.pipes[cost.cause as usize];
                let from = if cost.order == Order::HoldsUp { start } else { pipe.max(slot) };
                *pipe = event.then(from.time + cost.pipe, cost.cause);
            }
            warp.latest = warp.latest.max(ready.time);
            match cost.role {
                Role::Plain => {}
                Role::Copy => warp.copies.begin(event.then(ready.time, Cause::Copy)),
                Role::Commit => warp.copies.commit(),
                Role::Wait(None) => now = now.max(warp.copies.all()),
                Role::Wait(Some(newest)) => now = now.max(warp.copies.all_but(newest)),
                Role::BulkToGlobal => warp.bulk.begin(event.then(ready.time, Cause::Copy)),
                Role::BulkCommit => warp.bulk.commit(),
                Role::BulkWait(newest) => now = now.max(warp.bulk.all_but(newest)),
                Role::GridWait => {
                    warp.now = now;
                    self.pass_wait(index);
                    return;
                }
            }
        }
        warp.now = now;
        warp.latest = warp.latest.max(now.time);
    }

    /// The warp has waited for the launch before: its clock starts anew.
    fn pass_wait(&mut self, index: usize) {
        let warp = &mut self.warps[index];
        if !warp.waited {
            let hidden = &mut self.blocks[index / self.warps_per_block].hidden;
            *hidden = hidden.max(warp.latest).max(warp.now.time);
            warp.restart(true);
        }
    }

    /// The instruction that is executed asks a memory for the lanes' bytes.
    pub fn touch(
        &mut self,
        place: WarpPlace,
        pc: u32,
        target: Target,
        (mask, addresses, bytes): (Mask, &[u64; LANES], u32),
        touch: Touch,
    ) {
        let Latencies { shared, cluster_shared, l1, l2, .. } = self.latencies;
        let (memory, cause) = match target {
            Target::Param => return,
            Target::Local => (l1.into(), Cause::L1),
            Target::Shared => {
                let is_own = addresses.iter().fold(0, |all, at| all | at) < 1 << 24;
                let latency = if is_own { shared } else { cluster_shared };
                let conflicts = conflicts(mask, addresses, bytes) as f64;
                (f64::from(latency) + conflicts, Cause::Shared)
            }
            Target::Global | Target::Const | Target::Generic => {
                let mut list = [0; LANES];
                let sectors = distinct_sectors(mask, addresses, &mut list);
                let count = sectors.len() as u64;
                let traffic = &mut self.blocks[place.block].traffic;
                let far = f64::from(l1) + f64::from(l2);
                match touch {
                    Touch::Store => {
                        traffic.l2_written_sectors += count;
                        return;
                    }
                    Touch::Atomic => {
                        traffic.l2_atomic_sectors += count;
                        (far, Cause::Atomic)
                    }
                    Touch::LoadPastL1 => {
                        traffic.l2_read_sectors += count;
                        (far, Cause::L2)
                    }
                    Touch::Load => self.load(place, pc, sectors),
                }
            }
        };
        if touch != Touch::Store && memory > self.current.memory {
            self.current.memory = memory;
            self.current.cause = cause;
        }
    }

    /// A load of sectors, in order, through L1: what it adds to the latency.
    fn load(&mut self, place: WarpPlace, pc: u32, sectors: &[u64]) -> (f64, Cause) {
        let begin = self.current.start.time + self.costs[pc as usize].latency;
        let near = begin + f64::from(self.latencies.l1);
        let far = near + f64::from(self.latencies.l2);
        // Before the clock starts anew it is no measure of what comes after.
        let has_waited = self.warps[self.index(place)].waited;
        let arrival = if has_waited { far } else { 0.0 };
        let BlockTimer { cache, traffic, .. } = &mut self.blocks[place.block];
        let mut done = near;
        for line in sectors.chunk_by(|a, b| a / 4 == b / 4) {
            let bits = line.iter().fold(0, |bits, sector| bits | 1 << (sector % 4));
            let (missing, ready) = cache.load(line[0] / 4, bits, arrival);
            traffic.l1_sectors += line.len() as u64;
            traffic.l1_hits += line.len() as u64 - u64::from(missing.count_ones());
            traffic.l2_read_sectors += u64::from(missing.count_ones());
            done = if missing != 0 { far } else { done.max(ready.min(far)) };
        }
        (done - begin, if done > near { Cause::L2 } else { Cause::L1 })
    }

    /// The warp that executes comes to a meeting.
    fn arrival(&self, place: WarpPlace, pc: u32) -> Arrival {
        let waited = self.warps[self.index(place)].waited;
        Arrival { at: self.current.start, pc, waited }
    }

    /// A meeting ends with its last arrival, so many cycles later.
    fn ended(&mut self, last: Arrival, cycles: f32) -> Arrival {
        let event = self.log.push(last.pc, last.at);
        let at = event.then(last.at.time + f64::from(cycles), Cause::Barrier);
        Arrival { at, ..last }
    }

    /// A warp that waited goes on, not before the end of the meeting. `executes`: it is the one
    /// whose instruction has been begun.
    fn let_go(&mut self, index: usize, end: Arrival, executes: bool) {
        let has_waited = self.warps[index].waited;
        if end.waited && !has_waited {
            self.pass_wait(index);
            self.current.start = if executes { end.at } else { self.current.start };
        }
        if end.waited >= has_waited {
            let warp = &mut self.warps[index];
            warp.now = warp.now.max(end.at);
            if executes {
                self.current.start = self.current.start.max(end.at);
            }
        }
    }

    /// The warp arrives at a barrier of its block.
    pub fn arrive(&mut self, place: WarpPlace, pc: u32, barrier: u32) {
        let arrival = self.arrival(place, pc);
        self.blocks[place.block].barriers[barrier as usize % BARRIERS].arrive(arrival);
    }

    /// The barrier ends for the warps that wait there, and for one that executes, if any does.
    pub fn barrier_ends(
        &mut self,
        block: usize,
        barrier: u32,
        waiting: impl Iterator<Item = usize>,
        executing: Option<u32>,
    ) {
        let meeting = &mut self.blocks[block].barriers[barrier as usize % BARRIERS];
        let Some(last) = meeting.end() else { return };
        let end = self.ended(last, self.latencies.barrier);
        let first = block * self.warps_per_block;
        if let Some(warp) = executing {
            self.let_go(first + warp as usize, end, true);
        }
        for warp in waiting {
            self.let_go(first + warp, end, false);
        }
    }

    /// The warp arrives at the barrier of its cluster, whose first block is `first`.
    pub fn arrive_cluster(&mut self, place: WarpPlace, pc: u32, first: usize) {
        let arrival = self.arrival(place, pc);
        self.blocks[first].cluster.arrive(arrival);
    }

    pub fn cluster_ends(&mut self, first: usize) {
        if let Some(last) = self.blocks[first].cluster.end() {
            let end = self.ended(last, self.latencies.cluster_barrier);
            self.blocks[first].cluster_end = Some(end);
        }
    }

    /// The warp that executes has waited for the barrier of its cluster.
    pub fn pass_cluster(&mut self, place: WarpPlace, first: usize) {
        if let Some(end) = self.blocks[first].cluster_end {
            self.let_go(self.index(place), end, true);
        }
    }

    /// The warp that executes arrives at an `mbarrier` now.
    pub fn arrive_mbarrier(&mut self, place: WarpPlace, pc: u32, at: MbarrierPlace) {
        let arrival = self.arrival(place, pc);
        self.complete_copy(at, arrival);
    }

    /// What a copy brings comes to an `mbarrier`.
    pub fn complete_copy(&mut self, at: MbarrierPlace, arrival: Arrival) {
        self.blocks[at.block].mbarriers.entry(at.offset).or_default().0.arrive(arrival);
    }

    /// A phase has ended.
    pub fn mbarrier_ends(&mut self, at: MbarrierPlace) {
        let (meeting, end) = self.blocks[at.block].mbarriers.entry(at.offset).or_default();
        *end = meeting.end();
    }

    /// The warp asks whether a phase has ended. It may have to ask again and again: the time of
    /// that is not its own, since the order of turns decides how often.
    pub fn ask_mbarrier(&mut self, place: WarpPlace, pc: u32, at: MbarrierPlace, ended: bool) {
        let index = self.index(place);
        let start = self.current.start;
        let asking = self.warps[index].asking.filter(|&(asked, _)| asked == pc);
        if !ended {
            self.warps[index].asking = Some(asking.unwrap_or((pc, start)));
            return;
        }
        self.warps[index].asking = None;
        if let Some((_, began)) = asking {
            self.current.start = began;
            self.warps[index].now = began;
        }
        let end = self.blocks[at.block].mbarriers.get(&at.offset).and_then(|(_, end)| *end);
        if let Some(end) = end {
            self.let_go(index, end, true);
        }
    }

    /// The asynchronous copies of the warp that executes are all done.
    pub fn copies_done(&self, place: WarpPlace, pc: u32) -> Arrival {
        let warp = &self.warps[self.index(place)];
        let at = self.current.start.max(warp.copies.all());
        Arrival { at, pc, waited: warp.waited }
    }

    /// A bulk copy moves bytes, which are a multiple of 16, past L1.
    pub fn move_bulk(&mut self, place: WarpPlace, bytes: u64, reads: bool) {
        let traffic = &mut self.blocks[place.block].traffic;
        let sectors =
            if reads { &mut traffic.l2_read_sectors } else { &mut traffic.l2_written_sectors };
        *sectors += bytes.div_ceil(32);
    }

    /// The bulk copy to shared memory that is executed is done.
    pub fn bulk_done(&mut self, place: WarpPlace, pc: u32) -> Arrival {
        let start = self.current.start;
        let Latencies { l1, l2, .. } = self.latencies;
        let memory = f64::from(l1) + f64::from(l2);
        let event = self.log.push(pc, start);
        let time = start.time + self.costs[pc as usize].latency + memory;
        let waited = self.warps[self.index(place)].waited;
        Arrival { at: event.then(time, Cause::Copy), pc, waited }
    }
}
