//! Blocks that run together on one thread: a block, a cluster, or all blocks of a cooperative launch.

use super::asynchronous::{Asynchronous, BulkToShared};
use super::barriers::BlockBarrier;
use super::counters::{Count, Counters};
use super::launch::Environment;
use super::mbarrier::Mbarrier;
use super::memory::{Actor, Local, Memory, Shared};
use super::order::Order;
use super::program::{Constant, Op, Program, Special};
use super::registers::{LANES, Lane, Mask, Reg, Registers, Width};
use super::report::{About, Check, Findings, Site};
use super::splits::{Split, Splits, State};
use std::collections::{BTreeMap, HashMap};

/// Instructions of a warp's turn.
const TURN: u64 = 8192;
/// Instructions after which a turn ends that has had no effect: it may be waiting for others.
const QUIET_TURN: u64 = 512;
/// Longest turn under an adversarial schedule.
const ADVERSARIAL_TURN: u64 = 24;
/// A group that has had no effect for this part of its budget goes round in vain.
const QUIET_PART: u64 = 8;

/// What a warp computes with.
#[derive(Default)]
pub(crate) struct WarpData {
    pub registers: Registers,
    pub local: Local,
}

/// A resident block.
pub(crate) struct Block {
    /// In x, y, z.
    pub at: [u32; 3],
    /// Among the blocks of the launch; so are its warps numbered.
    pub number: u32,
    /// Lanes of each warp.
    pub splits: Vec<Splits>,
    pub data: Vec<WarpData>,
    pub shared: Shared,
    pub barriers: BTreeMap<u32, BlockBarrier>,
    pub mbarriers: HashMap<u32, Mbarrier>,
    pub asynchronous: Vec<Asynchronous>,
    /// Warps' lanes that have arrived at the cluster's barrier, and not waited yet.
    pub cluster_arrived: Vec<Mask>,
    /// Lanes whose arrival was completed before they waited.
    pub cluster_passed: Vec<Mask>,
}

/// The warp that executes: block of the group, warp of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub block: usize,
    pub warp: usize,
}

/// What one instruction does to the split that executed it.
pub(crate) enum Flow {
    Next,
    Jump(u32),
    /// The lanes that executed it end.
    Exit,
    /// The lanes that executed it wait, at this instruction.
    Park(State),
    /// Goes on at the next instruction, after others have had a turn.
    Yield,
    /// Each executing lane goes to a place of its own.
    Scatter(Box<[u32; LANES]>),
    /// The launch ends.
    Stop,
}

pub(crate) struct Group<'a> {
    pub program: &'a Program,
    pub memory: &'a Memory,
    pub environment: &'a Environment,
    pub blocks: Vec<Block>,
    pub order: Order,
    pub findings: Findings,
    /// For each instruction: times, and lanes that took part.
    pub executed: Vec<(u64, u64)>,
    /// For each instruction: accesses of memory, where they are counted.
    pub traffic: Vec<Count>,
    pub counters: Counters,
    /// Instructions so far.
    pub instructions: u64,
    /// Value of `instructions` at the last effect.
    pub last_effect: u64,
    /// A finding has ended the launch.
    pub stopped: bool,
    /// Bulk copies to shared memory that have not landed.
    pub bulk: Vec<BulkToShared>,
    random: Option<Random>,
}

impl<'a> Group<'a> {
    pub fn new(program: &'a Program, memory: &'a Memory, environment: &'a Environment) -> Self {
        let traffic = if environment.count_traffic { program.instructions.len() } else { 0 };
        Group {
            program,
            memory,
            environment,
            blocks: Vec::new(),
            order: Order::new(0, environment.warps_per_group(), environment.grouping()),
            findings: Findings::default(),
            executed: vec![(0, 0); program.instructions.len()],
            traffic: vec![Count::default(); traffic],
            counters: Counters::default(),
            instructions: 0,
            last_effect: 0,
            stopped: false,
            bulk: Vec::new(),
            random: None,
        }
    }

    /// Makes the blocks of group `number` resident and runs them to their end.
    pub fn run(&mut self, number: u64) {
        let first = number * self.environment.blocks_per_group;
        let count = self.environment.blocks_per_group.min(self.environment.blocks() - first);
        let warps = u64::from(self.environment.warps_per_block);
        self.order.next_group((first * warps) as u32, (count * warps) as u32);
        self.random = self.environment.seed.map(|seed| Random::new(seed ^ number << 32));
        self.instructions = 0;
        self.last_effect = 0;
        self.bulk.clear();
        for i in 0..count as usize {
            let at = self.environment.block_at(first + i as u64);
            if i == self.blocks.len() {
                let block = self.make_block();
                self.blocks.push(block);
            }
            self.start_block(i, at, (first + i as u64) as u32);
        }
        self.blocks.truncate(count as usize);
        while !self.stopped {
            let before = self.instructions;
            let ran = match self.random {
                None => self.round(),
                Some(_) => self.random_turn(),
            };
            if self.blocks.iter().all(|b| b.splits.iter().all(Splits::has_ended)) {
                break;
            }
            if !ran && self.instructions == before {
                self.report_deadlock();
                break;
            }
        }
    }

    fn make_block(&self) -> Block {
        let warps = self.environment.warps_per_block as usize;
        let program = self.program;
        let data = (0..warps).map(|_| {
            let mut registers = Registers {
                narrow: vec![[0; LANES]; program.narrow as usize],
                wide: vec![[0; LANES]; program.wide as usize],
                preds: vec![0; program.preds as usize],
                narrow_set: vec![0; program.narrow as usize],
                wide_set: vec![0; program.wide as usize],
                preds_set: vec![0; program.preds as usize],
            };
            for &(reg, constant) in &program.constants {
                match constant {
                    Constant::Bits(width, bits) => fill(&mut registers, width, reg, bits),
                    Constant::Variable { width, index, offset } => {
                        let bits = self.environment.variables[index].wrapping_add(offset as u64);
                        fill(&mut registers, width, reg, bits);
                    }
                    Constant::Special(_) => {}
                }
            }
            WarpData { registers, local: Local::new(program.local_bytes) }
        });
        let bytes = program.shared_bytes + self.environment.dynamic_shared_bytes;
        let mut variables = program.shared.clone();
        if self.environment.dynamic_shared_bytes > 0 {
            let name = "dynamic shared memory".to_owned();
            variables.push((name, program.shared_bytes, self.environment.dynamic_shared_bytes));
        }
        Block {
            at: [0; 3],
            number: 0,
            splits: vec![Splits::default(); warps],
            data: data.collect(),
            shared: Shared::new(bytes, &variables, program.narrowest_shared),
            barriers: BTreeMap::new(),
            mbarriers: HashMap::new(),
            asynchronous: (0..warps).map(|_| Asynchronous::default()).collect(),
            cluster_arrived: vec![0; warps],
            cluster_passed: vec![0; warps],
        }
    }

    fn start_block(&mut self, index: usize, at: [u32; 3], number: u32) {
        let environment = self.environment;
        let rank = environment.rank_in_cluster(at);
        let block = &mut self.blocks[index];
        block.at = at;
        block.number = number;
        block.shared.restart();
        block.barriers.clear();
        block.mbarriers.clear();
        block.asynchronous.iter_mut().for_each(|a| *a = Asynchronous::default());
        block.cluster_arrived.fill(0);
        block.cluster_passed.fill(0);
        let threads = environment.threads_per_block();
        for (warp, data) in block.data.iter_mut().enumerate() {
            let lanes = (threads - warp as u32 * LANES as u32).min(LANES as u32);
            let mask = if lanes == 32 { Mask::MAX } else { (1 << lanes) - 1 };
            block.splits[warp].start(mask);
            data.registers.narrow_set.fill(0);
            data.registers.wide_set.fill(0);
            data.registers.preds_set.fill(0);
            data.local.restart();
            for &(reg, constant) in &self.program.constants {
                if let Constant::Special(special) = constant {
                    data.registers.narrow[reg.0 as usize] =
                        special_value(environment, special, at, rank, warp as u32, self.program);
                }
            }
        }
    }

    /// Each warp in turn. Says whether any ran.
    fn round(&mut self) -> bool {
        let mut ran = false;
        for block in 0..self.blocks.len() {
            // Warps of one block go round by themselves while they get on.
            for warp in 0..self.blocks[block].splits.len() {
                ran |= self.turn(Place { block, warp }, TURN);
                if self.stopped {
                    return ran;
                }
            }
        }
        ran
    }

    /// A turn of a warp that is picked at random among those that can run.
    fn random_turn(&mut self) -> bool {
        let mut places = Vec::new();
        for (block, b) in self.blocks.iter().enumerate() {
            for (warp, splits) in b.splits.iter().enumerate() {
                if splits.list.iter().any(|s| s.state.is_runnable()) {
                    places.push(Place { block, warp });
                }
            }
        }
        let Some(random) = &mut self.random else { return false };
        if places.is_empty() {
            return false;
        }
        let place = places[random.below(places.len() as u64) as usize];
        let turn = 1 + random.below(ADVERSARIAL_TURN);
        self.turn(place, turn)
    }

    /// Runs a warp for a number of instructions, or until it waits. Says whether it ran.
    fn turn(&mut self, place: Place, turn: u64) -> bool {
        let end = self.instructions + turn;
        let mut ran = false;
        let mut data = std::mem::take(&mut self.blocks[place.block].data[place.warp]);
        while !self.stopped && self.instructions < end {
            let splits = &mut self.blocks[place.block].splits[place.warp];
            let next = match &mut self.random {
                None => {
                    splits.merge();
                    splits.lowest()
                }
                Some(random) => {
                    let ready: Vec<usize> = (0..splits.list.len())
                        .filter(|&i| splits.list[i].state.is_runnable())
                        .collect();
                    match ready.len() {
                        0 => None,
                        count => Some(ready[random.below(count as u64) as usize]),
                    }
                }
            };
            let Some(next) = next else { break };
            ran = true;
            let split = splits.list.remove(next);
            // However turns end, at barriers too, each comes by here.
            self.check_budget(place, split.pc, split.mask);
            if self.stopped {
                self.blocks[place.block].splits[place.warp].list.push(split);
                break;
            }
            let splits = &mut self.blocks[place.block].splits[place.warp];
            // Where others wait further on, this one goes no further without a look at them.
            let rival = match self.random {
                Some(_) => u32::MAX,
                None => {
                    let others = splits.list.iter().filter(|s| s.state.is_runnable() && !s.resting);
                    others.map(|s| s.pc).min().unwrap_or(u32::MAX)
                }
            };
            if self.run_split(place, &mut data, split, rival, end) {
                break;
            }
        }
        self.blocks[place.block].data[place.warp] = data;
        ran
    }

    /// Runs a split until it waits, ends, meets a rival, or its time is over. Says whether the turn is over.
    fn run_split(
        &mut self,
        place: Place,
        data: &mut WarpData,
        split: Split,
        rival: u32,
        end: u64,
    ) -> bool {
        let program = self.program;
        let checks = self.environment.checks;
        let registers_checked = checks.has(Check::UninitialisedRegister);
        let start = self.instructions;
        let Split { mut pc, mask, mut state, .. } = split;
        loop {
            let instruction = &program.instructions[pc as usize];
            let active = match instruction.guard {
                None => mask,
                Some(guard) => {
                    let registers = &data.registers;
                    if registers_checked {
                        let unset = mask & !registers.preds_set[guard.pred.0 as usize];
                        if unset != 0 {
                            let site = self.site(place, pc);
                            self.report_unset(site, unset, Width::Pred);
                        }
                    }
                    let pred = registers.preds[guard.pred.0 as usize];
                    mask & if guard.negated { !pred } else { pred }
                }
            };
            self.instructions += 1;
            let counts = &mut self.executed[pc as usize];
            counts.0 += 1;
            counts.1 += u64::from(active.count_ones());
            if active == 0 {
                pc += 1;
                state = State::Ready;
            } else {
                if registers_checked {
                    for &(width, reg) in &instruction.reads {
                        let set = match width {
                            Width::Pred => data.registers.preds_set[reg.0 as usize],
                            Width::B16 | Width::B32 => data.registers.narrow_set[reg.0 as usize],
                            Width::B64 => data.registers.wide_set[reg.0 as usize],
                        };
                        if active & !set != 0 {
                            let site = self.site(place, pc);
                            self.report_unset(site, active & !set, width);
                        }
                    }
                }
                if active != mask && instruction.op.is_aligned() {
                    self.report_masked(place, pc, active, mask);
                }
                let flow = match &instruction.op {
                    Op::Arithmetic { run, operands, divisor } => {
                        if let Some((width, reg)) = *divisor {
                            self.check_divisor(place, pc, data, active, width, reg);
                        }
                        run(&mut data.registers, operands, active);
                        Flow::Next
                    }
                    Op::Branch { target } => Flow::Jump(*target),
                    op => self.execute(place, data, pc, active, state, op),
                };
                state = State::Ready;
                match flow {
                    Flow::Next => pc += 1,
                    Flow::Jump(target) => {
                        if active != mask {
                            self.counters.divergent_branches += 1;
                            let splits = &mut self.blocks[place.block].splits[place.warp];
                            splits.push(target, active, State::Ready);
                            splits.push(pc + 1, mask & !active, State::Ready);
                            return self.instructions >= end;
                        }
                        pc = target;
                    }
                    Flow::Exit => {
                        self.land_rest(place);
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.live &= !active;
                        splits.push(pc + 1, mask & !active, State::Ready);
                        splits.gather();
                        self.effect();
                        self.lanes_left(place);
                        return false;
                    }
                    Flow::Park(wait) => {
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.push(pc + 1, mask & !active, State::Ready);
                        splits.push(pc, active, wait);
                        splits.gather();
                        return false;
                    }
                    Flow::Yield => {
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        let resting = Split { pc: pc + 1, mask, state, resting: true };
                        splits.list.push(resting);
                        return true;
                    }
                    Flow::Scatter(targets) => {
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.push(pc + 1, mask & !active, State::Ready);
                        for lane in lanes(active) {
                            splits.push(targets[lane], 1 << lane, State::Ready);
                        }
                        splits.merge();
                        return self.instructions >= end;
                    }
                    Flow::Stop => {
                        self.stopped = true;
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.push(pc, mask, State::Ready);
                        return true;
                    }
                }
            }
            if pc >= rival {
                self.blocks[place.block].splits[place.warp].push(pc, mask, State::Ready);
                return self.instructions >= end;
            }
            if self.instructions >= end || self.is_quiet_for(start) {
                let quiet = self.is_quiet_for(start);
                let splits = &mut self.blocks[place.block].splits[place.warp];
                let resting = Split { pc, mask, state, resting: quiet };
                splits.list.push(resting);
                return true;
            }
        }
    }

    #[inline(always)]
    fn is_quiet_for(&self, start: u64) -> bool {
        self.instructions - start.max(self.last_effect) >= QUIET_TURN
    }

    /// Something has changed that another could wait for.
    #[inline(always)]
    pub fn effect(&mut self) {
        self.last_effect = self.instructions;
    }

    fn check_budget(&mut self, place: Place, pc: u32, mask: Mask) {
        let budget = self.environment.budget;
        let quiet = self.instructions - self.last_effect;
        let site = self.site(place, pc);
        let lane = mask.trailing_zeros();
        if self.instructions >= budget {
            self.stopped = true;
            self.findings.add(Check::Budget, site, lane, || {
                plain(format!(
                    "{budget} warp instructions of the budget are spent; a longer run needs a larger budget"
                ))
            });
        } else if quiet >= (budget / QUIET_PART).max(2 * QUIET_TURN) {
            self.stopped = true;
            self.findings.add(Check::Livelock, site, lane, || {
                plain(format!(
                    "{quiet} warp instructions without a store, an arrival or an exit: what they wait for cannot come"
                ))
            });
        }
    }

    pub fn site(&self, place: Place, pc: u32) -> Site {
        Site { pc, block: self.blocks[place.block].at, warp: place.warp as u32 }
    }

    /// The number of a warp in the launch.
    pub fn warp_number(&self, place: Place) -> u32 {
        let block = self.blocks[place.block].number;
        block * self.environment.warps_per_block + place.warp as u32
    }

    #[cold]
    fn report_unset(&mut self, site: Site, unset: Mask, width: Width) {
        for lane in lanes(unset) {
            self.findings.add(Check::UninitialisedRegister, site, lane as u32, || {
                let kind = match width {
                    Width::Pred => "predicate",
                    Width::B16 => "16-bit register",
                    Width::B32 => "32-bit register",
                    Width::B64 => "64-bit register",
                };
                plain(format!("a {kind} is read that lanes {unset:#010x} have not written"))
            });
        }
    }

    /// An aligned operation must be executed by all lanes: a predicate that holds for some is a fault.
    #[cold]
    fn report_masked(&mut self, place: Place, pc: u32, active: Mask, mask: Mask) {
        let site = self.site(place, pc);
        let off = mask & !active;
        self.findings.add(Check::DivergentBarrier, site, active.trailing_zeros(), || {
            plain(format!(
                "lanes {active:#010x} execute it, lanes {off:#010x} are kept out by its predicate; expected all"
            ))
        });
    }

    fn check_divisor(
        &mut self,
        place: Place,
        pc: u32,
        data: &WarpData,
        active: Mask,
        width: Width,
        reg: Reg,
    ) {
        if !self.environment.checks.has(Check::DivisionByZero) {
            return;
        }
        let mut zero = 0;
        match width {
            Width::B64 => {
                for (lane, value) in u64::load(&data.registers, reg).into_iter().enumerate() {
                    zero |= u32::from(value == 0) << lane;
                }
            }
            _ => {
                for (lane, value) in u32::load(&data.registers, reg).into_iter().enumerate() {
                    zero |= u32::from(value == 0) << lane;
                }
            }
        }
        let zero = zero & active;
        if zero != 0 {
            let site = self.site(place, pc);
            self.findings.add(Check::DivisionByZero, site, zero.trailing_zeros(), || {
                plain(format!("an integer division by zero in lanes {zero:#010x}"))
            });
        }
    }

    /// Every lane that still waits, and for what.
    fn report_deadlock(&mut self) {
        self.stopped = true;
        for block in 0..self.blocks.len() {
            for warp in 0..self.blocks[block].splits.len() {
                let place = Place { block, warp };
                let splits = self.blocks[block].splits[warp].clone();
                for split in &splits.list {
                    let (check, message) = self.describe_wait(split, &splits);
                    let site = self.site(place, split.pc);
                    let lane = split.mask.trailing_zeros();
                    self.findings.add(check, site, lane, || plain(message));
                }
            }
        }
    }

    fn describe_wait(&self, split: &Split, splits: &Splits) -> (Check, String) {
        let elsewhere = |members: Mask| {
            let others: Vec<String> = splits
                .list
                .iter()
                .filter(|other| *other != split && other.mask & members != 0)
                .map(|other| {
                    let line = self.program.origins[other.pc as usize].line;
                    format!("lanes {:#010x} wait at PTX line {line}", other.mask & members)
                })
                .collect();
            if others.is_empty() { "none of them is left".to_owned() } else { others.join(", ") }
        };
        match split.state {
            State::Lanes { members, .. } => {
                let missing = members & splits.live & !split.mask;
                let aligned = matches!(
                    &self.program.instructions[split.pc as usize].op,
                    Op::Barrier(_) | Op::ClusterArrive { .. } | Op::ClusterWait { .. }
                );
                let check = if aligned { Check::DivergentBarrier } else { Check::Membermask };
                let message = format!(
                    "lanes {:#010x} wait for lanes {missing:#010x}, which cannot arrive: {}",
                    split.mask,
                    elsewhere(missing)
                );
                (check, message)
            }
            State::Barrier(id) => {
                let diverged = split.mask != splits.live;
                let check = if diverged { Check::DivergentBarrier } else { Check::Deadlock };
                let message = format!(
                    "lanes {:#010x} wait at barrier {id}, which cannot be completed",
                    split.mask
                );
                (check, message)
            }
            State::Cluster => {
                (Check::Deadlock, "waits for blocks of its cluster that cannot arrive".to_owned())
            }
            _ => (Check::Deadlock, "cannot go on".to_owned()),
        }
    }

    /// Counters of what ran, by class, and by line where asked for.
    pub fn finish(mut self, files: &[(u32, String)]) -> (Findings, Counters) {
        for (pc, (instruction, &(executed, lanes))) in
            self.program.instructions.iter().zip(&self.executed).enumerate()
        {
            if instruction.class == super::program::Class::Hidden || executed == 0 {
                continue;
            }
            self.counters.instructions += executed;
            self.counters.lane_instructions += lanes;
            *self.counters.by_class.entry(instruction.class).or_default() += executed;
            if let Op::Mma { macs, .. } = instruction.op {
                self.counters.mma += executed;
                self.counters.mma_macs += executed * macs;
            }
            let count = self.traffic.get(pc).copied().unwrap_or_default();
            self.counters.global.add(&count.global);
            self.counters.shared.add(&count.shared);
            if self.environment.per_line
                && let Some((file, line)) = self.program.origins[pc].source
            {
                let name = files.iter().find(|(index, _)| *index == file);
                let name = name.map_or_else(|| format!("file {file}"), |(_, name)| name.clone());
                let counters = self.counters.by_line.entry((name, line)).or_default();
                counters.instructions += executed;
                counters.global.add(&count.global);
                counters.shared.add(&count.shared);
            }
        }
        (self.findings, self.counters)
    }

    /// Who a warp is to the memory's checks.
    pub fn with_actor<R>(
        &mut self,
        place: Place,
        pc: u32,
        strong: bool,
        access: impl FnOnce(&Memory, &mut [Block], &mut Actor<'_>) -> R,
    ) -> R {
        let site = self.site(place, pc);
        let warp = self.warp_number(place);
        let mut actor = Actor {
            site,
            warp,
            clock: self.order.clock(warp),
            strong,
            checks: self.environment.checks,
            findings: &mut self.findings,
        };
        access(self.memory, &mut self.blocks, &mut actor)
    }
}

/// A finding about no address.
pub(crate) fn plain(message: String) -> About {
    About { address: None, buffer: None, message }
}

/// The lanes of a mask, in order.
pub(crate) fn lanes(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}

fn fill(registers: &mut Registers, width: Width, reg: Reg, bits: u64) {
    match width {
        Width::Pred => {
            registers.preds[reg.0 as usize] = if bits != 0 { Mask::MAX } else { 0 };
        }
        Width::B16 | Width::B32 => registers.narrow[reg.0 as usize] = [bits as u32; LANES],
        Width::B64 => registers.wide[reg.0 as usize] = [bits; LANES],
    }
}

fn special_value(
    environment: &Environment,
    special: Special,
    at: [u32; 3],
    rank: u32,
    warp: u32,
    program: &Program,
) -> [u32; LANES] {
    let per_lane = |f: &dyn Fn(u32) -> u32| std::array::from_fn(|lane| f(lane as u32));
    let [x, y, _] = environment.block;
    let cluster = environment.cluster;
    match special {
        Special::Tid(axis) => per_lane(&|lane| {
            let thread = warp * LANES as u32 + lane;
            [thread % x, thread / x % y, thread / (x * y)][axis]
        }),
        Special::Laneid => per_lane(&|lane| lane),
        Special::LanemaskEq => per_lane(&|lane| 1 << lane),
        Special::LanemaskLt => per_lane(&|lane| (1 << lane) - 1),
        Special::LanemaskLe => per_lane(&|lane| (1 << lane) | ((1 << lane) - 1)),
        Special::LanemaskGt => per_lane(&|lane| !((1 << lane) | ((1 << lane) - 1))),
        Special::LanemaskGe => per_lane(&|lane| !((1 << lane) - 1)),
        Special::Ntid(axis) => [environment.block[axis]; LANES],
        Special::Ctaid(axis) => [at[axis]; LANES],
        Special::Nctaid(axis) => [environment.grid[axis]; LANES],
        Special::Clusterid(axis) => [at[axis] / cluster[axis]; LANES],
        Special::Nclusterid(axis) => [environment.grid[axis] / cluster[axis]; LANES],
        Special::ClusterCtaid(axis) => [at[axis] % cluster[axis]; LANES],
        Special::ClusterNctaid(axis) => [cluster[axis]; LANES],
        Special::ClusterCtarank => [rank; LANES],
        Special::ClusterNctarank => [cluster.iter().product(); LANES],
        Special::Warpid => [warp; LANES],
        Special::Nwarpid => [environment.warps_per_block; LANES],
        Special::Smid => [0; LANES],
        Special::Nsmid => [1; LANES],
        Special::DynamicSmemSize => [environment.dynamic_shared_bytes; LANES],
        Special::TotalSmemSize => [program.shared_bytes + environment.dynamic_shared_bytes; LANES],
        // Cooperative groups finds its workspace here.
        Special::Envreg(1) => [(environment.workspace >> 32) as u32; LANES],
        Special::Envreg(2) => [environment.workspace as u32; LANES],
        Special::Envreg(_) => [0; LANES],
    }
}

/// SplitMix64: a small generator whose sequence is part of what a seed means.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}
